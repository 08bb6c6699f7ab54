//! The signature beside an inventory, `inventory.sig`: one of ssh, as `ssh-keygen -Y sign` makes it (OpenSSH's
//! PROTOCOL.sshsig). The inventory has the hash of every profile, so that it speaks for all of them.

use super::error::Error;
use super::git_store::GitStore;
use super::signers;
use crate::output::printable;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// What the signature is for. A list of allowed signers may name namespaces, and a signature of a commit, whose namespace is
/// "git", is none of an inventory.
pub(super) const NAMESPACE: &str = "quaid-inventory";

/// The signature of an inventory's text, where git's configuration asks for commits to be signed by an ssh key
/// (`commit.gpgSign`, `gpg.format`, `user.signingKey`); `None` where it does not.
///
/// # Errors
/// It asks for it, and the key cannot be used.
pub(super) fn sign(store: &GitStore, text: &str) -> Result<Option<String>, Error> {
    if !signers::signs(store) || store.setting("gpg.format", false)?.as_deref() != Some("ssh") {
        return Ok(None);
    }
    let failed = |why: String| Error::Unsigned { place: store.place(), why };
    let key = store.setting("user.signingKey", true)?;
    let key = key.ok_or_else(|| failed("user.signingKey names no key".to_owned()))?;
    let program = store.setting("gpg.ssh.program", true)?.unwrap_or_else(|| "ssh-keygen".to_owned());
    let mut command = Command::new(&program);
    command.args(["-q", "-Y", "sign", "-n", NAMESPACE, "-f"]);
    // As git has it: the key itself, whose other half an agent has, or a file.
    let literal = key.strip_prefix("key::").or(Some(key.as_str()).filter(|key| key.starts_with("ssh-")));
    let file = literal.map(|key| temporary_file(key.as_bytes())).transpose().map_err(|why| failed(why.to_string()))?;
    match &file {
        Some(file) => command.arg(file.path()).arg("-U"),
        None => command.arg(&key),
    };
    run(&mut command, text.as_bytes())
        .map(Some)
        .map_err(|why| failed(format!("`{program} -Y sign` with the key in user.signingKey: {why}")))
}

/// Who signed an inventory.
///
/// # Errors
/// Nobody whom the file `allowed` (ssh-keygen(1), ALLOWED SIGNERS) lets sign inventories.
pub fn check(allowed: &Path, text: &[u8], signature: &[u8]) -> Result<String, String> {
    let list = allowed.display();
    if let Err(why) = std::fs::metadata(allowed) {
        return Err(format!("the list of allowed signers cannot be read: {list}: {why}"));
    }
    let file = temporary_file(signature).map_err(|why| why.to_string())?;
    let keygen = |what: &str| {
        let mut command = Command::new("ssh-keygen");
        command.args(["-Y", what, "-f"]).arg(allowed).arg("-s").arg(file.path());
        command
    };
    let mut told = match run(&mut keygen("find-principals"), b"") {
        Ok(principals) => {
            let mut told = String::new();
            for principal in principals.lines() {
                match run(keygen("verify").args(["-n", NAMESPACE, "-I", principal]), text) {
                    Ok(_) => return Ok(printable(principal)),
                    Err(why) => told = why,
                }
            }
            told
        }
        Err(why) => why,
    };
    if told.contains("namespace") {
        told.push_str("; inventories are signed for the namespace ");
        told.push_str(NAMESPACE);
    }
    Err(format!("the signature of the inventory is not one of a key in {list} ({told})"))
}

fn temporary_file(bytes: &[u8]) -> std::io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(bytes)?;
    file.flush()?;
    Ok(file)
}

/// Stdout of a program that reads `input`, and must succeed; else what it said, on one line.
fn run(command: &mut Command, input: &[u8]) -> Result<String, String> {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).env("LC_ALL", "C").spawn();
    let mut child = piped.map_err(|why| match why.kind() {
        std::io::ErrorKind::NotFound => "there is no such program in PATH; install OpenSSH's client".to_owned(),
        _ => why.to_string(),
    })?;
    // A program that has seen enough closes its end; what it says of that counts.
    let sent = child.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(input));
    let output = child.wait_with_output().map_err(|why| why.to_string())?;
    let lines = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        text.lines().map(|line| printable(line.trim())).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
    };
    match (output.status.success(), sent) {
        (true, Ok(())) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        (true, Err(why)) => Err(why.to_string()),
        (false, _) => Err(lines(&[output.stderr, output.stdout].concat())),
    }
}
