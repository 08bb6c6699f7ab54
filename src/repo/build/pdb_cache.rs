//! Where a repository keeps the PDBs that its profiles were made of: beside the profiles, and ignored by git.

use super::super::error::Error;
use super::super::git_store::GitStore;
use quaid_profile::LAYOUT;
use std::path::PathBuf;

/// What git reads in the folder: nothing of it is the repository's, this file included.
const IGNORE: &str = "*\n";

/// Where the folder is: `v1.0/src/pdb` of the work tree, `pdb` in a bare repository. It has the layout of a symbol store
/// (`NAME/GUIDAGE/NAME`), so that debuggers can use it.
pub fn pdb_cache_path(store: &GitStore) -> PathBuf {
    match store.repo.workdir() {
        Some(root) => root.join(LAYOUT).join("src/pdb"),
        None => store.repo.path().join("pdb"),
    }
}

/// The folder, made if it is not there.
///
/// # Errors
/// It cannot be made.
pub fn pdb_cache(store: &GitStore) -> Result<PathBuf, Error> {
    let folder = pdb_cache_path(store);
    let ignore = folder.join(".gitignore");
    let io = |why| Error::Io { path: folder.clone(), why };
    std::fs::create_dir_all(&folder).map_err(io)?;
    if !ignore.exists() {
        std::fs::write(&ignore, IGNORE).map_err(|why| Error::Io { path: ignore.clone(), why })?;
    }
    Ok(folder)
}
