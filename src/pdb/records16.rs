//! Type records whose type indices have 16 bits, which compilers before Visual C++ 5 wrote.
//!
//! Layouts: microsoft-pdb, include/cvinfo.h, the structs whose names end in `_16t`. All texts begin with their length.

use super::bytes::Reader;
use super::records::{Args, EnumRecord, FORWARD, Field, Record, UdtKind, pointer, udt};

/// Reads a record of the kind `leaf`, behind which `r` stands; `None` when it is cut short.
pub(super) fn record(leaf: u16, mut r: Reader<'_>) -> Option<Record<'_>> {
    let index = |r: &mut Reader<'_>| r.u16().map(u32::from);
    Some(match leaf {
        0x0001 => {
            let _attributes = r.u16()?;
            Record::Alias { target: index(&mut r)? }
        }
        0x0002 => {
            let attributes = r.u16()?;
            let target = index(&mut r)?;
            // Kind and mode stand where they do in the newer record; the bits above are others.
            pointer(target, u32::from(attributes & 0xff), index(&mut r).and_then(|_class| r.u16()))
        }
        0x0003 => {
            let element = index(&mut r)?;
            let _index = r.u16()?;
            Record::Array { element, bytes: r.size()? }
        }
        0x0004 | 0x0005 => {
            let _count = r.u16()?;
            let fields = index(&mut r)?;
            let properties = r.u16()?;
            let _derived_and_vtable_shape = r.u32()?;
            let kind = if leaf == 0x0004 { UdtKind::Class } else { UdtKind::Struct };
            Record::Udt(udt(r, kind, properties & FORWARD, fields, true)?)
        }
        0x0006 => {
            let _count = r.u16()?;
            let fields = index(&mut r)?;
            let properties = r.u16()?;
            Record::Udt(udt(r, UdtKind::Union, properties & FORWARD, fields, true)?)
        }
        0x0007 => {
            let _count = r.u16()?;
            let (base, fields) = (index(&mut r)?, index(&mut r)?);
            let forward = r.u16()? & FORWARD != 0;
            Record::Enum(EnumRecord { forward, base, fields, name: r.text(true)?, unique_name: None })
        }
        0x0008 => {
            let ret = index(&mut r)?;
            let _convention_attributes_count = r.u32()?;
            Record::Procedure { ret, this: None, args: index(&mut r)? }
        }
        0x0009 => {
            let ret = index(&mut r)?;
            let _class = r.u16()?;
            let this = Some(index(&mut r)?).filter(|&this| this != 0);
            let _convention_attributes_count = r.u32()?;
            Record::Procedure { ret, this, args: index(&mut r)? }
        }
        0x000d => Record::Array { element: index(&mut r)?, bytes: 0 },
        0x0201 => {
            let count = usize::from(r.u16()?);
            Record::ArgList(Args { list: r.take(count.checked_mul(2)?)?, bytes: 2 })
        }
        0x0204 => Record::FieldList(r.0),
        0x0206 => {
            let (len, start) = (r.u8()?, r.u8()?);
            Record::BitField { base: index(&mut r)?, start, len }
        }
        _ => Record::Other,
    })
}

/// Reads a field of the kind `leaf`; `None` when it is cut short, or of a kind that is not known.
pub(super) fn field<'t>(leaf: u16, r: &mut Reader<'t>) -> Option<Field<'t>> {
    // Each begins with a type, but for methods, which have a number before it.
    let first = r.u16()?;
    let ty = u32::from(first);
    Some(match leaf {
        0x0400 => {
            let _attributes = r.u16()?;
            let offset = r.numeric_leaf()?.size();
            offset.map_or(Field::NoNumber(leaf), |offset| Field::Base { ty, offset })
        }
        0x0401 | 0x0402 => {
            let _pointer_type_and_attributes = r.u32()?;
            let pointer = r.numeric_leaf()?.size();
            let _index_in_table = r.numeric_leaf()?;
            let direct = leaf == 0x0401;
            pointer.map_or(Field::NoNumber(leaf), |pointer| Field::VirtualBase { ty, pointer, direct })
        }
        0x0405 => Field::Continues(ty),
        0x0406 => {
            let _attributes = r.u16()?;
            let offset = r.numeric_leaf()?.size();
            let name = r.text(true)?;
            offset.map_or(Field::NoNumber(leaf), |offset| Field::Member { ty, offset, name })
        }
        0x040a => Field::VirtualTable { offset: 0 },
        0x040d => Field::VirtualTable { offset: u64::from(r.u32()?) },
        // A friend class has no name.
        0x040b => Field::NoData,
        // A friend function and a nested type have a name, a static member and an overloaded method a number before it.
        0x0404 | 0x0409 => {
            r.text(true)?;
            Field::NoData
        }
        0x0407 | 0x0408 => {
            r.u16()?;
            r.text(true)?;
            Field::NoData
        }
        0x040c => {
            r.u16()?;
            // A method that introduces a virtual function tells its place in the table.
            if matches!(first >> 2 & 7, 4 | 6) {
                r.u32()?;
            }
            r.text(true)?;
            Field::NoData
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::records::Fields;
    use super::*;

    /// Records written out by hand after cvinfo.h: no file of the tests has such.
    #[test]
    fn records_of_16_bits() {
        let parse = |bytes: &'static [u8]| Record::parse(bytes).expect("a record");
        assert!(matches!(parse(&[1, 0, 1, 0, 0x12, 0]), Record::Alias { target: 0x12 }));
        assert!(matches!(parse(&[2, 0, 0x0a, 4, 0x05, 0x10]), Record::Pointer { target: 0x1005, bytes: 4 }));
        assert!(matches!(parse(&[2, 0, 0x4a, 0, 0x12, 0, 1, 0x10, 1, 0]), Record::MemberOffset { bytes: 4 }));
        assert!(matches!(parse(&[3, 0, 0x12, 0, 0x11, 0, 40, 0, 0]), Record::Array { element: 0x12, bytes: 40 }));
        let Record::Udt(udt) = parse(b"\x05\0\x02\0\x01\x10\0\0\0\0\0\0\x08\0\x05_PAIR") else { panic!("a struct") };
        assert_eq!((udt.kind, udt.forward, udt.fields, udt.size), (UdtKind::Struct, false, 0x1001, 8));
        assert_eq!((udt.name, udt.unique_name), (&b"_PAIR"[..], None));
        let Record::Udt(udt) = parse(b"\x06\0\0\0\0\0\x80\0\0\0\x01U") else { panic!("a union") };
        assert_eq!((udt.kind, udt.forward, udt.size, udt.name), (UdtKind::Union, true, 0, &b"U"[..]));
        let Record::Enum(record) = parse(b"\x07\0\x01\0\x74\0\x02\x10\0\0\x01E") else { panic!("an enum") };
        assert_eq!((record.base, record.fields, record.name), (0x74, 0x1002, &b"E"[..]));
        let Record::Procedure { ret, this, args } =
            parse(&[9, 0, 3, 0, 1, 0x10, 2, 0x10, 0, 0, 1, 0, 3, 0x10, 0, 0, 0, 0])
        else {
            panic!("a member function")
        };
        assert_eq!((ret, this, args), (3, Some(0x1002), 0x1003));
        let Record::ArgList(args) = parse(&[1, 2, 2, 0, 0x12, 0, 0x34, 0x10]) else { panic!("arguments") };
        assert_eq!(args.indices().collect::<Vec<_>>(), [0x12, 0x1034]);
        assert!(matches!(parse(&[6, 2, 3, 5, 0x22, 0]), Record::BitField { base: 0x22, start: 5, len: 3 }));
        assert!(Record::parse(&[1, 2, 9, 0, 0x12, 0]).is_none(), "more arguments than there are");
    }

    #[test]
    fn fields_of_16_bits() {
        let mut list = Vec::new();
        list.extend(b"\x06\x04\x12\0\x03\0\x04\0\x01a\xf2\xf1");
        list.extend(b"\0\x04\x01\x10\x03\0\x08\0");
        list.extend(b"\x01\x04\x02\x10\x03\x10\x03\0\x0c\0\x01\0");
        list.extend(b"\x0c\x04\x10\0\x04\x10\0\0\0\0\x01m");
        list.extend(b"\x03\x04\x03\0\x07\0\x01e");
        list.extend(b"\x0a\x04\x05\x10");
        list.extend(b"\x05\x04\x06\x10");
        let fields: Vec<_> = Fields::new(&list).collect();
        assert_eq!(
            fields,
            [
                Ok(Field::Member { ty: 0x12, offset: 4, name: b"a" }),
                Ok(Field::Base { ty: 0x1001, offset: 8 }),
                Ok(Field::VirtualBase { ty: 0x1002, pointer: 12, direct: true }),
                Ok(Field::NoData),
                Ok(Field::Label { value: 7, name: b"e" }),
                Ok(Field::VirtualTable { offset: 0 }),
                Ok(Field::Continues(0x1006)),
            ]
        );
    }
}
