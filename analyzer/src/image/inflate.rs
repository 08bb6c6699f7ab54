//! zlib streams of chunks. A page of a dump is small beside a decoder's state, which is therefore kept and used again.

use flate2::{Decompress, FlushDecompress, Status};
use std::cell::RefCell;

thread_local! {
    static ZLIB: RefCell<Decompress> = RefCell::new(Decompress::new(true));
}

/// Appends what the zlib stream at the start of `packed` holds to `into`.
///
/// # Errors
/// It is not valid, not whole (its Adler-32 is part of it), or holds more than `most` bytes.
pub(super) fn zlib(packed: &[u8], most: u64, into: &mut Vec<u8>) -> Result<(), String> {
    zlib_prefix(packed, most, into).map(|_| ())
}

/// As [`zlib`]; gives how many bytes the stream takes.
pub(super) fn zlib_prefix(packed: &[u8], most: u64, into: &mut Vec<u8>) -> Result<usize, String> {
    let most = usize::try_from(most).map_err(|_| format!("{most} bytes are more than memory has"))?;
    let before = into.len();
    // One byte more than is due shows that there are more.
    into.reserve_exact(most + 1);
    let (status, bytes) = ZLIB.with_borrow_mut(|zlib| {
        zlib.reset(true);
        (zlib.decompress_vec(packed, into, FlushDecompress::Finish), zlib.total_in())
    });
    match status {
        Err(error) => Err(format!("it is not valid zlib ({error})")),
        Ok(_) if into.len() - before > most => Err(format!("it holds more than {most} bytes")),
        Ok(Status::StreamEnd) => Ok(bytes as usize),
        Ok(_) => Err("it is not a whole zlib stream".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    /// A stream, the most that is wanted of it, and what comes out.
    type Case<'c> = (&'c [u8], u64, Result<&'c [u8], &'c str>);

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        flate2::read::ZlibEncoder::new(bytes, flate2::Compression::best()).read_to_end(&mut packed).expect("packed");
        packed
    }

    /// The state is used again: after a stream of any kind, each other kind is what it is.
    #[test]
    fn streams_one_after_the_other_are_each_what_they_are() {
        let page: Vec<u8> = (0..4096_u32).map(|at| ((at * at) >> 5) as u8).collect();
        let (whole, empty) = (packed(&page), packed(&[]));
        let mut wrong = whole.clone();
        *wrong.last_mut().expect("an Adler-32") ^= 1;
        let cases: [Case<'_>; 7] = [
            (&whole, 4096, Ok(&page)),
            (&whole, 5000, Ok(&page)),
            (&whole, 4095, Err("it holds more than 4095 bytes")),
            (&whole[..whole.len() - 1], 4096, Err("it is not a whole zlib stream")),
            (&wrong, 4096, Err("it is not valid zlib")),
            (b"no zlib", 4096, Err("it is not valid zlib")),
            (&empty, 0, Ok(&[])),
        ];
        for (first, (stream, most, expected)) in (0..7).flat_map(|first| cases.iter().map(move |case| (first, case))) {
            let (stream_before, most_before, _) = cases[first];
            let _any = zlib(stream_before, most_before, &mut Vec::new());
            let mut into = vec![7];
            match (zlib(stream, *most, &mut into), expected) {
                (Ok(()), Ok(contents)) => assert_eq!(into[1..], **contents),
                (Err(why), Err(expected)) => assert!(why.starts_with(expected), "{why}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
