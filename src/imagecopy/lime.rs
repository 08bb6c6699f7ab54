//! LiME, version 1: a header of 32 bytes before each range, its end inclusive; and AVML, version 2, whose ranges are LiME's
//! compressed.
//!
//! Source: LiME's `doc/README` and `lime.h`; AVML's own description, snappy's `framing_format.txt`. A range of AVML is a
//! stream of snappy frames, and behind it a u64, the stream's length.

use super::{Sink, Writer};
use quaid_analyzer::Pa;
use quaid_analyzer::image::Run;
use snap::write::FrameEncoder;
use std::io::{self, Write as _};

const MAGIC: u32 = 0x4c69_4d45;
const AVML_MAGIC: u32 = 0x4c4d_5641;

pub(super) struct Lime<'o>(pub(super) &'o mut dyn Sink);

impl Writer for Lime<'_> {
    fn begin(&mut self, run: &Run) -> io::Result<()> {
        self.0.write_all(&header(MAGIC, 1, run.start, run.bytes))
    }

    fn block(&mut self, _: Pa, block: &[u8]) -> io::Result<()> {
        self.0.write_all(block)
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

pub(super) struct Avml<'o>(pub(super) &'o mut dyn Sink);

impl Writer for Avml<'_> {
    fn begin(&mut self, _: &Run) -> io::Result<()> {
        Ok(())
    }

    /// Each block is a range of the file: AVML's own cuts memory too, at 16 MiB, and readers join what touches.
    fn block(&mut self, at: Pa, block: &[u8]) -> io::Result<()> {
        let mut frames = FrameEncoder::new(Vec::new());
        frames.write_all(block)?;
        let stream = frames.into_inner().map_err(snap::write::IntoInnerError::into_error)?;
        self.0.write_all(&header(AVML_MAGIC, 2, at, block.len() as u64))?;
        self.0.write_all(&stream)?;
        self.0.write_all(&(stream.len() as u64).to_le_bytes())
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

fn header(magic: u32, version: u32, start: Pa, bytes: u64) -> [u8; 32] {
    let mut header = [0; 32];
    let words = [u64::from(magic) | u64::from(version) << 32, start.0, start.0 + bytes - 1];
    for (place, word) in header.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&u64::to_le_bytes(word));
    }
    header
}
