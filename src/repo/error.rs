//! Errors of the repository manager.

use std::path::PathBuf;

/// Why an operation on a repository failed. Nothing was changed unless the text says so.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder is no git repository.
    #[error("{place} is not a git repository; `quaid repo init {place}` makes one there")]
    NotARepository {
        /// The folder.
        place: String,
    },
    /// git's protection against repositories of other users.
    #[error(
        "{place} belongs to another user, and its configuration could run programs; if you trust it: \
         `git config --global --add safe.directory {place}`"
    )]
    Owner {
        /// The folder.
        place: String,
    },
    /// A git repository of something else.
    #[error(
        "{place} is a git repository without profiles (its HEAD has no folder v1.0); start one in a folder of its own: `quaid repo init DIR`"
    )]
    NoProfiles {
        /// The folder.
        place: String,
    },
    /// There is a repository already.
    #[error("{place} has a git repository already; nothing was done")]
    Exists {
        /// The folder.
        place: String,
    },
    /// HEAD is not a branch.
    #[error("{place}: HEAD is detached, so a commit would be lost; `git -C {place} switch BRANCH` first")]
    Detached {
        /// The folder.
        place: String,
    },
    /// The git library failed.
    #[error("{place}: {why}")]
    Git {
        /// The repository, and what of it was asked for.
        place: String,
        /// Its reason.
        why: git2::Error,
    },
    /// A file of the system failed.
    #[error("{}: {why}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Its reason.
        why: std::io::Error,
    },
    /// Something is in HEAD's tree that must not be followed or read.
    #[error("{place}: {why}")]
    BadTree {
        /// Repository and path.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file of the work tree has changes that are not committed.
    #[error("{} {why}; commit it or move it away first", .path.display())]
    InTheWay {
        /// The file.
        path: PathBuf,
        /// What it has.
        why: &'static str,
    },
    /// Other writers kept the repository.
    #[error("{place} is being written by others: {why}")]
    Busy {
        /// The folder.
        place: String,
        /// What was tried.
        why: String,
    },
    /// The commit was made, and the work tree could not follow.
    #[error(
        "the change is committed, but its file in the work tree could not be written: {why}; the next change tries it again"
    )]
    WorkTree {
        /// The reason.
        why: String,
    },
    /// The name cannot be that of a profile.
    #[error("`{}` cannot be a profile's name: {}", .name.escape_debug(), .why.escape_debug())]
    Name {
        /// As given.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// The profile cannot be stored.
    #[error("{label}: {why}")]
    Refused {
        /// The file.
        label: String,
        /// Why, and what to do.
        why: String,
    },
    /// A Symlink cannot be made.
    #[error("no link {name} -> {target}: {why}")]
    Link {
        /// Its name.
        name: String,
        /// Its target.
        target: String,
        /// Why, and what to do.
        why: String,
    },
    /// The git program failed, or is not there.
    #[error("`git {what}`: {why}")]
    GitProgram {
        /// Its command.
        what: String,
        /// What it said.
        why: String,
    },
    /// The other side's history does not continue the one here. Nothing was changed.
    #[error("{place}: {why}; nothing was changed")]
    NoFastForward {
        /// The folder.
        place: String,
        /// How the histories differ, and what to do.
        why: String,
    },
    /// The commit is not signed by one of the allowed signers. Nothing was changed.
    #[error("{from}: commit {commit} is refused: {why}; nothing was changed")]
    Untrusted {
        /// Where it came from.
        from: String,
        /// The commit.
        commit: String,
        /// What is wrong with its signature.
        why: String,
    },
    /// The inventory could not be signed.
    #[error("{place}: the inventory is not signed, and commit.gpgSign asks for it: {why}; no inventory was written")]
    Unsigned {
        /// The folder.
        place: String,
        /// Why, and what git's configuration says.
        why: String,
    },
    /// What was asked of a mirror or bundle cannot be done.
    #[error("{what}: {why}")]
    Mirror {
        /// The address or file.
        what: String,
        /// Why, and what to do.
        why: String,
    },
    /// A partial clone has not this object, and may not ask for it.
    #[error("{place}: its content is not in this partial clone, and --offline forbids to fetch it")]
    NotHere {
        /// Repository and path.
        place: String,
    },
    /// A profile could not be read.
    #[error(transparent)]
    Profile(#[from] quaid_profile::Error),
}
