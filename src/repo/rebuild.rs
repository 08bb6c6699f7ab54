//! Profiles made again that an old producer made, from what they were made of. A Windows profile's PDB is in the
//! repository's cache, the zip of a Linux kernel's below `v1.0/src`; it counts only when its SHA-256 is the one that the
//! profile names.

use super::add::{Checked, place_all};
use super::build::pdb_cache;
use super::change::message_of;
use super::error::Error;
use super::git_store::GitStore;
use super::inventory::Inventory;
use super::producer::{Producer, ProducerRule};
use crate::completeness::Completeness;
use crate::dwarf;
use crate::hex::hex;
use crate::input;
use crate::pdb::{self, ParseOptions};
use crate::symserver::Wanted;
use quaid_profile::{LAYOUT, Os, Profile, ProfileFile};
use sha2::{Digest, Sha256};
use std::path::Path;

/// How many profiles one commit has at most.
const BATCH: usize = 32;

/// What becomes of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rebuilt {
    /// It is made again and committed.
    Replaced,
    /// It is made again, and is what it was.
    Same,
    /// It cannot be made again.
    Failed(String),
}

/// Makes again each profile whose producer `rule` takes. `tell` is given each name and what became of it; what is told as
/// replaced is committed.
///
/// # Errors
/// The repository cannot be read or written.
pub fn rebuild(store: &GitStore, rule: &ProducerRule, tell: &mut dyn FnMut(&str, &Rebuilt)) -> Result<usize, Error> {
    let inventory = Inventory::of(store, "")?;
    let cache = pdb_cache(store)?;
    let mut batch: Vec<(String, Checked)> = Vec::new();
    let mut count = 0;
    for (name, item) in inventory.profiles() {
        let read = || -> Result<Profile, Error> { Ok(inventory.whole(inventory.open(item)?)?.decode()?) };
        // `verify` tells what cannot be read; who made it is not known.
        let Ok(old) = read() else { continue };
        if !Producer::of(&old).is_some_and(|producer| rule.takes(&producer)) {
            continue;
        }
        count += 1;
        let made = match old.metadata.os() {
            Some(Os::Linux) => make_linux(store, name, &old),
            _ => make(&old, &cache),
        };
        match made.and_then(|new| checked(name, &new).map_err(|why| why.to_string())) {
            Ok(checked) if checked.placement.name == name => batch.push((name.to_owned(), checked)),
            Ok(checked) => {
                tell(name, &Rebuilt::Failed(format!("its name would be {} now", checked.placement.name)));
            }
            Err(why) => tell(name, &Rebuilt::Failed(why)),
        }
        if batch.len() >= BATCH {
            publish(store, std::mem::take(&mut batch), tell)?;
        }
    }
    publish(store, batch, tell)?;
    Ok(count)
}

/// The profile again, from its PDB, with what the old one knew besides.
fn make(old: &Profile, cache: &Path) -> Result<Profile, String> {
    let metadata = &old.metadata;
    let text = |key: &str| metadata.text(key).map(str::to_owned);
    let (Some(id), Some(file)) = (metadata.guid_age(), text("PDBFile")) else {
        return Err(
            "only profiles of PDBs and of Linux zips are made again; convert_profile and `repo add --replace` do it for others"
                .into()
        );
    };
    if metadata.0.contains_key("Grafted") {
        return Err("it has types of another build; parse_pdb --graft and `repo add --replace` make it again".into());
    }
    let wanted = Wanted::new(&file, id).map_err(|why| why.to_string())?;
    let path = cache.join(wanted.folder()).join(wanted.name());
    let bytes = input::read(&path, pdb::MAX_FILE_BYTES)
        .map_err(|why| format!("{}: {why}; `quaid fetch_pdb --guid {id} --filename {file}` gets it", path.display()))?;
    if let Some(known) = text("SourceSHA256").filter(|known| *known != hex(&Sha256::digest(&bytes))) {
        return Err(format!("{} is not the file that it was made of (SHA-256 {known})", path.display()));
    }
    let parts: Vec<String> = ["major", "minor", "rev"].into_iter().map_while(text).collect();
    let options = ParseOptions {
        file_name: text("Source").unwrap_or_else(|| wanted.name().to_owned()),
        profile_class: text("ProfileClass"),
        windows_version: (!parts.is_empty()).then(|| parts.join(".")),
        ..ParseOptions::default()
    };
    let mut new = pdb::parse(&bytes, &options, &mut |_, _| {})
        .map_err(|why| format!("{} cannot be parsed: {why}", path.display()))?
        .profile;
    // What an image told when it was at hand.
    for key in ["PEFile", "CodeID"] {
        if let Some(known) = text(key) {
            new.metadata.set(key, known);
        }
    }
    if let Some(state) = Completeness::of(&new).state() {
        new.metadata.set("Completeness", state);
    }
    new.merge.clone_from(&old.merge);
    Ok(new)
}

/// A Linux profile again, from the zip of which `repo build` made it.
fn make_linux(store: &GitStore, name: &str, old: &Profile) -> Result<Profile, String> {
    let source = format!("{LAYOUT}/src/{name}.zip");
    let path = store.repo.workdir().map(|root| root.join(&source)).filter(|path| path.is_file());
    let Some(path) = path else {
        return Err(format!(
            "there is no {source} in a work tree; convert_profile and `repo add --replace` make it again"
        ));
    };
    let (mut new, _) = dwarf::convert(&path).map_err(|why| why.to_string())?;
    let sha256 = |profile: &Profile| profile.metadata.text("SourceSHA256").map(str::to_owned);
    if let Some(known) = sha256(old).filter(|known| sha256(&new).as_ref() != Some(known)) {
        return Err(format!("{source} is not the file that it was made of (SHA-256 {known})"));
    }
    // What a person said of it.
    if let (Some(banner), None) = (old.metadata.banner(), new.metadata.banner()) {
        new.metadata.set("Banner", banner);
    }
    new.merge.clone_from(&old.merge);
    Ok(new)
}

/// The profile, to be stored under its name.
fn checked(name: &str, profile: &Profile) -> Result<Checked, Error> {
    let file = ProfileFile::parse(name, profile.to_rekall().as_bytes())?;
    // A Linux kernel is where its zip is, whatever it is called by what it tells.
    let given = (profile.metadata.os() == Some(Os::Linux)).then_some(name);
    Checked::of(name, &file, None, given)
}

fn publish(store: &GitStore, batch: Vec<(String, Checked)>, tell: &mut dyn FnMut(&str, &Rebuilt)) -> Result<(), Error> {
    if batch.is_empty() {
        return Ok(());
    }
    let (mut names, mut prepared) = (Vec::new(), Vec::new());
    for (name, checked) in batch {
        prepared.push(checked.write(store, "its source, made again".to_owned())?);
        names.push(name);
    }
    let (_, placed) = store.change(|draft| {
        let mut lines = Vec::new();
        let placed = place_all(draft, prepared.iter(), true, usize::MAX, &mut lines)?;
        let message = match lines.as_slice() {
            [line] => format!("rebuild: {line}"),
            _ => message_of(&format!("rebuild: {} profiles", lines.len()), &lines),
        };
        Ok((Some(message), placed.outcomes))
    })?;
    for (name, outcome) in names.iter().zip(placed) {
        let rebuilt = match outcome {
            Ok(added) if added.stored => Rebuilt::Replaced,
            Ok(_) => Rebuilt::Same,
            Err(why) => Rebuilt::Failed(why.to_string()),
        };
        tell(name, &rebuilt);
    }
    Ok(())
}
