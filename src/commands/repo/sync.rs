//! `repo sync`: a copy of another repository, made and kept up to date.

use crate::context::{Context, Outcome};
use crate::repo::{self, IncomingOptions, Received, SyncOptions};
use anyhow::Result;
use clap::{Arg, ArgAction, ArgMatches, Command};
use indicatif::ProgressBar;
use std::path::{Path, PathBuf};

pub(super) fn cli() -> Command {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let depth = Arg::new("depth").long("depth").value_name("N").value_parser(clap::value_parser!(u32).range(1..));
    Command::new("sync")
        .about("Copy another repository here, or bring the copy up to date; its history may only grow")
        .after_help(
            "The user's git does the transfer, with the proxy and logins that it has: in the address, of its credential.helper, \
             GIT_ASKPASS, .netrc or the agent of ssh. Nothing asks on the terminal, whoever runs it; `git ls-remote URL` does, once, \
             and a credential.helper keeps the answer.",
        )
        .arg(Arg::new("URL").help("Any address that git understands; that of the last time when it is not given"))
        .arg(flag("bare", "Make the new copy without a work tree"))
        .arg(flag("partial", "Leave contents out, and let git fetch each when it is asked for (a new, bare copy)"))
        .arg(depth.help("Only so many commits of the history"))
        .arg(allowed_signers(REMEMBERED_SIGNERS))
}

/// What the option says where the copy keeps it.
pub(super) const REMEMBERED_SIGNERS: &str =
    "Take only what an ssh key of this file signed (ssh-keygen's ALLOWED SIGNERS); the copy remembers it";

/// The option that names who may sign.
pub(super) fn allowed_signers(help: &'static str) -> Arg {
    Arg::new("allowed_signers")
        .long("allowed_signers")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help(help)
}

/// What `sync` and `bundle apply` are told in common.
pub(super) fn incoming(context: &Context, args: &ArgMatches) -> IncomingOptions {
    IncomingOptions {
        bare: args.get_flag("bare"),
        allowed_signers: args.get_one("allowed_signers").cloned(),
        offline: context.globals.offline,
    }
}

pub(super) fn run(context: &Context, root: &Path, args: &ArgMatches) -> Result<Outcome> {
    let options = SyncOptions {
        incoming: incoming(context, args),
        partial: args.get_flag("partial"),
        depth: args.get_one("depth").copied(),
    };
    let url = args.get_one::<String>("URL").map(String::as_str);
    let bar = context.progress("", Some(100), false);
    let synced = repo::sync(root, url, &options, &mut |line| show(&bar, line));
    bar.finish_and_clear();
    let (received, from) = synced?;
    Ok(tell(context, root, &from, &received))
}

/// A line of git's progress ("Receiving objects:  45% (9/20)") on the bar.
pub(super) fn show(bar: &ProgressBar, line: &str) {
    let (what, rest) = line.split_once(':').unwrap_or((line, ""));
    bar.set_message(what.to_owned());
    if let Some(percent) = rest.split('%').next().and_then(|number| number.trim().parse().ok()) {
        bar.set_position(percent);
    }
}

/// What came, and what of it is kept away.
pub(super) fn tell(context: &Context, root: &Path, from: &str, received: &Received) -> Outcome {
    let place = root.display();
    if let Some(signer) = &received.signer {
        context.note(&format!("signed by {signer}"));
    }
    if received.commits > 0 {
        context.note(&format!(
            "{place}: {} commits from {from}, now at {:.12}",
            received.commits,
            received.new.to_string()
        ));
    } else if received.ahead > 0 {
        context.note(&format!("{place}: nothing new; {} commits here are not in {from}", received.ahead));
    } else {
        context.note(&format!("{place}: nothing new in {from}"));
    }
    let hygiene = &received.hygiene;
    for (path, why) in &hygiene.problems {
        context.warn(&format!("{path}: {why}"));
    }
    if hygiene.count == 0 {
        return Outcome::Done;
    }
    context.warn(&format!(
        "{from}: {} names as above are kept away from the work tree or from readers; the rest is usable",
        hygiene.count
    ));
    Outcome::SomeErrors
}
