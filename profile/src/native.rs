//! Native types by the names that compilers and converters give them.

use crate::model::{BaseKind, BaseType, Os};

/// ISF's name of the type that tells how wide a pointer is.
pub(crate) const POINTER: &str = "pointer";
/// Volatility's name of a UTF-16 code unit.
pub(crate) const WCHAR: &str = "wchar";

/// Native types by the names that MSVC, gcc, clang, Volatility and Rekall's converters use.
pub(crate) fn native_type(name: &str, pointer_bytes: u64, os: Option<Os>) -> Option<BaseType> {
    let long = if pointer_bytes == 8 && os != Some(Os::Windows) { 8 } else { 4 };
    let (size, signed, kind) = match name {
        "char" | "signed char" | "byte" => (1, true, BaseKind::Char),
        "unsigned char" => (1, false, BaseKind::Char),
        "unsigned byte" | "u8" | "__u8" | "uint8_t" => (1, false, BaseKind::Int),
        "s8" | "__s8" | "int8_t" => (1, true, BaseKind::Int),
        "bool" | "_Bool" => (1, false, BaseKind::Bool),
        "short" | "short int" | "s16" | "__s16" | "int16_t" => (2, true, BaseKind::Int),
        "unsigned short" | "short unsigned int" | "unsigned short int" | "u16" | "__u16" | "uint16_t" => {
            (2, false, BaseKind::Int)
        }
        "int" | "s32" | "__s32" | "int32_t" => (4, true, BaseKind::Int),
        "unsigned int" | "u32" | "__u32" | "uint32_t" => (4, false, BaseKind::Int),
        "long" | "long int" => (long, true, BaseKind::Int),
        "unsigned long" | "long unsigned int" => (long, false, BaseKind::Int),
        "long long" | "long long int" | "s64" | "__s64" | "int64_t" => (8, true, BaseKind::Int),
        "unsigned long long" | "long long unsigned int" | "u64" | "__u64" | "uint64_t" => (8, false, BaseKind::Int),
        "float" => (4, true, BaseKind::Float),
        "double" => (8, true, BaseKind::Float),
        _ => return None,
    };
    Some(BaseType { size, signed, kind, big_endian: false })
}

/// The names of C's types that programs on a profile take for granted, as the compiler of that system spells them.
pub(crate) fn ordinary_names(os: Option<Os>) -> &'static [&'static str] {
    match os {
        Some(Os::Windows) => &[
            "char",
            "unsigned char",
            "short",
            "unsigned short",
            "int",
            "unsigned int",
            "long",
            "unsigned long",
            "long long",
            "unsigned long long",
        ],
        _ => &[
            "char",
            "signed char",
            "unsigned char",
            "_Bool",
            "short int",
            "short unsigned int",
            "int",
            "unsigned int",
            "long int",
            "long unsigned int",
            "long long int",
            "long long unsigned int",
        ],
    }
}
