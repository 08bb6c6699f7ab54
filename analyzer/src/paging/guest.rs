//! The physical memory of a virtual machine inside the image: what its extended page tables show.

use super::{AddressSpace, EPT, EPT_FIVE, Meaning, PAGE_BYTES, Software};
use crate::addr::{Pa, Va};
use crate::error::{FaultReason, PageFault};
use crate::image::{PhysicalMemory, Run};

/// How many entries of page tables are looked at: those of a guest of 256 GiB that has pages of 4 KiB alone. It bounds the
/// time that tables which lead to each other can take.
const MAX_ENTRIES: u64 = 1 << 26;
/// How many ranges are kept.
const MAX_RUNS: usize = 1 << 20;

/// Why the memory of a guest cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuestError {
    /// The tables map nothing.
    #[error("the extended page tables at {0} map no memory")]
    Empty(Pa),
    /// The EPTP is of tables that no processor has.
    #[error("the EPTP {0:#x} says that its tables have {levels} levels; processors know four and five", levels = walk_levels(*.0))]
    Levels(u64),
    /// The tables map more than a machine has.
    #[error(
        "the extended page tables at {0} lead to more than {MAX_RUNS} ranges or {MAX_ENTRIES} entries: no guest has them"
    )]
    TooMany(Pa),
}

/// How many levels the tables of an EPTP have: bits 5 to 3 are one less.
fn walk_levels(eptp: u64) -> u64 {
    (eptp >> 3 & 7) + 1
}

/// Guest-physical memory over the memory of the host.
pub struct GuestMemory<'m> {
    tables: AddressSpace<'m>,
    runs: Vec<Run>,
}

impl<'m> GuestMemory<'m> {
    /// The guest whose EPTP (VMCS field 0x201a) is `eptp`. One without flags, a mere address, is of four levels.
    pub fn new(host: &'m dyn PhysicalMemory, eptp: u64) -> Result<Self, GuestError> {
        let spec = match walk_levels(eptp) {
            _ if eptp.is_multiple_of(PAGE_BYTES) => &EPT,
            4 => &EPT,
            5 => &EPT_FIVE,
            _ => return Err(GuestError::Levels(eptp)),
        };
        let tables = AddressSpace::new(host, spec, Software::None, eptp);
        let root = tables.root();
        let mut survey = Survey { tables: &tables, runs: Vec::new(), left: MAX_ENTRIES, path: Vec::new() };
        survey.table(root, 0, 0).ok_or(GuestError::TooMany(root))?;
        let runs = survey.runs;
        if runs.is_empty() { Err(GuestError::Empty(root)) } else { Ok(Self { tables, runs }) }
    }

    /// Where a guest-physical address is in the host's memory.
    pub fn host_address(&self, at: Pa) -> Result<Pa, PageFault> {
        self.tables.translate(Va(at.0)).map_err(|_| PageFault::physical(FaultReason::NotInImage(at)))
    }
}

/// What the tables map, in order.
struct Survey<'t, 'm> {
    tables: &'t AddressSpace<'m>,
    runs: Vec<Run>,
    /// Entries that may still be looked at.
    left: u64,
    /// The tables on the way: one that leads back to itself maps no memory.
    path: Vec<Pa>,
}

impl Survey<'_, '_> {
    /// The table at `at`, of level number `index`, for the addresses from `first` on. `None` when there is too much.
    fn table(&mut self, at: Pa, index: usize, first: u64) -> Option<()> {
        let level = *self.tables.spec().levels.get(index)?;
        self.path.push(at);
        for number in 0..1 << level.bits {
            self.left = self.left.checked_sub(1)?;
            let start = first | number << level.shift;
            match self.tables.step(at, index, Va(start)).meaning {
                Meaning::Page(page, bytes) => self.add(start, page, bytes)?,
                Meaning::Table(next) if !self.path.contains(&next) => self.table(next, index + 1, start)?,
                _ => {}
            }
        }
        self.path.pop();
        Some(())
    }

    fn add(&mut self, start: u64, page: Pa, bytes: u64) -> Option<()> {
        if let Some(last) = self.runs.last_mut()
            && last.start.0 + last.bytes == start
            && last.file_offset == page.0.checked_sub(last.bytes)
        {
            last.bytes += bytes;
            return Some(());
        }
        if self.runs.len() == MAX_RUNS {
            return None;
        }
        self.runs.push(Run { start: Pa(start), bytes, file_offset: Some(page.0) });
        Some(())
    }
}

impl PhysicalMemory for GuestMemory<'_> {
    fn read(&self, at: Pa, buffer: &mut [u8]) -> Result<(), PageFault> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let here = at.wrapping_add(done as u64);
            let bytes = ((PAGE_BYTES - here.0 % PAGE_BYTES) as usize).min(rest.len());
            let piece = rest.get_mut(..bytes).unwrap_or_default();
            let read = self.host_address(here).and_then(|host| {
                self.tables
                    .memory()
                    .read(host, piece)
                    // What the host's image lacks is named by the guest's address.
                    .map_err(|fault| fault.moved(host, here))
            });
            if let Err(fault) = read {
                let good = fault.good_bytes_from(here).min(bytes);
                rest.get_mut(good..).unwrap_or_default().fill(0);
                return Err(fault);
            }
            done += bytes;
        }
        Ok(())
    }

    fn runs(&self) -> &[Run] {
        &self.runs
    }

    fn slice(&self, at: Pa, bytes: usize) -> Option<&[u8]> {
        let after = self.runs.partition_point(|run| run.start <= at);
        let run = self.runs.get(after.checked_sub(1)?)?;
        let inside = at.0 - run.start.0;
        let fits = inside.checked_add(bytes as u64).is_some_and(|end| end <= run.bytes);
        let host = run.file_offset.filter(|_| fits)? + inside;
        self.tables.memory().slice(Pa(host), bytes)
    }

    fn release(&self, at: Pa, bytes: usize) {
        if let Ok(host) = self.host_address(at) {
            self.tables.memory().release(host, bytes);
        }
    }

    fn describe(&self) -> String {
        format!("guest of the EPT at {} in {}", self.tables.root(), self.tables.memory().describe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::testing::TestMemory;

    /// 1 MiB of a host, with tables of a guest whose root is at 0x1000: guest pages 0 and 1 at host 0x8000, page 3 at
    /// 0xa000, 2 MiB at guest 0x20_0000 that the image lacks but for nothing, and a root that leads to itself.
    fn host() -> TestMemory {
        let mut host = TestMemory::new(vec![(0, vec![0; 0x10_0000])]).mapped();
        for (at, entry) in [
            (0x1000, 0x2007),
            (0x1ff8, 0x1007),
            (0x2000, 0x3007),
            (0x3000, 0x4007),
            (0x3008, 0x4000_00b7),
            (0x4000, 0x8037),
            (0x4008, 0x9037),
            (0x4018, 0xa031),
            (0x8ff8, 0x1111_1111_1111_1111),
            (0x9000, 0x2222_2222_2222_2222),
        ] {
            host.put(at, entry);
        }
        host
    }

    #[test]
    fn the_memory_of_a_guest_is_what_its_tables_map() {
        let host = host();
        let guest = GuestMemory::new(&host, 0x101e).expect("a guest");
        let runs: Vec<_> =
            guest.runs().iter().map(|run| (run.start.0, run.bytes, run.file_offset.expect("a host's page"))).collect();
        assert_eq!(runs, [(0, 0x2000, 0x8000), (0x3000, 0x1000, 0xa000), (0x20_0000, 0x20_0000, 0x4000_0000)]);
        let mut bytes = [0; 8];
        assert_eq!((guest.read(Pa(0xffc), &mut bytes), bytes), (Ok(()), *b"\x11\x11\x11\x11\x22\x22\x22\x22"));
        assert_eq!(guest.slice(Pa(0xff8), 16).map(<[u8]>::len), Some(16));
        assert_eq!(guest.slice(Pa(0x1ff8), 16), None, "not in one piece");
        let missing = |at| Err(PageFault::physical(FaultReason::NotInImage(Pa(at))));
        let mut bytes = [0xee; 16];
        assert_eq!(guest.read(Pa(0x1ff8), &mut bytes), missing(0x2000));
        assert_eq!(bytes[8..], [0; 8]);
        assert_eq!(guest.read(Pa(0x20_0010), &mut bytes), missing(0x20_0010), "mapped, and not in the host's image");
        assert_eq!(guest.host_address(Pa(0x3123)), Ok(Pa(0xa123)));
    }

    #[test]
    fn an_eptp_tells_how_many_levels_there_are() {
        let mut host = host();
        // One level more, of which the second entry leads to the tables of the others.
        host.put(0x5008, 0x1007);
        let guest = GuestMemory::new(&host, 0x5026).expect("a guest");
        assert_eq!(guest.host_address(Pa(1 << 48 | 0x3123)), Ok(Pa(0xa123)));
        assert_eq!(guest.runs()[0].start, Pa(1 << 48));
        for eptp in [0x1006, 0x1016, 0x102e] {
            assert_eq!(GuestMemory::new(&host, eptp).err(), Some(GuestError::Levels(eptp)));
        }
    }

    #[test]
    fn damage_of_the_host_s_image_is_told_by_the_guest_s_address() {
        let mut host = host();
        host.put(0xa7f8, 0x4444_4444_4444_4444);
        let host = host.damaged(0xa800..0xb000);
        let guest = GuestMemory::new(&host, 0x101e).expect("a guest");
        let mut bytes = [0xee; 16];
        let fault = guest.read(Pa(0x37f8), &mut bytes).expect_err("damaged");
        assert_eq!(fault.reason, FaultReason::Corrupt { at: Pa(0x3800), why: "damaged".into() });
        assert_eq!((fault.good_bytes_from(Pa(0x37f8)), &bytes[..8], &bytes[8..]), (8, &[0x44; 8][..], &[0; 8][..]));
    }

    #[test]
    fn the_page_tables_of_a_guest_s_kernel_are_read_through_those_of_the_host() {
        let mut host = host();
        // In the guest: root at 0, all tables in guest page 1 (host 0x9000), the page at guest 0x3000 (host 0xa000).
        for (at, entry) in [(0x8000, 0x1023), (0x9008, 0x1023), (0x9010, 0x1023), (0x9018, 0x3023)] {
            host.put(at, entry);
        }
        host.put(0xa018, 0x3333_3333_3333_3333);
        let guest = GuestMemory::new(&host, 0x1000).expect("a guest");
        let space = AddressSpace::new(&guest, &crate::paging::AMD64, Software::None, 0);
        let va = Va(1 << 30 | 2 << 21 | 3 << 12 | 0x18);
        assert_eq!((space.translate(va), space.read_u64(va)), (Ok(Pa(0x3018)), Ok(0x3333_3333_3333_3333)));
    }

    #[test]
    fn tables_that_are_none_are_refused() {
        let host = TestMemory::new(vec![(0, vec![0; 0x10_0000])]);
        assert_eq!(GuestMemory::new(&host, 0x1000).err(), Some(GuestError::Empty(Pa(0x1000))));
        assert_eq!(GuestMemory::new(&host, 0xf_0000_0000).err(), Some(GuestError::Empty(Pa(0xf_0000_0000))));
        // Every entry of every level leads on, to one page: more ranges than a machine has.
        let mut host = TestMemory::new(vec![(0, vec![0; 0x1_0000])]);
        for table in 1..4 {
            for number in 0..512 {
                host.put(table * 0x1000 + number * 8, (table + 1) * 0x1000 + 7);
            }
        }
        for number in 0..512 {
            host.put(0x4000 + number * 8, 0x5037);
        }
        assert_eq!(GuestMemory::new(&host, 0x1000).err(), Some(GuestError::TooMany(Pa(0x1000))));
    }
}
