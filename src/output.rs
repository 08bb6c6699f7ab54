//! Where data goes: stdout, a pager, or a file that is written whole or not at all.

use crate::context::Context;
use crate::form::Form;
use anyhow::{Context as _, Result, bail};
use quaid_profile::{Losses, Metadata, Profile, ProfileFile, compress_for};
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

/// How the names of temporary files begin.
pub(crate) const TEMPORARY: &str = ".quaid-";

/// The data of a command: rows, a profile, a list. [`Output::finish`] ends it; a file is not there before.
pub(crate) enum Output {
    /// A terminal gets each line at once, a pipe or file gets blocks.
    Stdout(Box<dyn Write>),
    /// `--pager`.
    Pager(Child),
    /// `--output`.
    File { path: PathBuf, bytes: Vec<u8>, overwrite: bool },
}

impl Output {
    /// As `--output` and `--pager` say.
    pub(crate) fn open(context: &Context) -> Result<Self> {
        let globals = &context.globals;
        if let Some(path) = &globals.output {
            refuse_folder(path)?;
            if path.is_file() && !globals.overwrite {
                bail!("{} exists; --overwrite before the command replaces it", path.display());
            }
            return Ok(Self::File { path: path.clone(), bytes: Vec::new(), overwrite: globals.overwrite });
        }
        let stdout = io::stdout();
        if !stdout.is_terminal() {
            return Ok(Self::Stdout(Box::new(BufWriter::new(stdout))));
        }
        let Some(pager) = &globals.pager else { return Ok(Self::Stdout(Box::new(stdout))) };
        let mut words = pager.split_whitespace();
        let program = words.next().context("--pager names no program")?;
        let child = std::process::Command::new(program).args(words).stdin(Stdio::piped()).spawn();
        Ok(Self::Pager(child.with_context(|| format!("cannot start the pager `{pager}`"))?))
    }

    /// Brings everything to where it goes, and waits for the pager.
    pub(crate) fn finish(self) -> Result<()> {
        match self {
            Self::Stdout(mut out) => out.flush()?,
            Self::Pager(mut child) => {
                drop(child.stdin.take());
                child.wait()?;
            }
            Self::File { path, bytes, overwrite } => write_atomically(&path, &bytes, overwrite)?,
        }
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(data),
            Self::Pager(child) => child.stdin.as_mut().map_or(Ok(data.len()), |pipe| pipe.write(data)),
            Self::File { bytes, .. } => bytes.write(data),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::Pager(child) => child.stdin.as_mut().map_or(Ok(()), Write::flush),
            Self::File { .. } => Ok(()),
        }
    }
}

/// Writes `bytes` to `path`: a temporary file beside it, fsync, rename. An existing file is replaced only when
/// `overwrite` says so; of a symbolic link it is the file that it leads to. What is no file (a device, a pipe) is written
/// into, and stays what it is.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8], overwrite: bool) -> Result<()> {
    refuse_folder(path)?;
    if path.exists() && !path.is_file() {
        let write = || OpenOptions::new().write(true).open(path)?.write_all(bytes);
        return write().with_context(|| format!("cannot write {}", path.display()));
    }
    write_file(path, overwrite, |file| Ok(file.write_all(bytes)?))
}

/// As [`write_atomically`], for what is not in memory: `fill` writes the temporary file, and what it gives is given on. When
/// it fails there is no file.
pub(crate) fn write_file<T>(
    path: &Path,
    overwrite: bool,
    fill: impl FnOnce(&mut tempfile::NamedTempFile) -> Result<T>,
) -> Result<T> {
    refuse_folder(path)?;
    if path.exists() && !path.is_file() {
        bail!("cannot write {}: it is a device, pipe or socket, not a file", path.display());
    }
    if !overwrite && path.exists() {
        bail!("{} exists; --overwrite before the command replaces it", path.display());
    }
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = folder_of(path);
    if !folder.is_dir() {
        bail!("cannot write {}: there is no folder {}", path.display(), folder.display());
    }
    let write = || -> Result<T> {
        let mut file = temporary().tempfile_in(&folder)?;
        let filled = fill(&mut file)?;
        file.as_file().sync_all()?;
        if overwrite {
            file.persist(path)?;
        } else {
            file.persist_noclobber(path)?;
        }
        std::fs::File::open(&folder)?.sync_all()?;
        Ok(filled)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn refuse_folder(path: &Path) -> Result<()> {
    if path.is_dir() {
        bail!("cannot write {}: it is a folder", path.display());
    }
    Ok(())
}

/// The folder that holds `path`; the current one for a bare name.
fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Temporary files are private to their owner by default; what a command writes is as readable as the user's umask says.
#[cfg(unix)]
pub(crate) fn temporary() -> tempfile::Builder<'static, 'static> {
    use std::os::unix::fs::PermissionsExt;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".quaid-").permissions(std::fs::Permissions::from_mode(0o666));
    builder
}

#[cfg(not(unix))]
pub(crate) fn temporary() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".quaid-");
    builder
}

/// Writes a profile in the form that `--to` asks for to `path`, compressed where its name ends in `.gz` or `.xz`, or to
/// where data goes. Gives what the form cannot say, for [`tell_losses`]. A profile of the same identity that is there is replaced; any other
/// file only with `--overwrite`.
pub(crate) fn write_profile(context: &Context, path: Option<&Path>, profile: &Profile, form: Form) -> Result<Losses> {
    let (text, losses) = form.print(profile);
    if let Some(path) = path {
        let bytes =
            compress_for(path, text.as_bytes()).with_context(|| format!("cannot compress {}", path.display()))?;
        let same = || ProfileFile::open(path).is_ok_and(|old| same_identity(old.metadata(), &profile.metadata));
        let replace = context.globals.overwrite || (path.is_file() && same());
        write_atomically(path, &bytes, replace)?;
    } else {
        let mut out = Output::open(context)?;
        out.write_all(text.as_bytes())?;
        out.finish()?;
    }
    Ok(losses)
}

/// Text of a file for a terminal: nothing in it can move the cursor.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Says on stderr what a profile lost in the form that it was written in.
pub(crate) fn tell_losses(context: &Context, form: Form, losses: &Losses) {
    for line in losses.lines() {
        context.note(&format!("  {}: {line}", form.name()));
    }
}

/// Writes a generator's report where `--report` says.
pub(crate) fn write_report(context: &Context, report: &impl Serialize) -> Result<()> {
    let Some(path) = &context.globals.report else { return Ok(()) };
    let text = serde_json::to_string_pretty(report).context("cannot print the report")?;
    write_atomically(path, (text + "\n").as_bytes(), context.globals.overwrite)
}

/// Whether two profiles are of one build: all that identifies the old one is the same in the new one, which may know
/// more. A profile that knows less does not take its place unasked.
fn same_identity(old: &Metadata, new: &Metadata) -> bool {
    let mut known =
        ["GUID_AGE", "BuildID", "Banner", "Release"].into_iter().filter(|key| old.text(key).is_some()).peekable();
    known.peek().is_some() && known.all(|key| old.text(key) == new.text(key))
}
