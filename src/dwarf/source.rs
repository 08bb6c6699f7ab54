//! The files that a Linux profile is made of, found in a zip, in a folder, or given as one ELF file.
//!
//! What a file is, its first bytes tell; names only choose among several (Rekall's `make profile` puts
//! `module_dwarf.ko`, `pmem.ko`, `boot/System.map-RELEASE` and `boot/config-RELEASE` into the zip; others use other
//! folders).

use super::{ConvertError, kconfig, system_map};
use memmap2::Mmap;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use zip::ZipArchive;

/// The most members that a zip may have, or files a folder; the seeds' have three to ten.
const MAX_MEMBERS: usize = 4096;
/// How deep folders are searched.
const MAX_FOLDER_DEPTH: usize = 4;
/// How much of a file tells what it is, in bytes.
const HEAD_BYTES: u64 = 4096;

/// The input files of one conversion.
pub(super) struct Source {
    /// The path as given.
    pub(super) place: String,
    /// Base name of the file that was given; of a folder, that of the ELF file in it.
    pub(super) name: String,
    /// SHA-256 of that file, lower-case hex, computed meanwhile: it takes a tenth of the time of all the rest.
    hash: JoinHandle<io::Result<String>>,
    /// The module or `vmlinux`.
    pub(super) elf: Input,
    /// The System.map.
    pub(super) system_map: Option<Input>,
    /// The kernel's configuration.
    pub(super) config: Option<Input>,
}

/// One file's name, for messages, and its bytes.
pub(super) struct Input {
    pub(super) name: String,
    bytes: Bytes,
}

enum Bytes {
    Mapped(Mmap),
    Read(Vec<u8>),
}

impl Input {
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(map) => map,
            Bytes::Read(bytes) => bytes,
        }
    }
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Elf,
    SystemMap,
    Config,
    DwarfText,
}

impl Kind {
    fn of(head: &[u8]) -> Option<Self> {
        if head.starts_with(b"\x7fELF") {
            Some(Self::Elf)
        } else if system_map::looks_like(head) {
            Some(Self::SystemMap)
        } else if kconfig::looks_like(head) {
            Some(Self::Config)
        } else if memchr::memmem::find(head, b"DW_TAG_compile_unit").is_some() {
            Some(Self::DwarfText)
        } else {
            None
        }
    }

    /// The most bytes that a zip's member of this kind may unpack to. A `vmlinux` is larger, and is mapped, not unpacked.
    fn limit(self) -> u64 {
        match self {
            Self::Elf => 256 << 20,
            Self::SystemMap => 64 << 20,
            Self::Config | Self::DwarfText => 4 << 20,
        }
    }

    /// Which of several files of this kind is meant: the smallest rank, then the first name.
    fn rank(self, name: &str) -> u8 {
        let path = name.to_ascii_lowercase();
        let base = path.rsplit('/').next().unwrap_or_default();
        let by_preference: [bool; 2] = match self {
            Self::Elf => [base.starts_with("vmlinux"), base.contains("module") && has_extension(base, "ko")],
            Self::SystemMap => [base.starts_with("system.map"), base.contains("map")],
            Self::Config => [base.starts_with("config"), base.contains("config")],
            Self::DwarfText => [has_extension(base, "dwarf"), false],
        };
        by_preference.iter().position(|&fits| fits).map_or(2, |rank| rank as u8)
    }
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

/// Of the members seen so far, the best of each kind: rank, name, and where it is.
struct Best<P>(Vec<(Kind, u8, String, P)>);

impl<P> Best<P> {
    fn offer(&mut self, kind: Kind, name: String, place: P) {
        let rank = kind.rank(&name);
        match self.0.iter_mut().find(|(known, ..)| *known == kind) {
            Some(best) if (rank, &name) < (best.1, &best.2) => *best = (kind, rank, name, place),
            Some(_) => {}
            None => self.0.push((kind, rank, name, place)),
        }
    }

    fn take(&mut self, kind: Kind) -> Option<(String, P)> {
        let at = self.0.iter().position(|(known, ..)| *known == kind)?;
        let (_, _, name, place) = self.0.swap_remove(at);
        Some((name, place))
    }

    /// The ELF file, or the reason why there is none.
    fn take_elf(&mut self, place: &str) -> Result<(String, P), ConvertError> {
        self.take(Kind::Elf).ok_or_else(|| match self.take(Kind::DwarfText) {
            Some((name, _)) => dwarf_text(&format!("{place}: {name}")),
            None => ConvertError::missing(
                place,
                "it holds no ELF file: expected module_dwarf.ko (a module built with -g, beside System.map and config) or a vmlinux",
            ),
        })
    }
}

fn dwarf_text(place: &str) -> ConvertError {
    ConvertError::unsupported(
        place,
        "is the text that dwarfdump printed, which is not supported; put the module_dwarf.ko that it was printed from in its place",
    )
}

impl Source {
    /// Waits for the hash of the file that was given; see [`Source::name`] for which one that is.
    pub(super) fn sha256(self) -> Result<String, ConvertError> {
        let hash = self.hash.join().unwrap_or_else(|_| Err(io::Error::other("the thread that computes its hash died")));
        hash.map_err(|source| ConvertError::Io { place: self.place, source })
    }

    /// Finds the input files in `path`: a zip, a folder, or an ELF file.
    pub(super) fn open(path: &Path) -> Result<Self, ConvertError> {
        let place = path.display().to_string();
        if path.is_dir() {
            return Self::from_folder(path, place);
        }
        let mut file = File::open(path).map_err(|why| ConvertError::io(path, why))?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let head = head_of(&mut file).map_err(|why| ConvertError::io(path, why))?;
        let hash = hash(path).map_err(|why| ConvertError::io(path, why))?;
        if head.starts_with(b"PK") {
            return Self::from_zip(file, place, name, hash);
        }
        match Kind::of(&head) {
            Some(Kind::Elf) => {
                let bytes = Bytes::Mapped(map(&file).map_err(|why| ConvertError::io(path, why))?);
                Ok(Self {
                    elf: Input { name: place.clone(), bytes },
                    place,
                    name,
                    hash,
                    system_map: None,
                    config: None,
                })
            }
            Some(Kind::DwarfText) => Err(dwarf_text(&place)),
            Some(Kind::SystemMap | Kind::Config) => Err(ConvertError::missing(
                &place,
                "has no types; give the zip or folder that has module_dwarf.ko beside it, or the vmlinux with debugging information",
            )),
            None => Err(ConvertError::unsupported(
                &place,
                "is neither a zip, a folder nor an ELF file; expected the zip of module_dwarf.ko, System.map and config, or a vmlinux",
            )),
        }
    }

    fn from_folder(path: &Path, place: String) -> Result<Self, ConvertError> {
        let mut files = Vec::new();
        list(path, MAX_FOLDER_DEPTH, &mut files).map_err(|why| ConvertError::io(path, why))?;
        if files.len() > MAX_MEMBERS {
            return Err(ConvertError::unsupported(
                &place,
                format!("has more than {MAX_MEMBERS} files; give a folder that holds the kernel's files alone"),
            ));
        }
        let mut best = Best(Vec::new());
        for file in files {
            // A file that cannot be read is none of those that are looked for, or its absence is told below.
            let head = File::open(&file).and_then(|mut file| head_of(&mut file));
            if let Some(kind) = head.ok().as_deref().and_then(Kind::of) {
                let name = file.strip_prefix(path).unwrap_or(&file).to_string_lossy().into_owned();
                best.offer(kind, name, file);
            }
        }
        let open = |(_, path): (String, PathBuf)| -> Result<Input, ConvertError> {
            let bytes = File::open(&path).and_then(|file| map(&file)).map_err(|why| ConvertError::io(&path, why))?;
            Ok(Input { name: path.display().to_string(), bytes: Bytes::Mapped(bytes) })
        };
        let (name, elf) = best.take_elf(&place)?;
        let hash = hash(&elf).map_err(|why| ConvertError::io(&elf, why))?;
        let base = elf.file_name().unwrap_or(elf.as_os_str()).to_string_lossy().into_owned();
        Ok(Self {
            place,
            hash,
            name: base,
            elf: open((name, elf))?,
            system_map: best.take(Kind::SystemMap).map(open).transpose()?,
            config: best.take(Kind::Config).map(open).transpose()?,
        })
    }

    fn from_zip(
        file: File,
        place: String,
        name: String,
        hash: JoinHandle<io::Result<String>>,
    ) -> Result<Self, ConvertError> {
        let mut zip = ZipArchive::new(io::BufReader::new(file))
            .map_err(|why| ConvertError::corrupt(&place, format!("damaged zip: {why}")))?;
        if zip.len() > MAX_MEMBERS {
            return Err(ConvertError::unsupported(
                &place,
                format!("has {} members, more than the {MAX_MEMBERS} that are searched", zip.len()),
            ));
        }
        let mut best = Best(Vec::new());
        for index in 0..zip.len() {
            // A member that cannot be read is none of those that are looked for, or its absence is told below.
            let Ok(member) = zip.by_index(index) else { continue };
            let Ok(name) = member.name().map(std::borrow::Cow::into_owned) else { continue };
            let mut head = Vec::new();
            if member.is_file()
                && member.take(HEAD_BYTES).read_to_end(&mut head).is_ok()
                && let Some(kind) = Kind::of(&head)
            {
                best.offer(kind, name, (index, kind));
            }
        }
        let mut unpack = |(name, (index, kind)): (String, (usize, Kind))| -> Result<Input, ConvertError> {
            let name = format!("{place}: {name}");
            let member =
                zip.by_index(index).map_err(|why| ConvertError::corrupt(&name, format!("damaged zip: {why}")))?;
            let mut bytes = Vec::new();
            let limit = kind.limit();
            member
                .take(limit + 1)
                .read_to_end(&mut bytes)
                .map_err(|why| ConvertError::corrupt(&name, format!("damaged zip: {why}")))?;
            if bytes.len() as u64 > limit {
                return Err(ConvertError::unsupported(
                    &name,
                    format!(
                        "unpacks to more than {} MiB; if the zip is to be trusted, unpack it and give the folder",
                        limit >> 20
                    ),
                ));
            }
            Ok(Input { name, bytes: Bytes::Read(bytes) })
        };
        let elf = unpack(best.take_elf(&place)?)?;
        let system_map = best.take(Kind::SystemMap).map(&mut unpack).transpose()?;
        let config = best.take(Kind::Config).map(&mut unpack).transpose()?;
        Ok(Self { place, name, hash, elf, system_map, config })
    }
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
        Ok(format!("{:x}", hasher.finalize()))
    }))
}

#[expect(unsafe_code, reason = "a vmlinux of 600 MB is mapped, of which a third is looked at")]
fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is read-only and private to this process. That the file changes under it cannot be excluded: a
    // file that is cut meanwhile ends the process by SIGBUS, one that is written to gives other bytes, which every
    // reader checks as it checks any hostile file.
    unsafe { Mmap::map(file) }
}
