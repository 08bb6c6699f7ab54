//! Processes (`_EPROCESS`) and what hangs on them.

use crate::addr::{Pa, Va};
use crate::error::PageFault;
use crate::object::{CStr, ListEntry, kernel_struct};
use crate::session::{Error, Session};

kernel_struct! {
    /// A process.
    pub(crate) struct Eprocess(EprocessLayout) = "_EPROCESS" {
        pid: u64 = "UniqueProcessId",
        ppid: u64 = "InheritedFromUniqueProcessId",
        /// The file name of its program, cut to 14 or 15 bytes by the kernel.
        name: CStr<16> = "ImageFileName",
        /// In the ring of all processes, whose head is `PsActiveProcessHead`.
        links: ListEntry = "ActiveProcessLinks",
        /// The head of the ring of its threads.
        threads_head: ListEntry = "ThreadListHead",
        threads: u32 = "ActiveThreads",
        /// Physical address of its top page table, with flags in the low bits. On x86 the second word is no address.
        dtb: u64 = "Pcb.DirectoryTableBase.0" | "Pcb.DirectoryTableBase",
        /// A FILETIME.
        create_time: u64 = "CreateTime.QuadPart",
        /// A FILETIME; 0 while it runs.
        exit_time: u64 = "ExitTime.QuadPart",
        /// Null before the session manager starts sessions, and for what runs outside them.
        session: Option<Va> = "Session",
        /// Set for 32-bit processes on a 64-bit kernel; 32-bit kernels have no such member.
        wow64: Option<Va> = "Wow64Process" | "WoW64Process",
        /// Null once the process has exited.
        object_table: Va = "ObjectTable",
    }
}

kernel_struct! {
    /// A process's handles.
    struct HandleTable(HandleTableLayout) = "_HANDLE_TABLE" {
        /// Since Windows 8.1 the count is kept with the free list.
        handles: u32 = "HandleCount" | "FreeLists.0.HandleCount",
    }
}

kernel_struct! {
    /// A session's own memory.
    struct SessionSpace(SessionSpaceLayout) = "_MM_SESSION_SPACE" | "_PSP_SESSION_SPACE" {
        id: u32 = "SessionId",
    }
}

/// How many handles a process has; `None` when its table is gone.
pub(crate) fn handle_count(s: &Session<'_>, process: &Eprocess<'_>) -> Result<Result<Option<u32>, PageFault>, Error> {
    Ok(s.follow::<HandleTable>(process.object_table())?.get(|table| table.handles()))
}

/// The number of a process's session; `None` outside any.
pub(crate) fn session_id(s: &Session<'_>, process: &Eprocess<'_>) -> Result<Result<Option<u32>, PageFault>, Error> {
    let space = process.session().map(Option::unwrap_or_default);
    Ok(s.follow::<SessionSpace>(space)?.get(|space| space.id()))
}

/// The virtual address of the process whose struct lies at `pa`: the rings that it hangs in lead to it. `None` when they
/// do not, and then there is no process, or none that the kernel can reach.
pub(crate) fn virtual_address(s: &Session<'_>, pa: Pa) -> Result<Option<Va>, Error> {
    let layout = s.layout::<EprocessLayout>()?;
    let pointer_bytes = s.profile().pointer_bytes();
    let physical = |offset: u64| {
        let mut buffer = [0; 8];
        let part = buffer.get_mut(..pointer_bytes as usize).unwrap_or_default();
        s.memory().read(pa.wrapping_add(offset), part).ok()?;
        Some(Va(u64::from_le_bytes(buffer)))
    };
    for link in [&layout.links, &layout.threads_head] {
        // The entry behind ours names ours as the one before it. One that was unlinked names itself.
        let Some(next) = physical(link.offset) else { continue };
        let neighbour = s.object::<Neighbour>(next)?;
        let candidates = [neighbour.links().ok().map(|links| links.prev), Some(next)];
        for candidate in candidates.into_iter().flatten() {
            let va = candidate.wrapping_sub(link.offset);
            if s.kernel().translate(va) == Ok(pa) {
                return Ok(Some(va));
            }
        }
    }
    Ok(None)
}

kernel_struct! {
    /// Any entry of any ring.
    struct Neighbour(NeighbourLayout) = "_LIST_ENTRY" {
        links: ListEntry = "",
    }
}
