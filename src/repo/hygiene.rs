//! Names and files in a tree that came from elsewhere which must not reach a disk, or which readers refuse.

use super::error::Error;
use super::git_store::{EntryKind, Snapshot};
use quaid_profile::MAX_PROFILE_BYTES;
use std::collections::BTreeMap;

/// Problems that are kept; the rest are counted.
const MAX_KEPT: usize = 100;

/// What a foreign tree has that is kept away from the work tree and from readers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hygiene {
    /// Path and what is wrong with it, at most a hundred of them.
    pub problems: Vec<(String, String)>,
    /// How many there are.
    pub count: usize,
}

impl Hygiene {
    fn problem(&mut self, path: &str, why: impl Into<String>) {
        self.count += 1;
        if self.problems.len() < MAX_KEPT {
            self.problems.push((path.escape_debug().to_string(), why.into()));
        }
    }
}

/// Why a path of a tree must not become a file of the work tree: it means something else on some system.
pub(super) fn unsafe_name(path: &str) -> Option<&'static str> {
    for part in path.split('/') {
        if matches!(part, "" | "." | "..") {
            return Some("leads out of its folder");
        }
        // Blanks, dots and short names are what disks of other systems take for `.git`.
        let plain = part.trim_end_matches(['.', ' ']).to_lowercase();
        if plain == ".git" || plain.starts_with("git~") {
            return Some("is git's own folder on some disk");
        }
        if part.chars().any(char::is_control) {
            return Some("has a control character");
        }
        if part.contains(['\\', ':']) {
            return Some("is a drive, a stream or a folder on Windows");
        }
    }
    None
}

/// Looks at every name of a tree. Contents are not read.
///
/// # Errors
/// The tree is too deep, has too many names, or cannot be read.
pub(super) fn check(head: &Snapshot<'_>) -> Result<Hygiene, Error> {
    let mut found = Hygiene::default();
    // By path in lower case, folders too: the first that has it.
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let mut folder = String::new();
    head.walk("", &mut |path, entry| {
        if let Some(why) = unsafe_name(path) {
            found.problem(path, why);
            return Ok(());
        }
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        let mut clash = |path: &str| {
            let first = names.entry(path.to_lowercase()).or_insert_with(|| path.to_owned());
            if first != path {
                let first = first.escape_debug().to_string();
                found.problem(path, format!("is the same name as {first} on a disk that ignores case"));
            }
        };
        if above != folder {
            above
                .match_indices('/')
                .map(|(at, _)| at)
                .chain([above.len()])
                .filter_map(|at| above.get(..at))
                .for_each(&mut clash);
            above.clone_into(&mut folder);
        }
        clash(path);
        match entry.kind {
            EntryKind::Submodule => found.problem(path, "is a submodule, whose files are not here"),
            EntryKind::Link => match head.entry(path) {
                Ok(Some(_)) => {}
                Ok(None) => found.problem(path, "is a git link that leads nowhere"),
                Err(error) => found.problem(path, error.to_string()),
            },
            EntryKind::File => match head.bytes_here(entry.id) {
                Some(bytes) if bytes > MAX_PROFILE_BYTES => {
                    found.problem(path, format!("has {bytes} bytes, which is more than a profile may have"));
                }
                _ => {}
            },
            EntryKind::Folder => {}
        }
        Ok(())
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_something_else_somewhere() {
        for bad in ["a/../b", "..", "a//b", ".git/config", "a/.GIT ", "GIT~1", "C:x", "a\\b", "a\u{1b}[2J", "x\ny"] {
            assert!(unsafe_name(bad).is_some(), "{bad}");
        }
        for good in ["v1.0/nt/GUID/38/3844DBB9", "a/..b", ".gitignore", "README.md", "Linux/banners", "é"] {
            assert_eq!(unsafe_name(good), None, "{good}");
        }
    }
}
