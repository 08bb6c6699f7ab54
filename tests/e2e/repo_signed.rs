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

/// Files of an exported tree, plain, that a test changes.
fn exported(folder: &Path, root: &Path, name: &str) -> PathBuf {
    let out = folder.join(name);
    ok(&["repo", "-C", arg(root), "export", "--plain", arg(&out)]);
    out
}

/// The judge is `ssh-keygen -Y verify`; the readers are `repo verify` and whoever looks a profile up.
#[test]
fn a_signed_inventory_speaks_for_every_file_of_an_export() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (Some((mine, _)), Some((theirs, _))) = (key(folder, "mine"), key(folder, "theirs")) else { return };
    let root = folder.join("profiles");
    new_repository(&root);
    add(&root, folder, "6.1.0-amd64");
    let name = "Linux/Debian/6.1/amd64/6.1.0-amd64";
    let public = std::fs::read_to_string(mine.with_extension("pub")).expect("the public key");
    let allowed = folder.join("allowed");
    std::fs::write(&allowed, format!("mine@example.org namespaces=\"git,quaid-inventory\" {public}")).expect("written");
    let for_commits = folder.join("for-commits");
    std::fs::write(&for_commits, format!("mine@example.org namespaces=\"git\" {public}")).expect("written");

    let unsigned = exported(folder, &root, "unsigned");
    assert!(!unsigned.join("v1.0/inventory.sig").exists());
    sign_with(&root, &mine);
    let out = exported(folder, &root, "out");
    let judge = Command::new("ssh-keygen")
        .args(["-Y", "verify", "-n", "quaid-inventory", "-I", "mine@example.org", "-f", arg(&allowed)])
        .args(["-s", arg(&out.join("v1.0/inventory.sig"))])
        .stdin(std::fs::File::open(out.join("v1.0/inventory")).expect("readable"))
        .output()
        .expect("ssh-keygen starts");
    assert!(judge.status.success(), "{}", String::from_utf8_lossy(&judge.stderr));

    let verify = |place: &Path, list: &Path| {
        let output = repo(place, &["verify", "--allowed_signers", arg(list)]);
        let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.success(), told)
    };
    // Whoever looks a profile up: `convert_profile` takes a name of the profile path.
    let image = folder.join("image");
    std::fs::write(&image, "no image").expect("written");
    let reads = |place: &Path, list: &Path| {
        let output = crate::support::run(&[
            "--allowed_signers",
            arg(list),
            "--profile_path",
            arg(place),
            "-v",
            "-p",
            name,
            "-f",
            arg(&image),
            "lsmod",
        ]);
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let (whole, told) = verify(&out, &allowed);
    assert!(whole && told.contains("signed by mine@example.org") && told.contains("inventory of 2 names"), "{told}");
    let told = reads(&out, &allowed);
    assert!(told.contains(&format!("Loaded profile {name} from")), "{told}");
    ok(&["repo", "-C", arg(&unsigned), "verify"]);

    let refused = |place: &Path, list: &Path, why: &str| {
        let (whole, told) = verify(place, list);
        assert!(!whole && told.contains(why), "{why}: {told}");
        let told = reads(place, list);
        assert!(!told.contains("Loaded profile") && told.contains(why), "{why}: {told}");
    };
    refused(&unsigned, &allowed, "inventory.sig");
    refused(&out, &for_commits, "namespace");
    refused(&out, &folder.join("gone"), "cannot be read");
    sign_with(&root, &theirs);
    refused(&exported(folder, &root, "by-theirs"), &allowed, "not one of a key in");

    // A profile that was changed, an inventory that was, and both of another export.
    let changed = |name: &str, change: &dyn Fn(&Path)| {
        let copy = folder.join(name);
        assert!(Command::new("cp").args(["-a", arg(&out), arg(&copy)]).status().expect("cp starts").success());
        change(&copy.join("v1.0"));
        copy
    };
    let other = |file: &Path, from: &str, to: &str| {
        let text = std::fs::read_to_string(file).expect("readable");
        assert!(text.contains(from));
        std::fs::write(file, text.replacen(from, to, 1)).expect("written");
    };
    refused(&changed("a", &|tree| other(&tree.join(name), "list_head", "list_haed")), &allowed, "SHA-256");
    refused(&changed("b", &|tree| other(&tree.join(name), "list_head", "list")), &allowed, "bytes, and");
    refused(
        &changed("c", &|tree| other(&tree.join("inventory"), "\"Size\": ", "\"Size\": 1")),
        &allowed,
        "not one of a key",
    );
    sign_with(&root, &mine);
    add(&root, folder, "6.1.1-amd64");
    let later = exported(folder, &root, "later");
    let mixed = changed("d", &|tree| {
        std::fs::copy(later.join("v1.0/inventory"), tree.join("inventory")).map(drop).expect("copied");
    });
    refused(&mixed, &allowed, "not one of a key");
    // What is missing, and what is too much, is told; the others are as good.
    let (whole, told) = verify(
        &changed("e", &|tree| {
            std::fs::remove_file(tree.join(name)).expect("removed");
            std::fs::write(tree.join("extra"), r#"{"$METADATA": {"Type": "Profile"}}"#).expect("written");
        }),
        &allowed,
    );
    assert!(!whole && told.contains(&format!("v1.0/{name}: is in the inventory, and not there")), "{told}");
    assert!(told.contains("v1.0/extra: is not in the inventory"), "{told}");

    // An export that cannot be signed is none; one that need not be leaves no old signature.
    git(&root, &["config", "user.signingKey", arg(&folder.join("gone"))]);
    let before = std::fs::read(later.join("v1.0/inventory")).expect("readable");
    let told = fails(&root, &["export", "--plain", arg(&later)], 1);
    assert!(told.contains("user.signingKey") && told.contains("no inventory was written"), "{told}");
    assert!(std::fs::read(later.join("v1.0/inventory")).expect("readable") == before);
    git(&root, &["config", "commit.gpgSign", "false"]);
    ok(&["repo", "-C", arg(&root), "export", "--plain", arg(&later)]);
    assert!(!later.join("v1.0/inventory.sig").exists());
}

/// A git repository with an inventory in its tree, as the public one of Rekall has.
#[test]
fn verify_compares_the_inventory_of_a_tree() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let root = folder.join("profiles");
    new_repository(&root);
    add(&root, folder, "6.1.0-amd64");
    add(&root, folder, "6.1.1-amd64");
    let out = exported(folder, &root, "out");
    let commit = |text: &str| {
        std::fs::write(root.join("v1.0/inventory"), text).expect("written");
        git(&root, &["add", "-A"]);
        git(&root, &["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "inventory"]);
        let output = repo(&root, &["verify"]);
        (output.status.success(), String::from_utf8(output.stdout).expect("text"))
    };
    let text = std::fs::read_to_string(out.join("v1.0/inventory")).expect("readable");
    assert_eq!(commit(&text), (true, String::new()));
    // Rekall's own lines have neither size nor hash.
    let name = "Linux/Debian/6.1/amd64/6.1.0-amd64";
    let mut inventory: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    inventory["$INVENTORY"][name] = serde_json::json!({"LastModified": 1.5});
    assert_eq!(commit(&inventory.to_string()), (true, String::new()));
    let mut bad = inventory.clone();
    bad["$INVENTORY"]["Linux/Debian/6.1/amd64/6.1.1-amd64"]["SHA256"] = "0".repeat(64).into();
    bad["$INVENTORY"]["gone"] = serde_json::json!({"LastModified": 1.5});
    bad["$INVENTORY"]["Linux/banners"]["Size"] = "many".into();
    bad["$INVENTORY"].as_object_mut().expect("an object").remove(name);
    let (whole, told) = commit(&bad.to_string());
    assert!(!whole);
    for line in [
        "v1.0/Linux/Debian/6.1/amd64/6.1.1-amd64: its SHA-256 is ",
        "v1.0/gone: is in the inventory, and not there",
        "v1.0/Linux/banners: its Size and SHA256",
        &format!("v1.0/{name}: is not in the inventory"),
    ] {
        assert!(told.lines().any(|told| told.starts_with(line)), "{line}: {told}");
    }
    assert_eq!(told.lines().count(), 4, "{told}");
    // What is no inventory hides nothing of what is there.
    for text in ["<html>log in</html>", "{}", r#"{"$INVENTORY": {"a": 1}}"#] {
        let (whole, told) = commit(text);
        assert!(!whole && told.starts_with("v1.0/inventory: ") && told.lines().count() == 1, "{text}: {told}");
        assert!(ok(&["repo", "-C", arg(&root), "list"]).contains(name));
        ok(&["repo", "-C", arg(&root), "get", name]);
    }
}
