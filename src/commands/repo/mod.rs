//! `repo`: the manager of a git repository of profiles, a thin file for each of its commands.

mod add;
pub(crate) mod build;
mod bundle;
mod diff;
mod export;
pub(crate) mod fetch;
mod get;
mod history;
mod import;
mod index;
mod init;
mod link;
mod lint;
mod list;
pub(crate) mod manage_repo;
mod rebuild;
mod remove;
mod search;
mod serve;
mod stats;
mod sync;
mod verify;
mod wanted;

use crate::context::{Context, Outcome};
use crate::output::printable;
use crate::repo::{GitStore, Problem};
use anyhow::{Result, bail};
use clap::{Arg, ArgMatches, Command};
use quaid_profile::LAYOUT;
use std::path::{Path, PathBuf};

type Run = fn(&Context, &Path, &ArgMatches) -> Result<Outcome>;

/// Every command, in the order of the help text, with what does it in the repository of `-C`.
fn all() -> Vec<(Command, Run)> {
    vec![
        (init::cli(), init::run),
        (add::cli(), add::run),
        (import::cli(), import::run),
        (export::cli(), export::run),
        (link::cli(), link::run),
        (get::cli(), get::run),
        (list::cli(), list::run),
        (build::cli(), build::run),
        (wanted::cli(), wanted::run),
        (fetch::cli(), fetch::run),
        (index::cli(), index::run),
        (diff::cli(), diff::run),
        (history::cli(), history::run),
        (remove::cli(), remove::run),
        (search::cli(), search::run),
        (stats::cli(), stats::run),
        (serve::cli(), serve::run),
        (verify::cli(), verify::run),
        (lint::cli(), lint::run),
        (rebuild::cli(), rebuild::run),
        (sync::cli(), sync::run),
        (bundle::cli(), bundle::run),
    ]
}

/// The options of `repo` and its commands.
pub(crate) fn cli() -> Command {
    let commands: Vec<Command> = all().into_iter().map(|(cli, _)| cli).collect();
    let names: Vec<&str> = commands.iter().map(Command::get_name).collect();
    Command::new("repo")
        .about(format!("Keep a git repository of profiles: {}", names.join(", ")))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .arg(
            Arg::new("repository")
                .short('C')
                .value_name("DIR")
                .value_parser(clap::value_parser!(PathBuf))
                .default_value(".")
                .global(true)
                .help("The repository: its work tree, or a bare repository"),
        )
        .subcommands(commands)
}

/// Does it.
pub(crate) fn run(context: &Context, args: &ArgMatches) -> Result<Outcome> {
    let root = args.get_one::<PathBuf>("repository").map_or(Path::new("."), PathBuf::as_path);
    let asked = args.subcommand();
    let command = asked.and_then(|(name, args)| {
        let (_, run) = all().into_iter().find(|(cli, _)| cli.get_name() == name)?;
        Some((run, args))
    });
    match command {
        Some((run, args)) => run(context, root, args),
        None => bail!("`quaid repo --help` lists what there is to do"),
    }
}

fn text<'a>(args: &'a ArgMatches, name: &str) -> &'a str {
    args.get_one::<String>(name).map_or("", String::as_str)
}

/// git wants to know who commits; a profile server's account often has no name.
fn note_author(context: &Context, store: &GitStore) {
    if !store.has_author() {
        context.note("git does not know your name (`git config --global user.name NAME`, user.email): the commit is by quaid <quaid@localhost>");
    }
}

/// An index of a thousand kernels has megabytes: it is not written again for each that comes, and the user is told.
fn note_indexes(context: &Context, store: &GitStore, exports_too: bool) -> Result<()> {
    let head = store.profiles()?;
    for name in exports_too.then_some("nt/exports").into_iter().chain(["nt/index"]) {
        if head.entry(&format!("{LAYOUT}/{name}"))?.is_some() {
            context.note(&format!("{name} is as it was; `quaid repo index nt` enters kernels that are new"));
        }
    }
    Ok(())
}

/// What a repository has that cannot be used: the rest can.
fn warn_of(context: &Context, problems: &[Problem]) {
    for problem in problems {
        context.warn(&format!("{}: {}", printable(&problem.path), printable(&problem.why)));
    }
}

/// Tells that no name in the repository begins so.
fn no_profile(context: &Context, store: &GitStore, prefix: &str) -> Outcome {
    let wanted = if prefix.is_empty() { String::new() } else { format!(" whose name begins with {prefix}") };
    context.note(&format!("{} has no profile{wanted}", store.place()));
    Outcome::NothingFound
}
