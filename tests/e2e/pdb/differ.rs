//! Types of a profile against what another reader says of the same PDB, whoever that is: both are brought to one form,
//! and what differs is told.
//!
//! A type is a text: `i4`, `u8`, `c1`, `b1`, `f8` (kind and bytes), `void`, `p8(void)`, `[3][5]u8`, `3..5:u4` (first bit and the
//! bit after the last), `enum level`, `list`, `fn(i4,u4)->i4`. A type without a name is told by its content, because each
//! reader makes up a name of its own.

use quaid_profile::{BaseKind, BaseType, Profile, Struct, Type};
use std::collections::{BTreeMap, BTreeSet};

/// A member: name, offset in bytes, type.
pub(super) type Row = (String, u64, String);

/// A struct as a judge has it.
pub(super) struct JudgedStruct {
    pub(super) name: String,
    pub(super) size: u64,
    /// In any order.
    pub(super) rows: Vec<Row>,
}

/// Labels and their values.
pub(super) type Labels = BTreeSet<(String, i128)>;

/// An enum as a judge has it: size in bytes where the judge tells it, and labels.
pub(super) struct JudgedEnum {
    pub(super) name: String,
    pub(super) size: Option<u64>,
    pub(super) labels: Labels,
}

/// How many things were compared.
#[derive(Debug, Default)]
pub(super) struct Compared {
    pub(super) pdbs: usize,
    pub(super) structs: usize,
    pub(super) members: usize,
    pub(super) enums: usize,
    pub(super) labels: usize,
    /// Of the judge's known faults, by reason.
    pub(super) faults: BTreeMap<&'static str, usize>,
}

impl Compared {
    /// Counts what is not as the judge has it because the judge is known to be wrong there.
    pub(super) fn faults(&mut self, reasons: impl IntoIterator<Item = &'static str>) {
        for reason in reasons {
            *self.faults.entry(reason).or_default() += 1;
        }
    }
}

/// Our types in the form that is compared.
pub(super) struct Ours<'p> {
    pub(super) profile: &'p Profile,
    pub(super) pointer_bytes: u64,
    /// Which members the judge does not know.
    pub(super) unknown_members: fn(&str, bool) -> bool,
    /// Brings what a judge cannot tell apart to one text.
    pub(super) native: fn(&BaseType) -> String,
    /// The judge tells arguments and return types, and what types without a name have in them.
    pub(super) details: bool,
    /// Of definitions that share a name the judge keeps one.
    pub(super) one_of_a_name: bool,
}

/// Whether a compiler, or we, made this name up.
pub(super) fn is_made_up(name: &str) -> bool {
    let last = name.rsplit("::").next().unwrap_or_default();
    last.is_empty()
        || ["<unnamed-", "__unnamed", "<anonymous-", "__anonymous_"].iter().any(|start| last.starts_with(start))
}

/// A text of kind and size in bytes.
pub(super) fn native_text(base: &BaseType) -> String {
    let kind = match base.kind {
        BaseKind::Void => return "void".into(),
        BaseKind::Int if base.signed => "i",
        BaseKind::Int => "u",
        BaseKind::Float => "f",
        BaseKind::Char if base.signed => "c",
        BaseKind::Char => "uc",
        BaseKind::Bool => "b",
    };
    format!("{kind}{}", base.size)
}

/// `count` elements in a row.
pub(super) fn array_text(count: u64, element: &str) -> String {
    format!("[{count}]{element}")
}

/// What a judge's type without a name is known by.
pub(super) fn content_text(size: u64, mut rows: Vec<Row>) -> String {
    rows.sort();
    let rows: Vec<String> = rows.into_iter().map(|(name, offset, ty)| format!("{name}@{offset}:{ty}")).collect();
    format!("{{{size};{}}}", rows.join(";"))
}

impl Ours<'_> {
    fn text_below(&self, ty: &Type, depth: u32) -> String {
        match ty {
            Type::Void => "void".into(),
            Type::Named(name) => self.named(name, depth),
            Type::Pointer { target, bytes } => {
                let bytes = bytes.map_or(self.pointer_bytes, u64::from);
                format!("p{bytes}({})", self.text_below(target, depth))
            }
            Type::Array { target, count } => array_text(*count, &self.text_below(target, depth)),
            Type::BitField { start, end, target } => format!("{start}..{end}:{}", self.text_below(target, depth)),
            Type::Enum { name, .. } if is_made_up(name) && !self.details => "enum ".into(),
            Type::Enum { name, .. } if is_made_up(name) => {
                let labels: BTreeSet<&(String, i128)> = self.profile.enums[name].values.iter().collect();
                format!("enum {labels:?}")
            }
            Type::Enum { name, .. } => format!("enum {}", unnumbered(name, &self.profile.enums)),
            Type::Function { .. } if !self.details => "fn".into(),
            Type::Function { args, ret } => {
                let args: Vec<String> = args.iter().map(|arg| self.text_below(arg, depth)).collect();
                let ret = ret.as_ref().map_or_else(String::new, |ret| self.text_below(ret, depth));
                format!("fn({})->{ret}", args.join(","))
            }
            Type::UnicodeString { length } => length.map_or("w2".into(), |length| array_text(length, "w2")),
            Type::Other { class, .. } => class.clone(),
        }
    }

    fn named(&self, name: &str, depth: u32) -> String {
        if let Some(base) = self.profile.base_types.get(name) {
            return (self.native)(base);
        }
        match self.profile.structs.get(name) {
            _ if is_made_up(name) && !self.details => "{}".into(),
            Some(content) if is_made_up(name) => {
                if depth > 8 {
                    return "deeper".into();
                }
                content_text(content.size, self.rows_below(content, depth + 1))
            }
            _ => unnumbered(name, &self.profile.structs).to_owned(),
        }
    }

    /// The members of a struct, those that the judge does not know left out.
    pub(super) fn rows(&self, content: &Struct) -> Vec<Row> {
        self.rows_below(content, 0)
    }

    fn rows_below(&self, content: &Struct, depth: u32) -> Vec<Row> {
        let mut rows: Vec<Row> = self.typed_rows(content, depth).map(|(row, _)| row).collect();
        rows.sort();
        rows
    }

    /// The members that the judge knows, with their types.
    pub(super) fn typed_rows<'s>(&'s self, content: &'s Struct, depth: u32) -> impl Iterator<Item = (Row, &'s Type)> {
        let known = content.members.iter().filter(|(name, member)| !(self.unknown_members)(name, member.anonymous));
        known.map(move |(name, member)| {
            let name = unnumbered(name, &content.members).to_owned();
            let name = if is_made_up(&name) { String::new() } else { name };
            ((name, member.offset, self.text_below(&member.ty, depth)), &member.ty)
        })
    }

    /// Our definitions that a judge's struct of this name and size can be.
    pub(super) fn candidates(&self, name: &str, size: u64) -> impl Iterator<Item = &Struct> {
        let wanted = if is_made_up(name) { String::new() } else { name.to_owned() };
        let structs = &self.profile.structs;
        structs.iter().filter(move |(ours, s)| s.size == size && key(ours, structs) == wanted).map(|(_, s)| s)
    }

    /// Our enums that a judge's of this name can be.
    pub(super) fn enums(&self, name: &str) -> impl Iterator<Item = &quaid_profile::Enum> {
        let wanted = if is_made_up(name) { String::new() } else { name.to_owned() };
        let enums = &self.profile.enums;
        enums.iter().filter(move |(ours, _)| key(ours, enums) == wanted).map(|(_, e)| e)
    }

    /// Compares every struct and enum with those of a judge, in both directions, and panics with the first differences.
    pub(super) fn compare(&self, what: &str, structs: Vec<JudgedStruct>, enums: Vec<JudgedEnum>, sum: &mut Compared) {
        let mut differences = Vec::new();
        let mut ours: BTreeMap<String, Vec<(u64, Vec<Row>)>> = BTreeMap::new();
        for (name, content) in &self.profile.structs {
            ours.entry(key(name, &self.profile.structs)).or_default().push((content.size, self.rows(content)));
        }
        let mut judged: BTreeSet<(String, u64, Vec<Row>)> = BTreeSet::new();
        let mut judged_names: BTreeSet<String> = BTreeSet::new();
        for JudgedStruct { name, size, mut rows } in structs {
            rows.sort();
            sum.structs += 1;
            sum.members += rows.len();
            let name = if is_made_up(&name) { String::new() } else { name };
            let candidates = ours.get(&name).map_or(&[][..], Vec::as_slice);
            if !candidates.iter().any(|(our_size, our_rows)| *our_size == size && *our_rows == rows) {
                differences.push(format!("{name:?}: {}", difference(size, &rows, candidates)));
            }
            judged_names.insert(name.clone());
            judged.insert((name, size, rows));
        }
        for (name, all) in ours {
            for (size, rows) in all {
                let dropped = self.one_of_a_name && judged_names.contains(&name);
                if !judged.contains(&(name.clone(), size, rows)) && !dropped {
                    differences.push(format!("{name:?} of {size} bytes: the judge has none like it"));
                }
            }
        }
        self.compare_enums(enums, &mut differences, sum);
        sum.pdbs += 1;
        let shown = differences.iter().take(12).cloned().collect::<Vec<_>>().join("\n");
        assert!(differences.is_empty(), "{what}: {} differences, of which the first:\n{shown}", differences.len());
    }

    fn compare_enums(&self, enums: Vec<JudgedEnum>, differences: &mut Vec<String>, sum: &mut Compared) {
        let mut ours: BTreeMap<String, Vec<(Option<u64>, Labels)>> = BTreeMap::new();
        // Constants of the symbol records are no types of the PDB; `symbols` has a judge for them.
        let types = self.profile.enums.iter().filter(|(name, _)| !name.starts_with("<S_CONSTANT "));
        for (name, content) in types {
            let labels = content.values.iter().cloned().collect();
            ours.entry(key(name, &self.profile.enums)).or_default().push((content.size, labels));
        }
        let mut judged: BTreeMap<String, Vec<Labels>> = BTreeMap::new();
        for JudgedEnum { name, size, labels } in enums {
            sum.enums += 1;
            sum.labels += labels.len();
            let name = if is_made_up(&name) { String::new() } else { name };
            let candidates = ours.get(&name).map_or(&[][..], Vec::as_slice);
            let same = |(our_size, our_labels): &(Option<u64>, BTreeSet<_>)| {
                (size.is_none() || *our_size == size) && *our_labels == labels
            };
            if !candidates.iter().any(same) {
                differences.push(format!("enum {name:?}: {size:?} {labels:?} and ours {candidates:?}"));
            }
            judged.entry(name).or_default().push(labels);
        }
        for (name, all) in ours {
            for (_, labels) in all {
                let known = judged.get(&name);
                if !known.is_some_and(|known| self.one_of_a_name || known.contains(&labels)) {
                    differences.push(format!("enum {name:?}: the judge has none like {labels:?}"));
                }
            }
        }
    }
}

/// What differs from the candidate that is nearest.
fn difference(size: u64, rows: &[Row], candidates: &[(u64, Vec<Row>)]) -> String {
    let distance = |ours: &[Row]| {
        let lost: Vec<_> = rows.iter().filter(|row| !ours.contains(row)).collect();
        let extra: Vec<_> = ours.iter().filter(|row| !rows.contains(row)).collect();
        (lost.len() + extra.len(), format!("lost {:?}, extra {:?}", first(&lost), first(&extra)))
    };
    let nearest = candidates.iter().map(|(our_size, ours)| (distance(ours), *our_size)).min();
    nearest.map_or_else(
        || format!("of {size} bytes is missing"),
        |((_, text), ours)| format!("{size} bytes and ours {ours}: {text}"),
    )
}

fn first<'r>(rows: &[&'r Row]) -> Vec<&'r Row> {
    rows.iter().take(3).copied().collect()
}

/// The name by which definitions are looked up: all without a name are under none.
fn key<T>(name: &str, known: &BTreeMap<String, T>) -> String {
    if is_made_up(name) { String::new() } else { unnumbered(name, known).to_owned() }
}

/// A name without the number that tells it from a different thing of that name.
fn unnumbered<'n, T>(name: &'n str, known: &BTreeMap<String, T>) -> &'n str {
    match name.rsplit_once('_') {
        Some((bare, number))
            if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) && known.contains_key(bare) =>
        {
            bare
        }
        _ => name,
    }
}

/// Our types as a judge should have them that tells everything.
pub(super) fn ours(profile: &Profile) -> Ours<'_> {
    let pointer_bytes = profile.metadata.arch().expect("an architecture").pointer_bytes();
    Ours {
        profile,
        pointer_bytes,
        unknown_members: |_, _| false,
        native: native_text,
        details: true,
        one_of_a_name: false,
    }
}
