//! ISF files of other tools, read into the model. The judge is the file itself, walked as plain JSON by serde_json.

use quaid_profile::{Arch, Os, ProfileFile, Type};
use serde_json::Value;
use support::{corpus, unxz};

mod support;

/// Checks every struct, enum and symbol of `file` against the JSON; gives how many members were compared.
fn compare(file: &ProfileFile, json: &Value) -> usize {
    let profile = file.decode().expect("decodes");
    let object = |key: &str| json[key].as_object().expect("an object");
    assert_eq!(profile.structs.len(), object("user_types").len());
    assert_eq!(profile.enums.len(), object("enums").len());
    assert_eq!(profile.constants.len(), object("symbols").len());
    let mut members = 0;
    for (name, told) in object("user_types") {
        let s = &profile.structs[name];
        assert_eq!(Some(s.size), told["size"].as_u64(), "{name}");
        assert_eq!(file.structure(name).expect("readable").as_ref(), Some(s), "{name}, alone and with all others");
        let fields = told["fields"].as_object().expect("fields");
        assert_eq!(s.members.len(), fields.len(), "{name}");
        for (field, told) in fields {
            let member = &s.members[field];
            assert_eq!(Some(member.offset), told["offset"].as_u64(), "{name}.{field}");
            assert_eq!(member.anonymous, told["anonymous"].as_bool().unwrap_or(false), "{name}.{field}");
            let ty = &told["type"];
            match &member.ty {
                Type::BitField { start, end, .. } => {
                    assert_eq!(Some(*start), ty["bit_position"].as_u64(), "{name}.{field}");
                    assert_eq!(Some(end - start), ty["bit_length"].as_u64(), "{name}.{field}");
                }
                Type::Array { count, .. } => assert_eq!(Some(*count), ty["count"].as_u64(), "{name}.{field}"),
                Type::Pointer { .. } => assert_eq!(ty["kind"], "pointer", "{name}.{field}"),
                Type::Enum { name: of, .. } | Type::Named(of) => assert_eq!(ty["name"], of.as_str(), "{name}.{field}"),
                Type::Void => assert_eq!(ty["name"], "void", "{name}.{field}"),
                Type::Function { .. } => assert_eq!(ty["kind"], "function", "{name}.{field}"),
                other => panic!("{name}.{field}: {other:?}"),
            }
            members += 1;
        }
    }
    for (name, told) in object("enums") {
        for (label, value) in told["constants"].as_object().expect("constants") {
            let value = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
            let known = profile.enums[name].values.iter().find(|(known, _)| known == label).map(|(_, value)| *value);
            assert_eq!(known, value, "{name}.{label}");
        }
    }
    for (name, told) in object("symbols") {
        assert_eq!(Some(profile.constants[name]), told["address"].as_u64(), "{name}");
    }

    // Everything survives the Rekall form, which masks addresses and needs $ISF for the rest.
    let again = ProfileFile::from_profile(&profile).expect("a profile").decode().expect("decodes");
    for (name, s) in &profile.structs {
        assert_eq!(Some(s), again.structs.get(name), "{name} after Rekall JSON");
    }
    for (name, address) in &profile.constants {
        assert_eq!(Some(address), again.constants.get(name), "{name} after Rekall JSON");
    }
    assert!(profile.constant_types == again.constant_types, "types of symbols after Rekall JSON");
    assert!(profile.base_types == again.base_types, "base types after Rekall JSON");
    assert!(profile.isf == again.isf, "the rest of ISF after Rekall JSON");
    members
}

#[test]
fn dwarf2json_s_kernel_is_read_whole() {
    let Some(path) = corpus("linux/profiles/debian-6.1.0-56-cloud-amd64.isf.json.xz") else { return };
    let text = unxz(&path);
    let file = ProfileFile::parse("isf", &text).expect("a profile");
    let metadata = file.metadata();
    assert_eq!((metadata.os(), metadata.arch()), (Some(Os::Linux), Some(Arch::Amd64)));
    assert_eq!(metadata.release(), Some("6.1.0-56-cloud-amd64"));
    assert!(metadata.banner().expect("a banner").ends_with(')'), "no newline or NUL at its end");
    let members = compare(&file, &serde_json::from_slice(&text).expect("JSON"));
    assert!(members > 40_000, "{members}");
}

#[test]
fn an_arm64_kernel_is_told_from_an_x86_one() {
    let Some(path) = corpus("linux/arm64/linux-6.1.0-56-cloud-arm64.isf.json.xz") else { return };
    let text = unxz(&path);
    let file = ProfileFile::parse("isf", &text).expect("a profile");
    assert_eq!(file.metadata().arch(), Some(Arch::Arm64));
    compare(&file, &serde_json::from_slice(&text).expect("JSON"));
}
