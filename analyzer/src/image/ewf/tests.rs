use super::super::open::{Image, Options, open};
use super::super::testing::Random;
use super::*;
use crate::error::FaultReason;
use std::path::Path;

const CHUNK: usize = 1024;

/// One segment: what the writer below needs to know.
struct Writer {
    file: Vec<u8>,
}

impl Writer {
    fn segment(number: u16) -> Self {
        let mut file = MAGIC.to_vec();
        file.push(1);
        file.extend(number.to_le_bytes());
        file.extend([0, 0]);
        Self { file }
    }

    fn section(&mut self, kind: &str, payload: &[u8]) {
        let at = self.file.len();
        let next = if matches!(kind, "next" | "done") { at } else { at + 76 + payload.len() };
        let mut header = kind.as_bytes().to_vec();
        header.resize(16, 0);
        header.extend((next as u64).to_le_bytes());
        header.extend((76 + payload.len() as u64).to_le_bytes());
        header.resize(72, 0);
        header.extend(adler32(&header).to_le_bytes());
        self.file.extend(header);
        self.file.extend(payload);
    }

    /// `volume`: sectors of 512 bytes, two a chunk.
    fn volume(&mut self, kind: &str, sectors: u32, guid: u8) {
        let mut volume = vec![0; 1048];
        for (at, number) in [(4, sectors.div_ceil(2)), (8, 2), (12, 512), (16, sectors)] {
            volume[at..at + 4].copy_from_slice(&number.to_le_bytes());
        }
        volume[64..80].fill(guid);
        volume.extend(adler32(&volume).to_le_bytes());
        self.section(kind, &volume);
    }

    /// `sectors`, `table` and `table2`; each even chunk is compressed. Gives where each ends.
    fn chunks(&mut self, chunks: &[&[u8]]) -> Vec<usize> {
        let start = self.file.len() as u64 + 76;
        let mut data = Vec::new();
        let (mut entries, mut ends) = (Vec::new(), Vec::new());
        for (index, chunk) in chunks.iter().enumerate() {
            let offset = data.len() as u32 + 76;
            if index % 2 == 0 {
                entries.extend((offset | 1 << 31).to_le_bytes());
                let mut zlib = flate2::read::ZlibEncoder::new(*chunk, flate2::Compression::fast());
                std::io::copy(&mut zlib, &mut data).expect("packed");
            } else {
                entries.extend(offset.to_le_bytes());
                data.extend(*chunk);
                data.extend(adler32(chunk).to_le_bytes());
            }
            ends.push(start as usize + data.len());
        }
        self.section("sectors", &data);
        let mut table = (chunks.len() as u32).to_le_bytes().to_vec();
        table.extend([0; 4]);
        table.extend((start - 76).to_le_bytes());
        table.extend([0; 4]);
        table.extend(adler32(&table).to_le_bytes());
        table.extend(&entries);
        table.extend(adler32(&entries).to_le_bytes());
        self.section("table", &table);
        self.section("table2", &table);
        ends
    }
}

fn contents(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at / 7 + at / CHUNK) as u8).collect()
}

/// Five chunks, the last a half one, in segments of two.
fn segments() -> (Vec<Vec<u8>>, Vec<u8>) {
    let contents = contents(4 * CHUNK + 512);
    let chunks: Vec<&[u8]> = contents.chunks(CHUNK).collect();
    let parts: Vec<&[&[u8]]> = chunks.chunks(2).collect();
    let segment = |(index, part): (usize, &&[&[u8]])| {
        let mut writer = Writer::segment(index as u16 + 1);
        writer.volume(if index == 0 { "volume" } else { "data" }, 9, 0xaa);
        writer.chunks(part);
        if index + 1 == parts.len() {
            writer.section("hash", &[0x11; 36]);
        }
        writer.section(if index + 1 == parts.len() { "done" } else { "next" }, &[]);
        writer.file
    };
    (parts.iter().enumerate().map(segment).collect(), contents)
}

fn write(folder: &Path, segments: &[Vec<u8>]) {
    for (index, segment) in segments.iter().enumerate() {
        std::fs::write(folder.join(format!("a.E{:02}", index + 1)), segment).expect("written");
    }
}

fn opened(folder: &Path) -> Result<Image, String> {
    open(&folder.join("a.E01"), &Options::default()).map_err(|error| error.to_string())
}

fn reads(image: &Image, at: usize, bytes: usize) -> Result<Vec<u8>, FaultReason> {
    let mut buffer = vec![0xee; bytes];
    image.read(Pa(at as u64), &mut buffer).map(|()| buffer).map_err(|fault| fault.reason)
}

#[test]
fn segments_are_one_image_that_may_end_within_a_chunk() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut segments, contents) = segments();
    write(folder.path(), &segments);
    let image = opened(folder.path()).expect("an image");
    assert_eq!((image.runs().len(), &image.warnings[..]), (1, &[][..]));
    assert_eq!(reads(&image, 0, contents.len()), Ok(contents.clone()));
    assert!(image.hints.facts.contains(&("MD5".into(), "11".repeat(16))));
    assert!(
        open(&folder.path().join("a.E02"), &Options::default()).is_err_and(|e| e.to_string().contains("segment 2"))
    );

    // The second segment is of another image, is gone, has another number.
    let mut other = Writer::segment(2);
    other.volume("data", 9, 0xbb);
    other.section("next", &[]);
    let first = segments.remove(0);
    for (second, why) in
        [(Some(other.file), "another image"), (None, ".E02) is not beside"), (Some(first), "not segment 2")]
    {
        match second {
            Some(second) => std::fs::write(folder.path().join("a.E02"), second).expect("written"),
            None => std::fs::remove_file(folder.path().join("a.E02")).expect("removed"),
        }
        let image = opened(folder.path()).expect("an image");
        assert!(image.warnings.len() == 1 && image.warnings[0].contains(why), "{why}: {:?}", image.warnings);
        assert_eq!(reads(&image, 0, 2 * CHUNK).as_deref(), Ok(&contents[..2 * CHUNK]), "{why}");
        assert_eq!(reads(&image, 2 * CHUNK, 1), Err(FaultReason::Truncated(Pa(2 * CHUNK as u64))), "{why}");
    }
}

#[test]
fn a_changed_byte_is_corrupt_where_it_is_or_costs_what_it_must() {
    let (segments, contents) = segments();
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), &segments);
    let first = &segments[0];
    let data =
        sections(image_base(first).as_ref()).0.into_iter().find(|section| section.kind == "sectors").expect("sectors");
    let data = data.at as usize + 76..data.end as usize;
    let mut corrupt = 0;
    // From the first section on: each byte of the chunks, and many of the rest.
    for at in (13..first.len()).filter(|at| data.contains(at) || at % 5 == 0) {
        let mut changed = first.clone();
        changed[at] ^= 0x10;
        std::fs::write(folder.path().join("a.E01"), &changed).expect("written");
        let Ok(image) = opened(folder.path()) else { continue };
        for (chunk, expected) in contents.chunks(CHUNK).enumerate() {
            match reads(&image, chunk * CHUNK, expected.len()) {
                Ok(bytes) => assert!(bytes == expected, "chunk {chunk} with byte {at} changed"),
                Err(FaultReason::Corrupt { why, .. }) => {
                    assert!(why.contains("a.E01") && chunk < 2, "{why}");
                    corrupt += 1;
                }
                Err(FaultReason::Truncated(_)) => {
                    assert_eq!(image.warnings.len(), 1, "byte {at}: {:?}", image.warnings);
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(corrupt, data.len(), "each changed byte costs its own chunk");
}

/// As a killed program or a full disk leaves it: cut anywhere, and the chunks' section as long as its header, because its
/// length is written last. Of a pipe the length of the memory is not known before the end either.
#[test]
fn chunks_without_a_table_are_found_by_their_checksums() {
    let contents = contents(4 * CHUNK + 512);
    let chunks: Vec<&[u8]> = contents.chunks(CHUNK).collect();
    for (sectors, closed) in [(9, true), (9, false), (0, false)] {
        let mut writer = Writer::segment(1);
        writer.volume("volume", sectors, 0xaa);
        let sectors_at = writer.file.len();
        let ends = writer.chunks(&chunks);
        if !closed {
            let header = &mut writer.file[sectors_at..sectors_at + 76];
            header[16..24].copy_from_slice(&(sectors_at as u64 + 76).to_le_bytes());
            header[24..32].copy_from_slice(&76_u64.to_le_bytes());
            let sum = adler32(&header[..72]);
            header[72..].copy_from_slice(&sum.to_le_bytes());
        }
        writer.section("done", &[]);
        let folder = tempfile::tempdir().expect("a folder");
        let cuts = (sectors_at..writer.file.len()).step_by(17).chain(ends.iter().flat_map(|&end| [end - 1, end]));
        for cut in cuts {
            write(folder.path(), &[writer.file[..cut].to_vec()]);
            let whole = ends.iter().filter(|&&end| end <= cut).count();
            let image = match opened(folder.path()) {
                Ok(image) => image,
                Err(why) => {
                    assert!(whole == 0 && why.contains("none of its chunks is there"), "{cut}: {why}");
                    continue;
                }
            };
            // What a pipe would have given next is not known, and its last chunk is not known to be shorter.
            let whole = if sectors == 0 { whole.min(4) } else { whole };
            let has = (whole * CHUNK).min(contents.len());
            assert_eq!(image.runs().iter().map(|run| run.bytes).sum::<u64>(), has as u64, "{cut}");
            assert_eq!(reads(&image, 0, has).as_deref(), Ok(&contents[..has]), "{cut}");
            let lost = if sectors == 0 { 0 } else { contents.len() - has } as u64;
            assert_eq!(image.gaps().iter().map(|gap| gap.bytes).sum::<u64>(), lost, "{cut}");
            assert!(!image.warnings.is_empty(), "{cut}");
        }
        // A byte of the third chunk ends what is found.
        if !closed {
            writer.file[ends[2] - 1] ^= 1;
            write(folder.path(), &[writer.file]);
            let image = opened(folder.path()).expect("two chunks");
            assert_eq!(reads(&image, 0, 2 * CHUNK).as_deref(), Ok(&contents[..2 * CHUNK]));
            assert!(reads(&image, 2 * CHUNK, 1).is_err());
        }
    }
}

/// LiME's files end within a sector: the volume counts the whole ones, the last chunk has the rest of the source as well. The
/// checksum is behind that.
#[test]
fn the_last_chunk_may_have_more_than_the_volume_counts() {
    let contents = contents(4 * CHUNK + 512 + 64);
    let counted = 4 * CHUNK + 512;
    // As the last of an odd or an even number of chunks it is compressed or not.
    for (skipped, rest) in [(0, 64), (CHUNK, 64), (CHUNK, 0), (CHUNK, 511 - 64)] {
        let contents: Vec<u8> = contents.iter().copied().chain([9; 512]).take(counted + rest).skip(skipped).collect();
        let counted = counted - skipped;
        let chunks: Vec<&[u8]> = contents.chunks(CHUNK).collect();
        let mut writer = Writer::segment(1);
        writer.volume("volume", (counted / 512) as u32, 0xaa);
        let ends = writer.chunks(&chunks);
        let whole = writer.file.len();
        writer.section("done", &[]);
        let folder = tempfile::tempdir().expect("a folder");
        // Whole, and without its table: behind the last chunk, and behind the header of the table.
        for cut in [writer.file.len(), whole, ends[ends.len() - 1], ends[ends.len() - 1] + 76] {
            write(folder.path(), &[writer.file[..cut].to_vec()]);
            let image = opened(folder.path()).expect("an image");
            assert_eq!(reads(&image, 0, counted).as_deref(), Ok(&contents[..counted]), "{skipped} {rest} {cut}");
            assert_eq!(image.runs().iter().map(|run| run.bytes).sum::<u64>(), counted as u64);
        }
        let mut changed = writer.file.clone();
        changed[ends[ends.len() - 1] - 5] ^= 1;
        write(folder.path(), &[changed]);
        let image = opened(folder.path()).expect("an image");
        assert!(matches!(reads(&image, counted - 1, 1), Err(FaultReason::Corrupt { .. })), "{skipped} {rest}");
    }
}

fn image_base(bytes: &[u8]) -> Arc<dyn PhysicalMemory> {
    Arc::new(super::super::testing::TestMemory::new(vec![(0, bytes.to_vec())]).mapped())
}

#[test]
fn hostile_headers_are_survived() {
    let (segments, _) = segments();
    let mut random = Random(0x7777_1234_9abc_def1);
    for round in 0..2000 {
        let mut bytes = segments[0].clone();
        if round % 4 == 0 {
            bytes.truncate(8 + random.below(bytes.len() as u64 - 8) as usize);
        }
        for _ in 0..=random.below(4) {
            let at = 13 + random.below(bytes.len().max(14) as u64 - 13) as usize;
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.below(256) as u8;
            }
        }
        // Checksums made right, so that the numbers themselves are doubted.
        let headers: Vec<usize> = sections(image_base(&segments[0]).as_ref()).0.iter().map(|s| s.at as usize).collect();
        for at in headers {
            if let Some(header) = bytes.get(at..at + 72).map(adler32) {
                bytes.get_mut(at + 72..at + 76).into_iter().for_each(|sum| sum.copy_from_slice(&header.to_le_bytes()));
            }
        }
        let base = image_base(&bytes);
        if let Vote::Yes(layer) = probe(&Probe::new(&base, None, true)) {
            let mut buffer = vec![0; 3 * CHUNK];
            let _fault = layer.memory.read(Pa(0), &mut buffer).is_err();
        }
    }
}

#[test]
fn segments_are_named_as_encase_does() {
    let names = [(1, "E01"), (99, "E99"), (100, "EAA"), (125, "EAZ"), (126, "EBA"), (775, "EZZ"), (776, "FAA")];
    for (number, name) in names {
        assert_eq!(extension("E01", number).as_deref(), Some(name));
        assert_eq!(extension("e01", number), Some(name.to_lowercase()));
    }
    assert_eq!(extension("E01", 100 + 22 * 676 - 1).as_deref(), Some("ZZZ"));
    assert_eq!(extension("E01", 100 + 22 * 676), None);
}

#[test]
fn offsets_behind_2_gib_of_encase_6_7_are_whole() {
    let entries: [u32; 4] = [0x7fff_0000 | 1 << 31, 0x7fff_8000 | 1 << 31, 0x8000_0100, 0x8000_8104];
    let mut table = 4_u32.to_le_bytes().to_vec();
    table.resize(20, 0);
    table.extend(adler32(&table).to_le_bytes());
    table.extend(entries.iter().flat_map(|entry| entry.to_le_bytes()));
    let mut writer = Writer::segment(1);
    writer.section("table", &table);
    let base = image_base(&writer.file);
    let section = Section { kind: "table".into(), at: 13, end: writer.file.len() as u64 };
    let table = Table::read(base.as_ref(), &section, 0x8001_0108, u64::MAX).expect("a table");
    let chunk = |index| table.chunk(index).map(|chunk| (chunk.offset, chunk.bytes, chunk.compressed));
    assert_eq!(chunk(0), Some((0x7fff_0000, 0x8000, true)));
    assert_eq!(chunk(1), Some((0x7fff_8000, 0x8100, true)));
    assert_eq!(chunk(2), Some((0x8000_0100, 0x8004, false)));
    assert_eq!(chunk(3), Some((0x8000_8104, 0x8004, false)));
}
