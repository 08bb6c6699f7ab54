//! The `quaid` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    quaid::cli::main(std::env::args_os().collect())
}
