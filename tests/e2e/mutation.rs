//! Changes of files that are the same in every run: they come from the name of the file and the number of the case, and from
//! `$QUAID_MUTATION_SEED`, a number (default 0), for other changes.

/// Values that counts, sizes, offsets and indices go wrong with.
const VALUES: [u32; 16] = [
    0,
    1,
    2,
    4,
    0x7f,
    0xff,
    0x0fff,
    0x1000,
    0x1001,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
];

/// Puts one of [`VALUES`], or a number near the one that is there, over two or four bytes.
pub(crate) fn overwrite(bytes: &mut [u8], at: usize, random: &mut Random) {
    let width = [2, 4][random.below(2)];
    let Some(field) = bytes.get_mut(at..at + width) else { return };
    let value = if random.below(3) == 0 {
        let mut old = [0; 4];
        old[..width].copy_from_slice(field);
        u32::from_le_bytes(old).wrapping_add(random.below(9) as u32).wrapping_sub(4)
    } else {
        VALUES[random.below(VALUES.len())]
    };
    field.copy_from_slice(&value.to_le_bytes()[..width]);
}

/// xorshift64*, seeded by a name and a number.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(name: &str, case: u64) -> Self {
        let further = std::env::var("QUAID_MUTATION_SEED").map_or(0_u64, |seed| seed.parse().expect("a number"));
        let case = case.wrapping_add(further << 32);
        let mut seed = case.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d;
        for byte in name.bytes() {
            seed = (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Self(seed | 1)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    /// One of the offsets.
    pub(crate) fn of(&mut self, offsets: &[usize]) -> usize {
        offsets[self.below(offsets.len())]
    }
}
