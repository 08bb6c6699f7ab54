//! `repo list`: the names that the repository has.

use super::{no_profile, text, warn_of};
use crate::context::{Context, Outcome};
use crate::output::Output;
use crate::repo::{GitStore, Inventory, Kind};
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
    let inventory = Inventory::of(store, prefix)?;
    let mut out = Output::open(context)?;
    if context.globals.format == "json" {
        let rows = inventory.items().map(|(name, item)| {
            let kind = match item.kind {
                Kind::Profile => "profile",
                Kind::Index => "index",
                Kind::Symlink(_) | Kind::GitLink(_) => "symlink",
            };
            json!({"name": name, "type": kind, "target": item.kind.target()})
        });
        // As an io::Error, which tells a closed pipe from a failure.
        serde_json::to_writer_pretty(&mut out, &rows.collect::<Vec<Value>>()).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        for (name, item) in inventory.items() {
            match item.kind.target() {
                Some(target) => writeln!(out, "{name} -> {target}")?,
                None => writeln!(out, "{name}")?,
            }
        }
    }
    out.finish()?;
    warn_of(context, inventory.problems());
    if inventory.items().next().is_none() {
        return Ok(no_profile(context, store, prefix));
    }
    Ok(Outcome::Done)
}
