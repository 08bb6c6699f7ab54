//! PDBs with a few things changed, of the corpus and of `scripts/make-pdbs`: each gives an error or a report, and its profile
//! in one of the forms, in little time and memory.
//!
//! Changes come from the number of the case, so a case that fails is the same in every run. `$QUAID_MUTATIONS` tells how
//! many each PDB gets; `scripts/fuzz` runs 5,000.

use super::hostile;
use crate::limits::limited;
use crate::mutation::{Random, overwrite};
use quaid::pdb::{ParseOptions, Parsed, PdbError, parse};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Cases of each PDB where nothing else is told: a minute or less in all.
const DEFAULT_CASES: usize = 100;

/// Memory that a PDB of this length may take, in bytes: ten times the file, and 64 MiB.
pub(super) fn memory_limit(file_bytes: usize) -> usize {
    10 * file_bytes + (64 << 20)
}

#[test]
fn changed_pdbs_give_an_error_or_a_report_in_little_time_and_memory() {
    let cases = std::env::var("QUAID_MUTATIONS").map_or(DEFAULT_CASES, |count| count.parse().expect("a number"));
    let mut originals: Vec<Original> = super::judged_pdbs().iter().map(|path| Original::read(path)).collect();
    originals.push(Original::new("records that refer to each other".into(), hostile::pdb_of_every_kind()));
    let (next, read, refused) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        let mut failures = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let (Some(original), case) = (originals.get(number / cases), number % cases) else { break failures };
            let donor = &originals[(number / cases + 1 + case) % originals.len()].bytes;
            let bytes = Arc::new(original.changed(case as u64, donor));
            let input = bytes.clone();
            // The file itself counts.
            match limited(memory_limit(bytes.len()) - bytes.len(), move || exercise(&input, case)) {
                Ok((true, _)) => read.fetch_add(1, Ordering::Relaxed),
                Ok((false, _)) => refused.fetch_add(1, Ordering::Relaxed),
                Err(why) => {
                    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("case-{number}.pdb"));
                    std::fs::write(&kept, &**bytes).expect("written");
                    failures.push(format!("{}, case {case}: it {why}; kept as {}", original.name, kept.display()));
                    0
                }
            };
        }
    };
    let failures: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> =
            (0..thread::available_parallelism().map_or(1, usize::from)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("it ends")).collect()
    });
    assert!(failures.is_empty(), "{} cases\n{}", failures.len(), failures.join("\n"));
    let (read, refused) = (read.into_inner(), refused.into_inner());
    assert_eq!(read + refused, cases * originals.len());
    assert!(read > refused && refused > 0, "damage is both survived ({read}) and told ({refused})");
}

/// Everything that is done with a PDB, in one of the forms; whether there is a profile in the end.
fn exercise(bytes: &[u8], case: usize) -> bool {
    let all_symbols = case.is_multiple_of(2);
    let options = ParseOptions {
        file_name: "test.pdb".into(),
        module_symbols: all_symbols,
        demangle: all_symbols,
        rekall_compat: case % 4 == 3,
        ..ParseOptions::default()
    };
    match parse(bytes, &options, &mut |_, _| {}) {
        Ok(Parsed { profile, report }) => {
            let text = match case % 3 {
                0 => profile.to_rekall(),
                1 => profile.to_isf().0,
                _ => profile.to_c().0,
            };
            !text.is_empty() && report.losses().len() < 1000
        }
        Err(PdbError::TooMuch { .. } | PdbError::Damaged { .. } | PdbError::Unsupported(_) | PdbError::NotPdb(_)) => {
            false
        }
        Err(why) => panic!("{why}"),
    }
}

/// A PDB, and what in it is worth changing.
struct Original {
    name: String,
    bytes: Vec<u8>,
    page_bytes: usize,
    /// Offsets in the file of the header, the directory, the heads of streams.
    heads: Vec<usize>,
    /// Offsets in the file of type and symbol records.
    records: Vec<usize>,
}

impl Original {
    fn read(path: &Path) -> Self {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        Self::new(name, std::fs::read(path).expect("readable"))
    }

    /// Walks an undamaged PDB.
    fn new(name: String, bytes: Vec<u8>) -> Self {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
        let page_bytes = word(32);
        let page_count = |len: usize| len.div_ceil(page_bytes);
        // Where each byte of a stream of these pages is in the file.
        let place = |pages: &[usize], at: usize| pages[at / page_bytes] * page_bytes + at % page_bytes;
        let directory_bytes = word(44);
        let index = word(52) * page_bytes;
        let directory: Vec<usize> = (0..page_count(directory_bytes)).map(|n| word(index + 4 * n)).collect();
        let entry = |n: usize| word(place(&directory, 4 * n));
        let mut heads: Vec<usize> = (32..56).step_by(4).chain([index]).collect();
        heads.extend((0..directory_bytes / 4).map(|n| place(&directory, 4 * n)));
        let (mut records, mut streams) = (Vec::new(), Vec::new());
        let mut at = 1 + entry(0);
        for stream in 0..entry(0) {
            let len = Some(entry(1 + stream)).filter(|&len| len != u32::MAX as usize).unwrap_or(0);
            let pages: Vec<usize> = (at..at + page_count(len)).map(entry).collect();
            at += pages.len();
            heads.extend((0..len.min(96)).step_by(2).map(|at| place(&pages, at)));
            streams.push((len, pages));
        }
        // Stream 2 has type records behind its header; stream 3 names the stream of symbol records.
        let half = |pages: &[usize], at: usize| {
            usize::from(u16::from_le_bytes([bytes[place(pages, at)], bytes[place(pages, at + 1)]]))
        };
        let symbols = streams.get(3).filter(|(len, _)| *len > 64).map(|(_, pages)| half(pages, 20));
        for (stream, start) in [(Some(2), 56), (symbols, 0)] {
            let Some((len, pages)) = stream.and_then(|stream| streams.get(stream)) else { continue };
            let mut at = start;
            while at + 4 <= *len {
                records.push(place(pages, at));
                at += 2 + half(pages, at);
            }
        }
        Self { name, bytes, page_bytes, heads, records }
    }

    /// The PDB with one to four changes; pages of `donor` may come into it.
    fn changed(&self, case: u64, donor: &[u8]) -> Vec<u8> {
        let mut random = Random::new(&self.name, case);
        let mut bytes = self.bytes.clone();
        for _ in 0..=random.below(4) {
            match random.below(8) {
                0 => {
                    for _ in 0..=random.below(32) {
                        let at = random.below(bytes.len());
                        bytes[at] ^= 1 << random.below(8);
                    }
                }
                1 | 2 => overwrite(&mut bytes, random.of(&self.heads), &mut random),
                3..=5 if !self.records.is_empty() => {
                    for _ in 0..=random.below(16) {
                        // Length, kind, or a field behind them.
                        let at = random.of(&self.records) + random.below(16) * 2;
                        overwrite(&mut bytes, at, &mut random);
                    }
                }
                6 => self.splice(&mut bytes, donor, &mut random),
                _ => self.cut(&mut bytes, &mut random),
            }
            if bytes.is_empty() {
                break;
            }
        }
        bytes
    }

    /// A page from somewhere else in the file, or of another file.
    fn splice(&self, bytes: &mut [u8], donor: &[u8], random: &mut Random) {
        for _ in 0..=random.below(4) {
            let source = if random.below(2) == 0 { &self.bytes } else { donor };
            let from = random.below(source.len().div_ceil(self.page_bytes)) * self.page_bytes;
            let to = random.below(bytes.len().div_ceil(self.page_bytes)) * self.page_bytes;
            let len = self.page_bytes.min(source.len() - from).min(bytes.len() - to);
            bytes[to..to + len].copy_from_slice(&source[from..from + len]);
        }
    }

    /// The end is missing; half of the time the header does not tell.
    fn cut(&self, bytes: &mut Vec<u8>, random: &mut Random) {
        let len = if random.below(4) == 0 { random.below(self.page_bytes) } else { random.below(bytes.len()) };
        bytes.truncate(len);
        if let (0, Some(pages)) = (random.below(2), bytes.get_mut(40..44)) {
            pages.copy_from_slice(&((len / self.page_bytes) as u32).to_le_bytes());
        }
    }
}
