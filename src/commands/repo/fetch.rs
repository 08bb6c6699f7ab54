//! `repo fetch`: what a list of wanted profiles names, from symbol servers into the repository.

use super::build::{Builder, Done, Total, fetching, windows_recipe};
use crate::context::{Context, Outcome};
use crate::debuginfod::advice;
use crate::input;
use crate::repo::GitStore;
use crate::repo::build::{Wish, has_build};
use crate::repo::layout::module_of_pdb;
use crate::repo::wanted::{self, Item};
use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Arg, ArgMatches, Command, value_parser};
use quaid_profile::ProfilePath;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Length at which a list is not read, in bytes.
const MAX_LIST_BYTES: u64 = 64 << 20;

pub(super) fn cli() -> Command {
    Command::new("fetch")
        .about("Make the profiles that `repo wanted` listed")
        .arg(
            Arg::new("wanted")
                .long("wanted")
                .value_name("FILE")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("The list, lines or JSON"),
        )
        .args(fetching())
}

pub(super) fn run(context: &Context, root: &Path, args: &ArgMatches) -> Result<Outcome> {
    let store = &GitStore::open(root)?;
    store.profiles()?;
    let path = args.get_one::<PathBuf>("wanted").context("--wanted is required")?;
    let bytes = input::read(path, MAX_LIST_BYTES).with_context(|| format!("cannot read {}", path.display()))?;
    let text = String::from_utf8(bytes).map_err(|_| anyhow!("{} is no text", path.display()))?;
    let items = wanted::parse(&text).map_err(|why| anyhow!("{}: {why}", path.display()))?;
    if items.is_empty() {
        bail!("{} names no profile", path.display());
    }
    let builder = Builder::of_args(context, store, args)?;
    let mut total = Total::default();
    for (module, wishes) in by_module(context, &mut total, &items) {
        let target = format!("{module}/GUID");
        let recipe = windows_recipe(store, &target)?;
        let head = store.profiles()?;
        let (mut lacking, mut known) = (Vec::new(), 0);
        for wish in wishes {
            if has_build(&head, &target, wish.id)? {
                known += 1;
            } else {
                lacking.push(wish);
            }
        }
        let done = builder.build(&recipe, &lacking, true).map(|summary| Done { summary, known, remembered: 0 });
        total.take(context, &target, done)?;
    }
    let profiles = ProfilePath::new(vec![Box::new(crate::repo::GitSource::open(root)?)]);
    for item in &items {
        let Item::Linux { banner, .. } = item else { continue };
        if profiles.linux_candidates(banner).is_ok_and(|names| !names.is_empty()) {
            total.know();
            continue;
        }
        total.fail();
        let shown = crate::output::printable(banner);
        match advice(banner) {
            Some(advice) => context.warn(&format!("{shown}: it is made by convert_profile. {advice}")),
            None => context.warn(&format!("{shown}: no known distribution has this kernel; convert_profile makes it")),
        }
    }
    total.tell(context, store)
}

/// The Windows builds of the list. What no recipe can be for is told.
fn by_module(context: &Context, total: &mut Total, items: &[Item]) -> BTreeMap<String, Vec<Wish>> {
    let mut modules: BTreeMap<String, Vec<Wish>> = BTreeMap::new();
    for item in items {
        let Item::Windows { id, pdb } = item else { continue };
        if let Some(module) = module_of_pdb(pdb) {
            modules.entry(module).or_default().push(Wish { id: *id, pdbs: vec![pdb.clone()] });
        } else {
            context.warn(&format!("{id}: `{}` cannot be the name of a PDB", pdb.escape_debug()));
            total.fail();
        }
    }
    modules
}
