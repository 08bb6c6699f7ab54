//! Any bytes as a profile, Rekall JSON or ISF: an error, or what the writer takes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quaid_profile::ProfileFile;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = ProfileFile::parse("fuzzed", bytes) else { return };
    // Its layout alone, and by way of the model.
    let _ = file.canonical();
    if let Ok(profile) = file.decode() {
        let _ = profile.to_rekall();
        let (isf, _) = profile.to_isf();
        ProfileFile::parse("written", isf.as_bytes()).expect("its own form").decode().expect("its own form");
    }
});
