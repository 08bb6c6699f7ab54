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

#[test]
fn a_symbol_is_found_by_its_whole_name_data_before_functions() {
    let text = r#"{"$CONSTANTS": {"Alpha": 16, "AlphaBeta": 32, "Beta": 48, "operator=Beta": 80},
        "$FUNCTIONS": {"Beta": 20, "Gamma": 64, "preBeta": 72}, "$METADATA": {"Type": "Profile"}, "$STRUCTS": {"A": [8, {}]}}"#;
    let canonical = ProfileFile::parse("here", text.as_bytes()).and_then(|file| file.canonical()).expect("a profile");
    let stored = stored::split("nt/GUID/x", &canonical).expect("well formed").expect("it is split");
    for (name, number) in [
        ("Alpha", Some(16)),
        ("AlphaBeta", Some(32)),
        ("Beta", Some(48)),
        ("operator=Beta", Some(80)),
        ("Gamma", Some(64)),
        ("preBeta", Some(72)),
        ("Alph", None),
        ("eta", None),
        ("Gammas", None),
        ("", None),
    ] {
        assert_eq!(stored::symbol(&stored.symbols.1, name).expect("whole"), number, "{name} in {}", stored.symbols.1);
    }
}
