//! Symbol records: public symbols to constants and functions, and the types of data symbols.

use super::ParseReport;
use super::address::{AddressMap, Place};
use super::bytes::Reader;
use super::convert::Converter;
use super::decoration::clean_name;
use super::error::PdbError;
use quaid_profile::{Profile, Type};
use std::borrow::Cow;
use std::collections::HashSet;

/// What the symbol records say; names are those of the stream.
#[derive(Debug, Default)]
pub(super) struct Symbols<'s> {
    publics: Vec<Public<'s>>,
    data: Vec<Data<'s>>,
}

#[derive(Debug)]
struct Public<'s> {
    address: u64,
    function: bool,
    /// Section and offset.
    place: (u16, u32),
    /// As the file has it.
    linkage_name: Cow<'s, str>,
}

/// A data symbol, and the index of its type.
#[derive(Debug)]
struct Data<'s> {
    place: (u16, u32),
    name: Cow<'s, str>,
    ty: u32,
}

const S_LDATA32_ST: u16 = 0x1007;
const S_GDATA32_ST: u16 = 0x1008;
const S_PUB32_ST: u16 = 0x1009;
const S_LDATA32: u16 = 0x110c;
const S_GDATA32: u16 = 0x110d;
const S_PUB32: u16 = 0x110e;
/// Flag of a public symbol: it is a function.
const FUNCTION: u32 = 2;
/// How many data symbols of one place are looked at; real PDBs have one, or a few where the linker folded them.
const MAX_IN_ONE_PLACE: usize = 64;

impl<'s> Symbols<'s> {
    /// Reads the records of the stream. What cannot be placed is counted. `progress` is told the bytes that are left.
    pub(super) fn read(
        stream: &'s [u8],
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
    fn record(&mut self, kind: u16, mut fields: Reader<'s>, map: &AddressMap, report: &mut ParseReport) -> Option<()> {
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
        let linkage_name = String::from_utf8_lossy(fields.text(counted)?);
        let place = (section, offset);
        if !is_public {
            self.data.push(Data { place, name: linkage_name, ty: flags_or_type });
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
        self.publics.push(Public { address, function: flags_or_type & FUNCTION != 0, place, linkage_name });
        Some(())
    }

    /// Fills constants, functions, the names they had, and the types of data.
    pub(super) fn fill(mut self, profile: &mut Profile, types: &mut Converter<'_, '_>) -> Result<(), PdbError> {
        // Names that become the same are numbered in the order of addresses; the rest of the key makes that definite.
        let order = |a: &Public<'_>, b: &Public<'_>| {
            (a.address, &a.linkage_name, a.function).cmp(&(b.address, &b.linkage_name, b.function))
        };
        self.publics.sort_unstable_by(order);
        self.publics.dedup_by(|a, b| order(a, b).is_eq());
        self.data.sort_by_key(|data| data.place);
        let (mut constants, mut functions, mut linkage_names) = (Vec::new(), Vec::new(), Vec::new());
        for (name, public) in unique_names(&self.publics) {
            let ty = if public.function { None } else { self.data_type(public.place, &name, types)? };
            if let Some(ty) = ty {
                profile.constant_types.insert(name.clone().into_owned(), ty);
            }
            if name != public.linkage_name {
                linkage_names.push((name.clone().into_owned(), public.linkage_name.clone().into_owned()));
            }
            if public.function { &mut functions } else { &mut constants }.push((name.into_owned(), public.address));
        }
        profile.constants = constants.into_iter().collect();
        profile.functions = functions.into_iter().collect();
        profile.isf.linkage_names = linkage_names.into_iter().collect();
        Ok(())
    }

    /// The type of the data symbol that is at this place: the one of this name, or the only one.
    fn data_type(
        &self,
        place: (u16, u32),
        name: &str,
        types: &mut Converter<'_, '_>,
    ) -> Result<Option<Type>, PdbError> {
        let start = self.data.partition_point(|data| data.place < place);
        let here = || self.data.iter().skip(start).take(MAX_IN_ONE_PLACE).take_while(|data| data.place == place);
        let same_name = here().find(|data| data.name == name);
        let only = || here().next().filter(|first| here().all(|data| data.ty == first.ty));
        match same_name.or_else(only) {
            // Without a type (index 0, or `void`) there is nothing to tell.
            Some(data) if !matches!(data.ty, 0 | 3) => types.data_type(data.ty).map(Some),
            _ => Ok(None),
        }
    }
}

/// A name of its own for each symbol, which are in order of address: without decoration, and where others have the
/// same, the first as it is and the next with `_1`, `_2`, ... after it.
fn unique_names<'p>(publics: &'p [Public<'_>]) -> Vec<(Cow<'p, str>, &'p Public<'p>)> {
    let mut names: Vec<_> = publics.iter().map(|public| (clean_name(&public.linkage_name), public)).collect();
    // Stable: of equal names the one with the lower address stays first.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_collapse_are_numbered_by_address_and_take_no_name_that_exists() {
        let public =
            |address, name: &'static str| Public { address, function: false, place: (1, 0), linkage_name: name.into() };
        let publics =
            [public(1, "_a"), public(2, "_a@4"), public(3, "@a@8"), public(4, "_a_1"), public(5, "?a@@YAXXZ")];
        let mut names = unique_names(&publics);
        names.sort_by_key(|(_, public)| public.address);
        let names: Vec<&str> = names.iter().map(|(name, _)| name.as_ref()).collect();
        assert_eq!(names, ["a", "a_2", "a_3", "a_1", "?a@@YAXXZ"]);
    }
}
