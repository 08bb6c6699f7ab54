//! The indexes of a repository: what leads from an image's content to the profile of its kernel.

use super::add::existing;
use super::build::{source_names, source_text};
use super::change::Draft;
use super::error::Error;
use super::git_store::{EntryKind, GitStore};
use super::inventory::Inventory;
use super::layout::{is_index, name_of};
use super::rows::last_modified;
use git2::Oid;
use quaid_profile::{
    DataIndex, DataIndexSpec, Error as ProfileError, ExportIndex, KernelSymbols, LAYOUT, LinuxIndex, ProfileFile,
    StructIndex, StructIndexSpec, SymbolOffsetBuilder, SymbolOffsetIndex, SymbolOffsetSpec, whole,
};
use serde_json::Number;
use std::collections::{BTreeMap, BTreeSet};

/// What became of one index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indexed {
    /// Its name.
    pub name: String,
    /// How many profiles it has.
    pub profiles: usize,
    /// Profiles that could not be read and are not in it, and why.
    pub left_out: Vec<(String, String)>,
}

/// Brings the indexes of `modules` (the first folders of names; of all, where none is given) up to date, in one commit; gives
/// that, or none when nothing changed. A Windows profile that is in an index with all that it has is not opened again, unless
/// `all` says so.
///
/// # Errors
/// The repository has no profiles, a specification is none, or it cannot be read or written.
pub fn index(store: &GitStore, modules: &[&str], all: bool) -> Result<(Option<Oid>, Vec<Indexed>), Error> {
    store.profiles()?;
    store.change(|draft| {
        let wanted = |module: &str| modules.is_empty() || modules.contains(&module);
        let mut done = Vec::new();
        if wanted("nt") {
            done.extend(exports(draft, all)?);
        }
        for name in specified(store)? {
            if name.split('/').next().is_some_and(wanted) {
                done.push(by_specification(store, draft, &name, all)?);
            }
        }
        if wanted("Linux") {
            done.extend(banners(draft)?);
        }
        let names: Vec<&str> = done.iter().map(|index: &Indexed| index.name.as_str()).collect();
        Ok((Some(format!("index: {}", names.join(", "))), done))
    })
}

/// The profiles in a folder: no Symlinks, no indexes. Each is `None` when it cannot be read.
fn profiles(draft: &Draft<'_>, folder: &str, mut skip: impl FnMut(&str) -> bool) -> Result<Profiles, Error> {
    let mut names = Vec::new();
    if let Some(head) = draft.head() {
        head.walk(&format!("{LAYOUT}/{folder}"), &mut |path, entry| {
            let name = name_of(&format!("{folder}/{path}"));
            names.extend(name.filter(|_| entry.kind == EntryKind::File));
            Ok(())
        })?;
    }
    let mut found = Profiles::default();
    for name in names {
        if skip(&name) {
            continue;
        }
        match existing(draft, &name) {
            Ok(Some(stored)) if matches!(stored.file.metadata().kind(), "Symlink" | "Index") => {}
            Ok(Some(stored)) => found.read.push((name, stored.file)),
            Ok(None) => {}
            Err(why) => found.left_out.push((name, why.to_string())),
        }
    }
    Ok(found)
}

#[derive(Default)]
struct Profiles {
    /// Of a profile that is stored in several files the small one.
    read: Vec<(String, ProfileFile)>,
    left_out: Vec<(String, String)>,
}

/// An index that is made profile by profile.
trait ByProfile {
    fn is_done(&self, profile: &str) -> bool;
    fn retain(&mut self, keep: &dyn Fn(&str) -> bool);
    fn take(&mut self, name: &str, profile: &ProfileFile) -> Result<(), ProfileError>;
    fn len(&self) -> usize;
    fn text(&self) -> String;
}

impl ByProfile for ExportIndex {
    fn is_done(&self, profile: &str) -> bool {
        self.is_complete(profile)
    }
    fn retain(&mut self, keep: &dyn Fn(&str) -> bool) {
        Self::retain(self, keep);
    }
    fn take(&mut self, name: &str, profile: &ProfileFile) -> Result<(), ProfileError> {
        take_exports(self, name, profile)
    }
    fn len(&self) -> usize {
        Self::len(self)
    }
    fn text(&self) -> String {
        self.to_json()
    }
}

/// A data index and what it is made of.
struct OfData(DataIndexSpec, DataIndex);

impl ByProfile for OfData {
    fn is_done(&self, profile: &str) -> bool {
        self.1.has(profile)
    }
    fn retain(&mut self, keep: &dyn Fn(&str) -> bool) {
        self.1.retain(keep);
    }
    fn take(&mut self, name: &str, profile: &ProfileFile) -> Result<(), ProfileError> {
        self.1.insert(name, &self.0, |symbol| Ok(profile.symbol(symbol)?.map(|symbol| symbol.address)))
    }
    fn len(&self) -> usize {
        self.1.len()
    }
    fn text(&self) -> String {
        self.1.to_json()
    }
}

/// A struct index and what it is made of.
struct OfStructs(StructIndexSpec, StructIndex);

impl ByProfile for OfStructs {
    fn is_done(&self, profile: &str) -> bool {
        self.1.has(profile)
    }
    fn retain(&mut self, keep: &dyn Fn(&str) -> bool) {
        self.1.retain(keep);
    }
    fn take(&mut self, name: &str, profile: &ProfileFile) -> Result<(), ProfileError> {
        self.1.insert(name, &self.0, profile.metadata(), |structure| profile.structure(structure))
    }
    fn len(&self) -> usize {
        self.1.len()
    }
    fn text(&self) -> String {
        self.1.to_json()
    }
}

/// Takes up the profiles whose names begin with `prefix` and that the index lacks, and forgets those that are gone.
fn update(draft: &Draft<'_>, name: &str, prefix: &str, index: &mut dyn ByProfile) -> Result<Indexed, Error> {
    let mut there = BTreeSet::new();
    let folder = prefix.split('/').next().unwrap_or_default();
    let Profiles { read, mut left_out } = profiles(draft, folder, |name| {
        let of_it = name.starts_with(prefix);
        if of_it {
            there.insert(name.to_owned());
        }
        !of_it || index.is_done(name)
    })?;
    index.retain(&|name| there.contains(name));
    for (name, file) in read {
        let profile = whole(file, |part| draft.read(&format!("{LAYOUT}/{part}")));
        if let Err(why) = profile.and_then(|profile| Ok(index.take(&name, &profile)?)) {
            left_out.push((name, why.to_string()));
        }
    }
    Ok(Indexed { name: name.to_owned(), profiles: index.len(), left_out })
}

/// Whether `nt/exports` has profiles of this name.
pub(super) fn has_exports(name: &str) -> bool {
    name.starts_with(EXPORTED)
}

/// Takes up the exports of a profile.
pub(super) fn take_exports(index: &mut ExportIndex, name: &str, profile: &ProfileFile) -> Result<(), ProfileError> {
    index.insert(name, |export| {
        let symbol = profile.symbol(export)?;
        Ok(symbol.and_then(|symbol| u32::try_from(symbol.address).ok()))
    })
}

/// Enters lines in `nt/exports`, which is made if it is not there. Tells whether it could be done: one that is damaged, of
/// other exports, or of more than `max_bytes` is left to [`index`].
pub(super) fn enter_exports(draft: &mut Draft<'_>, lines: ExportIndex, max_bytes: usize) -> Result<bool, Error> {
    if lines.is_empty() {
        return Ok(true);
    }
    let path = format!("{LAYOUT}/{}", ExportIndex::name("nt"));
    let mut merged = ExportIndex::of_kernel();
    if let Some(old) = draft.read(&path)? {
        match ExportIndex::parse(&path, &old) {
            _ if old.len() > max_bytes => return Ok(false),
            Ok(old) if old.has_exports_of(&merged) => merged = old,
            _ => return Ok(false),
        }
    }
    merged.merge(lines);
    draft.put(&path, merged.to_json().as_bytes())?;
    Ok(true)
}

/// With what the names of the profiles in `nt/exports` begin.
const EXPORTED: &str = "nt/GUID/";

/// `nt/exports`.
fn exports(draft: &mut Draft<'_>, all: bool) -> Result<Option<Indexed>, Error> {
    let name = ExportIndex::name("nt");
    let path = format!("{LAYOUT}/{name}");
    let old = draft.read(&path)?;
    let empty = ExportIndex::of_kernel();
    // A damaged one, and one with other exports, is made anew.
    let known = old.as_ref().filter(|_| !all).and_then(|bytes| ExportIndex::parse(&path, bytes).ok());
    let mut index = known.filter(|known| known.has_exports_of(&empty)).unwrap_or(empty);
    let done = update(draft, &name, EXPORTED, &mut index)?;
    if done.profiles == 0 && old.is_none() && done.left_out.is_empty() {
        return Ok(None);
    }
    draft.put(&path, index.text().as_bytes())?;
    Ok(Some(done))
}

/// The names of the indexes that the repository has a specification of: `src/nt/index.yaml` is of `nt/index`. As the recipes
/// that name them, they are read as a person has them in the work tree, else as HEAD has them.
fn specified(store: &GitStore) -> Result<Vec<String>, Error> {
    let name = |path: &String| {
        let name = path.strip_prefix("src/")?.strip_suffix(".yaml")?;
        (is_index(name) && !name.ends_with("/exports")).then(|| name.to_owned())
    };
    Ok(source_names(store)?.iter().filter_map(name).collect())
}

/// An index of Rekall's, by its specification.
fn by_specification(store: &GitStore, draft: &mut Draft<'_>, name: &str, all: bool) -> Result<Indexed, Error> {
    let source = format!("src/{name}.yaml");
    let text = source_text(store, &source)?.unwrap_or_default();
    let source = format!("{LAYOUT}/{source}");
    let refused = |why: String| Error::Refused { label: source.clone(), why };
    let spec: serde_json::Value = serde_saphyr::from_str(&text)
        .map_err(|why| refused(why.to_string().lines().next().unwrap_or_default().to_owned()))?;
    let path = format!("{LAYOUT}/{name}");
    let old = draft.read(&path)?.filter(|_| !all);
    let (mut index, prefix): (Box<dyn ByProfile>, String) = match spec.get("type").and_then(serde_json::Value::as_str) {
        None => {
            let spec = DataIndexSpec::parse(&spec).map_err(refused)?;
            let known = old.and_then(|bytes| DataIndex::parse(&path, &bytes).ok());
            let (index, prefix) = (known.unwrap_or_else(|| DataIndex::new(&spec)), spec.path.clone());
            (Box::new(OfData(spec, index)), prefix)
        }
        Some(StructIndexSpec::TYPE) => {
            let spec = StructIndexSpec::parse(&spec).map_err(refused)?;
            let known = old.and_then(|bytes| StructIndex::parse(&path, &bytes).ok());
            let (index, prefix) = (known.unwrap_or_else(|| StructIndex::new(&spec)), spec.path.clone());
            (Box::new(OfStructs(spec, index)), prefix)
        }
        Some(SymbolOffsetSpec::TYPE) => {
            let spec = SymbolOffsetSpec::parse(&spec).map_err(refused)?;
            let known = old.and_then(|bytes| SymbolOffsetIndex::parse(&path, &bytes).ok());
            return by_symbol_offsets(store, draft, name, &spec, known);
        }
        Some(other) => {
            let why = format!("indexes of type {} are not known", other.escape_debug());
            return Ok(Indexed { name: name.to_owned(), profiles: 0, left_out: vec![(source, why)] });
        }
    };
    let done = update(draft, name, &prefix, &mut *index)?;
    draft.put(&path, index.text().as_bytes())?;
    Ok(done)
}

/// `Linux/index`. What tells a kernel apart depends on all the others, so that it is made anew when one of them is new, gone
/// or another one.
fn by_symbol_offsets(
    store: &GitStore,
    draft: &mut Draft<'_>,
    name: &str,
    spec: &SymbolOffsetSpec,
    known: Option<SymbolOffsetIndex>,
) -> Result<Indexed, Error> {
    let inventory = Inventory::of(store, &spec.path)?;
    let committed = inventory.committed()?;
    let modified: BTreeMap<String, Number> = inventory
        .profiles()
        .map(|(profile, _)| (profile.to_owned(), last_modified(committed.get(profile).copied().unwrap_or_default())))
        .collect();
    if let Some(known) = known.filter(|known| known.is_of(spec, &modified)) {
        return Ok(Indexed { name: name.to_owned(), profiles: known.len(), left_out: Vec::new() });
    }
    let mut builder = SymbolOffsetBuilder::new(spec, modified.len());
    let mut left_out = Vec::new();
    for (profile, item) in inventory.profiles() {
        let Some(time) = modified.get(profile) else { continue };
        let read = || -> Result<KernelSymbols, Error> {
            Ok(KernelSymbols::of(spec, &inventory.whole(inventory.open(item)?)?)?)
        };
        match read() {
            Ok(symbols) => builder.take(profile, time.clone(), symbols),
            Err(why) => left_out.push((profile.to_owned(), why.to_string())),
        }
    }
    let (index, alike) = builder.finish();
    let why = "no symbol, and no two, tell it apart from another profile";
    left_out.extend(alike.into_iter().map(|profile| (profile, why.to_owned())));
    let path = format!("{LAYOUT}/{name}");
    if !index.is_empty() {
        draft.put(&path, index.to_json().as_bytes())?;
    } else if draft.entry(&path)?.is_some() {
        draft.remove(&path);
    }
    Ok(Indexed { name: name.to_owned(), profiles: index.len(), left_out })
}

/// `Linux/banners`, as `add` keeps it, made anew.
fn banners(draft: &mut Draft<'_>) -> Result<Option<Indexed>, Error> {
    let Profiles { read, left_out } = profiles(draft, "Linux", |_| false)?;
    if read.is_empty() && left_out.is_empty() {
        return Ok(None);
    }
    let mut index = LinuxIndex::default();
    for (name, file) in &read {
        index.insert(name, file.metadata());
    }
    draft.put(&format!("{LAYOUT}/{}", LinuxIndex::NAME), index.to_json().as_bytes())?;
    Ok(Some(Indexed { name: LinuxIndex::NAME.to_owned(), profiles: read.len(), left_out }))
}
