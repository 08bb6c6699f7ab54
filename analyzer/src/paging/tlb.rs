//! A small cache of translations.

use super::PAGE_BYTES;
use super::spec::{Halves, PagingSpec};
use crate::addr::Pa;
use std::sync::atomic::{AtomicU64, Ordering};

const SLOTS: usize = 512;
const SLOT_BITS: u32 = SLOTS.trailing_zeros();
const PAGE_BITS: u32 = PAGE_BYTES.trailing_zeros();

/// Direct-mapped by page number. A slot is one atomic word, tag and frame together, so that readers and writers need no
/// lock and no order among each other: whatever a word holds is a true translation, as the image does not change.
pub(super) struct Tlb {
    slots: Box<[AtomicU64]>,
    /// Bits of the page number that the slot's index does not tell.
    tag_bits: u32,
}

impl Clone for Tlb {
    /// An empty one: what it knows is found again.
    fn clone(&self) -> Self {
        let slots = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Self { slots, tag_bits: self.tag_bits }
    }
}

impl Tlb {
    /// For the keys of virtual addresses of this layout ([`AddressSpace::key`](super::AddressSpace::key)).
    pub(super) fn new(spec: &PagingSpec) -> Self {
        let address_bits = spec.address_bits + u32::from(spec.halves == Halves::TwoRoots);
        let slots = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Self { slots, tag_bits: address_bits - PAGE_BITS - SLOT_BITS }
    }

    /// The frame of the page with the address `va`, when it is known.
    pub(super) fn get(&self, va: u64) -> Option<Pa> {
        let (slot, key) = self.slot(va)?;
        let word = slot.load(Ordering::Relaxed);
        (word & self.key_mask() == key).then_some(Pa((word >> self.key_bits()) << PAGE_BITS))
    }

    /// Keeps the translation of the page of `va`; one to a frame so high that it does not fit the word is forgotten.
    pub(super) fn put(&self, va: u64, page: Pa) {
        let frame = page.0 >> PAGE_BITS;
        if frame.leading_zeros() < self.key_bits() {
            return;
        }
        if let Some((slot, key)) = self.slot(va) {
            slot.store(frame << self.key_bits() | key, Ordering::Relaxed);
        }
    }

    /// The slot of the page of `va`, and what its low bits must be: the tag, and a one that no empty slot has.
    fn slot(&self, va: u64) -> Option<(&AtomicU64, u64)> {
        let page = va >> PAGE_BITS;
        let slot = self.slots.get(page as usize % SLOTS)?;
        Some((slot, (page >> SLOT_BITS << 1 | 1) & self.key_mask()))
    }

    fn key_bits(&self) -> u32 {
        self.tag_bits + 1
    }

    fn key_mask(&self) -> u64 {
        (1 << self.key_bits()) - 1
    }
}
