//! The modules of a PDB: the object files that the linker put together, each with a stream of symbols of its own.
//!
//! Layouts: microsoft-pdb, PDB/dbi/dbi.h, `MODI`; include/cvinfo.h, `ENVBLOCKSYM`; llvm.org/docs/PDB/ModiStream.html.

use super::ParseReport;
use super::bytes::Reader;
use super::dbi::Dbi;
use std::ops::Range;

/// A module, as the DBI stream lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Module<'d> {
    pub(super) name: &'d [u8],
    /// Stream of its symbols; 0xffff for none.
    pub(super) stream: u16,
    /// How much of that stream is symbols, in bytes.
    pub(super) symbol_bytes: u32,
}

/// The first version of the DBI stream (of Visual C++ 6) whose modules are listed in this form.
const FIRST_VERSION: u32 = 19_970_606;

/// The modules that have symbols. A list that is cut short or of an older form is counted.
pub(super) fn modules<'d>(stream: &'d [u8], dbi: &Dbi, report: &mut ParseReport) -> Vec<Module<'d>> {
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

fn module<'d>(reader: &mut Reader<'d>) -> Option<Module<'d>> {
    let _opened = reader.u32()?;
    let _section_contribution = reader.take(28)?;
    let _flags = reader.u16()?;
    let stream = reader.u16()?;
    let symbol_bytes = reader.u32()?;
    let _lines_and_files = reader.take(24)?;
    let name = reader.text(false)?;
    let _object_file = reader.text(false)?;
    Some(Module { name, stream, symbol_bytes })
}

impl Module<'_> {
    /// Whether this is what the linker itself added.
    pub(super) fn is_linker(&self) -> bool {
        self.name == b"* Linker *"
    }

    /// Which bytes of its stream, of `len` bytes, are symbol records. It begins with a signature of four bytes.
    pub(super) fn records(&self, len: usize) -> Range<usize> {
        let end = usize::try_from(self.symbol_bytes).unwrap_or(usize::MAX).min(len);
        4.min(end)..end
    }
}

const S_ENVBLOCK: u16 = 0x113d;

/// The file name of the PDB that the linker was told to write, from the symbol records of its module.
pub(super) fn recorded_pdb_name(records: &[u8]) -> Option<String> {
    let mut rest = Reader(records);
    while let Some(record) = rest.u16().and_then(|len| rest.take(usize::from(len))) {
        let mut fields = Reader(record);
        if fields.u16() != Some(S_ENVBLOCK) {
            continue;
        }
        let _flags = fields.u8()?;
        // Keys and values in turn, up to an empty one.
        while let Some((key, value)) = fields.text(false).filter(|key| !key.is_empty()).zip(fields.text(false)) {
            if key == b"pdb" {
                let name = value.rsplit(|&b| b == b'\\' || b == b'/').next().unwrap_or_default();
                return (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linker_s_environment_tells_the_pdb() {
        let block = |pairs: &[u8]| {
            let mut record = vec![0x3d, 0x11, 0];
            record.extend(pairs);
            let mut out = (record.len() as u16).to_le_bytes().to_vec();
            out.extend(record);
            out
        };
        let other = [2, 0, 1, 0x11].as_slice();
        let records = [other, &block(b"cwd\0c:\\b\0pdb\0c:\\b\\Release/nt.pdb\0\0")].concat();
        assert_eq!(recorded_pdb_name(&records), Some("nt.pdb".to_owned()));
        assert_eq!(recorded_pdb_name(&block(b"cwd\0c:\\b\0\0")), None);
        assert_eq!(recorded_pdb_name(&block(b"pdb")), None);
        assert_eq!(recorded_pdb_name(&[9, 0]), None);
    }
}
