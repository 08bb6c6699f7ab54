//! How much a repository has, what it takes, and of which modules and versions it is.

use super::error::Error;
use super::git_store::GitStore;
use super::inventory::{Inventory, Kind, given_text};
use super::layout::{module_of, version_of};
use super::verify::Problem;
use quaid_profile::stored::{self, STORED};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Numbers of a repository.
#[derive(Debug, Default)]
pub struct Stats {
    /// Profiles.
    pub profiles: usize,
    /// Symlinks, and names that links of git make.
    pub links: usize,
    /// Indexes.
    pub indexes: usize,
    /// Distinct files of types that profiles share.
    pub types: usize,
    /// Bytes of the profiles' canonical texts, as far as they tell them without being joined.
    pub canonical_bytes: u64,
    /// Profiles whose text that is.
    pub told: usize,
    /// Bytes of git's objects, with all history.
    pub git_bytes: u64,
    /// Profiles by module and version. Of Windows versions the first three numbers count, of Linux the series; of a profile
    /// that tells none the version is empty.
    pub coverage: BTreeMap<(String, String), usize>,
    /// What could not be read.
    pub problems: Vec<Problem>,
}

/// Counts everything of HEAD.
///
/// # Errors
/// The repository cannot be read.
pub fn stats(store: &GitStore) -> Result<Stats, Error> {
    let inventory = Inventory::of(store, "")?;
    let links = inventory.links();
    let mut stats = Stats { problems: inventory.problems().to_vec(), ..Stats::default() };
    let mut types = BTreeSet::new();
    for (name, item) in inventory.items() {
        match item.kind {
            Kind::Profile => {}
            Kind::Symlink(_) | Kind::GitLink(_) => {
                stats.links += 1;
                continue;
            }
            Kind::Index => {
                stats.indexes += 1;
                continue;
            }
        }
        stats.profiles += 1;
        let file = match inventory.open(item) {
            Ok(file) => file,
            Err(why) => {
                stats.problems.push(Problem { path: item.path.clone(), why: why.to_string() });
                continue;
            }
        };
        let bytes = if file.metadata().kind() == STORED {
            types.extend(stored::parts(&file).ok().map(|[shared, _]| shared));
            stored::digest(&file).ok().flatten().map(|digest| digest.bytes)
        } else {
            given_text(&file).ok().map(|text| text.len() as u64)
        };
        stats.canonical_bytes += bytes.unwrap_or_default();
        stats.told += usize::from(bytes.is_some());
        let links = links.get(name).map_or(&[] as &[&str], Vec::as_slice);
        let version = version_of(file.metadata(), links).unwrap_or_default();
        *stats.coverage.entry((module_of(name).to_owned(), series(&version))).or_default() += 1;
    }
    stats.types = types.len();
    let objects = store.repo.commondir().join("objects");
    stats.git_bytes = folder_bytes(&objects).map_err(|why| Error::Io { path: objects, why })?;
    Ok(stats)
}

/// The first three numbers of a version of four, the first two of a Linux kernel's.
fn series(version: &str) -> String {
    let numbers: Vec<&str> = version.split('.').collect();
    let windows = numbers.len() == 4 && numbers.iter().all(|number| number.parse::<u32>().is_ok());
    let first = |count: usize| numbers.get(..count).map(|numbers| numbers.join("."));
    if windows { first(3) } else { first(2) }.unwrap_or_else(|| version.to_owned())
}

fn folder_bytes(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in folder.read_dir()? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            bytes += folder_bytes(&entry.path())?;
        } else if kind.is_file() {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}
