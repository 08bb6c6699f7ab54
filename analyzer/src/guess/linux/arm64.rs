//! Where a kernel for AArch64 is: it notes how far its image is from its physical place (`kimage_voffset`), and its page
//! tables (TTBR1_EL1) must show it there.
//!
//! How large pages and addresses are depends on the build's configuration, and is found by trying. The memory of these
//! machines begins anywhere, which a raw image does not tell: the entries of the top page table do, as the tables that they
//! lead to must be in the image.

use super::{Kernel, Placed};
use crate::addr::{Pa, Va};
use crate::error::{FaultReason, PageFault};
use crate::guess::Options;
use crate::image::{PhysicalMemory, Run};
use crate::paging::{AddressSpace, Granule, LinuxPtes, PagingSpec, Software};

/// Page and address sizes of arch/arm64/Kconfig, the common ones first. A build for 52 bits has tables for 52 bits on all
/// machines with 64 KiB pages; with smaller ones those of the machine.
const CONFIGURATIONS: [(Granule, u32); 9] = [
    (Granule::K4, 48),
    (Granule::K4, 39),
    (Granule::K64, 52),
    (Granule::K64, 48),
    (Granule::K64, 42),
    (Granule::K16, 47),
    (Granule::K16, 48),
    (Granule::K4, 52),
    (Granule::K16, 52),
];

/// What the place of the first memory is a multiple of, on all machines.
const ALIGN: u64 = 0x20_0000;

/// Finds the kernel whose banner was seen.
pub(super) fn place<'m>(kernel: &Kernel<'_, 'm>, banner: &str, options: &Options) -> Result<Placed<'m>, String> {
    let layout = kernel.layout;
    let noted = layout.voffset.ok_or("it has no symbol kimage_voffset")?;
    let voffset = kernel
        .bytes::<8>(noted)
        .map(u64::from_le_bytes)
        .ok_or_else(|| format!("kimage_voffset at {} cannot be read", kernel.physical(noted)))?;
    let tables = kernel.physical(kernel.page_tables()?);
    let software = Software::Linux(if since_6_10(banner) { LinuxPtes::Arm64Since610 } else { LinuxPtes::Arm64 });
    for (granule, bits) in CONFIGURATIONS {
        let Some(spec) = PagingSpec::aarch64(granule, bits) else { continue };
        let begins = match options.dtb {
            Some(dtb) => vec![0, spec.root(dtb).wrapping_sub(tables.0)],
            None => std::iter::once(0).chain(possible_begins(kernel.memory, &spec, tables)).collect(),
        };
        for begin in begins {
            let root = options.dtb.unwrap_or_else(|| tables.0.wrapping_add(begin));
            let memory = Moved { memory: kernel.memory, begin };
            let space = AddressSpace::new(&memory, &spec, Software::None, root);
            let shows = |linked: u64| {
                let at = kernel.physical(linked).wrapping_add(begin);
                space.translate(Va(at.0.wrapping_add(voffset))) == Ok(at)
            };
            if ![layout.banner, layout.idle_name, noted].into_iter().all(shows) {
                continue;
            }
            let banner_at = kernel.banner_at.wrapping_add(begin);
            let slide = banner_at.0.wrapping_add(voffset).wrapping_sub(layout.banner);
            if let Some(expected) = options.kernel_slide.filter(|&expected| expected != slide) {
                return Err(format!("its slide is {slide:#x} by kimage_voffset, and not {expected:#x}"));
            }
            let (memory, from) = if begin == 0 {
                (kernel.memory, String::new())
            } else {
                let moved = kernel.memory.moved_to(Pa(begin)).ok_or_else(|| {
                    format!("its memory begins at {begin:#x}, and the image's format says another place")
                })?;
                (moved, format!(", memory from {begin:#x} on"))
            };
            let space = AddressSpace::new(memory, &spec, software, root);
            return Ok(Placed { space, slide, remark: format!(", {spec}{from}") });
        }
    }
    Err(format!(
        "the page tables at {tables} do not show the banner at {} by kimage_voffset {voffset:#x}",
        kernel.banner_at
    ))
}

/// Where the memory may begin, if the top page table is at `tables` of the image: its entries' tables must be inside.
fn possible_begins(memory: &dyn PhysicalMemory, spec: &PagingSpec, tables: Pa) -> impl Iterator<Item = u64> + use<> {
    let end = memory.runs().last().map_or(0, |run| run.start.0.saturating_add(run.bytes));
    let entries = spec.levels.first().map_or(0, |level| 1_u64 << (spec.address_bits - level.shift).min(level.bits));
    let (mut lowest, mut highest) = (u64::MAX, 0);
    for number in 0..entries {
        let mut entry = [0; 8];
        let read = memory.read(tables.wrapping_add(number * 8), &mut entry);
        let entry = u64::from_le_bytes(entry);
        if read.is_ok() && entry & 3 == 3 {
            let table = spec.table(entry);
            lowest = lowest.min(table);
            highest = highest.max(table);
        }
    }
    let first = highest.saturating_sub(end).next_multiple_of(ALIGN);
    let steps = if lowest < first { 0 } else { (lowest - first) / ALIGN + 1 };
    (0..steps).map(move |step| first + step * ALIGN).filter(|&begin| begin != 0)
}

/// Whether the release is 6.10 or later.
fn since_6_10(banner: &str) -> bool {
    let release = quaid_profile::release_of(banner).unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 10)
}

/// The image as if its first byte were at `begin`: for reads alone.
struct Moved<'m> {
    memory: &'m dyn PhysicalMemory,
    begin: u64,
}

impl PhysicalMemory for Moved<'_> {
    fn read(&self, at: Pa, buffer: &mut [u8]) -> Result<(), PageFault> {
        match at.0.checked_sub(self.begin) {
            Some(offset) => self.memory.read(Pa(offset), buffer),
            None => Err(PageFault::physical(FaultReason::NotInImage(at))),
        }
    }

    fn runs(&self) -> &[Run] {
        &[]
    }

    fn slice(&self, _: Pa, _: usize) -> Option<&[u8]> {
        None
    }

    fn release(&self, _: Pa, _: usize) {}

    fn describe(&self) -> String {
        self.memory.describe()
    }
}
