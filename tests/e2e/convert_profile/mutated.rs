//! What profiles are made of with a few things changed: BTF, the kernel's table of symbols, DWARF in its forms, zips, and
//! profiles themselves, Rekall JSON and ISF. Each gives an error or a profile that can be read again, in little time and
//! memory.
//!
//! Changes come from the number of the case, so a case that fails is the same in every run. `$QUAID_MUTATIONS` tells how
//! many each file gets; `scripts/fuzz` runs 5,000.

use super::layouts::kernel;
use crate::limits::limited;
use crate::mutation::{Random, overwrite};
use crate::support::{corpus, skipped, unpacked};
use object::{Object as _, ObjectSection as _};
use quaid::dwarf::{Options, convert_with};
use quaid_profile::{Profile, ProfileFile};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Cases of each file where nothing else is told; of large ones a tenth.
const DEFAULT_CASES: usize = 150;
/// From this size on a file is a large one, in bytes.
const LARGE_BYTES: usize = 1 << 20;

/// A file, and what in it is worth changing.
struct Original {
    name: String,
    bytes: Vec<u8>,
    /// Offsets of numbers that the reader goes by.
    places: Vec<usize>,
    /// Files that complete it.
    beside: Vec<PathBuf>,
    /// It is read as a text of which every part counts: most changes put a letter for a letter and a digit for a digit.
    text: bool,
}

impl Original {
    /// Every `step` bytes of `range` is a place.
    fn new(name: &str, bytes: Vec<u8>, range: std::ops::Range<usize>, step: usize, beside: &[PathBuf]) -> Self {
        Self {
            name: name.to_owned(),
            bytes,
            places: range.step_by(step).collect(),
            beside: beside.to_vec(),
            text: false,
        }
    }

    /// An ELF file whose debugging information is changed, with its relocations and section headers.
    fn elf(name: &str, path: &Path, beside: &[PathBuf]) -> Self {
        let bytes = std::fs::read(path).expect("readable");
        let file = object::File::parse(&bytes[..]).expect("an ELF file");
        let mut places: Vec<usize> = (0..64).step_by(2).collect();
        for section in file.sections() {
            let name = section.name().unwrap_or_default();
            if name.contains(".debug_") || name.contains("tab") {
                let (start, len) = section.file_range().unwrap_or_default();
                places.extend(start as usize..(start + len) as usize);
            }
        }
        let headers = u64::from_le_bytes(bytes[40..48].try_into().expect("eight bytes")) as usize;
        places.extend((headers..bytes.len()).step_by(4));
        Self { name: name.to_owned(), places, beside: beside.to_vec(), bytes, text: false }
    }

    /// The file with one to four changes.
    fn changed(&self, case: usize) -> Vec<u8> {
        let mut random = Random::new(&self.name, case as u64);
        let mut bytes = self.bytes.clone();
        for _ in 0..=random.below(4) {
            if bytes.is_empty() {
                break;
            }
            match random.below(8) {
                0 => {
                    for _ in 0..=random.below(16) {
                        let at = random.below(bytes.len());
                        bytes[at] ^= 1 << random.below(8);
                    }
                }
                1..=5 if self.text => {
                    for _ in 0..=random.below(8) {
                        let at = random.below(bytes.len());
                        let letters: &[u8] = match bytes[at] {
                            b'0'..=b'9' => b"0123456789",
                            b'a'..=b'z' => b"aeiou_xyz",
                            _ => continue,
                        };
                        bytes[at] = letters[random.below(letters.len())];
                    }
                }
                1..=5 => {
                    for _ in 0..=random.below(8) {
                        overwrite(&mut bytes, random.of(&self.places), &mut random);
                    }
                }
                6 => {
                    // A piece from somewhere else in the file.
                    let len = 1 + random.below(64.min(bytes.len()));
                    let (from, to) =
                        (random.below(bytes.len() - len + 1), random.of(&self.places).min(bytes.len() - len));
                    bytes.copy_within(from..from + len, to);
                }
                _ => bytes.truncate(random.below(bytes.len())),
            }
        }
        bytes
    }
}

/// Runs all cases of a file; `exercise` says whether there was a profile in the end. Both outcomes have to occur.
fn run(original: &Original, exercise: fn(&Path, &[PathBuf], usize) -> bool) {
    let cases = std::env::var("QUAID_MUTATIONS").map_or(DEFAULT_CASES, |count| count.parse().expect("a number"));
    let cases = if original.bytes.len() < LARGE_BYTES { cases } else { cases / 10 };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(&original.name);
    let beside: Arc<[PathBuf]> = original.beside.clone().into();
    let further: u64 = beside.iter().map(|file| std::fs::metadata(file).expect("a file").len()).sum();
    let (mut outcomes, mut failures) = ([0, 0], Vec::new());
    for case in 0..cases {
        let bytes = original.changed(case);
        std::fs::write(&path, &bytes).expect("written");
        let memory = 20 * (bytes.len() + further as usize) + (64 << 20);
        let (file, beside) = (path.clone(), Arc::clone(&beside));
        match limited(memory, move || exercise(&file, &beside, case)) {
            Ok((read, _)) => outcomes[usize::from(read)] += 1,
            Err(why) => {
                let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("case-{case}-{}", original.name));
                std::fs::write(&kept, &bytes).expect("written");
                failures.push(format!("case {case}: it {why}; kept as {}", kept.display()));
            }
        }
    }
    assert!(failures.is_empty(), "{}: {} cases\n{}", original.name, failures.len(), failures.join("\n"));
    assert!(outcomes[0] > 0 && outcomes[1] > 0, "{}: damage is both told and survived: {outcomes:?}", original.name);
}

/// The profile in one of the forms, which can be read again.
fn written(profile: &Profile, case: usize) {
    let text = match case % 3 {
        0 => profile.to_rekall(),
        1 => profile.to_isf().0,
        _ => return assert!(!profile.to_c().0.is_empty()),
    };
    ProfileFile::parse("changed", text.as_bytes()).and_then(|file| file.decode()).expect("what is written can be read");
}

/// Makes a profile of the file.
fn converted(path: &Path, beside: &[PathBuf], case: usize) -> bool {
    match convert_with(path, &Options { beside: beside.to_vec(), ..Options::default() }) {
        Ok((profile, report)) => {
            written(&profile, case);
            assert!(report.losses().len() < 100);
            true
        }
        Err(why) => {
            let told = why.to_string();
            assert!(!told.is_empty() && told.len() < 4096, "{told}");
            false
        }
    }
}

/// The file is a profile.
fn read(path: &Path, _: &[PathBuf], case: usize) -> bool {
    let bytes = std::fs::read(path).expect("readable");
    let Ok(file) = ProfileFile::parse("changed", &bytes) else { return false };
    for name in ["nested", "init_task", "_EPROCESS"] {
        // One at a time, as analysis reads it: each may be damaged by itself.
        let _ = (file.structure(name), file.symbol(name), file.constant_type(name), file.enumeration(name));
    }
    let _ = file.canonical();
    file.decode().is_ok_and(|profile| {
        written(&profile, case);
        true
    })
}

/// The kernel of all layouts, and its System.map.
fn built(folder: &Path, options: &[&str]) -> (PathBuf, Vec<PathBuf>) {
    let vmlinux = kernel(folder, options);
    let map = vmlinux.with_file_name("System.map");
    (vmlinux, vec![map])
}

#[test]
fn changed_dwarf_gives_an_error_or_a_profile() {
    for (name, options) in [
        ("dwarf-2", &["-gdwarf-2", "-gstrict-dwarf"][..]),
        ("dwarf-4-types", &["-gdwarf-4", "-fdebug-types-section"]),
        ("dwarf-5", &["-gdwarf-5"]),
        ("dwarf-5-zlib", &["-gdwarf-5", "-gz=zlib"]),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let (vmlinux, map) = built(folder.path(), options);
        run(&Original::elf(name, &vmlinux, &map), converted);
        // Not linked, with relocations.
        run(&Original::elf(&format!("{name}.ko"), &folder.path().join("one.o"), &map), converted);
    }
}

#[test]
fn changed_dwarf_that_was_printed_gives_an_error_or_a_profile() {
    let folder = tempfile::tempdir().expect("a folder");
    let (vmlinux, mut beside) = built(folder.path(), &["-gdwarf-4"]);
    let Ok(text) = Command::new("dwarfdump").arg("-di").arg(&vmlinux).output() else {
        return skipped("there is no dwarfdump");
    };
    let config = folder.path().join("config");
    std::fs::write(&config, "# Linux/x86 Configuration\nCONFIG_X86_64=y\n").expect("written");
    beside.push(config);
    let end = text.stdout.len();
    run(&Original::new("module.dwarf", text.stdout, 0..end, 1, &beside), converted);
}

#[test]
fn changed_btf_gives_an_error_or_a_profile() {
    let folder = tempfile::tempdir().expect("a folder");
    let (vmlinux, mut beside) = built(folder.path(), &["-gdwarf-4"]);
    let config = folder.path().join("config");
    std::fs::write(&config, "# Linux/x86 Configuration\nCONFIG_X86_64=y\n").expect("written");
    beside.push(config);
    let btf = folder.path().join("small.btf");
    let Ok(pahole) = Command::new("pahole").arg("--btf_encode_detached").args([&btf, &vmlinux]).status() else {
        return skipped("there is no pahole");
    };
    assert!(pahole.success());
    let bytes = std::fs::read(&btf).expect("readable");
    let types = 24 + u32::from_le_bytes(bytes[12..16].try_into().expect("four bytes")) as usize;
    run(&Original::new("small.btf", bytes, 0..types, 4, &beside), converted);
    let (Some(btf), Some(zip)) = (unpacked(super::SMALL_BTF), corpus(super::SMALL)) else { return };
    let bytes = std::fs::read(btf).expect("readable");
    run(&Original::new("kernel.btf", bytes, 0..1 << 20, 4, &[zip]), converted);
}

/// A kernel image whose table of symbols is that of a guest.
#[test]
fn a_changed_table_of_symbols_gives_an_error_or_a_profile() {
    let (Some(memory), Some(btf)) = (unpacked("linux/small/linux-small-bash.raw"), unpacked(super::SMALL_BTF)) else {
        return;
    };
    let memory = std::fs::read(memory).expect("readable");
    // The tokens of the digits, and around them what `scripts/kallsyms.c` of the kernel's tree lays there.
    let digits = b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00";
    let digits = memchr::memmem::find_iter(&memory, digits).collect::<Vec<_>>();
    let reach = 3 << 19;
    for at in digits {
        let start = at.saturating_sub(reach) / 4096 * 4096;
        let mut image = vec![0; 4096];
        image[0x38..0x3c].copy_from_slice(b"ARM\x64");
        image.extend(&memory[start..(at + (reach / 2)).min(memory.len())]);
        let table = at - start + 4096;
        let folder = tempfile::tempdir().expect("a folder");
        let whole = folder.path().join("Image");
        std::fs::write(&whole, &image).expect("written");
        if !converted(&whole, std::slice::from_ref(&btf), 0) {
            // Other tables of characters have the digits in a row too.
            continue;
        }
        let near = Original::new("Image", image.clone(), table - 1024..table + 2048, 1, std::slice::from_ref(&btf));
        run(&near, converted);
        let end = image.len();
        return run(&Original::new("Image.far", image, 4096..end, 4, &[btf]), converted);
    }
    panic!("the guest has no table of symbols");
}

#[test]
fn changed_zips_give_an_error_or_a_profile() {
    let Some(zip) = corpus(super::SMALL) else { return };
    let bytes = std::fs::read(zip).expect("readable");
    let heads = memchr::memmem::find_iter(&bytes, b"PK").flat_map(|at| (at..at + 48).step_by(2));
    let places = heads.filter(|at| *at < bytes.len()).collect();
    run(&Original { name: "changed.zip".to_owned(), bytes, places, beside: Vec::new(), text: false }, converted);
}

#[test]
fn changed_profiles_give_an_error_or_what_the_writers_take() {
    let folder = tempfile::tempdir().expect("a folder");
    let (vmlinux, map) = built(folder.path(), &["-gdwarf-5"]);
    let (profile, _) = convert_with(&vmlinux, &Options { beside: map, ..Options::default() }).expect("a profile");
    for (name, text) in [("rekall.json", profile.to_rekall()), ("isf.json", profile.to_isf().0)] {
        let bytes = text.into_bytes();
        // What stands between texts and numbers, and where they begin.
        let places = (0..bytes.len()).filter(|&at| b"{}[]:,\"".contains(&bytes[at])).collect();
        run(&Original { name: name.to_owned(), bytes, places, beside: Vec::new(), text: true }, read);
    }
    let Some(old) = corpus("windows/rekall-profiles") else { return };
    let mut files: Vec<PathBuf> =
        old.read_dir().expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    for path in files.iter().filter(|path| path.extension().is_some_and(|ending| ending == "json")) {
        let bytes = std::fs::read(path).expect("readable");
        let end = bytes.len();
        run(&Original::new("old.json", bytes, 0..end, 1, &[]), read);
    }
}
