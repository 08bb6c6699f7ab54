//! Symbols with their addresses, of a System.map, of `/proc/kallsyms` or of a symbol table.

use super::ConvertReport;
use quaid_profile::{Arch, Profile};
use std::collections::{BTreeMap, HashSet};

/// Where x86-64 kernels are linked: `__START_KERNEL_map` (arch/x86/include/asm/page_64_types.h).
const X86_64_MAP: u64 = 0xffff_ffff_8000_0000;
/// `CONFIG_PHYSICAL_START` of x86-64, unless the configuration tells another.
const X86_64_PHYSICAL_START: u64 = 0x100_0000;
/// Randomised kernels of x86-64 are moved by steps of this, `CONFIG_PHYSICAL_ALIGN`, and by less than 1 GiB.
const X86_64_STEP: u64 = 0x20_0000;

/// Symbols by name, each name with all addresses that have it.
#[derive(Default)]
pub(super) struct Symbols {
    constants: BTreeMap<String, Vec<u64>>,
    functions: BTreeMap<String, Vec<u64>>,
}

impl Symbols {
    /// Adds one.
    pub(super) fn add(&mut self, name: String, address: u64, function: bool) {
        let symbols = if function { &mut self.functions } else { &mut self.constants };
        symbols.entry(name).or_default().push(address);
    }

    /// Whether there is none with an address.
    pub(super) fn is_empty(&self) -> bool {
        // /proc/kallsyms, read without the right to, has the form of a System.map with all addresses 0.
        self.constants.values().chain(self.functions.values()).flatten().all(|&address| address == 0)
    }

    /// Puts all into the profile. Static symbols of several files may share a name: the one with the lowest address has
    /// it, the next ones get `_1`, `_2`, ... after it, and `$ISF` keeps the name.
    pub(super) fn put(self, profile: &mut Profile, report: &mut ConvertReport) {
        for (symbols, target) in [(self.constants, &mut profile.constants), (self.functions, &mut profile.functions)] {
            let mut numbered = Vec::new();
            let mut taken: HashSet<String> = HashSet::new();
            for (name, addresses) in &symbols {
                let mut addresses = addresses.clone();
                addresses.sort_unstable();
                addresses.dedup();
                let mut number = 0;
                for &address in addresses.get(1..).unwrap_or_default() {
                    let free = loop {
                        number += 1;
                        let free = format!("{name}_{number}");
                        if !symbols.contains_key(&free) && taken.insert(free.clone()) {
                            break free;
                        }
                    };
                    numbered.push((free, name.clone(), address));
                }
            }
            report.repeated_symbols += numbered.len();
            for (name, linkage_name, address) in numbered {
                profile.isf.linkage_names.insert(name.clone(), linkage_name);
                target.insert(name, address);
            }
            for (name, addresses) in symbols {
                if let Some(&address) = addresses.iter().min() {
                    target.insert(name, address);
                }
            }
        }
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

/// Moves the symbols back to where the kernel is linked. Per-CPU and absolute ones lie below, and stay.
pub(super) fn undo_slide(profile: &mut Profile, slide: u64) {
    for address in profile.constants.values_mut().chain(profile.functions.values_mut()) {
        if *address >= X86_64_MAP {
            *address -= slide;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_symbol_of_one_name_is_kept_and_takes_no_name_that_exists() {
        let mut symbols = Symbols::default();
        for (address, name, function) in
            [(30, "a", false), (10, "a", false), (20, "a", false), (5, "a_1", false), (40, "a", true), (20, "a", false)]
        {
            symbols.add(name.to_owned(), address, function);
        }
        let (mut profile, mut report) = (Profile::default(), ConvertReport::default());
        symbols.put(&mut profile, &mut report);
        let constants: Vec<_> = profile.constants.iter().map(|(name, address)| (name.as_str(), *address)).collect();
        assert_eq!(constants, [("a", 10), ("a_1", 5), ("a_2", 20), ("a_3", 30)]);
        assert_eq!(profile.functions["a"], 40);
        assert_eq!(profile.isf.linkage_names["a_3"], "a");
        assert_eq!(report.repeated_symbols, 2);
    }
}
