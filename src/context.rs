//! What every command is given: the global options and the ways to talk to the person at the terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write as _};
use std::ops::Range;
use std::path::PathBuf;

/// How a command ended, where it did not fail outright.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All of it was done: exit code 0.
    Done,
    /// It ran, and nothing was found: exit code 1.
    NothingFound,
    /// It was done, with some errors, each told on stderr: exit code 3.
    SomeErrors,
    /// The command line asks for nothing: the help is shown, exit code 2.
    Usage,
}

/// The command line says too little, or what does not go together: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

impl UsageError {
    /// The error for commands, with what is to be told.
    pub(crate) fn of(what: impl Into<String>) -> anyhow::Error {
        Self(what.into()).into()
    }
}

/// The global options, after command line, environment and configuration file were put together.
#[derive(Debug, Clone, Default)]
pub struct Globals {
    /// `-f`: the image, or the file that a command works on.
    pub filename: Option<PathBuf>,
    /// `-f` stands on the command line; a file of the environment or configuration gives way to a command's own argument.
    pub filename_typed: bool,
    /// `-p`: name or path of the profile.
    pub profile: Option<String>,
    /// `--profile_path`: where profiles are searched, in order.
    pub profile_path: Vec<String>,
    /// What said so: an option, a variable, the configuration file.
    pub profile_path_from: &'static str,
    /// What is told of the steps: 0 nothing, 1 what was done (`--logging info`), 2 also what was tried (`-v`).
    pub verbose: u8,
    /// `--debug`: errors tell where they came from.
    pub debug: bool,
    /// `-q`: no progress, no hints.
    pub quiet: bool,
    /// `--format`: the renderer of tables ("text", "json").
    pub format: String,
    /// `--output`: the file that takes what would go to stdout.
    pub output: Option<PathBuf>,
    /// `--overwrite`: an output file that exists may be replaced.
    pub overwrite: bool,
    /// `--pager`: the program that shows output on a terminal.
    pub pager: Option<String>,
    /// `--ept`: physical address of the extended page tables of a guest inside the image.
    pub ept: Option<u64>,
    /// `--dtb`: physical address of the kernel's top page table.
    pub dtb: Option<u64>,
    /// `--kernel_slide`: how far the kernel runs from where it was linked, in bytes.
    pub kernel_slide: Option<u64>,
    /// `--pagefile`: the page files of the machine, by number.
    pub pagefiles: Vec<PathBuf>,
    /// `--layer`: the image's format, where it is not to be found out.
    pub layer: Option<String>,
    /// `--runs`: where the parts of a raw image belong.
    pub runs: Vec<Range<u64>>,
    /// `--no_map`: the image is read, not mapped.
    pub no_map: bool,
    /// `--offline`: nothing may use the network.
    pub offline: bool,
    /// `--autobuild`: a profile that is missing is made at once.
    pub autobuild: bool,
    /// `--report`: where the JSON report of a generator goes.
    pub report: Option<PathBuf>,
    /// Symbol servers from the configuration file (`symbol_server`), before `_NT_SYMBOL_PATH` and the default.
    pub symbol_servers: Vec<String>,
    /// debuginfod servers from the configuration file (`debuginfod_urls`), after `DEBUGINFOD_URLS`.
    pub debuginfod_urls: Vec<String>,
    /// `--allowed_signers`: who may sign the inventories of places that are no git repositories (ssh-keygen(1), ALLOWED
    /// SIGNERS).
    pub allowed_signers: Option<PathBuf>,
}

/// A line on stderr. Where nobody reads it any more, the work goes on.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The global options, and messages.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// The global options.
    pub globals: Globals,
}

impl Context {
    /// A line on stderr that `-q` silences: progress in words, hints.
    pub fn note(&self, text: &str) {
        if !self.globals.quiet {
            say(text);
        }
    }

    /// A line on stderr that tells a step: level 1 what was done, level 2 what was tried. `-v` shows both.
    pub fn detail(&self, level: u8, text: &str) {
        if self.globals.verbose >= level {
            say(&format!("{}: {text}", if level < 2 { "INFO" } else { "DEBUG" }));
        }
    }

    /// A line on stderr that nothing silences: what went wrong and was survived.
    pub fn warn(&self, text: &str) {
        say(&format!("warning: {text}"));
    }

    /// A progress bar over `total` units (bytes, when `bytes`); it shows on a terminal only, and never with `-q`.
    pub fn progress(&self, what: &str, total: Option<u64>, bytes: bool) -> ProgressBar {
        let hidden = self.globals.quiet || !std::io::stderr().is_terminal();
        let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(total, target);
        let template =
            if bytes { "  {msg} {bytes}/{total_bytes} {percent}%" } else { "  {msg} {pos}/{len} {percent}%" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar
    }
}
