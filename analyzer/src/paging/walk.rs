//! The walk through the page tables, level by level. Translation and the verbose listing are the same walk.

use super::AddressSpace;
use super::software::State;
use super::spec::FRAME_MASK;
use crate::addr::{Pa, Va};
use crate::error::{FaultReason, PageFault};
use std::fmt;

/// What an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The next table is here.
    Table(Pa),
    /// A page: its first byte, and its size in bytes.
    Page(Pa, u64),
    /// As `Page`, though the present bit is clear: the operating system keeps it.
    Kept(Pa, u64, State),
    /// The present bit is clear, and there is no more to know.
    NotPresent,
    /// The entry is not in the image.
    NotInImage,
}

impl fmt::Display for Meaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(at) => write!(f, "table at {at}"),
            Self::Page(at, 0x1000) => write!(f, "page at {at}"),
            Self::Page(at, 0x4000_0000) => write!(f, "1 GiB page at {at}"),
            Self::Page(at, bytes) => write!(f, "large page at {at}, {} MiB", bytes >> 20),
            Self::Kept(at, _, State::Transition) => write!(f, "page in transition at {at}"),
            Self::Kept(at, _, State::ProtectionNone) => write!(f, "page without protection bits (PROT_NONE) at {at}"),
            Self::NotPresent => f.write_str("not present"),
            Self::NotInImage => f.write_str("not in the image"),
        }
    }
}

/// One step of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The level's name ("PDE").
    pub level: &'static str,
    /// Physical address of the entry.
    pub entry_at: Pa,
    /// The entry; 0 when it is not in the image.
    pub entry: u64,
    /// What it says.
    pub meaning: Meaning,
}

/// Bit 0 of an entry.
const PRESENT: u64 = 1;
/// Bit 7 of an entry of a level that may map large pages.
const LARGE: u64 = 1 << 7;

impl AddressSpace<'_> {
    /// Walks to the page that holds `va`, telling each step. The page comes back as its first byte and its size.
    pub(super) fn walk_with(&self, va: Va, mut visit: impl FnMut(Step)) -> Result<(Pa, u64), PageFault> {
        self.check_canonical(va)?;
        let mut table = self.root;
        let mut last = None;
        for index in 0..self.spec.levels.len() {
            let step = self.step(table, index, va);
            visit(step);
            last = Some(step);
            match step.meaning {
                Meaning::Table(next) => table = next,
                Meaning::Page(page, bytes) | Meaning::Kept(page, bytes, _) => return Ok((page, bytes)),
                Meaning::NotPresent | Meaning::NotInImage => break,
            }
        }
        let reason = match last {
            Some(Step { level, entry_at, entry, meaning: Meaning::NotPresent }) => {
                FaultReason::NotPresent { level, entry_at, entry }
            }
            Some(Step { level, entry_at, .. }) => FaultReason::TableMissing { level, entry_at },
            None => FaultReason::NotCanonical,
        };
        Err(PageFault { va: Some(va), reason })
    }

    /// The entry for `va` in the table at `table`, which is of level number `index`.
    pub(super) fn step(&self, table: Pa, index: usize, va: Va) -> Step {
        let Some(level) = self.spec.levels.get(index) else {
            return Step { level: "?", entry_at: table, entry: 0, meaning: Meaning::NotInImage };
        };
        let number = (va.0 >> level.shift) & ((1 << level.bits) - 1);
        let entry_at = table.wrapping_add(number * 8);
        let mut entry = [0; 8];
        if self.memory.read(entry_at, &mut entry).is_err() {
            return Step { level: level.name, entry_at, entry: 0, meaning: Meaning::NotInImage };
        }
        let entry = u64::from_le_bytes(entry);
        let lowest = index + 1 == self.spec.levels.len();
        let large = level.may_be_large && entry & LARGE != 0;
        let page_bytes = 1_u64 << level.shift;
        // The mask also drops bit 12 of a large entry, which is PAT there.
        let page = |frame: u64| Pa(frame & FRAME_MASK & !(page_bytes - 1));
        let meaning = if entry & PRESENT != 0 {
            if lowest || large {
                Meaning::Page(page(entry), page_bytes)
            } else {
                Meaning::Table(Pa(entry & FRAME_MASK))
            }
        } else {
            match self.software.frame(entry, lowest || large) {
                Some((frame, State::Transition)) if !lowest => Meaning::Table(Pa(frame)),
                Some((frame, state)) => Meaning::Kept(page(frame), page_bytes, state),
                None => Meaning::NotPresent,
            }
        };
        Step { level: level.name, entry_at, entry, meaning }
    }

    /// Refuses what page tables of this layout cannot map at all.
    pub(super) fn check_canonical(&self, va: Va) -> Result<(), PageFault> {
        let canonical = if self.spec.sign_extended {
            let high = (va.0.cast_signed()) >> (self.spec.address_bits - 1);
            high == 0 || high == -1
        } else {
            va.0 >> self.spec.address_bits == 0
        };
        if canonical { Ok(()) } else { Err(PageFault { va: Some(va), reason: FaultReason::NotCanonical }) }
    }
}
