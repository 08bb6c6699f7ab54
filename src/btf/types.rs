//! Builds the model of the types.
//!
//! Names are those that DWARF's reader gives: typedefs, const, volatile, restrict and tags are transparent, but that the
//! typedef of a member of a native type is kept beside it where it tells more ([`crate::typedefs`]); a struct,
//! union or enumeration without a tag goes by the typedef that names it, else by its place in the source,
//! `parent.member`; a member without a name is `u1`, `u2`, ... in order.

use super::format::{Btf, Id, Kind, Record};
use super::{BtfError, BtfReport};
use crate::c_abi::{Words, integer_name, storage_unit, wider};
use crate::nameless::NamelessTypes;
use crate::typedefs::{Declared, tells_more};
use quaid_profile::{BaseKind, BaseType, Enum, Member, Profile, Struct, StructKind, Type};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

/// How many parts the type of one member or variable may have: function types that refer to each other could have 2^64.
/// A real one has less than a hundred.
const MAX_MEMBER_PARTS: usize = 4096;
/// Variables of a struct without a name, and its members. BTF has the types of all variables, and says only of per-CPU ones
/// which they have. `tk_core` is the kernel's clock, up to Linux 6.12 (kernel/time/timekeeping.c).
const BY_MEMBERS: [(&str, [&str; 2]); 1] = [("tk_core", ["seq", "timekeeper"])];
/// How many types may be looked up to build all. A distribution's kernel takes half a million.
const MAX_PARTS: usize = 1 << 24;
/// How many members of types without a name are looked at to tell layouts of one name apart; types beyond are alike. Of a
/// kernel few names have several definitions.
const MAX_NAMELESS_PARTS: usize = 1 << 20;

impl Btf<'_> {
    /// The size of a pointer in bytes, which is that of `unsigned long` in Linux; `None` where it has no such type.
    pub fn pointer_bytes(&self) -> Option<u64> {
        self.of([Kind::Int]).find_map(|(_, record)| {
            let long = matches!(self.name(record.name_offset), Some("long unsigned int" | "unsigned long"));
            long.then_some(u64::from(record.size_or_type))
        })
    }

    /// The names of the members of the struct `name`, those of unnamed members included: what tells the architecture.
    pub fn member_names(&self, name: &str) -> Option<Vec<String>> {
        let (id, _) = self.of([Kind::Struct]).find(|(_, record)| self.name(record.name_offset) == Some(name))?;
        let mut open = vec![id];
        let mut names = Vec::new();
        while let Some(record) = open.pop().and_then(|id| self.get(id)) {
            for member in record.members() {
                match self.name(member.name_offset) {
                    Some(name) => names.push(name.to_owned()),
                    None if names.len() + open.len() < MAX_MEMBER_PARTS => open.push(member.ty),
                    None => {}
                }
            }
            if names.len() > MAX_MEMBER_PARTS {
                break;
            }
        }
        Some(names)
    }

    /// Adds all types to `profile`, and the types of those variables whose symbols it has. Prototypes of functions are left
    /// out, as DWARF's reader does: no tool asks for them, and with them a profile is almost twice as large.
    /// `pointer_bytes` is the size of the architecture's pointers.
    pub fn add_types(&self, place: &str, pointer_bytes: u64, profile: &mut Profile) -> Result<BtfReport, BtfError> {
        let mut report = BtfReport::default();
        let Names { aggregates, enums, suffixed } = Names::of(self, &mut report);
        let mut builder = Builder {
            btf: self,
            place,
            pointer_bytes,
            signs_are_told: self
                .of([Kind::Enum, Kind::Enum64])
                .any(|(_, record)| record.kind == Kind::Enum64 || record.kind_flag),
            names: suffixed,
            reached: HashMap::new(),
            nameless: NamelessTypes::default(),
            waiting: Vec::new(),
            declared: Declared::Plainly,
            parts_left: MAX_PARTS,
            member_parts_left: MAX_MEMBER_PARTS,
            profile,
            report: &mut report,
        };
        builder.base_types();
        for aggregate in aggregates {
            builder.waiting.push(aggregate);
            builder.finish_waiting()?;
        }
        for (id, name) in enums {
            if let Some(record) = self.get(id) {
                let built = builder.enumeration(record, &name);
                builder.profile.enums.insert(name, built);
            }
        }
        builder.variables()?;
        builder.variables_by_members()?;
        builder.nameless_enums();
        report.nameless_types = builder.nameless.left_out;
        Ok(report)
    }

    /// The tagged type without a name that a typedef names directly.
    fn nameless_target(&self, typedef: Record<'_>) -> Option<Id> {
        let target = self.get(typedef.size_or_type)?;
        (is_tagged(target.kind) && self.name(target.name_offset).is_none()).then_some(typedef.size_or_type)
    }

    /// The layout of a type; `left` is how many [`MAX_NAMELESS_PARTS`] there still are.
    fn layout(&self, id: Id, left: &mut usize) -> Layout<'_> {
        let mut layout = Vec::new();
        if let Some(record) = self.get(id) {
            self.add_layout(record, Type::MAX_DEPTH, &mut layout, left);
        }
        layout
    }

    fn add_layout<'d>(&'d self, record: Record<'d>, depth: u32, layout: &mut Layout<'d>, left: &mut usize) {
        layout.push((u64::from(record.kind == Kind::Union) << 32 | u64::from(record.size_or_type), None));
        match record.kind {
            Kind::Enum | Kind::Enum64 => {
                layout.extend(record.labels().map(|(name, value)| (value, self.name(name))));
            }
            Kind::Struct | Kind::Union => {
                for member in record.members() {
                    let place = u64::from(member.bits.unwrap_or(0)) << 32 | u64::from(member.first_bit);
                    layout.push((place, self.name(member.name_offset)));
                    self.add_shape(member.ty, depth, layout, left);
                }
            }
            _ => {}
        }
    }

    /// Adds what tells the type of a member from others: the pointers, arrays and functions that lead to a name, and the
    /// name that the profile has for it, or the layout of a type without one. What is behind a name is not looked into,
    /// and of what a function takes it counts how much that is.
    fn add_shape<'d>(&'d self, mut id: Id, depth: u32, layout: &mut Layout<'d>, left: &mut usize) {
        for depth in (0..depth).rev() {
            let Some(record) = self.get(id) else { break };
            let name = self.name(record.name_offset);
            id = record.size_or_type;
            match record.kind {
                Kind::Ptr => layout.push((record.kind as u64, None)),
                Kind::Array => {
                    let (element, count) = record.array();
                    layout.push((u64::from(count) << 32 | record.kind as u64, None));
                    id = element;
                }
                Kind::FuncProto => {
                    let taken = record.parameters().filter(|&parameter| parameter != 0).count() as u64;
                    layout.push((taken << 32 | record.kind as u64, None));
                }
                Kind::Typedef if self.nameless_target(record).is_some() => return layout.push((0, name)),
                Kind::Typedef | Kind::Const | Kind::Volatile | Kind::Restrict | Kind::TypeTag => {}
                kind if is_tagged(kind) && name.is_none() => {
                    let parts = 1 + record.members().count();
                    let Some(rest) = left.checked_sub(parts) else { break };
                    *left = rest;
                    return self.add_layout(record, depth, layout, left);
                }
                _ => return layout.push((0, name)),
            }
        }
        layout.push((0, None));
    }

    /// How often each type is referred to by another one, by id.
    fn uses(&self) -> Vec<u32> {
        let mut uses = vec![0_u32; self.end() as usize];
        let mut count = |id: Id| {
            if let Some(count) = uses.get_mut(id as usize) {
                *count = count.saturating_add(1);
            }
        };
        for (_, record) in self.all() {
            match record.kind {
                Kind::Struct | Kind::Union => record.members().for_each(|member| count(member.ty)),
                Kind::FuncProto => {
                    count(record.size_or_type);
                    record.parameters().for_each(&mut count);
                }
                Kind::Array => count(record.array().0),
                Kind::Int | Kind::Enum | Kind::Enum64 | Kind::Float | Kind::Fwd | Kind::Datasec => {}
                _ => count(record.size_or_type),
            }
        }
        uses
    }
}

/// Numbers and names: whether it is a union, its size, and of each member or label the place or value, the name, and what
/// its type is.
type Layout<'d> = Vec<(u64, Option<&'d str>)>;

fn is_tagged(kind: Kind) -> bool {
    matches!(kind, Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64)
}

/// One name for each struct, union and enumeration that has a tag or typedef.
struct Names {
    aggregates: Vec<(Id, String)>,
    enums: Vec<(Id, String)>,
    /// Names of the types and typedefs whose own name another layout has.
    suffixed: HashMap<Id, String>,
}

impl Names {
    /// Of several layouts of one name the most used one has it, of equals the first in the file; the others get `_1` and
    /// so on. A module's own comes after its kernel's.
    fn of(btf: &Btf<'_>, report: &mut BtfReport) -> Self {
        let uses = btf.uses();
        // Whether it is an enumeration, the name, what refers to the type (itself, or the typedef), and the type.
        let mut named: Vec<(bool, &str, Id, Id)> = Vec::new();
        for (id, record) in btf.of([Kind::Struct, Kind::Union, Kind::Enum, Kind::Enum64, Kind::Typedef]) {
            let target = if record.kind == Kind::Typedef { btf.nameless_target(record) } else { Some(id) };
            let (Some(target), Some(name)) = (target, btf.name(record.name_offset)) else { continue };
            let enumeration = btf.get(target).is_some_and(|target| matches!(target.kind, Kind::Enum | Kind::Enum64));
            named.push((enumeration, name, id, target));
        }
        named.sort_unstable();
        let is_named = |enumeration: bool, name: &str| {
            named.binary_search_by(|&(known, other, ..)| (known, other).cmp(&(enumeration, name))).is_ok()
        };
        let mut names = Self { aggregates: Vec::new(), enums: Vec::new(), suffixed: HashMap::new() };
        let mut given = HashSet::new();
        let mut left = MAX_NAMELESS_PARTS;
        for types in named.chunk_by(|one, next| (one.0, one.1) == (next.0, next.1)) {
            let &[(enumeration, name, _, target), ref others @ ..] = types else { continue };
            if others.is_empty() {
                let kept = if enumeration { &mut names.enums } else { &mut names.aggregates };
                kept.push((target, name.to_owned()));
                continue;
            }
            let mut layouts: BTreeMap<Layout<'_>, Vec<(Id, Id)>> = BTreeMap::new();
            for &(.., id, target) in types {
                layouts.entry(btf.layout(target, &mut left)).or_default().push((id, target));
            }
            let count = |types: &[(Id, Id)]| {
                types.iter().filter_map(|(id, _)| uses.get(*id as usize)).map(|&uses| u64::from(uses)).sum::<u64>()
            };
            let mut ranked: Vec<_> = layouts.into_values().map(|types| (count(&types), types)).collect();
            ranked.sort_by_key(|(count, types)| {
                let first = types.first().map_or(0, |(id, _)| *id);
                (first >= btf.start(), std::cmp::Reverse(*count), first)
            });
            let others = ranked.len() - 1;
            if let (Some((count, _)), 1..) = (ranked.first(), others) {
                report.other_layouts.push((name.to_owned(), *count, others));
            }
            let mut number = 0;
            for (at, (_, types)) in ranked.into_iter().enumerate() {
                let mut own = name.to_owned();
                while at > 0
                    && (own == name || is_named(enumeration, &own) || !given.insert((enumeration, own.clone())))
                {
                    number += 1;
                    own = format!("{name}_{number}");
                }
                if at > 0 {
                    names.suffixed.extend(types.iter().map(|(id, _)| (*id, own.clone())));
                }
                let kept = if enumeration { &mut names.enums } else { &mut names.aggregates };
                kept.extend(types.first().map(|(_, target)| (*target, own)));
            }
        }
        names.aggregates.sort_unstable();
        names
    }
}

/// Where a type stands: its name, should it have none of its own. It is written out only then.
#[derive(Clone, Copy)]
enum Path<'p> {
    /// Of a struct or union, a member.
    Member(&'p str, &'p str),
    Variable(&'p str),
    /// What the function there gives.
    Return(&'p Path<'p>),
    /// What it takes, counted from 1.
    Argument(&'p Path<'p>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(of, name) => write!(f, "{of}.{name}"),
            Self::Variable(name) => write!(f, ".{name}"),
            Self::Return(of) => write!(f, "{of}.return"),
            Self::Argument(of, number) => write!(f, "{of}.arg{number}"),
        }
    }
}

struct Builder<'b, 'd> {
    btf: &'b Btf<'d>,
    place: &'b str,
    pointer_bytes: u64,
    /// Whether the file tells which enumerations are signed: those of before 2022 (kernel 6.0) do not.
    signs_are_told: bool,
    names: HashMap<Id, String>,
    /// Names given to types that have none.
    reached: HashMap<Id, String>,
    nameless: NamelessTypes,
    /// Structs without a name that were met and are still to be built.
    waiting: Vec<(Id, String)>,
    /// What the member is declared by whose type is being built.
    declared: Declared<&'d str>,
    parts_left: usize,
    member_parts_left: usize,
    profile: &'b mut Profile,
    report: &'b mut BtfReport,
}

impl<'d> Builder<'_, 'd> {
    fn text(&self, offset: u32) -> Option<&'d str> {
        self.btf.name(offset)
    }

    fn base_types(&mut self) {
        for (_, record) in self.btf.of([Kind::Int, Kind::Float]) {
            let Some(name) = self.text(record.name_offset) else { continue };
            let (kind, signed) = match record.kind {
                Kind::Float => (BaseKind::Float, true),
                Kind::Int => {
                    let (encoding, _, bits) = record.int();
                    if u64::from(bits) != u64::from(record.size_or_type) * 8 {
                        // A bit field of old BTF, under the name of its type.
                        continue;
                    }
                    let kind = match encoding {
                        encoding if encoding & 4 != 0 => BaseKind::Bool,
                        encoding if encoding & 2 != 0 || record.size_or_type == 1 && name.contains("char") => {
                            BaseKind::Char
                        }
                        _ => BaseKind::Int,
                    };
                    (kind, encoding & 1 != 0)
                }
                _ => continue,
            };
            let big_endian = self.btf.big_endian();
            self.profile.base_types.entry(name.to_owned()).or_insert(BaseType {
                size: record.size_or_type.into(),
                signed,
                kind,
                big_endian,
            });
        }
    }

    fn finish_waiting(&mut self) -> Result<(), BtfError> {
        while let Some((id, name)) = self.waiting.pop() {
            let Some(record) = self.btf.get(id) else { continue };
            let structure = self.structure(record, &name)?;
            self.profile.structs.insert(name, structure);
        }
        Ok(())
    }

    fn structure(&mut self, record: Record<'d>, name: &str) -> Result<Struct, BtfError> {
        let kind = if record.kind == Kind::Union { StructKind::Union } else { StructKind::Struct };
        let mut structure = Struct { size: record.size_or_type.into(), kind, ..Struct::default() };
        // Most structs have no member without a name.
        let mut given: Option<HashSet<&str>> = None;
        let mut number = 0;
        for member in record.members() {
            let known = self.text(member.name_offset);
            let member_name = known.map_or_else(
                || {
                    let names = || record.members().filter_map(|member| self.text(member.name_offset)).collect();
                    let given = given.get_or_insert_with(names);
                    loop {
                        number += 1;
                        let free = format!("u{number}");
                        if !given.contains(free.as_str()) {
                            break free;
                        }
                    }
                },
                str::to_owned,
            );
            let path = Path::Member(name, &member_name);
            let ty = self.whole_type(member.ty, path)?;
            let first = u64::from(member.first_bit);
            // Before the flag came, a bit field was a member of an integer type of few bits.
            let storage = self.storage(member.ty);
            let (first, bits) = match (member.bits, storage) {
                (Some(bits), _) => (first, Some(u64::from(bits))),
                (None, Some((bytes, before, bits))) if u64::from(bits) != bytes * 8 => {
                    (first + u64::from(before), Some(u64::from(bits)))
                }
                _ => (first, None),
            };
            let placed = match (bits, storage) {
                (None, _) if first % 8 == 0 => Some((first / 8, ty)),
                (Some(bits), Some((bytes, ..))) => {
                    storage_unit(first, bits, bytes, self.btf.big_endian()).map(|unit| {
                        let target = if unit.bytes > bytes {
                            self.declared = Declared::Plainly;
                            let big_endian = self.btf.big_endian();
                            wider(&ty, unit, Words { pointer_bytes: self.pointer_bytes, big_endian }, self.profile)
                        } else {
                            ty
                        };
                        let (start, end) = (unit.start, unit.start.saturating_add(bits));
                        (unit.offset, Type::BitField { start, end, target: Box::new(target) })
                    })
                }
                _ => None,
            };
            let Some((offset, ty)) = placed else {
                self.report.skip(&path, "its bits lie outside every storage unit");
                continue;
            };
            let typedef = self.typedef_of(&ty);
            if let Some(typedef) = typedef {
                structure.typedefs.insert(member_name.clone(), typedef.to_owned());
            }
            let member = Member { offset, ty, anonymous: known.is_none() };
            match structure.members.entry(member_name) {
                Entry::Vacant(free) => {
                    free.insert(member);
                }
                Entry::Occupied(mut taken) => {
                    let path = Path::Member(name, taken.key());
                    self.report.skip(&path, "another member of the same name follows");
                    if typedef.is_none() {
                        structure.typedefs.remove(taken.key());
                    }
                    taken.insert(member);
                }
            }
        }
        Ok(structure)
    }

    /// The typedef that the member is declared by which was built last, if its type ends in a native one.
    fn typedef_of(&self, ty: &Type) -> Option<&'d str> {
        let Declared::By(name) = self.declared else { return None };
        let native = self.profile.base_types.contains_key(ty.end()?);
        Some(name).filter(|name| native && tells_more(name))
    }

    /// Of an integer or enumeration: its size in bytes, the bits before its value, and those of it.
    fn storage(&self, mut id: Id) -> Option<(u64, u32, u32)> {
        for _ in 0..Type::MAX_DEPTH {
            let record = self.btf.get(id)?;
            match record.kind {
                Kind::Int => {
                    let (_, before, bits) = record.int();
                    return Some((record.size_or_type.into(), before, bits));
                }
                Kind::Enum | Kind::Enum64 => {
                    return Some((record.size_or_type.into(), 0, record.size_or_type.saturating_mul(8)));
                }
                Kind::Typedef | Kind::Const | Kind::Volatile | Kind::Restrict | Kind::TypeTag => {
                    id = record.size_or_type;
                }
                _ => return None,
            }
        }
        None
    }

    /// The type of a member, variable or function.
    fn whole_type(&mut self, id: Id, path: Path<'_>) -> Result<Type, BtfError> {
        self.member_parts_left = MAX_MEMBER_PARTS;
        self.declared = Declared::Plainly;
        self.type_at(id, path, 0)
    }

    /// The type `id`; `path` names it, should it have no name of its own.
    fn type_at(&mut self, id: Id, path: Path<'_>, depth: u32) -> Result<Type, BtfError> {
        if id == 0 {
            return Ok(Type::Void);
        }
        if depth > Type::MAX_DEPTH || self.member_parts_left == 0 {
            self.report.unresolved += 1;
            return Ok(Type::Void);
        }
        self.member_parts_left -= 1;
        self.parts_left = self.parts_left.checked_sub(1).ok_or_else(|| BtfError::Corrupt {
            place: self.place.to_owned(),
            why: format!("its types refer to each other more than {MAX_PARTS} times"),
        })?;
        let Some(record) = self.btf.get(id) else {
            self.report.unresolved += 1;
            return Ok(Type::Void);
        };
        let name = self.text(record.name_offset);
        let target = record.size_or_type;
        let depth = depth + 1;
        Ok(match record.kind {
            Kind::Int | Kind::Float | Kind::Fwd => name.map_or(Type::Void, Type::named),
            Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 => self.tagged(id, id, record, name, path),
            Kind::Typedef => match (name, self.btf.nameless_target(record)) {
                (Some(name), Some(target)) => match self.btf.get(target) {
                    Some(tagged) => self.tagged(id, target, tagged, Some(name), path),
                    None => Type::Void,
                },
                (Some(name), None) => {
                    self.declared.typedef(name);
                    self.type_at(target, path, depth)?
                }
                (None, _) => self.type_at(target, path, depth)?,
            },
            Kind::Const | Kind::Volatile | Kind::Restrict | Kind::TypeTag | Kind::Func | Kind::Var => {
                self.type_at(target, path, depth)?
            }
            Kind::Ptr => {
                self.declared.indirection();
                Type::pointer_to(self.type_at(target, path, depth)?)
            }
            Kind::Array => {
                self.declared.indirection();
                let (element, count) = record.array();
                Type::array_of(self.type_at(element, path, depth)?, count.into())
            }
            Kind::FuncProto => {
                let ret = self.type_at(target, Path::Return(&path), depth)?;
                let mut args = Vec::with_capacity(record.parameters().count());
                for parameter in record.parameters().filter(|&parameter| parameter != 0) {
                    args.push(self.type_at(parameter, Path::Argument(&path, args.len() + 1), depth)?);
                }
                Type::Function { args, ret: Some(Box::new(ret)) }
            }
            Kind::Datasec | Kind::DeclTag => {
                self.report.unresolved += 1;
                Type::Void
            }
        })
    }

    /// A struct, union or enumeration by its name. One that has none is named by `path`, and built. `named` is the type
    /// or typedef that has the name.
    fn tagged(&mut self, named: Id, id: Id, record: Record<'d>, name: Option<&str>, path: Path<'_>) -> Type {
        let enumeration = matches!(record.kind, Kind::Enum | Kind::Enum64);
        let known = if name.is_some() { self.names.get(&named) } else { self.reached.get(&id) };
        let name = match (known, name) {
            (Some(known), _) => known.clone(),
            (None, Some(name)) => name.to_owned(),
            (None, None) => {
                let Some(path) = self.nameless.name(&path) else { return Type::Void };
                self.reached.insert(id, path.clone());
                if enumeration {
                    let built = self.enumeration(record, &path);
                    self.profile.enums.insert(path.clone(), built);
                } else {
                    self.waiting.push((id, path.clone()));
                }
                path
            }
        };
        if enumeration {
            let base = self.enum_base(record).0;
            Type::Enum { name, base: Box::new(Type::named(base)) }
        } else {
            Type::Named(name)
        }
    }

    /// The integer type of an enumeration, and whether it is signed.
    fn enum_base(&mut self, record: Record<'d>) -> (&'static str, bool) {
        let size = u64::from(record.size_or_type);
        let signed = if self.signs_are_told {
            record.kind_flag
        } else {
            record.labels().any(|(_, value)| value.cast_signed() < 0)
        };
        let name = integer_name(size, signed, self.pointer_bytes);
        let big_endian = self.btf.big_endian();
        let base = BaseType { big_endian, ..BaseType::int(size, signed) };
        self.profile.base_types.entry(name.to_owned()).or_insert(base);
        (name, signed)
    }

    fn enumeration(&mut self, record: Record<'d>, name: &str) -> Enum {
        let (base, signed) = self.enum_base(record);
        let (count, _) = record.labels().size_hint();
        let mut values: Vec<(String, i128)> = Vec::with_capacity(count);
        let mut known = HashSet::with_capacity(count);
        for (label, value) in record.labels() {
            let value = match (signed, record.kind) {
                (true, _) => i128::from(value.cast_signed()),
                (false, Kind::Enum64) => i128::from(value),
                (false, _) => i128::from(value as u32),
            };
            match self.text(label) {
                Some(label) if known.insert(label) => values.push((label.to_owned(), value)),
                _ => self.report.skip(&name, "a label without name, or given twice"),
            }
        }
        Enum { values, base: Some(base.to_owned()), size: Some(record.size_or_type.into()) }
    }

    /// The types of variables that the profile has symbols of. Of several of one name the first is kept.
    fn variables(&mut self) -> Result<(), BtfError> {
        for (_, record) in self.btf.of([Kind::Var]) {
            let Some(name) = self.text(record.name_offset) else { continue };
            if self.profile.constants.contains_key(name) && !self.profile.constant_types.contains_key(name) {
                let ty = self.whole_type(record.size_or_type, Path::Variable(name))?;
                self.profile.constant_types.insert(name.to_owned(), ty);
                self.finish_waiting()?;
            }
        }
        Ok(())
    }

    /// The types of variables that are known by their members.
    fn variables_by_members(&mut self) -> Result<(), BtfError> {
        for (symbol, members) in BY_MEMBERS {
            if !self.profile.constants.contains_key(symbol) || self.profile.constant_types.contains_key(symbol) {
                continue;
            }
            let fits = |&(_, record): &(Id, Record<'d>)| {
                self.text(record.name_offset).is_none()
                    && record.members().map(|member| self.text(member.name_offset)).eq(members.map(Some))
            };
            let Some((id, _)) = self.btf.of([Kind::Struct]).find(fits) else { continue };
            let ty = self.whole_type(id, Path::Variable(symbol))?;
            self.profile.constant_types.insert(symbol.to_owned(), ty);
            self.finish_waiting()?;
        }
        Ok(())
    }

    /// Enumerations that only define labels: `enum.LABEL` by their first one, from the second on with a number.
    fn nameless_enums(&mut self) {
        let typedefs = self.btf.of([Kind::Typedef]);
        let named: HashSet<Id> = typedefs.filter_map(|(_, record)| self.btf.nameless_target(record)).collect();
        let mut numbers: HashMap<&str, u32> = HashMap::new();
        for (id, record) in self.btf.of([Kind::Enum, Kind::Enum64]) {
            if self.text(record.name_offset).is_some() || self.reached.contains_key(&id) || named.contains(&id) {
                continue;
            }
            let Some(first) = record.labels().next().and_then(|(label, _)| self.text(label)) else { continue };
            let number = numbers.entry(first).or_default();
            *number += 1;
            let name = if *number == 1 { format!("enum.{first}") } else { format!("enum.{first}.{number}") };
            let built = self.enumeration(record, &name);
            self.profile.enums.insert(name, built);
        }
    }
}
