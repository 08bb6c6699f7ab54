use super::super::open::{Image, Options, open};
use super::super::testing::Random;
use super::*;
use crate::error::FaultReason;

/// A group's tags: (name, indices, value).
type Tags<'t> = &'t [(&'t str, &'t [u32], Vec<u8>)];

fn tag(name: &str, indices: &[u32], value: &[u8]) -> Vec<u8> {
    let mut tag = vec![(indices.len() as u8) << 6 | value.len() as u8, name.len() as u8];
    tag.extend(name.as_bytes());
    tag.extend(indices.iter().flat_map(|index| index.to_le_bytes()));
    tag.extend(value);
    tag
}

/// The tag `Memory` at `offset` of the file, its data at the next page.
fn memory_tag(offset: u64, data: &[u8], in_memory: u64) -> Vec<u8> {
    let mut tag = vec![0x3f | 2 << 6, 6];
    tag.extend(b"Memory");
    tag.extend([0; 8]);
    tag.extend((data.len() as u64).to_le_bytes());
    tag.extend(in_memory.to_le_bytes());
    let here = offset + tag.len() as u64 + 2;
    let padding = here.next_multiple_of(PAGE_BYTES) - here;
    tag.extend((padding as u16).to_le_bytes());
    tag.resize(tag.len() + padding as usize, 0xcc);
    tag.extend(data);
    tag
}

fn snapshot(groups: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut file = b"\xd2\xbe\xd2\xbe\x08\0\0\0".to_vec();
    file.extend((groups.len() as u32).to_le_bytes());
    let mut offset = 12 + 80 * groups.len();
    for (name, tags) in groups {
        let mut name = name.as_bytes().to_vec();
        name.resize(64, 0);
        file.extend(name);
        file.extend((offset as u64).to_le_bytes());
        file.extend((tags.len() as u64).to_le_bytes());
        offset += tags.len();
    }
    file.extend(groups.iter().flat_map(|(_, tags)| tags));
    file
}

fn all(tags: Tags<'_>) -> Vec<u8> {
    let mut all: Vec<u8> = tags.iter().flat_map(|(name, indices, value)| tag(name, indices, value)).collect();
    all.extend([0, 0]);
    all
}

fn number(number: u32) -> Vec<u8> {
    number.to_le_bytes().to_vec()
}

/// Two pages: the second of the file at 0, the first at 4 GiB.
fn regions() -> Vec<u8> {
    all(&[
        ("regionsCount", &[], number(2)),
        ("regionPPN", &[0], number(0)),
        ("regionPageNum", &[0], number(1)),
        ("regionSize", &[0], number(1)),
        ("regionPPN", &[1], number(0x10_0000)),
        ("regionPageNum", &[1], number(0)),
        ("regionSize", &[1], number(1)),
    ])
}

fn pages() -> Vec<u8> {
    [vec![1; 4096], vec![2; 4096]].concat()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(files: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).expect("written");
        }
        Self(folder)
    }

    fn open(&self, name: &str) -> Result<Image, String> {
        open(&self.0.path().join(name), &Options::default()).map_err(|error| error.to_string())
    }
}

fn runs(image: &Image) -> Vec<(u64, u64)> {
    image.runs().iter().map(|run| (run.start.0, run.bytes)).collect()
}

fn byte(image: &Image, at: u64) -> Result<u8, FaultReason> {
    let mut byte = [0];
    image.read(Pa(at), &mut byte).map(|()| byte[0]).map_err(|fault| fault.reason)
}

#[test]
fn the_regions_of_the_snapshot_file_place_the_memory_whichever_of_the_two_is_opened() {
    let cpu = all(&[("CR64", &[0, 0], vec![0x33; 8]), ("CR64", &[0, 3], 0x1a_b000_u64.to_le_bytes().to_vec())]);
    let snapshot = snapshot(&[("other", vec![0xff; 3]), ("memory", regions()), ("cpu", cpu)]);
    let folder = Folder::with(&[("Win 7.vmem", &pages()), ("win 7.VMSN", &snapshot)]);
    for name in ["Win 7.vmem", "win 7.VMSN"] {
        let image = folder.open(name).expect("an image");
        assert_eq!(image.describe(), "VMware", "{name}");
        assert_eq!(runs(&image), [(0, 4096), (4 << 30, 4096)], "{name}");
        assert_eq!((byte(&image, 0), byte(&image, 4 << 30)), (Ok(2), Ok(1)), "{name}");
        assert_eq!(byte(&image, 4096), Err(FaultReason::NotInImage(Pa(4096))));
        assert_eq!((&image.warnings[..], &image.hints.dtbs[..]), (&[][..], &[Pa(0x1a_b000)][..]), "{name}");
    }
}

#[test]
fn memory_inside_the_snapshot_file_is_read_there() {
    let groups = |in_memory| {
        let mut memory = regions();
        memory.truncate(memory.len() - 2);
        let tag = memory_tag(12 + 80 + memory.len() as u64, &pages(), in_memory);
        snapshot(&[("memory", [memory, tag, vec![0, 0]].concat())])
    };
    let folder = Folder::with(&[("a.vmsn", &groups(8192)), ("packed.vmsn", &groups(9000))]);
    let image = folder.open("a.vmsn").expect("an image");
    assert_eq!(runs(&image), [(0, 4096), (4 << 30, 4096)]);
    assert_eq!((byte(&image, 4095), byte(&image, (4 << 30) + 4095)), (Ok(2), Ok(1)));
    assert!(folder.open("packed.vmsn").is_err_and(|why| why.contains("compressed (8192 bytes of 9000)")));
}

#[test]
fn without_regions_an_address_is_an_offset() {
    let arm = snapshot(&[("Checkpoint", all(&[("Platform", &[], number(3))]))]);
    let none = snapshot(&[("memory", all(&[("regionsCount", &[], number(0))]))]);
    let pages = pages();
    let folder = Folder::with(&[
        ("arm.vmem", &pages),
        ("arm.vmss", &arm),
        ("none.vmem", &pages),
        ("none.vmss", &none),
        ("alone.vmem", &pages),
        ("bad.vmem", &pages),
        ("bad.vmss", b"\xd2\xbe\xd2\xbe"),
    ]);
    for (name, start, warnings) in
        [("arm.vmem", 2 << 30, 0), ("none.vmem", 0, 0), ("alone.vmem", 0, 0), ("bad.vmem", 0, 1)]
    {
        let image = folder.open(name).expect("an image");
        assert_eq!((runs(&image), image.warnings.len()), (vec![(start, 8192)], warnings), "{name}");
    }
    // More than 3 GiB, most of it a hole of the file.
    let large = std::fs::File::create(folder.0.path().join("large.vmem")).expect("created");
    large.set_len((3 << 30) + 4096).expect("a sparse file");
    let image = folder.open("large.vmem").expect("an image");
    assert!(image.warnings.iter().any(|warning| warning.contains("more than 3 GiB")), "{:?}", image.warnings);
}

#[test]
fn a_snapshot_file_without_its_memory_says_what_is_missing() {
    let folder = Folder::with(&[("a.vmss", &snapshot(&[("memory", regions())]))]);
    assert!(folder.open("a.vmss").is_err_and(|why| why.contains(".vmem of the same name must be beside it")));
}

#[test]
fn no_changed_or_missing_byte_leads_outside_the_file() {
    let mut memory = regions();
    memory.truncate(memory.len() - 2);
    let tag = memory_tag(12 + 160 + memory.len() as u64, &pages(), 8192);
    let whole = snapshot(&[("memory", [memory, tag, vec![0, 0]].concat()), ("cpu", regions())]);
    let headers = whole.len() - 8192;
    let base = |bytes: &[u8]| -> Arc<dyn PhysicalMemory> {
        Arc::new(super::super::testing::TestMemory::new(vec![(0, bytes.to_vec())]).mapped())
    };
    let mut random = Random(0x1234_5678_9abc_def1);
    for round in 0..3000 {
        let mut bytes = whole.clone();
        if round % 3 == 0 {
            bytes.truncate(4 + random.below(headers as u64) as usize);
        }
        for _ in 0..=random.below(3) {
            let at = 4 + random.below(bytes.len().min(headers) as u64 - 3) as usize;
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.below(256) as u8;
            }
        }
        let base = base(&bytes);
        if let Vote::Yes(layer) = probe(&Probe::new(&base, None, true)) {
            for run in layer.memory.runs() {
                let end = run.file_offset.expect("an offset") + run.bytes;
                assert!(end <= bytes.len() as u64);
            }
        }
    }
}
