//! `pslist` for Windows: the processes in the kernel's ring of processes, exited ones that it still holds included.
//!
//! ```text
//!   Offset (V)   Name                    PID   PPID   Thds     Hnds   Sess  Wow64 Start                Exit
//! -------------- -------------------- ------ ------ ------ -------- ------ ------ -------------------- --------------------
//! 0xfa80008959e0 System                    4      0     84      511 ------  False 2012-10-01 21:39:51  -
//! ```

use crate::addr::{Pa, Va};
use crate::options::{Args, Opt, Value};
use crate::os::windows::{Eprocess, handle_count, session_id, virtual_address};
use crate::os::{PID, PROC_REGEX, Selection};
use crate::plugins::Plugin;
use crate::session::{Error, Session};
use crate::table::{Column, RowSink, row};
use crate::time::Time;
use quaid_profile::Os;

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "pslist",
    os: Some(Os::Windows),
    about: "List the processes in the kernel's list of processes",
    columns: &[
        Column::address("offset", "Offset (V)"),
        Column::text("name", "Name", 20),
        Column::int("pid", "PID", 6),
        Column::int("ppid", "PPID", 6),
        Column::int("thds", "Thds", 6),
        Column::int("hnds", "Hnds", 8),
        Column::int("sess", "Sess", 6),
        Column::bool("wow64", "Wow64"),
        Column::time("start", "Start"),
        Column::time("exit", "Exit"),
    ],
    options: &[
        PID,
        PROC_REGEX,
        Opt::many("eprocess", Value::Address, "The processes whose _EPROCESS is at these addresses of the kernel, listed or not"),
        Opt::many("phys_eprocess", Value::Address, "The processes whose _EPROCESS is at these physical addresses, listed or not"),
        Opt::one("kdbg", Value::Address, "Where the debugger data block is that names the list of processes"),
    ],
    run,
};

fn run(s: &Session<'_>, args: &Args, out: &mut dyn RowSink) -> Result<(), Error> {
    let selection = Selection::from_args(args)?;
    let mut chosen = args.addresses("eprocess", s)?;
    for pa in args.ints("phys_eprocess")? {
        let why = || "the rings of processes and threads lead to no _EPROCESS at this physical address".to_owned();
        let va = virtual_address(s, Pa(pa))?;
        chosen.push(va.ok_or_else(|| Error::Option { option: "phys_eprocess".to_owned(), why: format!("{pa:#x}: {}", why()) })?);
    }
    if !chosen.is_empty() {
        return chosen.into_iter().try_for_each(|at| process(s, &s.object(at)?, &selection, out));
    }
    let head = match args.address("kdbg", s)? {
        Some(kdbg) => head_of_kdbg(s, kdbg)?,
        None => s.symbol("PsActiveProcessHead")?,
    };
    for found in s.list::<Eprocess>(head, |process| &process.links)? {
        match found {
            Ok(found) => process(s, &found, &selection, out)?,
            Err(fault) => out.problem(fault.to_string()),
        }
    }
    Ok(())
}

fn process(s: &Session<'_>, p: &Eprocess<'_>, selection: &Selection, out: &mut dyn RowSink) -> Result<(), Error> {
    match selection.wants(|| p.pid(), || p.name()) {
        Ok(true) => {}
        Ok(false) => return Ok(()),
        Err(fault) => {
            out.problem(format!("the process at {} cannot be compared with the options: {fault}", p.at));
            return Ok(());
        }
    }
    out.row(row![
        p.at,
        p.name(),
        p.pid(),
        p.ppid(),
        p.threads(),
        handle_count(s, p)?,
        session_id(s, p),
        p.wow64().map(|wow64| wow64.is_some_and(|at| at != Va(0))),
        p.create_time().map(Time::from_filetime),
        p.exit_time().map(Time::from_filetime),
    ])?;
    Ok(())
}

/// The head of the ring of processes, as the debugger data block at `kdbg` has it. `_KDDEBUGGER_DATA64` is the same in all
/// builds: the tag "KDBG" at 0x10, `PsActiveProcessHead` at 0x50. Windows 8 and later keep it encoded until a debugger is
/// attached.
fn head_of_kdbg(s: &Session<'_>, kdbg: Va) -> Result<Va, Error> {
    let fault = |fault| Error::Fault { what: format!("the debugger data block at {kdbg}"), fault };
    let tag: [u8; 4] = s.kernel().read_array(kdbg.wrapping_add(0x10)).map_err(fault)?;
    if &tag != b"KDBG" {
        let why = format!("there is no debugger data block at {kdbg}, or it is encoded: {tag:02x?} for the tag KDBG");
        return Err(Error::Option { option: "kdbg".to_owned(), why });
    }
    let head = s.kernel().read_u64(kdbg.wrapping_add(0x50)).map_err(fault)?;
    // 32-bit kernels extend their addresses by the sign.
    Ok(Va(if s.profile().pointer_bytes() == 4 { head & 0xffff_ffff } else { head }))
}
