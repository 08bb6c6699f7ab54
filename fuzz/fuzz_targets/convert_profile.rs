//! Any bytes as a file that profiles are made of, told by its content: ELF with DWARF, zips and other archives, compressed
//! files, kernel images, Mach-O, what other programs printed. An error, or a profile whose text can be read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quaid::dwarf::{Options, convert_with};
use quaid_profile::ProfileFile;
use std::path::PathBuf;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    };
    let source = file("fuzzed", bytes);
    let map = file("System.map", b"ffffffff81000000 T _text\nffffffff82000000 D init_task\n");
    let options = Options { beside: vec![map], ..Options::default() };
    if let Ok((profile, _)) = convert_with(&source, &options) {
        let text = profile.to_rekall();
        let file = ProfileFile::parse("fuzzed", text.as_bytes()).expect("what is written can be read");
        file.decode().expect("all of it");
    }
});
