//! AVML version 2: LiME's headers, each range compressed as a stream of snappy frames; ranges of LiME may be between.
//!
//! Source: AVML's own description and files of `avml convert` 0.21; the framing format of snappy (`framing_format.txt`).
//! A range ends when all its bytes have come out; behind it is a u64, the length of the stream. Blocks of zeros, which
//! AVML does not write, cannot be told from addresses without memory.

use super::backing::{Part, Spans, lack};
use super::codec_layer::{Codec, CodecLayer, Place};
use super::lime::{AVML_MAGIC, HEADER_BYTES, Header, MAGIC, header};
use super::run_layer::{END_OF_PHYSICAL, Layout, MAX_RUNS, Piece, end_of, first_wins};
use super::vote::{Layer, Probe, Vote};
use super::{GapKind, Hints, PhysicalMemory, array};
use crate::addr::Pa;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

/// What a stream of frames starts with. A decoder wants it before each frame that it is given alone.
const STREAM_IDENTIFIER: &[u8; 10] = b"\xff\x06\0\0sNaPpY";
/// Type and length of a frame's body.
const FRAME_HEADER_BYTES: u64 = 4;
/// The body's masked CRC-32C.
const CRC_BYTES: u64 = 4;
const COMPRESSED: u8 = 0x00;
const UNCOMPRESSED: u8 = 0x01;
/// The most that a frame may decode to, in bytes.
const MAX_DECODED: u64 = 0x1_0000;
/// The most that a frame's body may have: what snappy can grow `MAX_DECODED` to, and the CRC.
const MAX_BODY: u64 = 76_490 + CRC_BYTES;

/// A frame with memory.
struct Frame {
    /// Its offset in the file.
    at: u64,
    /// Where its bytes begin inside the range.
    inside: u64,
}

/// A range of which the file has all.
struct Held {
    start: u64,
    bytes: u64,
    data: Data,
}

enum Data {
    Below(u64),
    Frames(Range<usize>),
}

struct Avml {
    frames: Vec<Frame>,
    ranges: Vec<Held>,
    /// Sorted, disjoint: which range holds an address.
    pieces: Vec<Piece>,
}

/// Answers whether `base` is an AVML file.
pub(super) fn probe(&Probe { base, .. }: &Probe<'_>) -> Vote {
    let magic = array::<4>(base.as_ref(), 0).filter(|magic| matches!(*magic, MAGIC | AVML_MAGIC));
    let Some(magic) = magic else { return Vote::no("no AVML or LiME magic at the start") };
    let mut warnings = Vec::new();
    let Walked { held, missing, frames, ended, .. } = match walk(base.as_ref(), &mut warnings) {
        Ok(found) if found.has_frames => found,
        Ok(_) => return Vote::no("none of its ranges is compressed"),
        Err(why) if magic == AVML_MAGIC => return Vote::Broken(why),
        Err(why) => return Vote::No(why),
    };
    let borders: Vec<(u64, u64)> = held.iter().map(|range| (range.start, range.bytes)).collect();
    let (pieces, losers) = first_wins(&borders);
    if !losers.is_empty() {
        let overlapping = losers.len();
        warnings.push(format!("{overlapping} range(s) overlap another one: where they do, the first one counts"));
    }
    let mut layout = Layout::default();
    for piece in &pieces {
        layout.run(piece.start, piece.bytes, None);
    }
    layout.missing(&missing);
    warnings.extend(layout.truncated(ended));
    warnings.extend(layout.lacking(&base.describe()));
    if layout.runs.is_empty() {
        return Vote::Broken(format!("it holds no memory ({})", warnings.join("; ")));
    }
    let codec = Avml { frames, ranges: held, pieces };
    let memory = Arc::new(CodecLayer::new(Arc::clone(base), codec, layout.runs, layout.gaps));
    Vote::Yes(Layer { memory, warnings, hints: Hints::default() })
}

/// What a file was found to have.
#[derive(Default)]
struct Walked {
    /// In the order of the file; a range is in several where the file has holes in it.
    held: Vec<Held>,
    /// What the file lacks of its ranges: start, length, why.
    missing: Vec<(u64, u64, GapKind)>,
    /// Of all ranges.
    frames: Vec<Frame>,
    has_frames: bool,
    /// Why there is no more.
    ended: Option<String>,
}

/// Goes over the whole file. An error is one of the first header.
fn walk(base: &dyn PhysicalMemory, warnings: &mut Vec<String>) -> Result<Walked, String> {
    let end = end_of(base);
    let mut walked = Walked::default();
    let spans = Spans::of(base);
    let (mut ranges, mut far) = (0, 0);
    let mut offset = 0;
    while offset < end {
        let (start, bytes, compressed) = match header(base, offset) {
            Header::Wrong(why) if ranges == 0 => return Err(why),
            Header::Wrong(why) => {
                walked.ended = Some(why);
                break;
            }
            Header::Range { .. } if ranges == MAX_RUNS => {
                warnings.push(format!("more than {MAX_RUNS} ranges: those from offset {offset:#x} on are left out"));
                break;
            }
            Header::Range { start, bytes, compressed } => (start, bytes, compressed),
        };
        ranges += 1;
        let is_far = start.checked_add(bytes).is_none_or(|end| end > END_OF_PHYSICAL);
        far += usize::from(is_far);
        let before = (walked.held.len(), walked.missing.len());
        let data = offset + HEADER_BYTES;
        if !compressed {
            for Part { inside, bytes, missing } in spans.parts(data, bytes).take_while(|_| !is_far) {
                let start = start + inside;
                match missing {
                    Some(why) => walked.missing.push((start, bytes, why)),
                    None => walked.held.push(Held { start, bytes, data: Data::Below(data + inside) }),
                }
            }
            match data.checked_add(bytes) {
                Some(next) => offset = next,
                None => break,
            }
            continue;
        }
        walked.has_frames = true;
        let (next, broken) = walked.take_frames(base, data, start, bytes);
        if is_far {
            walked.held.truncate(before.0);
            walked.missing.truncate(before.1);
        }
        if broken.is_some() {
            walked.ended = broken;
            break;
        }
        match array::<8>(base, next).map(u64::from_le_bytes) {
            Some(length) if length == next - data => {}
            Some(length) => warnings.push(format!(
                "the range at offset {offset:#x} says that it has {length} compressed bytes; it has {}",
                next - data
            )),
            None => warnings.push(format!("the length of the range at offset {offset:#x} is cut off the file's end")),
        }
        offset = next + 8;
    }
    if far > 0 {
        warnings.push(format!("{far} range(s) left out: they reach behind the physical address 2^52"));
    }
    Ok(walked)
}

impl Walked {
    /// Goes over the frames from `offset` on until the `bytes` bytes from the address `start` on would have come out, decoding
    /// none: gives the offset behind, and why there are no more.
    fn take_frames(
        &mut self,
        base: &dyn PhysicalMemory,
        mut offset: u64,
        start: u64,
        bytes: u64,
    ) -> (u64, Option<String>) {
        let end = end_of(base);
        let mut inside = 0;
        // Where what is held in one piece begins.
        let (mut piece, mut first) = (0, self.frames.len());
        let broken = loop {
            if inside >= bytes {
                break None;
            }
            let Some([kind, length @ ..]) = array::<4>(base, offset) else {
                break Some(format!("the file ends in the range, before offset {offset:#x}"));
            };
            let [low, middle, high] = length;
            let body = u64::from(u32::from_le_bytes([low, middle, high, 0]));
            let next = offset + FRAME_HEADER_BYTES + body;
            if next > end {
                break Some(format!("the file ends in the frame at offset {offset:#x}"));
            }
            let decoded = match kind {
                COMPRESSED => array::<3>(base, offset + FRAME_HEADER_BYTES + CRC_BYTES).map_or(0, decoded_length),
                UNCOMPRESSED => body.saturating_sub(CRC_BYTES),
                // Skippable: padding, another stream identifier.
                0x80..=0xff => {
                    offset = next;
                    continue;
                }
                _ => break Some(format!("the frame at offset {offset:#x} is of unknown type {kind:#x}")),
            };
            if decoded == 0 || decoded > MAX_DECODED || body > MAX_BODY {
                break Some(format!(
                    "the frame at offset {offset:#x} would be decoded to {decoded} bytes, from {body}"
                ));
            }
            let behind = inside + decoded;
            if let Some(why) = lack(base, offset, FRAME_HEADER_BYTES + body) {
                self.hold(start, piece..inside, first);
                self.missing.push((start.saturating_add(inside), decoded.min(bytes - inside), why));
                (piece, first) = (behind, self.frames.len());
            } else {
                self.frames.push(Frame { at: offset, inside: inside - piece });
            }
            inside = behind;
            offset = next;
        };
        self.hold(start, piece..inside.min(bytes), first);
        if broken.is_some() {
            let why = lack(base, offset, FRAME_HEADER_BYTES).unwrap_or(GapKind::Truncated);
            self.missing.push((start.saturating_add(inside), bytes - inside, why));
        }
        let too_many =
            || format!("the frame before offset {offset:#x} has {} bytes more than its range", inside - bytes);
        (offset, broken.or_else(|| (inside > bytes).then(too_many)))
    }

    /// Adds a piece of the range at `start`, of the frames from number `first` on.
    fn hold(&mut self, start: u64, piece: Range<u64>, first: usize) {
        if !piece.is_empty() {
            let (start, bytes) = (start.saturating_add(piece.start), piece.end - piece.start);
            self.held.push(Held { start, bytes, data: Data::Frames(first..self.frames.len()) });
        }
    }
}

/// The length that a block of snappy starts with: seven bits a byte, the lowest first. More than three bytes of it are
/// more than a frame may have.
fn decoded_length([low, middle, high]: [u8; 3]) -> u64 {
    let bits = |byte: u8| u64::from(byte & 0x7f);
    match (low < 0x80, middle < 0x80, high < 0x80) {
        (true, ..) => bits(low),
        (_, true, _) => bits(low) | bits(middle) << 7,
        (_, _, true) => bits(low) | bits(middle) << 7 | bits(high) << 14,
        _ => u64::MAX,
    }
}

impl Codec for Avml {
    fn name(&self) -> &'static str {
        "AVML"
    }

    fn locate(&self, at: Pa) -> Place {
        let nowhere = Place::Fill { byte: 0, bytes: 1 };
        let after = self.pieces.partition_point(|piece| piece.start <= at.0);
        let Some(piece) = after.checked_sub(1).and_then(|index| self.pieces.get(index)) else { return nowhere };
        let Some(range) = self.ranges.get(piece.range) else { return nowhere };
        let in_piece = at.0 - piece.start;
        let (inside, left) = (piece.inside + in_piece, piece.bytes.saturating_sub(in_piece));
        match &range.data {
            Data::Below(offset) => Place::Below { offset: offset + inside, bytes: left },
            Data::Frames(range_frames) => {
                let frames = self.frames.get(range_frames.clone()).unwrap_or_default();
                let after = frames.partition_point(|frame| frame.inside <= inside);
                let Some(frame) = after.checked_sub(1).and_then(|index| frames.get(index)) else { return nowhere };
                let end = frames.get(after).map_or(range.bytes, |next| next.inside);
                Place::Chunk {
                    chunk: (range_frames.start + after - 1) as u64,
                    // A frame has no more than 64 KiB.
                    offset: (inside - frame.inside) as usize,
                    bytes: end.saturating_sub(inside).min(left),
                }
            }
        }
    }

    fn decode(&self, base: &dyn PhysicalMemory, chunk: u64, into: &mut Vec<u8>) -> Result<(), String> {
        let frame =
            usize::try_from(chunk).ok().and_then(|index| self.frames.get(index)).ok_or("there is no such frame")?;
        let at = frame.at;
        let [_, low, middle, high] = array::<4>(base, at).ok_or("the frame cannot be read")?;
        let body = u64::from(u32::from_le_bytes([low, middle, high, 0])).min(MAX_BODY);
        let mut bytes = vec![0; (FRAME_HEADER_BYTES + body) as usize];
        base.read(Pa(at), &mut bytes).map_err(|fault| format!("the frame at offset {at:#x}: {fault}"))?;
        // It checks the CRC, and gives no more than a frame may have.
        snap::read::FrameDecoder::new(STREAM_IDENTIFIER.chain(&bytes[..]))
            .read_to_end(into)
            .map_err(|why| format!("the frame at offset {at:#x}: {why}"))?;
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use crate::addr::Pa;
    use crate::error::FaultReason;
    use crate::image::testing::Random;
    use crate::image::tests::{lime, vote};
    use std::io::Write;

    /// A range as AVML writes it, the frames by snappy's own encoder.
    pub(in crate::image) fn avml(start: u64, data: &[u8]) -> Vec<u8> {
        let mut frames = snap::write::FrameEncoder::new(Vec::new());
        frames.write_all(data).expect("encoded");
        let stream = frames.into_inner().expect("flushed");
        let mut file = b"AVML\x02\0\0\0".to_vec();
        file.extend(start.to_le_bytes());
        file.extend((start + data.len() as u64 - 1).to_le_bytes());
        file.extend([0; 8]);
        file.extend(&stream);
        file.extend((stream.len() as u64).to_le_bytes());
        file
    }

    /// Half noise, which snappy stores as it is, half text.
    pub(in crate::image) fn content(bytes: usize) -> Vec<u8> {
        let mut random = Random(7);
        (0..bytes)
            .map(|at| if at % 0x2_0000 < 0x1_0000 { random.below(256) as u8 } else { b"kernel"[at % 6] })
            .collect()
    }

    #[test]
    fn ranges_of_avml_and_of_lime_in_one_file_are_read() {
        let data = content(0x5_0123);
        let (first, rest) = data.split_at(0x3_0001);
        let file = [avml(0x1000, first), lime(&[(0x10_0000, 0x10_0003, b"lime")]), avml(0x20_0000, rest)].concat();
        let image = vote(&file).expect("an image");
        assert_eq!((image.memory.describe(), &image.warnings[..]), ("AVML".into(), &[][..]));
        let runs: Vec<_> = image.memory.runs().iter().map(|run| (run.start.0, run.bytes)).collect();
        assert_eq!(runs, [(0x1000, 0x3_0001), (0x10_0000, 4), (0x20_0000, 0x2_0122)]);
        for (start, expected) in [(0x1000, first), (0x10_0000, b"lime"), (0x20_0000, rest)] {
            let mut all = vec![0; expected.len()];
            assert_eq!(image.memory.read(Pa(start), &mut all), Ok(()));
            assert!(all == expected);
            for from in (0..expected.len()).step_by(0x0fff) {
                let mut some = vec![0; 0x1_1111.min(expected.len() - from)];
                assert_eq!(image.memory.read(Pa(start + from as u64), &mut some), Ok(()));
                assert!(some == expected[from..from + some.len()], "{from:#x}");
            }
        }
        assert_eq!(image.memory.slice(Pa(0x10_0001), 2), Some(&b"im"[..]));
    }

    #[test]
    fn a_changed_byte_of_a_frame_is_told_and_costs_that_frame_alone() {
        let data = content(0x4_0000);
        let mut file = avml(0x1000, &data);
        // Inside the body of the first frame: identifier 10, frame header 4, CRC 4.
        file[32 + 10 + 8 + 0x800] ^= 1;
        let image = vote(&file).expect("an image");
        let mut page = [0xaa; 0x1000];
        let fault = image.memory.read(Pa(0x1000), &mut page).expect_err("its CRC");
        assert!(matches!(&fault.reason, FaultReason::Corrupt { at: Pa(0x1000), why } if why.contains("offset 0x2a")));
        assert_eq!(page, [0; 0x1000]);
        assert_eq!(image.memory.read(Pa(0x1_1000), &mut page), Ok(()));
        assert!(page == data[0x1_0000..0x1_1000]);
    }

    #[test]
    fn a_truncated_file_gives_the_frames_that_are_there() {
        let data = content(0x4_0000);
        let file = avml(0x1000, &data);
        for cut in [33, 43, 60, 0x1_0000, 0x1_0040, 0x1_0060, file.len() - 9, file.len() - 8, file.len() - 1] {
            let image = match vote(&file[..cut]) {
                Ok(image) => image,
                Err(why) => {
                    assert!(cut < 0x1_0000 + 60 && why.contains(": 262144 bytes of memory"), "{cut:#x}: {why}");
                    continue;
                }
            };
            assert_eq!(image.warnings.len(), 1, "{cut:#x}: {:?}", image.warnings);
            let run = image.memory.runs()[0];
            let mut all = vec![0; run.bytes as usize];
            assert_eq!(image.memory.read(Pa(0x1000), &mut all), Ok(()), "{cut:#x}");
            assert!(all == data[..all.len()]);
            let mut byte = [0];
            let behind = Pa(0x1000 + run.bytes);
            if (run.bytes as usize) < data.len() {
                let fault = image.memory.read(behind, &mut byte).expect_err("cut off");
                assert_eq!(fault.reason, FaultReason::Truncated(behind), "{cut:#x}");
            }
        }
    }

    #[test]
    fn frames_that_lie_about_their_length_stop_the_walk() {
        let data = content(0x4_0000);
        let good = avml(0x1000, &data);
        let second = 32 + 10 + 4 + usize::from(good[43]) + (usize::from(good[44]) << 8) + (usize::from(good[45]) << 16);
        for (at, value, why) in [
            (second, 0x02, "unknown type 0x2"),
            (second + 3, 0xff, "the file ends in the frame"),
            (second + 1, 0x00, "unknown type"),
            // The range ends in the middle of the frame.
            (17, 0x08, "more than its range"),
        ] {
            let mut file = good.clone();
            file[at] = value;
            let warnings = match vote(&file) {
                Ok(image) => image.warnings.join("; "),
                Err(why) => why,
            };
            assert!(warnings.contains(why) || at == second + 1, "{at:#x}: {warnings}");
        }
        let far = avml(0x1000, b"data")
            .into_iter()
            .enumerate()
            .map(|(at, byte)| if at == 15 || at == 23 { 0xff } else { byte });
        assert!(vote(&far.collect::<Vec<u8>>()).is_err_and(|why| why.contains("2^52")));
    }
}
