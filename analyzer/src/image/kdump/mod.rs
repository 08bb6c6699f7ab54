//! kdump images: pages compressed one by one, as makedumpfile, the kdump service, QEMU and libvirt write them.
//!
//! Source: makedumpfile's `IMPLEMENTATION` and `diskdump_mod.h`, libkdumpfile; files of makedumpfile and QEMU. After the
//! header and the sub-header, in blocks, come two bitmaps (which pages are RAM, which of them were dumped), and a
//! descriptor for each dumped page. The header has the byte order and the word size of the machine.

mod header;
#[cfg(test)]
pub(super) mod tests;

use super::backing::lack;
use super::codec_layer::{Codec, CodecLayer, Place};
use super::fields::{u32_at, u64_at};
use super::page_bitmap::PageBitmap;
use super::raw::Raw;
use super::run_layer::{Layout, MAX_RUNS, end_of, holds, with_missing};
use super::vote::{Layer, Probe, Vote};
use super::{GapKind, PhysicalMemory, array, inflate, lzo};
use crate::addr::Pa;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use header::{HEADER_BYTES, Header};

const MAGIC: &[u8; 8] = b"KDUMP   ";
const DESCRIPTOR_BYTES: u64 = 24;
/// `DUMP_DH_COMPRESSED_INCOMPLETE`, a bit of the header's status: the writer ran out of space.
const INCOMPLETE: u32 = 8;
/// Files of a folder that are looked at for the other parts of a split dump.
const MAX_SIBLINGS: usize = 1024;

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

/// `page_desc_t`: where a page is in the file, how long, and how it is compressed.
struct Descriptor {
    offset: u64,
    bytes: u32,
    flags: u32,
}

impl Descriptor {
    fn read(file: &dyn PhysicalMemory, at: u64) -> Option<Self> {
        let fields = array::<{ DESCRIPTOR_BYTES as usize }>(file, at)?;
        Some(Self { offset: u64_at(&fields, 0)?, bytes: u32_at(&fields, 8)?, flags: u32_at(&fields, 12)? })
    }

    /// Why the file lacks the page's data, if it does. Of no bytes is a descriptor that was not written any more: a
    /// flattened file that was cut off has zeros for it.
    fn lack(&self, file: &dyn PhysicalMemory) -> Option<GapKind> {
        if self.bytes == 0 { Some(GapKind::Truncated) } else { lack(file, self.offset, u64::from(self.bytes)) }
    }
}

struct Kdump {
    block_bytes: u64,
    dumped: PageBitmap,
    /// Sorted, disjoint.
    parts: Vec<Part>,
}

/// Answers whether `base` is a kdump image.
pub(super) fn probe(probe: &Probe<'_>) -> Vote {
    if array::<8>(probe.base.as_ref(), 0).as_ref() != Some(MAGIC) {
        return Vote::no("no KDUMP magic at the start");
    }
    match read(probe) {
        Ok(layer) => Vote::Yes(layer),
        Err(why) => Vote::Broken(why),
    }
}

fn read(probe: &Probe<'_>) -> Result<Layer, String> {
    let base = probe.base;
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
        for (path, file, sibling) in siblings(probe) {
            let sibling = part(&sibling, Some(file));
            // Of two that claim the same pages the first is kept, and this file before all others.
            let is_new = |known: &Part| known.pfns.end <= sibling.pfns.start || sibling.pfns.end <= known.pfns.start;
            if parts.iter().all(is_new) {
                parts.push(sibling);
                probe.beside.borrow_mut().push(path);
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
        let left = end_of(file).saturating_sub(part.descriptors);
        let there = left / DESCRIPTOR_BYTES;
        let count = dumped.rank(part.pfns.end) - part.first;
        // In a container with holes a page may be missing anywhere.
        let is_whole = count <= there && holds(file, part.descriptors, left) && ends_whole(file, part, count);
        let mut descriptors = (part.descriptors..).step_by(DESCRIPTOR_BYTES as usize);
        let mut end = part.pfns.start;
        for run in dumped.runs(part.pfns.clone(), there) {
            end = run.end;
            if is_whole {
                layout.run(run.start * page, (run.end - run.start) * page, None);
                continue;
            }
            for (pfn, at) in run.zip(&mut descriptors) {
                let why = match Descriptor::read(file, at) {
                    Some(descriptor) => descriptor.lack(file),
                    None => Some(lack(file, at, DESCRIPTOR_BYTES).unwrap_or(GapKind::Truncated)),
                };
                match why {
                    None => layout.run(pfn * page, page, None),
                    Some(why) => layout.gap(pfn * page, page, why),
                }
            }
        }
        if count > there {
            // One gap: to list the pages would let a header make more gaps than the file has bytes.
            layout.gap(end * page, (part.pfns.end - end) * page, GapKind::Truncated);
        }
        pages += count.min(there);
    }
    warnings.extend(layout.truncated(None));
    warnings.extend(layout.lacking(&base.describe()));
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

/// Whether the data of the last of the `count` pages of a part are in the file: writers put them in the order of the pages,
/// but for pages of zeros, which makedumpfile and QEMU write once. So of the last two places that differ one is the last.
fn ends_whole(file: &dyn PhysicalMemory, part: &Part, count: u64) -> bool {
    let mut last = None;
    for index in (0..count).rev() {
        let Some(descriptor) = Descriptor::read(file, part.descriptors + index * DESCRIPTOR_BYTES) else {
            return false;
        };
        if descriptor.lack(file).is_some() {
            return false;
        }
        if *last.get_or_insert(descriptor.offset) != descriptor.offset {
            return true;
        }
    }
    true
}

/// The other parts of a split dump, which are named as the user liked: files in the same folder that begin with the same
/// header.
fn siblings(probe: &Probe<'_>) -> Vec<(PathBuf, Arc<dyn PhysicalMemory>, Header)> {
    let Some(path) = probe.path else { return Vec::new() };
    let Some(own) = array::<HEADER_BYTES>(probe.base.as_ref(), 0) else { return Vec::new() };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let files = entries
        .take(MAX_SIBLINGS)
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name() != path.file_name().unwrap_or_default());
    let mut paths: Vec<_> =
        files.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())).map(|entry| entry.path()).collect();
    paths.sort();
    let open = |path: PathBuf| {
        let file = Raw::open(&path, probe.map).ok()?;
        let same = array::<HEADER_BYTES>(&file, 0)? == own;
        let header = same.then(|| Header::read(&file).ok())??;
        // The header's block size is the same, as the header is.
        header.split.as_ref()?;
        Some((path, Arc::new(file) as Arc<dyn PhysicalMemory>, header))
    };
    paths.into_iter().filter_map(open).collect()
}

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
        let Descriptor { offset, bytes, flags } =
            Descriptor::read(file, at).ok_or_else(|| here("the descriptor", &"it is behind the end of the file"))?;
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
        ZLIB => inflate::zlib(data, expected as u64, into)?,
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
