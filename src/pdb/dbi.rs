//! The info stream (1) and the DBI stream (3): who this PDB is, and where the other streams are.
//!
//! Layouts: microsoft-pdb, `PDBStream70` in PDB/include/pdb.h, `NewDBIHdr` and `DBGTYPE` in PDB/dbi/dbi.h;
//! llvm.org/docs/PDB/{PdbStream,DbiStream}.html.

use super::bytes::Reader;
use super::error::PdbError;
use quaid_profile::Arch;

/// No stream.
pub(super) const NO_STREAM: u16 = 0xffff;

/// The info stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Info {
    /// Version of the format, a date: 20000404 since Visual C++ 7.
    pub(super) version: u32,
    /// Time of creation, seconds since 1970; newer linkers write a hash.
    pub(super) signature: u32,
    /// Age of the info stream, which grows when a tool rewrites the PDB.
    pub(super) age: u32,
    /// The GUID, in the order of its bytes in the file; PDBs of Visual C++ 6 and older have none.
    pub(super) guid: Option<[u8; 16]>,
}

impl Info {
    /// The first version whose info stream has a GUID.
    const FIRST_WITH_GUID: u32 = 19_990_604;

    pub(super) fn parse(stream: &[u8]) -> Result<Self, PdbError> {
        let short = || PdbError::damaged("info stream", format!("{} bytes, of at least 12", stream.len()));
        let mut reader = Reader(stream);
        let version = reader.u32().ok_or_else(short)?;
        let signature = reader.u32().ok_or_else(short)?;
        let age = reader.u32().ok_or_else(short)?;
        let guid = if version < Self::FIRST_WITH_GUID {
            None
        } else {
            Some(reader.take(16).and_then(|guid| guid.try_into().ok()).ok_or_else(short)?)
        };
        Ok(Self { version, signature, age, guid })
    }
}

/// The DBI stream's header, and the stream numbers of its debug header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dbi {
    /// Version of the stream, a date.
    pub(super) version: u32,
    /// The age that the image's RSDS record and symbol servers use.
    pub(super) age: u32,
    /// `IMAGE_FILE_MACHINE_*`; 0 in old PDBs.
    pub(super) machine: u16,
    /// Stream of symbol records.
    pub(super) symbols: u16,
    /// Size of the list of modules, which follows the header, in bytes.
    pub(super) modules_bytes: u32,
    /// Stream of OMAP pairs that lead from addresses of the image to addresses of the PDB.
    pub(super) omap_to_source: u16,
    /// Stream of OMAP pairs that lead from addresses of the PDB to addresses of the image.
    pub(super) omap_from_source: u16,
    /// Stream of the image's section headers.
    pub(super) sections: u16,
    /// Stream of the section headers before the image was rearranged, where it was.
    pub(super) original_sections: u16,
}

impl Dbi {
    pub(super) const HEADER_BYTES: usize = 64;

    pub(super) fn parse(stream: &[u8]) -> Result<Self, PdbError> {
        let header = Self::header(stream)
            .ok_or_else(|| PdbError::damaged("DBI stream", format!("{} bytes, of at least 64", stream.len())))?;
        let (mut dbi, substreams) = header?;
        // The debug header is the last substream. Its entries are stream numbers in the order of DBGTYPE; a PDB has
        // as many of them as its writer knew.
        let debug_header =
            usize::try_from(substreams).ok().and_then(|len| stream.get(Self::HEADER_BYTES.checked_add(len)?..));
        let mut entries = Reader(debug_header.unwrap_or_default());
        let mut entry = || entries.u16().unwrap_or(NO_STREAM);
        let [_fpo, _exception, _fixup, omap_to_source, omap_from_source, sections] = std::array::from_fn(|_| entry());
        let [_token_rid_map, _xdata, _pdata, _new_fpo, original_sections] = std::array::from_fn(|_| entry());
        (dbi.omap_to_source, dbi.omap_from_source) = (omap_to_source, omap_from_source);
        (dbi.sections, dbi.original_sections) = (sections, original_sections);
        Ok(dbi)
    }

    /// The header, and the size of the substreams before the debug header, in bytes.
    fn header(stream: &[u8]) -> Option<Result<(Self, u64), PdbError>> {
        let mut reader = Reader(stream.get(..Self::HEADER_BYTES)?);
        let signature = reader.u32()?;
        if signature != u32::MAX {
            return Some(Err(PdbError::Unsupported(
                "a PDB with a DBI stream older than Visual C++ 5 is not supported".into(),
            )));
        }
        let version = reader.u32()?;
        let age = reader.u32()?;
        let _globals = reader.u16()?;
        let _build = reader.u16()?;
        let _publics = reader.u16()?;
        let _dll_version = reader.u16()?;
        let symbols = reader.u16()?;
        let _dll_rebuild = reader.u16()?;
        let modules_bytes = reader.u32()?;
        let mut substreams = u64::from(modules_bytes);
        // Section contributions, section map, file info, type-server map.
        for _ in 0..4 {
            substreams += u64::from(reader.u32()?);
        }
        let _type_server = reader.u32()?;
        let _debug_header_bytes = reader.u32()?;
        // Edit-and-continue names lie between the type-server map and the debug header.
        substreams += u64::from(reader.u32()?);
        let _flags = reader.u16()?;
        let machine = reader.u16()?;
        let none = NO_STREAM;
        Some(Ok((
            Self {
                version,
                age,
                machine,
                symbols,
                modules_bytes,
                omap_to_source: none,
                omap_from_source: none,
                sections: none,
                original_sections: none,
            },
            substreams,
        )))
    }

    /// The architecture. Old PDBs name no machine; they are all I386.
    pub(super) fn arch(&self) -> Result<Arch, PdbError> {
        match self.machine {
            0 | 0x14c => Ok(Arch::I386),
            0x8664 => Ok(Arch::Amd64),
            0xaa64 => Ok(Arch::Arm64),
            0x1c0 | 0x1c2 | 0x1c4 => Ok(Arch::Arm),
            other => Err(PdbError::Unsupported(format!(
                "a PDB of machine 0x{other:x} is not supported (I386, AMD64, ARM and ARM64 are)"
            ))),
        }
    }
}
