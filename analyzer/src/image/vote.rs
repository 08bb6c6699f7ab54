//! Which format an image has: the formats are asked in order of trust, over and over, until none claims the layer that
//! the last one made (a crash dump inside an E01). Every answer is kept.

use super::raw::Raw;
use super::{
    Hints, PhysicalMemory, aff4, avml, compressed, crash_dump, elf_core, ewf, flattened, hibernation, kdump,
    libvirt_save, lime, mach_o_core, pmem_footer, qemu_stream, unsupported, vmware,
};
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a format is asked about.
pub(super) struct Probe<'a> {
    /// The layer that may be of its format.
    pub(super) base: &'a Arc<dyn PhysicalMemory>,
    /// The file, while the layer is still the file itself: some formats have more files beside it.
    pub(super) path: Option<&'a Path>,
    /// Whether files are to be mapped, see `Options::no_map`.
    pub(super) map: bool,
    /// The files beside the probed one that its memory comes from as well.
    pub(super) beside: RefCell<Vec<PathBuf>>,
}

impl<'a> Probe<'a> {
    pub(super) fn new(base: &'a Arc<dyn PhysicalMemory>, path: Option<&'a Path>, map: bool) -> Self {
        Self { base, path, map, beside: RefCell::default() }
    }

    /// The file beside the probed one that has its name but for the extension, in any case.
    pub(super) fn sibling(&self, extension: &str) -> Option<PathBuf> {
        let path = self.path?;
        let exact = path.with_extension(extension);
        if exact.is_file() {
            return Some(exact);
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let wanted = exact.file_name()?;
        let mut names: Vec<_> = folder.read_dir().ok()?.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
        names.sort_unstable();
        let name = names.into_iter().find(|name| name.eq_ignore_ascii_case(wanted))?;
        Some(path.with_file_name(name)).filter(|path| path.is_file())
    }

    /// Opens a file beside the probed one as it is; from then on it is a part of the image.
    pub(super) fn open_sibling(&self, path: &Path) -> io::Result<Arc<dyn PhysicalMemory>> {
        let file = Raw::open(path, self.map)?;
        self.beside.borrow_mut().push(path.to_owned());
        Ok(Arc::new(file))
    }
}

/// A layer that a format made.
pub(super) struct Layer {
    pub(super) memory: Arc<dyn PhysicalMemory>,
    /// What is wrong with it and was survived, a sentence each.
    pub(super) warnings: Vec<String>,
    /// What its headers tell besides.
    pub(super) hints: Hints,
}

/// A format's answer.
pub(super) enum Vote {
    /// It is something else; why.
    No(String),
    /// It is this format, and here is the layer.
    Yes(Layer),
    /// It is this format, and cannot be read; why.
    Broken(String),
}

impl Vote {
    /// No, because `why`.
    pub(super) fn no(why: &str) -> Self {
        Self::No(why.into())
    }
}

/// A format that can be asked.
pub(super) struct Format {
    /// Its name in messages and in `Options::format`.
    pub(super) name: &'static str,
    pub(super) probe: fn(&Probe<'_>) -> Vote,
}

/// In order of trust: what is recognised by the longest magic comes first. What nobody claims is raw.
pub(super) const FORMATS: &[Format] = &[
    Format { name: unsupported::NAME, probe: unsupported::probe },
    Format { name: aff4::NAME, probe: aff4::probe },
    Format { name: pmem_footer::NAME, probe: pmem_footer::probe },
    Format { name: "libvirt save", probe: libvirt_save::probe },
    Format { name: "QEMU migration stream", probe: qemu_stream::probe },
    Format { name: "flattened", probe: flattened::probe },
    Format { name: "kdump", probe: kdump::probe },
    Format { name: "Windows crash dump", probe: crash_dump::probe },
    Format { name: "ELF core", probe: elf_core::probe },
    Format { name: "Mach-O core", probe: mach_o_core::probe },
    Format { name: "AVML", probe: avml::probe },
    Format { name: "LiME", probe: lime::probe },
    Format { name: ewf::NAME, probe: ewf::probe },
    Format { name: hibernation::NAME, probe: hibernation::probe },
    Format { name: compressed::NAME, probe: compressed::probe },
    Format { name: vmware::NAME, probe: vmware::probe },
];

/// One answer of one format, for `-v`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ballot {
    /// The round, from 1 on.
    pub round: u32,
    /// Who was asked.
    pub format: &'static str,
    /// What it said.
    pub answer: String,
    /// Whether it claimed the layer: the formats that did are the image's, from the file to the memory.
    pub won: bool,
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trying {}: {}", self.format, self.answer)
    }
}

/// What the rounds came to.
pub(super) struct Elected {
    pub(super) memory: Arc<dyn PhysicalMemory>,
    pub(super) warnings: Vec<String>,
    pub(super) hints: Hints,
    pub(super) ballots: Vec<Ballot>,
    /// The files that all of it comes from; the probed one, if it is a file, comes first.
    pub(super) files: Vec<PathBuf>,
}

/// How many formats an image may have around each other. Real ones have two or three; gzip can be made to unpack to itself.
const MAX_ROUNDS: u32 = 8;

impl Elected {
    fn of(file: &Probe<'_>) -> Self {
        let files = file.path.map(Path::to_owned).into_iter().collect();
        let (warnings, hints, ballots) = (Vec::new(), Hints::default(), Vec::new());
        Self { memory: Arc::clone(file.base), warnings, hints, ballots, files }
    }

    /// Asks `formats` about the layer so far and goes on with the layer of the first one that claims it; `false` when none
    /// does. A `Broken`, or one format too many, is an error: the format and the reason.
    fn ask(&mut self, file: &Probe<'_>, round: u32, formats: &[Format]) -> Result<bool, (&'static str, String)> {
        let path = file.path.filter(|_| round == 1);
        for format in formats {
            let probe = Probe::new(&self.memory, path, file.map);
            let vote = (format.probe)(&probe);
            let beside = probe.beside.into_inner();
            let answer = match &vote {
                Vote::No(why) => format!("no: {why}"),
                Vote::Yes(layer) => format!("yes, {} run(s)", layer.memory.runs().len()),
                Vote::Broken(why) => return Err((format.name, why.clone())),
            };
            let won = matches!(vote, Vote::Yes(_));
            self.ballots.push(Ballot { round, format: format.name, answer, won });
            if let Vote::Yes(layer) = vote {
                if round > MAX_ROUNDS {
                    let why = format!("it has more than {MAX_ROUNDS} formats around each other; unpack it first");
                    return Err((format.name, why));
                }
                self.memory = layer.memory;
                self.files.extend(beside);
                self.warnings.extend(layer.warnings);
                self.hints.add(layer.hints);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Asks `formats` over the probed file until nobody wins; one may win again, like gzip around an E01 of a file that is
/// packed with gzip. A `Broken`, or one format too many, ends it with the format and reason.
pub(super) fn elect(file: &Probe<'_>, formats: &[Format]) -> Result<Elected, (&'static str, String)> {
    let mut elected = Elected::of(file);
    for round in 1.. {
        if !elected.ask(file, round, formats)? {
            break;
        }
    }
    Ok(elected)
}

/// The memory that `format` makes of the probed file, or of the first layer in it that is of this format. The error says
/// why no layer is.
pub(super) fn force(file: &Probe<'_>, format: &Format) -> Result<Elected, (&'static str, String)> {
    let mut elected = Elected::of(file);
    let mut reasons = Vec::new();
    for round in 1.. {
        if elected.ask(file, round, std::slice::from_ref(format))? {
            break;
        }
        let why = elected.ballots.last().map(|ballot| ballot.answer.clone()).unwrap_or_default();
        reasons.push(format!("{}, {why}", elected.memory.describe()));
        // Whether the layer can be opened by another one matters only for what is inside.
        if !matches!(elected.ask(file, round, FORMATS), Ok(true)) {
            return Err((format.name, format!("no layer of the file is of this format: {}", reasons.join("; "))));
        }
    }
    Ok(elected)
}
