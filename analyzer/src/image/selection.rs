//! A part of an image's memory.

use super::{Gap, PhysicalMemory, Run};
use crate::addr::Pa;
use crate::error::PageFault;
use std::ops::Range;

/// Memory of which only some ranges are looked at.
pub struct Selection<'m> {
    memory: &'m dyn PhysicalMemory,
    runs: Vec<Run>,
    gaps: Vec<Gap>,
}

impl<'m> Selection<'m> {
    /// What `memory` has and lacks in `ranges` of physical addresses, which may overlap.
    pub fn new(memory: &'m dyn PhysicalMemory, mut ranges: Vec<Range<u64>>) -> Self {
        ranges.sort_unstable_by_key(|range| range.start);
        let mut disjoint: Vec<Range<u64>> = Vec::new();
        for range in ranges {
            match disjoint.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => disjoint.push(range),
            }
        }
        let cut = |start: Pa, bytes: u64, within: &Range<u64>| {
            let from = start.0.max(within.start);
            let to = start.0.saturating_add(bytes).min(within.end);
            (from < to).then(|| (Pa(from), to - from))
        };
        let (mut runs, mut gaps) = (Vec::new(), Vec::new());
        for within in &disjoint {
            let run = |run: &Run| {
                let (start, bytes) = cut(run.start, run.bytes, within)?;
                let file_offset = run.file_offset.map(|offset| offset + (start.0 - run.start.0));
                Some(Run { start, bytes, file_offset })
            };
            runs.extend(memory.runs().iter().filter_map(run));
            let gap = |gap: &Gap| {
                let (start, bytes) = cut(gap.start, gap.bytes, within)?;
                Some(Gap { start, bytes, why: gap.why })
            };
            gaps.extend(memory.gaps().iter().filter_map(gap));
        }
        Self { memory, runs, gaps }
    }

    /// `memory` looked at in these runs, which are sorted and disjoint.
    pub fn of(memory: &'m dyn PhysicalMemory, runs: Vec<Run>) -> Self {
        Self { memory, runs, gaps: Vec::new() }
    }
}

impl PhysicalMemory for Selection<'_> {
    fn read(&self, at: Pa, buffer: &mut [u8]) -> Result<(), PageFault> {
        self.memory.read(at, buffer)
    }
    fn runs(&self) -> &[Run] {
        &self.runs
    }
    fn gaps(&self) -> &[Gap] {
        &self.gaps
    }
    fn slice(&self, at: Pa, bytes: usize) -> Option<&[u8]> {
        self.memory.slice(at, bytes)
    }
    fn release(&self, at: Pa, bytes: usize) {
        self.memory.release(at, bytes);
    }
    fn describe(&self) -> String {
        self.memory.describe()
    }
}
