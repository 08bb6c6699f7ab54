//! A C header from the model: every struct with its layout, as C11 with GNU extensions (gcc, clang).
//!
//! Layout is told, not left to the compiler: structs are packed, gaps are members or unnamed bit fields, members that
//! overlap stand in a union of packed structs, and the size of each type and the offset of each member that is no bit
//! field is asserted. Integers are told by width, or by the typedef that the member is declared by. Types come before those
//! that hold them. What C cannot place (a struct that the profile does not define, a function) is an array of no length at
//! its offset.

use crate::c_names::identifiers;
use crate::losses::Losses;
use crate::model::{BaseKind, BaseType, Enum, Member, Profile, Struct, StructKind, Type};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt::Write;

const NO_TYPE: &str = "members whose type C cannot place have an offset and no length";
const OUTSIDE: &str = "members that reach past the end of their struct have an offset and no length";
const CIRCLE: &str = "structs that hold themselves are an array of bytes there";
const NO_BITS: &str = "bit fields wider than their storage unit, or of no width, are left out";
const RENAMED: &str = "names that are no C identifiers are spelled in another way";
const LABEL: &str = "enum labels whose value has more than 64 bits are left out";
const SYMBOLS: &str = "addresses and types of symbols are left out";
const TYPEDEF: &str = "members whose typedef stands for another type in more of them are declared without it";
const SECTION: &str = "sections that C has no word for are left out";

impl Profile {
    /// The types of the profile as a C header, and what it leaves out. The text is ASCII.
    pub fn to_c(&self) -> (String, Losses) {
        let mut taken = BTreeSet::new();
        let mut header = Header {
            profile: self,
            out: String::new(),
            losses: Losses::default(),
            tags: identifiers(self.structs.keys().map(String::as_str), &mut taken),
            plain_enums: self.enums.iter().filter(|(_, e)| is_plain(e)).map(|(name, _)| name.as_str()).collect(),
            enum_tags: identifiers(self.enums.keys().map(String::as_str), &mut taken),
            typedefs: BTreeMap::new(),
            defined: BTreeSet::new(),
        };
        header.all();
        (header.out, header.losses)
    }
}

struct Header<'p> {
    profile: &'p Profile,
    out: String,
    losses: Losses,
    /// Identifiers of structs, unions and enums, which share one space of names in C.
    tags: BTreeMap<&'p str, String>,
    enum_tags: BTreeMap<&'p str, String>,
    /// Identifiers of the typedefs, and the native type of each.
    typedefs: BTreeMap<&'p str, (String, &'p str)>,
    /// Enums that are enums in C as well.
    plain_enums: BTreeSet<&'p str>,
    /// Structs whose definition is written.
    defined: BTreeSet<&'p str>,
}

/// A member, as it is laid out. Bits count from the struct's start, the least significant first.
struct Slot<'p> {
    name: &'p str,
    identifier: String,
    start: u64,
    end: u64,
    /// The declaration, without `;`.
    declaration: String,
    is_bits: bool,
}

impl<'p> Header<'p> {
    fn all(&mut self) {
        let profile = self.profile;
        let title = profile.metadata.text("GUID_AGE").or(profile.metadata.release()).unwrap_or("unknown build");
        let source = profile.metadata.text("PDBFile").or(profile.metadata.text("Source")).unwrap_or("profile");
        let bytes = profile.pointer_bytes();
        let _ = write!(
            self.out,
            "/* Types of {} ({}), as C11 with GNU extensions. */\n#pragma once\n#if __SIZEOF_POINTER__ != {bytes}\n\
             #error \"these are types of a machine whose pointers have {bytes} bytes: compile for one (-m{})\"\n#endif\n\n",
            comment(source),
            comment(title),
            bytes * 8,
        );
        for bits in [8, 16, 32, 64] {
            let _ = writeln!(
                self.out,
                "typedef __UINT{bits}_TYPE__ uint{bits}_t;\ntypedef __INT{bits}_TYPE__ int{bits}_t;"
            );
        }
        self.out.push('\n');
        // The names of the integers above.
        let mut taken: BTreeSet<String> =
            [8, 16, 32, 64].iter().flat_map(|bits| [format!("int{bits}_t"), format!("uint{bits}_t")]).collect();
        self.typedefs(&mut taken);
        self.enums(&mut taken);
        for (name, s) in &profile.structs {
            let _ = writeln!(self.out, "{};", self.tag(keyword(s.kind), name));
        }
        self.out.push('\n');
        self.in_order();
        for (section, tags) in [("$STRUCTS", &self.tags), ("$ENUMS", &self.enum_tags)] {
            for (name, _) in tags.iter().filter(|(name, identifier)| name != identifier) {
                self.losses.note(RENAMED, format!("{section}/{name}"));
            }
        }
        let symbols = [("$CONSTANTS", &profile.constants), ("$FUNCTIONS", &profile.functions)];
        for (section, _) in symbols.iter().filter(|(_, table)| !table.is_empty()) {
            self.losses.note(SYMBOLS, (*section).to_owned());
        }
        if !profile.config.is_empty() {
            self.losses.note(SECTION, "$CONFIG".to_owned());
        }
        for section in profile.other.keys() {
            self.losses.note(SECTION, section.clone());
        }
    }

    fn tag(&self, keyword: &str, name: &str) -> String {
        format!("{keyword} {}", self.tags.get(name).map_or(name, String::as_str))
    }

    fn enum_tag(&self, name: &str) -> String {
        format!("enum {}", self.enum_tags.get(name).map_or(name, String::as_str))
    }

    // ---- Typedefs of native types, and enums. The names of those and labels of all enums share one space of names.

    /// One of which members give several meanings, as in several units of a program, has that of the most.
    fn typedefs(&mut self, taken: &mut BTreeSet<String>) {
        let profile = self.profile;
        let mut meanings: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
        for s in profile.structs.values() {
            for (member, typedef) in &s.typedefs {
                let native = s.members.get(member).and_then(|member| member.ty.end());
                let native = native.filter(|native| {
                    !profile.structs.contains_key(*native)
                        && profile.base_type(native).is_some_and(|base| base.kind != BaseKind::Void)
                });
                if let Some(native) = native {
                    *meanings.entry(typedef).or_default().entry(native).or_default() += 1;
                }
            }
        }
        let identifiers = identifiers(meanings.keys().copied(), taken);
        for (name, natives) in meanings {
            let most = natives.into_iter().max_by_key(|&(native, count)| (count, Reverse(native)));
            let (Some((native, _)), Some(identifier)) = (most, identifiers.get(name)) else { continue };
            let _ = writeln!(self.out, "typedef {};", self.named(native, identifier));
            if identifier != name {
                self.losses.note(RENAMED, format!("$ISF/typedefs/{name}"));
            }
            self.typedefs.insert(name, (identifier.clone(), native));
        }
        self.out.push('\n');
    }

    fn enums(&mut self, taken: &mut BTreeSet<String>) {
        let profile = self.profile;
        for (name, e) in &profile.enums {
            let identifiers = identifiers(e.values.iter().map(|(label, _)| label.as_str()), taken);
            let known = e.values.iter().filter_map(|(label, value)| {
                let identifier = identifiers.get(label.as_str())?;
                if identifier != label {
                    self.losses.note(RENAMED, format!("$ENUMS/{name}/{label}"));
                }
                if i64::try_from(*value).is_err() && u64::try_from(*value).is_err() {
                    self.losses.note(LABEL, format!("$ENUMS/{name}/{label}"));
                    return None;
                }
                Some((identifier, *value))
            });
            let known: Vec<_> = known.collect();
            let tag = self.enum_tag(name);
            if self.plain_enums.contains(name.as_str()) {
                let _ = writeln!(self.out, "{tag} {{");
                for (label, value) in known {
                    let _ = writeln!(self.out, "    {label} = {},", literal(value));
                }
                self.out.push_str("};\n");
            } else {
                let _ = writeln!(self.out, "/* {} */", comment(&tag));
                for (label, value) in known {
                    let ty = if value < 0 { "int64_t" } else { "uint64_t" };
                    let _ =
                        writeln!(self.out, "static const {ty} {label} __attribute__((unused)) = {};", literal(value));
                }
            }
        }
        self.out.push('\n');
    }

    // ---- Structs, each after those that it holds.

    fn in_order(&mut self) {
        let profile = self.profile;
        let mut begun = BTreeSet::new();
        for name in profile.structs.keys() {
            // A stack of its own: a profile may nest its structs as deep as it likes.
            let mut stack = vec![(name.as_str(), false)];
            while let Some((name, held_ones_done)) = stack.pop() {
                let Some(s) = profile.structs.get(name) else { continue };
                if held_ones_done {
                    self.definition(name, s);
                    self.defined.insert(name);
                } else if begun.insert(name) {
                    stack.push((name, true));
                    stack.extend(
                        s.members.values().filter_map(|member| self.held(&member.ty)).map(|held| (held, false)),
                    );
                }
            }
        }
    }

    fn definition(&mut self, name: &'p str, s: &'p Struct) {
        let mut taken = BTreeSet::new();
        let names = identifiers(s.members.keys().map(String::as_str), &mut taken);
        let mut slots: Vec<Slot<'p>> = Vec::new();
        for (member, m) in &s.members {
            let identifier = names.get(member.as_str()).cloned().unwrap_or_default();
            if identifier != *member {
                self.losses.note(RENAMED, format!("$STRUCTS/{name}/{member}"));
            }
            slots.extend(self.slot(name, s, member, identifier, m));
        }
        slots.sort_by(|a, b| (a.start, a.end, a.name).cmp(&(b.start, b.end, b.name)));
        let layers = layers(slots);
        let tag = self.tag(keyword(s.kind), name);
        if self.tags.get(name).is_none_or(|tag| tag != name) {
            let _ = writeln!(self.out, "/* {} */", comment(name));
        }
        let _ = writeln!(self.out, "{tag} {{");
        let mut gaps = Gaps { number: 0, taken };
        let single = layers.len() <= 1 && s.kind != StructKind::Union;
        if single {
            gaps.layer(&mut self.out, 1, layers.first().map_or(&[], Vec::as_slice), Some(s.size));
        } else {
            let outer = usize::from(s.kind != StructKind::Union);
            if outer == 1 {
                self.out.push_str("    union {\n");
            }
            for layer in &layers {
                match layer.as_slice() {
                    [only] if only.start == 0 => gaps.layer(&mut self.out, outer + 1, layer, None),
                    _ => {
                        indent(&mut self.out, outer + 1);
                        self.out.push_str("struct {\n");
                        gaps.layer(&mut self.out, outer + 2, layer, None);
                        indent(&mut self.out, outer + 1);
                        self.out.push_str("} __attribute__((packed));\n");
                    }
                }
            }
            indent(&mut self.out, outer + 1);
            let _ = writeln!(self.out, "uint8_t {}[{}];", gaps.name(), s.size);
            if outer == 1 {
                self.out.push_str("    } __attribute__((packed));\n");
            }
        }
        self.out.push_str("} __attribute__((packed));\n");
        let _ = writeln!(self.out, "_Static_assert(sizeof({tag}) == {}, \"size\");", s.size);
        for slot in layers.iter().flatten().filter(|slot| !slot.is_bits) {
            let (identifier, offset) = (&slot.identifier, slot.start / 8);
            let _ = writeln!(
                self.out,
                "_Static_assert(__builtin_offsetof({tag}, {identifier}) == {offset}, \"{identifier}\");"
            );
        }
        self.out.push('\n');
    }

    fn slot(
        &mut self,
        of: &str,
        s: &Struct,
        name: &'p str,
        identifier: String,
        member: &'p Member,
    ) -> Option<Slot<'p>> {
        let path = || format!("$STRUCTS/{of}/{name}");
        let Member { offset, ty, .. } = member;
        let typedef = s.typedefs.get(name).and_then(|typedef| self.typedefs.get(typedef.as_str())).cloned();
        let same = |(_, native): &(String, &str)| ty.end() == Some(*native);
        if typedef.as_ref().is_some_and(|typedef| !same(typedef)) {
            self.losses.note(TYPEDEF, path());
        }
        let typedef = typedef.filter(same).map(|(identifier, _)| identifier);
        let typedef = typedef.as_deref();
        // A struct too large to count its bits: nothing of it can be placed.
        let Some(start) = offset.checked_mul(8).filter(|_| s.size < u64::MAX / 16) else {
            self.losses.note(OUTSIDE, path());
            return None;
        };
        if let Type::BitField { start: first, end, target } = ty {
            let width = end.checked_sub(*first).filter(|width| *width > 0);
            let unit = self.profile.size_of(target).filter(|unit| (1..=8).contains(unit));
            let (Some(width), Some(unit)) = (width, unit) else {
                self.losses.note(NO_BITS, path());
                return None;
            };
            let from = start.checked_add(*first)?;
            let to = from.checked_add(width)?;
            if width > unit * 8 || to > s.size * 8 {
                self.losses.note(NO_BITS, path());
                return None;
            }
            let declaration = format!("{} : {width}", self.declare_as(target, typedef, &identifier));
            return Some(Slot { name, identifier, start: from, end: to, declaration, is_bits: true });
        }
        let size = self.profile.size_of(ty);
        let end = size.and_then(|size| size.checked_mul(8)).and_then(|bits| start.checked_add(bits));
        let past = end.is_none_or(|end| end > s.size * 8);
        let incomplete = self.held(ty).is_some_and(|held| !self.defined.contains(held));
        let (declaration, end) = match (size, end) {
            (Some(_), Some(end)) if !past && !incomplete => (self.declare_as(ty, typedef, &identifier), end),
            (Some(size), Some(end)) if !past => {
                self.losses.note(CIRCLE, path());
                (format!("uint8_t {identifier}[{size}]"), end)
            }
            _ => {
                self.losses.note(if size.is_some() { OUTSIDE } else { NO_TYPE }, path());
                (format!("uint8_t {identifier}[0]"), start)
            }
        };
        if start > s.size * 8 {
            return None;
        }
        Some(Slot { name, identifier, start, end, declaration, is_bits: false })
    }

    // ---- Types.

    /// The struct that a member of this type holds: by value, or as elements. Integers are no structs, and are always defined.
    fn held<'t>(&self, ty: &'t Type) -> Option<&'t str> {
        match ty {
            Type::Named(name) => Some(name.as_str()).filter(|name| !self.is_native(name)),
            Type::Array { target, .. } => self.held(target),
            _ => None,
        }
    }

    fn is_native(&self, name: &str) -> bool {
        !self.profile.structs.contains_key(name) && self.profile.base_type(name).is_some()
    }

    /// The declaration of `inner` with this type.
    fn declare(&self, ty: &Type, inner: &str) -> String {
        self.declare_as(ty, None, inner)
    }

    /// The same with a typedef for the native type at its end.
    fn declare_as(&self, ty: &Type, typedef: Option<&str>, inner: &str) -> String {
        match ty {
            Type::Void | Type::Other { .. } => format!("void {inner}"),
            Type::Named(name) => {
                typedef.map_or_else(|| self.named(name, inner), |typedef| format!("{typedef} {inner}"))
            }
            Type::Pointer { target, bytes } => match bytes {
                Some(bytes) if u64::from(*bytes) != self.profile.pointer_bytes() => {
                    self.integer(u64::from(*bytes), false, inner)
                }
                _ => self.pointer(target, typedef, inner),
            },
            Type::UnicodeString { length: None } => format!("uint16_t {inner}"),
            Type::UnicodeString { length: Some(count) } => format!("uint16_t {inner}[{count}]"),
            Type::Array { target, count } => self.declare_as(target, typedef, &format!("{inner}[{count}]")),
            Type::BitField { target, .. } => self.declare_as(target, typedef, inner),
            Type::Enum { name, .. }
                if self.plain_enums.contains(name.as_str()) && self.profile.size_of(ty) == Some(4) =>
            {
                format!("{} {inner}", self.enum_tag(name))
            }
            Type::Enum { name, base } => {
                let e = self.profile.enums.get(name);
                let base = e.and_then(|e| e.base.as_deref()).map_or_else(|| (**base).clone(), Type::named);
                match e.and_then(|e| e.size) {
                    // The integer type may be unknown, or of another size than the enum.
                    Some(size) if self.profile.size_of(&base) != Some(size) => self.integer(size, false, inner),
                    _ => self.declare(&base, inner),
                }
            }
            Type::Function { args, ret } => {
                let list: Vec<String> = args.iter().map(|arg| self.argument(arg)).collect();
                let list = match args.split_last() {
                    // `...` alone takes a C of 2023.
                    Some((Type::Void, [])) | None => String::new(),
                    Some((Type::Void, _)) => {
                        format!("{}, ...", list.get(..list.len() - 1).unwrap_or_default().join(", "))
                    }
                    Some(_) => list.join(", "),
                };
                let function = format!("{inner}({list})");
                match ret.as_deref() {
                    // C's functions give no arrays and no functions.
                    Some(Type::Array { .. } | Type::Function { .. } | Type::UnicodeString { length: Some(_) })
                    | None => {
                        format!("void {function}")
                    }
                    Some(ret) => self.declare(ret, &function),
                }
            }
        }
    }

    fn argument(&self, ty: &Type) -> String {
        match ty {
            Type::Void | Type::Function { .. } | Type::Other { .. } => "void *".to_owned(),
            // An array is passed as a pointer; of what it is an array, C wants to know beforehand.
            Type::Array { target, .. } => self.pointer(target, None, ""),
            _ => self.declare(ty, "").trim_end().to_owned(),
        }
    }

    fn pointer(&self, target: &Type, typedef: Option<&str>, inner: &str) -> String {
        match target {
            Type::Function { .. } => self.declare(target, &format!("(*{inner})")),
            // C wants the elements of an array defined; behind a pointer they may not be yet.
            Type::Array { .. } if self.held(target).is_some() => format!("void *{inner}"),
            Type::Array { .. } | Type::UnicodeString { length: Some(_) } => {
                self.declare_as(target, typedef, &format!("(*{inner})"))
            }
            _ => self.declare_as(target, typedef, &format!("*{inner}")),
        }
    }

    fn named(&self, name: &str, inner: &str) -> String {
        if let Some(s) = self.profile.structs.get(name) {
            return format!("{} {inner}", self.tag(keyword(s.kind), name));
        }
        match self.profile.base_type(name) {
            Some(BaseType { kind: BaseKind::Void, .. }) | None => format!("void {inner}"),
            Some(BaseType { kind: BaseKind::Float, size: 4, .. }) => format!("float {inner}"),
            Some(BaseType { kind: BaseKind::Float, size: 8, .. }) => format!("double {inner}"),
            Some(BaseType { kind: BaseKind::Bool, size: 1, .. }) => format!("_Bool {inner}"),
            Some(BaseType { kind: BaseKind::Char, size: 1, signed: true, .. }) => format!("char {inner}"),
            Some(BaseType { kind: BaseKind::Float, size, .. }) => format!("uint8_t {inner}[{size}]"),
            Some(base) => self.integer(base.size, base.signed, inner),
        }
    }

    /// An integer by its width; of a width that C has none of, its bytes.
    #[allow(clippy::unused_self, reason = "it stands beside the other kinds of type")]
    fn integer(&self, bytes: u64, signed: bool, inner: &str) -> String {
        match bytes {
            1 | 2 | 4 | 8 => format!("{}int{}_t {inner}", if signed { "" } else { "u" }, bytes * 8),
            _ => format!("uint8_t {inner}[{bytes}]"),
        }
    }
}

/// Puts members into as few layers as it takes for none to overlap within one. They come sorted by start.
fn layers(slots: Vec<Slot<'_>>) -> Vec<Vec<Slot<'_>>> {
    let mut layers: Vec<Vec<Slot<'_>>> = Vec::new();
    // The layer that ends first, and of those the first one.
    let mut ends: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    for slot in slots {
        match ends.peek() {
            Some(&Reverse((free, at))) if free <= slot.start => {
                ends.pop();
                ends.push(Reverse((slot.end, at)));
                if let Some(layer) = layers.get_mut(at) {
                    layer.push(slot);
                }
            }
            _ => {
                ends.push(Reverse((slot.end, layers.len())));
                layers.push(vec![slot]);
            }
        }
    }
    layers
}

/// What fills the room between members.
struct Gaps {
    number: u64,
    taken: BTreeSet<String>,
}

impl Gaps {
    fn name(&mut self) -> String {
        loop {
            let name = format!("_gap{}", self.number);
            self.number += 1;
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }

    /// Members and the gaps before them, and up to `size` bytes.
    fn layer(&mut self, out: &mut String, depth: usize, slots: &[Slot<'_>], size: Option<u64>) {
        let mut at = 0;
        for slot in slots {
            self.fill(out, depth, at, slot.start);
            indent(out, depth);
            let _ = writeln!(out, "{};", slot.declaration);
            at = slot.end;
        }
        if let Some(size) = size {
            self.fill(out, depth, at, size * 8);
        }
    }

    /// Fills the bits `from..to`.
    fn fill(&mut self, out: &mut String, depth: usize, from: u64, to: u64) {
        let to_byte = (8 - from % 8) % 8;
        let first = to_byte.min(to.saturating_sub(from));
        let left = to.saturating_sub(from + first);
        if first > 0 {
            indent(out, depth);
            let _ = writeln!(out, "uint8_t : {first};");
        }
        if left / 8 > 0 {
            indent(out, depth);
            let _ = writeln!(out, "uint8_t {}[{}];", self.name(), left / 8);
        }
        if !left.is_multiple_of(8) {
            indent(out, depth);
            let _ = writeln!(out, "uint8_t : {};", left % 8);
        }
    }
}

fn keyword(kind: StructKind) -> &'static str {
    match kind {
        StructKind::Union => "union",
        StructKind::Struct | StructKind::Class => "struct",
    }
}

/// Whether C's own enum has the width of this one: it has values, and they fit four bytes, all of them signed or all unsigned.
fn is_plain(e: &Enum) -> bool {
    let all_in = |low: i128, high: i128| e.values.iter().all(|(_, value)| (low..=high).contains(value));
    !e.values.is_empty()
        && e.size.is_none_or(|size| size == 4)
        && (all_in(i32::MIN.into(), i32::MAX.into()) || all_in(0, u32::MAX.into()))
}

fn literal(value: i128) -> String {
    match value {
        // C has no literal of the lowest number.
        _ if value == i64::MIN.into() => "(-0x7fffffffffffffffll - 1)".to_owned(),
        _ if value == i32::MIN.into() => "(-0x7fffffff - 1)".to_owned(),
        _ if value > i64::MAX.into() => format!("{value}ull"),
        _ if value > u32::MAX.into() || value < i32::MIN.into() => format!("{value}ll"),
        _ if value > i32::MAX.into() => format!("{value}u"),
        _ => value.to_string(),
    }
}

/// Text that may stand in a comment.
fn comment(text: &str) -> String {
    text.replace("*/", "* /").chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect()
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n("    ", depth));
}
