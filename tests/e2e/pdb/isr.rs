//! Types against the isr crate, which reads PDBs with the pdb crate: size of every struct, offset, bits and array dimensions of
//! every member, values of every enum.

use super::differ::{Compared, JudgedEnum, JudgedStruct, Ours, Row, array_text, is_made_up, ours};
use super::{good_pdbs, judged_pdbs, parsed};
use isr_core::schema::{self, Base, Variant};
use quaid_profile::{BaseKind, BaseType, Struct, Type};
use std::collections::BTreeSet;
use std::path::Path;

/// Characters and truth values have one kind and no sign there, and no float has 10 bytes.
fn native(base: &BaseType) -> String {
    match base.kind {
        BaseKind::Char if base.size == 4 => "char32".into(),
        BaseKind::Char => "char".into(),
        BaseKind::Bool => "bool".into(),
        BaseKind::Float if base.size == 10 => "f16".into(),
        _ => super::differ::native_text(base),
    }
}

fn base(base: &Base) -> &'static str {
    match base {
        Base::Void => "void",
        Base::Bool => "bool",
        Base::Char8 => "char",
        Base::Char16 => "w2",
        Base::Char32 => "char32",
        Base::I8 => "i1",
        Base::I16 => "i2",
        Base::I32 => "i4",
        Base::I64 => "i8",
        Base::I128 => "i16",
        Base::U8 => "u1",
        Base::U16 => "u2",
        Base::U32 => "u4",
        Base::U64 => "u8",
        Base::U128 => "u16",
        Base::F8 => "f1",
        Base::F16 => "f2",
        Base::F32 => "f4",
        Base::F64 => "f8",
        Base::F128 => "f16",
    }
}

fn value(variant: &Variant) -> i128 {
    match *variant {
        Variant::U8(v) => v.into(),
        Variant::U16(v) => v.into(),
        Variant::U32(v) => v.into(),
        Variant::U64(v) => v.into(),
        Variant::U128(v) => i128::try_from(v).expect("no such label in a PDB"),
        Variant::I8(v) => v.into(),
        Variant::I16(v) => v.into(),
        Variant::I32(v) => v.into(),
        Variant::I64(v) => v.into(),
        Variant::I128(v) => v,
    }
}

/// A type in the form that is compared.
fn text(ty: &schema::Type) -> String {
    match ty {
        schema::Type::Base(kind) => base(kind).into(),
        schema::Type::Enum(schema::EnumRef { name }) if is_made_up(name) => "enum ".into(),
        schema::Type::Enum(schema::EnumRef { name }) => format!("enum {name}"),
        schema::Type::Struct(schema::StructRef { name }) if is_made_up(name) => "{}".into(),
        schema::Type::Struct(schema::StructRef { name }) => name.clone(),
        schema::Type::Array(array) => {
            array.dims.iter().rev().fold(text(&array.subtype), |ty, count| array_text(*count, &ty))
        }
        schema::Type::Pointer(pointer) => format!("p{}({})", pointer.size, text(&pointer.subtype)),
        schema::Type::Bitfield(bits) => {
            format!("{}..{}:{}", bits.bit_position, bits.bit_position + bits.bit_length, text(&bits.subtype))
        }
        schema::Type::Function => "fn".into(),
    }
}

/// The bytes of a field list from which on it takes a second record, which begins with `LF_INDEX`; a record has 64 KiB.
const CONTINUED: usize = 60_000;

/// The text of an array of arrays of a struct whose innermost length is one in bytes.
fn in_bytes(ty: &Type, text: &str, ours: &Ours<'_>) -> Option<String> {
    match ty {
        Type::Array { target, count } => match &**target {
            Type::Named(name) => {
                let size = ours.profile.structs.get(name)?.size;
                Some(array_text(count.checked_mul(size)?, text.split_once(']')?.1))
            }
            inner => Some(array_text(*count, &in_bytes(inner, text.split_once(']')?.1, ours)?)),
        },
        _ => None,
    }
}

/// Why the judge's type is not ours, if it is for a known fault of isr 0.8.1 or of pdb 0.8.0 below it.
fn fault(theirs: &str, ours: &Ours<'_>, our_text: &str, our_type: &Type) -> Option<&'static str> {
    let pointer = format!("p{}(", ours.pointer_bytes);
    let is_long = |ty: &Type| matches!(ty, Type::Named(name) if name == "long");
    match our_type {
        // The size of a struct that the member's record only declares is taken for 0: the length is told in bytes.
        Type::Array { target, count } => {
            let element = our_text.split_once(']')?.1;
            if in_bytes(our_type, our_text, ours).as_deref() == Some(theirs) {
                return Some("an array of a struct that is only declared has its length in bytes");
            }
            let member_pointer = is_long(target) && theirs.starts_with(&pointer);
            if member_pointer {
                return Some("a pointer to a data member is taken for a pointer");
            }
            // A member without a type, of which the extent is known: clang 14 writes char8_t so.
            (theirs == array_text(*count, "void") && element == "char").then_some("an array of no type keeps none")
        }
        Type::Pointer { target, .. } => {
            if matches!(**target, Type::Function { .. }) && theirs == format!("{pointer}void)") {
                return Some("a pointer to a member function has one width, and the function no type");
            }
            (theirs == "p2(void)" && our_text == format!("{pointer}void)")).then_some("nullptr_t has two bytes")
        }
        Type::Named(name) if name.ends_with("_Complex") && theirs == "void" => Some("complex numbers are no type"),
        _ if is_long(our_type) && theirs.starts_with(&pointer) => {
            Some("a pointer to a data member is taken for a pointer")
        }
        _ => None,
    }
}

/// Why the judge's members are not those of `candidate`: a reason for each that is not; `None` when one has no reason.
fn faults(ours: &Ours<'_>, candidate: &Struct, judged: &[Row]) -> Option<Vec<&'static str>> {
    let mut reasons = Vec::new();
    let own: Vec<(Row, &Type)> = ours.typed_rows(candidate, 0).collect();
    for row in judged {
        let same_place = own.iter().filter(|(own, _)| (&own.0, own.1) == (&row.0, row.1));
        let mut reason = None;
        for (own, ty) in same_place {
            reason = if own.2 == row.2 { Some(None) } else { fault(&row.2, ours, &own.2, ty).map(Some) };
            if reason.is_some() {
                break;
            }
        }
        reasons.extend(reason?);
    }
    for (row, _) in &own {
        if judged.iter().any(|judged| (&judged.0, judged.1) == (&row.0, row.1)) {
            continue;
        }
        let continued = own.iter().map(|(row, _)| row.0.len() + 8).sum::<usize>() > CONTINUED;
        reasons.push(if judged.is_empty() && continued {
            "a field list that goes on in another record is lost: LF_INDEX is read two bytes short"
        } else if judged.iter().any(|judged| judged.0 == row.0) {
            "of members of one name the last is kept"
        } else {
            return None;
        });
    }
    Some(reasons)
}

/// The labels as our enum has them, and the reasons why the judge's differ.
fn labels(judged: &schema::Enum, ours: &quaid_profile::Enum) -> (BTreeSet<(String, i128)>, Vec<&'static str>) {
    let mut reasons = Vec::new();
    let mut labels = BTreeSet::new();
    let bytes = ours.values.iter().map(|(label, _)| label.len() + 8).sum::<usize>();
    if judged.fields.is_empty() && bytes > CONTINUED {
        reasons.push("a field list that goes on in another record is lost: LF_INDEX is read two bytes short");
        return (ours.values.iter().cloned().collect(), reasons);
    }
    let range = 1i128 << (8 * ours.size.expect("a size"));
    for (label, variant) in &judged.fields {
        let mut value = value(variant);
        if let Variant::U8(byte) = *variant {
            value = i128::from(byte.cast_signed());
            if value < 0 {
                reasons.push("LF_CHAR is read without its sign");
            }
        }
        // What is out of the range of the enum's type is the same bits in another type.
        let own = ours.values.iter().find(|(own, _)| own == label).map_or(value, |(_, own)| *own);
        if own != value && (own - value) % range == 0 {
            reasons.push("clang writes labels without the sign of their enum, or with one that it has not");
            value = own;
        }
        labels.insert((label.clone(), value));
    }
    (labels, reasons)
}

#[test]
fn types_are_isr_s() {
    let mut sum = Compared::default();
    for path in judged_pdbs() {
        let profile = parsed(&path).profile;
        let ours = Ours {
            // It reads no base classes and no pointers to tables.
            unknown_members: |name, anonymous| {
                name == "__VFN_table" || name == "__VB_table" || (anonymous && !is_made_up(name))
            },
            native,
            details: false,
            one_of_a_name: true,
            ..ours(&profile)
        };
        judge(&path, &ours, &mut sum);
    }
    println!("isr: {sum:#?}");
    assert!((sum.structs > 3500 && sum.members > 20_000) || good_pdbs().is_empty(), "{sum:#?}");
}

fn judge(path: &Path, ours: &Ours<'_>, sum: &mut Compared) {
    let (mut structs, mut enums) = (Vec::new(), Vec::new());
    let read = isr_pdb::create_profile(std::fs::File::open(path).expect("opens"), |judged| {
        for (name, content) in &judged.structs {
            let fields = content.fields.iter().map(|(field, value)| {
                let field = if is_made_up(field) { String::new() } else { field.clone() };
                (field, value.offset, text(&value.ty))
            });
            let mut rows: Vec<Row> = fields.collect();
            let explained = ours.candidates(name, content.size).find_map(|candidate| {
                let reasons = faults(ours, candidate, &rows)?;
                Some((ours.rows(candidate), reasons))
            });
            if let Some((own, reasons)) = explained {
                sum.faults(reasons);
                rows = own;
            }
            structs.push(JudgedStruct { name: name.clone(), size: content.size, rows });
        }
        for (name, content) in &judged.enums {
            let size = match &content.subtype {
                schema::Type::Base(base) => base.size(),
                other => panic!("{}: enum {name} is stored as {other:?}", path.display()),
            };
            let own = ours.enums(name).map(|own| (own, labels(content, own)));
            let same = |own: &quaid_profile::Enum, labels: &BTreeSet<_>| {
                own.size == Some(size) && own.values.iter().cloned().collect::<BTreeSet<_>>() == *labels
            };
            let explained = own.into_iter().find(|(own, (labels, _))| same(own, labels));
            let labels = match explained {
                Some((_, (labels, reasons))) => {
                    sum.faults(reasons);
                    labels
                }
                None => content.fields.iter().map(|(label, variant)| (label.clone(), value(variant))).collect(),
            };
            enums.push(JudgedEnum { name: name.clone(), size: Some(size), labels });
        }
        Ok::<(), std::io::Error>(())
    });
    read.unwrap_or_else(|why| panic!("{}: isr refuses it: {why}", path.display()));
    ours.compare(&path.display().to_string(), structs, enums, sum);
}
