//! The builds that a repository has profiles of, by what their metadata and links tell.

use super::error::Error;
use super::git_store::GitStore;
use super::inventory::{Inventory, Item};
use super::layout::{module_of, name_of, tells_build, version_of};
use super::verify::Problem;
use git2::Oid;
use quaid_profile::{
    Arch, LAYOUT, Metadata, ProfileFile,
    stored::{self, STORED},
};

/// A build that has a profile.
#[derive(Debug, Clone)]
pub struct Build {
    /// The profile's name.
    pub name: String,
    /// The builds that are compared with this one: a Windows module ("nt"), a Linux distribution ("Linux/Debian"), "OSX".
    pub module: String,
    /// The architecture, where the profile tells it.
    pub arch: Option<&'static str>,
    /// The version: of a Windows file, or a Linux kernel's release.
    pub version: Option<String>,
    /// What `$METADATA` says.
    pub metadata: Metadata,
    /// Its other names.
    pub links: Vec<String>,
    /// The name of the file that has its types, where a repository keeps them in one: builds that have the same types name
    /// the same file.
    pub types: Option<String>,
    /// The object that is the profile, or its small file.
    pub id: Oid,
}

impl Build {
    /// The version for people, or where none is known the last part of the name.
    pub fn label(&self) -> &str {
        self.version.as_deref().or(self.name.rsplit('/').next()).unwrap_or(&self.name)
    }
}

/// The builds of one commit, by module, architecture and version.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// The commit.
    pub commit: Oid,
    /// The builds in order.
    pub builds: Vec<Build>,
    /// What is left out because it cannot be read or used, by name, and why.
    pub problems: Vec<Problem>,
}

impl Catalog {
    /// The builds of HEAD. What cannot be read is left out, and is among the problems.
    pub fn of(store: &GitStore) -> Result<Self, Error> {
        let inventory = Inventory::of(store, "")?;
        let links = inventory.links();
        let mut builds = Vec::new();
        let named = |problem: &Problem| {
            let name = problem.path.strip_prefix(LAYOUT).and_then(|path| name_of(path.trim_start_matches('/')));
            Problem { path: name.unwrap_or_else(|| problem.path.clone()), why: problem.why.clone() }
        };
        let mut problems: Vec<Problem> = inventory.problems().iter().map(named).collect();
        for (name, item) in inventory.profiles() {
            let file = match inventory.open(item) {
                Ok(file) => file,
                Err(why) => {
                    problems.push(Problem { path: name.to_owned(), why: why.to_string() });
                    continue;
                }
            };
            if !is_build(&inventory, item, &file) {
                continue;
            }
            let links = links.get(name).map_or(&[] as &[&str], Vec::as_slice);
            builds.push(build(name, &file, links, item.id));
        }
        builds.sort_by_cached_key(|build| {
            let version = build.version.as_deref().map(version_key);
            (build.module.clone(), build.arch, version, build.name.clone())
        });
        Ok(Self { commit: inventory.commit(), builds, problems })
    }

    /// Builds of one module and architecture each, whose module begins with `prefix`.
    pub fn families(&self, prefix: &str) -> impl Iterator<Item = &[Build]> {
        let same = |a: &Build, b: &Build| a.module == b.module && a.arch == b.arch;
        self.builds
            .chunk_by(same)
            .filter(move |family| family.first().is_some_and(|build| is_below(&build.module, prefix)))
    }

    /// The problems of profiles whose module is this one, or of its folder.
    pub fn problems_of(&self, module: &str) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(move |problem| is_below(module_of(&problem.path), module))
    }

    /// The build of this name.
    pub fn get(&self, name: &str) -> Option<&Build> {
        self.builds.iter().find(|build| build.name == name)
    }
}

/// Whether a module is this one or in its folder; the empty one has all.
pub fn is_below(module: &str, prefix: &str) -> bool {
    let rest = module.strip_prefix(prefix);
    rest.is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
}

/// Whether the profile is of a build: it says so, or has types or symbols. Others are there to be merged into profiles
/// (`nt/undocumented`), or are data (`artifacts`). What cannot be read is told by who reads it.
fn is_build(inventory: &Inventory<'_>, item: &Item, file: &ProfileFile) -> bool {
    let has_content = || -> Result<bool, Error> {
        let whole = inventory.whole(inventory.open(item)?)?;
        Ok(!whole.struct_names()?.is_empty() || !whole.symbol_names()?.is_empty())
    };
    tells_build(file.metadata()) || has_content().unwrap_or(true)
}

fn build(name: &str, file: &ProfileFile, links: &[&str], id: Oid) -> Build {
    let metadata = file.metadata().clone();
    let types = if metadata.kind() == STORED { stored::parts(file).ok().map(|[types, _]| types) } else { None };
    Build {
        name: name.to_owned(),
        module: module_of(name).to_owned(),
        arch: metadata.arch().map(Arch::name),
        version: version_of(&metadata, links),
        links: links.iter().map(|&link| link.to_owned()).collect(),
        types,
        id,
        metadata,
    }
}

/// A run of digits, or of other characters.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Text(String),
    Number(u64),
}

/// By which versions are ordered: numbers by value, so that 6.9 comes before 6.10.
fn version_key(version: &str) -> Vec<Part> {
    let is_digit = |c: char| c.is_ascii_digit();
    let mut parts = Vec::new();
    let mut rest = version;
    while let Some(first) = rest.chars().next() {
        let digits = is_digit(first);
        let end = rest.find(|c| is_digit(c) != digits).unwrap_or(rest.len());
        let (part, left) = rest.split_at(end);
        let number = if digits { part.parse().ok() } else { None };
        parts.push(number.map_or_else(|| Part::Text(part.to_owned()), Part::Number));
        rest = left;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        let mut versions = ["6.10.0-1-amd64", "6.9.1-12-amd64", "6.9.1-2-amd64", "10.0.1", "6.9"];
        versions.sort_by_key(|version| version_key(version));
        assert_eq!(versions, ["6.9", "6.9.1-2-amd64", "6.9.1-12-amd64", "6.10.0-1-amd64", "10.0.1"]);
    }
}
