//! Header and sub-header of a kdump image, in the word size and alignment of the dumped machine.

use crate::image::fields::{piece, u32_at, u64_at};
use crate::image::run_layer::END_OF_PHYSICAL;
use crate::image::{Hints, PhysicalMemory, array, notes};
use crate::vmcoreinfo::VmcoreInfo;
use std::ops::Range;

/// Bytes of the header that are looked at.
pub(super) const HEADER_BYTES: usize = 464;
const SUB_HEADER_BYTES: usize = 112;
/// A kernel's VMCOREINFO is one page.
const MAX_VMCOREINFO: u64 = 1 << 20;

/// What header and sub-header say.
pub(super) struct Header {
    version: u32,
    /// utsname: release and version of the kernel, its machine.
    names: Vec<(String, String)>,
    pub(super) block_bytes: u64,
    pub(super) bitmap: u64,
    pub(super) bitmap_bytes: u64,
    pub(super) status: u32,
    pub(super) max_mapnr: u64,
    phys_base: u64,
    dump_level: u32,
    /// The PFNs that this file has, where the dump is split over several.
    pub(super) split: Option<Range<u64>>,
    vmcoreinfo: (u64, u64),
    note: (u64, u64),
}

impl Header {
    /// Reads both.
    pub(super) fn read(base: &dyn PhysicalMemory) -> Result<Self, String> {
        let fields = array::<HEADER_BYTES>(base, 0).ok_or("its header is cut short")?;
        // Every place below is inside the bytes that were read.
        let number = |at: usize| u32_at(&fields, at).unwrap_or(0);
        let version = number(8);
        if (1..=6).contains(&version.swap_bytes()) {
            return Err("it is of a big-endian machine, which is not supported".into());
        }
        if !(1..=6).contains(&version) {
            return Err(format!("its version is {version}; 1 to 6 are known"));
        }
        // The fields behind utsname are aligned to words.
        let is_page = |bytes: u32| bytes.is_power_of_two() && (0x1000..=0x1_0000).contains(&bytes);
        // A 32-bit header has other numbers where the 64-bit one has its block size, some of which look like one.
        let is_header = |at: usize| is_page(number(at)) && number(at + 4) > 0 && number(at + 8) > 0;
        let (is_64, status) = match (is_header(428), is_header(416)) {
            (true, _) => (true, 424),
            (false, true) => (false, 412),
            _ => return Err("its block size is not that of a page, neither as a 64-bit nor as a 32-bit header".into()),
        };
        let name = |index: usize| {
            let bytes = fields.get(12 + index * 65..).and_then(|rest| rest.get(..65)).unwrap_or_default();
            let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
            String::from_utf8_lossy(text).into_owned()
        };
        let machine = name(4);
        let names = ["system", "node name", "release", "version", "machine"];
        let names = names.iter().enumerate().map(|(index, what)| ((*what).to_owned(), name(index)));
        let names = names.filter(|(_, value)| !value.is_empty()).collect();
        let block_bytes = u64::from(number(status + 4));
        // i386 aligns u64 to four bytes.
        let layout = if is_64 {
            &SUB_64
        } else if machine.starts_with("arm") {
            &SUB_ARM
        } else {
            &SUB_I386
        };
        let sub = array::<SUB_HEADER_BYTES>(base, block_bytes).ok_or("its sub-header is cut short")?;
        let narrow = |at: usize| u32_at(&sub, at).unwrap_or(0);
        let wide = |at: usize| u64_at(&sub, at).unwrap_or(0);
        let word = |at: usize| if is_64 { wide(at) } else { u64::from(narrow(at)) };
        let max_mapnr = if version >= 6 { wide(layout.max_mapnr_64) } else { u64::from(number(status + 16)) };
        if max_mapnr.checked_mul(block_bytes).is_none_or(|end| end > END_OF_PHYSICAL) {
            return Err(format!("it declares {max_mapnr} pages, which reach behind the physical address 2^52"));
        }
        let split = (version >= 2 && narrow(layout.split) != 0).then(|| {
            let (start, end) = if version >= 6 {
                (wide(layout.start_pfn_64), wide(layout.start_pfn_64 + 8))
            } else {
                (word(layout.start_pfn), word(layout.start_pfn + layout.word))
            };
            start.min(max_mapnr)..end.clamp(start.min(max_mapnr), max_mapnr)
        });
        let place = |at: usize| (wide(at), word(at + 8));
        let sub_blocks = u64::from(number(status + 8));
        Ok(Self {
            version,
            names,
            block_bytes,
            bitmap: (1 + sub_blocks) * block_bytes,
            bitmap_bytes: u64::from(number(status + 12)) * block_bytes,
            status: number(status),
            max_mapnr,
            phys_base: word(0),
            dump_level: narrow(layout.word),
            split,
            vmcoreinfo: if version >= 3 { place(layout.vmcoreinfo) } else { (0, 0) },
            note: if version >= 4 { place(layout.note) } else { (0, 0) },
        })
    }

    /// What they and the notes that they lead to say about the machine.
    pub(super) fn hints(&self, base: &dyn PhysicalMemory) -> Hints {
        let text = |(offset, bytes): (u64, u64), max: u64| {
            (bytes > 0 && bytes <= max).then(|| piece(base, offset, bytes)).flatten()
        };
        let mut hints = Hints::default();
        let mut facts = self.names.clone();
        facts.push(("kdump version".into(), self.version.to_string()));
        facts.push(("dump level".into(), self.dump_level.to_string()));
        facts.push(("phys_base".into(), format!("{:#x}", self.phys_base)));
        hints.facts = facts;
        if let Some(note) = text(self.note, notes::MAX_BYTES) {
            hints.add(notes::hints(&note));
        }
        if let Some(info) = text(self.vmcoreinfo, MAX_VMCOREINFO) {
            hints.vmcoreinfo.0.extend(VmcoreInfo::parse(&info).0);
        }
        hints
    }
}

/// Where a sub-header has its fields.
struct SubHeader {
    /// Bytes of a word, and with them the place of `dump_level`.
    word: usize,
    split: usize,
    start_pfn: usize,
    vmcoreinfo: usize,
    note: usize,
    start_pfn_64: usize,
    max_mapnr_64: usize,
}

const SUB_64: SubHeader =
    SubHeader { word: 8, split: 12, start_pfn: 16, vmcoreinfo: 32, note: 48, start_pfn_64: 80, max_mapnr_64: 96 };
const SUB_I386: SubHeader =
    SubHeader { word: 4, split: 8, start_pfn: 12, vmcoreinfo: 20, note: 32, start_pfn_64: 56, max_mapnr_64: 72 };
const SUB_ARM: SubHeader =
    SubHeader { word: 4, split: 8, start_pfn: 12, vmcoreinfo: 24, note: 40, start_pfn_64: 72, max_mapnr_64: 88 };
