//! `modules` for Windows: the kernel, and the drivers and libraries it has loaded, in load order.
//!
//! ```text
//!   Offset (V)   Name                      Base            Size Path
//! -------------- -------------------- -------------- ---------- ----------------------------------------
//! 0xfa8000c56870 ntoskrnl.exe         0xf80002603000    6107136 \SystemRoot\system32\ntoskrnl.exe
//! ```

use crate::addr::Va;
use crate::object::{ListEntry, UnicodeString, kernel_struct};
use crate::options::Args;
use crate::plugins::Plugin;
use crate::session::{Error, Session};
use crate::table::{Column, RowSink, row};
use quaid_profile::Os;

kernel_struct! {
    /// A loaded image. The kernel's own struct has a name of its own since Windows 8's symbols.
    struct Module(ModuleLayout) = "_KLDR_DATA_TABLE_ENTRY" | "_LDR_DATA_TABLE_ENTRY" {
        links: ListEntry = "InLoadOrderLinks",
        name: UnicodeString = "BaseDllName",
        path: UnicodeString = "FullDllName",
        base: Va = "DllBase",
        /// In bytes.
        size: u32 = "SizeOfImage",
    }
}

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "modules",
    os: Some(Os::Windows),
    about: "List the kernel and the drivers in the order in which they were loaded",
    columns: &[
        Column::address("offset", "Offset (V)"),
        Column::text("name", "Name", 20),
        Column::address("base", "Base"),
        Column::int("size", "Size", 10),
        Column::text("path", "Path", 40),
    ],
    options: &[],
    run,
};

fn run(s: &Session<'_>, _: &Args, out: &mut dyn RowSink) -> Result<(), Error> {
    for module in s.list::<Module>(s.symbol("PsLoadedModuleList")?, |module| &module.links)? {
        match module {
            Ok(module) => out.row(row![module.at, module.name(), module.base(), module.size(), module.path()])?,
            Err(fault) => out.problem(fault.to_string()),
        }
    }
    Ok(())
}
