//! Analysis of memory images with profiles: image formats, page tables, kernel objects, autodetection and plugins.
//!
//! This crate never talks to a network. It depends on `quaid-profile` alone.

mod addr;
mod error;
pub mod image;
pub mod paging;
pub mod render;
pub mod scan;
pub mod table;
mod time;

pub use addr::{Pa, Va};
pub use error::{FaultReason, PageFault};
pub use time::Time;
