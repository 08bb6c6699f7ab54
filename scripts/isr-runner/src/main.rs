//! Reads a PDB, or a kernel's DWARF and its System.map, with the isr crate, and writes nothing: what its library makes of it
//! stays in memory.

use std::fs::File;

fn keep(profile: &isr_core::schema::Profile) -> Result<(), std::convert::Infallible> {
    std::hint::black_box(profile);
    Ok(())
}

fn main() {
    let files: Vec<File> =
        std::env::args_os().skip(1).map(|path| File::open(path).expect("the file opens")).collect();
    let read = match <[File; 2]>::try_from(files) {
        Ok([vmlinux, system_map]) => isr_dwarf::create_profile(vmlinux, system_map, keep).map_err(|why| why.to_string()),
        Err(files) => {
            let pdb = files.into_iter().next().expect("usage: isr-runner PDB | isr-runner VMLINUX SYSTEM_MAP");
            isr_pdb::create_profile(pdb, keep).map_err(|why| why.to_string())
        }
    };
    if let Err(why) = read {
        eprintln!("isr: {why}");
        std::process::exit(1);
    }
}
