//! The names of a repository.

use super::error::Error;
use super::git_store::{EntryKind, GitStore};
use super::layout::name_of;
use quaid_profile::{LAYOUT, LinuxIndex, ProfileFile};
use std::collections::BTreeMap;

/// A Symlink is a few lines; what is larger is not opened to see whether it is one. In bytes.
const MAX_SYMLINK_BYTES: u64 = 4096;

/// What a name is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// A profile.
    Profile,
    /// Another name for this one.
    Symlink(String),
    /// An index.
    Index,
}

/// The names that begin with `prefix`, sorted. Only what is small enough for a Symlink is opened.
pub fn list(store: &GitStore, prefix: &str) -> Result<BTreeMap<String, Listed>, Error> {
    let head = store.profiles()?;
    let mut names = BTreeMap::new();
    head.walk(LAYOUT, &mut |path, entry| {
        let name = if path == LinuxIndex::NAME { Some(path.to_owned()) } else { name_of(path) };
        let Some(name) = name.filter(|name| name.starts_with(prefix)) else { return Ok(()) };
        let path = format!("{LAYOUT}/{path}");
        let listed = match entry.kind {
            EntryKind::Submodule => return Ok(()),
            EntryKind::File if head.blob_bytes(entry.id, &path)? <= MAX_SYMLINK_BYTES => {
                // What cannot be read is `verify`'s to tell.
                let file = ProfileFile::parse(&path, &head.blob(entry.id, &path)?).ok();
                file.map_or(Listed::Profile, |file| match (file.metadata().symlink_target(), file.metadata().kind()) {
                    (Some(target), _) => Listed::Symlink(target.to_owned()),
                    (None, "Index") => Listed::Index,
                    (None, _) => Listed::Profile,
                })
            }
            EntryKind::File if name == LinuxIndex::NAME => Listed::Index,
            _ => Listed::Profile,
        };
        names.insert(name, listed);
        Ok(())
    })?;
    Ok(names)
}
