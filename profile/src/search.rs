//! The search for a profile by name, through several places and over Symlinks.

use crate::data_index::DataIndex;
use crate::error::Error;
use crate::exports::{ExportIndex, IndexMatch};
use crate::file::ProfileFile;
use crate::ids::{BuildId, GuidAge, MachUuid};
use crate::index::{self, LinuxIndex};
use crate::source::{ProfileSource, without_ending};
use crate::stored::{self, STORED};
use crate::symbol_offset_index::SymbolOffsetIndex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::PathBuf;

/// How many Symlinks are followed for one name.
pub const MAX_SYMLINKS: usize = 8;

/// How many names are asked for in the search for one, when sources lead through each other's Symlinks.
const MAX_NAMES: usize = 64;

/// Modules whose profile is that of the Windows kernel: each is `nt` in a repository.
const KERNEL_MODULES: [&str; 5] = ["nt", "ntoskrnl.exe", "ntkrnlmp", "ntkrnlpa", "ntkrpamp"];

/// A step of a search, in the order it happens; what `-v` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A file was opened.
    Opened {
        /// The source and the name, or the path.
        place: String,
    },
    /// A source does not have the name.
    Missing {
        /// The name.
        name: String,
        /// The source.
        place: String,
    },
    /// A source could not be asked, or the file could not be read; the next one is.
    Failed {
        /// The name.
        name: String,
        /// What the source said.
        why: Error,
    },
    /// No source has a Windows build with this age, and one has the same GUID with another: that one is taken.
    OtherAge {
        /// The name that was asked for.
        name: String,
        /// The name of what was found.
        stored: String,
    },
    /// A name was loaded. Of a Symlink it is told after its target.
    Loaded {
        /// The name.
        name: String,
        /// The source.
        place: String,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { place } => write!(f, "Opened {place}"),
            Self::Missing { name, place } => write!(f, "Could not find profile {name} in {place}"),
            Self::Failed { name, why } => write!(f, "Could not read profile {name}: {why}"),
            Self::OtherAge { name, stored } => write!(f, "Taking {stored} for {name}: the same GUID with another age"),
            Self::Loaded { name, place } => write!(f, "Loaded profile {name} from {place}"),
        }
    }
}

/// A profile that was found.
#[derive(Debug)]
pub struct Found {
    /// The profile.
    pub profile: ProfileFile,
    /// The name under which it is stored: the last target of Symlinks, or the path.
    pub name: String,
}

/// Why a name gives no profile.
#[derive(Debug, thiserror::Error)]
pub enum NotFound {
    /// No source has it.
    #[error("there is no profile {name} in {}", places(.searched))]
    Nowhere {
        /// The name.
        name: String,
        /// Every place that was searched, in order.
        searched: Vec<String>,
    },
    /// The name lacks the age, or the build of macOS, and there are several.
    #[error("{name} lacks the {}, and there are several: {}", if .name.starts_with("OSX") { "build" } else { "age" }, .candidates.join(", "))]
    Ambiguous {
        /// The name.
        name: String,
        /// The names that it may mean.
        candidates: Vec<String>,
    },
    /// Symlinks lead in a circle, or on and on.
    #[error("Symlinks lead nowhere: {}", .chain.join(" -> "))]
    Loop {
        /// The names, in the order they were followed.
        chain: Vec<String>,
    },
    /// The name is no name of a profile.
    #[error("`{}` is not a profile name: {why}", .name.escape_debug())]
    BadName {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It was found, and could not be read.
    #[error(transparent)]
    Unreadable(#[from] Error),
}

fn places(searched: &[String]) -> String {
    if searched.is_empty() {
        "any place: the profile path has none that can be used".to_owned()
    } else {
        searched.join(", ")
    }
}

/// Sources that are searched in order.
#[derive(Default)]
pub struct ProfilePath {
    sources: Vec<Box<dyn ProfileSource>>,
}

impl fmt::Debug for ProfilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.places()).finish()
    }
}

impl ProfilePath {
    /// Searches `sources` in order.
    pub fn new(sources: Vec<Box<dyn ProfileSource>>) -> Self {
        Self { sources }
    }

    /// What is searched, for messages.
    pub fn places(&self) -> Vec<String> {
        self.sources.iter().map(|source| source.place()).collect()
    }

    /// The profile of this name. A name that exists as a path of a file is that file; else each source is asked, in
    /// order. GUIDs are taken in any case, and without their age, or with another, when there is only one. Symlinks are followed, each
    /// through all sources, at most [`MAX_SYMLINKS`] of them. `observe` is told each step as it happens.
    pub fn load(&self, name: &str, observe: &mut dyn FnMut(Step)) -> Result<Found, NotFound> {
        if let Some(path) = existing_path(name) {
            let profile = ProfileFile::open(&path)?;
            let place = path.display().to_string();
            observe(Step::Opened { place: place.clone() });
            let target = profile.metadata().symlink_target().map(str::to_owned);
            let found = match target {
                Some(target) => {
                    let mut trail = Trail::new();
                    trail.enter(name)?;
                    self.follow(&target, &mut trail, observe)?
                }
                None => Found { profile, name: name.to_owned() },
            };
            observe(Step::Loaded { name: name.to_owned(), place });
            return Ok(found);
        }
        self.load_stored(name, observe)
    }

    /// As [`ProfilePath::load`], from the sources alone: a file that happens to be at the path `name` is not looked at.
    pub fn load_stored(&self, name: &str, observe: &mut dyn FnMut(Step)) -> Result<Found, NotFound> {
        self.follow(name, &mut Trail::new(), observe)
    }

    /// The names of profiles that may fit the Linux kernel with this banner: those recorded with the very banner first,
    /// then those of its release, which the caller has to check against memory. No profile is opened for it.
    ///
    /// # Errors
    /// No source has a candidate, and at least one could not be read.
    pub fn linux_candidates(&self, banner: &str) -> Result<Vec<String>, Error> {
        let release = index::release_of(banner);
        let (mut exact, mut by_release, mut failure) = (Vec::new(), Vec::new(), None);
        for source in &self.sources {
            let asked = LinuxIndex::look_up(source.as_ref(), banner).and_then(|found| match (found, release) {
                (Some(found), _) => {
                    exact.extend(found.by_banner);
                    by_release.extend(found.by_release);
                    Ok(())
                }
                (None, Some(release)) => {
                    index::by_file_name(source.as_ref(), release).map(|names| by_release.extend(names))
                }
                (None, None) => Ok(()),
            });
            failure = failure.or(asked.err());
        }
        exact.extend(by_release);
        let mut known = BTreeSet::new();
        exact.retain(|name| known.insert(name.clone()));
        match failure {
            Some(error) if exact.is_empty() => Err(error),
            _ => Ok(exact),
        }
    }

    /// The profiles of a Windows module whose exports are at these RVAs, by the export indexes of all sources: those that
    /// fit best first. No profile is opened for it. `None` when no source has an index.
    pub fn by_exports(
        &self,
        module: &str,
        rvas: &BTreeMap<String, u32>,
        observe: &mut dyn FnMut(Step),
    ) -> Option<Vec<IndexMatch>> {
        let read =
            |source: &dyn ProfileSource| Ok(ExportIndex::of_source(source, module)?.map(|index| index.matches(rvas)));
        self.by_index(&ExportIndex::name(module), observe, read)
    }

    /// As [`ProfilePath::by_exports`], by Rekall's data indexes; `read` fills bytes from an offset in the module's image on,
    /// or says that memory lacks them.
    pub fn by_data(
        &self,
        module: &str,
        mut read: impl FnMut(i64, &mut [u8]) -> bool,
        observe: &mut dyn FnMut(Step),
    ) -> Option<Vec<IndexMatch>> {
        let matches = |source: &dyn ProfileSource| {
            Ok(DataIndex::of_source(source, module)?.map(|index| index.matches(&mut read)))
        };
        self.by_index(&DataIndex::name(module), observe, matches)
    }

    /// The Linux profiles of which traits are in the kernel whose symbols `symbols` gives, by Rekall's symbol-offset indexes
    /// of all sources: those that fit best first. The symbols are not asked for, and the result is `None`, when no source
    /// has an index.
    pub fn by_symbols(
        &self,
        symbols: &mut dyn FnMut() -> HashMap<String, Vec<u64>>,
        observe: &mut dyn FnMut(Step),
    ) -> Option<Vec<IndexMatch>> {
        let mut known = None;
        let matches = |source: &dyn ProfileSource| {
            Ok(SymbolOffsetIndex::of_source(source)?
                .map(|index| index.matches(known.get_or_insert_with(&mut *symbols))))
        };
        self.by_index(SymbolOffsetIndex::NAME, observe, matches)
    }

    /// What the index `name` of each source says, best first.
    fn by_index(
        &self,
        name: &str,
        observe: &mut dyn FnMut(Step),
        mut matches: impl FnMut(&dyn ProfileSource) -> Result<Option<Vec<IndexMatch>>, Error>,
    ) -> Option<Vec<IndexMatch>> {
        let mut found: Option<Vec<IndexMatch>> = None;
        for source in &self.sources {
            match matches(source.as_ref()) {
                Ok(Some(matches)) => {
                    observe(Step::Opened { place: format!("{}/{name}", source.place()) });
                    found.get_or_insert_default().extend(matches);
                }
                Ok(None) => observe(Step::Missing { name: name.to_owned(), place: source.place() }),
                Err(why) => observe(Step::Failed { name: name.to_owned(), why }),
            }
        }
        if let Some(matches) = &mut found {
            // What differs least first; of two sources that have one profile the better line.
            matches.sort_by_key(|found| (found.compared - found.matched, usize::MAX - found.matched));
            let mut known = BTreeSet::new();
            matches.retain(|found| known.insert(found.profile.clone()));
        }
        found
    }

    fn follow(&self, name: &str, trail: &mut Trail, observe: &mut dyn FnMut(Step)) -> Result<Found, NotFound> {
        let name = normalised_name(name)?;
        trail.enter(&name)?;
        let found = match self.find_in_turn(&name, trail, observe) {
            Err(why) => self.with_other_age(&name, trail, observe).ok_or(why),
            found => found,
        };
        trail.names.pop();
        found
    }

    /// The first source in which `name` leads to a profile. What one source has damaged, or leading nowhere, must not
    /// hide what the next one has; it is the error only when none has it.
    fn find_in_turn(&self, name: &str, trail: &mut Trail, observe: &mut dyn FnMut(Step)) -> Result<Found, NotFound> {
        let mut failure = None;
        for source in &self.sources {
            match self.find_in(source.as_ref(), name, trail, observe) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => observe(Step::Missing { name: name.to_owned(), place: source.place() }),
                Err(ambiguous @ NotFound::Ambiguous { .. }) => return Err(ambiguous),
                Err(why) => {
                    if let NotFound::Unreadable(why) = &why {
                        observe(Step::Failed { name: name.to_owned(), why: why.clone() });
                    } else {
                        observe(Step::Missing { name: name.to_owned(), place: source.place() });
                    }
                    failure.get_or_insert(why);
                }
            }
        }
        Err(failure.unwrap_or_else(|| NotFound::Nowhere { name: name.to_owned(), searched: self.places() }))
    }

    fn find_in(
        &self,
        source: &dyn ProfileSource,
        name: &str,
        trail: &mut Trail,
        observe: &mut dyn FnMut(Step),
    ) -> Result<Option<Found>, NotFound> {
        let place = source.place();
        let Some((stored, bytes)) = find(source, name)? else { return Ok(None) };
        observe(Step::Opened { place: format!("{place}/{stored}") });
        let profile = ProfileFile::parse(&format!("{place}/{stored}"), &bytes)?;
        let profile = whole(profile, |name| source.read(name))?;
        let found = match profile.metadata().symlink_target() {
            // The link from the old name to this very one, which this source does not have.
            Some(target) if stored != name && normalised_name(target).is_ok_and(|target| target == name) => {
                return Ok(None);
            }
            Some(target) => self.follow(target, trail, observe)?,
            None => Found { profile, name: stored.clone() },
        };
        observe(Step::Loaded { name: stored, place });
        Ok(Some(found))
    }

    /// The profile of the same GUID when there is one of another age only: Rekall's profiles carry the age of the PDB's
    /// info stream, and images that of its DBI stream.
    fn with_other_age(&self, name: &str, trail: &mut Trail, observe: &mut dyn FnMut(Step)) -> Option<Found> {
        let (_, Some(_)) = guid_of_name(name)? else { return None };
        // The GUID is the first 32 digits of a normalised name's last part.
        let digits = name.rfind('/').map_or(0, |at| at + 1) + 32;
        let found = self.find_in_turn(name.get(..digits)?, trail, observe).ok()?;
        observe(Step::OtherAge { name: name.to_owned(), stored: found.name.clone() });
        Some(found)
    }
}

/// The profile itself, when `file` is the small file of one that a repository keeps in several (see [`stored`]); `read`
/// gives the others by name.
///
/// # Errors
/// One of them is missing or damaged, or what `read` said.
pub fn whole<E: From<Error>>(
    file: ProfileFile,
    read: impl Fn(&str) -> Result<Option<Vec<u8>>, E>,
) -> Result<ProfileFile, E> {
    if file.metadata().kind() != STORED {
        return Ok(file);
    }
    let text = stored::join(&file, read)?;
    Ok(ProfileFile::from_text(file.place(), text).map_err(|error| error.within(file.place()))?)
}

/// The Symlinks that led to a name.
struct Trail {
    names: Vec<String>,
    /// How many names may still be asked for: links of several sources can lead through each other in many ways.
    left: usize,
}

impl Trail {
    fn new() -> Self {
        Self { names: Vec::new(), left: MAX_NAMES }
    }

    fn enter(&mut self, name: &str) -> Result<(), NotFound> {
        let looped = self.names.iter().any(|known| known == name) || self.names.len() > MAX_SYMLINKS || self.left == 0;
        if looped {
            let chain = self.names.iter().map(String::as_str).chain([name]).map(str::to_owned).collect();
            return Err(NotFound::Loop { chain });
        }
        self.left -= 1;
        self.names.push(name.to_owned());
        Ok(())
    }
}

/// The file that `name` is a path of, also when the file's name has a compression's ending more.
fn existing_path(name: &str) -> Option<PathBuf> {
    let endings = ["", ".gz", ".xz", ".zst"];
    endings.iter().map(|ending| PathBuf::from(format!("{name}{ending}"))).find(|path| path.is_file())
}

/// A name in the form that sources are asked for: `/` between parts, no layout folder, no ending, GUIDs in upper case and
/// plain, build-ids in lower case.
///
/// # Errors
/// [`NotFound::BadName`].
pub fn normalised_name(name: &str) -> Result<String, NotFound> {
    let bad = |why| NotFound::BadName { name: name.to_owned(), why };
    let slashed = name.replace('\\', "/");
    let plain = slashed.strip_prefix("v1.0/").unwrap_or(&slashed);
    if plain.is_empty() {
        return Err(bad("it is empty"));
    }
    if plain.contains('\0') {
        return Err(bad("it has a NUL in it"));
    }
    if plain.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(bad("a name is a relative path without `.` and `..`"));
    }
    let stem = without_ending(plain);
    let (folder, last) = stem.rsplit_once('/').unwrap_or(("", stem));
    let last = match folder {
        "Linux/BUILDID" => last.parse().map(|id: BuildId| id.to_string()).ok(),
        "OSX/UUID" => last.parse().map(|id: MachUuid| id.to_string()).ok(),
        _ => guid_of_name(stem).map(|_| last.replace(['{', '}', '-'], "").to_uppercase()),
    }
    .unwrap_or_else(|| last.to_owned());
    Ok(if folder.is_empty() { last } else { format!("{folder}/{last}") })
}

/// The GUID that the last part of a name is, and its age when it has one: in any case, with or without dashes and braces.
/// Names of other systems (`Linux/...`, `OSX/...`) have none, and 40 plain hex digits are a build-id.
pub fn guid_of_name(name: &str) -> Option<([u8; 16], Option<u32>)> {
    let last = name.rsplit('/').next()?;
    let other_system = matches!(name.split('/').next(), Some("Linux" | "OSX")) && name.contains('/');
    let build_id = last.len() == 40 && last.bytes().all(|b| b.is_ascii_hexdigit());
    if other_system || build_id { None } else { GuidAge::parse_guid(last) }
}

/// The name under which a source has `name`, and the bytes. The spellings of all layouts that there were are tried:
/// the name as it is, `nt/GUID/...` (since 2015), `GUID/...` (2014).
fn find(source: &dyn ProfileSource, name: &str) -> Result<Option<(String, Vec<u8>)>, NotFound> {
    let (folder, last) = name.rsplit_once('/').unwrap_or(("", name));
    let Some((_, age)) = guid_of_name(name) else {
        return match source.read(name)? {
            Some(bytes) => Ok(Some((name.to_owned(), bytes))),
            None => find_macos(source, name),
        };
    };
    let module = folder.split('/').next().unwrap_or_default();
    let mut folders = vec![folder];
    if matches!(module, "" | "GUID") || KERNEL_MODULES.contains(&module) {
        folders.extend(["nt/GUID", "GUID"].iter().filter(|&&other| other != folder));
    }
    let join = |folder: &str, last: &str| if folder.is_empty() { last.to_owned() } else { format!("{folder}/{last}") };
    for folder in &folders {
        if age.is_some() {
            let name = join(folder, last);
            if let Some(bytes) = source.read(&name)? {
                return Ok(Some((name, bytes)));
            }
            continue;
        }
        let candidates: Vec<String> =
            source.list(folder)?.into_iter().filter(|known| known.starts_with(last)).collect();
        match &candidates[..] {
            [] => {}
            [only] => {
                let name = join(folder, only);
                return Ok(source.read(&name)?.map(|bytes| (name, bytes)));
            }
            _ => {
                return Err(NotFound::Ambiguous {
                    name: name.to_owned(),
                    candidates: candidates.iter().map(|c| join(folder, c)).collect(),
                });
            }
        }
    }
    Ok(None)
}

/// The profile of macOS that Rekall called `OSX/10.7.4_AMD` before it told the build, as in `OSX/10.7.4_11E53.64bit`, when a
/// source has one build of that version.
fn find_macos(source: &dyn ProfileSource, name: &str) -> Result<Option<(String, Vec<u8>)>, NotFound> {
    let old = name.strip_prefix("OSX").and_then(|old| old.strip_prefix(['/', '_']));
    let Some(version) = old.and_then(|old| old.strip_suffix("_AMD")) else { return Ok(None) };
    let is_build = |leaf: &String| {
        let build = leaf.strip_prefix(version).and_then(|rest| rest.strip_suffix(".64bit"));
        build.is_some_and(|build| build.is_empty() || build.starts_with('_'))
    };
    let names = source.list("OSX")?.into_iter().filter(is_build).map(|leaf| format!("OSX/{leaf}"));
    let names: Vec<String> = names.collect();
    match names.as_slice() {
        [] => Ok(None),
        [only] => Ok(source.read(only)?.map(|bytes| (only.clone(), bytes))),
        _ => Err(NotFound::Ambiguous { name: name.to_owned(), candidates: names }),
    }
}

#[cfg(test)]
mod tests;
