//! Physical memory as an image file holds it.
//!
//! [`open`] asks the known formats whose image a file is ([`Ballot`]s tell how they answered) and gives an [`Image`]: the
//! physical memory, read by address. A file that nobody claims is a raw image.
//!
//! Everything in a file's headers is doubted: counts are compared with the length of the file, ranges that overlap,
//! overflow or lie behind the end of the file are cut to what is there, and each such repair is told as a warning.

mod aff4;
mod avml;
mod backing;
mod codec_layer;
mod compressed;
mod crash_dump;
mod elf_core;
mod ewf;
mod fields;
mod flattened;
mod hibernation;
mod hints;
mod inflate;
mod kdump;
mod libvirt_save;
mod lime;
mod lzo;
mod mach_o_core;
mod mapped_file;
mod notes;
mod open;
mod page_bitmap;
mod pmem_footer;
mod pmem_yaml;
mod qemu_stream;
mod raw;
mod run_layer;
mod selection;
#[cfg(test)]
pub(crate) mod testing;
mod unsupported;
mod vmware;
mod vote;
mod xen_core;

pub use ewf::{Digest, digests};
pub use hints::Hints;
pub use open::{Image, OpenError, Options, open};
pub use selection::Selection;
pub use vote::Ballot;

use crate::addr::Pa;
use crate::error::{FaultReason, PageFault};

/// A range of physical memory that an image holds, contiguous in the image's file as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// First physical address.
    pub start: Pa,
    /// Length in bytes; never 0.
    pub bytes: u64,
    /// Offset of the first byte in the layer below (the file); `None` when the bytes do not lie there as they are
    /// (compressed, scattered).
    pub file_offset: Option<u64>,
}

/// A range of physical memory that the machine had and the image does not give. What no run and no gap has is a hole in
/// the machine's address space, as far as the image tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// First physical address.
    pub start: Pa,
    /// Length in bytes; never 0.
    pub bytes: u64,
    /// Why it is missing.
    pub why: GapKind,
}

/// Why a range is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapKind {
    /// The file ends before it.
    Truncated,
    /// It was left out when the image was made (free pages, user pages).
    NotDumped,
    /// The program that made the image could not read it.
    Unreadable,
}

impl GapKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Truncated, Self::NotDumped, Self::Unreadable];

    /// The kind in a word or two.
    pub fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::NotDumped => "not dumped",
            Self::Unreadable => "unreadable",
        }
    }
}

/// The physical memory of an image. Object-safe; reads need no exclusive access.
pub trait PhysicalMemory: Send + Sync {
    /// Fills `buffer` from `at` on. On a fault the bytes before the missing one are good and the rest is zero.
    fn read(&self, at: Pa, buffer: &mut [u8]) -> Result<(), PageFault>;

    /// What the image holds: sorted, disjoint. Scanners walk these.
    fn runs(&self) -> &[Run];

    /// What the image says is missing, and why: sorted, disjoint from each other and from the runs.
    fn gaps(&self) -> &[Gap] {
        &[]
    }

    /// The bytes themselves where they lie in one piece in a mapped file; `None` says "use `read`", not "missing".
    fn slice(&self, at: Pa, bytes: usize) -> Option<&[u8]>;

    /// Says that the range was gone through and is not needed soon: a mapped file's pages may leave the memory of this
    /// process, so that a scan of 64 GB does not hold 64 GB. A later read brings them back.
    fn release(&self, at: Pa, bytes: usize);

    /// The same memory with its first byte at `begin`; `None` where the format says itself where its bytes belong. For raw
    /// images of machines whose memory does not begin at 0; there is one such place, and the first one asked for counts.
    fn moved_to(&self, begin: Pa) -> Option<&dyn PhysicalMemory> {
        let _ = begin;
        None
    }

    /// The format, for `-v` ("LiME", "ELF core").
    fn describe(&self) -> String;
}

/// The `N` bytes at `offset` of a layer, when it has them all.
fn array<const N: usize>(memory: &dyn PhysicalMemory, offset: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    memory.read(Pa(offset), &mut bytes).ok()?;
    Some(bytes)
}

/// The run that holds `at`; `runs` are sorted and disjoint.
fn run_at(runs: &[Run], at: Pa) -> Option<&Run> {
    let after = runs.partition_point(|run| run.start <= at);
    runs.get(after.checked_sub(1)?).filter(|run| at.0 - run.start.0 < run.bytes)
}

/// Why no run holds `at`; `gaps` are sorted and disjoint.
fn missing(gaps: &[Gap], at: Pa) -> PageFault {
    let after = gaps.partition_point(|gap| gap.start <= at);
    let gap = after.checked_sub(1).and_then(|index| gaps.get(index));
    PageFault::physical(match gap.filter(|gap| at.0 - gap.start.0 < gap.bytes).map(|gap| gap.why) {
        None => FaultReason::NotInImage(at),
        Some(GapKind::Truncated) => FaultReason::Truncated(at),
        Some(GapKind::NotDumped) => FaultReason::NotDumped(at),
        Some(GapKind::Unreadable) => FaultReason::Unreadable(at),
    })
}

#[cfg(test)]
mod tests;
