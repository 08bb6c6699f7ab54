//! The notes of the pmem acquisition tools about the machine: `key: value` lines, in a block of their own.

use super::Hints;
use crate::addr::{Pa, Va};

/// Notes have a few dozen lines; it bounds what a hostile file can make us keep.
const MAX_FACTS: usize = 256;

/// Takes the values of `text`; sections of it are taken as one.
pub(super) fn take(text: &str, hints: &mut Hints) {
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let (key, value) = (key.trim().trim_start_matches("- "), value.trim().trim_matches(['"', '\'']));
        if value.is_empty() || key.starts_with('#') {
            continue;
        }
        let number = match value.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => value.parse().ok(),
        };
        match (key, number) {
            ("CR3" | "dtb_off", Some(table)) if table != 0 => hints.dtbs.push(Pa(table)),
            ("KernBase", Some(base)) if base != 0 => hints.kernel_base = Some(Va(base)),
            _ => {}
        }
        if hints.facts.len() < MAX_FACTS {
            hints.facts.push((key.into(), value.into()));
        }
    }
}
