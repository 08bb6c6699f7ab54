//! Any bytes as a memory image, of whatever format they begin like: an error, or a layer that keeps what it promises. Seeds are
//! images of each format, which `scripts/fuzz-seeds` makes (`cargo +nightly fuzz run image FOLDER`).
//!
//! Some images are two files. Such an input begins with [`TWO_FILES`], the place of their names in [`NAMES`] (a byte) and the
//! length of the first one (u32, little-endian).

#![no_main]

use libfuzzer_sys::fuzz_target;
use quaid_analyzer::Pa;
use quaid_analyzer::image::{self, Image};

/// Runs that are read in each case, and bytes of each.
const RUNS: usize = 8;
const BYTES: u64 = 0x3000;

const TWO_FILES: &[u8] = b"TWO FILES";

/// What finds what: each row by another format's rule. The first file is opened.
const NAMES: [[&str; 2]; 4] =
    [["a.E01", "a.E02"], ["a.vmss", "a.vmem"], ["a.vmem", "a.vmss"], ["one.kdump", "two.kdump"]];

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    };
    let path = match two_files(bytes) {
        None => write("image", bytes),
        Some(([first, second], [one, other])) => {
            write(second, other);
            write(first, one)
        }
    };
    if let Ok(image) = image::open(&path, &image::Options::default()) {
        check(&image);
    }
});

/// Their names and their bytes.
fn two_files(bytes: &[u8]) -> Option<([&'static str; 2], [&[u8]; 2])> {
    let (&names, rest) = bytes.strip_prefix(TWO_FILES)?.split_first()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (first, second) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((NAMES[usize::from(names) % NAMES.len()], [first, second]))
}

fn check(image: &Image) {
    let ranges: Vec<(u64, u64)> = image.runs().iter().map(|run| (run.start.0, run.bytes)).collect();
    let gaps: Vec<(u64, u64)> = image.gaps().iter().map(|gap| (gap.start.0, gap.bytes)).collect();
    for ranges in [&ranges, &gaps] {
        assert!(ranges.iter().all(|&(start, bytes)| bytes > 0 && start + bytes <= 1 << 52));
        assert!(ranges.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "not sorted, or not disjoint");
    }
    // The first runs and the last ones; of each its start and its end.
    let runs = ranges.iter().take(RUNS).chain(ranges.iter().rev().take(RUNS));
    let starts =
        |&(start, bytes): &(u64, u64)| [start, start + bytes - bytes.min(BYTES)].map(|at| (at, bytes.min(BYTES)));
    for (start, bytes) in runs.flat_map(starts) {
        let mut once = vec![0xaa; bytes as usize];
        let whole = image.read(Pa(start), &mut once);
        for (index, piece) in once.chunks(0x7ff).enumerate() {
            let at = Pa(start + index as u64 * 0x7ff);
            let mut again = vec![0x55; piece.len()];
            // Behind a fault the whole read has zeros, and the pieces may have more.
            if image.read(at, &mut again).is_ok() && whole.is_ok() {
                assert!(again == piece, "in one and in pieces at {at}");
            }
        }
        if let Some(slice) = image.slice(Pa(start), once.len()) {
            assert!(whole.is_err() || slice == once, "the slice at {start:#x}");
        }
    }
}
