//! `lsmod` for Linux: the loaded modules, the last one first, as `/proc/modules` has them.
//!
//! ```text
//!   Offset (V)   Name                       Size     Start
//! -------------- -------------------- ---------- --------------
//! 0xffffc03dd080 lab_known                 16384 0xffffc03db000
//! ```

use crate::options::Args;
use crate::os::linux::{Extent, Module, extent, is_formed};
use crate::plugins::Plugin;
use crate::session::{Error, Session};
use crate::table::{Column, RowSink, row};
use quaid_profile::Os;

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "lsmod",
    os: Some(Os::Linux),
    about: "List the loaded kernel modules",
    columns: &[
        Column::address("offset", "Offset (V)"),
        Column::text("name", "Name", 20),
        Column::int("size", "Size", 10),
        Column::address("start", "Start"),
    ],
    options: &[],
    run,
};

fn run(s: &Session<'_>, _: &Args, out: &mut dyn RowSink) -> Result<(), Error> {
    for module in s.list::<Module>(s.symbol("modules")?, |module| &module.list)? {
        let module = match module {
            Ok(module) => module,
            Err(fault) => {
                out.problem(fault.to_string());
                continue;
            }
        };
        if is_formed(&module).unwrap_or(true) {
            let Extent { start, bytes } = extent(s, &module)?;
            out.row(row![module.at, module.name(), bytes, start])?;
        }
    }
    Ok(())
}
