//! `repo import`: many profiles into the repository, from here or from a URL.

use super::{note_author, note_indexes};
use crate::context::{Context, Outcome};
use crate::input;
use crate::repo::{self, GitStore, ImportOptions, Imported};
use crate::symserver::HttpSettings;
use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::path::{Path, PathBuf};

/// A list of versions is text that people keep.
const MAX_LIST_BYTES: u64 = 1 << 26;

pub(super) fn cli() -> Command {
    let path = |name: &'static str| Arg::new(name).value_parser(clap::value_parser!(PathBuf));
    Command::new("import")
        .about("Store trees of profiles: folders, zips and files of Rekall JSON or ISF, in one commit and one pack")
        .long_about(
            "Store trees of profiles: folders, zips and files of Rekall JSON or ISF, in one commit and one pack. At a URL is a tree \
             with its inventory, as `repo export` and `repo serve` have it, Volatility's remote ISF list (.json), a zip or a \
             profile; of a tree and a list only what the repository lacks is fetched, so that a run that was cut short is \
             repeated.",
        )
        .arg(path("PLACE").required(true).num_args(1..).help("A folder, zip or file, or a URL"))
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
    let places = args.get_many::<PathBuf>("PLACE").into_iter().flatten().cloned();
    let (urls, files): (Vec<PathBuf>, Vec<PathBuf>) = places.partition(|place| is_url(place));
    let mut options = ImportOptions { replace: args.get_flag("replace"), ..ImportOptions::default() };
    if let Some(list) = args.get_one::<PathBuf>("versions") {
        let bytes = input::read(list, MAX_LIST_BYTES).with_context(|| format!("cannot read {}", list.display()))?;
        let versions = repo::parse_versions(&String::from_utf8_lossy(&bytes));
        options.versions = versions.map_err(|why| anyhow!("{}: {why}", list.display()))?;
    }
    let bar = context.progress("importing", None, false);
    let mut progress = |done: usize, found: usize| {
        bar.set_length(found as u64);
        bar.set_position(done as u64);
    };
    let mut imported = Imported::default();
    if !files.is_empty() {
        imported = repo::import(store, &files, &options, &mut progress)?;
    }
    for url in &urls {
        let url = url.to_str().context("a URL is text")?;
        if context.globals.offline {
            bail!("{url} is not asked, because of --offline");
        }
        let allowed = context.globals.allowed_signers.as_deref();
        imported.take(repo::import_url(store, url, HttpSettings::default(), allowed, &options, &mut progress)?);
    }
    bar.finish_and_clear();
    if imported.further > 0 {
        context.warn(&format!(
            "the list names {} further lists, which were not followed; `repo import` takes each by its own URL",
            imported.further
        ));
    }
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
        note_indexes(context, store, imported.not_indexed)?;
    }
    match (stored + known + links, rejected) {
        (0, 0) => bail!(
            "{}: no profile in it",
            files.iter().chain(&urls).next().map_or_else(String::new, |place| input::shown(place))
        ),
        (0, _) => bail!("none of the profiles was imported"),
        (_, 0) => Ok(Outcome::Done),
        _ => Ok(Outcome::SomeErrors),
    }
}

fn is_url(place: &Path) -> bool {
    place.to_str().is_some_and(|place| place.starts_with("http://") || place.starts_with("https://"))
}

/// The reason, with the file before it unless it begins with it.
fn repo_line(file: &str, why: &str) -> String {
    if why.starts_with(file) { why.to_owned() } else { format!("{file}: {why}") }
}
