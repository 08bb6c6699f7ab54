//! Any bytes as physical memory with page tables: every walk ends in bounds, and the fast path says what the steps say.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quaid_analyzer::image::{self, PhysicalMemory};
use quaid_analyzer::paging::{
    AMD64, AMD64_LA57, AddressSpace, EPT, Granule, LinuxPtes, Meaning, PagingSpec, Software, WindowsPtes, X86, X86_PAE,
};
use quaid_analyzer::Va;
use std::io::Write as _;
use std::sync::Arc;

/// A case is a layout, an operating system, a root and an address, and then the memory.
const HEAD_BYTES: usize = 18;

fuzz_target!(|bytes: &[u8]| {
    let Some((head, memory)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return };
    let [layout, system, numbers @ ..] = head;
    let (root, va) = numbers.split_at(8);
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(memory).expect("written");
    let raw = image::Options { format: Some("raw".into()), ..image::Options::default() };
    let Ok(image) = image::open(file.path(), &raw) else { return };
    walk(image.memory(), &spec(*layout), software(*system), number(root), Va(number(va)));
});

fn spec(choice: u8) -> PagingSpec {
    let arm = |granule, bits| PagingSpec::aarch64(granule, bits).expect("a layout");
    match choice % 12 {
        0 => AMD64,
        1 => AMD64_LA57,
        2 => AMD64.with_c_bit(51),
        3 => X86_PAE,
        4 => X86,
        5 => EPT,
        6 => arm(Granule::K4, 48),
        7 => arm(Granule::K4, 52),
        8 => arm(Granule::K16, 47),
        9 => arm(Granule::K16, 52),
        10 => arm(Granule::K64, 42),
        _ => arm(Granule::K64, 52),
    }
}

fn software(choice: u8) -> Software {
    match choice % 6 {
        0 => Software::None,
        1 => Software::Linux(LinuxPtes::Amd64),
        2 => Software::Linux(LinuxPtes::Arm64),
        3 => Software::Linux(LinuxPtes::Arm64Since610),
        4 => Software::Windows(Arc::new(WindowsPtes::amd64(false))),
        _ => Software::Windows(Arc::new(WindowsPtes::amd64(true))),
    }
}

fn walk(memory: &dyn PhysicalMemory, spec: &PagingSpec, software: Software, root: u64, va: Va) {
    let space = AddressSpace::new(memory, spec, software, root).with_root(root);
    let steps = space.walk(va);
    assert!(steps.len() <= spec.levels.len() + 1, "{} steps", steps.len());
    for step in &steps {
        assert!(!step.meaning.to_string().is_empty() && space.flags(step).len() < 100);
    }
    let page = steps.last().and_then(|step| match step.meaning {
        Meaning::Page(page, bytes) | Meaning::Kept(page, bytes, _) => Some(page.wrapping_add(va.0 & (bytes - 1))),
        _ => None,
    });
    // The second time out of the cache of translations.
    for _ in 0..2 {
        assert_eq!(space.translate(va).ok(), page, "{spec} {va}");
    }
    let mut buffer = [0; 0x1800];
    let whole = space.read(va, &mut buffer);
    let mut first = [0; 16];
    if whole.is_ok() {
        space.read(va, &mut first).expect("its beginning");
        assert_eq!(first, buffer[..16]);
    }
}
