//! Types as the original read them.
//!
//! Faults that show, all of them observed:
//! - only `LF_STRUCTURE`, `LF_UNION` and `LF_ENUM` define types; classes are lost, and so is what else has no line in
//!   [`Types::vtype`]; a member of such a type is dropped;
//! - a field list is lost from the first field on that is no data member, enumerator or nested type; of a nested type the
//!   declaration is taken for a member at the offset 0, and its length for that of everything before it;
//! - after the last field the bytes of the next record are taken for one more, which every enum has as "-", -1;
//! - anonymous types of one name become one, as do all definitions of a name: members of both, size of the later;
//! - argument lists are read as 16-bit indices, so half of the arguments are 0 and the other half is not reached;
//! - arrays have a `size` in bytes until the element's size is known, and pointers are always taken for 8 bytes.

use crate::pdb::ParseReport;
use crate::pdb::budget::Budget;
use crate::pdb::bytes::Reader;
use crate::pdb::error::PdbError;
use quaid_profile::{Enum, Member, Profile, Struct, Type};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};

const LF_MODIFIER: u16 = 0x1001;
const LF_POINTER: u16 = 0x1002;
const LF_PROCEDURE: u16 = 0x1008;
const LF_ARGLIST: u16 = 0x1201;
const LF_FIELDLIST: u16 = 0x1203;
const LF_BITFIELD: u16 = 0x1205;
const LF_ENUMERATE: u16 = 0x1502;
const LF_ARRAY: u16 = 0x1503;
const LF_STRUCTURE: u16 = 0x1505;
const LF_UNION: u16 = 0x1506;
const LF_ENUM: u16 = 0x1507;
const LF_MEMBER: u16 = 0x150d;
const LF_NESTTYPE: u16 = 0x1510;
const FORWARD: u16 = 0x80;
/// Compilers cut decorated names off at this length; what is longer is no name.
const MAX_NAME_BYTES: usize = 4096;

/// The type stream, to the end of its last page.
pub(super) struct Types<'t> {
    stream: &'t [u8],
    first: u32,
    /// Where each record's leaf kind stands in the stream, and where the record ends.
    records: Vec<(usize, usize)>,
}

/// `[class, {arguments}]`.
type Vtype = (String, Map<String, Value>);

/// Members by name, each with its offset.
type Members = BTreeMap<String, (u64, Vtype)>;

struct Field {
    /// Type index; `None` of an enumerator.
    ty: Option<u32>,
    value: i64,
    name: String,
}

struct Udt {
    forward: bool,
    fields: u32,
    size: u64,
    name: String,
}

impl<'t> Types<'t> {
    pub(super) fn new(stream: &'t [u8]) -> Self {
        let mut types = Self { stream, first: 0, records: Vec::new() };
        let mut header = Reader(stream);
        let fields: [Option<u32>; 5] = std::array::from_fn(|_| header.u32());
        let [_version, Some(header_bytes), Some(first), Some(end), _bytes] = fields else { return types };
        types.first = first;
        let mut at = header_bytes as usize;
        for _ in first..end {
            let Some(mut rest) = stream.get(at..).map(Reader) else { break };
            let Some(len) = rest.u16().filter(|&len| rest.0.len() >= usize::from(len)) else { break };
            types.records.push((at + 2, at + 2 + usize::from(len)));
            at += 2 + usize::from(len);
        }
        types
    }

    /// Puts every struct and enum into the profile.
    pub(super) fn fill(
        &self,
        profile: &mut Profile,
        budget: &mut Budget,
        report: &mut ParseReport,
    ) -> Result<(), PdbError> {
        let mut structs: BTreeMap<String, (u64, Members)> = BTreeMap::new();
        // In this order: the count of indices may end at u32::MAX, and must not be asked for one more.
        for (&(at, _), index) in self.records.iter().zip(self.first..) {
            match self.leaf(at) {
                Some(LF_ENUM) => {
                    let Some((name, _, fields)) = self.enumeration(at) else {
                        report.skip("LF_ENUM");
                        continue;
                    };
                    budget.spend(64 + name.len())?;
                    // Also a forward reference, which then replaces the definition before it.
                    profile.enums.insert(name, self.labels(fields, budget)?);
                }
                Some(LF_STRUCTURE | LF_UNION) => {
                    let Some(udt) = self.udt(index, at) else {
                        report.skip("LF_STRUCTURE or LF_UNION");
                        continue;
                    };
                    if udt.forward {
                        continue;
                    }
                    budget.spend(64 + udt.name.len())?;
                    let members = self.members(udt.fields, budget)?;
                    let known = structs.entry(udt.name).or_default();
                    known.0 = udt.size;
                    for (name, member) in members {
                        known.1.entry(name).or_insert(member);
                    }
                }
                _ => {}
            }
        }
        profile.enums.retain(|_, labels| !labels.values.is_empty());
        let sizes: HashMap<String, u64> = structs.iter().map(|(name, (size, _))| (name.clone(), *size)).collect();
        for (name, (size, members)) in structs {
            let member = |(name, (offset, (mut class, mut args)))| {
                count_elements(&mut class, &mut args, &sizes);
                let ty = if args.is_empty() {
                    Type::Named(class)
                } else {
                    Type::Other { class, args: args.into_iter().collect() }
                };
                (name, Member { offset, ty, anonymous: false })
            };
            let members = members.into_iter().map(member).collect();
            profile.structs.insert(name, Struct { size, members, ..Struct::default() });
        }
        Ok(())
    }

    fn leaf(&self, at: usize) -> Option<u16> {
        self.reader(at)?.u16()
    }

    fn reader(&self, at: usize) -> Option<Reader<'t>> {
        self.stream.get(at..).map(Reader)
    }

    fn udt(&self, index: u32, at: usize) -> Option<Udt> {
        let mut reader = self.reader(at)?;
        let leaf = reader.u16()?;
        let _count = reader.u16()?;
        let forward = reader.u16()? & FORWARD != 0;
        let fields = reader.u32()?;
        if leaf == LF_STRUCTURE {
            let _derived_and_vtable = reader.take(8)?;
        }
        let size = u64::try_from(numeric(&mut reader)?).ok()?;
        let name = match text(&mut reader)? {
            name if name == "<unnamed-tag>" => format!("<unnamed-{index}>"),
            name if name == "__unnamed" => format!("__unnamed_{fields}"),
            name => name,
        };
        Some(Udt { forward, fields, size, name })
    }

    /// Name, integer type and field list.
    fn enumeration(&self, at: usize) -> Option<(String, u32, u32)> {
        let mut reader = self.reader(at)?;
        let _leaf_count_properties = reader.take(6)?;
        let base = reader.u32()?;
        let fields = reader.u32()?;
        let name = text(&mut reader)?;
        let name = if name == "<unnamed-tag>" { format!("ENUM_{at:X}") } else { name };
        Some((name, base, fields))
    }

    fn labels(&self, list: u32, budget: &mut Budget) -> Result<Enum, PdbError> {
        let mut values: Vec<(String, i128)> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        for field in self.fields(list, budget)? {
            let (label, value) = match field {
                Some(Field { ty: None, value, name }) => (name, value),
                _ => ("-".to_owned(), -1),
            };
            if let Some(entry) = known.get(&label).and_then(|&at| values.get_mut(at)) {
                entry.1 = value.into();
            } else {
                known.insert(label.clone(), values.len());
                values.push((label, value.into()));
            }
        }
        Ok(Enum { values, ..Enum::default() })
    }

    fn members(&self, list: u32, budget: &mut Budget) -> Result<Members, PdbError> {
        let mut members = BTreeMap::new();
        for Field { ty, value, name } in self.fields(list, budget)?.into_iter().flatten() {
            let ty = match ty {
                Some(ty) => self.vtype(ty, 0, budget)?,
                // An enumerator, read behind the end of the list.
                None => Some((name.clone(), Map::new())),
            };
            let unnamed = name.strip_prefix("<unnamed-type-").and_then(|name| name.strip_suffix('>'));
            let name = unnamed.map(str::to_owned).unwrap_or(name);
            if let (Some(ty), Ok(offset)) = (ty, u64::try_from(value)) {
                members.insert(name, (offset, ty));
            }
        }
        Ok(members)
    }

    /// The fields of a list, as many as the original read; `None` is one that it knew nothing of, after which it ended.
    fn fields(&self, list: u32, budget: &mut Budget) -> Result<Vec<Option<Field>>, PdbError> {
        let mut fields = Vec::new();
        let Some((start, end)) = self.record(list).filter(|&(start, _)| self.leaf(start) == Some(LF_FIELDLIST)) else {
            return Ok(fields);
        };
        let mut at = start + 2;
        loop {
            let field = self.field(at);
            budget.spend(64 + field.as_ref().map_or(0, |(field, _)| field.name.len()))?;
            let Some((field, next)) = field else {
                fields.push(None);
                return Ok(fields);
            };
            let nested = self.leaf(at) == Some(LF_NESTTYPE);
            fields.push(Some(field));
            // One that begins at the end, or where the length of a nested type leads, is still read.
            if at >= end {
                return Ok(fields);
            }
            at = if nested { at + next } else { next };
        }
    }

    /// The field at `at`, and where the next one is.
    fn field(&self, at: usize) -> Option<(Field, usize)> {
        let mut reader = self.reader(at)?;
        let leaf = reader.u16()?;
        let _attributes = reader.u16()?;
        let ty = if leaf == LF_ENUMERATE { None } else { Some(reader.u32()?) };
        let value = match leaf {
            LF_MEMBER | LF_ENUMERATE => numeric(&mut reader)?,
            LF_NESTTYPE => 0,
            _ => return None,
        };
        let name = text(&mut reader)?;
        // LF_PAD1 to LF_PAD15: how many bytes to go.
        if let Some(pad @ 0xf0..) = reader.0.first() {
            reader.take(usize::from(pad & 0xf))?;
        }
        Some((Field { ty, value, name }, self.stream.len() - reader.0.len()))
    }

    fn record(&self, index: u32) -> Option<(usize, usize)> {
        self.records.get(index.checked_sub(self.first)? as usize).copied()
    }

    /// A type as a member has it; `None` where the original knew none.
    fn vtype(&self, index: u32, depth: u32, budget: &mut Budget) -> Result<Option<Vtype>, PdbError> {
        budget.spend(64)?;
        if index < 0x1000 {
            return Ok(simple(index));
        }
        let Some((at, _)) = self.record(index).filter(|_| depth < Type::MAX_DEPTH) else { return Ok(None) };
        let Some(mut reader) = self.reader(at) else { return Ok(None) };
        let leaf = reader.u16();
        let mut word = || reader.u32().unwrap_or(0);
        let (class, target, arguments) = match leaf {
            Some(LF_STRUCTURE | LF_UNION) => {
                let name = self.udt(index, at).map(|udt| udt.name);
                budget.spend(name.as_ref().map_or(0, String::len))?;
                return Ok(name.map(|name| (name, Map::new())));
            }
            Some(LF_ENUM) => {
                let Some((name, base, _)) = self.enumeration(at) else { return Ok(None) };
                budget.spend(name.len())?;
                ("Enumeration", base, vec![("enum_name", Value::from(name))])
            }
            Some(LF_MODIFIER) => {
                let target = word();
                return self.vtype(target, depth + 1, budget);
            }
            Some(LF_POINTER) => {
                let target = word();
                // Of what it knew no type, it took the bytes behind the record for the name. This was seen in runs of it; none of
                // the outputs that are kept has such a member.
                let _attributes = word();
                let Some(target) = self.vtype(target, depth + 1, budget)? else {
                    let name = text(&mut reader).unwrap_or_default();
                    budget.spend(name.len())?;
                    return Ok(Some(made_of("Pointer", (name, Map::new()), vec![])));
                };
                return Ok(Some(made_of("Pointer", target, vec![])));
            }
            Some(LF_BITFIELD) => {
                let base = word();
                let (Some(len), Some(start)) = (reader.u8(), reader.u8()) else { return Ok(None) };
                let end = u16::from(start) + u16::from(len);
                ("BitField", base, vec![("start_bit", start.into()), ("end_bit", end.into())])
            }
            Some(LF_ARRAY) => {
                let (element, _index_type) = (word(), word());
                let Some(size) = numeric(&mut reader) else { return Ok(None) };
                ("Array", element, vec![("size", size.into())])
            }
            Some(LF_PROCEDURE) => {
                let (_return_type, _convention_and_count, list) = (word(), word(), word());
                let args = [("args".to_owned(), self.arguments(list, depth + 1, budget)?.into())];
                return Ok(Some(("Function".to_owned(), args.into_iter().collect())));
            }
            _ => return Ok(None),
        };
        let target = self.vtype(target, depth + 1, budget)?;
        Ok(target.map(|target| made_of(class, target, arguments)))
    }

    fn arguments(&self, list: u32, depth: u32, budget: &mut Budget) -> Result<Vec<Value>, PdbError> {
        let mut args = Vec::new();
        let Some((at, _)) = self.record(list).filter(|&(at, _)| self.leaf(at) == Some(LF_ARGLIST)) else {
            return Ok(args);
        };
        let Some(mut reader) = self.reader(at + 2) else { return Ok(args) };
        for _ in 0..reader.u32().unwrap_or(0) {
            let Some(half) = reader.u16() else { break };
            if let Some((class, arguments)) = self.vtype(half.into(), depth, budget)? {
                args.push(Value::Array(vec![class.into(), arguments.into()]));
            }
        }
        Ok(args)
    }
}

/// A type that is made of another. Arguments that are none are left out.
fn made_of(class: &str, (target, target_args): Vtype, arguments: Vec<(&str, Value)>) -> Vtype {
    let mut args: Map<String, Value> = arguments.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    args.insert("target".to_owned(), target.into());
    if !target_args.is_empty() {
        args.insert("target_args".to_owned(), target_args.into());
    }
    (class.to_owned(), args)
}

/// A numeric leaf of up to 32 bits, those of 8 bits without sign; there were no others.
fn numeric(reader: &mut Reader<'_>) -> Option<i64> {
    Some(match reader.u16()? {
        small @ 0..0x8000 => small.into(),
        0x8000 => reader.u8()?.into(),
        0x8001 => i64::from(reader.u16()?.cast_signed()),
        0x8002 => reader.u16()?.into(),
        0x8003 => i64::from(reader.u32()?.cast_signed()),
        0x8004 => reader.u32()?.into(),
        _ => return None,
    })
}

fn text(reader: &mut Reader<'_>) -> Option<String> {
    let len = reader.0.iter().take(MAX_NAME_BYTES).position(|&b| b == 0)?;
    let name = reader.take(len)?.iter().copied().map(char::from).collect();
    reader.take(1)?;
    Some(name)
}

/// The simple types that the original knew; CodeView's `T_*` of cvinfo.h.
fn simple(index: u32) -> Option<Vtype> {
    let class = match index & 0xff {
        0x03 => "Void",
        0x10 => "char",
        0x11 => "short",
        0x12 | 0x74 => "long",
        0x13 | 0x76 => "long long",
        0x20 | 0x30 | 0x70 => "unsigned char",
        0x21 => "unsigned short",
        0x22 | 0x75 => "unsigned long",
        0x23 => "unsigned long long",
        0x40 => "float",
        0x41 => "double",
        0x42 => "long double",
        0x71 => "UnicodeString",
        _ => return None,
    };
    // T_32P*, and of T_64P* fewer: those to T_INT4 (0x74), T_UINT4 (0x75), T_SHORT, T_CHAR, the booleans and reals lack.
    let target = match (index >> 8, index & 0xff) {
        (0, _) => return Some((class.to_owned(), Map::new())),
        (4, 0x75) => "unsigned int",
        (4, 0x40 | 0x41) => "Void",
        (4, 0x03 | 0x10..=0x13 | 0x20..=0x23 | 0x30 | 0x70 | 0x71 | 0x74)
        | (6, 0x03 | 0x12 | 0x13 | 0x20..=0x23 | 0x70) => class,
        (6, 0x71) => "String",
        _ => return None,
    };
    Some(made_of("Pointer", (target.to_owned(), Map::new()), vec![]))
}

/// Puts the number of elements in the place of an array's size, where the size of the element was known: not that of
/// arrays, enums, reals and types that are only declared.
fn count_elements(class: &mut String, args: &mut Map<String, Value>, sizes: &HashMap<String, u64>) {
    let mut target = args.get("target").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(Value::Object(target_args)) = args.get_mut("target_args") {
        count_elements(&mut target, target_args, sizes);
        args.insert("target".to_owned(), target.clone().into());
    }
    let Some(size) = args.get("size").and_then(Value::as_u64).filter(|_| class == "Array") else { return };
    if target == "UnicodeString" {
        "UnicodeString".clone_into(class);
        *args = [("length".to_owned(), Value::from(size / 2))].into_iter().collect();
        return;
    }
    let element = match target.as_str() {
        "char" | "unsigned char" => 1,
        "short" | "unsigned short" => 2,
        "long" | "unsigned long" => 4,
        // Also on 32 bits: the architecture was not known yet.
        "long long" | "unsigned long long" | "Pointer" => 8,
        name => sizes.get(name).copied().unwrap_or(0),
    };
    if let Some(count) = size.checked_div(element) {
        args.remove("size");
        args.insert("count".to_owned(), count.into());
    }
}
