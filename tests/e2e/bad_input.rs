//! Files that are missing, empty, garbage or cut off, given to every command: each ends with a line that names the file, a
//! non-zero exit code, and nothing written.

use crate::support::{arg, corpus, quaid, unpacked};
use std::path::Path;
use std::process::Output;

fn garbage() -> Vec<u8> {
    // A fixed xorshift: the same bytes on every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..70_000).map(|_| byte()).collect()
}

/// Every command that takes a file, with `{}` where the file goes.
const COMMANDS: &[&[&str]] = &[
    &["-f", "{}", "version_scan"],
    &["version_scan", "{}"],
    &["peinfo", "{}"],
    &["fetch_pdb", "--filename", "{}", "--server", "http://127.0.0.1:9/", "-D", "out"],
    &["parse_pdb", "-f", "{}", "--output", "out/profile"],
    &["convert_profile", "{}", "out/profile"],
    &["repo", "-C", "repo", "add", "{}"],
    &["-f", "{}", "pslist"],
    &["-f", "{}", "psaux"],
    &["-f", "{}", "lsmod"],
    &["-f", "{}", "modules"],
    &["-f", "{}", "dt", "_EPROCESS"],
    &["-f", "{}", "vtop", "0x1000"],
    &["-f", "{}", "--profile", "{}", "pslist"],
    &["-f", "{}", "find_dtb"],
    &["-f", "{}", "load_as"],
    &["-f", "{}", "convert_profile", "--from_image", "--output", "out/profile"],
    &["fetch_debuginfo", "-f", "{}", "--server", "http://127.0.0.1:9/"],
    &["repo", "-C", "repo", "import", "{}"],
    &["repo", "-C", "repo", "wanted", "-f", "{}"],
    &["repo", "-C", "repo", "fetch", "--wanted", "{}"],
    &["repo", "-C", "repo", "sync", "{}"],
    &["repo", "-C", "repo", "bundle", "apply", "{}"],
];

/// Every command that works on a file, without it.
const WITHOUT_FILE: &[&[&str]] = &[
    &["image_info"],
    &["imagecopy", "out/copy"],
    &["fetch_pdb"],
    &["fetch_debuginfo"],
    &["parse_pdb"],
    &["peinfo"],
    &["convert_profile"],
    &["convert_profile", "--from_image"],
    &["pslist"],
    &["vtop", "0x1000"],
    &["repo", "-C", "repo", "wanted"],
];

fn run(folder: &Path, command: &[&str], file: &Path) -> Output {
    let words = command.iter().map(|word| word.replace("{}", arg(file)));
    quaid().args(words).current_dir(folder).output().expect("it starts")
}

fn check(folder: &Path, command: &[&str], file: &Path) {
    let output = run(folder, command, file);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let told = format!("quaid {command:?} on {}: {:?}\n{stderr}", file.display(), output.status);
    assert!(matches!(output.status.code(), Some(1 | 3)), "{told}");
    assert!(output.stdout.is_empty(), "{told}\n{}", String::from_utf8_lossy(&output.stdout));
    let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
    assert!(stderr.contains(name), "the file is not named: {told}");
    assert!(stderr.lines().count() <= 12, "more than a person reads: {told}");
    assert!(!stderr.contains("panicked"), "{told}");
    let left: Vec<_> = folder.join("out").read_dir().expect("the folder").collect();
    assert!(left.is_empty(), "{left:?} was written: {told}");
}

#[test]
fn every_command_refuses_what_it_cannot_read_in_a_few_clear_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("out")).expect("created");
    assert!(quaid().args(["repo", "init", arg(&at("repo"))]).output().expect("it starts").status.success());
    std::fs::write(at("empty"), b"").expect("written");
    std::fs::write(at("garbage"), garbage()).expect("written");
    std::fs::create_dir(at("folder")).expect("created");
    std::fs::write(at("page.html"), "<!DOCTYPE html><html><body>Log in</body></html>").expect("written");
    for file in ["missing", "empty", "garbage", "folder", "page.html"] {
        for command in COMMANDS {
            check(folder.path(), command, &at(file));
        }
    }
}

#[test]
fn a_command_without_its_file_asks_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    for command in WITHOUT_FILE {
        let output = quaid().args(*command).current_dir(folder.path()).output().expect("it starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {stderr}");
        assert!(stderr.lines().count() == 1 && stderr.starts_with("error: "), "{command:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{command:?}");
    }
}

#[test]
fn cut_off_inputs_give_an_error_or_less_and_never_a_panic() {
    let Some(pdb) = corpus("windows/pdb/lld/ntkrnlmp_x86_64.pdb") else { return };
    let zip = corpus("linux/small/profile-6.1.192-rklab.zip").expect("the corpus is there");
    let lime = unpacked("linux/small/linux-small-nobash.lime").expect("the corpus is there");
    let profile = corpus("windows/rekall-profiles")
        .expect("the corpus is there")
        .read_dir()
        .expect("the folder")
        .next()
        .expect("a file")
        .expect("an entry")
        .path();
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("out")).expect("created");
    assert!(
        quaid().args(["repo", "init", "repo"]).current_dir(folder.path()).output().expect("it starts").status.success()
    );
    for (file, commands) in [
        (&pdb, &[&["parse_pdb", "-f", "{}", "--output", "out/profile"][..]][..]),
        (&zip, &[&["convert_profile", "{}", "out/profile"][..]]),
        (&lime, &[&["-f", "{}", "pslist"][..], &["-f", "{}", "lsmod"]]),
        (&profile, &[&["repo", "-C", "repo", "add", "{}"][..], &["-f", "{}", "-p", "{}", "dt", "_EPROCESS"]]),
    ] {
        let bytes = std::fs::read(file).expect("readable");
        for cut in [1, 17, 4096, bytes.len() / 3, bytes.len() / 2] {
            let path = folder.path().join("cut");
            std::fs::write(&path, &bytes[..cut]).expect("written");
            for command in commands {
                check(folder.path(), command, &path);
            }
        }
    }
}
