//! Formats that are known and not read yet. They are refused by name: taken for raw, an image of theirs would give wrong
//! addresses without a word.

use super::vote::{Probe, Vote};
use crate::addr::Pa;

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

const OTHER_FORMAT: &str = "README.md lists the formats that are read";

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
    // bzip2: block size 1 to 9, then the block magic (pi).
    if start.starts_with(b"BZh") && start.get(4..10) == Some(b"\x31\x41\x59\x26\x53\x59") {
        return Some(("compressed with bzip2", "`bunzip2 -k` unpacks it"));
    }
    None
}
