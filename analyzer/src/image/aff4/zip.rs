//! The members of an AFF4 volume, which is a zip file.
//!
//! Source: PKWARE's APPNOTE (end of central directory, its Zip64 form, central and local headers). All numbers are
//! little-endian. Only the central directory is believed; of a local header the lengths of its name and extra field are
//! needed to find the data.

use super::super::fields::{piece, u16_at, u32_at, u64_at};
use super::super::run_layer::end_of;
use super::super::{PhysicalMemory, array};
use std::io::Read as _;

const END_RECORD: &[u8] = b"PK\x05\x06";
const END_RECORD_BYTES: u64 = 22;
const CENTRAL: &[u8] = b"PK\x01\x02";
const CENTRAL_BYTES: usize = 46;
/// A central directory for a million members; volumes of a terabyte have some ten thousand.
const MAX_DIRECTORY_BYTES: u64 = 128 << 20;
/// The most that a member is unpacked to, in bytes. Those that are read whole are indexes and descriptions.
const MAX_MEMBER_BYTES: u64 = 64 << 20;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// A file in the archive.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) name: String,
    method: u16,
    packed_bytes: u64,
    pub(super) header_at: u64,
}

/// The archive.
pub(super) struct Archive {
    pub(super) comment: String,
    pub(super) members: Vec<Member>,
}

impl Archive {
    /// Whether it is an AFF4 volume, by the name in its comment or by the first member of older ones.
    pub(super) fn is_volume(&self) -> bool {
        self.comment.starts_with("aff4://") || self.members.iter().any(|member| member.name == "container.description")
    }
}

/// The archive at the end of the layer; `None` when there is no zip file.
pub(super) fn open(base: &dyn PhysicalMemory) -> Option<Result<Archive, String>> {
    let end = end_of(base);
    let tail_bytes = end.min(END_RECORD_BYTES + 0xffff);
    let tail = piece(base, end - tail_bytes, tail_bytes)?;
    let in_tail = memchr::memmem::rfind_iter(&tail, END_RECORD).find(|&at| {
        // The comment goes up to the end of the file.
        u16_at(&tail, at + 20).is_some_and(|comment| at + 22 + usize::from(comment) == tail.len())
    })?;
    let record = tail.get(in_tail..)?;
    let record_at = end - tail_bytes + in_tail as u64;
    let comment = String::from_utf8_lossy(record.get(22..)?).trim_end_matches(['\0', '\n', ' ']).to_owned();
    Some(read(base, record, record_at).map(|members| Archive { comment, members }))
}

fn read(base: &dyn PhysicalMemory, record: &[u8], record_at: u64) -> Result<Vec<Member>, String> {
    let number = |at: usize| u32_at(record, at).map_or(0, u64::from);
    let (mut bytes, mut at, mut directory_end) = (number(12), number(16), record_at);
    // Zip64: a locator of 20 bytes in front of the record names the record that has 64-bit numbers.
    if let Some(locator) = record_at.checked_sub(20).and_then(|at| piece(base, at, 20))
        && locator.starts_with(b"PK\x06\x07")
    {
        let wide_at = u64_at(&locator, 8).unwrap_or(u64::MAX);
        // What was put in front of the archive moves everything; the record is then right in front of its locator.
        let wide_at = if piece(base, wide_at, 4).is_some_and(|magic| magic == b"PK\x06\x06") {
            wide_at
        } else {
            record_at.saturating_sub(20 + 56)
        };
        let wide = piece(base, wide_at, 56).filter(|wide| wide.starts_with(b"PK\x06\x06"));
        let wide = wide.ok_or_else(|| format!("the Zip64 end record is not at offset {wide_at:#x}"))?;
        bytes = u64_at(&wide, 40).unwrap_or(0);
        at = u64_at(&wide, 48).unwrap_or(0);
        directory_end = wide_at;
    }
    let start = directory_end.checked_sub(bytes).filter(|_| bytes <= MAX_DIRECTORY_BYTES);
    let start = start.ok_or_else(|| format!("the central directory cannot have {bytes} bytes"))?;
    let moved = start.checked_sub(at).ok_or("the central directory begins in front of the file")?;
    let directory = piece(base, start, bytes).ok_or("the central directory cannot be read")?;
    let mut members = Vec::new();
    let mut rest = directory.as_slice();
    while rest.starts_with(CENTRAL) {
        let (member, bytes) = member(rest, moved)
            .ok_or_else(|| format!("entry {} of the central directory is cut short", members.len()))?;
        members.push(member);
        rest = rest.get(bytes..).unwrap_or_default();
    }
    Ok(members)
}

/// The entry at the start of `entry`, and its length.
fn member(entry: &[u8], moved: u64) -> Option<(Member, usize)> {
    let length = |at| u16_at(entry, at).map(usize::from);
    let (name_bytes, extra_bytes, comment_bytes) = (length(28)?, length(30)?, length(32)?);
    let name = entry.get(CENTRAL_BYTES..CENTRAL_BYTES + name_bytes)?;
    let extra = entry.get(CENTRAL_BYTES + name_bytes..CENTRAL_BYTES + name_bytes + extra_bytes)?;
    let (mut packed_bytes, mut header_at) = (u64::from(u32_at(entry, 20)?), u64::from(u32_at(entry, 42)?));
    let whole = u32_at(entry, 24)?;
    // Zip64 extra field: those of the numbers that are all ones in the entry, in this order.
    let mut wide = extra_field(extra, 1).unwrap_or_default();
    let mut next = || {
        let number = u64_at(wide, 0)?;
        wide = wide.get(8..)?;
        Some(number)
    };
    if whole == u32::MAX {
        next()?;
    }
    if packed_bytes == u64::from(u32::MAX) {
        packed_bytes = next()?;
    }
    if header_at == u64::from(u32::MAX) {
        header_at = next()?;
    }
    let member = Member {
        name: String::from_utf8_lossy(name).into_owned(),
        method: u16_at(entry, 10)?,
        packed_bytes,
        header_at: header_at.checked_add(moved)?,
    };
    Some((member, CENTRAL_BYTES + name_bytes + extra_bytes + comment_bytes))
}

fn extra_field(mut extra: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (id, bytes) = (u16_at(extra, 0)?, usize::from(u16_at(extra, 2)?));
        if id == wanted {
            return extra.get(4..4 + bytes);
        }
        extra = extra.get(4 + bytes..)?;
    }
}

impl Member {
    /// Where the data begins, and its length in the archive; the file has it all.
    fn data(&self, base: &dyn PhysicalMemory) -> Option<(u64, u64)> {
        let header = array::<30>(base, self.header_at).filter(|header| header.starts_with(b"PK\x03\x04"))?;
        let skipped = 30 + u64::from(u16_at(&header, 26)?) + u64::from(u16_at(&header, 28)?);
        let start = self.header_at.checked_add(skipped)?;
        (start.checked_add(self.packed_bytes)? <= end_of(base)).then_some((start, self.packed_bytes))
    }

    /// Where the data is (offset, bytes), when it is not compressed.
    pub(super) fn stored(&self, base: &dyn PhysicalMemory) -> Result<(u64, u64), String> {
        if self.method != STORED {
            return Err(format!("the member `{}` is compressed, which is not supported for it", self.name));
        }
        self.data(base).ok_or_else(|| format!("the member `{}` is not in the file", self.name))
    }

    /// The whole contents.
    pub(super) fn read(&self, base: &dyn PhysicalMemory) -> Result<Vec<u8>, String> {
        let wrong = |what: &str| format!("the member `{}` at offset {:#x} {what}", self.name, self.header_at);
        let (at, bytes) = self.data(base).ok_or_else(|| wrong("is not in the file"))?;
        if bytes > MAX_MEMBER_BYTES {
            return Err(wrong(&format!("has {bytes} bytes; more than {MAX_MEMBER_BYTES} are not read at once")));
        }
        let packed = piece(base, at, bytes).ok_or_else(|| wrong("cannot be read"))?;
        match self.method {
            STORED => Ok(packed),
            DEFLATED => {
                let mut contents = Vec::new();
                let read =
                    flate2::read::DeflateDecoder::new(&packed[..]).take(MAX_MEMBER_BYTES).read_to_end(&mut contents);
                read.map_err(|error| wrong(&format!("is damaged: {error}")))?;
                Ok(contents)
            }
            method => Err(wrong(&format!("is packed by method {method}; 0 and 8 are known"))),
        }
    }
}
