//! Formats that are known and not read yet. They are refused by name: taken for raw, an image of theirs would give wrong
//! addresses without a word.

use super::vote::{Probe, Vote};
use crate::addr::Pa;

/// The name in the voting log.
pub(super) const NAME: &str = "formats not supported yet";

/// Magic bytes at the start of a file, what it then is, and what to do.
const MAGICS: &[(&[u8], &str, &str)] = &[
    (b"AVML\x02\0\0\0", "an AVML image", "`avml-convert` writes a LiME file from it"),
    (b"makedumpfile\0\0\0\0", "a flattened kdump image (makedumpfile)", OTHER_FORMAT),
    (b"KDUMP   ", "a compressed kdump image", OTHER_FORMAT),
    (b"DISKDUMP", "a compressed diskdump image", OTHER_FORMAT),
    (b"PAGEDU64", "a 64-bit Windows crash dump", OTHER_FORMAT),
    (b"PAGEDUMP", "a 32-bit Windows crash dump", OTHER_FORMAT),
    (b"LVF\x09\x0d\x0a\xff\0", "a logical EWF (L01) image, which holds files and no memory", OTHER_FORMAT),
    (b"EVF2\x0d\x0a\x81\0", "an EWF2 (Ex01) image", OTHER_FORMAT),
    (b"QEVM\0\0\0\x03", "a QEMU migration stream (savevm)", "`virsh dump --memory-only` writes an ELF core"),
    (b"LibvirtQemudSave", "a libvirt save file", "`virsh dump --memory-only` writes an ELF core"),
    (b"LibvirtQemudPart", "a libvirt save file that was not finished", OTHER_FORMAT),
    (b"\x04\x22\x4d\x18", "compressed with lz4", "`lz4 -d` unpacks it"),
];

const OTHER_FORMAT: &str = "raw, LiME and ELF core images are read";

/// Recognises what is refused.
pub(super) fn probe(&Probe { base, .. }: &Probe<'_>) -> Vote {
    let mut start = [0; 32];
    // A shorter file leaves zeros, which no magic has at its end but for those that mean them.
    let _short = base.read(Pa(0), &mut start).is_err();
    let found = MAGICS
        .iter()
        .find(|(magic, ..)| start.starts_with(magic))
        .map(|&(_, what, hint)| (what, hint))
        .or_else(|| checked_magic(&start));
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
    // mach_header: MH_MAGIC_64 or MH_MAGIC, filetype MH_CORE.
    if matches!(number(0), 0xfeed_facf | 0xfeed_face) && number(12) == 4 {
        return Some(("a Mach-O core", OTHER_FORMAT));
    }
    None
}
