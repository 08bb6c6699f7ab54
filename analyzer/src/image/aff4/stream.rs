//! The image streams of an AFF4 volume: chunks, many of them in a member ("bevy"), with an index beside each bevy.
//!
//! Source: the AFF4 standard 1.0, pyaff4 and its files, the images of Evimetry that pyaff4 is tested with. An index of the
//! standard (`<stream>/00000000.index`) has {offset u64, length u32} for each chunk; that of pmem and older Evimetry
//! (`<stream>/00000000/index`) has a u32, the offset where the chunk begins, or, when the first is not 0, where it ends.
//! A chunk that is as long as its contents is stored, whatever the stream says.

use super::super::PhysicalMemory;
use super::super::fields::{piece, u32_at, u64_at};
use super::super::inflate;
use super::Volume;
use std::io::Read as _;

/// Writers use 32 KiB; it bounds what one damaged number can make us ask for.
const MAX_CHUNK_BYTES: u64 = 32 << 20;
/// More indexes than this are not kept, in bytes: 340 GiB in chunks of 32 KiB.
pub(super) const MAX_INDEX_BYTES: usize = 128 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    Stored,
    Zlib,
    Deflate,
    Snappy,
    Lz4,
}

impl Compression {
    fn of(iri: &str) -> Result<Self, String> {
        Ok(match iri {
            "" => Self::Stored,
            _ if iri.ends_with("NullCompressor") || iri.ends_with("compression/stored") => Self::Stored,
            _ if iri.contains("rfc1950") || iri.ends_with("compression/zlib") => Self::Zlib,
            _ if iri.contains("rfc1951") || iri.ends_with("compression/deflate") => Self::Deflate,
            _ if iri.contains("snappy") => Self::Snappy,
            _ if iri.contains("lz4") => Self::Lz4,
            _ => return Err(format!("its compression `{iri}` is not known")),
        })
    }
}

/// Where a bevy's data is in the file, and its index.
struct Bevy {
    at: u64,
    bytes: u64,
    index: Index,
}

enum Index {
    Standard(Vec<u8>),
    Starts(Vec<u8>),
    Ends(Vec<u8>),
}

/// A stream of chunks.
pub(super) struct Stream {
    pub(super) urn: String,
    pub(super) chunk_bytes: u64,
    chunks_in_bevy: u64,
    pub(super) bytes: u64,
    compression: Compression,
    bevies: Vec<Result<Bevy, String>>,
}

impl Stream {
    /// The stream that the volume describes under this name; `budget` is how many bytes of indexes may be kept.
    pub(super) fn read(
        base: &dyn PhysicalMemory,
        volume: &Volume,
        urn: &str,
        budget: &mut usize,
    ) -> Result<Self, String> {
        let wrong = |what: String| format!("the stream {urn}: {what}");
        let number = |names: [&str; 2]| {
            let value = names.iter().find_map(|name| volume.value(urn, name));
            let value = value.ok_or_else(|| wrong(format!("it has no {}", names[0])))?;
            value.parse::<u64>().map_err(|_| wrong(format!("its {} is `{value}`", names[0])))
        };
        let chunk_bytes = number(["chunkSize", "chunk_size"])?;
        let chunks_in_bevy = number(["chunksInSegment", "chunks_per_segment"])?;
        let bytes = number(["size", "size"])?;
        if !(1..=MAX_CHUNK_BYTES).contains(&chunk_bytes) || chunks_in_bevy == 0 || bytes > 1 << 52 {
            return Err(wrong(format!(
                "no stream has {bytes} bytes in chunks of {chunk_bytes}, {chunks_in_bevy} in a segment"
            )));
        }
        let method = ["compressionMethod", "compression"].iter().find_map(|name| volume.value(urn, name));
        let compression = Compression::of(method.unwrap_or_default()).map_err(&wrong)?;
        let mut bevies = Vec::new();
        let wanted = bytes.div_ceil(chunk_bytes).div_ceil(chunks_in_bevy);
        for number in 0..wanted {
            let name = format!("{urn}/{number:08}");
            // A volume that is cut off has no directory; what is missing inside is a bevy of a damaged one.
            let Some(member) = volume.member(&name) else {
                bevies.push(Err(format!("the member {name} is not in the volume")));
                if bevies.len() > volume.members() {
                    break;
                }
                continue;
            };
            let standard = volume.member(&format!("{name}.index")).map(|index| index.read(base).map(Index::Standard));
            let index = standard.or_else(|| {
                let index = volume.member(&format!("{name}/index"))?.read(base);
                let starts = |index: &[u8]| u32_at(index, 0) == Some(0);
                Some(index.map(|index| if starts(&index) { Index::Starts(index) } else { Index::Ends(index) }))
            });
            let index = index.unwrap_or_else(|| Err(format!("the index of {name} is not in the volume")));
            bevies.push(index.and_then(|index| {
                let (at, bytes) = member.stored(base)?;
                Ok(Bevy { at, bytes, index })
            }));
            let index_bytes = bevies.last().map_or(0, |bevy| bevy.as_ref().map_or(0, |bevy| bevy.index.bytes()));
            *budget = budget
                .checked_sub(index_bytes)
                .ok_or_else(|| wrong(format!("the indexes of the volume have more than {MAX_INDEX_BYTES} bytes")))?;
        }
        Ok(Self { urn: urn.to_owned(), chunk_bytes, chunks_in_bevy, bytes, compression, bevies })
    }

    /// Decodes a chunk into `into`, which is empty.
    pub(super) fn decode(&self, base: &dyn PhysicalMemory, chunk: u64, into: &mut Vec<u8>) -> Result<(), String> {
        let wrong = |what: &str| format!("chunk {chunk} of {}: {what}", self.urn);
        let bevy = usize::try_from(chunk / self.chunks_in_bevy).ok().and_then(|bevy| self.bevies.get(bevy));
        let bevy = bevy.ok_or_else(|| wrong("there is none"))?.as_ref().map_err(|why| wrong(why))?;
        let place = bevy.index.chunk(chunk % self.chunks_in_bevy, bevy.bytes);
        let place = place.filter(|(at, bytes)| at.checked_add(*bytes).is_some_and(|end| end <= bevy.bytes));
        let (at, bytes) = place.ok_or_else(|| wrong("the index has no place for it in its segment"))?;
        let at = bevy.at + at;
        let wrong = |what: &str| wrong(&format!("the {bytes} bytes at offset {at:#x} {what}"));
        let expected = self.bytes.saturating_sub(chunk * self.chunk_bytes).min(self.chunk_bytes);
        // No codec grows a chunk by more than a sixth and some bytes.
        if bytes > self.chunk_bytes + self.chunk_bytes / 6 + 1024 {
            return Err(wrong("are more than a chunk has"));
        }
        let packed = piece(base, at, bytes).ok_or_else(|| wrong("cannot be read"))?;
        if bytes == self.chunk_bytes || self.compression == Compression::Stored {
            *into = packed;
        } else {
            self.unpack(&packed, into).map_err(|why| wrong(&format!("cannot be unpacked: {why}")))?;
        }
        if (into.len() as u64) < expected || into.len() as u64 > self.chunk_bytes {
            return Err(wrong(&format!("hold {} bytes; {expected} are due", into.len())));
        }
        Ok(())
    }

    fn unpack(&self, packed: &[u8], into: &mut Vec<u8>) -> Result<(), String> {
        match self.compression {
            Compression::Stored => into.extend(packed),
            Compression::Zlib => inflate::zlib(packed, self.chunk_bytes, into)?,
            Compression::Deflate => {
                let limit = self.chunk_bytes + 1;
                let read = flate2::bufread::DeflateDecoder::new(packed).take(limit).read_to_end(into);
                read.map_err(|error| error.to_string())?;
            }
            Compression::Snappy => {
                let bytes = snap::raw::decompress_len(packed).map_err(|error| error.to_string())?;
                if bytes as u64 > self.chunk_bytes {
                    return Err(format!("it declares {bytes} bytes"));
                }
                *into = snap::raw::Decoder::new().decompress_vec(packed).map_err(|error| error.to_string())?;
            }
            Compression::Lz4 => {
                // pyaff4 puts the length of the contents in front, other writers do not.
                let prefixed = packed.get(4..).filter(|_| u32_at(packed, 0).map(u64::from) == Some(self.chunk_bytes));
                let chunk_bytes = self.chunk_bytes as usize;
                let unpacked = match prefixed.map(|block| lz4_flex::block::decompress(block, chunk_bytes)) {
                    Some(Ok(unpacked)) => unpacked,
                    _ => lz4_flex::block::decompress(packed, chunk_bytes).map_err(|error| error.to_string())?,
                };
                *into = unpacked;
            }
        }
        Ok(())
    }
}

impl Index {
    fn bytes(&self) -> usize {
        match self {
            Self::Standard(index) | Self::Starts(index) | Self::Ends(index) => index.len(),
        }
    }

    /// Where a chunk is in its bevy of `bevy_bytes` bytes: (offset, bytes).
    fn chunk(&self, number: u64, bevy_bytes: u64) -> Option<(u64, u64)> {
        let number = usize::try_from(number).ok()?;
        let short = |index: &[u8], number: usize| u32_at(index, number.checked_mul(4)?).map(u64::from);
        match self {
            Self::Standard(index) => {
                let at = number.checked_mul(12)?;
                Some((u64_at(index, at)?, u64::from(u32_at(index, at.checked_add(8)?)?)))
            }
            Self::Starts(index) => {
                let start = short(index, number)?;
                let end = short(index, number.checked_add(1)?).unwrap_or(bevy_bytes);
                Some((start, end.checked_sub(start)?))
            }
            Self::Ends(index) => {
                let start = number.checked_sub(1).map_or(Some(0), |before| short(index, before))?;
                Some((start, short(index, number)?.checked_sub(start)?))
            }
        }
    }
}
