//! `convert_profile`: the profile of a Linux kernel from its debugging information or BTF.

use crate::context::{Context, Outcome};
use crate::dwarf;
use crate::output::{Output, write_profile, write_report};
use anyhow::{Result, bail};
use clap::{Arg, ArgAction, ArgMatches};
use std::io::Write;
use std::path::{Path, PathBuf};

pub(crate) fn cli() -> clap::Command {
    let path = |name| Arg::new(name).value_parser(clap::value_parser!(PathBuf));
    clap::Command::new("convert_profile")
        .about("Make a Linux profile: from a module with DWARF, a vmlinux, or BTF, with System.map and config, packed or not")
        .arg(
            path("source")
                .value_name("SOURCE")
                .help(
                    "A zip, folder, .deb, .rpm, tar or compressed file of them, a vmlinux, a vmlinuz, or BTF \
                     (/sys/kernel/btf/vmlinux); -f before the command names it as well",
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
                     module's continues; repeatable",
                ),
        )
        .arg(
            Arg::new("banner")
                .long("banner")
                .value_name("TEXT")
                .help("The kernel's banner (`Linux version ...`), where the files do not have it"),
        )
        .arg(
            Arg::new("profile_class")
                .long("profile_class")
                .value_name("CLASS")
                .default_value("Linux")
                .help("ProfileClass of the profile"),
        )
}

pub(crate) fn run(context: &Context, args: &ArgMatches) -> Result<Outcome> {
    let positional = |name| args.get_one::<PathBuf>(name).map(PathBuf::as_path);
    // A file of the environment or the configuration is the source only when the command line names none.
    let named = context.globals.filename.as_deref();
    let named = named.filter(|_| context.globals.filename_typed || positional("source").is_none());
    let (source, target) = match (named, positional("source"), positional("target")) {
        (Some(source), target, None) | (None, Some(source), target) => (source, target),
        (Some(source), _, Some(_)) => bail!("the source is given twice: -f {} and an argument", source.display()),
        (None, None, _) => bail!(
            "no source; give the zip of module_dwarf.ko, System.map and config, a vmlinux, or BTF and a System.map: convert_profile SOURCE [OUTPUT] [--system_map FILE]"
        ),
    };
    let source = without_comma(source);
    let options = dwarf::Options {
        beside: args.get_many::<PathBuf>("beside").unwrap_or_default().cloned().collect(),
        profile_class: args.get_one::<String>("profile_class").map_or("Linux", String::as_str).to_owned(),
        banner: args.get_one::<String>("banner").cloned(),
    };
    let (profile, report) = dwarf::convert_with(&source, &options)?;

    if let Some(path) = target.or(positional("output")).or(context.globals.output.as_deref()) {
        write_profile(context, path, &profile)?;
    } else {
        let mut out = Output::open(context)?;
        out.write_all(profile.to_rekall().as_bytes())?;
        out.finish()?;
    }
    write_report(context, &report)?;
    context.note(&format!(
        "{}: {} structs, {} enums, {} constants, {} functions from {}",
        profile.metadata.release().unwrap_or("release unknown"),
        report.structs,
        report.enums,
        report.constants,
        report.functions,
        if report.units == 0 { "BTF".to_owned() } else { format!("{} compilation units", report.units) }
    ));
    for loss in report.losses() {
        context.note(&format!("  {loss}"));
    }
    Ok(if report.damaged_units.is_empty() { Outcome::Done } else { Outcome::SomeErrors })
}

/// Rekall's interactive shell, whose line the manual shows, had a comma between its arguments.
fn without_comma(source: &Path) -> PathBuf {
    let plain = source.to_str().and_then(|text| text.strip_suffix(',')).map(PathBuf::from);
    match plain {
        Some(plain) if !source.exists() && plain.exists() => plain,
        _ => source.to_owned(),
    }
}
