//! What comes from another repository, by `sync` or in a bundle: fetched beside what is here, looked at, then taken as a
//! whole or not at all. The branch moves last, and only forward.

use super::error::Error;
use super::git_program::{git_program, output, remote_git, watched};
use super::git_store::{EntryKind, GitStore};
use super::hygiene::{self, Hygiene};
use super::init::without_commit;
use super::lock::Lock;
use super::signers;
use git2::{ErrorCode, Oid};
use quaid_profile::LAYOUT;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Where a fetched commit waits to be looked at.
const INCOMING: &str = "refs/quaid/incoming";

/// How often a commit is looked at again because another writer moved the branch meanwhile.
const ATTEMPTS: u32 = 5;

/// Between two attempts at making a repository.
const PAUSE: Duration = Duration::from_millis(200);

/// What a folder has in which a repository, bare or not, is being made.
const BEGUN: [&str; 9] = [".git", "HEAD", "config", "config.lock", "description", "hooks", "info", "objects", "refs"];

/// What the user says of what comes in.
#[derive(Debug, Clone, Default)]
pub struct IncomingOptions {
    /// A new repository is made without work tree.
    pub bare: bool,
    /// File of the keys that may sign (ssh-keygen(1), ALLOWED SIGNERS); the repository remembers it. Without it that of
    /// git's own `gpg.ssh.allowedSignersFile` counts, where it is set.
    pub allowed_signers: Option<PathBuf>,
    /// Nothing may use the network.
    pub offline: bool,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// HEAD's commit before; `None` in a new repository.
    pub old: Option<Oid>,
    /// HEAD's commit now.
    pub new: Oid,
    /// How many commits came, as far as the histories here tell.
    pub commits: usize,
    /// How many commits this side has that the other has not.
    pub ahead: usize,
    /// Who signed it, when signatures are asked for.
    pub signer: Option<String>,
    /// What of its tree stays away from the disk and from readers.
    pub hygiene: Hygiene,
}

/// Opens the repository in `root`, or makes one without commits. Another process may be making it just now, or was killed
/// while it did.
fn opened_or_made(root: &Path, bare: bool) -> Result<GitStore, Error> {
    for left in (0..ATTEMPTS).rev() {
        let place = match GitStore::open(root) {
            Err(Error::NotARepository { place }) => place,
            other => return other,
        };
        let is_foreign = |name: &OsStr| name.to_str().is_none_or(|name| !BEGUN.contains(&name));
        let mut entries = root.read_dir().into_iter().flatten().filter_map(Result::ok);
        if entries.any(|entry| is_foreign(&entry.file_name())) {
            let why = "is no repository and not empty; name a new folder with -C";
            return Err(Error::Mirror { what: place, why: why.to_owned() });
        }
        match without_commit(root, bare) {
            Err(why) if left == 0 => return Err(Error::Git { place, why }),
            Err(_) => std::thread::sleep(PAUSE),
            Ok(store) => return Ok(store),
        }
    }
    GitStore::open(root)
}

/// A repository that takes something in, and the right to.
pub(super) struct Receiver {
    pub(super) store: GitStore,
    lock: Lock,
}

impl Receiver {
    /// Opens the repository in `root`, or makes one without commits where there is none.
    ///
    /// # Errors
    /// `root` is no repository, and has files.
    pub(super) fn open(root: &Path, options: &IncomingOptions) -> Result<Self, Error> {
        let store = opened_or_made(root, options.bare)?;
        let lock = Lock::take_incoming(&store.repo, &store.place())?;
        // Who holds the lock is alone with this reference: a lock of git on it is that of a process that was killed.
        let left = store.repo.commondir().join(format!("{INCOMING}.lock"));
        match std::fs::remove_file(&left) {
            Err(why) if why.kind() != std::io::ErrorKind::NotFound => return Err(Error::Io { path: left, why }),
            _ => {}
        }
        // A process that was killed when the branch had moved: there is nothing new, and its files are missing.
        store.finish_pending()?;
        if let Some(file) = &options.allowed_signers {
            signers::remember(&store, file)?;
        }
        Ok(Self { store, lock })
    }

    /// HEAD's commit.
    pub(super) fn head(&self) -> Result<Option<Oid>, Error> {
        Ok(self.store.head()?.map(|head| head.commit()))
    }

    /// Fetches the commit that `from` calls HEAD. Objects are checked as `git fsck` does, and on the disk when this ends.
    pub(super) fn fetch(
        &self,
        from: &str,
        more: &[String],
        options: &IncomingOptions,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Oid, Error> {
        let mut git = remote_git(Some(self.store.repo.path()))?;
        git.args(["-c", "core.fsync=committed,loose-object", "-c", "fetch.fsckObjects=true"]);
        // Rekall's public repository has trees that git once wrote with modes of its own.
        git.args(["-c", "fetch.fsck.zeroPaddedFilemode=ignore"]);
        git.args(["fetch", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules"]);
        git.args(["--progress", "--refmap="]).args(more).args(["--", from]).arg(format!("+HEAD:{INCOMING}"));
        git.stdin(self.lock.held_by_child()?);
        if options.offline {
            git.env("GIT_ALLOW_PROTOCOL", "file");
        }
        watched(&mut git, "fetch", progress)?;
        let found = self.store.repo.find_reference(INCOMING).and_then(|reference| reference.peel_to_commit());
        found.map(|commit| commit.id()).map_err(|why| self.store.error(why))
    }

    /// Looks at the fetched commit, and takes it: signature, history, tree, then the branch `branch` (`refs/heads/...`) and
    /// the work tree. `from` is for messages.
    pub(super) fn take(&self, new: Oid, branch: &str, from: &str) -> Result<Received, Error> {
        let taken = self.look_and_take(new, branch, from);
        // Whatever was decided, it waits no longer.
        match self.store.repo.find_reference(INCOMING).and_then(|mut reference| reference.delete()) {
            Err(why) if why.code() != ErrorCode::NotFound && taken.is_ok() => Err(self.store.error(why)),
            _ => taken,
        }
    }

    fn look_and_take(&self, new: Oid, branch: &str, from: &str) -> Result<Received, Error> {
        let store = &self.store;
        let signer = signers::check(store, new, from)?;
        let tree = store.at(new)?;
        if !matches!(tree.unfollowed(LAYOUT)?, Some(entry) if entry.kind == EntryKind::Folder) {
            let why = format!("what it has is no profile repository: there is no folder {LAYOUT}");
            return Err(Error::Mirror { what: from.to_owned(), why });
        }
        for _ in 0..ATTEMPTS {
            let old = self.head()?;
            let done = |commits, ahead, hygiene| Received { old, new, commits, ahead, signer: signer.clone(), hygiene };
            let Some(head) = old else {
                let hygiene = hygiene::check(&tree)?;
                if store.fast_forward(None, new, branch, &format!("sync: from {from}"))? {
                    return Ok(done(self.count(&[&new.to_string()])?, 0, hygiene));
                }
                continue;
            };
            if head == new || self.continues(head, new)? {
                let ahead = if head == new { 0 } else { self.count(&[&head.to_string(), &format!("^{new}")])? };
                return Ok(Received { new: head, ..done(0, ahead, Hygiene::default()) });
            }
            if !self.continues(new, head)? {
                return Err(Error::NoFastForward { place: store.place(), why: self.difference(head, new, from)? });
            }
            let hygiene = hygiene::check(&tree)?;
            if store.fast_forward(old, new, branch, &format!("sync: from {from}"))? {
                return Ok(done(self.count(&[&new.to_string(), &format!("^{head}")])?, 0, hygiene));
            }
        }
        let why = format!("its branch moved at each of {ATTEMPTS} attempts");
        Err(Error::Busy { place: store.place(), why })
    }

    /// Whether the history of `newer` has `older`.
    fn continues(&self, newer: Oid, older: Oid) -> Result<bool, Error> {
        let mut git = self.local_git();
        git.args(["merge-base", "--is-ancestor"]).args([older.to_string(), newer.to_string()]);
        Ok(output(&mut git, "merge-base")?.status.success())
    }

    /// How many commits these revisions name.
    fn count(&self, revisions: &[&str]) -> Result<usize, Error> {
        let mut git = self.local_git();
        git.args(["rev-list", "--count"]).args(revisions);
        let counted = output(&mut git, "rev-list")?;
        Ok(String::from_utf8_lossy(&counted.stdout).trim().parse().unwrap_or(0))
    }

    /// git that looks at histories, and fetches nothing for it.
    fn local_git(&self) -> Command {
        let mut git = git_program(self.store.repo.path());
        git.env("GIT_NO_LAZY_FETCH", "1");
        git
    }

    /// How two histories differ that do not continue each other, and what to do.
    fn difference(&self, head: Oid, new: Oid, from: &str) -> Result<String, Error> {
        let mut git = self.local_git();
        git.args(["merge-base", &head.to_string(), &new.to_string()]);
        let common = String::from_utf8_lossy(&output(&mut git, "merge-base")?.stdout).trim().to_owned();
        if self.store.repo.is_shallow() {
            return Ok(format!(
                "{from} does not continue what is here as far as this shallow repository knows; \
                 sync without --depth, or with a larger one, and if it is refused again the history was rewritten"
            ));
        }
        if common.is_empty() {
            return Ok(format!("{from} has another history altogether; name a folder of its own with -C"));
        }
        let (mine, theirs) = (
            self.count(&[&head.to_string(), &format!("^{common}")])?,
            self.count(&[&new.to_string(), &format!("^{common}")])?,
        );
        Ok(format!(
            "{from} has rewritten its history, or there are commits of your own here: {mine} commits here are not there, and \
             {theirs} there are not here; keep own profiles in a repository of their own (profile_path takes several), and if \
             you trust the rewritten history sync it into a new folder"
        ))
    }
}
