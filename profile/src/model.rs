//! The complete in-memory form of a profile.

use crate::ids::{BuildId, GuidAge};
use serde_json::Value;
use std::collections::BTreeMap;

/// A processor architecture, by the names that `$METADATA.arch` uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arch {
    /// x86, 32 bits ("I386").
    I386,
    /// x86-64 ("AMD64").
    Amd64,
    /// 32-bit ARM ("ARM").
    Arm,
    /// AArch64 ("ARM64").
    Arm64,
    /// MIPS, 32 bits ("MIPS").
    Mips,
    /// MIPS, 64 bits ("MIPS64").
    Mips64,
    /// PowerPC, 64 bits ("PPC64").
    Ppc64,
    /// RISC-V, 64 bits ("RISCV64").
    Riscv64,
    /// IBM Z ("S390X").
    S390x,
}

impl Arch {
    const NAMES: [(Self, &'static str); 9] = [
        (Self::I386, "I386"),
        (Self::Amd64, "AMD64"),
        (Self::Arm, "ARM"),
        (Self::Arm64, "ARM64"),
        (Self::Mips, "MIPS"),
        (Self::Mips64, "MIPS64"),
        (Self::Ppc64, "PPC64"),
        (Self::Riscv64, "RISCV64"),
        (Self::S390x, "S390X"),
    ];
    /// The name in `$METADATA.arch`.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(arch, _)| *arch == self).map_or("", |(_, name)| name)
    }
    /// From the name in `$METADATA.arch`, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(arch, _)| *arch)
    }
    /// Size of a pointer, in bytes.
    pub fn pointer_bytes(self) -> u64 {
        match self {
            Self::I386 | Self::Arm | Self::Mips => 4,
            Self::Amd64 | Self::Arm64 | Self::Mips64 | Self::Ppc64 | Self::Riscv64 | Self::S390x => 8,
        }
    }
}

/// The operating system whose kernel a profile describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Os {
    /// Windows: symbols are RVAs, relative to the image base.
    Windows,
    /// Linux: symbols are virtual addresses as linked.
    Linux,
    /// macOS: symbols are virtual addresses as linked.
    Macos,
}

/// `$METADATA`: what the profile is about and where it comes from. Unknown keys are kept.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata(pub BTreeMap<String, Value>);

impl Metadata {
    /// The text under `key`, if it is a text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }
    /// Sets a text.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }
    /// `Type`: "Profile" when absent.
    pub fn kind(&self) -> &str {
        self.text("Type").unwrap_or("Profile")
    }
    /// `Target` of a Symlink: the profile name to load instead.
    pub fn symlink_target(&self) -> Option<&str> {
        if self.kind() == "Symlink" { self.text("Target") } else { None }
    }
    /// `ProfileClass`.
    pub fn profile_class(&self) -> Option<&str> {
        self.text("ProfileClass")
    }
    /// `GUID_AGE`, when it is well formed (Rekall's last version wrote "-1").
    pub fn guid_age(&self) -> Option<GuidAge> {
        self.text("GUID_AGE")?.parse().ok()
    }
    /// `BuildID` of an ELF kernel.
    pub fn build_id(&self) -> Option<BuildId> {
        self.text("BuildID")?.parse().ok()
    }
    /// `Banner`: the text of `linux_banner`, or of Darwin's `version`, without the newline and NUL at its end.
    pub fn banner(&self) -> Option<&str> {
        self.text("Banner")
    }
    /// `Release`: what `uname -r` prints.
    pub fn release(&self) -> Option<&str> {
        self.text("Release")
    }
    /// The architecture. As in Rekall, a PE profile that names none is AMD64.
    pub fn arch(&self) -> Option<Arch> {
        match self.text("arch") {
            Some(name) => Arch::from_name(name),
            None if self.os() == Some(Os::Windows) => Some(Arch::Amd64),
            None => None,
        }
    }
    /// The operating system, told by `ProfileClass`, or by a PDB's identity.
    pub fn os(&self) -> Option<Os> {
        let class = self.profile_class().unwrap_or_default();
        if class.starts_with("Linux") {
            Some(Os::Linux)
        } else if class.starts_with("Darwin") || class.starts_with("OSX") {
            Some(Os::Macos)
        } else if self.0.contains_key("PDBFile")
            || self.0.contains_key("GUID_AGE")
            || class.starts_with("Nt")
            || class.starts_with("Win")
        {
            Some(Os::Windows)
        } else {
            None
        }
    }
}

/// A type, as a member, an element or a target has it.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// No type: what a `void *` points to.
    Void,
    /// A native type ("unsigned long") or a struct or union by name ("_LIST_ENTRY"). The profile that holds the
    /// name decides: a name in `structs` is a struct.
    Named(String),
    /// A pointer. `bytes` is its width where it differs from the architecture's.
    Pointer {
        /// What it points to.
        target: Box<Type>,
        /// Width in bytes, when not the architecture's own.
        bytes: Option<u8>,
    },
    /// `count` elements in a row; 0 is a flexible array. An array of arrays has the first dimension outermost.
    Array {
        /// The element.
        target: Box<Type>,
        /// Number of elements.
        count: u64,
    },
    /// Bits `start..end` of a storage unit of type `target` at the member's offset; bit 0 is the least significant.
    BitField {
        /// First bit.
        start: u64,
        /// The bit after the last.
        end: u64,
        /// Storage unit: an integer or an [`Type::Enum`].
        target: Box<Type>,
    },
    /// An enumeration by name, stored as `base` (an integer type).
    Enum {
        /// Key in `Profile::enums`.
        name: String,
        /// The integer type that holds it.
        base: Box<Type>,
    },
    /// A function type.
    Function {
        /// Argument types in order.
        args: Vec<Type>,
        /// Return type; `None` where the source does not tell.
        ret: Option<Box<Type>>,
    },
    /// An array of `length` UTF-16 code units, or where there is no `length` a single one, with which a text begins where
    /// something points to it (Rekall's `UnicodeString`).
    UnicodeString {
        /// Number of code units.
        length: Option<u64>,
    },
    /// A vtype class that the model has no form for, with its arguments, as read.
    Other {
        /// Class name.
        class: String,
        /// Keyword arguments.
        args: BTreeMap<String, Value>,
    },
}

impl Type {
    /// How deep the types nest that quaid makes. Real ones need less than ten, and a circle has no end. A function's
    /// argument lies three levels of JSON below it, and many readers of JSON, ours among them, take no more than 128.
    pub const MAX_DEPTH: u32 = 32;

    /// A native type or a struct by name.
    pub fn named(name: impl Into<String>) -> Self {
        Self::Named(name.into())
    }
    /// A pointer of the architecture's width.
    pub fn pointer_to(target: Type) -> Self {
        Self::Pointer { target: Box::new(target), bytes: None }
    }
    /// An array of `count` elements.
    pub fn array_of(target: Type, count: u64) -> Self {
        Self::Array { target: Box::new(target), count }
    }
    /// The name at the end of pointers, arrays and bit fields; `None` where something else than a name is there.
    pub fn end(&self) -> Option<&str> {
        match self {
            Self::Named(name) => Some(name),
            Self::Pointer { target, .. } | Self::Array { target, .. } | Self::BitField { target, .. } => target.end(),
            _ => None,
        }
    }
}

/// A member of a struct.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Offset from the struct's start, in bytes.
    pub offset: u64,
    /// Its type.
    pub ty: Type,
    /// The source gave it no name: its own members are found through the struct that has it.
    pub anonymous: bool,
}

/// What keyword declares a [`Struct`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StructKind {
    /// `struct`.
    #[default]
    Struct,
    /// `union`.
    Union,
    /// `class`.
    Class,
}

/// A struct, union or class: its size and members.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Struct {
    /// Size in bytes.
    pub size: u64,
    /// What it is.
    pub kind: StructKind,
    /// Members by name.
    pub members: BTreeMap<String, Member>,
    /// Members that are declared by a typedef of a native type (`pid_t`), and the typedef's name: it stands for the native
    /// type at the end of the member's type ([`Type::end`]). Names that tell no more than that type are left out.
    pub typedefs: BTreeMap<String, String>,
}

/// An enumeration.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Enum {
    /// Labels and values, in the order of declaration where the source tells it. Labels are unique, values need not be.
    pub values: Vec<(String, i128)>,
    /// Name of the integer type that holds it, where known.
    pub base: Option<String>,
    /// Size in bytes, where known.
    pub size: Option<u64>,
}

impl Enum {
    /// The label of `value`; of several, the last one declared, as Rekall has it.
    pub fn label(&self, value: i128) -> Option<&str> {
        self.values.iter().rev().find(|(_, known)| *known == value).map(|(label, _)| label.as_str())
    }
}

/// What a native type is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseKind {
    /// No value.
    Void,
    /// An integer.
    Int,
    /// A floating-point number.
    Float,
    /// A character.
    Char,
    /// A truth value.
    Bool,
}

/// A native type.
#[derive(Debug, Clone, PartialEq)]
pub struct BaseType {
    /// Size in bytes.
    pub size: u64,
    /// Whether it is signed.
    pub signed: bool,
    /// What it is.
    pub kind: BaseKind,
    /// Whether its bytes are stored most significant first.
    pub big_endian: bool,
}

impl BaseType {
    /// A little-endian integer.
    pub fn int(size: u64, signed: bool) -> Self {
        Self { size, signed, kind: BaseKind::Int, big_endian: false }
    }
}

/// A symbol's address and what it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symbol {
    /// RVA for a PE (relative to the image base), the virtual address as linked for ELF and Mach-O.
    pub address: u64,
    /// Whether the profile lists it as a function.
    pub function: bool,
}

/// What Rekall's sections cannot say and `$ISF` keeps, beside what the other fields hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IsfExtra {
    /// A symbol's name as the file had it, where decoration was stripped from it.
    pub linkage_names: BTreeMap<String, String>,
    /// `metadata` of the ISF file that this was read from.
    pub metadata: Option<Value>,
    /// Base64 text of a symbol's contents (ISF's `constant_data`).
    pub constant_data: BTreeMap<String, String>,
    /// Unions and classes that types refer to and `structs` does not define.
    pub declared: BTreeMap<String, StructKind>,
}

/// A complete profile.
///
/// Addresses are RVAs for Windows and full virtual addresses as linked for Linux and macOS: the masking to 48 bits of
/// Rekall's Linux files is done and undone by the reader and the writer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profile {
    /// `$METADATA`.
    pub metadata: Metadata,
    /// `$CONSTANTS`: addresses of data symbols, and absolute constants.
    pub constants: BTreeMap<String, u64>,
    /// `$FUNCTIONS`: addresses of functions.
    pub functions: BTreeMap<String, u64>,
    /// `$CONSTANT_TYPES`: types of data symbols, where known.
    pub constant_types: BTreeMap<String, Type>,
    /// `$ENUMS` and `$REVENUMS`.
    pub enums: BTreeMap<String, Enum>,
    /// `$STRUCTS`.
    pub structs: BTreeMap<String, Struct>,
    /// `$CONFIG`: Linux Kconfig options, values without quotes.
    pub config: BTreeMap<String, String>,
    /// `$MERGE`: names of profiles whose sections are applied on top.
    pub merge: Vec<String>,
    /// Native types by name, where the source tells them.
    pub base_types: BTreeMap<String, BaseType>,
    /// The rest of `$ISF`.
    pub isf: IsfExtra,
    /// Other sections (`$INDEX`, `$DYNAMIC_STRUCTS`, ...), as read.
    pub other: BTreeMap<String, Value>,
}

impl Profile {
    /// A profile that is only another name for `target`.
    pub fn symlink(target: &str) -> Self {
        let mut profile = Self::default();
        profile.metadata.set("Type", "Symlink");
        profile.metadata.set("Target", target);
        profile
    }

    /// The symbol of this name: `$CONSTANTS` first, then `$FUNCTIONS`.
    pub fn symbol(&self, name: &str) -> Option<Symbol> {
        let constant = self.constants.get(name).map(|&address| Symbol { address, function: false });
        constant.or_else(|| self.functions.get(name).map(|&address| Symbol { address, function: true }))
    }
}
