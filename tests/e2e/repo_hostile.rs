//! Repositories that mean harm, under every command: what is wrong is told, nothing leaves its folder, the rest is usable.
//! The trees are made by the git program; its own object names are the judge of what was left alone.

use crate::repo::{fails, git, module_file, new_repository, repo, typed_module};
use crate::repo_inventory::{commit_hostile, git_with};
use crate::serve::Served;
use crate::support::{arg, ok, run};
use std::collections::BTreeSet;
use std::path::Path;

const GUID: &str = "3844DBB920174967BE7AA4A2C20430FA2";
const OTHER: &str = "3944DBB920174967BE7AA4A2C20430FA2";

/// The files below a folder, by path from there. Links are not followed.
fn files(root: &Path, below: &str, found: &mut BTreeSet<String>) {
    for entry in root.join(below).read_dir().expect("a folder").map(|entry| entry.expect("an entry")) {
        let path = format!("{below}{}", entry.file_name().into_string().expect("text"));
        if entry.file_type().expect("a kind").is_dir() {
            files(root, &format!("{path}/"), found);
        } else {
            found.insert(path);
        }
    }
}

#[test]
fn every_command_tells_what_is_wrong_and_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles.git");
    ok(&["repo", "init", "--bare", arg(&root)]);
    let (good, text) = typed_module(folder.path(), GUID, 32);
    ok(&["repo", "-C", arg(&root), "add", arg(&good)]);
    let profile = r#"{"$METADATA": {"Type": "Profile"}}"#;
    let stored = r#"{"$METADATA": {"Type": "Stored"}, "$STORED": {"sha256": "00", "symbols": "../../../etc/passwd", "type": "Profile", "types": "types/../../x"}}"#;
    let bad = [
        ("120000", "circle", "circle"),
        ("120000", "there", "back"),
        ("120000", "back", "there"),
        ("120000", "escape", "../../../etc/passwd"),
        ("120000", "absolute", "/etc/passwd"),
        ("100644", "C:", profile),
        ("100644", "back\\slash", profile),
        ("100644", "control\u{1b}[2J", profile),
        ("100644", "same", profile),
        ("100644", "SAME", profile),
        ("100644", "stored", stored),
        ("100644", "loop", r#"{"$METADATA": {"Target": "loop", "Type": "Symlink"}}"#),
        ("100644", "out", r#"{"$METADATA": {"Target": "../../etc/passwd", "Type": "Symlink"}}"#),
        ("100644", "page", "<html>log in</html>"),
        ("100644", "inventory", "<html>log in</html>"),
        ("100644", "inventory.sig", "no signature"),
    ];
    commit_hostile(&root, &bad);
    // A file longer than a profile may be, of which nothing is read.
    let huge = folder.path().join("huge");
    std::fs::File::create(&huge).and_then(|file| file.set_len((512 << 20) + 1)).expect("a file with a hole");
    let huge = git(&root, &["hash-object", "-w", arg(&huge)]);
    let layout = git(&root, &["ls-tree", "-z", "HEAD:v1.0"]) + &format!("100644 blob {}\thuge\0", huge.trim());
    let layout = git_with(&root, &["mktree", "-z"], &layout);
    let top = git_with(&root, &["mktree"], &format!("040000 tree {layout}\tv1.0\n"));
    let commit = git(&root, &["commit-tree", "-p", "HEAD", "-m", "huge", &top]);
    git(&root, &["update-ref", "HEAD", commit.trim()]);

    let (out, name) = (folder.path().join("out"), format!("nt/GUID/{GUID}"));
    for (args, shows) in [
        (&["list"][..], name.as_str()),
        (&["search", "--struct", "_KPCR.Self"], &name),
        (&["search", "--symbol", "Alpha"], &name),
        (&["stats"], "nt"),
        (&["history", "_KPCR"], ""),
        (&["lint"], ""),
        (&["verify"], "v1.0/escape: "),
        (&["export", arg(&out)], ""),
        (&["bundle", "have"], commit.trim()),
    ] {
        let output = repo(&root, args);
        let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(matches!(output.status.code(), Some(0 | 1 | 3)) && told.contains(shows), "{args:?}: {told}");
        assert!(!told.contains('\u{1b}') && !told.contains("root:"), "{args:?}: {told}");
    }
    let verified = String::from_utf8(repo(&root, &["verify"]).stdout).expect("text");
    for name in ["circle", "there", "back", "escape", "absolute", "stored", "loop", "out", "page", "inventory", "huge"]
    {
        assert!(verified.lines().any(|line| line.starts_with(&format!("v1.0/{name}: "))), "{name}: {verified}");
    }
    assert!(verified.contains("536870913 bytes"), "{verified}");
    for name in ["circle", "there", "escape", "absolute", "stored", "loop", "out", "page", "huge", ".."] {
        assert_eq!(repo(&root, &["get", name]).status.code(), Some(1), "{name}");
    }
    assert_eq!(ok(&["repo", "-C", arg(&root), "get", GUID]), text);
    // What the export wrote: names that may be files, with what they are, and an inventory of its own.
    let mut written = BTreeSet::new();
    files(&out, "", &mut written);
    let expected =
        ["GUID/{}.gz", "SAME.gz", "inventory", "inventory.gz", "loop.gz", "nt/GUID/{}.gz", "out.gz", "same.gz"];
    let expected: BTreeSet<String> = expected.iter().map(|path| format!("v1.0/{}", path.replace("{}", GUID))).collect();
    assert_eq!(written, expected);
    assert!(ok(&["repo", "-C", arg(&root), "remove", "same"]).is_empty());
    // Another profile goes in beside it all, and the tree around it stays what it was.
    let other = module_file(folder.path(), "other.json", "tcpip.pdb", OTHER, 7);
    let entries =
        |root: &Path| git(root, &["ls-tree", "HEAD:v1.0"]).lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let before = entries(&root);
    ok(&["repo", "-C", arg(&root), "add", arg(&other)]);
    let after = entries(&root);
    let changed: BTreeSet<&str> = after.difference(&before).filter_map(|line| line.split('\t').nth(1)).collect();
    assert_eq!(changed, BTreeSet::from(["GUID", "tcpip"]));
    assert!(ok(&["repo", "-C", arg(&root), "get", OTHER]).contains("\"Symbol\": 7"));
}

/// A tree of ten entries that are the same tree of ten entries, nine deep: a thousand million names in ten objects.
#[test]
fn a_tree_that_unfolds_without_end_is_refused_and_look_ups_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles.git");
    ok(&["repo", "init", "--bare", arg(&root)]);
    ok(&["repo", "-C", arg(&root), "add", arg(&module_file(folder.path(), "good", "ntkrnlmp.pdb", GUID, 7))]);
    let blob = git_with(&root, &["hash-object", "-w", "--stdin"], "x");
    let mut entry = format!("100644 blob {blob}");
    for _ in 0..9 {
        let lines = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(|number| format!("{entry}\tn{number}\n"));
        entry = format!("040000 tree {}", git_with(&root, &["mktree"], &lines.concat()));
    }
    let layout = git(&root, &["ls-tree", "HEAD:v1.0"]) + &format!("{entry}\tbomb\n");
    let layout = git_with(&root, &["mktree"], &layout);
    let top = git_with(&root, &["mktree"], &format!("040000 tree {layout}\tv1.0\n"));
    let commit = git(&root, &["commit-tree", "-p", "HEAD", "-m", "bomb", &top]);
    git(&root, &["update-ref", "HEAD", commit.trim()]);
    let told = fails(&root, &["list"], 1);
    assert!(told.contains("more than 1000000 names"), "{told}");
    assert!(ok(&["repo", "-C", arg(&root), "get", GUID]).contains("\"Symbol\": 7"));
    // Folders as deep as git makes them.
    let mut entry = format!("100644 blob {blob}");
    for _ in 0..200 {
        entry = format!("040000 tree {}", git_with(&root, &["mktree"], &format!("{entry}\td\n")));
    }
    let top = git_with(&root, &["mktree"], &format!("{entry}\tv1.0\n"));
    let commit = git(&root, &["commit-tree", "-p", "HEAD", "-m", "deep", &top]);
    git(&root, &["update-ref", "HEAD", commit.trim()]);
    assert!(fails(&root, &["list"], 1).contains("deeper than 32"));
}

/// One build of three whose object git has lost, on the disk or on the way.
#[test]
fn a_build_that_cannot_be_read_is_told_and_searches_and_histories_have_the_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    let builds = ["1", "2", "3"].map(|first| GUID.replacen('3', first, 1));
    for (at, guid) in builds.iter().enumerate() {
        let (file, text) = typed_module(folder.path(), guid, 32 + at);
        std::fs::write(&file, text.replace("[16, {", &format!("[{}, {{", 16 + 8 * at))).expect("written");
        ok(&["repo", "-C", arg(&root), "add", arg(&file)]);
    }
    let stored = |guid: &str, what: &str| {
        let path = format!("HEAD:v1.0/nt/GUID/{}/{guid}", &guid[..2]);
        let stored: serde_json::Value = serde_json::from_str(&git(&root, &["show", &path])).expect("JSON");
        let part = stored["$STORED"][what].as_str().expect("stored in parts").to_owned();
        let id = git(&root, &["rev-parse", &format!("HEAD:v1.0/{part}")]);
        root.join(".git/objects").join(&id[..2]).join(id[2..].trim())
    };
    let served = Served::start(&root, &[]);
    let page = |path: &str| {
        let (status, body) = served.get(path);
        let html = String::from_utf8(body).expect("text");
        assert_eq!(status, 200, "{path}: {html}");
        html
    };
    let history = |asked: &str| {
        let output = repo(&root, &["history", asked]);
        (output.status.code(), output.stdout, String::from_utf8(output.stderr).expect("text"))
    };
    let (before, page_before) = (history("_KPCR"), page("/search?q=_KPCR"));
    assert!(before.0 == Some(0) && before.2.is_empty() && page_before.contains(&format!("newest: {}", builds[2])));
    assert!(!page_before.contains("left out"), "{page_before}");
    // The one in the middle and the newest, each by itself.
    for lost in [1, 2] {
        let name = format!("nt/GUID/{}", builds[lost]);
        let object = stored(&builds[lost], "types");
        let aside = folder.path().join("aside");
        std::fs::rename(&object, &aside).expect("a loose object");
        for (asked, builds_told) in [("_KPCR", 2), ("_KPCR.Self", 2)] {
            let (code, rows, told) = history(asked);
            let rows = String::from_utf8(rows).expect("text");
            assert!(code == Some(3) && told.contains(&format!("warning: {name}: ")), "{code:?} {told}");
            assert_eq!(told.lines().count(), 1, "{told}");
            assert!(rows.lines().any(|row| row.contains(&builds[lost]) && row.contains('?')), "{rows}");
            let others = builds.iter().filter(|guid| **guid != builds[lost] && rows.contains(guid.as_str()));
            assert_eq!(others.count(), builds_told, "{rows}");
        }
        let html = page("/history?module=nt&arch=AMD64&struct=_KPCR");
        assert!(html.contains("1 file left out") && html.contains(&name), "{html}");
        assert!(html.contains("2 builds, 2 forms"), "{html}");
        assert_eq!(served.get("/history?module=nt&arch=AMD64&struct=_NONE").0, 404);
        std::fs::rename(&aside, &object).expect("back");
    }
    // A search is in the newest that can be read. What was read before the loss may still be known.
    let fresh = Served::start(&root, &[]);
    std::fs::remove_file(stored(&builds[2], "symbols")).expect("a loose object");
    let (status, body) = fresh.get("/search?q=_KPCR");
    let html = String::from_utf8(body).expect("text");
    assert!(status == 200 && html.contains(&format!("newest: {}", builds[1])), "{status} {html}");
    assert!(html.contains("1 file left out") && html.contains(&format!("nt/GUID/{}", builds[2])), "{html}");
    // The small file of one: it is in no list of builds, and that is told too.
    let path = format!("HEAD:v1.0/nt/GUID/{}/{}", &builds[0][..2], builds[0]);
    let id = git(&root, &["rev-parse", &path]);
    std::fs::remove_file(root.join(".git/objects").join(&id[..2]).join(id[2..].trim())).expect("a loose object");
    let (code, _, told) = history("_KPCR");
    assert!(code == Some(3) && told.contains(&format!("warning: nt/GUID/{}: ", builds[0])), "{code:?} {told}");
    let (status, body) = Served::start(&root, &[]).get("/");
    assert!(status == 200 && String::from_utf8_lossy(&body).contains("1 file left out"));
}

/// The same as a plain folder, which has no git to say what is a link.
#[test]
fn a_plain_folder_is_not_left_and_does_not_loop() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, tree) = (folder.path().join("profiles"), folder.path().join("tree"));
    new_repository(&root);
    ok(&["repo", "-C", arg(&root), "add", arg(&typed_module(folder.path(), GUID, 32).0)]);
    ok(&["repo", "-C", arg(&root), "export", "--plain", arg(&tree)]);
    std::fs::write(folder.path().join("secret"), r#"{"$METADATA": {"Type": "Profile"}}"#).expect("written");
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, tree.join("v1.0").join(name)).expect("linked");
    link("round", "round");
    link("../../secret", "escape");
    link("..", "up");
    std::fs::File::create(tree.join("v1.0/huge")).and_then(|file| file.set_len(1 << 40)).expect("a file with a hole");
    std::fs::write(tree.join("v1.0/inventory"), "<html>log in</html>").expect("written");
    let image = folder.path().join("image");
    std::fs::write(&image, "no image").expect("written");
    let asked = |name: &str| {
        let output = run(&["--profile_path", arg(&tree), "-v", "-p", name, "-f", arg(&image), "pslist"]);
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for (name, why) in [
        ("round", "symbolic links"),
        ("escape", "leads out of the repository"),
        ("huge", "1099511627776 bytes"),
        ("../secret", "relative path"),
    ] {
        let told = asked(name);
        assert!(told.contains(why) && !told.contains("Loaded profile"), "{name}: {told}");
    }
    // A bad inventory hides nothing.
    assert!(asked(GUID).contains(&format!("Loaded profile nt/GUID/{GUID}")), "{}", asked(GUID));
    let verified = String::from_utf8(repo(&tree, &["verify"]).stdout).expect("text");
    for name in ["round", "escape", "up", "huge", "inventory"] {
        assert!(verified.lines().any(|line| line.starts_with(&format!("v1.0/{name}: "))), "{name}: {verified}");
    }
    assert!(!verified.contains(GUID), "{verified}");
}
