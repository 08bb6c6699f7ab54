//! `convert_profile`: the profile of a Linux or macOS kernel from its debugging information or BTF, and a profile from one form to
//! another.

use super::plugin::open_image;
use crate::context::{Context, Outcome, UsageError};
use crate::dwarf::{self, ConvertReport};
use crate::form::Form;
use crate::output::{tell_losses, write_profile, write_report};
use anyhow::{Context as _, Result, bail};
use clap::{Arg, ArgAction, ArgMatches};
use quaid_profile::{Losses, Os, Profile, ProfileFile, is_json_object};
use serde::Serialize;
use std::fs::File;
use std::path::{Path, PathBuf};

pub(crate) fn cli() -> clap::Command {
    let path = |name| Arg::new(name).value_parser(clap::value_parser!(PathBuf));
    clap::Command::new("convert_profile")
        .about("Make a Linux profile of a module with DWARF, a vmlinux, or BTF, with System.map and config, packed or not; a macOS profile of a kernel and its dSYM; or turn a profile into another form")
        .arg(
            path("source")
                .value_name("SOURCE")
                .help(
                    "A zip, folder, .deb, .rpm, tar or compressed file of them, a vmlinux, a vmlinuz, BTF \
                     (/sys/kernel/btf/vmlinux), a Mach-O file or dSYM bundle, or a profile (Rekall JSON or ISF); -f before the command names it as well",
                ),
        )
        .arg(path("target").value_name("OUTPUT").help("The profile to write; without it, stdout"))
        .arg(path("output").long("output").value_name("FILE").conflicts_with("target").help("The profile to write"))
        .arg(
            path("beside")
                .long("beside")
                .visible_aliases(["system_map", "kernel_config", "kallsyms", "btf", "base_btf"])
                .value_name("FILE")
                .action(ArgAction::Append)
                .help(
                    "A further file, told by its content: System.map or kallsyms, config, BTF, the kernel's BTF that a \
                     module's continues, split or supplementary DWARF (.dwo, .dwp, dwz's); repeatable",
                ),
        )
        .arg(
            Arg::new("profile_class")
                .long("profile_class")
                .value_name("CLASS")
                .help("ProfileClass of the profile [default: Linux or Darwin, or what a profile says itself]"),
        )
        .arg(
            Arg::new("from_image")
                .long("from_image")
                .action(ArgAction::SetTrue)
                .help("SOURCE (or -f) is a memory image: take the symbols and the BTF of the Linux kernel in it"),
        )
        .arg(
            Arg::new("arch")
                .long("arch")
                .value_name("NAME")
                .help("Of Mach-O files of several architectures, the one that is meant: arm64, x86_64, ..."),
        )
        .arg(
            Arg::new("banner")
                .long("banner")
                .value_name("TEXT")
                .help("The kernel's banner (/proc/version), by which Volatility knows a Linux profile; a module does not tell it"),
        )
        .arg(Form::arg())
}

/// `--report`: what was read, and what the form of the output cannot say.
#[derive(Serialize)]
struct Report<'r> {
    #[serde(flatten)]
    converted: Option<&'r ConvertReport>,
    not_said: Losses,
}

pub(crate) fn run(context: &Context, args: &ArgMatches) -> Result<Outcome> {
    let positional = |name| args.get_one::<PathBuf>(name).map(PathBuf::as_path);
    let from_image = args.get_flag("from_image");
    // A file of the environment or the configuration is the source only when the command line names none.
    let named = context.globals.filename.as_deref();
    let named = named.filter(|_| context.globals.filename_typed || positional("source").is_none());
    let (source, target) = match (named, positional("source"), positional("target")) {
        (Some(source), target, None) | (None, Some(source), target) => (source, target),
        (Some(source), _, Some(_)) => {
            return Err(UsageError::of(format!("the source is given twice: -f {} and an argument", source.display())));
        }
        (None, None, _) if from_image => {
            return Err(UsageError::of("which image? quaid -f IMAGE convert_profile --from_image [--output OUTPUT]"));
        }
        (None, None, _) => {
            return Err(UsageError::of(
                "no source; give the zip of module_dwarf.ko, System.map and config, a vmlinux, or BTF and a System.map: convert_profile SOURCE [OUTPUT] [--system_map FILE]",
            ));
        }
    };
    let source = without_comma(source);
    let class = args.get_one::<String>("profile_class").map(String::as_str);
    let beside: Vec<PathBuf> = args.get_many("beside").unwrap_or_default().cloned().collect();
    let text = |name| args.get_one::<String>(name).cloned();
    let options = dwarf::Options { beside: beside.clone(), profile_class: text("profile_class"), arch: text("arch") };
    let (mut profile, report) = if from_image {
        let image = open_image(context, &source)?;
        let (profile, report) = dwarf::convert_image(&source, image.memory(), &options)?;
        (profile, Some(report))
    } else if let Some(file) = opened_profile(&source)? {
        if let Some(file) = beside.first() {
            bail!("{} is a profile, and takes no further file ({})", source.display(), file.display());
        }
        let mut profile = file.decode()?;
        if let Some(arch) = args.get_one::<String>("arch") {
            bail!("{} is a profile, of one architecture: --arch {arch} has nothing to choose from", source.display());
        }
        if let Some(class) = class {
            profile.metadata.set("ProfileClass", class);
        }
        (profile, None)
    } else {
        let (profile, report) = dwarf::convert_with(&source, &options)?;
        (profile, Some(report))
    };
    if let Some(banner) = args.get_one::<String>("banner") {
        set_banner(&mut profile, banner)?;
    }

    let target = target.or(positional("output")).or(context.globals.output.as_deref());
    let form = Form::of(args);
    let not_said = write_profile(context, target, &profile, form)?;
    tell_losses(context, form, &not_said);
    write_report(context, &Report { converted: report.as_ref(), not_said })?;
    let metadata = std::mem::take(&mut profile.metadata);
    // The process ends soon: to give back the million pieces of a kernel's profile one by one takes a tenth of all the time.
    std::mem::forget(profile);
    let Some(report) = report else { return Ok(Outcome::Done) };
    let types_of = match (report.units, metadata.os()) {
        (0, Some(Os::Macos)) => "vtypes".to_owned(),
        (0, _) => "BTF".to_owned(),
        (units, _) => format!("{units} compilation units"),
    };
    context.note(&format!(
        "{}: {} structs, {} enums, {} constants, {} functions from {types_of}",
        metadata.release().or_else(|| metadata.text("UUID")).unwrap_or("release unknown"),
        report.structs,
        report.enums,
        report.constants,
        report.functions,
    ));
    for loss in report.losses() {
        context.note(&format!("  {loss}"));
    }
    Ok(if report.damaged_units.is_empty() && report.missing_files.is_empty() {
        Outcome::Done
    } else {
        Outcome::SomeErrors
    })
}

/// The profile file at `path`; `None` when the file is something else.
fn opened_profile(path: &Path) -> Result<Option<ProfileFile>> {
    if path.is_dir() {
        return Ok(None);
    }
    let cannot_read = || format!("cannot read {}", path.display());
    let is_profile = File::open(path).and_then(is_json_object).with_context(cannot_read)?;
    Ok(if is_profile { Some(ProfileFile::open(path)?) } else { None })
}

/// Records the banner that the user tells; it has to be one of this profile's kernel.
fn set_banner(profile: &mut Profile, banner: &str) -> Result<()> {
    let banner = banner.trim_end();
    if let Some(known) = profile.metadata.banner().filter(|known| *known != banner) {
        bail!("--banner is not that of this kernel, which says `{known}`");
    }
    let release = banner.strip_prefix("Linux version ").and_then(|rest| rest.split(' ').next());
    match (profile.metadata.release(), release) {
        (Some(known), Some(told)) if known != told => {
            bail!("--banner is of release {told}, and the profile of {known}");
        }
        (None, Some(told)) => profile.metadata.set("Release", told),
        _ => {}
    }
    profile.metadata.set("Banner", banner);
    Ok(())
}

/// Rekall's interactive shell, whose line the manual shows, had a comma between its arguments.
fn without_comma(source: &Path) -> PathBuf {
    let plain = source.to_str().and_then(|text| text.strip_suffix(',')).map(PathBuf::from);
    match plain {
        Some(plain) if !source.exists() && plain.exists() => plain,
        _ => source.to_owned(),
    }
}
