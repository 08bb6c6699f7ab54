//! Signed commits of a repository: made by git with ssh keys, asked for by those who copy it. The judge is
//! `git verify-commit`.

use crate::repo::{check_whole, fails, git, kernel_file, new_repository, repo};
use crate::repo_sync::{Server, head};
use crate::support::{arg, ok, skipped};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A new key, and the file that allows it to sign.
fn key(folder: &Path, name: &str) -> Option<(PathBuf, PathBuf)> {
    let key = folder.join(name);
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", arg(&key)]).status();
    if !made.is_ok_and(|status| status.success()) {
        skipped("there is no ssh-keygen program");
        return None;
    }
    let public = std::fs::read_to_string(key.with_extension("pub")).expect("the public key");
    let allowed = folder.join(format!("{name}.allowed"));
    std::fs::write(&allowed, format!("{name}@example.org namespaces=\"git\" {public}")).expect("written");
    Some((key, allowed))
}

/// Lets the commits of `root` be signed by this key.
fn sign_with(root: &Path, key: &Path) {
    for (name, value) in [("commit.gpgSign", "true"), ("gpg.format", "ssh"), ("user.signingKey", arg(key))] {
        git(root, &["config", name, value]);
    }
}

fn add(root: &Path, folder: &Path, release: &str) {
    ok(&["repo", "-C", arg(root), "add", arg(&kernel_file(folder, "k.json", release, ""))]);
}

#[test]
fn what_is_not_signed_by_an_allowed_key_is_refused_and_the_copy_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (Some((mine, allowed)), Some((theirs, _))) = (key(folder, "mine"), key(folder, "theirs")) else { return };
    let (origin, copy) = (folder.join("origin"), folder.join("copy"));
    new_repository(&origin);
    let server = Server::start(folder);
    let url = server.url("origin");
    let refused = fails(&copy, &["sync", "--allowed_signers", arg(&allowed), &url], 1);
    assert!(refused.contains("no signature"), "{refused}");
    sign_with(&origin, &mine);
    add(&origin, folder, "6.1.0-amd64");
    let allowed_here = format!("gpg.ssh.allowedSignersFile={}", allowed.display());
    git(&origin, &["-c", &allowed_here, "verify-commit", "HEAD"]);
    // The folder of the refused copy is used again, and remembers who may sign.
    let synced = repo(&copy, &["sync", &url]);
    let told = String::from_utf8_lossy(&synced.stderr).into_owned();
    assert!(synced.status.success() && told.contains("signed by mine@example.org"), "{told}");
    let before = head(&copy);
    assert_eq!(before, head(&origin));

    let bundle = folder.join("bundle");
    let wrong = |why: &str| {
        let _ = std::fs::remove_file(&bundle);
        ok(&["repo", "-C", arg(&origin), "bundle", "create", "--since", &before, arg(&bundle)]);
        for args in [&["sync"][..], &["bundle", "apply", arg(&bundle)]] {
            let refused = fails(&copy, args, 1);
            assert!(refused.contains(why) && refused.contains("nothing was changed"), "{args:?}: {refused}");
            assert_eq!(head(&copy), before, "{args:?}");
            assert_eq!(git(&copy, &["status", "--porcelain", "--ignored"]), "");
        }
        check_whole(&copy);
        git(&origin, &["reset", "--quiet", "--hard", &before]);
    };
    git(&origin, &["config", "commit.gpgSign", "false"]);
    add(&origin, folder, "6.1.1-amd64");
    wrong("no signature");
    sign_with(&origin, &theirs);
    add(&origin, folder, "6.1.2-amd64");
    wrong("not of a key in");
    // A signature that was made for another commit.
    sign_with(&origin, &mine);
    add(&origin, folder, "6.1.3-amd64");
    let signed = git(&origin, &["cat-file", "commit", "HEAD"]);
    let file = folder.join("forged");
    std::fs::write(&file, signed.replace("6.1.3-amd64", "6.1.4-amd64")).expect("written");
    let forged = git(&origin, &["hash-object", "-t", "commit", "-w", arg(&file)]);
    git(&origin, &["reset", "--quiet", "--hard", forged.trim()]);
    wrong("not of a key in");

    add(&origin, folder, "6.1.5-amd64");
    ok(&["repo", "-C", arg(&origin), "bundle", "create", "--since", &before, arg(&folder.join("good"))]);
    ok(&["repo", "-C", arg(&copy), "bundle", "apply", arg(&folder.join("good"))]);
    assert_eq!(head(&copy), head(&origin));
    // A list that has gone allows nobody.
    add(&origin, folder, "6.1.6-amd64");
    let at = head(&copy);
    std::fs::remove_file(&allowed).expect("removed");
    let refused = fails(&copy, &["sync"], 1);
    assert!(refused.contains("cannot be read"), "{refused}");
    assert_eq!(head(&copy), at);
    // A key that is not there makes no commit, and says so.
    std::fs::remove_file(&mine).expect("removed");
    let at = head(&origin);
    let file = kernel_file(folder, "k.json", "6.1.7-amd64", "");
    let refused = fails(&origin, &["add", arg(&file)], 1);
    assert!(refused.contains("user.signingKey"), "{refused}");
    assert_eq!(head(&origin), at);
    check_whole(&origin);
}
