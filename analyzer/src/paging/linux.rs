//! Linux's meaning of entries that are not present. Sources: arch/x86/include/asm/pgtable_64.h, pgtable-invert.h;
//! arch/arm64/include/asm/pgtable.h, pgtable-prot.h.

use super::software::{Absent, Field, SoftEntry, State};

/// Whose kernel's, and of which time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinuxPtes {
    /// x86-64. Pages with protection none keep their frame number; it is inverted since 4.19 (L1TF).
    Amd64,
    /// AArch64 before 6.10: bit 58 is `PTE_PROT_NONE`, bit 59 `PMD_PRESENT_INVALID`.
    Arm64,
    /// AArch64 since 6.10: bit 11 is `PTE_PRESENT_INVALID`.
    Arm64Since610,
}

/// Linux masks with the width of its own build, 46 bits in the narrowest.
const AMD64_FRAME: u64 = ((1 << 46) - 1) & !0xfff;
/// No machine has memory there: set says that the frame number is inverted.
const AMD64_INVERTED: u64 = 1 << 45;
/// Swap types from here on are of no area: `MAX_SWAPFILES` with everything configured (include/linux/swap.h).
const MAX_SWAPFILES: u64 = 23;

impl LinuxPtes {
    /// What `entry` means; `leaf` says that it can only map a page.
    pub(super) fn meaning(self, entry: u64, leaf: bool) -> SoftEntry {
        match self {
            _ if entry == 0 || !leaf => SoftEntry::Absent(Absent::Invalid),
            // _PAGE_PROTNONE is bit 8. Kernels before 4.19 do not invert: then the high bits of the frame are clear.
            Self::Amd64 if entry & 0x100 != 0 => {
                let frame = if entry & AMD64_INVERTED != 0 { !entry } else { entry };
                SoftEntry::Kept(frame & AMD64_FRAME, State::ProtectionNone)
            }
            // Type in bits 63 to 59, offset in 58 to 9, inverted: then bit 58 is set in any real one.
            Self::Amd64 if entry >> 58 & 1 != 0 => swap(Field::new(59, 5).of(entry), Field::new(9, 50).of(!entry)),
            // Before 4.19: type in bits 13 to 9, offset above.
            Self::Amd64 => swap(Field::new(9, 5).of(entry), Field::new(14, 50).of(entry)),
            Self::Arm64 if entry >> 58 & 3 != 0 => SoftEntry::Kept(entry, State::ProtectionNone),
            Self::Arm64 => swap(Field::new(3, 5).of(entry), Field::new(8, 50).of(entry)),
            Self::Arm64Since610 if entry >> 11 & 1 != 0 => SoftEntry::Kept(entry, State::ProtectionNone),
            Self::Arm64Since610 => swap(Field::new(6, 5).of(entry), Field::new(12, 50).of(entry)),
        }
    }
}

fn swap(kind: u64, page: u64) -> SoftEntry {
    SoftEntry::Absent(if kind < MAX_SWAPFILES {
        Absent::Swap { area: kind, page }
    } else {
        Absent::SpecialSwap { kind, value: page }
    })
}
