//! Physical memory written as an image of another format, run by run, and the copy checked by reading it back.

mod elf;
mod kdump;
mod lime;
mod raw;

use quaid_analyzer::image::{self, Hints, PhysicalMemory, Run, Selection};
use quaid_analyzer::{Pa, PageFault};
use sha2::{Digest, Sha256};
use std::io::{self, Seek, Write};
use std::path::Path;

/// What is read and written at once, in bytes.
const BLOCK_BYTES: usize = 1 << 20;
/// What is given up together when a part cannot be read, in bytes.
const PAGE_BYTES: usize = 0x1000;

/// A format that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Offset is address.
    Raw,
    /// LiME, version 1.
    Lime,
    /// AVML, version 2: compressed by snappy.
    Avml,
    /// An ELF64 core.
    Elf,
    /// A kdump image, version 6, its pages compressed by zlib.
    Kdump,
}

impl Format {
    /// The names that `--to` takes.
    pub const NAMES: [&str; 5] = ["raw", "lime", "avml", "elf", "kdump"];

    /// The format of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        match name {
            "raw" => Some(Self::Raw),
            "lime" => Some(Self::Lime),
            "avml" => Some(Self::Avml),
            "elf" => Some(Self::Elf),
            "kdump" => Some(Self::Kdump),
            _ => None,
        }
    }

    /// Its name in `image::Options::format`.
    fn reader(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Lime => "LiME",
            Self::Avml => "AVML",
            Self::Elf => "ELF core",
            Self::Kdump => "kdump",
        }
    }

    /// Whether a copy tells memory that the machine had and the image lacks from holes in its address space.
    pub fn keeps_gaps(self) -> bool {
        matches!(self, Self::Elf | Self::Kdump)
    }
}

/// What was written.
#[derive(Debug)]
pub struct Copied {
    /// Bytes of memory.
    pub bytes: u64,
    /// How many of them the image has and could not be read: they are zero in the copy.
    pub unreadable: u64,
    /// Why the first of them could not be.
    pub first_fault: Option<PageFault>,
    /// Bytes of zeros that are memory in the copy, and which the image has not: raw has all addresses, kdump whole pages.
    pub padding: u64,
    /// The SHA-256 of each range's address and length, 64-bit little-endian, and its bytes, one range behind the other.
    pub sha256: [u8; 32],
}

/// Why there is no good copy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be written.
    #[error("{0}")]
    Write(#[from] io::Error),
    /// It could not be opened again.
    #[error("the copy cannot be read back: {0}")]
    Reopen(#[from] image::OpenError),
    /// What it holds is something else.
    #[error("the copy does not hold what was written: {0}")]
    Differs(String),
}

/// Where an image is written to.
trait Sink: Write + Seek {}
impl<T: Write + Seek> Sink for T {}

/// One format. Ranges come in the order of their addresses, each in blocks that follow one another.
trait Writer {
    /// A range begins.
    fn begin(&mut self, run: &Run) -> io::Result<()>;
    /// The next bytes of the range.
    fn block(&mut self, at: Pa, block: &[u8]) -> io::Result<()>;
    /// All ranges were given.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// Writes the memory to `out`, from its begin on; `hints` are what the image tells of its machine. `progress` is told how
/// many bytes were done since it was last told.
pub fn write(
    memory: &dyn PhysicalMemory,
    hints: &Hints,
    format: Format,
    out: &mut (impl Write + Seek),
    progress: &mut dyn FnMut(u64),
) -> Result<Copied, Error> {
    let mut writer: Box<dyn Writer + '_> = match format {
        Format::Raw => Box::new(raw::Raw::new(out)),
        Format::Lime => Box::new(lime::Lime(out)),
        Format::Avml => Box::new(lime::Avml(out)),
        Format::Elf => Box::new(elf::Elf::new(memory, hints, out)?),
        Format::Kdump => Box::new(kdump::Kdump::new(memory, hints, out)?),
    };
    let mut copied = walk(memory, progress, &mut |at, run, block| {
        if at == run.start {
            writer.begin(run)?;
        }
        writer.block(at, block)
    })?;
    writer.finish()?;
    out.flush()?;
    copied.padding = match format {
        Format::Raw => memory.runs().last().map_or(0, |run| run.start.0 + run.bytes) - copied.bytes,
        Format::Kdump => kdump::bytes(memory, hints) - copied.bytes,
        Format::Lime | Format::Avml | Format::Elf => 0,
    };
    Ok(copied)
}

/// Opens the copy at `path` and compares what it holds with what was written.
pub fn verify(
    path: &Path,
    format: Format,
    original: &dyn PhysicalMemory,
    copied: &Copied,
    progress: &mut dyn FnMut(u64),
) -> Result<(), Error> {
    let options = image::Options { format: Some(format.reader().into()), ..image::Options::default() };
    let copy = image::open(path, &options)?;
    let held: u64 = copy.runs().iter().map(|run| run.bytes).sum();
    let written = copied.bytes.saturating_add(copied.padding);
    if held != written {
        return Err(Error::Differs(format!("{held} bytes of memory, {written} were written")));
    }
    let at_its_ranges = Selection::of(copy.memory(), original.runs().to_vec());
    let seen = walk(&at_its_ranges, progress, &mut |_, _, _| Ok(()))?;
    if let Some(fault) = seen.first_fault {
        return Err(Error::Differs(fault.to_string()));
    }
    if seen.sha256 != copied.sha256 {
        return Err(Error::Differs("its SHA-256 is another one".into()));
    }
    Ok(())
}

/// Where the text begins in what `vmcoreinfo_note` gives.
const VMCOREINFO_TEXT: usize = 24;

/// VMCOREINFO as a note of an ELF core; empty when the image has none.
fn vmcoreinfo_note(hints: &Hints) -> Vec<u8> {
    const NAME: &[u8; 12] = b"VMCOREINFO\0\0";
    let lines: Vec<String> = hints.vmcoreinfo.0.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    let text = lines.concat();
    let Some(bytes) = u32::try_from(text.len()).ok().filter(|&bytes| bytes > 0) else { return Vec::new() };
    let mut note = Vec::new();
    // The name's length counts one zero byte; it is padded to four.
    for word in [11, bytes, 0] {
        note.extend(word.to_le_bytes());
    }
    note.extend(NAME);
    note.extend(text.as_bytes());
    note.resize(note.len().next_multiple_of(4), 0);
    note
}

/// Whether the machine is known to be AArch64: only its kernel notes this.
fn is_aarch64(hints: &Hints) -> bool {
    hints.vmcoreinfo.text("NUMBER(kimage_voffset)").is_some()
}

/// Takes a block: its address, its range, its bytes.
type Take<'t> = dyn FnMut(Pa, &Run, &[u8]) -> io::Result<()> + 't;

/// Goes through all of the memory, in blocks that do not cross ranges.
fn walk(memory: &dyn PhysicalMemory, progress: &mut dyn FnMut(u64), take: &mut Take<'_>) -> Result<Copied, io::Error> {
    let mut copied = Copied { bytes: 0, unreadable: 0, first_fault: None, padding: 0, sha256: [0; 32] };
    let mut digest = Sha256::new();
    let mut buffer = vec![0; BLOCK_BYTES];
    for run in memory.runs() {
        digest.update(run.start.0.to_le_bytes());
        digest.update(run.bytes.to_le_bytes());
        let mut done = 0;
        while done < run.bytes {
            let at = Pa(run.start.0 + done);
            let bytes = usize::try_from(run.bytes - done).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES));
            let block = buffer.get_mut(..bytes).unwrap_or_default();
            read_what_is_there(memory, at, block, &mut copied);
            digest.update(&*block);
            take(at, run, block)?;
            memory.release(at, bytes);
            done += bytes as u64;
            progress(bytes as u64);
        }
        copied.bytes += run.bytes;
    }
    copied.sha256 = digest.finalize().into();
    Ok(copied)
}

/// Reads a block; what cannot be read of a page is zero and counted.
fn read_what_is_there(memory: &dyn PhysicalMemory, at: Pa, block: &mut [u8], copied: &mut Copied) {
    if memory.read(at, block).is_ok() {
        return;
    }
    let mut done = 0;
    while let Some(rest) = block.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let here = at.wrapping_add(done as u64);
        let bytes = (PAGE_BYTES - here.0 as usize % PAGE_BYTES).min(rest.len());
        let page = rest.get_mut(..bytes).unwrap_or_default();
        if let Err(fault) = memory.read(here, page) {
            let good = fault.good_bytes_from(here).min(bytes);
            page.get_mut(good..).unwrap_or_default().fill(0);
            copied.unreadable += (bytes - good) as u64;
            copied.first_fault.get_or_insert(fault);
        }
        done += bytes;
    }
}
