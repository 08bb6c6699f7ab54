//! The command line: global options, then one command, then its options. The order is strict, so that two commands may
//! give one option two meanings.

use crate::commands::{self, Run};
use crate::config;
use crate::context::{Context, Globals, Outcome, UsageError, say};
use anyhow::{Result, bail};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use quaid_analyzer::render;
use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs the program: `args[0]` is its own name. Data goes to stdout, all else to stderr.
///
/// Exit code: 0 done, 1 failed or nothing found, 2 usage, 3 done with some errors.
pub fn main(args: Vec<OsString>) -> ExitCode {
    crate::lost_map::tell();
    let args = normalised(args);
    let table = commands::all();
    let cli = table.iter().fold(globals(), |cli, command| cli.subcommand(command.cli.clone()));
    let matches = match cli.clone().try_get_matches_from(&args) {
        Ok(matches) => matches,
        Err(error) => return usage(&cli, &error, &args),
    };
    let mut debug = matches.get_flag("debug");
    let outcome = context(&matches).and_then(|context| {
        debug |= context.globals.debug;
        match matches.subcommand() {
            Some((name, args)) => match table.iter().find(|command| command.cli.get_name() == name) {
                Some(command) => run(command.run, &context, args),
                None => bail!("there is no command {name}"),
            },
            None if context.globals.filename.is_some() => without_command(&cli),
            None => Ok(Outcome::Usage),
        }
    });
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::NothingFound) => ExitCode::from(1),
        Ok(Outcome::SomeErrors) => ExitCode::from(3),
        Ok(Outcome::Usage) => {
            say(&cli.clone().render_help().to_string());
            ExitCode::from(2)
        }
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        // A command whose words are another command line.
        Err(error) if error.is::<clap::Error>() => {
            error.downcast_ref().map_or(ExitCode::from(2), |error| usage(&cli, error, &args))
        }
        Err(error) => {
            say(&format!("error: {}", chain_text(&error)));
            if debug {
                say(&error.backtrace().to_string());
            }
            ExitCode::from(if error.is::<UsageError>() { 2 } else { 1 })
        }
    }
}

fn run(run: Run, context: &Context, args: &ArgMatches) -> Result<Outcome> {
    match run {
        Run::Command(run) => run(context, args),
        Run::Plugin(name) => commands::plugin::run(name, context, args),
    }
}

/// An error and its causes on one line; a cause that the text before it tells already is not told twice.
pub(crate) fn chain_text(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text.as_str() {
        "" => cause,
        told if told.ends_with(&cause) => text,
        _ => format!("{text}: {cause}"),
    })
}

/// A reader that had enough (`quaid ... | head`) is no error.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe))
}

fn without_command(cli: &Command) -> Result<Outcome> {
    let names: Vec<&str> = cli.get_subcommands().map(Command::get_name).collect();
    bail!("the interactive shell does not exist yet: name a command after the options, one of {}", names.join(", "));
}

/// `-` and `_` are the same in option names: the table spells them with `_`, as Rekall does.
fn normalised(args: Vec<OsString>) -> Vec<OsString> {
    let mut literal = false;
    let one = |arg: OsString| {
        literal |= arg == "--";
        match arg.to_str() {
            Some(text) if text.starts_with("--") && !literal => {
                let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
                let name = format!("--{}", name.trim_start_matches("--").replace('-', "_"));
                value.map_or(name.clone(), |value| format!("{name}={value}")).into()
            }
            _ => arg,
        }
    };
    args.into_iter().map(one).collect()
}

/// The spelling of a command that has `-` for `_`.
pub(crate) fn with_alias(cli: Command) -> Command {
    let name = cli.get_name().to_owned();
    let cli = cli.infer_long_args(true);
    if name.contains('_') { cli.alias(name.replace('_', "-")) } else { cli }
}

/// What `--logging` takes.
pub(crate) const LOGGING: [&str; 5] = ["debug", "info", "warning", "error", "critical"];

/// Renderers of the ancestor and its kin that do not exist yet.
const MISSING_FORMATS: [&str; 4] = ["wide", "jsonl", "csv", "data"];

/// The program with its global options.
fn globals() -> Command {
    let value = |name: &'static str, shown: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(shown).help(help)
    };
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let path = clap::value_parser!(PathBuf);
    Command::new("quaid")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Fetch, generate, mirror and use memory-forensics profiles")
        .override_usage("quaid [GLOBAL OPTIONS] COMMAND [COMMAND OPTIONS]")
        .after_help("`quaid COMMAND --help` tells the options of a command. Options of the command go after it.")
        .infer_long_args(true)
        .disable_help_subcommand(true)
        .subcommand_help_heading("Commands and plugins")
        .subcommand_value_name("COMMAND")
        .arg(
            value("filename", "FILE", "The memory image, or the file that the command works on")
                .short('f')
                .value_parser(path.clone())
                .env("QUAID_FILENAME"),
        )
        .arg(
            value("profile", "NAME", "Profile: a name in a repository, or the path of a file")
                .short('p')
                .env("QUAID_PROFILE"),
        )
        .arg(
            value(
                "profile_path",
                "PLACE",
                "Where profiles are searched, in order: a folder, a git repository, a URL (repeatable)",
            )
            .action(ArgAction::Append)
            .alias("repository_path"),
        )
        .arg(
            Arg::new("verbose")
                .short('v')
                .long("verbose")
                .action(ArgAction::Count)
                .help("Tell each step on stderr (repeatable)"),
        )
        .arg(flag("quiet", "No progress, no hints").short('q'))
        .arg(flag("debug", "Tell all steps, and where an error came from"))
        .arg(
            value("logging", "LEVEL", "What is told on stderr: debug, info, warning, error, critical")
                .value_parser(LOGGING),
        )
        .arg(value("format", "RENDERER", "How tables are printed: text, json").alias("renderer").env("QUAID_FORMAT"))
        .arg(value("output", "FILE", "Write to this file instead of stdout").value_parser(path.clone()))
        .arg(flag("overwrite", "Allow an output file to be replaced"))
        .arg(value("pager", "PROGRAM", "Show output on a terminal through this program").env("QUAID_PAGER"))
        .arg(value("layer", "FORMAT", "Take the image, or what is packed in it, for this format; a wrong name lists them"))
        .arg(
            value(
                "runs",
                "START-END",
                "The image is raw and has these ranges of physical memory one behind the other (0x1000-0x9fc00,0x100000+0x7000000)",
            )
            .value_delimiter(',')
            .action(ArgAction::Append)
            .value_parser(memory_range),
        )
        .arg(flag(
            "no_map",
            "Read the image instead of mapping it: for disks that fail, and files that others may cut short meanwhile",
        ))
        .arg(
            value("ept", "ADDRESS", "Analyse the guest whose extended page tables (EPTP) the image has there")
                .value_parser(number),
        )
        .arg(value("dtb", "ADDRESS", "Physical address of the kernel's top page table").value_parser(number))
        .arg(
            value("kernel_slide", "BYTES", "How far the kernel runs from where it was linked")
                .value_parser(number)
                .allow_hyphen_values(true),
        )
        .arg(
            value("pagefile", "FILE", "A page file of the Windows machine (repeatable: the first one is number 0)")
                .action(ArgAction::Append)
                .value_parser(path.clone()),
        )
        .arg(value("report", "FILE", "Write a generator's JSON report to this file").value_parser(path.clone()))
        .arg(
            value(
                "allowed_signers",
                "FILE",
                "Take profiles of URLs and plain folders only if an inventory is there that an ssh key of this file signed",
            )
            .value_parser(path.clone()),
        )
        .arg(flag("offline", "Use no network"))
        .arg(value("config", "FILE", "Read this configuration file only").value_parser(path))
        .arg(value("plugin", "FILE", "Load a user's plugin (not supported yet)").hide(true))
        .arg(value("cache_dir", "FOLDER", "Session cache (not supported yet)").hide(true))
        .arg(flag(
            "autobuild",
            "Make a missing profile of a Windows kernel at once: fetch its PDB, and add it to the first repository of the profile \
             path that can be written",
        ))
}

/// A number of 64 bits: decimal, or hex after `0x`. A minus gives the two's complement, for slides.
pub(crate) fn number(text: &str) -> Result<u64, String> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let parsed = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) if !hex.starts_with('+') => u64::from_str_radix(hex, 16),
        _ => digits.parse(),
    };
    let value = parsed.map_err(|_| "not a number: decimal, or hex after 0x".to_owned())?;
    Ok(if negative { value.wrapping_neg() } else { value })
}

/// START-END, END not included, or START+LENGTH.
pub(crate) fn range(text: &str) -> Result<Range<u64>, String> {
    let (start, end) = if let Some((start, length)) = text.split_once('+') {
        let start = number(start)?;
        (start, start.checked_add(number(length)?).ok_or("it ends behind the last address")?)
    } else {
        let (start, end) = text.split_once('-').ok_or("it is of the form neither START-END nor START+LENGTH")?;
        (number(start)?, number(end)?)
    };
    if end <= start { Err("it ends before it begins".into()) } else { Ok(start..end) }
}

/// A range of the machine's memory. Lists of them, as in /proc/iomem, mostly name the last byte: taken for the one behind
/// it, all that follows would be in the wrong place.
fn memory_range(text: &str) -> Result<Range<u64>, String> {
    let run = range(text)?;
    if run.end % 2 == 1 && !text.contains('+') {
        let (start, end) = (run.start, run.end.saturating_add(1));
        return Err(format!("END is the address behind the last byte, which /proc/iomem names: {start:#x}-{end:#x}"));
    }
    Ok(run)
}

/// Command line, then environment, then configuration file, then default.
fn context(args: &ArgMatches) -> Result<Context> {
    for (option, instead) in [
        ("plugin", "there is no way to load a plugin yet; see CONTRIBUTING.md for adding one to the program"),
        ("cache_dir", "sessions are not cached yet"),
    ] {
        if args.contains_id(option) {
            bail!("--{option}: {instead}");
        }
    }
    let text = |name: &str| args.get_one::<String>(name).cloned();
    let path = |name: &str| args.get_one::<PathBuf>(name).cloned();
    let file = config::load(path("config").as_deref())?;

    let mut profile_path: Vec<String> =
        args.get_many::<String>("profile_path").into_iter().flatten().cloned().collect();
    let mut profile_path_from = "from --profile_path";
    if profile_path.is_empty()
        && let Some(list) = std::env::var_os("QUAID_PROFILE_PATH")
    {
        profile_path_from = "from $QUAID_PROFILE_PATH";
        profile_path = split_places(&list.to_string_lossy());
    }
    if profile_path.is_empty() {
        profile_path_from = "from the configuration file";
        profile_path.clone_from(&file.profile_path);
    }

    let debug = args.get_flag("debug") || file.debug;
    let level = |logging: &str| match logging {
        "debug" => 2,
        "info" => 1,
        _ => 0,
    };
    let verbose = match (args.get_count("verbose"), text("logging").or(file.logging)) {
        (0, Some(logging)) => level(&logging),
        (0, None) if debug || file.verbose => 2,
        (0, None) => 0,
        (count, _) => count.saturating_add(1),
    };

    let format = text("format").or(file.format).unwrap_or_else(|| "text".to_owned());
    let Some(format) = render::canonical_name(&format) else {
        let known = render::NAMES.join(" and ");
        if MISSING_FORMATS.iter().any(|missing| missing.eq_ignore_ascii_case(&format)) {
            bail!("--format {format}: this renderer does not exist yet; there are {known}");
        }
        bail!("--format {format}: there is no such renderer; there are {known}");
    };

    let context = Context {
        globals: Globals {
            filename: path("filename").or(file.filename),
            filename_typed: args.value_source("filename") == Some(ValueSource::CommandLine),
            profile: text("profile").or(file.profile),
            profile_path,
            profile_path_from,
            verbose,
            debug,
            quiet: args.get_flag("quiet") || file.quiet,
            format: format.to_owned(),
            output: path("output"),
            overwrite: args.get_flag("overwrite") || file.overwrite,
            pager: text("pager").or(file.pager),
            dtb: args.get_one::<u64>("dtb").copied().or(file.dtb),
            kernel_slide: args.get_one::<u64>("kernel_slide").copied().or(file.kernel_slide),
            pagefiles: match args.get_many::<PathBuf>("pagefile") {
                Some(given) => given.cloned().collect(),
                None => file.pagefiles,
            },
            ept: args.get_one::<u64>("ept").copied().or(file.ept),
            layer: text("layer").or(file.layer),
            runs: args.get_many::<Range<u64>>("runs").into_iter().flatten().cloned().collect(),
            no_map: args.get_flag("no_map") || file.no_map,
            offline: args.get_flag("offline")
                || std::env::var_os("QUAID_OFFLINE").is_some_and(|v| !v.is_empty())
                || file.offline,
            autobuild: args.get_flag("autobuild") || file.autobuild,
            report: path("report"),
            symbol_servers: file.symbol_servers,
            debuginfod_urls: file.debuginfod_urls,
            allowed_signers: path("allowed_signers").or(file.allowed_signers),
        },
    };
    if context.globals.offline {
        crate::repo::forbid_fetching();
    }
    for key in file.unknown {
        context.warn(&format!("{}: `{key}` is not a known option", file.path.display()));
    }
    Ok(context)
}

/// The places of `$QUAID_PROFILE_PATH`, separated by `:`, which URLs have in them as well.
fn split_places(list: &str) -> Vec<String> {
    let mut places: Vec<String> = Vec::new();
    for part in list.split(':').filter(|part| !part.is_empty()) {
        match places.last_mut() {
            Some(scheme) if part.starts_with("//") && matches!(scheme.as_str(), "http" | "https") => {
                *scheme = format!("{scheme}:{part}");
            }
            Some(url) if url.contains("://") && part.starts_with(|c: char| c.is_ascii_digit()) => {
                *url = format!("{url}:{part}");
            }
            _ => places.push(part.to_owned()),
        }
    }
    places
}

/// Prints help, version, or what is wrong with the command line.
fn usage(cli: &Command, error: &clap::Error, args: &[OsString]) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // A closed pipe here is the reader's own choice.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if let Some(line) = misplaced(cli, error, args) {
        say(&format!("error: {line}"));
    } else {
        let _ = error.print();
    }
    ExitCode::from(2)
}

/// The line for an option on the wrong side of the command, and for a prefix that means several.
fn misplaced(cli: &Command, error: &clap::Error, args: &[OsString]) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidArg) else { return None };
    let given = given.split('=').next().unwrap_or_default();
    let of = |command: &Command| -> Vec<String> {
        let longs = command.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(Arg::get_long);
        let mut names: Vec<String> =
            longs.map(|long| format!("--{long}")).filter(|long| given.len() > 2 && long.starts_with(given)).collect();
        let shorts = command.get_arguments().filter_map(Arg::get_short).map(|short| format!("-{short}"));
        names.extend(shorts.filter(|short| !given.starts_with("--") && given.starts_with(short.as_str())));
        names
    };
    // clap tells the command by its usage line, "Usage: quaid pslist ...".
    let usage = error.get(ContextKind::Usage).map(ToString::to_string).unwrap_or_default();
    let command = usage.split_whitespace().nth(2).and_then(|word| cli.find_subcommand(word));
    let here = command.unwrap_or(cli);
    let candidates = of(here);
    if candidates.len() > 1 {
        return Some(format!("`{given}` may mean {}: give more of the name", candidates.join(" or ")));
    }
    if let Some(command) = command {
        let name = command.get_name();
        return of(cli).first().map(|global| {
            format!("`{global}` is a global option: it goes before the command, `quaid {global} ... {name}`")
        });
    }
    let owners: Vec<&str> =
        cli.get_subcommands().filter(|command| !of(command).is_empty()).map(Command::get_name).collect();
    let typed = args.iter().filter_map(|arg| arg.to_str()).find(|arg| owners.contains(arg));
    let owner = typed.or(owners.first().copied())?;
    let owners = owners.join(", ");
    Some(format!("`{given}` is an option of {owners}: it goes after the command, `quaid {owner} {given} ...`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_the_environment_may_be_urls() {
        assert_eq!(split_places("/a:https://x.org:8080/p:b"), ["/a", "https://x.org:8080/p", "b"]);
    }

    #[test]
    fn numbers_are_decimal_hex_or_negative() {
        assert_eq!(number("-0x10"), Ok(0_u64.wrapping_sub(16)));
        assert_eq!((number("0X1f"), number("31")), (Ok(31), Ok(31)));
        assert!(number("0x+1").is_err() && number("x").is_err() && number("18446744073709551616").is_err());
    }

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::Error::new(io::Error::other("gone")).context("cannot open x: gone").context("outer");
        assert_eq!(chain_text(&error), "outer: cannot open x: gone");
    }
}
