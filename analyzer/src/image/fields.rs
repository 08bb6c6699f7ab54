//! Little-endian numbers in the headers of image files.

use super::PhysicalMemory;
use crate::addr::Pa;

/// A header that was read whole. Callers ask for fields inside the length that they read; what is outside is 0.
pub(super) struct Fields {
    bytes: Vec<u8>,
}

impl Fields {
    /// The `bytes` bytes at `offset` of a layer, when it has them all. The length is one that the format fixes, or was
    /// compared with the layer's before: it is asked for as memory.
    pub(super) fn read(memory: &dyn PhysicalMemory, offset: u64, bytes: usize) -> Option<Self> {
        let mut buffer = vec![0; bytes];
        memory.read(Pa(offset), &mut buffer).ok()?;
        Some(Self { bytes: buffer })
    }

    /// The `N` bytes at `at`.
    pub(super) fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        self.bytes(at, N).try_into().unwrap_or([0; N])
    }

    /// The `bytes` bytes at `at`; none, if they are not all there.
    pub(super) fn bytes(&self, at: usize, bytes: usize) -> &[u8] {
        at.checked_add(bytes).and_then(|end| self.bytes.get(at..end)).unwrap_or_default()
    }

    pub(super) fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    pub(super) fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }
}
