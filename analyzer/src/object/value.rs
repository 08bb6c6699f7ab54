//! What a declared member reads as: arrays, texts, list entries, times.

use super::integer::Integer;
use super::layout::Resolver;
use super::memory::Memory;
use super::types::Place;
use crate::addr::Va;
use crate::error::PageFault;
use crate::table::Cell;
use quaid_profile::Type;
use std::fmt::Write as _;

/// A type that a member of a [`kernel_struct!`](super::kernel_struct) can be declared as.
pub(crate) trait Member: Sized {
    /// What the profile tells about the member: where it is, and how wide.
    type Slot: Send + Sync + 'static;
    /// From the first of `paths` that the profile has. `None` when there is none, or one that this type cannot read;
    /// the resolver knows why.
    fn resolve(resolver: &mut Resolver<'_>, paths: &[&str]) -> Option<Self::Slot>;
    /// Reads the member of the struct at `at`.
    fn read(slot: &Self::Slot, memory: &dyn Memory, at: Va) -> Result<Self, PageFault>;
}

/// A type that can be read once its place and shape are known.
pub(crate) trait Value: Sized {
    /// What is known of it from the profile, beside its offset.
    type Shape: Send + Sync + 'static;
    /// The shape of a member of this type; the reason when the member cannot be read as this.
    fn shape(resolver: &Resolver<'_>, ty: &Type) -> Result<Self::Shape, String>;
    /// Reads it at its own address.
    fn read_at(shape: &Self::Shape, memory: &dyn Memory, at: Va) -> Result<Self, PageFault>;
}

/// A member that the profile has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot<S> {
    /// Offset from the struct's start, in bytes.
    pub(crate) offset: u64,
    shape: S,
}

impl<V: Value> Member for V {
    type Slot = Slot<V::Shape>;
    fn resolve(resolver: &mut Resolver<'_>, paths: &[&str]) -> Option<Self::Slot> {
        let place = resolver.first_of(paths);
        if place.is_none() {
            resolver.missing(paths);
        }
        slot::<V>(resolver, &place?)
    }
    fn read(slot: &Self::Slot, memory: &dyn Memory, at: Va) -> Result<Self, PageFault> {
        V::read_at(&slot.shape, memory, at.wrapping_add(slot.offset))
    }
}

/// A member that some builds lack.
impl<V: Value> Member for Option<V> {
    type Slot = Option<Slot<V::Shape>>;
    fn resolve(resolver: &mut Resolver<'_>, paths: &[&str]) -> Option<Self::Slot> {
        match resolver.first_of(paths) {
            Some(place) => slot::<V>(resolver, &place).map(Some),
            None => Some(None),
        }
    }
    fn read(slot: &Self::Slot, memory: &dyn Memory, at: Va) -> Result<Self, PageFault> {
        slot.as_ref().map(|slot| <V as Member>::read(slot, memory, at)).transpose()
    }
}

fn slot<V: Value>(resolver: &mut Resolver<'_>, found: &(&str, Place)) -> Option<Slot<V::Shape>> {
    let (path, place) = found;
    match V::shape(resolver, &place.ty) {
        Ok(shape) => Some(Slot { offset: place.offset, shape }),
        Err(why) => {
            resolver.unfit(path, &why);
            None
        }
    }
}

/// An array inside the struct: where its elements are. They are not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Elements {
    at: Va,
    shape: ElementsShape,
}

/// How many elements, and how many bytes each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ElementsShape {
    count: u64,
    stride: u64,
}

/// More elements than any array has that is walked as a whole.
const MAX_ELEMENTS: u64 = 1 << 16;

impl Elements {
    /// The addresses of the elements.
    pub(crate) fn iter(self) -> impl Iterator<Item = Va> {
        self.first(self.shape.count)
    }

    /// The addresses of the first `count` elements, also where the profile tells of fewer.
    pub(crate) fn first(self, count: u64) -> impl Iterator<Item = Va> {
        (0..count).map(move |index| self.at.wrapping_add(index.wrapping_mul(self.shape.stride)))
    }
}

impl Value for Elements {
    type Shape = ElementsShape;
    fn shape(resolver: &Resolver<'_>, ty: &Type) -> Result<ElementsShape, String> {
        match ty {
            Type::Array { target, count } if *count <= MAX_ELEMENTS => {
                let stride = resolver.size_of(target)?.ok_or("an array of elements of unknown size")?;
                Ok(ElementsShape { count: *count, stride })
            }
            Type::Array { count, .. } => Err(format!("an array of {count} elements")),
            _ => Err("no array".to_owned()),
        }
    }
    fn read_at(shape: &ElementsShape, _: &dyn Memory, at: Va) -> Result<Self, PageFault> {
        Ok(Self { at, shape: *shape })
    }
}

/// A text that ends at its first NUL: the array's own length, and never more than `N` bytes, is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CStr<const N: usize>(pub(crate) String);

impl<const N: usize> Value for CStr<N> {
    type Shape = usize;
    fn shape(resolver: &Resolver<'_>, ty: &Type) -> Result<usize, String> {
        let Type::Array { target, count } = ty else { return Err("no array of characters".to_owned()) };
        let width = resolver.size_of(target)?;
        if width != Some(1) {
            return Err(format!("an array of elements of {} bytes, not of characters", width.unwrap_or_default()));
        }
        Ok(usize::try_from(*count).map_or(N, |count| count.min(N)))
    }
    fn read_at(shape: &usize, memory: &dyn Memory, at: Va) -> Result<Self, PageFault> {
        let mut bytes = Vec::with_capacity(*shape);
        while bytes.len() < *shape {
            // Page by page: a text that ends before a missing page is whole.
            let here = at.wrapping_add(bytes.len() as u64);
            let in_page = 0x1000 - (here.0 % 0x1000) as usize;
            let mut piece = vec![0; in_page.min(*shape - bytes.len())];
            memory.read(here, &mut piece)?;
            let end = piece.iter().position(|&b| b == 0);
            bytes.extend_from_slice(piece.get(..end.unwrap_or(piece.len())).unwrap_or_default());
            if end.is_some() {
                break;
            }
        }
        Ok(Self(text_of_bytes(&bytes)))
    }
}

impl<const N: usize> From<CStr<N>> for Cell {
    fn from(text: CStr<N>) -> Self {
        Self::Text(text.0)
    }
}

/// UTF-8 as it is; other bytes as `\xNN`, so that nothing is lost.
pub(crate) fn text_of_bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // To a String; it cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// The text of a `_UNICODE_STRING`: at most 32,767 UTF-16 code units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnicodeString(pub(crate) String);

impl From<UnicodeString> for Cell {
    fn from(text: UnicodeString) -> Self {
        Self::Text(text.0)
    }
}

/// Offsets in a `_UNICODE_STRING`, and the width of a pointer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UnicodeShape {
    length: u64,
    buffer: u64,
    pointer_bytes: u8,
}

impl Value for UnicodeString {
    type Shape = UnicodeShape;
    fn shape(resolver: &Resolver<'_>, ty: &Type) -> Result<UnicodeShape, String> {
        let Type::Named(name) = ty else { return Err("no _UNICODE_STRING".to_owned()) };
        let member = |path| resolver.find_in(name, path)?.ok_or(format!("`{name}`, which has no member {path}"));
        let pointer_bytes = u8::try_from(resolver.pointer_bytes()).unwrap_or(8);
        Ok(UnicodeShape { length: member("Length")?.offset, buffer: member("Buffer")?.offset, pointer_bytes })
    }
    fn read_at(shape: &UnicodeShape, memory: &dyn Memory, at: Va) -> Result<Self, PageFault> {
        // In bytes; a hostile odd length loses its half character.
        let length = memory.uint(at.wrapping_add(shape.length), 2)? as usize;
        let buffer = Va(memory.uint(at.wrapping_add(shape.buffer), shape.pointer_bytes)?);
        let mut bytes = vec![0; length & !1];
        if !bytes.is_empty() {
            memory.read(buffer, &mut bytes)?;
        }
        let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        let text = char::decode_utf16(units).map(|unit| match unit {
            Ok(c) => c.to_string(),
            Err(unpaired) => format!("\\u{:04x}", unpaired.unpaired_surrogate()),
        });
        Ok(Self(text.collect()))
    }
}

/// An entry of a ring: `struct list_head`, `_LIST_ENTRY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListEntry {
    /// `next`, `Flink`.
    pub(crate) next: Va,
    /// `prev`, `Blink`.
    pub(crate) prev: Va,
}

/// Offsets of the two pointers, and their width.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ListShape {
    pub(super) next: u64,
    prev: u64,
    pub(super) pointer_bytes: u8,
}

impl Value for ListEntry {
    type Shape = ListShape;
    fn shape(resolver: &Resolver<'_>, ty: &Type) -> Result<ListShape, String> {
        let Type::Named(name) = ty else { return Err("no entry of a list".to_owned()) };
        let member = |windows, linux| match resolver.find_in(name, windows)? {
            Some(place) => Ok(place.offset),
            None => resolver
                .find_in(name, linux)?
                .map(|place| place.offset)
                .ok_or(format!("`{name}`, which is no entry of a list")),
        };
        let pointer_bytes = u8::try_from(resolver.pointer_bytes()).unwrap_or(8);
        Ok(ListShape { next: member("Flink", "next")?, prev: member("Blink", "prev")?, pointer_bytes })
    }
    fn read_at(shape: &ListShape, memory: &dyn Memory, at: Va) -> Result<Self, PageFault> {
        let pointer = |offset| memory.uint(at.wrapping_add(offset), shape.pointer_bytes).map(Va);
        Ok(Self { next: pointer(shape.next)?, prev: pointer(shape.prev)? })
    }
}

impl Slot<ListShape> {
    pub(super) fn list_shape(&self) -> ListShape {
        self.shape
    }
}

/// A time in nanoseconds: an integer of nanoseconds (`ktime_t` and the u64 that followed `struct timespec` in Linux
/// 3.17), or a `struct timespec`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nanoseconds(pub(crate) i64);

#[derive(Debug, Clone, Copy)]
pub(crate) enum TimeShape {
    Nanoseconds(Integer),
    Timespec { seconds: (u64, Integer), nanoseconds: (u64, Integer) },
}

impl Value for Nanoseconds {
    type Shape = TimeShape;
    fn shape(resolver: &Resolver<'_>, ty: &Type) -> Result<TimeShape, String> {
        if let Ok(integer) = Integer::of(resolver, ty) {
            return if integer.bits() == 64 {
                Ok(TimeShape::Nanoseconds(integer))
            } else {
                Err("too few bits for nanoseconds".to_owned())
            };
        }
        let Type::Named(name) = ty else { return Err("no time".to_owned()) };
        let member = |path| match resolver.find_in(name, path)? {
            Some(place) => Ok((place.offset, Integer::of(resolver, &place.ty)?)),
            None => Err(format!("`{name}`, which is no time")),
        };
        // Before 4.10 `ktime_t` is a union of one member.
        if let Ok((0, integer)) = member("tv64") {
            return Ok(TimeShape::Nanoseconds(integer));
        }
        Ok(TimeShape::Timespec { seconds: member("tv_sec")?, nanoseconds: member("tv_nsec")? })
    }
    fn read_at(shape: &TimeShape, memory: &dyn Memory, at: Va) -> Result<Self, PageFault> {
        match shape {
            TimeShape::Nanoseconds(integer) => integer.read(memory, at).map(|n| Self(n.cast_signed())),
            TimeShape::Timespec { seconds, nanoseconds } => {
                let part = |(offset, integer): &(u64, Integer)| {
                    integer.read(memory, at.wrapping_add(*offset)).map(u64::cast_signed)
                };
                Ok(Self(part(seconds)?.saturating_mul(1_000_000_000).saturating_add(part(nanoseconds)?)))
            }
        }
    }
}
