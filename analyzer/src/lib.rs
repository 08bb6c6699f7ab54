//! Analysis of memory images with profiles: image formats, page tables, kernel objects, autodetection and plugins.
//!
//! - [`image::open`] opens an image: physical memory ([`image::PhysicalMemory`]), whatever the file's format.
//! - [`Session::open`] finds the kernel in it and the kernel's profile, and checks that they fit.
//! - [`plugins::find`] gives a plugin, which turns a session into the rows of a table; a [`render::Renderer`] writes them.
//! - [`paging::AddressSpace`] is virtual memory; [`scan`] searches physical memory.
//!
//! `examples/inspect.rs` is a whole program over these; `examples/translate.rs` walks page tables many thousands of times.
//!
//! This crate never talks to a network. It depends on `quaid-profile` alone.
//!
//! # An image and virtual memory, without a profile
//!
//! ```
//! use quaid_analyzer::paging::{AMD64, AddressSpace, Software};
//! use quaid_analyzer::{FaultReason, Pa, Va, image};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A LiME file of 64 KiB: four page tables, and the page that they map at 0xffff800000000000.
//! let mut memory = vec![0; 0x1_0000];
//! for (at, entry) in [(0x1800, 0x2003_u64), (0x2000, 0x3003), (0x3000, 0x4003), (0x4000, 0x5003)] {
//!     memory[at..at + 8].copy_from_slice(&entry.to_le_bytes());
//! }
//! memory[0x5000..0x5005].copy_from_slice(b"hello");
//! // Magic and version, first and last address, nothing.
//! let header = [0x0000_0001_4c69_4d45, 0, 0xffff, 0].map(u64::to_le_bytes).concat();
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("memory.lime");
//! std::fs::write(&path, [header, memory].concat())?;
//!
//! let image = image::open(&path, &image::Options::default())?;
//! assert_eq!((image.describe().as_str(), image.runs()[0].start, image.runs()[0].bytes), ("LiME", Pa(0), 0x1_0000));
//! let kernel = AddressSpace::new(image.memory(), &AMD64, Software::None, 0x1000);
//! assert_eq!(kernel.translate(Va(0xffff_8000_0000_0000)), Ok(Pa(0x5000)));
//! assert_eq!(kernel.read_array(Va(0xffff_8000_0000_0000)), Ok(*b"hello"));
//! // What is missing is told, and never zeros without a word.
//! let fault = kernel.read_u64(Va(0xffff_8000_0000_1000)).expect_err("nothing is mapped there");
//! assert!(matches!(fault.reason, FaultReason::NotPresent { level: "PTE", entry: 0, .. }));
//! # Ok(())
//! # }
//! ```
//!
//! # The kernel in an image, and its processes
//!
//! ```no_run
//! use quaid_analyzer::{Args, Options, Session, image, plugins, render};
//! use quaid_profile::{DirectorySource, ProfilePath};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let image = image::open("win7.elf".as_ref(), &image::Options::default())?;
//!     let profiles = ProfilePath::new(vec![Box::new(DirectorySource::new("my-profiles"))]);
//!     // What the image's headers say spares a search of all of it.
//!     let known = Options { hints: image.hints.clone(), ..Options::default() };
//!     let session = Session::open(image.memory(), &profiles, &known, &mut |step| eprintln!("{step}"))?;
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
mod vmcoreinfo;

pub use addr::{Pa, Va};
pub use error::{FaultReason, PageFault};
pub use guess::{Evidence, Identity, LinuxKernel, OpenError, Options, Refusal, is_windows_kernel, linux_kernels};
pub use object::{LayoutError, ListFault};
pub use options::{Args, Opt, Value};
pub use session::{Error, Session};
pub use time::Time;
pub use vmcoreinfo::VmcoreInfo;
