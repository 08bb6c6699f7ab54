//! `repo link`: another name of a profile.

use super::{note_author, text};
use crate::context::{Context, Outcome};
use crate::repo::{self, GitStore};
use anyhow::Result;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::path::Path;

pub(super) fn cli() -> Command {
    let replace = Arg::new("replace").long("replace").action(ArgAction::SetTrue);
    Command::new("link")
        .about("Give a profile another name")
        .arg(Arg::new("NAME").required(true).help("The new name"))
        .arg(Arg::new("TARGET").required(true).help("The profile's name"))
        .arg(replace.help("Let a name that leads elsewhere lead to TARGET"))
}

pub(super) fn run(context: &Context, root: &Path, args: &ArgMatches) -> Result<Outcome> {
    let store = &GitStore::open(root)?;
    let (commit, linked) = repo::link(store, text(args, "NAME"), text(args, "TARGET"), args.get_flag("replace"))?;
    if commit.is_some() {
        context.note(&format!("linked {} -> {}", linked.name, linked.target));
        note_author(context, store);
    } else {
        context.note(&format!("{} leads to {} already", linked.name, linked.target));
    }
    Ok(Outcome::Done)
}
