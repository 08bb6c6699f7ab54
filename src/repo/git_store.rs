//! A git repository, and what its HEAD holds. Blobs are read from the object store: no checkout is needed.

use super::error::Error;
use super::on_demand;
use git2::{ErrorCode, FileMode, ObjectType, Oid, Repository, RepositoryOpenFlags, Tree};
use quaid_profile::{LAYOUT, MAX_PROFILE_BYTES, MAX_SYMLINKS};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// How deep folders are walked. The layout has seven levels.
const MAX_DEPTH: usize = 32;

/// How many names one walk gives at most: a tree may name the same subtree many times, level upon level.
const MAX_NAMES: usize = 1_000_000;

/// The longest text of a git link that is followed, in bytes (the longest path of Linux).
const MAX_LINK_BYTES: usize = 4096;

/// Lets objects be read without hashing each again, which took half the time of a look-up: a folder of ten thousand names
/// has 600 KB. Objects have checksums of their compressed data as well, and `verify` hashes them all.
pub(super) fn trust_object_names() {
    git2::opts::strict_hash_verification(false);
}

/// A git repository on this machine, with a work tree or bare.
pub struct GitStore {
    pub(super) repo: Repository,
    pub(super) root: PathBuf,
}

impl GitStore {
    /// Opens the repository whose work tree or bare folder `root` is. Folders above it are not searched, and the
    /// environment (`GIT_DIR` and so on) is not asked.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let place = root.display().to_string();
        match Repository::open_ext(root, RepositoryOpenFlags::NO_SEARCH, &[] as &[&OsStr]) {
            Ok(repo) => Ok(Self { repo, root: root.to_owned() }),
            Err(why) if why.code() == ErrorCode::NotFound => Err(Error::NotARepository { place }),
            Err(why) if why.code() == ErrorCode::Owner => {
                // git wants it absolute.
                let place = root.canonicalize().map_or(place, |path| path.display().to_string());
                Err(Error::Owner { place })
            }
            Err(why) => Err(Error::Git { place, why }),
        }
    }

    pub(super) fn from_repository(repo: Repository, root: &Path) -> Self {
        Self { repo, root: root.to_owned() }
    }

    /// What it is called in messages: the folder as it was given.
    pub fn place(&self) -> String {
        self.root.display().to_string()
    }

    /// Whether it has no work tree.
    pub fn is_bare(&self) -> bool {
        self.repo.is_bare()
    }

    pub(super) fn error(&self, why: git2::Error) -> Error {
        Error::Git { place: self.place(), why }
    }

    /// HEAD's commit and tree as they are now; `None` before the first commit.
    pub fn head(&self) -> Result<Option<Snapshot<'_>>, Error> {
        let commit = match self.repo.head() {
            Ok(head) => head.peel_to_commit().map_err(|why| self.error(why))?,
            Err(why) if matches!(why.code(), ErrorCode::UnbornBranch | ErrorCode::NotFound) => return Ok(None),
            Err(why) => return Err(self.error(why)),
        };
        self.snapshot(&commit).map(Some)
    }

    fn snapshot(&self, commit: &git2::Commit<'_>) -> Result<Snapshot<'_>, Error> {
        let tree = commit.tree().map_err(|why| self.error(why))?;
        Ok(Snapshot {
            repo: &self.repo,
            place: self.place(),
            commit: commit.id(),
            root: tree.id(),
            trees: RefCell::default(),
        })
    }

    /// The tree of a commit that HEAD need not have.
    pub(super) fn at(&self, commit: Oid) -> Result<Snapshot<'_>, Error> {
        let commit = self.repo.find_commit(commit).map_err(|why| self.error(why))?;
        self.snapshot(&commit)
    }

    /// HEAD of a repository that has profiles.
    pub fn profiles(&self) -> Result<Snapshot<'_>, Error> {
        let head = self.head()?.ok_or_else(|| Error::NoProfiles { place: self.place() })?;
        match head.entry(LAYOUT)? {
            Some(Entry { kind: EntryKind::Folder, .. }) => Ok(head),
            _ => Err(Error::NoProfiles { place: self.place() }),
        }
    }

    /// Whether this process may write its object store.
    pub fn is_writable(&self) -> bool {
        let objects = self.repo.commondir().join("objects");
        // What the system allows is not told by the permissions alone (read-only mounts, access lists).
        tempfile::Builder::new().prefix(crate::output::TEMPORARY).tempfile_in(objects).is_ok()
    }

    /// Whether git knows who the user is. Without it commits are by `quaid <quaid@localhost>`.
    pub fn has_author(&self) -> bool {
        self.repo.author_from_env().is_ok()
    }
}

/// What an entry of a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A tree.
    Folder,
    /// A blob.
    File,
    /// A blob that is the text of a symbolic link.
    Link,
    /// A commit of another repository.
    Submodule,
}

/// An entry of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its object.
    pub id: Oid,
    /// What it is.
    pub kind: EntryKind,
}

/// One commit's tree. Paths are relative to it, with `/`.
pub struct Snapshot<'r> {
    repo: &'r Repository,
    place: String,
    commit: Oid,
    root: Oid,
    /// The git library keeps no large trees, and a folder of ten thousand profiles is one.
    trees: RefCell<BTreeMap<Oid, Rc<Tree<'r>>>>,
}

impl<'r> Snapshot<'r> {
    /// The commit.
    pub fn commit(&self) -> Oid {
        self.commit
    }

    /// The tree.
    pub(super) fn root(&self) -> Oid {
        self.root
    }

    fn error(&self, path: &str, why: git2::Error) -> Error {
        Error::Git { place: format!("{}, {path}", self.place), why }
    }

    fn bad(&self, path: &str, why: impl Into<String>) -> Error {
        Error::BadTree { place: format!("{}, {path}", self.place), why: why.into() }
    }

    fn tree(&self, id: Oid, path: &str) -> Result<Rc<Tree<'r>>, Error> {
        if let Some(tree) = self.trees.borrow().get(&id) {
            return Ok(Rc::clone(tree));
        }
        let tree = Rc::new(self.repo.find_tree(id).map_err(|why| self.error(path, why))?);
        self.trees.borrow_mut().insert(id, Rc::clone(&tree));
        Ok(tree)
    }

    /// What is at `path`, git links followed: a folder or a file. A link that leads out of the tree, or in a circle, is an
    /// error.
    pub fn entry(&self, path: &str) -> Result<Option<Entry>, Error> {
        Ok(self.destination(path)?.map(|(_, entry)| entry))
    }

    /// As [`Snapshot::entry`], with the path at which git links end.
    pub fn destination(&self, path: &str) -> Result<Option<(String, Entry)>, Error> {
        // The folders on the way, and the name of what each led to.
        let mut above: Vec<(Oid, String)> = Vec::new();
        let mut here = Entry { id: self.root, kind: EntryKind::Folder };
        let mut parts: VecDeque<String> = path.split('/').map(str::to_owned).collect();
        let mut links = 0;
        while let Some(part) = parts.pop_front() {
            if here.kind != EntryKind::Folder {
                return Ok(None);
            }
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    let Some((parent, _)) = above.pop() else {
                        return Err(self.bad(path, "a git link leads out of the repository"));
                    };
                    here = Entry { id: parent, kind: EntryKind::Folder };
                    continue;
                }
                _ => {}
            }
            let tree = self.tree(here.id, path)?;
            let Some(entry) = tree.get_name(&part) else { return Ok(None) };
            let entry = Entry { id: entry.id(), kind: kind_of(&entry) };
            if entry.kind != EntryKind::Link {
                above.push((here.id, part));
                here = entry;
                continue;
            }
            links += 1;
            if links > MAX_SYMLINKS {
                return Err(self.bad(path, format!("more than {MAX_SYMLINKS} git links, or a circle of them")));
            }
            let target = self.link_text(entry.id, path)?;
            if target.starts_with('/') {
                return Err(self.bad(path, format!("a git link leads out of the repository, to {target}")));
            }
            for part in target.split('/').rev() {
                parts.push_front(part.to_owned());
            }
        }
        let names: Vec<String> = above.into_iter().map(|(_, name)| name).collect();
        Ok(Some((names.join("/"), here)))
    }

    /// What is at `path` itself: a git link is not followed, and none leads there.
    pub(super) fn unfollowed(&self, path: &str) -> Result<Option<Entry>, Error> {
        let tree = self.tree(self.root, path)?;
        match tree.get_path(Path::new(path)) {
            Ok(entry) => Ok(Some(Entry { id: entry.id(), kind: kind_of(&entry) })),
            Err(why) if why.code() == ErrorCode::NotFound => Ok(None),
            Err(why) => Err(self.error(path, why)),
        }
    }

    fn link_text(&self, id: Oid, path: &str) -> Result<String, Error> {
        self.blob_bytes(id, path)?;
        let blob = self.repo.find_blob(id).map_err(|why| self.error(path, why))?;
        let text = (blob.size() <= MAX_LINK_BYTES).then(|| String::from_utf8(blob.content().to_vec()));
        match text {
            Some(Ok(text)) if !text.is_empty() => Ok(text),
            _ => Err(self.bad(path, "a git link whose text is no path")),
        }
    }

    /// The bytes of the file at `path`; `None` when there is none.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        match self.entry(path)? {
            Some(Entry { id, kind: EntryKind::File }) => self.blob(id, path).map(Some),
            _ => Ok(None),
        }
    }

    /// The bytes of a blob, found at `path`. One that is larger than a profile may be is refused unread.
    pub fn blob(&self, id: Oid, path: &str) -> Result<Vec<u8>, Error> {
        let size = self.blob_bytes(id, path)?;
        if size > MAX_PROFILE_BYTES {
            return Err(self.bad(path, format!("{size} bytes, which is more than a profile may have")));
        }
        Ok(self.repo.find_blob(id).map_err(|why| self.error(path, why))?.content().to_vec())
    }

    /// The size of a blob in bytes, without reading it.
    pub fn blob_bytes(&self, id: Oid, path: &str) -> Result<u64, Error> {
        let read = || self.repo.odb().and_then(|odb| odb.read_header(id));
        let header = match read() {
            Err(why) if why.code() == ErrorCode::NotFound && on_demand::is_partial(self.repo) => {
                on_demand::fetch(self.repo, id, &format!("{}, {path}", self.place))?;
                read()
            }
            other => other,
        };
        match header.map_err(|why| self.error(path, why))? {
            (size, ObjectType::Blob) => Ok(size as u64),
            (_, other) => Err(self.bad(path, format!("is a {other} where a blob is expected"))),
        }
    }

    /// The size of a blob in bytes, when it is here: a partial clone is not made to fetch it.
    pub(super) fn bytes_here(&self, id: Oid) -> Option<u64> {
        self.repo.odb().and_then(|odb| odb.read_header(id)).ok().map(|(size, _)| size as u64)
    }

    /// The names directly in the folder at `path`, sorted; none when there is no such folder.
    pub fn folder(&self, path: &str) -> Result<Vec<String>, Error> {
        let Some(Entry { id, kind: EntryKind::Folder }) = self.entry(path)? else { return Ok(Vec::new()) };
        let tree = self.tree(id, path)?;
        // A name that is not UTF-8 is none of a profile.
        let mut names: Vec<String> = tree.iter().filter_map(|entry| entry.name().ok().map(str::to_owned)).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Visits every entry below the folder at `path` that is not a folder, with its path from there, in the order of git.
    pub fn walk(&self, path: &str, visit: &mut dyn FnMut(&str, Entry) -> Result<(), Error>) -> Result<(), Error> {
        let Some(Entry { id, kind: EntryKind::Folder }) = self.entry(path)? else { return Ok(()) };
        let mut left = MAX_NAMES;
        self.walk_tree(id, "", MAX_DEPTH, &mut left, visit)
    }

    fn walk_tree(
        &self,
        id: Oid,
        folder: &str,
        depth: usize,
        left: &mut usize,
        visit: &mut dyn FnMut(&str, Entry) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let deeper =
            depth.checked_sub(1).ok_or_else(|| self.bad(folder, format!("folders deeper than {MAX_DEPTH}")))?;
        let tree = self.repo.find_tree(id).map_err(|why| self.error(folder, why))?;
        for entry in &tree {
            *left = left.checked_sub(1).ok_or_else(|| self.bad(folder, format!("more than {MAX_NAMES} names")))?;
            let leaf = String::from_utf8_lossy(entry.name_bytes());
            let path = if folder.is_empty() { leaf.into_owned() } else { format!("{folder}/{leaf}") };
            match kind_of(&entry) {
                EntryKind::Folder => self.walk_tree(entry.id(), &path, deeper, left, visit)?,
                kind => visit(&path, Entry { id: entry.id(), kind })?,
            }
        }
        Ok(())
    }
}

fn kind_of(entry: &git2::TreeEntry<'_>) -> EntryKind {
    match entry.kind() {
        Some(ObjectType::Tree) => EntryKind::Folder,
        Some(ObjectType::Blob) if entry.filemode() == i32::from(FileMode::Link) => EntryKind::Link,
        Some(ObjectType::Blob) => EntryKind::File,
        _ => EntryKind::Submodule,
    }
}
