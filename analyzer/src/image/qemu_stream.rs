//! QEMU's migration stream: `savevm`, `migrate exec:`, Proxmox snapshots, and what libvirt saves.
//!
//! Source: QEMU's `migration/savevm.c`, `migration/ram.c`, `hw/i386/pc_piix.c`, `pc_q35.c`, `pc.c`; a stream of QEMU 7.2.
//! Numbers are big-endian. The memory comes as pages of named blocks; a page that the guest wrote to meanwhile comes
//! again, and the last one counts. Where a block is in the machine the stream does not say: the machine's name does, and
//! the CMOS of a PC, which tells the BIOS how much memory is above 4 GiB.

use super::codec_layer::{Codec, CodecLayer, Place};
use super::run_layer::{END_OF_PHYSICAL, Layout, end_of};
use super::vote::{Layer, Probe, Vote};
use super::{GapKind, Hints, PhysicalMemory, array};
use crate::addr::Pa;
use std::io::Read;
use std::sync::Arc;

const MAGIC: &[u8; 4] = b"QEVM";
const GIB: u64 = 1 << 30;
/// A record of a page has at least its address, its flags and a byte.
const MIN_RECORD_BYTES: u64 = 9;
/// More blocks than any machine has.
const MAX_BLOCKS: usize = 1 << 12;
/// The device sections behind the memory are searched this far.
const MAX_DEVICE_BYTES: u64 = 64 << 20;

/// Types of sections.
mod section {
    pub(super) const EOF: u8 = 0;
    pub(super) const START: u8 = 1;
    pub(super) const PART: u8 = 2;
    pub(super) const END: u8 = 3;
    pub(super) const FULL: u8 = 4;
    pub(super) const SUBSECTION: u8 = 5;
    pub(super) const CONFIGURATION: u8 = 7;
    pub(super) const COMMAND: u8 = 8;
    pub(super) const FOOTER: u8 = 0x7e;
}

/// `RAM_SAVE_FLAG_*`, the low bits of a record's first number.
mod flag {
    pub(super) const ZERO: u64 = 0x02;
    pub(super) const MEM_SIZE: u64 = 0x04;
    pub(super) const PAGE: u64 = 0x08;
    pub(super) const EOS: u64 = 0x10;
    pub(super) const CONTINUE: u64 = 0x20;
    pub(super) const COMPRESS_PAGE: u64 = 0x100;
    pub(super) const MULTIFD_FLUSH: u64 = 0x200;
}

/// Where the bytes of a page are, in one number, since there is one for each page of the machine.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Source(u64);

impl Source {
    const MISSING: Self = Self(0);
    const KIND: u64 = 3 << 62;
    const FILL: u64 = 1 << 62;
    const ZLIB: u64 = 2 << 62;

    fn below(offset: u64) -> Self {
        Self(offset)
    }
    fn fill(byte: u8) -> Self {
        Self(Self::FILL | u64::from(byte))
    }
    /// A compressed page, its u32 length at `offset`.
    fn zlib(offset: u64) -> Self {
        Self(Self::ZLIB | offset)
    }
}

/// A block of memory of the machine.
struct Block {
    name: String,
    bytes: u64,
    /// One for each page, as far as the stream can have them.
    pages: Vec<Source>,
}

/// A part of the main block, and where it is in the machine.
#[derive(Clone, Copy)]
struct Part {
    start: u64,
    inside: u64,
    bytes: u64,
}

struct Stream {
    pages: Vec<Source>,
    page_bytes: u64,
    /// Sorted, disjoint.
    parts: Vec<Part>,
}

/// Answers whether `base` is a migration stream.
pub(super) fn probe(&Probe { base, .. }: &Probe<'_>) -> Vote {
    if array::<4>(base.as_ref(), 0).as_ref() != Some(MAGIC) {
        return Vote::no("no QEVM at the start");
    }
    match open(base) {
        Ok(layer) => Vote::Yes(layer),
        Err(why) => Vote::Broken(why),
    }
}

fn open(base: &Arc<dyn PhysicalMemory>) -> Result<Layer, String> {
    let mut reader = Reader::new(base.as_ref());
    let ended = reader.sections();
    let Reader { at, machine, page_bytes, mut blocks, left_out, .. } = reader;
    let mut warnings = Vec::new();
    let why = match ended {
        Ok(()) => GapKind::NotDumped,
        // What was read so far is good, if it was anything.
        Err(why) if blocks.iter().any(|block| block.pages.iter().any(|&page| page != Source::MISSING)) => {
            warnings.push(format!("{why}: the rest of the stream is left out"));
            GapKind::Truncated
        }
        Err(why) => return Err(why),
    };
    if left_out > 0 {
        warnings.push(format!("{left_out} page(s) lie further on in their block than the stream can reach: left out"));
    }
    let main: Vec<usize> = (0..blocks.len()).filter(|&index| blocks.get(index).is_some_and(Block::is_main)).collect();
    let main = match main[..] {
        [one] => blocks.swap_remove(one),
        [] => {
            let names: Vec<&str> = blocks.iter().map(|block| block.name.as_str()).collect();
            return Err(format!("none of its blocks of memory is known: {}", names.join(", ")));
        }
        _ => return Err("its memory is in several blocks (NUMA nodes), whose addresses are not known".into()),
    };
    let above = pc_memory_above(base.as_ref(), at);
    let parts = place(&machine, &main, above, &mut warnings);
    let mut layout = Layout::default();
    for part in &parts {
        if part.start.checked_add(part.bytes).is_none_or(|end| end > END_OF_PHYSICAL) {
            return Err(format!("its block {} has {} bytes", main.name, main.bytes));
        }
        let first = part.inside / page_bytes;
        let pages = main.pages.get(first as usize..).unwrap_or_default();
        let pages = pages.get(..(part.bytes / page_bytes) as usize).unwrap_or(pages);
        for (&page, start) in pages.iter().zip((part.start..).step_by(page_bytes as usize)) {
            if page == Source::MISSING {
                layout.gap(start, page_bytes, why);
            } else {
                layout.run(start, page_bytes, None);
            }
        }
        let known = pages.len() as u64 * page_bytes;
        layout.gap(part.start + known, part.bytes - known, why);
    }
    warnings.extend(layout.truncated());
    if layout.runs.is_empty() {
        return Err(format!("it holds no memory of the block {}", main.name));
    }
    let mut facts = vec![("QEMU machine".to_owned(), machine)];
    facts.extend(blocks.iter().map(|block| (format!("RAM block {}", block.name), format!("{} bytes", block.bytes))));
    let codec = Stream { pages: main.pages, page_bytes, parts };
    let memory = Arc::new(CodecLayer::new(Arc::clone(base), codec, layout.runs, layout.gaps));
    Ok(Layer { memory, warnings, hints: Hints { facts, ..Hints::default() } })
}

impl Block {
    /// Whether it is the machine's memory, by the names that QEMU's machines and libvirt give it; the others are video
    /// memory, ROMs and tables.
    fn is_main(&self) -> bool {
        let known = ["pc.ram", "ram", "mach-virt.ram", "microvm.ram", "riscv_virt_board.ram"];
        known.contains(&self.name.as_str()) || self.name.starts_with("/objects/") || self.name.starts_with("ram-node")
    }
}

/// Where the main block is in the machine.
fn place(machine: &str, main: &Block, above: Option<u64>, warnings: &mut Vec<String>) -> Vec<Part> {
    let whole = |start| vec![Part { start, inside: 0, bytes: main.bytes }];
    let split = |low: u64| {
        let low = low.min(main.bytes);
        let high = Part { start: 4 * GIB, inside: low, bytes: main.bytes - low };
        vec![Part { start: 0, inside: 0, bytes: low }, high]
    };
    match main.name.as_str() {
        "mach-virt.ram" => return whole(GIB),
        "riscv_virt_board.ram" => return whole(2 * GIB),
        _ => {}
    }
    if let Some(above) = above.filter(|&above| above <= main.bytes && main.bytes - above <= 4 * GIB) {
        return split(main.bytes - above);
    }
    // Room for devices below 4 GiB: what the machine leaves unless `max-ram-below-4g` says otherwise.
    let (room, rest) = if machine.contains("q35") {
        (0xb000_0000, 2 * GIB)
    } else if machine == "pc" || machine.starts_with("pc-") {
        (0xe000_0000, 3 * GIB)
    } else if machine == "microvm" {
        (3 * GIB, 3 * GIB)
    } else if machine == "virt" || machine.starts_with("virt-") {
        return whole(GIB);
    } else {
        if !matches!(machine, "none" | "isapc") {
            warnings.push(format!("the machine \"{machine}\" is not known: its memory is taken to begin at 0"));
        }
        return whole(0);
    };
    split(if main.bytes < room { main.bytes } else { rest })
}

/// How many bytes of memory a PC has above 4 GiB, as its CMOS tells the BIOS: registers 0x5b to 0x5d, in 64 KiB. The
/// section of the clock is searched, since sections cannot be skipped without QEMU's own knowledge of them.
fn pc_memory_above(base: &dyn PhysicalMemory, from: u64) -> Option<u64> {
    /// The section's name with its length, its instance and its version; its first field is the CMOS.
    const CLOCK: &[u8] = b"\x0bmc146818rtc\0\0\0\0\0\0\0\x03";
    const BLOCK: u64 = 1 << 20;
    let end = end_of(base).min(from.saturating_add(MAX_DEVICE_BYTES));
    let mut at = from;
    while at < end {
        // A block, and what a name that begins at its end goes on with.
        let mut bytes = vec![0; (BLOCK + CLOCK.len() as u64).min(end - at) as usize];
        base.read(Pa(at), &mut bytes).ok()?;
        if let Some(found) = memchr::memmem::find(&bytes, CLOCK) {
            let cmos = at + (found + CLOCK.len()) as u64;
            let [low, middle, high] = array(base, cmos + 0x5b)?;
            return Some(u64::from(u32::from_le_bytes([low, middle, high, 0])) << 16);
        }
        at += BLOCK;
    }
    None
}

/// Goes through the stream.
struct Reader<'m> {
    base: &'m dyn PhysicalMemory,
    end: u64,
    at: u64,
    machine: String,
    page_bytes: u64,
    blocks: Vec<Block>,
    /// How many pages all blocks together may have: the stream has not more records.
    pages_left: u64,
    /// The block of the record before.
    current: Option<usize>,
    left_out: u64,
}

impl<'m> Reader<'m> {
    fn new(base: &'m dyn PhysicalMemory) -> Self {
        let end = end_of(base);
        Self {
            base,
            end,
            at: 0,
            machine: String::new(),
            page_bytes: 0x1000,
            blocks: Vec::new(),
            pages_left: end / MIN_RECORD_BYTES,
            current: None,
            left_out: 0,
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let bytes = array(self.base, self.at).ok_or_else(|| format!("the stream ends at offset {:#x}", self.at))?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u8, String> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn skip(&mut self, bytes: u64) -> Result<(), String> {
        let next = self.at.checked_add(bytes).filter(|&next| next <= self.end);
        self.at = next.ok_or_else(|| format!("the stream ends in the {bytes} bytes at offset {:#x}", self.at))?;
        Ok(())
    }

    fn text(&mut self, bytes: usize) -> Result<String, String> {
        if bytes > 256 {
            return Err(format!("the name at offset {:#x} has {bytes} bytes", self.at));
        }
        let mut text = vec![0; bytes];
        self.base.read(Pa(self.at), &mut text).map_err(|_| format!("the stream ends at offset {:#x}", self.at))?;
        self.at += bytes as u64;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// A name with its length in a byte before it.
    fn name(&mut self) -> Result<String, String> {
        let bytes = self.u8()?;
        self.text(usize::from(bytes))
    }

    /// Reads all sections up to the first that is not of memory: devices come behind it. An error says why the memory may
    /// be incomplete.
    fn sections(&mut self) -> Result<(), String> {
        self.skip(4)?;
        let version = self.u32()?;
        if !matches!(version, 2 | 3) {
            return Err(format!("its version is {version}; 2 and 3 are known"));
        }
        let (mut ram, mut complete) = (None, false);
        let is_ram = |ram: Option<u32>, id: u32, at: u64| {
            if ram == Some(id) {
                Ok(())
            } else {
                Err(format!("before offset {at:#x} goes on a section that is not of memory"))
            }
        };
        loop {
            let start = self.at;
            match self.u8()? {
                section::CONFIGURATION => {
                    let bytes = self.u32()?;
                    self.machine = self.text(bytes as usize)?;
                }
                section::SUBSECTION => self.subsection()?,
                section::COMMAND => {
                    let [_, _, high, low] = self.array()?;
                    self.skip(u64::from(u16::from_be_bytes([high, low])))?;
                }
                section::START if ram.is_none() => {
                    let id = self.u32()?;
                    let name = self.name()?;
                    self.skip(8)?;
                    if name != "ram" {
                        return Err(format!("the section at offset {start:#x} is \"{name}\", which cannot be skipped"));
                    }
                    ram = Some(id);
                    self.records()?;
                }
                section::PART => {
                    let id = self.u32()?;
                    is_ram(ram, id, self.at)?;
                    self.records()?;
                }
                section::END => {
                    let id = self.u32()?;
                    is_ram(ram, id, self.at)?;
                    self.records()?;
                    complete = true;
                }
                section::FOOTER => self.skip(4)?,
                section::FULL | section::EOF if complete => {
                    self.at = start;
                    return Ok(());
                }
                kind => {
                    return Err(format!(
                        "the section at offset {start:#x} is of type {kind:#x}, before the memory's end"
                    ));
                }
            }
        }
    }

    /// What the configuration has besides the machine's name.
    fn subsection(&mut self) -> Result<(), String> {
        let name = self.name()?;
        self.skip(4)?;
        match name.as_str() {
            "configuration/target-page-bits" => {
                let bits = self.u32()?;
                if !(12..=16).contains(&bits) {
                    return Err(format!("it says that a page has 2^{bits} bytes"));
                }
                self.page_bytes = 1 << bits;
            }
            "configuration/capabilities" => {
                for _ in 0..self.u32()? {
                    let capability = self.name()?;
                    if matches!(capability.as_str(), "mapped-ram" | "x-ignore-shared" | "multifd" | "xbzrle") {
                        return Err(format!(
                            "it was written with the capability \"{capability}\", which is not supported"
                        ));
                    }
                }
            }
            "configuration/uuid" => self.skip(16)?,
            other => return Err(format!("its subsection \"{other}\" is not known")),
        }
        Ok(())
    }

    /// The records of memory, up to the end of the section.
    fn records(&mut self) -> Result<(), String> {
        loop {
            let at = self.at;
            let number = self.u64()?;
            // Pages have 4 KiB at least, so that the low twelve bits are flags.
            let (offset, flags) = (number & !0xfff, number & 0xfff);
            match flags & !flag::CONTINUE {
                flag::EOS => return Ok(()),
                flag::MULTIFD_FLUSH => {}
                flag::MEM_SIZE => self.block_list(offset)?,
                flag::ZERO => {
                    let block = self.block(flags)?;
                    let byte = self.u8()?;
                    self.put(block, offset, Source::fill(byte));
                }
                flag::PAGE => {
                    let block = self.block(flags)?;
                    let source = Source::below(self.at);
                    self.skip(self.page_bytes)?;
                    self.put(block, offset, source);
                }
                flag::COMPRESS_PAGE => {
                    let block = self.block(flags)?;
                    let source = Source::zlib(self.at);
                    let bytes = self.u32()?;
                    self.skip(u64::from(bytes))?;
                    self.put(block, offset, source);
                }
                other => {
                    return Err(format!(
                        "the record at offset {at:#x} has the flags {other:#x}, which are not supported"
                    ));
                }
            }
        }
    }

    /// Names and lengths of the blocks, `total` bytes together.
    fn block_list(&mut self, total: u64) -> Result<(), String> {
        let mut listed = 0_u64;
        while listed < total {
            let at = self.at;
            let (name, bytes) = (self.name()?, self.u64()?);
            listed = listed.saturating_add(bytes);
            if bytes == 0 || self.blocks.len() == MAX_BLOCKS || !bytes.is_multiple_of(self.page_bytes) {
                return Err(format!("the block \"{name}\" of {bytes} bytes, listed at offset {at:#x}, cannot be"));
            }
            let pages = (bytes / self.page_bytes).min(self.pages_left);
            self.pages_left -= pages;
            self.blocks.push(Block { name, bytes, pages: vec![Source::MISSING; pages as usize] });
        }
        Ok(())
    }

    /// The block of a record, which names it unless it is that of the record before.
    fn block(&mut self, flags: u64) -> Result<usize, String> {
        if flags & flag::CONTINUE == 0 {
            let at = self.at;
            let name = self.name()?;
            let known = self.blocks.iter().position(|block| block.name == name);
            self.current = Some(known.ok_or_else(|| format!("the block \"{name}\" at offset {at:#x} was not listed"))?);
        }
        self.current.ok_or_else(|| format!("the record before offset {:#x} has no block", self.at))
    }

    fn put(&mut self, block: usize, offset: u64, source: Source) {
        let page = usize::try_from(offset / self.page_bytes).ok();
        let pages = self.blocks.get_mut(block).map(|block| &mut block.pages);
        match page.zip(pages).and_then(|(page, pages)| pages.get_mut(page)) {
            Some(page) => *page = source,
            None => self.left_out += 1,
        }
    }
}

impl Codec for Stream {
    fn name(&self) -> &'static str {
        "QEMU migration stream"
    }

    fn locate(&self, at: Pa) -> Place {
        let after = self.parts.partition_point(|part| part.start <= at.0);
        let part = after.checked_sub(1).and_then(|index| self.parts.get(index));
        let inside = part.map_or(0, |part| part.inside + (at.0 - part.start));
        let (page, offset) = (inside / self.page_bytes, inside % self.page_bytes);
        let bytes = self.page_bytes - offset;
        let Source(source) = self.pages.get(page as usize).copied().unwrap_or(Source::MISSING);
        match source & Source::KIND {
            // A byte's worth.
            Source::FILL => Place::Fill { byte: source as u8, bytes },
            Source::ZLIB => Place::Chunk { chunk: source & !Source::KIND, offset: offset as usize, bytes },
            _ => Place::Below { offset: source + offset, bytes },
        }
    }

    fn decode(&self, base: &dyn PhysicalMemory, at: u64, into: &mut Vec<u8>) -> Result<(), String> {
        let here = |why: &dyn std::fmt::Display| format!("the compressed page at offset {at:#x}: {why}");
        let bytes = array(base, at).map(u32::from_be_bytes).ok_or_else(|| here(&"it is not in the file"))?;
        // Deflate makes nothing larger by more than a few bytes.
        let bytes = u64::from(bytes).min(2 * self.page_bytes);
        let mut data = vec![0; bytes as usize];
        base.read(Pa(at + 4), &mut data).map_err(|fault| here(&fault))?;
        let decoder = flate2::read::ZlibDecoder::new(&data[..]);
        decoder.take(self.page_bytes + 1).read_to_end(into).map_err(|why| here(&why))?;
        if into.len() as u64 == self.page_bytes { Ok(()) } else { Err(here(&"it does not unpack to a page")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FaultReason;
    use crate::image::Run;
    use crate::image::tests::vote;
    use std::io::Write;

    /// A stream's parts, as QEMU writes them.
    struct Writer(Vec<u8>);

    impl Writer {
        fn new(machine: &str, blocks: &[(&str, u64)]) -> Self {
            let mut out = Self(b"QEVM\0\0\0\x03\x07".to_vec());
            out.0.extend((machine.len() as u32).to_be_bytes());
            out.0.extend(machine.as_bytes());
            out.0.extend(b"\x01\0\0\0\x02\x03ram\0\0\0\0\0\0\0\x04");
            let total: u64 = blocks.iter().map(|block| block.1).sum();
            out.0.extend((total | flag::MEM_SIZE).to_be_bytes());
            for (name, bytes) in blocks {
                out.name(name);
                out.0.extend(bytes.to_be_bytes());
            }
            out.end().part()
        }

        fn name(&mut self, name: &str) {
            self.0.push(name.len() as u8);
            self.0.extend(name.as_bytes());
        }

        fn end(mut self) -> Self {
            self.0.extend(flag::EOS.to_be_bytes());
            self.0.extend(b"\x7e\0\0\0\x02");
            self
        }

        fn part(mut self) -> Self {
            self.0.extend(b"\x02\0\0\0\x02");
            self
        }

        fn record(mut self, block: Option<&str>, offset: u64, kind: u64, data: &[u8]) -> Self {
            let more = if block.is_none() { flag::CONTINUE } else { 0 };
            self.0.extend((offset | kind | more).to_be_bytes());
            if let Some(name) = block {
                self.name(name);
            }
            self.0.extend(data);
            self
        }

        /// The end of the memory, and the clock of a PC with so much memory above 4 GiB.
        fn finish(mut self, above: Option<u64>) -> Vec<u8> {
            self = self.end();
            self.0.extend(b"\x03\0\0\0\x02");
            self = self.end();
            self.0.extend(b"\x04\0\0\0\x05");
            self.name("timer");
            self.0.extend([0; 40]);
            if let Some(above) = above {
                self.0.extend(b"\x04\0\0\0\x09");
                self.name("mc146818rtc");
                self.0.extend([0, 0, 0, 0, 0, 0, 0, 3]);
                let mut cmos = [0; 128];
                cmos[0x5b..0x5e].copy_from_slice(&(above >> 16).to_le_bytes()[..3]);
                self.0.extend(cmos);
            }
            self.0.push(0);
            self.0
        }
    }

    fn zlib(page: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(page).expect("packed");
        let packed = encoder.finish().expect("packed");
        [&(packed.len() as u32).to_be_bytes(), &packed[..]].concat()
    }

    #[test]
    fn of_a_page_that_comes_again_the_last_counts() {
        let (old, new) = ([1; 0x1000], [2; 0x1000]);
        let blocks = [("pc.ram", 0x5000), ("vga.vram", 0x1000)];
        let file = Writer::new("pc-i440fx-7.2", &blocks)
            .record(Some("pc.ram"), 0, flag::PAGE, &old)
            .record(None, 0x1000, flag::ZERO, &[0])
            .record(None, 0x2000, flag::PAGE, &old)
            .record(Some("vga.vram"), 0, flag::PAGE, &old)
            .record(Some("pc.ram"), 0x3000, flag::COMPRESS_PAGE, &zlib(&[3; 0x1000]))
            .record(None, 0x2000, flag::ZERO, &[0xee])
            .end()
            .part()
            .record(Some("pc.ram"), 0, flag::PAGE, &new)
            .finish(Some(0));
        let image = vote(&file).expect("an image");
        assert_eq!((image.memory.describe(), &image.warnings[..]), ("QEMU migration stream".into(), &[][..]));
        let mut all = vec![0xaa; 0x4000];
        assert_eq!(image.memory.read(Pa(0), &mut all), Ok(()));
        for (page, byte) in [2, 0, 0xee, 3].into_iter().enumerate() {
            assert!(all[page * 0x1000..][..0x1000].iter().all(|&b| b == byte), "{page}");
        }
        assert_eq!(
            image.memory.read(Pa(0x4000), &mut [0]).expect_err("not sent").reason,
            FaultReason::NotDumped(Pa(0x4000))
        );
        assert!(image.hints.facts.contains(&("RAM block vga.vram".into(), "4096 bytes".into())));
        // libvirt puts a header and XML before it.
        for big in [false, true] {
            let number = |number: u32| if big { number.to_be_bytes() } else { number.to_le_bytes() };
            let mut saved = b"LibvirtQemudSave".to_vec();
            saved.extend([2, 9, 1, 0].map(number).concat());
            saved.resize(92, 0);
            saved.extend(b"<domain/>");
            saved.extend(&file);
            let image = vote(&saved).expect("an image");
            assert_eq!(image.memory.describe(), "QEMU migration stream");
            assert_eq!(array::<1>(&*image.memory, 0x2000), Some([0xee]));
            saved[if big { 31 } else { 28 }] = 4;
            assert!(vote(&saved).is_err_and(|why| why.contains("lzop")));
            saved[if big { 31 } else { 28 }] = 5;
            assert!(vote(&saved).is_err_and(|why| why.contains("(zstd) is not at offset 0x65")));
        }
    }

    #[test]
    fn memory_is_where_the_machine_has_it() {
        let gib = |gib: u64| gib * GIB;
        for (machine, block, bytes, above, expected) in [
            ("pc-i440fx-7.2", "pc.ram", gib(1), None, vec![(0, gib(1))]),
            ("pc-i440fx-7.2", "pc.ram", 0xdfff_f000, None, vec![(0, 0xdfff_f000)]),
            ("pc-i440fx-7.2", "pc.ram", gib(8), None, vec![(0, gib(3)), (gib(4), gib(5))]),
            ("pc-q35-8.1", "pc.ram", gib(8), None, vec![(0, gib(2)), (gib(4), gib(6))]),
            ("pc-q35-8.1", "pc.ram", 0xafff_f000, None, vec![(0, 0xafff_f000)]),
            // `max-ram-below-4g`, and what the CMOS then says.
            ("pc-i440fx-7.2", "pc.ram", 16 << 20, Some(8 << 20), vec![(0, 8 << 20), (gib(4), 8 << 20)]),
            ("pc-q35-8.1", "pc.ram", gib(8), Some(gib(5)), vec![(0, gib(3)), (gib(4), gib(5))]),
            ("virt-7.2", "mach-virt.ram", gib(4), None, vec![(gib(1), gib(4))]),
            ("none", "ram", gib(5), None, vec![(0, gib(5))]),
        ] {
            // One page is sent, the rest are gaps.
            let first = |writer: Writer| writer.record(Some(block), 0, flag::ZERO, &[0]);
            let image = vote(&first(Writer::new(machine, &[(block, bytes)])).finish(above)).expect("an image");
            let start = Pa(expected[0].0);
            assert_eq!(image.memory.runs(), [Run { start, bytes: 0x1000, file_offset: None }]);
            let mut gaps: Vec<_> = image.memory.gaps().iter().map(|gap| (gap.start.0, gap.bytes)).collect();
            gaps[0] = (gaps[0].0 - 0x1000, gaps[0].1 + 0x1000);
            assert_eq!((gaps, &image.warnings[..]), (expected, &[][..]), "{machine} {bytes:#x}");
        }
        let sun = Writer::new("sun4m", &[("ram", 0x1000)]).record(Some("ram"), 0, flag::ZERO, &[0]);
        let image = vote(&sun.finish(None)).expect("an image");
        assert!(image.warnings[0].contains("\"sun4m\" is not known"));
    }

    #[test]
    fn streams_that_end_or_lie_give_what_is_there() {
        let page = [7; 0x1000];
        let writer = || Writer::new("pc", &[("pc.ram", 0x3000)]).record(Some("pc.ram"), 0, flag::PAGE, &page);
        let good = writer().record(None, 0x1000, flag::PAGE, &page).finish(None);
        for cut in 5..good.len() {
            match vote(&good[..cut]) {
                Err(why) => assert!(why.contains("the stream ends"), "{cut:#x}: {why}"),
                Ok(image) => {
                    assert_eq!(array::<1>(&*image.memory, 0xfff), Some([7]), "{cut:#x}");
                    let fault = image.memory.read(Pa(0x2fff), &mut [0]).expect_err("never sent");
                    let truncated = FaultReason::Truncated(Pa(0x2fff));
                    assert_eq!(fault.reason == truncated, !image.warnings.is_empty(), "{cut:#x}");
                }
            }
        }
        for (file, why) in [
            (writer().record(None, 0x1000, 0x40, &page).finish(None), "the flags 0x40"),
            (writer().record(Some("other"), 0x1000, flag::PAGE, &page).finish(None), "\"other\" at offset"),
            (writer().record(None, 0x3000, flag::PAGE, &page).finish(None), "1 page(s) lie further on"),
            (writer().record(None, !0xfff, flag::PAGE, &page).finish(None), "1 page(s) lie further on"),
        ] {
            let image = vote(&file).expect("the first page is good");
            assert!(image.warnings.iter().any(|warning| warning.contains(why)), "{why}: {:?}", image.warnings);
        }
        for (file, why) in [
            (Writer::new("pc", &[("pc.ram", u64::MAX - 0xfff)]).finish(None), "cannot be|bytes"),
            (Writer::new("pc", &[("pc.ram", 0x1800), ("x", 0x800)]).finish(None), "cannot be"),
            (Writer::new("pc", &[("pc.ram", 0x1000)]).finish(None), "holds no memory"),
            (Writer::new("pc", &[("vga.vram", 0x1000)]).finish(None), "none of its blocks"),
            (Writer::new("pc", &[("ram-node0", 0x1000), ("ram-node1", 0x1000)]).finish(None), "NUMA"),
            (b"QEVM\0\0\0\x04".to_vec(), "its version is 4"),
        ] {
            let said = vote(&file).err();
            assert!(said.as_ref().is_some_and(|said| why.split('|').any(|why| said.contains(why))), "{why}: {said:?}");
        }
    }
}
