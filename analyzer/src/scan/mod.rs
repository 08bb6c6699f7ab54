//! Searching physical memory.
//!
//! Mapped images are searched in place; others block by block. What is adjacent in physical memory is searched as one
//! piece, wherever the file has it, and nothing is found across a gap.

pub mod build_id;
pub mod rsds;

use crate::addr::Pa;
use crate::error::PageFault;
use crate::image::{PhysicalMemory, Run};
use crate::paging::PAGE_BYTES;
use memchr::memmem::Finder;
use std::collections::VecDeque;

/// What is read at once where no mapping is at hand, in bytes.
const BLOCK_BYTES: usize = 1 << 20;
/// What is searched at once of a mapping, in bytes, before its pages are released.
const MAPPED_BYTES: usize = 1 << 25;
/// Faults that are kept; the bytes of all are counted.
const KEPT_FAULTS: usize = 16;

/// Every place where `needle` is in `memory`, in ascending order, overlapping ones too. An empty needle is nowhere.
pub fn find_all<'m>(memory: &'m dyn PhysicalMemory, needle: &[u8]) -> Hits<'m> {
    Hits::new(memory, needle, BLOCK_BYTES)
}

/// A running search; see [`find_all`].
pub struct Hits<'m> {
    memory: &'m dyn PhysicalMemory,
    finder: Finder<'static>,
    block_bytes: usize,
    /// The runs that were not begun.
    runs: std::slice::Iter<'m, Run>,
    /// The run at work, and how much of it was taken.
    run: Option<(Run, u64)>,
    piece: Option<Piece<'m>>,
    /// Bytes of the piece, when they are no slice.
    block: Vec<u8>,
    /// Hits over the border behind the last piece, not given yet.
    crossing: VecDeque<Pa>,
    faults: Vec<PageFault>,
    unreadable_bytes: u64,
}

/// Contiguous bytes.
struct Piece<'m> {
    start: Pa,
    /// `None`: the first `bytes` of the block.
    mapped: Option<&'m [u8]>,
    bytes: usize,
    /// Where the search goes on.
    from: usize,
}

impl<'m> Hits<'m> {
    fn new(memory: &'m dyn PhysicalMemory, needle: &[u8], block_bytes: usize) -> Self {
        Self {
            memory,
            finder: Finder::new(needle).into_owned(),
            block_bytes,
            runs: if needle.is_empty() { [].iter() } else { memory.runs().iter() },
            run: None,
            piece: None,
            block: Vec::new(),
            crossing: VecDeque::new(),
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

    /// The next hit inside the piece.
    fn next_inside(&mut self) -> Option<Pa> {
        let piece = self.piece.as_mut()?;
        let bytes = piece.mapped.or_else(|| self.block.get(..piece.bytes))?;
        let hit = piece.from.checked_add(self.finder.find(bytes.get(piece.from..)?)?)?;
        piece.from = hit + 1;
        Some(piece.start.wrapping_add(hit as u64))
    }

    /// Leaves the piece: hits that begin in it and end behind it are put into `crossing`.
    fn leave_piece(&mut self) {
        let Some(piece) = self.piece.take() else { return };
        if piece.mapped.is_some() {
            self.memory.release(piece.start, piece.bytes);
        }
        let overlap = self.finder.needle().len() - 1;
        let before = overlap.min(piece.bytes);
        let start = piece.start.wrapping_add((piece.bytes - before) as u64);
        let mut window = vec![0; before + overlap];
        let good = good_bytes(self.memory, start, &mut window);
        let window = window.get(..good).unwrap_or_default();
        let mut from = 0;
        while let Some(hit) = window.get(from..).and_then(|rest| self.finder.find(rest)) {
            let hit = from + hit;
            if hit >= before {
                break;
            }
            self.crossing.push_back(start.wrapping_add(hit as u64));
            from = hit + 1;
        }
    }

    /// Takes the next piece; `false` when there is none.
    fn enter_piece(&mut self) -> bool {
        loop {
            let Some((run, taken)) = self.run.take().or_else(|| self.runs.next().map(|&run| (run, 0))) else {
                return false;
            };
            let left = run.bytes.saturating_sub(taken);
            if left == 0 {
                continue;
            }
            let start = run.start.wrapping_add(taken);
            let at_most = |bytes: usize| usize::try_from(left).map_or(bytes, |left| left.min(bytes));
            if let Some(mapped) = self.memory.slice(start, at_most(MAPPED_BYTES)) {
                self.run = Some((run, taken + mapped.len() as u64));
                self.piece = Some(Piece { start, mapped: Some(mapped), bytes: mapped.len(), from: 0 });
                return true;
            }
            let wanted = at_most(self.block_bytes);
            let (bytes, skipped) = self.read_block(start, wanted);
            self.run = Some((run, taken + bytes as u64 + skipped));
            if bytes > 0 {
                self.piece = Some(Piece { start, mapped: None, bytes, from: 0 });
                return true;
            }
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
            if let Some(hit) = self.crossing.pop_front().or_else(|| self.next_inside()) {
                return Some(hit);
            }
            self.leave_piece();
            if self.crossing.is_empty() && !self.enter_piece() {
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
