//! git's index under git's own lock of it, the file `index.lock`: while it is there, no git program reads the index to
//! commit it, nor writes it.
//!
//! The git library takes the lock for the moment of a write alone. Here it is held over several: the index is written
//! beside itself and moved into its place, and the lock goes last.

use super::error::Error;
use super::git_store::{EntryKind, GitStore, Snapshot};
use super::lock::PAUSE;
use super::work_tree::{Put, Puts, Seen};
use git2::{FileMode, Index, IndexEntry, IndexTime, Oid};
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// How often the lock is asked for.
const ATTEMPTS: u32 = 50;

/// The bits of an entry's flags that number the sides of a merge (git's index-format(5)).
const STAGE: u16 = 0x3000;

/// The index of a work tree, and the right to write it until it is dropped.
pub(super) struct LockedIndex {
    root: PathBuf,
    place: PathBuf,
    /// Where it is written before it is moved into its place.
    draft: PathBuf,
    lock: PathBuf,
    index: Index,
}

impl Drop for LockedIndex {
    fn drop(&mut self) {
        // What cannot be removed is told by the next who asks for it.
        let _ = std::fs::remove_file(&self.lock);
    }
}

impl LockedIndex {
    /// Locks the index, and reads it; `None` for a bare repository, which has none. A git program that holds it is waited
    /// for, at most five seconds.
    pub(super) fn take(store: &GitStore) -> Result<Option<Self>, Error> {
        let Some(root) = store.repo.workdir() else { return Ok(None) };
        let at = |name: &str| store.repo.path().join(name);
        let (place, draft, lock) = (at("index"), at("quaid-index"), at("index.lock"));
        take_lock(&lock, &store.place())?;
        let io = |path: &Path, why| Error::Io { path: path.to_owned(), why };
        let read = || {
            // What a writer left that was killed. The lock says that it writes no more.
            for left in [draft.with_extension("lock"), draft.clone()] {
                absent(&left).map_err(|why| io(&left, why))?;
            }
            let written = match std::fs::copy(&place, &draft).and_then(|_| place.metadata()?.modified()) {
                Ok(time) => time.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
                // Before the first commit, or in a clone without checkout.
                Err(why) if why.kind() == ErrorKind::NotFound => 0,
                Err(why) => return Err(io(&place, why)),
            };
            let mut index = Index::open(&draft).map_err(|why| store.error(why))?;
            distrust(&mut index, written).map_err(|why| store.error(why))?;
            Ok(index)
        };
        match read() {
            Ok(index) => Ok(Some(Self { root: root.to_owned(), place, draft, lock, index })),
            Err(error) => {
                absent(&lock).map_err(|why| io(&lock, why))?;
                Err(error)
            }
        }
    }

    fn staged(&self, path: &str) -> Option<Oid> {
        self.index.get_path(Path::new(path), 0).map(|entry| entry.id)
    }

    /// Whether the index can take the change: at each path is nothing, or the file of either commit.
    pub(super) fn check(&self, puts: &Puts) -> Result<(), Error> {
        match puts.iter().find(|(path, put)| self.staged(path).is_some_and(|id| !put.knows(id))) {
            Some((path, _)) => Err(Error::InTheWay { path: self.root.join(path), why: "has staged changes" }),
            None => Ok(()),
        }
    }

    /// Enters the files of a change.
    pub(super) fn enter(&mut self, puts: &Puts) -> Result<(), Error> {
        // What goes, goes first: a file may become a folder.
        for (path, _) in puts.iter().filter(|(_, put)| put.new.is_none()) {
            self.set(path, None)?;
        }
        for (path, put) in puts {
            if let Put { new: Some(id), .. } = *put {
                self.set(path, Some((id, FileMode::Blob)))?;
            }
        }
        Ok(())
    }

    /// Makes what [`LockedIndex::enter`] entered what HEAD has.
    pub(super) fn withdraw(&mut self, puts: &Puts, head: Option<&Snapshot<'_>>) -> Result<(), Error> {
        let ours: Vec<&String> =
            puts.iter().filter(|(path, put)| self.staged(path) == put.new).map(|(path, _)| path).collect();
        for path in ours {
            let entry = head.map_or(Ok(None), |head| head.unfollowed(path))?;
            let entry = entry.and_then(|entry| match entry.kind {
                EntryKind::File => Some((entry.id, FileMode::Blob)),
                EntryKind::Link => Some((entry.id, FileMode::Link)),
                EntryKind::Submodule => Some((entry.id, FileMode::Commit)),
                EntryKind::Folder => None,
            });
            self.set(path, entry)?;
        }
        Ok(())
    }

    fn set(&mut self, path: &str, file: Option<(Oid, FileMode)>) -> Result<(), Error> {
        let set = match file {
            None => self.index.remove_path(Path::new(path)),
            // What is known of its file stays.
            Some((id, _)) if self.staged(path) == Some(id) => Ok(()),
            Some((id, mode)) => self.index.add(&unseen(path, id, mode)),
        };
        set.map_err(|why| self.error(why))
    }

    /// Enters the times and sizes of files that are as the index has them, so that git need not read them to see it.
    pub(super) fn note_seen(&mut self, seen: &Seen) -> Result<(), Error> {
        for (path, metadata) in seen {
            let entry = self.index.get_path(Path::new(path), 0);
            if let Some(mut entry) = entry
                && set_status(&mut entry, &self.root.join(path), metadata)
            {
                self.index.add(&entry).map_err(|why| self.error(why))?;
            }
        }
        Ok(())
    }

    /// Brings it into its place. The lock is still held.
    pub(super) fn write(&mut self) -> Result<(), Error> {
        self.index.write().map_err(|why| self.error(why))?;
        std::fs::rename(&self.draft, &self.place).map_err(|why| Error::Io { path: self.place.clone(), why })
    }

    fn error(&self, why: git2::Error) -> Error {
        Error::Git { place: self.place.display().to_string(), why }
    }
}

fn take_lock(lock: &Path, place: &str) -> Result<(), Error> {
    for _ in 0..ATTEMPTS {
        match OpenOptions::new().write(true).create_new(true).open(lock) {
            Ok(_) => return Ok(()),
            Err(why) if why.kind() == ErrorKind::AlreadyExists => std::thread::sleep(PAUSE),
            Err(why) => return Err(Error::Io { path: lock.to_owned(), why }),
        }
    }
    let why = format!(
        "{} was there at each of {ATTEMPTS} attempts; where no git program runs, one that was killed has left it: remove it",
        lock.display()
    );
    Err(Error::Busy { place: place.to_owned(), why })
}

fn absent(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(why) if why.kind() != ErrorKind::NotFound => Err(why),
        _ => Ok(()),
    }
}

/// Lets git look into files that were changed in the second in which the index was written, or later: a change of that
/// second may have left time and size as they were, and the time of the index, which tells git so, is about to be a later
/// one. (git's racy-git.txt; it does the same when it writes an index.)
fn distrust(index: &mut Index, written: u64) -> Result<(), git2::Error> {
    let is_racy = |entry: &IndexEntry| u64::try_from(entry.mtime.seconds()).is_ok_and(|time| time >= written);
    let racy: Vec<IndexEntry> = index.iter().filter(|entry| entry.flags & STAGE == 0 && is_racy(entry)).collect();
    for mut entry in racy {
        entry.file_size = 0;
        index.add(&entry)?;
    }
    Ok(())
}

/// An entry that knows nothing of its file.
fn unseen(path: &str, id: Oid, mode: FileMode) -> IndexEntry {
    IndexEntry {
        ctime: IndexTime::new(0, 0),
        mtime: IndexTime::new(0, 0),
        dev: 0,
        ino: 0,
        mode: u32::from(mode),
        uid: 0,
        gid: 0,
        file_size: 0,
        id,
        flags: 0,
        flags_extended: 0,
        path: path.as_bytes().to_vec(),
    }
}

/// What an index tells of a file, if that is still the one whose bytes were looked at. Numbers are cut to 32 bits, as git
/// cuts them.
#[cfg(unix)]
#[expect(clippy::cast_sign_loss, reason = "git's index has 32 bits for each")]
fn set_status(entry: &mut IndexEntry, path: &Path, seen: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    // A rename gives a file another time of change, and nothing else.
    let Ok(now) = path.symlink_metadata() else { return false };
    let is_same = (now.ino(), now.mtime(), now.mtime_nsec(), now.size())
        == (seen.ino(), seen.mtime(), seen.mtime_nsec(), seen.size());
    if !is_same {
        return false;
    }
    entry.ctime = IndexTime::new(now.ctime() as i32, now.ctime_nsec() as u32);
    entry.mtime = IndexTime::new(now.mtime() as i32, now.mtime_nsec() as u32);
    (entry.dev, entry.ino) = (now.dev() as u32, now.ino() as u32);
    (entry.uid, entry.gid) = (now.uid(), now.gid());
    entry.file_size = now.size() as u32;
    true
}

/// On other systems git looks into the file once, and enters them itself.
#[cfg(not(unix))]
fn set_status(_: &mut IndexEntry, _: &Path, _: &std::fs::Metadata) -> bool {
    false
}
