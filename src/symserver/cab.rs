//! The PDB inside a cabinet (`.pd_`), expanded in memory.
//!
//! The headers are surveyed here first: what a cabinet declares is compared with what it has before anything is
//! allocated or decoded, and what is not supported is named. The `cab` crate then decodes (stored, MSZIP, LZX).
//! Source of the format: [MS-CAB], Cabinet File Format.

use super::bytes::{u16_at, u32_at};
use std::io::{Cursor, Read};

/// Why a cabinet gave no PDB.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CabError {
    /// The file ends early or contradicts itself.
    #[error("damaged cabinet: {0}")]
    Corrupt(String),
    /// A well-formed cabinet of a kind that is not read.
    #[error("the cabinet {0}, which is not supported")]
    Unsupported(String),
    /// The wanted file is not among the members.
    #[error("the cabinet has no {wanted}; it has {}", list(.members))]
    NoMember {
        /// The name of the PDB.
        wanted: String,
        /// The names that are there, the first few.
        members: Vec<String>,
    },
    /// The member is larger than allowed, in bytes.
    #[error("the cabinet's {member} is {size} bytes; the limit is {limit}")]
    TooLarge {
        /// Its name.
        member: String,
        /// Its declared size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
}

/// A member that was expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expanded {
    /// Its name in the cabinet.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

const MAGIC: &[u8] = b"MSCF";
const FLAG_PREVIOUS: u16 = 1;
const FLAG_NEXT: u16 = 2;
const FLAG_RESERVE: u16 = 4;
/// Methods of compression; 1 is MSZIP.
const COMPRESSION_NONE: u16 = 0;
const COMPRESSION_QUANTUM: u16 = 2;
const COMPRESSION_LZX: u16 = 3;
/// Longest name of a member in bytes, without its NUL.
const MAX_NAME: usize = 255;

fn list(names: &[String]) -> String {
    if names.is_empty() { "no file".to_owned() } else { names.join(", ") }
}

fn corrupt(why: impl Into<String>) -> CabError {
    CabError::Corrupt(why.into())
}

/// Whether `bytes` begin as a cabinet does.
pub(super) fn is_cabinet(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Expands the member called `wanted` (in any case, without its folders), or else the only member that ends in `.pdb`.
/// No more than `limit` bytes are made.
pub fn expand(cabinet: &[u8], wanted: &str, limit: u64) -> Result<Expanded, CabError> {
    let survey = Survey::new(cabinet)?;
    let member = survey.choose(wanted)?;
    let size = u64::from(member.size);
    if size > limit {
        return Err(CabError::TooLarge { member: member.name.clone(), size, limit });
    }
    survey.check_data(member)?;
    if size == 0 {
        return Ok(Expanded { name: member.name.clone(), bytes: Vec::new() });
    }

    // The decoders are others' code on hostile input: a panic in them is a damaged file, not our end.
    let decode = || -> std::io::Result<Vec<u8>> {
        let mut cabinet = cab::Cabinet::new(Cursor::new(cabinet))?;
        let mut out = Vec::new();
        cabinet.read_file(&member.name)?.take(size).read_to_end(&mut out)?;
        Ok(out)
    };
    let bytes = std::panic::catch_unwind(decode)
        .map_err(|_| corrupt("the decoder gave up"))?
        .map_err(|error| corrupt(error.to_string()))?;
    if bytes.len() as u64 != size {
        return Err(corrupt(format!("{} declares {size} bytes and has {}", member.name, bytes.len())));
    }
    Ok(Expanded { name: member.name.clone(), bytes })
}

/// A CFFOLDER: a run of data blocks under one compression.
struct Folder {
    first_block: u32,
    blocks: u16,
    /// The method alone, without its parameters.
    compression: u16,
}

/// A CFFILE.
struct Member {
    /// As the `cab` crate reads it, which is asked by this name.
    name: String,
    size: u32,
    offset_in_folder: u32,
    folder: usize,
}

impl Member {
    /// The name without folders, which cabinets separate by a backslash.
    fn base_name(&self) -> &str {
        self.name.rsplit(['\\', '/']).next().unwrap_or_default()
    }
}

struct Survey<'a> {
    cabinet: &'a [u8],
    block_reserve: u64,
    folders: Vec<Folder>,
    members: Vec<Member>,
}

impl<'a> Survey<'a> {
    fn new(cabinet: &'a [u8]) -> Result<Self, CabError> {
        let short = || corrupt("it ends inside its headers");
        let word = |at: usize| u16_at(cabinet, at).ok_or_else(short);
        let long = |at: usize| u32_at(cabinet, at).ok_or_else(short);
        if !is_cabinet(cabinet) {
            return Err(corrupt("it does not begin with MSCF"));
        }
        let declared = long(8)? as usize;
        if declared > cabinet.len() {
            return Err(corrupt(format!("it is truncated: it declares {declared} bytes and has {}", cabinet.len())));
        }
        let (folder_count, file_count, flags) = (word(26)?, word(28)?, word(30)?);
        if flags & (FLAG_PREVIOUS | FLAG_NEXT) != 0 {
            return Err(CabError::Unsupported("is one part of a set of several cabinets".into()));
        }
        let (mut at, mut folder_reserve, mut block_reserve) = (36, 0, 0);
        if flags & FLAG_RESERVE != 0 {
            let sizes = word(38)?.to_le_bytes();
            at = 40 + usize::from(word(36)?);
            (folder_reserve, block_reserve) = (usize::from(sizes[0]), u64::from(sizes[1]));
        }
        let mut folders = Vec::new();
        for _ in 0..folder_count {
            let compression = word(at + 6)? & 0xf;
            if compression > COMPRESSION_LZX {
                return Err(CabError::Unsupported(format!("is compressed by unknown method {compression}")));
            }
            folders.push(Folder { first_block: long(at)?, blocks: word(at + 4)?, compression });
            at += 8 + folder_reserve;
        }
        let mut at = long(16)? as usize;
        let mut members = Vec::new();
        for _ in 0..file_count {
            let raw = cabinet.get(at.saturating_add(16)..).ok_or_else(short)?;
            let end = raw.iter().take(MAX_NAME + 1).position(|&b| b == 0);
            let end = end.ok_or_else(|| corrupt("the name of a member does not end"))?;
            let name = String::from_utf8_lossy(raw.get(..end).unwrap_or_default()).into_owned();
            if name.is_empty() {
                return Err(corrupt("a member has no name"));
            }
            let folder = usize::from(word(at + 8)?);
            if folder >= folders.len() {
                return Err(corrupt(format!("a member in folder {folder} of {}", folders.len())));
            }
            members.push(Member { name, size: long(at)?, offset_in_folder: long(at + 4)?, folder });
            at = at.saturating_add(17 + end);
        }
        Ok(Self { cabinet, block_reserve, folders, members })
    }

    fn choose(&self, wanted: &str) -> Result<&Member, CabError> {
        if let Some(member) = self.members.iter().find(|m| m.base_name().eq_ignore_ascii_case(wanted)) {
            return Ok(member);
        }
        let mut pdbs = self.members.iter().filter(|m| m.base_name().to_ascii_lowercase().ends_with(".pdb"));
        match (pdbs.next(), pdbs.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(CabError::NoMember {
                wanted: wanted.to_owned(),
                members: self.members.iter().take(8).map(|m| m.name.clone()).collect(),
            }),
        }
    }

    /// The member's compression is supported, its data blocks lie in the file, and together they declare enough bytes.
    fn check_data(&self, member: &Member) -> Result<(), CabError> {
        let folder = self.folders.get(member.folder).ok_or_else(|| corrupt("a member in no folder"))?;
        if folder.compression == COMPRESSION_QUANTUM {
            return Err(CabError::Unsupported("is compressed by Quantum".into()));
        }
        let needed = u64::from(member.offset_in_folder) + u64::from(member.size);
        let mut declared = 0u64;
        let mut at = u64::from(folder.first_block);
        for block in 0..folder.blocks {
            let truncated = || corrupt(format!("it is truncated at data block {block} of {}", folder.blocks));
            let header = usize::try_from(at).map_err(|_| truncated())?;
            let packed = header.checked_add(4).and_then(|at| u16_at(self.cabinet, at)).ok_or_else(truncated)?;
            let plain = header.checked_add(6).and_then(|at| u16_at(self.cabinet, at)).ok_or_else(truncated)?;
            if folder.compression == COMPRESSION_NONE && packed != plain {
                return Err(corrupt(format!("stored data block {block} declares {packed} and {plain} bytes")));
            }
            at += 8 + self.block_reserve + u64::from(packed);
            if at > self.cabinet.len() as u64 {
                return Err(truncated());
            }
            declared += u64::from(plain);
        }
        if declared < needed {
            return Err(corrupt(format!(
                "{} needs {needed} bytes of data, its blocks declare {declared}",
                member.name
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const LIMIT: u64 = 1 << 20;

    fn cabinet(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = cab::CabinetBuilder::new();
        let folder = builder.add_folder(cab::CompressionType::MsZip);
        for (name, _) in members {
            folder.add_file(*name);
        }
        let mut writer = builder.build(Cursor::new(Vec::new())).expect("a cabinet");
        for (_, bytes) in members {
            let mut file = writer.next_file().expect("readable").expect("a member");
            file.write_all(bytes).expect("written");
        }
        writer.finish().expect("finished").into_inner()
    }

    #[test]
    fn the_wanted_member_is_taken_in_any_case_or_the_only_pdb() {
        let one = cabinet(&[("readme.txt", b"no"), ("dir\\NTKRNLMP.PDB", b"yes")]);
        let name = "dir\\NTKRNLMP.PDB".to_owned();
        let wanted = Ok(Expanded { name, bytes: b"yes".to_vec() });
        assert_eq!(expand(&one, "ntkrnlmp.pdb", LIMIT), wanted);
        assert_eq!(expand(&one, "other.pdb", LIMIT), wanted);
        let two = cabinet(&[("a.pdb", b"a"), ("b.pdb", b"b")]);
        assert_eq!(expand(&two, "b.pdb", LIMIT).map(|e| e.bytes), Ok(b"b".to_vec()));
        let members = vec!["a.pdb".to_owned(), "b.pdb".to_owned()];
        assert_eq!(expand(&two, "c.pdb", LIMIT), Err(CabError::NoMember { wanted: "c.pdb".into(), members }));
    }

    #[test]
    fn a_member_above_the_limit_is_refused_before_it_is_made() {
        let large = cabinet(&[("a.pdb", &[0; 5000])]);
        assert!(matches!(expand(&large, "a.pdb", 4999), Err(CabError::TooLarge { size: 5000, limit: 4999, .. })));
        assert_eq!(expand(&large, "a.pdb", 5000).map(|e| e.bytes.len()), Ok(5000));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let whole = cabinet(&[("a.pdb", &[7; 3000])]);
        for len in 0..whole.len() {
            assert!(expand(&whole[..len], "a.pdb", LIMIT).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_member_that_lies_behind_its_data_is_refused() {
        let whole = cabinet(&[("a.pdb", &[7; 3000])]);
        let files = u32_at(&whole, 16).expect("a header") as usize;
        for (at, value) in [(files, u32::MAX), (files, 3001), (files + 4, 1), (files + 4, u32::MAX)] {
            let mut bad = whole.clone();
            bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
            assert!(matches!(expand(&bad, "a.pdb", u64::MAX), Err(CabError::Corrupt(_))), "{value} at {at}");
        }
    }
}
