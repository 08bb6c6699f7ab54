//! Names of a profile as C identifiers.
//!
//! A name that is one stays as it is. In others each character that C does not allow becomes `_`, a digit at the
//! beginning gets `_` before it, a word that C or a compiler reserves gets `_` after it. Names that would be the same get a
//! number, in the order of the names; a name that stays as it is goes first.

use std::collections::{BTreeMap, BTreeSet};

/// Words that are no identifiers in C11 with GNU extensions, and names that compilers define as macros.
const RESERVED: [&str; 56] = [
    "auto",
    "break",
    "case",
    "char",
    "const",
    "continue",
    "default",
    "do",
    "double",
    "else",
    "enum",
    "extern",
    "float",
    "for",
    "goto",
    "if",
    "inline",
    "int",
    "long",
    "register",
    "restrict",
    "return",
    "short",
    "signed",
    "sizeof",
    "static",
    "struct",
    "switch",
    "typedef",
    "union",
    "unsigned",
    "void",
    "volatile",
    "while",
    "asm",
    "typeof",
    "_Alignas",
    "_Alignof",
    "_Atomic",
    "_Bool",
    "_Complex",
    "_Generic",
    "_Imaginary",
    "_Noreturn",
    "_Static_assert",
    "_Thread_local",
    "__asm",
    "__attribute",
    "__attribute__",
    "__const",
    "__inline",
    "__signed",
    "__volatile",
    "linux",
    "unix",
    "i386",
];

/// The identifier of each name of one scope; `taken` are those that others have there.
pub(crate) fn identifiers<'n>(
    names: impl Iterator<Item = &'n str>,
    taken: &mut BTreeSet<String>,
) -> BTreeMap<&'n str, String> {
    let names: BTreeSet<&str> = names.collect();
    let mut identifiers = BTreeMap::new();
    for &name in names.iter().filter(|name| spelled(name) == **name) {
        if taken.insert(name.to_owned()) {
            identifiers.insert(name, name.to_owned());
        }
    }
    let rest: Vec<&str> = names.into_iter().filter(|name| !identifiers.contains_key(name)).collect();
    let mut numbers: BTreeMap<String, u64> = BTreeMap::new();
    for name in rest {
        let base = spelled(name);
        let mut free = base.clone();
        while !taken.insert(free.clone()) {
            let number = numbers.entry(base.clone()).or_insert(1);
            *number += 1;
            free = format!("{base}_{number}");
        }
        identifiers.insert(name, free);
    }
    identifiers
}

/// A name by the rule, but for the number.
fn spelled(name: &str) -> String {
    let mut spelled = String::new();
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        spelled.push('_');
    }
    spelled.extend(name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }));
    if RESERVED.contains(&spelled.as_str()) {
        spelled.push('_');
    }
    spelled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_an_identifier_goes_first() {
        let names = ["<a>", "_a_", "default", "default_", "1", "x"];
        let mut taken = BTreeSet::from(["x".to_owned()]);
        let identifiers = identifiers(names.into_iter(), &mut taken);
        let ours: Vec<&str> = names.iter().map(|name| identifiers[name].as_str()).collect();
        assert_eq!(ours, ["_a__2", "_a_", "default__2", "default_", "_1", "x_2"]);
    }
}
