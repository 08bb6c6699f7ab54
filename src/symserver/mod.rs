//! The symbol server client: from the name and identity of a PDB to its verified bytes.
//!
//! [`fetch`] walks a [`SymbolPath`], asks each store for each [`Form`] of the file, expands a cabinet, verifies GUID and
//! age, and keeps what it found in the caches that the path names. Nothing here prints, and nothing here writes but the
//! caches and the partial file.

mod bytes;
mod cab;
mod download;
mod fetch;
mod part;
mod request;
mod store;
mod symbol_path;
mod transport;
mod verify;

pub use cab::{CabError, Expanded, expand};
pub use download::{DownloadError, Policy, Transfer, download};
pub use fetch::{Attempt, Event, Failure, Fetched, Job, NotFetched, fetch};
pub use part::part_path;
pub use request::{Form, NameError, Wanted};
pub use store::StoreError;
pub use symbol_path::{Chain, Store, SymbolPath};
pub use transport::{ContentRange, HttpSettings, HttpTransport, Reply, Resume, Transport, TransportError, Url, shown};
pub use verify::{VerifyError, verify};

/// Microsoft's public symbol server.
pub const MICROSOFT: &str = "https://msdl.microsoft.com/download/symbols";
