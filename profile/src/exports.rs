//! The export index: which build a kernel is, by where its exports are.
//!
//! An image tells a Windows build by its RSDS record. Where that is lost, the exports remain: a linker moves some of them
//! in nearly every build. So a repository keeps one small file a module, `<module>/exports`, with the RVAs of a few
//! exports that all builds have, one line a profile:
//!
//! ```json
//! {"$EXPORTS": ["CcCopyRead", "CcUnpinData", ...],
//!  "$INDEX": {"nt/GUID/339E74133576439CBCDF7E0229DA37731": "3c3a40 91b20 - ..."},
//!  "$METADATA": {"ProfileClass": "ExportIndex", "Type": "Index"}}
//! ```
//!
//! RVAs are hexadecimal and in the order of `$EXPORTS`; `-` stands for one that the profile lacks. A PDB does not say what
//! is exported, so the names are chosen and the RVAs are those of the profile's symbols. Builds that differ little may
//! have the same line: whoever looks up compares all exports with the profile afterwards.

use crate::error::Error;
use crate::json::{Node, Style, print};
use crate::model::Metadata;
use crate::source::ProfileSource;
use std::collections::BTreeMap;

/// Exports of the NT kernel from Windows XP to 11, 32 and 64 bits, code and data from all over the image.
const KERNEL_EXPORTS: [&str; 47] = [
    "CcCopyRead",
    "CcUnpinData",
    "CmRegisterCallback",
    "DbgPrint",
    "ExAcquireResourceExclusiveLite",
    "ExAllocatePoolWithTag",
    "ExEventObjectType",
    "ExFreePoolWithTag",
    "FsRtlNotifyFullChangeDirectory",
    "HalDispatchTable",
    "InbvDisplayString",
    "InitSafeBootMode",
    "IoAllocateMdl",
    "IoCancelIrp",
    "IoCreateDevice",
    "IoDeleteDevice",
    "IoFileObjectType",
    "IofCallDriver",
    "KdDebuggerEnabled",
    "KeBugCheckEx",
    "KeInitializeEvent",
    "KeInsertQueueApc",
    "KeNumberProcessors",
    "KeSetEvent",
    "KeStackAttachProcess",
    "KeWaitForSingleObject",
    "MmGetSystemRoutineAddress",
    "MmHighestUserAddress",
    "MmMapLockedPagesSpecifyCache",
    "NtBuildNumber",
    "NtClose",
    "NtCreateFile",
    "NtQuerySystemInformation",
    "ObReferenceObjectByHandle",
    "ObfDereferenceObject",
    "PsCreateSystemThread",
    "PsInitialSystemProcess",
    "PsLookupProcessByProcessId",
    "PsProcessType",
    "RtlCompareMemory",
    "RtlImageNtHeader",
    "RtlInitUnicodeString",
    "SeAccessCheck",
    "SeExports",
    "SeSinglePrivilegeCheck",
    "ZwClose",
    "ZwWriteFile",
];

/// How many exports a line may have.
const MAX_EXPORTS: usize = 4096;

/// Where the exports of builds are, by the profile's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportIndex {
    exports: Vec<String>,
    rows: BTreeMap<String, Vec<Option<u32>>>,
}

/// A profile that fits memory by an index, wholly or in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexMatch {
    /// Its name.
    pub profile: String,
    /// How many exports, or points of a data index, are as the profile has them.
    pub matched: usize,
    /// How many could be compared.
    pub compared: usize,
}

impl IndexMatch {
    /// Whether all that could be compared is.
    pub fn is_exact(&self) -> bool {
        self.matched == self.compared
    }
}

impl ExportIndex {
    /// An index of the Windows kernel without lines.
    pub fn of_kernel() -> Self {
        Self { exports: KERNEL_EXPORTS.map(str::to_owned).into(), rows: BTreeMap::new() }
    }

    /// The name under which a repository keeps that of a module.
    pub fn name(module: &str) -> String {
        format!("{module}/exports")
    }

    /// Reads the index's text. `place` names it in errors.
    pub fn parse(place: &str, bytes: &[u8]) -> Result<Self, Error> {
        let read = || {
            let root = Node::of_file(bytes)?;
            let exports = root.get("$EXPORTS").and_then(Node::as_list);
            let exports = exports.ok_or_else(|| Error::corrupt("$EXPORTS", "not a list of names"))?;
            if exports.len() > MAX_EXPORTS {
                let why = format!("{} exports; an index of exports has at most {MAX_EXPORTS}", exports.len());
                return Err(Error::unsupported("$EXPORTS", why));
            }
            let name = |node: &Node| {
                node.as_text().map(str::to_owned).ok_or_else(|| Error::corrupt("$EXPORTS", "not a list of names"))
            };
            let exports: Vec<String> = exports.iter().map(name).collect::<Result<_, Error>>()?;
            let lines = root.get("$INDEX").and_then(Node::as_dict);
            let lines = lines.ok_or_else(|| Error::corrupt("$INDEX", "not an object"))?;
            let row = |(profile, line): &(String, Node)| {
                let row = line.as_text().and_then(|line| parse_line(line, exports.len()));
                let why = || format!("not {} hexadecimal RVAs", exports.len());
                Ok((profile.clone(), row.ok_or_else(|| Error::corrupt(profile, why()).within("$INDEX"))?))
            };
            let rows = lines.iter().map(row).collect::<Result<_, Error>>()?;
            Ok(Self { exports, rows })
        };
        read().map_err(|e: Error| e.within(place))
    }

    /// The index of a module in a source; `None` when it keeps none.
    pub fn of_source(source: &dyn ProfileSource, module: &str) -> Result<Option<Self>, Error> {
        let name = Self::name(module);
        let bytes = source.read(&name)?;
        bytes.map(|bytes| Self::parse(&format!("{}/{name}", source.place()), &bytes)).transpose()
    }

    /// The text as it is kept: the same lines give the same bytes.
    pub fn to_json(&self) -> String {
        let mut metadata = Metadata::default();
        metadata.set("ProfileClass", "ExportIndex");
        metadata.set("Type", "Index");
        let metadata = metadata.0.iter().map(|(key, value)| (key.clone(), value.into())).collect();
        let lines = self.rows.iter().map(|(profile, row)| (profile.clone(), Node::text(line(row))));
        let sections = [
            ("$EXPORTS", Node::List(self.exports.iter().map(Node::text).collect())),
            ("$INDEX", Node::Dict(lines.collect())),
            ("$METADATA", Node::Dict(metadata)),
        ];
        print(&Node::Dict(sections.map(|(key, node)| (key.to_owned(), node)).into()), Style::NEW)
    }

    /// Takes up a profile whose symbols are at the RVAs that `rva` tells. What was known of its name is forgotten.
    ///
    /// # Errors
    /// What `rva` said; then nothing is changed.
    pub fn insert<E>(&mut self, profile: &str, rva: impl FnMut(&str) -> Result<Option<u32>, E>) -> Result<(), E> {
        let row = self.exports.iter().map(String::as_str).map(rva).collect::<Result<_, E>>()?;
        self.rows.insert(profile.to_owned(), row);
        Ok(())
    }

    /// Takes up the lines of another one with the same exports, those that tell one.
    pub fn merge(&mut self, other: Self) {
        self.rows.extend(other.rows.into_iter().filter(|(_, row)| row.iter().any(Option::is_some)));
    }

    /// Forgets the profiles whose name `keep` refuses.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.rows.retain(|profile, _| keep(profile));
    }

    /// Whether it knows where each export of this profile is.
    pub fn is_complete(&self, profile: &str) -> bool {
        self.rows.get(profile).is_some_and(|row| row.iter().all(Option::is_some))
    }

    /// Whether it has the same exports in its lines.
    pub fn has_exports_of(&self, other: &Self) -> bool {
        self.exports == other.exports
    }

    /// How many profiles it has.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has no profile.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The profiles of which more than half of the exports that can be compared are where `rvas` has them.
    pub fn matches(&self, rvas: &BTreeMap<String, u32>) -> Vec<IndexMatch> {
        let seen: Vec<Option<u32>> = self.exports.iter().map(|name| rvas.get(name).copied()).collect();
        let of = |(profile, row): (&String, &Vec<Option<u32>>)| {
            let (mut matched, mut compared) = (0, 0);
            for (seen, known) in seen.iter().zip(row).filter_map(|(seen, known)| Some(((*seen)?, (*known)?))) {
                compared += 1;
                matched += usize::from(seen == known);
            }
            (2 * matched > compared).then(|| IndexMatch { profile: profile.clone(), matched, compared })
        };
        self.rows.iter().filter_map(of).collect()
    }
}

fn line(row: &[Option<u32>]) -> String {
    let rvas: Vec<String> =
        row.iter().map(|rva| rva.map_or_else(|| "-".to_owned(), |rva| format!("{rva:x}"))).collect();
    rvas.join(" ")
}

/// `None` unless `line` is `count` RVAs.
fn parse_line(line: &str, count: usize) -> Option<Vec<Option<u32>>> {
    let rva = |word: &str| match word {
        "-" => Some(None),
        word => u32::from_str_radix(word, 16).ok().map(Some),
    };
    // One more than there may be is enough to see that it is wrong.
    let row: Vec<_> = line.split_ascii_whitespace().take(count + 1).map(rva).collect::<Option<_>>()?;
    (row.len() == count).then_some(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rvas(first: u32) -> BTreeMap<String, u32> {
        KERNEL_EXPORTS.iter().zip(first..).map(|(name, rva)| ((*name).to_owned(), rva * 16)).collect()
    }

    fn index() -> ExportIndex {
        let mut index = ExportIndex::of_kernel();
        for (profile, first) in [("nt/GUID/A", 0x100), ("nt/GUID/B", 0x4000)] {
            let rvas = rvas(first);
            let lookup = |name: &str| Ok::<_, ()>(rvas.get(name).copied().filter(|_| name != "ZwClose"));
            index.insert(profile, lookup).expect("taken up");
        }
        index
    }

    #[test]
    fn a_build_is_known_by_its_exports() {
        let exact = index().matches(&rvas(0x4000));
        assert_eq!(exact, [IndexMatch { profile: "nt/GUID/B".into(), matched: 46, compared: 46 }]);
        assert!(exact[0].is_exact());
        let mut moved = rvas(0x100);
        moved.insert("NtClose".to_owned(), 1);
        moved.remove("ZwWriteFile");
        let partial = index().matches(&moved);
        assert_eq!(partial, [IndexMatch { profile: "nt/GUID/A".into(), matched: 44, compared: 45 }]);
        assert!(!partial[0].is_exact());
        assert_eq!(index().matches(&rvas(0x9000)), []);
        assert_eq!(index().matches(&BTreeMap::new()), []);
    }

    #[test]
    fn lines_that_tell_nothing_are_not_taken_over() {
        let mut other = ExportIndex::of_kernel();
        other.insert("nt/GUID/C", |_| Ok::<_, ()>(Some(16))).expect("taken up");
        other.insert("nt/GUID/D", |_| Ok::<_, ()>(None)).expect("taken up");
        let mut merged = index();
        merged.merge(other);
        assert_eq!((merged.len(), merged.is_complete("nt/GUID/C")), (3, true));
    }

    #[test]
    fn the_text_is_json_a_line_a_profile_and_comes_back() {
        let text = index().to_json();
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(json["$METADATA"]["Type"], "Index");
        assert_eq!(json["$EXPORTS"][0], "CcCopyRead");
        let line = json["$INDEX"]["nt/GUID/A"].as_str().expect("a line");
        assert!(line.starts_with("1000 1010 ") && line.ends_with(" - 12e0"), "{line}");
        assert_eq!(text.lines().filter(|line| line.contains("nt/GUID/")).count(), 2);
        assert_eq!(ExportIndex::parse("index", text.as_bytes()), Ok(index()));
    }

    #[test]
    fn what_is_no_index_is_refused_with_its_place() {
        let many = format!("{{\"$EXPORTS\": [{}\"a\"], \"$INDEX\": {{}}}}", "\"a\",".repeat(MAX_EXPORTS));
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"$EXPORTS": {}, "$INDEX": {}}"#,
            r#"{"$EXPORTS": [1], "$INDEX": {}}"#,
            r#"{"$EXPORTS": ["a"], "$INDEX": []}"#,
            r#"{"$EXPORTS": ["a"], "$INDEX": {"x": 1}}"#,
            r#"{"$EXPORTS": ["a"], "$INDEX": {"x": ""}}"#,
            r#"{"$EXPORTS": ["a"], "$INDEX": {"x": "1 2"}}"#,
            r#"{"$EXPORTS": ["a"], "$INDEX": {"x": "100000000"}}"#,
            r#"{"$EXPORTS": ["a"], "$INDEX": {"x": "-1"}}"#,
            &many,
        ] {
            let error = ExportIndex::parse("some/index", bad.as_bytes()).expect_err(bad);
            assert!(error.to_string().starts_with("some/index"), "{error}");
        }
    }
}
