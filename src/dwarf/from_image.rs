//! What a memory image alone tells of its Linux kernel: banner, build-id, the table of symbols, BTF, and the configuration where the
//! kernel carries it. All lie in the kernel's own image, which is in one piece of physical memory; no page table is needed.

use super::ConvertError;
use super::image::{BANNER_START, MAX_BANNER_BYTES, banner_at_start};
use crate::btf;
use crate::kallsyms::{self, DIGITS, Symbol};
use quaid_analyzer::Pa;
use quaid_analyzer::image::PhysicalMemory;
use quaid_analyzer::scan::{self, build_id};
use quaid_profile::{BuildId, release_of};
use std::collections::BTreeSet;
use std::io::Read;

/// How far before and behind the digits of the token table the tables may reach, in bytes. Those of 200,000 symbols take
/// 4 MiB.
const TABLES_BYTES: u64 = 16 << 20;
/// The table of tokens and that of their offsets have less, in bytes.
const TOKENS_BYTES: u64 = 16 << 10;
/// How many places that look like the start of something are tried.
const MAX_TRIED: usize = 4096;
/// In bytes; memory is there or not by the page.
const PAGE_BYTES: usize = 4096;
/// What BTF's header tells of its length is in its first bytes.
const BTF_HEADER_BYTES: usize = 24;
/// A kernel's BTF has 4 to 10 MiB.
const MAX_BTF_BYTES: usize = 64 << 20;
/// A kernel's configuration has 300 KiB.
const MAX_CONFIG_BYTES: u64 = 8 << 20;

/// What was found.
pub(super) struct Found {
    /// The kernel's banner, without the newline at its end.
    pub(super) banner: Option<String>,
    /// Its build-id.
    pub(super) build_id: Option<BuildId>,
    /// BTF of the kernel; none where it was built without.
    pub(super) btf: Option<Vec<u8>>,
    /// Its symbols, as `/proc/kallsyms` prints them; none when they are known from elsewhere.
    pub(super) kallsyms: Option<Vec<u8>>,
    pub(super) config: Option<Vec<u8>>,
}

/// Finds the kernel in `memory`; `place` names the image in messages. With `has_symbols` those of the kernel are known
/// from a file, and not looked for.
pub(super) fn find(place: &str, memory: &dyn PhysicalMemory, has_symbols: bool) -> Result<Found, ConvertError> {
    let banners = banners(memory);
    if has_symbols {
        let distinct: BTreeSet<&String> = banners.iter().map(|(_, text)| text).collect();
        let banner = distinct.iter().next().filter(|_| distinct.len() == 1).map(|&text| text.clone());
        let release = banner.as_deref().and_then(release_of);
        let build_id = release.and_then(|release| build_id::in_vmcoreinfo(memory, release));
        return Ok(Found { banner, build_id, btf: longest_btf(memory), kallsyms: None, config: config(memory) });
    }
    if banners.is_empty() {
        return Err(ConvertError::missing(place, "no banner of a Linux kernel is in the image"));
    }
    let (symbols, tables_at) = symbols(place, memory)?;
    let address = |name: &str| symbols.iter().find(|symbol| symbol.name == name).map(|symbol| symbol.address);
    // The kernel's own banner is where its symbols say, seen from where its tables are: with it comes the distance from
    // virtual to physical addresses of the kernel's image.
    let Some(banner_at) = address("linux_banner") else {
        return Err(ConvertError::missing(
            place,
            "the kernel's table of symbols has functions alone (CONFIG_KALLSYMS_ALL is off), and plugins need its data; give its System.map: --system_map FILE",
        ));
    };
    let start = address("_text").or_else(|| address("_stext"));
    let end = address("_end").or_else(|| address("__bss_stop"));
    let (Some(start), Some(end)) = (start, end) else {
        return Err(ConvertError::missing(place, "the kernel's table of symbols has no _text and _end"));
    };
    let found = banners.iter().find_map(|(at, text)| {
        let distance = banner_at.wrapping_sub(at.0);
        let whole_pages = distance % PAGE_BYTES as u64 == 0;
        let inside = (start..end).contains(&tables_at.0.wrapping_add(distance));
        (whole_pages && inside).then(|| (distance, text.clone()))
    });
    let Some((distance, banner)) = found else {
        let why = format!(
            "the table of symbols at {tables_at} is of a kernel whose banner is not in the image; it may be a copy of another kernel: give the kernel's System.map and BTF"
        );
        return Err(ConvertError::missing(place, why));
    };
    let own = address("__start_BTF").and_then(|at| btf_at(memory, Pa(at.wrapping_sub(distance))));
    let btf = own.or_else(|| longest_btf(memory));
    let notes = address("__start_notes").zip(address("__stop_notes"));
    let build_id = notes
        .and_then(|(start, end)| build_id::in_notes(memory, Pa(start.wrapping_sub(distance)), end.checked_sub(start)?));
    let kallsyms = Some(kallsyms::print(&symbols).into_bytes());
    Ok(Found { banner: Some(banner), build_id, btf, kallsyms, config: config(memory) })
}

/// The banners in memory, and where they are.
fn banners(memory: &dyn PhysicalMemory) -> Vec<(Pa, String)> {
    let mut found = Vec::new();
    for at in scan::find_all(memory, BANNER_START).take(MAX_TRIED) {
        if let Some(banner) = banner_at_start(&read(memory, at, MAX_BANNER_BYTES)) {
            found.push((at, banner.to_owned()));
        }
    }
    found
}

/// The largest table of symbols in memory, and where its tokens are.
pub(super) fn symbols(place: &str, memory: &dyn PhysicalMemory) -> Result<(Vec<Symbol>, Pa), ConvertError> {
    let mut best: Option<(Vec<Symbol>, Pa)> = None;
    let mut why = "its texts of 256 tokens are nowhere".to_owned();
    for at in scan::find_all(memory, DIGITS).take(MAX_TRIED) {
        // Tables of characters have the digits in a row too.
        let (near, digits) = around(memory, at, TOKENS_BYTES);
        if !kallsyms::is_table(&near, digits) {
            continue;
        }
        let (bytes, digits) = around(memory, at, TABLES_BYTES);
        match kallsyms::decode(&bytes, digits) {
            Ok(symbols) if best.as_ref().is_none_or(|(known, _)| known.len() < symbols.len()) => {
                best = Some((symbols, at));
            }
            Ok(_) => {}
            Err(reason) => why = format!("at {at}: {reason}"),
        }
    }
    best.ok_or_else(|| {
        ConvertError::missing(
            place,
            format!("the kernel's table of symbols was not found ({why}); give its System.map and BTF, or its vmlinux"),
        )
    })
}

/// Memory around `at`, up to `reach` bytes before and behind, as far as it is in one piece; and where `at` is in it. It
/// begins on a page, so that what is aligned in memory is aligned in it.
fn around(memory: &dyn PhysicalMemory, at: Pa, reach: u64) -> (Vec<u8>, usize) {
    let run = memory.runs().iter().find(|run| at.0.checked_sub(run.start.0).is_some_and(|offset| offset < run.bytes));
    let page = PAGE_BYTES as u64;
    let start = (at.0.saturating_sub(reach) / page * page).max(run.map_or(at.0, |run| run.start.0));
    // Both are less than twice the reach.
    let before = (at.0 - start) as usize;
    (read(memory, Pa(start), before + reach as usize), before)
}

/// Up to `most` bytes at `at`, as far as memory goes on without a gap.
fn read(memory: &dyn PhysicalMemory, at: Pa, most: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut step = 1 << 20;
    while bytes.len() < most {
        let begun = bytes.len();
        bytes.resize(begun + step.min(most - begun), 0);
        let Some(buffer) = bytes.get_mut(begun..) else { break };
        if memory.read(at.wrapping_add(begun as u64), buffer).is_err() {
            bytes.truncate(begun);
            if step == PAGE_BYTES {
                break;
            }
            // The gap may begin behind some pages that are there.
            step = PAGE_BYTES;
        }
    }
    bytes
}

/// The BTF of a kernel at `at`.
fn btf_at(memory: &dyn PhysicalMemory, at: Pa) -> Option<Vec<u8>> {
    let length = btf::declared_length(&read(memory, at, BTF_HEADER_BYTES))?;
    let bytes = read(memory, at, length.min(MAX_BTF_BYTES));
    (btf::length(&bytes) == Some(length) && !btf::is_split(&bytes)).then_some(bytes)
}

/// The longest BTF in memory: modules have small ones of their own.
fn longest_btf(memory: &dyn PhysicalMemory) -> Option<Vec<u8>> {
    // Magic, version 1, no flags, a header of 24 bytes.
    let hits = scan::find_all(memory, &[0x9f, 0xeb, 1, 0, 24, 0, 0, 0]).take(MAX_TRIED);
    let length = |at| btf::declared_length(&read(memory, at, BTF_HEADER_BYTES));
    let mut places: Vec<(usize, Pa)> = hits.filter_map(|at| Some((length(at)?, at))).collect();
    places.sort_unstable_by_key(|&(length, at)| (std::cmp::Reverse(length), at));
    places.into_iter().find_map(|(_, at)| btf_at(memory, at))
}

/// The configuration that kernels with `CONFIG_IKCONFIG=y` carry, compressed between two marks (`kernel/configs.c`).
fn config(memory: &dyn PhysicalMemory) -> Option<Vec<u8>> {
    const MARK: &[u8] = b"IKCFG_ST\x1f\x8b";
    scan::find_all(memory, MARK).take(MAX_TRIED).find_map(|at| {
        let packed = read(memory, at.checked_add(8)?, 1 << 20);
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(packed.as_slice()).take(MAX_CONFIG_BYTES).read_to_end(&mut text).ok()?;
        memchr::memmem::find(&text, b"CONFIG_").map(|_| text)
    })
}
