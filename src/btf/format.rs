//! The file format: a header, the types one after the other, and their names (Documentation/bpf/btf.rst and
//! include/uapi/linux/btf.h in the kernel's tree).

use super::BtfError;

/// The number at the start, in the byte order of the file.
const MAGIC: u16 = 0xeb9f;
/// Size of the header that every version has, in bytes; a longer one has more sections, which types do not need.
const HEADER_BYTES: usize = 24;
/// Longer names are refused by the kernel (KSYM_NAME_LEN) and are not read here.
const MAX_NAME_BYTES: usize = 4096;

/// A number of a type: 0 is void, the first type of a file 1; those of a module continue the kernel's.
pub(super) type Id = u32;

/// BTF with the byte order and bounds of its parts known and every record inside them.
pub struct Btf<'d> {
    big_endian: bool,
    types: &'d [u8],
    strings: &'d [u8],
    /// The same, where all of it is text: that is looked at once.
    text: Option<&'d str>,
    /// Where each type begins in `types`.
    starts: Vec<u32>,
    /// And its kind: most walks are for types of a few.
    kinds: Vec<Kind>,
    /// What a module's BTF continues: ids and offsets of names below the base's are the base's.
    base: Option<&'d Btf<'d>>,
}

/// One record.
#[derive(Clone, Copy)]
pub(super) struct Record<'d> {
    /// Of the `name_off`, `info`, `size_or_type` that each begins with.
    pub(super) name_offset: u32,
    pub(super) kind: Kind,
    pub(super) kind_flag: bool,
    pub(super) size_or_type: u32,
    /// What follows: see the accessors below.
    rest: &'d [u8],
    big_endian: bool,
}

/// What a record describes, `BTF_KIND_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    Ptr,
    Array,
    Struct,
    Union,
    Enum,
    Fwd,
    Typedef,
    Volatile,
    Const,
    Restrict,
    Func,
    FuncProto,
    Var,
    Datasec,
    Float,
    DeclTag,
    TypeTag,
    Enum64,
}

/// By number, from 1: the kind, the size of what follows once, and of what follows for each of its `vlen` parts.
const KINDS: [(Kind, usize, usize); 19] = [
    (Kind::Int, 4, 0),
    (Kind::Ptr, 0, 0),
    (Kind::Array, 12, 0),
    (Kind::Struct, 0, 12),
    (Kind::Union, 0, 12),
    (Kind::Enum, 0, 8),
    (Kind::Fwd, 0, 0),
    (Kind::Typedef, 0, 0),
    (Kind::Volatile, 0, 0),
    (Kind::Const, 0, 0),
    (Kind::Restrict, 0, 0),
    (Kind::Func, 0, 0),
    (Kind::FuncProto, 0, 8),
    (Kind::Var, 4, 0),
    (Kind::Datasec, 0, 12),
    (Kind::Float, 0, 0),
    (Kind::DeclTag, 4, 0),
    (Kind::TypeTag, 0, 0),
    (Kind::Enum64, 0, 12),
];

/// Whether `bytes` begin as BTF does, in either byte order.
pub fn looks_like(bytes: &[u8]) -> bool {
    // Magic, version 1, no flags.
    matches!(bytes, [0x9f, 0xeb, 1, 0, ..] | [0xeb, 0x9f, 1, 0, ..])
}

/// The length of the BTF that `bytes` begin with, when its header is sound and its parts lie in `bytes`: for BTF that
/// stands in the middle of something.
pub fn length(bytes: &[u8]) -> Option<usize> {
    declared_length(bytes).filter(|&length| length <= bytes.len())
}

/// The length that the header at the start of `bytes` declares, whether as much follows or not.
pub fn declared_length(bytes: &[u8]) -> Option<usize> {
    let header = Header::declared(bytes).ok()?;
    // Types and names follow each other; the header comes first.
    Some(header.types.1.max(header.strings.1))
}

/// Whether it continues the BTF of a kernel: its names do not begin with the empty one.
pub fn is_split(bytes: &[u8]) -> bool {
    Header::read(bytes).is_ok_and(|header| {
        bytes.get(header.strings.0..header.strings.1).is_some_and(|names| names.first() != Some(&0))
    })
}

/// Byte order, and where types and names begin and end.
struct Header {
    big_endian: bool,
    types: (usize, usize),
    strings: (usize, usize),
}

impl Header {
    /// The header of BTF that is here whole.
    fn read(bytes: &[u8]) -> Result<Self, String> {
        let header = Self::declared(bytes)?;
        for ((_, end), name) in [(header.types, "types"), (header.strings, "names")] {
            if end > bytes.len() {
                return Err(format!("its {name} reach beyond the end, {} bytes", bytes.len()));
            }
        }
        Ok(header)
    }

    fn declared(bytes: &[u8]) -> Result<Self, String> {
        let magic: [u8; 2] = bytes.get(..2).and_then(|magic| magic.try_into().ok()).ok_or("it is too short")?;
        let big_endian = u16::from_be_bytes(magic) == MAGIC;
        if !big_endian && u16::from_le_bytes(magic) != MAGIC {
            return Err("it does not begin with the magic number of BTF".to_owned());
        }
        let number = |at| number(bytes, at, big_endian).ok_or("the header is cut");
        let version = bytes.get(2).copied().unwrap_or_default();
        if version != 1 {
            return Err(format!("version {version} is not known; version 1 is"));
        }
        let header_bytes = number(4)? as usize;
        if header_bytes < HEADER_BYTES {
            return Err(format!("the header has {header_bytes} bytes, less than {HEADER_BYTES}"));
        }
        let part = |at: usize| {
            let (start, len) = (number(at)? as usize, number(at + 4)? as usize);
            let start = header_bytes.checked_add(start);
            let end = start.and_then(|start| start.checked_add(len));
            start.zip(end).ok_or_else(|| "its parts are larger than any file".to_owned())
        };
        Ok(Self { big_endian, types: part(8)?, strings: part(16)? })
    }
}

impl<'d> Btf<'d> {
    /// Reads BTF; `place` names it in messages, `base` is the kernel's BTF that a module's continues.
    pub fn parse(place: &str, bytes: &'d [u8], base: Option<&'d Btf<'d>>) -> Result<Self, BtfError> {
        let corrupt = |why: String| BtfError::Corrupt { place: place.to_owned(), why };
        let header = Header::read(bytes).map_err(corrupt)?;
        let types = bytes.get(header.types.0..header.types.1).unwrap_or_default();
        let strings = bytes.get(header.strings.0..header.strings.1).unwrap_or_default();
        if base.is_none() && strings.first() != Some(&0) {
            return Err(BtfError::NeedsBase { place: place.to_owned() });
        }
        if base.is_some_and(|base| base.big_endian != header.big_endian) {
            return Err(corrupt("the BTF that it continues has the other byte order".to_owned()));
        }
        let mut btf = Self {
            big_endian: header.big_endian,
            types,
            strings,
            text: std::str::from_utf8(strings).ok(),
            starts: Vec::new(),
            kinds: Vec::new(),
            base,
        };
        let mut at = 0;
        while at < types.len() {
            let id = btf.end();
            let (record, len) =
                record(types.get(at..).unwrap_or_default(), btf.big_endian).map_err(|problem| match problem {
                    Problem::Cut => corrupt(format!("type {id}, at {at:#x} of its types, reaches beyond their end")),
                    Problem::Kind(kind) => BtfError::UnknownKind { place: place.to_owned(), id, kind },
                })?;
            // Types lie in less than 4 GiB: their length is a number of 32 bits.
            btf.starts.push(at as u32);
            btf.kinds.push(record.kind);
            at += len;
            if base.is_some() && !btf.begins_a_name(record.name_offset) {
                let why =
                    format!("the name of type {id} begins within another one: it continues the BTF of another kernel");
                return Err(corrupt(why));
            }
        }
        Ok(btf)
    }

    /// Whether there is the begin of a text: who writes BTF keeps each whole, so that with another base this seldom holds.
    fn begins_a_name(&self, offset: u32) -> bool {
        let below = self.base.map_or(0, Btf::names_end);
        match (offset as usize).checked_sub(below) {
            None => self.base.is_some_and(|base| base.begins_a_name(offset)),
            Some(0) => true,
            Some(own) => self.strings.get(own - 1) == Some(&0) && own < self.strings.len(),
        }
    }

    /// Whether numbers are stored most significant byte first.
    pub(super) fn big_endian(&self) -> bool {
        self.big_endian
    }

    /// The first id of this file's own types.
    pub(super) fn start(&self) -> Id {
        self.base.map_or(1, Btf::end)
    }

    /// The id after the last one.
    pub(super) fn end(&self) -> Id {
        self.start().saturating_add(self.starts.len() as u32)
    }

    /// The type of that id; `None` for void and for ids that no type has.
    pub(super) fn get(&self, id: Id) -> Option<Record<'d>> {
        let Some(own) = id.checked_sub(self.start()) else { return self.base?.get(id) };
        let start = *self.starts.get(own as usize)?;
        record(self.types.get(start as usize..)?, self.big_endian).ok().map(|(record, _)| record)
    }

    /// All types with their ids.
    pub(super) fn all(&self) -> impl Iterator<Item = (Id, Record<'d>)> {
        (1..self.end()).filter_map(|id| Some((id, self.get(id)?)))
    }

    /// Those of these kinds.
    pub(super) fn of<const N: usize>(&self, kinds: [Kind; N]) -> impl Iterator<Item = (Id, Record<'d>)> {
        let fits = move |&id: &Id| self.kind(id).is_some_and(|kind| kinds.contains(&kind));
        (1..self.end()).filter(fits).filter_map(|id| Some((id, self.get(id)?)))
    }

    fn kind(&self, id: Id) -> Option<Kind> {
        match id.checked_sub(self.start()) {
            Some(own) => self.kinds.get(own as usize).copied(),
            None => self.base?.kind(id),
        }
    }

    /// The name at that offset; `None` for the empty one, and for one that is outside the names or is not text.
    pub(super) fn name(&self, offset: u32) -> Option<&'d str> {
        let below = self.base.map_or(0, Btf::names_end);
        let Some(own) = (offset as usize).checked_sub(below) else { return self.base?.name(offset) };
        let bytes = self.strings.get(own..)?;
        let bytes = bytes.get(..MAX_NAME_BYTES).unwrap_or(bytes);
        let end = own + memchr::memchr(0, bytes)?;
        let name = match self.text {
            Some(text) => text.get(own..end)?,
            None => std::str::from_utf8(self.strings.get(own..end)?).ok()?,
        };
        (!name.is_empty()).then_some(name)
    }

    fn names_end(&self) -> usize {
        self.base.map_or(0, Btf::names_end).saturating_add(self.strings.len())
    }
}

enum Problem {
    Cut,
    Kind(u32),
}

/// The record that `bytes` begin with, and its length in bytes.
fn record(bytes: &[u8], big_endian: bool) -> Result<(Record<'_>, usize), Problem> {
    let number = |at| number(bytes, at, big_endian).ok_or(Problem::Cut);
    let (name_offset, info, size_or_type) = (number(0)?, number(4)?, number(8)?);
    let code = info >> 24 & 0x1f;
    let row = (code as usize).checked_sub(1).and_then(|row| KINDS.get(row));
    let &(kind, once, each) = row.ok_or(Problem::Kind(code))?;
    // At most 65,535 parts of 12 bytes.
    let len = 12 + once + each * (info & 0xffff) as usize;
    let rest = bytes.get(12..len).ok_or(Problem::Cut)?;
    Ok((Record { name_offset, kind, kind_flag: info >> 31 == 1, size_or_type, rest, big_endian }, len))
}

fn number(bytes: &[u8], at: usize, big_endian: bool) -> Option<u32> {
    let bytes: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
}

/// A member of a struct or union.
#[derive(Clone, Copy)]
pub(super) struct Member {
    pub(super) name_offset: u32,
    pub(super) ty: Id,
    /// First bit, from the struct's start.
    pub(super) first_bit: u32,
    /// Number of bits, where the member says that it is a bit field.
    pub(super) bits: Option<u32>,
}

impl<'d> Record<'d> {
    fn numbers<const N: usize>(self) -> impl Iterator<Item = [u32; N]> + use<'d, N> {
        let Self { rest, big_endian, .. } = self;
        rest.chunks_exact(4 * N)
            .map(move |part| std::array::from_fn(|at| number(part, at * 4, big_endian).unwrap_or_default()))
    }

    /// Of an `Int`: its encoding (1 signed, 2 character, 4 truth value), the bits before its value, and those of it.
    pub(super) fn int(self) -> (u32, u32, u32) {
        let [data] = self.numbers().next().unwrap_or_default();
        (data >> 24 & 0xf, data >> 16 & 0xff, data & 0xff)
    }

    /// Of an `Array`: the type of an element and how many there are.
    pub(super) fn array(self) -> (Id, u32) {
        let [element, _index, count] = self.numbers().next().unwrap_or_default();
        (element, count)
    }

    /// Of a `Struct` or `Union`.
    pub(super) fn members(self) -> impl Iterator<Item = Member> + use<'d> {
        self.numbers().map(move |[name_offset, ty, offset]| {
            // With the flag, the upper byte is the number of bits, 0 for a member that is no bit field.
            let (first_bit, bits) = if self.kind_flag {
                (offset & 0xff_ffff, Some(offset >> 24).filter(|&bits| bits > 0))
            } else {
                (offset, None)
            };
            Member { name_offset, ty, first_bit, bits }
        })
    }

    /// Of an `Enum` or `Enum64`: offsets of names, and values as 64 bits without sign, or sign-extended from 32.
    pub(super) fn labels(self) -> impl Iterator<Item = (u32, u64)> + use<'d> {
        let wide = self.kind == Kind::Enum64;
        let narrow = self.numbers().map(|[name, value]| (name, i64::from(value.cast_signed()).cast_unsigned()));
        let wide_values = self.numbers().map(|[name, low, high]| (name, u64::from(high) << 32 | u64::from(low)));
        narrow.take(if wide { 0 } else { usize::MAX }).chain(wide_values.take(if wide { usize::MAX } else { 0 }))
    }

    /// Of a `FuncProto`: the types of its parameters; 0 at the end stands for `...`.
    pub(super) fn parameters(self) -> impl Iterator<Item = Id> + use<'d> {
        self.numbers().map(|[_name, ty]| ty)
    }
}
