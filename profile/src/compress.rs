//! Compressed profiles: told by magic, never by file name.

use crate::error::Error;
use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::path::Path;

/// The most that a profile may unpack to, in bytes. The largest real ones (a whole Linux kernel with ISF layout) are
/// under 100 MB.
pub const MAX_PROFILE_BYTES: u64 = 1 << 29;

/// Memory that an .xz dictionary may take, in KiB: the largest that `xz -9` asks for, with room.
const XZ_MEMORY_KIB: u32 = 256 * 1024;

/// xz's own default.
const XZ_PRESET: u32 = 6;

/// How a file is compressed.
#[derive(Debug, Clone, Copy)]
enum Compression {
    Gzip,
    Xz,
    Zstd,
}

impl Compression {
    fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(&[0x1f, 0x8b]) {
            Some(Self::Gzip)
        } else if bytes.starts_with(b"\xfd7zXZ\0") {
            Some(Self::Xz)
        } else if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Some(Self::Zstd)
        } else {
            None
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        }
    }

    fn reader<'r>(self, packed: impl Read + 'r) -> io::Result<Box<dyn Read + 'r>> {
        Ok(match self {
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(packed)),
            Self::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(packed, true, XZ_MEMORY_KIB)),
            Self::Zstd => Box::new(
                ruzstd::decoding::StreamingDecoder::new(packed).map_err(|why| io::Error::other(why.to_string()))?,
            ),
        })
    }
}

/// The plain bytes of a file that may be gzip, xz or zstd. Refuses what unpacks to more than [`MAX_PROFILE_BYTES`].
pub fn decompress<'a>(place: &str, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>, Error> {
    let Some(format) = Compression::of(bytes) else { return Ok(Cow::Borrowed(bytes)) };
    match format.reader(bytes).and_then(read_limited) {
        Ok(Some(plain)) => Ok(Cow::Owned(plain)),
        Ok(None) => Err(Error::unsupported(place, format!("unpacks to more than {} MiB", MAX_PROFILE_BYTES >> 20))),
        Err(why) => Err(Error::corrupt(place, format!("damaged {} data: {why}", format.name()))),
    }
}

/// The text of a file that may be compressed.
pub(crate) fn text_of(bytes: &[u8]) -> Result<Cow<'_, str>, Error> {
    let corrupt = || Error::corrupt("", "not UTF-8 text");
    match decompress("", bytes)? {
        Cow::Borrowed(plain) => std::str::from_utf8(plain).map(Cow::Borrowed).map_err(|_| corrupt()),
        Cow::Owned(plain) => String::from_utf8(plain).map(Cow::Owned).map_err(|_| corrupt()),
    }
}

/// How much of a file [`is_json_object`] reads, in plain bytes.
const HEAD_BYTES: u64 = 64;

/// Whether a file begins as a JSON object does, as a profile file is one; it may be gzip, xz or zstd. Damaged compression
/// is no JSON.
///
/// # Errors
/// The file cannot be read.
pub fn is_json_object(mut file: impl Read) -> io::Result<bool> {
    let mut head = Vec::new();
    file.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
    if let Some(format) = Compression::of(&head) {
        let packed = io::Cursor::new(head).chain(file);
        let mut plain = Vec::new();
        // What was unpacked before the damage still tells.
        let _ = format.reader(packed).and_then(|reader| reader.take(HEAD_BYTES).read_to_end(&mut plain));
        head = plain;
    }
    Ok(head.trim_ascii_start().starts_with(b"{"))
}

fn read_limited(reader: impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut plain = Vec::new();
    reader.take(MAX_PROFILE_BYTES + 1).read_to_end(&mut plain)?;
    Ok((plain.len() as u64 <= MAX_PROFILE_BYTES).then_some(plain))
}

/// The bytes of a file of this name: gzip for `.gz`, xz for `.xz`, else as they are.
pub fn compress_for<'a>(path: &Path, bytes: &'a [u8]) -> io::Result<Cow<'a, [u8]>> {
    let is = |ending: &str| path.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending));
    if is("gz") {
        // No name and no time in the header: same input, same bytes.
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        writer.write_all(bytes)?;
        Ok(Cow::Owned(writer.finish()?))
    } else if is("xz") {
        let options = lzma_rust2::XzOptions::with_preset(XZ_PRESET);
        let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options)?;
        writer.write_all(bytes)?;
        Ok(Cow::Owned(writer.finish()?))
    } else {
        Ok(Cow::Borrowed(bytes))
    }
}
