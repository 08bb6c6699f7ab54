//! A folder as `export` writes it, without git: every file against the inventory, and what git would have told.

use super::file::{Checked, check_file};
use super::inventory::{self, Told};
use super::{Verified, check_link};
use crate::input;
use crate::repo::error::Error;
use crate::repo::layout::{check_name, name_of};
use crate::repo::rows::{INVENTORY, MAX_SIGNATURE_BYTES, Rows, SIGNATURE};
use quaid_profile::{
    DirectorySource, LAYOUT, LinuxIndex, MAX_PROFILE_BYTES, ProfilePath, ProfileSource, decompress, stored::Digest,
    without_ending,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// How deep folders are walked. The layout has seven levels.
const MAX_DEPTH: usize = 32;

/// How many files are looked at.
const MAX_FILES: usize = 1_000_000;

/// Reads everything below the layout's folder in `root`, and compares it with the inventory there, which must be signed by
/// a key of `allowed` where that is given.
///
/// # Errors
/// There is no such folder, or it has no inventory.
pub fn verify_folder(root: &Path, allowed: Option<&Path>) -> Result<Verified, Error> {
    let base = root.join(LAYOUT);
    let source = DirectorySource::new(root);
    let inventory = if base.is_dir() { source.read(INVENTORY)? } else { None };
    let Some(inventory) = inventory else {
        return Err(Error::NotARepository { place: root.display().to_string() });
    };
    let mut found = Verified::default();
    let signature = input::read(&base.join(SIGNATURE), MAX_SIGNATURE_BYTES).ok();
    let rows = inventory::read(&mut found, &inventory, signature.as_deref(), allowed);
    let (there, guids, links) = Default::default();
    let mut folder = Folder { source: &source, found, rows, there, guids, links };
    folder.walk(&base, "", MAX_DEPTH)?;
    let Folder { mut found, rows, there, guids, links, .. } = folder;
    let path = ProfilePath::new(vec![Box::new(DirectorySource::new(root))]);
    for (file, name, target) in links {
        check_link(&mut found, &path, &guids, (&file, &name), &target);
    }
    if let Some(rows) = rows {
        let mut told = Told::new(&mut found);
        for name in rows.names().filter(|name| !there.contains(*name)) {
            told.problem(&format!("{LAYOUT}/{name}"), "is in the inventory, and not there");
        }
        for name in there.iter().filter(|name| !rows.has_name(name)) {
            told.problem(
                &format!("{LAYOUT}/{name}"),
                "is not in the inventory, so that Rekall's readers do not ask for it",
            );
        }
        told.end();
    }
    Ok(found)
}

struct Folder<'s> {
    source: &'s DirectorySource,
    found: Verified,
    rows: Option<Rows>,
    /// Names of files that were read, or could not be.
    there: BTreeSet<String>,
    guids: BTreeMap<String, Option<[u8; 16]>>,
    /// File, name and target.
    links: Vec<(String, String, String)>,
}

impl Folder<'_> {
    fn walk(&mut self, folder: &Path, below: &str, depth: usize) -> Result<(), Error> {
        let io = |why| Error::Io { path: folder.to_owned(), why };
        let mut entries = folder.read_dir().and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(io)?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let leaf = entry.file_name().to_string_lossy().into_owned();
            let path = if below.is_empty() { leaf } else { format!("{below}/{leaf}") };
            let shown = format!("{LAYOUT}/{}", path.escape_debug());
            let kind = entry.file_type().map_err(io)?;
            if kind.is_dir() {
                match depth.checked_sub(1) {
                    Some(depth) => self.walk(&entry.path(), &path, depth)?,
                    None => self
                        .found
                        .problem(&shown, format!("is a folder deeper than {MAX_DEPTH}, and was not looked into")),
                }
            } else if kind.is_file() {
                if self.there.len() >= MAX_FILES {
                    let why = format!("has more than {MAX_FILES} files");
                    return Err(Error::BadTree { place: folder.display().to_string(), why });
                }
                self.file(&entry.path(), &path, &shown);
            } else {
                self.found.problem(&shown, "is no plain file, and no folder; what it leads to was not looked at");
            }
        }
        Ok(())
    }

    fn file(&mut self, file: &Path, path: &str, shown: &str) {
        // The index of Linux kernels is no profile, and has a line of its own.
        let index = Some(LinuxIndex::NAME).filter(|index| without_ending(path) == *index);
        let Some(name) = index.map(str::to_owned).or_else(|| name_of(path)) else { return };
        let checked = check_name(&name).map_err(str::to_owned).and_then(|()| {
            self.there.insert(name.clone());
            let bytes = input::read(file, MAX_PROFILE_BYTES).map_err(|why| why.to_string())?;
            let plain = decompress("", &bytes).map_err(|error| error.to_string())?;
            if let Some(rows) = &self.rows {
                rows.check(&name, &Digest::of_bytes(&plain))?;
            }
            check_file(&|part| Ok(self.source.read(part)?), "", &name, &plain)
        });
        match checked {
            Ok(Checked::Other) => {}
            Ok(Checked::Symlink(target)) => {
                self.found.links += 1;
                self.links.push((shown.to_owned(), name, target));
            }
            Ok(Checked::Profile(metadata)) => {
                self.found.profiles += 1;
                self.guids.insert(name, metadata.guid_age().map(|id| id.guid));
            }
            Err(why) => self.found.problem(shown, why),
        }
    }
}
