//! Which build a file is: the build-id and banner of an ELF file or a kernel image, without its types.

use super::ConvertError;
use super::image;
use crate::unpack::kernel_image::KernelImage;
use crate::unpack::{Bounded, Budget, Bytes};
use object::{Object as _, ObjectKind};
use quaid_profile::BuildId;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

/// How much of a file tells what it is, in bytes.
const HEAD_BYTES: u64 = 4096;

/// What an ELF file or a kernel image tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildIdentity {
    /// The build-id of its notes.
    pub build_id: Option<BuildId>,
    /// The banner, of a kernel.
    pub banner: Option<String>,
}

/// The build-id in the notes of an ELF file of any kind and architecture; `None` when it has none.
///
/// # Errors
/// Its headers or notes are damaged: where.
pub fn build_id(bytes: &[u8]) -> Result<Option<BuildId>, String> {
    let text = |why: object::Error| why.to_string();
    let file = object::File::parse(bytes).map_err(text)?;
    Ok(file.build_id().map_err(text)?.and_then(BuildId::from_bytes))
}

/// The identity of the ELF file or the kernel image (`vmlinuz`) at `path`; `None` when it is something else: a core, which
/// is an image of memory, or no ELF file at all.
///
/// # Errors
/// It cannot be read, or is damaged.
pub fn identify(path: &Path) -> Result<Option<BuildIdentity>, ConvertError> {
    let place = path.display().to_string();
    let io = |why| ConvertError::io(path, why);
    let damaged = |why: &dyn std::fmt::Display| ConvertError::corrupt(&place, format!("damaged: {why}"));
    let mut file = File::open(path).map_err(io)?;
    let mut head = Vec::new();
    file.by_ref().take(HEAD_BYTES).read_to_end(&mut head).map_err(io)?;
    file.rewind().map_err(io)?;
    let image = KernelImage::of(&head);
    if !head.starts_with(b"\x7fELF") && image.is_none() {
        return Ok(None);
    }
    let mut bytes = Bytes::map(&file).map_err(io)?;
    if let Some(image) = image {
        let budget = Budget::new();
        budget.add_file(bytes.len() as u64);
        let (payload, compression) = image.payload(&bytes).map_err(|why| damaged(&why))?;
        let unpacked = compression.map(|compression| -> io::Result<Bytes> {
            Bytes::store(&mut Bounded::new(compression.decoder(payload)?, &budget))
        });
        if let Some(unpacked) = unpacked.transpose().map_err(|why| damaged(&why))? {
            bytes = unpacked;
        }
    }
    if !bytes.starts_with(b"\x7fELF") {
        let (build_id, banner) = image::flat_identity(&bytes);
        return Ok(Some(BuildIdentity { build_id, banner }));
    }
    let elf = object::File::parse(&*bytes).map_err(|why| damaged(&why))?;
    if elf.kind() == ObjectKind::Core {
        return Ok(None);
    }
    let build_id = elf.build_id().map_err(|why| damaged(&why))?.and_then(BuildId::from_bytes);
    Ok(Some(BuildIdentity { build_id, banner: image::banner(&bytes) }))
}
