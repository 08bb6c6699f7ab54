//! Types of DWARF against the isr crate, a reader of its own: size and kind of every struct, place, bits and type of every
//! member, size, sign and labels of every enumeration. It knows no typedef, so that what a typedef alone names is compared by
//! its content, wherever something has it.

use super::oracles::Verdict;
use super::vmlinux::{is_numbered, judged};
use super::{ARM64, DEBIAN_DWARF4, DEBIAN_DWARF5, SMALL, converted};
use crate::support::corpus;
use isr_core::schema::{self, Base, Variant};
use quaid_profile::{BaseKind, BaseType, Enum, Member, Profile, ProfileFile, Struct, StructKind, Type};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

const ONE_PLACE: &str = "isr takes types that begin at one line and column of files of one name for one type (those that one use of a macro declares; files of that name in other folders), and loses the others";
/// Of how many types that have a name there isr may have lost one.
const LOST_OF: usize = 50;
const OLD_BITS: &str =
    "isr reads no DW_AT_bit_offset (DWARF 4 and earlier): every bit field begins at bit 0 of its unit";
const MOST_MEMBERS: &str =
    "of several layouts of one name isr keeps the first with the most members; quaid keeps all, numbered";
const TYPEDEF: &str =
    "isr knows no typedef: what a typedef alone names has no name there, and is the same by its content";

/// What isr has read, beside ours.
struct Judge<'j> {
    theirs: &'j schema::Profile,
    ours: &'j Profile,
}

/// The reasons of differences that have one; the first difference that has none.
type Compared = Result<Vec<&'static str>, String>;

/// A name that isr made up, because there is none.
fn is_made_up(name: &str) -> bool {
    name.starts_with("__unnamed_")
}

/// Kind and size in bytes.
fn base_text(base: &Base) -> String {
    let kind = match base {
        Base::Void => return "void".to_owned(),
        Base::Bool => "b",
        Base::I8 | Base::I16 | Base::I32 | Base::I64 | Base::I128 => "i",
        Base::U8 | Base::U16 | Base::U32 | Base::U64 | Base::U128 => "u",
        Base::F8 | Base::F16 | Base::F32 | Base::F64 | Base::F128 => "f",
        Base::Char8 | Base::Char16 | Base::Char32 => "c",
    };
    format!("{kind}{}", base.size())
}

/// The same of ours; characters are integers there.
fn own_base_text(base: &BaseType) -> String {
    let kind = match base.kind {
        BaseKind::Void => return "void".to_owned(),
        BaseKind::Bool => "b",
        BaseKind::Float => "f",
        BaseKind::Int | BaseKind::Char if base.signed => "i",
        BaseKind::Int | BaseKind::Char => "u",
    };
    format!("{kind}{}", base.size)
}

fn value(variant: &Variant) -> i128 {
    match *variant {
        Variant::U64(value) => value.into(),
        Variant::I64(value) => value.into(),
        ref other => panic!("isr-dwarf makes no {other:?}"),
    }
}

/// Dimensions, outermost first, and the element; those of an array that a typedef names continue the outer ones.
fn their_dimensions(array: &schema::Array) -> (Vec<u64>, &schema::Type) {
    let (mut dimensions, mut element) = (array.dims.clone(), &*array.subtype);
    while let schema::Type::Array(inner) = element {
        dimensions.extend(&inner.dims);
        element = &inner.subtype;
    }
    (dimensions, element)
}

fn dimensions(ty: &Type) -> (Vec<u64>, &Type) {
    let (mut dimensions, mut element) = (Vec::new(), ty);
    while let Type::Array { target, count } = element {
        dimensions.push(*count);
        element = target;
    }
    (dimensions, element)
}

impl Judge<'_> {
    fn structure(&self, path: &str, theirs: &schema::Struct, own: &Struct) -> Compared {
        let kind = match theirs.kind {
            schema::StructKind::Union => StructKind::Union,
            schema::StructKind::Class => StructKind::Class,
            _ => StructKind::Struct,
        };
        if (theirs.size, kind) != (own.size, own.kind) {
            return Err(format!("{path}: {kind:?} of {} bytes, ours {:?} of {}", theirs.size, own.kind, own.size));
        }
        if theirs.fields.len() != own.members.len() {
            return Err(format!("{path}: {} members, ours {}", theirs.fields.len(), own.members.len()));
        }
        let mut reasons = Vec::new();
        // Members without a name are found by their place; of several at one place the content tells which it is.
        let mut nameless: Vec<&Member> = own.members.values().filter(|member| member.anonymous).collect();
        for (name, field) in &theirs.fields {
            if name.starts_with("__unnamed_field_") {
                let same = |own: &&Member| self.member(&format!("{path}.{name}"), field, own).ok();
                let found = nameless.iter().enumerate().find_map(|(at, own)| Some((at, same(own)?)));
                let Some((at, found)) = found else {
                    return Err(format!("{path}.{name}: no member without a name is as {field:?}"));
                };
                nameless.remove(at);
                reasons.extend(found);
            } else {
                let path = format!("{path}.{name}");
                let own = own.members.get(name).ok_or_else(|| format!("{path} is missing"))?;
                reasons.extend(self.member(&path, field, own)?);
            }
        }
        Ok(reasons)
    }

    fn member(&self, path: &str, theirs: &schema::Field, own: &Member) -> Compared {
        let (schema::Type::Bitfield(bits), Type::BitField { start, end, target }) = (&theirs.ty, &own.ty) else {
            if theirs.offset != own.offset {
                return Err(format!("{path}: offset {:#x}, ours {:#x}", theirs.offset, own.offset));
            }
            return self.ty(path, &theirs.ty, &own.ty);
        };
        let mut reasons = self.ty(path, &bits.subtype, target)?;
        let (first, own_first) = (theirs.offset * 8 + bits.bit_position, own.offset * 8 + start);
        if bits.bit_length != end - start {
            return Err(format!("{path}: {} bits, ours {start}..{end}", bits.bit_length));
        }
        let at_unit = bits.bit_position == 0 && theirs.offset == own.offset;
        match first == own_first {
            true => {}
            false if at_unit => reasons.push(OLD_BITS),
            false => return Err(format!("{path}: bit {first}, ours {own_first}")),
        }
        Ok(reasons)
    }

    fn ty(&self, path: &str, theirs: &schema::Type, own: &Type) -> Compared {
        let differs = || Err(format!("{path}: {theirs:?}, ours {own:?}"));
        let same = |same: bool| if same { Ok(Vec::new()) } else { differs() };
        match (theirs, own) {
            (schema::Type::Base(base), Type::Void) => same(matches!(base, Base::Void)),
            (schema::Type::Base(base), Type::Named(name)) => {
                same(self.ours.base_types.get(name).is_some_and(|own| own_base_text(own) == base_text(base)))
            }
            (schema::Type::Struct(schema::StructRef { name }), Type::Named(own)) if is_made_up(name) => {
                match (self.theirs.structs.get(name), self.ours.structs.get(own)) {
                    (Some(theirs), Some(own)) => self.structure(path, theirs, own),
                    (None, Some(_)) => Ok(vec![ONE_PLACE]),
                    _ => differs(),
                }
            }
            (schema::Type::Struct(schema::StructRef { name }), Type::Named(own)) => {
                same(own == name || is_numbered(own, |plain| plain == name))
            }
            (schema::Type::Enum(schema::EnumRef { name }), Type::Enum { name: own, .. }) if is_made_up(name) => {
                match (self.theirs.enums.get(name), self.ours.enums.get(own)) {
                    (Some(theirs), Some(own)) => self.enumeration(path, theirs, own),
                    (None, Some(_)) => Ok(vec![ONE_PLACE]),
                    _ => differs(),
                }
            }
            (schema::Type::Enum(schema::EnumRef { name }), Type::Enum { name: own, .. }) => {
                same(own == name || is_numbered(own, |plain| plain == name))
            }
            (schema::Type::Array(array), Type::Array { .. }) => {
                let ((theirs, their_element), (ours, element)) = (their_dimensions(array), dimensions(own));
                if theirs == ours { self.ty(path, their_element, element) } else { differs() }
            }
            (schema::Type::Pointer(pointer), Type::Pointer { target, bytes }) => {
                let arch = self.ours.metadata.arch().expect("an architecture");
                if pointer.size != bytes.map_or(arch.pointer_bytes(), u64::from) {
                    return differs();
                }
                self.ty(path, &pointer.subtype, target)
            }
            (schema::Type::Function, Type::Function { .. }) => Ok(Vec::new()),
            _ => differs(),
        }
    }

    fn enumeration(&self, path: &str, theirs: &schema::Enum, own: &Enum) -> Compared {
        let base = own.base.as_ref().and_then(|name| self.ours.base_types.get(name)).expect("an integer");
        let schema::Type::Base(their_base) = &theirs.subtype else {
            panic!("{path} is stored as {:?}", theirs.subtype)
        };
        if base_text(their_base) != own_base_text(base) || own.size != Some(their_base.size()) {
            return Err(format!("{path}: stored as {their_base:?}, ours {base:?}"));
        }
        let labels: BTreeMap<&str, i128> =
            theirs.fields.iter().map(|(label, variant)| (label.as_str(), value(variant))).collect();
        let own: BTreeMap<&str, i128> = own.values.iter().map(|(label, value)| (label.as_str(), *value)).collect();
        if labels == own { Ok(Vec::new()) } else { Err(format!("{path}: {labels:?}, ours {own:?}")) }
    }
}

/// Compares what has a name there with ours of that name, and ours that it has not with what has no name there.
fn all<'t, T, O>(
    theirs: impl Iterator<Item = (&'t String, T)> + Clone,
    ours: &BTreeMap<String, O>,
    compare: impl Fn(&str, &T, &O) -> Compared,
    verdict: &mut Verdict,
) -> usize {
    let named: BTreeMap<&str, T> =
        theirs.clone().filter(|(name, _)| !is_made_up(name)).map(|(name, ty)| (name.as_str(), ty)).collect();
    for (name, ty) in &named {
        let numbered = (1..20).map(|number| format!("{name}_{number}"));
        let known = std::iter::once((*name).to_owned()).chain(numbered).filter_map(|name| ours.get(&name));
        let results: Vec<Compared> = known.map(|own| compare(name, ty, own)).collect();
        match results.iter().enumerate().find_map(|(at, result)| Some((at, result.as_ref().ok()?))) {
            Some((at, reasons)) => {
                for why in reasons {
                    verdict.known(why);
                }
                if at > 0 {
                    verdict.known(MOST_MEMBERS);
                }
            }
            None => verdict.wrong(match results.into_iter().next() {
                Some(Err(first)) => first,
                _ => format!("{name} is missing"),
            }),
        }
    }
    let nameless: Vec<T> = theirs.filter(|(name, _)| is_made_up(name)).map(|(_, ty)| ty).collect();
    let mut lost = 0;
    // What is named by its place (`owner.member`) was compared there.
    for (name, own) in ours.iter().filter(|(name, _)| !named.contains_key(name.as_str()) && !name.contains('.')) {
        if is_numbered(name, |plain| named.contains_key(plain)) {
            verdict.known(MOST_MEMBERS);
        } else if nameless.iter().any(|ty| compare(name, ty, own).is_ok()) {
            verdict.known(TYPEDEF);
        } else {
            lost += 1;
            verdict.known(ONE_PLACE);
        }
    }
    if lost * LOST_OF > named.len() {
        verdict.wrong(format!("{lost} are ours alone"));
    }
    named.len()
}

/// Compares the profile of `kernel` with what isr reads of it and of System.map; gives the numbers of structs and enumerations.
fn compare(kernel: &Path, system_map: &Path, profile: &serde_json::Value) -> (usize, usize) {
    let file = ProfileFile::parse("profile", profile.to_string().as_bytes()).expect("a profile");
    let ours = file.decode().expect("a profile");
    let open = |path: &Path| File::open(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let mut counts = (0, 0);
    let read = isr_dwarf::create_profile(open(kernel), open(system_map), |theirs| {
        let judge = Judge { theirs, ours: &ours };
        let mut verdict = Verdict::default();
        let compare = |name: &str, theirs: &&schema::Struct, own: &Struct| judge.structure(name, theirs, own);
        counts.0 = all(theirs.structs.iter(), &ours.structs, compare, &mut verdict);
        let compare = |name: &str, theirs: &&schema::Enum, own: &Enum| judge.enumeration(name, theirs, own);
        counts.1 = all(theirs.enums.iter(), &ours.enums, compare, &mut verdict);
        verdict.end(&format!("{}: {counts:?} structs and enumerations as isr has them", kernel.display()));
        Ok::<(), std::convert::Infallible>(())
    });
    read.unwrap_or_else(|why| panic!("{}: isr refuses it: {why}", kernel.display()));
    counts
}

#[test]
fn module_s_types_are_isr_s() {
    for (zip, least) in [(DEBIAN_DWARF4, (800, 50)), (DEBIAN_DWARF5, (800, 50)), (SMALL, (600, 50)), (ARM64, (800, 50))]
    {
        let Some(path) = corpus(zip) else { return };
        let folder = tempfile::tempdir().expect("a folder");
        let mut members = zip::ZipArchive::new(File::open(&path).expect("readable")).expect("a zip");
        members.extract(folder.path()).expect("unpacked");
        let map = std::fs::read_dir(folder.path()).expect("readable").map(|entry| entry.expect("an entry").path());
        let map = map.into_iter().find(|path| path.to_string_lossy().contains("System.map")).expect("a System.map");
        let counts = compare(&folder.path().join("module_dwarf.ko"), &map, &converted(&path));
        assert!(counts >= least, "{zip}: {counts:?}");
    }
}

#[test]
fn vmlinux_s_types_are_isr_s() {
    let Some((vmlinux, profile)) = judged() else { return };
    let name = vmlinux.file_name().expect("a name").to_string_lossy().replacen("vmlinux", "System.map", 1);
    compare(&vmlinux, &vmlinux.with_file_name(name), profile);
}
