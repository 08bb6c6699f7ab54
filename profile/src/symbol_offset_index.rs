//! Rekall's symbol-offset index: by which distances between symbols a Linux kernel is known among all of a repository.
//!
//! ```json
//! {"$INDEX": {"$HASHES": {"9f86...": "Linux/Debian/6.1/amd64/6.1.0-9-amd64"},
//!             "$PROFILES": {"Linux/Debian/6.1/amd64/6.1.0-9-amd64": {"LastModified": 1795314601.0}},
//!             "$TRAITS": {"Linux/Debian/6.1/amd64/6.1.0-9-amd64": [[["init_task", 123456]], [["jiffies", -4096]]]}},
//!  "$METADATA": {"BaseSymbol": "linux_proc_banner", "ProfileClass": "LinuxSymbolOffsetIndex", "Type": "Index"}}
//! ```
//!
//! A trait is one symbol or a few, each with its distance in bytes from the base symbol, that no other profile of the index
//! has like this; KASLR moves all of them alike. A profile whose symbols are all where those of another one are is listed
//! without traits and without a hash. The hash is the SHA-256 of `(NAME, DISTANCE)` of every symbol, sorted and joined by `|`.
//! The index is made by a specification of `type: symbol_offset`, as `src/Linux/index.yaml`. Source: Rekall's `build_index`.

mod traits;

pub use traits::SymbolOffsetBuilder;

use crate::error::Error;
use crate::exports::IndexMatch;
use crate::file::ProfileFile;
use crate::json::{Node, Style, print};
use crate::model::{Arch, Os};
use crate::rekall::ADDRESS_MASK;
use crate::source::ProfileSource;
use crate::stored::Digest;
use serde_json::{Number, Value};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// How many traits a profile may have, and how many symbols a trait.
const MAX_TRAITS: usize = 4096;
/// `min_traits` of a specification that does not tell it.
const TRAITS: usize = 5;
/// From where Rekall's readers count when the index does not tell.
const BASE_SYMBOL: &str = "linux_proc_banner";
/// `ProfileClass` of the index.
const IMPLEMENTATION: &str = "LinuxSymbolOffsetIndex";

/// Of which profiles a symbol-offset index is made, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolOffsetSpec {
    /// With what the names of its profiles begin.
    pub path: String,
    implementation: String,
    base_symbol: String,
    /// How many traits each profile is to have.
    traits: usize,
}

impl SymbolOffsetSpec {
    /// `type` of a specification of it.
    pub const TYPE: &'static str = "symbol_offset";

    /// Reads the content of a specification. Fails, with what is wrong, when it is none of a symbol-offset index.
    pub fn parse(spec: &Value) -> Result<Self, String> {
        let text = |key: &str| spec.get(key).and_then(Value::as_str).map(str::to_owned);
        let traits = spec.get("min_traits").map_or(Some(TRAITS as u64), Value::as_u64);
        let traits =
            traits.and_then(|count| usize::try_from(count).ok()).filter(|count| (1..=MAX_TRAITS).contains(count));
        Ok(Self {
            path: text("path").ok_or("it has no `path`")?,
            implementation: text("implementation").unwrap_or_else(|| IMPLEMENTATION.to_owned()),
            base_symbol: text("base_symbol").unwrap_or_else(|| BASE_SYMBOL.to_owned()),
            traits: traits.ok_or_else(|| format!("its `min_traits` is no number from 1 to {MAX_TRAITS}"))?,
        })
    }
}

/// Symbols with their distances from the base symbol.
type Trait = Vec<(String, i64)>;

/// What is known of each kernel of a repository by the distances of its symbols.
#[derive(Debug, Clone, PartialEq)]
pub struct SymbolOffsetIndex {
    implementation: String,
    base_symbol: String,
    /// By profile.
    traits: BTreeMap<String, Vec<Trait>>,
    /// Profile by hash.
    hashes: BTreeMap<String, String>,
    /// When each profile was stored, also those that are another one again: Unix time in seconds.
    modified: BTreeMap<String, Number>,
}

impl SymbolOffsetIndex {
    /// The name under which a repository keeps it.
    pub const NAME: &'static str = "Linux/index";

    /// Reads the index's text. `place` names it in errors.
    pub fn parse(place: &str, bytes: &[u8]) -> Result<Self, Error> {
        let read = || {
            let root = Node::of_file(bytes)?;
            let index = root.get("$INDEX").filter(|index| index.as_dict().is_some());
            let index = index.ok_or_else(|| Error::corrupt("$INDEX", "not an object"))?;
            let metadata = |key: &str| root.get("$METADATA")?.get(key)?.as_text().map(str::to_owned);
            let why = "not a list of lists of a symbol and its distance each";
            let found = section(index, "$TRAITS", why, |node| {
                let traits = node.as_list().filter(|traits| traits.len() <= MAX_TRAITS)?;
                traits.iter().map(trait_of_node).collect::<Option<Vec<Trait>>>()
            })?;
            let hashes = section(index, "$HASHES", "not a profile's name", |node| node.as_text().map(str::to_owned))?;
            let modified = section(index, "$PROFILES", "not an object with `LastModified`", |node| {
                match node.get("LastModified")? {
                    Node::Number(number) => Some(number.clone()),
                    _ => None,
                }
            })?;
            Ok(Self {
                implementation: metadata("ProfileClass").unwrap_or_else(|| IMPLEMENTATION.to_owned()),
                base_symbol: metadata("BaseSymbol").unwrap_or_else(|| BASE_SYMBOL.to_owned()),
                traits: found,
                hashes,
                modified,
            })
        };
        read().map_err(|e: Error| e.within(place))
    }

    /// The index in a source; `None` when it keeps none.
    pub fn of_source(source: &dyn ProfileSource) -> Result<Option<Self>, Error> {
        let bytes = source.read(Self::NAME)?;
        bytes.map(|bytes| Self::parse(&format!("{}/{}", source.place(), Self::NAME), &bytes)).transpose()
    }

    /// The text, as Rekall lays it out.
    pub fn to_json(&self) -> String {
        let dict = |items: Vec<(String, Node)>| Node::Dict(items);
        let named = |items: [(&str, Node); 3]| dict(items.map(|(key, node)| (key.to_owned(), node)).into());
        let traits = self.traits.iter().map(|(profile, traits)| {
            let symbol = |(name, at): &(String, i64)| Node::List(vec![Node::text(name), Node::Number((*at).into())]);
            let traits = traits.iter().map(|found| Node::List(found.iter().map(symbol).collect()));
            (profile.clone(), Node::List(traits.collect()))
        });
        let hashes = self.hashes.iter().map(|(hash, profile)| (hash.clone(), Node::text(profile)));
        let modified = self.modified.iter().map(|(profile, time)| {
            (profile.clone(), dict(vec![("LastModified".to_owned(), Node::Number(time.clone()))]))
        });
        let index = named([
            ("$HASHES", dict(hashes.collect())),
            ("$PROFILES", dict(modified.collect())),
            ("$TRAITS", dict(traits.collect())),
        ]);
        let metadata = named([
            ("BaseSymbol", Node::text(&self.base_symbol)),
            ("ProfileClass", Node::text(&self.implementation)),
            ("Type", Node::text("Index")),
        ]);
        print(&dict(vec![("$INDEX".to_owned(), index), ("$METADATA".to_owned(), metadata)]), Style::NEW)
    }

    /// Whether it has just these profiles, stored at these times, by this specification: nothing is to be done.
    pub fn is_of(&self, spec: &SymbolOffsetSpec, modified: &BTreeMap<String, Number>) -> bool {
        self.implementation == spec.implementation && self.base_symbol == spec.base_symbol && self.modified == *modified
    }

    /// How many profiles it has, with those that are another one again.
    pub fn len(&self) -> usize {
        self.modified.len()
    }

    /// Whether it has no profile.
    pub fn is_empty(&self) -> bool {
        self.modified.is_empty()
    }

    /// The profiles of which at least one trait is in a kernel with these symbols. A name may have several addresses. Traits
    /// with symbols that the kernel does not tell are not compared. Nothing, when the base symbol is not known.
    pub fn matches(&self, symbols: &HashMap<String, Vec<u64>>) -> Vec<IndexMatch> {
        let Some([base]) = symbols.get(&self.base_symbol).map(Vec::as_slice) else { return Vec::new() };
        let mut found = Vec::new();
        for (profile, traits) in &self.traits {
            let (mut matched, mut compared) = (0, 0);
            for known in traits {
                let seen: Option<Vec<&Vec<u64>>> = known.iter().map(|(name, _)| symbols.get(name)).collect();
                let Some(seen) = seen else { continue };
                compared += 1;
                let fits = |(seen, (_, at)): (&Vec<u64>, &(String, i64))| {
                    seen.iter().any(|address| address.wrapping_sub(*base).cast_signed() == *at)
                };
                matched += usize::from(seen.into_iter().zip(known).all(fits));
            }
            if matched > 0 {
                found.push(IndexMatch { profile: profile.clone(), matched, compared });
            }
        }
        found
    }
}

/// A section of the index, by profile or hash.
fn section<T>(
    index: &Node,
    key: &str,
    why: &str,
    read: impl Fn(&Node) -> Option<T>,
) -> Result<BTreeMap<String, T>, Error> {
    // An empty object is not written.
    let Some(items) = index.get(key) else { return Ok(BTreeMap::new()) };
    let items = items.as_dict().ok_or_else(|| Error::corrupt(key, "not an object").within("$INDEX"))?;
    let item = |(name, node): &(String, Node)| {
        let value = read(node).ok_or_else(|| Error::corrupt(name, why).within(key).within("$INDEX"))?;
        Ok((name.clone(), value))
    };
    items.iter().map(item).collect()
}

fn trait_of_node(node: &Node) -> Option<Trait> {
    let symbols = node.as_list().filter(|symbols| (1..=MAX_TRAITS).contains(&symbols.len()))?;
    let symbol = |node: &Node| {
        let [name, at] = node.as_list()? else { return None };
        Some((name.as_text()?.to_owned(), i64::try_from(at.as_i128()?).ok()?))
    };
    symbols.iter().map(symbol).collect()
}

/// The symbols of one kernel as its profile has them, by their distance from the base symbol.
pub struct KernelSymbols {
    /// Those that a running kernel has at the same distance, under this name.
    fixed: Vec<(String, i64)>,
    hash: String,
}

impl KernelSymbols {
    /// Those of a profile.
    ///
    /// # Errors
    /// It cannot be read, or lacks the base symbol.
    pub fn of(spec: &SymbolOffsetSpec, profile: &ProfileFile) -> Result<Self, Error> {
        let metadata = profile.metadata();
        // As the profile's file has the numbers: Rekall subtracts those.
        let mask = match (metadata.os(), metadata.arch()) {
            (Some(Os::Linux), Some(Arch::Amd64)) => ADDRESS_MASK,
            _ => u64::MAX,
        };
        let number = |name: &str| Ok(profile.symbol(name)?.map(|symbol| symbol.address & mask));
        let missing =
            || Error::corrupt(&spec.base_symbol, "missing, and distances count from it").within(profile.place());
        let base = number(&spec.base_symbol)?.ok_or_else(missing)?;
        let image = image(number)?;
        let mut names = profile.symbol_names()?;
        names.sort_unstable();
        names.dedup();
        let (mut fixed, mut told) = (Vec::new(), Vec::new());
        for name in names.into_iter().filter(|name| !name.contains('.') && *name != "__irf_end") {
            let Some(number) = number(name)? else { continue };
            let at = number.wrapping_sub(base).cast_signed();
            told.push(format!("({name}, {at})"));
            // Per-CPU and absolute numbers stay where they are when the kernel is moved; a symbol that has another name in
            // the kernel is not found there.
            if name != spec.base_symbol && image.contains(&number) && profile.linkage_name(name)?.is_none() {
                fixed.push((name.to_owned(), at));
            }
        }
        told.sort_unstable();
        Ok(Self { fixed, hash: Digest::of(&told.join("|")).sha256 })
    }
}

/// Where the kernel's image is; where the profile does not tell, all that is no small number.
fn image(number: impl Fn(&str) -> Result<Option<u64>, Error>) -> Result<Range<u64>, Error> {
    let first = |names: [&str; 2]| names.into_iter().find_map(|name| number(name).transpose()).transpose();
    let (start, end) = (first(["_text", "_stext"])?, first(["_end", "__bss_stop"])?);
    Ok(start.unwrap_or(1 << 31)..end.unwrap_or(u64::MAX))
}
