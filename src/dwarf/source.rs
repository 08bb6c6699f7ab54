//! The files that a profile is made of: found in a folder, an archive or a package, or given one by one, in any
//! order, packed or not.
//!
//! What a file is, its first bytes tell; names only choose among several (Rekall's `make profile` puts
//! `module_dwarf.ko`, `pmem.ko`, `boot/System.map-RELEASE` and `boot/config-RELEASE` into the zip; others use other
//! folders).

use super::elf::Elf;
use super::{ConvertError, dsymutil_text, dwarfdump_text, from_image, kconfig, macho, separate, system_map, vtypes};
use crate::btf;
use crate::hex::hex;
use crate::input::shown_text;
use crate::unpack::archive::Archive;
use crate::unpack::compression::Compression;
use crate::unpack::kernel_image::KernelImage;
use crate::unpack::{Bounded, Budget, Bytes};
use quaid_analyzer::VmcoreInfo;
use quaid_analyzer::image::PhysicalMemory;
use quaid_profile::BuildId;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use zip::ZipArchive;

/// The most members that a zip may have, or files a folder; the seeds' have three to ten.
const MAX_MEMBERS: usize = 4096;
/// How deep folders are searched.
const MAX_FOLDER_DEPTH: usize = 4;
/// How many Mach-O files are looked into. A kernel debug kit has a dozen kernels, and hundreds of extensions.
const MAX_MACH_O: usize = 64;
/// How many files may be packed in each other: a module in a tar in a Debian package takes four.
const MAX_PACKED_DEPTH: usize = 6;
/// How much of a file tells what it is, in bytes.
const HEAD_BYTES: u64 = 4096;
/// Rank of a file that the user named.
const GIVEN: u8 = 0;
/// A file of a package whose name says nothing is taken for none of those that are looked for.
const NAME_SAYS_NOTHING: u8 = 4;
/// Rank of an ELF file that is a module, and by its name not one that was built to make a profile of.
const ANY_MODULE: u8 = 3;

/// The input files of one conversion. At least one of `elf`, `image`, `btf`,
/// `dwarf_text`, `mach_o` and `vtypes` is there.
pub(super) struct Source {
    /// The path as given.
    pub(super) place: String,
    /// Base name of the file that was given; of a folder, that of the file in it that has the types.
    pub(super) name: String,
    /// SHA-256 of that file, lower-case hex, computed meanwhile: it takes a tenth of the time of all the rest.
    /// `None` of a memory image: what a profile takes of it is a thousandth.
    hash: Option<JoinHandle<io::Result<String>>>,
    /// Of a memory image, the kernel's banner in it.
    pub(super) banner: Option<String>,
    /// And its build-id.
    pub(super) build_id: Option<BuildId>,
    /// And what it notes for dumps.
    pub(super) vmcoreinfo: Option<VmcoreInfo>,
    /// The symbols are those of a memory image: of the running kernel.
    pub(super) of_running_kernel: bool,
    pub(super) files: Files,
    /// Files of a folder or zip that could not be looked into, and why.
    pub(super) problems: Vec<String>,
}

/// The best of each kind, and all Mach-O files.
#[derive(Default)]
pub(super) struct Files {
    /// The module or `vmlinux`.
    pub(super) elf: Option<Input>,
    /// Files that continue the debugging information of another one: `.dwo`, `.dwp`, and what dwz writes for several.
    pub(super) companions: Vec<Input>,
    /// What a `vmlinuz` or `Image` unpacks to: an ELF file without symbols, or the kernel as it lies in memory.
    pub(super) image: Option<Input>,
    /// BTF of a kernel.
    pub(super) btf: Option<Input>,
    /// BTF of a module, which continues that of its kernel.
    pub(super) module_btf: Option<Input>,
    /// What dwarfdump printed of a module.
    pub(super) dwarf_text: Option<Input>,
    /// The System.map.
    pub(super) system_map: Option<Input>,
    /// The kernel's configuration.
    pub(super) config: Option<Input>,
    /// Kernels of macOS and their dSYMs.
    pub(super) mach_o: Vec<Input>,
    /// Types of a macOS kernel as Volatility 2 has them.
    pub(super) vtypes: Option<Input>,
    /// What dsymutil printed of a macOS kernel.
    pub(super) dsymutil_text: Option<Input>,
}

impl Files {
    fn all(&self) -> [Option<&Input>; 7] {
        let Self { elf, image, btf, module_btf, dwarf_text, system_map, config, .. } = self;
        [elf, image, btf, module_btf, dwarf_text, system_map, config].map(Option::as_ref)
    }

    /// The releases that files' names tell, as `System.map-6.1.0-56-cloud-amd64` does; the file comes first.
    pub(super) fn releases_by_name(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all().into_iter().flatten().filter_map(|input| {
            let base = base_name(&input.name);
            let release =
                ["System.map-", "config-", "vmlinux-", "vmlinuz-"].iter().find_map(|start| base.strip_prefix(start))?;
            let release = without_packing(release);
            let release = [".debug", ".btf"].iter().find_map(|end| release.strip_suffix(end)).unwrap_or(release);
            release.starts_with(|c: char| c.is_ascii_digit()).then_some((input.name.as_str(), release))
        })
    }
}

/// One file's name, for messages, and its bytes.
pub(super) struct Input {
    pub(super) name: String,
    bytes: Bytes,
    rank: u8,
    /// The file on the disk that it is, or is in.
    file: PathBuf,
}

impl Input {
    /// Whether the user named it.
    pub(super) fn is_given(&self) -> bool {
        self.rank == GIVEN
    }

    /// How little its name says that it is the one that is meant; that of one that the user named is the smallest.
    pub(super) fn rank(&self) -> u8 {
        self.rank
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it is an ELF file that tells types.
    fn has_types(&self) -> bool {
        Elf::parse(&self.name, &self.bytes).is_ok_and(|elf| elf.has_dwarf() || elf.btf().is_some())
    }

    /// The file on the disk that it is, or is in.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Elf,
    MachO,
    Image,
    Btf,
    SystemMap,
    Config,
    DwarfText,
    Vtypes,
    DsymutilText,
}

/// What a file's first bytes say.
enum Content {
    File(Kind),
    Compressed(Compression),
    Archive(Archive),
    Zip,
    KernelImage(KernelImage),
}

impl Content {
    fn of(head: &[u8]) -> Option<Self> {
        if head.starts_with(b"\x7fELF") {
            Some(Self::File(Kind::Elf))
        } else if macho::looks_like(head) {
            Some(Self::File(Kind::MachO))
        } else if btf::looks_like(head) {
            Some(Self::File(Kind::Btf))
        } else if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
            Some(Self::Zip)
        } else if let Some(archive) = Archive::of(head) {
            Some(Self::Archive(archive))
        } else if let Some(compression) = Compression::of(head) {
            Some(Self::Compressed(compression))
        } else if let Some(image) = KernelImage::of(head) {
            Some(Self::KernelImage(image))
        } else if system_map::looks_like(head) {
            Some(Self::File(Kind::SystemMap))
        } else if kconfig::looks_like(head) {
            Some(Self::File(Kind::Config))
        } else if dwarfdump_text::looks_like(head) {
            Some(Self::File(Kind::DwarfText))
        } else if dsymutil_text::looks_like(head) {
            Some(Self::File(Kind::DsymutilText))
        } else if vtypes::looks_like(head) {
            Some(Self::File(Kind::Vtypes))
        } else {
            None
        }
    }
}

impl Kind {
    /// Which of several files of this kind is meant: the smallest rank, then the first that comes.
    fn rank(self, name: &str) -> u8 {
        let path = name.to_ascii_lowercase();
        let base = without_packing(base_name(&path));
        let by_preference: [bool; 3] = match self {
            Self::Elf => [
                base.starts_with("vmlinux"),
                base.contains("module") && has_extension(base, "ko"),
                has_extension(base, "ko") || base.ends_with(".ko.debug"),
            ],
            Self::MachO => {
                [base.starts_with("kernel") || base.starts_with("mach_kernel"), path.contains(".dsym/"), false]
            }
            Self::Image => [base.starts_with("vmlinuz"), base.contains("image"), base.contains("linux")],
            Self::Btf => [base.starts_with("vmlinux"), has_extension(base, "btf"), false],
            Self::SystemMap => [base.starts_with("system.map"), base.contains("map"), base.contains("kallsyms")],
            Self::Config => [base.starts_with("config"), base.contains("config"), false],
            Self::DwarfText => [has_extension(base, "dwarf"), false, false],
            Self::Vtypes => [has_extension(base, "vtypes"), false, false],
            Self::DsymutilText => [has_extension(base, "dsymutil"), false, false],
        };
        by_preference.iter().position(|&fits| fits).map_or(NAME_SAYS_NOTHING, |rank| 1 + rank as u8)
    }
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

fn base_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or_default()
}

/// The name of what is packed in a file.
fn without_packing(name: &str) -> &str {
    [".gz", ".xz", ".zst", ".lzma", ".lz4"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

/// Where a file comes from.
struct Origin<'o> {
    /// Of messages: the file, and the way in it.
    place: String,
    /// Its own name.
    name: &'o str,
    /// The file on the disk.
    file: &'o Path,
    /// In how many others it is packed.
    depth: usize,
    /// It is in a package, of which few files matter.
    packaged: bool,
    /// The user named it, or what it is packed in alone: its own name does not matter.
    given: bool,
}

impl Origin<'_> {
    fn member<'n>(&'n self, name: &'n str, packaged: bool) -> Origin<'n> {
        let place = format!("{}: {}", self.place, shown_text(name));
        Origin { place, name, file: self.file, depth: self.depth + 1, packaged, given: false }
    }

    fn damaged(&self, why: &io::Error) -> ConvertError {
        match why.kind() {
            io::ErrorKind::Unsupported | io::ErrorKind::Other => {
                ConvertError::unsupported(&self.place, why.to_string())
            }
            _ => ConvertError::corrupt(&self.place, format!("damaged: {why}")),
        }
    }
}

/// Of the files seen so far, the best of each kind.
struct Finder<'b> {
    files: Files,
    budget: &'b Budget,
    /// Files that could not be looked into. They matter when nothing else has what they might have had.
    problems: Vec<ConvertError>,
}

impl Finder<'_> {
    /// Keeps a file if it is better than what is known of its kind. `bytes` are fetched for that only.
    fn keep(
        &mut self,
        kind: Kind,
        origin: &Origin<'_>,
        bytes: impl FnOnce() -> Result<Bytes, ConvertError>,
    ) -> Result<(), ConvertError> {
        let mut rank = if origin.given { GIVEN } else { kind.rank(origin.name) };
        let may_continue = kind == Kind::Elf && (origin.given || separate::is_named_so(&origin.place));
        // Of the thousands of modules in a kernel's package none is meant.
        if origin.packaged && !may_continue && (rank == NAME_SAYS_NOTHING || kind == Kind::Elf && rank == ANY_MODULE) {
            return Ok(());
        }
        let better = |known: &Option<Input>| known.as_ref().is_none_or(|known| rank < known.rank);
        // BTF tells by its contents alone whether it is a module's.
        let wanted = match kind {
            // Two make one profile: which of several belong together is told by what is in them.
            Kind::MachO if self.files.mach_o.len() == MAX_MACH_O => {
                return Err(ConvertError::unsupported(
                    &origin.place,
                    format!(
                        "is the Mach-O file after the first {MAX_MACH_O}, and no more are searched; give the kernel and its dSYM alone"
                    ),
                ));
            }
            Kind::MachO => true,
            Kind::Elf => {
                may_continue || better(&self.files.elf) || !self.files.elf.as_ref().is_some_and(Input::has_types)
            }
            Kind::Image => better(&self.files.image),
            Kind::Btf => better(&self.files.btf) || better(&self.files.module_btf),
            Kind::SystemMap => better(&self.files.system_map),
            Kind::Config => better(&self.files.config),
            Kind::DwarfText => better(&self.files.dwarf_text),
            Kind::Vtypes => better(&self.files.vtypes),
            Kind::DsymutilText => better(&self.files.dsymutil_text),
        };
        if !wanted {
            return Ok(());
        }
        let bytes = bytes()?;
        if may_continue && separate::continues_another(&bytes) {
            let input = Input { name: origin.place.clone(), bytes, rank, file: origin.file.to_owned() };
            self.files.companions.push(input);
            return Ok(());
        }
        if kind == Kind::SystemMap && system_map::is_stub(&bytes) {
            // Debian's packages of kernels have one; it is told when there is no other.
            rank = u8::MAX;
        }
        let slot = match kind {
            Kind::MachO => {
                let input = Input { name: origin.place.clone(), bytes, rank, file: origin.file.to_owned() };
                self.files.mach_o.push(input);
                return Ok(());
            }
            Kind::Elf => &mut self.files.elf,
            Kind::Image => &mut self.files.image,
            Kind::Btf if btf::is_split(&bytes) => &mut self.files.module_btf,
            Kind::Btf => &mut self.files.btf,
            Kind::SystemMap => &mut self.files.system_map,
            Kind::Config => &mut self.files.config,
            Kind::DwarfText => &mut self.files.dwarf_text,
            Kind::Vtypes => &mut self.files.vtypes,
            Kind::DsymutilText => &mut self.files.dsymutil_text,
        };
        let input = Input { name: origin.place.clone(), bytes, rank, file: origin.file.to_owned() };
        // Of ELF files one that was stripped is not meant, whatever its name.
        let is_better = |known: &Input| match kind {
            Kind::Elf => (!input.has_types(), rank) < (!known.has_types(), known.rank),
            _ => rank < known.rank,
        };
        if slot.as_ref().is_none_or(is_better) {
            *slot = Some(input);
        }
        Ok(())
    }

    /// Looks at a file on the disk, which the user named or a folder has; `false` when it is nothing that is known.
    fn file(&mut self, path: &Path, given: bool) -> Result<bool, ConvertError> {
        let io = |why| ConvertError::io(path, why);
        let mut file = File::open(path).map_err(io)?;
        let head = head_of(&mut file).map_err(io)?;
        let Some(content) = Content::of(&head) else { return Ok(false) };
        self.budget.add_file(file.metadata().map_err(io)?.len());
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let origin =
            Origin { place: path.display().to_string(), name: &name, file: path, depth: 0, packaged: false, given };
        // Files of /sys and /proc have no length, and cannot be mapped.
        let bytes = || match Bytes::map(&file) {
            Ok(bytes) if !bytes.is_empty() => Ok(bytes),
            _ => Bytes::store(&mut Bounded::new(&file, self.budget)).map_err(io),
        };
        match content {
            Content::File(kind) => self.keep(kind, &origin, bytes)?,
            Content::Zip => self.zip(&bytes()?, &origin)?,
            Content::KernelImage(image) => self.kernel_image(image, &origin, bytes()?)?,
            Content::Compressed(_) | Content::Archive(_) => self.stream(&origin, &mut BufReader::new(file))?,
        }
        Ok(true)
    }

    /// Looks at a file that the user named, which has to be one that is known.
    fn named(&mut self, path: &Path) -> Result<(), ConvertError> {
        if self.file(path, true)? {
            return Ok(());
        }
        Err(ConvertError::unsupported(
            &path.display().to_string(),
            "is no ELF or Mach-O file, BTF, kernel image, System.map or config, nor a zip, archive, package or compressed file of them",
        ))
    }

    /// Looks at a file that is read from front to back: what it is, and what is in it.
    fn stream(&mut self, origin: &Origin<'_>, reader: &mut dyn Read) -> Result<(), ConvertError> {
        let damaged = |why: io::Error| origin.damaged(&why);
        let mut head = Vec::new();
        (&mut *reader).take(HEAD_BYTES).read_to_end(&mut head).map_err(damaged)?;
        let Some(content) = Content::of(&head) else { return Ok(()) };
        if origin.depth > MAX_PACKED_DEPTH {
            let why = format!("files are packed in each other more than {MAX_PACKED_DEPTH} times; unpack it first");
            return Err(ConvertError::unsupported(&origin.place, why));
        }
        let mut whole = BufReader::with_capacity(1 << 16, Cursor::new(head).chain(reader));
        match content {
            Content::File(kind) => self.keep(kind, origin, || Bytes::store(&mut whole).map_err(damaged)),
            Content::KernelImage(_) if origin.packaged && Kind::Image.rank(origin.name) == NAME_SAYS_NOTHING => Ok(()),
            Content::KernelImage(image) => {
                let bytes = Bytes::store(&mut whole).map_err(damaged)?;
                self.kernel_image(image, origin, bytes)
            }
            Content::Zip => {
                let bytes = Bytes::store(&mut whole).map_err(damaged)?;
                self.zip(&bytes, origin)
            }
            Content::Compressed(compression) => self.compressed(compression, origin, &mut whole),
            Content::Archive(archive) => {
                let mut each = |name: &str, member: &mut dyn Read| self.stream(&origin.member(name, true), member);
                archive.members(&mut whole, &damaged, &mut each)
            }
        }
    }

    fn compressed(
        &mut self,
        compression: Compression,
        origin: &Origin<'_>,
        reader: &mut dyn BufRead,
    ) -> Result<(), ConvertError> {
        // A package has compressed files of many other kinds: those that say what they are alone are unpacked.
        let name = without_packing(origin.name);
        if origin.packaged
            && [Kind::Elf, Kind::Image, Kind::Btf, Kind::SystemMap, Kind::Config]
                .iter()
                .all(|kind| kind.rank(name) == NAME_SAYS_NOTHING)
            && !has_extension(name, "tar")
            && !has_extension(name, "cpio")
        {
            return Ok(());
        }
        let decoder = compression.decoder(reader).map_err(|why| origin.damaged(&why))?;
        let inner = Origin { place: origin.place.clone(), name, depth: origin.depth + 1, ..*origin };
        self.stream(&inner, &mut Bounded::new(decoder, self.budget))
    }

    fn kernel_image(&mut self, image: KernelImage, origin: &Origin<'_>, bytes: Bytes) -> Result<(), ConvertError> {
        let damaged = |why: io::Error| origin.damaged(&why);
        let (payload, compression) = image.payload(&bytes).map_err(damaged)?;
        let Some(compression) = compression else { return self.keep(Kind::Image, origin, || Ok(bytes)) };
        let budget = self.budget;
        let unpack = || {
            let decoder = compression.decoder(payload)?;
            Bytes::store(&mut Bounded::new(decoder, budget))
        };
        self.keep(Kind::Image, origin, || unpack().map_err(damaged))
    }

    fn zip(&mut self, bytes: &[u8], origin: &Origin<'_>) -> Result<(), ConvertError> {
        let damaged = |why: &dyn std::fmt::Display| ConvertError::corrupt(&origin.place, format!("damaged zip: {why}"));
        let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(|why| damaged(&why))?;
        if zip.len() > MAX_MEMBERS {
            let why = format!("has {} members, more than the {MAX_MEMBERS} that are searched", zip.len());
            return Err(ConvertError::unsupported(&origin.place, why));
        }
        for index in 0..zip.len() {
            // A member that cannot be read is none of those that are looked for, or its absence is told below.
            let Ok(mut member) = zip.by_index(index) else { continue };
            let Ok(name) = member.name().map(std::borrow::Cow::into_owned) else { continue };
            if member.is_file() {
                let result = self.stream(&origin.member(&name, false), &mut Bounded::new(&mut member, self.budget));
                self.problems.extend(result.err());
            }
        }
        Ok(())
    }
}

impl Source {
    /// Whether the files are those of macOS.
    pub(super) fn is_darwin(&self) -> Result<bool, ConvertError> {
        let Files { elf, image, btf, module_btf, dwarf_text, .. } = &self.files;
        let linux = [elf, image, btf, module_btf, dwarf_text].into_iter().flatten().next();
        match (self.files.mach_o.first().or(self.files.vtypes.as_ref()), linux) {
            (Some(mach_o), Some(linux)) => {
                let why =
                    format!("has files of macOS ({}) and of Linux ({}); give those of one", mach_o.name, linux.name);
                Err(ConvertError::unsupported(&self.place, why))
            }
            (mach_o, _) => Ok(mach_o.is_some()),
        }
    }

    /// Waits for the hash of the file that was given; see [`Source::name`] for which one that is.
    pub(super) fn sha256(self) -> Result<Option<String>, ConvertError> {
        let Some(hash) = self.hash else { return Ok(None) };
        let hash = hash.join().unwrap_or_else(|_| Err(io::Error::other("the thread that computes its hash died")));
        hash.map(Some).map_err(|source| ConvertError::Io { place: self.place, source })
    }

    /// What the image at `path`, whose memory is `memory`, has of its Linux kernel, with the files `beside` it.
    pub(super) fn from_image(
        path: &Path,
        memory: &dyn PhysicalMemory,
        beside: &[PathBuf],
    ) -> Result<Self, ConvertError> {
        let place = path.display().to_string();
        let budget = Budget::new();
        let mut finder = Finder { files: Files::default(), budget: &budget, problems: Vec::new() };
        for file in beside {
            finder.named(file)?;
        }
        let Finder { mut files, .. } = finder;
        let found = from_image::find(&place, memory, files.system_map.as_ref())?;
        let input = |what: &str, bytes: Vec<u8>| Input {
            name: format!("{place}: {what}"),
            bytes: Bytes::Read(bytes),
            rank: GIVEN,
            file: path.to_owned(),
        };
        files.btf = files.btf.or_else(|| Some(input("BTF", found.btf?)));
        let of_running_kernel = files.system_map.is_none();
        files.system_map = files.system_map.or_else(|| Some(input("kallsyms", found.kallsyms?)));
        files.config = files.config.or_else(|| Some(input("config", found.config?)));
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let from_image::Found { banner, build_id, vmcoreinfo, .. } = found;
        let problems = Vec::new();
        Ok(Self { place, name, hash: None, banner, build_id, vmcoreinfo, of_running_kernel, files, problems })
    }

    /// Finds the input files in `path`, a file or folder, and in the files `beside` it.
    pub(super) fn open(path: &Path, beside: &[PathBuf]) -> Result<Self, ConvertError> {
        let place = path.display().to_string();
        let budget = Budget::new();
        let mut finder = Finder { files: Files::default(), budget: &budget, problems: Vec::new() };
        let folder = path.is_dir();
        // The hash of a file begins at once: it takes as long as all the rest.
        let mut started = None;
        let given: &[PathBuf] = if folder { &[] } else { &[path.to_owned()] };
        if !folder {
            started = Some(hash(path).map_err(|why| ConvertError::io(path, why))?);
        }
        // What is named comes before what is found.
        for file in beside.iter().chain(given) {
            finder.named(file)?;
        }
        if folder {
            for file in files_of(path, &place)? {
                // A file that cannot be read is none of those that are looked for, or its absence is told below.
                let result = finder.file(&file, false);
                finder.problems.extend(result.err());
            }
        }
        if !finder.files.mach_o.is_empty() {
            for file in macho::companions(path) {
                let result = finder.file(&file, false);
                finder.problems.extend(result.err());
            }
        }
        let Finder { files, mut problems, .. } = finder;
        let Files { elf, image, btf, module_btf, dwarf_text, vtypes, .. } = &files;
        let types = [elf, btf, image, module_btf, dwarf_text, vtypes].into_iter().find_map(Option::as_ref);
        let types =
            types.or_else(|| files.mach_o.iter().find(|input| macho::in_bundle(&input.file))).or(files.mach_o.first());
        let Some(types) = types else {
            if problems.is_empty() {
                return Err(without_types(&place, &files));
            }
            return Err(problems.swap_remove(0));
        };
        let main = if folder { &types.file } else { path };
        let name = main.file_name().unwrap_or(main.as_os_str()).to_string_lossy().into_owned();
        let hash = match started {
            Some(hash) => hash,
            None => hash(main).map_err(|why| ConvertError::io(main, why))?,
        };
        let problems = problems.iter().map(ToString::to_string).collect();
        Ok(Self {
            place,
            name,
            hash: Some(hash),
            banner: None,
            build_id: None,
            vmcoreinfo: None,
            of_running_kernel: false,
            files,
            problems,
        })
    }
}

/// Why there is no profile to make.
fn without_types(place: &str, files: &Files) -> ConvertError {
    let what = if files.system_map.is_some() || files.config.is_some() {
        "has no types"
    } else if let Some(companion) = files.companions.first() {
        let why = format!("{} continues the debugging information of another file; give that one too", companion.name);
        return ConvertError::missing(place, why);
    } else {
        "it holds no ELF file and no BTF"
    };
    ConvertError::missing(
        place,
        format!(
            "{what}: expected module_dwarf.ko (a module built with -g), a vmlinux with debugging information, or the kernel's BTF (/sys/kernel/btf/vmlinux, or the vmlinuz that has it), beside System.map and config"
        ),
    )
}

fn files_of(folder: &Path, place: &str) -> Result<Vec<PathBuf>, ConvertError> {
    let mut files = Vec::new();
    list(folder, MAX_FOLDER_DEPTH, &mut files).map_err(|why| ConvertError::io(folder, why))?;
    if files.len() > MAX_MEMBERS {
        return Err(ConvertError::unsupported(
            place,
            format!("has more than {MAX_MEMBERS} files; give a folder that holds the kernel's files alone"),
        ));
    }
    // The same choice everywhere, whatever the order of the folder on the disk.
    files.sort_unstable();
    Ok(files)
}

fn list(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        } else if depth > 0 && path.is_dir() && files.len() <= MAX_MEMBERS {
            list(&path, depth - 1, files)?;
        }
    }
    Ok(())
}

fn head_of(file: &mut File) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    file.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
    file.rewind()?;
    Ok(head)
}

/// Starts the hashing of a file. It is read, not mapped: the hash takes every byte, and most of a `vmlinux` is needed for
/// nothing else.
fn hash(path: &Path) -> io::Result<JoinHandle<io::Result<String>>> {
    let mut file = File::open(path)?;
    Ok(thread::spawn(move || {
        let mut hasher = Sha256::new();
        let mut block = vec![0; 1 << 18];
        loop {
            match file.read(&mut block)? {
                0 => break,
                len => hasher.update(block.get(..len).unwrap_or_default()),
            }
        }
        Ok(hex(&hasher.finalize()))
    }))
}
