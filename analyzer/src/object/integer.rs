//! Integers and addresses, as a profile describes them.

use super::layout::Resolver;
use super::memory::Memory;
use super::value::Value;
use crate::addr::Va;
use crate::error::PageFault;
use quaid_profile::{BaseKind, Type};

/// How an integer lies in memory: a little-endian number of 1 to 8 bytes, or some bits of one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Integer {
    bytes: u8,
    shift: u8,
    bits: u8,
    signed: bool,
}

impl Integer {
    /// The integer that a member of type `ty` is. Pointers and enums are integers too.
    pub(crate) fn of(resolver: &Resolver<'_>, ty: &Type) -> Result<Self, String> {
        let plain = |bytes: u64, signed| match u8::try_from(bytes) {
            Ok(bytes @ (1 | 2 | 4 | 8)) => Ok(Self { bytes, shift: 0, bits: bytes * 8, signed }),
            _ => Err(format!("an integer of {bytes} bytes")),
        };
        match ty {
            Type::Pointer { bytes, .. } => plain(bytes.map_or(resolver.pointer_bytes(), u64::from), false),
            Type::Named(name) => match resolver.base_type(name)? {
                Some(base) if base.big_endian => Err("a big-endian number".to_owned()),
                Some(base) if matches!(base.kind, BaseKind::Int | BaseKind::Char | BaseKind::Bool) => {
                    plain(base.size, base.signed)
                }
                _ => Err(format!("`{name}`, which is no integer")),
            },
            Type::Enum { .. } => {
                let bytes = resolver.size_of(ty)?.ok_or("an enum of unknown size")?;
                plain(bytes, true)
            }
            Type::BitField { start, end, target } => {
                let unit = Self::of(resolver, target)?;
                let (shift, bits) = (u8::try_from(*start), end.checked_sub(*start).map(u8::try_from));
                match (shift, bits) {
                    (Ok(shift), Some(Ok(bits))) if bits > 0 && *end <= u64::from(unit.bits) => {
                        Ok(Self { shift, bits, ..unit })
                    }
                    _ => Err(format!("bits {start} to {end} of {} bytes", unit.bytes)),
                }
            }
            _ => Err("no integer".to_owned()),
        }
    }

    /// How many bits it has.
    pub(super) fn bits(self) -> u8 {
        self.bits
    }

    /// Whether the profile calls it signed.
    pub(crate) fn signed(self) -> bool {
        self.signed
    }

    /// The number at `at`, sign-extended when it is signed.
    pub(crate) fn read(self, memory: &dyn Memory, at: Va) -> Result<u64, PageFault> {
        let unused = 64 - u32::from(self.bits);
        let high = memory.uint(at, self.bytes)? >> self.shift << unused;
        Ok(if self.signed { (high.cast_signed() >> unused).cast_unsigned() } else { high >> unused })
    }
}

macro_rules! integers {
    ($($ty:ident),*) => {$(
        impl Value for $ty {
            type Shape = Integer;
            fn shape(resolver: &Resolver<'_>, ty: &Type) -> Result<Integer, String> {
                let integer = Integer::of(resolver, ty)?;
                if u32::from(integer.bits) > $ty::BITS {
                    return Err(format!("an integer of {} bits, which {} would cut", integer.bits, stringify!($ty)));
                }
                Ok(integer)
            }
            fn read_at(shape: &Integer, memory: &dyn Memory, at: Va) -> Result<Self, PageFault> {
                // Not cut: `shape` made sure of the width.
                Ok(shape.read(memory, at)? as $ty)
            }
        }
    )*};
}
integers!(u32, u64);

impl Value for i64 {
    type Shape = Integer;
    fn shape(resolver: &Resolver<'_>, ty: &Type) -> Result<Integer, String> {
        Integer::of(resolver, ty)
    }
    fn read_at(shape: &Integer, memory: &dyn Memory, at: Va) -> Result<Self, PageFault> {
        shape.read(memory, at).map(u64::cast_signed)
    }
}

/// A pointer; 32-bit ones are extended by zeros.
impl Value for Va {
    type Shape = Integer;
    fn shape(resolver: &Resolver<'_>, ty: &Type) -> Result<Integer, String> {
        match Integer::of(resolver, ty) {
            Ok(integer) if u64::from(integer.bytes) == resolver.pointer_bytes() && !integer.signed => Ok(integer),
            Ok(integer) => Err(format!("an integer of {} bytes, which is no address", integer.bytes)),
            Err(why) => Err(why),
        }
    }
    fn read_at(shape: &Integer, memory: &dyn Memory, at: Va) -> Result<Self, PageFault> {
        shape.read(memory, at).map(Va)
    }
}
