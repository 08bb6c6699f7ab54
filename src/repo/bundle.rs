//! One file that carries a repository over an air gap: a bundle of git, whole or only what the other side lacks.
//!
//! The other side says what it has in a *have list*: text, a first line, then the ids of commits, the newest first.

use super::error::Error;
use super::git_program::{git_program, output, plain_git, watched};
use super::git_store::GitStore;
use super::incoming::{IncomingOptions, Received, Receiver};
use crate::output::temporary;
use git2::{Oid, Sort};
use std::fs::File;
use std::path::Path;

/// The first line of a have list.
const HAVE: &str = "quaid have 1";

/// Commits of a have list. The newest are enough unless both sides went on by themselves.
const MAX_HAVE: usize = 64;

/// The longest have list that is read, in bytes.
const MAX_HAVE_BYTES: u64 = 64 << 10;

/// The name that a bundle has in git's commands, so that no path is taken for an option or an address.
fn git_path(file: &Path) -> Result<String, Error> {
    let absolute = std::path::absolute(file).map_err(|why| Error::Io { path: file.to_owned(), why })?;
    let text = absolute.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::Mirror { what: file.display().to_string(), why: "the path is no text".to_owned() })
}

/// What is known to be on the other side.
#[derive(Debug, Clone)]
pub enum Known {
    /// Nothing: the bundle is whole.
    Nothing,
    /// A commit of this repository, as git names it.
    Since(String),
    /// The text of a have list.
    Have(String),
}

/// A bundle that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundled {
    /// Its commit.
    pub head: Oid,
    /// How many commits it carries.
    pub commits: usize,
    /// Its length in bytes.
    pub bytes: u64,
    /// The commit that the other side must have; `None` in a whole one.
    pub since: Option<Oid>,
}

/// The have list of this repository; that of a repository without commits has none.
pub fn have(store: &GitStore) -> Result<String, Error> {
    let mut text = format!("{HAVE}\n");
    let Some(head) = store.head()? else { return Ok(text) };
    let ids = || {
        let mut walk = store.repo.revwalk()?;
        walk.set_sorting(Sort::TOPOLOGICAL)?;
        walk.simplify_first_parent()?;
        walk.push(head.commit())?;
        walk.take(MAX_HAVE).collect::<Result<Vec<Oid>, git2::Error>>()
    };
    let ids = ids().map_err(|why| store.error(why))?;
    text.extend(ids.into_iter().flat_map(|id| [id.to_string(), "\n".to_owned()]));
    Ok(text)
}

/// The ids of a have list.
fn parse_have(text: &str) -> Result<Vec<Oid>, String> {
    let mut lines = text.lines();
    if lines.next() != Some(HAVE) {
        return Err(format!(
            "it is no list of what a repository has (`quaid repo bundle have`): no first line `{HAVE}`"
        ));
    }
    lines.map(|line| Oid::from_str(line).map_err(|_| format!("`{}` is no commit", line.escape_debug()))).collect()
}

/// Reads a have list's text.
pub fn read_have(file: &Path) -> Result<String, Error> {
    let what = crate::input::shown(file);
    let bytes = crate::input::read(file, MAX_HAVE_BYTES)
        .map_err(|why| Error::Mirror { what: what.clone(), why: why.to_string() })?;
    let text = String::from_utf8(bytes).map_err(|_| Error::Mirror { what, why: "it is no text".to_owned() })?;
    Ok(text)
}

/// Writes a bundle of HEAD to `file`; none, and `None`, when the other side has it all. The file is there whole or not at
/// all.
///
/// # Errors
/// The file exists and `replace` is not set; the repository is shallow, or git fails.
pub fn create(
    store: &GitStore,
    file: &Path,
    known: &Known,
    replace: bool,
    progress: &mut dyn FnMut(&str),
) -> Result<Option<Bundled>, Error> {
    let refused = |why: String| Error::Mirror { what: crate::input::shown(file), why };
    if file.exists() && !replace {
        return Err(refused("exists; --overwrite before the command replaces it".to_owned()));
    }
    let head = store.profiles()?.commit();
    let branch = store.branch()?;
    let since = match known {
        Known::Nothing => None,
        Known::Since(revision) => {
            let found = store.repo.revparse_single(revision).and_then(|object| object.peel_to_commit());
            Some(found.map_err(|why| refused(format!("--since {revision}: {}", why.message())))?.id())
        }
        Known::Have(text) => {
            let ids = parse_have(text).map_err(refused)?;
            // The newest of theirs that is here; none is in a list of an empty repository.
            let ours = ids.iter().copied().find(|id| store.repo.find_commit(*id).is_ok());
            if ours.is_none() && !ids.is_empty() {
                return Err(refused(
                    "nothing of what the other side has is here: it is no copy of this repository".to_owned(),
                ));
            }
            ours
        }
    };
    if store.repo.is_shallow() {
        let why = "a shallow repository has not the history that a bundle needs; `git fetch --unshallow` gets it";
        return Err(refused(why.to_owned()));
    }
    let mut range = vec![head.to_string()];
    range.extend(since.map(|since| format!("^{since}")));
    let mut git = git_program(store.repo.path());
    git.args(["rev-list", "--count"]).args(&range);
    let counted = output(&mut git, "rev-list")?;
    let commits: usize = String::from_utf8_lossy(&counted.stdout).trim().parse().unwrap_or(0);
    if commits == 0 {
        return Ok(None);
    }
    let io = |why| Error::Io { path: file.to_owned(), why };
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = temporary().tempfile_in(folder).map_err(io)?.into_temp_path();
    let mut git = git_program(store.repo.path());
    // HEAD for us, the branch for people who clone the file with git alone.
    git.args(["bundle", "create", "--progress"]).arg(git_path(&written)?).args(["HEAD", &branch]);
    git.args(since.map(|since| format!("^{since}")));
    watched(&mut git, "bundle create", progress)?;
    let bytes = File::open(&written).and_then(|file| file.sync_all().and_then(|()| file.metadata())).map_err(io)?.len();
    let moved = if replace { written.persist(file) } else { written.persist_noclobber(file) };
    moved.map_err(|why| io(why.error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
    Ok(Some(Bundled { head, commits, bytes, since }))
}

/// Takes in what a bundle carries. Makes the repository when `root` is empty or not there, and the bundle whole.
///
/// # Errors
/// The file is damaged or no bundle; what it builds on is not here; it does not continue what is here, or is not signed as
/// asked for. What is here stays as it was.
pub fn apply(
    root: &Path,
    file: &Path,
    options: &IncomingOptions,
    progress: &mut dyn FnMut(&str),
) -> Result<Received, Error> {
    let shown = crate::input::shown(file);
    let refused = |why: String| Error::Mirror { what: shown.clone(), why };
    std::fs::metadata(file).map_err(|why| Error::Io { path: file.to_owned(), why })?;
    let path = git_path(file)?;
    // Before a repository is made for it.
    let mut git = plain_git();
    git.args(["bundle", "list-heads", &path]);
    let heads = output(&mut git, "bundle list-heads")?;
    let listed = String::from_utf8_lossy(&heads.stdout).into_owned();
    let named = |line: &str| line.split_once(' ').map(|(_, name)| name.to_owned());
    let names: Vec<String> = listed.lines().filter_map(named).collect();
    if !heads.status.success() || !names.iter().any(|name| name == "HEAD") {
        return Err(refused("it is no bundle of a profile repository, or it is damaged".to_owned()));
    }
    let branch = names.into_iter().find(|name| name.starts_with("refs/heads/") && git2::Reference::is_valid_name(name));
    if !root.exists() || GitStore::open(root).is_err() {
        // Nothing is made for a bundle that builds on what an empty repository cannot have.
        let needs = prerequisites(file)?;
        if needs > 0 {
            return Err(refused(format!(
                "it carries only what is new, and {} is no copy yet: a whole one comes first",
                root.display()
            )));
        }
    }
    let receiver = Receiver::open(root, options)?;
    let mut git = git_program(receiver.store.repo.path());
    git.args(["bundle", "verify", &path]);
    let verified = output(&mut git, "bundle verify")?;
    if !verified.status.success() {
        let told = String::from_utf8_lossy(&verified.stderr).into_owned();
        let why = if told.contains("prerequisite") {
            "it builds on commits that are not here; `quaid repo bundle have` here makes the list that `repo bundle create \
             --have` takes there"
                .to_owned()
        } else {
            format!("it is damaged: {}", crate::output::printable(told.trim()))
        };
        return Err(refused(why));
    }
    // A local file: whatever git is told of protocols elsewhere, nothing else is asked.
    let local = IncomingOptions { offline: true, ..options.clone() };
    let new = receiver.fetch(&path, &[], &local, progress).map_err(|error| match error {
        Error::GitProgram { why, .. } => refused(format!("it is damaged, or refused by git's check: {why}")),
        other => other,
    })?;
    receiver.take(new, branch.as_deref().unwrap_or("refs/heads/main"), &shown)
}

/// How many commits a bundle builds on: lines of its header that begin with `-` (gitformat-bundle(5)).
fn prerequisites(file: &Path) -> Result<usize, Error> {
    use std::io::{BufRead, BufReader, Read};
    let io = |why| Error::Io { path: file.to_owned(), why };
    let mut header = BufReader::new(File::open(file).map_err(io)?.take(1 << 20));
    let (mut count, mut line) = (0, Vec::new());
    loop {
        line.clear();
        if header.read_until(b'\n', &mut line).map_err(io)? == 0 || line == b"\n" {
            return Ok(count);
        }
        count += usize::from(line.starts_with(b"-"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_have_list_is_read_and_anything_else_refused() {
        let id = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";
        assert_eq!(parse_have(&format!("{HAVE}\n{id}\n")).expect("a list").len(), 1);
        assert_eq!(parse_have(&format!("{HAVE}\n")).expect("an empty one").len(), 0);
        for bad in ["", id, "quaid have 2\n", "quaid have 1\n--output=x\n"] {
            assert!(parse_have(bad).is_err(), "{bad}");
        }
    }
}
