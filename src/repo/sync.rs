//! A copy of another repository, kept up to date. Proxy and credentials are as the user's git has them; nobody is asked.

use super::error::Error;
use super::git_program::{remote_git, text};
use super::git_store::GitStore;
use super::incoming::{IncomingOptions, Received, Receiver};
use std::path::Path;

/// The name that git gives to where a clone came from.
pub(super) const ORIGIN: &str = "origin";

/// What the user wants of a mirror.
#[derive(Debug, Clone, Default)]
pub struct SyncOptions {
    /// What holds for bundles too.
    pub incoming: IncomingOptions,
    /// A new repository has no contents: git fetches each when it is asked for. Such a repository is bare.
    pub partial: bool,
    /// How many commits of the history are fetched; all when it is `None`.
    pub depth: Option<u32>,
}

/// Brings the repository in `root` to what the HEAD of `url` has; without `url` that of the last time. Makes the repository
/// when there is none. `progress` is given lines of git's progress.
///
/// # Errors
/// The other side is not reached, has no profiles, does not continue what is here, or is not signed as asked for. What is
/// here stays as it was.
pub fn sync(
    root: &Path,
    url: Option<&str>,
    options: &SyncOptions,
    progress: &mut dyn FnMut(&str),
) -> Result<(Received, String), Error> {
    let known = match GitStore::open(root) {
        Ok(store) => origin(&store)?,
        Err(Error::NotARepository { .. }) => None,
        Err(other) => return Err(other),
    };
    let url = match (url, known) {
        (Some(url), _) => absolute(url),
        (None, Some(known)) => known,
        (None, None) => {
            let why = "there is no address of an earlier time; `quaid repo sync URL` names it".to_owned();
            return Err(Error::Mirror { what: root.display().to_string(), why });
        }
    };
    let shown = shown_url(&url);
    if options.incoming.offline && !is_local(&url) {
        return Err(Error::Mirror { what: shown, why: "--offline forbids the network".to_owned() });
    }
    // Before a repository is made for it.
    let branch = head_of(&url).map_err(|error| hidden(error, &url))?;
    let mut incoming = options.incoming.clone();
    incoming.bare |= options.partial;
    let receiver = Receiver::open(root, &incoming)?;
    let is_new = receiver.head()?.is_none();
    if is_new {
        remember(&receiver.store, &url)?;
    }
    let mut more = Vec::new();
    if options.partial {
        let is_partial = receiver.store.is_partial();
        if !(is_partial || is_new && receiver.store.is_bare()) {
            let why = "--partial is for a new repository; this one has its contents".to_owned();
            return Err(Error::Mirror { what: receiver.store.place(), why });
        }
        more.push("--filter=blob:none".to_owned());
    }
    more.extend(options.depth.map(|depth| format!("--depth={depth}")));
    // A filter is known by the name of the other side.
    let from = if origin(&receiver.store)?.as_deref() == Some(url.as_str()) { ORIGIN } else { url.as_str() };
    let new = receiver.fetch(from, &more, &incoming, progress).map_err(|error| hidden(error, &url))?;
    let received = receiver.take(new, &branch, &shown)?;
    if origin(&receiver.store)?.is_none() {
        remember(&receiver.store, &url)?;
    }
    Ok((received, shown))
}

/// The branch that is HEAD there.
fn head_of(url: &str) -> Result<String, Error> {
    let listed = text(remote_git(None)?.args(["ls-remote", "--symref", "--", url, "HEAD"]), "ls-remote")?;
    let ends_in_head = |line: &&str| line.ends_with("\tHEAD");
    if !listed.lines().any(|line| ends_in_head(&line)) {
        let why = "it has no commit yet".to_owned();
        return Err(Error::Mirror { what: shown_url(url), why });
    }
    let symbolic = listed.lines().filter(ends_in_head).find_map(|line| line.strip_prefix("ref: "));
    let branch = symbolic.and_then(|line| line.strip_suffix("\tHEAD")).filter(|name| name.starts_with("refs/heads/"));
    Ok(branch.filter(|name| git2::Reference::is_valid_name(name)).unwrap_or("refs/heads/main").to_owned())
}

/// Where the repository came from.
fn origin(store: &GitStore) -> Result<Option<String>, Error> {
    match store.repo.find_remote(ORIGIN) {
        Ok(remote) => Ok(remote.url().ok().map(str::to_owned)),
        Err(why) if why.code() == git2::ErrorCode::NotFound => Ok(None),
        Err(why) => Err(store.error(why)),
    }
}

/// Notes where the repository came from, as `git clone` does.
fn remember(store: &GitStore, url: &str) -> Result<(), Error> {
    let set = || {
        let mut config = store.repo.config()?;
        config.set_str("remote.origin.url", url)?;
        config.set_str("remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    };
    set().map_err(|why| store.error(why))
}

/// A path as one that any folder understands; an address as it is.
fn absolute(url: &str) -> String {
    let path = Path::new(url);
    let found = path.exists().then(|| path.canonicalize().ok()).flatten();
    found.and_then(|path| path.to_str().map(str::to_owned)).unwrap_or_else(|| url.to_owned())
}

fn is_local(url: &str) -> bool {
    url.starts_with("file://") || Path::new(url).exists()
}

/// An address without user and password, for messages.
fn shown_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let host = rest.find('/').unwrap_or(rest.len());
    match rest.get(..host).and_then(|authority| authority.rfind('@')) {
        Some(at) => format!("{scheme}://{}", rest.get(at + 1..).unwrap_or_default()),
        None => url.to_owned(),
    }
}

/// git's own message without the password of the address.
fn hidden(error: Error, url: &str) -> Error {
    match error {
        Error::GitProgram { what, why } => Error::GitProgram { what, why: why.replace(url, &shown_url(url)) },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("https://me:secret@example.org/x.git", "https://example.org/x.git"),
            ("https://me:p@ss@example.org:8443/a@b", "https://example.org:8443/a@b"),
            ("https://example.org/a@b", "https://example.org/a@b"),
            ("/srv/profiles.git", "/srv/profiles.git"),
            ("git@example.org:profiles.git", "git@example.org:profiles.git"),
        ] {
            assert_eq!(shown_url(url), shown);
        }
        let error = Error::GitProgram { what: "fetch".into(), why: "unable to access 'https://a:b@c/'".into() };
        assert!(!hidden(error, "https://a:b@c/").to_string().contains("a:b"));
    }
}
