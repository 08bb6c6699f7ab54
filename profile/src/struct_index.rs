//! Rekall's struct index: where some members are in each build of a module.
//!
//! ```json
//! {"$INDEX": {"nt/GUID/339E...": {"GUID_AGE": "339E...", "arch": "AMD64", "offsets": {"_EPROCESS.ImageFileName": 736}}},
//!  "$METADATA": {"ProfileClass": "EProcessIndex", "Type": "Profile"}}
//! ```
//!
//! An entry is the profile's whole `$METADATA` and the offsets in bytes; a member that a build lacks is left out. It is made
//! by a specification of `type: struct`, as `src/nt/eprocess_index.yaml`. Source: Rekall's `build_index`.

use crate::error::Error;
use crate::json::{Node, Style, print};
use crate::model::{Metadata, Struct};
use serde_json::Value;
use std::collections::BTreeMap;

/// How many members a profile may have in it.
const MAX_OFFSETS: usize = 4096;

/// The key of the offsets, beside those of the metadata.
const OFFSETS: &str = "offsets";

/// What members a struct index is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StructIndexSpec {
    /// With what the names of its profiles begin.
    pub path: String,
    /// `ProfileClass` of the index.
    implementation: String,
    /// Members by the name of their struct.
    members: BTreeMap<String, Vec<String>>,
}

impl StructIndexSpec {
    /// `type` of a specification of it.
    pub const TYPE: &'static str = "struct";

    /// Reads the content of a specification. Fails, with what is wrong, when it is none of a struct index.
    pub fn parse(spec: &Value) -> Result<Self, String> {
        let text = |key: &str| spec.get(key).and_then(Value::as_str).map(str::to_owned);
        let members = spec.get("members").and_then(Value::as_object).ok_or("it has no mapping `members`")?;
        let names = |(structure, names): (&String, &Value)| {
            let names = names.as_array().map(Vec::as_slice).unwrap_or_default().iter();
            let names: Option<Vec<String>> = names.map(|name| name.as_str().map(str::to_owned)).collect();
            let names = names.filter(|names| !names.is_empty());
            names.map(|names| (structure.clone(), names)).ok_or_else(|| format!("`{structure}` has no list of members"))
        };
        Ok(Self {
            path: text("path").ok_or("it has no `path`")?,
            implementation: text("implementation").unwrap_or_else(|| "Index".to_owned()),
            members: members.iter().map(names).collect::<Result<_, String>>()?,
        })
    }
}

/// What the index says of a profile.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    metadata: BTreeMap<String, Node>,
    offsets: BTreeMap<String, u64>,
}

/// Where some members are in each build of a module, by the profile's name.
#[derive(Debug, Clone, PartialEq)]
pub struct StructIndex {
    implementation: String,
    profiles: BTreeMap<String, Entry>,
}

impl StructIndex {
    /// An index without profiles.
    pub fn new(spec: &StructIndexSpec) -> Self {
        Self { implementation: spec.implementation.clone(), profiles: BTreeMap::new() }
    }

    /// Reads the index's text. `place` names it in errors.
    pub fn parse(place: &str, bytes: &[u8]) -> Result<Self, Error> {
        let read = || {
            let root = Node::of_file(bytes)?;
            let profiles = root.get("$INDEX").and_then(Node::as_dict);
            let profiles = profiles.ok_or_else(|| Error::corrupt("$INDEX", "not an object"))?;
            let entry = |(profile, items): &(String, Node)| {
                let bad = || Error::corrupt(profile, "not metadata with offsets").within("$INDEX");
                let mut metadata: BTreeMap<String, Node> = items.as_dict().ok_or_else(bad)?.iter().cloned().collect();
                let offsets = metadata.remove(OFFSETS).ok_or_else(bad)?;
                let offsets = offsets.as_dict().filter(|offsets| offsets.len() <= MAX_OFFSETS).ok_or_else(bad)?;
                let offsets = offsets.iter().map(|(name, at)| Some((name.clone(), at.as_u64()?)));
                let offsets = offsets.collect::<Option<_>>().ok_or_else(bad)?;
                Ok((profile.clone(), Entry { metadata, offsets }))
            };
            let class = root.get("$METADATA").and_then(|metadata| metadata.get("ProfileClass"));
            Ok(Self {
                implementation: class.and_then(Node::as_text).unwrap_or("Index").to_owned(),
                profiles: profiles.iter().map(entry).collect::<Result<_, Error>>()?,
            })
        };
        read().map_err(|e: Error| e.within(place))
    }

    /// The text, as Rekall lays it out.
    pub fn to_json(&self) -> String {
        let dict = |items: Vec<(&str, Node)>| {
            Node::Dict(items.into_iter().map(|(key, node)| (key.to_owned(), node)).collect())
        };
        let entry = |(profile, entry): (&String, &Entry)| {
            let offsets = entry.offsets.iter().map(|(name, &at)| (name.clone(), Node::Number(at.into())));
            let mut items = entry.metadata.clone();
            items.insert(OFFSETS.to_owned(), Node::Dict(offsets.collect()));
            (profile.clone(), Node::Dict(items.into_iter().collect()))
        };
        let metadata = vec![("ProfileClass", Node::text(&self.implementation)), ("Type", Node::text("Profile"))];
        let index = Node::Dict(self.profiles.iter().map(entry).collect());
        print(&dict(vec![("$INDEX", index), ("$METADATA", dict(metadata))]), Style::NEW)
    }

    /// Takes up a profile whose structs `structure` gives. One that has none of the members is left out.
    ///
    /// # Errors
    /// What `structure` said; then nothing is changed.
    pub fn insert<E>(
        &mut self,
        profile: &str,
        spec: &StructIndexSpec,
        metadata: &Metadata,
        mut structure: impl FnMut(&str) -> Result<Option<Struct>, E>,
    ) -> Result<(), E> {
        let mut offsets = BTreeMap::new();
        for (name, members) in &spec.members {
            let Some(found) = structure(name)? else { continue };
            for member in members {
                if let Some(at) = found.members.get(member) {
                    offsets.insert(format!("{name}.{member}"), at.offset);
                }
            }
        }
        self.profiles.remove(profile);
        if !offsets.is_empty() {
            let metadata = metadata.0.iter().map(|(key, value)| (key.clone(), value.into())).collect();
            self.profiles.insert(profile.to_owned(), Entry { metadata, offsets });
        }
        Ok(())
    }

    /// The offset in bytes of a member (`_EPROCESS.Pcb`) in the build of a profile, where the index has it.
    pub fn offset(&self, profile: &str, member: &str) -> Option<u64> {
        self.profiles.get(profile)?.offsets.get(member).copied()
    }

    /// Forgets the profiles whose name `keep` refuses.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.profiles.retain(|profile, _| keep(profile));
    }

    /// Whether it has a profile.
    pub fn has(&self, profile: &str) -> bool {
        self.profiles.contains_key(profile)
    }

    /// How many profiles it has.
    pub fn len(&self) -> usize {
        self.profiles.len()
    }

    /// Whether it has no profile.
    pub fn is_empty(&self) -> bool {
        self.profiles.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProfileFile;
    use serde_json::json;

    fn spec() -> StructIndexSpec {
        let spec = json!({"path": "nt", "type": "struct", "implementation": "EProcessIndex",
            "members": {"_EPROCESS": ["ImageFileName", "Pcb", "Gone"], "_KPROCESS": ["DirectoryTableBase"], "_GONE": ["x"]}});
        StructIndexSpec::parse(&spec).expect("a specification")
    }

    fn profile() -> ProfileFile {
        let text = r#"{"$METADATA": {"GUID_AGE": "X1", "PDBFile": "ntkrnlmp.pdb", "Type": "Profile"},
            "$STRUCTS": {"_EPROCESS": [800, {"ImageFileName": [736, ["String", {"length": 16}]], "Pcb": [0, ["_KPROCESS"]]}],
                         "_KPROCESS": [352, {"DirectoryTableBase": [40, ["unsigned long long"]]}]}}"#;
        ProfileFile::parse("a", text.as_bytes()).expect("a profile")
    }

    #[test]
    fn the_text_is_as_rekall_s_readers_have_it_and_comes_back() {
        let (spec, profile) = (spec(), profile());
        let mut index = StructIndex::new(&spec);
        index.insert("nt/GUID/X1", &spec, profile.metadata(), |name| profile.structure(name)).expect("taken");
        let text = index.to_json();
        let read: Value = serde_json::from_str(&text).expect("JSON");
        let expected = json!({
            "$INDEX": {"nt/GUID/X1": {"GUID_AGE": "X1", "PDBFile": "ntkrnlmp.pdb", "Type": "Profile", "offsets": {
                "_EPROCESS.ImageFileName": 736, "_EPROCESS.Pcb": 0, "_KPROCESS.DirectoryTableBase": 40}}},
            "$METADATA": {"ProfileClass": "EProcessIndex", "Type": "Profile"},
        });
        assert_eq!(read, expected);
        let back = StructIndex::parse("nt/eprocess_index", text.as_bytes()).expect("an index");
        assert_eq!(back, index);
        assert_eq!(back.offset("nt/GUID/X1", "_EPROCESS.ImageFileName"), Some(736));
        assert_eq!(back.offset("nt/GUID/X1", "_EPROCESS.Gone"), None);
        index.retain(|_| false);
        assert!(index.is_empty());
    }

    #[test]
    fn what_is_no_index_and_no_specification_is_refused() {
        for bad in
            ["", "[]", r#"{"$INDEX": []}"#, r#"{"$INDEX": {"a": {}}}"#, r#"{"$INDEX": {"a": {"offsets": {"b": -1}}}}"#]
        {
            let error = StructIndex::parse("some/index", bad.as_bytes()).expect_err(bad);
            assert!(error.to_string().starts_with("some/index"), "{error}");
        }
        for (bad, why) in [
            (json!({"members": {"A": ["b"]}}), "path"),
            (json!({"path": "nt"}), "members"),
            (json!({"path": "nt", "members": {"A": []}}), "`A`"),
            (json!({"path": "nt", "members": {"A": [1]}}), "`A`"),
        ] {
            assert!(StructIndexSpec::parse(&bad).is_err_and(|told| told.contains(why)), "{bad}");
        }
    }
}
