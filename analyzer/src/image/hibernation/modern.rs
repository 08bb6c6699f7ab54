//! Hibernation files of Windows 8 to 11: two lists of compression sets.
//!
//! Source: the header's offsets, which follow its length, are LeechCore's table alone; they agree with the structures of
//! these Windows versions as far as those are public. The lists are as LeechCore and Hibr2Bin read them: each set is a
//! u32 (count of ranges: 8 bits, packed bytes: 22, method: 2), a number for each range (pages less one: 4 bits, first
//! page: the rest; u32 in 32-bit files, u64 in others), the data; the next set follows at once. The two disagree on
//! method 1, so that it is tried both ways.

use super::super::PhysicalMemory;
use super::super::fields::{piece, u32_at, u64_at};
use super::{MAX_SETS, Method, PAGE_BYTES, Pages, SET_PAGES};

/// Where a header of one length has its fields.
struct Layout {
    length_self: u32,
    wide: bool,
    boot_page: usize,
    kernel_page: usize,
    kernel_pages: usize,
}

const fn wide(length_self: u32, kernel_pages: usize) -> Layout {
    Layout { length_self, wide: true, boot_page: 0x68, kernel_page: 0x70, kernel_pages }
}

const fn narrow(length_self: u32, kernel_pages: usize) -> Layout {
    Layout { length_self, wide: false, boot_page: 0x50, kernel_page: 0x54, kernel_pages }
}

const LAYOUTS: &[Layout] = &[
    wide(0x4d8, 0x238),
    wide(0x448, 0x230),
    wide(0x3e0, 0x230),
    wide(0x3d8, 0x230),
    wide(0x3c8, 0x220),
    wide(0x3b0, 0x218),
    Layout { length_self: 0x360, wide: true, boot_page: 0x60, kernel_page: 0x68, kernel_pages: 0x1c8 },
    narrow(0x340, 0x210),
    narrow(0x338, 0x210),
    narrow(0x328, 0x200),
    narrow(0x310, 0x1f8),
    narrow(0x2c8, 0x1b0),
];

/// Whether a header of this length is of Windows 8 or later.
pub(super) fn knows(length_self: u32) -> bool {
    LAYOUTS.iter().any(|layout| layout.length_self == length_self)
}

/// Reads both lists of the file with this header.
pub(super) fn read(base: &dyn PhysicalMemory, header: &[u8], pages: &mut Pages, warnings: &mut Vec<String>) {
    let length_self = u32_at(header, 0xc);
    let Some(layout) = LAYOUTS.iter().find(|layout| Some(layout.length_self) == length_self) else { return };
    let number = |at: usize| {
        let number = if layout.wide { u64_at(header, at) } else { u32_at(header, at).map(u64::from) };
        number.unwrap_or(0)
    };
    let boot_total = number(if layout.wide { 0x58 } else { 0x48 });
    let kernel_total = u64::from(u32_at(header, layout.kernel_pages).unwrap_or(0));
    let mut broken = Vec::new();
    for (what, page, total) in
        [("boot", number(layout.boot_page), boot_total), ("kernel", number(layout.kernel_page), kernel_total)]
    {
        if page == 0 {
            continue;
        }
        let Some(start) = page.checked_mul(PAGE_BYTES) else {
            broken.push(format!("the {what} list begins at page {page:#x}, which no file has"));
            continue;
        };
        let (read, why) = list(base, start, total, layout.wide, pages);
        if let Some(why) = why {
            broken.push(format!("the {what} list ends after {read} of {total} pages: {why}"));
        }
    }
    if !broken.is_empty() {
        warnings.push(broken.join("; "));
    }
}

/// Adds the sets from `at` on, until there are `total` pages. Gives how many there were, and why there are no more.
fn list(base: &dyn PhysicalMemory, mut at: u64, total: u64, wide: bool, pages: &mut Pages) -> (u64, Option<String>) {
    let entry_bytes = if wide { 8 } else { 4 };
    let mut read = 0;
    while read < total {
        let Some(head) = piece(base, at, 4).and_then(|head| u32_at(&head, 0)) else {
            return (read, Some("the file ends there".into()));
        };
        let (ranges, packed, method) = (head & 0xff, head >> 8 & 0x3f_ffff, head >> 30);
        if ranges == 0 || packed == 0 {
            return (read, Some(format!("there is no set at offset {at:#x}; after a resume Windows clears them")));
        }
        let entries = piece(base, at.saturating_add(4), u64::from(ranges) * entry_bytes);
        let Some(entries) = entries else { return (read, Some("the file ends there".into())) };
        let entry = |entry: &[u8]| {
            let entry = if wide { u64_at(entry, 0) } else { u32_at(entry, 0).map(u64::from) }?;
            Some((entry >> 4, (entry & 0xf) + 1))
        };
        let ranges: Vec<(u64, u64)> = entries.chunks_exact(entry_bytes as usize).filter_map(entry).collect();
        let set_pages: u64 = ranges.iter().map(|&(_, pages)| pages).sum();
        if set_pages > SET_PAGES {
            return (read, Some(format!("the set at offset {at:#x} has {set_pages} pages; {SET_PAGES} are the most")));
        }
        let data = at + 4 + entries.len() as u64;
        let method = match method {
            0 => Method::Plain,
            1 => Method::PlainOrHuffman,
            _ => Method::Huffman,
        };
        if !pages.add(data, packed, set_pages, method, &ranges) {
            return (read, Some(format!("more than {MAX_SETS} sets are not read")));
        }
        read += set_pages;
        at = data + u64::from(packed);
    }
    (read, None)
}
