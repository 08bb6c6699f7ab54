//! Symbol records: public symbols to constants and functions, and the types of data symbols.

use super::ParseReport;
use super::address::{AddressMap, Place};
use super::bytes::Reader;
use super::convert::Converter;
use super::decoration::clean_name;
use super::error::PdbError;
use quaid_profile::{Profile, Type};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// What the symbol records say.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    publics: Vec<Public>,
    /// Data symbols by section and offset: name and type index.
    data: HashMap<(u16, u32), Vec<(String, u32)>>,
}

#[derive(Debug)]
struct Public {
    address: u64,
    function: bool,
    section: u16,
    offset: u32,
    /// As the file has it.
    linkage_name: String,
}

const S_LDATA32_ST: u16 = 0x1007;
const S_GDATA32_ST: u16 = 0x1008;
const S_PUB32_ST: u16 = 0x1009;
const S_LDATA32: u16 = 0x110c;
const S_GDATA32: u16 = 0x110d;
const S_PUB32: u16 = 0x110e;
/// Flag of a public symbol: it is a function.
const FUNCTION: u32 = 2;

impl Symbols {
    /// Reads the records of the stream. What cannot be placed is counted. `progress` is told the bytes that are left.
    pub(super) fn read(
        stream: &[u8],
        map: &AddressMap,
        report: &mut ParseReport,
        mut progress: impl FnMut(usize),
    ) -> Self {
        let mut symbols = Self::default();
        let mut rest = Reader(stream);
        while !rest.0.is_empty() {
            let record = rest.u16().and_then(|len| rest.take(usize::from(len))).filter(|record| record.len() >= 2);
            let Some(record) = record else {
                report.skip("rest of the symbol stream, after a record of an impossible length");
                break;
            };
            let mut fields = Reader(record);
            let kind = fields.u16().unwrap_or(0);
            if symbols.record(kind, fields, map, report).is_none() {
                report.skip(&format!("symbol record 0x{kind:04x}"));
            }
            progress(rest.0.len());
        }
        symbols
    }

    /// One record, after its kind; `None` when it is cut short. Kinds that a profile has no use for are passed over.
    ///
    /// Layouts: microsoft-pdb, include/cvinfo.h, `PUBSYM32` and `DATASYM32`. The older forms have counted names.
    fn record(&mut self, kind: u16, mut fields: Reader<'_>, map: &AddressMap, report: &mut ParseReport) -> Option<()> {
        let (is_public, counted) = match kind {
            S_PUB32 => (true, false),
            S_PUB32_ST => (true, true),
            S_LDATA32 | S_GDATA32 => (false, false),
            S_LDATA32_ST | S_GDATA32_ST => (false, true),
            _ => return Some(()),
        };
        let flags_or_type = fields.u32()?;
        let offset = fields.u32()?;
        let section = fields.u16()?;
        let linkage_name = String::from_utf8_lossy(fields.text(counted)?).into_owned();
        if !is_public {
            self.data.entry((section, offset)).or_default().push((linkage_name, flags_or_type));
            return Some(());
        }
        let address = match map.place(section, offset) {
            Place::Rva(address) | Place::Absolute(address) => u64::from(address),
            Place::Removed => {
                report.skip("S_PUB32 of code that was removed from the image");
                return Some(());
            }
            Place::NoSection => {
                report.skip("S_PUB32 of a section that does not exist");
                return Some(());
            }
        };
        self.publics.push(Public { address, function: flags_or_type & FUNCTION != 0, section, offset, linkage_name });
        Some(())
    }

    /// Fills constants, functions, the names they had, and the types of data.
    pub(super) fn fill(
        mut self,
        profile: &mut Profile,
        mut types: Option<&mut Converter<'_, '_>>,
    ) -> Result<(), PdbError> {
        // Names that become the same are numbered in the order of addresses; the rest of the key makes that definite.
        self.publics.sort_unstable_by(|a, b| {
            (a.address, &a.linkage_name, a.function).cmp(&(b.address, &b.linkage_name, b.function))
        });
        self.publics
            .dedup_by(|a, b| (a.address, &a.linkage_name, a.function) == (b.address, &b.linkage_name, b.function));
        let mut constants = Vec::new();
        let mut functions = Vec::new();
        for (name, at) in unique_names(&self.publics) {
            let Some(public) = self.publics.get(at) else { continue };
            if let (Some(types), false) = (types.as_deref_mut(), public.function) {
                let here = self.data.get(&(public.section, public.offset)).map_or(&[][..], Vec::as_slice);
                if let Some(ty) = data_type(here, &name, types)? {
                    profile.constant_types.insert(name.clone(), ty);
                }
            }
            if name != public.linkage_name {
                profile.isf.linkage_names.insert(name.clone(), public.linkage_name.clone());
            }
            if public.function { &mut functions } else { &mut constants }.push((name, public.address));
        }
        profile.constants = constants.into_iter().collect();
        profile.functions = functions.into_iter().collect();
        Ok(())
    }
}

/// The type of the data symbol that is at the same place: the one of the same name, or the only one.
fn data_type(here: &[(String, u32)], name: &str, types: &mut Converter<'_, '_>) -> Result<Option<Type>, PdbError> {
    let same_name = here.iter().find(|(data, _)| data == name);
    let only = || here.first().filter(|(_, first)| here.iter().all(|(_, index)| index == first));
    match same_name.or_else(only) {
        // Without a type (index 0, or `void`) there is nothing to tell.
        Some(&(_, index)) if !matches!(index, 0 | 3) => types.data_type(index).map(Some),
        _ => Ok(None),
    }
}

/// A name of its own for each symbol, which are in order of address: without decoration, and where others have the
/// same, the first as it is and the next with `_1`, `_2`, ... after it. Gives names and indices.
fn unique_names(publics: &[Public]) -> Vec<(String, usize)> {
    let mut groups: BTreeMap<Cow<'_, str>, Vec<usize>> = BTreeMap::new();
    for (at, public) in publics.iter().enumerate() {
        groups.entry(clean_name(&public.linkage_name)).or_default().push(at);
    }
    let mut names = Vec::with_capacity(publics.len());
    let mut made: BTreeMap<String, usize> = BTreeMap::new();
    for (name, group) in &groups {
        let mut number = 0;
        for (nth, &at) in group.iter().enumerate() {
            if nth == 0 {
                names.push((name.clone().into_owned(), at));
                continue;
            }
            // A made-up name takes none that exists.
            let free = loop {
                number += 1;
                let free = format!("{name}_{number}");
                if !groups.contains_key(&*free) && !made.contains_key(&free) {
                    break free;
                }
            };
            made.insert(free, at);
        }
    }
    names.extend(made);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_collapse_are_numbered_by_address_and_take_no_name_that_exists() {
        let public =
            |address, name: &str| Public { address, function: false, section: 1, offset: 0, linkage_name: name.into() };
        let publics =
            [public(1, "_a"), public(2, "_a@4"), public(3, "@a@8"), public(4, "_a_1"), public(5, "?a@@YAXXZ")];
        let mut names = unique_names(&publics);
        names.sort_by_key(|(_, at)| *at);
        let names: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "a_2", "a_3", "a_1", "?a@@YAXXZ"]);
    }
}
