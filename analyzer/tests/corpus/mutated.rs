//! Image formats on damaged files: each sample of the corpus changed and cut at random places, from a fixed seed. Whatever
//! is there, opening and reading end without a panic, within a bound of time and of memory, and the layer keeps what it
//! promises: runs sorted and disjoint, a read in pieces equal to the read in one, a slice equal to the read.
//!
//! Each sample is changed 300 times; `$QUAID_MUTATIONS` says how often instead (5000 before a release).

use crate::hibernation::{TABLES, legacy, windows_7, windows_11, windows_xp};
use crate::support::{corpus, formats};
use quaid_analyzer::Pa;
use quaid_analyzer::image::{self, Image};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Write as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What one case may take.
const MAX_TIME: Duration = Duration::from_secs(2);
const MAX_MEMORY: isize = 64 << 20;
/// Runs, and places inside them, that are read in each case.
const MAX_RUNS_READ: usize = 12;

/// The system's allocator, counting what each thread holds.
struct Counting;

thread_local! {
    /// Bytes that the thread holds, and the most that it held.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

fn count(bytes: isize) {
    // A thread that ends has no counter any more.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        held.set((now + bytes, most.max(now + bytes)));
    });
}

#[expect(unsafe_code, reason = "an allocator is unsafe to implement; what it counts cannot be measured otherwise")]
// SAFETY: every call goes to the system's allocator as it is; the counter is a plain cell that allocates nothing.
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

/// Numbers that look random and are the same each time (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A sample that is changed in place and put back.
struct Victim {
    path: PathBuf,
    file: File,
    whole: Vec<u8>,
}

impl Victim {
    /// Copies the sample, and what is of the same image beside it (segments, the memory of a snapshot).
    fn new(sample: &Path, folder: &Path) -> Self {
        for entry in sample.parent().expect("a folder").read_dir().expect("readable") {
            let beside = entry.expect("a file").path();
            if beside.file_stem() == sample.file_stem() {
                std::fs::copy(&beside, folder.join(beside.file_name().expect("a name"))).expect("copied");
            }
        }
        let path = folder.join(sample.file_name().expect("a name"));
        let mut whole = Vec::new();
        File::open(sample).expect("readable").read_to_end(&mut whole).expect("readable");
        let file = File::options().write(true).open(&path).expect("writable");
        Self { path, file, whole }
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
    for _ in 0..MAX_RUNS_READ.min(runs.len()) {
        let run = runs[random.below(runs.len() as u64) as usize];
        let at = Pa(run.start.0 + random.below(run.bytes));
        let mut one = vec![0xaa; 1 + random.below(0x5000) as usize];
        let read = image.read(at, &mut one);
        let mut pieces = vec![0x55; one.len()];
        let mut failed = None;
        let step = 1 + random.below(0x1800) as usize;
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
    let folder = tempfile::tempdir().expect("a folder");
    let victim = Victim::new(sample, folder.path());
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ victim.whole.len() as u64);
    let (mut opened, mut refused) = (0, 0);
    for case in 0..cases() {
        let places = victim.damage(&mut random);
        // A machine that is busy may stall one try, and not each of them.
        let mut taken = MAX_TIME;
        for _ in 0..4 {
            let (start, before) = (Instant::now(), HELD.get().0);
            HELD.set((before, before));
            match image::open(&victim.path, &image::Options::default()) {
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
            let most = HELD.get().1 - before;
            assert!(most < MAX_MEMORY, "{}, case {case}: {most} bytes for {places:x?}", sample.display());
            if taken < MAX_TIME {
                break;
            }
        }
        assert!(taken < MAX_TIME, "{}, case {case}: {taken:?} for {places:x?}", sample.display());
        victim.repair(&places);
    }
    // Put back, it is what it was; and the damage was neither nothing nor everything.
    let whole = image::open(&victim.path, &image::Options::default()).expect("it is whole again");
    assert!(check(&whole, &mut random) > 0);
    assert!(opened > 0 && refused > 0, "{}: {opened} opened, {refused} refused", sample.display());
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

#[test]
fn a_damaged_guest_s_kdump_is_survived() {
    if let Some(sample) = corpus("linux/small/linux-small-bash.kdump-zlib-flat") {
        mutate(&sample);
    }
}
