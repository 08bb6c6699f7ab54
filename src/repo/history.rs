//! How a struct changed from build to build.

use super::catalog::Build;
use super::error::Error;
use super::git_source::GitSource;
use super::verify::Problem;
use quaid_profile::{Change, Member, ProfileFile, ProfileSource, Struct, StructChange, compare_struct};

/// Builds in a row that have a struct alike.
#[derive(Debug, Clone)]
pub struct Period {
    /// Places of the first and the last in [`History::builds`].
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

/// How a struct changed over builds.
#[derive(Debug, Clone, Default)]
pub struct History<'b> {
    /// The builds that could be read.
    pub builds: Vec<&'b Build>,
    /// Their periods.
    pub periods: Vec<Period>,
    /// Builds that could not be read, by name, and why.
    pub problems: Vec<Problem>,
}

/// The history of a struct over `builds`, which are of one module in order of version; of a `member`, periods in which it
/// alone is the same. Builds that share their types are not read again. One that cannot be read is left out, and told.
pub fn history<'b>(source: &GitSource, builds: &'b [Build], name: &str, member: Option<&str>) -> History<'b> {
    let mut history = History::default();
    let mut before: Option<(&Build, ProfileFile)> = None;
    for build in builds {
        if let Err(why) = history.take(source, build, &mut before, name, member) {
            history.problems.push(Problem { path: build.name.clone(), why: why.to_string() });
        }
    }
    history
}

impl<'b> History<'b> {
    /// The next build; what cannot be read changes nothing.
    fn take(
        &mut self,
        source: &GitSource,
        build: &'b Build,
        before: &mut Option<(&'b Build, ProfileFile)>,
        name: &str,
        member: Option<&str>,
    ) -> Result<(), Error> {
        let at = self.builds.len();
        let shared = |(other, _): &(&Build, ProfileFile)| build.types.is_some() && build.types == other.types;
        if let (Some(period), true) = (self.periods.last_mut(), before.as_ref().is_some_and(shared)) {
            period.builds.1 = at;
            self.builds.push(build);
            return Ok(());
        }
        let file = types(source, build)?;
        let layout = file.structure(name)?;
        let change = match before {
            Some((_, old)) => compare_struct(old, &file, name)?,
            None => None,
        };
        let same = before.is_some()
            && change.as_ref().is_none_or(|change| {
                // With a struct that is new or gone its members are.
                let both = matches!(change.size, Change::Changed { .. });
                both && member.is_some_and(|member| !change.members.contains_key(member))
            });
        match self.periods.last_mut() {
            Some(period) if same => period.builds.1 = at,
            _ => self.periods.push(Period { builds: (at, at), layout, change }),
        }
        self.builds.push(build);
        *before = Some((build, file));
        Ok(())
    }
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
