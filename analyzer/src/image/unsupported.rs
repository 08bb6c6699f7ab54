//! Formats that are known and not read yet, and archives and disk images that hold no memory at its addresses. They are
//! refused by name: taken for raw, one of them would give wrong addresses without a word.
//!
//! Source: PKWARE's APPNOTE, POSIX `pax` (ustar), QEMU's `docs/interop/qcow2.txt`, Microsoft's descriptions of VHD and VHDX,
//! VMware's "Virtual Disk Format 5.0", VirtualBox' `VDICore.h` and `SSM.cpp`, 7-Zip's `7zFormat.txt`, `lzop.c`, `compress.c`.
//! A raw image may begin with anything: what is not told by at least six bytes is looked at twice.

use super::fields::{u16_at, u32_at};
use super::vote::{Probe, Vote};
use super::{PhysicalMemory, aff4};
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
    (b"\x89LZO\0\x0d\x0a\x1a\x0a", "compressed with lzop", "`lzop -dk` unpacks it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "`7z x` unpacks what is in it"),
    (b"Rar!\x1a\x07", "a RAR archive", "`unrar x` unpacks what is in it"),
    (b"vhdxfile", "a disk image (VHDX)", CONVERT),
    (b"conectix", "a disk image (dynamic VHD)", CONVERT),
    (b"# Disk DescriptorFile", "the description of a disk image (VMDK)", DISK_OF_VMWARE),
    (
        b"\x7fVirtualBox SavedState V",
        "a saved state of VirtualBox",
        "`VBoxManage debugvm VM dumpvmcore` of the resumed machine is read",
    ),
];

const OTHER_FORMAT: &str = "README.md lists the formats that are read";
const CONVERT: &str = "`qemu-img convert -O raw` unpacks an image of memory that was put into one";
const DISK_OF_VMWARE: &str =
    "a machine's memory is in its .vmem, .vmsn or .vmss; `qemu-img convert -O raw` unpacks the disk";
const QCOW2: &str = "the memory of a snapshot in it (savevm) is that of a machine started with `qemu-system-... -loadvm NAME -S`: \
                     `dump-guest-memory FILE` in its monitor writes it; `qemu-img convert -O raw` unpacks an image of memory that \
                     was put into one";

/// Recognises what is refused.
pub(super) fn probe(&Probe { base, path, .. }: &Probe<'_>) -> Vote {
    let mut start = [0; 512];
    // A shorter file leaves zeros, which no magic has at its end but for those that mean them.
    let _short = base.read(Pa(0), &mut start).is_err();
    let found = MAGICS
        .iter()
        .find(|(magic, ..)| start.starts_with(magic))
        .map(|&(_, what, hint)| (what, hint))
        .or_else(|| checked_magic(base.as_ref(), &start));
    let is_zdmp =
        || path.and_then(|path| path.extension()).is_some_and(|extension| extension.eq_ignore_ascii_case("zdmp"));
    match found {
        Some((what, hint)) => Vote::Broken(format!("it is {what}, which is not supported yet; {hint}")),
        // Its format is not published.
        None if is_zdmp() && !start.starts_with(b"PAGEDU") => Vote::Broken(
            "it is named like a compressed dump of Comae's (.zdmp), which is not supported; Comae's Z2Dmp unpacks it"
                .into(),
        ),
        None => Vote::no("none of their magic numbers"),
    }
}

/// Magics that are too short to be believed without a second look.
fn checked_magic(base: &dyn PhysicalMemory, start: &[u8; 512]) -> Option<(&'static str, &'static str)> {
    // bzip2: block size 1 to 9, then the block magic (pi).
    if start.starts_with(b"BZh") && start.get(4..10) == Some(b"\x31\x41\x59\x26\x53\x59") {
        return Some(("compressed with bzip2", "`bunzip2 -k` unpacks it"));
    }
    let big = |at: usize| u32_at(start, at).map(u32::swap_bytes);
    // qcow 1 to 3: the number of bits of a cluster.
    if start.starts_with(b"QFI\xfb") && matches!((big(4), big(20)), (Some(2 | 3), Some(9..=21)) | (Some(1), _)) {
        return Some(("a disk image (qcow2)", QCOW2));
    }
    if (start.starts_with(b"KDMV") && matches!(u32_at(start, 4), Some(1..=3)))
        || (start.starts_with(b"COWD") && u32_at(start, 4) == Some(1))
    {
        return Some(("a disk image (VMDK)", DISK_OF_VMWARE));
    }
    if start.starts_with(b"<<< ") && u32_at(start, 64) == Some(0xbeda_107f) {
        return Some(("a disk image (VDI)", CONVERT));
    }
    if is_tar(start) {
        return Some(("a tar archive", "`tar -xf` unpacks what is in it"));
    }
    if start.starts_with(b"PK\x03\x04") && is_zip(base, start) {
        return Some(("a zip archive and no AFF4 volume", "`unzip` unpacks what is in it"));
    }
    is_compress(start).then_some(("compressed with compress (.Z)", "`uncompress` or `gunzip` unpacks it"))
}

/// The magic of POSIX or GNU, and a checksum of the header that is right.
fn is_tar(header: &[u8; 512]) -> bool {
    let stored = header.get(148..156).unwrap_or_default();
    let digits = stored.iter().skip_while(|&&byte| byte == b' ').take_while(|byte| matches!(byte, b'0'..=b'7'));
    let stored = digits.fold(0, |sum, digit| sum * 8 + u32::from(digit - b'0'));
    let sum = |range: std::ops::Range<usize>| -> u32 {
        header.get(range).unwrap_or_default().iter().map(|&byte| u32::from(byte)).sum()
    };
    header.get(257..262) == Some(b"ustar") && stored == sum(0..148) + 8 * u32::from(b' ') + sum(156..512)
}

/// A member at the start, and a directory at the end that lists one there.
fn is_zip(base: &dyn PhysicalMemory, header: &[u8; 512]) -> bool {
    let half = |at| u16_at(header, at).unwrap_or(u16::MAX);
    // The version that it takes, the method, the length of the name.
    let is_member = half(4) & 0xff < 100 && half(8) < 100 && (1..0x1000).contains(&half(26));
    is_member && aff4::is_other_zip(base)
}

/// LZW codes of nine bits that are right: none is of an entry that the table does not have yet, and some are of entries.
fn is_compress(start: &[u8; 512]) -> bool {
    const CODES: usize = 112;
    const FIRST_ENTRY: usize = 257;
    let [0x1f, 0x9d, flags, data @ ..] = start else { return false };
    if flags & 0x60 != 0 || !(9..=16).contains(&(flags & 0x1f)) {
        return false;
    }
    let code = |index: usize| Some(usize::from(u16_at(data, index * 9 / 8)? >> (index * 9 % 8) & 0x1ff));
    let codes: Vec<usize> = (0..CODES).filter_map(code).collect();
    let valid = |(index, &code): (usize, &usize)| code < FIRST_ENTRY + index && code != 256;
    codes.iter().enumerate().all(valid) && codes.iter().filter(|&&code| code >= FIRST_ENTRY).count() >= 8
}

#[cfg(test)]
mod tests {
    use super::super::testing::TestMemory;
    use super::super::tests::vote;
    use super::*;
    use std::collections::HashMap;
    use std::path::Path;
    use std::sync::Arc;

    /// As compress(1) begins a file.
    fn compress(bytes: &[u8]) -> Vec<u8> {
        let mut table = HashMap::new();
        let mut codes = Vec::new();
        let mut last = u16::from(bytes[0]);
        for &byte in &bytes[1..] {
            let next = 257 + table.len() as u16;
            if let Some(&longer) = table.get(&(last, byte)) {
                last = longer;
                continue;
            }
            table.insert((last, byte), next);
            codes.push(last);
            last = u16::from(byte);
        }
        codes.push(last);
        assert!(codes.len() < 250, "nine bits a code");
        let mut bits = codes.iter().flat_map(|code| (0..9).map(move |bit| code >> bit & 1)).peekable();
        let mut file = vec![0x1f, 0x9d, 0x90];
        while bits.peek().is_some() {
            file.push((0..8).map(|bit| (bits.next().unwrap_or(0) << bit) as u8).sum());
        }
        file
    }

    fn tar() -> Vec<u8> {
        let mut header = b"mem.raw".to_vec();
        header.resize(512, 0);
        header[148..156].copy_from_slice(b"        ");
        header[257..265].copy_from_slice(b"ustar  \0");
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header
    }

    #[test]
    fn archives_and_disk_images_are_refused_by_name() {
        let numbered = |magic: &[u8], at: usize, number: &[u8]| {
            let mut file = magic.to_vec();
            file.resize(0x1000, 0);
            file[at..at + number.len()].copy_from_slice(number);
            file
        };
        let mut qcow2 = numbered(b"QFI\xfb\0\0\0\x03", 20, b"\0\0\0\x10");
        let text: Vec<u8> = (0..400_usize).map(|at| b"memory of Linux"[at * at % 11]).collect();
        let packed = compress(&text);
        let zip = aff4::plain_zip();
        for (file, what, hint) in [
            (qcow2.clone(), "a disk image (qcow2)", "dump-guest-memory"),
            (numbered(b"KDMV\x01", 0x200, b"x"), "a disk image (VMDK)", ".vmem"),
            (numbered(b"COWD\x01", 0x200, b"x"), "a disk image (VMDK)", ".vmem"),
            (b"# Disk DescriptorFile\nversion=1\n".to_vec(), "(VMDK)", ".vmem"),
            (b"vhdxfile".to_vec(), "VHDX", "qemu-img convert -O raw"),
            (numbered(b"conectix", 8, b"\0\0\0\x02"), "VHD", "qemu-img convert -O raw"),
            (numbered(b"<<< Oracle VM VirtualBox Disk Image >>>\n", 64, b"\x7f\x10\xda\xbe"), "VDI", "qemu-img"),
            (b"\x7fVirtualBox SavedState V2.0\n".to_vec(), "VirtualBox", "dumpvmcore"),
            (b"7z\xbc\xaf\x27\x1c\0\x04".to_vec(), "a 7z archive", "7z x"),
            (b"Rar!\x1a\x07\x01\0".to_vec(), "a RAR archive", "unrar"),
            (b"\x89LZO\0\x0d\x0a\x1a\x0a".to_vec(), "lzop", "lzop -dk"),
            (tar(), "a tar archive", "tar -xf"),
            (zip.clone(), "a zip archive and no AFF4 volume", "unzip"),
            (packed.clone(), "compress (.Z)", "uncompress"),
        ] {
            let why = vote(&file).err();
            assert!(why.as_ref().is_some_and(|why| why.contains(what) && why.contains(hint)), "{what}: {why:?}");
        }
        // What begins like them, and is not so.
        qcow2[23] = 0x40;
        let mut other_tar = tar();
        other_tar[3] ^= 1;
        let mut other_packed = packed;
        other_packed[40] = 0xff;
        other_packed[41] = 0xff;
        let mut zeros = b"\x1f\x9d\x90".to_vec();
        zeros.resize(0x1000, 0);
        let vectors = b"\x1f\x9d\x90\xf0\x53\xff\0\xf0\xc3\xe2\0\xf0".repeat(100);
        let cut = zip[..zip.len() - 30].to_vec();
        for file in [
            qcow2,
            other_tar,
            other_packed,
            zeros,
            vectors,
            cut,
            vec![0; 0x1000],
            numbered(b"KDMV", 4, b"\x53\xff\0\xf0"),
        ] {
            assert!(vote(&file).is_ok(), "{:x?}", &file[..16]);
        }
    }

    #[test]
    fn a_dump_of_comae_is_known_by_its_name() {
        let base: Arc<dyn PhysicalMemory> = Arc::new(TestMemory::new(vec![(0, vec![7; 0x1000])]));
        let refused = |name: &str| matches!(probe(&Probe::new(&base, Some(Path::new(name)), true)), Vote::Broken(_));
        assert!(refused("a/mem.ZDMP") && !refused("a/mem.dmp") && !refused("zdmp"));
    }
}
