//! Searching physical memory.
//!
//! Mapped images are searched in place, by several processors; others block by block. What is adjacent in physical memory
//! is searched as one piece, wherever the file has it, and nothing is found across a gap.

pub mod build_id;
mod places;
pub mod rsds;

use crate::addr::Pa;
use crate::error::PageFault;
use crate::image::{PhysicalMemory, Run};
use crate::paging::PAGE_BYTES;
use memchr::memmem::Finder;
use places::{Shares, places};
use std::collections::VecDeque;
use std::thread;

/// Faults that are kept; the bytes of all are counted.
const KEPT_FAULTS: usize = 16;

/// Every place where `needle` is in `memory`, in ascending order, overlapping ones too. An empty needle is nowhere.
pub fn find_all<'m>(memory: &'m dyn PhysicalMemory, needle: &[u8]) -> Hits<'m> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    Hits::new(memory, needle, Pieces { mapped: 32 << 20, read: 1 << 20, shares: Shares { threads, block: 1 << 20 } })
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

/// A running search; see [`find_all`].
pub struct Hits<'m> {
    memory: &'m dyn PhysicalMemory,
    finder: Finder<'static>,
    pieces: Pieces,
    /// The runs that were not begun.
    runs: std::slice::Iter<'m, Run>,
    /// The run at work, and how much of it was taken.
    run: Option<(Run, u64)>,
    /// Bytes of a piece, when they are no slice.
    block: Vec<u8>,
    /// Hits of the pieces so far that were not given yet.
    found: VecDeque<Pa>,
    faults: Vec<PageFault>,
    unreadable_bytes: u64,
}

impl<'m> Hits<'m> {
    fn new(memory: &'m dyn PhysicalMemory, needle: &[u8], pieces: Pieces) -> Self {
        Self {
            memory,
            finder: Finder::new(needle).into_owned(),
            pieces,
            runs: if needle.is_empty() { [].iter() } else { memory.runs().iter() },
            run: None,
            block: Vec::new(),
            found: VecDeque::new(),
            faults: Vec::new(),
            unreadable_bytes: 0,
        }
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
            let places = places(&self.finder, mapped, self.pieces.shares);
            self.memory.release(start, mapped.len());
            (mapped.len(), 0, places)
        } else {
            let (bytes, skipped) = self.read_block(start, at_most(self.pieces.read));
            let read = self.block.get(..bytes).unwrap_or_default();
            (bytes, skipped, places(&self.finder, read, self.pieces.shares))
        };
        self.found.extend(places.into_iter().map(|place| start.wrapping_add(u64::from(place))));
        self.search_border(start, bytes);
        self.run = Some((run, taken + bytes as u64 + skipped));
        true
    }

    /// Finds the hits that begin in the `bytes` bytes from `start` on and end behind them.
    fn search_border(&mut self, start: Pa, bytes: usize) {
        let overlap = self.finder.needle().len() - 1;
        let before = overlap.min(bytes);
        if before == 0 {
            return;
        }
        let start = start.wrapping_add((bytes - before) as u64);
        let mut window = vec![0; before + overlap];
        let good = good_bytes(self.memory, start, &mut window);
        let window = window.get(..good).unwrap_or_default();
        let mut from = 0;
        while let Some(hit) = window.get(from..).and_then(|rest| self.finder.find(rest)) {
            let hit = from + hit;
            if hit >= before {
                break;
            }
            self.found.push_back(start.wrapping_add(hit as u64));
            from = hit + 1;
        }
    }

    /// Reads up to `wanted` bytes into the block: gives how many are good, and how many to skip behind them.
    fn read_block(&mut self, start: Pa, wanted: usize) -> (usize, u64) {
        self.block.resize(wanted, 0);
        if self.memory.read(start, &mut self.block).is_ok() {
            return (wanted, 0);
        }
        let mut done = 0;
        for page in self.block.chunks_mut(PAGE_BYTES as usize) {
            if let Err(fault) = self.memory.read(start.wrapping_add(done as u64), page) {
                if self.faults.len() < KEPT_FAULTS {
                    self.faults.push(fault);
                }
                self.unreadable_bytes += page.len() as u64;
                return (done, page.len() as u64);
            }
            done += page.len();
        }
        (done, 0)
    }
}

impl Iterator for Hits<'_> {
    type Item = Pa;

    fn next(&mut self) -> Option<Pa> {
        loop {
            if let Some(hit) = self.found.pop_front() {
                return Some(hit);
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
