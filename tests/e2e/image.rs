//! Image layers, page tables and scans on the images of the corpus, against what their makers say is in them.

use crate::support::{corpus_text, unpacked};
use quaid_analyzer::Va;
use quaid_analyzer::image::{Image, Options, open};
use quaid_analyzer::paging::{AMD64, AddressSpace, PagingSpec, Software, X86_PAE};
use std::path::Path;

fn image(path: &Path) -> Image {
    open(path, &Options::default()).expect("a readable image")
}

/// The address of a symbol in /proc/kallsyms as the guest printed it.
fn kallsyms(truth: &str, symbol: &str) -> Va {
    let line = truth.lines().find(|line| line.split_whitespace().nth(2) == Some(symbol)).expect("the symbol");
    let address = line.split_whitespace().next().expect("an address");
    Va(u64::from_str_radix(address, 16).expect("hex"))
}

#[test]
fn linux_symbols_read_through_the_page_tables_of_cr3() {
    let Some(path) = unpacked("linux/a256/mem.raw") else { return };
    let truth = corpus_text("linux/a256/groundtruth.txt.xz").expect("the truth");
    let registers = corpus_text("linux/a256/info_registers_-a.txt").expect("the registers");
    let cr3 = registers.split_whitespace().find_map(|word| word.strip_prefix("CR3=")).expect("CR3");
    let cr3 = u64::from_str_radix(cr3, 16).expect("hex");
    let image = image(&path);
    assert_eq!(image.describe(), "raw");
    let kernel = AddressSpace::new(image.memory(), &AMD64, Software::Linux, cr3);
    let banner: [u8; 39] = kernel.read_array(kallsyms(&truth, "linux_banner")).expect("the banner is mapped");
    assert_eq!(std::str::from_utf8(&banner), Ok("Linux version 6.1.0-56-cloud-amd64 (deb"));
    let text = kallsyms(&truth, "_text");
    let steps = kernel.walk(text);
    assert_eq!(steps.iter().map(|step| step.level).collect::<Vec<_>>(), ["PML4E", "PDPTE", "PDE"], "a 2 MiB page");
    // run.json of the image: slide 0x2e400000, phys_base -710934528; _text is linked at 0xffffffff81000000.
    let physical = text.0 - 0xffff_ffff_8000_0000 - 710_934_528;
    assert_eq!(kernel.translate(text).map(|pa| pa.0), Ok(physical));
}

#[test]
fn windows_kernels_are_where_the_truth_says() {
    let images: [(&str, &'static PagingSpec); 3] = [("xpsp3", &X86_PAE), ("win7x64", &AMD64), ("win10_19041", &AMD64)];
    for (name, spec) in images {
        let Some(path) = unpacked(&format!("windows/images/{name}.raw")) else { return };
        let truth = corpus_text(&format!("windows/images/{name}.truth.json.xz")).expect("the truth");
        let truth: serde_json::Value = serde_json::from_str(&truth).expect("JSON");
        let base = Va(truth["kernel_base"].as_u64().expect("kernel_base"));
        let system = &truth["processes"][0];
        let image = image(&path);
        let kernel = AddressSpace::new(
            image.memory(),
            spec,
            Software::Windows,
            system["dtb"].as_u64().expect("the System's dtb"),
        );
        assert_eq!(kernel.read_array(base).as_ref(), Ok(b"MZ"), "{name}");
        let record = base.wrapping_add(truth["rsds_rva"].as_u64().expect("rsds_rva"));
        assert_eq!(kernel.read_array(record).as_ref(), Ok(b"RSDS"), "{name}");
    }
}
