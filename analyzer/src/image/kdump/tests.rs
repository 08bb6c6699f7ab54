use super::*;
use crate::error::FaultReason;
use crate::image::flattened::tests::flattened;
use crate::image::notes::tests::note_bytes;
use crate::image::testing::Random;
use crate::image::tests::vote;
use crate::image::vote::Elected;
use std::io::Write;

const PAGES: u64 = 700;

/// A dump to be written: PFN `p` is RAM if `p % 10 != 9`, and dumped if also `p % 7 != 3`.
#[derive(Clone)]
struct Writer {
    is_64: bool,
    machine: &'static str,
    version: u32,
    page: usize,
    split: Option<Range<u64>>,
}

const PLAIN: Writer = Writer { is_64: true, machine: "x86_64", version: 6, page: 0x1000, split: None };

fn is_ram(pfn: u64) -> bool {
    pfn % 10 != 9
}

fn is_dumped(pfn: u64) -> bool {
    is_ram(pfn) && pfn % 7 != 3
}

/// Pages that tell their PFN; some are noise, which no method makes smaller.
fn content(pfn: u64, bytes: usize) -> Vec<u8> {
    let mut random = Random(pfn + 1);
    if pfn.is_multiple_of(13) {
        (0..bytes).map(|_| random.below(256) as u8).collect()
    } else {
        pfn.to_le_bytes().repeat(bytes / 8)
    }
}

/// Each page by another method; what does not get smaller is stored, as makedumpfile does it.
fn pack(pfn: u64, page: &[u8]) -> (u32, Vec<u8>) {
    let (flags, packed) = match pfn % 5 {
        0 => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(page).expect("packed");
            (1, encoder.finish().expect("packed"))
        }
        1 => (2, lzokay_native::compress(page).expect("packed")),
        2 => (4, snap::raw::Encoder::new().compress_vec(page).expect("packed")),
        3 => (0x20, ruzstd::encoding::compress_to_vec(page, ruzstd::encoding::CompressionLevel::Fastest)),
        _ => (0, page.to_vec()),
    };
    if packed.len() < page.len() { (flags, packed) } else { (0, page.to_vec()) }
}

impl Writer {
    fn file(&self) -> Vec<u8> {
        let put = |file: &mut Vec<u8>, at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        let page = self.page;
        let bitmap_blocks = (PAGES as usize).div_ceil(8).div_ceil(page);
        let mut file = b"KDUMP   ".to_vec();
        file.resize(page * (2 + 2 * bitmap_blocks), 0);
        put(&mut file, 8, &self.version.to_le_bytes());
        put(&mut file, 12 + 2 * 65, b"6.1.0-test");
        put(&mut file, 12 + 4 * 65, self.machine.as_bytes());
        let at = if self.is_64 { 428 } else { 416 };
        for (index, number) in [page as u32, 1, 2 * bitmap_blocks as u32, PAGES as u32].into_iter().enumerate() {
            put(&mut file, at + index * 4, &number.to_le_bytes());
        }
        // The sub-header, field by field, each aligned as the machine does it.
        let info = b"OSRELEASE=6.1.0-test\nNUMBER(phys_base)=4096\n";
        let mut cr3 = vec![0; 0x1b8];
        cr3[0x1a0..0x1a8].copy_from_slice(&0x1234_5000_u64.to_le_bytes());
        let note = note_bytes("QEMU", 0, &cr3);
        let word = if self.is_64 { 8 } else { 4 };
        let align = if self.machine == "i686" { 4 } else { 8 };
        let (start, end) = self.split.clone().map_or((0, 0), |pfns| (pfns.start, pfns.end));
        let info_at = page + 512;
        let fields: [(usize, u64); 14] = [
            (word, 0x100_0000),
            (4, 31),
            (4, u64::from(self.split.is_some())),
            (word, start),
            (word, end),
            (8, info_at as u64),
            (word, info.len() as u64),
            (8, (info_at + 512) as u64),
            (word, note.len() as u64),
            (8, 0),
            (word, 0),
            (8, start),
            (8, end),
            (8, PAGES),
        ];
        let mut at = page;
        for (bytes, number) in fields {
            at = at.next_multiple_of(bytes.min(align));
            put(&mut file, at, &number.to_le_bytes()[..bytes]);
            at += bytes;
        }
        put(&mut file, info_at, info);
        put(&mut file, info_at + 512, &note);
        for pfn in 0..PAGES {
            let (byte, bit) = (2 * page + pfn as usize / 8, 1 << (pfn % 8));
            file[byte] |= if is_ram(pfn) { bit } else { 0 };
            file[byte + bitmap_blocks * page] |= if is_dumped(pfn) { bit } else { 0 };
        }
        let pfns: Vec<u64> = self.split.clone().unwrap_or(0..PAGES).filter(|&pfn| is_dumped(pfn)).collect();
        let mut data_at = file.len() + pfns.len() * 24;
        let mut data = Vec::new();
        for &pfn in &pfns {
            let (flags, packed) = pack(pfn, &content(pfn, page));
            file.extend((data_at as u64).to_le_bytes());
            file.extend((packed.len() as u32).to_le_bytes());
            file.extend(flags.to_le_bytes());
            file.extend([0; 8]);
            data_at += packed.len();
            data.extend(packed);
        }
        file.extend(data);
        file
    }
}

fn check(what: &str, image: &Elected, page: usize, pfns: Range<u64>) {
    assert_eq!(image.memory.describe(), "kdump", "{what}");
    let runs = image.memory.runs().iter().flat_map(|run| run.start.0..run.start.0 + run.bytes);
    let seen = runs.step_by(page).map(|at| at / page as u64);
    assert!(seen.eq(pfns.clone().filter(|&pfn| is_dumped(pfn))) || page != 0x1000, "{what}");
    for pfn in 0..=PAGES {
        let mut buffer = vec![0; page];
        let at = Pa(pfn * page as u64);
        let read = image.memory.read(at, &mut buffer).map_err(|fault| fault.reason);
        let expected = match pfn {
            pfn if pfns.contains(&pfn) && is_dumped(pfn) => Ok(()),
            pfn if pfn < PAGES && is_ram(pfn) => Err(FaultReason::NotDumped(at)),
            _ => Err(FaultReason::NotInImage(at)),
        };
        assert_eq!(read, expected, "{what}: {pfn}");
        assert!(expected.is_err() || buffer == content(pfn, page), "{what}: {pfn}");
    }
}

#[test]
fn every_version_word_size_and_compression_is_read() {
    for version in 1..=6 {
        for (is_64, machine, page) in
            [(true, "x86_64", 0x1000), (true, "aarch64", 0x1_0000), (false, "i686", 0x1000), (false, "armv7l", 0x1000)]
        {
            if page > 0x1000 && version < 6 {
                continue;
            }
            let what = format!("version {version} of {machine}");
            let file = Writer { is_64, machine, version, page, split: None }.file();
            let image = vote(&file).unwrap_or_else(|why| panic!("{what}: {why}"));
            assert_eq!(image.warnings, [""; 0], "{what}");
            check(&what, &image, page, 0..PAGES);
            let release = image.hints.vmcoreinfo.text("OSRELEASE");
            assert_eq!(release, (version >= 3).then_some("6.1.0-test"), "{what}");
            let cr3 = (version >= 4).then_some(Pa(0x1234_5000));
            assert_eq!(image.hints.dtbs, cr3.into_iter().collect::<Vec<_>>(), "{what}");
            assert!(image.hints.facts.contains(&("dump level".into(), "31".into())), "{what}");
        }
    }
}

/// A small one, for tests of what may be around it.
pub(in crate::image) fn dump() -> Vec<u8> {
    PLAIN.file()
}

#[test]
fn a_flattened_dump_is_the_dump() {
    let file = PLAIN.file();
    // As makedumpfile writes: the bitmap again at the end, once it is known.
    let (head, data) = file.split_at(0x4000);
    let blank = vec![0; 0x2000];
    let flat = flattened(&[(0x4000, data), (0, head), (0x2000, &blank), (0x2000, &head[0x2000..])]);
    check("flattened", &vote(&flat).expect("an image"), 0x1000, 0..PAGES);
    // Cut off between descriptors and data, which come by turns: where no descriptor was written there are zeros.
    let dumped: Vec<u64> = (0..PAGES).filter(|&pfn| is_dumped(pfn)).collect();
    let (descriptors, pages) = data.split_at(24 * dumped.len());
    let (some, end) = descriptors.split_at(24 * 100);
    let next: [u8; 8] = end[..8].try_into().expect("an offset");
    let pages = &pages[..u64::from_le_bytes(next) as usize - 0x4000 - descriptors.len()];
    let pages_at = i64::try_from(0x4000 + descriptors.len()).expect("small");
    let cut = flattened(&[(0, head), (0x4000, some), (pages_at, pages)]);
    let image = vote(&cut[..cut.len() - 16]).expect("an image");
    for (index, &pfn) in dumped.iter().enumerate() {
        let at = Pa(pfn * 0x1000);
        let read = image.memory.read(at, &mut [0; 0x1000]).map_err(|fault| fault.reason);
        assert_eq!(read, if index < 100 { Ok(()) } else { Err(FaultReason::Truncated(at)) }, "{index}");
    }
}

#[test]
fn the_parts_of_a_split_dump_are_found_in_one_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let ranges = [0..200, 200..503, 503..PAGES];
    for (name, range) in ["b", "a", "c"].iter().zip(&ranges) {
        let part = Writer { split: Some(range.clone()), ..PLAIN }.file();
        std::fs::write(folder.path().join(name), part).expect("written");
    }
    // Of another machine, and of another split of the same.
    std::fs::write(folder.path().join("d"), Writer { machine: "other", split: Some(0..9), ..PLAIN }.file())
        .expect("written");
    std::fs::write(folder.path().join("e"), Writer { split: Some(0..9), ..PLAIN }.file()).expect("written");
    let open = |name: &str| {
        let image = crate::image::open(&folder.path().join(name), &crate::image::Options::default()).expect("an image");
        let told: u64 = image.runs().iter().map(|run| run.bytes / 0x1000).sum();
        (image, told)
    };
    for name in ["a", "b", "c"] {
        let (image, pages) = open(name);
        assert_eq!((pages, &image.warnings[..]), ((0..PAGES).filter(|&pfn| is_dumped(pfn)).count() as u64, &[][..]));
        for pfn in (0..PAGES).filter(|&pfn| is_dumped(pfn)) {
            let mut page = vec![0; 0x1000];
            assert_eq!(image.read(Pa(pfn * 0x1000), &mut page), Ok(()));
            assert!(page == content(pfn, 0x1000), "{name}: {pfn}");
        }
    }
    std::fs::remove_file(folder.path().join("b")).expect("removed");
    std::fs::remove_file(folder.path().join("e")).expect("removed");
    let (image, pages) = open("a");
    assert_eq!(pages, (200..PAGES).filter(|&pfn| is_dumped(pfn)).count() as u64);
    assert!(image.warnings.iter().any(|warning| warning.contains("the dump is split")), "{:?}", image.warnings);
    assert_eq!(image.read(Pa(0), &mut [0]).expect_err("in b").reason, FaultReason::NotDumped(Pa(0)));
}

#[test]
fn a_truncated_dump_gives_the_pages_that_are_there() {
    let file = PLAIN.file();
    let descriptors = 0x4000;
    // Behind the pages that are there, a page of zeros, which is at the place of the first one.
    let mut shared = file.clone();
    let zeros = (0..PAGES).filter(|&pfn| is_dumped(pfn)).position(|pfn| pfn == 5).expect("page 5 was dumped");
    let dumped: Vec<u64> = (0..PAGES).filter(|&pfn| is_dumped(pfn)).collect();
    let at = |index: usize| descriptors + 24 * index;
    shared.copy_within(at(zeros)..at(zeros + 1), at(dumped.len() - 1));
    for file in [file.clone(), shared] {
        for cut in [file.len() - 1, file.len() - 0x1000, file.len() - 0x8000, file.len() / 2] {
            let is_there = |index: usize| {
                let field = |from: usize, bytes: usize| {
                    let mut number = [0; 8];
                    number[..bytes].copy_from_slice(&file[at(index) + from..][..bytes]);
                    u64::from_le_bytes(number)
                };
                field(0, 8) + field(8, 4) <= cut as u64
            };
            let image = vote(&file[..cut]).expect("an image");
            let mut missing = 0;
            for (index, &pfn) in dumped.iter().enumerate() {
                let read = image.memory.read(Pa(pfn * 0x1000), &mut [0]).map_err(|fault| fault.reason);
                if is_there(index) {
                    assert_eq!(read, Ok(()), "{pfn} of {cut:#x}");
                } else {
                    missing += 0x1000;
                    assert_eq!(read, Err(FaultReason::Truncated(Pa(pfn * 0x1000))), "{cut:#x}");
                }
            }
            let told = format!("the file is truncated: {missing} bytes of memory that its headers promise are missing");
            // The last data of the file with the shared page are of no page.
            assert_eq!(image.warnings, if missing == 0 { vec![] } else { vec![told] }, "{cut:#x}");
        }
    }
    for cut in [descriptors + 24 * 100 + 5, descriptors + 24] {
        assert!(vote(&file[..cut]).is_err_and(|why| why.contains("holds no memory (the file is truncated")));
    }
    assert!(vote(&file[..0x3000]).is_err_and(|why| why.contains("not all in the file")));
}

#[test]
fn headers_and_descriptors_that_lie_are_told() {
    let good = PLAIN.file();
    let changed = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        vote(&file)
    };
    for (at, bytes, why) in [
        (8, &[0, 0, 0, 6][..], "big-endian"),
        (8, &[7, 0, 0, 0], "its version is 7"),
        (428, &[0, 0, 0, 0], "block size"),
        (432, &[0xff; 4], "not all in the file"),
        (436, &[0; 4], "block size"),
        (0x1000 + 96, &[0xff; 8], "2^52"),
        (0x1000 + 96, &[0, 0, 0, 0, 0xff], "not all in the file"),
    ] {
        let said = changed(at, bytes).err();
        assert!(said.as_ref().is_some_and(|said| said.contains(why)), "{why}: {said:?}");
    }
    assert!(changed(424, &[8]).expect("an image").warnings[0].contains("incomplete"));
    // The first descriptor: page 0, zlib.
    for (at, bytes, why) in [
        (0x4000, &[0xff; 8][..], "are not in the file"),
        (0x4008, &[0xff; 4], "more than a page"),
        (0x4008, &[1, 0, 0, 0], "and not to a page"),
        (0x400c, &[3], "two compressions at once"),
        (0x400c, &[2], "LZO"),
        (0x400c, &[4], "snappy"),
        (0x400c, &[0x20], "zstd"),
    ] {
        let image = changed(at, bytes).expect("an image");
        // Page 0 is noise, and stored as it is: page 5 is the first that zlib packed.
        let fault = image.memory.read(Pa(0), &mut [0]).expect_err("damaged").to_string();
        assert!(fault.contains(why) && fault.contains("0x4000"), "{why}: {fault}");
    }
}
