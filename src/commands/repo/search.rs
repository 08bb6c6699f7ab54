//! `repo search`: profiles by what they are of and what is in them.

use super::warn_of;
use crate::context::{Context, Outcome};
use crate::output::{Output, printable};
use crate::repo::{self, GitStore, Hit, Query};
use anyhow::{Result, bail};
use clap::{Arg, ArgMatches, Command};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::Path;

const OPTIONS: [(&str, &str, &str); 5] = [
    ("module", "MODULE", "Of this module (nt), or below these folders (Linux/Debian)"),
    ("version", "VERSION", "Of this version, or one that begins with these numbers"),
    ("banner", "TEXT", "With this in the kernel's banner"),
    ("struct", "NAME", "That have this struct (or NAME.MEMBER)"),
    ("symbol", "NAME", "That have this symbol"),
];

pub(super) fn cli() -> Command {
    let options = OPTIONS.map(|(name, value, help)| Arg::new(name).long(name).value_name(value).help(help));
    Command::new("search")
        .about("Find profiles by module, version, banner, struct or symbol")
        .arg(Arg::new("TEXT").help("With this in a name, the version or the banner"))
        .args(options)
}

pub(super) fn run(context: &Context, root: &Path, args: &ArgMatches) -> Result<Outcome> {
    let store = &GitStore::open(root)?;
    let given = |name: &str| args.get_one::<String>(name).cloned();
    let query = Query {
        text: given("TEXT"),
        module: given("module"),
        version: given("version"),
        banner: given("banner"),
        structure: given("struct"),
        symbol: given("symbol"),
    };
    if [&query.text, &query.module, &query.version, &query.banner, &query.structure, &query.symbol]
        .iter()
        .all(|part| part.is_none())
    {
        bail!("nothing to search for; `quaid repo search --help` lists what profiles are found by");
    }
    let (hits, problems) = repo::search(store, &query)?;
    let mut out = Output::open(context)?;
    if context.globals.format == "json" {
        let rows: Vec<Value> = hits.iter().map(|hit| row(&query, hit)).collect();
        serde_json::to_writer_pretty(&mut out, &rows).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        for hit in &hits {
            writeln!(out, "{}", printable(&line(&query, hit)))?;
        }
    }
    out.finish()?;
    warn_of(context, &problems);
    Ok(match (hits.is_empty(), problems.is_empty()) {
        (true, _) => {
            context.note(&format!("{} has no such profile", store.place()));
            Outcome::NothingFound
        }
        (false, true) => Outcome::Done,
        (false, false) => Outcome::SomeErrors,
    })
}

fn row(query: &Query, hit: &Hit) -> Value {
    let member = query.structure.as_deref().and_then(|wanted| wanted.split_once('.')).map(|(_, member)| member);
    let structure = hit.structure.map(|(bytes, offset)| {
        let name = query.structure.as_deref().and_then(|wanted| wanted.split('.').next());
        json!({"name": name, "bytes": bytes, "member": member, "offset": offset})
    });
    json!({
        "name": hit.name,
        "version": hit.version,
        "links": hit.links,
        "struct": structure,
        "symbol": hit.symbol.map(|address| json!({"name": query.symbol, "address": format!("{address:#x}")})),
    })
}

fn line(query: &Query, hit: &Hit) -> String {
    let mut parts = vec![hit.name.clone()];
    parts.extend(hit.version.clone());
    if let (Some(wanted), Some((bytes, offset))) = (&query.structure, hit.structure) {
        parts.push(match offset {
            Some(offset) => format!("{wanted} at {offset:#x} of {bytes:#x} bytes"),
            None => format!("{wanted} of {bytes:#x} bytes"),
        });
    }
    if let (Some(wanted), Some(address)) = (&query.symbol, hit.symbol) {
        parts.push(format!("{wanted} at {address:#x}"));
    }
    parts.join("  ")
}
