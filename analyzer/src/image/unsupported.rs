//! Formats that are known and not read yet. They are refused by name: taken for raw, an image of theirs would give wrong
//! addresses without a word.

use super::run_layer::end_of;
use super::vote::{Probe, Vote};
use super::{PhysicalMemory, array};
use crate::addr::Pa;
use std::io::Read;

/// The name in the voting log.
pub(super) const NAME: &str = "formats not supported yet";

/// Magic bytes at the start of a file, what it then is, and what to do.
const MAGICS: &[(&[u8], &str, &str)] = &[
    (b"DISKDUMP", "a compressed diskdump image", OTHER_FORMAT),
    (b"LVF\x09\x0d\x0a\xff\0", "a logical EWF (L01) image, which holds files and no memory", OTHER_FORMAT),
    (b"EVF2\x0d\x0a\x81\0", "an EWF2 (Ex01) image", OTHER_FORMAT),
    (b"LibvirtQemudPart", "a libvirt save file that was not finished", OTHER_FORMAT),
    (b"\x04\x22\x4d\x18", "compressed with lz4", "`lz4 -d` unpacks it"),
];

const OTHER_FORMAT: &str = "raw, LiME and ELF core images are read";
/// The signatures of hiberfil.sys, from Windows XP to 11.
const HIBERNATION: [&[u8; 4]; 6] = [b"hibr", b"wake", b"HIBR", b"WAKE", b"RSTR", b"HORM"];

/// Recognises what is refused.
pub(super) fn probe(&Probe { base, .. }: &Probe<'_>) -> Vote {
    let mut start = [0; 32];
    // A shorter file leaves zeros, which no magic has at its end but for those that mean them.
    let _short = base.read(Pa(0), &mut start).is_err();
    let found = MAGICS
        .iter()
        .find(|(magic, ..)| start.starts_with(magic))
        .map(|&(_, what, hint)| (what, hint))
        .or_else(|| checked_magic(&start))
        .or_else(|| {
            is_zlib_of_lime(base.as_ref()).then_some(("a LiME image compressed with zlib", "`pigz -dz` unpacks it"))
        })
        .or_else(|| is_aff4(base.as_ref()).then_some(("an AFF4 volume", OTHER_FORMAT)));
    match found {
        Some((what, hint)) => Vote::Broken(format!("it is {what}, which is not supported yet; {hint}")),
        None => Vote::no("none of their magic numbers"),
    }
}

/// Magics that are too short to be believed without a second look.
fn checked_magic(start: &[u8; 32]) -> Option<(&'static str, &'static str)> {
    let number = |at: usize| start.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
    // bzip2: block size 1 to 9, then the block magic (pi).
    if start.starts_with(b"BZh") && start.get(4..10) == Some(b"\x31\x41\x59\x26\x53\x59") {
        return Some(("compressed with bzip2", "`bunzip2 -k` unpacks it"));
    }
    // PO_MEMORY_IMAGE: PageSize is at 0x14 in 32-bit and at 0x18 in 64-bit files.
    if HIBERNATION.iter().any(|magic| start.starts_with(*magic)) && [number(0x14), number(0x18)].contains(&4096) {
        return Some(("a Windows hibernation file (hiberfil.sys)", OTHER_FORMAT));
    }
    None
}

/// What LiME writes with `compress=1`: one zlib stream. Its two bytes of header are too little to be believed, so that what
/// they begin is looked at.
fn is_zlib_of_lime(base: &dyn PhysicalMemory) -> bool {
    const ENOUGH: u64 = 0x1000;
    let mut start = vec![0; end_of(base).min(ENOUGH) as usize];
    if base.read(Pa(0), &mut start).is_err() || start.first() != Some(&0x78) {
        return false;
    }
    let mut magic = [0; 4];
    flate2::read::ZlibDecoder::new(&start[..]).read_exact(&mut magic).is_ok() && magic == super::lime::MAGIC
}

/// An AFF4 volume is a zip file whose comment is the volume's name. winpmem 2 stored memory uncompressed in front, so the
/// start of the file may look like plain memory: the end tells.
fn is_aff4(base: &dyn PhysicalMemory) -> bool {
    const RECORD: &[u8] = b"PK\x05\x06";
    const RECORD_BYTES: u64 = 22;
    let end = end_of(base);
    let tail_bytes = end.min(RECORD_BYTES + 0xffff);
    let mut tail = vec![0; usize::try_from(tail_bytes).unwrap_or(0)];
    if base.read(Pa(end - tail_bytes), &mut tail).is_err() {
        return false;
    }
    memchr::memmem::rfind_iter(&tail, RECORD).any(|at| {
        let comment = at + usize::try_from(RECORD_BYTES).unwrap_or(0);
        tail.get(comment..).is_some_and(|comment| comment.starts_with(b"aff4://"))
    }) || array::<4>(base, 0).is_some_and(|start| &start == b"PK\x03\x04") && first_member_is_aff4(base)
}

/// A volume whose end was cut off: its first member still tells.
fn first_member_is_aff4(base: &dyn PhysicalMemory) -> bool {
    const NAME_AT: u64 = 30;
    array::<21>(base, NAME_AT)
        .is_some_and(|name| &name == b"container.description" || name.starts_with(b"aff4%3A%2F%2F"))
}
