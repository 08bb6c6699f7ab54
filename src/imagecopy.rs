//! Physical memory written as an image of another format, run by run, and the copy checked by reading it back.
//!
//! Source of the formats: LiME's `doc/README` and `lime.h` (a header of 32 bytes before each range, its end inclusive); the
//! ELF specification (a core with a PT_LOAD for each range, its physical address in `p_paddr`).

use quaid_analyzer::image::{self, Hints, Image, PhysicalMemory, Run};
use quaid_analyzer::{Pa, PageFault};
use sha2::{Digest, Sha256};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

/// What is read and written at once, in bytes.
const BLOCK_BYTES: usize = 1 << 20;
/// What is given up together when a part cannot be read, in bytes.
const PAGE_BYTES: usize = 0x1000;

/// A format that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Offset is address. What no range holds is zero, and takes no room where the file system has sparse files.
    Raw,
    /// LiME, version 1.
    Lime,
    /// An ELF64 core. What the image is known to lack is kept as memory without file bytes, VMCOREINFO as a note.
    Elf,
}

impl Format {
    /// The names that `--to` takes.
    pub const NAMES: [&str; 3] = ["raw", "lime", "elf"];

    /// The format of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        match name {
            "raw" => Some(Self::Raw),
            "lime" => Some(Self::Lime),
            "elf" => Some(Self::Elf),
            _ => None,
        }
    }

    /// Its name in `image::Options::format`.
    fn reader(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Lime => "LiME",
            Self::Elf => "ELF core",
        }
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

/// Writes the memory to `out`, from its begin on. `progress` is told how many bytes were done since it was last told.
pub fn write(
    image: &Image,
    format: Format,
    out: &mut (impl Write + Seek),
    progress: &mut dyn FnMut(u64),
) -> Result<Copied, Error> {
    if format == Format::Elf {
        out.write_all(&elf_header(image.memory(), &image.hints))?;
    }
    let mut end = 0;
    let mut zeros = 0;
    let copied = walk(image.memory(), progress, &mut |at, run, block| {
        if at == run.start {
            match format {
                Format::Raw => zeros += run.start.0 - end,
                Format::Lime => out.write_all(&lime_header(run))?,
                Format::Elf => {}
            }
            end = run.start.0 + run.bytes;
        }
        if format == Format::Raw && block.iter().all(|&byte| byte == 0) {
            zeros += block.len() as u64;
            return Ok(());
        }
        if zeros > 0 {
            let ahead = i64::try_from(zeros).map_err(|_| io::Error::other("the memory ends too far up for a file"))?;
            out.seek(SeekFrom::Current(ahead))?;
            zeros = 0;
        }
        out.write_all(block)
    })?;
    // The last byte stands for all the zeros before it.
    if zeros > 0 {
        out.seek(SeekFrom::Start(end - 1))?;
        out.write_all(&[0])?;
    }
    out.flush()?;
    Ok(copied)
}

/// Opens the copy at `path` and compares what it holds with what was written.
pub fn verify(
    path: &Path,
    format: Format,
    original: &Image,
    copied: &Copied,
    progress: &mut dyn FnMut(u64),
) -> Result<(), Error> {
    let options = image::Options { format: Some(format.reader().into()), ..image::Options::default() };
    let copy = image::open(path, &options)?;
    let held: u64 = copy.runs().iter().map(|run| run.bytes).sum();
    if format != Format::Raw && held != copied.bytes {
        return Err(Error::Differs(format!("{held} bytes of memory, {} were written", copied.bytes)));
    }
    let seen = walk(&AtRunsOf { memory: copy.memory(), runs: original.runs() }, progress, &mut |_, _, _| Ok(()))?;
    if let Some(fault) = seen.first_fault {
        return Err(Error::Differs(fault.to_string()));
    }
    if seen.sha256 != copied.sha256 {
        return Err(Error::Differs("its SHA-256 is another one".into()));
    }
    Ok(())
}

/// A copy, looked at where the original has its ranges.
struct AtRunsOf<'i> {
    memory: &'i dyn PhysicalMemory,
    runs: &'i [Run],
}

impl PhysicalMemory for AtRunsOf<'_> {
    fn read(&self, at: Pa, buffer: &mut [u8]) -> Result<(), PageFault> {
        self.memory.read(at, buffer)
    }
    fn runs(&self) -> &[Run] {
        self.runs
    }
    fn slice(&self, at: Pa, bytes: usize) -> Option<&[u8]> {
        self.memory.slice(at, bytes)
    }
    fn release(&self, at: Pa, bytes: usize) {
        self.memory.release(at, bytes);
    }
    fn describe(&self) -> String {
        self.memory.describe()
    }
}

/// Takes a block: its address, its range, its bytes.
type Take<'t> = dyn FnMut(Pa, &Run, &[u8]) -> io::Result<()> + 't;

/// Goes through all of the memory, in blocks that do not cross ranges.
fn walk(memory: &dyn PhysicalMemory, progress: &mut dyn FnMut(u64), take: &mut Take<'_>) -> Result<Copied, io::Error> {
    let mut copied = Copied { bytes: 0, unreadable: 0, first_fault: None, sha256: [0; 32] };
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

/// Reads a block; a page that cannot be read is zero and counted.
fn read_what_is_there(memory: &dyn PhysicalMemory, at: Pa, block: &mut [u8], copied: &mut Copied) {
    if memory.read(at, block).is_ok() {
        return;
    }
    for (page, here) in block.chunks_mut(PAGE_BYTES).zip((at.0..).step_by(PAGE_BYTES)) {
        if let Err(fault) = memory.read(Pa(here), page) {
            page.fill(0);
            copied.unreadable += page.len() as u64;
            copied.first_fault.get_or_insert(fault);
        }
    }
}

fn lime_header(run: &Run) -> [u8; 32] {
    let mut header = [0; 32];
    let words = [0x0000_0001_4c69_4d45, run.start.0, run.start.0 + run.bytes - 1];
    for (place, word) in header.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&u64::to_le_bytes(word));
    }
    header
}

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;
/// From this number of program headers on, the first section header tells it.
const PN_XNUM: usize = 0xffff;
const EHDR_BYTES: usize = 64;
const PHDR_BYTES: usize = 56;
const SHDR_BYTES: usize = 64;

/// Everything before the memory, which begins at a page of the file, so that a mapping of the file is aligned.
fn elf_header(memory: &dyn PhysicalMemory, hints: &Hints) -> Vec<u8> {
    let note = vmcoreinfo_note(hints);
    let count = usize::from(!note.is_empty()) + memory.runs().len() + memory.gaps().len();
    let many = count >= PN_XNUM;
    let phoff = EHDR_BYTES + if many { SHDR_BYTES } else { 0 };
    let note_at = phoff + count * PHDR_BYTES;
    let data_at = (note_at + note.len()).next_multiple_of(PAGE_BYTES);
    // Only the kernel of AArch64 notes this.
    let aarch64 = hints.vmcoreinfo.contains_key("NUMBER(kimage_voffset)");

    let mut out = Vec::with_capacity(data_at);
    out.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    out.extend(4_u16.to_le_bytes());
    out.extend(if aarch64 { EM_AARCH64 } else { EM_X86_64 }.to_le_bytes());
    out.extend(1_u32.to_le_bytes());
    for word in [0, phoff as u64, if many { EHDR_BYTES as u64 } else { 0 }] {
        out.extend(word.to_le_bytes());
    }
    out.extend(0_u32.to_le_bytes());
    let sections = u16::from(many);
    for half in [EHDR_BYTES as u16, PHDR_BYTES as u16, count.min(PN_XNUM) as u16, SHDR_BYTES as u16, sections, 0] {
        out.extend(half.to_le_bytes());
    }
    if many {
        let mut section = [0; SHDR_BYTES];
        // sh_info.
        section[44..48].copy_from_slice(&(count as u32).to_le_bytes());
        out.extend(section);
    }
    let mut program = |kind: u32, offset: u64, address: u64, file_bytes: u64, bytes: u64| {
        out.extend(kind.to_le_bytes());
        out.extend(0_u32.to_le_bytes());
        for word in [offset, 0, address, file_bytes, bytes, 0] {
            out.extend(word.to_le_bytes());
        }
    };
    if !note.is_empty() {
        program(PT_NOTE, note_at as u64, 0, note.len() as u64, 0);
    }
    let mut offset = data_at as u64;
    for run in memory.runs() {
        program(PT_LOAD, offset, run.start.0, run.bytes, run.bytes);
        offset += run.bytes;
    }
    for gap in memory.gaps() {
        program(PT_LOAD, offset, gap.start.0, 0, gap.bytes);
    }
    out.extend(note);
    out.resize(data_at, 0);
    out
}

/// VMCOREINFO as a note; empty when the image has none.
fn vmcoreinfo_note(hints: &Hints) -> Vec<u8> {
    const NAME: &[u8; 12] = b"VMCOREINFO\0\0";
    let lines: Vec<String> = hints.vmcoreinfo.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    let text = lines.concat();
    let Some(bytes) = u32::try_from(text.len()).ok().filter(|&bytes| bytes > 0) else { return Vec::new() };
    let mut note = Vec::new();
    // The name's length counts one zero byte; it is padded to four.
    for word in [11, bytes, 0] {
        note.extend(word.to_le_bytes());
    }
    note.extend(NAME);
    note.extend(text.into_bytes());
    note.resize(note.len().next_multiple_of(4), 0);
    note
}
