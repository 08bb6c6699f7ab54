//! What the README shows is what is printed: each `$ quaid` line of its blocks is run, and the lines under it compared.

use crate::fetch_pdb::serving;
use crate::support::{arg, corpus, quaid, skipped, unpacked};
use std::path::Path;
use std::process::Command;

/// The command lines of each block that shows any, with what stands under them.
fn blocks() -> Vec<Vec<(&'static str, String)>> {
    let mut blocks = Vec::new();
    for block in include_str!("../../README.md").split("```console\n").skip(1) {
        let block = block.split("```").next().expect("the end of the block");
        let mut shown: Vec<(&str, String)> = Vec::new();
        for line in block.lines() {
            match (line.strip_prefix("$ "), shown.last_mut()) {
                (Some(command), _) => shown.push((command, String::new())),
                (None, Some((_, printed))) => printed.extend([line, "\n"]),
                (None, None) => panic!("a block begins with no command: {line}"),
            }
        }
        if shown.iter().any(|(command, _)| command.starts_with("quaid ")) {
            blocks.push(shown);
        }
    }
    blocks
}

/// Runs the commands as a person types them; `setting` are variables of the environment.
fn check(block: &[(&str, String)], folder: &Path, setting: &[(&str, &str)]) {
    for (command, printed) in block {
        let mut words = command.split(' ').map(|word| word.trim_matches('\''));
        assert_eq!(words.next(), Some("quaid"), "{command}");
        let output = quaid().args(words).current_dir(folder).envs(setting.iter().copied()).output().expect("it starts");
        let said = [output.stdout, output.stderr].concat();
        assert_eq!(String::from_utf8_lossy(&said).trim_end(), printed.trim_end(), "$ {command}");
    }
}

#[test]
fn the_demo_prints_what_the_readme_shows_of_it() {
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/demo-kernel/build");
    if Command::new("gcc").arg("--version").output().is_err() {
        return skipped("no gcc");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let built = Command::new(build).arg(folder.path().join("demo")).output().expect("the script starts");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let profiles = folder.path().join("demo/profiles");
    assert!(quaid().args(["repo", "init", arg(&profiles)]).output().expect("it starts").status.success());
    let [demo, _] = &blocks()[..] else { panic!("the README has two blocks of commands") };
    check(demo, &folder.path().join("demo"), &[("QUAID_PROFILE_PATH", "profiles")]);
}

#[test]
fn a_windows_image_goes_the_way_that_the_readme_shows() {
    let Some(pdb) = corpus("windows/pdb/nt/ntkrnlpa.pdb") else { return };
    let image = unpacked("windows/images/xpsp3.raw").expect("the corpus is there");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::hard_link(&image, folder.path().join("xpsp3.raw"))
        .or_else(|_| std::fs::copy(&image, folder.path().join("xpsp3.raw")).map(|_| ()))
        .expect("the image");
    let pdb = std::fs::read(pdb).expect("readable");
    let server = serving(vec![("ntkrnlpa.pdb", pdb)]);
    let [_, windows] = &blocks()[..] else { panic!("the README has two blocks of commands") };
    check(windows, folder.path(), &[("_NT_SYMBOL_PATH", &server.url)]);
}
