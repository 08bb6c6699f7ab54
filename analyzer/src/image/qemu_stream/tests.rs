use super::reader::flag;
use super::*;
use crate::error::FaultReason;
use crate::image::Run;
use crate::image::tests::vote;
use std::io::Write;

const GIB: u64 = 1 << 30;

/// A stream's parts, as QEMU writes them.
struct Writer(Vec<u8>);

impl Writer {
    fn new(machine: &str, blocks: &[(&str, u64)]) -> Self {
        let mut out = Self(b"QEVM\0\0\0\x03\x07".to_vec());
        out.0.extend((machine.len() as u32).to_be_bytes());
        out.0.extend(machine.as_bytes());
        out.0.extend(b"\x01\0\0\0\x02\x03ram\0\0\0\0\0\0\0\x04");
        let total: u64 = blocks.iter().map(|block| block.1).sum();
        out.0.extend((total | flag::MEM_SIZE).to_be_bytes());
        for (name, bytes) in blocks {
            out.name(name);
            out.0.extend(bytes.to_be_bytes());
        }
        out.end().part()
    }

    fn name(&mut self, name: &str) {
        self.0.push(name.len() as u8);
        self.0.extend(name.as_bytes());
    }

    fn end(mut self) -> Self {
        self.0.extend(flag::EOS.to_be_bytes());
        self.0.extend(b"\x7e\0\0\0\x02");
        self
    }

    fn part(mut self) -> Self {
        self.0.extend(b"\x02\0\0\0\x02");
        self
    }

    fn record(mut self, block: Option<&str>, offset: u64, kind: u64, data: &[u8]) -> Self {
        let more = if block.is_none() { flag::CONTINUE } else { 0 };
        self.0.extend((offset | kind | more).to_be_bytes());
        if let Some(name) = block {
            self.name(name);
        }
        self.0.extend(data);
        self
    }

    /// The end of the memory, and the clock of a PC with so much memory above 4 GiB.
    fn finish(mut self, above: Option<u64>) -> Vec<u8> {
        self = self.end();
        self.0.extend(b"\x03\0\0\0\x02");
        self = self.end();
        self.0.extend(b"\x04\0\0\0\x05");
        self.name("timer");
        self.0.extend([0; 40]);
        if let Some(above) = above {
            self.0.extend(b"\x04\0\0\0\x09");
            self.name("mc146818rtc");
            self.0.extend([0, 0, 0, 0, 0, 0, 0, 3]);
            let mut cmos = [0; 128];
            cmos[0x5b..0x5e].copy_from_slice(&(above >> 16).to_le_bytes()[..3]);
            self.0.extend(cmos);
        }
        self.0.push(0);
        self.0
    }
}

fn zlib(page: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(page).expect("packed");
    let packed = encoder.finish().expect("packed");
    [&(packed.len() as u32).to_be_bytes(), &packed[..]].concat()
}

#[test]
fn of_a_page_that_comes_again_the_last_counts() {
    let (old, new) = ([1; 0x1000], [2; 0x1000]);
    let blocks = [("pc.ram", 0x5000), ("vga.vram", 0x1000)];
    let file = Writer::new("pc-i440fx-7.2", &blocks)
        .record(Some("pc.ram"), 0, flag::PAGE, &old)
        .record(None, 0x1000, flag::ZERO, &[0])
        .record(None, 0x2000, flag::PAGE, &old)
        .record(Some("vga.vram"), 0, flag::PAGE, &old)
        .record(Some("pc.ram"), 0x3000, flag::COMPRESS_PAGE, &zlib(&[3; 0x1000]))
        .record(None, 0x2000, flag::ZERO, &[0xee])
        .end()
        .part()
        .record(Some("pc.ram"), 0, flag::PAGE, &new)
        .finish(Some(0));
    let image = vote(&file).expect("an image");
    assert_eq!((image.memory.describe(), &image.warnings[..]), ("QEMU migration stream".into(), &[][..]));
    let mut all = vec![0xaa; 0x4000];
    assert_eq!(image.memory.read(Pa(0), &mut all), Ok(()));
    for (page, byte) in [2, 0, 0xee, 3].into_iter().enumerate() {
        assert!(all[page * 0x1000..][..0x1000].iter().all(|&b| b == byte), "{page}");
    }
    assert_eq!(
        image.memory.read(Pa(0x4000), &mut [0]).expect_err("not sent").reason,
        FaultReason::NotDumped(Pa(0x4000))
    );
    assert!(image.hints.facts.contains(&("RAM block vga.vram".into(), "4096 bytes".into())));
    // libvirt puts a header and XML before it.
    for big in [false, true] {
        let number = |number: u32| if big { number.to_be_bytes() } else { number.to_le_bytes() };
        let mut saved = b"LibvirtQemudSave".to_vec();
        saved.extend([2, 9, 1, 0].map(number).concat());
        saved.resize(92, 0);
        saved.extend(b"<domain/>");
        saved.extend(&file);
        let image = vote(&saved).expect("an image");
        assert_eq!(image.memory.describe(), "QEMU migration stream");
        assert_eq!(array::<1>(&*image.memory, 0x2000), Some([0xee]));
        saved[if big { 31 } else { 28 }] = 4;
        assert!(vote(&saved).is_err_and(|why| why.contains("lzop")));
        saved[if big { 31 } else { 28 }] = 5;
        assert!(vote(&saved).is_err_and(|why| why.contains("(zstd) is not at offset 0x65")));
    }
}

#[test]
fn memory_is_where_the_machine_has_it() {
    let gib = |gib: u64| gib * GIB;
    for (machine, block, bytes, above, expected) in [
        ("pc-i440fx-7.2", "pc.ram", gib(1), None, vec![(0, gib(1))]),
        ("pc-i440fx-7.2", "pc.ram", 0xdfff_f000, None, vec![(0, 0xdfff_f000)]),
        ("pc-i440fx-7.2", "pc.ram", gib(8), None, vec![(0, gib(3)), (gib(4), gib(5))]),
        ("pc-q35-8.1", "pc.ram", gib(8), None, vec![(0, gib(2)), (gib(4), gib(6))]),
        ("pc-q35-8.1", "pc.ram", 0xafff_f000, None, vec![(0, 0xafff_f000)]),
        // `max-ram-below-4g`, and what the CMOS then says.
        ("pc-i440fx-7.2", "pc.ram", 16 << 20, Some(8 << 20), vec![(0, 8 << 20), (gib(4), 8 << 20)]),
        ("pc-q35-8.1", "pc.ram", gib(8), Some(gib(5)), vec![(0, gib(3)), (gib(4), gib(5))]),
        ("virt-7.2", "mach-virt.ram", gib(4), None, vec![(gib(1), gib(4))]),
        ("none", "ram", gib(5), None, vec![(0, gib(5))]),
    ] {
        // One page is sent, the rest are gaps.
        let first = |writer: Writer| writer.record(Some(block), 0, flag::ZERO, &[0]);
        let image = vote(&first(Writer::new(machine, &[(block, bytes)])).finish(above)).expect("an image");
        let start = Pa(expected[0].0);
        assert_eq!(image.memory.runs(), [Run { start, bytes: 0x1000, file_offset: None }]);
        let mut gaps: Vec<_> = image.memory.gaps().iter().map(|gap| (gap.start.0, gap.bytes)).collect();
        gaps[0] = (gaps[0].0 - 0x1000, gaps[0].1 + 0x1000);
        assert_eq!((gaps, &image.warnings[..]), (expected, &[][..]), "{machine} {bytes:#x}");
    }
    let sun = Writer::new("sun4m", &[("ram", 0x1000)]).record(Some("ram"), 0, flag::ZERO, &[0]);
    let image = vote(&sun.finish(None)).expect("an image");
    assert!(image.warnings[0].contains("\"sun4m\" is not known"));
}

#[test]
fn streams_that_end_or_lie_give_what_is_there() {
    let page = [7; 0x1000];
    let writer = || Writer::new("pc", &[("pc.ram", 0x3000)]).record(Some("pc.ram"), 0, flag::PAGE, &page);
    let good = writer().record(None, 0x1000, flag::PAGE, &page).finish(None);
    for cut in 5..good.len() {
        match vote(&good[..cut]) {
            Err(why) => assert!(why.contains("the stream ends"), "{cut:#x}: {why}"),
            Ok(image) => {
                assert_eq!(array::<1>(&*image.memory, 0xfff), Some([7]), "{cut:#x}");
                let fault = image.memory.read(Pa(0x2fff), &mut [0]).expect_err("never sent");
                let truncated = FaultReason::Truncated(Pa(0x2fff));
                assert_eq!(
                    usize::from(fault.reason == truncated),
                    image.warnings.len(),
                    "{cut:#x}: {:?}",
                    image.warnings
                );
            }
        }
    }
    for (file, why) in [
        (writer().record(None, 0x1000, 0x40, &page).finish(None), "the flags 0x40"),
        (writer().record(Some("other"), 0x1000, flag::PAGE, &page).finish(None), "\"other\" at offset"),
        (writer().record(None, 0x3000, flag::PAGE, &page).finish(None), "1 page(s) lie further on"),
        (writer().record(None, !0xfff, flag::PAGE, &page).finish(None), "1 page(s) lie further on"),
    ] {
        let image = vote(&file).expect("the first page is good");
        assert!(image.warnings.iter().any(|warning| warning.contains(why)), "{why}: {:?}", image.warnings);
    }
    for (file, why) in [
        (Writer::new("pc", &[("pc.ram", u64::MAX - 0xfff)]).finish(None), "cannot be|bytes"),
        (Writer::new("pc", &[("pc.ram", 0x1800), ("x", 0x800)]).finish(None), "cannot be"),
        (Writer::new("pc", &[("pc.ram", 0x1000)]).finish(None), "holds no memory"),
        (Writer::new("pc", &[("vga.vram", 0x1000)]).finish(None), "none of its blocks"),
        (Writer::new("pc", &[("m0", 0x1000), ("m1", 0x1000)]).finish(None), "NUMA"),
        (b"QEVM\0\0\0\x04".to_vec(), "its version is 4"),
    ] {
        let said = vote(&file).err();
        assert!(said.as_ref().is_some_and(|said| why.split('|').any(|why| said.contains(why))), "{why}: {said:?}");
    }
}
