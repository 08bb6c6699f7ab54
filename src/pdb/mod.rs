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
//! | symbol records, modules | `symbols`, `modules`, `symbol_table`, `decoration`, `literal` | constants, functions, types of data |
//!
//! `rekall_compat` goes its own way through the same streams, to what the original Rekall made of them.

mod address;
mod budget;
mod bytes;
mod container;
mod convert;
mod dbi;
mod decoration;
mod error;
mod image;
mod literal;
mod metadata;
mod modules;
mod naming;
mod primitive;
mod records;
mod records16;
mod rekall_compat;
mod sameness;
mod symbol_table;
mod symbols;
mod table;
mod virtual_bases;

pub use error::PdbError;
pub use image::{Image, OtherImage, images_beside};
pub use metadata::default_profile_class;

use address::AddressMap;
use container::Container;
use convert::Converter;
use dbi::{Dbi, Info, NO_STREAM};
use metadata::Told;
use quaid_profile::{Arch, GuidAge, Profile};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
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
    /// The image of the PDB, where it is at hand.
    pub image: Option<Image>,
    /// Leave out constants, functions and the types of data.
    pub concise: bool,
    /// Read the symbols of each module (object file) as well: procedures, thunks and statics that are not public.
    pub module_symbols: bool,
    /// Write C++ names as in the source, not as the linker knows them.
    pub demangle: bool,
    /// Make what the original Rekall made, with its faults, to compare with. Neither image, module symbols nor names as in
    /// the source are heeded: it knew none of them.
    pub rekall_compat: bool,
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
    /// Constants: symbols that are no functions.
    pub constants: usize,
    /// Functions.
    pub functions: usize,
    /// Definitions that have the name of a different one, and got a number behind it.
    pub conflicting_definitions: u64,
    /// Symbols that the two OMAP tables do not agree about; they are where the one from PDB to image leads.
    pub omap_disagreements: u64,
    /// Procedures of modules that the PDB names, and that were not asked for.
    pub unread_procedures: usize,
    /// What could not be read or said, by kind, and how often.
    pub skipped: BTreeMap<String, u64>,
}

impl ParseReport {
    /// A line for each kind of thing that is missing from the profile, or is there under another name.
    pub fn losses(&self) -> Vec<String> {
        let conflicts = self.conflicting_definitions;
        let renamed =
            (conflicts > 0).then(|| format!("{conflicts} types got a number behind their name: another one has it"));
        let disputed = self.omap_disagreements;
        let disputed = (disputed > 0)
            .then(|| format!("{disputed} symbols have an address that OMAP from image to PDB leads elsewhere from"));
        let skipped = self.skipped.iter().map(|(what, count)| format!("left out: {what} ({count})"));
        renamed.into_iter().chain(disputed).chain(skipped).collect()
    }

    fn skip(&mut self, what: &str) {
        self.skip_times(what, 1);
    }

    fn skip_times(&mut self, what: &str, times: u64) {
        if let Some(count) = self.skipped.get_mut(what) {
            *count += times;
        } else if times > 0 {
            self.skipped.insert(what.to_owned(), times);
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
    if options.rekall_compat {
        return rekall_compat::parse(&container, &info, dbi.as_ref(), options, progress);
    }
    let arch = dbi.map_or(Ok(Arch::I386), |dbi| dbi.arch())?;
    let mut report = ParseReport::default();
    let pdb_name = dbi.and_then(|dbi| recorded_name(&container, &dbi));
    let age = dbi.map_or(info.age, |dbi| dbi.age);
    let told = Told { info: &info, identity: &identity_text(&info, dbi), age, arch, pdb_name };
    let mut profile = Profile { metadata: metadata::metadata(bytes, &told, options), ..Profile::default() };

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
        let streams = SymbolStreams::open(&container, &dbi, options.module_symbols, &mut symbol_report)?;
        let symbols = streams.read(&mut symbol_report, progress);
        if !options.module_symbols {
            symbol_report.unread_procedures = symbols.procedure_references;
        }
        symbol_table::fill(symbols, options.demangle, &mut profile, &mut types, &mut symbol_report)?;
    }
    types.base_types(&mut profile);
    for (what, count) in symbol_report.skipped {
        *report.skipped.entry(what).or_default() += count;
    }
    report.unread_procedures = symbol_report.unread_procedures;
    report.omap_disagreements = symbol_report.omap_disagreements;
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

/// By what symbol servers know a PDB: GUID and age, or signature and age of one that is older than GUIDs.
///
/// # Errors
/// As [`parse`].
pub fn symbol_server_id(bytes: &[u8]) -> Result<String, PdbError> {
    let (info, dbi) = identity_streams(&Container::open(bytes)?)?;
    Ok(identity_text(&info, dbi))
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

fn identity_text(info: &Info, dbi: Option<Dbi>) -> String {
    let old = || format!("{:08X}{:X}", info.signature, dbi.map_or(info.age, |dbi| dbi.age));
    guid_age(info, dbi).map_or_else(old, |id| id.to_string())
}

/// The name that the linker's module tells; what is damaged there is told when symbols of modules are asked for.
fn recorded_name(container: &Container<'_>, dbi: &Dbi) -> Option<String> {
    let stream = container.stream(3, "DBI stream").ok()?;
    let modules = modules::modules(&stream, dbi, &mut ParseReport::default());
    let linker = modules.iter().rev().find(|module| module.is_linker())?;
    let stream = container.stream(linker.stream, "symbols of the linker").ok()?;
    modules::recorded_pdb_name(stream.get(linker.records(stream.len()))?)
}

/// The streams that hold symbol records, and how their addresses are found.
struct SymbolStreams<'b> {
    map: AddressMap,
    global: Cow<'b, [u8]>,
    /// With the bytes of each that are records.
    modules: Vec<(Cow<'b, [u8]>, Range<usize>)>,
}

impl<'b> SymbolStreams<'b> {
    fn open(
        container: &Container<'b>,
        dbi: &Dbi,
        with_modules: bool,
        report: &mut ParseReport,
    ) -> Result<Self, PdbError> {
        let sections = if dbi.original_sections == NO_STREAM { dbi.sections } else { dbi.original_sections };
        let sections = container.stream(sections, "section headers")?;
        let to_image = container.stream(dbi.omap_from_source, "OMAP")?;
        let to_source = container.stream(dbi.omap_to_source, "OMAP to source")?;
        if !to_image.len().is_multiple_of(8) {
            report.skip("end of the OMAP stream, which is cut short");
        }
        let map = AddressMap::new(&sections, &to_image, &to_source);
        let mut streams = Self { map, global: container.stream(dbi.symbols, "symbol records")?, modules: Vec::new() };
        if with_modules {
            let stream = container.stream(3, "DBI stream")?;
            // No page belongs to two streams, so they hold no more than the file; a list that says otherwise ends there.
            let mut left = container.file_bytes();
            for module in modules::modules(&stream, dbi, report) {
                let stream = container.stream(module.stream, "symbols of a module");
                let rest = stream.as_ref().ok().and_then(|stream| left.checked_sub(stream.len()));
                match stream {
                    Ok(stream) if rest.is_some() => {
                        let records = module.records(stream.len());
                        streams.modules.push((stream, records));
                    }
                    _ => report.skip("symbols of a module, whose stream is damaged"),
                }
                left = rest.unwrap_or(left);
            }
        }
        if !streams.map.has_sections() && streams.all().any(|stream| !stream.is_empty()) {
            report.skip("every symbol: the PDB has no section headers");
            streams.global = Cow::Borrowed(&[][..]);
            streams.modules.clear();
        }
        Ok(streams)
    }

    fn all(&self) -> impl Iterator<Item = &[u8]> {
        let modules = self.modules.iter().map(|(stream, records)| stream.get(records.clone()).unwrap_or_default());
        std::iter::once(&*self.global).chain(modules)
    }

    fn read(&self, report: &mut ParseReport, progress: Progress<'_>) -> Symbols<'_> {
        progress("Extracting OMAP Information", 0);
        let mut left: usize = self.all().map(<[u8]>::len).sum();
        let whole = left.max(1);
        let mut shown = 0;
        let mut symbols = Symbols::default();
        for stream in self.all() {
            left -= stream.len();
            symbols.read(stream, &self.map, report, |left_here| {
                let percent = 100 - (left + left_here) * 100 / whole;
                if percent > shown {
                    shown = percent;
                    progress("Extracting OMAP Information", percent as u64);
                }
            });
        }
        symbols
    }
}
