//! Is this the PDB that was asked for?

use crate::pdb::{self, PdbError};
use quaid_profile::GuidAge;

/// Why a file is not the PDB that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// It is no PDB, or a damaged one.
    #[error(transparent)]
    Pdb(#[from] PdbError),
    /// A PDB of another build.
    #[error("it is the PDB {found}, not {wanted}")]
    OtherBuild {
        /// GUID and age of the file.
        found: GuidAge,
        /// GUID and age that were asked for.
        wanted: GuidAge,
    },
}

/// Succeeds when `bytes` are a PDB with the GUID of the info stream, and the age of the DBI stream, of `wanted`.
pub fn verify(bytes: &[u8], wanted: GuidAge) -> Result<(), VerifyError> {
    let found = pdb::identity(bytes)?;
    if found == wanted { Ok(()) } else { Err(VerifyError::OtherBuild { found, wanted }) }
}
