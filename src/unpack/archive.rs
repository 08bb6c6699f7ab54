//! Archives and packages, walked from front to back.

use std::io::{self, BufRead, Read};

/// The most members that are walked. A package of a kernel's debugging information has 5,000.
const MAX_MEMBERS: usize = 1 << 20;
/// The longest name of a member, in bytes (PATH_MAX of Linux).
const MAX_NAME_BYTES: usize = 4096;

/// A kind of archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Archive {
    Tar,
    /// The portable format with six or eleven octal and hexadecimal digits, "new ASCII": the payload of `.rpm`, initramfs.
    Cpio,
    /// Of Unix: Debian's packages are such an archive of two tar archives.
    Ar,
    /// Two headers, then a compressed cpio archive.
    Rpm,
}

impl Archive {
    /// What `head` begins as. A tar archive is told by what stands at byte 257.
    pub(crate) fn of(head: &[u8]) -> Option<Self> {
        if head.get(257..262) == Some(b"ustar") {
            Some(Self::Tar)
        } else if head.starts_with(b"070701") || head.starts_with(b"070702") || head.starts_with(b"07070X") {
            Some(Self::Cpio)
        } else if head.starts_with(b"!<arch>\n") {
            Some(Self::Ar)
        } else if head.starts_with(&[0xed, 0xab, 0xee, 0xdb]) {
            Some(Self::Rpm)
        } else {
            None
        }
    }

    /// Gives each regular file's name and bytes to `each`, in order. `each` need not read all. `fail` makes its kind of
    /// error from damage of the archive itself.
    pub(crate) fn members<E>(
        self,
        reader: &mut dyn BufRead,
        fail: &dyn Fn(io::Error) -> E,
        each: &mut dyn FnMut(&str, &mut dyn Read) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Tar => tar(reader, fail, each),
            Self::Ar => ar(reader, fail, each),
            Self::Cpio => cpio(reader, fail, each),
            Self::Rpm => {
                skip_rpm_headers(reader).map_err(fail)?;
                each("payload.cpio", reader)
            }
        }
    }
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn too_many() -> io::Error {
    io::Error::other(format!("has more than {MAX_MEMBERS} members"))
}

fn tar<E>(
    reader: &mut dyn BufRead,
    fail: &dyn Fn(io::Error) -> E,
    each: &mut dyn FnMut(&str, &mut dyn Read) -> Result<(), E>,
) -> Result<(), E> {
    let mut archive = tar::Archive::new(reader);
    for (number, entry) in archive.entries().map_err(fail)?.enumerate() {
        let mut entry = entry.map_err(fail)?;
        if number >= MAX_MEMBERS {
            return Err(fail(too_many()));
        }
        if entry.header().entry_type().is_file() {
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            each(&name, &mut entry)?;
        }
    }
    Ok(())
}

/// Members of 60 bytes of header and their data, padded to an even offset (`ar(5)`).
fn ar<E>(
    reader: &mut dyn BufRead,
    fail: &dyn Fn(io::Error) -> E,
    each: &mut dyn FnMut(&str, &mut dyn Read) -> Result<(), E>,
) -> Result<(), E> {
    reader.read_exact(&mut [0; 8]).map_err(fail)?;
    for _ in 0..MAX_MEMBERS {
        if reader.fill_buf().map_err(fail)?.is_empty() {
            return Ok(());
        }
        let mut header = [0; 60];
        reader.read_exact(&mut header).map_err(fail)?;
        let text = |range: std::ops::Range<usize>| {
            let field = header.get(range).and_then(|field| std::str::from_utf8(field).ok());
            field.map(str::trim_end).ok_or_else(|| fail(damaged("a header of ar that is no text")))
        };
        let size: u64 = text(48..58)?.parse().map_err(|_| fail(damaged("a member of ar without a size")))?;
        let mut data = reader.take(size);
        each(text(0..16)?.trim_end_matches('/'), &mut data)?;
        skip(&mut data).map_err(fail)?;
        if size % 2 == 1 && !reader.fill_buf().map_err(fail)?.is_empty() {
            reader.consume(1);
        }
    }
    Err(fail(too_many()))
}

/// `cpio(5)`: a header of text numbers, the name, and the data, name and data padded to 4 bytes.
fn cpio<E>(
    reader: &mut dyn BufRead,
    fail: &dyn Fn(io::Error) -> E,
    each: &mut dyn FnMut(&str, &mut dyn Read) -> Result<(), E>,
) -> Result<(), E> {
    for _ in 0..MAX_MEMBERS {
        let mut header = [0; 110];
        reader.read_exact(&mut header).map_err(fail)?;
        if header.starts_with(b"07070X") {
            let why = "is the payload of an .rpm with files over 4 GiB, which is not supported; unpack it first";
            return Err(fail(io::Error::new(io::ErrorKind::Unsupported, why)));
        }
        if !header.starts_with(b"07070") {
            return Err(fail(damaged("a member of cpio without its magic number")));
        }
        let number = |at: usize| {
            let field = header.get(at..at + 8).and_then(|field| std::str::from_utf8(field).ok());
            field
                .and_then(|field| u32::from_str_radix(field, 16).ok())
                .ok_or_else(|| fail(damaged("a number of cpio that is none")))
        };
        let (mode, size, name_bytes) = (number(14)?, u64::from(number(54)?), number(94)? as usize);
        if name_bytes > MAX_NAME_BYTES {
            return Err(fail(damaged("a name of cpio that is too long")));
        }
        // The header has 110 bytes, the padding is counted from its start.
        let mut name = vec![0; name_bytes + (110 + name_bytes).next_multiple_of(4) - (110 + name_bytes)];
        reader.read_exact(&mut name).map_err(fail)?;
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        if name == b"TRAILER!!!" {
            return Ok(());
        }
        let mut data = reader.take(size.next_multiple_of(4));
        // S_IFREG of the type bits.
        if mode & 0o170_000 == 0o100_000 {
            each(&String::from_utf8_lossy(name), &mut (&mut data).take(size))?;
        }
        skip(&mut data).map_err(fail)?;
    }
    Err(fail(too_many()))
}

fn skip(reader: &mut dyn Read) -> io::Result<()> {
    io::copy(reader, &mut io::sink()).map(drop)
}

/// Goes to the payload of an `.rpm`: behind a lead of 96 bytes and two headers, of which the first is padded to 8 bytes. Each
/// header is a magic number, the number of its entries of 16 bytes, and the size of its data
/// (<https://rpm.org/docs/latest/manual/format_header.html>).
fn skip_rpm_headers(reader: &mut dyn BufRead) -> io::Result<()> {
    reader.read_exact(&mut [0; 96])?;
    for padding in [8, 1] {
        let mut header = [0; 16];
        reader.read_exact(&mut header)?;
        let number = |at: usize| header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
        let (true, Some(entries), Some(data)) = (header.starts_with(&[0x8e, 0xad, 0xe8, 1]), number(8), number(12))
        else {
            return Err(damaged("a header of the .rpm has not its magic number"));
        };
        let bytes = u64::from(entries) * 16 + u64::from(data);
        let wanted = bytes.next_multiple_of(padding);
        if io::copy(&mut (&mut *reader).take(wanted), &mut io::sink())? < wanted {
            return Err(damaged("a header of the .rpm reaches beyond its end"));
        }
    }
    Ok(())
}
