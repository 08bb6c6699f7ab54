//! The exports of a PE image as it lies in memory, read through the page tables.
//!
//! Layout: Microsoft, "PE Format", "The .edata Section". The reader of files (`peinfo`) has sections and raw offsets to
//! mind; in memory there are pages, some of which are missing.

use crate::addr::Va;
use crate::error::PageFault;
use crate::paging::AddressSpace;
use std::collections::BTreeMap;

/// Most names that are read; ntoskrnl.exe of Windows 11 has some 3,300.
const MAX_NAMES: u32 = 1 << 16;
/// The longest name that is read, in bytes.
const MAX_NAME_BYTES: u64 = 256;
/// Most bytes of names together, which many pointers to one long name could multiply.
const MAX_NAMES_BYTES: usize = 4 << 20;

/// What an image in memory exports by name.
#[derive(Debug, Default)]
pub(crate) struct MemoryExports {
    /// The name that the image gives itself, when its page is there.
    pub(crate) module: Option<String>,
    /// RVAs by name. Forwarders, which lead to other images, are left out.
    pub(crate) rvas: BTreeMap<String, u32>,
    /// How many names or addresses are on pages that are missing.
    pub(crate) unreadable: u32,
}

/// Reads the exports of the image at `base`, whose headers must be there.
pub(crate) fn read(space: &AddressSpace<'_>, base: Va) -> Result<MemoryExports, String> {
    let fault = |fault: PageFault| format!("its export directory cannot be read: {fault}");
    let word = |at: Va| space.read_u32(at).map_err(fault);
    let at = |rva: u32| base.wrapping_add(rva.into());
    let optional = at(word(base.wrapping_add(0x3c))?).wrapping_add(24);
    // The data directories come behind 96 bytes of the optional header, or 112 when its magic says 64 bits; the first is
    // the export directory's.
    let entry = optional.wrapping_add(if word(optional)? & 0xffff == 0x20b { 112 } else { 96 });
    let (directory, bytes) = (word(entry)?, word(entry.wrapping_add(4))?);
    if directory == 0 {
        return Err("it exports nothing".to_owned());
    }
    let field = |offset: u64| word(at(directory).wrapping_add(offset));
    let (functions, names) = (field(20)?, field(24)?.min(MAX_NAMES));
    let (addresses_at, names_at, ordinals_at) = (at(field(28)?), at(field(32)?), at(field(36)?));
    let mut exports = MemoryExports { module: text(space, at(field(12)?)), ..MemoryExports::default() };
    let mut text_bytes = 0;
    for index in 0..u64::from(names) {
        let name = space.read_u32(names_at.wrapping_add(index * 4)).ok().and_then(|rva| text(space, at(rva)));
        let ordinal = space.read_u16(ordinals_at.wrapping_add(index * 2)).ok();
        let rva = ordinal.filter(|&ordinal| u32::from(ordinal) < functions);
        let rva = rva.and_then(|ordinal| space.read_u32(addresses_at.wrapping_add(u64::from(ordinal) * 4)).ok());
        let (Some(name), Some(rva)) = (name, rva) else {
            exports.unreadable += 1;
            continue;
        };
        text_bytes += name.len();
        if text_bytes > MAX_NAMES_BYTES {
            break;
        }
        let forwarder = rva.wrapping_sub(directory) < bytes;
        if rva != 0 && !forwarder {
            exports.rvas.insert(name, rva);
        }
    }
    Ok(exports)
}

/// A name: printable ASCII up to a NUL.
fn text(space: &AddressSpace<'_>, at: Va) -> Option<String> {
    let mut name = String::new();
    for offset in 0..MAX_NAME_BYTES {
        match space.read_u8(at.wrapping_add(offset)).ok()? {
            0 => return (!name.is_empty()).then_some(name),
            byte if byte.is_ascii_graphic() => name.push(char::from(byte)),
            _ => return None,
        }
    }
    None
}
