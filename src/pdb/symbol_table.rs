//! From symbols to a profile: records of one thing become one symbol, and each gets a name of its own.

use super::ParseReport;
use super::convert::Converter;
use super::decoration::clean_name;
use super::error::PdbError;
use super::literal::literal;
use super::symbols::{Constant, Scope, Symbol, Symbols};
use crate::demangle::Demangler;
use quaid_profile::{Enum, Profile};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Fills constants, functions, the names they had in the file, and the types of data. Numbers become labels of enums.
/// With `demangled`, C++ names are those of the source.
pub(super) fn fill(
    symbols: Symbols<'_>,
    demangled: bool,
    profile: &mut Profile,
    types: &mut Converter<'_, '_>,
    report: &mut ParseReport,
) -> Result<(), PdbError> {
    let mut demangler = Demangler::for_names(symbols.list.iter().map(|symbol| symbol.name.len()).sum());
    let mut list = merged(symbols.list, &mut demangler);
    // Of several with one name a public symbol keeps it, then the one with the lowest address; the rest of the key makes
    // the order definite.
    list.sort_by(|a, b| {
        let key = |s: &Symbol<'_>| (s.scope != Scope::Public, s.address);
        key(a).cmp(&key(b)).then_with(|| (&a.name, a.function, a.place).cmp(&(&b.name, b.function, b.place)))
    });
    let mut names = Vec::with_capacity(list.len());
    for symbol in &list {
        names.push((name_of(symbol, demangled.then_some(&mut demangler)), symbol));
        // Rekall's index knows wide literals as `str:` too.
        if let Some(literal) = literal(&symbol.name).filter(|literal| literal.wide) {
            names.push((Cow::Owned(format!("lstr:{}", literal.text)), symbol));
        }
    }
    report.skip_times("C++ name, not made readable: those before it are made to take long", demangler.untried);
    let (mut constants, mut functions, mut linkage_names) = (Vec::new(), Vec::new(), Vec::new());
    for (name, symbol) in unique_names(names) {
        let name = name.into_owned();
        // Without a type (index 0, or `void`) there is nothing to tell.
        if !symbol.function && !matches!(symbol.ty, 0 | 3) {
            profile.constant_types.insert(name.clone(), types.data_type(symbol.ty)?);
        }
        if name != symbol.name {
            linkage_names.push((name.clone(), symbol.name.clone().into_owned()));
        }
        if symbol.function { &mut functions } else { &mut constants }.push((name, u64::from(symbol.address)));
    }
    profile.constants = constants.into_iter().collect();
    profile.functions = functions.into_iter().collect();
    profile.isf.linkage_names = linkage_names.into_iter().collect();
    add_numbers(symbols.constants, profile, types)
}

fn name_of<'s>(symbol: &'s Symbol<'_>, demangler: Option<&mut Demangler>) -> Cow<'s, str> {
    match symbol.scope {
        Scope::Public => match demangler.and_then(|demangler| demangler.demangle(&symbol.name)) {
            Some(name) => Cow::Owned(name),
            None => clean_name(&symbol.name),
        },
        // These are the names of the source; an underscore there is the programmer's.
        Scope::Global | Scope::Static => Cow::Borrowed(&symbol.name),
    }
}

/// One symbol for all records of one thing: the public symbol tells the decorated name, the record of the source its
/// type, and a static one may be in two streams. Names of other things at one place (folded functions, aliases) all stay.
fn merged<'b>(mut list: Vec<Symbol<'b>>, demangler: &mut Demangler) -> Vec<Symbol<'b>> {
    list.sort_by(|a, b| (a.place, a.scope, &a.name).cmp(&(b.place, b.scope, &b.name)));
    let mut kept: Vec<Symbol<'b>> = Vec::with_capacity(list.len());
    let (mut first, mut named) = (0, 0);
    let mut names: HashMap<String, usize> = HashMap::new();
    for symbol in list {
        if kept.last().is_none_or(|last| last.place != symbol.place) {
            share_type(kept.get_mut(first..).unwrap_or_default());
            names.clear();
            (first, named) = (kept.len(), kept.len());
            kept.push(symbol);
            continue;
        }
        let same = if symbol.scope == Scope::Public {
            kept.last().is_some_and(|last| last.name == symbol.name).then(|| kept.len() - 1)
        } else {
            for (at, other) in kept.iter().enumerate().skip(named) {
                if other.scope == Scope::Public {
                    names.entry(clean_name(&other.name).into_owned()).or_insert(at);
                    names.extend(demangler.demangle(&other.name).map(|name| (name, at)));
                }
                // The name itself goes before what others have after cleaning.
                names.insert(other.name.clone().into_owned(), at);
            }
            named = kept.len();
            names.get(&*symbol.name).copied()
        };
        match same.and_then(|at| kept.get_mut(at)) {
            Some(same) => {
                same.function |= symbol.function;
                same.ty = if same.ty == 0 { symbol.ty } else { same.ty };
            }
            None => kept.push(symbol),
        }
    }
    share_type(kept.get_mut(first..).unwrap_or_default());
    kept
}

/// What is at one place: public symbols without a type of their own have that of the data there, when it is one type.
fn share_type(here: &mut [Symbol<'_>]) {
    let mut types = here.iter().filter(|symbol| !symbol.function && symbol.ty != 0).map(|symbol| symbol.ty);
    let Some(ty) = types.next().filter(|ty| types.all(|other| other == *ty)) else { return };
    for symbol in here.iter_mut().filter(|symbol| symbol.scope == Scope::Public && !symbol.function) {
        symbol.ty = ty;
    }
}

/// A name of its own for each symbol: where others have the same, the first of them as it is and the next with `_1`,
/// `_2`, ... after it.
fn unique_names<T>(mut names: Vec<(Cow<'_, str>, T)>) -> Vec<(Cow<'_, str>, T)> {
    // Stable: of equal names the first stays first.
    names.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut made = HashSet::new();
    let mut renamed = Vec::new();
    let (mut first, mut number) = (0, 0);
    for at in 1..names.len() {
        let (Some((name, _)), Some((base, _))) = (names.get(at), names.get(first)) else { break };
        if name != base {
            (first, number) = (at, 0);
            continue;
        }
        // A made-up name takes none that exists.
        let free = loop {
            number += 1;
            let free = format!("{base}_{number}");
            let exists = names.binary_search_by(|(known, _)| (**known).cmp(&*free)).is_ok();
            if !exists && made.insert(free.clone()) {
                break free;
            }
        };
        renamed.push((at, free));
    }
    for (at, free) in renamed {
        if let Some((name, _)) = names.get_mut(at) {
            *name = Cow::Owned(free);
        }
    }
    names
}

/// An enum that is made of the numbers of one type.
struct NewEnum<'s> {
    /// Size of the type, in bytes.
    size: u64,
    values: Vec<(Cow<'s, str>, i128)>,
}

/// Numbers by name (S_CONSTANT). Labels of an enum that is in the profile are there already. All others are no addresses,
/// so they do not go among these: they become labels of an enum for each type, `<S_CONSTANT long>`.
fn add_numbers(
    mut numbers: Vec<Constant<'_>>,
    profile: &mut Profile,
    types: &mut Converter<'_, '_>,
) -> Result<(), PdbError> {
    numbers.sort_by(|a, b| (&a.name, a.value, a.ty).cmp(&(&b.name, b.value, b.ty)));
    let mut known: HashMap<String, HashSet<(String, i128)>> = HashMap::new();
    let mut enums: BTreeMap<&'static str, NewEnum<'_>> = BTreeMap::new();
    for Constant { ty, value, name } in numbers {
        let base = types.integer(ty, value);
        let value = base.in_range(value);
        if let Some(name_of_enum) = types.enum_name(ty)? {
            let labels = profile.enums.get(&name_of_enum).map(|e| &e.values);
            let labels = known.entry(name_of_enum).or_insert_with(|| labels.into_iter().flatten().cloned().collect());
            // Compilers put the name of the enum before a label, or leave it out.
            let label = name.rsplit("::").next().unwrap_or_default();
            if labels.contains(&(label.to_owned(), value)) {
                continue;
            }
        }
        let made = enums.entry(base.name).or_insert_with(|| NewEnum { size: base.size, values: Vec::new() });
        made.values.push((name, value));
    }
    for (base, NewEnum { size, mut values }) in enums {
        values.dedup();
        let values = unique_names(values).into_iter().map(|(name, value)| (name.into_owned(), value)).collect();
        let made = Enum { values, base: Some(base.to_owned()), size: Some(size) };
        profile.enums.insert(format!("<S_CONSTANT {base}>"), made);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_become_the_same_are_numbered_by_address() {
        let names = ["_a", "_a@4", "@a@8", "_a_1", "?a@@YAXXZ"];
        let mut names = unique_names(names.iter().enumerate().map(|(at, name)| (clean_name(name), at)).collect());
        names.sort_by_key(|(_, at)| *at);
        let names: Vec<&str> = names.iter().map(|(name, _)| name.as_ref()).collect();
        assert_eq!(names, ["a", "a_2", "a_3", "a_1", "?a@@YAXXZ"]);
    }

    #[test]
    fn records_of_one_thing_are_one_symbol() {
        let symbol = |scope, offset, ty, function, name: &'static str| {
            let name = name.into();
            Symbol { scope, place: (1, offset), address: offset, function, ty, name }
        };
        let list = merged(
            vec![
                symbol(Scope::Static, 1, 0x1001, false, "gone"),
                symbol(Scope::Public, 1, 0, false, "?bar@Foo@@2HA"),
                symbol(Scope::Global, 1, 0x1000, false, "Foo::bar"),
                symbol(Scope::Public, 2, 0, false, "_f"),
                symbol(Scope::Static, 2, 0, true, "f"),
                symbol(Scope::Static, 2, 0, true, "folded"),
                symbol(Scope::Static, 2, 0, true, "folded"),
                symbol(Scope::Public, 3, 0, false, "_data"),
                symbol(Scope::Static, 3, 0x1002, false, "other"),
            ],
            &mut Demangler::for_names(0),
        );
        let list: Vec<_> = list.iter().map(|s| (s.place.1, &*s.name, s.ty, s.function)).collect();
        let expected = [
            (1, "?bar@Foo@@2HA", 0x1000, false),
            (1, "gone", 0x1001, false),
            (2, "_f", 0, true),
            (2, "folded", 0, true),
            (3, "_data", 0x1002, false),
            (3, "other", 0x1002, false),
        ];
        assert_eq!(list, expected);
    }
}
