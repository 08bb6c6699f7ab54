//! Walks of every layout over tables written by hand from the manuals: Intel SDM volume 3, figures 4-2 to 4-11 and 28-1;
//! Arm DDI 0487, sections D8.2 and D8.3.

use super::*;
use crate::image::testing::TestMemory;

/// 1 MiB at 0.
fn memory(entries: &[(u64, u64)]) -> TestMemory {
    let mut memory = TestMemory::new(vec![(0, vec![0; 0x10_0000])]);
    for &(at, entry) in entries {
        memory.put(at, entry);
    }
    memory
}

fn spec(granule: Granule, bits: u32) -> PagingSpec {
    PagingSpec::aarch64(granule, bits).expect("a layout")
}

fn levels(space: &AddressSpace<'_>, va: u64) -> Vec<(&'static str, u64)> {
    space.walk(Va(va)).iter().map(|step| (step.level, step.entry_at.0)).collect()
}

/// A table descriptor with NSTable, APTable, UXNTable, PXNTable and the bits 58 to 51, which hardware ignores there.
const TABLE: u64 = 0xfff8_0000_0000_0003;
/// A page: UXN, PXN, contiguous, DBM, software bits, nG, AF, inner shareable, read-only, EL0, attribute 4.
const PAGE: u64 = 0x07f8_0000_0000_0fd3;
/// The same as a block.
const BLOCK: u64 = PAGE & !2;

#[test]
fn x86_without_pae_has_two_levels_of_4_byte_entries() {
    // CR3 0x1018: PWT and PCD. PDE 0x2ff at 0x1bfc, PTE 0x3a5 at 0x2e94.
    let memory = memory(&[
        (0x1bfc, 0x2067),
        (0x2e94, 0xfedc_b067),
        // 4 MiB at 0x00c0_0000 of bits 31 to 22, and bits 20 to 13 = 0x12: 0x12_0000_0000; PAT (bit 12), G, PS.
        (0x1004, 0x00c0_0000 | 0x12 << 13 | 1 << 12 | 0x1e7),
        (0x1008, 0x0000_0000_ffc0_00e7),
    ]);
    let space = AddressSpace::new(&memory, &X86, Software::None, 0x1018);
    assert_eq!(space.translate(Va(0x2ff << 22 | 0x3a5 << 12 | 0xabc)), Ok(Pa(0xfedc_babc)));
    assert_eq!(levels(&space, 0xbffa_5000), [("PDE", 0x1bfc), ("PTE", 0x2e94)]);
    assert_eq!(space.translate(Va(0x0040_0000 | 0x2a_bcde)), Ok(Pa(0x12_00ea_bcde)));
    assert_eq!(space.translate(Va(0x0080_0123)), Ok(Pa(0xffc0_0123)), "without PSE-36 the bits are 0");
    assert_eq!(space.walk(Va(0x0040_0000))[0].meaning, Meaning::Page(Pa(0x12_00c0_0000), 0x40_0000));
    assert!(matches!(space.translate(Va(0x1_0000_0000)), Err(PageFault { reason: FaultReason::NotCanonical, .. })));
}

#[test]
fn the_c_bit_of_encrypted_memory_is_no_address() {
    const C: u64 = 1 << 51;
    // Indexes 0x1ff, 0x1fe, 8, 3; a 2 MiB page at PDE 9; a 1 GiB page at PDPTE 0x1ff, which is not encrypted; the fifth
    // level.
    let memory = memory(&[
        (0x1ff8, C | 0x2063),
        (0x2ff0, C | 0x3063),
        (0x3040, C | 0x4063),
        (0x4018, C | 0x7_6543_2163),
        (0x3048, C | 0x5_5560_10e3),
        (0x2ff8, 0x4000_00e3),
        (0x5ff8, C | 0x1063),
    ]);
    let va = |pdpte: u64, inside: u64| Va(0xffff_ff80_0000_0000 | pdpte << 30 | inside);
    for (spec, cr3) in [(AMD64, C | 0x1000), (AMD64_LA57, C | 0x5000)] {
        let space = AddressSpace::new(&memory, &spec.with_c_bit(51), Software::None, cr3);
        assert_eq!(space.translate(va(0x1fe, 8 << 21 | 3 << 12 | 0xabc)), Ok(Pa(0x7_6543_2abc)));
        assert_eq!(space.translate(va(0x1fe, 9 << 21 | 0x12_3456)), Ok(Pa(0x5_5572_3456)));
        assert_eq!(space.translate(va(0x1ff, 0x1234_5678)), Ok(Pa(0x5234_5678)));
        let last = |va| space.walk(va).last().map(|step| space.flags(step));
        assert_eq!(last(va(0x1fe, 8 << 21 | 3 << 12)), Some("P W A D G C".to_owned()));
        assert_eq!(last(va(0x1ff, 0)), Some("P W A D PS".to_owned()));
        // The bit of another processor leaves this one an address.
        let other = AddressSpace::new(&memory, &spec.with_c_bit(47), Software::None, cr3 & !C);
        let reason = other.translate(va(0x1fe, 8 << 21 | 3 << 12)).map_err(|fault| fault.reason);
        assert!(matches!(reason, Err(FaultReason::TableMissing { entry_at: Pa(at), .. }) if at & C != 0), "{reason:?}");
    }
    assert_eq!(AMD64.with_c_bit(51).to_string(), "AMD64, 48-bit addresses, C-bit 51");
}

#[test]
fn ept_entries_are_present_when_anything_is_allowed_that_may_be() {
    // EPTP 0x101e: write-back, walk length 4. Guest-physical 0x8040_3123: indexes 0, 2, 2, 3.
    let memory = memory(&[
        (0x1000, 0x2007),
        (0x2010, 0x3007),
        (0x3010, 0x4001),
        // Execute-only, of memory type 6.
        (0x4018, 0x7_7777_7034),
        (0x3018, 0x7_7780_00b1),
        (0x4020, 0x5_5555_5ff8),
        // Written and not read, with and without execution: misconfigured (SDM volume 3, EPT Misconfigurations).
        (0x4028, 0x5_5555_5032),
        (0x4030, 0x5_5555_5036),
        (0x3020, 0x7_7780_00b6),
    ]);
    let space = AddressSpace::new(&memory, &EPT, Software::None, 0x101e);
    assert_eq!(space.translate(Va(0x8040_3123)), Ok(Pa(0x7_7777_7123)));
    assert_eq!(space.translate(Va(0x8060_0000 | 0x1f_ffff)), Ok(Pa(0x7_779f_ffff)), "2 MiB");
    for (at, entry) in
        [(0x8040_4000, "EPT PTE"), (0x8040_5000, "EPT PTE"), (0x8040_6000, "EPT PTE"), (0x8080_0000, "EPT PDE")]
    {
        let fault = space.translate(Va(at)).expect_err("it maps nothing");
        assert!(matches!(fault.reason, FaultReason::NotPresent { level, .. } if level == entry), "{at:#x}: {fault}");
    }
    assert!(matches!(space.translate(Va(1 << 48)), Err(PageFault { reason: FaultReason::NotCanonical, .. })));
}

#[test]
fn aarch64_with_4_kib_and_48_bits_has_a_root_for_each_half() {
    // Indexes 0x100, 1, 0xa2, 0x133; a 2 MiB block at L2 0xa3, a 1 GiB block at L1 2.
    let memory = memory(&[
        (0x1800, 0x2000 | TABLE),
        (0x2008, 0x3000 | TABLE),
        (0x3510, 0x4000 | TABLE),
        (0x4998, 0xabcd_ef01_2000 | PAGE),
        (0x3518, 0xabcd_ef00_0000 & !0x1f_ffff | BLOCK),
        (0x2010, 0xabcd_c000_0000 | BLOCK),
        // A block where there is none (L0), and the reserved type 1 of the last level.
        (0x1808, 0xabcd_c000_0000 | BLOCK),
        (0x49a0, 0xabcd_ef01_3000 | BLOCK),
        // TTBR0's table: index 0 of each.
        (0x5000, 0x6000 | TABLE),
        (0x6000, 0x7000 | TABLE),
        (0x7000, 0x8000 | TABLE),
        (0x8000, 0x9000 | PAGE),
    ]);
    let spec = spec(Granule::K4, 48);
    // TTBR1_EL1 with an ASID and CnP.
    let kernel = AddressSpace::new(&memory, &spec, Software::None, 0x0df0_0000_0000_1001);
    let va = 0xffff_8000_0000_0000 | 1 << 30 | 0xa2 << 21 | 0x133 << 12 | 0xabc;
    assert_eq!(kernel.translate(Va(va)), Ok(Pa(0xabcd_ef01_2abc)));
    assert_eq!(levels(&kernel, va), [("L0", 0x1800), ("L1", 0x2008), ("L2", 0x3510), ("L3", 0x4998)]);
    assert_eq!(kernel.translate(Va(va + 0x20_0000)), Ok(Pa(0xabcd_ef13_3abc)));
    assert_eq!(kernel.translate(Va(0xffff_8000_9234_5678)), Ok(Pa(0xabcd_d234_5678)));
    // A tag in bits 63 to 56 changes nothing; bits 55 to 48 must be equal.
    assert_eq!(kernel.translate(Va(va & !(0xff << 56) | 0xf4 << 56)), Ok(Pa(0xabcd_ef01_2abc)));
    let reason = |space: &AddressSpace<'_>, va| space.translate(Va(va)).map_err(|fault| fault.reason);
    assert_eq!(reason(&kernel, va ^ 1 << 48), Err(FaultReason::NotCanonical));
    assert_eq!(reason(&kernel, va ^ 1 << 55), Err(FaultReason::NotCanonical));
    assert_eq!(reason(&kernel, 0x123), Err(FaultReason::NoRoot));
    assert_eq!(kernel.walk(Va(0x123)), []);
    for (va, level, entry) in [(0xffff_8080_0000_0000, "L0", 0x1808), (va + 0x1000, "L3", 0x49a0)] {
        assert!(matches!(
            reason(&kernel, va),
            Err(FaultReason::NotPresent { level: l, entry_at: Pa(at), .. }) if l == level && at == entry
        ));
    }
    let process = kernel.with_root(0x0001_0000_0000_5001);
    for _ in 0..2 {
        assert_eq!(process.translate(Va(0x123)), Ok(Pa(0x9123)));
        assert_eq!(process.translate(Va(0x4200_0000_0000_0123)), Ok(Pa(0x9123)), "tagged");
        assert_eq!(process.translate(Va(va)), Ok(Pa(0xabcd_ef01_2abc)), "the kernel's half stays");
    }
    assert_eq!((process.root(), kernel.root()), (Pa(0x5000), Pa(0x1000)));
}

#[test]
fn the_halves_share_no_translation() {
    // The same indexes in both tables.
    let tables = [(0x1000, 0x2003), (0x2000, 0x3003), (0x3000, 0x4003), (0x4000, 0xa713)];
    let others = [(0x5000, 0x6003), (0x6000, 0x7003), (0x7000, 0x8003), (0x8000, 0xb713)];
    let memory = memory(&[tables, others].concat());
    let space = AddressSpace::new(&memory, &spec(Granule::K4, 48), Software::None, 0x1000).with_root(0x5000);
    for _ in 0..2 {
        assert_eq!(space.translate(Va(0xffff_0000_0000_0000)), Ok(Pa(0xa000)));
        assert_eq!(space.translate(Va(0)), Ok(Pa(0xb000)));
    }
}

#[test]
fn aarch64_starts_where_its_addresses_end() {
    // (granule, bits, levels): Arm DDI 0487, tables D8-12 to D8-14 and their kin.
    for (granule, bits, names) in [
        (Granule::K4, 36, &["L1", "L2", "L3"][..]),
        (Granule::K4, 39, &["L1", "L2", "L3"]),
        (Granule::K4, 42, &["L0", "L1", "L2", "L3"]),
        (Granule::K4, 48, &["L0", "L1", "L2", "L3"]),
        (Granule::K4, 52, &["L-1", "L0", "L1", "L2", "L3"]),
        (Granule::K16, 36, &["L2", "L3"]),
        (Granule::K16, 47, &["L1", "L2", "L3"]),
        (Granule::K16, 48, &["L0", "L1", "L2", "L3"]),
        (Granule::K16, 52, &["L0", "L1", "L2", "L3"]),
        (Granule::K64, 42, &["L2", "L3"]),
        (Granule::K64, 48, &["L1", "L2", "L3"]),
        (Granule::K64, 52, &["L1", "L2", "L3"]),
    ] {
        let spec = spec(granule, bits);
        assert_eq!(spec.levels.iter().map(|level| level.name).collect::<Vec<_>>(), names, "{spec}");
    }
    assert_eq!((PagingSpec::aarch64(Granule::K4, 24), PagingSpec::aarch64(Granule::K4, 53)), (None, None));
}

#[test]
fn aarch64_with_39_and_36_bits_leaves_upper_levels_out() {
    // 0xffff_ffc0_0820_1000: L1 index 0x100, L2 0x41, L3 1.
    let memory = memory(&[(0x1800, 0x2000 | TABLE), (0x2208, 0x3000 | TABLE), (0x3008, 0x4321_0000 | PAGE)]);
    let space = AddressSpace::new(&memory, &spec(Granule::K4, 39), Software::None, 0x1000);
    assert_eq!(space.translate(Va(0xffff_ffc0_0820_1042)), Ok(Pa(0x4321_0042)));
    assert!(matches!(
        space.translate(Va(0xffff_ff80_0820_1042)).map_err(|fault| fault.reason),
        Err(FaultReason::NotPresent { level: "L1", entry_at: Pa(0x1000), .. })
    ));
    assert!(matches!(
        space.translate(Va(0xffff_ffbf_ffff_ffff ^ 1 << 39)).map_err(|fault| fault.reason),
        Err(FaultReason::NotCanonical)
    ));
    // 36 bits: the root has 64 entries. 0xffff_fff0_0820_1000: L1 index 0.
    let space = AddressSpace::new(&memory, &spec(Granule::K4, 36), Software::None, 0x1800);
    assert_eq!(space.translate(Va(0xffff_fff0_0820_1042)), Ok(Pa(0x4321_0042)));
}

#[test]
fn aarch64_with_16_kib_pages() {
    // 47 bits: L1 = bits 46 to 36, L2 = 35 to 25, L3 = 24 to 14. Indexes 0x7fe, 0x403, 0x005.
    let va = 0xffff_8000_0000_0000 | 0x7fe << 36 | 0x403 << 25 | 0x005 << 14 | 0x2abc;
    let memory = memory(&[
        (0x4000 + 8 * 0x7fe, 0x8000 | TABLE),
        (0x8000 + 8 * 0x403, 0xc000 | TABLE),
        (0xc000 + 8 * 0x005, 0x1234_5670_c000 | PAGE),
        (0x8000 + 8 * 0x404, 0x1234_5600_0000 | BLOCK),
        // 48 bits: L0 is bit 47 alone.
        (0x1_0000 + 8, 0x4000 | TABLE),
    ]);
    let space = AddressSpace::new(&memory, &spec(Granule::K16, 47), Software::None, 0x4000);
    assert_eq!(space.translate(Va(va)), Ok(Pa(0x1234_5670_eabc)));
    assert_eq!(space.walk(Va(va)).last().map(|step| step.meaning), Some(Meaning::Page(Pa(0x1234_5670_c000), 0x4000)));
    assert_eq!(space.translate(Va(va + (1 << 25))), Ok(Pa(0x1234_5601_6abc)), "a block of 32 MiB");
    let space = AddressSpace::new(&memory, &spec(Granule::K16, 48), Software::None, 0x1_0000);
    assert_eq!(space.translate(Va(va)), Ok(Pa(0x1234_5670_eabc)));
    // 36 bits, the lower half: L2 is the root.
    let space = AddressSpace::new(&memory, &spec(Granule::K16, 36), Software::None, 0).with_root(0x8000);
    assert_eq!(space.translate(Va(va & 0xf_ffff_ffff)), Ok(Pa(0x1234_5670_eabc)));
}

#[test]
fn aarch64_with_64_kib_pages_keeps_the_highest_bits_in_15_to_12() {
    // 48 bits: L1 = bits 47 to 42, L2 = 41 to 29, L3 = 28 to 16. Indexes 0x3f, 0x1abc, 0x0123.
    let low = 0x1abc << 29 | 0x0123 << 16 | 0xbeef;
    let va = 0xffff_0000_0000_0000 | 0x3f << 42 | low;
    let memory = memory(&[
        (0x1_0000 + 8 * 0x3f, 0x2_0000 | TABLE),
        (0x2_0000 + 8 * 0x1abc, 0x4_0000 | TABLE),
        (0x4_0000 + 8 * 0x0123, 0x1234_5678_0000 | 0xa << 12 | PAGE),
        (0x2_0000 + 8 * 0x1abd, 0x1234_4000_0000 | 0x5 << 12 | BLOCK),
        // 52 bits: L1 index 0x3ff.
        (0x8_0000 + 8 * 0x3ff, 0x2_0000 | TABLE),
    ]);
    let space = AddressSpace::new(&memory, &spec(Granule::K64, 48), Software::None, 0x1_0000);
    assert_eq!(space.translate(Va(va)), Ok(Pa(0xa_1234_5678_beef)));
    assert_eq!(space.translate(Va(va + (1 << 29))), Ok(Pa(0x5_1234_4123_beef)), "a block of 512 MiB");
    let space = AddressSpace::new(&memory, &spec(Granule::K64, 42), Software::None, 0x2_0000);
    assert_eq!(space.translate(Va(0xffff_fc00_0000_0000 | low)), Ok(Pa(0xa_1234_5678_beef)));
    let wide = spec(Granule::K64, 52);
    let space = AddressSpace::new(&memory, &wide, Software::None, 0x8_0000);
    assert_eq!(space.translate(Va(0xfff0_0000_0000_0000 | 0x3ff << 42 | low)), Ok(Pa(0xa_1234_5678_beef)));
    // TTBR bits 5 to 2 are bits 51 to 48 of the root.
    assert_eq!(wide.root(0x0042_1234_5678_0000 | 0x3 << 2 | 1), 0x3_1234_5678_0000);
}

#[test]
fn aarch64_with_52_bits_and_small_pages_keeps_the_highest_bits_in_9_and_8() {
    // 4 KiB: L-1 = bits 51 to 48. Indexes 0xf, 0x1ff, 2, 3, 4. Bits 9 and 8 of entries are bits 51 and 50.
    let table = 0xfff8_0000_0000_0003;
    let page = 0x07f8_0000_0000_0cd3;
    let memory = TestMemory::new(vec![(0, vec![0; 0x1_0000]), (0xc_0000_0000_0000, vec![0; 0x2000])]);
    let mut memory = memory;
    for (at, entry) in [
        (0x1078, 0x2000 | table),
        (0x2ff8, 0x3000 | table),
        // The table is at 0xc_0000_0000_1000.
        (0x3010, 0x1000 | 3 << 8 | table),
        (0xc_0000_0000_1018, 0x5000 | table),
        (0x5020, 0x3_9876_5432_1000 | 1 << 8 | page),
    ] {
        memory.put(at, entry);
    }
    let spec4 = spec(Granule::K4, 52);
    let space = AddressSpace::new(&memory, &spec4, Software::None, 0x1000);
    let va = 0xffff_0000_0000_0000 | 0x1ff << 39 | 2 << 30 | 3 << 21 | 4 << 12 | 0x321;
    assert_eq!(space.translate(Va(va)), Ok(Pa(0x7_9876_5432_1321)));
    // 16 KiB: L0 = bits 51 to 47; a block of 64 GiB at L1.
    let mut memory = TestMemory::new(vec![(0, vec![0; 0x2_0000])]);
    memory.put(0x4000 + 8 * 0x1f, 0x8000 | table);
    memory.put(0x8000 + 8 * 0x7ff, 0x1_2340_0000_0000 | 2 << 8 | page & !2);
    let space = AddressSpace::new(&memory, &spec(Granule::K16, 52), Software::None, 0x4000);
    assert_eq!(space.translate(Va(0xffff_fff3_4567_89ab)), Ok(Pa(0x9_2343_4567_89ab)));
}

#[test]
fn flags_have_the_names_of_the_manuals() {
    let tables = memory(&[(0x1000, 0x2067), (0x2000, 0x3027), (0x3000, 0x8fff_ffff_ffe0_11e3)]);
    let space = AddressSpace::new(&tables, &AMD64, Software::None, 0x1000);
    let told: Vec<String> = space.walk(Va(0)).iter().map(|step| space.flags(step)).collect();
    assert_eq!(told, ["P W U A", "P W U A", "P W A D G PS PAT NX PK=1"]);
    let tables = memory(&[
        (0x1000, 0x2000 | 1 << 59 | 1 << 61 | 3),
        (0x2000, 0x3003),
        (0x3000, 0x4003),
        (0x4000, 0x5000 | PAGE & !(1 << 50)),
    ]);
    let space = AddressSpace::new(&tables, &spec(Granule::K4, 48), Software::None, 0x1000);
    let told: Vec<String> = space.walk(Va(0xffff << 48)).iter().map(|step| space.flags(step)).collect();
    assert_eq!(told, ["PXNTable APTable=1", "", "", "EL0 RO AF nG DBM Contiguous PXN UXN Attr=4 SH=3"]);
}

#[test]
fn any_bytes_as_tables_end_the_walk_in_bounds_and_the_fast_path_says_the_same() {
    use crate::image::testing::Random;
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let bytes: Vec<u8> = (0..0x1_0000).map(|_| random.below(256) as u8).collect();
    let mut memory = TestMemory::new(vec![(0, bytes)]);
    // Half of the entries lead into the memory again, so that walks get deep.
    for at in (0..0x1_0000).step_by(16) {
        memory.put(at, random.below(0x10) << 12 | random.below(0x1000));
    }
    let arm = [Granule::K4, Granule::K16, Granule::K64].map(|granule| [36, 48, 52].map(|bits| spec(granule, bits)));
    let specs =
        [AMD64, AMD64_LA57, AMD64.with_c_bit(47), X86_PAE, X86, EPT].into_iter().chain(arm.into_iter().flatten());
    let windows = || Software::Windows(std::sync::Arc::new(WindowsPtes::amd64(true)));
    let (mut mapped, mut unmapped) = (0, 0);
    for spec in specs {
        for software in
            [Software::None, windows(), Software::Linux(LinuxPtes::Amd64), Software::Linux(LinuxPtes::Arm64)]
        {
            let space = AddressSpace::new(&memory, &spec, software, 0x3000).with_root(0x5000);
            for _ in 0..500 {
                let va = random.below(1 << 60) << random.below(5);
                let va = Va(if random.below(2) == 0 { va >> random.below(40) } else { !(va >> random.below(40)) });
                let steps = space.walk(va);
                assert!(steps.len() <= spec.levels.len() + 1);
                for step in &steps {
                    assert!(!step.meaning.to_string().is_empty() && space.flags(step).len() < 100);
                }
                let page = steps.last().and_then(|step| match step.meaning {
                    Meaning::Page(page, bytes) | Meaning::Kept(page, bytes, _) => {
                        Some(page.wrapping_add(va.0 & (bytes - 1)))
                    }
                    _ => None,
                });
                *(if page.is_some() { &mut mapped } else { &mut unmapped }) += 1;
                for _ in 0..2 {
                    assert_eq!(space.translate(va).ok(), page, "{spec} {va}");
                }
                let _ = space.read(va, &mut [0; 24]);
            }
        }
    }
    assert!(mapped > 500 && unmapped > 500, "{mapped} {unmapped}");
}
