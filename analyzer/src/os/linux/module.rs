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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::testing::{memory, session};
    use quaid_profile::Os;

    const COMMON: &str = r#""list_head": [16, {"next": [0, ["Pointer", {"target": "list_head"}]], "prev": [8, ["Pointer", {"target": "list_head"}]]}],
        "module_layout": [80, {"base": [0, ["Pointer", {"target": "Void"}]], "size": [8, ["unsigned int"]]}],
        "module_memory": [72, {"base": [0, ["Pointer", {"target": "Void"}]], "size": [8, ["unsigned int"]]}]"#;

    /// Where a module is by a profile whose `struct module` has these members beside the common ones.
    fn extent_by(members: &str, put: &[(u64, u64)]) -> Result<(u64, u64), String> {
        let mut memory = memory(0x8000);
        for (offset, value) in put {
            memory.put(0x4000 + offset, *value);
        }
        let text = format!(
            r#"{{"$METADATA": {{"ProfileClass": "Linux", "arch": "AMD64"}}, "$STRUCTS": {{{COMMON}, "module": [1024, {{
            "state": [0, ["unsigned int"]], "list": [8, ["list_head"]], "name": [24, ["Array", {{"target": "char", "count": 56}}]]{members}}}]}}}}"#
        );
        let s = session(&memory, Os::Linux, &text);
        let module: Module = s.object(Va(0x4000)).map_err(|why| why.to_string())?;
        let extent = extent(&s, &module).map_err(|why| why.to_string())?;
        Ok((extent.start.expect("readable").0, extent.bytes.expect("readable")))
    }

    #[test]
    fn modules_since_6_4_are_the_sum_of_their_parts() {
        // MOD_TEXT, MOD_DATA, MOD_RODATA, MOD_RO_AFTER_INIT, and three for the start, given back: the layout of 6.6.
        let put = [
            (320, 0xc000_0000),
            (328, 0x2000),
            (392, 0xc001_0000),
            (400, 0x1000),
            (464, 0xc002_0000),
            (472, 0x3000),
            (544, 0x1000),
        ];
        let members = r#", "mem": [320, ["Array", {"target": "module_memory", "count": 7}]]"#;
        assert_eq!(extent_by(members, &put), Ok((0xc000_0000, 0x7000)));
    }

    #[test]
    fn modules_of_older_kernels_are_their_core_and_what_they_start_with() {
        let layouts = r#", "core_layout": [320, ["module_layout"]], "init_layout": [400, ["module_layout"]]"#;
        assert_eq!(extent_by(layouts, &[(320, 0xc000_0000), (328, 0x4000), (408, 0x1000)]), Ok((0xc000_0000, 0x5000)));
        let oldest = r#", "module_core": [320, ["Pointer", {"target": "Void"}]], "core_size": [332, ["unsigned int"]], "init_size": [328, ["unsigned int"]]"#;
        assert_eq!(extent_by(oldest, &[(320, 0xc000_0000), (328, 0x4000 << 32)]), Ok((0xc000_0000, 0x4000)));
    }

    #[test]
    fn a_module_without_any_of_them_is_an_error_that_says_so() {
        let error = extent_by("", &[]).expect_err("no place");
        assert!(
            error.contains("module cannot be read with profile made: it has no member mem, core_layout or module_core"),
            "{error}"
        );
    }
}
