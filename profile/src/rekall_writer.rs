//! A profile as Rekall JSON, in the layout of Rekall's writers. [`rekall`](crate::rekall) reads what is written here.

use crate::isf_section::{self, class_names};
use crate::json::Node;
use crate::json_writer::{Items, Writer};
use crate::model::{Enum, Profile, Struct, Type};
use crate::rekall::{ADDRESS_MASK, is_masked, unmask};
use serde_json::Value;

impl Profile {
    /// The canonical text: Rekall JSON, sorted, one line an item, no newline at the end.
    pub fn to_rekall(&self) -> String {
        let isf = self.isf_items();
        let sections = [
            ("$METADATA", self.metadata.0.is_empty()),
            ("$CONSTANTS", self.constants.is_empty()),
            ("$FUNCTIONS", self.functions.is_empty()),
            ("$CONSTANT_TYPES", self.constant_types.is_empty()),
            ("$ENUMS", self.enums.is_empty()),
            ("$REVENUMS", self.enums.is_empty()),
            ("$STRUCTS", self.structs.is_empty()),
            ("$CONFIG", self.config.is_empty()),
            ("$MERGE", self.merge.is_empty()),
            ("$ISF", isf.is_empty()),
        ];
        let known = sections.into_iter().filter(|(_, empty)| !empty).map(|(name, _)| (name, (name, None)));
        let other = self.other.iter().map(|(name, value)| (name.as_str(), (name.as_str(), Some(value))));
        let isf = Node::Dict(isf);
        let names = class_names(self);
        let forms = Forms {
            void: if names.contains("Void") { "void" } else { "Void" },
            null_length: names.contains("UnicodeString"),
        };
        let mut writer = Writer::default();
        writer.sorted(known.chain(other).collect(), |writer, (name, other)| match other {
            Some(value) => writer.node(&value.into()),
            None => self.write_section(writer, name, &isf, forms),
        });
        writer.finish()
    }

    fn write_section(&self, writer: &mut Writer, name: &str, isf: &Node, forms: Forms) {
        let masked = is_masked(&self.metadata);
        let address = |writer: &mut Writer, address: &u64| {
            writer.number(if masked { address & ADDRESS_MASK } else { *address });
        };
        match name {
            "$METADATA" => writer.map(&self.metadata.0, |writer, value| writer.node(&value.into())),
            "$CONSTANTS" => writer.map(&self.constants, address),
            "$FUNCTIONS" => writer.map(&self.functions, address),
            "$CONSTANT_TYPES" => writer.map(&self.constant_types, |writer, ty| forms.ty(writer, ty)),
            "$ENUMS" => writer.map(&self.enums, write_labels_by_value),
            "$REVENUMS" => writer.map(&self.enums, write_values_by_label),
            "$STRUCTS" => writer.map(&self.structs, |writer, s| forms.structure(writer, s)),
            "$CONFIG" => writer.map(&self.config, |writer, text| writer.text(text)),
            "$MERGE" => writer.list(&self.merge, |writer, name| writer.text(name)),
            _ => writer.node(isf),
        }
    }

    /// `$ISF`, with the addresses that masking would change.
    fn isf_items(&self) -> Vec<(String, Node)> {
        let mut isf = isf_section::to_items(self);
        if is_masked(&self.metadata) {
            let symbols = self.constants.iter().chain(&self.functions);
            let changed = symbols.filter(|&(_, &address)| unmask(address & ADDRESS_MASK) != address);
            let changed: Vec<(String, Node)> = changed.map(|(name, &address)| (name.clone(), address.into())).collect();
            if !changed.is_empty() {
                isf.push(("addresses".into(), Node::Dict(changed)));
            }
        }
        isf
    }
}

/// How types are written whose usual form is that of a type by name, should there be one named like Rekall's class.
#[derive(Clone, Copy)]
struct Forms {
    void: &'static str,
    /// A text without length has one of null.
    null_length: bool,
}

impl Forms {
    /// `[size, {member: [offset, type]}]`.
    fn structure(self, writer: &mut Writer, s: &Struct) {
        writer.pair(
            |writer| writer.number(s.size),
            |writer| {
                writer.map(&s.members, |writer, member| {
                    writer.pair(|writer| writer.number(member.offset), |writer| self.ty(writer, &member.ty));
                });
            },
        );
    }

    /// `[class, {arguments}]`.
    fn ty(self, writer: &mut Writer, ty: &Type) {
        writer.pair(|writer| writer.text(self.class(ty)), |writer| self.arguments(writer, ty));
    }

    fn class(self, ty: &Type) -> &str {
        match ty {
            Type::Void => self.void,
            Type::Named(name) => name,
            Type::Pointer { bytes: Some(4), .. } => "Pointer32",
            Type::Pointer { bytes: Some(8), .. } => "Pointer64",
            Type::Pointer { .. } => "Pointer",
            Type::Array { .. } => "Array",
            Type::BitField { .. } => "BitField",
            Type::Enum { .. } => "Enumeration",
            Type::Function { .. } => "Function",
            Type::UnicodeString { .. } => "UnicodeString",
            Type::Other { class, .. } => class,
        }
    }

    /// The arguments of a type's class, in the order of their names.
    fn arguments(self, writer: &mut Writer, ty: &Type) {
        if let Type::Other { args, .. } = ty {
            return writer.map(args, |writer, value: &Value| writer.node(&value.into()));
        }
        writer.dict(|items| match ty {
            Type::Void | Type::Named(_) | Type::Other { .. } => {}
            Type::Pointer { target, .. } => self.target(items, target),
            Type::Array { target, count } => {
                items.item("count", |writer| writer.number(*count));
                self.target(items, target);
            }
            Type::BitField { start, end, target } => {
                items.item("end_bit", |writer| writer.number(*end));
                items.item("start_bit", |writer| writer.number(*start));
                self.target(items, target);
            }
            Type::Enum { name, base } => {
                items.item("enum_name", |writer| writer.text(name));
                self.target(items, base);
            }
            Type::Function { args, ret } => {
                items.item("args", |writer| writer.list(args, |writer, ty| self.ty(writer, ty)));
                if let Some(ret) = ret {
                    items.item("ret", |writer| self.ty(writer, ret));
                }
            }
            Type::UnicodeString { length } => {
                if let Some(length) = length {
                    items.item("length", |writer| writer.number(*length));
                } else if self.null_length {
                    items.item("length", |writer| writer.node(&Node::Null));
                }
            }
        });
    }

    /// `target` and `target_args` of a type that is made of another; a dict leaves the latter out when it is empty.
    fn target(self, items: &mut Items<'_>, target: &Type) {
        items.item("target", |writer| writer.text(self.class(target)));
        items.item("target_args", |writer| self.arguments(writer, target));
    }
}

/// `{"<value>": label}`; of several labels of one value the last one declared.
fn write_labels_by_value(writer: &mut Writer, e: &Enum) {
    let mut labels: Vec<(i128, &str)> = e.values.iter().map(|(label, value)| (*value, label.as_str())).collect();
    labels.sort_by_key(|(value, _)| *value);
    writer.dict(|items| {
        for (at, (value, label)) in labels.iter().enumerate() {
            if labels.get(at + 1).is_none_or(|(next, _)| next != value) {
                items.item(itoa::Buffer::new().format(*value), |writer| writer.text(label));
            }
        }
    });
}

/// `{label: value}`. JSON numbers here are 64 bits wide, as those of every compiler's enums are.
fn write_values_by_label(writer: &mut Writer, e: &Enum) {
    let values = e.values.iter().map(|(label, value)| (label.as_str(), *value));
    writer.sorted(values.collect(), |writer, value| {
        if u64::try_from(value).is_ok() || i64::try_from(value).is_ok() {
            writer.number(value);
        } else {
            writer.text(&value.to_string());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Style, print};
    use crate::model::{IsfExtra, Member};
    use crate::rekall::CLASSES;
    use std::collections::BTreeMap;

    /// Every form there is, judged by the printer that lays out files of Rekall's own writers.
    #[test]
    fn the_layout_is_that_of_the_printer() {
        let member = |ty: Type| Member { offset: 8, ty, anonymous: true };
        let named = || Box::new(Type::named("long"));
        let other = || Type::Other {
            class: "Odd".into(),
            args: serde_json::from_str(r#"{"a": {}, "c": [1, {}]}"#).expect("JSON"),
        };
        let types = [
            Type::Void,
            Type::Pointer { target: Box::new(other()), bytes: Some(4) },
            Type::Pointer { target: named(), bytes: Some(8) },
            Type::pointer_to(Type::Function {
                args: vec![Type::Void, Type::pointer_to(Type::Void)],
                ret: Some(named()),
            }),
            Type::Function { args: vec![], ret: None },
            Type::array_of(Type::array_of(Type::named("char"), 2), 3),
            Type::BitField { start: 1, end: 3, target: Box::new(Type::Enum { name: "E".into(), base: named() }) },
            Type::UnicodeString { length: Some(7) },
            Type::UnicodeString { length: None },
            other(),
        ];
        // Names that are numbers, and not in their order.
        let members: BTreeMap<String, Member> =
            types.iter().enumerate().map(|(at, ty)| ((at * 5).to_string(), member(ty.clone()))).collect();
        let mut profile = Profile::default();
        profile.structs.insert("\u{1F600}\"".into(), Struct { size: 9, members, ..Struct::default() });
        profile.structs.insert("empty".into(), Struct::default());
        let values = [("b", 2), ("a", -1), ("c", 2), ("d", i128::from(u64::MAX)), ("e", i128::MAX)];
        let values = values.map(|(label, value)| (label.to_owned(), value)).to_vec();
        profile.enums.insert("E".into(), Enum { values, base: Some("long".into()), size: Some(4) });
        profile.enums.insert("none".into(), Enum::default());
        profile.constants.insert("c".into(), 0x7fff_8000_0000_1000);
        profile.functions.insert("f".into(), u64::MAX);
        profile.constant_types.insert("c".into(), other());
        profile.config.insert("CONFIG_X".into(), "y".into());
        profile.merge.push("other".into());
        profile.metadata.set("ProfileClass", "Linux");
        profile.metadata.set("arch", "AMD64");
        profile.other.insert("$A".into(), serde_json::json!({"10": [], "9": {}}));
        profile.isf = IsfExtra { metadata: Some(serde_json::json!({"x": null})), ..IsfExtra::default() };

        let text = profile.to_rekall();
        let node = Node::parse(&text).expect("JSON");
        assert_eq!(text, print(&node, Style::NEW));
        let enums = node.get("$ENUMS").expect("enums");
        assert!(enums.get("none").is_none(), "an empty dict is left out");
        assert_eq!(enums.get("E").and_then(|e| e.get("2")), Some(&Node::text("c")), "the last label declared");
        let isf = node.get("$ISF").and_then(|isf| isf.get("addresses")).and_then(Node::as_dict).expect("addresses");
        assert_eq!(isf, [("c".to_owned(), Node::from(0x7fff_8000_0000_1000))]);
        assert_eq!(node.get("$FUNCTIONS").and_then(|f| f.get("f")), Some(&Node::from((1 << 48) - 1)));
    }

    /// Structs named like Rekall's classes, defined or only declared, and `pointer` as old profiles have it: what is read
    /// is what was written, and a profile without them has no more in it than before.
    #[test]
    fn types_named_like_classes_come_back() {
        let classes = CLASSES.into_iter().chain(["pointer", "array", "pointer32"]);
        let mut types: Vec<Type> =
            classes.flat_map(|name| [Type::named(name), Type::pointer_to(Type::named(name))]).collect();
        let void = Type::pointer_to(Type::Void);
        let text = Type::UnicodeString { length: None };
        let function =
            Type::Function { args: vec![Type::named("Void"), void.clone()], ret: Some(Box::new(Type::Void)) };
        types.extend([void.clone(), text.clone(), Type::array_of(text, 2), function]);
        let members = |types: &[Type]| {
            let member =
                |(at, ty): (usize, &Type)| (at.to_string(), Member { offset: 0, ty: ty.clone(), anonymous: false });
            types.iter().enumerate().map(member).collect()
        };
        let mut profile = Profile::default();
        profile.structs.insert("all".into(), Struct { size: 9, members: members(&types), ..Struct::default() });
        profile.structs.insert("Void".into(), Struct { size: 4, ..Struct::default() });
        profile.constant_types.insert("c".into(), Type::array_of(Type::named("Pointer"), 3));
        let text = profile.to_rekall();
        let again = Profile::from_node(&Node::parse(&text).expect("JSON")).expect("a profile");
        assert_eq!((&again.structs, &again.constant_types), (&profile.structs, &profile.constant_types));
        let file = crate::ProfileFile::from_profile(&profile).expect("a profile");
        assert_eq!(file.structure("all").expect("readable").as_ref(), profile.structs.get("all"));
        assert_eq!(file.constant_type("c").expect("readable").as_ref(), profile.constant_types.get("c"));

        let mut plain = Profile::default();
        plain.structs.insert("Void".into(), Struct::default());
        plain.constant_types.insert("c".into(), void);
        let text = plain.to_rekall();
        assert!(text.contains("\"target\": \"Void\"") && !text.contains("$ISF"), "{text}");
    }
}
