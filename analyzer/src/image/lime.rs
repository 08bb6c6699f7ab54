//! LiME version 1: a 32-byte header before each range of memory.
//!
//! Source: the format's own description (LiME `doc/README.md`) and files of lime.ko and `avml convert`. All fields are
//! little-endian: magic u32, version u32, first physical address u64, last one u64 (inclusive), eight reserved bytes.

use super::run_layer::{Declared, MAX_RUNS, RunLayer, end_of};
use super::vote::{Layer, Probe, Vote};
use super::{Hints, PhysicalMemory, array};
use std::sync::Arc;

const MAGIC: &[u8; 4] = b"EMiL";
const HEADER_BYTES: u64 = 32;

/// What stands at a place where a header is due.
enum Header {
    Range { start: u64, bytes: u64 },
    Wrong(String),
}

/// Answers whether `base` is a LiME file.
pub(super) fn probe(&Probe { base, .. }: &Probe<'_>) -> Vote {
    match array::<4>(base.as_ref(), 0) {
        Some(magic) if &magic == MAGIC => {}
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
            Header::Range { start, bytes } => {
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

fn header(base: &dyn PhysicalMemory, offset: u64) -> Header {
    let Some(bytes) = array::<32>(base, offset) else {
        return Header::Wrong(format!("the header at offset {offset:#x} is cut short"));
    };
    let field = |at: usize| bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
    let (magic_and_version, start, last) = (field(0), field(8), field(16));
    let version = magic_and_version >> 32;
    if bytes.starts_with(b"AVML") {
        return Header::Wrong(format!(
            "the range at offset {offset:#x} is compressed (AVML), which is not supported yet"
        ));
    }
    if !bytes.starts_with(MAGIC) {
        return Header::Wrong(format!("there is no LiME header at offset {offset:#x}"));
    }
    if version != 1 {
        return Header::Wrong(format!("the header at offset {offset:#x} has version {version}; only 1 is known"));
    }
    match last.checked_sub(start).and_then(|less_one| less_one.checked_add(1)) {
        Some(bytes) => Header::Range { start, bytes },
        None => Header::Wrong(format!("the header at offset {offset:#x} declares the range {start:#x} to {last:#x}")),
    }
}
