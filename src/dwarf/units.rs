//! DWARF's compilation units, and how a debugging information entry (DIE) is found and read.

use super::ConvertError;
use super::elf::{DebugSections, Role};
use gimli::{
    Abbreviations, AttributeValue, DebugAbbrev, DebugAddr, DebugAddrBase, DebugAddrIndex, DebugInfo, DebugInfoOffset,
    DebugStrOffsets, DebugStrOffsetsBase, DebugTypeSignature, DebugTypes, DwLang, DwTag, EndianSlice, Expression,
    Operation, RunTimeEndian, UnitHeader, UnitOffset, UnitType,
};
use std::collections::HashMap;
use std::ops::Range;

/// A piece of a debugging section.
pub(super) type Slice<'d> = EndianSlice<'d, RunTimeEndian>;
/// Longer names are not read, so that many references to one endless text cost no more than the file is large.
const MAX_NAME_BYTES: usize = 4096;
/// A skeleton unit of DWARF 4 is a unit like any other, with a single DIE. Larger ones are none, and are not looked into.
const MAX_SKELETON_BYTES: usize = 4096;

/// A DIE with its attributes.
pub(super) type Entry<'d> = gimli::DebuggingInformationEntry<Slice<'d>>;

/// Where a DIE is: the number of its unit, and its offset from the unit's start, in bytes. Ordered as the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) unit: usize,
    pub(super) offset: usize,
}

/// All units of a file, and of those that continue it: supplementary and split ones.
pub(super) struct Units<'d> {
    /// Of each part those of `.debug_info` in the order of the file, then those of `.debug_types`; and the part.
    headers: Vec<(UnitHeader<Slice<'d>>, usize)>,
    parts: Vec<Part<'d>>,
    /// The types of type units, by signature.
    signatures: HashMap<DebugTypeSignature, Place>,
    /// Where the addresses of split units begin, by what ties each to its skeleton unit.
    split_addresses: HashMap<u64, AddressTable>,
    /// The part that references to a supplementary file lead to.
    supplementary: Option<usize>,
    info_bytes: usize,
    endian: RunTimeEndian,
    /// Why the list of units ends before the section does.
    pub(super) cut: Option<String>,
    pub(super) skipped_relocations: usize,
}

/// The sections that units of one file, or of one contribution to a `.dwp`, refer to.
struct Part<'d> {
    /// Its units of `.debug_info`.
    units: Range<usize>,
    abbrev: &'d [u8],
    /// Where the tables of abbreviations begin, in order and without repetition.
    tables: Vec<usize>,
    strings: &'d [u8],
    line_strings: &'d [u8],
    string_offsets: DebugStrOffsets<Slice<'d>>,
    addresses: DebugAddr<Slice<'d>>,
    role: Role,
}

/// The addresses that a unit refers to by number.
#[derive(Debug, Clone, Copy)]
struct AddressTable {
    /// The part whose `.debug_addr` has them.
    part: usize,
    /// Offset of the first, in bytes.
    base: DebugAddrBase<usize>,
}

/// A skeleton unit's word of where its types are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Skeleton<'d> {
    /// Of the split unit that is meant; `None` is damage.
    pub(super) id: Option<u64>,
    /// Path of the `.dwo` file, relative to `folder`.
    pub(super) file: &'d [u8],
    /// The folder that the compiler ran in.
    pub(super) folder: &'d [u8],
}

/// One unit, ready to be read.
pub(super) struct Unit<'d> {
    pub(super) number: usize,
    part: usize,
    pub(super) header: UnitHeader<Slice<'d>>,
    pub(super) abbreviations: Abbreviations,
    string_base: DebugStrOffsetsBase<usize>,
    addresses: Option<AddressTable>,
    /// Its language, where it tells.
    pub(super) language: Option<DwLang>,
    /// Its types are in a `.dwo` file.
    pub(super) skeleton: Option<Skeleton<'d>>,
    /// What ties a skeleton unit and its split unit.
    pub(super) dwo_id: Option<u64>,
    /// Numbers are stored most significant byte first.
    pub(super) big_endian: bool,
}

impl<'d> Units<'d> {
    /// Finds the units of all parts, of which the first is the file itself. A damaged header ends the list of its part,
    /// and [`Units::cut`] says so.
    pub(super) fn parse(place: &str, parts: &'d [DebugSections<'d>]) -> Result<Self, ConvertError> {
        let big_endian = parts.first().is_some_and(|sections| sections.big_endian);
        let endian = if big_endian { RunTimeEndian::Big } else { RunTimeEndian::Little };
        let mut units = Self {
            headers: Vec::new(),
            parts: Vec::with_capacity(parts.len()),
            signatures: HashMap::new(),
            split_addresses: HashMap::new(),
            supplementary: parts.iter().position(|sections| sections.role == Role::Supplementary),
            info_bytes: 0,
            endian,
            cut: None,
            skipped_relocations: 0,
        };
        for sections in parts {
            units.add(sections);
        }
        if units.headers.is_empty() {
            let why = units.cut.unwrap_or_else(|| "it has no unit".to_owned());
            return Err(ConvertError::corrupt(place, format!("damaged .debug_info: {why}")));
        }
        let signatures = units.headers.iter().enumerate().filter_map(|(unit, (header, _))| match header.type_() {
            UnitType::Type { type_signature, type_offset } | UnitType::SplitType { type_signature, type_offset } => {
                Some((type_signature, Place { unit, offset: type_offset.0 }))
            }
            _ => None,
        });
        units.signatures = signatures.collect();
        if units.parts.iter().any(|part| part.role == Role::Split) {
            units.split_addresses =
                units.skeleton_units().filter_map(|unit| Some((unit.dwo_id?, unit.addresses?))).collect();
        }
        Ok(units)
    }

    fn add(&mut self, sections: &'d DebugSections<'d>) {
        let (first, part) = (self.headers.len(), self.parts.len());
        let mut info = DebugInfo::new(&sections.info, self.endian).units();
        self.add_headers(part, || info.next());
        let units = first..self.headers.len();
        let mut types = DebugTypes::new(&sections.types, self.endian).units();
        self.add_headers(part, || types.next());
        let of_part = self.headers.get(first..).unwrap_or_default();
        let mut tables: Vec<usize> = of_part.iter().map(|(header, _)| header.debug_abbrev_offset().0).collect();
        tables.sort_unstable();
        tables.dedup();
        self.parts.push(Part {
            units,
            abbrev: &sections.abbrev,
            tables,
            strings: &sections.str,
            line_strings: &sections.line_str,
            string_offsets: DebugStrOffsets::from(EndianSlice::new(&sections.str_offsets, self.endian)),
            addresses: DebugAddr::from(EndianSlice::new(&sections.addr, self.endian)),
            role: sections.role,
        });
        self.info_bytes = self.info_bytes.saturating_add(sections.info.len()).saturating_add(sections.types.len());
        self.skipped_relocations += sections.skipped_relocations;
    }

    fn add_headers(&mut self, part: usize, mut next: impl FnMut() -> gimli::Result<Option<UnitHeader<Slice<'d>>>>) {
        loop {
            match next() {
                Ok(Some(header)) => self.headers.push((header, part)),
                Ok(None) => break,
                Err(why) => {
                    let unit = self.headers.len();
                    self.cut.get_or_insert_with(|| format!("unit {unit}: {why}"));
                    break;
                }
            }
        }
    }

    /// Number of units.
    pub(super) fn len(&self) -> usize {
        self.headers.len()
    }

    /// Opens a unit: reads its abbreviations and its first DIE.
    pub(super) fn open(&self, number: usize) -> gimli::Result<Unit<'d>> {
        let &(header, part) = self.headers.get(number).ok_or(gimli::Error::MissingUnitDie)?;
        let start = header.debug_abbrev_offset().0;
        let table = self.table(number).ok_or(gimli::Error::OffsetOutOfBounds(start as u64))?;
        let abbreviations = DebugAbbrev::new(table, self.endian).abbreviations(gimli::DebugAbbrevOffset(0))?;
        let split = self.parts.get(part).is_some_and(|part| part.role == Role::Split);
        let kind = if split { gimli::DwarfFileType::Dwo } else { gimli::DwarfFileType::Main };
        let mut unit = Unit {
            number,
            part,
            header,
            abbreviations,
            string_base: DebugStrOffsetsBase::default_for_encoding_and_file(header.encoding(), kind),
            addresses: None,
            language: None,
            skeleton: None,
            dwo_id: match header.type_() {
                UnitType::Skeleton(id) | UnitType::SplitCompilation(id) => Some(id.0),
                _ => None,
            },
            big_endian: self.endian == RunTimeEndian::Big,
        };
        let root = header.entry(&unit.abbreviations, header.root_offset())?;
        for attribute in root.attrs() {
            match (attribute.name(), attribute.value()) {
                (gimli::DW_AT_str_offsets_base, AttributeValue::DebugStrOffsetsBase(base)) => unit.string_base = base,
                (gimli::DW_AT_addr_base | gimli::DW_AT_GNU_addr_base, AttributeValue::DebugAddrBase(base)) => {
                    unit.addresses = Some(AddressTable { part, base });
                }
                (gimli::DW_AT_language, AttributeValue::Language(language)) => unit.language = Some(language),
                (gimli::DW_AT_GNU_dwo_id, AttributeValue::DwoId(id)) => unit.dwo_id = Some(id.0),
                _ => {}
            }
        }
        if split {
            unit.addresses = unit.dwo_id.and_then(|id| self.split_addresses.get(&id).copied());
        }
        // A split unit may have the name as well.
        let text = |name| self.text(&unit, &root.attr_value(name)?);
        if !split && let Some(file) = text(gimli::DW_AT_dwo_name).or_else(|| text(gimli::DW_AT_GNU_dwo_name)) {
            let folder = text(gimli::DW_AT_comp_dir).unwrap_or_default();
            unit.skeleton = Some(Skeleton { id: unit.dwo_id, file, folder });
        }
        Ok(unit)
    }

    /// The bytes of a unit's abbreviations, up to where the next table begins: a hostile file whose units point to many
    /// places in one large table would else have it read over and over.
    fn table(&self, number: usize) -> Option<&'d [u8]> {
        let (header, part) = self.headers.get(number)?;
        let Part { tables, abbrev, .. } = self.parts.get(*part)?;
        let start = header.debug_abbrev_offset().0;
        let next = tables.partition_point(|&table| table <= start);
        let end = tables.get(next).copied().unwrap_or(abbrev.len()).min(abbrev.len());
        abbrev.get(start..end)
    }

    /// What it costs to open a unit: the size of its table of abbreviations, in bytes.
    pub(super) fn cost(&self, number: usize) -> usize {
        self.table(number).map_or(0, <[u8]>::len)
    }

    /// What it may cost to open all units once. Units may have a table in common, but then it is a small one.
    pub(super) fn cost_limit(&self) -> usize {
        16 * (self.info_bytes + self.parts.iter().map(|part| part.abbrev.len()).sum::<usize>())
    }

    /// The bytes of a text attribute, without the NUL; `None` for one that is no name: absent, empty, or longer than
    /// [`MAX_NAME_BYTES`].
    pub(super) fn text(&self, unit: &Unit<'d>, value: &AttributeValue<Slice<'d>>) -> Option<&'d [u8]> {
        let part = self.parts.get(unit.part)?;
        let (section, offset) = match *value {
            AttributeValue::String(text) => (text.slice(), 0),
            AttributeValue::DebugStrRef(offset) => (part.strings, offset.0),
            AttributeValue::DebugStrRefSup(offset) => (self.parts.get(self.supplementary?)?.strings, offset.0),
            AttributeValue::DebugLineStrRef(offset) => (part.line_strings, offset.0),
            AttributeValue::DebugStrOffsetsIndex(index) => (
                part.strings,
                part.string_offsets.get_str_offset(unit.header.format(), unit.string_base, index).ok()?.0,
            ),
            _ => return None,
        };
        let text = section.get(offset..)?;
        let text = text.get(..MAX_NAME_BYTES).unwrap_or(text);
        // An inline text comes without its NUL.
        let end = memchr::memchr(0, text).or((text.len() < MAX_NAME_BYTES).then_some(text.len()))?;
        text.get(..end).filter(|name| !name.is_empty())
    }

    /// Where a variable is that stays in one place: an address alone, or the distance from one (clang joins small variables).
    pub(super) fn static_address(&self, unit: &Unit<'d>, value: &AttributeValue<Slice<'d>>) -> Option<u64> {
        let (AttributeValue::Exprloc(Expression(expression)) | AttributeValue::Block(expression)) = *value else {
            return None;
        };
        let mut operations = Expression(expression).operations(unit.header.encoding());
        let start = match operations.next().ok()?? {
            Operation::Address { address } => address,
            Operation::AddressIndex { index } => self.address(unit, index)?,
            _ => return None,
        };
        match operations.next().ok()? {
            None => Some(start),
            Some(Operation::PlusConstant { value }) if matches!(operations.next(), Ok(None)) => {
                start.checked_add(value)
            }
            Some(_) => None,
        }
    }

    fn address(&self, unit: &Unit<'d>, index: DebugAddrIndex<usize>) -> Option<u64> {
        let AddressTable { part, base } = unit.addresses?;
        self.parts.get(part)?.addresses.get_address(unit.header.address_size(), base, index).ok()
    }

    /// Where the DIE is that an attribute of `unit` refers to. `None` for what is in no unit of the files that there are.
    pub(super) fn target(&self, unit: usize, value: &AttributeValue<Slice<'d>>) -> Option<Place> {
        match *value {
            AttributeValue::UnitRef(UnitOffset(offset)) => Some(Place { unit, offset }),
            AttributeValue::DebugInfoRef(offset) => self.in_part(self.headers.get(unit)?.1, offset),
            AttributeValue::DebugInfoRefSup(offset) => self.in_part(self.supplementary?, offset),
            AttributeValue::DebugTypesRef(signature) => self.signatures.get(&signature).copied(),
            _ => None,
        }
    }

    /// Where the DIE at an offset of a part's `.debug_info` is.
    fn in_part(&self, part: usize, offset: DebugInfoOffset) -> Option<Place> {
        let range = self.parts.get(part)?.units.clone();
        let units = self.headers.get(range.clone())?;
        let after =
            units.partition_point(|(header, _)| header.debug_info_offset().is_some_and(|start| start <= offset));
        let at = after.checked_sub(1)?;
        let start = units.get(at)?.0.debug_info_offset()?;
        Some(Place { unit: range.start + at, offset: offset.0.checked_sub(start.0)? })
    }

    /// The units whose types are in other files.
    pub(super) fn skeletons(&self) -> Vec<Skeleton<'d>> {
        self.skeleton_units().filter_map(|unit| unit.skeleton).collect()
    }

    /// The units that may be such.
    fn skeleton_units(&self) -> impl Iterator<Item = Unit<'d>> {
        let small = |header: &UnitHeader<Slice<'d>>| match header.type_() {
            UnitType::Skeleton(_) => true,
            UnitType::Compilation => header.version() <= 4 && header.length_including_self() <= MAX_SKELETON_BYTES,
            _ => false,
        };
        let numbers =
            self.headers.iter().enumerate().filter(move |(_, (header, _))| small(header)).map(|(number, _)| number);
        // A skeleton unit's table of abbreviations is its own, with one entry.
        numbers.filter(|&number| self.cost(number) <= MAX_SKELETON_BYTES).filter_map(|number| self.open(number).ok())
    }

    /// The identities of split units.
    pub(super) fn dwo_ids(&self) -> Vec<u64> {
        let mut cost_left = self.cost_limit();
        let mut ids = Vec::new();
        for number in 0..self.len() {
            let Some(left) = cost_left.checked_sub(self.cost(number)) else { break };
            cost_left = left;
            ids.extend(self.open(number).ok().and_then(|unit| unit.dwo_id));
        }
        ids
    }
}

impl<'d> Unit<'d> {
    /// The DIE at `offset`.
    pub(super) fn entry(&self, offset: usize) -> gimli::Result<Entry<'d>> {
        self.header.entry(&self.abbreviations, UnitOffset(offset))
    }

    /// The direct children of the DIE at `offset`. All that lies in it is read, and taken off `left`: at 0 the rest is left
    /// out.
    pub(super) fn children(&self, offset: usize, left: &mut usize) -> gimli::Result<Vec<Entry<'d>>> {
        let mut entries = self.header.entries_raw(&self.abbreviations, Some(UnitOffset(offset)))?;
        let mut children = Vec::new();
        let mut entry = Entry::null();
        let parent = entries.read_entry(&mut entry)? && entry.has_children();
        while parent && entries.next_depth() > 0 && !entries.is_empty() && *left > 0 {
            *left -= 1;
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
