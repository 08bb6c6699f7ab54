//! Profiles that the repository makes itself, by the recipes of `v1.0/config.yaml`.
//!
//! - [`Recipe`] is an entry of that file; its keys are those of Rekall's `manage_repo`.
//! - [`GuidList`] and [`Rejects`] are the files that say which builds there are to make, and which could not be made.
//! - [`build_windows`] fetches PDBs, parses them and commits their profiles, many at a time. A process that is killed loses
//!   only what it had not told as built; what was downloaded is in [`pdb_cache`].
//! - [`build_sources`] makes profiles of files that the repository has; [`build_linux_kernel`] that of a kernel's debugging
//!   information.

mod guid_list;
mod linux_kernel;
mod pdb_cache;
mod recipe;
mod sources;
mod windows;
mod workers;

pub use guid_list::{GuidList, Rejects};
pub use linux_kernel::build_linux_kernel;
pub use pdb_cache::{debug_cache, pdb_cache, pdb_cache_path};
pub use recipe::{Handler, Recipe, WindowsRecipe, recipes};
pub(super) use sources::source_names;
pub use sources::{SourceRecipe, build_sources};
pub use windows::{Event, Job, Summary, Wish, build_windows, enlist, has_build};

use super::change::Draft;
use super::error::Error;
use super::git_store::GitStore;
use crate::input;
use quaid_profile::{LAYOUT, stored_names};
use std::io::ErrorKind;

/// Length at which a list or a configuration is not read, in bytes: ten times the largest one of the public repository.
const MAX_SOURCE_BYTES: u64 = 16 << 20;

/// The text of a file of the layout's folder (`src/nt/guids.yaml`): as a person has it in the work tree, else as HEAD has it.
///
/// # Errors
/// It cannot be read, or is no text.
pub fn source_text(store: &GitStore, name: &str) -> Result<Option<String>, Error> {
    source_bytes(store, name)?.map(|bytes| text(name, bytes)).transpose()
}

/// The bytes of such a file, which may have one of the endings of compressed ones.
fn source_bytes(store: &GitStore, name: &str) -> Result<Option<Vec<u8>>, Error> {
    check_source_name(name)?;
    let head = store.head()?;
    for stored in stored_names(name) {
        let path = format!("{LAYOUT}/{stored}");
        if let Some(root) = store.repo.workdir() {
            let file = root.join(&path);
            match input::read(&file, MAX_SOURCE_BYTES) {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(why) if matches!(why.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                Err(why) => return Err(Error::Io { path: file, why }),
            }
        }
        if let Some(bytes) = head.as_ref().map_or(Ok(None), |head| head.read(&path))? {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

/// The same, of a change that is being made.
fn draft_text(draft: &Draft<'_>, name: &str) -> Result<Option<String>, Error> {
    draft.read(&format!("{LAYOUT}/{name}"))?.map(|bytes| text(name, bytes)).transpose()
}

fn text(name: &str, bytes: Vec<u8>) -> Result<String, Error> {
    String::from_utf8(bytes).map_err(|_| bad(name, "is not UTF-8 text"))
}

fn bad(name: &str, why: impl Into<String>) -> Error {
    Error::Refused { label: format!("{LAYOUT}/{name}"), why: why.into() }
}

/// A name that a configuration gives must not lead out of the layout's folder.
fn check_source_name(name: &str) -> Result<(), Error> {
    let part = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', ':', '\0']);
    if name.split('/').all(part) { Ok(()) } else { Err(bad(name, "is not a path below that folder")) }
}
