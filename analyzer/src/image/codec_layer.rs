//! A layer whose bytes must be made first: compressed chunks, pages that a format says are all zero, pages scattered over
//! the file. A format says where each address is ([`Codec`]); reading, the cache and the work on several processors are
//! here.

use super::{Gap, PhysicalMemory, Run, missing, run_at};
use crate::addr::Pa;
use crate::error::{FaultReason, PageFault};
use lru::LruCache;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// How many decoded bytes are kept. An image is read here and there through its page tables; a scan goes around the cache.
const CACHE_BYTES: usize = 32 << 20;
/// A read of at least this many bytes is one of a scan: it fills no cache, and several processors share its work.
const SCAN_BYTES: usize = 256 << 10;
/// Chunks that a thread is worth starting for.
const CHUNKS_A_THREAD: usize = 4;

/// Where the bytes from one address on are. `bytes` is how far that goes, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the layer below, as they are.
    Below { offset: u64, bytes: u64 },
    /// Nowhere, because they are all the same.
    Fill { byte: u8, bytes: u64 },
    /// In a chunk that must be decoded, from `offset` of the decoded bytes on.
    Chunk { chunk: u64, offset: usize, bytes: u64 },
}

impl Place {
    fn bytes(self) -> u64 {
        match self {
            Self::Below { bytes, .. } | Self::Fill { bytes, .. } | Self::Chunk { bytes, .. } => bytes,
        }
    }
}

/// A format with chunks.
pub(super) trait Codec: Send + Sync {
    /// The format's name, for messages.
    fn name(&self) -> &'static str;

    /// Where the bytes from `at` on are; asked only for addresses inside the layer's runs.
    fn locate(&self, at: Pa) -> Place;

    /// Decodes the chunk into `into`, which is empty. An error says why it cannot be, with the offset in the layer below.
    /// The decoder bounds what it makes by the size that the format gives a chunk.
    fn decode(&self, base: &dyn PhysicalMemory, chunk: u64, into: &mut Vec<u8>) -> Result<(), String>;
}

/// Runs over chunks of the layer below.
pub(super) struct CodecLayer<C> {
    base: Arc<dyn PhysicalMemory>,
    codec: C,
    runs: Vec<Run>,
    gaps: Vec<Gap>,
    cache: Mutex<Cache>,
}

/// Decoded chunks, the latest used ones.
struct Cache {
    chunks: LruCache<u64, Arc<[u8]>>,
    bytes: usize,
}

/// Bytes of a buffer and where they come from.
struct Piece<'b> {
    at: Pa,
    place: Place,
    buffer: &'b mut [u8],
}

impl<C: Codec> CodecLayer<C> {
    /// `runs` and `gaps` are sorted and disjoint, and inside 2^52.
    pub(super) fn new(base: Arc<dyn PhysicalMemory>, codec: C, runs: Vec<Run>, gaps: Vec<Gap>) -> Self {
        Self { base, codec, runs, gaps, cache: Mutex::new(Cache { chunks: LruCache::unbounded(), bytes: 0 }) }
    }

    /// Cuts `buffer` along the places; gives also the address of the first byte that no run has.
    fn pieces<'b>(&self, at: Pa, mut buffer: &'b mut [u8]) -> (Vec<Piece<'b>>, Option<Pa>) {
        let mut pieces = Vec::new();
        let mut here = at;
        while !buffer.is_empty() {
            let Some(run) = run_at(&self.runs, here) else {
                buffer.fill(0);
                return (pieces, Some(here));
            };
            let place = self.codec.locate(here);
            let bytes = place.bytes().clamp(1, run.bytes - (here.0 - run.start.0));
            let bytes = usize::try_from(bytes).map_or(buffer.len(), |bytes| bytes.min(buffer.len()));
            let (piece, rest) = buffer.split_at_mut(bytes);
            pieces.push(Piece { at: here, place, buffer: piece });
            here = here.wrapping_add(bytes as u64);
            buffer = rest;
        }
        (pieces, None)
    }

    /// Fills the pieces in order up to the first that fails; the pieces behind it are zero.
    fn fill(&self, pieces: &mut [Piece<'_>], keep: bool) -> Result<(), PageFault> {
        let mut last: Option<(u64, Arc<[u8]>)> = None;
        let mut failed = None;
        for Piece { at, place, buffer } in pieces {
            if failed.is_some() {
                buffer.fill(0);
                continue;
            }
            let filled = match *place {
                Place::Fill { byte, .. } => {
                    buffer.fill(byte);
                    Ok(())
                }
                Place::Below { offset, .. } => {
                    self.base.read(Pa(offset), buffer).map_err(|fault| fault.moved(Pa(offset), *at))
                }
                Place::Chunk { chunk, offset, .. } => {
                    let decoded = match &last {
                        Some((known, decoded)) if *known == chunk => Ok(Arc::clone(decoded)),
                        _ => self.chunk(chunk, keep),
                    };
                    decoded
                        .and_then(|decoded| {
                            let bytes = decoded.get(offset..).and_then(|rest| rest.get(..buffer.len()));
                            buffer.copy_from_slice(bytes.ok_or("it is shorter than it should be")?);
                            last = Some((chunk, decoded));
                            Ok(())
                        })
                        .map_err(|why| PageFault::physical(FaultReason::Corrupt { at: *at, why }))
                }
            };
            if let Err(fault) = filled {
                if !matches!(place, Place::Below { .. }) {
                    buffer.fill(0);
                }
                failed = Some(fault);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The decoded bytes of a chunk, from the cache if they are there.
    fn chunk(&self, chunk: u64, keep: bool) -> Result<Arc<[u8]>, String> {
        if let Some(known) = self.cache().chunks.get(&chunk) {
            return Ok(Arc::clone(known));
        }
        let mut decoded = Vec::new();
        self.codec.decode(self.base.as_ref(), chunk, &mut decoded)?;
        let decoded: Arc<[u8]> = decoded.into();
        if keep {
            self.cache().put(chunk, &decoded);
        }
        Ok(decoded)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // Every state that a panic could leave is a valid cache.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    fn put(&mut self, chunk: u64, decoded: &Arc<[u8]>) {
        self.bytes += decoded.len();
        if let Some(before) = self.chunks.put(chunk, Arc::clone(decoded)) {
            self.bytes -= before.len();
        }
        while self.bytes > CACHE_BYTES
            && let Some((_, oldest)) = self.chunks.pop_lru()
        {
            self.bytes -= oldest.len();
        }
    }
}

/// Cuts the pieces into parts of about equal numbers of chunks; pieces of one chunk stay together.
fn parts<'p, 'b>(mut pieces: &'p mut [Piece<'b>], threads: usize) -> Vec<&'p mut [Piece<'b>]> {
    let size = pieces.len().div_ceil(threads).max(CHUNKS_A_THREAD);
    let mut parts = Vec::with_capacity(threads);
    while pieces.len() > size {
        let chunk_at = |index: usize| match pieces.get(index).map(|piece| piece.place) {
            Some(Place::Chunk { chunk, .. }) => Some(chunk),
            _ => None,
        };
        let mut cut = size;
        while cut < pieces.len() && chunk_at(cut).is_some() && chunk_at(cut) == chunk_at(cut - 1) {
            cut += 1;
        }
        let (part, rest) = pieces.split_at_mut(cut);
        parts.push(part);
        pieces = rest;
    }
    parts.push(pieces);
    parts
}

impl<C: Codec> PhysicalMemory for CodecLayer<C> {
    fn read(&self, at: Pa, buffer: &mut [u8]) -> Result<(), PageFault> {
        let scan = buffer.len() >= SCAN_BYTES;
        let (mut pieces, gone) = self.pieces(at, buffer);
        let threads = if scan { thread::available_parallelism().map_or(1, usize::from) } else { 1 };
        let mut parts = parts(&mut pieces, threads);
        let filled: Vec<Result<(), PageFault>> = if parts.len() == 1 {
            parts.iter_mut().map(|part| self.fill(part, !scan)).collect()
        } else {
            thread::scope(|scope| {
                let workers: Vec<_> =
                    parts.iter_mut().map(|part| scope.spawn(move || self.fill(part, false))).collect();
                workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
            })
        };
        if let Some((failed, fault)) = filled.into_iter().enumerate().find_map(|(at, part)| Some((at, part.err()?))) {
            for piece in parts.into_iter().skip(failed + 1).flatten() {
                piece.buffer.fill(0);
            }
            return Err(fault);
        }
        gone.map_or(Ok(()), |at| Err(missing(&self.gaps, at)))
    }

    fn runs(&self) -> &[Run] {
        &self.runs
    }

    fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    fn slice(&self, at: Pa, bytes: usize) -> Option<&[u8]> {
        run_at(&self.runs, at).filter(|run| run.bytes - (at.0 - run.start.0) >= bytes as u64)?;
        match self.codec.locate(at) {
            Place::Below { offset, bytes: direct } if direct >= bytes as u64 => self.base.slice(Pa(offset), bytes),
            _ => None,
        }
    }

    fn release(&self, at: Pa, bytes: usize) {
        let mut here = at;
        let end = at.0.saturating_add(bytes as u64);
        while here.0 < end && run_at(&self.runs, here).is_some() {
            let place = self.codec.locate(here);
            if let Place::Below { offset, bytes } = place {
                let bytes = bytes.min(end - here.0);
                self.base.release(Pa(offset), usize::try_from(bytes).unwrap_or(usize::MAX));
            }
            here = here.wrapping_add(place.bytes().max(1));
        }
    }

    fn describe(&self) -> String {
        self.codec.name().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::GapKind;
    use crate::image::testing::TestMemory;

    const CHUNK: u64 = 0x1000;

    /// Memory from 0x1000 to 0x201000, chunk after chunk: every third is below as it is, every third is filled, and the
    /// decoded ones hold their number; one of these is broken.
    struct Toy {
        broken: Option<u64>,
    }

    impl Codec for Toy {
        fn name(&self) -> &'static str {
            "toy"
        }

        fn locate(&self, at: Pa) -> Place {
            let (chunk, inside) = (at.0 / CHUNK, at.0 % CHUNK);
            let bytes = CHUNK - inside;
            match chunk % 3 {
                0 => Place::Below { offset: 0x10 + inside, bytes },
                1 => Place::Fill { byte: 0xee, bytes },
                _ => Place::Chunk { chunk, offset: inside as usize, bytes },
            }
        }

        fn decode(&self, _: &dyn PhysicalMemory, chunk: u64, into: &mut Vec<u8>) -> Result<(), String> {
            if self.broken == Some(chunk) {
                return Err("broken on purpose".into());
            }
            into.extend(std::iter::repeat_n(chunk as u8, CHUNK as usize));
            Ok(())
        }
    }

    fn layer(broken: Option<u64>) -> CodecLayer<Toy> {
        let below: Vec<u8> = (0..0x1010_u32).map(|at| at as u8).collect();
        let base = TestMemory::new(vec![(0, below)]).mapped();
        let runs = vec![Run { start: Pa(CHUNK), bytes: 0x20_0000, file_offset: None }];
        let gaps = vec![Gap { start: Pa(0x20_1000), bytes: CHUNK, why: GapKind::NotDumped }];
        CodecLayer::new(Arc::new(base), Toy { broken }, runs, gaps)
    }

    fn byte(at: u64) -> u8 {
        match (at / CHUNK) % 3 {
            0 => (0x10 + at % CHUNK) as u8,
            1 => 0xee,
            _ => (at / CHUNK) as u8,
        }
    }

    #[test]
    fn every_kind_of_place_is_read_alike_in_small_and_large_reads() {
        let layer = layer(None);
        let mut all = vec![0; 0x20_0000];
        layer.read(Pa(CHUNK), &mut all).expect("one run");
        assert_eq!((CHUNK..CHUNK + 0x20_0000).find(|&at| all[(at - CHUNK) as usize] != byte(at)), None);
        for at in (CHUNK..0x1_0000).step_by(0x333) {
            let mut some = vec![0; 0x1234];
            layer.read(Pa(at), &mut some).expect("inside the run");
            assert_eq!(some, all[(at - CHUNK) as usize..][..0x1234], "{at:#x}");
        }
    }

    #[test]
    fn a_broken_chunk_costs_what_lies_behind_it_and_is_named() {
        for (broken, bytes) in [(5, 0x4000), (5, 0x20_0000), (302, 0x20_0000)] {
            let layer = layer(Some(broken));
            let mut buffer = vec![0xaa; bytes];
            let fault = layer.read(Pa(0x3000), &mut buffer).expect_err("a broken chunk");
            let at = Pa(broken * CHUNK);
            assert_eq!(fault.reason, FaultReason::Corrupt { at, why: "broken on purpose".into() });
            let good = fault.good_bytes_from(Pa(0x3000));
            assert_eq!(good as u64, at.0 - 0x3000);
            assert_eq!(buffer.iter().zip(0x3000..).take(good).find(|&(&b, at)| b != byte(at)), None);
            assert!(buffer[good..].iter().all(|&b| b == 0));
        }
    }

    #[test]
    fn what_no_run_has_is_told_by_its_gap() {
        let layer = layer(None);
        let mut buffer = [0xaa; 0x20];
        let fault = layer.read(Pa(0x20_0ff0), &mut buffer).expect_err("the end");
        assert_eq!(fault.reason, FaultReason::NotDumped(Pa(0x20_1000)));
        assert_eq!(buffer[16..], [0; 16]);
        let fault = layer.read(Pa(0x20_2000), &mut buffer).expect_err("a hole");
        assert_eq!(fault.reason, FaultReason::NotInImage(Pa(0x20_2000)));
    }

    #[test]
    fn only_bytes_that_lie_below_are_given_without_a_copy() {
        let layer = layer(None);
        assert_eq!(layer.slice(Pa(0x3004), 4), Some(&[0x14, 0x15, 0x16, 0x17][..]));
        assert_eq!(layer.slice(Pa(0x3ffe), 4), None);
        assert_eq!(layer.slice(Pa(0x4000), 4), None);
        assert_eq!(layer.slice(Pa(0x5000), 4), None);
    }

    #[test]
    fn the_cache_stays_within_its_bound() {
        let layer = layer(None);
        let mut cache = layer.cache();
        let chunk: Arc<[u8]> = vec![0; 1 << 20].into();
        for number in 0..100 {
            cache.put(number, &chunk);
            cache.put(number, &chunk);
        }
        assert_eq!((cache.bytes, cache.chunks.len()), (CACHE_BYTES, CACHE_BYTES >> 20));
        assert!(cache.chunks.contains(&99));
    }
}
