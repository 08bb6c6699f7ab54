//! ELF cores of physical memory: QEMU and libvirt (`dump-guest-memory`, `virsh dump`), VirtualBox, winpmem, kdump's vmcore.
//!
//! Source: the ELF specification (gABI, `e_phnum` = `PN_XNUM` included) and files of QEMU. Each `PT_LOAD` is a run at its
//! `p_paddr`; what `p_memsz` promises beyond `p_filesz` is memory that was not written. `e_ehsize` and the versions are
//! not looked at: QEMU and VirtualBox write nonsense there. The notes tell about processors and kernel. A core without
//! program headers is one of Xen.

use super::fields::piece;
use super::run_layer::{Declared, MAX_RUNS, RunLayer, end_of};
use super::vote::{Layer, Probe, Vote};
use super::{GapKind, Hints, PhysicalMemory, array, notes, xen_core};
use crate::addr::Pa;
use std::ops::Range;
use std::sync::Arc;

const ET_CORE: u64 = 4;
const PT_LOAD: u64 = 1;
const PT_NOTE: u64 = 4;
/// `e_phnum` does not fit its 16 bits: the count is in `sh_info` of the first section header.
const PN_XNUM: u64 = 0xffff;

/// Where Linux on x86-64 maps all memory, in the kernels whose `/proc/kcore` tells no physical addresses
/// (Documentation/x86/x86_64/mm.txt of 4.10). KASLR moves the beginning by multiples of 1 GiB, and memory begins below 1 GiB.
const DIRECT_MAP: Range<u64> = 0xffff_8800_0000_0000..0xffff_c800_0000_0000;
const DIRECT_MAP_ALIGN: u64 = 1 << 30;

/// Where a class has its fields: (offset, bytes) in the structure.
struct Class {
    e_phoff: (usize, usize),
    e_shoff: (usize, usize),
    e_phentsize: usize,
    e_phnum: usize,
    sh_info: u64,
    phdr_bytes: u64,
    p_offset: (usize, usize),
    p_vaddr: (usize, usize),
    p_paddr: (usize, usize),
    p_filesz: (usize, usize),
    p_memsz: (usize, usize),
}

const CLASS_32: Class = Class {
    e_phoff: (28, 4),
    e_shoff: (32, 4),
    e_phentsize: 42,
    e_phnum: 44,
    sh_info: 28,
    phdr_bytes: 32,
    p_offset: (4, 4),
    p_vaddr: (8, 4),
    p_paddr: (12, 4),
    p_filesz: (16, 4),
    p_memsz: (20, 4),
};

const CLASS_64: Class = Class {
    e_phoff: (32, 8),
    e_shoff: (40, 8),
    e_phentsize: 54,
    e_phnum: 56,
    sh_info: 44,
    phdr_bytes: 56,
    p_offset: (8, 8),
    p_vaddr: (16, 8),
    p_paddr: (24, 8),
    p_filesz: (32, 8),
    p_memsz: (40, 8),
};

/// The little-endian number at (offset, bytes); a field that is not there is 0, which no caller takes for good.
fn field(bytes: &[u8], (at, len): (usize, usize)) -> u64 {
    let mut wide = [0; 8];
    if let (Some(from), Some(to)) = (bytes.get(at..at + len), wide.get_mut(..len)) {
        to.copy_from_slice(from);
    }
    u64::from_le_bytes(wide)
}

/// Answers whether `base` is an ELF core.
pub(super) fn probe(&Probe { base, .. }: &Probe<'_>) -> Vote {
    if array::<4>(base.as_ref(), 0).as_ref() != Some(b"\x7fELF") {
        return Vote::no("no ELF magic at the start");
    }
    let Some(ident) = array::<20>(base.as_ref(), 0) else {
        return Vote::Broken("its header is cut short".into());
    };
    let [_, _, _, _, class, data, ..] = ident;
    if data == 2 && ident.get(16..18) == Some(&[0, 4]) {
        return Vote::Broken("it is of a big-endian machine, which is not supported".into());
    }
    let kind = field(&ident, (16, 2));
    if kind != ET_CORE {
        return Vote::no(&format!("an ELF file of type {kind}, not a core ({ET_CORE})"));
    }
    let class = match class {
        1 => &CLASS_32,
        2 => &CLASS_64,
        other => return Vote::Broken(format!("its class is {other}; 1 (32-bit) and 2 (64-bit) are known")),
    };
    let mut warnings = Vec::new();
    let segments = match segments(base.as_ref(), class, &mut warnings) {
        Ok(Some(segments)) => segments,
        Ok(None) => return xen_core::probe(base),
        Err(why) => return Vote::Broken(why),
    };
    let mut layer = RunLayer::new("ELF core", Arc::clone(base), &segments.loads, &mut warnings);
    if layer.runs().is_empty() {
        let why = if warnings.is_empty() { String::new() } else { format!(" ({})", warnings.join("; ")) };
        return Vote::Broken(format!("none of its {} segments holds memory{why}", segments.loads.len()));
    }
    layer.add_missing(segments.missing, GapKind::NotDumped);
    Vote::Yes(Layer { memory: Arc::new(layer), warnings, hints: segments.hints })
}

/// What the program headers say.
struct Segments {
    /// `PT_LOAD`, in the order of the table.
    loads: Vec<Declared>,
    /// Start and length of what they have in memory and not in the file.
    missing: Vec<(u64, u64)>,
    /// What the notes say.
    hints: Hints,
}

/// Reads the program headers; `None` if there are none.
fn segments(base: &dyn PhysicalMemory, class: &Class, warnings: &mut Vec<String>) -> Result<Option<Segments>, String> {
    let header = array::<64>(base, 0).or_else(|| {
        // An ELF32 header has 52 bytes; a file of that class may be as short.
        let short = array::<52>(base, 0)?;
        let mut header = [0; 64];
        header.get_mut(..52)?.copy_from_slice(&short);
        Some(header)
    });
    let header = header.ok_or("its header is cut short")?;
    let table = field(&header, class.e_phoff);
    let entry_bytes = field(&header, (class.e_phentsize, 2));
    let count = match field(&header, (class.e_phnum, 2)) {
        PN_XNUM => {
            let section = field(&header, class.e_shoff);
            let at = section.checked_add(class.sh_info).filter(|_| section != 0);
            let count = at.and_then(|at| array::<4>(base, at)).map(u32::from_le_bytes);
            u64::from(count.ok_or("its count of segments is in a section header that is not in the file")?)
        }
        count => count,
    };
    if count == 0 {
        return Ok(None);
    }
    if entry_bytes < class.phdr_bytes {
        return Err(format!("its program headers have {entry_bytes} bytes; {} are needed", class.phdr_bytes));
    }
    let left = end_of(base).saturating_sub(table) / entry_bytes;
    let count = if count > left {
        warnings.push(format!("{count} program headers are declared at offset {table:#x}; the file holds {left}"));
        left
    } else {
        count
    };
    if count > MAX_RUNS as u64 {
        return Err(format!("it declares {count} program headers; more than {MAX_RUNS} are not read"));
    }
    let mut loads = Vec::new();
    let mut hints = Hints::default();
    let mut of_process = false;
    for index in 0..count {
        let Some(entry) = phdr(base, class, table + index * entry_bytes) else {
            warnings.push(format!("program header {index} could not be read"));
            continue;
        };
        match field(&entry, (0, 4)) {
            PT_LOAD => loads.push(entry),
            PT_NOTE => match notes_at(base, field(&entry, class.p_offset), field(&entry, class.p_filesz)) {
                Some(found) => {
                    hints.add(notes::hints(&found));
                    of_process |= notes::are_of_process(&found);
                }
                None => warnings.push(format!("the notes of program header {index} are not in the file")),
            },
            _ => {}
        }
    }
    // Kernels give a process' memory no physical addresses, and gdb neither.
    if of_process && loads.iter().all(|entry| field(entry, class.p_paddr) == 0) {
        return Err("it is the core file of a process: it has no physical memory".into());
    }
    let (address, base) = physical_addresses(class, &mut loads, warnings);
    let start = |entry: &[u8; 56]| field(entry, address).wrapping_sub(base);
    let range = |entry: &[u8; 56]| Declared {
        start: start(entry),
        bytes: field(entry, class.p_filesz),
        file_offset: field(entry, class.p_offset),
    };
    let missing = |entry: &[u8; 56]| {
        let (start, there) = (start(entry), field(entry, class.p_filesz));
        Some((start.checked_add(there)?, field(entry, class.p_memsz).checked_sub(there).filter(|&bytes| bytes > 0)?))
    };
    Ok(Some(Segments {
        loads: loads.iter().map(range).collect(),
        missing: loads.iter().filter_map(missing).collect(),
        hints,
    }))
}

/// Where the segments that hold memory have their physical addresses: in which field, and what is to be taken from it. The other
/// segments are left out.
///
/// Copies of `/proc/kcore` (fs/proc/kcore.c) list all that the kernel maps. Since 4.11 what is no memory, such as vmalloc's
/// area, has -1 for a physical address; before, nothing has one. Then memory is where the direct map shows it.
fn physical_addresses(class: &Class, loads: &mut Vec<[u8; 56]>, warnings: &mut Vec<String>) -> ((usize, usize), u64) {
    let is_none = |entry: &[u8; 56]| matches!(field(entry, class.p_paddr), 0xffff_ffff | u64::MAX);
    // One run alone at 0 is a legitimate image.
    if loads.len() < 2 || !loads.iter().all(|entry| field(entry, class.p_paddr) == 0 || is_none(entry)) {
        loads.retain(|entry| !is_none(entry));
        return (class.p_paddr, 0);
    }
    let virtual_address = |entry: &[u8; 56]| field(entry, class.p_vaddr);
    let lowest = loads.iter().map(virtual_address).filter(|va| DIRECT_MAP.contains(va)).min();
    let Some(base) = lowest.map(|lowest| lowest & !(DIRECT_MAP_ALIGN - 1)) else {
        warnings.push("no segment has a physical address: their virtual addresses are taken instead".into());
        return (class.p_vaddr, 0);
    };
    loads.retain(|entry| DIRECT_MAP.contains(&virtual_address(entry)));
    warnings.push(format!(
        "no segment has a physical address: those of the kernel's direct map are taken, from {base:#x} on"
    ));
    (class.p_vaddr, base)
}

/// The notes in a segment; `None` if they are not there.
fn notes_at(base: &dyn PhysicalMemory, offset: u64, bytes: u64) -> Option<Vec<u8>> {
    if bytes > notes::MAX_BYTES { None } else { piece(base, offset, bytes) }
}

/// The program header at `at`, of either class, in room for the larger one.
fn phdr(base: &dyn PhysicalMemory, class: &Class, at: u64) -> Option<[u8; 56]> {
    let mut entry = [0; 56];
    let bytes = entry.get_mut(..usize::try_from(class.phdr_bytes).ok()?)?;
    base.read(Pa(at), bytes).ok()?;
    Some(entry)
}
