//! One name for each struct, union and enum.
//!
//! Compilers leave types without a name (`union { ... } u;`), and may define one name twice, differently. Consumers
//! know types by name only, so each gets a name of its own: an anonymous one that of its parent and the member that
//! has it (`_LARGE_INTEGER::<unnamed-type-u>`, as newer compilers spell it themselves), which unlike its type index
//! stays the same from build to build; of definitions that differ, the second gets `_1`. Where the name is made up, what
//! they have in them tells which is the second, and not the order of their records.

use super::budget::Budget;
use super::error::PdbError;
use super::records::{Field, Record};
use super::sameness::{Comparison, is_made_up};
use super::table::{Tagged, TypeTable, is_anonymous};
use quaid_profile::Type;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

/// The names.
#[derive(Debug, Default)]
pub(super) struct Names<'t> {
    /// Name by index of the definition.
    by_index: HashMap<u32, Cow<'t, str>>,
    /// Indices of further definitions of the same content, and the one that stands for them.
    duplicates: HashMap<u32, u32>,
    taken: HashSet<Cow<'t, str>>,
    /// Next number to try after a name that is taken.
    next: HashMap<Cow<'t, str>, u32>,
    /// Definitions that share a name with a different one.
    pub(super) conflicts: u64,
}

/// How many different definitions of one name are compared with a further one.
const MAX_COMPARED: usize = 8;

impl<'t> Names<'t> {
    /// Names every definition of the table.
    pub(super) fn assign(table: &TypeTable<'t>, budget: &mut Budget) -> Result<Self, PdbError> {
        let mut names = Self::default();
        let anonymous = names.assign_named(table, budget)?;
        if anonymous.is_empty() {
            return Ok(names);
        }
        let mut parents: Vec<(Cow<'t, str>, u32)> =
            names.by_index.iter().map(|(index, name)| (name.clone(), *index)).collect();
        parents.sort_unstable();
        for (_, parent) in parents {
            names.assign_children(table, parent, budget)?;
        }
        // What no member leads to is known by its first member.
        let mut rest: Vec<(Cow<'t, str>, Content<'t>, u32)> = Vec::new();
        for index in anonymous {
            if !names.by_index.contains_key(&index) {
                rest.push((first_member(table, index), content(table, index, budget)?, index));
            }
        }
        rest.sort_unstable();
        for (first, _, index) in rest {
            if !names.by_index.contains_key(&index) {
                names.take(index, format!("<unnamed-type-{first}>").into());
                names.assign_children(table, index, budget)?;
            }
        }
        Ok(names)
    }

    /// Names what has a name, and enums after their first label. Gives the anonymous structs.
    fn assign_named(&mut self, table: &TypeTable<'t>, budget: &mut Budget) -> Result<Vec<u32>, PdbError> {
        let mut anonymous = Vec::new();
        let mut definitions: HashMap<Cow<'t, str>, Vec<u32>> = HashMap::new();
        let mut conflicts = Vec::new();
        let mut made_up: BTreeSet<Cow<'t, str>> = BTreeSet::new();
        let mut comparison = Comparison::new(table);
        for (index, tagged) in table.definitions() {
            let name = match tagged {
                Tagged::Udt(udt) if is_anonymous(udt.name) => {
                    anonymous.push(index);
                    continue;
                }
                Tagged::Enum(record) if is_anonymous(record.name) => {
                    let scope = record.name.iter().rposition(|&b| b == b':').map_or(0, |at| at + 1);
                    let scope = String::from_utf8_lossy(record.name.get(..scope).unwrap_or_default());
                    Cow::Owned(format!("{scope}<unnamed-enum-{}>", first_member(table, index)))
                }
                _ => String::from_utf8_lossy(tagged.name()),
            };
            budget.spend(name.len())?;
            let known = definitions.entry(name.clone()).or_default();
            let same = known.iter().take(MAX_COMPARED).find(|&&other| comparison.definitions(other, index));
            if let Some(&same) = same {
                self.duplicates.insert(index, same);
                continue;
            }
            known.push(index);
            if is_made_up(name.as_bytes()) {
                made_up.insert(name);
            } else if known.len() == 1 {
                self.take(index, name);
            } else {
                conflicts.push((index, name));
            }
        }
        for name in made_up {
            let mut known = Vec::new();
            for index in definitions.remove(&name).unwrap_or_default() {
                known.push((content(table, index, budget)?, index));
            }
            known.sort_unstable();
            let mut known = known.into_iter().map(|(_, index)| index);
            if let Some(first) = known.next() {
                self.take(first, name.clone());
            }
            conflicts.extend(known.map(|index| (index, name.clone())));
        }
        // Made-up names come after all real ones, so that none of them takes a name that exists.
        self.conflicts = conflicts.len() as u64;
        for (index, name) in conflicts {
            self.take(index, name);
        }
        Ok(anonymous)
    }

    /// Names the anonymous structs that are reached from the members of `root`, and from those of them.
    fn assign_children(&mut self, table: &TypeTable<'t>, root: u32, budget: &mut Budget) -> Result<(), PdbError> {
        let mut queue = VecDeque::from([root]);
        while let Some(parent) = queue.pop_front() {
            let Some(Tagged::Udt(udt)) = table.tagged(parent) else { continue };
            for field in table.fields(udt.fields).flatten() {
                budget.spend(16)?;
                let Field::Member { ty, name, .. } = field else { continue };
                let mut found = Vec::new();
                anonymous_in(table, ty, 0, &mut found, budget)?;
                for child in found {
                    if self.by_index.contains_key(&child) {
                        continue;
                    }
                    let parent_name = self.by_index.get(&parent).map_or("", |name| name);
                    let name = format!("{parent_name}::<unnamed-type-{}>", String::from_utf8_lossy(name));
                    budget.spend(name.len())?;
                    self.take(child, name.into());
                    queue.push_back(child);
                }
            }
        }
        Ok(())
    }

    /// Gives `index` this name, or the first free `name_N`.
    fn take(&mut self, index: u32, name: Cow<'t, str>) {
        let free = if self.taken.contains(&name) { self.free(&name) } else { name };
        self.taken.insert(free.clone());
        self.by_index.insert(index, free);
    }

    fn free(&mut self, name: &Cow<'t, str>) -> Cow<'t, str> {
        let number = self.next.entry(name.clone()).or_insert(0);
        loop {
            *number += 1;
            let free = Cow::Owned(format!("{name}_{number}"));
            if !self.taken.contains(&free) {
                return free;
            }
        }
    }

    /// The name of a definition.
    pub(super) fn of(&self, index: u32) -> Option<&Cow<'t, str>> {
        let index = self.duplicates.get(&index).unwrap_or(&index);
        self.by_index.get(index)
    }

    /// Every named definition.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.by_index.iter().map(|(index, name)| (*index, &**name))
    }
}

/// The anonymous structs that a type is made of, short of the members of named ones.
fn anonymous_in(
    table: &TypeTable<'_>,
    index: u32,
    depth: u32,
    found: &mut Vec<u32>,
    budget: &mut Budget,
) -> Result<(), PdbError> {
    budget.spend(8)?;
    if depth > Type::MAX_DEPTH {
        return Ok(());
    }
    match table.get(index) {
        Some(Record::Udt(udt)) if !udt.forward && is_anonymous(udt.name) && !found.contains(&index) => {
            found.push(index);
        }
        Some(
            Record::Pointer { target: next, .. }
            | Record::Alias { target: next }
            | Record::Array { element: next, .. }
            | Record::Vector { element: next, .. },
        ) => {
            anonymous_in(table, next, depth + 1, found, budget)?;
        }
        Some(Record::Procedure { ret, args, .. }) => {
            anonymous_in(table, ret, depth + 1, found, budget)?;
            if let Some(Record::ArgList(list)) = table.get(args) {
                for arg in list.indices() {
                    anonymous_in(table, arg, depth + 1, found, budget)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// Size in bytes, and name and number (offset or value) of each member or label.
type Content<'t> = (u64, Vec<(&'t [u8], i128)>);

/// What tells types apart for which a name was made up.
fn content<'t>(table: &TypeTable<'t>, index: u32, budget: &mut Budget) -> Result<Content<'t>, PdbError> {
    let (size, list) = match table.tagged(index) {
        Some(Tagged::Udt(udt)) => (udt.size, udt.fields),
        Some(Tagged::Enum(record)) => (table.size_of(record.base, 0).unwrap_or(0), record.fields),
        None => (0, 0),
    };
    let mut fields = Vec::new();
    for field in table.fields(list).flatten() {
        budget.spend(32)?;
        match field {
            Field::Member { name, offset, .. } => fields.push((name, offset.into())),
            Field::Label { name, value } => fields.push((name, value)),
            _ => {}
        }
    }
    Ok((size, fields))
}

/// The name of the first member or label.
fn first_member<'t>(table: &TypeTable<'t>, index: u32) -> Cow<'t, str> {
    let list = match table.tagged(index) {
        Some(Tagged::Udt(udt)) => udt.fields,
        Some(Tagged::Enum(record)) => record.fields,
        None => return Cow::Borrowed(""),
    };
    // A class may begin with methods; one that has nothing else has no first member.
    let named = table.fields(list).flatten().take(64).find_map(|field| match field {
        Field::Member { name, .. } | Field::Label { name, .. } => Some(name),
        _ => None,
    });
    String::from_utf8_lossy(named.unwrap_or_default())
}
