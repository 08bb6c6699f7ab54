//! The debug directory: which PDB was made with the file.
//!
//! Layout of the records: `CV_INFO_PDB70` ("RSDS": GUID, age, path) and `CV_INFO_PDB20` ("NB10": offset, time stamp, age,
//! path), as debuggers have them; the directory is `IMAGE_DEBUG_DIRECTORY`.

use super::PeError;
use object::LittleEndian as LE;
use object::pe::{IMAGE_DIRECTORY_ENTRY_DEBUG, ImageDebugDirectory};
use object::read::ReadRef as _;
use object::read::pe::{ImageNtHeaders, PeFile};
use quaid_profile::GuidAge;

/// The PDB of a PE file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeView {
    /// File name of the PDB, without the folder of the machine that linked it.
    pub pdb_name: String,
    /// GUID and age: what symbol servers and profiles go by.
    pub guid_age: GuidAge,
}

/// A CodeView record of the debug directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DebugRecord {
    /// A PDB by GUID.
    Rsds(CodeView),
    /// A PDB by time stamp (Visual C++ 6 and older).
    Nb10 {
        /// File name of the PDB.
        pdb_name: String,
        /// Time stamp, seconds since 1970.
        signature: u32,
        /// Age.
        age: u32,
    },
    /// A record of another signature (its first four bytes).
    Unknown([u8; 4]),
}

const IMAGE_DEBUG_TYPE_CODEVIEW: u32 = 2;

/// Every CodeView record of the debug directory.
pub(super) fn records<Pe: ImageNtHeaders>(file: &PeFile<'_, Pe>) -> Result<Vec<DebugRecord>, PeError> {
    let damaged = |why: &str| PeError::Damaged { what: "debug directory", why: why.to_owned() };
    let Some(directory) = file.data_directory(IMAGE_DIRECTORY_ENTRY_DEBUG) else { return Ok(vec![]) };
    if directory.virtual_address.get(LE) == 0 {
        return Ok(vec![]);
    }
    let entries = directory.data(file.data(), &file.section_table()).map_err(|why| damaged(&why.to_string()))?;
    let count = entries.len() / size_of::<ImageDebugDirectory>();
    let entries = entries.read_slice_at::<ImageDebugDirectory>(0, count).map_err(|()| damaged("it is cut short"))?;
    let mut records = Vec::new();
    for entry in entries.iter().filter(|entry| entry.typ.get(LE).0 == IMAGE_DEBUG_TYPE_CODEVIEW) {
        let data =
            record_data(file, entry).ok_or_else(|| damaged("a CodeView record lies beyond the end of the file"))?;
        records.push(record(data).ok_or_else(|| damaged("a CodeView record is cut short"))?);
    }
    Ok(records)
}

/// A record's bytes, by file offset, or by RVA where that is 0.
fn record_data<'data, Pe: ImageNtHeaders>(
    file: &PeFile<'data, Pe>,
    entry: &ImageDebugDirectory,
) -> Option<&'data [u8]> {
    let size = entry.size_of_data.get(LE) as usize;
    let offset = entry.pointer_to_raw_data.get(LE) as usize;
    let data = match offset {
        0 => file.section_table().pe_data_at(file.data(), entry.address_of_raw_data.get(LE))?,
        _ => file.data().get(offset..)?,
    };
    data.get(..size)
}

fn record(data: &[u8]) -> Option<DebugRecord> {
    let (signature, rest) = data.split_first_chunk::<4>()?;
    let word = |at: usize| Some(u32::from_le_bytes(*rest.get(at..)?.first_chunk()?));
    Some(match signature {
        b"RSDS" => {
            let guid = *rest.first_chunk::<16>()?;
            let guid_age = GuidAge::from_le_bytes(guid, word(16)?);
            DebugRecord::Rsds(CodeView { pdb_name: file_name(rest.get(20..)?), guid_age })
        }
        b"NB10" => DebugRecord::Nb10 { pdb_name: file_name(rest.get(12..)?), signature: word(4)?, age: word(8)? },
        other => DebugRecord::Unknown(*other),
    })
}

/// The last part of a Windows path that ends in NUL.
fn file_name(path: &[u8]) -> String {
    let path = path.split(|&b| b == 0).next().unwrap_or_default();
    let name = path.rsplit(|&b| b == b'\\' || b == b'/').next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_both_kinds_and_of_none() {
        let mut rsds = b"RSDS".to_vec();
        rsds.extend([0xb5, 0xa8, 0xe2, 0xf8, 0xb7, 0xc9, 0xf4, 0x4b, 0xa6, 0xe4, 0xa4, 0x8f, 0x18, 0x00, 0x99, 0x94]);
        rsds.extend([2, 0, 0, 0]);
        rsds.extend(b"d:\\build/ntkrnlmp.pdb\0rest");
        let Some(DebugRecord::Rsds(codeview)) = record(&rsds) else { panic!("an RSDS record") };
        assert_eq!(codeview.pdb_name, "ntkrnlmp.pdb");
        assert_eq!(codeview.guid_age.to_string(), "F8E2A8B5C9B74BF4A6E4A48F180099942");
        let nb10 = record(b"NB10\0\0\0\0\x01\0\0\0\x08\0\0\0vc60.pdb\0");
        assert_eq!(nb10, Some(DebugRecord::Nb10 { pdb_name: "vc60.pdb".into(), signature: 1, age: 8 }));
        assert_eq!(record(b"MTOC...."), Some(DebugRecord::Unknown(*b"MTOC")));
        assert_eq!(record(&rsds[..20]), None);
        assert_eq!(record(b"RS"), None);
    }
}
