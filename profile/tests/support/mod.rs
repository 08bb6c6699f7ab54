//! The corpus of real inputs.

use std::io::Read;
use std::path::{Path, PathBuf};

/// A file or folder of the corpus; `None`, with a printed line, when the corpus is absent. `$QUAID_CORPUS` names it,
/// else it is beside the project.
pub(crate) fn corpus(name: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let folder = std::env::var_os("QUAID_CORPUS").map_or(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder.join(name));
    }
    println!("skipped: no corpus at {}", folder.display());
    None
}

/// The plain bytes of an `.xz` file.
pub(crate) fn unxz(path: &Path) -> Vec<u8> {
    let packed = std::fs::read(path).expect("the packed file");
    let mut plain = Vec::new();
    lzma_rust2::XzReader::new(&packed[..], true).read_to_end(&mut plain).expect("xz data");
    plain
}
