//! What objects are read from.

use crate::addr::Va;
use crate::error::PageFault;
use crate::paging::AddressSpace;

/// Memory by virtual address: an address space in use, a buffer in tests.
pub(crate) trait Memory: Send + Sync {
    /// Fills `buffer` from `at` on. On a fault the content of `buffer` is not to be used.
    fn read(&self, at: Va, buffer: &mut [u8]) -> Result<(), PageFault>;
}

impl Memory for AddressSpace<'_> {
    fn read(&self, at: Va, buffer: &mut [u8]) -> Result<(), PageFault> {
        AddressSpace::read(self, at, buffer)
    }
}

impl dyn Memory + '_ {
    /// The little-endian number of `bytes` bytes (at most 8) at `at`.
    pub(crate) fn uint(&self, at: Va, bytes: u8) -> Result<u64, PageFault> {
        let mut buffer = [0; 8];
        let part = buffer.get_mut(..usize::from(bytes)).unwrap_or_default();
        self.read(at, part)?;
        Ok(u64::from_le_bytes(buffer))
    }
}
