use super::super::testing::{Random, TestMemory};
use super::sample::{TABLES, legacy, modern, pages, put, set, windows_7, windows_11, windows_xp};
use super::*;
use crate::error::FaultReason;

fn opened(file: &[u8]) -> Result<Layer, String> {
    let base: Arc<dyn PhysicalMemory> = Arc::new(TestMemory::new(vec![(0, file.to_vec())]).mapped());
    match probe(&Probe::new(&base, None, true)) {
        Vote::Yes(layer) => Ok(layer),
        Vote::No(why) | Vote::Broken(why) => Err(why),
    }
}

fn runs(layer: &Layer) -> Vec<(u64, u64)> {
    layer.memory.runs().iter().map(|run| (run.start.0 / PAGE_BYTES, run.bytes / PAGE_BYTES)).collect()
}

fn read(layer: &Layer, first: u64, count: u64) -> Result<Vec<u8>, FaultReason> {
    let mut buffer = vec![0xee; (count * PAGE_BYTES) as usize];
    layer.memory.read(Pa(first * PAGE_BYTES), &mut buffer).map(|()| buffer).map_err(|fault| fault.reason)
}

#[test]
fn both_lists_of_windows_8_and_later_are_read_in_each_method() {
    let layer = opened(&windows_11()).expect("an image");
    assert_eq!(runs(&layer), [(5, 1), (0x100, 5), (0x200, 1), (0x10_0000, 16)]);
    for (first, count) in runs(&layer) {
        assert!(read(&layer, first, count) == Ok(pages(first..first + count)), "{first:#x}");
    }
    assert_eq!(read(&layer, 6, 1), Err(FaultReason::NotInImage(Pa(0x6000))));
    // The kernel's list has two pages of the boot list again.
    assert_eq!(layer.warnings.len(), 1, "{:?}", layer.warnings);
    assert!(layer.hints.facts.contains(&("system time".into(), "2026-03-04 04:32:10".into())), "{:?}", layer.hints);

    let boot = set(false, &[(1, 2)], 2);
    let fields = [(0x48, 2), (0x50, 1), (0x54, 0), (0x1b0, 0), (0x2b0, 0x10)];
    let layer = opened(&modern(false, 0x2c8, fields, &boot, &[])).expect("an image");
    assert_eq!((runs(&layer), read(&layer, 1, 2)), (vec![(1, 2)], Ok(pages(1..3))));
}

#[test]
fn lists_that_windows_cleared_and_sets_that_are_damaged_are_told() {
    let mut file = windows_11();
    let second = 4096 + set(true, &[(0x100, 3), (0x200, 1)], 0).len();
    file[second..second + 4].fill(0);
    let layer = opened(&file).expect("an image");
    assert!(layer.warnings[0].contains("the boot list ends after 4 of 6 pages"), "{:?}", layer.warnings);

    // The table of codes of the second set of the boot list.
    let mut file = windows_11();
    file[second + 12] ^= 0x11;
    let layer = opened(&file).expect("an image");
    let fault = read(&layer, 0x104, 1).expect_err("damaged");
    assert!(matches!(fault, FaultReason::Corrupt { why, .. } if why.contains("do not unpack to 2 pages")));
    assert!(read(&layer, 0x100, 3) == Ok(pages(0x100..0x103)));
}

#[test]
fn the_chain_of_tables_of_windows_xp_to_7_is_read() {
    for (file, name) in [(legacy(false, TABLES, windows_xp), "XP"), (legacy(true, TABLES, windows_7), "7")] {
        let layer = opened(&file).expect(name);
        assert_eq!(runs(&layer), [(1, 19), (0x30, 5), (0x100, 32), (0x1000, 3)], "{name}");
        for (first, count) in runs(&layer) {
            assert!(read(&layer, first, count) == Ok(pages(first..first + count)), "{name} {first:#x}");
        }
        assert_eq!(layer.warnings, [""; 0], "{name}");
    }
}

#[test]
fn a_chain_that_goes_round_and_a_file_that_is_cleared_end() {
    let mut file = legacy(true, TABLES, windows_7);
    let last = file.windows(8).rposition(|eight| eight == 0x1000_u64.to_le_bytes()).expect("the last table") - 16;
    put(&mut file, last, 3, 8);
    let layer = opened(&file).expect("an image");
    assert!(layer.warnings[0].contains("the chain of tables breaks"), "{:?}", layer.warnings);
    file[4096..].fill(0);
    assert!(opened(&file).is_err_and(|why| why.contains("no table of memory ranges was found")));
}

#[test]
fn changed_and_missing_bytes_lead_nowhere() {
    let mut random = Random(0x1b1b_1234_9abc_def1);
    for whole in [windows_11(), legacy(true, &[&[(1, 9)]], windows_7)] {
        for round in 0..300 {
            let mut file = whole.clone();
            if round % 3 == 0 {
                file.truncate(random.below(whole.len() as u64) as usize);
            }
            for _ in 0..=random.below(4) {
                // Where the headers are, mostly.
                let at = random.below(0x5000).min(random.below(file.len() as u64 + 1)) as usize;
                if let Some(byte) = file.get_mut(at) {
                    *byte = random.below(256) as u8;
                }
            }
            let Ok(layer) = opened(&file) else { continue };
            for run in layer.memory.runs().iter().take(8) {
                let _fault = read(&layer, run.start.0 / PAGE_BYTES, (run.bytes / PAGE_BYTES).min(20)).is_err();
            }
        }
    }
}

#[test]
fn a_file_whose_header_page_was_cleared_is_told_and_not_taken_for_raw() {
    for (wide, file) in [(false, legacy(false, TABLES, windows_xp)), (true, legacy(true, TABLES, windows_7))] {
        let mut cleared = file.clone();
        cleared[..PAGE_BYTES as usize].fill(0);
        let why = opened(&cleared).err().expect("no image");
        assert!(why.contains("hibernation file whose header page is cleared"), "{wide}: {why}");
        // A page of zeros alone says nothing.
        cleared[PAGE_BYTES as usize..].fill(7);
        assert!(opened(&cleared).is_err_and(|why| why.contains("no signature")), "{wide}");
    }
    // Newer ones have their name alone.
    let folder = tempfile::tempdir().expect("a folder");
    let mut cleared = windows_11();
    cleared[..PAGE_BYTES as usize].fill(0);
    for (name, told) in [("HIBERFIL.SYS", true), ("hiberfil_old.sys", true), ("memory.raw", false)] {
        let path = folder.path().join(name);
        std::fs::write(&path, &cleared).expect("written");
        let opened = crate::image::open(&path, &crate::image::Options::default());
        assert_eq!(opened.is_err_and(|why| why.to_string().contains("header page is cleared")), told, "{name}");
    }
}
