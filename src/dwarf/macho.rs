//! The Mach-O file: which build it is, its debugging sections and symbols. A kernel of macOS has its symbol table and
//! text; the types are in the dSYM bundle beside it, a Mach-O file with the same UUID.
//!
//! Source of the format: Apple's `<mach-o/loader.h>`, `<mach-o/fat.h>` and `<mach-o/nlist.h>`.

use super::ConvertError;
use super::elf::{DebugSections, Unpacking, data_at};
use super::symbols::{Kind, Symbols};
use object::read::macho::{FatArch, MachOFatFile32, MachOFatFile64};
use object::{
    Architecture, FileKind, Object as _, ObjectKind, ObjectSection as _, ObjectSymbol as _, SectionFlags, macho,
};
use quaid_profile::{Arch, MachUuid};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// The most builds that a fat file may hold. Apple's hold two to four; a Java class, which begins alike, says 45 and more.
const MAX_SLICES: u32 = 44;
/// Where a bundle has the files with DWARF.
const DWARF_FOLDER: &str = "Contents/Resources/DWARF";
/// Longer banners do not exist: `version` is an array of 256 bytes.
const MAX_BANNER_BYTES: usize = 256;

/// Whether a file that begins with these bytes is a Mach-O file, of one build or fat.
pub(super) fn looks_like(head: &[u8]) -> bool {
    let word = |offset: usize| Some(u32::from_be_bytes(head.get(offset..offset + 4)?.try_into().ok()?));
    match word(0) {
        Some(0xfeed_face | 0xfeed_facf | 0xcefa_edfe | 0xcffa_edfe) => true,
        Some(macho::FAT_MAGIC | macho::FAT_MAGIC_64) => word(4).is_some_and(|count| count <= MAX_SLICES),
        _ => false,
    }
}

/// The files that belong to a Mach-O file or bundle by the names that Apple's tools give: the dSYM of a kernel, the kernel
/// of a dSYM. Those that do not exist are left out.
pub(super) fn companions(path: &Path) -> Vec<PathBuf> {
    if let Some(bundle) = bundle_of(path) {
        let kernel = bundle.with_extension("");
        return if kernel.is_file() { vec![kernel] } else { Vec::new() };
    }
    let mut bundle = path.as_os_str().to_owned();
    bundle.push(".dSYM");
    let Ok(entries) = Path::new(&bundle).join(DWARF_FOLDER).read_dir() else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.is_file());
    files.sort_unstable();
    files.truncate(MAX_SLICES as usize);
    files
}

/// Whether a file is in a dSYM bundle.
pub(super) fn in_bundle(path: &Path) -> bool {
    bundle_of(path).is_some()
}

/// The dSYM bundle that a path is, or lies in.
fn bundle_of(path: &Path) -> Option<&Path> {
    path.ancestors().find(|path| path.extension().is_some_and(|extension| extension == "dSYM"))
}

/// One build of a Mach-O file.
pub(super) struct MachO<'d> {
    place: &'d str,
    file: object::File<'d>,
    /// Its architecture.
    pub(super) arch: Arch,
    /// `LC_UUID`; object files have none.
    pub(super) uuid: Option<MachUuid>,
}

impl<'d> MachO<'d> {
    /// The builds in a file; `place` names it in messages. Those of a fat file whose architecture profiles do not know
    /// are left out.
    pub(super) fn builds(place: &'d str, bytes: &'d [u8]) -> Result<Vec<Self>, ConvertError> {
        let damaged = |why: object::Error| ConvertError::corrupt(place, format!("damaged Mach-O file: {why}"));
        let slices = match FileKind::parse(bytes).map_err(damaged)? {
            FileKind::MachOFat32 => slices(MachOFatFile32::parse(bytes).map_err(damaged)?.arches(), bytes),
            FileKind::MachOFat64 => slices(MachOFatFile64::parse(bytes).map_err(damaged)?.arches(), bytes),
            _ => Ok(vec![bytes]),
        };
        let slices = slices.map_err(damaged)?;
        let fat = slices.len() > 1;
        let mut builds = Vec::new();
        for slice in slices {
            let file = object::File::parse(slice).map_err(damaged)?;
            let arch = match file.architecture() {
                Architecture::I386 => Arch::I386,
                Architecture::X86_64 => Arch::Amd64,
                Architecture::Arm => Arch::Arm,
                Architecture::Aarch64 => Arch::Arm64,
                _ if fat => continue,
                other => {
                    let why = format!("is for the architecture {other:?}, which profiles do not know");
                    return Err(ConvertError::unsupported(place, why));
                }
            };
            let uuid = file.mach_uuid().map_err(damaged)?.map(MachUuid);
            builds.push(Self { place, file, arch, uuid });
        }
        Ok(builds)
    }

    /// The file, for messages.
    pub(super) fn place(&self) -> &'d str {
        self.place
    }

    /// Whether it is linked, so that symbols have their final addresses; an object file (`.o`) is not.
    pub(super) fn is_linked(&self) -> bool {
        self.file.kind() != ObjectKind::Relocatable
    }

    /// Whether it has debugging information.
    pub(super) fn has_dwarf(&self) -> bool {
        self.file.section_by_name(".debug_info").is_some_and(|section| section.size() > 0)
    }

    /// Whether it has a symbol table.
    pub(super) fn has_symbols(&self) -> bool {
        self.file.symbols().next().is_some()
    }

    /// The sections that describe types. Those of an object file are not relocated: the offsets that types need are in
    /// Mach-O final as they stand.
    pub(super) fn debug_sections(&self) -> Result<DebugSections<'d>, ConvertError> {
        let unpacking = Unpacking::default();
        let section = |name: &str| -> Result<Cow<'d, [u8]>, ConvertError> {
            self.file
                .section_by_name(name)
                .map_or(Ok(Cow::Borrowed(&[][..])), |section| unpacking.unpacked(self.place, name, &section))
        };
        Ok(DebugSections {
            info: section(".debug_info")?,
            types: section(".debug_types")?,
            abbrev: section(".debug_abbrev")?,
            str: section(".debug_str")?,
            line_str: section(".debug_line_str")?,
            str_offsets: section(".debug_str_offsets")?,
            addr: section(".debug_addr")?,
            big_endian: !self.file.is_little_endian(),
            ..DebugSections::default()
        })
    }

    /// Gives the symbols under their names in C: the linker's names have one `_` before them.
    pub(super) fn add_symbols(&self, symbols: &mut Symbols<'d>) {
        let code = macho::S_ATTR_PURE_INSTRUCTIONS | macho::S_ATTR_SOME_INSTRUCTIONS;
        let code: Vec<_> = self
            .file
            .sections()
            .filter(|section| matches!(section.flags(), SectionFlags::MachO { flags, .. } if flags.0 & code.0 != 0))
            .map(|section| section.index())
            .collect();
        for symbol in self.file.symbols().filter(|symbol| !symbol.is_undefined()) {
            let Ok(name) = symbol.name_bytes() else { continue };
            let name = name.strip_prefix(b"_").unwrap_or(name);
            if !name.is_empty() {
                let function = symbol.section_index().is_some_and(|section| code.contains(&section));
                symbols.add(String::from_utf8_lossy(name), symbol.address(), Kind::of(function));
            }
        }
    }

    /// The text of `version`, without the NUL at its end; a dSYM has no data and gives none.
    pub(super) fn banner(&self) -> Option<String> {
        let symbol = self.file.symbols().find(|symbol| symbol.name_bytes() == Ok(b"_version"))?;
        let bytes = data_at(&self.file, symbol.address(), MAX_BANNER_BYTES)?;
        let text = std::str::from_utf8(bytes.get(..memchr::memchr(0, bytes)?)?).ok()?.trim_end();
        text.starts_with("Darwin Kernel Version ").then(|| text.to_owned())
    }
}

fn slices<'d, F: FatArch>(arches: &[F], bytes: &'d [u8]) -> object::Result<Vec<&'d [u8]>> {
    arches.iter().map(|arch| arch.data(bytes)).collect()
}
