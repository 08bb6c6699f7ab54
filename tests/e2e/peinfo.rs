//! `peinfo` on a PE file that is made here, whose every field is known.

use crate::support::{arg, ok, run};
use quaid::pe::{self, PeError};

const RVA: u32 = 0x1000;
const RAW: u32 = 0x200;

/// A 64-bit PE file with one section, which holds an RSDS record, an export and version information.
pub(crate) fn tiny_pe() -> Vec<u8> {
    pe_with(&rsds())
}

fn rsds() -> Vec<u8> {
    let mut record = b"RSDS".to_vec();
    // The GUID of the seeds' kernel; its first three fields are stored little-endian.
    record.extend([0x87, 0xf6, 0x39, 0x2c, 0x38, 0x42, 0xe7, 0x40, 0x93, 0x30, 0x8f, 0x28, 0xc4, 0xfd, 0xe0, 0xcd]);
    record.extend(2u32.to_le_bytes());
    record.extend(b"c:\\build\\ntkrnlmp.pdb\0");
    record
}

/// The same file with the RSDS record of another PDB: its GUID in hex, as symbol servers write it.
pub(crate) fn pe_of(guid: &str, age: u32, pdb: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0..16).map(|at| u8::from_str_radix(&guid[2 * at..2 * at + 2], 16).expect("hex")).collect();
    for field in [0..4, 4..6, 6..8] {
        bytes[field].reverse();
    }
    pe_with(&[b"RSDS", &bytes[..], &age.to_le_bytes(), pdb.as_bytes(), b"\0"].concat())
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

/// A block of VS_VERSIONINFO.
fn block(kind: u16, key: &str, value: &[u8], below: &[Vec<u8>]) -> Vec<u8> {
    let mut block = vec![0; 6];
    block.extend(utf16(key));
    pad(&mut block, 4);
    block.extend(value);
    for child in below {
        pad(&mut block, 4);
        block.extend(child);
    }
    let value_len = if kind == 1 { value.len() / 2 } else { value.len() };
    let head = [block.len() as u16, value_len as u16, kind];
    block.splice(..6, head.into_iter().flat_map(u16::to_le_bytes));
    block
}

fn version() -> Vec<u8> {
    let string = |key: &str, value: &str| block(1, key, &utf16(value), &[]);
    let strings = [
        string("CompanyName", "Microsoft Corporation"),
        string("FileVersion", "6.1.7600.17273 (win7_gdr.130318-1532)"),
        string("InternalName", "ntkrnlmp.exe"),
    ];
    let info = block(1, "StringFileInfo", &[], &[block(1, "040904B0", &[], &strings)]);
    // VS_FIXEDFILEINFO: signature, version of the structure, 6.1.7600.17273.
    let mut fixed = words(&[0xfeef_04bd, 0x0001_0000, 0x0006_0001, 0x1db0_4379]);
    fixed.resize(52, 0);
    block(0, "VS_VERSION_INFO", &fixed, &[info])
}

/// With this CodeView record, or none when it is empty.
fn pe_with(codeview: &[u8]) -> Vec<u8> {
    // The section: debug directory, its record, exports, resources.
    let mut section = Vec::new();
    let at = |section: &Vec<u8>| RVA + section.len() as u32;
    let record = RVA + 28;
    section.extend(words(&[0, 0, 0, 2, codeview.len() as u32, record, record - RVA + RAW]));
    section.extend(codeview);
    pad(&mut section, 16);

    let exports = at(&section);
    // Four addresses: one with a name, a forwarder, none, and one by ordinal alone; two names and their ordinals.
    let (tables, module) = (exports + 40, exports + 40 + 16 + 8 + 4);
    section.extend(words(&[0, 0, 0, module, 7, 4, 2, tables, tables + 16, tables + 24]));
    section.extend(words(&[0x1234, module + 43, 0, 0x5678]));
    section.extend(words(&[module + 8, module + 35, 0x0001_0000]));
    section.extend(b"ntos.ex\0PsLookupProcessByProcessId\0RtlFill\0NTDLL.RtlFillMemory\0");
    let exports_end = at(&section);
    pad(&mut section, 16);

    let resources = at(&section);
    // Three directories of one entry each: type 16, name 1, language 0x409; then where the data is.
    for (level, id) in [(0u32, 16u32), (1, 1), (2, 0x409)] {
        section.extend(words(&[0, 0, 0, 0x0001_0000, id]));
        section.extend(words(&[if level < 2 { 0x8000_0000 | (24 * (level + 1)) } else { 72 }]));
    }
    let version = version();
    section.extend(words(&[resources + 88, version.len() as u32, 0, 0]));
    section.extend(version);
    let resources_end = at(&section);
    let size = section.len() as u32;
    pad(&mut section, 0x200);

    let mut file = b"MZ".to_vec();
    file.resize(0x3c, 0);
    file.extend(words(&[0x40]));
    file.extend(b"PE\0\0");
    // Machine and number of sections, 2013-03-19 03:32:06, no symbols, size of the optional header, characteristics.
    file.extend(words(&[0x0001_8664, 1_363_663_926, 0, 0, 0x0022_00f0]));
    // Optional header: PE32+, entry point, image base, alignments, versions (6.1, 6.2, 5.2), sizes, native subsystem.
    file.extend(words(&[0x0000_020b, 0, 0, 0, RVA, RVA, 0x4000_0000, 1, 0x1000, 0x200]));
    file.extend(words(&[0x0001_0006, 0x0002_0006, 0x0002_0005, 0, 0x3000, RAW, 0, 1]));
    file.extend(words(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 16]));
    let mut directories = [(0, 0); 16];
    directories[0] = (exports, exports_end - exports);
    directories[2] = (resources, resources_end - resources);
    if !codeview.is_empty() {
        directories[6] = (RVA, 28);
    }
    file.extend(directories.iter().flat_map(|&(rva, size)| words(&[rva, size])));
    file.extend(b".rdata\0\0");
    file.extend(words(&[size, RVA, section.len() as u32, RAW, 0, 0, 0, 0x4000_0040]));
    assert!(file.len() <= RAW as usize);
    pad(&mut file, RAW as usize);
    file.extend(section);
    file
}

fn written(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ntoskrnl.exe");
    std::fs::write(&path, bytes).expect("written");
    (folder, path)
}

const TEXT: &str = "\
Attribute            Value
-------------------- -----
Machine              IMAGE_FILE_MACHINE_AMD64
TimeDateStamp        2013-03-19 03:32:06+0000
Characteristics      IMAGE_FILE_EXECUTABLE_IMAGE, IMAGE_FILE_LARGE_ADDRESS_AWARE
GUID                 2c39f687423840e793308f28c4fde0cd
GUID/Age             2C39F687423840E793308F28C4FDE0CD2
PDB                  ntkrnlmp.pdb
OSVersion            6.1
ImageVersion         6.2
SubsystemVersion     5.2

Sections (Relative to 0x140000000):
Perm Name          Raw Off        VMA       Size
---- ---------- ---------- ---------- ----------
-r-  .rdata          0x200     0x1000      0x2c2

Data Directories:
Name                                         VMA       Size
------------------------------------- ---------- ----------
IMAGE_DIRECTORY_ENTRY_EXPORT              0x1050       0x83
IMAGE_DIRECTORY_ENTRY_RESOURCE            0x10e0      0x1e2
IMAGE_DIRECTORY_ENTRY_DEBUG               0x1000       0x1c

Exports: 3 from ntos.ex
Entry      Ordinal Name
---------- ------- ----
0x1234           7 PsLookupProcessByProcessId
-                8 RtlFill -> NTDLL.RtlFillMemory
0x5678          10

Version Information:
key                  value
-------------------- -----
CompanyName          Microsoft Corporation
FileVersion          6.1.7600.17273 (win7_gdr.130318-1532)
InternalName         ntkrnlmp.exe
";

#[test]
fn text_is_laid_out_as_in_the_seed() {
    let (_folder, path) = written(&tiny_pe());
    assert_eq!(ok(&["peinfo", "--filename", arg(&path)]), TEXT);
    assert_eq!(ok(&["-f", arg(&path), "peinfo"]), TEXT);
}

#[test]
fn json_is_one_object() {
    let (_folder, path) = written(&tiny_pe());
    let json: serde_json::Value = serde_json::from_str(&ok(&["--format", "json", "peinfo", arg(&path)])).expect("JSON");
    assert_eq!(json["machine"], "IMAGE_FILE_MACHINE_AMD64");
    assert_eq!(json["time_date_stamp"], "2013-03-19T03:32:06Z");
    assert_eq!(json["guid_age"], "2C39F687423840E793308F28C4FDE0CD2");
    assert_eq!(json["pdb"], "ntkrnlmp.pdb");
    assert_eq!(json["image_base"], "0x140000000");
    assert_eq!(json["sections"][0]["size"], 0x2c2);
    assert_eq!(json["export_module"], "ntos.ex");
    let exports = serde_json::json!([
        {"ordinal": 7, "name": "PsLookupProcessByProcessId", "rva": "0x1234"},
        {"ordinal": 8, "name": "RtlFill", "forwarder": "NTDLL.RtlFillMemory"},
        {"ordinal": 10, "name": null, "rva": "0x5678"},
    ]);
    assert_eq!(json["exports"], exports);
    assert_eq!(json["version"]["InternalName"], "ntkrnlmp.exe");
}

#[test]
fn files_without_a_guid_are_told_apart() {
    assert_eq!(pe::codeview(&tiny_pe()).expect("a record").guid_age.to_string(), "2C39F687423840E793308F28C4FDE0CD2");
    let nb10 = [b"NB10".to_vec(), words(&[0, 0x3b7d_8460, 1]), b"old.pdb\0".to_vec()].concat();
    assert_eq!(pe::codeview(&pe_with(&nb10)), Err(PeError::Nb10("old.pdb".into())));
    assert_eq!(pe::codeview(&pe_with(&[])), Err(PeError::NoPdb));
    assert!(matches!(pe::codeview(&pe_with(&rsds()[..20])), Err(PeError::Damaged { .. })));
    assert!(matches!(pe::codeview(b"MZ"), Err(PeError::NotPe(_))));
}

#[test]
fn cut_and_damaged_files_never_panic() {
    let whole = tiny_pe();
    for len in 0..whole.len() {
        // Either it is refused, or what is missing is told, or nothing that is shown was cut.
        if let Ok(info) = pe::parse(&whole[..len]) {
            assert!(len >= 0x40 + 24 && info.machine == 0x8664, "{len} bytes");
        }
    }
    for at in 0..whole.len() {
        for value in [0, 0x7f, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            let _ = pe::parse(&bytes);
        }
    }
    let (_folder, path) = written(b"this is text, and no PE file");
    let refused = run(&["peinfo", arg(&path)]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stdout.is_empty());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not a PE file"));
}
