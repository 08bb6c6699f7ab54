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
    /// More than any real PDB asks for, which is up to 8 bytes for each byte of the stream: 12 bytes, and 16 MiB. The
    /// profile and its text take about three times as much memory.
    pub(super) fn for_stream(stream_bytes: usize) -> Self {
        let limit = (16usize << 20).saturating_add(stream_bytes.saturating_mul(12));
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
