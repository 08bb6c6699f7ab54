//! Types against llvm-pdbutil: kind, size and members of every struct, whatever they are made of; labels of every enum.

use super::differ::{Compared, JudgedEnum, JudgedStruct, Ours, Row, array_text, content_text, is_made_up, ours};
use super::{good_pdbs, installed, judged_pdbs, parsed};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::Command;

/// What `llvm-pdbutil dump -types -type-data` says of a record.
#[derive(Default)]
struct Record {
    kind: String,
    name: String,
    /// The definition of one that is only declared; 0 without any.
    forward: Option<u32>,
    size: u64,
    /// The one type that it refers to: target, element, base of a bit field or an enum, return type.
    target: u32,
    fields: u32,
    /// Name, type index and offset; base classes, too.
    members: Vec<(String, u32, u64)>,
    bases: Vec<(u32, u64)>,
    /// Type index, and offset of the pointer to the table.
    virtual_bases: Vec<(u32, u64)>,
    virtual_table: bool,
    labels: Vec<(String, i128)>,
    continues: Option<u32>,
    /// First bit and number of bits.
    bits: (u64, u64),
    /// The list of arguments of a function, and the type of its `this`.
    args: u32,
    this: u32,
    /// The types of a list of arguments.
    list: Vec<u32>,
    /// Mode of a pointer, and its width in bytes.
    mode: String,
    width: u64,
}

fn index(text: &str) -> u32 {
    let hex = text.trim_start_matches("0x").split(|c: char| !c.is_ascii_hexdigit()).next().unwrap_or_default();
    u32::from_str_radix(hex, 16).unwrap_or(0)
}

/// The text between `before` and `after`.
fn between<'t>(line: &'t str, before: &str, after: &str) -> Option<&'t str> {
    let (_, rest) = line.split_once(before)?;
    rest.split_once(after).map(|(text, _)| text).or(Some(rest))
}

fn number(line: &str, before: &str) -> Option<u64> {
    between(line, before, ",")?.trim_end_matches(']').parse().ok()
}

/// The records, and the names of simple types.
struct Dump {
    records: BTreeMap<u32, Record>,
    simple: HashMap<u32, String>,
}

impl Dump {
    fn read(text: &str) -> Self {
        let mut dump = Self { records: BTreeMap::new(), simple: HashMap::new() };
        let mut current = 0;
        for line in text.lines().map(str::trim) {
            for part in line.split("0x0").skip(1) {
                if let Some((digits, name)) = part.split_once(" (").filter(|(digits, _)| digits.len() == 3) {
                    let name = name.split(')').next().unwrap_or_default();
                    dump.simple.insert(index(digits), name.to_owned());
                }
            }
            if let Some((number, rest)) = line.split_once(" | LF_").filter(|(number, _)| number.starts_with("0x")) {
                current = index(number);
                let kind = rest.split(' ').next().unwrap_or_default().to_owned();
                let name = rest.split_once('`').map_or("", |(_, name)| name.trim_end_matches('`')).to_owned();
                dump.records.insert(current, Record { kind, name, ..Record::default() });
            } else if let Some(record) = dump.records.get_mut(&current) {
                record.line(line);
            }
        }
        dump
    }
}

impl Record {
    fn line(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("- LF_MEMBER [name = `") {
            let (name, rest) = rest.split_once("`, Type = ").expect("a member's type");
            self.members.push((name.to_owned(), index(rest), number(rest, "offset = ").expect("an offset")));
        } else if let Some(rest) = line.strip_prefix("- LF_ENUMERATE [") {
            let (name, value) = rest.trim_end_matches(']').rsplit_once(" = ").expect("a label's value");
            self.labels.push((name.to_owned(), value.parse().expect("a number")));
        } else if line.starts_with("- LF_INDEX") {
            self.continues = between(line, "= ", "]").map(index);
        } else if line.starts_with("- LF_VFUNCTAB") {
            self.virtual_table = true;
        } else if let Some(rest) = line.strip_prefix("base = ") {
            self.virtual_bases.push((index(rest), number(rest, "vbptr offset = ").expect("an offset")));
        } else if line.starts_with("type = ") && line.contains("bit offset") {
            self.target = between(line, "type = ", ",").map_or(0, index);
            self.bits = (number(line, "bit offset = ").expect("a bit"), number(line, "# bits = ").expect("bits"));
        } else if let (Some(ty), Some(offset)) = (line.strip_prefix("type = "), number(line, ", offset = ")) {
            self.bases.push((index(ty), offset));
        } else if let Some(rest) = line.strip_prefix("referent = ") {
            self.target = index(rest);
            between(rest, "mode = ", ",").unwrap_or_default().clone_into(&mut self.mode);
        } else if let Some(rest) = line.strip_prefix("size: ") {
            self.size = rest.split(',').next().and_then(|size| size.parse().ok()).expect("a size");
            self.target = between(rest, "element type: ", ",").map_or(0, index);
        } else if let Some(rest) = line.strip_prefix("return type = ") {
            self.target = index(rest);
            self.args = between(rest, "param list = ", ",").map_or(0, index);
        } else if let Some(rest) = between(line, "this type = ", ",") {
            self.this = index(rest);
        } else if self.kind == "ARGLIST" && (line.starts_with("0x") || line.starts_with("<no type>")) {
            self.list.push(index(line));
        } else if let (true, Some(bytes)) = (self.kind == "POINTER", line.strip_prefix("0000: ")) {
            // The attributes, the third word, hold the width.
            let word = bytes.split(' ').nth(2).and_then(|word| u32::from_str_radix(word, 16).ok());
            self.width = u64::from(word.expect("a word").swap_bytes() >> 13 & 0x3f);
        }
        if let Some(list) = between(line, "field list: ", ",") {
            self.fields = index(list);
        }
        if let Some(base) = between(line, "underlying type: ", ",") {
            self.target = index(base);
        }
        if let Some(options) = line.strip_prefix("options: ") {
            // A declaration leads to its definition ("->"), or to itself ("=") where llvm-pdbutil finds none.
            self.forward = options.contains("forward ref").then(|| between(options, "-> ", ")").map_or(0, index));
            if let Some((_, size)) = options.rsplit_once("sizeof ") {
                self.size = size.parse().expect("a size");
            }
        }
    }
}

/// Text and size in bytes of a simple type, by the name that llvm-pdbutil gives it.
fn simple(name: &str) -> (&'static str, u64) {
    match name {
        "void" | "<no type>" => ("void", 0),
        "char" | "signed char" | "__int8" => ("c1", 1),
        "unsigned char" | "unsigned __int8" | "char8_t" => ("uc1", 1),
        "wchar_t" | "char16_t" => ("w2", 2),
        "char32_t" => ("uc4", 4),
        "short" | "__int16" => ("i2", 2),
        "unsigned short" | "unsigned __int16" => ("u2", 2),
        "long" | "int" | "HRESULT" => ("i4", 4),
        "unsigned long" | "unsigned" => ("u4", 4),
        "__int64" => ("i8", 8),
        "unsigned __int64" => ("u8", 8),
        "__int128" => ("i16", 16),
        "unsigned __int128" => ("u16", 16),
        "float" => ("f4", 4),
        "double" => ("f8", 8),
        "long double" => ("f10", 10),
        "_Complex double" => ("f16", 16),
        "_Complex __float128" => ("f32", 32),
        "bool" => ("b1", 1),
        other => panic!("no simple type is known as {other}"),
    }
}

/// A PDB as llvm-pdbutil has it, in the form that is compared.
struct Judge<'a> {
    dump: &'a Dump,
    pointer_bytes: u64,
}

impl<'a> Judge<'a> {
    fn lists(&self, first: u32) -> impl Iterator<Item = &'a Record> {
        let records = &self.dump.records;
        std::iter::successors(records.get(&first), |list| records.get(&list.continues?))
    }

    /// The record that defines what `index` declares.
    fn definition(&self, index: u32) -> Option<&'a Record> {
        let record = self.dump.records.get(&index)?;
        match record.forward {
            // One that is declared in C++ and defined in C it does not find: it goes by decorated names.
            Some(0) => {
                let defines = |other: &&Record| other.forward.is_none() && other.name == record.name;
                let is_type = |other: &&Record| matches!(other.kind.as_str(), "STRUCTURE" | "CLASS" | "UNION" | "ENUM");
                self.dump.records.values().find(|other| is_type(other) && defines(other))
            }
            Some(definition) => self.dump.records.get(&definition),
            None => Some(record),
        }
    }

    fn simple(&self, index: u32) -> (String, u64) {
        let name = match index {
            0 => "<no type>",
            // It has no name for integers of 16 bytes ("octwords").
            0x14 => "__int128",
            0x24 => "unsigned __int128",
            0x103 => return (format!("p{}(void)", self.pointer_bytes), self.pointer_bytes),
            _ => self.dump.simple.get(&index).expect("a simple type's name"),
        };
        let Some(target) = name.strip_suffix('*') else {
            let (text, size) = simple(name);
            return (text.to_owned(), size);
        };
        let width = match index >> 8 {
            4 => 4,
            6 => 8,
            mode => panic!("mode {mode} of a pointer"),
        };
        (format!("p{width}({})", simple(target).0), width)
    }

    fn size(&self, index: u32) -> u64 {
        if index < 0x1000 {
            return self.simple(index).1;
        }
        let Some(record) = self.definition(index) else { return 0 };
        match record.kind.as_str() {
            "POINTER" => record.width,
            "MODIFIER" | "BITFIELD" | "ENUM" => self.size(record.target),
            _ => record.size,
        }
    }

    fn text(&self, index: u32, depth: u32) -> String {
        if index < 0x1000 {
            return self.simple(index).0;
        }
        let record = &self.dump.records[&index];
        match record.kind.as_str() {
            "MODIFIER" => self.text(record.target, depth),
            "POINTER" if record.mode == "data member pointer" => match record.width {
                4 => "i4".into(),
                more => array_text(more / 4, "i4"),
            },
            "POINTER" => format!("p{}({})", record.width, self.text(record.target, depth)),
            "ARRAY" => match self.size(record.target) {
                // clang 14 writes char8_t as no type; the bytes are there.
                0 if record.target == 0 => array_text(record.size, "uc1"),
                0 => array_text(0, &self.text(record.target, depth)),
                size => array_text(record.size / size, &self.text(record.target, depth)),
            },
            "BITFIELD" => {
                let (start, len) = record.bits;
                format!("{start}..{}:{}", start + len, self.text(record.target, depth))
            }
            "PROCEDURE" | "MFUNCTION" => {
                let this = Some(record.this).filter(|&this| this != 0);
                let args = self.dump.records[&record.args].list.iter().copied();
                let args: Vec<String> = this.into_iter().chain(args).map(|arg| self.text(arg, depth)).collect();
                format!("fn({})->{}", args.join(","), self.text(record.target, depth))
            }
            "ENUM" if is_made_up(&record.name) => {
                self.definition(index).map_or_else(|| "void".into(), |record| format!("enum {:?}", self.labels(record)))
            }
            "ENUM" => format!("enum {}", record.name),
            "STRUCTURE" | "CLASS" | "UNION" | "INTERFACE" if !is_made_up(&record.name) => record.name.clone(),
            "STRUCTURE" | "CLASS" | "UNION" | "INTERFACE" => match self.definition(index) {
                Some(_) if depth > 8 => "deeper".into(),
                Some(record) => content_text(record.size, self.rows(record, depth + 1)),
                None => "void".into(),
            },
            "VTSHAPE" | "LABEL" | "VFTABLE" => "void".into(),
            other => panic!("a member of LF_{other}"),
        }
    }

    /// The members, but for virtual bases, whose places no record tells.
    fn rows(&self, record: &Record, depth: u32) -> Vec<Row> {
        let mut rows = Vec::new();
        let name = |index: u32| self.dump.records[&index].name.clone();
        let bases: Vec<(u32, u64)> = self.lists(record.fields).flat_map(|list| list.bases.iter().copied()).collect();
        for list in self.lists(record.fields) {
            for (name, ty, offset) in &list.members {
                let name = if is_made_up(name) { String::new() } else { name.clone() };
                rows.push((name, *offset, self.text(*ty, depth)));
            }
            rows.extend(list.bases.iter().map(|&(base, offset)| (name(base), offset, name(base))));
            if list.virtual_table {
                rows.push(("__VFN_table".into(), 0, format!("p{}(void)", self.pointer_bytes)));
            }
            for &(_, at) in &list.virtual_bases {
                let of_base = |&(base, offset): &(u32, u64)| offset <= at && at < offset + self.size(base);
                if !bases.iter().any(of_base) {
                    rows.push(("__VB_table".into(), at, format!("p{}([0]i4)", self.pointer_bytes)));
                }
            }
        }
        rows.sort();
        // A member that is told twice is one.
        rows.dedup();
        rows
    }

    fn labels(&self, record: &Record) -> BTreeSet<(String, i128)> {
        let (base, bytes) = self.simple(record.target);
        let signed = base.starts_with('i') || base.starts_with('c');
        let range = 1i128 << (8 * bytes);
        let lists = self.lists(record.fields).flat_map(|list| &list.labels);
        // clang writes labels without the sign of their enum, or with one that it has not.
        let in_range = |value: i128| match value.rem_euclid(range) {
            large if signed && large >= range / 2 => large - range,
            value => value,
        };
        lists.map(|(label, value)| (label.clone(), in_range(*value))).collect()
    }

    fn judge(&self, ours: &Ours<'_>, sum: &mut Compared) -> (Vec<JudgedStruct>, Vec<JudgedEnum>) {
        let (mut structs, mut enums) = (Vec::new(), Vec::new());
        for record in self.dump.records.values().filter(|record| record.forward.is_none()) {
            let name = record.name.clone();
            match record.kind.as_str() {
                "STRUCTURE" | "CLASS" | "UNION" | "INTERFACE" => {
                    let mut rows = self.rows(record, 0);
                    for (base, _) in self.lists(record.fields).flat_map(|list| &list.virtual_bases) {
                        let base = &self.dump.records[base].name;
                        let own = ours.candidates(&name, record.size).flat_map(|own| ours.rows(own));
                        rows.extend(own.filter(|row| row.0 == *base && row.2 == *base).take(1));
                        sum.faults(["no record tells where a virtual base lies: clang's layouts judge them"]);
                    }
                    structs.push(JudgedStruct { name, size: record.size, rows });
                }
                "ENUM" => {
                    let size = Some(self.size(record.target));
                    enums.push(JudgedEnum { name, size, labels: self.labels(record) });
                }
                _ => {}
            }
        }
        (structs, enums)
    }
}

#[test]
fn types_are_llvm_s() {
    if !installed("llvm-pdbutil") {
        return;
    }
    let mut sum = Compared::default();
    for path in judged_pdbs() {
        // It refuses the type stream of the XP kernel, which isr and Rekall's output judge.
        if path.ends_with("ntkrnlpa.pdb") {
            continue;
        }
        let output =
            Command::new("llvm-pdbutil").args(["dump", "-types", "-type-data"]).arg(&path).output().expect("it runs");
        assert!(output.status.success(), "{}", path.display());
        let dump = Dump::read(&String::from_utf8_lossy(&output.stdout));
        let profile = parsed(&path).profile;
        let ours = ours(&profile);
        let judge = Judge { dump: &dump, pointer_bytes: ours.pointer_bytes };
        let (structs, enums) = judge.judge(&ours, &mut sum);
        ours.compare(&path.display().to_string(), structs, enums, &mut sum);
    }
    println!("llvm-pdbutil: {sum:#?}");
    assert!((sum.structs > 3000 && sum.members > 20_000) || good_pdbs().is_empty(), "{sum:#?}");
}
