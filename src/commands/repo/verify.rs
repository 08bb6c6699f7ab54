//! `repo verify`: whether the repository is whole, or a folder that `repo export` wrote.

use super::sync::allowed_signers;
use crate::context::{Context, Outcome};
use crate::output::{Output, printable};
use crate::repo::{self, Error, GitStore};
use anyhow::{Result, anyhow};
use clap::{ArgMatches, Command};
use std::io::Write;
use std::path::{Path, PathBuf};

pub(super) fn cli() -> Command {
    Command::new("verify")
        .about("Check that every profile is whole and what its name says; of an exported folder also what its inventory says")
        .arg(allowed_signers("The inventory must be signed by an ssh key of this file (ssh-keygen's ALLOWED SIGNERS)"))
}

pub(super) fn run(context: &Context, root: &Path, args: &ArgMatches) -> Result<Outcome> {
    let allowed = args.get_one::<PathBuf>("allowed_signers").or(context.globals.allowed_signers.as_ref());
    let allowed = allowed.map(PathBuf::as_path);
    let (verified, is_git) = match GitStore::open(root) {
        Ok(store) => (repo::verify(&store, allowed)?, true),
        Err(Error::NotARepository { .. }) => (repo::verify_folder(root, allowed)?, false),
        Err(other) => return Err(other.into()),
    };
    let mut out = Output::open(context)?;
    for problem in &verified.problems {
        writeln!(out, "{}: {}", printable(&problem.path), printable(&problem.why))?;
    }
    out.finish()?;
    if is_git && !verified.git_ran {
        context.note("there is no git program: its objects were checked only as far as profiles were read");
    }
    if verified.absent > 0 {
        context.note(&format!(
            "a partial clone: {} files whose contents are not here were not checked, and not fetched",
            verified.absent
        ));
    }
    if let Some(signer) = &verified.signer {
        context.note(&format!("the inventory is signed by {signer}"));
    }
    let inventory = verified.inventory.map_or_else(String::new, |names| format!(", an inventory of {names} names"));
    let seen = format!("{} profiles and {} links{inventory}", verified.profiles, verified.links);
    match verified.problems.len() {
        0 => {
            context.note(&format!("{seen}: all is well"));
            Ok(Outcome::Done)
        }
        count => Err(anyhow!("{}: {count} problems in {seen}", root.display())),
    }
}
