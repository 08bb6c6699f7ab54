//! Where the virtual bases of a class lie in an object of that class.
//!
//! Records do not tell: a program reads the place from a table at run time, because it is another one in each class
//! derived from this. In an object that is of this class and no other, the compiler's rules give it: the members and
//! other bases come first, then the virtual bases, each once, aligned, in the order in which the declaration leads to
//! them. (Microsoft's rules, as clang's lib/AST/RecordLayoutBuilder.cpp, `MicrosoftRecordLayoutBuilder`, states them.)
//! What the rules give counts only when it ends at the very size that the record has; nothing is guessed.

use super::primitive::{self, Indirection, Simple};
use super::records::{Field, Record, Udt};
use super::table::{Tagged, TypeTable};
use quaid_profile::Type;

/// Computes layouts, and counts the steps.
pub(super) struct VirtualBases<'a, 't> {
    table: &'a TypeTable<'t>,
    /// Fields left to look at, in all classes together; without any, no place is known.
    steps: u32,
}

/// A class without its virtual bases.
struct Part {
    /// Size in bytes.
    size: u64,
    align: u64,
    /// It has a pointer to virtual functions, its own or a base's.
    virtual_functions: bool,
}

/// Virtual bases with functions that are told apart by whether a displacement (`vtordisp`) lies before them.
const MAX_UNCERTAIN: usize = 4;

impl<'a, 't> VirtualBases<'a, 't> {
    pub(super) fn new(table: &'a TypeTable<'t>) -> Self {
        Self { table, steps: 2_000_000 }
    }

    /// Type index and offset in bytes of each virtual base, direct or not; `None` when the rules do not give one
    /// layout of the class's size.
    pub(super) fn places(&mut self, udt: &Udt<'t>) -> Option<Vec<(u32, u64)>> {
        let own = self.part(udt, 0)?;
        let mut order = Vec::new();
        self.order(udt, &mut order, 0)?;
        let mut bases = Vec::new();
        let mut align = own.align;
        for &index in &order {
            let base = self.class(index)?;
            let part = self.part(&base, 0)?;
            // Of several bases some without members may share a place, by rules of their own.
            if part.size == 0 && order.len() > 1 {
                return None;
            }
            let base_align = self.class_align(&base, 0)?;
            align = align.max(base_align);
            bases.push((index, Part { align: base_align, ..part }));
        }
        let uncertain: Vec<u32> =
            bases.iter().filter(|(_, part)| part.virtual_functions).map(|(index, _)| *index).collect();
        if uncertain.len() > MAX_UNCERTAIN {
            return None;
        }
        let mut found = None;
        for displaced in 0..1u32 << uncertain.len() {
            let is_displaced =
                |index| uncertain.iter().position(|&other| other == index).is_some_and(|bit| displaced >> bit & 1 == 1);
            let mut end = own.size;
            let mut places = Vec::new();
            for (index, part) in &bases {
                if is_displaced(*index) {
                    end = end.checked_next_multiple_of(4)?.checked_add(4)?;
                }
                end = end.checked_next_multiple_of(part.align)?;
                places.push((*index, end));
                end = end.checked_add(part.size)?;
            }
            // Only 64-bit compilers round up the whole.
            let size = if self.table.pointer_bytes == 8 { end.checked_next_multiple_of(align)? } else { end };
            if size == udt.size && found.replace(places).is_some() {
                return None;
            }
        }
        found
    }

    /// Whether the pointer at offset `pointer` to the table of virtual bases is the class's own and not one that a base
    /// brings along.
    pub(super) fn has_own_pointer(&self, udt: &Udt<'t>, pointer: u64) -> bool {
        let of_base = |field: &Result<Field<'_>, String>| match *field {
            Ok(Field::Base { ty, offset }) => {
                let behind = pointer.checked_sub(offset);
                behind.is_some_and(|at| self.table.size_of(ty, 0).is_some_and(|size| at < size))
            }
            _ => false,
        };
        !self.table.fields(udt.fields).any(|field| of_base(&field))
    }

    fn step(&mut self, depth: u32) -> Option<()> {
        self.steps = self.steps.checked_sub(1)?;
        (depth <= Type::MAX_DEPTH).then_some(())
    }

    /// The definition of a class.
    fn class(&self, index: u32) -> Option<Udt<'t>> {
        match self.table.tagged(self.definition(index)?)? {
            Tagged::Udt(udt) => Some(udt),
            Tagged::Enum(_) => None,
        }
    }

    fn definition(&self, index: u32) -> Option<u32> {
        self.table.definition(index, &self.table.tagged(index)?)
    }

    /// The virtual bases in the order in which they are laid out: for each base as it is declared, first its own.
    fn order(&mut self, udt: &Udt<'t>, order: &mut Vec<u32>, depth: u32) -> Option<()> {
        let table = self.table;
        for field in table.fields(udt.fields) {
            self.step(depth)?;
            let (ty, is_virtual) = match field.ok()? {
                Field::Base { ty, .. } => (ty, false),
                Field::VirtualBase { ty, direct: true, .. } => (ty, true),
                _ => continue,
            };
            let index = self.definition(ty)?;
            self.order(&self.class(index)?, order, depth + 1)?;
            if is_virtual && !order.contains(&index) {
                order.push(index);
            }
        }
        Some(())
    }

    /// A class without its virtual bases; `None` when its size or a member's offset is not what the rules give.
    fn part(&mut self, udt: &Udt<'t>, depth: u32) -> Option<Part> {
        let table = self.table;
        let pointer = u64::from(table.pointer_bytes);
        let mut part = Part { size: 0, align: 1, virtual_functions: false };
        let mut has_virtual_bases = false;
        for field in table.fields(udt.fields) {
            self.step(depth)?;
            let (offset, size, align) = match field.ok()? {
                Field::Member { ty, offset, .. } => (offset, table.size_of(ty, 0)?, self.align(ty, depth + 1)?),
                Field::Base { ty, offset } => {
                    let base = self.class(ty)?;
                    let inner = self.part(&base, depth + 1)?;
                    part.virtual_functions |= inner.virtual_functions;
                    (offset, inner.size, self.class_align(&base, depth + 1)?)
                }
                Field::VirtualTable { offset } => {
                    part.virtual_functions = true;
                    (offset, pointer, pointer)
                }
                Field::VirtualBase { pointer: offset, .. } => {
                    has_virtual_bases = true;
                    (offset, pointer, pointer)
                }
                _ => continue,
            };
            if offset % align != 0 {
                return None;
            }
            part.size = part.size.max(offset.checked_add(size)?);
            part.align = part.align.max(align);
        }
        part.size = part.size.checked_next_multiple_of(part.align)?;
        let agrees = has_virtual_bases || part.size == udt.size || (part.size == 0 && udt.size == 1);
        agrees.then_some(part)
    }

    /// The alignment of a class, its virtual bases included.
    fn class_align(&mut self, udt: &Udt<'t>, depth: u32) -> Option<u64> {
        let table = self.table;
        let mut align = 1;
        for field in table.fields(udt.fields) {
            self.step(depth)?;
            let of_field = match field.ok()? {
                Field::Member { ty, .. } => self.align(ty, depth + 1)?,
                Field::Base { ty, .. } => self.class_align(&self.class(ty)?, depth + 1)?,
                Field::VirtualBase { ty, .. } => {
                    self.class_align(&self.class(ty)?, depth + 1)?.max(table.pointer_bytes.into())
                }
                Field::VirtualTable { .. } => table.pointer_bytes.into(),
                _ => 1,
            };
            align = align.max(of_field);
        }
        Some(align)
    }

    /// The alignment of a member of this type.
    fn align(&mut self, index: u32, depth: u32) -> Option<u64> {
        self.step(depth)?;
        let size = || self.table.size_of(index, 0).filter(|size| size.is_power_of_two());
        if index < 0x1000 {
            return match (primitive::indirection(index)?, primitive::simple(index)?) {
                (Indirection::Direct, Simple::Void) => None,
                _ => size(),
            };
        }
        match self.table.get(index)? {
            Record::Udt(_) => self.class_align(&self.class(index)?, depth + 1),
            Record::Enum(_) | Record::Pointer { .. } => size(),
            Record::MemberOffset { .. } => Some(4),
            Record::Array { element: inner, .. }
            | Record::Alias { target: inner }
            | Record::BitField { base: inner, .. } => self.align(inner, depth + 1),
            _ => None,
        }
    }
}
