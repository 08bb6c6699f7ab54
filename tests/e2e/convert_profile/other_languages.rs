//! Kernels of which some units are written in C++ or Rust.

use super::layouts::listing;
use crate::support::{arg, skipped};
use quaid::dwarf::{ConvertReport, convert};
use quaid_profile::Profile;
use std::path::Path;
use std::process::Command;

/// Runs a program in a folder; `None` where there is none of this name.
fn tool(folder: &Path, program: &str, args: &[&str]) -> Option<()> {
    let Ok(output) = Command::new(program).args(args).current_dir(folder).output() else {
        skipped(&format!("there is no {program}"));
        return None;
    };
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(())
}

/// Links the C file and an object of another language as a kernel.
fn link(folder: &Path, other: &str) -> (Profile, ConvertReport) {
    std::fs::write(folder.join("types.c"), C).expect("written");
    tool(folder, "gcc", &["-g", "-c", "types.c"]).expect("gcc");
    let link = ["-static", "--unresolved-symbols=ignore-all", "-e", "0", "-o", "vmlinux", "types.o", other];
    tool(folder, "ld", &link).expect("ld");
    convert(&folder.join("vmlinux")).expect("a profile")
}

const C: &str = "struct list { struct list *next; }; struct item { int number; struct list link; char name[3]; }; \
                 struct item first; struct list shared;\n";

/// What the C file defines.
const OF_C: &str =
    "item[24] Struct\n  number@0 int\n  link@8 list\n  name@16 [3]char\nlist[8] Struct\n  next@0 *list\n";

/// Worked out from the C++ ABI of Itanium. Types in namespaces and classes go by their whole name, variables by their symbol.
const OF_CPP: [&str; 12] = [
    "derived[72] Struct\n  base@0 base anonymous\n  b@12 char\n  member@16 long int\n  method@24 [2]long int\n  \
     reference@40 *base\n  inner@48 derived::list\n  u@50 derived::unnamed\n  k@60 enum derived::kind/unsigned int\n  \
     p@64 *derived::later\n",
    "derived::later[72] Struct\n  l@0 [9]long",
    "derived::list[2] Struct\n  s@0 short",
    "derived::unnamed[7] Struct\n  x@0 [7]char\n",
    "outer::pair[8] Struct\n  a@0 int\n  b@4 int\n",
    "outer::(anonymous namespace)::hidden[1] Struct\n  c@0 char\n",
    "box<int>[4] Struct\n  value@0 int\n",
    "enum derived::kind[4] KIND=9\n",
    "variable _ZN5outer5firstE outer::pair\n",
    "variable _ZN7derived6sharedE derived::list\n",
    "variable third *outer::item\n",
    "variable later derived::later\n",
];

#[test]
fn types_of_c_plus_plus_have_their_whole_names_and_take_none_of_c() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/types.cc");
    for (compiler, version) in [("clang++", 4), ("clang++", 5), ("g++", 4), ("g++", 5)] {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let options = ["-ffreestanding", "-fno-exceptions", "-fno-rtti", "-c", arg(&source), "-o", "cpp.o"];
        let debug = format!("-gdwarf-{version}");
        if tool(folder, compiler, &[&[debug.as_str()], &options[..]].concat()).is_none() {
            continue;
        }
        let (profile, report) = link(folder, "cpp.o");
        let ours = listing(&profile);
        for lines in OF_CPP.into_iter().chain([OF_C, "variable first item\n", "variable shared list\n"]) {
            assert!(ours.contains(lines), "{compiler} {version}: {lines}\n{ours}");
        }
        assert_eq!(report.losses(), Vec::<String>::new(), "{compiler} {version}");
    }
}

#[test]
fn units_of_rust_are_left_out_and_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let rust = "#![no_std]\n#![allow(non_camel_case_types, non_upper_case_globals)]\n\
                #[repr(C)] pub struct item { pub words: [u64; 4] }\n\
                #[unsafe(no_mangle)] pub static of_rust: item = item { words: [1; 4] };\n";
    std::fs::write(folder.join("types.rs"), rust).expect("written");
    let options = ["--edition", "2024", "--crate-type", "lib", "--emit", "obj", "-g", "-C", "panic=abort"];
    tool(folder, "rustc", &[&options[..], &["-o", "rust.o", "types.rs"]].concat()).expect("rustc");
    let (profile, report) = link(folder, "rust.o");
    assert_eq!(listing(&profile), format!("{OF_C}variable first item\nvariable shared list\n"));
    assert!(profile.constants.contains_key("of_rust"), "its symbols are there");
    assert_eq!(report.losses(), ["1 compilation units written in Rust were left out"]);
}
