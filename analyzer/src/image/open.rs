//! Opening an image file.

use super::raw::Raw;
use super::run_layer::{Declared, END_OF_PHYSICAL, RunLayer, end_of};
use super::vote::{self, Ballot, Elected, FORMATS, Format, Probe, elect};
use super::{Hints, PhysicalMemory};
use std::fs::FileType;
use std::io;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How an image is opened. The default asks every format, and maps the file.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The memory is what this format ("raw", "LiME", "ELF core", in any case) makes of the file, or of the first layer in
    /// it (unpacked, out of a container) that is of this format: the user knows better. "raw" is the file as it is.
    pub format: Option<String>,
    /// Where the parts of a raw image belong that has them one behind the other, in the order of the image: the machine's
    /// ranges of memory, as its /proc/iomem or its e820 map has them. Of a character device, which tells no length, they are
    /// what it has, each at the offset that is its address. Empty: its first byte is that of the address 0.
    pub runs: Vec<Range<u64>>,
    /// The file is read, not mapped: for media that fail and files that others may cut short meanwhile.
    pub no_map: bool,
}

/// An opened image. It is used as the physical memory that it holds.
pub struct Image {
    memory: Arc<dyn PhysicalMemory>,
    /// How each format answered, in the order in which they were asked.
    pub ballots: Vec<Ballot>,
    /// What is wrong with the image and was survived, a sentence each: truncated, overlapping ranges.
    pub warnings: Vec<String>,
    /// What its headers tell about the machine.
    pub hints: Hints,
    /// The files that it is read from: the one that was opened, then those beside it (segments of an E01, the .vmem of a
    /// .vmss, parts of a split kdump).
    pub files: Vec<PathBuf>,
    /// Length of the first of them, in bytes; `None` for a character device, which tells none.
    pub file_bytes: Option<u64>,
}

impl Image {
    fn of(Elected { memory, warnings, hints, ballots, files }: Elected, file_bytes: Option<u64>) -> Self {
        Self { memory, ballots, warnings, hints, files, file_bytes }
    }

    /// The physical memory.
    pub fn memory(&self) -> &dyn PhysicalMemory {
        self.memory.as_ref()
    }
}

impl Deref for Image {
    type Target = dyn PhysicalMemory;
    fn deref(&self) -> &Self::Target {
        self.memory.as_ref()
    }
}

/// Why an image could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The operating system refused.
    #[error("cannot open the image {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A folder, a pipe, a device of which no ranges were given.
    #[error("cannot open the image {}: it is {what}, not a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is, with its article.
        what: &'static str,
    },
    /// There is nothing in it.
    #[error("cannot open the image {}: the file is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A format recognised it and cannot read it.
    #[error("cannot open the image {} ({format}): {reason}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// The format that recognised it, or was forced.
        format: &'static str,
        /// Why it cannot be read, and what to do.
        reason: String,
    },
    /// The runs that were given cannot be those of the image.
    #[error("cannot open the image {} with the given runs: {reason}", path.display())]
    Runs {
        /// The file.
        path: PathBuf,
        /// Why not, and what to do.
        reason: String,
    },
    /// The format that was forced is not known.
    #[error("the image format `{0}` is not known; there are: {names}", names = format_names())]
    UnknownFormat(String),
}

fn format_names() -> String {
    let names: Vec<&str> = std::iter::once("raw").chain(readable().map(|format| format.name)).collect();
    names.join(", ")
}

/// The formats that can be forced.
fn readable() -> impl Iterator<Item = &'static Format> {
    FORMATS.iter().filter(|format| format.name != super::unsupported::NAME)
}

/// Opens the image at `path`.
pub fn open(path: &Path, options: &Options) -> Result<Image, OpenError> {
    let io_error = |source| OpenError::Io { path: path.into(), source };
    // Looked at before it is opened: to open a pipe would wait for its writer.
    let kind = Kind::of(std::fs::metadata(path).map_err(io_error)?.file_type());
    if kind == Kind::Characters && !options.runs.is_empty() {
        return open_live(path, &options.runs);
    }
    let raw = match kind.refusal() {
        Some(what) => return Err(OpenError::NotAFile { path: path.into(), what }),
        None if kind == Kind::Blocks => Raw::open_device(path, None),
        None => Raw::open(path, !options.no_map),
    };
    let raw = raw.map_err(io_error)?;
    if raw.runs().is_empty() {
        return Err(OpenError::Empty { path: path.into() });
    }
    let raw: Arc<dyn PhysicalMemory> = Arc::new(raw);
    let refused = |(format, reason)| OpenError::Refused { path: path.into(), format, reason };
    let probe = Probe::new(&raw, Some(path), !options.no_map);
    let mut elected = match options.format.as_deref() {
        None => elect(&probe, FORMATS).map_err(refused)?,
        Some(name) => force(&probe, name)?.map_err(refused)?,
    };
    if !options.runs.is_empty() {
        place(&mut elected, &options.runs, false).map_err(|reason| OpenError::Runs { path: path.into(), reason })?;
    }
    Ok(Image::of(elected, Some(end_of(raw.as_ref()))))
}

/// What a path leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
    /// A block device: a disk, or a part of one, onto which an image was written.
    Blocks,
    /// A character device: memory of this machine (/dev/mem, /dev/crash), or anything else.
    Characters,
    Other,
}

impl Kind {
    fn of(kind: FileType) -> Self {
        #[cfg(unix)]
        {
            use std::os::unix::fs::FileTypeExt as _;
            if kind.is_block_device() {
                return Self::Blocks;
            }
            if kind.is_char_device() {
                return Self::Characters;
            }
        }
        match kind {
            kind if kind.is_file() => Self::File,
            kind if kind.is_dir() => Self::Folder,
            _ => Self::Other,
        }
    }

    /// What it is, when it cannot be opened as it is.
    fn refusal(self) -> Option<&'static str> {
        match self {
            Self::File | Self::Blocks => None,
            Self::Folder => Some("a folder"),
            Self::Characters => Some(
                "a character device, which tells no length (if it is this machine's memory, --runs gives the ranges that \
                 /proc/iomem calls System RAM)",
            ),
            Self::Other => {
                Some("a pipe or socket, which cannot be read at any place (write what comes out of it into a file)")
            }
        }
    }
}

/// Opens a device that gives this machine's memory: what is at an address is at that offset. It is read, never mapped, as
/// what a page has may be gone at any moment.
fn open_live(path: &Path, runs: &[Range<u64>]) -> Result<Image, OpenError> {
    let end = runs.iter().map(|run| run.end).max().unwrap_or_default();
    let raw = Raw::open_device(path, Some(end)).map_err(|source| OpenError::Io { path: path.into(), source })?;
    let (warnings, hints, ballots) = (Vec::new(), Hints::default(), Vec::new());
    let mut live = Elected { memory: Arc::new(raw), warnings, hints, ballots, files: vec![path.into()] };
    place(&mut live, runs, true).map_err(|reason| OpenError::Runs { path: path.into(), reason })?;
    Ok(Image::of(live, None))
}

/// What may be around a raw image.
const AROUND_RAW: [&str; 2] = [super::compressed::NAME, super::ewf::NAME];

/// Puts the parts of a raw image at their addresses. They are one behind the other, or, where it `has_holes`, each at the
/// offset that is its address.
fn place(elected: &mut Elected, runs: &[Range<u64>], has_holes: bool) -> Result<(), String> {
    if let Some(other) = elected.ballots.iter().find(|ballot| ballot.won && !AROUND_RAW.contains(&ballot.format)) {
        let format = other.format;
        return Err(format!(
            "it is {format}, which says itself where its memory belongs; the format raw takes it as it is"
        ));
    }
    let mut sorted = runs.to_vec();
    sorted.sort_unstable_by_key(|run| run.start);
    for pair in sorted.windows(2) {
        if let [one, other] = pair
            && other.start < one.end
        {
            return Err(format!("{:#x}-{:#x} and {:#x}-{:#x} overlap", one.start, one.end, other.start, other.end));
        }
    }
    let mut file_offset = 0_u64;
    let mut declared = Vec::with_capacity(runs.len());
    for run in runs {
        let bytes = run.end.saturating_sub(run.start);
        if bytes == 0 || run.end > END_OF_PHYSICAL {
            return Err(format!("{:#x}-{:#x} is no range of physical memory", run.start, run.end));
        }
        let file_offset_here = if has_holes { run.start } else { file_offset };
        declared.push(Declared { start: run.start, bytes, file_offset: file_offset_here });
        file_offset = file_offset.saturating_add(bytes);
    }
    let has = end_of(elected.memory.as_ref());
    if has > file_offset && !has_holes {
        let why = format!("the image has {has} bytes and the runs {file_offset}: what is behind them is left out");
        elected.warnings.push(why);
    }
    let layer = RunLayer::new("raw, runs as given", Arc::clone(&elected.memory), &declared, &mut elected.warnings);
    elected.memory = Arc::new(layer);
    Ok(())
}

/// The layer of the named format, be it inside others.
fn force(file: &Probe<'_>, name: &str) -> Result<Result<Elected, (&'static str, String)>, OpenError> {
    if name.eq_ignore_ascii_case("raw") {
        return Ok(elect(file, &[]));
    }
    let format = readable().find(|format| format.name.eq_ignore_ascii_case(name));
    let format = format.ok_or_else(|| OpenError::UnknownFormat(name.into()))?;
    Ok(vote::force(file, format))
}
