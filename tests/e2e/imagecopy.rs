//! `imagecopy`: what is written is read by the `object` crate or by the few lines that the format takes, and compared with
//! what the makers of the images put into them.

use crate::support::{arg, formats, ok, rows, run, skipped};
use object::read::elf::{FileHeader as _, ProgramHeader as _};
use object::{Endianness, elf};
use serde_json::Value;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

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

fn read_avml(file: &[u8]) -> Vec<Range> {
    let mut ranges = Vec::new();
    let mut rest = file;
    while !rest.is_empty() {
        assert_eq!(&rest[..8], b"AVML\x02\0\0\0");
        let word = |at: usize| u64::from_le_bytes(rest[at..at + 8].try_into().expect("8 bytes"));
        let (start, bytes) = (word(8), word(16) - word(8) + 1);
        let mut frames = snap::read::FrameDecoder::new(&rest[32..]).take(bytes);
        let mut memory = Vec::new();
        frames.read_to_end(&mut memory).expect("snappy frames");
        assert_eq!(memory.len() as u64, bytes);
        ranges.push((start, memory));
        let stream = rest.len() - 32 - frames.into_inner().into_inner().len();
        assert_eq!(word(32 + stream), stream as u64, "the stream's length is behind it");
        rest = &rest[32 + stream + 8..];
    }
    joined(ranges)
}

/// What libkdumpfile (Debian: python3-libkdumpfile) reads of a kdump image where `ranges` are; `None` where it is not
/// installed.
fn read_kdump(path: &Path, ranges: &[Range]) -> Option<Vec<Range>> {
    const READER: &str = "
import sys
from kdumpfile import kdumpfile, KDUMP_MACHPHYSADDR
dump = kdumpfile(sys.argv[1])
assert dump.attr['file.format'] == 'diskdump', dump.attr['file.format']
for line in sys.argv[2:]:
    at, count = map(int, line.split(','))
    sys.stdout.buffer.write(dump.read(KDUMP_MACHPHYSADDR, at, count))
";
    let judge = |program: &str| {
        let output = Command::new("/usr/bin/python3").args(["-c", program]).stderr(Stdio::null()).output();
        output.is_ok_and(|output| output.status.success())
    };
    if !judge("import kdumpfile") {
        skipped("there is no python3-libkdumpfile");
        return None;
    }
    let wanted = ranges.iter().map(|(start, bytes)| format!("{start},{}", bytes.len()));
    let output = Command::new("/usr/bin/python3").args(["-c", READER]).arg(path).args(wanted).output();
    let output = output.expect("python3 starts");
    assert!(output.status.success(), "libkdumpfile: {}", String::from_utf8_lossy(&output.stderr));
    let mut all = &output.stdout[..];
    let mut read = Vec::new();
    for (start, bytes) in ranges {
        let (here, rest) = all.split_at(bytes.len());
        read.push((*start, here.to_vec()));
        all = rest;
    }
    Some(read)
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
        assert!(read_avml(&std::fs::read(copy("avml")).expect("written")) == truth, "{name} as AVML");
        let kdump = copy("kdump");
        if let Some(read) = read_kdump(&kdump, &truth) {
            assert!(read == truth, "{name} as kdump");
        }
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

/// A page of a kdump image is RAM, dumped, both or neither.
#[test]
fn what_an_image_lacks_is_told_in_a_kdump_image() {
    let Some(folder) = formats() else { return };
    let made = tempfile::tempdir().expect("a folder");
    let out = made.path().join("copy.kdump");
    let source = folder.join("synth/truncated.lime");
    ok(&["-f", arg(&source), "imagecopy", arg(&out), "--to", "kdump"]);
    let file = std::fs::read(&out).expect("written");
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("4 bytes")) as usize;
    let (block, bitmaps) = (word(428), (1 + word(432)) * word(428));
    let half = word(436) / 2 * block;
    let is_set = |bitmap: usize, page: usize| file[bitmap + page / 8] >> (page % 8) & 1 == 1;
    let count = |bitmap, first, last| (first..last).filter(|&page| is_set(bitmap, page)).count();
    // 8 MiB from 4 GiB on were the machine's; the file ends before.
    let (first, last) = (0x10_0000, 0x10_0800);
    let dumped = count(bitmaps + half, 0, last);
    let truth: usize = expected(&folder, "truncated.lime").iter().map(|(_, bytes)| bytes.len().div_ceil(block)).sum();
    assert_eq!((count(bitmaps, first, last), dumped), (last - first, truth));
}

/// A kdump image has whole pages: what of them the image has not is told, be two ranges in one page.
#[test]
fn what_a_kdump_image_has_more_than_the_memory_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let (raw, out) = (folder.path().join("raw"), folder.path().join("copy.kdump"));
    std::fs::write(&raw, [7; 0x1c00]).expect("written");
    for (runs, more) in [
        ("0x1000-0x2800,0x2a00-0x2e00", Some(0x400)),
        ("0x1000-0x2000,0x3000-0x3c00", Some(0x400)),
        ("0x1000+0x1000", None),
    ] {
        let output = run(&["--runs", runs, "--overwrite", "-f", arg(&raw), "imagecopy", arg(&out), "--to", "kdump"]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        let told = stderr.lines().find(|line| line.contains("that the image has not are memory of zeros in the copy"));
        let expected = more.map(|bytes| format!("warning: {}: {bytes} bytes that", out.display()));
        assert_eq!(
            told.map(|line| line.starts_with(expected.as_deref().unwrap_or("?"))),
            more.map(|_| true),
            "{stderr}"
        );
    }
}

/// In bytes.
const CHUNK: usize = 0x8000;

/// A chunk of E01 that cannot be decoded costs no byte of the chunks beside it, wherever the copy begins.
#[test]
fn what_is_good_beside_a_damaged_chunk_is_copied() {
    let Some(folder) = formats() else { return };
    let made = tempfile::tempdir().expect("a folder");
    for number in 1..=7 {
        let name = format!("s_encase6.E0{number}");
        let mut bytes = std::fs::read(folder.join("ewf").join(&name)).expect("a segment");
        if number == 4 {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0xff;
        }
        std::fs::write(made.path().join(name), bytes).expect("written");
    }
    let segments = made.path().join("s_encase6.E01");
    let truth = std::fs::read(folder.join("flat.raw")).expect("flat.raw");
    let whole = made.path().join("whole.lime");
    let output = run(&["-f", arg(&segments), "imagecopy", arg(&whole), "--to", "lime"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("could not be read"), "{output:?}");
    let copy = read_lime(&std::fs::read(&whole).expect("written"));
    let lost: Vec<usize> = copy
        .iter()
        .flat_map(|(start, bytes)| bytes.iter().zip(*start as usize..))
        .filter(|&(byte, at)| *byte != truth[at])
        .map(|(_, at)| at / CHUNK)
        .collect();
    let chunk = *lost.first().expect("a damaged chunk");
    assert!(lost.iter().all(|other| *other == chunk), "one chunk is damaged");
    let (start, end) = (chunk * CHUNK - 0x800, (chunk + 1) * CHUNK + 0x1000);
    let part = made.path().join("part.lime");
    run(&["-f", arg(&segments), "imagecopy", arg(&part), "--to", "lime", "--ranges", &format!("{start:#x}-{end:#x}")]);
    let copy = read_lime(&std::fs::read(&part).expect("written"));
    let mut expected = truth[start..end].to_vec();
    expected[0x800..0x800 + CHUNK].fill(0);
    assert!(copy == [(start as u64, expected)]);
}

#[test]
fn ranges_choose_what_is_copied() {
    let Some(folder) = formats() else { return };
    let made = tempfile::tempdir().expect("a folder");
    let source = folder.join("flat.raw");
    let flat = std::fs::read(&source).expect("flat.raw");
    for to in ["lime", "avml", "kdump"] {
        let out = made.path().join(format!("some.{to}"));
        ok(&[
            "-f",
            arg(&source),
            "imagecopy",
            arg(&out),
            "--to",
            to,
            "--ranges",
            "0x5000-0x7800,0x7000-0x8010,65536-65540",
        ]);
        let truth = vec![(0x5000, flat[0x5000..0x8010].to_vec()), (0x1_0000, flat[0x1_0000..0x1_0004].to_vec())];
        match to {
            "lime" => assert!(read_lime(&std::fs::read(&out).expect("written")) == truth),
            "avml" => assert!(read_avml(&std::fs::read(&out).expect("written")) == truth),
            _ => assert!(read_kdump(&out, &truth).is_none_or(|read| read == truth)),
        }
    }
    let out = made.path().join("none.lime");
    // The guest inside is a matter of plugins: its host's memory would be another machine's.
    let refused = run(&["-f", arg(&source), "--ept", "0x101e", "imagecopy", arg(&out)]);
    assert!(refused.status.code() == Some(1) && !out.exists(), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--ept is of plugins"), "{refused:?}");
    for (ranges, code) in [("0x7000-0x7000", 2), ("5000", 2), ("0x100000000000-0x100000001000", 1)] {
        let refused = run(&["-f", arg(&source), "imagecopy", arg(&out), "--ranges", ranges]);
        assert_eq!((refused.status.code(), out.exists()), (Some(code), false), "{ranges}");
    }
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

/// The two parts of a split dump, as makedumpfile makes them: each has both bitmaps, and descriptors of its own pages.
fn split(whole: &[u8]) -> [Vec<u8>; 2] {
    let word = |at: usize| u32::from_le_bytes(whole[at..at + 4].try_into().expect("4 bytes")) as usize;
    let (block, pages) = (word(428), word(440));
    let bitmaps = (1 + word(432)) * block;
    let dumped = bitmaps + word(436) / 2 * block;
    let descriptors = bitmaps + word(436) * block;
    let half = pages / 16 * 8;
    let first: u32 = whole[dumped..dumped + half / 8].iter().map(|byte| byte.count_ones()).sum();
    [(0, half, 0), (half, pages, first as usize * 24)].map(|(start, end, skipped)| {
        let mut part = whole.to_vec();
        let mut put = |at: usize, bytes: &[u8]| part[block + at..block + at + bytes.len()].copy_from_slice(bytes);
        put(12, &1_u32.to_le_bytes());
        for at in [16, 80] {
            put(at, &(start as u64).to_le_bytes());
            put(at + 8, &(end as u64).to_le_bytes());
        }
        part.copy_within(descriptors + skipped..descriptors + 24 * pages, descriptors);
        part
    })
}

#[test]
#[cfg(unix)]
fn no_part_of_the_image_is_replaced_by_what_is_made_of_it() {
    let Some(folder) = formats() else { return };
    let made = tempfile::tempdir().expect("a folder");
    let path = |name: &str| made.path().join(name);
    for (from, name) in [("ewf/s_encase6", "E01"), ("ewf/s_encase6", "E02"), ("synth/vm", "vmss"), ("synth/vm", "vmem")]
    {
        let name = format!("{from}.{name}");
        let source = folder.join(&name);
        std::fs::copy(source, path(name.rsplit('/').next().expect("a name"))).expect("copied");
    }
    ok(&["-f", arg(&folder.join("flat.raw")), "imagecopy", arg(&path("whole")), "--to", "kdump"]);
    for (part, name) in split(&std::fs::read(path("whole")).expect("written")).iter().zip(["one.kdump", "two.kdump"]) {
        std::fs::write(path(name), part).expect("written");
    }
    std::fs::remove_file(path("whole")).expect("removed");
    std::os::unix::fs::symlink("s_encase6.E02", path("symbolic")).expect("a link");
    std::fs::hard_link(path("vm.vmem"), path("hard")).expect("a link");
    let contents = || -> Vec<(std::ffi::OsString, Vec<u8>)> {
        let entries = std::fs::read_dir(made.path()).expect("the folder").map(|entry| entry.expect("an entry"));
        let mut files: Vec<_> = entries.map(|e| (e.file_name(), std::fs::read(e.path()).expect("a file"))).collect();
        files.sort();
        files
    };
    let before = contents();
    for (image, out, part) in [
        ("s_encase6.E01", "s_encase6.E02", "s_encase6.E02"),
        ("s_encase6.E01", "symbolic", "s_encase6.E02"),
        ("vm.vmss", "vm.vmem", "vm.vmem"),
        ("vm.vmss", "hard", "vm.vmem"),
        ("vm.vmem", "vm.vmss", "vm.vmss"),
        ("one.kdump", "two.kdump", "two.kdump"),
        ("two.kdump", "one.kdump", "one.kdump"),
        ("vm.vmem", "hard", "the image itself"),
    ] {
        let (image, out) = (path(image), path(out));
        for rest in [
            &["imagecopy", arg(&out), "--to", "lime"][..],
            &["image_info", "--png", arg(&out)],
            &["--output", arg(&out), "image_info"],
        ] {
            let refused = run(&[&["--overwrite", "-f", arg(&image)], rest].concat());
            let told = String::from_utf8_lossy(&refused.stderr);
            assert!(refused.status.code() == Some(1) && told.contains(&format!("{} is ", out.display())), "{told}");
            assert!(told.contains(part) && told.contains("name another file"), "{told}");
        }
    }
    let (first, second) = (path("s_encase6.E01"), path("symbolic"));
    let verified = run(&["--overwrite", "--output", arg(&second), "image_info", "--verify", arg(&first)]);
    assert_eq!(verified.status.code(), Some(1));
    assert!(contents() == before, "something was written");
    // A file beside the image is no part of it.
    ok(&["--overwrite", "-f", arg(&path("vm.vmss")), "imagecopy", arg(&path("two.kdump"))]);
    assert!(contents() != before);
}

#[test]
fn a_raw_image_of_ranges_one_behind_the_other_is_put_where_they_belong() {
    let Some(folder) = formats() else { return };
    let made = tempfile::tempdir().expect("a folder");
    let path = |name: &str| made.path().join(name);
    for name in ["odd.lime", "core-unsorted.elf"] {
        let truth = expected(&folder, name);
        // In the file the last range comes first.
        let all: Vec<u8> = truth.iter().rev().flat_map(|(_, bytes)| bytes.clone()).collect();
        std::fs::write(path("compact"), &all).expect("written");
        let gzip = Command::new("gzip").args(["-kf", arg(&path("compact"))]).status().expect("gzip starts");
        assert!(gzip.success());
        let runs = truth.iter().rev().map(|(start, bytes)| format!("{start:#x}+{}", bytes.len()));
        let runs: Vec<String> = runs.collect();
        for file in ["compact", "compact.gz"] {
            let out = path("out.lime");
            let file = path(file);
            let runs = runs.join(",");
            let args = ["--overwrite", "--runs", &runs, "-f", arg(&file), "imagecopy", arg(&out), "--to", "lime"];
            assert_eq!(ok(&args), "");
            assert!(read_lime(&std::fs::read(&out).expect("written")) == truth, "{name}, {file:?}");
        }
    }
    let compact = path("compact");
    let bytes = std::fs::metadata(&compact).expect("its size").len();
    let lime = folder.join("synth/two.lime");
    let info = |runs: &str, image: &Path| run(&["--runs", runs, "-f", arg(image), "image_info", "--ranges"]);
    for (runs, image, code, said) in [
        ("0x1000-0x9fbff", &compact, 2, "0x1000-0x9fc00"),
        ("0x2000-0x1000", &compact, 2, "ends before it begins"),
        ("0x1000", &compact, 2, "neither START-END nor START+LENGTH"),
        ("0x1000+0x2000,0x2000+0x10", &compact, 1, "0x1000-0x3000 and 0x2000-0x2010 overlap"),
        ("0x1000+0x1000", &lime, 1, "it is LiME, which says itself where its memory belongs"),
        ("0x1000+0x1000", &compact, 0, "bytes and the runs 4096: what is behind them is left out"),
        ("0x1000+0x400000000", &compact, 0, "the file is truncated"),
    ] {
        let output = info(runs, image);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && stderr.contains(said), "{runs}: {stderr}");
    }
    let truncated = info(&format!("0x1000-{:#x}", 0x1000 + bytes.next_multiple_of(2) + 0x1000), &compact);
    assert!(String::from_utf8_lossy(&truncated.stdout).contains("truncated"));
}
