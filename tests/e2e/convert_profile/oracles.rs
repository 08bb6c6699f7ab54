//! Struct layouts in one form, from our profile and from those who say whether it is right.

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::Command;

/// A struct's size in bytes and its named members, those of members without a name included: by path, the first bit
/// and, of bit fields, the number of bits; with the type where the oracle tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// `None` where the oracle does not tell it: pahole prints no size of a union.
    pub(crate) bytes: Option<u64>,
    pub(crate) members: BTreeMap<String, (u64, u64, String)>,
}

impl Layout {
    /// Whether it is what the oracle says, as far as that says it.
    pub(crate) fn agrees(&self, truth: &Self) -> bool {
        self.members == truth.members && (truth.bytes.is_none() || self.bytes == truth.bytes)
    }

    /// The lines that differ.
    pub(crate) fn difference(&self, other: &Self) -> String {
        let lines = |layout: &Self| {
            let members = layout.members.iter().map(|(path, member)| format!("{path} {member:?}"));
            std::iter::once(format!("size {:?}", layout.bytes)).chain(members).collect::<Vec<_>>()
        };
        let (ours, theirs) = (lines(self), lines(other));
        let only = |a: &[String], b: &[String], sign| {
            a.iter()
                .filter(|line| !b.contains(line))
                .map(|line| format!("{sign} {line}\n"))
                .collect::<Vec<_>>()
                .concat()
        };
        only(&ours, &theirs, "ours") + &only(&theirs, &ours, "theirs")
    }
}

/// Differences that have a reason, counted, and those that have none.
#[derive(Default)]
pub(crate) struct Verdict {
    pub(crate) known: BTreeMap<&'static str, usize>,
    pub(crate) unexplained: Vec<String>,
}

impl Verdict {
    pub(crate) fn known(&mut self, why: &'static str) {
        *self.known.entry(why).or_default() += 1;
    }

    pub(crate) fn wrong(&mut self, what: String) {
        self.unexplained.push(what);
    }

    /// Prints what was compared and the reasons; fails where something has none.
    pub(crate) fn end(self, compared: &str) {
        println!("{compared}");
        for (why, count) in &self.known {
            println!("    {count} times: {why}");
        }
        let Self { unexplained, .. } = self;
        let first = unexplained.iter().take(20).map(String::as_str).collect::<Vec<_>>().join("\n");
        assert!(unexplained.is_empty(), "{} differences without a reason:\n{first}", unexplained.len());
    }
}

/// All layouts of a name, the suffixed ones too, are those that pahole prints, and none is missing.
pub(crate) fn assert_every_layout(ours: &BTreeMap<String, Layout>, truth: &BTreeMap<String, Vec<Layout>>) {
    for (name, layouts) in truth {
        let mut distinct: Vec<&Layout> = Vec::new();
        for layout in layouts {
            if !distinct.contains(&layout) {
                distinct.push(layout);
            }
        }
        let candidates = std::iter::once(name.clone()).chain((1..20).map(|number| format!("{name}_{number}")));
        let own: Vec<&Layout> = candidates.filter_map(|name| ours.get(&name)).collect();
        for layout in distinct {
            assert!(
                own.iter().any(|own| own.agrees(layout)),
                "{name}:\n{}",
                own.first().map_or_else(|| "absent".to_owned(), |own| own.difference(layout))
            );
        }
    }
}

/// A Linux address as Rekall's files have it: 48 bits.
pub(crate) fn masked(address: u64) -> u64 {
    address & 0xffff_ffff_ffff
}

/// The structs of a profile as its JSON has them. Members of unnamed structs are reached through them, to `depth` named
/// members deep; types are told when `depth` is that of dwarf2json (all of it).
pub(crate) fn rekall_layouts(profile: &Value, depth: usize) -> BTreeMap<String, Layout> {
    layouts_telling(
        profile,
        |_, _, class, args| {
            if depth == usize::MAX { rekall_type(class, args) } else { String::new() }
        },
    )
}

/// The structs of a profile; what is told of a member, by its struct, its name, and its type's class and arguments, is up
/// to `tell`.
fn layouts_telling(profile: &Value, tell: impl Fn(&str, &str, &str, &Value) -> String) -> BTreeMap<String, Layout> {
    let structs = profile["$STRUCTS"].as_object().expect("$STRUCTS");
    let anonymous = |name: &str, member: &str| {
        let list = &profile["$ISF"]["anonymous"][name];
        list.as_array().is_some_and(|list| list.iter().any(|known| known == member))
    };
    let mut layouts = BTreeMap::new();
    for (name, definition) in structs.iter().filter(|(name, _)| !name.contains('.')) {
        let mut members = BTreeMap::new();
        let mut open = vec![(name.as_str(), String::new(), 0)];
        while let Some((owner, prefix, base)) = open.pop() {
            for (member, value) in structs[owner][1].as_object().expect("members") {
                let bit = base + value[0].as_u64().expect("an offset") * 8;
                let (class, args) = (value[1][0].as_str().expect("a class"), &value[1][1]);
                let unnamed_type = structs.contains_key(class) && class.contains('.');
                if anonymous(owner, member) {
                    open.push((class, prefix.clone(), bit));
                } else if unnamed_type {
                    open.push((class, format!("{prefix}{member}."), bit));
                } else {
                    let (start, bits) = match class {
                        "BitField" => (
                            args["start_bit"].as_u64().unwrap_or(0),
                            args["end_bit"].as_u64().expect("an end") - args["start_bit"].as_u64().unwrap_or(0),
                        ),
                        _ => (0, 0),
                    };
                    members.insert(format!("{prefix}{member}"), (bit + start, bits, tell(owner, member, class, args)));
                }
            }
        }
        layouts.insert(name.clone(), Layout { bytes: definition[0].as_u64(), members });
    }
    layouts
}

/// A type of a profile's JSON in a line.
pub(crate) fn rekall_type(class: &str, args: &Value) -> String {
    let target = || rekall_type(args["target"].as_str().unwrap_or("Void"), &args["target_args"]);
    match class {
        "Pointer" => format!("*{}", target()),
        "Array" => format!("[{}]{}", args["count"].as_u64().unwrap_or(0), target()),
        "BitField" => target(),
        "Enumeration" => unnamed("enum", args["enum_name"].as_str().expect("a name")),
        "Function" => "function".to_owned(),
        "Void" => "void".to_owned(),
        name => unnamed("", name),
    }
}

fn unnamed(kind: &str, name: &str) -> String {
    if name.contains('.') || name.starts_with("unnamed_") {
        "unnamed".to_owned()
    } else {
        format!("{kind} {name}").trim().to_owned()
    }
}

/// The types of an ISF file.
pub(crate) fn isf_layouts(isf: &Value) -> BTreeMap<String, Layout> {
    let types = isf["user_types"].as_object().expect("user_types");
    let mut layouts = BTreeMap::new();
    for (name, definition) in types.iter().filter(|(name, _)| !name.starts_with("unnamed_")) {
        let mut members = BTreeMap::new();
        let mut open = vec![(name.as_str(), String::new(), 0)];
        while let Some((owner, prefix, base)) = open.pop() {
            for (member, value) in types[owner]["fields"].as_object().into_iter().flatten() {
                let bit = base + value["offset"].as_u64().expect("an offset") * 8;
                let ty = &value["type"];
                let type_name = ty["name"].as_str().unwrap_or_default();
                if value["anonymous"] == true {
                    open.push((type_name, prefix.clone(), bit));
                } else if type_name.starts_with("unnamed_") && types.contains_key(type_name) {
                    open.push((type_name, format!("{prefix}{member}."), bit));
                } else {
                    let (start, bits) =
                        (ty["bit_position"].as_u64().unwrap_or(0), ty["bit_length"].as_u64().unwrap_or(0));
                    members.insert(format!("{prefix}{member}"), (bit + start, bits, isf_type(ty)));
                }
            }
        }
        layouts.insert(name.clone(), Layout { bytes: definition["size"].as_u64(), members });
    }
    layouts
}

/// A type of an ISF file in a line.
pub(crate) fn isf_type(ty: &Value) -> String {
    match ty["kind"].as_str().expect("a kind") {
        "pointer" => format!("*{}", isf_type(&ty["subtype"])),
        "array" => format!("[{}]{}", ty["count"].as_u64().unwrap_or(0), isf_type(&ty["subtype"])),
        "bitfield" => isf_type(&ty["type"]),
        "enum" => unnamed("enum", ty["name"].as_str().expect("a name")),
        "function" => "function".to_owned(),
        _ => unnamed("", ty["name"].as_str().expect("a name")),
    }
}

/// The symbols of an ISF file.
pub(crate) fn isf_symbols(isf: &Value) -> BTreeMap<String, u64> {
    let symbols = isf["symbols"].as_object().expect("symbols");
    symbols.iter().map(|(name, symbol)| (name.clone(), symbol["address"].as_u64().expect("an address"))).collect()
}

/// The System.map of a zip: by name, letters and addresses in order.
pub(crate) fn system_map(zip: &Path) -> BTreeMap<String, Vec<(char, u64)>> {
    let mut zip = zip::ZipArchive::new(std::fs::File::open(zip).expect("readable")).expect("a zip");
    let name = zip
        .file_names()
        .map(|name| name.expect("a name").into_owned())
        .find(|name| name.contains("System.map"))
        .expect("a System.map");
    let mut text = String::new();
    zip.by_name(&name).expect("the member").read_to_string(&mut text).expect("text");
    let mut symbols: BTreeMap<String, Vec<(char, u64)>> = BTreeMap::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [address, kind, name] = fields[..] else { panic!("{line}") };
        let symbol = (kind.chars().next().expect("a letter"), u64::from_str_radix(address, 16).expect("hex"));
        symbols.entry(name.to_owned()).or_default().push(symbol);
    }
    symbols
}

/// Names that spell an integer of C in another way, of all kernels of the corpus.
const SPELLINGS: [&str; 60] = [
    "BYTE",
    "Byte",
    "U16",
    "U32",
    "U64",
    "__int128",
    "__int128_t",
    "__kernel_long_t",
    "__kernel_size_t",
    "__kernel_ssize_t",
    "__kernel_ulong_t",
    "__s128",
    "__s16",
    "__s32",
    "__s64",
    "__s8",
    "__u128",
    "__u16",
    "__u32",
    "__u64",
    "__u8",
    "bool",
    "int16_t",
    "int32_t",
    "int64_t",
    "int8_t",
    "kernel_ulong_t",
    "ptrdiff_t",
    "s16",
    "s32",
    "s64",
    "s8",
    "size_t",
    "ssize_t",
    "u16",
    "u32",
    "u64",
    "u8",
    "uInt",
    "uLong",
    "u_char",
    "u_int",
    "u_int16_t",
    "u_int32_t",
    "u_int64_t",
    "u_int8_t",
    "u_long",
    "u_short",
    "uch",
    "uint",
    "uint16_t",
    "uint32_t",
    "uint64_t",
    "uint8_t",
    "uintptr_t",
    "ulg",
    "ulong",
    "unchar",
    "ush",
    "ushort",
];

/// Every typedef of a native type by which pahole declares a member is kept in the profile, but for other spellings of
/// integers, and no other is; gives how many members have one.
pub(crate) fn assert_every_typedef(profile: &Value, format: &str, file: &Path) -> Option<usize> {
    let mut kept: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for (typedef, structs) in profile["$ISF"]["typedefs"].as_object().expect("typedefs") {
        for (name, members) in structs.as_object().expect("structs") {
            for member in members.as_array().expect("members") {
                kept.insert((name, member.as_str().expect("a name")), typedef);
            }
        }
    }
    // The typedef or what else is at the end of the type, and how many pointers and whether arrays lead there.
    let ours = layouts_telling(profile, |owner, member, class, args| {
        let (mut class, mut args, mut pointers, mut arrays) = (class, args, 0, false);
        while let "Pointer" | "Array" | "BitField" = class {
            pointers += u32::from(class == "Pointer");
            arrays |= class == "Array";
            (class, args) = (args["target"].as_str().unwrap_or("Void"), &args["target_args"]);
        }
        let native = profile["$ISF"]["base_types"].get(class).is_some() && profile["$STRUCTS"].get(class).is_none();
        let end = kept.get(&(owner, member)).copied().unwrap_or(if native { "native" } else { "other" });
        format!("{end} {pointers} {arrays}")
    });
    let truth = pahole_declarations(format, file)?;
    let mut compared = 0;
    for (name, layout) in &ours {
        let places = |layout: &Layout| -> Vec<_> {
            layout.members.iter().map(|(path, (bit, bits, _))| (path.clone(), *bit, *bits)).collect()
        };
        let Some(candidates) = truth.get(name) else { continue };
        let candidates: Vec<&Layout> = candidates.iter().filter(|other| places(other) == places(layout)).collect();
        let wrong = |truth: &&Layout| {
            let pairs = layout.members.iter().zip(truth.members.values());
            let wrong = pairs.filter(|((_, (_, _, own)), (_, _, declared))| !typedef_agrees(own, declared));
            wrong.map(|((path, own), declared)| format!("{name}.{path}: {own:?}, pahole {declared:?}")).next()
        };
        let found: Vec<Option<String>> = candidates.iter().map(wrong).collect();
        assert!(found.is_empty() || found.contains(&None), "{found:?}");
        compared += layout
            .members
            .values()
            .filter(|(_, _, own)| !own.starts_with("native ") && !own.starts_with("other "))
            .count();
    }
    Some(compared)
}

/// Whether what the profile has of a member, `END POINTERS ARRAYS`, is what its declaration says.
fn typedef_agrees(own: &str, declared: &str) -> bool {
    let parts: Vec<&str> = own.split(' ').collect();
    let [end, pointers, arrays] = parts[..] else { panic!("{own}") };
    let qualifiers = ["const", "volatile"];
    let word = declared.split([' ', '*', '[', ':']).find(|word| !word.is_empty() && !qualifiers.contains(word));
    let word = word.unwrap_or_default();
    // A typedef of a pointer or an array is no other name of what it points to.
    let indirect =
        pointers != declared.matches('*').count().to_string() || (arrays == "true") != declared.contains('[');
    let c = ["void", "char", "short", "int", "long", "signed", "unsigned", "float", "double", "_Bool", "__int128"];
    match end {
        "other" => true,
        "native" => indirect || c.contains(&word) || SPELLINGS.contains(&word),
        typedef => typedef == word && !indirect && !SPELLINGS.contains(&word),
    }
}

/// The structs that pahole reads from a file's BTF or DWARF; `None`, with a printed line, where there is no pahole.
pub(crate) fn pahole_layouts(format: &str, file: &Path) -> Option<BTreeMap<String, Vec<Layout>>> {
    let mut layouts = pahole_declarations(format, file)?;
    for (_, _, declaration) in layouts.values_mut().flatten().flat_map(|layout| layout.members.values_mut()) {
        declaration.clear();
    }
    Some(layouts)
}

/// The same with the text by which each member is declared.
fn pahole_declarations(format: &str, file: &Path) -> Option<BTreeMap<String, Vec<Layout>>> {
    let Ok(output) = Command::new("pahole").args(["-F", format]).arg(file).output() else {
        crate::support::skipped("no pahole (Debian: dwarves)");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let mut layouts: BTreeMap<String, Vec<Layout>> = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let head: Vec<&str> = line.split(' ').collect();
        if let ["struct" | "union", name, "{"] = head[..] {
            layouts.entry(name.to_owned()).or_default().push(pahole_struct(&mut lines));
        }
    }
    Some(layouts)
}

/// Reads the lines of one struct. A member is `TYPE NAME[N]:BITS; /* OFFSET[:BIT] SIZE */`; those of a nested struct
/// stand between braces, and its own name behind the closing one.
fn pahole_struct<'t>(lines: &mut impl Iterator<Item = &'t str>) -> Layout {
    let mut open = vec![Vec::new()];
    let mut bytes = None;
    let mut enumeration = false;
    let bits = |declaration: &str| {
        declaration.rsplit_once(':').map_or(0, |(_, bits)| bits.trim().parse().expect("a number of bits"))
    };
    for line in lines {
        let code = line.trim_start();
        if let Some(size) = code.strip_prefix("/* size: ") {
            bytes = size.split(',').next().and_then(|size| size.parse().ok());
        } else if line.starts_with('}') {
            break;
        } else if code.ends_with('{') {
            enumeration = code.starts_with("enum");
            open.push(Vec::new());
        } else if let Some((declaration, comment)) = code.split_once(';').filter(|_| !code.starts_with("/*")) {
            let name = pahole_name(declaration);
            let inner = open.last_mut().expect("a struct");
            if declaration.starts_with('}') {
                let members = open.pop().expect("a struct");
                let prefix = if name.is_empty() { String::new() } else { format!("{name}.") };
                // An array of unnamed structs counts as one member, and so do a pointer and an enumeration.
                let whole = declaration.contains(['[', '*']) || enumeration;
                let outer = open.last_mut().expect("a struct");
                // One without a place is no member: pahole repeats those that it takes for packed.
                if let Some((place, _)) = pahole_place(comment) {
                    if whole {
                        outer.push((name, (place, bits(declaration), declaration.to_owned())));
                    } else {
                        outer.extend(members.into_iter().map(|(path, member)| (prefix.clone() + &path, member)));
                    }
                }
                enumeration = false;
            } else if let Some((bit, _)) = pahole_place(comment) {
                inner.push((name, (bit, bits(declaration), declaration.to_owned())));
            }
        }
    }
    Layout { bytes, members: open.pop().expect("the struct").into_iter().collect() }
}

/// The name that a declaration declares: in `(*NAME)(...)`, or the last word before brackets and bits.
fn pahole_name(declaration: &str) -> String {
    let word = |text: &str| {
        text.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default().to_owned()
    };
    if let Some((_, rest)) = declaration.split_once("(*") {
        return word(rest.split([')', '[']).next().unwrap_or_default());
    }
    // Attributes stand before a name or behind it.
    let mut declaration = declaration.to_owned();
    while let Some(start) = declaration.find("__attribute__") {
        let mut open = 0;
        let end = declaration[start..].char_indices().find(|&(_, c)| {
            open += i32::from(c == '(') - i32::from(c == ')');
            c == ')' && open == 0
        });
        declaration.replace_range(start..end.map_or(declaration.len(), |(at, _)| start + at + 1), "");
    }
    let declaration = declaration.split(['[', ':']).next().unwrap_or_default().trim_end();
    if declaration == "}" { String::new() } else { word(declaration) }
}

/// First bit and size in bytes, from `/* OFFSET[:BIT] SIZE */`.
fn pahole_place(comment: &str) -> Option<(u64, u64)> {
    let inner = comment.split_once("/*")?.1.split_once("*/")?.0.replace(':', ": ");
    let mut words = inner.split_whitespace();
    let offset = words.next()?;
    let (offset, bit) = match offset.strip_suffix(':') {
        Some(offset) => (offset, words.next()?.parse::<u64>().ok()?),
        None => (offset, 0),
    };
    Some((offset.parse::<u64>().ok()? * 8 + bit, words.next()?.parse().ok()?))
}

/// Names of an ISF file's types, and for each the first one with the same definition: dwarf2json names a struct that has a
/// tag and a typedef by the typedef, and lists it under both names.
pub(crate) struct Aliases<'i>(BTreeMap<&'i str, &'i str>);

impl<'i> Aliases<'i> {
    pub(crate) fn of(isf: &'i Value) -> Self {
        let mut first: BTreeMap<String, &str> = BTreeMap::new();
        let mut alias = BTreeMap::new();
        for section in ["user_types", "enums"] {
            for (name, definition) in isf[section].as_object().expect("types") {
                alias.insert(name.as_str(), *first.entry(definition.to_string()).or_insert(name));
            }
        }
        Self(alias)
    }

    /// The names with the same definition as this one.
    pub(crate) fn others(&self, name: &str) -> impl Iterator<Item = &'i str> {
        let first = self.0.get(name);
        self.0.iter().filter(move |(_, known)| first == Some(*known)).map(|(name, _)| *name)
    }

    /// Replaces the name in a type by the first one with the same definition.
    pub(crate) fn apply(&self, ty: &mut String) {
        // It names no enumeration by its typedef.
        if let Some(at) = ty.rfind("enum ").filter(|at| !self.0.contains_key(&ty[at + 5..])) {
            ty.replace_range(at.., "unnamed");
        }
        let start = ty.rfind(['*', ']', ' ']).map_or(0, |at| at + 1);
        if let Some(known) = self.0.get(&ty[start..]) {
            ty.replace_range(start.., known);
        }
    }
}

/// Replaces the names in members' types by the first ones with the same definition.
pub(crate) fn without_aliases(layouts: &mut BTreeMap<String, Layout>, aliases: &Aliases<'_>) {
    for (_, _, ty) in layouts.values_mut().flat_map(|layout| layout.members.values_mut()) {
        aliases.apply(ty);
    }
}
