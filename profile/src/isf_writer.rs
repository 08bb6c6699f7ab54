//! ISF 6.2.0 from the model: Volatility 3's `schemas/schema-6.2.0.json`, which allows no key beyond its own.
//!
//! The text is canonical: keys are sorted, an item is a line, and nothing tells when it was made. `metadata.producer` has a
//! `datetime` only where the profile knows the time of the build itself (`$METADATA.Timestamp`).
//!
//! What the schema cannot say is left out and noted; `$METADATA` and `$CONFIG` go along in `metadata.producer`, the one object
//! that the schema leaves open. A symbol that is a function has the type `function`.

use crate::isf::{self, KEPT_CONFIG, KEPT_METADATA, KEPT_TYPEDEFS, banner_data, banner_symbol};
use crate::isf_section::{self, base_kind_name};
use crate::json::{Node, print_text};
use crate::losses::Losses;
use crate::model::{Arch, BaseKind, BaseType, Enum, Member, Os, Profile, Struct, StructKind, Type};
use crate::native::{POINTER, WCHAR, ordinary_names};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

const ARGUMENTS: &str = "types of arguments and results of functions are left out";
const UNKNOWN_CLASS: &str = "types of a class that ISF does not know became void";
const SIZED_ARRAY: &str = "arrays told by their size in bytes got a count";
const ENUM_INTEGER: &str = "the integer type of an enum is told once, not by each member";
const ENUM_ADDED: &str = "enums got the size and integer type that ISF asks for";
const NO_ENUM: &str = "enums that the profile does not define became integers";
const BIT_UNIT: &str = "bit fields got a storage unit that is an integer";
const ANONYMOUS: &str = "members without a name that are no struct, union or class keep their made-up name alone";
const UTF16: &str = "UTF-16 text is told as an array of units";
const LABEL: &str = "enum labels whose value has more than 64 bits are left out";
const BASE_ADDED: &str = "base types were added that ISF asks for";
const BOTH: &str = "symbols that are data and function at once are kept as data";
const DATA_FUNCTION: &str = "data symbols whose type is a function became functions";
const TYPE_ALONE: &str = "types of symbols without an address are left out";
const DECORATION: &str = "linkage names and contents of symbols without an address are left out";
const METADATA: &str = "metadata that the file's own metadata does not tell is left out";
const NO_BANNER: &str =
    "the banner is told in the producer's part alone, because the symbol that holds it has no address";
const TYPEDEF: &str = "names of typedefs that members are declared by are left out";
const SECTION: &str = "sections that ISF does not know are left out";

impl Profile {
    /// The profile as ISF 6.2.0, and what ISF could not say. The text is ASCII and ends in a newline.
    ///
    /// `metadata` of an ISF file that the profile was read from is written again as it was.
    pub fn to_isf(&self) -> (String, Losses) {
        let mut writer = Writer {
            profile: self,
            out: String::new(),
            losses: Losses::default(),
            base_types: self.base_types.clone(),
            enums: BTreeMap::new(),
        };
        // The base types come first in the file, and are complete when all others are written.
        writer.choose_enums();
        writer.enums();
        writer.out.push_str(",\n");
        writer.metadata();
        writer.out.push_str(",\n");
        writer.symbols();
        writer.out.push_str(",\n");
        writer.structs();
        writer.other_sections();
        let rest = std::mem::take(&mut writer.out);
        writer.out.push_str("{\n");
        writer.base_types();
        writer.out.push_str(",\n");
        writer.out.push_str(&rest);
        writer.out.push_str("\n}\n");
        (writer.out, writer.losses)
    }
}

struct Writer<'p> {
    profile: &'p Profile,
    out: String,
    losses: Losses,
    /// Those of the profile, and those that ISF needs beside them.
    base_types: BTreeMap<String, BaseType>,
    /// Integer type and size of each enum.
    enums: BTreeMap<&'p str, (String, u64)>,
}

/// Where a type stands, for the report: section, item, member.
#[derive(Clone, Copy)]
struct Place<'a>(&'a str, &'a str, &'a str);

impl Place<'_> {
    fn path(self) -> String {
        let Self(section, item, member) = self;
        if member.is_empty() { format!("{section}/{item}") } else { format!("{section}/{item}/{member}") }
    }
}

impl<'p> Writer<'p> {
    /// A section: `write` gives the text of each item.
    fn section<T>(
        &mut self,
        name: &str,
        items: impl Iterator<Item = (&'p str, T)>,
        write: impl Fn(&mut Self, &str, T),
    ) {
        let _ = write!(self.out, " \"{name}\": {{");
        let mut first = true;
        for (name, item) in items {
            self.out.push_str(if first { "\n  " } else { ",\n  " });
            first = false;
            self.text(name);
            self.out.push_str(": ");
            write(self, name, item);
        }
        self.out.push_str(if first { "}" } else { "\n }" });
    }

    fn text(&mut self, text: &str) {
        print_text(&mut self.out, text);
    }

    fn number(&mut self, number: impl std::fmt::Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.out, "{number}");
    }

    fn base_types(&mut self) {
        // A profile that knows how wide its pointers are has all that ISF needs; to others goes what a program on any
        // profile may ask for.
        if !self.profile.base_types.contains_key(POINTER) {
            let void = BaseType { kind: BaseKind::Void, ..BaseType::int(0, false) };
            self.need("void", || void);
            self.need(POINTER, || BaseType::int(self.profile.pointer_bytes(), false));
            for name in ordinary_names(self.profile.metadata.os()) {
                if let Some(base) = self.profile.base_type(name) {
                    self.need(name, || base);
                }
            }
        }
        for name in self.base_types.keys().filter(|name| !self.profile.base_types.contains_key(*name)) {
            self.losses.note(BASE_ADDED, Place("$ISF", "base_types", name).path());
        }
        let base_types = std::mem::take(&mut self.base_types);
        let _ = write!(self.out, " \"base_types\": {{");
        for (i, (name, base)) in base_types.iter().enumerate() {
            self.out.push_str(if i == 0 { "\n  " } else { ",\n  " });
            self.text(name);
            let _ = write!(
                self.out,
                r#": {{"endian": "{}", "kind": "{}", "signed": {}, "size": {}}}"#,
                if base.big_endian { "big" } else { "little" },
                base_kind_name(base.kind),
                base.signed,
                base.size
            );
        }
        self.out.push_str("\n }");
    }

    fn need(&mut self, name: &str, base: impl FnOnce() -> BaseType) {
        if !self.base_types.contains_key(name) {
            self.base_types.insert(name.to_owned(), base());
        }
    }

    // ---- Enums.

    /// Settles integer type and size of every enum: its own, else those of a member that has it, else C's `int`.
    fn choose_enums(&mut self) {
        let profile = self.profile;
        let mut used: HashMap<&str, &str> = HashMap::new();
        let members = profile.structs.values().flat_map(|s| s.members.values()).map(|member| &member.ty);
        for ty in members.chain(profile.constant_types.values()) {
            let mut ty = ty;
            while let Type::Pointer { target, .. } | Type::Array { target, .. } | Type::BitField { target, .. } = ty {
                ty = target;
            }
            if let Type::Enum { name, base } = ty
                && let Type::Named(base) = &**base
            {
                used.entry(name).or_insert(base);
            }
        }
        for (name, e) in &profile.enums {
            let base = e.base.as_deref().or_else(|| used.get(name.as_str()).copied());
            let base = base.filter(|base| *base == "void" || profile.base_type(base).is_some()).unwrap_or("int");
            let known = profile.base_type(base);
            let size = e.size.or_else(|| known.as_ref().map(|base| base.size)).unwrap_or(0);
            if e.base.as_deref() != Some(base) || e.size != Some(size) {
                self.losses.note(ENUM_ADDED, Place("$ISF", "enums", name).path());
            }
            if let Some(known) = known {
                self.need(base, || known);
            }
            self.enums.insert(name, (base.to_owned(), size));
        }
    }

    fn enums(&mut self) {
        let profile = self.profile;
        self.section("enums", profile.enums.iter().map(|(name, e)| (name.as_str(), e)), |w, name, e| {
            let (base, size) = w.enums.get(name).cloned().unwrap_or_default();
            w.out.push_str(r#"{"base": "#);
            w.text(&base);
            w.out.push_str(r#", "constants": {"#);
            let mut first = true;
            for (label, value) in in_order(e) {
                if i64::try_from(value).is_err() && u64::try_from(value).is_err() {
                    w.losses.note(LABEL, Place("$ENUMS", name, label).path());
                    continue;
                }
                if !std::mem::take(&mut first) {
                    w.out.push_str(", ");
                }
                w.text(label);
                w.out.push_str(": ");
                w.number(value);
            }
            let _ = write!(w.out, r#"}}, "size": {size}}}"#);
        });
    }

    // ---- Metadata.

    fn metadata(&mut self) {
        let node = match &self.profile.isf.metadata {
            Some(kept) => {
                self.compare_metadata(kept);
                kept.clone()
            }
            None => self.new_metadata(),
        };
        // serde_json's objects are sorted, and the text of a value cannot fail.
        let _ = write!(self.out, " \"metadata\": {node}");
    }

    /// Notes what `$METADATA` and the typedefs have that a reader will not find in the metadata of the ISF file it came from.
    fn compare_metadata(&mut self, kept: &Value) {
        let metadata = &self.profile.metadata;
        let banner = self.banner().and_then(|_| metadata.banner()).map(str::to_owned);
        let told = isf::metadata(&Node::from(kept), banner, metadata.arch()).unwrap_or_default();
        let names: BTreeSet<&String> = metadata.0.keys().chain(told.0.keys()).collect();
        for name in names {
            if metadata.0.get(name) != told.0.get(name) {
                self.losses.note(METADATA, Place("$METADATA", name, "").path());
            }
        }
        let config = isf::kept_config(&Node::from(kept));
        for (option, _) in self.profile.config.iter().filter(|(option, value)| config.get(*option) != Some(value)) {
            self.losses.note(SECTION, Place("$CONFIG", option, "").path());
        }
        let typedefs: BTreeSet<&String> = self.profile.structs.values().flat_map(|s| s.typedefs.values()).collect();
        for typedef in typedefs {
            self.losses.note(TYPEDEF, Place("$ISF", isf_section::TYPEDEFS, typedef).path());
        }
    }

    fn new_metadata(&mut self) -> Value {
        let metadata = &self.profile.metadata;
        let mut producer = json!({
            "name": "quaid",
            "version": env!("CARGO_PKG_VERSION"),
            KEPT_METADATA: metadata.0,
        });
        if self.profile.structs.values().any(|s| !s.typedefs.is_empty()) {
            producer[KEPT_TYPEDEFS] = isf_section::typedefs(self.profile).to_value();
        }
        if !self.profile.config.is_empty() {
            producer[KEPT_CONFIG] = json!(self.profile.config);
        }
        if let Some(time) = metadata.text("Timestamp").and_then(iso_time) {
            producer["datetime"] = time.into();
        }
        let mut node = json!({ "format": "6.2.0", "producer": producer });
        match metadata.os() {
            Some(Os::Windows) => {
                let mut windows = json!({});
                if let Some(identity) = metadata.guid_age() {
                    let text = identity.to_string();
                    windows["pdb"] = json!({
                        "GUID": text.get(..32),
                        "age": identity.age,
                        "database": metadata.text("PDBFile").unwrap_or_default(),
                        "machine_type": metadata.arch().map_or(0, machine_type),
                    });
                }
                node["windows"] = windows;
            }
            Some(os) => {
                let mut part = json!({});
                if let (Some(source), Some(hash)) = (metadata.text("Source"), metadata.text("SourceSHA256")) {
                    let item = json!({
                        "kind": "dwarf", "name": source, "hash_type": "sha256", "hash_value": hash,
                    });
                    part["types"] = Value::Array(vec![item]);
                }
                node[if os == Os::Linux { "linux" } else { "mac" }] = part;
                if metadata.banner().is_some() && self.banner().is_none() {
                    self.losses.note(NO_BANNER, Place("$METADATA", "Banner", "").path());
                }
            }
            None => {}
        }
        node
    }

    /// The banner's symbol, if it has an address, and its contents.
    fn banner(&self) -> Option<(&'static str, String)> {
        let profile = self.profile;
        let (symbol, end) = banner_symbol(profile.metadata.os())?;
        let text = profile.metadata.banner()?;
        profile.constants.contains_key(symbol).then(|| (symbol, banner_data(text, end)))
    }

    // ---- Symbols.

    fn symbols(&mut self) {
        let profile = self.profile;
        let banner = self.banner();
        let mut symbols: Vec<(&str, u64, bool)> =
            profile.constants.iter().map(|(name, &address)| (name.as_str(), address, false)).collect();
        for (name, &address) in &profile.functions {
            if profile.constants.contains_key(name) {
                self.losses.note(BOTH, Place("$FUNCTIONS", name, "").path());
            } else {
                symbols.push((name, address, true));
            }
        }
        symbols.sort_unstable();
        let items = symbols.into_iter().map(|(name, address, function)| (name, (address, function)));
        self.section("symbols", items, |w, name, (address, function)| {
            let _ = write!(w.out, r#"{{"address": {address}"#);
            let data = profile.isf.constant_data.get(name);
            let data = data.or_else(|| banner.as_ref().filter(|(symbol, _)| *symbol == name).map(|(_, data)| data));
            for (key, text) in [("constant_data", data), ("linkage_name", profile.isf.linkage_names.get(name))] {
                if let Some(text) = text {
                    let _ = write!(w.out, r#", "{key}": "#);
                    w.text(text);
                }
            }
            if function {
                w.out.push_str(r#", "type": {"kind": "function"}"#);
            } else if let Some(ty) = profile.constant_types.get(name) {
                if matches!(ty, Type::Function { .. }) {
                    w.losses.note(DATA_FUNCTION, Place("$CONSTANTS", name, "").path());
                }
                w.out.push_str(r#", "type": "#);
                w.ty(ty, Place("$CONSTANT_TYPES", name, ""));
            }
            w.out.push('}');
        });
        for name in profile.constant_types.keys().filter(|name| !profile.constants.contains_key(*name)) {
            self.losses.note(TYPE_ALONE, Place("$CONSTANT_TYPES", name, "").path());
        }
        for (part, table) in
            [("linkage_names", &profile.isf.linkage_names), ("constant_data", &profile.isf.constant_data)]
        {
            for name in table.keys().filter(|name| profile.symbol(name).is_none()) {
                self.losses.note(DECORATION, Place("$ISF", part, name).path());
            }
        }
    }

    // ---- Structs and types.

    fn structs(&mut self) {
        let profile = self.profile;
        self.section("user_types", profile.structs.iter().map(|(name, s)| (name.as_str(), s)), Self::structure);
    }

    fn structure(&mut self, name: &str, s: &Struct) {
        self.out.push_str(r#"{"fields": {"#);
        for (i, (field, member)) in s.members.iter().enumerate() {
            if i > 0 {
                self.out.push_str(", ");
            }
            self.text(field);
            self.out.push_str(": {");
            self.member(member, Place("$STRUCTS", name, field));
            self.out.push('}');
        }
        let _ = write!(self.out, r#"}}, "kind": "{}", "size": {}}}"#, kind_name(s.kind), s.size);
    }

    fn member(&mut self, member: &Member, place: Place<'_>) {
        if member.anonymous {
            // Volatility takes the members of what the type names.
            if matches!(&member.ty, Type::Named(name) if self.profile.structs.contains_key(name)) {
                self.out.push_str(r#""anonymous": true, "#);
            } else {
                self.losses.note(ANONYMOUS, place.path());
            }
        }
        let _ = write!(self.out, r#""offset": {}, "type": "#, member.offset);
        self.ty(&member.ty, place);
    }

    fn ty(&mut self, ty: &Type, place: Place<'_>) {
        match ty {
            Type::Void => self.base("void"),
            Type::Named(name) => self.named(name),
            Type::Pointer { target, bytes } => {
                self.out.push('{');
                if let Some(bytes) = bytes {
                    let name = format!("{POINTER}{}", u64::from(*bytes) * 8);
                    self.need(&name, || BaseType::int(u64::from(*bytes), false));
                    let _ = write!(self.out, r#""base": "{name}", "#);
                }
                self.out.push_str(r#""kind": "pointer", "subtype": "#);
                self.ty(target, place);
                self.out.push('}');
            }
            Type::Array { target, count } => {
                if matches!(**target, Type::UnicodeString { length: None }) {
                    self.losses.note(UTF16, place.path());
                }
                self.array(*count, |w| w.ty(target, place));
            }
            Type::BitField { start, end, target } => {
                let length = end.saturating_sub(*start);
                let _ = write!(
                    self.out,
                    r#"{{"bit_length": {length}, "bit_position": {start}, "kind": "bitfield", "type": "#
                );
                self.bit_unit(target, *end, place);
                self.out.push('}');
            }
            Type::Enum { name, base } => self.enumeration(name, base, place),
            Type::Function { args, ret } => {
                if !args.is_empty() || ret.is_some() {
                    self.losses.note(ARGUMENTS, place.path());
                }
                self.out.push_str(r#"{"kind": "function"}"#);
            }
            Type::UnicodeString { length: None } => self.wchar(),
            Type::UnicodeString { length: Some(count) } => self.array(*count, Self::wchar),
            Type::Other { class, args } => {
                if let Some((target, count)) = self.sized_array(class, args) {
                    self.losses.note(SIZED_ARRAY, place.path());
                    self.array(count, |w| w.ty(&target, place));
                } else {
                    self.losses.note(UNKNOWN_CLASS, place.path());
                    self.base("void");
                }
            }
        }
    }

    fn base(&mut self, name: &str) {
        if name == "void" {
            self.need(name, || BaseType { kind: BaseKind::Void, ..BaseType::int(0, false) });
        }
        self.out.push_str(r#"{"kind": "base", "name": "#);
        self.text(name);
        self.out.push('}');
    }

    fn wchar(&mut self) {
        self.need(WCHAR, || BaseType::int(2, false));
        self.base(WCHAR);
    }

    fn array(&mut self, count: u64, element: impl FnOnce(&mut Self)) {
        let _ = write!(self.out, r#"{{"count": {count}, "kind": "array", "subtype": "#);
        element(self);
        self.out.push('}');
    }

    /// A struct that is defined, a native type, or a struct that is only declared.
    fn named(&mut self, name: &str) {
        let profile = self.profile;
        let kind = match profile.structs.get(name) {
            Some(s) => s.kind,
            None => match profile.base_type(name) {
                Some(base) => {
                    self.need(name, || base);
                    return self.base(name);
                }
                None => profile.isf.declared.get(name).copied().unwrap_or_default(),
            },
        };
        let _ = write!(self.out, r#"{{"kind": "{}", "name": "#, kind_name(kind));
        self.text(name);
        self.out.push('}');
    }

    fn enumeration(&mut self, name: &str, base: &Type, place: Place<'_>) {
        let known = self.enums.get(name).map(|(known, _)| known.as_str());
        let same = match (known, base) {
            // An enum that is nowhere defined, as an ISF file may have it.
            (None, Type::Void) => true,
            (None, _) => {
                self.losses.note(NO_ENUM, place.path());
                return self.ty(base, place);
            }
            (Some(known), Type::Named(base)) => known == base,
            (Some(known), Type::Void) => known == "void",
            _ => false,
        };
        if !same {
            self.losses.note(ENUM_INTEGER, place.path());
        }
        self.out.push_str(r#"{"kind": "enum", "name": "#);
        self.text(name);
        self.out.push('}');
    }

    /// The storage unit of a bit field: an integer or an enum. Old profiles leave it out.
    fn bit_unit(&mut self, target: &Type, end: u64, place: Place<'_>) {
        match target {
            Type::Enum { name, base } => self.enumeration(name, base, place),
            Type::Named(name) if !self.profile.structs.contains_key(name) && self.profile.base_type(name).is_some() => {
                self.named(name);
            }
            _ => {
                self.losses.note(BIT_UNIT, place.path());
                self.named(if end > 32 { "unsigned long long" } else { "unsigned int" });
            }
        }
    }

    /// Rekall's last version gives some arrays their size in bytes alone.
    fn sized_array(&self, class: &str, args: &BTreeMap<String, Value>) -> Option<(Type, u64)> {
        let bytes = args.get("size").filter(|_| class == "Array")?.as_u64()?;
        let mut args = args.clone();
        args.remove("size");
        args.insert("count".to_owned(), 0.into());
        let node = json!([class, args]);
        let Ok(Type::Array { target, .. }) = crate::rekall::type_from_node(&Node::from(&node), &BTreeSet::new()) else {
            return None;
        };
        let count = bytes.checked_div(self.profile.size_of(&target)?)?;
        Some((*target, count))
    }

    fn other_sections(&mut self) {
        let profile = self.profile;
        if !profile.merge.is_empty() {
            self.losses.note(SECTION, "$MERGE".to_owned());
        }
        for section in profile.other.keys() {
            self.losses.note(SECTION, section.clone());
        }
    }
}

/// The labels of an enum by value; of those that share one, the label that shows is the last.
fn in_order(e: &Enum) -> Vec<(&str, i128)> {
    let shown: HashMap<i128, &str> = e.values.iter().map(|(label, value)| (*value, label.as_str())).collect();
    let is_shown = |label: &str, value: i128| shown.get(&value) == Some(&label);
    let mut labels: Vec<_> =
        e.values.iter().map(|(label, value)| (*value, is_shown(label, *value), label.as_str())).collect();
    labels.sort_unstable();
    labels.into_iter().map(|(value, _, label)| (label, value)).collect()
}

fn kind_name(kind: StructKind) -> &'static str {
    match kind {
        StructKind::Struct => "struct",
        StructKind::Union => "union",
        StructKind::Class => "class",
    }
}

/// `IMAGE_FILE_HEADER.Machine`.
fn machine_type(arch: Arch) -> u64 {
    match arch {
        Arch::I386 => 0x14c,
        Arch::Amd64 => 0x8664,
        Arch::Arm => 0x1c4,
        Arch::Arm64 => 0xaa64,
        Arch::Mips => 0x166,
        Arch::Riscv64 => 0x5064,
        // No PE file is for these.
        Arch::Mips64 | Arch::Ppc64 | Arch::S390x => 0,
    }
}

/// `2010-11-20 08:44:05Z`, or with `+0000` at its end, as RFC 3339 has it.
fn iso_time(text: &str) -> Option<String> {
    let shape = |text: &str| text.bytes().map(|b| if b.is_ascii_digit() { b'0' } else { b }).collect::<Vec<u8>>();
    let (time, zone) = text.split_at_checked(19)?;
    let known = shape(time) == b"0000-00-00 00:00:00" && matches!(zone, "Z" | "+0000");
    known.then(|| format!("{}Z", time.replace(' ', "T")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::ProfileFile;

    fn member(ty: Type) -> Member {
        Member { offset: 0, ty, anonymous: false }
    }

    fn text(length: Option<u64>) -> Type {
        Type::UnicodeString { length }
    }

    /// A profile of one struct with these members; its ISF as plain JSON, what was not said, and what reading it gives.
    fn through_isf(members: &[(&str, Type)]) -> (Value, Losses, BTreeMap<String, Member>) {
        let mut profile = Profile::default();
        profile.metadata.set("arch", "AMD64");
        profile.metadata.set("GUID_AGE", "00000000000000000000000000000001A");
        let members = members.iter().map(|(name, ty)| ((*name).to_owned(), member(ty.clone()))).collect();
        profile.structs.insert("S".to_owned(), Struct { size: 8, members, ..Struct::default() });
        profile.enums.insert(
            "E".to_owned(),
            Enum {
                values: vec![("B".to_owned(), 1), ("Shown".to_owned(), 1), ("A".to_owned(), -1)],
                ..Enum::default()
            },
        );
        let (isf, losses) = profile.to_isf();
        let again = ProfileFile::parse("isf", isf.as_bytes()).and_then(|file| file.decode()).expect("a profile");
        (serde_json::from_str(&isf).expect("JSON"), losses, again.structs["S"].members.clone())
    }

    #[test]
    fn utf_16_text_is_an_array_of_units_and_comes_back() {
        let members = [
            ("unit", text(None)),
            ("one", text(Some(1))),
            ("ones", Type::array_of(text(Some(1)), 3)),
            ("name", text(Some(15))),
            ("names", Type::array_of(text(Some(15)), 2)),
            ("pointer", Type::pointer_to(text(None))),
        ];
        let (isf, losses, again) = through_isf(&members);
        let wchar = json!({"kind": "base", "name": "wchar"});
        let array = |count, subtype: &Value| json!({"kind": "array", "count": count, "subtype": subtype});
        let fields = &isf["user_types"]["S"]["fields"];
        assert_eq!(fields["unit"]["type"], wchar);
        assert_eq!(fields["one"]["type"], array(1, &wchar));
        assert_eq!(fields["ones"]["type"], array(3, &array(1, &wchar)));
        assert_eq!(fields["names"]["type"], array(2, &array(15, &wchar)));
        assert_eq!(fields["pointer"]["type"], json!({"kind": "pointer", "subtype": wchar}));
        assert_eq!(isf["base_types"]["wchar"]["size"], 2);
        for (name, ty) in members {
            assert_eq!(again[name].ty, ty, "{name}");
            assert!(!losses.names(&format!("$STRUCTS/S/{name}")), "{name}");
        }
    }

    #[test]
    fn what_isf_cannot_say_is_told_with_its_place() {
        let function = Type::Function { args: vec![Type::Void], ret: None };
        let other = Type::Other { class: "Signature".to_owned(), args: BTreeMap::new() };
        let sized = Type::Other {
            class: "Array".to_owned(),
            args: BTreeMap::from([("size".to_owned(), 8.into()), ("target".to_owned(), "short".into())]),
        };
        let pointer = Type::Pointer { target: Box::new(function), bytes: Some(4) };
        let (isf, losses, again) = through_isf(&[("call", pointer), ("magic", other), ("old", sized)]);
        let fields = &isf["user_types"]["S"]["fields"];
        assert_eq!(
            fields["call"]["type"],
            json!({"kind": "pointer", "base": "pointer32", "subtype": {"kind": "function"}})
        );
        assert_eq!(isf["base_types"]["pointer32"]["size"], 4);
        assert_eq!(fields["old"]["type"]["count"], 4);
        assert!(matches!(again["call"].ty, Type::Pointer { bytes: Some(4), .. }));
        for (kind, place) in [(ARGUMENTS, "call"), (UNKNOWN_CLASS, "magic"), (SIZED_ARRAY, "old")] {
            assert_eq!(losses.0.get(kind), Some(&vec![format!("$STRUCTS/S/{place}")]));
        }
    }

    #[test]
    fn identity_and_labels_are_in_place() {
        let (isf, ..) = through_isf(&[]);
        assert_eq!(isf["metadata"]["format"], "6.2.0");
        let pdb =
            json!({"GUID": "00000000000000000000000000000001", "age": 10, "database": "", "machine_type": 0x8664});
        assert_eq!(isf["metadata"]["windows"]["pdb"], pdb);
        let e = json!({"base": "int", "size": 4, "constants": {"A": -1, "B": 1, "Shown": 1}});
        assert_eq!(isf["enums"]["E"], e);
    }

    #[test]
    fn times_of_both_tools_are_those_of_the_schema() {
        assert_eq!(iso_time("2010-11-20 08:44:05Z").as_deref(), Some("2010-11-20T08:44:05Z"));
        assert_eq!(iso_time("2004-08-04 05:58:36+0000").as_deref(), Some("2004-08-04T05:58:36Z"));
        assert_eq!(iso_time("yesterday"), None);
    }
}
