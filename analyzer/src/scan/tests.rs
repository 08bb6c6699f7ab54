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
                    let hits: Vec<Pa> = Hits::new(memory, needle, cut).collect();
                    assert_eq!(hits, expected, "round {round}, pieces of {bytes}, {needle:?} in {pieces:?}");
                }
            }
        }
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
            assert_eq!(Hits::new(&memory, needle, cut).collect::<Vec<_>>(), expected, "{threads} threads");
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
