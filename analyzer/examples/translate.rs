//! Virtual addresses to physical ones, many at once, through page tables whose root is known.
//!
//! ```text
//! cargo run -p quaid-analyzer --example translate -- IMAGE amd64-linux <addresses
//! ```
//!
//! Each line of the input is the root register of a process or of the kernel (CR3) and a virtual address, both hexadecimal;
//! each line of the output the physical address, or why there is none. Layouts: `amd64`, `i386-pae`, `i386`; `-linux` after
//! `amd64` reads what Linux keeps in entries that are not present, `-windows` what Windows does.

use quaid_analyzer::Va;
use quaid_analyzer::image;
use quaid_analyzer::paging::{AMD64, AddressSpace, LinuxPtes, Software, WindowsPtes, X86, X86_PAE};
use std::error::Error;
use std::io::{BufRead, BufWriter, Write};
use std::sync::Arc;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, layout] = args.as_slice() else { return Err("usage: translate IMAGE LAYOUT <addresses".into()) };
    let (spec, software) = match layout.as_str() {
        "amd64" => (&AMD64, Software::None),
        "amd64-linux" => (&AMD64, Software::Linux(LinuxPtes::Amd64)),
        "amd64-windows" => (&AMD64, Software::Windows(Arc::new(WindowsPtes::amd64(true)))),
        "i386-pae" => (&X86_PAE, Software::None),
        "i386" => (&X86, Software::None),
        other => return Err(format!("the layout {other} is not known").into()),
    };
    let image = image::open(path.as_ref(), &image::Options::default())?;
    let kernel = AddressSpace::new(image.memory(), spec, software, 0);
    // An address space remembers what it translated, so that it is kept as long as the root stays.
    let mut space = kernel.clone();
    let mut known = 0;
    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (root, va) = line.split_once(' ').ok_or("a line is ROOT ADDRESS")?;
        let root = u64::from_str_radix(root, 16)?;
        if root != known {
            (space, known) = (kernel.with_root(root), root);
        }
        match space.translate(Va(u64::from_str_radix(va, 16)?)) {
            Ok(pa) => writeln!(out, "{:x}", pa.0)?,
            Err(fault) => writeln!(out, "{fault}")?,
        }
    }
    Ok(out.flush()?)
}
