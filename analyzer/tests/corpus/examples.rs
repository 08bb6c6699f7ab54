//! The examples on an image of the corpus. `cargo test` builds them beside the tests.

use crate::support::{corpus, linux_repository, skipped, text, unpacked};
use std::path::PathBuf;
use std::process::Command;

/// What an example prints; `None`, with a printed line, where only some targets were built.
fn run(example: &str, args: &[&str]) -> Option<String> {
    let tests = std::env::current_exe().expect("this program");
    let path: PathBuf = tests.ancestors().nth(2).expect("target/debug").join("examples").join(example);
    if !path.exists() {
        skipped(&format!("there is no {}", path.display()));
        return None;
    }
    let output = Command::new(path).args(args).output().expect("it starts");
    assert!(output.status.success(), "{example} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).expect("text"))
}

#[test]
fn inspect_lists_the_memory_and_reads_the_banner_in_both_ways() {
    let Some(image) = unpacked("linux/a256/mem.raw") else { return };
    let image = image.to_str().expect("text");
    let told = text("linux/a256/groundtruth.txt").expect("beside it");
    let line = |name: &str| told.split_once(&format!("==BEGIN {name}==\n")).expect("a section").1;
    let banner = line("version").lines().next().expect("a line");
    let kallsyms = line("kallsyms").lines().find(|line| line.ends_with(" linux_banner")).expect("a symbol");
    let (address, _) = kallsyms.split_once(' ').expect("an address");
    let registers = corpus("linux/a256/info_registers_-a.txt").expect("beside it");
    let registers = std::fs::read_to_string(registers).expect("text");
    let cr3 = registers.split_whitespace().find_map(|word| word.strip_prefix("CR3=")).expect("CR3");

    let Some(listed) = run("inspect", &[image]) else { return };
    assert_eq!(listed, "run 0x0 0x10000000 bytes\n");
    let known = [image, &format!("0x{address}"), "--dtb", &format!("0x{cr3}")];
    assert_eq!(run("inspect", &known).as_deref(), Some(&*format!("{banner}\\n\n")));
    let profile = corpus("linux/profiles/debian-6.1.0-56-cloud-amd64.isf.json.xz").expect("beside it");
    let repository = linux_repository(banner, &profile);
    let found = [image, "linux_banner", "--profiles", repository.path().to_str().expect("text")];
    assert_eq!(run("inspect", &found).as_deref(), Some(&*format!("{banner}\\n\n")));
}
