//! Image layers, page tables and scans on the images of the corpus, against what their makers say is in them.

use crate::support::{corpus_text, formats, unpacked};
use quaid_analyzer::image::{Image, Options, open};
use quaid_analyzer::paging::{AMD64, AddressSpace, LinuxPtes, PagingSpec, Software, X86_PAE};
use quaid_analyzer::{Pa, Va};
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
    let kernel = AddressSpace::new(image.memory(), &AMD64, Software::Linux(LinuxPtes::Amd64), cr3);
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
        let kernel =
            AddressSpace::new(image.memory(), spec, Software::None, system["dtb"].as_u64().expect("the System's dtb"));
        assert_eq!(kernel.read_array(base).as_ref(), Ok(b"MZ"), "{name}");
        let record = base.wrapping_add(truth["rsds_rva"].as_u64().expect("rsds_rva"));
        assert_eq!(kernel.read_array(record).as_ref(), Ok(b"RSDS"), "{name}");
    }
}

/// (physical address, offset in flat.raw, bytes), as the maker of the file says.
fn expected_runs(truth: &serde_json::Value, file: &str) -> Vec<(u64, u64, u64)> {
    let number = |value: &serde_json::Value| {
        let text = value.as_str().expect("text").trim_start_matches("0x");
        u64::from_str_radix(text, 16).expect("hex")
    };
    let runs = truth[file]["runs"].as_array().expect("runs");
    let mut runs: Vec<_> = runs.iter().map(|run| (number(&run[0]), number(&run[1]), number(&run[2]))).collect();
    runs.sort_unstable();
    runs
}

#[test]
fn lime_and_elf_files_hold_the_memory_that_their_makers_put_there() {
    let Some(folder) = formats() else { return };
    let flat = std::fs::read(folder.join("flat.raw")).expect("flat.raw");
    let truth = std::fs::read(folder.join("synth/expected.json")).expect("expected.json");
    let truth: serde_json::Value = serde_json::from_slice(&truth).expect("JSON");
    let whole = vec![(0, 0, flat.len() as u64)];
    let made = |name: &str| expected_runs(&truth, name);
    for (file, format, runs, truncated) in [
        ("flat.raw", "raw", whole.clone(), false),
        ("synth/two.lime", "LiME", made("two.lime"), false),
        ("synth/odd.lime", "LiME", made("odd.lime"), false),
        ("synth/truncated.lime", "LiME", made("truncated.lime"), true),
        ("synth/core-xnum.elf", "ELF core", made("core-xnum.elf"), false),
        ("synth/core-unsorted.elf", "ELF core", made("core-unsorted.elf"), false),
        ("avml/flat.lime", "LiME", whole.clone(), false),
        // A 32-bit QEMU without a processor in long mode writes ELF32.
        ("qemu/none.elf", "ELF core", whole, false),
    ] {
        let image = image(&folder.join(file));
        assert_eq!(image.describe(), format, "{file}");
        let seen: Vec<_> = image.runs().iter().map(|run| (run.start.0, run.bytes)).collect();
        assert_eq!(seen, runs.iter().map(|&(at, _, bytes)| (at, bytes)).collect::<Vec<_>>(), "{file}");
        assert_eq!(image.warnings.iter().any(|warning| warning.contains("truncated")), truncated, "{file}");
        for (at, offset, bytes) in runs {
            let expected = flat.get(offset as usize..(offset + bytes) as usize).expect("inside flat.raw");
            let mut buffer = vec![0; expected.len()];
            assert_eq!(image.read(Pa(at), &mut buffer), Ok(()), "{file} at {at:#x}");
            assert!(buffer == expected && image.slice(Pa(at), buffer.len()) == Some(expected), "{file} at {at:#x}");
        }
    }
}

#[test]
fn qemu_s_elf_equals_its_own_copy_of_the_same_memory() {
    let Some(folder) = formats() else { return };
    let image = image(&folder.join("qemu/pc2.elf"));
    // Memory below and above 4 GiB. The first MiB has windows of the BIOS, which the dump has as the processor sees it.
    for (at, file) in [(0, "qemu/pc2.low.pmemsave"), (0x1_0000_0000, "qemu/pc2.high.pmemsave")] {
        let expected = std::fs::read(folder.join(file)).expect("pmemsave");
        let mut buffer = vec![0; expected.len()];
        assert_eq!(image.read(Pa(at), &mut buffer), Ok(()), "{file}");
        let from = if at == 0 { 0x10_0000 } else { 0 };
        assert!(buffer[from..] == expected[from..], "{file}");
    }
}

#[test]
fn a_lime_file_of_the_kernel_module_holds_the_guest_s_memory() {
    let Some(path) = unpacked("linux/small/linux-small-nobash.lime") else { return };
    let image = image(&path);
    let iomem = corpus_text("linux/small/linux-small-nobash.groundtruth.txt.gz").expect("the truth");
    // The guest's own list of its RAM, without the ranges inside others.
    let ram = iomem.lines().filter(|line| !line.starts_with(' ')).filter_map(|line| line.strip_suffix(" : System RAM"));
    let ram: Vec<(u64, u64)> = ram
        .filter_map(|range| range.split_once('-'))
        .map(|(from, to)| (u64::from_str_radix(from, 16).expect("hex"), u64::from_str_radix(to, 16).expect("hex")))
        .collect();
    let seen: Vec<_> = image.runs().iter().map(|run| (run.start.0, run.start.0 + run.bytes - 1)).collect();
    assert_eq!((seen, image.warnings.len()), (ram, 0));
}
