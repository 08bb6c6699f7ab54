//! `manage_repo`: the repository manager as Rekall spells it, `manage_repo [TARGET [ARGS...]] --path_to_repository DIR`. It
//! also takes every command of `repo`.

use super::build;
use crate::cli::with_alias;
use crate::context::{Context, Outcome};
use anyhow::Result;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::path::{Path, PathBuf};

fn path() -> Arg {
    Arg::new("path_to_repository")
        .long("path_to_repository")
        .value_name("DIR")
        .value_parser(value_parser!(PathBuf))
        .help("The repository, as -C")
}

/// The options that may stand before the target.
fn options() -> [Arg; 4] {
    let value = |name: &'static str| Arg::new(name).long(name).num_args(1);
    [
        path(),
        value("processes").help("How many profiles are made at a time"),
        value("executable").hide(true),
        Arg::new("force_build_index").long("force_build_index").action(ArgAction::SetTrue).hide(true),
    ]
}

/// Its options.
pub(crate) fn cli() -> Command {
    super::cli()
        .name("manage_repo")
        .about("The repository manager as Rekall spells it")
        .hide(true)
        .subcommand_required(false)
        .arg_required_else_help(false)
        .allow_external_subcommands(true)
        .external_subcommand_value_parser(value_parser!(String))
        .args(options())
}

/// Does it: what is no command of `repo` is a target of `repo build`; nothing at all is all targets.
pub(crate) fn run(context: &Context, args: &ArgMatches) -> Result<Outcome> {
    let target = match args.subcommand() {
        Some((name, _)) if super::all().iter().any(|(cli, _)| cli.get_name() == name) => {
            return super::run(context, args);
        }
        other => other,
    };
    let mut words = vec!["manage_repo".to_owned()];
    if let Some(count) = args.get_one::<String>("processes") {
        words.extend(["--processes".to_owned(), count.clone()]);
    }
    if let Some((target, rest)) = target {
        words.push(target.to_owned());
        words.extend(rest.get_many::<String>("").into_iter().flatten().cloned());
    }
    let parser = with_alias(build::cli().name("manage_repo").arg(path()));
    let build_args = parser.try_get_matches_from(words)?;
    let root = build_args.get_one("path_to_repository").or(args.get_one("path_to_repository"));
    let root = root.or(args.get_one::<PathBuf>("repository"));
    build::run(context, root.map_or(Path::new("."), PathBuf::as_path), &build_args)
}
