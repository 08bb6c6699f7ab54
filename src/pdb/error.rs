//! Why a PDB could not be read.

/// An error of reading a PDB as a whole. A single record that cannot be read is no error: it is counted in
/// [`ParseReport`](super::ParseReport).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PdbError {
    /// The bytes are no PDB at all.
    #[error("not a PDB: {0}")]
    NotPdb(String),
    /// A page for people, which servers and proxies send in place of a file.
    #[error("not a PDB: it is an HTML page (a proxy's or captive portal's login?)")]
    Html,
    /// A PDB, or something close to one, of a form that is not read.
    #[error("{0}")]
    Unsupported(String),
    /// The container or a stream that everything depends on is damaged.
    #[error("damaged PDB: {what}: {why}; fetch it again, it may have been cut short")]
    Damaged {
        /// What was being read.
        what: String,
        /// What was wrong with it.
        why: String,
    },
    /// The type records ask for far more than a file of this size can mean.
    #[error(
        "the type records of this PDB expand to more than {limit} bytes, which {stream_bytes} bytes of records never do in a real one"
    )]
    TooMuch {
        /// The limit, in bytes.
        limit: usize,
        /// Size of the type stream, in bytes.
        stream_bytes: usize,
    },
}

impl PdbError {
    pub(super) fn damaged(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Damaged { what: what.into(), why: why.into() }
    }
}
