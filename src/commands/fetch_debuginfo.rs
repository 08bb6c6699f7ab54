//! `fetch_debuginfo`: gets the debugging information of a Linux kernel from debuginfod servers, or tells which package has
//! it.

use super::debug_servers::DebugServers;
use super::plugin::open_image;
use crate::context::{Context, Outcome, UsageError};
use crate::debuginfod::{Advice, Artifact, MAX_FILE_BYTES, Wanted, advice};
use crate::dwarf;
use crate::input;
use crate::output::{Output, write_atomically};
use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use quaid_analyzer::linux_kernels;
use quaid_profile::BuildId;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The options.
pub(crate) fn cli() -> clap::Command {
    clap::Command::new("fetch_debuginfo")
        .about("Fetch the debugging information of a Linux kernel by build-id from debuginfod, or tell which package has it")
        .long_about(
            "Fetch the debugging information of a Linux kernel, or of any ELF file, by its build-id from debuginfod servers, \
             verify the build-id inside, and write it to a folder as BUILD-ID.debug; its path goes to stdout. The build-id is \
             that of the kernel in a memory image, too.\n\nWithout a build-id, or with an image and no server, nothing is \
             fetched: a banner (--banner, or that of an image) tells which package of Debian, Ubuntu, Fedora, RHEL, CentOS, Rocky, Alma, SUSE or Arch has the debug symbols, which goes to stdout.\n\nServers: \
             --server, else the environment variable DEBUGINFOD_URLS, else debuginfod_urls of the configuration. None is \
             asked unless it is named. DEBUGINFOD_TIMEOUT (seconds, 90 by default) and DEBUGINFOD_RETRY_LIMIT (3 by \
             default) are obeyed.",
        )
        .arg(
            Arg::new("build_id")
                .long("build_id")
                .value_name("ID")
                .value_parser(value_parser!(BuildId))
                .help("The build-id, in hex (`readelf -n`, /sys/kernel/notes)"),
        )
        .arg(
            Arg::new("file")
                .short('f')
                .long("filename")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("An ELF file, a vmlinuz or arm64's Image, or a memory image, whose kernel's build-id is meant"),
        )
        .arg(
            Arg::new("banner")
                .long("banner")
                .value_name("TEXT")
                .help("The kernel's banner (/proc/version): tell which package has its debug symbols, if no server has them"),
        )
        .arg(
            Arg::new("server")
                .long("server")
                .value_name("URL")
                .action(ArgAction::Append)
                .help("Ask this debuginfod server and no other (repeatable)"),
        )
        .arg(
            Arg::new("dump_dir")
                .short('D')
                .long("dump_dir")
                .value_name("FOLDER")
                .value_parser(value_parser!(PathBuf))
                .default_value(".")
                .help("Folder for the file"),
        )
        .arg(
            Arg::new("executable")
                .long("executable")
                .action(ArgAction::SetTrue)
                .help("Fetch the program itself, not its debugging information"),
        )
}

/// Does it.
pub(crate) fn run(context: &Context, args: &ArgMatches) -> Result<Outcome> {
    let Subject { build_id, of_image, banners } = subject(context, args)?;
    let advices: Vec<Advice> = banners.iter().filter_map(|banner| advice(banner)).collect();
    let Some(build_id) = build_id else { return tell(context, &banners, &advices) };
    let given: Vec<&str> = args.get_many::<String>("server").into_iter().flatten().map(String::as_str).collect();
    let servers = DebugServers::new(context, &given);
    if of_image && servers.is_empty() {
        context.note(
            "No server is named (--server, DEBUGINFOD_URLS), and nothing is fetched: the banner tells the package",
        );
        return tell(context, &banners, &advices);
    }
    let artifact = if args.get_flag("executable") { Artifact::Executable } else { Artifact::Debuginfo };
    let wanted = Wanted { build_id, artifact };
    let folder = args.get_one::<PathBuf>("dump_dir").context("--dump_dir has a default")?;
    if !folder.is_dir() {
        bail!("{} is no folder: make it first, or give another --dump_dir", folder.display());
    }
    let target = folder.join(wanted.file_name());
    if target.exists() && !context.globals.overwrite {
        return existing(context, &target, &wanted);
    }
    let bytes = servers.get(&wanted, &target).map_err(|error| {
        // What a server does not have, a package has.
        advices.iter().fold(error, |error, advice| anyhow!("{error}\n{advice}"))
    })?;
    write_atomically(&target, &bytes, context.globals.overwrite)?;
    print(context, &target.display())?;
    Ok(Outcome::Done)
}

/// What the command line is about.
struct Subject {
    build_id: Option<BuildId>,
    /// The build-id is that of the kernel in a memory image.
    of_image: bool,
    banners: Vec<String>,
}

fn subject(context: &Context, args: &ArgMatches) -> Result<Subject> {
    let build_id = args.get_one::<BuildId>("build_id").cloned();
    let banners: Vec<String> = args.get_one::<String>("banner").into_iter().cloned().collect();
    let globals = &context.globals;
    // A file of the environment or the configuration is meant only when the command line names nothing.
    let named = build_id.is_some() || !banners.is_empty();
    let global = globals.filename.as_ref().filter(|_| globals.filename_typed || !named);
    let Some(path) = args.get_one::<PathBuf>("file").or(global) else {
        if named {
            return Ok(Subject { build_id, banners, of_image: false });
        }
        return Err(UsageError::of(
            "which build? Give --build_id ID, -f of an ELF file, vmlinuz or image, or --banner TEXT to learn which package \
             has the debug symbols",
        ));
    };
    let cannot = || format!("cannot tell which build {} is", path.display());
    let identity = dwarf::identify(path).with_context(cannot)?;
    let of_image = identity.is_none();
    let (found, mut found_banners) = match identity {
        Some(found) => (found.build_id, found.banner.into_iter().collect()),
        None => of_memory(context, path, build_id.as_ref())?,
    };
    if let (Some(given), Some(found)) = (&build_id, &found)
        && given != found
    {
        bail!("--build_id {given} is not that of {}, which has {found}", path.display());
    }
    if let Some(found) = &found {
        context.note(&format!("{} has the build-id {found}", path.display()));
    } else if build_id.is_none() {
        if found_banners.is_empty() && banners.is_empty() {
            bail!("{} has neither a build-id that can be read nor the banner of a Linux kernel", path.display());
        }
        context.note(&format!(
            "No build-id was read from {}: nothing is fetched, its banner tells the package",
            path.display()
        ));
    }
    if !banners.is_empty() {
        found_banners = banners;
    }
    Ok(Subject { of_image: of_image && build_id.is_none(), build_id: build_id.or(found), banners: found_banners })
}

/// The build-id and the banners of the kernels in a memory image; `given` is the one that is meant of several.
fn of_memory(context: &Context, path: &Path, given: Option<&BuildId>) -> Result<(Option<BuildId>, Vec<String>)> {
    let image = open_image(context, path)?;
    let kernels = linux_kernels(image.memory(), &image.hints);
    let mut ids: Vec<BuildId> = kernels.iter().filter_map(|kernel| kernel.build_id.clone()).collect();
    ids.sort();
    ids.dedup();
    let banners = kernels.into_iter().map(|kernel| kernel.banner).collect();
    match (ids.as_slice(), given) {
        ([], _) => Ok((None, banners)),
        (ids, Some(given)) if ids.contains(given) => Ok((Some(given.clone()), banners)),
        ([one], _) => Ok((Some(one.clone()), banners)),
        (several, _) => {
            let several: Vec<String> = several.iter().map(BuildId::to_string).collect();
            bail!(
                "{} has several kernels, with the build-ids {}: --build_id tells which is meant",
                path.display(),
                several.join(", ")
            )
        }
    }
}

/// The advice for each banner is the data.
fn tell(context: &Context, banners: &[String], advices: &[Advice]) -> Result<Outcome> {
    if advices.is_empty() {
        let shown: Vec<String> = banners.iter().map(|banner| format!("`{}`", banner.escape_debug())).collect();
        context.warn(&format!(
            "no known distribution has kernels with the banner {}. Next: take the vmlinux of whoever built it, or the \
             kernel's BTF (/sys/kernel/btf/vmlinux) and System.map of a machine that runs it, to convert_profile",
            shown.join(" or ")
        ));
        return Ok(Outcome::NothingFound);
    }
    let mut texts: Vec<String> = advices.iter().map(ToString::to_string).collect();
    // Texts that differ in what was printed over them name one package.
    texts.dedup();
    print(context, &texts.join("\n"))?;
    Ok(Outcome::Done)
}

/// A file is where the result would go: it is the one already, or stays as it is.
fn existing(context: &Context, target: &Path, wanted: &Wanted) -> Result<Outcome> {
    let bytes = input::read(target, MAX_FILE_BYTES).with_context(|| format!("cannot read {}", target.display()))?;
    if let Err(why) = wanted.verify(&bytes) {
        bail!("{} exists and is another file: {why}; --overwrite before the command replaces it", target.display());
    }
    context.note(&format!("{} is there already: nothing to fetch", target.display()));
    print(context, &target.display())?;
    Ok(Outcome::Done)
}

/// The data of this command: where the file is, or which package has it.
fn print(context: &Context, data: &dyn std::fmt::Display) -> Result<()> {
    let mut out = Output::open(context)?;
    writeln!(out, "{data}")?;
    out.finish()
}
