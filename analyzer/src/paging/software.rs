//! What an operating system means by an entry whose present bit is clear: pages that are still in memory, though the
//! processor would fault.

use super::spec::FRAME_MASK;

/// Whose entries these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Software {
    /// Nobody's: an entry that is not present maps nothing.
    #[default]
    None,
    /// Windows: pages in transition keep their frame number (`_MMPTE_TRANSITION`).
    Windows,
    /// Linux on x86: pages with protection none keep their frame number, inverted since 4.19 (L1TF).
    Linux,
}

/// Windows sets bit 45 in frame numbers of entries that are not present, against L1TF (version 1803 and later). No
/// machine has memory there.
const L1TF_BIT: u64 = 1 << 45;
/// `_MMPTE_TRANSITION.PageFrameNumber` ends at bit 47.
const WINDOWS_FRAME: u64 = FRAME_MASK & ((1 << 48) - 1) & !L1TF_BIT;
/// Linux masks with the width of its own build, 46 bits in the narrowest.
const LINUX_FRAME: u64 = FRAME_MASK & ((1 << 46) - 1);

impl Software {
    /// The frame that the entry still has, with the state's name, or nothing. `leaf` says that the entry maps a page.
    pub(super) fn frame(self, entry: u64, leaf: bool) -> Option<(u64, State)> {
        match self {
            // Bit 11 Transition, bit 10 Prototype, bit 0 Valid. In prototype entries bit 11 has another meaning.
            Self::Windows if entry & 0xc01 == 0x800 => Some((entry & WINDOWS_FRAME, State::Transition)),
            // _PAGE_PROTNONE is bit 8. Kernels before 4.19 do not invert: then the high bits of the frame are clear.
            Self::Linux if leaf && entry & 0x101 == 0x100 => {
                let inverted = entry & L1TF_BIT != 0;
                Some((if inverted { !entry } else { entry } & LINUX_FRAME, State::ProtectionNone))
            }
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
