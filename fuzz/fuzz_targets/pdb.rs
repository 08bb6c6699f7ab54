//! Any bytes as a PDB: an error, or a profile whose text can be read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quaid::pdb::{ParseOptions, parse};
use quaid_profile::ProfileFile;

fuzz_target!(|bytes: &[u8]| {
    let options = ParseOptions { file_name: "ntkrnlmp.pdb".into(), ..ParseOptions::default() };
    if let Ok(parsed) = parse(bytes, &options, &mut |_, _| {}) {
        let text = parsed.profile.to_rekall();
        let file = ProfileFile::parse("fuzzed", text.as_bytes()).expect("what is written can be read");
        file.decode().expect("all of it");
    }
});
