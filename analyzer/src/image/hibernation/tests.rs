use super::super::testing::{Random, TestMemory};
use super::*;
use crate::error::FaultReason;

/// What page `number` of the machine holds.
fn page(number: u64) -> Vec<u8> {
    (0..PAGE_BYTES).map(|at| (number * 31 + at / 16) as u8).collect()
}

fn pages(numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
    numbers.into_iter().flat_map(page).collect()
}

/// Plain LZ77 without a match: 32 zero flags in front of each 32 bytes.
fn plain(bytes: &[u8]) -> Vec<u8> {
    bytes.chunks(32).flat_map(|part| [&[0; 4], part].concat()).collect()
}

/// LZ77 with Huffman codes where each byte is its own code of 8 bits: words of 16 bits, the first byte above.
fn huffman(bytes: &[u8]) -> Vec<u8> {
    let mut packed = vec![0x88; 128];
    packed.resize(256, 0);
    packed.extend(bytes.chunks(2).flat_map(|pair| [pair[1], pair[0]]));
    packed
}

fn opened(file: &[u8]) -> Result<Layer, String> {
    let base: Arc<dyn PhysicalMemory> = Arc::new(TestMemory::new(vec![(0, file.to_vec())]).mapped());
    match probe(&Probe { base: &base, path: None, map: true }) {
        Vote::Yes(layer) => Ok(layer),
        Vote::No(why) | Vote::Broken(why) => Err(why),
    }
}

fn runs(layer: &Layer) -> Vec<(u64, u64)> {
    layer.memory.runs().iter().map(|run| (run.start.0 / PAGE_BYTES, run.bytes / PAGE_BYTES)).collect()
}

fn read(layer: &Layer, first: u64, count: u64) -> Result<Vec<u8>, FaultReason> {
    let mut buffer = vec![0xee; (count * PAGE_BYTES) as usize];
    layer.memory.read(Pa(first * PAGE_BYTES), &mut buffer).map(|()| buffer).map_err(|fault| fault.reason)
}

fn put(file: &mut [u8], at: usize, number: u64, bytes: usize) {
    file[at..at + bytes].copy_from_slice(&number.to_le_bytes()[..bytes]);
}

/// A compression set: ranges (first, pages), the data as the method packs it.
fn set(wide: bool, ranges: &[(u64, u64)], method: u32) -> Vec<u8> {
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
fn modern(wide: bool, length_self: u64, fields: [(usize, u64); 5], boot: &[u8], kernel: &[u8]) -> Vec<u8> {
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

fn windows_11() -> Vec<u8> {
    let boot = [set(true, &[(0x100, 3), (0x200, 1)], 0), set(true, &[(0x103, 2)], 2)].concat();
    let kernel = [set(true, &[(0x10_0000, 16)], 3), set(true, &[(5, 1), (0x102, 2)], 1)].concat();
    let fields = [(0x58, 6), (0x68, 1), (0x70, u64::MAX), (0x230, 19), (0x400, 0x10_0010)];
    modern(true, 0x448, fields, &boot, &kernel)
}

#[test]
fn both_lists_of_windows_8_and_later_are_read_in_each_method() {
    let layer = opened(&windows_11()).expect("an image");
    assert_eq!(runs(&layer), [(5, 1), (0x100, 5), (0x200, 1), (0x10_0000, 16)]);
    for (first, count) in runs(&layer) {
        assert!(read(&layer, first, count) == Ok(pages(first..first + count)), "{first:#x}");
    }
    assert_eq!(read(&layer, 6, 1), Err(FaultReason::NotInImage(Pa(0x6000))));
    // The kernel's list has two pages of the boot list again.
    assert_eq!(layer.warnings.len(), 1, "{:?}", layer.warnings);
    assert!(layer.hints.facts.contains(&("system time".into(), "2026-03-04 04:32:10".into())), "{:?}", layer.hints);

    let boot = set(false, &[(1, 2)], 2);
    let fields = [(0x48, 2), (0x50, 1), (0x54, 0), (0x1b0, 0), (0x2b0, 0x10)];
    let layer = opened(&modern(false, 0x2c8, fields, &boot, &[])).expect("an image");
    assert_eq!((runs(&layer), read(&layer, 1, 2)), (vec![(1, 2)], Ok(pages(1..3))));
}

#[test]
fn lists_that_windows_cleared_and_sets_that_are_damaged_are_told() {
    let mut file = windows_11();
    let second = 4096 + set(true, &[(0x100, 3), (0x200, 1)], 0).len();
    file[second..second + 4].fill(0);
    let layer = opened(&file).expect("an image");
    assert!(layer.warnings[0].contains("the boot list ends after 4 of 6 pages"), "{:?}", layer.warnings);

    // The table of codes of the second set of the boot list.
    let mut file = windows_11();
    file[second + 12] ^= 0x11;
    let layer = opened(&file).expect("an image");
    let fault = read(&layer, 0x104, 1).expect_err("damaged");
    assert!(matches!(fault, FaultReason::Corrupt { why, .. } if why.contains("do not unpack to 2 pages")));
    assert!(read(&layer, 0x100, 3) == Ok(pages(0x100..0x103)));
}

/// One range that a table has: first page, page behind the last.
type Ends = (u64, u64);

/// A file of Windows XP to 7. `place` writes a table page: its ranges and the page of the next table.
fn legacy(wide: bool, tables: &[&[Ends]], place: fn(&mut [u8], &[Ends], u64)) -> Vec<u8> {
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

fn windows_xp(table: &mut [u8], ranges: &[Ends], next: u64) {
    put(table, 4, next, 4);
    put(table, 12, ranges.len() as u64, 4);
    for (index, (start, end)) in ranges.iter().enumerate() {
        put(table, 16 + 16 * index + 4, *start, 4);
        put(table, 16 + 16 * index + 8, *end, 4);
    }
}

fn windows_7(table: &mut [u8], ranges: &[Ends], next: u64) {
    put(table, 0, next, 8);
    put(table, 8, ranges.len() as u64, 4);
    for (index, (start, end)) in ranges.iter().enumerate() {
        put(table, 16 + 16 * index, *start, 8);
        put(table, 24 + 16 * index, *end, 8);
    }
}

const TABLES: &[&[Ends]] = &[&[(1, 20), (0x30, 0x35), (0x100, 0x120)], &[(0x1000, 0x1003)]];

#[test]
fn the_chain_of_tables_of_windows_xp_to_7_is_read() {
    for (file, name) in [(legacy(false, TABLES, windows_xp), "XP"), (legacy(true, TABLES, windows_7), "7")] {
        let layer = opened(&file).expect(name);
        assert_eq!(runs(&layer), [(1, 19), (0x30, 5), (0x100, 32), (0x1000, 3)], "{name}");
        for (first, count) in runs(&layer) {
            assert!(read(&layer, first, count) == Ok(pages(first..first + count)), "{name} {first:#x}");
        }
        assert_eq!(layer.warnings, [""; 0], "{name}");
    }
}

#[test]
fn a_chain_that_goes_round_and_a_file_that_is_cleared_end() {
    let mut file = legacy(true, TABLES, windows_7);
    let last = file.windows(8).rposition(|eight| eight == 0x1000_u64.to_le_bytes()).expect("the last table") - 16;
    put(&mut file, last, 3, 8);
    let layer = opened(&file).expect("an image");
    assert!(layer.warnings[0].contains("the chain of tables breaks"), "{:?}", layer.warnings);
    file[4096..].fill(0);
    assert!(opened(&file).is_err_and(|why| why.contains("no table of memory ranges was found")));
}

#[test]
fn changed_and_missing_bytes_lead_nowhere() {
    let mut random = Random(0x1b1b_1234_9abc_def1);
    for whole in [windows_11(), legacy(true, &[&[(1, 9)]], windows_7)] {
        for round in 0..300 {
            let mut file = whole.clone();
            if round % 3 == 0 {
                file.truncate(random.below(whole.len() as u64) as usize);
            }
            for _ in 0..=random.below(4) {
                // Where the headers are, mostly.
                let at = random.below(0x5000).min(random.below(file.len() as u64 + 1)) as usize;
                if let Some(byte) = file.get_mut(at) {
                    *byte = random.below(256) as u8;
                }
            }
            let Ok(layer) = opened(&file) else { continue };
            for run in layer.memory.runs().iter().take(8) {
                let _fault = read(&layer, run.start.0 / PAGE_BYTES, (run.bytes / PAGE_BYTES).min(20)).is_err();
            }
        }
    }
}
