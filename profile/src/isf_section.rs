//! `$ISF`: the section of a Rekall JSON file that keeps what Rekall's own sections cannot say. Absent when empty; older
//! readers warn and go on.

use crate::error::Error;
use crate::json::Node;
use crate::model::{BaseKind, BaseType, Enum, IsfExtra, Profile, Struct, StructKind, Type};
use crate::rekall::{CLASSES, Dict, dict, is_empty, map, texts};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What only `$ISF` can say.
pub(crate) fn to_items(profile: &Profile) -> Dict {
    let of_kind = |kind| {
        let defined = profile.structs.iter().filter(|(_, s)| s.kind == kind).map(|(name, _)| name);
        let declared = profile.isf.declared.iter().filter(|(_, known)| **known == kind).map(|(name, _)| name);
        let names: BTreeSet<&String> = defined.chain(declared).collect();
        Node::List(names.into_iter().map(Node::text).collect())
    };
    let anonymous = profile.structs.iter().filter_map(|(name, s)| {
        let members: Vec<Node> =
            s.members.iter().filter(|(_, m)| m.anonymous).map(|(name, _)| Node::text(name)).collect();
        (!members.is_empty()).then(|| (name.clone(), Node::List(members)))
    });
    let enums = profile.enums.iter().filter_map(|(name, e)| {
        let base = e.base.as_ref().map(|base| ("base".to_owned(), Node::text(base)));
        let size = e.size.map(|size| ("size".to_owned(), size.into()));
        let items: Dict = base.into_iter().chain(size).collect();
        (!items.is_empty()).then(|| (name.clone(), Node::Dict(items)))
    });
    let items = [
        ("base_types", dict(&profile.base_types, base_type_to_node)),
        ("unions", of_kind(StructKind::Union)),
        ("classes", of_kind(StructKind::Class)),
        ("anonymous", Node::Dict(anonymous.collect())),
        ("enums", Node::Dict(enums.collect())),
        ("linkage_names", dict(&profile.isf.linkage_names, |text| Node::text(text))),
        ("constant_data", dict(&profile.isf.constant_data, |text| Node::text(text))),
        ("metadata", profile.isf.metadata.as_ref().map_or(Node::Null, Node::from)),
        (TYPEDEFS, typedefs(profile)),
        ("names", Node::List(class_names(profile).into_iter().map(Node::text).collect())),
    ];
    items.into_iter().filter(|(_, node)| !is_empty(node)).map(|(key, node)| (key.to_owned(), node)).collect()
}

/// Names of types that are those of Rekall's classes: Rekall's form alone does not tell `struct Void` from no type.
pub(crate) fn class_names(profile: &Profile) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for ty in profile.structs.values().flat_map(|s| s.members.values()).map(|member| &member.ty) {
        add_class_names(ty, &mut names);
    }
    profile.constant_types.values().for_each(|ty| add_class_names(ty, &mut names));
    names
}

fn add_class_names<'t>(ty: &'t Type, names: &mut BTreeSet<&'t str>) {
    match ty {
        Type::Named(name) if CLASSES.contains(&name.as_str()) => {
            names.insert(name);
        }
        Type::Pointer { target, .. }
        | Type::Array { target, .. }
        | Type::BitField { target, .. }
        | Type::Enum { base: target, .. } => add_class_names(target, names),
        Type::Function { args, ret } => args.iter().chain(ret.as_deref()).for_each(|ty| add_class_names(ty, names)),
        Type::Named(_) | Type::Void | Type::UnicodeString { .. } | Type::Other { .. } => {}
    }
}

/// The key of what [`typedefs`] gives.
pub(crate) const TYPEDEFS: &str = "typedefs";

/// `{typedef: {struct: [members]}}`: few typedefs have most members.
pub(crate) fn typedefs(profile: &Profile) -> Node {
    let mut found: BTreeMap<&str, BTreeMap<&str, Vec<Node>>> = BTreeMap::new();
    for (name, s) in &profile.structs {
        for (member, typedef) in &s.typedefs {
            found.entry(typedef).or_default().entry(name).or_default().push(Node::text(member));
        }
    }
    let structs = |structs: BTreeMap<&str, Vec<Node>>| {
        Node::Dict(structs.into_iter().map(|(name, members)| (name.to_owned(), Node::List(members))).collect())
    };
    Node::Dict(found.into_iter().map(|(typedef, users)| (typedef.to_owned(), structs(users))).collect())
}

/// `$ISF`, read.
#[derive(Debug, Default)]
pub(crate) struct IsfSection {
    pub(crate) base_types: BTreeMap<String, BaseType>,
    pub(crate) unions: BTreeSet<String>,
    pub(crate) classes: BTreeSet<String>,
    pub(crate) anonymous: BTreeMap<String, BTreeSet<String>>,
    pub(crate) enums: BTreeMap<String, (Option<String>, Option<u64>)>,
    pub(crate) addresses: BTreeMap<String, u64>,
    /// Classes of Rekall's that are names of types.
    pub(crate) names: BTreeSet<String>,
    /// By struct and member.
    typedefs: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) extra: IsfExtra,
}

impl IsfSection {
    pub(crate) fn read(node: &Node) -> Result<Self, Error> {
        let mut section = Self::default();
        let text = |name: &str, value: &Node| {
            value.as_text().map(str::to_owned).ok_or_else(|| Error::corrupt(name, "not a text"))
        };
        for (key, node) in node.as_dict().ok_or_else(|| Error::corrupt("", "not an object"))? {
            let place = |error: Error| error.within(key);
            match key.as_str() {
                "base_types" => section.base_types = map(node, |_, value| base_type_from_node(value)).map_err(place)?,
                "unions" => section.unions = texts(node).map_err(place)?.into_iter().collect(),
                "classes" => section.classes = texts(node).map_err(place)?.into_iter().collect(),
                "anonymous" => {
                    section.anonymous = map(node, |_, names| Ok(texts(names)?.into_iter().collect())).map_err(place)?;
                }
                "enums" => {
                    let read = |_: &str, value: &Node| {
                        let base = value.get("base").and_then(Node::as_text).map(str::to_owned);
                        Ok((base, value.get("size").and_then(Node::as_u64)))
                    };
                    section.enums = map(node, read).map_err(place)?;
                }
                "addresses" => {
                    let read =
                        |name: &str, value: &Node| value.as_u64().ok_or_else(|| Error::corrupt(name, "not an address"));
                    section.addresses = map(node, read).map_err(place)?;
                }
                "names" => section.names = texts(node).map_err(place)?.into_iter().collect(),
                TYPEDEFS => section.read_typedefs(node).map_err(place)?,
                "linkage_names" => section.extra.linkage_names = map(node, text).map_err(place)?,
                "constant_data" => section.extra.constant_data = map(node, text).map_err(place)?,
                "metadata" => section.extra.metadata = Some(node.to_value()),
                // A later version's key: the reader goes on, as with an unknown section.
                _ => {}
            }
        }
        Ok(section)
    }

    /// A section that has no more than what [`typedefs`] gives.
    pub(crate) fn of_typedefs(node: &Node) -> Result<Self, Error> {
        let mut section = Self::default();
        section.read_typedefs(node)?;
        Ok(section)
    }

    fn read_typedefs(&mut self, node: &Node) -> Result<(), Error> {
        for (typedef, users) in map(node, |_, structs| map(structs, |_, members| texts(members)))? {
            for (name, members) in users {
                let of_struct = self.typedefs.entry(name).or_default();
                of_struct.extend(members.into_iter().map(|member| (member, typedef.clone())));
            }
        }
        Ok(())
    }

    /// What the section says of one struct.
    pub(crate) fn complete_struct(&self, name: &str, s: &mut Struct) {
        if self.unions.contains(name) {
            s.kind = StructKind::Union;
        } else if self.classes.contains(name) {
            s.kind = StructKind::Class;
        }
        for member in self.anonymous.get(name).into_iter().flatten() {
            if let Some(member) = s.members.get_mut(member) {
                member.anonymous = true;
            }
        }
        let typedefs = self.typedefs.get(name).into_iter().flatten();
        let known = typedefs.filter(|(member, _)| s.members.contains_key(*member));
        s.typedefs = known.map(|(member, typedef)| (member.clone(), typedef.clone())).collect();
    }

    /// What the section says of one enum.
    pub(crate) fn complete_enum(&self, name: &str, e: &mut Enum) {
        if let Some((base, size)) = self.enums.get(name) {
            e.base.clone_from(base);
            e.size = *size;
        }
    }

    /// What the section says of all of it.
    pub(crate) fn apply(self, profile: &mut Profile) {
        for (name, s) in &mut profile.structs {
            self.complete_struct(name, s);
        }
        // An enum without labels is nowhere else.
        for name in self.enums.keys() {
            let e = profile.enums.entry(name.clone()).or_default();
            self.complete_enum(name, e);
        }
        profile.base_types = self.base_types;
        profile.isf = self.extra;
        let undefined = |name: &&String| !profile.structs.contains_key(*name);
        let unions = self.unions.iter().filter(undefined).map(|name| (name.clone(), StructKind::Union));
        let classes = self.classes.iter().filter(undefined).map(|name| (name.clone(), StructKind::Class));
        profile.isf.declared = unions.chain(classes).collect();
    }
}

const KINDS: [(BaseKind, &str); 5] = [
    (BaseKind::Void, "void"),
    (BaseKind::Int, "int"),
    (BaseKind::Float, "float"),
    (BaseKind::Char, "char"),
    (BaseKind::Bool, "bool"),
];

/// As in ISF: `{"size", "signed", "kind", "endian"}`.
pub(crate) fn base_type_from_node(node: &Node) -> Result<BaseType, Error> {
    let size =
        node.get("size").and_then(Node::as_u64).ok_or_else(|| Error::corrupt("", "a base type without a size"))?;
    let kind = node.get("kind").and_then(Node::as_text).unwrap_or("int");
    let kind = KINDS
        .iter()
        .find(|(_, name)| *name == kind)
        .ok_or_else(|| Error::unsupported("", format!("a base type of kind `{kind}`")))?;
    Ok(BaseType {
        size,
        signed: node.get("signed") == Some(&Node::Bool(true)),
        kind: kind.0,
        big_endian: node.get("endian").and_then(Node::as_text) == Some("big"),
    })
}

/// ISF's name of a kind.
pub(crate) fn base_kind_name(kind: BaseKind) -> &'static str {
    KINDS.iter().find(|(known, _)| *known == kind).map_or("int", |(_, name)| name)
}

fn base_type_to_node(base: &BaseType) -> Node {
    Node::from(&Value::from_iter([
        ("size", Value::from(base.size)),
        ("signed", Value::from(base.signed)),
        ("kind", Value::from(base_kind_name(base.kind))),
        ("endian", Value::from(if base.big_endian { "big" } else { "little" })),
    ]))
}
