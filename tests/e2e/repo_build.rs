//! `repo build`, `wanted` and `fetch`: profiles made by the repository itself, from a symbol server on loopback. The judge
//! is the git program, and of the profiles what `parse_pdb` and the image's truth file say.

use crate::fetch_pdb::serving;
use crate::repo::{check_whole, git, new_repository};
use crate::support::{arg, corpus, ok, quaid, run, unpacked};
use crate::symbol_server::Server;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The XP kernel of the corpus, and its identity (corpus/windows/pdb/pdb-table.tsv).
const KERNEL: &str = "windows/pdb/nt/ntkrnlpa.pdb";
const KERNEL_ID: &str = "30B5FB31AE7E4ACAABA750AA241FF3311";
/// No server has it.
const OTHER_ID: &str = "11111111111111111111111111111111A";

/// Serves the kernel.
fn kernel_server() -> Option<Server> {
    let pdb = std::fs::read(corpus(KERNEL)?).expect("readable");
    Some(serving(vec![("/ntkrnlpa.pdb/30B5FB31AE7E4ACAABA750AA241FF3311/ntkrnlpa.pdb", pdb)]))
}

fn build(root: &Path, server: &str, args: &[&str]) -> Command {
    let mut command = quaid();
    command.args(["repo", "-C", arg(root), "build"]).args(args).args(["--server", server]);
    command
}

/// Exit code and stderr; a build prints no data.
fn ends(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command.output().expect("the binary starts");
    assert!(stdout.is_empty());
    (status.code(), String::from_utf8(stderr).expect("text"))
}

fn commits(root: &Path) -> usize {
    git(root, &["log", "--format=%s"]).lines().count()
}

#[test]
fn a_build_is_made_of_its_pdb_and_entered_in_the_list() {
    let Some(server) = kernel_server() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    // The GUID alone: each name that a kernel's PDB may have is tried.
    let (code, told) = ends(&mut build(&root, &server.url, &["nt/GUID", "add_guid", KERNEL_ID]));
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains(&format!("built nt/GUID/{KERNEL_ID}")), "{told}");
    let list = std::fs::read_to_string(root.join("v1.0/src/nt/guids.yaml")).expect("the list");
    assert_eq!(list, format!("ntkrnlpa.pdb:\n  - {KERNEL_ID}\n"));
    // The profile is the one that parse_pdb makes.
    let by_hand = ok(&["parse_pdb", arg(&corpus(KERNEL).expect("the corpus is there"))]);
    assert_eq!(ok(&["repo", "-C", arg(&root), "get", &format!("GUID/{KERNEL_ID}")]), by_hand);
    // git has neither the PDB nor a wish to have it.
    let kept = root.join(format!("v1.0/src/pdb/ntkrnlpa.pdb/{KERNEL_ID}/ntkrnlpa.pdb"));
    assert_eq!(std::fs::read(kept).expect("kept"), std::fs::read(corpus(KERNEL).expect("there")).expect("read"));
    assert_eq!(git(&root, &["status", "--porcelain"]), "");
    check_whole(&root);
    let (before, asked) = (commits(&root), server.log().len());
    let (code, told) = ends(&mut build(&root, &server.url, &["nt/GUID", "add_guid", KERNEL_ID]));
    assert_eq!((code, commits(&root), server.log().len()), (Some(0), before, asked), "{told}");
    // A build that came by another way is entered too, under the PDB that its profile tells, and once.
    let third = "33333333333333333333333333333333A";
    let module = crate::repo::module_file(folder.path(), "third.json", "ntoskrnl.pdb", third, 1);
    ok(&["repo", "-C", arg(&root), "add", arg(&module)]);
    for _ in 0..2 {
        let (code, told) = ends(&mut build(&root, &server.url, &["nt/GUID", "add_guid", third, KERNEL_ID]));
        assert_eq!(code, Some(0), "{told}");
        let list = std::fs::read_to_string(root.join("v1.0/src/nt/guids.yaml")).expect("the list");
        assert_eq!(list, format!("ntkrnlpa.pdb:\n  - {KERNEL_ID}\nntoskrnl.pdb:\n  - {third}\n"), "{told}");
        assert_eq!((commits(&root), server.log().len()), (before + 2, asked), "{told}");
    }
    check_whole(&root);
    // What was downloaded serves another repository without a network, by the cache's folder.
    let other = folder.path().join("other");
    ok(&["repo", "init", "--bare", arg(&other)]);
    let cache = root.join("v1.0/src/pdb");
    let (code, told) = ends(&mut build(
        &other,
        &format!("srv*{}", arg(&cache)),
        &["nt/GUID", "build", &format!("ntkrnlpa.pdb/{KERNEL_ID}")],
    ));
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(ok(&["repo", "-C", arg(&other), "get", &format!("GUID/{KERNEL_ID}")]), by_hand);
    check_whole(&other);
}

#[test]
fn what_no_server_has_is_remembered_and_retried_on_request() {
    let Some(server) = kernel_server() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    // As the public repository has them.
    let v1 = root.join("v1.0");
    let config = "nt/GUID:\n  type: WindowsGUIDProfile\n  guids: src/nt/guids.yaml\n  has_structs: true\n  index: \
                  src/nt/index.yaml\n  profile_class: Nt\n  transforms:\n    merge:\n      - nt/undocumented\n\n\
                  win32k/GUID:\n  type: WindowsGUIDProfile\n  guids: src/win32k/guids.yaml\n  has_structs: false\n";
    std::fs::write(v1.join("config.yaml"), config).expect("written");
    std::fs::create_dir_all(v1.join("src/nt")).expect("created");
    let list = format!("# kernels\nntkrnlpa.pdb:\n  - {KERNEL_ID}\n  - {OTHER_ID}\n");
    std::fs::write(v1.join("src/nt/guids.yaml"), &list).expect("written");
    git(&root, &["add", "."]);
    git(&root, &["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "recipes"]);

    let (code, told) = ends(&mut build(&root, &server.url, &[]));
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("1 built, 0 there already, 1 rejected, 0 failed"), "{told}");
    let rejects = std::fs::read_to_string(v1.join("src/nt/guids.yaml.rejects")).expect("the rejects");
    let rejects: serde_json::Value = serde_json::from_str(&rejects).expect("JSON");
    let why = rejects[OTHER_ID].as_str().expect("a reason");
    assert!(why.starts_with("20") && why.contains(": no ntkrnlpa.pdb") && why.contains("404"), "{why}");
    assert_eq!(std::fs::read_to_string(v1.join("src/nt/guids.yaml")).expect("the list"), list);
    let profile: serde_json::Value =
        serde_json::from_str(&ok(&["repo", "-C", arg(&root), "get", &format!("nt/GUID/{KERNEL_ID}")])).expect("JSON");
    assert_eq!(profile["$METADATA"]["ProfileClass"], "Nt");
    assert_eq!(profile["$MERGE"], serde_json::json!(["nt/undocumented"]));

    let asked = server.log().len();
    let (code, told) = ends(&mut build(&root, &server.url, &["nt/GUID"]));
    assert_eq!((code, server.log().len()), (Some(0), asked), "{told}");
    let (code, told) = ends(&mut build(&root, &server.url, &["nt/GUID", "--retry"]));
    assert!(code == Some(3) && server.log().len() > asked, "{code:?} {told}");
    // A network that fails is no reason to remember.
    let third = "22222222222222222222222222222222A";
    let (code, told) = ends(
        build(&root, &server.url, &["nt/GUID", "build", &format!("ntkrnlpa.pdb/{third}"), "--processes", "1"])
            .env("QUAID_OFFLINE", "1"),
    );
    assert_eq!(code, Some(1), "{told}");
    let rejects = std::fs::read_to_string(v1.join("src/nt/guids.yaml.rejects")).expect("the rejects");
    assert!(!rejects.contains(third) && rejects.contains(OTHER_ID), "{rejects}");
    check_whole(&root);
    assert_eq!(git(&root, &["status", "--porcelain"]), "");

    for (args, code, reason) in [
        (&["nt/GUID", "add_guid", "30B5FB31AE7E4ACAABA750AA241FF331"][..], 1, "lacks the age"),
        (&["nt/GUID", "fly"], 1, "add_guid"),
        (&["nothing"], 1, "win32k/GUID"),
    ] {
        let (ended, told) = ends(&mut build(&root, &server.url, args));
        assert!(ended == Some(code) && told.contains(reason), "{args:?}: {ended:?} {told}");
    }
}

/// The PDB is not asked for under each name that a kernel's may have: the list tells it, or what the build was rejected for.
#[test]
fn a_rejected_build_is_tried_again_under_its_own_name_and_leaves_the_rejects_when_it_is_made() {
    let Some(full) = kernel_server() else { return };
    let empty = serving(Vec::new());
    let folder = tempfile::tempdir().expect("a folder");
    let others = |server: &Server, since: usize| {
        let log = server.log();
        log.into_iter().skip(since).map(|request| request.path).find(|path| !path.starts_with("/ntkrnlpa.pdb/"))
    };
    let rejects = |root: &Path| {
        let text = std::fs::read_to_string(root.join("v1.0/src/nt/guids.yaml.rejects")).expect("the rejects");
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")
    };
    for (round, with_list) in [(0, true), (1, false)] {
        let root = folder.path().join(format!("profiles{round}"));
        new_repository(&root);
        let first = if with_list {
            std::fs::create_dir_all(root.join("v1.0/src/nt")).expect("created");
            std::fs::write(root.join("v1.0/src/nt/guids.yaml"), format!("ntkrnlpa.pdb:\n  - {KERNEL_ID}\n"))
                .expect("written");
            git(&root, &["add", "."]);
            git(&root, &["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "list"]);
            // The GUID alone: the list knows the name.
            vec!["nt/GUID", "build", KERNEL_ID]
        } else {
            vec!["nt/GUID", "build", "ntkrnlpa.pdb/30B5FB31AE7E4ACAABA750AA241FF3311"]
        };
        let before = empty.log().len();
        let (code, told) = ends(&mut build(&root, &empty.url, &first));
        assert_eq!(code, Some(1), "{told}");
        assert_eq!(others(&empty, before), None);
        assert!(rejects(&root)[KERNEL_ID].as_str().is_some_and(|why| why.contains(": no ntkrnlpa.pdb (")), "{told}");
        // The network is well, and nobody asks unless told to.
        let (code, told) = ends(&mut build(&root, &full.url, &["nt/GUID"]));
        assert!(code == Some(0) && told.contains("0 built"), "{code:?} {told}");
        let before = full.log().len();
        let (code, told) = ends(&mut build(&root, &full.url, &["nt/GUID", "--retry"]));
        assert!(code == Some(0) && told.contains(&format!("built nt/GUID/{KERNEL_ID}")), "{code:?} {told}");
        assert_eq!(others(&full, before), None);
        assert_eq!(rejects(&root), serde_json::json!({}), "it is no reject any more");
        assert_eq!(git(&root, &["status", "--porcelain"]), "");
        let asked = full.log().len();
        let (code, told) = ends(&mut build(&root, &full.url, &["nt/GUID", "--retry"]));
        assert_eq!((code, full.log().len()), (Some(0), asked), "{told}");
        check_whole(&root);
    }
}

/// Scan, carry, fetch, carry, analyse. Between the two sides nothing goes but files of `stick`.
#[test]
fn the_air_gap_is_closed_by_a_list_and_bundles_that_are_carried() {
    let (Some(server), Some(image)) = (kernel_server(), unpacked("windows/images/xpsp3.raw")) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let (inside, outside, stick) = (at("inside"), at("outside"), at("stick"));
    std::fs::create_dir(&stick).expect("created");
    let carried = |name: &str| stick.join(name);
    let without_network = |args: &[&str]| run(&[&["--offline"], args].concat());
    let well = |output: Output| {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    // Once: the connected side's repository, which has no profile yet.
    new_repository(&outside);
    ok(&["repo", "-C", arg(&outside), "bundle", "create", arg(&carried("first.bundle"))]);
    well(without_network(&["repo", "-C", arg(&inside), "bundle", "apply", arg(&carried("first.bundle"))]));

    // Inside: an image, no profile, no network.
    let analyse =
        || without_network(&["--format", "json", "--profile_path", arg(&inside), "-f", arg(&image), "pslist"]);
    assert_eq!(analyse().status.code(), Some(1));
    let wanted = |args: &[&str]| {
        well(without_network(&[args, &["repo", "-C", arg(&inside), "wanted", "-f", arg(&image)]].concat()))
    };
    assert_eq!(String::from_utf8_lossy(&wanted(&[])), format!("windows {KERNEL_ID} ntkrnlpa.pdb\n"));
    std::fs::write(carried("wanted"), wanted(&[])).expect("written");
    std::fs::write(carried("wanted.json"), wanted(&["--format", "json"])).expect("written");
    std::fs::write(carried("have"), well(without_network(&["repo", "-C", arg(&inside), "bundle", "have"])))
        .expect("written");

    // Outside: a network, no image.
    for list in ["wanted", "wanted.json"] {
        let (root, list) = (if list == "wanted" { outside.clone() } else { at("other") }, carried(list));
        if !root.exists() {
            new_repository(&root);
        }
        let fetch = ["repo", "-C", arg(&root), "fetch", "--wanted", arg(&list), "--server", &server.url];
        ok(&fetch);
        check_whole(&root);
        ok(&fetch);
        assert_eq!(commits(&root), 2);
    }
    let new = carried("new.bundle");
    ok(&["repo", "-C", arg(&outside), "bundle", "create", "--have", arg(&carried("have")), arg(&new)]);

    // Inside again.
    well(without_network(&["repo", "-C", arg(&inside), "bundle", "apply", arg(&new)]));
    check_whole(&inside);
    assert_eq!(git(&inside, &["rev-parse", "HEAD"]), git(&outside, &["rev-parse", "HEAD"]));
    well(analyse());
    crate::windows::check("xpsp3", &inside);
    assert!(wanted(&[]).is_empty());
    // What is no list, and what cannot be made, is told.
    let file = at("wanted");
    for (text, code, told) in [
        ("windows X nt.pdb\n", 1, "line 1"),
        (
            "linux - Linux version 6.1.0-9-amd64 (debian-kernel@lists.debian.org) (gcc) #1 SMP Debian 6.1.27-1\n",
            1,
            "linux-image",
        ),
    ] {
        std::fs::write(&file, text).expect("written");
        let output = run(&["repo", "-C", arg(&inside), "fetch", "--wanted", arg(&file), "--server", &server.url]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && stderr.contains(told), "{stderr}");
    }
}

/// A PDB of the corpus as another build: its GUID is overwritten.
fn rebuilt(guid: &str) -> Option<Vec<u8>> {
    let mut pdb = std::fs::read(corpus("windows/pdb/lld/ntkrnlmp_x86_64.pdb")?).expect("readable");
    let le = |guid: &str| {
        let mut bytes: Vec<u8> =
            (0..16).map(|i| u8::from_str_radix(&guid[2 * i..2 * i + 2], 16).expect("hex")).collect();
        bytes[..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        bytes
    };
    let old = le("0C8A193C618A354D4C4C44205044422E");
    let places: Vec<usize> = (0..pdb.len() - 16).filter(|&at| pdb[at..at + 16] == old[..]).collect();
    assert!(!places.is_empty(), "the GUID of pdb-table.tsv is in the file");
    for at in places {
        pdb[at..at + 16].copy_from_slice(&le(guid));
    }
    Some(pdb)
}

/// Serves `ntkrnlmp.pdb` of every GUID.
fn server_of_all() -> Option<Server> {
    use crate::symbol_server::Answer;
    rebuilt("0C8A193C618A354D4C4C44205044422E")?;
    Some(Server::start(|request| match request.path.split('/').collect::<Vec<_>>()[..] {
        ["", "ntkrnlmp.pdb", guid, "ntkrnlmp.pdb"] => Answer::file(&rebuilt(guid).expect("the corpus is there")),
        _ => Answer::missing(),
    }))
}

/// A build of its own for each round and number.
fn guid(round: u32, number: u32) -> String {
    format!("0C8A193C618A354D4C4C4420{round:04X}{number:04X}1")
}

fn add_guids(root: &Path, server: &Server, guids: &[String]) -> Command {
    let mut args = vec!["nt/GUID", "add_guid"];
    args.extend(guids.iter().map(String::as_str));
    build(root, &server.url, &args)
}

fn names(root: &Path) -> Vec<String> {
    ok(&["repo", "-C", arg(root), "list", "nt/GUID"]).lines().map(str::to_owned).collect()
}

#[test]
fn two_builds_and_an_add_at_once_lose_nothing() {
    let Some(server) = server_of_all() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    // One build is wanted by both.
    let of = |round: u32| -> Vec<String> { (1..4).map(|number| guid(round, number)).chain([guid(9, 9)]).collect() };
    let mut writers: Vec<Child> =
        [1, 2].map(|round| add_guids(&root, &server, &of(round)).stderr(Stdio::null()).spawn().expect("starts")).into();
    let file = folder.path().join("a.json");
    std::fs::write(&file, r#"{"$METADATA": {"ProfileClass": "Linux", "Release": "6.1.0-9-amd64", "Type": "Profile"}}"#)
        .expect("written");
    ok(&["repo", "-C", arg(&root), "add", arg(&file)]);
    for writer in &mut writers {
        assert!(writer.wait().expect("it ends").success());
    }
    assert_eq!(names(&root).len(), 7);
    let list = std::fs::read_to_string(root.join("v1.0/src/nt/guids.yaml")).expect("the list");
    for guid in of(1).iter().chain(&of(2)) {
        assert_eq!(list.matches(guid.as_str()).count(), 1, "{list}");
    }
    assert_eq!(git(&root, &["status", "--porcelain"]), "");
    check_whole(&root);
}

#[test]
fn a_build_killed_at_any_moment_leaves_a_whole_repository_and_goes_on() {
    let Some(server) = server_of_all() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    let of = |round: u32| -> Vec<String> { (0..3).map(|number| guid(round, number)).collect() };
    let start = Instant::now();
    assert!(add_guids(&root, &server, &of(0)).stderr(Stdio::null()).status().expect("it runs").success());
    let whole = start.elapsed();
    let rounds = 20;
    let mut killed = 0;
    let mut told_as_built: Vec<String> = Vec::new();
    for round in 1..=rounds {
        let said: PathBuf = folder.path().join("stderr");
        let stderr = std::fs::File::create(&said).expect("created");
        let mut writer = add_guids(&root, &server, &of(round)).stderr(stderr).spawn().expect("it starts");
        std::thread::sleep(whole * round / rounds + Duration::from_millis(1));
        killed += u32::from(writer.try_wait().expect("it is known").is_none());
        writer.kill().expect("killed, or ended before");
        writer.wait().expect("it ends");
        let said = std::fs::read_to_string(&said).expect("text");
        told_as_built
            .extend(said.lines().filter_map(|line| Some(line.strip_prefix("built ")?.split(',').next()?.to_owned())));
        check_whole(&root);
        let names = names(&root);
        assert!(told_as_built.iter().all(|name| names.contains(name)), "{told_as_built:?} {names:?}");
    }
    assert!(killed > rounds / 4, "only {killed} of {rounds} were killed at work");
    for round in 1..=rounds {
        assert!(add_guids(&root, &server, &of(round)).stderr(Stdio::null()).status().expect("it runs").success());
    }
    assert_eq!(names(&root).len(), 3 * (rounds as usize + 1));
    assert_eq!(git(&root, &["status", "--porcelain"]), "");
    check_whole(&root);
}

#[test]
fn a_missing_profile_is_made_on_the_way_when_that_was_asked_for() {
    let (Some(server), Some(image)) = (kernel_server(), unpacked("windows/images/xpsp3.raw")) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (plain, root) = (folder.path().join("plain"), folder.path().join("profiles"));
    std::fs::create_dir(&plain).expect("created");
    new_repository(&root);
    let pslist = |options: &[&str], places: &[&Path]| {
        let mut command = quaid();
        command.env("_NT_SYMBOL_PATH", &server.url).args(options).args(["--format", "json", "-f", arg(&image)]);
        for place in places {
            command.args(["--profile_path", arg(place)]);
        }
        let output = command.arg("pslist").output().expect("the binary starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for options in [&[][..], &["--autobuild", "--offline"]] {
        let (code, told) = pslist(options, &[&plain, &root]);
        assert_eq!((code, server.log().len()), (Some(1), 0), "{options:?}: {told}");
        assert!(told.contains(&format!("build nt/GUID add_guid ntkrnlpa.pdb/{KERNEL_ID}")), "{told}");
    }
    let (code, told) = pslist(&["--autobuild"], &[&plain]);
    assert!(code == Some(1) && told.contains("quaid repo init"), "{code:?} {told}");
    assert_eq!(server.log().len(), 0);
    // By the configuration, into the first place that is a repository.
    let config = folder.path().join("config.yaml");
    std::fs::write(&config, "autobuild: true\n").expect("written");
    let (code, told) = pslist(&["--config", arg(&config)], &[&plain, &root]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains(&format!("built nt/GUID/{KERNEL_ID}")), "{told}");
    let asked = server.log().len();
    crate::windows::check("xpsp3", &root);
    assert_eq!(pslist(&["--autobuild"], &[&plain, &root]).0, Some(0));
    assert_eq!(server.log().len(), asked);
    check_whole(&root);
    assert!(plain.read_dir().expect("a folder").next().is_none());
}

#[test]
fn profiles_are_made_of_the_files_that_the_configuration_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    let v1 = root.join("v1.0");
    for folder in ["src/nt", "src/OSX", "src/artifacts"] {
        std::fs::create_dir_all(v1.join(folder)).expect("created");
    }
    let config = "nt/undocumented:\n  type: CopyAndTransform\n  source: src/nt/undocumented.yaml\n\nOSX:\n  type: \
                  OSXProfile\n  index:\n    src: src/OSX/index.yaml\n    dst: OSX/index\n  transforms:\n    merge:\n      - \
                  OSX/dynamic\n  sources:\n    - src/OSX/10.9_13A603.64bit\n    - src/OSX/missing\n\nLinux:\n  type: \
                  LinuxProfile\n  index:\n    - src: src/Linux/index.yaml\n      dest: Linux/index\n\nartifacts:\n  type: \
                  ArtifactProfile\n  patterns:\n    - 'src/artifacts/*.yaml'\n\nelse:\n  type: Else\n";
    std::fs::write(v1.join("config.yaml"), config).expect("written");
    let yaml = |size: u32| {
        format!(
            "# by hand\n$METADATA:\n  type: Profile\n\n$STRUCTS:\n  _A:\n    - {size}\n    - B:\n        - 4\n        - [unsigned int, {{}}]\n"
        )
    };
    std::fs::write(v1.join("src/nt/undocumented.yaml"), yaml(8)).expect("written");
    let osx = r#"{"$METADATA": {"ProfileClass": "OSX", "Type": "Profile"}, "$CONSTANTS": {"_version": 4096, "_lowGlo": 8192}}"#;
    let index = "path: OSX/\nbase_symbol: _lowGlo\nsymbols:\n  - name: _version\n    data: ['str:Darwin']\n";
    std::fs::write(v1.join("src/OSX/index.yaml"), index).expect("written");
    let artifact = |name: &str| {
        format!("# data\n\nname: {name}\nsources:\n  - type: FILE\n    attributes: {{paths: ['/etc/x'], size: 3}}\n")
    };
    let two = format!("{}---\n{}---\n", artifact("A"), artifact("B"));
    std::fs::write(v1.join("src/artifacts/two.yaml"), two).expect("written");
    std::fs::write(v1.join("src/artifacts/one.yaml"), artifact("C")).expect("written");
    std::fs::write(v1.join("src/artifacts/no.txt"), "- [").expect("written");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gz, osx.as_bytes()).expect("written");
    std::fs::write(v1.join("src/OSX/10.9_13A603.64bit.gz"), gz.finish().expect("finished")).expect("written");
    crate::repo_linux::zip_kernel(&v1.join("src/Linux/Mine/6.1/amd64/6.1.0-demo.zip"));
    let index = "type: symbol_offset\npath: Linux\nbase_symbol: linux_banner\n";
    std::fs::write(v1.join("src/Linux/index.yaml"), index).expect("written");
    git(&root, &["add", "."]);
    git(&root, &["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "sources"]);

    let all = || ends(quaid().args(["repo", "-C", arg(&root), "build"]));
    let (code, told) = all();
    assert_eq!(code, Some(3), "{told}");
    for line in ["4 built", "OSX/missing: there is no file v1.0/src/OSX/missing", "else: there is no handler Else"] {
        assert!(told.contains(line), "`{line}` is missing in {told}");
    }
    let get = |name: &str| -> serde_json::Value {
        serde_json::from_str(&ok(&["repo", "-C", arg(&root), "get", name])).expect("JSON")
    };
    assert_eq!(get("nt/undocumented")["$STRUCTS"]["_A"], serde_json::json!([8, {"B": [4, ["unsigned int", {}]]}]));
    assert_eq!(get("OSX/10.9_13A603.64bit")["$MERGE"], serde_json::json!(["OSX/dynamic"]));
    assert!(get("Linux/Mine/6.1/amd64/6.1.0-demo")["$STRUCTS"]["task_struct"].is_array());
    let artifacts = get("artifacts");
    assert_eq!(artifacts["$METADATA"], serde_json::json!({"ProfileClass": "ArtifactProfile"}));
    let names: Vec<&str> = (0..3).filter_map(|at| artifacts["$ARTIFACTS"][at]["name"].as_str()).collect();
    assert_eq!((names, artifacts["$ARTIFACTS"].as_array().map(Vec::len)), (vec!["C", "A", "B"], Some(3)));
    let attributes = &artifacts["$ARTIFACTS"][0]["sources"][0]["attributes"];
    assert_eq!(*attributes, serde_json::json!({"paths": ["/etc/x"], "size": 3}));
    // Each with the index that its recipe names.
    assert_eq!(get("OSX/index")["$INDEX"], serde_json::json!({"OSX/10.9_13A603.64bit": [[-4096, ["44617277696e"]]]}));
    let traits = &get("Linux/index")["$INDEX"]["$TRAITS"];
    assert!(traits["Linux/Mine/6.1/amd64/6.1.0-demo"].as_array().is_some_and(|traits| !traits.is_empty()), "{traits}");
    let before = commits(&root);
    let (_, told) = all();
    assert!(told.contains("0 built, 4 there already") && commits(&root) == before, "{told}");
    std::fs::remove_file(v1.join("src/artifacts/one.yaml")).expect("removed");
    git(&root, &["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "--quiet", "-am", "one less"]);
    assert_eq!(ends(quaid().args(["repo", "-C", arg(&root), "build", "artifacts"])).0, Some(0));
    assert_eq!(get("artifacts")["$ARTIFACTS"].as_array().map(Vec::len), Some(2));
    // A source that changes is copied again, a single target alone.
    std::fs::write(v1.join("src/nt/undocumented.yaml"), yaml(16)).expect("written");
    let (code, told) =
        ends(quaid().args(["manage_repo", "nt/undocumented", "--path-to-repository", arg(&root), "--processes", "2"]));
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(get("nt/undocumented")["$STRUCTS"]["_A"][0], 16);
    check_whole(&root);
}

/// Sources that are pipes tell when they are read: two at a time, or one after the other.
#[cfg(unix)]
#[test]
fn sources_are_read_by_as_many_at_a_time_as_was_asked_for() {
    for (processes, order, is_read) in [("2", ["b", "a"], true), ("1", ["b", "a"], false), ("1", ["a", "b"], true)] {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("profiles");
        new_repository(&root);
        let sources = root.join("v1.0/src/OSX");
        std::fs::create_dir_all(&sources).expect("created");
        let config = "OSX:\n  type: OSXProfile\n  sources:\n    - src/OSX/a\n    - src/OSX/b\n";
        std::fs::write(root.join("v1.0/config.yaml"), config).expect("written");
        let pipes = order.map(|name| sources.join(name));
        assert!(Command::new("mkfifo").args(&pipes).status().expect("mkfifo").success());
        let mut build = quaid();
        build.args(["repo", "-C", arg(&root), "build", "OSX", "--processes", processes]);
        let mut build = build.stderr(Stdio::piped()).spawn().expect("the binary starts");
        let (send, written) = std::sync::mpsc::channel();
        let writer = std::thread::spawn(move || {
            for pipe in pipes {
                // Waits until it is read.
                let json =
                    r#"{"$METADATA": {"ProfileClass": "OSX", "Type": "Profile"}, "$CONSTANTS": {"_lowGlo": 8192}}"#;
                std::fs::write(pipe, json).expect("written");
                let _ = send.send(());
            }
        });
        // Where the second is not read before the first is, nothing happens.
        let wait = if is_read { Duration::from_secs(60) } else { Duration::from_secs(1) };
        let comes = written.recv_timeout(wait).is_ok();
        if !comes {
            build.kill().expect("killed");
            build.wait().expect("ended");
            // The writer ends when somebody reads.
            for name in order {
                std::fs::read(sources.join(name)).expect("read");
            }
        }
        assert_eq!(comes, is_read, "--processes {processes}, {order:?}");
        if !comes {
            continue;
        }
        writer.join().expect("written");
        let Output { status, stderr, .. } = build.wait_with_output().expect("ended");
        let told = String::from_utf8(stderr).expect("text");
        let built: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix("built ")).collect();
        assert_eq!((status.code(), built), (Some(0), vec!["OSX/a", "OSX/b"]), "{told}");
        check_whole(&root);
    }
}

#[test]
fn rekall_s_spelling_is_understood() {
    let Some(server) = kernel_server() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    let manage = |args: &[&str]| {
        let mut command = quaid();
        command.env("_NT_SYMBOL_PATH", &server.url).arg("manage_repo").args(args);
        command.output().expect("the binary starts")
    };
    let pdb_guid = format!("ntkrnlpa.pdb/{KERNEL_ID}");
    let built = manage(&["--path_to_repository", arg(&root), "--processes", "2", "nt/GUID", "add_guid", &pdb_guid]);
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let listed = manage(&["-C", arg(&root), "list", "nt/"]);
    // With its line in the index of exports.
    assert_eq!(String::from_utf8_lossy(&listed.stdout), format!("nt/GUID/{KERNEL_ID}\nnt/exports\n"));
    assert_eq!(manage(&["-C", arg(&root), "nt/GUID", "--no-such-option"]).status.code(), Some(2));
    // Without a target everything is built, and the configuration has nothing yet.
    let all = manage(&["--path_to_repository", arg(&root)]);
    assert!(all.status.code() == Some(1) && String::from_utf8_lossy(&all.stderr).contains("config.yaml"));
    assert!(!run(&["repo", "-C", arg(&root), "nt/GUID"]).status.success());
}
