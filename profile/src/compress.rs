//! Compressed profiles: told by magic, never by file name.

use crate::error::Error;
use std::borrow::Cow;
use std::io::{self, Read};

/// The most that a profile may unpack to, in bytes. The largest real ones (a whole Linux kernel with ISF layout) are
/// under 100 MB.
pub const MAX_PROFILE_BYTES: u64 = 1 << 29;

/// Memory that an .xz dictionary may take, in KiB: the largest that `xz -9` asks for, with room.
const XZ_MEMORY_KIB: u32 = 256 * 1024;

/// The plain bytes of a file that may be gzip, xz or zstd. Refuses what unpacks to more than [`MAX_PROFILE_BYTES`].
pub fn decompress<'a>(place: &str, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>, Error> {
    let (format, plain) = if bytes.starts_with(&[0x1f, 0x8b]) {
        ("gzip", read_limited(flate2::read::MultiGzDecoder::new(bytes)))
    } else if bytes.starts_with(b"\xfd7zXZ\0") {
        ("xz", read_limited(lzma_rust2::XzReader::new_mem_limit(bytes, true, XZ_MEMORY_KIB)))
    } else if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let decoder = ruzstd::decoding::StreamingDecoder::new(bytes).map_err(|why| io::Error::other(why.to_string()));
        ("zstd", decoder.and_then(read_limited))
    } else {
        return Ok(Cow::Borrowed(bytes));
    };
    match plain {
        Ok(Some(plain)) => Ok(Cow::Owned(plain)),
        Ok(None) => Err(Error::unsupported(place, format!("unpacks to more than {} MiB", MAX_PROFILE_BYTES >> 20))),
        Err(why) => Err(Error::corrupt(place, format!("damaged {format} data: {why}"))),
    }
}

fn read_limited(reader: impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut plain = Vec::new();
    reader.take(MAX_PROFILE_BYTES + 1).read_to_end(&mut plain)?;
    Ok((plain.len() as u64 <= MAX_PROFILE_BYTES).then_some(plain))
}
