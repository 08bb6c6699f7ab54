//! `--rekall_compat`: what the original Rekall's `parse_pdb` made of a PDB, its faults included.
//!
//! For comparison with old profiles and with the original's output only. It shares with the converter the readers of
//! the container and of the DBI header and its limits, but nothing that knows a record: a fault here must not come to be
//! one there. What the original did was
//! observed from its output; of its faults, those that show in a profile are
//!
//! - types: see `types`;
//! - symbols: `S_PUB32` records only, of which names and literals lose what tells them apart, and code that OMAP says
//!   was removed is at the address 0; see `symbols`;
//! - identity: the age is the info stream's, and `arch` is told of a PDB only that has a function of 4 or 12 bytes of
//!   arguments in its name, as I386;
//! - streams are read to the end of their last page, with what an earlier state of the file left there.

mod symbols;
mod types;

use super::budget::Budget;
use super::container::Container;
use super::dbi::{Dbi, Info};
use super::error::PdbError;
use super::metadata::{default_profile_class, timestamp};
use super::{ParseOptions, ParseReport, Parsed, Progress};
use quaid_profile::{GuidAge, Metadata, Profile};
use types::Types;

/// The original's profile of a PDB. Of `options`, names, version and `concise` are heeded.
///
/// # Errors
/// As [`super::parse`]; and [`PdbError::Unsupported`] for PDBs of format 2.00, which the original refused.
pub(super) fn parse(
    container: &Container<'_>,
    info: &Info,
    dbi: Option<&Dbi>,
    options: &ParseOptions,
    progress: Progress<'_>,
) -> Result<Parsed, PdbError> {
    let Some(guid) = info.guid else {
        return Err(PdbError::Unsupported(
            "a PDB without a GUID (Visual C++ 6 and older) has no form of the original Rekall, which refused it: leave \
             out --rekall_compat"
                .into(),
        ));
    };
    let mut report = ParseReport::default();
    let mut profile = Profile::default();
    progress("Parsing types", 0);
    let stream = container.stream_with_padding(2, "type stream")?;
    let mut budget = Budget::for_stream(stream.len());
    Types::new(&stream).fill(&mut profile, &mut budget, &mut report)?;
    progress("Parsing types", 100);
    let mut is_i386 = false;
    if let Some(dbi) = dbi {
        is_i386 = symbols::fill(container, dbi, &mut profile)?;
    }
    if options.concise {
        profile.constants.clear();
        profile.functions.clear();
    }
    let id = GuidAge::from_le_bytes(guid, info.age);
    profile.metadata = metadata(info, id, is_i386, options);
    report.structs = profile.structs.len();
    report.enums = profile.enums.len();
    report.constants = profile.constants.len();
    report.functions = profile.functions.len();
    Ok(Parsed { profile, report })
}

fn metadata(info: &Info, id: GuidAge, is_i386: bool, options: &ParseOptions) -> Metadata {
    let mut metadata = Metadata::default();
    let class = options.profile_class.as_deref().unwrap_or(default_profile_class(&options.file_name));
    metadata.set("Type", "Profile");
    metadata.set("ProfileClass", class);
    metadata.set("PDBFile", options.file_name.as_str());
    metadata.set("GUID_AGE", id.to_string());
    metadata.set("Timestamp", timestamp(info.signature));
    metadata.set("Version", info.version);
    if is_i386 {
        metadata.set("arch", "I386");
    }
    let version = options.windows_version.as_deref().unwrap_or_default();
    for (key, part) in ["major", "minor", "rev"].into_iter().zip(version.splitn(3, '.')) {
        if !part.is_empty() {
            metadata.set(key, part);
        }
    }
    metadata
}
