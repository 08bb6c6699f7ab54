//! Publishing a commit: git's index, then the branch, then the work tree, all under git's own lock of the index.
//!
//! A `git commit` of a person asks the branch for the parent first and then the index for the tree, and git moves the branch
//! only if it still is at that parent. So the index has to have a file before the branch has: otherwise a `git commit`
//! that comes between the two commits the tree without the file, which takes it out again. And no `git commit -a` may come
//! between the branch and the work tree. The lock keeps git out of both; the order is for a process that is killed:
//!
//! | killed when | the index | the branch | a `git commit` after the lock was removed |
//! |---|---|---|---|
//! | the lock is there | as it was | as it was | commits what the person staged |
//! | the index is written | has the files | as it was | commits the files too: the next writer finds them there |
//! | the branch has moved | has the files | has the files | changes nothing of them |
//!
//! The note in the writers' lock tells the next writer, which finishes the second and the third.

use super::error::Error;
use super::git_store::{EntryKind, GitStore};
use super::lock::{Lock, Pending};
use super::locked_index::LockedIndex;
use super::work_tree::{self, Puts};
use git2::ErrorCode;

/// A commit on its way to the branch.
pub(super) struct Publication<'p> {
    store: &'p GitStore,
    lock: &'p mut Lock,
    pending: Pending,
    puts: &'p Puts,
    index: Option<LockedIndex>,
}

impl<'p> Publication<'p> {
    /// Locks the index and enters the files of `pending`, whose objects are on the disk.
    ///
    /// # Errors
    /// Somebody else's changes are staged, or git keeps the index locked. Nothing was changed.
    pub(super) fn begin(
        store: &'p GitStore,
        lock: &'p mut Lock,
        pending: Pending,
        puts: &'p Puts,
    ) -> Result<Self, Error> {
        // First of all: whoever finds the lock of the index must know whose it was.
        lock.note(&pending)?;
        let mut publication = Self { store, lock, pending, puts, index: None };
        match publication.enter() {
            Ok(()) => Ok(publication),
            Err(error) => {
                publication.withdraw()?;
                Err(error)
            }
        }
    }

    fn enter(&mut self) -> Result<(), Error> {
        let Some(index) = LockedIndex::take(self.store)? else { return Ok(()) };
        index.check(self.puts)?;
        let index = self.index.insert(index);
        index.enter(self.puts)?;
        index.write()
    }

    /// Moves the branch and brings the work tree. Tells whether the branch still was where the commit continues it, and
    /// not locked by another program; if not, nothing was changed.
    pub(super) fn finish(mut self, message: &str) -> Result<bool, Error> {
        match self.move_branch(message) {
            Ok(()) => {}
            Err(why) => {
                self.withdraw()?;
                return if is_contention(&why) { Ok(false) } else { Err(self.store.error(why)) };
            }
        }
        match self.bring_work_tree() {
            Ok(()) => {
                drop(self.index);
                self.lock.clear()?;
                Ok(true)
            }
            Err(error) => {
                // The note stays, for the next writer to finish.
                self.pending.holds_locks = false;
                self.lock.note(&self.pending)?;
                Err(error)
            }
        }
    }

    /// Moves the branch, if it still is where the commit continues it.
    fn move_branch(&self, message: &str) -> Result<(), git2::Error> {
        let Pending { old, new, branch, .. } = &self.pending;
        let log = format!("commit: {}", message.lines().next().unwrap_or_default());
        match old {
            Some(old) => self.store.repo.reference_matching(branch, *new, true, *old, &log),
            None => self.store.repo.reference(branch, *new, false, &log),
        }
        .map(|_| ())
    }

    fn bring_work_tree(&mut self) -> Result<(), Error> {
        let seen = work_tree::update(&self.store.repo, self.puts)?;
        let Some(index) = &mut self.index else { return Ok(()) };
        index.note_seen(&seen).and_then(|()| index.write()).map_err(|error| Error::WorkTree { why: error.to_string() })
    }

    /// Makes the index what the branch says. What another program has committed meanwhile may have the files.
    fn withdraw(&mut self) -> Result<(), Error> {
        if let Some(index) = &mut self.index {
            index.withdraw(self.puts, self.store.head()?.as_ref())?;
            index.write()?;
        }
        self.lock.clear()
    }
}

impl GitStore {
    /// Brings files that HEAD has to the work tree and the index, and takes those out of the index that were to be
    /// published and that HEAD has not.
    pub(super) fn bring(&self, puts: &Puts) -> Result<(), Error> {
        let head = self.head()?;
        let (mut there, mut not_there) = (Puts::new(), Puts::new());
        for (path, put) in puts {
            let entry = head.as_ref().map_or(Ok(None), |head| head.unfollowed(path))?;
            let file = entry.filter(|entry| entry.kind == EntryKind::File).map(|entry| entry.id);
            if file == put.new { &mut there } else { &mut not_there }.insert(path.clone(), *put);
        }
        let Some(mut index) = LockedIndex::take(self)? else { return Ok(()) };
        index.withdraw(&not_there, head.as_ref())?;
        index.enter(&there)?;
        index.write()?;
        index.note_seen(&work_tree::update(&self.repo, &there)?)?;
        index.write()
    }
}

/// Whether an error of the git library says that one of its lock files is there, or that a reference has moved.
fn is_contention(why: &git2::Error) -> bool {
    matches!(why.code(), ErrorCode::Locked | ErrorCode::Modified | ErrorCode::Exists)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::work_tree::{Put, puts_between};
    use crate::repo::{GitStore, init};
    use git2::Oid;
    use std::path::Path;
    use std::process::{Command, Output};

    /// What a person does by hand.
    fn git(root: &Path, args: &[&str]) -> Output {
        let mut git = Command::new("git");
        git.arg("-C").arg(root).args(["-c", "user.name=T", "-c", "user.email=t@example.org"]).args(args);
        git.output().expect("git starts")
    }

    fn told(root: &Path, args: &[&str]) -> String {
        let output = git(root, args);
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    const COMMITS: [&[&str]; 2] = [
        &["commit", "--quiet", "--allow-empty", "-m", "by hand"],
        &["commit", "--quiet", "--allow-empty", "-a", "-m", "x"],
    ];

    /// A repository, and a commit of the file `v1.0/new` that is not published.
    struct Case {
        folder: tempfile::TempDir,
        store: GitStore,
        old: Oid,
        new: Oid,
        puts: Puts,
    }

    impl Case {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let store = init(&folder.path().join("repo"), false).expect("a repository");
            let old = store.head().expect("readable").expect("a commit").commit();
            let id = store.write_blob(b"new\n").expect("written");
            let root = store.root.clone();
            let mut case = Self { folder, store, old, new: old, puts: Puts::new() };
            let entry = format!("100644,{id},v1.0/new");
            let tree = case.tree_of(&root.join(".git/index"), &["update-index", "--add", "--cacheinfo", &entry]);
            let commit = told(&root, &["commit-tree", "-p", &old.to_string(), "-m", "new", &tree]);
            case.new = Oid::from_str(commit.trim()).expect("an id");
            case.puts = puts_between(&case.store.repo, Some(old), case.new).expect("readable");
            assert_eq!(case.puts, Puts::from([("v1.0/new".to_owned(), Put { old: None, new: Some(id) })]));
            case
        }

        /// The tree that git makes of a copy of an index, after a change of it.
        fn tree_of(&self, index: &Path, change: &[&str]) -> String {
            let copy = self.folder.path().join("index");
            std::fs::copy(index, &copy).expect("copied");
            let made = |args: &[&str]| {
                let mut git = Command::new("git");
                let output = git.arg("-C").arg(self.root()).env("GIT_INDEX_FILE", &copy).args(args).output();
                String::from_utf8(output.expect("git starts").stdout).expect("text").trim().to_owned()
            };
            if !change.is_empty() {
                made(change);
            }
            made(&["write-tree"])
        }

        fn root(&self) -> &Path {
            &self.store.root
        }

        fn lock(&self) -> Lock {
            Lock::take(&self.store.repo, "here").expect("free")
        }

        fn pending(&self) -> Pending {
            let branch = self.store.branch().expect("a branch");
            Pending { old: Some(self.old), new: self.new, branch, holds_locks: true }
        }

        /// The file is in the branch, the index and the work tree, and nothing else differs.
        fn check_published(&self) {
            assert_eq!(told(self.root(), &["cat-file", "blob", "HEAD:v1.0/new"]), "new\n");
            assert_eq!(std::fs::read_to_string(self.root().join("v1.0/new")).expect("there"), "new\n");
            self.check_clean();
        }

        fn check_clean(&self) {
            assert_eq!(told(self.root(), &["status", "--porcelain", "--ignored"]), "");
            // Of the index alone: what it knows of its files is what the system says.
            assert_eq!(told(self.root(), &["diff-files", "--name-only"]), "");
            for left in ["index.lock", "quaid-index", "quaid-index.lock"] {
                assert!(!self.root().join(".git").join(left).exists(), "{left}");
            }
        }
    }

    #[test]
    fn a_commit_by_hand_at_any_moment_takes_nothing_out() {
        for commit in COMMITS {
            let case = Case::new();
            let mut lock = case.lock();
            let publication = Publication::begin(&case.store, &mut lock, case.pending(), &case.puts).expect("begun");
            let refused = git(case.root(), commit);
            assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("index.lock"));
            publication.move_branch("new").expect("moved");
            let refused = git(case.root(), commit);
            assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("index.lock"));
            // Back, as if it had not moved yet.
            told(case.root(), &["update-ref", "HEAD", &case.old.to_string()]);
            assert!(publication.finish("new").expect("published"));
            case.check_published();
            told(case.root(), commit);
            case.check_published();
        }
    }

    #[test]
    fn a_branch_that_another_program_moved_meanwhile_leaves_the_index_as_it_is_there() {
        let case = Case::new();
        let mut lock = case.lock();
        let publication = Publication::begin(&case.store, &mut lock, case.pending(), &case.puts).expect("begun");
        // A `git commit` that had read the index before: git moves the branch without the index's lock.
        let tree = format!("{}^{{tree}}", case.old);
        let commit = told(case.root(), &["commit-tree", "-p", &case.old.to_string(), "-m", "by hand", &tree]);
        told(case.root(), &["update-ref", "HEAD", commit.trim()]);
        assert!(!publication.finish("new").expect("not published"));
        assert_eq!(told(case.root(), &["rev-parse", "HEAD"]), commit);
        case.check_clean();
        assert_eq!(lock.pending().expect("read"), None);

        // One that had read the index after: it has the file.
        let case = Case::new();
        let mut lock = case.lock();
        let publication = Publication::begin(&case.store, &mut lock, case.pending(), &case.puts).expect("begun");
        let tree = case.tree_of(&case.root().join(".git/index"), &[]);
        let commit = told(case.root(), &["commit-tree", "-p", &case.old.to_string(), "-m", "by hand", &tree]);
        told(case.root(), &["update-ref", "HEAD", commit.trim()]);
        assert!(!publication.finish("new").expect("not published"));
        assert_eq!(told(case.root(), &["diff-index", "--cached", "--name-only", "HEAD"]), "");
        case.store.bring(&case.puts).expect("brought");
        case.check_published();
    }

    #[test]
    fn what_a_writer_that_was_killed_left_loses_nothing_whatever_a_person_does_with_it() {
        for moved in [false, true] {
            for by_hand in [None, Some(COMMITS[0])] {
                let case = Case::new();
                let mut lock = case.lock();
                let publication =
                    Publication::begin(&case.store, &mut lock, case.pending(), &case.puts).expect("begun");
                if moved {
                    publication.move_branch("new").expect("moved");
                }
                // Killed: nothing is cleaned up but the lock that the system lets go of.
                std::mem::forget(publication);
                drop(lock);
                if let Some(commit) = by_hand {
                    assert!(!git(case.root(), commit).status.success(), "the index is locked");
                    std::fs::remove_file(case.root().join(".git/index.lock")).expect("removed, as git says");
                    told(case.root(), commit);
                }
                case.store.finish_pending().expect("finished");
                if moved || by_hand.is_some() {
                    case.check_published();
                } else {
                    assert_eq!(told(case.root(), &["rev-parse", "HEAD"]).trim(), case.old.to_string());
                    case.check_clean();
                }
            }
        }
    }

    #[test]
    fn what_is_staged_or_changed_by_hand_stays() {
        let case = Case::new();
        std::fs::write(case.root().join("v1.0/new"), "mine").expect("written");
        told(case.root(), &["add", "v1.0/new"]);
        let mut lock = case.lock();
        let refused = Publication::begin(&case.store, &mut lock, case.pending(), &case.puts).err().expect("refused");
        assert!(refused.to_string().contains("staged"), "{refused}");
        assert_eq!(told(case.root(), &["status", "--porcelain"]), "A  v1.0/new\n");
        assert_eq!(told(case.root(), &["cat-file", "blob", ":v1.0/new"]), "mine");

        // A change of the second in which the index was written, of as many bytes, is still seen.
        let case = Case::new();
        told(case.root(), &["config", "core.trustctime", "false"]);
        let readme = case.root().join("README.md");
        let text = std::fs::read_to_string(&readme).expect("readable");
        let before = readme.metadata().and_then(|file| file.modified()).expect("a time");
        let index = case.root().join(".git/index");
        std::fs::write(&readme, text.to_ascii_uppercase()).expect("written");
        for file in [&readme, &index] {
            std::fs::File::options().write(true).open(file).and_then(|file| file.set_modified(before)).expect("set");
        }
        let mut lock = case.lock();
        let publication = Publication::begin(&case.store, &mut lock, case.pending(), &case.puts).expect("begun");
        assert!(publication.finish("new").expect("published"));
        assert_eq!(told(case.root(), &["status", "--porcelain"]), " M README.md\n");
    }
}
