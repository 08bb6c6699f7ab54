//! PDBs of format 2.00 (Visual C++ 6) against pdb2, which reads their container and records, too.

use super::{name, parsed};
use crate::support::corpus;
use pdb2::{FallibleIterator as _, TypeData};
use std::collections::BTreeMap;

/// Name and offset of each member.
type Members = BTreeMap<String, u64>;

/// The members of a field list and of those that continue it, and its labels.
fn fields(finder: &pdb2::TypeFinder<'_>, list: pdb2::TypeIndex) -> (Members, BTreeMap<String, i128>) {
    let (mut members, mut labels) = (Members::new(), BTreeMap::new());
    let mut next = Some(list);
    while let Some(list) = next {
        let Ok(TypeData::FieldList(list)) = finder.find(list).expect("an index").parse() else { break };
        for field in list.fields {
            match field {
                TypeData::Member(member) => {
                    members.insert(member.name.to_string().into_owned(), member.offset);
                }
                TypeData::Enumerate(label) => {
                    let value = label.value.to_string().parse().expect("a number");
                    labels.insert(label.name.to_string().into_owned(), value);
                }
                _ => {}
            }
        }
        next = list.continuation;
    }
    (members, labels)
}

#[test]
fn types_of_format_2_00_are_pdb2_s() {
    let Some(path) = corpus("windows/pdb/old/peekPE__vc60.pdb") else { return };
    let profile = parsed(&path).profile;
    assert_eq!(
        profile.metadata.text("GUID_AGE"),
        Some("5555CD398"),
        "signature and age, as the corpus's table has them"
    );
    let mut pdb = pdb2::PDB::open(std::fs::File::open(&path).expect("opens")).expect("a PDB");
    let types = pdb.type_information().expect("types");
    let (mut finder, mut iter) = (types.finder(), types.iter());
    let mut all = Vec::new();
    while let Some(item) = iter.next().expect("a record") {
        finder.update(&iter);
        all.push(item);
    }
    let (mut structs, mut anonymous, mut compared) = (0, 0, 0);
    for item in all {
        let (type_name, size, list) = match item.parse() {
            Ok(TypeData::Class(class)) if !class.properties.forward_reference() => {
                (class.name, class.size, class.fields)
            }
            Ok(TypeData::Union(union)) if !union.properties.forward_reference() => {
                (union.name, union.size, Some(union.fields))
            }
            Ok(TypeData::Enumeration(record)) if !record.properties.forward_reference() => {
                let labels = fields(&finder, record.fields).1;
                let ours = profile.enums.get(&*record.name.to_string()).expect("the enum");
                assert_eq!(ours.values.iter().cloned().collect::<BTreeMap<_, _>>(), labels, "{}", record.name);
                continue;
            }
            _ => continue,
        };
        structs += 1;
        let members = list.map(|list| fields(&finder, list).0).unwrap_or_default();
        let same = |ours: &quaid_profile::Struct| {
            let own = ours.members.iter().filter(|(name, member)| !member.anonymous && *name != "__VFN_table");
            ours.size == size && own.map(|(name, member)| (name.clone(), member.offset)).collect::<Members>() == members
        };
        compared += members.len();
        let type_name = type_name.to_string();
        let found = match type_name.as_ref() {
            made_up if made_up.ends_with("__unnamed") => {
                anonymous += 1;
                profile.structs.iter().any(|(name, ours)| name.contains("<unnamed-type-") && same(ours))
            }
            named => profile.structs.get(named).is_some_and(same),
        };
        assert!(found, "{}: {type_name} of {size} bytes: {members:?}", name(&path));
    }
    assert_eq!((structs, profile.structs.len()), (87, 87));
    assert!(compared > 300 && anonymous > 3, "{compared} members, {anonymous} without a name");
}

/// The PDB of a program refers to the compiler's own for its types, and has a DBI stream of its time.
#[test]
fn a_program_s_pdb_of_format_2_00_is_read() {
    let Some(path) = corpus("windows/pdb/old/peekPE__peekPE.pdb") else { return };
    let parsed = parsed(&path);
    assert_eq!(parsed.profile.metadata.text("GUID_AGE"), Some("5555CD4F2"));
    assert_eq!(parsed.profile.metadata.text("arch"), Some("I386"));
    assert!(parsed.profile.structs.is_empty(), "its two records are functions");
}
