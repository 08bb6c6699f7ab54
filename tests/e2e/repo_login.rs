//! `repo sync` over HTTP from `git http-backend`, which asks for a login or breaks off, and over an ssh that refuses. The
//! judge is the git program.

use crate::repo::{check_whole, git, kernel_file, new_repository};
use crate::repo_sync::head;
use crate::support::{arg, ok, quaid};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What it asks for: `me` and `p ss`, in base64.
const LOGIN: &str = "Basic bWU6cCBzcw==";

/// `git http-backend` over the repositories of a folder, as long as the test runs.
struct Backend {
    port: u16,
    /// How many bytes of a pack's answer are sent before the connection is closed; 0 for all.
    cut: Arc<AtomicUsize>,
    /// The `Authorization` of each request.
    logins: Arc<Mutex<Vec<String>>>,
}

impl Backend {
    fn start(folder: &Path, wants_login: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
        let port = listener.local_addr().expect("an address").port();
        let (cut, logins) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (folder, their_cut, their_logins) = (folder.to_owned(), Arc::clone(&cut), Arc::clone(&logins));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = stream.and_then(|stream| answer(&stream, &folder, wants_login, &their_cut, &their_logins));
            }
        });
        Self { port, cut, logins }
    }

    fn url(&self, login: &str, name: &str) -> String {
        format!("http://{login}127.0.0.1:{}/{name}", self.port)
    }
}

fn answer(
    mut stream: &TcpStream,
    folder: &Path,
    wants_login: bool,
    cut: &AtomicUsize,
    logins: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut headers: Vec<(String, String)> = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let header = |name: &str| headers.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value.as_str());
    logins.lock().expect("not poisoned").push(header("authorization").to_owned());
    let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
    reader.read_exact(&mut body)?;
    if wants_login && header("authorization") != LOGIN {
        let head = "HTTP/1.1 401 x\r\nWWW-Authenticate: Basic realm=\"profiles\"\r\nContent-Length: 0\r\n";
        return write!(stream, "{head}Connection: close\r\n\r\n");
    }
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", folder)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", header("content-length"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    child.stdin.take().expect("a pipe").write_all(&body)?;
    let output = child.wait_with_output()?.stdout;
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").map_or(output.len(), |at| at + 4);
    let (head, body) = output.split_at(end);
    let head = String::from_utf8_lossy(head);
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{head}", body.len())?;
    // A pack, unlike what is only said of it.
    let most = cut.load(Ordering::SeqCst);
    let is_pack = body.windows(8).any(|eight| eight.starts_with(b"PACK\0\0\0"));
    stream.write_all(if is_pack && most > 0 { &body[..most.min(body.len())] } else { body })
}

/// A folder, and a repository of many profiles in it.
fn origin() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let origin = folder.path().join("origin");
    new_repository(&origin);
    add(folder.path(), &origin, 0);
    (folder, origin)
}

fn add(folder: &Path, origin: &Path, from: usize) {
    let files: Vec<PathBuf> = (from..from + 20)
        .map(|i| {
            kernel_file(folder, &format!("k{i}.json"), &format!("6.1.{i}-amd64"), &format!(r#", "x": "{i:04000}""#))
        })
        .collect();
    let files: Vec<&str> = files.iter().map(|file| arg(file)).collect();
    ok(&[&["repo", "-C", arg(origin), "add"], &files[..]].concat());
}

/// Exit code and stderr of a sync by a user who has no other logins than those of `variables`.
fn sync(root: &Path, url: &[&str], home: &Path, variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = quaid();
    command.args(["repo", "-C", arg(root), "sync"]).args(url).env("HOME", home).env("GIT_CONFIG_NOSYSTEM", "1");
    for name in ["XDG_CONFIG_HOME", "GIT_ASKPASS", "SSH_ASKPASS", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_TERMINAL_PROMPT"] {
        command.env_remove(name);
    }
    let output = command.envs(variables.iter().copied()).output().expect("the binary starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn program(path: &Path, script: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{script}\n")).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("may run");
}

#[test]
fn logins_are_those_that_git_has_and_nobody_is_asked() {
    let (folder, origin) = origin();
    let backend = Backend::start(folder.path(), true);
    let home = folder.path().join("home");
    std::fs::create_dir(&home).expect("created");
    let root = |name: &str| folder.path().join(name);
    // Nobody has told it: the next step is named, and no repository is begun.
    let (code, told) = sync(&root("none"), &[&backend.url("", "origin")], &home, &[]);
    assert!(code == Some(1) && told.contains("terminal prompts disabled"), "{code:?} {told}");
    assert!(told.contains("credential.helper") && told.contains("git ls-remote"), "{told}");
    assert!(!root("none").exists());
    // A wrong one.
    let (code, told) = sync(&root("none"), &[&backend.url("me:secret@", "origin")], &home, &[]);
    assert!(code == Some(1) && told.contains("the login that git has is refused"), "{code:?} {told}");
    assert!(!told.contains("secret"), "{told}");
    // In the address, in a helper, from a program.
    let (code, told) = sync(&root("address"), &[&backend.url("me:p%20ss@", "origin")], &home, &[]);
    assert!(code == Some(0) && !told.contains("p%20ss"), "{code:?} {told}");
    let askpass = folder.path().join("askpass");
    program(&askpass, "case $1 in User*) echo me;; *) echo 'p ss';; esac");
    let (code, told) = sync(&root("program"), &[&backend.url("", "origin")], &home, &[("GIT_ASKPASS", arg(&askpass))]);
    assert_eq!(code, Some(0), "{told}");
    std::fs::write(home.join(".gitconfig"), "[credential]\n\thelper = store\n").expect("written");
    std::fs::write(home.join(".git-credentials"), format!("{}\n", backend.url("me:p%20ss@", ""))).expect("written");
    let (code, told) = sync(&root("helper"), &[&backend.url("", "origin")], &home, &[]);
    assert_eq!(code, Some(0), "{told}");
    add(folder.path(), &origin, 20);
    for name in ["address", "helper"] {
        let (code, told) = sync(&root(name), &[], &home, &[]);
        assert!(code == Some(0) && head(&root(name)) == head(&origin), "{name}: {told}");
        check_whole(&root(name));
    }
    assert!(backend.logins.lock().expect("not poisoned").iter().any(|login| login == LOGIN));
}

#[test]
fn ssh_asks_nobody_and_a_user_s_own_command_keeps_its_options() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ssh, log) = (folder.path().join("ssh"), folder.path().join("log"));
    program(&ssh, &format!("echo \"$@\" >> {}\necho 'Host key verification failed.' >&2\nexit 255", log.display()));
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").expect("a PATH"));
    let own = format!("{} -i key", ssh.display());
    let config = format!("[core]\n\tsshCommand = {} -i configured\n", ssh.display());
    for (config, variables, options) in [
        ("", vec![("PATH", path.as_str())], "-o BatchMode=yes "),
        ("", vec![("GIT_SSH_COMMAND", own.as_str())], "-i key -o BatchMode=yes "),
        (config.as_str(), vec![], "-i configured -o BatchMode=yes "),
    ] {
        std::fs::write(folder.path().join(".gitconfig"), config).expect("written");
        let _ = std::fs::remove_file(&log);
        let (code, told) =
            sync(&folder.path().join("none"), &["ssh://127.0.0.1/profiles.git"], folder.path(), &variables);
        assert!(code == Some(1) && told.contains("by `ssh` once"), "{code:?} {told}");
        let asked = std::fs::read_to_string(&log).expect("ssh was run");
        assert!(asked.contains(options), "{options}: {asked}");
    }
}

/// The connection breaks in the middle of the pack: of a new copy, and of one that is there.
#[test]
fn a_server_that_dies_in_the_middle_of_a_pack_changes_nothing_and_the_next_sync_succeeds() {
    let (folder, origin) = origin();
    let backend = Backend::start(folder.path(), false);
    let (copy, home) = (folder.path().join("copy"), folder.path().join("home"));
    std::fs::create_dir(&home).expect("created");
    let url = backend.url("", "origin");
    let broken = |after: usize, args: &[&str]| {
        backend.cut.store(after, Ordering::SeqCst);
        let (code, told) = sync(&copy, args, &home, &[]);
        assert!(code == Some(1) && told.contains("the same command tries it again"), "{after}: {code:?} {told}");
        assert_eq!(git(&copy, &["for-each-ref", "refs/quaid"]), "", "nothing waits");
        backend.cut.store(0, Ordering::SeqCst);
    };
    for after in [100, 1000, 3000] {
        broken(after, &[&url]);
    }
    let (code, told) = sync(&copy, &[&url], &home, &[]);
    assert!(code == Some(0) && head(&copy) == head(&origin), "{told}");
    check_whole(&copy);
    let (before, list) = (head(&copy), ok(&["repo", "-C", arg(&copy), "list"]));
    add(folder.path(), &origin, 20);
    for after in [100, 1000, 3000] {
        broken(after, &[]);
        assert_eq!((head(&copy), ok(&["repo", "-C", arg(&copy), "list"])), (before.clone(), list.clone()));
        assert_eq!(git(&copy, &["status", "--porcelain", "--ignored"]), "");
        check_whole(&copy);
    }
    let (code, told) = sync(&copy, &[], &home, &[]);
    assert!(code == Some(0) && head(&copy) == head(&origin), "{told}");
    check_whole(&copy);
}
