//! A raw image: the offset in the file is the physical address. Every file is one, if nothing better is known of it.

use super::mapped_file::MappedFile;
use super::{PhysicalMemory, Run};
use crate::addr::Pa;
use crate::error::{FaultReason, PageFault};
use std::io;
use std::path::Path;

/// The ground layer: the file as it is.
pub(super) struct Raw {
    file: MappedFile,
    /// One run, or none when the file is empty.
    runs: Vec<Run>,
}

impl Raw {
    /// Opens `path`; `map` as in [`MappedFile::open`].
    pub(super) fn open(path: &Path, map: bool) -> io::Result<Self> {
        Ok(Self::new(MappedFile::open(path, map)?))
    }

    /// The same of an open file.
    pub(super) fn new(file: MappedFile) -> Self {
        let runs = match file.bytes() {
            0 => Vec::new(),
            bytes => vec![Run { start: Pa(0), bytes, file_offset: Some(0) }],
        };
        Self { file, runs }
    }
}

impl PhysicalMemory for Raw {
    fn read(&self, at: Pa, buffer: &mut [u8]) -> Result<(), PageFault> {
        let left = self.file.bytes().saturating_sub(at.0);
        let here = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let (good, missing) = buffer.split_at_mut(here);
        missing.fill(0);
        if !good.is_empty()
            && let Err(error) = self.file.read_exact_at(at.0, good)
        {
            good.fill(0);
            let why = format!("{} bytes at offset {:#x} of the image could not be read: {error}", here, at.0);
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
        self.file.slice(at.0, bytes)
    }

    fn release(&self, at: Pa, bytes: usize) {
        self.file.release(at.0, bytes);
    }

    fn describe(&self) -> String {
        "raw".into()
    }
}
