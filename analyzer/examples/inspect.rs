//! What a memory image holds, and the text at a virtual address of it.
//!
//! ```text
//! cargo run -p quaid-analyzer --example inspect -- IMAGE
//! cargo run -p quaid-analyzer --example inspect -- IMAGE 0xffffffff82000000 --dtb 0x1000
//! cargo run -p quaid-analyzer --example inspect -- IMAGE linux_banner --profiles FOLDER
//! ```
//!
//! The first form lists formats, runs and gaps. The second reads through the page table of an x86-64 kernel at a physical
//! address that is known. The third finds kernel, profile and page table itself, and takes the name of a symbol as well.

use quaid_analyzer::image::{self, Image};
use quaid_analyzer::paging::{AMD64, AddressSpace, Software};
use quaid_analyzer::{Options, Session, Va};
use quaid_profile::{DirectorySource, ProfilePath};
use std::error::Error;

const USAGE: &str = "usage: inspect IMAGE [ADDRESS --dtb DTB | ADDRESS_OR_SYMBOL --profiles FOLDER]";

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (path, what) = args.split_first().ok_or(USAGE)?;
    let image = image::open(path.as_ref(), &image::Options::default())?;
    match what {
        [] => list(&image),
        [address, "--dtb", dtb] => {
            let kernel = AddressSpace::new(image.memory(), &AMD64, Software::None, number(dtb)?);
            println!("{}", text(&kernel, Va(number(address)?))?);
        }
        [place, "--profiles", folder] => {
            let profiles = ProfilePath::new(vec![Box::new(DirectorySource::new(*folder))]);
            // What the image's headers say spares a search of all of it.
            let options = Options { hints: image.hints.clone(), ..Options::default() };
            let session = Session::open(image.memory(), &profiles, &options, &mut |step| eprintln!("{step}"))?;
            let at = number(place).map_or_else(|_| session.symbol(place), |at| Ok(session.typed_address(at)))?;
            println!("{}", text(session.kernel(), at)?);
        }
        _ => return Err(USAGE.into()),
    }
    Ok(())
}

/// How the formats voted, what memory there is, and what is missing.
fn list(image: &Image) {
    for ballot in image.ballots.iter().filter(|ballot| ballot.won) {
        println!("format {}", ballot.format);
    }
    for run in image.runs() {
        println!("run {} {:#x} bytes", run.start, run.bytes);
    }
    for gap in image.gaps() {
        println!("gap {} {:#x} bytes: {}", gap.start, gap.bytes, gap.why.name());
    }
    for (what, value) in &image.hints.facts {
        println!("fact {what}: {value}");
    }
    for warning in &image.warnings {
        eprintln!("warning: {warning}");
    }
}

/// The text at `at`, up to its zero byte or to the end of what can be read.
fn text(space: &AddressSpace<'_>, at: Va) -> Result<String, Box<dyn Error>> {
    let mut buffer = [0; 256];
    if let Err(fault) = space.read(at, &mut buffer) {
        // What is missing is zero: an error only when nothing was there.
        if buffer[0] == 0 {
            return Err(fault.into());
        }
    }
    let bytes = buffer.split(|&byte| byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(bytes).escape_debug().to_string())
}

fn number(text: &str) -> Result<u64, Box<dyn Error>> {
    let digits = text.strip_prefix("0x").ok_or("addresses are hexadecimal: 0x...")?;
    Ok(u64::from_str_radix(digits, 16)?)
}
