//! `fetch_pdb` against a symbol server on loopback.

use crate::support::{arg, corpus, quaid};
use crate::symbol_server::{Answer, Request, Server};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The XP kernel of the corpus, and its identity (corpus/windows/pdb/pdb-table.tsv).
const KERNEL: &str = "windows/pdb/nt/ntkrnlpa.pdb";
const KERNEL_ID: &str = "30B5FB31AE7E4ACAABA750AA241FF3311";

fn kernel() -> Option<Vec<u8>> {
    Some(std::fs::read(corpus(KERNEL)?).expect("readable"))
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// `fetch_pdb` for the kernel into `dir`, in its short form.
fn fetch(dir: &Path, server: &str) -> Command {
    let mut command = quaid();
    command.args(["fetch_pdb", "ntkrnlpa.pdb", KERNEL_ID, "-D", arg(dir), "--server", server]);
    command
}

fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("the binary starts");
    (status.code(), String::from_utf8(stdout).expect("text"), String::from_utf8(stderr).expect("text"))
}

fn names(dir: &Path) -> Vec<String> {
    let entries = dir.read_dir().expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
    names.sort_unstable();
    names
}

pub(crate) fn cabinet_of(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut builder = cab::CabinetBuilder::new();
    builder.add_folder(cab::CompressionType::MsZip).add_file(name);
    let mut writer = builder.build(std::io::Cursor::new(Vec::new())).expect("a cabinet");
    writer.next_file().expect("readable").expect("a member").write_all(bytes).expect("written");
    writer.finish().expect("finished").into_inner()
}

/// Serves files by the ending of their path, and nothing else.
pub(crate) fn serving(files: Vec<(&'static str, Vec<u8>)>) -> Server {
    Server::start(move |request: &Request| {
        files
            .iter()
            .find(|(name, _)| request.path.ends_with(name))
            .map_or_else(Answer::missing, |(_, b)| Answer::file(b))
    })
}

#[test]
fn the_plain_pdb_arrives_byte_for_byte() {
    let Some(pdb) = kernel() else { return };
    let dir = folder();
    let server = serving(vec![("ntkrnlpa.pdb", pdb.clone())]);
    let guid = "{30b5fb31-ae7e-4aca-aba7-50aa241ff331}1";
    let mut command = quaid();
    command.args(["fetch_pdb", "-D.", "--guid", guid, "--filename", "ntkrnlpa", "--server", &server.url]);
    let (code, stdout, stderr) = output(command.current_dir(dir.path()));
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(stdout, "./ntkrnlpa.pdb\n");
    let url = format!("{}/ntkrnlpa.pdb/{KERNEL_ID}/ntkrnlpa.pdb", server.url);
    assert_eq!(stderr, format!("Trying to fetch {url}\nReceived 1715200 bytes\n\nAll done, no errors.\n"));
    assert_eq!(std::fs::read(dir.path().join("ntkrnlpa.pdb")).expect("written"), pdb);
    assert_eq!(names(dir.path()), ["ntkrnlpa.pdb"]);

    let request = &server.log()[0];
    assert_eq!(request.path, format!("/ntkrnlpa.pdb/{KERNEL_ID}/ntkrnlpa.pdb"));
    assert_eq!(request.header("User-Agent"), Some("Microsoft-Symbol-Server/10.1710.0.0"));
    // A server that may compress could send MSFZ or gzip.
    assert_eq!(request.header("Accept-Encoding"), None);
}

#[test]
fn a_cabinet_is_expanded() {
    let Some(pdb) = kernel() else { return };
    let dir = folder();
    let server = serving(vec![("ntkrnlpa.pd_", cabinet_of("ntkrnlpa.pdb", &pdb))]);
    let (code, _, stderr) = output(&mut fetch(dir.path(), &server.url));
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(server.asked(), ["ntkrnlpa.pdb", "ntkrnlpa.pd_"]);
    assert!(stderr.contains("\nExtracting cabinet: ntkrnlpa.pd_\n  extracting ntkrnlpa.pdb\n"), "{stderr}");
    assert_eq!(std::fs::read(dir.path().join("ntkrnlpa.pdb")).expect("written"), pdb);
    assert_eq!(names(dir.path()), ["ntkrnlpa.pdb"]);
}

#[test]
fn a_real_mszip_cabinet_is_expanded() {
    let Some(packed) = corpus("windows/pdb/msvc/basic32.pd_") else { return };
    let dir = folder();
    let server = serving(vec![("basic32.pd_", std::fs::read(packed).expect("readable"))]);
    let (code, _, stderr) = output(quaid().args([
        "fetch_pdb",
        "--filename",
        "basic32.pdb",
        "--guid",
        "34060D222DBB44E5AA72243CE8326C2F2",
        "--dump-dir",
        arg(dir.path()),
        "--server",
        &server.url,
    ]));
    assert_eq!(code, Some(0), "{stderr}");
    // corpus/windows/cab/cab-truth.tsv, by cabextract.
    let bytes = std::fs::read(dir.path().join("basic32.pdb")).expect("written");
    assert_eq!(crate::cab::md5(&bytes), "a6c609e6b62cd0b9fbea5400bf370891");
}

#[test]
fn a_cut_transfer_is_resumed_where_it_ended() {
    let Some(pdb) = kernel() else { return };
    let dir = folder();
    let (whole, count) = (pdb.clone(), AtomicUsize::new(0));
    let server = Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::Cut { bytes: whole.clone(), etag: "\"1\"", after: 1_000_000 },
        _ => Answer::file(&whole),
    });
    let (code, _, stderr) = output(&mut fetch(dir.path(), &server.url));
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(server.asked(), ["ntkrnlpa.pdb", "ntkrnlpa.pdb bytes=1000000-"]);
    assert_eq!(server.log()[1].header("If-Range"), Some("\"1\""));
    assert_eq!(std::fs::read(dir.path().join("ntkrnlpa.pdb")).expect("written"), pdb);
    assert_eq!(names(dir.path()), ["ntkrnlpa.pdb"]);
}

/// Fetches from a server that goes silent after `after` bytes, and kills the program then.
fn killed_half_way(dir: &Path, pdb: &[u8], after: usize) {
    let bytes = pdb.to_vec();
    let server = Server::start(move |_| Answer::Stall { bytes: bytes.clone(), etag: "\"1\"", after });
    let mut child = fetch(dir, &server.url).stderr(Stdio::null()).spawn().expect("the binary starts");
    let part = dir.join("ntkrnlpa.pdb.part");
    let start = Instant::now();
    while part.metadata().map_or(0, |file| file.len()) < after as u64 {
        assert!(start.elapsed() < Duration::from_secs(20), "no partial file");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    // The next server has another port; a real one keeps its URL.
    let text = std::fs::read(&part).expect("readable");
    let line = text.iter().position(|&b| b == b'\n').expect("a first line");
    let head = String::from_utf8(text[..line].to_vec()).expect("text").replace(&server.url, "http://SERVER");
    std::fs::write(&part, [head.as_bytes(), &text[line..]].concat()).expect("written");
}

/// Makes the partial file one of this server's.
fn adopt(dir: &Path, server: &Server) {
    let part = dir.join("ntkrnlpa.pdb.part");
    let text = std::fs::read(&part).expect("readable");
    let line = text.iter().position(|&b| b == b'\n').expect("a first line");
    let head = String::from_utf8(text[..line].to_vec()).expect("text").replace("http://SERVER", &server.url);
    std::fs::write(&part, [head.as_bytes(), &text[line..]].concat()).expect("written");
}

#[test]
fn a_killed_run_is_gone_on_with_by_the_next() {
    let Some(pdb) = kernel() else { return };
    let dir = folder();
    killed_half_way(dir.path(), &pdb, 700_000);
    assert_eq!(names(dir.path()), ["ntkrnlpa.pdb.part"]);
    let server = serving(vec![("ntkrnlpa.pdb", pdb.clone())]);
    adopt(dir.path(), &server);
    let (code, _, stderr) = output(&mut fetch(dir.path(), &server.url));
    assert_eq!(code, Some(0), "{stderr}");
    let asked = server.asked();
    let from: usize = asked[0]
        .strip_prefix("ntkrnlpa.pdb bytes=")
        .and_then(|r| r.strip_suffix('-'))
        .expect("a range")
        .parse()
        .expect("a number");
    assert!((1..=700_000).contains(&from), "{asked:?}");
    assert!(stderr.contains(&format!("Going on from byte {from}\n")), "{stderr}");
    assert_eq!(std::fs::read(dir.path().join("ntkrnlpa.pdb")).expect("written"), pdb);
    assert_eq!(names(dir.path()), ["ntkrnlpa.pdb"]);
}

#[test]
fn a_part_of_a_file_that_has_changed_is_not_used() {
    let Some(pdb) = kernel() else { return };
    let dir = folder();
    let mut old = pdb.clone();
    old[1000..2000].fill(0x55);
    killed_half_way(dir.path(), &old, 700_000);
    let new = pdb.clone();
    let server = Server::start(move |_| Answer::File { bytes: new.clone(), etag: "\"2\"" });
    adopt(dir.path(), &server);
    let (code, _, stderr) = output(&mut fetch(dir.path(), &server.url));
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(std::fs::read(dir.path().join("ntkrnlpa.pdb")).expect("written"), pdb);
}

/// What comes is refused: exit code 1, nothing written, nothing on stdout. Gives stderr.
fn refused(files: Vec<(&'static str, Vec<u8>)>) -> String {
    let dir = folder();
    let server = serving(files);
    let (code, stdout, stderr) = output(&mut fetch(dir.path(), &server.url));
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert_eq!(names(dir.path()), [""; 0]);
    stderr
}

#[test]
fn what_is_not_the_pdb_is_refused_and_told() {
    let Some(pdb) = kernel() else { return };
    let page = b"<!DOCTYPE html><html><body>Please log in</body></html>".to_vec();
    let stderr = refused(vec![("ntkrnlpa.pdb", page)]);
    assert!(stderr.contains("it is an HTML page (a proxy's or captive portal's login?)"), "{stderr}");

    let other = std::fs::read(corpus("windows/pdb/nt/wntdll.pdb").expect("the corpus is there")).expect("readable");
    let stderr = refused(vec![("ntkrnlpa.pdb", other)]);
    let told = format!("it is the PDB 1C96EAD80971326D3967ED72C983E1641, not {KERNEL_ID}");
    assert!(stderr.contains(&told), "{stderr}");

    let mut cabinet = cabinet_of("ntkrnlpa.pdb", &pdb);
    cabinet.truncate(cabinet.len() / 2);
    let stderr = refused(vec![("ntkrnlpa.pd_", cabinet)]);
    assert!(stderr.contains("damaged cabinet: it is truncated"), "{stderr}");

    let stderr = refused(vec![("ntkrnlpa.pdb", pdb[..1_000_000].to_vec())]);
    assert!(stderr.contains("it declares 1715200 bytes, and the file has 1000000"), "{stderr}");

    let old = std::fs::read(corpus("windows/pdb/old/peekPE__vc60.pdb").expect("there")).expect("readable");
    let stderr = refused(vec![("ntkrnlpa.pdb", old)]);
    assert!(stderr.contains("a PDB without a GUID"), "{stderr}");

    let stderr = refused(vec![("file.ptr", b"PATH:/etc/passwd".to_vec())]);
    assert!(stderr.contains("it points to /etc/passwd, which is not followed from a server"), "{stderr}");
    let stderr = refused(vec![("file.ptr", b"MSG: withdrawn".to_vec())]);
    assert!(stderr.contains("the store says: withdrawn"), "{stderr}");
}

#[test]
fn every_place_that_was_tried_is_told() {
    let stderr = refused(vec![]);
    for file in ["ntkrnlpa.pdb", "ntkrnlpa.pd_", "file.ptr"] {
        assert!(stderr.contains(&format!("/{file}: 404 Not Found\n")), "{stderr}");
    }
    assert!(stderr.contains("give another --server URL"), "{stderr}");
}

#[test]
fn a_passing_not_found_and_a_busy_server_are_survived() {
    let Some(pdb) = kernel() else { return };
    let dir = folder();
    let (whole, count) = (pdb.clone(), AtomicUsize::new(0));
    let server = Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0..3 => Answer::missing(),
        3 => Answer::Status(503, "Retry-After: 0\r\n", vec![]),
        _ => Answer::file(&whole),
    });
    let (code, _, stderr) = output(&mut fetch(dir.path(), &server.url));
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(server.asked(), ["ntkrnlpa.pdb", "ntkrnlpa.pd_", "file.ptr", "ntkrnlpa.pdb", "ntkrnlpa.pdb"]);
    assert_eq!(std::fs::read(dir.path().join("ntkrnlpa.pdb")).expect("written"), pdb);
}

#[test]
fn redirects_and_pointers_are_followed() {
    let Some(pdb) = kernel() else { return };
    let dir = folder();
    let whole = pdb.clone();
    let server = Server::start(move |request| match request.path.as_str() {
        "/blob" => Answer::file(&whole),
        path if path.ends_with("ntkrnlpa.pdb") => Answer::Redirect("/blob".into()),
        _ => Answer::missing(),
    });
    let (code, _, stderr) = output(&mut fetch(dir.path(), &server.url));
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(std::fs::read(dir.path().join("ntkrnlpa.pdb")).expect("written"), pdb);

    let pointing = serving(vec![("file.ptr", format!("PATH:{}/blob\r\n", server.url).into_bytes())]);
    let dir = folder();
    let (code, _, stderr) = output(&mut fetch(dir.path(), &pointing.url));
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(std::fs::read(dir.path().join("ntkrnlpa.pdb")).expect("written"), pdb);

    let circle = Server::start(|request| Answer::Redirect(request.path.clone()));
    let (code, _, stderr) = output(&mut fetch(folder().path(), &circle.url));
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("more than 10 redirects"), "{stderr}");
}

#[test]
fn a_proxy_of_the_environment_is_asked() {
    let Some(pdb) = kernel() else { return };
    let dir = folder();
    let proxy = serving(vec![("ntkrnlpa.pdb", pdb)]);
    let mut command = fetch(dir.path(), "http://symbols.invalid/store");
    let (code, _, stderr) = output(command.env("HTTP_PROXY", &proxy.url).env("http_proxy", &proxy.url));
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(proxy.log()[0].path, format!("http://symbols.invalid/store/ntkrnlpa.pdb/{KERNEL_ID}/ntkrnlpa.pdb"));
}

#[test]
fn a_symbol_path_s_cache_is_filled_and_then_used_offline() {
    let Some(pdb) = kernel() else { return };
    let (dir, other, cache) = (folder(), folder(), folder());
    let server = serving(vec![("ntkrnlpa.pdb", pdb.clone())]);
    let path = format!("srv*{}*{}", arg(cache.path()), server.url);
    let run = |global: &[&str], dir: &Path| {
        let args = ["fetch_pdb", "ntkrnlpa.pdb", KERNEL_ID, "-D", arg(dir)];
        output(quaid().args(global).args(args).env("_NT_SYMBOL_PATH", &path))
    };
    let (code, _, stderr) = run(&["--offline"], dir.path());
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("not asked, because of --offline") && stderr.contains("it is not there"), "{stderr}");
    assert_eq!(server.asked(), [""; 0]);

    let (code, _, stderr) = run(&[], dir.path());
    assert_eq!(code, Some(0), "{stderr}");
    let kept = cache.path().join("ntkrnlpa.pdb").join(KERNEL_ID).join("ntkrnlpa.pdb");
    assert_eq!(std::fs::read(kept).expect("kept"), pdb);

    let (code, _, stderr) = run(&["--offline"], other.path());
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(std::fs::read(other.path().join("ntkrnlpa.pdb")).expect("written"), pdb);
    assert_eq!(server.asked(), ["ntkrnlpa.pdb"]);
}

#[test]
fn a_cache_that_takes_nothing_is_told_and_the_pdb_is_written() {
    let Some(pdb) = kernel() else { return };
    let dir = folder();
    let server = serving(vec![("ntkrnlpa.pdb", pdb.clone())]);
    // A file where the cache's folder should be.
    let cache = dir.path().join("cache");
    std::fs::write(&cache, "").expect("written");
    let (code, _, stderr) = output(&mut fetch(dir.path(), &format!("srv*{}*{}", arg(&cache), server.url)));
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("did not take it") && !stderr.contains("no errors"), "{stderr}");
    assert_eq!(std::fs::read(dir.path().join("ntkrnlpa.pdb")).expect("written"), pdb);
}

#[test]
fn a_file_that_is_there_is_kept_unless_it_may_be_overwritten() {
    let Some(pdb) = kernel() else { return };
    let dir = folder();
    let target = dir.path().join("ntkrnlpa.pdb");
    let server = serving(vec![("ntkrnlpa.pdb", pdb.clone())]);
    std::fs::write(&target, "mine").expect("written");
    let (code, _, stderr) = output(&mut fetch(dir.path(), &server.url));
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("exists and is another file") && stderr.contains("--overwrite"), "{stderr}");
    assert_eq!(std::fs::read(&target).expect("there"), b"mine");
    assert_eq!(server.asked(), [""; 0]);

    let args = ["--overwrite", "fetch_pdb", "ntkrnlpa.pdb", KERNEL_ID, "-D", arg(dir.path()), "--server", &server.url];
    assert_eq!(output(quaid().args(args)).0, Some(0));
    assert_eq!(std::fs::read(&target).expect("there"), pdb);

    let (code, stdout, stderr) = output(&mut fetch(dir.path(), &server.url));
    assert_eq!((code, stdout.trim_end()), (Some(0), arg(&target)));
    assert!(stderr.contains("nothing to fetch"), "{stderr}");
    assert_eq!(server.asked(), ["ntkrnlpa.pdb"]);
}

#[test]
fn the_pdb_of_a_pe_file_is_fetched() {
    let Some(pdb) = kernel() else { return };
    let dir = folder();
    let exe = dir.path().join("ntoskrnl.exe");
    std::fs::write(&exe, pe_with_rsds("d:\\build\\ntkrnlpa.pdb")).expect("written");
    let server = serving(vec![("ntkrnlpa.pdb", pdb.clone())]);
    let args = ["fetch_pdb", "--filename", arg(&exe), "-D", arg(dir.path()), "--server", &server.url];
    let (code, _, stderr) = output(quaid().args(args));
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(server.log()[0].path, format!("/ntkrnlpa.pdb/{KERNEL_ID}/ntkrnlpa.pdb"));
    assert_eq!(std::fs::read(dir.path().join("ntkrnlpa.pdb")).expect("written"), pdb);
}

/// A 32-bit PE file of headers alone, whose debug directory records the kernel's PDB under `path`.
fn pe_with_rsds(path: &str) -> Vec<u8> {
    let mut file = vec![0; 0x400];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    let long = |value: u32| value.to_le_bytes();
    put(0, b"MZ");
    put(0x3c, &long(0x40));
    put(0x40, b"PE\0\0\x4c\x01\x01\x00"); // I386, one section
    put(0x54, &[0xe0, 0, 2, 1]); // size of the optional header, characteristics
    put(0x58, &[0x0b, 1]); // PE32
    put(0x58 + 32, &long(0x1000)); // section alignment
    put(0x58 + 36, &long(0x200)); // file alignment
    put(0x58 + 56, &long(0x2000)); // size of the image
    put(0x58 + 60, &long(0x200)); // size of the headers
    put(0x58 + 92, &long(16)); // data directories
    put(0x58 + 96 + 6 * 8, &long(0x1000));
    put(0x58 + 96 + 6 * 8 + 4, &long(28));
    put(0x138, b".rdata\0\0");
    for (at, value) in [(8, 0x200), (12, 0x1000), (16, 0x200), (20, 0x200)] {
        put(0x138 + at, &long(value));
    }
    for (at, value) in [(12, 2), (16, 24 + path.len() as u32 + 1), (20, 0x1040), (24, 0x240)] {
        put(0x200 + at, &long(value));
    }
    put(0x240, b"RSDS");
    let guid = [0x31, 0xfb, 0xb5, 0x30, 0x7e, 0xae, 0xca, 0x4a, 0xab, 0xa7, 0x50, 0xaa, 0x24, 0x1f, 0xf3, 0x31];
    put(0x244, &guid);
    put(0x254, &long(1));
    put(0x258, path.as_bytes());
    file
}

#[test]
fn what_cannot_be_asked_for_is_told() {
    let dir = folder();
    std::fs::write(dir.path().join("text.exe"), "no PE").expect("written");
    for (args, word) in [
        (&["nt.pdb", "30B5FB31AE7E4ACAABA750AA241FF331"][..], "lacks the age"),
        (&["nt.pdb", "30B5"], "is not a GUID"),
        (&["nt.pdb"], "is no file here, so its GUID is needed"),
        (&["text.exe"], "not a PE file"),
        (&["..", KERNEL_ID], "cannot be the name of a PDB"),
        (&["nt.pdb", KERNEL_ID, "-D", "nowhere"], "is no folder"),
    ] {
        let (code, _, stderr) = output(quaid().arg("fetch_pdb").args(args).current_dir(dir.path()));
        assert_eq!(code, Some(1), "{args:?}: {stderr}");
        assert!(stderr.contains(word) && stderr.lines().count() == 1, "{args:?}: {stderr}");
    }
}

#[test]
fn the_identity_of_every_real_pdb_is_the_table_s() {
    use quaid::pdb::{PdbError, identity};
    let Some(table) = crate::support::corpus_text("windows/pdb/pdb-table.tsv") else { return };
    let mut read = 0;
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [file, format, _, guid, _, dbi_age, ..] = columns[..] else { continue };
        let Ok(bytes) = std::fs::read(corpus("windows/pdb").expect("there").join(file)) else { continue };
        if format == "MSF 7.00" && guid != "-" {
            let id = identity(&bytes).unwrap_or_else(|error| panic!("{file}: {error}"));
            let age: u32 = dbi_age.parse().expect("a number");
            assert_eq!((id.guid_text().as_str(), id.age), (guid, age), "{file}");
            read += 1;
        } else {
            assert!(matches!(identity(&bytes), Err(PdbError::Damaged { .. } | PdbError::Unsupported(_))), "{file}");
        }
    }
    assert!(read >= 20, "{read}");
}

#[test]
fn a_silent_server_is_given_up_after_the_stall_time_out() {
    use quaid::symserver::{DownloadError, HttpSettings, HttpTransport, Policy, Url, download};
    let server = Server::start(|_| Answer::Stall { bytes: vec![7; 1000], etag: "\"1\"", after: 100 });
    let stall_timeout = Duration::from_millis(200);
    let settings = HttpSettings { stall_timeout, proxy_from_environment: false, ..HttpSettings::default() };
    let transport = HttpTransport::new(settings).expect("a client");
    let policy = Policy { retries: 0, ..Policy::default() };
    let start = Instant::now();
    let url = Url::parse(&server.url).expect("a URL");
    let error = download(&transport, &url, None, &policy, &mut |_| {}).expect_err("silence");
    assert!(matches!(error, DownloadError::Cut { received: 100, total: Some(1000), .. }), "{error}");
    assert!(error.to_string().contains("timed out"), "{error}");
    assert!((stall_timeout..Duration::from_secs(10)).contains(&start.elapsed()));
}
