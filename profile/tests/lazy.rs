//! Opening a profile decodes nothing but what is asked for.

use quaid_profile::{ErrorKind, ProfileFile, Type};
use std::fmt::Write;

/// A profile of 20 MB whose structs are all well-formed JSON and no structs, but for the one that is asked for.
fn large_profile() -> String {
    let mut text = String::from("{\n \"$METADATA\": {\n  \"Type\": \"Profile\"\n }, \n \"$STRUCTS\": {\n");
    let filler = "\"x\", ".repeat(200);
    for i in 0..20_000 {
        writeln!(text, "  \"_A{i:05}\": [\"no size\", [{filler}0]], ").expect("a String takes it");
    }
    text.push_str("  \"_EPROCESS\": [632, {\n   \"UniqueProcessId\": [132, [\"Pointer\", {\n    \"target\": \"Void\"\n   }]]\n  }]\n }\n}");
    text
}

#[test]
fn one_struct_is_answered_although_no_other_can_be_decoded() {
    let text = large_profile();
    assert!(text.len() > 20_000_000, "{}", text.len());
    let file = ProfileFile::parse("large", text.as_bytes()).expect("opens");
    let process = file.structure("_EPROCESS").expect("readable").expect("present");
    assert_eq!(process.members["UniqueProcessId"].offset, 132);
    assert_eq!(process.members["UniqueProcessId"].ty, Type::pointer_to(Type::Void));

    let error = file.structure("_A00007").expect_err("not a struct");
    assert!(error.place.contains("$STRUCTS: _A00007"), "the error names the struct: {error}");
    assert!(file.decode().is_err(), "decoding all of it meets the bad ones");
}

#[test]
fn what_is_no_profile_is_told_as_such() {
    for (bytes, told) in [
        (&b""[..], "not a profile"),
        (b"\xff\xfe", "not UTF-8"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"{\"a\": 1}", "neither Rekall JSON"),
        (b"[1, 2]", "not a profile"),
        (b"{\"$METADATA\": {\"Type\": \"Profile\"", "not a profile"),
        (b"{\"$METADATA\": 3}", "$METADATA"),
        (b"{\"$STRUCTS\": {}, \"$STRUCTS\": {}}", "occurs twice"),
        (b"\x1f\x8b\x08\x00garbage", "damaged gzip"),
        (b"\xfd7zXZ\0garbage", "damaged xz"),
        (b"\x28\xb5\x2f\xfdgarbage", "zstd"),
        (b"{\"metadata\": {\"format\": \"9.0.0\"}, \"user_types\": {}, \"symbols\": {}}", "versions 4, 5 and 6"),
    ] {
        let error = ProfileFile::parse("the file", bytes).expect_err(told);
        assert!(error.to_string().contains(told) && error.place.contains("the file"), "{error}");
        assert!(!matches!(error.kind, ErrorKind::Io(_)));
    }
    let deep = format!("{{\"$STRUCTS\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let deep = ProfileFile::parse("deep", deep.as_bytes()).expect("nothing of it is decoded");
    assert!(deep.decode().is_err() && deep.canonical().is_err(), "nesting is bounded");
}
