//! The modules of a PDB: the object files that the linker put together, each with a stream of symbols of its own.
//!
//! Layouts: microsoft-pdb, PDB/dbi/dbi.h, `MODI`; llvm.org/docs/PDB/ModiStream.html.

use super::ParseReport;
use super::bytes::Reader;
use super::dbi::Dbi;
use std::ops::Range;

/// A module, as the DBI stream lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Module {
    /// Stream of its symbols; 0xffff for none.
    pub(super) stream: u16,
    /// How much of that stream is symbols, in bytes.
    pub(super) symbol_bytes: u32,
}

/// The first version of the DBI stream (of Visual C++ 6) whose modules are listed in this form.
const FIRST_VERSION: u32 = 19_970_606;

/// The modules that have symbols. A list that is cut short or of an older form is counted.
pub(super) fn modules(stream: &[u8], dbi: &Dbi, report: &mut ParseReport) -> Vec<Module> {
    if dbi.version < FIRST_VERSION {
        report.skip("every module: the DBI stream is of a version older than Visual C++ 6");
        return Vec::new();
    }
    let list = stream.get(Dbi::HEADER_BYTES..).unwrap_or_default();
    let whole = usize::try_from(dbi.modules_bytes).ok().and_then(|len| list.get(..len));
    if whole.is_none() {
        report.skip("end of the list of modules, which is cut short");
    }
    let mut rest = Reader(whole.unwrap_or(list));
    let whole = rest.0.len();
    let mut modules = Vec::new();
    while !rest.0.is_empty() {
        let Some(module) = module(&mut rest) else {
            report.skip("rest of the list of modules, which is cut short");
            break;
        };
        // Entries begin at multiples of four bytes.
        let read = whole - rest.0.len();
        rest = Reader(rest.0.get(read.next_multiple_of(4) - read..).unwrap_or_default());
        if module.symbol_bytes > 4 {
            modules.push(module);
        }
    }
    modules
}

fn module(reader: &mut Reader<'_>) -> Option<Module> {
    let _opened = reader.u32()?;
    let _section_contribution = reader.take(28)?;
    let _flags = reader.u16()?;
    let stream = reader.u16()?;
    let symbol_bytes = reader.u32()?;
    let _lines_and_files = reader.take(24)?;
    let _name = reader.text(false)?;
    let _object_file = reader.text(false)?;
    Some(Module { stream, symbol_bytes })
}

impl Module {
    /// Which bytes of its stream, of `len` bytes, are symbol records. It begins with a signature of four bytes.
    pub(super) fn records(&self, len: usize) -> Range<usize> {
        let end = usize::try_from(self.symbol_bytes).unwrap_or(usize::MAX).min(len);
        4.min(end)..end
    }
}
