//! A table of chunks made anew, for a segment that has none: the program that wrote it was killed, or the file was cut off.
//!
//! A table is written behind the chunks that it is of. They lie one behind the other, each with an Adler-32: at the end of
//! its zlib stream, or behind its bytes as they are. So the first one that no checksum vouches for ends what is found.

use super::super::PhysicalMemory;
use super::super::fields::{piece, u32_at};
use super::super::inflate;
use super::Ewf;
use super::sections::{COMPRESSED, Table, adler32};
use std::ops::Range;

impl Ewf {
    /// The table of the chunks in `data`, of which the first has the number `first`; at most `wanted`.
    pub(super) fn rebuilt(&self, base: &dyn PhysicalMemory, data: Range<u64>, first: u64, wanted: u64) -> Table {
        let mut table = Table { base: data.start, entries: Vec::new(), overflow: usize::MAX, end: data.start };
        while table.chunks() < wanted {
            let offset = u32::try_from(table.end - table.base).ok().filter(|offset| offset & COMPRESSED == 0);
            let due = self.bytes_of(first + table.chunks());
            let (Some(offset), Some((bytes, flag))) = (offset, self.chunk_at(base, table.end..data.end, due)) else {
                break;
            };
            table.entries.push(offset | flag);
            table.end += bytes;
        }
        table
    }

    /// How many bytes the chunk of `due` bytes takes at the start of `data`, and the flag that says how it is stored.
    fn chunk_at(&self, base: &dyn PhysicalMemory, data: Range<u64>, due: u64) -> Option<(u64, u32)> {
        let data = piece(base, data.start, data.end.checked_sub(data.start)?.min(self.most_packed()))?;
        // What is stored as it is comes first: it may begin with a zlib stream of its own.
        let stored = data.split_at_checked(usize::try_from(due).ok()?);
        if stored.is_some_and(|(data, checksum)| u32_at(checksum, 0) == Some(adler32(data))) {
            return Some((due + 4, 0));
        }
        let mut contents = Vec::new();
        match inflate::zlib_prefix(&data, self.chunk_bytes, &mut contents) {
            Ok(bytes) => (contents.len() as u64 >= due).then_some((bytes as u64, COMPRESSED)),
            Err(_) => Some((self.stored_with_rest(&data, due)? + 4, 0)),
        }
    }

    /// How many bytes at the start of `data` have their Adler-32 behind them, when they are more than `due`: the last chunk of
    /// a source that ends within a sector has its rest too.
    fn stored_with_rest(&self, data: &[u8], due: u64) -> Option<u64> {
        let (sure, rest) = data.split_at_checked(usize::try_from(due).ok()?)?;
        let mut adler = simd_adler32::Adler32::new();
        adler.write(sure);
        let mut bytes = due;
        for (byte, behind) in rest.iter().zip(rest.windows(4).skip(1)) {
            adler.write(&[*byte]);
            bytes += 1;
            if bytes > self.chunk_bytes {
                break;
            }
            if u32_at(behind, 0) == Some(adler.finish()) {
                return Some(bytes);
            }
        }
        None
    }
}
