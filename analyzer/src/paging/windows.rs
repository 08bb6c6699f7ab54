//! Windows' meaning of entries that are not present (`_MMPTE` and its variants, as the symbols of each build have them).

use super::PAGE_BYTES;
use super::software::{Absent, Field, Position, SoftEntry, State};
use crate::addr::{Pa, Va};
use crate::error::{FaultReason, PageFault};
use crate::image::{self, Image};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a build has what its entries say. [`WindowsPtes::amd64`] and its like serve where the symbols do not tell.
#[derive(Debug, Clone)]
pub struct WindowsPtes {
    /// Bytes of an entry.
    pub entry_bytes: u8,
    /// `_MMPTE_SOFTWARE.PageFileLow`: the number of the page file.
    pub pagefile_number: Field,
    /// `_MMPTE_SOFTWARE.PageFileHigh`: the page's place in it, in pages.
    pub pagefile_page: Field,
    /// `_MMPTE_PROTOTYPE.ProtoAddress`; `None` where the address is not written whole (x86 without PAE).
    pub prototype: Option<Field>,
    /// `_MMPTE_SUBSECTION.SubsectionAddress`.
    pub subsection: Option<Field>,
    /// What entries are mixed with.
    pub swizzle: Swizzle,
    /// The page files that are no files but the compressed store, a bit each (`_MMPAGING_FILE.VirtualStorePagefile`).
    pub stores: u16,
    /// The page files, by number.
    pub pagefiles: Vec<Pagefile>,
}

/// What Windows mixes with entries that are not present, so that speculative execution finds no memory there (L1TF): since
/// 1803, and in updates of older versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swizzle {
    /// `MiState.Hardware.InvalidPteMask`, by exclusive or where bit 4 (`SwizzleBit`) is clear.
    Mask(u64),
    /// The mask is not known. On all machines with less than 32 TiB of memory that need one it has bit 45: it is taken out
    /// of frame numbers, and flipped in places in page files.
    Unknown,
}

/// Bit 45: no machine has memory there.
const L1TF_BIT: u64 = 1 << 45;
const VALID: u64 = 1;
const SWIZZLE_BIT: u64 = 1 << 4;
const PROTECTION: Field = Field::new(5, 5);
const PROTOTYPE: u64 = 1 << 10;
const TRANSITION: u64 = 1 << 11;
/// `_MMPTE_TRANSITION.PageFrameNumber` ends at bit 47.
const FRAME: u64 = ((1 << 48) - 1) & !0xfff;
/// The highest bits of a file-backed entry of Windows 11 22H2, and its lowest.
const FILE_BACKED: u64 = 0xffff_8000_0000_0000;

impl WindowsPtes {
    /// x86-64: before 1803 the number of the page file is in bits 4 to 1.
    pub fn amd64(since_1803: bool) -> Self {
        Self {
            entry_bytes: 8,
            pagefile_number: if since_1803 { Field::new(12, 4) } else { Field::new(1, 4) },
            pagefile_page: Field::new(32, 32),
            prototype: Some(Field::new(16, 48)),
            subsection: Some(Field::new(16, 48)),
            swizzle: Swizzle::Unknown,
            stores: 0,
            pagefiles: Vec::new(),
        }
    }

    /// 32-bit x86 with PAE.
    pub fn pae() -> Self {
        Self { prototype: Some(Field::new(32, 32)), subsection: Some(Field::new(32, 32)), ..Self::amd64(false) }
    }

    /// 32-bit x86 without PAE.
    pub fn x86() -> Self {
        Self {
            entry_bytes: 4,
            pagefile_page: Field::new(12, 20),
            prototype: None,
            subsection: None,
            ..Self::amd64(false)
        }
    }

    /// What `entry` means.
    pub(super) fn meaning(&self, entry: u64, position: Position) -> SoftEntry {
        let plain = self.plain(entry);
        match plain {
            _ if entry == 0 => SoftEntry::Absent(Absent::Vad),
            // Also in tables above the last: they are paged as well.
            _ if plain & (PROTOTYPE | TRANSITION | VALID) == TRANSITION => {
                SoftEntry::Kept(plain & self.frame_mask(), State::Transition)
            }
            _ if plain & PROTOTYPE != 0 && position.prototype => SoftEntry::Absent(
                self.subsection.map_or(Absent::FileBacked, |field| Absent::Subsection(address(field, plain))),
            ),
            _ if plain & PROTOTYPE != 0 => match self.prototype {
                // The lookup value: the VAD knows the prototype.
                Some(field) if is_lookup(field, plain) || is_lookup(field, entry) => SoftEntry::Absent(Absent::Vad),
                Some(field) => SoftEntry::Prototype(address(field, plain)),
                None => SoftEntry::Absent(Absent::Prototype(None)),
            },
            _ => SoftEntry::Absent(self.software(entry, plain)),
        }
    }

    /// A page file's entry, or one that no page was made for yet. `_MMPTE_SOFTWARE`.
    fn software(&self, entry: u64, plain: u64) -> Absent {
        let number = u8::try_from(self.pagefile_number.of(plain)).unwrap_or(u8::MAX);
        let page = self.pagefile_page.of(plain);
        // Entries that no page file ever had are not mixed with anything.
        if self.pagefile_page.of(entry) == 0 && self.pagefile_number.of(entry) == 0 || page == 0 && number == 0 {
            // MM_ZERO_ACCESS and no protection: nothing was ever allocated.
            return if PROTECTION.of(plain) == 0 { Absent::Vad } else { Absent::DemandZero };
        }
        let all = Field::new(0, self.pagefile_page.bits).of(u64::MAX);
        if page == all || self.pagefile_page.of(entry) == all {
            return Absent::Vad;
        }
        if self.entry_bytes == 8 && entry & (FILE_BACKED | 0xf) == FILE_BACKED {
            return Absent::FileBacked;
        }
        if self.stores.checked_shr(number.into()).is_some_and(|stores| stores & 1 != 0) {
            Absent::CompressedStore { number, page }
        } else {
            Absent::Pagefile { number, page }
        }
    }

    /// The entry without what Windows mixed with it.
    fn plain(&self, entry: u64) -> u64 {
        match self.swizzle {
            Swizzle::Mask(mask) if entry & SWIZZLE_BIT == 0 => entry ^ mask,
            // In addresses of the kernel the bit is set by itself.
            Swizzle::Unknown if self.entry_bytes == 8 && entry & (PROTOTYPE | SWIZZLE_BIT) == 0 => {
                match entry & TRANSITION {
                    0 => entry ^ L1TF_BIT,
                    _ => entry & !L1TF_BIT,
                }
            }
            Swizzle::Mask(_) | Swizzle::Unknown => entry,
        }
    }

    fn frame_mask(&self) -> u64 {
        if self.entry_bytes == 4 { 0xffff_f000 } else { FRAME }
    }

    /// Reads `buffer` out of a page file; `None` without that file.
    pub(super) fn read(&self, number: u8, page: u64, inside: u64, buffer: &mut [u8]) -> Option<Result<(), PageFault>> {
        let file = self.pagefiles.get(usize::from(number))?;
        let at = page.checked_mul(PAGE_BYTES)?.checked_add(inside)?;
        Some(file.0.read(Pa(at), buffer).map_err(|fault| {
            let why = match fault.reason {
                FaultReason::Io(why) => why,
                _ => "it ends before".to_owned(),
            };
            PageFault::physical(FaultReason::Io(format!("page file {number} at offset {at:#x}: {why}")))
        }))
    }

    /// The protection that a page will have (`_MMPTE_SOFTWARE.Protection`).
    pub(super) fn protection(&self, entry: u64) -> String {
        const NAMES: [&str; 8] = [
            "NOACCESS",
            "READONLY",
            "EXECUTE",
            "EXECUTE_READ",
            "READWRITE",
            "WRITECOPY",
            "EXECUTE_READWRITE",
            "EXECUTE_WRITECOPY",
        ];
        let protection = PROTECTION.of(self.plain(entry)) as usize;
        let more = [" NOCACHE", " GUARD", " WRITECOMBINE"];
        let more = (protection >> 3).checked_sub(1).and_then(|index| more.get(index)).copied().unwrap_or_default();
        format!("{}{more}", NAMES.get(protection & 7).copied().unwrap_or_default())
    }
}

/// An address of the kernel. Those of 32 bits are not extended.
fn address(field: Field, plain: u64) -> Va {
    Va(if field.bits > 32 { field.signed_of(plain) } else { field.of(plain) })
}

/// `MI_PTE_LOOKUP_NEEDED`, as an address.
fn is_lookup(field: Field, plain: u64) -> bool {
    field.of(plain) == if field.bits > 32 { 0xffff_ffff_0000 } else { 0xffff_ffff }
}

/// An opened page file.
#[derive(Clone)]
pub struct Pagefile(Arc<Image>);

impl Pagefile {
    /// Opens a copy of a page file (pagefile.sys), to be read where it is not to be mapped (`image::Options::no_map`).
    pub fn open(path: &Path, no_map: bool) -> Result<Self, image::OpenError> {
        let options = image::Options { format: Some("raw".to_owned()), no_map, ..image::Options::default() };
        Ok(Self(Arc::new(image::open(path, &options)?)))
    }
}

impl Pagefile {
    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.0.runs().iter().map(|run| run.bytes).sum()
    }
}

impl fmt::Debug for Pagefile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pagefile({})", self.0.describe())
    }
}
