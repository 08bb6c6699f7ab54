//! `repo fetch`: what a list of wanted profiles names, from symbol servers and debuginfod servers into the repository.

use super::build::{Builder, Done, Total, fetching, windows_recipe};
use super::wanted::has;
use crate::cli::chain_text;
use crate::commands::debug_servers::DebugServers;
use crate::context::{Context, Outcome};
use crate::debuginfod::{Artifact, Wanted, advice};
use crate::input;
use crate::output::{printable, write_atomically};
use crate::repo::build::{Summary, Wish, build_linux_kernel, debug_cache, has_build};
use crate::repo::layout::module_of_pdb;
use crate::repo::wanted::{self, Item};
use crate::repo::{Added, GitSource, GitStore};
use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Arg, ArgMatches, Command, value_parser};
use quaid_profile::{BuildId, ProfilePath};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Length at which a list is not read, in bytes.
const MAX_LIST_BYTES: u64 = 64 << 20;

pub(super) fn cli() -> Command {
    Command::new("fetch")
        .about("Make the profiles that `repo wanted` listed")
        .long_about(
            "Make the profiles that `repo wanted` listed: of Windows from symbol servers, of Linux kernels from debuginfod \
             servers, by the build-id that the image told. Servers for Linux are those of --server, else of the environment \
             variable DEBUGINFOD_URLS, else debuginfod_urls of the configuration; none is asked unless it is named. Where no \
             server has a kernel, the package that has it is told.",
        )
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
    let given: Vec<&str> = args.get_many::<String>("server").into_iter().flatten().map(String::as_str).collect();
    let servers = DebugServers::new(context, &given);
    for item in &items {
        let Item::Linux { banner, build_id } = item else { continue };
        let profiles = ProfilePath::new(vec![Box::new(GitSource::open(root)?)]);
        if has(context, &profiles, item) {
            total.know();
            continue;
        }
        match fetch_linux_kernel(store, &servers, build_id.as_ref(), banner) {
            Ok(added) => {
                context.note(&format!("built {}", added.name));
                let summary = Summary { built: 1, ..Summary::default() };
                total.take(context, "Linux", Ok(Done { summary, known: 0, remembered: 0 }))?;
            }
            Err(why) => {
                total.fail();
                let advice = advice(banner).map_or_else(
                    || "no known distribution has this kernel; convert_profile makes it of its vmlinux".to_owned(),
                    |advice| format!("a package has it:\n{advice}"),
                );
                context.warn(&format!("{}: {}; {advice}", printable(banner), chain_text(&why)));
            }
        }
    }
    total.tell(context, store)
}

/// Fetches the debugging information of the kernel with this build-id, and adds its profile with its banner.
///
/// # Errors
/// No server has it, or it gives no profile, or the repository cannot be written.
pub(crate) fn fetch_linux_kernel(
    store: &GitStore,
    servers: &DebugServers<'_>,
    build_id: Option<&BuildId>,
    banner: &str,
) -> Result<Added> {
    let Some(build_id) = build_id else { bail!("its build-id is not known, and debuginfod servers go by that") };
    if servers.is_empty() {
        bail!("no debuginfod server is named (--server, DEBUGINFOD_URLS)");
    }
    let wanted = Wanted { build_id: build_id.clone(), artifact: Artifact::Debuginfo };
    let target = debug_cache(store)?.join(wanted.file_name());
    let bytes = servers.get(&wanted, &target)?;
    write_atomically(&target, &bytes, true)?;
    drop(bytes);
    let added = build_linux_kernel(store, &target, banner);
    std::fs::remove_file(&target).with_context(|| format!("cannot remove {}", target.display()))?;
    Ok(added?)
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
