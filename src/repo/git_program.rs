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
/// environment names. It gets no input, and never asks on the terminal, where the progress is.
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
    git.env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0").stdin(Stdio::null());
    git
}

/// A call of git that may talk to another machine, for the repository in `git_dir` or for none yet.
///
/// Who runs it is the same to it, a person at a terminal or a timer at night: logins are those that git has without a
/// terminal, from the address, a credential helper, `GIT_ASKPASS`, `.netrc` or the agent of ssh.
pub(super) fn remote_git(git_dir: Option<&Path>) -> Result<Command, Error> {
    let git = || git_dir.map_or_else(plain_git, git_program);
    let chosen = std::env::var("GIT_SSH_COMMAND").ok().filter(|command| !command.is_empty());
    let ssh = match chosen {
        Some(command) => Some(command),
        None => setting(git(), "core.sshCommand", false)?,
    };
    let usual = || std::env::var_os("GIT_SSH").is_none().then(|| "ssh".to_owned());
    let mut git = git();
    // Of another program than OpenSSH the options are not known. The first of two that contradict each other counts: a
    // user's own `BatchMode=no` does.
    if let Some(ssh) = ssh.or_else(usual).filter(|command| is_openssh(command)) {
        git.env("GIT_SSH_COMMAND", format!("{ssh} -o BatchMode=yes"));
    }
    Ok(git)
}

fn is_openssh(command: &str) -> bool {
    let program = command.split_whitespace().next().unwrap_or_default().trim_matches(['"', '\'']);
    matches!(program.rsplit(['/', '\\']).next(), Some("ssh" | "ssh.exe"))
}

/// The setting `key`, where the configuration that this git reads has it. As a path, `~` is the home folder.
fn setting(mut git: Command, key: &str, is_path: bool) -> Result<Option<String>, Error> {
    git.args(["config", "--get"]).args(is_path.then_some("--type=path")).arg(key);
    let output = output(&mut git, "config")?;
    let text = String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned();
    Ok(Some(text).filter(|text| output.status.success() && !text.is_empty()))
}

impl GitStore {
    /// The setting `key`, where git's own configuration of any level has it. As a path, `~` is the home folder.
    pub(super) fn setting(&self, key: &str, is_path: bool) -> Result<Option<String>, Error> {
        setting(git_program(self.repo.path()), key, is_path)
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

/// What git complains of, on one line, and what to do where that is known.
fn failed(what: &str, stderr: &str) -> Error {
    let lines: Vec<String> =
        stderr.lines().map(|line| printable(line.trim())).filter(|line| !line.is_empty()).collect();
    let from = lines.len().saturating_sub(6);
    let mut why = lines.get(from..).unwrap_or_default().join("; ");
    if why.is_empty() {
        "it failed, and says no more".clone_into(&mut why);
    }
    if let Some(step) = next_step(stderr) {
        why = format!("{why}; {step}");
    }
    Error::GitProgram { what: what.to_owned(), why }
}

/// What a person does about what git says.
fn next_step(stderr: &str) -> Option<&'static str> {
    let says = |parts: &[&str]| parts.iter().any(|part| stderr.contains(part));
    if says(&["terminal prompts disabled", "could not read Username", "could not read Password"]) {
        return Some(
            "nothing asks for a login here: set git's credential.helper, and `git ls-remote URL` in a terminal asks once and \
             keeps it; a program that GIT_ASKPASS names is asked too",
        );
    }
    if says(&["Authentication failed"]) {
        return Some("the login that git has is refused there: correct it where git keeps it (credential.helper)");
    }
    if says(&["Host key verification failed"]) {
        return Some("nothing asks about a new host here: connect to it by `ssh` once, and compare its key");
    }
    if says(&["Permission denied (", "Too many authentication failures"]) {
        return Some("nothing asks for a passphrase here: `ssh-add` gives the key to the agent");
    }
    let broken = ["early EOF", "hung up unexpectedly", "unexpected disconnect", "RPC failed", "Connection reset"];
    says(&broken).then_some("the connection broke, and nothing was changed: the same command tries it again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openssh_is_known_by_its_name() {
        for ssh in ["ssh", "ssh -i key", "/usr/bin/ssh -v", "'/usr/bin/ssh' -i x", "C:\\bin\\ssh.exe"] {
            assert!(is_openssh(ssh), "{ssh}");
        }
        for other in ["plink", "/opt/ssh/plink -batch", "sshpass -p x ssh", ""] {
            assert!(!is_openssh(other), "{other}");
        }
    }

    #[test]
    fn what_is_not_known_has_no_next_step() {
        assert_eq!(next_step("fatal: repository 'x' not found"), None);
        assert!(next_step("git@x: Permission denied (publickey).").is_some_and(|step| step.contains("ssh-add")));
    }
}
