//! The symbols of a zip of Volatility 2 for macOS (`*.dsymutil`): what `dsymutil -s` printed of a kernel,
//!
//! ```text
//! Symbol table for: 'mach_kernel' (x86_64)
//! [     3] 000000b9 24 (N_FUN        ) 01     0000   0000000100000470 '_touch'
//! [    23] 00000030 0f (     SECT EXT) 06     0000   0000000100002010 '_allproc'
//! ```
//!
//! As in Rekall, the lines of functions, static variables and external symbols count.

use super::symbols::{Kind, Symbols};
use quaid_profile::Arch;

/// A table of a text, which has one for each architecture.
pub(super) struct Table<'d> {
    /// `None` for one that profiles do not know.
    pub(super) arch: Option<Arch>,
    pub(super) symbols: Symbols<'d>,
}

/// Whether a text, of which this is the start, is dsymutil's.
pub(super) fn looks_like(head: &[u8]) -> bool {
    memchr::memmem::find(head, b"Symbol table for:").is_some()
}

/// The tables of a text.
pub(super) fn read(text: &[u8]) -> Vec<Table<'static>> {
    let mut tables: Vec<Table<'static>> = Vec::new();
    for line in text.split(|&byte| byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        if line.starts_with("Symbol table for:") {
            let arch = match line.trim_end().rsplit(['(', ')']).nth(1) {
                Some("i386") => Some(Arch::I386),
                Some("x86_64" | "x86_64h") => Some(Arch::Amd64),
                Some("arm64" | "arm64e") => Some(Arch::Arm64),
                _ => None,
            };
            tables.push(Table { arch, symbols: Symbols::default() });
        } else if let (Some(table), Some((name, address, code))) = (tables.last_mut(), symbol(&line)) {
            table.symbols.add(name.to_owned(), address, Kind::of(code));
        }
    }
    tables
}

/// Name in C, address, and whether it is code; `None` for a line that is no symbol, or an undefined one.
fn symbol(line: &str) -> Option<(&str, u64, bool)> {
    let (fields, name) = line.strip_suffix('\'').unwrap_or(line.trim_end().strip_suffix('\'')?).split_once('\'')?;
    let function = fields.contains("N_FUN");
    if !function && !fields.contains("N_STSYM") && !fields.contains(" EXT") || fields.contains("UNDF") {
        return None;
    }
    let mut after = fields.split_once(')')?.1.split_whitespace();
    let section = after.next()?;
    let address = u64::from_str_radix(after.next_back()?, 16).ok()?;
    let name = name.strip_prefix('_').unwrap_or(name);
    // The first section of a kernel is its code, `__TEXT,__text`.
    (!name.is_empty()).then_some((name, address, function || section == "01"))
}
