//! `repo export`: the repository as Rekall lays one out.

use super::warn_of;
use crate::context::{Context, Outcome};
use crate::repo::{self, Exported, GitStore};
use anyhow::Result;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::path::{Path, PathBuf};

pub(super) fn cli() -> Command {
    let folder = Arg::new("DIR").required(true).value_parser(clap::value_parser!(PathBuf));
    let plain = Arg::new("plain").long("plain").action(ArgAction::SetTrue);
    Command::new("export")
        .about("Write every profile, link and the inventory in Rekall's layout, for web servers and other programs")
        .arg(folder.help("The folder to write v1.0 into; what it has already is not written again"))
        .arg(plain.help("Not compressed, for programs that read plain JSON (libvmi, drakvuf)"))
}

pub(super) fn run(context: &Context, root: &Path, args: &ArgMatches) -> Result<Outcome> {
    let store = &GitStore::open(root)?;
    let folder = args.get_one::<PathBuf>("DIR").map_or(Path::new("."), PathBuf::as_path);
    let bar = context.progress("exporting", None, false);
    let exported = repo::export(store, folder, args.get_flag("plain"), &mut |done, found| {
        bar.set_length(found as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    warn_of(context, &exported.problems);
    let Exported { written, unchanged, problems, signed } = exported;
    context.note(&format!("exported {written} files to {}; {unchanged} were there already", folder.display()));
    if signed {
        context.note("signed the inventory");
    }
    Ok(if problems.is_empty() { Outcome::Done } else { Outcome::SomeErrors })
}
