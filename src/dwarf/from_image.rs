//! What a memory image alone tells of its Linux kernel: banner, build-id, the table of symbols, BTF, and the configuration where the
//! kernel carries it. All lie in the kernel's own image, which is in one piece of physical memory; no page table is needed.

use super::image::{BANNER_START, MAX_BANNER_BYTES, banner_at_start};
use super::source::Input;
use super::{ConvertError, kconfig, same_kernel, system_map};
use crate::btf;
use crate::kallsyms::{self, DIGITS, Symbol};
use quaid_analyzer::image::PhysicalMemory;
use quaid_analyzer::scan::{self, build_id};
use quaid_analyzer::{Pa, VmcoreInfo};
use quaid_profile::{BuildId, release_of};
use std::collections::HashMap;

/// How far before and behind the digits of the token table the tables may reach, in bytes. Those of 200,000 symbols take
/// 4 MiB.
const TABLES_BYTES: u64 = 16 << 20;
/// The table of tokens and that of their offsets have less, in bytes.
const TOKENS_BYTES: u64 = 16 << 10;
/// How many places that look like the start of something are tried.
const MAX_TRIED: usize = 4096;
/// What is looked for: the banner, the digits of the token table, BTF (magic, version 1, no flags, a header of 24 bytes), and the
/// configuration.
const MARKS: [&[u8]; 4] = [BANNER_START, DIGITS, &[0x9f, 0xeb, 1, 0, 24, 0, 0, 0], kconfig::MARK];
/// In bytes; memory is there or not by the page.
const PAGE_BYTES: usize = 4096;
/// The symbols that tell which kernel it is, and where its parts are.
const NEEDED: [&str; 9] = [
    "linux_banner",
    "init_uts_ns",
    "_text",
    "_stext",
    "_end",
    "__bss_stop",
    "__start_BTF",
    "__start_notes",
    "__stop_notes",
];
/// What BTF's header tells of its length is in its first bytes.
const BTF_HEADER_BYTES: usize = 24;
/// A kernel's BTF has 4 to 10 MiB.
const MAX_BTF_BYTES: usize = 64 << 20;

/// What was found.
pub(super) struct Found {
    /// The kernel's banner, without the newline at its end.
    pub(super) banner: Option<String>,
    /// Its build-id.
    pub(super) build_id: Option<BuildId>,
    /// What it notes for dumps.
    pub(super) vmcoreinfo: Option<VmcoreInfo>,
    /// BTF of the kernel; none where it was built without.
    pub(super) btf: Option<Vec<u8>>,
    /// Its symbols, as `/proc/kallsyms` prints them; none when they are known from elsewhere.
    pub(super) kallsyms: Option<Vec<u8>>,
    pub(super) config: Option<Vec<u8>>,
}

/// Finds the kernel in `memory`; `place` names the image in messages. With its System.map the symbols are known, and are not
/// looked for.
pub(super) fn find(place: &str, memory: &dyn PhysicalMemory, map: Option<&Input>) -> Result<Found, ConvertError> {
    let [banner_marks, digits, btf_marks, config_marks] = marks(memory);
    let banners = banners(memory, &banner_marks);
    let (address, found, kallsyms) = match map {
        Some(map) => {
            let address: HashMap<String, u64> = system_map::addresses(map.bytes(), &NEEDED);
            let found = kernel_of_map(place, memory, &banners, &map.name, &address)?;
            (address, found, None)
        }
        None if banners.is_empty() => {
            return Err(ConvertError::missing(place, "no banner of a Linux kernel is in the image"));
        }
        None => {
            let (symbols, tables_at) = symbols(place, memory, digits)?;
            let needed = symbols.iter().filter(|symbol| NEEDED.contains(&symbol.name.as_str()));
            let address: HashMap<String, u64> =
                needed.rev().map(|symbol| (symbol.name.clone(), symbol.address)).collect();
            let found = kernel_of_tables(place, &banners, tables_at, &address)?;
            (address, Some(found), Some(kallsyms::print(&symbols).into_bytes()))
        }
    };
    // The distance from virtual to physical addresses of the kernel's image.
    let address = |name: &str| address.get(name).copied();
    let physical = |name: &str| Some(Pa(address(name)?.wrapping_sub(found?.distance)));
    let btf = physical("__start_BTF").and_then(|at| btf_at(memory, at)).or_else(|| longest_btf(memory, &btf_marks));
    let bytes = address("__start_notes").zip(address("__stop_notes")).and_then(|(start, end)| end.checked_sub(start));
    let in_notes = physical("__start_notes").zip(bytes).and_then(|(at, bytes)| build_id::in_notes(memory, at, bytes));
    let banner = found.map(|found| found.banner);
    let release = banner.and_then(release_of);
    let own = |info: &VmcoreInfo| is_of_kernel(info, kallsyms.is_some(), &address);
    let vmcoreinfo = release.and_then(|release| VmcoreInfo::in_memory(memory, release).find(own));
    let build_id = in_notes.or_else(|| vmcoreinfo.as_ref()?.build_id());
    let config = config(memory, &config_marks);
    Ok(Found { banner: banner.map(str::to_owned), build_id, vmcoreinfo, btf, kallsyms, config })
}

/// Where each of [`MARKS`] is: to bring an image of gigabytes into memory takes longer than to look for all at once.
fn marks(memory: &dyn PhysicalMemory) -> [Vec<Pa>; 4] {
    let mut found: [Vec<Pa>; 4] = Default::default();
    for (mark, at) in scan::find_any(memory, &MARKS) {
        if let Some(places) = found.get_mut(mark).filter(|places| places.len() < MAX_TRIED) {
            places.push(at);
        }
    }
    found
}

/// Whether `info` is of the kernel with these symbols: it has the addresses of two where the kernel runs. Those of the kernel's
/// own table are of there too, those of a System.map are of the link.
fn is_of_kernel(info: &VmcoreInfo, running: bool, address: &impl Fn(&str) -> Option<u64>) -> bool {
    let moved = if running { 0 } else { info.hex("KERNELOFFSET").unwrap_or(0) };
    ["_stext", "init_uts_ns"].into_iter().all(|name| {
        let noted = info.hex(&format!("SYMBOL({name})"));
        noted.is_some() && noted == address(name).map(|address| address.wrapping_add(moved))
    })
}

/// The kernel that a table of symbols is of.
#[derive(Debug, Clone, Copy)]
struct Kernel<'b> {
    /// From its virtual addresses to the physical ones: what to take off, in bytes.
    distance: u64,
    /// Its banner.
    banner: &'b str,
}

/// The kernel whose own table of symbols is at `tables_at`.
fn kernel_of_tables<'b>(
    place: &str,
    banners: &'b [(Pa, String)],
    tables_at: Pa,
    address: &HashMap<String, u64>,
) -> Result<Kernel<'b>, ConvertError> {
    let address = |names: [&str; 2]| names.into_iter().find_map(|name| address.get(name).copied());
    // The kernel's own banner is where its symbols say, seen from where its tables are.
    let Some(banner_at) = address(["linux_banner"; 2]) else {
        return Err(ConvertError::missing(
            place,
            "the kernel's table of symbols has functions alone (CONFIG_KALLSYMS_ALL is off), and plugins need its data; give its System.map: --system_map FILE",
        ));
    };
    let (Some(start), Some(end)) = (address(["_text", "_stext"]), address(["_end", "__bss_stop"])) else {
        return Err(ConvertError::missing(place, "the kernel's table of symbols has no _text and _end"));
    };
    let found = banners.iter().find_map(|(at, banner)| {
        let distance = banner_at.wrapping_sub(at.0);
        let whole_pages = distance % PAGE_BYTES as u64 == 0;
        let inside = (start..end).contains(&tables_at.0.wrapping_add(distance));
        (whole_pages && inside).then_some(Kernel { distance, banner })
    });
    found.ok_or_else(|| {
        let why = format!(
            "the table of symbols at {tables_at} is of a kernel whose banner is not in the image; it may be a copy of another kernel: give the kernel's System.map and BTF"
        );
        ConvertError::missing(place, why)
    })
}

/// The kernel that the System.map `map` is of; none where the image has no banner, or the map no data to tell by.
fn kernel_of_map<'b>(
    place: &str,
    memory: &dyn PhysicalMemory,
    banners: &'b [(Pa, String)],
    map: &str,
    address: &HashMap<String, u64>,
) -> Result<Option<Kernel<'b>>, ConvertError> {
    let Some((&linked, (first_at, first))) = address.get("linux_banner").zip(banners.first()) else { return Ok(None) };
    let read = |at: u64, buffer: &mut [u8]| memory.read(Pa(at), buffer).is_ok();
    let known = |name: &str| address.get(name).copied();
    let mut fitting = banners.iter().filter(|(at, banner)| same_kernel::is_banner_of(at.0, banner, &known, &read));
    let kernel = fitting.next().map(|(at, banner)| Kernel { distance: linked.wrapping_sub(at.0), banner });
    let why = || {
        format!(
            "is not of the kernel in {place}: none of its banners fits linux_banner at {linked:#x} and init_uts_ns; at {first_at} is `{first}`: give the System.map of that build"
        )
    };
    kernel.map(Some).ok_or_else(|| ConvertError::unsupported(map, why()))
}

/// The banners in memory, and where they are.
fn banners(memory: &dyn PhysicalMemory, marks: &[Pa]) -> Vec<(Pa, String)> {
    let banner = |at| Some(banner_at_start(&read(memory, at, MAX_BANNER_BYTES))?.to_owned());
    marks.iter().filter_map(|&at| Some((at, banner(at)?))).collect()
}

/// The largest table of symbols in memory, and where its tokens are: behind one of the `digits`.
pub(super) fn symbols(
    place: &str,
    memory: &dyn PhysicalMemory,
    digits: impl IntoIterator<Item = Pa>,
) -> Result<(Vec<Symbol>, Pa), ConvertError> {
    let mut best: Option<(Vec<Symbol>, Pa)> = None;
    let mut why = "its texts of 256 tokens are nowhere".to_owned();
    for at in digits.into_iter().take(MAX_TRIED) {
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
fn longest_btf(memory: &dyn PhysicalMemory, marks: &[Pa]) -> Option<Vec<u8>> {
    let length = |at| btf::declared_length(&read(memory, at, BTF_HEADER_BYTES));
    let mut places: Vec<(usize, Pa)> = marks.iter().filter_map(|&at| Some((length(at)?, at))).collect();
    places.sort_unstable_by_key(|&(length, at)| (std::cmp::Reverse(length), at));
    places.into_iter().find_map(|(_, at)| btf_at(memory, at))
}

/// The configuration, where the kernel carries it.
fn config(memory: &dyn PhysicalMemory, marks: &[Pa]) -> Option<Vec<u8>> {
    marks.iter().find_map(|&at| kconfig::embedded_at(&read(memory, at, kconfig::MAX_PACKED_BYTES)))
}
