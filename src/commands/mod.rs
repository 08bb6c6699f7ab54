//! The commands: a thin file each, over the operations of the library.

mod autobuild;
mod convert_profile;
mod debug_servers;
mod fetch_debuginfo;
mod fetch_pdb;
mod image_info;
mod imagecopy;
mod parse_pdb;
mod peinfo;
pub(crate) mod plugin;
mod repo;
mod transfer;
mod version_scan;

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

type CommandFn = fn(&Context, &ArgMatches) -> anyhow::Result<Outcome>;

/// What does a command.
#[derive(Clone, Copy)]
pub(crate) enum Run {
    /// A command of the toolchain.
    Command(CommandFn),
    /// The analyzer's plugin of this name; the image decides which operating system's.
    Plugin(&'static str),
}

/// Every command of the toolchain, in the order of the help text, then the plugins.
pub(crate) fn all() -> Vec<Command> {
    let tool = |cli: clap::Command, run: CommandFn| Command { cli: with_alias(cli), run: Run::Command(run) };
    let tools = [
        tool(image_info::cli(), image_info::run),
        tool(imagecopy::cli(), imagecopy::run),
        tool(version_scan::cli(), version_scan::run),
        tool(fetch_pdb::cli(), fetch_pdb::run),
        tool(fetch_debuginfo::cli(), fetch_debuginfo::run),
        tool(parse_pdb::cli(), parse_pdb::run),
        tool(peinfo::cli(), peinfo::run),
        tool(convert_profile::cli(), convert_profile::run),
        tool(repo::cli(), repo::run),
        tool(repo::manage_repo::cli(), repo::manage_repo::run),
    ];
    tools.into_iter().chain(plugin::all()).collect()
}
