//! The build-id of a Linux kernel, from its image as it lies in memory.
//!
//! The linker puts the kernel's notes behind its read-only data (`NOTES` in `include/asm-generic/vmlinux.lds.h`), and
//! `linux_banner` is read-only data. So the kernel's own note is the first one behind its banner, those of the ELF files
//! left aside that lie in its data (the vDSOs). A note is what `readelf -n` shows: sizes of name and contents, the type
//! `NT_GNU_BUILD_ID` (3), the name `GNU`, the contents.

use super::find_all;
use crate::addr::Pa;
use crate::image::{PhysicalMemory, Selection};
use crate::paging::PAGE_BYTES;
use memchr::memmem;
use quaid_profile::BuildId;

/// How far behind its banner the notes of a kernel may lie, in bytes: the read-only data of a distribution's has 5 to 10 MiB.
const REACH_BYTES: u64 = 32 << 20;
/// Type and name of the note.
const MARK: &[u8] = b"\x03\0\0\0GNU\0";
/// Sizes, type and name.
const HEADER_BYTES: usize = 16;
/// The longest contents, in bytes.
const MAX_ID_BYTES: usize = 64;
/// How many notes are looked at, of the few that a kernel has.
const MAX_NOTES: usize = 4096;
/// How many pages before a note the header of its ELF file may be. A vDSO has two or three, with its notes in the first.
const MAX_ELF_PAGES: u64 = 8;
/// How many program headers of such a file are read.
const MAX_SEGMENTS: u64 = 16;

/// The build-id of the kernel whose banner is at `banner`, by its notes.
pub fn of_kernel(memory: &dyn PhysicalMemory, banner: Pa) -> Option<BuildId> {
    let part = part(memory, banner, REACH_BYTES);
    let read = |at: u64, buffer: &mut [u8]| memory.read(Pa(at), buffer).is_ok();
    let hits = find_all(&part, MARK).map(|at| at.0);
    first(hits, &read)
}

/// The build-id of the kernel that `image` holds as it lies in memory (the `Image` of AArch64); its banner is at `banner`.
pub fn of_image(image: &[u8], banner: usize) -> Option<BuildId> {
    let read = |at: u64, buffer: &mut [u8]| {
        let start = usize::try_from(at).ok();
        let found = start.and_then(|start| image.get(start..start.checked_add(buffer.len())?));
        found.inspect(|bytes| buffer.copy_from_slice(bytes)).is_some()
    };
    let behind = image.get(banner..)?;
    let hits = memmem::find_iter(behind, MARK).map(|at| (banner + at) as u64);
    first(hits.take_while(|at| at - (banner as u64) < REACH_BYTES), &read)
}

/// The build-id in the kernel's notes, whose place and length its symbols tell (`__start_notes`, `__stop_notes`).
pub fn in_notes(memory: &dyn PhysicalMemory, start: Pa, bytes: u64) -> Option<BuildId> {
    let part = part(memory, start, bytes.min(REACH_BYTES));
    let read = |at: u64, buffer: &mut [u8]| memory.read(Pa(at), buffer).is_ok();
    let mut hits = find_all(&part, MARK).take(MAX_NOTES);
    hits.find_map(|mark| note(&read, mark.0))
}

/// The memory from `start` on.
fn part(memory: &dyn PhysicalMemory, start: Pa, bytes: u64) -> Selection<'_> {
    Selection::new(memory, std::iter::once(start.0..start.0.saturating_add(bytes)).collect())
}

/// Fills a buffer from an address on, or says that memory lacks a part of it.
type Read<'r> = dyn Fn(u64, &mut [u8]) -> bool + 'r;

fn first(marks: impl Iterator<Item = u64>, read: &Read<'_>) -> Option<BuildId> {
    let mut notes = marks.take(MAX_NOTES).filter_map(|mark| Some((mark, note(read, mark)?)));
    notes.find(|(mark, _)| !is_in_elf_file(read, *mark)).map(|(_, id)| id)
}

/// The build-id of the note whose type is at `mark`.
fn note(read: &Read<'_>, mark: u64) -> Option<BuildId> {
    let start = mark.checked_sub(8).filter(|start| start % 4 == 0)?;
    let mut header = [0; HEADER_BYTES];
    if !read(start, &mut header) {
        return None;
    }
    let bytes = number(&header, 4, 4)? as usize;
    if number(&header, 0, 4)? != 4 || bytes > MAX_ID_BYTES {
        return None;
    }
    let mut id = vec![0; bytes];
    // One of zeros is a place that the linker never filled.
    (read(start + HEADER_BYTES as u64, &mut id) && id.iter().any(|&byte| byte != 0))
        .then(|| BuildId::from_bytes(&id))
        .flatten()
}

/// Whether what is at `at` lies in a segment of notes of an ELF file that begins on its page or one shortly before.
fn is_in_elf_file(read: &Read<'_>, at: u64) -> bool {
    let page = PAGE_BYTES;
    let pages = (0..MAX_ELF_PAGES).filter_map(|back| (at / page).checked_sub(back)).map(|number| number * page);
    pages.into_iter().any(|start| has_notes_at(read, start, at - start).unwrap_or(false))
}

/// Whether an ELF file begins at `start` and has notes at this offset.
fn has_notes_at(read: &Read<'_>, start: u64, offset: u64) -> Option<bool> {
    const PT_NOTE: u64 = 4;
    let mut header = [0; 64];
    if !read(start, &mut header) || !header.starts_with(b"\x7fELF") {
        return None;
    }
    // Offsets of `e_phoff`, `e_phentsize` and `e_phnum`, of `p_offset` and `p_filesz`, and the width of addresses.
    let (table, entry, count, place, length, width) =
        if header.get(4) == Some(&2) { (32, 54, 56, 8, 32, 8) } else { (28, 42, 44, 4, 16, 4) };
    let (table, entry, count) =
        (number(&header, table, width)?, number(&header, entry, 2)?, number(&header, count, 2)?);
    for segment in 0..count.min(MAX_SEGMENTS) {
        let mut header = [0; 56];
        let at = start.checked_add(table)?.checked_add(segment * entry)?;
        if !read(at, header.get_mut(..if width == 8 { 56 } else { 32 })?) {
            return None;
        }
        let (begin, bytes) = (number(&header, place, width)?, number(&header, length, width)?);
        if number(&header, 0, 4)? == PT_NOTE && offset.checked_sub(begin).is_some_and(|inside| inside < bytes) {
            return Some(true);
        }
    }
    Some(false)
}

/// A little-endian number of `width` bytes.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(width)?)?;
    Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::testing::TestMemory;

    const BANNER: usize = 0x2100;

    fn note_of(id: &[u8]) -> Vec<u8> {
        [&4_u32.to_le_bytes()[..], &(id.len() as u32).to_le_bytes(), MARK, id].concat()
    }

    /// A kernel with its banner, a vDSO of its class with a note, and its own note.
    fn kernel(class: u8) -> Vec<u8> {
        let mut image = vec![0; 0x9000];
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        put(0x1000, &note_of(&[1; 20]));
        put(BANNER, b"Linux version 6.1.0 (a@b) #1\n");
        put(0x3000, b"\x7fELF");
        put(0x3004, &[class]);
        let (table, entry, count, place, length) = if class == 2 { (32, 54, 56, 8, 32) } else { (28, 42, 44, 4, 16) };
        put(0x3000 + table, &[0x40]);
        put(0x3000 + entry, &[0x38]);
        put(0x3000 + count, &[2]);
        put(0x3040 + 0x38, &[4]);
        put(0x3040 + 0x38 + place, &0x1500_u16.to_le_bytes());
        put(0x3040 + 0x38 + length, &[36]);
        put(0x4500, &note_of(&[2; 20]));
        // Not aligned, of another owner's size, too long, never filled.
        put(0x5002, &note_of(&[3; 20]));
        put(0x5100, &[&[5, 0, 0, 0, 20, 0, 0, 0][..], MARK, &[4; 20]].concat());
        put(0x5200, &note_of(&[5; 65]));
        put(0x5300, &note_of(&[0; 20]));
        put(0x6000, &note_of(&[6; 16]));
        put(0x6100, &note_of(&[7; 20]));
        image
    }

    #[test]
    fn the_first_note_behind_the_banner_is_the_kernel_s_but_for_those_of_elf_files_in_it() {
        for class in [1, 2] {
            let image = kernel(class);
            let expected = BuildId::from_bytes(&[6; 16]);
            assert_eq!(of_image(&image, BANNER), expected);
            let memory = TestMemory::new(vec![(0x40_0000, image)]);
            assert_eq!(of_kernel(&memory, Pa(0x40_0000 + BANNER as u64)), expected);
            assert_eq!(in_notes(&memory, Pa(0x40_6100), 0x40), BuildId::from_bytes(&[7; 20]));
            assert_eq!(in_notes(&memory, Pa(0x40_7000), 0x40), None);
        }
    }

    #[test]
    fn headers_that_lead_nowhere_are_no_file() {
        let mut image = kernel(2);
        image[0x3000 + 32..0x3000 + 40].fill(0xff);
        assert_eq!(of_image(&image, BANNER), BuildId::from_bytes(&[2; 20]));
        assert_eq!(of_image(&image[..0x6008], BANNER), BuildId::from_bytes(&[2; 20]));
        assert_eq!(of_image(&image, 0x1_0000), None);
    }
}
