//! The work tree's files and git's index, brought to what a commit says. What a person changed is never overwritten.

use super::error::Error;
use crate::output::write_atomically;
use git2::{Delta, ErrorCode, ObjectType, Oid, Repository};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A file that a change puts at a path, or takes out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Put {
    /// The blob that the commit before has there.
    pub(super) old: Option<Oid>,
    /// The blob that the commit has there; none when it has no file there.
    pub(super) new: Option<Oid>,
}

/// The files of a change, by path from the top of the tree.
pub(super) type Puts = BTreeMap<String, Put>;

/// Whether the work tree can take the change: at each path is nothing, or the file of either commit.
pub(super) fn check(repo: &Repository, puts: &Puts) -> Result<(), Error> {
    let Some(root) = repo.workdir() else { return Ok(()) };
    let index = repo.index().map_err(|why| Error::Git { place: root.display().to_string(), why })?;
    for (path, put) in puts {
        file_is_ours(root, path, *put)?;
        let staged = index.get_path(Path::new(path), 0).map(|entry| entry.id);
        if staged.is_some_and(|id| Some(id) != put.new && Some(id) != put.old) {
            return Err(Error::InTheWay { path: root.join(path), why: "has staged changes" });
        }
    }
    Ok(())
}

/// Whether the file at `path` may be written: its folders are folders, and it is absent or as a commit has it. Tells
/// whether it is there as the change wants it.
fn file_is_ours(root: &Path, path: &str, put: Put) -> Result<bool, Error> {
    let mut here = PathBuf::from(root);
    let mut parts = path.split('/').peekable();
    while let Some(part) = parts.next() {
        here.push(part);
        let kind = match here.symlink_metadata() {
            Ok(metadata) => metadata.file_type(),
            Err(why) if why.kind() == ErrorKind::NotFound => return Ok(put.new.is_none()),
            Err(why) => return Err(Error::Io { path: here, why }),
        };
        if parts.peek().is_some() {
            if !kind.is_dir() {
                return Err(Error::InTheWay { path: here, why: "is not a folder" });
            }
        } else if !kind.is_file() {
            return Err(Error::InTheWay { path: here, why: "is not a plain file" });
        }
    }
    let bytes = std::fs::read(&here).map_err(|why| Error::Io { path: here.clone(), why })?;
    let id = Oid::hash_object(ObjectType::Blob, &bytes)
        .map_err(|why| Error::Git { place: here.display().to_string(), why })?;
    if Some(id) != put.new && Some(id) != put.old {
        return Err(Error::InTheWay { path: here, why: "has changes that are not committed" });
    }
    Ok(Some(id) == put.new)
}

/// Whether there is a work tree, without the file `id` that HEAD has at `path`, and may be given it: nothing else is
/// there or staged.
pub(super) fn lacks(repo: &Repository, path: &str, id: Oid) -> Result<bool, Error> {
    let Some(root) = repo.workdir() else { return Ok(false) };
    match file_is_ours(root, path, Put { old: Some(id), new: Some(id) }) {
        Ok(there) if there => return Ok(false),
        Err(Error::InTheWay { .. }) => return Ok(false),
        Err(other) => return Err(other),
        Ok(_) => {}
    }
    let index = repo.index().map_err(|why| Error::Git { place: root.display().to_string(), why })?;
    Ok(index.get_path(Path::new(path), 0).is_none_or(|staged| staged.id == id))
}

/// Writes the files of a commit that HEAD has taken, and enters them in the index. A file that a person has changed in
/// the meantime stays as it is: git shows it as changed.
pub(super) fn update(repo: &Repository, puts: &Puts) -> Result<(), Error> {
    let Some(root) = repo.workdir() else { return Ok(()) };
    let failed = |why: String| Error::WorkTree { why };
    let mut index = repo.index().map_err(|why| failed(why.to_string()))?;
    for (path, put) in puts {
        match file_is_ours(root, path, *put) {
            Ok(true) => {}
            Ok(false) => match put.new {
                Some(new) => write(repo, root, path, new)?,
                None => remove(root, path)?,
            },
            Err(Error::InTheWay { .. }) => continue,
            Err(other) => return Err(failed(other.to_string())),
        }
        let path = Path::new(path);
        let entered = if put.new.is_some() { index.add_path(path) } else { index.remove_path(path) };
        entered.map_err(|why| failed(why.to_string()))?;
    }
    index.write().map_err(|why| failed(why.to_string()))
}

fn write(repo: &Repository, root: &Path, path: &str, id: Oid) -> Result<(), Error> {
    let target = root.join(path);
    let blob = repo.find_blob(id).map_err(|why| Error::WorkTree { why: why.to_string() })?;
    let made = target.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.map_err(|why| Error::WorkTree { why: format!("{}: {why}", target.display()) })?;
    write_atomically(&target, blob.content(), true).map_err(|why| Error::WorkTree { why: format!("{why:#}") })
}

/// Removes a file, and the folders that it leaves empty.
fn remove(root: &Path, path: &str) -> Result<(), Error> {
    let target = root.join(path);
    std::fs::remove_file(&target).map_err(|why| Error::WorkTree { why: format!("{}: {why}", target.display()) })?;
    let folders = target.ancestors().skip(1).take_while(|folder| *folder != root);
    // One that has other files is not removed.
    for folder in folders {
        if std::fs::remove_dir(folder).is_err() {
            break;
        }
    }
    Ok(())
}

/// What a commit changed, for a writer that has to finish the work of another.
pub(super) fn puts_between(repo: &Repository, old: Option<Oid>, new: Oid) -> Result<Puts, git2::Error> {
    let tree = |id: Oid| repo.find_commit(id).and_then(|commit| commit.tree());
    let old = old.map(tree).transpose()?;
    let diff = repo.diff_tree_to_tree(old.as_ref(), Some(&tree(new)?), None)?;
    let mut puts = Puts::new();
    for delta in diff.deltas() {
        if matches!(delta.status(), Delta::Added | Delta::Modified | Delta::Deleted)
            && let Some(path) = delta.new_file().path().and_then(Path::to_str)
        {
            let id = |file: git2::DiffFile<'_>| Some(file.id()).filter(|id| !id.is_zero());
            puts.insert(path.to_owned(), Put { old: id(delta.old_file()), new: id(delta.new_file()) });
        }
    }
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

/// Whether an error of the git library says that one of its lock files is there, or that a reference has moved.
pub(super) fn is_contention(why: &git2::Error) -> bool {
    matches!(why.code(), ErrorCode::Locked | ErrorCode::Modified | ErrorCode::Exists)
}
