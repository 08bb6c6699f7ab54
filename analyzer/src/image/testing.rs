//! Physical memory made by tests.

use super::{PhysicalMemory, Run};
use crate::addr::Pa;
use crate::error::{FaultReason, PageFault};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Pieces of memory at addresses. It is deliberately simple: reads go byte by byte.
pub(crate) struct TestMemory {
    pieces: Vec<(u64, Vec<u8>)>,
    runs: Vec<Run>,
    mapped: bool,
    unreadable: Option<u64>,
    damaged: Range<u64>,
    reads: AtomicUsize,
    bytes_read: AtomicU64,
}

impl TestMemory {
    /// `pieces` are (address, bytes), sorted and disjoint.
    pub(crate) fn new(pieces: Vec<(u64, Vec<u8>)>) -> Self {
        let runs =
            pieces.iter().map(|(start, bytes)| Run { start: Pa(*start), bytes: bytes.len() as u64, file_offset: None });
        Self {
            runs: runs.collect(),
            pieces,
            mapped: false,
            unreadable: None,
            damaged: 0..0,
            reads: AtomicUsize::new(0),
            bytes_read: AtomicU64::new(0),
        }
    }

    /// The same, and `slice` gives bytes.
    pub(crate) fn mapped(self) -> Self {
        Self { mapped: true, ..self }
    }

    /// The same, and to read the byte at `at` is an error of the medium.
    pub(crate) fn unreadable(self, at: u64) -> Self {
        Self { unreadable: Some(at), ..self }
    }

    /// The same, and what is at these addresses cannot be decoded.
    pub(crate) fn damaged(self, damaged: Range<u64>) -> Self {
        Self { damaged, ..self }
    }

    /// How often it was read, and how many bytes were asked for; slices do not count.
    pub(crate) fn read_so_far(&self) -> (usize, u64) {
        (self.reads.load(Ordering::Relaxed), self.bytes_read.load(Ordering::Relaxed))
    }

    /// Puts a 64-bit number at `at`, which a piece holds.
    pub(crate) fn put(&mut self, at: u64, number: u64) {
        let (start, bytes) =
            self.pieces.iter_mut().rev().find(|(start, _)| *start <= at).expect("a piece for this address");
        let offset = (at - *start) as usize;
        bytes[offset..offset + 8].copy_from_slice(&number.to_le_bytes());
    }

    fn byte(&self, at: u64) -> Option<u8> {
        self.pieces.iter().find_map(|(start, bytes)| bytes.get(usize::try_from(at.checked_sub(*start)?).ok()?)).copied()
    }
}

impl PhysicalMemory for TestMemory {
    fn read(&self, at: Pa, buffer: &mut [u8]) -> Result<(), PageFault> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.bytes_read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        buffer.fill(0);
        for (index, byte) in buffer.iter_mut().enumerate() {
            let here = at.wrapping_add(index as u64);
            if self.unreadable == Some(here.0) {
                return Err(PageFault::physical(FaultReason::Io("bad sector".into())));
            }
            if self.damaged.contains(&here.0) {
                return Err(PageFault::physical(FaultReason::Corrupt { at: here, why: "damaged".into() }));
            }
            *byte = self.byte(here.0).ok_or(PageFault::physical(FaultReason::NotInImage(here)))?;
        }
        Ok(())
    }

    fn runs(&self) -> &[Run] {
        &self.runs
    }

    fn slice(&self, at: Pa, bytes: usize) -> Option<&[u8]> {
        let (start, piece) = self.pieces.iter().rev().find(|(start, _)| *start <= at.0).filter(|_| self.mapped)?;
        let offset = usize::try_from(at.0 - start).ok()?;
        piece.get(offset..offset + bytes)
    }

    fn release(&self, _: Pa, _: usize) {}

    fn describe(&self) -> String {
        "test".into()
    }
}

/// Numbers that look random and are the same each time (xorshift64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
