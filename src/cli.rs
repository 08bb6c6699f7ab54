//! The command line.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the program: `args[0]` is its own name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let _ = (args, crate::commands::COMMANDS.len());
    ExitCode::SUCCESS
}
