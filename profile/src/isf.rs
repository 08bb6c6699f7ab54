//! ISF, the profile format of Volatility 3, read into the same model.
//!
//! Source of the format: Volatility 3's `schemas/schema-6.2.0.json`. Versions 4 to 6 differ in nothing that is read here.

use crate::error::Error;
use crate::ids::GuidAge;
use crate::json::Node;
use crate::model::{Arch, Enum, Member, Metadata, Struct, StructKind, Type};
use base64::Engine;

/// A symbol as ISF has it.
#[derive(Debug)]
pub(crate) struct IsfSymbol {
    pub(crate) address: u64,
    pub(crate) ty: Option<Type>,
    pub(crate) linkage_name: Option<String>,
    pub(crate) constant_data: Option<String>,
}

/// Tells the integer type that holds an enum.
pub(crate) type EnumBase<'a> = &'a dyn Fn(&str) -> Option<String>;

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
    Ok(metadata)
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
pub(crate) fn type_from_node(node: &Node, enum_base: EnumBase<'_>) -> Result<Type, Error> {
    let kind = part(node, "kind")?.as_text().unwrap_or_default();
    let inner = |key: &str| part(node, key).and_then(|inner| type_from_node(inner, enum_base)).map(Box::new);
    Ok(match kind {
        "base" => match name_of(node)? {
            "void" => Type::Void,
            name => Type::named(name),
        },
        "struct" | "union" | "class" => Type::named(name_of(node)?),
        "enum" => {
            let name = name_of(node)?;
            let base = enum_base(name).map_or(Type::Void, Type::Named);
            Type::Enum { name: name.to_owned(), base: Box::new(base) }
        }
        "pointer" => Type::Pointer { target: inner("subtype")?, bytes: None },
        "array" => Type::Array { target: inner("subtype")?, count: number(node, "count")? },
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

/// An item of `user_types`.
pub(crate) fn struct_from_node(node: &Node, enum_base: EnumBase<'_>) -> Result<Struct, Error> {
    let kind = match node.get("kind").and_then(Node::as_text) {
        Some("union") => StructKind::Union,
        Some("class") => StructKind::Class,
        _ => StructKind::Struct,
    };
    let mut s = Struct { size: number(node, "size")?, kind, ..Struct::default() };
    let fields = part(node, "fields")?.as_dict().ok_or_else(|| Error::corrupt("fields", "not an object"))?;
    for (name, field) in fields {
        let ty = part(field, "type").and_then(|ty| type_from_node(ty, enum_base)).map_err(|e| e.within(name))?;
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
pub(crate) fn symbol_from_node(node: &Node, enum_base: EnumBase<'_>) -> Result<IsfSymbol, Error> {
    let address = match part(node, "address")? {
        Node::Number(number) => number.as_u64().or_else(|| number.as_i64().map(i64::cast_unsigned)),
        _ => None,
    };
    let text = |key| node.get(key).and_then(Node::as_text).map(str::to_owned);
    Ok(IsfSymbol {
        address: address.ok_or_else(|| Error::corrupt("address", "not an integer"))?,
        ty: node.get("type").map(|ty| type_from_node(ty, enum_base)).transpose()?,
        linkage_name: text("linkage_name"),
        constant_data: text("constant_data"),
    })
}
