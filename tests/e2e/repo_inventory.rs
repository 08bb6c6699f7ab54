//! What a repository has, whoever made it. The trees are made by the git program.

use crate::repo::{git, module_file, repo};
use crate::support::{arg, ok};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

const GUID: &str = "3844DBB920174967BE7AA4A2C20430FA2";

/// What the git program prints when it is given `input`.
fn git_with(root: &Path, args: &[&str], input: &str) -> String {
    let mut child = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("git ends");
    assert!(output.status.success(), "git {args:?}");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// Commits a tree whose folder `v1.0` is that of HEAD and these entries (mode, name, content), whatever git thinks of them.
fn commit_hostile(root: &Path, entries: &[(&str, &str, &str)]) {
    let mut lines: Vec<String> =
        git(root, &["ls-tree", "-z", "HEAD:v1.0"]).split_terminator('\0').map(str::to_owned).collect();
    for (mode, name, content) in entries {
        let id = git_with(root, &["hash-object", "-w", "--stdin"], content);
        lines.push(format!("{mode} blob {id}\t{name}"));
    }
    let layout = git_with(root, &["mktree", "-z"], &(lines.join("\0") + "\0"));
    let top = git_with(root, &["mktree"], &format!("040000 tree {layout}\tv1.0\n"));
    let commit = git(root, &["commit-tree", "-p", "HEAD", "-m", "hostile", &top]);
    git(root, &["update-ref", "HEAD", commit.trim()]);
}

#[test]
fn what_a_hostile_tree_has_is_told_and_the_rest_is_usable() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles.git");
    ok(&["repo", "init", "--bare", arg(&root)]);
    ok(&["repo", "-C", arg(&root), "add", arg(&module_file(folder.path(), "good", "ntkrnlmp.pdb", GUID, 7))]);
    let profile = r#"{"$METADATA": {"Type": "Profile"}}"#;
    let bad = [
        ("120000", "circle", "circle"),
        ("120000", "escape", "../../../etc/passwd"),
        ("120000", "absolute", "/etc/passwd"),
        ("120000", "nowhere", "gone"),
        ("100644", "..", profile),
        ("100644", "C:", profile),
        ("100644", "back\\slash", profile),
        ("100644", "control\u{1b}[2J", profile),
    ];
    commit_hostile(&root, &bad);
    commit_hostile(&root, &[("120000", "module", "nt"), ("100644", "same", profile), ("100644", "SAME", profile)]);

    let output = repo(&root, &["list"]);
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).expect("text"), String::from_utf8(output.stderr).expect("text"));
    assert!(output.status.success(), "{stderr}");
    let link = format!("GUID/{GUID} -> nt/GUID/{GUID}");
    assert_eq!(stdout.lines().collect::<Vec<_>>(), [&link, "SAME", "module -> nt", &format!("nt/GUID/{GUID}"), "same"]);
    // What begins with a dot is git's.
    for (_, name, _) in bad.iter().filter(|(_, name, _)| *name != "..") {
        let shown = name.replace('\u{1b}', "?");
        assert!(stderr.contains(&format!("warning: v1.0/{shown}: ")), "{shown}: {stderr}");
    }
    assert!(stderr.contains("differs in case alone: SAME, same"), "{stderr}");
    assert!(!stderr.contains('\u{1b}'), "{stderr}");
    // Over a link of git to a folder, and by GUID.
    for name in [&format!("module/GUID/{GUID}"), GUID] {
        assert!(ok(&["repo", "-C", arg(&root), "get", name]).contains("\"Symbol\": 7"), "{name}");
    }
    for name in ["circle", "escape", "absolute", "nowhere", ".."] {
        assert_eq!(repo(&root, &["get", name]).status.code(), Some(1), "{name}");
    }
    assert_eq!(repo(&root, &["verify"]).status.code(), Some(1));
}
