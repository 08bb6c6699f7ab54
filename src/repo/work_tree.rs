//! The work tree's files, brought to what a commit says. What a person changed is never overwritten.

use super::error::Error;
use super::hygiene::unsafe_name;
use crate::output::temporary;
use git2::{FileMode, ObjectType, Oid, Repository};
use quaid_profile::MAX_PROFILE_BYTES;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use tempfile::TempPath;

/// What a change makes of the file at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Put {
    /// The blob that the commit before has there.
    pub(super) old: Option<Oid>,
    /// The blob that the commit has there; `None` when the file goes.
    pub(super) new: Option<Oid>,
}

impl Put {
    /// Whether `id` is what one of the commits has.
    pub(super) fn knows(&self, id: Oid) -> bool {
        self.old == Some(id) || self.new == Some(id)
    }
}

/// The files of a change, by path from the top of the tree.
pub(super) type Puts = BTreeMap<String, Put>;

/// Files that are as a commit has them, with what the system said of them when their bytes were looked at.
pub(super) type Seen = Vec<(String, Metadata)>;

/// A file that may be written.
struct Standing {
    /// Whether it is as the change wants it already.
    done: bool,
    /// What the system said of it before its bytes were read; `None` where there is no file.
    seen: Option<Metadata>,
}

/// Whether the work tree can take the change: at each path is nothing, or the file of either commit.
pub(super) fn check(repo: &Repository, puts: &Puts) -> Result<(), Error> {
    let Some(root) = repo.workdir() else { return Ok(()) };
    for (path, put) in puts {
        // A file that becomes a folder, or a folder that becomes a file, is out of the way when the change gets there.
        let goes = |at: &str| puts.get(at).is_some_and(|put| put.new.is_none());
        let below = format!("{path}/");
        let folder_goes =
            puts.range(below.clone()..).next().is_some_and(|(p, put)| p.starts_with(&below) && put.new.is_none());
        if !folder_goes && !path.match_indices('/').any(|(at, _)| path.get(..at).is_some_and(goes)) {
            standing(root, path, *put)?;
        }
    }
    Ok(())
}

/// Whether the file at `path` may be written: its folders are folders, and it is absent or as a commit has it.
fn standing(root: &Path, path: &str, put: Put) -> Result<Standing, Error> {
    let mut here = PathBuf::from(root);
    let mut parts = path.split('/').peekable();
    let mut seen = None;
    while let Some(part) = parts.next() {
        here.push(part);
        let metadata = match here.symlink_metadata() {
            Ok(metadata) => metadata,
            Err(why) if why.kind() == ErrorKind::NotFound => {
                return Ok(Standing { done: put.new.is_none(), seen: None });
            }
            Err(why) => return Err(Error::Io { path: here, why }),
        };
        let kind = metadata.file_type();
        if parts.peek().is_some() {
            if !kind.is_dir() {
                return Err(Error::InTheWay { path: here, why: "is not a folder" });
            }
        } else if !kind.is_file() {
            return Err(Error::InTheWay { path: here, why: "is not a plain file" });
        } else {
            seen = Some(metadata);
        }
    }
    let bytes = std::fs::read(&here).map_err(|why| Error::Io { path: here.clone(), why })?;
    let id = Oid::hash_object(ObjectType::Blob, &bytes)
        .map_err(|why| Error::Git { place: here.display().to_string(), why })?;
    if !put.knows(id) {
        return Err(Error::InTheWay { path: here, why: "has changes that are not committed" });
    }
    Ok(Standing { done: put.new == Some(id), seen })
}

/// Whether there is a work tree, without the file `id` that HEAD has at `path`, and may be given it: nothing else is
/// there or staged.
pub(super) fn lacks(repo: &Repository, path: &str, id: Oid) -> Result<bool, Error> {
    let Some(root) = repo.workdir() else { return Ok(false) };
    match standing(root, path, Put { old: Some(id), new: Some(id) }) {
        Ok(Standing { done: false, .. }) => {}
        Ok(_) | Err(Error::InTheWay { .. }) => return Ok(false),
        Err(other) => return Err(other),
    }
    let read = || {
        let mut index = repo.index()?;
        index.read(false)?;
        Ok(index)
    };
    let index = read().map_err(|why| Error::Git { place: root.display().to_string(), why })?;
    Ok(index.get_path(Path::new(path), 0).is_none_or(|staged| staged.id == id))
}

/// Brings the files of a commit that HEAD has taken to the disk. A file that a person has changed in the meantime stays as
/// it is: git shows it as changed.
pub(super) fn update(repo: &Repository, puts: &Puts) -> Result<Seen, Error> {
    let Some(root) = repo.workdir() else { return Ok(Seen::new()) };
    let failed = |why: String| Error::WorkTree { why };
    // What goes, goes first: a file may become a folder.
    for (path, put) in puts.iter().filter(|(_, put)| put.new.is_none()) {
        match standing(root, path, *put) {
            Ok(Standing { done: false, .. }) => remove(root, path).map_err(|why| failed(format!("{path}: {why}")))?,
            Ok(_) | Err(Error::InTheWay { .. }) => {}
            Err(other) => return Err(failed(other.to_string())),
        }
    }
    let (mut seen, mut written) = (Seen::new(), Written::default());
    for (path, put) in puts {
        let Some(new) = put.new else { continue };
        match standing(root, path, *put) {
            Ok(Standing { done: true, seen: file }) => seen.extend(file.map(|file| (path.clone(), file))),
            Ok(_) => seen.push((path.clone(), written.add(repo, root.join(path), new)?)),
            Err(Error::InTheWay { .. }) => {}
            Err(other) => return Err(failed(other.to_string())),
        }
    }
    written.publish()?;
    Ok(seen)
}

/// Removes a file, and the folders that it leaves empty.
fn remove(root: &Path, path: &str) -> std::io::Result<()> {
    std::fs::remove_file(root.join(path))?;
    for (at, _) in path.rmatch_indices('/') {
        if path.get(..at).is_none_or(|folder| std::fs::remove_dir(root.join(folder)).is_err()) {
            break;
        }
    }
    Ok(())
}

/// Files beside their places. Thousands of them come to the disk together, which takes a fraction of the time of one
/// after the other.
#[derive(Default)]
struct Written {
    files: Vec<(TempPath, PathBuf)>,
}

impl Written {
    fn add(&mut self, repo: &Repository, target: PathBuf, id: Oid) -> Result<Metadata, Error> {
        let blob = repo.find_blob(id).map_err(|why| Error::WorkTree { why: why.to_string() })?;
        let write = || {
            let folder = target.parent().unwrap_or(Path::new("."));
            std::fs::create_dir_all(folder)?;
            let mut file = temporary().tempfile_in(folder)?;
            file.write_all(blob.content())?;
            let metadata = file.as_file().metadata()?;
            Ok((file.into_temp_path(), metadata))
        };
        let (file, metadata) = write().map_err(|why: std::io::Error| told(&target, &why))?;
        self.files.push((file, target));
        Ok(metadata)
    }

    fn publish(self) -> Result<(), Error> {
        for (file, target) in &self.files {
            File::open(file).and_then(|file| file.sync_all()).map_err(|why| told(target, &why))?;
        }
        let mut folders = BTreeSet::new();
        for (file, target) in self.files {
            file.persist(&target).map_err(|why| told(&target, &why.error))?;
            folders.extend(target.parent().map(Path::to_owned));
        }
        for folder in folders {
            File::open(&folder).and_then(|open| open.sync_all()).map_err(|why| told(&folder, &why))?;
        }
        Ok(())
    }
}

fn told(path: &Path, why: &std::io::Error) -> Error {
    Error::WorkTree { why: format!("{}: {why}", path.display()) }
}

/// What a commit changed, as far as it may be on a disk: plain files whose names [`unsafe_name`] has nothing against.
pub(super) fn puts_between(repo: &Repository, old: Option<Oid>, new: Oid) -> Result<Puts, git2::Error> {
    let tree = |id: Oid| repo.find_commit(id).and_then(|commit| commit.tree());
    let old = old.map(tree).transpose()?;
    let diff = repo.diff_tree_to_tree(old.as_ref(), Some(&tree(new)?), None)?;
    let odb = repo.odb()?;
    let is_plain = |mode| matches!(mode, FileMode::Blob | FileMode::BlobExecutable);
    let mut puts = Puts::new();
    for delta in diff.deltas() {
        let (before, after) = (delta.old_file(), delta.new_file());
        let Some(path) = after.path().or(before.path()).and_then(Path::to_str) else { continue };
        let old = Some(before.id()).filter(|id| !id.is_zero() && is_plain(before.mode()));
        let mut new = Some(after.id()).filter(|id| !id.is_zero() && is_plain(after.mode()));
        if unsafe_name(path).is_some() {
            continue;
        }
        if let Some(id) = new
            && odb.read_header(id)?.0 as u64 > MAX_PROFILE_BYTES
        {
            new = None;
        }
        // A file that becomes a link of git is one entry that goes and one that comes.
        let put = puts.entry(path.to_owned()).or_insert(Put { old: None, new: None });
        put.old = put.old.or(old);
        put.new = put.new.or(new);
    }
    puts.retain(|_, put| put.old.is_some() || put.new.is_some());
    Ok(puts)
}

/// Removes the temporary files that a killed writer left in the folders of `puts`.
pub(super) fn sweep(repo: &Repository, puts: &Puts) -> Result<(), Error> {
    let Some(root) = repo.workdir() else { return Ok(()) };
    let mut folders: Vec<PathBuf> =
        puts.keys().filter_map(|path| root.join(path).parent().map(Path::to_owned)).collect();
    folders.dedup();
    for folder in folders {
        let entries = match folder.read_dir() {
            Ok(entries) => entries,
            Err(why) if why.kind() == ErrorKind::NotFound => continue,
            Err(why) => return Err(Error::Io { path: folder, why }),
        };
        for entry in entries {
            let entry = entry.map_err(|why| Error::Io { path: folder.clone(), why })?;
            if entry.file_name().to_string_lossy().starts_with(crate::output::TEMPORARY) {
                std::fs::remove_file(entry.path()).map_err(|why| Error::Io { path: entry.path(), why })?;
            }
        }
    }
    Ok(())
}
