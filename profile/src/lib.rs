//! Memory-forensics profiles: the structs, enums, constants and functions of one build of one kernel, as data.
//!
//! - [`Profile`] is the complete model: what generators fill and writers print.
//! - [`ProfileFile`] is an opened profile file, Rekall JSON or ISF. It answers questions lazily: what is not asked for
//!   is not decoded.
//! - [`GuidAge`], [`BuildId`], [`MachUuid`] are the identities by which a build is known.
//! - [`ProfileSource`] is a place that keeps profiles by name; [`ProfilePath`] searches several in order and follows
//!   Symlinks.
//!
//! This crate does no network, no git and no image access. A profile is data and is never evaluated.

mod compress;
mod error;
mod file;
mod ids;
mod index;
mod isf;
mod isf_section;
mod json;
mod json_writer;
mod model;
mod rekall;
mod rekall_writer;
mod search;
mod source;
mod span;

pub use compress::{MAX_PROFILE_BYTES, decompress};
pub use error::{Error, ErrorKind};
pub use file::{Format, ProfileFile};
pub use ids::{BuildId, GuidAge, IdError, MachUuid};
pub use index::{LinuxIndex, release_of};
pub use model::{
    Arch, BaseKind, BaseType, Enum, IsfExtra, Member, Metadata, Os, Profile, Struct, StructKind, Symbol, Type,
};
pub use rekall::canonical_json;
pub use search::{Found, MAX_SYMLINKS, NotFound, ProfilePath, Step, guid_of_name, normalised_name};
pub use source::{DirectorySource, LAYOUT, ProfileSource, stored_names, without_ending};
