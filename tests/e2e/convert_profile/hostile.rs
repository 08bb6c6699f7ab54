//! Files that lie: each gives an error or a report, in little time and memory, and no profile is written.

use crate::limits::{limited, soon};
use crate::support::{arg, corpus, demo_kernel, run};
use quaid::dwarf::convert;
use quaid_profile::Type;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use zip::write::SimpleFileOptions;

/// Links an assembly text as a kernel: the DWARF in it is our own.
fn linked(folder: &Path, text: &str) -> PathBuf {
    let (source, target) = (folder.join("kernel.s"), folder.join("vmlinux"));
    std::fs::write(&source, text).expect("written");
    let output = Command::new("gcc")
        .args(["-nostdlib", "-static", "-Wl,-e,0", "-Wl,--build-id=none"])
        .arg(&source)
        .arg("-o")
        .arg(&target)
        .output()
        .expect("gcc");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target
}

/// A unit of DWARF 4. Abbreviations: 1 unit, 2 typedef, 3 pointer, 4 struct, 5 member, 6 function type, 7 parameter,
/// 8 array, 9 subrange, 10 enumeration, 11 label.
fn unit(entries: &str) -> String {
    format!(
        r#"
        .data
        .globl init_task
init_task: .quad 0
        .section .debug_abbrev,"",@progbits
        .byte 1, 0x11, 1, 0x13, 0x0b, 0, 0
        .byte 2, 0x16, 0, 0x03, 0x08, 0x49, 0x13, 0, 0
        .byte 3, 0x0f, 0, 0x49, 0x13, 0, 0
        .byte 4, 0x13, 1, 0x03, 0x08, 0x0b, 0x0b, 0, 0
        .byte 5, 0x0d, 0, 0x03, 0x08, 0x49, 0x13, 0x38, 0x0b, 0, 0
        .byte 6, 0x15, 1, 0x49, 0x13, 0, 0
        .byte 7, 0x05, 0, 0x49, 0x13, 0, 0
        .byte 8, 0x01, 1, 0x49, 0x13, 0, 0
        .byte 9, 0x21, 0, 0x2f, 0x0b, 0, 0
        .byte 10, 0x04, 1, 0x03, 0x08, 0x0b, 0x0b, 0, 0
        .byte 11, 0x28, 0, 0x03, 0x08, 0x1c, 0x0b, 0, 0
        .byte 0
        .section .debug_info,"",@progbits
start:  .4byte finish - version
version:
        .2byte 4
        .4byte 0
        .byte 8
        .byte 1, 12
        {entries}
        .byte 0
finish:
"#
    )
}

#[test]
fn references_in_a_circle_come_to_an_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let vmlinux = linked(
        folder.path(),
        &unit(
            r#"
first:  .byte 2
        .asciz "first"
        .4byte second - start
second: .byte 2
        .asciz "second"
        .4byte first - start
self:   .byte 3
        .4byte self - start
holder: .byte 4
        .asciz "holder"
        .byte 24
        .byte 5
        .asciz "a"
        .4byte first - start
        .byte 0
        .byte 5
        .asciz "b"
        .4byte self - start
        .byte 8
        .byte 5
        .asciz "outside"
        .4byte 0x7fffffff
        .byte 16
        .byte 0
"#,
        ),
    );
    let (profile, report) = convert(&vmlinux).expect("the rest of it");
    assert_eq!(profile.structs["holder"].members.len(), 3);
    assert_eq!(report.unresolved_types, 3);
    assert!(report.losses().iter().any(|line| line.contains("lead nowhere")));
}

/// Arrays and functions within each other, deeper than readers of JSON go: what is written can be read.
#[test]
fn types_that_nest_too_deep_are_cut() {
    let folder = tempfile::tempdir().expect("a folder");
    let function =
        |number| format!("f{number}: .byte 6\n .4byte 0\n .byte 7\n .4byte f{} - start\n .byte 0\n", number + 1);
    let functions: String = (0..100).map(function).collect();
    let dimensions = ".byte 9, 1\n".repeat(200);
    let entries = format!(
        "{functions}f100: .byte 6\n .4byte 0\n .byte 0\n\
         array: .byte 8\n .4byte holder - start\n {dimensions} .byte 0\n\
         flat: .byte 8\n .4byte holder - start\n .byte 9, 1, 9, 2\n .byte 0\n\
         holder: .byte 4\n .asciz \"holder\"\n .byte 24\n\
         .byte 5\n .asciz \"f\"\n .4byte f0 - start\n .byte 0\n\
         .byte 5\n .asciz \"a\"\n .4byte array - start\n .byte 8\n\
         .byte 5\n .asciz \"b\"\n .4byte flat - start\n .byte 16\n .byte 0\n"
    );
    let (profile, report) = convert(&linked(folder.path(), &unit(&entries))).expect("the rest of it");
    let json: serde_json::Value = serde_json::from_str(&profile.to_rekall()).expect("read by any reader of JSON");
    let members = &json["$STRUCTS"]["holder"][1];
    assert_eq!(members["f"][1][0], "Function", "{members}");
    assert_eq!(members["a"][1][0], "Void", "{members}");
    assert_eq!((&members["b"][1][1]["count"], &members["b"][1][1]["target_args"]["count"]), (&2.into(), &3.into()));
    assert!(report.losses().iter().any(|line| line.contains("lead nowhere")));
}

/// Structs without a name in each other, whose names are made of all those around them: 4,000 levels of one letter, which
/// are read again for each, and 200 of a thousand.
#[test]
fn nameless_types_that_nest_too_deep_are_left_out() {
    for (levels, member) in [(4000, 1), (200, 1000), (33, 1)] {
        let folder = tempfile::tempdir().expect("a folder");
        let member = "m".repeat(member);
        let field = |target: &str| format!(".byte 5\n .asciz \"{member}\"\n .4byte {target} - start\n .byte 0\n");
        let inner = |level| format!("{} s{level}: .byte 4, 0, 8\n", field(&format!("s{level}")));
        let nested: String = (1..=levels).map(inner).collect();
        let ends = ".byte 0\n".repeat(levels + 1);
        let entries = format!(
            "outer: .byte 4\n .asciz \"outer\"\n .byte 8\n {nested} {} {ends}\
             other: .byte 4\n .asciz \"other\"\n .byte 8\n {} .byte 0\n",
            field("outer"),
            field("outer"),
        );
        let vmlinux = linked(folder.path(), &unit(&entries));
        let (converted, _) = limited(8_000_000, move || convert(&vmlinux)).expect("in little time and memory");
        let (profile, report) = converted.expect("the rest of it");
        let kept = if member.len() == 1 { 32 } else { 4 };
        assert_eq!(profile.structs.len(), 2 + kept);
        let deepest = format!("outer{}", format!(".{member}").repeat(kept));
        assert_eq!(profile.structs[&deepest].members[&member].ty, Type::Void);
        assert_eq!(profile.structs["other"].members[&member].ty, Type::named("outer"));
        assert_eq!(report.nameless_types, 1);
        let told = report.losses();
        assert!(told.iter().any(|line| line.starts_with("1 types without a name were left out")), "{told:?}");
    }
}

/// Labels that differ in bytes which are no UTF-8 have one text, and JSON one key.
#[test]
fn labels_of_one_text_are_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let entries = "
        .byte 10
        .asciz \"e\"
        .byte 4, 11, 0xfe, 0, 1, 11, 0xff, 0, 2, 11, 'x', 0, 3, 0
        .byte 4, 's', 0, 4, 0
";
    let (profile, report) = convert(&linked(folder.path(), &unit(entries))).expect("the rest of it");
    let values: Vec<_> = profile.enums.values().flat_map(|made| &made.values).cloned().collect();
    assert_eq!(values, [("\u{fffd}".to_owned(), 1), ("x".to_owned(), 3)]);
    assert!(report.losses().iter().any(|line| line.starts_with("1 members were left out")), "{:?}", report.losses());
}

/// Each function takes the next one twice: 2^60 types, were they all written down.
#[test]
fn types_that_multiply_are_cut() {
    let folder = tempfile::tempdir().expect("a folder");
    let function = |number| {
        let next = number + 1;
        format!("f{number}: .byte 6\n .4byte f{next} - start\n .byte 7\n .4byte f{next} - start\n .byte 0\n")
    };
    let functions: Vec<String> = (0..60).map(function).collect();
    let entries = functions.concat()
        + "f60: .byte 6\n .4byte f60 - start\n .byte 0\nholder: .byte 4\n .asciz \"holder\"\n .byte 8\n .byte 5\n .asciz \"a\"\n .4byte f0 - start\n .byte 0\n .byte 0\n";
    let vmlinux = linked(folder.path(), &unit(&entries));
    let (profile, report) = convert(&vmlinux).expect("the rest of it");
    assert!(profile.structs["holder"].members.contains_key("a"));
    assert!(report.unresolved_types > 0);
}

#[test]
fn a_kernel_that_is_cut_gives_an_error_or_less() {
    let whole = std::fs::read(demo_kernel().join("vmlinux")).expect("the kernel");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("vmlinux");
    for end in (0..whole.len()).step_by(1511) {
        std::fs::write(&path, &whole[..end]).expect("written");
        assert!(convert(&path).is_err(), "cut at {end}: the section headers are at the file's end");
    }
}

#[test]
fn damaged_debugging_information_never_panics_or_hangs() {
    let whole = std::fs::read(demo_kernel().join("vmlinux")).expect("the kernel");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("vmlinux");
    // A linear congruential generator: the same damage in every run.
    let mut random = 12345_u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    // Debugging sections and section headers are the last third of the file.
    let debug = whole.len() * 2 / 3;
    let mut outcomes = [0, 0];
    for _ in 0..300 {
        let mut damaged = whole.clone();
        for _ in 0..=next(8) {
            let at = debug + next(whole.len() - debug);
            damaged[at] = next(256) as u8;
        }
        std::fs::write(&path, &damaged).expect("written");
        let path = path.clone();
        let converted = soon("damaged debugging information", move || convert(&path).is_ok());
        outcomes[usize::from(converted)] += 1;
    }
    assert!(outcomes[0] > 0 && outcomes[1] > 0, "{outcomes:?}: damage is both survived and told");
}

#[test]
fn a_zip_that_is_cut_gives_an_error_and_no_file() {
    let Some(zip) = corpus("linux/small/profile-6.1.192-rklab.zip") else { return };
    let whole = std::fs::read(zip).expect("the zip");
    let folder = tempfile::tempdir().expect("a folder");
    let (path, target) = (folder.path().join("a.zip"), folder.path().join("profile"));
    for end in [0, 1, 4, 30, 1000, whole.len() / 2, whole.len() - 100, whole.len() - 1] {
        std::fs::write(&path, &whole[..end]).expect("written");
        let output = run(&["convert_profile", arg(&path), arg(&target)]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "cut at {end}: {stderr}");
        assert!(stderr.contains("a.zip") && !target.exists(), "{stderr}");
    }
}

#[test]
fn a_member_that_unpacks_without_end_is_not_unpacked() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bomb.zip");
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&path).expect("created"));
    let zeros = vec![0; 1 << 20];
    zip.start_file("module_dwarf.ko", SimpleFileOptions::default()).expect("a member");
    zip.write_all(b"\x7fELF").expect("written");
    for _ in 0..300 {
        zip.write_all(&zeros).expect("written");
    }
    zip.finish().expect("finished");
    let error = convert(&path).expect_err("a bomb").to_string();
    assert!(error.contains("module_dwarf.ko") && error.contains("MiB"), "{error}");
}

/// Names that lead out of the archive, that move the cursor of a terminal, or that are none.
#[test]
fn no_name_in_an_archive_is_a_path_or_reaches_the_terminal() {
    const NAMES: [&str; 6] = [
        "../../outside.ko",
        "/tmp/quaid-outside/outside.ko",
        "C:\\outside.ko",
        "module\x1b[2J\x1b[31m.ko",
        "module\r\nerror: all is well.ko",
        "vmlinux\u{9b}2J",
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).expect("made");
    // Damaged, so that each is told by name.
    let damaged = b"\x7fELF\x02\x01\x01 is no ELF file";
    let (zip_path, tar_path, cpio_path) = (inner.join("a.zip"), inner.join("a.tar"), inner.join("a.cpio"));
    for name in NAMES {
        let mut zip = zip::ZipWriter::new(std::fs::File::create(&zip_path).expect("created"));
        zip.start_file(name, SimpleFileOptions::default()).expect("a member");
        zip.write_all(damaged).expect("written");
        zip.finish().expect("finished");
        // By hand: the crate that writes tar refuses such names.
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(damaged.len() as u64);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        let mut tar = [header.as_bytes().as_slice(), damaged].concat();
        tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
        std::fs::write(&tar_path, tar).expect("written");
        let member = |name: &str, mode: u32, bytes: &[u8]| {
            let fields = [1, mode, 0, 0, 1, 0, bytes.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
            let mut member: Vec<u8> = b"070701".to_vec();
            member.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
            for part in [[name.as_bytes(), b"\0"].concat().as_slice(), bytes] {
                member.extend(part);
                member.resize(member.len().next_multiple_of(4), 0);
            }
            member
        };
        let cpio = [member(name, 0o100_644, damaged), member("TRAILER!!!", 0, &[])].concat();
        std::fs::write(&cpio_path, cpio).expect("written");
        for archive in [&zip_path, &tar_path, &cpio_path] {
            let output = run(&["convert_profile", arg(archive), arg(&inner.join("profile"))]);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{stderr}");
            let lines: Vec<&str> = stderr.lines().collect();
            assert!(lines.iter().filter(|line| line.starts_with("error:")).count() == 1, "{name:?}: {stderr}");
            assert!(!stderr.chars().any(|c| c.is_control() && c != '\n'), "{name:?}: {stderr:?}");
            assert!(!inner.join("profile").exists());
            assert_eq!(
                std::fs::read_dir(folder.path()).expect("a folder").count(),
                1,
                "{name:?}: something is outside"
            );
        }
    }
    assert!(!Path::new("/tmp/quaid-outside").exists());
}

#[test]
fn what_is_no_source_is_told_in_a_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let mut empty_zip = b"PK\x05\x06".to_vec();
    empty_zip.resize(22, 0);
    let stripped = folder.path().join("stripped");
    let objcopy = Command::new("objcopy")
        .args(["--strip-debug", arg(&demo_kernel().join("vmlinux")), arg(&stripped)])
        .status()
        .expect("objcopy");
    assert!(objcopy.success());
    for (path, expected) in [
        (folder.path().join("absent"), "cannot read"),
        (file("garbage", b"\x01\x02\x03"), "is no ELF or Mach-O file"),
        (file("empty", b""), "is no ELF or Mach-O file"),
        (file("map", b"ffffffff81000000 T _text\n"), "has no types"),
        (file("module.dwarf", b".debug_info\n<0><0x0><DW_TAG_compile_unit>"), "no System.map"),
        (file("empty.zip", &empty_zip), "no ELF file"),
        (stripped, "neither a .debug_info"),
    ] {
        let target = folder.path().join("profile");
        let output = run(&["convert_profile", arg(&path), arg(&target)]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(expected) && stderr.contains(arg(&path)), "{stderr}");
        assert!(output.stdout.is_empty() && !target.exists());
    }
}

/// 30,000 units of 12 bytes that all refer to one table of half a megabyte: to read it for each would take minutes.
#[test]
fn a_table_that_all_units_refer_to_is_not_read_without_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = r#"
        .data
        .globl init_task
init_task: .quad 0
        .section .debug_abbrev,"",@progbits
        .set code, 1
        .rept 50000
        .uleb128 code
        .byte 0x11, 0, 0x13, 0x0b, 0, 0
        .set code, code + 1
        .endr
        .byte 0
        .section .debug_info,"",@progbits
        .rept 30000
        .4byte 9
        .2byte 4
        .4byte 0
        .byte 8
        .byte 1, 12
        .endr
"#;
    let vmlinux = linked(folder.path(), text);
    let converted = soon("a table of abbreviations", move || convert(&vmlinux).map(drop));
    let error = converted.expect_err("no types").to_string();
    assert!(error.contains("tables of abbreviations"), "{error}");
}

/// A section that may unpack to 1 GiB by itself may not beside another one.
#[test]
fn compressed_sections_have_one_bound_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("bomb.s");
    // Elf64_Chdr of zlib; four zeros as they are, and what claims to be 1 GiB.
    let text = ".section .debug_info,\"0x800\"\n.long 1,0\n.quad 4,1\n.byte 0x78,1, 1,4,0,0xfb,0xff, 0,0,0,0, 0,4,0,1\n\
                .section .debug_abbrev,\"0x800\"\n.long 1,0\n.quad 1 << 30,1\n.zero 1 << 20\n";
    std::fs::write(&source, text).expect("written");
    let object = folder.path().join("bomb.ko");
    let output = Command::new("gcc").arg("-c").arg(&source).arg("-o").arg(&object).output().expect("gcc");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::remove_file(source).expect("removed");
    std::fs::write(folder.path().join("System.map"), "ffffffff82000000 D of_kernel\n").expect("written");
    let why = convert(folder.path()).expect_err("more than 1 GiB").to_string();
    assert!(why.contains("unpack to more than 1073741824 bytes"), "{why}");
}
