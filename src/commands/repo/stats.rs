//! `repo stats`: how much the repository has, and of what.

use super::warn_of;
use crate::context::{Context, Outcome};
use crate::output::{Output, printable};
use crate::repo::{self, GitStore};
use anyhow::Result;
use clap::{ArgMatches, Command};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::Path;

pub(super) fn cli() -> Command {
    Command::new("stats").about("Count profiles, their bytes in git, and which modules and versions they cover")
}

pub(super) fn run(context: &Context, root: &Path, _args: &ArgMatches) -> Result<Outcome> {
    let store = &GitStore::open(root)?;
    let stats = repo::stats(store)?;
    let each = stats.git_bytes.checked_div(stats.profiles as u64);
    let mut out = Output::open(context)?;
    if context.globals.format == "json" {
        let coverage: Vec<Value> = stats
            .coverage
            .iter()
            .map(|((module, version), profiles)| json!({"module": module, "version": version, "profiles": profiles}))
            .collect();
        let all = json!({
            "profiles": stats.profiles,
            "links": stats.links,
            "indexes": stats.indexes,
            "shared_types": stats.types,
            "git_bytes": stats.git_bytes,
            "git_bytes_per_profile": each,
            "canonical_bytes": stats.canonical_bytes,
            "canonical_bytes_of_profiles": stats.told,
            "coverage": coverage,
        });
        serde_json::to_writer_pretty(&mut out, &all).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        let mut line = |key: &str, value: String| writeln!(out, "{key:<34} {value:>12}");
        line("profiles", stats.profiles.to_string())?;
        line("links", stats.links.to_string())?;
        line("indexes", stats.indexes.to_string())?;
        line("files of types they share", stats.types.to_string())?;
        line("bytes in git, with history", stats.git_bytes.to_string())?;
        if let Some(each) = each {
            line("bytes in git per profile", each.to_string())?;
        }
        line(&format!("bytes as JSON of {} profiles", stats.told), stats.canonical_bytes.to_string())?;
        for ((module, version), profiles) in &stats.coverage {
            let version = if version.is_empty() { "version unknown" } else { version };
            line(&printable(&format!("{module} {version}")), profiles.to_string())?;
        }
    }
    out.finish()?;
    warn_of(context, &stats.problems);
    Ok(if stats.problems.is_empty() { Outcome::Done } else { Outcome::SomeErrors })
}
