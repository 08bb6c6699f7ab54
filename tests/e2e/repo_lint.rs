//! `repo lint` and `repo rebuild`: what is doubtful in profiles, and how it is made anew.

use crate::repo::{check_whole, fails, git, module_file, new_repository, repo, typed_module};
use crate::support::{arg, corpus, ok, rows};
use serde_json::{Value, json};
use std::path::Path;

/// The XP kernel of the corpus, and its identity (corpus/windows/pdb/pdb-table.tsv).
const KERNEL: &str = "windows/pdb/nt/ntkrnlpa.pdb";
const KERNEL_ID: &str = "30B5FB31AE7E4ACAABA750AA241FF3311";

/// What Rekall's `nt/undocumented` is like.
pub(crate) const HELPER: &str = r#"{"$METADATA": {"type": "Profile"}, "$DYNAMIC_STRUCTS": {"_A": [{"type": "DisassembleStructMatcher", "args": {}}]}}"#;

/// Writes a profile with a struct that is in order, and what `more` sets, and adds it as `name`.
fn add(root: &Path, folder: &Path, name: &str, more: &[(&str, Value)]) {
    let mut profile = json!({
        "$METADATA": {"Type": "Profile", "ProfileClass": "Linux"},
        "$STRUCTS": {"list_head": [16, {"next": [0, ["Pointer", {"target": "list_head"}]]}]},
    });
    for (pointer, value) in more {
        let (section, key) = pointer.split_once('/').expect("section and key");
        profile[section][key] = value.clone();
    }
    let file = folder.join("made.json");
    std::fs::write(&file, profile.to_string()).expect("written");
    ok(&["repo", "-C", arg(root), "add", "--name", name, arg(&file)]);
}

#[test]
fn what_is_doubtful_is_told_and_the_rest_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    let folder = folder.path();
    let zeros: Value = (0..20).map(|i| (format!("symbol{i}"), json!(0))).collect::<serde_json::Map<_, _>>().into();
    let (head, zeros) = (json!([0, {"next": [8, ["int"]]}]), zeros);
    add(&root, folder, "mine/good", &[("$METADATA/Note", json!("good"))]);
    add(&root, folder, "mine/twin", &[("$METADATA/Note", json!("good"))]);
    add(&root, folder, "mine/sizeless", &[("$STRUCTS/list_head", head)]);
    add(&root, folder, "mine/labels", &[("$ENUMS/colour", json!({"-1": "-1", "0": "RED"}))]);
    add(&root, folder, "mine/old", &[("$METADATA/Producer", json!("dwarf2json 0.8.0"))]);
    add(&root, folder, "mine/new", &[("$METADATA/Producer", json!("dwarf2json 0.9.0"))]);
    let hidden: Vec<(String, Value)> = zeros
        .as_object()
        .expect("an object")
        .iter()
        .map(|(name, value)| (format!("$CONSTANTS/{name}"), value.clone()))
        .collect();
    let hidden: Vec<(&str, Value)> = hidden.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    add(&root, folder, "mine/hidden", &hidden);
    let guid = "3844DBB920174967BE7AA4A2C20430FA2";
    ok(&["repo", "-C", arg(&root), "add", arg(&module_file(folder, "m.json", "ntdll.pdb", guid, 1))]);
    let kernel = "3944DBB920174967BE7AA4A2C20430FA2";
    ok(&["repo", "-C", arg(&root), "add", arg(&typed_module(folder, kernel, 32).0)]);
    // It is there to be merged, and is no build that could be incomplete.
    let helper = folder.join("undocumented.json");
    std::fs::write(&helper, HELPER).expect("written");
    ok(&["repo", "-C", arg(&root), "add", "--name", "nt/undocumented", arg(&helper)]);
    let output = repo(&root, &["lint"]);
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stdout).expect("text");
    let expected = [
        ("mine/good: duplicate: ", "mine/twin"),
        ("mine/hidden: zeros: ", "20 of 20 symbols"),
        ("mine/labels: producer: ", "1 enums"),
        ("mine/old: producer: ", "dwarf2json 0.8.0"),
        ("mine/sizeless: zeros: ", "list_head"),
        ("mine/twin: duplicate: ", "mine/good"),
        (&format!("nt/GUID/{kernel}: incomplete: "), "lacks what analysis needs of nt: _CMHIVE"),
        (&format!("ntdll/GUID/{guid}: incomplete: "), ""),
    ];
    assert_eq!(text.lines().count(), expected.len(), "{text}");
    for (line, (begin, what)) in text.lines().zip(expected) {
        assert!(line.starts_with(begin) && line.contains(what), "{begin}{what}: {line}");
    }
    let output = crate::support::run(&["--format", "json", "repo", "-C", arg(&root), "lint", "mine/old"]);
    let json = rows(&String::from_utf8(output.stdout).expect("text"));
    assert_eq!((json.len(), &json[0]["name"], &json[0]["doubt"]), (1, &json!("mine/old"), &json!("producer")));
    assert!(repo(&root, &["lint", "mine/new"]).status.success());
    let told = fails(&root, &["lint", "mine/nwe"], 1);
    assert!(told.contains("has no profile whose name begins with mine/nwe"), "{told}");
}

#[test]
fn what_an_old_version_made_is_made_again_of_the_pdb_that_is_kept() {
    let Some(pdb) = corpus(KERNEL) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    let good = ok(&["parse_pdb", arg(&pdb)]);
    let mut old: Value = serde_json::from_str(&good).expect("JSON");
    old["$METADATA"]["Producer"] = json!("quaid 0.0.9");
    old["$CONSTANTS"]["PsActiveProcessHead"] = json!(1);
    let file = folder.path().join("old.json");
    std::fs::write(&file, old.to_string()).expect("written");
    ok(&["repo", "-C", arg(&root), "add", arg(&file)]);
    let name = format!("nt/GUID/{KERNEL_ID}");
    let get = || ok(&["repo", "-C", arg(&root), "get", &name]);
    let damaged = get();
    assert_ne!(damaged, good);
    assert!(fails(&root, &["rebuild", "--producer", "<0.0.9"], 1).contains("0 profiles"));
    assert!(fails(&root, &["rebuild", "--producer", "new"], 2).contains("VERSION"));
    let told = fails(&root, &["rebuild", "--producer", "<0.1.0"], 3);
    assert!(told.contains(KERNEL_ID) && told.contains("fetch_pdb"), "{told}");
    let cache = root.join(format!("v1.0/src/pdb/ntkrnlpa.pdb/{KERNEL_ID}"));
    std::fs::create_dir_all(&cache).expect("created");
    let mut bytes = std::fs::read(&pdb).expect("readable");
    bytes.push(0);
    std::fs::write(cache.join("ntkrnlpa.pdb"), &bytes).expect("written");
    let told = fails(&root, &["rebuild", "--producer", "<0.1.0"], 3);
    assert!(told.contains("is not the file that it was made of"), "{told}");
    assert_eq!(get(), damaged, "nothing is replaced by what is not known");
    bytes.pop();
    std::fs::write(cache.join("ntkrnlpa.pdb"), &bytes).expect("written");
    ok(&["repo", "-C", arg(&root), "rebuild", "--producer", "<0.1.0"]);
    assert_eq!(get(), good);
    assert!(git(&root, &["log", "-1", "--format=%s"]).starts_with("rebuild: nt/GUID/"));
    assert_eq!(git(&root, &["status", "--porcelain"]), "");
    check_whole(&root);
}
