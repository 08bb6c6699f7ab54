//! Files of Rekall's own writers: read, asked, written back byte for byte. Corpus tests skip with a printed line.

use quaid_profile::{Arch, Os, ProfileFile, Type, canonical_json};
use std::path::Path;
use support::{corpus, unxz};

mod support;

/// The members of a `.tar.xz`: names and contents. Only what `tar` of the corpus uses: regular files with short names.
fn tar_xz(path: &Path) -> Vec<(String, Vec<u8>)> {
    let tar = unxz(path);
    let mut members = Vec::new();
    let mut rest = &tar[..];
    while let Some((header, body)) = rest.split_at_checked(512).filter(|(header, _)| header[0] != 0) {
        let text = |range: std::ops::Range<usize>| {
            String::from_utf8_lossy(&header[range]).trim_end_matches(['\0', ' ']).to_owned()
        };
        let size = usize::from_str_radix(&text(124..136), 8).expect("a size");
        if matches!(header[156], b'0' | 0) {
            members.push((text(0..100), body[..size].to_vec()));
        }
        rest = &body[size.next_multiple_of(512)..];
    }
    members
}

#[test]
fn files_of_both_writers_come_back_byte_for_byte() {
    let Some(folder) = corpus("windows/rekall") else { return };
    let mut files = Vec::new();
    for entry in folder.read_dir().expect("the folder") {
        files.extend(tar_xz(&entry.expect("an entry").path()));
    }
    let old = corpus("windows/rekall-profiles").expect("beside the other");
    for entry in old.read_dir().expect("the folder") {
        let path = entry.expect("an entry").path();
        files.push((path.display().to_string(), std::fs::read(&path).expect("readable")));
    }
    let mut profiles = 0;
    for (name, bytes) in &files {
        let Ok(text) = std::str::from_utf8(bytes) else { continue };
        if !text.starts_with('{') {
            continue;
        }
        let again = canonical_json(text).expect(name);
        if let Some(at) = again.bytes().zip(text.bytes()).position(|(a, b)| a != b) {
            panic!(
                "{name} differs at byte {at}: {:?} for {:?}",
                &again[at..(at + 60).min(again.len())],
                &text[at..(at + 60).min(text.len())]
            );
        }
        assert_eq!(again.len(), text.len(), "{name}");
        profiles += 1;
    }
    assert!(profiles >= 17, "only {profiles} of {} files are profiles", files.len());
}

#[test]
fn the_profiles_of_2014_answer_and_their_content_survives_the_model() {
    let Some(folder) = corpus("windows/rekall-profiles") else { return };
    for entry in folder.read_dir().expect("the folder") {
        let path = entry.expect("an entry").path();
        let file = ProfileFile::open(&path).expect("a profile");
        assert_eq!(
            (file.metadata().os(), file.metadata().arch()),
            (Some(Os::Windows), Some(Arch::I386)),
            "{}",
            path.display()
        );
        let process = file.structure("_EPROCESS").expect("readable").expect("present");
        let pid = &process.members["UniqueProcessId"];
        // Windows XP's layout, in every PDB of that time.
        assert_eq!((pid.offset, &pid.ty), (0x84, &Type::pointer_to(Type::Void)));
        assert!(file.symbol("PsActiveProcessHead").expect("readable").is_some());

        let model = file.decode().expect("decodes");
        let again = ProfileFile::from_profile(&model).expect("a profile").decode().expect("decodes");
        assert_eq!(model.structs.len(), again.structs.len());
        for (name, s) in &model.structs {
            assert_eq!(Some(s), again.structs.get(name), "{name}");
        }
        assert!(model == again, "sections beside the structs differ");
    }
}
