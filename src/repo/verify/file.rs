//! One file of a repository.

use crate::repo::error::Error;
use crate::repo::layout::{guid_of, is_index};
use quaid_profile::{
    Metadata, ProfileFile, decompress, normalised_name,
    stored::{self, STORED},
};

/// What reads a file by its name below the layout's folder.
pub(super) type Read<'r> = dyn Fn(&str) -> Result<Option<Vec<u8>>, Error> + 'r;

/// What a file is.
pub(super) enum Checked {
    Profile(Metadata),
    Symlink(String),
    /// An index or another file of a repository: well formed.
    Other,
}

/// Whether a file is well formed, canonical, and of the GUID that its name says. `read` gives the others that a profile is
/// stored in.
pub(super) fn check_file(read: &Read<'_>, path: &str, name: &str, bytes: &[u8]) -> Result<Checked, String> {
    let text = |error: quaid_profile::Error| error.to_string();
    let plain = decompress(path, bytes).map_err(text)?;
    let mut file = ProfileFile::parse("", &plain).map_err(text)?;
    check_canonical(&file)?;
    if file.metadata().kind() == STORED {
        let whole = stored::join(&file, read).map_err(|error: Error| error.to_string())?;
        if !stored::is_whole(&file, &whole).map_err(text)? {
            return Err("its types or its symbols are not those that it was stored with".to_owned());
        }
        file = ProfileFile::parse("", whole.as_bytes()).map_err(text)?;
        check_canonical(&file)?;
    }
    if normalised_name(name).ok().as_deref() != Some(name) {
        return Err("the name cannot be asked for: GUIDs are in upper case".to_owned());
    }
    match (file.metadata().kind(), file.metadata().symlink_target()) {
        // Rekall calls its indexes profiles.
        ("Profile", _) if is_index(name) => return Ok(Checked::Other),
        ("Profile", _) => {}
        (_, Some(target)) => return Ok(Checked::Symlink(target.to_owned())),
        ("Symlink", None) => return Err("is a Symlink without a Target".to_owned()),
        _ => return Ok(Checked::Other),
    }
    file.decode().map_err(text)?;
    let metadata = file.metadata().clone();
    match (guid_of(name), metadata.guid_age()) {
        (Some(named), inside) if Some(named) != inside.map(|inside| inside.guid) => {
            let inside = inside.map_or_else(|| "no GUID".to_owned(), |guid| guid.to_string());
            Err(format!("has {inside} inside"))
        }
        _ => Ok(Checked::Profile(metadata)),
    }
}

fn check_canonical(file: &ProfileFile) -> Result<(), String> {
    if file.canonical().map_err(|error| error.to_string())? == file.text() {
        return Ok(());
    }
    Err("is not in canonical form; `quaid repo add --replace` of the file stores it so".to_owned())
}
