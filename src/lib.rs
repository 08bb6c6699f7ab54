//! The toolchain behind the `quaid` binary: symbol servers, profile generators, the repository manager and the commands.

pub mod btf;
mod c_abi;
pub mod cli;
mod commands;
pub mod completeness;
mod config;
mod context;
pub mod debuginfod;
pub mod demangle;
pub mod dwarf;
mod form;
pub mod graft;
mod hex;
pub mod http_source;
pub mod imagecopy;
mod input;
mod inventoried;
mod kallsyms;
mod lost_map;
mod nameless;
mod output;
pub mod pdb;
pub mod pe;
pub mod physical_map;
pub mod repo;
mod serve;
pub mod sources;
pub mod symserver;
mod typedefs;
mod unpack;

pub use context::{Context, Globals, Outcome, UsageError};
