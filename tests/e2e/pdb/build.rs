//! Which build a PDB is of, what it lacks, and types of another build for it.

use super::{good_pdbs, name, parsed};
use crate::peinfo::pe_of;
use crate::support::{arg, corpus, nt_isf, ok, run};
use quaid::completeness::Completeness;
use quaid_profile::{Profile, ProfileFile};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const XP: &str = "30B5FB31AE7E4ACAABA750AA241FF3311";

fn profile(stdout: &[u8]) -> Profile {
    ProfileFile::parse("stdout", stdout).expect("a profile").decode().expect("readable")
}

/// A PDB of the corpus under another name in a folder of its own.
fn copy(of: &str, to: &str) -> Option<(tempfile::TempDir, PathBuf)> {
    let from = corpus(&format!("windows/pdb/{of}"))?;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(to);
    std::fs::write(&path, std::fs::read(from).expect("readable")).expect("written");
    Some((folder, path))
}

/// The info stream's age is told when it is not the DBI stream's; the linker's record tells the PDB's name.
#[test]
fn ages_and_recorded_names() {
    let Some(table) = corpus("windows/pdb/pdb-table.tsv") else { return };
    let table = std::fs::read_to_string(table).expect("text");
    let mut named = Vec::new();
    for path in good_pdbs() {
        let folder = path.parent().and_then(Path::file_name).expect("a folder").to_string_lossy();
        let row = table.lines().find(|line| line.starts_with(&format!("{folder}/{}\t", name(&path)))).expect("a row");
        let columns: Vec<&str> = row.split('\t').collect();
        let metadata = parsed(&path).profile.metadata;
        let info_age = metadata.0.get("InfoAge").and_then(Value::as_u64).map(|age| age.to_string());
        assert_eq!(info_age.as_deref(), Some(columns[4]).filter(|age| *age != columns[5]), "{}", path.display());
        named.extend(metadata.text("PDBName").map(str::to_owned));
    }
    // What llvm-pdbutil shows of S_ENVBLOCK in "* Linker *".
    let lld = ["ntkrnlmp_i686.pdb", "ntkrnlmp_x86_64.pdb"];
    let msvc = ["minimal.pdb", "xcpt4.pdb", "test_dll.dll.pdb", "test_dll.dll.pdb", "test_types.dll.pdb"];
    let more = ["test_types.dll.pdb", "test_vtables.dll.pdb", "WriteArgument.pdb", "softokn3.pdb"];
    let omap = ["dump_syms_regtest.pdb", "dump_syms_regtest64.pdb", "dump_syms_regtest.pdb", "dump_syms_regtest.pdb"];
    assert_eq!(named, [&lld[..], &msvc, &more, &omap, &["test_dll.pdb"]].concat());
}

#[test]
fn the_image_tells_the_version_when_it_is_the_right_one() {
    let Some((folder, pdb)) = copy("lld/ntkrnlmp_x86_64.pdb", "sample.pdb") else { return };
    let image = folder.path().join("sample.sys");
    std::fs::write(&image, pe_of("0C8A193C618A354D4C4C44205044422E", 1, "d:\\build\\ntkrnlmp.pdb")).expect("written");
    let version = |stdout: &str| {
        let metadata = profile(stdout.as_bytes()).metadata;
        let text = |key: &str| metadata.text(key).unwrap_or("-").to_owned();
        [text("major"), text("minor"), text("rev"), text("PDBName"), text("PEFile"), text("CodeID")]
    };
    let told = ["6", "1", "7600.17273", "ntkrnlmp.pdb", "sample.sys", "5147DC363000"];
    // The image names the kernel's PDB, of which this one lacks much: exit code 3.
    let beside = run(&["parse_pdb", arg(&pdb)]);
    assert_eq!(beside.status.code(), Some(3));
    assert_eq!(version(&String::from_utf8_lossy(&beside.stdout)), told);
    assert_eq!(profile(&beside.stdout).metadata.profile_class(), Some("Ntkrnlmp"));
    let with_option = run(&["parse_pdb", arg(&pdb), "--win", "10.0.1"]);
    assert_eq!(version(&String::from_utf8_lossy(&with_option.stdout))[..3], ["10", "0", "1"]);

    // Of another build: beside it is told and left aside, named it is refused.
    let other = pe_of("0C8A193C618A354D4C4C44205044422E", 2, "ntkrnlmp.pdb");
    std::fs::write(&image, other).expect("written");
    let beside = run(&["parse_pdb", arg(&pdb)]);
    assert_eq!(beside.status.code(), Some(0));
    let stderr = String::from_utf8_lossy(&beside.stderr);
    assert!(stderr.contains("sample.sys is not used: its PDB is 0C8A193C618A354D4C4C44205044422E2"), "{stderr}");
    assert_eq!(version(&String::from_utf8_lossy(&beside.stdout)), ["-", "-", "-", "ntkrnlmp_x86_64.pdb", "-", "-"]);
    let named = run(&["parse_pdb", arg(&pdb), "--pe", arg(&image)]);
    assert_eq!(named.status.code(), Some(1));
    assert!(named.stdout.is_empty());
    let none = run(&["parse_pdb", arg(&pdb), "--pe", arg(&pdb)]);
    assert!(String::from_utf8_lossy(&none.stderr).contains("not a PE file"));
}

#[test]
fn what_a_kernel_lacks_is_told() {
    let Some(kernel) = corpus("windows/pdb/nt/ntkrnlpa.pdb") else { return };
    for path in
        [kernel, corpus("windows/pdb/nt/wntdll.pdb").expect("it"), corpus("windows/pdb/win7ms/ntdll.pdb").expect("it")]
    {
        assert_eq!(profile(ok(&["parse_pdb", arg(&path)]).as_bytes()).metadata.text("Completeness"), Some("complete"));
    }
    for guid_age in ["339E74133576439CBCDF7E0229DA37731", "5278AFF86C341677D7D7835C85B7B8441"] {
        let Some(path) = nt_isf(guid_age) else { continue };
        let completeness = Completeness::of(&ProfileFile::open(&path).expect("opens").decode().expect("readable"));
        assert_eq!((completeness.module, completeness.missing), (Some("nt"), vec![]), "{guid_age}");
    }

    // Types, but few.
    let (_folder, path) = copy("lld/ntkrnlmp_x86_64.pdb", "ntkrnlmp.pdb").expect("the corpus is there");
    let output = run(&["parse_pdb", arg(&path)]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("lacks what analysis needs of nt: ") && stderr.contains("_CMHIVE"), "{stderr}");
    assert_eq!(profile(&output.stdout).metadata.text("Completeness"), Some("incomplete"));
    // No types at all.
    let (_folder, path) = copy("win7ms/DUser.pdb", "ntkrnlpa.pdb").expect("the corpus is there");
    let output = run(&["parse_pdb", arg(&path)]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("public symbols only: no type information"), "{stderr}");
    assert_eq!(profile(&output.stdout).metadata.text("Completeness"), Some("public symbols only"));
    // Of other modules nothing is known to be needed.
    let path = corpus("windows/pdb/win7ms/kernel32.pdb").expect("the corpus is there");
    let metadata = profile(ok(&["parse_pdb", arg(&path)]).as_bytes()).metadata;
    assert_eq!(metadata.text("Completeness"), Some("public symbols only"));
}

fn texts(value: &Value) -> BTreeSet<String> {
    value.as_array().expect("a list").iter().map(|name| name.as_str().expect("a text").to_owned()).collect()
}

#[test]
fn types_of_another_build_are_taken_and_marked() {
    let Some((folder, bare)) = copy("win7ms/DUser.pdb", "ntkrnlpa.pdb") else { return };
    let kernel = corpus("windows/pdb/nt/ntkrnlpa.pdb").expect("the corpus is there");
    let donor = folder.path().join("donor.json");
    ok(&["parse_pdb", arg(&kernel), "--output", arg(&donor), "--win", "5.1.2600.5512"]);
    let types = ProfileFile::open(&donor).expect("opens").decode().expect("readable");
    let before = profile(&run(&["parse_pdb", arg(&bare)]).stdout);

    let output = run(&["parse_pdb", arg(&bare), "--graft", arg(&donor)]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    // It lacks the kernel's symbols still.
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("618 types are not of this build") && stderr.contains(XP), "{stderr}");
    let grafted = profile(&output.stdout);
    assert_eq!(grafted.structs, types.structs);
    assert_eq!(grafted.enums, types.enums);
    assert_eq!((&grafted.constants, &grafted.functions), (&before.constants, &before.functions));
    assert_eq!(grafted.metadata.guid_age(), before.metadata.guid_age());
    assert_eq!(grafted.metadata.text("GraftedFrom"), Some(&*format!("nt {XP} 5.1.2600.5512")));
    let names: BTreeSet<String> = types.structs.keys().chain(types.enums.keys()).cloned().collect();
    assert_eq!(texts(&grafted.metadata.0["Grafted"]), names);
    assert!(!before.metadata.0.contains_key("Grafted") && before.structs.is_empty());

    // Another machine's types are refused.
    let (_folder, other) = copy("lld/ntkrnlmp_x86_64.pdb", "ntkrnlmp.pdb").expect("the corpus is there");
    let refused = run(&["parse_pdb", arg(&other), "--graft", arg(&donor)]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("nt I386"));
}

#[test]
fn the_nearest_build_gives_its_types() {
    let Some((folder, bare)) = copy("win7ms/DUser.pdb", "ntkrnlpa.pdb") else { return };
    let kernel = corpus("windows/pdb/nt/ntkrnlpa.pdb").expect("the corpus is there");
    let repository = folder.path().join("profiles");
    ok(&["repo", "init", arg(&repository)]);
    let mut xp = parsed(&kernel).profile;
    let mut add = |guid: &str, rev: &str, with_types: bool| {
        let metadata = &mut xp.metadata;
        metadata.set("GUID_AGE", guid);
        for (key, part) in [("major", "5"), ("minor", "1"), ("rev", rev)] {
            metadata.set(key, part);
        }
        let structs = std::mem::take(&mut xp.structs);
        if with_types {
            xp.structs.clone_from(&structs);
        }
        let file = folder.path().join(format!("{guid}.json"));
        std::fs::write(&file, xp.to_rekall()).expect("written");
        xp.structs = structs;
        ok(&["repo", "-C", arg(&repository), "add", arg(&file)]);
    };
    let [near, far, bare_one] = ["A", "B", "C"].map(|letter| format!("{}1", letter.repeat(32)));
    add(&near, "2600.5512", true);
    add(&far, "2600.2180", true);
    add(&bare_one, "2600.5001", false);
    let graft = |version: &str| run(&["parse_pdb", arg(&bare), "--graft_from", arg(&repository), "--win", version]);
    for (version, guid) in [("5.1.2600.5000", &near), ("5.1.2600.2200", &far), ("6.1.7601.17514", &near)] {
        let output = graft(version);
        let from = profile(&output.stdout).metadata.text("GraftedFrom").map(str::to_owned);
        assert!(
            from.as_ref().is_some_and(|from| from.contains(guid)),
            "{version}: {from:?} {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let unknown = run(&["parse_pdb", arg(&bare), "--graft_from", arg(&repository)]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("--windows_version"));
    let (_folder, other) = copy("lld/ntkrnlmp_x86_64.pdb", "ntkrnlmp.pdb").expect("the corpus is there");
    let none = run(&["parse_pdb", arg(&other), "--graft_from", arg(&repository), "--win", "6.1.7601"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&none.stderr).contains("nt AMD64"));
}
