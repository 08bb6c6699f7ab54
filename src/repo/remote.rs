//! What a URL has that can be imported: a tree in Rekall's layout with its inventory, Volatility's remote ISF list, a zip or
//! a single profile. Of a tree and of a list only what the repository lacks is fetched, and what came is committed every now
//! and then, so that a run that was cut short is gone on with by the next.

use super::add::refused;
use super::error::Error;
use super::git_store::GitStore;
use super::import::{ImportOptions, Imported, Rejected, Sink, ZIP, import, import_raw};
use super::inventory::Inventory;
use super::layout::{guid_of, is_index, name_of, writable_name};
use super::rows::INVENTORY;
use crate::http_source::HttpSource;
use crate::input;
use crate::inventoried::Inventoried;
use crate::symserver::{DownloadError, HttpSettings, HttpTransport, Policy, Url, download, shown};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quaid_profile::{GuidAge, LAYOUT, LinuxIndex, MAX_PROFILE_BYTES, Os, ProfileSource, decompress, trimmed_banner};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

/// How many files one commit has at most.
const BATCH: usize = 500;

/// The largest zip or list, in bytes: it is in memory at once.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// How many entries of a list are looked at.
const MAX_LISTED: usize = 1_000_000;

/// A file that a URL has and the repository lacks.
struct Wanted {
    /// Its name there; of a list what it is called if it has no identity.
    name: String,
    /// The name or address for messages.
    label: String,
    /// Where it is, the first that answers; of a tree the tree knows.
    urls: Vec<Url>,
}

/// A file of the web, of no more than so many bytes. With `part` a transfer that is cut goes on there the next time.
fn get(transport: &HttpTransport, url: &Url, max_bytes: u64, part: Option<&Path>) -> Result<Vec<u8>, Error> {
    let policy = Policy { max_bytes, ..Policy::default() };
    let failed = |error: DownloadError| Error::Mirror { what: shown(url), why: error.to_string() };
    download(transport, url, part, &policy, &mut |_| ()).map_err(failed)
}

/// Imports what the repository lacks of `url`. With `allowed`, a tree's inventory must be signed by a key of that file, and
/// nothing else is taken. `progress` is called with the number of files done and found.
///
/// # Errors
/// There is nothing to import at the URL, or the repository cannot be written. What was committed before stays.
pub fn import_url(
    store: &GitStore,
    url: &str,
    settings: HttpSettings,
    allowed: Option<&Path>,
    options: &ImportOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Imported, Error> {
    let parsed = Url::parse(url).map_err(|why| Error::Mirror { what: url.to_owned(), why: why.to_string() })?;
    let tree = Inventoried::new(Box::new(HttpSource::new(url, Some(settings))?), allowed);
    let transport =
        HttpTransport::new(settings).map_err(|error| Error::Mirror { what: shown(&parsed), why: error.to_string() })?;
    // A file is called as one; whatever else there is has an inventory.
    let leaf = parsed.path().rsplit('/').next().unwrap_or_default().to_lowercase();
    if allowed.is_some() || ![".zip", ".json"].iter().any(|end| leaf.contains(end)) {
        return import_tree(store, &tree, options, progress);
    }
    let part = store.repo.path().join("quaid-import.part");
    let bytes = get(&transport, &parsed, MAX_FILE_BYTES, Some(&part))?;
    if bytes.starts_with(ZIP) {
        let io = |why| Error::Io { path: part.clone(), why };
        let mut zip = tempfile::Builder::new().suffix(".zip").tempfile().map_err(io)?;
        zip.write_all(&bytes).and_then(|()| zip.flush()).map_err(io)?;
        drop(bytes);
        return import(store, &[zip.path().to_owned()], options, progress);
    }
    let plain = decompress(&shown(&parsed), &bytes)?;
    if let Ok(Value::Object(list)) = serde_json::from_slice(&plain)
        && list.contains_key("version")
        && ["linux", "mac", "windows"].iter().any(|system| list.contains_key(*system))
    {
        return import_list(store, &transport, &parsed, &list, options, progress);
    }
    let raw = [(shown(&parsed), leaf, plain.into_owned())];
    import_raw(
        store,
        raw.len(),
        &|send| raw.iter().all(|(label, name, bytes)| send(label, name, Ok(bytes.clone()))),
        options,
        progress,
    )
}

fn import_tree(
    store: &GitStore,
    tree: &Inventoried,
    options: &ImportOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Imported, Error> {
    let rows = tree.rows()?;
    let here = match store.head()? {
        Some(_) => Some(Inventory::of(store, "")?),
        None => None,
    };
    // By name, what is here and cannot be read.
    let broken = here.iter().flat_map(Inventory::problems).filter_map(|problem| {
        let name = name_of(problem.path.strip_prefix(LAYOUT)?.strip_prefix('/')?)?;
        Some((name, problem.why.as_str()))
    });
    let broken: BTreeMap<String, &str> = broken.collect();
    let mut wanted: Vec<(u64, Wanted)> = Vec::new();
    let mut imported = Imported::default();
    for name in rows.names() {
        // Indexes are made of the profiles; what cannot be a name here is told when it is refused.
        if is_index(name) || name == LinuxIndex::NAME || name == INVENTORY || name == "config.yaml" {
            continue;
        }
        let said = rows.digest(name).ok().flatten();
        let item = here.as_ref().and_then(|here| Some((here, here.get(name)?)));
        let is_known = match (item, &said) {
            (None, _) => broken.get(name).map_or(Ok(false), |why| Err((*why).to_owned())),
            (Some(_), None) => Ok(!options.replace),
            (Some((here, item)), Some(said)) => {
                here.digest(item).map(|digest| digest == *said).map_err(|why| why.to_string())
            }
        };
        if let Err(why) = is_known {
            let why = format!("what is here under this name cannot be read, and is left as it is: {why}");
            imported.rejected.push(Rejected { file: name.to_owned(), why: refused(name, why) });
        } else if is_known == Ok(true) {
            imported.known += 1;
        } else {
            // Symlinks, which are small, after what they lead to.
            let bytes = said.map_or(u64::MAX, |said| said.bytes);
            wanted.push((
                u64::MAX - bytes,
                Wanted { name: name.to_owned(), label: input::shown(Path::new(name)), urls: Vec::new() },
            ));
        }
    }
    wanted.sort_by(|a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));
    let wanted: Vec<Wanted> = wanted.into_iter().map(|(_, wanted)| wanted).collect();
    let place = tree.place();
    let fetch = |wanted: &Wanted| {
        writable_name(&wanted.name)?;
        let missing = || Error::Mirror {
            what: format!("{place}/{}", wanted.label),
            why: "is in the inventory, and the server does not have it".to_owned(),
        };
        tree.read(&wanted.name)?.ok_or_else(missing)
    };
    imported.take(import_wanted(store, &wanted, &fetch, options, progress)?);
    Ok(imported)
}

/// Volatility 3's remote ISF list, version 1: base64 of banner, or of PDB|GUID|AGE, to addresses.
fn import_list(
    store: &GitStore,
    transport: &HttpTransport,
    base: &Url,
    list: &serde_json::Map<String, Value>,
    options: &ImportOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Imported, Error> {
    let refused = |why: String| Error::Mirror { what: shown(base), why };
    if list.get("version").and_then(Value::as_u64) != Some(1) {
        return Err(refused("is an ISF list of another version than 1, which is the one that is known".to_owned()));
    }
    let has_mac = list.get("mac").and_then(Value::as_object).is_some_and(|entries| !entries.is_empty());
    let here = Here::of(store, has_mac)?;
    let mut wanted: BTreeMap<String, Wanted> = BTreeMap::new();
    let mut known = 0;
    for system in ["linux", "mac", "windows"] {
        let Some(entries) = list.get(system) else { continue };
        let entries = entries.as_object().ok_or_else(|| refused(format!("its `{system}` is not an object")))?;
        for (identifier, urls) in entries.iter().take(MAX_LISTED) {
            if !options.replace && here.has(system, identifier) {
                known += 1;
                continue;
            }
            let urls = urls.as_array().map(Vec::as_slice).unwrap_or_default().iter().filter_map(Value::as_str);
            let urls: Vec<Url> = urls.filter_map(|url| base.join(url).ok()).collect();
            // Nothing of this machine, whatever a list names.
            let urls: Vec<Url> = urls.into_iter().filter(|url| matches!(url.scheme(), "http" | "https")).collect();
            let label = urls.first().map_or_else(|| format!("{system} {identifier}"), shown);
            // An ISF file of macOS tells its banner, and not the release that a profile is named by.
            let leaf = urls.first().and_then(|url| url.path().rsplit('/').next()).filter(|_| system == "mac");
            let name = leaf.map_or_else(|| label.clone(), |leaf| format!("OSX/{leaf}"));
            // Several banners may lead to one file.
            wanted.entry(label.clone()).or_insert(Wanted { name, label: input::shown(Path::new(&label)), urls });
        }
    }
    let wanted: Vec<Wanted> = wanted.into_values().collect();
    let fetch = |wanted: &Wanted| {
        let mut failure = refused(format!("names no address over http or https for {}", wanted.label));
        for url in &wanted.urls {
            match get(transport, url, MAX_PROFILE_BYTES, None) {
                Ok(bytes) => return Ok(bytes),
                Err(why) => failure = why,
            }
        }
        Err(failure)
    };
    let mut imported = import_wanted(store, &wanted, &fetch, options, progress)?;
    imported.known += known;
    imported.further = list.get("additional").and_then(Value::as_array).map_or(0, Vec::len);
    Ok(imported)
}

/// What a list's identifiers are compared with.
#[derive(Default)]
struct Here {
    /// Of Linux and macOS.
    banners: BTreeSet<String>,
    guids: BTreeSet<String>,
}

impl Here {
    /// What is in HEAD. No index has the banners of macOS: those profiles are opened, if that is wanted.
    fn of(store: &GitStore, with_mac: bool) -> Result<Self, Error> {
        let mut here = Self::default();
        let Some(head) = store.head()? else { return Ok(here) };
        let path = format!("{LAYOUT}/{}", LinuxIndex::NAME);
        if let Some(bytes) = head.read(&path)? {
            here.banners.extend(LinuxIndex::parse(&path, &bytes)?.entries().map(|(key, _)| key.to_owned()));
        }
        head.walk(&format!("{LAYOUT}/GUID"), &mut |path, _| {
            here.guids.extend(path.rsplit('/').next().map(str::to_owned));
            Ok(())
        })?;
        if with_mac {
            let inventory = Inventory::of(store, "")?;
            // Below OSX, or where a user put it: what is told by a GUID is of Windows.
            let may_be_mac = |name: &str| !name.starts_with("Linux/") && guid_of(name).is_none();
            for (_, item) in inventory.profiles().filter(|(name, _)| may_be_mac(name)) {
                // What cannot be read is as good as not here.
                let Ok(file) = inventory.open(item) else { continue };
                if file.metadata().os() == Some(Os::Macos) {
                    here.banners.extend(file.metadata().banner().map(|banner| trimmed_banner(banner).to_owned()));
                }
            }
        }
        Ok(here)
    }

    fn has(&self, system: &str, identifier: &str) -> bool {
        let Some(text) = STANDARD.decode(identifier).ok().and_then(|bytes| String::from_utf8(bytes).ok()) else {
            return false;
        };
        let mut parts = text.split('|').skip(1);
        match (system, parts.next(), parts.next().and_then(|age| age.parse::<u32>().ok())) {
            ("linux" | "mac", ..) => self.banners.contains(trimmed_banner(&text)),
            ("windows", Some(guid), Some(age)) => {
                let id = format!("{guid}{age:X}").parse::<GuidAge>();
                id.is_ok_and(|id| self.guids.contains(&id.to_string()))
            }
            _ => false,
        }
    }
}

/// Fetches and imports, a commit for every so many files. What was not taken is tried once more at the end: a Symlink may
/// have come before what it leads to.
fn import_wanted(
    store: &GitStore,
    wanted: &[Wanted],
    fetch: &(dyn Fn(&Wanted) -> Result<Vec<u8>, Error> + Sync),
    options: &ImportOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Imported, Error> {
    let mut all = Imported::default();
    let mut batch = |batch: &[&Wanted], done: usize| -> Result<BTreeSet<String>, Error> {
        let read = |send: &Sink<'_>| batch.iter().all(|wanted| send(&wanted.label, &wanted.name, fetch(wanted)));
        let mut told = |now: usize, _: usize| progress(done + now, wanted.len());
        let imported = import_raw(store, batch.len(), &read, options, &mut told)?;
        let rejected = imported.rejected.iter().map(|rejected| rejected.file.clone()).collect();
        all.take(imported);
        Ok(rejected)
    };
    let mut again: BTreeSet<String> = BTreeSet::new();
    let files: Vec<&Wanted> = wanted.iter().collect();
    for (number, files) in files.chunks(BATCH).enumerate() {
        again.extend(batch(files, number * BATCH)?);
    }
    if files.len() > BATCH && !again.is_empty() {
        let files: Vec<&Wanted> = files.into_iter().filter(|wanted| again.contains(&wanted.label)).collect();
        let (now, before) = (batch(&files, wanted.len())?, again);
        // What went well the second time, and what is told twice.
        let mut told = BTreeSet::new();
        all.rejected.retain(|rejected| {
            !before.contains(&rejected.file) || (now.contains(&rejected.file) && told.insert(rejected.file.clone()))
        });
    }
    Ok(all)
}
