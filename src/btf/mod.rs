//! BTF, the compact type information that kernels carry of themselves (`/sys/kernel/btf/vmlinux`, the section `.BTF` of a
//! `vmlinux` or module).
//!
//! The parts: `format` reads the file, `types` builds the model from it. A hostile file gives an error: every record lies
//! within the file, and every walk is bounded.

mod format;
mod types;

pub use format::{Btf, declared_length, is_split, length, looks_like};

/// Why BTF could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The file is damaged.
    #[error("{place}: damaged BTF: {why}")]
    Corrupt {
        /// The file.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// A kind of record that is newer than this program: nothing after it can be found.
    #[error("{place}: type {id} of its BTF is of kind {kind}, which this version does not know")]
    UnknownKind {
        /// The file.
        place: String,
        /// The type.
        id: u32,
        /// `BTF_KIND_*`.
        kind: u32,
    },
    /// A module's BTF says only what the kernel's does not.
    #[error(
        "{place}: is the BTF of a module, which continues that of its kernel; give that too (/sys/kernel/btf/vmlinux)"
    )]
    NeedsBase {
        /// The file.
        place: String,
    },
}

/// What the BTF had and the profile does not.
#[derive(Debug, Clone, Default)]
pub struct BtfReport {
    /// Names that several types of different layout have: the name, how many types refer to the one that is kept, and how
    /// many others there are.
    pub other_layouts: Vec<(String, u64, usize)>,
    /// Members that are left out, as "struct.member: reason"; at most 1,000, see `skipped_members`.
    pub skipped: Vec<String>,
    /// Number of members that are left out.
    pub skipped_members: usize,
    /// Types without a name that are left out.
    pub nameless_types: usize,
    /// References to types that lead nowhere or in a circle.
    pub unresolved: usize,
}

/// How many texts a list of a report holds; the counts beside it are complete.
pub(crate) const MAX_LISTED: usize = 1000;

impl BtfReport {
    fn skip(&mut self, path: &impl std::fmt::Display, why: &str) {
        self.skipped_members += 1;
        if self.skipped.len() < MAX_LISTED {
            self.skipped.push(format!("{path}: {why}"));
        }
    }
}
