//! The repository as it is served: its builds, and what was made of them a moment ago.

use super::Upstream;
use crate::form::Form;
use crate::repo::build::{pdb_cache, pdb_cache_path};
use crate::repo::layout::RESERVED_FOLDERS;
use crate::repo::{Build, Catalog, Error, GitSource, GitStore, INVENTORY, Inventory, SIGNATURE, given_text};
use git2::Oid;
use lru::LruCache;
use quaid_profile::{ProfileFile, ProfileSource, normalised_name, whole};
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many bytes of made files are kept.
const MAX_CACHED_BYTES: usize = 64 << 20;
/// How many opened profiles are kept for pages.
const MAX_OPEN: NonZeroUsize = NonZeroUsize::MIN.saturating_add(7);

/// Files of the layout that are no profiles: what is built is the repository's own business, and the inventory that is
/// made here is none that was signed.
const HIDDEN_FILES: [&str; 2] = ["config.yaml", SIGNATURE];

/// What is made of a profile: its form, and whether it is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Make {
    pub(super) form: Form,
    pub(super) gzip: bool,
}

type Files = LruCache<(String, Make), Arc<[u8]>>;

/// The files of one commit.
#[derive(Default)]
struct Made {
    commit: Option<Oid>,
    bytes: usize,
    files: Option<Files>,
}

pub(super) struct Site {
    root: PathBuf,
    pub(super) source: GitSource,
    pub(super) pdbs: PathBuf,
    pub(super) upstream: Option<Upstream>,
    catalog: Mutex<Option<Arc<Catalog>>>,
    made: Mutex<Made>,
    open: Mutex<LruCache<(Oid, String), Arc<ProfileFile>>>,
}

/// Nothing here is left half done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Site {
    pub(super) fn open(root: &Path, upstream: Option<Upstream>) -> Result<Self, Error> {
        let store = GitStore::open(root)?;
        // Without an upstream server nothing is written.
        let pdbs = if upstream.is_some() { pdb_cache(&store)? } else { pdb_cache_path(&store) };
        Ok(Self {
            root: root.to_owned(),
            source: GitSource::new(store),
            pdbs,
            upstream,
            catalog: Mutex::default(),
            made: Mutex::default(),
            open: Mutex::new(LruCache::new(MAX_OPEN)),
        })
    }

    /// A handle of its own on the repository, whose HEAD may have moved.
    pub(super) fn store(&self) -> Result<GitStore, Error> {
        GitStore::open(&self.root)
    }

    /// The builds of HEAD as it is now.
    pub(super) fn catalog(&self) -> Result<Arc<Catalog>, Error> {
        let store = self.store()?;
        let commit = store.head()?.map(|head| head.commit());
        let mut known = lock(&self.catalog);
        if let Some(catalog) = known.as_ref().filter(|catalog| Some(catalog.commit) == commit) {
            return Ok(Arc::clone(catalog));
        }
        let catalog = Arc::new(Catalog::of(&store)?);
        *known = Some(Arc::clone(&catalog));
        Ok(catalog)
    }

    /// The text of a name in Rekall's layout, links as they are; `None` where there is nothing, or nothing of a reader's.
    fn text(&self, name: &str) -> anyhow::Result<Option<String>> {
        let Ok(name) = normalised_name(name) else { return Ok(None) };
        let parts: Vec<&str> = name.split('/').collect();
        let hidden = HIDDEN_FILES.contains(&name.as_str())
            || parts.first().is_some_and(|first| RESERVED_FOLDERS.contains(first))
            || parts.get(1) == Some(&"symbols");
        if hidden || parts.iter().any(|part| part.starts_with('.')) {
            return Ok(None);
        }
        let Some(bytes) = self.source.read(&name)? else { return Ok(None) };
        let file = whole(ProfileFile::parse(&name, &bytes)?, |part| self.source.read(part))?;
        Ok(Some(given_text(&file)?.into_owned()))
    }

    /// The profile of a build, opened.
    pub(super) fn profile(&self, build: &Build) -> anyhow::Result<Arc<ProfileFile>> {
        let key = (build.id, build.name.clone());
        if let Some(file) = lock(&self.open).get(&key) {
            return Ok(Arc::clone(file));
        }
        let bytes = self.source.read(&build.name)?;
        let bytes = bytes.ok_or_else(|| anyhow::anyhow!("{} is not there any more", build.name))?;
        let file = Arc::new(whole(ProfileFile::parse(&build.name, &bytes)?, |part| self.source.read(part))?);
        lock(&self.open).put(key, Arc::clone(&file));
        Ok(file)
    }

    /// A profile's file in a form, made at most once while it is kept; `None` where there is no such name.
    pub(super) fn file(&self, name: &str, make: Make) -> anyhow::Result<Option<Arc<[u8]>>> {
        let commit = self.store()?.head()?.map(|head| head.commit());
        let key = (name.to_owned(), make);
        {
            let mut made = lock(&self.made);
            if made.commit != commit {
                *made = Made { commit, ..Made::default() };
            }
            if let Some(bytes) = made.files.as_mut().and_then(|files| files.get(&key)) {
                return Ok(Some(Arc::clone(bytes)));
            }
        }
        let text = match name {
            // Whatever a file of that name says. It takes the longest of all, and changes with the commit alone.
            INVENTORY if make.form == Form::Rekall => Some(Inventory::of(&self.store()?, "")?.rows()?.0.to_json()?),
            _ => self.text(name)?,
        };
        let Some(text) = text else { return Ok(None) };
        let text = match make.form {
            Form::Rekall => text,
            form => form.print(&ProfileFile::parse(name, text.as_bytes())?.decode()?).0,
        };
        let bytes: Arc<[u8]> = if make.gzip { gzip(&text)?.into() } else { text.into_bytes().into() };
        let mut made = lock(&self.made);
        if made.commit == commit && bytes.len() <= MAX_CACHED_BYTES {
            made.put(key, &bytes);
        }
        Ok(Some(bytes))
    }
}

impl Made {
    fn put(&mut self, key: (String, Make), bytes: &Arc<[u8]>) {
        let files = self.files.get_or_insert_with(LruCache::unbounded);
        self.bytes += bytes.len();
        if let Some(old) = files.put(key, Arc::clone(bytes)) {
            self.bytes -= old.len();
        }
        while self.bytes > MAX_CACHED_BYTES {
            let Some((_, old)) = files.pop_lru() else { break };
            self.bytes -= old.len();
        }
    }
}

/// Level 1: the text is made once, and sent at once.
fn gzip(text: &str) -> std::io::Result<Vec<u8>> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(text.as_bytes())?;
    writer.finish()
}
