//! Places that keep profiles by name.

use crate::error::Error;
use std::io;
use std::path::{Path, PathBuf};

/// The folder of a repository that holds its profiles: the version of the data's layout.
pub const LAYOUT: &str = "v1.0";

/// The endings under which a profile may be stored; the bytes tell the compression.
const ENDINGS: [&str; 6] = ["", ".gz", ".xz", ".zst", ".json", ".json.xz"];

/// A place that keeps profiles by name: a folder, a git repository, a server.
///
/// A name is a path below the layout's folder, with `/` between its parts and without ending: `nt/GUID/<GUIDAGE>`.
/// Sources are asked for well-formed names only: no empty part, no `.` or `..`.
pub trait ProfileSource: Send + Sync {
    /// What it is, for messages: a path or a URL.
    fn place(&self) -> String;
    /// The bytes stored under `name`, exactly as stored. `None` when there is no such profile.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error>;
    /// The names directly below `folder`, without their endings; empty when there is no such folder, or the source cannot
    /// tell.
    fn list(&self, folder: &str) -> Result<Vec<String>, Error>;
}

/// Profiles in a folder: a git work tree, or any tree of plain or compressed files. Its own `v1.0` is used when it has one.
#[derive(Debug, Clone)]
pub struct DirectorySource {
    root: PathBuf,
    base: PathBuf,
}

impl DirectorySource {
    /// The profiles below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        let layout = root.join(LAYOUT);
        let base = if layout.is_dir() { layout } else { root.clone() };
        Self { root, base }
    }

    fn error(path: &Path, why: &io::Error) -> Error {
        Error::io(path.display().to_string(), why)
    }

    /// A file of the tree. One that a symbolic link leads out of the tree is refused.
    fn read_file(&self, path: &Path) -> Result<Option<Vec<u8>>, Error> {
        match path.metadata() {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Ok(None),
            Err(why) if matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(why) => return Err(Self::error(path, &why)),
        }
        let real = path.canonicalize().map_err(|why| Self::error(path, &why))?;
        let root = self.root.canonicalize().map_err(|why| Self::error(&self.root, &why))?;
        if !real.starts_with(&root) {
            return Err(Error::unsupported(
                path.display().to_string(),
                format!("leads out of the repository, to {}", real.display()),
            ));
        }
        std::fs::read(&real).map(Some).map_err(|why| Self::error(path, &why))
    }
}

impl ProfileSource for DirectorySource {
    fn place(&self) -> String {
        self.root.display().to_string()
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        for stored in stored_names(name) {
            if let Some(bytes) = self.read_file(&self.base.join(stored))? {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, Error> {
        let path = self.base.join(folder);
        let entries = match path.read_dir() {
            Ok(entries) => entries,
            Err(why) if matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(vec![]);
            }
            Err(why) => return Err(Self::error(&path, &why)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|why| Self::error(&path, &why))?;
            if let Some(name) = entry.file_name().to_str() {
                names.push(without_ending(name).to_owned());
            }
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}

/// The spellings under which a source may store `name`, the plain one first.
pub fn stored_names(name: &str) -> impl Iterator<Item = String> {
    ENDINGS.iter().map(move |ending| format!("{name}{ending}"))
}

/// A stored name without the ending that says how it is stored.
pub fn without_ending(name: &str) -> &str {
    ENDINGS
        .iter()
        .rev()
        .filter(|ending| !ending.is_empty())
        .find_map(|ending| name.strip_suffix(ending))
        .unwrap_or(name)
}
