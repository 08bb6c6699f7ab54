//! The Windows kernel's image, found without any profile: page tables by the words before the name of a process, the image
//! by its header and exports.

use super::hinted::Hinted;
use super::{MAX_CANDIDATES, image_at};
use crate::addr::{Pa, Va};
use crate::guess::Search;
use crate::guess::sightings::{Clue, Look};
use crate::os::windows::exports::{self, MemoryExports};
use crate::paging::{AMD64, AddressSpace, Meaning, PAGE_BYTES, PagingSpec, Software, X86, X86_PAE};
use std::collections::HashSet;

/// How far before its name the page table of a process is: the whole `_EPROCESS` before `ImageFileName` in all versions.
const BEFORE_NAME: u64 = 0x600;
/// How many entries of page tables the search for the kernel's header looks at.
const MAX_STEPS: usize = 1 << 20;
/// The name that every variant of the kernel gives itself.
pub(super) const KERNEL: &str = "ntoskrnl.exe";

/// The layouts of page tables, the place of `KUSER_SHARED_DATA`, and where kernels are loaded: the loader's region of
/// 512 GiB, or the kernel's half.
const MACHINES: [(&PagingSpec, Va, Va, Va); 3] = [
    (&AMD64, Va(0xffff_f780_0000_0000), Va(0xffff_f800_0000_0000), Va(0xffff_f880_0000_0000)),
    (&X86_PAE, Va(0xffdf_0000), Va(0x8000_0000), Va(0xffff_f000)),
    (&X86, Va(0xffdf_0000), Va(0x8000_0000), Va(0xffff_f000)),
];

impl Search<'_, '_, '_> {
    /// The kernel that some page tables of the image show, and what it exports.
    pub(super) fn locate_kernel(&mut self) -> Option<(Hinted, MemoryExports)> {
        let mut known = HashSet::new();
        let given: Vec<u64> =
            self.options.dtb.into_iter().chain(self.options.hints.dtbs.iter().map(|dtb| dtb.0)).take(8).collect();
        for root in given {
            if let Some(found) = self.locate_by(root, 8, &mut known).or_else(|| self.locate_by(root, 4, &mut known)) {
                return Some(found);
            }
        }
        for process in Clue::PROCESSES {
            let mut look = Look::for_any(&[process]);
            for _ in 0..MAX_CANDIDATES {
                let Some((_, name)) = self.sightings.next(&mut look) else { break };
                let bytes = self.before(name);
                // Pointers of 64 bits, then of 32, as they are aligned in memory.
                for width in [8_usize, 4] {
                    for word in bytes.rchunks_exact(width) {
                        let mut buffer = [0; 8];
                        buffer.iter_mut().zip(word).for_each(|(to, from)| *to = *from);
                        if let Some(found) = self.locate_by(u64::from_le_bytes(buffer), width, &mut known) {
                            return Some(found);
                        }
                    }
                }
            }
        }
        None
    }

    /// What lies before the name of a process, up to a multiple of 8.
    fn before(&self, name: Pa) -> Vec<u8> {
        let end = name.0 - name.0 % 8;
        // The page before may be missing.
        for start in [end.saturating_sub(BEFORE_NAME), end - end % PAGE_BYTES] {
            let mut bytes = vec![0; usize::try_from(end - start).unwrap_or_default()];
            if self.memory.read(Pa(start), &mut bytes).is_ok() {
                return bytes;
            }
        }
        Vec::new()
    }

    /// The kernel behind a root register of `width` bytes, if that is what `root` is.
    fn locate_by(
        &mut self,
        root: u64,
        width: usize,
        known: &mut HashSet<(&'static str, u64)>,
    ) -> Option<(Hinted, MemoryExports)> {
        for (spec, shared, start, end) in MACHINES {
            let table = spec.root(root);
            let wide = usize::from(spec.address_bits > 32) * 4 + 4;
            // Behind the address there are flags and the PCID alone.
            if wide != width || table == 0 || root - table >= PAGE_BYTES || !known.insert((spec.name, table)) {
                continue;
            }
            let space = AddressSpace::new(self.memory, spec, Software::None, table);
            if !is_shared_data(&space, shared) {
                continue;
            }
            self.tell(&format!("Page tables of Windows ({}) at {table:#x}", spec.name));
            match kernel_between(&space, start, end) {
                Some((place, exports)) => return Some((Hinted { spec, root: Pa(table), place }, exports)),
                None => self.tell(&format!("No kernel's image between {start} and {end}")),
            }
        }
        None
    }
}

/// Whether `KUSER_SHARED_DATA` is at `at`: a version of Windows NT, and the system's folder on some drive.
fn is_shared_data(space: &AddressSpace<'_>, at: Va) -> bool {
    // NtMajorVersion and NtSystemRoot, at the same offsets in all versions.
    let (Ok(major), Ok(root)) = (space.read_u32(at.wrapping_add(0x26c)), space.read_array::<6>(at.wrapping_add(0x30)))
    else {
        return false;
    };
    matches!(major, 5 | 6 | 10) && root[0].is_ascii_alphabetic() && root[1..] == *b"\0:\0\\\0"
}

/// The first image in a range of addresses that exports what the kernel does, by its name.
fn kernel_between(space: &AddressSpace<'_>, start: Va, end: Va) -> Option<(super::Place, MemoryExports)> {
    let mut at = start;
    let mut steps = 0;
    while at < end && steps < MAX_STEPS {
        steps += 1;
        let walk = space.walk(at);
        let last = walk.last()?;
        let mut next = PAGE_BYTES;
        if let Meaning::Page(page, bytes) = last.meaning {
            let mut magic = [0; 2];
            let here = page.wrapping_add(at.0 & (bytes - 1));
            if space.memory().read(here, &mut magic).is_ok()
                && magic == *b"MZ"
                && let Ok(place) = image_at(space, at)
                && let Ok(exports) = exports::read(space, at)
                && is_kernel(&exports)
            {
                return Some((place, exports));
            }
        } else {
            // All that this entry could map is missing.
            let level = space.spec().levels.iter().find(|level| level.name == last.level);
            next = level.map_or(PAGE_BYTES, |level| 1 << level.shift);
        }
        at = Va(at.0 - at.0 % next).checked_add(next)?;
    }
    None
}

/// The name's page may be missing; these two no other image exports.
fn is_kernel(exports: &MemoryExports) -> bool {
    match &exports.module {
        Some(module) => module.eq_ignore_ascii_case(KERNEL),
        None => ["PsInitialSystemProcess", "NtBuildNumber"].iter().all(|&name| exports.rvas.contains_key(name)),
    }
}
