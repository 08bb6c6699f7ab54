//! Raw: offset is address. What no range holds is zero, and takes no room where the file system has sparse files.

use super::{Sink, Writer};
use quaid_analyzer::Pa;
use quaid_analyzer::image::Run;
use std::io::{self, SeekFrom};

pub(super) struct Raw<'o> {
    out: &'o mut dyn Sink,
    /// The address behind the last range.
    end: u64,
    /// Zeros that were not written yet.
    zeros: u64,
}

impl<'o> Raw<'o> {
    pub(super) fn new(out: &'o mut dyn Sink) -> Self {
        Self { out, end: 0, zeros: 0 }
    }
}

impl Writer for Raw<'_> {
    fn begin(&mut self, run: &Run) -> io::Result<()> {
        self.zeros += run.start.0 - self.end;
        self.end = run.start.0 + run.bytes;
        Ok(())
    }

    fn block(&mut self, _: Pa, block: &[u8]) -> io::Result<()> {
        if block.iter().all(|&byte| byte == 0) {
            self.zeros += block.len() as u64;
            return Ok(());
        }
        if self.zeros > 0 {
            let ahead =
                i64::try_from(self.zeros).map_err(|_| io::Error::other("the memory ends too far up for a file"))?;
            self.out.seek(SeekFrom::Current(ahead))?;
            self.zeros = 0;
        }
        self.out.write_all(block)
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        // The last byte stands for all the zeros before it.
        if self.zeros > 0 {
            self.out.seek(SeekFrom::Start(self.end - 1))?;
            self.out.write_all(&[0])?;
        }
        Ok(())
    }
}
