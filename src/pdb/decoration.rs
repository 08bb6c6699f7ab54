//! Symbol names without what C compilers put around them.

use std::borrow::Cow;

/// The name as a person writes it.
///
/// C: `_name` (cdecl), `_name@12` (stdcall), `@name@8` (fastcall), and the DEL that begins linker-made names. String
/// literals (`??_C@...`) become `str:TEXT`. Other C++ names stay as they are. This is done for every architecture,
/// as Rekall and Volatility's pdbconv do, so that `_imp_Name` is an import everywhere.
pub(super) fn clean_name(name: &str) -> Cow<'_, str> {
    if let Some(literal) = name.strip_prefix("??_C@") {
        return string_literal(literal).map_or(Cow::Borrowed(name), Cow::Owned);
    }
    if name.starts_with('?') {
        return Cow::Borrowed(name);
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
    (digits && !bare.is_empty() && !bare.contains('@')).then_some(bare)
}

/// The escapes of string literals that Rekall knows, and what it writes for them: blanks and line ends as characters
/// that can stand in a name. Its index of kernels is made of these names, so they are not made better here.
const ESCAPES: [(&str, &str); 25] = [
    ("?0", ","),
    ("?1", "/"),
    ("?2", "\\"),
    ("?3", ":"),
    ("?4", "."),
    ("?5", "_"),
    ("?6", "."),
    ("?7", "\""),
    ("?8", "'"),
    ("?9", "-"),
    ("?$AA", ""),
    ("?$AN", ""),
    ("?$CF", "%"),
    ("?$EA", "@"),
    ("?$CD", "#"),
    ("?$CG", "&"),
    ("?$HO", "~"),
    ("?$CI", "("),
    ("?$CJ", ")"),
    ("?$DM1", "</"),
    ("?$DMO", ">"),
    ("?$DN", "="),
    ("?$CK", "*"),
    ("?$CB", "!"),
    // A question mark of no known escape stands for itself.
    ("?", "?"),
];

/// `_0BA@HASH@text@...` (after `??_C@`) to `str:text`. A size below ten is one digit without an `@` behind it, which
/// Rekall did not know: it lost these texts.
fn string_literal(literal: &str) -> Option<String> {
    let size = literal.strip_prefix("_0").or_else(|| literal.strip_prefix("_1"))?;
    let hash = match size.strip_prefix(|c: char| c.is_ascii_digit()) {
        Some(hash) => hash,
        None => size.split_once('@')?.1,
    };
    let mut rest = hash.split_once('@')?.1.split('@').next()?;
    let mut out = String::from("str:");
    while let Some(at) = rest.find('?') {
        let (plain, escape) = rest.split_at(at);
        out.push_str(plain);
        let (code, text) = ESCAPES.iter().find(|(code, _)| escape.starts_with(code))?;
        out.push_str(text);
        rest = escape.strip_prefix(code)?;
    }
    out.push_str(rest);
    Some(out)
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
            ("??_C@_07NFANNNEC@UNKNOWN@", "str:UNKNOWN"),
            ("??_C@_0BD@LGICGFMM@?5Base?5Class?5Array?8@", "str:_Base_Class_Array'"),
            ("??_C@_1BE@EBOGMDOH@?$AAW?$AAe?$AAd@", "str:Wed"),
            ("??_C@_00CNPNBAHC@@", "str:"),
            ("??_C@_broken", "??_C@_broken"),
        ] {
            assert_eq!(clean_name(name), clean, "{name}");
        }
    }
}
