//! The search through bytes in memory.
//!
//! A processor compares bytes faster than memory brings them, and what memory brings ahead by itself ends with each page: a
//! plain search waits half of its time. So the search goes in steps, and asks for the bytes of a later step before it
//! begins one.

use super::needles::{Needles, Place};
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// What is searched between two requests to memory, in bytes.
const STEP_BYTES: usize = 1 << 10;
/// How far ahead of the search bytes are asked for. Nearer they come too late; further, others are pushed out of the cache.
const AHEAD_BYTES: usize = 4 << 10;
/// A line of the cache, in bytes.
const LINE_BYTES: usize = 64;

/// How a search is shared out to processors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shares {
    /// The most threads.
    pub(super) threads: usize,
    /// What a thread takes at once, in bytes.
    pub(super) block: usize,
}

/// Where the needles begin in `bytes`, in ascending order, overlapping ones too. The bytes are fewer than 4 GiB.
pub(super) fn places(needles: &Needles, bytes: &[u8], shares: Shares) -> Vec<Place> {
    let blocks = bytes.len().div_ceil(shares.block);
    let next = AtomicUsize::new(0);
    // Each thread takes the next block, so that one which has to wait for its processor holds up no other.
    let work = || {
        let mut found = Vec::new();
        loop {
            let block = next.fetch_add(1, Ordering::Relaxed);
            if block >= blocks {
                return found;
            }
            let start = block * shares.block;
            let places = places_from(needles, bytes, start..bytes.len().min(start + shares.block));
            if !places.is_empty() {
                found.push((block, places));
            }
        }
    };
    let mut found: Vec<(usize, Vec<Place>)> = thread::scope(|scope| {
        let others: Vec<_> = (1..shares.threads.min(blocks)).map(|_| scope.spawn(work)).collect();
        let mut found = work();
        for other in others {
            found.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        found
    });
    found.sort_unstable_by_key(|&(block, _)| block);
    found.into_iter().flat_map(|(_, places)| places).collect()
}

/// The places inside `starts`. What is found may end behind it.
fn places_from(needles: &Needles, bytes: &[u8], starts: Range<usize>) -> Vec<Place> {
    let longest = needles.longest();
    // The end of each step is searched twice, as far as the longest needle reaches.
    let step = STEP_BYTES.max(longest.saturating_mul(4));
    let mut places = Vec::new();
    for start in starts.clone().step_by(step) {
        let end = starts.end.min(start + step);
        prefetch(bytes.get(start + AHEAD_BYTES..).map(|rest| rest.get(..step).unwrap_or(rest)).unwrap_or_default());
        let window = bytes.get(start..bytes.len().min(end + longest.saturating_sub(1))).unwrap_or_default();
        needles.for_each(window, |at, needle| {
            // A shorter needle may begin behind the step, where the next one finds it.
            if start + at < end {
                places.push(Place { at: (start + at) as u32, needle });
            }
        });
    }
    places
}

/// Asks for bytes that are needed soon.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "the instruction has no safe form in the standard library")]
fn prefetch(bytes: &[u8]) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    for line in bytes.chunks(LINE_BYTES) {
        // SAFETY: the instruction is a hint, which neither faults nor changes anything, whatever the address; every x86-64
        // processor has it (SSE).
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn prefetch(_: &[u8]) {}
