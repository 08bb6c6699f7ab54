//! Which typedefs of native types a profile keeps: those that tell what a number is (`pid_t`, `gfp_t`, `__be32`), and not
//! those that only spell an integer of C in another way (`u32`, `__u8`, `size_t`).

/// What is left of such names without underscores in front, `kernel_` and `_t` around, in small letters.
const SPELLINGS: [&str; 25] = [
    "bool", "byte", "char", "int", "intmax", "intptr", "long", "ptrdiff", "short", "size", "ssize", "u_char", "u_int",
    "u_long", "u_short", "uch", "uchar", "uint", "uintmax", "uintptr", "ulg", "ulong", "unchar", "ush", "ushort",
];
/// What stands before a number of bits.
const WIDTHS: [&str; 9] = ["int", "int_fast", "int_least", "s", "u", "u_int", "uint", "uint_fast", "uint_least"];

/// Whether a typedef of a native type tells more than its width and sign.
pub(crate) fn tells_more(name: &str) -> bool {
    let lower = name.trim_start_matches('_').to_ascii_lowercase();
    let plain = lower.strip_prefix("kernel_").unwrap_or(&lower);
    let plain = plain.strip_suffix("_t").unwrap_or(plain);
    let letters = plain.trim_end_matches(|c: char| c.is_ascii_digit());
    let sized = letters.len() < plain.len() && WIDTHS.contains(&letters);
    !sized && !SPELLINGS.contains(&plain)
}

/// Of what a member is declared by: what its first typedef stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Declared<N> {
    /// None was met so far.
    #[default]
    Plainly,
    /// The first one, and neither a pointer nor an array behind it.
    By(N),
    /// A typedef of a pointer or array: no native type has its name.
    Indirectly,
}

impl<N> Declared<N> {
    /// A typedef follows.
    pub(crate) fn typedef(&mut self, name: N) {
        if matches!(self, Self::Plainly) {
            *self = Self::By(name);
        }
    }

    /// A pointer or an array follows.
    pub(crate) fn indirection(&mut self) {
        if matches!(self, Self::By(_)) {
            *self = Self::Indirectly;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_spellings_of_integers_tell_no_more() {
        for name in [
            "u8",
            "__u32",
            "s64",
            "__s16",
            "U32",
            "uint32_t",
            "u_int8_t",
            "int_least16_t",
            "size_t",
            "ssize_t",
            "bool",
            "BYTE",
            "__kernel_size_t",
            "__kernel_ulong_t",
            "kernel_ulong_t",
            "uintptr_t",
            "uInt",
            "uLong",
            "ulong",
            "unchar",
            "__u128",
        ] {
            assert!(!tells_more(name), "{name}");
        }
        for name in [
            "pid_t",
            "__kernel_pid_t",
            "gfp_t",
            "dev_t",
            "sector_t",
            "loff_t",
            "__le32",
            "__be16",
            "__sum16",
            "compat_ulong_t",
            "u64_stats_t",
            "time64_t",
            "kuid_t",
            "u",
            "s",
            "_t",
            "domid_t",
            "umode_t",
            "Elf64_Word",
            "uid16_t",
        ] {
            assert!(tells_more(name), "{name}");
        }
    }
}
