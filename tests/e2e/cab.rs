//! Cabinets of the corpus, against what cabextract made of them.

use crate::support::{corpus, corpus_text};
use quaid::symserver::{CabError, expand};
use std::io::Write;
use std::process::{Command, Stdio};

/// MD5 in hex, by the system's own program: an oracle that is not ours.
pub(crate) fn md5(bytes: &[u8]) -> String {
    let mut child =
        Command::new("md5sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("md5sum is installed");
    child.stdin.take().expect("a pipe").write_all(bytes).expect("written");
    let output = child.wait_with_output().expect("ended");
    String::from_utf8(output.stdout).expect("text").split_whitespace().next().expect("a sum").to_owned()
}

#[test]
fn every_cabinet_decodes_as_cabextract_does_or_is_refused() {
    let Some(truth) = corpus_text("windows/cab/cab-truth.tsv") else { return };
    let (mut decoded, mut refused, mut unsupported) = (0, 0, 0);
    for line in truth.lines().filter(|line| !line.starts_with('#')).skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [name, verdict, _, _, files, ..] = columns[..] else { panic!("a row of the table: {line}") };
        // cabextract does not look at the offset of the file table, so it is no judge of this one.
        if name.contains('/') || name == "hidden-files.cab" {
            continue;
        }
        let bytes = std::fs::read(corpus(&format!("windows/cab/{name}")).expect("there")).expect("readable");
        // It also finds cabinets inside other files, and parts of sets; a symbol server sends neither.
        if verdict == "refused" || name.starts_with("search") {
            match expand(&bytes, "x", u64::MAX) {
                Err(CabError::Corrupt(_) | CabError::Unsupported(_)) => {}
                Err(CabError::NoMember { members, .. }) if members.is_empty() => {}
                other => panic!("{name}: {other:?}"),
            }
            refused += 1;
            continue;
        }
        for file in files.split('|') {
            let (path, sum) = file.rsplit_once('=').expect("name=sum");
            let member = path.rsplit(['/', '\\']).next().expect("a name");
            match expand(&bytes, member, 1 << 30) {
                Ok(_) if name.starts_with("dirwalk") || name.starts_with("encoding") || name.starts_with("utf8") => {}
                Ok(expanded) => {
                    assert_eq!(md5(&expanded.bytes), sum, "{member} of {name}");
                    decoded += 1;
                }
                Err(CabError::Unsupported(why)) => {
                    let known =
                        why.contains("Quantum") || why.contains("several cabinets") || why.contains("unknown method");
                    assert!(known, "{name}: {why}");
                    unsupported += 1;
                }
                Err(error) => assert!(
                    sum == "FAILED" || matches!(error, CabError::NoMember { .. }),
                    "{member} of {name}: {error}, cabextract has {sum}"
                ),
            }
        }
    }
    println!("{decoded} decoded, {refused} refused, {unsupported} unsupported");
    assert!(decoded >= 25 && refused >= 25 && unsupported >= 10, "{decoded} {refused} {unsupported}");
}

#[test]
fn damage_that_reaches_the_decoders_is_told_or_bounded() {
    let Some(path) = corpus("windows/cab/normal_2files_2folders.cab") else { return };
    let mut whole = std::fs::read(path).expect("readable");
    // Without the checksum (0) of its one data block, damage of a folder reaches the decoder.
    for folder in [36, 44] {
        let block = u32::from_le_bytes(whole[folder..folder + 4].try_into().expect("four bytes")) as usize;
        whole[block..block + 4].fill(0);
    }
    for member in ["mszip2.txt", "lzx2.txt"] {
        let good = expand(&whole, member, 1 << 20).expect("decodes");
        let mut told = 0;
        for at in 0..whole.len() {
            assert!(expand(&whole[..at], member, 1 << 20).is_err(), "{member} of {at} bytes");
            for flip in 1..=255 {
                let mut bad = whole.clone();
                bad[at] ^= flip;
                match expand(&bad, member, 1 << 20) {
                    // Other letters, another offset in the folder, another size: never more than the folder has.
                    Ok(expanded) => assert!(expanded.bytes.len() <= good.bytes.len() + 36, "{member}, byte {at}"),
                    Err(error) => {
                        assert!(!error.to_string().contains("gave up"), "the decoder panicked: {member}, byte {at}");
                        told += 1;
                    }
                }
            }
        }
        assert!(told > whole.len(), "{member}: {told}");
    }
}
