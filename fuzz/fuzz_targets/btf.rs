//! Any bytes as the BTF of a kernel, and as that of a module of it: an error, or types whose text can be read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quaid::btf::Btf;
use quaid_profile::{Profile, ProfileFile};

fuzz_target!(|bytes: &[u8]| {
    let Ok(kernel) = Btf::parse("kernel", bytes, None) else { return };
    let module = Btf::parse("module", bytes, Some(&kernel));
    for btf in [Some(&kernel), module.as_ref().ok()].into_iter().flatten() {
        let mut profile = Profile::default();
        profile.constants.insert("init_task".to_owned(), 0);
        if btf.add_types("fuzzed", 8, &mut profile).is_ok() {
            let text = profile.to_rekall();
            let file = ProfileFile::parse("fuzzed", text.as_bytes()).expect("what is written can be read");
            file.decode().expect("all of it");
        }
    }
});
