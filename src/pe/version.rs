//! Version information: the `VS_VERSIONINFO` resource, its fixed part and its strings.
//!
//! The resource is a tree of blocks; each is a length, the length of its value, a kind, a UTF-16 key, the value and the
//! blocks below, at multiples of four bytes: VS_VERSIONINFO, StringFileInfo, a StringTable for each language, a String for
//! each key (Microsoft, "VS_VERSIONINFO structure").

use object::LittleEndian as LE;
use object::read::pe::{ImageNtHeaders, PeFile, ResourceDirectoryTable, ResourceNameOrId};

/// Type number of version resources.
const RT_VERSION: u16 = 16;

/// What the resource tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Version {
    /// The file's version, of `VS_FIXEDFILEINFO`.
    pub(super) file: Option<[u16; 4]>,
    /// Keys and values, in the order of the file; of several languages all.
    pub(super) strings: Vec<(String, String)>,
}

/// Reads the version information; empty where there is none.
pub(super) fn read<Pe: ImageNtHeaders>(file: &PeFile<'_, Pe>) -> Result<Version, String> {
    let resource = resource(file).map_err(|why| why.to_string())?;
    Ok(resource.map(parse).unwrap_or_default())
}

/// The bytes of the first version resource.
fn resource<'data, Pe: ImageNtHeaders>(file: &PeFile<'data, Pe>) -> Result<Option<&'data [u8]>, object::Error> {
    let sections = file.section_table();
    let Some(directory) = file.data_directories().resource_directory(file.data(), &sections)? else { return Ok(None) };
    // Three levels: type, name, language.
    let root = directory.root()?;
    let is_version = |id| matches!(id, ResourceNameOrId::Id(RT_VERSION));
    let Some(kind) = root.entries.iter().find(|entry| is_version(entry.name_or_id())) else { return Ok(None) };
    let first = |table: Option<ResourceDirectoryTable<'data>>| table.and_then(|table| table.entries.first());
    let Some(name) = first(kind.data(directory)?.table()) else { return Ok(None) };
    let Some(language) = first(name.data(directory)?.table()) else { return Ok(None) };
    let Some(data) = language.data(directory)?.data() else { return Ok(None) };
    let bytes = sections.pe_data_at(file.data(), data.offset_to_data.get(LE));
    Ok(bytes.map(|bytes| bytes.get(..data.size.get(LE) as usize).unwrap_or(bytes)))
}

fn parse(resource: &[u8]) -> Version {
    let Some(root) = Block::read(resource, 0) else { return Version::default() };
    let mut strings = Vec::new();
    for info in root.children().filter(|info| info.key == "StringFileInfo") {
        for table in info.children() {
            strings.extend(table.children().map(|string| (string.key.clone(), string.text())));
        }
    }
    Version { file: file_version(root.value), strings }
}

/// `VS_FIXEDFILEINFO`: a signature, a version of the structure, then the file's version, its two upper numbers first.
fn file_version(fixed: &[u8]) -> Option<[u16; 4]> {
    let word = |at: usize| Some(u32::from_le_bytes(*fixed.get(at..)?.first_chunk()?));
    let (upper, lower) = (word(8)?, word(12)?);
    let numbers = [upper >> 16, upper, lower >> 16, lower].map(|number| number as u16);
    (word(0)? == 0xfeef_04bd).then_some(numbers)
}

/// A block of the tree.
struct Block<'b> {
    key: String,
    value: &'b [u8],
    /// The blocks below, with what stands before them, from which multiples of four count.
    whole: &'b [u8],
    /// Where in `whole` the blocks below begin.
    below: usize,
}

impl<'b> Block<'b> {
    /// The block at `at` of `bytes`; `None` when it does not fit.
    fn read(bytes: &'b [u8], at: usize) -> Option<Self> {
        let word = |at: usize| Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let len = usize::from(word(at)?);
        let whole = bytes.get(..at.checked_add(len)?)?;
        let (value_len, kind) = (usize::from(word(at + 2)?), word(at + 4)?);
        let units = whole.get(at + 6..)?.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
        let key: Vec<u16> = units.take_while(|&unit| unit != 0).collect();
        let value_at = aligned(at + 6 + 2 * (key.len() + 1));
        // The length of a text (kind 1) is in characters. Some compilers count a byte too many.
        let value_bytes = if kind == 1 { value_len * 2 } else { value_len };
        let value_end = (value_at + value_bytes).min(whole.len());
        let value = whole.get(value_at..value_end).unwrap_or_default();
        Some(Self { key: String::from_utf16_lossy(&key), value, whole, below: aligned(value_end.max(value_at)) })
    }

    fn children(&self) -> impl Iterator<Item = Block<'b>> {
        let (whole, mut at) = (self.whole, self.below);
        std::iter::from_fn(move || {
            let child = Block::read(whole, at)?;
            // A block is longer than its header, so this ends.
            let end = aligned(child.whole.len());
            at = if end > at { end } else { whole.len() };
            Some(child)
        })
    }

    fn text(&self) -> String {
        let units = self.value.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
        String::from_utf16_lossy(&units.take_while(|&unit| unit != 0).collect::<Vec<_>>())
    }
}

fn aligned(at: usize) -> usize {
    at.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(kind: u16, key: &str, value: &[u8], children: &[Vec<u8>]) -> Vec<u8> {
        let pad = |bytes: &mut Vec<u8>| bytes.resize(bytes.len().next_multiple_of(4), 0);
        let mut out = vec![0; 6];
        out.extend(key.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
        pad(&mut out);
        out.extend(value);
        for child in children {
            pad(&mut out);
            out.extend(child);
        }
        let value_len = if kind == 1 { value.len() / 2 } else { value.len() } as u16;
        let len = out.len() as u16;
        out[..2].copy_from_slice(&len.to_le_bytes());
        out[2..4].copy_from_slice(&value_len.to_le_bytes());
        out[4..6].copy_from_slice(&kind.to_le_bytes());
        out
    }

    fn string(key: &str, value: &str) -> Vec<u8> {
        let value: Vec<u8> = value.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        block(1, key, &value, &[])
    }

    fn resource() -> Vec<u8> {
        let table = block(
            1,
            "040904B0",
            &[],
            &[string("CompanyName", "Microsoft Corporation"), string("Empty", ""), string("Ä", "日本")],
        );
        let info = block(1, "StringFileInfo", &[], &[table]);
        let var = block(1, "VarFileInfo", &[], &[block(0, "Translation", &[9, 4, 0xb0, 4], &[])]);
        block(0, "VS_VERSION_INFO", &[7; 52], &[info, var])
    }

    #[test]
    fn strings_of_a_resource() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let expected = [pair("CompanyName", "Microsoft Corporation"), pair("Empty", ""), pair("Ä", "日本")];
        assert_eq!(parse(&resource()), Version { file: None, strings: expected.to_vec() });
        let fixed = [0xfeef_04bdu32, 0x10000, 0x0006_0001, 0x1db1_446a].map(u32::to_le_bytes).concat();
        assert_eq!(file_version(&fixed), Some([6, 1, 7601, 17514]));
        assert_eq!(file_version(&fixed[..15]), None);
    }

    #[test]
    fn a_cut_or_looping_resource_ends() {
        let whole = resource();
        for len in 0..whole.len() {
            assert!(parse(&whole[..len]).strings.len() <= 3);
        }
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 0xff;
            parse(&broken);
        }
        // Blocks of length 0 must not be read for ever.
        assert_eq!(parse(&[0; 400]), Version::default());
    }
}
