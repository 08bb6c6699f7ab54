//! What images' headers say spares the search, and does not decide against the memory.

use crate::support::{arm64_elf, corpus, folder, linux_repository, nt_isf, text, unpacked};
use quaid_analyzer::image::{self, Gap, Hints, PhysicalMemory, Run};
use quaid_analyzer::{OpenError, Options, Pa, PageFault, Session, Va, VmcoreInfo};
use quaid_profile::ProfilePath;
use std::sync::atomic::{AtomicU64, Ordering};

/// Memory that counts the bytes that are looked at.
struct Counting<'m> {
    memory: &'m dyn PhysicalMemory,
    bytes: AtomicU64,
}

impl PhysicalMemory for Counting<'_> {
    fn read(&self, at: Pa, buffer: &mut [u8]) -> Result<(), PageFault> {
        self.bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.memory.read(at, buffer)
    }
    fn runs(&self) -> &[Run] {
        self.memory.runs()
    }
    fn gaps(&self) -> &[Gap] {
        self.memory.gaps()
    }
    fn slice(&self, at: Pa, bytes: usize) -> Option<&[u8]> {
        let slice = self.memory.slice(at, bytes)?;
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Some(slice)
    }
    fn release(&self, at: Pa, bytes: usize) {
        self.memory.release(at, bytes);
    }
    fn describe(&self) -> String {
        self.memory.describe()
    }
}

/// What a session came to.
struct Opened {
    /// Where a symbol is.
    symbol: Va,
    root: Pa,
    /// How many bytes were looked at to find the kernel.
    bytes: u64,
    steps: Vec<String>,
}

impl Opened {
    fn says(&self, what: &str) -> bool {
        self.steps.iter().any(|step| step.contains(what))
    }
}

fn open(memory: &dyn PhysicalMemory, profiles: &ProfilePath, hints: Hints, symbol: &str) -> Opened {
    let memory = Counting { memory, bytes: AtomicU64::new(0) };
    let mut steps = Vec::new();
    let options = Options { hints, ..Options::default() };
    let session =
        Session::open(&memory, profiles, &options, &mut |step| steps.push(step.to_owned())).expect("a session");
    let (symbol, root) = (session.symbol(symbol).expect("a symbol"), session.kernel().root());
    drop(session);
    Opened { symbol, root, bytes: memory.bytes.into_inner(), steps }
}

/// The address of a symbol of the guest's own /proc/kallsyms, and the guest's banner.
fn truth(folder: &str, symbol: &str) -> Option<(Va, String)> {
    let printed = text(&format!("{folder}/groundtruth.txt"))?;
    let section = |name: &str| {
        let (_, rest) = printed.split_once(&format!("==BEGIN {name}==\n")).expect("a section");
        rest.split("==END").next().expect("never empty").to_owned()
    };
    let kallsyms = section("kallsyms");
    let line = kallsyms.lines().find(|line| line.ends_with(&format!(" {symbol}"))).expect("the symbol");
    let address = u64::from_str_radix(line.split(' ').next().expect("an address"), 16).expect("hex");
    Some((Va(address), section("version").trim_end().to_owned()))
}

#[test]
fn vmcoreinfo_of_qemu_s_elf_leads_to_the_arm64_kernel() {
    let (Some(path), Some((expected, banner))) = (arm64_elf(), truth("linux/arm64", "_stext")) else { return };
    let profile = corpus("linux/arm64/linux-6.1.0-56-cloud-arm64.isf.json.xz").expect("the corpus is there");
    let repository = linux_repository(&banner, &profile);
    let image = image::open(&path, &image::Options::default()).expect("an image");
    let profiles = folder(repository.path());
    let seen = open(image.memory(), &profiles, image.hints.clone(), "_stext");
    assert_eq!(seen.symbol, expected);
    assert!(seen.says("A kernel is where VMCOREINFO of the image says"), "{:#?}", seen.steps);
    let searched = open(image.memory(), &profiles, Hints::default(), "_stext");
    assert_eq!((searched.symbol, searched.root), (seen.symbol, seen.root));
    // The kernel's image alone: _stext to swapper_pg_dir are 20 MiB; without, all up to its banner.
    assert!(seen.bytes < 24 << 20 && searched.bytes > seen.bytes, "{} of {}", seen.bytes, searched.bytes);
}

#[test]
fn vmcoreinfo_and_cr3_lead_to_a_kernel_for_x86_and_wrong_ones_do_not_mislead() {
    let (Some(path), Some((expected, banner))) = (unpacked("linux/a256/mem.raw"), truth("linux/a256", "init_task"))
    else {
        return;
    };
    let profile = corpus("linux/profiles/debian-6.1.0-56-cloud-amd64.isf.json.xz").expect("the corpus is there");
    let repository = linux_repository(&banner, &profile);
    let profiles = folder(repository.path());
    let image = image::open(&path, &image::Options::default()).expect("an image");
    let written = VmcoreInfo::in_memory(image.memory(), "6.1.0-56-cloud-amd64").find(|info| info.build_id().is_some());
    let info = written.expect("it is there");
    // init_top_pgt, as QEMU's `info registers` has it for the idle processor.
    let dtb = Pa(0x681_0000);
    let with = |info: &VmcoreInfo, dtbs: &[Pa]| {
        let hints = Hints { vmcoreinfo: info.clone(), dtbs: dtbs.to_vec(), ..Hints::default() };
        let seen = open(image.memory(), &profiles, hints, "init_task");
        assert_eq!((seen.symbol, seen.root), (expected, dtb), "{:#?}", seen.steps);
        seen
    };
    let by_info = with(&info, &[]);
    assert!(by_info.says("where VMCOREINFO of the image says") && by_info.bytes < 40 << 20, "{}", by_info.bytes);
    let by_cr3 = with(&VmcoreInfo::default(), &[dtb]);
    assert!(by_cr3.says("where a processor's CR3 of the image says") && by_cr3.bytes < 80 << 20, "{}", by_cr3.bytes);

    let mut wrong = info.clone();
    wrong.0.insert("NUMBER(phys_base)".to_owned(), "-610934528".to_owned());
    wrong.0.insert("KERNELOFFSET".to_owned(), "200000".to_owned());
    let misled = with(&wrong, &[Pa(0x5000)]);
    assert!(misled.says("No kernel is where VMCOREINFO of the image says"), "{:#?}", misled.steps);
    assert!(misled.says("a KERNELOFFSET of 0x200000, and the kernel's slide is 0x2e400000"), "{:#?}", misled.steps);
}

#[test]
fn an_image_is_gone_through_once_however_much_is_looked_for() {
    for file in ["linux/a256/mem.raw", "windows/images/win10_19041.raw", "windows/images/win7x64.raw"] {
        let Some(path) = unpacked(file) else { continue };
        let image = image::open(&path, &image::Options::default()).expect("an image");
        let bytes: u64 = image.runs().iter().map(|run| run.bytes).sum();
        let memory = Counting { memory: image.memory(), bytes: AtomicU64::new(0) };
        let none = tempfile::tempdir().expect("a folder");
        // There are no profiles, so that everything is looked for to the end.
        let session = Session::open(&memory, &folder(none.path()), &Options::default(), &mut |_| ());
        assert!(matches!(session, Err(OpenError::NoProfile { .. })), "{file}");
        // And what is looked into: headers and page tables.
        let seen = memory.bytes.into_inner();
        assert!(seen >= bytes && seen < bytes + bytes / 4, "{file}: {seen} of {bytes}");
    }
}

#[test]
fn a_crash_dump_s_addresses_lead_to_the_windows_kernel_and_wrong_ones_do_not_mislead() {
    const WIN10: &str = "5278AFF86C341677D7D7835C85B7B8441";
    let (Some(path), Some(isf)) = (unpacked("windows/images/win10_19041.raw"), nt_isf(&[WIN10])) else { return };
    let truth = text("windows/images/win10_19041.truth.json").expect("the corpus is there");
    let truth: serde_json::Value = serde_json::from_str(&truth).expect("JSON");
    let number = |value: &serde_json::Value| value.as_u64().expect("a number");
    let image = image::open(&path, &image::Options::default()).expect("an image");
    let (dtb, kdbg) = (Pa(number(&truth["dtb"])), Va(number(&truth["kdbg"])));
    let other = truth["processes"].as_array().expect("a list").iter().find(|p| number(&p["dtb"]) != dtb.0);
    let other = Pa(number(&other.expect("another process")["dtb"]));
    let with = |dtb_hint, kdbg| {
        let hints = Hints { dtbs: vec![dtb_hint], kdbg: Some(kdbg), ..Hints::default() };
        let seen = open(image.memory(), &folder(&isf), hints, "KdDebuggerDataBlock");
        assert_eq!((seen.symbol.0, seen.root), (number(&truth["kdbg"]), dtb), "{:#?}", seen.steps);
        seen
    };
    // A dump names the page table of the process that ran; the System process has the kernel's own.
    for hint in [dtb, other] {
        let seen = with(hint, kdbg);
        assert!(seen.says("by the image's headers") && seen.bytes < 1 << 20, "{} {:#?}", seen.bytes, seen.steps);
    }
    for (dtb, kdbg) in [(Pa(0x5000), kdbg), (dtb, Va(0xffff_8000_0000_0000))] {
        let misled = with(dtb, kdbg);
        assert!(misled.says("lead to no Windows kernel") && misled.says("Found _EPROCESS"), "{:#?}", misled.steps);
    }
}
