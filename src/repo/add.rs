//! Profiles added to a repository: canonical, in the form that packs well, by identity, with their links, all in one commit.

use super::change::{Draft, message_of};
use super::error::Error;
use super::git_store::{Entry, EntryKind, GitStore, Snapshot};
use super::index::{enter_exports, has_exports, take_exports};
use super::layout::{self, Placement, path_of};
use crate::input;
use git2::Oid;
use quaid_profile::{
    Error as ProfileError, ExportIndex, LAYOUT, LinuxIndex, MAX_PROFILE_BYTES, Metadata, Os, Profile, ProfileFile,
    release_of,
    stored::{self, STORED, Stored},
    stored_names, trimmed_banner, unsharded, whole,
};
use std::path::{Path, PathBuf};

/// What the user says of the files.
#[derive(Debug, Clone, Default)]
pub struct AddOptions {
    /// Another name of a profile that has a GUID; the place of one that has none.
    pub name: Option<String>,
    /// The banner of the Linux kernel that the profile is of; recorded in the profile.
    pub banner: Option<String>,
    /// Whether what is stored under the same identity may be replaced.
    pub replace: bool,
}

/// What became of one file.
#[derive(Debug)]
pub struct Addition {
    /// The file.
    pub file: PathBuf,
    /// Where it is now, or why it is not added.
    pub outcome: Result<Added, Error>,
}

/// What became of all of them.
#[derive(Debug)]
pub struct Additions {
    /// The commit; `None` when the repository had everything.
    pub commit: Option<Oid>,
    /// Each file.
    pub files: Vec<Addition>,
    /// Whether `nt/exports` lacks the kernels: it is too large to be written for each, damaged, or of another version's exports.
    pub not_indexed: bool,
}

/// A file that the repository has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// Where it is.
    pub name: String,
    /// Whether it was written there; else it was there.
    pub stored: bool,
    /// Symlinks to it that were written.
    pub links: Vec<String>,
    /// Whether files of it that were committed, and missing in the work tree, are there again.
    pub restored: bool,
}

/// A file that is read, checked, and written as blobs that no commit names yet.
pub(super) struct Prepared {
    label: String,
    pub(super) placement: Placement,
    metadata: Metadata,
    /// What is at the profile's name.
    blob: Oid,
    /// Its types and symbols, by name, when it is stored in several files.
    parts: Vec<(String, Oid)>,
    /// Its line in the index of exports, where it has one.
    exports: ExportIndex,
}

impl Prepared {
    /// Every file that it is stored in: path from the top of the tree, and blob.
    pub(super) fn blobs(&self) -> impl Iterator<Item = (String, Oid)> {
        self.part_blobs().chain([(path_of(&self.placement.name), self.blob)])
    }

    /// The files of its types and symbols alone.
    fn part_blobs(&self) -> impl Iterator<Item = (String, Oid)> {
        self.parts.iter().map(|(part, blob)| (format!("{LAYOUT}/{part}"), *blob))
    }

    /// The profile again.
    fn read(&self, draft: &Draft<'_>) -> Result<ProfileFile, Error> {
        let file = ProfileFile::parse(&self.label, &draft.blob(self.blob)?)?;
        whole(file, |name| {
            let part = self.parts.iter().find(|(known, _)| known == name);
            part.map(|&(_, blob)| draft.blob(blob)).transpose()
        })
    }
}

/// Adds profiles (Rekall JSON or ISF, plain or compressed) in one commit. A file that cannot be added is told in its
/// [`Addition`] and stops no other.
///
/// # Errors
/// The repository cannot be written. Then nothing was added.
pub fn add(store: &GitStore, files: &[PathBuf], options: &AddOptions) -> Result<Additions, Error> {
    if store.head()?.is_some() {
        store.profiles()?;
    }
    let prepared: Vec<Result<Prepared, Error>> = files.iter().map(|file| prepare(store, file, options)).collect();
    let publish = |draft: &mut Draft<'_>| {
        let mut lines = Vec::new();
        let placed = place_all(draft, prepared.iter().flatten(), options.replace, SMALL_INDEX, &mut lines)?;
        Ok((Some(message(&lines)), placed))
    };
    let (commit, Placed { outcomes, indexed }) = store.change(publish)?;
    // Each file that could be read was placed, in order.
    let mut placed = outcomes.into_iter();
    let mut additions = Vec::new();
    for (file, item) in files.iter().zip(prepared) {
        let outcome = match item {
            Err(error) => Err(error),
            Ok(item) => placed.next().unwrap_or_else(|| Err(refused(&item.label, "it was not placed"))),
        };
        additions.push(Addition { file: file.clone(), outcome });
    }
    Ok(Additions { commit, files: additions, not_indexed: !indexed })
}

/// An index of exports up to this size, in bytes, is written anew with each kernel that comes: it has some 170. Of a larger one
/// that would cost more than the profile, and it is left to `repo index`.
pub(super) const SMALL_INDEX: usize = 64 << 10;

/// What became of profiles that were placed.
pub(super) struct Placed {
    /// Of each, in order.
    pub(super) outcomes: Vec<Result<Added, Error>>,
    /// Whether `nt/exports` has the kernels among them.
    pub(super) indexed: bool,
}

/// Puts profiles, their links and the indexes into the draft; one that cannot be placed stops no other. An index of exports of
/// more bytes than `max_index` is left as it is. Gives a line of the commit's message for each that is new.
pub(super) fn place_all<'p>(
    draft: &mut Draft<'_>,
    prepared: impl Iterator<Item = &'p Prepared>,
    replace: bool,
    max_index: usize,
    lines: &mut Vec<String>,
) -> Result<Placed, Error> {
    let mut outcomes = Vec::new();
    let mut index = Indexing::default();
    let mut exports = ExportIndex::of_kernel();
    for item in prepared {
        let outcome = put(draft, item, replace);
        if let Ok(added) = &outcome {
            index.take(draft, &added.name, &item.metadata)?;
            if added.stored {
                lines.push(format!("{} from {}", added.name, item.label));
                exports.merge(item.exports.clone());
            } else {
                lines.extend(added.links.iter().map(|link| format!("{link} -> {}", added.name)));
            }
        }
        outcomes.push(outcome);
    }
    index.put(draft)?;
    let indexed = enter_exports(draft, exports, max_index)?;
    Ok(Placed { outcomes, indexed })
}

pub(super) fn refused(label: &str, why: impl Into<String>) -> Error {
    Error::Refused { label: label.to_owned(), why: why.into() }
}

/// The commit's message. File names are told without their folders, which are nobody else's business.
fn message(lines: &[String]) -> String {
    match lines {
        [] => "add: indexes".to_owned(),
        [line] => format!("add: {line}"),
        _ => message_of(&format!("add: {} names", lines.len()), lines),
    }
}

fn prepare(store: &GitStore, path: &Path, options: &AddOptions) -> Result<Prepared, Error> {
    let name = path.file_name().map(|name| input::shown(Path::new(name)));
    let label = input::shown(path);
    let bytes = input::read(path, MAX_PROFILE_BYTES).map_err(|why| refused(&label, why.to_string()))?;
    let file = ProfileFile::parse(&label, &bytes)?;
    let metadata = file.metadata();
    match metadata.kind() {
        "Profile" => {}
        "Symlink" => return Err(refused(&label, "is a Symlink; `quaid repo link NAME TARGET` makes one")),
        other => return Err(refused(&label, format!("is of type {other}, and no profile"))),
    }
    if let Some(banner) = &options.banner {
        check_banner(metadata, trimmed_banner(banner)).map_err(|why| refused(&label, why))?;
    }
    let checked = Checked::of(&label, &file, options.banner.as_deref(), options.name.as_deref())?;
    checked.write(store, name.unwrap_or_default())
}

/// A profile as its canonical text, with a place to go.
pub(super) struct Canonical {
    pub(super) placement: Placement,
    pub(super) metadata: Metadata,
    text: String,
}

impl Canonical {
    /// That of a profile. `banner` is recorded in it; `given` is the name that the user chose for it.
    pub(super) fn of(
        label: &str,
        file: &ProfileFile,
        banner: Option<&str>,
        given: Option<&str>,
    ) -> Result<Self, Error> {
        let mut metadata = file.metadata().clone();
        let text = match banner.map(trimmed_banner) {
            Some(banner) => {
                metadata.set("Banner", banner);
                file.canonical_with_banner(banner)?
            }
            None => file.canonical()?,
        };
        let placement = layout::place(&metadata, given).map_err(|why| refused(label, why))?;
        Ok(Self { placement, metadata, text })
    }

    /// The profile as `head` has it, when that is this very text, in several files. What was split was checked.
    pub(super) fn stored_in(&self, head: &Snapshot<'_>, label: &str) -> Result<Option<Prepared>, Error> {
        let path = path_of(&self.placement.name);
        let file = |path: &str| -> Result<Option<Oid>, Error> {
            Ok(head.entry(path)?.filter(|entry| entry.kind == EntryKind::File).map(|entry| entry.id))
        };
        let Some(blob) = file(&path)? else { return Ok(None) };
        let stored = ProfileFile::parse(&path, &head.blob(blob, &path)?)?;
        if stored.metadata().kind() != STORED || !stored::is_whole(&stored, &self.text)? {
            return Ok(None);
        }
        let mut parts = Vec::new();
        for part in stored::parts(&stored)? {
            let Some(blob) = file(&format!("{LAYOUT}/{part}"))? else { return Ok(None) };
            parts.push((part, blob));
        }
        let (placement, metadata) = (self.placement.clone(), self.metadata.clone());
        let exports = ExportIndex::of_kernel();
        Ok(Some(Prepared { label: label.to_owned(), placement, metadata, blob, parts, exports }))
    }

    /// Checks the profile, and splits it.
    pub(super) fn check(self, label: &str) -> Result<Checked, Error> {
        let Self { placement, metadata, text } = self;
        // The sections are well formed, all of them, before anything is stored.
        let file = ProfileFile::parse(label, text.as_bytes())?;
        file.decode()?;
        let mut exports = ExportIndex::of_kernel();
        if has_exports(&placement.name) {
            take_exports(&mut exports, &placement.name, &file)?;
        }
        let (own, parts) = match stored::split(&placement.name, &text)? {
            Some(Stored { profile, types, symbols }) => (profile, vec![types, symbols]),
            None => (text, Vec::new()),
        };
        Ok(Checked { placement, metadata, own, parts, exports })
    }
}

/// A profile that may be stored: whole, canonical, with a place to go, in the texts that it is stored in.
pub(super) struct Checked {
    pub(super) placement: Placement,
    pub(super) metadata: Metadata,
    /// The text at the profile's name.
    own: String,
    /// Its types and symbols, by name, when it is stored in several files.
    parts: Vec<(String, String)>,
    /// See [`Prepared`].
    exports: ExportIndex,
}

impl Checked {
    /// Checks a profile, see [`Canonical::of`].
    pub(super) fn of(
        label: &str,
        file: &ProfileFile,
        banner: Option<&str>,
        given: Option<&str>,
    ) -> Result<Self, Error> {
        Canonical::of(label, file, banner, given)?.check(label)
    }

    /// Writes the blobs. `label` is what the commit's message calls the file.
    pub(super) fn write(self, store: &GitStore, label: String) -> Result<Prepared, Error> {
        let blob = store.write_blob(self.own.as_bytes())?;
        let write = |(name, text): (String, String)| Ok((name, store.write_blob(text.as_bytes())?));
        let parts = self.parts.into_iter().map(write).collect::<Result<_, Error>>()?;
        let Self { placement, metadata, exports, .. } = self;
        Ok(Prepared { label, placement, metadata, blob, parts, exports })
    }
}

/// A banner must fit what the profile says of itself.
pub(super) fn check_banner(metadata: &Metadata, banner: &str) -> Result<(), String> {
    if metadata.os() != Some(Os::Linux) {
        return Err("--banner is for profiles of Linux kernels".to_owned());
    }
    let Some(release) = release_of(banner) else {
        return Err("--banner is not a Linux kernel's: that begins with `Linux version RELEASE `".to_owned());
    };
    if let Some(known) = metadata.banner().filter(|known| *known != banner) {
        return Err(format!("the profile has another banner: {known}"));
    }
    match metadata.release() {
        Some(known) if known != release => Err(format!("the banner is of release {release}, the profile of {known}")),
        _ => Ok(()),
    }
}

/// What a repository has under a name.
pub(super) struct Existing {
    /// The path from the top of the tree.
    pub(super) path: String,
    /// What is there: of a profile that is stored in several files the small one, which has the metadata.
    pub(super) file: ProfileFile,
}

/// What is stored under `name`, in any of the spellings that readers try.
pub(super) fn existing(draft: &Draft<'_>, name: &str) -> Result<Option<Existing>, Error> {
    for stored in stored_names(name) {
        let path = format!("{LAYOUT}/{stored}");
        if let Some(bytes) = draft.read(&path)? {
            return Ok(Some(Existing { file: ProfileFile::parse(&path, &bytes)?, path }));
        }
    }
    Ok(None)
}

/// Whether a file may be at `name`: it is no folder, and no part of it is a file.
pub(super) fn check_free(draft: &Draft<'_>, name: &str) -> Result<(), String> {
    let entry = |path: &str| draft.entry(path).map_err(|error| error.to_string());
    for (at, _) in name.match_indices('/') {
        let folder = name.get(..at).unwrap_or_default();
        for stored in stored_names(folder) {
            if let Some(Entry { kind: EntryKind::File | EntryKind::Submodule, .. }) =
                entry(&format!("{LAYOUT}/{stored}"))?
            {
                return Err(format!("the name goes through {folder}, which is a profile and no folder"));
            }
        }
    }
    match entry(&format!("{LAYOUT}/{name}"))? {
        Some(Entry { kind: EntryKind::Folder, .. }) => Err(format!("{name} is a folder of the repository")),
        Some(Entry { kind: EntryKind::Submodule, .. }) => Err(format!("{name} is a submodule")),
        _ => Ok(()),
    }
}

/// Puts one profile and its links into the draft, or neither.
fn put(draft: &mut Draft<'_>, item: &Prepared, replace: bool) -> Result<Added, Error> {
    let Placement { name, links } = &item.placement;
    let refused = |why: String| refused(&item.label, why);
    let mut puts: Vec<(String, Oid)> = Vec::new();
    // Files that stay as they are.
    let mut kept: Vec<String> = Vec::new();
    check_free(draft, name).map_err(refused)?;
    match existing(draft, name)? {
        None => puts.extend(item.blobs()),
        Some(old) => {
            let is_plain = unsharded(&old.path).ends_with(name.as_str());
            let has = |path: &str, blob| -> Result<bool, Error> {
                Ok(draft.entry(path)?.is_some_and(|entry| entry.id == blob))
            };
            let mut same = has(&old.path, item.blob)?;
            for (path, blob) in item.part_blobs() {
                same = same && has(&path, blob)?;
            }
            let difference = if same {
                Difference::None
            } else {
                match whole(old.file, |part| draft.read(&format!("{LAYOUT}/{part}"))) {
                    Ok(old) => compare(&old, &item.read(draft)?)?,
                    Err(_) if replace => Difference::Content,
                    Err(error) => return Err(error),
                }
            };
            match difference {
                Difference::None => {
                    kept.extend(item.part_blobs().map(|(path, _)| path));
                    kept.push(old.path);
                }
                Difference::Banner if is_plain => puts.extend(item.part_blobs().chain([(old.path, item.blob)])),
                _ if replace && is_plain => puts.extend(item.part_blobs().chain([(old.path, item.blob)])),
                _ if replace => return Err(refused(format!("{} is stored compressed; remove it first", old.path))),
                Difference::Banner | Difference::Content => {
                    let why = "is there with other content; --replace replaces it, --name NAME gives a Linux profile another place";
                    return Err(refused(format!("{name} {why}")));
                }
            }
        }
    }
    let stored = !puts.is_empty();
    let mut written = Vec::new();
    for link in links {
        check_free(draft, link).map_err(refused)?;
        let symlink = Profile::symlink(name);
        if let Some(old) = existing(draft, link)? {
            match old.file.metadata().symlink_target() {
                Some(target) if target == name => {
                    kept.push(old.path);
                    continue;
                }
                // The layout of 2014 has the profile itself there.
                None if old.file.metadata().guid_age().is_some_and(|guid| Some(guid) == item.metadata.guid_age()) => {
                    kept.push(old.path);
                    continue;
                }
                None => return Err(refused(format!("{link} is a profile, and cannot become a Symlink"))),
                Some(target) if !replace => {
                    return Err(refused(format!("{link} leads to {target}; --replace makes it lead to {name}")));
                }
                Some(_) => {}
            }
        }
        puts.push((path_of(link), draft.write(symlink.to_rekall().as_bytes())?));
        written.push(link.clone());
    }
    for (path, blob) in puts {
        draft.put_blob(&path, blob)?;
    }
    let mut restored = false;
    for path in kept {
        restored |= draft.keep(&path)?;
    }
    Ok(Added { name: name.clone(), stored, links: written, restored })
}

/// How a profile differs from the one that is stored.
enum Difference {
    /// Not at all, or only in that the stored one knows its banner.
    None,
    /// Only in that the new one knows its banner.
    Banner,
    /// In something else.
    Content,
}

fn compare(old: &ProfileFile, new: &ProfileFile) -> Result<Difference, ProfileError> {
    let old_text = old.canonical()?;
    if old_text == new.text() {
        return Ok(Difference::None);
    }
    match (old.metadata().banner(), new.metadata().banner()) {
        (Some(banner), None) if new.canonical_with_banner(banner)? == old_text => Ok(Difference::None),
        (None, Some(banner)) if old.canonical_with_banner(banner)? == new.text() => Ok(Difference::Banner),
        _ => Ok(Difference::Content),
    }
}

/// The index of Linux kernels, read when the first one comes.
#[derive(Default)]
struct Indexing(Option<LinuxIndex>);

impl Indexing {
    const PATH: &'static str = LinuxIndex::NAME;

    fn take(&mut self, draft: &Draft<'_>, name: &str, metadata: &Metadata) -> Result<(), Error> {
        if metadata.os() != Some(Os::Linux) {
            return Ok(());
        }
        let path = format!("{LAYOUT}/{}", Self::PATH);
        let index = match self.0.take() {
            Some(index) => index,
            None => match draft.read(&path)? {
                Some(bytes) => LinuxIndex::parse(&path, &bytes)?,
                None => LinuxIndex::default(),
            },
        };
        let index = self.0.insert(index);
        // What is stored may know more than the file: its banner.
        match existing(draft, name)? {
            Some(stored) => index.insert(name, stored.file.metadata()),
            None => index.insert(name, metadata),
        }
        Ok(())
    }

    fn put(self, draft: &mut Draft<'_>) -> Result<(), Error> {
        match self.0 {
            Some(index) => draft.put(&format!("{LAYOUT}/{}", Self::PATH), index.to_json().as_bytes()),
            None => Ok(()),
        }
    }
}
