//! `repo serve` on loopback: the profiles as `HttpSource` reads them, the list of Volatility, PDBs as `fetch_pdb` gets
//! them, and requests that mean harm. scripts/check-volatility has Volatility itself, scripts/check-pages a browser.

use crate::fetch_pdb::serving;
use crate::repo::{git, module_file};
use crate::support::{arg, corpus, ok, quaid};
use base64::Engine as _;
use quaid::http_source::HttpSource;
use quaid::symserver::HttpSettings;
use quaid_profile::{ProfilePath, ProfileSource};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const PDB: &str = "windows/pdb/nt/ntkrnlpa.pdb";
const ID: &str = "30B5FB31AE7E4ACAABA750AA241FF3311";
const KERNEL: &str = "Linux/Debian/6.1/amd64/6.1.0-9-amd64";
const BANNER: &str = "Linux version 6.1.0-9-amd64 (debian-kernel@lists.debian.org) #1 SMP";

/// A server that runs.
pub(crate) struct Served {
    child: Child,
    host: String,
    _stdout: BufReader<std::process::ChildStdout>,
}

impl Served {
    pub(crate) fn start(root: &Path, more: &[&str]) -> Self {
        let mut command = quaid();
        command.args(["-q", "repo", "-C", arg(root), "serve", "--listen", "127.0.0.1:0"]).args(more);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("the address");
        let host = line.trim().trim_start_matches("http://").trim_end_matches('/').to_owned();
        assert!(host.starts_with("127.0.0.1:"), "{line}");
        Self { child, host, _stdout: stdout }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.host)
    }

    /// Sends these bytes and gives the status and the body.
    fn send(&self, request: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.host).expect("a connection");
        // A server that has had enough closes while we write.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        (status, answer[end..].to_vec())
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Vec<u8>) {
        self.send(format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.host).as_bytes())
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}");
        serde_json::from_slice(&body).expect("JSON")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A repository with a Linux kernel, and its profile as it was added.
fn repository() -> (TempDir, PathBuf, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, file) = (folder.path().join("profiles"), folder.path().join("kernel.json"));
    ok(&["repo", "init", arg(&root)]);
    let text = format!(
        r#"{{"$METADATA": {{"Banner": "{BANNER}", "ProfileClass": "Linux", "Release": "6.1.0-9-amd64", "Type": "Profile", "arch": "AMD64"}},
            "$CONSTANTS": {{"init_task": 4096, "linux_banner": 8192}},
            "$STRUCTS": {{"flags": [8, {{"a": [0, ["BitField", {{"start_bit": 0, "end_bit": 3, "target": "unsigned int"}}]],
                                          "b": [0, ["BitField", {{"start_bit": 3, "end_bit": 4, "target": "unsigned int"}}]]}}],
                          "task_struct": [32, {{"pid": [8, ["int", {{}}]], "<script>": [16, ["Pointer", {{"target": "flags"}}]]}}]}}}}"#
    );
    std::fs::write(&file, text).expect("written");
    ok(&["repo", "-C", arg(&root), "add", arg(&file)]);
    ok(&["repo", "-C", arg(&root), "link", "mine", KERNEL]);
    let stored = ok(&["repo", "-C", arg(&root), "get", KERNEL]);
    (folder, root, stored)
}

#[test]
fn our_own_reader_finds_profiles_links_and_kernels_by_banner() {
    let (_folder, root, stored) = repository();
    let served = Served::start(&root, &[]);
    let settings = HttpSettings { proxy_from_environment: false, ..HttpSettings::default() };
    let source = || HttpSource::new(&served.url(""), Some(settings)).expect("a source");
    let path = ProfilePath::new(vec![Box::new(source())]);
    for name in [KERNEL, "mine"] {
        let found = path.load_stored(name, &mut |_| ()).expect("served");
        assert_eq!((found.profile.text(), found.name.as_str()), (stored.as_str(), KERNEL));
    }
    assert_eq!(path.linux_candidates(BANNER).expect("the index is served"), [KERNEL]);
    assert_eq!(source().read("no/such").expect("asked"), None);
    // The same, as Rekall asks.
    let (status, gz) = served.get(&format!("/v1.0/{KERNEL}.gz"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(&gz[..]).read_to_string(&mut text).expect("gzip");
    assert!(status == 200 && text == stored);
    let inventory = served.json("/v1.0/inventory");
    assert_eq!(inventory["$METADATA"]["Type"], "Inventory");
    assert!(inventory["$INVENTORY"][KERNEL]["LastModified"].is_number());
    // What is added while it runs is there at once.
    ok(&["repo", "-C", arg(&root), "link", "yours", KERNEL]);
    assert_eq!(served.get("/v1.0/yours").0, 200);
}

#[test]
fn what_is_there_to_be_merged_is_served_and_no_build() {
    let (folder, root, _) = repository();
    let add = |name: &str, text: &str| {
        let file = folder.path().join("made.json");
        std::fs::write(&file, text).expect("written");
        ok(&["repo", "-C", arg(&root), "add", "--name", name, arg(&file)]);
    };
    add("nt/undocumented", crate::repo_lint::HELPER);
    // Whose metadata tells as little, and which has something to show.
    add("own/plain", r#"{"$METADATA": {"Type": "Profile"}, "$CONSTANTS": {"a": 1}}"#);
    let served = Served::start(&root, &[]);
    let page = String::from_utf8(served.get("/").1).expect("text");
    assert!(page.contains("own/plain") || page.contains("own%2Fplain"), "{page}");
    assert!(!page.contains("undocumented"), "{page}");
    assert_eq!(served.get("/v1.0/nt/undocumented").0, 200);
}

/// It is made once for a commit: what is lost after that is not noticed, what is added is.
#[test]
fn the_inventory_is_made_once_for_a_commit() {
    let (_folder, root, _) = repository();
    let served = Served::start(&root, &[]);
    let first = served.get("/v1.0/inventory");
    let lost = git(&root, &["rev-parse", &format!("HEAD:v1.0/{KERNEL}")]);
    let object = root.join(".git/objects").join(&lost[..2]).join(lost[2..].trim());
    let aside = object.with_extension("aside");
    std::fs::rename(&object, &aside).expect("a loose object");
    assert!(served.get("/v1.0/inventory") == first && first.0 == 200);
    std::fs::rename(&aside, &object).expect("back");
    ok(&["repo", "-C", arg(&root), "link", "yours", KERNEL]);
    let inventory = served.json("/v1.0/inventory");
    assert!(inventory["$INVENTORY"]["yours"].is_object() && inventory["$INVENTORY"][KERNEL].is_object());
    let (_, gz) = served.get("/v1.0/inventory.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&gz[..]).read_to_string(&mut text).expect("gzip");
    assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), inventory);
}

#[test]
fn modules_that_a_search_leaves_out_are_told_and_searched_alone() {
    let (folder, root, _) = repository();
    let guid = |number: usize| format!("3844DBB920174967BE7AA4A2C2{number:04}FA2");
    let file = |number: usize| {
        let (name, pdb) = (format!("{number}.json"), format!("driver{number:02}.pdb"));
        module_file(folder.path(), &name, &pdb, &guid(number), number)
    };
    let files: Vec<PathBuf> = (0..25).map(file).collect();
    let files: Vec<&str> = files.iter().map(|file| arg(file)).collect();
    ok(&[&["repo", "-C", arg(&root), "add"], &files[..]].concat());
    let served = Served::start(&root, &[]);
    let page = |path: &str| {
        let (status, body) = served.get(path);
        assert_eq!(status, 200, "{path}");
        String::from_utf8(body).expect("text")
    };
    // Of Linux and 25 drivers two are too many.
    let html = page("/search?q=Symbol");
    assert_eq!(html.matches("1 symbol").count(), 23, "{html}");
    assert!(html.contains("Structs and symbols of 2 modules not searched"), "{html}");
    for module in ["driver23", "driver24"] {
        assert!(html.contains(&format!("/search?q=Symbol&amp;module={module}\"")), "{module}: {html}");
        let alone = page(&format!("/search?q=Symbol&module={module}"));
        assert!(alone.matches("1 symbol").count() == 1 && !alone.contains("not searched"), "{alone}");
        assert!(alone.contains(module) && alone.contains("search in all modules"), "{alone}");
    }
    assert!(!page("/search?q=6.1.0-9&module=driver01").contains(KERNEL));
    // Nothing is left out of builds.
    assert!(page("/search?q=driver24").contains(&guid(24)));
}

#[test]
fn what_is_served_is_imported_as_a_tree_and_as_a_list() {
    let (folder, root, stored) = repository();
    let served = Served::start(&root, &[]);
    for (name, path) in [("by-tree", ""), ("by-list", "/banners.json")] {
        let copy = folder.path().join(name);
        ok(&["repo", "init", arg(&copy)]);
        ok(&["repo", "-C", arg(&copy), "import", &served.url(path)]);
        let given = ok(&["repo", "-C", arg(&copy), "get", BANNER]);
        assert!(given.contains("\"task_struct\""), "{name}");
        assert!(!path.is_empty() || given == stored, "{name}");
        ok(&["repo", "-C", arg(&copy), "verify"]);
    }
}

#[test]
fn the_list_for_volatility_leads_from_banners_to_isf() {
    let (_folder, root, _) = repository();
    let served = Served::start(&root, &[]);
    let list = served.json("/banners.json");
    assert_eq!(list["version"], 1);
    let (banner, urls) = list["linux"].as_object().expect("an object").iter().next().expect("an entry");
    let banner = base64::engine::general_purpose::STANDARD.decode(banner).expect("base64");
    assert_eq!(banner, format!("{BANNER}\n\0").as_bytes());
    let url = urls[0].as_str().expect("a URL");
    let isf = served.json(url.strip_prefix(&served.url("")).expect("of this server"));
    assert_eq!(isf["user_types"]["task_struct"]["fields"]["pid"]["offset"], 8);
    assert_eq!(isf["metadata"]["format"], "6.2.0");
    assert_eq!(served.send(b"GET /banners.json HTTP/1.0\r\nHost: a\"b\r\n\r\n").0, 400);
}

#[test]
fn pdbs_come_from_the_cache_and_once_from_upstream() {
    let Some(pdb) = corpus(PDB) else { return };
    let pdb = std::fs::read(pdb).expect("readable");
    let (folder, root, _) = repository();
    let upstream = serving(vec![("ntkrnlpa.pdb", pdb.clone())]);
    let fetch = |served: &Served, into: &str| {
        let into = folder.path().join(into);
        std::fs::create_dir(&into).expect("made");
        let server = served.url("/symbols");
        let output =
            quaid().args(["-q", "fetch_pdb", "ntkrnlpa.pdb", ID, "-D", arg(&into), "--server", &server]).output();
        let code = output.expect("the binary starts").status.code();
        (code, std::fs::read(into.join("ntkrnlpa.pdb")).ok())
    };
    {
        let served = Served::start(&root, &[]);
        assert_eq!(fetch(&served, "none"), (Some(1), None));
    }
    {
        let served = Served::start(&root, &["--upstream", &upstream.url]);
        assert!(fetch(&served, "first") == (Some(0), Some(pdb.clone())));
        assert!(fetch(&served, "second") == (Some(0), Some(pdb.clone())));
        assert_eq!(upstream.log().len(), 1, "{:?}", upstream.asked());
    }
    let served = Served::start(&root, &[]);
    assert!(fetch(&served, "kept") == (Some(0), Some(pdb)));
    let status = Command::new("git").arg("-C").arg(&root).args(["status", "--porcelain"]).output().expect("git starts");
    assert_eq!(String::from_utf8_lossy(&status.stdout), "", "the cache is no part of the repository");
}

#[test]
fn nothing_but_profiles_is_served_and_what_is_too_much_is_refused() {
    let (folder, root, _) = repository();
    std::fs::write(folder.path().join("secret"), "secret").expect("written");
    std::fs::write(root.join("v1.0/secret"), "{}").expect("not committed");
    let mut served = Served::start(&root, &[]);
    for path in [
        "/v1.0/../../secret",
        "/v1.0/%2e%2e/%2e%2e/secret",
        "/v1.0/..%2f..%2fsecret",
        "/v1.0/..%5c..%5csecret",
        "/v1.0//etc/passwd",
        "/v1.0/%2fetc%2fpasswd",
        "/v1.0/secret",
        "/v1.0/config.yaml",
        "/v1.0/config.yaml.gz",
        "/v1.0/.git/config",
        "/v1.0/src/pdb/.gitignore",
        "/v1.0/types/00/x/types.json",
        "/v1.0/Linux/symbols",
        "/v1.0/a%00b",
        "/v1.0/%ff",
        "/isf/../../secret.json",
        "/isf/..%2f..%2fsecret.json",
        "/symbols/..%2f..%2f..%2fsecret/30B5FB31AE7E4ACAABA750AA241FF3311/secret",
        "/symbols/..%5csecret.pdb/30B5FB31AE7E4ACAABA750AA241FF3311/secret.pdb",
        "/symbols/a.pdb/../a.pdb",
        "/build?name=..%2f..%2fsecret",
        "/download?name=../../secret",
        "/style.css/../../secret",
    ] {
        let (status, body) = served.get(path);
        assert!(matches!(status, 400 | 404), "{path}: {status}");
        assert!(!String::from_utf8_lossy(&body).contains("secret\n") && !body.starts_with(b"secret"), "{path}");
    }
    let long = "x".repeat(1 << 20);
    for request in [
        format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(2000)),
        "\u{0}\u{1}\u{2}\r\n\r\n".to_owned(),
    ] {
        let (status, _) = served.send(request.as_bytes());
        assert!(matches!(status, 0 | 400 | 414 | 431), "{status}");
    }
    assert_eq!(served.send(b"POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello").0, 405);
    // It is as well as before.
    let page = served.get(&format!("/struct?name={KERNEL}&struct=task_struct"));
    let html = String::from_utf8(page.1).expect("text");
    assert!(page.0 == 200 && html.contains("&lt;script&gt;") && !html.contains("<script"), "names are no markup");
    assert!(String::from_utf8_lossy(&served.get("/search?q=task").1).contains("task_struct"));

    let id = served.child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill starts").success());
    assert_eq!(served.child.wait().expect("it ends").code(), Some(0));
}
