//! The profile of a macOS kernel, from Mach-O files: types of the one with DWARF, symbols and banner of the one that was
//! loaded.

use super::macho::MachO;
use super::source::{Input, Source};
use super::symbols::Symbols;
use super::system_map::Form;
use super::types::Origin;
use super::{ConvertError, ConvertReport, Options, add_dwarf, dsymutil_text, vtypes};
use quaid_profile::{Arch, Profile};
use std::path::Path;

/// One build of one of the files.
struct Build<'d> {
    input: &'d Input,
    file: MachO<'d>,
}

impl Build<'_> {
    /// Architecture and UUID, as messages name them.
    fn identity(&self) -> String {
        let uuid = self.file.uuid.map_or_else(|| "no UUID".to_owned(), |uuid| uuid.to_string());
        format!("{} ({uuid})", apple_name(self.file.arch))
    }

    /// Whether both are of one link: the same architecture and UUID.
    fn same_link(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || self.file.uuid.is_some() && self.key() == other.key()
    }

    fn key(&self) -> (&'static str, Option<[u8; 16]>) {
        (self.file.arch.name(), self.file.uuid.map(|uuid| uuid.0))
    }
}

/// What Apple's tools call an architecture.
fn apple_name(arch: Arch) -> &'static str {
    match arch {
        Arch::I386 => "i386",
        Arch::Amd64 => "x86_64",
        Arch::Arm => "arm",
        Arch::Arm64 => "arm64",
        other => other.name(),
    }
}

/// Whether `name`, which the user typed, means `arch`: the name of a profile or of Apple's tools.
fn is_called(arch: Arch, name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name == apple_name(arch) || name.eq_ignore_ascii_case(arch.name()) || arch == Arch::Arm64 && name == "arm64e"
}

/// Adds types, symbols and identity of the one build that is meant.
pub(super) fn add(
    source: &Source,
    options: &Options,
    profile: &mut Profile,
    report: &mut ConvertReport,
) -> Result<(), ConvertError> {
    if let (Some(types), true) = (&source.files.vtypes, source.files.mach_o.is_empty()) {
        return add_vtypes(source, types, options, profile, report);
    }
    let mut builds = Vec::new();
    for input in &source.files.mach_o {
        builds.extend(MachO::builds(&input.name, input.bytes())?.into_iter().map(|file| Build { input, file }));
    }
    if let Some(name) = &options.arch {
        let known: Vec<String> = builds.iter().map(Build::identity).collect();
        builds.retain(|build| is_called(build.file.arch, name));
        if builds.is_empty() {
            let why = format!("has no build for --arch {name}; it has {}", known.join(", "));
            return Err(ConvertError::missing(&source.place, why));
        }
    }
    let debug = choose(source, &builds)?;
    let belongs = |input: &Input| builds.iter().any(|build| std::ptr::eq(build.input, input) && build.same_link(debug));
    if let Some(other) = builds.iter().find(|build| build.input.is_given() && !belongs(build.input)) {
        return Err(ConvertError::unsupported(
            other.file.place(),
            format!(
                "is the build {}, and the debugging information of {} is that of {}; give the dSYM of the same link",
                other.identity(),
                debug.file.place(),
                debug.identity()
            ),
        ));
    }
    let mut link = builds.iter().filter(|build| build.same_link(debug));
    let banner = link.clone().find_map(|build| build.file.banner());
    let symbols_of = link.find(|build| !build.file.has_dwarf() && build.file.has_symbols()).unwrap_or(debug);
    let mut symbols = Symbols::default();
    if symbols_of.file.is_linked() {
        symbols_of.file.add_symbols(&mut symbols);
    } else {
        report.unlinked = true;
    }
    symbols.put(Form::SystemMap, profile, report);
    let origin = Origin { place: debug.file.place(), arch: debug.file.arch, of_module: false, moved: None };
    add_dwarf(origin, &[debug.file.debug_sections()?], profile, report)?;

    // The linker's `__mh_execute_header`: where the kernel's Mach-O header is, and with it its first segment.
    if let Some(base) = profile.symbol("_mh_execute_header") {
        profile.metadata.set("KernelBase", format!("{:#x}", base.address));
    }
    add_version(debug.input.file(), profile);
    if let Some(uuid) = debug.file.uuid {
        profile.metadata.set("UUID", uuid.to_string());
    }
    if let Some(banner) = banner {
        // "Darwin Kernel Version 17.4.0: Sun Dec 17 ..."
        if let Some(release) = banner.split(' ').nth(3).and_then(|word| word.strip_suffix(':')) {
            profile.metadata.set("Release", release);
        }
        profile.metadata.set("Banner", banner);
    }
    Ok(())
}

/// Adds what a zip of Volatility 2 has: types, and the symbols of the architecture that is meant.
fn add_vtypes(
    source: &Source,
    types: &Input,
    options: &Options,
    profile: &mut Profile,
    report: &mut ConvertReport,
) -> Result<(), ConvertError> {
    let Some(text) = &source.files.dsymutil_text else {
        return Err(ConvertError::missing(
            &source.place,
            "there is no text of `dsymutil -s`, which has the symbols; put that of the same kernel beside the vtypes",
        ));
    };
    let tables = dsymutil_text::read(text.bytes());
    let mut tables: Vec<_> = tables.into_iter().filter_map(|table| Some((table.arch?, table.symbols))).collect();
    let known: Vec<&str> = tables.iter().map(|&(arch, _)| apple_name(arch)).collect();
    let known = known.join(", ");
    tables.retain(|&(arch, _)| options.arch.as_ref().is_none_or(|name| is_called(arch, name)));
    let (arch, symbols) = match (tables.pop(), tables.is_empty()) {
        (Some(table), true) => table,
        (Some(_), false) => {
            let why = format!("has the symbols of several builds: {known}; --arch NAME chooses");
            return Err(ConvertError::unsupported(&text.name, why));
        }
        (None, _) => {
            let known = if known.is_empty() { "none that profiles know" } else { &known };
            let why = format!("has no symbols of the architecture that is meant; it has {known}");
            return Err(ConvertError::missing(&text.name, why));
        }
    };
    if symbols.is_empty() {
        return Err(ConvertError::missing(&text.name, "has no symbol with an address"));
    }
    symbols.put(Form::SystemMap, profile, report);
    profile.structs = vtypes::read(&types.name, types.bytes())?.structs;
    profile.metadata.set("arch", arch.name());
    add_version(types.file(), profile);
    Ok(())
}

/// Adds the version and build of macOS that the path of a file names. A kernel knows that of its Darwin alone.
fn add_version(file: &Path, profile: &mut Profile) {
    let path = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let parts = path.components().rev();
    if let Some((version, build)) = parts.filter_map(|part| part.as_os_str().to_str()).find_map(version_and_build) {
        profile.metadata.set("MacOSVersion", version);
        profile.metadata.set("MacOSBuild", build);
    }
}

/// "10.13.3" and "17D47" of `KDK_10.13.3_17D47.kdk`, as Apple calls its Kernel Debug Kits, or `HighSierra_10.13.3_17D47.zip`,
/// as Volatility's profiles are called.
fn version_and_build(name: &str) -> Option<(&str, &str)> {
    let is_number = |text: &str| !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit());
    let is_version = |text: &&str| (2..=3).contains(&text.split('.').count()) && text.split('.').all(is_number);
    // Two digits, a letter, a number, and of what is not final yet a letter.
    let is_build = |text: &&str| {
        let number = text.get(3..).unwrap_or_default();
        let number = number.strip_suffix(|c: char| c.is_ascii_lowercase()).unwrap_or(number);
        text.get(..2).is_some_and(is_number)
            && text.get(2..3).is_some_and(|c| c.starts_with(|c: char| c.is_ascii_alphabetic()))
            && is_number(number)
    };
    let words: Vec<&str> = name.split(['_', ' ', '-']).collect();
    words.windows(2).find_map(|pair| {
        let [version, build] = pair else { return None };
        let build = build.split('.').next().unwrap_or_default();
        Some((*version, build)).filter(|(version, build)| is_version(version) && is_build(build))
    })
}

/// The build with debugging information that is meant: of the best-named files, if they are of one link.
fn choose<'b, 'd>(source: &Source, builds: &'b [Build<'d>]) -> Result<&'b Build<'d>, ConvertError> {
    let with_dwarf = || builds.iter().filter(|build| build.file.has_dwarf());
    let Some(first) = with_dwarf().min_by_key(|build| build.input.rank()) else {
        return Err(ConvertError::missing(
            &source.place,
            "its Mach-O files have no debugging information; give the kernel's dSYM bundle (in Apple's Kernel Debug Kit, beside the kernel) too: convert_profile KERNEL OUTPUT --beside KERNEL.dSYM/Contents/Resources/DWARF/KERNEL",
        ));
    };
    let mut others = with_dwarf().filter(|build| build.input.rank() == first.input.rank());
    if others.any(|build| !build.same_link(first)) {
        let all: Vec<String> =
            with_dwarf().map(|build| format!("{} {}", build.file.place(), build.identity())).take(8).collect();
        return Err(ConvertError::unsupported(
            &source.place,
            format!(
                "has several builds: {}; --arch NAME chooses by architecture, or give one file alone",
                all.join(", ")
            ),
        ));
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_kits_and_profiles_tell_version_and_build() {
        for (name, expected) in [
            ("KDK_10.13.3_17D47.kdk", Some(("10.13.3", "17D47"))),
            ("KDK_13.0_22A5365d.kdk", Some(("13.0", "22A5365d"))),
            ("HighSierra_10.13.3_17D47.zip", Some(("10.13.3", "17D47"))),
            ("10.10.2_14c1510.64bit", Some(("10.10.2", "14c1510"))),
            ("kernel_10.13.3", None),
            ("10.13.3_kernel", None),
            ("1.2.3.4_17D47", None),
            ("10..3_17D47", None),
            ("10.13.3_é7D47", None),
            ("10.13.3_17D", None),
        ] {
            assert_eq!(version_and_build(name), expected, "{name}");
        }
    }
}
