//! What images need and a repository lacks: a small list, to be carried to a machine with a network.
//!
//! A line each, for people to read and to type; the same as JSON rows:
//!
//! ```text
//! windows 30B5FB31AE7E4ACAABA750AA241FF3311 ntkrnlpa.pdb
//! linux - Linux version 6.1.0-56-cloud-amd64 (debian-kernel@lists.debian.org) (gcc-12 ...) #1 SMP ...
//! ```
//!
//! The word after `linux` is the kernel's build-id where it is known. Lines that begin with `#` are remarks.

use quaid_profile::{BuildId, GuidAge, Metadata, release_of, trimmed_banner};
use serde_json::{Value, json};
use std::fmt;

/// How many items a list has at most: many times what images have.
pub const MAX_ITEMS: usize = 100_000;

/// The longest banner, in bytes: ten times the longest one that is known.
const MAX_BANNER_BYTES: usize = 4096;

/// A profile that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Item {
    /// A build of a Windows module.
    Windows {
        /// The build.
        id: GuidAge,
        /// The PDB's name, without the folders that linkers write before it.
        pdb: String,
    },
    /// A Linux kernel.
    Linux {
        /// Its banner.
        banner: String,
        /// Its build-id, where the image tells it.
        build_id: Option<BuildId>,
    },
}

impl Item {
    /// The row of a JSON list.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Windows { id, pdb } => json!({"os": "windows", "guid_age": id.to_string(), "pdb": pdb}),
            Self::Linux { banner, build_id } => {
                json!({"os": "linux", "banner": banner, "build_id": build_id.as_ref().map(ToString::to_string)})
            }
        }
    }

    /// Whether a profile with this metadata is the one that is wanted, as far as it tells: it knows no other banner or
    /// build-id, and no other release.
    pub fn fits(&self, metadata: &Metadata) -> bool {
        match self {
            Self::Windows { id, .. } => metadata.guid_age().is_none_or(|own| own.guid == id.guid),
            Self::Linux { banner, build_id } => {
                let same_id = metadata.build_id().zip(build_id.clone()).is_none_or(|(own, id)| own == id);
                let known = metadata.banner().or(metadata.release());
                same_id
                    && known.is_none_or(|known| trimmed_banner(known) == banner || Some(known) == release_of(banner))
            }
        }
    }

    fn of_json(row: &Value) -> Result<Self, String> {
        let text = |key: &str| row.get(key).and_then(Value::as_str);
        match text("os") {
            Some("windows") => Self::windows(text("guid_age").unwrap_or_default(), text("pdb").unwrap_or_default()),
            Some("linux") => Self::linux(text("build_id"), text("banner").unwrap_or_default()),
            _ => Err("its `os` is neither windows nor linux".to_owned()),
        }
    }

    fn of_line(line: &str) -> Result<Self, String> {
        let mut words = line.splitn(3, char::is_whitespace);
        let (os, id, rest) = (words.next(), words.next(), words.next());
        match (os, id, rest) {
            (Some("windows"), Some(id), Some(pdb)) => Self::windows(id, pdb.trim()),
            (Some("linux"), Some(id), Some(banner)) => Self::linux((id != "-").then_some(id), banner.trim()),
            _ => Err("it is neither `windows GUIDAGE PDB` nor `linux BUILDID BANNER`".to_owned()),
        }
    }

    fn windows(id: &str, pdb: &str) -> Result<Self, String> {
        let id = id.parse::<GuidAge>().map_err(|why| why.to_string())?;
        // As a name of a file is checked when it is used.
        if pdb.is_empty() {
            Err("it has no name of a PDB".to_owned())
        } else {
            Ok(Self::Windows { id, pdb: pdb.to_owned() })
        }
    }

    fn linux(build_id: Option<&str>, banner: &str) -> Result<Self, String> {
        if release_of(banner).is_none() || banner.len() > MAX_BANNER_BYTES {
            return Err("it has no banner of a Linux kernel (`Linux version RELEASE ...`)".to_owned());
        }
        let build_id = build_id.map(str::parse::<BuildId>).transpose().map_err(|why| why.to_string())?;
        Ok(Self::Linux { banner: banner.to_owned(), build_id })
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line, whatever an image has.
        let plain = |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
        match self {
            Self::Windows { id, pdb } => write!(f, "windows {id} {}", plain(pdb)),
            Self::Linux { banner, build_id: Some(id) } => write!(f, "linux {id} {}", plain(banner)),
            Self::Linux { banner, build_id: None } => write!(f, "linux - {}", plain(banner)),
        }
    }
}

/// Reads a list, lines or JSON, each item once, in its order.
///
/// # Errors
/// The line or row that is no item, and why.
pub fn parse(text: &str) -> Result<Vec<Item>, String> {
    let mut items: Vec<Item> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut take = |place: String, item: Result<Item, String>| {
        let item = item.map_err(|why| format!("{place}: {why}"))?;
        if seen.insert(item.clone()) {
            items.push(item);
        }
        if items.len() > MAX_ITEMS { Err(format!("it has more than {MAX_ITEMS} items")) } else { Ok(()) }
    };
    if text.trim_start().starts_with('[') {
        let rows: Vec<Value> = serde_json::from_str(text).map_err(|why| format!("not a JSON list: {why}"))?;
        for (number, row) in rows.iter().enumerate() {
            take(format!("row {}", number + 1), Item::of_json(row))?;
        }
    } else {
        let lines = text.lines().enumerate().map(|(number, line)| (number, line.trim()));
        for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            take(format!("line {}", number + 1), Item::of_line(line))?;
        }
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_back_as_lines_and_as_json() {
        let items = vec![
            Item::windows("30B5FB31AE7E4ACAABA750AA241FF3311", "ntkrnlpa.pdb").expect("an item"),
            Item::linux(Some("00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff"), "Linux version 6.1.0 (a@b) #1")
                .expect("an item"),
            Item::linux(None, "Linux version 6.2.0 (a@b) #1").expect("an item"),
        ];
        let lines: Vec<String> = items.iter().map(ToString::to_string).collect();
        let lines = lines.join("\n") + "\n";
        assert_eq!(parse(&format!("# of a.raw\n\n{lines}{lines}")), Ok(items.clone()));
        let rows: Vec<Value> = items.iter().map(Item::to_json).collect();
        assert_eq!(parse(&Value::from(rows).to_string()), Ok(items));
    }

    #[test]
    fn a_profile_of_another_build_of_the_release_does_not_fit() {
        let banner = "Linux version 6.1.0-9-amd64 (a@b) #1 SMP Debian 6.1.27-1";
        let (id, other) = ("00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff", "11ff00ff00ff00ff00ff00ff00ff00ff00ff00ff");
        let wanted = Item::linux(Some(id), banner).expect("an item");
        for (key, value, fits) in [
            ("Banner", banner, true),
            ("Banner", "Linux version 6.1.0-9-amd64 (a@b) #1 SMP Debian 6.1.27-2", false),
            ("Release", "6.1.0-9-amd64", true),
            ("Release", "6.1.0-10-amd64", false),
            ("BuildID", id, true),
            ("BuildID", other, false),
            ("ProfileClass", "Linux", true),
        ] {
            let mut metadata = Metadata::default();
            metadata.set(key, value);
            assert_eq!(wanted.fits(&metadata), fits, "{key} {value}");
        }
    }

    #[test]
    fn what_is_no_item_is_told_with_its_place() {
        for (text, place) in [
            ("windows X nt.pdb", "line 1"),
            ("\nmacos 1 2\n", "line 2"),
            ("linux - Windows NT", "line 1"),
            ("[{\"os\": \"windows\", \"guid_age\": \"30B5FB31AE7E4ACAABA750AA241FF3311\"}]", "row 1"),
            ("[1", "JSON"),
        ] {
            assert!(parse(text).is_err_and(|why| why.contains(place)), "{text}");
        }
    }
}
