//! `repo wanted`: what images need, and the repository lacks.

use crate::cli::chain_text;
use crate::commands::plugin::open_image;
use crate::context::{Context, Outcome, UsageError};
use crate::output::Output;
use crate::repo::layout::module_of_pdb;
use crate::repo::wanted::Item;
use crate::repo::{Error, GitSource};
use crate::sources;
use anyhow::{Context as _, Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use quaid_analyzer::scan::rsds;
use quaid_analyzer::{LinuxKernel, OpenError, Options, Session, is_windows_kernel, linux_kernels};
use quaid_profile::{ProfilePath, ProfileSource};
use regex::{Regex, RegexBuilder};
use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub(super) fn cli() -> Command {
    Command::new("wanted")
        .about("List the profiles that images need and the repository lacks, for `repo fetch --wanted` elsewhere")
        .long_about(
            "List the profiles that images need and the repository lacks: a line for each kernel, by the RSDS records and Linux \
             banners in the image, or JSON with --format json before the command. Where there is a network, `quaid repo fetch \
             --wanted FILE` adds them. The places of profile_path are searched as well; the repository of -C need not exist.",
        )
        .arg(
            Arg::new("image")
                .short('f')
                .long("filename")
                .value_name("IMAGE")
                .num_args(1..)
                .action(ArgAction::Append)
                .value_parser(value_parser!(PathBuf))
                .help("An image, or several"),
        )
        .arg(
            Arg::new("name_regex")
                .long("name_regex")
                .value_name("REGEX")
                .help("Also other Windows modules, whose PDB's name matches, anywhere and in any case"),
        )
}

pub(super) fn run(context: &Context, root: &Path, args: &ArgMatches) -> Result<Outcome> {
    let named: Vec<&PathBuf> = args.get_many("image").into_iter().flatten().collect();
    let images = if named.is_empty() { context.globals.filename.iter().collect() } else { named };
    if images.is_empty() {
        return Err(UsageError::of("which images? quaid repo -C DIR wanted -f IMAGE..."));
    }
    let regex = args.get_one::<String>("name_regex");
    let regex = regex.map(|regex| RegexBuilder::new(regex).case_insensitive(true).build());
    let regex = regex.transpose().context("--name_regex is not a regular expression")?;
    let profiles = profiles(context, root)?;
    let (mut seen, mut lacking, mut failed) = (HashSet::new(), Vec::new(), 0);
    let mut known = 0;
    for image in images {
        match needs(context, image, regex.as_ref(), &profiles) {
            Ok((items, kernel)) => {
                match kernel {
                    Kernel::Named => {}
                    Kernel::Known(what) => {
                        context.note(&format!("{}: {what}", image.display()));
                        known += 1;
                    }
                    Kernel::None if !items.is_empty() => {}
                    Kernel::None => {
                        context.warn(&format!("{}: no kernel was found in it", image.display()));
                        failed += 1;
                    }
                    Kernel::Nameless(why) => {
                        context.warn(&format!("{}: {why}", image.display()));
                        failed += 1;
                    }
                }
                for item in items.into_iter().filter(|item| seen.insert(item.clone())) {
                    if has(context, &profiles, &item) {
                        context.detail(1, &format!("{}: there is a profile for {item}", image.display()));
                        known += 1;
                    } else {
                        lacking.push(item);
                    }
                }
            }
            Err(why) => {
                context.warn(&chain_text(&why));
                failed += 1;
            }
        }
    }
    let mut out = Output::open(context)?;
    if context.globals.format == "json" {
        let rows: Vec<_> = lacking.iter().map(Item::to_json).collect();
        serde_json::to_writer_pretty(&mut out, &rows).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        for item in &lacking {
            writeln!(out, "{item}")?;
        }
    }
    out.finish()?;
    context.note(&format!("{} profiles wanted, {known} there already", lacking.len()));
    match (failed, known + lacking.len()) {
        (0, _) => Ok(Outcome::Done),
        (_, 0) => bail!("no image told a kernel"),
        _ => Ok(Outcome::SomeErrors),
    }
}

/// The repository, then the places of `profile_path`.
fn profiles(context: &Context, root: &Path) -> Result<ProfilePath> {
    let mut places: Vec<Box<dyn ProfileSource>> = Vec::new();
    match GitSource::open(root) {
        Ok(source) => places.push(Box::new(source)),
        // An analyst's machine may have nothing yet.
        Err(Error::NotARepository { place }) => {
            context.detail(1, &format!("{place} is no repository: only profile_path is searched"));
        }
        Err(other) => return Err(other.into()),
    }
    for place in &context.globals.profile_path {
        match sources::source(context, place) {
            Ok(source) => places.push(source),
            Err(why) => context.warn(&format!("{place} is not searched for profiles: {why}")),
        }
    }
    Ok(ProfilePath::new(places))
}

/// What is known of the kernel of an image.
enum Kernel {
    /// It tells its build, which is among the items.
    Named,
    /// It does not, and something else leads to a profile.
    Known(String),
    /// It does not, and nothing else does.
    Nameless(String),
    /// There is none.
    None,
}

/// The kernels of an image, and the modules that the user asks for. A kernel whose RSDS record is lost is looked for as a plugin
/// does.
fn needs(context: &Context, path: &Path, regex: Option<&Regex>, profiles: &ProfilePath) -> Result<(Vec<Item>, Kernel)> {
    let image = open_image(context, path)?;
    let mut items: Vec<Item> = Vec::new();
    let wanted = |pdb: &str| is_windows_kernel(pdb) || regex.is_some_and(|regex| regex.is_match(pdb));
    for record in rsds::records(image.memory()).filter(|record| wanted(&record.pdb)) {
        let pdb = record.pdb.rsplit(['\\', '/']).next().unwrap_or_default().to_owned();
        let item = Item::Windows { id: record.id, pdb };
        if !items.contains(&item) {
            items.push(item);
        }
    }
    let kernels = linux_kernels(image.memory(), &image.hints).into_iter();
    items.extend(kernels.map(|LinuxKernel { banner, build_id }| Item::Linux { banner, build_id }));
    let is_kernel = |item: &Item| match item {
        Item::Windows { pdb, .. } => is_windows_kernel(pdb),
        Item::Linux { .. } => true,
    };
    if items.iter().any(is_kernel) {
        return Ok((items, Kernel::Named));
    }
    let options = Options { hints: image.hints.clone(), ..Options::default() };
    let kernel = match Session::open(image.memory(), profiles, &options, &mut |step| context.detail(2, step)) {
        Ok(session) => Kernel::Known(format!("{} fits: {}", session.profile_name(), session.evidence())),
        Err(OpenError::NoKernel(unread)) if unread.is_empty() => Kernel::None,
        Err(why) => Kernel::Nameless(why.to_string()),
    };
    Ok((items, kernel))
}

/// Whether one of the places has the profile. A place that cannot be asked is told.
pub(super) fn has(context: &Context, profiles: &ProfilePath, item: &Item) -> bool {
    let names: Vec<String> = match item {
        Item::Windows { id, pdb } => {
            let own = module_of_pdb(pdb).map(|module| format!("{module}/GUID/{id}"));
            own.into_iter().chain([format!("GUID/{id}")]).collect()
        }
        Item::Linux { banner, build_id } => {
            let known = profiles.linux_candidates(banner).unwrap_or_else(|why| {
                context.warn(&why.to_string());
                Vec::new()
            });
            known.into_iter().chain(build_id.iter().map(|id| format!("Linux/BUILDID/{id}"))).collect()
        }
    };
    let mut observe = |step: quaid_profile::Step| context.detail(2, &step.to_string());
    names
        .iter()
        .any(|name| profiles.load_stored(name, &mut observe).is_ok_and(|found| item.fits(found.profile.metadata())))
}
