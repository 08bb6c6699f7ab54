//! kdump images: pages compressed one by one, as makedumpfile, the kdump service, QEMU and libvirt write them.
//!
//! Source: makedumpfile's `IMPLEMENTATION` and `diskdump_mod.h`, libkdumpfile; files of makedumpfile and QEMU. After the
//! header and the sub-header, in blocks, come two bitmaps (which pages are RAM, which of them were dumped), and a
//! descriptor for each dumped page. The header has the byte order and the word size of the machine.

use super::codec_layer::{Codec, CodecLayer, Place};
use super::fields::Fields;
use super::page_bitmap::PageBitmap;
use super::raw::Raw;
use super::run_layer::{END_OF_PHYSICAL, Layout, MAX_RUNS, end_of, holds, with_missing};
use super::vote::{Layer, Probe, Vote};
use super::{GapKind, Hints, PhysicalMemory, array, lzo, notes};
use crate::addr::Pa;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"KDUMP   ";
const HEADER_BYTES: usize = 464;
const SUB_HEADER_BYTES: usize = 112;
const DESCRIPTOR_BYTES: u64 = 24;
/// `DUMP_DH_COMPRESSED_INCOMPLETE`, a bit of the header's status: the writer ran out of space.
const INCOMPLETE: u32 = 8;
/// Files of a folder that are looked at for the other parts of a split dump.
const MAX_SIBLINGS: usize = 1024;
/// A kernel's VMCOREINFO is one page.
const MAX_VMCOREINFO: u64 = 1 << 20;

/// What header and sub-header say.
struct Header {
    version: u32,
    /// utsname: release and version of the kernel, its machine.
    names: Vec<(String, String)>,
    block_bytes: u64,
    bitmap: u64,
    bitmap_bytes: u64,
    status: u32,
    max_mapnr: u64,
    phys_base: u64,
    dump_level: u32,
    /// The PFNs that this file has, where the dump is split over several.
    split: Option<Range<u64>>,
    vmcoreinfo: (u64, u64),
    note: (u64, u64),
}

/// The pages of one file.
struct Part {
    /// The file, if it is not the one that was opened.
    file: Option<Arc<dyn PhysicalMemory>>,
    pfns: Range<u64>,
    /// Offset of the first descriptor.
    descriptors: u64,
    /// Rank of the first of these pages among all dumped ones.
    first: u64,
}

struct Kdump {
    block_bytes: u64,
    dumped: PageBitmap,
    /// Sorted, disjoint.
    parts: Vec<Part>,
}

/// Answers whether `base` is a kdump image.
pub(super) fn probe(&Probe { base, path, map }: &Probe<'_>) -> Vote {
    if array::<8>(base.as_ref(), 0).as_ref() != Some(MAGIC) {
        return Vote::no("no KDUMP magic at the start");
    }
    match read(base, path, map) {
        Ok(layer) => Vote::Yes(layer),
        Err(why) => Vote::Broken(why),
    }
}

fn read(base: &Arc<dyn PhysicalMemory>, path: Option<&Path>, map: bool) -> Result<Layer, String> {
    let header = Header::read(base.as_ref())?;
    let mut warnings = Vec::new();
    if header.status & INCOMPLETE != 0 {
        warnings.push("the dump is incomplete: its writer ran out of space".into());
    }
    let bytes = header.max_mapnr.div_ceil(8);
    // Two bitmaps, unless there is room for one alone (diskdump): then what is RAM was dumped.
    let blocks = |bytes: u64| bytes.div_ceil(header.block_bytes) * header.block_bytes;
    let second = if header.bitmap_bytes >= 2 * blocks(bytes) { header.bitmap_bytes / 2 } else { 0 };
    if header.bitmap_bytes - second < bytes || !holds(base.as_ref(), header.bitmap, second + bytes) {
        return Err(format!(
            "its bitmaps ({} bytes at offset {:#x}) for {} pages are not all in the file",
            header.bitmap_bytes, header.bitmap, header.max_mapnr
        ));
    }
    let dumped = PageBitmap::read(base.as_ref(), header.bitmap + second, header.max_mapnr)?;
    let part = |header: &Header, file| {
        let pfns = header.split.clone().unwrap_or(0..header.max_mapnr);
        let first = dumped.rank(pfns.start);
        Part { file, pfns, descriptors: header.bitmap.saturating_add(header.bitmap_bytes), first }
    };
    let mut parts = vec![part(&header, None)];
    if header.split.is_some() {
        for (file, sibling) in path.map(|path| siblings(path, base.as_ref(), map)).unwrap_or_default() {
            let sibling = part(&sibling, Some(file));
            // Of two that claim the same pages the first is kept, and this file before all others.
            let is_new = |known: &Part| known.pfns.end <= sibling.pfns.start || sibling.pfns.end <= known.pfns.start;
            if parts.iter().all(is_new) {
                parts.push(sibling);
            }
        }
        parts.sort_by_key(|part| part.pfns.start);
    }
    let layout = lay_out(&header, base.as_ref(), &dumped, &parts, second > 0, &mut warnings)?;
    if layout.runs.is_empty() {
        return Err(format!("it holds no memory ({})", warnings.join("; ")));
    }
    let hints = header.hints(base.as_ref());
    let codec = Kdump { block_bytes: header.block_bytes, dumped, parts };
    let memory = Arc::new(CodecLayer::new(Arc::clone(base), codec, layout.runs, layout.gaps));
    Ok(Layer { memory, warnings, hints })
}

/// Runs and gaps: what was dumped; what is behind the end of the files; what was excluded, or is in a part that is not
/// there.
fn lay_out(
    header: &Header,
    base: &dyn PhysicalMemory,
    dumped: &PageBitmap,
    parts: &[Part],
    has_ram: bool,
    warnings: &mut Vec<String>,
) -> Result<Layout, String> {
    let page = header.block_bytes;
    let mut layout = Layout::default();
    let mut pages = 0;
    for part in parts {
        let file = part.file.as_deref().unwrap_or(base);
        let there = end_of(file).saturating_sub(part.descriptors) / DESCRIPTOR_BYTES;
        let count = dumped.rank(part.pfns.end) - part.first;
        for run in dumped.runs(part.pfns.clone(), there) {
            layout.run(run.start * page, (run.end - run.start) * page, None);
        }
        if count > there {
            // One gap: to list the pages would let a header make more gaps than the file has bytes.
            let end = layout.runs.last().map_or(0, |run| run.start.0 + run.bytes).max(part.pfns.start * page);
            layout.gap(end, part.pfns.end * page - end, GapKind::Truncated);
        } else if count > 0 {
            // The data of the last page: writers put it in order.
            let last = part.descriptors + (count - 1) * DESCRIPTOR_BYTES;
            let last = Fields::read(file, last, DESCRIPTOR_BYTES as usize).ok_or("a descriptor cannot be read")?;
            if !holds(file, last.u64(0), u64::from(last.u32(8))) {
                warnings.push("the file is truncated: the data of its last pages are missing".into());
            }
        }
        pages += count.min(there);
    }
    warnings.extend(layout.truncated());
    let all = dumped.rank(header.max_mapnr);
    if header.split.is_some() && pages < all {
        warnings.push(format!(
            "the dump is split: {pages} of its {all} pages are in this file and those beside it; put all parts into one folder"
        ));
    }
    if has_ram {
        let ram = PageBitmap::read(base, header.bitmap, header.max_mapnr)?;
        let ram: Vec<_> = ram.runs(0..header.max_mapnr, u64::MAX).take(MAX_RUNS).collect();
        let ram = ram.into_iter().map(|run| (run.start * page, (run.end - run.start) * page)).collect();
        layout.gaps = with_missing(&layout.runs, &layout.gaps, ram, GapKind::NotDumped);
    }
    Ok(layout)
}

/// The other parts of a split dump, which are named as the user liked: files in the same folder that begin with the same
/// header.
fn siblings(path: &Path, base: &dyn PhysicalMemory, map: bool) -> Vec<(Arc<dyn PhysicalMemory>, Header)> {
    let Some(own) = array::<HEADER_BYTES>(base, 0) else { return Vec::new() };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let files = entries
        .take(MAX_SIBLINGS)
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name() != path.file_name().unwrap_or_default());
    let mut paths: Vec<_> =
        files.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())).map(|entry| entry.path()).collect();
    paths.sort();
    let open = |path: &Path| {
        let file = Raw::open(path, map).ok()?;
        let same = array::<HEADER_BYTES>(&file, 0)? == own;
        let header = same.then(|| Header::read(&file).ok())??;
        // The header's block size is the same, as the header is.
        header.split.as_ref()?;
        Some((Arc::new(file) as Arc<dyn PhysicalMemory>, header))
    };
    paths.iter().filter_map(|path| open(path)).collect()
}

impl Header {
    fn read(base: &dyn PhysicalMemory) -> Result<Self, String> {
        let fields = Fields::read(base, 0, HEADER_BYTES).ok_or("its header is cut short")?;
        let version = fields.u32(8);
        if (1..=6).contains(&version.swap_bytes()) {
            return Err("it is of a big-endian machine, which is not supported".into());
        }
        if !(1..=6).contains(&version) {
            return Err(format!("its version is {version}; 1 to 6 are known"));
        }
        // The fields behind utsname are aligned to words.
        let is_page = |bytes: u32| bytes.is_power_of_two() && (0x1000..=0x1_0000).contains(&bytes);
        // A 32-bit header has other numbers where the 64-bit one has its block size, some of which look like one.
        let is_header = |at: usize| is_page(fields.u32(at)) && fields.u32(at + 4) > 0 && fields.u32(at + 8) > 0;
        let (is_64, status) = match (is_header(428), is_header(416)) {
            (true, _) => (true, 424),
            (false, true) => (false, 412),
            _ => return Err("its block size is not that of a page, neither as a 64-bit nor as a 32-bit header".into()),
        };
        let name = |index: usize| {
            let bytes = fields.bytes(12 + index * 65, 65);
            let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
            String::from_utf8_lossy(text).into_owned()
        };
        let machine = name(4);
        let names = ["system", "node name", "release", "version", "machine"];
        let names = names.iter().enumerate().map(|(index, what)| ((*what).to_owned(), name(index)));
        let names = names.filter(|(_, value)| !value.is_empty()).collect();
        let block_bytes = u64::from(fields.u32(status + 4));
        // i386 aligns u64 to four bytes.
        let layout = if is_64 {
            &SUB_64
        } else if machine.starts_with("arm") {
            &SUB_ARM
        } else {
            &SUB_I386
        };
        let sub = Fields::read(base, block_bytes, SUB_HEADER_BYTES).ok_or("its sub-header is cut short")?;
        let word = |at: usize| if is_64 { sub.u64(at) } else { u64::from(sub.u32(at)) };
        let max_mapnr = if version >= 6 { sub.u64(layout.max_mapnr_64) } else { u64::from(fields.u32(status + 16)) };
        if max_mapnr.checked_mul(block_bytes).is_none_or(|end| end > END_OF_PHYSICAL) {
            return Err(format!("it declares {max_mapnr} pages, which reach behind the physical address 2^52"));
        }
        let split = (version >= 2 && sub.u32(layout.split) != 0).then(|| {
            let (start, end) = if version >= 6 {
                (sub.u64(layout.start_pfn_64), sub.u64(layout.start_pfn_64 + 8))
            } else {
                (word(layout.start_pfn), word(layout.start_pfn + layout.word))
            };
            start.min(max_mapnr)..end.clamp(start.min(max_mapnr), max_mapnr)
        });
        let place = |at: usize| (sub.u64(at), word(at + 8));
        let sub_blocks = u64::from(fields.u32(status + 8));
        Ok(Self {
            version,
            names,
            block_bytes,
            bitmap: (1 + sub_blocks) * block_bytes,
            bitmap_bytes: u64::from(fields.u32(status + 12)) * block_bytes,
            status: fields.u32(status),
            max_mapnr,
            phys_base: word(0),
            dump_level: sub.u32(layout.word),
            split,
            vmcoreinfo: if version >= 3 { place(layout.vmcoreinfo) } else { (0, 0) },
            note: if version >= 4 { place(layout.note) } else { (0, 0) },
        })
    }

    fn hints(&self, base: &dyn PhysicalMemory) -> Hints {
        let text = |(offset, bytes): (u64, u64), max: u64| {
            let there = bytes > 0 && bytes <= max && holds(base, offset, bytes);
            there.then(|| Fields::read(base, offset, bytes as usize)).flatten().map(|fields| (fields, bytes as usize))
        };
        let mut hints = Hints::default();
        let mut facts = self.names.clone();
        facts.push(("kdump version".into(), self.version.to_string()));
        facts.push(("dump level".into(), self.dump_level.to_string()));
        facts.push(("phys_base".into(), format!("{:#x}", self.phys_base)));
        hints.facts = facts;
        if let Some((note, bytes)) = text(self.note, notes::MAX_BYTES) {
            hints.add(notes::hints(note.bytes(0, bytes)));
        }
        if let Some((info, bytes)) = text(self.vmcoreinfo, MAX_VMCOREINFO) {
            hints.vmcoreinfo.extend(notes::vmcoreinfo(info.bytes(0, bytes)));
        }
        hints
    }
}

/// Where a sub-header has its fields.
struct SubHeader {
    /// Bytes of a word, and with them the place of `dump_level`.
    word: usize,
    split: usize,
    start_pfn: usize,
    vmcoreinfo: usize,
    note: usize,
    start_pfn_64: usize,
    max_mapnr_64: usize,
}

const SUB_64: SubHeader =
    SubHeader { word: 8, split: 12, start_pfn: 16, vmcoreinfo: 32, note: 48, start_pfn_64: 80, max_mapnr_64: 96 };
const SUB_I386: SubHeader =
    SubHeader { word: 4, split: 8, start_pfn: 12, vmcoreinfo: 20, note: 32, start_pfn_64: 56, max_mapnr_64: 72 };
const SUB_ARM: SubHeader =
    SubHeader { word: 4, split: 8, start_pfn: 12, vmcoreinfo: 24, note: 40, start_pfn_64: 72, max_mapnr_64: 88 };

impl Codec for Kdump {
    fn name(&self) -> &'static str {
        "kdump"
    }

    fn locate(&self, at: Pa) -> Place {
        let (pfn, inside) = (at.0 / self.block_bytes, at.0 % self.block_bytes);
        Place::Chunk { chunk: pfn, offset: inside as usize, bytes: self.block_bytes - inside }
    }

    fn decode(&self, base: &dyn PhysicalMemory, pfn: u64, into: &mut Vec<u8>) -> Result<(), String> {
        let part = self.parts.iter().find(|part| part.pfns.contains(&pfn)).ok_or("no part of the dump has it")?;
        let file = part.file.as_deref().unwrap_or(base);
        let at = part.descriptors + (self.dumped.rank(pfn) - part.first) * DESCRIPTOR_BYTES;
        let here =
            |what: &str, why: &dyn std::fmt::Display| format!("{what} of page {pfn:#x}, at offset {at:#x}: {why}");
        let descriptor = Fields::read(file, at, DESCRIPTOR_BYTES as usize)
            .ok_or_else(|| here("the descriptor", &"it is behind the end of the file"))?;
        let (offset, bytes, flags) = (descriptor.u64(0), descriptor.u32(8), descriptor.u32(12));
        if u64::from(bytes) > self.block_bytes {
            return Err(here("the descriptor", &format_args!("it declares {bytes} bytes, more than a page")));
        }
        let mut data = vec![0; bytes as usize];
        file.read(Pa(offset), &mut data)
            .map_err(|_| here("the data", &format_args!("{bytes} bytes at offset {offset:#x} are not in the file")))?;
        unpack(flags, &data, self.block_bytes as usize, into)
            .map_err(|why| here("the data", &format_args!("{bytes} bytes at offset {offset:#x}: {why}")))
    }
}

/// The page of `expected` bytes that `data` holds, compressed as the descriptor's `flags` say.
fn unpack(flags: u32, data: &[u8], expected: usize, into: &mut Vec<u8>) -> Result<(), String> {
    const ZLIB: u32 = 1;
    const LZO: u32 = 2;
    const SNAPPY: u32 = 4;
    const ZSTD: u32 = 0x20;
    /// More than a compressor asks for when it knows that its input is a page.
    const ZSTD_WINDOW: u64 = 1 << 20;
    match flags & (ZLIB | LZO | SNAPPY | ZSTD) {
        0 => into.extend_from_slice(data),
        ZLIB => {
            let decoder = flate2::read::ZlibDecoder::new(data);
            decoder.take(expected as u64 + 1).read_to_end(into).map_err(|why| format!("zlib: {why}"))?;
        }
        LZO => lzo::decompress(data, expected, into).map_err(|why| format!("LZO: {why}"))?,
        SNAPPY => {
            into.resize(expected, 0);
            let bytes = snap::raw::Decoder::new().decompress(data, into).map_err(|why| format!("snappy: {why}"))?;
            into.truncate(bytes);
        }
        ZSTD => {
            into.resize(expected, 0);
            let mut decoder = ruzstd::decoding::FrameDecoder::new();
            decoder.set_max_window_size(ZSTD_WINDOW);
            let bytes = decoder.decode_all(data, into).map_err(|why| format!("zstd: {why}"))?;
            into.truncate(bytes);
        }
        other => return Err(format!("two compressions at once (flags {other:#x})")),
    }
    if into.len() == expected { Ok(()) } else { Err(format!("it unpacks to {} bytes, and not to a page", into.len())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FaultReason;
    use crate::image::flattened::tests::flattened;
    use crate::image::notes::tests::note_bytes;
    use crate::image::testing::Random;
    use crate::image::tests::vote;
    use crate::image::vote::Elected;
    use std::io::Write;

    const PAGES: u64 = 700;

    /// A dump to be written: PFN `p` is RAM if `p % 10 != 9`, and dumped if also `p % 7 != 3`.
    #[derive(Clone)]
    struct Writer {
        is_64: bool,
        machine: &'static str,
        version: u32,
        page: usize,
        split: Option<Range<u64>>,
    }

    const PLAIN: Writer = Writer { is_64: true, machine: "x86_64", version: 6, page: 0x1000, split: None };

    fn is_ram(pfn: u64) -> bool {
        pfn % 10 != 9
    }

    fn is_dumped(pfn: u64) -> bool {
        is_ram(pfn) && pfn % 7 != 3
    }

    /// Pages that tell their PFN; some are noise, which no method makes smaller.
    fn content(pfn: u64, bytes: usize) -> Vec<u8> {
        let mut random = Random(pfn + 1);
        if pfn.is_multiple_of(13) {
            (0..bytes).map(|_| random.below(256) as u8).collect()
        } else {
            pfn.to_le_bytes().repeat(bytes / 8)
        }
    }

    /// Each page by another method; what does not get smaller is stored, as makedumpfile does it.
    fn pack(pfn: u64, page: &[u8]) -> (u32, Vec<u8>) {
        let (flags, packed) = match pfn % 5 {
            0 => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(page).expect("packed");
                (1, encoder.finish().expect("packed"))
            }
            1 => (2, lzokay_native::compress(page).expect("packed")),
            2 => (4, snap::raw::Encoder::new().compress_vec(page).expect("packed")),
            3 => (0x20, ruzstd::encoding::compress_to_vec(page, ruzstd::encoding::CompressionLevel::Fastest)),
            _ => (0, page.to_vec()),
        };
        if packed.len() < page.len() { (flags, packed) } else { (0, page.to_vec()) }
    }

    impl Writer {
        fn file(&self) -> Vec<u8> {
            let put = |file: &mut Vec<u8>, at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
            let page = self.page;
            let bitmap_blocks = (PAGES as usize).div_ceil(8).div_ceil(page);
            let mut file = b"KDUMP   ".to_vec();
            file.resize(page * (2 + 2 * bitmap_blocks), 0);
            put(&mut file, 8, &self.version.to_le_bytes());
            put(&mut file, 12 + 2 * 65, b"6.1.0-test");
            put(&mut file, 12 + 4 * 65, self.machine.as_bytes());
            let at = if self.is_64 { 428 } else { 416 };
            for (index, number) in [page as u32, 1, 2 * bitmap_blocks as u32, PAGES as u32].into_iter().enumerate() {
                put(&mut file, at + index * 4, &number.to_le_bytes());
            }
            // The sub-header, field by field, each aligned as the machine does it.
            let info = b"OSRELEASE=6.1.0-test\nNUMBER(phys_base)=4096\n";
            let mut cr3 = vec![0; 0x1b8];
            cr3[0x1a0..0x1a8].copy_from_slice(&0x1234_5000_u64.to_le_bytes());
            let note = note_bytes("QEMU", 0, &cr3);
            let word = if self.is_64 { 8 } else { 4 };
            let align = if self.machine == "i686" { 4 } else { 8 };
            let (start, end) = self.split.clone().map_or((0, 0), |pfns| (pfns.start, pfns.end));
            let info_at = page + 512;
            let fields: [(usize, u64); 14] = [
                (word, 0x100_0000),
                (4, 31),
                (4, u64::from(self.split.is_some())),
                (word, start),
                (word, end),
                (8, info_at as u64),
                (word, info.len() as u64),
                (8, (info_at + 512) as u64),
                (word, note.len() as u64),
                (8, 0),
                (word, 0),
                (8, start),
                (8, end),
                (8, PAGES),
            ];
            let mut at = page;
            for (bytes, number) in fields {
                at = at.next_multiple_of(bytes.min(align));
                put(&mut file, at, &number.to_le_bytes()[..bytes]);
                at += bytes;
            }
            put(&mut file, info_at, info);
            put(&mut file, info_at + 512, &note);
            for pfn in 0..PAGES {
                let (byte, bit) = (2 * page + pfn as usize / 8, 1 << (pfn % 8));
                file[byte] |= if is_ram(pfn) { bit } else { 0 };
                file[byte + bitmap_blocks * page] |= if is_dumped(pfn) { bit } else { 0 };
            }
            let pfns: Vec<u64> = self.split.clone().unwrap_or(0..PAGES).filter(|&pfn| is_dumped(pfn)).collect();
            let mut data_at = file.len() + pfns.len() * 24;
            let mut data = Vec::new();
            for &pfn in &pfns {
                let (flags, packed) = pack(pfn, &content(pfn, page));
                file.extend((data_at as u64).to_le_bytes());
                file.extend((packed.len() as u32).to_le_bytes());
                file.extend(flags.to_le_bytes());
                file.extend([0; 8]);
                data_at += packed.len();
                data.extend(packed);
            }
            file.extend(data);
            file
        }
    }

    fn check(what: &str, image: &Elected, page: usize, pfns: Range<u64>) {
        assert_eq!(image.memory.describe(), "kdump", "{what}");
        let runs = image.memory.runs().iter().flat_map(|run| run.start.0..run.start.0 + run.bytes);
        let seen = runs.step_by(page).map(|at| at / page as u64);
        assert!(seen.eq(pfns.clone().filter(|&pfn| is_dumped(pfn))) || page != 0x1000, "{what}");
        for pfn in 0..=PAGES {
            let mut buffer = vec![0; page];
            let at = Pa(pfn * page as u64);
            let read = image.memory.read(at, &mut buffer).map_err(|fault| fault.reason);
            let expected = match pfn {
                pfn if pfns.contains(&pfn) && is_dumped(pfn) => Ok(()),
                pfn if pfn < PAGES && is_ram(pfn) => Err(FaultReason::NotDumped(at)),
                _ => Err(FaultReason::NotInImage(at)),
            };
            assert_eq!(read, expected, "{what}: {pfn}");
            assert!(expected.is_err() || buffer == content(pfn, page), "{what}: {pfn}");
        }
    }

    #[test]
    fn every_version_word_size_and_compression_is_read() {
        for version in 1..=6 {
            for (is_64, machine, page) in [
                (true, "x86_64", 0x1000),
                (true, "aarch64", 0x1_0000),
                (false, "i686", 0x1000),
                (false, "armv7l", 0x1000),
            ] {
                if page > 0x1000 && version < 6 {
                    continue;
                }
                let what = format!("version {version} of {machine}");
                let file = Writer { is_64, machine, version, page, split: None }.file();
                let image = vote(&file).unwrap_or_else(|why| panic!("{what}: {why}"));
                assert_eq!(image.warnings, [""; 0], "{what}");
                check(&what, &image, page, 0..PAGES);
                let release = image.hints.vmcoreinfo.get("OSRELEASE").map(String::as_str);
                assert_eq!(release, (version >= 3).then_some("6.1.0-test"), "{what}");
                let cr3 = (version >= 4).then_some(Pa(0x1234_5000));
                assert_eq!(image.hints.dtbs, cr3.into_iter().collect::<Vec<_>>(), "{what}");
                assert!(image.hints.facts.contains(&("dump level".into(), "31".into())), "{what}");
            }
        }
    }

    #[test]
    fn a_flattened_dump_is_the_dump() {
        let file = PLAIN.file();
        // As makedumpfile writes: the bitmap again at the end, once it is known.
        let (head, data) = file.split_at(0x4000);
        let blank = vec![0; 0x2000];
        let flat = flattened(&[(0x4000, data), (0, head), (0x2000, &blank), (0x2000, &head[0x2000..])]);
        check("flattened", &vote(&flat).expect("an image"), 0x1000, 0..PAGES);
    }

    #[test]
    fn the_parts_of_a_split_dump_are_found_in_one_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let ranges = [0..200, 200..503, 503..PAGES];
        for (name, range) in ["b", "a", "c"].iter().zip(&ranges) {
            let part = Writer { split: Some(range.clone()), ..PLAIN }.file();
            std::fs::write(folder.path().join(name), part).expect("written");
        }
        // Of another machine, and of another split of the same.
        std::fs::write(folder.path().join("d"), Writer { machine: "other", split: Some(0..9), ..PLAIN }.file())
            .expect("written");
        std::fs::write(folder.path().join("e"), Writer { split: Some(0..9), ..PLAIN }.file()).expect("written");
        let open = |name: &str| {
            let image =
                crate::image::open(&folder.path().join(name), &crate::image::Options::default()).expect("an image");
            let told: u64 = image.runs().iter().map(|run| run.bytes / 0x1000).sum();
            (image, told)
        };
        for name in ["a", "b", "c"] {
            let (image, pages) = open(name);
            assert_eq!(
                (pages, &image.warnings[..]),
                ((0..PAGES).filter(|&pfn| is_dumped(pfn)).count() as u64, &[][..])
            );
            for pfn in (0..PAGES).filter(|&pfn| is_dumped(pfn)) {
                let mut page = vec![0; 0x1000];
                assert_eq!(image.read(Pa(pfn * 0x1000), &mut page), Ok(()));
                assert!(page == content(pfn, 0x1000), "{name}: {pfn}");
            }
        }
        std::fs::remove_file(folder.path().join("b")).expect("removed");
        std::fs::remove_file(folder.path().join("e")).expect("removed");
        let (image, pages) = open("a");
        assert_eq!(pages, (200..PAGES).filter(|&pfn| is_dumped(pfn)).count() as u64);
        assert!(image.warnings.iter().any(|warning| warning.contains("the dump is split")), "{:?}", image.warnings);
        assert_eq!(image.read(Pa(0), &mut [0]).expect_err("in b").reason, FaultReason::NotDumped(Pa(0)));
    }

    #[test]
    fn a_truncated_dump_gives_the_pages_that_are_there() {
        let file = PLAIN.file();
        let descriptors = 0x4000;
        let dumped: Vec<u64> = (0..PAGES).filter(|&pfn| is_dumped(pfn)).collect();
        for (cut, there) in [(descriptors + 24 * 100 + 5, 100), (descriptors + 24, 1)] {
            let image = vote(&file[..cut]).expect("an image");
            assert!(image.warnings.iter().any(|warning| warning.contains("truncated")), "{:?}", image.warnings);
            let pages: u64 = image.memory.runs().iter().map(|run| run.bytes / 0x1000).sum();
            assert_eq!(pages, there);
            let at = Pa(dumped[there as usize] * 0x1000);
            assert_eq!(image.memory.read(at, &mut [0]).expect_err("cut off").reason, FaultReason::Truncated(at));
        }
        let image = vote(&file[..file.len() - 1]).expect("an image");
        assert!(
            image.warnings.iter().any(|warning| warning.contains("data of its last pages")),
            "{:?}",
            image.warnings
        );
        let last = Pa(dumped[dumped.len() - 1] * 0x1000);
        let fault = image.memory.read(last, &mut [0]).expect_err("cut off");
        assert!(
            matches!(&fault.reason, FaultReason::Corrupt { at, why } if *at == last && why.contains("not in the file"))
        );
        assert!(vote(&file[..0x3000]).is_err_and(|why| why.contains("not all in the file")));
    }

    #[test]
    fn headers_and_descriptors_that_lie_are_told() {
        let good = PLAIN.file();
        let changed = |at: usize, bytes: &[u8]| {
            let mut file = good.clone();
            file[at..at + bytes.len()].copy_from_slice(bytes);
            vote(&file)
        };
        for (at, bytes, why) in [
            (8, &[0, 0, 0, 6][..], "big-endian"),
            (8, &[7, 0, 0, 0], "its version is 7"),
            (428, &[0, 0, 0, 0], "block size"),
            (432, &[0xff; 4], "not all in the file"),
            (436, &[0; 4], "block size"),
            (0x1000 + 96, &[0xff; 8], "2^52"),
            (0x1000 + 96, &[0, 0, 0, 0, 0xff], "not all in the file"),
        ] {
            let said = changed(at, bytes).err();
            assert!(said.as_ref().is_some_and(|said| said.contains(why)), "{why}: {said:?}");
        }
        assert!(changed(424, &[8]).expect("an image").warnings[0].contains("incomplete"));
        // The first descriptor: page 0, zlib.
        for (at, bytes, why) in [
            (0x4000, &[0xff; 8][..], "are not in the file"),
            (0x4008, &[0xff; 4], "more than a page"),
            (0x4008, &[1, 0, 0, 0], "and not to a page"),
            (0x400c, &[3], "two compressions at once"),
            (0x400c, &[2], "LZO"),
            (0x400c, &[4], "snappy"),
            (0x400c, &[0x20], "zstd"),
        ] {
            let image = changed(at, bytes).expect("an image");
            // Page 0 is noise, and stored as it is: page 5 is the first that zlib packed.
            let fault = image.memory.read(Pa(0), &mut [0]).expect_err("damaged").to_string();
            assert!(fault.contains(why) && fault.contains("0x4000"), "{why}: {fault}");
        }
    }
}
