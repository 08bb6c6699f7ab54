//! What `virsh save` and `virsh managedsave` write: a header and the domain's XML before QEMU's stream, which may be
//! compressed. The next round of the vote recognises that.
//!
//! Source: `struct _virQEMUSaveHeader` of libvirt. The numbers have the byte order of the host; the version tells which.

use super::run_layer::{Declared, RunLayer, end_of};
use super::vote::{Layer, Probe, Vote};
use super::{Hints, array};
use std::sync::Arc;

const MAGIC: &[u8; 16] = b"LibvirtQemudSave";
const HEADER_BYTES: u64 = 92;
/// What the field `compressed` says, and what the stream then begins with.
const STREAMS: [(&str, &[u8]); 6] = [
    ("raw", b"QEVM"),
    ("gzip", b"\x1f\x8b"),
    ("bzip2", b"BZh"),
    ("xz", b"\xfd7zXZ\0"),
    ("lzop", b"\x89LZO"),
    ("zstd", b"\x28\xb5\x2f\xfd"),
];

/// Answers whether `base` is a libvirt save file.
pub(super) fn probe(&Probe { base, .. }: &Probe<'_>) -> Vote {
    if array::<16>(base.as_ref(), 0).as_ref() != Some(MAGIC) {
        return Vote::no("no LibvirtQemudSave at the start");
    }
    let words = [16, 20, 24, 28].map(|at| array::<4>(base.as_ref(), at));
    let [Some(version), Some(data), Some(_running), Some(compressed)] = words else {
        return Vote::Broken("its header is cut short".into());
    };
    let number = match (u32::from_le_bytes(version), u32::from_be_bytes(version)) {
        (1 | 2, _) => u32::from_le_bytes,
        (_, 1 | 2) => u32::from_be_bytes,
        (other, _) => return Vote::Broken(format!("its version is {other:#x}; 1 and 2 are known")),
    };
    let start = HEADER_BYTES + u64::from(number(data));
    let Some((name, magic)) = STREAMS.get(number(compressed) as usize) else {
        return Vote::Broken(format!("its compression is {}; 0 to 5 are known", number(compressed)));
    };
    if *name == "lzop" {
        return Vote::Broken("it is compressed with lzop, which is not supported".into());
    }
    if !array::<6>(base.as_ref(), start).is_some_and(|bytes| bytes.starts_with(magic)) {
        return Vote::Broken(format!("its stream ({name}) is not at offset {start:#x}, behind header and XML"));
    }
    let stream = Declared { start: 0, bytes: end_of(base.as_ref()) - start, file_offset: start };
    let mut warnings = Vec::new();
    let memory = Arc::new(RunLayer::new("libvirt save", Arc::clone(base), &[stream], &mut warnings));
    Vote::Yes(Layer { memory, warnings, hints: Hints::default() })
}
