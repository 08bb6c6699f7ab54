//! PDBs of the corpus against other readers: llvm-pdbutil and pdb2 for types, pdb2, Microsoft's own tools (`.sym` files
//! made with DIA, a debugger's listing) and the original Rekall for symbols.

use crate::support::{arg, corpus, ok, run};
use quaid::pdb::{ParseOptions, Parsed, parse};
use quaid_profile::{Profile, Type};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

mod build;
mod compat;
mod differ;
mod hostile;
mod isr;
mod llvm;
mod made;
mod many;
mod mutated;
mod old;
mod rekall;
mod symbols;

/// Every PDB of the corpus that is not damaged or of format 2.00, by its path in `windows/pdb`.
fn good_pdbs() -> Vec<PathBuf> {
    let Some(folder) = corpus("windows/pdb") else { return vec![] };
    let folders = ["lld", "msvc", "nt", "omap", "win7ms"].map(|name| folder.join(name));
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).expect("a folder of the corpus"));
    let paths = files.map(|file| file.expect("readable").path());
    let good = |path: &PathBuf| path.extension().is_some_and(|e| e == "pdb") && !path.ends_with("pdb__fuzzed.pdb");
    let mut paths: Vec<PathBuf> = paths.filter(good).collect();
    paths.sort();
    assert_eq!(paths.len(), 24, "the corpus's PDBs");
    paths
}

/// Every PDB that judges of types read: the corpus's and those that the project makes.
fn judged_pdbs() -> Vec<PathBuf> {
    good_pdbs().into_iter().chain(made::made_pdbs()).collect()
}

fn name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

fn parsed(path: &Path) -> Parsed {
    parsed_with(path, ParseOptions::default())
}

fn parsed_with(path: &Path, options: ParseOptions) -> Parsed {
    let bytes = std::fs::read(path).expect("readable");
    let options = ParseOptions { file_name: name(path), ..options };
    parse(&bytes, &options, &mut |_, _| {}).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// The names that a file has, as it has them, with their addresses.
fn linkage_names(profile: &Profile) -> BTreeSet<(String, u64)> {
    let symbols = profile.constants.iter().chain(&profile.functions);
    let linkage = |name: &String| profile.isf.linkage_names.get(name).unwrap_or(name).clone();
    symbols.map(|(name, &address)| (linkage(name), address)).collect()
}

/// Every public symbol has the address that pdb2 gives it, and no other is there.
#[test]
fn public_symbols_are_pdb2_s() {
    use pdb2::FallibleIterator as _;
    let mut compared = 0;
    for path in good_pdbs() {
        let mut pdb = pdb2::PDB::open(std::fs::File::open(&path).expect("opens")).expect("a PDB");
        // pdb2 uses OMAP only where there are section headers of before; the others are judged by their .sym.
        if path.parent().is_some_and(|folder| folder.ends_with("omap")) && !name(&path).starts_with("dump_syms") {
            continue;
        }
        let map = pdb.address_map().expect("sections");
        let sections = pdb.sections().expect("sections").expect("sections").len();
        let table = pdb.global_symbols().expect("symbols");
        let (mut expected, mut others) = (BTreeSet::new(), BTreeSet::new());
        let mut symbols = table.iter();
        while let Some(symbol) = symbols.next().expect("a record") {
            let public = match symbol.parse() {
                Ok(pdb2::SymbolData::Public(public)) => public,
                Ok(pdb2::SymbolData::Data(data)) => {
                    let place = data.offset;
                    let absolute = usize::from(place.section) == sections + 1;
                    let address = if absolute { Some(place.offset) } else { place.to_rva(&map).map(|rva| rva.0) };
                    others.extend(address.map(|address| (data.name.to_string().into_owned(), u64::from(address))));
                    continue;
                }
                _ => continue,
            };
            let place = public.offset;
            // pdb2 knows no absolute symbols: they are in the section after the last.
            let absolute = usize::from(place.section) == sections + 1;
            let address = if absolute { Some(place.offset) } else { place.to_rva(&map).map(|rva| rva.0) };
            expected.extend(address.map(|address| (public.name.to_string().into_owned(), u64::from(address))));
        }
        compared += expected.len();
        let ours = linkage_names(&parsed(&path).profile);
        let lost: Vec<_> = expected.difference(&ours).take(5).collect();
        // Data that is not public has a test of its own.
        let extra: Vec<_> = ours.difference(&expected).filter(|known| !others.contains(known)).take(5).collect();
        assert!(lost.is_empty() && extra.is_empty(), "{}: lost {lost:?}, extra {extra:?}", path.display());
    }
    assert!(compared > 40_000 || good_pdbs().is_empty(), "{compared} symbols compared");
}

/// The XP kernel's symbols are those that a debugger lists.
#[test]
fn kernel_symbols_are_the_debugger_s() {
    const BASE: u64 = 0x804d_7000;
    let Some(listing) = corpus("windows/pdb/nt/ntkrnlpa.sym.txt") else { return };
    let profile = parsed(&listing.with_file_name("ntkrnlpa.pdb")).profile;
    let listing = std::fs::read_to_string(listing).expect("text");
    let mut other_names = 0;
    for line in listing.lines() {
        let (address, name) = line.split_once(' ').expect("address and name");
        let address = u64::from_str_radix(address.trim_start_matches("0x"), 16).expect("an address") - BASE;
        let symbol = profile.symbol(name).is_some_and(|symbol| symbol.address == address);
        let numbered = || (1..40).any(|n| profile.symbol(&format!("{name}_{n}")).is_some_and(|s| s.address == address));
        if symbol || numbered() {
            continue;
        }
        // Names that the debugger makes up itself: C++ ones undecorated, and cut at an `@`.
        let made_up = name.starts_with('`')
            || matches!(name, "___PchSym_" | "_real")
            || name.starts_with("_imp_")
            || name.ends_with("_NULL_THUNK_DATA");
        assert!(made_up, "{name} at RVA {address:#x}");
        assert!(profile.constants.values().any(|&known| known == address), "{name}: nothing at {address:#x}");
        other_names += 1;
    }
    assert_eq!(other_names, 47);
}

/// Identity and architecture, as the corpus's table has them. Ages are the DBI stream's.
#[test]
fn identities_are_the_table_s() {
    let Some(table) = corpus("windows/pdb/pdb-table.tsv") else { return };
    let table = std::fs::read_to_string(table).expect("text");
    let mut rows = BTreeMap::new();
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        rows.insert(columns[0].to_owned(), (columns[3].to_owned(), columns[5].to_owned(), columns[6].to_owned()));
    }
    for path in good_pdbs() {
        let folder = path.parent().and_then(Path::file_name).expect("a folder").to_string_lossy();
        let (guid, age, machine) = &rows[&format!("{folder}/{}", name(&path))];
        let metadata = parsed(&path).profile.metadata;
        assert_eq!(metadata.text("GUID_AGE"), Some(&*format!("{guid}{age}")), "{}", path.display());
        let machine = if machine.starts_with('0') { "I386" } else { machine };
        assert_eq!(metadata.text("arch"), Some(machine), "{}", path.display());
    }
}

/// What C source says, against what comes out: bit fields, arrays of arrays, function types, signed labels.
#[test]
fn types_of_nt_c() {
    let Some(path) = corpus("windows/pdb/lld/ntkrnlmp_x86_64.pdb") else { return };
    let profile = parsed(&path).profile;
    let member = |name: &str, member: &str| profile.structs[name].members[member].clone();
    let long = || Box::new(Type::named("long"));

    let pfn = member("_MMPTE_HARDWARE", "PageFrameNumber");
    let unit = Box::new(Type::named("unsigned long long"));
    assert_eq!((pfn.offset, pfn.ty), (0, Type::BitField { start: 12, end: 48, target: unit }));
    // CALLBACK is int (*)(struct _FORWARD_ONLY *, unsigned, ...).
    let forward = Type::pointer_to(Type::named("_FORWARD_ONLY"));
    let args = vec![forward.clone(), Type::named("unsigned long"), Type::Void];
    let callback = Type::pointer_to(Type::Function { args, ret: Some(long()) });
    assert_eq!(member("_EPROCESS", "cb").ty, callback);
    assert_eq!(member("_EPROCESS", "table").ty, Type::array_of(Type::array_of(callback, 3), 4));
    let pp = Type::pointer_to(Type::pointer_to(Type::array_of(Type::named("long"), 7)));
    assert_eq!(member("_EPROCESS", "pp").ty, pp);
    assert_eq!(member("_EPROCESS", "fwd").ty, forward);
    assert_eq!(member("_EPROCESS", "ImageFileName").ty, Type::array_of(Type::named("char"), 15));
    assert_eq!(member("_BIG", "after64k").offset, 70_000);
    // The members of this one take several records.
    assert_eq!(profile.structs["_HUGE_FIELDS"].members.len(), 3000);
    assert_eq!(profile.structs["_HUGE_FIELDS"].size, 24_000);

    // Anonymous types are named after who has them, and those inside them.
    let nested = "_EPROCESS::<unnamed-type-nested>";
    assert_eq!(member("_EPROCESS", "nested").ty, Type::named(nested));
    assert_eq!(profile.structs[nested].size, 2);
    assert_eq!(profile.structs[&format!("{nested}::<unnamed-type-inner>")].members["deep"].offset, 0);

    let labels: HashMap<&str, i128> =
        profile.enums["_POOL_TYPE"].values.iter().map(|(l, v)| (l.as_str(), *v)).collect();
    assert_eq!((labels["NegPool"], labels["BigPool"]), (-3, 0x7fff_ffff));
    assert_eq!(profile.base_types["long"].size, 4);
    assert_eq!(profile.constant_types["PsInitialSystemProcess"], Type::pointer_to(Type::named("_EPROCESS")));
}

/// The same input gives the same bytes, in another process as well.
#[test]
fn the_command_writes_the_same_bytes_and_replaces_only_the_same_build() {
    let Some(pdb) = corpus("windows/pdb/lld/ntkrnlmp_x86_64.pdb") else { return };
    let Some(other) = corpus("windows/pdb/lld/ntkrnlmp_i686.pdb") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("profile.json");
    let report = folder.path().join("report.json");
    let stdout = ok(&["--report", arg(&report), "parse_pdb", arg(&pdb)]);
    let again = ["parse_pdb", "-f", arg(&pdb), "--output", "profile.json", "-D", arg(folder.path())];
    ok(&again);
    let written = std::fs::read_to_string(&file).expect("written");
    assert_eq!(written, stdout);
    // Again over itself: the same build.
    ok(&again);
    // Another build is not replaced, nor is another file.
    let refused = run(&["parse_pdb", arg(&other), "--output", arg(&file)]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--overwrite"));
    assert_eq!(std::fs::read_to_string(&file).expect("still there"), written);
    ok(&["--overwrite", "parse_pdb", arg(&other), "--output", arg(&file)]);

    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(report).expect("written")).expect("JSON");
    assert_eq!(report["structs"], 18);
    assert_eq!(report["not_said"], serde_json::json!({}));
    // What ISF cannot say is told by place, of one PDB as of several.
    let told = folder.path().join("told.json");
    ok(&["--report", arg(&told), "parse_pdb", arg(&pdb), "--to", "isf"]);
    let one: serde_json::Value = serde_json::from_slice(&std::fs::read(&told).expect("written")).expect("JSON");
    let places = one["not_said"].as_object().expect("kinds").values().flat_map(|v| v.as_array().expect("places"));
    assert!(places.into_iter().any(|place| place == "$STRUCTS/_EPROCESS/cb"), "{one}");
    let many = ["--overwrite", "--report", arg(&told), "parse_pdb", arg(&pdb), "--to", "isf", "-D", arg(folder.path())];
    ok(&many);
    let many: serde_json::Value = serde_json::from_slice(&std::fs::read(&told).expect("written")).expect("JSON");
    assert_eq!(many[0]["not_said"], one["not_said"]);
    let concise = ok(&["parse_pdb", arg(&pdb), "--concise", "--win", "6.1.7601", "--profile_class", "Win7x64"]);
    let concise: serde_json::Value = serde_json::from_str(&concise).expect("JSON");
    assert!(concise.get("$CONSTANTS").is_none() && concise.get("$FUNCTIONS").is_none());
    let metadata = &concise["$METADATA"];
    let text = |key: &str| metadata[key].as_str().expect("a text").to_owned();
    assert_eq!([text("major"), text("minor"), text("rev")], ["6", "1", "7601"]);
    assert_eq!([text("ProfileClass"), text("arch")], ["Win7x64", "AMD64"]);
}

/// Whether a program of this name can be run.
fn installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        crate::support::skipped(&format!("{program} is not installed"));
    }
    found
}
