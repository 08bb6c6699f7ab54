//! Rekall's symbol-offset index of Linux kernels: what it says is compared with the profiles, and with the symbols of a
//! kernel that runs.

use crate::repo::{check_whole, new_repository};
use crate::support::{arg, corpus, corpus_text, ok, quaid, unpacked};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const IMAGE: &str = "linux/small/linux-small-bash.raw";
const BASE: &str = "linux_proc_banner";
/// As the public repository has it.
const SPEC: &str = "type: symbol_offset\nimplementation: LinuxSymbolOffsetIndex\npath: Linux\nbase_symbol: \"linux_proc_banner\"\nmin_traits: 6\n";

/// The numbers of a profile's symbols.
fn numbers(profile: &Value) -> BTreeMap<String, i64> {
    let mut all = BTreeMap::new();
    for section in ["$FUNCTIONS", "$CONSTANTS"] {
        for (name, number) in profile[section].as_object().into_iter().flatten() {
            all.insert(name.clone(), number.as_i64().expect("48 bits"));
        }
    }
    all
}

/// A repository with the profile of the image's kernel, of which neither banner nor release is known, and of others that
/// differ from it: in all that lies behind a symbol, in nothing but the name, in one function.
fn repository(folder: &Path) -> Option<PathBuf> {
    let root = folder.join("profiles");
    new_repository(&root);
    let zip = corpus("linux/small/profile-6.1.192-rklab.zip")?;
    let mut profile: Value = serde_json::from_str(&ok(&["-q", "convert_profile", arg(&zip)])).expect("JSON");
    let metadata = profile["$METADATA"].as_object_mut().expect("an object");
    metadata.retain(|key, _| matches!(key.as_str(), "ProfileClass" | "Type" | "arch" | "PerCPU" | "Absolute"));
    let add = |name: &str, profile: &Value| {
        let file = folder.join("profile.json");
        std::fs::write(&file, profile.to_string()).expect("written");
        ok(&["repo", "-C", arg(&root), "add", "--name", name, arg(&file)]);
    };
    add("Linux/mine/one", &profile);
    add("Linux/mine/twin", &profile);
    let mut moved = profile.clone();
    let from = moved["$CONSTANTS"]["init_task"].as_u64().expect("a number");
    for number in moved["$CONSTANTS"].as_object_mut().expect("an object").values_mut() {
        if let Some(old) = number.as_u64().filter(|&old| old >= from) {
            *number = (old + 0x40).into();
        }
    }
    add("Linux/mine/moved", &moved);
    let number = profile["$FUNCTIONS"]["do_exit"].as_u64().expect("a number");
    profile["$FUNCTIONS"]["do_exit"] = (number + 0x10).into();
    add("Linux/mine/patched", &profile);
    std::fs::create_dir_all(root.join("v1.0/src/Linux")).expect("created");
    std::fs::write(root.join("v1.0/src/Linux/index.yaml"), SPEC).expect("written");
    crate::repo::git(&root, &["add", "."]);
    crate::repo::git(&root, &["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "-qm", "recipe"]);
    ok(&["repo", "-C", arg(&root), "index", "Linux"]);
    check_whole(&root);
    Some(root)
}

fn index(root: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(root.join("v1.0/Linux/index")).expect("the index")).expect("JSON")
}

#[test]
fn each_kernel_has_traits_that_no_other_one_has() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(root) = repository(folder.path()) else { return };
    let text = index(&root);
    let metadata = serde_json::json!({"BaseSymbol": BASE, "ProfileClass": "LinuxSymbolOffsetIndex", "Type": "Index"});
    assert_eq!(text["$METADATA"], metadata);
    let names = ["Linux/mine/moved", "Linux/mine/one", "Linux/mine/patched", "Linux/mine/twin"];
    let profiles: BTreeMap<&str, BTreeMap<String, i64>> = names
        .iter()
        .map(|&name| {
            let profile = serde_json::from_str(&ok(&["repo", "-C", arg(&root), "get", name])).expect("JSON");
            let numbers = numbers(&profile);
            let base = numbers[BASE];
            (name, numbers.into_iter().map(|(name, number)| (name, number - base)).collect())
        })
        .collect();
    let traits = text["$INDEX"]["$TRAITS"].as_object().expect("an object");
    // The twin is listed, and without traits of its own. The function that was patched is the only thing that tells two
    // apart, by the place where it is and by that where it is not.
    assert_eq!(traits.keys().collect::<Vec<_>>(), ["Linux/mine/moved", "Linux/mine/one", "Linux/mine/patched"]);
    for (profile, traits) in traits {
        let traits = traits.as_array().expect("a list");
        assert_eq!(traits.len(), if profile == "Linux/mine/patched" { 1 } else { 6 }, "{profile}");
        for found in traits {
            let symbols: Vec<(&str, i64)> = found
                .as_array()
                .expect("a list")
                .iter()
                .map(|symbol| (symbol[0].as_str().expect("a name"), symbol[1].as_i64().expect("a distance")))
                .collect();
            let having =
                profiles.iter().filter(|(_, numbers)| symbols.iter().all(|(name, at)| numbers.get(*name) == Some(at)));
            let having: Vec<&str> = having.map(|(name, _)| *name).filter(|name| *name != "Linux/mine/twin").collect();
            assert_eq!(having, [profile.as_str()], "{found}");
        }
    }
    let hash = |name: &str| {
        let mut lines: Vec<String> = profiles[name]
            .iter()
            .filter(|(name, _)| !name.contains('.') && *name != "__irf_end")
            .map(|(name, at)| format!("({name}, {at})"))
            .collect();
        lines.sort();
        let digits: Vec<String> = Sha256::digest(lines.join("|")).iter().map(|byte| format!("{byte:02x}")).collect();
        digits.concat()
    };
    let hashes = text["$INDEX"]["$HASHES"].as_object().expect("an object");
    let expected: BTreeMap<String, &str> = traits.keys().map(|name| (hash(name), name.as_str())).collect();
    assert_eq!(
        hashes.iter().map(|(hash, name)| (hash.clone(), name.as_str().expect("a name"))).collect::<BTreeMap<_, _>>(),
        expected
    );
    let times = crate::repo::git(&root, &["log", "--format=%ct"]);
    for name in names {
        let time = text["$INDEX"]["$PROFILES"][name]["LastModified"].as_f64().expect("a time");
        assert!(times.lines().any(|line| line.parse() == Ok(time)), "{time}");
    }
    // What is up to date is not written again; what is gone is forgotten.
    let commits = || crate::repo::git(&root, &["rev-list", "--count", "HEAD"]);
    let before = commits();
    ok(&["repo", "-C", arg(&root), "index", "Linux"]);
    assert_eq!(commits(), before);
    ok(&["repo", "-C", arg(&root), "remove", "Linux/mine/patched"]);
    ok(&["repo", "-C", arg(&root), "index", "Linux"]);
    assert_eq!(index(&root)["$INDEX"]["$PROFILES"].as_object().expect("an object").len(), 3);
    check_whole(&root);
}

#[test]
fn a_kernel_is_known_by_its_symbols_alone_and_a_part_of_them_is_not_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let (Some(image), Some(told)) = (unpacked(IMAGE), corpus_text("linux/small/linux-small-bash.groundtruth.txt.gz"))
    else {
        return;
    };
    let Some(root) = repository(folder.path()) else { return };
    let pslist = || {
        let output = quaid()
            .args(["-v", "--profile_path", arg(&root), "-f", arg(&image), "--format", "json", "pslist"])
            .output()
            .expect("runs");
        (
            output.status.code(),
            String::from_utf8(output.stdout).expect("text"),
            String::from_utf8(output.stderr).expect("text"),
        )
    };
    let (code, rows, stderr) = pslist();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("profile Linux/mine/one decided by: 6 of 6 traits of the symbol-offset index"), "{stderr}");
    crate::linux::check_tasks(&crate::support::rows(&rows), &told);

    // One distance of another kernel: the match is told, and the image's own symbols and types are used.
    let path = root.join("v1.0/Linux/index");
    let mut changed = index(&root);
    let distance = &mut changed["$INDEX"]["$TRAITS"]["Linux/mine/one"][0][0][1];
    *distance = (distance.as_i64().expect("a distance") + 8).into();
    std::fs::write(&path, changed.to_string()).expect("written");
    let (_, _, stderr) = pslist();
    assert!(
        stderr.contains("5 of 6 traits of Linux/mine/one fit") && stderr.contains("only a partial match"),
        "{stderr}"
    );
    assert!(!stderr.contains("profile Linux/mine/one decided"), "{stderr}");

    // Two kernels in one.
    let mut changed = index(&root);
    changed["$INDEX"]["$TRAITS"]["Linux/mine/moved"] = changed["$INDEX"]["$TRAITS"]["Linux/mine/one"].clone();
    std::fs::write(&path, changed.to_string()).expect("written");
    let (_, _, stderr) = pslist();
    assert!(
        stderr.contains("the kernel has traits of Linux/mine/") && !stderr.contains("Linux/mine/one decided"),
        "{stderr}"
    );
}
