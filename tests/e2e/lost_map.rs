//! An image that is cut short while it is searched, as a disk that fails and a file that is still written to behave: the
//! process says why it ends, and `--no_map` goes on and says what could not be read.
#![cfg(target_os = "linux")]

use crate::support::{arg, quaid};
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

/// Longer than a search that has begun can be through before the file is cut.
const BYTES: u64 = 8 << 30;
const LEFT: u64 = 4096;

/// The exit code and stderr of a search for the kernel in an image that is cut short once it is open.
fn cut_while_searched(options: &[&str]) -> (Option<i32>, String) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    file.as_file().set_len(BYTES).expect("sparse");
    let mut command = quaid();
    command.args(options).args(["-v", "--layer", "raw", "-f", arg(file.path()), "pslist"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("physical address space") {
        line.clear();
        assert!(stderr.read_line(&mut line).expect("text") > 0, "it ended before the image was open");
    }
    file.as_file().set_len(LEFT).expect("cut");
    let mut said = String::new();
    stderr.read_to_string(&mut said).expect("text");
    (child.wait().expect("it ends").code(), said)
}

#[test]
fn a_mapped_image_that_is_cut_short_ends_with_a_word() {
    let (code, said) = cut_while_searched(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("was cut short while it was read") && said.contains("`--no_map` before the command"),
        "{said}"
    );
}

#[test]
fn an_image_that_is_read_tells_what_could_not_be() {
    let (code, said) = cut_while_searched(&["--no_map"]);
    assert_eq!(code, Some(1), "{said}");
    let (_, damaged) = said.split_once("damaged parts of the image: ").unwrap_or_else(|| panic!("{said}"));
    let bytes: u64 = damaged.split(' ').next().and_then(|number| number.parse().ok()).expect("a number");
    assert!((1..=BYTES - LEFT).contains(&bytes), "{said}");
    assert!(said.contains("no kernel was found") && said.contains("the first: 4096 bytes at offset 0x"), "{said}");
}
