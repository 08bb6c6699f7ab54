//! `$METADATA` of a profile made from a PDB.

use super::ParseOptions;
use super::dbi::Info;
use crate::hex::hex;
use quaid_analyzer::Time;
use quaid_profile::{Arch, Metadata};
use sha2::{Digest, Sha256};

/// Classes that readers know by the name of the PDB: the kernels, and modules with a class of their own.
const CLASSES: [&str; 10] =
    ["Nt", "Ntkrnlmp", "Ntkrnlpa", "Ntkrpamp", "Ntoskrnl", "Ntdll", "Tcpip", "Win32k", "Win32kbase", "Win32kfull"];

/// The `ProfileClass` of a PDB of this file name, unless the user tells one: "Ntkrnlmp" for `ntkrnlmp.pdb`, else
/// "BasicPEProfile".
pub fn default_profile_class(file_name: &str) -> &'static str {
    let stem = file_name.rsplit_once('.').map_or(file_name, |(stem, _)| stem);
    CLASSES.iter().find(|class| class.eq_ignore_ascii_case(stem)).copied().unwrap_or("BasicPEProfile")
}

pub(super) fn metadata(bytes: &[u8], info: &Info, identity: &str, arch: Arch, options: &ParseOptions) -> Metadata {
    let mut metadata = Metadata::default();
    metadata.set("Type", "Profile");
    metadata.set(
        "ProfileClass",
        options.profile_class.as_deref().unwrap_or_else(|| default_profile_class(&options.file_name)),
    );
    metadata.set("PDBFile", options.file_name.as_str());
    metadata.set("GUID_AGE", identity);
    metadata.set("Timestamp", timestamp(info.signature));
    metadata.set("Version", info.version);
    metadata.set("arch", arch.name());
    let version = options.windows_version.as_deref().unwrap_or_default();
    for (key, part) in ["major", "minor", "rev"].into_iter().zip(version.splitn(3, '.')) {
        if !part.is_empty() {
            metadata.set(key, part);
        }
    }
    metadata.set("Producer", concat!("quaid ", env!("CARGO_PKG_VERSION")));
    metadata.set("Source", options.file_name.as_str());
    metadata.set("SourceSHA256", hex(&Sha256::digest(bytes)));
    metadata
}

/// Seconds since 1970 as `2010-11-20 08:44:05Z`.
fn timestamp(seconds: u32) -> String {
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
