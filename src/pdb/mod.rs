//! PDBs: Microsoft's debug information, to a profile.
//!
//! [`parse`] takes the bytes of a PDB and gives a [`Profile`] and a [`ParseReport`]. Only what a profile holds is read:
//! the info stream, types (TPI), the header of DBI, section headers, OMAP and the symbol records. A record that cannot
//! be read is counted and the rest goes on.
//!
//! | stream | read by | to |
//! |---|---|---|
//! | container (MSF) | `container` | streams |
//! | 1 info, 3 DBI | `dbi` | identity, architecture, numbers of the others |
//! | 2 types | `records` (`records16`) one by one, `table` by index, `naming` (with `sameness`), `convert` (with `virtual_bases`) | structs, enums |
//! | section headers, OMAP | `address` | RVAs |
//! | symbol records | `symbols`, `decoration` | constants, functions, types of data |

mod address;
mod budget;
mod bytes;
mod container;
mod convert;
mod dbi;
mod decoration;
mod error;
mod metadata;
mod naming;
mod primitive;
mod records;
mod records16;
mod sameness;
mod symbols;
mod table;
mod virtual_bases;

pub use error::PdbError;
pub use metadata::default_profile_class;

use address::AddressMap;
use container::Container;
use convert::Converter;
use dbi::{Dbi, Info, NO_STREAM};
use quaid_profile::{Arch, GuidAge, Profile};
use serde::Serialize;
use std::collections::BTreeMap;
use symbols::Symbols;
use table::TypeTable;

/// Length at which a file is taken for no PDB and not read, in bytes. The largest that Microsoft publishes of a kernel are
/// under 20 MB.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// What the caller knows about a PDB, or wishes.
#[derive(Debug, Clone, Default)]
pub struct ParseOptions {
    /// Name of the file, without its folder.
    pub file_name: String,
    /// `ProfileClass`, where not [`default_profile_class`].
    pub profile_class: Option<String>,
    /// Version of Windows as `major.minor.rev`, each part optional from the right.
    pub windows_version: Option<String>,
    /// Leave out constants, functions and the types of data.
    pub concise: bool,
}

/// A parsed PDB.
#[derive(Debug)]
pub struct Parsed {
    /// The profile.
    pub profile: Profile,
    /// What went into it, and what did not.
    pub report: ParseReport,
}

/// What was read from a PDB, and what was left out of the profile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ParseReport {
    /// Structs, unions and classes.
    pub structs: usize,
    /// Enums.
    pub enums: usize,
    /// Constants: public symbols that are no functions.
    pub constants: usize,
    /// Functions.
    pub functions: usize,
    /// Definitions that have the name of a different one, and got a number behind it.
    pub conflicting_definitions: u64,
    /// What could not be read or said, by kind, and how often.
    pub skipped: BTreeMap<String, u64>,
}

impl ParseReport {
    /// A line for each kind of thing that is missing from the profile, or is there under another name.
    pub fn losses(&self) -> Vec<String> {
        let conflicts = self.conflicting_definitions;
        let renamed =
            (conflicts > 0).then(|| format!("{conflicts} types got a number behind their name: another one has it"));
        let skipped = self.skipped.iter().map(|(what, count)| format!("left out: {what} ({count})"));
        renamed.into_iter().chain(skipped).collect()
    }

    fn skip(&mut self, what: &str) {
        if let Some(count) = self.skipped.get_mut(what) {
            *count += 1;
        } else {
            self.skipped.insert(what.to_owned(), 1);
        }
    }
}

/// Progress: what is being done, and how much of it, in percent.
pub type Progress<'p> = &'p mut dyn FnMut(&'static str, u64);

/// Reads a PDB into a profile. Addresses are RVAs of the image.
///
/// # Errors
/// [`PdbError`]: no PDB, an unsupported form of it, or damage that leaves nothing to go by. Damaged records are no
/// error; they are counted in the report.
pub fn parse(bytes: &[u8], options: &ParseOptions, progress: Progress<'_>) -> Result<Parsed, PdbError> {
    let container = Container::open(bytes)?;
    let (info, dbi) = identity_streams(&container)?;
    let arch = dbi.map_or(Ok(Arch::I386), |dbi| dbi.arch())?;
    let mut report = ParseReport::default();
    let mut profile = Profile {
        metadata: metadata::metadata(bytes, &info, &identity_text(&info, dbi), arch, options),
        ..Profile::default()
    };

    progress("Parsing types", 0);
    let stream = container.stream(2, "type stream")?;
    let table = if stream.is_empty() {
        TypeTable::default()
    } else {
        TypeTable::new(&stream, arch.pointer_bytes() as u8, &mut report)?
    };
    let mut types = Converter::new(&table, stream.len(), &mut report)?;
    types.definitions(&mut profile)?;
    progress("Parsing types", 100);

    let mut symbol_report = ParseReport::default();
    if let Some(dbi) = dbi.filter(|_| !options.concise) {
        let stream = container.stream(dbi.symbols, "symbol records")?;
        let symbols = read_symbols(&container, &dbi, &stream, &mut symbol_report, progress)?;
        symbols.fill(&mut profile, &mut types)?;
    }
    types.base_types(&mut profile);
    for (what, count) in symbol_report.skipped {
        *report.skipped.entry(what).or_default() += count;
    }
    report.structs = profile.structs.len();
    report.enums = profile.enums.len();
    report.constants = profile.constants.len();
    report.functions = profile.functions.len();
    Ok(Parsed { profile, report })
}

/// The identity of a PDB: its GUID, and the DBI stream's age, as the image's RSDS record and symbol servers have it.
///
/// # Errors
/// As [`parse`]; and [`PdbError::Unsupported`] for a PDB that is older than GUIDs.
pub fn identity(bytes: &[u8]) -> Result<GuidAge, PdbError> {
    let (info, dbi) = identity_streams(&Container::open(bytes)?)?;
    guid_age(&info, dbi).ok_or_else(|| {
        let text = identity_text(&info, dbi);
        PdbError::Unsupported(format!(
            "a PDB without a GUID (Visual C++ 6 and older): its signature and age are {text}"
        ))
    })
}

fn identity_streams(container: &Container<'_>) -> Result<(Info, Option<Dbi>), PdbError> {
    let info = Info::parse(&container.stream(1, "info stream")?)?;
    let dbi = container.stream(3, "DBI stream")?;
    // A compiler's own PDB (vc140.pdb) has no DBI stream.
    let dbi = if dbi.is_empty() { None } else { Some(Dbi::parse(&dbi)?) };
    Ok((info, dbi))
}

fn guid_age(info: &Info, dbi: Option<Dbi>) -> Option<GuidAge> {
    Some(GuidAge::from_le_bytes(info.guid?, dbi.map_or(info.age, |dbi| dbi.age)))
}

/// By what symbol servers know a PDB: GUID and age, or the signature and age of one that is older than GUIDs.
fn identity_text(info: &Info, dbi: Option<Dbi>) -> String {
    let old = || format!("{:08X}{:X}", info.signature, dbi.map_or(info.age, |dbi| dbi.age));
    guid_age(info, dbi).map_or_else(old, |id| id.to_string())
}

fn read_symbols<'s>(
    container: &Container<'_>,
    dbi: &Dbi,
    stream: &'s [u8],
    report: &mut ParseReport,
    progress: Progress<'_>,
) -> Result<Symbols<'s>, PdbError> {
    progress("Extracting OMAP Information", 0);
    let sections = if dbi.original_sections == NO_STREAM { dbi.sections } else { dbi.original_sections };
    let sections = container.stream(sections, "section headers")?;
    let omap = container.stream(dbi.omap_from_source, "OMAP")?;
    let map = AddressMap::new(&sections, &omap);
    if omap.len() % 8 != 0 {
        report.skip("end of the OMAP stream, which is cut short");
    }
    if !map.has_sections() && !stream.is_empty() {
        report.skip("every symbol: the PDB has no section headers");
        return Ok(Symbols::default());
    }
    let mut shown = 0;
    Ok(Symbols::read(stream, &map, report, |left| {
        let percent = 100 - left * 100 / stream.len().max(1);
        if percent > shown {
            shown = percent;
            progress("Extracting OMAP Information", percent as u64);
        }
    }))
}
