//! Mach-O cores of physical memory, as OSXPmem wrote them.
//!
//! Source: Apple's `mach-o/loader.h` for the structures; Rekall for their use: each `LC_SEGMENT_64` is a run, its `vmaddr`
//! a physical address. A core of a process looks the same but for its addresses.

use super::fields::{u32_at, u64_at};
use super::run_layer::{Declared, RunLayer, end_of};
use super::vote::{Layer, Probe, Vote};
use super::{GapKind, Hints, PhysicalMemory, array};
use std::sync::Arc;

const MH_MAGIC_64: u32 = 0xfeed_facf;
const MH_MAGIC: u32 = 0xfeed_face;
const MH_CORE: u32 = 4;
const HEADER_BYTES: u64 = 32;
const LC_SEGMENT_64: u32 = 0x19;
const SEGMENT_BYTES: u64 = 72;
const MAX_COMMANDS: u32 = 1 << 16;
/// A process may have addresses up to here on every processor of Apple's; no machine has memory there.
const END_OF_MEMORY: u64 = 1 << 46;

/// Answers whether `base` is a Mach-O core.
pub(super) fn probe(&Probe { base, .. }: &Probe<'_>) -> Vote {
    let start = array::<16>(base.as_ref(), 0);
    match start.as_ref().and_then(|start| Some((u32_at(start, 0)?, u32_at(start, 12)?))) {
        Some((MH_MAGIC_64, MH_CORE)) => {}
        Some((MH_MAGIC, MH_CORE)) => return Vote::Broken("it is a 32-bit core, which is not supported".into()),
        Some((MH_MAGIC_64 | MH_MAGIC, kind)) => return Vote::No(format!("a Mach-O file of type {kind}, not a core")),
        _ => return Vote::no("no Mach-O magic at the start"),
    }
    let mut warnings = Vec::new();
    let Segments { declared, missing } = match segments(base.as_ref(), &mut warnings) {
        Ok(found) => found,
        Err(why) => return Vote::Broken(why),
    };
    if declared.iter().any(|segment| segment.bytes > 0 && segment.start >= END_OF_MEMORY) {
        return Vote::Broken("its addresses are those of a process or of a kernel, not of memory".into());
    }
    let mut layer = RunLayer::new("Mach-O core", Arc::clone(base), &declared, &mut warnings);
    if layer.runs().is_empty() {
        return Vote::Broken(format!("none of its {} segments holds memory ({})", declared.len(), warnings.join("; ")));
    }
    layer.add_missing(missing, GapKind::NotDumped);
    Vote::Yes(Layer { memory: Arc::new(layer), warnings, hints: Hints::default() })
}

/// What the load commands say.
#[derive(Default)]
struct Segments {
    /// In the order of the file.
    declared: Vec<Declared>,
    /// Start and length of what they have in memory and not in the file.
    missing: Vec<(u64, u64)>,
}

fn segments(base: &dyn PhysicalMemory, warnings: &mut Vec<String>) -> Result<Segments, String> {
    let header = array::<{ HEADER_BYTES as usize }>(base, 0);
    let counts = header.as_ref().and_then(|header| Some((u32_at(header, 16)?, u64::from(u32_at(header, 20)?))));
    let (count, bytes) = counts.ok_or("its header is cut short")?;
    if count > MAX_COMMANDS {
        return Err(format!("it declares {count} load commands; more than {MAX_COMMANDS} are not read"));
    }
    let end = (HEADER_BYTES + bytes).min(end_of(base));
    let mut segments = Segments::default();
    let mut at = HEADER_BYTES;
    for index in 0..count {
        let command = array::<8>(base, at).filter(|_| at + 8 <= end);
        let command = command.as_ref().and_then(|command| Some((u32_at(command, 0)?, u64::from(u32_at(command, 4)?))));
        let Some((kind, bytes)) = command else {
            warnings.push(format!("load command {index}, at offset {at:#x}, is behind the end of the commands"));
            break;
        };
        if bytes < 8 || !bytes.is_multiple_of(4) {
            warnings.push(format!("load command {index}, at offset {at:#x}, says that it has {bytes} bytes"));
            break;
        }
        if kind == LC_SEGMENT_64 && bytes >= SEGMENT_BYTES {
            let segment = array::<{ SEGMENT_BYTES as usize }>(base, at);
            let segment = segment.as_ref().and_then(|segment| {
                Some((u64_at(segment, 24)?, u64_at(segment, 32)?, u64_at(segment, 40)?, u64_at(segment, 48)?))
            });
            let Some((start, in_memory, file_offset, in_file)) = segment else {
                warnings.push(format!("load command {index}, at offset {at:#x}, is cut short"));
                break;
            };
            let there = in_file.min(in_memory);
            segments.declared.push(Declared { start, bytes: there, file_offset });
            segments.missing.extend(start.checked_add(there).map(|start| (start, in_memory - there)));
        }
        at += bytes;
    }
    Ok(segments)
}
