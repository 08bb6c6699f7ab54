//! An opened profile file, of which only what is asked for is decoded.

use crate::compress::decompress;
use crate::error::Error;
use crate::isf;
use crate::isf_section::{self, IsfSection};
use crate::json::Node;
use crate::model::{Arch, BaseType, Enum, Metadata, Profile, Struct, StructKind, Symbol, Type};
use crate::native::native_type;
use crate::rekall;
use crate::source::read_limited;
use crate::span::Spans;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

/// What a profile file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Rekall JSON: sections that begin with `$`.
    Rekall,
    /// Volatility 3's ISF.
    Isf,
}

/// An opened profile file. Opening finds the sections; a struct, an enum or a symbol is decoded when it is asked for.
#[derive(Debug)]
pub struct ProfileFile {
    place: String,
    text: String,
    format: Format,
    metadata: Metadata,
    sections: Spans,
    items: [OnceLock<Result<Spans, Error>>; SECTIONS],
    extra: OnceLock<Result<IsfSection, Error>>,
}

/// Sections whose items are looked up one by one. The name in Rekall JSON and in ISF.
#[derive(Clone, Copy)]
enum Section {
    Structs,
    Enums,
    Revenums,
    Constants,
    Functions,
    ConstantTypes,
    Config,
}

const SECTIONS: usize = 7;

impl Section {
    fn name(self, format: Format) -> &'static str {
        match (self, format) {
            (Self::Structs, Format::Rekall) => "$STRUCTS",
            (Self::Structs, Format::Isf) => "user_types",
            (Self::Enums, Format::Rekall) => "$ENUMS",
            (Self::Enums, Format::Isf) => "enums",
            (Self::Constants, Format::Rekall) => "$CONSTANTS",
            (Self::Constants, Format::Isf) => "symbols",
            (Self::Revenums, _) => "$REVENUMS",
            (Self::Functions, _) => "$FUNCTIONS",
            (Self::ConstantTypes, _) => "$CONSTANT_TYPES",
            (Self::Config, _) => "$CONFIG",
        }
    }
}

impl ProfileFile {
    /// Opens the bytes of a profile file: Rekall JSON or ISF, plain or compressed by gzip, xz or zstd. `place` names them
    /// in errors.
    pub fn parse(place: &str, bytes: &[u8]) -> Result<Self, Error> {
        let plain = decompress(place, bytes)?;
        let text = String::from_utf8(plain.into_owned())
            .map_err(|_| Error::corrupt(place, "not a profile: not UTF-8 text"))?;
        Self::from_text(place, text).map_err(|e| e.within(place))
    }

    /// Opens a profile file by path.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let place = path.display().to_string();
        Self::parse(&place, &read_limited(path)?)
    }

    /// The file that `profile` is written as.
    pub fn from_profile(profile: &Profile) -> Result<Self, Error> {
        Self::from_text("", profile.to_rekall())
    }

    pub(crate) fn from_text(place: &str, text: String) -> Result<Self, Error> {
        let start = text.trim_start();
        if start.starts_with('<') {
            return Err(Error::corrupt("", "not a profile: an HTML or XML page"));
        }
        let sections =
            Spans::of(&text, 0..text.len()).map_err(|e| Error::corrupt("", format!("not a profile: {e}")))?;
        let format = if sections.iter(&text).any(|(key, _)| key.starts_with('$')) {
            Format::Rekall
        } else if ["metadata", "user_types", "symbols"].iter().all(|key| sections.get(&text, key).is_some()) {
            Format::Isf
        } else {
            return Err(Error::corrupt("", "not a profile: neither Rekall JSON (sections begin with `$`) nor ISF"));
        };
        let mut file = Self {
            place: place.to_owned(),
            text,
            format,
            metadata: Metadata::default(),
            sections,
            items: Default::default(),
            extra: OnceLock::new(),
        };
        file.metadata = match format {
            Format::Rekall => match file.node("$METADATA")? {
                Some(node) => rekall::metadata_from_node(&node)?,
                None => Metadata::default(),
            },
            Format::Isf => file.isf_metadata()?,
        };
        Ok(file)
    }

    /// Where it was read from.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What it is written in.
    pub fn format(&self) -> Format {
        self.format
    }

    /// What it is about.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The plain text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The struct, union or class of this name.
    pub fn structure(&self, name: &str) -> Result<Option<Struct>, Error> {
        let Some(node) = self.item(Section::Structs, name)? else { return Ok(None) };
        let place = |e: Error| self.locate(Section::Structs, name, e);
        match self.format {
            Format::Rekall => {
                let extra = self.extra()?;
                let mut s = rekall::struct_from_node(&node, &extra.names).map_err(place)?;
                extra.complete_struct(name, &mut s);
                Ok(Some(s))
            }
            Format::Isf => {
                let mut s = self.with_tables(|tables| isf::struct_from_node(&node, tables)).map_err(place)?;
                self.extra()?.complete_struct(name, &mut s);
                Ok(Some(s))
            }
        }
    }

    /// The names of all structs, sorted.
    pub fn struct_names(&self) -> Result<Vec<&str>, Error> {
        Ok(self.spans(Section::Structs)?.iter(&self.text).map(|(name, _)| name).collect())
    }

    /// The names of all enums, sorted.
    pub fn enum_names(&self) -> Result<Vec<&str>, Error> {
        let mut names = Vec::new();
        for section in [Section::Enums, Section::Revenums] {
            names.extend(self.spans(section)?.iter(&self.text).map(|(name, _)| name));
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// The enum of this name.
    pub fn enumeration(&self, name: &str) -> Result<Option<Enum>, Error> {
        let place = |e: Error| self.locate(Section::Enums, name, e);
        let node = self.item(Section::Enums, name)?;
        match self.format {
            Format::Isf => node.map(|node| isf::enum_from_node(&node).map_err(place)).transpose(),
            Format::Rekall => {
                let labels = self.item(Section::Revenums, name)?;
                if node.is_none() && labels.is_none() && !self.extra()?.enums.contains_key(name) {
                    return Ok(None);
                }
                let mut e =
                    node.map(|node| rekall::enum_from_node(&node).map_err(place)).transpose()?.unwrap_or_default();
                if let Some(labels) = labels {
                    rekall::merge_labels(&mut e, &labels).map_err(|e| self.locate(Section::Revenums, name, e))?;
                }
                self.extra()?.complete_enum(name, &mut e);
                Ok(Some(e))
            }
        }
    }

    /// The symbol of this name: data first, then functions.
    pub fn symbol(&self, name: &str) -> Result<Option<Symbol>, Error> {
        for (section, function) in [(Section::Constants, false), (Section::Functions, true)] {
            let Some(node) = self.item(section, name)? else { continue };
            let symbol = match self.format {
                Format::Rekall => self.stored_address(name, &node).map(|address| Symbol { address, function }),
                Format::Isf => isf::symbol_from_node(&node, isf::NO_TABLES)
                    .map(|symbol| Symbol { address: symbol.address, function: symbol.function }),
            };
            return symbol.map(Some).map_err(|e| self.locate(section, name, e));
        }
        Ok(None)
    }

    /// The names of all symbols, data before functions.
    pub fn symbol_names(&self) -> Result<Vec<&str>, Error> {
        let mut names = Vec::new();
        for section in [Section::Constants, Section::Functions] {
            names.extend(self.spans(section)?.iter(&self.text).map(|(name, _)| name));
        }
        Ok(names)
    }

    /// The name that the symbol `name` has in the binary, where that is another one.
    pub fn linkage_name(&self, name: &str) -> Result<Option<String>, Error> {
        if self.format == Format::Rekall {
            return Ok(self.extra()?.extra.linkage_names.get(name).cloned());
        }
        let Some(node) = self.item(Section::Constants, name)? else { return Ok(None) };
        let symbol = isf::symbol_from_node(&node, isf::NO_TABLES);
        symbol.map(|symbol| symbol.linkage_name).map_err(|e| self.locate(Section::Constants, name, e))
    }

    fn stored_address(&self, name: &str, node: &Node) -> Result<u64, Error> {
        let stored = node.as_u64().ok_or_else(|| Error::corrupt("", "the address is not an integer of 64 bits"))?;
        self.full_address(name, stored)
    }

    /// The address of the symbol that Rekall's form gives this number: of x86-64 Linux it keeps 48 bits.
    pub fn full_address(&self, name: &str, stored: u64) -> Result<u64, Error> {
        if self.format != Format::Rekall || !rekall::is_masked(&self.metadata) {
            return Ok(stored);
        }
        Ok(self.extra()?.addresses.get(name).copied().unwrap_or_else(|| rekall::unmask(stored)))
    }

    /// The type of a data symbol, where the profile tells it.
    pub fn constant_type(&self, name: &str) -> Result<Option<Type>, Error> {
        let section = if self.format == Format::Isf { Section::Constants } else { Section::ConstantTypes };
        let Some(node) = self.item(section, name)? else { return Ok(None) };
        match self.format {
            Format::Rekall => rekall::type_from_node(&node, &self.extra()?.names).map(Some),
            Format::Isf => self.with_tables(|tables| isf::symbol_from_node(&node, tables)).map(|symbol| symbol.ty),
        }
        .map_err(|e| self.locate(section, name, e))
    }

    /// A Linux Kconfig option ("CONFIG_X86_5LEVEL"), without quotes.
    pub fn config(&self, option: &str) -> Result<Option<String>, Error> {
        Ok(match self.format {
            Format::Rekall => self.item(Section::Config, option)?.and_then(|node| node.as_text().map(str::to_owned)),
            Format::Isf => self.isf_config()?.remove(option),
        })
    }

    /// A native type: as the profile tells it, else by the names that compilers use and the data model of the
    /// profile's architecture (`long` has 4 bytes on Windows and on 32-bit machines, else 8). `None` for other names.
    pub fn base_type(&self, name: &str) -> Result<Option<BaseType>, Error> {
        let told = match self.format {
            Format::Rekall => self.extra()?.base_types.get(name).cloned(),
            Format::Isf => match self.node("base_types")?.as_ref().and_then(|table| table.get(name)) {
                Some(node) => Some(
                    isf_section::base_type_from_node(node).map_err(|e| e.within("base_types").within(&self.place))?,
                ),
                None => None,
            },
        };
        Ok(told.or_else(|| native_type(name, self.pointer_bytes(), self.metadata.os())))
    }

    /// Size of a pointer, in bytes; 8 where the profile does not tell its architecture.
    pub fn pointer_bytes(&self) -> u64 {
        self.metadata.arch().map_or(8, Arch::pointer_bytes)
    }

    /// Size of a type in bytes; `None` where the profile does not tell (a function, an unknown name or class).
    pub fn size_of(&self, ty: &Type) -> Result<Option<u64>, Error> {
        Ok(match ty {
            Type::Void | Type::Function { .. } | Type::Other { .. } => None,
            Type::Pointer { bytes, .. } => Some(bytes.map_or(self.pointer_bytes(), u64::from)),
            Type::Array { target, count } => self.size_of(target)?.and_then(|size| size.checked_mul(*count)),
            Type::BitField { target, .. } => self.size_of(target)?,
            Type::Enum { name, base } => match self.enumeration(name)?.and_then(|e| e.size) {
                Some(size) => Some(size),
                None => self.size_of(base)?,
            },
            Type::UnicodeString { length } => length.unwrap_or(1).checked_mul(2),
            Type::Named(name) => match self.base_type(name)? {
                Some(base) => Some(base.size),
                None => self.structure(name)?.map(|s| s.size),
            },
        })
    }

    /// The complete model.
    pub fn decode(&self) -> Result<Profile, Error> {
        let decoded = match self.format {
            Format::Rekall => Node::parse(&self.text).and_then(|root| Profile::from_node(&root)),
            Format::Isf => self.decode_isf(),
        };
        decoded.map_err(|e| e.within(&self.place))
    }

    /// The canonical Rekall text: a Rekall file laid out anew (a file of Rekall's own writers byte for byte), an ISF file
    /// converted.
    pub fn canonical(&self) -> Result<String, Error> {
        match self.format {
            Format::Rekall => rekall::canonical_json(&self.text).map_err(|e| e.within(&self.place)),
            Format::Isf => Ok(self.decode()?.to_rekall()),
        }
    }

    /// [`ProfileFile::canonical`], with a banner recorded in `$METADATA`. A Rekall file keeps its layout in all else.
    pub fn canonical_with_banner(&self, banner: &str) -> Result<String, Error> {
        match self.format {
            Format::Rekall => {
                rekall::canonical_with_metadata(&self.text, "Banner", banner).map_err(|e| e.within(&self.place))
            }
            Format::Isf => {
                let mut profile = self.decode()?;
                profile.metadata.set("Banner", banner);
                Ok(profile.to_rekall())
            }
        }
    }

    fn spans(&self, section: Section) -> Result<&Spans, Error> {
        let name = section.name(self.format);
        let read = || match self.sections.get(&self.text, name) {
            Some(span) => Spans::of(&self.text, span).map_err(|e| e.within(name).within(&self.place)),
            None => Ok(Spans::default()),
        };
        // The index is the enum's own discriminant, and the array has one place for each.
        self.items[section as usize].get_or_init(read).as_ref().map_err(Clone::clone)
    }

    fn item(&self, section: Section, key: &str) -> Result<Option<Node>, Error> {
        let span = self.spans(section)?.get(&self.text, key);
        span.map(|span| self.parse_span(span).map_err(|e| self.locate(section, key, e))).transpose()
    }

    /// A whole section.
    fn node(&self, section: &str) -> Result<Option<Node>, Error> {
        let span = self.sections.get(&self.text, section);
        span.map(|span| self.parse_span(span).map_err(|e| e.within(section))).transpose()
    }

    fn parse_span(&self, span: Range<usize>) -> Result<Node, Error> {
        Node::parse(self.text.get(span).unwrap_or_default())
    }

    fn locate(&self, section: Section, key: &str, error: Error) -> Error {
        error.within(key).within(section.name(self.format)).within(&self.place)
    }

    fn extra(&self) -> Result<&IsfSection, Error> {
        let of_rekall = || match self.node("$ISF")? {
            Some(node) => IsfSection::read(&node).map_err(|e| e.within("$ISF").within(&self.place)),
            None => Ok(IsfSection::default()),
        };
        let read = || match self.format {
            Format::Rekall => of_rekall(),
            // What our writer keeps there for want of a place of its own.
            Format::Isf => match self.node("metadata")?.as_ref().and_then(isf::kept_typedefs) {
                Some(node) => IsfSection::of_typedefs(node).map_err(|e| e.within("metadata").within(&self.place)),
                None => Ok(IsfSection::default()),
            },
        };
        self.extra.get_or_init(read).as_ref().map_err(Clone::clone)
    }

    fn enum_base(&self, name: &str) -> Option<String> {
        let node = self.item(Section::Enums, name).ok()??;
        node.get("base")?.as_text().map(str::to_owned)
    }

    /// Reads a part of an ISF file that refers to others by name.
    fn with_tables<T>(&self, read: impl FnOnce(isf::Tables<'_>) -> T) -> T {
        let enum_base = |name: &str| self.enum_base(name);
        let base_bytes = |name: &str| self.base_type(name).ok().flatten().map(|base| base.size);
        read(isf::Tables { enum_base: &enum_base, base_bytes: &base_bytes })
    }

    fn isf_config(&self) -> Result<BTreeMap<String, String>, Error> {
        Ok(self.node("metadata")?.as_ref().map(isf::kept_config).unwrap_or_default())
    }

    fn isf_metadata(&self) -> Result<Metadata, Error> {
        let node = self.node("metadata")?.unwrap_or(Node::Null);
        let (mut banner, mut arch) = (None, None);
        if node.get("windows").is_none() {
            // The schema has no place for the architecture; these symbols exist on one alone.
            let only_on = [
                ("x86_64_start_kernel", Arch::Amd64),
                ("kimage_voffset", Arch::Arm64),
                ("i386_start_kernel", Arch::I386),
            ];
            let spans = self.spans(Section::Constants)?;
            arch = only_on.iter().find(|(symbol, _)| spans.get(&self.text, symbol).is_some()).map(|(_, arch)| *arch);
            let symbol = if node.get("mac").is_some() { "version" } else { "linux_banner" };
            if let Some(node) = self.item(Section::Constants, symbol)? {
                let data = isf::symbol_from_node(&node, isf::NO_TABLES)
                    .map_err(|e| self.locate(Section::Constants, symbol, e))?;
                banner = data.constant_data.as_deref().and_then(isf::text_of_constant);
            }
        }
        isf::metadata(&node, banner, arch)
    }

    fn decode_isf(&self) -> Result<Profile, Error> {
        let (metadata, config) = (self.metadata.clone(), self.isf_config()?);
        let mut profile = Profile { metadata, config, ..Profile::default() };
        for (name, node) in self.node("base_types")?.as_ref().and_then(Node::as_dict).unwrap_or_default() {
            let base = isf_section::base_type_from_node(node).map_err(|e| e.within(name).within("base_types"))?;
            profile.base_types.insert(name.clone(), base);
        }
        for (name, span) in self.spans(Section::Enums)?.iter(&self.text) {
            let e = self
                .parse_span(span)
                .and_then(|node| isf::enum_from_node(&node))
                .map_err(|e| e.within(name).within("enums"))?;
            profile.enums.insert(name.to_owned(), e);
        }
        let (enums, base_types) = (&profile.enums, &profile.base_types);
        let enum_base = |name: &str| enums.get(name).and_then(|e| e.base.clone());
        let base_bytes = |name: &str| base_types.get(name).map(|base| base.size);
        let tables = isf::Tables { enum_base: &enum_base, base_bytes: &base_bytes };
        let extra = self.extra()?;
        let mut kinds = BTreeMap::new();
        let mut referred = |name: &str, kind| {
            if kind != StructKind::Struct {
                kinds.insert(name.to_owned(), kind);
            }
        };
        for (name, span) in self.spans(Section::Structs)?.iter(&self.text) {
            let s = self.parse_span(span).and_then(|node| {
                for (_, field) in node.get("fields").and_then(Node::as_dict).unwrap_or_default() {
                    field.get("type").into_iter().for_each(|ty| isf::references(ty, &mut referred));
                }
                isf::struct_from_node(&node, tables)
            });
            let mut s = s.map_err(|e| e.within(name).within("user_types"))?;
            extra.complete_struct(name, &mut s);
            profile.structs.insert(name.to_owned(), s);
        }
        let banner = isf::banner_symbol(self.metadata.os()).zip(self.metadata.banner());
        let banner = banner.map(|((symbol, end), text)| (symbol, isf::banner_data(text, end)));
        for (name, span) in self.spans(Section::Constants)?.iter(&self.text) {
            let symbol = self.parse_span(span).and_then(|node| {
                node.get("type").into_iter().for_each(|ty| isf::references(ty, &mut referred));
                isf::symbol_from_node(&node, tables)
            });
            let symbol = symbol.map_err(|e| e.within(name).within("symbols"))?;
            let table = if symbol.function { &mut profile.functions } else { &mut profile.constants };
            table.insert(name.to_owned(), symbol.address);
            profile.constant_types.extend(symbol.ty.map(|ty| (name.to_owned(), ty)));
            profile.isf.linkage_names.extend(symbol.linkage_name.map(|linkage| (name.to_owned(), linkage)));
            // $METADATA has the text of the banner.
            let data = symbol
                .constant_data
                .filter(|data| !banner.as_ref().is_some_and(|(symbol, banner)| *symbol == name && banner == data));
            profile.isf.constant_data.extend(data.map(|data| (name.to_owned(), data)));
        }
        kinds.retain(|name, _| !profile.structs.contains_key(name));
        profile.isf.declared = kinds;
        let metadata = self.node("metadata")?.filter(|node| isf::kept_metadata(node).is_none());
        profile.isf.metadata = metadata.map(|node| node.to_value());
        Ok(profile)
    }
}
