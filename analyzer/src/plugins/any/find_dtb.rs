//! `find_dtb`: the page tables of the kernel and of the processes, and whether they show the kernel.
//!
//! ```text
//! Name                    PID      DTB          User DTB     Valid Layout
//! -------------------- ------ -------------- -------------- ------ ----------------------------------------
//! kernel               ------ 0x000006810000 -                True AMD64, 48-bit addresses
//! init                      1 0x000002660000 -                True AMD64, 48-bit addresses
//! ```

use crate::addr::{Pa, Va};
use crate::error::PageFault;
use crate::options::Args;
use crate::os::{Process, processes};
use crate::paging::{AddressSpace, Halves};
use crate::plugins::Plugin;
use crate::session::{Error, Session};
use crate::table::{Cell, Column, RowSink, row};
use quaid_profile::Os;
use std::ops::ControlFlow;

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "find_dtb",
    os: None,
    about: "Find the page tables of the kernel and of the processes",
    columns: &[
        Column::text("name", "Name", 20),
        Column::int("pid", "PID", 6),
        Column::address("dtb", "DTB"),
        Column::address("user_dtb", "User DTB"),
        Column::bool("valid", "Valid"),
        Column::text("layout", "Layout", 40),
    ],
    options: &[],
    run,
};

fn run(s: &Session<'_>, _: &Args, out: &mut dyn RowSink) -> Result<(), Error> {
    let kernel = s.kernel();
    let layout = kernel.spec().to_string();
    // The kernel's own: the autodetection has checked it, and found the kernel by it.
    out.row(row!["kernel", Cell::Absent, kernel.root(), None::<Pa>, true, layout.clone()])?;
    let landmark = landmark(s)?;
    processes(s, &mut |process| {
        match process {
            Ok(Process { pid, name, root, user_root, .. }) => {
                let valid = match &root {
                    Ok(None) => return Ok(ControlFlow::Continue(())),
                    Ok(Some(root)) => shows_kernel(&kernel.with_root(*root), kernel, landmark).into(),
                    Err(_) => Cell::Absent,
                };
                let root = root.map(|root| root.map(|root| Pa(kernel.spec().root(root))));
                out.row(row![name, pid, root, user_root, valid, layout.clone()])?;
            }
            Err(fault) => out.problem(fault.to_string()),
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// An address in the kernel's image.
fn landmark(s: &Session<'_>) -> Result<Va, Error> {
    s.symbol(match s.os() {
        Os::Windows => "PsActiveProcessHead",
        Os::Linux | Os::Macos => "linux_banner",
    })
}

/// Whether a process's page table shows the kernel where it is. Where the two halves of the addresses have their own page
/// tables, that of a process shows none, and is as good as its first entry can be read.
fn shows_kernel(space: &AddressSpace<'_>, kernel: &AddressSpace<'_>, landmark: Va) -> bool {
    if kernel.spec().halves == Halves::TwoRoots {
        return kernel.memory().read(space.root(), &mut [0; 8]).is_ok();
    }
    let found: Result<Pa, PageFault> = space.translate(landmark);
    found.is_ok() && found == kernel.translate(landmark)
}
