//! A layer that is a list of runs: physical ranges, each somewhere in the layer below. ELF cores and LiME files are such.

use super::{PhysicalMemory, Run};
use crate::addr::Pa;
use crate::error::{FaultReason, PageFault};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Physical addresses have 52 bits at most (x86-64 and AArch64 manuals); what a header places behind is nonsense.
const END_OF_PHYSICAL: u64 = 1 << 52;

/// More runs than any machine has; it bounds what a hostile header can make us keep.
pub(super) const MAX_RUNS: usize = 1 << 20;

/// A range that a header declares, before anything was checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Declared {
    /// First physical address.
    pub(super) start: u64,
    /// Length in bytes.
    pub(super) bytes: u64,
    /// Where its first byte is in the layer below.
    pub(super) file_offset: u64,
}

/// Runs over the layer below.
pub(super) struct RunLayer {
    format: &'static str,
    base: Arc<dyn PhysicalMemory>,
    /// Sorted, disjoint, all of it backed by `base`.
    runs: Vec<Run>,
    /// Ranges that the header promises and the file is too short for: sorted, disjoint, as (start, end).
    cut: Vec<(u64, u64)>,
}

impl RunLayer {
    /// Takes the declared ranges in the order of the header. Where two overlap the first wins; what lies behind the end
    /// of `base`, or behind 2^52, is left out. Each such thing adds a sentence to `warnings`.
    pub(super) fn new(
        format: &'static str,
        base: Arc<dyn PhysicalMemory>,
        declared: &[Declared],
        warnings: &mut Vec<String>,
    ) -> Self {
        let base_end = end_of(base.as_ref());
        let in_range = |d: &&Declared| d.start.checked_add(d.bytes).is_some_and(|end| end <= END_OF_PHYSICAL);
        let usable: Vec<Declared> = declared.iter().filter(|d| d.bytes > 0).filter(in_range).copied().collect();
        let too_far = declared.iter().filter(|d| d.bytes > 0).count() - usable.len();
        if too_far > 0 {
            warnings.push(format!("{too_far} range(s) left out: they reach behind the physical address 2^52"));
        }
        let (pieces, overlapping) = first_wins(&usable);
        if overlapping > 0 {
            warnings.push(format!("{overlapping} range(s) overlap another one: where they do, the first one counts"));
        }
        let mut runs: Vec<Run> = Vec::with_capacity(pieces.len());
        let mut cut = Vec::new();
        for piece in pieces {
            let backed = base_end.saturating_sub(piece.file_offset).min(piece.bytes);
            if backed < piece.bytes {
                cut.push((piece.start + backed, piece.start + piece.bytes));
            }
            if backed == 0 {
                continue;
            }
            match runs.last_mut() {
                Some(last)
                    if last.start.0 + last.bytes == piece.start
                        && last.file_offset + last.bytes == piece.file_offset =>
                {
                    last.bytes += backed;
                }
                _ => runs.push(Run { start: Pa(piece.start), bytes: backed, file_offset: piece.file_offset }),
            }
        }
        if !cut.is_empty() {
            let bytes: u64 = cut.iter().map(|(start, end)| end - start).sum();
            warnings
                .push(format!("the file is truncated: {bytes} bytes of memory that its headers promise are missing"));
        }
        Self { format, base, runs, cut }
    }

    /// The run that holds `at`.
    fn run_at(&self, at: Pa) -> Option<&Run> {
        let after = self.runs.partition_point(|run| run.start <= at);
        self.runs.get(after.checked_sub(1)?).filter(|run| at.0 - run.start.0 < run.bytes)
    }

    fn missing(&self, at: Pa) -> PageFault {
        let after = self.cut.partition_point(|&(start, _)| start <= at.0);
        let cut = after.checked_sub(1).and_then(|i| self.cut.get(i)).is_some_and(|&(_, end)| at.0 < end);
        PageFault::physical(if cut { FaultReason::Truncated(at) } else { FaultReason::NotInImage(at) })
    }
}

impl PhysicalMemory for RunLayer {
    fn read(&self, at: Pa, buffer: &mut [u8]) -> Result<(), PageFault> {
        let mut done = 0;
        while done < buffer.len() {
            let here = at.checked_add(done as u64);
            let Some((here, run)) = here.and_then(|here| Some((here, self.run_at(here)?))) else {
                buffer.get_mut(done..).unwrap_or_default().fill(0);
                return Err(self.missing(at.wrapping_add(done as u64)));
            };
            let inside = here.0 - run.start.0;
            let left = usize::try_from(run.bytes - inside).unwrap_or(usize::MAX);
            let (_, rest) = buffer.split_at_mut(done);
            let wanted = left.min(rest.len());
            let (piece, behind) = rest.split_at_mut(wanted);
            if let Err(fault) = self.base.read(Pa(run.file_offset + inside), piece) {
                behind.fill(0);
                return Err(at_this_layer(fault, here, run.file_offset + inside));
            }
            done += wanted;
        }
        Ok(())
    }

    fn runs(&self) -> &[Run] {
        &self.runs
    }

    fn slice(&self, at: Pa, bytes: usize) -> Option<&[u8]> {
        let run = self.run_at(at)?;
        let inside = at.0 - run.start.0;
        if run.bytes - inside < bytes as u64 {
            return None;
        }
        self.base.slice(Pa(run.file_offset + inside), bytes)
    }

    fn release(&self, at: Pa, bytes: usize) {
        if let Some(run) = self.run_at(at) {
            let inside = at.0 - run.start.0;
            let bytes = bytes.min(usize::try_from(run.bytes - inside).unwrap_or(bytes));
            self.base.release(Pa(run.file_offset + inside), bytes);
        }
    }

    fn describe(&self) -> String {
        self.format.into()
    }
}

/// A gap of the layer below, named by the address of this layer that falls into it.
fn at_this_layer(fault: PageFault, here: Pa, below: u64) -> PageFault {
    let moved = |at: Pa| here.wrapping_add(at.0.wrapping_sub(below));
    match fault.reason {
        FaultReason::NotInImage(at) => PageFault::physical(FaultReason::NotInImage(moved(at))),
        FaultReason::Truncated(at) => PageFault::physical(FaultReason::Truncated(moved(at))),
        _ => fault,
    }
}

/// The offset behind the last byte of a layer.
pub(super) fn end_of(memory: &dyn PhysicalMemory) -> u64 {
    memory.runs().last().map_or(0, |run| run.start.0.saturating_add(run.bytes))
}

/// Sorted, disjoint pieces of the ranges, the earlier range winning where several hold an address, and how many ranges
/// lost bytes that way. A sweep over the borders: n log n, and never more than two pieces a range. The ends are known
/// not to overflow.
fn first_wins(declared: &[Declared]) -> (Vec<Declared>, usize) {
    // (address, true for an end, index of the range)
    let mut borders: Vec<(u64, bool, usize)> = Vec::with_capacity(declared.len() * 2);
    for (index, range) in declared.iter().enumerate() {
        borders.push((range.start, false, index));
        borders.push((range.start + range.bytes, true, index));
    }
    borders.sort_unstable();
    let mut lost: Vec<u64> = declared.iter().map(|range| range.bytes).collect();
    let mut active = BTreeSet::new();
    let mut pieces: Vec<Declared> = Vec::with_capacity(declared.len());
    let mut borders = borders.into_iter().peekable();
    while let Some((at, is_end, index)) = borders.next() {
        if is_end {
            active.remove(&index);
        } else {
            active.insert(index);
        }
        let next = borders.peek().map_or(at, |&(next, _, _)| next);
        let winner = active.first().and_then(|&winner| Some((lost.get_mut(winner)?, declared.get(winner)?)));
        let Some((lost, range)) = winner.filter(|_| next > at) else { continue };
        *lost -= next - at;
        pieces.push(Declared {
            start: at,
            bytes: next - at,
            file_offset: range.file_offset.saturating_add(at - range.start),
        });
    }
    (pieces, lost.into_iter().filter(|&bytes| bytes > 0).count())
}
