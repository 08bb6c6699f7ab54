//! Sizes of types, as a complete profile tells them.

use crate::model::{Arch, BaseType, Profile, Type};
use crate::native::native_type;

impl Profile {
    /// Size of a pointer, in bytes; 8 where the profile does not tell its architecture.
    pub fn pointer_bytes(&self) -> u64 {
        self.metadata.arch().map_or(8, Arch::pointer_bytes)
    }

    /// A native type: as the profile tells it, else by the names that compilers use. `None` for other names.
    pub fn base_type(&self, name: &str) -> Option<BaseType> {
        let told = self.base_types.get(name).cloned();
        told.or_else(|| native_type(name, self.pointer_bytes(), self.metadata.os()))
    }

    /// Size of a type in bytes; `None` where the profile does not tell (a function, an unknown name or class).
    pub fn size_of(&self, ty: &Type) -> Option<u64> {
        match ty {
            Type::Void | Type::Function { .. } | Type::Other { .. } => None,
            Type::Pointer { bytes, .. } => Some(bytes.map_or(self.pointer_bytes(), u64::from)),
            Type::Array { target, count } => self.size_of(target)?.checked_mul(*count),
            Type::BitField { target, .. } => self.size_of(target),
            Type::Enum { name, base } => self.enums.get(name).and_then(|e| e.size).or_else(|| self.size_of(base)),
            Type::UnicodeString { length } => length.unwrap_or(1).checked_mul(2),
            Type::Named(name) => match self.structs.get(name) {
                Some(s) => Some(s.size),
                None => self.base_type(name).map(|base| base.size),
            },
        }
    }
}
