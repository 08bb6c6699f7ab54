//! Is this the PDB that was asked for? Reads just enough of an MSF 7.00 container to know its GUID and age.
//!
//! The container is a sequence of pages. The superblock (page 0) leads to a list of the pages of the stream directory;
//! the directory holds the sizes, then the page numbers, of all streams. Stream 1 (info) has the GUID at byte 12,
//! stream 3 (DBI) the age at byte 8. Only single fields are read, so nothing is allocated whatever a file declares.
//! Source of the format: microsoft/microsoft-pdb (msf.cpp, pdb1.h, dbi.h) and LLVM's PDB documentation.

use quaid_profile::GuidAge;

/// Why a file is not the PDB that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The server sent nothing.
    #[error("it is empty")]
    Empty,
    /// A page for people, with status 200.
    #[error("the server sent an HTML page (a proxy's or captive portal's login?)")]
    Html,
    /// A kind of file that can be named, and is not read.
    #[error("it is {0}")]
    Unsupported(&'static str),
    /// No known kind of file.
    #[error("it is no PDB: the first bytes are {0}, not \"Microsoft C/C++ MSF 7.00\"")]
    NoPdb(String),
    /// The container ends early or contradicts itself.
    #[error("it is a damaged PDB: {0}")]
    Corrupt(String),
    /// A PDB of another build.
    #[error("it is the PDB {found}, not {wanted}")]
    OtherBuild {
        /// GUID and age of the file.
        found: GuidAge,
        /// GUID and age that were asked for.
        wanted: GuidAge,
    },
}

const MSF_MAGIC: &[u8; 32] = b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0";
/// Fields of the superblock, by offset.
const PAGE_SIZE_AT: u64 = 32;
const PAGE_COUNT_AT: u64 = 40;
const DIRECTORY_SIZE_AT: u64 = 44;
const DIRECTORY_MAP_AT: u64 = 52;
/// The size of a stream that does not exist.
const NO_STREAM: u32 = u32::MAX;
const INFO_STREAM: u32 = 1;
const DBI_STREAM: u32 = 3;

/// Succeeds when `bytes` are a whole PDB with the GUID of the info stream, and the age of the DBI stream, of `wanted`.
pub fn verify(bytes: &[u8], wanted: GuidAge) -> Result<(), VerifyError> {
    let found = identity(bytes)?;
    if found == wanted { Ok(()) } else { Err(VerifyError::OtherBuild { found, wanted }) }
}

/// GUID and age of a PDB, in the form that symbol servers use. A PDB without a DBI stream has the age of its info stream.
pub fn identity(bytes: &[u8]) -> Result<GuidAge, VerifyError> {
    if !bytes.starts_with(MSF_MAGIC) {
        return Err(name_the_kind(bytes));
    }
    let msf = Msf::new(bytes)?;
    let info = msf.stream(INFO_STREAM)?.ok_or_else(|| corrupt("it has no info stream (1)"))?;
    let mut guid = [0; 16];
    guid.copy_from_slice(msf.bytes(info, 12, 16)?);
    let age = match msf.stream(DBI_STREAM)? {
        Some(dbi) => msf.u32(dbi, 8)?,
        None => msf.u32(info, 8)?,
    };
    Ok(GuidAge::from_le_bytes(guid, age))
}

fn corrupt(why: impl Into<String>) -> VerifyError {
    VerifyError::Corrupt(why.into())
}

fn name_the_kind(bytes: &[u8]) -> VerifyError {
    let head = bytes.get(..512).unwrap_or(bytes);
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let text = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    if bytes.is_empty() {
        VerifyError::Empty
    } else if text.starts_with("<!doctype html") || text.starts_with("<html") || text.contains("<head") {
        VerifyError::Html
    } else if bytes.starts_with(b"Microsoft MSFZ Container") {
        VerifyError::Unsupported("an MSFZ (compressed) PDB, which is not supported: ask the server for the plain PDB")
    } else if bytes.starts_with(b"Microsoft C/C++ program database 2.00") {
        VerifyError::Unsupported("a PDB 2.00 (\"JG\"), which has no GUID: its build cannot be verified")
    } else if bytes.starts_with(b"BSJB") {
        VerifyError::Unsupported("a portable PDB (.NET), which has no kernel types")
    } else if bytes.starts_with(b"\x1f\x8b") {
        VerifyError::Unsupported("gzip data, which nobody asked for (a proxy's doing?)")
    } else {
        let shown: String = head.iter().take(16).flat_map(|&b| std::ascii::escape_default(b)).map(char::from).collect();
        VerifyError::NoPdb(format!("\"{shown}\""))
    }
}

/// The first page of a stream, and the bytes of the stream in it.
#[derive(Clone, Copy)]
struct FirstPage {
    /// Offset in the file.
    at: u64,
    /// How many bytes of the stream are there.
    len: u64,
}

struct Msf<'a> {
    file: &'a [u8],
    page_size: u64,
    page_count: u64,
    directory_size: u64,
}

impl<'a> Msf<'a> {
    fn new(file: &'a [u8]) -> Result<Self, VerifyError> {
        let field = |at| u32_at(file, at).map(u64::from).ok_or_else(|| corrupt("it ends inside the superblock"));
        let msf = Self {
            file,
            page_size: field(PAGE_SIZE_AT)?,
            page_count: field(PAGE_COUNT_AT)?,
            directory_size: field(DIRECTORY_SIZE_AT)?,
        };
        if !msf.page_size.is_power_of_two() || !(512..=65536).contains(&msf.page_size) {
            return Err(corrupt(format!("a page size of {} bytes", msf.page_size)));
        }
        // Both factors are below 2^32: no overflow.
        let declared = msf.page_count * msf.page_size;
        if declared > file.len() as u64 {
            return Err(corrupt(format!("it declares {declared} bytes and has {}", file.len())));
        }
        Ok(msf)
    }

    /// Offset in the file of the page that the list entry at `entry_at` names.
    fn page(&self, entry_at: u64) -> Result<u64, VerifyError> {
        let number = u32_at(self.file, entry_at).ok_or_else(|| corrupt("a list of pages lies outside the file"))?;
        if u64::from(number) >= self.page_count {
            return Err(corrupt(format!("page {number} of {}", self.page_count)));
        }
        Ok(u64::from(number) * self.page_size)
    }

    /// The 32-bit number at word `index` of the stream directory.
    fn directory_word(&self, index: u64) -> Result<u32, VerifyError> {
        let at = index * 4;
        if at + 4 > self.directory_size {
            return Err(corrupt("its stream directory is too short"));
        }
        // The pages of the directory are listed in pages that the superblock lists.
        let page_index = at / self.page_size;
        let entries_in_page = self.page_size / 4;
        let list = self.page(DIRECTORY_MAP_AT + 4 * (page_index / entries_in_page))?;
        let page = self.page(list + 4 * (page_index % entries_in_page))?;
        u32_at(self.file, page + at % self.page_size)
            .ok_or_else(|| corrupt("its stream directory lies outside the file"))
    }

    /// Where a stream begins; `None` for one that is absent or empty.
    fn stream(&self, number: u32) -> Result<Option<FirstPage>, VerifyError> {
        let count = self.directory_word(0)?;
        if number >= count {
            return Ok(None);
        }
        // After the count come the sizes of all streams, then the page numbers of all streams.
        let mut pages_before = 0;
        for earlier in 0..number {
            pages_before += self.pages_of(self.directory_word(1 + u64::from(earlier))?);
        }
        let size = self.directory_word(1 + u64::from(number))?;
        if self.pages_of(size) == 0 {
            return Ok(None);
        }
        let page = self.directory_word(1 + u64::from(count) + pages_before)?;
        if u64::from(page) >= self.page_count {
            return Err(corrupt(format!("stream {number} begins in page {page} of {}", self.page_count)));
        }
        Ok(Some(FirstPage { at: u64::from(page) * self.page_size, len: u64::from(size).min(self.page_size) }))
    }

    fn pages_of(&self, size: u32) -> u64 {
        if size == NO_STREAM { 0 } else { u64::from(size).div_ceil(self.page_size) }
    }

    fn bytes(&self, stream: FirstPage, at: u64, len: u64) -> Result<&'a [u8], VerifyError> {
        let short = || corrupt("its info or DBI stream is too short");
        if at + len > stream.len {
            return Err(short());
        }
        let start = usize::try_from(stream.at + at).map_err(|_| short())?;
        let len = usize::try_from(len).map_err(|_| short())?;
        start.checked_add(len).and_then(|end| self.file.get(start..end)).ok_or_else(short)
    }

    fn u32(&self, stream: FirstPage, at: u64) -> Result<u32, VerifyError> {
        u32_at(self.bytes(stream, at, 4)?, 0).ok_or_else(|| corrupt("its info or DBI stream is too short"))
    }
}

/// As [`super::bytes::u32_at`], for offsets computed from page numbers.
fn u32_at(bytes: &[u8], at: u64) -> Option<u32> {
    super::bytes::u32_at(bytes, usize::try_from(at).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 512;

    /// A PDB of a few pages: 0 superblock, 1 list of the directory's pages, 2 directory, 3 info, 4 DBI.
    fn pdb() -> Vec<u8> {
        let mut file = vec![0; 5 * PAGE];
        file[..32].copy_from_slice(MSF_MAGIC);
        let mut put = |at: usize, value: u32| file[at..at + 4].copy_from_slice(&value.to_le_bytes());
        for (at, value) in [(32, PAGE as u32), (36, 1), (40, 5), (44, 4 + 4 * 4 + 2 * 4), (52, 1)] {
            put(at, value);
        }
        put(PAGE, 2);
        // Four streams: empty, info of 28 bytes, absent, DBI of 64 bytes; then the page of each of the two.
        for (word, value) in [4, 0, 28, NO_STREAM, 64, 3, 4].into_iter().enumerate() {
            put(2 * PAGE + 4 * word, value);
        }
        for (word, value) in
            [20_000_404, 7, 9, 0x0403_0201, 0x0807_0605, 0x0c0b_0a09, 0x100f_0e0d].into_iter().enumerate()
        {
            put(3 * PAGE + 4 * word, value);
        }
        put(4 * PAGE, u32::MAX);
        put(4 * PAGE + 8, 0x1a);
        file
    }

    fn id() -> GuidAge {
        "0403020106050807090A0B0C0D0E0F101A".parse().expect("an identity")
    }

    #[test]
    fn guid_is_the_info_stream_s_and_age_the_dbi_stream_s() {
        assert_eq!(identity(&pdb()), Ok(id()));
        assert_eq!(verify(&pdb(), id()), Ok(()));
        let other = GuidAge { age: 9, ..id() };
        assert_eq!(verify(&pdb(), other), Err(VerifyError::OtherBuild { found: id(), wanted: other }));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let file = pdb();
        for len in 0..file.len() {
            assert!(identity(&file[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn numbers_that_lead_nowhere_are_errors() {
        // Page size and count, the lists of pages, the number of streams, a size, the pages of both streams.
        for at in [32, 40, 52, PAGE, 2 * PAGE, 2 * PAGE + 8, 2 * PAGE + 20, 2 * PAGE + 24] {
            for value in [u32::MAX - 15, i32::MAX as u32] {
                let mut file = pdb();
                file[at..at + 4].copy_from_slice(&value.to_le_bytes());
                assert!(matches!(identity(&file), Err(VerifyError::Corrupt(_))), "{value} at {at}");
            }
        }
    }

    #[test]
    fn other_kinds_are_named() {
        let word = |bytes: &[u8]| identity(bytes).expect_err("no PDB").to_string();
        assert!(word(b"").contains("empty"));
        assert!(word(b"\r\n<!DOCTYPE HTML><title>Log in</title>").contains("HTML page"));
        assert!(word(b"<?xml version='1.0'?><html xmlns='x'><head>").contains("HTML page"));
        assert!(word(b"Microsoft MSFZ Container\r\n\x1aALD\0\0").contains("MSFZ"));
        assert!(word(b"Microsoft C/C++ program database 2.00\r\n\x1aJG\0\0").contains("2.00"));
        assert!(word(b"\x7fELF\x02\x01\x1b[2J").contains("\"\\x7fELF\\x02\\x01\\x1b[2J\""));
    }
}
