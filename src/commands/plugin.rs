//! The analyzer's plugins as commands.

use super::Command;
use super::autobuild::autobuild;
use crate::cli::with_alias;
use crate::context::{Context, Globals, Outcome, UsageError};
use crate::dwarf;
use crate::output::Output;
use crate::sources::OneProfile;
use crate::{commands::Run, sources};
use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Arg, ArgAction, ArgMatches};
use quaid_analyzer::image::{self, Image, PhysicalMemory};
use quaid_analyzer::paging::{GuestMemory, Pagefile};
use quaid_analyzer::plugins::{self, Plugin};
use quaid_analyzer::{Args, Evidence, Identity, OpenError, Opt, Options, Session, Value, render};
use quaid_profile::ProfilePath;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// The plugins, those of several operating systems under one name once, with the options of all.
pub(crate) fn all() -> Vec<Command> {
    let mut by_name: BTreeMap<&'static str, Vec<&'static Plugin>> = BTreeMap::new();
    for plugin in plugins::all() {
        by_name.entry(plugin.name).or_default().push(plugin);
    }
    by_name.into_iter().map(|(name, plugins)| Command { cli: cli(name, &plugins), run: Run::Plugin(name) }).collect()
}

fn cli(name: &'static str, plugins: &[&'static Plugin]) -> clap::Command {
    let systems: Vec<&str> = plugins.iter().filter_map(|plugin| plugin.os).map(system).collect();
    let about = plugins.first().map_or("", |plugin| plugin.about);
    let about = if systems.is_empty() { about.to_owned() } else { format!("{about} ({})", systems.join(", ")) };
    let mut cli = clap::Command::new(name).about(about);
    for option in options(plugins) {
        cli = cli.arg(arg(option));
    }
    with_alias(cli)
}

fn system(os: quaid_profile::Os) -> &'static str {
    match os {
        quaid_profile::Os::Windows => "Windows",
        quaid_profile::Os::Linux => "Linux",
        quaid_profile::Os::Macos => "macOS",
    }
}

/// The options of all, each once: the analyzer's tests hold that a shared name means the same.
fn options(plugins: &[&'static Plugin]) -> Vec<&'static Opt> {
    let mut options: Vec<&Opt> = Vec::new();
    for option in plugins.iter().flat_map(|plugin| plugin.options) {
        if !options.iter().any(|known| known.name == option.name) {
            options.push(option);
        }
    }
    options
}

fn arg(option: &'static Opt) -> Arg {
    let shown = match option.value {
        Value::Int => "NUMBER",
        Value::Address => "ADDRESS",
        Value::Regex => "REGEX",
        Value::Text => "TEXT",
    };
    let arg = Arg::new(option.name).help(option.help);
    let arg = if option.positional {
        arg.required(true).value_name(option.name.to_uppercase())
    } else {
        arg.long(option.name).value_name(shown)
    };
    if option.many { arg.num_args(1..).action(ArgAction::Append) } else { arg.num_args(1).action(ArgAction::Set) }
}

/// Runs the plugin `name` on the image.
pub(crate) fn run(name: &str, context: &Context, matches: &ArgMatches) -> Result<Outcome> {
    let globals = &context.globals;
    let Some(path) = &globals.filename else {
        return Err(UsageError::of(format!("{name} needs an image: quaid -f IMAGE {name}")));
    };
    if globals.report.is_some() {
        bail!("--report is of parse_pdb and convert_profile: {name} makes none");
    }
    let image = open_machine(context, path)?;
    let guest = globals.ept.map(|eptp| GuestMemory::new(image.memory(), eptp)).transpose();
    let guest = guest.with_context(|| format!("{}: --ept", path.display()))?;
    let memory = guest.as_ref().map_or(image.memory(), |guest| guest);
    let profiles = sources::open(context);
    let pagefiles: Result<Vec<_>, _> =
        globals.pagefiles.iter().map(|file| Pagefile::open(file, globals.no_map)).collect();
    let options = Options {
        profile: globals.profile.clone(),
        dtb: globals.dtb,
        kernel_slide: globals.kernel_slide,
        pagefiles: pagefiles.context("--pagefile")?,
        // The headers are those of the machine outside.
        hints: if guest.is_some() { image::Hints::default() } else { image.hints.clone() },
    };
    let mut observe = |step: &str| context.detail(if step.starts_with("Loaded ") { 1 } else { 2 }, step);
    let mut opened = Session::open(memory, &profiles, &options, &mut observe);
    if let Err(error) = &opened
        && autobuild(context, error).with_context(|| format!("{}: {error}", path.display()))?
    {
        opened = Session::open(memory, &sources::open(context), &options, &mut observe);
    }
    let session = match opened {
        Ok(session) => session,
        Err(error) => match without_identity(context, path, memory, &profiles, &options, &error) {
            Some(session) => session,
            None => bail!("{}: {error}{}", path.display(), next_steps(&error, path, &globals.profile_path)),
        },
    };

    let decided = format!("profile {} decided by: {}", session.profile_name(), session.evidence());
    match session.evidence() {
        // That was told already.
        Evidence::Named if session.profile_name() == IMAGE_ITSELF => {}
        Evidence::Named | Evidence::Record(_) | Evidence::Banner { .. } | Evidence::BuildId(_) => {
            context.detail(1, &decided);
        }
        Evidence::Exports { .. } | Evidence::Data { .. } | Evidence::SymbolOffsets { .. } => context.warn(&decided),
    }
    if let Some(from) = session.profile().metadata().text("GraftedFrom") {
        context.warn(&format!("the profile has types of another build ({from}); what follows may be wrong"));
    }
    if !options.pagefiles.is_empty() && session.os() != quaid_profile::Os::Windows {
        context.warn("--pagefile is for images of Windows: it is not used");
    }
    let Some(plugin) = plugins::find(name, session.os()) else {
        bail!("{}: there is no {name} for {} images", path.display(), system(session.os()));
    };
    let given = plugin_args(matches);
    plugin.check(&given)?;
    let mut out = Output::open(context)?;
    let summary = {
        let mut renderer =
            render::renderer(&globals.format, plugin.columns, &mut out).context("the renderer is not known")?;
        plugin.run(&session, &given, renderer.as_mut())?
    };
    out.finish()?;

    for problem in &summary.problems {
        context.warn(problem);
    }
    if let Some(why) = &summary.first_unreadable {
        context.warn(&format!("{} cells could not be read; the first: {why}", summary.unreadable));
    }
    if summary.rows == 0 {
        context.note(&format!("{name}: nothing in {} fits what was asked for", path.display()));
    }
    Ok(match (summary.rows, summary.problems.is_empty() && summary.unreadable == 0) {
        (_, false) => Outcome::SomeErrors,
        (0, true) => Outcome::NothingFound,
        (_, true) => Outcome::Done,
    })
}

/// The last ways to a profile of a Linux kernel, when no place has one by its banner or build-id: where its symbols are, then
/// what it carries with it.
fn without_identity<'m>(
    context: &Context,
    path: &Path,
    memory: &'m dyn PhysicalMemory,
    profiles: &ProfilePath,
    options: &Options,
    error: &OpenError,
) -> Option<Session<'m>> {
    let OpenError::NoProfile { found, .. } = error else { return None };
    if !found.iter().any(|identity| matches!(identity, Identity::Linux { .. })) {
        return None;
    }
    by_symbol_offsets(context, path, memory, profiles, options)
        .or_else(|| of_image_itself(context, path, memory, options))
}

/// How many traits must be compared before they tell a build.
const MIN_TRAITS: usize = 3;

/// By Rekall's symbol-offset index. What fits in part only, and what fits several profiles, is told and not taken.
fn by_symbol_offsets<'m>(
    context: &Context,
    path: &Path,
    memory: &'m dyn PhysicalMemory,
    profiles: &ProfilePath,
    options: &Options,
) -> Option<Session<'m>> {
    let mut symbols = || {
        context.detail(2, "Looking for the kernel's symbols in the image, for the symbol-offset index");
        dwarf::image_symbols(path, memory).unwrap_or_else(|why| {
            context.detail(1, &why.to_string());
            HashMap::new()
        })
    };
    let mut observe = |step: &str| context.detail(2, step);
    let found = profiles.by_symbols(&mut symbols, &mut |step| observe(&step.to_string()))?;
    let best = found.first()?;
    let (name, matched, compared) = (&best.profile, best.matched, best.compared);
    let why = if let [_, other, ..] = found.as_slice() {
        format!("the kernel has traits of {} as well", other.profile)
    } else if !best.is_exact() {
        "only a partial match".to_owned()
    } else if compared < MIN_TRAITS {
        format!("less than {MIN_TRAITS} could be compared")
    } else {
        let options = Options { profile: Some(name.clone()), ..options.clone() };
        match Session::open(memory, profiles, &options, &mut observe) {
            Ok(session) => return Some(session.with_evidence(Evidence::SymbolOffsets { matched, compared })),
            Err(why) => why.to_string(),
        }
    };
    context.warn(&format!(
        "{matched} of {compared} traits of {name} fit by the symbol-offset index, and it is not taken: {why}; `--profile {name}` tries it all the same"
    ));
    None
}

/// What the profile that is made of the image is called.
const IMAGE_ITSELF: &str = "image-itself";

/// Of a kernel that carries its symbols and types.
fn of_image_itself<'m>(
    context: &Context,
    path: &Path,
    memory: &'m dyn PhysicalMemory,
    options: &Options,
) -> Option<Session<'m>> {
    context.detail(2, "No place has the profile; looking for the kernel's symbols and BTF in the image itself");
    let made = dwarf::convert_image(path, memory, &dwarf::Options::default());
    let profile = made.map_err(|why| context.detail(1, &why.to_string())).ok()?.0;
    let source = OneProfile { name: IMAGE_ITSELF, text: profile.to_rekall() };
    let options = Options { profile: Some(IMAGE_ITSELF.to_owned()), ..options.clone() };
    let profiles = ProfilePath::new(vec![Box::new(source)]);
    let mut observe = |step: &str| context.detail(2, step);
    let session = Session::open(memory, &profiles, &options, &mut observe);
    let session = session.map_err(|why| context.detail(1, &why.to_string())).ok()?;
    context.note(&format!(
        "there is no profile for this kernel: its own symbols and BTF, found in the image, are used; `quaid convert_profile --from_image {} OUTPUT` keeps them as a profile",
        path.display()
    ));
    Some(session)
}

fn plugin_args(matches: &ArgMatches) -> Args {
    let values = |id: &clap::Id| matches.get_many::<String>(id.as_str()).into_iter().flatten().cloned().collect();
    Args::new(matches.ids().map(|id| (id.as_str().to_owned(), values(id))))
}

/// Opens an image for what knows of no guest in it.
pub(crate) fn open_image(context: &Context, path: &Path) -> Result<Image> {
    if context.globals.ept.is_some() {
        bail!(
            "--ept is of plugins, which look into the guest: this command has the memory of the machine outside alone"
        );
    }
    open_machine(context, path)
}

/// Opens an image and tells how its format was found.
fn open_machine(context: &Context, path: &Path) -> Result<Image> {
    let Globals { layer, runs, no_map, .. } = &context.globals;
    let options = image::Options { format: layer.clone(), runs: runs.clone(), no_map: *no_map };
    let image = image::open(path, &options).map_err(|error| match error {
        image::OpenError::Refused { .. } if options.format.is_none() => {
            anyhow!("{error}; `--layer raw` before the command takes the file as it is")
        }
        other => other.into(),
    })?;
    let mut round = 0;
    for ballot in &image.ballots {
        if ballot.round != round {
            round = ballot.round;
            context.detail(2, "Voting round");
        }
        context.detail(2, &ballot.to_string());
    }
    context.detail(1, &format!("Autodetected physical address space {}", image.describe()));
    for warning in &image.warnings {
        context.warn(&format!("{}: {warning}", path.display()));
    }
    context.globals.output.as_deref().map_or(Ok(()), |out| refuse_source(&image, out))?;
    Ok(image)
}

/// Refuses to replace a file that the image is read from, by whatever name: the rest of the image would be worth nothing.
pub(crate) fn refuse_source(image: &Image, out: &Path) -> Result<()> {
    let is_out = |part: &&PathBuf| {
        // What is no file is never replaced, and to open a pipe would wait for its writer.
        out.is_file() && part.is_file() && same_file::is_same_file(part, out).unwrap_or(false)
    };
    match image.files.iter().find(is_out) {
        Some(part) if image.files.first() == Some(part) => {
            bail!("{} is the image itself: name another file", out.display())
        }
        Some(part) => {
            bail!("{} is {}, which the image is read from as well: name another file", out.display(), part.display())
        }
        None => Ok(()),
    }
}

/// What to type next when the profile is missing, a line each; nothing for other errors.
fn next_steps(error: &OpenError, image: &Path, profile_path: &[String]) -> String {
    // New profiles go into the first repository on this machine.
    let repository = profile_path
        .iter()
        .find(|place| Path::new(place).join(".git").exists() || Path::new(place).join("HEAD").is_file());
    let steps = error.next_steps(&image.display().to_string(), repository.map(String::as_str));
    if steps.is_empty() { String::new() } else { format!("\nWhat to do next:\n  {}", steps.join("\n  ")) }
}
