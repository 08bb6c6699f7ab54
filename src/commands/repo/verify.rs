//! `repo verify`: whether the repository is whole.

use crate::context::{Context, Outcome};
use crate::output::Output;
use crate::repo::{self, GitStore};
use anyhow::{Result, anyhow};
use clap::{ArgMatches, Command};
use std::io::Write;
use std::path::Path;

pub(super) fn cli() -> Command {
    Command::new("verify").about("Check that every profile is whole and what its name says")
}

pub(super) fn run(context: &Context, root: &Path, _args: &ArgMatches) -> Result<Outcome> {
    let store = &GitStore::open(root)?;
    let verified = repo::verify(store)?;
    let mut out = Output::open(context)?;
    for problem in &verified.problems {
        writeln!(out, "{}: {}", problem.path, problem.why)?;
    }
    out.finish()?;
    if !verified.git_ran {
        context.note("there is no git program: its objects were checked only as far as profiles were read");
    }
    if verified.absent > 0 {
        context.note(&format!(
            "a partial clone: {} files whose contents are not here were not checked, and not fetched",
            verified.absent
        ));
    }
    let seen = format!("{} profiles and {} links", verified.profiles, verified.links);
    match verified.problems.len() {
        0 => {
            context.note(&format!("{seen}: all is well"));
            Ok(Outcome::Done)
        }
        count => Err(anyhow!("{}: {count} problems in {seen}", store.place())),
    }
}
