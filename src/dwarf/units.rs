//! DWARF's compilation units, and how a debugging information entry (DIE) is found and read.

use super::ConvertError;
use super::elf::DebugSections;
use gimli::{
    Abbreviations, AttributeValue, DebugAbbrev, DebugInfo, DebugStrOffsets, DebugStrOffsetsBase, DebugTypeSignature,
    DebugTypes, DwLang, DwTag, EndianSlice, RunTimeEndian, UnitHeader, UnitOffset, UnitType,
};
use std::collections::HashMap;

/// A piece of a debugging section.
pub(super) type Slice<'d> = EndianSlice<'d, RunTimeEndian>;
/// Longer names are not read, so that many references to one endless text cost no more than the file is large.
const MAX_NAME_BYTES: usize = 4096;

/// A DIE with its attributes.
pub(super) type Entry<'d> = gimli::DebuggingInformationEntry<Slice<'d>>;

/// Where a DIE is: the number of its unit, and its offset from the unit's start, in bytes. Ordered as the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) unit: usize,
    pub(super) offset: usize,
}

/// All units of a file.
pub(super) struct Units<'d> {
    /// Those of `.debug_info` in the order of the file, then those of `.debug_types`.
    headers: Vec<UnitHeader<Slice<'d>>>,
    /// The types of type units, by signature.
    signatures: HashMap<DebugTypeSignature, Place>,
    info_bytes: usize,
    abbrev: &'d [u8],
    /// Where the tables of abbreviations begin, in order and without repetition.
    tables: Vec<usize>,
    strings: &'d [u8],
    line_strings: &'d [u8],
    string_offsets: DebugStrOffsets<Slice<'d>>,
    endian: RunTimeEndian,
    /// Why the list of units ends before the section does.
    pub(super) cut: Option<String>,
    pub(super) skipped_relocations: usize,
}

/// One unit, ready to be read.
pub(super) struct Unit<'d> {
    pub(super) number: usize,
    pub(super) header: UnitHeader<Slice<'d>>,
    pub(super) abbreviations: Abbreviations,
    string_base: DebugStrOffsetsBase<usize>,
    /// Its language, where it tells.
    pub(super) language: Option<DwLang>,
    /// Its types are in a `.dwo` file.
    pub(super) split: bool,
    /// Numbers are stored most significant byte first.
    pub(super) big_endian: bool,
}

impl<'d> Units<'d> {
    /// Finds the units of `.debug_info`. A damaged header ends the list, and [`Units::cut`] says so.
    pub(super) fn parse(place: &str, sections: &'d DebugSections<'d>) -> Result<Self, ConvertError> {
        let endian = if sections.big_endian { RunTimeEndian::Big } else { RunTimeEndian::Little };
        let mut headers = Vec::new();
        let mut cut = None;
        let mut iter = DebugInfo::new(&sections.info, endian).units();
        loop {
            match iter.next() {
                Ok(Some(header)) => headers.push(header),
                Ok(None) => break,
                Err(why) => {
                    cut = Some(format!("unit {}: {why}", headers.len()));
                    break;
                }
            }
        }
        if headers.is_empty() {
            let why = cut.unwrap_or_else(|| "it has no unit".to_owned());
            return Err(ConvertError::corrupt(place, format!("damaged .debug_info: {why}")));
        }
        let mut types = DebugTypes::new(&sections.types, endian).units();
        loop {
            match types.next() {
                Ok(Some(header)) => headers.push(header),
                Ok(None) => break,
                Err(why) => {
                    cut = cut.or_else(|| Some(format!("unit {}: {why}", headers.len())));
                    break;
                }
            }
        }
        let signatures = headers.iter().enumerate().filter_map(|(unit, header)| match header.type_() {
            UnitType::Type { type_signature, type_offset } => {
                Some((type_signature, Place { unit, offset: type_offset.0 }))
            }
            _ => None,
        });
        let signatures = signatures.collect();
        let mut tables: Vec<usize> = headers.iter().map(|header| header.debug_abbrev_offset().0).collect();
        tables.sort_unstable();
        tables.dedup();
        Ok(Self {
            headers,
            signatures,
            info_bytes: sections.info.len().saturating_add(sections.types.len()),
            abbrev: &sections.abbrev,
            tables,
            strings: &sections.str,
            line_strings: &sections.line_str,
            string_offsets: DebugStrOffsets::from(EndianSlice::new(&sections.str_offsets, endian)),
            endian,
            cut,
            skipped_relocations: sections.skipped_relocations,
        })
    }

    /// Number of units.
    pub(super) fn len(&self) -> usize {
        self.headers.len()
    }

    /// Opens a unit: reads its abbreviations and its first DIE.
    pub(super) fn open(&self, number: usize) -> gimli::Result<Unit<'d>> {
        let header = *self.headers.get(number).ok_or(gimli::Error::MissingUnitDie)?;
        let start = header.debug_abbrev_offset().0;
        let table = self.table(number).ok_or(gimli::Error::OffsetOutOfBounds(start as u64))?;
        let abbreviations = DebugAbbrev::new(table, self.endian).abbreviations(gimli::DebugAbbrevOffset(0))?;
        let mut unit = Unit {
            number,
            header,
            abbreviations,
            string_base: DebugStrOffsetsBase::default_for_encoding_and_file(
                header.encoding(),
                gimli::DwarfFileType::Main,
            ),
            language: None,
            split: false,
            big_endian: self.endian == RunTimeEndian::Big,
        };
        let root = header.entry(&unit.abbreviations, header.root_offset())?;
        for attribute in root.attrs() {
            match (attribute.name(), attribute.value()) {
                (gimli::DW_AT_str_offsets_base, AttributeValue::DebugStrOffsetsBase(base)) => unit.string_base = base,
                (gimli::DW_AT_language, AttributeValue::Language(language)) => unit.language = Some(language),
                (gimli::DW_AT_dwo_name | gimli::DW_AT_GNU_dwo_name, _) => unit.split = true,
                _ => {}
            }
        }
        Ok(unit)
    }

    /// The bytes of a unit's abbreviations, up to where the next table begins: a hostile file whose units point to many
    /// places in one large table would else have it read over and over.
    fn table(&self, number: usize) -> Option<&'d [u8]> {
        let start = self.headers.get(number)?.debug_abbrev_offset().0;
        let next = self.tables.partition_point(|&table| table <= start);
        let end = self.tables.get(next).copied().unwrap_or(self.abbrev.len()).min(self.abbrev.len());
        self.abbrev.get(start..end)
    }

    /// What it costs to open a unit: the size of its table of abbreviations, in bytes.
    pub(super) fn cost(&self, number: usize) -> usize {
        self.table(number).map_or(0, <[u8]>::len)
    }

    /// What it may cost to open all units once. Units may have a table in common, but then it is a small one.
    pub(super) fn cost_limit(&self) -> usize {
        16 * (self.info_bytes + self.abbrev.len())
    }

    /// The bytes of a text attribute, without the NUL; `None` for one that is no name: absent, empty, or longer than
    /// [`MAX_NAME_BYTES`].
    pub(super) fn text(&self, unit: &Unit<'d>, value: &AttributeValue<Slice<'d>>) -> Option<&'d [u8]> {
        let (section, offset) = match *value {
            AttributeValue::String(text) => (text.slice(), 0),
            AttributeValue::DebugStrRef(offset) => (self.strings, offset.0),
            AttributeValue::DebugLineStrRef(offset) => (self.line_strings, offset.0),
            AttributeValue::DebugStrOffsetsIndex(index) => (
                self.strings,
                self.string_offsets.get_str_offset(unit.header.format(), unit.string_base, index).ok()?.0,
            ),
            _ => return None,
        };
        let text = section.get(offset..)?;
        let text = text.get(..MAX_NAME_BYTES).unwrap_or(text);
        // An inline text comes without its NUL.
        let end = memchr::memchr(0, text).or((text.len() < MAX_NAME_BYTES).then_some(text.len()))?;
        text.get(..end).filter(|name| !name.is_empty())
    }

    /// Where the DIE is that an attribute of `unit` refers to. `None` for what is in no unit of this file: supplementary
    /// files.
    pub(super) fn target(&self, unit: usize, value: &AttributeValue<Slice<'d>>) -> Option<Place> {
        match *value {
            AttributeValue::UnitRef(UnitOffset(offset)) => Some(Place { unit, offset }),
            AttributeValue::DebugInfoRef(offset) => {
                let after = self
                    .headers
                    .partition_point(|header| header.debug_info_offset().is_some_and(|start| start <= offset));
                let unit = after.checked_sub(1)?;
                let start = self.headers.get(unit)?.debug_info_offset()?;
                Some(Place { unit, offset: offset.0.checked_sub(start.0)? })
            }
            AttributeValue::DebugTypesRef(signature) => self.signatures.get(&signature).copied(),
            _ => None,
        }
    }
}

impl<'d> Unit<'d> {
    /// The DIE at `offset`.
    pub(super) fn entry(&self, offset: usize) -> gimli::Result<Entry<'d>> {
        self.header.entry(&self.abbreviations, UnitOffset(offset))
    }

    /// The direct children of the DIE at `offset`.
    pub(super) fn children(&self, offset: usize) -> gimli::Result<Vec<Entry<'d>>> {
        let mut entries = self.header.entries_raw(&self.abbreviations, Some(UnitOffset(offset)))?;
        let mut children = Vec::new();
        let mut entry = Entry::null();
        let parent = entries.read_entry(&mut entry)? && entry.has_children();
        while parent && entries.next_depth() > 0 && !entries.is_empty() {
            let direct = entries.next_depth() == 1;
            if entries.read_entry(&mut entry)? && direct {
                children.push(entry.clone());
            }
        }
        Ok(children)
    }
}

/// Whether DIEs of this tag are structs, unions or classes.
pub(super) fn is_aggregate(tag: DwTag) -> bool {
    matches!(tag, gimli::DW_TAG_structure_type | gimli::DW_TAG_union_type | gimli::DW_TAG_class_type)
}

/// An offset within a struct, in bytes: a constant, or (DWARF 2 and 3) the expression that adds one.
pub(super) fn byte_offset(value: &AttributeValue<Slice<'_>>) -> Option<u64> {
    if let Some(offset) = value.udata_value() {
        return Some(offset);
    }
    // DW_FORM_data4 is read as a section offset in DWARF 2 and 3, where gcc 3 wrote constants in it.
    if let Some(offset) = value.offset_value() {
        return Some(offset as u64);
    }
    let mut expression = value.exprloc_value()?.0;
    match (gimli::Reader::read_u8(&mut expression).ok()?, gimli::Reader::read_uleb128(&mut expression).ok()?) {
        (op, offset) if gimli::DwOp(op) == gimli::DW_OP_plus_uconst && expression.is_empty() => Some(offset),
        _ => None,
    }
}
