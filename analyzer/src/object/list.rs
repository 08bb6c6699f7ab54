//! Walks of the kernels' rings: `struct list_head`, `_LIST_ENTRY`.

use super::layout::KernelStruct;
use super::memory::Memory;
use super::value::{ListShape, Slot};
use crate::addr::Va;
use crate::error::{FaultReason, PageFault};
use std::collections::HashSet;
use std::marker::PhantomData;

/// How many entries of one ring are followed. It bounds the memory that a hostile image can ask for; a machine has some
/// thousands of processes and some hundreds of modules.
const MAX_ENTRIES: usize = 1 << 20;

/// A ring that does not lead back to its head. What came before was in the ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListFault {
    /// An entry could not be read.
    #[error("the list at {head} breaks off after {entries} entries: {fault}")]
    Unreadable {
        /// The list's head.
        head: Va,
        /// How many entries came before.
        entries: usize,
        /// Why the next one cannot be read.
        fault: PageFault,
    },
    /// An entry comes again before the head does.
    #[error("the list at {head} runs in a circle after {entries} entries: {at} comes again before the head")]
    Circle {
        /// The list's head.
        head: Va,
        /// How many entries came before.
        entries: usize,
        /// The entry that comes again.
        at: Va,
    },
    /// There are more entries than any kernel has.
    #[error("the list at {head} has more than {entries} entries")]
    TooLong {
        /// The list's head.
        head: Va,
        /// How many entries were followed.
        entries: usize,
    },
}

/// The entries of the ring whose head is at `head`, in order, without the head. A ring that breaks gives the fault as its
/// last item. An entry that the image should have and does not is an item still, as the struct around it may lie in part
/// on another page; one at an address that maps nothing is none.
pub(crate) fn entries(memory: &dyn Memory, head: Va, shape: ListShape) -> Entries<'_> {
    let mut entries = Entries { memory, head, shape, next: None, seen: HashSet::new() };
    entries.next = Some(entries.link_of(head));
    entries
}

/// See [`entries`].
pub(crate) struct Entries<'s> {
    memory: &'s dyn Memory,
    head: Va,
    shape: ListShape,
    /// What the last entry names as the next one; `None` at the end.
    next: Option<Result<Va, PageFault>>,
    seen: HashSet<Va>,
}

impl Entries<'_> {
    fn link_of(&self, entry: Va) -> Result<Va, PageFault> {
        self.memory.uint(entry.wrapping_add(self.shape.next), self.shape.pointer_bytes).map(Va)
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Va, ListFault>;

    fn next(&mut self) -> Option<Self::Item> {
        let (head, entries) = (self.head, self.seen.len());
        let at = match self.next.take()? {
            Ok(at) => at,
            Err(fault) => return Some(Err(ListFault::Unreadable { head, entries, fault })),
        };
        if at == head {
            return None;
        }
        if entries == MAX_ENTRIES {
            return Some(Err(ListFault::TooLong { head, entries }));
        }
        let link = self.link_of(at);
        if let Err(fault) = &link
            && !matches!(fault.reason, FaultReason::NotInImage(_) | FaultReason::Truncated(_) | FaultReason::Io(_))
        {
            return Some(Err(ListFault::Unreadable { head, entries, fault: fault.clone() }));
        }
        if !self.seen.insert(at) {
            return Some(Err(ListFault::Circle { head, entries, at }));
        }
        self.next = Some(link);
        Some(Ok(at))
    }
}

/// The structs of type `T` that hang in a ring by one of their members.
pub(crate) struct List<'s, T: KernelStruct<'s>> {
    entries: Entries<'s>,
    layout: &'s T::Layout,
    link: u64,
    structs: PhantomData<T>,
}

impl<'s, T: KernelStruct<'s>> List<'s, T> {
    /// The ring whose head is at `head`; `link` is the member of `T` by which it hangs there.
    pub(crate) fn new(memory: &'s dyn Memory, head: Va, layout: &'s T::Layout, link: &Slot<ListShape>) -> Self {
        let entries = entries(memory, head, link.list_shape());
        Self { entries, layout, link: link.offset, structs: PhantomData }
    }
}

impl<'s, T: KernelStruct<'s>> Iterator for List<'s, T> {
    type Item = Result<T, ListFault>;

    fn next(&mut self) -> Option<Self::Item> {
        let memory = self.entries.memory;
        let entry = self.entries.next()?;
        Some(entry.map(|at| T::new(at.wrapping_sub(self.link), memory, self.layout)))
    }
}
