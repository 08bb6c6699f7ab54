//! String literals, which the linker knows by a name that holds their text: `??_C@_0BA@HASH@text@`.
//!
//! After `??_C@_` come the width (0: bytes, 1: UTF-16 units), the length, a hash of the whole text, and of the text the
//! first 32 bytes (of a wide one 32 units), each UTF-16 unit's high byte first. Format: clang, AST/MicrosoftMangle.cpp,
//! `mangleStringLiteral`.

/// The text of a literal, in the form that stands in a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Literal {
    /// Of UTF-16 units.
    pub(super) wide: bool,
    /// As Rekall has it in names, by which its index of kernels goes: a blank is `_`, the end of a line `.`, NUL and
    /// carriage return are nothing.
    pub(super) text: String,
}

/// Decodes a decorated name; `None` when it is not one of a literal.
pub(super) fn literal(name: &str) -> Option<Literal> {
    let rest = name.strip_prefix("??_C@_")?;
    let (wide, rest) = match rest.split_at_checked(1)? {
        ("0", rest) => (false, rest),
        ("1", rest) => (true, rest),
        _ => return None,
    };
    // A number of 1 to 10 is one digit, any other is letters up to an `@`.
    let rest = match rest.strip_prefix(|c: char| c.is_ascii_digit()) {
        Some(rest) => rest,
        None => rest.split_once('@')?.1,
    };
    let (_hash, text) = rest.split_once('@')?;
    let bytes = bytes(text.split('@').next()?.as_bytes())?;
    let text = if wide {
        let units = bytes.chunks_exact(2).map(|unit| u16::from_be_bytes([unit[0], unit[1]]));
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).filter_map(in_a_name).collect()
    } else {
        // The code page of the source is not known; Latin-1 keeps every byte apart.
        bytes.iter().map(|&byte| char::from(byte)).filter_map(in_a_name).collect()
    };
    Some(Literal { wide, text })
}

fn in_a_name(c: char) -> Option<char> {
    match c {
        '\0' | '\r' => None,
        ' ' | '\t' => Some('_'),
        '\n' => Some('.'),
        other => Some(other),
    }
}

/// The bytes that the escapes stand for.
fn bytes(encoded: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(encoded.len());
    let mut rest = encoded.iter().copied();
    let nibble = |letter: u8| matches!(letter, b'A'..=b'P').then(|| letter - b'A');
    while let Some(byte) = rest.next() {
        out.push(match byte {
            b'?' => match rest.next()? {
                digit @ b'0'..=b'9' => *b",/\\:. \n\t'-".get(usize::from(digit - b'0'))?,
                letter @ (b'a'..=b'z' | b'A'..=b'Z') => letter | 0x80,
                b'$' => nibble(rest.next()?)? << 4 | nibble(rest.next()?)?,
                _ => return None,
            },
            plain => plain,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_decoded() {
        for (name, wide, text) in [
            ("??_C@_07NFANNNEC@UNKNOWN@", false, "UNKNOWN"),
            ("??_C@_0BD@LGICGFMM@?5Base?5Class?5Array?8@", false, "_Base_Class_Array'"),
            ("??_C@_1BE@EBOGMDOH@?$AAW?$AAe?$AAd@", true, "Wed"),
            ("??_C@_00CNPNBAHC@@", false, ""),
            ("??_C@_0L@AAAA@a?$DM?1b?$DO?6?7?$CC@", false, "a</b>._\""),
            ("??_C@_02AAAA@?a?Z@", false, "\u{e1}\u{da}"),
            ("??_C@_13AAAA@?$DA?C@", true, "\u{30c3}"),
        ] {
            assert_eq!(literal(name), Some(Literal { wide, text: text.into() }), "{name}");
        }
        for broken in
            ["??_C@_broken", "??_C@_", "??_C@_0", "??_C@_07NFANNNEC", "??_C@_07A@?$A@", "??_C@_07A@?@", "?f@@YAXXZ"]
        {
            assert_eq!(literal(broken), None, "{broken}");
        }
    }
}
