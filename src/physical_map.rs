//! A picture of physical memory: a pixel for so many pages, from the first address on, line by line.

use quaid_analyzer::Pa;
use quaid_analyzer::image::{GapKind, PhysicalMemory};
use std::io::{self, Write};

/// Pixels of a line.
const WIDTH: u64 = 512;
/// The most lines that a picture has.
const MAX_HEIGHT: u64 = 1024;
const PAGE_BYTES: u64 = 0x1000;
/// What is read at once, in bytes.
const BLOCK_BYTES: u64 = 1 << 20;

/// What a pixel says. Of several pages' kinds the last one here wins.
const HOLE: u8 = 0;
const NOT_DUMPED: u8 = 1;
const TRUNCATED: u8 = 2;
const UNREADABLE: u8 = 3;
const ZERO: u8 = 4;
const USED: u8 = 5;

/// Colour and name of each kind.
const KINDS: [([u8; 3], &str); 6] = [
    ([0xff, 0xff, 0xff], "no memory (white)"),
    ([0x6c, 0xa6, 0xe0], "not dumped (blue)"),
    ([0xf0, 0xa0, 0x30], "truncated (orange)"),
    ([0xd0, 0x20, 0x20], "unreadable (red)"),
    ([0x20, 0x20, 0x28], "zero (black)"),
    ([0x30, 0x98, 0x50], "used (green)"),
];

/// The picture.
#[derive(Debug)]
pub struct PhysicalMap {
    /// A kind each, line by line.
    pixels: Vec<u8>,
    /// Memory of one pixel.
    pixel_bytes: u64,
}

impl PhysicalMap {
    /// Reads all of the memory. `progress` is told how many bytes were done since it was last told.
    pub fn of(memory: &dyn PhysicalMemory, progress: &mut dyn FnMut(u64)) -> Self {
        let ends = memory.runs().iter().map(|run| run.start.0 + run.bytes);
        let end = ends.chain(memory.gaps().iter().map(|gap| gap.start.0 + gap.bytes)).max().unwrap_or(0);
        let pixel_bytes = end.div_ceil(WIDTH * MAX_HEIGHT).next_power_of_two().max(PAGE_BYTES);
        let height = end.div_ceil(pixel_bytes * WIDTH).max(1);
        let mut map = Self { pixels: vec![HOLE; (height * WIDTH) as usize], pixel_bytes };
        for gap in memory.gaps() {
            let kind = match gap.why {
                GapKind::Truncated => TRUNCATED,
                GapKind::NotDumped => NOT_DUMPED,
                GapKind::Unreadable => UNREADABLE,
            };
            map.raise(gap.start.0, gap.bytes, kind);
        }
        let mut buffer = vec![0; BLOCK_BYTES as usize];
        for run in memory.runs() {
            let mut at = run.start.0;
            let end = at + run.bytes;
            while at < end {
                // Blocks end at multiples of their length, so that pages are looked at whole.
                let bytes = (BLOCK_BYTES - at % BLOCK_BYTES).min(end - at);
                map.block(memory, at, buffer.get_mut(..bytes as usize).unwrap_or_default());
                memory.release(Pa(at), bytes as usize);
                progress(bytes);
                at += bytes;
            }
        }
        map
    }

    fn block(&mut self, memory: &dyn PhysicalMemory, at: u64, block: &mut [u8]) {
        let is_whole = memory.read(Pa(at), block).is_ok();
        let mut here = at;
        let mut rest = block;
        while !rest.is_empty() {
            let bytes = ((PAGE_BYTES - here % PAGE_BYTES) as usize).min(rest.len());
            let (page, behind) = rest.split_at_mut(bytes);
            let kind = if !is_whole && memory.read(Pa(here), page).is_err() {
                UNREADABLE
            } else if page.iter().all(|&byte| byte == 0) {
                ZERO
            } else {
                USED
            };
            self.raise(here, bytes as u64, kind);
            here += bytes as u64;
            rest = behind;
        }
    }

    fn raise(&mut self, start: u64, bytes: u64, kind: u8) {
        let first = (start / self.pixel_bytes) as usize;
        let last = ((start + bytes).div_ceil(self.pixel_bytes)) as usize;
        for pixel in self.pixels.get_mut(first..last).unwrap_or_default() {
            *pixel = (*pixel).max(kind);
        }
    }

    /// What the picture shows, in a line: scale and colours of the kinds that are there.
    pub fn legend(&self) -> String {
        let there = |kind: u8| self.pixels.contains(&kind);
        let kinds: Vec<_> = (HOLE..).zip(KINDS).filter(|&(kind, _)| there(kind)).map(|(_, (_, name))| name).collect();
        format!("{} bytes a pixel, {WIDTH} pixels a line: {}", self.pixel_bytes, kinds.join(", "))
    }

    /// Writes it as PNG, the legend as its comment.
    pub fn write_png(&self, out: &mut impl Write) -> io::Result<()> {
        let height = self.pixels.len() as u64 / WIDTH;
        let mut encoder = png::Encoder::new(out, WIDTH as u32, height as u32);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_palette(KINDS.iter().flat_map(|(colour, _)| *colour).collect::<Vec<_>>());
        encoder.add_text_chunk("Comment".into(), self.legend())?;
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels)?;
        Ok(writer.finish()?)
    }
}
