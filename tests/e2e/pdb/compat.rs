//! `--rekall_compat` against the stored output of the original Rekall, byte for byte.

use super::parsed_with;
use super::rekall::each_stored;
use crate::support::{corpus, quaid};
use quaid::pdb::ParseOptions;
use std::path::Path;

/// The outputs were made with `--profile_class Nt`, as the option is here. Nothing is put aside. Of the differences that
/// could be expected none is left: "-1": "-" of enums, the names of anonymous types, arguments of functions, pointers
/// counted as 8 bytes, members dropped and the age of the info stream are all made as the original made them.
#[test]
fn the_output_is_the_original_s() {
    let mut compared = 0;
    each_stored(|pdb, theirs, path| {
        let options = ParseOptions { profile_class: Some("Nt".into()), rekall_compat: true, ..ParseOptions::default() };
        let ours = parsed_with(path, options).profile.to_rekall();
        compared += 1;
        if ours == theirs {
            return;
        }
        let differ: Vec<_> =
            theirs.lines().zip(ours.lines()).enumerate().filter(|(_, (a, b))| a != b).take(3).collect();
        let lines = (theirs.lines().count(), ours.lines().count());
        panic!("{pdb}: {lines:?} lines, theirs and ours; the first that differ (from 0): {differ:#?}");
    });
    assert!(compared == 0 || compared == 16, "{compared} outputs");
}

#[test]
fn it_is_a_form_of_rekall_and_of_nothing_else() {
    let Some(pdb) = corpus("windows/pdb/lld/ntkrnlmp_x86_64.pdb") else { return };
    let parse = |more: &[&str]| {
        let run = quaid().arg("parse_pdb").arg(&pdb).arg("--rekall_compat").args(more).output().expect("runs");
        (run.status.code(), run.stdout, String::from_utf8(run.stderr).expect("UTF-8"))
    };
    let (code, out, said) = parse(&[]);
    assert!(code == Some(0) && said.contains("faults of the original Rekall"), "{said}");
    assert!(String::from_utf8(out).expect("UTF-8").contains("\"-1\": \"-\""));
    for (form, name) in [("isf", "ISF"), ("c", "C")] {
        let (code, out, said) = parse(&["--to", form]);
        assert!(code == Some(1) && out.is_empty(), "{said}");
        assert!(
            said.contains("--rekall_compat has the form of Rekall's profiles only") && said.contains(name),
            "{said}"
        );
    }
    let (code, _, said) = parse(&["--demangle"]);
    assert!(code == Some(2) && said.contains("--demangle"), "{said}");
    let old = corpus("windows/pdb/old").expect("the corpus is there");
    let old = first_pdb(&old);
    let run = quaid().arg("parse_pdb").arg(&old).arg("--rekall_compat").output().expect("runs");
    assert!(String::from_utf8_lossy(&run.stderr).contains("leave out --rekall_compat"), "{run:?}");
}

fn first_pdb(folder: &Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    files.filter(|path| path.extension().is_some_and(|e| e == "pdb")).min().expect("a PDB of format 2.00")
}
