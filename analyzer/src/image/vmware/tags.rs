//! The groups and tags of a VMware snapshot file (.vmss, .vmsn).
//!
//! Source: what Volatility and LeechCore read, which agree, and generated files; VMware has published no description.
//! All numbers are little-endian. Header: magic u32 (its low four bits are the version), u32, count of groups u32, then
//! 80 bytes a group: name (64 bytes), offset u64, length u64. A group is a list of tags that two zero bytes end: flags u8
//! (bits 0 to 5 the length of the value, bits 6 and 7 the count of indices), length of the name u8, the name, the indices
//! (u32 each), the value. The lengths 62 and 63 say that the value is a block: stored length, length in memory (u64 each,
//! u32 in version 0), count of padding bytes u16, the padding, the bytes.

use super::super::fields::{piece, u16_at, u32_at, u64_at};
use super::super::run_layer::end_of;
use super::super::{PhysicalMemory, array};

const HEADER_BYTES: u64 = 12;
const GROUP_BYTES: u64 = 80;
const NAME_BYTES: usize = 64;
/// More groups than any snapshot has (about 150 are seen).
const MAX_GROUPS: u64 = 1 << 14;
/// More tags than the groups that are read have; it bounds the time that a hostile file can take.
const MAX_TAGS: usize = 1 << 18;

/// Whether a file with these first bytes is a snapshot file, and its version.
pub(super) fn version(magic: [u8; 4]) -> Option<u32> {
    let magic = u32::from_le_bytes(magic);
    matches!(magic, 0xbed2_bed0 | 0xbad1_bad1 | 0xbed2_bed2 | 0xbed3_bed3).then_some(magic & 0xf)
}

/// A part of the file.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) name: String,
    offset: u64,
    bytes: u64,
}

/// One value with its name.
#[derive(Debug, Clone)]
pub(super) struct Tag {
    pub(super) name: String,
    pub(super) indices: Vec<u32>,
    /// Offset of the value in the file.
    pub(super) offset: u64,
    /// Bytes of the value in the file.
    pub(super) bytes: u64,
    /// Bytes of the value in memory; it is compressed when they are others.
    pub(super) memory_bytes: u64,
}

impl Tag {
    /// The value as a number, when it is one of at most eight bytes.
    pub(super) fn number(&self, base: &dyn PhysicalMemory) -> Option<u64> {
        let mut wide = [0; 8];
        let bytes = usize::try_from(self.bytes).ok().filter(|&bytes| bytes > 0)?;
        wide.get_mut(..bytes)?.copy_from_slice(&piece(base, self.offset, self.bytes)?);
        Some(u64::from_le_bytes(wide))
    }
}

/// The groups that the header lists.
pub(super) fn groups(base: &dyn PhysicalMemory) -> Result<Vec<Group>, String> {
    let header = array::<12>(base, 0).ok_or("its header is cut short")?;
    let count = u64::from(u32_at(&header, 8).unwrap_or(0));
    let table = count.checked_mul(GROUP_BYTES).filter(|_| count <= MAX_GROUPS);
    let table = table.and_then(|bytes| piece(base, HEADER_BYTES, bytes));
    let table = table.ok_or_else(|| format!("its header declares {count} groups, more than the file holds"))?;
    let group = |entry: &[u8]| {
        let name = entry.get(..NAME_BYTES)?;
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        Some(Group {
            name: String::from_utf8_lossy(name).into_owned(),
            offset: u64_at(entry, NAME_BYTES)?,
            bytes: u64_at(entry, NAME_BYTES + 8)?,
        })
    };
    Ok(table.chunks_exact(GROUP_BYTES as usize).filter_map(group).collect())
}

/// The tags of a group, up to its end mark. An error gives those before the bad one besides.
pub(super) fn tags(base: &dyn PhysicalMemory, version: u32, group: &Group) -> (Vec<Tag>, Result<(), String>) {
    let file_end = end_of(base);
    let end = match group.bytes {
        0 => file_end,
        bytes => group.offset.saturating_add(bytes).min(file_end),
    };
    let mut tags = Vec::new();
    let mut at = group.offset;
    loop {
        let place = || format!("the group `{}` of the snapshot at offset {at:#x}", group.name);
        // A group may end without the mark.
        let Some([flags, name_bytes]) = array::<2>(base, at).filter(|_| at.saturating_add(2) <= end) else {
            let cut = at < end || group.offset >= file_end;
            return (tags, if cut { Err(format!("{} is cut short", place())) } else { Ok(()) });
        };
        if flags == 0 && name_bytes == 0 {
            return (tags, Ok(()));
        }
        if tags.len() == MAX_TAGS {
            return (tags, Err(format!("{} has more than {MAX_TAGS} tags", place())));
        }
        let Some(tag) = tag(base, version, at, flags, name_bytes) else {
            return (tags, Err(format!("{} has a tag that is cut short", place())));
        };
        at = match tag.offset.checked_add(tag.bytes).filter(|&next| next <= end) {
            Some(next) => next,
            None => return (tags, Err(format!("{} has a tag of {} bytes, more than are left", place(), tag.bytes))),
        };
        tags.push(tag);
    }
}

fn tag(base: &dyn PhysicalMemory, version: u32, at: u64, flags: u8, name_bytes: u8) -> Option<Tag> {
    let name_bytes = u64::from(name_bytes);
    let name = String::from_utf8_lossy(&piece(base, at.checked_add(2)?, name_bytes)?).into_owned();
    let index_bytes = u64::from(flags >> 6) * 4;
    let indices = piece(base, at.checked_add(2 + name_bytes)?, index_bytes)?;
    let indices = indices.chunks_exact(4).filter_map(|index| u32_at(index, 0)).collect();
    let value = at.checked_add(2 + name_bytes + index_bytes)?;
    let (offset, bytes, memory_bytes) = match flags & 0x3f {
        62 | 63 => {
            let wide = if version == 0 { 4 } else { 8 };
            let header = piece(base, value, wide * 2 + 2)?;
            let number = |at: usize| if wide == 4 { u32_at(&header, at).map(u64::from) } else { u64_at(&header, at) };
            let padding = u64::from(u16_at(&header, wide as usize * 2)?);
            (value.checked_add(wide * 2 + 2 + padding)?, number(0)?, number(wide as usize)?)
        }
        bytes => (value, u64::from(bytes), u64::from(bytes)),
    };
    Some(Tag { name, indices, offset, bytes, memory_bytes })
}
