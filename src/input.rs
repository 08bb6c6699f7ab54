//! Files that the user names, read no further than they may be long.

use std::fs::File;
use std::io::{Error, ErrorKind, Read as _, Result};
use std::path::Path;

/// The bytes of the file at `path`, which may be a pipe or a device.
///
/// # Errors
/// It cannot be read, or has more than `limit` bytes: of those no more than `limit + 1` are read.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = File::open(path)?;
    let too_long = |length: &str| {
        Error::new(ErrorKind::FileTooLarge, format!("it has {length} bytes; files of this kind are read up to {limit}"))
    };
    let length = file.metadata()?.len();
    if length > limit {
        return Err(too_long(&length.to_string()));
    }
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(too_long(&format!("more than {limit}")));
    }
    Ok(bytes)
}

/// A path for a terminal or a commit's message: control characters are escaped, so that no name can move the cursor or
/// begin a line.
pub(crate) fn shown(path: &Path) -> String {
    shown_text(&path.to_string_lossy())
}

/// As [`shown`], of a text that a file gave.
pub(crate) fn shown_text(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_move_the_cursor() {
        assert_eq!(shown(Path::new("a/we\nird\x1b[31m\u{9b}é'.json")), "a/we\\nird\\u{1b}[31m\\u{9b}é'.json");
    }

    #[test]
    fn what_is_longer_than_the_limit_is_refused() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        std::io::Write::write_all(&mut file, b"1234").expect("written");
        assert_eq!(read(file.path(), 4).expect("as long as it may be"), b"1234");
        let refused = read(file.path(), 3).expect_err("too long");
        assert!(refused.to_string().contains("it has 4 bytes"), "{refused}");
        // Larger than memory, and not a byte of it on the disk.
        file.as_file().set_len(1 << 40).expect("sparse");
        assert_eq!(read(file.path(), 4).expect_err("too long").kind(), ErrorKind::FileTooLarge);
        if Path::new("/dev/zero").exists() {
            assert!(read(Path::new("/dev/zero"), 10).is_err(), "a file without an end");
        }
    }
}
