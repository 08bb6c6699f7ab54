//! makedumpfile's flattened format: a file as a list of (offset, data), for writers that cannot seek. What it holds is a
//! kdump image or an ELF core, which the next round of the vote recognises.
//!
//! Source: `makedumpfile(8)` and its `makedumpfile.h`; files of QEMU and of makedumpfile. Numbers are big-endian. Header:
//! "makedumpfile", zeros, type i64 = 1 and version i64 = 1, in 4096 bytes; then records, an i64 offset and an i64 size
//! before the data, until both are -1. The later of two records for one place counts. QEMU writes records of no bytes.

use super::codec_layer::{Codec, CodecLayer, Place};
use super::run_layer::{END_OF_PHYSICAL, Piece, end_of, first_wins};
use super::vote::{Layer, Probe, Vote};
use super::{Hints, PhysicalMemory, Run, array};
use crate::addr::Pa;
use std::sync::Arc;

const MAGIC: &[u8; 16] = b"makedumpfile\0\0\0\0";
const HEADER_BYTES: u64 = 0x1000;
const RECORD_BYTES: u64 = 16;
/// A seekable file has zeros where no record was written: between headers, less than a block each time. More than this,
/// beyond what the records hold, is a header that lies.
const MAX_ZEROS: u64 = 16 << 20;

/// A piece of the file that was flattened.
struct Record {
    /// Its offset in that file.
    start: u64,
    bytes: u64,
    /// Its offset in this one.
    at: u64,
}

struct Flattened {
    /// Sorted, disjoint.
    records: Vec<Record>,
}

/// Answers whether `base` is flattened.
pub(super) fn probe(&Probe { base, .. }: &Probe<'_>) -> Vote {
    if array::<16>(base.as_ref(), 0).as_ref() != Some(MAGIC) {
        return Vote::no("no makedumpfile magic at the start");
    }
    let number = |offset| array::<8>(base.as_ref(), offset).map(u64::from_be_bytes);
    match (number(16), number(24)) {
        (Some(1), Some(1)) => {}
        (Some(kind), Some(version)) => {
            return Vote::Broken(format!("its type is {kind} and its version {version}; only 1 and 1 are known"));
        }
        _ => return Vote::Broken("its header is cut short".into()),
    }
    let mut warnings = Vec::new();
    let mut records = walk(base.as_ref(), &mut warnings);
    if !records.is_sorted_by(|a, b| a.start + a.bytes <= b.start) {
        records = last_wins(&records);
    }
    let end = records.last().map_or(0, |record| record.start + record.bytes);
    let held: u64 = records.iter().map(|record| record.bytes).sum();
    if end - held > held.saturating_add(MAX_ZEROS) {
        return Vote::Broken(format!("its records hold {held} bytes and lie up to offset {end:#x}"));
    }
    let runs = if end == 0 { Vec::new() } else { vec![Run { start: Pa(0), bytes: end, file_offset: None }] };
    let memory = CodecLayer::new(Arc::clone(base), Flattened { records }, runs, Vec::new());
    // Taken for memory, anything else would give wrong addresses without a word.
    if array::<8>(&memory, 0).is_none_or(|start| &start != b"KDUMP   " && !start.starts_with(b"\x7fELF")) {
        return Vote::Broken(format!(
            "what was flattened is no kdump image and no ELF core{}",
            warnings.first().map_or(String::new(), |why| format!(" ({why})"))
        ));
    }
    Vote::Yes(Layer { memory: Arc::new(memory), warnings, hints: Hints::default() })
}

/// The records in the order of the file.
fn walk(base: &dyn PhysicalMemory, warnings: &mut Vec<String>) -> Vec<Record> {
    let end = end_of(base);
    let mut records = Vec::new();
    let mut at = HEADER_BYTES;
    loop {
        let Some(header) = array::<16>(base, at) else {
            warnings.push(format!("the file is truncated: no record says that it ends, at offset {at:#x}"));
            break;
        };
        let (start, bytes) = (u128::from_be_bytes(header) >> 64, u128::from_be_bytes(header) & u128::from(u64::MAX));
        let (start, bytes) = (start as u64, bytes as u64);
        if (start, bytes) == (u64::MAX, u64::MAX) {
            break;
        }
        if start.checked_add(bytes).is_none_or(|end| end > END_OF_PHYSICAL) {
            warnings.push(format!(
                "the record at offset {at:#x} is of {bytes} bytes for the place {start:#x}: the rest of the file is left out"
            ));
            break;
        }
        let data = at + RECORD_BYTES;
        let there = bytes.min(end.saturating_sub(data));
        if there > 0 {
            records.push(Record { start, bytes: there, at: data });
        }
        if there < bytes {
            warnings.push(format!("the file is truncated: it ends in the record at offset {at:#x}"));
            break;
        }
        at = data + bytes;
    }
    records
}

/// The same sorted and disjoint: of two for one place the later counts.
fn last_wins(records: &[Record]) -> Vec<Record> {
    let latest: Vec<&Record> = records.iter().rev().collect();
    let ranges: Vec<(u64, u64)> = latest.iter().map(|record| (record.start, record.bytes)).collect();
    let (pieces, _) = first_wins(&ranges);
    let record = |piece: &Piece| {
        let at = latest.get(piece.range)?.at + piece.inside;
        Some(Record { start: piece.start, bytes: piece.bytes, at })
    };
    pieces.iter().filter_map(record).collect()
}

impl Codec for Flattened {
    fn name(&self) -> &'static str {
        "flattened"
    }

    fn locate(&self, at: Pa) -> Place {
        let after = self.records.partition_point(|record| record.start <= at.0);
        let record = after.checked_sub(1).and_then(|index| self.records.get(index));
        if let Some(record) = record.filter(|record| at.0 - record.start < record.bytes) {
            let inside = at.0 - record.start;
            return Place::Below { offset: record.at + inside, bytes: record.bytes - inside };
        }
        let next = self.records.get(after).map_or(at.0 + 1, |next| next.start);
        Place::Fill { byte: 0, bytes: next - at.0 }
    }

    fn decode(&self, _: &dyn PhysicalMemory, _: u64, _: &mut Vec<u8>) -> Result<(), String> {
        Err("nothing of it is compressed".into())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::image::tests::vote;

    /// A flattened file of these records.
    pub(in crate::image) fn flattened(records: &[(i64, &[u8])]) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.extend([1_i64.to_be_bytes(), 1_i64.to_be_bytes()].concat());
        file.resize(HEADER_BYTES as usize, 0);
        for (offset, data) in records {
            file.extend([offset.to_be_bytes(), (data.len() as u64).to_be_bytes()].concat());
            file.extend(*data);
        }
        file.extend([0xff; 16]);
        file
    }

    fn layer(file: Vec<u8>) -> Vote {
        let base: Arc<dyn PhysicalMemory> = Arc::new(crate::image::testing::TestMemory::new(vec![(0, file)]).mapped());
        probe(&Probe::new(&base, None, true))
    }

    #[test]
    fn the_later_record_counts_and_holes_are_zero() {
        let file = flattened(&[
            (0, b"KDUMP   "),
            (0x20, b"abcdefgh"),
            (0x10, b"before"),
            (0x22, b""),
            (0x22, b"XY"),
            (0x1e, b"12345"),
        ]);
        let Vote::Yes(layer) = layer(file) else { panic!("it is one") };
        let mut all = [0xee; 0x28];
        assert_eq!(layer.memory.read(Pa(0), &mut all), Ok(()));
        assert_eq!(&all, b"KDUMP   \0\0\0\0\0\0\0\0before\0\0\0\0\0\0\0\x0012345Yefgh");
    }

    #[test]
    fn records_that_lie_end_it() {
        let good = flattened(&[(0, b"KDUMP   "), (0x20, b"abcdefgh")]);
        for cut in 0x1018 + 1..good.len() {
            let Vote::Yes(layer) = layer(good[..cut].to_vec()) else { panic!("the first record is there: {cut:#x}") };
            assert_eq!(layer.warnings.len(), 1, "{cut:#x}");
        }
        for (file, why) in [
            (flattened(&[]), "no kdump image"),
            (flattened(&[(0, b"MZ")]), "no kdump image"),
            (flattened(&[(0, b"KDUMP   "), (1 << 40, b"far")]), "lie up to offset"),
            (flattened(&[(-2, b"KDUMP   ")]), "for the place 0xfffffffffffffffe"),
            (good[..0x18].to_vec(), "cut short"),
            ([MAGIC, &[0; 16][..]].concat(), "its type is 0"),
        ] {
            let said = vote(&file).err();
            assert!(said.as_ref().is_some_and(|said| said.contains(why)), "{why}: {said:?}");
        }
    }
}
