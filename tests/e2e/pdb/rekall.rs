//! Against the stored output of the original Rekall for 16 of the PDBs, its known faults put aside one by one.

use super::parsed;
use crate::support::corpus;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// File of the output, and the PDB that it was made from.
const OUTPUTS: [(&str, &str); 16] = [
    ("breakpad__dump_syms_regtest", "omap/dump_syms_regtest"),
    ("breakpad__dump_syms_regtest64", "omap/dump_syms_regtest64"),
    ("breakpad__omap_reorder_funcs", "omap/omap_reorder_funcs"),
    ("breakpad__omap_stretched", "omap/omap_stretched"),
    ("dump_syms__basic32-min", "msvc/basic32-min"),
    ("lld__ntkrnlmp_i686", "lld/ntkrnlmp_i686"),
    ("lld__ntkrnlmp_x86_64", "lld/ntkrnlmp_x86_64"),
    ("nt__ntkrnlpa", "nt/ntkrnlpa"),
    ("nt__wntdll", "nt/wntdll"),
    ("samply__win64-ci_WriteArgument", "msvc/win64-ci_WriteArgument"),
    ("syzygy__pdb__omapped_test_dll", "omap/pdb__omapped_test_dll"),
    ("win7ms__DUser", "win7ms/DUser"),
    ("win7ms__kernel32", "win7ms/kernel32"),
    ("win7ms__msvcrt", "win7ms/msvcrt"),
    ("win7ms__ntdll", "win7ms/ntdll"),
    ("win7ms__rpcrt4", "win7ms/rpcrt4"),
];

/// Calls `each` with the name of a PDB, the text of the original's output for it, and the PDB's path.
pub(super) fn each_stored(mut each: impl FnMut(&str, &str, &Path)) {
    let Some(packed) = corpus("windows/rekall/rekall-parse_pdb-outputs.tar.xz") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let tar = std::process::Command::new("tar").arg("xf").arg(packed).arg("-C").arg(folder.path()).status();
    assert!(tar.expect("tar runs").success());
    for (output, pdb) in OUTPUTS {
        let theirs = std::fs::read_to_string(folder.path().join(format!("{output}.json"))).expect("in the archive");
        let path = corpus(&format!("windows/pdb/{pdb}.pdb")).expect("the corpus is there");
        each(pdb, &theirs, &path);
    }
}

/// Calls `each` with the name of a PDB, the original's output for it, and ours.
fn each_output(each: impl Fn(&str, &Value, &Value)) {
    each_stored(|pdb, theirs, path| {
        let theirs = serde_json::from_str(theirs).expect("JSON");
        let ours = serde_json::from_str(&parsed(path).profile.to_rekall()).expect("JSON");
        each(pdb, &theirs, &ours);
    });
}

fn object<'v>(value: &'v Value, key: &str) -> &'v Map<String, Value> {
    static NONE: std::sync::OnceLock<Map<String, Value>> = std::sync::OnceLock::new();
    value.get(key).and_then(Value::as_object).unwrap_or_else(|| NONE.get_or_init(Map::new))
}

fn made_up(name: &str) -> bool {
    ["<unnamed-", "<anonymous-tag>", "__unnamed", "ENUM_"].iter().any(|part| name.contains(part))
}

/// A type as both can say it. Left out: names that were made up, the length of arrays (theirs is in bytes or halved where
/// they did not know better), the arguments of functions (theirs are half of them), and of an enum the integer behind it.
fn essence(class: &str, args: &Value) -> String {
    let class = match class {
        "char" | "bool" => "unsigned char",
        "unsigned int" => "unsigned long",
        // A pointer to UTF-16 text was String on 64 bits.
        "String" => "UnicodeString",
        name if made_up(name) => "made up",
        name => name,
    };
    let target = || {
        let none = Value::Null;
        let target = args["target"].as_str().unwrap_or("Void");
        essence(target, args.get("target_args").unwrap_or(&none))
    };
    match class {
        // A text, with its length where it is an array; theirs has `null` for no arguments.
        "UnicodeString" => format!("UnicodeString {}", args.get("length").unwrap_or(&Value::Null)),
        "Pointer" | "Array" => format!("{class} {}", target()),
        "BitField" => format!("BitField {}..{} {}", args["start_bit"], args["end_bit"], target()),
        "Enumeration" => {
            let name = args["enum_name"].as_str().unwrap_or_default();
            if made_up(name) { "Enumeration".to_owned() } else { format!("Enumeration {name}") }
        }
        _ => class.to_owned(),
    }
}

fn essence_of(ty: &Value) -> String {
    essence(ty[0].as_str().expect("a class"), &ty[1])
}

/// Members that are the original's alone. It took declarations of nested types for members at offset 0, and read on
/// behind the end of a record (which gave `CV_...`, `VectorRegister`, `Xmm7`).
fn fault(pdb: &str, name: &str, member: &str, theirs: &Value, ours: Option<&Value>) -> bool {
    let c_plus_plus = !pdb.starts_with("nt/") && !pdb.starts_with("win7ms/");
    let nested = theirs[1][0].as_str().is_some_and(|class| class.starts_with(&format!("{name}::")));
    let declaration = theirs[0] == 0 && (nested || ours.is_none());
    let overrun = ours.is_none() && (member.starts_with("CV_") || matches!(member, "VectorRegister" | "Xmm7"));
    c_plus_plus && (declaration || overrun)
}

#[test]
fn struct_members_are_the_original_s() {
    each_output(|pdb, theirs, ours| {
        let (structs, ours) = (object(theirs, "$STRUCTS"), object(ours, "$STRUCTS"));
        let mut faults = Vec::new();
        for (name, definition) in structs.iter().filter(|(name, _)| !made_up(name)) {
            let ours_of_name = ours.get(name).unwrap_or_else(|| panic!("{pdb}: {name} is missing"));
            if ours_of_name[0] != definition[0] {
                assert!(ours.contains_key(&format!("{name}_1")), "{pdb}: size of {name}");
                faults.push(name.clone());
            }
            for (member, theirs) in definition[1].as_object().expect("members") {
                let ours = ours_of_name[1].get(member);
                let same = ours.is_some_and(|ours| {
                    let pointer = |ty: &Value| ty[0] == "Pointer";
                    // A pointer to float, double or another type that it had no name for was one to Void.
                    let unnamed = pointer(&theirs[1]) && pointer(&ours[1]) && theirs[1][1]["target"] == "Void";
                    ours[0] == theirs[0] && (essence_of(&ours[1]) == essence_of(&theirs[1]) || unnamed)
                });
                if !same {
                    assert!(fault(pdb, name, member, theirs, ours), "{pdb}: {name}.{member}: {theirs} and {ours:?}");
                    faults.push(format!("{name}.{member}"));
                }
            }
        }
        let members: usize = structs.values().map(|s| s[1].as_object().map_or(0, Map::len)).sum();
        println!("{pdb}: {members} members, the original's faults: {}", faults.join(" "));
        if pdb == "nt/ntkrnlpa" {
            assert!(members >= 4015 && faults.is_empty());
        }
    });
}

#[test]
fn symbols_are_the_original_s() {
    each_output(|pdb, theirs, ours| {
        let linkage = object(&ours["$ISF"], "linkage_names");
        let mut compared = 0;
        for section in ["$CONSTANTS", "$FUNCTIONS"] {
            let mut names_at: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
            let mut decorated_at = BTreeSet::new();
            for (name, address) in object(ours, section) {
                let address = address.as_u64().expect("an address");
                names_at.entry(address).or_default().insert(without_number(name).to_owned());
                let linkage = linkage.get(name).and_then(Value::as_str).unwrap_or(name);
                if linkage.starts_with('?') {
                    decorated_at.insert(address);
                }
            }
            for (name, address) in object(theirs, section) {
                let address = address.as_u64().expect("an address");
                // It gave code that was removed from the image the address 0, C++ names another form and short literals none,
                // kept DEL and the argument bytes of assembler labels, and put absolute symbols into the last section.
                let name = without_number(name).trim_start_matches('\x7f');
                let absolute = matches!(name, "_fltused" | "_ldused");
                if address == 0 || decorated_at.contains(&address) || absolute {
                    continue;
                }
                let bare = name.rsplit_once('@').filter(|(_, bytes)| bytes.bytes().all(|b| b.is_ascii_digit()));
                let found = names_at.get(&address).is_some_and(|names| {
                    names.contains(name) || bare.is_some_and(|(bare, _)| names.contains(without_number(bare)))
                });
                assert!(found, "{pdb}: {name} at {address:#x}, where ours are {:?}", names_at.get(&address));
                compared += 1;
            }
        }
        println!("{pdb}: {compared} symbols");
        let all = object(theirs, "$CONSTANTS").len() + object(theirs, "$FUNCTIONS").len();
        assert!(compared * 10 >= all || pdb == "win7ms/rpcrt4", "{pdb}: only {compared} of {all} could be compared");
        if pdb == "nt/ntkrnlpa" {
            assert!(compared > 9_400, "{compared}");
        }
    });
}

/// A name without the number that tells it from others that collapse to it.
fn without_number(name: &str) -> &str {
    match name.rsplit_once('_') {
        Some((bare, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => bare,
        _ => name,
    }
}
