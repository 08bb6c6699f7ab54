//! What the header and digest sections of an EWF file tell a person.
//!
//! Source: libewf's description and files of ewfacquire. `header` (bytes) and `header2` (UTF-16) are zlib streams of lines;
//! the line after `main` names the fields, the next one has them, both parted by tabs.

use super::super::fields::piece;
use super::super::{Hints, PhysicalMemory};
use super::sections::{SECTION_HEADER_BYTES, Section};
use crate::time::Time;
use std::io::Read as _;

/// Header texts are a few hundred bytes; notes may be longer.
const MAX_TEXT: u64 = 1 << 20;

/// The identifiers of fields, and what they are.
const FIELDS: &[(&str, &str)] = &[
    ("c", "case number"),
    ("n", "evidence number"),
    ("a", "description"),
    ("e", "examiner"),
    ("t", "notes"),
    ("md", "model"),
    ("sn", "serial number"),
    ("av", "acquisition tool version"),
    ("ov", "acquisition system"),
    ("m", "acquired"),
    ("u", "system time of acquisition"),
];

/// Adds the facts of a `header2` or `header` section.
pub(super) fn header(base: &dyn PhysicalMemory, section: &Section, hints: &mut Hints) {
    let Some(packed) = section.payload(base, MAX_TEXT) else { return };
    let mut bytes = Vec::new();
    // What was decoded before an error is worth telling.
    let _damaged = flate2::read::ZlibDecoder::new(&packed[..]).take(MAX_TEXT).read_to_end(&mut bytes).is_err();
    let text = match bytes.strip_prefix(b"\xff\xfe") {
        Some(wide) => {
            let wide: Vec<u16> =
                wide.chunks_exact(2).filter_map(|c| c.try_into().ok().map(u16::from_le_bytes)).collect();
            String::from_utf16_lossy(&wide)
        }
        None => String::from_utf8_lossy(&bytes).into_owned(),
    };
    let mut lines = text.lines().skip_while(|line| *line != "main").skip(1);
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return };
    for (name, value) in names.split('\t').zip(values.split('\t')).filter(|(_, value)| !value.is_empty()) {
        let Some((_, what)) = FIELDS.iter().find(|(known, _)| *known == name) else { continue };
        hints.facts.push(((*what).into(), time(name, value).unwrap_or_else(|| value.to_owned())));
    }
}

/// Times are seconds since 1970 in `header2`, and six numbers in local time in `header`, which stay as they are.
fn time(name: &str, value: &str) -> Option<String> {
    let seconds: i64 = value.parse().ok().filter(|_| matches!(name, "m" | "u"))?;
    // Nothing was acquired before 1970 or after the year 9999.
    (0..253_402_300_800).contains(&seconds).then(|| Time { unix_seconds: seconds }.to_string())
}

/// Bytes in lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}

/// Adds the digests of a `hash` (MD5) or `digest` (MD5 and SHA-1) section.
pub(super) fn digests(base: &dyn PhysicalMemory, section: &Section, hints: &mut Hints) {
    let start = section.at + SECTION_HEADER_BYTES;
    let mut add = |what: &str, offset: u64, bytes: u64| {
        let Some(digest) = piece(base, start + offset, bytes).filter(|digest| digest.iter().any(|&b| b != 0)) else {
            return;
        };
        if !hints.facts.iter().any(|(name, _)| name == what) {
            hints.facts.push((what.into(), hex(&digest)));
        }
    };
    add("MD5", 0, 16);
    if section.kind == "digest" {
        add("SHA-1", 16, 20);
    }
}
