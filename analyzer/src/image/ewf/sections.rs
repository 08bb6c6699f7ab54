//! The sections of one EWF segment file.
//!
//! Source: libewf's description of the format (EWF, version 1) and files of ewfacquire in the layouts of EnCase 1 to 6,
//! linen, FTK and SMART. All numbers are little-endian. File header: magic (8 bytes), 1, number of the segment u16 at 9.
//! Then sections: type (16 bytes), offset of the next u64, length u64 (0 in some writers' `next` and `done`), 40 bytes,
//! Adler-32 of these 72 bytes. A `table` has a count u32, the base offset u64 at 8 (0 before EnCase 6), an Adler-32 at
//! 20, and from 24 on a number per chunk: bit 31 says compressed, the others are the offset less the base; an Adler-32
//! of the numbers ends it, except in SMART files.

use super::super::PhysicalMemory;
use super::super::fields::{piece, u16_at, u32_at, u64_at};
use super::super::run_layer::end_of;

pub(super) const MAGIC: &[u8; 8] = b"EVF\x09\x0d\x0a\xff\0";
const FILE_HEADER_BYTES: u64 = 13;
pub(super) const SECTION_HEADER_BYTES: u64 = 76;
const TABLE_HEADER_BYTES: u64 = 24;
pub(super) const COMPRESSED: u32 = 1 << 31;
/// More sections than a segment has; it bounds the time that a hostile file can take.
const MAX_SECTIONS: usize = 1 << 20;

/// The Adler-32 that EWF writes.
pub(super) fn adler32(bytes: &[u8]) -> u32 {
    let mut adler = simd_adler32::Adler32::new();
    adler.write(bytes);
    adler.finish()
}

/// The number that a segment file has; `None` when it is no segment file.
pub(super) fn segment_number(base: &dyn PhysicalMemory) -> Option<u16> {
    let header = piece(base, 0, FILE_HEADER_BYTES)?;
    header.starts_with(MAGIC).then(|| u16_at(&header, 9))?
}

/// A section.
#[derive(Debug, Clone)]
pub(super) struct Section {
    /// "volume", "sectors", "table" and others.
    pub(super) kind: String,
    /// Offset of its header.
    pub(super) at: u64,
    /// Offset behind its last byte.
    pub(super) end: u64,
}

impl Section {
    /// What follows the header, up to `limit` bytes.
    pub(super) fn payload(&self, base: &dyn PhysicalMemory, limit: u64) -> Option<Vec<u8>> {
        let start = self.at.checked_add(SECTION_HEADER_BYTES)?;
        piece(base, start, self.end.checked_sub(start)?.min(limit))
    }
}

/// The sections in order up to `next` or `done`, and what ended the list before them. A section ends where the next
/// begins.
pub(super) fn sections(base: &dyn PhysicalMemory) -> (Vec<Section>, Result<(), String>) {
    let file_end = end_of(base);
    let mut sections = Vec::new();
    let mut at = FILE_HEADER_BYTES;
    loop {
        let Some(header) = piece(base, at, SECTION_HEADER_BYTES) else {
            return (sections, Err(format!("it ends at offset {file_end:#x}, where the section at {at:#x} is due")));
        };
        if u32_at(&header, 72) != header.get(..72).map(adler32) {
            return (sections, Err(format!("the checksum of the section header at offset {at:#x} is wrong")));
        }
        let kind = header.split(|&byte| byte == 0).next().and_then(|kind| kind.get(..kind.len().min(16)));
        let kind = String::from_utf8_lossy(kind.unwrap_or_default()).into_owned();
        let next = u64_at(&header, 16).unwrap_or(0);
        let last = matches!(kind.as_str(), "next" | "done");
        let end = if last { file_end } else { next.min(file_end) };
        let place = format!("the section `{kind}` at offset {at:#x}");
        sections.push(Section { kind, at, end });
        if last {
            return (sections, Ok(()));
        }
        if next < at.saturating_add(SECTION_HEADER_BYTES) {
            return (sections, Err(format!("{place} says that the next one is at {next:#x}")));
        }
        if sections.len() == MAX_SECTIONS {
            return (sections, Err(format!("it has more than {MAX_SECTIONS} sections")));
        }
        at = next;
    }
}

/// Where the chunks of a table are, in one segment file.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) base: u64,
    pub(super) entries: Vec<u32>,
    /// From this entry on all 32 bits are the offset of an uncompressed chunk: EnCase 6.7 went on behind 2 GiB like that
    /// (libewf tells it).
    pub(super) overflow: usize,
    /// Where the data of the last chunk ends at the latest.
    pub(super) end: u64,
}

/// Where a chunk is in its segment file, not compared with the file yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) offset: u64,
    /// Up to the next chunk; for the last one of a table more may follow.
    pub(super) bytes: u64,
    pub(super) compressed: bool,
}

impl Table {
    /// Reads the table of a section, of which at most `limit` chunks are used; their data ends at `end`.
    pub(super) fn read(base: &dyn PhysicalMemory, section: &Section, end: u64, limit: u64) -> Result<Self, String> {
        let place = |what: &str| format!("the {} at offset {:#x} {what}", section.kind, section.at);
        let header = section.payload(base, TABLE_HEADER_BYTES).filter(|h| h.len() as u64 == TABLE_HEADER_BYTES);
        let header = header.ok_or_else(|| place("is cut short"))?;
        if u32_at(&header, 20) != header.get(..20).map(adler32) {
            return Err(place("has a wrong checksum"));
        }
        let count = u64::from(u32_at(&header, 0).unwrap_or(0));
        let start = section.at + SECTION_HEADER_BYTES + TABLE_HEADER_BYTES;
        let left = section.end.saturating_sub(start);
        let entry_bytes = count * 4;
        if entry_bytes > left {
            return Err(place(&format!("declares {count} chunks; {left} bytes are left for them")));
        }
        let entries = piece(base, start, entry_bytes).ok_or_else(|| place("cannot be read"))?;
        // Files without a checksum have the data of the chunks, or nothing, behind the numbers.
        let checksum = (left - entry_bytes == 4).then(|| piece(base, start + entry_bytes, 4)).flatten();
        if checksum.is_some_and(|checksum| u32_at(&checksum, 0) != Some(adler32(&entries))) {
            return Err(place("has a wrong checksum of its chunks"));
        }
        let entries: Vec<u32> = entries.chunks_exact(4).filter_map(|entry| u32_at(entry, 0)).collect();
        let fold = |entry: u32| entry & !COMPRESSED;
        let backward = |pair: &[u32]| matches!(pair, &[one, two] if fold(two) < fold(one) && two >= fold(one));
        let overflow = entries.windows(2).position(backward).map_or(usize::MAX, |index| index + 1);
        let mut table = Self { base: u64_at(&header, 8).unwrap_or(0), entries, overflow, end };
        table.entries.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(table)
    }

    pub(super) fn chunks(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Where the chunk with this number in the table is. `None` when the numbers make no sense.
    pub(super) fn chunk(&self, index: u64) -> Option<Stored> {
        let index = usize::try_from(index).ok()?;
        let split = |index: usize| {
            let entry = *self.entries.get(index)?;
            let whole = index >= self.overflow;
            let offset = u64::from(if whole { entry } else { entry & !COMPRESSED });
            Some((self.base.checked_add(offset)?, !whole && entry & COMPRESSED != 0))
        };
        let (offset, compressed) = split(index)?;
        let end = if index + 1 == self.entries.len() { self.end } else { split(index + 1)?.0 };
        Some(Stored { offset, bytes: end.checked_sub(offset)?, compressed })
    }
}
