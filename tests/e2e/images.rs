//! Images in other formats than the corpus has them in, written from a raw one.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Physical memory below 640 KiB and from 1 MiB on, which is where a PC has RAM.
fn ranges(bytes: u64) -> [(u64, u64); 2] {
    [(0, 0x9_fc00), (0x10_0000, bytes)]
}

fn copy_range(raw: &mut File, (start, end): (u64, u64), out: &mut impl Write) {
    raw.seek(SeekFrom::Start(start)).expect("within the file");
    std::io::copy(&mut BufReader::new(raw.take(end - start)), out).expect("copied");
}

/// LiME of the RAM that a PC has: a header of 32 bytes before each range, ends inclusive.
pub(crate) fn write_lime(raw: &Path, path: &Path) {
    let mut raw = File::open(raw).expect("the raw image");
    let mut out = BufWriter::new(File::create(path).expect("created"));
    for (start, end) in ranges(raw.metadata().expect("its size").len()) {
        out.write_all(&0x4c69_4d45_u32.to_le_bytes()).expect("written");
        out.write_all(&1_u32.to_le_bytes()).expect("written");
        for word in [start, end - 1, 0] {
            out.write_all(&word.to_le_bytes()).expect("written");
        }
        copy_range(&mut raw, (start, end), &mut out);
    }
    out.flush().expect("written");
}

/// The same RAM without a word about where it belongs, as LiME's format "raw" has it.
pub(crate) fn write_compact(raw: &Path, path: &Path) {
    let mut raw = File::open(raw).expect("the raw image");
    let mut out = BufWriter::new(File::create(path).expect("created"));
    for range in ranges(raw.metadata().expect("its size").len()) {
        copy_range(&mut raw, range, &mut out);
    }
    out.flush().expect("written");
}

/// An ELF64 core of all of it in two PT_LOADs, their data in the other order, so that offsets matter.
pub(crate) fn write_elf_core(raw: &Path, path: &Path) {
    let mut raw = File::open(raw).expect("the raw image");
    let bytes = raw.metadata().expect("its size").len();
    let ranges: [(u64, u64); 2] = [(0, 0x10_0000), (0x10_0000, bytes)];
    let mut out = BufWriter::new(File::create(path).expect("created"));
    let mut header = vec![0_u8; 64 + 56 * ranges.len()];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &4_u16.to_le_bytes());
    put(18, &62_u16.to_le_bytes());
    put(20, &1_u32.to_le_bytes());
    put(32, &64_u64.to_le_bytes());
    put(52, &64_u16.to_le_bytes());
    put(54, &56_u16.to_le_bytes());
    put(56, &2_u16.to_le_bytes());
    let mut offset = 64 + 56 * ranges.len() as u64;
    for (i, (start, end)) in ranges.iter().enumerate().rev() {
        let at = 64 + 56 * i;
        put(at, &1_u32.to_le_bytes());
        put(at + 8, &offset.to_le_bytes());
        put(at + 24, &start.to_le_bytes());
        put(at + 32, &(end - start).to_le_bytes());
        put(at + 40, &(end - start).to_le_bytes());
        offset += end - start;
    }
    out.write_all(&header).expect("written");
    for range in ranges.into_iter().rev() {
        copy_range(&mut raw, range, &mut out);
    }
    out.flush().expect("written");
}
