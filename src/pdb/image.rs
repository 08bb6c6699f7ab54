//! The image (.exe, .dll, .sys) that a PDB was made with, which tells the version that the PDB does not.

use crate::pe::{DebugRecord, PeInfo};
use quaid_profile::GuidAge;
use std::path::{Path, PathBuf};

/// What an image tells of its build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// File name of the image.
    pub file_name: String,
    /// File name of the PDB, as the image records it.
    pub pdb_name: String,
    /// Major, minor, build, revision; of an image with version information.
    pub version: Option<[u16; 4]>,
    /// Time of linking, seconds since 1970 or a hash.
    pub time_date_stamp: u32,
    /// Size in memory, in bytes.
    pub size_of_image: u32,
}

/// The image is of another build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its PDB is {}, and this is {pdb}", if .recorded.is_empty() { "not told by GUID".to_owned() } else { .recorded.join(" or ") })]
pub struct OtherImage {
    /// The PDBs that it records, by GUID and age.
    pub recorded: Vec<String>,
    /// The PDB at hand.
    pub pdb: GuidAge,
}

impl Image {
    /// What the image `pe`, a file of this name, tells, when one of its RSDS records is that of the PDB `pdb`.
    ///
    /// # Errors
    /// [`OtherImage`].
    pub fn of(file_name: &str, pe: &PeInfo, pdb: GuidAge) -> Result<Self, OtherImage> {
        let mut recorded = pe.debug.iter().filter_map(|record| match record {
            DebugRecord::Rsds(codeview) => Some(codeview),
            DebugRecord::Nb10 { .. } | DebugRecord::Unknown(_) => None,
        });
        let Some(codeview) = recorded.clone().find(|codeview| codeview.guid_age == pdb) else {
            let recorded = recorded.by_ref().map(|codeview| codeview.guid_age.to_string()).collect();
            return Err(OtherImage { recorded, pdb });
        };
        Ok(Self {
            file_name: file_name.to_owned(),
            pdb_name: codeview.pdb_name.clone(),
            version: pe.file_version,
            time_date_stamp: pe.time_date_stamp,
            size_of_image: pe.size_of_image,
        })
    }

    /// "6.1.7601.17514"
    pub(super) fn version_text(&self) -> Option<String> {
        self.version.map(|version| version.map(|number| number.to_string()).join("."))
    }

    /// What symbol servers know the image by: time stamp and size.
    pub(super) fn code_id(&self) -> String {
        format!("{:08X}{:x}", self.time_date_stamp, self.size_of_image)
    }
}

/// Names by which the image of a PDB may stand beside it: of the same stem, and the kernel's and the 32-bit ntdll's, whose
/// PDBs have another name.
pub fn images_beside(pdb: &Path) -> Vec<PathBuf> {
    let stem = pdb.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let other = match stem.to_lowercase().as_str() {
        "ntkrnlmp" | "ntkrpamp" => Some("ntoskrnl"),
        "wntdll" => Some("ntdll"),
        _ => None,
    };
    let stems = [Some(stem.as_str()), other].into_iter().flatten();
    stems.flat_map(|stem| ["exe", "dll", "sys"].map(|end| pdb.with_file_name(format!("{stem}.{end}")))).collect()
}
