use super::testing::{Random, TestMemory};
use super::vote::{Elected, FORMATS, Probe, elect};
use super::*;
use crate::error::FaultReason;
use std::sync::Arc;

/// Opens bytes as a file of this content would be.
pub(super) fn vote(bytes: &[u8]) -> Result<Elected, String> {
    vote_in(if bytes.is_empty() { vec![] } else { vec![(0, bytes.to_vec())] })
}

/// The same of a container that has these pieces of the file.
fn vote_in(pieces: Vec<(u64, Vec<u8>)>) -> Result<Elected, String> {
    let base: Arc<dyn PhysicalMemory> = Arc::new(TestMemory::new(pieces).mapped());
    let probe = Probe::new(&base, None, true);
    elect(&probe, FORMATS).map_err(|(format, why)| format!("{format}: {why}"))
}

fn opened(bytes: &[u8], format: &str) -> Elected {
    let elected = vote(bytes).expect("a good image");
    assert_eq!(elected.memory.describe(), format);
    elected
}

fn runs(memory: &dyn PhysicalMemory) -> Vec<(u64, u64, u64)> {
    memory.runs().iter().map(|run| (run.start.0, run.bytes, run.file_offset.expect("an offset"))).collect()
}

/// (first address, last address, data)
pub(super) fn lime(ranges: &[(u64, u64, &[u8])]) -> Vec<u8> {
    let mut file = Vec::new();
    for (start, last, data) in ranges {
        file.extend(b"EMiL\x01\0\0\0");
        file.extend(start.to_le_bytes());
        file.extend(last.to_le_bytes());
        file.extend([0; 8]);
        file.extend(*data);
    }
    file
}

/// A program header: type, offset, vaddr, paddr, filesz, memsz.
type Phdr = [u64; 6];

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, bytes).expect("in memory");
    packed.finish().expect("in memory")
}

/// What was taken for raw would have wrong addresses: a format is asked again after it won.
#[test]
fn a_format_may_be_around_itself_but_not_without_end() {
    let mut file = lime(&[(0x1000, 0x2fff, &[7; 0x2000])]);
    for _ in 0..7 {
        file = gzip(&file);
    }
    assert_eq!(vote(&file).expect("an image").memory.runs()[0].start, Pa(0x1000));
    file = gzip(&gzip(&file));
    assert!(vote(&file).is_err_and(|why| why.contains("more than 8 formats around each other; unpack it first")));
}

const ELF64_DATA: u64 = 64 + 4 * 56;

/// An ELF64 core with up to four program headers, and `data` at `ELF64_DATA`.
fn elf64(headers: &[Phdr], data: &[u8]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\0\0\0\0\0\0\0\0\0\0\x04\0\x3e\0".to_vec();
    file.resize(32, 0);
    file.extend(64_u64.to_le_bytes());
    // e_shoff, e_flags, and an e_ehsize that is nonsense, as QEMU writes it.
    file.extend([0; 12]);
    for half in [8, 56, headers.len() as u16, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    for [kind, offset, vaddr, paddr, filesz, memsz] in headers {
        file.extend((*kind as u32).to_le_bytes());
        file.extend([0; 4]);
        for number in [offset, vaddr, paddr, filesz, memsz, &0] {
            file.extend(number.to_le_bytes());
        }
    }
    file.resize(ELF64_DATA as usize, 0);
    file.extend(data);
    file
}

fn elf32(headers: &[Phdr], data: &[u8]) -> Vec<u8> {
    let mut file = b"\x7fELF\x01\x01\0\0\0\0\0\0\0\0\0\0\x04\0\x03\0".to_vec();
    file.resize(28, 0);
    file.extend(52_u32.to_le_bytes());
    file.extend([0; 8]);
    for half in [8, 32, headers.len() as u16, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    for [kind, offset, vaddr, paddr, filesz, memsz] in headers {
        for number in [kind, offset, vaddr, paddr, filesz, memsz, &7, &0] {
            file.extend((*number as u32).to_le_bytes());
        }
    }
    file.extend(data);
    file
}

#[test]
fn lime_ranges_are_at_their_addresses_and_nothing_is_between() {
    let file = lime(&[(0x1000, 0x1004, b"abcde"), (0x1005, 0x1007, b"fgh"), (0x2000, 0x2001, b"xy")]);
    let image = opened(&file, "LiME");
    assert_eq!(runs(&*image.memory), [(0x1000, 5, 32), (0x1005, 3, 69), (0x2000, 2, 104)]);
    assert_eq!(image.warnings, [""; 0]);
    let mut buffer = [0xee; 10];
    let fault = image.memory.read(Pa(0x1003), &mut buffer).expect_err("a gap");
    assert_eq!((&buffer, fault.reason), (b"defgh\0\0\0\0\0", FaultReason::NotInImage(Pa(0x1008))));
    assert_eq!(image.memory.read(Pa(0x2000), &mut buffer[..2]), Ok(()));
    assert_eq!(image.memory.slice(Pa(0x1001), 4), Some(&b"bcde"[..]));
    assert_eq!(image.memory.slice(Pa(0x1001), 5), None, "not in one piece");
    for outside in [0, 0xfff, 0x1008, 0x1fff, 0x2002, u64::MAX] {
        assert!(image.memory.read(Pa(outside), &mut buffer[..1]).is_err(), "{outside:#x}");
        assert_eq!(image.memory.slice(Pa(outside), 1), None);
    }
}

#[test]
fn elf_segments_are_runs_at_their_physical_addresses() {
    let data = b"lowhighrest";
    let headers: &[Phdr] = &[
        [4, ELF64_DATA, 0, 0, 3, 3],
        [1, ELF64_DATA + 3, 0xffff_8880_0000_0000, 0x1_0000_0000, 4, 4],
        // Less in the file than in memory: the rest is a gap.
        [1, ELF64_DATA, 0xffff_8880_0000_0000, 0, 3, 0x1000],
    ];
    let image = opened(&elf64(headers, data), "ELF core");
    assert_eq!(runs(&*image.memory), [(0, 3, ELF64_DATA), (0x1_0000_0000, 4, ELF64_DATA + 3)]);
    assert_eq!(image.warnings, [""; 0]);
    assert_eq!(image.memory.gaps(), [Gap { start: Pa(3), bytes: 0xffd, why: GapKind::NotDumped }]);
    let small: Vec<Phdr> = headers
        .iter()
        .map(|&[kind, offset, .., filesz, memsz]| {
            [kind, offset - ELF64_DATA + 52 + 96, 0, offset * 0x10, filesz, memsz]
        })
        .collect();
    let image = opened(&elf32(&small, data), "ELF core");
    assert_eq!(runs(&*image.memory), [(ELF64_DATA * 0x10, 3, 148), ((ELF64_DATA + 3) * 0x10, 4, 151)]);
    assert_eq!(image.memory.slice(Pa((ELF64_DATA + 3) * 0x10), 4), Some(&b"high"[..]));
}

#[test]
fn a_count_of_segments_that_does_not_fit_is_in_the_first_section_header() {
    let mut file = elf64(&[[1, ELF64_DATA, 0, 0x5000, 4, 4]], b"data");
    let section = file.len() as u64;
    file[40..48].copy_from_slice(&section.to_le_bytes());
    file[56..58].copy_from_slice(&0xffff_u16.to_le_bytes());
    assert!(vote(&file).is_err_and(|why| why.contains("section header")), "the section header is not there");
    file.extend([0; 44]);
    file.extend(1_u32.to_le_bytes());
    file.extend([0; 16]);
    assert_eq!(runs(&*opened(&file, "ELF core").memory), [(0x5000, 4, ELF64_DATA)]);
    let count = file.len() - 20;
    file[count..count + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let image = opened(&file, "ELF core");
    assert!(
        image.warnings.iter().any(|w| w.contains("4294967295 program headers are declared")),
        "{:?}",
        image.warnings
    );
}

#[test]
fn a_core_without_physical_addresses_goes_by_virtual_ones_and_says_so() {
    let headers: &[Phdr] = &[[1, ELF64_DATA, 0x10000, 0, 4, 4], [1, ELF64_DATA, 0x20000, 0, 4, 4]];
    let image = opened(&elf64(headers, b"data"), "ELF core");
    assert_eq!(runs(&*image.memory), [(0x10000, 4, ELF64_DATA), (0x20000, 4, ELF64_DATA)]);
    assert!(image.warnings[0].contains("virtual addresses"));
    let alone = opened(&elf64(&headers[..1], b"data"), "ELF core");
    assert_eq!(runs(&*alone.memory), [(0, 4, ELF64_DATA)]);
}

/// Segments as fs/proc/kcore.c lists them: the kernel's text, vmalloc's area, memory below and above 4 GiB.
#[test]
fn copies_of_kcore_hold_memory_where_the_kernel_maps_all_of_it() {
    let load = |at: u64, va: u64, pa: u64| [1, ELF64_DATA + at, va, pa, 4, 4];
    let expected = [(0x1000, 4, ELF64_DATA + 8), (0x1_2000_0000, 4, ELF64_DATA + 12)];
    for base in [0xffff_8800_0000_0000, 0xffff_8a45_4000_0000] {
        let old = [
            load(0, 0xffff_ffff_8100_0000, 0),
            load(4, 0xffff_c900_0000_0000, 0),
            load(8, base + 0x1000, 0),
            load(12, base + 0x1_2000_0000, 0),
        ];
        let image = opened(&elf64(&old, b"textvmalram1ram2"), "ELF core");
        assert_eq!(runs(&*image.memory), expected, "{base:#x}");
        assert!(image.warnings[0].ends_with(&format!("from {base:#x} on")), "{:?}", image.warnings);
    }
    let new = [
        load(0, 0xffff_ffff_b100_0000, 0x300_0000),
        load(4, 0xffff_aa00_0000_0000, u64::MAX),
        load(8, 0xffff_9a45_4000_1000, 0x1000),
        load(12, 0xffff_9a46_6000_0000, 0x1_2000_0000),
    ];
    let image = opened(&elf64(&new, b"textvmalram1ram2"), "ELF core");
    assert_eq!(runs(&*image.memory), [expected[0], (0x300_0000, 4, ELF64_DATA), expected[1]]);
    assert_eq!(image.warnings, [""; 0]);
}

#[test]
fn of_overlapping_ranges_the_first_counts() {
    let data: Vec<u8> = (0..64).collect();
    let at = |offset: u64, paddr: u64, bytes: u64| [1, ELF64_DATA + offset, 1, paddr, bytes, bytes];
    let image = opened(&elf64(&[at(0, 0x110, 16), at(16, 0x100, 48), at(0, 0x118, 4)], &data), "ELF core");
    assert_eq!(
        runs(&*image.memory),
        [(0x100, 0x10, ELF64_DATA + 16), (0x110, 0x10, ELF64_DATA), (0x120, 0x10, ELF64_DATA + 48)]
    );
    assert!(image.warnings.iter().any(|w| w.starts_with("2 range(s) overlap")), "{:?}", image.warnings);
}

/// The dump of a crashed kernel has its text and data once more, before the ranges of memory that hold them.
#[test]
fn the_same_bytes_in_two_places_are_no_conflict() {
    let text: Vec<u8> = (0..0x1_8001_u64).map(|at| ((at * at) >> 7) as u8).collect();
    let segments = [
        [1, ELF64_DATA, 0xffff_ffff_8100_0000, 0x2000, 0x1_8001, 0x1_8001],
        [1, ELF64_DATA + 0x1_8001, 0xffff_8880_0000_1000, 0x1000, 0x2_0000, 0x2_0000],
    ];
    let mut memory = vec![3; 0x2_0000];
    memory[0x1000..0x1_9001].copy_from_slice(&text);
    let warned = |memory: &[u8]| opened(&elf64(&segments, &[&text, memory].concat()), "ELF core").warnings;
    assert_eq!(warned(&memory), [""; 0]);
    memory[0x1_9000] ^= 1;
    assert!(warned(&memory)[0].starts_with("1 range(s) overlap"));
}

#[test]
fn segments_that_show_the_same_memory_twice_are_no_conflict() {
    // As QEMU writes a guest's mappings: each page table entry's range, with its physical address.
    let at = |vaddr: u64, paddr: u64, bytes: u64| [1, ELF64_DATA + paddr - 0x100, vaddr, paddr, bytes, bytes];
    let file = elf64(&[at(0x5000, 0x110, 16), at(0x7000, 0x100, 64), at(0x9000, 0x118, 4)], &[7; 64]);
    let image = opened(&file, "ELF core");
    assert_eq!((runs(&*image.memory), image.warnings.len()), (vec![(0x100, 0x40, ELF64_DATA)], 0));
}

#[test]
fn the_notes_of_a_core_are_hints() {
    let mut cr3 = vec![0; 0x1b8];
    cr3[0x1a0..0x1a8].copy_from_slice(&0x1234_5000_u64.to_le_bytes());
    let notes = [
        notes::tests::note_bytes("QEMU", 0, &cr3),
        notes::tests::note_bytes("VMCOREINFO", 0, b"KERNELOFFSET=1c00000\n"),
    ]
    .concat();
    let bytes = notes.len() as u64;
    let data = [&b"data"[..], &notes].concat();
    let note = [4, ELF64_DATA + 4, 0, 0, bytes, bytes];
    let load = [1, ELF64_DATA, 0, 0x5000, 4, 4];
    let image = opened(&elf64(&[note, load], &data), "ELF core");
    assert_eq!(image.hints.dtbs, [Pa(0x1234_5000)]);
    assert_eq!(image.hints.vmcoreinfo.text("KERNELOFFSET"), Some("1c00000"));
    for [kind, offset, vaddr, paddr, filesz, memsz] in
        [[4, u64::MAX, 0, 0, bytes, bytes], [4, ELF64_DATA + 5, 0, 0, bytes, bytes]]
    {
        let image = opened(&elf64(&[[kind, offset, vaddr, paddr, filesz, memsz], load], &data), "ELF core");
        assert!(image.warnings[0].contains("the notes of program header 0 are not in the file"));
    }
}

/// A core of Xen: 64-bit ELF, sections in this order, each with its bytes.
fn xen(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut names = b"\0.shstrtab\0".to_vec();
    let mut file = elf64(&[], b"");
    let mut headers = vec![[0_u64, 0, 0]];
    for (name, bytes) in sections {
        headers.push([names.len() as u64, file.len() as u64, bytes.len() as u64]);
        names.extend(name.as_bytes());
        names.push(0);
        file.extend(*bytes);
    }
    headers.push([1, file.len() as u64, names.len() as u64]);
    file.extend(&names);
    let table = file.len() as u64;
    for [name, offset, bytes] in &headers {
        file.extend([*name, 0, 0, *offset, *bytes, 0, 0, 0].iter().flat_map(|number| number.to_le_bytes()));
    }
    file[40..48].copy_from_slice(&table.to_le_bytes());
    for (at, half) in [(58, 64), (60, headers.len() as u16), (62, headers.len() as u16 - 1)] {
        file[at..at + 2].copy_from_slice(&half.to_le_bytes());
    }
    file
}

#[test]
fn cores_of_xen_have_their_pages_where_the_table_says() {
    let numbers = |numbers: &[u64]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    let note = |magic: u64, page: u64| {
        let none = notes::tests::note_bytes("Xen", 0x200_0000, b"");
        [none, notes::tests::note_bytes("Xen", 0x200_0001, &numbers(&[magic, 1, 3, page]))].concat()
    };
    let pages: Vec<u8> = (1..=4_u8).flat_map(|page| vec![page; 0x1000]).collect();
    let pfn = numbers(&[5, u64::MAX, 0, 6]);
    let p2m = numbers(&[5, 0x77, u64::MAX, u64::MAX, 0, 0x99, 6, 0x78]);
    let good = note(0xf00f_ebee, 0x1000);
    for (table, name, warnings) in [(&pfn, ".xen_pfn", 0), (&p2m, ".xen_p2m", 1)] {
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let sections: [(&str, &[u8]); 3] = [(".note.Xen", &good), (name, table), (".xen_pages", &pages)];
            let image = opened(&xen(&order.map(|index| sections[index])), "ELF core (Xen)");
            assert_eq!(image.warnings.len(), warnings, "{:?}", image.warnings);
            let seen: Vec<_> = image.memory.runs().iter().map(|run| (run.start.0, run.bytes)).collect();
            assert_eq!(seen, [(0, 0x1000), (0x5000, 0x1000), (0x6000, 0x1000)]);
            for (at, expected) in [(0, 3), (0x5000, 1), (0x6fff, 4)] {
                assert_eq!(array::<1>(&*image.memory, at), Some([expected]));
            }
        }
    }
    let bad = note(0xf00f_ebef, 0x1000);
    let huge = note(0xf00f_ebed, 1 << 40);
    for (sections, why) in [
        (vec![(".note.Xen", &good[..]), (".xen_pages", &pages)], "neither .xen_pfn nor .xen_p2m"),
        (vec![(".note.Xen", &good), (".xen_pfn", &pfn)], "no section .xen_pages"),
        (vec![(".xen_pfn", &pfn), (".xen_pages", &pages)], "no section .note.Xen"),
        (vec![(".note.Xen", &bad), (".xen_pfn", &pfn), (".xen_pages", &pages)], "the magic 0xf00febef"),
        (vec![(".note.Xen", &huge), (".xen_pfn", &pfn), (".xen_pages", &pages)], "that a page has"),
        (vec![(".note.Xen", b""), (".xen_pfn", &pfn), (".xen_pages", &pages)], "no header of Xen"),
    ] {
        let said = vote(&xen(&sections)).err();
        assert!(said.as_ref().is_some_and(|said| said.contains(why)), "{why}: {said:?}");
    }
}

/// A Mach-O core: vmaddr, vmsize, fileoff, filesize of each segment.
fn mach_o(segments: &[[u64; 4]], data: &[u8]) -> Vec<u8> {
    let words = [0xfeed_facf, 0x0100_0007, 3, 4, segments.len() as u32, segments.len() as u32 * 72, 0, 0];
    let mut file: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
    for segment in segments {
        file.extend([0x19_u32.to_le_bytes(), 72_u32.to_le_bytes()].concat());
        file.extend([0; 16]);
        file.extend(segment.iter().flat_map(|number| number.to_le_bytes()));
        file.extend([0; 16]);
    }
    file.extend(data);
    file
}

#[test]
fn segments_of_a_mach_o_core_are_runs() {
    let data = 32 + 2 * 72;
    let good = mach_o(&[[0x5000, 0x10, data, 4], [0x1_0000_0000, 4, data + 4, 4]], b"lowhigh.");
    let image = opened(&good, "Mach-O core");
    assert_eq!(runs(&*image.memory), [(0x5000, 4, data), (0x1_0000_0000, 4, data + 4)]);
    assert_eq!(image.memory.gaps(), [Gap { start: Pa(0x5004), bytes: 12, why: GapKind::NotDumped }]);
    assert_eq!(image.warnings, [""; 0]);
    let process = mach_o(&[[0x5000, 4, data, 4], [0x7fff_5000_0000, 4, data, 4]], b"lowhigh.");
    let mut loop_ = good.clone();
    loop_[36..40].fill(0);
    let mut many = good.clone();
    many[16..20].fill(0xff);
    for (file, why) in [
        (process, "those of a process"),
        (loop_, "says that it has 0 bytes"),
        (many, "4294967295 load commands"),
        (good[..40].to_vec(), "cut short"),
        (b"\xce\xfa\xed\xfe\x07\0\0\x01\x03\0\0\0\x04\0\0\0".to_vec(), "32-bit"),
    ] {
        let said = vote(&file).err();
        assert!(said.as_ref().is_some_and(|said| said.contains(why)), "{why}: {said:?}");
    }
}

#[test]
fn any_declared_ranges_come_out_sorted_disjoint_and_as_the_first_says() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..2000 {
        let declared: Vec<run_layer::Declared> = (0..random.below(8))
            .map(|_| run_layer::Declared {
                start: random.below(40),
                bytes: random.below(20),
                file_offset: random.below(120),
            })
            .collect();
        let base: Arc<dyn PhysicalMemory> = Arc::new(TestMemory::new(vec![(0, (0..100).collect())]));
        let layer = run_layer::RunLayer::new("test", base, &declared, &mut Vec::new());
        for pair in layer.runs().windows(2) {
            assert!(pair[0].start.0 + pair[0].bytes <= pair[1].start.0, "{declared:?}");
        }
        let mut whole = Vec::new();
        for at in 0..70 {
            // What the declarations say of this one address.
            let all = declared.iter().filter(|d| (d.start..d.start + d.bytes).contains(&at));
            let mut offsets: Vec<u64> = all.map(|d| d.file_offset + at - d.start).collect();
            // What lies behind the end hides nothing that is there.
            offsets.sort_by_key(|&offset| offset >= 100);
            let expected = offsets.first().copied();
            let mut byte = [0];
            let got = layer.read(Pa(at), &mut byte).map(|()| u64::from(byte[0]));
            let expected = match expected {
                Some(offset) if offset < 100 => Ok(offset),
                Some(_) => Err(PageFault::physical(FaultReason::Truncated(Pa(at)))),
                None => Err(PageFault::physical(FaultReason::NotInImage(Pa(at)))),
            };
            assert_eq!(got, expected, "address {at} of {declared:?}");
            whole.push(got);
        }
        // A long read is the same as many of one byte, up to the first that is missing.
        let (start, bytes) = (random.below(60) as usize, 1 + random.below(10) as usize);
        let mut buffer = vec![0xee; bytes];
        let got = layer.read(Pa(start as u64), &mut buffer);
        let singles = &whole[start..start + bytes];
        assert_eq!(
            got.err(),
            singles.iter().find_map(|single| single.clone().err()),
            "{start}+{bytes} of {declared:?}"
        );
        let good = singles.iter().map_while(|single| single.as_ref().ok()).map(|&byte| byte as u8);
        let mut expected: Vec<u8> = good.collect();
        expected.resize(bytes, 0);
        assert_eq!(buffer, expected, "{start}+{bytes} of {declared:?}");
    }
}

/// The first of two segments of the same memory lies behind the end of the file.
#[test]
fn a_range_that_the_file_lacks_hides_no_other_one() {
    let lost = [1, 0x10_0000, 0xffff_ffff_8100_0000, 0x1000, 0x2000, 0x2000];
    let file = elf64(&[lost, [1, ELF64_DATA, 0xffff_8880_0000_1000, 0x1000, 8, 8]], b"contents");
    let image = opened(&file, "ELF core");
    assert_eq!(runs(&*image.memory), [(0x1000, 8, ELF64_DATA)]);
    assert_eq!(image.memory.gaps(), [Gap { start: Pa(0x1008), bytes: 0x1ff8, why: GapKind::Truncated }]);
    assert_eq!(image.warnings, ["the file is truncated: 8184 bytes of memory that its headers promise are missing"]);
}

/// A container without some pages, as AFF4 has for what was not acquired: what a format shows of it is there and right, and
/// the rest of what it had is a gap.
#[test]
fn no_format_takes_the_holes_of_its_container_for_memory() {
    let content = avml::tests::content(0x4_0000);
    let headers: &[Phdr] = &[[1, ELF64_DATA, 1, 0x1000, 0x3_0000, 0x3_0000], [1, 0x3_1000, 1, 0x8_0000, 0x800, 0x800]];
    let files = [
        elf64(headers, &content),
        lime(&[(0x1000, 0x3_0fff, &content[..0x3_0000]), (0x10_0000, 0x10_ffff, &content[0x3_0000..])]),
        avml::tests::avml(0x1000, &content),
        [avml::tests::avml(0x1000, &content), lime(&[(0x10_0000, 0x13_ffff, &content)])].concat(),
        kdump::tests::dump(),
    ];
    let total = |memory: &dyn PhysicalMemory| {
        let gaps: u64 = memory.gaps().iter().map(|gap| gap.bytes).sum();
        memory.runs().iter().map(|run| run.bytes).sum::<u64>() + gaps
    };
    let mut random = Random(0x1_2345_6789);
    for (number, file) in files.iter().enumerate() {
        let whole = vote(file).expect("an image");
        let mut opened = 0;
        for _ in 0..60 {
            // Not the headers at the start: without them it is another format, or none.
            let from = 0x2_000 + random.below(file.len() as u64 - 0x2_000) as usize;
            let to = (from + 1 + random.below(0x9000) as usize).min(file.len());
            let mut pieces = vec![(0, file[..from].to_vec())];
            pieces.extend((to < file.len()).then(|| (to as u64, file[to..].to_vec())));
            let Ok(image) = vote_in(pieces) else { continue };
            opened += 1;
            let what = format!("file {number} without {from:#x}-{to:#x}");
            for run in image.memory.runs() {
                let mut bytes = vec![0; run.bytes as usize];
                let mut expected = bytes.clone();
                assert_eq!(image.memory.read(run.start, &mut bytes), Ok(()), "{what}: {run:?}");
                assert_eq!(whole.memory.read(run.start, &mut expected), Ok(()), "{what}: {run:?}");
                assert!(bytes == expected, "{what}: {run:?}");
            }
            // A range whose header is in the hole is not known.
            let is_left_out =
                image.warnings.iter().any(|warning| warning.contains("left out") || warning.contains("header"));
            assert!(is_left_out || total(&*image.memory) == total(&*whole.memory), "{what}: {:?}", image.warnings);
            assert!(!image.warnings.is_empty() || image.memory.gaps() == whole.memory.gaps(), "{what}");
        }
        assert!(opened > 30, "file {number}: {opened}");
    }
}

#[test]
fn what_neither_a_run_nor_a_gap_has_is_missing_once() {
    let mut random = Random(17);
    for _ in 0..2000 {
        // Ten places, each a run, a gap or nothing.
        let mut layout = run_layer::Layout::default();
        let kinds: Vec<u64> = (0..10).map(|_| random.below(3)).collect();
        for (&kind, at) in kinds.iter().zip(0..) {
            match kind {
                0 => layout.run(at, 1, None),
                1 => layout.gap(at, 1, GapKind::Truncated),
                _ => {}
            }
        }
        let mut ranges: Vec<(u64, u64)> = (0..random.below(4)).map(|_| (random.below(12), random.below(6))).collect();
        ranges.push((u64::MAX, 2));
        let gaps = run_layer::with_missing(&layout.runs, &layout.gaps, ranges.clone(), GapKind::NotDumped);
        assert!(gaps.windows(2).all(|pair| pair[0].start.0 + pair[0].bytes <= pair[1].start.0), "{gaps:?}");
        for at in 0..20 {
            let of_range = || ranges.iter().any(|&(start, bytes)| start <= at && at - start < bytes);
            let expected = match kinds.get(at as usize) {
                Some(0) => None,
                Some(1) => Some(GapKind::Truncated),
                _ => of_range().then_some(GapKind::NotDumped),
            };
            let found = gaps.iter().find(|gap| gap.start.0 <= at && at - gap.start.0 < gap.bytes).map(|gap| gap.why);
            assert_eq!(found, expected, "{at} of {kinds:?} {ranges:?}");
        }
    }
}

#[test]
fn a_layer_holds_what_all_its_runs_together_have() {
    let memory = TestMemory::new(vec![(2, vec![0; 3]), (5, vec![0; 4]), (10, vec![0; 2])]);
    for at in 0..14 {
        for bytes in 0..14 {
            let expected = (at..at + bytes).all(|at| (2..9).contains(&at) || (10..12).contains(&at));
            assert_eq!(run_layer::holds(&memory, at, bytes), expected, "{at} {bytes}");
        }
    }
    assert!(!run_layer::holds(&memory, u64::MAX, 2) && !run_layer::holds(&memory, 2, u64::MAX));
}

#[test]
fn sizes_near_the_end_of_the_number_range_are_left_out_and_told() {
    let huge: &[Phdr] = &[
        [1, ELF64_DATA, 1, u64::MAX - 3, 4, 4],
        [1, ELF64_DATA, 1, 0x1000, u64::MAX, u64::MAX],
        [1, u64::MAX - 1, 1, 0x3000, 0x1000, 0x1000],
        [1, ELF64_DATA, 1, 0x2000, 4, 4],
    ];
    let image = opened(&elf64(huge, b"data"), "ELF core");
    assert_eq!(runs(&*image.memory), [(0x2000, 4, ELF64_DATA)]);
    assert!(image.warnings.iter().any(|w| w.starts_with("2 range(s) left out")), "{:?}", image.warnings);
    assert!(image.warnings.iter().any(|w| w.contains("truncated: 4096 bytes")), "{:?}", image.warnings);

    assert!(vote(&lime(&[(0, u64::MAX, b"data")])).is_err());
    assert!(
        vote(&lime(&[(5, 4, b"data")])).is_err_and(|why| why.starts_with("LiME: ") && why.contains("range 0x5 to 0x4"))
    );
    let image = opened(&lime(&[(0x1000, 0x1003, b"data"), (1, u64::MAX, b"rest")]), "LiME");
    assert_eq!(runs(&*image.memory), [(0x1000, 4, 32)]);
    assert_eq!(image.warnings.len(), 1, "{:?}", image.warnings);
}

#[test]
fn every_truncated_prefix_is_an_error_or_a_warning() {
    let elf = elf64(&[[1, ELF64_DATA, 1, 0x1000, 8, 8], [1, ELF64_DATA + 8, 1, 0x4000, 8, 8]], &[7; 16]);
    let small = elf32(&[[1, 52 + 64, 1, 0x1000, 8, 8], [1, 52 + 64 + 8, 1, 0x4000, 8, 8]], &[7; 16]);
    let lime = lime(&[(0x1000, 0x1007, &[7; 8]), (0x4000, 0x4007, &[7; 8])]);
    for file in [elf, small, lime.clone()] {
        assert!(vote(&file).is_ok_and(|image| image.warnings.is_empty()));
        for cut in 4..file.len() {
            match vote(&file[..cut]) {
                Err(why) => assert!(!why.is_empty()),
                // A LiME file that ends behind a whole range cannot be told from one that is complete.
                Ok(image) if image.warnings.is_empty() => assert_eq!((cut, &file), (40, &lime)),
                Ok(image) => {
                    assert_eq!(image.warnings.len(), 1, "cut at {cut}: {:?}", image.warnings);
                    let told: u64 = image.memory.runs().iter().map(|run| run.bytes).sum();
                    assert!(told < 16, "cut at {cut}");
                    let mut byte = [0];
                    let fault = image.memory.read(Pa(0x4007), &mut byte).expect_err("cut off");
                    assert!(matches!(fault.reason, FaultReason::Truncated(_) | FaultReason::NotInImage(_)));
                }
            }
        }
    }
}

#[test]
fn any_single_changed_byte_is_survived() {
    let elf = elf64(&[[1, ELF64_DATA, 1, 0x1000, 8, 8], [1, ELF64_DATA + 8, 1, 0x4000, 8, 8]], &[7; 16]);
    let lime = lime(&[(0x1000, 0x1007, &[7; 8]), (0x4000, 0x4007, &[7; 8])]);
    for file in [elf, lime] {
        for at in 0..file.len() {
            for value in [0, 1, 2, 0x7f, 0x80, 0xff] {
                let mut changed = file.clone();
                changed[at] = value;
                let Ok(image) = vote(&changed) else { continue };
                for run in image.memory.runs() {
                    let mut bytes = vec![0; usize::try_from(run.bytes).expect("no more than the file has")];
                    assert_eq!(image.memory.read(run.start, &mut bytes), Ok(()), "byte {at} = {value:#x}");
                    assert!(bytes.len() <= file.len());
                }
            }
        }
    }
}

#[test]
fn what_is_not_memory_is_refused_by_name_or_taken_as_it_is() {
    // As the kernel writes it when a process dies, and gdb.
    let process = |note: u32| {
        let notes = notes::tests::note_bytes("CORE", note, &[0; 16]);
        let (at, bytes) = (ELF64_DATA, notes.len() as u64);
        let code = [1, at + bytes, 0x5555_5555_4000, 0, 4, 4];
        elf64(
            &[[4, at, 0, 0, bytes, bytes], code, [1, at + bytes, 0x7fff_0000_0000, 0, 4, 4]],
            &[&notes[..], b"code"].concat(),
        )
    };
    let mut big_endian = elf64(&[], b"");
    big_endian[5] = 2;
    big_endian[16..18].copy_from_slice(&[0, 4]);
    let mut program = elf64(&[[1, ELF64_DATA, 1, 0, 4, 4]], b"data");
    program[16] = 2;
    let mut hibernation = b"HIBR".to_vec();
    hibernation.resize(0x18, 0);
    hibernation.extend([0, 0x10, 0, 0, 0, 0, 0, 0]);
    let aff4 = [&b"memory"[..], b"PK\x05\x06", &[0; 16], b"\x0b\0aff4://1234"].concat();
    for (file, name) in [
        (elf64(&[], b""), "it has no program headers, and cannot be read as a core of Xen"),
        (process(6), "it is the core file of a process"),
        (process(0x4649_4c45), "it is the core file of a process"),
        (elf64(&[[4, 0, 0, 0, 0, 0]], b""), "none of its 0 segments holds memory"),
        (big_endian, "big-endian"),
        (b"AVML\x02\0\0\0".to_vec(), "the header at offset 0x0 is cut short"),
        (b"PAGEDU64".to_vec(), "Windows crash dump: its header is cut short"),
        (b"KDUMP   ".to_vec(), "kdump: its header is cut short"),
        (b"makedumpfile\0\0\0\0".to_vec(), "flattened: its header is cut short"),
        (b"EVF\x09\x0d\x0a\xff\0".to_vec(), "EWF: its header is cut short"),
        (b"EVF2\x0d\x0a\x81\0".to_vec(), "Ex01"),
        (b"LVF\x09\x0d\x0a\xff\0".to_vec(), "L01"),
        (b"\xd2\xbe\xd2\xbe".to_vec(), "VMware: its header is cut short"),
        (b"QEVM\0\0\0\x03".to_vec(), "QEMU migration stream: the stream ends"),
        (b"\x1f\x8b\x08\0\0\0".to_vec(), "compressed: it is not valid gzip"),
        (b"\xfd7zXZ\0".to_vec(), "compressed: it is not valid xz"),
        (b"\x28\xb5\x2f\xfd\0\0".to_vec(), "compressed: it is not valid zstd"),
        (b"\x04\x22\x4d\x18".to_vec(), "lz4"),
        (b"BZh91AY&SY".to_vec(), "bzip2"),
        (hibernation, "hibernation file: no table of memory ranges"),
        (b"\xcf\xfa\xed\xfe\x07\0\0\x01\x03\0\0\0\x04\0\0\0".to_vec(), "Mach-O core: its header is cut short"),
        (aff4, "AFF4: it has no information.turtle"),
    ] {
        let why = vote(&file).err();
        assert!(why.as_ref().is_some_and(|why| why.contains(name)), "{name}: {why:?}");
    }
    for file in [
        &b"x"[..],
        b"EMi",
        b"\x7fEL",
        b"HIBR and other words",
        b"PK\x03\x04 and no zip",
        b"x\x9c\x03\0\0\0\0\x01",
        &program,
    ] {
        let image = opened(file, "test");
        assert_eq!(image.ballots.len(), FORMATS.len(), "all were asked, and said no");
    }
}

#[test]
fn paths_that_are_no_image_get_one_clear_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("empty"), b"").expect("written");
    std::fs::write(path("avml"), b"AVML\x02\0\0\0").expect("written");
    std::fs::write(path("lime"), lime(&[(0x1000, 0x1003, b"data")])).expect("written");
    let said = |path: &std::path::Path, format: Option<&str>| {
        let options = Options { format: format.map(Into::into), ..Options::default() };
        let text = open(path, &options).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(!text.contains('\n'));
        text.replace(&folder.path().display().to_string(), "F")
    };
    assert_eq!(said(&path("empty"), None), "cannot open the image F/empty: the file is empty");
    assert_eq!(said(folder.path(), None), "cannot open the image F: it is a folder, not a file");
    assert!(said(&path("missing"), None).starts_with("cannot open the image F/missing: "));
    let device = said(std::path::Path::new("/dev/null"), None);
    assert!(
        device.contains("it is a character device, which tells no length (") && device.contains("--runs"),
        "{device}"
    );
    let pipe = path("pipe");
    if std::process::Command::new("mkfifo").arg(&pipe).status().is_ok_and(|made| made.success()) {
        assert!(said(&pipe, None).contains("it is a pipe or socket"));
    }
    assert!(said(&path("avml"), None).contains("(AVML): the header at offset 0x0 is cut short"));
    assert_eq!(said(&path("avml"), Some("raw")), "", "forced");
    assert!(said(&path("avml"), Some("lime")).contains("no LiME magic"));
    assert_eq!(said(&path("lime"), Some("lime")), "");
    let unknown = said(&path("lime"), Some("vhd"));
    assert!(unknown.starts_with("the image format `vhd` is not known; there are: raw, "), "{unknown}");
    assert!(unknown.contains(", LiME"), "{unknown}");
}

#[test]
fn a_format_that_is_asked_for_is_looked_for_inside_others_as_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lime.gz.gz");
    let inside = lime(&[(0x1000, 0x1003, b"data"), (0x3000, 0x3003, b"more")]);
    let gzip = |bytes: &[u8]| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, bytes).expect("memory");
        packed.finish().expect("memory")
    };
    std::fs::write(&path, gzip(&gzip(&inside))).expect("written");
    let open = |format: &str| open(&path, &Options { format: Some(format.into()), ..Options::default() });
    let image = open("lime").unwrap_or_else(|why| panic!("{why}"));
    assert_eq!((image.describe().as_str(), image.runs().len()), ("LiME", 2));
    // The first layer of that format is it, and nothing in it.
    let image = open("compressed").unwrap_or_else(|why| panic!("{why}"));
    let mut start = [0; 2];
    image.read(Pa(0), &mut start).expect("gzip");
    assert_eq!(start, [0x1f, 0x8b]);
    // Each layer that was asked is told with its reason.
    let why = open("AVML").err().expect("there is none").to_string();
    assert!(why.contains("(AVML): no layer of the file is of this format: raw, no: "), "{why}");
    assert_eq!(why.matches("; gzip, no: ").count(), 2, "{why}");
    assert!(why.contains("; LiME, no: "), "{why}");
}

#[test]
fn a_file_reads_the_same_mapped_and_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("image");
    std::fs::write(&path, lime(&[(0x1000, 0x1007, b"abcdefgh"), (0x1008, 0x100b, b"ijkl")])).expect("written");
    for (no_map, slice) in [(false, Some(&b"bcd"[..])), (true, None)] {
        let image = open(&path, &Options { no_map, ..Options::default() }).expect("an image");
        let mut buffer = [0xee; 20];
        let fault = image.read(Pa(0x1002), &mut buffer).expect_err("it ends");
        assert_eq!((&buffer, fault.reason), (b"cdefghijkl\0\0\0\0\0\0\0\0\0\0", FaultReason::NotInImage(Pa(0x100c))));
        assert_eq!(image.slice(Pa(0x1001), 3), slice);
        let raw = open(&path, &Options { no_map, format: Some("RAW".into()), ..Options::default() })
            .expect("any file is raw");
        let mut buffer = [0xee; 8];
        let fault = raw.read(Pa(72), &mut buffer).expect_err("the file has 76 bytes");
        assert_eq!((&buffer, fault.reason), (b"ijkl\0\0\0\0", FaultReason::NotInImage(Pa(76))));
    }
}

/// /dev/zero stands for a device that gives memory: it can be read at any offset, and mapped by nobody who asks its length.
#[cfg(unix)]
#[test]
fn a_character_device_is_read_in_the_ranges_that_are_given() {
    let live = |path: &str, runs: &[std::ops::Range<u64>]| {
        open(path.as_ref(), &Options { runs: runs.to_vec(), ..Options::default() })
    };
    let image =
        live("/dev/zero", &[0x1_0000_0000..0x1_0000_2000, 0x1000..0x9_fc00]).unwrap_or_else(|why| panic!("{why}"));
    let runs: Vec<_> = image.runs().iter().map(|run| (run.start.0, run.bytes, run.file_offset)).collect();
    let expected = [(0x1000, 0x9_ec00, Some(0x1000)), (0x1_0000_0000, 0x2000, Some(0x1_0000_0000))];
    assert_eq!((&runs[..], &image.warnings[..], image.file_bytes), (&expected[..], &[][..], None));
    let mut page = [0xee; 0x1000];
    image.read(Pa(0x1_0000_1000), &mut page).expect("zeros");
    assert_eq!((page, image.slice(Pa(0x1000), 1)), ([0; 0x1000], None));
    let fault = image.read(Pa(0x9_f000), &mut page).expect_err("it ends");
    assert_eq!(fault.reason, FaultReason::NotInImage(Pa(0x9_fc00)));
    assert!(
        live("/dev/null", std::slice::from_ref(&(0x1000..0x2000)))
            .is_ok_and(|image| image.read(Pa(0x1000), &mut page).is_err())
    );
}

/// A disk onto which an image was written.
#[cfg(target_os = "linux")]
#[test]
fn a_block_device_is_read_as_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("disk");
    let mut disk = lime(&[(0x1000, 0x1fff, &[7; 0x1000])]);
    disk.resize(0x2000, 0);
    std::fs::write(&path, disk).expect("written");
    let losetup = |args: &[&str]| {
        let output = std::process::Command::new("losetup").args(args).arg(&path).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(device) = losetup(&["-f", "--show", "-r"]) else {
        return eprintln!("skipped: losetup may not be used here");
    };
    let image = open(device.as_ref(), &Options::default());
    let read =
        image.map(|image| (image.describe(), image.runs().to_vec(), array::<4>(&*image, 0x1ffc), image.file_bytes));
    let detached = std::process::Command::new("losetup").args(["-d", &device]).status();
    assert!(detached.is_ok_and(|status| status.success()));
    let run = Run { start: Pa(0x1000), bytes: 0x1000, file_offset: Some(32) };
    assert_eq!(read.expect("an image"), ("LiME".into(), vec![run], Some([7; 4]), Some(0x2000)));
}

/// /proc/kcore is a file of 128 TiB that nobody can map, with the offsets that addresses of the kernel lead to.
#[cfg(target_os = "linux")]
#[test]
fn a_file_like_kcore_is_read_where_it_cannot_be_mapped() {
    use std::os::unix::fs::FileExt as _;
    const OFFSET: u64 = 0x7fff_8000_0000;
    let Ok(file) = tempfile::NamedTempFile::new_in("/dev/shm") else { return eprintln!("skipped: no /dev/shm") };
    if file.as_file().set_len(1 << 62).is_err() {
        return eprintln!("skipped: /dev/shm has no files of such a length");
    }
    let mut header = b"\x7fELF\x02\x01\x01".to_vec();
    header.resize(64 + 2 * 56, 0);
    let mut put =
        |at: usize, number: u64, bytes: usize| header[at..at + bytes].copy_from_slice(&number.to_le_bytes()[..bytes]);
    for (at, number, bytes) in [(16, 4, 2), (18, 62, 2), (20, 1, 4), (32, 64, 8), (52, 64, 2), (54, 56, 2), (56, 2, 2)]
    {
        put(at, number, bytes);
    }
    for (index, (place, bytes)) in [(0x1000, 0x9_e000), (0x10_0000, 0x40_0000)].into_iter().enumerate() {
        let at = 64 + 56 * index;
        let fields =
            [(0, 1), (8, OFFSET + place), (16, 0xffff_8880_0000_0000 + place), (24, place), (32, bytes), (40, bytes)];
        for (field, number) in fields {
            put(at + field, number, if field == 0 { 4 } else { 8 });
        }
    }
    file.as_file().write_all_at(&header, 0).expect("written");
    file.as_file().write_all_at(&[9; 0x1000], OFFSET + 0x10_3000).expect("written");
    let image = open(file.path(), &Options::default()).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!((image.describe().as_str(), image.runs().len(), &image.warnings[..]), ("ELF core", 2, &[][..]));
    assert_eq!((array::<4>(&*image, 0x10_3ffc), array::<4>(&*image, 0x10_4000)), (Some([9; 4]), Some([0; 4])));
    assert_eq!(image.slice(Pa(0x10_3000), 1), None, "it is not mapped");
}
