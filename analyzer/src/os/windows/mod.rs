//! Windows: the NT kernel's structs.

pub(crate) mod exports;
mod mm;
mod process;

pub(crate) use mm::{ptes, with_state};
pub(crate) use process::{Eprocess, EprocessLayout, handle_count, session_id, virtual_address};
