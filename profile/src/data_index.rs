//! Rekall's data index: what bytes the builds of a module have in fixed places.
//!
//! ```json
//! {"$INDEX": {"nt/GUID/339E...": [[4096, ["6162"]], [8191, ["90", "CC"]]]},
//!  "$METADATA": {"BaseSymbol": null, "MaxOffset": 8193, "MinOffset": 4096, "ProfileClass": "Index", "Type": "Profile"}}
//! ```
//!
//! A point is an offset from the base (the image's, or `BaseSymbol`) and the values in hex of which one must be there. It
//! is made by a specification, `src/<module>/index.yaml`: names of symbols, how far from them (`shift`), and the values
//! (`str:` for UTF-8, `lstr:` for UTF-16, else hex). Source: Rekall's `build_index`.

use crate::error::Error;
use crate::exports::IndexMatch;
use crate::json::{Node, Style, print};
use crate::source::ProfileSource;
use serde_json::Value;
use std::collections::BTreeMap;

/// How many points a profile may have, and how many values a point.
const MAX_POINTS: usize = 4096;
/// The longest value, in bytes.
const MAX_VALUE_BYTES: usize = 4096;

/// What symbols a data index is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataIndexSpec {
    /// With what the names of its profiles begin.
    pub path: String,
    /// The symbol from which offsets count; else they count from the image's base.
    pub base_symbol: Option<String>,
    symbols: Vec<PointSpec>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct PointSpec {
    name: String,
    shift: i64,
    /// In hex, as the index has them.
    values: Vec<String>,
}

impl DataIndexSpec {
    /// Reads the content of a specification. Fails, with what is wrong, when it is none of a data index.
    pub fn parse(spec: &Value) -> Result<Self, String> {
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let symbols = spec.get("symbols").and_then(Value::as_array).ok_or("it has no list `symbols`")?;
        let point = |point: &Value| {
            let name = text(point, "name").ok_or("one of its symbols has no `name`")?;
            let values = point.get("data").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let values: Option<Vec<String>> = values.iter().map(|value| value.as_str().and_then(encoded)).collect();
            let values = values.filter(|values| !values.is_empty());
            let values =
                values.ok_or_else(|| format!("`data` of {name} is no list of `str:`, `lstr:` or hex texts"))?;
            Ok(PointSpec { name, shift: point.get("shift").and_then(Value::as_i64).unwrap_or(0), values })
        };
        Ok(Self {
            path: text(spec, "path").ok_or("it has no `path`")?,
            base_symbol: text(spec, "base_symbol"),
            symbols: symbols.iter().map(point).collect::<Result<_, String>>()?,
        })
    }
}

/// A value of a specification in hex; what is hex stays as it is.
fn encoded(value: &str) -> Option<String> {
    let digits = |byte: u8| [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or_default());
    let hex = |bytes: &mut dyn Iterator<Item = u8>| bytes.flat_map(digits).collect();
    if let Some(text) = value.strip_prefix("lstr:") {
        return Some(hex(&mut text.encode_utf16().flat_map(u16::to_le_bytes)));
    }
    if let Some(text) = value.strip_prefix("str:") {
        return Some(hex(&mut text.bytes()));
    }
    decoded(value).map(|_| value.to_owned())
}

fn decoded(hex: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        hex.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect::<Option<_>>()?;
    let usable = !digits.is_empty() && digits.len().is_multiple_of(2) && digits.len() <= 2 * MAX_VALUE_BYTES;
    usable.then(|| digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// A place and the bytes of which some are there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Point {
    offset: i64,
    /// In hex.
    values: Vec<String>,
}

/// What bytes the builds of a module have in fixed places, by the profile's name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DataIndex {
    base_symbol: Option<String>,
    profiles: BTreeMap<String, Vec<Point>>,
}

impl DataIndex {
    /// An index without profiles, of the points of `spec`.
    pub fn new(spec: &DataIndexSpec) -> Self {
        Self { base_symbol: spec.base_symbol.clone(), profiles: BTreeMap::new() }
    }

    /// The name under which a repository keeps that of a module.
    pub fn name(module: &str) -> String {
        format!("{module}/index")
    }

    /// Reads the index's text. `place` names it in errors.
    pub fn parse(place: &str, bytes: &[u8]) -> Result<Self, Error> {
        let read = || {
            let root = Node::of_file(bytes)?;
            let profiles = root.get("$INDEX").and_then(Node::as_dict);
            let profiles = profiles.ok_or_else(|| Error::corrupt("$INDEX", "not an object"))?;
            let points = |(profile, points): &(String, Node)| {
                let points = points.as_list().filter(|points| points.len() <= MAX_POINTS);
                let points = points.and_then(|points| points.iter().map(point).collect::<Option<_>>());
                let why = "not a list of an offset and hex values each";
                Ok((profile.clone(), points.ok_or_else(|| Error::corrupt(profile, why).within("$INDEX"))?))
            };
            let base = root.get("$METADATA").and_then(|metadata| metadata.get("BaseSymbol"));
            Ok(Self {
                base_symbol: base.and_then(Node::as_text).map(str::to_owned),
                profiles: profiles.iter().map(points).collect::<Result<_, Error>>()?,
            })
        };
        read().map_err(|e: Error| e.within(place))
    }

    /// The index of a module in a source; `None` when it keeps none.
    pub fn of_source(source: &dyn ProfileSource, module: &str) -> Result<Option<Self>, Error> {
        let name = Self::name(module);
        let bytes = source.read(&name)?;
        bytes.map(|bytes| Self::parse(&format!("{}/{name}", source.place()), &bytes)).transpose()
    }

    /// The text, as Rekall lays it out.
    pub fn to_json(&self) -> String {
        let integer = |value: i64| Node::Number(value.into());
        let all = || self.profiles.values().flatten();
        let min = all().map(|point| point.offset).min().unwrap_or(0);
        // Rekall adds how many values there are, not how long they are, and its readers expect no more.
        let end = |point: &Point| point.offset.saturating_add(i64::try_from(point.values.len()).unwrap_or(0));
        let max = all().map(end).max().unwrap_or(0).max(0);
        let point = |point: &Point| {
            Node::List(vec![integer(point.offset), Node::List(point.values.iter().map(Node::text).collect())])
        };
        let profiles =
            self.profiles.iter().map(|(name, points)| (name.clone(), Node::List(points.iter().map(point).collect())));
        let metadata = [
            ("BaseSymbol", self.base_symbol.as_ref().map_or(Node::Null, Node::text)),
            ("MaxOffset", integer(max)),
            ("MinOffset", integer(min)),
            ("ProfileClass", Node::text("Index")),
            ("Type", Node::text("Profile")),
        ];
        let dict = |items: Vec<(&str, Node)>| {
            Node::Dict(items.into_iter().map(|(key, node)| (key.to_owned(), node)).collect())
        };
        let sections = vec![("$INDEX", Node::Dict(profiles.collect())), ("$METADATA", dict(metadata.into()))];
        print(&dict(sections), Style::NEW)
    }

    /// Takes up a profile whose symbols are where `address` tells: the points of `spec` that it has. One that has none, or
    /// lacks the base, is left out.
    ///
    /// # Errors
    /// What `address` said; then nothing is changed.
    pub fn insert<E>(
        &mut self,
        profile: &str,
        spec: &DataIndexSpec,
        mut address: impl FnMut(&str) -> Result<Option<u64>, E>,
    ) -> Result<(), E> {
        let base = spec.base_symbol.as_deref().map_or(Ok(Some(0)), &mut address)?;
        let mut points = Vec::new();
        for symbol in &spec.symbols {
            if let (Some(base), Some(at)) = (base, address(&symbol.name)?) {
                let offset = at.wrapping_sub(base).cast_signed().saturating_add(symbol.shift);
                points.push(Point { offset, values: symbol.values.clone() });
            }
        }
        self.profiles.remove(profile);
        if !points.is_empty() {
            self.profiles.insert(profile.to_owned(), points);
        }
        Ok(())
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

    /// The profiles of which more than half of the points that memory has are as they should be. `read` fills bytes from an
    /// offset on, or says that memory lacks them.
    pub fn matches(&self, mut read: impl FnMut(i64, &mut [u8]) -> bool) -> Vec<IndexMatch> {
        let mut found = Vec::new();
        for (profile, points) in &self.profiles {
            let (mut matched, mut compared) = (0, 0);
            for point in points {
                let (mut is_there, mut fits) = (false, false);
                for value in point.values.iter().filter_map(|value| decoded(value)) {
                    let mut seen = vec![0; value.len()];
                    if read(point.offset, &mut seen) {
                        is_there = true;
                        fits |= seen == value;
                    }
                }
                compared += usize::from(is_there);
                matched += usize::from(fits);
            }
            if 2 * matched > compared {
                found.push(IndexMatch { profile: profile.clone(), matched, compared });
            }
        }
        found
    }
}

fn point(node: &Node) -> Option<Point> {
    let [offset, values] = node.as_list()? else { return None };
    let values = values.as_list().filter(|values| values.len() <= MAX_POINTS)?;
    let value = |value: &Node| value.as_text().filter(|text| decoded(text).is_some()).map(str::to_owned);
    Some(Point {
        offset: i64::try_from(offset.as_i128()?).ok()?,
        values: values.iter().map(value).collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the public repository's, shortened.
    fn spec() -> DataIndexSpec {
        let symbols = serde_json::json!([
            {"name": "str:KernelSpace", "data": ["str:KernelSpace"]},
            {"name": "CmpMHz", "data": ["lstr:~MHz"]},
            {"name": "wcschr", "data": ["90", "CC"], "shift": -1},
            {"name": "absent", "data": ["00"]},
        ]);
        DataIndexSpec::parse(&serde_json::json!({"path": "nt/", "symbols": symbols})).expect("a specification")
    }

    /// Written by hand, as Rekall's build_index writes it.
    const TEXT: &str = "{\n \"$INDEX\": {\n  \"nt/GUID/A\": [[4096, [\"4b65726e656c5370616365\"]], [8192, \
         [\"7e004d0048007a00\"]], [12287, [\"90\", \"CC\"]]]\n }, \n \"$METADATA\": {\n  \"BaseSymbol\": null, \n  \
         \"MaxOffset\": 12289, \n  \"MinOffset\": 4096, \n  \"ProfileClass\": \"Index\", \n  \"Type\": \"Profile\"\n }\n}";

    fn index() -> DataIndex {
        let mut index = DataIndex::new(&spec());
        let address = |name: &str| {
            let known = [("str:KernelSpace", 4096), ("CmpMHz", 8192), ("wcschr", 12288)];
            Ok::<_, ()>(known.iter().find(|(known, _)| *known == name).map(|&(_, at)| at))
        };
        index.insert("nt/GUID/A", &spec(), address).expect("taken up");
        index.insert("nt/GUID/none", &spec(), |_| Ok::<_, ()>(None)).expect("left out");
        index
    }

    #[test]
    fn an_index_is_written_and_read_in_rekall_s_format() {
        assert_eq!(index().to_json(), TEXT);
        assert_eq!(DataIndex::parse("nt/index", TEXT.as_bytes()), Ok(index()));
    }

    #[test]
    fn points_that_memory_lacks_are_not_compared() {
        let memory = |patch: Option<(usize, u8)>| {
            let mut bytes = vec![0_u8; 0x4000];
            bytes[4096..4107].copy_from_slice(b"KernelSpace");
            bytes[8192..8200].copy_from_slice(b"~\0M\0H\0z\0");
            bytes[12287] = 0xcc;
            if let Some((at, byte)) = patch {
                bytes[at] = byte;
            }
            move |from: i64, bytes_of: &mut [u8], end: usize| {
                let from = usize::try_from(from).unwrap_or(usize::MAX);
                let seen = from.checked_add(bytes_of.len()).filter(|&to| to <= end).and_then(|to| bytes.get(from..to));
                seen.is_some_and(|seen| {
                    bytes_of.copy_from_slice(seen);
                    true
                })
            }
        };
        let of = |memory: &dyn Fn(i64, &mut [u8], usize) -> bool, end| {
            index().matches(|at, bytes| memory(at, bytes, end)).first().map(|found| (found.matched, found.compared))
        };
        assert_eq!(of(&memory(None), 0x4000), Some((3, 3)));
        assert_eq!(of(&memory(None), 0x2800), Some((2, 2)), "the third is behind the end");
        assert_eq!(of(&memory(Some((4100, b'x'))), 0x4000), Some((2, 3)));
        assert_eq!(of(&memory(None), 0), None);
    }

    #[test]
    fn offsets_count_from_a_base_symbol() {
        let spec = serde_json::json!({"path": "OSX/", "base_symbol": "_lowGlo",
            "symbols": [{"name": "_version", "data": ["str:Darwin Kernel Version "]}]});
        let spec = DataIndexSpec::parse(&spec).expect("a specification");
        let mut index = DataIndex::new(&spec);
        let address = |name: &str| {
            Ok::<_, ()>(Some(if name == "_lowGlo" { 0xffff_ff80_0000_2000_u64 } else { 0xffff_ff80_0000_1ff0 }))
        };
        index.insert("OSX/x", &spec, address).expect("taken up");
        let json: Value = serde_json::from_str(&index.to_json()).expect("JSON");
        assert_eq!(json["$INDEX"]["OSX/x"][0][0], -16);
        assert_eq!(
            (&json["$METADATA"]["BaseSymbol"], &json["$METADATA"]["MinOffset"]),
            (&"_lowGlo".into(), &(-16).into())
        );
        assert_eq!(DataIndex::parse("x", index.to_json().as_bytes()), Ok(index));
    }

    #[test]
    fn what_is_no_index_is_refused_with_its_place() {
        let many = format!("{{\"$INDEX\": {{\"x\": [{}[0, [\"00\"]]]}}}}", "[0, [\"00\"]],".repeat(MAX_POINTS));
        let long = format!("{{\"$INDEX\": {{\"x\": [[0, [\"{}\"]]]}}}}", "00".repeat(MAX_VALUE_BYTES + 1));
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"$INDEX": []}"#,
            r#"{"$INDEX": {"x": 1}}"#,
            r#"{"$INDEX": {"x": [[1]]}}"#,
            r#"{"$INDEX": {"x": [["1", ["00"]]]}}"#,
            r#"{"$INDEX": {"x": [[1, "00"]]}}"#,
            r#"{"$INDEX": {"x": [[1, ["0"]]]}}"#,
            r#"{"$INDEX": {"x": [[1, ["xy"]]]}}"#,
            r#"{"$INDEX": {"x": [[18446744073709551615, ["00"]]]}}"#,
            &many,
            &long,
        ] {
            let error = DataIndex::parse("some/index", bad.as_bytes()).expect_err(bad);
            assert!(error.to_string().starts_with("some/index"), "{error}");
        }
        for bad in [serde_json::json!({"type": "struct"}), serde_json::json!({"path": "x", "symbols": [{"name": "a"}]})]
        {
            assert!(DataIndexSpec::parse(&bad).is_err(), "{bad}");
        }
    }
}
