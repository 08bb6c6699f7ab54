//! The bytes of a file: mapped into memory where that works, else read piece by piece.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::path::Path;

/// What pages are released in, in bytes; a multiple of the page size of every host.
const PAGE_BYTES: usize = 1 << 16;

/// A file that is only read.
pub(super) struct MappedFile {
    file: File,
    map: Option<memmap2::Mmap>,
    bytes: u64,
}

impl MappedFile {
    /// Opens the regular file `path`. With `map`, it is mapped; a file that cannot be mapped (32-bit hosts, some network
    /// file systems) is read instead.
    pub(super) fn open(path: &Path, map: bool) -> io::Result<Self> {
        Self::new(File::open(path)?, map)
    }

    /// Opens a device to be read; `bytes` where it does not tell its length, which disks do.
    pub(super) fn open_device(path: &Path, bytes: Option<u64>) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let bytes = bytes.map_or_else(|| file.seek(SeekFrom::End(0)), Ok)?;
        Ok(Self { file, map: None, bytes })
    }

    /// The same of an open file.
    pub(super) fn new(file: File, map: bool) -> io::Result<Self> {
        let bytes = file.metadata()?.len();
        let map = if map { try_map(&file) } else { None };
        // The mapping was made from the length at that moment; the shorter of the two is safe to promise.
        let bytes = map.as_ref().map_or(bytes, |map| bytes.min(map.len() as u64));
        Ok(Self { file, map, bytes })
    }

    /// Length in bytes when the file was opened.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The bytes from `offset` on, when the file is mapped and holds them all.
    pub(super) fn slice(&self, offset: u64, bytes: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset).ok()?;
        self.map.as_ref()?.get(start..start.checked_add(bytes)?)
    }

    /// Lets the pages that lie wholly in the range leave this process's memory; they stay in the system's cache.
    pub(super) fn release(&self, offset: u64, bytes: usize) {
        let (Some(map), Ok(start)) = (&self.map, usize::try_from(offset)) else { return };
        let end = start.saturating_add(bytes).min(map.len()) / PAGE_BYTES * PAGE_BYTES;
        let start = start.next_multiple_of(PAGE_BYTES);
        if start < end {
            release_pages(map, start, end - start);
        }
    }

    /// Fills `buffer` from `offset` on.
    pub(super) fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self.slice(offset, buffer.len()) {
            Some(bytes) => {
                buffer.copy_from_slice(bytes);
                Ok(())
            }
            None => pread_exact(&self.file, offset, buffer),
        }
    }
}

#[expect(unsafe_code, reason = "a file can only be mapped by a call that the compiler cannot check")]
fn try_map(file: &File) -> Option<memmap2::Mmap> {
    // SAFETY: the mapping is read-only and private to `MappedFile`, which hands out shared slices only. What cannot be
    // ruled out is another process that writes to the image meanwhile: the bytes may then change under a slice, and a
    // file that is cut short raises SIGBUS. No invariant of ours rests on the bytes staying equal, since every value is
    // checked after it was copied out; `Options::no_map` reads without a mapping for images on failing or shared media.
    unsafe { memmap2::Mmap::map(file) }.ok()
}

#[cfg(unix)]
#[expect(unsafe_code, reason = "advice to the kernel that drops pages is unsafe for mappings that are written to")]
fn release_pages(map: &memmap2::Mmap, start: usize, bytes: usize) {
    // SAFETY: the mapping is of a file and is never written to, so that a page that is dropped comes back from the file
    // with the same bytes, also under a slice that someone still holds. It is only advice: a refusal changes nothing.
    let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, bytes) };
}

#[cfg(not(unix))]
fn release_pages(_: &memmap2::Mmap, _: usize, _: usize) {}

#[cfg(unix)]
fn pread_exact(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn pread_exact(file: &File, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        let got = std::os::windows::fs::FileExt::seek_read(file, buffer, offset)?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer = buffer.get_mut(got..).unwrap_or_default();
        offset += got as u64;
    }
    Ok(())
}
