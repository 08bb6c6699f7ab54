//! The sections and records of a migration stream, up to the end of the memory.

use super::{Block, Source};
use crate::addr::Pa;
use crate::image::run_layer::end_of;
use crate::image::{PhysicalMemory, array};

/// A record of a page has at least its address, its flags and a byte.
const MIN_RECORD_BYTES: u64 = 9;
/// More blocks than any machine has.
const MAX_BLOCKS: usize = 1 << 12;

/// Types of sections.
mod section {
    pub(super) const EOF: u8 = 0;
    pub(super) const START: u8 = 1;
    pub(super) const PART: u8 = 2;
    pub(super) const END: u8 = 3;
    pub(super) const FULL: u8 = 4;
    pub(super) const SUBSECTION: u8 = 5;
    pub(super) const CONFIGURATION: u8 = 7;
    pub(super) const COMMAND: u8 = 8;
    pub(super) const FOOTER: u8 = 0x7e;
}

/// `RAM_SAVE_FLAG_*`, the low bits of a record's first number.
pub(super) mod flag {
    pub(in crate::image::qemu_stream) const ZERO: u64 = 0x02;
    pub(in crate::image::qemu_stream) const MEM_SIZE: u64 = 0x04;
    pub(in crate::image::qemu_stream) const PAGE: u64 = 0x08;
    pub(in crate::image::qemu_stream) const EOS: u64 = 0x10;
    pub(in crate::image::qemu_stream) const CONTINUE: u64 = 0x20;
    pub(in crate::image::qemu_stream) const COMPRESS_PAGE: u64 = 0x100;
    pub(in crate::image::qemu_stream) const MULTIFD_FLUSH: u64 = 0x200;
}

/// Goes through the stream.
pub(super) struct Reader<'m> {
    base: &'m dyn PhysicalMemory,
    end: u64,
    /// How far it came.
    pub(super) at: u64,
    pub(super) machine: String,
    pub(super) page_bytes: u64,
    pub(super) blocks: Vec<Block>,
    /// How many pages all blocks together may have: the stream has not more records.
    pages_left: u64,
    /// The block of the record before.
    current: Option<usize>,
    /// Pages behind the end of their block, or of what the stream can have.
    pub(super) left_out: u64,
}

impl<'m> Reader<'m> {
    pub(super) fn new(base: &'m dyn PhysicalMemory) -> Self {
        let end = end_of(base);
        Self {
            base,
            end,
            at: 0,
            machine: String::new(),
            page_bytes: 0x1000,
            blocks: Vec::new(),
            pages_left: end / MIN_RECORD_BYTES,
            current: None,
            left_out: 0,
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let bytes = array(self.base, self.at).ok_or_else(|| format!("the stream ends at offset {:#x}", self.at))?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u8, String> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn skip(&mut self, bytes: u64) -> Result<(), String> {
        let next = self.at.checked_add(bytes).filter(|&next| next <= self.end);
        self.at = next.ok_or_else(|| format!("the stream ends in the {bytes} bytes at offset {:#x}", self.at))?;
        Ok(())
    }

    fn text(&mut self, bytes: usize) -> Result<String, String> {
        if bytes > 256 {
            return Err(format!("the name at offset {:#x} has {bytes} bytes", self.at));
        }
        let mut text = vec![0; bytes];
        self.base.read(Pa(self.at), &mut text).map_err(|_| format!("the stream ends at offset {:#x}", self.at))?;
        self.at += bytes as u64;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// A name with its length in a byte before it.
    fn name(&mut self) -> Result<String, String> {
        let bytes = self.u8()?;
        self.text(usize::from(bytes))
    }

    /// Reads all sections up to the first that is not of memory: devices come behind it. An error says why the memory may
    /// be incomplete.
    pub(super) fn sections(&mut self) -> Result<(), String> {
        self.skip(4)?;
        let version = self.u32()?;
        if !matches!(version, 2 | 3) {
            return Err(format!("its version is {version}; 2 and 3 are known"));
        }
        let (mut ram, mut complete) = (None, false);
        let is_ram = |ram: Option<u32>, id: u32, at: u64| {
            if ram == Some(id) {
                Ok(())
            } else {
                Err(format!("before offset {at:#x} goes on a section that is not of memory"))
            }
        };
        loop {
            let start = self.at;
            match self.u8()? {
                section::CONFIGURATION => {
                    let bytes = self.u32()?;
                    self.machine = self.text(bytes as usize)?;
                }
                section::SUBSECTION => self.subsection()?,
                section::COMMAND => {
                    let [_, _, high, low] = self.array()?;
                    self.skip(u64::from(u16::from_be_bytes([high, low])))?;
                }
                section::START if ram.is_none() => {
                    let id = self.u32()?;
                    let name = self.name()?;
                    self.skip(8)?;
                    if name != "ram" {
                        return Err(format!("the section at offset {start:#x} is \"{name}\", which cannot be skipped"));
                    }
                    ram = Some(id);
                    self.records()?;
                }
                section::PART => {
                    let id = self.u32()?;
                    is_ram(ram, id, self.at)?;
                    self.records()?;
                }
                section::END => {
                    let id = self.u32()?;
                    is_ram(ram, id, self.at)?;
                    self.records()?;
                    complete = true;
                }
                section::FOOTER => self.skip(4)?,
                section::FULL | section::EOF if complete => {
                    self.at = start;
                    return Ok(());
                }
                kind => {
                    return Err(format!(
                        "the section at offset {start:#x} is of type {kind:#x}, before the memory's end"
                    ));
                }
            }
        }
    }

    /// What the configuration has besides the machine's name.
    fn subsection(&mut self) -> Result<(), String> {
        let name = self.name()?;
        self.skip(4)?;
        match name.as_str() {
            "configuration/target-page-bits" => {
                let bits = self.u32()?;
                if !(12..=16).contains(&bits) {
                    return Err(format!("it says that a page has 2^{bits} bytes"));
                }
                self.page_bytes = 1 << bits;
            }
            "configuration/capabilities" => {
                for _ in 0..self.u32()? {
                    let capability = self.name()?;
                    if matches!(capability.as_str(), "mapped-ram" | "x-ignore-shared" | "multifd" | "xbzrle") {
                        return Err(format!(
                            "it was written with the capability \"{capability}\", which is not supported"
                        ));
                    }
                }
            }
            "configuration/uuid" => self.skip(16)?,
            other => return Err(format!("its subsection \"{other}\" is not known")),
        }
        Ok(())
    }

    /// The records of memory, up to the end of the section.
    fn records(&mut self) -> Result<(), String> {
        loop {
            let at = self.at;
            let number = self.u64()?;
            // Pages have 4 KiB at least, so that the low twelve bits are flags.
            let (offset, flags) = (number & !0xfff, number & 0xfff);
            match flags & !flag::CONTINUE {
                flag::EOS => return Ok(()),
                flag::MULTIFD_FLUSH => {}
                flag::MEM_SIZE => self.block_list(offset)?,
                flag::ZERO => {
                    let block = self.block(flags)?;
                    let byte = self.u8()?;
                    self.put(block, offset, Source::fill(byte));
                }
                flag::PAGE => {
                    let block = self.block(flags)?;
                    let source = Source::below(self.at);
                    self.skip(self.page_bytes)?;
                    self.put(block, offset, source);
                }
                flag::COMPRESS_PAGE => {
                    let block = self.block(flags)?;
                    let source = Source::zlib(self.at);
                    let bytes = self.u32()?;
                    self.skip(u64::from(bytes))?;
                    self.put(block, offset, source);
                }
                other => {
                    return Err(format!(
                        "the record at offset {at:#x} has the flags {other:#x}, which are not supported"
                    ));
                }
            }
        }
    }

    /// Names and lengths of the blocks, `total` bytes together.
    fn block_list(&mut self, total: u64) -> Result<(), String> {
        let mut listed = 0_u64;
        while listed < total {
            let at = self.at;
            let (name, bytes) = (self.name()?, self.u64()?);
            listed = listed.saturating_add(bytes);
            if bytes == 0 || self.blocks.len() == MAX_BLOCKS || !bytes.is_multiple_of(self.page_bytes) {
                return Err(format!("the block \"{name}\" of {bytes} bytes, listed at offset {at:#x}, cannot be"));
            }
            let pages = (bytes / self.page_bytes).min(self.pages_left);
            self.pages_left -= pages;
            self.blocks.push(Block { name, bytes, pages: vec![Source::MISSING; pages as usize] });
        }
        Ok(())
    }

    /// The block of a record, which names it unless it is that of the record before.
    fn block(&mut self, flags: u64) -> Result<usize, String> {
        if flags & flag::CONTINUE == 0 {
            let at = self.at;
            let name = self.name()?;
            let known = self.blocks.iter().position(|block| block.name == name);
            self.current = Some(known.ok_or_else(|| format!("the block \"{name}\" at offset {at:#x} was not listed"))?);
        }
        self.current.ok_or_else(|| format!("the record before offset {:#x} has no block", self.at))
    }

    fn put(&mut self, block: usize, offset: u64, source: Source) {
        let page = usize::try_from(offset / self.page_bytes).ok();
        let pages = self.blocks.get_mut(block).map(|block| &mut block.pages);
        match page.zip(pages).and_then(|(page, pages)| pages.get_mut(page)) {
            Some(page) => *page = source,
            None => self.left_out += 1,
        }
    }
}
