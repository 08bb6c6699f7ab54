//! Addresses as types, so that a physical one is never taken for a virtual one.

use std::fmt;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl $name {
            /// The address `bytes` further on; `None` where it does not fit 64 bits.
            pub fn checked_add(self, bytes: u64) -> Option<Self> {
                self.0.checked_add(bytes).map(Self)
            }
            /// The address `bytes` further on, modulo 2^64, as the kernel's own pointer arithmetic does it.
            #[must_use]
            pub fn wrapping_add(self, bytes: u64) -> Self {
                Self(self.0.wrapping_add(bytes))
            }
            /// The address `bytes` before, modulo 2^64.
            #[must_use]
            pub fn wrapping_sub(self, bytes: u64) -> Self {
                Self(self.0.wrapping_sub(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

address! {
    /// A physical address, in bytes.
    Pa
}
address! {
    /// A virtual address, in bytes. On x86-64 it is canonical: bits 63 to 47 (56 with five levels) are equal. On AArch64 bits
    /// 63 to 56 may be a tag.
    Va
}
