//! DWARF that is in several files: split units of gcc and clang, and what dwz moves out of two kernels. What is expected
//! was worked out from the ABI.

use super::layouts::{EXPECTED, kernel, listing, write_map};
use crate::support::{arg, run, skipped};
use quaid::dwarf::{Options, convert, convert_with};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles the file of all layouts to two objects and links them, in `folder`; `None` where there is no such compiler.
fn split_kernel(folder: &Path, compiler: &str, options: &[&str]) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/types.c");
    let built = |args: &[&str]| {
        let output = Command::new(compiler).args(args).current_dir(folder).output().ok()?;
        assert!(output.status.success(), "{compiler} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Some(())
    };
    // Two objects that differ in nothing, not even the source's name, would have one identity.
    for name in ["one.c", "two.c"] {
        std::fs::copy(&source, folder.join(name)).expect("copied");
        built(&[&["-w", "-std=gnu11", "-ffreestanding", "-O1", "-c", name], options].concat())?;
    }
    let link = ["-nostdlib", "-static", "-Wl,-e,0", "-Wl,--allow-multiple-definition", "-o", "vmlinux"];
    built(&[&link[..], &["one.o", "two.o"]].concat())?;
    write_map(folder);
    Some(folder.join("vmlinux"))
}

fn beside(kernel: &Path, files: &[PathBuf]) -> Options {
    let beside = files.iter().cloned().chain([kernel.with_file_name("System.map")]).collect();
    Options { beside, ..Options::default() }
}

#[test]
fn split_units_are_found_by_their_path_beside_the_file_and_when_given() {
    for options in [
        &["-gdwarf-4", "-gsplit-dwarf"][..],
        &["-gdwarf-5", "-gsplit-dwarf"],
        &["-gdwarf-4", "-gsplit-dwarf", "-fdebug-types-section"],
        &["-gdwarf-5", "-gsplit-dwarf", "-fdebug-types-section"],
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let Some(built) = split_kernel(folder.path(), "gcc", options) else { return skipped("there is no gcc") };
        let of = |kernel: &Path, files: &[PathBuf]| {
            let (profile, report) = convert_with(kernel, &beside(kernel, files)).expect("a profile");
            assert_eq!(report.losses(), Vec::<String>::new(), "{options:?}");
            listing(&profile)
        };
        assert_eq!(of(&built, &[]), EXPECTED, "{options:?}: by the path in it");
        let (profile, _) = convert(folder.path()).expect("a profile");
        assert_eq!(listing(&profile), EXPECTED, "{options:?}: the folder");

        // Moved, so that the path in it leads nowhere.
        let moved = tempfile::tempdir().expect("a folder");
        let kernel = moved.path().join("vmlinux");
        write_map(moved.path());
        std::fs::rename(&built, &kernel).expect("moved");
        let elsewhere = folder.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).expect("made");
        let objects = ["one.dwo", "two.dwo"].map(|name| elsewhere.join(name));
        for object in &objects {
            let name = object.file_name().expect("a name");
            std::fs::rename(folder.path().join(name), object).expect("moved");
        }
        assert_eq!(of(&kernel, &objects), EXPECTED, "{options:?}: given");
        for object in &objects {
            std::fs::copy(object, moved.path().join(object.file_name().expect("a name"))).expect("copied");
        }
        assert_eq!(of(&kernel, &[]), EXPECTED, "{options:?}: beside the file");
    }
}

#[test]
fn packages_of_split_units_are_read() {
    // Neither packs DWARF 5 of gcc: llvm-dwp 14 does not end, and binutils' dwp loses all units.
    for (packer, compiler, version) in
        [("dwp", "gcc", "-gdwarf-4"), ("llvm-dwp", "gcc", "-gdwarf-4"), ("llvm-dwp", "clang", "-gdwarf-5")]
    {
        for more in [&["-gsplit-dwarf"][..], &["-gsplit-dwarf", "-fdebug-types-section"]] {
            let folder = tempfile::tempdir().expect("a folder");
            let options = [&[version], more].concat();
            let Some(kernel) = split_kernel(folder.path(), compiler, &options) else {
                return skipped(&format!("there is no {compiler}"));
            };
            let args = ["one.dwo", "two.dwo", "-o", "vmlinux.dwp"];
            match Command::new(packer).args(args).current_dir(folder.path()).output() {
                Ok(output) if output.status.success() => {}
                Ok(output) => {
                    skipped(&format!("{packer} {options:?}: {}", String::from_utf8_lossy(&output.stderr)));
                    continue;
                }
                Err(_) => {
                    skipped(&format!("there is no {packer}"));
                    continue;
                }
            }
            for name in ["one.dwo", "two.dwo"] {
                std::fs::remove_file(folder.path().join(name)).expect("removed");
            }
            let (profile, report) = convert_with(&kernel, &beside(&kernel, &[])).expect("a profile");
            if compiler == "gcc" {
                assert_eq!(listing(&profile), EXPECTED, "{packer} {options:?}");
            } else {
                assert_as_clang_says(&listing(&profile));
            }
            assert_eq!(report.losses(), Vec::<String>::new(), "{packer} {options:?}");
        }
    }
}

/// What binutils' dwp makes of units of DWARF 5: an index, and no units.
#[test]
fn a_package_that_lost_its_units_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(kernel) = split_kernel(folder.path(), "gcc", &["-gdwarf-5", "-gsplit-dwarf"]) else {
        return skipped("there is no gcc");
    };
    let file = |name: &str| folder.path().join(name);
    // Version 2, no sections, units and slots.
    std::fs::write(file("index"), [[2, 0, 0, 0], [0; 4], [0; 4], [0; 4]].concat()).expect("written");
    let index = format!(".debug_cu_index={}", arg(&file("index")));
    let status = Command::new("objcopy")
        .args(["--remove-section", ".debug_info.dwo", "--add-section", &index])
        .args([file("one.dwo"), file("vmlinux.dwp")])
        .status();
    assert!(status.expect("objcopy").success());
    for name in ["one.dwo", "two.dwo"] {
        std::fs::remove_file(file(name)).expect("removed");
    }
    let why = convert_with(&kernel, &beside(&kernel, &[])).expect_err("there are no types").to_string();
    assert!(why.contains("vmlinux.dwp: it has an index of units and no .debug_info.dwo"), "{why}");
}

/// The layouts of the ABI with clang's names of integers. It does not tell of an enumeration that nothing uses.
fn assert_as_clang_says(ours: &str) {
    let expected = EXPECTED
        .replace("long long unsigned int", "unsigned long long")
        .replace("long unsigned int", "unsigned long")
        .replace("short int", "short");
    let structs = |text: &str| text.lines().filter(|line| !line.starts_with("enum ")).map(str::to_owned).collect();
    let (ours, expected): (Vec<String>, Vec<String>) = (structs(ours), structs(&expected));
    assert_eq!(ours, expected);
}

#[test]
fn clang_s_split_units_have_the_layouts_of_the_abi() {
    for version in ["-gdwarf-4", "-gdwarf-5"] {
        let folder = tempfile::tempdir().expect("a folder");
        let Some(kernel) = split_kernel(folder.path(), "clang", &[version, "-gsplit-dwarf"]) else {
            return skipped("there is no clang");
        };
        let (profile, report) = convert_with(&kernel, &beside(&kernel, &[])).expect("a profile");
        assert_as_clang_says(&listing(&profile));
        assert_eq!(report.losses(), Vec::<String>::new(), "{version}");
    }
}

#[test]
fn what_is_missing_or_of_another_build_is_told_with_its_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(kernel) = split_kernel(folder.path(), "gcc", &["-gdwarf-5", "-gsplit-dwarf"]) else {
        return skipped("there is no gcc");
    };
    let map = folder.path().join("System.map");
    let two = folder.path().join("two.dwo");
    let other = tempfile::tempdir().expect("a folder");
    let Some(_) = split_kernel(other.path(), "gcc", &["-gdwarf-5", "-gsplit-dwarf"]) else { return };
    std::fs::copy(other.path().join("two.dwo"), &two).expect("copied");
    std::fs::remove_file(folder.path().join("one.dwo")).expect("removed");
    let output = run(&["convert_profile", arg(&kernel), "--system_map", arg(&map)]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for part in ["2 compilation units", "one.dwo (dwo_id 0x", arg(&folder.path().join("one.dwo")), "(not there)"] {
        assert!(told.contains(part), "`{part}` is not in: {told}");
    }

    // One of two: a profile, and exit code 3.
    let Some(kernel) = split_kernel(folder.path(), "gcc", &["-gdwarf-5", "-gsplit-dwarf"]) else { return };
    std::fs::copy(other.path().join("two.dwo"), &two).expect("copied");
    let report = folder.path().join("report.json");
    let output = run(&["--report", arg(&report), "convert_profile", arg(&kernel), "--system_map", arg(&map)]);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    let report = std::fs::read_to_string(&report).expect("a report");
    assert!(report.contains(&format!("{} (is of another build)", two.display())), "{report}");
}

#[test]
fn supplementary_files_of_dwz_are_found_and_verified() {
    for (version, dwz) in [("-gdwarf-4", &[][..]), ("-gdwarf-5", &[]), ("-gdwarf-5", &["-5"])] {
        let folder = tempfile::tempdir().expect("a folder");
        let kernels = ["a", "b"].map(|name| {
            let folder = folder.path().join(name);
            std::fs::create_dir(&folder).expect("made");
            kernel(&folder, &[version])
        });
        let shared = folder.path().join("common.dwz");
        let args = [dwz, &["-m", arg(&shared), arg(&kernels[0]), arg(&kernels[1])]].concat();
        match Command::new("dwz").args(args).output() {
            Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
            Err(_) => return skipped("there is no dwz"),
        }
        for kernel in &kernels {
            let (profile, report) = convert_with(kernel, &beside(kernel, &[])).expect("by its path");
            assert_eq!(listing(&profile), EXPECTED, "{version} {dwz:?}");
            assert_eq!(report.losses(), Vec::<String>::new(), "{version} {dwz:?}");
        }
        let kernel = &kernels[0];
        let moved = folder.path().join("moved");
        std::fs::rename(&shared, &moved).expect("moved");
        let why = convert_with(kernel, &beside(kernel, &[])).expect_err("it is gone").to_string();
        assert!(why.contains(arg(&shared)) && why.contains("(not there)") && why.contains("--beside"), "{why}");
        let (profile, _) = convert_with(kernel, &beside(kernel, std::slice::from_ref(&moved))).expect("given");
        assert_eq!(listing(&profile), EXPECTED, "{version} {dwz:?}");
        std::fs::copy(&moved, kernel.with_file_name("common.dwz")).expect("copied");
        let (profile, _) = convert_with(kernel, &beside(kernel, &[])).expect("beside it");
        assert_eq!(listing(&profile), EXPECTED, "{version} {dwz:?}");

        // Of another build: the last byte of the identity differs.
        let damaged = kernel.with_file_name("common.dwz");
        let mut bytes = std::fs::read(&damaged).expect("read");
        let found = sup_identity(&bytes);
        bytes[found] ^= 1;
        std::fs::write(&damaged, bytes).expect("written");
        let why = convert_with(kernel, &beside(kernel, &[])).expect_err("it is another one").to_string();
        assert!(why.contains("is another build"), "{version} {dwz:?}: {why}");
    }
}

/// Where the last byte of a supplementary file's identity is.
fn sup_identity(bytes: &[u8]) -> usize {
    use object::{Object as _, ObjectSection as _};
    let file = object::File::parse(bytes).expect("an ELF file");
    let section = file.section_by_name(".debug_sup").or_else(|| file.section_by_name(".note.gnu.build-id"));
    let (start, length) = section.expect("an identity").file_range().expect("in the file");
    (start + length - 1) as usize
}
