//! Where an image's headers say that the Linux kernel lies: VMCOREINFO tells both ends of a part of it that holds the
//! banner, and a processor's page table maps it at a known place. Then its banner is searched for there alone, some 30 MiB
//! instead of the whole image, and confirmed like every other.

use super::amd64::{IMAGE_BYTES, START_KERNEL_MAP};
use super::{Candidates, Hit, banners};
use crate::addr::Va;
use crate::guess::Search;
use crate::image::{PhysicalMemory, Selection};
use crate::paging::{AMD64, AMD64_LA57, AddressSpace, Software};
use crate::session::Session;
use std::ops::Range;

/// How many of the page tables that the headers name are tried.
const MAX_ROOTS: usize = 8;
/// How many banners of one part are tried; a kernel has one or two.
const MAX_BANNERS: usize = 64;
/// The kernel is mapped by pages of this size, or is aligned to it all the same.
const STEP: u64 = 0x20_0000;

impl<'m> Search<'m, '_, '_> {
    /// The kernel of the headers.
    pub(in crate::guess) fn linux_by_hints(&mut self) -> Option<Session<'m>> {
        let hits = self.hinted_banners();
        if hits.is_empty() {
            return None;
        }
        let mut candidates = Candidates::default();
        let session = hits.iter().find_map(|hit| self.linux_by(hit, &mut candidates));
        if session.is_none() {
            self.tell("What the image's headers say led to no kernel: the image is searched");
        }
        session
    }

    /// The banners in that part of the memory in which the headers say that the kernel is.
    pub(super) fn hinted_banners(&mut self) -> Vec<Hit> {
        for (what, ranges) in [("VMCOREINFO", self.by_vmcoreinfo()), ("a processor's CR3", self.by_page_tables())] {
            let (told, part) = (!ranges.is_empty(), Selection::new(self.memory, ranges));
            let hits: Vec<Hit> = banners(&part).take(MAX_BANNERS).collect();
            if let Some(first) = hits.first() {
                let bytes: u64 = part.runs().iter().map(|run| run.bytes).sum();
                self.tell(&format!(
                    "A kernel is where {what} of the image says: {} ({bytes} bytes searched)",
                    first.at
                ));
                return hits;
            }
            if told {
                self.tell(&format!("No kernel is where {what} of the image says"));
            }
        }
        Vec::new()
    }

    /// From `_stext` to the top page table, which lies behind the read-only data. Source: the kernel's
    /// `kernel/vmcore_info.c`, `arch_crash_save_vmcoreinfo` of x86 and arm64.
    fn by_vmcoreinfo(&self) -> Vec<Range<u64>> {
        let info = &self.options.hints.vmcoreinfo;
        let range = || {
            let (start, end) = (info.hex("SYMBOL(_stext)")?, info.hex("SYMBOL(swapper_pg_dir)")?);
            let bytes = end.checked_sub(start).filter(|&bytes| bytes <= IMAGE_BYTES)?;
            let physical = match info.hex("NUMBER(kimage_voffset)") {
                Some(voffset) => start.wrapping_sub(voffset),
                None => start.wrapping_sub(START_KERNEL_MAP).wrapping_add(info.number("NUMBER(phys_base)")?),
            };
            Some(physical..physical.saturating_add(bytes))
        };
        range().into_iter().collect()
    }

    /// What the first page table that a processor used maps where kernels for x86-64 run.
    fn by_page_tables(&self) -> Vec<Range<u64>> {
        for root in self.options.hints.dtbs.iter().take(MAX_ROOTS) {
            for spec in [&AMD64, &AMD64_LA57] {
                let space = AddressSpace::new(self.memory, spec, Software::None, root.0);
                let mapped = |step| space.translate(Va(START_KERNEL_MAP + step * STEP)).ok();
                let ranges: Vec<Range<u64>> =
                    (0..IMAGE_BYTES / STEP).filter_map(mapped).map(|at| at.0..at.0.saturating_add(STEP)).collect();
                if !ranges.is_empty() {
                    return ranges;
                }
            }
        }
        Vec::new()
    }

    /// Tells when VMCOREINFO has another slide than the one that the memory showed.
    pub(super) fn compare_offset(&mut self, slide: u64) {
        if let Some(said) = self.options.hints.vmcoreinfo.hex("KERNELOFFSET").filter(|&said| said != slide) {
            self.tell(&format!(
                "VMCOREINFO of the image has a KERNELOFFSET of {said:#x}, and the kernel's slide is {slide:#x}"
            ));
        }
    }
}
