//! Image formats: every sample of the corpus holds the memory that its maker put there.

use crate::support::{corpus, formats, unpacked};
use quaid_analyzer::image::{self, Image};
use quaid_analyzer::{Pa, Va};
use serde_json::Value;
use std::path::Path;

/// The memory content of all samples, and which of it each generated file holds.
struct Truth {
    folder: std::path::PathBuf,
    flat: Vec<u8>,
    expected: Value,
}

/// (physical address, offset in flat.raw, bytes)
type Runs = Vec<(u64, u64, u64)>;

fn truth() -> Option<Truth> {
    let folder = formats()?;
    let flat = std::fs::read(folder.join("flat.raw")).expect("flat.raw");
    let expected = std::fs::read(folder.join("synth/expected.json")).expect("expected.json");
    Some(Truth { flat, expected: serde_json::from_slice(&expected).expect("JSON"), folder })
}

impl Truth {
    fn open(&self, file: &str) -> Image {
        image::open(&self.folder.join(file), &image::Options::default()).unwrap_or_else(|why| panic!("{why}"))
    }

    /// As expected.json has it for a file of synth/, sorted by address; neighbours in both are one.
    fn made(&self, file: &str) -> Runs {
        let number = |value: &Value| {
            u64::from_str_radix(value.as_str().expect("text").trim_start_matches("0x"), 16).expect("hex")
        };
        let runs = self.expected[file]["runs"].as_array().expect("runs");
        let mut runs: Runs = runs.iter().map(|run| (number(&run[0]), number(&run[1]), number(&run[2]))).collect();
        runs.sort_unstable();
        let mut joined: Runs = Vec::new();
        for (at, offset, bytes) in runs {
            match joined.last_mut() {
                Some(last) if last.0 + last.2 == at && last.1 + last.2 == offset => last.2 += bytes,
                _ => joined.push((at, offset, bytes)),
            }
        }
        joined
    }

    fn whole(&self) -> Runs {
        vec![(0, 0, self.flat.len() as u64)]
    }

    /// That the image holds exactly `runs`: their addresses and their bytes, read at once and page by page.
    fn check(&self, file: &str, image: &Image, runs: &Runs) {
        let seen: Vec<_> = image.runs().iter().map(|run| (run.start.0, run.bytes)).collect();
        assert_eq!(seen, runs.iter().map(|&(at, _, bytes)| (at, bytes)).collect::<Vec<_>>(), "{file}");
        for &(at, offset, bytes) in runs {
            let expected = &self.flat[offset as usize..(offset + bytes) as usize];
            let mut buffer = vec![0; expected.len()];
            assert_eq!(image.read(Pa(at), &mut buffer), Ok(()), "{file} at {at:#x}");
            assert!(buffer == expected, "{file} at {at:#x}");
            for (page, at) in expected.chunks(0x1000).zip((at..).step_by(0x1000)) {
                let mut buffer = vec![0; page.len()];
                assert_eq!(image.read(Pa(at), &mut buffer), Ok(()), "{file} at {at:#x}");
                assert!(buffer == page, "{file} at {at:#x}");
                assert!(image.slice(Pa(at), page.len()).is_none_or(|slice| slice == page), "{file} at {at:#x}");
            }
        }
    }
}

#[test]
fn lime_and_avml_files_hold_the_memory() {
    let Some(truth) = truth() else { return };
    for (file, format, runs, warnings) in [
        ("flat.raw", "raw", truth.whole(), 0),
        ("avml/flat.lime", "LiME", truth.whole(), 0),
        ("avml/flat.avml", "AVML", truth.whole(), 0),
        ("synth/two.lime", "LiME", truth.made("two.lime"), 0),
        ("synth/odd.lime", "LiME", truth.made("odd.lime"), 0),
        ("synth/truncated.lime", "LiME", truth.made("truncated.lime"), 1),
    ] {
        let image = truth.open(file);
        assert_eq!((image.describe(), image.warnings.len()), (format.into(), warnings), "{file}");
        truth.check(file, &image, &runs);
    }
}

/// That kdmp-parser has the same pages at the same offsets of the file, and the same header.
fn kdmp_agrees(path: &Path, image: &Image) {
    let other = kdmp_parser::parse::KernelDumpParser::new(path).expect("kdmp-parser reads it");
    let mut pages: Vec<(u64, u64)> = other.physmem().map(|(gpa, offset)| (gpa.into(), offset)).collect();
    pages.sort_unstable();
    let ours: Vec<(u64, u64)> = image
        .runs()
        .iter()
        .flat_map(|run| {
            (0..run.bytes).step_by(0x1000).map(|at| (run.start.0 + at, run.file_offset.expect("direct") + at))
        })
        .collect();
    assert!(pages == ours, "{}", path.display());
    let header = other.headers();
    assert_eq!(image.hints.dtbs, [Pa(header.directory_table_base)]);
    assert_eq!(image.hints.kdbg, Some(Va(header.kd_debugger_data_block)));
    assert_eq!(image.hints.ps_active_process_head, Some(Va(header.ps_active_process_head)));
    assert_eq!(image.hints.ps_loaded_module_list, Some(Va(header.ps_loaded_module_list)));
    let fact = |what: &str| image.hints.facts.iter().find(|(name, _)| name == what).map(|(_, value)| value.as_str());
    assert_eq!(fact("Windows build"), Some(&*header.minor_version.to_string()));
    assert_eq!(fact("processors"), Some(&*header.number_processors.to_string()));
    assert!(fact("bug check").is_some_and(|text| text.starts_with(&format!("{:#x} (", header.bug_check_code))));
}

#[test]
fn crash_dumps_hold_the_memory() {
    let Some(truth) = truth() else { return };
    for file in ["full64.dmp", "full32.dmp", "bmp5-sdmp.dmp", "bmp6-active-sparse.dmp", "rdmp8.dmp"] {
        let image = truth.open(&format!("synth/{file}"));
        assert_eq!((image.describe(), &image.warnings[..]), ("Windows crash dump".into(), &[][..]), "{file}");
        truth.check(file, &image, &truth.made(file));
        if file == "full32.dmp" {
            assert_eq!((&image.hints.dtbs[..], image.hints.kdbg), (&[Pa(0x18_5000)][..], Some(Va(0x8292_0000))));
        } else {
            kdmp_agrees(&truth.folder.join("synth").join(file), &image);
        }
    }
}

/// Bytes to change, and where.
type Changes<'a> = &'a [(usize, &'a [u8])];

#[test]
fn crash_dumps_of_the_other_types_hold_the_memory() {
    let Some(truth) = truth() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let pages = truth.made("rdmp8.dmp").iter().map(|run| run.2 / 0x1000).sum::<u64>().to_le_bytes();
    let files: [(&str, &str, Changes<'_>); 5] = [
        ("bmp5-fdmp.dmp", "bmp5-sdmp.dmp", &[(0x2000, b"F")]),
        ("kernel.dmp", "bmp5-sdmp.dmp", &[(0xf98, &[2])]),
        ("automatic.dmp", "bmp5-sdmp.dmp", &[(0xf98, &[7])]),
        ("rdmp9.dmp", "rdmp8.dmp", &[(0xf98, &[9])]),
        ("rdmpa.dmp", "rdmp8.dmp", &[(0xf98, &[0xa]), (0x2020, &[2, 0, 0, 0]), (0x2028, &pages)]),
    ];
    for (name, from, changes) in files {
        let mut bytes = std::fs::read(truth.folder.join("synth").join(from)).expect("readable");
        for (at, new) in changes {
            bytes[*at..*at + new.len()].copy_from_slice(new);
        }
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        let image = image::open(&path, &image::Options::default()).expect("an image");
        truth.check(name, &image, &truth.made(from));
        // It knows no 2 and 7.
        if !["kernel.dmp", "automatic.dmp"].contains(&name) {
            kdmp_agrees(&path, &image);
        }
    }
}

/// Files of ewfacquire as they are on the disk when it is killed, or after the disk was full: the tables tell where the
/// chunks end that must be found without them.
#[test]
fn a_segment_that_was_cut_off_before_its_table_holds_its_whole_chunks() {
    const CHUNK: u64 = 0x8000;
    let Some(truth) = truth() else { return };
    let made = tempfile::tempdir().expect("a folder");
    for (name, last) in [("s_nocomp", 1), ("s_encase6", 1), ("s_encase6", 7)] {
        let segment = |number: u64| format!("{name}.E0{number}");
        let file = |number: u64| std::fs::read(truth.folder.join("ewf").join(segment(number))).expect("a segment");
        let mut before = 0;
        for number in 1..=last {
            let mut bytes = file(number);
            let section = |kind: &[u8]| {
                bytes.windows(16).position(|name| name.starts_with(kind) && name[kind.len()..].iter().all(|&b| b == 0))
            };
            let (sectors, table) = (section(b"sectors").expect("chunks"), section(b"table").expect("a table"));
            let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes")) as usize;
            let (count, base) = (word(table + 76), word(table + 76 + 8));
            if number < last {
                std::fs::write(made.path().join(segment(number)), &bytes).expect("written");
                before += count as u64;
                continue;
            }
            let starts = (1..count).map(|index| base + (word(table + 100 + index * 4) & 0x7fff_ffff));
            let ends: Vec<usize> = starts.chain([table]).collect();
            // The length of the section, which is written last, is that of its header.
            bytes[sectors + 16..sectors + 24].copy_from_slice(&(sectors as u64 + 76).to_le_bytes());
            bytes[sectors + 24..sectors + 32].copy_from_slice(&76_u64.to_le_bytes());
            let mut sum = simd_adler32::Adler32::new();
            sum.write(&bytes[sectors..sectors + 72]);
            bytes[sectors + 72..sectors + 76].copy_from_slice(&sum.finish().to_le_bytes());
            for (is_closed, bytes) in [(false, bytes.clone()), (true, file(number))] {
                for cut in [ends[0], ends[0] + 1, ends[2] + 100, ends[count / 2] - 1, ends[count - 1], table + 80] {
                    std::fs::write(made.path().join(segment(number)), &bytes[..cut]).expect("written");
                    let image = image::open(&made.path().join(segment(1)), &image::Options::default());
                    let image = image.unwrap_or_else(|why| panic!("{why}"));
                    let what = format!("{name}, segment {number} cut at {cut:#x}, {is_closed}");
                    let whole = before + ends.iter().filter(|&&end| end <= cut).count() as u64;
                    let has = (whole * CHUNK).min(truth.flat.len() as u64);
                    truth.check(&what, &image, &vec![(0, 0, has)]);
                    let lost: u64 = image.gaps().iter().map(|gap| gap.bytes).sum();
                    assert_eq!(has + lost, truth.flat.len() as u64, "{what}");
                    assert!(image.warnings.iter().any(|why| why.contains("each with its checksum")), "{what}");
                }
            }
        }
    }
}

#[test]
fn a_real_triage_dump_is_refused_by_name() {
    let Some(path) = corpus("windows/dmp/triage_x64.dmp") else { return };
    let error = image::open(&path, &image::Options::default()).err().expect("refused").to_string();
    assert!(error.contains("(Windows crash dump): it is a triage dump (minidump)"), "{error}");
}

#[test]
fn kdump_files_of_qemu_and_makedumpfile_hold_the_memory() {
    let Some(truth) = truth() else { return };
    // Flattened, and as `makedumpfile -R` made a file of it; both have 32-bit headers.
    for file in ["qemu/none.kdump-zlib", "qemu/none.kdump"] {
        let image = truth.open(file);
        assert_eq!((image.describe(), &image.warnings[..]), ("kdump".into(), &[][..]), "{file}");
        truth.check(file, &image, &truth.whole());
        assert!(image.hints.facts.contains(&("machine".into(), "x86_64".into())));
    }
    let image = truth.open("qemu/pc2.kdump");
    assert!(image.hints.facts.contains(&("processors".into(), "1".into())), "{:?}", image.hints);
    // The first MiB has windows of the BIOS, which pmemsave sees as the processor does.
    for (at, file, from) in [(0, "qemu/pc2.low.pmemsave", 0x10_0000), (0x1_0000_0000, "qemu/pc2.high.pmemsave", 0)] {
        let expected = std::fs::read(truth.folder.join(file)).expect("pmemsave");
        let mut buffer = vec![0; expected.len()];
        assert_eq!(image.read(Pa(at), &mut buffer), Ok(()), "{file}");
        assert!(buffer[from..] == expected[from..], "{file}");
    }
}

#[test]
fn a_guest_s_flattened_kdump_equals_its_raw_memory() {
    let (Some(raw), Some(kdump)) =
        (unpacked("linux/small/linux-small-bash.raw"), corpus("linux/small/linux-small-bash.kdump-zlib-flat"))
    else {
        return;
    };
    let raw = std::fs::read(raw).expect("readable");
    let image = image::open(&kdump, &image::Options::default()).expect("an image");
    assert_eq!((image.describe(), &image.warnings[..]), ("kdump".into(), &[][..]));
    let mut buffer = vec![0; raw.len()];
    let mut told = 0;
    for run in image.runs() {
        // ROM is behind the memory of this machine.
        let Some(expected) = raw.get(run.start.0 as usize..(run.start.0 + run.bytes) as usize) else { continue };
        let buffer = &mut buffer[..expected.len()];
        assert_eq!(image.read(run.start, buffer), Ok(()));
        // What the BIOS sees under 1 MiB is not all memory.
        let from = (0x10_0000_u64.saturating_sub(run.start.0) as usize).min(expected.len());
        assert!(buffer[from..] == expected[from..], "{run:?}");
        told += expected.len() - from;
    }
    assert_eq!(told, raw.len() - 0x10_0000);
    assert!(!image.hints.dtbs.is_empty(), "{:?}", image.hints);
}

#[test]
fn cores_hold_the_memory() {
    let Some(truth) = truth() else { return };
    for (file, format, runs) in [
        ("synth/core-xnum.elf", "ELF core", truth.made("core-xnum.elf")),
        ("synth/core-unsorted.elf", "ELF core", truth.made("core-unsorted.elf")),
        // A 32-bit QEMU without a processor in long mode writes ELF32.
        ("qemu/none.elf", "ELF core", truth.whole()),
        ("synth/xen-pfn.core", "ELF core (Xen)", truth.made("xen-pfn.core")),
        ("synth/core.macho", "Mach-O core", truth.made("core.macho")),
    ] {
        let image = truth.open(file);
        assert_eq!((image.describe(), &image.warnings[..]), (format.into(), &[][..]), "{file}");
        truth.check(file, &image, &runs);
    }
    let gaps: Vec<_> = truth.open("synth/core-unsorted.elf").gaps().to_vec();
    assert_eq!(gaps, [image::Gap { start: Pa(0x7f_e000), bytes: 0x2000, why: image::GapKind::NotDumped }]);
    // Its processor was never in long mode.
    let image = truth.open("qemu/pc2.elf");
    assert!(image.hints.facts.contains(&("processors".into(), "1".into())), "{:?}", image.hints);
}

#[test]
fn the_core_of_an_arm64_guest_gives_its_vmcoreinfo() {
    let (Some(head), Some(info)) = (corpus("linux/arm64/mem.elf.head"), corpus("linux/arm64/vmcoreinfo.txt")) else {
        return;
    };
    // The notes are in the head; what the memory behind it holds is not needed for them.
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), std::fs::read(head).expect("readable")).expect("written");
    file.as_file().set_len(0x1650 + 0x1000_0000).expect("holes");
    let image = image::open(file.path(), &image::Options::default()).expect("an image");
    let info = std::fs::read_to_string(info).expect("text");
    let expected: std::collections::BTreeMap<String, String> =
        info.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect();
    assert!(expected.len() > 20);
    assert_eq!(image.hints.vmcoreinfo.0, expected);
    assert!(image.hints.facts.contains(&("processors".into(), "2".into())), "{:?}", image.hints.facts);
}

#[test]
fn a_migration_stream_of_qemu_holds_the_memory() {
    let Some(truth) = truth() else { return };
    let image = truth.open("qemu/none.migrate");
    assert_eq!((image.describe(), &image.warnings[..]), ("QEMU migration stream".into(), &[][..]));
    truth.check("none.migrate", &image, &truth.whole());
    assert_eq!(image.hints.facts, [("QEMU machine".to_owned(), "none".to_owned())]);
}
