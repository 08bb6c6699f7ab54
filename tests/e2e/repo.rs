//! `repo`: profiles in git. The judge is the git program: its `fsck`, `log`, `status` and `cat-file`.

use crate::support::{arg, corpus, ok, quaid, run, unpacked};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The files and GUIDs of two profiles that Rekall wrote in 2014.
const REKALL: [(&str, &str); 2] = [
    ("ntkrnlpa.pdb.bd8f451f3e754ed8a34b50560ceb08e31.rekall.json", "BD8F451F3E754ED8A34B50560CEB08E33"),
    ("ntoskrnl.pdb.32962337f0f646388b39535cd8dd70e82.rekall.json", "32962337F0F646388B39535CD8DD70E83"),
];

pub(crate) const KERNEL: &str = "Linux/Debian/6.1/amd64/6.1.0-9-amd64";

/// What the git program prints; it must succeed.
pub(crate) fn git(root: &Path, args: &[&str]) -> String {
    let output = Command::new("git").arg("-C").arg(root).args(args).output().expect("git starts");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "git {args:?}: {told}");
    String::from_utf8(output.stdout).expect("text")
}

/// git finds nothing wrong, and quaid neither.
pub(crate) fn check_whole(root: &Path) {
    let output =
        Command::new("git").arg("-C").arg(root).args(["fsck", "--strict", "--no-dangling", "--no-progress"]).output();
    let output = output.expect("git starts");
    let told = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && told.is_empty(), "git fsck: {}", String::from_utf8_lossy(&told));
    ok(&["repo", "-C", arg(root), "verify"]);
}

pub(crate) fn new_repository(root: &Path) {
    ok(&["repo", "init", arg(root)]);
}

/// Runs `quaid repo -C root ...`.
pub(crate) fn repo(root: &Path, args: &[&str]) -> Output {
    run(&[&["repo", "-C", arg(root)], args].concat())
}

/// The text of stderr of a run that must end with this code and print no data.
pub(crate) fn fails(root: &Path, args: &[&str], code: i32) -> String {
    let output = repo(root, args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{args:?}");
    stderr
}

/// A small profile of a Linux kernel, as a file.
pub(crate) fn kernel_file(folder: &Path, file: &str, release: &str, more: &str) -> PathBuf {
    let text = format!(
        r#"{{"$METADATA": {{"ProfileClass": "Linux", "Release": "{release}", "Type": "Profile", "arch": "AMD64"{more}}},
            "$STRUCTS": {{"list_head": [16, {{"next": [0, ["Pointer", {{"target": "list_head"}}]]}}]}}}}"#
    );
    let path = folder.join(file);
    std::fs::write(&path, text).expect("written");
    path
}

/// A small profile of a Windows module.
pub(crate) fn module_file(folder: &Path, file: &str, pdb: &str, guid: &str, constant: usize) -> PathBuf {
    let text = format!(
        r#"{{"$CONSTANTS": {{"Symbol": {constant}}}, "$METADATA": {{"GUID_AGE": "{guid}", "PDBFile": "{pdb}", "Type": "Profile"}}}}"#
    );
    let path = folder.join(file);
    std::fs::write(&path, text).expect("written");
    path
}

#[test]
fn profiles_of_2014_come_back_byte_for_byte_from_a_work_tree_and_a_bare_clone() {
    let Some(profiles) = corpus("windows/rekall-profiles") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (root, bare) = (folder.path().join("profiles"), folder.path().join("bare.git"));
    new_repository(&root);
    let files: Vec<PathBuf> = REKALL.iter().map(|(file, _)| profiles.join(file)).collect();
    let add = ["add", arg(&files[0]), arg(&files[1])];
    assert!(repo(&root, &add).status.success());
    check_whole(&root);
    assert_eq!(git(&root, &["status", "--porcelain"]), "");
    assert_eq!(git(&root, &["log", "--format=%s"]).lines().count(), 2);
    let message = git(&root, &["log", "-1", "--format=%B"]);
    assert!(message.contains(&format!("nt/GUID/{} from {}", REKALL[0].1, REKALL[0].0)), "{message}");
    assert!(!message.contains(arg(&profiles)), "a folder of the machine: {message}");

    git(folder.path(), &["clone", "--quiet", "--bare", arg(&root), arg(&bare)]);
    for ((_, guid), file) in REKALL.iter().zip(&files) {
        let original = std::fs::read(file).expect("readable");
        for place in [&root, &bare] {
            for name in [format!("nt/GUID/{guid}"), format!("GUID/{}", guid.to_lowercase()), guid[..32].to_owned()] {
                let output = repo(place, &["get", &name]);
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                assert!(output.stdout == original, "{name} of {} differs", place.display());
            }
        }
        // The oracle: what git has, and what lies in the work tree.
        let path = root.join(format!("v1.0/nt/GUID/{}/{guid}", &guid[..2]));
        assert!(std::fs::read(path).expect("in the work tree, undivided") == original);
        let target = folder.path().join(guid);
        ok(&["--output", arg(&target), "repo", "-C", arg(&bare), "get", guid]);
        assert!(std::fs::read(&target).expect("written") == original);
    }
    let again = repo(&root, &add);
    assert!(again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("nothing to do"));
    assert_eq!(git(&root, &["log", "--format=%s"]).lines().count(), 2, "no commit for nothing");
}

#[test]
fn an_isf_file_is_stored_as_a_profile_and_found_by_its_banner() {
    let Some(isf) = unpacked("linux/profiles/debian-6.1.0-56-cloud-amd64.isf.json") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    ok(&["repo", "-C", arg(&root), "add", arg(&isf)]);
    let name = "Linux/Debian/6.1/amd64/6.1.0-56-cloud-amd64";
    let stored: serde_json::Value = serde_json::from_str(&ok(&["repo", "-C", arg(&root), "get", name])).expect("JSON");
    let original: serde_json::Value = serde_json::from_slice(&std::fs::read(&isf).expect("readable")).expect("JSON");
    assert_eq!(stored["$STRUCTS"]["task_struct"][0], original["user_types"]["task_struct"]["size"]);
    assert_eq!(
        stored["$STRUCTS"]["task_struct"][1]["pid"][0],
        original["user_types"]["task_struct"]["fields"]["pid"]["offset"]
    );
    let index: serde_json::Value =
        serde_json::from_str(&git(&root, &["cat-file", "blob", "HEAD:v1.0/Linux/banners"])).expect("JSON");
    let banners = index["$BANNERS"].as_object().expect("an object");
    assert_eq!(banners.values().collect::<Vec<_>>(), [&serde_json::json!([name])]);
    let banner = banners.keys().next().expect("one");
    assert!(banner.starts_with("Linux version 6.1.0-56-cloud-amd64 (") && !banner.ends_with('\n'), "{banner}");
    check_whole(&root);
}

#[test]
fn a_banner_can_be_recorded_later_and_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    // As long as a GUID with an age of eight digits.
    let build_id = "00ffaa10b1c2d3e4f5061728394a5b6c7d8e9f00";
    let file = kernel_file(folder.path(), "a.json", "6.1.0-9-amd64", &format!(r#", "BuildID": "{build_id}""#));
    let add = |more: &[&str]| repo(&root, &[&["add", arg(&file)], more].concat());
    let commits = || git(&root, &["log", "--format=%s"]).lines().count();
    assert!(add(&[]).status.success());
    let banner = "Linux version 6.1.0-9-amd64 (builder) #1 SMP";
    let refused = fails(&root, &["add", arg(&file), "--banner", "Linux version 5.10.0 x"], 1);
    assert!(refused.contains("5.10.0"), "{refused}");
    assert!(add(&["--banner", banner]).status.success());
    assert_eq!(commits(), 3);
    // The file without its banner is the same profile: it takes nothing away.
    assert!(add(&[]).status.success());
    assert_eq!(commits(), 3);
    let stored: serde_json::Value =
        serde_json::from_str(&ok(&["repo", "-C", arg(&root), "get", &format!("Linux/BUILDID/{build_id}")]))
            .expect("JSON");
    assert_eq!(stored["$METADATA"]["Banner"], banner);
    assert!(repo(&root, &["get", &format!("Linux/BUILDID/{}", build_id.to_uppercase())]).status.success());
    let index = git(&root, &["show", "HEAD:v1.0/Linux/banners"]);
    let index: serde_json::Value = serde_json::from_str(&index).expect("JSON");
    assert_eq!(index["$BANNERS"][banner], serde_json::json!([KERNEL]));
    assert_eq!(index["$RELEASES"]["6.1.0-9-amd64"], serde_json::json!([KERNEL]));
    check_whole(&root);
}

#[test]
fn other_content_of_the_same_identity_needs_replace_and_bad_files_stop_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    let guid = "3844DBB920174967BE7AA4A2C20430FA2";
    let first = module_file(folder.path(), "first.json", "ntkrnlmp.pdb", guid, 1);
    let second = module_file(folder.path(), "second.json", "ntkrnlmp.pdb", guid, 2);
    let kernel = kernel_file(folder.path(), "kernel.json", "6.1.0-9-amd64", "");
    let nameless = folder.path().join("nameless.json");
    std::fs::write(&nameless, r#"{"$METADATA": {"Type": "Profile"}, "$CONSTANTS": {"a": 1}}"#).expect("written");
    let page = folder.path().join("page.html");
    std::fs::write(&page, "<html>log in</html>").expect("written");

    assert!(repo(&root, &["add", arg(&first)]).status.success());
    let told = fails(&root, &["add", arg(&second)], 1);
    assert!(told.contains("--replace") && told.contains(guid), "{told}");
    let told = fails(&root, &["add", arg(&nameless)], 1);
    assert!(told.contains("--name"), "{told}");
    let told = fails(&root, &["add", arg(&second), arg(&page), arg(&kernel), arg(&nameless)], 3);
    for name in ["second.json", "page.html", "nameless.json"] {
        assert_eq!(
            told.lines().filter(|line| line.starts_with("warning: ") && line.contains(name)).count(),
            1,
            "{told}"
        );
    }
    assert_eq!(git(&root, &["log", "-1", "--format=%s"]).trim(), format!("add: {KERNEL} from kernel.json"));
    fails(&root, &["add", arg(&page), arg(&nameless)], 1);
    assert!(repo(&root, &["add", "--replace", arg(&second)]).status.success());
    assert!(ok(&["repo", "-C", arg(&root), "get", guid]).contains("\"Symbol\": 2"));
    assert!(repo(&root, &["add", "--name", "helpers/nameless", arg(&nameless)]).status.success());
    assert!(repo(&root, &["add", "--name", "Win7SP1x64", arg(&second)]).status.success());
    let list = ok(&["repo", "-C", arg(&root), "list"]);
    let expected = [
        &format!("GUID/{guid} -> nt/GUID/{guid}"),
        KERNEL,
        "Linux/banners",
        &format!("Win7SP1x64 -> nt/GUID/{guid}"),
        "helpers/nameless",
        &format!("nt/GUID/{guid}"),
    ];
    assert_eq!(list.lines().collect::<Vec<_>>(), expected);
    let rows: serde_json::Value =
        serde_json::from_str(&ok(&["--format", "json", "repo", "-C", arg(&root), "list", "Win"])).expect("JSON");
    assert_eq!(
        rows,
        serde_json::json!([{"name": "Win7SP1x64", "type": "symlink", "target": format!("nt/GUID/{guid}")}])
    );
    check_whole(&root);
}

#[test]
fn links_that_would_break_the_tree_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    let guid = "3844DBB920174967BE7AA4A2C20430FA2";
    ok(&["repo", "-C", arg(&root), "add", arg(&module_file(folder.path(), "a.json", "ntkrnlmp.pdb", guid, 1))]);
    let name = format!("nt/GUID/{guid}");
    ok(&["repo", "-C", arg(&root), "link", "A", &name]);
    ok(&["repo", "-C", arg(&root), "link", "B", "A"]);
    let commits = git(&root, &["log", "--format=%s"]).lines().count();
    for (args, why) in [
        (vec!["link", "nt", "A"], "folder"),
        (vec!["link", "A/x", "B"], "goes through"),
        (vec!["link", &name, "A"], "circle"),
        (vec!["link", "--replace", "A", "B"], "circle"),
        (vec!["link", "C", "C"], "gives no profile"),
        (vec!["link", "C", "nowhere"], "gives no profile"),
        (vec!["link", "B", &name], "--replace"),
        (vec!["link", "../C", "A"], "relative"),
        (vec!["link", ".git/config", "A"], "dot"),
        (vec!["link", "config.yaml", "A"], "keeps it"),
        (vec!["link", "Linux/banners", "A"], "keeps it"),
        (vec!["link", "nt/GUID/11111111111111111111111111111111A", "A"], guid),
        (vec!["link", "nt/GUID/mine", "A"], guid),
    ] {
        let told = fails(&root, &args, 1);
        assert!(told.contains(why), "{args:?}: {told}");
    }
    let other = module_file(folder.path(), "b.json", "ntdll.pdb", "3844DBB920174967BE7AA4A2C20430FA3", 1);
    ok(&["repo", "-C", arg(&root), "add", arg(&other)]);
    let told = fails(&root, &["link", "--replace", "ntdll/GUID/3844DBB920174967BE7AA4A2C20430FA3", "A"], 1);
    assert!(told.contains("is a profile"), "{told}");
    ok(&["repo", "-C", arg(&root), "link", "--replace", "B", &name]);
    ok(&["repo", "-C", arg(&root), "link", "B", &name]);
    assert_eq!(git(&root, &["log", "--format=%s"]).lines().count(), commits + 2);
    // As long a chain as is followed, and not one more.
    for i in 1..8 {
        let target = if i == 1 { "B".to_owned() } else { format!("chain{}", i - 1) };
        ok(&["repo", "-C", arg(&root), "link", &format!("chain{i}"), &target]);
    }
    fails(&root, &["link", "chain8", "chain7"], 1);
    assert!(ok(&["repo", "-C", arg(&root), "get", "chain7"]).contains(guid));
    check_whole(&root);
}

#[test]
fn what_a_person_changed_is_never_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    let file = kernel_file(folder.path(), "a.json", "6.1.0-9-amd64", "");
    let in_tree = root.join("v1.0").join(KERNEL);
    std::fs::create_dir_all(in_tree.parent().expect("a folder")).expect("created");
    std::fs::write(&in_tree, "my notes").expect("written");
    let told = fails(&root, &["add", arg(&file)], 1);
    assert!(told.contains(arg(&in_tree)), "{told}");
    assert_eq!(git(&root, &["log", "--format=%s"]).lines().count(), 1);
    std::fs::remove_file(&in_tree).expect("removed");
    // A folder that leads elsewhere is not written through.
    let outside = folder.path().join("outside");
    std::fs::create_dir(&outside).expect("created");
    std::fs::remove_dir_all(root.join("v1.0/Linux")).expect("removed");
    std::os::unix::fs::symlink(&outside, root.join("v1.0/Linux")).expect("linked");
    fails(&root, &["add", arg(&file)], 1);
    assert_eq!(outside.read_dir().expect("readable").count(), 0);
    std::fs::remove_file(root.join("v1.0/Linux")).expect("removed");

    assert!(repo(&root, &["add", arg(&file)]).status.success());
    let other = kernel_file(folder.path(), "b.json", "6.1.0-9-amd64", r#", "Note": "other""#);
    std::fs::write(&in_tree, "my work").expect("written");
    fails(&root, &["add", "--replace", arg(&other)], 1);
    assert_eq!(std::fs::read_to_string(&in_tree).expect("readable"), "my work");
    // What is staged is somebody's work too.
    git(&root, &["add", "v1.0"]);
    std::fs::remove_file(&in_tree).expect("removed");
    let told = fails(&root, &["add", "--replace", arg(&other)], 1);
    assert!(told.contains("staged"), "{told}");
}

/// A clone of `root` whose work tree has no file.
fn clone_without_files(root: &Path, folder: &Path) -> PathBuf {
    let clone = folder.join("clone");
    git(folder, &["clone", "--quiet", "--no-checkout", arg(root), arg(&clone)]);
    clone
}

#[test]
fn what_is_committed_and_missing_in_the_work_tree_is_restored_by_add() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    let file = kernel_file(folder.path(), "a.json", "6.1.0-9-amd64", r#", "BuildID": "00ffaa10""#);
    let add = |root: &Path| String::from_utf8(repo(root, &["add", arg(&file)]).stderr).expect("text");
    add(&root);
    let files = [KERNEL, "Linux/BUILDID/00ffaa10", "Linux/banners"];
    let clone = clone_without_files(&root, folder.path());
    let told = add(&clone);
    assert!(told.contains(KERNEL) && told.contains("it is there again") && !told.contains("nothing to do"), "{told}");
    for name in files {
        let path = Path::new("v1.0").join(name);
        let text = std::fs::read_to_string(clone.join(&path)).expect("restored");
        assert_eq!(text, git(&root, &["cat-file", "blob", &format!("HEAD:{}", arg(&path))]));
        assert_eq!(git(&clone, &["status", "--porcelain", arg(&path)]), "");
    }
    assert_eq!(git(&clone, &["log", "--format=%H"]), git(&root, &["log", "--format=%H"]), "no commit for it");
    assert!(add(&clone).contains("nothing to do"));
    // What a person wrote or staged there is theirs.
    let kernel = clone.join("v1.0").join(KERNEL);
    std::fs::write(&kernel, "my work").expect("written");
    assert!(add(&clone).contains("nothing to do"));
    git(&clone, &["add", arg(&kernel)]);
    std::fs::remove_file(&kernel).expect("removed");
    assert!(add(&clone).contains("nothing to do"));
    assert!(!kernel.exists());
}

#[test]
fn what_was_made_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    ok(&["repo", "-C", arg(folder.path()), "init", "profiles"]);
    let guid = "3844DBB920174967BE7AA4A2C20430FA2";
    let file = module_file(folder.path(), "we\nird\x1b[31m.json", "ntkrnlmp.pdb", guid, 1);
    let told = |args: &[&str]| String::from_utf8(repo(&root, args).stderr).expect("text");
    let first = told(&["add", arg(&file)]);
    assert!(first.contains(&format!("added nt/GUID/{guid} from ")), "{first}");
    assert!(first.contains("we\\nird\\u{1b}[31m.json\n") && !first.contains('\x1b'), "{first}");
    let message = git(&root, &["log", "-1", "--format=%B"]);
    assert_eq!(message.trim(), format!("add: nt/GUID/{guid} from we\\nird\\u{{1b}}[31m.json"));
    let link = told(&["add", "--name", "foo", arg(&file)]);
    assert!(link.contains(&format!("linked foo -> nt/GUID/{guid}")) && !link.contains("added"), "{link}");
    assert_eq!(git(&root, &["log", "-1", "--format=%s"]).trim(), format!("add: foo -> nt/GUID/{guid}"));
    let other = "11111111111111111111111111111111A";
    let refused = fails(&root, &["add", "--name", &format!("nt/GUID/{other}"), arg(&file)], 1);
    assert!(refused.contains(other) && refused.contains(guid) && !refused.contains('\x1b'), "{refused}");
    let missing = fails(&root, &["add", "no\x1bfile"], 1);
    assert!(missing.contains("no\\u{1b}file: "), "{missing}");
    check_whole(&root);
}

#[test]
fn a_file_longer_than_a_profile_may_be_is_refused_unread() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    let long = folder.path().join("long.json");
    std::fs::File::create(&long).and_then(|file| file.set_len(1 << 40)).expect("a file with a hole");
    let told = fails(&root, &["add", arg(&long)], 1);
    assert!(told.contains("long.json: it has 1099511627776 bytes"), "{told}");
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    // More than a block of output, so that it is written while the list is.
    let file = |i: usize| kernel_file(folder.path(), &format!("{i}.json"), &format!("6.1.{i}-amd64"), "");
    let files: Vec<PathBuf> = (0..120).map(file).collect();
    assert!(quaid().args(["repo", "-C", arg(&root), "add"]).args(&files).output().expect("it runs").status.success());
    for format in ["text", "json"] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = quaid();
        command.args(["--format", format, "repo", "-C", arg(&root), "list"]).stdout(writer);
        let output = command.output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && told.is_empty(), "{format}: {:?} {told}", output.status);
    }
}

#[test]
fn init_refuses_a_folder_that_is_a_repository_or_has_files_in_the_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    check_whole(&root);
    assert_eq!(git(&root, &["config", "pack.window"]).trim(), "200");
    let output = run(&["repo", "init", arg(&root)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("already"));
    let used = folder.path().join("used");
    std::fs::create_dir(&used).expect("created");
    std::fs::write(used.join("README.md"), "mine").expect("written");
    assert_eq!(run(&["repo", "init", arg(&used)]).status.code(), Some(1));
    assert!(!used.join(".git").exists());
    let bare = folder.path().join("bare.git");
    ok(&["repo", "init", "--bare", arg(&bare)]);
    ok(&["repo", "-C", arg(&bare), "add", arg(&kernel_file(folder.path(), "a.json", "6.1.0-9-amd64", ""))]);
    assert!(ok(&["manage_repo", "-C", arg(&bare), "list"]).contains(KERNEL));
    check_whole(&bare);
    // Somebody's source code is no profile repository.
    let other = folder.path().join("other");
    git(folder.path(), &["init", "--quiet", arg(&other)]);
    git(
        &other,
        &["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "--quiet", "--allow-empty", "-m", "x"],
    );
    let told = fails(&other, &["add", arg(&folder.path().join("a.json"))], 1);
    assert!(told.contains("v1.0"), "{told}");
}

#[test]
fn verify_tells_what_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    let guid = "3844DBB920174967BE7AA4A2C20430FA2";
    ok(&["repo", "-C", arg(&root), "add", arg(&module_file(folder.path(), "a.json", "ntkrnlmp.pdb", guid, 1))]);
    ok(&["repo", "-C", arg(&root), "add", arg(&kernel_file(folder.path(), "k.json", "6.1.0-9-amd64", ""))]);
    let at = |name: &str| root.join("v1.0").join(name);
    let wrong = "nt/GUID/0000DBB920174967BE7AA4A2C20430FA2";
    let stored = at(&format!("nt/GUID/38/{guid}"));
    std::fs::copy(&stored, at(wrong)).expect("copied");
    // As in the public repository: the name has the age of the image, the file that of the PDB's other stream.
    let other_age = "nt/GUID/3844DBB920174967BE7AA4A2C20430FA1";
    std::fs::copy(&stored, at(other_age)).expect("copied");
    std::fs::write(at("garbage"), "not a profile").expect("written");
    std::fs::write(at("loose"), r#"{"$METADATA": {"Target": "nowhere", "Type": "Symlink"}}"#).expect("written");
    let text = std::fs::read_to_string(at(&format!("GUID/38/{guid}"))).expect("readable");
    std::fs::write(at("dangling"), text.replace(guid, "nowhere")).expect("written");
    std::os::unix::fs::symlink("../../../etc/passwd", at("escape")).expect("linked");
    std::os::unix::fs::symlink("round", at("round")).expect("linked");
    std::fs::rename(at(KERNEL), at("Linux/moved")).expect("renamed");
    git(&root, &["add", "-A"]);
    git(&root, &["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "damage"]);
    let output = repo(&root, &["verify"]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stdout).expect("text");
    for (path, why) in [
        (format!("v1.0/{wrong}: "), "inside"),
        ("v1.0/garbage: ".to_owned(), "not a profile"),
        ("v1.0/loose: ".to_owned(), "canonical"),
        ("v1.0/dangling: ".to_owned(), "nowhere"),
        ("v1.0/escape: ".to_owned(), "out of the repository"),
        ("v1.0/round: ".to_owned(), "circle"),
        ("v1.0/Linux/banners: lacks Linux/moved".to_owned(), "6.1.0-9-amd64"),
        (format!("v1.0/Linux/banners: leads from `6.1.0-9-amd64` to {KERNEL}"), "no such"),
    ] {
        assert!(told.lines().any(|line| line.starts_with(&path) && line.contains(why)), "{path}{why}: {told}");
    }
    assert!(!told.contains(other_age), "{told}");
    let told = fails(&root, &["get", "escape"], 1);
    assert!(told.contains("out of the repository"), "{told}");
}

/// The folder for a profile's symbols would have the name of the profile itself: it is stored in one file.
#[test]
fn a_profile_may_be_at_the_top() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    let mut texts = Vec::new();
    for (name, command) in [("mine", &["add", "--name", "mine"][..]), ("theirs", &["import"])] {
        let text = typed_module(folder.path(), "3844DBB920174967BE7AA4A2C20430FA2", 32).1;
        let text = text.replace(
            "\"GUID_AGE\": \"3844DBB920174967BE7AA4A2C20430FA2\", \n  \"PDBFile\": \"ntkrnlmp.pdb\", \n  ",
            "",
        );
        let file = folder.path().join(format!("{name}.json"));
        std::fs::write(&file, &text).expect("written");
        ok(&[&["repo", "-C", arg(&root)], command, &[arg(&file)]].concat());
        texts.push((name, text));
    }
    for (name, text) in texts {
        assert_eq!(ok(&["repo", "-C", arg(&root), "get", name]), text);
    }
    check_whole(&root);
}

/// A profile with types and symbols, laid out by hand as Rekall does.
pub(crate) fn typed_module(folder: &Path, guid: &str, address: usize) -> (PathBuf, String) {
    let text = format!(
        r#"{{
 "$CONSTANTS": {{
  "Gamma": {address}, 
  "Zeta": 16
 }}, 
 "$FUNCTIONS": {{
  "Alpha": {address}
 }}, 
 "$METADATA": {{
  "GUID_AGE": "{guid}", 
  "PDBFile": "ntkrnlmp.pdb", 
  "Type": "Profile"
 }}, 
 "$STRUCTS": {{
  "_KPCR": [16, {{
   "Self": [8, ["Pointer", {{
    "target": "_KPCR"
   }}]]
  }}]
 }}
}}"#
    );
    let path = folder.join(format!("{guid}.json"));
    std::fs::write(&path, &text).expect("written");
    (path, text)
}

#[test]
fn builds_with_the_same_types_share_them_and_come_back_byte_for_byte() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    let guids = ["3844DBB920174967BE7AA4A2C20430FA2", "3944DBB920174967BE7AA4A2C20430FA2"];
    let made: Vec<(PathBuf, String)> =
        guids.iter().zip([32, 4096]).map(|(guid, at)| typed_module(folder.path(), guid, at)).collect();
    ok(&["repo", "-C", arg(&root), "add", arg(&made[0].0), arg(&made[1].0)]);
    check_whole(&root);
    for (guid, (_, text)) in guids.iter().zip(&made) {
        assert_eq!(&ok(&["repo", "-C", arg(&root), "get", guid]), text);
    }
    let tree = git(&root, &["ls-tree", "-r", "--name-only", "HEAD", "v1.0"]);
    let count = |part: &str| tree.lines().filter(|path| path.contains(part)).count();
    assert_eq!((count("/types.json"), count("/symbols-by-address.txt"), count("/nt/GUID/")), (1, 2, 2), "{tree}");
    assert_eq!(ok(&["repo", "-C", arg(&root), "list", "nt/"]).lines().count(), 2);
    let symbols = root.join(format!("v1.0/nt/symbols/38/{}/symbols-by-address.txt", guids[0]));
    assert_eq!(std::fs::read_to_string(&symbols).expect("there"), "symbols by address 1\n10=Zeta\n10+Alpha\n0=Gamma\n");
    // A file of the work tree that is damaged is told, and is not what the commit has.
    std::fs::write(&symbols, "symbols by address 1\n10=Zeta\nx+Alpha\n").expect("written");
    let image = folder.path().join("image");
    std::fs::write(&image, "no image").expect("written");
    let told = run(&["--profile_path", arg(&root), "-p", guids[0], "-f", arg(&image), "pslist"]);
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.contains("symbols-by-address.txt: line 3"), "{told}");
    std::fs::write(&symbols, "symbols by address 1\n10=Zeta\n10+Beta\n").expect("written");
    std::fs::remove_dir_all(root.join("v1.0/types")).expect("removed");
    git(&root, &["add", "-A"]);
    git(&root, &["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "damage"]);
    let told = fails(&root, &["get", guids[0]], 1);
    assert!(told.contains("types.json") && told.contains("is missing"), "{told}");
    ok(&["repo", "-C", arg(&root), "add", "--replace", arg(&made[1].0)]);
    let verified = repo(&root, &["verify"]);
    assert_eq!(verified.status.code(), Some(1));
    let told = String::from_utf8(verified.stdout).expect("text");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.contains(guids[0]) && told.contains("not those that it was stored with"), "{told}");
}

#[test]
fn what_rekall_printed_comes_back_byte_for_byte() {
    let Some(packed) = corpus("windows/rekall/rekall-parse_pdb-outputs.tar.xz") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let tar = std::process::Command::new("tar").arg("xf").arg(packed).arg("-C").arg(folder.path()).status();
    assert!(tar.expect("tar runs").success());
    let root = folder.path().join("profiles");
    new_repository(&root);
    for name in ["win7ms__ntdll", "nt__ntkrnlpa"] {
        let file = folder.path().join(format!("{name}.json"));
        ok(&["repo", "-C", arg(&root), "add", "--name", &format!("theirs/{name}"), arg(&file)]);
        let original = std::fs::read_to_string(&file).expect("readable");
        assert!(ok(&["repo", "-C", arg(&root), "get", &format!("theirs/{name}")]) == original, "{name} differs");
        let small = std::fs::metadata(root.join(format!("v1.0/theirs/{name}"))).expect("stored").len();
        assert!(small < 2048, "{small}");
    }
    check_whole(&root);
}

#[test]
fn two_writers_at_once_both_land() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    let start = |writer: usize| {
        let mut command = quaid();
        command.args(["repo", "-C", arg(&root), "add"]);
        for i in 0..10 {
            let guid = format!("3844DBB920174967BE7AA4A2C2{writer:02}{i:02}FA2");
            command.arg(module_file(folder.path(), &format!("{writer}-{i}.json"), "ntkrnlmp.pdb", &guid, i));
        }
        command.stderr(Stdio::null()).spawn().expect("it starts")
    };
    // A person commits by hand meanwhile; git refuses that while another has its index or the branch, and a person tries
    // again.
    let mut writers: Vec<_> = (0..4).map(start).collect();
    let by_hand = || {
        let mut git = Command::new("git");
        git.arg("-C").arg(&root).args(["-c", "user.name=T", "-c", "user.email=t@example.org"]);
        git.args(["commit", "--quiet", "--allow-empty", "-m", "by hand"]).output().expect("git starts").status.success()
    };
    while !by_hand() {}
    for writer in &mut writers {
        assert!(writer.wait().expect("it ends").success());
    }
    let list = ok(&["repo", "-C", arg(&root), "list", "nt/"]);
    assert_eq!(list.lines().count(), 40);
    assert_eq!(git(&root, &["log", "--format=%s"]).lines().filter(|line| *line == "by hand").count(), 1);
    assert_eq!(git(&root, &["status", "--porcelain"]), "");
    check_whole(&root);
}

/// The judge is git, whose own commit begins before ours and ends after it.
#[test]
fn a_commit_by_hand_around_a_change_is_refused_by_git_and_takes_nothing_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    let before = git(&root, &["rev-parse", "HEAD"]);
    let file = kernel_file(folder.path(), "a.json", "6.1.0-9-amd64", "");
    let commit =
        ["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "--quiet", "--allow-empty", "-m", "x"];
    let by_hand =
        |more: &[&str]| Command::new("git").arg("-C").arg(&root).args(commit).args(more).output().expect("git starts");
    // git holds its index while it commits all: no change is published meanwhile, and nothing is half done.
    std::fs::write(root.join(".git/index.lock"), "").expect("written");
    let told = fails(&root, &["add", arg(&file)], 1);
    assert!(told.contains("index.lock was there"), "{told}");
    assert_eq!(git(&root, &["rev-parse", "HEAD"]), before);
    std::fs::remove_file(root.join(".git/index.lock")).expect("removed");
    assert_eq!(git(&root, &["status", "--porcelain", "--ignored"]), "");

    // git has read index and branch, and asks for a message: a change is published there and then.
    let hook = root.join(".git/hooks/commit-msg");
    std::fs::create_dir_all(hook.parent().expect("a folder")).expect("created");
    let binary = env!("CARGO_BIN_EXE_quaid");
    let add = format!("#!/bin/sh\nexec '{binary}' repo -C '{}' add '{}'\n", arg(&root), arg(&file));
    std::fs::write(&hook, add).expect("written");
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("runs");
    let refused = by_hand(&[]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("added Linux/") && told.contains("cannot lock ref"), "{told}");
    std::fs::remove_file(&hook).expect("removed");
    assert!(by_hand(&["-a"]).status.success());
    assert_eq!(git(&root, &["status", "--porcelain", "--ignored"]), "");
    assert!(ok(&["repo", "-C", arg(&root), "list"]).lines().any(|line| line == KERNEL));
    check_whole(&root);
}

#[test]
fn a_writer_killed_at_any_moment_leaves_a_whole_repository() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    let constants: Vec<String> = (0..8000).map(|i| format!("\"Symbol{i:05}\": {i}")).collect();
    let constants = constants.join(", ");
    let files = |round: usize| -> Vec<PathBuf> {
        let file = |i: usize| {
            let path = folder.path().join(format!("{round}-{i}.json"));
            let guid = format!("3844DBB920174967BE7AA4A2C2{round:02}{i:02}FA2");
            let text = format!(
                r#"{{"$CONSTANTS": {{{constants}}}, "$METADATA": {{"GUID_AGE": "{guid}", "PDBFile": "nt.pdb"}}}}"#
            );
            std::fs::write(&path, text).expect("written");
            path
        };
        (0..6).map(file).collect()
    };
    let add = |round: usize| {
        let mut command = quaid();
        command.args(["repo", "-C", arg(&root), "add"]).args(files(round));
        command
    };
    // How long one takes when it is let be.
    let start = Instant::now();
    assert!(add(0).stderr(Stdio::null()).status().expect("it runs").success());
    let whole = start.elapsed();
    let rounds: u32 = 20;
    let mut killed = 0;
    let mut told_as_added: Vec<String> = Vec::new();
    for round in 1..=rounds {
        let said = tempfile::NamedTempFile::new().expect("a file");
        let mut writer = add(round as usize).stderr(said.reopen().expect("again")).spawn().expect("it starts");
        std::thread::sleep(whole * round / rounds + Duration::from_millis(1));
        killed += u32::from(writer.try_wait().expect("it is known").is_none());
        writer.kill().expect("killed, or ended before");
        writer.wait().expect("it ends");
        let said = std::fs::read_to_string(said.path()).expect("text");
        let added =
            said.lines().filter_map(|line| Some(line.strip_prefix("added ")?.split_once(" from ")?.0.to_owned()));
        told_as_added.extend(added);
        let list = ok(&["repo", "-C", arg(&root), "list", "nt/"]);
        assert!(told_as_added.iter().all(|name| list.lines().any(|known| known == name)), "{told_as_added:?} {list}");
        check_whole(&root);
    }
    assert!(killed > rounds / 4, "only {killed} of {rounds} were killed at work");
    for round in 1..=rounds {
        assert!(add(round as usize).stderr(Stdio::null()).status().expect("it runs").success(), "{round}");
    }
    check_whole(&root);
    assert_eq!(git(&root, &["status", "--porcelain"]), "");
    assert_eq!(ok(&["repo", "-C", arg(&root), "list", "nt/"]).lines().count(), 6 * (rounds as usize + 1));
}

#[test]
fn what_a_writer_left_when_it_was_killed_while_publishing_is_finished() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    let before = git(&root, &["rev-parse", "HEAD"]);
    let kernel = kernel_file(folder.path(), "a.json", "6.1.0-9-amd64", "");
    ok(&["repo", "-C", arg(&root), "add", arg(&kernel)]);
    let after = git(&root, &["rev-parse", "HEAD"]);
    // As if it had been killed after the branch moved: no file in the work tree, an old index, git's locks, a file half
    // written, and the note.
    git(&root, &["read-tree", before.trim()]);
    let in_tree = root.join("v1.0").join(KERNEL);
    std::fs::remove_file(&in_tree).expect("removed");
    std::fs::write(in_tree.with_file_name(".quaid-x1"), "half").expect("written");
    std::fs::write(root.join(".git/index.lock"), "").expect("written");
    std::fs::write(root.join(".git/refs/heads/main.lock"), "").expect("written");
    let branch = git(&root, &["symbolic-ref", "HEAD"]);
    let note = format!("{} {} publishing {}\n", before.trim(), after.trim(), branch.trim());
    std::fs::write(root.join(".git/quaid.lock"), note).expect("written");

    let other = kernel_file(folder.path(), "b.json", "6.1.0-10-amd64", "");
    ok(&["repo", "-C", arg(&root), "add", arg(&other)]);
    assert!(in_tree.is_file());
    assert_eq!(git(&root, &["status", "--porcelain", "--ignored"]), "");
    assert_eq!(git(&root, &["log", "--format=%s"]).lines().count(), 3);
    check_whole(&root);
}
