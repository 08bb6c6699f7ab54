//! `fetch_pdb`: gets a PDB from a symbol server.

use super::transfer::Screen;
use crate::context::{Context, Outcome, UsageError};
use crate::input;
use crate::output::{Output, write_atomically};
use crate::pdb;
use crate::pe::{self, CodeView};
use crate::symserver::{
    self, Event, HttpSettings, HttpTransport, Job, Policy, SymbolPath, Transport, Wanted, fetch, part_path, verify,
};
use anyhow::{Context as _, Result, bail};
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use etcetera::BaseStrategy as _;
use quaid_profile::GuidAge;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The options.
pub(crate) fn cli() -> clap::Command {
    clap::Command::new("fetch_pdb")
        .about("Fetch the PDB of a Windows build from a symbol server")
        .long_about(
            "Fetch the PDB of a Windows build from a symbol server, verify its GUID and age, and write it to a folder; \
             its path goes to stdout.\n\nServers: --server, else the environment variable _NT_SYMBOL_PATH (whose folders \
             and caches are used too), else symbol_server of the configuration, else Microsoft's.",
        )
        .arg(
            Arg::new("filename")
                .long("filename")
                .value_name("NAME")
                .help("Name of the PDB; without a GUID the PE file (.exe, .dll, .sys) on this machine whose PDB is meant"),
        )
        .arg(Arg::new("guid").long("guid").value_name("GUIDAGE").help("GUID and age, as version_scan prints them"))
        .arg(Arg::new("name").value_name("NAME").conflicts_with("filename").help("The same as --filename"))
        .arg(Arg::new("id").value_name("GUIDAGE").conflicts_with("guid").help("The same as --guid"))
        .arg(
            Arg::new("dump_dir")
                .short('D')
                .long("dump_dir")
                .value_name("FOLDER")
                .value_parser(value_parser!(PathBuf))
                .default_value(".")
                .help("Folder for the PDB"),
        )
        .arg(
            Arg::new("server")
                .long("server")
                .value_name("URL")
                .action(ArgAction::Append)
                .help("Ask this server, or this element of a symbol path (srv*CACHE*URL), and no other (repeatable)"),
        )
}

/// Does it.
pub(crate) fn run(context: &Context, args: &ArgMatches) -> Result<Outcome> {
    let wanted = wanted(context, args)?;
    let folder = args.get_one::<PathBuf>("dump_dir").context("--dump_dir has a default")?;
    if !folder.is_dir() {
        bail!("{} is no folder: make it first, or give another --dump_dir", folder.display());
    }
    let target = folder.join(wanted.name());
    if target.exists() && !context.globals.overwrite {
        return existing(context, &target, &wanted);
    }

    let servers: Vec<String> = args.get_many("server").into_iter().flatten().cloned().collect();
    let path = symbol_path(context, &servers);
    for problem in &path.problems {
        context.warn(problem);
    }
    let http = if context.globals.offline {
        None
    } else {
        Some(HttpTransport::new(HttpSettings::default()).context("cannot set up the network client")?)
    };
    let part = part_path(&target);
    let job = Job {
        wanted: &wanted,
        path: &path,
        transport: http.as_ref().map(|http| http as &dyn Transport),
        part: Some(&part),
        policy: &Policy::default(),
    };
    let mut screen = Screen::new(context);
    let fetched = fetch(&job, &mut |event| show(&mut screen, event))?;
    write_atomically(&target, &fetched.pdb, context.globals.overwrite)?;
    print_path(context, &target)?;
    if fetched.problems.is_empty() {
        context.note("\nAll done, no errors.");
        return Ok(Outcome::Done);
    }
    for problem in &fetched.problems {
        context.warn(problem);
    }
    Ok(Outcome::SomeErrors)
}

/// The PDB that the command line means: named with its GUID, or recorded in a PE file.
fn wanted(context: &Context, args: &ArgMatches) -> Result<Wanted> {
    let text = |one: &str, other: &str| args.get_one::<String>(one).or_else(|| args.get_one(other)).cloned();
    let global = || context.globals.filename.as_ref().map(|path| path.display().to_string());
    let name = text("filename", "name").or_else(global).ok_or_else(|| {
        UsageError::of(
            "which PDB? Give --filename NAME.pdb --guid GUIDAGE, or --filename of a PE file (ntoskrnl.exe) on this machine",
        )
    })?;
    if let Some(guid) = text("guid", "id") {
        let id = match GuidAge::parse_guid(&guid) {
            Some((_, None)) => {
                bail!("the GUID {guid} lacks the age: its hex digits follow the GUID's 32, often a 1 or 2")
            }
            _ => guid.parse::<GuidAge>()?,
        };
        return Ok(Wanted::new(&name, id)?);
    }
    let file = Path::new(&name);
    if !file.is_file() {
        bail!("{name} is no file here, so its GUID is needed: add --guid GUIDAGE (version_scan finds it in an image)");
    }
    let bytes = input::read(file, pe::MAX_FILE_BYTES).with_context(|| format!("cannot read {name}"))?;
    let CodeView { pdb_name, guid_age } =
        pe::codeview(&bytes).with_context(|| format!("cannot tell which PDB belongs to {name}"))?;
    context.note(&format!("{name} was built with {pdb_name}, {guid_age}"));
    Ok(Wanted::new(&pdb_name, guid_age)?)
}

/// A file is where the PDB would go: it is the PDB already, or stays as it is.
fn existing(context: &Context, target: &Path, wanted: &Wanted) -> Result<Outcome> {
    let bytes =
        input::read(target, pdb::MAX_FILE_BYTES).with_context(|| format!("cannot read {}", target.display()))?;
    if let Err(why) = verify(&bytes, wanted.id()) {
        bail!("{} exists and is another file: {why}; --overwrite before the command replaces it", target.display());
    }
    context.note(&format!(
        "{} is there already, with GUID and age {}: nothing to fetch",
        target.display(),
        wanted.id()
    ));
    print_path(context, target)?;
    Ok(Outcome::Done)
}

/// The data of this command: where the PDB is, for scripts.
fn print_path(context: &Context, target: &Path) -> Result<()> {
    let mut out = Output::open(context)?;
    writeln!(out, "{}", target.display())?;
    out.finish()
}

/// Where PDBs are looked for: the command line's servers, else the environment's, else the configuration's.
pub(crate) fn symbol_path(context: &Context, servers: &[String]) -> SymbolPath {
    let default_store = || etcetera::choose_base_strategy().ok().map(|base| base.cache_dir().join("quaid/symbols"));
    let parse = |elements: &[String]| SymbolPath::parse(&elements.join(";"), default_store());
    if !servers.is_empty() {
        return parse(servers);
    }
    match std::env::var("_NT_SYMBOL_PATH") {
        Ok(path) if !path.trim().is_empty() => return parse(&[path]),
        _ => {}
    }
    match context.globals.symbol_servers.as_slice() {
        [] => parse(&[symserver::MICROSOFT.to_owned()]),
        servers => parse(servers),
    }
}

/// Tells the steps: in words, and with a progress bar while bytes come.
fn show(screen: &mut Screen<'_>, event: Event) {
    let context = screen.context();
    match event {
        Event::Transfer(transfer) => screen.transfer(transfer),
        Event::Trying(url) => context.note(&format!("Trying to fetch {url}")),
        Event::Received(bytes) => screen.received(bytes),
        Event::Reading(path) => context.note(&format!("Reading {path}")),
        Event::Cabinet(name) => context.note(&format!("Extracting cabinet: {name}")),
        Event::Extracting(name) => context.note(&format!("  extracting {name}")),
        Event::Kept(path) => context.detail(1, &format!("kept in {path}")),
        Event::Failed(attempt) => {
            screen.clear();
            context.detail(2, &format!("{}: {}", attempt.place, attempt.failure));
        }
    }
}
