//! Why memory could not be read: the address, the level and the reason.

use crate::addr::{Pa, Va};
use crate::paging::Absent;
use std::fmt;

/// Why one read of memory failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultReason {
    /// The image has no data for this physical address: a gap between runs, or behind the last one.
    NotInImage(Pa),
    /// The image's header promises this physical address, but the file ends before it.
    Truncated(Pa),
    /// The image says that this physical address was left out when it was made (free pages, user pages).
    NotDumped(Pa),
    /// The image says that this physical address could not be read when it was made.
    Unreadable(Pa),
    /// What the image has for this physical address cannot be decoded.
    Corrupt {
        /// The address.
        at: Pa,
        /// Why, and at which offset of the file.
        why: String,
    },
    /// A page-table entry is not present.
    NotPresent {
        /// The level's name, as the manual of the architecture has it ("PDE").
        level: &'static str,
        /// Physical address of the entry.
        entry_at: Pa,
        /// The entry.
        entry: u64,
        /// What the operating system means by it.
        why: Absent,
    },
    /// The page table itself is not in the image.
    TableMissing {
        /// The level's name.
        level: &'static str,
        /// Physical address of the entry that could not be read.
        entry_at: Pa,
    },
    /// The virtual address is not canonical: no page table can map it.
    NotCanonical,
    /// The address is in a half of the addresses whose page table is not known (AArch64: TTBR0 or TTBR1).
    NoRoot,
    /// The file under the image could not be read.
    Io(String),
}

/// A read of memory that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageFault {
    /// The virtual address that was read, if one was.
    pub va: Option<Va>,
    /// What is missing.
    pub reason: FaultReason,
}

impl PageFault {
    /// A fault of a physical read.
    pub fn physical(reason: FaultReason) -> Self {
        Self { va: None, reason }
    }
    /// The same fault, met while `va` was read.
    #[must_use]
    pub fn at(self, va: Va) -> Self {
        Self { va: Some(va), ..self }
    }

    /// A fault of the memory below, named by the address above it that falls into it: what is at `below` there is at `here`.
    #[must_use]
    pub(crate) fn moved(mut self, below: Pa, here: Pa) -> Self {
        if let FaultReason::NotInImage(at)
        | FaultReason::Truncated(at)
        | FaultReason::NotDumped(at)
        | FaultReason::Unreadable(at)
        | FaultReason::Corrupt { at, .. } = &mut self.reason
        {
            *at = here.wrapping_add(at.0.wrapping_sub(below.0));
        }
        self
    }

    /// How many bytes from `at` on a physical read had before the missing one, as far as the fault tells.
    pub fn good_bytes_from(&self, at: Pa) -> usize {
        match self.reason {
            FaultReason::NotInImage(missing)
            | FaultReason::Truncated(missing)
            | FaultReason::NotDumped(missing)
            | FaultReason::Unreadable(missing)
            | FaultReason::Corrupt { at: missing, .. } => usize::try_from(missing.0.saturating_sub(at.0)).unwrap_or(0),
            _ => 0,
        }
    }
}

impl fmt::Display for PageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(va) = self.va {
            write!(f, "virtual address {va}: ")?;
        }
        match &self.reason {
            FaultReason::NotInImage(pa) => write!(f, "physical address {pa} is not in the image"),
            FaultReason::Truncated(pa) => write!(f, "physical address {pa} is behind the end of the truncated image"),
            FaultReason::NotDumped(pa) => write!(f, "physical address {pa} was left out when the image was made"),
            FaultReason::Unreadable(pa) => write!(f, "physical address {pa} could not be read when the image was made"),
            FaultReason::Corrupt { at, why } => write!(f, "physical address {at} cannot be decoded: {why}"),
            FaultReason::NotPresent { level, entry_at, entry, why } => {
                write!(f, "the {level} at physical {entry_at} is {entry:#x}: {why}")
            }
            FaultReason::TableMissing { level, entry_at } => {
                write!(f, "the {level} at physical {entry_at} is not in the image")
            }
            FaultReason::NotCanonical => f.write_str("not canonical"),
            FaultReason::NoRoot => f.write_str("no page table is known for this half of the addresses (the kernel's shows the upper one, a process's the lower)"),
            FaultReason::Io(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for PageFault {}
