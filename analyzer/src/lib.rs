//! Analysis of memory images with profiles: image formats, page tables, kernel objects, autodetection and plugins.
//!
//! This crate never talks to a network. It depends on `quaid-profile` alone.

mod addr;
mod error;
pub mod image;
pub mod paging;
pub mod scan;

pub use addr::{Pa, Va};
pub use error::{FaultReason, PageFault};
