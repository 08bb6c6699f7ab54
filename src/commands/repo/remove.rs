//! `repo remove`: profiles and links out of the repository.

use super::note_author;
use crate::context::{Context, Outcome};
use crate::repo::{self, GitStore};
use anyhow::Result;
use clap::{Arg, ArgMatches, Command};
use std::path::Path;

pub(super) fn cli() -> Command {
    Command::new("remove")
        .about("Take profiles out, with the links to them, or links alone, in one commit; history keeps them")
        .arg(Arg::new("NAME").required(true).num_args(1..).help("The name of a profile or link"))
}

pub(super) fn run(context: &Context, root: &Path, args: &ArgMatches) -> Result<Outcome> {
    let store = &GitStore::open(root)?;
    let names: Vec<String> = args.get_many("NAME").into_iter().flatten().cloned().collect();
    let (_, removed) = repo::remove(store, &names)?;
    for removed in removed {
        let links = match removed.links.as_slice() {
            [] => String::new(),
            links => format!(" and the links {}", links.join(", ")),
        };
        context.note(&format!("removed {}{links}", removed.name));
    }
    note_author(context, store);
    Ok(Outcome::Done)
}
