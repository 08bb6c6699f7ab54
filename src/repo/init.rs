//! A new repository, from the template that the program carries.

use super::error::Error;
use super::git_store::GitStore;
use git2::{Repository, RepositoryInitOptions};
use quaid_profile::LAYOUT;
use std::path::Path;

/// The files of the first commit, by path from the top of the tree.
const TEMPLATE: [(&str, &str); 4] = [
    ("README.md", include_str!("../../repo-template/README.md")),
    (".gitattributes", include_str!("../../repo-template/.gitattributes")),
    (".gitignore", include_str!("../../repo-template/.gitignore")),
    ("v1.0/config.yaml", include_str!("../../repo-template/v1.0/config.yaml")),
];

/// What makes a plain `git gc` find the profiles that resemble each other: they are alike in thousands of lines.
const PACKING: [(&str, &str); 3] = [("pack.window", "200"), ("pack.depth", "60"), ("pack.windowMemory", "512m")];

/// Makes a profile repository in `root`, with a work tree or bare, and its first commit. A repository without any commit
/// is taken for one that a killed `init` left, and finished.
///
/// # Errors
/// `root` has a repository already, or files where the template's would be.
pub fn init(root: &Path, bare: bool) -> Result<GitStore, Error> {
    let place = root.display().to_string();
    let git = |why| Error::Git { place: place.clone(), why };
    match GitStore::open(root) {
        Ok(store) if store.head()?.is_some() || store.is_bare() != bare => return Err(Error::Exists { place }),
        Ok(_) | Err(Error::NotARepository { .. }) => {}
        Err(other) => return Err(other),
    }
    if !bare {
        for (path, text) in TEMPLATE {
            let path = root.join(path);
            if path.exists() && std::fs::read(&path).ok().as_deref() != Some(text.as_bytes()) {
                return Err(Error::InTheWay { path, why: "is in the way of the repository's own" });
            }
        }
    }
    let store = without_commit(root, bare).map_err(git)?;
    store.change(|draft| {
        for (path, text) in TEMPLATE {
            draft.put(path, text.as_bytes())?;
        }
        Ok((Some(format!("init: an empty profile repository, layout {LAYOUT}")), ()))
    })?;
    Ok(store)
}

/// A repository that packs profiles well, without a commit.
pub(super) fn without_commit(root: &Path, bare: bool) -> Result<GitStore, git2::Error> {
    let mut options = RepositoryInitOptions::new();
    options.bare(bare).mkpath(true).external_template(false).initial_head(&default_branch());
    let repo = Repository::init_opts(root, &options)?;
    let mut config = repo.config()?;
    for (key, value) in PACKING {
        config.set_str(key, value)?;
    }
    Ok(GitStore::from_repository(repo, root))
}

/// The user's `init.defaultBranch`, else "main".
fn default_branch() -> String {
    let configured = git2::Config::open_default().and_then(|config| config.get_string("init.defaultBranch"));
    configured
        .ok()
        .filter(|name| git2::Branch::name_is_valid(name).unwrap_or(false))
        .unwrap_or_else(|| "main".to_owned())
}
