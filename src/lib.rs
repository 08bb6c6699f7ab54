//! The toolchain behind the `quaid` binary: symbol servers, profile generators, the repository manager and the commands.

pub mod cli;
mod commands;
mod config;
mod context;
mod output;

pub use context::{Context, Globals, Outcome};
