//! Profiles from debugging information. Linux: the zip of the seeds (a kernel module with DWARF, System.map, config), a
//! `vmlinux` with DWARF, or BTF with a System.map. macOS: Mach-O files and their dSYM bundles.
//!
//! The parts: `source` finds the files, `elf` opens the ELF file and hands out its sections and symbols, `image` looks
//! into an unpacked `vmlinuz`, `units` reads DWARF's compilation units, `survey` walks all of them once to learn which
//! types and variables there are (`shapes` tells the types of members apart), `types` builds the model of those that are
//! kept, [`crate::btf`] that of BTF,
//! `from_image` finds what a memory image has of them, `system_map` and `kconfig` read the text files, `symbols` names what
//! has an address, `identity` tells the architecture where no ELF header does, `dwarfdump_text` reads DWARF that was printed,
//! `vtypes` and `dsymutil_text` what Volatility 2 had of macOS, `identify` tells which build a file is,
//! `same_kernel` whether files are of one, `separate` finds the
//! files that DWARF is continued in; `macho` opens Mach-O files, and `darwin` makes the profile of theirs.
//!
//! DWARF 2 to 5 (<https://dwarfstd.org>) as gcc and clang write it for C. What cannot be represented is counted in
//! [`ConvertReport`]. A hostile file gives an error: every walk is bounded by the size of the file, every count is
//! checked before memory is taken for it.

mod darwin;
mod dsymutil_text;
mod dwarfdump_text;
mod elf;
mod from_image;
mod identify;
mod identity;
mod image;
mod kconfig;
mod known_symbols;
mod macho;
mod report;
mod same_kernel;
mod scopes;
mod separate;
mod shapes;
mod source;
mod survey;
mod symbols;
mod system_map;
mod types;
mod units;
mod vtypes;

pub use identify::{BuildIdentity, build_id, identify};
pub use report::{ConvertReport, OtherLayouts};

use crate::btf::{self, Btf};
use crate::input::{shown, shown_text};
use crate::kallsyms;
use elf::{DebugSections, Elf, Unpacking};
use image::Image;
use quaid_analyzer::image::PhysicalMemory;
use quaid_analyzer::scan;
use quaid_profile::{Arch, Profile, release_of};
use separate::Separate;
use source::{Input, Source};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use symbols::Symbols;
use system_map::Form;
use types::Origin;

/// Why a profile could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// A file could not be read.
    #[error("cannot read {place}: {source}")]
    Io {
        /// The file.
        place: String,
        /// The reason.
        source: std::io::Error,
    },
    /// The file is damaged.
    #[error("{place}: {why}")]
    Corrupt {
        /// The file, and the part of it.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// The file is sound, but of a kind or size that is not supported.
    #[error("{place}: {why}")]
    Unsupported {
        /// The file, and the part of it.
        place: String,
        /// What it is, and what to do instead.
        why: String,
    },
    /// Something that a profile needs is not there.
    #[error("{place}: {why}")]
    Missing {
        /// The file that was searched.
        place: String,
        /// What is missing, and where it comes from.
        why: String,
    },
    /// BTF could not be read.
    #[error(transparent)]
    Btf(#[from] btf::BtfError),
}

/// Names in archives and texts in kernels are not ours: they reach a terminal escaped.
impl ConvertError {
    fn corrupt(place: &str, why: impl Into<String>) -> Self {
        Self::Corrupt { place: shown_text(place), why: shown_text(&why.into()) }
    }
    fn unsupported(place: &str, why: impl Into<String>) -> Self {
        Self::Unsupported { place: shown_text(place), why: shown_text(&why.into()) }
    }
    fn missing(place: &str, why: impl Into<String>) -> Self {
        Self::Missing { place: shown_text(place), why: shown_text(&why.into()) }
    }
    fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { place: shown(path), source }
    }
}

/// How a profile is made.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Further files, in any order: a System.map or /proc/kallsyms, a config, BTF, the BTF that a module's continues.
    pub beside: Vec<PathBuf>,
    /// `ProfileClass`, written as it is; without it "Linux" or "Darwin".
    pub profile_class: Option<String>,
    /// Of Mach-O files of several architectures, the one that is meant: "arm64", "x86_64".
    pub arch: Option<String>,
}

/// Makes the profile of a kernel from `path`: a folder, zip, archive or package with the files that it takes, or one of
/// them. Addresses are those of the link.
pub fn convert(path: &Path) -> Result<(Profile, ConvertReport), ConvertError> {
    convert_with(path, &Options::default())
}

/// As [`convert`], with further files and what they do not tell.
pub fn convert_with(path: &Path, options: &Options) -> Result<(Profile, ConvertReport), ConvertError> {
    convert_source(Source::open(path, &options.beside)?, options)
}

/// Makes the profile of the Linux kernel in a memory image from what the image has of it: its table of symbols and its
/// BTF. `path` names the image, `memory` is what it holds. Addresses are those of the link where that is known (by what the
/// kernel notes for dumps, and for x86-64).
pub fn convert_image(
    path: &Path,
    memory: &dyn PhysicalMemory,
    options: &Options,
) -> Result<(Profile, ConvertReport), ConvertError> {
    convert_source(Source::from_image(path, memory, &options.beside)?, options)
}

/// The addresses of the symbols of the Linux kernel in a memory image, from the table that it carries, by name; as the kernel
/// runs. `path` names the image.
pub fn image_symbols(path: &Path, memory: &dyn PhysicalMemory) -> Result<HashMap<String, Vec<u64>>, ConvertError> {
    let (table, _) =
        from_image::symbols(&path.display().to_string(), memory, scan::find_all(memory, kallsyms::DIGITS))?;
    let mut symbols: HashMap<String, Vec<u64>> = HashMap::new();
    for kallsyms::Symbol { name, address, .. } in table {
        symbols.entry(name).or_default().push(address);
    }
    Ok(symbols)
}

fn convert_source(source: Source, options: &Options) -> Result<(Profile, ConvertReport), ConvertError> {
    let mut profile = Profile::default();
    let mut report = ConvertReport { unreadable_files: source.problems.clone(), ..ConvertReport::default() };

    let darwin = source.is_darwin()?;
    if darwin {
        darwin::add(&source, options, &mut profile, &mut report)?;
    } else {
        if options.arch.is_some() {
            let why = "is no Mach-O file, the only one that may hold several architectures for --arch to choose from";
            return Err(ConvertError::unsupported(&source.place, why));
        }
        add_linux(&source, &mut profile, &mut report)?;
    }
    let class = options.profile_class.as_deref().unwrap_or(if darwin { "Darwin" } else { "Linux" });
    let metadata = &mut profile.metadata;
    metadata.set("Type", "Profile");
    metadata.set("ProfileClass", class);
    metadata.set("Version", 1);
    metadata.set("Producer", concat!("quaid ", env!("CARGO_PKG_VERSION")));
    metadata.set("Source", source.name.as_str());
    if let Some(sha256) = source.sha256()? {
        profile.metadata.set("SourceSHA256", sha256);
    }
    report.structs = profile.structs.len();
    report.enums = profile.enums.len();
    report.constants = profile.constants.len();
    report.functions = profile.functions.len();
    Ok((profile, report))
}

/// Adds all that a Linux kernel's files tell.
fn add_linux(source: &Source, profile: &mut Profile, report: &mut ConvertReport) -> Result<(), ConvertError> {
    let files = &source.files;
    let elf = files.elf.as_ref().map(|elf| Elf::parse(&elf.name, elf.bytes())).transpose()?;
    let image = files.image.as_ref().map(|image| Image::parse(&image.name, image.bytes())).transpose()?;
    if let Some(config) = &files.config {
        kconfig::read(config.bytes(), profile, report);
    } else {
        let read_only = elf.as_ref().filter(|elf| elf.is_kernel()).and_then(|elf| elf.plain_section(".rodata"));
        let carried = read_only.or(files.image.as_ref().map(Input::bytes)).and_then(kconfig::embedded);
        kconfig::read(carried.as_deref().unwrap_or_default(), profile, report);
    }
    let banner =
        elf.as_ref().and_then(Elf::banner).or_else(|| image.as_ref()?.banner.clone()).or_else(|| source.banner.clone());
    same_kernel::check_releases(source, elf.as_ref(), banner.as_deref())?;
    let own;
    let mut symbols = Symbols::default();
    let mut form = Form::SystemMap;
    // Which letters the symbols have: `/proc/kallsyms` and a kernel's own table call per-CPU ones absolute.
    let mut letters = Form::SystemMap;
    if let Some(map) = &files.system_map {
        form = system_map::read(map.bytes(), &mut symbols, report);
        if source.of_running_kernel || system_map::form_of_name(&map.name) == Some(Form::Kallsyms) {
            form = Form::Kallsyms;
        }
        letters = form;
        if symbols.is_empty() {
            return Err(ConvertError::corrupt(&map.name, system_map::why_no_symbols(map.bytes())));
        }
    } else if let Some(kernel) = elf.as_ref().filter(|elf| elf.is_kernel()) {
        kernel.add_symbols(&mut symbols)?;
    } else if let Some(found) = files.image.as_ref().and_then(|image| kallsyms::find(image.bytes())) {
        own = kallsyms::print(&found);
        system_map::read(own.as_bytes(), &mut symbols, report);
        letters = Form::Kallsyms;
    } else {
        return Err(ConvertError::missing(
            &source.place,
            "there is no System.map, and without it no address is known; give that of the same kernel (/boot/System.map-RELEASE, for Debian in the -dbg package, or /proc/kallsyms read as root): convert_profile SOURCE OUTPUT --system_map FILE, or put it beside the others",
        ));
    }
    symbols.put(letters, profile, report);
    let mut of_elf = None;
    if let Some(map) = &files.system_map {
        of_elf = same_kernel::check_map(&map.name, form, profile, elf.as_ref(), image.as_ref())?;
    }
    let moved = if files.system_map.is_some() { of_elf } else { Some(0) };
    add_types(source, elf.as_ref(), image.as_ref(), moved, profile, report)?;
    let usual = symbols::slide(profile);
    if let Some(map) = files.system_map.as_ref().filter(|_| form == Form::SystemMap) {
        // Where nothing but the place at which kernels are linked says that this one was moved, a name is believed.
        let is_moved = |slide: Option<u64>| slide.is_some_and(|bytes| bytes != 0);
        report.guessed_slide =
            of_elf.is_none() && is_moved(usual) && system_map::form_of_name(&map.name) != Some(Form::SystemMap);
        if is_moved(of_elf) || report.guessed_slide {
            form = Form::Kallsyms;
        }
    }
    if form == Form::Kallsyms {
        let noted = source.vmcoreinfo.as_ref().and_then(|info| info.hex("KERNELOFFSET"));
        report.slide = of_elf.or(noted).or(usual);
        report.running_addresses = report.slide.is_none();
        report.functions_alone = !profile.constants.contains_key("init_task");
        symbols::undo_slide(profile, report.slide.unwrap_or_default());
    }
    if let Some(base) = profile.symbol("_text").or_else(|| profile.symbol("_stext")) {
        profile.metadata.set("KernelBase", format!("{:#x}", base.address));
    }
    add_identity(profile, source, banner, elf.as_ref(), image.as_ref());
    report.known_symbols = known_symbols::add_types(profile);
    Ok(())
}

/// Adds the types of the best source that there is: DWARF of a kernel, BTF of a kernel with or without that of a module,
/// DWARF of a module. `moved` is how far the symbols are from where the kernel is linked.
fn add_types(
    source: &Source,
    elf: Option<&Elf<'_>>,
    image: Option<&Image<'_>>,
    moved: Option<u64>,
    profile: &mut Profile,
    report: &mut ConvertReport,
) -> Result<(), ConvertError> {
    let files = &source.files;
    let kernel = elf.filter(|elf| elf.is_kernel());
    let module = elf.filter(|elf| !elf.is_kernel());
    if let Some(kernel) = kernel.filter(|kernel| kernel.has_dwarf()) {
        return add_elf_dwarf(source, kernel, moved, profile, report);
    }
    let in_kernel = || kernel.and_then(|kernel| Some(Part { place: kernel.place(), bytes: kernel.btf()? }));
    let in_image = || Some(Part { place: &files.image.as_ref()?.name, bytes: image?.btf? });
    let in_module = || module.and_then(|module| Some(Part { place: module.place(), bytes: module.btf()? }));
    let with_module = || module.and_then(|module| Some(Part { place: module.place(), bytes: module.base_btf()? }));
    let base = files.btf.as_ref().map(Part::of).or_else(in_kernel).or_else(in_image);
    if let (None, Some(module)) = (&base, module.filter(|module| module.has_dwarf())) {
        return add_elf_dwarf(source, module, moved, profile, report);
    }
    let arch = elf.map(|elf| elf.arch).or_else(|| image.and_then(|image| image.arch));
    let of_module = files.module_btf.as_ref().map(Part::of).or_else(in_module);
    if let (Some(base), Some(module), Some(its_base)) =
        (base, of_module, with_module().filter(|_| files.module_btf.is_none()))
    {
        // Its numbers are those of what it brings along, and of no kernel.
        let mut own = Profile { config: profile.config.clone(), ..Profile::default() };
        add_btf(its_base, Some(module), arch, &mut own, report)?;
        add_btf(base, None, arch, profile, report)?;
        add_missing_types(own, profile);
        return Ok(());
    }
    match (base.or_else(with_module), of_module) {
        (Some(base), of_module) => add_btf(base, of_module, arch, profile, report),
        (None, Some(module)) => Err(btf::BtfError::NeedsBase { place: module.place.to_owned() }.into()),
        (None, None) => match &files.dwarf_text {
            Some(text) => add_dwarf_text(text, profile, report),
            None => Err(ConvertError::missing(
                elf.map_or(&source.place, Elf::place),
                "it has neither a .debug_info section nor BTF; give the file with debugging information, from the distribution's debug package or a build with CONFIG_DEBUG_INFO, or the kernel's BTF (/sys/kernel/btf/vmlinux)",
            )),
        },
    }
}

/// A part of a file, and the file's name for messages.
#[derive(Clone, Copy)]
struct Part<'p> {
    place: &'p str,
    bytes: &'p [u8],
}

impl<'p> Part<'p> {
    fn of(input: &'p Input) -> Self {
        Self { place: &input.name, bytes: input.bytes() }
    }
}

/// Adds the types of an ELF file and of the files that continue it.
fn add_elf_dwarf(
    source: &Source,
    elf: &Elf<'_>,
    moved: Option<u64>,
    profile: &mut Profile,
    report: &mut ConvertReport,
) -> Result<(), ConvertError> {
    let unpacking = Unpacking::default();
    let main = elf.debug_sections(&unpacking)?;
    let file = source.files.elf.as_ref().map_or(Path::new(""), Input::file);
    let separate = Separate::find(elf, &main, file, &source.files.companions, &unpacking, report)?;
    let mut parts = separate.sections()?;
    parts.insert(0, main.clone());
    let of_module = elf.is_module();
    let origin = Origin { place: elf.place(), arch: elf.arch, of_module, moved };
    add_dwarf(origin, &parts, profile, report)
}

/// Adds the types of a file's sections, the first, and of those that continue it.
fn add_dwarf(
    origin: Origin<'_>,
    sections: &[DebugSections<'_>],
    profile: &mut Profile,
    report: &mut ConvertReport,
) -> Result<(), ConvertError> {
    let units = units::Units::parse(origin.place, sections)?;
    let names = bumpalo::Bump::new();
    let survey = survey::Survey::of(&units, &names, report);
    types::build(&units, &survey, origin, profile, report)?;
    if profile.structs.is_empty() {
        return Err(ConvertError::missing(origin.place, report.why_no_types()));
    }
    profile.metadata.set("arch", origin.arch.name());
    Ok(())
}

fn add_dwarf_text(text: &Input, profile: &mut Profile, report: &mut ConvertReport) -> Result<(), ConvertError> {
    let found = dwarfdump_text::read(&text.name, text.bytes())?;
    let arch = identity::arch_of_config(&profile.config)
        .or_else(|| identity::arch_of_registers(&found.registers, found.pointer_bytes))
        .filter(|arch| arch.pointer_bytes() == found.pointer_bytes);
    let Some(arch) = arch else {
        return Err(ConvertError::missing(
            &text.name,
            "dwarfdump's text does not tell the architecture, and this one has no struct pt_regs that would; put the kernel's config beside it",
        ));
    };
    add_dwarf(Origin { place: &text.name, arch, of_module: true, moved: None }, &[found.sections], profile, report)
}

fn add_btf(
    base: Part<'_>,
    module: Option<Part<'_>>,
    arch: Option<Arch>,
    profile: &mut Profile,
    report: &mut ConvertReport,
) -> Result<(), ConvertError> {
    let kernel = Btf::parse(base.place, base.bytes, None)?;
    let arch = arch.or_else(|| identity::arch_of_config(&profile.config)).or_else(|| identity::arch_of_btf(&kernel));
    let Some(arch) = arch else {
        return Err(ConvertError::missing(
            base.place,
            "BTF does not tell the architecture, and this one has no struct pt_regs that would; put the kernel's config beside it",
        ));
    };
    profile.metadata.set("arch", arch.name());
    let found = match module {
        None => kernel.add_types(base.place, arch.pointer_bytes(), profile)?,
        Some(module) => {
            let module_btf = Btf::parse(module.place, module.bytes, Some(&kernel))?;
            module_btf.add_types(module.place, arch.pointer_bytes(), profile)?
        }
    };
    report.add_btf(found);
    if profile.structs.is_empty() {
        return Err(ConvertError::missing(base.place, "its BTF has no struct; give the BTF of a kernel"));
    }
    Ok(())
}

/// Adds the types of a module that its kernel does not have.
fn add_missing_types(module: Profile, kernel: &mut Profile) {
    for (name, of_module) in module.structs {
        kernel.structs.entry(name).or_insert(of_module);
    }
    for (name, of_module) in module.enums {
        kernel.enums.entry(name).or_insert(of_module);
    }
    for (name, of_module) in module.base_types {
        kernel.base_types.entry(name).or_insert(of_module);
    }
}

/// Adds what tells which Linux kernel it is.
fn add_identity(
    profile: &mut Profile,
    source: &Source,
    banner: Option<String>,
    elf: Option<&Elf<'_>>,
    image: Option<&Image<'_>>,
) {
    let metadata = &mut profile.metadata;
    let release = banner.as_deref().and_then(release_of).map(str::to_owned);
    let release = release
        .or_else(|| elf?.release())
        .or_else(|| source.files.releases_by_name().next().map(|(_, release)| release.to_owned()));
    if let Some(release) = release {
        metadata.set("Release", release);
    }
    if let Some(banner) = banner {
        metadata.set("Banner", banner);
    }
    identity::add_paging(&profile.config, source.vmcoreinfo.as_ref(), metadata);
    let build_id = elf.and_then(Elf::build_id).or_else(|| image?.build_id.clone());
    if let Some(id) = build_id.or_else(|| source.build_id.clone()) {
        metadata.set("BuildID", id.to_string());
    }
}
