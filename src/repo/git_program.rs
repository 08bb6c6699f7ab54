//! The user's git program, which does what needs a network, credentials, keys or a packer.

use std::path::Path;
use std::process::{Command, Stdio};

/// A call of git for the repository in `git_dir` (the `.git` of a work tree, or a bare repository), whatever repository the
/// environment names. It gets no input, and asks nobody.
pub(super) fn git_program(git_dir: &Path) -> Command {
    let mut git = plain_git();
    git.arg("--git-dir").arg(git_dir);
    git
}

/// A call of git for no repository yet.
pub(super) fn plain_git() -> Command {
    let mut git = Command::new("git");
    for name in
        ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES"]
    {
        git.env_remove(name);
    }
    git.stdin(Stdio::null());
    git
}
