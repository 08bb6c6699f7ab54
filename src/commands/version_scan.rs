//! `version_scan`: the RSDS records of an image or of any file.

use super::plugin::open_image;
use crate::context::{Context, Outcome};
use crate::output::Output;
use anyhow::{Context as _, Result};
use clap::{Arg, ArgMatches, Command};
use quaid_analyzer::render;
use quaid_analyzer::scan::rsds;
use quaid_analyzer::table::Column;
use regex::{Regex, RegexBuilder};
use std::path::PathBuf;

const COLUMNS: &[Column] = &[
    Column::address("offset", "Offset (P)"),
    Column::text("guid_age", "GUID/Version", 32),
    Column::text("pdb", "PDB", 30),
];

/// Its options and help.
pub(crate) fn cli() -> Command {
    Command::new("version_scan")
        .about("List the builds whose RSDS records are in an image: GUID, age and PDB")
        .arg(
            Arg::new("name_regex")
                .long("name_regex")
                .value_name("REGEX")
                .help("Only PDB names that match, anywhere and in any case"),
        )
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("An image or any other file; by default that of -f"),
        )
}

/// Does it.
pub(crate) fn run(context: &Context, args: &ArgMatches) -> Result<Outcome> {
    let path = args.get_one::<PathBuf>("file").or(context.globals.filename.as_ref());
    let path =
        path.context("version_scan needs a file: `quaid -f IMAGE version_scan`, or `quaid version_scan FILE`")?;
    let wanted = args.get_one::<String>("name_regex").map(|regex| name_regex(regex)).transpose()?;
    let image = open_image(context, path)?;

    let mut records = rsds::records(image.memory());
    let mut out = Output::open(context)?;
    let (mut rows, mut hidden) = (0_u64, 0_u64);
    {
        let format = &context.globals.format;
        let mut table = render::renderer(format, COLUMNS, &mut out).context("the renderer is not known")?;
        for record in &mut records {
            if wanted.as_ref().is_some_and(|regex| !regex.is_match(&record.pdb)) {
                hidden += 1;
                continue;
            }
            table.row(&[record.at.into(), record.id.to_string().into(), record.pdb.into()])?;
            rows += 1;
        }
        // Headings over nothing would only look like a result; JSON is an array all the same.
        if rows > 0 || format != "text" {
            table.finish()?;
        }
    }
    out.finish()?;

    let hits = records.hits();
    for fault in hits.faults() {
        context.warn(&format!("{}: not searched: {fault}", path.display()));
    }
    if hits.unreadable_bytes() > 0 {
        context.warn(&format!("{}: {} bytes could not be read", path.display(), hits.unreadable_bytes()));
    }
    if rows == 0 {
        context.warn(&match hidden {
            0 => format!("no RSDS record found in {}", path.display()),
            count => format!("none of the {count} RSDS record(s) in {} has a PDB name that matches", path.display()),
        });
        return Ok(Outcome::NothingFound);
    }
    Ok(if hits.unreadable_bytes() > 0 { Outcome::SomeErrors } else { Outcome::Done })
}

fn name_regex(regex: &str) -> Result<Regex> {
    RegexBuilder::new(regex).case_insensitive(true).build().context("--name_regex is not a regular expression")
}
