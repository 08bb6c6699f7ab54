//! Symbol names without what C compilers put around them.

use super::literal::literal;
use std::borrow::Cow;

/// The name as a person writes it.
///
/// C: `_name` (cdecl), `_name@12` (stdcall), `@name@8` (fastcall), `name@@16` (vectorcall), and the DEL that begins
/// linker-made names. String literals (`??_C@...`) become `str:TEXT`. Other C++ names stay as they are. This is done for
/// every architecture, as Rekall and Volatility's pdbconv do, so that `_imp_Name` is an import everywhere.
pub(super) fn clean_name(name: &str) -> Cow<'_, str> {
    if name.starts_with('?') {
        return literal(name).map_or(Cow::Borrowed(name), |literal| Cow::Owned(format!("str:{}", literal.text)));
    }
    // Assembler code has labels with the bytes of the arguments and no underscore in front.
    let bare = without_argument_bytes(name.strip_prefix(['_', '@']).unwrap_or(name));
    let bare = bare.or_else(|| name.strip_prefix(['_', '\x7f'])).unwrap_or(name);
    Cow::Borrowed(if bare.is_empty() { name } else { bare })
}

/// `name@12` without `@12`. A floating-point constant (`__real@00000000`) has its bits there, eight digits or more.
fn without_argument_bytes(name: &str) -> Option<&str> {
    let (bare, bytes) = name.rsplit_once('@')?;
    let digits = (1..8).contains(&bytes.len()) && bytes.bytes().all(|b| b.is_ascii_digit());
    let bare = bare.strip_suffix('@').unwrap_or(bare);
    (digits && !bare.is_empty() && !bare.contains('@')).then_some(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoration_of_c_is_stripped_and_of_c_plus_plus_kept() {
        for (name, clean) in [
            ("_PsActiveProcessHead", "PsActiveProcessHead"),
            ("__imp__Foo@8", "_imp__Foo"),
            ("_RtlpStackDbEntryIsEqual@8", "RtlpStackDbEntryIsEqual"),
            ("@ExfInterlockedPopEntryList@8", "ExfInterlockedPopEntryList"),
            ("ExecuteHandler2@20", "ExecuteHandler2"),
            ("PsActiveProcessHead", "PsActiveProcessHead"),
            ("\x7fKERNEL32_NULL_THUNK_DATA", "KERNEL32_NULL_THUNK_DATA"),
            ("?f@@YAXXZ", "?f@@YAXXZ"),
            ("__real@0000000000000000", "_real@0000000000000000"),
            ("_", "_"),
            ("@feat.00", "@feat.00"),
            ("memcpy@@16", "memcpy"),
            ("??_C@_07NFANNNEC@UNKNOWN@", "str:UNKNOWN"),
            ("??_C@_1BE@EBOGMDOH@?$AAW?$AAe?$AAd@", "str:Wed"),
            ("??_C@_broken", "??_C@_broken"),
        ] {
            assert_eq!(clean_name(name), clean, "{name}");
        }
    }
}
