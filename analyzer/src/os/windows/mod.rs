//! Windows: the NT kernel's structs.

mod process;

pub(crate) use process::{Eprocess, EprocessLayout, handle_count, session_id, virtual_address};
