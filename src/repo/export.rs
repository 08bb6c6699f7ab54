//! A repository as Rekall lays one out: a folder of canonical profiles, each a file, with Symlinks and an inventory. It is for
//! web servers and for programs that read files.
//!
//! Blobs are read by the caller's thread; profiles are joined, compressed and written on all cores.

use super::error::Error;
use super::git_store::GitStore;
use super::inventory::{Inventory, Item, given_text};
use super::inventory_signature;
use super::rows::{INVENTORY, Rows, SIGNATURE};
use super::verify::Problem;
use crate::output::write_atomically;
use quaid_profile::{
    LAYOUT, ProfileFile, compress_for,
    stored::{self, Digest, STORED},
    whole,
};
use std::fs::{File, create_dir_all};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

/// What was written.
#[derive(Debug, Default)]
pub struct Exported {
    /// Files that were written.
    pub written: usize,
    /// Files that the folder had already.
    pub unchanged: usize,
    /// What could not be written, or cannot be used everywhere.
    pub problems: Vec<Problem>,
    /// Whether the inventory is signed.
    pub signed: bool,
}

/// Writes every name below `folder`, gzipped or `plain`, and then the inventory. A second export writes what has changed.
/// `progress` is called with the number of names done and found. The inventory is signed where git's configuration asks for
/// commits to be.
///
/// # Errors
/// The repository cannot be read, or the inventory cannot be written or signed.
pub fn export(
    store: &GitStore,
    folder: &Path,
    plain: bool,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Exported, Error> {
    let inventory = Inventory::of(store, "")?;
    let times = inventory.committed()?;
    let base = folder.join(LAYOUT);
    create_dir_all(&base).map_err(|why| Error::Io { path: base.clone(), why })?;
    let before =
        std::fs::read(base.join(INVENTORY)).ok().and_then(|bytes| Rows::parse(&bytes).ok()).unwrap_or_default();
    let mut exported = Exported { problems: inventory.problems().to_vec(), ..Exported::default() };
    let mut rows = Rows::default();
    let (mut done, found) = (0, inventory.items().count());
    let mut take = |written: Written| {
        done += 1;
        progress(done, found);
        match written.outcome {
            Ok((digest, is_new)) => {
                rows.insert(&written.name, written.committed, &digest);
                exported.written += usize::from(is_new);
                exported.unchanged += usize::from(!is_new);
            }
            Err(why) => exported.problems.push(Problem { path: written.name, why }),
        }
    };
    thread::scope(|scope| {
        let workers = thread::available_parallelism().map_or(2, usize::from);
        let (sender, jobs) = sync_channel::<Job>(workers);
        let (results, finished) = channel();
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..workers {
            let (jobs, results) = (Arc::clone(&jobs), results.clone());
            scope.spawn(move || work(&jobs, &results));
        }
        // When the workers end, nobody waits for them.
        drop((jobs, results));
        for (name, item) in inventory.items() {
            let committed = times.get(name).copied().unwrap_or_default();
            let target = base.join(if plain { name.to_owned() } else { format!("{name}.gz") });
            match read(&inventory, item, &|digest| before.has(name, digest) && target.is_file()) {
                Ok(Read::Unchanged(digest)) => {
                    take(Written { name: name.to_owned(), committed, outcome: Ok((digest, false)) });
                }
                Ok(Read::Changed { file, parts }) => {
                    if sender.send(Job { name: name.to_owned(), committed, target, file, parts }).is_err() {
                        break;
                    }
                }
                Err(why) => {
                    take(Written { name: name.to_owned(), committed, outcome: Err(why.to_string()) });
                }
            }
            finished.try_iter().for_each(&mut take);
        }
        drop(sender);
        finished.into_iter().for_each(&mut take);
    });
    let text = rows.to_json()?;
    // It is made before anything of the old inventory is overwritten: whoever cannot sign keeps that.
    let signature = inventory_signature::sign(store, &text)?;
    exported.signed = signature.is_some();
    let path = base.join(SIGNATURE);
    match (signature, path.exists()) {
        (Some(signature), _) => write(&path, &signature),
        // That of another inventory.
        (None, true) => std::fs::remove_file(&path).map_err(|why| why.to_string()),
        (None, false) => Ok(()),
    }
    .map_err(|why| Error::Io { path, why: std::io::Error::other(why) })?;
    for file in [INVENTORY, "inventory.gz"] {
        let path = base.join(file);
        write(&path, &text).map_err(|why| Error::Io { path, why: std::io::Error::other(why) })?;
    }
    Ok(exported)
}

/// The files of a profile that is to be written, and where.
struct Job {
    name: String,
    committed: i64,
    target: PathBuf,
    file: Box<ProfileFile>,
    parts: Vec<(String, Vec<u8>)>,
}

/// What became of a name: the digest of its text and whether it was written, or why not.
struct Written {
    name: String,
    committed: i64,
    outcome: Result<(Digest, bool), String>,
}

enum Read {
    Unchanged(Digest),
    Changed { file: Box<ProfileFile>, parts: Vec<(String, Vec<u8>)> },
}

fn read(inventory: &Inventory<'_>, item: &Item, is_there: &dyn Fn(&Digest) -> bool) -> Result<Read, Error> {
    let file = inventory.open(item)?;
    if file.metadata().kind() != STORED {
        let digest = Digest::of(&given_text(&file)?);
        return Ok(if is_there(&digest) {
            Read::Unchanged(digest)
        } else {
            Read::Changed { file: Box::new(file), parts: Vec::new() }
        });
    }
    if let Some(digest) = stored::digest(&file)?.filter(|digest| is_there(digest)) {
        return Ok(Read::Unchanged(digest));
    }
    let mut parts = Vec::new();
    for part in stored::parts(&file)? {
        parts.extend(inventory.part(&part)?.map(|bytes| (part, bytes)));
    }
    Ok(Read::Changed { file: Box::new(file), parts })
}

/// Writes files until there are none left.
fn work(jobs: &Mutex<Receiver<Job>>, results: &Sender<Written>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { name, committed, target, file, parts }) = job else { return };
        let outcome = write_profile(&target, *file, &parts, committed).map(|digest| (digest, true));
        if results.send(Written { name, committed, outcome }).is_err() {
            return;
        }
    }
}

fn write_profile(
    target: &Path,
    file: ProfileFile,
    parts: &[(String, Vec<u8>)],
    committed: i64,
) -> Result<Digest, String> {
    let part = |name: &str| Ok(parts.iter().find(|(known, _)| known == name).map(|(_, bytes)| bytes.clone()));
    let file = whole(file, part).map_err(|error: Error| error.to_string())?;
    let text = given_text(&file).map_err(|error| error.to_string())?;
    target.parent().map_or(Ok(()), create_dir_all).map_err(|why| format!("{}: {why}", target.display()))?;
    write(target, &text)?;
    // Readers without an inventory go by the file's time. A disk that keeps none is as good.
    if let Ok(seconds) = u64::try_from(committed) {
        let time = UNIX_EPOCH + Duration::from_secs(seconds);
        let _ = File::options().write(true).open(target).and_then(|file| file.set_modified(time));
    }
    Ok(Digest::of(&text))
}

/// Writes a text, gzipped where the file is called so.
fn write(path: &Path, text: &str) -> Result<(), String> {
    let bytes = compress_for(path, text.as_bytes()).map_err(|why| format!("{}: {why}", path.display()))?;
    write_atomically(path, &bytes, true).map_err(|why| format!("{why:#}"))
}
