//! `parse_pdb`: a PDB to a profile.

use crate::completeness::Completeness;
use crate::context::{Context, Outcome};
use crate::input;
use crate::output::{Output, write_profile, write_report};
use crate::pdb::{self, Image, ParseOptions, ParseReport};
use crate::{graft, pe, sources};
use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use quaid_profile::Profile;
use std::io::Write;
use std::path::{Path, PathBuf};

/// How many missing things a message names.
const SHOWN: usize = 8;

pub(crate) fn cli() -> clap::Command {
    let path = |name| Arg::new(name).value_parser(value_parser!(PathBuf));
    clap::Command::new("parse_pdb")
        .about("Make a profile from a PDB")
        .arg(path("pdb").value_name("PDB").help("The PDB; -f before or after the command names it as well"))
        .arg(path("filename").short('f').long("filename").value_name("PDB").conflicts_with("pdb").help("The same"))
        .arg(
            path("output")
                .long("output")
                .visible_alias("output_filename")
                .value_name("FILE")
                .help("Write the profile here, not to stdout; a profile of the same build that is there is replaced"),
        )
        .arg(path("dump_dir").short('D').long("dump_dir").value_name("DIR").help("Folder of the output file"))
        .arg(
            Arg::new("windows_version")
                .long("windows_version")
                .value_name("A.B.C")
                .help("Version of Windows, kept as major, minor and rev"),
        )
        .arg(
            Arg::new("profile_class")
                .long("profile_class")
                .value_name("CLASS")
                .help("ProfileClass, instead of the one that the file's name tells"),
        )
        .arg(
            Arg::new("concise")
                .long("concise")
                .action(ArgAction::SetTrue)
                .help("Types only: no constants and functions"),
        )
        .arg(path("pe").long("pe").value_name("FILE").help(
            "The image (.exe, .dll, .sys) of the PDB, which tells the version; else the one beside the PDB is taken",
        ))
        .arg(
            Arg::new("graft").long("graft").value_name("PROFILE").conflicts_with("graft_from").help(
                "Take types that the PDB lacks from this profile of another build, each marked in $METADATA.Grafted",
            ),
        )
        .arg(
            Arg::new("graft_from")
                .long("graft_from")
                .value_name("REPO")
                .help("The same, from the build in this repository whose version is nearest"),
        )
        .arg(
            Arg::new("module_symbols")
                .long("module_symbols")
                .action(ArgAction::SetTrue)
                .help("Also the symbols of each object file: procedures, thunks and statics that are not public"),
        )
        .arg(
            Arg::new("demangle")
                .long("demangle")
                .action(ArgAction::SetTrue)
                .help("C++ names as in the source (C::f), not as the linker knows them (?f@C@@QAEXH@Z)"),
        )
}

pub(crate) fn run(context: &Context, args: &ArgMatches) -> Result<Outcome> {
    let path = |name| args.get_one::<PathBuf>(name);
    let text = |name| args.get_one::<String>(name).cloned();
    let file = match (path("pdb").or_else(|| path("filename")), &context.globals.filename) {
        (Some(_), Some(other)) if context.globals.filename_typed => {
            bail!("the PDB is given twice: -f {} and after the command", other.display())
        }
        (Some(input), _) | (None, Some(input)) => input,
        (None, None) => bail!("which PDB? quaid parse_pdb NTKRNLMP.PDB --output PROFILE"),
    };
    let bytes = input::read(file, pdb::MAX_FILE_BYTES).with_context(|| format!("cannot read {}", file.display()))?;
    let options = ParseOptions {
        image: image(context, file, path("pe"), &bytes)?,
        file_name: file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        profile_class: text("profile_class"),
        windows_version: text("windows_version"),
        concise: args.get_flag("concise"),
        module_symbols: args.get_flag("module_symbols"),
        demangle: args.get_flag("demangle"),
    };
    let bar = context.progress("", Some(100), false);
    let parsed = pdb::parse(&bytes, &options, &mut |what, percent| {
        bar.set_message(what);
        bar.set_position(percent);
    });
    bar.finish_and_clear();
    let mut parsed = parsed.with_context(|| format!("cannot parse {}", file.display()))?;
    drop(bytes);
    tell(context, file, &parsed.report)?;
    let outcome = complete(context, args, file, &mut parsed.profile)?;

    if let Some(output) = path("output").or(context.globals.output.as_ref()) {
        let output = path("dump_dir").map_or_else(|| output.clone(), |folder| folder.join(output));
        write_profile(context, &output, &parsed.profile)?;
    } else {
        let mut out = Output::open(context)?;
        out.write_all(parsed.profile.to_rekall().as_bytes())?;
        out.finish()?;
    }
    Ok(outcome)
}

/// The image that the user names, which must be the PDB's, or one that stands beside the PDB and is.
fn image(context: &Context, pdb: &Path, named: Option<&PathBuf>, bytes: &[u8]) -> Result<Option<Image>> {
    // What is wrong with the PDB is told when it is parsed.
    let Ok(identity) = pdb::identity(bytes) else { return Ok(None) };
    let read = |path: &Path| -> Result<Image> {
        let bytes = input::read(path, pe::MAX_FILE_BYTES)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(Image::of(&name, &pe::parse(&bytes)?, identity)?)
    };
    if let Some(path) = named {
        return read(path).map(Some).with_context(|| format!("{} is not the image of this PDB", path.display()));
    }
    for path in pdb::images_beside(pdb).into_iter().filter(|path| path.is_file()) {
        match read(&path) {
            Ok(image) => {
                context.detail(1, &format!("{} is the image of the PDB", path.display()));
                return Ok(Some(image));
            }
            Err(why) => context.note(&format!("{} is not used: {why:#}", path.display())),
        }
    }
    Ok(None)
}

/// Says what the profile lacks that analysis needs, after types were taken from elsewhere where that was asked for, and
/// records it in the profile.
fn complete(context: &Context, args: &ArgMatches, pdb: &Path, profile: &mut Profile) -> Result<Outcome> {
    let text = |name| args.get_one::<String>(name);
    let donor = match (text("graft"), text("graft_from")) {
        (Some(name), _) => {
            let path = sources::open(context);
            let found = path.load(name, &mut |step| context.detail(2, &step.to_string()));
            Some(found.and_then(|found| Ok(found.profile.decode()?)).with_context(|| format!("cannot graft {name}"))?)
        }
        (None, Some(place)) => {
            let source = sources::source(context, place).map_err(|why| anyhow!("cannot graft from {place}: {why}"))?;
            Some(graft::nearest(source, &profile.metadata).with_context(|| format!("cannot graft from {place}"))?)
        }
        (None, None) => None,
    };
    if let Some(donor) = donor {
        let grafted = graft::graft(profile, &donor).context("cannot graft")?;
        let from = profile.metadata.text("GraftedFrom").unwrap_or_default();
        context.warn(&format!(
            "{}: {} types are not of this build, but of {from}; $METADATA.Grafted names them",
            pdb.display(),
            grafted.types.len()
        ));
        for name in grafted.refused {
            context.note(&format!("  not grafted: {name} (it holds a type that has another size in this build)"));
        }
    }
    let completeness = Completeness::of(profile);
    match completeness.state() {
        Some("complete") if profile.metadata.0.contains_key("Grafted") => {
            profile.metadata.set("Completeness", "complete with types of another build");
        }
        Some(state) => profile.metadata.set("Completeness", state),
        None => {}
    }
    if completeness.is_enough() {
        if !completeness.has_types {
            context.note("  public symbols only: no type information");
        }
        return Ok(Outcome::Done);
    }
    let module = completeness.module.unwrap_or_default();
    let what = if completeness.has_types {
        let shown = completeness.missing.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        let more = completeness.missing.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("this PDB lacks what analysis needs of {module}: {shown}{more}")
    } else {
        "public symbols only: no type information in this PDB".to_owned()
    };
    context.warn(&format!(
        "{}: {what}; Microsoft may have published a corrected one (`quaid fetch_pdb`), and `--graft PROFILE` or `--graft_from REPO` take types of another build",
        pdb.display()
    ));
    Ok(Outcome::SomeErrors)
}

/// Says what went in and what was left out, on stderr and in the report.
fn tell(context: &Context, input: &Path, report: &ParseReport) -> Result<()> {
    context.note(&format!(
        "{}: {} structs, {} enums, {} constants, {} functions",
        input.display(),
        report.structs,
        report.enums,
        report.constants,
        report.functions
    ));
    if report.unread_procedures > 0 {
        let count = report.unread_procedures;
        context.detail(1, &format!("{count} procedures of object files were not read; --module_symbols reads them"));
    }
    for loss in report.losses() {
        context.note(&format!("  {loss}"));
    }
    write_report(context, report)
}
