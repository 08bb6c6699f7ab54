//! The form of a repository, on real profiles: what is split comes back byte for byte.

use quaid_profile::{ProfileFile, stored};
use std::path::{Path, PathBuf};

fn corpus() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    if root.is_dir() {
        return Some(root);
    }
    eprintln!("skipped: there is no corpus");
    None
}

#[test]
fn real_profiles_are_split_and_come_back() {
    let Some(corpus) = corpus() else { return };
    let isf = corpus.join("linux/profiles");
    let mut seen = 0;
    for entry in isf.read_dir().expect("the folder") {
        let path = entry.expect("an entry").path();
        if !path.to_string_lossy().ends_with(".isf.json.xz") {
            continue;
        }
        let canonical = ProfileFile::open(&path).expect("a profile").canonical().expect("canonical");
        let name = "Linux/Debian/6.1/AMD64/kernel";
        let stored = stored::split(name, &canonical).expect("well formed").expect("it is split");
        assert!(stored.profile.len() < canonical.len() / 10, "{} of {}", stored.profile.len(), canonical.len());
        assert_eq!(stored.join().expect("joined"), canonical);
        seen += 1;
    }
    assert!(seen > 0);
}
