//! `repo get`: a profile out of the repository.

use super::text;
use crate::context::{Context, Outcome};
use crate::output::Output;
use crate::repo::{GitSource, GitStore, given_text};
use anyhow::{Result, bail};
use clap::{Arg, ArgMatches, Command};
use quaid_profile::{Found, ProfilePath, Step, release_of, trimmed_banner};
use std::io::Write;
use std::path::Path;

pub(super) fn cli() -> Command {
    Command::new("get")
        .about("Print a profile, byte for byte as stored; links are followed")
        .arg(Arg::new("NAME").required(true).help("Its name, or the banner of a Linux kernel (\"Linux version ...\")"))
}

pub(super) fn run(context: &Context, root: &Path, args: &ArgMatches) -> Result<Outcome> {
    let (store, name) = (GitStore::open(root)?, text(args, "NAME"));
    let path = ProfilePath::new(vec![Box::new(GitSource::new(store))]);
    let mut observe = |step: Step| context.detail(2, &step.to_string());
    let found = match release_of(name) {
        Some(_) => kernel(&path, name, &mut observe)?,
        None => path.load_stored(name, &mut observe)?,
    };
    let mut out = Output::open(context)?;
    out.write_all(given_text(&found.profile)?.as_bytes())?;
    out.finish()?;
    Ok(Outcome::Done)
}

/// The profile of the kernel with this banner: one that knows it, or else the only one of its release.
fn kernel(path: &ProfilePath, banner: &str, observe: &mut dyn FnMut(Step)) -> Result<Found> {
    let names = path.linux_candidates(banner)?;
    let place = path.places().join(", ");
    let Some(first) = names.first() else {
        bail!("{place} has no profile of the kernel with this banner, nor of its release");
    };
    let found = path.load_stored(first, observe)?;
    if names.len() > 1 && found.profile.metadata().banner().map(trimmed_banner) != Some(trimmed_banner(banner)) {
        bail!("{place} has no profile with this banner, and several of its release: {}", names.join(", "));
    }
    Ok(found)
}
