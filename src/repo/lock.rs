//! One writer at a time, and what a writer that was killed leaves behind.
//!
//! The file `quaid.lock` in the git folder is locked through the operating system, which lets go of it when the process
//! ends, however it ends. While a commit is published the file tells which, so that the next writer can finish the work
//! tree and remove the lock files of git that the dead one left.

use super::error::Error;
use git2::{Oid, Repository};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// How long another writer is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// Between two attempts at what git has locked: it holds its locks for milliseconds.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// A commit that was being published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pending {
    /// HEAD's commit before; `None` for the first one.
    pub(super) old: Option<Oid>,
    /// The commit.
    pub(super) new: Oid,
    /// The branch.
    pub(super) branch: String,
    /// Whether the writer may hold lock files of git: it does until it says that it failed.
    pub(super) holds_locks: bool,
}

/// The right to write, until it is dropped.
pub(super) struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// Waits for other writers, at most two minutes.
    pub(super) fn take(repo: &Repository, place: &str) -> Result<Self, Error> {
        Self::take_file(repo, "quaid.lock", place)
    }

    /// The right to bring in what other repositories have: one mirror or bundle at a time. Writers do not wait for it.
    pub(super) fn take_incoming(repo: &Repository, place: &str) -> Result<Self, Error> {
        Self::take_file(repo, "quaid-incoming.lock", place)
    }

    fn take_file(repo: &Repository, name: &str, place: &str) -> Result<Self, Error> {
        let path = repo.path().join(name);
        let io = |why| Error::Io { path: path.clone(), why };
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { path, file }),
                Err(TryLockError::WouldBlock) if start.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => {
                    let why = format!("{} is locked for {} seconds now", path.display(), PATIENCE.as_secs());
                    return Err(Error::Busy { place: place.to_owned(), why });
                }
                Err(TryLockError::Error(why)) => return Err(io(why)),
            }
        }
    }

    /// The lock as the input of a program that works under it: when this process is killed, the lock is held until that
    /// program ends too.
    pub(super) fn held_by_child(&self) -> Result<Stdio, Error> {
        self.file.try_clone().map(Stdio::from).map_err(|why| self.io(why))
    }

    fn io(&self, why: std::io::Error) -> Error {
        Error::Io { path: self.path.clone(), why }
    }

    /// What a writer that was killed was publishing. A note that was cut short was written before anything was published.
    pub(super) fn pending(&mut self) -> Result<Option<Pending>, Error> {
        let mut text = String::new();
        self.file
            .rewind()
            .and_then(|()| (&self.file).take(4096).read_to_string(&mut text))
            .map_err(|why| self.io(why))?;
        Ok(parse(&text))
    }

    /// Notes what is going to be published.
    pub(super) fn note(&mut self, pending: &Pending) -> Result<(), Error> {
        let old = pending.old.unwrap_or(Oid::ZERO_SHA1);
        let holds = if pending.holds_locks { "publishing" } else { "failed" };
        self.rewrite(&format!("{old} {} {holds} {}\n", pending.new, pending.branch))
    }

    /// It is published, or will not be.
    pub(super) fn clear(&mut self) -> Result<(), Error> {
        self.rewrite("")
    }

    fn rewrite(&mut self, text: &str) -> Result<(), Error> {
        let mut write = || {
            self.file.set_len(0)?;
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(text.as_bytes())?;
            self.file.sync_data()
        };
        write().map_err(|why| self.io(why))
    }
}

fn parse(text: &str) -> Option<Pending> {
    let line = text.strip_suffix('\n')?;
    let mut words = line.splitn(4, ' ');
    let mut id = || words.next().and_then(|word| Oid::from_str(word).ok());
    let (old, new) = (id()?, id()?);
    let holds_locks = words.next()? == "publishing";
    Some(Pending { old: Some(old).filter(|old| !old.is_zero()), new, branch: words.next()?.to_owned(), holds_locks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_comes_back_and_a_cut_one_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let repo = Repository::init_bare(folder.path()).expect("a repository");
        let mut lock = Lock::take(&repo, "here").expect("free");
        assert_eq!(lock.pending().expect("read"), None);
        let new = Oid::from_str("e69de29bb2d1d6434b8b29ae775ad8c2e48c5391").expect("an id");
        let pending = Pending { old: None, new, branch: "refs/heads/my branch".to_owned(), holds_locks: true };
        lock.note(&pending).expect("written");
        assert_eq!(lock.pending().expect("read"), Some(pending));
        let text = std::fs::read_to_string(folder.path().join("quaid.lock")).expect("readable");
        for end in 0..text.len() {
            assert_eq!(parse(&text[..end]), None, "{end}");
        }
        lock.clear().expect("written");
        assert_eq!(lock.pending().expect("read"), None);
    }
}
