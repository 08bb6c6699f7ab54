//! Types of the kernel's variables that tools start from, for sources that do not tell them: a module's debugging
//! information and BTF have the types, and only the kernel's own DWARF says which variable has which.
//!
//! `known_symbols.tsv` has what `scripts/known-symbols` derives from the DWARF of real kernels. Beside what quaid's plugins
//! start from it has what those of Volatility 3 ask for.

use quaid_profile::{Profile, Type};

const TABLE: &str = include_str!("known_symbols.tsv");

/// The largest alignment that compilers give an array by themselves (x86-64), in bytes: the next symbol is nearer to its end.
const ALIGNMENT: u64 = 32;

/// A line of the table.
#[derive(Clone, Copy)]
struct Known {
    symbol: &'static str,
    ty: &'static str,
    /// The release since which the symbol has this type, where it has not always one.
    since: Option<(u32, u32)>,
}

fn table() -> impl Iterator<Item = Known> {
    TABLE.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut fields = line.split('\t');
        Some(Known { symbol: fields.next()?, ty: fields.next()?, since: fields.next().and_then(numbers) })
    })
}

/// Adds the types of known variables that the profile has without one; gives how many.
pub(super) fn add_types(profile: &mut Profile) -> usize {
    let release = profile.metadata.release().and_then(numbers);
    let mut found: Vec<(Known, Type)> = Vec::new();
    for known in table() {
        let untyped =
            profile.constants.contains_key(known.symbol) && !profile.constant_types.contains_key(known.symbol);
        let name = known.ty.rsplit(['*', ']']).next().unwrap_or(known.ty);
        let has_type = profile.structs.contains_key(name) || profile.base_types.contains_key(name);
        let holds = known.since.is_none_or(|since| release.is_some_and(|release| release >= since));
        if untyped && has_type && holds {
            found.retain(|(earlier, _)| earlier.symbol != known.symbol);
            found.push((known, ty(known.ty)));
        }
    }
    found.retain(|(known, ty)| known.since.is_none() || fills_its_room(profile, known.symbol, ty));
    let added = found.len();
    profile.constant_types.extend(found.into_iter().map(|(known, ty)| (known.symbol.to_owned(), ty)));
    added
}

/// Whether an array of structs ends where the next symbol begins, or less than an alignment before. A length that a release
/// alone tells is wrong where a distribution has more elements, or the release is newer than the table.
fn fills_its_room(profile: &Profile, symbol: &str, ty: &Type) -> bool {
    let Some(&address) = profile.constants.get(symbol) else { return false };
    let Type::Array { target, count } = ty else { return false };
    let Type::Named(element) = &**target else { return false };
    let size = profile.structs.get(element).and_then(|element| element.size.checked_mul(*count));
    let addresses = profile.constants.values().chain(profile.functions.values());
    let room = addresses.filter(|&&next| next > address).min().map(|next| next - address);
    let spare = room.zip(size).and_then(|(room, size)| room.checked_sub(size));
    spare.is_some_and(|spare| spare < ALIGNMENT)
}

/// The type that a line of the list tells.
fn ty(text: &str) -> Type {
    if let Some(target) = text.strip_prefix('*') {
        return Type::pointer_to(ty(target));
    }
    let array = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    match array.and_then(|(count, element)| Some((count.parse().ok()?, element))) {
        Some((count, element)) => Type::array_of(ty(element), count),
        None => Type::named(text),
    }
}

/// The first two numbers of a release: `6.1.0-56-cloud-amd64`.
fn numbers(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quaid_profile::{ProfileFile, Struct};
    use std::collections::BTreeSet;
    use std::io::Read;
    use std::path::Path;

    #[test]
    fn the_table_s_types_are_those_that_dwarf2json_reads_from_real_kernels() {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
        let corpus = std::env::var_os("QUAID_CORPUS").map_or(beside, Into::into);
        let mut judged = BTreeSet::new();
        for (name, taint_flags) in [
            ("profiles/debian-6.1.0-56-cloud-amd64.isf.json", 19),
            ("arm64/linux-6.1.0-56-cloud-arm64.isf.json", 19),
            ("linux-5.10/debian-5.10.0-43-cloud-amd64.json", 18),
        ] {
            let Ok(packed) = std::fs::read(corpus.join(format!("linux/{name}.xz"))) else {
                eprintln!("skipped: no ISF of {name}");
                return;
            };
            let mut text = Vec::new();
            lzma_rust2::XzReader::new(&packed[..], true).read_to_end(&mut text).expect("xz data");
            let told = ProfileFile::parse(name, &text).expect("a profile").decode().expect("a profile");
            let mut without = told.clone();
            without.constant_types.clear();
            // The symbol that System.map has next, of a name that dwarf2json keeps once.
            without.constants.insert("__func__.1_1".to_owned(), without.constants["taint_flags"] + 64);
            assert!(add_types(&mut without) > 40, "{name}");
            assert_eq!(without.constant_types["taint_flags"], array_of_flags(taint_flags), "{name}");
            for (symbol, ty) in &without.constant_types {
                // Two names of one struct: dwarf2json takes the typedef.
                let same = |own: &Type, other: &Type| match (own, other) {
                    (Type::Array { target: own, count }, Type::Array { target: other, count: told_count }) => {
                        count == told_count && (own == other || definition(&told, own) == definition(&told, other))
                    }
                    _ => own == other,
                };
                // Without an address it is none of the kernel's, but of a function or a declaration.
                let told_type = told.constant_types.get(symbol).filter(|_| told.constants[symbol] != 0);
                // Of arm64's hypervisor, whose symbols have a prefix that DWARF does not: the kernel itself has no such variable.
                let of_hypervisor = name.starts_with("arm64") && symbol == "vmemmap_base";
                if let Some(other) = told_type.filter(|_| !of_hypervisor) {
                    assert!(same(ty, other), "{symbol} of {name}: {ty:?}, dwarf2json {other:?}");
                    judged.insert(symbol.clone());
                }
            }
        }
        let all: BTreeSet<String> = table().map(|known| known.symbol.to_owned()).collect();
        assert_eq!(judged, all, "each is in one of them");
    }

    fn definition<'p>(profile: &'p Profile, ty: &Type) -> Option<&'p Struct> {
        let Type::Named(name) = ty else { return None };
        profile.structs.get(name)
    }

    fn array_of_flags(count: u64) -> Type {
        Type::array_of(Type::named("taint_flag"), count)
    }

    /// A profile with `taint_flags` of elements of three bytes, and another symbol `room` bytes after it.
    fn with_room(release: &str, room: u64) -> Profile {
        let mut profile = Profile::default();
        profile.metadata.set("Release", release);
        profile.constants.insert("taint_flags".to_owned(), 0x1000);
        profile.constants.insert("earlier".to_owned(), 0x800);
        profile.functions.insert("next".to_owned(), 0x1000 + room);
        profile.structs.insert("taint_flag".to_owned(), Struct { size: 3, ..Struct::default() });
        profile
    }

    #[test]
    fn the_length_of_an_array_is_that_of_the_release() {
        for (release, count) in
            [("4.16.0", None), ("4.17", Some(18)), ("5.19.3-x", Some(18)), ("6.14", Some(19)), ("6.15.0", Some(20))]
        {
            let mut profile = with_room(release, 64);
            assert_eq!(add_types(&mut profile), usize::from(count.is_some()), "{release}");
            assert_eq!(profile.constant_types.get("taint_flags"), count.map(array_of_flags).as_ref(), "{release}");
        }
    }

    #[test]
    fn an_array_that_does_not_fill_its_room_has_no_type() {
        // 19 elements of three bytes take 57.
        for (room, fits) in [(56, false), (57, true), (64, true), (88, true), (89, false), (96, false)] {
            let mut profile = with_room("6.1.0", room);
            add_types(&mut profile);
            assert_eq!(profile.constant_types.contains_key("taint_flags"), fits, "{room} bytes");
        }
        let mut last = with_room("6.1.0", 64);
        last.functions.clear();
        assert_eq!(add_types(&mut last), 0, "nothing tells where it ends");
    }
}
