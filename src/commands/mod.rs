//! The commands: a thin file each, over the operations of the library.

pub(crate) mod plugin;

use crate::cli::with_alias;
use crate::context::{Context, Outcome};
use clap::ArgMatches;

/// A command, as the command line lists it.
pub(crate) struct Command {
    /// Its name, options and help.
    pub(crate) cli: clap::Command,
    /// What does it.
    pub(crate) run: Run,
}

/// What does a command.
#[derive(Clone, Copy)]
pub(crate) enum Run {
    /// A command of the toolchain.
    Command(fn(&Context, &ArgMatches) -> anyhow::Result<Outcome>),
    /// The analyzer's plugin of this name; the image decides which operating system's.
    Plugin(&'static str),
}

/// Every command of the toolchain, in the order of the help text, then the plugins.
pub(crate) fn all() -> Vec<Command> {
    let tool = |cli: clap::Command, run| Command { cli: with_alias(cli), run: Run::Command(run) };
    let _ = tool;
    let tools: Vec<Command> = vec![];
    tools.into_iter().chain(plugin::all()).collect()
}
