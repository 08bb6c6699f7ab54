//! The commands: a thin file each, over the operations of the library.

use crate::context::{Context, Outcome};
use clap::ArgMatches;

/// A command of the toolchain. Plugins of the analyzer are commands too; they come from the analyzer's own table.
pub(crate) struct Command {
    /// Its options and help.
    pub(crate) cli: fn() -> clap::Command,
    /// Does it.
    pub(crate) run: fn(&Context, &ArgMatches) -> anyhow::Result<Outcome>,
}

/// Every command, in the order of the help text.
pub(crate) const COMMANDS: &[Command] = &[];
