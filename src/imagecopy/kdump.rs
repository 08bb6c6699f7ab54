//! A kdump image, version 6 in its 64-bit form: each page compressed alone by zlib.
//!
//! Source: makedumpfile's `IMPLEMENTATION` and `diskdump_mod.h`. Blocks of a page's length: header, sub-header with
//! VMCOREINFO behind it, the bitmaps of RAM and of what is dumped, a descriptor of 24 bytes for each dumped page, then
//! their data. As makedumpfile does it, all pages of zeros share one, and a page that does not shrink stays as it is.

use super::{Sink, VMCOREINFO_TEXT, Writer, is_aarch64, vmcoreinfo_note};
use flate2::{Compression, write::ZlibEncoder};
use quaid_analyzer::Pa;
use quaid_analyzer::image::{Hints, PhysicalMemory, Run};
use std::io::{self, SeekFrom, Write as _};
use std::ops::Range;
use std::thread;

const SUB_HEADER_BYTES: usize = 112;
const DESCRIPTOR_BYTES: u64 = 24;
const ZLIB: u32 = 1;
/// Pages that are compressed together, a share on each core.
const BATCH_PAGES: usize = 512;
/// Descriptors that are kept before they are written to their place.
const KEPT_DESCRIPTORS: usize = 1 << 16;
/// The most that one bitmap may take, in bytes: 8 TiB of addresses in pages of 4 KiB.
const MAX_BITMAP_BYTES: u64 = 256 << 20;

pub(super) struct Kdump<'o> {
    out: &'o mut dyn Sink,
    page_bytes: usize,
    /// Numbers of the pages that are not written yet, in order, and their bytes; of the last one the end may be missing.
    numbers: Vec<u64>,
    pages: Vec<u8>,
    descriptors: Vec<u8>,
    /// Where the next of them goes, and the next page's data.
    descriptors_at: u64,
    data_at: u64,
    /// Where the page of zeros is.
    zeros_at: Option<u64>,
}

impl<'o> Kdump<'o> {
    pub(super) fn new(memory: &dyn PhysicalMemory, hints: &Hints, out: &'o mut dyn Sink) -> io::Result<Self> {
        let page_bytes = page_bytes(hints);
        let runs = memory.runs().iter().map(|run| pages(run.start, run.bytes, page_bytes));
        let gaps = memory.gaps().iter().map(|gap| pages(gap.start, gap.bytes, page_bytes));
        let all_pages = runs.clone().chain(gaps.clone()).map(|pages| pages.end).max().unwrap_or(0);
        let bitmap_bytes = all_pages.div_ceil(8).next_multiple_of(page_bytes);
        if bitmap_bytes > MAX_BITMAP_BYTES {
            return Err(io::Error::other(format!(
                "the memory ends at {:#x}, and a kdump image of it would have bitmaps of {bitmap_bytes} bytes each, more than \
                 {MAX_BITMAP_BYTES}; --ranges leaves out what is far up",
                all_pages.saturating_mul(page_bytes)
            )));
        }
        let mut dumped = vec![0; bitmap_bytes as usize];
        runs.for_each(|pages| set(&mut dumped, pages));
        let mut ram = dumped.clone();
        gaps.for_each(|pages| set(&mut ram, pages));
        let header = header(hints, page_bytes, all_pages, bitmap_bytes);
        out.write_all(&header)?;
        out.write_all(&ram)?;
        out.write_all(&dumped)?;
        let descriptors_at = header.len() as u64 + 2 * bitmap_bytes;
        let data_at = descriptors_at + bytes(memory, hints) / page_bytes * DESCRIPTOR_BYTES;
        Ok(Self {
            out,
            page_bytes: page_bytes as usize,
            numbers: Vec::new(),
            pages: Vec::new(),
            descriptors: Vec::new(),
            descriptors_at,
            data_at,
            zeros_at: None,
        })
    }

    /// Compresses and writes the pages that there are; what the last one lacks is zero.
    fn write_pages(&mut self) -> io::Result<()> {
        self.pages.resize(self.numbers.len() * self.page_bytes, 0);
        let packed = compress(&self.pages, self.page_bytes);
        self.out.seek(SeekFrom::Start(self.data_at))?;
        for (page, packed) in self.pages.chunks(self.page_bytes).zip(packed) {
            let is_zero = page.iter().all(|&byte| byte == 0);
            let (flags, data) = match packed {
                Some(ref packed) if !is_zero => (ZLIB, &packed[..]),
                _ => (0, page),
            };
            let known = self.zeros_at.filter(|_| is_zero);
            let at = known.unwrap_or(self.data_at);
            if known.is_none() {
                self.out.write_all(data)?;
                self.data_at += data.len() as u64;
            }
            if is_zero {
                self.zeros_at = Some(at);
            }
            self.descriptors.extend(at.to_le_bytes());
            self.descriptors.extend((data.len() as u32).to_le_bytes());
            self.descriptors.extend(flags.to_le_bytes());
            // The page's flags in the kernel.
            self.descriptors.extend([0; 8]);
        }
        self.numbers.clear();
        self.pages.clear();
        if self.descriptors.len() / DESCRIPTOR_BYTES as usize >= KEPT_DESCRIPTORS {
            self.write_descriptors()?;
        }
        Ok(())
    }

    fn write_descriptors(&mut self) -> io::Result<()> {
        self.out.seek(SeekFrom::Start(self.descriptors_at))?;
        self.out.write_all(&self.descriptors)?;
        self.descriptors_at += self.descriptors.len() as u64;
        self.descriptors.clear();
        Ok(())
    }
}

impl Writer for Kdump<'_> {
    fn begin(&mut self, _: &Run) -> io::Result<()> {
        Ok(())
    }

    fn block(&mut self, at: Pa, mut block: &[u8]) -> io::Result<()> {
        let mut at = at.0;
        while !block.is_empty() {
            let (number, inside) = (at / self.page_bytes as u64, (at % self.page_bytes as u64) as usize);
            // Two ranges may have parts of one page.
            if self.numbers.last() != Some(&number) {
                if self.numbers.len() == BATCH_PAGES {
                    self.write_pages()?;
                }
                self.pages.resize(self.numbers.len() * self.page_bytes, 0);
                self.numbers.push(number);
            }
            self.pages.resize((self.numbers.len() - 1) * self.page_bytes + inside, 0);
            let (here, rest) = block.split_at((self.page_bytes - inside).min(block.len()));
            self.pages.extend(here);
            at += here.len() as u64;
            block = rest;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.write_pages()?;
        self.write_descriptors()
    }
}

/// Each page compressed; `None` where it would not be shorter. It is fast rather than small, as makedumpfile is.
fn compress(pages: &[u8], page_bytes: usize) -> Vec<Option<Vec<u8>>> {
    let one = |page: &[u8]| {
        let mut encoder = ZlibEncoder::new(Vec::with_capacity(page_bytes), Compression::fast());
        encoder.write_all(page).ok()?;
        encoder.finish().ok().filter(|packed| packed.len() < page_bytes)
    };
    let all = |pages: &[u8]| pages.chunks(page_bytes).map(one).collect::<Vec<_>>();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let share = (pages.len() / page_bytes).div_ceil(cores).max(1) * page_bytes;
    thread::scope(|scope| {
        let workers: Vec<_> = pages.chunks(share).map(|share| scope.spawn(move || all(share))).collect();
        let packed = |worker: thread::ScopedJoinHandle<'_, Vec<_>>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().flat_map(packed).collect()
    })
}

/// How many bytes all pages have that a kdump image of the memory has.
pub(super) fn bytes(memory: &dyn PhysicalMemory, hints: &Hints) -> u64 {
    let page_bytes = page_bytes(hints);
    let mut end = 0;
    let all = memory.runs().iter().map(|run| {
        let Range { start, end: stop } = pages(run.start, run.bytes, page_bytes);
        // Two ranges may have parts of one page.
        let new = stop.saturating_sub(start.max(end));
        end = stop;
        new
    });
    all.sum::<u64>() * page_bytes
}

/// The length of the kernel's pages: readers want it as the block's.
fn page_bytes(hints: &Hints) -> u64 {
    let noted = hints.vmcoreinfo.number("PAGESIZE");
    noted.filter(|bytes| bytes.is_power_of_two() && (0x1000..=0x1_0000).contains(bytes)).unwrap_or(0x1000)
}

/// The numbers of the pages of which a range has at least a part.
fn pages(start: Pa, bytes: u64, page_bytes: u64) -> Range<u64> {
    start.0 / page_bytes..(start.0 + bytes).div_ceil(page_bytes)
}

fn set(bitmap: &mut [u8], pages: Range<u64>) {
    for page in pages {
        if let Some(byte) = bitmap.get_mut((page / 8) as usize) {
            *byte |= 1 << (page % 8);
        }
    }
}

/// Header, sub-header and VMCOREINFO, in whole blocks.
fn header(hints: &Hints, page_bytes: u64, all_pages: u64, bitmap_bytes: u64) -> Vec<u8> {
    let note = vmcoreinfo_note(hints);
    let sub_blocks = ((SUB_HEADER_BYTES + note.len()) as u64).div_ceil(page_bytes);
    let mut out = vec![0; ((1 + sub_blocks) * page_bytes) as usize];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = out.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    put(0, b"KDUMP   ");
    put(8, &6_u32.to_le_bytes());
    // utsname: what another kdump image said, else what VMCOREINFO says.
    let told = |what: &str| {
        let mut facts = hints.facts.iter().rev();
        facts.find(|(key, _)| key == what).map(|(_, value)| value.as_str())
    };
    let release = told("release").or(hints.vmcoreinfo.text("OSRELEASE"));
    let machine = told("machine").unwrap_or(if is_aarch64(hints) { "aarch64" } else { "x86_64" });
    // libkdumpfile takes the machine from here only when none of release and version is empty.
    let version = told("version").or(release.and(Some("(version not known)")));
    let names = [told("system").or(Some("Linux")), told("node name"), release, version, Some(machine)];
    for (index, name) in names.iter().enumerate() {
        let bytes = name.unwrap_or_default().as_bytes();
        put(12 + index * 65, bytes.get(..64).unwrap_or(bytes));
    }
    let low = u32::try_from(all_pages).unwrap_or(u32::MAX);
    let words = [ZLIB, page_bytes as u32, sub_blocks as u32, (2 * bitmap_bytes / page_bytes) as u32, low];
    for (index, word) in words.iter().enumerate() {
        put(424 + index * 4, &word.to_le_bytes());
    }
    // The number of processors is not known, and none is refused.
    put(460, &1_u32.to_le_bytes());

    let sub = page_bytes as usize;
    let phys_base = hints.vmcoreinfo.number("NUMBER(phys_base)").unwrap_or(0);
    put(sub, &phys_base.to_le_bytes());
    // VMCOREINFO stands in the note, which readers of version 4 and later look at, and is named by itself.
    if let [_, _, _, _, length @ .., _, _, _, _] = note.get(..12).unwrap_or_default() {
        let at = sub + SUB_HEADER_BYTES;
        put(sub + 32, &((at + VMCOREINFO_TEXT) as u64).to_le_bytes());
        put(sub + 40, length);
        put(sub + 48, &(at as u64).to_le_bytes());
        put(sub + 56, &(note.len() as u64).to_le_bytes());
    }
    put(sub + 96, &all_pages.to_le_bytes());
    put(sub + SUB_HEADER_BYTES, &note);
    out
}
