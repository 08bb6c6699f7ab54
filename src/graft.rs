//! Types of another build, for a profile that lacks them.
//!
//! Layouts change between builds, so this is done only where it is asked for, and every type that was taken is named in
//! `$METADATA`: `Grafted` lists them, `GraftedFrom` is the build they are of.

use crate::completeness::Completeness;
use crate::repo::layout::module_name;
use quaid_profile::{Metadata, NotFound, Profile, ProfilePath, ProfileSource, Type};
use std::collections::BTreeSet;

/// Profiles opened in search of a build's version where no name tells it.
const MAX_OPENED: usize = 1000;

/// Why no types were taken.
#[derive(Debug, thiserror::Error)]
pub enum GraftError {
    /// The other profile is of another machine or module.
    #[error("its types are no help: it is of {donor}, and the profile to complete of {target}")]
    OtherModule {
        /// Module and architecture of the profile with the types.
        donor: String,
        /// Those of the profile that lacks them.
        target: String,
    },
    /// The other profile has none either.
    #[error("it has no types of its own")]
    NoTypes,
    /// Nearness is by version, and the profile has none.
    #[error(
        "the version of this build is not known, so no other is the nearest; give it by `--windows_version A.B.C.D` or `--pe FILE`"
    )]
    NoVersion,
    /// The repository has no other build with types.
    #[error("{place} has no {wanted} of a known version that has types ({opened} profiles opened)")]
    NoDonor {
        /// What was searched.
        place: String,
        /// Module and architecture.
        wanted: String,
        /// How many were opened.
        opened: usize,
    },
    /// The place cannot be read.
    #[error(transparent)]
    Source(#[from] quaid_profile::Error),
}

/// What was taken.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Grafted {
    /// Structs and enums, by name.
    pub types: BTreeSet<String>,
    /// Structs that hold one whose size is another in the profile, and so cannot be right for it.
    pub refused: BTreeSet<String>,
}

/// Takes every struct and enum that `target` lacks from `donor`, a profile of another build of the same module and
/// architecture, and marks them.
///
/// # Errors
/// [`GraftError::OtherModule`], [`GraftError::NoTypes`]; `target` is as it was then.
pub fn graft(target: &mut Profile, donor: &Profile) -> Result<Grafted, GraftError> {
    if kind_of(&target.metadata) != kind_of(&donor.metadata) {
        let (donor, target) = (kind_text(&donor.metadata), kind_text(&target.metadata));
        return Err(GraftError::OtherModule { donor, target });
    }
    // What is not its own is of a third build.
    let foreign: BTreeSet<&str> = names_in(&donor.metadata, "Grafted").collect();
    let own = |name: &String| !foreign.contains(name.as_str());
    if !donor.structs.keys().any(own) {
        return Err(GraftError::NoTypes);
    }
    let mut wanted: BTreeSet<&String> =
        donor.structs.keys().filter(|name| own(name) && !target.structs.contains_key(*name)).collect();
    let mut grafted = Grafted::default();
    // A struct that holds another one has its size in it.
    loop {
        let unfit = |name: &&&String| {
            let members = donor.structs.get(**name).into_iter().flat_map(|s| s.members.values());
            members.filter_map(|member| held(&member.ty)).any(|held| {
                let size = |profile: &Profile| profile.structs.get(held).map(|s| s.size);
                let differs = size(target).is_some_and(|size_here| size(donor) != Some(size_here));
                differs || grafted.refused.contains(held)
            })
        };
        let unfit: Vec<&String> = wanted.iter().filter(unfit).copied().collect();
        if unfit.is_empty() {
            break;
        }
        for name in unfit {
            wanted.remove(name);
            grafted.refused.insert(name.clone());
        }
    }
    for name in wanted {
        if let Some(taken) = donor.structs.get(name) {
            target.structs.insert(name.clone(), taken.clone());
            grafted.types.insert(name.clone());
        }
    }
    for (name, taken) in donor.enums.iter().filter(|(name, _)| own(name)) {
        // Numbers by name are of one build, and no type.
        if !target.enums.contains_key(name) && !name.starts_with("<S_CONSTANT ") {
            target.enums.insert(name.clone(), taken.clone());
            grafted.types.insert(name.clone());
        }
    }
    for (name, base) in &donor.base_types {
        target.base_types.entry(name.clone()).or_insert_with(|| base.clone());
    }
    let names: Vec<&str> = grafted.types.iter().map(String::as_str).collect();
    target.metadata.set("Grafted", names);
    target.metadata.set("GraftedFrom", build_text(&donor.metadata));
    Ok(grafted)
}

/// The profile in `source` of the nearest build, by version, of the module and architecture of `target` that has all the
/// types that its module needs.
///
/// # Errors
/// [`GraftError::NoVersion`], [`GraftError::NoDonor`], or the place cannot be read.
pub fn nearest(source: Box<dyn ProfileSource>, target: &Metadata) -> Result<Profile, GraftError> {
    let version = version_of(target).ok_or(GraftError::NoVersion)?;
    let (module, arch) = kind_of(target);
    let arch = arch.unwrap_or_default();
    let mut builds: Vec<(Version, String)> = Vec::new();
    // Names tell the versions of kernels.
    let folder = format!("ntoskrnl.exe/{arch}");
    let versions = if module.as_deref() == Some("nt") { source.list(&folder)? } else { vec![] };
    for name in versions {
        let Some(version) = parse_version(&name) else { continue };
        let names = source.list(&format!("{folder}/{name}"))?;
        builds.extend(names.iter().map(|guid| (version, format!("{folder}/{name}/{guid}"))));
    }
    let place = source.place();
    let guids = match &module {
        Some(module) if builds.is_empty() => source.list(&format!("{module}/GUID"))?,
        _ => vec![],
    };
    let path = ProfilePath::new(vec![source]);
    let mut opened = 0;
    for guid in guids.iter().take(MAX_OPENED) {
        let name = format!("{}/GUID/{guid}", module.as_deref().unwrap_or_default());
        opened += 1;
        let found = open(&path, &name)?;
        builds.extend(found.and_then(|found| version_of(&found.metadata)).map(|version| (version, name)));
    }
    // Of two as far away the older one: members are added more often than removed.
    builds.sort_by_key(|(other, _)| (distance(*other, version), *other));
    for (_, name) in builds.iter().take(MAX_OPENED) {
        opened += 1;
        let Some(found) = open(&path, name)? else { continue };
        let completeness = Completeness::of(&found);
        let same_build = found.metadata.guid_age() == target.guid_age();
        if !same_build
            && kind_of(&found.metadata) == kind_of(target)
            && completeness.has_types
            && completeness.is_enough()
        {
            return Ok(found);
        }
    }
    Err(GraftError::NoDonor { place, wanted: kind_text(target), opened })
}

/// A stored profile; `None` for one that is lost or cannot be read, which keeps no other from being found.
fn open(path: &ProfilePath, name: &str) -> Result<Option<Profile>, GraftError> {
    match path.load_stored(name, &mut |_| ()) {
        Ok(found) => Ok(found.profile.decode().ok()),
        Err(NotFound::Unreadable(error)) if matches!(error.kind, quaid_profile::ErrorKind::Io(_)) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// `1.2.3.4`
type Version = [u32; 4];

fn parse_version(text: &str) -> Option<Version> {
    let mut version = [0; 4];
    let mut parts = text.split('.');
    for number in &mut version {
        *number = parts.next().map_or(Some(0), |part| part.parse().ok())?;
    }
    (parts.next().is_none() && text.contains('.')).then_some(version)
}

fn version_of(metadata: &Metadata) -> Option<Version> {
    let parts: Vec<&str> = ["major", "minor", "rev"].into_iter().map_while(|key| metadata.text(key)).collect();
    parse_version(&parts.join("."))
}

/// How far a build is from another: the number that differs first counts most.
fn distance(a: Version, b: Version) -> [u32; 4] {
    std::array::from_fn(|at| a.get(at).zip(b.get(at)).map_or(0, |(a, b)| a.abs_diff(*b)))
}

/// Module and architecture.
fn kind_of(metadata: &Metadata) -> (Option<String>, Option<&'static str>) {
    (module_name(metadata), metadata.arch().map(quaid_profile::Arch::name))
}

fn kind_text(metadata: &Metadata) -> String {
    let (module, arch) = kind_of(metadata);
    format!("{} {}", module.as_deref().unwrap_or("unknown module"), arch.unwrap_or("of unknown architecture"))
}

/// The build that a profile is of, for people and as a name.
fn build_text(metadata: &Metadata) -> String {
    let guid = metadata.guid_age().map(|guid| guid.to_string());
    let version: Vec<&str> = ["major", "minor", "rev"].into_iter().filter_map(|key| metadata.text(key)).collect();
    let version = (!version.is_empty()).then(|| version.join("."));
    [module_name(metadata), guid, version].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// Texts of a list in `$METADATA`.
fn names_in<'m>(metadata: &'m Metadata, key: &str) -> impl Iterator<Item = &'m str> {
    metadata.0.get(key).and_then(|value| value.as_array()).into_iter().flatten().filter_map(|name| name.as_str())
}

/// The struct that a member of this type holds, if it holds one.
fn held(ty: &Type) -> Option<&str> {
    let mut ty = ty;
    while let Type::Array { target, .. } = ty {
        ty = target;
    }
    match ty {
        Type::Named(name) => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quaid_profile::{Arch, Member, Struct};
    use std::collections::BTreeMap;

    fn profile(structs: &[(&str, u64, &[&str])]) -> Profile {
        let mut profile = Profile::default();
        profile.metadata.set("PDBFile", "ntkrnlmp.pdb");
        profile.metadata.set("arch", Arch::Amd64.name());
        for (name, size, holds) in structs {
            let member = |held: &&str| {
                let ty = Type::array_of(Type::named(*held), 2);
                ((*held).to_owned(), Member { offset: 0, ty, anonymous: false })
            };
            let members: BTreeMap<_, _> = holds.iter().map(member).collect();
            profile.structs.insert((*name).to_owned(), Struct { size: *size, members, ..Struct::default() });
        }
        profile
    }

    #[test]
    fn what_is_there_stays_and_what_does_not_fit_is_refused() {
        let donor = profile(&[("_A", 8, &[]), ("_B", 16, &["_A"]), ("_C", 32, &["_B"]), ("_D", 4, &[])]);
        let mut target = profile(&[("_A", 12, &[])]);
        let grafted = graft(&mut target, &donor).expect("grafted");
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(grafted, Grafted { types: set(&["_D"]), refused: set(&["_B", "_C"]) });
        assert_eq!(target.structs["_A"].size, 12);
        assert_eq!(names_in(&target.metadata, "Grafted").collect::<Vec<_>>(), ["_D"]);
        // What was grafted is not handed on.
        let mut third = profile(&[]);
        let grafted = graft(&mut third, &target).expect("grafted");
        assert_eq!(grafted.types, set(&["_A"]));
    }

    #[test]
    fn other_machines_and_modules_are_refused() {
        let donor = profile(&[("_A", 8, &[])]);
        let mut target = profile(&[]);
        target.metadata.set("arch", Arch::I386.name());
        assert!(matches!(graft(&mut target, &donor), Err(GraftError::OtherModule { .. })));
        let mut target = profile(&[]);
        target.metadata.set("PDBFile", "win32k.pdb");
        assert!(matches!(graft(&mut target, &donor), Err(GraftError::OtherModule { .. })));
        assert!(matches!(graft(&mut profile(&[]), &profile(&[])), Err(GraftError::NoTypes)));
    }

    #[test]
    fn nearness_goes_by_the_first_number_that_differs() {
        let version = |text| parse_version(text).expect("a version");
        assert_eq!(version("6.1"), [6, 1, 0, 0]);
        assert_eq!(parse_version("6.x"), None);
        assert_eq!(parse_version("6"), None);
        let here = version("10.0.19041.804");
        let mut others = ["10.0.19041.1", "10.0.18362.804", "6.3.19041.804", "10.0.19041.900"].map(version);
        others.sort_by_key(|other| (distance(*other, here), *other));
        assert_eq!(others, ["10.0.19041.900", "10.0.19041.1", "10.0.18362.804", "6.3.19041.804"].map(version));
    }
}
