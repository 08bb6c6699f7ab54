//! Compressed data, told by its first bytes.

use std::io::{self, BufRead, Read};

/// Memory that a dictionary may take, in KiB: the largest that `xz -9` asks for, with room.
const XZ_MEMORY_KIB: u32 = 256 * 1024;

/// A way of compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Xz,
    /// `.lzma`, the format before xz.
    Lzma,
    Zstd,
    /// The frames of the `lz4` program, and those of `lz4 -l`, which the kernel uses.
    Lz4,
    Bzip2,
    Lzop,
}

impl Compression {
    /// What `head` begins as.
    pub(crate) fn of(head: &[u8]) -> Option<Self> {
        Some(match head {
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0x04, 0x22, 0x4d, 0x18, ..] | [0x02, 0x21, 0x4c, 0x18, ..] => Self::Lz4,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0x89, b'L', b'Z', b'O', 0, ..] => Self::Lzop,
            // Properties 0x5d, a dictionary of 64 KiB or a power of two above, and a length that is unknown or sane.
            [0x5d, 0, 0, _, _, length @ ..] if lzma_length(length) => Self::Lzma,
            _ => return None,
        })
    }

    /// Decompresses; an error where this way is not supported, by its name.
    pub(crate) fn decoder<'r>(self, reader: impl BufRead + 'r) -> io::Result<Box<dyn Read + 'r>> {
        let unsupported = |name: &str| {
            let why = format!("is compressed by {name}, which is not supported; decompress it first");
            io::Error::new(io::ErrorKind::Unsupported, why)
        };
        Ok(match self {
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
            Self::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(reader, true, XZ_MEMORY_KIB)),
            Self::Lzma => Box::new(lzma_rust2::LzmaReader::new_mem_limit(reader, XZ_MEMORY_KIB, None)?),
            Self::Zstd => Box::new(ZstdFrames::new(reader)?),
            Self::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(reader)),
            Self::Bzip2 => return Err(unsupported("bzip2")),
            Self::Lzop => return Err(unsupported("lzop")),
        })
    }
}

/// The eight bytes of an lzma header that tell the length: unknown, or less than 16 GiB.
fn lzma_length(bytes: &[u8]) -> bool {
    let length: Option<[u8; 8]> = bytes.get(..8).and_then(|length| length.try_into().ok());
    length.map(u64::from_le_bytes).is_some_and(|length| length == u64::MAX || length < 1 << 34)
}

/// Zstd frames one after the other, as `zstd` with several files and `pzstd` write them.
struct ZstdFrames<R: BufRead> {
    /// `None` after the last frame, and after damage.
    frame: Option<Frame<R>>,
}

type Frame<R> = ruzstd::decoding::StreamingDecoder<R, ruzstd::decoding::FrameDecoder>;

fn zstd_frame<R: BufRead>(reader: R) -> io::Result<Frame<R>> {
    Frame::new(reader).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why.to_string()))
}

impl<R: BufRead> ZstdFrames<R> {
    fn new(reader: R) -> io::Result<Self> {
        Ok(Self { frame: Some(zstd_frame(reader)?) })
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(mut frame) = self.frame.take() {
            let len = frame.read(buffer)?;
            if len > 0 || buffer.is_empty() {
                self.frame = Some(frame);
                return Ok(len);
            }
            let mut reader = frame.into_inner();
            // What follows and is no frame (a kernel's length, padding) is not part of the data.
            if reader.fill_buf()?.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
                self.frame = Some(zstd_frame(reader)?);
            }
        }
        Ok(0)
    }
}
