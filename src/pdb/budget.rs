//! A limit on what type records may expand to.
//!
//! Records share others: a thousand structs may name one list of a thousand fields, a function type may take the same
//! function type twice, and so on downwards. Real PDBs do little of this; a hostile one can make terabytes of it.

use super::error::PdbError;

/// What is left to spend, in bytes of memory, roughly.
#[derive(Debug)]
pub(super) struct Budget {
    left: usize,
    limit: usize,
    stream_bytes: usize,
}

impl Budget {
    /// Far more than any PDB of the tests asks for: 64 MiB, and 16 bytes for each byte of the stream.
    pub(super) fn for_stream(stream_bytes: usize) -> Self {
        let limit = (64usize << 20).saturating_add(stream_bytes.saturating_mul(16));
        Self { left: limit, limit, stream_bytes }
    }

    /// Takes `bytes`, or says that the stream asks for too much.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), PdbError> {
        self.left = self
            .left
            .checked_sub(bytes)
            .ok_or(PdbError::TooMuch { limit: self.limit, stream_bytes: self.stream_bytes })?;
        Ok(())
    }
}
