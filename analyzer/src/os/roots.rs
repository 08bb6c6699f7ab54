//! The page tables of processes, on every operating system.

use super::{linux, windows};
use crate::addr::Pa;
use crate::error::PageFault;
use crate::object::ListFault;
use crate::session::{Error, Session};
use quaid_profile::Os;
use std::ops::ControlFlow;

/// A process and its page table.
pub(crate) struct Process {
    pub(crate) pid: Result<u64, PageFault>,
    pub(crate) name: Result<String, PageFault>,
    /// Its root register; `None` for those that have no memory of their own.
    pub(crate) root: Result<Option<u64>, PageFault>,
    /// The page table under which its own code runs, where that hides the kernel.
    pub(crate) user_root: Option<Pa>,
}

/// Gives each process to `visit`, or what is wrong with its place in the ring, until that breaks off.
pub(crate) fn processes(
    s: &Session<'_>,
    visit: &mut dyn FnMut(Result<Process, ListFault>) -> Result<ControlFlow<()>, Error>,
) -> Result<(), Error> {
    match s.os() {
        Os::Windows => {
            let head = s.symbol("PsActiveProcessHead")?;
            for process in s.list::<windows::Eprocess>(head, |process| &process.links)? {
                let found = process.map(|process| Process {
                    pid: process.pid(),
                    name: process.name().map(|name| name.0),
                    root: process.dtb().map(Some),
                    user_root: user_dtb(&process),
                });
                if visit(found)?.is_break() {
                    break;
                }
            }
        }
        Os::Linux => {
            let arch = s.profile().metadata().arch();
            for task in linux::tasks(s)? {
                let found = match task {
                    Ok(task) => {
                        let mm = s.follow::<linux::Mm>(task.mm())?;
                        let root = mm.get(|mm| s.kernel().translate(mm.pgd()?));
                        let user_root = root.as_ref().ok().copied().flatten();
                        let user_root = user_root.and_then(|root| linux::user_half(s.kernel(), arch, root));
                        Ok(Process {
                            pid: task.pid().map(u64::from),
                            name: task.comm().map(|name| name.0),
                            root: root.map(|root| root.map(|root| root.0)),
                            user_root,
                        })
                    }
                    Err(fault) => Err(fault),
                };
                if visit(found)?.is_break() {
                    break;
                }
            }
        }
        Os::Macos => {}
    }
    Ok(())
}

/// `KPROCESS.UserDirectoryTableBase`, where the process has one.
fn user_dtb(process: &windows::Eprocess<'_>) -> Option<Pa> {
    let root = process.user_dtb().ok().flatten()?;
    (root != 0 && root & 1 == 0).then_some(Pa(root & !0xfff))
}
