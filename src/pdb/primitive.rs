//! Simple types: the type indices below 0x1000, which need no record.
//!
//! The low byte is the type, the next four bits tell a pointer to it (microsoft-pdb, include/cvinfo.h, `TYPE_ENUM_e`).
//! Names are those that Rekall knows, after C's data model on Windows, where `long` has four bytes; only `char`
//! and `bool` are told apart from `unsigned char`, which Rekall did not do.

use quaid_profile::{BaseKind, BaseType};

/// What a simple type is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Simple {
    /// No type, or `void`.
    Void,
    /// A UTF-16 code unit: `wchar_t`, `char16_t`.
    Utf16,
    /// A native type: an entry of [`NATIVE`].
    Native(&'static Native),
}

/// A native type.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Native {
    pub(super) name: &'static str,
    /// Size in bytes.
    pub(super) size: u64,
    signed: bool,
    kind: BaseKind,
}

impl Native {
    pub(super) fn base_type(&self) -> BaseType {
        BaseType { size: self.size, signed: self.signed, kind: self.kind, big_endian: false }
    }

    /// What `value` is when it is stored in this type.
    pub(super) fn in_range(&self, value: i128) -> i128 {
        // A type of 16 bytes holds every value that a record can tell.
        if self.size >= 16 {
            return value;
        }
        let range = 1i128 << (self.size * 8);
        let unsigned = value.rem_euclid(range);
        if self.signed && unsigned >= range / 2 { unsigned - range } else { unsigned }
    }
}

const fn native(name: &'static str, size: u64, signed: bool, kind: BaseKind) -> Native {
    Native { name, size, signed, kind }
}

static CHAR: Native = native("char", 1, true, BaseKind::Char);
pub(super) static UNSIGNED_CHAR: Native = native("unsigned char", 1, false, BaseKind::Char);
static SHORT: Native = native("short", 2, true, BaseKind::Int);
pub(super) static UNSIGNED_SHORT: Native = native("unsigned short", 2, false, BaseKind::Int);
pub(super) static LONG: Native = native("long", 4, true, BaseKind::Int);
static UNSIGNED_LONG: Native = native("unsigned long", 4, false, BaseKind::Int);
pub(super) static LONG_LONG: Native = native("long long", 8, true, BaseKind::Int);
pub(super) static UNSIGNED_LONG_LONG: Native = native("unsigned long long", 8, false, BaseKind::Int);
static INT128: Native = native("__int128", 16, true, BaseKind::Int);
static UNSIGNED_INT128: Native = native("unsigned __int128", 16, false, BaseKind::Int);
static HALF: Native = native("_Float16", 2, true, BaseKind::Float);
static FLOAT: Native = native("float", 4, true, BaseKind::Float);
static FLOAT48: Native = native("_Float48", 6, true, BaseKind::Float);
static DOUBLE: Native = native("double", 8, true, BaseKind::Float);
static LONG_DOUBLE: Native = native("long double", 10, true, BaseKind::Float);
static FLOAT128: Native = native("_Float128", 16, true, BaseKind::Float);
static COMPLEX16: Native = native("_Float16 _Complex", 4, true, BaseKind::Float);
static COMPLEX48: Native = native("_Float48 _Complex", 12, true, BaseKind::Float);
static COMPLEX32: Native = native("float _Complex", 8, true, BaseKind::Float);
static COMPLEX64: Native = native("double _Complex", 16, true, BaseKind::Float);
static COMPLEX80: Native = native("long double _Complex", 20, true, BaseKind::Float);
static COMPLEX128: Native = native("_Float128 _Complex", 32, true, BaseKind::Float);
static BOOL: Native = native("bool", 1, false, BaseKind::Bool);
static BOOL16: Native = native("bool16", 2, false, BaseKind::Bool);
static BOOL32: Native = native("bool32", 4, false, BaseKind::Bool);
static BOOL64: Native = native("bool64", 8, false, BaseKind::Bool);
static BOOL128: Native = native("bool128", 16, false, BaseKind::Bool);
static UTF32: Native = native("char32_t", 4, false, BaseKind::Char);

/// The type of a simple index's low byte; `None` for one that is not assigned.
pub(super) fn simple(index: u32) -> Option<Simple> {
    let native = match index & 0xff {
        0x00 | 0x03 => return Some(Simple::Void),
        0x71 | 0x7a => return Some(Simple::Utf16),
        0x10 | 0x68 | 0x70 => &CHAR,
        // 0x61 is a character of Pascal's.
        0x20 | 0x69 | 0x7c | 0x61 => &UNSIGNED_CHAR,
        0x11 | 0x72 => &SHORT,
        // 0x02 is a segment selector.
        0x21 | 0x73 | 0x02 => &UNSIGNED_SHORT,
        // An HRESULT (0x08) is a `long`.
        0x12 | 0x74 | 0x08 => &LONG,
        0x22 | 0x75 => &UNSIGNED_LONG,
        // 0x04 is Visual Basic's CURRENCY, which counts ten-thousandths.
        0x13 | 0x76 | 0x04 => &LONG_LONG,
        0x23 | 0x77 => &UNSIGNED_LONG_LONG,
        0x14 | 0x78 => &INT128,
        0x24 | 0x79 => &UNSIGNED_INT128,
        0x46 => &HALF,
        0x40 | 0x45 => &FLOAT,
        0x44 => &FLOAT48,
        0x41 => &DOUBLE,
        0x42 => &LONG_DOUBLE,
        0x43 => &FLOAT128,
        0x56 => &COMPLEX16,
        0x54 => &COMPLEX48,
        0x50 | 0x55 => &COMPLEX32,
        0x51 => &COMPLEX64,
        0x52 => &COMPLEX80,
        0x53 => &COMPLEX128,
        0x30 => &BOOL,
        0x31 => &BOOL16,
        // The "true" of 0x62 is -1.
        0x32 | 0x62 => &BOOL32,
        0x33 => &BOOL64,
        0x34 => &BOOL128,
        0x7b => &UTF32,
        _ => return None,
    };
    Some(Simple::Native(native))
}

/// How a simple index points to its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Indirection {
    /// It does not: it is the type.
    Direct,
    /// By a pointer of this many bytes.
    Pointer(u8),
    /// By a pointer of the machine's width.
    MachinePointer,
}

/// The pointer that a simple index's mode bits tell; `None` for a mode that is not assigned.
pub(super) fn indirection(index: u32) -> Option<Indirection> {
    // `std::nullptr_t` is a near pointer to void, and as wide as the machine's.
    if index == 0x103 {
        return Some(Indirection::MachinePointer);
    }
    Some(match index >> 8 & 0xf {
        0 => Indirection::Direct,
        1 => Indirection::Pointer(2),
        2..=4 => Indirection::Pointer(4),
        5 => Indirection::Pointer(6),
        6 => Indirection::Pointer(8),
        7 => Indirection::Pointer(16),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_take_the_sign_of_their_enum() {
        assert_eq!(LONG.in_range(0xffff_fffd), -3);
        assert_eq!(LONG.in_range(-1), -1);
        assert_eq!(LONG.in_range(0x7fff_ffff), 0x7fff_ffff);
        assert_eq!(UNSIGNED_CHAR.in_range(-1), 255);
        assert_eq!(UNSIGNED_LONG_LONG.in_range(-1), i128::from(u64::MAX));
        assert_eq!(INT128.in_range(-1), -1);
    }
}
