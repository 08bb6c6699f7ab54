//! Type records to the model of a profile.

use super::ParseReport;
use super::budget::Budget;
use super::error::PdbError;
use super::naming::Names;
use super::primitive::{self, Indirection, LONG, Native, Simple, UNSIGNED_CHAR};
use super::records::{self, EnumRecord, Field, Record, Udt, UdtKind};
use super::table::{Tagged, TypeTable, is_anonymous};
use super::virtual_bases::VirtualBases;
use quaid_profile::{Enum, Member, Profile, Struct, StructKind, Type};
use std::borrow::Cow;
use std::collections::HashMap;

/// Turns records into types.
pub(super) struct Converter<'a, 't> {
    table: &'a TypeTable<'t>,
    names: Names<'t>,
    virtual_bases: VirtualBases<'a, 't>,
    budget: Budget,
    report: &'a mut ParseReport,
    /// Native types that were met.
    natives: HashMap<&'static str, &'static Native>,
}

impl<'a, 't> Converter<'a, 't> {
    /// Names every definition of the table.
    pub(super) fn new(
        table: &'a TypeTable<'t>,
        stream_bytes: usize,
        report: &'a mut ParseReport,
    ) -> Result<Self, PdbError> {
        let mut budget = Budget::for_stream(stream_bytes);
        let names = Names::assign(table, &mut budget)?;
        report.conflicting_definitions = names.conflicts;
        let virtual_bases = VirtualBases::new(table);
        Ok(Self { table, names, virtual_bases, budget, report, natives: HashMap::new() })
    }

    /// Converts every definition into `profile`.
    pub(super) fn definitions(&mut self, profile: &mut Profile) -> Result<(), PdbError> {
        let mut definitions: Vec<(u32, String)> =
            self.names.iter().map(|(index, name)| (index, name.to_owned())).collect();
        definitions.sort_unstable();
        for (index, name) in definitions {
            match self.table.tagged(index) {
                Some(Tagged::Udt(udt)) => {
                    let converted = self.structure(&udt)?;
                    profile.structs.insert(name, converted);
                }
                Some(Tagged::Enum(record)) => {
                    let converted = self.enumeration(&record)?;
                    profile.enums.insert(name, converted);
                }
                None => {}
            }
        }
        Ok(())
    }

    /// The native types that were met, for `profile.base_types`.
    pub(super) fn base_types(&self, profile: &mut Profile) {
        profile.base_types.extend(self.natives.iter().map(|(name, native)| ((*name).to_owned(), native.base_type())));
    }

    /// The type of a data symbol.
    pub(super) fn data_type(&mut self, index: u32) -> Result<Type, PdbError> {
        self.ty(index, 0)
    }

    /// The name of the enum of this index, if it is one.
    pub(super) fn enum_name(&mut self, index: u32) -> Result<Option<String>, PdbError> {
        Ok(match self.data_type(index)? {
            Type::Enum { name, .. } => Some(name),
            _ => None,
        })
    }

    /// The integer type of a constant; of one that is no integer (a pointer) the widest that holds `value`.
    pub(super) fn integer(&mut self, index: u32, value: i128) -> &'static Native {
        let index = match self.table.get(index) {
            Some(Record::Alias { target }) => target,
            _ => index,
        };
        let widest = if value < 0 { &primitive::LONG_LONG } else { &primitive::UNSIGNED_LONG_LONG };
        let native = match (self.table.get(index), primitive::simple(index)) {
            (Some(Record::Enum(record)), _) => self.enum_base(&record),
            (None, Some(Simple::Native(native))) if index < 0x100 => native,
            (None, Some(Simple::Utf16)) if index < 0x100 => &primitive::UNSIGNED_SHORT,
            _ => widest,
        };
        self.native(native);
        native
    }

    fn structure(&mut self, udt: &Udt<'t>) -> Result<Struct, PdbError> {
        let kind = match udt.kind {
            UdtKind::Struct => StructKind::Struct,
            UdtKind::Class => StructKind::Class,
            UdtKind::Union => StructKind::Union,
        };
        let mut structure = Struct { size: udt.size, kind, ..Struct::default() };
        let mut next: HashMap<String, u32> = HashMap::new();
        let mut has_virtual_bases = false;
        let table = self.table;
        for field in table.fields(udt.fields) {
            self.budget.spend(64)?;
            let (name, offset, ty) = match field {
                Ok(Field::Member { ty, offset, name }) => {
                    if ty == 0 {
                        self.report.skip("type of a member: the compiler wrote none (T_NOTYPE)");
                    }
                    (String::from_utf8_lossy(name).into_owned(), offset, self.ty(ty, 0)?)
                }
                Ok(Field::Base { ty, offset }) => {
                    self.base(&mut structure, &mut next, ty, offset)?;
                    continue;
                }
                // The name by which Microsoft's debuggers show it.
                Ok(Field::VirtualTable { offset }) => ("__VFN_table".to_owned(), offset, Type::pointer_to(Type::Void)),
                Ok(Field::VirtualBase { pointer, .. }) => {
                    has_virtual_bases = true;
                    if !self.virtual_bases.has_own_pointer(udt, pointer) {
                        continue;
                    }
                    // It points to offsets, counted from where it lies itself.
                    let offsets = Type::array_of(self.native(&LONG), 0);
                    ("__VB_table".to_owned(), pointer, Type::pointer_to(offsets))
                }
                Ok(Field::NoNumber(kind)) => {
                    self.report.skip(&format!("field record 0x{kind:04x} whose number is no integer"));
                    continue;
                }
                Ok(Field::Label { .. } | Field::Continues(_) | Field::NoData) => continue,
                Err(what) => {
                    self.report.skip(&what);
                    continue;
                }
            };
            self.budget.spend(name.len())?;
            let anonymous = is_anonymous(name.as_bytes());
            let name = if name.is_empty() { "__unnamed" } else { &name };
            insert(&mut structure, &mut next, name, Member { offset, ty, anonymous });
        }
        if has_virtual_bases {
            match self.virtual_bases.places(udt) {
                Some(places) => {
                    for (ty, offset) in places {
                        self.base(&mut structure, &mut next, ty, offset)?;
                    }
                }
                None => self.report.skip("virtual bases of a class whose size does not tell where they lie"),
            }
        }
        Ok(structure)
    }

    /// A base class, as a member without a name of its own.
    fn base(
        &mut self,
        structure: &mut Struct,
        next: &mut HashMap<String, u32>,
        ty: u32,
        offset: u64,
    ) -> Result<(), PdbError> {
        match self.ty(ty, 0)? {
            Type::Named(base) => {
                let member = Member { offset, ty: Type::Named(base.clone()), anonymous: true };
                insert(structure, next, &base, member);
            }
            _ => self.report.skip("LF_BCLASS"),
        }
        Ok(())
    }

    fn enumeration(&mut self, record: &EnumRecord<'t>) -> Result<Enum, PdbError> {
        let base = self.enum_base(record);
        let mut values: Vec<(String, i128)> = Vec::new();
        // By the text that is written: of bytes that are no UTF-8, several have the same.
        let mut known: HashMap<Cow<'_, str>, i128> = HashMap::new();
        for field in self.table.fields(record.fields) {
            match field {
                Ok(Field::Label { value, name }) => {
                    self.budget.spend(64 + name.len())?;
                    // clang writes the labels of a signed enum as if they had no sign.
                    let value = base.in_range(value);
                    let name = String::from_utf8_lossy(name);
                    match known.insert(name.clone(), value) {
                        None => values.push((name.into_owned(), value)),
                        Some(other) if other == value => {}
                        Some(_) => self.report.skip("LF_ENUMERATE of a name that has another value"),
                    }
                }
                Ok(_) => {}
                Err(what) => self.report.skip(&what),
            }
        }
        self.native(base);
        Ok(Enum { values, base: Some(base.name.to_owned()), size: Some(base.size) })
    }

    /// The integer type of an enum. A declaration may leave it out; then it is C's `int`.
    fn enum_base(&self, record: &EnumRecord<'t>) -> &'static Native {
        let index = match self.table.get(record.base) {
            Some(Record::Alias { target }) => target,
            _ => record.base,
        };
        match primitive::simple(index) {
            Some(Simple::Native(native)) if index < 0x100 => native,
            Some(Simple::Utf16) if index < 0x100 => &primitive::UNSIGNED_SHORT,
            _ => &primitive::LONG,
        }
    }

    fn native(&mut self, native: &'static Native) -> Type {
        self.natives.insert(native.name, native);
        Type::named(native.name)
    }

    fn ty(&mut self, index: u32, depth: u32) -> Result<Type, PdbError> {
        self.budget.spend(64)?;
        if depth > Type::MAX_DEPTH {
            return Ok(self.unknown("type nested deeper than any real one"));
        }
        if index < 0x1000 {
            return Ok(self.simple(index));
        }
        let below = depth + 1;
        let Some(record) = self.table.get(index) else {
            let what = self
                .table
                .raw(index)
                .map_or_else(|| "type index without a record".to_owned(), |raw| records::kind_name(records::kind(raw)));
            return Ok(self.unknown(&what));
        };
        Ok(match record {
            Record::Udt(udt) => self.tagged(index, &Tagged::Udt(udt))?,
            Record::Enum(record) => {
                let base = self.enum_base(&record);
                let base = Box::new(self.native(base));
                match self.tagged(index, &Tagged::Enum(record))? {
                    Type::Named(name) => Type::Enum { name, base },
                    _ => *base,
                }
            }
            Record::Pointer { target, bytes } => {
                let target = Box::new(self.ty(target, below)?);
                Type::Pointer { target, bytes: self.odd_width(bytes) }
            }
            Record::MemberOffset { bytes } if bytes % 4 == 0 && bytes > 0 => match self.native(&LONG) {
                offset if bytes == 4 => offset,
                offset => Type::array_of(offset, u64::from(bytes) / 4),
            },
            Record::MemberOffset { .. } => self.unknown("LF_POINTER to a member, of an impossible width"),
            Record::Vector { element, count } => Type::array_of(self.ty(element, below)?, u64::from(count)),
            Record::Array { element, bytes } => self.array(element, bytes, below)?,
            Record::BitField { base, start, len } => {
                let target = Box::new(self.ty(base, below)?);
                Type::BitField { start: u64::from(start), end: u64::from(start) + u64::from(len), target }
            }
            Record::Alias { target } => self.ty(target, below)?,
            Record::Procedure { ret, this, args } => {
                let ret = Some(Box::new(self.ty(ret, below)?));
                let mut list = Vec::new();
                // The pointer to the object is the first argument of a member function.
                if let Some(this) = this {
                    list.push(self.ty(this, below)?);
                }
                match self.table.get(args) {
                    Some(Record::ArgList(indices)) => {
                        // Index 0 at the end stands for `...`; it comes out as Void, which no argument can be.
                        for arg in indices.indices() {
                            list.push(self.ty(arg, below)?);
                        }
                    }
                    _ => self.report.skip("LF_ARGLIST"),
                }
                Type::Function { args: list, ret }
            }
            // A table of virtual functions (LF_VTSHAPE) and a label of code (LF_LABEL): only pointed to.
            Record::Other if matches!(self.table.raw(index).map(records::kind), Some(0x000a | 0x000e | 0x151d)) => {
                Type::Void
            }
            Record::FieldList(_) | Record::ArgList(_) | Record::Other => {
                let kind = self.table.raw(index).map_or(0, records::kind);
                self.unknown(&records::kind_name(kind))
            }
        })
    }

    /// A struct or enum by its name.
    fn tagged(&mut self, index: u32, tagged: &Tagged<'t>) -> Result<Type, PdbError> {
        let definition = self.table.definition(index, tagged);
        let name = match definition.and_then(|index| self.names.of(index)) {
            Some(name) => name.clone().into_owned(),
            // Declared and never defined: the name is all that is known.
            None if !is_anonymous(tagged.name()) => String::from_utf8_lossy(tagged.name()).into_owned(),
            None => return Ok(self.unknown("anonymous type without a definition")),
        };
        self.budget.spend(name.len())?;
        Ok(Type::Named(name))
    }

    fn simple(&mut self, index: u32) -> Type {
        let (Some(simple), Some(indirection)) = (primitive::simple(index), primitive::indirection(index)) else {
            return self.unknown(&format!("simple type 0x{index:x}"));
        };
        let ty = match simple {
            Simple::Void => Type::Void,
            Simple::Utf16 => Type::UnicodeString { length: None },
            Simple::Native(native) => self.native(native),
        };
        match indirection {
            Indirection::Direct => ty,
            Indirection::MachinePointer => Type::pointer_to(ty),
            Indirection::Pointer(bytes) => Type::Pointer { target: Box::new(ty), bytes: self.odd_width(bytes) },
        }
    }

    /// A pointer's width where it is not the machine's.
    fn odd_width(&self, bytes: u8) -> Option<u8> {
        Some(bytes).filter(|&bytes| bytes != 0 && bytes != self.table.pointer_bytes)
    }

    /// An array of `bytes` bytes in all.
    fn array(&mut self, element: u32, bytes: u64, depth: u32) -> Result<Type, PdbError> {
        let target = self.ty(element, depth)?;
        let count = match self.table.size_of(element, 0) {
            Some(size @ 1..) => bytes / size,
            _ if bytes == 0 => 0,
            // Of a type that no record tells the extent is known at least.
            _ => {
                self.report.skip("element type of an array (its bytes are there)");
                return Ok(Type::array_of(self.native(&UNSIGNED_CHAR), bytes));
            }
        };
        Ok(match target {
            Type::UnicodeString { length: None } => Type::UnicodeString { length: Some(count) },
            target => Type::array_of(target, count),
        })
    }

    /// What stands where a type is missing; the member stays, so that its offset is known.
    fn unknown(&mut self, what: &str) -> Type {
        self.report.skip(what);
        Type::Void
    }
}

/// Puts a member in; where its name is taken, under `name_1` and so on.
fn insert(structure: &mut Struct, next: &mut HashMap<String, u32>, name: &str, member: Member) {
    let mut free = name.to_owned();
    while let Some(known) = structure.members.get(&free) {
        if *known == member {
            return;
        }
        let number = next.entry(name.to_owned()).or_insert(0);
        *number += 1;
        free = format!("{name}_{number}");
    }
    structure.members.insert(free, member);
}
