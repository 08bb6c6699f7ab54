//! Page-table layouts as data. Sources: Intel SDM volume 3, chapters 4 ("Paging") and 28 ("VMX support for address
//! translation"); AMD64 APM volume 2, chapter 5; Arm Architecture Reference Manual for A-profile (DDI 0487), chapter D8.

use std::fmt;

/// One level of page tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// The name of its entries, as the manual has it.
    pub name: &'static str,
    /// Which bits of the address choose the entry: the lowest one.
    pub shift: u32,
    /// How many they are. In the root table there are fewer where the address ends before.
    pub bits: u32,
    /// Whether its entries can map a large page (a block) of `1 << shift` bytes.
    pub may_be_large: bool,
}

/// How an entry says whether it maps something, and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entries {
    /// Bit 0 is P, bit 7 of an upper level PS.
    X86,
    /// Any of bits 2 to 0 (read, write, execute) says that it is present, unless it may be written and not read: such an
    /// entry is misconfigured, and never translates (KVM marks the addresses of devices by it). Bit 7 as in `X86`.
    Ept,
    /// Bits 1 and 0: 1 is a block, 3 a table, or a page on the last level.
    Aarch64,
}

/// Which addresses the tables map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halves {
    /// From 0 up: all bits above are 0.
    One,
    /// The bits above repeat the highest one that is translated: one root for both halves.
    SignExtended,
    /// Bit 55 chooses one of two roots (TTBR0, TTBR1), and the bits from the highest one that is translated to 55 are
    /// equal. Those above are left alone: they may be a tag, and whether they are is in TCR_EL1, which images mostly lack.
    TwoRoots,
}

/// Bits of an address that stand elsewhere in an entry: `bits` of them from `from` on are those from `to` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// The lowest of them, in the entry.
    pub from: u32,
    /// How many.
    pub bits: u32,
    /// The lowest of them, in the address.
    pub to: u32,
}

impl Moved {
    const fn of(self, entry: u64) -> u64 {
        (entry >> self.from & ((1 << self.bits) - 1)) << self.to
    }
}

/// The layout of an architecture's page tables, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PagingSpec {
    /// Its name ("AMD64").
    pub name: &'static str,
    /// The levels from the root down.
    pub levels: &'static [Level],
    /// Bytes of an entry: 4 or 8.
    pub entry_bytes: u8,
    /// How entries are read.
    pub entries: Entries,
    /// The bits of an entry that are the address of what it points to.
    pub frame_mask: u64,
    /// More such bits, which stand elsewhere.
    pub frame_high: Option<Moved>,
    /// The same, in entries that map large pages alone.
    pub large_high: Option<Moved>,
    /// The bits of the root register that are the root's address; the others are flags and the PCID or ASID.
    pub root_mask: u64,
    /// More such bits, which stand elsewhere.
    pub root_high: Option<Moved>,
    /// Which bit of entries and of the root register says that the memory is encrypted; it is in none of the masks.
    pub c_bit: Option<u32>,
    /// How many bits of a virtual address are translated.
    pub address_bits: u32,
    /// What is above these bits.
    pub halves: Halves,
}

impl PagingSpec {
    /// The same layout on a machine that encrypts memory (AMD SME, SEV): one bit of an address says so (C-bit; APM volume 2,
    /// sections 7.10 and 15.34). Which one differs by processor; 47 and 51 are known.
    #[must_use]
    pub fn with_c_bit(&self, bit: u32) -> Self {
        let others = !1_u64.checked_shl(bit).unwrap_or(0);
        Self { frame_mask: self.frame_mask & others, root_mask: self.root_mask & others, c_bit: Some(bit), ..*self }
    }

    /// The physical address of the root table that a root register (CR3, TTBR, EPTP) holds.
    pub fn root(&self, register: u64) -> u64 {
        register & self.root_mask | self.root_high.map_or(0, |high| high.of(register))
    }

    /// The address of the table that an entry points to.
    pub fn table(&self, entry: u64) -> u64 {
        self.frame(entry, false)
    }

    /// The address that an entry points to; `large` says that it maps a large page.
    pub(super) fn frame(&self, entry: u64, large: bool) -> u64 {
        let high = |moved: Option<Moved>| moved.map_or(0, |high| high.of(entry));
        entry & self.frame_mask | high(self.frame_high) | if large { high(self.large_high) } else { 0 }
    }
}

impl fmt::Display for PagingSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}-bit addresses", self.name, self.address_bits)?;
        self.c_bit.map_or(Ok(()), |bit| write!(f, ", C-bit {bit}"))
    }
}

/// Bits 51 to 12 of x86 entries of 8 bytes. The rest are flags, protection keys (62 to 59) and NX (63).
const X86_FRAME: u64 = 0x000f_ffff_ffff_f000;

const fn level(name: &'static str, shift: u32, bits: u32) -> Level {
    Level { name, shift, bits, may_be_large: false }
}

const fn large(name: &'static str, shift: u32, bits: u32) -> Level {
    Level { name, shift, bits, may_be_large: true }
}

const PTE: Level = level("PTE", 12, 9);
const PDE: Level = large("PDE", 21, 9);
const PDPTE: Level = large("PDPTE", 30, 9);
const PML4E: Level = level("PML4E", 39, 9);
const PML5E: Level = level("PML5E", 48, 9);

/// x86-64 with four levels.
pub static AMD64: PagingSpec = PagingSpec {
    name: "AMD64",
    levels: &[PML4E, PDPTE, PDE, PTE],
    entry_bytes: 8,
    entries: Entries::X86,
    frame_mask: X86_FRAME,
    frame_high: None,
    large_high: None,
    root_mask: X86_FRAME,
    root_high: None,
    c_bit: None,
    address_bits: 48,
    halves: Halves::SignExtended,
};

/// x86-64 with five levels (CR4.LA57).
pub static AMD64_LA57: PagingSpec =
    PagingSpec { name: "AMD64 with five levels", levels: &[PML5E, PML4E, PDPTE, PDE, PTE], address_bits: 57, ..AMD64 };

/// 32-bit x86 with physical address extension. The root is a table of four entries, aligned to 32 bytes.
pub static X86_PAE: PagingSpec = PagingSpec {
    name: "I386 PAE",
    levels: &[level("PDPTE", 30, 2), PDE, PTE],
    root_mask: 0xffff_ffe0,
    address_bits: 32,
    halves: Halves::One,
    ..AMD64
};

/// 32-bit x86. Pages of 4 MiB can lie above 4 GiB (PSE-36, 40 bits): bits 20 to 13 of their entries.
pub static X86: PagingSpec = PagingSpec {
    name: "I386",
    levels: &[large("PDE", 22, 10), level("PTE", 12, 10)],
    entry_bytes: 4,
    frame_mask: 0xffff_f000,
    large_high: Some(Moved { from: 13, bits: 8, to: 32 }),
    root_mask: 0xffff_f000,
    address_bits: 32,
    halves: Halves::One,
    ..AMD64
};

const EPT_PTE: Level = level("EPT PTE", 12, 9);
const EPT_PDE: Level = large("EPT PDE", 21, 9);
const EPT_PDPTE: Level = large("EPT PDPTE", 30, 9);
const EPT_PML4E: Level = level("EPT PML4E", 39, 9);
const EPT_PML5E: Level = level("EPT PML5E", 48, 9);

/// The extended page tables of a virtual machine on Intel processors, four levels: from the guest's physical addresses to
/// the host's. The root register is the EPTP.
pub static EPT: PagingSpec = PagingSpec {
    name: "EPT",
    levels: &[EPT_PML4E, EPT_PDPTE, EPT_PDE, EPT_PTE],
    entries: Entries::Ept,
    halves: Halves::One,
    ..AMD64
};

/// The same with five levels.
pub static EPT_FIVE: PagingSpec = PagingSpec {
    name: "EPT with five levels",
    levels: &[EPT_PML5E, EPT_PML4E, EPT_PDPTE, EPT_PDE, EPT_PTE],
    address_bits: 57,
    ..EPT
};

/// The smallest page of AArch64 page tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granule {
    /// 4 KiB.
    K4,
    /// 16 KiB.
    K16,
    /// 64 KiB.
    K64,
}

const A64_4K: &[Level] = &[level("L0", 39, 9), large("L1", 30, 9), large("L2", 21, 9), level("L3", 12, 9)];
const A64_16K: &[Level] = &[level("L0", 47, 11), level("L1", 36, 11), large("L2", 25, 11), level("L3", 14, 11)];
const A64_64K: &[Level] = &[large("L1", 42, 13), large("L2", 29, 13), level("L3", 16, 13)];
/// With 52-bit addresses (FEAT_LPA2) there are blocks one level higher, and with 4 KiB one level more.
const A64_4K_LPA2: &[Level] =
    &[level("L-1", 48, 9), large("L0", 39, 9), large("L1", 30, 9), large("L2", 21, 9), level("L3", 12, 9)];
const A64_16K_LPA2: &[Level] = &[level("L0", 47, 11), large("L1", 36, 11), large("L2", 25, 11), level("L3", 14, 11)];

/// Bits 47 to `low`.
const fn up_to_47(low: u32) -> u64 {
    ((1 << 48) - 1) & !((1 << low) - 1)
}

impl PagingSpec {
    /// The first stage of AArch64 with this granule, for virtual addresses of `bits` bits (64 - TxSZ); `None` unless they
    /// are 25 to 52. The root register is TTBR0_EL1 or TTBR1_EL1. With more than 48 bits entries are those of 52-bit
    /// physical addresses (TCR_EL1.DS), and with 64 KiB they always are: without them the bits are 0.
    pub fn aarch64(granule: Granule, bits: u32) -> Option<Self> {
        let lpa2 = bits > 48;
        // The bits of TTBR and of entries that stand elsewhere.
        let root_high = Some(Moved { from: 2, bits: 4, to: 48 });
        let lpa2_frame = Some(Moved { from: 8, bits: 2, to: 50 });
        let (name, levels, frame_mask, frame_high) = match (granule, lpa2) {
            (Granule::K4, false) => ("AArch64 with 4 KiB pages", A64_4K, up_to_47(12), None),
            (Granule::K4, true) => ("AArch64 with 4 KiB pages", A64_4K_LPA2, up_to_47(12) | 3 << 48, lpa2_frame),
            (Granule::K16, false) => ("AArch64 with 16 KiB pages", A64_16K, up_to_47(14), None),
            (Granule::K16, true) => ("AArch64 with 16 KiB pages", A64_16K_LPA2, up_to_47(14) | 3 << 48, lpa2_frame),
            (Granule::K64, _) => {
                ("AArch64 with 64 KiB pages", A64_64K, up_to_47(16), Some(Moved { from: 12, bits: 4, to: 48 }))
            }
        };
        let skipped = levels.iter().take_while(|level| level.shift >= bits).count();
        (25..=52).contains(&bits).then_some(())?;
        Some(Self {
            name,
            levels: levels.get(skipped..)?,
            entry_bytes: 8,
            entries: Entries::Aarch64,
            frame_mask,
            frame_high,
            large_high: None,
            // Bit 0 is CnP; tables of fewer than eight entries are aligned to 64 bytes all the same.
            root_mask: up_to_47(6),
            root_high: root_high.filter(|_| frame_high.is_some()),
            c_bit: None,
            address_bits: bits,
            halves: Halves::TwoRoots,
        })
    }
}
