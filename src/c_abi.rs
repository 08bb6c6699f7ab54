//! What C compilers do alike on every system, and debugging information therefore leaves out.

use quaid_profile::{BaseType, Profile, Type};

/// Where a bit field lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StorageUnit {
    /// The offset of the unit in bytes.
    pub(crate) offset: u64,
    /// The field's first bit in it, bit 0 being the least significant.
    pub(crate) start: u64,
    /// Its size.
    pub(crate) bytes: u64,
}

/// Where a bit field lies. `first` is its first bit from the struct's start, in the order of memory; `bytes` the size of its
/// declared type.
///
/// The unit is that of the declared type that is aligned to its size, as compilers lay it out, or, in a packed struct whose
/// field crosses such a unit's end, one that begins at the field's first byte, of the smallest size that holds the field. There
/// is none where it takes more than 8 bytes.
pub(crate) fn storage_unit(first: u64, bits: u64, bytes: u64, big_endian: bool) -> Option<StorageUnit> {
    let unit = |from: u64, bytes: u64| {
        let width = bytes.checked_mul(8)?;
        let start = first - from;
        let end = start.checked_add(bits)?;
        let start = if big_endian { width.checked_sub(end)? } else { start };
        (end <= width).then_some(StorageUnit { offset: from / 8, start, bytes })
    };
    let width = bytes.checked_mul(8).filter(|&width| width > 0)?;
    let at_first_byte = first / 8 * 8;
    unit(first / width * width, bytes)
        .or_else(|| unit(at_first_byte, bytes))
        .or_else(|| [2, 4, 8].into_iter().filter(|&wider| wider > bytes).find_map(|wider| unit(at_first_byte, wider)))
}

/// The plain C integer that bits of the type `ty` are taken from where their unit is larger than that; `profile` gets it.
pub(crate) fn wider(ty: &Type, unit: StorageUnit, arch: Words, profile: &mut Profile) -> Type {
    let native = if let Type::Enum { base, .. } = ty { base.end() } else { ty.end() };
    let signed = native.and_then(|name| profile.base_types.get(name)).is_some_and(|base| base.signed);
    let name = integer_name(unit.bytes, signed, arch.pointer_bytes);
    let base = BaseType { big_endian: arch.big_endian, ..BaseType::int(unit.bytes, signed) };
    profile.base_types.entry(name.to_owned()).or_insert(base);
    Type::named(name)
}

/// How numbers are stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words {
    pub(crate) pointer_bytes: u64,
    pub(crate) big_endian: bool,
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
