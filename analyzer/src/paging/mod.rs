//! Virtual memory: page tables over physical memory.

mod flags;
mod guest;
mod linux;
mod software;
mod spec;
mod tlb;
mod walk;
mod windows;

pub use guest::{GuestError, GuestMemory};
pub use linux::LinuxPtes;
pub use software::{Absent, Field, Software, State};
pub use spec::{AMD64, AMD64_LA57, EPT, EPT_FIVE, Entries, Granule, Halves, Level, Moved, PagingSpec, X86, X86_PAE};
pub use walk::{Meaning, Step};
pub use windows::{Pagefile, Swizzle, WindowsPtes};

use crate::addr::{Pa, Va};
use crate::error::{FaultReason, PageFault};
use crate::image::PhysicalMemory;
use tlb::Tlb;

/// Bytes of the smallest page of all layouts.
pub const PAGE_BYTES: u64 = 4096;

/// The memory that a page table shows. Reads need no exclusive access and may come from several threads.
#[derive(Clone)]
pub struct AddressSpace<'m> {
    memory: &'m dyn PhysicalMemory,
    spec: PagingSpec,
    software: Software,
    /// Of all addresses; of those with bit 55 clear where each half has its own.
    root: Option<Pa>,
    /// Of the addresses with bit 55 set, where each half has its own.
    high_root: Option<Pa>,
    tlb: Tlb,
    /// The tables of the lowest level, by what they map: a range of addresses is not walked from the root for each page.
    tables: Tlb,
}

impl<'m> AddressSpace<'m> {
    /// The kernel's address space: `root` is the register that points to its page table (CR3; TTBR1_EL1), and flags and
    /// PCID or ASID in it are dropped. `software` says whose the entries are that are not present.
    pub fn new(memory: &'m dyn PhysicalMemory, spec: &PagingSpec, software: Software, root: u64) -> Self {
        let root = Some(Pa(spec.root(root)));
        let (root, high_root) = if spec.halves == Halves::TwoRoots { (None, root) } else { (root, None) };
        Self { memory, spec: *spec, software, root, high_root, tlb: Tlb::new(spec), tables: Tlb::new(spec) }
    }

    /// The same memory, layout and operating system with the root of a process (CR3; TTBR0_EL1). Where each half of the
    /// addresses has its own root, the kernel's half stays.
    #[must_use]
    pub fn with_root(&self, root: u64) -> Self {
        let root = Some(Pa(self.spec.root(root)));
        Self { root, tlb: Tlb::new(&self.spec), tables: Tlb::new(&self.spec), software: self.software.clone(), ..*self }
    }

    /// The same page tables, whose not-present entries mean what `software` says.
    #[must_use]
    pub fn with_software(&self, software: Software) -> Self {
        Self { software, tlb: Tlb::new(&self.spec), tables: Tlb::new(&self.spec), ..*self }
    }

    /// The physical memory below.
    pub fn memory(&self) -> &'m dyn PhysicalMemory {
        self.memory
    }

    /// The layout of its page tables.
    pub fn spec(&self) -> &PagingSpec {
        &self.spec
    }

    /// Physical address of the root page table: the process's where there is one, else the kernel's.
    pub fn root(&self) -> Pa {
        self.root.or(self.high_root).unwrap_or_default()
    }

    /// The root of the half of the addresses that `va` is in.
    fn root_for(&self, va: Va) -> Option<Pa> {
        if self.spec.halves == Halves::TwoRoots && va.0 >> 55 & 1 == 1 { self.high_root } else { self.root }
    }

    /// The operating system's reading of entries that are not present.
    pub fn software(&self) -> &Software {
        &self.software
    }

    /// The physical address of `va`. It need not be in the image. Pages that are not in physical memory have none; some of
    /// them can be read all the same.
    pub fn translate(&self, va: Va) -> Result<Pa, PageFault> {
        self.check_canonical(va)?;
        let inside = va.0 % PAGE_BYTES;
        let key = self.key(va);
        if let Some(page) = self.tlb.get(key) {
            return Ok(page.wrapping_add(inside));
        }
        let (page, bytes) = self.walk_to(va, key)?;
        // `bytes` is a power of two, and the page is aligned to it.
        let page = page.wrapping_add((va.0 & (bytes - 1)) - inside);
        self.tlb.put(key, page);
        Ok(page.wrapping_add(inside))
    }

    /// Walks to the page that holds `va`, whose key is given, from its table of the lowest level where that is known.
    fn walk_to(&self, va: Va, key: u64) -> Result<(Pa, u64), PageFault> {
        let lowest = self.spec.levels.len().saturating_sub(1);
        let mapped_bits = self.spec.levels.get(lowest).map_or(0, |level| level.shift + level.bits);
        // As the address of a page, which is what the cache tells apart.
        let of_table = (key >> mapped_bits) * PAGE_BYTES;
        if let Some(table) = self.tables.get(of_table) {
            return self.walk_from(lowest, table, va, |_| {});
        }
        let mut steps = 0;
        self.walk_with(va, |step| {
            steps += 1;
            if let Meaning::Table(table) | Meaning::KeptTable(table, _) = step.meaning
                && steps == lowest
                && table.0.is_multiple_of(PAGE_BYTES)
            {
                self.tables.put(of_table, table);
            }
        })
    }

    /// Every step from the root to the page of `va`; the last one's meaning says how it ended. Empty when `va` is not
    /// canonical, or in a half of the addresses whose root is not known.
    pub fn walk(&self, va: Va) -> Vec<Step> {
        let mut steps = Vec::with_capacity(self.spec.levels.len() + 1);
        // How it ended is in the last step.
        let _ = self.walk_with(va, |step| steps.push(step));
        steps
    }

    /// Fills `buffer` from `va` on. On a fault the bytes before the missing one are good and the rest is zero.
    pub fn read(&self, va: Va, buffer: &mut [u8]) -> Result<(), PageFault> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let piece = self.read_in_page(va, done, rest);
            if let Some(fault) = piece.fault {
                rest.get_mut(piece.good..).unwrap_or_default().fill(0);
                return Err(fault);
            }
            done += piece.good;
        }
        Ok(())
    }

    /// Fills `buffer` from `va` on with what there is, and with zeros where memory is missing; gives the number of
    /// bytes that are not such zeros.
    pub fn read_padded(&self, va: Va, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        let mut good = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let in_page = page_left(va.wrapping_add(done as u64)).min(rest.len());
            let piece = self.read_in_page(va, done, rest);
            rest.get_mut(piece.good..in_page).unwrap_or_default().fill(0);
            good += piece.good;
            done += in_page;
        }
        good
    }

    /// Reads to the start of `rest` what lies in the page of `va + done`.
    fn read_in_page(&self, va: Va, done: usize, rest: &mut [u8]) -> Piece {
        // An object does not go on from the last address to the first.
        let Some(here) = va.checked_add(done as u64) else {
            let fault = PageFault { va: Some(va), reason: FaultReason::NotCanonical };
            return Piece { good: 0, fault: Some(fault) };
        };
        let bytes = page_left(here).min(rest.len());
        let pa = match self.translate(here) {
            Ok(pa) => pa,
            Err(fault) => return self.read_absent(fault, here, rest.get_mut(..bytes).unwrap_or_default()),
        };
        match self.memory.read(pa, rest.get_mut(..bytes).unwrap_or_default()) {
            Ok(()) => Piece { good: bytes, fault: None },
            Err(fault) => {
                let good = fault.good_bytes_from(pa).min(bytes);
                Piece { good, fault: Some(fault.at(here.wrapping_add(good as u64))) }
            }
        }
    }

    /// Reads what lies in one page that has no frame: zeros, or out of a page file.
    fn read_absent(&self, fault: PageFault, here: Va, buffer: &mut [u8]) -> Piece {
        let FaultReason::NotPresent { why, .. } = fault.reason else { return Piece { good: 0, fault: Some(fault) } };
        match self.software.read(why, here.0 % PAGE_BYTES, buffer) {
            Some(Ok(())) => Piece { good: buffer.len(), fault: None },
            Some(Err(fault)) => Piece { good: 0, fault: Some(fault.at(here)) },
            None => Piece { good: 0, fault: Some(fault) },
        }
    }

    /// `N` bytes at `va`.
    pub fn read_array<const N: usize>(&self, va: Va) -> Result<[u8; N], PageFault> {
        let mut bytes = [0; N];
        self.read(va, &mut bytes)?;
        Ok(bytes)
    }

    /// The byte at `va`.
    pub fn read_u8(&self, va: Va) -> Result<u8, PageFault> {
        self.read_array(va).map(u8::from_le_bytes)
    }

    /// The little-endian 16-bit number at `va`.
    pub fn read_u16(&self, va: Va) -> Result<u16, PageFault> {
        self.read_array(va).map(u16::from_le_bytes)
    }

    /// The little-endian 32-bit number at `va`.
    pub fn read_u32(&self, va: Va) -> Result<u32, PageFault> {
        self.read_array(va).map(u32::from_le_bytes)
    }

    /// The little-endian 64-bit number at `va`.
    pub fn read_u64(&self, va: Va) -> Result<u64, PageFault> {
        self.read_array(va).map(u64::from_le_bytes)
    }
}

/// What came of a read inside one page.
struct Piece {
    /// Bytes before the missing one; all that were asked for when there is no fault.
    good: usize,
    fault: Option<PageFault>,
}

/// Bytes from `va` to the end of its page.
fn page_left(va: Va) -> usize {
    (PAGE_BYTES - va.0 % PAGE_BYTES) as usize
}

#[cfg(test)]
mod not_present;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
