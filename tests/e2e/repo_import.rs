//! `repo import`: trees as people have them, with what is wrong in them told.

use crate::support::{arg, ok, run};
use std::io::Write;
use std::path::Path;
use std::process::Command;

const KERNEL: &str = "3844DBB920174967BE7AA4A2C20430FA2";
const OTHER: &str = "11111111111111111111111111111111A";

fn git(root: &Path, args: &[&str]) -> String {
    let output = Command::new("git").arg("-C").arg(root).args(args).output().expect("git starts");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// A profile as Rekall's writers lay it out.
fn kernel(guid: &str, address: u32) -> String {
    format!(
        "{{\n \"$CONSTANTS\": {{\n  \"Gamma\": {address}\n }}, \n \"$METADATA\": {{\n  \"GUID_AGE\": \"{guid}\", \n  \"PDBFile\": \"ntkrnlmp.pdb\", \n  \"Type\": \"Profile\", \n  \"arch\": \"AMD64\"\n }}, \n \"$STRUCTS\": {{\n  \"_KPCR\": [16, {{\n   \"Self\": [8, [\"Pointer\", {{\n    \"target\": \"_KPCR\"\n   }}]]\n  }}]\n }}\n}}"
    )
}

fn symlink(target: &str) -> String {
    format!(r#"{{"$METADATA": {{"Type": "Symlink", "Target": "{target}"}}}}"#)
}

fn put(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(path, bytes).expect("written");
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).expect("compressed");
    encoder.finish().expect("compressed")
}

#[test]
fn a_tree_of_rekall_s_is_imported_in_one_commit_and_packs() {
    let folder = tempfile::tempdir().expect("a folder");
    let (tree, root) = (folder.path().join("tree"), folder.path().join("profiles"));
    ok(&["repo", "init", arg(&root)]);
    let osx = r#"{"$METADATA": {"ProfileClass": "Darwin", "Type": "Profile", "arch": "AMD64"}, "$CONSTANTS": {"_version": 4096}}"#;
    put(&tree, &format!("v1.0/nt/GUID/{KERNEL}.gz"), &gzip(&kernel(KERNEL, 32)));
    put(&tree, "v1.0/Win7SP1x64.gz", &gzip(&symlink("Latest")));
    put(&tree, "v1.0/Latest.gz", &gzip(&symlink(&format!("nt/GUID/{KERNEL}"))));
    put(&tree, "v1.0/OSX/HighSierra_10.13.3_17D47.json", osx.as_bytes());
    put(
        &tree,
        "v1.0/nt/index.gz",
        &gzip(r#"{"$METADATA": {"Type": "Profile", "ProfileClass": "Index"}, "$INDEX": {}}"#),
    );
    put(&tree, "v1.0/inventory.gz", &gzip(r#"{"$METADATA": {"Type": "Inventory"}, "$INVENTORY": {}}"#));
    put(&tree, "v1.0/config.yaml", b"nt/GUID:\n  type: WindowsGUIDProfile\n");
    put(&tree, "v1.0/.hidden/x.json", b"{");
    put(&tree, "README.md", b"profiles");

    let output = run(&["repo", "-C", arg(&root), "import", arg(&tree)]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(
        told.contains("imported 2 profiles and 3 links; 0 profiles were there already, 0 were not taken"),
        "{told}"
    );
    let list = ok(&["repo", "-C", arg(&root), "list"]);
    let expected = [
        format!("GUID/{KERNEL} -> nt/GUID/{KERNEL}"),
        format!("Latest -> nt/GUID/{KERNEL}"),
        "OSX/HighSierra_10.13.3_17D47".to_owned(),
        "Win7SP1x64 -> Latest".to_owned(),
        format!("nt/GUID/{KERNEL}"),
    ];
    assert_eq!(list.lines().collect::<Vec<_>>(), expected);
    for name in [KERNEL, "Win7SP1x64", "Latest"] {
        assert_eq!(ok(&["repo", "-C", arg(&root), "get", name]), kernel(KERNEL, 32), "{name}");
    }
    ok(&["repo", "-C", arg(&root), "verify"]);
    assert_eq!(git(&root, &["rev-list", "--count", "HEAD"]).trim(), "2");
    assert_eq!(git(&root, &["status", "--porcelain"]), "");
    // Nothing of it is loose but the empty tree that a new repository begins with.
    let objects = git(&root, &["count-objects", "-v"]);
    assert!(objects.contains("count: 1\n"), "{objects}");

    // A second time nothing is to be done; what is new beside it is.
    let again = run(&["repo", "-C", arg(&root), "import", arg(&tree)]);
    assert!(
        again.status.success() && String::from_utf8_lossy(&again.stderr).contains("imported 0 profiles and 0 links; 2")
    );
    assert_eq!(git(&root, &["rev-list", "--count", "HEAD"]).trim(), "2");
    put(&tree, &format!("v1.0/nt/GUID/{OTHER}.json"), kernel(OTHER, 4096).as_bytes());
    let versions = folder.path().join("versions.tsv");
    std::fs::write(&versions, format!("# version\tGUID\n6.1.7601.17514\t{OTHER}\tWin7\n6.1\t{KERNEL}\n"))
        .expect("written");
    ok(&["repo", "-C", arg(&root), "import", arg(&tree), "--versions", arg(&versions)]);
    let links = ok(&["repo", "-C", arg(&root), "list", "ntoskrnl.exe/"]);
    assert_eq!(links, format!("ntoskrnl.exe/AMD64/6.1.7601.17514/{OTHER} -> nt/GUID/{OTHER}\n"));
    std::fs::write(&versions, "6.1.7601.17514\n").expect("written");
    let output = run(&["repo", "-C", arg(&root), "import", arg(&tree), "--versions", arg(&versions)]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("line 1"), "{output:?}");
}

#[test]
fn of_a_repository_s_tree_sources_and_parts_are_no_profiles() {
    let folder = tempfile::tempdir().expect("a folder");
    let (tree, root) = (folder.path().join("tree"), folder.path().join("profiles"));
    ok(&["repo", "init", arg(&tree)]);
    ok(&["repo", "init", arg(&root)]);
    let file = folder.path().join("kernel.json");
    std::fs::write(&file, kernel(KERNEL, 32)).expect("written");
    ok(&["repo", "-C", arg(&tree), "add", "--name", "Win7SP1x64", arg(&file)]);
    // What Rekall's repository has below its sources.
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("profile.json", zip::write::SimpleFileOptions::default()).expect("a member");
    zip.write_all(kernel(OTHER, 32).as_bytes()).expect("written");
    put(&tree, "v1.0/src/Linux/Ubuntu/4.4.0.zip", &zip.finish().expect("a zip").into_inner());
    put(&tree, "v1.0/src/Linux/cut.zip", b"PK\x03\x04cut");
    put(&tree, "v1.0/src/OSX/10.9_13A603.64bit.json", br#"{"$METADATA": {"Type": "Profile"}, "$CONSTANTS": {"a": 1}}"#);
    put(&tree, "v1.0/src/nt/guids.yaml.rejects", b"{}");

    let all = |tree: &Path| {
        let output = run(&["repo", "-C", arg(&root), "import", arg(tree)]);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, told) = all(&tree);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(
        told.lines().collect::<Vec<_>>(),
        ["imported 1 profiles and 2 links; 0 profiles were there already, 0 were not taken, 0 files are no profiles"]
    );
    let list = |root: &Path| ok(&["repo", "-C", arg(root), "list"]);
    assert_eq!(list(&root), list(&tree));
    assert_eq!(ok(&["repo", "-C", arg(&root), "get", "Win7SP1x64"]), kernel(KERNEL, 32));
    // The same by the name of its folder.
    let (code, told) = all(&tree.join("v1.0"));
    assert!(code == Some(0) && told.contains("1 profiles were there already, 0 were not taken"), "{told}");
    // A part that is lost is told.
    std::fs::remove_dir_all(tree.join("v1.0/types")).expect("removed");
    let (code, told) = all(&tree);
    assert!(code == Some(1) && told.contains("types.json") && told.contains("1 were not taken"), "{told}");
    // Of no repository, folders may be called as they like.
    let plain = folder.path().join("plain");
    put(&plain, &format!("src/{OTHER}.json"), kernel(OTHER, 64).as_bytes());
    let (code, told) = all(&plain);
    assert!(code == Some(0) && told.contains("imported 1 profiles"), "{told}");
}

#[test]
fn what_is_wrong_in_a_tree_is_told_and_stops_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let (tree, root) = (folder.path().join("tree"), folder.path().join("profiles.git"));
    ok(&["repo", "init", "--bare", arg(&root)]);
    put(&tree, &format!("v1.0/nt/GUID/{KERNEL}.json"), kernel(KERNEL, 32).as_bytes());
    // Another profile under this one's name goes where its own identity says.
    put(&tree, "v1.0/nt/GUID/22222222222222222222222222222222A.json", kernel(OTHER, 4096).as_bytes());
    put(&tree, "v1.0/a.json", symlink("b").as_bytes());
    put(&tree, "v1.0/b.json", symlink("a").as_bytes());
    put(&tree, "v1.0/dangling.json", symlink("nt/GUID/33333333333333333333333333333333A").as_bytes());
    put(&tree, "v1.0/escape.json", symlink("../../etc/passwd").as_bytes());
    put(&tree, "v1.0/con:.json", symlink(&format!("nt/GUID/{KERNEL}")).as_bytes());
    put(&tree, "v1.0/cut.json", b"{\"$METADATA\": {\"Type\": \"Profile\"");
    put(&tree, "v1.0/cut.gz", &gzip(&kernel(OTHER, 1))[..40]);
    let output = run(&["repo", "-C", arg(&root), "import", arg(&tree)]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{told}");
    for (file, why) in [
        ("a.json", "no profile at its end"),
        ("b.json", "no profile at its end"),
        ("dangling.json", "no profile at its end"),
        ("escape.json", "no profile at its end"),
        ("con:.json", "cannot be a profile's name"),
        ("cut.json", ""),
        ("cut.gz", ""),
    ] {
        let line = told.lines().find(|line| line.contains(file)).unwrap_or_else(|| panic!("{file}: {told}"));
        assert!(line.starts_with("warning: not imported: ") && line.contains(why), "{line}");
    }
    assert!(told.contains("imported 2 profiles and 2 links"), "{told}");
    ok(&["repo", "-C", arg(&root), "verify"]);
    assert!(ok(&["repo", "-C", arg(&root), "list"]).contains(&format!("nt/GUID/{OTHER}\n")));

    let nothing = folder.path().join("nothing");
    std::fs::create_dir(&nothing).expect("made");
    let output = run(&["repo", "-C", arg(&root), "import", arg(&nothing)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no profile in it"), "{output:?}");
}

#[test]
fn a_zip_is_imported_and_its_names_lead_nowhere_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, root) = (folder.path().join("profiles.zip"), folder.path().join("profiles"));
    ok(&["repo", "init", arg(&root)]);
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&file).expect("made"));
    for (name, text) in [
        (format!("v1.0/nt/GUID/{KERNEL}.json"), kernel(KERNEL, 32)),
        ("../../outside.json".to_owned(), symlink(&format!("nt/GUID/{KERNEL}"))),
        ("v1.0/src/OSX/10.9.json".to_owned(), r#"{"$METADATA": {"Type": "Profile"}}"#.to_owned()),
        ("v1.0/Win7.json".to_owned(), symlink(&format!("nt/GUID/{KERNEL}"))),
    ] {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).expect("a member");
        zip.write_all(text.as_bytes()).expect("written");
    }
    zip.finish().expect("a zip");
    let output = run(&["repo", "-C", arg(&root), "import", arg(&file)]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains("outside.json") && told.contains("1 were not taken"), "{told}");
    assert_eq!(ok(&["repo", "-C", arg(&root), "get", "Win7"]), kernel(KERNEL, 32));
    assert!(!folder.path().join("outside.json").exists());
    ok(&["repo", "-C", arg(&root), "verify"]);
}
