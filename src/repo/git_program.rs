//! The user's git program, which does what needs a network, credentials, keys or a packer.

use super::error::Error;
use super::git_store::GitStore;
use crate::output::printable;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// What git says last, as far as a message repeats it, in bytes.
const MAX_TOLD: usize = 2000;

/// A line of git's progress that is longer is cut, in bytes.
const MAX_LINE: usize = 400;

/// A call of git for the repository in `git_dir` (the `.git` of a work tree, or a bare repository), whatever repository the
/// environment names. It gets no input, and asks nobody.
pub(super) fn git_program(git_dir: &Path) -> Command {
    let mut git = plain_git();
    git.arg("--git-dir").arg(git_dir);
    git
}

/// A call of git for no repository yet. It speaks the language that its messages are looked at in.
pub(super) fn plain_git() -> Command {
    let mut git = Command::new("git");
    for name in
        ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES"]
    {
        git.env_remove(name);
    }
    git.env("LC_ALL", "C").stdin(Stdio::null());
    git
}

impl GitStore {
    /// The setting `key`, where git's own configuration of any level has it. As a path, `~` is the home folder.
    pub(super) fn setting(&self, key: &str, is_path: bool) -> Result<Option<String>, Error> {
        let mut git = git_program(self.repo.path());
        git.args(["config", "--get"]).args(is_path.then_some("--type=path")).arg(key);
        let output = output(&mut git, "config")?;
        let text = String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned();
        Ok(Some(text).filter(|text| output.status.success() && !text.is_empty()))
    }
}

/// Runs git to its end, whatever that is.
pub(super) fn output(git: &mut Command, what: &str) -> Result<Output, Error> {
    git.output().map_err(|why| not_started(what, &why))
}

/// Stdout of a git that must succeed.
pub(super) fn text(git: &mut Command, what: &str) -> Result<String, Error> {
    let output = output(git, what)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(failed(what, &String::from_utf8_lossy(&output.stderr)))
}

/// Stdout of a git that reads `input`, and must succeed.
pub(super) fn text_of(git: &mut Command, what: &str, input: &[u8]) -> Result<String, Error> {
    let git = git.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = git.spawn().map_err(|why| not_started(what, &why))?;
    let sent = child.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(input));
    let output = child.wait_with_output().map_err(|why| not_started(what, &why))?;
    match sent {
        Ok(()) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        // What git says of itself tells more than a closed pipe.
        _ => Err(failed(what, &String::from_utf8_lossy(&output.stderr))),
    }
}

/// Runs a git that must succeed and may take long. Each line of its progress is given to `progress`, safe for a terminal.
pub(super) fn watched(git: &mut Command, what: &str, progress: &mut dyn FnMut(&str)) -> Result<(), Error> {
    let mut child = git.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(|why| not_started(what, &why))?;
    let (mut told, mut line) = (String::new(), Vec::new());
    let mut end_of_line = |line: &mut Vec<u8>| {
        let text = printable(String::from_utf8_lossy(line).trim_end());
        line.clear();
        if text.contains('%') {
            return progress(&text);
        }
        // The end says why git failed; a talkative server does not push it out.
        told.push_str(&text);
        told.push('\n');
        if told.len() > 2 * MAX_TOLD {
            let cut = told.char_indices().map(|(at, _)| at).find(|at| told.len() - at <= MAX_TOLD);
            told.drain(..cut.unwrap_or(0));
        }
    };
    if let Some(stderr) = child.stderr.take() {
        for byte in std::io::BufReader::new(stderr).bytes().map_while(Result::ok) {
            match byte {
                b'\n' | b'\r' => end_of_line(&mut line),
                _ if line.len() < MAX_LINE => line.push(byte),
                _ => {}
            }
        }
    }
    end_of_line(&mut line);
    let status = child.wait().map_err(|why| not_started(what, &why))?;
    if status.success() { Ok(()) } else { Err(failed(what, &told)) }
}

fn not_started(what: &str, why: &std::io::Error) -> Error {
    let why = match why.kind() {
        ErrorKind::NotFound => "there is no git program in PATH; install git".to_owned(),
        _ => why.to_string(),
    };
    Error::GitProgram { what: what.to_owned(), why }
}

/// What git complains of, on one line.
fn failed(what: &str, stderr: &str) -> Error {
    let lines: Vec<String> =
        stderr.lines().map(|line| printable(line.trim())).filter(|line| !line.is_empty()).collect();
    let from = lines.len().saturating_sub(6);
    let why = lines.get(from..).unwrap_or_default().join("; ");
    Error::GitProgram {
        what: what.to_owned(),
        why: if why.is_empty() { "it failed, and says no more".into() } else { why },
    }
}
