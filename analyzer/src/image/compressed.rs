//! Images compressed as a whole: gzip, xz, zstd, and the zlib stream that LiME writes with `compress=1`.
//!
//! These formats have no random access that memory analysis could use: a page table leads all over the image, and even
//! the blocks that `xz -T` and seekable zstd write have megabytes, to be decoded for each page. So the image is unpacked
//! once, while it is opened, into a nameless temporary file (`TMPDIR`), which goes away with the process; pages of zeros
//! take no room in it. That is told, because to unpack the image oneself saves the time on every run. What was decoded
//! before an error is kept.

use super::mapped_file::MappedFile;
use super::raw::Raw;
use super::run_layer::{Declared, RunLayer, end_of};
use super::vote::{Layer, Probe, Vote};
use super::{Hints, PhysicalMemory, array, lime};
use crate::addr::Pa;
use flate2::bufread::GzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _, SeekFrom, Write as _};
use std::sync::Arc;

/// The name in the voting log and in `Options::format`.
pub(super) const NAME: &str = "compressed";

/// The most that is unpacked: this, or this many times the packed bytes, whichever is more. Deflate cannot reach the
/// ratio; what goes beyond both is made to fill the disk.
const MAX_BYTES: u64 = 16 << 30;
const MAX_RATIO: u64 = 1024;
/// Dictionaries and windows: `xz -9` needs 65 MiB, `zstd -19` 8 MiB, `zstd --long` 128 MiB.
const MAX_WINDOW: u64 = 128 << 20;
/// What is written or left out of the file at once.
const BLOCK_BYTES: usize = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Gzip,
    Xz,
    Zstd,
    Zlib,
}

impl Packing {
    fn of(base: &dyn PhysicalMemory) -> Option<Self> {
        match array::<6>(base, 0)? {
            // Method 8 (deflate), the reserved flags clear.
            [0x1f, 0x8b, 8, flags, ..] if flags & 0xe0 == 0 => Some(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Some(Self::Xz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            // Method 8, a window of 32 KiB. That is too little to be believed: what it begins is looked at.
            [0x78, ..] => {
                let mut magic = [0; 4];
                let start = LayerReader { base, at: 0, end: end_of(base) };
                let read = flate2::read::ZlibDecoder::new(start).read_exact(&mut magic);
                (read.is_ok() && magic == lime::MAGIC).then_some(Self::Zlib)
            }
            _ => None,
        }
    }

    /// The format's name and what unpacks it.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Gzip => ("gzip", "gunzip -k"),
            Self::Xz => ("xz", "xz -dk"),
            Self::Zstd => ("zstd", "zstd -d --long=31"),
            Self::Zlib => ("zlib", "pigz -dzk"),
        }
    }

    /// Decodes all members, streams or frames in a row.
    fn decoder<'r>(self, packed: impl BufRead + 'r) -> Box<dyn Read + 'r> {
        match self {
            Self::Gzip => Box::new(GzipMembers(Some(GzDecoder::new(packed)))),
            Self::Xz => {
                let memory_kib = u32::try_from(MAX_WINDOW / 1024).unwrap_or(u32::MAX);
                Box::new(lzma_rust2::XzReader::new_mem_limit(packed, true, memory_kib))
            }
            Self::Zstd => Box::new(ZstdFrames::new(packed)),
            Self::Zlib => Box::new(flate2::bufread::ZlibDecoder::new(packed)),
        }
    }
}

/// Answers whether the layer is a compressed file, and unpacks it.
pub(super) fn probe(&Probe { base, map, .. }: &Probe<'_>) -> Vote {
    let Some(packing) = Packing::of(base.as_ref()) else {
        return Vote::no("no magic of gzip, xz or zstd at the start, and no zlib stream of LiME");
    };
    let (name, program) = packing.names();
    let packed_bytes = end_of(base.as_ref());
    let packed = BufReader::with_capacity(BLOCK_BYTES, LayerReader { base: base.as_ref(), at: 0, end: packed_bytes });
    let limit = packed_bytes.saturating_mul(MAX_RATIO).max(MAX_BYTES);
    let (file, bytes, end) = match unpack(packing.decoder(packed), limit) {
        Ok(unpacked) => unpacked,
        Err(error) => {
            let folder = std::env::temp_dir();
            return Vote::Broken(format!(
                "it cannot be unpacked into a temporary file in {}: {error}; `{program}` unpacks it elsewhere, or TMPDIR \
                 names a folder with more room",
                folder.display()
            ));
        }
    };
    let mut warnings = Vec::new();
    warnings.push(match end {
        Ok(()) if bytes == 0 => return Vote::Broken(format!("there is nothing in this {name} file")),
        Ok(()) => format!(
            "{bytes} bytes were unpacked into a temporary file; unpacked once (`{program}`), the image opens at once"
        ),
        Err(why) if bytes == 0 => return Vote::Broken(format!("it is not valid {name}: {why}")),
        Err(why) => format!("the {name} data is damaged or cut off behind {bytes} unpacked bytes: {why}"),
    });
    let file = match MappedFile::new(file, map) {
        Ok(file) => file,
        Err(error) => return Vote::Broken(format!("the unpacked file cannot be read: {error}")),
    };
    let raw: Arc<dyn PhysicalMemory> = Arc::new(Raw::new(file));
    let whole = Declared { start: 0, bytes, file_offset: 0 };
    let memory = Arc::new(RunLayer::new(name, raw, &[whole], &mut warnings));
    Vote::Yes(Layer { memory, warnings, hints: Hints::default() })
}

/// Writes what `packed` gives into a temporary file. Gives the file, its length in bytes, and what ended the data early;
/// the error is of the file.
fn unpack(mut packed: impl Read, limit: u64) -> io::Result<(File, u64, Result<(), String>)> {
    let mut file = tempfile::tempfile()?;
    let mut block = vec![0; BLOCK_BYTES];
    let mut bytes: u64 = 0;
    let end = loop {
        let mut filled = 0;
        // A decoder must not be asked for no bytes: the one of xz takes an empty answer for the end of a block.
        let mut end = None;
        while filled < BLOCK_BYTES && end.is_none() {
            match packed.read(block.get_mut(filled..).unwrap_or_default()) {
                Ok(0) => end = Some(Ok(())),
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => end = Some(Err(error.to_string())),
            }
        }
        let here = block.get(..filled).unwrap_or_default();
        if here.iter().any(|&byte| byte != 0) {
            file.seek(SeekFrom::Start(bytes))?;
            file.write_all(here)?;
        }
        bytes += filled as u64;
        if let Some(end) = end {
            break end;
        }
        if bytes > limit {
            break Err(format!("more than {limit} bytes are not unpacked"));
        }
    };
    // Zeros at the end were not written.
    file.set_len(bytes)?;
    Ok((file, bytes, end))
}

/// A layer of one run as a stream.
struct LayerReader<'m> {
    base: &'m dyn PhysicalMemory,
    at: u64,
    end: u64,
}

impl Read for LayerReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.end - self.at;
        let bytes = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let (here, _) = buffer.split_at_mut(bytes);
        self.base.read(Pa(self.at), here).map_err(io::Error::other)?;
        self.base.release(Pa(self.at), bytes);
        self.at += bytes as u64;
        Ok(bytes)
    }
}

/// The members of a gzip file in a row. Zeros behind one are padding, of a tape's or disk's block, as gzip has it; `None` at
/// the end.
struct GzipMembers<R>(Option<GzDecoder<R>>);

impl<R: BufRead> Read for GzipMembers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.0 {
            let bytes = member.read(buffer)?;
            if bytes > 0 || buffer.is_empty() {
                return Ok(bytes);
            }
            if let Some(mut packed) = self.0.take().map(GzDecoder::into_inner)
                && skip_zeros(&mut packed)?
            {
                self.0 = Some(GzDecoder::new(packed));
            }
        }
        Ok(0)
    }
}

/// Goes over zeros; whether something else follows.
fn skip_zeros(packed: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let here = packed.fill_buf()?;
        if here.is_empty() {
            return Ok(false);
        }
        let zeros = here.iter().position(|&byte| byte != 0);
        let bytes = zeros.unwrap_or(here.len());
        packed.consume(bytes);
        if zeros.is_some() {
            return Ok(true);
        }
    }
}

/// The frames of a zstd file in a row, each verified by its checksum if it has one.
struct ZstdFrames<R> {
    packed: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> ZstdFrames<R> {
    fn new(packed: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW);
        Self { packed, decoder, in_frame: false }
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(buffer);
            }
            if self.in_frame && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.packed, one).map_err(io::Error::other)?;
                continue;
            }
            if self.in_frame {
                let written = self.decoder.get_checksum_from_data();
                if written.is_some() && written != self.decoder.get_calculated_checksum() {
                    return Err(io::Error::other("the checksum of a frame is wrong"));
                }
                self.in_frame = false;
            }
            if self.packed.fill_buf()?.is_empty() {
                return Ok(0);
            }
            match self.decoder.init(&mut self.packed) {
                Ok(()) => self.in_frame = true,
                // An index of frames, a note.
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    io::copy(&mut (&mut self.packed).take(u64::from(length)), &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::testing::TestMemory;

    /// What begins like a LiME file, pages of zeros, text and noise, and a part of a page.
    fn contents() -> Vec<u8> {
        let mut contents = lime::MAGIC.to_vec();
        contents.resize(300_000, 0);
        contents.extend((0..50_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()));
        contents.extend(b"Linux version 6.1.0 ".repeat(1000));
        contents.resize(contents.len() + 200_001, 0);
        contents
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        flate2::read::GzEncoder::new(bytes, flate2::Compression::fast()).read_to_end(&mut packed).expect("packed");
        packed
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        flate2::read::ZlibEncoder::new(bytes, flate2::Compression::best()).read_to_end(&mut packed).expect("packed");
        packed
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let options = lzma_rust2::XzOptions::with_preset(1);
        let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options).expect("a writer");
        writer.write_all(bytes).expect("packed");
        writer.finish().expect("packed")
    }

    fn vote(packed: &[u8]) -> Result<Layer, String> {
        let base: Arc<dyn PhysicalMemory> = Arc::new(TestMemory::new(vec![(0, packed.to_vec())]).mapped());
        match probe(&Probe::new(&base, None, true)) {
            Vote::Yes(layer) => Ok(layer),
            Vote::No(why) | Vote::Broken(why) => Err(why),
        }
    }

    fn all(layer: &Layer) -> Vec<u8> {
        let mut bytes = vec![0xee; end_of(layer.memory.as_ref()) as usize];
        layer.memory.read(Pa(0), &mut bytes).expect("one run");
        bytes
    }

    #[test]
    fn members_streams_and_frames_in_a_row_are_one_image() {
        let contents = contents();
        let (first, second) = contents.split_at(400_001);
        let skippable = [b"\x5e\x2a\x4d\x18\x05\0\0\0index".to_vec(), vec![]];
        for (format, packed) in [
            ("gzip", [gzip(first), gzip(second)].concat()),
            ("xz", [xz(first), xz(second)].concat()),
            ("zstd", [zstd(first), skippable.concat(), zstd(second), skippable.concat()].concat()),
            ("zlib", zlib(&contents)),
        ] {
            let layer = vote(&packed).expect("an image");
            assert_eq!(layer.memory.describe(), format);
            let seen = all(&layer);
            let differs = seen.iter().zip(&contents).position(|(one, other)| one != other);
            assert_eq!((seen.len(), differs), (contents.len(), None), "{format}: {:?}", layer.warnings);
            assert_eq!(layer.memory.slice(Pa(400_000), 2), contents.get(400_000..400_002), "{format}");
            assert_eq!(layer.warnings.len(), 1, "{:?}", layer.warnings);
        }
    }

    #[test]
    fn what_is_good_before_the_damage_is_kept_and_the_damage_told() {
        let contents = contents();
        for (format, packed) in
            [("gzip", gzip(&contents)), ("xz", xz(&contents)), ("zstd", zstd(&contents)), ("zlib", zlib(&contents))]
        {
            let cut = vote(&packed[..packed.len() / 2]).expect("an image");
            let good = all(&cut);
            assert!(good.len() > 100_000 && good.len() < contents.len(), "{format}: {} bytes", good.len());
            assert!(contents.starts_with(&good), "{format}");
            assert!(
                cut.warnings.len() == 1 && cut.warnings[0].contains("damaged or cut off behind"),
                "{format}: {:?}",
                cut.warnings
            );
            for bytes in 6..12 {
                assert!(vote(&packed[..bytes]).is_err(), "{format} of {bytes} bytes");
            }
            let mut changed = packed.clone();
            changed[packed.len() / 2] ^= 4;
            if let Ok(layer) = vote(&changed) {
                assert!(layer.warnings[0].contains("damaged or cut off behind"), "{format}: {:?}", layer.warnings);
            }
        }
    }

    #[test]
    fn zeros_behind_gzip_are_padding_and_anything_else_is_told() {
        let contents = contents();
        let (first, second) = contents.split_at(400_001);
        let zeros = |bytes: usize| vec![0; bytes];
        for packed in [
            [gzip(&contents), zeros(1)].concat(),
            [gzip(&contents), zeros(3 * BLOCK_BYTES + 7)].concat(),
            [gzip(first), zeros(512), gzip(second), zeros(512)].concat(),
        ] {
            let layer = vote(&packed).expect("an image");
            assert!(all(&layer) == contents);
            assert!(layer.warnings.len() == 1 && layer.warnings[0].contains("were unpacked"), "{:?}", layer.warnings);
        }
        let other = [gzip(&contents), zeros(512), b"notes".to_vec()].concat();
        let layer = vote(&other).expect("an image");
        assert!(all(&layer) == contents && layer.warnings[0].contains("damaged"), "{:?}", layer.warnings);
    }

    #[test]
    fn zeros_take_no_room_and_more_than_the_limit_is_not_written() {
        let (file, bytes, end) = unpack(io::repeat(0).take(1 << 24), 1 << 30).expect("room");
        assert_eq!((bytes, end), (1 << 24, Ok(())));
        #[cfg(unix)]
        assert!(std::os::unix::fs::MetadataExt::blocks(&file.metadata().expect("its size")) < 100);
        let (_, bytes, end) = unpack(io::repeat(0), 1 << 20).expect("room");
        assert!(bytes <= (1 << 20) + 2 * BLOCK_BYTES as u64 && end.is_err());
        drop(file);
    }
}
