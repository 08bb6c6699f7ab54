//! Little-endian reading of a slice, front to back; `None` at the end of it.

/// What is left to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'t>(pub(super) &'t [u8]);

impl<'t> Reader<'t> {
    pub(super) fn take(&mut self, len: usize) -> Option<&'t [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }
    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }
    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }
    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }
    /// CodeView's numeric leaf: a value below 0x8000 stands for itself, else it names the width of what follows.
    pub(super) fn numeric(&mut self) -> Option<i128> {
        Some(match self.u16()? {
            small @ 0..0x8000 => i128::from(small),
            0x8000 => i128::from(i8::from_le_bytes(self.array()?)),
            0x8001 => i128::from(i16::from_le_bytes(self.array()?)),
            0x8002 => i128::from(self.u16()?),
            0x8003 => i128::from(i32::from_le_bytes(self.array()?)),
            0x8004 => i128::from(self.u32()?),
            0x8009 => i128::from(i64::from_le_bytes(self.array()?)),
            0x800a => i128::from(u64::from_le_bytes(self.array()?)),
            _ => return None,
        })
    }
    /// A numeric leaf that is a size or an offset, in bytes.
    pub(super) fn size(&mut self) -> Option<u64> {
        u64::try_from(self.numeric()?).ok()
    }
    /// A text that ends in NUL, or with `counted`, one that begins with its length.
    pub(super) fn text(&mut self, counted: bool) -> Option<&'t [u8]> {
        if counted {
            let len = self.u8()?;
            return self.take(usize::from(len));
        }
        let len = self.0.iter().position(|&b| b == 0)?;
        let text = self.take(len)?;
        self.0 = self.0.get(1..)?;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_leaves_of_every_width() {
        let cases: [(&[u8], Option<i128>); 8] = [
            (&[0xff, 0x7f], Some(0x7fff)),
            (&[0x00, 0x80, 0xfd], Some(-3)),
            (&[0x01, 0x80, 0x00, 0x80], Some(-0x8000)),
            (&[0x02, 0x80, 0xff, 0xff], Some(0xffff)),
            (&[0x03, 0x80, 0xff, 0xff, 0xff, 0xff], Some(-1)),
            (&[0x0a, 0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Some(i128::from(u64::MAX))),
            (&[0x04, 0x80, 1, 2], None),
            (&[0x05, 0x80, 0, 0, 0, 0], None),
        ];
        for (bytes, value) in cases {
            assert_eq!(Reader(bytes).numeric(), value, "{bytes:02x?}");
        }
    }
}
