//! `vtop`: how a virtual address becomes a physical one, level by level.
//!
//! ```text
//! Level              Entry (P)    Value              Meaning                                  Flags
//! ---------------- -------------- ------------------ ---------------------------------------- --------------------
//! PML4E            0x000000187f80 0x0000000000199063 table at 0x199000                        P W A
//! PDPTE            0x000000199050 0x000000000019a063 table at 0x19a000                        P W A
//! PDE              0x00000019a0a0 0x00000000028009e3 large page at 0x2800000, 2 MiB           P W A D G PS
//! Physical Address 0x00000281a000 -                  -                                        -
//! ```

use crate::addr::Va;
use crate::options::{Args, Opt, Value};
use crate::os::processes;
use crate::paging::AddressSpace;
use crate::plugins::Plugin;
use crate::session::{Error, Session};
use crate::table::{Column, RowSink, row};
use std::ops::ControlFlow;

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "vtop",
    os: None,
    about: "Show the page-table walk from a virtual address to its physical one",
    columns: &[
        Column::text("level", "Level", 16),
        Column::address("entry", "Entry (P)"),
        Column::text("value", "Value", 18),
        Column::text("meaning", "Meaning", 40),
        Column::text("flags", "Flags", 20),
    ],
    options: &[
        Opt::positional("address", Value::Address, "The virtual address"),
        Opt::one("pid", Value::Int, "In the address space of the process with this PID, and not in the kernel's"),
    ],
    run,
};

fn run(s: &Session<'_>, args: &Args, out: &mut dyn RowSink) -> Result<(), Error> {
    let missing = || Error::Option { option: "address".to_owned(), why: "the virtual address is missing".to_owned() };
    let va = args.address("address", s)?.ok_or_else(missing)?;
    match args.int("pid")? {
        None => show(s.kernel(), va, out),
        Some(pid) => show(&s.kernel().with_root(root_of(s, pid, out)?), va, out),
    }
}

fn show(space: &AddressSpace<'_>, va: Va, out: &mut dyn RowSink) -> Result<(), Error> {
    for step in space.walk(va) {
        let value = format!("{:#0width$x}", step.entry, width = usize::from(space.spec().entry_bytes) * 2 + 2);
        let flags = Some(space.flags(&step)).filter(|flags| !flags.is_empty());
        out.row(row![step.level, step.entry_at, value, step.meaning.to_string(), flags])?;
    }
    match space.translate(va) {
        Ok(pa) => out.row(row!["Physical Address", pa, None::<String>, None::<String>, None::<String>])?,
        Err(fault) => out.problem(fault.to_string()),
    }
    Ok(())
}

/// The root register of a process.
fn root_of(s: &Session<'_>, pid: u64, out: &mut dyn RowSink) -> Result<u64, Error> {
    let refuse = |why: &str| Error::Option { option: "pid".to_owned(), why: format!("{pid}: {why}") };
    let mut found = None;
    processes(s, &mut |process| {
        Ok(match process {
            Ok(process) if process.pid == Ok(pid) => {
                found = Some(process.root);
                ControlFlow::Break(())
            }
            Ok(_) => ControlFlow::Continue(()),
            Err(fault) => {
                out.problem(fault.to_string());
                ControlFlow::Continue(())
            }
        })
    })?;
    match found {
        Some(Ok(Some(root))) => Ok(root),
        Some(Ok(None)) => Err(refuse("it has no memory of its own")),
        Some(Err(fault)) => Err(Error::Fault { what: format!("the process {pid}"), fault }),
        None => Err(refuse("there is no such process")),
    }
}
