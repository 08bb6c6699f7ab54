//! `repo init`: a new repository.

use super::note_author;
use crate::context::{Context, Outcome};
use crate::repo;
use anyhow::Result;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::path::{Path, PathBuf};

pub(super) fn cli() -> Command {
    let bare = Arg::new("bare").long("bare").action(ArgAction::SetTrue);
    Command::new("init")
        .about("Make a new repository")
        .arg(
            Arg::new("DIR")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Where, seen from the folder of -C; that folder when it is not given"),
        )
        .arg(bare.help("Without a work tree, as servers have them"))
}

pub(super) fn run(context: &Context, root: &Path, args: &ArgMatches) -> Result<Outcome> {
    let root = match args.get_one::<PathBuf>("DIR") {
        Some(folder) if root == Path::new(".") => folder.clone(),
        Some(folder) => root.join(folder),
        None => root.to_owned(),
    };
    let store = repo::init(&root, args.get_flag("bare"))?;
    note_author(context, &store);
    let kind = if store.is_bare() { "bare profile repository" } else { "profile repository" };
    context.note(&format!("made a {kind} in {}; `quaid repo -C {0} add FILE` stores profiles", store.place()));
    Ok(Outcome::Done)
}
