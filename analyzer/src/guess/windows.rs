//! Windows: the build by the RSDS record of the kernel, the page tables by the System process, the kernel's place by the
//! ring of processes. Where the record is lost, the build by the kernel's exports (`exports.rs`).

mod data;
mod exports;
mod hinted;
mod locate;

use super::sightings::{Clue, Look};
use super::{Evidence, Identity, MAX_KERNELS, MAX_LOOKUPS, Search, file_name};
use crate::addr::{Pa, Va};
use crate::error::PageFault;
use crate::image::PhysicalMemory;
use crate::object::{KernelStruct, ListEntry, Memory, Resolver, Types, kernel_struct};
use crate::os::windows::{self, Eprocess, EprocessLayout};
use crate::paging::{AMD64, AddressSpace, PAGE_BYTES, Pagefile, PagingSpec, Software, WindowsPtes, X86, X86_PAE};
use crate::scan::rsds::{self, Record};
use crate::session::Session;
use quaid_profile::{Arch, Found, GuidAge, Os, ProfileFile};
use std::collections::HashSet;
use std::sync::Arc;

/// The PDBs of the kernel's variants: one or several processors, without or with PAE.
const KERNEL_PDBS: [&str; 4] = ["ntkrnlmp.pdb", "ntkrnlpa.pdb", "ntkrpamp.pdb", "ntoskrnl.pdb"];

/// Names of processes whose page tables show the kernel, as they lie in memory: padded by zeros. The first one is there
/// in every image; the others serve when its page is missing.
pub(super) const PROCESSES: [&[u8]; 4] =
    [b"System\0\0\0\0\0\0\0\0\0", b"smss.exe\0\0\0\0\0\0\0", b"csrss.exe\0\0\0\0\0\0", b"lsass.exe\0\0\0\0\0\0"];

/// How many entries of the ring of processes are tried as its head.
const MAX_PROCESSES: usize = 1 << 12;

/// How many places that could be a process of one name are looked into.
const MAX_CANDIDATES: usize = 256;

/// Whether a PDB's name, as an RSDS record has it, is that of a Windows kernel; linkers may have written a path before it.
pub fn is_kernel(pdb: &str) -> bool {
    KERNEL_PDBS.iter().any(|name| name.eq_ignore_ascii_case(file_name(pdb)))
}

/// The builds whose profiles were looked for.
#[derive(Default)]
pub(super) struct Builds {
    known: HashSet<GuidAge>,
    /// Whether it was told that no others are looked up.
    full: bool,
}

impl<'m> Search<'m, '_, '_> {
    /// The kernel whose record is at `at`, if the profile of its build fits.
    pub(super) fn windows_at(&mut self, at: Pa, builds: &mut Builds) -> Option<Session<'m>> {
        let record = self.kernel_record_at(at)?;
        if builds.known.contains(&record.id) {
            return None;
        }
        if builds.known.len() == MAX_LOOKUPS {
            if !std::mem::replace(&mut builds.full, true) {
                self.limit_lookups();
            }
            return None;
        }
        builds.known.insert(record.id);
        self.note(Identity::Windows { id: record.id, pdb: record.pdb });
        let name = format!("nt/GUID/{}", record.id);
        self.tell(&format!("Verifying profile {name}"));
        let found = self.load_if_any(&name).filter(|_| self.may_try())?;
        let session = self.verify(found).map_err(|why| self.refuse(&name, why)).ok()?;
        Some(session.with_evidence(Evidence::Record(record.id)))
    }

    /// The record at `at`, if it is a kernel's.
    fn kernel_record_at(&self, at: Pa) -> Option<Record> {
        rsds::record_at(self.memory, at).filter(|record| is_kernel(&record.pdb))
    }

    /// With the profile that was asked for.
    pub(super) fn windows_with(&mut self, found: Found) -> Option<Session<'m>> {
        let name = found.name.clone();
        self.tell(&format!("Verifying profile {name}"));
        if let Some((space, base)) = self.hinted_place(&found) {
            return Some(Session::new(found.profile, name, Os::Windows, space, base.0));
        }
        // A profile of another build finds nothing at all: what the image is, is told first.
        if let Some(expected) = found.profile.metadata().guid_age() {
            let mut seen = Vec::new();
            let mut look = Look::for_any(&[Clue::Rsds]);
            while let Some((_, at)) = self.sightings.next(&mut look) {
                let Some(record) = self.kernel_record_at(at) else { continue };
                let fits = record.id.guid == expected.guid;
                let identity = Identity::Windows { id: record.id, pdb: record.pdb };
                if fits {
                    seen.clear();
                    break;
                }
                if !seen.contains(&identity) && seen.len() < MAX_KERNELS {
                    seen.push(identity);
                }
            }
            if !seen.is_empty() {
                self.refuse(
                    &name,
                    format!("it is for {expected}, and the kernel of this image is {}", super::list(&seen, 0)),
                );
                return None;
            }
        }
        match self.verify(found) {
            Ok(session) => Some(session),
            Err(why) => {
                self.refuse(&name, why);
                None
            }
        }
    }

    /// A session, when the image's kernel is the one that the profile describes; else what was expected and seen.
    fn verify(&mut self, found: Found) -> Result<Session<'m>, String> {
        let kernel = Kernel::of(&found.profile, &found.name, &self.options.pagefiles)?;
        let mut first_failure = None;
        for process in Clue::PROCESSES {
            let mut candidates = 0;
            let mut look = Look::for_any(&[process]);
            while let Some((_, hit)) = self.sightings.next(&mut look) {
                let at = Pa(hit.0.wrapping_sub(kernel.layout.name.offset));
                match self.kernel_of_process(&kernel, at) {
                    Ok(None) => {}
                    Ok(Some((space, place))) => {
                        self.tell(&format!("Found _EPROCESS @ {at:#} (DTB: {:#})", space.root()));
                        let remark = kernel.compare(&place, self.options.profile.is_some())?;
                        self.tell(&format!("Kernel at {}: {remark}", place.base));
                        let space = windows::with_state(&space, &Types::new(&found.profile), place.base)
                            .map_err(|why| why.to_string())?;
                        return Ok(Session::new(found.profile, found.name, Os::Windows, space, place.base.0));
                    }
                    Err(why) => {
                        self.tell(&format!("No _EPROCESS @ {at}: {why}"));
                        first_failure.get_or_insert(why);
                        candidates += 1;
                        if candidates == MAX_CANDIDATES {
                            break;
                        }
                    }
                }
            }
        }
        let why = first_failure.unwrap_or_else(|| "no process was found in the image".to_owned());
        Err(format!("no process leads to the kernel that it describes: {why}"))
    }

    /// The kernel that the process at `at` shows. `None` when the bytes there are no process at all.
    fn kernel_of_process(&self, kernel: &Kernel, at: Pa) -> Result<Option<(AddressSpace<'m>, Place)>, String> {
        let physical = Physical(self.memory);
        let process = Eprocess::new(Va(at.0), &physical, &kernel.layout);
        let (Ok(dtb), Ok(links)) = (process.dtb(), process.links()) else { return Ok(None) };
        if dtb == 0 || !kernel.is_kernel_address(links.prev) || !kernel.is_kernel_address(links.next) {
            return Ok(None);
        }
        let software = Software::Windows(Arc::clone(&kernel.ptes));
        let space = AddressSpace::new(self.memory, kernel.spec, software, self.options.dtb.unwrap_or(dtb));
        kernel.check_shared_data(&space)?;
        let place = match self.options.kernel_slide {
            Some(base) => image_at(&space, Va(base))?,
            None => kernel.search_ring(&space, links.prev)?,
        };
        kernel.check_ring(&space, place.base)?;
        Ok(Some((space, place)))
    }
}

/// Where a kernel runs, and what its image says that it is: the record, or why there is none to be read.
struct Place {
    base: Va,
    record: Result<(GuidAge, String), String>,
}

/// What a profile says about its kernel.
struct Kernel {
    id: Option<GuidAge>,
    spec: &'static PagingSpec,
    ptes: Arc<WindowsPtes>,
    pointer_bytes: u64,
    layout: EprocessLayout,
    ring: RingLayout,
    /// RVA of `PsActiveProcessHead`.
    head: u64,
}

kernel_struct! {
    /// The head of a ring.
    struct Ring(RingLayout) = "_LIST_ENTRY" {
        ends: ListEntry = "",
    }
}

impl Kernel {
    fn of(profile: &ProfileFile, name: &str, pagefiles: &[Pagefile]) -> Result<Self, String> {
        let text = |why: quaid_profile::Error| why.to_string();
        let spec = match profile.metadata().arch() {
            Some(Arch::Amd64) => &AMD64,
            Some(Arch::I386) => match profile.structure("_MMPTE").map_err(text)?.map(|pte| pte.size) {
                Some(4) => &X86,
                _ => &X86_PAE,
            },
            Some(arch) => return Err(format!("its kernel runs on {}; such page tables are not read yet", arch.name())),
            None => return Err("it does not tell its architecture ($METADATA.arch)".to_owned()),
        };
        let types = Types::new(profile);
        let mut ptes = windows::ptes(&types, spec).map_err(text)?;
        ptes.pagefiles = pagefiles.to_vec();
        let layout = Resolver::layout::<EprocessLayout>(&types, name).map_err(|why| why.to_string())?;
        let ring = Resolver::layout::<RingLayout>(&types, name).map_err(|why| why.to_string())?;
        let head =
            profile.symbol("PsActiveProcessHead").map_err(text)?.ok_or("it has no symbol PsActiveProcessHead")?;
        let id = profile.metadata().guid_age();
        Ok(Self {
            id,
            spec,
            ptes: Arc::new(ptes),
            pointer_bytes: profile.pointer_bytes(),
            layout,
            ring,
            head: head.address,
        })
    }

    /// Whether an address is in the kernel's half.
    fn is_kernel_address(&self, va: Va) -> bool {
        if self.pointer_bytes == 8 { va.0 >> 47 == 0x1_ffff } else { (0x8000_0000..=0xffff_ffff).contains(&va.0) }
    }

    /// `KUSER_SHARED_DATA`, which every address space has at the same place, must tell a version of Windows NT. A page
    /// that the image does not have says nothing.
    fn check_shared_data(&self, space: &AddressSpace<'_>) -> Result<(), String> {
        let at = Va(if self.pointer_bytes == 8 { 0xffff_f780_0000_0000 } else { 0xffdf_0000 });
        // NtMajorVersion: at the same offset in all versions.
        match space.translate(at).map(|_| space.read_u32(at.wrapping_add(0x26c)).ok()) {
            Err(PageFault { reason, .. }) => {
                Err(format!("its page tables have no KUSER_SHARED_DATA at {at}: {}", PageFault::physical(reason)))
            }
            Ok(None | Some(4 | 5 | 6 | 10)) => Ok(()),
            Ok(Some(major)) => Err(format!("its page tables show no KUSER_SHARED_DATA at {at}: major version {major}")),
        }
    }

    /// The kernel's place by the ring that `link` hangs in: the head of the ring lies in the kernel's image, at an RVA
    /// that the profile knows.
    fn search_ring(&self, space: &AddressSpace<'_>, link: Va) -> Result<Place, String> {
        let mut at = link;
        let mut failure = None;
        for _ in 0..MAX_PROCESSES {
            let base = at.0.wrapping_sub(self.head);
            if base.is_multiple_of(PAGE_BYTES) && self.is_kernel_address(Va(base)) {
                match image_at(space, Va(base)) {
                    Ok(place) => return Ok(place),
                    Err(why) => failure = Some(why),
                }
            }
            let before = Ring::new(at, space, &self.ring)
                .ends()
                .map_err(|fault| format!("the ring of processes breaks off: {fault}"))?;
            at = before.prev;
            if at == link {
                break;
            }
        }
        Err(failure
            .unwrap_or_else(|| "the ring of processes has no head at the place that the profile knows".to_owned()))
    }

    /// The head of the ring of processes must be the neighbour of its neighbours.
    fn check_ring(&self, space: &AddressSpace<'_>, base: Va) -> Result<(), String> {
        let head = base.wrapping_add(self.head);
        let ends = |at| {
            Ring::new(at, space, &self.ring)
                .ends()
                .map_err(|fault| format!("the ring of processes breaks off: {fault}"))
        };
        let ring = ends(head)?;
        if ends(ring.next)?.prev == head && ends(ring.prev)?.next == head {
            return Ok(());
        }
        Err(format!("PsActiveProcessHead at {head} is in no ring: its neighbours name others"))
    }

    /// Whether the kernel is the profile's: what was seen, or an error. `chosen` says that a person named the profile:
    /// then the header and the ring of processes, both where the profile has them, are enough when the record is lost.
    fn compare(&self, place: &Place, chosen: bool) -> Result<String, String> {
        match (&place.record, self.id) {
            (Ok((seen, pdb)), Some(id)) if id == *seen => Ok(format!("{seen} ({pdb})")),
            // Rekall's profiles carry the age of another stream of the PDB.
            (Ok((seen, pdb)), Some(id)) if id.guid == seen.guid => {
                Ok(format!("{seen} ({pdb}); the profile's age is {:X}, the GUID is the same", id.age))
            }
            (Ok((seen, pdb)), Some(id)) => {
                Err(format!("it is for {id}, and the kernel of this image is {seen} ({pdb})"))
            }
            (Ok((seen, pdb)), None) => {
                Ok(format!("{seen} ({pdb}); the profile does not tell its GUID, and its layout fits"))
            }
            (Err(why), _) if chosen => Ok(format!("its build is not known ({why}); the layout of the profile fits")),
            (Err(why), _) => Err(format!("the kernel's build is not known: {why}; --profile takes it all the same")),
        }
    }
}

/// The kernel's image at `base`. Its header must be there; its debug directory and RSDS record need not be.
fn image_at(space: &AddressSpace<'_>, base: Va) -> Result<Place, String> {
    let fault = |fault: PageFault| format!("the header of the kernel at {base} cannot be read: {fault}");
    if space.read_array(base).map_err(fault)? != *b"MZ" {
        return Err(format!("there is no MZ header at {base}"));
    }
    let pe = space.read_u32(base.wrapping_add(0x3c)).map_err(fault)?;
    let pe_at = base.wrapping_add(pe.into());
    if pe > 0x1000 || space.read_array(pe_at).map_err(fault)? != *b"PE\0\0" {
        return Err(format!("there is no PE header at {base}"));
    }
    Ok(Place { base, record: record_of(space, base, pe_at) })
}

/// The RSDS record of the image at `base` whose PE header is at `pe`. Layout: the PE format's optional header, debug
/// directory and `IMAGE_DEBUG_DIRECTORY`.
fn record_of(space: &AddressSpace<'_>, base: Va, pe: Va) -> Result<(GuidAge, String), String> {
    let word = |at: Va| space.read_u32(at).map_err(|fault| format!("its debug directory cannot be read: {fault}"));
    // The optional header follows 24 bytes on; the data directories come behind 96 bytes of it, or 112 when its magic
    // says 64 bits; the debug directory is the seventh.
    let magic = word(pe.wrapping_add(24))? & 0xffff;
    let directory = pe.wrapping_add(24 + if magic == 0x20b { 112 } else { 96 } + 6 * 8);
    let entries = base.wrapping_add(word(directory)?.into());
    let bytes = word(directory.wrapping_add(4))?;
    // Entries of 28 bytes: Type at 12 (2 is CodeView), AddressOfRawData at 20.
    for index in 0..u64::from(bytes / 28).min(64) {
        let entry = entries.wrapping_add(index * 28);
        if word(entry.wrapping_add(12))? != 2 {
            continue;
        }
        let mut record = [0; 24 + 260];
        let good = space.read_padded(base.wrapping_add(word(entry.wrapping_add(20))?.into()), &mut record);
        if let Some(found) = rsds::parse(record.get(..good).unwrap_or_default()) {
            return Ok(found);
        }
    }
    Err("it has no RSDS record that can be read".to_owned())
}

/// Physical memory, read as if it were mapped one to one.
struct Physical<'m>(&'m dyn PhysicalMemory);

impl Memory for Physical<'_> {
    fn read(&self, at: Va, buffer: &mut [u8]) -> Result<(), PageFault> {
        self.0.read(Pa(at.0), buffer)
    }
}
