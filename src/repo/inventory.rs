//! What a repository has: every name, what is behind it, and since when. Of Rekall's file of that name, which its readers
//! ask for first, the text.
//!
//! The names come from HEAD's trees alone. A file is opened when something of it is asked for; a profile's types and symbols
//! only for its whole text.

use super::error::Error;
use super::git_store::{Entry, EntryKind, GitStore, Snapshot, trust_object_names};
use super::layout::{check_name, is_index, name_of};
use super::rows::Rows;
use super::verify::Problem;
use git2::{Delta, ErrorCode, Oid};
use quaid_profile::{
    Format, LAYOUT, LinuxIndex, MAX_SYMLINKS, Profile, ProfileFile, normalised_name, stored,
    stored::{Digest, STORED},
    stored_names, whole,
};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A Symlink is a few lines; what is larger is not opened to see whether it is one. In bytes.
const MAX_SYMLINK_BYTES: u64 = 4096;

/// How many names links of git to folders may make.
const MAX_LINKED: usize = 100_000;

/// What a name is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A profile.
    Profile,
    /// A file that is another name for this one.
    Symlink(String),
    /// A link of git that makes it another name for this one. A link to a folder makes many.
    GitLink(String),
    /// An index.
    Index,
}

impl Kind {
    /// The name that a link leads to.
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::Symlink(target) | Self::GitLink(target) => Some(target),
            Self::Profile | Self::Index => None,
        }
    }
}

/// What is behind a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// Its file, from the top of the tree.
    pub path: String,
    /// The file's blob.
    pub id: Oid,
}

/// The files of one commit.
pub(super) struct Files<'s>(Snapshot<'s>);

impl<'s> Files<'s> {
    /// Those of a commit of a repository.
    pub(super) fn at(store: &'s GitStore, commit: Oid) -> Result<Self, Error> {
        Ok(Self(store.at(commit)?))
    }

    /// See [`Inventory::open`].
    pub(super) fn open(&self, item: &Item) -> Result<ProfileFile, Error> {
        if let Kind::GitLink(target) = &item.kind {
            return Ok(ProfileFile::from_profile(&Profile::symlink(target))?);
        }
        Ok(ProfileFile::parse(&item.path, &self.0.blob(item.id, &item.path)?)?)
    }

    /// The whole profile of a file.
    pub(super) fn whole(&self, file: ProfileFile) -> Result<ProfileFile, Error> {
        whole(file, |part| self.part(part))
    }

    /// See [`Inventory::part`].
    pub(super) fn part(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        self.0.read(&format!("{LAYOUT}/{name}"))
    }
}

/// The names of HEAD as it was when it was read.
pub struct Inventory<'s> {
    store: &'s GitStore,
    files: Files<'s>,
    items: BTreeMap<String, Item>,
    problems: Vec<Problem>,
}

impl<'s> Inventory<'s> {
    /// The names that begin with `prefix`. Only what is small enough for a Symlink is opened.
    pub fn of(store: &'s GitStore, prefix: &str) -> Result<Self, Error> {
        trust_object_names();
        let head = store.profiles()?;
        let mut items: BTreeMap<String, Item> = BTreeMap::new();
        let mut problems = Vec::new();
        let mut folders: Vec<(String, String)> = Vec::new();
        head.walk(LAYOUT, &mut |path, entry| {
            let name = if path == LinuxIndex::NAME { Some(path.to_owned()) } else { name_of(path) };
            let Some(name) = name.filter(|name| name.starts_with(prefix) || prefix.starts_with(&format!("{name}/")))
            else {
                return Ok(());
            };
            let path = format!("{LAYOUT}/{path}");
            match check_name(&name).map_err(str::to_owned).and_then(|()| behind(&head, &name, &path, entry)) {
                Ok(Behind::Folder(target)) => folders.push((path, target)),
                // Readers take the first of the spellings under which a name may be stored.
                Ok(Behind::Item(item)) if items.get(&name).is_none_or(|old| rank(&name, &item) < rank(&name, old)) => {
                    items.insert(name, item);
                }
                Ok(Behind::Item(_)) => {}
                Err(why) => problems.push(Problem { path, why }),
            }
            Ok(())
        })?;
        let mut left = MAX_LINKED;
        for (path, target) in folders {
            let linked = linked(&head, &path, &target, &mut left)?;
            if left == 0 {
                let why = format!("is a git link to a folder, and such links make more than {MAX_LINKED} names");
                problems.push(Problem { path, why });
            }
            for (name, item) in linked {
                items.entry(name).or_insert(item);
            }
        }
        items.retain(|name, _| name.starts_with(prefix));
        problems.extend(case_clashes(&items));
        Ok(Self { store, files: Files(head), items, problems })
    }

    /// The commit.
    pub fn commit(&self) -> Oid {
        self.files.0.commit()
    }

    /// Names and what is behind them, sorted by name.
    pub fn items(&self) -> impl Iterator<Item = (&str, &Item)> {
        self.items.iter().map(|(name, item)| (name.as_str(), item))
    }

    /// The profiles among them.
    pub fn profiles(&self) -> impl Iterator<Item = (&str, &Item)> {
        self.items().filter(|(_, item)| item.kind == Kind::Profile)
    }

    /// What is behind a name.
    pub fn get(&self, name: &str) -> Option<&Item> {
        self.items.get(name)
    }

    /// Files whose names cannot be used, links that lead nowhere, names that one disk cannot have side by side. The others
    /// are as good without them.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The profile that a name leads to, over Symlinks; none when that is not among the names.
    pub fn end_of(&self, name: &str) -> Option<&str> {
        let mut here = self.items.get_key_value(name)?;
        for _ in 0..=MAX_SYMLINKS {
            let (name, item) = here;
            let Some(target) = item.kind.target() else { return Some(name) };
            let target = normalised_name(target).ok().filter(|target| target != name)?;
            here = self.items.get_key_value(&target)?;
        }
        None
    }

    /// The Symlinks to each profile, those over others as well.
    pub fn links(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut links: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, item) in self.items() {
            if let (Some(_), Some(end)) = (item.kind.target(), self.end_of(name)) {
                links.entry(end).or_default().push(name);
            }
        }
        links
    }

    /// The file itself. Of a profile that is stored in several it has the metadata; [`Inventory::whole`] has the rest. A
    /// link of git is given as the Symlink that it amounts to.
    pub fn open(&self, item: &Item) -> Result<ProfileFile, Error> {
        self.files.open(item)
    }

    /// The whole profile of a file.
    pub fn whole(&self, file: ProfileFile) -> Result<ProfileFile, Error> {
        self.files.whole(file)
    }

    /// A file that a profile is stored in besides its own, by the name that [`stored::parts`] gives.
    pub fn part(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        self.files.part(name)
    }

    /// The text that the repository gives for a name.
    pub fn text(&self, item: &Item) -> Result<String, Error> {
        Ok(given_text(&self.whole(self.open(item)?)?)?.into_owned())
    }

    /// Length and SHA-256 of [`Inventory::text`]. A profile that is stored in several files tells them itself.
    pub fn digest(&self, item: &Item) -> Result<Digest, Error> {
        let file = self.open(item)?;
        if file.metadata().kind() == STORED
            && let Some(digest) = stored::digest(&file)?
        {
            return Ok(digest);
        }
        Ok(Digest::of(&given_text(&self.whole(file)?)?))
    }

    /// When each name's file was committed as it is, as Unix time in seconds. Of a merge that is the merge's time.
    pub fn committed(&self) -> Result<BTreeMap<&str, i64>, Error> {
        // Of what is below a link of git to a folder there is no file, and no time.
        let mut left: BTreeMap<&str, &str> =
            self.items.iter().map(|(name, item)| (item.path.as_str(), name.as_str())).collect();
        let mut times = BTreeMap::new();
        let git = |why| self.store.error(why);
        let repo = &self.store.repo;
        let mut commit = repo.find_commit(self.commit()).map_err(git)?;
        while !left.is_empty() {
            let time = commit.time().seconds();
            let layout = |commit: &git2::Commit<'_>| match commit.tree()?.get_path(Path::new(LAYOUT)) {
                Ok(entry) => entry.to_object(repo)?.peel_to_tree().map(Some),
                Err(why) if why.code() == ErrorCode::NotFound => Ok(None),
                Err(why) => Err(why),
            };
            let parent = match commit.parent(0) {
                Ok(parent) => parent,
                // The first commit, or the first that a shallow clone has.
                Err(why) if why.code() == ErrorCode::NotFound => {
                    times.extend(left.values().map(|&name| (name, time)));
                    break;
                }
                Err(why) => return Err(git(why)),
            };
            let (old, new) = (layout(&parent).map_err(git)?, layout(&commit).map_err(git)?);
            let diff = repo.diff_tree_to_tree(old.as_ref(), new.as_ref(), None).map_err(git)?;
            for delta in diff.deltas() {
                if !matches!(delta.status(), Delta::Added | Delta::Modified | Delta::Typechange) {
                    continue;
                }
                let path = delta.new_file().path().and_then(Path::to_str).map(|path| format!("{LAYOUT}/{path}"));
                if let Some(name) = path.and_then(|path| left.remove(path.as_str())) {
                    times.insert(name, time);
                }
            }
            commit = parent;
        }
        Ok(times)
    }

    /// A line of Rekall's inventory for each name; what cannot be read is told and left out.
    pub fn rows(&self) -> Result<(Rows, Vec<Problem>), Error> {
        let times = self.committed()?;
        let (mut rows, mut problems) = (Rows::default(), Vec::new());
        for (name, item) in self.items() {
            let committed = times.get(name).copied().unwrap_or_default();
            match self.digest(item) {
                Ok(digest) => rows.insert(name, committed, &digest),
                Err(why) => problems.push(Problem { path: item.path.clone(), why: why.to_string() }),
            }
        }
        Ok((rows, problems))
    }
}

/// What is printed of a profile that was found: Rekall's text as it is stored, which is canonical where `add` stored it; an
/// ISF file's profile.
pub fn given_text(file: &ProfileFile) -> Result<Cow<'_, str>, Error> {
    match file.format() {
        Format::Rekall => Ok(Cow::Borrowed(file.text())),
        Format::Isf => Ok(Cow::Owned(file.canonical()?)),
    }
}

fn below_layout(path: &str) -> Option<&str> {
    path.strip_prefix(LAYOUT)?.strip_prefix('/')
}

/// The names that a link of git at `path` to the folder `target` makes, until `left` is none.
fn linked(head: &Snapshot<'_>, path: &str, target: &str, left: &mut usize) -> Result<Vec<(String, Item)>, Error> {
    let mut names = Vec::new();
    let (Some(from), Some(to)) = (below_layout(path), below_layout(target)) else { return Ok(names) };
    head.walk(target, &mut |below, entry| {
        let path = format!("{path}/{below}");
        let (name, end) = (name_of(&format!("{from}/{below}")), name_of(&format!("{to}/{below}")));
        if let (Some(name), Some(end), EntryKind::File, 1..) = (name, end, entry.kind, *left)
            && check_name(&name).is_ok()
        {
            *left -= 1;
            names.push((name, Item { kind: Kind::GitLink(end), path, id: entry.id }));
        }
        Ok(())
    })?;
    Ok(names)
}

/// The place of an item's file among those where readers look for the name.
fn rank(name: &str, item: &Item) -> usize {
    let stored = below_layout(&item.path).unwrap_or_default();
    stored_names(name).position(|spelling| spelling == stored).unwrap_or(usize::MAX)
}

/// What an entry of the tree makes.
enum Behind {
    Item(Item),
    /// A link of git to the folder of this path.
    Folder(String),
}

fn behind(head: &Snapshot<'_>, name: &str, path: &str, entry: Entry) -> Result<Behind, String> {
    let item = |kind, id| Ok(Behind::Item(Item { kind, path: path.to_owned(), id }));
    match entry.kind {
        EntryKind::Submodule | EntryKind::Folder => Err("is a submodule, whose files are not here".to_owned()),
        EntryKind::Link => match head.destination(path).map_err(|error| error.to_string())? {
            Some((end, Entry { kind: EntryKind::Folder, .. })) => Ok(Behind::Folder(end)),
            Some((end, Entry { id, kind: EntryKind::File })) => {
                let target = below_layout(&end).and_then(name_of).filter(|target| target != name);
                let target = target.ok_or_else(|| format!("is a git link to {end}, which is no profile"))?;
                item(Kind::GitLink(target), id)
            }
            _ => Err("is a git link that leads nowhere".to_owned()),
        },
        EntryKind::File => {
            let bytes = head.blob_bytes(entry.id, path).map_err(|error| error.to_string())?;
            if name == LinuxIndex::NAME || is_index(name) {
                return item(Kind::Index, entry.id);
            }
            if bytes > MAX_SYMLINK_BYTES {
                return item(Kind::Profile, entry.id);
            }
            // What cannot be read is `verify`'s to tell.
            let bytes = head.blob(entry.id, path).map_err(|error| error.to_string())?;
            let file = ProfileFile::parse(path, &bytes).ok();
            let kind = file.map_or(Kind::Profile, |file| match file.metadata().symlink_target() {
                Some(target) => Kind::Symlink(target.to_owned()),
                None if file.metadata().kind() == "Index" => Kind::Index,
                None => Kind::Profile,
            });
            item(kind, entry.id)
        }
    }
}

/// Names that differ in the case of their letters alone: on many disks they would be one file.
fn case_clashes(items: &BTreeMap<String, Item>) -> Vec<Problem> {
    let mut lower: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for name in items.keys() {
        lower.entry(name.to_lowercase()).or_default().push(name);
    }
    let mut problems = Vec::new();
    let clashes: BTreeSet<&Vec<&str>> = lower.values().filter(|names| names.len() > 1).collect();
    for names in clashes {
        let path = names.last().and_then(|name| items.get(*name)).map_or_else(String::new, |item| item.path.clone());
        problems.push(Problem { path, why: format!("differs in case alone: {}", names.join(", ")) });
    }
    problems
}
