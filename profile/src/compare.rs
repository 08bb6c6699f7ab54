//! What differs between the profiles of two builds: structs, enums and symbols.

use crate::error::Error;
use crate::file::ProfileFile;
use crate::model::{Enum, Member, Struct, Type};
use std::collections::{BTreeMap, BTreeSet};

/// How deep types without a name of their own are compared by content.
const MAX_DEPTH: usize = 8;

/// What became of something that has a name.
#[derive(Debug, Clone, PartialEq)]
pub enum Change<T> {
    /// The newer build alone has it.
    Added(T),
    /// The older build alone has it.
    Removed(T),
    /// It is not the same.
    Changed {
        /// In the older build.
        old: T,
        /// In the newer build.
        new: T,
    },
}

impl<T> Change<T> {
    /// As the older build has it.
    pub fn before(&self) -> Option<&T> {
        match self {
            Self::Removed(old) | Self::Changed { old, .. } => Some(old),
            Self::Added(_) => None,
        }
    }

    /// As the newer build has it.
    pub fn after(&self) -> Option<&T> {
        match self {
            Self::Added(new) | Self::Changed { new, .. } => Some(new),
            Self::Removed(_) => None,
        }
    }

    fn of(old: Option<T>, new: Option<T>) -> Option<Self> {
        Some(match (old, new) {
            (Some(old), Some(new)) => Self::Changed { old, new },
            (Some(old), None) => Self::Removed(old),
            (None, Some(new)) => Self::Added(new),
            (None, None) => return None,
        })
    }
}

/// How a member changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Its offset, or its first bit, is another; its type is the same.
    Moved,
    /// Its type is another, and its place may be.
    Retyped,
}

/// A member that is not the same.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberChange {
    /// How.
    pub kind: Kind,
    /// Before and after.
    pub change: Change<Member>,
}

/// A struct, union or class that is not the same.
#[derive(Debug, Clone, PartialEq)]
pub struct StructChange {
    /// Sizes in bytes.
    pub size: Change<u64>,
    /// Members that differ; none where the whole struct is new or gone.
    pub members: BTreeMap<String, MemberChange>,
}

impl StructChange {
    /// How many members changed so.
    pub fn count(&self, kind: Kind) -> usize {
        self.members.values().filter(|member| member.kind == kind).count()
    }
}

/// What differs in the types of two builds. Types that the compiler named are told where they are used.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TypeChanges {
    /// Structs, unions and classes by name.
    pub structs: BTreeMap<String, StructChange>,
    /// Enums by name.
    pub enums: BTreeMap<String, Change<Enum>>,
}

/// Which symbols one of two builds has alone, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SymbolChanges {
    /// The newer build alone has them.
    pub gained: Vec<String>,
    /// The older build alone had them.
    pub lost: Vec<String>,
    /// How many both have.
    pub both: usize,
}

/// Compares all types.
pub fn compare_types(old: &ProfileFile, new: &ProfileFile) -> Result<TypeChanges, Error> {
    let mut changes = TypeChanges::default();
    for name in names(old.struct_names()?, new.struct_names()?) {
        if let Some(change) = compare_struct(old, new, name)? {
            changes.structs.insert(name.to_owned(), change);
        }
    }
    for name in names(old.enum_names()?, new.enum_names()?) {
        let (before, after) = (old.enumeration(name)?, new.enumeration(name)?);
        if before.as_ref().map(|e| &e.values) != after.as_ref().map(|e| &e.values) {
            changes.enums.extend(Change::of(before, after).map(|change| (name.to_owned(), change)));
        }
    }
    Ok(changes)
}

/// Compares one struct; `None` when both have the same, or neither has it.
pub fn compare_struct(old: &ProfileFile, new: &ProfileFile, name: &str) -> Result<Option<StructChange>, Error> {
    let (before, after) = (old.structure(name)?, new.structure(name)?);
    let mut members = BTreeMap::new();
    if let (Some(before), Some(after)) = (&before, &after) {
        members = compare_members(Sides { old, new }, before, after)?;
        if members.is_empty() && before.size == after.size && before.kind == after.kind {
            return Ok(None);
        }
    }
    let size = Change::of(before.map(|s| s.size), after.map(|s| s.size));
    Ok(size.map(|size| StructChange { size, members }))
}

/// Compares the names of symbols. Addresses differ in every build, and are left alone.
pub fn compare_symbols(old: &ProfileFile, new: &ProfileFile) -> Result<SymbolChanges, Error> {
    let before: BTreeSet<&str> = old.symbol_names()?.into_iter().collect();
    let after: BTreeSet<&str> = new.symbol_names()?.into_iter().collect();
    let only = |one: &BTreeSet<&str>, other: &BTreeSet<&str>| one.difference(other).map(|&name| name.into()).collect();
    Ok(SymbolChanges {
        gained: only(&after, &before),
        lost: only(&before, &after),
        both: before.intersection(&after).count(),
    })
}

/// The names of both, without those that the compiler made up: they are numbered anew in each build.
fn names<'n>(old: Vec<&'n str>, new: Vec<&'n str>) -> BTreeSet<&'n str> {
    old.into_iter().chain(new).filter(|name| !is_made_up(name)).collect()
}

/// Whether a compiler or converter named the type, which has no name in the source.
pub fn is_made_up(name: &str) -> bool {
    ["__unnamed", "<unnamed-", "<anonymous-"].iter().any(|mark| name.contains(mark)) || name.starts_with("unnamed_")
}

#[derive(Clone, Copy)]
struct Sides<'p> {
    old: &'p ProfileFile,
    new: &'p ProfileFile,
}

fn compare_members(sides: Sides<'_>, old: &Struct, new: &Struct) -> Result<BTreeMap<String, MemberChange>, Error> {
    let mut changes = BTreeMap::new();
    let all: BTreeSet<&String> = old.members.keys().chain(new.members.keys()).collect();
    for name in all {
        let (before, after) = (old.members.get(name), new.members.get(name));
        let kind = match (before, after) {
            (Some(before), Some(after)) => {
                let moved = before.offset != after.offset || first_bit(&before.ty) != first_bit(&after.ty);
                match (same_type(sides, &before.ty, &after.ty, MAX_DEPTH)?, moved) {
                    (false, _) => Kind::Retyped,
                    (true, true) => Kind::Moved,
                    (true, false) => continue,
                }
            }
            (None, _) => Kind::Added,
            (_, None) => Kind::Removed,
        };
        let change = Change::of(before.cloned(), after.cloned());
        changes.extend(change.map(|change| (name.clone(), MemberChange { kind, change })));
    }
    Ok(changes)
}

fn first_bit(ty: &Type) -> Option<u64> {
    if let Type::BitField { start, .. } = ty { Some(*start) } else { None }
}

/// How many bits a bit field has.
fn bits(ty: &Type) -> Option<u64> {
    if let Type::BitField { start, end, .. } = ty { Some(end.saturating_sub(*start)) } else { None }
}

/// Whether two types are the same, their place aside: a bit field that has moved has the same number of bits.
fn same_type(sides: Sides<'_>, old: &Type, new: &Type, depth: usize) -> Result<bool, Error> {
    let Some(deeper) = depth.checked_sub(1) else { return Ok(true) };
    let same = |old: &Type, new: &Type| same_type(sides, old, new, deeper);
    Ok(match (old, new) {
        (Type::Named(a), Type::Named(b)) if is_made_up(a) && is_made_up(b) => {
            match (sides.old.structure(a)?, sides.new.structure(b)?) {
                (Some(a), Some(b)) => same_content(sides, &a, &b, deeper)?,
                (a, b) => a.is_none() && b.is_none(),
            }
        }
        (Type::Enum { name: a, .. }, Type::Enum { name: b, .. }) if is_made_up(a) && is_made_up(b) => {
            let values = |e: Option<Enum>| e.map(|e| e.values);
            values(sides.old.enumeration(a)?) == values(sides.new.enumeration(b)?)
        }
        (Type::Enum { name: a, .. }, Type::Enum { name: b, .. }) => a == b,
        (Type::Pointer { target: a, bytes: m }, Type::Pointer { target: b, bytes: n }) => m == n && same(a, b)?,
        (Type::Array { target: a, count: m }, Type::Array { target: b, count: n }) => m == n && same(a, b)?,
        (Type::BitField { target: a, .. }, Type::BitField { target: b, .. }) => bits(old) == bits(new) && same(a, b)?,
        // Their arguments may name types without a name, and nothing that reads memory depends on them.
        (Type::Function { .. }, Type::Function { .. }) => true,
        _ => old == new,
    })
}

fn same_content(sides: Sides<'_>, old: &Struct, new: &Struct, depth: usize) -> Result<bool, Error> {
    if old.size != new.size || !old.members.keys().eq(new.members.keys()) {
        return Ok(false);
    }
    for (before, after) in old.members.values().zip(new.members.values()) {
        let moved = before.offset != after.offset || first_bit(&before.ty) != first_bit(&after.ty);
        if moved || !same_type(sides, &before.ty, &after.ty, depth)? {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(structs: &str, more: &str) -> ProfileFile {
        let text = format!(r#"{{"$METADATA": {{"Type": "Profile"}}, "$STRUCTS": {{{structs}}}{more}}}"#);
        ProfileFile::parse("test", text.as_bytes()).expect("a profile")
    }

    #[test]
    fn members_are_added_removed_moved_and_retyped() {
        let old = file(
            r#""S": [24, {"same": [0, ["int", {}]], "gone": [4, ["int", {}]], "far": [8, ["int", {}]],
                "other": [12, ["int", {}]], "low": [16, ["BitField", {"start_bit": 0, "end_bit": 3, "target": "int"}]]}]"#,
            "",
        );
        let new = file(
            r#""S": [32, {"same": [0, ["int", {}]], "new": [4, ["int", {}]], "far": [16, ["int", {}]],
                "other": [12, ["short", {}]], "low": [16, ["BitField", {"start_bit": 1, "end_bit": 4, "target": "int"}]]}]"#,
            "",
        );
        let change = compare_struct(&old, &new, "S").expect("readable").expect("it changed");
        assert_eq!(change.size, Change::Changed { old: 24, new: 32 });
        let kinds: Vec<(&str, Kind)> = change.members.iter().map(|(name, m)| (name.as_str(), m.kind)).collect();
        let expected = [
            ("far", Kind::Moved),
            ("gone", Kind::Removed),
            ("low", Kind::Moved),
            ("new", Kind::Added),
            ("other", Kind::Retyped),
        ];
        assert_eq!(kinds, expected);
        assert_eq!(compare_struct(&old, &old, "S"), Ok(None));
        assert_eq!(compare_struct(&old, &new, "T"), Ok(None));
    }

    #[test]
    fn types_without_a_name_are_compared_by_what_is_in_them() {
        let with = |name: &str, inner: &str| {
            file(
                &format!(
                    r#""S": [8, {{"u": [0, ["{name}", {{}}]]}}], "{name}": [8, {{"{inner}": [0, ["int", {{}}]]}}]"#
                ),
                "",
            )
        };
        let (one, renamed, other) = (with("__unnamed_1a", "x"), with("__unnamed_2b", "x"), with("__unnamed_1a", "y"));
        assert_eq!(compare_types(&one, &renamed), Ok(TypeChanges::default()));
        let changes = compare_types(&one, &other).expect("readable");
        let names: Vec<&String> = changes.structs.keys().collect();
        assert_eq!(names, ["S"], "the made-up name is told where it is used");
        assert_eq!(changes.structs["S"].count(Kind::Retyped), 1);
    }

    #[test]
    fn symbols_and_enums_are_compared_by_name_and_value() {
        let one = file("", r#", "$CONSTANTS": {"a": 1, "b": 2}, "$FUNCTIONS": {"f": 3}, "$ENUMS": {"E": {"0": "x"}}"#);
        let two = file("", r#", "$CONSTANTS": {"b": 5, "c": 6}, "$FUNCTIONS": {"f": 9}, "$ENUMS": {"E": {"1": "x"}}"#);
        let symbols = compare_symbols(&one, &two).expect("readable");
        assert_eq!(symbols, SymbolChanges { gained: vec!["c".into()], lost: vec!["a".into()], both: 2 });
        assert!(matches!(compare_types(&one, &two).expect("readable").enums["E"], Change::Changed { .. }));
    }
}
