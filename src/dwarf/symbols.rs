//! Symbols with their addresses, of a System.map, of `/proc/kallsyms` or of a symbol table.

use super::ConvertReport;
use super::system_map::Form;
use quaid_profile::{Arch, Profile};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Where x86-64 kernels are linked: `__START_KERNEL_map` (arch/x86/include/asm/page_64_types.h).
const X86_64_MAP: u64 = 0xffff_ffff_8000_0000;
/// `CONFIG_PHYSICAL_START` of x86-64, unless the configuration tells another.
const X86_64_PHYSICAL_START: u64 = 0x100_0000;
/// Randomised kernels of x86-64 are moved by steps of this, `CONFIG_PHYSICAL_ALIGN`, and by less than 1 GiB.
const X86_64_STEP: u64 = 0x20_0000;

/// What lies at a symbol's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Code.
    Function,
    /// Data.
    Data,
    /// Nothing: the address is a number, which no section of the kernel holds.
    Absolute,
}

impl Kind {
    /// Of a symbol in a section that has code, or has none.
    pub(super) fn of(code: bool) -> Self {
        if code { Self::Function } else { Self::Data }
    }
}

/// Symbols with their addresses; several may have one name.
#[derive(Default)]
pub(super) struct Symbols<'d> {
    constants: Vec<Symbol<'d>>,
    functions: Vec<Symbol<'d>>,
    absolute: BTreeSet<String>,
}

/// One, in the order of names and addresses.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Symbol<'d> {
    /// [`start`] of the name.
    start: [u64; 2],
    name: Cow<'d, str>,
    address: u64,
}

impl<'d> Symbol<'d> {
    fn new(name: Cow<'d, str>, address: u64) -> Self {
        Self { start: start(&name), name, address }
    }
}

/// The first bytes of a name, as numbers in the order of names: to sort a hundred thousand names takes half the time where it
/// seldom looks at the text.
fn start(name: &str) -> [u64; 2] {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(name.bytes()).for_each(|(to, byte)| *to = byte);
    let both = u128::from_be_bytes(bytes);
    [(both >> 64) as u64, both as u64]
}

impl<'d> Symbols<'d> {
    /// Adds one.
    pub(super) fn add(&mut self, name: impl Into<Cow<'d, str>>, address: u64, kind: Kind) {
        let symbol = Symbol::new(name.into(), address);
        if kind == Kind::Absolute {
            self.absolute.insert(symbol.name.clone().into_owned());
        }
        let symbols = if kind == Kind::Function { &mut self.functions } else { &mut self.constants };
        symbols.push(symbol);
    }

    /// Whether there is none with an address.
    pub(super) fn is_empty(&self) -> bool {
        // /proc/kallsyms, read without the right to, has the form of a System.map with all addresses 0.
        self.constants.iter().chain(&self.functions).all(|symbol| symbol.address == 0)
    }

    /// Puts all into the profile. Static symbols of several files may share a name: the one with the lowest address has
    /// it, the next ones get `_1`, `_2`, ... after it, and `$ISF` keeps the name. `$METADATA` tells which addresses are none
    /// of the kernel's image: `PerCPU`, and `Absolute`.
    pub(super) fn put(self, form: Form, profile: &mut Profile, report: &mut ConvertReport) {
        for (symbols, target) in [(self.constants, &mut profile.constants), (self.functions, &mut profile.functions)] {
            let (symbols, repeated) = named(symbols, &mut profile.isf.linkage_names);
            report.repeated_symbols += repeated;
            // Of an ordered list the map is built at once.
            *target = symbols.into_iter().map(|symbol| (symbol.name.into_owned(), symbol.address)).collect();
        }
        mark(self.absolute, form, profile);
    }
}

/// Gives each symbol a name of its own, and tells how many have another one than in the file. They are in order.
fn named<'d>(mut symbols: Vec<Symbol<'d>>, linkage_names: &mut BTreeMap<String, String>) -> (Vec<Symbol<'d>>, usize) {
    symbols.sort_unstable();
    symbols.dedup();
    let is_known = |name: &str| {
        let key = (start(name), name);
        symbols.binary_search_by(|known| (known.start, &*known.name).cmp(&key)).is_ok()
    };
    let mut numbered: Vec<Symbol<'d>> = Vec::new();
    let mut number = 0;
    for pair in symbols.windows(2) {
        let [before, symbol] = pair else { continue };
        if before.name != symbol.name {
            number = 0;
            continue;
        }
        let free = loop {
            number += 1;
            let free = format!("{}_{number}", symbol.name);
            // Of two names no numbers make the same: what is before the last `_` differs.
            if !is_known(&free) {
                break free;
            }
        };
        linkage_names.insert(free.clone(), symbol.name.clone().into_owned());
        numbered.push(Symbol::new(free.into(), symbol.address));
    }
    symbols.dedup_by(|next, before| next.name == before.name);
    let repeated = numbered.len();
    symbols.append(&mut numbered);
    symbols.sort();
    (symbols, repeated)
}

/// Tells in `$METADATA` where per-CPU symbols lie, and which ones are absolute.
fn mark(mut absolute: BTreeSet<String>, form: Form, profile: &mut Profile) {
    let between = |start: &str, end: &str| Some(profile.symbol(start)?.address..profile.symbol(end)?.address);
    let per_cpu = between("__per_cpu_start", "__per_cpu_end").filter(|range| !range.is_empty());
    let image = between("_text", "_end");
    absolute.retain(|name| {
        let inside = |range: &Range<u64>| profile.constants.get(name).is_some_and(|address| range.contains(address));
        // What the linker computed from places in the image moves with them; /proc/kallsyms calls all that is per-CPU so.
        let moves = image.as_ref().is_some_and(inside);
        !(moves || form == Form::Kallsyms && per_cpu.as_ref().is_some_and(inside))
    });
    if let Some(Range { start, end }) = per_cpu {
        profile.metadata.set("PerCPU", vec![format!("{start:#x}"), format!("{end:#x}")]);
    }
    if !absolute.is_empty() {
        profile.metadata.set("Absolute", absolute.into_iter().collect::<Vec<String>>());
    }
}

/// How far the running kernel, whose `/proc/kallsyms` this is, was moved from where it is linked; `None` where the link
/// address is not known: only x86-64 has one for all.
pub(super) fn slide(profile: &Profile) -> Option<u64> {
    if profile.metadata.arch() != Some(Arch::Amd64) {
        return None;
    }
    let start = profile.config.get("CONFIG_PHYSICAL_START").and_then(|text| text.strip_prefix("0x"));
    let start = start.and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(X86_64_PHYSICAL_START);
    let slide = profile.symbol("_text")?.address.checked_sub(X86_64_MAP.checked_add(start)?)?;
    (slide < 1 << 30 && slide % X86_64_STEP == 0).then_some(slide)
}

/// Moves the symbols back to where the kernel is linked. Absolute ones, and those of x86-64 that are per-CPU, lie before its
/// start, and stay.
pub(super) fn undo_slide(profile: &mut Profile, slide: u64) {
    let Some(start) = profile.symbol("_text").or_else(|| profile.symbol("_stext")).map(|start| start.address) else {
        return;
    };
    for address in profile.constants.values_mut().chain(profile.functions.values_mut()) {
        if *address >= start {
            *address = address.wrapping_sub(slide);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_symbol_of_one_name_is_kept_and_takes_no_name_that_exists() {
        let mut symbols = Symbols::default();
        for (address, name) in [(30, "a"), (10, "a"), (20, "a"), (5, "a_1"), (20, "a")] {
            symbols.add(name, address, Kind::Data);
        }
        symbols.add("a", 40, Kind::Function);
        let (mut profile, mut report) = (Profile::default(), ConvertReport::default());
        symbols.put(Form::SystemMap, &mut profile, &mut report);
        let constants: Vec<_> = profile.constants.iter().map(|(name, address)| (name.as_str(), *address)).collect();
        assert_eq!(constants, [("a", 10), ("a_1", 5), ("a_2", 20), ("a_3", 30)]);
        assert_eq!(profile.functions["a"], 40);
        assert_eq!(profile.isf.linkage_names["a_3"], "a");
        assert_eq!(report.repeated_symbols, 2);
    }

    #[test]
    fn per_cpu_and_absolute_symbols_are_marked() {
        let put = |form| {
            let mut symbols = Symbols::default();
            for (address, name, kind) in [
                (0, "__per_cpu_start", Kind::Absolute),
                (0x1ea, "code_size", Kind::Absolute),
                (0x1000, "runqueues", Kind::Absolute),
                (0x3000, "__per_cpu_end", Kind::Absolute),
                (0x100_0000, "phys_startup_64", Kind::Absolute),
                (0xffff_ffff_8100_0000, "_text", Kind::Function),
                (0xffff_ffff_8200_1000, "init_per_cpu__runqueues", Kind::Absolute),
                (0xffff_ffff_8300_0000, "_end", Kind::Data),
            ] {
                symbols.add(name, address, kind);
            }
            let mut profile = Profile::default();
            symbols.put(form, &mut profile, &mut ConvertReport::default());
            profile.metadata.0
        };
        let names = |form| put(form)["Absolute"].as_array().expect("a list").len();
        assert_eq!(put(Form::Kallsyms)["PerCPU"], serde_json::json!(["0x0", "0x3000"]));
        assert_eq!(put(Form::Kallsyms)["Absolute"], serde_json::json!(["__per_cpu_end", "phys_startup_64"]));
        assert_eq!(names(Form::SystemMap), 5);
    }
}
