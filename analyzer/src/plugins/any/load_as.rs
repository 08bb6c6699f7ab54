//! `load_as`: the address spaces of a session: the image's physical memory, the kernel's virtual memory, and the page files
//! that pages are read from.
//!
//! ```text
//! Address Space Kind                                      Begin / DTB              Bytes
//! ------------- ---------------------------------------- -------------- ----------------
//! physical      raw                                      0x000000000000        268435456
//! kernel        AMD64, 48-bit addresses                  0x000006810000           ------
//! ```

use crate::addr::Pa;
use crate::options::Args;
use crate::paging::Software;
use crate::plugins::Plugin;
use crate::session::{Error, Session};
use crate::table::{Cell, Column, RowSink, row};

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "load_as",
    os: None,
    about: "Load the physical and the kernel's address space, and tell what they are",
    columns: &[
        Column::text("space", "Address Space", 13),
        Column::text("kind", "Kind", 40),
        Column::address("begin", "Begin / DTB"),
        Column::int("bytes", "Bytes", 16),
    ],
    options: &[],
    run,
};

fn run(s: &Session<'_>, _: &Args, out: &mut dyn RowSink) -> Result<(), Error> {
    let runs = s.memory().runs();
    let begin = runs.first().map(|run| run.start);
    out.row(row!["physical", s.memory().describe(), begin, runs.iter().map(|run| run.bytes).sum::<u64>()])?;
    out.row(row!["kernel", s.kernel().spec().to_string(), s.kernel().root(), Cell::Absent])?;
    if let Software::Windows(ptes) = s.kernel().software() {
        for (number, file) in ptes.pagefiles.iter().enumerate() {
            out.row(row!["page file", format!("number {number}"), None::<Pa>, file.bytes()])?;
        }
    }
    Ok(())
}
