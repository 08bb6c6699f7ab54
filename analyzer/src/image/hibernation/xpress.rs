//! The two Xpress decoders of Windows: plain LZ77, and LZ77 with Huffman codes.
//!
//! Source: MS-XCA, sections 2.1 to 2.4 and the examples of section 3.

use super::super::fields::{u16_at, u32_at};

const HUFFMAN_TABLE_BYTES: usize = 256;
const CODE_BITS: u32 = 15;
/// Each table of codes is for this many bytes of output.
const HUFFMAN_BLOCK: usize = 1 << 16;

/// Bytes taken from the front one after another.
struct Input<'i> {
    bytes: &'i [u8],
    at: usize,
}

impl Input<'_> {
    fn u8(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn u16(&mut self) -> Option<u16> {
        let number = u16_at(self.bytes, self.at)?;
        self.at += 2;
        Some(number)
    }

    fn u32(&mut self) -> Option<u32> {
        let number = u32_at(self.bytes, self.at)?;
        self.at += 4;
        Some(number)
    }

    /// A length behind its first four bits, all ones: a byte, or when that is all ones too a larger number.
    fn long_length(&mut self, so_far: usize) -> Option<usize> {
        let byte = self.u8()?;
        if byte < u8::MAX {
            return Some(so_far + usize::from(byte));
        }
        let length = match self.u16()? {
            0 => usize::try_from(self.u32()?).ok()?,
            length => usize::from(length),
        };
        // The number is of the whole length; one that needed no such number is not written like that.
        (length >= so_far).then_some(length)
    }
}

/// Appends `length` bytes that begin `distance` back; they may overlap what is made. No more than `limit` in all.
fn copy(into: &mut Vec<u8>, distance: usize, length: usize, limit: usize) -> Option<()> {
    let start = into.len().checked_sub(distance)?;
    for from in start..start + length.min(limit - into.len()) {
        into.push(*into.get(from)?);
    }
    Some(())
}

/// Decodes plain LZ77 into `bytes` bytes; `None` when the data gives no such many.
pub(super) fn plain(packed: &[u8], bytes: usize) -> Option<Vec<u8>> {
    let mut input = Input { bytes: packed, at: 0 };
    let mut into = Vec::with_capacity(bytes);
    let (mut flags, mut left) = (0_u32, 0);
    // A byte of which the upper half is the start of another length.
    let mut half: Option<u8> = None;
    while into.len() < bytes {
        if left == 0 {
            (flags, left) = (input.u32()?, 32);
        }
        left -= 1;
        if flags >> left & 1 == 0 {
            into.push(input.u8()?);
            continue;
        }
        let pair = usize::from(input.u16()?);
        let (distance, mut length) = (pair / 8 + 1, pair % 8);
        if length == 7 {
            let nibble = match half.take() {
                Some(byte) => byte >> 4,
                None => *half.insert(input.u8()?) & 0xf,
            };
            length = 7 + usize::from(nibble);
            if nibble == 0xf {
                length = input.long_length(length)?;
            }
        }
        copy(&mut into, distance, length.checked_add(3)?, bytes)?;
    }
    Some(into)
}

/// For each 15 bits, symbol * 16 + length of its code.
fn codes(table: &[u8]) -> Option<Vec<u16>> {
    let length = |symbol: usize| table.get(symbol / 2).map(|&pair| u32::from(pair >> (symbol % 2 * 4) & 0xf));
    let mut codes = Vec::with_capacity(1 << CODE_BITS);
    for wanted in 1..=CODE_BITS {
        for symbol in 0..2 * HUFFMAN_TABLE_BYTES {
            if length(symbol)? == wanted {
                let entry = (symbol << 4) as u16 | wanted as u16;
                codes.extend(std::iter::repeat_n(entry, 1 << (CODE_BITS - wanted)));
                if codes.len() > 1 << CODE_BITS {
                    return None;
                }
            }
        }
    }
    (codes.len() == 1 << CODE_BITS).then_some(codes)
}

/// Decodes LZ77 with Huffman codes into `bytes` bytes; `None` when the data gives no such many.
pub(super) fn huffman(packed: &[u8], bytes: usize) -> Option<Vec<u8>> {
    let mut input = Input { bytes: packed, at: 0 };
    let mut into = Vec::with_capacity(bytes);
    while into.len() < bytes {
        let table = packed.get(input.at..input.at.checked_add(HUFFMAN_TABLE_BYTES)?)?;
        let codes = codes(table)?;
        input.at += HUFFMAN_TABLE_BYTES;
        let end = bytes.min(into.len() + HUFFMAN_BLOCK);
        let mut bits = u32::from(input.u16()?) << 16 | u32::from(input.u16()?);
        let mut spare = 16_i32;
        // Behind the last code words may be missing that only fill the register.
        let mut take = |input: &mut Input<'_>, bits: &mut u32, count: u32| {
            *bits = bits.checked_shl(count).unwrap_or(0);
            spare -= count.cast_signed();
            if spare < 0 {
                *bits |= u32::from(input.u16().unwrap_or(0)) << spare.unsigned_abs();
                spare += 16;
            }
        };
        while into.len() < end {
            let code = *codes.get((bits >> (32 - CODE_BITS)) as usize)?;
            take(&mut input, &mut bits, u32::from(code & 0xf));
            let symbol = usize::from(code >> 4);
            let Some(pair) = symbol.checked_sub(256) else {
                into.push(symbol as u8);
                continue;
            };
            let (mut length, distance_bits) = (pair & 0xf, (pair >> 4) as u32);
            if length == 0xf {
                length = input.long_length(length)?;
            }
            let distance = bits.checked_shr(32 - distance_bits).unwrap_or(0) + (1 << distance_bits);
            take(&mut input, &mut bits, distance_bits);
            copy(&mut into, distance as usize, length.checked_add(3)?, bytes)?;
        }
    }
    Some(into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::testing::Random;

    const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz";

    /// A table with these bytes from these places on.
    fn table(parts: &[(usize, &[u8])], bits: &[u8]) -> Vec<u8> {
        let mut table = vec![0; HUFFMAN_TABLE_BYTES];
        for (at, part) in parts {
            table[*at..at + part.len()].copy_from_slice(part);
        }
        table.extend(bits);
        table
    }

    #[test]
    fn the_examples_of_ms_xca_come_out() {
        let abc = b"abc".repeat(100);
        let packed = [b"\x3f\0\0\0", ALPHABET].concat();
        assert_eq!(plain(&packed, 26).as_deref(), Some(ALPHABET));
        assert_eq!(plain(b"\xff\xff\xff\x1fabc\x17\x00\x0f\xff\x26\x01", 300), Some(abc.clone()));
        let lengths = b"\x50\x55\x55\x55\x55\x55\x55\x55\x55\x55\x55\x45\x44\x04";
        let bits = b"\xd8\x52\x3e\xd7\x94\x11\x5b\xe9\x19\x5f\xf9\xd6\x7c\xdf\x8d\x04\0\0\0\0";
        let packed = table(&[(48, lengths), (128, b"\x04")], bits);
        assert_eq!(huffman(&packed, 26).as_deref(), Some(ALPHABET));
        let packed = table(&[(48, b"\x30\x23"), (128, b"\x02"), (143, b"\x20")], b"\xa8\xdc\0\0\xff\x26\x01");
        assert_eq!(huffman(&packed, 300), Some(abc));
    }

    #[test]
    fn any_bytes_end_with_the_wanted_length_or_nothing() {
        let mut random = Random(0x51f1_1234_9abc_def1);
        for _ in 0..2000 {
            let mut packed: Vec<u8> = (0..random.below(600)).map(|_| random.below(256) as u8).collect();
            for decoded in [plain(&packed, 5000), huffman(&packed, 5000)].into_iter().flatten() {
                assert_eq!(decoded.len(), 5000);
            }
            // A good table in front of anything.
            packed.splice(0..0, table(&[(48, b"\x30\x23"), (128, b"\x02"), (143, b"\x20")], b""));
            assert!(huffman(&packed, 5000).is_none_or(|decoded| decoded.len() == 5000));
        }
    }
}
