//! Linux kernels that a repository makes itself: from a debuginfod server on loopback, by the list of what images lack or on
//! the way, and from the zips below `v1.0/src/Linux`. The judges are what the demo machine was made from, readelf, and git.

use crate::repo::{check_whole, git, new_repository};
use crate::support::{arg, demo_kernel, ok, quaid, rows, run};
use crate::symbol_server::{Answer, Server};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Where the demo's profile goes: by the release that its banner tells.
const NAME: &str = "Linux/LinuxGeneric/6.1/amd64/6.1.0-quaid-demo";

/// The build-id of the demo's kernel, as readelf has it.
fn build_id() -> String {
    let output =
        Command::new("readelf").args(["-n", arg(&demo_kernel().join("vmlinux"))]).output().expect("readelf starts");
    let text = String::from_utf8(output.stdout).expect("text");
    text.split("Build ID: ").nth(1).expect("a build-id").split_whitespace().next().expect("a word").to_owned()
}

/// Serves the debugging information of the demo's kernel, and of nothing else.
fn debuginfod() -> Server {
    let (path, vmlinux) =
        (format!("/buildid/{}/debuginfo", build_id()), std::fs::read(demo_kernel().join("vmlinux")).expect("read"));
    Server::start(move |request| if request.path == path { Answer::file(&vmlinux) } else { Answer::missing() })
}

/// The processes that were seen are those that the machine was made from.
fn check_tasks(stdout: &str) {
    let truth = std::fs::read_to_string(demo_kernel().join("truth.txt")).expect("the truth");
    let told = truth.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        let (["task", pid, ppid, uid, ..], Some(name)) = (&fields[..], fields.get(6)) else { return None };
        (*pid != "0").then(|| format!("{pid} {ppid} {uid} {name}"))
    });
    let seen = rows(stdout)
        .into_iter()
        .map(|row| format!("{} {} {} {}", row["pid"], row["ppid"], row["uid"], row["name"].as_str().expect("a name")));
    assert_eq!(seen.filter(|row| !row.starts_with("0 ")).collect::<Vec<_>>(), told.collect::<Vec<_>>());
}

/// Scan, carry, fetch, carry, analyse. Between the two sides nothing goes but files of `stick`.
#[test]
fn the_air_gap_is_closed_for_linux_kernels_by_their_build_id() {
    let (server, image) = (debuginfod(), demo_kernel().join("memory.raw"));
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let (inside, outside, stick) = (at("inside"), at("outside"), at("stick"));
    std::fs::create_dir(&stick).expect("created");
    let (list, first, new) = (stick.join("wanted"), stick.join("first.bundle"), stick.join("new.bundle"));
    new_repository(&outside);
    ok(&["repo", "-C", arg(&outside), "bundle", "create", arg(&first)]);
    ok(&["--offline", "repo", "-C", arg(&inside), "bundle", "apply", arg(&first)]);
    let pslist =
        || run(&["--offline", "--format", "json", "--profile_path", arg(&inside), "-f", arg(&image), "pslist"]);
    assert_eq!(pslist().status.code(), Some(1));
    let wanted = || ok(&["--offline", "repo", "-C", arg(&inside), "wanted", "-f", arg(&image)]);
    std::fs::write(&list, wanted()).expect("written");
    let id = build_id();
    assert!(wanted().starts_with(&format!("linux {id} Linux version 6.1.0-quaid-demo ")), "{}", wanted());

    let fetch = |servers: &str| {
        let mut command = quaid();
        command.env("DEBUGINFOD_URLS", servers).args(["repo", "-C", arg(&outside), "fetch", "--wanted", arg(&list)]);
        let output = command.output().expect("the binary starts");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    // Nobody is asked who was not named, and what a server does not have is told.
    let (code, told) = fetch("");
    assert!(code == Some(1) && told.contains("no debuginfod server is named"), "{told}");
    let empty = Server::start(|_| Answer::missing());
    let (code, told) = fetch(&empty.url);
    assert!(
        code == Some(1) && told.contains(&id) && empty.log()[0].path == format!("/buildid/{id}/debuginfo"),
        "{told}"
    );
    let (code, told) = fetch(&server.url);
    assert!(code == Some(0) && told.contains(&format!("built {NAME}")), "{told}");
    check_whole(&outside);
    assert_eq!(git(&outside, &["status", "--porcelain"]), "");
    let left = outside.join("v1.0/src/debug").read_dir().expect("the folder").count();
    assert_eq!(left, 1, "nothing but what tells git to look away");
    let asked = server.log().len();
    let (code, told) = fetch(&server.url);
    assert!(code == Some(0) && told.contains("0 built, 1 there already") && server.log().len() == asked, "{told}");
    ok(&["repo", "-C", arg(&outside), "bundle", "create", arg(&new)]);

    ok(&["--offline", "repo", "-C", arg(&inside), "bundle", "apply", arg(&new)]);
    check_tasks(&String::from_utf8(pslist().stdout).expect("text"));
    assert_eq!(wanted(), "");
    // It is the profile that convert_profile makes, with the names by which it is found.
    let by_hand: Value =
        serde_json::from_str(&ok(&["-q", "convert_profile", arg(&demo_kernel().join("vmlinux"))])).expect("JSON");
    let fetched: Value =
        serde_json::from_str(&ok(&["repo", "-C", arg(&inside), "get", &format!("Linux/BUILDID/{id}")])).expect("JSON");
    for section in ["$CONSTANTS", "$FUNCTIONS", "$STRUCTS", "$ENUMS"] {
        assert_eq!(fetched[section], by_hand[section], "{section}");
    }
    assert_eq!(fetched["$METADATA"]["SourceSHA256"], by_hand["$METADATA"]["SourceSHA256"]);
}

#[test]
fn a_missing_linux_profile_is_made_on_the_way_when_that_was_asked_for() {
    let (server, image) = (debuginfod(), demo_kernel().join("memory.raw"));
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    let pslist = |servers: &str, options: &[&str]| {
        let mut command = quaid();
        command.env("DEBUGINFOD_URLS", servers).args(options);
        command.args(["--format", "json", "--profile_path", arg(&root), "-f", arg(&image), "pslist"]);
        let output = command.output().expect("the binary starts");
        (
            output.status.code(),
            String::from_utf8(output.stdout).expect("text"),
            String::from_utf8(output.stderr).expect("text"),
        )
    };
    for options in [&[][..], &["--autobuild", "--offline"]] {
        let (code, _, told) = pslist(&server.url, options);
        assert_eq!((code, server.log().len()), (Some(1), 0), "{options:?}: {told}");
    }
    let (code, _, told) = pslist("", &["--autobuild"]);
    assert!(code == Some(1) && told.contains("no debuginfod server is named"), "{told}");
    let (code, stdout, told) = pslist(&server.url, &["--autobuild"]);
    assert!(code == Some(0) && told.contains(&format!("built {NAME}")), "{told}");
    check_tasks(&stdout);
    check_whole(&root);
    let asked = server.log().len();
    assert_eq!(pslist(&server.url, &["--autobuild"]).0, Some(0));
    assert_eq!(server.log().len(), asked);
}

/// A zip of the demo's kernel, as Rekall's builders have it.
pub(crate) fn zip_kernel(target: &Path) {
    zip_kernel_of(target, None);
}

/// The same, as if it were another build: the first byte of its build-id is changed.
pub(crate) fn zip_kernel_of(target: &Path, build: Option<u8>) {
    std::fs::create_dir_all(target.parent().expect("a folder")).expect("created");
    let mut zip = zip::ZipWriter::new(std::fs::File::create(target).expect("created"));
    for name in ["vmlinux", "System.map"] {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).expect("begun");
        let mut bytes = std::fs::read(demo_kernel().join(name)).expect("the demo's");
        if let (Some(build), "vmlinux") = (build, name) {
            // The note: length of the name, of the build-id, its type, the name.
            let note = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";
            let at = bytes.windows(note.len()).position(|bytes| bytes == note).expect("a build-id");
            bytes[at + note.len()] = build;
        }
        std::io::Write::write_all(&mut zip, &bytes).expect("written");
    }
    zip.finish().expect("finished");
}

#[test]
fn what_an_old_version_made_of_a_zip_is_made_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    let (name, zip) = ("Linux/Mine/6.1/amd64/6.1.0-demo", root.join("v1.0/src/Linux/Mine/6.1/amd64/6.1.0-demo.zip"));
    zip_kernel(&zip);
    std::fs::write(root.join("v1.0/config.yaml"), "Linux:\n  type: LinuxProfile\n").expect("written");
    ok(&["repo", "-C", arg(&root), "build"]);
    let get = || ok(&["repo", "-C", arg(&root), "get", name]);
    let new = get();
    // As an older version would have left it, and another one that was made of something else.
    let old = |source: &str| {
        let mut old: Value = serde_json::from_str(&new).expect("JSON");
        old["$METADATA"]["Producer"] = "quaid 0.0.9".into();
        old["$STRUCTS"].as_object_mut().expect("an object").remove("task_struct").expect("a struct");
        if !source.is_empty() {
            old["$METADATA"]["SourceSHA256"] = source.into();
        }
        let file = folder.path().join("old.json");
        std::fs::write(&file, old.to_string()).expect("written");
        ok(&["repo", "-C", arg(&root), "add", "--replace", "--name", name, arg(&file)]);
        run(&["repo", "-C", arg(&root), "rebuild", "--producer", "<0.1.0"])
    };
    let output = old("");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(get(), new);
    let output = old(&"0".repeat(64));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(3) && told.contains("is not the file that it was made of"), "{told}");
    std::fs::remove_file(&zip).expect("removed");
    let output = run(&["repo", "-C", arg(&root), "rebuild", "--producer", "<0.1.0"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(3) && told.contains("there is no v1.0/src/Linux/Mine"), "{told}");
    check_whole(&root);
}
