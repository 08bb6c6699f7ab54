//! Windows crash dumps of 64 and 32 bits: full, bitmap (kernel, active) and live dumps.
//!
//! Source: the structures `DUMP_HEADER64`, `DUMP_HEADER32` and those behind them, as the debuggers' headers and the readers
//! of Volatility, LeechCore and kdmp-parser have them. Windows fills what it does not set with the text "PAGE".

use super::fields::{piece, u32_at, u64_at};
use super::page_bitmap::PageBitmap;
use super::run_layer::{Declared, RunLayer, end_of, holds};
use super::vote::{Layer, Probe, Vote};
use super::{GapKind, Hints, PhysicalMemory, array};
use crate::addr::{Pa, Va};
use crate::time::Time;
use std::sync::Arc;

const PAGE_BYTES: u64 = 0x1000;
/// What is not set.
const UNSET: u64 = u64::from_le_bytes(*b"PAGEPAGE");
/// Physical addresses have 52 bits, so that a bitmap has no more.
const MAX_PFN: u64 = 1 << 40;

/// Where a header has its fields. A field that is an address has the width of the class.
struct Class {
    bits: u32,
    address_bytes: usize,
    header_bytes: u64,
    directory_table_base: usize,
    ps_loaded_module_list: usize,
    ps_active_process_head: usize,
    machine_image_type: usize,
    number_processors: usize,
    bug_check_code: usize,
    bug_check_parameters: usize,
    kd_debugger_data_block: usize,
    physical_memory_block: usize,
    /// How many runs the 700 bytes of the physical memory block have room for.
    max_runs: u32,
    dump_type: usize,
    system_time: usize,
    system_up_time: usize,
}

const CLASS_64: Class = Class {
    bits: 64,
    address_bytes: 8,
    header_bytes: 0x2000,
    directory_table_base: 0x10,
    ps_loaded_module_list: 0x20,
    ps_active_process_head: 0x28,
    machine_image_type: 0x30,
    number_processors: 0x34,
    bug_check_code: 0x38,
    bug_check_parameters: 0x40,
    kd_debugger_data_block: 0x80,
    physical_memory_block: 0x88,
    max_runs: 42,
    dump_type: 0xf98,
    system_time: 0xfa8,
    system_up_time: 0x1030,
};

const CLASS_32: Class = Class {
    bits: 32,
    address_bytes: 4,
    header_bytes: 0x1000,
    directory_table_base: 0x10,
    ps_loaded_module_list: 0x18,
    ps_active_process_head: 0x1c,
    machine_image_type: 0x20,
    number_processors: 0x24,
    bug_check_code: 0x28,
    bug_check_parameters: 0x2c,
    kd_debugger_data_block: 0x60,
    physical_memory_block: 0x64,
    max_runs: 86,
    dump_type: 0xf88,
    system_time: 0xfc0,
    system_up_time: 0xfb8,
};

/// The first header.
struct Header {
    class: &'static Class,
    fields: Vec<u8>,
}

/// Answers whether `base` is a crash dump.
pub(super) fn probe(&Probe { base, .. }: &Probe<'_>) -> Vote {
    let class = match array::<8>(base.as_ref(), 0).as_ref() {
        Some(b"PAGEDU64") => &CLASS_64,
        Some(b"PAGEDUMP") => &CLASS_32,
        _ => return Vote::no("no PAGEDU64 or PAGEDUMP at the start"),
    };
    let Some(fields) = piece(base.as_ref(), 0, class.header_bytes) else {
        return Vote::Broken("its header is cut short".into());
    };
    let header = Header { class, fields };
    let kind = u32_at(&header.fields, class.dump_type).unwrap_or(0);
    let mut warnings = Vec::new();
    let found = match kind {
        1 => full(&header).map(|runs| ("full", runs)),
        2 => bitmap(&header, base.as_ref()).map(|runs| ("kernel, with a bitmap", runs)),
        5 => bitmap(&header, base.as_ref()).map(|runs| ("full, with a bitmap", runs)),
        6 => bitmap(&header, base.as_ref()).map(|runs| ("active memory, with a bitmap", runs)),
        7 => bitmap(&header, base.as_ref()).map(|runs| ("automatic, with a bitmap", runs)),
        8 => live(&header, base.as_ref(), kind).map(|runs| ("live, kernel memory", runs)),
        9 => live(&header, base.as_ref(), kind).map(|runs| ("live, kernel and user memory", runs)),
        0xa => live(&header, base.as_ref(), kind).map(|runs| ("live, complete memory", runs)),
        4 => {
            Err("it is a triage dump (minidump): it holds what a debugger shows of the crash and no physical memory; \
                  Windows writes the others when \"complete\", \"kernel\" or \"active memory dump\" is chosen"
                .into())
        }
        other => Err(format!("its dump type is {other:#x}; 1, 2 and 5 to 0xa are known")),
    };
    let (name, declared) = match found {
        Ok(found) => found,
        Err(why) => return Vote::Broken(why),
    };
    let mut layer = RunLayer::new("Windows crash dump", Arc::clone(base), &declared, &mut warnings);
    if layer.runs().is_empty() {
        return Vote::Broken(format!("it holds no memory ({})", warnings.join("; ")));
    }
    // What the machine had and the dump leaves out; many writers of bitmap dumps do not set the block.
    let ram: Vec<(u64, u64)> = header.physical_memory_block().unwrap_or_default();
    let ram: Vec<(u64, u64)> =
        ram.into_iter().filter_map(|(pfn, pages)| Some((bytes_of(pfn)?, bytes_of(pages)?))).collect();
    layer.add_missing(ram, GapKind::NotDumped);
    Vote::Yes(Layer { memory: Arc::new(layer), warnings, hints: header.hints(name) })
}

fn bytes_of(pages: u64) -> Option<u64> {
    pages.checked_mul(PAGE_BYTES)
}

fn declared(pfn: u64, pages: u64, file_offset: u64) -> Declared {
    // What does not fit is behind every physical address, and is left out and told as such.
    Declared { start: bytes_of(pfn).unwrap_or(u64::MAX), bytes: bytes_of(pages).unwrap_or(u64::MAX), file_offset }
}

impl Header {
    /// An address, or a number as wide as one; `None` where it is not set.
    fn wide(&self, at: usize) -> Option<u64> {
        match self.class.address_bytes {
            8 => self.u64(at),
            _ => self.u32(at).map(u64::from),
        }
    }

    fn u32(&self, at: usize) -> Option<u32> {
        u32_at(&self.fields, at).filter(|&number| u64::from(number) != UNSET & 0xffff_ffff)
    }

    fn u64(&self, at: usize) -> Option<u64> {
        u64_at(&self.fields, at).filter(|&number| number != UNSET)
    }

    /// `PHYSICAL_MEMORY_DESCRIPTOR`: first PFN and pages of each run of RAM; an error when it is not set or not one.
    fn physical_memory_block(&self) -> Result<Vec<(u64, u64)>, String> {
        let (at, width) = (self.class.physical_memory_block, self.class.address_bytes);
        let count = self.u32(at).ok_or("its physical memory block is not set")?;
        if count > self.class.max_runs {
            return Err(format!(
                "its physical memory block, at offset {at:#x}, declares {count} runs; it has room for {}",
                self.class.max_runs
            ));
        }
        let runs = (0..count as usize).map(|index| at + 2 * width + index * 2 * width);
        Ok(runs.filter_map(|at| Some((self.wide(at)?, self.wide(at + width)?))).collect())
    }

    fn hints(&self, kind: &str) -> Hints {
        let class = self.class;
        let va = |at| self.wide(at).filter(|&va| va != 0).map(Va);
        let mut facts = vec![("dump type".to_owned(), kind.to_owned())];
        let mut fact = |what: &str, value: Option<String>| facts.extend(value.map(|value| (what.to_owned(), value)));
        fact("Windows build", self.u32(0xc).map(|build| build.to_string()));
        fact(
            "machine",
            self.u32(class.machine_image_type).map(|machine| match machine {
                0x14c => "I386".to_owned(),
                0x8664 => "AMD64".to_owned(),
                0xaa64 => "ARM64".to_owned(),
                other => format!("{other:#x}"),
            }),
        );
        fact("processors", self.u32(class.number_processors).map(|count| count.to_string()));
        if let Some(code) = self.u32(class.bug_check_code) {
            let parameter = |index| self.wide(class.bug_check_parameters + index * class.address_bytes).unwrap_or(0);
            let parameters: Vec<String> = (0..4).map(|index| format!("{:#x}", parameter(index))).collect();
            fact("bug check", Some(format!("{code:#x} ({})", parameters.join(", "))));
        }
        fact("system time", self.u64(class.system_time).and_then(Time::from_filetime).map(Time::rfc3339));
        fact("up time", self.u64(class.system_up_time).map(|ticks| format!("{} s", ticks / 10_000_000)));
        Hints {
            dtbs: self.wide(class.directory_table_base).filter(|&dtb| dtb != 0).map(Pa).into_iter().collect(),
            kdbg: va(class.kd_debugger_data_block),
            ps_active_process_head: va(class.ps_active_process_head),
            ps_loaded_module_list: va(class.ps_loaded_module_list),
            facts,
            ..Hints::default()
        }
    }
}

/// The pages of all runs of the physical memory block, one after another.
fn full(header: &Header) -> Result<Vec<Declared>, String> {
    let mut file_offset = header.class.header_bytes;
    let mut runs = Vec::new();
    for (pfn, pages) in header.physical_memory_block()? {
        let run = declared(pfn, pages, file_offset);
        file_offset = file_offset.saturating_add(run.bytes);
        runs.push(run);
    }
    Ok(runs)
}

/// `BITMAP_DUMP`: a bit for each page, and the pages whose bit is set, one after another.
fn bitmap(header: &Header, base: &dyn PhysicalMemory) -> Result<Vec<Declared>, String> {
    let at = header.class.header_bytes;
    let fields = array::<0x38>(base, at);
    let numbers = |fields: &[u8]| Some((u64_at(fields, 0x20)?, u64_at(fields, 0x28)?, u64_at(fields, 0x30)?));
    let fields = fields.as_ref().and_then(|fields| Some((*fields.first_chunk::<8>()?, numbers(fields)?)));
    let (magic, (first_page, pages, bits)) = fields.ok_or("the header of its bitmap is cut short")?;
    if !matches!(&magic, b"SDMPDUMP" | b"FDMPDUMP") {
        return Err(format!(
            "there is no bitmap (SDMP or FDMP) at offset {at:#x}; a kernel dump of an older Windows is not supported"
        ));
    }
    let data = at + 0x38;
    let bytes = bits.div_ceil(8);
    if bits > MAX_PFN || !holds(base, data, bytes) {
        return Err(format!("its bitmap of {bits} bits, at offset {data:#x}, is not all in the file"));
    }
    if first_page < data + bytes {
        return Err(format!("its first page is at offset {first_page:#x}, inside the bitmap"));
    }
    let bitmap = PageBitmap::read(base, data, bits)?;
    let set = bitmap.rank(bits);
    if set != pages {
        return Err(format!("its bitmap has {set} pages, and its header says {pages}"));
    }
    let there = end_of(base).saturating_sub(first_page).div_ceil(PAGE_BYTES);
    let mut runs = Vec::new();
    let mut rank = 0;
    for run in bitmap.runs(0..bits, there) {
        runs.push(declared(run.start, run.end - run.start, first_page + rank * PAGE_BYTES));
        rank += run.end - run.start;
    }
    // A truncated file: which pages are missing is not listed one by one, since a hostile bitmap could make that many
    // more than the file has bytes.
    if set > there {
        let start = runs.last().map_or(0, |last| last.start + last.bytes);
        runs.push(Declared { start, bytes: bits * PAGE_BYTES - start, file_offset: u64::MAX - MAX_PFN * PAGE_BYTES });
    }
    Ok(runs)
}

/// `RDMP`: a list of ranges of pages, and the pages, one after another.
fn live(header: &Header, base: &dyn PhysicalMemory, kind: u32) -> Result<Vec<Declared>, String> {
    let at = header.class.header_bytes;
    if header.class.bits == 32 {
        return Err("it is a live dump of a 32-bit Windows, whose layout is not known".into());
    }
    let fields = array::<0x30>(base, at);
    let numbers = |fields: &[u8]| Some((u64_at(fields, 0x10)?, u64_at(fields, 0x18)?, u64_at(fields, 0x28)?));
    let fields = fields.as_ref().and_then(|fields| Some((fields.get(4..12)?, numbers(fields)?)));
    let (magic, (metadata, first_page, all_pages)) = fields.ok_or("the header of its list of ranges is cut short")?;
    if magic != b"RDMPDUMP" {
        return Err(format!("there is no list of ranges (RDMP) at offset {at:#x}"));
    }
    if metadata.checked_add(at + 0x20) != Some(first_page) || metadata < 0x10 || !holds(base, at, 0x20 + metadata) {
        return Err(format!(
            "its list of ranges has {metadata} bytes and its first page is at offset {first_page:#x}: they do not fit \
             each other, or the file"
        ));
    }
    // A complete dump says how many pages there are; the others end at a range of nothing, or with the list.
    let mut pages_left = if kind == 0xa { all_pages } else { u64::MAX };
    let (mut entry, mut file_offset) = (at + 0x30, first_page);
    let mut runs = Vec::new();
    while entry + 0x10 <= first_page && pages_left > 0 {
        let range = array::<0x10>(base, entry);
        let range = range.as_ref().and_then(|range| Some((u64_at(range, 0)?, u64_at(range, 8)?)));
        let (pfn, pages) = range.ok_or("its list of ranges cannot be read")?;
        if kind != 0xa && pfn == 0 || pages == 0 {
            break;
        }
        let run = declared(pfn, pages.min(pages_left), file_offset);
        file_offset = file_offset.saturating_add(run.bytes);
        pages_left = pages_left.saturating_sub(pages);
        runs.push(run);
        entry += 0x10;
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FaultReason;
    use crate::image::testing::Random;
    use crate::image::tests::vote;

    /// A first header, all else filled as Windows does it.
    fn header(class: &Class, kind: u32, ram: &[(u64, u64)]) -> Vec<u8> {
        let mut file = b"PAGE".repeat(class.header_bytes as usize / 4);
        let put = |file: &mut Vec<u8>, at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(&mut file, 4, if class.bits == 64 { b"DU64" } else { b"DUMP" });
        put(&mut file, class.dump_type, &kind.to_le_bytes());
        let (mut at, width) = (class.physical_memory_block, class.address_bytes);
        if !ram.is_empty() {
            put(&mut file, at, &(ram.len() as u32).to_le_bytes());
            for &(pfn, pages) in ram {
                at += 2 * width;
                put(&mut file, at, &pfn.to_le_bytes()[..width]);
                put(&mut file, at + width, &pages.to_le_bytes()[..width]);
            }
        }
        file
    }

    /// A page that tells its PFN.
    fn page(pfn: u64) -> Vec<u8> {
        pfn.to_le_bytes().repeat(0x200)
    }

    /// A bitmap dump of `bits` pages of which `set` are there.
    fn bitmap_dump(class: &Class, ram: &[(u64, u64)], bits: u64, set: &[u64]) -> Vec<u8> {
        let mut file = header(class, 5, ram);
        let mut bitmap = vec![0_u8; bits.div_ceil(8) as usize];
        for &pfn in set {
            bitmap[pfn as usize / 8] |= 1 << (pfn % 8);
        }
        // Bits behind the last page.
        if !bits.is_multiple_of(8) {
            *bitmap.last_mut().expect("never empty") |= 0xff << (bits % 8);
        }
        let first = file.len() + 0x38 + bitmap.len();
        file.extend(b"SDMPDUMP");
        file.extend([0; 0x18]);
        for number in [first as u64, set.len() as u64, bits] {
            file.extend(number.to_le_bytes());
        }
        file.extend(bitmap);
        file.extend(set.iter().flat_map(|&pfn| page(pfn)));
        file
    }

    fn live_dump(kind: u32, pages: u64, ranges: &[(u64, u64)]) -> Vec<u8> {
        let mut file = header(&CLASS_64, kind, &[]);
        let metadata = 0x10 + ranges.len() as u64 * 0x10;
        file.extend(b"\x40\0\0\0RDMPDUMP\0\0\0\0");
        for number in [metadata, 0x2020 + metadata, ranges.len() as u64, pages] {
            file.extend(number.to_le_bytes());
        }
        for (pfn, pages) in ranges {
            file.extend(pfn.to_le_bytes());
            file.extend(pages.to_le_bytes());
        }
        file
    }

    fn check(file: &[u8], pages: &[u64]) {
        let image = vote(file).expect("an image");
        assert_eq!(image.memory.describe(), "Windows crash dump");
        let seen = image.memory.runs().iter().flat_map(|run| (run.start.0..run.start.0 + run.bytes).step_by(0x1000));
        assert_eq!(seen.map(|at| at / 0x1000).collect::<Vec<_>>(), pages);
        for &pfn in pages {
            assert_eq!(array::<8>(&*image.memory, pfn * 0x1000).map(u64::from_le_bytes), Some(pfn));
        }
    }

    #[test]
    fn every_bitmap_gives_its_pages() {
        let mut random = Random(11);
        for round in 0..40 {
            let bits = 1 + random.below(200);
            let density = 1 + random.below(4);
            let set: Vec<u64> = (0..bits).filter(|_| random.below(4) < density).collect();
            if !set.is_empty() {
                check(&bitmap_dump(if round % 2 == 0 { &CLASS_64 } else { &CLASS_32 }, &[], bits, &set), &set);
            }
        }
    }

    #[test]
    fn memory_that_a_bitmap_leaves_out_was_not_dumped() {
        let image = vote(&bitmap_dump(&CLASS_64, &[(1, 4), (8, 2)], 16, &[2, 3, 9])).expect("an image");
        let gaps: Vec<_> =
            image.memory.gaps().iter().map(|gap| (gap.start.0 >> 12, gap.bytes >> 12, gap.why)).collect();
        let missing = GapKind::NotDumped;
        assert_eq!(gaps, [(1, 1, missing), (4, 1, missing), (8, 1, missing)]);
        let fault = image.memory.read(Pa(0x4000), &mut [0]).expect_err("left out");
        assert_eq!(fault.reason, FaultReason::NotDumped(Pa(0x4000)));
        assert_eq!(image.hints.dtbs, [], "not set");
    }

    #[test]
    fn a_truncated_bitmap_dump_gives_the_pages_that_are_there() {
        let set = [1, 2, 5, 9, 10, 11, 30];
        let file = bitmap_dump(&CLASS_64, &[], 40, &set);
        for there in 1..set.len() {
            let image = vote(&file[..file.len() - (set.len() - there) * 0x1000]).expect("an image");
            assert!(image.warnings.iter().any(|warning| warning.contains("truncated")), "{:?}", image.warnings);
            for (index, &pfn) in set.iter().enumerate() {
                let read = image.memory.read(Pa(pfn << 12), &mut [0]);
                let expected = if index < there { Ok(()) } else { Err(FaultReason::Truncated(Pa(pfn << 12))) };
                assert_eq!(read.map_err(|fault| fault.reason), expected, "{there} of {pfn}");
            }
        }
    }

    #[test]
    fn live_dumps_end_where_their_kind_says() {
        let data = |pages: &[u64]| pages.iter().flat_map(|&pfn| page(pfn)).collect::<Vec<u8>>();
        let partial = [live_dump(8, 0, &[(5, 2), (9, 1), (0, 3), (20, 1)]), data(&[5, 6, 9])].concat();
        check(&partial, &[5, 6, 9]);
        // Complete dumps know how many pages they have, and have the page 0.
        let complete = [live_dump(0xa, 4, &[(0, 2), (9, 2), (20, 1)]), data(&[0, 1, 9, 10])].concat();
        check(&complete, &[0, 1, 9, 10]);
    }

    #[test]
    fn headers_that_lie_are_refused_with_the_reason() {
        let many: Vec<(u64, u64)> = (0..43).map(|pfn| (pfn, 1)).collect();
        let mut few = bitmap_dump(&CLASS_64, &[], 8, &[1, 2]);
        few[0x2028] = 3;
        let mut inside = bitmap_dump(&CLASS_64, &[], 8, &[1, 2]);
        inside[0x2020] = 0x38;
        let mut huge = bitmap_dump(&CLASS_64, &[], 8, &[1, 2]);
        huge[0x2030..0x2038].copy_from_slice(&u64::MAX.to_le_bytes());
        let mut metadata = live_dump(9, 0, &[(5, 2)]);
        metadata[0x2010..0x2020].copy_from_slice(&[u64::MAX.to_le_bytes(), 0x201f_u64.to_le_bytes()].concat());
        for (file, why) in [
            (header(&CLASS_64, 1, &many), "declares 43 runs; it has room for 42"),
            (header(&CLASS_64, 1, &[]), "physical memory block is not set"),
            (header(&CLASS_64, 1, &[(1, u64::MAX)]), "2^52"),
            (header(&CLASS_64, 1, &[(u64::MAX, 1)]), "2^52"),
            (header(&CLASS_64, 4, &[(1, 1)]), "triage dump"),
            (header(&CLASS_32, 0x4547_4150, &[(1, 1)]), "dump type is 0x45474150"),
            (header(&CLASS_64, 2, &[(1, 1)]), "cut short"),
            ([header(&CLASS_64, 2, &[(1, 1)]), vec![0; 0x1000]].concat(), "no bitmap"),
            ([header(&CLASS_32, 8, &[]), vec![0; 0x1000]].concat(), "32-bit"),
            (few, "has 2 pages, and its header says 3"),
            (inside, "inside the bitmap"),
            (huge, "not all in the file"),
            (metadata, "do not fit"),
            (live_dump(9, 0, &[]), "holds no memory"),
            (header(&CLASS_64, 1, &[(1, 1)])[..0x1fff].to_vec(), "cut short"),
        ] {
            let said = vote(&file).err();
            assert!(said.as_ref().is_some_and(|said| said.contains(why)), "{why}: {said:?}");
        }
    }
}
