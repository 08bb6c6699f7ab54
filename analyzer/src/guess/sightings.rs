//! What the search for a kernel looks for in memory. Whoever looks for one of these things looks at the same pass over the
//! image, which goes only as far as somebody asks.

use super::{linux, windows};
use crate::addr::Pa;
use crate::error::PageFault;
use crate::image::PhysicalMemory;
use crate::scan::{AnyHits, find_any, rsds};
use crate::vmcoreinfo;

/// A thing to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clue {
    /// An RSDS record.
    Rsds,
    /// The banner of a Linux kernel.
    Banner,
    /// The release of a Linux kernel as it is written down for dumps.
    Release,
    /// The name of a Windows process: one of [`windows::PROCESSES`].
    Process(usize),
}

impl Clue {
    pub(super) const PROCESSES: [Self; 4] = [Self::Process(0), Self::Process(1), Self::Process(2), Self::Process(3)];
    /// All that tells a kernel of Windows.
    pub(super) const WINDOWS: [Self; 5] =
        [Self::Rsds, Self::Process(0), Self::Process(1), Self::Process(2), Self::Process(3)];
    /// All that tells a kernel of Linux.
    pub(super) const LINUX: [Self; 2] = [Self::Banner, Self::Release];

    fn bytes(self) -> &'static [u8] {
        match self {
            Self::Rsds => rsds::SIGNATURE,
            Self::Banner => linux::PREFIX,
            Self::Release => vmcoreinfo::START,
            Self::Process(index) => windows::PROCESSES.get(index).copied().unwrap_or_default(),
        }
    }
}

/// How many sightings are kept, 16 bytes each. An image has some thousands; behind more than these each who looks makes a
/// pass alone.
const MAX_KEPT: usize = 1 << 18;

/// The pass over a memory, and what it saw so far.
pub(super) struct Sightings<'m> {
    memory: &'m dyn PhysicalMemory,
    clues: Vec<Clue>,
    pass: AnyHits<'m>,
    seen: Vec<(Clue, Pa)>,
    most: usize,
}

/// How far somebody who looks for some of the clues has looked; see [`Sightings::next`].
pub(super) struct Look<'m> {
    clues: Vec<Clue>,
    /// How many of what the pass saw were looked at.
    done: usize,
    /// The own pass behind what is kept.
    own: Option<AnyHits<'m>>,
}

impl Look<'_> {
    pub(super) fn for_any(clues: &[Clue]) -> Self {
        Self { clues: clues.to_vec(), done: 0, own: None }
    }
}

impl<'m> Sightings<'m> {
    /// Nothing is searched before somebody asks.
    pub(super) fn new(memory: &'m dyn PhysicalMemory, clues: &[Clue]) -> Self {
        Self { memory, clues: clues.to_vec(), pass: pass(memory, clues), seen: Vec::new(), most: MAX_KEPT }
    }

    /// How many bytes the pass could not read so far, and the first fault.
    pub(super) fn unreadable(&self) -> Option<(u64, &PageFault)> {
        Some((self.pass.unreadable_bytes(), self.pass.faults().first()?))
    }

    /// The next place, in ascending order, of what `look` is for.
    pub(super) fn next(&mut self, look: &mut Look<'m>) -> Option<(Clue, Pa)> {
        debug_assert!(look.clues.iter().all(|clue| self.clues.contains(clue)), "the pass must look for it");
        loop {
            if let Some(own) = &mut look.own {
                let (index, at) = own.next()?;
                return Some((*look.clues.get(index)?, at));
            }
            match (self.seen.get(look.done), self.seen.last()) {
                (Some(&(clue, at)), _) => {
                    look.done += 1;
                    if look.clues.contains(&clue) {
                        return Some((clue, at));
                    }
                }
                // No clue begins like another one, so that there is none at the same place.
                (None, Some((_, last))) if self.seen.len() == self.most => {
                    look.own = Some(pass(self.memory, &look.clues).starting_at(last.wrapping_add(1)));
                }
                (None, _) => {
                    let (index, at) = self.pass.next()?;
                    self.seen.push((*self.clues.get(index)?, at));
                }
            }
        }
    }
}

fn pass<'m>(memory: &'m dyn PhysicalMemory, clues: &[Clue]) -> AnyHits<'m> {
    find_any(memory, &clues.iter().map(|clue| clue.bytes()).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::testing::TestMemory;

    const PLACES: [(u64, &[u8]); 7] = [
        (0x1010, b"RSDS"),
        (0x1100, b"Linux version "),
        (0x1200, b"smss.exe\0\0\0\0\0\0\0"),
        (0x8300, b"RSDS"),
        (0x8400, b"RSDS"),
        (0x8500, b"Linux version "),
        (0x8600, b"RSDS"),
    ];

    fn memory() -> TestMemory {
        let (mut first, mut second) = (vec![0; 0x1000], vec![0; 0x1000]);
        for (at, text) in PLACES {
            let (piece, start) = if at < 0x8000 { (&mut first, 0x1000) } else { (&mut second, 0x8000) };
            let at = (at - start) as usize;
            piece[at..at + text.len()].copy_from_slice(text);
        }
        TestMemory::new(vec![(0x1000, first), (0x8000, second)])
    }

    #[test]
    fn everybody_sees_all_that_there_is_in_one_pass_or_behind_what_is_kept() {
        let memory = memory();
        for most in 0..9 {
            let (_, before) = memory.read_so_far();
            let clues = [&Clue::WINDOWS[..], &Clue::LINUX].concat();
            let mut sightings = Sightings { most, ..Sightings::new(&memory, &clues) };
            let asked = [&[Clue::Rsds, Clue::Banner][..], &[Clue::Process(0)], &[Clue::Process(1)], &[Clue::Rsds]];
            let mut looks = asked.map(Look::for_any);
            let mut seen = asked.map(|_| Vec::new());
            // In turns.
            let mut going = true;
            while going {
                going = false;
                for (look, seen) in looks.iter_mut().zip(&mut seen) {
                    let next = sightings.next(look);
                    going |= next.is_some();
                    seen.extend(next);
                }
            }
            for (clues, seen) in asked.iter().zip(seen) {
                let of = |&(at, text): &(u64, &[u8])| {
                    clues.iter().find(|clue| clue.bytes() == text).map(|&clue| (clue, Pa(at)))
                };
                assert_eq!(seen, PLACES.iter().filter_map(of).collect::<Vec<_>>(), "{clues:?}, {most} kept");
            }
            let read = memory.read_so_far().1 - before;
            if most > PLACES.len() {
                // And a few bytes at the borders.
                assert!(read < 0x2100, "{read:#x} bytes were read of 0x2000");
            }
        }
    }
}
