//! QEMU's migration stream: `savevm`, `migrate exec:`, Proxmox snapshots, and what libvirt saves.
//!
//! Source: QEMU's `migration/savevm.c`, `migration/ram.c`, `hw/i386/pc_piix.c`, `pc_q35.c`, `pc.c`; a stream of QEMU 7.2.
//! Numbers are big-endian. The memory comes as pages of named blocks; a page that the guest wrote to meanwhile comes
//! again, and the last one counts. Where a block is in the machine the stream does not say: the machine's name does, and
//! the CMOS of a PC, which tells the BIOS how much memory is above 4 GiB.

mod machine;
mod nodes;
mod reader;
#[cfg(test)]
mod tests;

use super::codec_layer::{Codec, CodecLayer, Place};
use super::run_layer::{END_OF_PHYSICAL, Layout};
use super::vote::{Layer, Probe, Vote};
use super::{GapKind, Hints, PhysicalMemory, array, inflate};
use crate::addr::Pa;
use std::sync::Arc;

use machine::Part;
use reader::Reader;

const MAGIC: &[u8; 4] = b"QEVM";

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
    let (why, ended) = match ended {
        Ok(()) => (GapKind::NotDumped, None),
        // What was read so far is good, if it was anything.
        Err(why) if blocks.iter().any(|block| block.pages.iter().any(|&page| page != Source::MISSING)) => {
            (GapKind::Truncated, Some(why))
        }
        Err(why) => return Err(why),
    };
    if left_out > 0 {
        warnings.push(format!("{left_out} page(s) lie further on in their block than the stream can reach: left out"));
    }
    let pc = machine::pc_memory(base.as_ref(), at);
    let main = nodes::take_main(&mut blocks, page_bytes, pc.map(|pc| pc.below + pc.above))?;
    warnings.extend(nodes::plugged(&blocks));
    let parts = machine::place(&machine, &main.name, main.bytes, pc.map(|pc| pc.above), &mut warnings);
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
    warnings.extend(layout.truncated(ended));
    if layout.runs.is_empty() {
        return Err(format!("it holds no memory of the block {}", main.name));
    }
    let mut facts = vec![("QEMU machine".to_owned(), machine)];
    facts.extend(blocks.iter().map(|block| (format!("RAM block {}", block.name), format!("{} bytes", block.bytes))));
    let codec = Stream { pages: main.pages, page_bytes, parts };
    let memory = Arc::new(CodecLayer::new(Arc::clone(base), codec, layout.runs, layout.gaps));
    Ok(Layer { memory, warnings, hints: Hints { facts, ..Hints::default() } })
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
        inflate::zlib(&data, self.page_bytes, into).map_err(|why| here(&why))?;
        if into.len() as u64 == self.page_bytes { Ok(()) } else { Err(here(&"it does not unpack to a page")) }
    }
}
