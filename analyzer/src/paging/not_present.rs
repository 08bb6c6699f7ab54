//! Entries that are not present, as Windows and Linux write them. Each is put together by hand from the declarations of
//! `_MMPTE_SOFTWARE`, `_MMPTE_TRANSITION`, `_MMPTE_PROTOTYPE` and `_MMPTE_SUBSECTION` in the kernels' symbols, and from
//! arch/x86/include/asm/pgtable_64.h and arch/arm64/include/asm/pgtable.h.

use super::*;
use crate::image::testing::TestMemory;
use std::io::Write as _;
use std::sync::Arc;

/// The mask of machines whose physical addresses have up to 46 bits.
const MASK: u64 = 1 << 45;

/// One page at 0 whose entry is `pte`, and one of the kernel at 0xffff_8a00_0000_0000 (physical 0x9000).
fn memory(pte: u64) -> TestMemory {
    let mut memory = TestMemory::new(vec![(0, vec![0; 0x10_0000])]);
    for (at, entry) in [
        (0x1000, 0x2003),
        (0x2000, 0x3003),
        (0x3000, 0x4003),
        (0x4000, pte),
        (0x1000 + 8 * 0x114, 0x6003),
        (0x6000, 0x7003),
        (0x7000, 0x8003),
        (0x8000, 0x9003),
        (0x5123, 0x1111_1111_1111_1111),
    ] {
        memory.put(at, entry);
    }
    memory
}

fn windows(swizzle: Swizzle, stores: u16, pagefiles: Vec<Pagefile>) -> Software {
    Software::Windows(Arc::new(WindowsPtes { swizzle, stores, pagefiles, ..WindowsPtes::amd64(true) }))
}

/// What the last step of the walk to 0 says, and where it ends.
fn outcome(memory: &TestMemory, spec: &PagingSpec, software: &Software) -> (Meaning, Option<u64>) {
    let space = AddressSpace::new(memory, spec, software.clone(), 0x1000);
    let last = space.walk(Va(0)).last().expect("steps").meaning;
    (last, space.translate(Va(0)).ok().map(|pa| pa.0))
}

fn absent(memory: &TestMemory, spec: &PagingSpec, software: &Software) -> Absent {
    match outcome(memory, spec, software) {
        (Meaning::NotPresent(why), None) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn entries_of_windows_10_are_mixed_with_the_mask_where_their_bit_4_is_clear() {
    let masked = windows(Swizzle::Mask(MASK), 1 << 2, Vec::new());
    for (pte, page) in [
        // Transition: bit 11, protection 4 in bits 9 to 5, frame 5.
        (0x2000_0000_5880, 0x5000),
        (0x5890, 0x5000),
        // A frame that has the bit itself, written as it is.
        (0x2000_0000_5890, 0x2000_0000_5000),
    ] {
        let kept = Meaning::Kept(Pa(page), 0x1000, State::Transition);
        assert_eq!(outcome(&memory(pte), &AMD64, &masked), (kept, Some(page)), "{pte:#x}");
    }
    for (pte, expected) in [
        (0, Absent::Vad),
        // Never mixed: they have no frame.
        (0x80, Absent::DemandZero),
        (0xc0, Absent::DemandZero),
        // Page file 1 (bits 15 to 12), page 0x12345 (bits 63 to 32); mixed, and with bit 4.
        (0x0001_2345_0000_1080 ^ MASK, Absent::Pagefile { number: 1, page: 0x1_2345 }),
        (0x0001_2345_0000_1090, Absent::Pagefile { number: 1, page: 0x1_2345 }),
        (0x0000_0007_0000_2080 ^ MASK, Absent::CompressedStore { number: 2, page: 7 }),
        (0xffff_ffff_0000_0090, Absent::Vad),
        // Prototype (bit 10), the address in bits 63 to 16: the one that says "ask the VAD".
        (0xffff_ffff_0000_0410, Absent::Vad),
        (0xffff_8000_1234_0000, Absent::FileBacked),
    ] {
        assert_eq!(absent(&memory(pte), &AMD64, &masked), expected, "{pte:#x}");
    }
}

#[test]
fn without_the_mask_bit_45_is_taken_for_it() {
    let unknown = windows(Swizzle::Unknown, 0, Vec::new());
    assert_eq!(outcome(&memory(0x2000_0000_5880), &AMD64, &unknown).1, Some(0x5000));
    let pagefile = Absent::Pagefile { number: 1, page: 0x1_2345 };
    assert_eq!(absent(&memory(0x0001_2345_0000_1080 ^ MASK), &AMD64, &unknown), pagefile);
}

#[test]
fn a_prototype_entry_is_followed_once() {
    let software = windows(Swizzle::Mask(MASK), 0, Vec::new());
    // The prototype PTE at 0xffff_8a00_0000_0010, which is physical 0x9010.
    let pte = 0x8a00_0000_0010_0410;
    for (prototype, meaning) in [
        (0x8000_0000_0000_5121, Meaning::Page(Pa(0x5000), 0x1000)),
        (0x5880 ^ MASK, Meaning::Kept(Pa(0x5000), 0x1000, State::Transition)),
        (0x80, Meaning::NotPresent(Absent::DemandZero)),
        (0x0001_2345_0000_0090, Meaning::NotPresent(Absent::Pagefile { number: 0, page: 0x1_2345 })),
        // A subsection, and no prototype again.
        (0x8a12_3456_7890_0490, Meaning::NotPresent(Absent::Subsection(Va(0xffff_8a12_3456_7890)))),
    ] {
        let mut memory = memory(pte);
        memory.put(0x9010, prototype);
        let space = AddressSpace::new(&memory, &AMD64, software.clone(), 0x1000);
        let steps = space.walk(Va(0x123));
        let (before, last) = (steps[3], steps[4]);
        assert_eq!(before.meaning, Meaning::Prototype(Va(0xffff_8a00_0000_0010)), "{prototype:#x}");
        assert_eq!((last.level, last.entry_at.0, last.entry), ("Prototype PTE", 0x9010, prototype));
        assert_eq!(last.meaning, meaning, "{prototype:#x}");
        let page = matches!(meaning, Meaning::Page(..) | Meaning::Kept(..)).then_some(Pa(0x5123));
        assert_eq!(space.translate(Va(0x123)).ok(), page);
        if page.is_some() {
            assert_eq!(space.read_u64(Va(0x123)), Ok(0x1111_1111_1111_1111));
        }
    }
    // Its own page is not mapped, is itself by a prototype, and has the one to follow in itself.
    let unreachable = Absent::Prototype(Some(Va(0xffff_8a00_0000_1010)));
    assert_eq!(fault_of(&memory(0x8a00_0000_1010_0410), &software), unreachable);
    let mut circle = memory(0x8a00_0000_1010_0410);
    circle.put(0x8008, 0x8a00_0000_1010_0410);
    assert_eq!(fault_of(&circle, &software), unreachable);
}

fn fault_of(memory: &TestMemory, software: &Software) -> Absent {
    let space = AddressSpace::new(memory, &AMD64, software.clone(), 0x1000);
    match space.translate(Va(0)).expect_err("not there").reason {
        FaultReason::NotPresent { level: "PTE", entry_at: Pa(0x4000), why, .. } => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn pages_are_read_out_of_the_page_file_with_their_number_and_zeros_where_none_was_made() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let content: Vec<u8> = (0..0x2800_u32).map(|index| (index / 16 % 251) as u8).collect();
    file.write_all(&content).expect("written");
    let open = || Pagefile::open(file.path(), false).expect("a page file");
    let software = windows(Swizzle::Mask(MASK), 0, vec![open(), open()]);
    // Page 1 of page file 1; a page in memory behind it.
    let mut memory = memory(0x0000_0001_0000_1080 ^ MASK);
    memory.put(0x4008, 0x5003);
    let space = AddressSpace::new(&memory, &AMD64, software.clone(), 0x1000);
    let mut buffer = [0; 0x200];
    assert_eq!(space.read(Va(0xffa), &mut buffer), Ok(()));
    assert_eq!((buffer[..6].to_vec(), buffer[6 + 0x123]), (content[0x1ffa..0x2000].to_vec(), 0x11));
    let fault = space.translate(Va(0)).expect_err("no physical address").to_string();
    assert_eq!(
        fault,
        "virtual address 0x0: the PTE at physical 0x4000 is 0x200100001080: in page file 1 at offset 0x1000 (--pagefile)"
    );

    // The file ends inside page 2; a third one was not given; the store is told.
    for (pte, told) in [
        (0x0000_0002_0000_1090, "page file 1 at offset 0x2000: it ends before"),
        (0x0000_0001_0000_2090, "in page file 2 at offset 0x1000 (--pagefile)"),
    ] {
        memory.put(0x4000, pte);
        let space = AddressSpace::new(&memory, &AMD64, software.clone(), 0x1000);
        let fault = space.read(Va(0), &mut [0; 0x1000]).expect_err("not there").to_string();
        assert!(fault.ends_with(told), "{fault}");
    }
    memory.put(0x4000, 0x80);
    let space = AddressSpace::new(&memory, &AMD64, software, 0x1000);
    let mut buffer = [0xee; 16];
    assert_eq!((space.read(Va(0xff0), &mut buffer), buffer), (Ok(()), [0; 16]));
    assert!(space.translate(Va(0)).is_err(), "it has no physical address all the same");
}

#[test]
fn older_builds_and_32_bits_have_their_fields_elsewhere() {
    let software = |ptes| Software::Windows(Arc::new(WindowsPtes { swizzle: Swizzle::Mask(0), ..ptes }));
    // Windows 7 to 1709: page file 2 in bits 4 to 1.
    let seven = software(WindowsPtes::amd64(false));
    let pagefile = Absent::Pagefile { number: 2, page: 0x1_2345 };
    assert_eq!(absent(&memory(0x0001_2345_0000_0084), &AMD64, &seven), pagefile);
    // PAE: three levels; the address of a prototype is in the upper half.
    let mut pae = TestMemory::new(vec![(0, vec![0; 0x1_0000])]);
    for (at, entry) in [(0x1000, 0x2001), (0x2000, 0x3063), (0x3000, 0xe100_0008_0000_0400), (0x1018, 0x5001)] {
        pae.put(at, entry);
    }
    for (at, entry) in [(0x5000 + 8 * 0x108, 0x6063), (0x6000, 0x7063), (0x7008, 0x4025)] {
        pae.put(at, entry);
    }
    let xp = software(WindowsPtes::pae());
    assert_eq!(outcome(&pae, &X86_PAE, &xp), (Meaning::Page(Pa(0x4000), 0x1000), Some(0x4000)));
    pae.put(0x3000, 0x0001_2345_0000_0084);
    assert_eq!(absent(&pae, &X86_PAE, &xp), pagefile);
    // Without PAE: page file in bits 4 to 1, page in 31 to 12; prototypes are not written whole.
    let mut x86 = TestMemory::new(vec![(0, vec![0; 0x1_0000])]);
    x86.put(0x1000, 0x2067);
    let old = software(WindowsPtes::x86());
    for (pte, expected) in [
        (0x1234_5084, pagefile),
        (0x80, Absent::DemandZero),
        (0xffff_f080, Absent::Vad),
        (0x1234_5400, Absent::Prototype(None)),
    ] {
        x86.put(0x2000, pte);
        assert_eq!(absent(&x86, &X86, &old), expected, "{pte:#x}");
    }
    x86.put(0x2000, 0xfedc_b880);
    assert_eq!(outcome(&x86, &X86, &old).1, Some(0xfedc_b000));
}

#[test]
fn swap_entries_of_linux_tell_area_and_offset() {
    let amd64 = Software::Linux(LinuxPtes::Amd64);
    for (pte, expected) in [
        (0, Absent::Invalid),
        // Type 2 in bits 63 to 59, offset 0x1234 inverted in bits 58 to 9; type 30 is of no area.
        (0x17ff_ffff_ffdb_9600, Absent::Swap { area: 2, page: 0x1234 }),
        (0xf7ff_ffff_ffdb_9600, Absent::SpecialSwap { kind: 30, value: 0x1234 }),
        // Before 4.19: type 2 in bits 13 to 9, offset from bit 14 on.
        (0x048d_0400, Absent::Swap { area: 2, page: 0x1234 }),
    ] {
        assert_eq!(absent(&memory(pte), &AMD64, &amd64), expected, "{pte:#x}");
    }
    let spec = PagingSpec::aarch64(Granule::K4, 48).expect("a layout");
    let walk = |pte: u64, ptes: LinuxPtes| {
        let memory = memory(pte);
        let space = AddressSpace::new(&memory, &spec, Software::Linux(ptes), 0).with_root(0x1000);
        space.walk(Va(0)).last().expect("steps").meaning
    };
    let swap = Meaning::NotPresent(Absent::Swap { area: 2, page: 0x1234 });
    let kept = Meaning::Kept(Pa(0x5000), 0x1000, State::ProtectionNone);
    // Type from bit 3 and offset from bit 8 on; since 6.10 from bits 6 and 12.
    assert_eq!(walk(0x0012_3410, LinuxPtes::Arm64), swap);
    assert_eq!(walk(0x0123_4080, LinuxPtes::Arm64Since610), swap);
    // PROT_NONE: bit 58; since 6.10 bit 11. Neither inverts the frame.
    assert_eq!(walk(0x0468_0000_0000_5f42, LinuxPtes::Arm64), kept);
    assert_eq!(walk(0x0068_0000_0000_5f42, LinuxPtes::Arm64Since610), kept);
}
