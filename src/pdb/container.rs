//! The container: MSF, "multi-stream file". A file of pages of equal size; a directory tells the pages of each stream.
//! Of its two forms, 7.00 has page numbers of 32 bits; 2.00 (Visual C++ 6 and older) has such of 16.
//!
//! Layout: llvm.org/docs/PDB/MsfFile.html; microsoft-pdb, PDB/msf/msf.cpp (`BIGMSF_HDR`, `MSF_HDR`).

use super::bytes::Reader;
use super::error::PdbError;
use std::borrow::Cow;

const MSF7: &[u8] = b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0";
const PDB2: &[u8] = b"Microsoft C/C++ program database 2.00\r\n\x1aJG";
/// The compressed container of newer tools; its signature is that of github.com/microsoft/pdb-rs.
const MSFZ: &[u8] = b"Microsoft MSFZ Container\r\n\x1aALD\0\0";
/// The size in the directory of a stream that does not exist.
const NO_SIZE: u32 = u32::MAX;

/// An opened container.
#[derive(Debug)]
pub(super) struct Container<'b> {
    bytes: &'b [u8],
    page_bytes: usize,
    /// Size in bytes and page numbers (four bytes each) of every stream.
    streams: Vec<(u32, Vec<u8>)>,
}

impl<'b> Container<'b> {
    /// Checks the magic and reads the stream directory.
    pub(super) fn open(bytes: &'b [u8]) -> Result<Self, PdbError> {
        if bytes.starts_with(PDB2) {
            return Self::open_old(bytes);
        }
        if bytes.starts_with(MSFZ) {
            return Err(PdbError::Unsupported(
                "a compressed PDB (an MSFZ container) is not supported; `quaid fetch_pdb` gets the same PDB as it can be \
                 read, since servers send this form only to clients that announce msfz0, and `pdbtool copy COMPRESSED \
                 PLAIN` (microsoft/pdb-rs) expands it"
                    .into(),
            ));
        }
        if !bytes.starts_with(MSF7) {
            return Err(no_pdb(bytes));
        }
        let mut header = Reader(bytes.get(MSF7.len()..).unwrap_or_default());
        let fields = (header.u32(), header.u32(), header.u32(), header.u32(), header.u32());
        let (Some(page_bytes), Some(_free_map), Some(pages), Some(directory_bytes), Some(_)) = fields else {
            return Err(PdbError::damaged("header", format!("the file ends after {} bytes", bytes.len())));
        };
        let mut container = Self::without_streams(bytes, page_bytes, pages)?;
        // The header ends in the numbers of the pages that hold the numbers of the directory's pages.
        let directory_pages = container.page_count(directory_bytes);
        let index_bytes =
            directory_pages.checked_mul(4).and_then(|bytes| u32::try_from(bytes).ok()).unwrap_or(u32::MAX);
        let index_pages = header.take(container.page_count(index_bytes).saturating_mul(4));
        let index_pages = index_pages.ok_or_else(|| {
            PdbError::damaged("stream directory", format!("{directory_bytes} bytes of it do not fit the header"))
        })?;
        let index = container.join(index_pages, index_bytes, "list of the stream directory's pages")?;
        let directory = container.join(&index, directory_bytes, "stream directory")?;
        let cut = || PdbError::damaged("stream directory", "it is too short for the streams it counts");
        container.streams = container.streams(&directory).ok_or_else(cut)?;
        Ok(container)
    }

    /// Form 2.00: the header ends in the numbers of the directory's pages.
    fn open_old(bytes: &'b [u8]) -> Result<Self, PdbError> {
        let mut header = Reader(bytes.get(PDB2.len() + 2..).unwrap_or_default());
        let fields = (header.u32(), header.u16(), header.u16(), header.u32(), header.u32());
        let (Some(page_bytes), Some(_free_map), Some(pages), Some(directory_bytes), Some(_)) = fields else {
            return Err(PdbError::damaged("header", format!("the file ends after {} bytes", bytes.len())));
        };
        let mut container = Self::without_streams(bytes, page_bytes, pages.into())?;
        let pages = header.take(container.page_count(directory_bytes).saturating_mul(2)).ok_or_else(|| {
            PdbError::damaged("stream directory", format!("{directory_bytes} bytes of it do not fit the header"))
        })?;
        let directory = container.join(&widened(pages), directory_bytes, "stream directory")?;
        let cut = || PdbError::damaged("stream directory", "it is too short for the streams it counts");
        container.streams = container.old_streams(&directory).ok_or_else(cut)?;
        Ok(container)
    }

    fn without_streams(bytes: &'b [u8], page_bytes: u32, pages: u32) -> Result<Self, PdbError> {
        // Writers make pages of 512 bytes to 32 KiB.
        if !page_bytes.is_power_of_two() || !(256..=1 << 16).contains(&page_bytes) {
            return Err(PdbError::damaged("header", format!("a page size of {page_bytes} bytes")));
        }
        let declared = u64::from(pages) * u64::from(page_bytes);
        if declared > bytes.len() as u64 {
            let why = format!("it declares {declared} bytes, and the file has {}", bytes.len());
            return Err(PdbError::damaged("header", why));
        }
        Ok(Self { bytes, page_bytes: page_bytes as usize, streams: Vec::new() })
    }

    /// Size of the file, in bytes.
    pub(super) fn file_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes of a stream; empty when it is absent. 0xffff stands for no stream. Copied only when its pages do not
    /// follow each other.
    pub(super) fn stream(&self, number: u16, what: &str) -> Result<Cow<'b, [u8]>, PdbError> {
        match self.streams.get(usize::from(number)) {
            Some((size, pages)) => self.join(pages, *size, &format!("{what} (stream {number})")),
            None => Ok(Cow::Borrowed(&[])),
        }
    }

    /// The bytes of a stream and what else its last page holds, which readers that heed the size never see.
    pub(super) fn stream_with_padding(&self, number: u16, what: &str) -> Result<Cow<'b, [u8]>, PdbError> {
        let Some((_, pages)) = self.streams.get(usize::from(number)) else { return Ok(Cow::Borrowed(&[])) };
        let size = u32::try_from(pages.len() / 4 * self.page_bytes);
        let size = size.map_err(|_| PdbError::damaged(what, "it has 4 GiB or more"))?;
        self.join(pages, size, &format!("{what} (stream {number})"))
    }

    /// The directory: a count, the sizes, then the pages of each stream in turn.
    fn streams(&self, directory: &[u8]) -> Option<Vec<(u32, Vec<u8>)>> {
        let mut reader = Reader(directory);
        let count = usize::try_from(reader.u32()?).ok()?;
        let mut sizes = Reader(reader.take(count.checked_mul(4)?)?);
        let mut streams = Vec::with_capacity(count);
        while let Some(size) = sizes.u32() {
            let size = if size == NO_SIZE { 0 } else { size };
            let pages = reader.take(self.page_count(size).checked_mul(4)?)?;
            streams.push((size, pages.to_vec()));
        }
        Some(streams)
    }

    /// The directory of form 2.00: beside each size lie four bytes that mean nothing in a file.
    fn old_streams(&self, directory: &[u8]) -> Option<Vec<(u32, Vec<u8>)>> {
        let mut reader = Reader(directory);
        let count = usize::from(reader.u16()?);
        let _reserved = reader.u16()?;
        let mut sizes = Reader(reader.take(count.checked_mul(8)?)?);
        let mut streams = Vec::with_capacity(count);
        while let (Some(size), Some(_)) = (sizes.u32(), sizes.u32()) {
            let size = if size == NO_SIZE { 0 } else { size };
            streams.push((size, widened(reader.take(self.page_count(size).checked_mul(2)?)?)));
        }
        Some(streams)
    }

    fn page_count(&self, bytes: u32) -> usize {
        (bytes as usize).div_ceil(self.page_bytes)
    }

    /// `size` bytes of the pages whose numbers are in `pages`.
    fn join(&self, pages: &[u8], size: u32, what: &str) -> Result<Cow<'b, [u8]>, PdbError> {
        let size = size as usize;
        // No page belongs to a stream twice, so no stream is larger than the file.
        if size > self.bytes.len() {
            return Err(PdbError::damaged(what, format!("it claims {size} bytes, more than the file has")));
        }
        let numbers: Vec<u32> = pages.chunks_exact(4).filter_map(|number| Reader(number).u32()).collect();
        let start = |number: u32| (number as usize).checked_mul(self.page_bytes);
        let beyond = |number: u32| PdbError::damaged(what, format!("its page {number} is beyond the end of the file"));
        let in_a_row = numbers.iter().zip(numbers.iter().skip(1)).all(|(a, b)| a.checked_add(1) == Some(*b));
        if let (true, Some(&first)) = (in_a_row, numbers.first()) {
            let whole = start(first).and_then(|start| self.bytes.get(start..start.checked_add(size)?));
            return whole.map(Cow::Borrowed).ok_or_else(|| beyond(numbers.last().copied().unwrap_or(first)));
        }
        let mut joined = Vec::with_capacity(size);
        for number in numbers {
            let len = self.page_bytes.min(size - joined.len());
            let page = start(number).and_then(|start| self.bytes.get(start..start.checked_add(len)?));
            joined.extend_from_slice(page.ok_or_else(|| beyond(number))?);
        }
        Ok(Cow::Owned(joined))
    }
}

/// Page numbers of 16 bits as such of 32.
fn widened(pages: &[u8]) -> Vec<u8> {
    pages.chunks_exact(2).flat_map(|number| [number, &[0; 2]].concat()).collect()
}

/// What a file that is no PDB seems to be.
fn no_pdb(bytes: &[u8]) -> PdbError {
    let head = bytes.get(..512).unwrap_or(bytes);
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let text = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    if text.starts_with("<!doctype html") || text.starts_with("<html") || text.contains("<head") {
        return PdbError::Html;
    }
    let what = if bytes.is_empty() {
        "it is empty".to_owned()
    } else if bytes.starts_with(b"MSCF") {
        "it is a cabinet (.pd_); `quaid fetch_pdb` expands such files, and so does cabextract".to_owned()
    } else if bytes.starts_with(b"MZ") {
        "it is a PE file; `quaid fetch_pdb --filename FILE` fetches its PDB".to_owned()
    } else if bytes.starts_with(b"BSJB") {
        "it is a portable PDB (.NET), which has no types of a kernel".to_owned()
    } else {
        let shown: String = head.iter().take(16).flat_map(|&b| std::ascii::escape_default(b)).map(char::from).collect();
        format!("it begins with \"{shown}\" and not with \"Microsoft C/C++ MSF 7.00\"")
    };
    PdbError::NotPdb(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_pdb_is_named() {
        let refused = |bytes: &[u8]| Container::open(bytes).expect_err("refused").to_string();
        assert!(refused(b"\r\n<!DOCTYPE html><html>").contains("HTML"));
        assert!(refused(b"MSCF\0\0\0\0").contains("cabinet"));
        assert!(refused(b"MZ\x90\0").contains("PE file"));
        assert!(refused(b"").contains("empty"));
        assert!(refused(PDB2).contains("damaged"));
        let compressed = refused(b"Microsoft MSFZ Container\r\n\x1aALD\0\0\0\0\0\0");
        assert!(compressed.contains("MSFZ") && compressed.contains("quaid fetch_pdb"), "{compressed}");
        assert!(refused(MSF7).contains("damaged"));
    }

    /// Superblock, list of directory pages, directory and two streams, of pages of 256 bytes.
    fn small(stream_pages: &[u32], stream_bytes: u32) -> Vec<u8> {
        let mut file = vec![0; 256 * 7];
        file[..32].copy_from_slice(MSF7);
        let mut put = |at: usize, values: &[u32]| {
            for (i, value) in values.iter().enumerate() {
                file[at + 4 * i..at + 4 * i + 4].copy_from_slice(&value.to_le_bytes());
            }
        };
        put(32, &[256, 1, 7, 4 * (3 + stream_pages.len() as u32), 0, 2]);
        put(2 * 256, &[3]);
        put(3 * 256, &[2, NO_SIZE, stream_bytes]);
        put(3 * 256 + 12, stream_pages);
        for page in 4..7 {
            file[page * 256..(page + 1) * 256].fill(page as u8);
        }
        file
    }

    #[test]
    fn streams_are_joined_from_their_pages() {
        let file = small(&[4, 5], 300);
        let container = Container::open(&file).expect("opens");
        let stream = container.stream(1, "test").expect("in the file");
        assert!(matches!(stream, Cow::Borrowed(_)));
        assert_eq!((stream.len(), stream[0], stream[299]), (300, 4, 5));
        assert!(container.stream(0, "absent").expect("absent is empty").is_empty());
        assert!(container.stream(0xffff, "none").expect("none is empty").is_empty());
        let file = small(&[6, 4], 300);
        let stream = Container::open(&file).expect("opens").stream(1, "test").expect("in the file").into_owned();
        assert_eq!((stream.len(), stream[0], stream[299]), (300, 6, 4));
    }

    #[test]
    fn pages_beyond_the_file_and_sizes_beyond_reason_are_damage() {
        for (pages, bytes) in [(&[4, 99][..], 300), (&[6, 7], 300), (&[0xffff_ffff, 0], 300), (&[4; 9], 9 * 256)] {
            let file = small(pages, bytes);
            let stream = Container::open(&file).and_then(|container| container.stream(1, "test").map(Cow::into_owned));
            assert!(matches!(stream, Err(PdbError::Damaged { .. })), "{pages:?}");
        }
        assert!(matches!(Container::open(&small(&[4], 0xffff_0000)), Err(PdbError::Damaged { .. })));
    }
}
