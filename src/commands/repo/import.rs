//! `repo import`: many profiles into the repository.

use super::note_author;
use crate::context::{Context, Outcome};
use crate::input;
use crate::repo::{self, GitStore, ImportOptions};
use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::path::{Path, PathBuf};

/// A list of versions is text that people keep.
const MAX_LIST_BYTES: u64 = 1 << 26;

pub(super) fn cli() -> Command {
    let path = |name: &'static str| Arg::new(name).value_parser(clap::value_parser!(PathBuf));
    Command::new("import")
        .about("Store trees of profiles: folders, zips and files of Rekall JSON or ISF, in one commit and one pack")
        .arg(path("PLACE").required(true).num_args(1..).help("A folder, zip or file"))
        .arg(
            path("versions")
                .long("versions")
                .value_name("FILE")
                .help("Lines of VERSION and GUID with age: a full version becomes a link to its kernel"),
        )
        .arg(
            Arg::new("replace")
                .long("replace")
                .action(ArgAction::SetTrue)
                .help("Replace what is stored under the same identity with other content"),
        )
}

pub(super) fn run(context: &Context, root: &Path, args: &ArgMatches) -> Result<Outcome> {
    let store = &GitStore::open(root)?;
    let places: Vec<PathBuf> = args.get_many("PLACE").into_iter().flatten().cloned().collect();
    let mut options = ImportOptions { replace: args.get_flag("replace"), ..ImportOptions::default() };
    if let Some(list) = args.get_one::<PathBuf>("versions") {
        let bytes = input::read(list, MAX_LIST_BYTES).with_context(|| format!("cannot read {}", list.display()))?;
        let versions = repo::parse_versions(&String::from_utf8_lossy(&bytes));
        options.versions = versions.map_err(|why| anyhow!("{}: {why}", list.display()))?;
    }
    let bar = context.progress("importing", None, false);
    let imported = repo::import(store, &places, &options, &mut |done, found| {
        bar.set_length(found as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    for rejected in &imported.rejected {
        context.warn(&format!("not imported: {}", repo_line(&rejected.file, &rejected.why.to_string())));
    }
    if let Some(why) = &imported.unpacked {
        context.warn(&format!("the new objects are not in one pack ({why}); `git gc` packs them"));
    }
    let repo::Imported { stored, known, links, others, .. } = imported;
    let rejected = imported.rejected.len();
    context.note(&format!(
        "imported {stored} profiles and {links} links; {known} profiles were there already, {rejected} were not taken, {others} files are no profiles"
    ));
    if imported.commit.is_some() {
        note_author(context, store);
    }
    match (stored + known + links, rejected) {
        (0, 0) => bail!("{}: no profile in it", places.first().map_or_else(String::new, |place| input::shown(place))),
        (0, _) => bail!("none of the profiles was imported"),
        (_, 0) => Ok(Outcome::Done),
        _ => Ok(Outcome::SomeErrors),
    }
}

/// The reason, with the file before it unless it begins with it.
fn repo_line(file: &str, why: &str) -> String {
    if why.starts_with(file) { why.to_owned() } else { format!("{file}: {why}") }
}
