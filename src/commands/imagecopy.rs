//! `imagecopy`: an image written in another format.

use super::plugin::{open_image, refuse_source};
use crate::cli::range;
use crate::context::{Context, Outcome, UsageError};
use crate::hex::hex;
use crate::imagecopy::{self, Format};
use crate::output::write_file;
use anyhow::{Context as _, Result, bail};
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use indicatif::HumanBytes;
use quaid_analyzer::image::{PhysicalMemory, Selection};
use std::io::BufWriter;
use std::ops::Range;
use std::path::PathBuf;

/// Its options and help.
pub(crate) fn cli() -> clap::Command {
    clap::Command::new("imagecopy")
        .about("Write the memory of an image as an image of another format, and check the copy")
        .arg(
            Arg::new("out").value_name("OUT").required(true).value_parser(value_parser!(PathBuf)).help("The new image"),
        )
        .arg(Arg::new("to").long("to").value_name("FORMAT").value_parser(Format::NAMES).default_value("raw").help(
            "Its format. raw: zeros where the image has nothing; avml: compressed by snappy; elf: an ELF core, keeps \
                 what is told missing; kdump: compressed by zlib, whole pages, keeps what is told missing",
        ))
        .arg(
            Arg::new("ranges")
                .long("ranges")
                .value_name("START-END")
                .value_delimiter(',')
                .action(ArgAction::Append)
                .value_parser(range)
                .help("Only these physical addresses, END not included (0x100000-0x200000,0x300000-0x301000)"),
        )
}

/// Does it.
pub(crate) fn run(context: &Context, args: &ArgMatches) -> Result<Outcome> {
    let path = context.globals.filename.as_ref();
    let path = path.ok_or_else(|| UsageError::of("which image? quaid -f IMAGE imagecopy OUT"))?;
    let out = args.get_one::<PathBuf>("out").context("which file? quaid -f IMAGE imagecopy OUT")?;
    let format = args.get_one::<String>("to").and_then(|name| Format::of_name(name)).context("no such format")?;
    let image = open_image(context, path)?;
    refuse_source(&image, out)?;
    let ranges = args.get_many::<Range<u64>>("ranges").map(|ranges| ranges.cloned().collect());
    let selection = ranges.map(|ranges| Selection::new(image.memory(), ranges));
    let memory = selection.as_ref().map_or(image.memory(), |selection| selection as &dyn PhysicalMemory);
    if selection.is_some() && memory.runs().is_empty() {
        bail!("the image has no memory in the ranges of --ranges; image_info --ranges lists what it has");
    }
    let bytes: u64 = memory.runs().iter().map(|run| run.bytes).sum();
    let copied = write_file(out, context.globals.overwrite, |file| {
        let bar = context.progress("writing", Some(bytes), true);
        let mut buffered = BufWriter::new(file.as_file_mut());
        let copied = imagecopy::write(memory, &image.hints, format, &mut buffered, &mut |more| bar.inc(more));
        drop(buffered);
        bar.finish_and_clear();
        let copied = copied?;
        let bar = context.progress("reading back", Some(bytes), true);
        let verified = imagecopy::verify(file.path(), format, memory, &copied, &mut |more| bar.inc(more));
        bar.finish_and_clear();
        verified?;
        Ok(copied)
    })?;

    context.detail(1, &format!("SHA-256 of the memory, in both: {}", hex(&copied.sha256)));
    context.note(&format!(
        "{}: {} bytes of memory ({}) in {} range(s), read back and equal",
        out.display(),
        copied.bytes,
        HumanBytes(copied.bytes),
        memory.runs().len()
    ));
    match (format, copied.padding) {
        (_, 0) => {}
        (Format::Kdump, padding) => context.warn(&format!(
            "{}: {padding} bytes that the image has not are memory of zeros in the copy: a kdump image has whole pages",
            out.display()
        )),
        (_, holes) => context.note(&format!(
            "  {holes} bytes between and before the ranges are zero: a raw image cannot tell them apart"
        )),
    }
    let missing: u64 = memory.gaps().iter().map(|gap| gap.bytes).sum();
    if !format.keeps_gaps() && missing > 0 {
        context.note(&format!("  {missing} bytes that the machine had and the image lacks are not told in the copy"));
    }
    let Some(fault) = copied.first_fault else { return Ok(Outcome::Done) };
    context
        .warn(&format!("{} bytes could not be read and are zero in the copy; the first: {fault}", copied.unreadable));
    Ok(Outcome::SomeErrors)
}
