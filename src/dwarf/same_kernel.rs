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
const LANDMARKS: [&str; 3] = ["linux_banner", "init_task", "_etext"];
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

/// Checks that the symbols of `profile`, which `map` gave in this form, are those of the kernel that there is.
pub(super) fn check_map(
    map: &str,
    form: Form,
    profile: &Profile,
    elf: Option<&Elf<'_>>,
    image: Option<&Image<'_>>,
) -> Result<(), ConvertError> {
    let address = |name: &str| Some(profile.symbol(name)?.address);
    let other = elf.and_then(|elf| other_distance(elf, &address));
    let why = if let Some((name, own, theirs)) = other {
        format!("{name} is {theirs:#x} bytes behind _text, and in the kernel {own:#x}")
    } else if elf.is_some_and(|elf| elf.is_kernel() && !has_banner(elf, form, &address))
        || image.is_some_and(|image| !image.fits(form, &address))
    {
        "the kernel has no banner where its linux_banner is".to_owned()
    } else {
        return Ok(());
    };
    let why = format!("is not of the kernel that is with it: {why}; give that of the same build, or leave it out");
    Err(ConvertError::unsupported(map, why))
}

/// Whether an ELF file has a banner where these symbols of `form` have it, as far as it tells: it is linked at one place, and a
/// list of the running kernel is of another.
pub(super) fn has_banner(elf: &Elf<'_>, form: Form, address: &dyn Fn(&str) -> Option<u64>) -> bool {
    let bytes = address("linux_banner").and_then(|linked| elf.data_at(linked, BANNER_START.len()));
    form == Form::Kallsyms || bytes.is_none_or(|bytes| bytes == BANNER_START)
}

/// The first landmark that `elf` and these symbols have at different distances from the kernel's start, with both. A list of the
/// running kernel differs in the start alone.
fn other_distance(elf: &Elf<'_>, address: &dyn Fn(&str) -> Option<u64>) -> Option<(&'static str, u64, u64)> {
    let (start, their_start) = (elf.symbol_address("_text")?, address("_text")?);
    let distances = LANDMARKS.into_iter().filter_map(|name| {
        let (own, theirs) = (elf.symbol_address(name)?, address(name)?);
        Some((name, own.wrapping_sub(start), theirs.wrapping_sub(their_start)))
    });
    distances.into_iter().find(|(_, own, theirs)| own != theirs)
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
