//! Symbols against llvm-pdbutil's dump of every record, names against llvm-undname, moved functions against DIA.

use super::{good_pdbs, installed, name, parsed_with};
use crate::support::corpus;
use quaid::pdb::ParseOptions;
use quaid_profile::{Profile, Type};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

fn everything() -> ParseOptions {
    ParseOptions { module_symbols: true, ..ParseOptions::default() }
}

/// Names by address: those of the profile, and those that the file has for them.
fn names_at(profile: &Profile) -> HashMap<u64, Vec<(&str, &str)>> {
    let mut at: HashMap<u64, Vec<(&str, &str)>> = HashMap::new();
    for (name, address) in profile.constants.iter().chain(&profile.functions) {
        let linkage = profile.isf.linkage_names.get(name).unwrap_or(name);
        at.entry(*address).or_default().push((name, linkage));
    }
    at
}

fn is_name(ours: &str, name: &str) -> bool {
    let number = |rest: &str| rest.strip_prefix('_').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    ours.strip_prefix(name).is_some_and(|rest| rest.is_empty() || number(rest))
}

/// What llvm-undname makes of each name, in their order.
fn undecorated(names: &[&str], options: &[&str]) -> Vec<String> {
    let mut command = Command::new("llvm-undname");
    let mut child = command.args(options).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let child = child.as_mut().expect("llvm-undname starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let text = names.join("\n") + "\n";
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()).expect("written"));
    let output = std::io::read_to_string(child.stdout.take().expect("a pipe")).expect("text");
    writer.join().expect("written");
    child.wait().expect("it ends");
    // Each name, what it is, and an empty line; of a name that it cannot read, the name alone.
    let mut of: HashMap<&str, &str> = HashMap::new();
    for (line, next) in output.lines().zip(output.lines().skip(1)) {
        if line.starts_with('?') {
            of.entry(line).or_insert(next);
        }
    }
    // Its word for some that the compiler makes is another one than the compiler's.
    let text = |name: &&str| of.get(name).copied().unwrap_or_default().replace("dtor'", "destructor'");
    names.iter().map(text).collect()
}

/// A C++ name without what one writes and the other does not.
fn bare(name: &str) -> String {
    let name = name.replace("unsigned __int64", "uint64_t").replace("__int64", "int64_t");
    ["class ", "struct ", "union ", "enum ", " "].iter().fold(name, |name, word| name.replace(word, ""))
}

/// A record of `llvm-pdbutil dump -globals -publics -symbols` that has an address, or a number.
struct Record {
    kind: String,
    name: String,
    /// Of a symbol its address, of a constant its value.
    value: i128,
    /// The type's text.
    ty: Option<String>,
}

fn records(path: &Path) -> Vec<Record> {
    let dump = Command::new("llvm-pdbutil")
        .args(["dump", "-section-headers", "-globals", "-publics", "-symbols"])
        .arg(path)
        .output()
        .expect("it runs");
    assert!(dump.status.success(), "{}", path.display());
    let dump = String::from_utf8_lossy(&dump.stdout);
    let sections: Vec<i128> = dump
        .lines()
        .filter_map(|line| line.trim().strip_suffix(" virtual address"))
        .map(|hex| i128::from_str_radix(hex, 16).expect("an address"))
        .collect();
    let mut records = Vec::new();
    let mut current: Option<(String, String)> = None;
    let mut ty = None;
    for line in dump.lines() {
        if let Some((_, rest)) = line.split_once(" | S_") {
            let (kind, rest) = rest.split_once(" [").unwrap_or((rest, ""));
            let name = rest.split_once("] `").map(|(_, name)| name.trim_end().trim_end_matches('`').to_owned());
            // A name that ends in a quote of its own keeps it.
            let name =
                name.map(|name| if name.starts_with('`') && !name.contains('\'') { format!("{name}`") } else { name });
            current = name.map(|name| (kind.trim().to_owned(), name));
            ty = None;
            continue;
        }
        let Some((kind, name)) = &current else { continue };
        let after = |key: &str| line.split_once(key).map(|(_, rest)| rest.split([',', ' ']).next().unwrap_or_default());
        if let Some((_, text)) = line.split_once("type = ") {
            ty = text.split_once('(').map(|(_, text)| text.split(')').next().unwrap_or_default().to_owned());
        }
        let value = match kind.as_str() {
            "PUB32" | "GDATA32" | "LDATA32" | "GTHREAD32" | "LTHREAD32" | "GPROC32" | "LPROC32" | "THUNK32" => {
                after("addr = ").and_then(|place| {
                    let (section, offset) = place.split_once(':').expect("section and offset");
                    let section: usize = section.parse().expect("a number");
                    let offset: i128 = offset.parse().expect("a number");
                    let start = section.checked_sub(1).map(|at| sections.get(at).copied());
                    // Section 0 is what the linker left out, the one after the last is no section.
                    start.map(|start| start.unwrap_or(0) + offset)
                })
            }
            "CONSTANT" => line.split_once("value = ").and_then(|(_, value)| value.trim().parse().ok()),
            _ => None,
        };
        if let Some(value) = value {
            records.push(Record { kind: kind.clone(), name: name.clone(), value, ty: ty.clone() });
            current = None;
        }
    }
    records
}

/// Every public, data symbol, procedure and thunk of every stream is there at its address, and nothing else; every
/// constant is a label. PDBs with OMAP have their own judges.
#[test]
fn symbols_are_llvm_s() {
    if !installed("llvm-pdbutil") || !installed("llvm-undname") {
        return;
    }
    let mut compared: BTreeMap<String, usize> = BTreeMap::new();
    for path in good_pdbs() {
        let moved = ["omap_reorder_funcs.pdb", "omap_stretched.pdb", "pdb__omapped_test_dll.pdb"];
        let folder = path.parent().and_then(Path::file_name).expect("a folder");
        // llvm-pdbutil cannot read the XP kernel.
        if folder == "win7ms" || moved.contains(&&*name(&path)) || name(&path) == "ntkrnlpa.pdb" {
            continue;
        }
        let records = records(&path);
        let profile = parsed_with(&path, everything()).profile;
        let ours = names_at(&profile);
        let decorated: Vec<&str> =
            ours.values().flatten().map(|(_, linkage)| *linkage).filter(|name| name.starts_with('?')).collect();
        let texts = undecorated(&decorated, &[]);
        let plain: HashMap<&str, String> = decorated.iter().copied().zip(texts.iter().map(|text| bare(text))).collect();
        let labels: BTreeSet<(&str, i128)> =
            profile.enums.values().flat_map(|e| &e.values).map(|(label, value)| (label.as_str(), *value)).collect();
        let mut theirs: BTreeSet<(u64, &str)> = BTreeSet::new();
        for record in &records {
            let what = || format!("{}: S_{} {} {:#x}", path.display(), record.kind, record.name, record.value);
            *compared.entry(record.kind.clone()).or_default() += 1;
            if record.kind == "CONSTANT" {
                let label = record.name.rsplit("::").next().unwrap_or_default();
                // llvm-pdbutil prints the labels of signed types as clang writes them, without their sign.
                let values = [0u32, 8, 16, 32, 64].map(|bits| record.value - if bits == 0 { 0 } else { 1i128 << bits });
                let known = |name: &str| values.iter().any(|value| labels.contains(&(name, *value)));
                let numbered = (1..100).any(|n| known(&format!("{}_{n}", record.name)));
                assert!(known(label) || known(&record.name) || numbered, "{}", what());
                continue;
            }
            let address = u64::try_from(record.value).expect("an address");
            theirs.insert((address, &record.name));
            let here = ours.get(&address).map(Vec::as_slice).unwrap_or_default();
            let found = here.iter().find(|(name, linkage)| {
                let bare = bare(&record.name);
                let undecorated = || plain.get(linkage).is_some_and(|plain| plain.contains(&bare));
                *linkage == record.name || is_name(name, &record.name) || record.kind != "PUB32" && undecorated()
            });
            let Some((name, _)) = found else { panic!("{}: here are {here:?}", what()) };
            let function = profile.functions.contains_key(*name);
            let is_code = matches!(&*record.kind, "GPROC32" | "LPROC32" | "THUNK32");
            assert!(function || !is_code, "{}", what());
            // A struct by name is the type of the data.
            if let Some(ty) = record.ty.as_ref().filter(|ty| !function && profile.structs.contains_key(*ty)) {
                let told = here.iter().filter_map(|(name, _)| profile.constant_types.get(*name));
                assert!(
                    told.clone().any(|told| matches!(told, Type::Named(name) if is_name(name, ty))),
                    "{}: {:?}",
                    what(),
                    told.collect::<Vec<_>>()
                );
            }
        }
        for (address, names) in &ours {
            for (name, linkage) in names {
                let known = theirs.range((*address, "")..=(*address, "\u{10ffff}"));
                let known = known.clone().any(|(_, theirs)| theirs == linkage || is_name(linkage, theirs));
                assert!(known, "{}: {name} ({linkage}) at {address:#x} is ours alone", path.display());
            }
        }
    }
    println!("{compared:?}");
    let least = [
        ("PUB32", 15_000),
        ("GDATA32", 900),
        ("LDATA32", 800),
        ("GPROC32", 2_000),
        ("LPROC32", 800),
        ("THUNK32", 40),
        ("CONSTANT", 4_000),
    ];
    for (kind, least) in least {
        assert!(good_pdbs().is_empty() || compared[kind] >= least, "{kind}: {compared:?}");
    }
}

/// Every literal of the corpus reads as LLVM reads it.
#[test]
fn literals_are_llvm_s() {
    if !installed("llvm-undname") {
        return;
    }
    let mut compared = 0;
    for path in good_pdbs() {
        let profile = parsed_with(&path, ParseOptions::default()).profile;
        let linkage = |name: &str| profile.isf.linkage_names.get(name).cloned();
        let literals: Vec<(String, &str)> = profile
            .constants
            .keys()
            .filter_map(|name| Some((linkage(name).filter(|linkage| linkage.starts_with("??_C@"))?, name.as_str())))
            .collect();
        let decorated: Vec<&str> = literals.iter().map(|(linkage, _)| linkage.as_str()).collect();
        for ((linkage, ours), theirs) in literals.iter().zip(undecorated(&decorated, &[])) {
            // Of some it thinks that they are UTF-16 or UTF-32 by their zeroes.
            let Some(text) = theirs.strip_prefix('"').or_else(|| theirs.strip_prefix("L\"")) else {
                assert!(theirs.starts_with("u\"") || theirs.starts_with("U\""), "{linkage}: {theirs}");
                continue;
            };
            let text = text.strip_suffix("...").unwrap_or(text);
            let text = text.strip_suffix('"').unwrap_or(text);
            // It escapes with as many digits as it takes, so that where they end can be read in two ways.
            let expected = [2, 4].map(|digits| written(text, digits));
            let (kind, ours) = ours.split_once(':').expect("str: or lstr:");
            assert!(kind == "str" || kind == "lstr" && theirs.starts_with('L'), "{linkage}: {kind}");
            assert!(expected.iter().any(|expected| is_name(ours, expected)), "{linkage}: {ours:?}, LLVM {theirs}");
            compared += 1;
        }
    }
    assert!(compared > 8_000 || good_pdbs().is_empty(), "{compared}");
}

/// A literal of C as it stands in a name.
fn written(literal: &str, max_digits: usize) -> String {
    let mut out = String::new();
    let mut rest = literal.chars();
    while let Some(c) = rest.next() {
        let c = if c == '\\' {
            match rest.next().expect("an escape") {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'a' => '\x07',
                'b' => '\x08',
                'f' => '\x0c',
                'v' => '\x0b',
                '0' => '\0',
                'x' => {
                    let digits: String = rest.clone().take(max_digits).take_while(char::is_ascii_hexdigit).collect();
                    rest.by_ref().take(digits.len()).for_each(drop);
                    char::from_u32(u32::from_str_radix(&digits, 16).expect("hex")).expect("a character")
                }
                other => other,
            }
        } else {
            c
        };
        match c {
            ' ' | '\t' => out.push('_'),
            '\n' => out.push('.'),
            '\0' | '\r' => {}
            c => out.push(c),
        }
    }
    out
}

/// C++ names read as LLVM reads them, but for a few kinds: constructors and conversions that are templates, function types
/// among the arguments of a template, RTTI descriptors.
#[test]
fn demangled_names_are_llvm_s() {
    if !installed("llvm-undname") {
        return;
    }
    let (mut compared, mut other) = (0, BTreeSet::new());
    let options = [
        "--no-access-specifier",
        "--no-calling-convention",
        "--no-return-type",
        "--no-member-type",
        "--no-variable-type",
    ];
    for path in good_pdbs() {
        let profile = parsed_with(&path, ParseOptions::default()).profile;
        let names: Vec<&str> =
            linkage(&profile).filter(|name| name.starts_with('?') && !name.starts_with("??_C@")).collect();
        for (name, theirs) in names.iter().zip(undecorated(&names, &options)) {
            let ours = quaid::demangle::demangle(name).unwrap_or_default();
            compared += 1;
            if ours.is_empty() || !bare(&theirs).contains(&bare(&ours)) {
                other.insert(format!("{name}: {ours} | {theirs}"));
            }
        }
    }
    println!("{compared} names, {} differ: {other:#?}", other.len());
    assert!(compared > 6_000 || good_pdbs().is_empty(), "{compared}");
    assert!(other.len() * 40 <= compared, "{} of {compared} differ", other.len());
}

fn linkage(profile: &Profile) -> impl Iterator<Item = &str> {
    let names = profile.constants.keys().chain(profile.functions.keys());
    names.map(|name| profile.isf.linkage_names.get(name).unwrap_or(name).as_str())
}

/// Every function and public symbol that DIA finds is there, and no function that it does not find. Of a function that
/// OMAP tore into pieces DIA lists each piece.
#[test]
fn functions_are_where_dia_finds_them() {
    for (stem, torn) in
        [("dump_syms_regtest", 0), ("dump_syms_regtest64", 0), ("omap_reorder_funcs", 0), ("omap_stretched", 17)]
    {
        let Some(path) = corpus(&format!("windows/pdb/omap/{stem}.pdb")) else { return };
        let profile = parsed_with(&path, everything()).profile;
        let at = names_at(&profile);
        let functions: BTreeSet<u64> = profile.functions.values().copied().collect();
        let listing = std::fs::read_to_string(path.with_extension("sym")).expect("a .sym beside the PDB");
        // FUNC [m] address size parameters name, PUBLIC [m] address parameters name
        let lines: Vec<(&str, u64, String)> = listing
            .lines()
            .filter_map(|line| {
                let words: Vec<&str> = line.split(' ').filter(|word| *word != "m").collect();
                let before = match words[0] {
                    "FUNC" => 4,
                    "PUBLIC" => 3,
                    _ => return None,
                };
                Some((words[0], u64::from_str_radix(words[1], 16).expect("an address"), words[before..].join(" ")))
            })
            .collect();
        assert!(lines.len() >= 162, "{stem}");
        let mut pieces = 0;
        for (kind, address, name) in &lines {
            // Functions by FUNC, labels of assembler code among PUBLIC.
            let found = if *kind == "FUNC" { functions.contains(address) } else { at.contains_key(address) };
            if found {
                let known = at[address].iter().any(|(ours, linkage)| {
                    let ours = ours.trim_start_matches('_');
                    let bare = name.trim_start_matches('_');
                    name.contains(ours) || bare == ours || linkage.contains(bare) || linkage.starts_with('?')
                });
                assert!(known, "{stem}: {name} at {address:#x}, where ours are {:?}", at[address]);
                continue;
            }
            let begins =
                lines.iter().any(|(_, other, same)| same == name && functions.contains(other) && other < address);
            assert!(*kind == "FUNC" && begins, "{stem}: {kind} {name} at {address:#x} is missing");
            pieces += 1;
        }
        assert_eq!(pieces, torn, "{stem}");
        let theirs: BTreeSet<u64> = lines.iter().map(|(_, address, _)| *address).collect();
        let extra: Vec<_> = profile.functions.iter().filter(|(_, address)| !theirs.contains(address)).collect();
        assert!(extra.is_empty(), "{stem}: {extra:?}");
    }
}

/// `--demangle`: names of the source, the linker's beside them.
#[test]
fn demangled_profiles_keep_the_linker_s_names() {
    let Some(path) = corpus("windows/pdb/omap/dump_syms_regtest64.pdb") else { return };
    let options = ParseOptions { demangle: true, ..ParseOptions::default() };
    let profile = parsed_with(&path, options).profile;
    let address = profile.functions["google_breakpad::C::set_member"];
    assert_eq!(profile.isf.linkage_names["google_breakpad::C::set_member"], "?set_member@C@google_breakpad@@QEAAXH@Z");
    let plain = parsed_with(&path, ParseOptions::default()).profile;
    assert_eq!(plain.functions["?set_member@C@google_breakpad@@QEAAXH@Z"], address);
    assert_eq!(plain.functions.len(), profile.functions.len());
    assert_eq!(plain.constants.len(), profile.constants.len());
}
