//! Which kernel is in an image, and where: the profile, the page tables and the place at which the kernel runs.
//!
//! Nothing is taken on trust: a profile counts only when the kernel that the page tables show is the one that the profile
//! describes. A wrong answer is worse than none.

mod linux;
mod sightings;
mod windows;

pub use linux::{LinuxKernel, linux_kernels};
pub use windows::is_kernel as is_windows_kernel;

use crate::image::{Hints, PhysicalMemory};
use crate::paging::Pagefile;
use crate::session::Session;
use quaid_profile::{BuildId, Found, GuidAge, NotFound, Os, ProfilePath, Step, guid_of_name, release_of};
use sightings::{Clue, Look, Sightings};
use std::fmt;

/// What is known already, from a person or from the image's headers.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Name or path of the profile: it is checked, and not searched for.
    pub profile: Option<String>,
    /// Physical address of the kernel's top page table.
    pub dtb: Option<u64>,
    /// What is to be added to the profile's addresses: the address of the kernel's image for Windows, how far the kernel
    /// runs from where it was linked for Linux.
    pub kernel_slide: Option<u64>,
    /// The page files of Windows, by number: pages that were written there are read from them.
    pub pagefiles: Vec<Pagefile>,
    /// What the image's headers say: tried before the image is searched, and confirmed like what is found there. Empty for
    /// a memory that is not the image's own, such as a guest's.
    pub hints: Hints,
}

/// The identity of a kernel, as the image tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// An RSDS record of a kernel.
    Windows {
        /// The build.
        id: GuidAge,
        /// The PDB's name, as the record has it.
        pdb: String,
    },
    /// The text of `linux_banner`, without the newline at its end.
    Linux {
        /// The text.
        banner: String,
        /// The build-id, where the image tells it and it was looked for.
        build_id: Option<BuildId>,
    },
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Windows { id, pdb } => write!(f, "{id} ({pdb})"),
            Self::Linux { banner, build_id: None } => write!(f, "\"{banner}\""),
            Self::Linux { banner, build_id: Some(id) } => write!(f, "\"{banner}\" (build-id {id})"),
        }
    }
}

/// What decided that a profile is the one of the image's kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// A person named the profile.
    Named,
    /// The RSDS record of the Windows kernel names this build.
    Record(GuidAge),
    /// The Linux kernel's banner.
    Banner {
        /// Its build-id, where both image and profile tell it: it is the same.
        build_id: Option<BuildId>,
    },
    /// The Linux kernel's build-id: no place has a profile by its banner.
    BuildId(BuildId),
    /// Rekall's symbol-offset index: symbols of the Linux kernel's own table are as far apart as they are in this profile
    /// alone. No place has a profile by its banner or its build-id.
    SymbolOffsets {
        /// How many traits of the profile the kernel has.
        matched: usize,
        /// How many could be compared.
        compared: usize,
    },
    /// The Windows kernel's exports: they are where the profile has them.
    Exports {
        /// How many are.
        matched: usize,
        /// How many the profile knows.
        compared: usize,
        /// The build that the RSDS record names all the same, or why there is no record.
        record: Result<GuidAge, String>,
    },
    /// Rekall's data index: the bytes of the Windows kernel in places that it names.
    Data {
        /// How many of them are as they should be.
        matched: usize,
        /// How many memory has.
        compared: usize,
    },
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named => f.write_str("its name, which was given"),
            Self::Record(id) => write!(f, "the kernel's RSDS record, {id}"),
            Self::Banner { build_id: None } => f.write_str("the kernel's banner"),
            Self::Banner { build_id: Some(id) } => write!(f, "the kernel's banner; its build-id is the same, {id}"),
            Self::BuildId(id) => write!(f, "the kernel's build-id, {id}; no profile is known by its banner"),
            Self::SymbolOffsets { matched, compared } => write!(
                f,
                "{matched} of {compared} traits of the symbol-offset index fit; no profile is known by the kernel's banner or build-id"
            ),
            Self::Data { matched, compared } => {
                write!(f, "{matched} of {compared} points of the data index fit; its RSDS record cannot be read")
            }
            Self::Exports { matched, compared, record } => {
                write!(f, "{matched} of {compared} exports of the kernel fit; ")?;
                match record {
                    Ok(id) => write!(f, "its RSDS record names another build, {id}, and may be forged"),
                    Err(why) => f.write_str(why),
                }
            }
        }
    }
}

/// A profile that does not fit the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The profile's name.
    pub profile: String,
    /// What was expected, and what was seen.
    pub why: String,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing in the image tells a kernel; it may be in what could not be read.
    #[error(
        "no kernel was found: the image has no RSDS record of a Windows kernel and no banner of a Linux kernel{}; \
             if it is known what it is, give its profile by --profile", failures(.0)
    )]
    NoKernel(Vec<Refusal>),
    /// There is a Windows kernel, whose RSDS record is lost, and nothing else that it has tells its build.
    #[error(
        "there is a Windows kernel, and its build is not known: {kernel}; they are in no index of exports (nt/exports) of the places \
             that were searched: {}; --profile names its profile, `repo import` of more kernels enters theirs",
        places(.searched)
    )]
    NoBuild {
        /// Where it is, and what can be read of it.
        kernel: String,
        /// Where its exports were looked for.
        searched: Vec<String>,
    },
    /// The kernel is known, and its profile is not to be had.
    #[error(
        "there is no profile for the kernel of this image, {}; searched: {}{}",
        list(.found, *.more), places(.searched), failures(.failed)
    )]
    NoProfile {
        /// The kernels in the image, the first ones when there are many.
        found: Vec<Identity>,
        /// How many there are besides.
        more: usize,
        /// Where their profiles were looked for.
        searched: Vec<String>,
        /// What could not be asked or read, and what was left out: the profile may be there.
        failed: Vec<Refusal>,
    },
    /// The profile that was asked for cannot be loaded.
    #[error(transparent)]
    Profile(#[from] NotFound),
    /// There are profiles, and none fits.
    #[error("no profile fits this image: {}", refusals(.0))]
    Refused(Vec<Refusal>),
}

/// How many kernels an error lists.
const MAX_LISTED: usize = 4;

fn list(found: &[Identity], more: usize) -> String {
    let texts: Vec<String> = found.iter().take(MAX_LISTED).map(Identity::to_string).collect();
    let more = more + found.len().saturating_sub(MAX_LISTED);
    let listed = texts.join(" or ");
    if more == 0 { listed } else { format!("{listed} and {more} more") }
}

fn places(searched: &[String]) -> String {
    if searched.is_empty() {
        "nowhere: the profile path has no place that can be used (--profile_path)".to_owned()
    } else {
        searched.join(", ")
    }
}

fn failures(all: &[Refusal]) -> String {
    if all.is_empty() { String::new() } else { format!("; not everything could be looked at: {}", refusals(all)) }
}

fn refusals(all: &[Refusal]) -> String {
    let texts: Vec<String> = all.iter().map(|refusal| format!("{}: {}", refusal.profile, refusal.why)).collect();
    texts.join("; ")
}

/// The repository that the command lines make where there is none.
const NEW_REPOSITORY: &str = "profiles";

impl OpenError {
    /// The command lines that make the missing profiles and put them where they are found; empty when no profile is
    /// missing. `image` and `repository` stand for the two in the lines; without a repository they make one.
    pub fn next_steps(&self, image: &str, repository: Option<&str>) -> Vec<String> {
        let (image, target) = (shell_word(image), shell_word(repository.unwrap_or(NEW_REPOSITORY)));
        let mut steps: Vec<String> = match self {
            Self::NoProfile { found, .. } => {
                found.iter().take(MAX_LISTED).flat_map(|identity| identity.next_steps(&image, &target)).collect()
            }
            Self::Profile(NotFound::Nowhere { name, .. }) => match guid_of_name(name) {
                Some((guid, Some(age))) => windows_steps(GuidAge { guid, age }, None, &image, &target),
                _ if repository.is_some() => {
                    return vec![format!("quaid repo -C {target} list          # tells the names that there are")];
                }
                _ => Vec::new(),
            },
            _ => Vec::new(),
        };
        if repository.is_none() && !steps.is_empty() {
            steps.insert(0, format!("quaid repo init {target}"));
            steps.push(format!("quaid --profile_path {target} -f {image} ..."));
        }
        steps
    }
}

/// Where debugging information comes from, as a shell takes it.
const SERVER_HINT: &str = "# from the servers of DEBUGINFOD_URLS; or instead of these two:";
/// Where the input of convert_profile comes from, as a shell takes it.
const ZIP_HINT: &str =
    "# of module_dwarf.ko, System.map and config of this kernel; or the vmlinux of its debug package";

impl Identity {
    fn banner(&self) -> Option<&str> {
        match self {
            Self::Linux { banner, .. } => Some(banner),
            Self::Windows { .. } => None,
        }
    }

    /// `image` and `repository` are words for a shell.
    fn next_steps(&self, image: &str, repository: &str) -> Vec<String> {
        match self {
            Self::Windows { id, pdb } => windows_steps(*id, Some(file_name(pdb)), image, repository),
            Self::Linux { banner, build_id } => {
                let release = release_of(banner).unwrap_or("kernel");
                let (zip, json) = (shell_word(&format!("{release}.zip")), shell_word(&format!("{release}.json")));
                let fetch = |id| {
                    let fetch = format!("quaid fetch_debuginfo --build_id {id}    {SERVER_HINT}");
                    [fetch, format!("quaid convert_profile {id}.debug {json}")]
                };
                let mut steps: Vec<String> = build_id.iter().flat_map(fetch).collect();
                steps.push(format!("quaid convert_profile {zip} {json}    {ZIP_HINT}"));
                steps.push(format!("quaid repo -C {repository} add --banner {} {json}", shell_word(banner)));
                steps
            }
        }
    }
}

/// The lines for a Windows build; without the PDB's name the first one tells it.
fn windows_steps(id: GuidAge, pdb: Option<&str>, image: &str, repository: &str) -> Vec<String> {
    let scan = match pdb {
        Some(pdb) => format!("quaid -f {image} version_scan --name_regex {}", shell_word(pdb)),
        None => format!("quaid -f {image} version_scan          # tells the PDB's name"),
    };
    let build = pdb.map_or_else(|| id.to_string(), |pdb| shell_word(&format!("{pdb}/{id}")));
    let pdb = shell_word(pdb.unwrap_or("NAME.pdb"));
    vec![
        format!(
            "quaid repo -C {repository} build nt/GUID add_guid {build}    # as --autobuild does at once; or by hand:"
        ),
        scan,
        format!("quaid fetch_pdb --guid {id} --filename {pdb} -D ."),
        format!("quaid parse_pdb -f {pdb} --output {id}.json"),
        format!("quaid repo -C {repository} add {id}.json"),
    ]
}

/// A PDB's name without the folders that linkers write before it.
fn file_name(pdb: &str) -> &str {
    pdb.rsplit(['\\', '/']).next().unwrap_or(pdb)
}

/// The text as one word for a shell: what comes from an image is not to run anything when the line is pasted.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+/:@%=,~".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Tells each step, in the order in which it happens.
pub(crate) type Observer<'o> = dyn FnMut(&str) + 'o;

impl<'m> Session<'m> {
    /// Finds the kernel in `memory` and its profile in `profiles`, and checks that the two fit. `observe` is told each
    /// step as it happens.
    pub fn open(
        memory: &'m dyn PhysicalMemory,
        profiles: &ProfilePath,
        options: &Options,
        observe: &mut dyn FnMut(&str),
    ) -> Result<Self, OpenError> {
        let mut search = Search {
            memory,
            sightings: Sightings::new(memory, &[&Clue::WINDOWS[..], &Clue::LINUX].concat()),
            profiles,
            options,
            observe,
            found: Vec::new(),
            more: 0,
            refusals: Vec::new(),
            failed: Vec::new(),
            tried: 0,
            nameless: None,
        };
        let session = match &options.profile {
            Some(name) => search.with_profile(name)?,
            None => search
                .windows_by_hints()
                .or_else(|| search.linux_by_hints())
                .or_else(|| search.by_identity())
                .or_else(|| search.windows_by_content()),
        };
        if session.is_none() {
            search.tell_unreadable();
        }
        let Search { found, more, mut refusals, failed, nameless, .. } = search;
        match session {
            Some(session) => Ok(session),
            None if !refusals.is_empty() => {
                refusals.extend(failed);
                Err(OpenError::Refused(refusals))
            }
            None if found.is_empty() => Err(match nameless {
                Some(kernel) => OpenError::NoBuild { kernel, searched: profiles.places() },
                None => OpenError::NoKernel(failed),
            }),
            None => {
                Err(OpenError::NoProfile { found: without_smudged(found), more, searched: profiles.places(), failed })
            }
        }
    }
}

/// Without banners that are another one with something behind it: what was printed over a longer line in a buffer.
fn without_smudged(found: Vec<Identity>) -> Vec<Identity> {
    let banners: Vec<String> = found.iter().filter_map(|identity| identity.banner().map(str::to_owned)).collect();
    let smudged = |banner: &str| banners.iter().any(|other| other != banner && banner.starts_with(other.as_str()));
    found.into_iter().filter(|identity| !identity.banner().is_some_and(smudged)).collect()
}

/// How many different kernels of one image are kept for the error. An image has one, and copies of files of some others.
const MAX_KERNELS: usize = 64;
/// How many different kernels of one system are looked up in the profile path: more than an image has by chance, so that
/// records which someone wrote into it do not hide the kernel.
const MAX_LOOKUPS: usize = 4096;
/// How many profiles are tried.
const MAX_PROFILES: usize = 64;
/// How many refusals are kept for the error. Each is told as it happens.
const MAX_REFUSALS: usize = 16;

/// A search under way.
struct Search<'m, 's, 'o> {
    memory: &'m dyn PhysicalMemory,
    sightings: Sightings<'m>,
    profiles: &'s ProfilePath,
    options: &'s Options,
    observe: &'s mut Observer<'o>,
    /// Kernels of which the image tells.
    found: Vec<Identity>,
    /// How many it tells of besides.
    more: usize,
    /// Profiles that were tried, and why they are not it.
    refusals: Vec<Refusal>,
    /// What could not be asked or read, and limits that were reached.
    failed: Vec<Refusal>,
    /// How many profiles were tried.
    tried: usize,
    /// A Windows kernel that nothing tells the build of.
    nameless: Option<String>,
}

impl<'m> Search<'m, '_, '_> {
    fn tell(&mut self, step: &str) {
        (self.observe)(step);
    }

    /// Notes a new kernel of which the image tells.
    fn note(&mut self, identity: Identity) {
        if self.found.contains(&identity) {
            return;
        }
        if self.found.len() < MAX_KERNELS {
            self.found.push(identity);
        } else {
            self.more += 1;
        }
    }

    /// Notes what the search for the kernel could not read, so that it may be there.
    fn tell_unreadable(&mut self) {
        if let Some((bytes, first)) = self.sightings.unreadable() {
            self.limit("damaged parts of the image", format!("{bytes} bytes could not be read; the first: {first}"));
        }
    }

    /// Notes that `what` was left out, so that the kernel may have been missed.
    fn limit(&mut self, what: &str, why: String) {
        self.tell(&format!("Left out {what}: {why}"));
        self.failed.push(Refusal { profile: what.to_owned(), why });
    }

    fn limit_lookups(&mut self) {
        self.limit("other kernels", format!("only {MAX_LOOKUPS} are looked up; --profile names one"));
    }

    /// Whether one profile more may be tried.
    fn may_try(&mut self) -> bool {
        self.tried += 1;
        if self.tried == MAX_PROFILES + 1 {
            self.limit("other profiles", format!("only {MAX_PROFILES} are tried; --profile names one"));
        }
        self.tried <= MAX_PROFILES
    }

    fn refuse(&mut self, profile: &str, why: String) {
        self.tell(&format!("Profile {profile} does not fit: {why}"));
        let refusal = Refusal { profile: profile.to_owned(), why };
        if self.refusals.len() < MAX_REFUSALS && !self.refusals.contains(&refusal) {
            self.refusals.push(refusal);
        }
    }

    /// The profile of this name in the profile path. `None` when no place has it, and when one could not be asked or read:
    /// what was never read does not refuse the image.
    fn load_if_any(&mut self, name: &str) -> Option<Found> {
        let Self { profiles, observe, .. } = self;
        match profiles.load_stored(name, &mut |step: Step| observe(&step.to_string())) {
            Ok(found) => Some(found),
            Err(NotFound::Nowhere { .. }) => None,
            Err(why) => {
                self.fail(name, why.to_string());
                None
            }
        }
    }

    fn fail(&mut self, what: &str, why: String) {
        if self.failed.len() < MAX_LISTED {
            self.failed.push(Refusal { profile: what.to_owned(), why });
        }
    }

    /// The first kernel, by its place, that tells what it is (the record of a Windows kernel, the banner of a Linux
    /// kernel) and whose profile fits.
    fn by_identity(&mut self) -> Option<Session<'m>> {
        let (mut builds, mut candidates) = (windows::Builds::default(), linux::Candidates::default());
        let mut look = Look::for_any(&[Clue::Rsds, Clue::Banner]);
        while let Some((clue, at)) = self.sightings.next(&mut look) {
            let session = match clue {
                Clue::Rsds => self.windows_at(at, &mut builds),
                _ => self.linux_at(at, &mut candidates),
            };
            if session.is_some() {
                return session;
            }
        }
        None
    }

    fn with_profile(&mut self, name: &str) -> Result<Option<Session<'m>>, OpenError> {
        let Self { profiles, observe, .. } = self;
        let found = profiles.load(name, &mut |step: Step| observe(&step.to_string()))?;
        Ok(match found.profile.metadata().os() {
            Some(Os::Windows) => {
                self.sightings = Sightings::new(self.memory, &Clue::WINDOWS);
                self.windows_with(found)
            }
            Some(Os::Linux) => {
                self.sightings = Sightings::new(self.memory, &[Clue::Banner]);
                self.linux_with(found)
            }
            Some(Os::Macos) => {
                self.refuse(name, "it is a profile of macOS, whose images are not read yet".to_owned());
                None
            }
            None => {
                self.refuse(name, "it does not tell its operating system ($METADATA.ProfileClass)".to_owned());
                None
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_next_names_the_kernel_and_runs_nothing_of_the_image() {
        let id = "F8E2A8B5C9B74BF4A6E4A48F180099942".parse().expect("a GUID of the seeds");
        let windows = Identity::Windows { id, pdb: r"C:\$(reboot)\ntkrnlmp.pdb".to_owned() };
        let linux = "Linux version 6.1;reboot (o'hara) #1".to_owned();
        let linux = Identity::Linux { banner: linux, build_id: "00ffaa10".parse().ok() };
        let found = vec![windows, linux];
        let error = OpenError::NoProfile { found, more: 0, searched: vec!["/profiles".to_owned()], failed: Vec::new() };
        assert_eq!(
            error.next_steps("my image.raw", Some("/profiles")),
            [
                "quaid repo -C /profiles build nt/GUID add_guid ntkrnlmp.pdb/F8E2A8B5C9B74BF4A6E4A48F180099942    # as --autobuild does at once; or by hand:",
                "quaid -f 'my image.raw' version_scan --name_regex ntkrnlmp.pdb",
                "quaid fetch_pdb --guid F8E2A8B5C9B74BF4A6E4A48F180099942 --filename ntkrnlmp.pdb -D .",
                "quaid parse_pdb -f ntkrnlmp.pdb --output F8E2A8B5C9B74BF4A6E4A48F180099942.json",
                "quaid repo -C /profiles add F8E2A8B5C9B74BF4A6E4A48F180099942.json",
                &format!("quaid fetch_debuginfo --build_id 00ffaa10    {SERVER_HINT}"),
                "quaid convert_profile 00ffaa10.debug '6.1;reboot.json'",
                &format!("quaid convert_profile '6.1;reboot.zip' '6.1;reboot.json'    {ZIP_HINT}"),
                r"quaid repo -C /profiles add --banner 'Linux version 6.1;reboot (o'\''hara) #1' '6.1;reboot.json'",
            ]
        );
        assert!(error.to_string().ends_with("searched: /profiles"), "{error}");
        assert_eq!(OpenError::NoKernel(Vec::new()).next_steps("a", Some("b")), [""; 0]);
    }
}
