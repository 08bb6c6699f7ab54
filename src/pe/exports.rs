//! The export directory: what the file gives to others, by name or by ordinal alone.
//!
//! Layout: Microsoft, "PE Format", "The .edata Section".

use object::LittleEndian as LE;
use object::pe::IMAGE_DIRECTORY_ENTRY_EXPORT;
use object::read::pe::{ImageNtHeaders, PeFile};
use std::collections::BTreeSet;

/// The export directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exports {
    /// The name that the file gives itself.
    pub module: String,
    /// What it exports, by ordinal; several names of one ordinal in the order of the file. Ordinals that lead nowhere are
    /// left out.
    pub list: Vec<Export>,
}

/// An exported address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Its ordinal, the base added.
    pub ordinal: u32,
    /// Its name, when it has one.
    pub name: Option<String>,
    /// Where it leads.
    pub target: Target,
}

/// Where an export leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Into the file: RVA, in bytes from the image base.
    Rva(u32),
    /// To an export of another module: "NTDLL.RtlFillMemory", or "NTDLL.#12".
    Forwarder(String),
}

/// Longest name that is shown, in bytes; longer ones, and C++ has them, are cut.
const MAX_NAME_BYTES: usize = 4096;
/// Most exports that are shown: each of the 65,536 ordinals, and as many names again.
const MAX_EXPORTS: usize = 1 << 17;
/// Most bytes of names together, which many pointers to one long name could multiply.
const MAX_NAMES_BYTES: usize = 64 << 20;

/// The exports of a file; `told` is given what of them cannot be read or is too much.
pub(super) fn read<Pe: ImageNtHeaders>(
    file: &PeFile<'_, Pe>,
    mut told: impl FnMut(String),
) -> Result<Option<Exports>, object::Error> {
    let (Some(directory), Some(table)) = (file.data_directory(IMAGE_DIRECTORY_ENTRY_EXPORT), file.export_table()?)
    else {
        return Ok(None);
    };
    let mut texts = Texts {
        data: directory.data(file.data(), &file.section_table())?,
        rva: directory.virtual_address.get(LE),
        bytes: 0,
    };
    let mut exports =
        Exports { module: texts.at(table.directory().name.get(LE)).unwrap_or_default(), list: Vec::new() };
    let base = u32::from(table.ordinal_base());
    let mut named = BTreeSet::new();
    let (mut unreadable, mut left_out) = (0_u32, 0_u32);
    let names = table.name_iter().map(|(name, index)| (u32::from(index.0), Some(name)));
    let addresses = (0..).zip(table.addresses()).filter(|(_, address)| address.get(LE) != 0);
    // Names come first, so that those without one are known.
    for (index, name) in names.chain(addresses.map(|(index, _)| (index, None))) {
        if name.is_none() && named.contains(&index) {
            continue;
        }
        if exports.list.len() >= MAX_EXPORTS || texts.bytes > MAX_NAMES_BYTES {
            left_out = left_out.saturating_add(1);
            continue;
        }
        let address = usize::try_from(index).ok().and_then(|index| table.addresses().get(index));
        let name = name.map(|name| texts.at(name));
        let target = address.map(|address| address.get(LE)).and_then(|rva| {
            if table.is_forward(rva) { texts.at(rva).map(Target::Forwarder) } else { Some(Target::Rva(rva)) }
        });
        // A name that cannot be read leaves the ordinal, which is shown without it.
        match (name, target) {
            (None, Some(target)) => exports.list.push(Export { ordinal: base + index, name: None, target }),
            (Some(Some(name)), Some(target)) => {
                named.insert(index);
                exports.list.push(Export { ordinal: base + index, name: Some(name), target });
            }
            (Some(_), _) | (None, None) => unreadable = unreadable.saturating_add(1),
        }
    }
    if unreadable > 0 {
        told(format!("{unreadable} names or targets lead out of it and cannot be read"));
    }
    if left_out > 0 {
        told(format!("{left_out} more exports than the {} that are shown", exports.list.len()));
    }
    exports.list.sort_by_key(|export| export.ordinal);
    Ok(Some(exports))
}

/// The texts of the export directory.
struct Texts<'data> {
    /// The directory's bytes.
    data: &'data [u8],
    /// Where they are in memory.
    rva: u32,
    /// Bytes of text that were given out.
    bytes: usize,
}

impl Texts<'_> {
    /// The text at an RVA, up to its NUL. Not one byte is looked at beyond the longest that is shown: a hostile file could
    /// let every name be the rest of the file.
    fn at(&mut self, rva: u32) -> Option<String> {
        let start = usize::try_from(rva.checked_sub(self.rva)?).ok()?;
        let rest = self.data.get(start..).filter(|rest| !rest.is_empty())?;
        let shown = rest.get(..MAX_NAME_BYTES).unwrap_or(rest);
        let text = shown.split(|&b| b == 0).next().unwrap_or_default();
        // A text without a NUL is cut by the end of the directory.
        if text.len() == rest.len() {
            return None;
        }
        self.bytes = self.bytes.saturating_add(text.len());
        Some(String::from_utf8_lossy(text).into_owned())
    }
}
