//! Two-way ISF: what comes back of a profile that went to the other form, compared as plain JSON by `serde_json`. What differs
//! has to be what the writer said it could not keep, and nothing else.

use crate::support::{arg, corpus, nt_isf, ok, unpacked};
use quaid_profile::{Losses, ProfileFile};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// ISF to Rekall to ISF; the texts have to hold the same.
fn isf_and_back(path: &Path) {
    let bytes = std::fs::read(path).expect("readable");
    let file = ProfileFile::parse("isf", &bytes).expect("a profile");
    let rekall = file.decode().expect("decodes").to_rekall();
    let again = ProfileFile::parse("rekall", rekall.as_bytes()).expect("a profile").decode().expect("decodes");
    let (text, losses) = again.to_isf();
    let shown = path.display();
    assert!(losses.lines().is_empty(), "{shown}: {:?}", losses.lines());
    let theirs: Value = serde_json::from_slice(&bytes).expect("JSON");
    let ours: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(differences(&theirs, &ours, 2), BTreeSet::new(), "{shown}");
    assert!(theirs == ours, "{shown}");
}

/// Rekall to ISF to Rekall: exactly what was reported differs. Gives what that is.
fn rekall_and_back(name: &str, text: &str) -> BTreeSet<String> {
    let profile = ProfileFile::parse(name, text.as_bytes()).expect("a profile").decode().expect("decodes");
    // What the model does not keep of an old file (the order of keys, null for nothing) is no matter of ISF.
    let before: Value = serde_json::from_str(&profile.to_rekall()).expect("JSON");
    let (isf, losses) = profile.to_isf();
    let again = ProfileFile::parse("isf", isf.as_bytes()).expect("a profile").decode().expect("decodes");
    let after: Value = serde_json::from_str(&again.to_rekall()).expect("JSON");
    let mut differ = BTreeSet::new();
    for section in sections(&before, &after) {
        let depth = if matches!(section.as_str(), "$STRUCTS" | "$ENUMS" | "$REVENUMS" | "$ISF") { 2 } else { 1 };
        let part = |whole: &Value| members(&whole[&section]);
        differ.extend(differences(&part(&before), &part(&after), depth).iter().map(|path| format!("{section}{path}")));
    }
    let silent: Vec<&String> = differ.iter().filter(|path| !told(&losses, path)).collect();
    assert!(silent.is_empty(), "{name}: {} differ and were not reported: {:?}", silent.len(), silent.iter().take(9));
    let inside = |place: &str| differ.iter().any(|path| path == place || path.starts_with(&format!("{place}/")));
    let wrong: Vec<&String> = losses.0.values().flatten().filter(|place| !inside(place)).collect();
    assert!(wrong.is_empty(), "{name}: {} were reported and are the same: {:?}", wrong.len(), wrong.iter().take(9));
    differ
}

/// Structs as `{size, members}`, so that a path leads into them.
fn members(section: &Value) -> Value {
    let Some(items) = section.as_object() else { return section.clone() };
    let item = |(name, item): (&String, &Value)| match item.as_array().map(Vec::as_slice) {
        Some([size, Value::Object(members)]) => {
            let mut members = members.clone();
            members.insert(String::new(), size.clone());
            (name.clone(), Value::Object(members))
        }
        _ => (name.clone(), item.clone()),
    };
    Value::Object(items.iter().map(item).collect())
}

fn sections(a: &Value, b: &Value) -> BTreeSet<String> {
    [a, b].into_iter().flat_map(|value| value.as_object().expect("an object").keys().cloned()).collect()
}

/// Whether the report names the path, or tells of it under the name that another section has for it.
fn told(losses: &Losses, path: &str) -> bool {
    let as_noted = [
        path.to_owned(),
        // A function that is data as well stays data; data of a function's type turns up among the functions.
        path.replace("$FUNCTIONS/", "$CONSTANTS/"),
        path.replace("$CONSTANT_TYPES/", "$CONSTANTS/"),
        path.replace("$REVENUMS/", "$ENUMS/"),
    ];
    as_noted.iter().any(|path| losses.names(path))
}

/// Paths of what differs, down to `depth` levels.
fn differences(a: &Value, b: &Value, depth: usize) -> BTreeSet<String> {
    let nothing = Value::Object(serde_json::Map::new());
    match (a, b) {
        _ if a == b => BTreeSet::new(),
        // A section or part that one side lacks lacks each of its items.
        (Value::Null, Value::Object(_)) if depth > 0 => differences(&nothing, b, depth),
        (Value::Object(_), Value::Null) if depth > 0 => differences(a, &nothing, depth),
        (Value::Object(x), Value::Object(y)) if depth > 0 => {
            let keys: BTreeSet<&String> = x.keys().chain(y.keys()).collect();
            let inner = |key: &String| {
                let below =
                    differences(x.get(key).unwrap_or(&Value::Null), y.get(key).unwrap_or(&Value::Null), depth - 1);
                below.into_iter().map(|path| format!("/{key}{path}")).collect::<Vec<_>>()
            };
            keys.into_iter().flat_map(inner).collect()
        }
        _ => BTreeSet::from([String::new()]),
    }
}

#[test]
fn an_isf_file_comes_back_from_rekall_form() {
    for name in [
        "linux/profiles/debian-6.1.0-56-cloud-amd64.isf.json",
        "linux/arm64/linux-6.1.0-56-cloud-arm64.isf.json",
        "linux/linux-5.10/debian-5.10.0-43-cloud-amd64.json",
    ] {
        let Some(path) = unpacked(name) else { return };
        isf_and_back(&path);
    }
    // One of each generation; `scripts/check-volatility --all` takes all 158 of the corpus.
    for guid_age in ["339E74133576439CBCDF7E0229DA37731", "5278AFF86C341677D7D7835C85B7B8441"] {
        let Some(path) = nt_isf(guid_age) else { return };
        isf_and_back(&path);
    }
}

#[test]
fn a_rekall_profile_comes_back_from_isf_but_for_what_was_reported() {
    let Some(folder) = corpus("windows/rekall-profiles") else { return };
    let mut compared = 0;
    for entry in folder.read_dir().expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|ending| ending == "json") {
            rekall_and_back(arg(&path), &std::fs::read_to_string(&path).expect("text"));
            compared += 1;
        }
    }
    assert_eq!(compared, 2);
}

#[test]
fn pdb_profiles_come_back_from_isf_but_for_what_was_reported() {
    let Some(folder) = corpus("windows/pdb") else { return };
    let mut compared = 0;
    for kind in ["nt", "win7ms", "omap", "msvc", "lld"] {
        for entry in folder.join(kind).read_dir().expect("a folder") {
            let path = entry.expect("an entry").path();
            let is_pdb = path.extension().is_some_and(|ending| ending == "pdb");
            if is_pdb && !path.ends_with("pdb__fuzzed.pdb") {
                rekall_and_back(arg(&path), &ok(&["-q", "parse_pdb", arg(&path)]));
                compared += 1;
            }
        }
    }
    assert!(compared >= 20, "{compared}");
}

#[test]
fn linux_profiles_of_every_source_come_back_from_isf_but_for_what_was_reported() {
    let (Some(zip), Some(btf), Some(arm64), Some(arm64_btf), Some(image)) = (
        corpus("linux/profiles/debian-6.1.0-56-cloud-amd64-dwarf5.zip"),
        unpacked("linux/profiles/debian-6.1.0-56-cloud-amd64.btf"),
        corpus("linux/arm64/debian-6.1.0-56-cloud-arm64-dwarf5.zip"),
        unpacked("linux/arm64/vmlinux.btf"),
        unpacked("linux/linux-5.10/mem.raw"),
    ) else {
        return;
    };
    let vmlinux = std::env::var_os("QUAID_VMLINUX").map(PathBuf::from);
    let mut sources = vec![
        (true, vec![arg(&zip)]),
        (true, vec![arg(&btf), "--beside", arg(&zip)]),
        (true, vec![arg(&arm64)]),
        (true, vec![arg(&arm64_btf), "--beside", arg(&arm64)]),
        (false, vec!["--from_image", arg(&image)]),
    ];
    sources.extend(vmlinux.iter().map(|vmlinux| (false, vec![arg(vmlinux)])));
    for (has_config, source) in sources {
        let text = ok(&[&["-q", "convert_profile"], &source[..]].concat());
        let differ = rekall_and_back(&source.join(" "), &text);
        assert_eq!(text.contains("\"CONFIG_"), has_config, "{source:?}");
        assert!(!differ.iter().any(|path| path.starts_with("$CONFIG")), "{source:?}");
    }
}

#[test]
fn a_form_is_compressed_as_its_name_says_and_the_same_each_time() {
    let Some(pdb) = corpus("windows/pdb/lld/ntkrnlmp_x86_64.pdb") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let plain = ok(&["-q", "parse_pdb", arg(&pdb), "--to", "isf"]);
    for (name, packed) in [("a.json.xz", true), ("a.json.gz", true), ("a.json", false)] {
        let path = folder.path().join(name);
        ok(&["-q", "parse_pdb", arg(&pdb), "--to", "isf", "--output", arg(&path)]);
        let bytes = std::fs::read(&path).expect("written");
        let text = quaid_profile::decompress(name, &bytes).expect("compressed as it says");
        assert_eq!(text, plain.as_bytes(), "{name}");
        assert_eq!(packed, bytes != plain.as_bytes(), "{name}");
        // The same profile is there: it is replaced, by the same bytes.
        ok(&["-q", "parse_pdb", arg(&pdb), "--to", "isf", "--output", arg(&path)]);
        assert_eq!(std::fs::read(&path).expect("written"), bytes, "{name}");
    }
}

#[test]
fn a_banner_of_another_kernel_is_refused() {
    let Some(zip) = corpus("linux/profiles/debian-6.1.0-56-cloud-amd64-dwarf5.zip") else { return };
    let output = crate::support::run(&["convert_profile", arg(&zip), "--banner", "Linux version 5.10.0 (a@b) #1"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("5.10.0") && stderr.contains("6.1.0-56-cloud-amd64"), "{stderr}");
}
