//! The repository manager: profiles in git, by the identity of the build.
//!
//! The truth is the tree of HEAD's commit. A work tree, where there is one, follows it for people to look at and for
//! programs that read a folder. Each change is one commit.
//!
//! - [`GitStore`] opens a repository and reads HEAD; `change` makes a commit, safely beside other writers.
//! - [`layout`] tells where a profile goes.
//! - [`add()`], [`link()`], [`verify()`], [`init()`] are what the commands do.
//! - [`Catalog`] is the builds by version, [`history`] how a struct changed over them.
//! - [`Inventory`] is what HEAD has: names, links, times, digests, texts.
//! - [`sync()`] takes in what another repository has, by the git program: fetched beside, looked at, then taken whole.
//! - [`GitSource`] gives a repository's profiles to a search.

mod add;
pub mod build;
mod bundle;
mod catalog;
mod change;
mod error;
mod export;
mod git_program;
mod git_source;
mod git_store;
mod history;
mod hygiene;
mod import;
mod incoming;
mod index;
mod init;
mod inventory;
mod inventory_signature;
pub mod layout;
mod link;
mod lint;
mod lock;
mod locked_index;
mod on_demand;
mod producer;
mod publish;
mod rebuild;
mod remote;
mod remove;
mod rows;
mod search;
mod signers;
mod stats;
mod sync;
mod verify;
pub mod wanted;
mod work_tree;

pub use add::{AddOptions, Added, Addition, Additions, add};
pub use bundle::{Bundled, Known, apply as apply_bundle, create as create_bundle, have, read_have};
pub use catalog::{Build, Catalog, is_below};
pub use change::Draft;
pub use error::Error;
pub use export::{Exported, export};
pub use git_source::GitSource;
pub use git_store::{Entry, EntryKind, GitStore, Snapshot};
pub use history::{History, Period, history, types};
pub use hygiene::Hygiene;
pub use import::{ImportOptions, Imported, Rejected, import, parse_versions};
pub use incoming::{IncomingOptions, Received};
pub use index::{Indexed, index};
pub use init::init;
pub use inventory::{Inventory, Item, Kind, given_text};
pub use inventory_signature::check as check_inventory_signature;
pub use link::{Linked, link};
pub use lint::{Doubt, Finding, lint};
pub use on_demand::forbid_fetching;
pub use producer::{Producer, ProducerRule};
pub use rebuild::{Rebuilt, rebuild};
pub use remote::import_url;
pub use remove::{Removed, remove};
pub use rows::{INVENTORY, MAX_SIGNATURE_BYTES, Rows, SIGNATURE};
pub use search::{Hit, Query, search};
pub use stats::{Stats, stats};
pub use sync::{SyncOptions, sync};
pub use verify::{Problem, Verified, verify, verify_folder};
