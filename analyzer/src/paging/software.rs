//! What an operating system means by an entry whose present bit is clear: pages that are still in memory, though the
//! processor would fault, and where the others are.

use super::linux::LinuxPtes;
use super::windows::WindowsPtes;
use crate::addr::Va;
use crate::error::PageFault;
use std::fmt;
use std::sync::Arc;

/// Whose entries these are.
#[derive(Debug, Clone, Default)]
pub enum Software {
    /// Nobody's: an entry that is not present maps nothing.
    #[default]
    None,
    /// Windows.
    Windows(Arc<WindowsPtes>),
    /// Linux.
    Linux(LinuxPtes),
}

/// Some bits of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// The lowest one.
    pub first: u32,
    /// How many.
    pub bits: u32,
}

impl Field {
    /// Bits `first` to `first + bits - 1`.
    pub const fn new(first: u32, bits: u32) -> Self {
        Self { first, bits }
    }

    /// The number that they hold in `entry`.
    pub(super) fn of(self, entry: u64) -> u64 {
        let all = 1_u64.checked_shl(self.bits).map_or(u64::MAX, |above| above - 1);
        entry.checked_shr(self.first).unwrap_or(0) & all
    }

    /// The same, its highest bit repeated above.
    pub(super) fn signed_of(self, entry: u64) -> u64 {
        let unused = 64_u32.saturating_sub(self.bits);
        ((self.of(entry) << (unused & 63)).cast_signed() >> (unused & 63)).cast_unsigned()
    }
}

/// What an entry means that the processor takes for not present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SoftEntry {
    /// The frame is still there.
    Kept(u64, State),
    /// Windows: the entry that counts is a shared one, in the kernel's memory.
    Prototype(Va),
    /// There is no frame.
    Absent(Absent),
}

/// Where in the tables an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// It can only map a page.
    pub(super) leaf: bool,
    /// It is a prototype entry of Windows, which no table holds.
    pub(super) prototype: bool,
}

impl Software {
    /// What `entry` means.
    pub(super) fn meaning(&self, entry: u64, position: Position) -> SoftEntry {
        match self {
            Self::None => SoftEntry::Absent(Absent::Invalid),
            Self::Windows(ptes) => ptes.meaning(entry, position),
            Self::Linux(ptes) => ptes.meaning(entry, position.leaf),
        }
    }

    /// Fills `buffer` with bytes of a page that is not in memory, from byte `inside` on; `None` where they are not to be had.
    pub(super) fn read(&self, page: Absent, inside: u64, buffer: &mut [u8]) -> Option<Result<(), PageFault>> {
        match (self, page) {
            (_, Absent::DemandZero) => {
                buffer.fill(0);
                Some(Ok(()))
            }
            (Self::Windows(ptes), Absent::Pagefile { number, page }) => ptes.read(number, page, inside, buffer),
            _ => None,
        }
    }

    /// The operating system's own bits of an entry that is not present, for a person.
    pub(super) fn describe(&self, entry: u64) -> Option<String> {
        match self {
            Self::Windows(ptes) if entry != 0 => Some(ptes.protection(entry)),
            _ => None,
        }
    }
}

/// The state of a page that is in memory and not mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Windows: on the standby or modified list, or on its way.
    Transition,
    /// Linux: mapped with `PROT_NONE`, or marked for NUMA balancing.
    ProtectionNone,
}

/// Why no frame belongs to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// Nothing is mapped there, or nobody knows what is.
    Invalid,
    /// Windows: the entry was never filled, and the process's VAD tells what the page is.
    Vad,
    /// Windows: a page of zeros when it is first touched. It reads as such.
    DemandZero,
    /// Windows: in a page file.
    Pagefile {
        /// Which one.
        number: u8,
        /// Its place there, in pages.
        page: u64,
    },
    /// Windows: compressed, in the memory of the process "MemCompression".
    CompressedStore {
        /// The number of the page file that stands for the store.
        number: u8,
        /// The key of the page.
        page: u64,
    },
    /// Windows: by a shared (prototype) entry that cannot be reached.
    Prototype(Option<Va>),
    /// Windows: in a file, whose subsection is here.
    Subsection(Va),
    /// Windows 11: in a file.
    FileBacked,
    /// Linux: in a swap area.
    Swap {
        /// Which one, as `/proc/swaps` counts from 0.
        area: u64,
        /// Its place there, in pages.
        page: u64,
    },
    /// Linux: a page on the move, of a device, or damaged: swap types that no area has. Their numbers hang on the kernel's
    /// configuration.
    SpecialSwap {
        /// The type.
        kind: u64,
        /// What it says: mostly a page frame number.
        value: u64,
    },
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = |page: &u64| page.saturating_mul(super::PAGE_BYTES);
        match self {
            Self::Invalid => f.write_str("not present"),
            Self::Vad => f.write_str("not present: the VAD of the process may tell more"),
            Self::DemandZero => f.write_str("demand zero"),
            Self::Pagefile { number, page } => {
                write!(f, "in page file {number} at offset {:#x} (--pagefile)", bytes(page))
            }
            Self::CompressedStore { number, page } => {
                write!(f, "in the compressed store (page file {number}), key {page:#x}: not read")
            }
            Self::Prototype(Some(at)) => write!(f, "by the prototype PTE at {at}, which cannot be read"),
            Self::Prototype(None) => f.write_str("by a prototype PTE whose address is not known"),
            Self::Subsection(at) => write!(f, "in a file: subsection at {at}"),
            Self::FileBacked => f.write_str("in a file"),
            Self::Swap { area, page } => write!(f, "in swap area {area} at offset {:#x}", bytes(page)),
            Self::SpecialSwap { kind, value } => {
                write!(f, "a special swap entry (migration, device, poison), type {kind}, value {value:#x}")
            }
        }
    }
}
