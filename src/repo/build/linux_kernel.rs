//! The profile of one Linux kernel, from its debugging information.

use super::super::add::{Added, Checked, SMALL_INDEX, check_banner, place_all, refused};
use super::super::error::Error;
use super::super::git_store::GitStore;
use super::windows::message;
use crate::{dwarf, input};
use quaid_profile::{ProfileFile, trimmed_banner};
use std::path::Path;

/// Makes the profile of the kernel whose debugging information is `file`, with its banner, and commits it. The file does not
/// have the text of the banner: the caller knows that it is of this build.
///
/// # Errors
/// The file gives no profile, it is that of a kernel of another release, or the repository cannot be written.
pub fn build_linux_kernel(store: &GitStore, file: &Path, banner: &str) -> Result<Added, Error> {
    let label = input::shown(Path::new(file.file_name().unwrap_or_default()));
    let (profile, _) = dwarf::convert(file).map_err(|why| refused(&label, format!("gives no profile: {why}")))?;
    let parsed = ProfileFile::parse(&label, profile.to_rekall().as_bytes())?;
    check_banner(parsed.metadata(), trimmed_banner(banner)).map_err(|why| refused(&label, why))?;
    let prepared = Checked::of(&label, &parsed, Some(banner), None)?.write(store, label.clone())?;
    let (_, mut placed) = store.change(|draft| {
        let mut lines = Vec::new();
        let placed = place_all(draft, std::iter::once(&prepared), false, SMALL_INDEX, &mut lines)?;
        Ok((Some(message("Linux", &lines)), placed.outcomes))
    })?;
    placed.pop().unwrap_or_else(|| Err(refused(&label, "it was not placed")))
}
