//! Names of types that have none of their own, by their place in the source: `parent.member`, `parent.member.arg1`.
//!
//! Such a name has those of all places that it lies in, so types that lie in each other have names whose lengths add up to
//! the square of their number. A hostile file of 16 KB had a gigabyte of them; what is beyond the limits here is left out.

use quaid_profile::Type;
use std::fmt::Display;

/// Longer names are not given. A kernel's have at most 60 bytes; the names of members that are read have no more.
const MAX_NAME_BYTES: usize = 4096;
/// How many bytes all names of a file may have. Those of a distribution's kernel have 54,000.
const MAX_BYTES: usize = 1 << 24;

/// What may still be given, and how many types were left out.
pub(crate) struct NamelessTypes {
    bytes_left: usize,
    pub(crate) left_out: usize,
}

impl Default for NamelessTypes {
    fn default() -> Self {
        Self { bytes_left: MAX_BYTES, left_out: 0 }
    }
}

impl NamelessTypes {
    /// The name of a type at `path`; `None` for one that is left out, since it lies deeper than types may nest
    /// ([`Type::MAX_DEPTH`]), or since its name would be too long.
    pub(crate) fn name(&mut self, path: &impl Display) -> Option<String> {
        let name = path.to_string();
        let steps = memchr::memchr_iter(b'.', name.as_bytes()).count();
        let fits = steps <= Type::MAX_DEPTH as usize && name.len() <= MAX_NAME_BYTES;
        let left = self.bytes_left.checked_sub(name.len()).filter(|_| fits);
        self.left_out += usize::from(left.is_none());
        self.bytes_left = left?;
        Some(name)
    }
}
