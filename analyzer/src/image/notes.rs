//! Notes of ELF cores and kdump images: what they tell about the machine.
//!
//! Source: the ELF specification for their form; QEMU's `target/i386/arch_dump.c` (note "QEMU"), VirtualBox' `dbgfcorefmt.h`
//! (notes "VBCORE" and "VBCPU"), the kernel's `vmcore_info.c` (note "VMCOREINFO").

use super::Hints;
use crate::addr::Pa;
use crate::vmcoreinfo::VmcoreInfo;

/// More than any machine writes: a page or two for each processor.
pub(super) const MAX_BYTES: u64 = 64 << 20;
/// More processors than any machine has.
const MAX_PROCESSORS: usize = 1 << 14;
/// CR3 in the note of a processor: offset in the descriptor, for QEMU (64-bit) and for VirtualBox.
const QEMU_CR3: usize = 0x1a0;
const VIRTUALBOX_CR3: usize = 304;
const NT_PRSTATUS: u32 = 1;
/// What a process was started with, and its files: notes that kernels have in cores of processes alone (fs/binfmt_elf.c).
const NT_AUXV: u32 = 6;
const NT_FILE: u32 = 0x4649_4c45;

/// What the notes say that lie one after another in `bytes`. What is cut short ends them.
pub(super) fn hints(mut bytes: &[u8]) -> Hints {
    let mut hints = Hints::default();
    let mut processors = 0_u32;
    while let Some((note, rest)) = note(bytes) {
        bytes = rest;
        match (note.name, note.kind) {
            (b"QEMU", 0) => add_cr3(&mut hints, note.descriptor, QEMU_CR3),
            (b"VBCPU", _) => {
                processors += 1;
                add_cr3(&mut hints, note.descriptor, VIRTUALBOX_CR3);
            }
            (b"VBCORE", _) => {
                if let Some(version) = number::<4>(note.descriptor, 12).map(u32::from_le_bytes) {
                    let (major, minor, build) = (version >> 24, version >> 16 & 0xff, version & 0xffff);
                    hints.facts.push(("written by".into(), format!("VirtualBox {major}.{minor}.{build}")));
                }
            }
            (b"VMCOREINFO", _) => hints.vmcoreinfo.0.extend(VmcoreInfo::parse(note.descriptor).0),
            (b"CORE", NT_PRSTATUS) => processors += 1,
            _ => {}
        }
    }
    if processors > 0 {
        hints.facts.push(("processors".into(), processors.to_string()));
    }
    hints
}

/// Whether the notes are of the core file of a process.
pub(super) fn are_of_process(mut bytes: &[u8]) -> bool {
    while let Some((note, rest)) = note(bytes) {
        bytes = rest;
        if matches!((note.name, note.kind), (b"CORE", NT_AUXV | NT_FILE)) {
            return true;
        }
    }
    false
}

struct Note<'b> {
    name: &'b [u8],
    kind: u32,
    descriptor: &'b [u8],
}

/// The first note of `bytes`, and what is behind it.
fn note(bytes: &[u8]) -> Option<(Note<'_>, &[u8])> {
    let word = |at| number::<4>(bytes, at).map(u32::from_le_bytes);
    let (name_bytes, descriptor_bytes, kind) = (word(0)? as usize, word(4)? as usize, word(8)?);
    let padded = |bytes: usize| bytes.checked_next_multiple_of(4);
    let name_end = padded(name_bytes)?.checked_add(12)?;
    let end = padded(descriptor_bytes)?.checked_add(name_end)?;
    let name = bytes.get(12..name_bytes.checked_add(12)?)?;
    let name = name.strip_suffix(b"\0").unwrap_or(name);
    let descriptor = bytes.get(name_end..name_end.checked_add(descriptor_bytes)?)?;
    // The padding of the last one may be missing.
    Some((Note { name, kind, descriptor }, bytes.get(end..).unwrap_or_default()))
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// The page tables that a processor used. A processor that was not started has none.
fn add_cr3(hints: &mut Hints, descriptor: &[u8], at: usize) {
    let cr3 = number(descriptor, at).map(u64::from_le_bytes).filter(|&cr3| cr3 != 0);
    if let Some(cr3) = cr3.map(Pa)
        && hints.dtbs.len() < MAX_PROCESSORS
        && !hints.dtbs.contains(&cr3)
    {
        hints.dtbs.push(cr3);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A note as the ELF specification lays it out.
    pub(in crate::image) fn note_bytes(name: &str, kind: u32, descriptor: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in [name.len() as u32 + 1, descriptor.len() as u32, kind] {
            bytes.extend(number.to_le_bytes());
        }
        for part in [[name.as_bytes(), b"\0"].concat(), descriptor.to_vec()] {
            bytes.extend(&part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn processors_and_vmcoreinfo_are_read() {
        let with = |at: usize, cr3: u64, bytes: usize| {
            let mut descriptor = vec![0; bytes];
            descriptor[at..at + 8].copy_from_slice(&cr3.to_le_bytes());
            descriptor
        };
        let mut core = vec![0; 24];
        core[12..16].copy_from_slice(&0x0700_0008_u32.to_le_bytes());
        let bytes = [
            note_bytes("CORE", 1, &[0; 336]),
            note_bytes("CORE", 1, &[0; 336]),
            note_bytes("QEMU", 0, &with(0x1a0, 0x5000, 0x1b8)),
            note_bytes("QEMU", 0, &with(0x1a0, 0x5000, 0x1b8)),
            note_bytes("QEMU", 0, &with(0x1a0, 0, 0x1b8)),
            note_bytes("QEMU", 0, b"short"),
            note_bytes("VBCPU", 0xb01, &with(304, 0x7000, 700)),
            note_bytes("VBCORE", 0xb00, &core),
            note_bytes("VMCOREINFO", 0, b"OSRELEASE=6.1.0\nSYMBOL(init_uts_ns)=ffffffff82a14580\nno value\nA=b=c\n\0"),
        ]
        .concat();
        let found = hints(&bytes);
        assert_eq!(found.dtbs, [Pa(0x5000), Pa(0x7000)]);
        let info = [("A", "b=c"), ("OSRELEASE", "6.1.0"), ("SYMBOL(init_uts_ns)", "ffffffff82a14580")];
        assert!(found.vmcoreinfo.0.iter().map(|(k, v)| (&**k, &**v)).eq(info));
        let facts = [("written by".to_owned(), "VirtualBox 7.0.8".to_owned()), ("processors".into(), "3".into())];
        assert_eq!(found.facts, facts);
        for cut in 0..bytes.len() {
            // No panic; and what is whole before the cut is the same.
            assert!(found.dtbs.starts_with(&hints(&bytes[..cut]).dtbs));
        }
        for at in 0..bytes.len().min(1200) {
            let mut changed = bytes.clone();
            changed[at] = 0xff;
            hints(&changed);
        }
    }
}
