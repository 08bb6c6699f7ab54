use super::*;
use crate::image::testing::TestMemory;

const NX: u64 = 1 << 63;
/// Present, writable, accessed, dirty, and all the bits that the processor ignores or uses for protection keys.
const FLAGS: u64 = 0x7ff0_0000_0000_0063;
const LARGE: u64 = 1 << 7;

const LINUX: Software = Software::Linux(LinuxPtes::Amd64);

fn windows_10() -> Software {
    Software::Windows(std::sync::Arc::new(WindowsPtes::amd64(true)))
}

/// Two MiB at 0, with four levels of tables: root at 0x1000, then 0x2000, 0x3000, 0x4000.
fn tables() -> TestMemory {
    let mut memory = TestMemory::new(vec![(0, vec![0; 0x20_0000])]);
    memory.put(0x1000 + 8 * 0x111, 0x2000 | FLAGS);
    memory.put(0x2000 + 8 * 0x022, 0x3000 | FLAGS);
    memory.put(0x3000 + 8 * 0x133, 0x4000 | FLAGS);
    memory.put(0x4000 + 8 * 0x044, 0x5000 | FLAGS | NX);
    memory
}

/// The address whose indexes the tables use: 0x111, 0x22, 0x133, 0x44, and its sign extension.
const VA: Va = Va(0xffff_0000_0000_0000 | 0x111 << 39 | 0x022 << 30 | 0x133 << 21 | 0x044 << 12);

fn space(memory: &TestMemory) -> AddressSpace<'_> {
    // CR3 with PCID 0x801 and the no-flush bit.
    AddressSpace::new(memory, &AMD64, Software::None, 1 << 63 | 0x1801)
}

#[test]
fn pages_of_4_kib_translate_and_the_walk_tells_each_step() {
    let memory = tables();
    let space = space(&memory);
    for _ in 0..2 {
        assert_eq!(space.translate(VA.wrapping_add(0x123)), Ok(Pa(0x5123)), "also from the cache");
    }
    let steps = space.walk(VA);
    let told: Vec<_> = steps.iter().map(|step| (step.level, step.entry_at.0, step.meaning)).collect();
    assert_eq!(
        told,
        [
            ("PML4E", 0x1888, Meaning::Table(Pa(0x2000))),
            ("PDPTE", 0x2110, Meaning::Table(Pa(0x3000))),
            ("PDE", 0x3998, Meaning::Table(Pa(0x4000))),
            ("PTE", 0x4220, Meaning::Page(Pa(0x5000), 0x1000)),
        ]
    );
    assert_eq!(steps[3].entry, 0x5000 | FLAGS | NX);
}

#[test]
fn large_pages_keep_the_low_bits_of_the_address_and_drop_pat() {
    let mut memory = tables();
    // Bit 12 is PAT in a large entry.
    memory.put(0x3000 + 8 * 0x133, 0x0004_0000_0060_0000 | 0x1000 | FLAGS | LARGE | NX);
    assert_eq!(space(&memory).translate(VA.wrapping_add(0x123)), Ok(Pa(0x0004_0000_0060_0000 | 0x4_4123)));
    memory.put(0x2000 + 8 * 0x022, 0x1_4000_0000 | 0x1000 | FLAGS | LARGE);
    let space = space(&memory);
    for _ in 0..2 {
        assert_eq!(space.translate(VA.wrapping_add(0x123)), Ok(Pa(0x1_4000_0000 | 0x133 << 21 | 0x4_4123)));
    }
    assert_eq!(space.walk(VA).last().map(|step| step.meaning), Some(Meaning::Page(Pa(0x1_4000_0000), 1 << 30)));
}

#[test]
fn faults_name_the_level_the_entry_and_the_reason() {
    for (entry_at, level) in [(0x1888, "PML4E"), (0x2110, "PDPTE"), (0x3998, "PDE"), (0x4220, "PTE")] {
        let mut memory = tables();
        memory.put(entry_at, 0x7000 | (FLAGS & !1));
        let entry_at = Pa(entry_at);
        let reason = FaultReason::NotPresent { level, entry_at, entry: 0x7000 | (FLAGS & !1), why: Absent::Invalid };
        assert_eq!(space(&memory).translate(VA), Err(PageFault { va: Some(VA), reason }));
    }
    for (entry_at, level, missing) in [(0x1888, "PDPTE", 0x110), (0x2110, "PDE", 0x998), (0x3998, "PTE", 0x220)] {
        let mut memory = tables();
        memory.put(entry_at, 0x9_9999_9000 | FLAGS);
        let reason = FaultReason::TableMissing { level, entry_at: Pa(0x9_9999_9000 + missing) };
        assert_eq!(space(&memory).translate(VA), Err(PageFault { va: Some(VA), reason }));
    }
    let memory = tables();
    let space = space(&memory);
    assert_eq!(space.translate(VA), Ok(Pa(0x5000)));
    for va in [VA.0 & !(0xffff << 48), 0x8000_0000_0000, VA.0 ^ 1 << 63, VA.0 ^ 1 << 48, 0xffff_7fff_ffff_ffff] {
        let fault = PageFault { va: Some(Va(va)), reason: FaultReason::NotCanonical };
        assert_eq!(space.translate(Va(va)), Err(fault), "{va:#x}, also with its page in the cache");
        assert_eq!(space.walk(Va(va)), []);
    }
}

#[test]
fn addresses_that_share_a_slot_of_the_cache_stay_apart() {
    let mut memory = tables();
    let other = Va(VA.0 ^ 1 << 21);
    memory.put(0x3000 + 8 * 0x132, 0x6000 | FLAGS);
    memory.put(0x6000 + 8 * 0x044, 0x7000 | FLAGS);
    let low = Va(0x0000_0100_0000_0000 | VA.0 & 0x1ff_f000);
    let space = space(&memory);
    for _ in 0..3 {
        assert_eq!(space.translate(VA), Ok(Pa(0x5000)));
        assert_eq!(space.translate(other), Ok(Pa(0x7000)));
        assert!(space.translate(low).is_err());
    }
    let tlb = Tlb::new(&AMD64_LA57);
    tlb.put(VA.0, Pa(0xf_ffff_ffff_f000));
    assert_eq!(tlb.get(VA.0), None, "a frame that does not fit is forgotten");
    tlb.put(0, Pa(0));
    assert_eq!((tlb.get(0), tlb.get(1 << 21)), (Some(Pa(0)), None));
}

#[test]
fn pae_has_a_root_of_four_entries_and_32_bit_addresses() {
    let mut memory = TestMemory::new(vec![(0, vec![0; 0x10000])]);
    // The root is 32-byte aligned: 0x1020. PDPTE 2, PDE 0x1ff, PTE 0x100; the frame is above 4 GiB.
    memory.put(0x1020 + 8 * 2, 0x2001);
    memory.put(0x2000 + 8 * 0x1ff, 0x3067);
    memory.put(0x3000 + 8 * 0x100, 0x8_0000_5000 | NX | 0x63);
    memory.put(0x2000 + 8, 0x0060_0000 | LARGE | 0x63);
    // CR3 has 27 bits of address here, and two flags (PWT, PCD) in bits 3 and 4.
    let space = AddressSpace::new(&memory, &X86_PAE, Software::None, 0x1038);
    assert_eq!(space.root(), Pa(0x1020));
    assert_eq!(space.translate(Va(0xbff0_0abc)), Ok(Pa(0x8_0000_5abc)));
    assert_eq!(space.translate(Va(0x8020_0000 + 0x1_2345)), Ok(Pa(0x0061_2345)));
    assert_eq!(space.walk(Va(0xbff0_0000)).iter().map(|s| s.level).collect::<Vec<_>>(), ["PDPTE", "PDE", "PTE"]);
    assert!(matches!(
        space.translate(Va(0)),
        Err(PageFault { reason: FaultReason::NotPresent { level: "PDPTE", .. }, .. })
    ));
    let sign_extended = Va(0xffff_ffff_bff0_0abc);
    assert!(matches!(space.translate(sign_extended), Err(PageFault { reason: FaultReason::NotCanonical, .. })));
}

#[test]
fn five_levels_translate_57_bits() {
    let mut memory = tables();
    memory.put(0x8000 + 8 * 0x1f0, 0x1000 | FLAGS);
    let space = AddressSpace::new(&memory, &AMD64_LA57, Software::None, 0x8000);
    let va = Va(0xfe00_0000_0000_0000 | 0x1f0 << 48 | VA.0 & 0xffff_ffff_ffff);
    assert_eq!(space.translate(va), Ok(Pa(0x5000)));
    assert_eq!(space.walk(va).len(), 5);
    assert!(matches!(
        space.translate(Va(0x01ff_0000_0000_0000)),
        Err(PageFault { reason: FaultReason::NotCanonical, .. })
    ));
}

#[test]
fn entries_that_are_not_present_mean_what_the_operating_system_says() {
    // Rows: the PTE, and its page for nobody, Windows and Linux.
    let table = [
        (0, None, None, None),
        // _MMPTE_TRANSITION: bit 11, protection 4 in bits 5 to 9.
        (0x5880, None, Some(0x5000), None),
        // The same with the bit that Windows sets against L1TF.
        (0x2000_0000_5880, None, Some(0x5000), None),
        // A prototype entry: bit 10; bit 11 then says something else.
        (0xffff_8a01_2345_0c00, None, None, None),
        // Demand zero and pagefile entries of Windows.
        (0x80, None, None, None),
        (0x0012_3456_0000_0084, None, None, None),
        // Linux, PROT_NONE: bit 8, the frame inverted; and as it was before 4.19. NX is kept.
        (0x800f_ffff_ffff_a160, None, None, Some(0x5000)),
        (0x8000_0000_0000_5160, None, None, Some(0x5000)),
        // A swap entry of Linux.
        (0x0fff_ffff_ffff_4802 & !0x900, None, None, None),
    ];
    for (entry, nobody, windows, linux) in table {
        let mut memory = tables();
        memory.put(0x4000 + 8 * 0x044, entry);
        for (software, page) in [(Software::None, nobody), (windows_10(), windows), (LINUX, linux)] {
            let space = AddressSpace::new(&memory, &AMD64, software.clone(), 0x1000);
            assert_eq!(space.translate(VA).ok().map(|pa| pa.0), page, "{entry:#x} of {software:?}");
        }
    }
    // A page table in transition is walked through; a large page of PROT_NONE is one.
    let mut memory = tables();
    memory.put(0x3000 + 8 * 0x133, 0x4880);
    assert_eq!(AddressSpace::new(&memory, &AMD64, windows_10(), 0x1000).translate(VA), Ok(Pa(0x5000)));
    memory.put(0x3000 + 8 * 0x133, 0x000f_ffff_ff9f_f1e2 & !0x1000);
    assert_eq!(AddressSpace::new(&memory, &AMD64, LINUX, 0x1000).translate(VA), Ok(Pa(0x0060_0000 | 0x4_4000)));
}

#[test]
fn reads_cross_pages_and_stop_at_the_first_missing_byte() {
    let mut memory =
        TestMemory::new(vec![(0, vec![0; 0x20_0000]), (0x40_0000, (0..=255).cycle().take(0x800).collect())]);
    for (table, index, next) in [(0x1000, 0, 0x2000), (0x2000, 0, 0x3000), (0x3000, 0, 0x4000)] {
        memory.put(table + 8 * index, next | 3);
    }
    // Pages 1 and 2 are not neighbours; page 3 is half in the image; page 4 is not mapped; page 5 is.
    for (page, frame) in [(1, 0x8000), (2, 0x6000), (3, 0x40_0000), (5, 0x7000)] {
        memory.put(0x4000 + 8 * page, frame | 3);
    }
    memory.put(0x8ff8, 0x1111_1111_1111_1111);
    memory.put(0x6000, 0x2222_2222_2222_2222);
    memory.put(0x7000, 0x3333_3333_3333_3333);
    let space = AddressSpace::new(&memory, &AMD64, Software::None, 0x1000);
    assert_eq!(space.read_u64(Va(0x1ffc)), Ok(0x2222_2222_1111_1111));
    assert_eq!(space.read_u32(Va(0x1ffe)), Ok(0x2222_1111));
    assert_eq!(space.read_u16(Va(0x1fff)), Ok(0x2211));
    assert_eq!(space.read_u8(Va(0x1fff)), Ok(0x11));

    let mut buffer = [0xee; 0x1000];
    let fault = PageFault { va: Some(Va(0x3800)), reason: FaultReason::NotInImage(Pa(0x40_0800)) };
    assert_eq!(space.read(Va(0x3700), &mut buffer), Err(fault));
    let good: Vec<u8> = (0..=255).collect();
    assert_eq!(buffer[..0x100], good, "what is there is good");
    assert!(buffer[0x100..].iter().all(|&byte| byte == 0), "and the rest is zero");

    let mut buffer = vec![0xee; 0x3000];
    assert_eq!(space.read_padded(Va(0x3000), &mut buffer), 0x800 + 0x1000);
    assert!(buffer[0x800..0x2000].iter().all(|&byte| byte == 0));
    assert_eq!(buffer[0x2000..0x2009], [0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0]);
    let mut none = [0xee; 16];
    assert_eq!((space.read_padded(Va(0xffff_ffff_ffff_fff8), &mut none), none), (0, [0; 16]), "no way around the end");
}

#[test]
fn a_table_that_points_to_itself_ends_the_walk_as_any_other() {
    let mut memory = tables();
    memory.put(0x1000 + 8 * 0x1ed, 0x1000 | FLAGS);
    let space = space(&memory);
    // Through the entry four times: the root itself as a page, as Windows has it.
    let va = Va(0xffff_0000_0000_0000 | 0x1ed << 39 | 0x1ed << 30 | 0x1ed << 21 | 0x1ed << 12 | 0x1ed << 3);
    assert_eq!(space.translate(va), Ok(Pa(0x1000 + 8 * 0x1ed)));
    assert_eq!(space.read_u64(va), Ok(0x1000 | FLAGS));
}

/// Two tables of the lowest level behind each other, every third entry of them missing.
#[test]
fn a_range_of_addresses_is_not_walked_from_the_root_for_each_page() {
    let mut memory = tables();
    memory.put(0x3000 + 8 * 0x134, 0x6000 | FLAGS);
    for index in 0..1024 {
        let table = if index < 512 { 0x4000 } else { 0x6000 - 0x1000 };
        let entry = if index % 3 == 2 { 0 } else { (0x10_0000 + index * 0x1000) | FLAGS };
        memory.put(table + 8 * index, entry);
    }
    let space = AddressSpace::new(&memory, &AMD64, Software::None, 0x1000);
    let first = Va(VA.0 - 0x044 * 0x1000);
    let told: Vec<_> = (0..1024).map(|page| space.translate(first.wrapping_add(page * 0x1000 + 7))).collect();
    // Four steps to each table, one to each other page.
    assert_eq!(memory.read_so_far().0, 1024 + 2 * 3);
    for (page, told) in (0..).zip(told) {
        // Each from the root.
        let walked =
            AddressSpace::new(&memory, &AMD64, Software::None, 0x1000).translate(first.wrapping_add(page * 0x1000 + 7));
        assert_eq!(told, walked, "{page}");
        assert_eq!(told.is_ok(), page % 3 != 2, "{page}");
    }
}
