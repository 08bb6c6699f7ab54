//! Files that are written whole or not at all.

use anyhow::{Context as _, Result, bail};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes `bytes` to `path`: a temporary file beside it, fsync, rename. An existing file is replaced only when
/// `overwrite` says so.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8], overwrite: bool) -> Result<()> {
    if path.is_dir() {
        bail!("cannot write {}: it is a folder", path.display());
    }
    if !overwrite && path.exists() {
        bail!("{} exists; --overwrite before the command replaces it", path.display());
    }
    let folder = folder_of(path);
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".quaid-").tempfile_in(&folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        set_plain_mode(file.path())?;
        if overwrite {
            file.persist(path)?;
        } else {
            file.persist_noclobber(path)?;
        }
        std::fs::File::open(&folder)?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// The folder that holds `path`; the current one for a bare name.
fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Temporary files are private to their owner; what a command writes is as readable as any file of the user.
#[cfg(unix)]
fn set_plain_mode(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn set_plain_mode(_: &Path) -> std::io::Result<()> {
    Ok(())
}
