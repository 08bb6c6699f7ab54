//! `version_scan` on the binary: rows, offsets, layers, exit codes.

use crate::support::{arg, corpus_text, ok, rows, run, unpacked};
use serde_json::Value;
use std::path::Path;

/// A record as a linker writes it; GUID and name are those of the seeds.
const RECORD: &[u8] = b"RSDS\xb5\xa8\xe2\xf8\xb7\xc9\xf4\x4b\xa6\xe4\xa4\x8f\x18\x00\x99\x94\x02\0\0\0ntkrnlmp.pdb\0";

/// Memory in which a record is at 0x27bb5fc, where the seeds have theirs, as a LiME file whose two ranges are adjacent and
/// meet inside the record; another record, of a PDB with a path, lies before it.
fn lime(path: &Path) {
    let (first, cut, end) = (0x27b_a000_u64, 0x27b_b608_u64, 0x27b_c000_u64);
    let mut memory = vec![0; (end - first) as usize];
    memory[0x15fc..0x15fc + RECORD.len()].copy_from_slice(RECORD);
    let other = [&RECORD[..20], b"\x1f\0\0\0D:\\x64\\hal.pdb\0"].concat();
    memory[3..3 + other.len()].copy_from_slice(&other);
    // What is no record: the letters alone, and a name that only ends like one.
    memory[0x800..0x804].copy_from_slice(b"RSDS");
    memory[0x900..0x900 + 24].copy_from_slice(&RECORD[..24]);
    memory[0x918..0x91e].copy_from_slice(b"\x01\x02.pdb");
    let mut file = Vec::new();
    for (start, end) in [(first, cut), (cut, end)] {
        file.extend(b"EMiL\x01\0\0\0");
        file.extend(start.to_le_bytes());
        file.extend((end - 1).to_le_bytes());
        file.extend([0; 8]);
        file.extend(&memory[(start - first) as usize..(end - first) as usize]);
    }
    std::fs::write(path, file).expect("written");
}

#[test]
fn rows_are_those_of_the_manual_with_physical_offsets() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("win7.lime");
    lime(&path);
    let manual = "  Offset (P)   GUID/Version                     PDB\n\
                  -------------- -------------------------------- ------------------------------\n\
                  0x0000027bb5fc F8E2A8B5C9B74BF4A6E4A48F180099942 ntkrnlmp.pdb\n";
    assert_eq!(ok(&["-f", arg(&path), "version_scan", "--name_regex", "krnl"]), manual);
    assert_eq!(ok(&["version_scan", "--name_regex=NTKRNL.*PDB$", arg(&path)]), manual, "any case, any file");
    let all = ok(&["-f", arg(&path), "version_scan"]);
    assert_eq!(all.lines().nth(2), Some("0x0000027ba003 F8E2A8B5C9B74BF4A6E4A48F180099941F D:\\x64\\hal.pdb"));
    assert_eq!(all.lines().count(), 4, "{all}");
    let json = ok(&["-f", arg(&path), "--format", "json", "version_scan"]);
    let expected: Value = serde_json::json!([
        { "offset": "0x27ba003", "guid_age": "F8E2A8B5C9B74BF4A6E4A48F180099941F", "pdb": "D:\\x64\\hal.pdb" },
        { "offset": "0x27bb5fc", "guid_age": "F8E2A8B5C9B74BF4A6E4A48F180099942", "pdb": "ntkrnlmp.pdb" },
    ]);
    assert_eq!(Value::from(rows(&json)), expected);
}

#[test]
fn nothing_found_is_a_sentence_and_exit_code_1() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("win7.lime");
    lime(&path);
    let plain = folder.path().join("plain");
    std::fs::write(&plain, b"nothing of the kind").expect("written");
    for (args, sentence) in [
        (&["-f", arg(&plain), "version_scan"][..], "no RSDS record found"),
        (&["-f", arg(&path), "version_scan", "--name_regex", "tcpip"], "none of the 2 RSDS record(s)"),
        (&["-f", arg(&path), "version_scan", "--name_regex", "("], "--name_regex is not a regular expression"),
        (&["version_scan"], "needs a file"),
    ] {
        let output = run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(stderr.contains(sentence) && output.stdout.is_empty(), "{args:?}: {stderr}");
    }
    let json = run(&["-f", arg(&plain), "--format", "json", "version_scan"]);
    assert_eq!((json.status.code(), &json.stdout[..]), (Some(1), &b"[]\n"[..]), "an array all the same");
}

#[test]
fn a_damaged_image_is_searched_as_it_is_when_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("memory.dmp");
    std::fs::write(&path, [b"PAGEDU64", RECORD].concat()).expect("written");
    let refused = run(&["-f", arg(&path), "version_scan"]);
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(
        stderr.contains("Windows crash dump): its header is cut short") && stderr.contains("--layer raw"),
        "{stderr}"
    );
    let raw = ok(&["--layer", "raw", "-f", arg(&path), "version_scan"]);
    assert!(raw.ends_with("\n0x000000000008 F8E2A8B5C9B74BF4A6E4A48F180099942 ntkrnlmp.pdb\n"), "{raw}");
}

#[test]
fn kernels_of_the_windows_images_are_found_where_they_are() {
    for image in ["xpsp3", "win7x64", "win10_19041"] {
        let Some(path) = unpacked(&format!("windows/images/{image}.raw")) else { return };
        let truth = corpus_text(&format!("windows/images/{image}.truth.json.xz")).expect("the truth");
        let truth: Value = serde_json::from_str(&truth).expect("JSON");
        let guid = truth["pdb"]["GUID"].as_str().expect("a GUID");
        let name = truth["pdb"]["database"].as_str().expect("a name");
        // The place by a search of its own: the first GUID field in memory order, behind the letters.
        let bytes = std::fs::read(&path).expect("readable");
        let first = u32::from_str_radix(&guid[..8], 16).expect("hex").to_le_bytes();
        let wanted = [&b"RSDS"[..], &first].concat();
        let places: Vec<usize> =
            (0..bytes.len() - 8).filter(|&at| bytes[at] == b'R' && bytes[at..at + 8] == wanted).collect();
        let rows = rows(&ok(&["-f", arg(&path), "--format", "json", "version_scan", "--name_regex", name]));
        let seen: Vec<_> = rows.iter().map(|row| (row["offset"].as_str(), row["guid_age"].as_str())).collect();
        let offsets: Vec<String> = places.iter().map(|at| format!("{at:#x}")).collect();
        let id = format!("{guid}{:X}", truth["pdb"]["age"].as_u64().expect("an age"));
        let told: Vec<_> = offsets.iter().map(|at| (Some(at.as_str()), Some(id.as_str()))).collect();
        assert!(!told.is_empty());
        assert_eq!(seen, told, "{image}");
    }
}
