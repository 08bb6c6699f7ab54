//! A raw image: the offset in the file is the physical address, unless someone knows that the memory begins elsewhere. Every
//! file is one, if nothing better is known of it.

use super::mapped_file::MappedFile;
use super::{PhysicalMemory, Run};
use crate::addr::Pa;
use crate::error::{FaultReason, PageFault};
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// The ground layer: the file as it is.
pub(super) struct Raw {
    file: Arc<MappedFile>,
    /// Physical address of the first byte.
    begin: u64,
    /// One run, or none when the file is empty.
    runs: Vec<Run>,
    moved: OnceLock<Box<Self>>,
}

impl Raw {
    /// Opens `path`; `map` as in [`MappedFile::open`].
    pub(super) fn open(path: &Path, map: bool) -> io::Result<Self> {
        Ok(Self::new(MappedFile::open(path, map)?))
    }

    /// Opens a device, which is read and not mapped; `bytes` when it does not tell its length.
    pub(super) fn open_device(path: &Path, bytes: Option<u64>) -> io::Result<Self> {
        Ok(Self::new(MappedFile::open_device(path, bytes)?))
    }

    /// The same of an open file.
    pub(super) fn new(file: MappedFile) -> Self {
        Self::at(Arc::new(file), 0)
    }

    fn at(file: Arc<MappedFile>, begin: u64) -> Self {
        let runs = match file.bytes() {
            0 => Vec::new(),
            bytes => vec![Run { start: Pa(begin), bytes, file_offset: Some(0) }],
        };
        Self { file, begin, runs, moved: OnceLock::new() }
    }

    /// The offset of a physical address in the file.
    fn offset(&self, at: Pa) -> Option<u64> {
        at.0.checked_sub(self.begin)
    }
}

impl PhysicalMemory for Raw {
    fn read(&self, at: Pa, buffer: &mut [u8]) -> Result<(), PageFault> {
        let Some(offset) = self.offset(at) else {
            buffer.fill(0);
            return Err(PageFault::physical(FaultReason::NotInImage(at)));
        };
        let left = self.file.bytes().saturating_sub(offset);
        let here = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let (good, missing) = buffer.split_at_mut(here);
        missing.fill(0);
        if !good.is_empty()
            && let Err(error) = self.file.read_exact_at(offset, good)
        {
            good.fill(0);
            let why = format!("{here} bytes at offset {offset:#x} of the image could not be read: {error}");
            return Err(PageFault::physical(FaultReason::Io(why)));
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(PageFault::physical(FaultReason::NotInImage(at.wrapping_add(here as u64))))
    }

    fn runs(&self) -> &[Run] {
        &self.runs
    }

    fn slice(&self, at: Pa, bytes: usize) -> Option<&[u8]> {
        self.file.slice(self.offset(at)?, bytes)
    }

    fn release(&self, at: Pa, bytes: usize) {
        if let Some(offset) = self.offset(at) {
            self.file.release(offset, bytes);
        }
    }

    fn moved_to(&self, begin: Pa) -> Option<&dyn PhysicalMemory> {
        let moved = self.moved.get_or_init(|| Box::new(Self::at(Arc::clone(&self.file), begin.0)));
        (moved.begin == begin.0).then_some(moved.as_ref() as &dyn PhysicalMemory)
    }

    fn describe(&self) -> String {
        "raw".into()
    }
}
