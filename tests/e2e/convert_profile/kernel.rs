//! A `vmlinux` of our own: types against pahole, symbols against nm, identity against readelf and the truth file.

use super::converted;
use super::oracles::{masked, pahole_layouts, rekall_layouts};
use crate::support::{arg, demo_kernel, skipped};
use std::collections::BTreeMap;
use std::process::Command;

fn tool(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect("binutils");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn vmlinux_has_banner_release_and_build_id() {
    let folder = demo_kernel();
    let vmlinux = folder.join("vmlinux");
    let profile = converted(&vmlinux);
    let truth = std::fs::read_to_string(folder.join("truth.txt")).expect("truth");
    let banner = truth.lines().find_map(|line| line.strip_prefix("banner\t")).expect("a banner");
    let notes = tool("readelf", &["-n", vmlinux.to_str().expect("text")]);
    let build_id = notes.lines().find_map(|line| line.trim().strip_prefix("Build ID: ")).expect("a build-id");
    let metadata = &profile["$METADATA"];
    for (key, value) in [
        ("Banner", banner),
        ("BuildID", build_id),
        ("Release", "6.1.0-quaid-demo"),
        ("arch", "AMD64"),
        ("KernelBase", "0xffffffff81000000"),
    ] {
        assert_eq!(metadata[key], value, "{key}");
    }
}

#[test]
fn vmlinux_symbols_are_those_of_nm() {
    let folder = demo_kernel();
    let profile = converted(&folder.join("vmlinux"));
    let mut expected: BTreeMap<&str, BTreeMap<String, u64>> = BTreeMap::new();
    let listing = std::fs::read_to_string(folder.join("System.map")).expect("System.map");
    for line in listing.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [address, kind, name] = fields[..] else { panic!("{line}") };
        let section = if kind.eq_ignore_ascii_case("t") { "$FUNCTIONS" } else { "$CONSTANTS" };
        let address = masked(u64::from_str_radix(address, 16).expect("hex"));
        expected.entry(section).or_default().insert(name.to_owned(), address);
    }
    for (section, symbols) in expected {
        assert_eq!(profile[section], serde_json::json!(symbols), "{section}");
    }
}

/// A file of debugging information alone, as distributions ship it: its sections of code have no bytes.
#[test]
fn code_is_code_where_its_bytes_are_in_another_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let debug = folder.path().join("vmlinux.debug");
    tool("objcopy", &["--only-keep-debug", arg(&demo_kernel().join("vmlinux")), arg(&debug)]);
    let (ours, whole) = (converted(&debug), converted(&demo_kernel().join("vmlinux")));
    for section in ["$FUNCTIONS", "$CONSTANTS", "$STRUCTS"] {
        assert!(!whole[section].as_object().expect("a section").is_empty());
        assert_eq!(ours[section], whole[section], "{section}");
    }
}

/// What the linker of 64-bit ARM marks code and data with is in no System.map.
#[test]
fn marks_of_code_and_data_are_no_symbols() {
    let folder = tempfile::tempdir().expect("a folder");
    let (source, kernel) = (folder.path().join("kernel.c"), folder.path().join("vmlinux"));
    let text = "const char linux_banner[] = \"Linux version 6.1.0-marks (a@b) #1\\n\"; struct s { int a; } v = { 1 };\n\
                int f(void) { return v.a; }\n";
    std::fs::write(&source, text).expect("written");
    let options = ["-target", "aarch64-linux-gnu", "-g", "-nostdlib", "-static", "-fuse-ld=lld", "-Wl,-e,f"];
    match Command::new("clang").args(options).arg(&source).arg("-o").arg(&kernel).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => return skipped("there is no clang"),
    }
    assert!(tool("readelf", &["-s", "-W", arg(&kernel)]).contains(" $x"));
    let profile = converted(&kernel);
    let names = |section: &str| profile[section].as_object().expect("a section").keys().cloned().collect::<Vec<_>>();
    assert_eq!((names("$CONSTANTS"), names("$FUNCTIONS")), (vec!["linux_banner".into(), "v".into()], vec!["f".into()]));
}

#[test]
fn vmlinux_types_are_those_of_pahole() {
    let vmlinux = demo_kernel().join("vmlinux");
    let Some(truth) = pahole_layouts("dwarf", &vmlinux) else { return };
    let ours = rekall_layouts(&converted(&vmlinux), 1);
    assert_eq!(truth.len(), 12);
    for (name, layouts) in truth {
        assert!(ours[&name].agrees(&layouts[0]), "{name}:\n{}", ours[&name].difference(&layouts[0]));
    }
}

#[test]
fn variables_have_their_types() {
    let profile = converted(&demo_kernel().join("vmlinux"));
    let types = &profile["$CONSTANT_TYPES"];
    assert_eq!(types["init_task"][0], "task_struct");
    assert_eq!(types["modules"][0], "list_head");
    assert_eq!(types["init_top_pgt"][1], serde_json::json!({"count": 512, "target": "pgd_t"}));
    // Of an unnamed struct, named by the variable.
    assert_eq!(types["tk_core"][0], ".tk_core");
    assert_eq!(profile["$STRUCTS"][".tk_core"][1]["timekeeper"][1][0], "timekeeper");
}

#[test]
fn a_folder_is_as_good_as_a_zip() {
    let folder = demo_kernel();
    let copy = tempfile::tempdir().expect("a folder");
    let boot = copy.path().join("boot");
    std::fs::create_dir(&boot).expect("a folder");
    std::fs::copy(folder.join("vmlinux"), copy.path().join("vmlinux-6.1.0")).expect("copied");
    std::fs::write(boot.join("SYSTEM.MAP-6.1.0"), "ffffffff81000000 T _text\nffffffff82345678 D only_in_the_map\n")
        .expect("written");
    std::fs::write(boot.join("Config-6.1.0"), "# CONFIG_BUG is not set\nCONFIG_X86_64=y\n").expect("written");
    let profile = converted(copy.path());
    assert_eq!(profile["$CONSTANTS"], serde_json::json!({"only_in_the_map": 0xffff_8234_5678_u64}));
    assert_eq!(profile["$CONFIG"], serde_json::json!({"CONFIG_X86_64": "y"}));
    assert_eq!(profile["$METADATA"]["Source"], "vmlinux-6.1.0");
    assert_eq!(profile["$METADATA"]["Release"], "6.1.0-quaid-demo");
}
