//! Rekall JSON: the vtype dialect, read in its modern and its legacy forms.
//!
//! Source of the format: `obj.Profile` of Rekall 1.7.2 and the profiles of its public repository. A type is
//! `[class, {arguments}]`; the old public macOS profiles have `["pointer", [type]]` and `["array", n, [type]]` as well.

use crate::error::Error;
use crate::isf_section::IsfSection;
use crate::json::{Node, Style, print};
use crate::model::{Arch, Enum, Member, Metadata, Os, Profile, Struct, Type};
use std::collections::{BTreeMap, BTreeSet};

/// The items of a JSON object.
pub(crate) type Dict = Vec<(String, Node)>;

/// The text of a profile file laid out anew as Rekall's writers do it, in the spelling that the text itself shows. A
/// file of theirs comes back byte for byte.
///
/// # Errors
/// The text is not JSON, or has a key twice in one object.
pub fn canonical_json(text: &str) -> Result<String, Error> {
    let root = Node::parse(text)?;
    Ok(print(&root, Style::of(text, &root)))
}

/// [`canonical_json`] with a text set in `$METADATA`.
pub(crate) fn canonical_with_metadata(text: &str, key: &str, value: &str) -> Result<String, Error> {
    let mut root = Node::parse(text)?;
    let style = Style::of(text, &root);
    let Node::Dict(sections) = &mut root else { return Err(Error::corrupt("", "not a JSON object")) };
    let at = sections.iter().position(|(section, _)| section == "$METADATA").unwrap_or_else(|| {
        sections.push(("$METADATA".to_owned(), Node::Dict(Vec::new())));
        sections.len() - 1
    });
    let Some((_, Node::Dict(metadata))) = sections.get_mut(at) else {
        return Err(Error::corrupt("$METADATA", "not an object"));
    };
    metadata.retain(|(known, _)| known != key);
    metadata.push((key.to_owned(), Node::text(value)));
    Ok(print(&root, style))
}

impl Profile {
    /// The complete model of a parsed Rekall JSON file.
    pub(crate) fn from_node(root: &Node) -> Result<Self, Error> {
        let mut profile = Self::default();
        let sections = root.as_dict().ok_or_else(|| Error::corrupt("", "not a JSON object"))?;
        let extra = root
            .get("$ISF")
            .map(|node| IsfSection::read(node).map_err(|e| e.within("$ISF")))
            .transpose()?
            .unwrap_or_default();
        if let Some(node) = root.get("$METADATA") {
            profile.metadata = metadata_from_node(node)?;
        }
        let masked = is_masked(&profile.metadata);
        let mut revenums = None;
        for (section, node) in sections {
            let place = |error: Error| error.within(section);
            match section.as_str() {
                "$METADATA" | "$ISF" => {}
                "$CONSTANTS" | "$FUNCTIONS" => {
                    let table = map(node, |name, value| {
                        let stored = value
                            .as_u64()
                            .ok_or_else(|| Error::corrupt(name, "the address is not an integer of 64 bits"))?;
                        Ok(extra.addresses.get(name).copied().unwrap_or(if masked { unmask(stored) } else { stored }))
                    });
                    *if section == "$CONSTANTS" { &mut profile.constants } else { &mut profile.functions } =
                        table.map_err(place)?;
                }
                "$CONSTANT_TYPES" => {
                    profile.constant_types =
                        map(node, |_, value| type_from_node(value, &extra.names)).map_err(place)?;
                }
                "$ENUMS" => profile.enums = map(node, |_, labels| enum_from_node(labels)).map_err(place)?,
                "$REVENUMS" => revenums = Some(node),
                "$STRUCTS" => {
                    profile.structs = map(node, |_, value| struct_from_node(value, &extra.names)).map_err(place)?;
                }
                "$CONFIG" => {
                    let text = |name: &str, value: &Node| {
                        value.as_text().map(str::to_owned).ok_or_else(|| Error::corrupt(name, "not a text"))
                    };
                    profile.config = map(node, text).map_err(place)?;
                }
                "$MERGE" => profile.merge = texts(node).map_err(place)?,
                _ => {
                    profile.other.insert(section.clone(), node.to_value());
                }
            }
        }
        if let Some(node) = revenums {
            add_revenums(&mut profile.enums, node).map_err(|e| e.within("$REVENUMS"))?;
        }
        extra.apply(&mut profile);
        Ok(profile)
    }
}

/// Rekall's Linux converter keeps 48 bits of each address.
pub(crate) const ADDRESS_MASK: u64 = (1 << 48) - 1;

/// The canonical address whose lower 48 bits are stored.
pub(crate) fn unmask(stored: u64) -> u64 {
    if stored & (1 << 47) != 0 { stored | !ADDRESS_MASK } else { stored }
}

/// Whether addresses are stored masked: Linux on x86-64.
pub(crate) fn is_masked(metadata: &Metadata) -> bool {
    metadata.os() == Some(Os::Linux) && metadata.arch() == Some(Arch::Amd64)
}

pub(crate) fn is_empty(node: &Node) -> bool {
    match node {
        Node::Null => true,
        Node::List(items) => items.is_empty(),
        Node::Dict(items) => items.is_empty(),
        _ => false,
    }
}

pub(crate) fn dict<T>(table: &BTreeMap<String, T>, to_node: impl Fn(&T) -> Node) -> Node {
    Node::Dict(table.iter().map(|(key, value)| (key.clone(), to_node(value))).collect())
}

pub(crate) fn map<T>(
    node: &Node,
    mut read: impl FnMut(&str, &Node) -> Result<T, Error>,
) -> Result<BTreeMap<String, T>, Error> {
    let items = node.as_dict().ok_or_else(|| Error::corrupt("", "not an object"))?;
    items
        .iter()
        .map(|(key, value)| {
            Ok((key.clone(), read(key, value).map_err(|e| if e.place == *key { e } else { e.within(key) })?))
        })
        .collect()
}

pub(crate) fn texts(node: &Node) -> Result<Vec<String>, Error> {
    let items = node.as_list().ok_or_else(|| Error::corrupt("", "not a list"))?;
    items
        .iter()
        .map(|item| item.as_text().map(str::to_owned).ok_or_else(|| Error::corrupt("", "not a list of texts")))
        .collect()
}

pub(crate) fn metadata_from_node(node: &Node) -> Result<Metadata, Error> {
    map(node, |_, value| Ok(value.to_value())).map(Metadata).map_err(|e| e.within("$METADATA"))
}

/// `[size, {member: [offset, type]}]`. A size or offset of null (an overlay's "as below") reads as 0.
pub(crate) fn struct_from_node(node: &Node, names: &BTreeSet<String>) -> Result<Struct, Error> {
    let [size, members] = node.as_list().unwrap_or_default() else {
        return Err(Error::corrupt("", "a struct is not [size, {members}]"));
    };
    let size = offset_from_node(size)?;
    let members = map(members, |_, member| {
        let [offset, ty] = member.as_list().unwrap_or_default() else {
            return Err(Error::corrupt("", "a member is not [offset, [type]]"));
        };
        Ok(Member { offset: offset_from_node(offset)?, ty: type_from_node(ty, names)?, anonymous: false })
    })?;
    Ok(Struct { size, members, ..Struct::default() })
}

fn offset_from_node(node: &Node) -> Result<u64, Error> {
    match node {
        Node::Null => Ok(0),
        _ => node.as_u64().ok_or_else(|| Error::corrupt("", "a size or offset is not a non-negative integer")),
    }
}

/// The classes of Rekall's that types have here.
pub(crate) const CLASSES: [&str; 9] =
    ["Void", "Pointer", "Pointer32", "Pointer64", "Array", "BitField", "Enumeration", "Function", "UnicodeString"];

/// `[class]`, `[class, {arguments}]`, or a legacy list form. `names` are the [`CLASSES`] that are names of types where
/// they have no arguments, as `$ISF` tells.
pub(crate) fn type_from_node(node: &Node, names: &BTreeSet<String>) -> Result<Type, Error> {
    let list = node.as_list().unwrap_or_default();
    let Some(class) = list.first().and_then(Node::as_text) else {
        return Err(Error::corrupt("", "a type is not a list that begins with a name"));
    };
    match (class, list.get(1..).unwrap_or_default()) {
        ("pointer", [target @ Node::List(_)]) => Ok(Type::pointer_to(type_from_node(target, names)?)),
        ("pointer64", [target @ Node::List(_)]) => {
            Ok(Type::Pointer { target: Box::new(type_from_node(target, names)?), bytes: Some(8) })
        }
        ("pointer32", [target @ Node::List(_)]) => {
            Ok(Type::Pointer { target: Box::new(type_from_node(target, names)?), bytes: Some(4) })
        }
        ("array", [count, target]) => Ok(Type::array_of(type_from_node(target, names)?, offset_from_node(count)?)),
        (_, [] | [Node::Null]) => type_of(class, &[], names),
        (_, [Node::Dict(args)]) => type_of(class, args, names),
        _ => Err(Error::corrupt("", format!("the type `{class}` has arguments of an unknown form"))),
    }
}

fn arg<'a>(args: &'a [(String, Node)], key: &str) -> Option<&'a Node> {
    args.iter().find(|(name, _)| name == key).map(|(_, node)| node)
}

/// A type by class and arguments. The tool of 2014 left out arguments that are 0.
fn type_of(class: &str, args: &[(String, Node)], names: &BTreeSet<String>) -> Result<Type, Error> {
    if args.is_empty() && names.contains(class) {
        return Ok(Type::named(class));
    }
    let number = |key: &str| arg(args, key).map_or(Ok(0), offset_from_node);
    let target = || -> Result<Type, Error> {
        match arg(args, "target") {
            None | Some(Node::Null) => Ok(Type::Void),
            Some(Node::Text(name)) => match arg(args, "target_args") {
                Some(Node::Dict(args)) => type_of(name, args, names),
                _ => type_of(name, &[], names),
            },
            Some(list) => type_from_node(list, names),
        }
    };
    let other =
        || Type::Other { class: class.to_owned(), args: args.iter().map(|(k, v)| (k.clone(), v.to_value())).collect() };
    Ok(match class {
        "Void" | "void" if args.is_empty() => Type::Void,
        "Pointer" => Type::pointer_to(target()?),
        "Pointer32" => Type::Pointer { target: Box::new(target()?), bytes: Some(4) },
        "Pointer64" => Type::Pointer { target: Box::new(target()?), bytes: Some(8) },
        // An array by size in bytes, or of a length found at run time, has no count to keep.
        "Array"
            if arg(args, "count").is_none() && (arg(args, "size").is_some() || arg(args, "max_count").is_some()) =>
        {
            other()
        }
        "Array" => Type::array_of(target()?, number("count")?),
        "BitField" => {
            Type::BitField { start: number("start_bit")?, end: number("end_bit")?, target: Box::new(target()?) }
        }
        "Enumeration" => {
            let Some(name) = arg(args, "enum_name").and_then(Node::as_text).map(str::to_owned) else {
                return Ok(other());
            };
            match target()? {
                // Rekall's DWARF converter writes the bit fields of enums inside out.
                Type::BitField { start, end, target } => {
                    Type::BitField { start, end, target: Box::new(Type::Enum { name, base: target }) }
                }
                base => Type::Enum { name, base: Box::new(base) },
            }
        }
        "Function" => {
            let list = arg(args, "args").and_then(Node::as_list).unwrap_or_default();
            let ret = arg(args, "ret").map(|ret| type_from_node(ret, names)).transpose()?;
            let args = list.iter().map(|arg| type_from_node(arg, names)).collect::<Result<_, _>>()?;
            Type::Function { args, ret: ret.map(Box::new) }
        }
        "UnicodeString" if args.iter().all(|(key, _)| key == "length") => {
            let length = arg(args, "length").filter(|length| **length != Node::Null);
            Type::UnicodeString { length: length.map(offset_from_node).transpose()? }
        }
        _ if args.is_empty() => Type::named(class),
        _ => other(),
    })
}

/// `{"<value>": label}`.
pub(crate) fn enum_from_node(node: &Node) -> Result<Enum, Error> {
    let labels = node.as_dict().ok_or_else(|| Error::corrupt("", "an enum is not an object"))?;
    let mut values = Vec::new();
    for (value, label) in labels {
        let number = value
            .parse::<i128>()
            .map_err(|_| Error::corrupt(value.as_str(), "the key of an enum is not an integer"))?;
        let label =
            label.as_text().ok_or_else(|| Error::corrupt(value.as_str(), "the label of an enum is not a text"))?;
        values.push((label.to_owned(), number));
    }
    Ok(Enum { values, base: None, size: None })
}

/// Puts the labels that only `$REVENUMS` has before those of `$ENUMS`, so that these stay the ones that show.
pub(crate) fn merge_labels(target: &mut Enum, labels: &Node) -> Result<(), Error> {
    let known: BTreeSet<&str> = target.values.iter().map(|(label, _)| label.as_str()).collect();
    let mut extra = Vec::new();
    for (label, value) in labels.as_dict().ok_or_else(|| Error::corrupt("", "not an object"))? {
        if !known.contains(label.as_str()) {
            let value = value
                .as_i128()
                .ok_or_else(|| Error::corrupt(label.as_str(), "the value of a label is not an integer"))?;
            extra.push((label.clone(), value));
        }
    }
    target.values.splice(0..0, extra);
    Ok(())
}

fn add_revenums(enums: &mut BTreeMap<String, Enum>, node: &Node) -> Result<(), Error> {
    for (name, labels) in node.as_dict().ok_or_else(|| Error::corrupt("", "not an object"))? {
        merge_labels(enums.entry(name.clone()).or_default(), labels).map_err(|e| e.within(name))?;
    }
    Ok(())
}
