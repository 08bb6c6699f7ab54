//! A change of a repository: blobs, then trees, then the commit, which is then published. A process that is killed anywhere
//! leaves a whole repository: the commit counts or it does not.

use super::error::Error;
use super::git_store::{Entry, EntryKind, GitStore, Snapshot};
use super::lock::{Lock, PAUSE, Pending};
use super::publish::Publication;
use super::signers;
use super::work_tree::{self, Put, Puts};
use git2::build::TreeUpdateBuilder;
use git2::{ErrorCode, FileMode, Oid, Repository, Signature, Tree};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;

/// How often a change is made anew on the head that another program published meanwhile.
const ATTEMPTS: u32 = 50;

/// How many lines a commit's message has at most. Whoever asks for the newest commit reads it whole: that of 10,000 profiles
/// had 560 KB, and made each look-up twice as long.
const MAX_LINES: usize = 1000;

/// A commit's message: what was done, and a line for each name.
pub(super) fn message_of(subject: &str, lines: &[String]) -> String {
    let listed = lines.get(..MAX_LINES).unwrap_or(lines).join("\n");
    match lines.len().checked_sub(MAX_LINES) {
        None | Some(0) => format!("{subject}\n\n{listed}\n"),
        Some(more) => format!("{subject}\n\n{listed}\nand {more} more\n"),
    }
}

/// HEAD's tree with the files that a change puts into it. Paths are from the top of the tree.
pub struct Draft<'s> {
    store: &'s GitStore,
    base: Option<Snapshot<'s>>,
    puts: BTreeMap<String, Oid>,
    removes: BTreeSet<String>,
    /// Files that HEAD has and the work tree lacks.
    restore: Puts,
}

impl<'s> Draft<'s> {
    /// What is at `path`.
    pub fn entry(&self, path: &str) -> Result<Option<Entry>, Error> {
        if let Some(&id) = self.puts.get(path) {
            return Ok(Some(Entry { id, kind: EntryKind::File }));
        }
        let below = format!("{path}/");
        if self.puts.range(below.clone()..).next().is_some_and(|(put, _)| put.starts_with(&below)) {
            // The folder's tree does not exist yet; only what it is matters.
            return Ok(Some(Entry { id: Oid::ZERO_SHA1, kind: EntryKind::Folder }));
        }
        if self.removes.contains(path) {
            return Ok(None);
        }
        self.base.as_ref().map_or(Ok(None), |base| base.entry(path))
    }

    /// HEAD as the change found it; `None` before the first commit.
    pub fn head(&self) -> Option<&Snapshot<'s>> {
        self.base.as_ref()
    }

    /// The bytes of the file at `path`.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        match self.entry(path)? {
            Some(Entry { id, kind: EntryKind::File }) => self.blob(id).map(Some),
            _ => Ok(None),
        }
    }

    /// The bytes of a blob.
    pub fn blob(&self, id: Oid) -> Result<Vec<u8>, Error> {
        let blob = self.store.repo.find_blob(id).map_err(|why| self.store.error(why))?;
        Ok(blob.content().to_vec())
    }

    /// Writes a blob that is not in the draft yet.
    pub fn write(&self, bytes: &[u8]) -> Result<Oid, Error> {
        self.store.write_blob(bytes)
    }

    /// Puts a file.
    pub fn put(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        let id = self.store.write_blob(bytes)?;
        self.put_blob(path, id)
    }

    /// Takes out a file of HEAD, and folders that have nothing else.
    pub fn remove(&mut self, path: &str) {
        self.puts.remove(path);
        self.removes.insert(path.to_owned());
    }

    /// What HEAD has at `path` itself: a git link is not followed.
    pub fn unfollowed(&self, path: &str) -> Result<Option<Entry>, Error> {
        self.base.as_ref().map_or(Ok(None), |base| base.unfollowed(path))
    }

    /// Puts a blob that was written before. What HEAD has already is no change, but its file is looked after.
    pub fn put_blob(&mut self, path: &str, id: Oid) -> Result<(), Error> {
        self.removes.remove(path);
        let old = self.base.as_ref().map_or(Ok(None), |base| base.entry(path))?;
        if old.is_some_and(|old| old == Entry { id, kind: EntryKind::File }) {
            self.puts.remove(path);
            self.keep(path)?;
        } else {
            self.puts.insert(path.to_owned(), id);
        }
        Ok(())
    }

    /// Sees to it that a file of HEAD is in the work tree as well. Tells whether it is missing there.
    pub fn keep(&mut self, path: &str) -> Result<bool, Error> {
        let entry = self.base.as_ref().map_or(Ok(None), |base| base.unfollowed(path))?;
        let Some(Entry { id, kind: EntryKind::File }) = entry else { return Ok(false) };
        let missing = !self.puts.contains_key(path) && work_tree::lacks(&self.store.repo, path, id)?;
        if missing {
            self.restore.insert(path.to_owned(), Put { old: Some(id), new: Some(id) });
        }
        Ok(missing)
    }

    fn resolved(&self) -> Result<Puts, Error> {
        let puts = self.puts.iter().map(|(path, &new)| (path, Some(new)));
        let mut resolved = Puts::new();
        for (path, new) in puts.chain(self.removes.iter().map(|path| (path, None))) {
            let old = self.base.as_ref().map_or(Ok(None), |base| base.entry(path))?;
            resolved.insert(path.clone(), Put { old: old.map(|entry| entry.id), new });
        }
        Ok(resolved)
    }
}

impl GitStore {
    /// Writes a blob. Until a commit names it nobody sees it.
    pub fn write_blob(&self, bytes: &[u8]) -> Result<Oid, Error> {
        self.repo.blob(bytes).map_err(|why| self.error(why))
    }

    /// Makes a change: `make` puts files into the draft and gives the commit's message, or none when nothing is to be
    /// done. It is called again when another program moved the branch meanwhile. Gives the commit, if one was made, and
    /// what `make` gave the last time.
    pub fn change<T>(
        &self,
        mut make: impl FnMut(&mut Draft<'_>) -> Result<(Option<String>, T), Error>,
    ) -> Result<(Option<Oid>, T), Error> {
        let mut lock = Lock::take(&self.repo, &self.place())?;
        self.finish_another_s(&mut lock)?;
        let branch = self.branch()?;
        for _ in 0..ATTEMPTS {
            let mut draft = Draft {
                store: self,
                base: self.head()?,
                puts: BTreeMap::new(),
                removes: BTreeSet::new(),
                restore: Puts::new(),
            };
            let (message, value) = make(&mut draft)?;
            if !draft.restore.is_empty() {
                if let Some(head) = draft.base.as_ref().map(Snapshot::commit) {
                    lock.note(&Pending { old: Some(head), new: head, branch: branch.clone(), holds_locks: true })?;
                }
                self.bring(&draft.restore)?;
                lock.clear()?;
            }
            let Some(message) = message.filter(|_| !(draft.puts.is_empty() && draft.removes.is_empty())) else {
                return Ok((None, value));
            };
            let puts = draft.resolved()?;
            work_tree::check(&self.repo, &puts)?;
            let old = draft.base.as_ref().map(Snapshot::commit);
            let new = self.write_commit(draft.base.as_ref(), &puts, &message)?;
            self.sync_objects(new, &puts)?;
            let pending = Pending { old, new, branch: branch.clone(), holds_locks: true };
            if Publication::begin(self, &mut lock, pending, &puts)?.finish(&message)? {
                return Ok((Some(new), value));
            }
            std::thread::sleep(PAUSE);
        }
        let why = format!("{branch} moved, or {branch}.lock was there, at each of {ATTEMPTS} attempts");
        Err(Error::Busy { place: self.place(), why })
    }

    /// Moves the branch of HEAD from `old` to a commit that is here and continues it, and the work tree with it. Without a
    /// commit HEAD becomes `branch` first. Tells whether HEAD still was at `old`.
    pub(super) fn fast_forward(&self, old: Option<Oid>, new: Oid, branch: &str, message: &str) -> Result<bool, Error> {
        let mut lock = Lock::take(&self.repo, &self.place())?;
        self.finish_another_s(&mut lock)?;
        if self.head()?.map(|head| head.commit()) != old {
            return Ok(false);
        }
        if old.is_none() {
            self.repo.reference_symbolic("HEAD", branch, true, message).map_err(|why| self.error(why))?;
        }
        let branch = self.branch()?;
        let puts = match self.repo.workdir() {
            Some(_) => work_tree::puts_between(&self.repo, old, new).map_err(|why| self.error(why))?,
            None => Puts::new(),
        };
        work_tree::check(&self.repo, &puts)?;
        for _ in 0..ATTEMPTS {
            let pending = Pending { old, new, branch: branch.clone(), holds_locks: true };
            if Publication::begin(self, &mut lock, pending, &puts)?.finish(message)? {
                return Ok(true);
            }
            if self.head()?.map(|head| head.commit()) != old {
                return Ok(false);
            }
            std::thread::sleep(PAUSE);
        }
        let why = format!("{branch}.lock was there at each of {ATTEMPTS} attempts");
        Err(Error::Busy { place: self.place(), why })
    }

    /// The branch that HEAD is.
    pub(super) fn branch(&self) -> Result<String, Error> {
        let head = self.repo.find_reference("HEAD").map_err(|why| self.error(why))?;
        match head.symbolic_target() {
            Ok(Some(branch)) => Ok(branch.to_owned()),
            Ok(None) => Err(Error::Detached { place: self.place() }),
            Err(why) => Err(self.error(why)),
        }
    }

    /// Finishes what a writer that was killed left, where nothing else is to be changed.
    pub(super) fn finish_pending(&self) -> Result<(), Error> {
        let mut lock = Lock::take(&self.repo, &self.place())?;
        self.finish_another_s(&mut lock)
    }

    /// Finishes what a writer that was killed left: its lock files of git, its work tree.
    fn finish_another_s(&self, lock: &mut Lock) -> Result<(), Error> {
        let Some(pending) = lock.pending()? else { return lock.clear() };
        let left =
            [self.repo.path().join("index.lock"), self.repo.commondir().join(format!("{}.lock", pending.branch))];
        for path in left.iter().filter(|path| pending.holds_locks && path.exists()) {
            // A git program that runs just now lets go of its own lock soon.
            for _ in 0..10 {
                std::thread::sleep(PAUSE);
                if !path.exists() {
                    break;
                }
            }
            match std::fs::remove_file(path) {
                Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::Io { path: path.clone(), why });
                }
                _ => {}
            }
        }
        if self.repo.workdir().is_some() {
            let puts = match work_tree::puts_between(&self.repo, pending.old, pending.new) {
                // It did not get to the branch, and git has thrown it away.
                Err(why) if why.code() == ErrorCode::NotFound => Puts::new(),
                puts => puts.map_err(|why| self.error(why))?,
            };
            work_tree::sweep(&self.repo, &puts)?;
            self.bring(&puts)?;
        }
        lock.clear()
    }

    fn write_commit(&self, base: Option<&Snapshot<'_>>, puts: &Puts, message: &str) -> Result<Oid, Error> {
        let repo = &self.repo;
        let write = || {
            let root = match base {
                Some(base) => base.root(),
                None => repo.treebuilder(None)?.write()?,
            };
            let mut update = TreeUpdateBuilder::new();
            for (path, put) in puts {
                match put.new {
                    Some(new) => update.upsert(path.as_str(), new, FileMode::Blob),
                    None => update.remove(path.as_str()),
                };
            }
            let tree = repo.find_tree(update.create_updated(repo, &repo.find_tree(root)?)?)?;
            let tree = without_empty_folders(repo, tree, puts)?;
            let parent = base.map(|base| repo.find_commit(base.commit())).transpose()?;
            let nobody = || Signature::now("quaid", "quaid@localhost");
            let author = repo.author_from_env().or_else(|_| nobody())?;
            let committer = repo.committer_from_env().or_else(|_| nobody())?;
            Ok((tree, parent, author, committer))
        };
        let (tree, parent, author, committer) = write().map_err(|why: git2::Error| self.error(why))?;
        if signers::signs(self) {
            return signers::commit(self, tree.id(), parent.map(|parent| parent.id()), (&author, &committer), message);
        }
        let parents: Vec<&git2::Commit<'_>> = parent.iter().collect();
        repo.commit(None, &author, &committer, message, &tree, &parents).map_err(|why| self.error(why))
    }

    /// Brings the loose objects of a commit to the disk before a reference names it.
    fn sync_objects(&self, commit: Oid, puts: &Puts) -> Result<(), Error> {
        let tree = self.repo.find_commit(commit).and_then(|commit| commit.tree()).map_err(|why| self.error(why))?;
        let mut objects = BTreeSet::from([commit, tree.id()]);
        for (path, put) in puts {
            objects.extend(put.new);
            for (at, _) in path.match_indices('/') {
                let folder = path.get(..at).unwrap_or_default();
                match tree.get_path(folder.as_ref()) {
                    Ok(entry) => objects.insert(entry.id()),
                    // It had nothing but what was taken out.
                    Err(why) if why.code() == ErrorCode::NotFound => continue,
                    Err(why) => return Err(self.error(why)),
                };
            }
        }
        let mut folders = BTreeSet::new();
        for id in objects {
            let path = loose_path(&self.repo, id);
            match File::open(&path).and_then(|file| file.sync_all()) {
                Ok(()) => folders.extend(path.parent().map(PathBuf::from)),
                // It is in a pack, which git has synced.
                Err(why) if why.kind() == std::io::ErrorKind::NotFound => {}
                Err(why) => return Err(Error::Io { path, why }),
            }
        }
        for path in folders {
            File::open(&path).and_then(|folder| folder.sync_all()).map_err(|why| Error::Io { path, why })?;
        }
        Ok(())
    }
}

/// The tree without the folders in which the files were that a change has taken out, where they have nothing else: git knows
/// no empty folders.
fn without_empty_folders<'r>(repo: &'r Repository, mut tree: Tree<'r>, puts: &Puts) -> Result<Tree<'r>, git2::Error> {
    let removed = puts.iter().filter(|(_, put)| put.new.is_none());
    let mut folders: BTreeSet<&str> = BTreeSet::new();
    for (path, _) in removed {
        folders.extend(path.match_indices('/').filter_map(|(at, _)| path.get(..at)));
    }
    // The deepest first: what it leaves empty is next.
    for folder in folders.into_iter().rev() {
        let entry = match tree.get_path(folder.as_ref()) {
            Ok(entry) => entry,
            // The git library leaves some out itself.
            Err(why) if why.code() == ErrorCode::NotFound => continue,
            Err(why) => return Err(why),
        };
        if repo.find_tree(entry.id())?.is_empty() {
            let mut update = TreeUpdateBuilder::new();
            update.remove(folder);
            tree = repo.find_tree(update.create_updated(repo, &tree)?)?;
        }
    }
    Ok(tree)
}

fn loose_path(repo: &Repository, id: Oid) -> PathBuf {
    let hex = id.to_string();
    let (folder, file) = hex.split_at(2);
    repo.commondir().join("objects").join(folder).join(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_no_more_lines_than_are_read_quickly() {
        let lines: Vec<String> = (0..=MAX_LINES).map(|number| number.to_string()).collect();
        assert_eq!(message_of("add: 2 names", &lines[..2]), "add: 2 names\n\n0\n1\n");
        assert!(message_of("all", &lines[..MAX_LINES]).ends_with("\n998\n999\n"));
        assert!(message_of("all", &lines).ends_with("\n998\n999\nand 1 more\n"));
    }
}
