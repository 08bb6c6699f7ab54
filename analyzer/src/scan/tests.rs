use super::*;
use crate::image::testing::{Random, TestMemory};

/// The definition: every window of every span of adjacent bytes.
fn naive(pieces: &[(u64, Vec<u8>)], needle: &[u8]) -> Vec<Pa> {
    let mut spans: Vec<(u64, Vec<u8>)> = Vec::new();
    for (start, bytes) in pieces {
        match spans.last_mut() {
            Some((first, span)) if *first + span.len() as u64 == *start => span.extend(bytes),
            _ => spans.push((*start, bytes.clone())),
        }
    }
    let hits = |(start, span): &(u64, Vec<u8>)| {
        let start = *start;
        let places: Vec<usize> =
            span.windows(needle.len()).enumerate().filter(|(_, w)| *w == needle).map(|(i, _)| i).collect();
        places.into_iter().map(move |place| Pa(start + place as u64))
    };
    spans.iter().flat_map(hits).collect()
}

#[test]
fn finds_what_a_naive_search_finds_whatever_the_runs_and_blocks() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for round in 0..300 {
        let mut at = random.below(50);
        let mut pieces = Vec::new();
        for _ in 0..random.below(6) {
            let bytes: Vec<u8> = (0..=random.below(20)).map(|_| b"ab"[random.below(2) as usize]).collect();
            let next = at + bytes.len() as u64;
            pieces.push((at, bytes));
            at = next + if random.below(3) == 0 { 1 + random.below(3) } else { 0 };
        }
        for needle in [&b"a"[..], b"ab", b"aa", b"aba", b"abab", b"aaaaaa", b"abbabab"] {
            let expected = naive(&pieces, needle);
            let mapped = TestMemory::new(pieces.clone()).mapped();
            let read = TestMemory::new(pieces.clone());
            for bytes in 1..9 {
                let cut = Pieces { mapped: bytes, read: bytes, shares: Shares { threads: 1, block: bytes } };
                for memory in [&mapped, &read] {
                    let hits: Vec<Pa> = Hits(AnyHits::new(memory, &[needle], cut)).collect();
                    assert_eq!(hits, expected, "round {round}, pieces of {bytes}, {needle:?} in {pieces:?}");
                }
            }
        }
    }
}

/// What a naive search for each needle finds.
fn naive_any(pieces: &[(u64, Vec<u8>)], needles: &[&[u8]]) -> Vec<(usize, Pa)> {
    let of = |(index, needle): (usize, &&[u8])| naive(pieces, needle).into_iter().map(move |at| (at, index));
    let mut all: Vec<(Pa, usize)> =
        needles.iter().enumerate().filter(|(_, needle)| !needle.is_empty()).flat_map(of).collect();
    all.sort_unstable();
    all.into_iter().map(|(at, index)| (index, at)).collect()
}

#[test]
fn several_needles_are_found_in_one_search_as_one_by_one() {
    let mut random = Random(0x6a09_e667_f3bc_c909);
    // Needles that begin or end alike, that are parts of others, an empty one, one that is there twice; more than can be
    // searched for together.
    let many: Vec<Vec<u8>> =
        (0..200_u8).map(|bits| (0..8).map(|bit| b"ab"[usize::from(bits >> bit & 1)]).collect()).collect();
    let sets: [&[&[u8]]; 5] = [
        &[b"ab", b"abba", b"ba"],
        &[b"abab", b"", b"bab", b"abab", b"aaaaaaaa"],
        &[b"a", b"b"],
        &[b"bbbabbba"],
        &many.iter().map(Vec::as_slice).collect::<Vec<_>>(),
    ];
    for round in 0..60 {
        let mut at = random.below(50);
        let mut pieces = Vec::new();
        for _ in 0..random.below(5) {
            let bytes: Vec<u8> = (0..=random.below(60)).map(|_| b"ab"[random.below(2) as usize]).collect();
            let next = at + bytes.len() as u64;
            pieces.push((at, bytes));
            at = next + if random.below(3) == 0 { 1 + random.below(3) } else { 0 };
        }
        for needles in sets {
            let expected = naive_any(&pieces, needles);
            let (mapped, read) = (TestMemory::new(pieces.clone()).mapped(), TestMemory::new(pieces.clone()));
            for bytes in [1, 2, 3, 5, 8, 13, 40] {
                let cut = Pieces { mapped: bytes, read: bytes, shares: Shares { threads: 1, block: bytes } };
                for memory in [&mapped, &read] {
                    let hits: Vec<(usize, Pa)> = AnyHits::new(memory, needles, cut).collect();
                    assert_eq!(hits, expected, "round {round}, pieces of {bytes}, {needles:?} in {pieces:?}");
                }
            }
        }
    }
}

#[test]
fn several_needles_are_found_over_the_borders_of_steps_and_threads() {
    let mut random = Random(0xbb67_ae85_84ca_a73b);
    let mut bytes: Vec<u8> = (0..40_000).map(|_| b"\0nLinux versoSy"[random.below(14) as usize]).collect();
    for at in (0..39_000).step_by(97) {
        bytes[at..at + 14].copy_from_slice(b"Linux version ");
        bytes[at + 40..at + 44].copy_from_slice(b"RSDS");
    }
    let needles: [&[u8]; 4] = [b"RSDS", b"Linux version ", b"Linu", b"System\0\0\0\0\0\0\0\0\0"];
    let expected = naive_any(&[(0x1000, bytes.clone())], &needles);
    assert!(expected.len() > 1200);
    let memory = TestMemory::new(vec![(0x1000, bytes)]).mapped();
    for threads in [1, 3] {
        let cut = Pieces { mapped: 9001, read: 9001, shares: Shares { threads, block: 2500 } };
        assert_eq!(AnyHits::new(&memory, &needles, cut).collect::<Vec<_>>(), expected, "{threads} threads");
    }
}

/// Long enough for several steps in each block, with hits over the borders of both.
#[test]
fn several_threads_find_what_one_finds() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let bytes: Vec<u8> = (0..20_000).map(|_| b"ab"[random.below(2) as usize]).collect();
    let memory = TestMemory::new(vec![(0x1000, bytes.clone())]).mapped();
    for needle in [&b"a"[..], b"abba", b"aaaaaaaa", bytes.get(7000..9000).expect("inside")] {
        let expected = naive(&[(0x1000, bytes.clone())], needle);
        assert!(!expected.is_empty());
        for threads in 1..6 {
            let cut = Pieces { mapped: 9001, read: 9001, shares: Shares { threads, block: 2500 } };
            assert_eq!(Hits(AnyHits::new(&memory, &[needle], cut)).collect::<Vec<_>>(), expected, "{threads} threads");
        }
    }
}

#[test]
fn an_empty_needle_is_nowhere() {
    let memory = TestMemory::new(vec![(0, vec![0; 100])]);
    assert_eq!(find_all(&memory, b"").count(), 0);
}

#[test]
fn a_bad_sector_costs_its_page_only_and_is_told() {
    let mut bytes = vec![0; 0x4000];
    for at in [0x10, 0x1ffe, 0x2800, 0x3000, 0x3ffc] {
        bytes[at..at + 4].copy_from_slice(b"RSDS");
    }
    let memory = TestMemory::new(vec![(0x10_0000, bytes)]).unreadable(0x10_2000);
    let mut hits = find_all(&memory, b"RSDS");
    // 0x1ffe reaches into the bad page, 0x2800 is in it.
    assert_eq!(hits.by_ref().collect::<Vec<_>>(), [Pa(0x10_0010), Pa(0x10_3000), Pa(0x10_3ffc)]);
    assert_eq!(hits.unreadable_bytes(), 0x1000);
    assert_eq!(hits.faults().iter().map(ToString::to_string).collect::<Vec<_>>(), ["bad sector"]);
}

/// LiME and ELF files may have runs that begin inside a page.
#[test]
fn a_bad_sector_costs_its_page_only_in_a_run_that_begins_inside_a_page() {
    let mut bytes = vec![0; 0x2800];
    for at in [0x100, 0x7fc, 0x900, 0x1800, 0x27fc] {
        bytes[at..at + 4].copy_from_slice(b"RSDS");
    }
    let memory = TestMemory::new(vec![(0x10_0800, bytes)]).unreadable(0x10_1010);
    let mut hits = find_all(&memory, b"RSDS");
    // 0x10_0900 and the end of the page before the bad one, which has 0x10_1100, and what is behind it.
    let expected = [Pa(0x10_0900), Pa(0x10_0ffc), Pa(0x10_2000), Pa(0x10_2ffc)];
    assert_eq!(hits.by_ref().collect::<Vec<_>>(), expected);
    assert_eq!(hits.unreadable_bytes(), 0x1000);
}
