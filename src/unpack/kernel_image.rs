//! Kernel images as boot loaders start them: what is packed in them.

use super::compression::Compression;
use std::io;

/// A kernel image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KernelImage {
    /// `vmlinuz` of x86: real-mode code, then the compressed kernel (Documentation/arch/x86/boot.rst).
    BzImage,
    /// `vmlinuz.efi` of other architectures: an EFI program with the compressed kernel (drivers/firmware/efi/libstub/
    /// zboot-header.S).
    Zboot,
    /// `Image` of arm64 and riscv64: the kernel itself, not packed, without ELF headers.
    Flat,
}

impl KernelImage {
    /// What `head`, the first 1 KiB or more, begins as.
    pub(crate) fn of(head: &[u8]) -> Option<Self> {
        if head.get(0x1fe..0x206) == Some(b"\x55\xaa\xeb\x6cHdrS") || head.get(0x202..0x206) == Some(b"HdrS") {
            Some(Self::BzImage)
        } else if head.starts_with(b"MZ") && head.get(4..8) == Some(b"zimg") {
            Some(Self::Zboot)
        } else if matches!(head.get(0x38..0x3c), Some(b"ARM\x64" | b"RSC\x05")) {
            Some(Self::Flat)
        } else {
            None
        }
    }

    /// The packed kernel in `image`, and how it is compressed, if it is; the whole where nothing is packed.
    pub(crate) fn payload(self, image: &[u8]) -> io::Result<(&[u8], Option<Compression>)> {
        let error = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
        let half = |at: usize| Some(u16::from_le_bytes(image.get(at..at + 2)?.try_into().ok()?));
        let word = |at: usize| Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?) as usize);
        let (start, len) = match self {
            Self::Flat => return Ok((image, None)),
            Self::BzImage => {
                let version = half(0x206).ok_or_else(|| error("is cut within its boot header"))?;
                if version < 0x208 {
                    let why = format!(
                        "is a kernel image of boot protocol {}.{:02}, which does not tell where the kernel is; unpack it with scripts/extract-vmlinux of the kernel's tree",
                        version >> 8,
                        version & 0xff
                    );
                    return Err(io::Error::new(io::ErrorKind::Unsupported, why));
                }
                // 0 stands for 4 sectors of real-mode code, to which the boot sector is added.
                let sectors = image.get(0x1f1).map(|&sectors| if sectors == 0 { 4 } else { usize::from(sectors) });
                let offset =
                    sectors.zip(word(0x248)).and_then(|(sectors, offset)| ((sectors + 1) * 512).checked_add(offset));
                (offset, word(0x24c))
            }
            Self::Zboot => (word(8), word(12)),
        };
        let payload = start.zip(len).and_then(|(start, len)| image.get(start..start.checked_add(len)?));
        let payload = payload.ok_or_else(|| error("is a kernel image whose packed kernel lies outside the file"))?;
        let compression = Compression::of(payload)
            .ok_or_else(|| error("is a kernel image whose packed kernel is compressed in a way that is not known"))?;
        // The kernel's build appends the unpacked length, except to gzip, which has it anyway; zboot does not count it.
        let appended = if self == Self::BzImage && compression != Compression::Gzip { 4 } else { 0 };
        let end = payload.len().checked_sub(appended).ok_or_else(|| error("is a kernel image without a kernel"))?;
        Ok((payload.get(..end).unwrap_or_default(), Some(compression)))
    }
}
