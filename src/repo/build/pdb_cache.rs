//! Where a repository keeps the PDBs that its profiles were made of, and puts files of kernels while it reads them: beside
//! the profiles, and ignored by git.

use super::super::error::Error;
use super::super::git_store::GitStore;
use quaid_profile::LAYOUT;
use std::path::PathBuf;

/// What git reads in the folder: nothing of it is the repository's, this file included.
const IGNORE: &str = "*\n";

/// Where the folder is: `v1.0/src/pdb` of the work tree, `pdb` in a bare repository. It has the layout of a symbol store
/// (`NAME/GUIDAGE/NAME`), so that debuggers can use it.
pub fn pdb_cache_path(store: &GitStore) -> PathBuf {
    ignored_path(store, "pdb")
}

fn ignored_path(store: &GitStore, name: &str) -> PathBuf {
    match store.repo.workdir() {
        Some(root) => root.join(LAYOUT).join("src").join(name),
        None => store.repo.path().join(name),
    }
}

/// The folder, made if it is not there.
///
/// # Errors
/// It cannot be made.
pub fn pdb_cache(store: &GitStore) -> Result<PathBuf, Error> {
    ignored_folder(pdb_cache_path(store))
}

/// The folder for debugging information of Linux kernels, made if it is not there. A file of it has hundreds of MB, and is
/// there no longer than its profile takes to be made.
///
/// # Errors
/// It cannot be made.
pub fn debug_cache(store: &GitStore) -> Result<PathBuf, Error> {
    ignored_folder(ignored_path(store, "debug"))
}

fn ignored_folder(folder: PathBuf) -> Result<PathBuf, Error> {
    let ignore = folder.join(".gitignore");
    let io = |why| Error::Io { path: folder.clone(), why };
    std::fs::create_dir_all(&folder).map_err(io)?;
    if !ignore.exists() {
        std::fs::write(&ignore, IGNORE).map_err(|why| Error::Io { path: ignore.clone(), why })?;
    }
    Ok(folder)
}
