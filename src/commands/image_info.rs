//! `image_info`: what an image holds, what it lacks, and what its headers tell of the machine.

use super::plugin::{open_image, refuse_source};
use crate::context::{Context, Outcome, UsageError};
use crate::output::{Output, printable, write_file};
use crate::physical_map::PhysicalMap;
use anyhow::{Context as _, Result, bail};
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use indicatif::HumanBytes;
use quaid_analyzer::image::{self, Digest, Gap, GapKind, Image, Run};
use quaid_analyzer::render;
use quaid_analyzer::table::{Cell, Column};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const RANGES: &[Column] = &[
    Column::address("start", "Start"),
    Column::address("end", "End"),
    Column::int("bytes", "Bytes", 14),
    Column::address("file_offset", "File Offset"),
    Column::text("kind", "Kind", 12),
];

const DIGESTS: &[Column] = &[
    Column::text("digest", "Digest", 6),
    Column::text("verdict", "Verdict", 10),
    Column::text("stored", "Stored", 40),
    Column::text("computed", "Computed", 40),
];

/// Its options and help.
pub(crate) fn cli() -> clap::Command {
    clap::Command::new("image_info")
        .about("Show an image's format, what memory it holds and lacks, and what it tells of the machine")
        .arg(Arg::new("ranges").long("ranges").action(ArgAction::SetTrue).help(
            "A line for each range that is there or is told missing: first address, the one behind the last, \
                 place in the layer that holds it as it is",
        ))
        .arg(
            Arg::new("png")
                .long("png")
                .value_name("OUT")
                .value_parser(value_parser!(PathBuf))
                .help("Draw the memory into this file: what is used, zero, missing and why; reads all of it"),
        )
        .arg(
            Arg::new("verify").long("verify").action(ArgAction::SetTrue).conflicts_with_all(["ranges", "png"]).help(
                "Compare the digests that an EWF image (E01) carries with those of its contents; reads all of it",
            ),
        )
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("The image; by default that of -f"),
        )
}

/// Does it.
pub(crate) fn run(context: &Context, args: &ArgMatches) -> Result<Outcome> {
    let path = args.get_one::<PathBuf>("file").or(context.globals.filename.as_ref());
    let path = path.ok_or_else(|| UsageError::of("which image? quaid -f IMAGE image_info"))?;
    if args.get_flag("verify") {
        return verify(context, path);
    }
    let image = open_image(context, path)?;
    if let Some(to) = args.get_one::<PathBuf>("png") {
        refuse_source(&image, to)?;
        draw(context, &image, to)?;
    }
    let mut out = Output::open(context)?;
    if args.get_flag("ranges") {
        write_ranges(context, &mut out, &image)?;
    } else {
        let info = Info::of(path, &image);
        if context.globals.format == "json" {
            // As an io::Error, which tells a closed pipe from a failure.
            serde_json::to_writer_pretty(&mut out, &info.to_json()).map_err(io::Error::from)?;
            writeln!(out)?;
        } else {
            info.write_text(&mut out)?;
        }
    }
    out.finish()?;
    Ok(Outcome::Done)
}

/// The digests of an EWF image. That they differ is an answer, and what makes it fail as well.
fn verify(context: &Context, path: &Path) -> Result<Outcome> {
    let no_map = context.globals.no_map;
    let of_contents = image::Options { format: Some("EWF".into()), no_map, ..image::Options::default() };
    let image = image::open(path, &of_contents).with_context(|| {
        format!("{}: --verify is for EWF images, which carry digests of their contents", path.display())
    })?;
    for warning in &image.warnings {
        context.warn(&format!("{}: {warning}", path.display()));
    }
    context.globals.output.as_deref().map_or(Ok(()), |out| refuse_source(&image, out))?;
    let bytes = image.runs().iter().map(|run| run.bytes).sum();
    let bar = context.progress("verifying", Some(bytes), true);
    let digests = image::digests(&image, &mut |more| bar.inc(more));
    bar.finish_and_clear();
    let digests = digests.with_context(|| format!("{}: its contents cannot be verified", path.display()))?;
    let mut out = Output::open(context)?;
    let mut table =
        render::renderer(&context.globals.format, DIGESTS, &mut out).context("the renderer is not known")?;
    for digest in &digests {
        let stored = digest.stored.clone().map_or(Cell::Absent, Into::into);
        table.row(&[digest.name.into(), verdict(digest).into(), stored, digest.computed.clone().into()])?;
    }
    table.finish()?;
    drop(table);
    out.finish()?;
    let equal = digests.iter().filter(|digest| digest.stored.is_some()).all(|digest| verdict(digest) == EQUAL);
    if !equal {
        bail!("{}: its contents are not what was acquired: a digest differs", path.display());
    }
    let any = digests.iter().any(|digest| digest.stored.is_some());
    Ok(if any { Outcome::Done } else { Outcome::NothingFound })
}

const EQUAL: &str = "equal";

fn verdict(digest: &Digest) -> &'static str {
    match &digest.stored {
        Some(stored) if *stored == digest.computed => EQUAL,
        Some(_) => "not equal",
        None => "not stored",
    }
}

/// The physical map, whose legend goes to stderr.
fn draw(context: &Context, image: &Image, to: &Path) -> Result<()> {
    let bar = context.progress("drawing", Some(image.runs().iter().map(|run| run.bytes).sum()), true);
    let map = PhysicalMap::of(image.memory(), &mut |more| bar.inc(more));
    bar.finish_and_clear();
    write_file(to, context.globals.overwrite, |file| Ok(map.write_png(file)?))?;
    context.note(&format!("{}: {}", to.display(), map.legend()));
    Ok(())
}

/// Runs and gaps, in the order of their addresses.
fn write_ranges(context: &Context, out: &mut Output, image: &Image) -> Result<()> {
    let mut table = render::renderer(&context.globals.format, RANGES, out).context("the renderer is not known")?;
    let row = |start: u64, bytes: u64, file_offset: Option<u64>, kind: &str| {
        let end = start.saturating_add(bytes);
        let offset = file_offset.map_or(Cell::Absent, Cell::Address);
        [Cell::Address(start), Cell::Address(end), bytes.into(), offset, kind.into()]
    };
    let mut gaps = image.gaps().iter().peekable();
    for run in image.runs() {
        while let Some(gap) = gaps.next_if(|gap| gap.start < run.start) {
            table.row(&row(gap.start.0, gap.bytes, None, gap.why.name()))?;
        }
        table.row(&row(run.start.0, run.bytes, run.file_offset, "memory"))?;
    }
    for gap in gaps {
        table.row(&row(gap.start.0, gap.bytes, None, gap.why.name()))?;
    }
    Ok(table.finish()?)
}

/// How many ranges there are of one kind, and how long they are together.
#[derive(Default, Clone, Copy)]
struct Total {
    ranges: usize,
    bytes: u64,
}

impl Total {
    fn of(lengths: impl Iterator<Item = u64>) -> Self {
        lengths.fold(Self::default(), |total, bytes| Self {
            ranges: total.ranges + 1,
            bytes: total.bytes.saturating_add(bytes),
        })
    }

    fn text(self) -> String {
        let ranges = if self.ranges == 1 { "range" } else { "ranges" };
        format!("{} bytes ({}) in {} {ranges}", self.bytes, HumanBytes(self.bytes), self.ranges)
    }

    fn json(self) -> Value {
        json!({ "bytes": self.bytes, "ranges": self.ranges })
    }
}

/// What there is to tell.
struct Info<'i> {
    path: &'i Path,
    image: &'i Image,
    /// The formats, from the file to the memory.
    formats: Vec<String>,
    memory: Total,
    /// What is missing, by kind; none of it has no ranges.
    missing: Vec<(GapKind, Total)>,
}

impl<'i> Info<'i> {
    fn of(path: &'i Path, image: &'i Image) -> Self {
        let mut formats: Vec<String> =
            image.ballots.iter().filter(|ballot| ballot.won).map(|ballot| ballot.format.to_owned()).collect();
        if formats.is_empty() {
            formats.push(image.describe());
        }
        let of_kind = |kind| image.gaps().iter().filter(move |gap: &&Gap| gap.why == kind).map(|gap| gap.bytes);
        let missing = GapKind::ALL.map(|kind| (kind, Total::of(of_kind(kind))));
        Self {
            path,
            image,
            formats,
            memory: Total::of(image.runs().iter().map(|run| run.bytes)),
            missing: missing.into_iter().filter(|(_, total)| total.ranges > 0).collect(),
        }
    }

    /// First address, and the one behind the last, of the memory that is there.
    fn span(&self) -> Option<(u64, u64)> {
        let (first, last): (&Run, &Run) = (self.image.runs().first()?, self.image.runs().last()?);
        Some((first.start.0, last.start.0.saturating_add(last.bytes)))
    }

    fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{:<24} Value\n{:-<24} -----", "Attribute", "")?;
        let mut line = |key: &str, value: &str| writeln!(out, "{:<24} {}", printable(key), printable(value));
        let hints = &self.image.hints;
        line("File", &self.path.display().to_string())?;
        let size = |bytes| format!("{bytes} bytes ({})", HumanBytes(bytes));
        // Further segments are files of their own.
        line("Size of the file", &self.image.file_bytes.map_or("unknown, of a character device".into(), size))?;
        line("Format", &self.formats.join(", in it "))?;
        line("Memory", &self.memory.text())?;
        if let Some((start, end)) = self.span() {
            line("Addresses", &format!("{start:#x} to {end:#x}"))?;
        }
        for (kind, total) in &self.missing {
            line(&format!("Missing, {}", kind.name()), &total.text())?;
        }
        for dtb in &hints.dtbs {
            line("DTB", &format!("{:#x}", dtb.0))?;
        }
        for (_, what, at) in self.kernel_addresses() {
            line(what, &format!("{at:#x}"))?;
        }
        for (what, value) in &hints.facts {
            line(what, value)?;
        }
        for warning in &self.image.warnings {
            line("Warning", warning)?;
        }
        if !hints.vmcoreinfo.0.is_empty() {
            writeln!(out, "\nVMCOREINFO:")?;
            for (key, value) in &hints.vmcoreinfo.0 {
                writeln!(out, "{}={}", printable(key), printable(value))?;
            }
        }
        Ok(())
    }

    /// What the headers say of the kernel's addresses: key, heading, address.
    fn kernel_addresses(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let hints = &self.image.hints;
        [
            ("kernel_base", "Kernel base", hints.kernel_base),
            ("kdbg", "KdDebuggerDataBlock", hints.kdbg),
            ("ps_active_process_head", "PsActiveProcessHead", hints.ps_active_process_head),
            ("ps_loaded_module_list", "PsLoadedModuleList", hints.ps_loaded_module_list),
        ]
        .into_iter()
        .filter_map(|(key, what, at)| Some((key, what, at?.0)))
    }

    /// One object. Addresses are strings in hex, sizes and counts numbers.
    fn to_json(&self) -> Value {
        let hints = &self.image.hints;
        let address = |value: u64| format!("{value:#x}");
        let missing = self.missing.iter().map(|(kind, total)| (kind.name().to_owned(), total.json()));
        let kernel = self.kernel_addresses().map(|(key, _, at)| (key.to_owned(), address(at).into()));
        let facts = hints.facts.iter().map(|(what, value)| json!({ "what": what, "value": value }));
        json!({
            "file": self.path.display().to_string(),
            "file_bytes": self.image.file_bytes,
            "formats": self.formats,
            "memory": self.memory.json(),
            "start": self.span().map(|(start, _)| address(start)),
            "end": self.span().map(|(_, end)| address(end)),
            "missing": missing.collect::<serde_json::Map<_, _>>(),
            "dtbs": hints.dtbs.iter().map(|dtb| address(dtb.0)).collect::<Vec<_>>(),
            "kernel": kernel.collect::<serde_json::Map<_, _>>(),
            "facts": facts.collect::<Vec<_>>(),
            "vmcoreinfo": hints.vmcoreinfo.0,
            "warnings": self.image.warnings,
        })
    }
}
