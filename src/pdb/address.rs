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
    /// In the order of the headers.
    sections: Vec<Section>,
    to_image: Omap,
    to_source: Omap,
}

#[derive(Debug, Clone, Copy)]
struct Section {
    rva: u32,
    executable: bool,
}

impl AddressMap {
    const SECTION_HEADER_BYTES: usize = 40;

    /// From the streams as they are in the PDB: section headers (of before, where there are such), and the OMAP pairs
    /// of both directions.
    pub(super) fn new(sections: &[u8], to_image: &[u8], to_source: &[u8]) -> Self {
        let section = |header: &[u8]| {
            let rva = Reader(header.get(12..)?).u32()?;
            // IMAGE_SCN_CNT_CODE, IMAGE_SCN_MEM_EXECUTE
            let executable = Reader(header.get(36..)?).u32()? & 0x2000_0020 != 0;
            Some(Section { rva, executable })
        };
        let headers = sections.chunks_exact(Self::SECTION_HEADER_BYTES);
        Self {
            sections: headers.filter_map(section).collect(),
            to_image: Omap::new(to_image),
            to_source: Omap::new(to_source),
        }
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
        let Some(rva) = self.sections.get(index).and_then(|section| section.rva.checked_add(offset)) else {
            return Place::NoSection;
        };
        if self.to_image.0.is_empty() {
            return Place::Rva(rva);
        }
        self.to_image.get(rva).map_or(Place::Removed, Place::Rva)
    }

    /// Whether the section (counted from 1) holds code.
    pub(super) fn is_code(&self, section: u16) -> bool {
        let index = usize::from(section).checked_sub(1);
        index.and_then(|index| self.sections.get(index)).is_some_and(|section| section.executable)
    }

    /// Whether the other table leads from an RVA of the image to where `section` and `offset` were before; a PDB without
    /// one contradicts nothing.
    pub(super) fn leads_back(&self, rva: u32, section: u16, offset: u32) -> bool {
        let index = usize::from(section).checked_sub(1);
        let before = index.and_then(|index| self.sections.get(index)?.rva.checked_add(offset));
        self.to_source.0.is_empty() || self.to_source.get(rva) == before
    }
}

/// Pairs of (RVA, RVA in the other arrangement), sorted by the first; each holds up to the next.
#[derive(Debug, Default)]
struct Omap(Vec<(u32, u32)>);

impl Omap {
    /// No image is this large: code that is not on the other side.
    const NOWHERE: u32 = 0x8000_0000;

    fn new(stream: &[u8]) -> Self {
        let pair = |pair: &[u8]| {
            let mut reader = Reader(pair);
            Some((reader.u32()?, reader.u32()?))
        };
        let mut pairs: Vec<(u32, u32)> = stream.chunks_exact(8).filter_map(pair).collect();
        if !pairs.is_sorted_by_key(|(from, _)| *from) {
            pairs.sort_by_key(|(from, _)| *from);
        }
        Self(pairs)
    }

    /// The RVA on the other side; `None` when it is not there.
    fn get(&self, rva: u32) -> Option<u32> {
        let after = self.0.partition_point(|(from, _)| *from <= rva);
        let &(from, to) = self.0.get(after.checked_sub(1)?)?;
        if to == 0 || to >= Self::NOWHERE {
            return None;
        }
        to.checked_add(rva.checked_sub(from)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(virtual_address: u32) -> [u8; 40] {
        let mut header = [0; 40];
        header[36] = if virtual_address == 0x1000 { 0x20 } else { 0 };
        header[12..16].copy_from_slice(&virtual_address.to_le_bytes());
        header
    }

    #[test]
    fn places_with_and_without_omap() {
        let sections = [section(0x1000), section(0x8000)].concat();
        let plain = AddressMap::new(&sections, &[], &[]);
        assert_eq!([0, 1, 2, 3].map(|section| plain.is_code(section)), [false, true, false, false]);
        assert!(plain.leads_back(7, 1, 0));
        assert_eq!(plain.place(2, 0x10), Place::Rva(0x8010));
        assert_eq!(plain.place(3, 0x10), Place::Absolute(0x10));
        assert_eq!(plain.place(4, 0x10), Place::NoSection);
        assert_eq!(plain.place(0, 0x10), Place::NoSection);
        assert_eq!(plain.place(2, u32::MAX), Place::NoSection);
        let omap: Vec<u8> = [(0x1000u32, 0x2000u32), (0x1100, 0), (0x1200, 0x8000_0000), (0x1300, 0x1000)]
            .iter()
            .flat_map(|(a, b)| [a.to_le_bytes(), b.to_le_bytes()].concat())
            .collect();
        let back = [0x2000u32, 0x1000, 0x2100, 0].map(u32::to_le_bytes).concat();
        let moved = AddressMap::new(&sections, &omap, &back);
        assert!(moved.leads_back(0x2020, 1, 0x20));
        assert!(!moved.leads_back(0x2120, 1, 0x120));
        assert_eq!(moved.place(1, 0x20), Place::Rva(0x2020));
        assert_eq!(moved.place(1, 0x100), Place::Removed);
        assert_eq!(moved.place(1, 0x2ff), Place::Removed);
        assert_eq!(moved.place(1, 0x304), Place::Rva(0x1004));
    }
}
