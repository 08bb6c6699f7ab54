//! Any bytes as a kernel's image with its own table of symbols; the types come from BTF with one struct. The seed is a piece
//! of a kernel around its table.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quaid::dwarf::{Options, convert_with};

/// BTF: `struct one { int number; };`.
const BTF: &[u8] = b"\x9f\xeb\x01\0\x18\0\0\0\
    \0\0\0\0\x28\0\0\0\x28\0\0\0\x10\0\0\0\
    \x01\0\0\0\0\0\0\x01\x04\0\0\0\x20\0\0\x01\
    \x05\0\0\0\x01\0\0\x04\x04\0\0\0\x09\0\0\0\x01\0\0\0\0\0\0\0\
    \0int\0one\0number\0";

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    let (image, btf) = (folder.path().join("Image"), folder.path().join("vmlinux.btf"));
    let mut header = vec![0; 4096];
    header[0x38..0x3c].copy_from_slice(b"ARM\x64");
    std::fs::write(&image, [&header[..], bytes].concat()).expect("written");
    std::fs::write(&btf, BTF).expect("written");
    let _ = convert_with(&image, &Options { beside: vec![btf], ..Options::default() });
});
