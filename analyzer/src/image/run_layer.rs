//! A layer that is a list of runs: physical ranges, each somewhere in the layer below. ELF cores and LiME files are such.

use super::backing::{Backed, lack};
use super::{Gap, GapKind, PhysicalMemory, Run, missing, run_at};
use crate::addr::Pa;
use crate::error::PageFault;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Physical addresses have 52 bits at most (x86-64 and AArch64 manuals); what a header places behind is nonsense.
pub(super) const END_OF_PHYSICAL: u64 = 1 << 52;

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
    /// What the header promises and the file is too short for: sorted, disjoint.
    gaps: Vec<Gap>,
}

impl RunLayer {
    /// Takes the declared ranges in the order of the header. Of those that `base` has the first wins where two overlap; what no
    /// range has there is a gap, and what lies behind 2^52 is left out. Each such thing adds a sentence to `warnings`.
    pub(super) fn new(
        format: &'static str,
        base: Arc<dyn PhysicalMemory>,
        declared: &[Declared],
        warnings: &mut Vec<String>,
    ) -> Self {
        let in_range = |d: &&Declared| d.start.checked_add(d.bytes).is_some_and(|end| end <= END_OF_PHYSICAL);
        let usable: Vec<Declared> = declared.iter().filter(|d| d.bytes > 0).filter(in_range).copied().collect();
        let too_far = declared.iter().filter(|d| d.bytes > 0).count() - usable.len();
        if too_far > 0 {
            warnings.push(format!("{too_far} range(s) left out: they reach behind the physical address 2^52"));
        }
        let Backed { there, of, missing } = Backed::new(base.as_ref(), &usable, warnings);
        let ranges: Vec<(u64, u64)> = there.iter().map(|d| (d.start, d.bytes)).collect();
        let (pieces, losers) = first_wins(&ranges);
        let conflicts = conflicts(base.as_ref(), &there, &pieces, losers);
        let mut overlapping: Vec<_> = conflicts.iter().filter_map(|&index| of.get(index)).collect();
        overlapping.dedup();
        if !overlapping.is_empty() {
            let count = overlapping.len();
            warnings.push(format!("{count} range(s) overlap another one: where they do, the first one counts"));
        }
        let mut layout = Layout::default();
        for piece in pieces {
            let Some(range) = there.get(piece.range) else { continue };
            layout.run(piece.start, piece.bytes, Some(range.file_offset + piece.inside));
        }
        layout.missing(&missing);
        warnings.extend(layout.truncated(None));
        warnings.extend(layout.lacking(&base.describe()));
        let Layout { runs, gaps } = layout;
        Self { format, base, runs, gaps }
    }

    /// Says that the machine had `ranges` (start, bytes; in any order): what of them the runs do not hold is a gap.
    pub(super) fn add_missing(&mut self, ranges: Vec<(u64, u64)>, why: GapKind) {
        self.gaps = with_missing(&self.runs, &self.gaps, ranges, why);
    }

    /// Where the byte at `at` is in the layer below, and for how many bytes it goes on there.
    fn below(&self, at: Pa) -> Option<(u64, u64)> {
        let run = run_at(&self.runs, at)?;
        let inside = at.0 - run.start.0;
        Some((run.file_offset? + inside, run.bytes - inside))
    }
}

impl PhysicalMemory for RunLayer {
    fn read(&self, at: Pa, buffer: &mut [u8]) -> Result<(), PageFault> {
        let mut done = 0;
        while done < buffer.len() {
            let here = at.checked_add(done as u64);
            let Some((here, (offset, left))) = here.and_then(|here| Some((here, self.below(here)?))) else {
                buffer.get_mut(done..).unwrap_or_default().fill(0);
                return Err(missing(&self.gaps, at.wrapping_add(done as u64)));
            };
            let (_, rest) = buffer.split_at_mut(done);
            let wanted = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
            let (piece, behind) = rest.split_at_mut(wanted);
            if let Err(fault) = self.base.read(Pa(offset), piece) {
                behind.fill(0);
                return Err(fault.moved(Pa(offset), here));
            }
            done += wanted;
        }
        Ok(())
    }

    fn runs(&self) -> &[Run] {
        &self.runs
    }

    fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    fn slice(&self, at: Pa, bytes: usize) -> Option<&[u8]> {
        let (offset, left) = self.below(at)?;
        if left < bytes as u64 { None } else { self.base.slice(Pa(offset), bytes) }
    }

    fn release(&self, at: Pa, bytes: usize) {
        if let Some((offset, left)) = self.below(at) {
            self.base.release(Pa(offset), usize::try_from(left).map_or(bytes, |left| left.min(bytes)));
        }
    }

    fn describe(&self) -> String {
        self.format.into()
    }
}

/// The offset behind the last byte of a layer.
pub(super) fn end_of(memory: &dyn PhysicalMemory) -> u64 {
    memory.runs().last().map_or(0, |run| run.start.0.saturating_add(run.bytes))
}

/// Whether a layer has all of the `bytes` bytes at `at`.
pub(super) fn holds(memory: &dyn PhysicalMemory, at: u64, bytes: u64) -> bool {
    lack(memory, at, bytes).is_none()
}

/// The gaps, and one more for each part of `ranges` (start, bytes) that neither a run nor a gap has. What reaches behind
/// 2^52 is left out.
pub(super) fn with_missing(runs: &[Run], gaps: &[Gap], mut ranges: Vec<(u64, u64)>, why: GapKind) -> Vec<Gap> {
    ranges.retain(|&(start, bytes)| start.checked_add(bytes).is_some_and(|end| end <= END_OF_PHYSICAL));
    ranges.sort_unstable();
    let mut known: Vec<(u64, u64)> = runs.iter().map(|run| (run.start.0, run.bytes)).collect();
    known.extend(gaps.iter().map(|gap| (gap.start.0, gap.bytes)));
    known.sort_unstable();
    let mut known = known.into_iter().peekable();
    let mut all = gaps.to_vec();
    let mut here = 0;
    for (start, bytes) in ranges {
        let end = start + bytes;
        here = here.max(start);
        while here < end {
            match known.peek() {
                Some(&(known_start, known_bytes)) if known_start <= here => {
                    here = here.max(known_start + known_bytes);
                    // It may go on behind this range.
                    if here <= end {
                        known.next();
                    }
                }
                next => {
                    let stop = next.map_or(end, |&(known_start, _)| known_start.min(end));
                    all.push(Gap { start: Pa(here), bytes: stop - here, why });
                    here = stop;
                }
            }
        }
    }
    all.sort_unstable_by_key(|gap| gap.start);
    all
}

/// A piece of physical memory, and where a list of ranges has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// First physical address.
    pub(super) start: u64,
    /// Length in bytes.
    pub(super) bytes: u64,
    /// Index of the range that gives it.
    pub(super) range: usize,
    /// Where the piece begins inside that range, in bytes.
    pub(super) inside: u64,
}

/// Which of the ranges that lost bytes to another one had something else there. QEMU's dumps of a guest's mappings have
/// a segment for each, and many of one piece of memory; a kernel's own dump has its text a second time, with the same bytes.
fn conflicts(base: &dyn PhysicalMemory, declared: &[Declared], pieces: &[Piece], losers: Vec<usize>) -> Vec<usize> {
    /// More ranges than this are not compared one with another: that takes long, and only a sentence depends on it.
    const MAX_COMPARED: usize = 1 << 12;
    /// Of the memory that is there twice no more than this is compared, in bytes; a kernel's text and data are smaller.
    const MAX_COMPARED_BYTES: u64 = 128 << 20;
    if losers.len() > MAX_COMPARED || pieces.len() > 2 * MAX_COMPARED {
        return losers;
    }
    let mut budget = MAX_COMPARED_BYTES;
    let mut is_conflict = |loser: &usize| {
        let Some(range) = declared.get(*loser) else { return false };
        let end = range.start + range.bytes;
        let first = pieces.partition_point(|piece| piece.start + piece.bytes <= range.start);
        let mut inside = pieces.iter().skip(first).take_while(|piece| piece.start < end);
        inside.any(|piece| {
            let Some(winner) = declared.get(piece.range) else { return false };
            let start = piece.start.max(range.start);
            let bytes = (piece.start + piece.bytes).min(end) - start;
            let offset = |range: &Declared| range.file_offset.checked_add(start - range.start);
            let (one, other) = (offset(winner), offset(range));
            one != other && !same_bytes(base, one, other, bytes, &mut budget)
        })
    };
    losers.into_iter().filter(&mut is_conflict).collect()
}

/// Whether `base` has the same bytes at two offsets; not so when they cannot be read, or `budget` has no room for them.
fn same_bytes(base: &dyn PhysicalMemory, one: Option<u64>, other: Option<u64>, bytes: u64, budget: &mut u64) -> bool {
    const STEP: usize = 1 << 16;
    let (Some(one), Some(other), Some(left)) = (one, other, budget.checked_sub(bytes)) else { return false };
    *budget = left;
    let (mut first, mut second) = (vec![0; STEP], vec![0; STEP]);
    (0..bytes).step_by(STEP).all(|done| {
        let wanted = usize::try_from(bytes - done).map_or(STEP, |left| left.min(STEP));
        let read = |at: u64, buffer: &mut [u8]| {
            at.checked_add(done)
                .is_some_and(|at| base.read(Pa(at), buffer.get_mut(..wanted).unwrap_or_default()).is_ok())
        };
        read(one, &mut first) && read(other, &mut second) && first == second
    })
}

/// Sorted, disjoint pieces of the ranges (start, bytes), the earlier range winning where several hold an address, and the
/// indices of the ranges that lost bytes that way. A sweep over the borders: n log n, and never more than two pieces a
/// range. The ends are known not to overflow.
pub(super) fn first_wins(ranges: &[(u64, u64)]) -> (Vec<Piece>, Vec<usize>) {
    // (address, true for an end, index of the range)
    let mut borders: Vec<(u64, bool, usize)> = Vec::with_capacity(ranges.len() * 2);
    for (index, &(start, bytes)) in ranges.iter().enumerate() {
        borders.push((start, false, index));
        borders.push((start + bytes, true, index));
    }
    borders.sort_unstable();
    let mut lost: Vec<u64> = ranges.iter().map(|&(_, bytes)| bytes).collect();
    let mut active = BTreeSet::new();
    let mut pieces: Vec<Piece> = Vec::with_capacity(ranges.len());
    let mut borders = borders.into_iter().peekable();
    while let Some((at, is_end, index)) = borders.next() {
        if is_end {
            active.remove(&index);
        } else {
            active.insert(index);
        }
        let next = borders.peek().map_or(at, |&(next, _, _)| next);
        let winner = active.first().and_then(|&winner| Some((winner, lost.get_mut(winner)?, ranges.get(winner)?)));
        let Some((range, lost, &(start, _))) = winner.filter(|_| next > at) else { continue };
        *lost -= next - at;
        pieces.push(Piece { start: at, bytes: next - at, range, inside: at - start });
    }
    let losers = lost.into_iter().enumerate().filter(|&(_, bytes)| bytes > 0).map(|(index, _)| index);
    (pieces, losers.collect())
}

/// Runs and gaps, put together in the order of addresses: what goes on where the last one ends joins it.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// Sorted, disjoint.
    pub(super) runs: Vec<Run>,
    /// Sorted, disjoint.
    pub(super) gaps: Vec<Gap>,
}

impl Layout {
    /// Adds memory that is there, at `file_offset` of the layer below if it lies there as it is. No bytes are no run.
    pub(super) fn run(&mut self, start: u64, bytes: u64, file_offset: Option<u64>) {
        if bytes == 0 {
            return;
        }
        if let Some(last) = self.runs.last_mut()
            && last.start.0 + last.bytes == start
            && last.file_offset.map(|offset| offset + last.bytes) == file_offset
        {
            last.bytes += bytes;
        } else {
            self.runs.push(Run { start: Pa(start), bytes, file_offset });
        }
    }

    /// Adds memory that is missing. No bytes are no gap.
    pub(super) fn gap(&mut self, start: u64, bytes: u64, why: GapKind) {
        if bytes == 0 {
            return;
        }
        if let Some(last) = self.gaps.last_mut()
            && last.start.0 + last.bytes == start
            && last.why == why
        {
            last.bytes += bytes;
        } else {
            self.gaps.push(Gap { start: Pa(start), bytes, why });
        }
    }

    /// Adds what is missing and no run has, in any order: start, length, why. Of two reasons the first in the order of the
    /// kinds counts.
    pub(super) fn missing(&mut self, missing: &[(u64, u64, GapKind)]) {
        for kind in GapKind::ALL {
            let of_kind = missing.iter().filter(|&&(.., why)| why == kind);
            let ranges: Vec<_> = of_kind.map(|&(start, bytes, _)| (start, bytes)).collect();
            if !ranges.is_empty() {
                let gaps = with_missing(&self.runs, &self.gaps, ranges, kind);
                self.gaps.clear();
                for gap in gaps {
                    self.gap(gap.start.0, gap.bytes, gap.why);
                }
            }
        }
    }

    /// The sentence about memory that is missing because `container`, the layer below, has holes there.
    pub(super) fn lacking(&self, container: &str) -> Option<String> {
        let bytes: u64 = self.gaps.iter().filter(|gap| gap.why != GapKind::Truncated).map(|gap| gap.bytes).sum();
        (bytes > 0).then(|| format!("{bytes} bytes of its memory lie where the {container} around it has nothing"))
    }

    /// The one sentence about a file that ends too early, if it does: `why` it could not be read to its end, where there is
    /// more to say than that its memory is missing.
    pub(super) fn truncated(&self, why: Option<String>) -> Option<String> {
        let bytes: u64 = self.gaps.iter().filter(|gap| gap.why == GapKind::Truncated).map(|gap| gap.bytes).sum();
        let missing = format!("{bytes} bytes of memory that its headers promise are missing");
        match why {
            Some(why) if bytes > 0 => Some(format!("{why}: {missing}")),
            Some(why) => Some(format!("{why}: what would follow is left out")),
            None if bytes > 0 => Some(format!("the file is truncated: {missing}")),
            None => None,
        }
    }
}
