//! `repo`: the manager of a git repository of profiles.

use crate::context::{Context, Outcome};
use crate::input;
use crate::output::Output;
use crate::repo::{self, AddOptions, GitSource, GitStore, Listed};
use anyhow::{Result, anyhow, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use quaid_profile::{Format, ProfilePath};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The options of `repo` and its subcommands.
pub(crate) fn cli() -> Command {
    let positional = |name: &'static str, help: &'static str| Arg::new(name).value_name(name).required(true).help(help);
    let option = |name: &'static str, shown: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(shown).help(help)
    };
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let path = clap::value_parser!(PathBuf);
    Command::new("repo")
        .aliases(["manage_repo", "manage-repo"])
        .about("Keep a git repository of profiles: init, add, link, get, list, verify")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .arg(
            Arg::new("repository")
                .short('C')
                .value_name("DIR")
                .value_parser(path.clone())
                .default_value(".")
                .global(true)
                .help("The repository: its work tree, or a bare repository"),
        )
        .subcommand(
            Command::new("init")
                .about("Make a new repository")
                .arg(
                    Arg::new("DIR")
                        .value_parser(path.clone())
                        .help("Where, seen from the folder of -C; that folder when it is not given"),
                )
                .arg(flag("bare", "Without a work tree, as servers have them")),
        )
        .subcommand(
            Command::new("add")
                .about("Store profiles (Rekall JSON or ISF, plain or compressed) under their identity, in one commit")
                .arg(positional("FILE", "A profile").num_args(1..).value_parser(path))
                .arg(option("name", "NAME", "The place of a profile without GUID, another name of one that has it"))
                .arg(option("banner", "TEXT", "Record the kernel's banner in the profile (Linux)"))
                .arg(flag("replace", "Replace what is stored under the same identity with other content")),
        )
        .subcommand(
            Command::new("link")
                .about("Give a profile another name")
                .arg(positional("NAME", "The new name"))
                .arg(positional("TARGET", "The profile's name"))
                .arg(flag("replace", "Let a name that leads elsewhere lead to TARGET")),
        )
        .subcommand(
            Command::new("get")
                .about("Print a profile, byte for byte as stored; links are followed")
                .arg(positional("NAME", "Its name")),
        )
        .subcommand(
            Command::new("list")
                .about("Print the names, and where links lead")
                .arg(Arg::new("PREFIX").default_value("").help("Only names that begin so")),
        )
        .subcommand(Command::new("verify").about("Check that every profile is whole and what its name says"))
}

/// Does it.
pub(crate) fn run(context: &Context, args: &ArgMatches) -> Result<Outcome> {
    let root = args.get_one::<PathBuf>("repository").map_or(Path::new("."), PathBuf::as_path);
    match args.subcommand() {
        Some(("init", args)) => init(context, root, args),
        Some(("add", args)) => add(context, &GitStore::open(root)?, args),
        Some(("link", args)) => link(context, &GitStore::open(root)?, args),
        Some(("get", args)) => get(context, GitStore::open(root)?, text(args, "NAME")),
        Some(("list", args)) => list(context, &GitStore::open(root)?, text(args, "PREFIX")),
        Some(("verify", _)) => verify(context, &GitStore::open(root)?),
        _ => bail!("`quaid repo --help` lists what there is to do"),
    }
}

fn text<'a>(args: &'a ArgMatches, name: &str) -> &'a str {
    args.get_one::<String>(name).map_or("", String::as_str)
}

fn init(context: &Context, root: &Path, args: &ArgMatches) -> Result<Outcome> {
    let root = match args.get_one::<PathBuf>("DIR") {
        Some(folder) if root == Path::new(".") => folder.clone(),
        Some(folder) => root.join(folder),
        None => root.to_owned(),
    };
    let store = repo::init(&root, args.get_flag("bare"))?;
    note_author(context, &store);
    let kind = if store.is_bare() { "bare profile repository" } else { "profile repository" };
    context.note(&format!("made a {kind} in {}; `quaid repo -C {0} add FILE` stores profiles", store.place()));
    Ok(Outcome::Done)
}

/// git wants to know who commits; a profile server's account often has no name.
fn note_author(context: &Context, store: &GitStore) {
    if !store.has_author() {
        context.note("git does not know your name (`git config --global user.name NAME`, user.email): the commit is by quaid <quaid@localhost>");
    }
}

fn add(context: &Context, store: &GitStore, args: &ArgMatches) -> Result<Outcome> {
    let files: Vec<PathBuf> = args.get_many("FILE").into_iter().flatten().cloned().collect();
    let options = AddOptions {
        name: args.get_one("name").cloned(),
        banner: args.get_one("banner").cloned(),
        replace: args.get_flag("replace"),
    };
    if files.len() > 1 && (options.name.is_some() || options.banner.is_some()) {
        bail!("--name and --banner are for one file at a time");
    }
    let (commit, additions) = repo::add(store, &files, &options)?;
    let mut failed = Vec::new();
    for addition in additions {
        match addition.outcome {
            Ok(added) => tell_added(context, &input::shown(&addition.file), &added),
            Err(error) => failed.push(error),
        }
    }
    if commit.is_some() {
        note_author(context, store);
    }
    let all_failed = failed.len() == files.len();
    if all_failed && failed.len() == 1 {
        return Err(failed.remove(0).into());
    }
    for error in &failed {
        context.warn(&error.to_string());
    }
    match failed.len() {
        0 => Ok(Outcome::Done),
        _ if all_failed => bail!("none of the {} files was added", files.len()),
        _ => Ok(Outcome::SomeErrors),
    }
}

/// What was done for one file.
fn tell_added(context: &Context, file: &str, added: &repo::Added) {
    let name = &added.name;
    if added.stored {
        context.note(&format!("added {name} from {file}"));
        for link in &added.links {
            context.detail(1, &format!("{link} -> {name}"));
        }
    } else {
        for link in &added.links {
            context.note(&format!("{file}: {name} has it; linked {link} -> {name}"));
        }
    }
    if added.restored {
        context.note(&format!("{file}: {name} was committed, and missing in the work tree; it is there again"));
    } else if !added.stored && added.links.is_empty() {
        context.note(&format!("{file}: nothing to do, {name} has it"));
    }
}

fn link(context: &Context, store: &GitStore, args: &ArgMatches) -> Result<Outcome> {
    let (commit, linked) = repo::link(store, text(args, "NAME"), text(args, "TARGET"), args.get_flag("replace"))?;
    if commit.is_some() {
        context.note(&format!("linked {} -> {}", linked.name, linked.target));
        note_author(context, store);
    } else {
        context.note(&format!("{} leads to {} already", linked.name, linked.target));
    }
    Ok(Outcome::Done)
}

fn get(context: &Context, store: GitStore, name: &str) -> Result<Outcome> {
    let path = ProfilePath::new(vec![Box::new(GitSource::new(store))]);
    let found = path.load_stored(name, &mut |step| context.detail(2, &step.to_string()))?;
    let mut out = Output::open(context)?;
    match found.profile.format() {
        // What `add` stored is canonical, and `verify` says so.
        Format::Rekall => out.write_all(found.profile.text().as_bytes())?,
        Format::Isf => out.write_all(found.profile.canonical()?.as_bytes())?,
    }
    out.finish()?;
    Ok(Outcome::Done)
}

fn list(context: &Context, store: &GitStore, prefix: &str) -> Result<Outcome> {
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

fn verify(context: &Context, store: &GitStore) -> Result<Outcome> {
    let verified = repo::verify(store)?;
    let mut out = Output::open(context)?;
    for problem in &verified.problems {
        writeln!(out, "{}: {}", problem.path, problem.why)?;
    }
    out.finish()?;
    if !verified.git_ran {
        context.note("there is no git program: its objects were checked only as far as profiles were read");
    }
    let seen = format!("{} profiles and {} links", verified.profiles, verified.links);
    match verified.problems.len() {
        0 => {
            context.note(&format!("{seen}: all is well"));
            Ok(Outcome::Done)
        }
        count => Err(anyhow!("{}: {count} problems in {seen}", store.place())),
    }
}
