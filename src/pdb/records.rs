//! CodeView type records: one leaf at a time, nothing followed.
//!
//! Layouts: microsoft-pdb, include/cvinfo.h (`lf*` structs). They are read here and not by a crate: pdb2 0.11
//! recurses into field lists without a bound (one record of 64 KiB overflows the stack) and reserves as many arguments as
//! a record claims to have (16 GiB), and both abort the process.

use super::bytes::Reader;
use super::records16;

/// A type record. Type indices are bare `u32`; what they mean is the table's business.
#[derive(Debug, Clone)]
pub(super) enum Record<'t> {
    /// `LF_CLASS`, `LF_STRUCTURE`, `LF_UNION`, `LF_INTERFACE`.
    Udt(Udt<'t>),
    /// `LF_ENUM`.
    Enum(EnumRecord<'t>),
    /// `LF_FIELDLIST`: its fields, to be read by [`Fields`].
    FieldList(&'t [u8]),
    /// `LF_POINTER`, but for pointers to data members: pointers, references, pointers to member functions.
    Pointer {
        /// What it points to.
        target: u32,
        /// Size in bytes; 0 where the record does not tell.
        bytes: u8,
    },
    /// `LF_POINTER` to a data member: no address, but an offset from the object's start, in 4 bytes, and behind it what a
    /// virtual base takes to be found. Size in bytes.
    MemberOffset { bytes: u8 },
    /// `LF_ARRAY`: total size in bytes.
    Array { element: u32, bytes: u64 },
    /// `LF_VECTOR`: number of elements.
    Vector { element: u32, count: u32 },
    /// `LF_BITFIELD`.
    BitField { base: u32, start: u8, len: u8 },
    /// `LF_MODIFIER` (const, volatile, unaligned) and `LF_ALIAS`: another name for `target`.
    Alias { target: u32 },
    /// `LF_PROCEDURE` and `LF_MFUNCTION`.
    Procedure {
        /// Return type.
        ret: u32,
        /// Type of `this`, in a member function that has it.
        this: Option<u32>,
        /// An `LF_ARGLIST`.
        args: u32,
    },
    /// `LF_ARGLIST`.
    ArgList(Args<'t>),
    /// A kind that no type of data is made of.
    Other,
}

/// What keyword a [`Udt`] has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UdtKind {
    Struct,
    Class,
    Union,
}

/// A struct, class, union or interface.
#[derive(Debug, Clone, Copy)]
pub(super) struct Udt<'t> {
    pub(super) kind: UdtKind,
    /// Only declared here; another record of the name defines it.
    pub(super) forward: bool,
    /// Its `LF_FIELDLIST`.
    pub(super) fields: u32,
    /// Size in bytes.
    pub(super) size: u64,
    pub(super) name: &'t [u8],
    /// The decorated name, where the compiler wrote one.
    pub(super) unique_name: Option<&'t [u8]>,
}

/// An enumeration.
#[derive(Debug, Clone, Copy)]
pub(super) struct EnumRecord<'t> {
    pub(super) forward: bool,
    /// The integer type that holds it.
    pub(super) base: u32,
    pub(super) fields: u32,
    pub(super) name: &'t [u8],
    pub(super) unique_name: Option<&'t [u8]>,
}

/// Leaf kinds below this have texts that begin with their length.
const LF_ST_MAX: u16 = 0x1500;
pub(super) const FORWARD: u16 = 0x80;
const HAS_UNIQUE_NAME: u16 = 0x200;

/// The leaf kind of a record.
pub(super) fn kind(record: &[u8]) -> u16 {
    Reader(record).u16().unwrap_or(0)
}

/// Whether a record of this kind declares or defines a struct, union or enum.
pub(super) fn is_tagged(kind: u16) -> bool {
    matches!(kind, 0x0004..=0x0007 | 0x1004..=0x1007 | 0x1504..=0x1507 | 0x1519 | 0x1608..=0x160b)
}

/// The name of a leaf kind, for reports.
pub(super) fn kind_name(kind: u16) -> String {
    let name = match kind {
        0x0002 | 0x1002 => "LF_POINTER",
        0x0003 | 0x1003 | 0x1503 => "LF_ARRAY",
        0x0011 | 0x100c | 0x1508 => "LF_DIMARRAY",
        0x1516 => "LF_STRIDED_ARRAY",
        0x0004 | 0x1004 | 0x1504 | 0x1608 => "LF_CLASS",
        0x0005 | 0x1005 | 0x1505 | 0x1609 => "LF_STRUCTURE",
        0x0006 | 0x1006 | 0x1506 | 0x160a => "LF_UNION",
        0x0007 | 0x1007 | 0x1507 => "LF_ENUM",
        0x0204 | 0x1203 => "LF_FIELDLIST",
        0x0206 | 0x1205 => "LF_BITFIELD",
        0x151b => "LF_VECTOR",
        0x151c => "LF_MATRIX",
        _ => return format!("type record 0x{kind:04x}"),
    };
    name.to_owned()
}

impl<'t> Record<'t> {
    /// Reads a record, which begins with its leaf kind; `None` when it is cut short or a number in it is malformed.
    pub(super) fn parse(record: &'t [u8]) -> Option<Self> {
        let mut r = Reader(record);
        let leaf = r.u16()?;
        let counted = leaf < LF_ST_MAX;
        Some(match leaf {
            0x0001..=0x0fff => return records16::record(leaf, r),
            0x1004 | 0x1005 | 0x1504 | 0x1505 | 0x1519 => {
                let _count = r.u16()?;
                let properties = r.u16()?;
                let fields = r.u32()?;
                let _derived = r.u32()?;
                let _vtable_shape = r.u32()?;
                Self::Udt(udt(r, class_kind(leaf), properties, fields, counted)?)
            }
            0x1608 | 0x1609 | 0x160b => {
                let properties = r.u32()? as u16;
                let fields = r.u32()?;
                let _derived = r.u32()?;
                let _vtable_shape = r.u32()?;
                let _count = r.u16()?;
                Self::Udt(udt(r, class_kind(leaf), properties, fields, counted)?)
            }
            0x1006 | 0x1506 => {
                let _count = r.u16()?;
                let properties = r.u16()?;
                let fields = r.u32()?;
                Self::Udt(udt(r, UdtKind::Union, properties, fields, counted)?)
            }
            0x160a => {
                let properties = r.u32()? as u16;
                let fields = r.u32()?;
                let _count = r.u16()?;
                Self::Udt(udt(r, UdtKind::Union, properties, fields, counted)?)
            }
            0x1007 | 0x1507 => {
                let _count = r.u16()?;
                let properties = r.u16()?;
                let base = r.u32()?;
                let fields = r.u32()?;
                let name = r.text(counted)?;
                let unique_name = unique_name(&mut r, properties, counted);
                Self::Enum(EnumRecord { forward: properties & FORWARD != 0, base, fields, name, unique_name })
            }
            0x1203 => Self::FieldList(r.0),
            0x1002 => {
                let target = r.u32()?;
                let attributes = r.u32()?;
                // Behind the class comes how its member pointers are made.
                pointer(target, attributes, r.u32().and_then(|_class| r.u16()))
            }
            0x1003 | 0x1503 => {
                let element = r.u32()?;
                let _index = r.u32()?;
                Self::Array { element, bytes: r.size()? }
            }
            // An array whose length is not told.
            0x100b => Self::Array { element: r.u32()?, bytes: 0 },
            0x151b => Self::Vector { element: r.u32()?, count: r.u32()? },
            0x1205 => {
                let base = r.u32()?;
                let len = r.u8()?;
                Self::BitField { base, start: r.u8()?, len }
            }
            0x1001 | 0x1518 | 0x1010 | 0x150a => Self::Alias { target: r.u32()? },
            0x1008 => {
                let ret = r.u32()?;
                let _convention_attributes_count = r.u32()?;
                Self::Procedure { ret, this: None, args: r.u32()? }
            }
            0x1009 => {
                let ret = r.u32()?;
                let _class = r.u32()?;
                let this = Some(r.u32()?).filter(|&this| this != 0);
                let _convention_attributes_count = r.u32()?;
                Self::Procedure { ret, this, args: r.u32()? }
            }
            0x1201 => {
                let count = usize::try_from(r.u32()?).ok()?;
                Self::ArgList(Args { list: r.take(count.checked_mul(4)?)?, bytes: 4 })
            }
            _ => Self::Other,
        })
    }
}

/// An `LF_POINTER`. Its `representation` is that of pointers to members (`CV_pmtype_e`).
pub(super) fn pointer<'t>(target: u32, attributes: u32, representation: Option<u16>) -> Record<'t> {
    // Old compilers leave out the size and tell the kind alone: near and far ones of 16 and 32 bits, and 64 bits.
    let by_kind = match attributes & 0x1f {
        0 => 2,
        1 | 2 | 0x0a => 4,
        0x0b => 6,
        0x0c => 8,
        _ => 0,
    };
    let mode = attributes >> 5 & 7;
    let told = (attributes >> 13 & 0x3f) as u8;
    if !matches!(mode, 2 | 3) {
        return Record::Pointer { target, bytes: if told == 0 { by_kind } else { told } };
    }
    let by_representation = match (representation.unwrap_or(0), by_kind) {
        (3, _) | (6, 4) => 8,
        (4, _) | (7, 4) => 12,
        (6 | 7, _) | (8, 4) => 16,
        (8, _) => 24,
        // Of a function, and of a class with one base at most: its address.
        (0 | 5, near) if mode == 3 => near,
        _ => 4,
    };
    let bytes = if told == 0 { by_representation } else { told };
    if mode == 2 { Record::MemberOffset { bytes } } else { Record::Pointer { target, bytes } }
}

fn class_kind(leaf: u16) -> UdtKind {
    match leaf {
        0x1005 | 0x1505 | 0x1609 => UdtKind::Struct,
        _ => UdtKind::Class,
    }
}

/// Size and names, with which each of the struct-like leaves ends.
pub(super) fn udt(mut r: Reader<'_>, kind: UdtKind, properties: u16, fields: u32, counted: bool) -> Option<Udt<'_>> {
    let size = r.size()?;
    let name = r.text(counted)?;
    let unique_name = unique_name(&mut r, properties, counted);
    Some(Udt { kind, forward: properties & FORWARD != 0, fields, size, name, unique_name })
}

/// The decorated name. One that is cut short is as good as none. The compiler for managed code leaves out the `.?A`
/// with which others begin it.
fn unique_name<'t>(r: &mut Reader<'t>, properties: u16, counted: bool) -> Option<&'t [u8]> {
    let name = if properties & HAS_UNIQUE_NAME == 0 { None } else { r.text(counted) };
    name.map(|name| name.strip_prefix(b".?A").unwrap_or(name))
}

/// A list of arguments: type indices of 2 or 4 bytes each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Args<'t> {
    pub(super) list: &'t [u8],
    pub(super) bytes: usize,
}

impl<'t> Args<'t> {
    /// The type indices.
    pub(super) fn indices(self) -> impl Iterator<Item = u32> + 't {
        let indices = self.list.chunks_exact(self.bytes);
        indices.map(|index| index.iter().rev().fold(0, |number, &byte| number << 8 | u32::from(byte)))
    }
}

/// A field of a struct or enum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Field<'t> {
    /// `LF_MEMBER`: offset in bytes.
    Member { ty: u32, offset: u64, name: &'t [u8] },
    /// `LF_BCLASS`, `LF_BINTERFACE`.
    Base { ty: u32, offset: u64 },
    /// `LF_VBCLASS`, `LF_IVBCLASS`: `pointer` is the offset, in bytes, of the pointer to the table that tells where it lies.
    VirtualBase { ty: u32, pointer: u64, direct: bool },
    /// `LF_VFUNCTAB`, `LF_VFUNCOFF`: the pointer to the virtual function table.
    VirtualTable { offset: u64 },
    /// `LF_ENUMERATE`.
    Label { value: i128, name: &'t [u8] },
    /// `LF_INDEX`: the list goes on in another record.
    Continues(u32),
    /// Methods, static members, nested types, friends: nothing that takes room.
    NoData,
    /// A field whose number is none that an offset or a label can be.
    NoNumber(u16),
}

/// The fields of an [`Record::FieldList`], in order; an `Err` is the kind of one that cannot be read, and ends it.
pub(super) struct Fields<'t>(Reader<'t>);

impl<'t> Fields<'t> {
    pub(super) fn new(list: &'t [u8]) -> Self {
        Self(Reader(list))
    }

    fn field(&mut self, leaf: u16) -> Option<Field<'t>> {
        let r = &mut self.0;
        let counted = leaf < LF_ST_MAX;
        if (0x0400..0x0500).contains(&leaf) && leaf != 0x0403 {
            return records16::field(leaf, r);
        }
        // The attributes: access, kind of method, flags. Some leaves have padding in their place.
        let attributes = r.u16()?;
        Some(match leaf {
            0x1405 | 0x150d => {
                let ty = r.u32()?;
                let offset = r.numeric_leaf()?.size();
                let name = r.text(counted)?;
                offset.map_or(Field::NoNumber(leaf), |offset| Field::Member { ty, offset, name })
            }
            0x1400 | 0x151a => {
                let ty = r.u32()?;
                let offset = r.numeric_leaf()?.size();
                offset.map_or(Field::NoNumber(leaf), |offset| Field::Base { ty, offset })
            }
            0x1401 | 0x1402 => {
                let ty = r.u32()?;
                let _pointer_type = r.u32()?;
                let pointer = r.numeric_leaf()?.size();
                let _index_in_table = r.numeric_leaf()?;
                let direct = leaf == 0x1401;
                pointer.map_or(Field::NoNumber(leaf), |pointer| Field::VirtualBase { ty, pointer, direct })
            }
            0x0403 | 0x1502 => {
                let value = r.numeric_leaf()?.integer();
                let name = r.text(counted)?;
                value.map_or(Field::NoNumber(leaf), |value| Field::Label { value, name })
            }
            0x1409 => {
                r.u32()?;
                Field::VirtualTable { offset: 0 }
            }
            0x140c => {
                r.u32()?;
                Field::VirtualTable { offset: u64::from(r.u32()?) }
            }
            0x1404 => Field::Continues(r.u32()?),
            0x140a => {
                r.u32()?;
                Field::NoData
            }
            // Static member, overloaded method, nested type (two forms), friend function, modified member.
            0x1406 | 0x150e | 0x1407 | 0x150f | 0x1408 | 0x1510 | 0x140d | 0x1512 | 0x1403 | 0x150c | 0x140e
            | 0x1513 => {
                r.u32()?;
                r.text(counted)?;
                Field::NoData
            }
            0x140b | 0x1511 => {
                r.u32()?;
                // A method that introduces a virtual function tells its place in the table.
                if matches!(attributes >> 2 & 7, 4 | 6) {
                    r.u32()?;
                }
                r.text(counted)?;
                Field::NoData
            }
            _ => return None,
        })
    }
}

impl<'t> Iterator for Fields<'t> {
    type Item = Result<Field<'t>, u16>;

    fn next(&mut self) -> Option<Self::Item> {
        // Padding to four bytes: 0xf1 to 0xff, the low half is the number of bytes to skip.
        while let Some(pad) = self.0.0.first().filter(|&&pad| pad >= 0xf0) {
            let skip = usize::from(pad & 0xf).max(1);
            self.0.0 = self.0.0.get(skip..).unwrap_or_default();
        }
        if self.0.0.is_empty() {
            return None;
        }
        let leaf = self.0.u16();
        let field = leaf.and_then(|leaf| self.field(leaf));
        if field.is_none() {
            self.0 = Reader(&[]);
        }
        Some(field.ok_or(leaf.unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_list_with_padding_a_continuation_and_an_unknown_kind() {
        let mut list = Vec::new();
        list.extend([0x0d, 0x15, 3, 0, 0x22, 0, 0, 0, 8, 0, b'a', 0]);
        list.extend([0x02, 0x15, 3, 0, 0x01, 0x80, 0xfe, 0xff, b'x', 0, 0xf2, 0xf1]);
        list.extend([0x11, 0x15, 0x10, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, b'm', 0, 0xf2, 0xf1]);
        list.extend([0x04, 0x14, 0, 0, 0x34, 0x12, 0, 0]);
        list.extend([0x99, 0x99, 0, 0, 0, 0]);
        let fields: Vec<_> = Fields::new(&list).collect();
        assert_eq!(
            fields,
            [
                Ok(Field::Member { ty: 0x22, offset: 8, name: b"a" }),
                Ok(Field::Label { value: -2, name: b"x" }),
                Ok(Field::NoData),
                Ok(Field::Continues(0x1234)),
                Err(0x9999),
            ]
        );
    }

    #[test]
    fn an_argument_list_that_claims_more_than_it_has_is_refused() {
        assert!(Record::parse(&[0x01, 0x12, 0xff, 0xff, 0xff, 0x3f, 0x10, 0, 0, 0]).is_none());
        let Some(Record::ArgList(list)) = Record::parse(&[0x01, 0x12, 2, 0, 0, 0, 0x10, 0, 0, 0, 0x22, 0, 0, 0]) else {
            panic!("a list")
        };
        assert_eq!(list.indices().collect::<Vec<_>>(), [0x10, 0x22]);
    }

    /// Widths of Visual C++'s pointers to members: one base, several, virtual ones, an undefined class (`CV_pmtype_e`).
    #[test]
    fn pointers_without_a_size_have_that_of_their_kind() {
        let width = |kind: u32, mode: u32, representation: u16| {
            let mut record = vec![0x02, 0x10, 0x74, 0, 0, 0];
            record.extend((kind | mode << 5).to_le_bytes());
            record.extend([0, 0x10, 0, 0]);
            record.extend(representation.to_le_bytes());
            match Record::parse(&record) {
                Some(Record::Pointer { bytes, .. } | Record::MemberOffset { bytes }) => bytes,
                other => panic!("{other:?}"),
            }
        };
        let [near, near64] = [0x0a, 0x0c];
        assert_eq!([0, 1, 0x0a, 0x0b, 0x0c].map(|kind| width(kind, 0, 0)), [2, 4, 4, 6, 8]);
        assert_eq!([1, 2, 3, 4].map(|data| width(near, 2, data)), [4, 4, 8, 12]);
        assert_eq!([5, 6, 7, 8].map(|function| width(near, 3, function)), [4, 8, 12, 16]);
        assert_eq!([1, 2, 3, 4].map(|data| width(near64, 2, data)), [4, 4, 8, 12]);
        assert_eq!([5, 6, 7, 8].map(|function| width(near64, 3, function)), [8, 16, 16, 24]);
        // A size in the attributes counts more.
        assert!(matches!(
            Record::parse(&[0x02, 0x10, 0x74, 0, 0, 0, 0x0c, 0, 1, 0]),
            Some(Record::Pointer { target: 0x74, bytes: 8 })
        ));
    }

    #[test]
    fn a_label_that_is_no_integer_costs_itself_alone() {
        let mut list = vec![0x02, 0x15, 3, 0, 0x06, 0x80];
        list.extend(1.5f64.to_le_bytes());
        list.extend([b'r', 0, 0xf2, 0xf1, 0x02, 0x15, 3, 0, 7, 0, b'i', 0]);
        let fields: Vec<_> = Fields::new(&list).collect();
        assert_eq!(fields, [Ok(Field::NoNumber(0x1502)), Ok(Field::Label { value: 7, name: b"i" })]);
    }
}
