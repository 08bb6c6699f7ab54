//! Memory-forensics profiles: the structs, enums, constants and functions of one build of one kernel, as data.
//!
//! - [`Profile`] is the complete model: what generators fill and writers print.
//! - [`ProfileFile`] is an opened profile file, Rekall JSON or ISF. It answers questions lazily: what is not asked for
//!   is not decoded.
//! - [`GuidAge`], [`BuildId`], [`MachUuid`] are the identities by which a build is known.
//! - [`stored`] is the form in which a repository keeps profiles small.
//! - [`ProfileSource`] is a place that keeps profiles by name; [`ProfilePath`] searches several in order and follows
//!   Symlinks.
//!
//! This crate does no network, no git and no image access. A profile is data and is never evaluated.

mod c_header;
mod c_names;
mod compare;
mod compress;
mod data_index;
mod error;
mod exports;
mod file;
mod ids;
mod index;
mod isf;
mod isf_section;
mod isf_writer;
mod json;
mod json_writer;
mod layout;
mod losses;
mod model;
mod native;
mod rekall;
mod rekall_writer;
mod search;
mod source;
mod span;
pub mod stored;
mod struct_index;
mod symbol_offset_index;
mod words;

pub use compare::{
    Change, Kind as ChangeKind, MemberChange, StructChange, SymbolChanges, TypeChanges, compare_struct,
    compare_symbols, compare_types, is_made_up,
};
pub use compress::{MAX_PROFILE_BYTES, compress_for, decompress, is_json_object};
pub use data_index::{DataIndex, DataIndexSpec};
pub use error::{Error, ErrorKind};
pub use exports::{ExportIndex, IndexMatch};
pub use file::{Format, ProfileFile};
pub use ids::{BuildId, GuidAge, IdError, MachUuid};
pub use index::{LinuxIndex, release_of, trimmed_banner};
pub use losses::Losses;
pub use model::{
    Arch, BaseKind, BaseType, Enum, IsfExtra, Member, Metadata, Os, Profile, Struct, StructKind, Symbol, Type,
};
pub use rekall::canonical_json;
pub use search::{Found, MAX_SYMLINKS, NotFound, ProfilePath, Step, guid_of_name, normalised_name, whole};
pub use source::{
    DirectorySource, LAYOUT, ProfileSource, list_sharded, sharded, stored_names, unsharded, without_ending,
};
pub use struct_index::{StructIndex, StructIndexSpec};
pub use symbol_offset_index::{KernelSymbols, SymbolOffsetBuilder, SymbolOffsetIndex, SymbolOffsetSpec};
