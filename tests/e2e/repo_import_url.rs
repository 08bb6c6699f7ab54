//! `repo import URL`: trees, lists and zips of a plain web server on loopback. The judge is what the other repository gives,
//! and what the server was asked for.

use crate::repo::{check_whole, fails, git, kernel_file, new_repository, repo, typed_module};
use crate::support::{arg, ok};
use crate::symbol_server::{Answer, Server};
use base64::Engine as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const GUID: &str = "3844DBB920174967BE7AA4A2C20430FA2";
const OTHER: &str = "3944DBB920174967BE7AA4A2C20430FA2";
const MAC: &str = "Darwin Kernel Version 21.6.0: Wed Aug 10 14:25:27 PDT 2022; root:xnu-8020.141.5~2/RELEASE_X86_64";
const CHIP: &str =
    "Darwin Kernel Version 21.6.0: Wed Aug 10 14:28:23 PDT 2022; root:xnu-8020.141.5~2/RELEASE_ARM64_T6000";
const KERNEL: &str = "Linux/Debian/6.1/amd64/6.1.0-9-amd64";

/// A server of the files of a folder, but those whose paths end in one of `hidden`.
fn file_server(root: &Path, hidden: &Arc<Mutex<Vec<String>>>) -> Server {
    let (root, hidden) = (root.to_owned(), Arc::clone(hidden));
    Server::start(move |request| {
        let path = request.path.trim_start_matches('/');
        let is_hidden = hidden.lock().expect("not poisoned").iter().any(|end| path.ends_with(end.as_str()));
        match std::fs::read(root.join(path)) {
            Ok(bytes) if !is_hidden && !path.contains("..") => Answer::file(&bytes),
            _ => Answer::missing(),
        }
    })
}

/// A repository of two builds, a kernel and a link, and its export.
fn origin(folder: &Path) -> (PathBuf, PathBuf) {
    let (root, out) = (folder.join("origin"), folder.join("out"));
    new_repository(&root);
    let files = [typed_module(folder, GUID, 32).0, typed_module(folder, OTHER, 64).0];
    let kernel = kernel_file(folder, "kernel", "6.1.0-9-amd64", "");
    ok(&["repo", "-C", arg(&root), "add", arg(&files[0]), arg(&files[1]), arg(&kernel)]);
    ok(&["repo", "-C", arg(&root), "link", "Win7SP1x64", GUID]);
    ok(&["repo", "-C", arg(&root), "link", "latest", "Win7SP1x64"]);
    ok(&["repo", "-C", arg(&root), "export", arg(&out)]);
    (root, out)
}

/// Exit code and stderr of an import.
fn import(root: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = repo(root, &[&["import"], args].concat());
    (output.status.code(), String::from_utf8(output.stderr).expect("text"))
}

#[test]
fn a_tree_is_fetched_once_and_then_only_what_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (origin, out) = origin(folder.path());
    let hidden = Arc::new(Mutex::new(vec![format!("nt/GUID/{OTHER}.gz"), format!("nt/GUID/{OTHER}")]));
    let server = file_server(&out, &hidden);
    let copy = folder.path().join("copy");
    new_repository(&copy);
    // One file is not there yet: it is told, and so are the links to it; the others are imported.
    let (code, told) = import(&copy, &[&server.url]);
    assert!(code == Some(3) && told.contains(&format!("nt/GUID/{OTHER}: is in the inventory")), "{code:?} {told}");
    check_whole(&copy);
    let list = |root: &Path| ok(&["repo", "-C", arg(root), "list"]);
    assert!(list(&copy).contains("latest -> Win7SP1x64\n") && !list(&copy).contains(OTHER), "{}", list(&copy));
    // Again: no more is asked for than is missing.
    hidden.lock().expect("not poisoned").clear();
    let before = server.log().len();
    let (code, told) = import(&copy, &[&format!("{}/v1.0/", server.url)]);
    assert_eq!(code, Some(0), "{told}");
    let asked: Vec<String> = server.log().into_iter().skip(before).map(|request| request.path).collect();
    assert!(asked.iter().all(|path| path.contains("inventory") || path.contains(OTHER)), "{asked:?}");
    assert_eq!(list(&copy), list(&origin));
    for name in [&format!("nt/GUID/{GUID}"), OTHER, KERNEL, "latest"] {
        assert_eq!(ok(&["repo", "-C", arg(&copy), "get", name]), ok(&["repo", "-C", arg(&origin), "get", name]));
    }
    check_whole(&copy);
    let before = server.log().len();
    let (code, told) = import(&copy, &[&server.url]);
    assert!(code == Some(0) && told.contains("imported 0 profiles and 0 links"), "{code:?} {told}");
    assert!(server.log().into_iter().skip(before).all(|request| request.path.contains("inventory")));
    let told = fails(&copy, &["import", &format!("{}/none", server.url)], 1);
    assert!(told.contains("inventory: there is none"), "{told}");
    let output = crate::support::run(&["--offline", "repo", "-C", arg(&copy), "import", &server.url]);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("--offline"));
}

#[test]
fn what_is_not_what_the_inventory_says_is_not_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_, out) = origin(folder.path());
    let server = file_server(&out, &Arc::default());
    let write = |name: &str, text: &str| std::fs::write(out.join("v1.0").join(name), text).expect("written");
    // Another profile of the same length, a page of a proxy, names that lead elsewhere.
    let path = format!("nt/GUID/{GUID}.gz");
    let text = ok(&["repo", "-C", arg(&folder.path().join("origin")), "get", GUID]).replacen("Gamma", "Delta", 1);
    write(&path, &text);
    write(&format!("{KERNEL}.gz"), "<html>log in</html>");
    let inventory = std::fs::read_to_string(out.join("v1.0/inventory")).expect("readable");
    let mut inventory: serde_json::Value = serde_json::from_str(&inventory).expect("JSON");
    let bad = ["../../etc/passwd", "C:/x", "a\\b", "control\u{1b}[2J", "src/nt/guids.yaml", ".git/config"];
    for name in bad {
        inventory["$INVENTORY"][name] = serde_json::json!({"LastModified": 1.0});
    }
    std::fs::remove_file(out.join("v1.0/inventory.gz")).expect("removed");
    write("inventory", &inventory.to_string());
    let copy = folder.path().join("copy");
    new_repository(&copy);
    let (code, told) = import(&copy, &[&server.url]);
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("SHA-256") && told.contains("HTML page") && !told.contains('\u{1b}'), "{told}");
    for name in bad {
        let shown = name.replace('\u{1b}', "\\u{1b}");
        assert!(told.lines().any(|line| line.contains(&shown)), "{shown}: {told}");
    }
    let asked = server.log();
    assert!(bad.iter().all(|bad| asked.iter().all(|request| !request.path.contains(bad))), "{asked:?}");
    let list = ok(&["repo", "-C", arg(&copy), "list"]);
    assert_eq!(list, format!("GUID/{OTHER} -> nt/GUID/{OTHER}\nnt/GUID/{OTHER}\n"));
    check_whole(&copy);
    // Who may sign is asked, and nobody did.
    let allowed = folder.path().join("allowed");
    std::fs::write(&allowed, "").expect("written");
    let output =
        crate::support::run(&["--allowed_signers", arg(&allowed), "repo", "-C", arg(&copy), "import", &server.url]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && told.contains("inventory.sig"), "{told}");
}

#[test]
fn a_list_for_volatility_and_a_zip_are_taken_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let (origin, out) = origin(folder.path());
    let web = folder.path().join("web");
    std::fs::create_dir(&web).expect("created");
    let own = folder.path().join("own.json");
    ok(&["--output", arg(&own), "repo", "-C", arg(&origin), "get", GUID]);
    ok(&["-q", "convert_profile", arg(&own), arg(&web.join("nt.json.xz")), "--to", "isf"]);
    let banner = "Linux version 6.1.0-9-amd64 (builder@example.org) #1 SMP\n";
    let isf = r#"{"metadata": {"format": "6.2.0", "producer": {"name": "x", "version": "1"}, "linux": {}}, "base_types": {},
        "user_types": {"list_head": {"kind": "struct", "size": 16, "fields": {}}}, "enums": {},
        "symbols": {"linux_banner": {"address": 4096, "constant_data": "BANNER"}}}"#;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    std::fs::write(web.join("linux.json"), isf.replace("BANNER", &encode(&format!("{banner}\0")))).expect("written");
    let isf = isf.replace(r#""linux":"#, r#""mac":"#).replace("linux_banner", "version");
    for (file, banner) in [("mac.json", MAC), ("chip.json", CHIP)] {
        std::fs::write(web.join(file), isf.replace("BANNER", &encode(&format!("{banner}\0")))).expect("written");
    }
    let list = serde_json::json!({
        "version": 1,
        "windows": {encode(&format!("ntkrnlmp.pdb|{}|2", &GUID[..32])): ["gone.json", "nt.json.xz"]},
        "linux": {encode(&format!("{banner}\0")): ["/linux.json"]},
        "mac": {
            encode("Darwin"): ["file:///etc/passwd"],
            encode(&format!("{MAC}\0")): ["mac.json"],
            encode(&format!("{CHIP}\0")): ["chip.json"],
        },
        "additional": ["https://example.org/more.json"],
    });
    std::fs::write(web.join("banners.json"), list.to_string()).expect("written");
    let server = file_server(&web, &Arc::default());
    let (copy, url) = (folder.path().join("copy"), format!("{}/banners.json", server.url));
    new_repository(&copy);
    let (code, told) = import(&copy, &[&url]);
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("no address over http") && told.contains("1 further lists"), "{told}");
    assert_eq!(ok(&["repo", "-C", arg(&copy), "get", banner.trim()]).matches("list_head").count(), 1);
    let list = ok(&["repo", "-C", arg(&copy), "list"]);
    assert!(list.contains(&format!("nt/GUID/{GUID}\n")) && list.contains("OSX/chip\nOSX/mac\n"), "{list}");
    check_whole(&copy);
    let before = server.log().len();
    import(&copy, &[&url]);
    let asked: Vec<String> = server.log().into_iter().skip(before).map(|request| request.path).collect();
    assert_eq!(asked, ["/banners.json"], "nothing of it is missing");

    let zip = std::fs::File::create(web.join("tree.zip")).expect("created");
    let mut zip = zip::ZipWriter::new(zip);
    for name in [format!("v1.0/nt/GUID/{OTHER}.gz"), format!("v1.0/{KERNEL}.gz")] {
        zip.start_file(&name, zip::write::SimpleFileOptions::default()).expect("begun");
        std::io::Write::write_all(&mut zip, &std::fs::read(out.join(&name)).expect("exported")).expect("written");
    }
    zip.finish().expect("finished");
    let (code, told) = import(&copy, &[&format!("{}/tree.zip", server.url)]);
    assert!(code == Some(0) && told.contains("imported 2 profiles"), "{code:?} {told}");
    let (code, told) = import(&copy, &[&format!("{}/linux.json", server.url)]);
    assert!(code == Some(0) && told.contains("1 profiles were there already"), "{code:?} {told}");
    assert_eq!(import(&copy, &[&format!("{}/gone.zip", server.url)]).0, Some(1));
    check_whole(&copy);
}

/// The copies that were damaged are told by name and left alone; the rest of the tree comes.
#[test]
fn a_profile_here_that_cannot_be_read_ends_no_import() {
    let folder = tempfile::tempdir().expect("a folder");
    let (origin, out) = origin(folder.path());
    let server = file_server(&out, &Arc::default());
    let copy = folder.path().join("copy");
    new_repository(&copy);
    // A whole profile that somebody else's program committed, larger than a Symlink, and one that is stored in parts.
    let path = copy.join(format!("v1.0/nt/GUID/{OTHER}"));
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("created");
    std::fs::write(&path, vec![b'x'; 9000]).expect("written");
    git(&copy, &["add", "."]);
    git(&copy, &["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "theirs"]);
    ok(&["repo", "-C", arg(&copy), "add", arg(&folder.path().join(format!("{GUID}.json")))]);
    let lost = git(&copy, &["rev-parse", &format!("HEAD:v1.0/nt/GUID/{}/{GUID}", &GUID[..2])]);
    std::fs::remove_file(copy.join(".git/objects").join(&lost[..2]).join(lost[2..].trim())).expect("a loose object");
    let (code, told) = import(&copy, &[&server.url]);
    assert_eq!(code, Some(3), "{told}");
    for guid in [GUID, OTHER] {
        let begin = format!("warning: not imported: nt/GUID/{guid}: what is here under this name cannot be read");
        assert!(told.lines().any(|line| line.starts_with(&begin)), "{guid}: {told}");
        assert!(!server.asked().iter().any(|path| path.contains(&format!("nt/GUID/{guid}"))), "{told}");
    }
    assert_eq!(ok(&["repo", "-C", arg(&copy), "get", KERNEL]), ok(&["repo", "-C", arg(&origin), "get", KERNEL]));
}
