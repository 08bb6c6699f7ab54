//! `repo index`: the indexes by which an image's content leads to a profile.

use super::note_author;
use crate::context::{Context, Outcome};
use crate::repo::{self, GitStore, Indexed};
use anyhow::{Context as _, Result};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::path::Path;

pub(super) fn cli() -> Command {
    Command::new("index")
        .about("Bring the indexes up to date: exports and data of Windows kernels, banners of Linux kernels")
        .after_help(
            "Rekall's indexes of data, of structs and of symbol offsets are made where v1.0/src/MODULE/index.yaml (or \
             eprocess_index.yaml and the like) says of which symbols or members.",
        )
        .arg(Arg::new("MODULE").num_args(0..).help("Only of these: nt, Linux, or another folder of profiles"))
        .arg(
            Arg::new("all")
                .long("all")
                .action(ArgAction::SetTrue)
                .help("Read each profile again, also those that the index has"),
        )
}

/// Tells what became of indexes, and gives how many profiles are in none.
pub(super) fn tell_indexes(context: &Context, done: &[Indexed]) -> usize {
    let mut left_out = 0;
    for index in done {
        context.note(&format!("{}: {} profiles", index.name, index.profiles));
        for (name, why) in &index.left_out {
            context.warn(&format!("{name} is not in {}: {why}", index.name));
            left_out += 1;
        }
    }
    left_out
}

pub(super) fn run(context: &Context, root: &Path, args: &ArgMatches) -> Result<Outcome> {
    let store = &GitStore::open(root)?;
    let modules: Vec<&str> = args.get_many::<String>("MODULE").into_iter().flatten().map(String::as_str).collect();
    let (commit, done) = repo::index(store, &modules, args.get_flag("all")).context("no index was changed")?;
    let mut outcome = if done.is_empty() { Outcome::NothingFound } else { Outcome::Done };
    if tell_indexes(context, &done) > 0 {
        outcome = Outcome::SomeErrors;
    }
    if done.is_empty() {
        context.note(&format!("{} has no profile that an index is made of", store.place()));
    } else if commit.is_some() {
        note_author(context, store);
    } else {
        context.note("the indexes were up to date");
    }
    Ok(outcome)
}
