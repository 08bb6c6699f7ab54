//! Linux: the build by the banner, the kernel's two places by where the banner lies.
//!
//! The kernel is moved twice (KASLR), independently: its physical address tells the page tables, which lie in its data;
//! its virtual address is the one at which these page tables show the banner again.

mod amd64;
mod arm64;
mod hinted;

use super::sightings::{Clue, Look, Sightings};
use super::{Evidence, Identity, MAX_LOOKUPS, Search};
use crate::addr::{Pa, Va};
use crate::image::{Hints, PhysicalMemory};
use crate::object::Types;
use crate::object::text_of_bytes;
use crate::paging::AddressSpace;
use crate::scan::{build_id, find_all};
use crate::session::Session;
use crate::vmcoreinfo::VmcoreInfo;
use memchr::memmem;
use quaid_profile::{Arch, BuildId, Error, Found, Os, ProfileFile, release_of};
use std::collections::HashMap;

/// How a banner begins.
pub(super) const PREFIX: &[u8] = b"Linux version ";
/// The longest banner, in bytes: release, builder, compiler and version are each limited to some tens of bytes.
const MAX_BANNER: usize = 1024;
/// At how many places one profile's page tables are looked into. Where an idle task lies at the right distance from the
/// banner, there mostly is the kernel.
const MAX_TRIES: usize = 64;
/// How often it is told that one profile does not fit.
const MAX_TOLD: usize = 16;
/// For how many banners the build-id is looked for: each time some 30 MiB are searched, and the image once.
const MAX_BUILD_IDS: usize = 16;

/// A banner in memory.
struct Hit {
    at: Pa,
    /// Without the newline at its end.
    banner: String,
}

/// Every text that could be `linux_banner`.
fn banners(memory: &dyn PhysicalMemory) -> impl Iterator<Item = Hit> {
    find_all(memory, PREFIX).filter_map(move |at| banner_at(memory, at))
}

/// The text at `at`, if it could be `linux_banner`: it ends with a newline and a zero byte, which the copies in the kernel's
/// log and in files mostly do not. Since 6.1 a template lies beside it that has no number of the build ("# SMP").
fn banner_at(memory: &dyn PhysicalMemory, at: Pa) -> Option<Hit> {
    let mut buffer = [0; MAX_BANNER];
    // What cannot be read is zero, and ends the text.
    let _ = memory.read(at, &mut buffer);
    let text = buffer.split(|&b| b == 0).next()?.strip_suffix(b"\n")?;
    let plausible = text.get(PREFIX.len()).is_some_and(u8::is_ascii_digit)
        && text.iter().all(|b| (b' '..=b'~').contains(b))
        && memmem::find(text, b" # ").is_none();
    plausible.then(|| Hit { at, banner: text_of_bytes(text) })
}

/// A Linux kernel of which an image tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinuxKernel {
    /// The text of `linux_banner`, without the newline at its end.
    pub banner: String,
    /// Its build-id, where the image tells it.
    pub build_id: Option<BuildId>,
}

/// The Linux kernels in an image by their banners, each once, in the order of their first places; no more than a search for
/// the kernel looks up. The build-ids of the first few are told: what the headers say (VMCOREINFO), else what the kernel has
/// written down in memory, else its notes.
pub fn linux_kernels(memory: &dyn PhysicalMemory, hints: &Hints) -> Vec<LinuxKernel> {
    let mut found: Vec<LinuxKernel> = Vec::new();
    let mut sightings = Sightings::new(memory, &Clue::LINUX);
    let mut look = Look::for_any(&[Clue::Banner]);
    while let Some((_, at)) = sightings.next(&mut look) {
        let Some(hit) = banner_at(memory, at) else { continue };
        if found.iter().any(|known| known.banner == hit.banner) {
            continue;
        }
        let build_id =
            (found.len() < MAX_BUILD_IDS).then(|| build_id_at(memory, &mut sightings, hints, &hit)).flatten();
        found.push(LinuxKernel { banner: hit.banner, build_id });
        if found.len() == MAX_LOOKUPS {
            break;
        }
    }
    found
}

/// The build-id of the kernel whose banner was seen, where its symbols are not known.
fn build_id_at<'m>(
    memory: &'m dyn PhysicalMemory,
    sightings: &mut Sightings<'m>,
    hints: &Hints,
    hit: &Hit,
) -> Option<BuildId> {
    let release = release_of(&hit.banner)?;
    let mut look = Look::for_any(&[Clue::Release]);
    let releases = std::iter::from_fn(|| sightings.next(&mut look).map(|(_, at)| at));
    build_id_of_headers(hints, release)
        .or_else(|| VmcoreInfo::at_places(memory, releases, release).find_map(|info| info.build_id()))
        .or_else(|| build_id::of_kernel(memory, hit.at))
}

/// The build-id of VMCOREINFO, when it is of a kernel of this release.
fn build_id_of_headers(hints: &Hints, release: &str) -> Option<BuildId> {
    hints.vmcoreinfo.text("OSRELEASE").filter(|told| *told == release)?;
    hints.vmcoreinfo.build_id()
}

/// A profile that is tried at each place of its banner.
struct Candidate {
    profile: Found,
    /// The build-id by which it was found, when it was not by the banner.
    by_build_id: Option<BuildId>,
    /// Where it has what is looked at, or what it lacks.
    layout: Result<Layout, String>,
    /// At how many places the page tables were looked into.
    tries: usize,
    /// How often it was told that it does not fit.
    told: usize,
}

impl Candidate {
    fn new(profile: Found) -> Self {
        Self { layout: Layout::of(&profile.profile), profile, by_build_id: None, tries: 0, told: 0 }
    }
}

/// The profiles that were loaded in a search, each once.
#[derive(Default)]
pub(super) struct Candidates {
    all: Vec<Candidate>,
    by_name: HashMap<String, Option<usize>>,
    /// Those that may fit a banner.
    by_banner: HashMap<String, Vec<usize>>,
    /// For how many banners the build-id was looked for.
    build_ids: usize,
    /// Whether it was told that no other banners are looked up.
    full: bool,
}

impl<'m> Search<'m, '_, '_> {
    /// The kernel whose banner is at `at`, if a profile fits there.
    pub(super) fn linux_at(&mut self, at: Pa, candidates: &mut Candidates) -> Option<Session<'m>> {
        self.linux_by(&banner_at(self.memory, at)?, candidates)
    }

    /// The kernel of this banner, if a profile fits at its place.
    fn linux_by(&mut self, hit: &Hit, candidates: &mut Candidates) -> Option<Session<'m>> {
        if !candidates.by_banner.contains_key(&hit.banner) {
            if candidates.by_banner.len() == MAX_LOOKUPS {
                if !std::mem::replace(&mut candidates.full, true) {
                    self.limit_lookups();
                }
                return None;
            }
            self.look_up(hit, candidates);
        }
        let Candidates { all, by_banner, .. } = candidates;
        for &index in by_banner.get(&hit.banner).into_iter().flatten() {
            let Some(candidate) = all.get_mut(index) else { continue };
            match self.try_at(candidate, hit) {
                Ok(Confirmed { space, slide, build_id }) => {
                    self.compare_offset(slide);
                    let Candidate { profile: Found { profile, name }, by_build_id, .. } = all.swap_remove(index);
                    let evidence = by_build_id.map_or(Evidence::Banner { build_id }, Evidence::BuildId);
                    let session = Session::new(profile, name, Os::Linux, space, slide);
                    return Some(session.with_evidence(evidence));
                }
                Err(why) => {
                    if self.is_told(candidate) {
                        self.refuse(&candidate.profile.name, why);
                    }
                }
            }
        }
        None
    }

    /// Loads the profiles that may fit a new banner.
    fn look_up(&mut self, hit: &Hit, candidates: &mut Candidates) {
        self.tell(&format!("Found banner @ {}: {}", hit.at, hit.banner));
        let names = self.profiles.linux_candidates(&hit.banner).unwrap_or_else(|why| {
            self.tell(&format!("Could not look for the banner: {why}"));
            self.fail("the index of Linux kernels", why.to_string());
            Vec::new()
        });
        let mut fitting: Vec<usize> = names.into_iter().filter_map(|name| self.candidate(name, candidates)).collect();
        let mut build_id = None;
        if fitting.is_empty() && candidates.build_ids < MAX_BUILD_IDS {
            candidates.build_ids += 1;
            build_id = build_id_at(self.memory, &mut self.sightings, &self.options.hints, hit);
        }
        if let Some(id) = &build_id {
            self.tell(&format!("No profile by the banner; the kernel's build-id is {id}"));
            if let Some(index) = self.candidate(format!("Linux/BUILDID/{id}"), candidates) {
                if let Some(candidate) = candidates.all.get_mut(index) {
                    candidate.by_build_id = Some(id.clone());
                }
                fitting.push(index);
            }
        }
        self.note(Identity::Linux { banner: hit.banner.clone(), build_id });
        candidates.by_banner.insert(hit.banner.clone(), fitting);
    }

    /// The profile of this name, loaded once.
    fn candidate(&mut self, name: String, candidates: &mut Candidates) -> Option<usize> {
        let Candidates { all, by_name, .. } = candidates;
        *by_name.entry(name).or_insert_with_key(|name| {
            let found = self.load_if_any(name)?;
            if !self.may_try() {
                return None;
            }
            self.tell(&format!("Verifying profile {}", found.name));
            all.push(Candidate::new(found));
            Some(all.len() - 1)
        })
    }

    /// With the profile that was asked for.
    pub(super) fn linux_with(&mut self, found: Found) -> Option<Session<'m>> {
        let mut candidate = Candidate::new(found);
        let name = candidate.profile.name.clone();
        self.tell(&format!("Verifying profile {name}"));
        let mut failure = None;
        let mut hinted = self.hinted_banners().into_iter();
        let mut look = Look::for_any(&[Clue::Banner]);
        let memory = self.memory;
        while let Some(hit) = hinted
            .next()
            .or_else(|| std::iter::from_fn(|| self.sightings.next(&mut look)).find_map(|(_, at)| banner_at(memory, at)))
        {
            match self.try_at(&mut candidate, &hit) {
                Ok(Confirmed { space, slide, .. }) => {
                    self.compare_offset(slide);
                    return Some(Session::new(candidate.profile.profile, name, Os::Linux, space, slide));
                }
                Err(why) => {
                    if self.is_told(&mut candidate) {
                        self.tell(&format!("No kernel of {name} @ {}: {why}", hit.at));
                    }
                    // Why the right banner is not it says more than that another one is another.
                    if failure.is_none() || check_identity(&candidate.profile.profile, &hit.banner).is_ok() {
                        failure = Some(why);
                    }
                }
            }
        }
        let why = failure.unwrap_or_else(|| "the image has no banner of a Linux kernel".to_owned());
        self.refuse(&name, why);
        None
    }

    /// Whether it is to be told once more that this profile does not fit.
    fn is_told(&mut self, candidate: &mut Candidate) -> bool {
        candidate.told += 1;
        if candidate.told == MAX_TOLD + 1 {
            self.tell(&format!("Profile {} does not fit at other places, which are not told", candidate.profile.name));
        }
        candidate.told <= MAX_TOLD
    }

    /// The kernel's address space and how far it was moved, when the banner `hit` is the one of the profile's kernel. Where
    /// no idle task is, that is all that is looked at: an image can have any number of copies of a banner.
    fn try_at(&mut self, candidate: &mut Candidate, hit: &Hit) -> Result<Confirmed<'m>, String> {
        check_identity(&candidate.profile.profile, &hit.banner)?;
        let layout = candidate.layout.as_ref().map_err(Clone::clone)?;
        let kernel = Kernel { layout, memory: self.memory, banner_at: hit.at };
        kernel.check_idle_task()?;
        candidate.tries = candidate.tries.saturating_add(1);
        if candidate.tries > MAX_TRIES {
            let why = format!("only {MAX_TRIES} places with its banner and an idle task are looked into");
            if candidate.tries == MAX_TRIES + 1 {
                self.limit(&format!("other places of {}", candidate.profile.name), why.clone());
            }
            return Err(why);
        }
        let Placed { space, slide, remark } = match layout.arch {
            Arch::Arm64 => arm64::place(&kernel, &hit.banner, self.options)?,
            _ => amd64::place(&kernel, self.options)?,
        };
        let build_id = self.check_build_id(&candidate.profile.profile, &kernel, hit)?;
        // Where the banner is by the kernel's own reckoning: a raw image may begin elsewhere than the memory.
        let banner_at = space.translate(Va(layout.banner.wrapping_add(slide))).unwrap_or(hit.at);
        self.tell(&format!(
            "Found linux_banner @ {banner_at} (DTB: {}, slide: {slide:#x}{remark}): {}",
            space.root(),
            hit.banner
        ));
        Ok(Confirmed { space, slide, build_id })
    }

    /// The build-id that both the profile and the kernel at its place tell; an error where they are two.
    fn check_build_id(
        &self,
        profile: &ProfileFile,
        kernel: &Kernel<'_, '_>,
        hit: &Hit,
    ) -> Result<Option<BuildId>, String> {
        let Some(own) = profile.metadata().build_id() else { return Ok(None) };
        let of_headers = || build_id_of_headers(&self.options.hints, release_of(&hit.banner)?);
        match kernel.build_id().or_else(of_headers) {
            Some(seen) if seen != own => Err(format!(
                "it is of the build with the build-id {own}, and the kernel of this image has {seen}: another build of the same version"
            )),
            seen => Ok(seen),
        }
    }
}

/// A kernel whose profile fits.
struct Confirmed<'m> {
    space: AddressSpace<'m>,
    slide: u64,
    /// The build-id that profile and image have in common.
    build_id: Option<BuildId>,
}

/// Where a kernel is.
struct Placed<'m> {
    space: AddressSpace<'m>,
    slide: u64,
    /// What else there is to say of it.
    remark: String,
}

/// A profile with a banner must have this one; one without must be of its release.
fn check_identity(profile: &ProfileFile, banner: &str) -> Result<(), String> {
    let metadata = profile.metadata();
    match metadata.arch() {
        Some(Arch::Amd64 | Arch::Arm64) | None => {}
        Some(arch) => return Err(format!("its kernel runs on {}; such page tables are not read yet", arch.name())),
    }
    match (metadata.banner(), metadata.release()) {
        (Some(own), _) if own.trim_end() != banner => {
            Err(format!("it is for \"{own}\", and the kernel of this image says \"{banner}\""))
        }
        (None, Some(release)) if release_of(banner) != Some(release) => {
            Err(format!("it is for {release}, and the kernel of this image says \"{banner}\""))
        }
        _ => Ok(()),
    }
}

/// The symbols of the kernel's top page table, by age.
const PAGE_TABLES: [&str; 3] = ["init_top_pgt", "init_level4_pgt", "swapper_pg_dir"];

/// Where a profile's kernel has what is looked at: addresses at which it was linked.
struct Layout {
    /// Which processors the kernel is for.
    arch: Arch,
    /// `linux_banner`.
    banner: u64,
    /// `init_task.comm`.
    idle_name: u64,
    /// The top page table.
    page_tables: Option<u64>,
    /// `__pgtable_l5_enabled`.
    five_levels: Option<u64>,
    /// `phys_base`.
    phys_base: Option<u64>,
    /// `sme_me_mask`, also of guests (SEV).
    encryption_mask: Option<u64>,
    /// `kimage_voffset`.
    voffset: Option<u64>,
    /// `__start_notes` and `__stop_notes`.
    notes: Option<(u64, u64)>,
}

impl Layout {
    fn of(profile: &ProfileFile) -> Result<Self, String> {
        let text = |why: Error| why.to_string();
        let find = |name: &str| profile.symbol(name).map(|found| found.map(|symbol| symbol.address)).map_err(text);
        let need = |name: &str| find(name)?.ok_or_else(|| format!("it has no symbol {name}"));
        let comm = Types::new(profile)
            .find("task_struct", "comm")
            .map_err(text)?
            .ok_or("its task_struct has no member comm")?;
        let mut page_tables = None;
        for name in PAGE_TABLES {
            page_tables = page_tables.or(find(name)?);
        }
        Ok(Self {
            arch: profile.metadata().arch().unwrap_or(Arch::Amd64),
            banner: need("linux_banner")?,
            idle_name: need("init_task")?.wrapping_add(comm.offset),
            page_tables,
            five_levels: find("__pgtable_l5_enabled")?,
            phys_base: find("phys_base")?,
            encryption_mask: find("sme_me_mask")?,
            voffset: find("kimage_voffset")?,
            notes: find("__start_notes")?.zip(find("__stop_notes")?),
        })
    }
}

/// The kernel of a profile, at a supposed place. Its image is in one piece.
struct Kernel<'l, 'm> {
    layout: &'l Layout,
    memory: &'m dyn PhysicalMemory,
    /// Where its banner lies.
    banner_at: Pa,
}

impl Kernel<'_, '_> {
    /// Where the part of the image that was linked at `linked` lies.
    fn physical(&self, linked: u64) -> Pa {
        self.banner_at.wrapping_add(linked.wrapping_sub(self.layout.banner))
    }

    /// Where the kernel's top page table was linked.
    fn page_tables(&self) -> Result<u64, String> {
        self.layout.page_tables.ok_or_else(|| format!("it has no symbol {}", PAGE_TABLES.join(" or ")))
    }

    /// The build-id in its notes.
    fn build_id(&self) -> Option<BuildId> {
        let (start, end) = self.layout.notes?;
        build_id::in_notes(self.memory, self.physical(start), end.checked_sub(start)?)
    }

    fn bytes<const N: usize>(&self, linked: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.memory.read(self.physical(linked), &mut bytes).ok()?;
        Some(bytes)
    }

    /// `init_task` must be the idle task: "swapper/0", "swapper" before 2.6.38.
    fn check_idle_task(&self) -> Result<(), String> {
        let at = self.layout.idle_name;
        match self.bytes::<7>(at) {
            Some(bytes) if &bytes == b"swapper" => Ok(()),
            seen => Err(format!(
                "init_task would be at {}, and its name there is {}, not swapper",
                self.physical(at),
                seen.map_or("unreadable".to_owned(), |b| format!("\"{}\"", text_of_bytes(&b).escape_default()))
            )),
        }
    }
}
