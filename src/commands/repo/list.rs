//! `repo list`: the names that the repository has.

use super::text;
use crate::context::{Context, Outcome};
use crate::output::Output;
use crate::repo::{self, GitStore, Listed};
use anyhow::Result;
use clap::{Arg, ArgMatches, Command};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::Path;

pub(super) fn cli() -> Command {
    Command::new("list")
        .about("Print the names, and where links lead")
        .arg(Arg::new("PREFIX").default_value("").help("Only names that begin so"))
}

pub(super) fn run(context: &Context, root: &Path, args: &ArgMatches) -> Result<Outcome> {
    let (store, prefix) = (&GitStore::open(root)?, text(args, "PREFIX"));
    let names = repo::list(store, prefix)?;
    let mut out = Output::open(context)?;
    if context.globals.format == "json" {
        let rows = names.iter().map(|(name, listed)| match listed {
            Listed::Profile => json!({"name": name, "type": "profile", "target": Value::Null}),
            Listed::Index => json!({"name": name, "type": "index", "target": Value::Null}),
            Listed::Symlink(target) => json!({"name": name, "type": "symlink", "target": target}),
        });
        // As an io::Error, which tells a closed pipe from a failure.
        serde_json::to_writer_pretty(&mut out, &rows.collect::<Vec<Value>>()).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        for (name, listed) in &names {
            match listed {
                Listed::Symlink(target) => writeln!(out, "{name} -> {target}")?,
                Listed::Profile | Listed::Index => writeln!(out, "{name}")?,
            }
        }
    }
    out.finish()?;
    if names.is_empty() {
        let wanted = if prefix.is_empty() { String::new() } else { format!(" whose name begins with {prefix}") };
        context.note(&format!("{} has no profile{wanted}", store.place()));
        return Ok(Outcome::NothingFound);
    }
    Ok(Outcome::Done)
}
