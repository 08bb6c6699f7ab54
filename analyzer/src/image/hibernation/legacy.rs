//! Hibernation files of Windows XP to 7: pages with tables of ranges, each followed by Xpress blocks.
//!
//! Source: Rekall and Hibr2Bin, which agree, and libhibr's description. The place of `FirstTablePage` in the 64-bit header
//! is told differently (0x60, 0x68), so that a table counts when its ranges make sense and a block follows. A block is:
//! `81 81 "xpress"`, u32 at 8 (lower ten bits: pages less one; the rest: packed bytes less one), data at 32, padded to
//! 8 bytes. Its pages are those of the ranges in a row.

use super::super::PhysicalMemory;
use super::super::fields::{piece, u32_at, u64_at};
use super::{MAX_SETS, Method, PAGE_BYTES, Pages, SET_PAGES};

pub(super) const BLOCK_MAGIC: &[u8; 8] = b"\x81\x81xpress";
const BLOCK_HEADER_BYTES: u64 = 32;
/// How far a block that is not where it should be is searched.
const RESYNC_BYTES: u64 = 10 << 10;

/// How one Windows lays out a table page.
struct Layout {
    wide: bool,
    /// Offset of the number of the next table's page.
    next: usize,
    count: usize,
    ranges: usize,
    range_bytes: usize,
    /// Offset of the first page's number in a range; the number behind the last page follows it.
    start: usize,
}

const LAYOUTS: &[Layout] = &[
    // 7, 32 and 64 bits.
    Layout { wide: false, next: 0, count: 4, ranges: 8, range_bytes: 8, start: 0 },
    Layout { wide: true, next: 0, count: 8, ranges: 16, range_bytes: 16, start: 0 },
    // Vista SP2.
    Layout { wide: false, next: 4, count: 8, ranges: 12, range_bytes: 8, start: 0 },
    Layout { wide: true, next: 8, count: 16, ranges: 24, range_bytes: 16, start: 0 },
    // XP, 2003 and Vista to SP1.
    Layout { wide: false, next: 4, count: 12, ranges: 16, range_bytes: 16, start: 4 },
    Layout { wide: true, next: 8, count: 20, ranges: 32, range_bytes: 32, start: 8 },
];

/// A table page.
struct Table {
    next: u64,
    /// First page, page behind the last.
    ranges: Vec<(u64, u64)>,
}

/// Reads the chain of tables. The error says that none was found.
pub(super) fn read(
    base: &dyn PhysicalMemory,
    header: &[u8],
    pages: &mut Pages,
    warnings: &mut Vec<String>,
) -> Result<(), String> {
    let wide = u32_at(header, 0x18) == Some(PAGE_BYTES as u32);
    let told = [0x50, 0x58, 0x60, 0x68].iter().filter_map(|&at| u32_at(header, at)).map(u64::from);
    let candidates = told.chain(1..=16).filter(|&page| page > 0);
    let layouts = || LAYOUTS.iter().filter(|layout| layout.wide == wide);
    let first = candidates.flat_map(|page| layouts().map(move |layout| (page, layout)));
    let first = first.filter_map(|(page, layout)| Some((page, layout, table(base, page, layout)?)));
    let (mut page, layout, mut table) =
        first.into_iter().next().ok_or("no table of memory ranges was found: after a resume Windows clears them")?;
    loop {
        if let Err(why) = blocks(base, page, &table, pages) {
            warnings.push(why);
        }
        if table.next == 0 {
            return Ok(());
        }
        // Tables are written one behind the other: going backward is a circle or nonsense.
        let next = if table.next > page { self::table(base, table.next, layout) } else { None };
        let Some(next) = next else {
            let next = table.next;
            warnings.push(format!("the chain of tables breaks behind page {page:#x}: its next one is {next:#x}"));
            return Ok(());
        };
        (page, table) = (table.next, next);
    }
}

/// The table on this page of the file, if its ranges make sense and a block follows.
fn table(base: &dyn PhysicalMemory, page: u64, layout: &Layout) -> Option<Table> {
    let at = page.checked_mul(PAGE_BYTES)?;
    let bytes = piece(base, at, PAGE_BYTES + BLOCK_MAGIC.len() as u64)?;
    let (bytes, behind) = bytes.split_at_checked(PAGE_BYTES as usize)?;
    if behind != BLOCK_MAGIC {
        return None;
    }
    let number = |at: usize| if layout.wide { u64_at(bytes, at) } else { u32_at(bytes, at).map(u64::from) };
    let count = usize::try_from(u32_at(bytes, layout.count)?).ok()?;
    let room = (bytes.len() - layout.ranges) / layout.range_bytes;
    let mut ranges = Vec::new();
    if count == 0 || count > room {
        return None;
    }
    for index in 0..count {
        let at = layout.ranges + index * layout.range_bytes + layout.start;
        let (start, end) = (number(at)?, number(at + if layout.wide { 8 } else { 4 })?);
        if start >= end || end > 1 << 40 {
            return None;
        }
        ranges.push((start, end));
    }
    Some(Table { next: number(layout.next)?, ranges })
}

/// Adds the blocks behind the table on `page`.
fn blocks(base: &dyn PhysicalMemory, page: u64, table: &Table, pages: &mut Pages) -> Result<(), String> {
    let mut at = (page + 1) * PAGE_BYTES;
    let mut ranges = table.ranges.iter().copied();
    let mut range = ranges.next();
    while range.is_some() {
        let Some(start) = find_block(base, at) else {
            return Err(format!(
                "the table at page {page:#x} lacks a block at offset {at:#x}: what is left of it is missing"
            ));
        };
        let head = piece(base, start, BLOCK_HEADER_BYTES).and_then(|head| u32_at(&head, 8)).unwrap_or(0);
        let (packed, block_pages) = ((head >> 10) + 1, u64::from(head & 0x3ff) + 1);
        if block_pages > SET_PAGES {
            return Err(format!(
                "the block at offset {start:#x} declares {block_pages} pages; {SET_PAGES} are the most"
            ));
        }
        // The block's pages, cut out of the ranges.
        let mut here = Vec::new();
        let mut left = block_pages;
        while let Some((first, end)) = range.filter(|_| left > 0) {
            let taken = left.min(end - first);
            here.push((first, taken));
            left -= taken;
            range = if first + taken < end { Some((first + taken, end)) } else { ranges.next() };
        }
        if !pages.add(start + BLOCK_HEADER_BYTES, packed, block_pages, Method::Plain, &here) {
            return Err(format!("more than {MAX_SETS} blocks are not read"));
        }
        at = start + BLOCK_HEADER_BYTES + u64::from(packed).next_multiple_of(8);
    }
    Ok(())
}

/// Where the next block begins: at `at`, or not far behind.
fn find_block(base: &dyn PhysicalMemory, at: u64) -> Option<u64> {
    if piece(base, at, BLOCK_MAGIC.len() as u64)? == BLOCK_MAGIC {
        return Some(at);
    }
    let left = super::super::run_layer::end_of(base).saturating_sub(at);
    let near = piece(base, at, left.min(RESYNC_BYTES))?;
    memchr::memmem::find(&near, BLOCK_MAGIC).map(|found| at + found as u64)
}
