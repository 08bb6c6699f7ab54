//! `repo sync` against a real `git daemon` on loopback. The judge is the git program.

use crate::repo::{KERNEL, check_whole, fails, git, kernel_file, module_file, new_repository, repo, typed_module};
use crate::support::{arg, ok, quaid};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const GUID: &str = "3844DBB920174967BE7AA4A2C20430FA2";

/// A `git daemon` that serves the repositories of a folder, and ends with the test.
pub(crate) struct Server {
    child: Child,
    port: u16,
}

impl Server {
    pub(crate) fn start(folder: &Path) -> Self {
        let programs = Command::new("git").arg("--exec-path").output().expect("git starts").stdout;
        let daemon = PathBuf::from(String::from_utf8(programs).expect("text").trim()).join("git-daemon");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let child = Command::new(daemon)
            .args(["--export-all", "--reuseaddr", "--listen=127.0.0.1", &format!("--port={port}")])
            .arg(format!("--base-path={}", folder.display()))
            .arg(folder)
            .stderr(Stdio::null())
            .spawn()
            .expect("git daemon starts");
        let server = Self { child, port };
        for _ in 0..3000 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return server;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("git daemon does not listen");
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("git://127.0.0.1:{}/{name}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// HEAD's commit.
pub(crate) fn head(root: &Path) -> String {
    git(root, &["rev-parse", "HEAD"]).trim().to_owned()
}

/// Commits by hand all that lies in the work tree.
fn commit(root: &Path, message: &str) {
    git(root, &["add", "-A"]);
    git(root, &["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", message]);
}

fn add(root: &Path, file: &Path) {
    ok(&["repo", "-C", arg(root), "add", arg(file)]);
}

fn told(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A repository of one profile behind a server, and its copy.
struct Mirrored {
    server: Server,
    origin: PathBuf,
    copy: PathBuf,
    /// HEAD of both.
    before: String,
    folder: tempfile::TempDir,
}

fn mirrored() -> Mirrored {
    let folder = tempfile::tempdir().expect("a folder");
    let (origin, copy) = (folder.path().join("origin"), folder.path().join("copy"));
    new_repository(&origin);
    add(&origin, &module_file(folder.path(), "a.json", "ntkrnlmp.pdb", GUID, 1));
    let server = Server::start(folder.path());
    ok(&["repo", "-C", arg(&copy), "sync", &server.url("origin")]);
    let before = head(&copy);
    Mirrored { server, origin, copy, before, folder }
}

#[test]
fn a_mirror_is_made_and_follows() {
    let folder = tempfile::tempdir().expect("a folder");
    let origin = folder.path().join("origin");
    new_repository(&origin);
    let (typed, text) = typed_module(folder.path(), GUID, 32);
    add(&origin, &typed);
    let server = Server::start(folder.path());
    let (tree, bare) = (folder.path().join("tree"), folder.path().join("bare.git"));
    ok(&["repo", "-C", arg(&tree), "sync", &server.url("origin")]);
    ok(&["repo", "-C", arg(&bare), "sync", "--bare", &server.url("origin")]);
    let same = |message: &str| {
        for copy in [&tree, &bare] {
            assert_eq!(head(copy), head(&origin), "{message}");
            check_whole(copy);
        }
        assert_eq!(git(&tree, &["status", "--porcelain", "--ignored"]), "", "{message}");
        let list = |root: &Path| ok(&["repo", "-C", arg(root), "list"]);
        assert_eq!(list(&tree), list(&origin), "{message}");
        assert_eq!(list(&bare), list(&origin), "{message}");
    };
    same("cloned");
    assert_eq!(ok(&["repo", "-C", arg(&bare), "get", GUID]), text);
    assert_eq!(git(&bare, &["config", "pack.window"]).trim(), "200");

    add(&origin, &kernel_file(folder.path(), "k.json", "6.1.0-9-amd64", ""));
    let sync = |root: &Path| {
        let output = repo(root, &["sync"]);
        assert!(output.status.success(), "{}", told(&output));
        told(&output)
    };
    assert!(sync(&tree).contains("1 commits from git://"));
    sync(&bare);
    same("one more");
    assert!(sync(&tree).contains("nothing new"));
    // Files that go, a file that becomes a folder, and back.
    git(&origin, &["rm", "-r", "--quiet", "v1.0/Linux"]);
    std::fs::write(origin.join("notes"), "a file").expect("written");
    commit(&origin, "without Linux");
    sync(&tree);
    sync(&bare);
    same("removed");
    assert!(!tree.join("v1.0/Linux").exists());
    std::fs::remove_file(origin.join("notes")).expect("removed");
    std::fs::create_dir(origin.join("notes")).expect("created");
    std::fs::write(origin.join("notes/one"), "in a folder").expect("written");
    commit(&origin, "a folder");
    sync(&tree);
    sync(&bare);
    same("a folder");
    std::fs::remove_dir_all(origin.join("notes")).expect("removed");
    std::fs::write(origin.join("notes"), "a file again").expect("written");
    commit(&origin, "a file again");
    sync(&tree);
    sync(&bare);
    same("a file again");
}

#[test]
fn rewritten_history_and_strangers_are_refused_and_the_copy_stays() {
    let Mirrored { folder, origin, copy, server, before } = mirrored();
    let intact = || {
        assert_eq!(head(&copy), before);
        assert_eq!(git(&copy, &["status", "--porcelain", "--ignored"]), "");
        assert_eq!(git(&copy, &["for-each-ref", "refs/quaid"]), "", "nothing waits");
        check_whole(&copy);
    };
    git(
        &origin,
        &["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "--quiet", "--amend", "-m", "other"],
    );
    let rewritten = head(&origin);
    let refused = fails(&copy, &["sync"], 1);
    assert!(refused.contains("rewritten") && refused.contains("nothing was changed"), "{refused}");
    intact();
    // A server that goes back has nothing new.
    git(&origin, &["reset", "--quiet", "--hard", &format!("{before}~1")]);
    assert!(told(&repo(&copy, &["sync"])).contains("1 commits here are not in"));
    intact();
    let other = folder.path().join("other");
    new_repository(&other);
    git(&other, &["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "--quiet", "--amend", "-m", "x"]);
    let refused = fails(&copy, &["sync", &server.url("other")], 1);
    assert!(refused.contains("another history"), "{refused}");
    intact();
    let source = folder.path().join("source");
    git(folder.path(), &["init", "--quiet", arg(&source)]);
    std::fs::write(source.join("main.c"), "int main;").expect("written");
    commit(&source, "source code");
    let refused = fails(&folder.path().join("new"), &["sync", &server.url("source")], 1);
    assert!(refused.contains("no profile repository"), "{refused}");
    let refused = fails(&copy, &["sync", &server.url("missing")], 1);
    assert!(refused.contains("ls-remote"), "{refused}");
    intact();
    // What is only here is the user's, and is not thrown away.
    git(&origin, &["reset", "--quiet", "--hard", &before]);
    add(&origin, &kernel_file(folder.path(), "k.json", "6.1.0-9-amd64", ""));
    add(&copy, &kernel_file(folder.path(), "l.json", "6.1.0-10-amd64", ""));
    let mine = head(&copy);
    assert!(fails(&copy, &["sync"], 1).contains("commits of your own"));
    assert_eq!(head(&copy), mine);
    git(&copy, &["reset", "--quiet", "--hard", &before]);
    // Nor is what nobody committed.
    let in_tree = copy.join("v1.0").join(KERNEL);
    std::fs::create_dir_all(in_tree.parent().expect("a folder")).expect("created");
    std::fs::write(&in_tree, "my notes").expect("written");
    let refused = fails(&copy, &["sync"], 1);
    assert!(refused.contains(arg(&in_tree)), "{refused}");
    assert_eq!((head(&copy), std::fs::read_to_string(&in_tree).expect("there")), (before, "my notes".to_owned()));
    std::fs::remove_file(&in_tree).expect("removed");
    ok(&["repo", "-C", arg(&copy), "sync"]);
    assert_ne!(head(&copy), rewritten);
    check_whole(&copy);
    let offline = fails_global(&["--offline", "repo", "-C", arg(&copy), "sync"]);
    assert!(offline.contains("--offline"), "{offline}");
}

/// Stderr of a run that must end with exit code 1.
fn fails_global(args: &[&str]) -> String {
    let output = crate::support::run(args);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {}", told(&output));
    told(&output)
}

/// How many objects of HEAD are not here.
fn missing(root: &Path) -> usize {
    let listed = git(root, &["rev-list", "--objects", "--missing=print", "HEAD"]);
    listed.lines().filter(|line| line.starts_with('?')).count()
}

#[test]
fn a_partial_copy_fetches_what_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let (origin, copy) = (folder.path().join("origin"), folder.path().join("copy.git"));
    new_repository(&origin);
    git(&origin, &["config", "uploadpack.allowFilter", "true"]);
    let second = "3944DBB920174967BE7AA4A2C20430FA2";
    let (first_file, first_text) = typed_module(folder.path(), GUID, 32);
    let (second_file, second_text) = typed_module(folder.path(), second, 4096);
    add(&origin, &first_file);
    add(&origin, &second_file);
    let server = Server::start(folder.path());
    ok(&["repo", "-C", arg(&copy), "sync", "--partial", &server.url("origin")]);
    assert_eq!(head(&copy), head(&origin));
    let all = missing(&copy);
    let verified = repo(&copy, &["verify"]);
    assert!(verified.status.success() && told(&verified).contains("partial"), "{}", told(&verified));
    assert_eq!(missing(&copy), all, "a check fetches nothing");
    assert!(all > 8, "every content is missing: {all}");
    let name = format!("nt/GUID/{GUID}");
    let refused = fails_global(&["--offline", "repo", "-C", arg(&copy), "get", &name]);
    assert!(refused.contains(GUID) && refused.contains("--offline"), "{refused}");
    assert_eq!(missing(&copy), all);
    assert_eq!(ok(&["repo", "-C", arg(&copy), "get", &name]), first_text);
    assert_eq!(all - missing(&copy), 3, "the small file, its types and its symbols, and no more");
    assert_eq!(ok(&["--offline", "repo", "-C", arg(&copy), "get", &name]), first_text);
    add(&origin, &kernel_file(folder.path(), "k.json", "6.1.0-9-amd64", ""));
    ok(&["repo", "-C", arg(&copy), "sync"]);
    assert_eq!(head(&copy), head(&origin));
    assert!(missing(&copy) > all - 3, "still partial");
    assert!(fails(&origin, &["sync", "--partial", arg(&copy)], 1).contains("new repository"));
    drop(server);
    let refused = fails(&copy, &["get", second], 1);
    assert!(refused.contains(second), "{refused}");
    let server = Server::start(folder.path());
    ok(&["repo", "-C", arg(&copy), "sync", &server.url("origin")]);
    git(&copy, &["remote", "set-url", "origin", &server.url("origin")]);
    assert_eq!(ok(&["repo", "-C", arg(&copy), "get", second]), second_text);
    check_whole(&copy);
}

/// Of a copy without contents each lookup fetches what it opens.
#[test]
fn a_lookup_opens_the_profile_and_the_links_to_it_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let origin = folder.path().join("origin");
    new_repository(&origin);
    git(&origin, &["config", "uploadpack.allowFilter", "true"]);
    let banner = |number: usize| format!("Linux version 6.1.{number}-amd64 (a@b) (gcc 12) #1 SMP");
    let build_id = |number: usize| format!("{number:040x}");
    for number in 0..12 {
        add(&origin, &typed_module(folder.path(), &format!("{number:032X}1"), 32 * number).0);
        let more = format!(r#", "Banner": "{}", "BuildID": "{}""#, banner(number), build_id(number));
        add(&origin, &kernel_file(folder.path(), "k.json", &format!("6.1.{number}-amd64"), &more));
    }
    let server = Server::start(folder.path());
    let guid = format!("{:032X}1", 7);
    for (asked, most) in
        [(guid.clone(), 4), (format!("GUID/{guid}"), 4), (format!("Linux/BUILDID/{}", build_id(7)), 4), (banner(7), 4)]
    {
        let copy = folder.path().join("copy.git");
        ok(&["repo", "-C", arg(&copy), "sync", "--partial", &server.url("origin")]);
        let all = missing(&copy);
        assert!(all > 40, "{all}");
        let text = ok(&["repo", "-C", arg(&copy), "get", &asked]);
        assert!(text.contains(&guid) || text.contains(&build_id(7)), "{asked}: {text}");
        let opened = all - missing(&copy);
        assert!((1..=most).contains(&opened), "{asked}: {opened} objects");
        std::fs::remove_dir_all(&copy).expect("removed");
    }
}

#[test]
fn a_shallow_copy_has_no_more_history_than_asked_for_and_follows() {
    let folder = tempfile::tempdir().expect("a folder");
    let (origin, copy) = (folder.path().join("origin"), folder.path().join("copy"));
    new_repository(&origin);
    for i in 0..4 {
        add(&origin, &kernel_file(folder.path(), "k.json", &format!("6.1.{i}-amd64"), ""));
    }
    let server = Server::start(folder.path());
    ok(&["repo", "-C", arg(&copy), "sync", "--depth", "2", &server.url("origin")]);
    assert_eq!(git(&copy, &["rev-list", "--count", "HEAD"]).trim(), "2");
    check_whole(&copy);
    add(&origin, &kernel_file(folder.path(), "k.json", "6.1.9-amd64", ""));
    ok(&["repo", "-C", arg(&copy), "sync"]);
    assert_eq!(head(&copy), head(&origin));
    assert_eq!(git(&copy, &["status", "--porcelain", "--ignored"]), "");
    check_whole(&copy);
}

/// A tree of git, from lines `mode type id<TAB>name`, with names that no program would write.
fn tree(root: &Path, entries: &[(&str, &str, &str)]) -> String {
    let kind = |mode: &str| if mode == "040000" { "tree" } else { "blob" };
    let line = |(mode, id, name): &(&str, &str, &str)| format!("{mode} {} {id}\t{name}\0", kind(mode));
    let lines = entries.iter().map(line).collect::<Vec<_>>().concat();
    let mut child = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(["mktree", "-z"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git starts");
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), lines.as_bytes()).expect("written");
    String::from_utf8(child.wait_with_output().expect("it ends").stdout).expect("text").trim().to_owned()
}

fn blob(root: &Path, text: &str) -> String {
    let file = root.join(".git/x");
    std::fs::write(&file, text).expect("written");
    git(root, &["hash-object", "-w", arg(&file)]).trim().to_owned()
}

/// Lets the branch of `root` have this tree.
fn publish(root: &Path, tree: &str) {
    let identity = ["-c", "user.name=T", "-c", "user.email=t@example.org"];
    let commit = git(root, &[&identity[..], &["commit-tree", "-p", "HEAD", "-m", "hostile", tree]].concat());
    git(root, &["update-ref", "HEAD", commit.trim()]);
}

#[test]
fn what_a_hostile_server_has_is_told_and_contained() {
    let Mirrored { folder, origin, copy, server: _server, before } = mirrored();
    let good = git(&origin, &["rev-parse", "HEAD"]);
    // What git's own check refuses, it refuses here: nothing is taken.
    let file = blob(&origin, "evil");
    let inner = tree(&origin, &[("100644", &file, "config")]);
    let layout = git(&origin, &["rev-parse", "HEAD:v1.0"]);
    for name in ["..", ".git", ".GIT"] {
        publish(&origin, &tree(&origin, &[("040000", &inner, name), ("040000", layout.trim(), "v1.0")]));
        let refused = fails(&copy, &["sync"], 1);
        assert!(refused.contains("fetch"), "{name}: {refused}");
        assert_eq!(head(&copy), before, "{name}");
        git(&origin, &["update-ref", "HEAD", good.trim()]);
    }
    // What git lets through is told, and reaches neither the disk nor a reader.
    let escape = blob(&origin, "../../../../outside");
    let outside = folder.path().join("outside");
    let mut entries: Vec<(String, String, String)> = git(&origin, &["ls-tree", "HEAD:v1.0"])
        .lines()
        .map(|line| {
            let (left, name) = line.split_once('\t').expect("a name");
            let mut words = left.split(' ');
            let mode = words.next().expect("a mode").to_owned();
            (mode, words.nth(1).expect("an id").to_owned(), name.to_owned())
        })
        .collect();
    let huge = folder.path().join("huge");
    std::fs::File::create(&huge).and_then(|file| file.set_len((512 << 20) + 1)).expect("a file with a hole");
    let huge = git(&origin, &["hash-object", "-w", arg(&huge)]).trim().to_owned();
    for (mode, id, name) in [
        ("120000", &escape, "escape"),
        ("100644", &file, "c:evil"),
        ("100644", &file, "a\\b"),
        ("100644", &file, "red\u{1b}[31m"),
        ("100644", &file, "GUID.txt"),
        ("100644", &file, "guid.txt"),
        ("100644", &huge, "huge"),
    ] {
        entries.push((mode.to_owned(), id.clone(), name.to_owned()));
    }
    let entries: Vec<(&str, &str, &str)> =
        entries.iter().map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str())).collect();
    let layout = tree(&origin, &entries);
    publish(&origin, &tree(&origin, &[("040000", &layout, "v1.0")]));
    let synced = repo(&copy, &["sync"]);
    let text = told(&synced);
    assert_eq!(synced.status.code(), Some(3), "{text}");
    for (name, why) in [
        ("v1.0/escape: ", "out of the repository"),
        ("v1.0/c:evil: ", "Windows"),
        ("v1.0/a\\\\b: ", "Windows"),
        ("v1.0/red\\u{1b}[31m: ", "control"),
        ("v1.0/guid.txt: ", "GUID.txt"),
        ("v1.0/huge: ", "536870913 bytes"),
    ] {
        assert!(
            text.lines().any(|line| line.starts_with(&format!("warning: {name}")) && line.contains(why)),
            "{name}{text}"
        );
    }
    assert!(!text.contains('\x1b'));
    assert_eq!(head(&copy), head(&origin));
    for name in ["escape", "c:evil", "a\\b", "red\u{1b}[31m", "huge"] {
        assert!(copy.join("v1.0").join(name).symlink_metadata().is_err(), "{name} is on the disk");
    }
    assert!(!outside.exists());
    assert!(ok(&["repo", "-C", arg(&copy), "get", GUID]).contains(GUID), "the rest is usable");
    assert!(fails(&copy, &["get", "escape"], 1).contains("out of the repository"));
}

#[test]
fn two_copies_at_once_and_a_writer_beside_them_all_end_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let (origin, copy) = (folder.path().join("origin"), folder.path().join("copy"));
    new_repository(&origin);
    for i in 0..5 {
        let guid = format!("3844DBB920174967BE7AA4A2C2{i:04}FA2");
        add(&origin, &module_file(folder.path(), "a.json", "ntkrnlmp.pdb", &guid, i));
    }
    let server = Server::start(folder.path());
    let sync = || {
        let mut command = quaid();
        command.args(["repo", "-C", arg(&copy), "sync", &server.url("origin")]).stderr(Stdio::piped());
        command.spawn().expect("it starts")
    };
    // The first makes the repository; the second may come before it has a commit.
    let both = [sync(), sync()];
    for one in both {
        let output = one.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", told(&output));
    }
    assert_eq!(head(&copy), head(&origin));
    assert_eq!(git(&copy, &["status", "--porcelain", "--ignored"]), "");
    check_whole(&copy);
}
