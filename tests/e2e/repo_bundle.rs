//! `repo bundle`: a repository carried as a file. The judge is the git program, which reads the same files.

use crate::repo::{check_whole, fails, git, kernel_file, new_repository, repo, typed_module};
use crate::repo_sync::head;
use crate::support::{arg, ok};
use std::path::{Path, PathBuf};

const GUID: &str = "3844DBB920174967BE7AA4A2C20430FA2";

fn add(root: &Path, folder: &Path, release: &str) {
    ok(&["repo", "-C", arg(root), "add", arg(&kernel_file(folder, "k.json", release, ""))]);
}

#[test]
fn a_repository_is_carried_whole_and_then_by_what_is_new() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (origin, copy, bare) = (folder.join("origin"), folder.join("copy"), folder.join("bare.git"));
    new_repository(&origin);
    let (typed, text) = typed_module(folder, GUID, 32);
    ok(&["repo", "-C", arg(&origin), "add", arg(&typed)]);
    let whole = folder.join("whole.bundle");
    ok(&["repo", "-C", arg(&origin), "bundle", "create", arg(&whole)]);
    git(&origin, &["bundle", "verify", "--quiet", arg(&whole)]);
    let again = fails(&origin, &["bundle", "create", arg(&whole)], 1);
    assert!(again.contains("--overwrite"), "{again}");
    ok(&["--overwrite", "repo", "-C", arg(&origin), "bundle", "create", arg(&whole)]);
    ok(&["repo", "-C", arg(&copy), "bundle", "apply", arg(&whole)]);
    ok(&["repo", "-C", arg(&bare), "bundle", "apply", "--bare", arg(&whole)]);
    for place in [&copy, &bare] {
        assert_eq!(head(place), head(&origin));
        assert_eq!(ok(&["repo", "-C", arg(place), "get", GUID]), text);
        check_whole(place);
    }
    assert_eq!(git(&copy, &["status", "--porcelain", "--ignored"]), "");
    // git alone reads it too.
    git(folder, &["clone", "--quiet", arg(&whole), "by-git"]);
    assert_eq!(head(&folder.join("by-git")), head(&origin));

    let list = folder.join("have");
    ok(&["--output", arg(&list), "repo", "-C", arg(&copy), "bundle", "have"]);
    let nothing = fails(&origin, &["bundle", "create", "--have", arg(&list), arg(&folder.join("none"))], 1);
    assert!(nothing.contains("no file was written") && !folder.join("none").exists(), "{nothing}");
    for i in 0..3 {
        add(&origin, folder, &format!("6.1.{i}-amd64"));
    }
    let new = folder.join("new.bundle");
    ok(&["repo", "-C", arg(&origin), "bundle", "create", "--have", arg(&list), arg(&new)]);
    let carried = git(&origin, &["bundle", "list-heads", arg(&new)]);
    assert!(carried.contains(&head(&origin)), "{carried}");
    assert!(std::fs::metadata(&new).expect("there").len() < std::fs::metadata(&whole).expect("there").len() * 2);
    let told = String::from_utf8(repo(&copy, &["bundle", "apply", arg(&new)]).stderr).expect("text");
    assert!(told.contains("3 commits from"), "{told}");
    assert_eq!(head(&copy), head(&origin));
    assert_eq!(git(&copy, &["status", "--porcelain", "--ignored"]), "");
    check_whole(&copy);
    let told = String::from_utf8(repo(&copy, &["bundle", "apply", arg(&new)]).stderr).expect("text");
    assert!(told.contains("nothing new"), "{told}");
    // The same by a commit's name.
    let since = folder.join("since.bundle");
    ok(&["repo", "-C", arg(&origin), "bundle", "create", "--since", "HEAD~3", arg(&since)]);
    ok(&["repo", "-C", arg(&bare), "bundle", "apply", arg(&since)]);
    assert_eq!(head(&bare), head(&origin));
    check_whole(&bare);
    let unknown = fails(&origin, &["bundle", "create", "--since", "nowhere", arg(&folder.join("none"))], 1);
    assert!(unknown.contains("nowhere"), "{unknown}");
}

#[test]
fn a_bundle_that_is_damaged_or_does_not_fit_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (origin, copy) = (folder.join("origin"), folder.join("copy"));
    new_repository(&origin);
    let file = |name: &str| folder.join(name);
    ok(&["repo", "-C", arg(&origin), "bundle", "create", arg(&file("first"))]);
    ok(&["repo", "-C", arg(&copy), "bundle", "apply", arg(&file("first"))]);
    let before = head(&copy);
    add(&origin, folder, "6.1.0-amd64");
    add(&origin, folder, "6.1.1-amd64");
    ok(&["repo", "-C", arg(&origin), "bundle", "create", "--since", "HEAD~1", arg(&file("gap"))]);
    ok(&["repo", "-C", arg(&origin), "bundle", "create", "--since", &before, arg(&file("good"))]);
    let intact = |why: &str| {
        assert_eq!(head(&copy), before, "{why}");
        assert_eq!(git(&copy, &["status", "--porcelain", "--ignored"]), "", "{why}");
        assert_eq!(git(&copy, &["for-each-ref", "refs/quaid"]), "", "{why}");
        check_whole(&copy);
    };
    let refused = fails(&copy, &["bundle", "apply", arg(&file("gap"))], 1);
    assert!(refused.contains("bundle have"), "{refused}");
    intact("a gap");
    let empty = folder.join("empty");
    let refused = fails(&empty, &["bundle", "apply", arg(&file("good"))], 1);
    assert!(refused.contains("whole one comes first") && !empty.exists(), "{refused}");
    let good = std::fs::read(file("good")).expect("readable");
    let damaged = |name: &str, bytes: &[u8]| -> PathBuf {
        std::fs::write(file(name), bytes).expect("written");
        file(name)
    };
    for cut in [0, 10, 60, good.len() / 2, good.len() - 1] {
        fails(&copy, &["bundle", "apply", arg(&damaged("cut", &good[..cut]))], 1);
        assert_eq!(head(&copy), before, "cut at {cut}");
    }
    intact("cut");
    let pack = good.windows(4).position(|window| window == b"PACK").expect("a pack");
    for at in (pack..good.len()).step_by((good.len() - pack) / 8) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x40;
        fails(&copy, &["bundle", "apply", arg(&damaged("bit", &bytes))], 1);
        assert_eq!(head(&copy), before, "a bit at {at}");
    }
    intact("a bit");
    // What the have list of a stranger names is not here.
    let other = folder.join("other");
    new_repository(&other);
    add(&other, folder, "6.2.0-amd64");
    git(&other, &["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "--quiet", "--amend", "-m", "x"]);
    git(&other, &["checkout", "--quiet", "--orphan", "alone"]);
    git(&other, &["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "alone"]);
    ok(&["--output", arg(&file("have")), "repo", "-C", arg(&other), "bundle", "have"]);
    let refused = fails(&origin, &["bundle", "create", "--have", arg(&file("have")), arg(&file("x"))], 1);
    assert!(refused.contains("no copy of this repository"), "{refused}");
    ok(&["repo", "-C", arg(&other), "bundle", "create", arg(&file("theirs"))]);
    let refused = fails(&copy, &["bundle", "apply", arg(&file("theirs"))], 1);
    assert!(refused.contains("another history"), "{refused}");
    intact("a stranger");
    ok(&["repo", "-C", arg(&copy), "bundle", "apply", arg(&file("good"))]);
    assert_eq!(head(&copy), head(&origin));
    check_whole(&copy);
}
