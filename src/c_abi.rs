//! What C compilers do alike on every system, and debugging information therefore leaves out.

/// Where a bit field lies: the offset of its storage unit in bytes and its first bit there, bit 0 being the least
/// significant. `first` is its first bit from the struct's start, in the order of memory; `bytes` the size of its declared
/// type.
///
/// The unit is that of the declared type that is aligned to its size, as compilers lay it out, or, in a packed struct whose
/// field crosses such a unit's end, one that begins at the field's first byte.
pub(crate) fn storage_unit(first: u64, bits: u64, bytes: u64, big_endian: bool) -> Option<(u64, u64)> {
    let width = bytes.checked_mul(8).filter(|&width| width > 0)?;
    let aligned = first / width * width;
    let unit = if (first - aligned).checked_add(bits)? <= width { aligned } else { first / 8 * 8 };
    let from_unit = first - unit;
    let start = if big_endian { width.checked_sub(from_unit.checked_add(bits)?)? } else { from_unit };
    Some((unit / 8, start))
}

/// The plain C integer of that size in bytes, by the name that compilers write into debugging information.
pub(crate) fn integer_name(size: u64, signed: bool, pointer_bytes: u64) -> &'static str {
    let wide_long = pointer_bytes == 8;
    match (size, signed) {
        (1, true) => "signed char",
        (1, false) => "unsigned char",
        (2, true) => "short int",
        (2, false) => "short unsigned int",
        (8, true) if wide_long => "long int",
        (8, false) if wide_long => "long unsigned int",
        (8, true) => "long long int",
        (8, false) => "long long unsigned int",
        (_, true) => "int",
        (_, false) => "unsigned int",
    }
}
