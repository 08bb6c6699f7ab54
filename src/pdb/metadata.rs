//! `$METADATA` of a profile made from a PDB.

use super::ParseOptions;
use super::dbi::Info;
use super::image::Image;
use crate::hex::hex;
use quaid_analyzer::Time;
use quaid_profile::{Arch, Metadata};
use sha2::{Digest, Sha256};

/// Classes that readers know by the name of the PDB: the kernels, and modules with a class of their own.
const CLASSES: [&str; 10] =
    ["Nt", "Ntkrnlmp", "Ntkrnlpa", "Ntkrpamp", "Ntoskrnl", "Ntdll", "Tcpip", "Win32k", "Win32kbase", "Win32kfull"];

const OTHER_CLASS: &str = "BasicPEProfile";

/// The `ProfileClass` of a PDB of this file name, unless the user tells one: "Ntkrnlmp" for `ntkrnlmp.pdb`, else
/// "BasicPEProfile".
pub fn default_profile_class(file_name: &str) -> &'static str {
    let stem = file_name.rsplit_once('.').map_or(file_name, |(stem, _)| stem);
    CLASSES.iter().find(|class| class.eq_ignore_ascii_case(stem)).copied().unwrap_or(OTHER_CLASS)
}

/// What a PDB tells of itself.
pub(super) struct Told<'i> {
    pub(super) info: &'i Info,
    /// GUID and age, or signature and age, as symbol servers know it.
    pub(super) identity: &'i str,
    /// The age in it: the DBI stream's.
    pub(super) age: u32,
    pub(super) arch: Arch,
    /// File name of the PDB that the linker was told to write.
    pub(super) pdb_name: Option<String>,
}

pub(super) fn metadata(bytes: &[u8], told: &Told<'_>, options: &ParseOptions) -> Metadata {
    let mut metadata = Metadata::default();
    let image = options.image.as_ref();
    let pdb_name = image.map(|image| image.pdb_name.as_str()).or(told.pdb_name.as_deref());
    // A file that was renamed is known by the name that it was made with.
    let by_name = [Some(options.file_name.as_str()), pdb_name].into_iter().flatten().map(default_profile_class);
    let class = by_name.reduce(|file, recorded| if file == OTHER_CLASS { recorded } else { file });
    metadata.set("Type", "Profile");
    metadata.set("ProfileClass", options.profile_class.as_deref().or(class).unwrap_or(OTHER_CLASS));
    metadata.set("PDBFile", options.file_name.as_str());
    if let Some(name) = pdb_name {
        metadata.set("PDBName", name);
    }
    metadata.set("GUID_AGE", told.identity);
    if told.info.age != told.age {
        metadata.set("InfoAge", told.info.age);
    }
    metadata.set("Timestamp", timestamp(told.info.signature));
    metadata.set("Version", told.info.version);
    metadata.set("arch", told.arch.name());
    let version = options.windows_version.clone().or_else(|| image.and_then(Image::version_text));
    for (key, part) in ["major", "minor", "rev"].into_iter().zip(version.unwrap_or_default().splitn(3, '.')) {
        if !part.is_empty() {
            metadata.set(key, part);
        }
    }
    if let Some(image) = image {
        metadata.set("PEFile", image.file_name.as_str());
        metadata.set("CodeID", image.code_id());
    }
    metadata.set("Producer", concat!("quaid ", env!("CARGO_PKG_VERSION")));
    metadata.set("Source", options.file_name.as_str());
    metadata.set("SourceSHA256", hex(&Sha256::digest(bytes)));
    metadata
}

/// Seconds since 1970 as `2010-11-20 08:44:05Z`.
pub(super) fn timestamp(seconds: u32) -> String {
    format!("{}Z", Time { unix_seconds: seconds.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_times() {
        assert_eq!(default_profile_class("ntkrnlmp.pdb"), "Ntkrnlmp");
        assert_eq!(default_profile_class("NTKRPAMP.PDB"), "Ntkrpamp");
        assert_eq!(default_profile_class("kernel32.pdb"), "BasicPEProfile");
        assert_eq!(timestamp(0x4ce7_8a15), "2010-11-20 08:43:01Z");
    }
}
