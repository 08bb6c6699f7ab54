//! Stores on this machine: folders in symstore layout, and plain folders of PDBs.

use super::request::{Form, Wanted};
use super::symbol_path::Store;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Why a store on this machine gave no file, or did not take one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It has no such file.
    #[error("it is not there")]
    Missing,
    /// The file is there and cannot be read or written.
    #[error("{0}")]
    Io(String),
    /// The file is larger than allowed.
    #[error("it is larger than the limit of {0} bytes")]
    TooLarge(u64),
    /// `file.ptr` holds a message for people.
    #[error("the store says: {0}")]
    Message(String),
    /// `file.ptr` leads outside.
    #[error("it points to {0}, outside of its store, which is not followed: copy that file if you trust it")]
    Outside(String),
}

/// The files of a store on this machine that may be what is wanted, those that exist, in the order in which to try them.
/// Empty for a server.
pub(super) fn candidates(store: &Store, wanted: &Wanted) -> Vec<(PathBuf, Form)> {
    let (root, flat) = match store {
        Store::Folder(root) => (root, true),
        Store::Local(root) => (root, false),
        Store::Server(_) => return Vec::new(),
    };
    let mut folders = Vec::new();
    if flat {
        folders.push(root.clone());
    }
    let mut layout = root.clone();
    // A store of two tiers, which `index2.txt` marks, has a folder for the first two letters.
    if root.join("index2.txt").exists() {
        layout.push(wanted.name().chars().take(2).collect::<String>());
    }
    // Tools disagree about the case of the identity; Windows does not care.
    folders.push(layout.join(wanted.folder()));
    folders.push(layout.join(wanted.name()).join(wanted.id().to_string().to_ascii_lowercase()));
    let mut found = Vec::new();
    for folder in folders {
        for form in Form::ALL {
            let path = folder.join(wanted.file_name(form));
            if path.is_file() && !found.iter().any(|(earlier, _)| *earlier == path) {
                found.push((path, form));
            }
        }
    }
    found
}

/// Reads a file of at most `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, StoreError> {
    let io = |error: std::io::Error| StoreError::Io(error.to_string());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(io)?;
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit { Err(StoreError::TooLarge(limit)) } else { Ok(bytes) }
}

/// Where the `file.ptr` of a store on this machine leads: a file below the same store.
pub(super) fn follow(store: &Store, pointer: &Path, text: &str) -> Result<PathBuf, StoreError> {
    let (Store::Folder(root) | Store::Local(root)) = store else { return Err(StoreError::Missing) };
    let target = match Pointer::parse(text) {
        Pointer::Path(target) => target,
        Pointer::Message(text) => return Err(StoreError::Message(text)),
    };
    let outside = || StoreError::Outside(target.clone());
    let folder = pointer.parent().unwrap_or(root);
    // Canonical on both sides, so that neither `..` nor a link leads out.
    let root = root.canonicalize().map_err(|_| outside())?;
    let target = folder.join(&target).canonicalize().map_err(|_| outside())?;
    if target.starts_with(&root) { Ok(target) } else { Err(outside()) }
}

/// Keeps a verified PDB in a store of symstore layout at `root`. A file that is there is replaced: it was looked at
/// before, and was not this PDB.
pub(super) fn keep(root: &Path, wanted: &Wanted, pdb: &[u8]) -> Result<PathBuf, StoreError> {
    let folder = root.join(wanted.folder());
    std::fs::create_dir_all(&folder).map_err(|error| StoreError::Io(error.to_string()))?;
    let path = folder.join(wanted.name());
    crate::output::write_atomically(&path, pdb, true).map_err(|error| StoreError::Io(format!("{error:#}")))?;
    Ok(path)
}

/// The content of a `file.ptr`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pointer {
    /// `PATH:` and where the file is.
    Path(String),
    /// `MSG:` and a text for people; or a text that is neither.
    Message(String),
}

impl Pointer {
    /// Longest `file.ptr` that is read, in bytes.
    pub(super) const MAX_BYTES: u64 = 4 << 10;

    pub(super) fn parse(text: &str) -> Self {
        let line = text.trim_start_matches('\u{feff}').lines().next().unwrap_or_default().trim();
        let printable = |text: &str| text.trim().chars().filter(|c| !c.is_control()).collect();
        match line.split_at_checked(5) {
            Some((word, path)) if word.eq_ignore_ascii_case("PATH:") => Self::Path(printable(path)),
            _ => Self::Message(printable(line.strip_prefix("MSG:").unwrap_or(line))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted::new("nt.pdb", "F8E2A8B5C9B74BF4A6E4A48F180099941A".parse().expect("an identity")).expect("a name")
    }

    fn put(root: &Path, path: &str) -> PathBuf {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, "x").expect("written");
        path
    }

    #[test]
    fn stores_are_searched_in_all_their_layouts() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path();
        let flat = put(root, "nt.pdb");
        let upper = put(root, "stored/nt.pdb/F8E2A8B5C9B74BF4A6E4A48F180099941A/nt.pd_");
        let lower = put(root, "low/nt.pdb/f8e2a8b5c9b74bf4a6e4a48f180099941a/nt.pdb");
        put(root, "tiers/index2.txt");
        let tiered = put(root, "tiers/nt/nt.pdb/F8E2A8B5C9B74BF4A6E4A48F180099941A/file.ptr");
        let of = |store| candidates(&store, &wanted());
        assert_eq!(of(Store::Folder(root.into())), [(flat, Form::Plain)]);
        assert_eq!(of(Store::Local(root.into())), []);
        assert_eq!(of(Store::Local(root.join("stored"))), [(upper, Form::Cabinet)]);
        assert_eq!(of(Store::Local(root.join("low"))), [(lower, Form::Plain)]);
        assert_eq!(of(Store::Local(root.join("tiers"))), [(tiered, Form::Pointer)]);
    }

    #[test]
    fn a_pointer_stays_below_its_store() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::Local(dir.path().join("store"));
        let pointer = put(dir.path(), "store/nt.pdb/ID/file.ptr");
        let inside = put(dir.path(), "store/blobs/nt.pdb");
        let outside = put(dir.path(), "secret");
        let follow = |text: &str| follow(&store, &pointer, text);
        assert_eq!(follow("PATH:../../blobs/nt.pdb"), Ok(inside.canonicalize().expect("a path")));
        assert_eq!(follow(&format!("PATH:{}\r\n", inside.display())), Ok(inside.canonicalize().expect("a path")));
        assert!(matches!(follow("PATH:../../../secret"), Err(StoreError::Outside(_))));
        assert!(matches!(follow(&format!("PATH:{}", outside.display())), Err(StoreError::Outside(_))));
        assert!(matches!(follow("PATH:\\\\server\\share\\nt.pdb"), Err(StoreError::Outside(_))));
        assert_eq!(follow("MSG: gone \x1b[2J"), Err(StoreError::Message("gone [2J".into())));
    }
}
