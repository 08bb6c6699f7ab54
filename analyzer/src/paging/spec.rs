//! Page-table layouts as data. Source: Intel SDM volume 3, chapter 4 ("Paging"); AMD64 APM volume 2, chapter 5.

/// One level of page tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// The name of its entries, as the manual has it.
    pub name: &'static str,
    /// Which bits of the address choose the entry: the lowest one.
    pub shift: u32,
    /// How many they are.
    pub bits: u32,
    /// Whether bit 7 (PS) makes an entry map a large page of `1 << shift` bytes.
    pub may_be_large: bool,
}

/// The layout of an architecture's page tables. Every one of these has pages of 4 KiB and entries of 8 bytes, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PagingSpec {
    /// Its name ("AMD64").
    pub name: &'static str,
    /// The levels from the root down.
    pub levels: &'static [Level],
    /// The bits of CR3 that are the root's address; the others are flags and the PCID.
    pub root_mask: u64,
    /// How many bits of a virtual address are translated.
    pub address_bits: u32,
    /// Whether the bits above must repeat the highest one of them (x86-64); otherwise they must be 0.
    pub sign_extended: bool,
}

/// Bits 51 to 12: the frame that an entry points to. The rest are flags, protection keys (62 to 59) and NX (63).
pub(super) const FRAME_MASK: u64 = 0x000f_ffff_ffff_f000;

const PTE: Level = Level { name: "PTE", shift: 12, bits: 9, may_be_large: false };
const PDE: Level = Level { name: "PDE", shift: 21, bits: 9, may_be_large: true };
const PDPTE: Level = Level { name: "PDPTE", shift: 30, bits: 9, may_be_large: true };
const PML4E: Level = Level { name: "PML4E", shift: 39, bits: 9, may_be_large: false };
const PML5E: Level = Level { name: "PML5E", shift: 48, bits: 9, may_be_large: false };

/// x86-64 with four levels.
pub static AMD64: PagingSpec = PagingSpec {
    name: "AMD64",
    levels: &[PML4E, PDPTE, PDE, PTE],
    root_mask: FRAME_MASK,
    address_bits: 48,
    sign_extended: true,
};

/// x86-64 with five levels (CR4.LA57).
pub static AMD64_LA57: PagingSpec = PagingSpec {
    name: "AMD64 with five levels",
    levels: &[PML5E, PML4E, PDPTE, PDE, PTE],
    root_mask: FRAME_MASK,
    address_bits: 57,
    sign_extended: true,
};

/// 32-bit x86 with physical address extension. The root is a table of four entries, aligned to 32 bytes.
pub static X86_PAE: PagingSpec = PagingSpec {
    name: "I386 PAE",
    levels: &[Level { name: "PDPTE", shift: 30, bits: 2, may_be_large: false }, PDE, PTE],
    root_mask: 0xffff_ffe0,
    address_bits: 32,
    sign_extended: false,
};
