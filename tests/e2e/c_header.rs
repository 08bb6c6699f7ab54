//! The C header, judged by gcc and clang: its own assertions of sizes and offsets hold, they are all there, and a bit field
//! that is set to ones has its bits where the profile says.

use crate::support::{arg, corpus, ok, skipped};
use serde_json::Value;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// Makes the header of a profile, compiles it with each compiler, and runs a program over its bit fields. Gives how many
/// assertions and bit fields there were.
fn judge(command: &str, source: &Path) -> (usize, usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let header = ok(&["-q", command, arg(source), "--to", "c"]);
    let rekall: Value = serde_json::from_str(&ok(&["-q", command, arg(source)])).expect("JSON");
    let wide = !matches!(rekall["$METADATA"]["arch"].as_str(), Some("I386"));
    let (program, bit_fields) = bit_field_program(&rekall);
    std::fs::write(folder.path().join("types.h"), &header).expect("written");
    std::fs::write(folder.path().join("bits.c"), program).expect("written");
    for compiler in ["gcc", "clang"] {
        let binary = folder.path().join(compiler);
        let compiled = Command::new(compiler)
            .current_dir(folder.path())
            .args(["-std=gnu11", "-Wall", "-Werror", "-O0", "-nostdlib", "-static", "-fno-stack-protector", "-fno-pie"])
            .args([if wide { "-m64" } else { "-m32" }, "bits.c", "-o"])
            .arg(&binary)
            .output();
        let Ok(compiled) = compiled else {
            skipped(&format!("there is no {compiler}"));
            continue;
        };
        let errors = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "{compiler}, {}: {errors}", source.display());
        match Command::new(&binary).output() {
            Ok(run) => assert_eq!(
                run.status.code(),
                Some(0),
                "{compiler}, {}: bit field number {}",
                source.display(),
                String::from_utf8_lossy(&run.stdout)
            ),
            Err(why) => skipped(&format!("cannot run a program of this width: {why}")),
        }
    }
    // Every struct has its size asserted, and every member that is no bit field its offset.
    let mut expected = 0;
    for definition in rekall["$STRUCTS"].as_object().expect("structs").values() {
        let members = definition[1].as_object().expect("members").values();
        expected += 1 + members.filter(|member| member[1][0] != "BitField").count();
    }
    let asserted = header.matches("_Static_assert").count();
    assert_eq!(asserted, expected, "{}", source.display());
    (asserted, bit_fields)
}

/// A program that needs no library: it sets each bit field alone and compares every bit of the struct; it ends with 1, and
/// the number of the field printed, where one is elsewhere.
fn bit_field_program(rekall: &Value) -> (String, usize) {
    let mut text = String::from(
        "#include \"types.h\"\n\
         static long call(long number, long a, long b, long c) {\n    long result;\n\
         #if __SIZEOF_POINTER__ == 8\n\
         \x20   __asm__ volatile(\"syscall\" : \"=a\"(result) : \"a\"(number == 4 ? 1 : 60), \"D\"(a), \"S\"(b), \"d\"(c) : \"rcx\", \"r11\", \"memory\");\n\
         #else\n\
         \x20   __asm__ volatile(\"int $0x80\" : \"=a\"(result) : \"a\"(number), \"b\"(a), \"c\"(b), \"d\"(c) : \"memory\");\n\
         #endif\n    return result;\n}\n\
         __attribute__((unused)) static void fail(long number) {\n    char digits[24]; int at = 24;\n\
         \x20   do { digits[--at] = (char)('0' + number % 10); number /= 10; } while (number);\n\
         \x20   call(4, 1, (long)(digits + at), 24 - at); call(1, 1, 0, 0);\n}\n\
         __attribute__((unused)) static volatile int all_ones = -1;\n\
         #define BIT_FIELD(number, type, member, from, to) \\\n\
         \x20   { static union { type s; unsigned char bytes[sizeof(type)]; } u; \\\n\
         \x20     u.s.member = all_ones; \\\n\
         \x20     for (unsigned long bit = 0; bit < sizeof(type) * 8; bit++) \\\n\
         \x20       if ((u.bytes[bit / 8] >> bit % 8 & 1) != (bit >= from && bit < to)) fail(number); }\n\
         void _start(void) {\n",
    );
    let mut number = 0;
    let unions: Vec<&str> =
        rekall["$ISF"]["unions"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, definition) in rekall["$STRUCTS"].as_object().expect("structs") {
        let is_identifier = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let keyword = if unions.contains(&name.as_str()) { "union" } else { "struct" };
        for (member, told) in definition[1].as_object().expect("members") {
            if told[1][0] != "BitField" || !is_identifier(name) || !is_identifier(member) {
                continue;
            }
            let value = |value: &Value| value.as_u64().expect("a number");
            let base = value(&told[0]) * 8;
            let (from, to) = (base + value(&told[1][1]["start_bit"]), base + value(&told[1][1]["end_bit"]));
            number += 1;
            let _ = writeln!(text, "    BIT_FIELD({number}, {keyword} {name}, {member}, {from}, {to})");
        }
    }
    text.push_str("    call(1, 0, 0, 0);\n}\n");
    (text, number)
}

#[test]
fn headers_of_kernels_have_the_right_offsets() {
    let Some(kernel) = corpus("windows/pdb/nt/ntkrnlpa.pdb") else { return };
    let (asserted, bits) = judge("parse_pdb", &kernel);
    assert!(asserted > 4_500 && bits > 300, "{asserted} {bits}");
    let Some(made) = corpus("windows/pdb/lld/ntkrnlmp_x86_64.pdb") else { return };
    judge("parse_pdb", &made);
}

#[test]
fn headers_of_ntdll_and_of_c_plus_plus_have_the_right_offsets() {
    for name in ["win7ms/ntdll", "msvc/win64-ci_softokn3", "msvc/pe__test_dll_winsdk81"] {
        let Some(pdb) = corpus(&format!("windows/pdb/{name}.pdb")) else { return };
        let (asserted, _) = judge("parse_pdb", &pdb);
        assert!(asserted > 1_500, "{name}: {asserted}");
    }
}

#[test]
fn the_header_of_a_linux_module_has_the_right_offsets() {
    let Some(zip) = corpus("linux/profiles/debian-6.1.0-56-cloud-amd64-dwarf5.zip") else { return };
    let (asserted, bits) = judge("convert_profile", &zip);
    assert!(asserted > 9_000 && bits > 300, "{asserted} {bits}");
    let header = ok(&["-q", "convert_profile", arg(&zip), "--to", "c"]);
    // Integers are integers, and no arrays of bytes.
    for line in
        ["    uint32_t __state;\n", "\ntypedef int32_t pid_t;\n", " pid_t pid;\n", "\ntypedef uint32_t gfp_t;\n"]
    {
        assert!(header.contains(line), "{line}");
    }
}

#[test]
fn a_header_of_another_width_is_refused_by_the_compiler() {
    let Some(pdb) = corpus("windows/pdb/nt/ntkrnlpa.pdb") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let header = folder.path().join("types.h");
    ok(&["-q", "parse_pdb", arg(&pdb), "--to", "c", "--output", arg(&header)]);
    let Ok(output) = Command::new("gcc").args(["-m64", "-fsyntax-only", "-x", "c"]).arg(&header).output() else {
        return skipped("there is no gcc");
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("pointers have 4 bytes"), "{errors}");
}
