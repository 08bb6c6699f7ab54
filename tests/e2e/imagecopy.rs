//! `imagecopy`: what is written is read by the `object` crate or by the few lines that the format takes, and compared with
//! what the makers of the images put into them.

use crate::support::{arg, formats, ok, rows, run};
use object::read::elf::{FileHeader as _, ProgramHeader as _};
use object::{Endianness, elf};
use serde_json::Value;
use std::path::Path;

/// A range and its bytes.
type Range = (u64, Vec<u8>);

/// What a generated image holds: ranges that touch each other joined, because formats may cut them.
fn expected(folder: &Path, name: &str) -> Vec<Range> {
    let flat = std::fs::read(folder.join("flat.raw")).expect("flat.raw");
    let truth = std::fs::read(folder.join("synth/expected.json")).expect("expected.json");
    let truth: Value = serde_json::from_slice(&truth).expect("JSON");
    let number = |value: &Value| {
        let text = value.as_str().expect("text").trim_start_matches("0x");
        usize::from_str_radix(text, 16).expect("hex")
    };
    let runs = truth[name]["runs"].as_array().expect("runs");
    let range = |run: &Value| (number(&run[0]) as u64, flat[number(&run[1])..][..number(&run[2])].to_vec());
    joined(runs.iter().map(range).collect())
}

fn joined(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort();
    let mut joined: Vec<Range> = Vec::new();
    for (start, bytes) in ranges {
        match joined.last_mut() {
            Some((at, before)) if *at + before.len() as u64 == start => before.extend(bytes),
            _ => joined.push((start, bytes)),
        }
    }
    joined
}

fn read_lime(file: &[u8]) -> Vec<Range> {
    let mut ranges = Vec::new();
    let mut rest = file;
    while !rest.is_empty() {
        assert_eq!(&rest[..8], b"EMiL\x01\0\0\0");
        let word = |at: usize| u64::from_le_bytes(rest[at..at + 8].try_into().expect("8 bytes"));
        let (start, bytes) = (word(8), (word(16) - word(8) + 1) as usize);
        ranges.push((start, rest[32..32 + bytes].to_vec()));
        rest = &rest[32 + bytes..];
    }
    joined(ranges)
}

/// The ranges with bytes, and those (start, bytes) without.
fn read_elf(file: &[u8]) -> (Vec<Range>, Vec<(u64, u64)>) {
    let header = elf::FileHeader64::<Endianness>::parse(file).expect("an ELF file");
    let endian = header.endian().expect("an order of bytes");
    assert_eq!(header.e_type(endian), elf::ET_CORE);
    let (mut ranges, mut missing) = (Vec::new(), Vec::new());
    for program in header.program_headers(endian, file).expect("program headers") {
        if program.p_type(endian) == elf::PT_LOAD {
            let bytes = program.data(endian, file).expect("inside the file").to_vec();
            match bytes.len() {
                0 => missing.push((program.p_paddr(endian), program.p_memsz(endian))),
                _ => ranges.push((program.p_paddr(endian), bytes)),
            }
        }
    }
    (joined(ranges), missing)
}

#[test]
fn every_format_holds_what_the_original_held() {
    let Some(folder) = formats() else { return };
    let made = tempfile::tempdir().expect("a folder");
    for name in ["odd.lime", "core-unsorted.elf", "bmp6-active-sparse.dmp", "core.macho"] {
        let (source, truth) = (folder.join("synth").join(name), expected(&folder, name));
        let copy = |to: &str| {
            let out = made.path().join(format!("{name}.{to}"));
            assert_eq!(ok(&["-f", arg(&source), "imagecopy", arg(&out), "--to", to]), "");
            out
        };
        let lime = copy("lime");
        assert!(read_lime(&std::fs::read(&lime).expect("written")) == truth, "{name} as LiME");
        assert!(read_elf(&std::fs::read(copy("elf")).expect("written")).0 == truth, "{name} as ELF core");
        // The images above have memory at 4 GiB, which leaves a hole that takes no room.
        let raw = std::fs::File::open(copy("raw")).expect("written");
        let (start, last) = truth.last().expect("ranges");
        assert_eq!(raw.metadata().expect("its size").len(), start + last.len() as u64, "{name} as raw");
        #[cfg(unix)]
        for (start, bytes) in &truth {
            use std::os::unix::fs::FileExt as _;
            let mut seen = vec![0; bytes.len()];
            raw.read_exact_at(&mut seen, *start).expect("readable");
            assert!(&seen == bytes, "{name} as raw at {start:#x}");
        }
    }
}

#[test]
fn what_an_image_lacks_is_kept_in_an_elf_core() {
    let Some(folder) = formats() else { return };
    let made = tempfile::tempdir().expect("a folder");
    let out = made.path().join("copy.elf");
    let source = folder.join("synth/truncated.lime");
    ok(&["-f", arg(&source), "imagecopy", arg(&out), "--to", "elf"]);
    let (ranges, missing) = read_elf(&std::fs::read(&out).expect("written"));
    assert!(ranges == expected(&folder, "truncated.lime"));
    let (start, bytes) = missing[0];
    assert_eq!((missing.len(), start + bytes), (1, 0x1_0080_0000), "the second range is 8 MiB from 4 GiB on");
    let told = rows(&ok(&["--format", "json", "-f", arg(&out), "image_info", "--ranges"]));
    assert_eq!(told.last().map(|row| &row["kind"]), Some(&Value::from("not dumped")));
}

#[test]
fn a_file_that_is_there_stays_and_a_failed_copy_leaves_none() {
    let Some(folder) = formats() else { return };
    let made = tempfile::tempdir().expect("a folder");
    let out = made.path().join("copy.raw");
    std::fs::write(&out, "mine").expect("written");
    let source = folder.join("flat.raw");
    let output = run(&["-f", arg(&source), "imagecopy", arg(&out)]);
    assert_eq!((output.status.code(), std::fs::read(&out).expect("there")), (Some(1), b"mine".to_vec()));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--overwrite"));
    ok(&["--overwrite", "-f", arg(&source), "imagecopy", arg(&out)]);
    assert!(std::fs::read(&out).expect("there") == std::fs::read(&source).expect("the original"));
    let onto_itself = run(&["--overwrite", "-f", arg(&out), "imagecopy", arg(&out)]);
    assert!(String::from_utf8_lossy(&onto_itself.stderr).contains("is the image itself"));
    // A file that far up does not exist on any file system: the range begins at 2^51.
    let far = made.path().join("far.lime");
    let header = [&b"EMiL\x01\0\0\0"[..], &(1_u64 << 51).to_le_bytes(), &((1_u64 << 51) + 7).to_le_bytes(), &[0; 8]];
    std::fs::write(&far, [&header.concat()[..], b"12345678"].concat()).expect("written");
    let failed = run(&["-f", arg(&far), "imagecopy", arg(&made.path().join("far.raw"))]);
    // Some file systems have files of that length; then it is there, and whole.
    let there = made.path().join("far.raw").exists();
    assert_eq!(failed.status.success(), there);
    let names = std::fs::read_dir(made.path()).expect("the folder").count();
    assert_eq!(names, 2 + usize::from(there), "no temporary file is left");
}
