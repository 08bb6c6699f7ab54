//! Linux: the kernel's structs.

mod module;
mod sched;
mod timekeeping;

pub(crate) use module::{Extent, Module, extent, is_formed};
pub(crate) use sched::{Cred, Mm, Task, tasks};
pub(crate) use timekeeping::boot_time;
