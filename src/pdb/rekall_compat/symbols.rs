//! Public symbols as the original read and named them.

use crate::pdb::bytes::Reader;
use crate::pdb::container::Container;
use crate::pdb::dbi::{Dbi, NO_STREAM};
use crate::pdb::error::PdbError;
use quaid_profile::Profile;
use std::collections::{BTreeMap, HashMap};

const S_PUB32: u16 = 0x110e;
/// Of the flags of `S_PUB32`: the symbol is a function.
const FUNCTION: u32 = 2;
const SECTION_HEADER_BYTES: usize = 40;

/// What the original put for the escapes in the names of literals, one after the other over the whole text. A backslash
/// became two, and every other escape stayed.
const ESCAPES: [(&str, &str); 24] = [
    ("?0", ","),
    ("?1", "/"),
    ("?2", r"\\"),
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
];

/// Puts the public symbols into the profile, and tells whether a name gave the machine away as I386.
pub(super) fn fill(container: &Container<'_>, dbi: &Dbi, profile: &mut Profile) -> Result<bool, PdbError> {
    let sections = if dbi.original_sections == NO_STREAM { dbi.sections } else { dbi.original_sections };
    let sections = section_addresses(&container.stream_with_padding(sections, "section headers")?);
    let omap = omap(&container.stream_with_padding(dbi.omap_from_source, "OMAP")?);
    let records = container.stream_with_padding(dbi.symbols, "symbol records")?;

    // By name as the linker has it; of two of the same kind the later one stays.
    let (mut constants, mut functions) = (HashMap::new(), HashMap::new());
    let mut rest = Reader(&records);
    while let Some(len) = rest.u16().filter(|&len| len != 0) {
        let body = rest.0.get(..usize::from(len)).unwrap_or(rest.0);
        if let Some(public) = public(body) {
            // A section that there is not was one at 0.
            let start = usize::from(public.section).checked_sub(1).and_then(|at| sections.get(at));
            let address = u64::from(public.offset) + u64::from(start.copied().unwrap_or(0));
            let symbols = if public.function { &mut functions } else { &mut constants };
            symbols.insert(public.name, in_image(&omap, address));
        }
        if rest.take(usize::from(len)).is_none() {
            break;
        }
    }
    let mut is_i386 = false;
    profile.constants = named(&constants, &mut is_i386);
    profile.functions = named(&functions, &mut is_i386);
    Ok(is_i386)
}

struct Public<'t> {
    function: bool,
    offset: u32,
    section: u16,
    name: &'t [u8],
}

/// Reads an `S_PUB32` record. Its name may be cut short: the last page of the stream may hold the begin of one that an
/// earlier state of the file had, and the original read that as well.
fn public(body: &[u8]) -> Option<Public<'_>> {
    let mut reader = Reader(body);
    let kind = reader.u16()?;
    let flags = reader.u32()?;
    let offset = reader.u32()?;
    let section = reader.u16()?;
    let name = reader.0.split(|&b| b == 0).next()?;
    (kind == S_PUB32).then_some(Public { function: flags & FUNCTION != 0, offset, section, name })
}

fn section_addresses(headers: &[u8]) -> Vec<u32> {
    let address = |header: &[u8]| header.get(12..).and_then(|rest| Reader(rest).u32()).unwrap_or(0);
    headers.chunks_exact(SECTION_HEADER_BYTES).map(address).collect()
}

/// Pairs of RVAs: where a stretch of code was, and where it is in the image.
fn omap(stream: &[u8]) -> Vec<(u32, u32)> {
    let pair = |bytes: &[u8]| {
        let mut reader = Reader(bytes);
        Some((reader.u32()?, reader.u32()?))
    };
    let mut omap: Vec<_> = stream.chunks_exact(8).filter_map(pair).collect();
    omap.sort_unstable();
    omap
}

/// Code that was removed, which OMAP leads to 0, was taken to be near there.
fn in_image(omap: &[(u32, u32)], address: u64) -> u64 {
    let after = omap.partition_point(|&(from, _)| u64::from(from) <= address);
    let found = after.checked_sub(1).and_then(|at| omap.get(at));
    found.map_or(address, |&(from, to)| address - u64::from(from) + u64::from(to))
}

/// Symbols under the names that the original gave them. Of those that collapse the lowest keeps the name, the next ones
/// get `_1`, `_2`, ..., which a symbol of that very name then replaces.
fn named(symbols: &HashMap<&[u8], u64>, is_i386: &mut bool) -> BTreeMap<String, u64> {
    let mut addresses: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (linkage_name, address) in symbols {
        let linkage_name: String = linkage_name.iter().copied().map(char::from).collect();
        addresses.entry(name(&linkage_name, is_i386)).or_default().push(*address);
    }
    let mut named = BTreeMap::new();
    for (name, mut addresses) in addresses {
        addresses.sort_unstable();
        for (number, address) in addresses.into_iter().enumerate() {
            let name = if number == 0 { name.clone() } else { format!("{name}_{number}") };
            named.insert(name, address);
        }
    }
    named
}

fn name(linkage_name: &str, is_i386: &mut bool) -> String {
    if let Some((name, argument_bytes)) = without_argument_bytes(linkage_name) {
        *is_i386 |= matches!(argument_bytes, "4" | "12");
        return name.to_owned();
    }
    // `?name@Class@@...` and `?name@@...`, but no operator.
    let plain = linkage_name.strip_prefix('?').and_then(|rest| rest.split_once('@')).map(|(name, _)| name);
    if let Some(name) = plain.filter(|name| !name.is_empty() && !name.starts_with('?')) {
        return name.to_owned();
    }
    if let Some(name) = linkage_name.strip_prefix(['_', '.']) {
        return name.to_owned();
    }
    // `??_C@_0BA@HASH@text@`. The length of a short literal is one digit without an `@` behind it, which the original did
    // not know; so it took what is behind the text, nothing, for the text.
    let literal = linkage_name.starts_with("??_C@").then(|| linkage_name.split('@').nth(3)).flatten();
    literal.map_or_else(
        || linkage_name.to_owned(),
        |text| ESCAPES.iter().fold(format!("str:{text}"), |text, (escape, plain)| text.replace(escape, plain)),
    )
}

/// `name` and `12` of `_name@12` and `@name@12`. The longest number is of three digits: `__real@4018000000000000` stays.
fn without_argument_bytes(linkage_name: &str) -> Option<(&str, &str)> {
    let (name, digits) = linkage_name.strip_prefix(['_', '@'])?.split_once('@')?;
    let number = (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    (number && !name.is_empty()).then_some((name, digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names that the stored outputs of the original have.
    #[test]
    fn names_are_the_original_s() {
        for (linkage_name, original, i386) in [
            ("_NtClose@4", "NtClose", true),
            ("@ExAcquireFastMutex@8", "ExAcquireFastMutex", false),
            ("__imp_@ExAcquireFastMutex@4", "_imp_@ExAcquireFastMutex@4", false),
            ("__real@0000000000000000", "_real@0000000000000000", false),
            ("??_C@_0BM@PMGGMLDN@?$GAlocal?5static?5thread?5guard?8?$AA@", "str:?$GAlocal_static_thread_guard'", false),
            ("??_C@_07NFANNNEC@UNKNOWN@", "str:", false),
            ("??_C@_0BA@AAAA@C?3?2data?2program@", r"str:C:\\data\\program", false),
            ("?f@C@@QAEXH@Z", "f", false),
            ("??1C@@QAE@XZ", "??1C@@QAE@XZ", false),
        ] {
            let mut is_i386 = false;
            assert_eq!((name(linkage_name, &mut is_i386).as_str(), is_i386), (original, i386), "{linkage_name}");
        }
    }
}
