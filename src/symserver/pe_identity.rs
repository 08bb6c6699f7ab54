//! The PDB that a PE file names in its debug directory.

use object::read::pe::PeFile;
use quaid_profile::GuidAge;

/// Why a PE file names no PDB.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeError {
    /// The bytes are no PE file, or a damaged one.
    #[error("it is no PE file (.exe, .dll, .sys): {0}")]
    NoPe(String),
    /// A PE file without an RSDS record.
    #[error("it names no PDB: its debug directory has no RSDS record")]
    NoPdb,
}

/// The recorded path of the PDB, as text, and its identity.
pub fn pdb_of_pe(bytes: &[u8]) -> Result<(String, GuidAge), PeError> {
    use object::FileKind;
    let no_pe = |error: object::Error| PeError::NoPe(error.to_string());
    let info = match FileKind::parse(bytes).map_err(no_pe)? {
        FileKind::Pe32 => pdb_info::<object::pe::ImageNtHeaders32>(bytes),
        FileKind::Pe64 => pdb_info::<object::pe::ImageNtHeaders64>(bytes),
        _ => return Err(PeError::NoPe("its header is another format's".into())),
    };
    info.map_err(no_pe)?.ok_or(PeError::NoPdb)
}

fn pdb_info<H: object::read::pe::ImageNtHeaders>(bytes: &[u8]) -> object::Result<Option<(String, GuidAge)>> {
    use object::Object as _;
    let file = PeFile::<H>::parse(bytes)?;
    let info = file.pdb_info()?;
    Ok(info.map(|info| {
        (String::from_utf8_lossy(info.path()).into_owned(), GuidAge::from_le_bytes(info.guid(), info.age()))
    }))
}
