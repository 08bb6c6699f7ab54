//! Windows: the build by the RSDS record of the kernel, the page tables by the System process, the kernel's place by the
//! ring of processes.

use super::{Identity, MAX_KERNELS, Search, file_name};
use crate::addr::{Pa, Va};
use crate::error::PageFault;
use crate::image::PhysicalMemory;
use crate::object::{KernelStruct, ListEntry, Memory, Resolver, Types, kernel_struct};
use crate::os::windows::{Eprocess, EprocessLayout};
use crate::paging::{AMD64, AddressSpace, PAGE_BYTES, PagingSpec, Software, X86_PAE};
use crate::scan::{find_all, rsds};
use crate::session::Session;
use quaid_profile::{Arch, Found, GuidAge, Os, ProfileFile};

/// The PDBs of the kernel's variants: one or several processors, without or with PAE.
const KERNEL_PDBS: [&str; 4] = ["ntkrnlmp.pdb", "ntkrnlpa.pdb", "ntkrpamp.pdb", "ntoskrnl.pdb"];

/// Names of processes whose page tables show the kernel, as they lie in memory: padded by zeros. The first one is there
/// in every image; the others serve when its page is missing.
const PROCESSES: [&[u8; 15]; 4] =
    [b"System\0\0\0\0\0\0\0\0\0", b"smss.exe\0\0\0\0\0\0\0", b"csrss.exe\0\0\0\0\0\0", b"lsass.exe\0\0\0\0\0\0"];

/// How many entries of the ring of processes are tried as its head.
const MAX_PROCESSES: usize = 1 << 12;

/// How many places that could be a process of one name are looked into.
const MAX_CANDIDATES: usize = 256;

/// Whether a PDB's name is that of a kernel; linkers may have written a path before it.
fn is_kernel(pdb: &str) -> bool {
    KERNEL_PDBS.iter().any(|name| name.eq_ignore_ascii_case(file_name(pdb)))
}

impl<'m> Search<'m, '_, '_> {
    /// Each kernel's record in turn, until one's profile fits.
    pub(super) fn windows(&mut self) -> Option<Session<'m>> {
        for record in rsds::records(self.memory).filter(|record| is_kernel(&record.pdb)) {
            if !self.is_new(Identity::Windows { id: record.id, pdb: record.pdb }) {
                continue;
            }
            let name = format!("nt/GUID/{}", record.id);
            self.tell(&format!("Verifying profile {name}"));
            if let Some(found) = self.load_if_any(&name) {
                match self.verify(found) {
                    Ok(session) => return Some(session),
                    Err(why) => self.refuse(&name, why),
                }
            }
        }
        None
    }

    /// With the profile that was asked for.
    pub(super) fn windows_with(&mut self, found: Found) -> Option<Session<'m>> {
        let name = found.name.clone();
        self.tell(&format!("Verifying profile {name}"));
        // A profile of another build finds nothing at all: what the image is, is told first.
        if let Some(expected) = found.profile.metadata().guid_age() {
            let mut seen = Vec::new();
            for record in rsds::records(self.memory).filter(|record| is_kernel(&record.pdb)) {
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
                    format!("it is for {expected}, and the kernel of this image is {}", super::list(&seen)),
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
        let Found { profile, name } = found;
        let kernel = Kernel::of(&profile, &name)?;
        let mut first_failure = None;
        for process in PROCESSES {
            let mut candidates = 0;
            for hit in find_all(self.memory, process) {
                let at = Pa(hit.0.wrapping_sub(kernel.layout.name.offset));
                match self.kernel_of_process(&kernel, at) {
                    Ok(None) => {}
                    Ok(Some((space, place))) => {
                        self.tell(&format!("Found _EPROCESS @ {at:#} (DTB: {:#})", space.root()));
                        self.tell(&format!("Kernel at {}: {} ({})", place.base, place.id, place.pdb));
                        if let Some(note) = kernel.differs(&place)? {
                            self.tell(&note);
                        }
                        return Ok(Session::new(profile, name, Os::Windows, space, place.base.0));
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
        let space = AddressSpace::new(self.memory, kernel.spec, Software::Windows, self.options.dtb.unwrap_or(dtb));
        kernel.check_shared_data(&space)?;
        let place = match self.options.kernel_slide {
            Some(base) => image_at(&space, Va(base))?,
            None => kernel.search_ring(&space, links.prev)?,
        };
        kernel.check_ring(&space, place.base)?;
        Ok(Some((space, place)))
    }
}

/// Where a kernel runs, and what its image says that it is.
struct Place {
    base: Va,
    id: GuidAge,
    pdb: String,
}

/// What a profile says about its kernel.
struct Kernel {
    id: Option<GuidAge>,
    spec: &'static PagingSpec,
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
    fn of(profile: &ProfileFile, name: &str) -> Result<Self, String> {
        let text = |why: quaid_profile::Error| why.to_string();
        let spec = match profile.metadata().arch() {
            Some(Arch::Amd64) => &AMD64,
            Some(Arch::I386) => match profile.structure("_MMPTE").map_err(text)?.map(|pte| pte.size) {
                Some(4) => return Err("its kernel runs without PAE; such page tables are not read yet".to_owned()),
                _ => &X86_PAE,
            },
            Some(arch) => return Err(format!("its kernel runs on {}; such page tables are not read yet", arch.name())),
            None => return Err("it does not tell its architecture ($METADATA.arch)".to_owned()),
        };
        let types = Types::new(profile);
        let layout = Resolver::layout::<EprocessLayout>(&types, name).map_err(|why| why.to_string())?;
        let ring = Resolver::layout::<RingLayout>(&types, name).map_err(|why| why.to_string())?;
        let head =
            profile.symbol("PsActiveProcessHead").map_err(text)?.ok_or("it has no symbol PsActiveProcessHead")?;
        let id = profile.metadata().guid_age();
        Ok(Self { id, spec, pointer_bytes: profile.pointer_bytes(), layout, ring, head: head.address })
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

    /// Whether the kernel is another build than the profile's: an error. A remark where the two may still be the same.
    fn differs(&self, place: &Place) -> Result<Option<String>, String> {
        match self.id {
            Some(id) if id == place.id => Ok(None),
            // Rekall's profiles carry the age of another stream of the PDB.
            Some(id) if id.guid == place.id.guid => Ok(Some(format!(
                "The profile's age is {:X} and the kernel's {:X}; the GUID is the same",
                id.age, place.id.age
            ))),
            Some(id) => Err(format!("it is for {id}, and the kernel of this image is {} ({})", place.id, place.pdb)),
            None => Ok(Some("The profile does not tell its GUID; the kernel of this image fits its layout".to_owned())),
        }
    }
}

/// What the image at `base` says that it is. Layout: the PE format's headers, debug directory and RSDS record.
fn image_at(space: &AddressSpace<'_>, base: Va) -> Result<Place, String> {
    let fault = |what: &str| {
        let what = what.to_owned();
        move |fault: PageFault| format!("{what} of the kernel at {base} cannot be read: {fault}")
    };
    let at = |rva: u32| base.wrapping_add(u64::from(rva));
    if space.read_array(base).map_err(fault("the header"))? != *b"MZ" {
        return Err(format!("there is no MZ header at {base}"));
    }
    let pe = space.read_u32(at(0x3c)).map_err(fault("the header"))?;
    if pe > 0x1000 || space.read_array(at(pe)).map_err(fault("the header"))? != *b"PE\0\0" {
        return Err(format!("there is no PE header at {base}"));
    }
    // The optional header follows 24 bytes on; the data directories come behind 96 bytes of it, or 112 when its magic
    // says 64 bits; the debug directory is the seventh.
    let magic = space.read_u16(at(pe + 24)).map_err(fault("the header"))?;
    let directories = pe + 24 + if magic == 0x20b { 112 } else { 96 };
    let entry = |offset| space.read_u32(at(directories + 6 * 8 + offset)).map_err(fault("the debug directory"));
    let (debug, bytes) = (entry(0)?, entry(4)?);
    // Entries of 28 bytes; type 2 is CodeView, and its RVA is at 20.
    for index in 0..(bytes / 28).min(64) {
        let field = |offset: u32| {
            let rva = debug.checked_add(index * 28 + offset).ok_or("the debug directory lies nowhere")?;
            space.read_u32(at(rva)).map_err(fault("the debug directory"))
        };
        if field(12)? != 2 {
            continue;
        }
        let mut record = [0; 24 + 260];
        let record_at = at(field(20)?);
        let good = space.read_padded(record_at, &mut record);
        if let Some((id, pdb)) = rsds::parse(record.get(..good).unwrap_or_default()) {
            return Ok(Place { base, id, pdb });
        }
    }
    Err(format!("the kernel at {base} has no RSDS record"))
}

/// Physical memory, read as if it were mapped one to one.
struct Physical<'m>(&'m dyn PhysicalMemory);

impl Memory for Physical<'_> {
    fn read(&self, at: Va, buffer: &mut [u8]) -> Result<(), PageFault> {
        self.0.read(Pa(at.0), buffer)
    }
}
