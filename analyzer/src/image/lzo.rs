//! Decompression of LZO1X blocks, as kdump images have them for pages.
//!
//! Source: the stream format as the Linux kernel documents it (`Documentation/staging/lzo.rst`, version 0 of the stream).

/// The block's bytes, which must be exactly `expected` many; else why it cannot be decoded.
pub(super) fn decompress(block: &[u8], expected: usize, into: &mut Vec<u8>) -> Result<(), &'static str> {
    let mut input = Input { bytes: block };
    let mut output = Output { bytes: into, limit: expected };
    // How many literals the last instruction copied, 4 for more than 3: what an instruction below 16 means depends on it.
    let mut state = 0;
    let first = *block.first().ok_or(SHORT)?;
    if first > 17 {
        input.byte()?;
        let literals = usize::from(first) - 17;
        output.literals(&mut input, literals)?;
        state = literals.min(4);
    }
    loop {
        let instruction = usize::from(input.byte()?);
        let (length, distance, literals) = match instruction {
            0..16 if state == 0 => {
                let literals = 3 + input.length(instruction, 15)?;
                output.literals(&mut input, literals)?;
                state = 4;
                continue;
            }
            0..16 => {
                let high = usize::from(input.byte()?) << 2;
                let (length, base) = if state == 4 { (3, 0x800) } else { (2, 0) };
                (length, base + high + (instruction >> 2) + 1, instruction & 3)
            }
            16..32 => {
                let length = 2 + input.length(instruction & 7, 7)?;
                let low = input.word()?;
                let distance = ((instruction & 8) << 11) + (low >> 2);
                if distance == 0 {
                    // The end of the block.
                    let whole = input.bytes.is_empty() && output.bytes.len() == expected && length == 3;
                    return if whole { Ok(()) } else { Err("its end is not where it should be") };
                }
                (length, distance + 0x4000, low & 3)
            }
            32..64 => {
                let length = 2 + input.length(instruction & 31, 31)?;
                let low = input.word()?;
                (length, (low >> 2) + 1, low & 3)
            }
            _ => {
                let high = usize::from(input.byte()?) << 3;
                ((instruction >> 5) + 1, high + (instruction >> 2 & 7) + 1, instruction & 3)
            }
        };
        output.again(distance, length)?;
        output.literals(&mut input, literals)?;
        state = literals;
    }
}

const SHORT: &str = "it is cut short";
const LONG: &str = "it unpacks to more than a page";

struct Input<'b> {
    bytes: &'b [u8],
}

impl<'b> Input<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], &'static str> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(SHORT)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, &'static str> {
        self.take(1)?.first().copied().ok_or(SHORT)
    }

    fn word(&mut self) -> Result<usize, &'static str> {
        Ok(usize::from(self.byte()?) | usize::from(self.byte()?) << 8)
    }

    /// A length of which an instruction holds `bits`. It did not fit when they are 0: then it is `most`, the largest that
    /// fits, and 255 for each zero byte, and the byte that is none.
    fn length(&mut self, bits: usize, most: usize) -> Result<usize, &'static str> {
        if bits != 0 {
            return Ok(bits);
        }
        let zeros = self.bytes.iter().take_while(|&&byte| byte == 0).count();
        self.take(zeros)?;
        // A block is no longer than its bytes in memory, so that this does not overflow.
        Ok(most + zeros * 255 + usize::from(self.byte()?))
    }
}

struct Output<'v> {
    bytes: &'v mut Vec<u8>,
    limit: usize,
}

impl Output<'_> {
    fn room(&self, count: usize) -> Result<(), &'static str> {
        if count > self.limit.saturating_sub(self.bytes.len()) { Err(LONG) } else { Ok(()) }
    }

    fn literals(&mut self, input: &mut Input<'_>, count: usize) -> Result<(), &'static str> {
        self.room(count)?;
        self.bytes.extend_from_slice(input.take(count)?);
        Ok(())
    }

    /// Copies what was put out `distance` bytes before; the copy may run into itself.
    fn again(&mut self, distance: usize, length: usize) -> Result<(), &'static str> {
        self.room(length)?;
        let from = self.bytes.len().checked_sub(distance).ok_or("it goes back to before its start")?;
        for at in from..from + length {
            let byte = *self.bytes.get(at).ok_or("it goes back to nowhere")?;
            self.bytes.push(byte);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::testing::Random;

    /// Pages of many kinds: noise, few values, runs, repeats near and far.
    fn page(random: &mut Random, bytes: usize) -> Vec<u8> {
        let mut page = Vec::new();
        let kinds = random.below(5) + 1;
        while page.len() < bytes {
            let most = 1 << random.below(11);
            let length = 1 + random.below(most) as usize;
            match random.below(kinds) {
                0 => page.extend((0..length).map(|_| random.below(256) as u8)),
                1 => page.resize(page.len() + length, random.below(4) as u8),
                2 => page.extend((0..length).map(|_| random.below(3) as u8)),
                _ if page.is_empty() => page.push(0),
                _ => {
                    let from = random.below(page.len() as u64) as usize;
                    (from..from + length).for_each(|at| page.push(page[at]));
                }
            }
        }
        page.truncate(bytes);
        page
    }

    #[test]
    fn what_another_encoder_packed_is_unpacked() {
        let mut random = Random(3);
        for round in 0..600 {
            let bytes = if round % 10 == 0 { 0x1_0000 } else { 0x1000 };
            let page = page(&mut random, bytes);
            let packed = lzokay_native::compress(&page).expect("packed");
            let mut unpacked = Vec::new();
            assert_eq!(decompress(&packed, bytes, &mut unpacked), Ok(()), "{round}");
            assert!(unpacked == page, "{round}");
            unpacked.clear();
            assert!(decompress(&packed, bytes - 1, &mut unpacked).is_err());
        }
    }

    #[test]
    fn damaged_blocks_end_with_an_error_or_the_right_length() {
        let mut random = Random(5);
        for _ in 0..4000 {
            let page = page(&mut random, 0x1000);
            let mut packed = lzokay_native::compress(&page).expect("packed");
            for _ in 0..=random.below(3) {
                let at = random.below(packed.len() as u64) as usize;
                packed[at] = random.below(256) as u8;
            }
            packed.truncate(random.below(packed.len() as u64 * 2) as usize);
            let mut unpacked = Vec::new();
            let result = decompress(&packed, 0x1000, &mut unpacked);
            assert!(unpacked.len() <= 0x1000 && (result.is_err() || unpacked.len() == 0x1000));
        }
    }
}
