//! Signatures of commits: ssh keys, through git and ssh-keygen. A commit names its tree and its parents by hash, so that a
//! signature of the newest commit speaks for all that it has.

use super::error::Error;
use super::git_program::{git_program, output, text_of};
use super::git_store::GitStore;
use git2::{ErrorCode, Oid, Signature};
use std::path::{Path, PathBuf};

/// git's setting of the file that lists who may sign.
const ALLOWED: &str = "gpg.ssh.allowedSignersFile";

/// Whether git's own configuration asks for commits to be signed (`commit.gpgSign`).
pub(super) fn signs(store: &GitStore) -> bool {
    store.repo.config().and_then(|config| config.get_bool("commit.gpgSign")).unwrap_or(false)
}

/// Makes a commit that git signs, with the key and the program that its configuration names (`user.signingKey`,
/// `gpg.format`).
pub(super) fn commit(
    store: &GitStore,
    tree: Oid,
    parent: Option<Oid>,
    (author, committer): (&Signature<'_>, &Signature<'_>),
    message: &str,
) -> Result<Oid, Error> {
    let mut git = git_program(store.repo.path());
    git.args(["commit-tree", "-S", "-F", "-"]).args(parent.map(|parent| format!("-p{parent}"))).arg(tree.to_string());
    for (who, signature) in [("AUTHOR", author), ("COMMITTER", committer)] {
        let when = signature.when();
        let (sign, minutes) = (when.sign(), when.offset_minutes().abs());
        git.env(format!("GIT_{who}_NAME"), String::from_utf8_lossy(signature.name_bytes()).as_ref());
        git.env(format!("GIT_{who}_EMAIL"), String::from_utf8_lossy(signature.email_bytes()).as_ref());
        let zone = format!("{sign}{:02}{:02}", minutes / 60, minutes % 60);
        git.env(format!("GIT_{who}_DATE"), format!("@{} {zone}", when.seconds()));
    }
    let made = text_of(&mut git, "commit-tree", message.as_bytes()).map_err(|error| match error {
        Error::GitProgram { what, why } => {
            let why =
                format!("{why}; commit.gpgSign asks for a signature, of the key in user.signingKey (gpg.format ssh)");
            Error::GitProgram { what, why }
        }
        other => other,
    })?;
    Oid::from_str(made.trim()).map_err(|why| store.error(why))
}

/// Lets the repository remember the file of its allowed signers.
pub(super) fn remember(store: &GitStore, file: &Path) -> Result<(), Error> {
    let file = file.canonicalize().map_err(|why| Error::Io { path: file.to_owned(), why })?;
    let mut config = store.repo.config().map_err(|why| store.error(why))?;
    let text = file.to_str().ok_or_else(|| Error::Mirror {
        what: file.display().to_string(),
        why: "the path of the allowed signers is no text".to_owned(),
    })?;
    config.set_str(ALLOWED, text).map_err(|why| store.error(why))
}

/// The file of allowed signers, where git's configuration names one.
pub(super) fn allowed(store: &GitStore) -> Result<Option<PathBuf>, Error> {
    Ok(store.setting(ALLOWED, true)?.map(PathBuf::from))
}

/// Who signed a commit; `None` when nobody said who may.
///
/// # Errors
/// It is not signed, or not by one who may.
pub(super) fn check(store: &GitStore, commit: Oid, from: &str) -> Result<Option<String>, Error> {
    let Some(file) = store.setting(ALLOWED, true)? else { return Ok(None) };
    let refused = |why: String| Error::Untrusted { from: from.to_owned(), commit: commit.to_string(), why };
    if let Err(why) = std::fs::metadata(&file) {
        return Err(refused(format!("the list of allowed signers cannot be read: {file}: {why}")));
    }
    // A signature of another kind would be judged by another list.
    match store.repo.extract_signature(&commit, None) {
        Ok((signature, _)) if signature.starts_with(b"-----BEGIN SSH SIGNATURE-----") => {}
        Ok(_) => return Err(refused("its signature is not one of an ssh key".to_owned())),
        Err(why) if why.code() == ErrorCode::NotFound => {
            return Err(refused(format!("it has no signature, and {file} says who may sign")));
        }
        Err(why) => return Err(store.error(why)),
    }
    let mut git = git_program(store.repo.path());
    // A good signature of a key that nobody named is no trust.
    git.args(["-c", "gpg.minTrustLevel=fully", "-c", "gpg.ssh.program=ssh-keygen"]);
    git.args(["verify-commit", "--raw", &commit.to_string()]);
    let output = output(&mut git, "verify-commit")?;
    let told = String::from_utf8_lossy(&[output.stderr, output.stdout].concat()).into_owned();
    let told = told.lines().map(|line| crate::output::printable(line.trim())).collect::<Vec<_>>().join("; ");
    if !output.status.success() {
        return Err(refused(format!("its signature is not of a key in {file} ({told})")));
    }
    // Good "git" signature for PRINCIPAL with ED25519 key SHA256:...
    let signer = told.split_once(" signature for ").map_or(told.as_str(), |(_, signer)| signer);
    Ok(Some(signer.to_owned()))
}
