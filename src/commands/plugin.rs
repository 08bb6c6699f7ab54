//! The analyzer's plugins as commands.

use super::Command;
use crate::context::{Context, Outcome};
use clap::ArgMatches;

/// The plugins, those of several operating systems under one name once.
pub(crate) fn all() -> Vec<Command> {
    vec![]
}

/// Runs the plugin `name` on the image.
pub(crate) fn run(name: &str, _context: &Context, _args: &ArgMatches) -> anyhow::Result<Outcome> {
    anyhow::bail!("{name}")
}
