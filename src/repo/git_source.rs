//! The profiles of a git repository, read from its object store.

use super::error::Error;
use super::git_store::{Entry, EntryKind, GitStore, Snapshot, trust_object_names};
use quaid_profile::{ErrorKind, LAYOUT, ProfileSource, list_sharded, stored_names};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// The profiles of a repository's HEAD, as it is when a name is asked for. Entries that are git links are followed.
pub struct GitSource {
    place: String,
    // The git library's handle may move between threads, but serves one at a time.
    store: Mutex<GitStore>,
}

impl GitSource {
    /// The profiles of the repository whose work tree or bare folder `root` is.
    pub fn open(root: &Path) -> Result<Self, Error> {
        GitStore::open(root).map(Self::new)
    }

    /// The profiles of an open repository.
    pub fn new(store: GitStore) -> Self {
        trust_object_names();
        Self { place: store.place(), store: Mutex::new(store) }
    }

    fn with_store<T>(&self, read: impl FnOnce(&GitStore) -> Result<T, Error>) -> Result<T, quaid_profile::Error> {
        // The store has no state of its own that a panic could leave half done.
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        read(&store).map_err(|error| match error {
            Error::Profile(error) => error,
            other => quaid_profile::Error { place: String::new(), kind: ErrorKind::Io(other.to_string()) },
        })
    }
}

/// The layout's folder when the tree has it, else the tree itself.
fn base(head: &Snapshot<'_>) -> Result<String, Error> {
    let has_layout = matches!(head.entry(LAYOUT)?, Some(Entry { kind: EntryKind::Folder, .. }));
    Ok(if has_layout { format!("{LAYOUT}/") } else { String::new() })
}

impl ProfileSource for GitSource {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, quaid_profile::Error> {
        self.with_store(|store| {
            let Some(head) = store.head()? else { return Ok(None) };
            let base = base(&head)?;
            for stored in stored_names(name) {
                if let Some(bytes) = head.read(&format!("{base}{stored}"))? {
                    return Ok(Some(bytes));
                }
            }
            Ok(None)
        })
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, quaid_profile::Error> {
        self.with_store(|store| {
            let Some(head) = store.head()? else { return Ok(Vec::new()) };
            let base = base(&head)?;
            list_sharded(folder, |folder| head.folder(&format!("{base}{folder}")))
        })
    }
}
