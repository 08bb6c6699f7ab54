//! The files of a Windows recipe: `guids.yaml`, the builds of a module by the name of their PDB, and
//! `guids.yaml.rejects`, those that could not be made.

use super::super::error::Error;
use super::bad;
use quaid_analyzer::Time;
use quaid_profile::GuidAge;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// Builds by the name of the PDB, as `guids.yaml` has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuidList {
    text: String,
    builds: BTreeMap<String, BTreeSet<String>>,
}

impl GuidList {
    /// Reads the text of the file `name`.
    ///
    /// # Errors
    /// It is not a mapping of PDB names to lists of GUIDs.
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        let builds = parse_builds(text).map_err(|why| {
            bad(name, format!("is not a YAML mapping of PDB names to lists of GUIDs with their ages: {why}"))
        })?;
        Ok(Self { text: text.to_owned(), builds })
    }

    /// The builds, each with its PDB's name; `Err` with the text of what is no GUID with its age.
    pub fn builds(&self) -> impl Iterator<Item = (&str, Result<GuidAge, &str>)> {
        self.builds.iter().flat_map(|(pdb, guids)| {
            guids.iter().map(move |guid| (pdb.as_str(), guid.parse().map_err(|_| guid.as_str())))
        })
    }

    /// The PDBs that it has the build under, each once: a GUID may stand there in capitals and in small letters.
    pub fn pdbs(&self, id: GuidAge) -> Vec<String> {
        let mut pdbs: Vec<String> =
            self.builds().filter(|(_, known)| *known == Ok(id)).map(|(pdb, _)| pdb.to_owned()).collect();
        pdbs.dedup();
        pdbs
    }

    /// Adds a build; tells whether it is new.
    pub fn add(&mut self, pdb: &str, id: GuidAge) -> bool {
        if self.pdbs(id).iter().any(|known| known == pdb) {
            return false;
        }
        self.builds.entry(pdb.to_owned()).or_default().insert(id.to_string());
        // The file is a person's, with remarks and an order: it is edited. One that is written in another way is printed.
        let edited = with_line(&self.text, pdb, id);
        self.text = match parse_builds(&edited) {
            Ok(builds) if builds == self.builds => edited,
            _ => print(&self.builds),
        };
        true
    }

    /// The text of the file.
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn parse_builds(text: &str) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(BTreeMap::new());
    }
    let builds: BTreeMap<String, Option<Vec<String>>> =
        serde_saphyr::from_str(text).map_err(|why| why.to_string().lines().next().unwrap_or_default().to_owned())?;
    Ok(builds.into_iter().map(|(pdb, guids)| (pdb, guids.into_iter().flatten().collect())).collect())
}

/// The text with a line for the build at the end of its PDB's list, indented like the lines before it.
fn with_line(text: &str, pdb: &str, id: GuidAge) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let is_item = |line: &&&str| line.trim_start().starts_with("- ");
    let head = lines.iter().position(|line| line.trim_end().strip_suffix(':') == Some(pdb));
    let at = head.map_or(lines.len(), |head| {
        let below = lines.iter().skip(head + 1);
        head + 1
            + below.take_while(|line| is_item(line) || line.trim().is_empty() || line.starts_with([' ', '#'])).count()
    });
    // Blank lines and remarks before the next PDB stay with it.
    let last = lines.iter().take(at).rposition(|line| is_item(&line) || line.trim_end().ends_with(':'));
    let at = head.and(last).map_or(at, |last| last + 1);
    let indent = lines.iter().find(is_item).map_or("  ", |item| item.split('-').next().unwrap_or_default());
    let mut edited = String::new();
    for line in lines.iter().take(at) {
        let _ = writeln!(edited, "{line}");
    }
    if head.is_none() {
        let _ = writeln!(edited, "{pdb}:");
    }
    let _ = writeln!(edited, "{indent}- {id}");
    for line in lines.iter().skip(at) {
        let _ = writeln!(edited, "{line}");
    }
    edited
}

fn print(builds: &BTreeMap<String, BTreeSet<String>>) -> String {
    let mut text = String::new();
    for (pdb, guids) in builds {
        let _ = writeln!(text, "{pdb}:");
        for guid in guids {
            let _ = writeln!(text, "  - {guid}");
        }
    }
    text
}

/// Builds that could not be made, each with the day and the reason. The text is JSON, which is YAML as well: Rekall asks
/// only whether a GUID is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejects(BTreeMap<String, String>);

impl Rejects {
    /// Reads the text of the file `name`.
    ///
    /// # Errors
    /// It is not a mapping of texts.
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let rejects = serde_saphyr::from_str(text).map_err(|why| {
            let why = why.to_string();
            bad(name, format!("is not a mapping of GUIDs to reasons: {}", why.lines().next().unwrap_or_default()))
        })?;
        Ok(Self(rejects))
    }

    /// Day and reason of a build that was rejected.
    pub fn get(&self, id: GuidAge) -> Option<&str> {
        self.0.get(&id.to_string()).map(String::as_str)
    }

    /// The PDBs that were asked for when a build was rejected, as far as the reason tells them.
    pub fn pdbs(&self, id: GuidAge) -> Vec<String> {
        let why = self.get(id).and_then(|text| text.split_once(": ")).map_or("", |(_, why)| why);
        let missing = |part: &str| Some(part.strip_prefix("no ")?.split_once(" (")?.0.to_owned());
        let damaged = |why: &str| Some(why.split_once(" cannot be parsed: ")?.0.split_once(" of ")?.0.to_owned());
        let pdbs: Vec<String> = why.split("; ").map_while(missing).collect();
        if pdbs.is_empty() { damaged(why).into_iter().collect() } else { pdbs }
    }

    /// The builds.
    pub fn ids(&self) -> impl Iterator<Item = GuidAge> {
        self.0.keys().filter_map(|guid| guid.parse().ok())
    }

    /// Notes a build, with today's date.
    pub fn add(&mut self, id: GuidAge, why: &str) {
        self.0.insert(id.to_string(), format!("{}: {why}", today()));
    }

    /// Forgets a build; tells whether it was there.
    pub fn remove(&mut self, id: GuidAge) -> bool {
        self.0.remove(&id.to_string()).is_some()
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(&self.0).unwrap_or_default() + "\n"
    }
}

/// "2026-11-28", in UTC.
fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let time = Time { unix_seconds: i64::try_from(seconds).unwrap_or(0) }.to_string();
    time.chars().take(10).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "0C41FC65C66047F2B1A7AD001D9FCF322";
    const B: &str = "30B5FB31AE7E4ACAABA750AA241FF3311";
    // Digits and one E: a number to a reader that guesses types.
    const NUMBER: &str = "1234567890123456789012345678901E1";

    fn id(text: &str) -> GuidAge {
        text.parse().expect("a GUID and age")
    }

    #[test]
    fn lists_of_the_public_repository_are_read_and_edited_in_place() {
        let text = format!("\n# kernels\nntkrnlmp.pdb:\n  - {A}\n\n# without PAE\nntoskrnl.pdb:\n  - {NUMBER}\n");
        let mut list = GuidList::parse("src/nt/guids.yaml", &text).expect("a list");
        assert_eq!(list.builds().collect::<Vec<_>>(), [("ntkrnlmp.pdb", Ok(id(A))), ("ntoskrnl.pdb", Ok(id(NUMBER)))]);
        assert!(list.add("ntkrnlmp.pdb", id(B)) && !list.add("ntkrnlmp.pdb", id(B)));
        assert!(list.add("ntkrnlpa.pdb", id(B)));
        let edited = format!(
            "\n# kernels\nntkrnlmp.pdb:\n  - {A}\n  - {B}\n\n# without PAE\nntoskrnl.pdb:\n  - {NUMBER}\nntkrnlpa.pdb:\n  - {B}\n"
        );
        assert_eq!(list.text(), edited);
    }

    #[test]
    fn a_build_in_capitals_and_in_small_letters_is_one() {
        let small = A.to_lowercase();
        let text = format!("ntkrnlmp.pdb:\n  - {A}\n  - {small}\nntoskrnl.pdb:\n  - {small}\n");
        let mut list = GuidList::parse("x", &text).expect("a list");
        assert_eq!(list.pdbs(id(A)), ["ntkrnlmp.pdb", "ntoskrnl.pdb"]);
        assert!(!list.add("ntoskrnl.pdb", id(A)));
        assert_eq!(list.text(), text);
    }

    #[test]
    fn an_empty_list_and_one_in_another_style_can_be_added_to() {
        for (text, after) in [
            ("", format!("nt.pdb:\n  - {A}\n")),
            ("# none yet\n", format!("# none yet\nnt.pdb:\n  - {A}\n")),
            ("nt.pdb: []\n", format!("nt.pdb:\n  - {A}\n")),
            (&format!("nt.pdb: [{B}]\n"), format!("nt.pdb:\n  - {A}\n  - {B}\n")),
            (&format!("nt.pdb:\n- {B}\n"), format!("nt.pdb:\n- {B}\n- {A}\n")),
        ] {
            let mut list = GuidList::parse("x", text).expect(text);
            assert!(list.add("nt.pdb", id(A)), "{text}");
            assert_eq!(list.text(), after);
        }
        assert!(GuidList::parse("x", "- a\n").is_err());
    }

    #[test]
    fn rejects_come_back_with_day_and_reason() {
        let mut rejects =
            Rejects::parse("x", &format!("{{\"{A}\": \"HTTP Error 404: Not Found\"}}")).expect("Rekall's");
        rejects.add(id(B), "a \"reason\": of\u{1b} ours");
        let again = Rejects::parse("x", &rejects.text()).expect("ours");
        assert_eq!(again, rejects);
        assert!(again.get(id(B)).is_some_and(|why| why.starts_with("20") && why.get(10..12) == Some(": ")));
        assert!(rejects.remove(id(A)) && !rejects.remove(id(A)));
        for (why, pdbs) in [
            ("no a.pdb (http://x: 404)", &["a.pdb"][..]),
            ("no a b.pdb (http://x: 404; gone); no c.pdb (http://x: 404)", &["a b.pdb"]),
            ("no a.pdb (http://x: 404); no c.pdb (http://x: 404)", &["a.pdb", "c.pdb"]),
            ("c.pdb of http://x/c.pdb/1/c.pd_ cannot be parsed: no MSF", &["c.pdb"]),
            ("HTTP Error 404: Not Found", &[]),
        ] {
            rejects.add(id(A), why);
            assert_eq!(rejects.pdbs(id(A)), pdbs, "{why}");
        }
        assert_eq!(Rejects::parse("x", "").expect("none"), Rejects::default());
    }
}
