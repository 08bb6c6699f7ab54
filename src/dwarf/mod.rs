//! Linux profiles from debugging information: the zip of the seeds (a kernel module with DWARF, System.map, config) or a
//! `vmlinux` with DWARF.
//!
//! The parts: `source` finds the files, `elf` opens the ELF file and hands out its sections and symbols, `units`
//! reads DWARF's compilation units, `survey` walks all of them once to learn which types and variables there are,
//! `types` builds the model of those that are kept, `system_map` and `kconfig` read the text files.
//!
//! DWARF 2 to 5 (<https://dwarfstd.org>) as gcc and clang write it for C. What cannot be represented is counted in
//! [`ConvertReport`]. A hostile file gives an error: every walk is bounded by the size of the file, every count is
//! checked before memory is taken for it.

mod elf;
mod kconfig;
mod known_symbols;
mod report;
mod source;
mod survey;
mod system_map;
mod types;
mod units;

pub use report::{ConvertReport, OtherLayouts};

use quaid_profile::Profile;
use source::Source;
use std::path::Path;

/// Why a profile could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// A file could not be read.
    #[error("cannot read {place}: {source}")]
    Io {
        /// The file.
        place: String,
        /// The reason.
        source: std::io::Error,
    },
    /// The file is damaged.
    #[error("{place}: {why}")]
    Corrupt {
        /// The file, and the part of it.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// The file is sound, but of a kind or size that is not supported.
    #[error("{place}: {why}")]
    Unsupported {
        /// The file, and the part of it.
        place: String,
        /// What it is, and what to do instead.
        why: String,
    },
    /// Something that a profile needs is not there.
    #[error("{place}: {why}")]
    Missing {
        /// The file that was searched.
        place: String,
        /// What is missing, and where it comes from.
        why: String,
    },
}

impl ConvertError {
    fn corrupt(place: &str, why: impl Into<String>) -> Self {
        Self::Corrupt { place: place.to_owned(), why: why.into() }
    }
    fn unsupported(place: &str, why: impl Into<String>) -> Self {
        Self::Unsupported { place: place.to_owned(), why: why.into() }
    }
    fn missing(place: &str, why: impl Into<String>) -> Self {
        Self::Missing { place: place.to_owned(), why: why.into() }
    }
    fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { place: path.display().to_string(), source }
    }
}

/// Makes the profile of a Linux kernel from `path`: a zip or folder with a module, a System.map and a config, or a
/// `vmlinux`. Addresses are those of the link. `profile_class` is written as it is ("Linux").
pub fn convert(path: &Path, profile_class: &str) -> Result<(Profile, ConvertReport), ConvertError> {
    let source = Source::open(path)?;
    let mut profile = Profile::default();
    let mut report = ConvertReport::default();

    let elf = elf::Elf::parse(&source.elf.name, source.elf.bytes())?;
    add_metadata(&mut profile, &source, &elf, profile_class);
    if let Some(map) = &source.system_map {
        system_map::read(map.bytes(), &mut profile, &mut report);
        if profile.constants.is_empty() && profile.functions.is_empty() {
            return Err(ConvertError::corrupt(
                &map.name,
                "no line of the form `ADDRESS TYPE NAME` with an address other than 0",
            ));
        }
    } else if elf.is_kernel() {
        elf.add_symbols(&mut profile, &mut report)?;
    } else {
        return Err(ConvertError::missing(
            &source.place,
            "there is no System.map beside the module, and without it no address is known; put /boot/System.map-$(uname -r) of the same kernel into the zip or folder",
        ));
    }
    if let Some(config) = &source.config {
        kconfig::read(config.bytes(), &mut profile, &mut report);
    }
    if let Some(base) = profile.symbol("_text").or_else(|| profile.symbol("_stext")) {
        profile.metadata.set("KernelBase", format!("{:#x}", base.address));
    }

    let sections = elf.debug_sections()?;
    let units = units::Units::parse(&source.elf.name, &sections)?;
    let survey = survey::Survey::of(&units, &mut report);
    types::build(&units, survey, &elf, &mut profile, &mut report)?;
    report.known_symbols = known_symbols::add_types(&mut profile);
    if profile.structs.is_empty() {
        return Err(ConvertError::missing(&source.elf.name, report.why_no_types()));
    }
    profile.metadata.set("SourceSHA256", source.sha256()?);
    report.structs = profile.structs.len();
    report.enums = profile.enums.len();
    report.constants = profile.constants.len();
    report.functions = profile.functions.len();
    Ok((profile, report))
}

fn add_metadata(profile: &mut Profile, source: &Source, elf: &elf::Elf, profile_class: &str) {
    let metadata = &mut profile.metadata;
    metadata.set("Type", "Profile");
    metadata.set("ProfileClass", profile_class);
    metadata.set("Version", 1);
    metadata.set("arch", elf.arch.name());
    metadata.set("Producer", concat!("quaid ", env!("CARGO_PKG_VERSION")));
    metadata.set("Source", source.name.as_str());
    if let Some(release) = elf.release() {
        metadata.set("Release", release);
    }
    if let Some(banner) = elf.banner() {
        metadata.set("Banner", banner);
    }
    if let Some(id) = elf.build_id() {
        metadata.set("BuildID", id.to_string());
    }
}
