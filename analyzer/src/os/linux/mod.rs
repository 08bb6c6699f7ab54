//! Linux: the kernel's structs.

mod isolation;
mod module;
mod sched;
mod timekeeping;

pub(crate) use isolation::user_half;
pub(crate) use module::{Extent, Module, extent, is_formed};
pub(crate) use sched::{Cred, Mm, Task, tasks};
pub(crate) use timekeeping::boot_time;
