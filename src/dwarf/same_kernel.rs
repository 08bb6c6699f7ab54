//! Whether files are of one kernel: with the System.map of another one every address of a profile would be wrong.

use super::ConvertError;
use super::elf::Elf;
use super::image::{BANNER_START, Image};
use super::source::Source;
use super::system_map::Form;
use quaid_profile::{Profile, release_of};

/// Kernels are loaded by whole pages of the smallest size, in bytes.
const PAGE_BYTES: u64 = 4096;
/// Symbols that every kernel has, far from each other: what lies between differs from build to build.
const LANDMARKS: [&str; 5] = ["_text", "_stext", "_etext", "linux_banner", "init_task"];
/// `struct uts_namespace` begins with what `uname` prints, six texts of 65 bytes, behind a counter in older kernels
/// (include/linux/utsname.h).
const UTS_BYTES: usize = 6 * 65 + 8;

/// Checks that all files that tell a release tell the same one: by what is in them, or by their names.
pub(super) fn check_releases(source: &Source, elf: Option<&Elf<'_>>, banner: Option<&str>) -> Result<(), ConvertError> {
    let mut told: Vec<(String, String)> = Vec::new();
    if let Some((elf, release)) = elf.and_then(|elf| Some((elf, elf.release()?))) {
        told.push((elf.place().to_owned(), release));
    }
    if let Some(release) = banner.and_then(release_of) {
        told.push((source.place.clone(), release.to_owned()));
    }
    told.extend(source.files.releases_by_name().map(|(place, release)| (place.to_owned(), release.to_owned())));
    // A name may leave out the end: `System.map-6.1.55` of 6.1.55-custom.
    let continues = |whole: &str, start: &str| {
        whole.strip_prefix(start).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
    };
    let agree = |one: &str, other: &str| continues(one, other) || continues(other, one);
    let Some(((place, release), rest)) = told.split_first() else { return Ok(()) };
    match rest.iter().find(|(_, other)| !agree(release, other)) {
        Some((other_place, other)) => {
            let why = format!(
                "is of the kernel {other}, and {place} of {release}: of files of two kernels no true profile can be made; give those of one (rename the file if only its name is wrong)"
            );
            Err(ConvertError::unsupported(other_place, why))
        }
        None => Ok(()),
    }
}

/// Checks that the symbols of `profile`, which `map` gave in this form, are those of the kernel that there is. Gives how far
/// they are from where that is linked, in bytes, where a kernel's own symbols tell: a running one was moved.
pub(super) fn check_map(
    map: &str,
    form: Form,
    profile: &Profile,
    elf: Option<&Elf<'_>>,
    image: Option<&Image<'_>>,
) -> Result<Option<u64>, ConvertError> {
    let address = |name: &str| Some(profile.symbol(name)?.address);
    let kernel = elf.filter(|elf| elf.is_kernel());
    let slide = kernel.map_or(Ok(None), |kernel| slide(kernel, &address));
    let linked = |name: &str| Some(address(name)?.wrapping_sub(slide.as_ref().ok().copied().flatten().unwrap_or(0)));
    let why = match &slide {
        Err(why) => why.clone(),
        Ok(known)
            if kernel
                .is_some_and(|kernel| (known.is_some() || form == Form::SystemMap) && !has_banner(kernel, &linked))
                || image.is_some_and(|image| !image.fits(form, &address)) =>
        {
            "the kernel has no banner where its linux_banner is".to_owned()
        }
        Ok(_) => return slide.or(Ok(None)),
    };
    let why = format!("is not of the kernel that is with it: {why}; give that of the same build, or leave it out");
    Err(ConvertError::unsupported(map, why))
}

/// Whether an ELF file has a banner where these symbols have it, linked as it is, as far as it tells.
pub(super) fn has_banner(elf: &Elf<'_>, linked: &dyn Fn(&str) -> Option<u64>) -> bool {
    let bytes = linked("linux_banner").and_then(|linked| elf.data_at(linked, BANNER_START.len()));
    bytes.is_none_or(|bytes| bytes == BANNER_START)
}

/// How far these symbols are from those that `elf` has of its own: a list of the running kernel is by one distance, of whole
/// pages. `None` where they have no landmark in common. The error says how they differ.
fn slide(elf: &Elf<'_>, address: &dyn Fn(&str) -> Option<u64>) -> Result<Option<u64>, String> {
    let mut first: Option<(&str, u64)> = None;
    for name in LANDMARKS {
        let Some((own, theirs)) = elf.symbol_address(name).zip(address(name)) else { continue };
        let distance = theirs.wrapping_sub(own);
        let &mut (known, by) = first.get_or_insert((name, distance));
        if by != distance {
            return Err(format!("{name} is {distance:#x} behind where the kernel has it, and {known} {by:#x}"));
        }
        if distance % PAGE_BYTES != 0 {
            return Err(format!("{name} is {distance:#x} behind where the kernel has it, which is no number of pages"));
        }
    }
    Ok(first.map(|(_, distance)| distance))
}

/// Whether a banner that lies at `at`, wherever that is counted from, may be the one whose address the symbols tell: kernels are
/// loaded by whole pages, and the `init_uts_ns` names the same release. `read` fills a buffer from a place, counted as `at` is, or
/// says that it is not there.
pub(super) fn is_banner_of(
    at: u64,
    banner: &str,
    address: &dyn Fn(&str) -> Option<u64>,
    read: &dyn Fn(u64, &mut [u8]) -> bool,
) -> bool {
    let Some(linked) = address("linux_banner") else { return true };
    let distance = linked.wrapping_sub(at);
    if distance % PAGE_BYTES != 0 {
        return false;
    }
    let (Some(uts), Some(release)) = (address("init_uts_ns"), release_of(banner)) else { return true };
    let mut names = [0; UTS_BYTES];
    // What a damaged image lacks says nothing against it.
    !read(uts.wrapping_sub(distance), &mut names) || memchr::memmem::find(&names, release.as_bytes()).is_some()
}
