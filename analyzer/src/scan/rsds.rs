//! RSDS records: the debug directory entry by which a Windows binary names its PDB.
//!
//! Layout (`CV_INFO_PDB70` of the PE format): "RSDS", GUID (16 bytes, the first three fields little-endian), age u32, the
//! PDB's name, which ends with a zero byte.
//!
//! Memory is full of these four letters without a record behind them (search programs, half-overwritten pages), so a
//! record must make sense as a whole: a GUID that somebody generated, an age that builds can reach, and the name of a PDB
//! file, not merely text that happens to end like one. Records are not joined by identity: each is where it is.

use super::{Hits, find_all, good_bytes};
use crate::addr::Pa;
use crate::image::PhysicalMemory;
use quaid_profile::GuidAge;

pub(crate) const SIGNATURE: &[u8; 4] = b"RSDS";
/// Bytes before the name.
const HEADER_BYTES: usize = 24;
/// The longest name in bytes: Windows' MAX_PATH is 260 UTF-16 units, and one unit takes up to three bytes of UTF-8.
const MAX_NAME_BYTES: usize = 780;
/// The highest age. A linker adds one with each incremental link, so that ages of thousands occur and more do not.
const MAX_AGE: u32 = 0xffff;

/// A record and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Physical address of the signature.
    pub at: Pa,
    /// The build.
    pub id: GuidAge,
    /// The PDB's name; with a path where the linker was given one.
    pub pdb: String,
}

/// The RSDS records of `memory` in ascending order.
pub fn records(memory: &dyn PhysicalMemory) -> Records<'_> {
    Records { memory, hits: find_all(memory, SIGNATURE) }
}

/// A running search; see [`records`].
pub struct Records<'m> {
    memory: &'m dyn PhysicalMemory,
    hits: Hits<'m>,
}

impl<'m> Records<'m> {
    /// The search below, which knows what could not be read.
    pub fn hits(&self) -> &Hits<'m> {
        &self.hits
    }
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let memory = self.memory;
        self.hits.find_map(|at| record_at(memory, at))
    }
}

/// The record at `at`; `None` when there is none.
pub(crate) fn record_at(memory: &dyn PhysicalMemory, at: Pa) -> Option<Record> {
    let mut buffer = [0; HEADER_BYTES + MAX_NAME_BYTES + 1];
    let good = good_bytes(memory, at, &mut buffer);
    let (id, pdb) = parse(buffer.get(..good)?)?;
    Some(Record { at, id, pdb })
}

/// Reads the record at the start of `bytes`; `None` when it is not one.
pub fn parse(bytes: &[u8]) -> Option<(GuidAge, String)> {
    let (signature, rest) = bytes.split_first_chunk::<4>()?;
    let (guid, rest) = rest.split_first_chunk::<16>()?;
    let (age, rest) = rest.split_first_chunk::<4>()?;
    let age = u32::from_le_bytes(*age);
    let uniform = guid.iter().all(|byte| byte == &guid[0]);
    if signature != SIGNATURE || uniform || age > MAX_AGE {
        return None;
    }
    let window = rest.get(..rest.len().min(MAX_NAME_BYTES + 1))?;
    let name = window.get(..memchr::memchr(0, window)?)?;
    Some((GuidAge::from_le_bytes(*guid, age), pdb_name(name)?))
}

/// The name, if a file could have it: text without control characters whose last component is more than ".pdb" and holds
/// none of the characters that Windows forbids. Folders may be in the code page of the machine that linked: what is not
/// UTF-8 there is shown as U+FFFD.
fn pdb_name(name: &[u8]) -> Option<String> {
    let file = name.rsplit(|byte| matches!(byte, b'\\' | b'/')).next()?;
    let file = std::str::from_utf8(file).ok()?;
    let (stem, extension) = file.split_at_checked(file.len().checked_sub(4)?)?;
    if stem.is_empty() || !extension.eq_ignore_ascii_case(".pdb") {
        return None;
    }
    let text = String::from_utf8_lossy(name);
    // A folder that is mostly no text is garbage in front of a name.
    let folder = text.get(..text.len().checked_sub(file.len())?)?;
    let strange = folder.chars().filter(|&c| c == char::REPLACEMENT_CHARACTER).count();
    let forbidden_in_file = |c| matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*');
    if stem.contains(forbidden_in_file) || text.contains(char::is_control) || strange * 4 > folder.chars().count() {
        return None;
    }
    Some(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::testing::TestMemory;

    /// Example of the seeds: F8E2A8B5C9B74BF4A6E4A48F18009994, age 2.
    fn record(name: &[u8]) -> Vec<u8> {
        let guid = [0xb5, 0xa8, 0xe2, 0xf8, 0xb7, 0xc9, 0xf4, 0x4b, 0xa6, 0xe4, 0xa4, 0x8f, 0x18, 0x00, 0x99, 0x94];
        [&b"RSDS"[..], &guid, &[2, 0, 0, 0], name].concat()
    }

    fn found(pieces: Vec<(u64, Vec<u8>)>) -> Vec<(u64, String, String)> {
        let row = |r: Record| (r.at.0, r.id.to_string(), r.pdb);
        let read: Vec<_> = records(&TestMemory::new(pieces.clone())).map(row).collect();
        let mapped: Vec<_> = records(&TestMemory::new(pieces).mapped()).map(row).collect();
        assert_eq!(read, mapped);
        read
    }

    fn expected(at: u64) -> (u64, String, String) {
        (at, "F8E2A8B5C9B74BF4A6E4A48F180099942".into(), "ntkrnlmp.pdb".into())
    }

    #[test]
    fn a_record_is_found_wherever_the_border_of_two_adjacent_runs_cuts_it() {
        let bytes = [&[7; 5][..], &record(b"ntkrnlmp.pdb\0"), &[9; 5]].concat();
        for cut in 1..bytes.len() {
            let (front, back) = bytes.split_at(cut);
            let second = 0x1000 + cut as u64;
            assert_eq!(found(vec![(0x1000, front.to_vec()), (second, back.to_vec())]), [expected(0x1005)], "cut {cut}");
            // One byte of a gap inside the record, and it is none.
            let apart = found(vec![(0x1000, front.to_vec()), (second + 1, back.to_vec())]);
            let inside = cut > 5 && cut < bytes.len() - 5;
            assert_eq!(apart.is_empty(), inside, "gap at {cut}");
        }
    }

    #[test]
    fn every_record_counts_also_one_that_is_there_twice() {
        let bytes = [record(b"ntkrnlmp.pdb\0"), record(b"ntkrnlmp.pdb\0")].concat();
        assert_eq!(found(vec![(0, bytes)]), [expected(0), expected(37)]);
    }

    #[test]
    fn names_that_a_pdb_can_have_pass() {
        let long = [&[b'a'; 776][..], b".pdb"].concat();
        for name in [
            &b"NTKRNLMP.PDB"[..],
            b"a.pdb",
            b"c:\\build\\x64\\my driver.pdb",
            b"/srcs/lab/x.ni.pdb",
            b"\\\\?\\D:\\a\\b.pdb",
            "C:\\Users\\M\u{fc}ller\\\u{444}.pdb".as_bytes(),
            // The same folder in code page 1252.
            b"C:\\Users\\M\xfcller\\x.pdb",
            &long,
        ] {
            assert!(parse(&record(&[name, b"\0"].concat())).is_some(), "{}", String::from_utf8_lossy(name));
        }
    }

    #[test]
    fn what_is_no_name_of_a_pdb_is_refused() {
        let too_long = [&[b'a'; 777][..], b".pdb"].concat();
        for name in [
            &b""[..],
            b".pdb",
            b"C:\\folder\\.pdb",
            b"pdb",
            b"xpdb",
            b"x.pdb ",
            b"x.exe",
            b"\x01\x02\x03.pdb",
            b"a\nb.pdb",
            b"\x1b[31mx.pdb",
            "x\u{85}y.pdb".as_bytes(),
            b"\xff\xfe\x90.pdb",
            b"\xff\xfe\x90\xf1\\x.pdb",
            b"what?.pdb",
            &too_long,
        ] {
            let bytes = record(&[name, b"\0"].concat());
            assert_eq!(parse(&bytes), None, "{}", String::from_utf8_lossy(name));
        }
    }

    #[test]
    fn a_record_must_make_sense_as_a_whole() {
        let good = record(b"x.pdb\0");
        assert!(parse(&good).is_some());
        assert_eq!(parse(&record(b"x.pdb")), None, "no end of the name");
        for cut in 0..good.len() {
            assert_eq!(parse(good.get(..cut).expect("a prefix")), None, "cut at {cut}");
        }
        for (at, bytes) in [(0, &b"RSDT"[..]), (4, &[0; 16]), (4, &[0xff; 16]), (20, &[0, 0, 1, 0])] {
            let mut bad = good.clone();
            bad[at..at + bytes.len()].copy_from_slice(bytes);
            assert_eq!(parse(&bad), None, "{bytes:?} at {at}");
        }
    }
}
