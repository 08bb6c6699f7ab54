//! `repo diff`: what differs between two profiles.

use super::text;
use crate::context::{Context, Outcome};
use crate::output::{Output, printable};
use crate::repo::GitSource;
use anyhow::{Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use quaid_profile::{
    Change, ChangeKind, Member, MemberChange, ProfilePath, StructChange, SymbolChanges, TypeChanges, compare_struct,
    compare_symbols, compare_types,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

pub(super) fn cli() -> Command {
    let symbols = Arg::new("symbols").long("symbols").action(ArgAction::SetTrue);
    Command::new("diff")
        .about("Print what differs between two profiles: members moved, added, removed, of another type; symbols gained and lost")
        .arg(Arg::new("A").required(true).help("The older one: a name, a GUID, a file"))
        .arg(Arg::new("B").required(true).help("The newer one"))
        .arg(Arg::new("STRUCT").help("This struct, union or class alone"))
        .arg(symbols.help("List the symbols gained and lost, instead of their number"))
}

pub(super) fn run(context: &Context, root: &Path, args: &ArgMatches) -> Result<Outcome> {
    let path = ProfilePath::new(vec![Box::new(GitSource::open(root)?)]);
    let load = |name: &str| path.load(name, &mut |step| context.detail(2, &step.to_string()));
    let (old, new) = (load(text(args, "A"))?, load(text(args, "B"))?);
    let (before, after) = (&old.profile, &new.profile);
    let (types, symbols) = match args.get_one::<String>("STRUCT") {
        Some(name) => {
            if before.structure(name)?.is_none() && after.structure(name)?.is_none() {
                bail!("neither {} nor {} has a struct `{name}`", old.name, new.name);
            }
            let change = compare_struct(before, after, name)?;
            let structs = change.map(|change| (name.clone(), change)).into_iter().collect();
            (TypeChanges { structs, enums: BTreeMap::new() }, None)
        }
        None => (compare_types(before, after)?, Some(compare_symbols(before, after)?)),
    };
    let mut out = Output::open(context)?;
    let listed = args.get_flag("symbols");
    if context.globals.format == "json" {
        let mut row = to_json(&types, symbols.as_ref(), listed);
        row.insert("old".to_owned(), json!(old.name));
        row.insert("new".to_owned(), json!(new.name));
        // As an io::Error, which tells a closed pipe from a failure.
        serde_json::to_writer_pretty(&mut out, &row).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{} -> {}", printable(&old.name), printable(&new.name))?;
        print(&mut out, &types, symbols.as_ref(), listed)?;
    }
    out.finish()?;
    Ok(Outcome::Done)
}

fn print(out: &mut impl Write, types: &TypeChanges, symbols: Option<&SymbolChanges>, listed: bool) -> io::Result<()> {
    if let Some(symbols) = symbols {
        writeln!(out, "structs: {}", numbers(types.structs.values().map(|s| &s.size)))?;
        writeln!(out, "enums: {}", numbers(types.enums.values()))?;
        let SymbolChanges { gained, lost, both } = symbols;
        writeln!(out, "symbols: {} gained, {} lost, {both} in both", gained.len(), lost.len())?;
    } else if types.structs.is_empty() {
        writeln!(out, "the same in both")?;
    }
    for (name, change) in &types.structs {
        writeln!(out, "\n{} {}", printable(name), sizes(change))?;
        let mut members: Vec<(&String, &MemberChange)> = change.members.iter().collect();
        members.sort_by_key(|(name, member)| (offset(member), *name));
        for (name, member) in members {
            writeln!(out, "  {}", member_line(&printable(name), member))?;
        }
    }
    for (name, change) in &types.enums {
        let what = match change {
            Change::Added(_) => "new".to_owned(),
            Change::Removed(_) => "gone".to_owned(),
            Change::Changed { old, new } => {
                let only = |one: &quaid_profile::Enum, other: &quaid_profile::Enum| {
                    one.values.iter().filter(|value| !other.values.contains(value)).count()
                };
                format!("{} values added, {} removed", only(new, old), only(old, new))
            }
        };
        writeln!(out, "\nenum {} {what}", printable(name))?;
    }
    let Some(symbols) = symbols.filter(|_| listed) else { return Ok(()) };
    writeln!(out)?;
    for (mark, names) in [('+', &symbols.gained), ('-', &symbols.lost)] {
        for name in names {
            writeln!(out, "{mark} {}", printable(name))?;
        }
    }
    Ok(())
}

/// "40 changed, 12 new, 3 gone".
fn numbers<'c, T: 'c>(changes: impl Iterator<Item = &'c Change<T>>) -> String {
    let (mut changed, mut new, mut gone) = (0, 0, 0);
    for change in changes {
        match change {
            Change::Changed { .. } => changed += 1,
            Change::Added(_) => new += 1,
            Change::Removed(_) => gone += 1,
        }
    }
    format!("{changed} changed, {new} new, {gone} gone")
}

fn sizes(change: &StructChange) -> String {
    match change.size {
        Change::Added(size) => format!("new, {size:#x} bytes"),
        Change::Removed(size) => format!("gone, {size:#x} bytes"),
        Change::Changed { old, new } if old == new => format!("{new:#x} bytes"),
        Change::Changed { old, new } => format!("{old:#x} -> {new:#x} bytes"),
    }
}

/// Where a member is in the newer build, or was in the older one.
fn offset(member: &MemberChange) -> u64 {
    member.change.after().or(member.change.before()).map_or(0, |member| member.offset)
}

fn member_line(name: &str, member: &MemberChange) -> String {
    let place = |member: &Member| format!("{:#x}", member.offset);
    match (&member.change, member.kind) {
        (Change::Added(new), _) => format!("+ {:<18} {name}  {}", place(new), new.ty.in_words()),
        (Change::Removed(old), _) => format!("- {:<18} {name}  {}", place(old), old.ty.in_words()),
        (Change::Changed { old, new }, ChangeKind::Moved) if old.offset == new.offset => {
            format!("> {:<18} {name}  {} -> {}", place(new), old.ty.in_words(), new.ty.in_words())
        }
        (Change::Changed { old, new }, ChangeKind::Moved) => {
            format!("> {:<18} {name}", format!("{} -> {}", place(old), place(new)))
        }
        (Change::Changed { old, new }, _) => {
            let places =
                if old.offset == new.offset { place(new) } else { format!("{} -> {}", place(old), place(new)) };
            format!("~ {places:<18} {name}  {} -> {}", old.ty.in_words(), new.ty.in_words())
        }
    }
}

fn to_json(types: &TypeChanges, symbols: Option<&SymbolChanges>, listed: bool) -> Map<String, Value> {
    let state = |added: bool, removed: bool| match (added, removed) {
        (true, _) => "added",
        (_, true) => "removed",
        _ => "changed",
    };
    let structs = types.structs.iter().map(|(name, change)| {
        let (old, new) = (change.size.before(), change.size.after());
        let members: Vec<Value> = change.members.iter().map(|(name, member)| member_json(name, member)).collect();
        let change = state(old.is_none(), new.is_none());
        json!({"name": name, "change": change, "old_size": old, "new_size": new, "members": members})
    });
    let enums = types.enums.iter().map(
        |(name, change)| json!({"name": name, "change": state(change.before().is_none(), change.after().is_none())}),
    );
    let mut row = Map::new();
    row.insert("structs".to_owned(), structs.collect());
    row.insert("enums".to_owned(), enums.collect());
    if let Some(symbols) = symbols {
        let mut counts = json!({"gained": symbols.gained.len(), "lost": symbols.lost.len(), "both": symbols.both});
        if listed {
            counts["gained_names"] = json!(symbols.gained);
            counts["lost_names"] = json!(symbols.lost);
        }
        row.insert("symbols".to_owned(), counts);
    }
    row
}

fn member_json(name: &str, member: &MemberChange) -> Value {
    let kind = match member.kind {
        ChangeKind::Added => "added",
        ChangeKind::Removed => "removed",
        ChangeKind::Moved => "moved",
        ChangeKind::Retyped => "type",
    };
    let side = |member: Option<&Member>| {
        member.map(|member| json!({"offset": format!("{:#x}", member.offset), "type": member.ty.in_words()}))
    };
    json!({"name": name, "change": kind, "old": side(member.change.before()), "new": side(member.change.after())})
}
