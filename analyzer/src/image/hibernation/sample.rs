//! Hibernation files as the descriptions of the formats say; nothing that writes them can be had for tests. The tests of the
//! crate's corpus damage them too.

const PAGE_BYTES: u64 = 4096;

/// What page `number` of the machine holds.
pub(crate) fn page(number: u64) -> Vec<u8> {
    (0..PAGE_BYTES).map(|at| (number * 31 + at / 16) as u8).collect()
}

pub(crate) fn pages(numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
    numbers.into_iter().flat_map(page).collect()
}

/// Plain LZ77 without a match: 32 zero flags in front of each 32 bytes.
pub(crate) fn plain(bytes: &[u8]) -> Vec<u8> {
    bytes.chunks(32).flat_map(|part| [&[0; 4], part].concat()).collect()
}

/// LZ77 with Huffman codes where each byte is its own code of 8 bits: words of 16 bits, the first byte above.
pub(crate) fn huffman(bytes: &[u8]) -> Vec<u8> {
    let mut packed = vec![0x88; 128];
    packed.resize(256, 0);
    packed.extend(bytes.chunks(2).flat_map(|pair| [pair[1], pair[0]]));
    packed
}

pub(crate) fn put(file: &mut [u8], at: usize, number: u64, bytes: usize) {
    file[at..at + bytes].copy_from_slice(&number.to_le_bytes()[..bytes]);
}

/// A compression set: ranges (first, pages), the data as the method packs it.
pub(crate) fn set(wide: bool, ranges: &[(u64, u64)], method: u32) -> Vec<u8> {
    let contents = pages(ranges.iter().flat_map(|&(first, count)| first..first + count));
    let (method, packed) = match method {
        0 => (0, plain(&contents)),
        1 => (1, huffman(&contents)),
        2 => (2, huffman(&contents)),
        // As it is.
        _ => (3, contents),
    };
    let mut set = (ranges.len() as u32 | (packed.len() as u32) << 8 | method << 30).to_le_bytes().to_vec();
    for (first, count) in ranges {
        let entry = first << 4 | (count - 1);
        set.extend(&entry.to_le_bytes()[..if wide { 8 } else { 4 }]);
    }
    set.extend(packed);
    set
}

/// A header of this length, both lists on the next pages.
pub(crate) fn modern(wide: bool, length_self: u64, fields: [(usize, u64); 5], boot: &[u8], kernel: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 4096];
    file[..4].copy_from_slice(b"HIBR");
    put(&mut file, 0xc, length_self, 4);
    put(&mut file, if wide { 0x18 } else { 0x14 }, PAGE_BYTES, 4);
    // 2026-03-04 04:32:10 UTC
    put(&mut file, if wide { 0x20 } else { 0x18 }, 134_170_723_300_000_000, 8);
    let kernel_page = 1 + boot.len().div_ceil(4096) as u64;
    for (at, number) in fields {
        let number = if number == u64::MAX { kernel_page } else { number };
        put(&mut file, at, number, 4);
    }
    file.extend(boot);
    file.resize(kernel_page as usize * 4096, 0);
    file.extend(kernel);
    file
}

pub(crate) fn windows_11() -> Vec<u8> {
    let boot = [set(true, &[(0x100, 3), (0x200, 1)], 0), set(true, &[(0x103, 2)], 2)].concat();
    let kernel = [set(true, &[(0x10_0000, 16)], 3), set(true, &[(5, 1), (0x102, 2)], 1)].concat();
    let fields = [(0x58, 6), (0x68, 1), (0x70, u64::MAX), (0x230, 19), (0x400, 0x10_0010)];
    modern(true, 0x448, fields, &boot, &kernel)
}

/// One range that a table has: first page, page behind the last.
pub(crate) type Ends = (u64, u64);

/// A file of Windows XP to 7. `place` writes a table page: its ranges and the page of the next table.
pub(crate) fn legacy(wide: bool, tables: &[&[Ends]], place: fn(&mut [u8], &[Ends], u64)) -> Vec<u8> {
    let mut file = vec![0; 3 * 4096];
    file[..4].copy_from_slice(b"hibr");
    put(&mut file, 0xc, 0xa8, 4);
    put(&mut file, if wide { 0x18 } else { 0x14 }, PAGE_BYTES, 4);
    put(&mut file, if wide { 0x68 } else { 0x58 }, 3, 4);
    for (index, ranges) in tables.iter().enumerate() {
        let mut blocks = Vec::new();
        let numbers: Vec<u64> = ranges.iter().flat_map(|&(start, end)| start..end).collect();
        for (block, numbers) in numbers.chunks(16).enumerate() {
            let contents = pages(numbers.iter().copied());
            // Every second block is as it is.
            let data = if block % 2 == 0 { plain(&contents) } else { contents };
            blocks.extend(b"\x81\x81xpress");
            blocks.extend((((data.len() as u32) - 1) << 10 | (numbers.len() as u32 - 1)).to_le_bytes());
            blocks.extend([0; 20]);
            blocks.extend(data);
            blocks.resize(blocks.len().next_multiple_of(8), 0);
        }
        blocks.resize(blocks.len().next_multiple_of(4096), 0);
        let here = (file.len() / 4096) as u64;
        let next = if index + 1 < tables.len() { here + 1 + (blocks.len() / 4096) as u64 } else { 0 };
        let mut table = vec![0; 4096];
        place(&mut table, ranges, next);
        file.extend(table);
        file.extend(blocks);
    }
    file
}

pub(crate) fn windows_xp(table: &mut [u8], ranges: &[Ends], next: u64) {
    put(table, 4, next, 4);
    put(table, 12, ranges.len() as u64, 4);
    for (index, (start, end)) in ranges.iter().enumerate() {
        put(table, 16 + 16 * index + 4, *start, 4);
        put(table, 16 + 16 * index + 8, *end, 4);
    }
}

pub(crate) fn windows_7(table: &mut [u8], ranges: &[Ends], next: u64) {
    put(table, 0, next, 8);
    put(table, 8, ranges.len() as u64, 4);
    for (index, (start, end)) in ranges.iter().enumerate() {
        put(table, 16 + 16 * index, *start, 8);
        put(table, 24 + 16 * index, *end, 8);
    }
}

pub(crate) const TABLES: &[&[Ends]] = &[&[(1, 20), (0x30, 0x35), (0x100, 0x120)], &[(0x1000, 0x1003)]];
