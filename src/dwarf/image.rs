//! What a `vmlinuz` or `Image` unpacks to: the kernel without its symbol table and debugging information, in which BTF,
//! banner and build-id are left.

use super::ConvertError;
use super::elf::Elf;
use super::same_kernel;
use super::system_map::Form;
use crate::btf;
use quaid_analyzer::scan::build_id;
use quaid_profile::{Arch, BuildId};

/// How many places that look like the start of BTF are tried in a kernel without section headers.
const MAX_TRIED: usize = 1024;
/// How `linux_banner` begins.
pub(super) const BANNER_START: &[u8] = b"Linux version ";
/// Longer banners do not exist: the kernel prints it through a buffer of 1,024 bytes.
pub(super) const MAX_BANNER_BYTES: usize = 1024;

/// What an unpacked kernel tells of itself.
pub(super) struct Image<'d> {
    pub(super) arch: Option<Arch>,
    pub(super) btf: Option<&'d [u8]>,
    pub(super) banner: Option<String>,
    pub(super) build_id: Option<BuildId>,
    /// Where the banner is in `bytes`.
    banner_at: Option<usize>,
    bytes: &'d [u8],
    /// An ELF file tells where in memory it is; the rest does not.
    elf: Option<Elf<'d>>,
}

impl<'d> Image<'d> {
    /// Looks into an unpacked kernel; `place` names it in messages.
    pub(super) fn parse(place: &'d str, bytes: &'d [u8]) -> Result<Self, ConvertError> {
        if bytes.starts_with(b"\x7fELF") {
            let elf = Elf::parse(place, bytes)?;
            return Ok(Self {
                arch: Some(elf.arch),
                btf: elf.btf().or_else(|| find_btf(bytes)),
                banner: banner(bytes),
                build_id: elf.build_id(),
                banner_at: None,
                bytes,
                elf: Some(elf),
            });
        }
        let arch = match bytes.get(0x38..0x3c) {
            Some(b"ARM\x64") => Some(Arch::Arm64),
            Some(b"RSC\x05") => Some(Arch::Riscv64),
            _ => None,
        };
        let (banner_at, banner) = find_banner(bytes).unzip();
        let build_id = banner_at.and_then(|at| build_id::of_image(bytes, at));
        Ok(Self { arch, btf: find_btf(bytes), banner, build_id, banner_at, bytes, elf: None })
    }

    /// Whether its banner is where these symbols of `form` have it, as far as it tells.
    pub(super) fn fits(&self, form: Form, address: &dyn Fn(&str) -> Option<u64>) -> bool {
        match (&self.elf, &self.banner, self.banner_at) {
            (Some(elf), ..) => form == Form::Kallsyms || same_kernel::has_banner(elf, address),
            (None, Some(banner), Some(at)) => {
                let read = |at: u64, buffer: &mut [u8]| {
                    let start = usize::try_from(at).ok();
                    let found = start.and_then(|start| self.bytes.get(start..start.checked_add(buffer.len())?));
                    found.inspect(|bytes| buffer.copy_from_slice(bytes)).is_some()
                };
                same_kernel::is_banner_of(at as u64, banner, address, &read)
            }
            _ => true,
        }
    }
}

/// The build-id and the banner of a kernel as it lies in memory, which has notes but no headers that tell where.
pub(super) fn flat_identity(bytes: &[u8]) -> (Option<BuildId>, Option<String>) {
    match find_banner(bytes) {
        Some((at, banner)) => (build_id::of_image(bytes, at), Some(banner)),
        None => (None, None),
    }
}

/// The text of `linux_banner` in a kernel, without the newline at its end.
pub(super) fn banner(bytes: &[u8]) -> Option<String> {
    find_banner(bytes).map(|(_, banner)| banner)
}

/// The banner, and where it is.
fn find_banner(bytes: &[u8]) -> Option<(usize, String)> {
    let mut found = memchr::memmem::find_iter(bytes, BANNER_START).take(MAX_TRIED);
    found.find_map(|start| Some((start, banner_at_start(bytes.get(start..)?)?.to_owned())))
}

/// The banner that `bytes` begin with, without the newline and the NUL that end it.
pub(super) fn banner_at_start(bytes: &[u8]) -> Option<&str> {
    let text = bytes.get(..MAX_BANNER_BYTES).unwrap_or(bytes);
    let text = std::str::from_utf8(text.get(..memchr::memchr(0, text)?)?).ok()?;
    // Another text, of /proc/version, has `%s` in the place of the release, and since 6.1 one has no number of the build.
    let line = text.strip_suffix('\n').filter(|line| !line.contains('\n'))?;
    let release = line.as_bytes().strip_prefix(BANNER_START)?;
    let whole = release.first().is_some_and(u8::is_ascii_digit) && line.contains('#') && !line.contains(" # ");
    whole.then_some(line)
}

/// The BTF in a kernel without section headers: the longest, because a kernel may carry that of its modules.
fn find_btf(bytes: &[u8]) -> Option<&[u8]> {
    // Magic, version 1, no flags, a header of 24 bytes.
    let little = memchr::memmem::find_iter(bytes, &[0x9f, 0xeb, 1, 0, 24, 0, 0, 0]);
    let big = memchr::memmem::find_iter(bytes, &[0xeb, 0x9f, 1, 0, 0, 0, 0, 24]);
    let found = little.take(MAX_TRIED).chain(big.take(MAX_TRIED)).filter_map(|start| {
        let rest = bytes.get(start..)?;
        rest.get(..btf::length(rest)?).filter(|found| !btf::is_split(found))
    });
    found.max_by_key(|found| found.len())
}
