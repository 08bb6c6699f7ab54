//! CodeView type records: one leaf at a time, nothing followed.
//!
//! Layouts: microsoft-pdb, include/cvinfo.h (`lf*` structs). They are read here and not by a crate: pdb2 0.11
//! recurses into field lists without a bound (one record of 64 KiB overflows the stack) and reserves as many arguments as
//! a record claims to have (16 GiB), and both abort the process.

use super::bytes::Reader;

/// A type record. Type indices are bare `u32`; what they mean is the table's business.
#[derive(Debug, Clone)]
pub(super) enum Record<'t> {
    /// `LF_CLASS`, `LF_STRUCTURE`, `LF_UNION`, `LF_INTERFACE`.
    Udt(Udt<'t>),
    /// `LF_ENUM`.
    Enum(EnumRecord<'t>),
    /// `LF_FIELDLIST`: its fields, to be read by [`Fields`].
    FieldList(&'t [u8]),
    /// `LF_POINTER`.
    Pointer {
        /// What it points to.
        target: u32,
        /// Size in bytes; 0 where the record does not tell.
        bytes: u8,
    },
    /// `LF_ARRAY`: total size in bytes.
    Array { element: u32, bytes: u64 },
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
    /// `LF_ARGLIST`: four bytes an argument.
    ArgList(&'t [u8]),
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
const FORWARD: u16 = 0x80;
const HAS_UNIQUE_NAME: u16 = 0x200;

/// The leaf kind of a record.
pub(super) fn kind(record: &[u8]) -> u16 {
    Reader(record).u16().unwrap_or(0)
}

/// Whether a record of this kind declares or defines a struct, union or enum.
pub(super) fn is_tagged(kind: u16) -> bool {
    matches!(kind, 0x1004..=0x1007 | 0x1504..=0x1507 | 0x1519 | 0x1608..=0x160b)
}

/// The name of a leaf kind, for reports.
pub(super) fn kind_name(kind: u16) -> String {
    let name = match kind {
        0x1002 => "LF_POINTER",
        0x1003 | 0x1503 | 0x1516 => "LF_ARRAY",
        0x1004 | 0x1504 | 0x1608 => "LF_CLASS",
        0x1005 | 0x1505 | 0x1609 => "LF_STRUCTURE",
        0x1006 | 0x1506 | 0x160a => "LF_UNION",
        0x1007 | 0x1507 => "LF_ENUM",
        0x1203 => "LF_FIELDLIST",
        0x1205 => "LF_BITFIELD",
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
                let bytes = match (attributes >> 13 & 0x3f, attributes & 0x1f) {
                    (0, 0x0a) => 4,
                    (0, 0x0c) => 8,
                    (bytes, _) => bytes as u8,
                };
                Self::Pointer { target, bytes }
            }
            0x1003 | 0x1503 | 0x1516 => {
                let element = r.u32()?;
                let _index = r.u32()?;
                if leaf == 0x1516 {
                    let _stride = r.u32()?;
                }
                Self::Array { element, bytes: r.size()? }
            }
            0x1205 => {
                let base = r.u32()?;
                let len = r.u8()?;
                Self::BitField { base, start: r.u8()?, len }
            }
            0x1001 | 0x1518 | 0x100a | 0x150a => Self::Alias { target: r.u32()? },
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
                Self::ArgList(r.take(count.checked_mul(4)?)?)
            }
            _ => Self::Other,
        })
    }
}

fn class_kind(leaf: u16) -> UdtKind {
    match leaf {
        0x1005 | 0x1505 | 0x1609 => UdtKind::Struct,
        _ => UdtKind::Class,
    }
}

/// Size and names, with which each of the struct-like leaves ends.
fn udt(mut r: Reader<'_>, kind: UdtKind, properties: u16, fields: u32, counted: bool) -> Option<Udt<'_>> {
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

/// The type indices of an [`Record::ArgList`].
pub(super) fn arg_indices(list: &[u8]) -> impl Iterator<Item = u32> {
    list.chunks_exact(4).filter_map(|index| Reader(index).u32())
}

/// A field of a struct or enum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Field<'t> {
    /// `LF_MEMBER`: offset in bytes.
    Member { ty: u32, offset: u64, name: &'t [u8] },
    /// `LF_BCLASS`, `LF_BINTERFACE`.
    Base { ty: u32, offset: u64 },
    /// `LF_VBCLASS`, `LF_IVBCLASS`: where it lies is known at run time only.
    VirtualBase,
    /// `LF_VFUNCTAB`, `LF_VFUNCOFF`: the pointer to the virtual function table.
    VirtualTable { offset: u64 },
    /// `LF_ENUMERATE`.
    Label { value: i128, name: &'t [u8] },
    /// `LF_INDEX`: the list goes on in another record.
    Continues(u32),
    /// Methods, static members, nested types, friends: nothing that takes room.
    NoData,
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
        // The attributes: access, kind of method, flags. Some leaves have padding in their place.
        let attributes = r.u16()?;
        Some(match leaf {
            0x1405 | 0x150d => {
                let ty = r.u32()?;
                let offset = r.size()?;
                Field::Member { ty, offset, name: r.text(counted)? }
            }
            0x1400 | 0x151a => Field::Base { ty: r.u32()?, offset: r.size()? },
            0x1401 | 0x1402 => {
                r.take(8)?;
                r.numeric()?;
                r.numeric()?;
                Field::VirtualBase
            }
            0x0403 | 0x1502 => {
                let value = r.numeric()?;
                Field::Label { value, name: r.text(counted)? }
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
        assert_eq!(arg_indices(list).collect::<Vec<_>>(), [0x10, 0x22]);
    }
}
