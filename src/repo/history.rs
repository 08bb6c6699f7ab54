//! How a struct changed from build to build.

use super::catalog::Build;
use super::error::Error;
use super::git_source::GitSource;
use quaid_profile::{Change, Member, ProfileFile, ProfileSource, Struct, StructChange, compare_struct};

/// Builds in a row that have a struct alike.
#[derive(Debug, Clone)]
pub struct Period {
    /// Places of the first and the last in the list of builds.
    pub builds: (usize, usize),
    /// The struct; `None` where the builds have none of this name.
    pub layout: Option<Struct>,
    /// What differs from the builds before.
    pub change: Option<StructChange>,
}

impl Period {
    /// How many builds.
    pub fn count(&self) -> usize {
        self.builds.1 - self.builds.0 + 1
    }

    /// A member of the struct.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.layout.as_ref()?.members.get(name)
    }
}

/// The history of a struct over `builds`, which are of one module in order of version; of a `member`, periods in which it
/// alone is the same. Builds that share their types are not read again.
///
/// # Errors
/// A profile cannot be read.
pub fn history(source: &GitSource, builds: &[Build], name: &str, member: Option<&str>) -> Result<Vec<Period>, Error> {
    let mut periods: Vec<Period> = Vec::new();
    let mut before: Option<(&Build, ProfileFile)> = None;
    for (at, build) in builds.iter().enumerate() {
        let shared = |(other, _): &(&Build, ProfileFile)| build.types.is_some() && build.types == other.types;
        if let (Some(period), true) = (periods.last_mut(), before.as_ref().is_some_and(shared)) {
            period.builds.1 = at;
            continue;
        }
        let file = types(source, build)?;
        let change = match &before {
            Some((_, old)) => compare_struct(old, &file, name)?,
            None => None,
        };
        let same = before.is_some()
            && change.as_ref().is_none_or(|change| {
                // With a struct that is new or gone its members are.
                let both = matches!(change.size, Change::Changed { .. });
                both && member.is_some_and(|member| !change.members.contains_key(member))
            });
        match periods.last_mut() {
            Some(period) if same => period.builds.1 = at,
            _ => periods.push(Period { builds: (at, at), layout: file.structure(name)?, change }),
        }
        before = Some((build, file));
    }
    Ok(periods)
}

/// A file that has the types of a build: the one that shares them, or the whole profile.
///
/// # Errors
/// It cannot be read.
pub fn types(source: &GitSource, build: &Build) -> Result<ProfileFile, Error> {
    let name = build.types.as_ref().unwrap_or(&build.name);
    let place = format!("{}/{name}", source.place());
    let missing = || Error::BadTree { place: place.clone(), why: format!("is missing, and {} needs it", build.name) };
    let bytes = source.read(name)?.ok_or_else(missing)?;
    Ok(ProfileFile::parse(&place, &bytes)?)
}
