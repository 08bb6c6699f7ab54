//! Containers and compressed images of the corpus, against the memory that their makers put into them.

use crate::support::formats;
use quaid_analyzer::Pa;
use quaid_analyzer::image::{Image, Options, open};
use std::path::Path;

fn image(path: &Path) -> Image {
    open(path, &Options::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// (physical address, offset in flat.raw, bytes)
type Truth = [(u64, usize, usize)];

/// The image has these runs and no other, and each holds what flat.raw has there: read in one go, and page by page from
/// the last to the first.
fn holds(image: &Image, flat: &[u8], truth: &Truth, what: &str) {
    let seen: Vec<_> = image.runs().iter().map(|run| (run.start.0, run.bytes)).collect();
    assert_eq!(seen, truth.iter().map(|&(at, _, bytes)| (at, bytes as u64)).collect::<Vec<_>>(), "{what}");
    assert_eq!(image.warnings, [""; 0], "{what}");
    for &(at, offset, bytes) in truth {
        let expected = flat.get(offset..offset + bytes).expect("inside flat.raw");
        let mut buffer = vec![0xee; bytes];
        assert_eq!(image.read(Pa(at), &mut buffer), Ok(()), "{what} at {at:#x}");
        assert!(buffer == expected, "{what} at {at:#x}");
        for (index, expected) in expected.chunks(4096).enumerate().rev() {
            let mut page = vec![0xee; expected.len()];
            let at = at + 4096 * index as u64;
            assert_eq!(image.read(Pa(at), &mut page), Ok(()), "{what} at {at:#x}");
            assert!(page == expected, "{what} at {at:#x}");
        }
    }
}

fn flat(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("flat.raw")).expect("flat.raw")
}

#[test]
fn vmware_memory_is_where_the_snapshot_file_says() {
    let Some(folder) = formats() else { return };
    let flat = flat(&folder);
    for file in ["synth/vm.vmem", "synth/vm.vmss"] {
        let image = image(&folder.join(file));
        assert_eq!(image.describe(), "VMware");
        // synth/expected.json, vm.vmem
        holds(&image, &flat, &[(0, 0, 0x80_0000), (0x1_0000_0000, 0x80_0000, 0x80_0000)], file);
    }
}
