//! Image formats on damaged files: each sample of the corpus changed and cut at random places, from a fixed seed. Whatever
//! is there, opening and reading end without a panic, within a bound of time and of memory, and the layer keeps what it
//! promises: runs sorted and disjoint, a read in pieces equal to the read in one, a slice equal to the read.
//!
//! Each sample is changed 300 times; `$QUAID_MUTATIONS` says how often instead (5000 before a release), and
//! `$QUAID_MUTATION_SEED`, a number, that the changes are to be others (`scripts/fuzz`).
#![cfg(unix)]

#[path = "../src/image/hibernation/sample.rs"]
mod hibernation;
#[path = "corpus/support.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod support;

use hibernation::{TABLES, legacy, windows_7, windows_11, windows_xp};
use quaid_analyzer::Pa;
use quaid_analyzer::image::{self, Image};
use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::io::{Read, Write as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use support::{arm64_elf, corpus, formats, unpacked};

/// What one case may take.
const MAX_TIME: Duration = Duration::from_secs(2);
const MAX_MEMORY: isize = 64 << 20;
/// Runs, and places inside them, that are read in each case.
const MAX_RUNS_READ: usize = 12;
/// What is read as scans do it: several threads decode.
const SCAN_BYTES: u64 = 3 << 19;

/// The system's allocator, counting what the whole process holds: some formats are decoded by several threads.
struct Counting;

/// Bytes that are held, and the most that were.
static HELD: AtomicIsize = AtomicIsize::new(0);
static MOST: AtomicIsize = AtomicIsize::new(0);
/// Only one test is counted at a time.
static COUNTED: Mutex<()> = Mutex::new(());

fn count(bytes: isize) {
    let now = HELD.fetch_add(bytes, Ordering::Relaxed) + bytes;
    MOST.fetch_max(now, Ordering::Relaxed);
}

#[expect(unsafe_code, reason = "an allocator is unsafe to implement; what it counts cannot be measured otherwise")]
// SAFETY: every call goes to the system's allocator as it is; the counters allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: as above. It is passed on by itself so that untouched zeros stay without memory.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Samples in `formats/`; other formats join by a line.
const SAMPLES: &[&str] = &[
    "avml/flat.lime",
    "avml/flat.avml",
    "synth/odd.lime",
    "synth/two.lime",
    "synth/truncated.lime",
    "synth/full64.dmp",
    "synth/full32.dmp",
    "synth/bmp5-sdmp.dmp",
    "synth/bmp6-active-sparse.dmp",
    "synth/rdmp8.dmp",
    "qemu/none.elf",
    "qemu/pc2.elf",
    "qemu/none.kdump",
    "qemu/none.kdump-zlib",
    "qemu/pc2.kdump",
    "qemu/none.migrate",
    "synth/core-unsorted.elf",
    "synth/core-xnum.elf",
    "synth/core.macho",
    "synth/xen-pfn.core",
    "synth/vm.vmss",
    "ewf/s_encase6.E01",
    "ewf/s_nocomp.E01",
    "ewf/s_smart.s01",
    "aff4/snappy.aff4",
    "aff4/zlib.aff4",
    "aff4/lz4.aff4",
    "aff4/stored.aff4",
    "aff4/map-snappy.aff4",
];

/// Samples of which another file is changed than the one that is opened.
const BESIDE: &[(&str, &str)] = &[
    ("ewf/s_encase6.E01", "ewf/s_encase6.E04"),
    ("ewf/s_encase6.E01", "ewf/s_encase6.E07"),
    ("ewf/s_smart.s01", "ewf/s_smart.s17"),
    ("synth/vm.vmem", "synth/vm.vmss"),
    ("synth/vm.vmss", "synth/vm.vmem"),
];

/// Numbers that look random and are the same each time (xorshift64).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        let further = std::env::var("QUAID_MUTATION_SEED").map_or(0_u64, |seed| seed.parse().expect("a number"));
        Self((0x9e37_79b9_7f4a_7c15 ^ seed ^ further.wrapping_mul(0xbf58_476d_1ce4_e5b9)) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A sample that is changed in place and put back.
struct Victim {
    /// What is opened.
    opened: PathBuf,
    /// What is changed.
    file: File,
    whole: Vec<u8>,
}

impl Victim {
    /// Copies the sample, and what is of the same image beside it (segments, the memory of a snapshot).
    fn new(opened: &Path, sample: &Path, folder: &Path) -> Self {
        for entry in sample.parent().expect("a folder").read_dir().expect("readable") {
            let beside = entry.expect("a file").path();
            if beside.file_stem() == sample.file_stem() {
                std::fs::copy(&beside, folder.join(beside.file_name().expect("a name"))).expect("copied");
            }
        }
        let [opened, path] = [opened, sample].map(|path| folder.join(path.file_name().expect("a name")));
        let mut whole = Vec::new();
        File::open(sample).expect("readable").read_to_end(&mut whole).expect("readable");
        let file = File::options().write(true).open(&path).expect("writable");
        Self { opened, file, whole }
    }

    /// Changes some bytes, most of them where headers are, or cuts the file; gives the places.
    fn damage(&self, random: &mut Random) -> Vec<(u64, usize)> {
        let len = self.whole.len() as u64;
        if random.below(10) == 0 {
            let to = if random.below(2) == 0 { random.below(len) } else { random.below(len.min(0x4000)) };
            self.file.set_len(to).expect("cut");
            return vec![(to, (len - to) as usize)];
        }
        let mut places = Vec::new();
        for _ in 0..=random.below(6) {
            let bytes = 1_u64 << random.below(4);
            let area = [0x80, 0x1000, 0x6000, len][random.below(4) as usize].min(len - 8);
            let at = if random.below(8) == 0 { len - 8 - area.min(random.below(0x400)) } else { random.below(area) };
            let value = match random.below(6) {
                0 => u64::MAX,
                1 => 0,
                2 => 1 << random.below(64),
                3 => len.wrapping_add(random.below(16)).wrapping_sub(8),
                4 => u64::from_le_bytes(*self.whole[random.below(len - 8) as usize..].first_chunk().expect("inside")),
                _ => random.below(u64::MAX),
            };
            let value = if random.below(2) == 0 { value.to_le_bytes() } else { value.to_be_bytes() };
            self.file.write_all_at(&value[..bytes as usize], at).expect("written");
            places.push((at, bytes as usize));
        }
        places
    }

    fn repair(&self, places: &[(u64, usize)]) {
        for &(at, bytes) in places {
            self.file.write_all_at(&self.whole[at as usize..][..bytes], at).expect("written");
        }
    }
}

/// Reads here and there, and checks what a layer promises. Gives how many bytes were good.
fn check(image: &Image, random: &mut Random) -> u64 {
    let runs = image.runs();
    for pair in runs.windows(2) {
        assert!(pair[0].start.0 + pair[0].bytes <= pair[1].start.0, "{pair:?}");
    }
    for pair in image.gaps().windows(2) {
        assert!(pair[0].start.0 + pair[0].bytes <= pair[1].start.0, "{pair:?}");
    }
    assert!(runs.iter().all(|run| run.bytes > 0 && run.start.0 + run.bytes <= 1 << 52));
    assert!(image.gaps().iter().all(|gap| gap.bytes > 0 && gap.start.0 + gap.bytes <= 1 << 52));
    let mut good = 0;
    let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return 0 };
    let end = last.start.0 + last.bytes;
    // The ends, and behind the last one; then anywhere.
    let mut places = vec![(first.start.0, 0x3000), (end - last.bytes.min(0x2fff), 0x3000), (end - 1, 0x2000)];
    for _ in 0..MAX_RUNS_READ.min(runs.len()) {
        let run = runs[random.below(runs.len() as u64) as usize];
        places.push((run.start.0 + random.below(run.bytes), 1 + random.below(0x5000)));
    }
    // As a scan reads: from anywhere, and to the end.
    if random.below(4) == 0 {
        let run = runs[random.below(runs.len() as u64) as usize];
        places.push((run.start.0 + random.below(run.bytes), SCAN_BYTES));
        places.push((end - last.bytes.min(SCAN_BYTES - 0x800), SCAN_BYTES));
    }
    for (at, bytes) in places {
        let at = Pa(at);
        let mut one = vec![0xaa; bytes as usize];
        let read = image.read(at, &mut one);
        let mut pieces = vec![0x55; one.len()];
        let mut failed = None;
        let step = 1 + random.below(bytes.div_ceil(4).max(0x1800)) as usize;
        for (index, piece) in pieces.chunks_mut(step).enumerate() {
            if failed.is_some() {
                piece.fill(0);
            } else {
                failed = image.read(Pa(at.0 + (index * step) as u64), piece).err();
            }
        }
        assert!(one == pieces, "in one and in pieces of {step} at {at}");
        assert_eq!(read.clone().err().map(|fault| fault.reason), failed.map(|fault| fault.reason), "{step} at {at}");
        if read.is_ok() {
            good += one.len() as u64;
        }
        if let Some(slice) = image.slice(at, one.len()) {
            assert!(slice == one, "the slice at {at}");
        }
    }
    good
}

fn cases() -> u64 {
    std::env::var("QUAID_MUTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(300)
}

/// Changes one sample over and over. Reads are held together with the opening against the bounds.
fn mutate(sample: &Path) {
    let (opened, refused) = mutate_part(sample, sample);
    // The damage was neither nothing nor everything, where there was enough of it.
    assert!(opened > 0 && (refused > 0 || cases() < 300), "{}: {opened} opened, {refused} refused", sample.display());
}

/// Changes `sample` and opens `first`, of which it is a part; gives how often it was opened and refused.
fn mutate_part(first: &Path, sample: &Path) -> (u32, u32) {
    // A test that failed leaves nothing behind that counts here.
    let _alone = COUNTED.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().expect("a folder");
    let victim = Victim::new(first, sample, folder.path());
    let mut random = Random::new(victim.whole.len() as u64);
    let (mut opened, mut refused) = (0, 0);
    for case in 0..cases() {
        let places = victim.damage(&mut random);
        // A machine that is busy may stall one try, and not each of them.
        let mut taken = MAX_TIME;
        for _ in 0..4 {
            let (start, before) = (Instant::now(), HELD.load(Ordering::Relaxed));
            MOST.store(before, Ordering::Relaxed);
            match image::open(&victim.opened, &image::Options::default()) {
                Ok(image) => {
                    opened += 1;
                    check(&image, &mut random);
                }
                Err(why) => {
                    refused += 1;
                    assert!(!why.to_string().is_empty());
                }
            }
            taken = start.elapsed();
            let most = MOST.load(Ordering::Relaxed) - before;
            assert!(most < MAX_MEMORY, "{}, case {case}: {most} bytes for {places:x?}", sample.display());
            if taken < MAX_TIME {
                break;
            }
        }
        assert!(taken < MAX_TIME, "{}, case {case}: {taken:?} for {places:x?}", sample.display());
        victim.repair(&places);
    }
    // Put back, it is what it was.
    match (image::open(first, &image::Options::default()), image::open(&victim.opened, &image::Options::default())) {
        (Ok(_), Ok(whole)) => assert!(check(&whole, &mut random) > 0),
        (first, again) => assert_eq!(first.is_ok(), again.is_ok(), "{}", sample.display()),
    }
    (opened, refused)
}

/// Changes samples that the corpus does not have.
fn mutate_all(samples: &[(&str, Vec<u8>)]) {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in samples {
        let sample = folder.path().join(name);
        std::fs::write(&sample, bytes).expect("written");
        mutate(&sample);
    }
}

#[test]
fn damaged_images_of_every_format_are_survived() {
    let Some(folder) = formats() else { return };
    for sample in SAMPLES {
        mutate(&folder.join(sample));
    }
}

/// Segments behind the first one, a snapshot beside its memory.
#[test]
fn damaged_parts_of_images_are_survived() {
    let Some(folder) = formats() else { return };
    for (first, part) in BESIDE {
        let (opened, _) = mutate_part(&folder.join(first), &folder.join(part));
        assert!(opened > 0, "{part}");
    }
}

/// A raw image with what winpmem wrote behind it.
#[test]
fn damaged_footers_of_raw_images_are_survived() {
    let Some(folder) = formats() else { return };
    let mut raw = Vec::new();
    File::open(folder.join("flat.raw")).expect("a sample").take(1 << 19).read_to_end(&mut raw).expect("read");
    raw.extend(b"# PMEM\n---\nacquisition_tool: 'WinPMEM 1.6.2'\nPreviousHeader: 0x0\nCR3: 0x1000\nArch: AMD64\n...\n");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pmem");
    std::fs::write(&path, raw).expect("written");
    assert!(mutate_part(&path, &path).0 > 0);
}

/// A LiME file is cut short, so that it is unpacked 300 times in little time.
#[test]
fn damaged_compressed_images_are_survived() {
    let Some(folder) = formats() else { return };
    let mut lime = Vec::new();
    File::open(folder.join("synth/two.lime")).expect("a sample").take(1 << 19).read_to_end(&mut lime).expect("read");
    let gzip = flate2::read::GzEncoder::new(&lime[..], flate2::Compression::fast());
    let zlib = flate2::read::ZlibEncoder::new(&lime[..], flate2::Compression::fast());
    let mut xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(0)).expect("a writer");
    xz.write_all(&lime).expect("packed");
    let zstd = ruzstd::encoding::compress_to_vec(&lime[..], ruzstd::encoding::CompressionLevel::Fastest);
    let read = |mut packed: Box<dyn Read + '_>| {
        let mut bytes = Vec::new();
        packed.read_to_end(&mut bytes).expect("packed");
        bytes
    };
    mutate_all(&[
        ("gzip", read(Box::new(gzip))),
        ("zlib", read(Box::new(zlib))),
        ("xz", xz.finish().expect("packed")),
        ("zstd", zstd),
    ]);
}

#[test]
fn damaged_hibernation_files_are_survived() {
    mutate_all(&[
        ("xp", legacy(false, TABLES, windows_xp)),
        ("7", legacy(true, TABLES, windows_7)),
        ("11", windows_11()),
    ]);
}

/// What libvirt writes before QEMU's stream, and the stream.
#[test]
fn damaged_libvirt_saves_are_survived() {
    let Some(folder) = formats() else { return };
    let mut saved = b"LibvirtQemudSave".to_vec();
    saved.extend([2, 9, 1, 0].map(u32::to_le_bytes).concat());
    saved.resize(92, 0);
    saved.extend(b"<domain/>");
    File::open(folder.join("qemu/none.migrate")).expect("a sample").read_to_end(&mut saved).expect("read");
    mutate_all(&[("saved", saved)]);
}

/// What other samples of a format do not have: a machine's own ranges, a 64-bit ARM's notes.
#[test]
fn damaged_images_of_guests_are_survived() {
    let kdump = corpus("linux/small/linux-small-bash.kdump-zlib-flat");
    for sample in [kdump, unpacked("linux/small/linux-small-nobash.lime"), arm64_elf()].into_iter().flatten() {
        mutate(&sample);
    }
}

/// A dump without memory is refused, whatever is changed in it, until it is no dump any more.
#[test]
fn a_damaged_triage_dump_is_survived() {
    if let Some(sample) = corpus("windows/dmp/triage_x64.dmp") {
        let (opened, refused) = mutate_part(&sample, &sample);
        assert!(refused > opened, "{opened} opened, {refused} refused");
    }
}
