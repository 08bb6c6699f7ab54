//! Symlink profiles: another name for a profile.

use super::add::{check_free, existing};
use super::error::Error;
use super::git_source::GitSource;
use super::git_store::GitStore;
use super::layout::{check_guid, path_of, writable_name};
use git2::Oid;
use quaid_profile::{MAX_SYMLINKS, Profile, ProfilePath, Step, normalised_name};

/// A Symlink as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    /// Its name.
    pub name: String,
    /// Where it leads.
    pub target: String,
}

/// Makes `name` a Symlink to `target`, in one commit; none when it is one already. A Symlink that leads elsewhere is
/// replaced only when `replace` says so, a profile never.
///
/// # Errors
/// `target` does not resolve, or the Symlink would close a circle; `name` is a folder, a profile, or goes through one.
pub fn link(store: &GitStore, name: &str, target: &str, replace: bool) -> Result<(Option<Oid>, Linked), Error> {
    store.profiles()?;
    let name = writable_name(name)?;
    let bad_target = |why: String| Error::Link { name: name.clone(), target: target.to_owned(), why };
    let asked = normalised_name(target).map_err(|error| bad_target(error.to_string()))?;
    let refused = |why: String| Error::Link { name: name.clone(), target: asked.clone(), why };
    let source = ProfilePath::new(vec![Box::new(GitSource::open(&store.root)?)]);
    store.change(|draft| {
        check_free(draft, &name).map_err(refused)?;
        // The chain of names: as it was asked for, then each as it is stored, the end first.
        let mut chain = vec![asked.clone()];
        let mut observe = |step| {
            if let Step::Loaded { name, .. } = step {
                chain.push(name);
            }
        };
        let loaded = source.load_stored(&asked, &mut observe);
        let found = loaded.map_err(|error| refused(format!("the target gives no profile: {error}")))?;
        let target = chain.last().cloned().unwrap_or_else(|| asked.clone());
        if chain.contains(&name) {
            return Err(refused("that would be a circle".to_owned()));
        }
        if chain.len() > MAX_SYMLINKS + 1 {
            return Err(refused(format!("more than {MAX_SYMLINKS} Symlinks in a row")));
        }
        let old = existing(draft, &name)?;
        if let Some(old) = &old {
            match old.file.metadata().symlink_target() {
                Some(known) if known == target => {
                    return Ok((None, Linked { name: name.clone(), target }));
                }
                Some(known) if !replace => {
                    return Err(refused(format!("it leads to {known} now; --replace lets it lead elsewhere")));
                }
                Some(_) => {}
                None => return Err(refused(format!("{name} is a profile"))),
            }
        }
        check_guid(&name, found.profile.metadata().guid_age()).map_err(refused)?;
        let path = old.map_or_else(|| path_of(&name), |old| old.path);
        draft.put(&path, Profile::symlink(&target).to_rekall().as_bytes())?;
        Ok((Some(format!("link: {name} -> {target}")), Linked { name: name.clone(), target }))
    })
}
