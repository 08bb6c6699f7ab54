use super::super::run_layer::end_of;
use super::super::testing::{Random, TestMemory};
use super::*;
use crate::error::FaultReason;

const VOLUME: &str = "aff4://0123";

/// A zip file of stored members, with the volume's name as its comment.
fn archive(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut directory = Vec::new();
    for (name, data) in members {
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for _ in 0..2 {
            common.extend((data.len() as u32).to_le_bytes());
        }
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend((file.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        file.extend(b"PK\x03\x04");
        file.extend(common);
        file.extend(name.as_bytes());
        file.extend(data);
    }
    let start = file.len() as u32;
    let bytes = directory.len() as u32;
    file.extend(directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    for _ in 0..2 {
        file.extend((members.len() as u16).to_le_bytes());
    }
    file.extend(bytes.to_le_bytes());
    file.extend(start.to_le_bytes());
    file.extend((VOLUME.len() as u16).to_le_bytes());
    file.extend(VOLUME.as_bytes());
    file
}

/// A zip file that is no volume.
pub(in crate::image) fn plain_zip() -> Vec<u8> {
    let mut file = archive(&[("mem.raw", vec![7; 100])]);
    file.truncate(file.len() - VOLUME.len() - 2);
    file.extend([0, 0]);
    file
}

fn map(entries: &[(u64, u64, u64, u32)]) -> Vec<u8> {
    let entry = |&(start, bytes, offset, target): &(u64, u64, u64, u32)| {
        let mut entry: Vec<u8> = [start, bytes, offset].iter().flat_map(|number| number.to_le_bytes()).collect();
        entry.extend(target.to_le_bytes());
        entry
    };
    entries.iter().flat_map(entry).collect()
}

fn base(bytes: &[u8]) -> Arc<dyn PhysicalMemory> {
    Arc::new(TestMemory::new(vec![(0, bytes.to_vec())]).mapped())
}

fn opened(bytes: &[u8]) -> Result<Layer, String> {
    match probe(&Probe::new(&base(bytes), None, true)) {
        Vote::Yes(layer) => Ok(layer),
        Vote::No(why) | Vote::Broken(why) => Err(why),
    }
}

fn read(layer: &Layer, at: u64, bytes: usize) -> Result<Vec<u8>, FaultReason> {
    let mut buffer = vec![0xee; bytes];
    layer.memory.read(Pa(at), &mut buffer).map(|()| buffer).map_err(|fault| fault.reason)
}

/// What pmem writes: old names, a map onto stored memory, symbols, and a stream with an index of starts; notes in YAML.
fn pmem() -> Vec<u8> {
    let turtle = "@prefix aff4: <http://aff4.org/Schema#> .
        <aff4://0123/PhysicalMemory> a aff4:map ; aff4:category <http://aff4.org/Schema#memory/physical> .
        <aff4://0123/s> a aff4:image ; aff4:chunk_size 8 ; aff4:chunks_per_segment 2 ; aff4:size \"20\"^^<x> ;
            aff4:compression <https://github.com/google/snappy> .";
    let packed = |bytes: &[u8]| snap::raw::Encoder::new().compress_vec(bytes).expect("packed");
    let first = packed(&[7; 8]);
    let starts = [0_u32.to_le_bytes(), (first.len() as u32).to_le_bytes()].concat();
    let mut bevy = first;
    bevy.extend(b"12345678");
    let last = packed(b"last");
    let ends = (last.len() as u32).to_le_bytes().to_vec();
    let idx = "aff4://0123/raw\nhttp://aff4.org/Schema#Zero\nhttp://aff4.org/Schema#UnreadableData\n\
               http://aff4.org/Schema#SymbolicStreamAB\naff4://0123/s\naff4://elsewhere/s\n";
    let entries = [
        (0x9000, 0x10, 0, 4),
        (0x1000, 0x10, 2, 0),
        (0x1010, 0x10, 0, 1),
        (0x1020, 0x10, 0, 2),
        (0x1030, 0x10, 0, 3),
        (0x9010, 0x10, 0x10, 4),
        (0xa000, 0x10, 0, 5),
        (0x103c, 0x08, 0, 1),
    ];
    archive(&[
        ("PhysicalMemory/map", map(&entries)),
        ("PhysicalMemory/idx", idx.into()),
        (
            "PhysicalMemory/information.yaml",
            b"Imager: winpmem\nRegisters:\n  CR3: 1748992\nKernBase: 0xfffff80002a00000\n".to_vec(),
        ),
        ("raw", b"xxthe raw memory of it".to_vec()),
        ("s/00000000", bevy),
        ("s/00000000/index", starts),
        ("s/00000001", last),
        ("aff4%3A%2F%2F0123/s/00000001/index", ends),
        ("information.turtle", turtle.into()),
    ])
}

#[test]
fn a_map_leads_to_memory_as_it_is_to_chunks_and_to_what_is_all_the_same() {
    let layer = opened(&pmem()).expect("an image");
    let runs: Vec<_> = layer.memory.runs().iter().map(|run| (run.start.0, run.bytes)).collect();
    assert_eq!(runs, [(0x1000, 0x20), (0x1030, 0x14), (0x9000, 0x14)]);
    assert_eq!(read(&layer, 0x1000, 0x10), Ok(b"the raw memory o".to_vec()));
    assert_eq!(layer.memory.slice(Pa(0x1004), 3), Some(&b"raw"[..]));
    assert_eq!(read(&layer, 0x1010, 0x10), Ok(vec![0; 16]));
    assert_eq!(read(&layer, 0x1020, 1), Err(FaultReason::Unreadable(Pa(0x1020))));
    // The later one begins inside the one before it, which counts.
    assert_eq!(read(&layer, 0x1030, 0x14), Ok([[0xab; 16].as_slice(), &[0; 4]].concat()));
    assert_eq!(read(&layer, 0x9000, 0x14), Ok(b"\x07\x07\x07\x07\x07\x07\x07\x0712345678last".to_vec()));
    assert_eq!(read(&layer, 0x9014, 1), Err(FaultReason::Truncated(Pa(0x9014))));
    assert_eq!(read(&layer, 0xa000, 1), Err(FaultReason::Truncated(Pa(0xa000))));
    assert_eq!(layer.hints.dtbs, [Pa(0x1a_b000)]);
    assert_eq!(layer.hints.kernel_base, Some(crate::addr::Va(0xffff_f800_02a0_0000)));
    assert_eq!(layer.warnings.len(), 3, "{:?}", layer.warnings);
}

#[test]
fn what_is_no_memory_and_what_is_cut_off_say_so() {
    let disk = "<aff4://0123/d> a <http://aff4.org/Schema#Map> ; <http://aff4.org/Schema#category> <x#disk> .";
    let turtle = |text: &str| archive(&[("container.description", VOLUME.into()), ("information.turtle", text.into())]);
    assert!(opened(&turtle(disk)).is_err_and(|why| why.contains("it holds no memory: aff4://0123/d is x#disk")));
    assert!(opened(&turtle("<")).is_err_and(|why| why.contains("an IRI without its end")));
    assert!(opened(&turtle("")).is_err_and(|why| why.contains("describes no image")));
    let whole = turtle(disk);
    assert!(opened(&whole[..whole.len() - 4]).is_err_and(|why| why.contains("the file is cut off")));
    // pyaff4 puts the pieces of the memory first.
    let pieces = archive(&[("PhysicalMemory/00000000.index", vec![0; 64]), ("container.description", VOLUME.into())]);
    assert!(opened(&pieces[..pieces.len() - 4]).is_err_and(|why| why.contains("the file is cut off")));
    assert!(opened(&archive(&[("information.turtle", vec![])])).is_err_and(|why| why.contains("describes no image")));
}

#[test]
fn changed_bytes_lead_nowhere() {
    let whole = pmem();
    let mut random = Random(0x4242_1234_9abc_def1);
    for _ in 0..3000 {
        let mut bytes = whole.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = random.below(256) as u8;
        }
        let Ok(layer) = opened(&bytes) else { continue };
        let mut end = 0;
        for run in layer.memory.runs() {
            assert!(run.start.0 >= end && run.bytes > 0);
            end = run.start.0 + run.bytes;
            let _fault = read(&layer, run.start.0, run.bytes.min(0x1000) as usize).is_err();
        }
        assert!(end <= END_OF_PHYSICAL && end == end_of(layer.memory.as_ref()));
    }
}
