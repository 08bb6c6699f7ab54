//! Builds the model of the types that the survey kept.
//!
//! Names: typedefs, const, volatile, restrict and atomic are transparent; of a member of a native type the typedef is kept
//! beside it, where it tells more ([`crate::typedefs`]). A struct, union or enumeration without a tag
//! goes by the typedef through which it is reached; without one it is named by its place in the source, `parent.member`
//! (of a variable `.variable`), so that its name stays when the compiler or an unrelated header changes. A member
//! without a name is `u1`, `u2`, ... in order, as in Rekall.

use super::shapes::Shapes;
use super::survey::{Survey, layout_at};
use super::units::{Entry, Place, Unit, Units, byte_offset, is_aggregate};
use super::{ConvertError, ConvertReport};
use crate::c_abi::{StorageUnit, Words, integer_name, storage_unit, wider};
use crate::nameless::NamelessTypes;
use crate::typedefs::{Declared, tells_more};
use gimli::AttributeValue;
use quaid_profile::{Arch, BaseType, Enum, Member, Profile, Struct, StructKind, Type};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// How many parts the type of one member or variable may have: function types that refer to each other could have 2^64.
/// A real one has less than a hundred.
const MAX_MEMBER_PARTS: usize = 4096;
/// How many DIEs may be read to build all types. A distribution's kernel takes two million.
const MAX_PARTS: usize = 1 << 24;
/// How many opened units are kept for references between units.
const OPEN_UNITS: usize = 16;

/// A file of debugging information, and what it is to the symbols of the profile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'o> {
    /// Names it in messages.
    pub(super) place: &'o str,
    /// What it was built for.
    pub(super) arch: Arch,
    /// It is a module, and the symbols are those of its kernel.
    pub(super) of_module: bool,
    /// How far behind its addresses those of the symbols are, where that is known: a running kernel was moved.
    pub(super) moved: Option<u64>,
}

/// Adds the surveyed types to `profile`, and the types of those variables whose symbols it has.
pub(super) fn build<'d>(
    units: &Units<'d>,
    survey: &Survey<'d>,
    origin: Origin<'_>,
    profile: &mut Profile,
    report: &mut ConvertReport,
) -> Result<(), ConvertError> {
    profile.base_types = survey.base_types.iter().map(|(name, base)| (text(name), base.clone())).collect();
    let mut builder = Builder {
        units,
        profile,
        report,
        place: origin.place,
        pointer_bytes: origin.arch.pointer_bytes(),
        open: Vec::new(),
        several: &survey.several,
        scoped: &survey.scoped,
        shapes: Shapes::default(),
        ambiguous: survey.several.keys().map(|&(enumeration, name, _)| (enumeration, name)).collect(),
        names: HashMap::new(),
        nameless: NamelessTypes::default(),
        waiting: Vec::new(),
        labels: HashSet::new(),
        declared: Declared::Plainly,
        parts_left: MAX_PARTS,
        member_parts_left: MAX_MEMBER_PARTS,
    };

    // In file order, so that each unit is opened once, and a type that several reach is always named by the same one.
    for (place, name) in &survey.aggregates {
        builder.aggregate(*place, name)?;
    }
    for (place, name) in &survey.enums {
        builder.enumeration(*place, name)?;
    }
    for (symbol, place) in variables(survey, origin, builder.profile) {
        builder.member_parts_left = MAX_MEMBER_PARTS;
        let ty = builder.type_at(place, &format!(".{symbol}"), 0)?;
        builder.profile.constant_types.insert(symbol, ty);
        builder.finish_waiting()?;
    }
    for (label, places) in &survey.nameless_enums {
        builder.nameless_enums(&text(label), places)?;
    }
    builder.report.nameless_types = builder.nameless.left_out;
    Ok(())
}

/// The data symbols of which there is a variable, and the place of the type of each.
///
/// The address tells which of several variables a symbol is, and that it is none of those that lie elsewhere: one that the
/// linker left out, or of another unit. Where no address decides, the name does. What a module defines is its own: those of the
/// kernel it only declares.
fn variables(survey: &Survey<'_>, origin: Origin<'_>, profile: &Profile) -> Vec<(String, Place)> {
    let mut located: HashMap<(&[u8], u64), Place> = HashMap::new();
    let mut lie_elsewhere: HashSet<&[u8]> = HashSet::new();
    for &(name, address, place) in survey.located.iter().filter(|_| !origin.of_module) {
        located.entry((name, address)).or_insert(place);
        lie_elsewhere.insert(name);
    }
    let repeated: HashSet<&str> = profile.isf.linkage_names.values().map(String::as_str).collect();
    let type_of = |symbol: &String, address: u64| {
        let name = profile.isf.linkage_names.get(symbol).unwrap_or(symbol);
        let key = name.as_bytes();
        // Per-CPU variables are not moved.
        let lies_at = |address| located.get(&(key, address)).or_else(|| located.get(&(without_suffix(key)?, address)));
        if let Some(&place) = lies_at(address).or_else(|| lies_at(address.wrapping_sub(origin.moved?))) {
            return Some(place);
        }
        let variable = survey.variables.get(key)?;
        if origin.of_module {
            return variable.declared.filter(|_| !variable.shared && name == symbol);
        }
        match (lie_elsewhere.contains(key), repeated.contains(name.as_str()), origin.moved) {
            (true, true, _) => None,
            (true, false, Some(_)) => variable.declared,
            _ => variable.defined.or(variable.declared).filter(|_| name == symbol),
        }
    };
    profile
        .constants
        .iter()
        .filter_map(|(symbol, &address)| Some((symbol.clone(), type_of(symbol, address)?)))
        .collect()
}

/// The name in the source of a symbol that a compiler renamed when it linked (LTO): `state.lto_priv.0`, `state.llvm.123`.
fn without_suffix(symbol: &[u8]) -> Option<&[u8]> {
    symbol.get(..memchr::memchr(b'.', symbol)?)
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

struct Builder<'b, 'd> {
    units: &'b Units<'d>,
    profile: &'b mut Profile,
    report: &'b mut ConvertReport,
    /// The file, for messages.
    place: &'b str,
    pointer_bytes: u64,
    /// The units opened last; the newest is at the end.
    open: Vec<Rc<Unit<'d>>>,
    several: &'b HashMap<(bool, &'d [u8], u64), String>,
    scoped: &'b HashMap<Place, &'d [u8]>,
    /// Types of members of those layouts.
    shapes: Shapes<'d>,
    /// The names in `several`, and whether they are of enumerations.
    ambiguous: HashSet<(bool, &'d [u8])>,
    /// Names given to types that have none, or that share theirs with another layout.
    names: HashMap<Place, String>,
    nameless: NamelessTypes,
    /// Structs without a name that were met and are still to be built.
    waiting: Vec<(Place, String)>,
    /// Values of the enumerations named by the member that has them.
    labels: HashSet<Vec<(String, i128)>>,
    /// What the member is declared by whose type is being built.
    declared: Declared<&'d [u8]>,
    parts_left: usize,
    member_parts_left: usize,
}

impl<'d> Builder<'_, 'd> {
    fn too_large(&self) -> ConvertError {
        ConvertError::unsupported(
            self.place,
            format!(
                "building its types takes more than {MAX_PARTS} entries of debugging information, eight times what a distribution's kernel takes"
            ),
        )
    }

    fn spend(&mut self, parts: usize) -> Result<(), ConvertError> {
        self.parts_left = self.parts_left.checked_sub(parts).ok_or_else(|| self.too_large())?;
        Ok(())
    }

    fn unit(&mut self, number: usize) -> Result<Option<Rc<Unit<'d>>>, ConvertError> {
        if let Some(unit) = self.open.iter().rev().find(|unit| unit.number == number) {
            return Ok(Some(Rc::clone(unit)));
        }
        self.spend(1 + self.units.cost(number) / 16)?;
        let Ok(unit) = self.units.open(number).map(Rc::new) else { return Ok(None) };
        if self.open.len() == OPEN_UNITS {
            self.open.remove(0);
        }
        self.open.push(Rc::clone(&unit));
        Ok(Some(unit))
    }

    /// The DIE at `place` with its unit, or, where that only says which type unit has it, the one there. What cannot be
    /// read is counted.
    fn entry(&mut self, place: Place) -> Result<Option<(Rc<Unit<'d>>, Entry<'d>)>, ConvertError> {
        let Some((unit, entry)) = self.entry_at(place)? else { return Ok(None) };
        let signature = entry.attr_value(gimli::DW_AT_signature);
        match signature.and_then(|value| self.units.target(unit.number, &value)) {
            Some(elsewhere) => self.entry_at(elsewhere),
            None => Ok(Some((unit, entry))),
        }
    }

    fn entry_at(&mut self, place: Place) -> Result<Option<(Rc<Unit<'d>>, Entry<'d>)>, ConvertError> {
        self.spend(1)?;
        let unit = self.unit(place.unit)?;
        let found = unit.and_then(|unit| unit.entry(place.offset).ok().map(|entry| (unit, entry)));
        self.report.unresolved_types += usize::from(found.is_none());
        Ok(found)
    }

    /// The direct children of the DIE at `offset`.
    fn children(&mut self, unit: &Unit<'d>, offset: usize) -> Result<gimli::Result<Vec<Entry<'d>>>, ConvertError> {
        let children = unit.children(offset, &mut self.parts_left);
        if self.parts_left == 0 { Err(self.too_large()) } else { Ok(children) }
    }

    /// Builds the struct, union or class at `place` under `name`, and those without a name in it.
    fn aggregate(&mut self, place: Place, name: &str) -> Result<(), ConvertError> {
        self.waiting.push((place, name.to_owned()));
        self.finish_waiting()
    }

    fn finish_waiting(&mut self) -> Result<(), ConvertError> {
        while let Some((place, name)) = self.waiting.pop() {
            let Some((unit, entry)) = self.entry(place)? else { continue };
            let structure = self.structure(&unit, &entry, &name)?;
            self.profile.structs.insert(name, structure);
        }
        Ok(())
    }

    fn structure(&mut self, unit: &Rc<Unit<'d>>, entry: &Entry<'d>, name: &str) -> Result<Struct, ConvertError> {
        let kind = match entry.tag() {
            gimli::DW_TAG_union_type => StructKind::Union,
            gimli::DW_TAG_class_type => StructKind::Class,
            _ => StructKind::Struct,
        };
        let mut structure =
            Struct { size: unsigned(entry, gimli::DW_AT_byte_size).unwrap_or_default(), kind, ..Struct::default() };
        let children = match self.children(unit, entry.offset().0)? {
            Ok(children) => children,
            Err(why) => {
                self.report.skip_member(name, &format!("its members cannot be read: {why}"));
                return Ok(structure);
            }
        };
        let given: HashSet<&[u8]> = children.iter().filter_map(|child| self.name_of(unit, child)).collect();
        let mut number = 0;
        for child in &children {
            if child.tag() == gimli::DW_TAG_inheritance {
                self.base_class(unit, child, name, &mut structure)?;
            }
            // A declaration is a static member of a class: it is not in the struct.
            if child.tag() != gimli::DW_TAG_member || flag(child, gimli::DW_AT_declaration) {
                continue;
            }
            let known = self.name_of(unit, child);
            let member_name = known.map_or_else(
                || loop {
                    number += 1;
                    let free = format!("u{number}");
                    if !given.contains(free.as_bytes()) {
                        break free;
                    }
                },
                text,
            );
            let path = format!("{name}.{member_name}");
            match self.member(unit, child, &path)? {
                Ok(member) => {
                    match self.typedef_of(&member.ty) {
                        Some(typedef) => structure.typedefs.insert(member_name.clone(), typedef),
                        // Of another member of that name.
                        None => structure.typedefs.remove(&member_name),
                    };
                    if structure.members.insert(member_name, Member { anonymous: known.is_none(), ..member }).is_some()
                    {
                        self.report.skip_member(&path, "another member of the same name follows");
                    }
                }
                Err(why) => self.report.skip_member(&path, why),
            }
        }
        Ok(structure)
    }

    /// A base class, as a member without a name of its own.
    fn base_class(
        &mut self,
        unit: &Rc<Unit<'d>>,
        entry: &Entry<'d>,
        name: &str,
        structure: &mut Struct,
    ) -> Result<(), ConvertError> {
        self.member_parts_left = MAX_MEMBER_PARTS;
        match self.member(unit, entry, name)? {
            Ok(Member { offset, ty: Type::Named(base), .. }) => {
                let member = Member { offset, ty: Type::Named(base.clone()), anonymous: true };
                if structure.members.insert(base, member).is_some() {
                    self.report.skip_member(name, "a base class has the name of a member");
                }
            }
            Ok(_) => self.report.skip_member(name, "a base class that is no class"),
            Err(why) => self.report.skip_member(name, why),
        }
        Ok(())
    }

    /// The typedef that the member is declared by which was built last, if its type ends in a native one.
    fn typedef_of(&self, ty: &Type) -> Option<String> {
        let Declared::By(name) = self.declared else { return None };
        let native = self.profile.base_types.contains_key(ty.end()?);
        Some(text(name)).filter(|name| native && tells_more(name))
    }

    /// A member, or why it cannot be represented.
    fn member(
        &mut self,
        unit: &Rc<Unit<'d>>,
        entry: &Entry<'d>,
        path: &str,
    ) -> Result<Result<Member, &'static str>, ConvertError> {
        let offset = match entry.attr_value(gimli::DW_AT_data_member_location) {
            None => 0,
            Some(value) => match byte_offset(&value) {
                Some(offset) => offset,
                None => return Ok(Err("its offset is computed at run time")),
            },
        };
        self.member_parts_left = MAX_MEMBER_PARTS;
        self.declared = Declared::Plainly;
        let ty = self.type_of(unit, entry, path, 0)?;
        let Some(bits) = unsigned(entry, gimli::DW_AT_bit_size) else {
            return Ok(Ok(Member { offset, ty, anonymous: false }));
        };
        let declared = self.storage_bytes(unit, entry)?;
        let Some((bytes, storage)) = bit_field(entry, offset, bits, declared, unit.big_endian) else {
            return Ok(Err("its bits lie outside every storage unit"));
        };
        let target = if storage.bytes > bytes {
            self.declared = Declared::Plainly;
            let words = Words { pointer_bytes: self.pointer_bytes, big_endian: unit.big_endian };
            wider(&ty, storage, words, self.profile)
        } else {
            ty
        };
        let StorageUnit { offset, start, .. } = storage;
        let ty = Type::BitField { start, end: start.saturating_add(bits), target: Box::new(target) };
        Ok(Ok(Member { offset, ty, anonymous: false }))
    }

    /// Size of the type of a bit field, in bytes.
    fn storage_bytes(&mut self, unit: &Rc<Unit<'d>>, entry: &Entry<'d>) -> Result<Option<u64>, ConvertError> {
        let mut next = entry.attr_value(gimli::DW_AT_type).and_then(|value| self.units.target(unit.number, &value));
        for _ in 0..Type::MAX_DEPTH {
            let Some(place) = next else { break };
            let Some((unit, entry)) = self.entry(place)? else { break };
            if let Some(bytes) = unsigned(&entry, gimli::DW_AT_byte_size) {
                return Ok(Some(bytes));
            }
            next = entry.attr_value(gimli::DW_AT_type).and_then(|value| self.units.target(unit.number, &value));
        }
        Ok(None)
    }

    fn name_of(&self, unit: &Unit<'d>, entry: &Entry<'d>) -> Option<&'d [u8]> {
        self.units.text(unit, &entry.attr_value(gimli::DW_AT_name)?)
    }

    /// The name of a type with the namespaces and classes that it is in.
    fn type_name(&self, unit: &Unit<'d>, entry: &Entry<'d>) -> Option<&'d [u8]> {
        let place = Place { unit: unit.number, offset: entry.offset().0 };
        self.scoped.get(&place).copied().or_else(|| self.name_of(unit, entry))
    }

    /// The type that an entry's `DW_AT_type` names; void when it has none.
    fn type_of(
        &mut self,
        unit: &Rc<Unit<'d>>,
        entry: &Entry<'d>,
        path: &str,
        depth: u32,
    ) -> Result<Type, ConvertError> {
        let Some(value) = entry.attr_value(gimli::DW_AT_type) else { return Ok(Type::Void) };
        if let Some(place) = self.units.target(unit.number, &value) {
            return self.type_at(place, path, depth + 1);
        }
        self.report.unresolved_types += 1;
        Ok(Type::Void)
    }

    /// The type at `place`; `path` names it, should it have no name of its own.
    fn type_at(&mut self, place: Place, path: &str, depth: u32) -> Result<Type, ConvertError> {
        if depth > Type::MAX_DEPTH || self.member_parts_left == 0 {
            self.report.unresolved_types += 1;
            return Ok(Type::Void);
        }
        self.member_parts_left -= 1;
        let Some((unit, entry)) = self.entry(place)? else { return Ok(Type::Void) };
        let name = self.type_name(&unit, &entry);
        Ok(match entry.tag() {
            gimli::DW_TAG_base_type => name.map_or(Type::Void, |name| Type::Named(text(name))),
            gimli::DW_TAG_unspecified_type => Type::Void,
            tag if is_aggregate(tag) || tag == gimli::DW_TAG_enumeration_type => {
                self.tagged(place, &unit, &entry, name, path)?
            }
            gimli::DW_TAG_typedef => match (name, self.nameless_target(&unit, &entry)?) {
                (Some(name), Some((unit, target))) => {
                    let place = Place { unit: unit.number, offset: target.offset().0 };
                    self.tagged(place, &unit, &target, Some(name), path)?
                }
                (Some(name), None) => {
                    self.declared.typedef(name);
                    self.type_of(&unit, &entry, path, depth)?
                }
                (None, _) => self.type_of(&unit, &entry, path, depth)?,
            },
            gimli::DW_TAG_const_type
            | gimli::DW_TAG_volatile_type
            | gimli::DW_TAG_restrict_type
            | gimli::DW_TAG_atomic_type
            | gimli::DW_TAG_packed_type
            | gimli::DW_TAG_immutable_type => self.type_of(&unit, &entry, path, depth)?,
            gimli::DW_TAG_pointer_type | gimli::DW_TAG_reference_type | gimli::DW_TAG_rvalue_reference_type => {
                self.declared.indirection();
                let usual = self.pointer_bytes;
                let bytes = unsigned(&entry, gimli::DW_AT_byte_size)
                    .filter(|&bytes| bytes != usual)
                    .and_then(|bytes| u8::try_from(bytes).ok());
                Type::Pointer { target: Box::new(self.type_of(&unit, &entry, path, depth)?), bytes }
            }
            // The C++ ABI of Itanium, section 2.3: how far into the class; of a function, beside its address.
            gimli::DW_TAG_ptr_to_member_type => {
                self.declared.indirection();
                let distance = Type::Named(self.integer(&unit, self.pointer_bytes, true));
                match self.type_of(&unit, &entry, path, depth)? {
                    Type::Function { .. } => Type::array_of(distance, 2),
                    _ => distance,
                }
            }
            gimli::DW_TAG_array_type => {
                self.declared.indirection();
                let dimensions = self.dimensions(&unit, &entry)?;
                let depth = u32::try_from(dimensions.len()).unwrap_or(u32::MAX).saturating_add(depth);
                if depth > Type::MAX_DEPTH {
                    self.report.unresolved_types += 1;
                    return Ok(Type::Void);
                }
                let element = self.type_of(&unit, &entry, path, depth)?;
                dimensions.into_iter().rev().fold(element, Type::array_of)
            }
            gimli::DW_TAG_subroutine_type => {
                let ret = self.type_of(&unit, &entry, &format!("{path}.return"), depth)?;
                let mut args = Vec::new();
                for child in self.children(&unit, place.offset)?.unwrap_or_default() {
                    if child.tag() == gimli::DW_TAG_formal_parameter {
                        args.push(self.type_of(&unit, &child, &format!("{path}.arg{}", args.len() + 1), depth)?);
                    }
                }
                Type::Function { args, ret: Some(Box::new(ret)) }
            }
            _ => {
                self.report.unresolved_types += 1;
                Type::Void
            }
        })
    }

    /// The struct, union or enumeration without a tag that a typedef names directly.
    fn nameless_target(
        &mut self,
        unit: &Rc<Unit<'d>>,
        typedef: &Entry<'d>,
    ) -> Result<Option<(Rc<Unit<'d>>, Entry<'d>)>, ConvertError> {
        let Some(place) =
            typedef.attr_value(gimli::DW_AT_type).and_then(|value| self.units.target(unit.number, &value))
        else {
            return Ok(None);
        };
        let Some((unit, target)) = self.entry(place)? else { return Ok(None) };
        let tagged = is_aggregate(target.tag()) || target.tag() == gimli::DW_TAG_enumeration_type;
        Ok((tagged && self.type_name(&unit, &target).is_none()).then_some((unit, target)))
    }

    /// A struct, union or enumeration by its name. One that has none is named by `path`, and built.
    fn tagged(
        &mut self,
        place: Place,
        unit: &Rc<Unit<'d>>,
        entry: &Entry<'d>,
        name: Option<&'d [u8]>,
        path: &str,
    ) -> Result<Type, ConvertError> {
        let enumeration = entry.tag() == gimli::DW_TAG_enumeration_type;
        let name = match (name, self.names.get(&place).cloned()) {
            (Some(name), known) if self.ambiguous.contains(&(enumeration, name)) => match known {
                Some(known) => known,
                None => self.name_by_layout(place, unit, enumeration, name),
            },
            (Some(name), _) => text(name),
            (None, Some(known)) => known,
            (None, None) => {
                let Some(name) = self.nameless.name(&path) else { return Ok(Type::Void) };
                self.names.insert(place, name.clone());
                if enumeration {
                    let built = self.enum_of(unit, entry, &name)?;
                    self.labels.insert(built.values.clone());
                    self.profile.enums.insert(name.clone(), built);
                } else {
                    self.waiting.push((place, name.clone()));
                }
                name
            }
        };
        if !enumeration {
            return Ok(Type::Named(name));
        }
        let base = self.enum_base(unit, entry)?.0;
        Ok(Type::Enum { name, base: Box::new(Type::Named(base)) })
    }

    /// The name of a type of whose own name there are several layouts. A declaration stands for the most used one.
    fn name_by_layout(&mut self, place: Place, unit: &Unit<'d>, enumeration: bool, name: &'d [u8]) -> String {
        let layout = layout_at(self.units, unit, place.offset, &mut self.shapes, Type::MAX_DEPTH, &mut self.parts_left);
        let own = layout.and_then(|layout| self.several.get(&(enumeration, name, layout.fingerprint)).cloned());
        let own = own.unwrap_or_else(|| text(name));
        self.names.insert(place, own.clone());
        own
    }

    /// The dimensions of an array, outermost first. A flexible array has 0 elements, and so has one whose length is
    /// computed at run time.
    fn dimensions(&mut self, unit: &Rc<Unit<'d>>, array: &Entry<'d>) -> Result<Vec<u64>, ConvertError> {
        let mut counts = Vec::new();
        for child in self.children(unit, array.offset().0)?.unwrap_or_default() {
            if child.tag() != gimli::DW_TAG_subrange_type {
                continue;
            }
            let bound = |name| child.attr_value(name);
            let count = match (bound(gimli::DW_AT_count), bound(gimli::DW_AT_upper_bound)) {
                (Some(count), _) => count.udata_value(),
                (None, Some(upper)) => {
                    // gcc writes the bound of `[0]` as -1, in the width of the index type.
                    let minus_one = match upper {
                        AttributeValue::Data8(u64::MAX) => true,
                        AttributeValue::Data4(u32::MAX) => {
                            self.storage_bytes(unit, &child)?.unwrap_or(self.pointer_bytes) == 4
                        }
                        _ => false,
                    };
                    let upper = if minus_one { Some(-1) } else { bound_of(&upper) };
                    let lower = bound(gimli::DW_AT_lower_bound).map_or(Some(0), |lower| bound_of(&lower));
                    upper.zip(lower).and_then(|(upper, lower)| u64::try_from(upper - lower + 1).ok())
                }
                (None, None) => Some(0),
            };
            counts.push(count.unwrap_or_default());
        }
        if counts.is_empty() {
            counts.push(0);
        }
        Ok(counts)
    }

    fn enumeration(&mut self, place: Place, name: &str) -> Result<(), ConvertError> {
        self.member_parts_left = MAX_MEMBER_PARTS;
        if let Some((unit, entry)) = self.entry(place)? {
            let built = self.enum_of(&unit, &entry, name)?;
            self.profile.enums.insert(name.to_owned(), built);
        }
        Ok(())
    }

    /// Enumerations that only define labels: `enum.LABEL` by their first one, from the second on with a number.
    fn nameless_enums(&mut self, label: &str, places: &[Place]) -> Result<(), ConvertError> {
        let mut number = 0;
        for &place in places {
            self.member_parts_left = MAX_MEMBER_PARTS;
            if self.names.contains_key(&place) {
                continue;
            }
            let Some((unit, entry)) = self.entry(place)? else { continue };
            let name = format!("enum.{label}");
            let built = self.enum_of(&unit, &entry, &name)?;
            if self.labels.contains(&built.values) {
                continue;
            }
            number += 1;
            self.profile.enums.insert(if number == 1 { name } else { format!("{name}.{number}") }, built);
        }
        Ok(())
    }

    fn enum_of(&mut self, unit: &Rc<Unit<'d>>, entry: &Entry<'d>, name: &str) -> Result<Enum, ConvertError> {
        let (base, size, signed) = self.enum_base(unit, entry)?;
        let mut values: Vec<(String, i128)> = Vec::new();
        // By the text that is written: of bytes that are no UTF-8, several have the same.
        let mut known = HashSet::new();
        for child in self.children(unit, entry.offset().0)?.unwrap_or_default() {
            if child.tag() != gimli::DW_TAG_enumerator {
                continue;
            }
            let value = child.attr_value(gimli::DW_AT_const_value).and_then(|value| enumerator(&value, size, signed));
            match (self.name_of(unit, &child).map(String::from_utf8_lossy), value) {
                (Some(label), Some(value)) if known.insert(label.clone()) => values.push((label.into_owned(), value)),
                _ => self.report.skip_member(name, "a label without name or value, or given twice"),
            }
        }
        Ok(Enum { values, base: Some(base), size: Some(size) })
    }

    /// The integer type of an enumeration, its size in bytes, and whether it is signed. gcc and clang name the type;
    /// where they do not, the plain C type of that size and sign is meant.
    fn enum_base(&mut self, unit: &Rc<Unit<'d>>, entry: &Entry<'d>) -> Result<(String, u64, bool), ConvertError> {
        let size = unsigned(entry, gimli::DW_AT_byte_size);
        if let Type::Named(name) = self.type_of(unit, entry, "", 0)?
            && let Some(base) = self.profile.base_types.get(&name)
        {
            return Ok((name, size.unwrap_or(base.size), base.signed));
        }
        let size = size.unwrap_or(4);
        let negative = |child: &Entry<'d>| matches!(child.attr_value(gimli::DW_AT_const_value), Some(AttributeValue::Sdata(value)) if value < 0);
        let signed = match entry.attr_value(gimli::DW_AT_encoding) {
            Some(AttributeValue::Encoding(encoding)) => encoding == gimli::DW_ATE_signed,
            _ => self.children(unit, entry.offset().0)?.unwrap_or_default().iter().any(negative),
        };
        Ok((self.integer(unit, size, signed), size, signed))
    }

    /// The plain C integer type of this size in bytes.
    fn integer(&mut self, unit: &Unit<'d>, size: u64, signed: bool) -> String {
        let name = integer_name(size, signed, self.pointer_bytes);
        let base = BaseType { big_endian: unit.big_endian, ..BaseType::int(size, signed) };
        self.profile.base_types.entry(name.to_owned()).or_insert(base);
        name.to_owned()
    }
}

fn unsigned(entry: &Entry<'_>, name: gimli::DwAt) -> Option<u64> {
    entry.attr_value(name)?.udata_value()
}

/// The first or last index of an array.
fn bound_of(value: &AttributeValue<super::units::Slice<'_>>) -> Option<i128> {
    match *value {
        AttributeValue::Sdata(value) => Some(value.into()),
        _ => value.udata_value().map(i128::from),
    }
}

fn flag(entry: &Entry<'_>, name: gimli::DwAt) -> bool {
    matches!(entry.attr_value(name), Some(AttributeValue::Flag(true)))
}

/// An enumerator's value. Forms of fixed width do not tell the sign: the enumeration's type does.
fn enumerator(value: &AttributeValue<super::units::Slice<'_>>, size: u64, signed: bool) -> Option<i128> {
    let fixed = |value: u64, sign_extended: i64, bytes: u64| {
        if signed && bytes == size { i128::from(sign_extended) } else { i128::from(value) }
    };
    Some(match *value {
        AttributeValue::Data1(value) => fixed(value.into(), value.cast_signed().into(), 1),
        AttributeValue::Data2(value) => fixed(value.into(), value.cast_signed().into(), 2),
        AttributeValue::Data4(value) => fixed(value.into(), value.cast_signed().into(), 4),
        AttributeValue::Data8(value) => fixed(value, value.cast_signed(), 8),
        AttributeValue::Udata(value) => i128::from(value),
        // An unsigned enumeration of 8 bytes may be written with signed numbers.
        AttributeValue::Sdata(value) if value < 0 && !signed && size == 8 => i128::from(value.cast_unsigned()),
        AttributeValue::Sdata(value) => i128::from(value),
        _ => return None,
    })
}

/// A number that may be negative; clang writes such a `DW_AT_bit_offset` with 8 bytes that say nothing of a sign.
fn signed(value: &AttributeValue<super::units::Slice<'_>>) -> Option<i64> {
    value.sdata_value().or_else(|| value.udata_value().map(u64::cast_signed))
}

/// The size of a bit field's type in bytes, and where the field lies.
///
/// DWARF 4 and 5 number bits from the struct's start (`DW_AT_data_bit_offset`); DWARF 2 and 3 from the most significant
/// bit of a storage unit (`DW_AT_bit_offset`, negative where the unit begins after the field). Both come out the same.
fn bit_field(
    entry: &Entry<'_>,
    offset: u64,
    bits: u64,
    declared_bytes: Option<u64>,
    big_endian: bool,
) -> Option<(u64, StorageUnit)> {
    let base = i128::from(offset) * 8;
    let stored_bytes = unsigned(entry, gimli::DW_AT_byte_size).or(declared_bytes);
    // First bit of the field from the struct's start, in the order of memory.
    let first = if let Some(from_start) = unsigned(entry, gimli::DW_AT_data_bit_offset) {
        base + i128::from(from_start)
    } else {
        let from_top = entry.attr_value(gimli::DW_AT_bit_offset).map_or(Some(0), |value| signed(&value))?;
        let from_top = i128::from(from_top);
        if big_endian { base + from_top } else { base + i128::from(stored_bytes?) * 8 - from_top - i128::from(bits) }
    };
    let bytes = declared_bytes.or(stored_bytes)?;
    Some((bytes, storage_unit(u64::try_from(first).ok()?, bits, bytes, big_endian)?))
}
