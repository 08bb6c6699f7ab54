//! `repo bundle`: a repository, or what is new in it, as one file that is carried over an air gap.

use super::sync::{REMEMBERED_SIGNERS, allowed_signers, incoming, show, tell};
use crate::context::{Context, Outcome};
use crate::output::Output;
use crate::repo::{self, GitStore, Known};
use anyhow::{Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::io::Write;
use std::path::{Path, PathBuf};

pub(super) fn cli() -> Command {
    let path = || clap::value_parser!(PathBuf);
    let file = || Arg::new("FILE").required(true).value_parser(path());
    let bare = Arg::new("bare").long("bare").action(ArgAction::SetTrue);
    Command::new("bundle")
        .about("Carry the repository over an air gap: one file, whole or only what the other side lacks")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommand(
            Command::new("have")
                .about("Print a small list of what is here, for `bundle create --have` on the other side"),
        )
        .subcommand(
            Command::new("create")
                .about("Write a bundle")
                .arg(file().help("The file to write"))
                .arg(
                    Arg::new("since")
                        .long("since")
                        .value_name("COMMIT")
                        .conflicts_with("have")
                        .help("Only what is newer than this commit, which the other side has"),
                )
                .arg(
                    Arg::new("have")
                        .long("have")
                        .value_name("LIST")
                        .value_parser(path())
                        .help("Only what is not on this list of `bundle have`"),
                ),
        )
        .subcommand(
            Command::new("apply")
                .about("Take in what a bundle carries; an empty folder becomes a copy")
                .arg(file().help("The bundle"))
                .arg(bare.help("Make a new copy without a work tree"))
                .arg(allowed_signers(REMEMBERED_SIGNERS)),
        )
}

pub(super) fn run(context: &Context, root: &Path, args: &ArgMatches) -> Result<Outcome> {
    match args.subcommand() {
        Some(("have", _)) => have(context, root),
        Some(("create", args)) => create(context, root, args),
        Some(("apply", args)) => apply(context, root, args),
        _ => bail!("`quaid repo bundle --help` lists what there is to do"),
    }
}

fn have(context: &Context, root: &Path) -> Result<Outcome> {
    let list = repo::have(&GitStore::open(root)?)?;
    let mut out = Output::open(context)?;
    out.write_all(list.as_bytes())?;
    out.finish()?;
    Ok(Outcome::Done)
}

fn file(args: &ArgMatches) -> PathBuf {
    args.get_one::<PathBuf>("FILE").cloned().unwrap_or_default()
}

fn create(context: &Context, root: &Path, args: &ArgMatches) -> Result<Outcome> {
    let (store, file) = (&GitStore::open(root)?, file(args));
    let known = match (args.get_one::<String>("since"), args.get_one::<PathBuf>("have")) {
        (Some(revision), _) => Known::Since(revision.clone()),
        (None, Some(list)) => Known::Have(repo::read_have(list)?),
        (None, None) => Known::Nothing,
    };
    let bar = context.progress("", Some(100), false);
    let made = repo::create_bundle(store, &file, &known, context.globals.overwrite, &mut |line| show(&bar, line));
    bar.finish_and_clear();
    let Some(made) = made? else {
        context.note(&format!("the other side has all that {} has; no file was written", store.place()));
        return Ok(Outcome::NothingFound);
    };
    let since =
        made.since.map_or_else(|| "the whole history".to_owned(), |id| format!("all since {:.12}", id.to_string()));
    context.note(&format!("{}: {} commits, {} bytes, {since}", file.display(), made.commits, made.bytes));
    Ok(Outcome::Done)
}

fn apply(context: &Context, root: &Path, args: &ArgMatches) -> Result<Outcome> {
    let file = file(args);
    let bar = context.progress("", Some(100), false);
    let applied = repo::apply_bundle(root, &file, &incoming(context, args), &mut |line| show(&bar, line));
    bar.finish_and_clear();
    Ok(tell(context, root, &crate::input::shown(&file), &applied?))
}
