//! The ELF file: architecture, debugging sections, symbols, and what tells which kernel it is.

use super::ConvertError;
use super::image::MAX_BANNER_BYTES;
use super::symbols::{Kind, Symbols};
use object::{
    Architecture, CompressionFormat, Object as _, ObjectKind, ObjectSection as _, ObjectSymbol as _, RelocationKind,
    RelocationTarget, SectionFlags, SectionIndex, SectionKind, SymbolKind, SymbolSection,
};
use quaid_profile::{Arch, BuildId};
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;

/// The most that the sections of one name may have in one file, in bytes. `.debug_info` of a distribution's kernel has 160 MiB.
const MAX_SECTION_BYTES: u64 = 1 << 30;
/// The most that all compressed sections may unpack to, of a file and of those that continue it, which are read twice; in bytes.
/// Those of a distribution's kernel have 220 MiB.
const MAX_UNPACKED_BYTES: u64 = 1 << 30;
/// The most that deflate can shrink, rounded up; zstd does not reach it on debugging information.
const MAX_RATIO: u64 = 1100;

/// A kernel module or kernel.
pub(super) struct Elf<'d> {
    place: &'d str,
    file: object::File<'d>,
    /// Its architecture.
    pub(super) arch: Arch,
}

/// Whether a section has code, be its bytes in another file.
fn is_code(flags: SectionFlags) -> bool {
    matches!(flags, SectionFlags::Elf { sh_flags, .. } if sh_flags.0 & object::elf::SHF_EXECINSTR.0 != 0)
}

/// What a file of debugging information is to the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Role {
    /// The file itself.
    #[default]
    Main,
    /// A `.dwo` file, or what a `.dwp` file has of one: types of a skeleton unit.
    Split,
    /// What dwz moved out of several files.
    Supplementary,
}

/// The sections of debugging information that types need, relocated and unpacked.
#[derive(Default, Clone)]
pub(super) struct DebugSections<'d> {
    pub(super) role: Role,
    pub(super) info: Cow<'d, [u8]>,
    /// Type units of DWARF 4; those of DWARF 5 are in `info`.
    pub(super) types: Cow<'d, [u8]>,
    pub(super) abbrev: Cow<'d, [u8]>,
    pub(super) str: Cow<'d, [u8]>,
    pub(super) line_str: Cow<'d, [u8]>,
    pub(super) str_offsets: Cow<'d, [u8]>,
    /// Addresses that units refer to by number.
    pub(super) addr: Cow<'d, [u8]>,
    pub(super) big_endian: bool,
    pub(super) skipped_relocations: usize,
}

/// How many bytes may still be unpacked of the compressed sections of a file and of those that continue it.
pub(super) struct Unpacking {
    left: Cell<u64>,
}

impl Default for Unpacking {
    fn default() -> Self {
        Self { left: Cell::new(MAX_UNPACKED_BYTES) }
    }
}

impl<'d> Elf<'d> {
    /// Opens an ELF file; `place` names it in messages.
    pub(super) fn parse(place: &'d str, bytes: &'d [u8]) -> Result<Self, ConvertError> {
        let file = object::File::parse(bytes)
            .map_err(|why| ConvertError::corrupt(place, format!("damaged ELF file: {why}")))?;
        let arch = match file.architecture() {
            Architecture::I386 => Arch::I386,
            Architecture::X86_64 => Arch::Amd64,
            Architecture::Arm => Arch::Arm,
            Architecture::Aarch64 => Arch::Arm64,
            Architecture::Mips => Arch::Mips,
            Architecture::Mips64 => Arch::Mips64,
            Architecture::PowerPc64 => Arch::Ppc64,
            Architecture::Riscv64 => Arch::Riscv64,
            Architecture::S390x => Arch::S390x,
            other => {
                return Err(ConvertError::unsupported(
                    place,
                    format!("is for the architecture {other:?}, which profiles do not know"),
                ));
            }
        };
        Ok(Self { place, file, arch })
    }

    /// Its name, for messages.
    pub(super) fn place(&self) -> &str {
        self.place
    }

    /// Whether it is a linked kernel, not a module.
    pub(super) fn is_kernel(&self) -> bool {
        matches!(self.file.kind(), ObjectKind::Executable | ObjectKind::Dynamic)
    }

    /// Whether it is relocatable and no kernel's: of a kernel all objects are joined in one before it is linked (`vmlinux.o`).
    pub(super) fn is_module(&self) -> bool {
        !self.is_kernel() && self.symbol_address("start_kernel").is_none()
    }

    /// What `uname -r` prints: the first word of a module's vermagic, the third of a kernel's banner.
    pub(super) fn release(&self) -> Option<String> {
        if self.is_kernel() {
            let banner = self.banner()?;
            return banner.strip_prefix("Linux version ")?.split(' ').next().map(str::to_owned);
        }
        let modinfo = self.file.section_by_name(".modinfo")?.data().ok()?;
        let vermagic = modinfo.split(|&byte| byte == 0).find_map(|entry| entry.strip_prefix(b"vermagic="))?;
        let release = vermagic.split(|&byte| byte == b' ').next().filter(|word| !word.is_empty())?;
        Some(String::from_utf8_lossy(release).into_owned())
    }

    /// The text of `linux_banner` without the newline at its end; a module has none, nor has a kernel whose code was
    /// stripped off its debugging information.
    pub(super) fn banner(&self) -> Option<String> {
        if !self.is_kernel() {
            return None;
        }
        let bytes = data_at(&self.file, self.file.symbol_by_name("linux_banner")?.address(), MAX_BANNER_BYTES)?;
        let text = bytes.split(|&byte| byte == 0).next()?;
        let text = String::from_utf8_lossy(text).trim_end().to_owned();
        text.starts_with("Linux version ").then_some(text)
    }

    /// The kernel's build-id. That of a module is not the kernel's and is not given.
    pub(super) fn build_id(&self) -> Option<BuildId> {
        if self.is_kernel() { BuildId::from_bytes(self.file.build_id().ok()??) } else { None }
    }

    /// Gives the symbols of a kernel, as its System.map lists them: what lies in code is a function. Labels of compilers, and
    /// marks of what is code and what is data ($x, $d), are none (scripts/mksysmap).
    pub(super) fn add_symbols(&self, symbols: &mut Symbols<'d>) -> Result<(), ConvertError> {
        for symbol in self.file.symbols() {
            if symbol.is_undefined() || matches!(symbol.kind(), SymbolKind::File | SymbolKind::Section) {
                continue;
            }
            let Ok(name) = symbol.name_bytes() else { continue };
            if name.is_empty() || name.starts_with(b".L") || name.starts_with(b"$") {
                continue;
            }
            let code = symbol
                .section_index()
                .and_then(|index| self.file.section_by_index(index).ok())
                .is_some_and(|section| is_code(section.flags()));
            let kind = match symbol.section() {
                SymbolSection::Absolute => Kind::Absolute,
                _ => Kind::of(code),
            };
            symbols.add(String::from_utf8_lossy(name), symbol.address(), kind);
        }
        if symbols.is_empty() {
            return Err(ConvertError::missing(
                self.place,
                "it has no symbol table (stripped); give the unstripped vmlinux, or its System.map too: --system_map FILE",
            ));
        }
        Ok(())
    }

    /// The address that its table of symbols gives this one.
    pub(super) fn symbol_address(&self, name: &str) -> Option<u64> {
        self.file.symbol_by_name(name).filter(|symbol| !symbol.is_undefined()).map(|symbol| symbol.address())
    }

    /// Up to `most` bytes of what it has at an address.
    pub(super) fn data_at(&self, address: u64, most: usize) -> Option<&'d [u8]> {
        data_at(&self.file, address, most)
    }

    /// Whether it has debugging information.
    pub(super) fn has_dwarf(&self) -> bool {
        self.file.section_by_name(".debug_info").is_some_and(|section| section.size() > 0)
    }

    /// The BTF in it; of a module, that which continues its kernel's.
    pub(super) fn btf(&self) -> Option<&'d [u8]> {
        self.file.section_by_name(".BTF")?.data().ok().filter(|bytes| !bytes.is_empty())
    }

    /// What a module's BTF needs of its kernel's, where the module brings it along (since Linux 6.11).
    pub(super) fn base_btf(&self) -> Option<&'d [u8]> {
        self.file.section_by_name(".BTF.base")?.data().ok().filter(|bytes| !bytes.is_empty())
    }

    /// Whether it is only the continuation of another file: split units, and none of its own.
    pub(super) fn is_split(&self) -> bool {
        self.file.section_by_name(".debug_info.dwo").is_some() && !self.has_dwarf()
    }

    /// The bytes of a section as they are; `None` where there is none.
    pub(super) fn plain_section(&self, name: &str) -> Option<&'d [u8]> {
        self.file.section_by_name(name)?.data().ok()
    }

    /// The build-id, whatever the file is.
    pub(super) fn any_build_id(&self) -> Option<&'d [u8]> {
        self.file.build_id().ok()?
    }

    /// Whether it is what dwz wrote for several files: debugging information of nothing, without code, data and symbols.
    pub(super) fn is_supplementary(&self) -> bool {
        let loaded = |kind| {
            matches!(
                kind,
                SectionKind::Text | SectionKind::Data | SectionKind::ReadOnlyData | SectionKind::UninitializedData
            )
        };
        self.has_dwarf()
            && self.file.symbols().next().is_none()
            && !self.file.sections().any(|section| loaded(section.kind()))
    }

    /// The sections that describe types of split units.
    pub(super) fn split_sections(&self, unpacking: &Unpacking) -> Result<DebugSections<'d>, ConvertError> {
        // Nothing in them needs to be relocated.
        let section = |name| self.join(name, unpacking, |_, _| {});
        Ok(DebugSections {
            role: Role::Split,
            info: section(".debug_info.dwo")?,
            types: section(".debug_types.dwo")?,
            abbrev: section(".debug_abbrev.dwo")?,
            str: section(".debug_str.dwo")?,
            line_str: Cow::default(),
            str_offsets: section(".debug_str_offsets.dwo")?,
            // Addresses are in the file with the skeleton units, for the linker to put in.
            addr: Cow::default(),
            big_endian: !self.file.is_little_endian(),
            skipped_relocations: 0,
        })
    }

    /// All sections of that name, one after the other: in an object each type unit has one of its own.
    fn join(
        &self,
        name: &str,
        unpacking: &Unpacking,
        mut relocate: impl FnMut(&object::Section<'d, '_>, &mut Cow<'d, [u8]>),
    ) -> Result<Cow<'d, [u8]>, ConvertError> {
        let mut joined = Cow::Borrowed(&[][..]);
        for section in self.sections_named(name) {
            let mut bytes = unpacking.unpacked(self.place, name, &section)?;
            relocate(&section, &mut bytes);
            if joined.is_empty() {
                joined = bytes;
            } else if joined.len().saturating_add(bytes.len()) as u64 <= MAX_SECTION_BYTES {
                joined.to_mut().extend_from_slice(&bytes);
            } else {
                let why = format!("its sections {name} have more than {MAX_SECTION_BYTES} bytes");
                return Err(ConvertError::unsupported(self.place, why));
            }
        }
        Ok(joined)
    }

    /// The sections of that name; one of the old kind that is packed, `.zdebug_`, goes by the same.
    fn sections_named<'f>(&'f self, name: &str) -> Vec<object::Section<'d, 'f>> {
        let named: Vec<_> = self.file.sections().filter(|section| section.name() == Ok(name)).collect();
        if named.is_empty() { self.file.section_by_name(name).into_iter().collect() } else { named }
    }

    /// The sections that describe types. Sections of a module are relocated; those of a linked kernel are final, also
    /// where relocations are kept beside them (`--emit-relocs`).
    pub(super) fn debug_sections(&self, unpacking: &Unpacking) -> Result<DebugSections<'d>, ConvertError> {
        let mut sections = DebugSections { big_endian: !self.file.is_little_endian(), ..DebugSections::default() };
        let starts = self.starts();
        let mut section = |name| self.section(name, unpacking, &starts, &mut sections.skipped_relocations);
        sections.info = section(".debug_info")?;
        sections.types = section(".debug_types")?;
        sections.abbrev = section(".debug_abbrev")?;
        sections.str = section(".debug_str")?;
        sections.line_str = section(".debug_line_str")?;
        sections.str_offsets = section(".debug_str_offsets")?;
        sections.addr = section(".debug_addr")?;
        Ok(sections)
    }

    /// Of an object, where the sections of debugging information begin that are joined to others before them.
    fn starts(&self) -> HashMap<SectionIndex, u64> {
        let mut starts = HashMap::new();
        if self.file.kind() == ObjectKind::Relocatable {
            let mut ends: HashMap<&[u8], u64> = HashMap::new();
            for section in self.file.sections() {
                let Ok(name) = section.name_bytes() else { continue };
                let Ok(stored) = section.compressed_data() else { continue };
                if name.starts_with(b".debug_") {
                    let end = ends.entry(name).or_default();
                    if *end > 0 {
                        starts.insert(section.index(), *end);
                    }
                    *end = end.saturating_add(stored.uncompressed_size);
                }
            }
        }
        starts
    }

    fn section(
        &self,
        name: &str,
        unpacking: &Unpacking,
        starts: &HashMap<SectionIndex, u64>,
        skipped_relocations: &mut usize,
    ) -> Result<Cow<'d, [u8]>, ConvertError> {
        self.join(name, unpacking, |section, bytes| {
            if self.file.kind() == ObjectKind::Relocatable {
                for (offset, relocation) in section.relocations() {
                    if !self.relocate(bytes.to_mut(), offset, &relocation, starts) {
                        *skipped_relocations += 1;
                    }
                }
            }
        })
    }

    /// Patches one place; `false` when the relocation is of a kind that debugging information does not use.
    fn relocate(
        &self,
        bytes: &mut [u8],
        offset: u64,
        relocation: &object::Relocation,
        starts: &HashMap<SectionIndex, u64>,
    ) -> bool {
        let in_joined = |symbol: object::Symbol<'d, '_>| {
            let start = symbol.section_index().and_then(|section| starts.get(&section));
            symbol.address().wrapping_add(start.copied().unwrap_or_default())
        };
        let target = match relocation.target() {
            RelocationTarget::Symbol(index) => self.file.symbol_by_index(index).map(in_joined).ok(),
            RelocationTarget::Absolute => Some(0),
            _ => None,
        };
        let width = usize::from(relocation.size() / 8);
        let place = usize::try_from(offset).ok().and_then(|start| bytes.get_mut(start..start.checked_add(width)?));
        let (Some(target), Some(place), RelocationKind::Absolute, 1..=8) = (target, place, relocation.kind(), width)
        else {
            return false;
        };
        let little = self.file.is_little_endian();
        let mut value = target.wrapping_add_signed(relocation.addend());
        if relocation.has_implicit_addend() {
            // REL, as on i386: the addend stands where the value goes.
            let number = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
            value = value.wrapping_add(if little {
                place.iter().rev().fold(0, number)
            } else {
                place.iter().fold(0, number)
            });
        }
        for (index, byte) in place.iter_mut().enumerate() {
            let shift = 8 * if little { index } else { width - 1 - index };
            *byte = (value >> shift) as u8;
        }
        true
    }
}

impl Unpacking {
    /// The bytes of a section, unpacked where it is compressed; nothing is relocated.
    pub(super) fn unpacked<'d>(
        &self,
        place: &str,
        name: &str,
        section: &object::Section<'d, '_>,
    ) -> Result<Cow<'d, [u8]>, ConvertError> {
        let corrupt = |why: object::Error| ConvertError::corrupt(place, format!("section {name}: {why}"));
        let stored = section.compressed_data().map_err(corrupt)?;
        let (packed, unpacked) = (stored.data.len() as u64, stored.uncompressed_size);
        if unpacked > packed && unpacked / MAX_RATIO > packed {
            let why = format!(
                "section {name} says that its {packed} bytes unpack to {unpacked}; more than {MAX_RATIO} times is not unpacked"
            );
            return Err(ConvertError::unsupported(place, why));
        }
        if stored.format != CompressionFormat::None {
            let Some(left) = self.left.get().checked_sub(unpacked) else {
                let why = format!(
                    "with section {name}, whose {packed} bytes unpack to {unpacked}, the compressed sections of it and of the files that continue it unpack to more than {MAX_UNPACKED_BYTES} bytes; if it is to be trusted, unpack it: objcopy --decompress-debug-sections FILE UNPACKED"
                );
                return Err(ConvertError::unsupported(place, why));
            };
            self.left.set(left);
        }
        stored.decompress().map_err(corrupt)
    }
}

/// Up to `most` bytes of the section that has `address`, from there on.
pub(super) fn data_at<'d>(file: &object::File<'d>, address: u64, most: usize) -> Option<&'d [u8]> {
    let within = |section: &object::Section<'d, '_>| {
        let offset = address.checked_sub(section.address())?;
        section.size().checked_sub(offset).filter(|&left| left > 0)
    };
    let (section, left) = file.sections().find_map(|section| within(&section).map(|left| (section, left)))?;
    section.data_range(address, left.min(most as u64)).ok()?
}
