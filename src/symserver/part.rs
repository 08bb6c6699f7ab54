//! The file that keeps what came of a transfer until it is whole, so that a cut one goes on where it ended, in this run
//! or the next.
//!
//! `TARGET.part` is one line of JSON (URL, validator, total size), then the bytes. Two programs that fetch the same
//! file do each other no harm: a new transfer makes a new file and never truncates one, and whoever resumes writes the
//! same bytes at the same place, as the server confirmed that the entity is the same.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// Longest first line that is read, in bytes.
const MAX_HEAD: u64 = 16 << 10;

/// What a partial transfer is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entity {
    /// The URL that was asked, before any redirect.
    pub(super) url: String,
    /// Strong ETag or Last-Modified; without one a transfer cannot be resumed.
    pub(super) validator: Option<String>,
    /// Size of the whole in bytes, when the server told it.
    pub(super) total: Option<u64>,
}

/// What has come of an entity so far.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) entity: Entity,
    pub(super) bytes: Vec<u8>,
    /// Where the bytes are kept too; `None` when they are not.
    file: Option<File>,
}

impl Partial {
    /// Begins a transfer; it is kept at `part` when it could be resumed.
    pub(super) fn begin(entity: Entity, part: Option<&Path>) -> io::Result<Self> {
        let file = match part {
            Some(path) if entity.validator.is_some() => {
                remove(path)?;
                let mut file = File::options().read(true).write(true).create_new(true).open(path)?;
                writeln!(file, "{}", serde_json::to_string(&entity)?)?;
                Some(file)
            }
            _ => None,
        };
        Ok(Self { entity, bytes: Vec::new(), file })
    }

    /// What an earlier run has left at `part` of `url`. `None` when that is nothing usable: it is replaced then.
    pub(super) fn load(part: &Path, url: &str, limit: u64) -> Option<Self> {
        let file = File::options().read(true).write(true).open(part).ok()?;
        let mut reader = BufReader::new(file);
        let mut head = String::new();
        (&mut reader).take(MAX_HEAD).read_line(&mut head).ok()?;
        let entity: Entity = serde_json::from_str(&head).ok()?;
        if entity.url != url || entity.validator.is_none() {
            return None;
        }
        let mut bytes = Vec::new();
        (&mut reader).take(limit).read_to_end(&mut bytes).ok()?;
        let whole = entity.total.is_some_and(|total| bytes.len() as u64 >= total);
        if bytes.is_empty() || whole {
            return None;
        }
        // All is read, so the file's own position is behind the last byte: that is where writing goes on.
        Some(Self { entity, bytes, file: Some(reader.into_inner()) })
    }

    /// Takes the next bytes. When they cannot be kept, the transfer goes on without being kept.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if self.file.as_mut().is_some_and(|file| file.write_all(bytes).is_err()) {
            self.file = None;
        }
    }

    /// Whether a later run can go on with it.
    pub(super) fn is_kept(&self) -> bool {
        self.file.is_some() && !self.bytes.is_empty()
    }
}

/// Removes a partial file; one that is not there is fine.
pub(super) fn remove(part: &Path) -> io::Result<()> {
    match std::fs::remove_file(part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The partial file of a target.
pub fn part_path(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}
