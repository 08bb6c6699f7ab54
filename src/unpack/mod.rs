//! Files inside of files: compressed data, archives, packages and kernel images, told by content.
//!
//! The parts: `compression` undoes gzip, xz, lzma, zstd and lz4, `archive` lists tar, cpio, ar (`.deb`) and `.rpm`,
//! `kernel_image` finds what the image that a boot loader starts has packed in it. Nothing is written to a path that a
//! file names: what is large goes to a temporary file without a name. A [`Budget`] bounds how much all of it unpacks to.

pub(crate) mod archive;
pub(crate) mod compression;
pub(crate) mod kernel_image;

use memmap2::Mmap;
use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Write};

/// What any file may unpack to, in bytes.
const FREE_BYTES: u64 = 256 << 20;
/// What each byte of a file may unpack to beyond that. The members of a package of debugging information unpack to ten
/// times its size, and are all walked past.
const BYTES_FOR_EACH: u64 = 64;
/// What is larger is kept in a temporary file, in bytes.
const MAX_IN_MEMORY: u64 = 64 << 20;

/// How many bytes may still be unpacked.
pub(crate) struct Budget {
    limit: Cell<u64>,
    used: Cell<u64>,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { limit: Cell::new(FREE_BYTES), used: Cell::new(0) }
    }

    /// A file of so many bytes is read in addition.
    pub(crate) fn add_file(&self, bytes: u64) {
        self.limit.set(self.limit.get().saturating_add(bytes.saturating_mul(BYTES_FOR_EACH)));
    }
}

/// What a decoder gives, until the budget is used up.
pub(crate) struct Bounded<'b, R> {
    inner: R,
    budget: &'b Budget,
}

impl<'b, R> Bounded<'b, R> {
    pub(crate) fn new(inner: R, budget: &'b Budget) -> Self {
        Self { inner, budget }
    }
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        let used = self.budget.used.get().saturating_add(len as u64);
        self.budget.used.set(used);
        let limit = self.budget.limit.get();
        if used > limit {
            return Err(io::Error::other(format!(
                "unpacks to more than {} MiB, far more than its size explains; if it is to be trusted, unpack it and give the file inside",
                limit >> 20
            )));
        }
        Ok(len)
    }
}

/// The bytes of a file: mapped, or read.
pub(crate) enum Bytes {
    Mapped(Mmap),
    Read(Vec<u8>),
}

impl std::ops::Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Read(bytes) => bytes,
        }
    }
}

impl Bytes {
    /// Maps a file.
    #[expect(unsafe_code, reason = "a vmlinux of 600 MB is mapped, of which a third is looked at")]
    pub(crate) fn map(file: &File) -> io::Result<Self> {
        // SAFETY: the map is read-only and private to this process. That the file changes under it cannot be excluded: a
        // file that is cut meanwhile ends the process by SIGBUS, one that is written to gives other bytes, which every
        // reader checks as it checks any hostile file.
        unsafe { Mmap::map(file) }.map(Self::Mapped)
    }

    /// All that `reader` gives, in memory, or in a temporary file where it is large. `reader` has a bound of its own.
    pub(crate) fn store(reader: &mut dyn Read) -> io::Result<Self> {
        let mut bytes = Vec::new();
        reader.take(MAX_IN_MEMORY + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 <= MAX_IN_MEMORY {
            return Ok(Self::Read(bytes));
        }
        let mut file = tempfile::tempfile()?;
        file.write_all(&bytes)?;
        drop(bytes);
        io::copy(reader, &mut file)?;
        Self::map(&file)
    }
}
