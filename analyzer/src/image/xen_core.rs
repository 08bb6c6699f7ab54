//! Xen's cores of a domain (`xl dump-core`): ELF without program headers, the memory in sections.
//!
//! Source: Xen's `docs/misc/dump-core-format.txt`. `.xen_pages` has the pages, one after another; `.xen_pfn` the PFN of
//! each, all ones where there is none, or `.xen_p2m` its PFN and its frame of the host. The sections go by their names,
//! in any order.

use super::fields::{piece, u16_at, u32_at, u64_at};
use super::run_layer::{Declared, RunLayer, end_of, holds};
use super::vote::{Layer, Vote};
use super::{Hints, PhysicalMemory, array};
use std::sync::Arc;

/// More sections than the format has.
const MAX_SECTIONS: u64 = 64;
const MAX_NAMES: u64 = 1 << 16;
const SECTION_HEADER_BYTES: u64 = 64;
/// The note with the magic number, the counts and the page size.
const XEN_ELFNOTE_DUMPCORE_HEADER: u32 = 0x200_0001;
const MAGIC: u64 = 0xf00f_ebed;
const MAGIC_HVM: u64 = 0xf00f_ebee;
/// Where the descriptor of the note "Xen" begins: name length, descriptor length, type, the name and its padding.
const DESCRIPTOR: usize = 16;
/// Entries of a table that are read at once.
const BLOCK_ENTRIES: u64 = 4096;

/// Where a section is in the file: offset and bytes.
type Section = (u64, u64);

/// Opens an ELF core without program headers.
pub(super) fn probe(base: &Arc<dyn PhysicalMemory>) -> Vote {
    let mut warnings = Vec::new();
    let declared = match read(base.as_ref(), &mut warnings) {
        Ok(declared) => declared,
        Err(why) => {
            return Vote::Broken(format!("it has no program headers, and cannot be read as a core of Xen: {why}"));
        }
    };
    let layer = RunLayer::new("ELF core (Xen)", Arc::clone(base), &declared, &mut warnings);
    if layer.runs().is_empty() {
        return Vote::Broken(format!("it is a core of Xen and holds no memory ({})", warnings.join("; ")));
    }
    Vote::Yes(Layer { memory: Arc::new(layer), warnings, hints: Hints::default() })
}

fn read(base: &dyn PhysicalMemory, warnings: &mut Vec<String>) -> Result<Vec<Declared>, String> {
    let header = array::<64>(base, 0).filter(|header| header.get(4) == Some(&2));
    let number = |at: usize| u16_at(header.as_ref()?, at).map(u64::from);
    let table = header.as_ref().and_then(|header| u64_at(header, 40));
    let header = (|| Some((table?, number(58)?, number(60)?, number(62)?)))();
    let (table, entry_bytes, count, names) = header.ok_or("it is no 64-bit ELF")?;
    if count > MAX_SECTIONS || entry_bytes < SECTION_HEADER_BYTES {
        return Err(format!("it declares {count} section headers of {entry_bytes} bytes"));
    }
    // Where its name is among the names, and where it is.
    let section = |index: u64| -> Option<(usize, Section)> {
        let header = array::<{ SECTION_HEADER_BYTES as usize }>(base, table.checked_add(index * entry_bytes)?)?;
        Some((u32_at(&header, 0)? as usize, (u64_at(&header, 24)?, u64_at(&header, 32)?)))
    };
    let (_, (names_at, names_bytes)) =
        section(names).ok_or_else(|| format!("its section headers, at offset {table:#x}, are not all in the file"))?;
    let names = (names_bytes <= MAX_NAMES).then(|| piece(base, names_at, names_bytes)).flatten();
    let names = names.ok_or("the names of its sections are not in the file")?;
    let find = |name: &str| -> Option<Section> {
        let wanted = [name.as_bytes(), b"\0"].concat();
        let is_it = |&(name, _): &(usize, Section)| names.get(name..).is_some_and(|rest| rest.starts_with(&wanted));
        (0..count).filter_map(section).find(is_it).map(|(_, place)| place)
    };
    let (note_at, note_bytes) = find(".note.Xen").ok_or("it has no section .note.Xen")?;
    let page_bytes = page_bytes(base, note_at, note_bytes)?;
    let pages = find(".xen_pages").ok_or("it has no section .xen_pages")?;
    let (table, entry_bytes) = match (find(".xen_pfn"), find(".xen_p2m")) {
        (Some(table), _) => (table, 8),
        (None, Some(table)) => {
            warnings.push(
                "the domain is paravirtualised: its page tables hold frames of the host, and virtual addresses cannot be \
                 translated by them"
                    .into(),
            );
            (table, 16)
        }
        (None, None) => return Err("it has neither .xen_pfn nor .xen_p2m".into()),
    };
    frames(base, table, entry_bytes, pages, page_bytes, warnings)
}

/// The page size that the notes say.
fn page_bytes(base: &dyn PhysicalMemory, mut at: u64, bytes: u64) -> Result<u64, String> {
    let end = at.saturating_add(bytes).min(end_of(base));
    while let Some(note) = array::<DESCRIPTOR>(base, at).filter(|_| at < end) {
        let padded = |at: usize| u32_at(&note, at).map(|bytes| u64::from(bytes).next_multiple_of(4));
        let (Some(name_bytes), Some(descriptor_bytes)) = (padded(0), padded(4)) else { break };
        if u32_at(&note, 8) == Some(XEN_ELFNOTE_DUMPCORE_HEADER) && note.ends_with(b"Xen\0") {
            let header = array::<32>(base, at + DESCRIPTOR as u64);
            let header = header.as_ref().and_then(|header| Some((u64_at(header, 0)?, u64_at(header, 24)?)));
            let (magic, page_bytes) = header.ok_or("its header note is cut short")?;
            if magic != MAGIC && magic != MAGIC_HVM {
                return Err(format!("its header note has the magic {magic:#x}"));
            }
            if !page_bytes.is_power_of_two() || !(0x1000..=0x1_0000).contains(&page_bytes) {
                return Err(format!("its header note says that a page has {page_bytes} bytes"));
            }
            return Ok(page_bytes);
        }
        at += 12 + name_bytes + descriptor_bytes;
    }
    Err("its notes have no header of Xen".into())
}

/// The pages, each at its PFN; neighbours in both the machine and the file are one range.
fn frames(
    base: &dyn PhysicalMemory,
    (table, table_bytes): Section,
    entry_bytes: u64,
    (pages, pages_bytes): Section,
    page_bytes: u64,
    warnings: &mut Vec<String>,
) -> Result<Vec<Declared>, String> {
    let entries = table_bytes / entry_bytes;
    if !holds(base, table, table_bytes) {
        return Err(format!("its table of {entries} pages, at offset {table:#x}, is not all in the file"));
    }
    if pages_bytes / page_bytes < entries {
        warnings.push(format!("its section of pages has {pages_bytes} bytes, for {entries} pages"));
    }
    let entries = entries.min(pages_bytes / page_bytes);
    let mut declared: Vec<Declared> = Vec::new();
    let mut index = 0;
    while index < entries {
        let count = BLOCK_ENTRIES.min(entries - index);
        let block = piece(base, table + index * entry_bytes, count * entry_bytes);
        let block = block.ok_or("its table of pages cannot be read")?;
        for entry in 0..count {
            let Some(pfn) = u64_at(&block, (entry * entry_bytes) as usize) else { break };
            let file_offset = (index + entry).checked_mul(page_bytes).and_then(|at| at.checked_add(pages));
            let (Some(file_offset), Some(start)) = (file_offset, pfn.checked_mul(page_bytes)) else { continue };
            match declared.last_mut() {
                Some(last) if last.start + last.bytes == start && last.file_offset + last.bytes == file_offset => {
                    last.bytes += page_bytes;
                }
                _ => declared.push(Declared { start, bytes: page_bytes, file_offset }),
            }
        }
        index += count;
    }
    Ok(declared)
}
