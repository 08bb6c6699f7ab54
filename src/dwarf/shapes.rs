//! A number for the type of a member: what tells layouts apart whose members differ in nothing but their types.
//!
//! It is made of the names that a profile gives the type: pointers and arrays are followed to a name, typedefs and `const`
//! are transparent, and what is behind a name is not looked into. Types without a name are all alike.

use super::units::{Place, Unit, Units, is_aggregate};
use gimli::DwTag;
use quaid_profile::Type;
use std::collections::HashMap;

/// How many types of one unit are known. Those of a distribution's kernel have less than 100,000; types beyond are alike.
const MAX_TYPES: usize = 1 << 22;
/// How many DIEs and bytes of abbreviations may be read to find types of other units, which a kernel with type units
/// has a million of. Types beyond are alike.
const MAX_ELSEWHERE: usize = 1 << 26;
/// Offsets in a unit that one place of the table stands for, as a power of 2.
const PLACE_SHIFT: u32 = 4;

/// The numbers of what has no name.
const UNKNOWN: u64 = 0;
const VOID: u64 = 1;
const POINTER: u64 = 2;
const ARRAY: u64 = 3;
const FUNCTION: u64 = 4;
const NAMELESS: u64 = 5;

/// What the DIE of a type says.
#[derive(Clone, Copy)]
pub(super) enum Shape<'d> {
    Number(u64),
    Named(&'d [u8]),
    /// A typedef, and what it names.
    Typedef(&'d [u8], Option<Place>),
    /// The same type, for us.
    As(Option<Place>),
    /// A pointer to it, or an array of it.
    Of(u64, Option<Place>),
}

impl<'d> Shape<'d> {
    /// Of a DIE with these attributes; `None` for what is no type, or one that a profile does not have. `signature` is
    /// where a type unit defines it.
    pub(super) fn new(tag: DwTag, name: Option<&'d [u8]>, ty: Option<Place>, signature: Option<Place>) -> Option<Self> {
        Some(match (tag, name) {
            _ if signature.is_some() => Self::As(signature),
            (gimli::DW_TAG_typedef, Some(name)) => Self::Typedef(name, ty),
            (gimli::DW_TAG_base_type | gimli::DW_TAG_enumeration_type, Some(name)) => Self::Named(name),
            (gimli::DW_TAG_enumeration_type, None) => Self::Number(NAMELESS),
            (tag, name) if is_aggregate(tag) => name.map_or(Self::Number(NAMELESS), Self::Named),
            (gimli::DW_TAG_pointer_type | gimli::DW_TAG_reference_type | gimli::DW_TAG_rvalue_reference_type, _) => {
                Self::Of(POINTER, ty)
            }
            (gimli::DW_TAG_array_type, _) => Self::Of(ARRAY, ty),
            (gimli::DW_TAG_subroutine_type, _) => Self::Number(FUNCTION),
            (gimli::DW_TAG_unspecified_type, _) => Self::Number(VOID),
            (
                gimli::DW_TAG_typedef
                | gimli::DW_TAG_const_type
                | gimli::DW_TAG_volatile_type
                | gimli::DW_TAG_restrict_type
                | gimli::DW_TAG_atomic_type
                | gimli::DW_TAG_packed_type
                | gimli::DW_TAG_immutable_type,
                _,
            ) => Self::As(ty),
            _ => return None,
        })
    }
}

impl Shape<'_> {
    /// Whether DIEs of this tag are types that nothing but a profile's types refers to.
    pub(super) fn is_of(tag: DwTag) -> bool {
        Shape::new(tag, None, None, None).is_some()
    }
}

/// The types of one unit by their offset, and those of others that were looked up.
#[derive(Default)]
pub(super) struct Shapes<'d> {
    /// The unit whose types are here.
    unit: Option<usize>,
    /// In the order of the file.
    here: Vec<(usize, Shape<'d>)>,
    /// By the upper bits of an offset, the first of `here` that is there or behind.
    places: Vec<u32>,
    elsewhere: HashMap<Place, u64>,
    /// The unit that was opened last.
    open: Option<Unit<'d>>,
    /// What was spent of [`MAX_ELSEWHERE`].
    spent: usize,
}

impl<'d> Shapes<'d> {
    /// Forgets the types of the unit before; those of `unit` follow in the order of the file. With `None` there are none,
    /// and each is read where it is.
    pub(super) fn begin(&mut self, unit: Option<usize>) {
        self.unit = unit;
        self.here.clear();
        self.places.clear();
    }

    /// Adds the type at `offset` of the unit.
    pub(super) fn add(&mut self, offset: usize, shape: Option<Shape<'d>>) {
        let Some(shape) = shape.filter(|_| self.unit.is_some() && self.here.len() < MAX_TYPES) else { return };
        let end = (offset >> PLACE_SHIFT) + 1;
        if self.places.len() < end {
            // Less than 2^22.
            self.places.resize(end, self.here.len() as u32);
        }
        self.here.push((offset, shape));
    }

    /// The number of the type at `ty`; without a place it is void.
    pub(super) fn number(&mut self, units: &Units<'d>, ty: Option<Place>) -> u64 {
        self.at(units, ty, Type::MAX_DEPTH)
    }

    fn at(&mut self, units: &Units<'d>, ty: Option<Place>, depth: u32) -> u64 {
        let Some(place) = ty else { return VOID };
        let Some(depth) = depth.checked_sub(1) else { return UNKNOWN };
        if self.unit != Some(place.unit) {
            return self.at_elsewhere(units, place, depth);
        }
        let Some(at) = self.find(place.offset) else { return UNKNOWN };
        let Some(&(_, shape)) = self.here.get(at) else { return UNKNOWN };
        if let Shape::Number(number) = shape {
            return number;
        }
        let number = self.resolve(units, shape, depth);
        if let Some((_, known)) = self.here.get_mut(at) {
            *known = Shape::Number(number);
        }
        number
    }

    fn find(&self, offset: usize) -> Option<usize> {
        let first = *self.places.get(offset >> PLACE_SHIFT)? as usize;
        let rest = self.here.get(first..)?;
        // Each DIE takes a byte, so these are few.
        let at = rest.iter().position(|(known, _)| *known >= offset)?;
        rest.get(at).filter(|(known, _)| *known == offset).map(|_| first + at)
    }

    fn at_elsewhere(&mut self, units: &Units<'d>, place: Place, depth: u32) -> u64 {
        if let Some(&known) = self.elsewhere.get(&place) {
            return known;
        }
        let shape = self.read(units, place);
        let number = shape.map_or(UNKNOWN, |shape| self.resolve(units, shape, depth));
        self.elsewhere.insert(place, number);
        number
    }

    fn read(&mut self, units: &Units<'d>, place: Place) -> Option<Shape<'d>> {
        let known = self.open.as_ref().is_some_and(|unit| unit.number == place.unit);
        self.spent = self.spent.saturating_add(1 + if known { 0 } else { units.cost(place.unit) });
        if self.spent > MAX_ELSEWHERE {
            return None;
        }
        if !known {
            self.open = units.open(place.unit).ok();
        }
        let unit = self.open.as_ref()?;
        let entry = unit.entry(place.offset).ok()?;
        let target = |name| units.target(unit.number, &entry.attr_value(name)?);
        let name = entry.attr_value(gimli::DW_AT_name).and_then(|name| units.text(unit, &name));
        Shape::new(entry.tag(), name, target(gimli::DW_AT_type), target(gimli::DW_AT_signature))
    }

    fn resolve(&mut self, units: &Units<'d>, shape: Shape<'d>, depth: u32) -> u64 {
        let mut fingerprint = Fingerprint::default();
        match shape {
            Shape::Number(number) => return number,
            Shape::As(target) => return self.at(units, target, depth),
            Shape::Named(name) => fingerprint.add_text(name),
            Shape::Typedef(name, target) => match self.at(units, target, depth) {
                NAMELESS => fingerprint.add_text(name),
                number => return number,
            },
            Shape::Of(kind, target) => {
                fingerprint.add(kind);
                fingerprint.add(self.at(units, target, depth));
            }
        }
        fingerprint.number()
    }
}

/// A number that two layouts have in common only when they are the same, or by a chance of one in 2^64; a file made to
/// have it so hides its own second layout, and harms nothing else. Several times as fast as the standard hasher, on six
/// million members.
#[derive(Default)]
pub(super) struct Fingerprint(u64);

impl Fingerprint {
    pub(super) fn add(&mut self, number: u64) {
        // 2^64 divided by the golden ratio, the usual multiplier.
        self.0 = (self.0.rotate_left(23) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    pub(super) fn add_text(&mut self, text: &[u8]) {
        self.add(text.len() as u64);
        let (words, rest) = text.as_chunks::<8>();
        for word in words {
            self.add(u64::from_le_bytes(*word));
        }
        self.add(rest.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)));
    }

    pub(super) fn number(&self) -> u64 {
        self.0
    }
}
