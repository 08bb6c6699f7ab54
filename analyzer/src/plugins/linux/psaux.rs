//! `psaux` for Linux: the processes and their command lines, read from each one's own memory.
//!
//! ```text
//!    PID    UID    GID Command
//! ------ ------ ------ ----------------------------------------
//!      1      0      0 /bin/busybox sh /init
//!      2      0      0 [kthreadd]
//! ```

use crate::addr::Va;
use crate::error::PageFault;
use crate::object::text_of_bytes;
use crate::options::Args;
use crate::os::linux::{Cred, Mm, tasks};
use crate::os::{PID, PROC_REGEX, Selection};
use crate::paging::PAGE_BYTES;
use crate::plugins::Plugin;
use crate::session::{Error, Session};
use crate::table::{Column, RowSink, row};
use quaid_profile::Os;

/// What is read of a process's arguments, in bytes. Linux takes up to a quarter of the stack's limit, mostly 2 MiB.
const MAX_ARGUMENTS: u64 = 2 << 20;

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "psaux",
    os: Some(Os::Linux),
    about: "List the processes with their command lines",
    columns: &[
        Column::int("pid", "PID", 6),
        Column::int("uid", "UID", 6),
        Column::int("gid", "GID", 6),
        Column::text("command", "Command", 40),
    ],
    options: &[PID, PROC_REGEX],
    run,
};

fn run(s: &Session<'_>, args: &Args, out: &mut dyn RowSink) -> Result<(), Error> {
    let selection = Selection::from_args(args)?;
    for task in tasks(s)? {
        let task = match task {
            Ok(task) => task,
            Err(fault) => {
                out.problem(fault.to_string());
                continue;
            }
        };
        match selection.wants(|| task.pid().map(u64::from), || task.comm()) {
            Ok(true) => {
                let cred = s.follow::<Cred>(task.cred())?;
                let command = s.follow::<Mm>(task.mm())?.get(|mm| command_line(s, &mm));
                out.row(row![
                    task.pid(),
                    cred.get(|cred| cred.uid()),
                    cred.get(|cred| cred.gid()),
                    command.and_then(|found| match found.flatten() {
                        Some(line) => Ok(line),
                        // As `ps` has it.
                        None => Ok(format!("[{}]", task.comm()?.0)),
                    }),
                ])?;
            }
            Ok(false) => {}
            Err(fault) => out.problem(format!("the task at {} cannot be compared with the options: {fault}", task.at)),
        }
    }
    Ok(())
}

/// The arguments, divided by blanks; `None` when there are none.
fn command_line(s: &Session<'_>, mm: &Mm<'_>) -> Result<Option<String>, PageFault> {
    let (start, end) = (mm.arg_start()?, mm.arg_end()?);
    let length = end.saturating_sub(start).min(MAX_ARGUMENTS) as usize;
    let root = s.kernel().translate(mm.pgd()?)?;
    let memory = s.kernel().with_root(root.0);
    let mut bytes = Vec::new();
    // Page by page: what is not there is met before much is asked for.
    while bytes.len() < length {
        let mut page = vec![0; (length - bytes.len()).min(PAGE_BYTES as usize)];
        memory.read(Va(start).wrapping_add(bytes.len() as u64), &mut page)?;
        bytes.append(&mut page);
    }
    let arguments = bytes.strip_suffix(&[0]).unwrap_or(&bytes);
    let arguments: Vec<String> = arguments.split(|&byte| byte == 0).map(text_of_bytes).collect();
    Ok(Some(arguments.join(" ")).filter(|line| !line.is_empty()))
}
