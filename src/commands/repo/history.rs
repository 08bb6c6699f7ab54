//! `repo history`: a struct, or a member of it, over the builds of a module.

use super::{text, warn_of};
use crate::context::{Context, Outcome};
use crate::output::Output;
use crate::repo::{Build, Catalog, GitSource, GitStore, Period, Problem, history};
use anyhow::{Context as _, Result};
use clap::{Arg, ArgMatches, Command};
use quaid_analyzer::render;
use quaid_analyzer::table::{Cell, Column};
use quaid_profile::{ChangeKind, StructChange};
use std::path::Path;

/// How many names of members a row tells.
const MAX_NAMES: usize = 4;

const STRUCT: &[Column] = &[
    Column::text("module", "Module", 12),
    Column::text("arch", "Arch", 5),
    Column::text("first", "First", 18),
    Column::text("last", "Last", 18),
    Column::int("builds", "Builds", 6),
    Column::int("size", "Size", 6),
    Column::text("changes", "Changes", 30),
];

const MEMBER: &[Column] = &[
    Column::text("module", "Module", 12),
    Column::text("arch", "Arch", 5),
    Column::text("first", "First", 18),
    Column::text("last", "Last", 18),
    Column::int("builds", "Builds", 6),
    Column::text("offset", "Offset", 8),
    Column::text("type", "Type", 30),
];

pub(super) fn cli() -> Command {
    Command::new("history")
        .about("Print how a struct, or the place of a member, changed over the builds of a module, by version")
        .arg(Arg::new("STRUCT").required(true).value_name("STRUCT[.MEMBER]").help("What, by the kernel's own name"))
        .arg(
            Arg::new("module")
                .long("module")
                .value_name("MODULE")
                .default_value("")
                .help("Only builds of this module (nt, tcpip), or distribution (Linux/Debian)"),
        )
}

pub(super) fn run(context: &Context, root: &Path, args: &ArgMatches) -> Result<Outcome> {
    let asked = text(args, "STRUCT");
    let (name, member) = match asked.split_once('.') {
        Some((name, member)) => (name, Some(member)),
        None => (asked, None),
    };
    let module = text(args, "module");
    let catalog = Catalog::of(&GitStore::open(root)?)?;
    let mut problems: Vec<Problem> = catalog.problems_of(module).cloned().collect();
    let source = GitSource::open(root)?;
    let mut out = Output::open(context)?;
    let mut found = false;
    {
        let format = &context.globals.format;
        let columns = if member.is_some() { MEMBER } else { STRUCT };
        let mut table = render::renderer(format, columns, &mut out).context("the renderer is not known")?;
        for family in catalog.families(module) {
            let history = history(&source, family, name, member);
            problems.extend_from_slice(&history.problems);
            let has = |period: &Period| match member {
                Some(member) => period.member(member).is_some(),
                None => period.layout.is_some(),
            };
            if !history.periods.iter().any(has) {
                continue;
            }
            found = true;
            for period in &history.periods {
                if let Some(row) = row(&history.builds, period, member) {
                    table.row(&row)?;
                }
            }
            for problem in &history.problems {
                if let Some(build) = family.iter().find(|build| build.name == problem.path) {
                    table.row(&unreadable(build, problem, member))?;
                }
            }
        }
        // Headings over nothing would only look like a result; JSON is an array all the same.
        if found || format != "text" {
            table.finish()?;
        }
    }
    out.finish()?;
    warn_of(context, &problems);
    if !found {
        context.note(&format!("no profile here has {asked}"));
        return Ok(Outcome::NothingFound);
    }
    Ok(if problems.is_empty() { Outcome::Done } else { Outcome::SomeErrors })
}

/// The row of a build that cannot be read.
fn unreadable(build: &Build, problem: &Problem, member: Option<&str>) -> Vec<Cell> {
    let text = |text: &str| Cell::Text(text.to_owned());
    let why = || Cell::Unreadable(problem.why.clone());
    let arch = build.arch.map_or(Cell::Absent, text);
    let last = if member.is_some() { why() } else { Cell::Absent };
    vec![text(&build.module), arch, text(build.label()), text(build.label()), Cell::Int(1), why(), last]
}

fn row(builds: &[&Build], period: &Period, member: Option<&str>) -> Option<Vec<Cell>> {
    let (first, last) = (builds.get(period.builds.0)?, builds.get(period.builds.1)?);
    let text = |text: &str| Cell::Text(text.to_owned());
    let mut row = vec![
        text(&first.module),
        first.arch.map_or(Cell::Absent, text),
        text(first.label()),
        text(last.label()),
        Cell::Int(period.count() as i128),
    ];
    if let Some(member) = member {
        let member = period.member(member);
        row.push(member.map_or(Cell::Absent, |member| Cell::Text(format!("{:#x}", member.offset))));
        row.push(member.map_or(Cell::Absent, |member| Cell::Text(member.ty.in_words())));
    } else {
        row.push(period.layout.as_ref().map_or(Cell::Absent, |layout| Cell::Int(layout.size.into())));
        row.push(period.change.as_ref().map_or(Cell::Absent, |change| Cell::Text(changes(change))));
    }
    Some(row)
}

/// "added A, B; removed C; 40 moved; 2 of another type".
fn changes(change: &StructChange) -> String {
    let named = |what: &str, kind| {
        let names: Vec<&str> =
            change.members.iter().filter(|(_, m)| m.kind == kind).map(|(name, _)| name.as_str()).collect();
        let more = names.len().saturating_sub(MAX_NAMES);
        let shown = names.get(..MAX_NAMES).unwrap_or(&names).join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        (!names.is_empty()).then(|| format!("{what} {shown}{more}"))
    };
    let counted = |what: &str, kind| {
        let count = change.count(kind);
        (count > 0).then(|| format!("{count} {what}"))
    };
    let parts = [
        named("added", ChangeKind::Added),
        named("removed", ChangeKind::Removed),
        counted("moved", ChangeKind::Moved),
        counted("of another type", ChangeKind::Retyped),
    ];
    parts.into_iter().flatten().collect::<Vec<String>>().join("; ")
}
