//! What the layer below has of the ranges that a header declares, and why it lacks the rest: an image may lie in a container
//! with holes, or one that was cut off.

use super::run_layer::{Declared, MAX_RUNS, end_of};
use super::{GapKind, PhysicalMemory, run_at};
use crate::addr::Pa;

/// More parts than ranges in containers come to. It bounds a hostile file, whose ranges all lie over the same holes.
const MAX_PARTS: usize = 2 * MAX_RUNS;

/// A part of a range of which the layer below has all or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// Where it begins inside the range, in bytes.
    pub(super) inside: u64,
    pub(super) bytes: u64,
    /// Why it is missing; `None` if it is there.
    pub(super) missing: Option<GapKind>,
}

/// What a layer has, from offset 0 to the end of all offsets: where each span ends, and why it is missing if it is.
pub(super) struct Spans(Vec<(u64, Option<GapKind>)>);

impl Spans {
    pub(super) fn of(memory: &dyn PhysicalMemory) -> Self {
        let runs = memory.runs().iter().map(|run| (run.start.0, run.bytes, None));
        let gaps = memory.gaps().iter().map(|gap| (gap.start.0, gap.bytes, Some(gap.why)));
        let mut known: Vec<_> = runs.chain(gaps).collect();
        known.sort_unstable_by_key(|&(start, ..)| start);
        let mut spans = Self(Vec::new());
        for (start, bytes, missing) in known {
            spans.push(start, Some(GapKind::NotDumped));
            spans.push(start.saturating_add(bytes), missing);
        }
        spans.push(u64::MAX, Some(GapKind::Truncated));
        spans
    }

    /// Goes on up to `end`.
    fn push(&mut self, end: u64, missing: Option<GapKind>) {
        match self.0.last_mut() {
            Some((last, _)) if *last >= end => {}
            Some((last, same)) if *same == missing => *last = end,
            None if end == 0 => {}
            _ => self.0.push((end, missing)),
        }
    }

    /// The parts of the `bytes` bytes at `offset`, in order.
    pub(super) fn parts(&self, offset: u64, bytes: u64) -> impl Iterator<Item = Part> {
        // No file has so much, and its end can be counted.
        let offset = offset.min(u64::MAX / 2);
        let first = self.0.partition_point(|&(end, _)| end <= offset);
        let mut inside = 0;
        self.0.iter().skip(first).map_while(move |&(end, missing)| {
            let part = Part { inside, bytes: (end - offset).min(bytes) - inside, missing };
            inside += part.bytes;
            (part.bytes > 0).then_some(part)
        })
    }
}

/// Ranges, cut to what the layer below has.
#[derive(Debug, Default)]
pub(super) struct Backed {
    /// What is there, in the order of the ranges.
    pub(super) there: Vec<Declared>,
    /// The range that each of these is of.
    pub(super) of: Vec<usize>,
    /// What is not: physical address, length, why.
    pub(super) missing: Vec<(u64, u64, GapKind)>,
}

impl Backed {
    /// Cuts `ranges`, which do not reach behind the end of physical memory.
    pub(super) fn new(base: &dyn PhysicalMemory, ranges: &[Declared], warnings: &mut Vec<String>) -> Self {
        let spans = Spans::of(base);
        let mut backed = Self::default();
        for (index, range) in ranges.iter().enumerate() {
            for Part { inside, bytes, missing } in spans.parts(range.file_offset, range.bytes) {
                if backed.there.len() + backed.missing.len() == MAX_PARTS {
                    let left = ranges.len() - index;
                    warnings.push(format!("{left} range(s) left out: they lie over more than {MAX_PARTS} pieces"));
                    return backed;
                }
                let start = range.start + inside;
                if let Some(why) = missing {
                    backed.missing.push((start, bytes, why));
                    continue;
                }
                backed.there.push(Declared { start, bytes, file_offset: range.file_offset + inside });
                backed.of.push(index);
            }
        }
        backed
    }
}

/// Why a layer lacks the first missing one of the `bytes` bytes at `at`; `None` if it has them all. What a header counts is
/// compared by this before memory is asked for: in a layer with holes the last address says little.
pub(super) fn lack(memory: &dyn PhysicalMemory, at: u64, bytes: u64) -> Option<GapKind> {
    let Some(end) = at.checked_add(bytes) else { return Some(GapKind::Truncated) };
    let mut here = at;
    while here < end {
        let Some(run) = run_at(memory.runs(), Pa(here)) else {
            let after = memory.gaps().partition_point(|gap| gap.start.0 <= here);
            let gap = after.checked_sub(1).and_then(|index| memory.gaps().get(index));
            let gap = gap.filter(|gap| here - gap.start.0 < gap.bytes);
            let none = if here < end_of(memory) { GapKind::NotDumped } else { GapKind::Truncated };
            return Some(gap.map_or(none, |gap| gap.why));
        };
        here = run.start.0.saturating_add(run.bytes);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::run_layer::{Layout, RunLayer};
    use super::super::testing::{Random, TestMemory};
    use super::super::{Gap, Run, missing};
    use super::*;
    use crate::error::FaultReason;
    use std::sync::Arc;

    /// Each byte is its address, where the layout has it.
    struct Holed(TestMemory, Layout);

    impl PhysicalMemory for Holed {
        fn read(&self, at: Pa, buffer: &mut [u8]) -> Result<(), crate::error::PageFault> {
            self.0.read(at, buffer).map_err(|_| missing(&self.1.gaps, at))
        }
        fn runs(&self) -> &[Run] {
            &self.1.runs
        }
        fn gaps(&self) -> &[Gap] {
            &self.1.gaps
        }
        fn slice(&self, _: Pa, _: usize) -> Option<&[u8]> {
            None
        }
        fn release(&self, _: Pa, _: usize) {}
        fn describe(&self) -> String {
            "holed".into()
        }
    }

    /// Some sixty bytes, each there, a gap or nothing; the last one is there.
    fn holed(random: &mut Random) -> (Holed, Vec<Option<GapKind>>) {
        let mut layout = Layout::default();
        let mut pieces = Vec::new();
        let mut kinds = Vec::new();
        while kinds.len() < 60 || kinds.last() != Some(&None) {
            let (start, bytes) = (kinds.len() as u64, 1 + random.below(9));
            let kind = match random.below(7) {
                4 => Some(GapKind::Unreadable),
                5 => Some(GapKind::Truncated),
                // Nothing at all.
                6 => Some(GapKind::NotDumped),
                _ => None,
            };
            match kind {
                // Each run has its own place below, so that neighbours are not joined.
                None => {
                    layout.run(start, bytes, Some(1000 * start));
                    pieces.push((start, (start..start + bytes).map(|at| at as u8).collect()));
                }
                Some(GapKind::NotDumped) => {}
                Some(why) => layout.gap(start, bytes, why),
            }
            kinds.resize(kinds.len() + bytes as usize, kind);
        }
        (Holed(TestMemory::new(pieces), layout), kinds)
    }

    #[test]
    fn ranges_over_holes_are_what_the_first_that_has_a_byte_says() {
        let mut random = Random(0x1234_5678_9abc_def1);
        for _ in 0..3000 {
            let (base, kinds) = holed(&mut random);
            let state = |offset: u64| kinds.get(offset as usize).copied().unwrap_or(Some(GapKind::Truncated));
            for at in 0..80 {
                let bytes = random.below(9);
                assert_eq!(lack(&base, at, bytes), (at..at + bytes).find_map(state), "{at} {bytes} {kinds:?}");
            }
            let declared: Vec<Declared> = (0..random.below(6))
                .map(|_| Declared { start: random.below(40), bytes: random.below(20), file_offset: random.below(75) })
                .collect();
            let mut warnings = Vec::new();
            let layer = RunLayer::new("test", Arc::new(base), &declared, &mut warnings);
            for at in 0..70 {
                let offsets = || {
                    let of = declared.iter().filter(|d| (d.start..d.start + d.bytes).contains(&at));
                    of.map(|d| d.file_offset + at - d.start)
                };
                let mut byte = [0];
                let got = layer.read(Pa(at), &mut byte).map(|()| u64::from(byte[0])).map_err(|fault| fault.reason);
                match offsets().find(|&offset| state(offset).is_none()) {
                    Some(offset) => assert_eq!(got, Ok(offset), "{at} {declared:?} {kinds:?}"),
                    None if offsets().next().is_none() => assert_eq!(got, Err(FaultReason::NotInImage(Pa(at)))),
                    None => {
                        let of = |why| match why {
                            GapKind::Truncated => FaultReason::Truncated(Pa(at)),
                            GapKind::NotDumped => FaultReason::NotDumped(Pa(at)),
                            GapKind::Unreadable => FaultReason::Unreadable(Pa(at)),
                        };
                        let allowed: Vec<_> = offsets().filter_map(state).map(of).collect();
                        assert!(got.as_ref().is_err_and(|why| allowed.contains(why)), "{at}: {got:?} {allowed:?}");
                    }
                }
            }
            let mut ends: Vec<_> = layer.runs().iter().map(|run| (run.start.0, run.start.0 + run.bytes)).collect();
            ends.extend(layer.gaps().iter().map(|gap| (gap.start.0, gap.start.0 + gap.bytes)));
            ends.sort_unstable();
            assert!(ends.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{ends:?}");
        }
    }

    /// All ranges over all holes would be a square.
    #[test]
    fn a_hostile_number_of_pieces_is_bounded() {
        let mut layout = Layout::default();
        for at in 0..0x1_0000 {
            layout.run(at * 2, 1, Some(0));
        }
        let base = Holed(TestMemory::new(Vec::new()), layout);
        let ranges: Vec<_> =
            (0..0x1_0000).map(|index| Declared { start: index << 24, bytes: 0x2_0000, file_offset: 0 }).collect();
        let mut warnings = Vec::new();
        let backed = Backed::new(&base, &ranges, &mut warnings);
        assert_eq!((backed.there.len() + backed.missing.len(), backed.of.len()), (MAX_PARTS, backed.there.len()));
        assert!(warnings.len() == 1 && warnings[0].contains("65520 range(s) left out"), "{warnings:?}");
    }
}
