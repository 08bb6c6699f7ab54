//! Kernel modules (`struct module`, include/linux/module.h).

use crate::addr::Va;
use crate::error::PageFault;
use crate::object::{CStr, Elements, LayoutError, ListEntry, kernel_struct};
use crate::session::{Error, Session};

kernel_struct! {
    /// A loaded module.
    pub(crate) struct Module(ModuleLayout) = "module" {
        /// In the ring whose head is `modules`.
        list: ListEntry = "list",
        name: CStr<64> = "name",
        /// `enum module_state`.
        state: u32 = "state",
        /// Its memory since commit ac3b43283923 (6.4): an element for each kind of section, code first.
        mem: Option<Elements> = "mem",
        /// Its memory since commit 7523e4dc5057 (4.5), and before: the same members without a struct around them.
        core_base: Option<Va> = "core_layout.base" | "module_core",
        core_size: Option<u32> = "core_layout.size" | "core_size",
        /// What it needs while it starts; given back then.
        init_size: Option<u32> = "init_layout.size" | "init_size",
    }
}

kernel_struct! {
    /// A part of a module's memory.
    struct ModuleMemory(ModuleMemoryLayout) = "module_memory" {
        base: Va = "base",
        size: u32 = "size",
    }
}

/// `MODULE_STATE_UNFORMED`: the struct is there, the module is not.
const UNFORMED: u32 = 3;

/// Whether the module is more than a struct that is being filled; `/proc/modules` leaves others out.
pub(crate) fn is_formed(module: &Module<'_>) -> Result<bool, PageFault> {
    Ok(module.state()? != UNFORMED)
}

/// A module's memory, as `/proc/modules` has it.
pub(crate) struct Extent {
    /// Where its code begins.
    pub(crate) start: Result<Va, PageFault>,
    /// The size of all its parts, in bytes.
    pub(crate) bytes: Result<u64, PageFault>,
}

/// Where a module is, and how large.
pub(crate) fn extent(s: &Session<'_>, module: &Module<'_>) -> Result<Extent, Error> {
    if let Some(parts) = module.mem().unwrap_or_default() {
        let mut extent = Extent { start: Ok(Va(0)), bytes: Ok(0) };
        for (index, at) in parts.iter().enumerate() {
            let part = s.object::<ModuleMemory>(at)?;
            if index == 0 {
                extent.start = part.base();
            }
            extent.bytes = extent.bytes.and_then(|sum| Ok(sum + u64::from(part.size()?)));
        }
        return Ok(extent);
    }
    let lacks = || LayoutError {
        structure: "module",
        profile: s.profile_name().to_owned(),
        problems: vec!["it has no member mem, core_layout or module_core".to_owned()],
    };
    let start = module.core_base().transpose().ok_or_else(lacks)?;
    let core = module.core_size().transpose().ok_or_else(lacks)?;
    let bytes = core.and_then(|core| Ok(u64::from(core) + u64::from(module.init_size()?.unwrap_or_default())));
    Ok(Extent { start, bytes })
}
