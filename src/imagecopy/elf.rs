//! An ELF64 core: what the image is known to lack is kept as memory without file bytes, VMCOREINFO as a note.
//!
//! Source: the ELF specification (a core with a PT_LOAD for each range, its physical address in `p_paddr`).

use super::{PAGE_BYTES, Sink, Writer, is_aarch64, vmcoreinfo_note};
use quaid_analyzer::Pa;
use quaid_analyzer::image::{Hints, PhysicalMemory, Run};
use std::io;

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;
/// From this number of program headers on, the first section header tells it.
const PN_XNUM: usize = 0xffff;
const EHDR_BYTES: usize = 64;
const PHDR_BYTES: usize = 56;
const SHDR_BYTES: usize = 64;

pub(super) struct Elf<'o>(&'o mut dyn Sink);

impl<'o> Elf<'o> {
    pub(super) fn new(memory: &dyn PhysicalMemory, hints: &Hints, out: &'o mut dyn Sink) -> io::Result<Self> {
        out.write_all(&header(memory, hints))?;
        Ok(Self(out))
    }
}

impl Writer for Elf<'_> {
    fn begin(&mut self, _: &Run) -> io::Result<()> {
        Ok(())
    }

    fn block(&mut self, _: Pa, block: &[u8]) -> io::Result<()> {
        self.0.write_all(block)
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

/// Everything before the memory, which begins at a page of the file, so that a mapping of the file is aligned.
fn header(memory: &dyn PhysicalMemory, hints: &Hints) -> Vec<u8> {
    let note = vmcoreinfo_note(hints);
    let count = usize::from(!note.is_empty()) + memory.runs().len() + memory.gaps().len();
    let many = count >= PN_XNUM;
    let phoff = EHDR_BYTES + if many { SHDR_BYTES } else { 0 };
    let note_at = phoff + count * PHDR_BYTES;
    let data_at = (note_at + note.len()).next_multiple_of(PAGE_BYTES);

    let mut out = Vec::with_capacity(data_at);
    out.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    out.extend(4_u16.to_le_bytes());
    out.extend(if is_aarch64(hints) { EM_AARCH64 } else { EM_X86_64 }.to_le_bytes());
    out.extend(1_u32.to_le_bytes());
    for word in [0, phoff as u64, if many { EHDR_BYTES as u64 } else { 0 }] {
        out.extend(word.to_le_bytes());
    }
    out.extend(0_u32.to_le_bytes());
    let sections = u16::from(many);
    for half in [EHDR_BYTES as u16, PHDR_BYTES as u16, count.min(PN_XNUM) as u16, SHDR_BYTES as u16, sections, 0] {
        out.extend(half.to_le_bytes());
    }
    if many {
        let mut section = [0; SHDR_BYTES];
        // sh_info.
        section[44..48].copy_from_slice(&(count as u32).to_le_bytes());
        out.extend(section);
    }
    let mut program = |kind: u32, offset: u64, address: u64, file_bytes: u64, bytes: u64| {
        out.extend(kind.to_le_bytes());
        out.extend(0_u32.to_le_bytes());
        for word in [offset, 0, address, file_bytes, bytes, 0] {
            out.extend(word.to_le_bytes());
        }
    };
    if !note.is_empty() {
        program(PT_NOTE, note_at as u64, 0, note.len() as u64, 0);
    }
    let mut offset = data_at as u64;
    for run in memory.runs() {
        program(PT_LOAD, offset, run.start.0, run.bytes, run.bytes);
        offset += run.bytes;
    }
    for gap in memory.gaps() {
        program(PT_LOAD, offset, gap.start.0, 0, gap.bytes);
    }
    out.extend(note);
    out.resize(data_at, 0);
    out
}
