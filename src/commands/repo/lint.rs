//! `repo lint`: what is doubtful in profiles.

use super::{no_profile, text};
use crate::context::{Context, Outcome};
use crate::output::{Output, printable};
use crate::repo::{self, GitStore};
use anyhow::Result;
use clap::{Arg, ArgMatches, Command};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::Path;

pub(super) fn cli() -> Command {
    Command::new("lint")
        .about(
            "Tell what is doubtful: incomplete profiles, zeros, producers with known faults, duplicates (exit code 3)",
        )
        .arg(Arg::new("PREFIX").default_value("").help("Only profiles whose names begin so"))
}

pub(super) fn run(context: &Context, root: &Path, args: &ArgMatches) -> Result<Outcome> {
    let store = &GitStore::open(root)?;
    let bar = context.progress("profiles", None, false);
    let prefix = text(args, "PREFIX");
    let linted = repo::lint(store, prefix, &mut |count| bar.set_position(count as u64));
    bar.finish_and_clear();
    let (found, count) = linted?;
    let mut out = Output::open(context)?;
    if context.globals.format == "json" {
        let rows = found.iter().map(|f| json!({"name": f.name, "doubt": f.doubt.name(), "what": f.what}));
        // As an io::Error, which tells a closed pipe from a failure.
        serde_json::to_writer_pretty(&mut out, &rows.collect::<Vec<Value>>()).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        for finding in &found {
            writeln!(out, "{}: {}: {}", printable(&finding.name), finding.doubt.name(), printable(&finding.what))?;
        }
    }
    out.finish()?;
    if count == 0 {
        return Ok(no_profile(context, store, prefix));
    }
    context.note(&format!("{count} profiles, {} doubts", found.len()));
    Ok(if found.is_empty() { Outcome::Done } else { Outcome::SomeErrors })
}
