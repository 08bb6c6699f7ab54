//! The type stream (TPI): its records by index, and which record defines a declared type.
//!
//! Layout of the header: microsoft-pdb, PDB/dbi/tpi.h, `HDR`; llvm.org/docs/PDB/TpiStream.html.

use super::ParseReport;
use super::bytes::Reader;
use super::error::PdbError;
use super::primitive::{self, Indirection, Simple};
use super::records::{self, EnumRecord, Field, Fields, Record, Udt};
use quaid_profile::Type;
use std::collections::HashMap;

/// The records of the type stream.
#[derive(Debug, Default)]
pub(super) struct TypeTable<'t> {
    /// Index of the first record.
    first: u32,
    records: Vec<&'t [u8]>,
    /// The first record that defines a struct, union or enum of this decorated name.
    by_unique_name: HashMap<&'t [u8], u32>,
    /// The same, by plain name.
    by_name: HashMap<&'t [u8], u32>,
    /// Bytes of a pointer on this machine.
    pub(super) pointer_bytes: u8,
}

/// A struct-like record or an enum.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tagged<'t> {
    Udt(Udt<'t>),
    Enum(EnumRecord<'t>),
}

impl<'t> Tagged<'t> {
    pub(super) fn name(&self) -> &'t [u8] {
        match self {
            Self::Udt(udt) => udt.name,
            Self::Enum(record) => record.name,
        }
    }
    fn forward(&self) -> bool {
        match self {
            Self::Udt(udt) => udt.forward,
            Self::Enum(record) => record.forward,
        }
    }
    pub(super) fn unique_name(&self) -> Option<&'t [u8]> {
        match self {
            Self::Udt(udt) => udt.unique_name,
            Self::Enum(record) => record.unique_name,
        }
    }
}

/// Whether the compiler made this name up for a type that has none. `<unnamed-type-member>`, which newer compilers
/// write, is as good as a name.
pub(super) fn is_anonymous(name: &[u8]) -> bool {
    let last = name.rsplit(|&b| b == b':').next().unwrap_or_default();
    matches!(last, b"" | b"__unnamed" | b"<unnamed-tag>" | b"<anonymous-tag>")
}

impl<'t> TypeTable<'t> {
    /// Splits the stream into records. What cannot be read is counted.
    pub(super) fn new(stream: &'t [u8], pointer_bytes: u8, report: &mut ParseReport) -> Result<Self, PdbError> {
        let mut table = Self { pointer_bytes, ..Self::default() };
        let short = || PdbError::damaged("type stream", format!("{} bytes, of at least 16", stream.len()));
        let (first, header_bytes, record_bytes) = header(stream).ok_or_else(short)?;
        if first < 0x1000 {
            return Err(PdbError::damaged("type stream", format!("its first type index is 0x{first:x}, below 0x1000")));
        }
        table.first = first;
        let start = usize::try_from(header_bytes).unwrap_or(usize::MAX);
        let records = stream.get(start..).unwrap_or_default();
        let wanted = usize::try_from(record_bytes).unwrap_or(usize::MAX);
        let mut rest = Reader(records.get(..wanted).unwrap_or(records));
        while !rest.0.is_empty() {
            let record = rest.u16().and_then(|len| rest.take(usize::from(len))).filter(|record| record.len() >= 2);
            let Some(record) = record else {
                report.skip("rest of the type stream, after a record of an impossible length");
                break;
            };
            table.records.push(record);
        }
        // Indexes have 32 bits: counting from `first`, and one past the last record, must not overflow.
        let end = u32::try_from(table.records.len()).ok().and_then(|count| first.checked_add(count)?.checked_add(1));
        if end.is_none() {
            let why = format!("its {} records from index 0x{first:x} have no indexes left", table.records.len());
            return Err(PdbError::damaged("type stream", why));
        }
        if records.len() < wanted {
            report.skip("end of the type stream, which is cut short");
        }
        table.index_definitions(report);
        Ok(table)
    }

    fn index_definitions(&mut self, report: &mut ParseReport) {
        for (index, record) in (self.first..).zip(&self.records) {
            let kind = records::kind(record);
            if !records::is_tagged(kind) {
                continue;
            }
            match tagged(record) {
                None => report.skip(&records::kind_name(kind)),
                Some(tagged) if !tagged.forward() => {
                    if let Some(unique) = tagged.unique_name() {
                        self.by_unique_name.entry(unique).or_insert(index);
                    }
                    if !is_anonymous(tagged.name()) {
                        self.by_name.entry(tagged.name()).or_insert(index);
                    }
                }
                Some(_) => {}
            }
        }
    }

    /// The record of this index; `None` when there is none, or it cannot be read.
    pub(super) fn get(&self, index: u32) -> Option<Record<'t>> {
        Record::parse(self.raw(index)?)
    }

    /// The bytes of a record.
    pub(super) fn raw(&self, index: u32) -> Option<&'t [u8]> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.records.get(at).copied()
    }

    /// The struct, union or enum of this index.
    pub(super) fn tagged(&self, index: u32) -> Option<Tagged<'t>> {
        tagged(self.raw(index)?)
    }

    /// Every definition of a struct, union or enum, with its index, in the order of the records.
    pub(super) fn definitions(&self) -> impl Iterator<Item = (u32, Tagged<'t>)> {
        let tagged = (self.first..).zip(&self.records).filter(|(_, record)| records::is_tagged(records::kind(record)));
        tagged.filter_map(|(index, record)| Some((index, tagged_definition(record)?)))
    }

    /// The index that defines what `index` declares; `index` itself when it is a definition, `None` when nothing is.
    pub(super) fn definition(&self, index: u32, tagged: &Tagged<'t>) -> Option<u32> {
        if !tagged.forward() {
            return Some(index);
        }
        let unique = tagged.unique_name();
        if let Some(index) = unique.and_then(|unique| self.by_unique_name.get(unique)) {
            return Some(*index);
        }
        // C has no decorated names, and a type may be declared in C and defined in C++, or declared as class and defined as
        // struct, which is the first letter of the decorated name. Another decorated name is that of another type.
        let index = *self.by_name.get(tagged.name())?;
        let found = self.tagged(index)?.unique_name();
        let (Some(unique), Some(found)) = (unique, found) else { return Some(index) };
        (unique.get(1..) == found.get(1..)).then_some(index)
    }

    /// The fields of a list and of those that continue it.
    pub(super) fn fields(&self, list: u32) -> FieldWalk<'_, 't> {
        let fields = match self.get(list) {
            Some(Record::FieldList(fields)) => Some(Fields::new(fields)),
            _ => None,
        };
        // 0 is the list of a struct without fields.
        let broken = fields.is_none() && list != 0;
        FieldWalk { table: self, list, fields, broken }
    }

    /// Size of a type in bytes; `None` where it is not known.
    pub(super) fn size_of(&self, index: u32, depth: u32) -> Option<u64> {
        if depth > Type::MAX_DEPTH {
            return None;
        }
        if index < 0x1000 {
            return match primitive::indirection(index)? {
                Indirection::MachinePointer => Some(u64::from(self.pointer_bytes)),
                Indirection::Pointer(bytes) => Some(u64::from(bytes)),
                Indirection::Direct => match primitive::simple(index)? {
                    Simple::Void => None,
                    Simple::Utf16 => Some(2),
                    Simple::Native(native) => Some(native.size),
                },
            };
        }
        match self.get(index)? {
            Record::Pointer { bytes: 0, .. } => Some(u64::from(self.pointer_bytes)),
            Record::Pointer { bytes, .. } | Record::MemberOffset { bytes } => Some(u64::from(bytes)),
            Record::Vector { element, count } => self.size_of(element, depth + 1)?.checked_mul(u64::from(count)),
            Record::Array { bytes, .. } => Some(bytes),
            Record::Alias { target } => self.size_of(target, depth + 1),
            Record::BitField { base, .. } => self.size_of(base, depth + 1),
            Record::Enum(record) => self.size_of(record.base, depth + 1),
            Record::Udt(udt) => match self.tagged(self.definition(index, &Tagged::Udt(udt))?)? {
                Tagged::Udt(udt) => Some(udt.size),
                Tagged::Enum(record) => self.size_of(record.base, depth + 1),
            },
            Record::FieldList(_) | Record::Procedure { .. } | Record::ArgList(_) | Record::Other => None,
        }
    }
}

/// Index of the first record, and the bytes of the header and of the records behind it.
fn header(stream: &[u8]) -> Option<(u32, u32, u32)> {
    let mut header = Reader(stream);
    match header.u32()? {
        // Visual C++ 4 (`HDR_16t`) has indices of 16 bits, and says nothing of its own size, as the header after it.
        ..19_960_307 => {
            let first = header.u16()?;
            let _end = header.u16()?;
            Some((first.into(), 16, header.u32()?))
        }
        19_960_307..19_961_031 => {
            let first = header.u32()?;
            let _end = header.u32()?;
            Some((first, 20, header.u32()?))
        }
        _ => {
            let header_bytes = header.u32()?;
            let first = header.u32()?;
            let _end = header.u32()?;
            Some((first, header_bytes, header.u32()?))
        }
    }
}

fn tagged(record: &[u8]) -> Option<Tagged<'_>> {
    match Record::parse(record)? {
        Record::Udt(udt) => Some(Tagged::Udt(udt)),
        Record::Enum(record) => Some(Tagged::Enum(record)),
        _ => None,
    }
}

fn tagged_definition(record: &[u8]) -> Option<Tagged<'_>> {
    tagged(record).filter(|tagged| !tagged.forward())
}

/// The fields of a struct or enum, over all its lists. An `Err` tells what could not be read, and ends it.
pub(super) struct FieldWalk<'a, 't> {
    table: &'a TypeTable<'t>,
    list: u32,
    fields: Option<Fields<'t>>,
    broken: bool,
}

impl<'t> Iterator for FieldWalk<'_, 't> {
    type Item = Result<Field<'t>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if std::mem::take(&mut self.broken) {
            return Some(Err("LF_FIELDLIST".into()));
        }
        loop {
            match self.fields.as_mut()?.next()? {
                // Records refer to earlier ones; a list that does not might never end.
                Ok(Field::Continues(next)) if next >= self.list => {
                    self.fields = None;
                    return Some(Err("LF_INDEX that does not point back".into()));
                }
                Ok(Field::Continues(next)) => *self = self.table.fields(next),
                Ok(field) => return Some(Ok(field)),
                Err(kind) => return Some(Err(format!("rest of a field list, after field record 0x{kind:04x}"))),
            }
            if std::mem::take(&mut self.broken) {
                return Some(Err("LF_FIELDLIST".into()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A type stream whose records, two bytes of kind each, begin at the index `first`.
    fn stream(first: u32, records: u32) -> Vec<u8> {
        let header = [20_040_203, 56, first, first.wrapping_add(records), records * 4];
        let mut stream: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
        stream.resize(56, 0);
        (0..records).for_each(|_| stream.extend([2, 0, 0x01, 0x10]));
        stream
    }

    /// `HDR_16t` with a struct of 16-bit indices, and the list of its one member.
    #[test]
    fn a_stream_of_16_bit_indices_is_read() {
        let mut stream = 19_951_122u32.to_le_bytes().to_vec();
        let list = b"\x0e\0\x04\x02\x06\x04\x12\0\x03\0\x04\0\x03abc";
        let structure = b"\x10\0\x05\0\x01\0\0\x10\0\0\0\0\0\0\x08\0\x01S";
        stream.extend([0, 0x10, 2, 0x10]);
        stream.extend(34u32.to_le_bytes());
        stream.extend([0xff, 0xff, 0, 0]);
        stream.extend(list);
        stream.extend(structure);
        let mut report = ParseReport::default();
        let table = TypeTable::new(&stream, 4, &mut report).expect("a table");
        let definitions: Vec<_> = table.definitions().map(|(index, tagged)| (index, tagged.name())).collect();
        assert_eq!(definitions, [(0x1001, &b"S"[..])]);
        let fields: Vec<_> = table.fields(0x1000).collect();
        assert_eq!(fields, [Ok(Field::Member { ty: 0x12, offset: 4, name: b"abc" })]);
        assert!(report.skipped.is_empty(), "{report:?}");
    }

    #[test]
    fn indexes_beyond_32_bits_are_refused() {
        let table = |first, records| {
            let stream = stream(first, records);
            TypeTable::new(&stream, 8, &mut ParseReport::default()).map(|table| table.definitions().count())
        };
        assert_eq!(table(0x1000, 3), Ok(0));
        assert_eq!(table(u32::MAX - 4, 3), Ok(0));
        for first in [u32::MAX - 3, u32::MAX] {
            let refused = table(first, 3).expect_err("an index above u32::MAX");
            assert!(refused.to_string().contains("3 records"), "{refused}");
        }
    }
}
