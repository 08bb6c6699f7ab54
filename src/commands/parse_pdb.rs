//! `parse_pdb`: a PDB to a profile, or many.

mod batch;
mod make;

use crate::context::{Context, Outcome, UsageError};
use crate::form::Form;
use crate::input;
use crate::output::{tell_losses, write_profile, write_report};
use crate::pdb::{self, ParseReport};
use anyhow::{Context as _, Result, bail};
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use make::{Made, make};
use quaid_profile::Losses;
use serde::Serialize;
use std::path::{Path, PathBuf};

pub(crate) fn cli() -> clap::Command {
    let path = |name| Arg::new(name).value_parser(value_parser!(PathBuf));
    clap::Command::new("parse_pdb")
        .about("Make a profile from a PDB, or from many")
        .long_about(
            "Make a profile from a PDB, or from many. One PDB goes to --output or stdout; several, a folder (all .pdb files \
             in it and below), or one with --dump_dir and no --output go to NAME.json in that folder, or to \
             NAME-GUIDAGE.json where several PDBs have the name, and the files' paths go to stdout.",
        )
        .arg(
            path("pdb")
                .value_name("PDB")
                .num_args(0..)
                .help("The PDB, several, or folders of them; -f before or after the command names one as well"),
        )
        .arg(path("filename").short('f').long("filename").value_name("PDB").conflicts_with("pdb").help("The same"))
        .arg(
            path("output")
                .long("output")
                .visible_alias("output_filename")
                .value_name("FILE")
                .help("Write the profile here, not to stdout; a profile of the same build that is there is replaced"),
        )
        .arg(path("dump_dir").short('D').long("dump_dir").value_name("DIR").help("Folder of the output file or files"))
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
        .arg(Form::arg())
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
        .arg(
            Arg::new("rekall_compat")
                .long("rekall_compat")
                .action(ArgAction::SetTrue)
                .conflicts_with_all(["pe", "graft", "graft_from", "module_symbols", "demangle"])
                .help("What the original Rekall made of the PDB, its faults included: to compare with, not to analyse with"),
        )
}

/// `--report`: what was read, and what the form of the output cannot say.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    parsed: ParseReport,
    not_said: Losses,
}

pub(crate) fn run(context: &Context, args: &ArgMatches) -> Result<Outcome> {
    let path = |name| args.get_one::<PathBuf>(name);
    let named = args.get_many::<PathBuf>("pdb").or_else(|| args.get_many("filename"));
    let inputs: Vec<&PathBuf> = match (named, &context.globals.filename) {
        (Some(_), Some(other)) if context.globals.filename_typed => {
            return Err(UsageError::of(format!(
                "the PDB is given twice: -f {} and after the command",
                other.display()
            )));
        }
        (Some(inputs), _) => inputs.collect(),
        (None, Some(input)) => vec![input],
        (None, None) => return Err(UsageError::of("which PDB? quaid parse_pdb NTKRNLMP.PDB --output PROFILE")),
    };
    let form = Form::of(args);
    if args.get_flag("rekall_compat") && form != Form::Rekall {
        bail!(
            "--rekall_compat has the form of Rekall's profiles only, not {}: leave out --to, or --rekall_compat",
            form.name()
        );
    }
    let output = path("output").or(context.globals.output.as_ref());
    let file = match (&inputs[..], path("dump_dir"), output) {
        ([file], None, _) | ([file], _, Some(_)) if !file.is_dir() => file,
        ([folder], _, Some(output)) => bail!(
            "{} is a folder, and its PDBs do not go to one file, {}: give --dump_dir FOLDER in its place",
            folder.display(),
            output.display()
        ),
        (_, _, Some(output)) => {
            bail!("several PDBs do not go to one file, {}: give --dump_dir FOLDER in its place", output.display())
        }
        (_, None, None) => bail!("where do the profiles of several PDBs go? Add --dump_dir FOLDER"),
        (_, Some(_), None) if path("pe").is_some() => bail!("--pe is the image of one PDB, and here are several"),
        (_, Some(folder), None) => return batch::run(context, args, &inputs, folder),
    };
    let bytes = read(file)?;
    let bar = context.progress("", Some(100), false);
    let made = make(context, args, file, bytes, &mut |what, percent| {
        bar.set_message(what);
        bar.set_position(percent);
    });
    bar.finish_and_clear();
    let Made { profile, report, outcome, says } = made?;
    tell(context, file, &report);
    says.tell(context);
    let output = output.map(|output| path("dump_dir").map_or_else(|| output.clone(), |folder| folder.join(output)));
    let not_said = write_profile(context, output.as_deref(), &profile, form)?;
    tell_losses(context, form, &not_said);
    write_report(context, &Report { parsed: report, not_said })?;
    Ok(outcome)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    input::read(file, pdb::MAX_FILE_BYTES).with_context(|| format!("cannot read {}", file.display()))
}

/// Says on stderr what went in and what was left out.
fn tell(context: &Context, input: &Path, report: &ParseReport) {
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
}
