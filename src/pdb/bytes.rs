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
    /// CodeView's numeric leaf: a value below 0x8000 stands for itself, else it names the width of what follows
    /// (microsoft-pdb, include/cvinfo.h, `LF_NUMERIC`). `None` when it is cut short, or of a kind whose width is unknown.
    pub(super) fn numeric_leaf(&mut self) -> Option<Numeric> {
        let value = match self.u16()? {
            small @ 0..0x8000 => i128::from(small),
            0x8000 => i128::from(i8::from_le_bytes(self.array()?)),
            0x8001 => i128::from(i16::from_le_bytes(self.array()?)),
            0x8002 => i128::from(self.u16()?),
            0x8003 => i128::from(i32::from_le_bytes(self.array()?)),
            0x8004 => i128::from(self.u32()?),
            0x8009 => i128::from(i64::from_le_bytes(self.array()?)),
            0x800a => i128::from(u64::from_le_bytes(self.array()?)),
            0x8017 => i128::from_le_bytes(self.array()?),
            0x8018 => match i128::try_from(u128::from_le_bytes(self.array()?)) {
                Ok(value) => value,
                Err(_) => return Some(Numeric::NoInteger),
            },
            other => {
                let bytes = match other {
                    // Reals (of 16, 32, 48, 64, 80, 128 bits), complex numbers, Visual Basic's DECIMAL and DATE, a text.
                    0x801c => 2,
                    0x8005 => 4,
                    0x800b => 6,
                    0x8006 | 0x800c | 0x801a => 8,
                    0x8007 => 10,
                    0x8008 | 0x800d | 0x8019 => 16,
                    0x800e => 20,
                    0x800f => 32,
                    0x8010 => usize::from(self.u16()?),
                    // A text in UTF-8.
                    0x801b => self.0.iter().position(|&b| b == 0)?.checked_add(1)?,
                    _ => return None,
                };
                self.take(bytes)?;
                return Some(Numeric::NoInteger);
            }
        };
        Some(Numeric::Integer(value))
    }
    /// A numeric leaf that is an integer.
    pub(super) fn numeric(&mut self) -> Option<i128> {
        self.numeric_leaf()?.integer()
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

/// What a numeric leaf holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numeric {
    /// An integer of any width.
    Integer(i128),
    /// A real or complex number, a text, or an integer of 128 bits without sign that is too large.
    NoInteger,
}

impl Numeric {
    pub(super) fn integer(self) -> Option<i128> {
        match self {
            Self::Integer(value) => Some(value),
            Self::NoInteger => None,
        }
    }
    /// A size or an offset, in bytes.
    pub(super) fn size(self) -> Option<u64> {
        u64::try_from(self.integer()?).ok()
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
        let mut octword = vec![0x17, 0x80];
        octword.extend((-5i128).to_le_bytes());
        assert_eq!(Reader(&octword).numeric(), Some(-5));
        let mut unsigned = vec![0x18, 0x80];
        unsigned.extend((1u128 << 100).to_le_bytes());
        assert_eq!(Reader(&unsigned).numeric(), Some(1 << 100));
    }

    /// Kind, and the bytes that cvinfo.h gives it.
    #[test]
    fn what_is_no_integer_is_skipped_with_its_width() {
        let kinds: [(u16, usize); 13] = [
            (0x8005, 4),
            (0x8006, 8),
            (0x8007, 10),
            (0x8008, 16),
            (0x800b, 6),
            (0x800c, 8),
            (0x800d, 16),
            (0x800e, 20),
            (0x800f, 32),
            (0x8018, 16),
            (0x8019, 16),
            (0x801a, 8),
            (0x801c, 2),
        ];
        for (kind, bytes) in kinds {
            let mut leaf = kind.to_le_bytes().to_vec();
            leaf.extend(vec![0xff; bytes]);
            let mut cut = Reader(&leaf[..leaf.len() - 1]);
            assert_eq!(cut.numeric_leaf(), None, "0x{kind:x}");
            leaf.push(b'n');
            let mut reader = Reader(&leaf);
            assert_eq!(reader.numeric_leaf(), Some(Numeric::NoInteger), "0x{kind:x}");
            assert_eq!(reader.0, b"n", "0x{kind:x}");
        }
        for text in [&[0x10, 0x80, 2, 0, b'a', b'b', b'n'][..], &[0x1b, 0x80, b'a', b'b', 0, b'n']] {
            let mut reader = Reader(text);
            assert_eq!(reader.numeric_leaf(), Some(Numeric::NoInteger));
            assert_eq!(reader.0, b"n");
        }
        assert_eq!(Reader(&[0x1d, 0x80, 0, 0, 0, 0]).numeric_leaf(), None);
    }
}
