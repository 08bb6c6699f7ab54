//! Virtual memory: page tables over physical memory.

mod software;
mod spec;
mod tlb;
mod walk;

pub use software::{Software, State};
pub use spec::{AMD64, AMD64_LA57, Level, PagingSpec, X86_PAE};
pub use walk::{Meaning, Step};

use crate::addr::{Pa, Va};
use crate::error::{FaultReason, PageFault};
use crate::image::PhysicalMemory;
use tlb::Tlb;

/// Bytes of the smallest page.
pub const PAGE_BYTES: u64 = 4096;

/// The memory that one root page table shows. Reads need no exclusive access and may come from several threads.
pub struct AddressSpace<'m> {
    memory: &'m dyn PhysicalMemory,
    spec: &'static PagingSpec,
    software: Software,
    root: Pa,
    tlb: Tlb,
}

impl<'m> AddressSpace<'m> {
    /// The address space of the page table that `cr3` points to; flags and PCID in it are dropped. `software` says
    /// whose the entries are that are not present.
    pub fn new(memory: &'m dyn PhysicalMemory, spec: &'static PagingSpec, software: Software, cr3: u64) -> Self {
        Self { memory, spec, software, root: Pa(cr3 & spec.root_mask), tlb: Tlb::new(spec.address_bits) }
    }

    /// The same memory, layout and operating system with another root: that of a process.
    #[must_use]
    pub fn with_root(&self, cr3: u64) -> Self {
        Self::new(self.memory, self.spec, self.software, cr3)
    }

    /// The physical memory below.
    pub fn memory(&self) -> &'m dyn PhysicalMemory {
        self.memory
    }

    /// The layout of its page tables.
    pub fn spec(&self) -> &'static PagingSpec {
        self.spec
    }

    /// Physical address of the root page table.
    pub fn root(&self) -> Pa {
        self.root
    }

    /// The physical address of `va`. It need not be in the image.
    pub fn translate(&self, va: Va) -> Result<Pa, PageFault> {
        self.check_canonical(va)?;
        let inside = va.0 % PAGE_BYTES;
        if let Some(page) = self.tlb.get(va) {
            return Ok(page.wrapping_add(inside));
        }
        let (page, bytes) = self.walk_with(va, |_| {})?;
        // `bytes` is a power of two, and the page is aligned to it.
        let page = page.wrapping_add((va.0 & (bytes - 1)) - inside);
        self.tlb.put(va, page);
        Ok(page.wrapping_add(inside))
    }

    /// Every step from the root to the page of `va`; the last one's meaning says how it ended. Empty when `va` is not
    /// canonical.
    pub fn walk(&self, va: Va) -> Vec<Step> {
        let mut steps = Vec::with_capacity(self.spec.levels.len());
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
            Err(fault) => return Piece { good: 0, fault: Some(fault) },
        };
        match self.memory.read(pa, rest.get_mut(..bytes).unwrap_or_default()) {
            Ok(()) => Piece { good: bytes, fault: None },
            Err(fault) => {
                let good = fault.good_bytes_from(pa).min(bytes);
                Piece { good, fault: Some(fault.at(here.wrapping_add(good as u64))) }
            }
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
mod tests;
