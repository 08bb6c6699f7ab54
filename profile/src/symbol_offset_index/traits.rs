//! Which symbols tell the kernels of a repository apart.
//!
//! Of a few kernels every symbol is looked at; of many only some names, the same in all, so that no more than
//! [`MAX_SYMBOLS`] or so are in memory. A trait that is unique among these is unique: a kernel that has the symbol at all has
//! it among the names that are looked at.

use super::{KernelSymbols, SymbolOffsetIndex, SymbolOffsetSpec, Trait};
use serde_json::Number;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};

/// How many symbols are compared, of all kernels together.
const MAX_SYMBOLS: u64 = 1 << 20;
/// How many symbols a kernel has, about.
const KERNEL_SYMBOLS: u64 = 1 << 16;
/// How many kinds of symbols of a kernel are paired with each other, where single ones do not tell it apart.
const MAX_KINDS: usize = 256;

/// The symbols of a kernel, by how many and which kernels have them.
type Kinds<'k> = BTreeMap<(usize, &'k [usize]), Vec<&'k (String, i64)>>;

/// An index that is being made.
pub struct SymbolOffsetBuilder<'s> {
    spec: &'s SymbolOffsetSpec,
    /// Up to which number, by [`order`], a name is looked at.
    share: u64,
    /// Symbols by profile, in [`order`].
    kernels: BTreeMap<String, Vec<(String, i64)>>,
    hashes: BTreeMap<String, String>,
    modified: BTreeMap<String, Number>,
}

impl<'s> SymbolOffsetBuilder<'s> {
    /// An index of so many kernels.
    pub fn new(spec: &'s SymbolOffsetSpec, kernels: usize) -> Self {
        let kernels = u64::try_from(kernels).unwrap_or(u64::MAX).max(1);
        let share = u64::MAX / (kernels.saturating_mul(KERNEL_SYMBOLS) / MAX_SYMBOLS).max(1);
        Self { spec, share, kernels: BTreeMap::new(), hashes: BTreeMap::new(), modified: BTreeMap::new() }
    }

    /// Takes up the profile of this name, which was stored at this time (Unix, seconds). One whose symbols are those of a
    /// profile that was taken up before is only listed.
    pub fn take(&mut self, profile: &str, modified: Number, symbols: KernelSymbols) {
        self.modified.insert(profile.to_owned(), modified);
        if self.hashes.contains_key(&symbols.hash) {
            return;
        }
        self.hashes.insert(symbols.hash, profile.to_owned());
        let in_order = symbols.fixed.into_iter().map(|(name, at)| (order(&name), name, at));
        let mut in_order: Vec<_> = in_order.filter(|(order, ..)| *order <= self.share).collect();
        in_order.sort_unstable();
        let symbols = in_order.into_iter().map(|(_, name, at)| (name, at)).collect();
        self.kernels.insert(profile.to_owned(), symbols);
    }

    /// The index, and the profiles that nothing tells apart from another one: they are not in it.
    pub fn finish(self) -> (SymbolOffsetIndex, Vec<String>) {
        let mut owners: HashMap<&(String, i64), Vec<usize>> = HashMap::new();
        for (number, symbols) in self.kernels.values().enumerate() {
            for symbol in symbols {
                owners.entry(symbol).or_default().push(number);
            }
        }
        let (mut traits, mut alike) = (BTreeMap::new(), Vec::new());
        for (profile, symbols) in &self.kernels {
            // Symbols that the same kernels have are of one kind; those of few come first.
            let mut kinds = Kinds::new();
            for symbol in symbols {
                let owners = owners.get(symbol).map_or(&[][..], Vec::as_slice);
                kinds.entry((owners.len(), owners)).or_default().push(symbol);
            }
            let single = kinds.iter().take_while(|((owners, _), _)| *owners == 1).flat_map(|(_, symbols)| symbols);
            let mut found: Vec<Trait> = single.take(self.spec.traits).map(|&symbol| vec![symbol.clone()]).collect();
            let lacking = self.spec.traits - found.len();
            if lacking > 0 {
                found.extend(pairs(&kinds, lacking));
            }
            if found.is_empty() {
                alike.push(profile.clone());
            } else {
                traits.insert(profile.clone(), found);
            }
        }
        let Self { spec, mut hashes, mut modified, .. } = self;
        hashes.retain(|_, profile| traits.contains_key(profile));
        modified.retain(|profile, _| !alike.contains(profile));
        let (implementation, base_symbol) = (spec.implementation.clone(), spec.base_symbol.clone());
        (SymbolOffsetIndex { implementation, base_symbol, traits, hashes, modified }, alike)
    }
}

/// So many pairs of a kernel's symbols that no other kernel has both of: of two kinds that have only this kernel in common.
/// `kinds` are by how many and which kernels have the symbols.
fn pairs(kinds: &Kinds<'_>, most: usize) -> Vec<Trait> {
    let kinds: Vec<_> = kinds.iter().filter(|((owners, _), _)| *owners > 1).take(MAX_KINDS).collect();
    let mut pairs = Vec::new();
    for (number, ((_, owners), symbols)) in kinds.iter().enumerate() {
        for ((_, others), theirs) in kinds.iter().skip(number + 1) {
            if owners.iter().filter(|owner| others.binary_search(owner).is_ok()).count() > 1 {
                continue;
            }
            let of_two =
                symbols.iter().flat_map(|&one| theirs.iter().map(move |&other| vec![one.clone(), other.clone()]));
            pairs.extend(of_two.take(most - pairs.len()));
            if pairs.len() == most {
                return pairs;
            }
        }
    }
    pairs
}

/// Where a name is in the order in which names are looked at: by chance, and always the same, so that a further kernel
/// leaves the traits of the others as they were.
fn order(name: &str) -> u64 {
    let digest = Sha256::digest(name);
    digest.iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;
    use serde_json::json;

    fn spec() -> SymbolOffsetSpec {
        // As the public repository's.
        let spec = json!({"type": "symbol_offset", "implementation": "LinuxSymbolOffsetIndex", "path": "Linux",
            "base_symbol": "linux_proc_banner", "min_traits": 2});
        SymbolOffsetSpec::parse(&spec).expect("a specification")
    }

    /// A kernel whose symbols lie so far behind its banner.
    fn kernel(symbols: &[(&str, u64)]) -> ProfileFile {
        let base = 0xffff_8200_0000_u64;
        let mut all = json!({"linux_proc_banner": base, "_text": 0xffff_8100_0000_u64, "_end": 0xffff_8300_0000_u64,
            "runqueues": 0x1000, "a.12": base + 4, "__irf_end": base + 8});
        for (name, at) in symbols {
            all[*name] = json!(base + at);
        }
        let text = json!({"$METADATA": {"ProfileClass": "Linux", "arch": "AMD64"}, "$CONSTANTS": all}).to_string();
        ProfileFile::parse("a kernel", text.as_bytes()).expect("a profile")
    }

    fn index(kernels: &[(&str, ProfileFile)]) -> (SymbolOffsetIndex, Vec<String>) {
        let spec = spec();
        let mut builder = SymbolOffsetBuilder::new(&spec, kernels.len());
        for (name, profile) in kernels {
            builder.take(name, json!(1.0).as_number().expect("a number").clone(), symbols(&spec, profile));
        }
        builder.finish()
    }

    fn symbols(spec: &SymbolOffsetSpec, profile: &ProfileFile) -> KernelSymbols {
        KernelSymbols::of(spec, profile).expect("symbols")
    }

    /// The kernel as it runs, moved by KASLR.
    fn running(symbols: &[(&str, u64)]) -> HashMap<String, Vec<u64>> {
        let base = 0xffff_ffff_8200_0000_u64 + 0x1e00_0000;
        let symbols = symbols.iter().map(|(name, at)| ((*name).to_owned(), vec![base + at]));
        symbols.chain([("linux_proc_banner".to_owned(), vec![base])]).collect()
    }

    const ONE: &[(&str, u64)] = &[("init_task", 0x100), ("jiffies", 0x200), ("modules", 0x300)];
    /// Each symbol of it is one of another kernel.
    const MIXED: &[(&str, u64)] = &[("init_task", 0x100), ("jiffies", 0x280), ("modules", 0x380)];
    const OTHER: &[(&str, u64)] = &[("init_task", 0x180), ("jiffies", 0x280), ("modules", 0x380)];

    #[test]
    fn a_kernel_is_known_by_what_no_other_one_has() {
        let (index, alike) = index(&[
            ("Linux/one", kernel(ONE)),
            ("Linux/mixed", kernel(MIXED)),
            ("Linux/other", kernel(OTHER)),
            ("Linux/twin", kernel(ONE)),
        ]);
        assert_eq!((alike, index.len()), (vec![], 4));
        let found = |symbols: &[(&str, u64)]| -> Vec<(String, usize, usize)> {
            let found = index.matches(&running(symbols)).into_iter();
            found.map(|IndexMatch { profile, matched, compared }| (profile, matched, compared)).collect()
        };
        // Its twin is listed, and is what it is.
        assert_eq!(found(ONE), [("Linux/one".to_owned(), 2, 2)]);
        assert_eq!(found(MIXED), [("Linux/mixed".to_owned(), 2, 2)]);
        assert_eq!(found(OTHER), [("Linux/other".to_owned(), 1, 1)]);
        // One moved: a part fits, and it is told so.
        assert_eq!(
            found(&[("init_task", 0x100), ("jiffies", 0x200), ("modules", 0x308)]),
            [("Linux/one".to_owned(), 1, 2)]
        );
        assert_eq!(found(&[("jiffies", 0x200)]), [("Linux/one".to_owned(), 1, 1)]);
        assert_eq!(index.matches(&HashMap::new()), []);
        let (again, spec) = (SymbolOffsetIndex::parse("i", index.to_json().as_bytes()), spec());
        assert_eq!(again, Ok(index.clone()));
        let mut modified = index.modified.clone();
        assert!(index.is_of(&spec, &modified));
        modified.insert("Linux/one".to_owned(), 2.into());
        assert!(!index.is_of(&spec, &modified));
    }

    /// What `sha256sum` gives for `(_end, 16777216)|(_text, -16777216)|(init_task, 256)|(linux_proc_banner,
    /// 0)|(runqueues, -281472862777344)`.
    const HASH: &str = "7632e4b4f2ee11e1c8f9c2b947f6d806182d47409f74dfa77370221ad4f2f89a";

    #[test]
    fn the_hash_is_of_sorted_names_and_distances() {
        let told = symbols(&spec(), &kernel(&[("init_task", 0x100)]));
        assert_eq!(told.hash, HASH);
        assert_eq!(told.fixed, [("_text".to_owned(), -0x100_0000), ("init_task".to_owned(), 0x100)]);
    }

    #[test]
    fn kernels_that_nothing_tells_apart_are_left_out() {
        // They differ in a per-CPU symbol alone, which no running kernel has at that distance.
        let of = |per_cpu: u64| {
            let text = json!({"$METADATA": {"ProfileClass": "Linux", "arch": "AMD64"}, "$CONSTANTS": {
                "linux_proc_banner": 0xffff_8200_0000_u64, "_text": 0xffff_8100_0000_u64, "_end": 0xffff_8300_0000_u64,
                "init_task": 0xffff_8200_0100_u64, "runqueues": per_cpu}});
            ProfileFile::parse("a kernel", text.to_string().as_bytes()).expect("a profile")
        };
        let (index, alike) = index(&[("Linux/a", of(0x1000)), ("Linux/b", of(0x2000))]);
        assert_eq!((index.len(), alike), (0, vec!["Linux/a".to_owned(), "Linux/b".to_owned()]));
    }

    #[test]
    fn of_many_kernels_some_names_are_looked_at_and_each_is_found() {
        let layouts: Vec<Vec<(String, u64)>> = (0..40_u64)
            .map(|kernel| {
                (0..400_u64).map(|symbol| (format!("s{symbol}"), symbol * 0x100 + kernel * 8 * (symbol % 3))).collect()
            })
            .collect();
        let spec = spec();
        let mut builder = SymbolOffsetBuilder::new(&spec, 40);
        for (number, layout) in layouts.iter().enumerate() {
            let layout: Vec<(&str, u64)> = layout.iter().map(|(name, at)| (name.as_str(), *at)).collect();
            builder.take(&format!("Linux/{number:02}"), 1.into(), symbols(&spec, &kernel(&layout)));
        }
        assert!(builder.kernels.values().all(|symbols| symbols.len() < 300), "a half of the names");
        let (index, alike) = builder.finish();
        assert_eq!(alike, [""; 0]);
        for (number, layout) in layouts.iter().enumerate() {
            let layout: Vec<(&str, u64)> = layout.iter().map(|(name, at)| (name.as_str(), *at)).collect();
            let expected = IndexMatch { profile: format!("Linux/{number:02}"), matched: 2, compared: 2 };
            assert_eq!(index.matches(&running(&layout)), [expected]);
        }
    }

    /// Written by hand, as Rekall's build_index writes it.
    #[test]
    fn the_text_is_as_rekall_has_it_and_what_is_none_is_refused() {
        let text = "{\n \"$INDEX\": {\n  \"$HASHES\": {\n   \"00ff\": \"Linux/a\"\n  }, \n  \"$PROFILES\": {\n   \"Linux/a\": {\n    \
             \"LastModified\": 1795314601.5\n   }\n  }, \n  \"$TRAITS\": {\n   \"Linux/a\": [[[\"init_task\", 256]], \
             [[\"jiffies\", -8], [\"modules\", 16]]]\n  }\n }, \n \"$METADATA\": {\n  \"BaseSymbol\": \"linux_proc_banner\", \n  \
             \"ProfileClass\": \"LinuxSymbolOffsetIndex\", \n  \"Type\": \"Index\"\n }\n}";
        let index = SymbolOffsetIndex::parse("i", text.as_bytes()).expect("an index");
        assert_eq!(index.to_json(), text);
        let seen = running(&[("init_task", 256), ("modules", 16)]);
        assert_eq!(index.matches(&seen).len(), 1);
        let long =
            format!("{{\"$INDEX\": {{\"$TRAITS\": {{\"x\": [{}[[\"a\", 0]]]}}}}}}", "[[\"a\", 0]],".repeat(MAX_TRAITS));
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"$INDEX": []}"#,
            r#"{"$INDEX": {"$TRAITS": []}}"#,
            r#"{"$INDEX": {"$TRAITS": {"x": 1}}}"#,
            r#"{"$INDEX": {"$TRAITS": {"x": [[]]}}}"#,
            r#"{"$INDEX": {"$TRAITS": {"x": [[["a"]]]}}}"#,
            r#"{"$INDEX": {"$TRAITS": {"x": [[["a", 18446744073709551615]]]}}}"#,
            r#"{"$INDEX": {"$HASHES": {"x": 1}}}"#,
            r#"{"$INDEX": {"$PROFILES": {"x": {}}}}"#,
            &long,
        ] {
            let error = SymbolOffsetIndex::parse("some/index", bad.as_bytes()).expect_err(bad);
            assert!(error.to_string().starts_with("some/index"), "{error}");
        }
        for (bad, why) in [(json!({}), "path"), (json!({"path": "Linux", "min_traits": 0}), "min_traits")] {
            assert!(SymbolOffsetSpec::parse(&bad).is_err_and(|told| told.contains(why)), "{bad}");
        }
    }
}
