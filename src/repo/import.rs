//! Many profiles at once: a tree of Rekall's, a folder or zip of ISF files. They become one commit and one pack.
//!
//! Files are read by one thread, checked and split on all cores, and written by the caller's; no more profiles are in
//! memory at a time than there are cores, and a few.

use super::add::{Canonical, Checked, Placed, Prepared, check_free, existing, place_all, refused};
use super::change::{Draft, message_of};
use super::error::Error;
use super::git_program::git_program;
use super::git_source::GitSource;
use super::git_store::{EntryKind, GitStore, Snapshot};
use super::layout::{RESERVED_FOLDERS, check_name, is_index, name_of, path_of, version_link, writable_name};
use crate::input;
use git2::Oid;
use quaid_profile::{
    DirectorySource, Format, GuidAge, LAYOUT, MAX_PROFILE_BYTES, Profile, ProfileFile, ProfilePath, ProfileSource,
    is_json_object, stored::STORED, stored_names, unsharded, whole, without_ending,
};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use zip::ZipArchive;

/// How deep folders are searched. The layout has seven levels.
const MAX_DEPTH: usize = 16;
/// How many files are looked at.
const MAX_FILES: usize = 1_000_000;
/// What is larger is no small file of a profile that is kept in several. In bytes.
const MAX_SMALL_BYTES: usize = 64 << 10;
/// What begins a zip file.
pub(super) const ZIP: &[u8] = b"PK\x03\x04";

/// What the user says of the files.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Full versions of Windows kernels by GUID and age, for links by version.
    pub versions: BTreeMap<String, String>,
    /// Whether what is stored under the same identity may be replaced.
    pub replace: bool,
}

/// What became of the files.
#[derive(Debug, Default)]
pub struct Imported {
    /// The commit; `None` when the repository had everything.
    pub commit: Option<Oid>,
    /// Profiles that were written.
    pub stored: usize,
    /// Profiles that were there already.
    pub known: usize,
    /// Symlinks that were written.
    pub links: usize,
    /// Files that are no profile, nor look like one.
    pub others: usize,
    /// Profiles that were not taken, and why.
    pub rejected: Vec<Rejected>,
    /// Why the objects are not in one pack.
    pub unpacked: Option<String>,
    /// Further lists that a list at a URL names; they are not followed.
    pub further: usize,
    /// Whether `nt/exports` lacks the kernels, because it is damaged, or of another version's exports.
    pub not_indexed: bool,
}

impl Imported {
    /// Takes up what became of further files.
    pub fn take(&mut self, other: Self) {
        self.commit = other.commit.or(self.commit);
        self.unpacked = other.unpacked.or_else(|| self.unpacked.take());
        self.stored += other.stored;
        self.known += other.known;
        self.links += other.links;
        self.others += other.others;
        self.further += other.further;
        self.not_indexed |= other.not_indexed;
        self.rejected.extend(other.rejected);
    }
}

/// A file that was not taken.
#[derive(Debug)]
pub struct Rejected {
    /// The file, or the member of a zip.
    pub file: String,
    /// Why.
    pub why: Error,
}

/// A file as it is read.
struct Raw {
    /// Of messages: the file, or the member of a zip.
    label: String,
    /// Its path below the folder or zip, without ending: its name, if that is a tree of profiles.
    name: String,
    bytes: Result<Vec<u8>, Error>,
}

/// A Symlink that was found.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Link {
    /// Of messages: its file.
    label: String,
    name: String,
    target: String,
}

/// A file as a worker leaves it.
enum Content {
    /// A profile.
    Profile(Box<Checked>),
    /// A profile that HEAD has as it is.
    Known(Box<Prepared>),
    Symlink(Link),
    /// No profile.
    Other,
}

/// Imports everything in `places`: folders, zips, files. `progress` is called with the number of files done and found.
///
/// # Errors
/// A place cannot be read at all, or the repository cannot be written. Then nothing was imported.
pub fn import(
    store: &GitStore,
    places: &[PathBuf],
    options: &ImportOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Imported, Error> {
    let files = find(places)?;
    import_raw(store, files.len(), &|send| read_all(&files, send), options, progress)
}

/// Takes a file: what it is called in messages, its name, and its bytes or why there are none. Gives `false` when no more are
/// wanted.
pub(super) type Sink<'s> = dyn Fn(&str, &str, Result<Vec<u8>, Error>) -> bool + 's;

/// Imports what `read` gives, in a thread of its own: `found` files, as far as that is known.
///
/// # Errors
/// The repository cannot be written. Then nothing was imported.
pub(super) fn import_raw(
    store: &GitStore,
    found: usize,
    read: &(dyn Fn(&Sink<'_>) -> bool + Sync),
    options: &ImportOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Imported, Error> {
    if store.head()?.is_some() {
        store.profiles()?;
    }
    let mut imported = Imported::default();
    let mut prepared: Vec<Prepared> = Vec::new();
    let mut labels: Vec<String> = Vec::new();
    let mut symlinks: Vec<Link> = Vec::new();
    let mut blobs: Vec<(String, Oid)> = Vec::new();
    let workers = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        let (raw_sender, raw_receiver) = sync_channel::<Raw>(1);
        let (sender, receiver) = sync_channel(workers);
        let raws = Arc::new(Mutex::new(raw_receiver));
        scope.spawn(move || {
            read(&|label, name, bytes| {
                raw_sender.send(Raw { label: label.to_owned(), name: name.to_owned(), bytes }).is_ok()
            })
        });
        for _ in 0..workers {
            let (raws, sender) = (Arc::clone(&raws), sender.clone());
            let root = &store.root;
            scope.spawn(move || work(root, &raws, &sender, options));
        }
        // When the workers end, so does what they read from and what is read from them: nobody waits for an end that
        // does not come.
        drop((sender, raws));
        let mut done = 0;
        for (label, outcome) in &receiver {
            done += 1;
            progress(done, found.max(done));
            match outcome {
                Ok(Content::Other) => imported.others += 1,
                Ok(Content::Symlink(link)) => symlinks.push(link),
                Ok(Content::Known(item)) => {
                    prepared.push(*item);
                    labels.push(label);
                }
                Ok(Content::Profile(checked)) => {
                    let item = checked.write(store, leaf(&label).to_owned())?;
                    blobs.extend(item.blobs());
                    for link in &item.placement.links {
                        let symlink = Profile::symlink(&item.placement.name).to_rekall();
                        blobs.push((path_of(link), store.write_blob(symlink.as_bytes())?));
                    }
                    prepared.push(item);
                    labels.push(label);
                }
                Err(why) => imported.rejected.push(Rejected { file: label, why }),
            }
        }
        Ok::<(), Error>(())
    })?;
    // The same commit whatever thread was quicker.
    let mut order: Vec<usize> = (0..prepared.len()).collect();
    order.sort_by(|&a, &b| labels.get(a).cmp(&labels.get(b)));
    symlinks.sort();
    imported.unpacked = pack(store, blobs)?;
    let source = ProfilePath::new(vec![Box::new(GitSource::open(&store.root)?)]);
    let (commit, (placed, linked, indexed)) = store.change(|draft| {
        let mut lines = Vec::new();
        let in_order = order.iter().filter_map(|&at| prepared.get(at));
        let Placed { outcomes, indexed } = place_all(draft, in_order, options.replace, usize::MAX, &mut lines)?;
        let linked = place_links(draft, &source, &symlinks, options.replace);
        let written = symlinks.iter().zip(&linked).filter(|(_, outcome)| matches!(outcome, Ok(true)));
        lines.extend(written.map(|(link, _)| format!("{} -> {}", link.name, link.target)));
        let message = match lines.len() {
            0 => "import: indexes".to_owned(),
            count => message_of(&format!("import: {count} names"), &lines),
        };
        Ok((Some(message), (outcomes, linked, indexed)))
    })?;
    imported.commit = commit;
    imported.not_indexed = !indexed;
    if commit.is_some() && imported.unpacked.is_none() {
        imported.unpacked = git_does(store, &["repack", "-d", "-q"]);
    }
    for (at, outcome) in order.into_iter().zip(placed) {
        match outcome {
            Ok(added) => {
                imported.stored += usize::from(added.stored);
                imported.known += usize::from(!added.stored);
                imported.links += added.links.len();
            }
            Err(why) => imported.rejected.push(Rejected { file: labels.get(at).cloned().unwrap_or_default(), why }),
        }
    }
    for (link, outcome) in symlinks.into_iter().zip(linked) {
        match outcome {
            Ok(written) => imported.links += usize::from(written),
            Err(why) => imported.rejected.push(Rejected { file: link.label, why }),
        }
    }
    imported.rejected.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(imported)
}

/// What a commit's message calls a file.
fn leaf(label: &str) -> &str {
    label.rsplit(['/', '\\']).next().unwrap_or_default()
}

/// The files below the places, each with what it is called there.
fn find(places: &[PathBuf]) -> Result<Vec<(PathBuf, String)>, Error> {
    let mut files = Vec::new();
    for place in places {
        let io = |why| Error::Io { path: place.clone(), why };
        if place.metadata().map_err(io)?.is_dir() {
            // A repository's names begin below its layout's folder.
            let layout = place.join(LAYOUT);
            let root = if layout.is_dir() { layout } else { place.clone() };
            let is_name = if root.ends_with(LAYOUT) { |name: &str| name_of(name).is_some() } else { |_: &str| true };
            list(&root, &root, &is_name, MAX_DEPTH, &mut files).map_err(io)?;
        } else {
            let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.push((place.clone(), name));
        }
    }
    files.sort();
    Ok(files)
}

/// The files below a folder, but for what `is_name` says is none: a repository has sources, and parts of profiles, which
/// are read with them.
fn list(
    root: &Path,
    folder: &Path,
    is_name: &dyn Fn(&str) -> bool,
    depth: usize,
    files: &mut Vec<(PathBuf, String)>,
) -> std::io::Result<()> {
    for entry in folder.read_dir()? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let parts = path.strip_prefix(root).unwrap_or(&path).components();
        let parts: Vec<_> = parts.map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
        let name = parts.join("/");
        if !is_name(&name) {
            continue;
        }
        // Links are not followed: what they lead to is elsewhere, or has a name of its own here.
        let kind = entry.file_type()?;
        if kind.is_dir() && depth > 0 {
            list(root, &path, is_name, depth - 1, files)?;
        } else if kind.is_file() && files.len() < MAX_FILES {
            files.push((path, name));
        }
    }
    Ok(())
}

/// Reads file after file, as fast as they are taken; `false` when nobody takes them any more.
fn read_all(files: &[(PathBuf, String)], send: &Sink<'_>) -> bool {
    for (path, name) in files {
        let label = input::shown(path);
        let io = |why| Error::Io { path: path.clone(), why };
        let sent = match File::open(path).and_then(|mut file| starts_with(&mut file, ZIP)) {
            Ok(true) => read_zip(path, &label, send),
            Ok(false) => {
                let bytes = input::read(path, MAX_PROFILE_BYTES).map_err(io);
                send(&label, name, bytes.and_then(|bytes| joined(path, name, bytes)))
            }
            Err(why) => send(&label, name, Err(io(why))),
        };
        if !sent {
            return false;
        }
    }
    true
}

/// The whole profile, when these bytes are the small file of one that a repository keeps in several.
fn joined(path: &Path, name: &str, bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
    if bytes.len() > MAX_SMALL_BYTES {
        return Ok(bytes);
    }
    // What cannot be read is told by who looks at it for itself.
    let Ok(file) = ProfileFile::parse(&input::shown(path), &bytes) else { return Ok(bytes) };
    if file.metadata().kind() != STORED {
        return Ok(bytes);
    }
    let root = path.ancestors().nth(name.split('/').count()).unwrap_or(path);
    let tree = DirectorySource::new(root);
    let part = |name: &str| if check_name(name).is_ok() { tree.read(name) } else { Ok(None) };
    Ok(whole(file, part)?.text().as_bytes().to_vec())
}

fn starts_with(file: &mut File, start: &[u8]) -> std::io::Result<bool> {
    let mut head = Vec::new();
    file.take(start.len() as u64).read_to_end(&mut head)?;
    Ok(head == start)
}

/// Sends the members of a zip; `false` when nobody takes them any more.
fn read_zip(path: &Path, label: &str, send: &Sink<'_>) -> bool {
    let damaged = |why: &dyn std::fmt::Display| refused(label, format!("damaged zip: {why}"));
    let opened = File::open(path).map_err(|why| damaged(&why));
    let mut zip = match opened.and_then(|file| ZipArchive::new(file).map_err(|why| damaged(&why))) {
        Ok(zip) => zip,
        Err(why) => {
            return send(label, "", Err(why));
        }
    };
    for index in 0..zip.len().min(MAX_FILES) {
        let mut name = format!("member {index}");
        let mut read = || -> Result<Option<Vec<u8>>, Error> {
            let member = zip.by_index(index).map_err(|why| damaged(&why))?;
            name = member.name().map_err(|why| damaged(&why))?.into_owned();
            if !member.is_file() {
                return Ok(None);
            }
            let mut bytes = Vec::new();
            member.take(MAX_PROFILE_BYTES + 1).read_to_end(&mut bytes).map_err(|why| damaged(&why))?;
            if bytes.len() as u64 > MAX_PROFILE_BYTES {
                return Err(refused(&name, "is larger than a profile may be"));
            }
            Ok(Some(bytes))
        };
        let Some(bytes) = read().transpose() else { continue };
        let below = name.strip_prefix("v1.0/");
        if below.and_then(|name| name.split('/').next()).is_some_and(|first| RESERVED_FOLDERS.contains(&first)) {
            continue;
        }
        let name = below.unwrap_or(&name).to_owned();
        let label = format!("{label}: {}", input::shown(Path::new(&name)));
        if !send(&label, &name, bytes) {
            return false;
        }
    }
    true
}

/// Checks and splits files until there are none left. What HEAD has is looked for through a handle of its own.
fn work(
    root: &Path,
    raws: &Mutex<Receiver<Raw>>,
    sender: &SyncSender<(String, Result<Content, Error>)>,
    options: &ImportOptions,
) {
    let store = GitStore::open(root).ok();
    let head = store.as_ref().and_then(|store| store.head().ok()?);
    loop {
        let raw = raws.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Raw { label, name, bytes }) = raw else { return };
        let outcome = bytes.and_then(|bytes| read_one(&label, &name, &bytes, options, head.as_ref()));
        if sender.send((label, outcome)).is_err() {
            return;
        }
    }
}

fn read_one(
    label: &str,
    name: &str,
    bytes: &[u8],
    options: &ImportOptions,
    head: Option<&Snapshot<'_>>,
) -> Result<Content, Error> {
    if !is_json_object(bytes).map_err(|why| refused(label, why.to_string()))? {
        return Ok(Content::Other);
    }
    let file = ProfileFile::parse(label, bytes)?;
    let name = unsharded(without_ending(name));
    match (file.metadata().kind(), file.metadata().symlink_target()) {
        // Rekall says of its indexes, too, that they are profiles.
        ("Profile", _) if !is_index(&name) && file.metadata().profile_class() != Some("Index") => {}
        (_, Some(target)) => {
            let link = Link { label: label.to_owned(), name: writable_name(&name)?, target: target.to_owned() };
            return Ok(Content::Symlink(link));
        }
        // Indexes and inventories are made of the profiles.
        _ => return Ok(Content::Other),
    }
    // A tree of Rekall's gives its profiles names; files of ISF are called what their makers liked.
    let named = (file.format() == Format::Rekall && name.contains('/')).then_some(name.as_str());
    let by_name = || writable_name(&name).ok();
    let mut canonical = match Canonical::of(label, &file, None, named) {
        Ok(canonical) => canonical,
        // Without an identity the name is all there is; a name that is for another profile is left out.
        Err(_) if named.is_none() && by_name().is_some() => Canonical::of(label, &file, None, Some(&name))?,
        Err(_) => Canonical::of(label, &file, None, None)?,
    };
    let guid = canonical.metadata.guid_age();
    let version = guid.and_then(|guid| options.versions.get(&guid.to_string()));
    let version = version.and_then(|version| version_link(&canonical.placement.name, &canonical.metadata, version));
    if let Some(link) = version {
        canonical.placement.links.retain(|known| *known != link);
        canonical.placement.links.push(link);
    }
    // What is stored and cannot be read is told when it is compared.
    let known = head.and_then(|head| canonical.stored_in(head, leaf(label)).ok()?);
    if let Some(known) = known {
        return Ok(Content::Known(Box::new(known)));
    }
    Ok(Content::Profile(Box::new(canonical.check(label)?)))
}

/// Puts the blobs that are in no pack yet, each named by its path so that git finds those that resemble each other, into
/// one. Gives the reason when the git program did not.
fn pack(store: &GitStore, mut blobs: Vec<(String, Oid)>) -> Result<Option<String>, Error> {
    // Git packs an object once, by the first path that it hears.
    blobs.sort();
    if blobs.len() < 2 {
        return Ok(None);
    }
    let base = store.repo.commondir().join("objects/pack/pack");
    let mut git = git_program(store.repo.path());
    git.args(["pack-objects", "-q", "--delta-base-offset", "--incremental", "--non-empty"]).arg(&base);
    git.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = match git.spawn() {
        Ok(child) => child,
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(Some("there is no git program".to_owned())),
        Err(why) => return Err(Error::Io { path: "git".into(), why }),
    };
    let list: Vec<String> = blobs.iter().map(|(path, id)| format!("{id} {path}\n")).collect();
    let written = child.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(list.concat().as_bytes()));
    let output = child.wait_with_output().map_err(|why| Error::Io { path: "git".into(), why })?;
    if written.is_err() || !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Ok(Some(format!("`git pack-objects` ended with {}: {}", output.status, stderr.trim())));
    }
    Ok(git_does(store, &["prune-packed", "-q"]))
}

/// Lets git do something that is not needed for the repository to be whole. Gives the reason when it did not.
fn git_does(store: &GitStore, args: &[&str]) -> Option<String> {
    let word = args.first().copied().unwrap_or_default();
    match git_program(store.repo.path()).args(args).output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            Some(format!("`git {word}` ended with {}: {}", output.status, stderr.trim()))
        }
        Err(why) => Some(format!("`git {word}` could not be run: {why}")),
    }
}

/// Puts Symlinks that lead, over each other, to a profile. Tells for each whether it was written, or was there.
fn place_links(
    draft: &mut Draft<'_>,
    source: &ProfilePath,
    symlinks: &[Link],
    replace: bool,
) -> Vec<Result<bool, Error>> {
    let mut outcomes: Vec<Option<Result<bool, Error>>> = symlinks.iter().map(|_| None).collect();
    // A link may lead to one that comes later: again, until nothing is placed any more.
    loop {
        let mut progress = false;
        for (link, outcome) in symlinks.iter().zip(&mut outcomes) {
            if outcome.is_none() && leads_to_profile(draft, source, &link.target) {
                *outcome = Some(place_link(draft, link, replace));
                progress = true;
            }
        }
        if !progress {
            break;
        }
    }
    let nowhere = |link: &Link| {
        Err(refused(&link.label, format!("is a Symlink to {}, and there is no profile at its end", link.target)))
    };
    let outcomes = symlinks.iter().zip(outcomes);
    outcomes.map(|(link, outcome)| outcome.unwrap_or_else(|| nowhere(link))).collect()
}

/// Whether the target is in the draft, or resolves in what was there before it.
fn leads_to_profile(draft: &Draft<'_>, source: &ProfilePath, target: &str) -> bool {
    let in_draft = stored_names(target).any(
        |stored| matches!(draft.entry(&format!("{LAYOUT}/{stored}")), Ok(Some(entry)) if entry.kind == EntryKind::File),
    );
    in_draft || source.load_stored(target, &mut |_| ()).is_ok()
}

fn place_link(draft: &mut Draft<'_>, link: &Link, replace: bool) -> Result<bool, Error> {
    let Link { label, name, target } = link;
    check_free(draft, name).map_err(|why| refused(label, why))?;
    let mut path = path_of(name);
    if let Some(old) = existing(draft, name)? {
        match old.file.metadata().symlink_target() {
            Some(known) if known == target => return Ok(false),
            Some(_) if replace => path = old.path,
            Some(known) => {
                return Err(refused(label, format!("{name} leads to {known}; --replace makes it lead to {target}")));
            }
            // The profile itself is there, as one was imported beside its own Symlink.
            None => return Err(refused(label, format!("{name} is a profile, and cannot become a Symlink"))),
        }
    }
    draft.put(&path, Profile::symlink(target).to_rekall().as_bytes())?;
    Ok(true)
}

/// Reads a list of versions: lines of version and GUID with age, separated by tabs or blanks; further columns and lines
/// that begin with `#` are left out. What is no such line is an error that names it.
pub fn parse_versions(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut versions = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut columns = line.split_whitespace();
        let (version, guid) = (columns.next().unwrap_or_default(), columns.next().unwrap_or_default());
        let guid: GuidAge =
            guid.parse().map_err(|why| format!("line {}: {why}; a line is VERSION GUIDAGE", number + 1))?;
        versions.insert(guid.to_string(), version.to_owned());
    }
    Ok(versions)
}
