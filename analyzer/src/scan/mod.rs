//! Searching physical memory.
//!
//! Mapped images are searched in place, by several processors; others block by block. What is adjacent in physical memory
//! is searched as one piece, wherever the file has it, and nothing is found across a gap.

pub mod build_id;
mod needles;
mod places;
pub mod rsds;

use crate::addr::Pa;
use crate::error::PageFault;
use crate::image::{PhysicalMemory, Run};
use crate::paging::PAGE_BYTES;
use needles::{Needles, Place};
use places::{Shares, places};
use std::collections::VecDeque;
use std::thread;

/// Faults that are kept; the bytes of all are counted.
const KEPT_FAULTS: usize = 16;

/// Every place where `needle` is in `memory`, in ascending order, overlapping ones too. An empty needle is nowhere.
pub fn find_all<'m>(memory: &'m dyn PhysicalMemory, needle: &[u8]) -> Hits<'m> {
    Hits(find_any(memory, &[needle]))
}

/// Every place where one of `needles` is in `memory`, with the needle's index, in ascending order, overlapping ones too: one
/// pass over the memory, however many needles there are. Empty needles are nowhere.
pub fn find_any<'m>(memory: &'m dyn PhysicalMemory, needles: &[&[u8]]) -> AnyHits<'m> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    AnyHits::new(
        memory,
        needles,
        Pieces { mapped: 32 << 20, read: 1 << 20, shares: Shares { threads, block: 1 << 20 } },
    )
}

/// A running search for one needle; see [`find_all`].
pub struct Hits<'m>(AnyHits<'m>);

impl Hits<'_> {
    /// The first faults of parts that the image has and that could not be read (bad media).
    pub fn faults(&self) -> &[PageFault] {
        self.0.faults()
    }

    /// How many bytes so far could not be read and were not searched.
    pub fn unreadable_bytes(&self) -> u64 {
        self.0.unreadable_bytes()
    }
}

impl Iterator for Hits<'_> {
    type Item = Pa;

    fn next(&mut self) -> Option<Pa> {
        self.0.next().map(|(_, at)| at)
    }
}

/// How memory is cut for the search.
#[derive(Debug, Clone, Copy)]
struct Pieces {
    /// What is searched at once of a mapping, in bytes, before its pages are released: less than 4 GiB. It bounds the hits
    /// that wait.
    mapped: usize,
    /// What is read at once where no mapping is at hand, in bytes.
    read: usize,
    shares: Shares,
}

/// A running search for several needles; see [`find_any`].
pub struct AnyHits<'m> {
    memory: &'m dyn PhysicalMemory,
    needles: Needles,
    pieces: Pieces,
    /// The runs that were not begun.
    runs: std::slice::Iter<'m, Run>,
    /// The run at work, and how much of it was taken.
    run: Option<(Run, u64)>,
    /// Bytes of a piece, when they are no slice.
    block: Vec<u8>,
    /// How many bytes are read next: less behind a part that could not be read, where more such parts are likely, so that
    /// none of them costs a whole block.
    read: usize,
    /// Where the piece that was searched last begins.
    piece: Pa,
    /// Its hits that were not given yet.
    found: VecDeque<Place>,
    faults: Vec<PageFault>,
    unreadable_bytes: u64,
}

impl<'m> AnyHits<'m> {
    fn new(memory: &'m dyn PhysicalMemory, needles: &[&[u8]], pieces: Pieces) -> Self {
        let needles = Needles::new(needles);
        Self {
            memory,
            pieces,
            runs: if needles.is_empty() { [].iter() } else { memory.runs().iter() },
            needles,
            run: None,
            block: Vec::new(),
            read: pieces.read,
            piece: Pa(0),
            found: VecDeque::new(),
            faults: Vec::new(),
            unreadable_bytes: 0,
        }
    }

    /// The search of what is at `from` and behind it alone; nothing may have been searched yet.
    pub(crate) fn starting_at(mut self, from: Pa) -> Self {
        let before = self.runs.as_slice().partition_point(|run| run.start.wrapping_add(run.bytes - 1) < from);
        self.runs = self.runs.as_slice().get(before..).unwrap_or_default().iter();
        if self.runs.as_slice().first().is_some_and(|run| run.start < from) {
            self.run = self.runs.next().map(|&run| (run, from.0 - run.start.0));
        }
        self
    }

    /// The first faults of parts that the image has and that could not be read (bad media).
    pub fn faults(&self) -> &[PageFault] {
        &self.faults
    }

    /// How many bytes so far could not be read and were not searched.
    pub fn unreadable_bytes(&self) -> u64 {
        self.unreadable_bytes
    }

    /// Searches the next piece, and over the border behind it; `false` when there is none.
    fn search_piece(&mut self) -> bool {
        let Some((run, taken)) = self.run.take().or_else(|| self.runs.next().map(|&run| (run, 0))) else {
            return false;
        };
        let left = run.bytes.saturating_sub(taken);
        if left == 0 {
            return true;
        }
        let start = run.start.wrapping_add(taken);
        let at_most = |bytes: usize| usize::try_from(left).map_or(bytes, |left| left.min(bytes));
        let (bytes, skipped, places) = if let Some(mapped) = self.memory.slice(start, at_most(self.pieces.mapped)) {
            let places = places(&self.needles, mapped, self.pieces.shares);
            self.memory.release(start, mapped.len());
            (mapped.len(), 0, places)
        } else {
            let (bytes, skipped) = self.read_block(start, at_most(self.read));
            let read = self.block.get(..bytes).unwrap_or_default();
            (bytes, skipped, places(&self.needles, read, self.pieces.shares))
        };
        self.piece = start;
        self.found = places.into();
        self.search_border(start, bytes);
        self.run = Some((run, taken + bytes as u64 + skipped));
        true
    }

    /// Finds the hits that begin in the `bytes` bytes from `start` on and end behind them.
    fn search_border(&mut self, start: Pa, bytes: usize) {
        let overlap = self.needles.longest().saturating_sub(1);
        let before = overlap.min(bytes);
        if before == 0 {
            return;
        }
        let first = bytes - before;
        let mut window = vec![0; before + overlap];
        let good = good_bytes(self.memory, start.wrapping_add(first as u64), &mut window);
        let window = window.get(..good).unwrap_or_default();
        let Self { needles, found, .. } = self;
        let known = found.len();
        needles.for_each(window, |at, needle| {
            // What ends before the border was found in the piece.
            if at < before && at + needles.length(needle) > before {
                found.push_back(Place { at: (first + at) as u32, needle });
            }
        });
        // A short needle may be in the piece behind the place where a longer one begins.
        if known < found.len() {
            found.make_contiguous().sort_unstable();
        }
    }

    /// Reads up to `wanted` bytes into the block: gives how many are good, and how many to skip behind them.
    fn read_block(&mut self, start: Pa, wanted: usize) -> (usize, u64) {
        self.block.resize(wanted, 0);
        if self.memory.read(start, &mut self.block).is_ok() {
            self.read = self.read.saturating_mul(2).min(self.pieces.read);
            return (wanted, 0);
        }
        self.read = self.pieces.read.min(PAGE_BYTES as usize);
        // Page by page of physical memory, wherever the block begins.
        let mut done = 0;
        while done < wanted {
            let at = start.wrapping_add(done as u64);
            let page = (PAGE_BYTES - at.0 % PAGE_BYTES) as usize;
            let Some(rest) = self.block.get_mut(done..wanted.min(done + page)) else { break };
            if let Err(fault) = self.memory.read(at, rest) {
                if self.faults.len() < KEPT_FAULTS {
                    self.faults.push(fault);
                }
                self.unreadable_bytes += rest.len() as u64;
                return (done, rest.len() as u64);
            }
            done += rest.len();
        }
        (done, 0)
    }
}

impl Iterator for AnyHits<'_> {
    /// The needle's index, and where it is.
    type Item = (usize, Pa);

    fn next(&mut self) -> Option<(usize, Pa)> {
        loop {
            if let Some(Place { at, needle }) = self.found.pop_front() {
                return Some((needle as usize, self.piece.wrapping_add(u64::from(at))));
            }
            if !self.search_piece() {
                return None;
            }
        }
    }
}

/// Fills `buffer` as far as memory goes on without a gap; gives how far that is.
fn good_bytes(memory: &dyn PhysicalMemory, at: Pa, buffer: &mut [u8]) -> usize {
    match memory.read(at, buffer) {
        Ok(()) => buffer.len(),
        Err(fault) => fault.good_bytes_from(at).min(buffer.len()),
    }
}

#[cfg(test)]
mod tests;
