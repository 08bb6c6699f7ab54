//! Names taken out of a repository, in one commit. History has them still.

use super::add::refused;
use super::change::{Draft, message_of};
use super::error::Error;
use super::git_source::GitSource;
use super::git_store::{Entry, EntryKind, GitStore};
use super::inventory::{Inventory, Kind};
use git2::Oid;
use quaid_profile::{
    ExportIndex, LAYOUT, LinuxIndex, ProfilePath, normalised_name,
    stored::{self, STORED},
};
use std::collections::BTreeSet;

/// What was taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// The name.
    pub name: String,
    /// Links that led to it.
    pub links: Vec<String>,
}

/// Takes out profiles and links by name, with the links that lead to them, and what profiles were stored in that no other
/// profile uses. A name of a GUID may be in any spelling that finds a profile.
///
/// # Errors
/// One of the names is not there, or git's own links lead to it; then nothing was taken out.
pub fn remove(store: &GitStore, names: &[String]) -> Result<(Option<Oid>, Vec<Removed>), Error> {
    store.profiles()?;
    let source = ProfilePath::new(vec![Box::new(GitSource::open(&store.root)?)]);
    store.change(|draft| {
        let inventory = Inventory::of(store, "")?;
        let mut gone: BTreeSet<String> = BTreeSet::new();
        let mut removed = Vec::new();
        for asked in names {
            let name = find(&inventory, &source, asked)?;
            let links = leading_to(&inventory, &name);
            for name in links.iter().chain([&name]) {
                if let Some(item) = inventory.get(name) {
                    take_out(draft, name, &item.path)?;
                }
            }
            gone.extend(links.iter().chain([&name]).cloned());
            removed.push(Removed { name, links });
        }
        take_out_parts(draft, &inventory, &gone)?;
        take_out_of_indexes(draft, &gone)?;
        let lines: Vec<String> = gone.iter().cloned().collect();
        let message = match removed.as_slice() {
            [one] if one.links.is_empty() => format!("remove: {}", one.name),
            _ => message_of(&format!("remove: {} names", lines.len()), &lines),
        };
        Ok((Some(message), removed))
    })
}

/// The name under which the repository has what is asked for.
fn find(inventory: &Inventory<'_>, source: &ProfilePath, asked: &str) -> Result<String, Error> {
    let bad = |why: String| refused(asked, why);
    let name = normalised_name(asked).map_err(|why| bad(why.to_string()))?;
    if inventory.get(&name).is_some() {
        return Ok(name);
    }
    let found = source.load_stored(&name, &mut |_| ()).map_err(|why| bad(why.to_string()))?;
    Ok(found.name)
}

/// Links to a name, those over other links as well.
fn leading_to(inventory: &Inventory<'_>, name: &str) -> Vec<String> {
    let mut links: Vec<String> = Vec::new();
    let mut ends = BTreeSet::from([name.to_owned()]);
    loop {
        let mut more = Vec::new();
        for (link, item) in inventory.items() {
            let target = item.kind.target().and_then(|target| normalised_name(target).ok());
            if target.is_some_and(|target| ends.contains(&target)) && !ends.contains(link) {
                more.push(link.to_owned());
            }
        }
        if more.is_empty() {
            links.sort();
            return links;
        }
        ends.extend(more.iter().cloned());
        links.extend(more);
    }
}

fn take_out(draft: &mut Draft<'_>, name: &str, path: &str) -> Result<(), Error> {
    match draft.unfollowed(path)? {
        Some(Entry { kind: EntryKind::File, .. }) => draft.remove(path),
        Some(_) => return Err(refused(name, format!("is a link of git; `git rm {path}` takes it out"))),
        // A name that a git link to a folder makes: it goes with its file.
        None => {}
    }
    Ok(())
}

/// Types and symbols of the profiles that are gone, unless another uses them.
fn take_out_parts(draft: &mut Draft<'_>, inventory: &Inventory<'_>, gone: &BTreeSet<String>) -> Result<(), Error> {
    let parts_of = |name: &str| {
        let file = inventory.get(name).filter(|item| item.kind == Kind::Profile).map(|item| inventory.open(item));
        // A damaged one tells none.
        let file = file.and_then(Result::ok).filter(|file| file.metadata().kind() == STORED);
        file.and_then(|file| stored::parts(&file).ok()).into_iter().flatten()
    };
    let mut unused: BTreeSet<String> = gone.iter().flat_map(|name| parts_of(name)).collect();
    if unused.is_empty() {
        return Ok(());
    }
    for (name, _) in inventory.profiles().filter(|(name, _)| !gone.contains(*name)) {
        for part in parts_of(name) {
            unused.remove(&part);
        }
    }
    for part in unused {
        let path = format!("{LAYOUT}/{part}");
        // A hostile profile may name any file: parts are in folders of their own.
        let is_part = part.starts_with("types/") || part.split('/').nth(1) == Some("symbols");
        if is_part && matches!(draft.unfollowed(&path)?, Some(Entry { kind: EntryKind::File, .. })) {
            draft.remove(&path);
        }
    }
    Ok(())
}

fn take_out_of_indexes(draft: &mut Draft<'_>, gone: &BTreeSet<String>) -> Result<(), Error> {
    let path = format!("{LAYOUT}/{}", LinuxIndex::NAME);
    if let Some(bytes) = draft.read(&path)? {
        let mut index = LinuxIndex::parse(&path, &bytes)?;
        if index.entries().any(|(_, name)| gone.contains(name)) {
            for name in gone {
                index.remove(name);
            }
            draft.put(&path, index.to_json().as_bytes())?;
        }
    }
    let path = format!("{LAYOUT}/{}", ExportIndex::name("nt"));
    if let Some(bytes) = draft.read(&path)? {
        let mut index = ExportIndex::parse(&path, &bytes)?;
        let before = index.len();
        index.retain(|name| !gone.contains(name));
        if index.len() != before {
            draft.put(&path, index.to_json().as_bytes())?;
        }
    }
    Ok(())
}
