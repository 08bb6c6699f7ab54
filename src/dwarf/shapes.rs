//! A number for the type of a member: what tells layouts apart whose members differ in nothing but their types.
//!
//! It is made of the names that a profile gives the type: pointers, arrays and what functions give are followed to a name,
//! typedefs and `const` are transparent, and what is behind a name is not looked into. A type without a name is its layout.
//! Of what a function takes it counts how much that is: a kernel's units have ten million such types.

use super::survey::layout_at;
use super::units::{Entry, Place, Slice, Unit, Units, is_aggregate};
use gimli::{AttributeValue, DwAt, DwTag};
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

/// A type's number, and whether it is that of a layout: what a typedef names is then the typedef's.
#[derive(Clone, Copy)]
pub(super) struct Number {
    number: u64,
    nameless: bool,
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self { number, nameless: false }
    }
}

/// How many elements a dimension of an array has, by the attributes of its `DW_TAG_subrange_type`.
#[derive(Default)]
pub(super) struct Dimension {
    count: Option<u64>,
    upper: Option<u64>,
    lower: u64,
}

impl Dimension {
    pub(super) fn read(&mut self, name: DwAt, value: &AttributeValue<Slice<'_>>) {
        match name {
            gimli::DW_AT_count => self.count = value.udata_value(),
            gimli::DW_AT_upper_bound => self.upper = value.udata_value(),
            gimli::DW_AT_lower_bound => self.lower = value.udata_value().unwrap_or_default(),
            _ => {}
        }
    }

    /// 0 where it has no bound, or one of -1.
    pub(super) fn elements(&self) -> u64 {
        let upper = self.upper.filter(|&upper| upper != u64::MAX && upper != u64::from(u32::MAX));
        self.count.or_else(|| upper?.checked_sub(self.lower)?.checked_add(1)).unwrap_or_default()
    }
}

/// What the DIE of a type says.
#[derive(Clone, Copy)]
pub(super) enum Shape<'d> {
    Known(Number),
    Named(&'d [u8]),
    /// A typedef, and what it names.
    Typedef(&'d [u8], Option<Place>),
    /// The same type, for us.
    As(Option<Place>),
    Pointer(Option<Place>),
    /// Its element, and where its dimensions are in the list of them: from which on, and how many.
    Array(Option<Place>, u32, u32),
    /// What it gives, and how much it takes.
    Function(Option<Place>, u32),
    /// A type without a name; which one it is of the definitions of its unit, where it is one of them.
    Nameless(Option<u32>),
}

impl<'d> Shape<'d> {
    /// Of a DIE with these attributes; `None` for what is no type, or one that a profile does not have. `signature` is
    /// where a type unit defines it.
    pub(super) fn new(tag: DwTag, name: Option<&'d [u8]>, ty: Option<Place>, signature: Option<Place>) -> Option<Self> {
        Some(match (tag, name) {
            _ if signature.is_some() => Self::As(signature),
            (gimli::DW_TAG_typedef, Some(name)) => Self::Typedef(name, ty),
            (gimli::DW_TAG_base_type | gimli::DW_TAG_enumeration_type, Some(name)) => Self::Named(name),
            (gimli::DW_TAG_enumeration_type, None) => Self::Nameless(None),
            (tag, name) if is_aggregate(tag) => name.map_or(Self::Nameless(None), Self::Named),
            (gimli::DW_TAG_pointer_type | gimli::DW_TAG_reference_type | gimli::DW_TAG_rvalue_reference_type, _) => {
                Self::Pointer(ty)
            }
            (gimli::DW_TAG_array_type, _) => Self::Array(ty, 0, 0),
            (gimli::DW_TAG_subroutine_type, _) => Self::Function(ty, 0),
            (gimli::DW_TAG_unspecified_type, _) => Self::Known(VOID.into()),
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

/// A struct or enumeration of the unit.
#[derive(Clone, Copy)]
struct Layout {
    fingerprint: Fingerprint,
    /// Where the types of its members end. They begin where those of the definition before end.
    end: usize,
    /// The types of its members are in the fingerprint.
    complete: bool,
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
    /// The dimensions of all arrays that are here, and of those elsewhere that are being looked up.
    dimensions: Vec<u64>,
    /// Those of the unit's definitions.
    layouts: Vec<Layout>,
    /// The types of members, those of one definition behind each other.
    members: Vec<Option<Place>>,
    elsewhere: HashMap<Place, Number>,
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
        self.dimensions.clear();
        self.layouts.clear();
        self.members.clear();
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

    /// Adds a dimension to the array that was added last.
    pub(super) fn add_dimension(&mut self, elements: u64) {
        if let Some((_, Shape::Array(_, first, count))) = self.here.last_mut() {
            if *count == 0 {
                // Each takes a DIE, of which a unit has less than 2^32.
                *first = self.dimensions.len() as u32;
            }
            *count += 1;
            self.dimensions.push(elements);
        }
    }

    /// Adds an argument to the function that was added last.
    pub(super) fn add_argument(&mut self) {
        if let Some((_, Shape::Function(_, arguments))) = self.here.last_mut() {
            *arguments += 1;
        }
    }

    /// Takes the unit's definitions: of each the layout but for the types of its members, and these types, with the number
    /// of the definition that each is of.
    pub(super) fn define(&mut self, layouts: impl Iterator<Item = Fingerprint>, members: Vec<(usize, Option<Place>)>) {
        self.layouts.extend(layouts.map(|fingerprint| Layout { fingerprint, end: 0, complete: false }));
        // The members of a struct stand in the midst of another one's where that is in it: each gets the place behind those
        // of the definitions before.
        for (definition, _) in &members {
            if let Some(layout) = self.layouts.get_mut(*definition) {
                layout.end += 1;
            }
        }
        let mut start = 0;
        for layout in &mut self.layouts {
            start += std::mem::replace(&mut layout.end, start);
        }
        self.members.resize(start, None);
        for (definition, ty) in members {
            if let Some(layout) = self.layouts.get_mut(definition)
                && let Some(place) = self.members.get_mut(layout.end)
            {
                *place = ty;
                layout.end += 1;
            }
        }
    }

    /// The layout of a definition with the types of its members.
    pub(super) fn layout(&mut self, units: &Units<'d>, definition: usize, depth: u32) -> Fingerprint {
        let before = definition.checked_sub(1).and_then(|before| self.layouts.get(before));
        let start = before.map_or(0, |before| before.end);
        let Some(&Layout { mut fingerprint, end, complete }) = self.layouts.get(definition) else {
            return Fingerprint::default();
        };
        if complete {
            return fingerprint;
        }
        for at in start..end {
            let ty = self.members.get(at).copied().flatten();
            fingerprint.add(self.number(units, ty, depth));
        }
        if let Some(layout) = self.layouts.get_mut(definition) {
            *layout = Layout { fingerprint, end, complete: true };
        }
        fingerprint
    }

    /// The number of the type at `ty`; without a place it is void. `depth` is how deep it is looked into.
    pub(super) fn number(&mut self, units: &Units<'d>, ty: Option<Place>, depth: u32) -> u64 {
        self.at(units, ty, depth).number
    }

    fn at(&mut self, units: &Units<'d>, ty: Option<Place>, depth: u32) -> Number {
        let Some(place) = ty else { return VOID.into() };
        let Some(depth) = depth.checked_sub(1) else { return UNKNOWN.into() };
        if self.unit != Some(place.unit) {
            return self.at_elsewhere(units, place, depth);
        }
        let Some(at) = self.find(place.offset) else { return UNKNOWN.into() };
        let Some(&(_, shape)) = self.here.get(at) else { return UNKNOWN.into() };
        if let Shape::Known(number) = shape {
            return number;
        }
        let number = self.resolve(units, shape, depth);
        if let Some((_, known)) = self.here.get_mut(at) {
            *known = Shape::Known(number);
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

    fn at_elsewhere(&mut self, units: &Units<'d>, place: Place, depth: u32) -> Number {
        if let Some(&known) = self.elsewhere.get(&place) {
            return known;
        }
        let dimensions = self.dimensions.len();
        let number = match self.read(units, place) {
            None => UNKNOWN.into(),
            Some(Shape::Nameless(_)) => {
                Number { number: self.layout_elsewhere(units, place, depth).unwrap_or(UNKNOWN), nameless: true }
            }
            Some(shape) => self.resolve(units, shape, depth),
        };
        self.dimensions.truncate(dimensions);
        self.elsewhere.insert(place, number);
        number
    }

    /// Of a type in the unit that was opened last.
    fn layout_elsewhere(&mut self, units: &Units<'d>, place: Place, depth: u32) -> Option<u64> {
        let unit = self.open.take()?;
        let mut left = MAX_ELSEWHERE.saturating_sub(self.spent);
        let before = left;
        let layout = layout_at(units, &unit, place.offset, self, depth, &mut left);
        self.spent = self.spent.saturating_add(before - left);
        self.open = Some(unit);
        Some(layout?.fingerprint)
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
        let shape = Shape::new(entry.tag(), name, target(gimli::DW_AT_type), target(gimli::DW_AT_signature))?;
        if !matches!(shape, Shape::Array(..) | Shape::Function(..)) {
            return Some(shape);
        }
        let mut left = MAX_ELSEWHERE - self.spent;
        let before = left;
        let children = unit.children(place.offset, &mut left).unwrap_or_default();
        self.spent = self.spent.saturating_add(before - left);
        let of = |tag| children.iter().filter(move |child: &&Entry<'_>| child.tag() == tag);
        Some(match shape {
            Shape::Array(target, ..) => {
                let first = self.dimensions.len();
                self.dimensions.extend(of(gimli::DW_TAG_subrange_type).map(|child| {
                    let mut dimension = Dimension::default();
                    child.attrs().iter().for_each(|found| dimension.read(found.name(), &found.raw_value()));
                    dimension.elements()
                }));
                Shape::Array(target, first as u32, (self.dimensions.len() - first) as u32)
            }
            Shape::Function(target, _) => Shape::Function(target, of(gimli::DW_TAG_formal_parameter).count() as u32),
            shape => shape,
        })
    }

    fn resolve(&mut self, units: &Units<'d>, shape: Shape<'d>, depth: u32) -> Number {
        let mut fingerprint = Fingerprint::default();
        match shape {
            Shape::Known(number) => return number,
            Shape::As(target) => return self.at(units, target, depth),
            Shape::Named(name) => fingerprint.add_text(name),
            Shape::Typedef(name, target) => match self.at(units, target, depth) {
                Number { nameless: true, .. } => fingerprint.add_text(name),
                number => return number,
            },
            Shape::Pointer(target) => {
                fingerprint.add(POINTER);
                fingerprint.add(self.number(units, target, depth));
            }
            Shape::Array(target, first, count) => {
                let mut number = self.number(units, target, depth);
                // The innermost one is the last. One without a bound may have no DIE for it.
                for at in (0..count.max(1)).rev() {
                    let elements = self.dimensions.get((first + at) as usize).filter(|_| count > 0);
                    let mut array = Fingerprint::default();
                    array.add(ARRAY);
                    array.add(elements.copied().unwrap_or_default());
                    array.add(number);
                    number = array.number();
                }
                return number.into();
            }
            Shape::Function(target, arguments) => {
                fingerprint.add(FUNCTION);
                fingerprint.add(arguments.into());
                fingerprint.add(self.number(units, target, depth));
            }
            Shape::Nameless(definition) => {
                let layout = definition.map(|definition| self.layout(units, definition as usize, depth));
                return Number { number: layout.map_or(UNKNOWN, Fingerprint::number), nameless: true };
            }
        }
        fingerprint.number().into()
    }
}

/// A number that two layouts have in common only when they are the same, or by a chance of one in 2^64; a file made to
/// have it so hides its own second layout, and harms nothing else. Several times as fast as the standard hasher, on six
/// million members.
#[derive(Clone, Copy, Default)]
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

    pub(super) fn number(self) -> u64 {
        self.0
    }
}
