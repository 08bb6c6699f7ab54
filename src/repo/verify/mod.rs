//! Is every profile of a repository there, whole, and what its name says?

use super::error::Error;
use super::git_program::git_program;
use super::git_source::GitSource;
use super::git_store::{Entry, EntryKind, GitStore, Snapshot};
use super::hygiene;
use super::layout::{guid_of, name_of};
use super::signers;
use file::{Checked, check_file};
use quaid_profile::{
    LAYOUT, LinuxIndex, MAX_SYMLINKS, Metadata, NotFound, Os, ProfileFile, ProfilePath,
    stored::{self, STORED},
};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;

mod file;
mod folder;
mod inventory;

pub use folder::verify_folder;

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The path from the top of the tree; "git" for what git's own check says.
    pub path: String,
    /// What is wrong with it.
    pub why: String,
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Profiles that were read.
    pub profiles: usize,
    /// Symlinks that were followed.
    pub links: usize,
    /// Files of a partial clone whose contents are not here, and were not fetched.
    pub absent: usize,
    /// What is wrong, in the order of the tree.
    pub problems: Vec<Problem>,
    /// Whether `git fsck` was run; it is not when there is no git program, or no git repository.
    pub git_ran: bool,
    /// How many names the inventory has, where there is one.
    pub inventory: Option<usize>,
    /// Who signed it, where it was asked who may.
    pub signer: Option<String>,
}

impl Verified {
    fn problem(&mut self, path: &str, why: impl Into<String>) {
        self.problems.push(Problem { path: path.to_owned(), why: why.into() });
    }
}

/// Reads everything below the layout's folder of HEAD, and lets the user's git check its objects. An inventory in it is
/// compared, and must be signed by a key of `allowed`, or of git's own list of allowed signers.
///
/// # Errors
/// The repository has no profiles, or a tree of it cannot be read.
pub fn verify(store: &GitStore, allowed: Option<&Path>) -> Result<Verified, Error> {
    git2::opts::strict_hash_verification(true);
    let head = store.profiles()?;
    let mut found = Verified::default();
    let mut links: Vec<(String, String, String)> = Vec::new();
    let mut guids: BTreeMap<String, Option<[u8; 16]>> = BTreeMap::new();
    let mut kernels: Vec<(String, Metadata)> = Vec::new();
    let mut absent: BTreeSet<String> = BTreeSet::new();
    let partial = store.is_partial();
    head.walk(LAYOUT, &mut |path, entry| {
        let full = format!("{LAYOUT}/{path}");
        if partial && !is_here(&head, &full, entry) {
            found.absent += 1;
            absent.extend(name_of(path));
            return Ok(());
        }
        let bytes = match content(&head, &full, entry) {
            Ok(bytes) => bytes,
            Err(error) => {
                found.problem(&full, error);
                return Ok(());
            }
        };
        let Some(name) = name_of(path) else { return Ok(()) };
        let read = |part: &str| head.read(&format!("{LAYOUT}/{part}"));
        match check_file(&read, &full, &name, &bytes) {
            Ok(Checked::Other) => {}
            Ok(Checked::Symlink(target)) => {
                found.links += 1;
                links.push((full, name, target));
            }
            Ok(Checked::Profile(metadata)) => {
                found.profiles += 1;
                guids.insert(name.clone(), metadata.guid_age().map(|id| id.guid));
                if metadata.os() == Some(Os::Linux) {
                    kernels.push((name, metadata));
                }
            }
            Err(why) => found.problem(&full, why),
        }
        Ok(())
    })?;
    // Every object was hashed as it was read above; following links reads them again.
    let source = ProfilePath::new(vec![Box::new(GitSource::open(&store.root)?)]);
    let targets: BTreeMap<String, String> =
        links.iter().map(|(_, name, target)| (name.clone(), target.clone())).collect();
    for (path, name, target) in links {
        let end = (0..MAX_SYMLINKS).fold(target.as_str(), |at, _| targets.get(at).map_or(at, String::as_str));
        // Where it ends is not here, and is not fetched for this.
        if absent.contains(end) {
            continue;
        }
        check_link(&mut found, &source, &guids, (&path, &name), &target);
    }
    if !absent.contains(LinuxIndex::NAME) && (!partial || index_is_here(&head)) {
        check_index(&mut found, &head, &kernels, &absent);
    }
    let allowed = allowed.map_or_else(|| signers::allowed(store), |file| Ok(Some(file.to_owned())))?;
    inventory::check_tree(&mut found, store, &head, allowed.as_deref())?;
    // What the names and the kinds of files mean on a disk, where nothing else was said of them.
    let told: BTreeSet<String> = found.problems.iter().map(|problem| problem.path.clone()).collect();
    let strange = hygiene::check(&head)?.problems;
    found
        .problems
        .extend(strange.into_iter().filter(|(path, _)| !told.contains(path)).map(|(path, why)| Problem { path, why }));
    match git_fsck(store) {
        Ok(None) => {}
        Ok(Some(lines)) => {
            found.git_ran = true;
            for line in lines {
                found.problem("git", line);
            }
        }
        Err(why) => found.problem("git", format!("`git fsck` could not be run: {why}")),
    }
    Ok(found)
}

/// Whether an entry of a partial clone, and all that it is stored in, can be read without fetching.
fn is_here(head: &Snapshot<'_>, path: &str, entry: Entry) -> bool {
    let there = |id| head.bytes_here(id).is_some();
    if !matches!(entry.kind, EntryKind::File | EntryKind::Link) {
        return true;
    }
    if !there(entry.id) {
        return false;
    }
    if entry.kind == EntryKind::Link {
        return head.entry(path).map_or(true, |end| end.is_none_or(|end| end.kind != EntryKind::File || there(end.id)));
    }
    // What is damaged is told when it is read.
    let Ok(file) = head.blob(entry.id, path).map(|bytes| ProfileFile::parse("", &bytes)) else { return true };
    let Ok(file) = file else { return true };
    let part_is_here = |part: &String| {
        let found = head.entry(&format!("{LAYOUT}/{part}"));
        found.map_or(true, |found| found.is_none_or(|found| there(found.id)))
    };
    file.metadata().kind() != STORED || stored::parts(&file).map_or(true, |parts| parts.iter().all(part_is_here))
}

fn index_is_here(head: &Snapshot<'_>) -> bool {
    let found = head.entry(&format!("{LAYOUT}/{}", LinuxIndex::NAME));
    found.map_or(true, |found| found.is_none_or(|found| head.bytes_here(found.id).is_some()))
}

/// The bytes of an entry; of a git link those of the file that it leads to.
fn content(head: &Snapshot<'_>, path: &str, entry: Entry) -> Result<Vec<u8>, String> {
    let entry = match entry.kind {
        EntryKind::File => Some(entry),
        EntryKind::Link => head.entry(path).map_err(|error| error.to_string())?,
        EntryKind::Folder | EntryKind::Submodule => None,
    };
    match entry {
        Some(Entry { id, kind: EntryKind::File }) => head.blob(id, path).map_err(|error| error.to_string()),
        // A folder behind a git link: its files are checked where they are.
        Some(Entry { kind: EntryKind::Folder, .. }) => Ok(Vec::new()),
        Some(_) => Err("is a submodule, whose files are not here".to_owned()),
        None => Err("a git link that leads nowhere, or a submodule".to_owned()),
    }
}

fn check_link(
    found: &mut Verified,
    source: &ProfilePath,
    guids: &BTreeMap<String, Option<[u8; 16]>>,
    (path, name): (&str, &str),
    target: &str,
) {
    let guid = guid_of(name);
    match source.load_stored(name, &mut |_| ()) {
        Ok(end) => {
            // A profile that is not known here is damaged, and told itself.
            let Some(&inside) = guids.get(&end.name) else { return };
            if guid.is_some() && guid != inside {
                found.problem(path, format!("leads to {}, which is not of this GUID", end.name));
            }
        }
        Err(NotFound::Nowhere { .. }) => {
            found.problem(path, format!("leads to {target}, and there is no profile at its end"));
        }
        Err(other) => found.problem(path, other.to_string()),
    }
}

/// Whether the index of Linux kernels says what the profiles say.
fn check_index(found: &mut Verified, head: &Snapshot<'_>, kernels: &[(String, Metadata)], absent: &BTreeSet<String>) {
    let path = format!("{LAYOUT}/{}", LinuxIndex::NAME);
    let index = match head.read(&path).map_err(|error| error.to_string()) {
        Ok(None) => LinuxIndex::default(),
        Ok(Some(bytes)) => match LinuxIndex::parse("", &bytes) {
            Ok(index) => index,
            Err(error) => return found.problem(&path, error.to_string()),
        },
        Err(error) => return found.problem(&path, error),
    };
    let mut should = LinuxIndex::default();
    for (name, metadata) in kernels {
        should.insert(name, metadata);
    }
    let (has, should): (BTreeSet<_>, BTreeSet<_>) = (index.entries().collect(), should.entries().collect());
    for (key, name) in should.difference(&has) {
        found.problem(&path, format!("lacks {name} under `{key}`; adding the profile again enters it"));
    }
    for (key, name) in has.difference(&should).filter(|(_, name)| !absent.contains(*name)) {
        found.problem(&path, format!("leads from `{key}` to {name}, which is no such profile"));
    }
}

/// What `git fsck` complains of; `None` when there is no git program.
fn git_fsck(store: &GitStore) -> std::io::Result<Option<Vec<String>>> {
    let mut git = git_program(store.repo.path());
    git.args(["fsck", "--strict", "--no-dangling", "--no-progress"]);
    // A check must not fetch what a partial clone left out.
    git.env("GIT_NO_LAZY_FETCH", "1");
    let output = match git.output() {
        Ok(output) => output,
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(why),
    };
    let text = [output.stderr, output.stdout].concat();
    let mut lines: Vec<String> = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
    lines.retain(|line| !line.starts_with("notice:"));
    if !output.status.success() && lines.is_empty() {
        lines.push(format!("`git fsck` ended with {}", output.status));
    }
    Ok(Some(lines))
}
