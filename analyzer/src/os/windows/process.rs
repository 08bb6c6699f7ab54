//! Processes (`_EPROCESS`) and what hangs on them.

use crate::addr::{Pa, Va};
use crate::error::PageFault;
use crate::object::{CStr, Elements, KernelStruct, ListEntry, kernel_struct};
use crate::session::{Error, Session};
use crate::table::Cell;

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
        /// The page table with which it runs its own code, where the kernel is hidden from it (KVA shadow). Odd: there is none.
        user_dtb: Option<u64> = "Pcb.UserDirectoryTableBase",
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
        handles: Option<u32> = "HandleCount",
        /// Since Windows 8.1 the free lists count. The symbols tell one, and `ExpFreeListCount` how many follow.
        free_lists: Option<Elements> = "FreeLists",
    }
}

kernel_struct! {
    /// Handles that are free, and a part of the count of those in use.
    struct FreeList(FreeListLayout) = "_HANDLE_TABLE_FREE_LIST" {
        /// Negative where handles are given back to another list than the one they are from.
        handles: i64 = "HandleCount",
    }
}

kernel_struct! {
    /// A session's own memory. The symbols of Windows 11 24H2 do not tell it any more.
    struct SessionSpace(SessionSpaceLayout) = "_MM_SESSION_SPACE" {
        id: u32 = "SessionId",
    }
}

/// The most processors that Windows can have; there is a free list for each at most.
const MAX_PROCESSORS: u32 = 2048;

/// How many handles a process has, as the kernel's `ObGetProcessHandleCount` counts them; `None` when its table is gone.
pub(crate) fn handle_count(s: &Session<'_>, process: &Eprocess<'_>) -> Result<Result<Option<u32>, PageFault>, Error> {
    let table = s.follow::<HandleTable>(process.object_table())?;
    let Ok(Some(Some(lists))) = table.get(|table| table.free_lists()) else {
        return Ok(table.get(|table| table.handles()).map(Option::flatten));
    };
    let count = match s.symbol_if_any("ExpFreeListCount")? {
        Some(at) => s.kernel().read_u32(at).map(|count| count.clamp(1, MAX_PROCESSORS)),
        None => Ok(1),
    };
    let layout = s.layout::<FreeListLayout>()?;
    Ok(count.and_then(|count| {
        let counts = lists.first(count.into()).map(|at| FreeList::new(at, s.kernel(), layout).handles());
        let sum = counts.sum::<Result<i64, _>>()?;
        Ok(Some(u32::try_from(sum.max(0)).unwrap_or(u32::MAX)))
    }))
}

/// The number of a process's session; absent outside any.
pub(crate) fn session_id(s: &Session<'_>, process: &Eprocess<'_>) -> Cell {
    let space = process.session().map(Option::unwrap_or_default);
    match s.follow::<SessionSpace>(space) {
        Ok(space) => space.get(|space| space.id()).into(),
        Err(why) => Cell::Unreadable(why.to_string()),
    }
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
