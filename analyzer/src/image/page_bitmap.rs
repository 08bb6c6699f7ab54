//! A bit for each page of a machine, the lowest bit of a byte first, with the count of set bits before any of them.

use super::PhysicalMemory;
use crate::addr::Pa;
use std::ops::Range;

/// Bits between two counts that are kept.
const STEP_BITS: u64 = 512;

/// Which pages are set.
pub(super) struct PageBitmap {
    bytes: Vec<u8>,
    /// Set bits before each `STEP_BITS`.
    ranks: Vec<u64>,
    bits: u64,
}

impl PageBitmap {
    /// Reads `bits` bits at `offset`, which the layer is known to hold.
    pub(super) fn read(memory: &dyn PhysicalMemory, offset: u64, bits: u64) -> Result<Self, String> {
        let mut bytes = vec![0; usize::try_from(bits.div_ceil(8)).map_err(|_| "its bitmap is too large")?];
        memory.read(Pa(offset), &mut bytes).map_err(|fault| format!("its bitmap at offset {offset:#x}: {fault}"))?;
        // Bits behind the last page mean nothing.
        if !bits.is_multiple_of(8)
            && let Some(last) = bytes.last_mut()
        {
            *last &= (1 << (bits % 8)) - 1;
        }
        let mut ranks = Vec::with_capacity(bytes.len() / (STEP_BITS as usize / 8) + 1);
        let mut rank = 0;
        for step in bytes.chunks(STEP_BITS as usize / 8) {
            ranks.push(rank);
            rank += count(step);
        }
        ranks.push(rank);
        Ok(Self { bytes, ranks, bits })
    }

    /// How many pages before `pfn` are set.
    pub(super) fn rank(&self, pfn: u64) -> u64 {
        let pfn = pfn.min(self.bits);
        let step = (pfn / STEP_BITS) as usize;
        let (from, to) = (step * (STEP_BITS as usize / 8), (pfn / 8) as usize);
        let part = self.bytes.get(to).map_or(0, |byte| byte & ((1 << (pfn % 8)) - 1));
        let before = self.ranks.get(step).copied().unwrap_or(0);
        before + count(self.bytes.get(from..to).unwrap_or_default()) + u64::from(part.count_ones())
    }

    /// The runs of set pages inside `pfns`, with no more than `pages` pages together.
    pub(super) fn runs(&self, pfns: Range<u64>, mut pages: u64) -> impl Iterator<Item = Range<u64>> {
        let end = pfns.end.min(self.bits);
        let mut here = pfns.start;
        std::iter::from_fn(move || {
            let start = self.next(here, end, true)?;
            let stop = self.next(start, end, false).unwrap_or(end).min(start.saturating_add(pages));
            here = stop;
            pages -= stop - start;
            (stop > start).then_some(start..stop)
        })
    }

    /// The first page from `pfn` on and before `end` that is set, or is not.
    fn next(&self, mut pfn: u64, end: u64, set: bool) -> Option<u64> {
        // All eight are of the other kind.
        let other = if set { 0 } else { 0xff };
        while pfn < end {
            let byte = *self.bytes.get((pfn / 8) as usize)?;
            if pfn.is_multiple_of(8) && byte == other {
                pfn += 8;
            } else if (byte >> (pfn % 8) & 1 == 1) == set {
                return Some(pfn);
            } else {
                pfn += 1;
            }
        }
        None
    }
}

fn count(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(byte.count_ones())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::testing::{Random, TestMemory};

    #[test]
    fn ranks_and_runs_are_those_of_a_list_of_bits() {
        let mut random = Random(13);
        for _ in 0..60 {
            let bits = random.below(1500);
            let density = random.below(9);
            let bytes: Vec<u8> = (0..bits.div_ceil(8))
                .map(|_| if random.below(8) < density { random.below(256) as u8 | 0x81 } else { 0 })
                .collect();
            let set: Vec<u64> = (0..bits).filter(|&bit| bytes[bit as usize / 8] >> (bit % 8) & 1 == 1).collect();
            let pieces = if bytes.is_empty() { vec![] } else { vec![(0, bytes)] };
            let bitmap = PageBitmap::read(&TestMemory::new(pieces), 0, bits).expect("it holds them");
            for pfn in 0..bits + 20 {
                assert_eq!(bitmap.rank(pfn), set.iter().filter(|&&bit| bit < pfn).count() as u64);
            }
            let (from, to, pages) = (random.below(bits + 1), random.below(bits + 9), random.below(bits + 9));
            let expected = set.iter().copied().filter(|bit| (from..to).contains(bit)).take(pages as usize);
            let seen: Vec<Range<u64>> = bitmap.runs(from..to, pages).collect();
            assert!(seen.iter().cloned().flatten().eq(expected));
            assert!(seen.windows(2).all(|pair| pair[0].end < pair[1].start));
        }
    }
}
