//! hiberfil.sys, the hibernation file of Windows XP to 11.
//!
//! What it holds is the memory that was in use. After a resume Windows clears most of it; what is left is read. What of
//! the description rests on one source is said in [`legacy`] and [`modern`].

mod legacy;
mod modern;
mod xpress;

use super::codec_layer::{Codec, CodecLayer, Place};
use super::fields::{piece, u32_at, u64_at};
use super::run_layer::end_of;
use super::vote::{Layer, Probe, Vote};
use super::{Hints, PhysicalMemory, Run, array};
use crate::addr::Pa;
use crate::time::Time;
use std::path::Path;
use std::sync::Arc;

/// The name in the voting log and in `Options::format`.
pub(super) const NAME: &str = "hibernation file";

const SIGNATURES: [&[u8; 4]; 6] = [b"hibr", b"wake", b"HIBR", b"WAKE", b"RSTR", b"HORM"];
const PAGE_BYTES: u64 = 4096;
/// Pages that are compressed together, at most. Counts within a set are kept in a byte.
const SET_PAGES: u64 = 16;
/// 256 GiB of memory in use; it bounds the memory that the index can take, 16 bytes a set and a range.
const MAX_SETS: usize = 1 << 22;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Plain,
    Huffman,
    PlainOrHuffman,
}

/// Pages that are compressed together.
struct Set {
    offset: u64,
    packed: u32,
    pages: u8,
    method: Method,
}

/// Consecutive pages of memory that are in one set.
#[derive(Clone, Copy)]
struct Range {
    /// The number of the first page.
    first: u64,
    set: u32,
    pages: u8,
    /// Which page of the set the first is.
    within: u8,
}

/// Where every page is.
#[derive(Default)]
struct Pages {
    sets: Vec<Set>,
    ranges: Vec<Range>,
}

/// Answers whether the layer is a hibernation file.
pub(super) fn probe(&Probe { base, path, .. }: &Probe<'_>) -> Vote {
    let memory = base.as_ref();
    if is_cleared(memory, path) {
        return Vote::Broken(
            "it is a hibernation file whose header page is cleared, as Windows does after a resume: where its memory \
             belongs cannot be told"
                .into(),
        );
    }
    let Some(signature) = array::<4>(memory, 0).filter(|start| SIGNATURES.contains(&start)) else {
        return Vote::no("no signature of a hibernation file at the start");
    };
    let header = piece(memory, 0, end_of(memory).min(PAGE_BYTES)).unwrap_or_default();
    // PO_MEMORY_IMAGE: PageSize is at 0x14 in 32-bit and at 0x18 in 64-bit files. The signatures are plain words.
    let page_size = Some(PAGE_BYTES as u32);
    if u32_at(&header, 0x14) != page_size && u32_at(&header, 0x18) != page_size {
        return Vote::no("the signature of a hibernation file, and no page size in its header");
    }
    let wide = u32_at(&header, 0x18) == page_size;
    let mut warnings = Vec::new();
    let mut pages = Pages::default();
    if u32_at(&header, 0xc).is_some_and(modern::knows) {
        modern::read(memory, &header, &mut pages, &mut warnings);
    } else if let Err(why) = legacy::read(memory, &header, &mut pages, &mut warnings) {
        return Vote::Broken(why);
    }
    if let Some(overlapping) = pages.sort() {
        warnings.push(format!("{overlapping} range(s) overlap another one: the one that begins first counts"));
    }
    let runs = pages.runs();
    if runs.is_empty() {
        return Vote::Broken(format!("it holds no memory ({})", warnings.join("; ")));
    }
    let mut hints = Hints::default();
    let mut fact = |what: &str, value: String| hints.facts.push((what.into(), value));
    fact("signature", String::from_utf8_lossy(&signature).into_owned());
    fact("header length", format!("{:#x}", u32_at(&header, 0xc).unwrap_or(0)));
    if let Some(time) = u64_at(&header, if wide { 0x20 } else { 0x18 }).and_then(Time::from_filetime) {
        fact("system time", time.to_string());
    }
    Vote::Yes(Layer { memory: Arc::new(CodecLayer::new(Arc::clone(base), pages, runs, Vec::new())), warnings, hints })
}

/// Whether this is a hibernation file without its header: the first page is empty, and the file has the name of one, or the
/// compressed blocks that follow a table of Windows XP to 7. Newer files have nothing else by which to know them.
fn is_cleared(memory: &dyn PhysicalMemory, path: Option<&Path>) -> bool {
    if piece(memory, 0, PAGE_BYTES).is_none_or(|page| page.iter().any(|&byte| byte != 0)) {
        return false;
    }
    let is_named = path.is_some_and(|path| {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().to_ascii_lowercase());
        stem.is_some_and(|stem| stem.starts_with("hiberfil"))
            && path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("sys"))
    });
    // The first table is on one of the first pages.
    is_named || (2..=17).any(|page| array(memory, page * PAGE_BYTES).as_ref() == Some(legacy::BLOCK_MAGIC))
}

impl Pages {
    /// Adds a set and the pages that it holds, (first, count) in order. False when there are too many.
    fn add(&mut self, offset: u64, packed: u32, pages: u64, method: Method, ranges: &[(u64, u64)]) -> bool {
        let (Ok(set), Ok(pages)) = (u32::try_from(self.sets.len()), u8::try_from(pages)) else { return false };
        if self.sets.len() >= MAX_SETS || self.ranges.len() + ranges.len() > MAX_SETS * 4 {
            return false;
        }
        let mut within = 0_u8;
        for &(first, count) in ranges {
            let count = count.min(SET_PAGES) as u8;
            // 2^52 bytes.
            if first + u64::from(count) <= 1 << 40 {
                self.ranges.push(Range { first, pages: count, set, within });
            }
            within = within.saturating_add(count);
        }
        self.sets.push(Set { offset, packed, pages, method });
        true
    }

    /// Sorts the ranges and makes them disjoint; gives how many lost pages, if any did.
    fn sort(&mut self) -> Option<usize> {
        self.ranges.sort_by_key(|range| range.first);
        let mut free = 0;
        let mut overlapping = 0;
        for range in &mut self.ranges {
            let taken = (free.max(range.first) - range.first).min(u64::from(range.pages)) as u8;
            overlapping += usize::from(taken > 0);
            range.first += u64::from(taken);
            range.within += taken;
            range.pages -= taken;
            free = free.max(range.first + u64::from(range.pages));
        }
        self.ranges.retain(|range| range.pages > 0);
        (overlapping > 0).then_some(overlapping)
    }

    fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for range in &self.ranges {
            let (start, bytes) = (range.first * PAGE_BYTES, u64::from(range.pages) * PAGE_BYTES);
            match runs.last_mut() {
                Some(last) if last.start.0 + last.bytes == start => last.bytes += bytes,
                _ => runs.push(Run { start: Pa(start), bytes, file_offset: None }),
            }
        }
        runs
    }
}

impl Codec for Pages {
    fn name(&self) -> &'static str {
        NAME
    }

    fn locate(&self, at: Pa) -> Place {
        let index = self.ranges.partition_point(|range| range.first * PAGE_BYTES <= at.0).saturating_sub(1);
        let range = self.ranges.get(index);
        let set = range.and_then(|range| self.sets.get(range.set as usize));
        let (Some(range), Some(set)) = (range, set) else { return Place::Fill { byte: 0, bytes: 1 } };
        let inside = at.0.saturating_sub(range.first * PAGE_BYTES);
        let bytes = (u64::from(range.pages) * PAGE_BYTES).saturating_sub(inside);
        let offset = u64::from(range.within) * PAGE_BYTES + inside;
        if u64::from(set.packed) == u64::from(set.pages) * PAGE_BYTES {
            return Place::Below { offset: set.offset + offset, bytes };
        }
        Place::Chunk { chunk: u64::from(range.set), offset: offset as usize, bytes }
    }

    fn decode(&self, base: &dyn PhysicalMemory, chunk: u64, into: &mut Vec<u8>) -> Result<(), String> {
        let set = usize::try_from(chunk).ok().and_then(|chunk| self.sets.get(chunk)).ok_or("there is no such set")?;
        let bytes = usize::from(set.pages) * PAGE_BYTES as usize;
        let place = |what: &str| format!("the {} packed bytes at offset {:#x} {what}", set.packed, set.offset);
        let packed = piece(base, set.offset, u64::from(set.packed)).ok_or_else(|| place("are not in the file"))?;
        let unpacked = match set.method {
            Method::Plain => xpress::plain(&packed, bytes),
            Method::Huffman => xpress::huffman(&packed, bytes),
            Method::PlainOrHuffman => xpress::plain(&packed, bytes).or_else(|| xpress::huffman(&packed, bytes)),
        };
        *into = unpacked.ok_or_else(|| place(&format!("do not unpack to {} pages (Xpress)", set.pages)))?;
        Ok(())
    }
}

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
