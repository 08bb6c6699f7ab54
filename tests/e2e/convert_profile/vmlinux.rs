//! The kernel of a distribution, whole: every struct against pahole, every symbol against nm, every type and symbol against
//! the ISF that dwarf2json made of it, the types of variables against the sizes in the symbol table. `scripts/check-vmlinux`
//! fetches the `vmlinux` (590 MB) and names it by `$QUAID_VMLINUX`; it takes a minute and 3 GB, and so these tests are
//! skipped everywhere else.

use super::oracles::{
    Aliases, Layout, Verdict, assert_every_layout, assert_every_typedef, isf_layouts, isf_type, masked, pahole_layouts,
    rekall_layouts, rekall_type, without_aliases,
};
use super::{DEBIAN_ISF, converted};
use crate::support::{arg, skipped, unpacked};
use quaid_profile::{Profile, ProfileFile, Type};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The vmlinux that `$QUAID_VMLINUX` names, and its profile.
pub(super) fn judged() -> Option<(PathBuf, &'static Value)> {
    static PROFILE: OnceLock<Value> = OnceLock::new();
    let Some(vmlinux) = std::env::var_os("QUAID_VMLINUX").map(PathBuf::from) else {
        skipped("$QUAID_VMLINUX names no vmlinux (scripts/check-vmlinux fetches one)");
        return None;
    };
    let profile = PROFILE.get_or_init(|| converted(&vmlinux));
    Some((vmlinux, profile))
}

/// The ISF that dwarf2json made of this very vmlinux.
fn isf_of(profile: &Value) -> Option<Value> {
    let path = unpacked(DEBIAN_ISF)?;
    let isf: Value = serde_json::from_slice(&std::fs::read(path).expect("readable")).expect("JSON");
    let source = &isf["metadata"]["linux"]["types"][0]["hash_value"];
    if *source == profile["$METADATA"]["SourceSHA256"] {
        return Some(isf);
    }
    skipped(&format!("the corpus' ISF is of another vmlinux, with the SHA-256 {source}"));
    None
}

#[test]
fn every_struct_is_as_pahole_has_it() {
    let Some((vmlinux, profile)) = judged() else { return };
    let Some(truth) = pahole_layouts("dwarf", &vmlinux) else { return };
    assert!(truth.len() > 7000, "{} structs", truth.len());
    assert_every_layout(&rekall_layouts(profile, 1), &truth);
    println!("{} structs and unions with all members, as pahole prints them", truth.len());
    let typedefs = assert_every_typedef(profile, "dwarf", &vmlinux).expect("pahole");
    assert!(typedefs > 2000, "{typedefs} members with a typedef");
    println!("{typedefs} members with the typedef that pahole prints");
}

/// Of nm: by name, address and size (0 where the table tells none).
fn symbol_table(vmlinux: &std::path::Path) -> BTreeMap<String, BTreeSet<(u64, u64)>> {
    let output = Command::new("nm").args(["-S", arg(vmlinux)]).output().expect("binutils");
    let text = String::from_utf8(output.stdout).expect("text");
    let mut symbols: BTreeMap<String, BTreeSet<(u64, u64)>> = BTreeMap::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let number = |text| u64::from_str_radix(text, 16).expect("hex");
        let (name, symbol) = match fields[..] {
            [address, size, _, name] => (name, (number(address), number(size))),
            [address, _, name] => (name, (number(address), 0)),
            _ => panic!("{line}"),
        };
        symbols.entry(name.to_owned()).or_default().insert(symbol);
    }
    symbols
}

/// By name as the file has it, the addresses of the profile's symbols, as Rekall masks them.
fn addresses(profile: &Value) -> BTreeMap<&str, BTreeSet<u64>> {
    let names = &profile["$ISF"]["linkage_names"];
    let mut found: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for section in ["$CONSTANTS", "$FUNCTIONS"] {
        for (name, address) in profile[section].as_object().expect("a section") {
            let own = names[name].as_str().unwrap_or(name);
            found.entry(own).or_default().insert(address.as_u64().expect("an address"));
        }
    }
    found
}

/// Symbols whose size the assembler's source makes another than C declares.
const OF_ASSEMBLER: [&str; 2] = ["early_gdt_descr", "early_top_pgt"];
const ASSEMBLER: &str = "the assembler's source lays out in parts, or twice, what C declares as one";
const FLEXIBLE: &str = "a struct that ends in a flexible array is larger by what its variable has there";

#[test]
fn every_symbol_is_that_of_nm_and_every_variable_has_its_size() {
    let Some((vmlinux, value)) = judged() else { return };
    let table = symbol_table(&vmlinux);
    let mut verdict = Verdict::default();
    let ours = addresses(value);
    let labels = |name: &&String| !name.starts_with(".L");
    for (name, symbols) in table.iter().filter(|(name, _)| labels(name)) {
        let theirs: BTreeSet<u64> = symbols.iter().map(|&(address, _)| masked(address)).collect();
        if ours.get(name.as_str()) != Some(&theirs) {
            verdict.wrong(format!("{name}: {theirs:x?}, ours {:x?}", ours.get(name.as_str())));
        }
    }
    let compared = ours.len();
    verdict
        .unexplained
        .extend(ours.keys().filter(|name| !table.contains_key(**name)).map(|name| format!("{name} is ours alone")));

    let file = ProfileFile::parse("profile", value.to_string().as_bytes()).expect("a profile");
    let profile = file.decode().expect("a profile");
    let mut variables = 0;
    for (symbol, ty) in &profile.constant_types {
        let own = profile.isf.linkage_names.get(symbol).unwrap_or(symbol);
        let address = profile.constants[symbol];
        let told = table[own].iter().find(|(at, size)| *at == address && *size > 0);
        let (Some(&(_, told)), Some(size)) = (told, file.size_of(ty).expect("readable")) else { continue };
        variables += 1;
        if told == size {
            continue;
        }
        if told > size && ends_flexible(&profile, ty) {
            verdict.known(FLEXIBLE);
        } else if OF_ASSEMBLER.contains(&symbol.as_str()) {
            verdict.known(ASSEMBLER);
        } else {
            verdict.wrong(format!("{symbol}: {ty:?} of {size} bytes, and the symbol has {told}"));
        }
    }
    verdict.end(&format!(
        "{compared} names of symbols as nm prints them; the types of {variables} variables have their sizes"
    ));
}

fn ends_flexible(profile: &Profile, ty: &Type) -> bool {
    match ty {
        Type::Named(name) => profile.structs.get(name).is_some_and(|s| {
            let last = s.members.values().max_by_key(|member| member.offset);
            s.members
                .values()
                .any(|member| member.offset == s.size && matches!(member.ty, Type::Array { count: 0, .. }))
                || last.is_some_and(|member| ends_flexible(profile, &member.ty))
        }),
        Type::Array { count, .. } => *count == 0,
        _ => false,
    }
}

const ALIAS: &str = "dwarf2json lists a type that has a tag and a typedef under both names";
const OTHER_LAYOUT: &str = "of several layouts of one name dwarf2json keeps one; quaid keeps all, numbered";
const OPAQUE: &str = "dwarf2json calls a struct that is only declared by its typedef";
const ENUM_INTEGER: &str =
    "dwarf2json takes another integer type of the size for that of an enumeration, also one of the other sign";
const DECLARED: &str = "dwarf2json lists enumerations that are declared only, as empty ones";
const ENUM_TYPEDEF: &str = "dwarf2json calls an enumeration that a typedef names unnamed";
const BOOL_SIGN: &str = "dwarf2json takes _Bool for signed";

/// Whether it is the name of another layout: `NAME_1`.
pub(super) fn is_numbered(name: &str, is_known: impl Fn(&str) -> bool) -> bool {
    name.rsplit_once('_').is_some_and(|(plain, number)| number.parse::<u32>().is_ok() && is_known(plain))
}

/// Calls what our types refer to by the name without the number, where only quaid numbers it.
fn without_numbers(layouts: &mut BTreeMap<String, Layout>, theirs: &BTreeMap<String, Layout>) {
    for (_, _, ty) in layouts.values_mut().flat_map(|layout| layout.members.values_mut()) {
        let start = ty.rfind(['*', ']', ' ']).map_or(0, |at| at + 1);
        if !theirs.contains_key(&ty[start..]) && is_numbered(&ty[start..], |plain| theirs.contains_key(plain)) {
            let end = ty.rfind('_').expect("a number");
            ty.truncate(end);
        }
    }
}

/// The reason that layouts with members at the same places differ in the types of some; `None` where there is none.
fn only_names_differ(own: &Layout, layout: &Layout, theirs: &BTreeMap<String, Layout>) -> Option<&'static str> {
    if own.bytes != layout.bytes || own.members.len() != layout.members.len() {
        return None;
    }
    let mut reason = None;
    for (name, (bit, bits, ty)) in &own.members {
        let (their_bit, their_bits, told) = layout.members.get(name)?;
        if (bit, bits) != (their_bit, their_bits) {
            return None;
        }
        let is_known = |ty: &str| theirs.contains_key(ty);
        let (pointed, pointed_told) = (ty.trim_start_matches('*'), told.trim_start_matches('*'));
        if ty != told {
            if pointed_told != format!("{pointed}_t") || [ty, told, pointed_told].into_iter().any(is_known) {
                return None;
            }
            reason = Some(OPAQUE);
        }
    }
    reason
}

#[test]
fn every_type_is_that_of_dwarf2json() {
    let Some((_, profile)) = judged() else { return };
    let Some(isf) = isf_of(profile) else { return };
    let aliases = Aliases::of(&isf);
    let (mut ours, mut theirs) = (rekall_layouts(profile, usize::MAX), isf_layouts(&isf));
    without_aliases(&mut ours, &aliases);
    without_aliases(&mut theirs, &aliases);
    without_numbers(&mut ours, &theirs);
    let mut verdict = Verdict::default();
    for (name, layout) in &theirs {
        let numbered = (1..20).map(|number| format!("{name}_{number}"));
        let candidates: Vec<&Layout> =
            std::iter::once(name.clone()).chain(numbered).filter_map(|name| ours.get(&name)).collect();
        match candidates.iter().position(|own| own.agrees(layout)) {
            Some(0) => continue,
            Some(_) => {
                verdict.known(OTHER_LAYOUT);
                continue;
            }
            None => {}
        }
        if !ours.contains_key(name) && aliases.others(name).any(|other| ours.contains_key(other)) {
            verdict.known(ALIAS);
        } else if let Some(why) = candidates.iter().find_map(|own| only_names_differ(own, layout, &theirs)) {
            verdict.known(why);
        } else {
            let difference = candidates.first().map_or_else(|| "absent".to_owned(), |own| own.difference(layout));
            verdict.wrong(format!("{name}:\n{difference}"));
        }
    }
    for name in ours.keys().filter(|name| !theirs.contains_key(*name)) {
        if is_numbered(name, |plain| theirs.contains_key(plain)) {
            verdict.known(OTHER_LAYOUT);
        } else {
            verdict.wrong(format!("{name} is ours alone"));
        }
    }
    let enums = compare_enums(profile, &isf, &aliases, &mut verdict);
    let base_types = isf["base_types"].as_object().expect("base types");
    // What every ISF file has, and no other form needs.
    for (name, base) in base_types.iter().filter(|(name, _)| !matches!(name.as_str(), "pointer" | "void")) {
        let (mut base, own) = (base.clone(), &profile["$ISF"]["base_types"][name]);
        if name == "_Bool" {
            verdict.known(BOOL_SIGN);
            base["signed"] = false.into();
        }
        if base != *own {
            verdict.wrong(format!("{name}: {base}, ours {own}"));
        }
    }
    verdict.end(&format!(
        "{} types, {enums} enumerations, {} base types as dwarf2json has them",
        theirs.len(),
        base_types.len()
    ));
}

/// Labels with their values as numbers of 64 bits without a sign.
fn modulo_size(constants: &Value) -> BTreeMap<&str, u64> {
    let number = |value: &Value| value.as_u64().or(value.as_i64().map(i64::cast_unsigned)).expect("a number");
    constants.as_object().expect("labels").iter().map(|(label, value)| (label.as_str(), number(value))).collect()
}

fn compare_enums(profile: &Value, isf: &Value, aliases: &Aliases<'_>, verdict: &mut Verdict) -> usize {
    let theirs = isf["enums"].as_object().expect("enums");
    let ours = profile["$REVENUMS"].as_object().expect("enums");
    let named = |name: &&String| !name.starts_with("unnamed_");
    for (name, told) in theirs.iter().filter(|(name, _)| named(name)) {
        let numbered = (1..20).map(|number| format!("{name}_{number}"));
        let same = |own: &String| {
            let kept = &profile["$ISF"]["enums"][own];
            ours.get(own) == Some(&told["constants"]) && kept["size"] == told["size"] && kept["base"] == told["base"]
        };
        let (own_size, own_base) = (&profile["$ISF"]["enums"][name]["size"], &profile["$ISF"]["enums"][name]["base"]);
        if same(name) {
        } else if *own_size == told["size"]
            && *own_base != told["base"]
            && ours.get(name).is_some_and(|own| modulo_size(own) == modulo_size(&told["constants"]))
        {
            verdict.known(ENUM_INTEGER);
        } else if numbered.into_iter().any(|own| same(&own)) {
            verdict.known(OTHER_LAYOUT);
        } else if told["base"] == "void" {
            verdict.known(DECLARED);
        } else if !ours.contains_key(name) && aliases.others(name).any(|other| ours.contains_key(other)) {
            verdict.known(ALIAS);
        } else {
            verdict.wrong(format!("enum {name}: {told}, ours {:?} {}", ours.get(name), profile["$ISF"]["enums"][name]));
        }
    }
    let unnamed: BTreeSet<String> =
        theirs.iter().filter(|(name, _)| !named(name)).map(|(_, told)| told["constants"].to_string()).collect();
    for (name, values) in ours.iter().filter(|(name, _)| !name.contains('.') && !theirs.contains_key(*name)) {
        if unnamed.contains(&values.to_string()) {
            verdict.known(ENUM_TYPEDEF);
        } else if is_numbered(name, |plain| theirs.contains_key(plain)) {
            verdict.known(OTHER_LAYOUT);
        } else {
            verdict.wrong(format!("enum {name} is ours alone"));
        }
    }
    theirs.len()
}

const NO_ADDRESS: &str =
    "dwarf2json lists files, and variables without an address (of functions, or only declared), at address 0";
const LABELS: &str = "dwarf2json lists the compiler's labels (.L), which are no symbols of the kernel's";
const DISCARDED: &str = "dwarf2json lists variables that the linker discarded, where DWARF says they would be";
const CODE: &str = "what lies in code is a function: dwarf2json gives it the type of a variable that C declares there, or of another of that name";
const NO_VARIABLE: &str =
    "dwarf2json gives what the assembler's or linker's source defines the type of something in a function";
/// How often that occurs, and no oftener.
const MAX_NO_VARIABLE: usize = 20;
const DECLARATION: &str = "dwarf2json takes the declaration of an array without its length";
const OTHER_VARIABLE: &str = "dwarf2json takes the type of another variable with this name, also of one in a function; quaid's has the size of the symbol";

#[test]
fn every_symbol_is_that_of_dwarf2json() {
    let Some((vmlinux, profile)) = judged() else { return };
    let Some(isf) = isf_of(profile) else { return };
    let (table, aliases, ours) = (symbol_table(&vmlinux), Aliases::of(&isf), addresses(profile));
    let file = ProfileFile::parse("profile", profile.to_string().as_bytes()).expect("a profile");
    let theirs = isf["symbols"].as_object().expect("symbols");
    let mut verdict = Verdict::default();
    let mut typed = 0;
    for (name, symbol) in theirs {
        let address = symbol["address"].as_u64().expect("an address");
        let Some(own) = ours.get(name.as_str()) else {
            match address {
                0 => verdict.known(NO_ADDRESS),
                _ if name.starts_with(".L") => verdict.known(LABELS),
                _ if !table.contains_key(name) => verdict.known(DISCARDED),
                _ => verdict.wrong(format!("{name} at {address:#x} is missing")),
            }
            continue;
        };
        if !own.contains(&masked(address)) {
            verdict.wrong(format!("{name}: {address:#x}, ours {own:x?}"));
        }
        let mut told = isf_type(&symbol["type"]);
        aliases.apply(&mut told);
        if told == "void" {
            continue;
        }
        typed += 1;
        // The size of the symbol that ours is.
        let at = file.symbol(name).expect("readable").expect("it is there").address;
        let size = table[name].iter().find(|(known, _)| *known == at).map_or(0, |(_, size)| *size);
        let ty = &profile["$CONSTANT_TYPES"][name];
        if ty.is_null() {
            verdict.known(if profile["$FUNCTIONS"].get(name).is_some() { CODE } else { NO_VARIABLE });
            continue;
        }
        let mut own = rekall_type(ty[0].as_str().expect("a class"), &ty[1]);
        aliases.apply(&mut own);
        let own_size = file.constant_type(name).expect("readable").and_then(|ty| file.size_of(&ty).expect("readable"));
        let element = |ty: &str| ty.split_once(']').map(|(_, element)| element.to_owned());
        if own == told {
        } else if told.starts_with("[0]") && element(&own) == element(&told) {
            verdict.known(DECLARATION);
        } else if size > 0 && own_size == Some(size) {
            verdict.known(OTHER_VARIABLE);
        } else {
            verdict.wrong(format!("{name} of {size} bytes: {told}, ours {own} of {own_size:?} bytes"));
        }
    }
    for name in ours.keys().filter(|name| !theirs.contains_key(**name)) {
        verdict.wrong(format!("{name} is ours alone"));
    }
    if verdict.known.get(NO_VARIABLE).is_some_and(|&count| count > MAX_NO_VARIABLE) {
        verdict.wrong("many variables have no type".to_owned());
    }
    verdict.end(&format!("{} symbols, {typed} of them with a type, as dwarf2json has them", theirs.len()));
}
