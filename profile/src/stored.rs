//! The form in which a repository keeps a profile, in three files that git can pack well.
//!
//! Builds of one module share their types, and their symbols differ by little but the addresses. So the types of a profile
//! are a file that is named by its content, the symbols are lines in the order of addresses with the distance to the one
//! before, and what is left (`$METADATA` and whatever else there is) is a small file of type "Stored" that names the two.
//! [`split`] and [`join`] are exact: the canonical text comes back byte for byte, or the profile is not split.

use crate::error::Error;
use crate::file::ProfileFile;
use crate::isf_section::TYPEDEFS;
use crate::json::{Node, Style, print};
use crate::json_writer::Writer;
use crate::span::Spans;
use crate::{MAX_PROFILE_BYTES, normalised_name};
use memchr::memmem;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;

/// `$METADATA.Type` of the small file.
pub const STORED: &str = "Stored";

/// The section of the small file that names the other two.
const SECTION: &str = "$STORED";
/// Sections that are types.
const TYPES: [&str; 3] = ["$ENUMS", "$REVENUMS", "$STRUCTS"];
/// What of `$ISF` is about types.
const ISF_TYPES: [&str; 6] = ["anonymous", "base_types", "classes", "enums", TYPEDEFS, "unions"];
/// The first line of a symbol file.
const HEADER: &str = "symbols by address 1";

/// A profile in its three files. Names are below the layout's folder, as a [`crate::ProfileSource`] is asked for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The small file, which is at the profile's own name.
    pub profile: String,
    /// Name and text of the types; the name is made of the text's SHA-256.
    pub types: (String, String),
    /// Name and text of the symbols.
    pub symbols: (String, String),
}

/// Splits the canonical text of the profile `name`. `None` when it has nothing to share, or would not come back byte for
/// byte: it is to be stored as it is.
///
/// # Errors
/// The text is no profile.
pub fn split(name: &str, canonical: &str) -> Result<Option<Stored>, Error> {
    // Beside a name at the top there is no folder for symbols: it would have the name itself.
    if !name.contains('/') {
        return Ok(None);
    }
    let root = Node::parse(canonical)?;
    let mut rest = root.as_dict().ok_or_else(|| Error::corrupt("", "not an object"))?.to_vec();
    let Some(symbols) = symbol_lines(&mut rest) else { return Ok(None) };
    let mut types = take(&mut rest, |section| TYPES.contains(&section));
    if let Some((_, Node::Dict(isf))) = rest.iter_mut().find(|(section, _)| section == "$ISF") {
        let of_types = take(isf, |key| ISF_TYPES.contains(&key));
        if !of_types.is_empty() {
            types.push(("$ISF".to_owned(), Node::Dict(of_types)));
        }
    }
    rest.retain(|(section, node)| section != "$ISF" || node.as_dict().is_none_or(|items| !items.is_empty()));
    if types.is_empty() {
        return Ok(None);
    }
    let types = print(&Node::Dict(types), Style::REWRITTEN);
    let digest = hex(&Sha256::digest(&types));
    let types_name = format!("types/{}/{digest}/types.json", digest.get(..2).unwrap_or_default());
    let symbols_name = symbols_name(name);
    let Some((_, Node::Dict(metadata))) = rest.iter_mut().find(|(section, _)| section == "$METADATA") else {
        return Ok(None);
    };
    let mut named = vec![
        ("bytes".to_owned(), Node::Number(canonical.len().into())),
        ("sha256".to_owned(), Node::text(hex(&Sha256::digest(canonical)))),
        ("symbols".to_owned(), Node::text(&symbols_name)),
        ("types".to_owned(), Node::text(&types_name)),
    ];
    let kind = take(metadata, |key| key == "Type");
    named.extend(kind.into_iter().map(|(_, kind)| ("type".to_owned(), kind)));
    metadata.push(("Type".to_owned(), Node::text(STORED)));
    rest.push((SECTION.to_owned(), Node::Dict(named)));
    let profile = print(&Node::Dict(rest), Style::REWRITTEN);
    let stored = Stored { profile, types: (types_name, types), symbols: (symbols_name, symbols) };
    let same = stored.join()? == canonical;
    Ok(same.then_some(stored))
}

impl Stored {
    /// The canonical text again.
    pub fn join(&self) -> Result<String, Error> {
        let names = Names::of(&self.profile)?;
        join_texts(&self.profile, &names, &self.types.1, &self.symbols.1)
    }
}

/// The canonical text of a profile whose small file is `profile`. `read` gives the bytes of another file of the same place
/// by its name.
///
/// # Errors
/// A file is missing or is not what it should be, or what `read` said.
pub fn join<E: From<Error>>(
    profile: &ProfileFile,
    read: impl Fn(&str) -> Result<Option<Vec<u8>>, E>,
) -> Result<String, E> {
    let place = |error: Error| error.within(profile.place());
    let names = Names::of(profile.text()).map_err(place)?;
    let text = |name: &str| {
        // The name is looked for as it is, but must be one.
        normalised_name(name).map_err(|why| place(Error::corrupt(SECTION, why.to_string())))?;
        let missing = || place(Error::corrupt(name, "is missing, and the profile is stored in it"));
        let bytes = read(name)?.ok_or_else(missing)?;
        String::from_utf8(bytes).map_err(|_| E::from(place(Error::corrupt(name, "not UTF-8 text"))))
    };
    let (types, symbols) = (text(&names.types)?, text(&names.symbols)?);
    Ok(join_texts(profile.text(), &names, &types, &symbols).map_err(place)?)
}

/// Whether `canonical` is what the small file was split from, by its SHA-256 and length.
pub fn is_whole(profile: &ProfileFile, canonical: &str) -> Result<bool, Error> {
    let (names, digest) = (Names::of(profile.text())?, Digest::of(canonical));
    Ok(names.sha256 == digest.sha256 && names.bytes.is_none_or(|bytes| bytes == digest.bytes))
}

/// Length and SHA-256 of a profile's canonical text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// Bytes.
    pub bytes: u64,
    /// 64 lower-case hexadecimal digits.
    pub sha256: String,
}

impl Digest {
    /// That of a text.
    pub fn of(canonical: &str) -> Self {
        Self::of_bytes(canonical.as_bytes())
    }

    /// That of a file that ought to be such a text.
    pub fn of_bytes(file: &[u8]) -> Self {
        Self { bytes: file.len() as u64, sha256: hex(&Sha256::digest(file)) }
    }
}

/// What the small file says of the canonical text, which is not joined for it; `None` when it does not tell its length, as
/// the first versions did not.
///
/// # Errors
/// It is no small file.
pub fn digest(profile: &ProfileFile) -> Result<Option<Digest>, Error> {
    let names = Names::of(profile.text())?;
    Ok(names.bytes.map(|bytes| Digest { bytes, sha256: names.sha256 }))
}

/// Names of a small file's types and symbols, for who keeps count of who uses them.
///
/// # Errors
/// It is no small file.
pub fn parts(profile: &ProfileFile) -> Result<[String; 2], Error> {
    let names = Names::of(profile.text())?;
    Ok([names.types, names.symbols])
}

/// What the small file says of the others.
struct Names {
    types: String,
    symbols: String,
    sha256: String,
    /// Length of the canonical text.
    bytes: Option<u64>,
    /// `$METADATA.Type` of the profile.
    kind: Option<String>,
}

impl Names {
    fn of(text: &str) -> Result<Self, Error> {
        let section = Spans::of(text, 0..text.len())?.get(text, SECTION).and_then(|span| text.get(span));
        let section = section.ok_or_else(|| Error::corrupt(SECTION, "missing in a profile of type Stored"))?;
        let section = Node::parse(section)?;
        let name = |key: &str| section.get(key).and_then(Node::as_text).map(str::to_owned);
        let needed = |key: &str| name(key).ok_or_else(|| Error::corrupt(SECTION, format!("has no `{key}`")));
        Ok(Self {
            types: needed("types")?,
            symbols: needed("symbols")?,
            sha256: needed("sha256")?,
            bytes: section.get("bytes").and_then(Node::as_u64),
            kind: name("type"),
        })
    }
}

/// Takes the items whose key is wanted out of a dict.
fn take(items: &mut Vec<(String, Node)>, wanted: impl Fn(&str) -> bool) -> Vec<(String, Node)> {
    let (taken, left) = std::mem::take(items).into_iter().partition(|(key, _)| wanted(key));
    *items = left;
    taken
}

/// Where the symbols of a profile are: beside its module's profiles, in a folder of its own that ends as its name does.
/// The files' paths end alike, because git looks for similar files among those whose paths end alike.
fn symbols_name(name: &str) -> String {
    let (module, leaf) = match name.rsplit_once("/GUID/") {
        Some((module, guid)) => (module, guid.to_owned()),
        None => (name.split('/').next().unwrap_or_default(), hex(&Sha256::digest(name))),
    };
    format!("{module}/symbols/{}/{leaf}/symbols-by-address.txt", leaf.get(..2).unwrap_or_default())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// One line: distance to the line before (hexadecimal), `+` for a function and `=` for data, name; where they are known,
/// the type (JSON) and the linkage name, all separated by tabs.
fn symbol_lines(rest: &mut Vec<(String, Node)>) -> Option<String> {
    let mut linkage = BTreeMap::new();
    let mut types = BTreeMap::new();
    let mut symbols: Vec<(u64, char, &str)> = Vec::new();
    for (section, node) in rest.iter() {
        let items = node.as_dict().unwrap_or_default();
        match section.as_str() {
            "$CONSTANTS" | "$FUNCTIONS" => {
                let kind = if section == "$FUNCTIONS" { '+' } else { '=' };
                for (name, address) in items {
                    symbols.push((address.as_u64()?, kind, name));
                }
            }
            "$CONSTANT_TYPES" => types.extend(items.iter().map(|(name, ty)| (name.as_str(), ty))),
            "$ISF" => {
                let names = node.get("linkage_names").and_then(Node::as_dict).unwrap_or_default();
                for (name, text) in names {
                    linkage.insert(name.as_str(), text.as_text()?);
                }
            }
            _ => {}
        }
    }
    if symbols.is_empty() {
        return None;
    }
    symbols.sort_unstable();
    let mut lines = String::from(HEADER);
    let mut before = 0;
    let (mut typed, mut linked) = (0, 0);
    for (address, kind, name) in symbols {
        let _ = write!(lines, "\n{:x}{kind}{}", address - before, plain(name)?);
        before = address;
        let ty = types.get(name).filter(|_| kind == '=');
        let linkage = linkage.get(name);
        if ty.is_some() || linkage.is_some() {
            typed += usize::from(ty.is_some());
            linked += usize::from(linkage.is_some());
            let ty = ty.map_or(Ok(String::new()), |ty| serde_json::to_string(&ty.to_value())).ok()?;
            let _ = write!(lines, "\t{ty}");
        }
        if let Some(linkage) = linkage {
            let _ = write!(lines, "\t{}", plain(linkage)?);
        }
    }
    // What is said of names that are no symbols, or of a name that is data and function, has no line.
    if typed != types.len() || linked != linkage.len() {
        return None;
    }
    lines.push('\n');
    rest.retain(|(section, node)| {
        let ours = matches!(section.as_str(), "$CONSTANTS" | "$FUNCTIONS" | "$CONSTANT_TYPES");
        !ours || node.as_dict().is_none_or(<[_]>::is_empty)
    });
    if let Some((_, Node::Dict(isf))) = rest.iter_mut().find(|(section, _)| section == "$ISF") {
        isf.retain(|(key, node)| key != "linkage_names" || node.as_dict().is_none_or(<[_]>::is_empty));
    }
    Some(lines)
}

/// A name that can stand in a line.
fn plain(name: &str) -> Option<&str> {
    (!name.contains(['\t', '\n', '\r'])).then_some(name)
}

/// A symbol as its line says.
struct Line<'t> {
    name: &'t str,
    address: u64,
    ty: &'t str,
    linkage: &'t str,
}

/// The lines of a symbol file after its first.
fn symbol_file(text: &str) -> Result<std::str::Lines<'_>, Error> {
    let mut lines = text.lines();
    if lines.next() != Some(HEADER) {
        return Err(Error::corrupt("", format!("a symbol file begins with `{HEADER}`")));
    }
    Ok(lines)
}

/// Data and functions, each sorted by name.
fn read_lines(text: &str) -> Result<(Vec<Line<'_>>, Vec<Line<'_>>), Error> {
    let lines = symbol_file(text)?;
    let (mut data, mut functions) = (Vec::new(), Vec::new());
    let mut address: u64 = 0;
    for (number, line) in lines.enumerate() {
        let rest = step(&mut address, number, line)?;
        let mut columns = rest.get(1..).unwrap_or_default().splitn(3, '\t');
        let mut column = || columns.next().unwrap_or_default();
        let line = Line { name: column(), address, ty: column(), linkage: column() };
        if rest.starts_with('+') { functions.push(line) } else { data.push(line) }
    }
    data.sort_unstable_by_key(|line| line.name);
    functions.sort_unstable_by_key(|line| line.name);
    Ok((data, functions))
}

/// Adds the distance of a line to the address of the one before; gives what follows the distance.
fn step<'t>(address: &mut u64, number: usize, line: &'t str) -> Result<&'t str, Error> {
    let bad = || Error::corrupt(format!("line {}", number + 2), "is not DISTANCE, `=` or `+`, NAME");
    let at = line.find(['=', '+']).ok_or_else(bad)?;
    let (distance, rest) = line.split_at(at);
    let distance = u64::from_str_radix(distance, 16).map_err(|_| bad())?;
    *address = address.checked_add(distance).ok_or_else(bad)?;
    Ok(rest)
}

/// The address of the last line of a symbol file that is cut there.
fn address_of_last(text: &str) -> Result<u64, Error> {
    let mut address = 0;
    for (number, line) in symbol_file(text)?.enumerate() {
        step(&mut address, number, line)?;
    }
    Ok(address)
}

/// The number that a symbol file has for the symbol of this name, data before functions; no other line is read for it than
/// those before. [`ProfileFile::full_address`] of the small file makes it an address.
///
/// # Errors
/// A line before it is damaged.
pub fn symbol(text: &str, name: &str) -> Result<Option<u64>, Error> {
    let is_hex = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_hexdigit());
    let mut function = None;
    for at in memmem::find_iter(text.as_bytes(), name.as_bytes()) {
        let end = at + name.len();
        let (Some(before), Some(rest)) = (text.get(..at), text.get(end..)) else { continue };
        let is_data = before.ends_with('=');
        let Some(before) = before.strip_suffix(['=', '+']) else { continue };
        let distance = before.rsplit('\n').next().unwrap_or_default();
        if !(rest.is_empty() || rest.starts_with(['\t', '\n'])) || !is_hex(distance) {
            continue;
        }
        if is_data {
            return address_of_last(text.get(..end).unwrap_or_default()).map(Some);
        }
        function.get_or_insert(end);
    }
    function.map(|end| address_of_last(text.get(..end).unwrap_or_default())).transpose()
}

/// A part of the text that is joined.
enum Part<'t> {
    /// As one of the files has it.
    Text(&'t str),
    Tree(Node),
    Addresses(&'t [Line<'t>]),
    Types(Vec<(&'t str, Node)>),
    LinkageNames(Vec<&'t Line<'t>>),
    Dict(BTreeMap<String, Part<'t>>),
}

impl Part<'_> {
    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Text(text) => writer.laid_out(text),
            Self::Tree(node) => writer.node_in(Style::REWRITTEN, node),
            Self::Addresses(lines) => writer.dict(|items| {
                for line in *lines {
                    items.item(line.name, |writer| writer.number(line.address));
                }
            }),
            Self::Types(types) => writer.dict(|items| {
                for (name, ty) in types {
                    items.item(name, |writer| writer.node_in(Style::REWRITTEN, ty));
                }
            }),
            Self::LinkageNames(lines) => writer.dict(|items| {
                for line in lines {
                    items.item(line.name, |writer| writer.text(line.linkage));
                }
            }),
            Self::Dict(parts) => writer.dict(|items| {
                for (key, part) in parts {
                    items.item(key, |writer| part.write(writer));
                }
            }),
        }
    }
}

/// Lays the sections together, in order, as the canonical text has them.
fn join_texts(profile: &str, names: &Names, types: &str, symbols: &str) -> Result<String, Error> {
    let own = Spans::of(profile, 0..profile.len())?;
    let shared = Spans::of(types, 0..types.len()).map_err(|error| error.within(&names.types))?;
    let mut sections = BTreeMap::new();
    let mut isf = BTreeMap::new();
    for (text, spans) in [(types, &shared), (profile, &own)] {
        for (section, span) in spans.iter(text) {
            match section {
                SECTION => {}
                "$ISF" => {
                    let part = |span| Part::Text(text.get::<Range<usize>>(span).unwrap_or_default());
                    let items = Spans::of(text, span)?;
                    isf.extend(items.iter(text).map(|(key, span)| (key.to_owned(), part(span))));
                }
                _ => {
                    let body = text.get(span).unwrap_or_default();
                    let part =
                        if section == "$METADATA" { Part::Tree(metadata(body, names)?) } else { Part::Text(body) };
                    sections.insert(section.to_owned(), part);
                }
            }
        }
    }
    let (data, functions) = read_lines(symbols).map_err(|error| error.within(&names.symbols))?;
    let mut linked: Vec<&Line<'_>> = data.iter().chain(&functions).filter(|line| !line.linkage.is_empty()).collect();
    linked.sort_unstable_by_key(|line| line.name);
    let mut typed = Vec::new();
    for line in data.iter().filter(|line| !line.ty.is_empty()) {
        let ty = Node::parse(line.ty).map_err(|error| error.within(line.name).within(&names.symbols))?;
        typed.push((line.name, ty));
    }
    if !linked.is_empty() {
        isf.insert("linkage_names".to_owned(), Part::LinkageNames(linked));
    }
    let parts = [
        ("$ISF", isf.is_empty(), Part::Dict(isf)),
        ("$CONSTANT_TYPES", typed.is_empty(), Part::Types(typed)),
        ("$CONSTANTS", data.is_empty(), Part::Addresses(&data)),
        ("$FUNCTIONS", functions.is_empty(), Part::Addresses(&functions)),
    ];
    let parts = parts.into_iter().filter(|(_, is_empty, _)| !is_empty);
    sections.extend(parts.map(|(section, _, part)| (section.to_owned(), part)));
    let mut writer = Writer::default();
    Part::Dict(sections).write(&mut writer);
    let text = writer.finish();
    if text.len() as u64 > MAX_PROFILE_BYTES {
        return Err(Error::unsupported("", format!("more than {} MiB together", MAX_PROFILE_BYTES >> 20)));
    }
    Ok(text)
}

/// The profile's own `$METADATA`, from that of the small file.
fn metadata(body: &str, names: &Names) -> Result<Node, Error> {
    let Node::Dict(mut items) = Node::parse(body)? else {
        return Err(Error::corrupt("$METADATA", "not an object"));
    };
    items.retain(|(key, _)| key != "Type");
    items.extend(names.kind.as_deref().map(|kind| ("Type".to_owned(), Node::text(kind))));
    Ok(Node::Dict(items))
}
