//! Places that keep profiles by name.

use crate::compress::MAX_PROFILE_BYTES;
use crate::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The folder of a repository that holds its profiles: the version of the data's layout.
pub const LAYOUT: &str = "v1.0";

/// The endings under which a profile may be stored, those of two parts last; the bytes tell the compression.
const ENDINGS: [&str; 8] = ["", ".gz", ".xz", ".zst", ".json", ".json.gz", ".json.xz", ".json.zst"];

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
        read_limited(path).map(Some)
    }
}

impl DirectorySource {
    /// The names directly in a folder, as they are.
    fn names_in(&self, folder: &str) -> Result<Vec<String>, Error> {
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
            names.extend(entry.file_name().to_str().map(str::to_owned));
        }
        Ok(names)
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
        list_sharded(folder, |folder| self.names_in(folder))
    }
}

/// The bytes of a file, which must not have more than [`MAX_PROFILE_BYTES`].
pub(crate) fn read_limited(path: &Path) -> Result<Vec<u8>, Error> {
    let place = path.display().to_string();
    let file = File::open(path).map_err(|why| Error::io(&place, &why))?;
    let length = file.metadata().map_err(|why| Error::io(&place, &why))?.len();
    if length > MAX_PROFILE_BYTES {
        let most = MAX_PROFILE_BYTES >> 20;
        return Err(Error::unsupported(
            place,
            format!("not a profile: it has {length} bytes, and a profile at most {most} MiB"),
        ));
    }
    let mut bytes = Vec::new();
    // A file may grow while it is read, and a device has no length.
    file.take(MAX_PROFILE_BYTES).read_to_end(&mut bytes).map_err(|why| Error::io(&place, &why))?;
    Ok(bytes)
}

/// The spellings under which a source may store `name`, the plain one first.
pub fn stored_names(name: &str) -> impl Iterator<Item = String> {
    let sharded = sharded(name);
    let names = [Some(name.to_owned()), sharded].into_iter().flatten();
    let names: Vec<String> = names.collect();
    ENDINGS
        .iter()
        .flat_map(move |ending| names.iter().map(move |name| format!("{name}{ending}")).collect::<Vec<String>>())
}

/// Folders that a repository divides by the first two digits of the names in them, so that none has ten thousand.
const SHARDED: [&str; 2] = ["GUID", "BUILDID"];
/// The digits of a GUID, which a build-id has as well.
const SHARDED_DIGITS: usize = 32;

/// Where a repository stores `name` when its folder is divided: `nt/GUID/3A/3A...`. `None` for the names of other folders.
pub fn sharded(name: &str) -> Option<String> {
    let (folder, leaf) = name.rsplit_once('/')?;
    let divided = SHARDED.contains(&folder.rsplit('/').next()?);
    let digits = leaf.get(..SHARDED_DIGITS)?.bytes().all(|b| b.is_ascii_hexdigit());
    (divided && digits).then(|| format!("{folder}/{}/{leaf}", leaf.get(..2).unwrap_or_default()))
}

/// The name of what is stored at `path`: the reverse of [`sharded`].
pub fn unsharded(path: &str) -> String {
    let name = path.rsplit_once('/').and_then(|(folder, leaf)| {
        let name = format!("{}/{leaf}", folder.rsplit_once('/')?.0);
        (sharded(without_ending(&name)).as_deref() == Some(without_ending(path))).then_some(name)
    });
    name.unwrap_or_else(|| path.to_owned())
}

/// The names in `folder`, when `list` gives those directly in one: the parts of a divided folder are one folder.
pub fn list_sharded<E>(folder: &str, list: impl Fn(&str) -> Result<Vec<String>, E>) -> Result<Vec<String>, E> {
    let mut names = Vec::new();
    let divided = folder.rsplit('/').next().is_some_and(|last| SHARDED.contains(&last));
    for name in list(folder)? {
        if divided && name.len() == 2 {
            names.extend(list(&format!("{folder}/{name}"))?);
        } else {
            names.push(name);
        }
    }
    for name in &mut names {
        name.truncate(without_ending(name).len());
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_too_long_for_a_profile_is_not_read() {
        let tree = tempfile::tempdir().expect("a folder");
        let path = tree.path().join("memory.raw");
        File::create(&path).and_then(|file| file.set_len(MAX_PROFILE_BYTES + 1)).expect("a sparse file");
        let by_path = crate::ProfileFile::open(&path).expect_err("too long").to_string();
        let by_name = DirectorySource::new(tree.path()).read("memory.raw").expect_err("too long").to_string();
        assert_eq!(by_path, by_name);
        assert!(by_path.contains("536870913 bytes, and a profile at most 512 MiB"), "{by_path}");
    }
}
