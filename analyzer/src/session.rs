//! An image together with the profile of its kernel.

use crate::addr::Va;
use crate::error::PageFault;
use crate::guess::Evidence;
use crate::image::PhysicalMemory;
use crate::object::{KernelStruct, Layout, LayoutError, List, ListEntry, Member, Memory, Resolver, Types};
use crate::paging::{AddressSpace, Halves};
use quaid_profile::{Os, ProfileFile};
use std::any::Any;
use std::io;
use std::sync::OnceLock;

/// Why a plugin cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The profile lacks members.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The profile cannot be read.
    #[error(transparent)]
    Profile(#[from] quaid_profile::Error),
    /// The profile lacks a symbol.
    #[error("profile {profile} has no symbol {name}")]
    NoSymbol {
        /// The symbol, or several of which one was wanted.
        name: String,
        /// The profile's name.
        profile: String,
    },
    /// What all the rest hangs on cannot be read.
    #[error("cannot read {what}: {fault}")]
    Fault {
        /// What was to be read.
        what: String,
        /// Why it cannot be.
        fault: PageFault,
    },
    /// An option's value is of no use.
    #[error("--{option}: {why}")]
    Option {
        /// The option's name.
        option: String,
        /// What is wrong with its value.
        why: String,
    },
    /// The value of an argument without a name is of no use.
    #[error("{name}: {why}")]
    Argument {
        /// What the usage line calls it: the name in upper case.
        name: String,
        /// What is wrong with its value.
        why: String,
    },
    /// A row could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

/// An image, the profile of the kernel in it, and where that kernel runs.
pub struct Session<'m> {
    profile: ProfileFile,
    name: String,
    os: Os,
    kernel: AddressSpace<'m>,
    /// What is added to the profile's addresses, modulo 2^64: the image base for Windows, the slide for Linux.
    shift: u64,
    evidence: Evidence,
    layouts: Layouts,
}

impl<'m> Session<'m> {
    /// Puts together what the autodetection found and verified.
    pub(crate) fn new(profile: ProfileFile, name: String, os: Os, kernel: AddressSpace<'m>, shift: u64) -> Self {
        Self { profile, name, os, kernel, shift, evidence: Evidence::Named, layouts: Layouts::default() }
    }

    /// The same, and what decided the profile.
    #[must_use]
    pub fn with_evidence(self, evidence: Evidence) -> Self {
        Self { evidence, ..self }
    }

    /// The profile.
    pub fn profile(&self) -> &ProfileFile {
        &self.profile
    }

    /// The name under which the profile was found.
    pub fn profile_name(&self) -> &str {
        &self.name
    }

    /// What decided that it is the image's.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// The operating system.
    pub fn os(&self) -> Os {
        self.os
    }

    /// The kernel's address space.
    pub fn kernel(&self) -> &AddressSpace<'m> {
        &self.kernel
    }

    /// The physical memory.
    pub fn memory(&self) -> &'m dyn PhysicalMemory {
        self.kernel.memory()
    }

    /// What was added to the profile's addresses: the address of the kernel's image for Windows, how far the kernel runs
    /// from where it was linked for Linux.
    pub fn shift(&self) -> u64 {
        self.shift
    }

    /// The address of a symbol in this image.
    pub fn symbol(&self, name: &str) -> Result<Va, Error> {
        let address = self.symbol_if_any(name)?;
        address.ok_or_else(|| Error::NoSymbol { name: name.to_owned(), profile: self.name.clone() })
    }

    /// The address of a symbol that some builds lack.
    pub(crate) fn symbol_if_any(&self, name: &str) -> Result<Option<Va>, Error> {
        let Some(symbol) = self.profile.symbol(name)? else { return Ok(None) };
        // Of Linux, what is not in the kernel's half is an offset into each processor's area, or a number: it is not moved.
        let moved = self.os != Os::Linux || symbol.address >> 63 == 1;
        Ok(Some(Va(symbol.address).wrapping_add(if moved { self.shift } else { 0 })))
    }

    /// Takes an address as a person types it: one of the kernel may lack the 16 ones above its 48 bits, as text output
    /// shows it. With more bits (LA57) that may be an address of a process too: it is the kernel's where something is.
    pub fn typed_address(&self, address: u64) -> Va {
        let extended = Va(address | 0xffff << 48);
        let of_kernel = match self.kernel.spec().halves {
            Halves::SignExtended if self.kernel.spec().address_bits == 48 => address >> 47 == 1,
            Halves::SignExtended => address >> 47 == 1 && self.kernel.translate(extended).is_ok(),
            // The kernel's half begins with any digit: it is the one where something is.
            Halves::TwoRoots => address >> 48 == 0 && self.kernel.translate(extended).is_ok(),
            Halves::One => false,
        };
        if of_kernel { extended } else { Va(address) }
    }

    /// Where the members of `L` are; looked up once a session.
    pub(crate) fn layout<L: Layout>(&self) -> Result<&L, LayoutError> {
        loop {
            if let Some(known) = self.layouts.get::<L>() {
                return Ok(known);
            }
            self.layouts.add(Resolver::layout::<L>(&Types::new(&self.profile), &self.name)?);
        }
    }

    /// The struct at `at` of the kernel's memory.
    pub(crate) fn object<'s, T: KernelStruct<'s>>(&'s self, at: Va) -> Result<T, LayoutError> {
        Ok(T::new(at, &self.kernel, self.layout::<T::Layout>()?))
    }

    /// What a pointer leads to.
    pub(crate) fn follow<'s, T: KernelStruct<'s>>(
        &'s self,
        pointer: Result<Va, PageFault>,
    ) -> Result<Followed<T>, LayoutError> {
        Ok(Followed(match pointer {
            Ok(Va(0)) => Ok(None),
            Ok(at) => Ok(Some(self.object(at)?)),
            Err(fault) => Err(fault),
        }))
    }

    /// The structs in the ring whose head is at `head`; `link` is the member by which they hang there.
    pub(crate) fn list<'s, T: KernelStruct<'s>>(
        &'s self,
        head: Va,
        link: fn(&T::Layout) -> &<ListEntry as Member>::Slot,
    ) -> Result<List<'s, T>, LayoutError> {
        let layout = self.layout::<T::Layout>()?;
        let memory: &dyn Memory = &self.kernel;
        Ok(List::new(memory, head, layout, link(layout)))
    }
}

/// The struct that a pointer leads to: nothing when the pointer is null, and the fault when the pointer itself could not
/// be read.
#[derive(Clone)]
pub(crate) struct Followed<T>(Result<Option<T>, PageFault>);

impl<T: Copy> Followed<T> {
    /// Reads something of the struct; `None` where there is no struct.
    pub(crate) fn get<U>(&self, read: impl FnOnce(T) -> Result<U, PageFault>) -> Result<Option<U>, PageFault> {
        match &self.0 {
            Ok(found) => found.map(read).transpose(),
            Err(fault) => Err(fault.clone()),
        }
    }
}

/// Layouts by type. It only grows, so that what is in it can be borrowed while more comes.
#[derive(Default)]
struct Layouts(OnceLock<Box<Node>>);

struct Node {
    layout: Box<dyn Any + Send + Sync>,
    next: Layouts,
}

impl Layouts {
    fn get<L: Layout>(&self) -> Option<&L> {
        let mut at = self;
        while let Some(node) = at.0.get() {
            if let Some(layout) = node.layout.downcast_ref() {
                return Some(layout);
            }
            at = &node.next;
        }
        None
    }

    /// Another thread may take the place at the end first: the caller looks again.
    fn add<L: Layout>(&self, layout: L) {
        let mut at = self;
        while let Some(node) = at.0.get() {
            at = &node.next;
        }
        at.0.get_or_init(|| Box::new(Node { layout: Box::new(layout), next: Self::default() }));
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Sessions made by tests.

    use super::*;
    use crate::image::testing::TestMemory;
    use crate::paging::{AMD64, Software};

    /// Where `memory` has the tables that map the first gibibyte one to one.
    const ROOT: u64 = 0x1000;

    /// Physical memory of one piece, `bytes` long, with page tables in its first three pages.
    pub(crate) fn memory(bytes: usize) -> TestMemory {
        let mut memory = TestMemory::new(vec![(0, vec![0; bytes])]);
        memory.put(ROOT, (ROOT + 0x1000) | 3);
        // A page of 1 GiB.
        memory.put(ROOT + 0x1000, 0x83);
        memory
    }

    /// A session on it; `profile` is Rekall JSON.
    pub(crate) fn session<'m>(memory: &'m TestMemory, os: Os, profile: &str) -> Session<'m> {
        let profile = ProfileFile::parse("made", profile.as_bytes()).expect("a profile");
        Session::new(profile, "made".to_owned(), os, AddressSpace::new(memory, &AMD64, Software::None, ROOT), 0)
    }
}
