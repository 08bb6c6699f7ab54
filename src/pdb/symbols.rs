//! Symbol records: publics, data, procedures and thunks with their addresses, and constants.
//!
//! Kinds and layouts: microsoft-pdb, include/cvinfo.h, `SYM_ENUM_e`, `PUBSYM32`, `DATASYM32`, `PROCSYM32`,
//! `THUNKSYM32`, `CONSTSYM`.

use super::ParseReport;
use super::address::{AddressMap, Place};
use super::bytes::Reader;
use std::borrow::Cow;

use Form::{Counted, Current, Short};
use Kind::{Data, Procedure, Unsupported};
use Scope::{Global, Static};

/// What the records say; names are those of the streams.
#[derive(Debug, Default)]
pub(super) struct Symbols<'s> {
    pub(super) list: Vec<Symbol<'s>>,
    pub(super) constants: Vec<Constant<'s>>,
    /// Procedures that the global records name; what they are is in the modules' streams.
    pub(super) procedure_references: usize,
}

/// Who sees a symbol. The order tells whose name stays as it is when several have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    /// The linker: the name is decorated.
    Public,
    /// Every module: the name is as in the source.
    Global,
    /// Its module, or a function of it.
    Static,
}

/// A symbol that has an address.
#[derive(Debug)]
pub(super) struct Symbol<'s> {
    pub(super) scope: Scope,
    /// Section and offset.
    pub(super) place: (u16, u32),
    /// RVA in the image, or the number itself of an absolute symbol.
    pub(super) address: u32,
    pub(super) function: bool,
    /// Type index of data, 0 where it is not told.
    pub(super) ty: u32,
    pub(super) name: Cow<'s, str>,
}

/// A number by name, and the index of its type.
#[derive(Debug)]
pub(super) struct Constant<'s> {
    pub(super) ty: u32,
    pub(super) value: i128,
    pub(super) name: Cow<'s, str>,
}

/// How fields are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Type indices of 32 bits, names that end in NUL: since Visual C++ 7.
    Current,
    /// Names that begin with their length.
    Counted,
    /// Type indices of 16 bits as well: Visual C++ 5 and older.
    Short,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Public,
    Data(Scope),
    Procedure(Scope),
    Thunk,
    Constant,
    Reference,
    /// Symbols of .NET, which go by tokens, and of 16-bit code.
    Unsupported,
}

/// The records that matter here, by number. The rest tells of types, lines, registers and places inside functions.
const KINDS: [(u16, &str, Kind, Form); 44] = [
    (0x0003, "S_CONSTANT_16t", Kind::Constant, Short),
    (0x0101, "S_LDATA16", Unsupported, Short),
    (0x0102, "S_GDATA16", Unsupported, Short),
    (0x0103, "S_PUB16", Unsupported, Short),
    (0x0104, "S_LPROC16", Unsupported, Short),
    (0x0105, "S_GPROC16", Unsupported, Short),
    (0x0201, "S_LDATA32_16t", Data(Static), Short),
    (0x0202, "S_GDATA32_16t", Data(Global), Short),
    (0x0203, "S_PUB32_16t", Kind::Public, Short),
    (0x0204, "S_LPROC32_16t", Procedure(Static), Short),
    (0x0205, "S_GPROC32_16t", Procedure(Global), Short),
    (0x0206, "S_THUNK32_ST", Kind::Thunk, Counted),
    (0x0210, "S_LTHREAD32_16t", Data(Static), Short),
    (0x0211, "S_GTHREAD32_16t", Data(Global), Short),
    (0x0400, "S_PROCREF_ST", Kind::Reference, Counted),
    (0x0403, "S_LPROCREF_ST", Kind::Reference, Counted),
    (0x1002, "S_CONSTANT_ST", Kind::Constant, Counted),
    (0x1007, "S_LDATA32_ST", Data(Static), Counted),
    (0x1008, "S_GDATA32_ST", Data(Global), Counted),
    (0x1009, "S_PUB32_ST", Kind::Public, Counted),
    (0x100a, "S_LPROC32_ST", Procedure(Static), Counted),
    (0x100b, "S_GPROC32_ST", Procedure(Global), Counted),
    (0x100e, "S_LTHREAD32_ST", Data(Static), Counted),
    (0x100f, "S_GTHREAD32_ST", Data(Global), Counted),
    (0x1102, "S_THUNK32", Kind::Thunk, Current),
    (0x1107, "S_CONSTANT", Kind::Constant, Current),
    (0x110c, "S_LDATA32", Data(Static), Current),
    (0x110d, "S_GDATA32", Data(Global), Current),
    (0x110e, "S_PUB32", Kind::Public, Current),
    (0x110f, "S_LPROC32", Procedure(Static), Current),
    (0x1110, "S_GPROC32", Procedure(Global), Current),
    (0x1112, "S_LTHREAD32", Data(Static), Current),
    (0x1113, "S_GTHREAD32", Data(Global), Current),
    (0x111c, "S_LMANDATA", Unsupported, Current),
    (0x111d, "S_GMANDATA", Unsupported, Current),
    (0x1125, "S_PROCREF", Kind::Reference, Current),
    (0x1127, "S_LPROCREF", Kind::Reference, Current),
    (0x112a, "S_GMANPROC", Unsupported, Current),
    (0x112b, "S_LMANPROC", Unsupported, Current),
    (0x112d, "S_MANCONSTANT", Unsupported, Current),
    (0x1146, "S_LPROC32_ID", Procedure(Static), Current),
    (0x1147, "S_GPROC32_ID", Procedure(Global), Current),
    (0x1155, "S_LPROC32_DPC", Procedure(Static), Current),
    (0x1156, "S_LPROC32_DPC_ID", Procedure(Static), Current),
];

/// Flag of a public symbol: it is a function.
const FUNCTION: u32 = 2;

impl<'s> Symbols<'s> {
    /// Reads the records of a stream. What cannot be placed is counted. `progress` is told the bytes that are left.
    pub(super) fn read(
        &mut self,
        stream: &'s [u8],
        map: &AddressMap,
        report: &mut ParseReport,
        mut progress: impl FnMut(usize),
    ) {
        let mut rest = Reader(stream);
        while !rest.0.is_empty() {
            let record = rest.u16().and_then(|len| rest.take(usize::from(len))).filter(|record| record.len() >= 2);
            let Some(record) = record else {
                report.skip("rest of a symbol stream, after a record of an impossible length");
                break;
            };
            let mut fields = Reader(record);
            let number = fields.u16().unwrap_or(0);
            let known = KINDS.binary_search_by_key(&number, |(number, ..)| *number).ok().and_then(|at| KINDS.get(at));
            if let Some(&(_, name, kind, form)) = known
                && self.record(name, kind, form, fields, map, report).is_none()
            {
                report.skip(name);
            }
            progress(rest.0.len());
        }
    }

    /// One record, after its number; `None` when it is cut short or not supported.
    fn record(
        &mut self,
        what: &str,
        kind: Kind,
        form: Form,
        mut fields: Reader<'s>,
        map: &AddressMap,
        report: &mut ParseReport,
    ) -> Option<()> {
        let fields = &mut fields;
        let text = |fields: &mut Reader<'s>| Some(String::from_utf8_lossy(fields.text(form != Current)?));
        let (scope, mut place) = match kind {
            Kind::Unsupported => return None,
            Kind::Reference => {
                self.procedure_references += 1;
                return Some(());
            }
            Kind::Constant => {
                let ty = if form == Short { fields.u16()?.into() } else { fields.u32()? };
                let value = fields.numeric()?;
                self.constants.push(Constant { ty, value, name: text(fields)? });
                return Some(());
            }
            Kind::Public => (Scope::Public, TypedPlace::read(fields, form)?),
            Data(scope) => (scope, TypedPlace::read(fields, form)?),
            Procedure(scope) => {
                // Scopes around it, length, and where its prologue ends and its epilogue begins.
                fields.take(24)?;
                let place = TypedPlace::read(fields, form)?;
                let _flags = fields.u8()?;
                (scope, place)
            }
            Kind::Thunk => {
                let _scopes = fields.take(12)?;
                let (offset, section) = (fields.u32()?, fields.u16()?);
                let _length_and_ordinal = fields.take(3)?;
                (Static, TypedPlace { ty: 0, offset, section })
            }
        };
        let name = text(fields)?;
        let function = match kind {
            // The oldest form has a type, mostly 0, where the others have flags.
            Kind::Public if form == Short => map.is_code(place.section),
            Kind::Public => place.ty & FUNCTION != 0,
            _ => !matches!(kind, Data(_)),
        };
        if !matches!(kind, Data(_)) {
            place.ty = 0;
        }
        let TypedPlace { ty, offset, section } = place;
        let address = match map.place(section, offset) {
            Place::Absolute(address) => address,
            Place::Rva(address) => {
                if !map.leads_back(address, section, offset) {
                    report.omap_disagreements += 1;
                }
                address
            }
            Place::Removed => {
                report.skip(&format!("{what} of what was removed from the image"));
                return Some(());
            }
            Place::NoSection if section == 0 => {
                report.skip(&format!("{what} of what the linker left out (section 0)"));
                return Some(());
            }
            Place::NoSection => {
                report.skip(&format!("{what} of a section that does not exist"));
                return Some(());
            }
        };
        self.list.push(Symbol { scope, place: (section, offset), address, function, ty, name });
        Some(())
    }
}

/// Where a symbol is, and the index of its type; of a public symbol, its flags.
struct TypedPlace {
    ty: u32,
    offset: u32,
    section: u16,
}

impl TypedPlace {
    fn read(fields: &mut Reader<'_>, form: Form) -> Option<Self> {
        Some(if form == Short {
            let (offset, section, ty) = (fields.u32()?, fields.u16()?, fields.u16()?);
            Self { ty: ty.into(), offset, section }
        } else {
            let (ty, offset, section) = (fields.u32()?, fields.u32()?, fields.u16()?);
            Self { ty, offset, section }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u16, fields: &[&[u8]]) -> Vec<u8> {
        let body = [&kind.to_le_bytes()[..], &fields.concat()].concat();
        [&(body.len() as u16).to_le_bytes()[..], &body].concat()
    }

    fn map() -> AddressMap {
        let mut headers = [0; 80];
        (headers[13], headers[36]) = (0x10, 0x20);
        headers[40 + 13] = 0x80;
        AddressMap::new(&headers, &[], &[])
    }

    #[test]
    fn kinds_are_in_order() {
        assert!(KINDS.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn records_of_every_form() {
        let (offset, data, code) = (&0x20u32.to_le_bytes()[..], &[2u8, 0][..], &[1u8, 0][..]);
        let stream = [
            record(0x110e, &[&[2, 0, 0, 0], offset, code, b"_f@4\0"]),
            record(0x110c, &[&[0x74, 0, 0, 0], offset, data, b"g\0"]),
            record(0x1008, &[&[0x74, 0, 0, 0], offset, data, b"\x02st"]),
            record(0x0202, &[offset, data, &[0x74, 0], b"\x03old"]),
            record(0x0203, &[offset, code, &[0, 0], b"\x04_old"]),
            record(0x110f, &[&[0; 24], &[1, 0x10, 0, 0], offset, code, &[0], b"p\0"]),
            record(0x0205, &[&[0; 24], offset, code, &[1, 0x10], &[0], b"\x01q"]),
            record(0x1102, &[&[0; 12], offset, code, &[6, 0, 0], b"t\0"]),
            record(0x110d, &[&[0x74, 0, 0, 0], offset, &[3, 0], b"absolute\0"]),
            record(0x1107, &[&[0x74, 0, 0, 0], &[0, 0x80, 0xff], b"minus\0"]),
            record(0x0003, &[&[0x74, 0], &[7, 0], b"\x05seven"]),
            record(0x1125, &[&[0; 10], b"p\0"]),
            record(0x110d, &[&[0x74, 0, 0, 0], offset, &[0, 0], b"gone\0"]),
            record(0x110d, &[&[0x74, 0, 0, 0], offset, &[9, 0], b"nowhere\0"]),
            record(0x110d, &[&[0x74, 0, 0, 0], offset]),
            record(0x112a, &[]),
        ]
        .concat();
        let mut report = ParseReport::default();
        let mut symbols = Symbols::default();
        symbols.read(&stream, &map(), &mut report, |_| ());
        let list: Vec<_> = symbols.list.iter().map(|s| (&*s.name, s.scope, s.address, s.function, s.ty)).collect();
        let expected = [
            ("_f@4", Scope::Public, 0x1020, true, 0),
            ("g", Static, 0x8020, false, 0x74),
            ("st", Global, 0x8020, false, 0x74),
            ("old", Global, 0x8020, false, 0x74),
            ("_old", Scope::Public, 0x1020, true, 0),
            ("p", Static, 0x1020, true, 0),
            ("q", Global, 0x1020, true, 0),
            ("t", Static, 0x1020, true, 0),
            ("absolute", Global, 0x20, false, 0x74),
        ];
        assert_eq!(list, expected);
        let constants: Vec<_> = symbols.constants.iter().map(|c| (&*c.name, c.ty, c.value)).collect();
        assert_eq!(constants, [("minus", 0x74, -1), ("seven", 0x74, 7)]);
        assert_eq!(symbols.procedure_references, 1);
        let skipped: Vec<_> = report.skipped.iter().map(|(what, count)| (&**what, *count)).collect();
        let expected = [
            ("S_GDATA32", 1),
            ("S_GDATA32 of a section that does not exist", 1),
            ("S_GDATA32 of what the linker left out (section 0)", 1),
            ("S_GMANPROC", 1),
        ];
        assert_eq!(skipped, expected);
    }
}
