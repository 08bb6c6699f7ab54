//! `vtop` of many addresses, against a second walk that was written from the manuals alone, over the bytes of the file. Its
//! roots are what QEMU had in the registers.

use crate::support::{corpus, folder, linux_repository, text, unpacked};
use quaid_analyzer::{Args, Options, Session, image, plugins, render};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// A machine, as its raw image and the record of it tell.
struct Machine {
    memory: Vec<u8>,
    /// Physical address of the first byte.
    begin: u64,
    is_arm: bool,
}

impl Machine {
    fn word(&self, at: u64) -> Option<u64> {
        let at = usize::try_from(at.checked_sub(self.begin)?).ok()?;
        Some(u64::from_le_bytes(self.memory.get(at..at + 8)?.try_into().expect("8 bytes")))
    }

    /// The physical address: four levels of nine bits, and pages of 4 KiB, on both kinds of machine.
    fn walk(&self, root: u64, va: u64) -> Option<u64> {
        let mut table = root & 0x0000_ffff_ffff_f000;
        for (shift, may_be_large) in [(39, false), (30, true), (21, true), (12, false)] {
            let entry = self.word(table + (va >> shift & 0x1ff) * 8)?;
            // SDM tables 4-15 to 4-20; DDI 0487 D8.3.
            let (valid, page) = if self.is_arm {
                (entry & 1 == 1, if shift == 12 { entry & 2 == 2 } else { entry & 2 == 0 })
            } else {
                (entry & 1 == 1, shift == 12 || may_be_large && entry & 0x80 != 0)
            };
            // Linux on x86-64 keeps pages without access: bit 8, and the frame inverted (pgtable-invert.h).
            if !self.is_arm && !valid && shift == 12 && entry & 0x100 != 0 {
                return Some(!entry & 0x3fff_ffff_f000 | va & 0xfff);
            }
            if !valid || self.is_arm && shift == 12 && !page {
                return None;
            }
            let frame = entry & if self.is_arm { 0x0000_ffff_ffff_f000 } else { 0x000f_ffff_ffff_f000 };
            if page {
                let inside = (1 << shift) - 1;
                return Some(frame & !inside | va & inside);
            }
            table = frame;
        }
        None
    }
}

/// Numbers that look random and are the same each time (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text, 16).expect("hex")
}

/// The lines of a section that the guest printed last under this name.
fn section<'t>(printed: &'t str, name: &str) -> Option<&'t str> {
    let begin = format!("==BEGIN {name}==\n");
    printed.rsplit_once(&begin).map(|(_, rest)| rest.split("==END").next().unwrap_or_default())
}

/// Asks `vtop` about 10,000 addresses: of each symbol's page, of the kernel's ranges at random, and of the memory that
/// processes had mapped.
fn compare(name: &str, profile: &str, machine: &Machine, kernel_root: u64, ranges: &[(u64, u64)]) {
    let path = unpacked(&format!("linux/{name}/mem.raw")).expect("the corpus is there");
    let printed = text(&format!("linux/{name}/groundtruth.txt")).expect("beside it");
    let banner = section(&printed, "version").expect("a banner").trim_end();
    let repository = linux_repository(banner, &corpus(profile).expect("beside it"));
    let image = image::open(&path, &image::Options::default()).expect("an image");
    let session = Session::open(image.memory(), &folder(repository.path()), &Options::default(), &mut |_| ());
    let session = session.expect("a session");
    let mut random = Random(0x9e37_79b9_7f4a_7c15);

    let symbols: Vec<u64> = section(&printed, "kallsyms")
        .expect("symbols")
        .lines()
        .map(|line| hex(line.split(' ').next().expect("an address")))
        .filter(|&va| va >> 47 != 0)
        .collect();
    let mut kernel = Vec::new();
    while kernel.len() < 3000 {
        kernel.push(symbols[random.below(symbols.len() as u64) as usize] + random.below(0x100_0000));
    }
    while kernel.len() < 5000 {
        let (start, bytes) = ranges[random.below(ranges.len() as u64) as usize];
        kernel.push(start + random.below(bytes));
    }
    let mut outcome = BTreeMap::new();
    for va in kernel {
        let expected = machine.walk(kernel_root, va);
        *outcome.entry(("kernel", expected.is_some())).or_insert(0) += 1;
        assert_eq!(vtop(&session, va, None), expected, "{name}: {va:#x}");
    }

    let roots = pslist(&session);
    let maps: Vec<(u64, u64, u64)> = roots
        .keys()
        .filter_map(|pid| Some((pid, section(&printed, &format!("pid/{pid}/maps"))?)))
        .flat_map(|(pid, maps)| maps.lines().map(|line| (*pid, line)))
        .filter_map(|(pid, line)| {
            let (start, end) = line.split(' ').next()?.split_once('-')?;
            Some((pid, hex(start), hex(end))).filter(|&(_, start, _)| start >> 47 == 0)
        })
        .collect();
    for _ in 0..5000 {
        let (pid, start, end) = maps[random.below(maps.len() as u64) as usize];
        let va = start + random.below(end - start);
        let expected = machine.walk(roots[&pid], va);
        *outcome.entry(("user", expected.is_some())).or_insert(0) += 1;
        assert_eq!(vtop(&session, va, Some(pid)), expected, "{name}, process {pid}: {va:#x}");
    }
    // Both answers must have been compared often.
    assert!(outcome.len() == 4 && outcome.values().all(|&count| count >= 300), "{name}: {outcome:?}");
}

fn ask(session: &Session<'_>, plugin: &str, args: &Args) -> Vec<Value> {
    let plugin = plugins::find(plugin, session.os()).expect("a plugin");
    let mut json = Vec::new();
    let mut renderer = render::renderer("json", plugin.columns, &mut json).expect("a renderer");
    plugin.run(session, args, renderer.as_mut()).expect("it runs");
    drop(renderer);
    serde_json::from_slice(&json).expect("JSON")
}

fn vtop(session: &Session<'_>, va: u64, pid: Option<u64>) -> Option<u64> {
    let address = ("address".to_owned(), vec![format!("{va:#x}")]);
    let pid = pid.map(|pid| ("pid".to_owned(), vec![pid.to_string()]));
    let rows = ask(session, "vtop", &Args::new([Some(address), pid].into_iter().flatten()));
    let last = rows.last().filter(|row| row["level"] == "Physical Address")?;
    Some(crate::support::address(&last["entry"]))
}

/// The root page tables of the processes that have one.
fn pslist(session: &Session<'_>) -> BTreeMap<u64, u64> {
    let rows = ask(session, "pslist", &Args::default());
    let with_root = rows.iter().filter(|row| row["dtb"].is_string());
    with_root.map(|row| (row["pid"].as_u64().expect("a number"), crate::support::address(&row["dtb"]))).collect()
}

fn machine(raw: &Path, begin: u64, is_arm: bool) -> Machine {
    Machine { memory: std::fs::read(raw).expect("the image"), begin, is_arm }
}

/// CR3 of a processor that ran the kernel when the machine was stopped.
fn cr3(name: &str, registers: &str) -> u64 {
    let registers =
        std::fs::read_to_string(corpus(&format!("linux/{name}/{registers}")).expect("the record")).expect("text");
    let cr3 = registers.split_whitespace().find_map(|word| word.strip_prefix("CR3="));
    hex(cr3.expect("CR3"))
}

#[test]
fn translations_of_6_1_are_those_of_a_second_walk() {
    let Some(raw) = unpacked("linux/a256/mem.raw") else { return };
    let machine = machine(&raw, 0, false);
    // The direct map of 256 MiB is where KASLR put it: the init task's stack is not told, so it is the image's own range.
    let ranges = [(0xffff_ffff_8000_0000, 0x4000_0000), (0xffff_ffff_c000_0000, 0x3f00_0000)];
    let root = cr3("a256", "info_registers_-a.txt");
    compare("a256", "linux/profiles/debian-6.1.0-56-cloud-amd64.isf.json.xz", &machine, root, &ranges);
}

#[test]
fn translations_of_5_10_with_page_table_isolation_are_those_of_a_second_walk() {
    let Some(raw) = unpacked("linux/linux-5.10/mem.raw") else { return };
    let machine = machine(&raw, 0, false);
    let ranges = [(0xffff_ffff_8000_0000, 0x4000_0000), (0xffff_ffff_c000_0000, 0x3f00_0000)];
    let root = cr3("linux-5.10", "info_registers.txt");
    compare("linux-5.10", "linux/linux-5.10/debian-5.10.0-43-cloud-amd64.json.xz", &machine, root, &ranges);
}

#[test]
fn translations_of_arm64_are_those_of_a_second_walk_and_of_drgn() {
    let Some(raw) = unpacked("linux/arm64/mem.raw") else { return };
    let machine = machine(&raw, 0x4000_0000, true);
    let registers = std::fs::read_to_string(corpus("linux/arm64/sysregs.json").expect("the record")).expect("text");
    let registers: Value = serde_json::from_str(&registers).expect("JSON");
    let root = crate::support::address(&registers["cpu0"]["TTBR1_EL1"]);
    // drgn's own walk: symbols, and the linear map by the tasks in it.
    let drgn: Value = serde_json::from_str(&text("linux/arm64/drgn.json").expect("beside it")).expect("JSON");
    let tasks: Vec<u64> =
        drgn["tasks"].as_array().expect("tasks").iter().map(|task| crate::support::address(&task["task"])).collect();
    let lowest = tasks.iter().filter(|va| **va >> 47 == 0x1_fffe).min().expect("tasks") & !0xff_ffff;
    let ranges = [(lowest, 0x1000_0000), (0xffff_8000_0000_0000, 0x1000_0000)];
    compare("arm64", "linux/arm64/linux-6.1.0-56-cloud-arm64.isf.json.xz", &machine, root, &ranges);

    let printed = text("linux/arm64/groundtruth.txt").expect("beside it");
    let banner = section(&printed, "version").expect("a banner").trim_end();
    let profile = corpus("linux/arm64/linux-6.1.0-56-cloud-arm64.isf.json.xz").expect("beside it");
    let repository = linux_repository(banner, &profile);
    let image = image::open(&raw, &image::Options::default()).expect("an image");
    let session = Session::open(image.memory(), &folder(repository.path()), &Options::default(), &mut |_| ());
    let session = session.expect("a session");
    let mut compared = 0;
    let symbols = drgn["symbols"].as_object().expect("symbols").iter().map(|(name, va)| (va, &drgn["phys"][name]));
    let tasks = drgn["tasks"].as_array().expect("tasks").iter().map(|task| (&task["task"], &task["task_phys"]));
    for (va, pa) in symbols.chain(tasks) {
        let (Some(va), Some(pa)) = (va.as_str().filter(|va| va.starts_with("0x")), pa.as_str()) else { continue };
        compared += 1;
        let expected = pa.strip_prefix("0x").map(hex);
        assert!(expected.is_some() || pa.contains("not mapped"), "{pa}");
        assert_eq!(vtop(&session, hex(&va[2..]), None), expected, "{va}");
    }
    assert_eq!(compared, 104);
    let roots = pslist(&session);
    let mut user_pages = 0;
    for task in drgn["tasks"].as_array().expect("tasks").iter().filter(|task| task["pgd_phys"].is_string()) {
        let pid = task["tgid"].as_u64().expect("a number");
        assert_eq!(roots.get(&pid), Some(&crate::support::address(&task["pgd_phys"])), "{pid}");
        for (va, pa) in task["user_pages"].as_object().into_iter().flatten() {
            user_pages += 1;
            assert_eq!(vtop(&session, hex(&va[2..]), Some(pid)), Some(crate::support::address(pa)), "{pid} {va}");
        }
    }
    assert!(user_pages >= 505, "{user_pages}");
}
