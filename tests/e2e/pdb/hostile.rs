//! Input that is cut, damaged or made to do harm: an error or a report each time, never a panic, and soon.

use super::mutated::memory_limit;
use crate::limits::limited;
use crate::support::{arg, corpus, run};
use quaid::pdb::{ParseOptions, Parsed, PdbError, parse};

/// Parsed in both ways; what the ordinary one gives.
fn parse_bytes(bytes: &[u8]) -> Result<Parsed, PdbError> {
    let compat = ParseOptions { file_name: "test.pdb".into(), rekall_compat: true, ..ParseOptions::default() };
    if let Ok(parsed) = parse(bytes, &compat, &mut |_, _| {}) {
        assert!(!parsed.profile.to_rekall().is_empty());
    }
    let options =
        ParseOptions { file_name: "test.pdb".into(), module_symbols: true, demangle: true, ..ParseOptions::default() };
    parse(bytes, &options, &mut |_, _| {})
}

/// What a PDB gives in the time and memory of [`mutated`](super::mutated).
fn parse_soon(what: &str, bytes: Vec<u8>) -> Result<Parsed, PdbError> {
    let done = limited(memory_limit(bytes.len()), move || parse_bytes(&bytes));
    done.unwrap_or_else(|why| panic!("{what}: it {why}")).0
}

/// An MSF file of pages of 4096 bytes with these streams.
fn msf(streams: &[Vec<u8>]) -> Vec<u8> {
    const PAGE: usize = 4096;
    let mut pages: Vec<Vec<u8>> = vec![vec![0; PAGE]; 3];
    let mut directory = vec![streams.len() as u32];
    directory.extend(streams.iter().map(|stream| stream.len() as u32));
    for stream in streams {
        for chunk in stream.chunks(PAGE) {
            directory.push(pages.len() as u32);
            pages.push(chunk.to_vec());
        }
    }
    let directory: Vec<u8> = directory.into_iter().flat_map(u32::to_le_bytes).collect();
    let mut index = Vec::new();
    for chunk in directory.chunks(PAGE) {
        index.extend((pages.len() as u32).to_le_bytes());
        pages.push(chunk.to_vec());
    }
    let index_page = pages.len() as u32;
    pages.push(index);
    let mut header = b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0".to_vec();
    for word in [PAGE as u32, 1, pages.len() as u32, directory.len() as u32, 0, index_page] {
        header.extend(word.to_le_bytes());
    }
    pages[0] = header;
    for page in &mut pages {
        page.resize(PAGE, 0);
    }
    pages.concat()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A PDB of these type records, which begin with their kind. Their indices count from 0x1000.
fn pdb_of(records: &[Vec<u8>]) -> Vec<u8> {
    let mut info = words(&[20_000_404, 0, 1]);
    info.extend([7; 16]);
    let mut types = Vec::new();
    for record in records {
        types.extend((record.len() as u16).to_le_bytes());
        types.extend(record);
    }
    let mut tpi = words(&[20_040_203, 56, 0x1000, 0x1000 + records.len() as u32, types.len() as u32]);
    tpi.resize(56, 0);
    tpi.extend(types);
    msf(&[vec![], info, tpi, vec![]])
}

/// A PDB without types, and with public symbols of these names in its one section.
fn pdb_of_symbols(names: &[String]) -> Vec<u8> {
    let mut info = words(&[20_000_404, 0, 1]);
    info.extend([7; 16]);
    let mut symbols = Vec::new();
    for (number, name) in names.iter().enumerate() {
        symbols.extend((name.len() as u16 + 13).to_le_bytes());
        symbols.extend([0x0e, 0x11]);
        symbols.extend(words(&[0, number as u32]));
        symbols.extend([1, 0]);
        symbols.extend(name.bytes().chain([0]));
    }
    let mut section = b".data\0\0\0".to_vec();
    section.extend(words(&[0x10_0000, 0x1000]));
    section.resize(40, 0);
    let mut dbi = words(&[u32::MAX, 19_990_903, 1]);
    dbi.resize(64, 0);
    dbi[20] = 4;
    // Length of the optional header, and the machine: AMD64. Of the streams in that header the sixth has the sections.
    dbi[48] = 22;
    dbi[58..60].copy_from_slice(&0x8664u16.to_le_bytes());
    dbi.extend([[0xff; 10].as_slice(), &[5, 0], &[0xff; 10]].concat());
    msf(&[vec![], info, vec![], dbi, symbols, section])
}

/// Names that each take long: those that are not tried are told, and keep the name that they have.
#[test]
fn names_that_unfold_are_tried_as_long_as_it_is_cheap() {
    let unfolding = ["0", "1", "2"].map(|n| format!("P6AX{}@Z", n.repeat(9))).concat();
    let names: Vec<String> = (0..20_000).map(|n| format!("?f{n}@@YAXPAH{unfolding}@Z")).collect();
    let parsed = parse_soon("names that unfold", pdb_of_symbols(&names)).expect("the rest is read");
    let constants = &parsed.profile.constants;
    assert_eq!((constants.get("f0"), constants.get(&names[19_999])), (Some(&0x1000), Some(&(0x1000 + 19_999))));
    let untried = parsed.report.skipped["C++ name, not made readable: those before it are made to take long"];
    assert_eq!(constants.keys().filter(|name| name.starts_with('?')).count() as u64, untried);
    // Plain ones are all read.
    let names: Vec<String> = (0..20_000).map(|n| format!("?f{n}@C@N@@QAEXHPAD@Z")).collect();
    let parsed = parse_soon("plain names", pdb_of_symbols(&names)).expect("all is read");
    assert!(parsed.report.skipped.is_empty() && parsed.profile.constants.contains_key("N::C::f19999"));
}

fn structure(fields: u32, name: &str) -> Vec<u8> {
    let mut record = vec![0x05, 0x15, 1, 0, 0, 0];
    record.extend(words(&[fields, 0, 0]));
    record.extend([8, 0]);
    record.extend(name.bytes().chain([0]));
    record
}

fn member(ty: u32, name: &str) -> Vec<u8> {
    let mut field = vec![0x0d, 0x15, 3, 0];
    field.extend(words(&[ty]));
    field.extend([0, 0]);
    field.extend(name.bytes().chain([0]));
    while field.len() % 4 != 0 {
        field.push(0xf0 | (4 - field.len() % 4) as u8);
    }
    field
}

fn list(fields: &[Vec<u8>]) -> Vec<u8> {
    [vec![0x03, 0x12], fields.concat()].concat()
}

/// A small PDB with records of most kinds, in which any change has a meaning.
pub(super) fn pdb_of_every_kind() -> Vec<u8> {
    let continues = |to: u32| [vec![0x04, 0x14, 0, 0], words(&[to])].concat();
    let text = |record: &[u8], text: &str| [record, text.as_bytes(), &[0]].concat();
    let label = |value: u8, name: &str| text(&[0x02, 0x15, 3, 0, value, 0], name);
    let named = |kind: [u8; 2], fields: u32, name: &str| {
        let mut record = structure(fields, name);
        record[..2].copy_from_slice(&kind);
        record
    };
    let enumeration =
        |fields: u32, name: &str| text(&[vec![0x07, 0x15, 2, 0, 0, 0], words(&[0x74, fields])].concat(), name);
    pdb_of(&[
        [vec![0x02, 0x10], words(&[0x1001, 0x0001_000c])].concat(),
        structure(0, "forward"),
        [vec![0x03, 0x15], words(&[0x1000, 0x23]), vec![80, 0, 0]].concat(),
        [vec![0x05, 0x12], words(&[0x75]), vec![3, 4]].concat(),
        [vec![0x01, 0x10], words(&[0x1002]), vec![1, 0]].concat(),
        [vec![0x01, 0x12], words(&[2, 0x1004, 0x1000])].concat(),
        [vec![0x08, 0x10], words(&[0x74, 0x0002_0000, 0x1005])].concat(),
        list(&[member(0x1003, "bits"), member(0x1006, "code")]),
        list(&[member(0x1002, "array"), member(0x100a, "unnamed"), continues(0x1007)]),
        structure(0x1008, "S"),
        structure(0x1007, "<unnamed-tag>"),
        named([0x04, 0x15], 0x1008, "C"),
        list(&[label(1, "one"), label(2, "two")]),
        enumeration(0x100c, "E"),
        enumeration(0x100c, "<unnamed-tag>"),
        structure(0x1007, "S"),
    ])
}

#[test]
fn every_prefix_is_an_error_or_a_report() {
    let Some(path) = corpus("windows/pdb/lld/ntkrnlmp_x86_64.pdb") else { return };
    let whole = std::fs::read(path).expect("readable");
    let complete = parse_bytes(&whole).expect("whole").report;
    assert!(complete.skipped.is_empty());
    for len in (0..600).chain((600..whole.len()).step_by(997)) {
        // What a cut PDB still gives is complete, or tells what it lacks.
        if let Ok(parsed) = parse_bytes(&whole[..len]) {
            assert!(parsed.report == complete || !parsed.report.skipped.is_empty(), "{len} bytes");
        }
    }
}

#[test]
fn what_is_no_pdb_is_refused_by_name() {
    let refused = |name: &str| {
        let output = run(&["parse_pdb", arg(&corpus(name)?)]);
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(output.stdout.is_empty(), "{name}");
        Some(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let Some(fuzzed) = refused("windows/pdb/msvc/pdb__fuzzed.pdb") else { return };
    assert!(fuzzed.contains("damaged PDB"), "{fuzzed}");
    let cabinet = refused("windows/pdb/msvc/basic32.pd_").expect("the corpus is there");
    assert!(cabinet.contains("cabinet"), "{cabinet}");
}

/// What aborts other readers: lists within lists (stack), a count of arguments (memory).
#[test]
fn records_that_lie_about_their_depth_and_size_are_counted() {
    let nested: Vec<u8> = [0x03, 0x12].repeat(32_000);
    let endless_args = [vec![0x01, 0x12], words(&[u32::MAX, 0])].concat();
    let procedure = [vec![0x08, 0x10], words(&[0x74, 0, 0x1001])].concat();
    let fields =
        list(&[member(0x1002, "call"), member(0x9999, "nowhere"), member(0x1003, "self"), member(0x22, "last")]);
    let bytes = pdb_of(&[nested, endless_args, procedure, fields, structure(0x1003, "S"), structure(0x1000, "T")]);
    let parsed = parse_soon("hostile records", bytes).expect("the rest is read");
    let members = &parsed.profile.structs["S"].members;
    assert_eq!(members.keys().collect::<Vec<_>>(), ["call", "last", "nowhere", "self"]);
    assert_eq!(parsed.profile.structs["T"].size, 8);
    let skipped = &parsed.report.skipped;
    assert_eq!(skipped["type index without a record"], 1);
    assert_eq!(skipped["LF_ARGLIST"], 1);
    assert_eq!(skipped["LF_FIELDLIST"], 1, "a list that is no type: {skipped:?}");
    assert!(skipped.keys().any(|what| what.contains("field record 0x1203")), "{skipped:?}");
}

/// Few bytes that would expand to terabytes: types that take each other twice, and structs that share a long list.
#[test]
fn records_that_multiply_are_refused() {
    let mut records = Vec::new();
    for depth in 0..40u32 {
        let below = if depth == 0 { 0x22 } else { 0x1000 + 2 * depth - 1 };
        records.push([vec![0x01, 0x12], words(&[2, below, below])].concat());
        records.push([vec![0x08, 0x10], words(&[0x74, 0, 0x1000 + 2 * depth])].concat());
    }
    let top = 0x1000 + records.len() as u32;
    records.push(list(&[member(top - 1, "m")]));
    records.push(structure(top, "S"));
    assert!(matches!(parse_soon("doubling", pdb_of(&records)), Err(PdbError::TooMuch { .. })));

    let long: Vec<Vec<u8>> = (0..3000).map(|n| member(0x22, &format!("m{n}"))).collect();
    let mut records = vec![list(&long)];
    records.extend((0..20_000).map(|n| structure(0x1000, &format!("S{n}"))));
    assert!(matches!(parse_soon("sharing", pdb_of(&records)), Err(PdbError::TooMuch { .. })));

    let same: Vec<Vec<u8>> = (0..4000).map(|n| member(0x1000 + n, "same")).collect();
    let mut records = vec![list(&same)];
    records.extend((0..4000).map(|_| structure(0x1000, "S")));
    let cut = parse_soon("one name", pdb_of(&records));
    assert!(cut.is_ok() || matches!(cut, Err(PdbError::TooMuch { .. })));
}

/// Lists that continue in themselves, and types that are made of themselves.
#[test]
fn records_that_go_round_end() {
    let continues = |to: u32| [vec![0x04, 0x14, 0, 0], words(&[to])].concat();
    let round = list(&[member(0x22, "a"), continues(0x1000)]);
    let pointer = [vec![0x02, 0x10], words(&[0x1002, 0x0001_000c])].concat();
    let alias = [vec![0x01, 0x10], words(&[0x1001])].concat();
    let array = [vec![0x03, 0x15], words(&[0x1003, 0x23]), vec![8, 0, 0]].concat();
    let fields = list(&[member(0x1001, "pointer"), member(0x1003, "array"), member(0x1005, "itself")]);
    let unnamed = structure(0x1004, "<unnamed-tag>");
    let records = [round, pointer, alias, array, fields, unnamed, structure(0x1000, "R"), structure(0x1004, "S")];
    let parsed = parse_soon("rings", pdb_of(&records)).expect("the rest is read");
    assert_eq!(parsed.profile.structs["R"].members.len(), 1);
    assert_eq!(parsed.profile.structs["S"].members.len(), 3);
    assert!(parsed.profile.structs.contains_key("S::<unnamed-type-itself>"));
    assert!(parsed.report.skipped.keys().any(|what| what.contains("LF_INDEX")), "{:?}", parsed.report.skipped);
}
