//! Reads a PDB with the isr crate, and writes nothing: what its library makes of it stays in memory.

use std::fs::File;

fn main() {
    let path = std::env::args_os().nth(1).expect("usage: isr-runner PDB");
    let file = File::open(path).expect("the PDB opens");
    let read = isr_pdb::create_profile(file, |profile| {
        std::hint::black_box(&profile);
        Ok::<(), std::convert::Infallible>(())
    });
    if let Err(why) = read {
        eprintln!("isr: {why}");
        std::process::exit(1);
    }
}
