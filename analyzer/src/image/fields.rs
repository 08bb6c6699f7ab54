//! Numbers and pieces of untrusted headers: what is not there is `None`, and nothing is asked for that the layer does not
//! have. A header of a fixed length is read by [`super::array`].

use super::PhysicalMemory;
use super::run_layer::holds;
use crate::addr::Pa;

/// The little-endian 16-bit number at `at`.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_le_bytes)
}

/// The little-endian 32-bit number at `at`.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_le_bytes)
}

/// The little-endian 64-bit number at `at`.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_le_bytes)
}

/// The `bytes` bytes at `offset` of a layer, when it has them all: memory is asked for only then.
pub(super) fn piece(memory: &dyn PhysicalMemory, offset: u64, bytes: u64) -> Option<Vec<u8>> {
    if !holds(memory, offset, bytes) {
        return None;
    }
    let mut piece = vec![0; usize::try_from(bytes).ok()?];
    memory.read(Pa(offset), &mut piece).ok()?;
    Some(piece)
}
