//! `sync` and `bundle apply` killed at moments spread over their work: the repository is whole each time, and nothing that
//! was reported is lost.

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
