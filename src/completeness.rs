//! Does a profile have what analysis needs of its module?
//!
//! Microsoft has published PDBs of kernels with public symbols only, and corrected some of them months later. What is
//! needed is data: `completeness.yaml`.

use quaid_profile::{Profile, Struct, Type};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What is needed of a module.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Module {
    /// Stems of the names of its PDBs.
    pdb: Vec<String>,
    /// Members by struct.
    structs: BTreeMap<String, Vec<String>>,
    symbols: Vec<String>,
}

static MODULES: LazyLock<BTreeMap<String, Module>> = LazyLock::new(|| {
    // A test reads it too, so that this cannot fail in a release.
    serde_saphyr::from_str(include_str!("completeness.yaml")).unwrap_or_default()
});

/// What a profile lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completeness {
    /// The module, where there is a list of what it needs ("nt").
    pub module: Option<&'static str>,
    /// Whether there is a type at all.
    pub has_types: bool,
    /// Structs, members (`_EPROCESS.Peb`) and symbols of the list that are not there.
    pub missing: Vec<String>,
}

impl Completeness {
    /// Compares a profile with the list for its module, which its `PDBFile` or `PDBName` tells. Symbols are not asked for
    /// in a profile without any.
    pub fn of(profile: &Profile) -> Self {
        let mut names = ["PDBFile", "PDBName"].into_iter().filter_map(|key| profile.metadata.text(key));
        let module = names.find_map(module);
        let mut missing = Vec::new();
        for (name, members) in module.iter().flat_map(|(_, module)| &module.structs) {
            match profile.structs.get(name) {
                None => missing.push(name.clone()),
                Some(found) => {
                    let lacks = |member: &&String| !one_of(member, |path| has_member(profile, found, path));
                    missing.extend(members.iter().filter(lacks).map(|member| format!("{name}.{member}")));
                }
            }
        }
        let has_symbols = !(profile.constants.is_empty() && profile.functions.is_empty());
        for name in module.iter().filter(|_| has_symbols).flat_map(|(_, module)| &module.symbols) {
            if !one_of(name, |name| profile.symbol(name).is_some()) {
                missing.push(name.clone());
            }
        }
        let has_types = !profile.structs.is_empty();
        Self { module: module.map(|(name, _)| name), has_types, missing }
    }

    /// Whether what is needed is there; so it is where nothing is known to be needed.
    pub fn is_enough(&self) -> bool {
        self.missing.is_empty()
    }

    /// `$METADATA.Completeness`: "complete", "incomplete" or "public symbols only"; `None` where there is no list for the
    /// module, and types are there.
    pub fn state(&self) -> Option<&'static str> {
        match (self.has_types, self.module) {
            (false, _) => Some("public symbols only"),
            (true, None) => None,
            (true, Some(_)) if self.is_enough() => Some("complete"),
            (true, Some(_)) => Some("incomplete"),
        }
    }
}

/// The list for a PDB of this file name.
fn module(file: &str) -> Option<(&'static str, &'static Module)> {
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let of_stem = |module: &Module| module.pdb.iter().any(|pdb| pdb.eq_ignore_ascii_case(stem));
    MODULES.iter().find(|(_, module)| of_stem(module)).map(|(name, module)| (name.as_str(), module))
}

/// Whether one of the alternatives (`a | b`) is there.
fn one_of(alternatives: &str, is_there: impl Fn(&str) -> bool) -> bool {
    alternatives.split('|').map(str::trim).any(is_there)
}

/// Whether a struct has the member `a`, or `a.b` of a member that is a struct itself.
fn has_member(profile: &Profile, of: &Struct, path: &str) -> bool {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let Some(member) = of.members.get(first) else { return false };
    let Some(rest) = rest else { return true };
    let Type::Named(name) = &member.ty else { return false };
    profile.structs.get(name).is_some_and(|below| has_member(profile, below, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quaid_profile::Member;

    #[test]
    fn the_lists_are_read() {
        let modules: BTreeMap<String, Module> =
            serde_saphyr::from_str(include_str!("completeness.yaml")).expect("lists of modules");
        assert!(modules["nt"].structs["_EPROCESS"].iter().any(|member| member == "UniqueProcessId"));
        assert_eq!(module("NTKRNLMP.PDB").expect("the kernel").0, "nt");
        assert!(module("kernel32.pdb").is_none());
    }

    #[test]
    fn members_of_members_and_alternatives() {
        let mut profile = Profile::default();
        let member = |ty| Member { offset: 0, ty, anonymous: false };
        let with =
            |name: &str, ty| Struct { members: BTreeMap::from([(name.to_owned(), member(ty))]), ..Struct::default() };
        profile.structs.insert("_CORE".into(), with("StartingVpn", Type::named("long")));
        let vad = with("Core", Type::named("_CORE"));
        assert!(has_member(&profile, &vad, "Core.StartingVpn"));
        assert!(!has_member(&profile, &vad, "Core.EndingVpn"));
        assert!(!has_member(&profile, &vad, "StartingVpn"));
        assert!(one_of("StartingVpn | Core.StartingVpn", |path| has_member(&profile, &vad, path)));
    }
}
