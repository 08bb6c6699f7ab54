//! Many PDBs in one call: each profile is the one that a call of its own gives, and a bad PDB is told and passed over.

use crate::support::{arg, corpus, run};
use serde_json::Value;
use std::path::Path;
use std::process::Output;

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_folder_gives_the_profiles_that_each_file_gives() {
    let Some(folder) = corpus("windows/pdb") else { return };
    let target = tempfile::tempdir().expect("a folder");
    let report = target.path().join("report.json");
    let output = run(&["--report", arg(&report), "parse_pdb", arg(&folder), "-D", arg(target.path())]);
    // A damaged one is among them, and kernels that lack what analysis needs.
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let told = stderr(&output);
    let damaged = told.lines().filter(|line| line.contains("pdb__fuzzed.pdb: damaged PDB")).count();
    assert_eq!(damaged, 1, "{told}");
    assert!(told.contains("26 profiles were made, 1 could not be"), "{told}");

    let mut pdbs = super::good_pdbs();
    pdbs.extend(["peekPE__peekPE.pdb", "peekPE__vc60.pdb"].map(|name| folder.join("old").join(name)));
    pdbs.sort();
    let paths = String::from_utf8(output.stdout).expect("text");
    assert_eq!(paths.lines().count(), pdbs.len());
    for (pdb, written) in pdbs.iter().zip(paths.lines()) {
        let expected = target.path().join(pdb.with_extension("json").file_name().expect("a name"));
        assert_eq!(Path::new(written), expected);
        assert!(std::fs::read(written).expect("written") == run(&["parse_pdb", arg(pdb)]).stdout, "{written}");
    }
    let report: Value = serde_json::from_slice(&std::fs::read(report).expect("written")).expect("JSON");
    let rows = report.as_array().expect("a row each");
    assert_eq!(rows.len(), pdbs.len() + 1);
    assert_eq!(rows.iter().filter(|row| row["error"].is_string()).count(), 1);
    assert_eq!((&rows[0]["structs"], &rows[0]["error"]), (&18.into(), &Value::Null));
}

#[test]
fn namesakes_are_told_apart_by_their_identity() {
    let Some(one) = corpus("windows/pdb/lld/ntkrnlmp_x86_64.pdb") else { return };
    let Some(other) = corpus("windows/pdb/lld/ntkrnlmp_i686.pdb") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    for (name, pdb) in [("a/NTKRNLMP.PDB", &one), ("b/ntkrnlmp.pdb", &other), ("c/ntkrnlmp.pdb", &other)] {
        let path = source.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::copy(pdb, path).expect("copied");
    }
    std::fs::write(source.join("readme.txt"), "no PDB").expect("written");
    std::fs::create_dir(&target).expect("made");
    let output = run(&["parse_pdb", arg(&source), "--dump_dir", arg(&target)]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let told = stderr(&output);
    assert!(told.contains("c/ntkrnlmp.pdb: ") && told.contains("b/ntkrnlmp.pdb has this name and identity"), "{told}");

    let table = std::fs::read_to_string(corpus("windows/pdb/pdb-table.tsv").expect("the table")).expect("text");
    let guid_age = |row: &str| {
        let row = table.lines().find(|line| line.starts_with(row)).expect("a row").split('\t').collect::<Vec<_>>();
        format!("{}{}", row[3], row[5])
    };
    let expected = [
        target.join(format!("NTKRNLMP-{}.json", guid_age("lld/ntkrnlmp_x86_64.pdb"))),
        target.join(format!("ntkrnlmp-{}.json", guid_age("lld/ntkrnlmp_i686.pdb"))),
    ];
    let paths = String::from_utf8(output.stdout).expect("text");
    assert_eq!(paths.lines().map(Path::new).collect::<Vec<_>>(), expected);
    assert_eq!(std::fs::read_dir(&target).expect("readable").count(), 2);
}

#[test]
fn what_cannot_be_done_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let (bad, missing) = (folder.path().join("bad.pdb"), folder.path().join("missing.pdb"));
    std::fs::write(&bad, b"no PDB").expect("written");
    let target = folder.path().join("target");
    std::fs::create_dir(&target).expect("made");
    let (bad, missing, target) = (arg(&bad), arg(&missing), arg(&target));
    for (args, said) in [
        (&["parse_pdb", bad, missing, "-D", target][..], &["not a PDB", "cannot read", "no profile was made"][..]),
        (&["parse_pdb", target, "-D", target], &["no PDBs to parse"]),
        (&["parse_pdb", bad, missing], &["--dump_dir"]),
        (&["parse_pdb", target], &["--dump_dir"]),
        (&["parse_pdb", bad, missing, "--output", "one.json", "-D", target], &["one.json", "--dump_dir"]),
        (&["parse_pdb", bad, missing, "-D", missing], &["missing.pdb is no folder"]),
    ] {
        let output = run(args);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {told}");
        assert!(output.stdout.is_empty() && said.iter().all(|said| told.contains(said)), "{args:?}: {told}");
    }
    assert_eq!(std::fs::read_dir(target).expect("readable").count(), 0);
}
