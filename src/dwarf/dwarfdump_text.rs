//! The text that `dwarfdump -di` (libdwarf) prints, which the zips of Volatility 2 have in the place of the module
//! (`module.dwarf`): a line for each entry,
//!
//! ```text
//! <0><0x2b422+0xb><DW_TAG_compile_unit> DW_AT_producer<GNU C11 12.2.0> DW_AT_language<DW_LANG_C99>
//! <1><0x1d><DW_TAG_base_type> DW_AT_byte_size<0x00000008> DW_AT_encoding<DW_ATE_unsigned> DW_AT_name<long unsigned int>
//! <2><0xb6><DW_TAG_member> DW_AT_name<b> DW_AT_type<<0x00000036>> DW_AT_data_member_location<len 0x0002: 0x2308: DW_OP_plus_uconst 8>
//! ```
//!
//! It is written back as the DWARF that it says, so that one reader knows what types are. Offsets are within the unit.

use super::ConvertError;
use super::elf::DebugSections;
use gimli::write::{AttributeValue, Dwarf, EndianVec, LineProgram, Sections, Unit, UnitEntryId};
use gimli::{DwAt, DwTag, Encoding, Format, LittleEndian};
use std::borrow::Cow;
use std::collections::HashMap;

/// What is written. The size of an address matters for addresses alone, of which there is none.
const ENCODING: Encoding = Encoding { format: Format::Dwarf32, version: 4, address_size: 8 };

/// Whether a text, of which this is the start, is dwarfdump's.
pub(super) fn looks_like(head: &[u8]) -> bool {
    memchr::memmem::find(head, b"<DW_TAG_compile_unit>").is_some()
}

/// What the text says.
pub(super) struct DwarfText {
    pub(super) sections: DebugSections<'static>,
    /// Size of a pointer, in bytes.
    pub(super) pointer_bytes: u64,
    /// The members of `struct pt_regs`, which tell the architecture.
    pub(super) registers: Vec<String>,
}

/// Reads the whole text; `place` names it in messages.
pub(super) fn read(place: &str, text: &[u8]) -> Result<DwarfText, ConvertError> {
    let mut dwarf = Dwarf::new();
    let mut unit: Vec<Entry<'_>> = Vec::new();
    let (mut pointer_bytes, mut registers) = (None, Vec::new());
    for line in text.split(|&byte| byte == b'\n') {
        let Some(entry) = Entry::parse(line) else { continue };
        if entry.depth == 0 && !unit.is_empty() {
            registers.extend(add_unit(&mut dwarf, &unit));
            unit.clear();
        }
        if entry.tag == gimli::DW_TAG_pointer_type {
            pointer_bytes = pointer_bytes.or(entry.bytes());
        }
        unit.push(entry);
    }
    registers.extend(add_unit(&mut dwarf, &unit));
    let Some(pointer_bytes) = pointer_bytes.filter(|bytes| matches!(bytes, 4 | 8)) else {
        let why = "dwarfdump's text has no pointer type that tells the size of a pointer; give the file that it was printed from";
        return Err(ConvertError::missing(place, why));
    };
    let mut written = Sections::new(EndianVec::new(LittleEndian));
    dwarf.write(&mut written).map_err(|why| ConvertError::corrupt(place, format!("dwarfdump's text: {why}")))?;
    let sections = DebugSections {
        info: Cow::Owned(written.debug_info.0.into_vec()),
        abbrev: Cow::Owned(written.debug_abbrev.0.into_vec()),
        ..DebugSections::default()
    };
    Ok(DwarfText { sections, pointer_bytes, registers })
}

/// A value as it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value<'t> {
    Text(&'t [u8]),
    Unsigned(u64),
    Signed(i64),
    /// Of this width; the type says whether it has a sign.
    Data1(u8),
    Data2(u16),
    Data4(u32),
    Data8(u64),
    /// Offset of an entry in the same unit.
    Reference(u64),
    /// It is there, and what it says does not matter.
    Present,
}

/// A line.
struct Entry<'t> {
    depth: usize,
    offset: u64,
    tag: DwTag,
    attributes: Vec<(DwAt, Value<'t>)>,
}

impl<'t> Entry<'t> {
    /// Reads a line; `None` for one that is no entry.
    fn parse(line: &'t [u8]) -> Option<Self> {
        let (depth, rest) = bracketed(line)?;
        let (offset, rest) = bracketed(rest)?;
        let (tag, mut rest) = bracketed(rest)?;
        // `0x2b422+0xb` is the unit's offset and the entry's; `0x1e GOFF=0x2b440` says both.
        let offset = offset.split(|&byte| byte == b' ').next()?;
        let offset = number(offset.rsplit(|&byte| byte == b'+').next()?)?.0;
        let tag = tag_of(tag.strip_prefix(b"DW_TAG_")?);
        let mut attributes = Vec::new();
        while let Some(start) = memchr::memmem::find(rest, b"DW_AT_") {
            rest = rest.get(start..)?;
            let Some(open) = memchr::memchr(b'<', rest) else { break };
            let (name, value) = (rest.get(6..open)?, rest.get(open + 1..)?);
            let end = end_of_value(value);
            rest = value.get(end..).unwrap_or_default();
            let value = value.get(..end)?;
            if let Some((name, value)) = attribute(name, value) {
                attributes.push((name, value));
            }
        }
        Some(Self { depth: usize::try_from(number(depth)?.0).ok()?, offset, tag, attributes })
    }

    fn bytes(&self) -> Option<u64> {
        self.attributes.iter().find_map(|&(name, value)| match value {
            Value::Unsigned(bytes) if name == gimli::DW_AT_byte_size => Some(bytes),
            _ => None,
        })
    }

    fn name(&self) -> Option<&'t [u8]> {
        self.attributes.iter().find_map(|&(known, value)| match value {
            Value::Text(text) if known == gimli::DW_AT_name => Some(text),
            _ => None,
        })
    }
}

/// The text in the angle brackets at the start, and what comes after them.
fn bracketed(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.strip_prefix(b"<")?;
    let end = memchr::memchr(b'>', text)?;
    Some((text.get(..end)?, text.get(end + 1..)?))
}

/// Where a value ends: at the `>` before the next attribute or the end of the line. Names of C++ have brackets too.
fn end_of_value(text: &[u8]) -> usize {
    let closing = memchr::memchr_iter(b'>', text);
    let is_end = |&at: &usize| {
        let after = text.get(at + 1..).unwrap_or_default().trim_ascii_start();
        after.is_empty() || after.starts_with(b"DW_AT_")
    };
    closing.into_iter().find(is_end).unwrap_or(text.len())
}

fn attribute<'t>(name: &[u8], value: &'t [u8]) -> Option<(DwAt, Value<'t>)> {
    let numeric = |at| Some((at, value_of_number(value)?));
    let reference = |at| {
        let inner = value.strip_prefix(b"<").unwrap_or(value);
        let inner = inner.split(|&byte| matches!(byte, b'>' | b' ')).next()?;
        Some((at, number(inner).map_or(Value::Reference(u64::MAX), |(offset, _)| Value::Reference(offset))))
    };
    match name {
        b"name" => Some((gimli::DW_AT_name, Value::Text(value))),
        b"byte_size" => numeric(gimli::DW_AT_byte_size),
        b"bit_size" => numeric(gimli::DW_AT_bit_size),
        b"bit_offset" => numeric(gimli::DW_AT_bit_offset),
        b"data_bit_offset" => {
            let value = value_of_number(value)?;
            // dwarfdump 20210528 gives this offset, which has no sign, that of its one or two bytes.
            let unsigned = match value {
                Value::Signed(offset @ -0x80..=-1) => Value::Unsigned(offset.cast_unsigned() & 0xff),
                Value::Signed(offset @ -0x8000..=-1) => Value::Unsigned(offset.cast_unsigned() & 0xffff),
                _ => value,
            };
            Some((gimli::DW_AT_data_bit_offset, unsigned))
        }
        b"data_member_location" => numeric(gimli::DW_AT_data_member_location),
        b"upper_bound" => numeric(gimli::DW_AT_upper_bound),
        b"lower_bound" => numeric(gimli::DW_AT_lower_bound),
        b"count" => numeric(gimli::DW_AT_count),
        b"const_value" => numeric(gimli::DW_AT_const_value),
        b"type" => reference(gimli::DW_AT_type),
        b"specification" => reference(gimli::DW_AT_specification),
        b"encoding" => Some((gimli::DW_AT_encoding, Value::Data1(encoding_of(value)?))),
        b"language" if value == b"DW_LANG_Rust" => Some((gimli::DW_AT_language, Value::Data2(gimli::DW_LANG_Rust.0))),
        b"declaration" => value.starts_with(b"yes").then_some((gimli::DW_AT_declaration, Value::Present)),
        b"external" => value.starts_with(b"yes").then_some((gimli::DW_AT_external, Value::Present)),
        b"location" => Some((gimli::DW_AT_location, Value::Present)),
        _ => None,
    }
}

/// A number as dwarfdump prints it: `8`, `-5`, `0x0000001d`, `2147483648 (-2147483648)`, `len 0x0002: 0x2308:
/// DW_OP_plus_uconst 8`. The form says what the sign is: one of a fixed width leaves it to the type.
fn value_of_number(text: &[u8]) -> Option<Value<'_>> {
    let operand = memchr::memmem::find(text, b"DW_OP_plus_uconst ").and_then(|at| text.get(at + 18..));
    let text = operand.unwrap_or(text);
    let (plain, signed) = match memchr::memchr(b' ', text) {
        Some(at) => (text.get(..at)?, text.get(at + 1..)?.starts_with(b"(-")),
        None => (text, false),
    };
    let (value, negative) = number(plain)?;
    Some(match (value, signed) {
        _ if negative => Value::Signed(value.cast_signed()),
        (0..=0xff, true) => Value::Data1(value as u8),
        (0..=0xffff, true) => Value::Data2(value as u16),
        // The bound of `[0]` is -1 in the width of the index type.
        (0..=0xffff_ffff, true) | (0xffff_ffff, false) => Value::Data4(value as u32),
        (_, true) | (u64::MAX, false) => Value::Data8(value),
        _ => Value::Unsigned(value),
    })
}

/// A number, hexadecimal after `0x`, and whether it is negative.
fn number(text: &[u8]) -> Option<(u64, bool)> {
    let text = std::str::from_utf8(text).ok()?;
    if let Some(hex) = text.strip_prefix("0x") {
        return Some((u64::from_str_radix(hex, 16).ok()?, false));
    }
    match text.parse::<u64>() {
        Ok(value) => Some((value, false)),
        Err(_) => Some((text.parse::<i64>().ok()?.cast_unsigned(), true)),
    }
}

fn tag_of(name: &[u8]) -> DwTag {
    match name {
        b"compile_unit" => gimli::DW_TAG_compile_unit,
        b"base_type" => gimli::DW_TAG_base_type,
        b"unspecified_type" => gimli::DW_TAG_unspecified_type,
        b"structure_type" => gimli::DW_TAG_structure_type,
        b"union_type" => gimli::DW_TAG_union_type,
        b"class_type" => gimli::DW_TAG_class_type,
        b"member" => gimli::DW_TAG_member,
        b"enumeration_type" => gimli::DW_TAG_enumeration_type,
        b"enumerator" => gimli::DW_TAG_enumerator,
        b"typedef" => gimli::DW_TAG_typedef,
        b"const_type" => gimli::DW_TAG_const_type,
        b"volatile_type" => gimli::DW_TAG_volatile_type,
        b"restrict_type" => gimli::DW_TAG_restrict_type,
        b"atomic_type" => gimli::DW_TAG_atomic_type,
        b"pointer_type" => gimli::DW_TAG_pointer_type,
        b"reference_type" => gimli::DW_TAG_reference_type,
        b"array_type" => gimli::DW_TAG_array_type,
        b"subrange_type" => gimli::DW_TAG_subrange_type,
        b"subroutine_type" => gimli::DW_TAG_subroutine_type,
        b"formal_parameter" => gimli::DW_TAG_formal_parameter,
        b"variable" => gimli::DW_TAG_variable,
        b"subprogram" => gimli::DW_TAG_subprogram,
        b"lexical_block" => gimli::DW_TAG_lexical_block,
        b"namespace" => gimli::DW_TAG_namespace,
        // No type is made of any other.
        _ => gimli::DW_TAG_label,
    }
}

fn encoding_of(name: &[u8]) -> Option<u8> {
    let encoding = match name.strip_prefix(b"DW_ATE_")? {
        b"boolean" => gimli::DW_ATE_boolean,
        b"float" => gimli::DW_ATE_float,
        b"complex_float" => gimli::DW_ATE_complex_float,
        b"signed" => gimli::DW_ATE_signed,
        b"signed_char" => gimli::DW_ATE_signed_char,
        b"unsigned" => gimli::DW_ATE_unsigned,
        b"unsigned_char" => gimli::DW_ATE_unsigned_char,
        b"UTF" => gimli::DW_ATE_UTF,
        _ => return None,
    };
    Some(encoding.0)
}

/// Adds a unit with these entries, and gives the members of `struct pt_regs` if it has it.
fn add_unit(dwarf: &mut Dwarf, entries: &[Entry<'_>]) -> Vec<String> {
    let id = dwarf.units.add(Unit::new(ENCODING, LineProgram::none()));
    let unit = dwarf.units.get_mut(id);
    let root = unit.root();
    // The entries that the next one may be below: a line that is deeper than that lacks its parent, and stands below the
    // one before it.
    let mut parents: Vec<(UnitEntryId, bool)> = Vec::new();
    let mut ids = Vec::with_capacity(entries.len());
    let mut registers = Vec::new();
    for entry in entries {
        parents.truncate(entry.depth);
        let (id, of_registers) = match parents.last() {
            Some(&(parent, of_registers)) => (unit.add(parent, entry.tag), of_registers),
            None => (root, false),
        };
        if of_registers {
            registers.extend(entry.name().map(|name| String::from_utf8_lossy(name).into_owned()));
        }
        let is_registers = entry.tag == gimli::DW_TAG_structure_type && entry.name() == Some(b"pt_regs");
        parents.push((id, is_registers));
        ids.push(id);
    }
    let by_offset: HashMap<u64, UnitEntryId> =
        entries.iter().zip(&ids).map(|(entry, &id)| (entry.offset, id)).collect();
    for (entry, id) in entries.iter().zip(ids) {
        let target = unit.get_mut(id);
        for &(name, value) in &entry.attributes {
            target.set(
                name,
                match value {
                    Value::Text(text) => {
                        AttributeValue::String(text.iter().copied().filter(|&byte| byte != 0).collect())
                    }
                    Value::Unsigned(value) => AttributeValue::Udata(value),
                    Value::Signed(value) => AttributeValue::Sdata(value),
                    Value::Data1(value) => AttributeValue::Data1(value),
                    Value::Data2(value) => AttributeValue::Data2(value),
                    Value::Data4(value) => AttributeValue::Data4(value),
                    Value::Data8(value) => AttributeValue::Data8(value),
                    // No reference at all would mean `void`; one that leads nowhere is counted.
                    Value::Reference(offset) => match by_offset.get(&offset) {
                        Some(&entry) => AttributeValue::UnitRef(entry),
                        None => AttributeValue::Udata(offset),
                    },
                    Value::Present => AttributeValue::Flag(true),
                },
            );
        }
    }
    registers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_and_newer_spellings_of_a_line_say_the_same() {
        for line in [
            "<2><54><DW_TAG_member> DW_AT_name<x> DW_AT_type<<54>> DW_AT_data_member_location<DW_OP_plus_uconst 8>",
            "<2><0x36><DW_TAG_member> DW_AT_name<x> DW_AT_type<<0x00000036>> DW_AT_data_member_location<8>",
            "<2><0x36 GOFF=0x00000036><DW_TAG_member>  DW_AT_name<x> DW_AT_type<<0x36 GOFF=0x36>> DW_AT_data_member_location<len 0x0002: 0x2308: DW_OP_plus_uconst 8>",
        ] {
            let entry = Entry::parse(line.as_bytes()).expect("an entry");
            assert_eq!((entry.depth, entry.offset, entry.tag), (2, 0x36, gimli::DW_TAG_member), "{line}");
            let expected = [
                (gimli::DW_AT_name, Value::Text(b"x")),
                (gimli::DW_AT_type, Value::Reference(0x36)),
                (gimli::DW_AT_data_member_location, Value::Unsigned(8)),
            ];
            assert_eq!(entry.attributes, expected, "{line}");
        }
        let unit = Entry::parse(b"<0><0x2b422+0xb><DW_TAG_compile_unit> DW_AT_producer<a <b> -> c>").expect("an entry");
        assert_eq!((unit.depth, unit.offset), (0, 0xb));
    }

    #[test]
    fn numbers_keep_their_sign_and_width() {
        for (text, value) in [
            ("-5", Value::Signed(-5)),
            ("0x0000001d", Value::Unsigned(0x1d)),
            ("2147483648 (-2147483648)", Value::Data4(0x8000_0000)),
            ("255 (-1)", Value::Data1(255)),
            ("0xffffffff", Value::Data4(u32::MAX)),
            ("18446744073709551615", Value::Data8(u64::MAX)),
        ] {
            assert_eq!(value_of_number(text.as_bytes()), Some(value), "{text}");
        }
        for text in ["", "yes", "0x", "99999999999999999999"] {
            assert_eq!(value_of_number(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn lines_that_lie_give_no_panic() {
        for text in [
            "<5><0x1><DW_TAG_member> DW_AT_name<x",
            "<18446744073709551615><0x1><DW_TAG_member>\n<1><0x1><DW_TAG_pointer_type> DW_AT_byte_size<8>",
            "<0><0x1><DW_TAG_pointer_type> DW_AT_byte_size<8> DW_AT_type<<0x1>>\n<0><0x1><DW_TAG_x> DW_AT_type<<>>",
        ] {
            let _ = read("text", text.as_bytes());
        }
    }
}
