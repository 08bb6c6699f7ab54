//! What a conversion found and what it could not represent.

use crate::btf::BtfReport;
pub(super) use crate::btf::MAX_LISTED;
use serde::Serialize;

/// Counts of one conversion. Everything that the profile does not say although the source did is counted here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ConvertReport {
    /// Structs, unions and classes in the profile.
    pub structs: usize,
    /// Enumerations in the profile.
    pub enums: usize,
    /// Data symbols and absolute constants in the profile.
    pub constants: usize,
    /// Functions in the profile.
    pub functions: usize,
    /// Compilation units read.
    pub units: usize,
    /// Units that were not read to their end because their DWARF is damaged: file offset in `.debug_info` and reason.
    pub damaged_units: Vec<String>,
    /// Units written in Rust, whose types are left out: their names collide with those of C.
    pub rust_units: usize,
    /// Units whose types are in another file (split DWARF, `.dwo`) that was not found.
    pub split_units: usize,
    /// Those files: the name, and which paths were tried; at most 1,000.
    pub missing_files: Vec<String>,
    /// Types of which there are several layouts under one name. The most used one keeps the name, the others get `_1`,
    /// `_2`, ... after it.
    pub other_layouts: Vec<OtherLayouts>,
    /// Members that are left out, as "struct.member: reason"; at most 1,000, see `skipped_members`.
    pub skipped: Vec<String>,
    /// Number of members that are left out.
    pub skipped_members: usize,
    /// Types without a name that are left out: they lie more than 32 deep in others, or the name of their place is too long.
    pub nameless_types: usize,
    /// References to types that lead nowhere: to a type unit, to a supplementary file, outside the file, or in a circle.
    pub unresolved_types: usize,
    /// Relocations of a kind that debugging information does not use; the places they patch are wrong.
    pub skipped_relocations: usize,
    /// Symbols whose name another one of a lower address has; they are kept as `NAME_1`, `NAME_2`, ...
    pub repeated_symbols: usize,
    /// Variables whose type the source does not tell, and a list of well-known ones does.
    pub known_symbols: usize,
    /// Symbols of loaded modules in /proc/kallsyms, which are not the kernel's.
    pub module_symbols: usize,
    /// How far the kernel whose /proc/kallsyms was given had been moved from where it is linked, in bytes; it is undone.
    pub slide: Option<u64>,
    /// That it was moved is known by its start alone, which is not where kernels of x86-64 are linked.
    pub guessed_slide: bool,
    /// The addresses are those of a running kernel, and where it is linked is not known.
    pub running_addresses: bool,
    /// The list of symbols is of a kernel with `CONFIG_KALLSYMS_ALL` off: it has no data.
    pub functions_alone: bool,
    /// The file is not linked (a Mach-O `.o`): its symbols have no addresses and are left out.
    pub unlinked: bool,
    /// Files of the folder or zip that could not be looked into: the path and why.
    pub unreadable_files: Vec<String>,
    /// Lines of the System.map that are no symbol.
    pub bad_system_map_lines: usize,
    /// Lines of the config file that are no option.
    pub bad_config_lines: usize,
}

/// A type with several layouts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OtherLayouts {
    /// Its name.
    pub name: String,
    /// How often the layout that keeps the name is used: in DWARF the units that define it, in BTF the types that refer to
    /// it.
    pub uses: u64,
    /// Number of the other layouts.
    pub others: usize,
}

impl ConvertReport {
    pub(super) fn skip_member(&mut self, path: &str, why: &str) {
        self.skipped_members += 1;
        if self.skipped.len() < MAX_LISTED {
            self.skipped.push(format!("{path}: {why}"));
        }
    }

    /// Adds what a reading of BTF left out; there are two where a module has a base of its own.
    pub(super) fn add_btf(&mut self, found: BtfReport) {
        let room = MAX_LISTED.saturating_sub(self.skipped.len());
        self.skipped.extend(found.skipped.into_iter().take(room));
        self.skipped_members += found.skipped_members;
        self.nameless_types += found.nameless_types;
        self.unresolved_types += found.unresolved;
        let layouts = found.other_layouts.into_iter();
        self.other_layouts.extend(layouts.map(|(name, uses, others)| OtherLayouts { name, uses, others }));
    }

    /// What the profile lacks, a line each; empty when nothing is missing.
    pub fn losses(&self) -> Vec<String> {
        let counts = [
            (self.damaged_units.len(), "compilation units are damaged and were read in part"),
            (self.rust_units, "compilation units written in Rust were left out"),
            (
                self.split_units,
                "compilation units have their types in .dwo files (split DWARF) that were not found; --report lists where they were looked for",
            ),
            (
                self.other_layouts.len(),
                "type names have several layouts; the most used one has the name, the others `_1` and so on after it",
            ),
            (self.skipped_members, "members were left out"),
            (
                self.nameless_types,
                "types without a name were left out: they lie too deep in others, or the names of where they lie are too long",
            ),
            (self.unresolved_types, "references to types lead nowhere"),
            (self.skipped_relocations, "relocations of an unknown kind were not applied"),
            (self.repeated_symbols, "symbols share their name with another one, and have `_1` and so on after it"),
            (self.module_symbols, "symbols of loaded modules were left out"),
            (
                usize::from(self.guessed_slide),
                "list of symbols does not begin where kernels of x86-64 are linked: it was taken for /proc/kallsyms, and moved back (a System.map is believed when its name begins with System.map, or the config is with it)",
            ),
            (
                usize::from(self.running_addresses),
                "list of symbols has the addresses of the running kernel, which KASLR moved: they fit images of that boot",
            ),
            (
                usize::from(self.functions_alone),
                "list of symbols has functions alone (CONFIG_KALLSYMS_ALL is off), and plugins need the kernel's data; give its System.map: --system_map FILE",
            ),
            (
                usize::from(self.unlinked),
                "object file is not linked: its symbols have no addresses yet, and were left out",
            ),
            (self.unreadable_files.len(), "files could not be looked into"),
            (self.bad_system_map_lines, "lines of System.map are no symbol"),
            (self.bad_config_lines, "lines of the config file are no option"),
        ];
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect()
    }

    /// Why a source gave no types at all, and what to do.
    pub(super) fn why_no_types(&self) -> String {
        if let Some(missing) = self.missing_files.first() {
            format!(
                "the types of {} compilation units are in .dwo files (split DWARF) that were not found: {missing}; put them or the .dwp file beside it, or give them: --beside FILE",
                self.split_units
            )
        } else if let Some(unit) = self.damaged_units.first() {
            format!("no type could be read; the DWARF is damaged: {unit}")
        } else {
            "its debugging information has no types; build with CONFIG_DEBUG_INFO on and CONFIG_DEBUG_INFO_REDUCED off"
                .to_owned()
        }
    }
}
