//! `repo get`: a profile out of the repository.

use super::text;
use crate::context::{Context, Outcome};
use crate::output::Output;
use crate::repo::{GitSource, GitStore, given_text};
use anyhow::Result;
use clap::{Arg, ArgMatches, Command};
use quaid_profile::ProfilePath;
use std::io::Write;
use std::path::Path;

pub(super) fn cli() -> Command {
    Command::new("get")
        .about("Print a profile, byte for byte as stored; links are followed")
        .arg(Arg::new("NAME").required(true).help("Its name"))
}

pub(super) fn run(context: &Context, root: &Path, args: &ArgMatches) -> Result<Outcome> {
    let (store, name) = (GitStore::open(root)?, text(args, "NAME"));
    let path = ProfilePath::new(vec![Box::new(GitSource::new(store))]);
    let found = path.load_stored(name, &mut |step| context.detail(2, &step.to_string()))?;
    let mut out = Output::open(context)?;
    out.write_all(given_text(&found.profile)?.as_bytes())?;
    out.finish()?;
    Ok(Outcome::Done)
}
