//! PE files (.exe, .dll, .sys): what tells one build from another.
//!
//! [`parse`] reads headers, sections, data directories, the debug directory, exports and version information;
//! [`codeview`] only which PDB belongs to the file. A part that is damaged is told in [`PeInfo::problems`] and the rest
//! is read. Format: Microsoft, "PE Format" (learn.microsoft.com/windows/win32/debug/pe-format).

mod codeview;
mod exports;
mod names;
mod version;

pub use codeview::{CodeView, DebugRecord};
pub use exports::{Export, Exports, Target};
pub use names::{characteristics, directory_name, machine_name};

use object::LittleEndian as LE;
use object::pe::{ImageNtHeaders32, ImageNtHeaders64};
use object::read::FileKind;
use object::read::pe::{ImageNtHeaders, ImageOptionalHeader, PeFile};

/// The longest PE file that commands read, in bytes; a PE file itself has no more than 4 GiB.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// Why a PE file could not be read, or names no PDB.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeError {
    /// The bytes are no PE file.
    #[error("not a PE file (.exe, .dll, .sys): {0}")]
    NotPe(String),
    /// The debug directory is damaged.
    #[error("damaged PE file: {what}: {why}")]
    Damaged {
        /// What was being read.
        what: &'static str,
        /// What was wrong with it.
        why: String,
    },
    /// It names a PDB by a time stamp, as Visual C++ 6 did; servers and profiles go by GUID.
    #[error(
        "it names its PDB {0} by a time stamp (NB10, Visual C++ 6 and older) and not by a GUID, which is not supported"
    )]
    Nb10(String),
    /// It has no CodeView record.
    #[error("it names no PDB: its debug directory has no CodeView record")]
    NoPdb,
}

/// A section of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Name, up to eight bytes.
    pub name: String,
    /// Whether it may be executed, read, written: `xrw`, with a dash for what it may not.
    pub permissions: String,
    /// Where its bytes are in the file.
    pub raw_offset: u32,
    /// Where it is in memory: RVA, in bytes from the image base.
    pub rva: u32,
    /// Its size in memory, in bytes.
    pub size: u32,
}

/// An entry of the table of data directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDirectory {
    /// `IMAGE_DIRECTORY_ENTRY_*`.
    pub name: String,
    /// RVA; a file offset for the certificates (`SECURITY`).
    pub rva: u32,
    /// Size in bytes.
    pub size: u32,
}

/// What [`parse`] finds. Versions are (major, minor).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeInfo {
    /// `IMAGE_FILE_MACHINE_*`, as a number.
    pub machine: u16,
    /// Time of linking, seconds since 1970; newer linkers write a hash.
    pub time_date_stamp: u32,
    /// `IMAGE_FILE_*` flags.
    pub characteristics: u16,
    /// Operating system that it needs.
    pub operating_system_version: (u16, u16),
    /// Version that the linker was told.
    pub image_version: (u16, u16),
    /// Subsystem that it needs.
    pub subsystem_version: (u16, u16),
    /// Virtual address that it prefers.
    pub image_base: u64,
    /// Size in memory, in bytes.
    pub size_of_image: u32,
    /// Every CodeView record of the debug directory.
    pub debug: Vec<DebugRecord>,
    /// Sections in the order of their headers.
    pub sections: Vec<Section>,
    /// Data directories that are there.
    pub directories: Vec<DataDirectory>,
    /// Exports, if any.
    pub exports: Option<Exports>,
    /// Version of the file: major, minor, build, revision.
    pub file_version: Option<[u16; 4]>,
    /// Keys and values of the version information, in the order of the file.
    pub version: Vec<(String, String)>,
    /// What is damaged.
    pub problems: Vec<String>,
}

impl PeInfo {
    /// The first record that names a PDB by GUID.
    pub fn codeview(&self) -> Option<&CodeView> {
        self.debug.iter().find_map(|record| match record {
            DebugRecord::Rsds(codeview) => Some(codeview),
            DebugRecord::Nb10 { .. } | DebugRecord::Unknown(_) => None,
        })
    }
}

/// Reads a PE file.
///
/// # Errors
/// [`PeError::NotPe`]. Damage behind the headers is no error: see [`PeInfo::problems`].
pub fn parse(bytes: &[u8]) -> Result<PeInfo, PeError> {
    match kind(bytes)? {
        FileKind::Pe32 => parse_headers::<ImageNtHeaders32>(bytes),
        _ => parse_headers::<ImageNtHeaders64>(bytes),
    }
}

/// Which PDB belongs to a PE file: the first record of its debug directory that tells a GUID.
///
/// # Errors
/// [`PeError`]: no PE file, a damaged one, or one that names no PDB in a way that is supported.
pub fn codeview(bytes: &[u8]) -> Result<CodeView, PeError> {
    let records = match kind(bytes)? {
        FileKind::Pe32 => codeview::records(&open::<ImageNtHeaders32>(bytes)?)?,
        _ => codeview::records(&open::<ImageNtHeaders64>(bytes)?)?,
    };
    let mut old = None;
    for record in records {
        match record {
            DebugRecord::Rsds(codeview) => return Ok(codeview),
            DebugRecord::Nb10 { pdb_name, .. } => old = old.or(Some(pdb_name)),
            DebugRecord::Unknown(_) => {}
        }
    }
    Err(old.map_or(PeError::NoPdb, PeError::Nb10))
}

fn kind(bytes: &[u8]) -> Result<FileKind, PeError> {
    match FileKind::parse(bytes) {
        Ok(kind @ (FileKind::Pe32 | FileKind::Pe64)) => Ok(kind),
        Ok(_) => Err(PeError::NotPe("its header is another format's".into())),
        Err(_) if bytes.is_empty() => Err(PeError::NotPe("it is empty".into())),
        Err(_) => Err(PeError::NotPe("it has no MZ and PE headers".into())),
    }
}

fn open<Pe: ImageNtHeaders>(bytes: &[u8]) -> Result<PeFile<'_, Pe>, PeError> {
    PeFile::parse(bytes).map_err(|why| PeError::NotPe(why.to_string()))
}

fn parse_headers<Pe: ImageNtHeaders>(bytes: &[u8]) -> Result<PeInfo, PeError> {
    let file = open::<Pe>(bytes)?;
    let (header, optional) = (file.nt_headers().file_header(), file.nt_headers().optional_header());
    let mut problems = Vec::new();
    let mut told = |what: &str, why: String| problems.push(format!("{what}: {why}"));
    let debug = codeview::records(&file).unwrap_or_else(|why| {
        told("debug directory", why.to_string());
        Vec::new()
    });
    let exports = exports::read(&file, |why| told("export directory", why)).unwrap_or_else(|why| {
        told("export directory", why.to_string());
        None
    });
    let version = version::read(&file).unwrap_or_else(|why| {
        told("version information", why);
        version::Version::default()
    });
    Ok(PeInfo {
        machine: header.machine.get(LE).0,
        time_date_stamp: header.time_date_stamp.get(LE),
        characteristics: header.characteristics.get(LE).0,
        operating_system_version: (
            optional.major_operating_system_version(),
            optional.minor_operating_system_version(),
        ),
        image_version: (optional.major_image_version(), optional.minor_image_version()),
        subsystem_version: (optional.major_subsystem_version(), optional.minor_subsystem_version()),
        image_base: optional.image_base(),
        size_of_image: optional.size_of_image(),
        debug,
        sections: sections(&file),
        directories: directories(&file),
        exports,
        file_version: version.file,
        version: version.strings,
        problems,
    })
}

fn sections<Pe: ImageNtHeaders>(file: &PeFile<'_, Pe>) -> Vec<Section> {
    let section = |header: &object::pe::ImageSectionHeader| {
        let flags = header.characteristics.get(LE).0;
        let allowed = [(0x2000_0000, 'x'), (0x4000_0000, 'r'), (0x8000_0000, 'w')];
        let name = header.name.split(|&b| b == 0).next().unwrap_or_default();
        Section {
            name: String::from_utf8_lossy(name).into_owned(),
            permissions: allowed.iter().map(|&(flag, letter)| if flags & flag == 0 { '-' } else { letter }).collect(),
            raw_offset: header.pointer_to_raw_data.get(LE),
            rva: header.virtual_address.get(LE),
            size: header.virtual_size.get(LE),
        }
    };
    file.section_table().iter().map(section).collect()
}

fn directories<Pe: ImageNtHeaders>(file: &PeFile<'_, Pe>) -> Vec<DataDirectory> {
    let all = file.data_directories();
    let present = all.enumerate().filter(|(_, directory)| directory.virtual_address.get(LE) != 0);
    present
        .map(|(index, directory)| DataDirectory {
            name: directory_name(index),
            rva: directory.virtual_address.get(LE),
            size: directory.size.get(LE),
        })
        .collect()
}
