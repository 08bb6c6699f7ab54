//! From the names that a declaration gives to the offsets that a profile has.

use super::memory::Memory;
use super::types::{Place, Types};
use crate::addr::Va;
use quaid_profile::{BaseType, Type};
use std::fmt;

/// The offsets of the members that a declaration names, in one profile.
pub(crate) trait Layout: Sized + Send + Sync + 'static {
    /// The struct's name in the kernel, and what other builds call it.
    const NAMES: &'static [&'static str];
    /// Looks up every member. `None` when some cannot be had; the resolver knows which.
    fn resolve(resolver: &mut Resolver<'_>) -> Option<Self>;
}

/// A struct in memory: an address, and how to read what is there.
pub(crate) trait KernelStruct<'s>: Copy {
    /// Where its members are.
    type Layout: Layout;
    /// The struct at `at`.
    fn new(at: Va, memory: &'s dyn Memory, layout: &'s Self::Layout) -> Self;
}

/// A profile does not have what a declaration needs. Every missing member is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutError {
    /// The struct, as the kernel calls it.
    pub structure: &'static str,
    /// The profile's name or path.
    pub profile: String,
    /// What is wrong, a sentence each.
    pub problems: Vec<String>,
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be read with profile {}: {}", self.structure, self.profile, self.problems.join("; "))
    }
}

impl std::error::Error for LayoutError {}

/// Looks up the members of one struct, and collects what is wrong with them.
pub(crate) struct Resolver<'p> {
    types: &'p Types<'p>,
    name: &'static str,
    problems: Vec<String>,
}

impl<'p> Resolver<'p> {
    /// Resolves `L` in the profile of `types`; `profile` names it in errors.
    pub(crate) fn layout<L: Layout>(types: &'p Types<'p>, profile: &str) -> Result<L, LayoutError> {
        let first = L::NAMES.first().copied().unwrap_or_default();
        let mut resolver = Self { types, name: first, problems: Vec::new() };
        let mut layout = None;
        match resolver.choose(L::NAMES) {
            Some(name) => {
                resolver.name = name;
                layout = L::resolve(&mut resolver);
            }
            None if resolver.problems.is_empty() => {
                resolver.problems.push(format!("it has no struct {}", L::NAMES.join(" or ")));
            }
            None => {}
        }
        match layout {
            Some(layout) if resolver.problems.is_empty() => Ok(layout),
            _ => {
                Err(LayoutError { structure: resolver.name, profile: profile.to_owned(), problems: resolver.problems })
            }
        }
    }

    /// For questions that are about no one struct.
    pub(crate) fn anywhere(types: &'p Types<'p>) -> Self {
        Self { types, name: "", problems: Vec::new() }
    }

    /// The first of `names` that is a struct of the profile.
    fn choose(&mut self, names: &'static [&'static str]) -> Option<&'static str> {
        for name in names {
            match self.types.structure(name) {
                Ok(Some(_)) => return Some(name),
                Ok(None) => {}
                Err(why) => self.problems.push(why.to_string()),
            }
        }
        None
    }

    /// The first of `paths` that the struct has.
    pub(super) fn first_of<'a>(&mut self, paths: &[&'a str]) -> Option<(&'a str, Place)> {
        for path in paths {
            match self.types.find(self.name, path) {
                Ok(Some(place)) => return Some((path, place)),
                Ok(None) => {}
                Err(why) => self.problems.push(why.to_string()),
            }
        }
        None
    }

    pub(super) fn missing(&mut self, paths: &[&str]) {
        self.problems.push(format!("it has no member {}", paths.join(" or ")));
    }

    pub(super) fn unfit(&mut self, path: &str, why: &str) {
        self.problems.push(format!("{path} is {why}"));
    }

    pub(super) fn find_in(&self, name: &str, path: &str) -> Result<Option<Place>, String> {
        self.types.find(name, path).map_err(|why| why.to_string())
    }

    pub(super) fn base_type(&self, name: &str) -> Result<Option<BaseType>, String> {
        self.types.profile().base_type(name).map_err(|why| why.to_string())
    }

    pub(super) fn size_of(&self, ty: &Type) -> Result<Option<u64>, String> {
        self.types.profile().size_of(ty).map_err(|why| why.to_string())
    }

    pub(super) fn pointer_bytes(&self) -> u64 {
        self.types.profile().pointer_bytes()
    }
}

/// Declares a kernel struct: the members that are needed, by the kernel's names.
///
/// `kernel_struct! { struct Task(TaskLayout) = "task_struct" { pid: u32 = "pid", state: u64 = "__state" | "state", } }`
/// makes `TaskLayout`, with a slot for each member, and the handle `Task`, with a reader for each. Of several names the
/// first that the profile has counts; `Option<..>` is for members that some builds lack. A path goes through nested
/// structs ("Pcb.DirectoryTableBase") and takes elements of arrays ("FreeLists.0"); members without a name are looked
/// through.
macro_rules! kernel_struct {
    ($(#[$doc:meta])* $vis:vis struct $name:ident($layout:ident) = $($known_as:literal)|+ {
        $($(#[$member_doc:meta])* $member:ident: $ty:ty = $($path:literal)|+,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        $vis struct $name<'s> {
            /// Where it is.
            $vis at: $crate::Va,
            memory: &'s dyn $crate::object::Memory,
            layout: &'s $layout,
        }

        /// Where the members are.
        $vis struct $layout {
            $($vis $member: <$ty as $crate::object::Member>::Slot,)*
        }

        impl $crate::object::Layout for $layout {
            const NAMES: &'static [&'static str] = &[$($known_as),+];
            fn resolve(resolver: &mut $crate::object::Resolver<'_>) -> Option<Self> {
                // All of them before any is asked for, so that all that is missing is told at once.
                $(let $member = <$ty as $crate::object::Member>::resolve(resolver, &[$($path),+]);)*
                Some(Self { $($member: $member?,)* })
            }
        }

        impl<'s> $crate::object::KernelStruct<'s> for $name<'s> {
            type Layout = $layout;
            fn new(at: $crate::Va, memory: &'s dyn $crate::object::Memory, layout: &'s $layout) -> Self {
                Self { at, memory, layout }
            }
        }

        #[allow(dead_code, reason = "an entry of a list is walked by its place; its reader may stay unused")]
        impl $name<'_> {
            $($(#[$member_doc])* $vis fn $member(&self) -> Result<$ty, $crate::PageFault> {
                <$ty as $crate::object::Member>::read(&self.layout.$member, self.memory, self.at)
            })*
        }
    };
}
pub(crate) use kernel_struct;
