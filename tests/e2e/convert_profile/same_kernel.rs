//! Files of two kernels give no profile: every address in it would be wrong.

use super::inputs::{bz_image, stripped_kernel};
use super::oracles::masked;
use crate::support::{arg, corpus, demo_kernel, ok, run, unpacked};
use std::fs;
use std::path::Path;
use std::process::Command;

/// What `convert_profile` says of these files, which must be refused.
fn refused(args: &[&str]) -> String {
    let output = run(&[&["convert_profile"], args].concat());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(output.stdout.is_empty());
    stderr
}

/// The text of a System.map with another address for each symbol for which there is one.
fn moved(map: &str, other: impl Fn(&str, u64) -> u64) -> String {
    let line = |line: &str| {
        let (address, rest) = line.split_once(' ').expect("an address");
        let name = rest.split(' ').nth(1).expect("a name");
        format!("{:016x} {rest}\n", other(name, u64::from_str_radix(address, 16).expect("a number")))
    };
    map.lines().map(line).collect()
}

#[test]
fn names_and_contents_that_tell_two_releases_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::copy(demo_kernel().join("vmlinux"), at("vmlinux")).expect("copied");
    for other in ["6.1.0-9-other", "6.1.0-quaid-demo2"] {
        let map = at(&format!("System.map-{other}"));
        fs::copy(demo_kernel().join("System.map"), &map).expect("copied");
        let told = refused(&[arg(folder.path())]);
        let expected = format!("System.map-{other}: is of the kernel {other}, and ");
        for part in [expected.as_str(), "vmlinux of 6.1.0-quaid-demo", "rename"] {
            assert!(told.contains(part), "{told}");
        }
        fs::remove_file(&map).expect("removed");
    }
    // A name may leave out the end of the release, or be of no release at all.
    for name in ["System.map-6.1.0", "System.map-6.1.0-quaid-demo", "System.map-saved"] {
        fs::remove_dir_all(at("one")).ok();
        fs::create_dir(at("one")).expect("made");
        fs::copy(demo_kernel().join("vmlinux"), at("one/vmlinux")).expect("copied");
        fs::copy(demo_kernel().join("System.map"), at("one").join(name)).expect("copied");
        ok(&["-q", "convert_profile", arg(&at("one"))]);
    }
}

/// Whatever the list of the running kernel is called and whether or not it lists modules, the kernel's own symbols say where it
/// is linked; that need not be where most kernels are.
#[test]
fn the_kernel_tells_where_it_is_linked() {
    let folder = tempfile::tempdir().expect("a folder");
    let (demo, map) = (demo_kernel().join("vmlinux"), demo_kernel().join("System.map"));
    let map = fs::read_to_string(map).expect("text");
    let (start, slide) = (0xffff_ffff_8100_0000, 0x120_0000);
    for elsewhere in [0, 0x100_0000] {
        let vmlinux = folder.path().join("vmlinux");
        let by = elsewhere.to_string();
        let moves = ["--change-addresses", &by, arg(&demo), arg(&vmlinux)];
        assert!(Command::new("objcopy").args(moves).output().expect("binutils").status.success());
        let from_start = |by: u64| move |_: &str, address| if address >= start { address + by } else { address };
        let expected = moved(&map, from_start(elsewhere));
        for name in ["list", "kallsyms", "System.map"] {
            for module in ["", "ffffffffc0000000 t helper\t[module]\n"] {
                let list = folder.path().join(name);
                fs::write(&list, moved(&map, from_start(elsewhere + slide)) + module).expect("written");
                let told = ok(&["-q", "convert_profile", arg(&vmlinux), "--system_map", arg(&list)]);
                let profile: serde_json::Value = serde_json::from_str(&told).expect("JSON");
                for line in expected.lines() {
                    let fields: Vec<&str> = line.split(' ').collect();
                    let address = masked(u64::from_str_radix(fields[0], 16).expect("hex"));
                    let ours = ["$CONSTANTS", "$FUNCTIONS"].map(|section| profile[section][fields[2]].as_u64());
                    assert!(ours.contains(&Some(address)), "{name} {module}: {line}: {ours:x?}");
                }
            }
        }
    }
}

#[test]
fn a_system_map_of_another_build_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (vmlinux, map) = (demo_kernel().join("vmlinux"), folder.path().join("map"));
    let text = fs::read_to_string(demo_kernel().join("System.map")).expect("text");
    let written = |other: &dyn Fn(&str, u64) -> u64| fs::write(&map, moved(&text, other)).expect("written");

    for (by, why) in [
        (64, "init_task is 0x40 behind where the kernel has it, and _text 0x0"),
        (0x1000, "init_task is 0x1000 behind where the kernel has it, and _text 0x0"),
    ] {
        written(&|name, address| address + if name == "init_task" { by } else { 0 });
        let told = refused(&[arg(&vmlinux), "--system_map", arg(&map)]);
        assert!(told.contains(&format!("is not of the kernel that is with it: {why}")), "{told}");
    }
    // All of it moved, by what no kernel is moved by.
    written(&|_, address| address.wrapping_add(0x120_0040));
    let told = refused(&[arg(&vmlinux), "--system_map", arg(&map)]);
    assert!(told.contains("_text is 0x1200040 behind where the kernel has it, which is no number of pages"), "{told}");
    // Kernels without symbols: as it is, and as it is booted.
    let Some(stripped) = stripped_kernel(folder.path()) else { return };
    let output = Command::new("gzip").args(["-c", "-n", arg(&stripped)]).output().expect("gzip");
    let packed = folder.path().join("vmlinuz");
    fs::write(&packed, bz_image(&output.stdout, false)).expect("written");
    written(&|name, address| address + if name == "linux_banner" { 64 } else { 0 });
    for kernel in [&stripped, &packed] {
        let told = refused(&[arg(kernel), "--system_map", arg(&map)]);
        assert!(told.contains("the kernel has no banner where its linux_banner is"), "{told}");
    }
}

#[test]
fn an_image_takes_the_system_map_of_its_kernel_alone() {
    let zip = "linux/profiles/debian-6.1.0-56-cloud-amd64-dwarf5.zip";
    let (Some(image), Some(zip), Some(map), Some(small)) = (
        unpacked("linux/a256/mem.raw"),
        corpus(zip),
        unpacked("linux/linux-5.10/System.map-5.10.0-43-cloud-amd64"),
        corpus("linux/small/profile-6.1.192-rklab.zip"),
    ) else {
        return;
    };
    let told = refused(&["--from_image", arg(&image), "--system_map", arg(&map)]);
    assert!(told.contains("5.10.0-43-cloud-amd64") && told.contains("6.1.0-56-cloud-amd64"), "{told}");
    // The name tells nothing: what is in memory does.
    let folder = tempfile::tempdir().expect("a folder");
    for (text, near) in [
        (fs::read_to_string(&map).expect("text"), false),
        (crate::linux::system_map(&small), false),
        // Another build whose banner happens to be at the same place in its page.
        (
            moved(&crate::linux::system_map(&zip), |name, address| {
                address + if name == "init_uts_ns" { 0x800 } else { 0 }
            }),
            true,
        ),
    ] {
        let other = folder.path().join("map");
        fs::write(&other, text).expect("written");
        let told = refused(&["--from_image", arg(&image), "--system_map", arg(&other)]);
        assert!(told.contains("none of its banners fits linux_banner"), "{told}");
        assert!(!near || told.contains("init_uts_ns"), "{told}");
    }
    let own = folder.path().join("System.map-6.1.0-56-cloud-amd64");
    fs::write(&own, crate::linux::system_map(&zip)).expect("written");
    let profile = folder.path().join("profile.json");
    ok(&["convert_profile", "--from_image", arg(&image), arg(&profile), "--system_map", arg(&own)]);
    let profile: serde_json::Value = serde_json::from_slice(&fs::read(&profile).expect("a profile")).expect("JSON");
    assert!(profile["$METADATA"]["BuildID"].is_string() && profile["$METADATA"]["Banner"].is_string());
}

/// `CONFIG_IKCONFIG=y`: the configuration is in the kernel's read-only data, packed by gzip.
#[test]
fn a_kernel_s_own_configuration_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let built = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).current_dir(folder.path()).output();
        let output = output.unwrap_or_else(|why| panic!("{program}: {why}"));
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    };
    fs::write(folder.path().join("config"), "CONFIG_X86_64=y\nCONFIG_CMDLINE=\"a=b\"\n").expect("written");
    built("gzip", &["-n", "config"]);
    let text = r#"asm(".pushsection .rodata; .ascii \"IKCFG_ST\"; .incbin \"config.gz\"; .ascii \"IKCFG_ED\"; .popsection");
        struct task { int pid; } init_task = { 1 };"#;
    fs::write(folder.path().join("kernel.c"), text).expect("written");
    built("gcc", &["-g", "-ffreestanding", "-nostdlib", "-static", "-Wl,-e,0", "-o", "vmlinux", "kernel.c"]);
    let config = |path: &Path| {
        let text = ok(&["-q", "convert_profile", arg(path)]);
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")["$CONFIG"].clone()
    };
    let expected = serde_json::json!({ "CONFIG_X86_64": "y", "CONFIG_CMDLINE": "a=b" });
    assert_eq!(config(&folder.path().join("vmlinux")), expected);
}
