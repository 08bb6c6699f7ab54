//! LiME version 1: a 32-byte header before each range of memory.
//!
//! Source: the format's own description (LiME `doc/README.md`) and files of lime.ko and `avml convert`. All fields are
//! little-endian: magic u32, version u32, first physical address u64, last one u64 (inclusive), eight reserved bytes.

use super::fields::{u32_at, u64_at};
use super::run_layer::{Declared, MAX_RUNS, RunLayer, end_of};
use super::vote::{Layer, Probe, Vote};
use super::{Hints, PhysicalMemory, array};
use std::sync::Arc;

/// The magic of a range as it is, and of one that AVML compressed.
pub(super) const MAGIC: [u8; 4] = *b"EMiL";
pub(super) const AVML_MAGIC: [u8; 4] = *b"AVML";
pub(super) const HEADER_BYTES: u64 = 32;

/// What stands at a place where a header is due.
pub(super) enum Header {
    /// A range of memory as it is, or compressed as AVML does it.
    Range { start: u64, bytes: u64, compressed: bool },
    /// Nothing that can be read; why.
    Wrong(String),
}

/// Answers whether `base` is a LiME file.
pub(super) fn probe(&Probe { base, .. }: &Probe<'_>) -> Vote {
    match array::<4>(base.as_ref(), 0) {
        Some(MAGIC) => {}
        _ => return Vote::no("no LiME magic at the start"),
    }
    let end = end_of(base.as_ref());
    let mut declared = Vec::new();
    let mut warnings = Vec::new();
    let mut offset = 0;
    while offset < end {
        match header(base.as_ref(), offset) {
            Header::Wrong(why) if declared.is_empty() => return Vote::Broken(why),
            Header::Wrong(why) => {
                warnings.push(format!("{why}: the last {} bytes of the file are left out", end - offset));
                break;
            }
            Header::Range { .. } if declared.len() == MAX_RUNS => {
                warnings.push(format!("more than {MAX_RUNS} ranges: those from offset {offset:#x} on are left out"));
                break;
            }
            Header::Range { compressed: true, .. } => {
                return Vote::Broken(format!("the range at offset {offset:#x} is compressed: the format is AVML"));
            }
            Header::Range { start, bytes, compressed: false } => {
                let data = offset + HEADER_BYTES;
                declared.push(Declared { start, bytes, file_offset: data });
                match data.checked_add(bytes) {
                    Some(next) => offset = next,
                    None => break,
                }
            }
        }
    }
    let layer = RunLayer::new("LiME", Arc::clone(base), &declared, &mut warnings);
    if layer.runs().is_empty() {
        return Vote::Broken(format!("it holds no memory ({})", warnings.join("; ")));
    }
    Vote::Yes(Layer { memory: Arc::new(layer), warnings, hints: Hints::default() })
}

/// The header of a range at `offset`, of LiME or of AVML: they differ in magic and version alone.
pub(super) fn header(base: &dyn PhysicalMemory, offset: u64) -> Header {
    let fields = array::<{ HEADER_BYTES as usize }>(base, offset);
    let fields = fields
        .as_ref()
        .and_then(|header| Some((*header.first_chunk()?, u32_at(header, 4)?, u64_at(header, 8)?, u64_at(header, 16)?)));
    let Some((magic, version, start, last)) = fields else {
        return Header::Wrong(format!("the header at offset {offset:#x} is cut short"));
    };
    let compressed = match (magic, version) {
        (MAGIC, 1) => false,
        (AVML_MAGIC, 2) => true,
        (MAGIC | AVML_MAGIC, version) => {
            return Header::Wrong(format!("the header at offset {offset:#x} has the unknown version {version}"));
        }
        _ => return Header::Wrong(format!("there is no LiME header at offset {offset:#x}")),
    };
    match last.checked_sub(start).and_then(|less_one| less_one.checked_add(1)) {
        Some(bytes) => Header::Range { start, bytes, compressed },
        None => Header::Wrong(format!("the header at offset {offset:#x} declares the range {start:#x} to {last:#x}")),
    }
}
