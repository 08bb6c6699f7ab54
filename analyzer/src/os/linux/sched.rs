//! Tasks (`struct task_struct`, include/linux/sched.h) and what hangs on them.

use crate::addr::Va;
use crate::object::{CStr, List, ListEntry, Nanoseconds, kernel_struct};
use crate::session::{Error, Session};

kernel_struct! {
    /// A thread. The ring of all processes holds the first thread of each.
    pub(crate) struct Task(TaskLayout) = "task_struct" {
        /// In the ring of all processes, whose head is in `init_task`.
        tasks: ListEntry = "tasks",
        /// The thread's own id; that of the process is `tgid`.
        pid: u32 = "pid",
        tgid: u32 = "tgid",
        comm: CStr<64> = "comm",
        real_parent: Va = "real_parent",
        cred: Va = "cred",
        /// Null for kernel threads, and for processes that have exited.
        mm: Va = "mm",
        /// Since boot, sleep included. Named anew by Linux commit cf25e24db61c (5.5).
        start_boottime: Nanoseconds = "start_boottime" | "real_start_time",
    }
}

kernel_struct! {
    /// Credentials: here the real ids. They became structs with commit 7a4e7408c5ca (3.5).
    pub(crate) struct Cred(CredLayout) = "cred" {
        uid: u32 = "uid.val" | "uid",
        gid: u32 = "gid.val" | "gid",
    }
}

kernel_struct! {
    /// A process's memory.
    pub(crate) struct Mm(MmLayout) = "mm_struct" {
        /// Virtual address of the top page table.
        pgd: Va = "pgd",
        /// Where the arguments begin, in the process's own memory.
        arg_start: u64 = "arg_start",
        /// Where they end.
        arg_end: u64 = "arg_end",
    }
}

/// The processes, in the order in which they were made. The idle task, which heads the ring, is none.
pub(crate) fn tasks<'s>(s: &'s Session<'_>) -> Result<List<'s, Task<'s>>, Error> {
    let head = s.symbol("init_task")?.wrapping_add(s.layout::<TaskLayout>()?.tasks.offset);
    Ok(s.list::<Task>(head, |task| &task.tasks)?)
}
