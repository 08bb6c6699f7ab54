//! The walk through the page tables, level by level. Translation and the verbose listing are the same walk.

use super::AddressSpace;
use super::software::{Absent, Position, SoftEntry, State};
use super::spec::{Entries, Halves};
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
    /// As `Table`, though the present bit is clear.
    KeptTable(Pa, State),
    /// The shared entry at this virtual address counts.
    Prototype(Va),
    /// The present bit is clear, and why.
    NotPresent(Absent),
    /// The entry is not in the image.
    NotInImage,
}

impl fmt::Display for Meaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(at) => write!(f, "table at {at}"),
            Self::Page(at, bytes) => write!(f, "{}page at {at}{}", large(*bytes), in_units(*bytes)),
            Self::Kept(at, bytes, state) => write!(f, "{}page {state} at {at}{}", large(*bytes), in_units(*bytes)),
            Self::KeptTable(at, state) => write!(f, "table {state} at {at}"),
            Self::Prototype(at) => write!(f, "prototype PTE at virtual {at}"),
            Self::NotPresent(why) => why.fmt(f),
            Self::NotInImage => f.write_str("not in the image"),
        }
    }
}

fn large(bytes: u64) -> &'static str {
    if bytes > 0x1_0000 { "large " } else { "" }
}

/// The size of a page that is not of 4 KiB.
fn in_units(bytes: u64) -> String {
    match bytes {
        0x1000 => String::new(),
        0x4000_0000.. => format!(", {} GiB", bytes >> 30),
        0x10_0000.. => format!(", {} MiB", bytes >> 20),
        _ => format!(", {} KiB", bytes >> 10),
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transition => "in transition",
            Self::ProtectionNone => "without access (PROT_NONE)",
        })
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

impl Step {
    /// Whether the processor takes the entry.
    pub(super) fn is_hardware(&self) -> bool {
        matches!(self.meaning, Meaning::Table(_) | Meaning::Page(..))
    }
}

/// Bit 7 of an entry of a level that may map large pages.
const LARGE: u64 = 1 << 7;
/// The level of a shared entry of Windows.
const PROTOTYPE: &str = "Prototype PTE";

impl AddressSpace<'_> {
    /// Walks to the page that holds `va`, telling each step. The page comes back as its first byte and its size.
    pub(super) fn walk_with(&self, va: Va, visit: impl FnMut(Step)) -> Result<(Pa, u64), PageFault> {
        self.check_canonical(va)?;
        let no_root = PageFault { va: Some(va), reason: FaultReason::NoRoot };
        self.walk_from(0, self.root_for(va).ok_or(no_root)?, va, visit)
    }

    /// The same from a table, of level number `first`, that `va` leads to.
    pub(super) fn walk_from(
        &self,
        first: usize,
        mut table: Pa,
        va: Va,
        mut visit: impl FnMut(Step),
    ) -> Result<(Pa, u64), PageFault> {
        let fault = |reason| Err(PageFault { va: Some(va), reason });
        let mut last = None;
        for index in first..self.spec.levels.len() {
            let step = self.step(table, index, va);
            visit(step);
            last = Some(step);
            match step.meaning {
                Meaning::Table(next) | Meaning::KeptTable(next, _) => table = next,
                _ => break,
            }
        }
        if let Some(Step { entry_at, entry, meaning: Meaning::Prototype(at), level }) = last {
            last = Some(match self.prototype(at) {
                Some(step) => {
                    visit(step);
                    step
                }
                None => Step { level, entry_at, entry, meaning: Meaning::NotPresent(Absent::Prototype(Some(at))) },
            });
        }
        match last {
            Some(Step { meaning: Meaning::Page(page, bytes) | Meaning::Kept(page, bytes, _), .. }) => Ok((page, bytes)),
            Some(Step { level, entry_at, entry, meaning: Meaning::NotPresent(why) }) => {
                fault(FaultReason::NotPresent { level, entry_at, entry, why })
            }
            Some(Step { level, entry_at, .. }) => fault(FaultReason::TableMissing { level, entry_at }),
            None => fault(FaultReason::NoRoot),
        }
    }

    /// The entry for `va` in the table at `table`, which is of level number `index`.
    pub(super) fn step(&self, table: Pa, index: usize, va: Va) -> Step {
        let spec = &self.spec;
        let Some(level) = spec.levels.get(index) else {
            return Step { level: "?", entry_at: table, entry: 0, meaning: Meaning::NotInImage };
        };
        let number = (self.translated_bits(va) >> level.shift) & ((1 << level.bits) - 1);
        let entry_at = table.wrapping_add(number * u64::from(spec.entry_bytes));
        let Some(entry) = self.entry(entry_at) else {
            return Step { level: level.name, entry_at, entry: 0, meaning: Meaning::NotInImage };
        };
        let lowest = index + 1 == spec.levels.len();
        let page_bytes = 1_u64 << level.shift;
        let large = || level.may_be_large && entry & LARGE != 0;
        let (present, maps_page) = match spec.entries {
            Entries::X86 => (entry & 1 != 0, lowest || large()),
            Entries::Ept => (entry & 7 != 0 && entry & 3 != 2, lowest || large()),
            Entries::Aarch64 => match entry & 3 {
                3 => (true, lowest),
                1 => (level.may_be_large, true),
                _ => (false, lowest || level.may_be_large && entry & 2 == 0),
            },
        };
        let meaning = if !present {
            self.soft(entry, Position { leaf: maps_page, prototype: false }, lowest, page_bytes)
        } else if maps_page {
            Meaning::Page(self.page(entry, page_bytes, !lowest), page_bytes)
        } else {
            Meaning::Table(Pa(spec.frame(entry, false)))
        };
        Step { level: level.name, entry_at, entry, meaning }
    }

    /// The page of an entry. The mask also drops bit 12 of a large x86 entry, which is PAT there.
    fn page(&self, entry: u64, page_bytes: u64, large: bool) -> Pa {
        Pa(self.spec.frame(entry, large) & !(page_bytes - 1))
    }

    /// What the operating system means by an entry.
    fn soft(&self, entry: u64, position: Position, lowest: bool, page_bytes: u64) -> Meaning {
        match self.software.meaning(entry, position) {
            SoftEntry::Kept(frame, state @ State::Transition) if !lowest => {
                Meaning::KeptTable(Pa(self.spec.frame(frame, false)), state)
            }
            SoftEntry::Kept(frame, state) => Meaning::Kept(self.page(frame, page_bytes, !lowest), page_bytes, state),
            SoftEntry::Prototype(at) if lowest => Meaning::Prototype(at),
            SoftEntry::Prototype(at) => Meaning::NotPresent(Absent::Prototype(Some(at))),
            SoftEntry::Absent(why) => Meaning::NotPresent(why),
        }
    }

    /// The shared entry of Windows at `at`. It is found by hardware and transition entries alone, so that no entry leads
    /// to another and that one back.
    fn prototype(&self, at: Va) -> Option<Step> {
        self.check_canonical(at).ok()?;
        let mut table = self.root_for(at)?;
        let mut found = None;
        for index in 0..self.spec.levels.len() {
            match self.step(table, index, at).meaning {
                Meaning::Table(next) | Meaning::KeptTable(next, _) => table = next,
                Meaning::Page(page, bytes) | Meaning::Kept(page, bytes, _) => {
                    found = Some(page.wrapping_add(at.0 & (bytes - 1)));
                    break;
                }
                _ => return None,
            }
        }
        let entry_at = found?;
        let entry = self.entry(entry_at)?;
        let page_bytes = super::PAGE_BYTES;
        let meaning = if entry & 1 != 0 {
            Meaning::Page(self.page(entry, page_bytes, false), page_bytes)
        } else {
            self.soft(entry, Position { leaf: true, prototype: true }, true, page_bytes)
        };
        Some(Step { level: PROTOTYPE, entry_at, entry, meaning })
    }

    fn entry(&self, at: Pa) -> Option<u64> {
        let mut bytes = [0; 8];
        let part = bytes.get_mut(..usize::from(self.spec.entry_bytes))?;
        self.memory.read(at, part).ok()?;
        Some(u64::from_le_bytes(bytes))
    }

    /// The bits of `va` that the tables translate.
    fn translated_bits(&self, va: Va) -> u64 {
        va.0 & ((1 << self.spec.address_bits) - 1)
    }

    /// What tells `va` from all other addresses that are canonical: its translated bits, and which half it is in.
    pub(super) fn key(&self, va: Va) -> u64 {
        match self.spec.halves {
            Halves::TwoRoots => self.translated_bits(va) | (va.0 >> 55 & 1) << self.spec.address_bits,
            _ => self.translated_bits(va),
        }
    }

    /// Refuses what page tables of this layout cannot map at all.
    pub(super) fn check_canonical(&self, va: Va) -> Result<(), PageFault> {
        let bits = self.spec.address_bits;
        let all_equal = |high: i64| high == 0 || high == -1;
        let canonical = match self.spec.halves {
            Halves::SignExtended => all_equal(va.0.cast_signed() >> (bits - 1)),
            Halves::TwoRoots => all_equal((va.0 << 8).cast_signed() >> (bits + 8)),
            Halves::One => va.0 >> bits == 0,
        };
        if canonical { Ok(()) } else { Err(PageFault { va: Some(va), reason: FaultReason::NotCanonical }) }
    }
}
