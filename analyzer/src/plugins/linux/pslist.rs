//! `pslist` for Linux: the processes in the kernel's ring of tasks, zombies included, threads not.
//!
//! ```text
//!   Offset (V)   Name                    PID   PPID    UID    GID      DTB       Start Time
//! -------------- -------------------- ------ ------ ------ ------ -------------- --------------------
//! 0x95f600250000 init                      1      0      0      0 0x000003a5c000 2026-01-02 03:04:07
//! ```

use crate::options::{Args, Opt, Value};
use crate::os::linux::{Cred, Mm, Task, boot_time, tasks};
use crate::os::{PID, PROC_REGEX, Selection};
use crate::plugins::Plugin;
use crate::session::{Error, Session};
use crate::table::{Cell, Column, RowSink, row};
use crate::time::Time;
use quaid_profile::Os;

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "pslist",
    os: Some(Os::Linux),
    about: "List the processes in the kernel's list of tasks",
    columns: &[
        Column::address("offset", "Offset (V)"),
        Column::text("name", "Name", 20),
        Column::int("pid", "PID", 6),
        Column::int("ppid", "PPID", 6),
        Column::int("uid", "UID", 6),
        Column::int("gid", "GID", 6),
        Column::address("dtb", "DTB"),
        Column::time("start_time", "Start Time"),
    ],
    options: &[
        PID,
        PROC_REGEX,
        Opt::many("task", Value::Address, "The tasks whose task_struct is at these addresses of the kernel, listed or not"),
    ],
    run,
};

fn run(s: &Session<'_>, args: &Args, out: &mut dyn RowSink) -> Result<(), Error> {
    let selection = Selection::from_args(args)?;
    // The start times hang on it alone.
    let boot = boot_time(s).map_err(|why| why.to_string());
    let chosen = args.addresses("task", s)?;
    if !chosen.is_empty() {
        return chosen.into_iter().try_for_each(|at| process(s, &s.object(at)?, &selection, &boot, out));
    }
    for task in tasks(s)? {
        match task {
            Ok(task) => process(s, &task, &selection, &boot, out)?,
            Err(fault) => out.problem(fault.to_string()),
        }
    }
    Ok(())
}

fn process(s: &Session<'_>, task: &Task<'_>, selection: &Selection, boot: &Result<i64, String>, out: &mut dyn RowSink) -> Result<(), Error> {
    match selection.wants(|| task.pid().map(u64::from), || task.comm()) {
        Ok(true) => {}
        Ok(false) => return Ok(()),
        Err(fault) => {
            out.problem(format!("the task at {} cannot be compared with the options: {fault}", task.at));
            return Ok(());
        }
    }
    let parent = s.follow::<Task>(task.real_parent())?.get(|parent| parent.tgid());
    let cred = s.follow::<Cred>(task.cred())?;
    // Kernel threads and zombies have no memory.
    let dtb = s.follow::<Mm>(task.mm())?.get(|mm| s.kernel().translate(mm.pgd()?));
    let start = match boot {
        Ok(boot) => Cell::from(task.start_boottime().map(|start| Time::from_unix_nanoseconds(boot.saturating_add(start.0)))),
        Err(why) => Cell::Unreadable(why.clone()),
    };
    let (uid, gid) = (cred.get(|cred| cred.uid()), cred.get(|cred| cred.gid()));
    out.row(row![task.at, task.comm(), task.pid(), parent, uid, gid, dtb, start])?;
    Ok(())
}
