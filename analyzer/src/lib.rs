//! Analysis of memory images with profiles: image formats, page tables, kernel objects, autodetection and plugins.
//!
//! - [`image::open`] opens an image: physical memory ([`image::PhysicalMemory`]), whatever the file's format.
//! - [`Session::open`] finds the kernel in it and the kernel's profile, and checks that they fit.
//! - [`plugins::find`] gives a plugin, which turns a session into the rows of a table; a [`render::Renderer`] writes them.
//! - [`paging::AddressSpace`] is virtual memory; [`scan`] searches physical memory.
//!
//! This crate never talks to a network. It depends on `quaid-profile` alone.
//!
//! ```no_run
//! use quaid_analyzer::{Args, Options, Session, image, plugins, render};
//! use quaid_profile::{DirectorySource, ProfilePath};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let image = image::open("win7.elf".as_ref(), &image::Options::default())?;
//!     let profiles = ProfilePath::new(vec![Box::new(DirectorySource::new("my-profiles"))]);
//!     let session = Session::open(image.memory(), &profiles, &Options::default(), &mut |step| eprintln!("{step}"))?;
//!     let pslist = plugins::find("pslist", session.os()).ok_or("no such plugin")?;
//!     let args = Args::new([("proc_regex".to_owned(), vec!["dumpit".to_owned()])]);
//!     let mut json = render::renderer("json", pslist.columns, std::io::stdout()).ok_or("no such renderer")?;
//!     let summary = pslist.run(&session, &args, json.as_mut())?;
//!     eprintln!("{} processes, {} cells could not be read", summary.rows, summary.unreadable);
//!     Ok(())
//! }
//! ```

mod addr;
mod error;
mod guess;
pub mod image;
mod object;
mod options;
mod os;
pub mod paging;
pub mod plugins;
pub mod render;
pub mod scan;
mod session;
pub mod table;
mod time;

pub use addr::{Pa, Va};
pub use error::{FaultReason, PageFault};
pub use guess::{Evidence, Identity, LinuxKernel, OpenError, Options, Refusal, is_windows_kernel, linux_kernels};
pub use object::{LayoutError, ListFault};
pub use options::{Args, Opt, Value};
pub use session::{Error, Session};
pub use time::Time;
