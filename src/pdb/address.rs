//! From the section and offset of a symbol record to the address in the image.
//!
//! Microsoft rearranges its binaries after linking (BBT). Such a PDB keeps the section headers of before and OMAP, a
//! sorted table of (RVA before, RVA after); an RVA after of 0 says that the code was removed. Tools of others (Syzygy)
//! keep one set of section headers only, and mark removed code by 0x80000000.

use super::bytes::Reader;
use std::cmp::Ordering;

/// Where a symbol is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// At this RVA of the image.
    Rva(u32),
    /// Nowhere: it is a number, not an address.
    Absolute(u32),
    /// Its code was removed from the image.
    Removed,
    /// Its section does not exist.
    NoSection,
}

/// Section headers and OMAP.
#[derive(Debug, Default)]
pub(super) struct AddressMap {
    /// Virtual address of each section, in the order of the headers.
    sections: Vec<u32>,
    /// (RVA before, RVA after), sorted by the first.
    omap: Vec<(u32, u32)>,
}

impl AddressMap {
    const SECTION_HEADER_BYTES: usize = 40;
    /// No image is this large.
    const REMOVED: u32 = 0x8000_0000;

    /// From the streams as they are in the PDB: section headers (of before, where there are such) and OMAP pairs.
    pub(super) fn new(sections: &[u8], omap: &[u8]) -> Self {
        let headers = sections.chunks_exact(Self::SECTION_HEADER_BYTES);
        let virtual_address = |header: &[u8]| Reader(header.get(12..)?).u32();
        let pair = |pair: &[u8]| {
            let mut reader = Reader(pair);
            Some((reader.u32()?, reader.u32()?))
        };
        let mut omap: Vec<(u32, u32)> = omap.chunks_exact(8).filter_map(pair).collect();
        if !omap.is_sorted_by_key(|(before, _)| *before) {
            omap.sort_by_key(|(before, _)| *before);
        }
        Self { sections: headers.filter_map(virtual_address).collect(), omap }
    }

    /// Whether there are section headers at all.
    pub(super) fn has_sections(&self) -> bool {
        !self.sections.is_empty()
    }

    /// Where `offset` bytes into `section` (counted from 1) are. The section after the last one holds absolute symbols.
    pub(super) fn place(&self, section: u16, offset: u32) -> Place {
        let Some(index) = usize::from(section).checked_sub(1) else { return Place::NoSection };
        match index.cmp(&self.sections.len()) {
            Ordering::Equal => return Place::Absolute(offset),
            Ordering::Greater => return Place::NoSection,
            Ordering::Less => {}
        }
        let Some(rva) = self.sections.get(index).and_then(|start| start.checked_add(offset)) else {
            return Place::NoSection;
        };
        if self.omap.is_empty() {
            return Place::Rva(rva);
        }
        let after = self.omap.partition_point(|(before, _)| *before <= rva);
        let Some(&(from, to)) = after.checked_sub(1).and_then(|at| self.omap.get(at)) else { return Place::Removed };
        if to == 0 || to >= Self::REMOVED {
            return Place::Removed;
        }
        // `from <= rva` by the search above.
        to.checked_add(rva - from).map_or(Place::Removed, Place::Rva)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(virtual_address: u32) -> [u8; 40] {
        let mut header = [0; 40];
        header[12..16].copy_from_slice(&virtual_address.to_le_bytes());
        header
    }

    #[test]
    fn places_with_and_without_omap() {
        let sections = [section(0x1000), section(0x8000)].concat();
        let plain = AddressMap::new(&sections, &[]);
        assert_eq!(plain.place(2, 0x10), Place::Rva(0x8010));
        assert_eq!(plain.place(3, 0x10), Place::Absolute(0x10));
        assert_eq!(plain.place(4, 0x10), Place::NoSection);
        assert_eq!(plain.place(0, 0x10), Place::NoSection);
        assert_eq!(plain.place(2, u32::MAX), Place::NoSection);
        let omap: Vec<u8> = [(0x1000u32, 0x2000u32), (0x1100, 0), (0x1200, 0x8000_0000), (0x1300, 0x1000)]
            .iter()
            .flat_map(|(a, b)| [a.to_le_bytes(), b.to_le_bytes()].concat())
            .collect();
        let moved = AddressMap::new(&sections, &omap);
        assert_eq!(moved.place(1, 0x20), Place::Rva(0x2020));
        assert_eq!(moved.place(1, 0x100), Place::Removed);
        assert_eq!(moved.place(1, 0x2ff), Place::Removed);
        assert_eq!(moved.place(1, 0x304), Place::Rva(0x1004));
    }
}
