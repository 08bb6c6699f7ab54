//! `sync`, `bundle apply`, `import` and `build` killed at moments spread over their work: the repository is whole each time,
//! and nothing that was reported is lost. `add` is in `repo`, builds of PDBs are in `repo_build`.

use crate::repo::{check_whole, git, new_repository};
use crate::repo_sync::{Server, head};
use crate::support::{arg, ok, quaid};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: u32 = 20;

/// Profiles of one round, large enough that bringing them takes a while.
fn files(folder: &Path, round: u32) -> Vec<PathBuf> {
    let file = |i: u32| {
        let constants: Vec<String> = (0..3000).map(|n| format!("\"Symbol{n:05}\": {}", n * (round + i + 1))).collect();
        let guid = format!("3844DBB920174967BE7AA4A2C2{round:02}{i:02}FA2");
        let text = format!(
            r#"{{"$CONSTANTS": {{{}}}, "$METADATA": {{"GUID_AGE": "{guid}", "PDBFile": "nt.pdb"}}}}"#,
            constants.join(", ")
        );
        let path = folder.join(format!("{round}-{i}.json"));
        std::fs::write(&path, text).expect("written");
        path
    };
    (0..3).map(file).collect()
}

fn add(root: &Path, folder: &Path, round: u32) {
    let mut command = quaid();
    command.args(["repo", "-C", arg(root), "add"]).args(files(folder, round)).stderr(Stdio::null());
    assert!(command.status().expect("it runs").success());
}

/// Runs what `command` gives for each round once for the time that it takes, then kills it at later and later moments and
/// lets it go on. What it said until it was killed goes to `check`.
fn killed_at_work(root: &Path, command: impl Fn(u32) -> Command, check: impl Fn(u32, &str)) {
    let mut first = command(0);
    let start = Instant::now();
    assert!(first.stderr(Stdio::null()).status().expect("it runs").success());
    let whole = start.elapsed();
    let mut killed = 0;
    for round in 1..=ROUNDS {
        let mut command = command(round);
        let told = tempfile::NamedTempFile::new().expect("a file");
        let mut child = command.stderr(told.reopen().expect("the file again")).spawn().expect("it starts");
        std::thread::sleep(whole * round / (ROUNDS + 1) + Duration::from_millis(1));
        killed += u32::from(child.try_wait().expect("it is known").is_none());
        child.kill().expect("killed, or ended before");
        child.wait().expect("it ends");
        check(round, &std::fs::read_to_string(told.path()).expect("text"));
        check_whole(root);
        let again = command.stderr(Stdio::piped()).output().expect("it runs");
        let told = String::from_utf8_lossy(&again.stderr).into_owned();
        assert!(again.status.success(), "{round}: {told}");
        assert_eq!(git(root, &["status", "--porcelain"]), "", "{round}");
        check(round, &told);
    }
    assert!(killed > ROUNDS / 3, "only {killed} of {ROUNDS} were killed at work");
    check_whole(root);
}

/// Runs and kills what `command` gives for each round, at later and later moments; `new` makes something new to bring.
fn killed(copy: &Path, origin: &Path, mut new: impl FnMut(u32), command: impl Fn() -> Command) {
    new(1);
    let start = Instant::now();
    assert!(command().stderr(Stdio::null()).status().expect("it runs").success());
    let whole = start.elapsed();
    let mut killed = 0;
    for round in 1..=ROUNDS {
        new(round + 1);
        let before = head(copy);
        let told = tempfile::NamedTempFile::new().expect("a file");
        let mut child = command().stderr(told.reopen().expect("the file again")).spawn().expect("it starts");
        std::thread::sleep(whole * round / (ROUNDS + 1) + Duration::from_millis(1));
        killed += u32::from(child.try_wait().expect("it is known").is_none());
        child.kill().expect("killed, or ended before");
        child.wait().expect("it ends");
        let now = head(copy);
        let reported = std::fs::read_to_string(told.path()).expect("text").contains(" commits from ");
        assert!(now == head(origin) || now == before && !reported, "{round}: at {now}, reported: {reported}");
        check_whole(copy);
        assert!(command().stderr(Stdio::null()).status().expect("it runs").success(), "{round}: again");
        assert_eq!(head(copy), head(origin), "{round}");
        assert_eq!(git(copy, &["status", "--porcelain", "--ignored"]), "", "{round}");
        check_whole(copy);
    }
    assert!(killed > ROUNDS / 3, "only {killed} of {ROUNDS} were killed at work");
}

#[test]
fn sync_killed_at_any_moment() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (origin, copy) = (folder.join("origin"), folder.join("copy"));
    new_repository(&origin);
    git(&origin, &["config", "uploadpack.allowFilter", "true"]);
    let server = Server::start(folder);
    let url = server.url("origin");
    ok(&["repo", "-C", arg(&copy), "sync", &url]);
    let command = || {
        let mut command = quaid();
        command.args(["repo", "-C", arg(&copy), "sync"]);
        command
    };
    killed(&copy, &origin, |round| add(&origin, folder, round), command);
    // A copy that is killed while it is made is finished by the next.
    let start = Instant::now();
    ok(&["repo", "-C", arg(&folder.join("timed")), "sync", &url]);
    let whole = start.elapsed();
    for (round, how) in (1..=3).flat_map(|round| [(round, "--tree"), (round, "--partial")]) {
        let new = folder.join(format!("new{how}{round}"));
        let root = arg(&new);
        let mut args = vec!["repo", "-C", root, "sync", &url];
        args.extend(Some(how).filter(|how| *how == "--partial"));
        let mut child = quaid().args(&args).stderr(Stdio::null()).spawn().expect("it starts");
        std::thread::sleep(whole * round / 4);
        child.kill().expect("killed, or ended before");
        child.wait().expect("it ends");
        ok(&args);
        assert_eq!(head(&new), head(&origin), "{round} {how}");
        if how == "--tree" {
            assert_eq!(git(&new, &["status", "--porcelain", "--ignored"]), "", "{round}");
        }
        check_whole(&new);
    }
}

#[test]
fn bundle_apply_killed_at_any_moment() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (origin, copy, bundle) = (folder.join("origin"), folder.join("copy"), folder.join("bundle"));
    new_repository(&origin);
    ok(&["repo", "-C", arg(&copy), "sync", arg(&origin)]);
    let new = |round: u32| {
        let since = head(&origin);
        add(&origin, folder, round);
        ok(&["--overwrite", "repo", "-C", arg(&origin), "bundle", "create", "--since", &since, arg(&bundle)]);
    };
    let command = || {
        let mut command = quaid();
        command.args(["repo", "-C", arg(&copy), "bundle", "apply", arg(&bundle)]);
        command
    };
    killed(&copy, &origin, new, command);
}

#[test]
fn import_killed_at_any_moment() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, trees) = (folder.path().join("profiles"), folder.path().join("trees"));
    new_repository(&root);
    let command = |round: u32| {
        let tree = trees.join(round.to_string());
        std::fs::create_dir_all(&tree).expect("created");
        files(&tree, round);
        let mut command = quaid();
        command.args(["repo", "-C", arg(&root), "import", arg(&tree)]);
        command
    };
    // One commit: all of a round's three, or none.
    killed_at_work(&root, command, |round, told| {
        let list = ok(&["repo", "-C", arg(&root), "list", "nt/"]);
        let here = list.lines().filter(|name| name.contains(&format!("A2C2{round:02}"))).count();
        assert!(here == 3 || here == 0 && !told.contains("imported "), "{round}: {here} of 3, told: {told}");
    });
    let list = ok(&["repo", "-C", arg(&root), "list", "nt/GUID"]);
    assert_eq!(list.lines().count(), 3 * (ROUNDS as usize + 1), "{list}");
}

#[test]
fn a_build_of_kernels_and_of_copies_killed_at_any_moment() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    new_repository(&root);
    let v1 = root.join("v1.0");
    std::fs::create_dir_all(v1.join("src/nt")).expect("created");
    let kernel = |round: u32| format!("Mine/6.1/amd64/6.1.{round}-demo");
    let copies = |round: u32| (0..4).map(move |number| format!("nt/copy{round}x{number}"));
    // Each round has sources of its own; those of the rounds before are there already.
    let command = |round: u32| {
        let mut config = "Linux:\n  type: LinuxProfile\n".to_owned();
        for name in copies(round) {
            config.extend([name.as_str(), ":\n  type: CopyAndTransform\n  source: src/", &name, ".yaml\n"]);
            let yaml = format!("$METADATA:\n  type: Profile\n\n$STRUCTS:\n  _A:\n    - {}\n    - {{}}\n", round + 8);
            std::fs::write(v1.join(format!("src/{name}.yaml")), yaml).expect("written");
        }
        std::fs::write(v1.join("config.yaml"), config).expect("written");
        let build = u8::try_from(round).expect("few rounds");
        crate::repo_linux::zip_kernel_of(&v1.join(format!("src/Linux/{}.zip", kernel(round))), Some(build));
        git(&root, &["add", "."]);
        git(&root, &["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "sources"]);
        let mut command = quaid();
        command.args(["repo", "-C", arg(&root), "build"]);
        command
    };
    killed_at_work(&root, command, |round, told| {
        let list = ok(&["repo", "-C", arg(&root), "list"]);
        for line in told.lines().filter_map(|line| line.strip_prefix("built ")) {
            let name = line.split(',').next().unwrap_or_default();
            assert!(list.lines().any(|known| known == name), "{round}: {name} is told and not in {list}");
        }
        // When it ended, all of it is there.
        let mut all = copies(round).chain([format!("Linux/{}", kernel(round))]);
        let ended = told.contains(" there already");
        assert!(!ended || all.all(|name| list.lines().any(|known| known == name)), "{round}: {told}{list}");
    });
}
