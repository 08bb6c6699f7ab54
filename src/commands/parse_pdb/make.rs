//! One PDB to its profile: parsed with what the options say, its image looked for, missing types taken from elsewhere where
//! that was asked for, and checked for completeness. What there is to say waits for its turn.

use crate::cli::chain_text;
use crate::completeness::Completeness;
use crate::context::{Context, Outcome};
use crate::input::{self, shown};
use crate::pdb::{self, Image, ParseOptions, ParseReport, Parsed, Progress};
use crate::{graft, pe, sources};
use anyhow::{Context as _, Result, anyhow};
use clap::ArgMatches;
use quaid_profile::Profile;
use std::path::{Path, PathBuf};

/// How many missing things a message names.
const SHOWN: usize = 8;

/// The profile of a PDB.
pub(super) struct Made {
    pub(super) profile: Profile,
    pub(super) report: ParseReport,
    /// [`Outcome::SomeErrors`] when it lacks what analysis needs.
    pub(super) outcome: Outcome,
    pub(super) says: Says,
}

/// Lines for stderr.
#[derive(Default)]
pub(super) struct Says(Vec<Line>);

enum Line {
    /// With its level.
    Detail(u8, String),
    Note(String),
    Warning(String),
}

impl Says {
    pub(super) fn tell(&self, context: &Context) {
        for line in &self.0 {
            match line {
                Line::Detail(level, text) => context.detail(*level, text),
                Line::Note(text) => context.note(text),
                Line::Warning(text) => context.warn(text),
            }
        }
    }
}

/// Makes the profile of `file`, whose bytes are `bytes`.
pub(super) fn make(
    context: &Context,
    args: &ArgMatches,
    file: &Path,
    bytes: Vec<u8>,
    progress: Progress<'_>,
) -> Result<Made> {
    let text = |name| args.get_one::<String>(name).cloned();
    let mut says = Says::default();
    let compat = args.get_flag("rekall_compat");
    let options = ParseOptions {
        image: if compat { None } else { image(file, args.get_one("pe"), &bytes, &mut says)? },
        file_name: file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        profile_class: text("profile_class"),
        windows_version: text("windows_version"),
        concise: args.get_flag("concise"),
        module_symbols: args.get_flag("module_symbols"),
        demangle: args.get_flag("demangle"),
        rekall_compat: compat,
    };
    let parsed = pdb::parse(&bytes, &options, progress).with_context(|| format!("cannot parse {}", shown(file)))?;
    drop(bytes);
    let Parsed { mut profile, report } = parsed;
    if compat {
        says.0.push(Line::Warning(format!(
            "{}: with the faults of the original Rekall (--rekall_compat): to compare with, not to analyse with",
            shown(file)
        )));
        return Ok(Made { profile, report, outcome: Outcome::Done, says });
    }
    take_types(context, args, file, &mut profile, &mut says)?;
    let outcome = complete(file, &mut profile, &mut says);
    Ok(Made { profile, report, outcome, says })
}

/// The image that the user names, which must be the PDB's, or one that stands beside the PDB and is.
fn image(pdb: &Path, named: Option<&PathBuf>, bytes: &[u8], says: &mut Says) -> Result<Option<Image>> {
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
                says.0.push(Line::Detail(1, format!("{} is the image of the PDB", path.display())));
                return Ok(Some(image));
            }
            Err(why) => says.0.push(Line::Note(format!("{} is not used: {}", path.display(), chain_text(&why)))),
        }
    }
    Ok(None)
}

/// Takes what `profile` lacks from another build, where that was asked for.
fn take_types(context: &Context, args: &ArgMatches, pdb: &Path, profile: &mut Profile, says: &mut Says) -> Result<()> {
    let text = |name| args.get_one::<String>(name);
    let donor = match (text("graft"), text("graft_from")) {
        (Some(name), _) => {
            let found = sources::open(context).load(name, &mut |step| says.0.push(Line::Detail(2, step.to_string())));
            found.and_then(|found| Ok(found.profile.decode()?)).with_context(|| format!("cannot graft {name}"))?
        }
        (None, Some(place)) => {
            let source = sources::source(context, place).map_err(|why| anyhow!("cannot graft from {place}: {why}"))?;
            graft::nearest(source, &profile.metadata).with_context(|| format!("cannot graft from {place}"))?
        }
        (None, None) => return Ok(()),
    };
    let grafted = graft::graft(profile, &donor).context("cannot graft")?;
    let from = profile.metadata.text("GraftedFrom").unwrap_or_default();
    says.0.push(Line::Warning(format!(
        "{}: {} types are not of this build, but of {from}; $METADATA.Grafted names them",
        shown(pdb),
        grafted.types.len()
    )));
    let refused = grafted.refused.iter();
    says.0.extend(refused.map(|name| {
        Line::Note(format!("  not grafted: {name} (it holds a type that has another size in this build)"))
    }));
    Ok(())
}

/// Says what the profile lacks that analysis needs, and records it in the profile.
fn complete(pdb: &Path, profile: &mut Profile, says: &mut Says) -> Outcome {
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
            says.0.push(Line::Note("  public symbols only: no type information".to_owned()));
        }
        return Outcome::Done;
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
    says.0.push(Line::Warning(format!(
        "{}: {what}; Microsoft may have published a corrected one (`quaid fetch_pdb`), and `--graft PROFILE` or `--graft_from REPO` take types of another build",
        shown(pdb)
    )));
    Outcome::SomeErrors
}
