//! Errors of reading a profile: what was tried, where, and why it failed.

use std::fmt;

/// Why a profile could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorKind {
    /// The file could not be read at all.
    Io(String),
    /// The bytes are not a profile: not JSON, not an object, damaged compression.
    Corrupt(String),
    /// Well formed, but of a kind or size that is not supported.
    Unsupported(String),
}

/// An error of this crate. Prints as one line: the place, then the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The file or profile name, and the part of it.
    pub place: String,
    /// The reason.
    pub kind: ErrorKind,
}

impl Error {
    pub(crate) fn corrupt(place: impl Into<String>, why: impl Into<String>) -> Self {
        Self { place: place.into(), kind: ErrorKind::Corrupt(why.into()) }
    }
    pub(crate) fn unsupported(place: impl Into<String>, why: impl Into<String>) -> Self {
        Self { place: place.into(), kind: ErrorKind::Unsupported(why.into()) }
    }
    pub(crate) fn io(place: impl Into<String>, why: &std::io::Error) -> Self {
        Self { place: place.into(), kind: ErrorKind::Io(why.to_string()) }
    }
    /// The same error, placed inside `outer`.
    pub(crate) fn within(mut self, outer: &str) -> Self {
        self.place = if self.place.is_empty() { outer.to_owned() } else { format!("{outer}: {}", self.place) };
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ErrorKind::Io(why) | ErrorKind::Corrupt(why) | ErrorKind::Unsupported(why)) = &self.kind;
        if self.place.is_empty() { f.write_str(why) } else { write!(f, "{}: {why}", self.place) }
    }
}

impl std::error::Error for Error {}
