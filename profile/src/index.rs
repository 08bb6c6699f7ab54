//! The index of Linux kernels: which profile has which banner or release.
//!
//! A memory image tells a Linux kernel by its banner, a text, and not by an identity that could be a name. So a
//! repository keeps one small file, [`LinuxIndex::NAME`], that leads from banners and releases to names:
//!
//! ```json
//! {"$METADATA": {"ProfileClass": "LinuxBanners", "Type": "Index"},
//!  "$BANNERS": {"Linux version 6.1.0-56-cloud-amd64 (...) ...": ["Linux/Debian/..."]},
//!  "$RELEASES": {"6.1.0-56-cloud-amd64": ["Linux/Debian/..."]}}
//! ```
//!
//! A profile that was made of a kernel module knows its release only. Several profiles may share a banner.

use crate::compress::text_of;
use crate::error::Error;
use crate::json::{Node, Style, print};
use crate::model::Metadata;
use crate::source::ProfileSource;
use crate::span::Spans;
use std::collections::{BTreeMap, BTreeSet};

type Names = BTreeMap<String, BTreeSet<String>>;

/// How deep the profiles of a repository without an index lie: `Linux/<distro>/<release>/<arch>/<kernel>`.
const MAX_DEPTH: usize = 4;

/// How many folders of a repository without an index are listed at most.
const MAX_FOLDERS: usize = 4096;

/// Names of Linux profiles by banner and by release.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinuxIndex {
    banners: Names,
    releases: Names,
}

impl LinuxIndex {
    /// The name under which a repository keeps it.
    pub const NAME: &'static str = "Linux/banners";

    /// Reads the index's text. `place` names it in errors.
    pub fn parse(place: &str, bytes: &[u8]) -> Result<Self, Error> {
        let read = || {
            let root = Node::of_file(bytes)?;
            root.as_dict().ok_or_else(|| Error::corrupt("", "not an index: not a JSON object"))?;
            Ok(Self { banners: section(&root, "$BANNERS")?, releases: section(&root, "$RELEASES")? })
        };
        read().map_err(|e: Error| e.within(place))
    }

    /// What the index of a source has for a banner and for its release; `None` when it keeps none. Of an index of thousands
    /// of kernels no more than these two lines are made out.
    pub(crate) fn look_up(source: &dyn ProfileSource, banner: &str) -> Result<Option<Candidates>, Error> {
        let Some(bytes) = source.read(Self::NAME)? else { return Ok(None) };
        Candidates::of(&bytes, banner)
            .map(Some)
            .map_err(|error| error.within(&format!("{}/{}", source.place(), Self::NAME)))
    }

    /// The text as it is kept: the same entries give the same bytes.
    pub fn to_json(&self) -> String {
        let mut metadata = Metadata::default();
        metadata.set("ProfileClass", "LinuxBanners");
        metadata.set("Type", "Index");
        let metadata = metadata.0.iter().map(|(key, value)| (key.clone(), value.into())).collect();
        let names = |table: &Names| {
            let items =
                table.iter().map(|(key, names)| (key.clone(), Node::List(names.iter().map(Node::text).collect())));
            Node::Dict(items.collect())
        };
        let sections = [
            ("$METADATA", Node::Dict(metadata)),
            ("$BANNERS", names(&self.banners)),
            ("$RELEASES", names(&self.releases)),
        ];
        print(&Node::Dict(sections.map(|(key, node)| (key.to_owned(), node)).into()), Style::NEW)
    }

    /// Takes up the profile of this name by what its metadata tells. What was known of the name is forgotten.
    pub fn insert(&mut self, name: &str, metadata: &Metadata) {
        self.remove(name);
        if let Some(banner) = metadata.banner() {
            self.banners.entry(trimmed_banner(banner).to_owned()).or_default().insert(name.to_owned());
        }
        if let Some(release) = metadata.release().or_else(|| release_of(metadata.banner()?)) {
            self.releases.entry(release.to_owned()).or_default().insert(name.to_owned());
        }
    }

    /// Forgets the profile of this name.
    pub fn remove(&mut self, name: &str) {
        for table in [&mut self.banners, &mut self.releases] {
            for names in table.values_mut() {
                names.remove(name);
            }
            table.retain(|_, names| !names.is_empty());
        }
    }

    /// Every name in it, with the banner or release that leads there.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        let tables = self.banners.iter().chain(&self.releases);
        tables.flat_map(|(key, names)| names.iter().map(move |name| (key.as_str(), name.as_str())))
    }
}

/// Names of profiles that may fit a kernel.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Candidates {
    /// Recorded with its very banner.
    pub(crate) by_banner: Vec<String>,
    /// Of its release.
    pub(crate) by_release: Vec<String>,
}

impl Candidates {
    fn of(bytes: &[u8], banner: &str) -> Result<Self, Error> {
        let text = &text_of(bytes)?;
        let sections = Spans::of(text, 0..text.len())?;
        let named = |section: &str, key: &str| {
            let Some(items) = sections.get(text, section) else { return Ok(Vec::new()) };
            let items = Spans::of(text, items).map_err(|error| error.within(section))?;
            let names = items.get(text, key).and_then(|span| text.get(span));
            let names = names.map(Node::parse).transpose()?;
            names.map_or(Ok(Vec::new()), |names| names_of(&names, key).map_err(|error| error.within(section)))
        };
        Ok(Self {
            by_banner: named("$BANNERS", trimmed_banner(banner))?,
            by_release: release_of(banner).map_or(Ok(Vec::new()), |release| named("$RELEASES", release))?,
        })
    }
}

fn names_of(list: &Node, key: &str) -> Result<Vec<String>, Error> {
    let bad = || Error::corrupt(key, "not a list of profile names");
    list.as_list().ok_or_else(bad)?.iter().map(|name| name.as_text().map(str::to_owned).ok_or_else(bad)).collect()
}

fn section(root: &Node, key: &str) -> Result<Names, Error> {
    let Some(node) = root.get(key) else { return Ok(Names::default()) };
    let items = node.as_dict().ok_or_else(|| Error::corrupt(key, "not an object"))?;
    let names = |(name, names): &(String, Node)| {
        let names = names_of(names, name).map_err(|error| error.within(key))?;
        Ok((name.clone(), names.into_iter().collect()))
    };
    items.iter().map(names).collect()
}

/// A banner as profiles and the index have it: the kernel's own ends in a newline, and in memory a NUL follows.
pub fn trimmed_banner(banner: &str) -> &str {
    banner.trim_end_matches(['\n', '\0'])
}

/// The release that a Linux banner tells: "Linux version RELEASE (...) ...".
pub fn release_of(banner: &str) -> Option<&str> {
    banner.strip_prefix("Linux version ")?.split_whitespace().next()
}

/// The profiles that one source may have for `release`, told by their names alone. For sources that keep no index: an
/// unmodified clone of the public repository (`Linux/<distro>/<release>/<arch>/<kernel>`), or a folder of files.
pub(crate) fn by_file_name(source: &dyn ProfileSource, release: &str) -> Result<Vec<String>, Error> {
    let direct = source.list("")?;
    let mut found: Vec<String> =
        direct.into_iter().filter(|leaf| leaf != "Linux" && names_release(leaf, release)).collect();
    let mut level = vec!["Linux".to_owned()];
    let mut listed = 0;
    for depth in 1..=MAX_DEPTH {
        let mut next = Vec::new();
        for folder in level {
            listed += 1;
            if listed > MAX_FOLDERS {
                return Err(Error::unsupported(
                    format!("{}/Linux", source.place()),
                    format!("more than {MAX_FOLDERS} folders and no index {}", LinuxIndex::NAME),
                ));
            }
            for leaf in source.list(&folder)? {
                let name = format!("{folder}/{leaf}");
                // A file has nothing below it, and a folder that is named like the kernel's release is no profile.
                if depth == MAX_DEPTH || source.list(&name)?.is_empty() {
                    if names_release(&leaf, release) {
                        found.push(name);
                    }
                } else {
                    next.push(name);
                }
            }
        }
        level = next;
    }
    Ok(found)
}

/// Whether a file's name says that it is about this release: it is the release, or has it as a whole word, with an
/// underscore or a distribution's name before it: `debian-6.1.0-56-cloud-amd64.isf`.
fn names_release(leaf: &str, release: &str) -> bool {
    if release.is_empty() {
        return false;
    }
    leaf.match_indices(release).any(|(at, _)| {
        let before = leaf.get(..at).and_then(|text| text.chars().next_back());
        let after = leaf.get(at + release.len()..).unwrap_or_default();
        let starts = before.is_none_or(|c| matches!(c, '-' | '_'));
        starts
            && (after.is_empty() || after.starts_with('_') || after.starts_with(".isf") || after.starts_with(".json"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BANNER: &str = "Linux version 6.1.0-56-cloud-amd64 (debian-kernel@lists.debian.org) #1 SMP";

    fn metadata(banner: Option<&str>, release: Option<&str>) -> Metadata {
        let mut metadata = Metadata::default();
        for (key, value) in [("Banner", banner), ("Release", release)] {
            if let Some(value) = value {
                metadata.set(key, value);
            }
        }
        metadata
    }

    #[test]
    fn a_banner_is_found_as_memory_has_it() {
        let mut index = LinuxIndex::default();
        index.insert("Linux/a", &metadata(Some(BANNER), None));
        index.insert("Linux/b", &metadata(None, Some("6.1.0-56-cloud-amd64")));
        let text = index.to_json();
        let found = |banner: &str| Candidates::of(text.as_bytes(), banner).expect("an index");
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let expected = Candidates { by_banner: names(&["Linux/a"]), by_release: names(&["Linux/a", "Linux/b"]) };
        assert_eq!(found(&format!("{BANNER}\n\0")), expected);
        let other = found("Linux version 6.1.0-56-cloud-amd64");
        assert_eq!((other.by_banner, other.by_release), (vec![], expected.by_release));
        assert_eq!(found("Linux version 6.1"), Candidates::default());
        assert_eq!(found("Darwin"), Candidates::default());
    }

    #[test]
    fn a_profile_that_is_taken_up_again_is_known_once() {
        let mut index = LinuxIndex::default();
        index.insert("Linux/a", &metadata(Some(BANNER), None));
        index.insert("Linux/a", &metadata(None, Some("5.10.0")));
        assert_eq!(index.entries().collect::<Vec<_>>(), [("5.10.0", "Linux/a")]);
    }

    #[test]
    fn the_text_is_json_and_comes_back() {
        let mut index = LinuxIndex::default();
        index.insert("Linux/b", &metadata(Some(BANNER), None));
        index.insert("Linux/a", &metadata(None, Some("6.1.0-56-cloud-amd64")));
        let text = index.to_json();
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(json["$METADATA"]["Type"], "Index");
        assert_eq!(json["$BANNERS"][BANNER], serde_json::json!(["Linux/b"]));
        assert_eq!(json["$RELEASES"]["6.1.0-56-cloud-amd64"], serde_json::json!(["Linux/a", "Linux/b"]));
        assert_eq!(LinuxIndex::parse("index", text.as_bytes()), Ok(index));
        assert_eq!(LinuxIndex::parse("index", LinuxIndex::default().to_json().as_bytes()), Ok(LinuxIndex::default()));
    }

    #[test]
    fn what_is_no_index_is_refused_with_its_place() {
        for bad in ["", "[]", "{\"$BANNERS\": []}", "{\"$BANNERS\": {\"x\": \"y\"}}", "{\"$RELEASES\": {\"x\": [1]}}"] {
            let error = LinuxIndex::parse("some/index", bad.as_bytes()).expect_err(bad);
            assert!(error.to_string().starts_with("some/index"), "{error}");
        }
        for bad in ["", "[]", "{\"$BANNERS\": []}", "{\"$BANNERS\": {\"Linux version 1 x\": \"y\"}}"] {
            assert!(Candidates::of(bad.as_bytes(), "Linux version 1 x").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_release_is_a_whole_word_of_a_file_name() {
        let release = "6.1.0-56-cloud-amd64";
        for good in [
            release,
            "debian-6.1.0-56-cloud-amd64",
            "Debian_6.1.0-56-cloud-amd64_6.1.176-1_amd64",
            "d-6.1.0-56-cloud-amd64.isf",
        ] {
            assert!(names_release(good, release), "{good}");
        }
        for bad in ["6.1.0-56-cloud-amd64-dbg", "16.1.0-56-cloud-amd64", "6.1.0-56", ""] {
            assert!(!names_release(bad, release), "{bad}");
        }
        assert!(!names_release("6.1.0-56-cloud-amd64", "6.1.0"));
        assert!(!names_release("anything", ""));
    }
}
