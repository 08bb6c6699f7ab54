//! Whether two definitions of one name say the same.
//!
//! Each source file may bring a definition of its own, which differs in the indices of the anonymous types below it,
//! and between C and C++ in nested types and decorated names. What differs in size, members, offsets or types is different.

use super::records::{Field, Record};
use super::table::{Tagged, TypeTable, is_anonymous};
use quaid_profile::Type;

/// Compares definitions, and counts the steps.
pub(super) struct Comparison<'a, 't> {
    table: &'a TypeTable<'t>,
    /// Records and fields left to compare of these two; when none is left they count as different, and both are kept.
    steps: u32,
    /// The same for all comparisons together.
    total: u32,
}

/// A record without the types that it refers to, and these.
#[derive(PartialEq, Eq)]
enum Shape {
    Pointer { bytes: u8 },
    MemberOffset { bytes: u8 },
    Array { bytes: u64 },
    Vector { count: u32 },
    BitField { start: u8, len: u8 },
    Alias,
    Procedure { has_this: bool },
    ArgList,
    Nothing,
}

impl<'a, 't> Comparison<'a, 't> {
    const MAX_STEPS: u32 = 20_000;
    const MAX_TOTAL: u32 = 10_000_000;

    pub(super) fn new(table: &'a TypeTable<'t>) -> Self {
        Self { table, steps: 0, total: Self::MAX_TOTAL }
    }

    /// Whether the definitions `left` and `right`, which have one name, say the same.
    pub(super) fn definitions(&mut self, left: u32, right: u32) -> bool {
        let steps = self.total.min(Self::MAX_STEPS);
        self.steps = steps;
        let same = self.same(left, right, 0);
        self.total -= steps - self.steps;
        same
    }

    fn step(&mut self) -> bool {
        let left = self.steps.checked_sub(1);
        self.steps = left.unwrap_or(0);
        left.is_some()
    }

    fn same(&mut self, left: u32, right: u32, depth: u32) -> bool {
        let (left, right) = (self.definition(left), self.definition(right));
        if left == right {
            return true;
        }
        if left < 0x1000 || right < 0x1000 || depth > Type::MAX_DEPTH || !self.step() {
            return false;
        }
        if let (Some(left), Some(right)) = (self.table.tagged(left), self.table.tagged(right)) {
            return self.same_tagged(&left, &right, depth);
        }
        let (Some(left), Some(right)) = (self.table.get(left), self.table.get(right)) else { return false };
        let ((left, left_types), (right, right_types)) = (shape(&left), shape(&right));
        left != Shape::Nothing && left == right && self.all_same(&left_types, &right_types, depth + 1)
    }

    fn all_same(&mut self, left: &[u32], right: &[u32], depth: u32) -> bool {
        left.len() == right.len() && left.iter().zip(right).all(|(left, right)| self.same(*left, *right, depth))
    }

    /// Below the two definitions themselves, a type that has a name is told by it.
    fn same_tagged(&mut self, left: &Tagged<'_>, right: &Tagged<'_>, depth: u32) -> bool {
        if depth > 0 && !(is_made_up(left.name()) && is_made_up(right.name())) {
            let unique = (left.unique_name(), right.unique_name());
            return left.name() == right.name() && (unique.0.is_none() || unique.1.is_none() || unique.0 == unique.1);
        }
        match (left, right) {
            (Tagged::Udt(left), Tagged::Udt(right)) => {
                (left.kind, left.size) == (right.kind, right.size)
                    && self.same_fields(left.fields, right.fields, depth + 1)
            }
            (Tagged::Enum(left), Tagged::Enum(right)) => {
                self.same(left.base, right.base, depth + 1) && self.same_fields(left.fields, right.fields, depth + 1)
            }
            _ => false,
        }
    }

    /// What defines a type that is only declared here; else the type itself.
    fn definition(&self, index: u32) -> u32 {
        self.table.tagged(index).and_then(|tagged| self.table.definition(index, &tagged)).unwrap_or(index)
    }

    fn same_fields(&mut self, left: u32, right: u32, depth: u32) -> bool {
        if left == right {
            return true;
        }
        // Nested types and methods are told in C++ only, and a type may be defined in C and in C++.
        let takes_room = |field: &Result<Field<'_>, String>| !matches!(field, Ok(Field::NoData));
        let mut left = self.table.fields(left).filter(takes_room);
        let mut right = self.table.fields(right).filter(takes_room);
        loop {
            let (left, right) = match (left.next(), right.next()) {
                (None, None) => return true,
                (Some(Ok(left)), Some(Ok(right))) => (left, right),
                _ => return false,
            };
            let ((left, left_type), (right, right_type)) = (without_type(left), without_type(right));
            if left != right || !self.step() || !self.same(left_type, right_type, depth) {
                return false;
            }
        }
    }
}

/// Whether the compiler made this name up, in the old way or the new (`<unnamed-type-u>`).
pub(super) fn is_made_up(name: &[u8]) -> bool {
    let last = name.rsplit(|&b| b == b':').next().unwrap_or_default();
    is_anonymous(name) || last.starts_with(b"<unnamed-")
}

fn shape(record: &Record<'_>) -> (Shape, Vec<u32>) {
    match *record {
        Record::Pointer { target, bytes } => (Shape::Pointer { bytes }, vec![target]),
        Record::MemberOffset { bytes } => (Shape::MemberOffset { bytes }, vec![]),
        Record::Vector { element, count } => (Shape::Vector { count }, vec![element]),
        Record::Array { element, bytes } => (Shape::Array { bytes }, vec![element]),
        Record::BitField { base, start, len } => (Shape::BitField { start, len }, vec![base]),
        Record::Alias { target } => (Shape::Alias, vec![target]),
        Record::Procedure { ret, this, args } => {
            (Shape::Procedure { has_this: this.is_some() }, [ret, args].into_iter().chain(this).collect())
        }
        Record::ArgList(list) => (Shape::ArgList, list.indices().collect()),
        Record::Udt(_) | Record::Enum(_) | Record::FieldList(_) | Record::Other => (Shape::Nothing, vec![]),
    }
}

/// A field, with its type taken out.
fn without_type(field: Field<'_>) -> (Field<'_>, u32) {
    match field {
        Field::Member { ty, offset, name } => (Field::Member { ty: 0, offset, name }, ty),
        Field::Base { ty, offset } => (Field::Base { ty: 0, offset }, ty),
        Field::VirtualBase { ty, pointer, direct } => (Field::VirtualBase { ty: 0, pointer, direct }, ty),
        other => (other, 0),
    }
}
