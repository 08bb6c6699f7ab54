//! `fetch_debuginfo` against a server on loopback, and against elfutils' own.

use crate::support::{arg, corpus_text, ok, quaid, skipped, unpacked};
use crate::symbol_server::{Answer, Server};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const ID: &str = "00112233445566778899aabbccddeeff00112233";
const OTHER_ID: &str = "ffeeddccbbaa99887766554433221100ffeeddcc";

/// A program with debugging information and this build-id, as gcc links it.
fn program(folder: &Path, build_id: &str) -> PathBuf {
    let source = folder.join("known.c");
    // The table makes the file large enough to be cut.
    let text =
        "struct known { int first; char rest[12]; } table[20000] = {{1}};\nint main(void) { return table[0].first; }\n";
    std::fs::write(&source, text).expect("written");
    let target = folder.join(format!("{build_id}.elf"));
    let status = Command::new("gcc")
        .args(["-g", &format!("-Wl,--build-id=0x{build_id}"), "-o", arg(&target), arg(&source)])
        .status()
        .expect("gcc starts");
    assert!(status.success(), "gcc links");
    target
}

fn bytes_of(build_id: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::read(program(folder.path(), build_id)).expect("readable")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// The command for `ID` into `dir`.
fn fetch(dir: &Path, servers: &[&str]) -> Command {
    let mut command = quaid();
    command.args(["fetch_debuginfo", "--build-id", ID, "-D", arg(dir)]);
    for server in servers {
        command.args(["--server", server]);
    }
    command
}

fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("the binary starts");
    (status.code(), String::from_utf8(stdout).expect("text"), String::from_utf8(stderr).expect("text"))
}

fn names(dir: &Path) -> Vec<String> {
    let entries = dir.read_dir().expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect()
}

#[test]
fn the_file_arrives_byte_for_byte_from_the_servers_of_the_environment() {
    let (dir, bytes) = (folder(), bytes_of(ID));
    let without = Server::start(|_| Answer::missing());
    let whole = bytes.clone();
    let with = Server::start(move |_| Answer::file(&whole));
    let mut command = fetch(dir.path(), &[]);
    command.env("DEBUGINFOD_URLS", format!("ima:permissive {} {}/sub", without.url, with.url));
    let (code, stdout, stderr) = output(&mut command);
    assert_eq!(code, Some(0), "{stderr}");
    let target = dir.path().join(format!("{ID}.debug"));
    assert_eq!(stdout, format!("{}\n", target.display()));
    assert_eq!(std::fs::read(&target).expect("written"), bytes);
    assert_eq!(without.log()[0].path, format!("/buildid/{ID}/debuginfo"));
    assert_eq!(with.log()[0].path, format!("/sub/buildid/{ID}/debuginfo"));
    assert!(with.log()[0].header("User-Agent").is_some_and(|name| name.starts_with("quaid/")));
    assert_eq!(names(dir.path()).len(), 1, "no partial file stays");

    // A second run asks nobody; another file in its place stays as it is.
    assert_eq!(output(fetch(dir.path(), &[&with.url]).args(["--executable"])).0, Some(0));
    assert_eq!(with.log()[1].path, format!("/buildid/{ID}/executable"));
    assert_eq!(output(&mut fetch(dir.path(), &[&with.url])).0, Some(0));
    assert_eq!(with.log().len(), 2);
    std::fs::write(&target, "mine").expect("written");
    let (code, _, stderr) = output(&mut fetch(dir.path(), &[&with.url]));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("is another file") && stderr.contains("--overwrite"), "{stderr}");
    assert_eq!(std::fs::read(&target).expect("kept"), b"mine");
}

#[test]
fn the_servers_of_the_configuration_are_the_last_to_be_taken() {
    let (dir, whole) = (folder(), bytes_of(ID));
    let server = Server::start(move |_| Answer::file(&whole));
    let config = dir.path().join("config.yaml");
    std::fs::write(&config, format!("debuginfod_urls: [{}]\n", server.url)).expect("written");
    let args = |extra: &[&str]| {
        let mut command = quaid();
        command.args(["--config", arg(&config)]).args(extra);
        command.args(["fetch_debuginfo", "--build_id", ID, "-D", arg(dir.path())]);
        command
    };
    let (code, _, stderr) = output(&mut args(&["--offline"]));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("not asked, because of --offline") && stderr.contains("without --offline"), "{stderr}");
    assert_eq!(server.log().len(), 0);
    let (code, _, stderr) = output(&mut args(&[]));
    assert_eq!(code, Some(0), "{stderr}");
}

#[test]
fn without_a_server_nobody_is_asked() {
    let dir = folder();
    let (code, _, stderr) = output(&mut fetch(dir.path(), &[]));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("no server to ask") && stderr.contains("DEBUGINFOD_URLS"), "{stderr}");
}

/// A server whose first answer ends early, and whose next one is another: the file arrives. Gives what is told.
fn fetch_in_two(
    first: impl Fn(Vec<u8>) -> Answer + Send + Sync + 'static,
    next: impl Fn(Vec<u8>) -> Answer + Send + Sync + 'static,
) -> String {
    let (dir, bytes) = (folder(), bytes_of(ID));
    let (whole, count) = (bytes.clone(), AtomicUsize::new(0));
    let server = Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => first(whole.clone()),
        _ => next(whole.clone()),
    });
    let (code, _, stderr) = output(fetch(dir.path(), &[&server.url]).env("DEBUGINFOD_TIMEOUT", "1"));
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(server.asked(), ["debuginfo", "debuginfo bytes=200000-"]);
    assert_eq!(std::fs::read(dir.path().join(format!("{ID}.debug"))).expect("written"), bytes);
    stderr
}

fn cut(bytes: Vec<u8>) -> Answer {
    Answer::Cut { bytes, etag: "\"1\"", after: 200_000 }
}

#[test]
fn a_cut_transfer_is_resumed_where_it_ended() {
    let stderr = fetch_in_two(cut, |whole| Answer::file(&whole));
    assert!(stderr.contains("Going on from byte 200000"), "{stderr}");
}

#[test]
fn a_server_that_falls_silent_in_the_middle_is_asked_for_the_rest() {
    let stderr =
        fetch_in_two(|bytes| Answer::Stall { bytes, etag: "\"1\"", after: 200_000 }, |whole| Answer::file(&whole));
    assert!(stderr.contains("timed out") && stderr.contains("Going on from byte 200000"), "{stderr}");
}

#[test]
fn a_server_that_ignores_ranges_sends_it_all_again() {
    fetch_in_two(cut, |whole| Answer::Status(200, "ETag: \"1\"\r\n", whole));
}

#[test]
fn the_debug_file_of_an_image_s_kernel_arrives() {
    let (Some(image), Some(noted)) = (unpacked("linux/arm64/mem.raw"), corpus_text("linux/arm64/vmcoreinfo.txt"))
    else {
        return;
    };
    let id = noted.lines().find_map(|line| line.strip_prefix("BUILD-ID=")).expect("a build-id").to_owned();
    let (dir, bytes) = (folder(), bytes_of(&id));
    let whole = bytes.clone();
    let server = Server::start(move |_| Answer::file(&whole));
    let mut command = quaid();
    command.args(["-f", arg(&image), "fetch_debuginfo", "-D", arg(dir.path()), "--server", &server.url]);
    let (code, stdout, stderr) = output(&mut command);
    assert_eq!(code, Some(0), "{stderr}");
    let target = dir.path().join(format!("{id}.debug"));
    assert_eq!(stdout, format!("{}\n", target.display()));
    assert_eq!(std::fs::read(&target).expect("written"), bytes);
    assert_eq!(server.log()[0].path, format!("/buildid/{id}/debuginfo"));
}

#[test]
fn another_build_is_refused_and_the_next_server_asked() {
    let (dir, other) = (folder(), bytes_of(OTHER_ID));
    let wrong = Server::start(move |_| Answer::file(&other));
    let page = Server::start(|_| Answer::file(b"<html>log in first</html>"));
    let (code, stdout, stderr) = output(&mut fetch(dir.path(), &[&wrong.url, &page.url]));
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains(&format!("refused what came: it has the build-id {OTHER_ID}, not {ID}")), "{stderr}");
    assert!(stderr.contains("refused what came: it is no ELF file"), "{stderr}");
    assert!(stderr.contains("\nNext: "), "{stderr}");
    assert_eq!(names(dir.path()), [""; 0]);

    let right = bytes_of(ID);
    let good = Server::start(move |_| Answer::file(&right));
    assert_eq!(output(&mut fetch(dir.path(), &[&wrong.url, &good.url])).0, Some(0));
}

#[test]
fn missing_and_silent_servers_are_told_each_with_the_next_step_and_the_package() {
    let dir = folder();
    let missing = Server::start(|_| Answer::missing());
    let (code, _, stderr) = output(&mut fetch(dir.path(), &[&missing.url]));
    assert_eq!(code, Some(1));
    assert!(stderr.contains(&format!("{}/buildid/{ID}/debuginfo: 404 Not Found", missing.url)), "{stderr}");
    assert!(stderr.contains("Next: ask the debuginfod server of the kernel's distribution"), "{stderr}");

    // It takes the connection and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
    let url = format!("http://{}", silent.local_addr().expect("an address"));
    let mut command = fetch(dir.path(), &[&missing.url, &url]);
    command.env("DEBUGINFOD_TIMEOUT", "1").env("DEBUGINFOD_RETRY_LIMIT", "0");
    command.args(["--banner", "Linux version 6.5.6-300.fc39.x86_64 (mockbuild@bkernel01) (gcc) #1 SMP"]);
    let begin = Instant::now();
    let (code, _, stderr) = output(&mut command);
    assert_eq!(code, Some(1));
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    assert!(stderr.contains("404 Not Found") && stderr.contains("timed out"), "{stderr}");
    assert!(stderr.contains("DEBUGINFOD_TIMEOUT"), "{stderr}");
    assert!(stderr.contains("kernel-debuginfo-6.5.6-300.fc39.x86_64"), "{stderr}");
}

#[test]
fn an_elf_file_tells_its_build_id() {
    let dir = folder();
    let elf = program(dir.path(), ID);
    let whole = std::fs::read(&elf).expect("readable");
    let server = Server::start(move |_| Answer::file(&whole));
    let mut command = quaid();
    command.args(["fetch_debuginfo", "-f", arg(&elf), "-D", arg(dir.path()), "--server", &server.url]);
    let (code, stdout, stderr) = output(&mut command);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.ends_with(&format!("{ID}.debug\n")), "{stdout}");
    let (code, _, stderr) = output(command.args(["--build_id", OTHER_ID]));
    assert_eq!(code, Some(1));
    assert!(stderr.contains(&format!("is not that of {}", elf.display())), "{stderr}");
}

#[test]
fn the_banner_of_an_image_tells_the_package() {
    let (Some(image), Some(truth)) =
        (unpacked("linux/linux-5.10/mem.raw"), corpus_text("linux/linux-5.10/traits.json"))
    else {
        return;
    };
    // What the guest itself printed.
    assert!(truth.contains("Linux version 5.10.0-43-cloud-amd64 ") && truth.contains("Debian 5.10.251-5"), "{truth}");
    let expected =
        ["linux-image-5.10.0-43-cloud-amd64-dbg", "5.10.251-5", "/usr/lib/debug/boot/vmlinux-5.10.0-43-cloud-amd64"];
    for args in [["-f", arg(&image), "fetch_debuginfo"], ["fetch_debuginfo", "-f", arg(&image)]] {
        let stdout = ok(&args);
        for text in expected {
            assert!(stdout.contains(text), "{text}: {stdout}");
        }
    }
}

#[test]
fn a_banner_of_nobody_known_is_told() {
    let (code, stdout, stderr) =
        output(quaid().args(["fetch_debuginfo", "--banner", "Linux version 6.1.0 (me@home) #1\x1b[31m"]));
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("no known distribution") && !stderr.contains('\x1b'), "{stderr}");
}

/// Ends when dropped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// elfutils' server over `folder`, and its URL.
fn debuginfod(folder: &Path, database: &Path) -> Option<(Daemon, String)> {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port().to_string();
    let started = Command::new("debuginfod")
        .args(["-F", "-p", &port, "-d", arg(database), arg(folder)])
        // It would ask these for what it lacks.
        .env_remove("DEBUGINFOD_URLS")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match started {
        Ok(child) => Some((Daemon(child), format!("http://127.0.0.1:{port}"))),
        Err(why) => {
            skipped(&format!("debuginfod does not start: {why}"));
            None
        }
    }
}

#[test]
fn elfutils_own_server_is_understood() {
    let (dir, served, state) = (folder(), folder(), folder());
    let elf = program(served.path(), ID);
    // The debugging information in a file of its own, as packages have it.
    let debug = served.path().join("known.debug");
    let tool = |args: &[&str]| {
        let status = Command::new("objcopy").args(args).status().expect("objcopy starts");
        assert!(status.success(), "objcopy {args:?}");
    };
    tool(&["--only-keep-debug", arg(&elf), arg(&debug)]);
    tool(&["--strip-debug", arg(&elf)]);
    let Some((_daemon, url)) = debuginfod(served.path(), &state.path().join("index.sqlite")) else { return };
    // It answers 404 until it has read the folder.
    let begin = Instant::now();
    let (code, _, stderr) = loop {
        let got = output(&mut fetch(dir.path(), &[&url]));
        if got.0 == Some(0) || begin.elapsed() > Duration::from_secs(60) {
            break got;
        }
        std::thread::sleep(Duration::from_millis(300));
    };
    assert_eq!(code, Some(0), "{stderr}");
    let expected = std::fs::read(&debug).expect("readable");
    assert_eq!(std::fs::read(dir.path().join(format!("{ID}.debug"))).expect("written"), expected);
    assert_eq!(output(fetch(dir.path(), &[&url]).arg("--executable")).0, Some(0));
    assert_eq!(std::fs::read(dir.path().join(ID)).expect("written"), std::fs::read(&elf).expect("readable"));

    let mut other = quaid();
    other.args(["fetch_debuginfo", "--build_id", OTHER_ID, "-D", arg(dir.path()), "--server", &url]);
    let (code, _, stderr) = output(&mut other);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("404 Not Found"), "{stderr}");

    // A transfer that was cut before: the server ignores the range and sends all of it, from which the file is made.
    let target = dir.path().join(format!("{ID}.debug"));
    std::fs::remove_file(&target).expect("removed");
    let head = format!(
        "{{\"url\":\"{url}/buildid/{ID}/debuginfo\",\"validator\":\"Mon, 01 Jan 2024 00:00:00 GMT\",\"total\":{}}}\n",
        expected.len()
    );
    let part = [head.as_bytes(), &expected[..1000]].concat();
    std::fs::write(dir.path().join(format!("{ID}.debug.part")), part).expect("written");
    let (code, _, stderr) = output(&mut fetch(dir.path(), &[&url]));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(!stderr.contains("Going on"), "{stderr}");
    assert_eq!(std::fs::read(&target).expect("written"), expected);
}
