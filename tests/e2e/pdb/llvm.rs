//! Types against llvm-pdbutil: size and member offsets of every struct, storage and bits of every bit field, labels.

use super::{good_pdbs, installed, parsed};
use quaid_profile::{Profile, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// What `llvm-pdbutil dump -types` says of a record.
#[derive(Default)]
struct Record {
    kind: String,
    name: String,
    forward: bool,
    size: u64,
    fields: u32,
    /// Name, type index and offset.
    members: Vec<(String, u32, u64)>,
    labels: Vec<(String, i128)>,
    continues: Option<u32>,
    /// First bit and number of bits.
    bits: (u64, u64),
}

fn index(text: &str) -> u32 {
    u32::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or(0)
}

/// The text between `before` and `after`.
fn between<'t>(line: &'t str, before: &str, after: &str) -> Option<&'t str> {
    let (_, rest) = line.split_once(before)?;
    rest.split_once(after).map(|(text, _)| text).or(Some(rest))
}

fn records(dump: &str) -> BTreeMap<u32, Record> {
    let mut records: BTreeMap<u32, Record> = BTreeMap::new();
    let mut current = 0;
    for line in dump.lines().map(str::trim) {
        if let Some((number, rest)) = line.split_once(" | LF_").filter(|(number, _)| number.starts_with("0x")) {
            current = index(number);
            let kind = rest.split(' ').next().unwrap_or_default().to_owned();
            let name = rest.split_once('`').map_or("", |(_, name)| name.trim_end_matches('`')).to_owned();
            records.insert(current, Record { kind, name, ..Record::default() });
            continue;
        }
        let Some(record) = records.get_mut(&current) else { continue };
        if let Some(rest) = line.strip_prefix("- LF_MEMBER [name = `") {
            let (name, rest) = rest.split_once("`, Type = ").expect("a member's type");
            let ty = index(rest.split([' ', ',']).next().expect("an index"));
            let offset = between(rest, "offset = ", ",").and_then(|text| text.parse().ok()).expect("an offset");
            record.members.push((name.to_owned(), ty, offset));
        } else if let Some(rest) = line.strip_prefix("- LF_ENUMERATE [") {
            let (name, value) = rest.trim_end_matches(']').rsplit_once(" = ").expect("a label's value");
            record.labels.push((name.to_owned(), value.parse().expect("a number")));
        } else if line.starts_with("- LF_INDEX") {
            record.continues = between(line, "= ", "]").map(index);
        } else if let Some(text) = between(line, "bit offset = ", ",") {
            record.bits.0 = text.parse().expect("a bit");
            record.bits.1 = between(line, "# bits = ", ",").and_then(|text| text.parse().ok()).expect("bits");
        }
        if let Some(list) = between(line, "field list: ", ",") {
            record.fields = index(list);
        }
        if line.starts_with("options: ") {
            record.forward = line.contains("forward ref");
            if let Some(size) = line.rsplit_once("sizeof ") {
                record.size = size.1.parse().expect("a size");
            }
        }
    }
    records
}

fn lists(records: &BTreeMap<u32, Record>, first: u32) -> impl Iterator<Item = &Record> {
    std::iter::successors(records.get(&first), |list| records.get(&list.continues?))
}

/// The types of this name: as it is, and with the numbers that differing definitions got. An anonymous one can be any
/// whose name was made up.
fn candidates<'p, T>(types: &'p BTreeMap<String, T>, name: &str) -> Vec<(&'p str, &'p T)> {
    let last = name.rsplit(':').next().unwrap_or_default();
    let anonymous = matches!(last, "" | "<unnamed-tag>" | "<anonymous-tag>" | "__unnamed");
    let fits = |key: &str| {
        let numbered = |rest: &str| rest.strip_prefix('_').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
        key.strip_prefix(name).is_some_and(|rest| rest.is_empty() || numbered(rest))
            || (anonymous && key.contains("<unnamed-"))
    };
    types.iter().filter(|(key, _)| fits(key)).map(|(key, value)| (key.as_str(), value)).collect()
}

fn has_struct(profile: &Profile, records: &BTreeMap<u32, Record>, record: &Record) -> bool {
    let members: Vec<_> = lists(records, record.fields).flat_map(|list| &list.members).collect();
    candidates(&profile.structs, &record.name).into_iter().any(|(_, ours)| {
        ours.size == record.size
            && members.iter().all(|(name, ty, offset)| {
                let Some(member) = ours.members.get(name.as_str()) else { return false };
                let bits =
                    records.get(ty).filter(|ty| ty.kind == "BITFIELD").map(|ty| (ty.bits.0, ty.bits.0 + ty.bits.1));
                let our_bits = match member.ty {
                    Type::BitField { start, end, .. } => Some((start, end)),
                    _ => None,
                };
                member.offset == *offset && bits == our_bits
            })
            && ours.members.iter().all(|(name, member)| {
                let known = members.iter().any(|(known, _, _)| known == name);
                // Base classes and the pointer to virtual functions are no LF_MEMBER.
                known || member.anonymous || name == "__VFN_table"
            })
    })
}

fn has_enum(profile: &Profile, records: &BTreeMap<u32, Record>, record: &Record) -> bool {
    let labels: BTreeSet<(&str, i128)> = lists(records, record.fields)
        .flat_map(|list| &list.labels)
        .map(|(label, value)| (label.as_str(), *value))
        .collect();
    candidates(&profile.enums, &record.name).into_iter().any(|(_, ours)| {
        // clang writes labels of signed enums without their sign.
        let range = 1i128 << (8 * ours.size.expect("a size"));
        let unsigned = |value: i128| value.rem_euclid(range);
        let ours: BTreeSet<(&str, i128)> = ours.values.iter().map(|(label, value)| (label.as_str(), *value)).collect();
        let folded =
            |set: &BTreeSet<(&str, i128)>| set.iter().map(|(l, v)| ((*l).to_owned(), unsigned(*v))).collect::<Vec<_>>();
        ours == labels || folded(&ours) == folded(&labels)
    })
}

#[test]
fn types_are_llvm_s() {
    if !installed("llvm-pdbutil") {
        return;
    }
    let (mut structs, mut enums) = (0, 0);
    for path in good_pdbs() {
        let dump = Command::new("llvm-pdbutil").arg("dump").arg("-types").arg(&path).output().expect("it runs");
        // It refuses the type stream of the XP kernel, which Rekall's output judges.
        if path.ends_with("ntkrnlpa.pdb") {
            continue;
        }
        assert!(dump.status.success(), "{}", path.display());
        let records = records(&String::from_utf8_lossy(&dump.stdout));
        let profile = parsed(&path).profile;
        for record in records.values().filter(|record| !record.forward) {
            let (kind, found) = match record.kind.as_str() {
                "STRUCTURE" | "CLASS" | "UNION" | "INTERFACE" => (&mut structs, has_struct(&profile, &records, record)),
                "ENUM" => (&mut enums, has_enum(&profile, &records, record)),
                _ => continue,
            };
            *kind += 1;
            assert!(found, "{}: {} {} of {} bytes", path.display(), record.kind, record.name, record.size);
        }
    }
    assert!((structs > 3000 && enums > 500) || good_pdbs().is_empty(), "{structs} structs, {enums} enums");
}
