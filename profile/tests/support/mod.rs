//! The corpus of real inputs.

use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};

/// Says that a test, or a part of one, was skipped: to stderr itself, because the harness hides what passing tests print.
pub(crate) fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// A file or folder of the corpus; `None`, with a printed line, when the corpus is absent. `$QUAID_CORPUS` names it,
/// else it is beside the project.
pub(crate) fn corpus(name: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let folder = std::env::var_os("QUAID_CORPUS").map_or(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder.join(name));
    }
    skipped(&format!("no corpus at {}", folder.display()));
    None
}

/// The plain bytes of an `.xz` file.
pub(crate) fn unxz(path: &Path) -> Vec<u8> {
    let packed = std::fs::read(path).expect("the packed file");
    let mut plain = Vec::new();
    lzma_rust2::XzReader::new(&packed[..], true).read_to_end(&mut plain).expect("xz data");
    plain
}
