//! Partial clones: contents that were left out are fetched by git when they are asked for.

use super::error::Error;
use super::git_program::{remote_git, watched};
use super::git_store::GitStore;
use super::sync::ORIGIN;
use git2::{Oid, Repository};
use std::sync::atomic::{AtomicBool, Ordering};

/// `--offline` holds for the whole process, as a repository is opened in many places.
static FORBIDDEN: AtomicBool = AtomicBool::new(false);

/// From now on this process fetches no contents: what a partial clone lacks is an error that names it.
pub fn forbid_fetching() {
    FORBIDDEN.store(true, Ordering::Relaxed);
}

/// Whether the repository is a partial clone.
pub(super) fn is_partial(repo: &Repository) -> bool {
    repo.config().and_then(|config| config.get_bool(&format!("remote.{ORIGIN}.promisor"))).unwrap_or(false)
}

impl GitStore {
    /// Whether contents may be missing here that the other side has.
    pub fn is_partial(&self) -> bool {
        is_partial(&self.repo)
    }
}

/// Fetches a content that is missing, found at `place` (repository and path).
///
/// # Errors
/// It may not be fetched, or git could not.
pub(super) fn fetch(repo: &Repository, id: Oid, place: &str) -> Result<(), Error> {
    if FORBIDDEN.load(Ordering::Relaxed) {
        return Err(Error::NotHere { place: place.to_owned() });
    }
    let mut git = remote_git(Some(repo.path()))?;
    // As git itself does it: no negotiation, nothing but the object.
    git.args(["-c", "fetch.negotiationAlgorithm=noop", "fetch", "--no-tags", "--no-write-fetch-head"]);
    git.args(["--no-auto-maintenance", "--recurse-submodules=no", "--filter=blob:none", "--refmap=", "--", ORIGIN]);
    git.arg(id.to_string());
    watched(&mut git, "fetch", &mut |_| ()).map_err(|error| match error {
        Error::GitProgram { what, why } => Error::GitProgram { what, why: format!("{place}, a partial clone: {why}") },
        other => other,
    })?;
    repo.odb().and_then(|odb| odb.refresh()).map_err(|why| Error::Git { place: place.to_owned(), why })
}
