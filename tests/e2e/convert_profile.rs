//! `convert_profile` against what others say of the same kernels: pahole, dwarf2json, nm, and the ABI.

mod btf;
mod hostile;
mod inputs;
mod isr;
mod kallsyms;
mod kernel;
mod layouts;
mod macho;
mod mutated;
mod oracles;
mod other_languages;
mod same_kernel;
mod separate;
mod variables;
mod vmlinux;

use crate::support::{arg, corpus, ok, run, unpacked};
use oracles::{
    Aliases, Layout, assert_every_layout, isf_layouts, isf_symbols, masked, pahole_layouts, rekall_layouts, system_map,
    without_aliases,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

const DEBIAN_DWARF4: &str = "linux/profiles/debian-6.1.0-56-cloud-amd64-dwarf4.zip";
const DEBIAN_DWARF5: &str = "linux/profiles/debian-6.1.0-56-cloud-amd64-dwarf5.zip";
const DEBIAN_BTF: &str = "linux/profiles/debian-6.1.0-56-cloud-amd64.btf";
const DEBIAN_ISF: &str = "linux/profiles/debian-6.1.0-56-cloud-amd64.isf.json";
const ARM64: &str = "linux/arm64/debian-6.1.0-56-cloud-arm64-dwarf5.zip";
const ARM64_ISF: &str = "linux/arm64/linux-6.1.0-56-cloud-arm64.isf.json";
const ARM64_BTF: &str = "linux/arm64/vmlinux.btf";
const SMALL: &str = "linux/small/profile-6.1.192-rklab.zip";
const SMALL_BTF: &str = "linux/small/vmlinux-6.1.192-rklab.btf";

fn converted(source: &Path) -> Value {
    serde_json::from_str(&ok(&["-q", "convert_profile", arg(source)])).expect("JSON")
}

/// Every layout that both know is the same; gives how many those are. A name of which the other side knows several
/// layouts has to fit one of them.
fn assert_same_layouts(ours: &BTreeMap<String, Layout>, theirs: &BTreeMap<String, Vec<Layout>>) -> usize {
    let mut common = 0;
    for (name, layout) in ours {
        let Some(candidates) = theirs.get(name) else { continue };
        common += 1;
        assert!(candidates.iter().any(|truth| layout.agrees(truth)), "{name}:\n{}", layout.difference(&candidates[0]));
    }
    common
}

#[test]
fn module_zips_have_the_layouts_that_pahole_reads_from_the_kernel() {
    for (zip, btf, structs) in [
        (DEBIAN_DWARF4, DEBIAN_BTF, 826),
        (DEBIAN_DWARF5, DEBIAN_BTF, 826),
        (SMALL, SMALL_BTF, 651),
        (ARM64, ARM64_BTF, 816),
    ] {
        let (Some(zip), Some(btf)) = (corpus(zip), unpacked(btf)) else { return };
        let Some(truth) = pahole_layouts("btf", &btf) else { return };
        let ours = rekall_layouts(&converted(&zip), 1);
        assert_eq!(assert_same_layouts(&ours, &truth), structs, "{}", zip.display());
    }
}

/// Every type of the module, also those that its kernel's BTF lacks.
#[test]
fn modules_have_every_layout_that_pahole_reads_from_their_dwarf() {
    for (zip, structs) in [(DEBIAN_DWARF4, 800), (DEBIAN_DWARF5, 800), (SMALL, 600), (ARM64, 800)] {
        let Some(zip) = corpus(zip) else { return };
        let folder = tempfile::tempdir().expect("a folder");
        let mut members = zip::ZipArchive::new(std::fs::File::open(&zip).expect("readable")).expect("a zip");
        members.extract(folder.path()).expect("unpacked");
        let Some(truth) = pahole_layouts("dwarf", &folder.path().join("module_dwarf.ko")) else { return };
        assert!(truth.len() > structs, "{}", truth.len());
        assert_every_layout(&rekall_layouts(&converted(&zip), 1), &truth);
    }
}

/// The zip that Volatility 2 takes: what dwarfdump printed of the module, and System.map.
#[test]
fn volatility_2_s_zip_has_the_layouts_that_pahole_reads_from_the_kernel() {
    let (Some(zip), Some(btf)) = (corpus(DEBIAN_DWARF5), unpacked(DEBIAN_BTF)) else { return };
    let Some(truth) = pahole_layouts("btf", &btf) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let mut members = zip::ZipArchive::new(std::fs::File::open(&zip).expect("readable")).expect("a zip");
    members.extract(folder.path()).expect("unpacked");
    let module = folder.path().join("module_dwarf.ko");
    let Ok(text) = std::process::Command::new("dwarfdump").arg("-di").arg(&module).output() else {
        return crate::support::skipped("there is no dwarfdump");
    };
    let of_module = converted(folder.path());
    std::fs::remove_file(module).expect("removed");
    std::fs::write(folder.path().join("module.dwarf"), text.stdout).expect("written");
    let of_text = converted(folder.path());
    assert_eq!(assert_same_layouts(&rekall_layouts(&of_text, 1), &truth), 826);
    for section in ["$STRUCTS", "$ENUMS", "$CONSTANT_TYPES", "$CONSTANTS", "$FUNCTIONS", "$ISF"] {
        assert!(of_text[section] == of_module[section], "{section}");
    }
}

#[test]
fn dwarf_4_and_5_give_the_same_profile() {
    let (Some(four), Some(five)) = (corpus(DEBIAN_DWARF4), corpus(DEBIAN_DWARF5)) else { return };
    let (mut four, mut five) = (converted(&four), converted(&five));
    for profile in [&mut four, &mut five] {
        let metadata = profile["$METADATA"].as_object_mut().expect("metadata");
        assert!(metadata.remove("Source").is_some() && metadata.remove("SourceSHA256").is_some());
    }
    assert!(four == five);
}

#[test]
fn module_zips_equal_dwarf2json_s_isf_of_the_kernel() {
    for (zip, isf, least) in [(DEBIAN_DWARF5, DEBIAN_ISF, 860), (ARM64, ARM64_ISF, 850)] {
        let (Some(zip), Some(isf)) = (corpus(zip), unpacked(isf)) else { return };
        assert_equals_isf(&zip, &isf, least);
    }
}

fn assert_equals_isf(zip: &Path, isf: &Path, least: usize) {
    let isf: Value = serde_json::from_slice(&std::fs::read(isf).expect("readable")).expect("JSON");
    let ours = converted(zip);
    let (mut layouts, mut truth) = (rekall_layouts(&ours, usize::MAX), isf_layouts(&isf));
    let aliases = Aliases::of(&isf);
    without_aliases(&mut layouts, &aliases);
    without_aliases(&mut truth, &aliases);
    let truth = truth.into_iter().map(|(name, layout)| (name, vec![layout])).collect();
    let common = assert_same_layouts(&layouts, &truth);
    assert!(common > least, "only {common} types in common");
    // dwarf2json kept the first of several symbols with one name, we the last.
    let (map, isf_symbols) = (system_map(zip), isf_symbols(&isf));
    for (name, addresses) in &map {
        let known = isf_symbols.get(name).unwrap_or_else(|| panic!("the ISF has no {name}"));
        assert!(addresses.iter().any(|(_, address)| address == known), "{name}");
    }
    let enums = isf["enums"].as_object().expect("enums");
    let mut compared = 0;
    for (name, values) in ours["$REVENUMS"].as_object().expect("enums") {
        let Some(theirs) = enums.get(name) else { continue };
        compared += 1;
        assert_eq!(values, &theirs["constants"], "{name}");
    }
    assert!(compared > 60, "only {compared} enums in common");
}

#[test]
fn symbols_are_those_of_the_system_map() {
    for zip in [DEBIAN_DWARF5, SMALL] {
        let Some(zip) = corpus(zip) else { return };
        let profile = converted(&zip);
        let mut expected: [BTreeMap<String, Vec<u64>>; 2] = [BTreeMap::new(), BTreeMap::new()];
        for (name, addresses) in system_map(&zip) {
            for (kind, address) in addresses {
                let of_name = expected[usize::from("TtWw".contains(kind))].entry(name.clone()).or_default();
                of_name.push(masked(address));
            }
        }
        let originals = &profile["$ISF"]["linkage_names"];
        for (section, mut expected) in ["$CONSTANTS", "$FUNCTIONS"].into_iter().zip(expected) {
            let mut got: BTreeMap<String, Vec<u64>> = BTreeMap::new();
            for (name, address) in profile[section].as_object().expect("a section") {
                // Static symbols of one name are all there; the lowest has the name, and the others know it.
                let plain = expected.contains_key(name);
                let original = if plain { name.as_str() } else { originals[name].as_str().expect("an original name") };
                got.entry(original.to_owned()).or_default().push(address.as_u64().expect("an address"));
                assert!(!plain || expected[name].iter().min() == address.as_u64().as_ref(), "{name}");
            }
            for addresses in got.values_mut().chain(expected.values_mut()) {
                addresses.sort_unstable();
                addresses.dedup();
            }
            assert!(got == expected, "{section}");
        }
    }
}

/// What a guest printed of itself while it ran, moved by KASLR, becomes the addresses of its System.map.
#[test]
fn addresses_of_a_running_kernel_are_moved_back() {
    let (Some(zip), Some(btf)) = (corpus(DEBIAN_DWARF5), unpacked(DEBIAN_BTF)) else { return };
    let told = crate::support::corpus_text("linux/a256/groundtruth.txt.xz").expect("the corpus is there");
    let told = crate::truth::sections(&told)["kallsyms"].to_owned();
    let folder = tempfile::tempdir().expect("a folder");
    let kallsyms = folder.path().join("kallsyms");
    let converted = |list: &Path| {
        let text = ok(&["-q", "convert_profile", arg(&btf), "--kallsyms", arg(list)]);
        serde_json::from_str::<Value>(&text).expect("JSON")
    };
    std::fs::write(&kallsyms, told.clone() + "ffffffffc0382000 t init_module\t[virtio]\n").expect("written");
    let profile = converted(&kallsyms);
    // A kernel without a module.
    for name in ["kallsyms.txt", "list"] {
        let list = folder.path().join(name);
        std::fs::write(&list, &told).expect("written");
        let same = converted(&list);
        for section in ["$CONSTANTS", "$FUNCTIONS"] {
            assert_eq!(same[section], profile[section], "{name}");
        }
    }
    let map = system_map(&zip);
    let mut compared = 0;
    for section in ["$CONSTANTS", "$FUNCTIONS"] {
        for (name, address) in profile[section].as_object().expect("a section") {
            let known = map[name].iter().map(|(_, address)| masked(*address)).collect::<Vec<_>>();
            assert!(known.contains(&address.as_u64().expect("an address")), "{name}");
            compared += 1;
        }
    }
    assert!(compared > 30, "{compared}");
    assert_eq!(profile["$METADATA"]["KernelBase"], "0xffffffff81000000");
    assert!(profile["$FUNCTIONS"].get("init_module").is_none());

    // A kernel without CONFIG_KALLSYMS_ALL.
    let functions = "ffffffffaf400000 T _text\nffffffffaf401000 t early\nffffffffc0382000 t init_module\t[virtio]\n";
    for (more, told) in [("", true), ("ffffffffb0000000 D init_task\n", false)] {
        std::fs::write(&kallsyms, functions.to_owned() + more).expect("written");
        let output = run(&["convert_profile", arg(&btf), "--kallsyms", arg(&kallsyms)]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(stderr.contains("CONFIG_KALLSYMS_ALL is off"), told, "{stderr}");
    }
}

#[test]
fn metadata_tells_the_kernel_and_the_source() {
    let Some(zip) = corpus(DEBIAN_DWARF5) else { return };
    let profile = converted(&zip);
    let metadata = &profile["$METADATA"];
    for (key, value) in [
        ("Type", "Profile"),
        ("ProfileClass", "Linux"),
        ("arch", "AMD64"),
        ("Release", "6.1.0-56-cloud-amd64"),
        ("KernelBase", "0xffffffff81000000"),
        ("Source", "debian-6.1.0-56-cloud-amd64-dwarf5.zip"),
    ] {
        assert_eq!(metadata[key], value, "{key}");
    }
    assert_eq!(metadata["Version"], 1);
    assert_eq!((&metadata["PageSize"], &metadata["PagingLevels"]), (&Value::from(4096), &Value::from(5)));
    assert!(
        metadata.get("Banner").is_none() && metadata.get("BuildID").is_none(),
        "a module's build-id is not the kernel's"
    );
    let sha256 = std::process::Command::new("sha256sum").arg(&zip).output().expect("sha256sum").stdout;
    assert_eq!(metadata["SourceSHA256"].as_str(), String::from_utf8(sha256).expect("text").get(..64));
    // With a value that has "=" and one with quotes in it.
    let config = profile["$CONFIG"].as_object().expect("config");
    assert_eq!(config["CONFIG_CC_IMPLICIT_FALLTHROUGH"], "-Wimplicit-fallthrough=5");
    assert!(config.values().all(|value| value != "n") && config.len() > 2000);
}

#[test]
fn the_line_of_the_manual_works_with_its_comma() {
    let Some(zip) = corpus(SMALL) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("3.8.0-35-generic.zip");
    std::fs::copy(zip, &source).expect("copied");
    let mut command = crate::support::quaid();
    let output = command
        .current_dir(folder.path())
        .args(["convert_profile", "3.8.0-35-generic.zip,", "3.8.0-35-generic"])
        .output()
        .expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let target = folder.path().join("3.8.0-35-generic");
    let text = std::fs::read(&target).expect("the profile");
    assert_eq!(serde_json::from_slice::<Value>(&text).expect("JSON")["$METADATA"]["Release"], "6.1.192-rklab");
    // The same again replaces it; another kernel's profile is not replaced.
    ok(&["-f", arg(&source), "convert_profile", "--output", arg(&target)]);
    assert_eq!(std::fs::read(&target).expect("the profile"), text);
    let Some(other) = corpus(DEBIAN_DWARF4) else { return };
    let refused = run(&["convert_profile", arg(&other), arg(&target)]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--overwrite"));
    assert_eq!(std::fs::read(&target).expect("the profile"), text);
    ok(&["--overwrite", "convert_profile", arg(&other), arg(&target)]);
}
