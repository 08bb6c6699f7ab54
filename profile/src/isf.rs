//! ISF, the profile format of Volatility 3, read into the same model.
//!
//! Source of the format: Volatility 3's `schemas/schema-6.2.0.json`. Versions 4 to 6 differ in nothing that is read here.

use crate::error::Error;
use crate::ids::GuidAge;
use crate::json::Node;
use crate::model::{Arch, Enum, Member, Metadata, Os, Struct, StructKind, Type};
use crate::native::WCHAR;
use base64::Engine;
use std::collections::BTreeMap;

/// A symbol as ISF has it.
#[derive(Debug)]
pub(crate) struct IsfSymbol {
    pub(crate) address: u64,
    /// It has the type of a function.
    pub(crate) function: bool,
    /// Its type, if it is data and the file tells.
    pub(crate) ty: Option<Type>,
    pub(crate) linkage_name: Option<String>,
    pub(crate) constant_data: Option<String>,
}

/// What type descriptors refer to by name.
#[derive(Clone, Copy)]
pub(crate) struct Tables<'a> {
    /// The integer type that holds an enum.
    pub(crate) enum_base: &'a dyn Fn(&str) -> Option<String>,
    /// Size of a base type, in bytes.
    pub(crate) base_bytes: &'a dyn Fn(&str) -> Option<u64>,
}

/// For symbols of which only the address is wanted.
pub(crate) const NO_TABLES: Tables<'static> = Tables { enum_base: &|_| None, base_bytes: &|_| None };

/// Where our writer keeps `$METADATA`: the schema lets a producer tell more about itself than name and version.
pub(crate) const KEPT_METADATA: &str = "profile_metadata";

/// Where our writer keeps the typedefs of members, which the schema has no word for, in the form of `$ISF`.
pub(crate) const KEPT_TYPEDEFS: &str = "profile_typedefs";

/// Where our writer keeps `$CONFIG`, which the schema has no word for either.
pub(crate) const KEPT_CONFIG: &str = "profile_config";

/// Checks `metadata.format` and makes of `metadata` what the model keeps. `banner` is the content of the banner symbol.
pub(crate) fn metadata(node: &Node, banner: Option<String>, arch: Option<Arch>) -> Result<Metadata, Error> {
    let format = node.get("format").and_then(Node::as_text).unwrap_or_default();
    let major = format.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if !matches!(major, Some(4..=6)) {
        return Err(Error::unsupported(
            "metadata.format",
            format!("ISF version `{format}`; versions 4, 5 and 6 are read"),
        ));
    }
    let mut metadata = Metadata::default();
    metadata.set("Type", "Profile");
    if let Some(pdb) = node.get("windows").and_then(|windows| windows.get("pdb")) {
        let text = |key| pdb.get(key).and_then(Node::as_text).unwrap_or_default();
        let age = pdb.get("age").and_then(Node::as_u64).and_then(|age| u32::try_from(age).ok());
        let guid = GuidAge::parse_guid(text("GUID"));
        let (Some((guid, None)), Some(age)) = (guid, age) else {
            return Err(Error::corrupt("metadata.windows.pdb", "GUID and age are not those of a PDB"));
        };
        metadata.set("GUID_AGE", GuidAge { guid, age }.to_string());
        metadata.set("PDBFile", text("database"));
        metadata.set("ProfileClass", capitalised(text("database").trim_end_matches(".pdb")));
        let machine = match pdb.get("machine_type").and_then(Node::as_u64) {
            Some(0 | 0x14c) => Some(Arch::I386),
            Some(0x8664) => Some(Arch::Amd64),
            Some(0xaa64) => Some(Arch::Arm64),
            _ => None,
        };
        if let Some(machine) = machine.or(arch) {
            metadata.set("arch", machine.name());
        }
    } else {
        let class = if node.get("mac").is_some() { "Darwin" } else { "Linux" };
        metadata.set("ProfileClass", class);
        if let Some(arch) = arch {
            metadata.set("arch", arch.name());
        }
    }
    if let Some(banner) = banner {
        if let Some(release) = banner.strip_prefix("Linux version ").and_then(|rest| rest.split(' ').next()) {
            metadata.set("Release", release);
        }
        metadata.set("Banner", banner);
    }
    if let Some(kept) = kept_metadata(node) {
        // What the file itself says goes before what its producer says of it.
        let read = std::mem::take(&mut metadata);
        metadata.0 = kept.iter().map(|(key, value)| (key.clone(), value.to_value())).collect();
        for key in ["GUID_AGE", "Banner"] {
            metadata.0.extend(read.0.get_key_value(key).map(|(key, value)| (key.clone(), value.clone())));
        }
    }
    Ok(metadata)
}

/// `$METADATA`, in a file that our writer made.
pub(crate) fn kept_metadata(node: &Node) -> Option<&[(String, Node)]> {
    node.get("producer")?.get(KEPT_METADATA)?.as_dict()
}

/// The typedefs of members, in a file that our writer made.
pub(crate) fn kept_typedefs(node: &Node) -> Option<&Node> {
    node.get("producer")?.get(KEPT_TYPEDEFS)
}

/// `$CONFIG`, in a file that our writer made.
pub(crate) fn kept_config(node: &Node) -> BTreeMap<String, String> {
    let kept = node.get("producer").and_then(|producer| producer.get(KEPT_CONFIG)).and_then(Node::as_dict);
    let option = |(name, value): &(String, Node)| Some((name.clone(), value.as_text()?.to_owned()));
    kept.unwrap_or_default().iter().filter_map(option).collect()
}

/// The symbol whose `constant_data` is the banner, and what ends the text there.
pub(crate) fn banner_symbol(os: Option<Os>) -> Option<(&'static str, &'static str)> {
    match os? {
        Os::Linux => Some(("linux_banner", "\n\0")),
        Os::Macos => Some(("version", "\0")),
        Os::Windows => None,
    }
}

/// The `constant_data` of a banner symbol.
pub(crate) fn banner_data(banner: &str, end: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(format!("{banner}{end}"))
}

/// "ntkrnlmp" -> "Ntkrnlmp", as Rekall names its classes.
fn capitalised(stem: &str) -> String {
    let mut letters = stem.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters.flat_map(char::to_lowercase)).collect())
        .unwrap_or_default()
}

/// The text of a symbol's `constant_data`, without the newline and NUL at its end.
pub(crate) fn text_of_constant(base64: &str) -> Option<String> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(base64).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    Some(text.trim_end_matches(['\0', '\n']).to_owned())
}

fn name_of(node: &Node) -> Result<&str, Error> {
    node.get("name").and_then(Node::as_text).ok_or_else(|| Error::corrupt("", "a type descriptor without a name"))
}

fn part<'a>(node: &'a Node, key: &str) -> Result<&'a Node, Error> {
    node.get(key).ok_or_else(|| Error::corrupt("", format!("a descriptor without `{key}`")))
}

fn number(node: &Node, key: &str) -> Result<u64, Error> {
    part(node, key)?.as_u64().ok_or_else(|| Error::corrupt("", format!("`{key}` is not a non-negative integer")))
}

/// A type descriptor.
pub(crate) fn type_from_node(node: &Node, tables: Tables<'_>) -> Result<Type, Error> {
    nested(node, tables, 0)
}

fn nested(node: &Node, tables: Tables<'_>, depth: u32) -> Result<Type, Error> {
    if depth > Type::MAX_DEPTH {
        return Err(Error::corrupt("", format!("a type nests more than {} others", Type::MAX_DEPTH)));
    }
    let kind = part(node, "kind")?.as_text().unwrap_or_default();
    let inner = |key: &str| part(node, key).and_then(|inner| nested(inner, tables, depth + 1)).map(Box::new);
    Ok(match kind {
        "base" => match name_of(node)? {
            "void" => Type::Void,
            WCHAR => Type::UnicodeString { length: None },
            name => Type::named(name),
        },
        "struct" | "union" | "class" => Type::named(name_of(node)?),
        "enum" => {
            let name = name_of(node)?;
            let base = (tables.enum_base)(name).filter(|base| base != "void").map_or(Type::Void, Type::Named);
            Type::Enum { name: name.to_owned(), base: Box::new(base) }
        }
        "pointer" => {
            let base = node.get("base").and_then(Node::as_text).and_then(|base| (tables.base_bytes)(base));
            Type::Pointer { target: inner("subtype")?, bytes: base.and_then(|bytes| u8::try_from(bytes).ok()) }
        }
        "array" => match (*inner("subtype")?, number(node, "count")?) {
            (Type::UnicodeString { length: None }, count) => Type::UnicodeString { length: Some(count) },
            (element, count) => Type::array_of(element, count),
        },
        "function" => Type::Function { args: vec![], ret: None },
        "bitfield" => {
            let start = number(node, "bit_position")?;
            let end = start
                .checked_add(number(node, "bit_length")?)
                .ok_or_else(|| Error::corrupt("", "a bit field past 2^64"))?;
            Type::BitField { start, end, target: inner("type")? }
        }
        _ => return Err(Error::unsupported("", format!("a type of kind `{kind}`"))),
    })
}

/// Calls `each` with the name and kind of every struct, union and class that a descriptor refers to.
pub(crate) fn references(node: &Node, each: &mut dyn FnMut(&str, StructKind)) {
    let kind = match node.get("kind").and_then(Node::as_text) {
        Some("union") => Some(StructKind::Union),
        Some("class") => Some(StructKind::Class),
        Some("struct") => Some(StructKind::Struct),
        _ => None,
    };
    if let (Some(kind), Ok(name)) = (kind, name_of(node)) {
        each(name, kind);
    }
    for inner in ["subtype", "type"].into_iter().filter_map(|key| node.get(key)) {
        references(inner, each);
    }
}

/// An item of `user_types`.
pub(crate) fn struct_from_node(node: &Node, tables: Tables<'_>) -> Result<Struct, Error> {
    let kind = match node.get("kind").and_then(Node::as_text) {
        Some("union") => StructKind::Union,
        Some("class") => StructKind::Class,
        _ => StructKind::Struct,
    };
    let mut s = Struct { size: number(node, "size")?, kind, ..Struct::default() };
    let fields = part(node, "fields")?.as_dict().ok_or_else(|| Error::corrupt("fields", "not an object"))?;
    for (name, field) in fields {
        let ty = part(field, "type").and_then(|ty| type_from_node(ty, tables)).map_err(|e| e.within(name))?;
        let offset = number(field, "offset").map_err(|e| e.within(name))?;
        let anonymous = field.get("anonymous") == Some(&Node::Bool(true));
        s.members.insert(name.clone(), Member { offset, ty, anonymous });
    }
    Ok(s)
}

/// An item of `enums`.
pub(crate) fn enum_from_node(node: &Node) -> Result<Enum, Error> {
    let constants = part(node, "constants")?.as_dict().ok_or_else(|| Error::corrupt("constants", "not an object"))?;
    let value = |(label, value): &(String, Node)| {
        value
            .as_i128()
            .map(|value| (label.clone(), value))
            .ok_or_else(|| Error::corrupt(label.as_str(), "not an integer"))
    };
    Ok(Enum {
        values: constants.iter().map(value).collect::<Result<_, _>>()?,
        base: node.get("base").and_then(Node::as_text).map(str::to_owned),
        size: node.get("size").and_then(Node::as_u64),
    })
}

/// An item of `symbols`. A negative address is the same 64 bits.
pub(crate) fn symbol_from_node(node: &Node, tables: Tables<'_>) -> Result<IsfSymbol, Error> {
    let address = match part(node, "address")? {
        Node::Number(number) => number.as_u64().or_else(|| number.as_i64().map(i64::cast_unsigned)),
        _ => None,
    };
    let text = |key| node.get(key).and_then(Node::as_text).map(str::to_owned);
    let ty = node.get("type").map(|ty| type_from_node(ty, tables)).transpose()?;
    let function = matches!(ty, Some(Type::Function { .. }));
    Ok(IsfSymbol {
        address: address.ok_or_else(|| Error::corrupt("address", "not an integer"))?,
        function,
        ty: ty.filter(|_| !function),
        linkage_name: text("linkage_name"),
        constant_data: text("constant_data"),
    })
}
