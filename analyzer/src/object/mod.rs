//! Typed access to kernel structs: code that reads like the kernel's own C.
//!
//! A [`kernel_struct!`] declares the members that its users need, with the kernel's names. The names are looked up in the
//! profile once a session and become offsets; a reader of a member is then one read of memory. What the profile tells is
//! never repeated here: offsets, widths and lengths come from it, the declaration adds the meaning (a text, a list, a
//! time) and the alternatives for kernels that call the member something else.

mod integer;
mod layout;
mod list;
mod memory;
mod types;
mod value;

pub(crate) use integer::Integer;
pub use layout::LayoutError;
pub(crate) use layout::{KernelStruct, Layout, Resolver, kernel_struct};
pub(crate) use list::List;
pub use list::ListFault;
pub(crate) use memory::Memory;
pub(crate) use types::Types;
pub(crate) use value::{CStr, Elements, ListEntry, Member, Nanoseconds, UnicodeString, text_of_bytes};

#[cfg(test)]
mod tests;
