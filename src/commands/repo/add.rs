//! `repo add`: profiles into the repository.

use super::{note_author, note_indexes};
use crate::context::{Context, Outcome};
use crate::input;
use crate::repo::{self, AddOptions, GitStore};
use anyhow::{Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::path::{Path, PathBuf};

pub(super) fn cli() -> Command {
    let option = |name: &'static str, shown: &'static str| Arg::new(name).long(name).value_name(shown);
    let file = Arg::new("FILE").required(true).num_args(1..).value_parser(clap::value_parser!(PathBuf));
    let replace = Arg::new("replace").long("replace").action(ArgAction::SetTrue);
    Command::new("add")
        .about("Store profiles (Rekall JSON or ISF, plain or compressed) under their identity, in one commit")
        .arg(file.help("A profile"))
        .arg(option("name", "NAME").help("The place of a profile without GUID, another name of one that has it"))
        .arg(option("banner", "TEXT").help("Record the kernel's banner in the profile (Linux)"))
        .arg(replace.help("Replace what is stored under the same identity with other content"))
}

pub(super) fn run(context: &Context, root: &Path, args: &ArgMatches) -> Result<Outcome> {
    let store = &GitStore::open(root)?;
    let files: Vec<PathBuf> = args.get_many("FILE").into_iter().flatten().cloned().collect();
    let options = AddOptions {
        name: args.get_one("name").cloned(),
        banner: args.get_one("banner").cloned(),
        replace: args.get_flag("replace"),
    };
    if files.len() > 1 && (options.name.is_some() || options.banner.is_some()) {
        bail!("--name and --banner are for one file at a time");
    }
    let repo::Additions { commit, files: additions, not_indexed } = repo::add(store, &files, &options)?;
    let (mut failed, mut has_kernel) = (Vec::new(), false);
    for addition in additions {
        match addition.outcome {
            Ok(added) => {
                has_kernel |= added.stored && added.name.starts_with("nt/");
                tell_added(context, &input::shown(&addition.file), &added);
            }
            Err(error) => failed.push(error),
        }
    }
    if commit.is_some() {
        note_author(context, store);
    }
    if has_kernel {
        note_indexes(context, store, not_indexed)?;
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
