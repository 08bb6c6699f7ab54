//! The indexes of a repository: what leads from an image's content to the profile of its kernel.

use super::add::existing;
use super::change::Draft;
use super::error::Error;
use super::git_store::{EntryKind, GitStore};
use super::layout::name_of;
use git2::Oid;
use quaid_profile::{DataIndex, DataIndexSpec, ExportIndex, LAYOUT, LinuxIndex, ProfileFile, whole};
use std::collections::BTreeSet;

/// What has an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Module {
    /// The Windows kernel, by its exports; by its data where `src/nt/index.yaml` says by which.
    Nt,
    /// Linux kernels, by banner and release.
    Linux,
}

impl Module {
    /// Each of them.
    pub const ALL: [Self; 2] = [Self::Nt, Self::Linux];

    /// The folder of its profiles.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Nt => "nt",
            Self::Linux => "Linux",
        }
    }
}

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

/// Brings the indexes of `modules` up to date, in one commit; gives that, or none when nothing changed. A Windows profile
/// that is in the index with all its exports is not opened again, unless `all` says so.
///
/// # Errors
/// The repository has no profiles, or cannot be read or written.
pub fn index(store: &GitStore, modules: &[Module], all: bool) -> Result<(Option<Oid>, Vec<Indexed>), Error> {
    store.profiles()?;
    store.change(|draft| {
        let mut done = Vec::new();
        for module in modules {
            match module {
                Module::Nt => {
                    done.extend(exports(draft, all)?);
                    done.extend(data(draft, all)?);
                }
                Module::Linux => done.extend(banners(draft)?),
            }
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

/// `nt/exports`.
fn exports(draft: &mut Draft<'_>, all: bool) -> Result<Option<Indexed>, Error> {
    const FOLDER: &str = "nt/GUID";
    let name = ExportIndex::name("nt");
    let path = format!("{LAYOUT}/{name}");
    let old = draft.read(&path)?;
    let empty = ExportIndex::of_kernel();
    // A damaged one, and one with other exports, is made anew.
    let known = old.as_ref().filter(|_| !all).and_then(|bytes| ExportIndex::parse(&path, bytes).ok());
    let mut index = known.filter(|known| known.has_exports_of(&empty)).unwrap_or(empty);
    let mut there = BTreeSet::new();
    let Profiles { read, mut left_out } = profiles(draft, FOLDER, |name| {
        there.insert(name.to_owned());
        index.is_complete(name)
    })?;
    index.retain(|name| there.contains(name));
    for (name, file) in read {
        let taken = whole(file, |part| draft.read(&format!("{LAYOUT}/{part}"))).and_then(|profile| {
            index.insert(&name, |export| {
                let symbol = profile.symbol(export)?;
                Ok::<_, quaid_profile::Error>(symbol.and_then(|symbol| u32::try_from(symbol.address).ok()))
            })?;
            Ok(())
        });
        if let Err(why) = taken {
            left_out.push((name, why.to_string()));
        }
    }
    if index.is_empty() && old.is_none() && left_out.is_empty() {
        return Ok(None);
    }
    draft.put(&path, index.to_json().as_bytes())?;
    Ok(Some(Indexed { name, profiles: index.len(), left_out }))
}

/// `nt/index`, when the repository has a specification of it.
fn data(draft: &mut Draft<'_>, all: bool) -> Result<Option<Indexed>, Error> {
    let source = format!("{LAYOUT}/src/nt/index.yaml");
    let Some(bytes) = draft.read(&source)? else { return Ok(None) };
    let refused = |why: String| Error::Refused { label: source.clone(), why };
    let text = std::str::from_utf8(&bytes).map_err(|why| refused(why.to_string()))?;
    let spec: serde_json::Value = serde_saphyr::from_str(text)
        .map_err(|why| refused(why.to_string().lines().next().unwrap_or_default().to_owned()))?;
    let spec = DataIndexSpec::parse(&spec).map_err(refused)?;
    let name = DataIndex::name("nt");
    let path = format!("{LAYOUT}/{name}");
    let old = draft.read(&path)?;
    let known = old.filter(|_| !all).and_then(|bytes| DataIndex::parse(&path, &bytes).ok());
    let mut index = known.unwrap_or_else(|| DataIndex::new(&spec));
    let mut there = BTreeSet::new();
    let Profiles { read, mut left_out } = profiles(draft, "nt", |name| {
        let other = !name.starts_with(&spec.path);
        if !other {
            there.insert(name.to_owned());
        }
        other || index.has(name)
    })?;
    index.retain(|name| there.contains(name));
    for (name, file) in read {
        let taken = whole(file, |part| draft.read(&format!("{LAYOUT}/{part}"))).and_then(|profile| {
            index.insert(&name, &spec, |symbol| {
                Ok::<_, quaid_profile::Error>(profile.symbol(symbol)?.map(|symbol| symbol.address))
            })?;
            Ok(())
        });
        if let Err(why) = taken {
            left_out.push((name, why.to_string()));
        }
    }
    draft.put(&path, index.to_json().as_bytes())?;
    Ok(Some(Indexed { name, profiles: index.len(), left_out }))
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
