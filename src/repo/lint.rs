//! What is doubtful in profiles that are whole: things that analysis misses, zeros where addresses should be, producers with
//! known faults, the same profile twice. `verify` tells what is damaged.

use super::error::Error;
use super::git_store::GitStore;
use super::inventory::Inventory;
use super::layout::tells_build;
use super::producer::{Producer, ProducerRule};
use crate::completeness::Completeness;
use quaid_profile::{Profile, StructKind};
use std::collections::BTreeMap;

/// Symbols from which on many at address zero are no chance.
const MANY_SYMBOLS: usize = 16;

/// Members from which on all at offset zero are no chance.
const MANY_MEMBERS: usize = 3;

/// How many names a line shows.
const SHOWN: usize = 5;

/// What versions of other programs are known to lose: rule, and what is wrong with what they made.
const KNOWN_FAULTS: [(&str, &str); 2] = [
    // github.com/volatilityfoundation/dwarf2json, issue 63.
    ("dwarf2json<0.9.0", "types of Rust can stand in the place of C types of the same name"),
    // Measured against llvm-pdbutil.
    ("volatility3<=9999", "symbols of the last section are lost (pdbconv)"),
];

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// Analysis needs what is not there.
    Incomplete,
    /// Offsets, sizes or addresses are zero that cannot be.
    Zeros,
    /// The producer has a known fault.
    Producer,
    /// Another name has the same.
    Duplicate,
    /// It cannot be read; `verify` tells more.
    Unreadable,
}

impl Doubt {
    /// One word, for tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::Zeros => "zeros",
            Self::Producer => "producer",
            Self::Duplicate => "duplicate",
            Self::Unreadable => "unreadable",
        }
    }
}

/// A doubt about a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The profile.
    pub name: String,
    /// What kind of doubt.
    pub doubt: Doubt,
    /// What was seen.
    pub what: String,
}

/// Looks at every profile whose name begins with `prefix`. Gives the doubts, by name, and how many profiles there are.
/// `seen` is called for each.
pub fn lint(store: &GitStore, prefix: &str, seen: &mut dyn FnMut(usize)) -> Result<(Vec<Finding>, usize), Error> {
    let inventory = Inventory::of(store, prefix)?;
    let mut found = Vec::new();
    let mut contents: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut identities: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut count = 0;
    for (name, item) in inventory.profiles() {
        count += 1;
        seen(count);
        let read = || -> Result<(Profile, String), Error> {
            let digest = inventory.digest(item)?.sha256;
            Ok((inventory.whole(inventory.open(item)?)?.decode()?, digest))
        };
        let mut doubt = |doubt, what: String| found.push(Finding { name: name.to_owned(), doubt, what });
        let (profile, digest) = match read() {
            Ok(read) => read,
            Err(why) => {
                doubt(Doubt::Unreadable, why.to_string());
                continue;
            }
        };
        contents.entry(digest).or_default().push(name.to_owned());
        let metadata = &profile.metadata;
        let id = metadata.guid_age().map(|id| id.to_string()).or_else(|| metadata.build_id().map(|id| id.to_string()));
        if let Some(id) = id {
            identities.entry(id).or_default().push(name.to_owned());
        }
        look(&profile, &mut doubt);
    }
    let twice = |names: &BTreeMap<String, Vec<String>>, what: &str, found: &mut Vec<Finding>| {
        for (key, names) in names.iter().filter(|(_, names)| names.len() > 1) {
            for name in names {
                let others = names.iter().filter(|other| *other != name).map(String::as_str);
                let what = format!("{what} as {} ({key:.12})", shown(others));
                found.push(Finding { name: name.clone(), doubt: Doubt::Duplicate, what });
            }
        }
    };
    twice(&contents, "the same content", &mut found);
    // The same content has the same identity, and is told already.
    let same = |names: &Vec<String>| contents.values().any(|group| names.iter().all(|name| group.contains(name)));
    identities.retain(|_, names| !same(names));
    twice(&identities, "of the same build", &mut found);
    found.sort_by(|a, b| (&a.name, a.doubt, &a.what).cmp(&(&b.name, b.doubt, &b.what)));
    Ok((found, count))
}

/// The doubts about one profile.
fn look(profile: &Profile, doubt: &mut dyn FnMut(Doubt, String)) {
    let completeness = Completeness::of(profile);
    let symbols = profile.constants.len() + profile.functions.len();
    // What is there to be merged into others, or is data of another kind, is no build that could lack something.
    let is_build = symbols > 0 || tells_build(&profile.metadata);
    if !completeness.has_types && is_build {
        doubt(Doubt::Incomplete, "has no types: public symbols only".to_owned());
    } else if let (false, Some(module)) = (completeness.is_enough(), completeness.module) {
        let missing = shown(completeness.missing.iter().map(String::as_str));
        doubt(Doubt::Incomplete, format!("lacks what analysis needs of {module}: {missing}"));
    }
    let sizeless: Vec<&str> = profile
        .structs
        .iter()
        .filter(|(_, of)| of.size == 0 && of.members.values().any(|member| member.offset > 0))
        .map(|(name, _)| name.as_str())
        .collect();
    if !sizeless.is_empty() {
        doubt(Doubt::Zeros, format!("size 0 with members behind it: {}", shown(sizeless.into_iter())));
    }
    let flat: Vec<&str> = profile
        .structs
        .iter()
        // What is as long as its longest member may be a union that a form cannot tell; so each is longer than a pointer.
        .filter(|(_, of)| of.kind != StructKind::Union && of.members.len() >= MANY_MEMBERS && of.size > 16)
        .filter(|(_, of)| of.members.values().all(|member| member.offset == 0))
        .map(|(name, _)| name.as_str())
        .collect();
    // Rekall's form does not tell unions from structs: only a profile in which all is flat is doubtful.
    if !flat.is_empty() && flat.len() * 2 > profile.structs.len() {
        doubt(Doubt::Zeros, format!("all members at offset 0: {}", shown(flat.into_iter())));
    }
    let zeros = profile.constants.values().chain(profile.functions.values()).filter(|address| **address == 0).count();
    if symbols >= MANY_SYMBOLS && zeros * 2 > symbols {
        doubt(Doubt::Zeros, format!("{zeros} of {symbols} symbols are at address 0, as in a kallsyms that hides them"));
    }
    if let Some(producer) = Producer::of(profile) {
        for (rule, fault) in KNOWN_FAULTS {
            if rule.parse::<ProducerRule>().is_ok_and(|rule| rule.takes(&producer)) {
                doubt(Doubt::Producer, format!("made by {producer}: {fault}"));
            }
        }
    }
    // Rekall read one record too far in each list of labels; it wrote no producer.
    let bogus = profile.enums.values().filter(|of| of.values.iter().any(|(label, _)| label == "-1")).count();
    if bogus > 0 {
        doubt(Doubt::Producer, format!("made by Rekall: {bogus} enums have a label `-1` that no source has"));
    }
}

/// Some names, and how many more.
fn shown<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.collect();
    let first = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}
