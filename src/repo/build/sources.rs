//! `CopyAndTransform`, `OSXProfile`, `LinuxProfile` and `ArtifactProfile`: profiles of files that the repository has below
//! `v1.0/src`.

use super::super::add::{Checked, Prepared, SMALL_INDEX, place_all};
use super::super::error::Error;
use super::super::git_store::{EntryKind, GitStore, Snapshot};
use super::windows::{Event, Summary, message};
use super::workers::make_all;
use super::{bad, check_source_name, source_bytes, source_text};
use crate::dwarf;
use quaid_profile::{LAYOUT, Profile, ProfileFile, decompress, stored_names};
use regex::Regex;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

/// Where sources are.
const SOURCES: &str = "src";

/// Where Linux sources are, and where their profiles go.
const LINUX_SOURCES: &str = "src/Linux";

/// How deep their folders are searched: `<distro>/<release>/<arch>/<kernel>.zip`, and some.
const MAX_DEPTH: usize = 8;

/// How many sources are looked at.
const MAX_SOURCES: usize = 100_000;

/// How many profiles one commit has at most: each is made in seconds.
const BATCH: usize = 8;

/// Profiles of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceRecipe {
    /// `CopyAndTransform`: one file, YAML or JSON, under the target's name; made again when it changes.
    Copy {
        /// The file, below the layout's folder.
        source: String,
        /// `$MERGE` of the profile.
        merge: Vec<String>,
    },
    /// `OSXProfile`: each file under `OSX/` and its own name, once.
    Osx {
        /// The files.
        sources: Vec<String>,
        /// `$MERGE` of the profiles.
        merge: Vec<String>,
    },
    /// `LinuxProfile`: every zip below `src/Linux`, at the same place below `Linux`, once.
    Linux,
    /// `ArtifactProfile`: what to look for on a machine, as data; the YAML documents of all files whose names fit a pattern
    /// become one profile under the target's name, which is made again when they change.
    Artifacts {
        /// With `*` and `?`, which take slashes too.
        patterns: Vec<String>,
    },
}

impl SourceRecipe {
    /// Whether there is one profile, which follows its files.
    fn replaces(&self) -> bool {
        matches!(self, Self::Copy { .. } | Self::Artifacts { .. })
    }
}

/// A profile to be made, and of what.
struct Item {
    name: String,
    source: String,
}

/// Makes what a recipe's files give, `workers` profiles at a time. They are committed, and told, in the order of their
/// sources. What was there counts in the second value.
///
/// # Errors
/// The repository cannot be read or written.
pub fn build_sources(
    store: &GitStore,
    target: &str,
    recipe: &SourceRecipe,
    workers: usize,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<(Summary, usize), Error> {
    let mut known = 0;
    let mut items = items(store, target, recipe)?;
    if !recipe.replaces() {
        let head = store.profiles()?;
        let before = items.len();
        let mut lacking = Vec::new();
        for item in items {
            if !has(&head, &item.name)? {
                lacking.push(item);
            }
        }
        items = lacking;
        known = before - items.len();
    }
    tell(Event::Begun(items.len()));
    let mut progress = Progress { store, target, replace: recipe.replaces(), summary: Summary::default(), known };
    let root = &store.root;
    // git's library serves one thread at a time: each has a repository of its own.
    let make = |item: &Item| make(&GitStore::open(root).map_err(|why| why.to_string())?, recipe, item);
    make_all(&items, workers, make, |receive| {
        // What is ready before an earlier source waits for its turn, as blobs: in memory it would be much.
        let mut early = BTreeMap::new();
        let mut batch = Vec::new();
        let mut turn = 0;
        for (tried, (number, made)) in receive.iter().enumerate() {
            tell(Event::Tried(tried + 1));
            let Some(item) = items.get(number) else { continue };
            let ready = match made {
                Ok(checked) => Ok(checked.write(store, item.source.clone())?),
                Err(why) => Err(why),
            };
            early.insert(number, (item, ready));
            while let Some(next) = early.remove(&turn) {
                turn += 1;
                batch.push(next);
                if batch.len() == BATCH {
                    progress.publish(std::mem::take(&mut batch), tell)?;
                }
            }
        }
        progress.publish(batch, tell)
    })?;
    Ok((progress.summary, progress.known))
}

/// What has become of a recipe's items so far.
struct Progress<'a> {
    store: &'a GitStore,
    target: &'a str,
    replace: bool,
    summary: Summary,
    known: usize,
}

impl Progress<'_> {
    /// Commits what could be made of these items, and tells of each.
    fn publish(
        &mut self,
        batch: Vec<(&Item, Result<Prepared, String>)>,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Error> {
        let prepared = batch.iter().filter_map(|(_, ready)| ready.as_ref().ok());
        let (_, outcomes) = self.store.change(|draft| {
            let mut lines = Vec::new();
            let placed = place_all(draft, prepared.clone(), self.replace, SMALL_INDEX, &mut lines)?;
            Ok(((!lines.is_empty()).then(|| message(self.target, &lines)), placed.outcomes))
        })?;
        // Each that could be made was placed, in order.
        let mut outcomes = outcomes.into_iter();
        for (item, ready) in batch {
            let added = match ready {
                Ok(_) => outcomes.next().map_or_else(
                    || Err("it was not placed".to_owned()),
                    |outcome| outcome.map_err(|why| why.to_string()),
                ),
                Err(why) => Err(why),
            };
            match added {
                Ok(added) if added.stored => {
                    self.summary.built += 1;
                    tell(Event::Built { name: &added.name, lacks: None });
                }
                Ok(_) => self.known += 1,
                Err(why) => {
                    self.summary.failed += 1;
                    tell(Event::Failed { what: &item.name, why: &why, remembered: false });
                }
            }
        }
        Ok(())
    }
}

fn has(head: &Snapshot<'_>, name: &str) -> Result<bool, Error> {
    for stored in stored_names(name) {
        if head.entry(&format!("{LAYOUT}/{stored}"))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn items(store: &GitStore, target: &str, recipe: &SourceRecipe) -> Result<Vec<Item>, Error> {
    match recipe {
        SourceRecipe::Copy { source, .. } => Ok(vec![Item { name: target.to_owned(), source: source.clone() }]),
        SourceRecipe::Artifacts { patterns } => Ok(vec![Item { name: target.to_owned(), source: patterns.join(", ") }]),
        SourceRecipe::Osx { sources, .. } => {
            let item = |source: &String| {
                check_source_name(source)?;
                let leaf = source.rsplit('/').next().unwrap_or_default();
                Ok(Item { name: format!("OSX/{leaf}"), source: source.clone() })
            };
            sources.iter().map(item).collect()
        }
        SourceRecipe::Linux => {
            let Some(root) = store.repo.workdir() else {
                return Err(bad(
                    LINUX_SOURCES,
                    "is read from a work tree, and this repository is bare: build in a clone",
                ));
            };
            let files = files_of_work_tree(root, LINUX_SOURCES)?;
            let item = |source: &String| {
                let name = source.strip_prefix("src/")?.strip_suffix(".zip")?.to_owned();
                Some(Item { source: source.clone(), name })
            };
            Ok(files.iter().filter_map(item).collect())
        }
    }
}

/// The files of a work tree below a folder of the layout's, by their path from there. Links are not followed.
fn files_of_work_tree(root: &Path, below: &str) -> Result<BTreeSet<String>, Error> {
    let folder = root.join(LAYOUT).join(below);
    let mut names = BTreeSet::new();
    list(&folder, &format!("{below}/"), MAX_DEPTH, &mut names).map_err(|why| Error::Io { path: folder, why })?;
    Ok(names)
}

fn list(folder: &Path, below: &str, depth: usize, names: &mut BTreeSet<String>) -> io::Result<()> {
    let entries = match folder.read_dir() {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        // What is no text is no name of a profile.
        let Ok(leaf) = entry.file_name().into_string() else { continue };
        let kind = entry.file_type()?;
        if kind.is_dir() && depth > 0 {
            list(&entry.path(), &format!("{below}{leaf}/"), depth - 1, names)?;
        } else if kind.is_file() && names.len() < MAX_SOURCES {
            names.insert(format!("{below}{leaf}"));
        }
    }
    Ok(())
}

/// The files below `src` that `source_text` reads: those of the work tree, and of HEAD. A name begins with `src/`.
pub(in super::super) fn source_names(store: &GitStore) -> Result<BTreeSet<String>, Error> {
    let mut names = match store.repo.workdir() {
        Some(root) => files_of_work_tree(root, SOURCES)?,
        None => BTreeSet::new(),
    };
    if let Some(head) = store.head()? {
        head.walk(&format!("{LAYOUT}/{SOURCES}"), &mut |path, entry| {
            names.extend((entry.kind == EntryKind::File).then(|| format!("{SOURCES}/{path}")));
            Ok(())
        })?;
    }
    Ok(names)
}

/// What files below `src` have whose names fit, one document after the other, by the files' names.
fn artifacts(store: &GitStore, patterns: &[String]) -> Result<Profile, String> {
    let text = |why: Error| why.to_string();
    let patterns: Vec<Regex> = patterns.iter().map(|pattern| glob(pattern)).collect::<Result<_, String>>()?;
    let mut names = source_names(store).map_err(text)?;
    names.retain(|name| patterns.iter().any(|pattern| pattern.is_match(name.strip_suffix(".gz").unwrap_or(name))));
    if names.is_empty() {
        return Err(format!("no file below v1.0/{SOURCES} has a name that fits"));
    }
    let mut definitions = Vec::new();
    for name in &names {
        let Some(text) = source_text(store, name).map_err(text)? else { continue };
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text)
            .map_err(|why| format!("v1.0/{name} is no YAML: {}", why.to_string().lines().next().unwrap_or_default()))?;
        definitions.extend(documents.into_iter().filter(|document| !document.is_null()));
    }
    let mut profile = Profile::default();
    profile.metadata.set("ProfileClass", "ArtifactProfile");
    profile.other.insert("$ARTIFACTS".to_owned(), Value::Array(definitions));
    Ok(profile)
}

/// A pattern of names: `*` and `?` take every character, slashes too.
fn glob(pattern: &str) -> Result<Regex, String> {
    let told = || pattern.escape_debug();
    if pattern.contains('[') {
        return Err(format!("`{}` has a set of characters, and only `*` and `?` are understood", told()));
    }
    let regex = regex::escape(pattern).replace(r"\*", ".*").replace(r"\?", ".");
    Regex::new(&format!("^(?s:{regex})$")).map_err(|_| format!("`{}` is no pattern of names", told()))
}

fn make(store: &GitStore, recipe: &SourceRecipe, item: &Item) -> Result<Checked, String> {
    let text = |why: Error| why.to_string();
    let (mut profile, merge) = match recipe {
        SourceRecipe::Linux => {
            let root = store.repo.workdir().ok_or("there is no work tree")?;
            let (profile, _) = dwarf::convert(&root.join(LAYOUT).join(&item.source)).map_err(|why| why.to_string())?;
            (profile, &[][..])
        }
        SourceRecipe::Copy { merge, .. } | SourceRecipe::Osx { merge, .. } => {
            let bytes = source_bytes(store, &item.source).map_err(text)?;
            let bytes = bytes.ok_or_else(|| format!("there is no file v1.0/{}", item.source))?;
            (read(&item.source, &bytes)?, &merge[..])
        }
        SourceRecipe::Artifacts { patterns } => (artifacts(store, patterns)?, &[][..]),
    };
    if !merge.is_empty() {
        profile.merge = merge.to_vec();
    }
    let file = ProfileFile::parse(&item.source, profile.to_rekall().as_bytes()).map_err(|why| why.to_string())?;
    Checked::of(&item.source, &file, None, Some(&item.name)).map_err(text)
}

/// A profile that is written as JSON, or as YAML, compressed or not.
fn read(name: &str, bytes: &[u8]) -> Result<Profile, String> {
    let plain = decompress(name, bytes).map_err(|why| why.to_string())?;
    let text = std::str::from_utf8(&plain).map_err(|_| "it is not UTF-8 text".to_owned())?;
    let json = if text.trim_start().starts_with('{') {
        text.to_owned()
    } else {
        let value: Value = serde_saphyr::from_str(text).map_err(|why| {
            format!("it is neither JSON nor YAML: {}", why.to_string().lines().next().unwrap_or_default())
        })?;
        value.to_string()
    };
    let file = ProfileFile::parse(name, json.as_bytes()).map_err(|why| why.to_string())?;
    file.decode().map_err(|why| why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told and what is committed do not depend on the number of workers.
    #[test]
    fn sources_are_told_and_committed_in_their_order() {
        let number = |at: usize| format!("src/OSX/10.{at}");
        let sources: Vec<String> = (10..30).map(number).collect();
        let is_missing = |at: usize| at % 7 == 3;
        let build = |workers| {
            let folder = tempfile::tempdir().expect("a folder");
            let store = crate::repo::init(folder.path(), false).expect("a repository");
            std::fs::create_dir_all(folder.path().join("v1.0/src/OSX")).expect("created");
            for at in (10..30).filter(|at| !is_missing(*at)) {
                let json = format!(
                    r#"{{"$METADATA": {{"ProfileClass": "OSX", "Type": "Profile"}}, "$CONSTANTS": {{"_lowGlo": {at}}}}}"#
                );
                std::fs::write(folder.path().join(LAYOUT).join(number(at)), json).expect("written");
            }
            let (mut told, mut counts) = (Vec::new(), Vec::new());
            let recipe = SourceRecipe::Osx { sources: sources.clone(), merge: Vec::new() };
            let (summary, known) = build_sources(&store, "OSX", &recipe, workers, &mut |event| match event {
                Event::Begun(count) | Event::Tried(count) => counts.push(count),
                Event::Built { name, .. } | Event::Failed { what: name, .. } => told.push(name.to_owned()),
                Event::Problem(why) => told.push(why.to_owned()),
            })
            .expect("built");
            assert_eq!((summary.built, summary.failed, known), (17, 3, 0));
            assert_eq!(counts, [20].into_iter().chain(1..=20).collect::<Vec<_>>());
            let names: Vec<String> = (10..30).map(|at| format!("OSX/10.{at}")).collect();
            assert_eq!(told, names);
            let mut messages = Vec::new();
            let mut commit = store.repo.head().and_then(|head| head.peel_to_commit()).ok();
            while let Some(known) = commit {
                messages.push((known.message().expect("text").to_owned(), known.tree_id()));
                commit = known.parent(0).ok();
            }
            messages
        };
        let one = build(1);
        assert!(one.len() > 2);
        assert_eq!(build(8), one);
    }

    #[test]
    fn yaml_and_json_are_one_profile() {
        let yaml = "# remark\n$METADATA:\n  ProfileClass: Nt\n$ENUMS:\n  _KIND:\n    0: None\n    1: One\n$STRUCTS:\n  _A:\n    - 8\n    - B:\n        - 4\n        - [unsigned int, {}]\n";
        let json = r#"{"$METADATA": {"ProfileClass": "Nt"}, "$ENUMS": {"_KIND": {"0": "None", "1": "One"}},
            "$STRUCTS": {"_A": [8, {"B": [4, ["unsigned int", {}]]}]}}"#;
        let (yaml, json) = (read("a", yaml.as_bytes()).expect("YAML"), read("a", json.as_bytes()).expect("JSON"));
        assert_eq!(yaml.to_rekall(), json.to_rekall());
        assert!(yaml.structs.contains_key("_A"));
        assert!(read("a", b"- x\n").is_err() && read("a", b"{").is_err());
    }
}
