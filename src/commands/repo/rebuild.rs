//! `repo rebuild`: profiles made again that an old version made.

use super::note_author;
use crate::context::{Context, Outcome};
use crate::repo::{self, GitStore, ProducerRule, Rebuilt};
use anyhow::Result;
use clap::{Arg, ArgMatches, Command};
use std::path::Path;

pub(super) fn cli() -> Command {
    Command::new("rebuild")
        .about("Make profiles again that an old version made, from the PDBs and Linux zips that the repository keeps")
        .arg(
            Arg::new("producer")
                .long("producer")
                .value_name("RULE")
                .required(true)
                .value_parser(str::parse::<ProducerRule>)
                .help("Which: '<0.2.0', '<=0.2.0' or '=0.1.0'; another program's with its name before it"),
        )
}

pub(super) fn run(context: &Context, root: &Path, args: &ArgMatches) -> Result<Outcome> {
    let store = &GitStore::open(root)?;
    let Some(rule) = args.get_one::<ProducerRule>("producer") else { return Ok(Outcome::Usage) };
    let (mut replaced, mut same, mut failed) = (0_usize, 0_usize, 0_usize);
    let count = repo::rebuild(store, rule, &mut |name, rebuilt| match rebuilt {
        Rebuilt::Replaced => {
            replaced += 1;
            context.note(&format!("rebuilt {name}"));
        }
        Rebuilt::Same => {
            same += 1;
            context.detail(1, &format!("{name} is what it was"));
        }
        Rebuilt::Failed(why) => {
            failed += 1;
            context.warn(&format!("{name}: {why}"));
        }
    })?;
    if replaced > 0 {
        note_author(context, store);
    }
    context.note(&format!(
        "{count} profiles: {replaced} made again, {same} are what they were, {failed} could not be made"
    ));
    Ok(match (count, failed) {
        (0, _) => Outcome::NothingFound,
        (_, 0) => Outcome::Done,
        _ => Outcome::SomeErrors,
    })
}
