//! Linux images of the corpus, against what the guests printed before the dump.

use crate::support::{address, arm64_elf, corpus, folder, linux_repository, refused, run, text, unpacked};
use quaid_analyzer::Options;
use quaid_profile::{IsfExtra, ProfileFile};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// An image, the profile of its kernel, and what the guest printed, by section.
struct Guest {
    image: PathBuf,
    repository: tempfile::TempDir,
    sections: BTreeMap<String, String>,
}

fn guest(folder: &str, profile: &str) -> Option<Guest> {
    let image = unpacked(&format!("{folder}/mem.raw"))?;
    let printed = text(&format!("{folder}/groundtruth.txt"))?;
    let mut sections = BTreeMap::new();
    for section in printed.split("==BEGIN ").skip(1) {
        let (name, body) = section.split_once("==\n").expect("a head");
        // A section that comes twice was printed again later: the later one is nearer to the dump.
        sections.insert(name.to_owned(), body.split("==END").next().unwrap_or_default().to_owned());
    }
    let banner = sections["version"].trim_end();
    let repository = linux_repository(banner, &corpus(profile)?);
    Some(Guest { image, repository, sections })
}

fn a256() -> Option<Guest> {
    guest("linux/a256", "linux/profiles/debian-6.1.0-56-cloud-amd64.isf.json.xz")
}

fn linux_5_10() -> Option<Guest> {
    guest("linux/linux-5.10", "linux/linux-5.10/debian-5.10.0-43-cloud-amd64.json.xz")
}

fn arm64() -> Option<Guest> {
    guest("linux/arm64", "linux/arm64/linux-6.1.0-56-cloud-arm64.isf.json.xz")
}

impl Guest {
    fn run(&self, plugin: &str, args: &[(&str, &[&str])]) -> crate::support::Run {
        run(&self.image, &folder(self.repository.path()), &Options::default(), plugin, args)
    }

    /// The processes that were alive at the dump: PID and name.
    fn alive(&self) -> BTreeMap<u64, &str> {
        let line = |line: &'_ str| line.split_once(' ').and_then(|(pid, _)| pid.parse().ok());
        self.sections["pslist-final"].lines().filter_map(|l| Some((line(l)?, l.split_once(' ')?.1))).collect()
    }

    /// The first number of a line of `/proc/PID/status`.
    fn status(&self, pid: u64, key: &str) -> Option<u64> {
        let status = self.sections.get(&format!("pid/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(&format!("{key}:")))?;
        Some(line.split_whitespace().next().expect("never empty").parse().expect("a number"))
    }
}

/// The kernel's name of a task as `/proc` shows it; a worker's shows its work behind a "-", and long names of kernel
/// threads are longer than the struct's 15 characters.
fn kernel_s_name(proc: &str) -> String {
    let name = if proc.starts_with("kworker/") { proc.split('-').next().expect("never empty") } else { proc };
    name.chars().take(15).collect()
}

fn check_processes(guest: &Guest, at_least: usize) {
    let pslist = guest.run("pslist", &[]);
    assert_eq!((pslist.summary.unreadable, &pslist.summary.problems[..]), (0, &[][..]));
    let alive = guest.alive();
    let seen: BTreeMap<u64, &Value> =
        pslist.rows.iter().map(|row| (row["pid"].as_u64().expect("a number"), row)).collect();
    assert_eq!(seen.len(), pslist.rows.len(), "a PID comes twice");
    assert_eq!(seen.keys().collect::<Vec<_>>(), alive.keys().collect::<Vec<_>>());
    let (mut with_status, mut with_start) = (0, 0);
    let date: f64 = guest.sections["date"].split(' ').next().expect("seconds").parse().expect("a number");
    let uptime: f64 = guest.sections["uptime"].split(' ').next().expect("seconds").parse().expect("a number");
    for (pid, row) in &seen {
        assert_eq!(row["name"], json!(kernel_s_name(alive[pid])), "{pid}");
        if let Some(uid) = guest.status(*pid, "Uid") {
            with_status += 1;
            assert_eq!(row["uid"], json!(uid), "{pid}");
            assert_eq!(row["gid"], json!(guest.status(*pid, "Gid").expect("beside it")), "{pid}");
            // Kernel threads and zombies have no memory.
            assert_eq!(row["dtb"].is_null(), guest.status(*pid, "VmSize").is_none(), "{pid}");
            assert_eq!(row["ppid"], json!(guest.status(*pid, "PPid").expect("beside it")), "{pid}");
        }
        if let Some(stat) = guest.sections.get(&format!("pid/{pid}/stat")) {
            with_start += 1;
            // Field 22, in hundredths of a second since boot; the name before it may have blanks.
            let ticks: f64 = stat
                .rsplit_once(") ")
                .expect("a name")
                .1
                .split(' ')
                .nth(19)
                .expect("fields")
                .parse()
                .expect("a number");
            let expected = date - uptime + ticks / 100.0;
            let start = time_of(row["start_time"].as_str().expect("a time"));
            assert!((start - expected).abs() < 2.0, "{pid}: {start} for {expected}");
        }
    }
    assert!(
        seen.len() >= at_least && with_status >= 20 && with_start >= 20,
        "{} {with_status} {with_start}",
        seen.len()
    );
}

/// Seconds since 1970 of a time of the year 2026, as all guests' clocks have.
fn time_of(text: &str) -> f64 {
    let number = |range: std::ops::Range<usize>| text[range].parse::<u32>().expect("digits");
    assert_eq!((number(0..4), number(5..7)), (2026, 1), "{text}");
    let days = number(8..10) - 1;
    f64::from(1_767_225_600 + days * 86_400 + number(11..13) * 3600 + number(14..16) * 60 + number(17..19))
}

fn check_modules(guest: &Guest) {
    let lsmod = guest.run("lsmod", &[]);
    let printed: Vec<Value> = guest.sections["modules"]
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            json!({"name": fields[0], "size": fields[1].parse::<u64>().expect("a number"), "start": fields[5]})
        })
        .collect();
    let seen: Vec<Value> =
        lsmod.rows.iter().map(|row| json!({"name": row["name"], "size": row["size"], "start": row["start"]})).collect();
    assert_eq!(seen, printed);
    // `__this_module` is the struct itself.
    if let Some(line) = guest.sections["kallsyms"].lines().find(|line| line.contains(" __this_module\t[lab_known]")) {
        assert_eq!(address(&lsmod.rows[0]["offset"]), u64::from_str_radix(&line[..16], 16).expect("hex"));
    }
}

fn check_command_lines(guest: &Guest) {
    let psaux = guest.run("psaux", &[]);
    let mut compared = 0;
    for row in &psaux.rows {
        let pid = row["pid"].as_u64().expect("a number");
        let Some(printed) = guest.sections.get(&format!("pid/{pid}/cmdline")) else { continue };
        compared += 1;
        // The guest's script wrote "|" for each NUL.
        let printed = printed.trim_end_matches('\n').trim_end_matches('|').replace('|', " ");
        let command = row["command"].as_str().expect("a text");
        if printed.is_empty() {
            assert!(command.starts_with('[') && command.ends_with(']'), "{pid}: {command}");
        } else {
            assert_eq!(command, printed, "{pid}");
        }
    }
    assert!(compared >= 20, "{compared}");
}

#[test]
fn processes_of_6_1_are_those_that_the_guest_printed() {
    let Some(guest) = a256() else { return };
    check_processes(&guest, 80);
}

#[test]
fn processes_of_5_10_are_those_that_the_guest_printed() {
    let Some(guest) = linux_5_10() else { return };
    check_processes(&guest, 70);
}

#[test]
fn modules_are_those_of_proc_modules() {
    let (Some(new), Some(old)) = (a256(), linux_5_10()) else { return };
    check_modules(&new);
    check_modules(&old);
}

#[test]
fn command_lines_are_those_of_proc() {
    let (Some(new), Some(old)) = (a256(), linux_5_10()) else { return };
    check_command_lines(&new);
    check_command_lines(&old);
}

fn pids(rows: &[Value]) -> Vec<u64> {
    rows.iter().map(|row| row["pid"].as_u64().expect("a number")).collect()
}

#[test]
fn the_options_of_pslist_choose_processes() {
    let Some(guest) = a256() else { return };
    let pslist = |args: &[(&str, &[&str])]| guest.run("pslist", args).rows;
    assert_eq!(pids(&pslist(&[("pid", &["1", "121"])])), [1, 121]);
    assert_eq!(pids(&pslist(&[("proc_regex", &["^TREE-[05]"])])), [126, 145]);
    let kthreadd = pslist(&[("pid", &["2"])]);
    let at = address(&kthreadd[0]["offset"]);
    for at in [at, at & 0xffff_ffff_ffff] {
        assert_eq!(pslist(&[("task", &[&format!("{at:#x}")])]), kthreadd);
    }
    // The idle task is in no list, and its address is known.
    let kallsyms = &guest.sections["kallsyms"];
    let idle = kallsyms.lines().find(|line| line.ends_with(" init_task")).expect("a symbol");
    let rows = pslist(&[("task", &[&format!("0x{}", &idle[..16])])]);
    assert_eq!((&rows[0]["name"], &rows[0]["pid"]), (&json!("swapper/0"), &json!(0)));
    assert_eq!(pids(&guest.run("psaux", &[("proc_regex", &["zombie"])]).rows), [128, 130]);
}

#[test]
fn the_page_tables_and_the_slide_are_those_of_the_machine() {
    let Some(guest) = a256() else { return };
    let steps = guest.run("pslist", &[("pid", &["1"])]).steps;
    // init_top_pgt and linux_banner of kallsyms; the physical base is that of corpus/README.md.
    let found = steps.iter().find(|step| step.starts_with("Found linux_banner")).expect("found");
    assert!(
        found.starts_with("Found linux_banner @ 0x5f1ffe0 (DTB: 0x6810000, slide: 0x2e400000): Linux version 6.1.0-56"),
        "{found}"
    );
    let kallsyms = &guest.sections["kallsyms"];
    let banner = kallsyms.lines().find(|line| line.ends_with(" linux_banner")).expect("a symbol");
    let vtop = guest.run("vtop", &[("address", &[&format!("0x{}", &banner[..16])])]);
    assert_eq!(vtop.rows.last().expect("rows")["entry"], "0x5f1ffe0");
    // The stack of a process is mapped by its own tables alone.
    let maps = &guest.sections["pid/121/maps"];
    let stack = maps.lines().find(|line| line.contains("[stack]")).expect("a stack");
    let end = u64::from_str_radix(stack.split(['-', ' ']).nth(1).expect("a range"), 16).expect("hex");
    let last = format!("{:#x}", end - 8);
    let inside = guest.run("vtop", &[("address", &[&last]), ("pid", &["121"])]);
    assert_eq!(inside.rows.last().expect("rows")["level"], "Physical Address");
    assert_eq!(guest.run("vtop", &[("address", &[&last])]).summary.problems.len(), 1);
}

#[test]
fn what_a_person_knows_is_used_and_checked() {
    let Some(guest) = a256() else { return };
    let profiles = folder(guest.repository.path());
    let known = Options {
        profile: Some("Linux/kernel".to_owned()),
        dtb: Some(0x681_0000),
        kernel_slide: Some(0x2e40_0000),
        ..Options::default()
    };
    assert_eq!(run(&guest.image, &profiles, &known, "pslist", &[]).rows.len(), guest.alive().len());
    for (wrong, why) in [
        (
            Options { dtb: Some(0x5000), ..Options::default() },
            "the page tables at 0x5000 show the banner at 0x5f1ffe0 nowhere",
        ),
        (
            Options { kernel_slide: Some(0x20_0000), ..Options::default() },
            "do not show the banner at 0x5f1ffe0 for a slide of 0x200000",
        ),
    ] {
        let error = refused(&guest.image, &profiles, &wrong).to_string();
        assert!(error.starts_with("no profile fits this image: Linux/kernel: ") && error.contains(why), "{error}");
    }
}

/// The profile of 6.1 without its banner, of a release, as the zip of a kernel module gives it.
fn without_banner(release: &str) -> Option<tempfile::TempDir> {
    let file =
        ProfileFile::open(&corpus("linux/profiles/debian-6.1.0-56-cloud-amd64.isf.json.xz")?).expect("a profile");
    let mut profile = file.decode().expect("decodes");
    profile.metadata.0.remove("Banner");
    profile.metadata.set("Release", release);
    profile.isf = IsfExtra::default();
    let folder = tempfile::tempdir().expect("a folder");
    let linux = folder.path().join("v1.0/Linux");
    std::fs::create_dir_all(&linux).expect("made");
    std::fs::write(linux.join("kernel"), profile.to_rekall()).expect("written");
    let index = json!({"$METADATA": {"Type": "Index"}, "$BANNERS": {}, "$RELEASES": {"6.1.0-56-cloud-amd64": ["Linux/kernel"]}});
    std::fs::write(linux.join("banners"), index.to_string()).expect("written");
    Some(folder)
}

#[test]
fn a_profile_without_a_banner_serves_its_own_release_only_and_the_banner_is_told() {
    let (Some(guest), Some(own)) = (a256(), without_banner("6.1.0-56-cloud-amd64")) else { return };
    let pslist = run(&guest.image, &folder(own.path()), &Options::default(), "pslist", &[]);
    assert_eq!(pslist.rows.len(), guest.alive().len());
    let banner = guest.sections["version"].trim_end();
    assert!(
        pslist.steps.iter().any(|step| step.starts_with("Found linux_banner") && step.ends_with(banner)),
        "{:#?}",
        pslist.steps
    );
    let other = without_banner("6.1.0-57-cloud-amd64").expect("the corpus is there");
    let error = refused(&guest.image, &folder(other.path()), &Options::default()).to_string();
    assert!(
        error.contains("it is for 6.1.0-57-cloud-amd64, and the kernel of this image says \"Linux version 6.1.0-56-"),
        "{error}"
    );
}

#[test]
fn a_profile_of_another_kernel_is_refused_with_both_banners() {
    let (Some(guest), Some(other)) = (a256(), linux_5_10()) else { return };
    let options = Options { profile: Some("Linux/kernel".to_owned()), ..Options::default() };
    let error = refused(&guest.image, &folder(other.repository.path()), &options).to_string();
    let (expected, seen) = (other.sections["version"].trim_end(), guest.sections["version"].trim_end());
    assert_eq!(
        error,
        format!(
            "no profile fits this image: Linux/kernel: it is for \"{expected}\", and the kernel of this image says \"{seen}\""
        )
    );
    // Nor is it taken by itself: the index leads from another banner to it.
    let error = refused(&guest.image, &folder(other.repository.path()), &Options::default());
    let text = error.to_string();
    assert!(
        text.contains(&format!("there is no profile for the kernel of this image, \"{seen}\" (build-id ")),
        "{text}"
    );
    let steps = error.next_steps("I", Some("R"));
    let begins = [
        "quaid fetch_debuginfo --build_id ",
        "quaid convert_profile ",
        "quaid convert_profile 6.1.0-56-cloud-amd64.zip",
    ];
    assert!(
        steps.len() >= begins.len() && steps.iter().zip(begins).all(|(step, begin)| step.starts_with(begin)),
        "{steps:?}"
    );
}

#[test]
fn other_processors_are_refused_by_name() {
    let Some(guest) = a256() else { return };
    let path = corpus("linux/profiles/debian-6.1.0-56-cloud-amd64.isf.json.xz").expect("the corpus is there");
    let mut profile = ProfileFile::open(&path).expect("a profile").decode().expect("decodes");
    profile.metadata.set("arch", "RISCV64");
    profile.isf = IsfExtra::default();
    let made = guest.repository.path().join("riscv.json");
    std::fs::write(&made, profile.to_rekall()).expect("written");
    let repository = linux_repository(guest.sections["version"].trim_end(), &made);
    let error = refused(&guest.image, &folder(repository.path()), &Options::default()).to_string();
    assert_eq!(
        error,
        "no profile fits this image: Linux/kernel: its kernel runs on RISCV64; such page tables are not read yet"
    );
}

#[test]
fn processes_of_arm64_are_those_that_the_guest_printed() {
    let Some(guest) = arm64() else { return };
    check_processes(&guest, 70);
}

#[test]
fn modules_and_command_lines_of_arm64_are_those_of_proc() {
    let Some(guest) = arm64() else { return };
    check_modules(&guest);
    check_command_lines(&guest);
}

/// What `arm64/README.md` of the corpus tells of the machine: its memory from 0x40000000 on, KASLR, `TTBR1_EL1`.
const ARM64_FOUND: &str = "Found linux_banner @ 0x40f33148 (DTB: 0x4158f000, slide: 0x5272eb600000, \
    AArch64 with 4 KiB pages, 48-bit addresses";

#[test]
fn the_page_tables_the_slide_and_the_begin_of_the_memory_of_arm64_are_found() {
    let Some(guest) = arm64() else { return };
    let found = |run: &crate::support::Run| {
        run.steps.iter().find(|step| step.starts_with("Found linux_banner")).expect("found").clone()
    };
    let pslist = guest.run("pslist", &[]);
    let told = found(&pslist);
    assert!(told.starts_with(&format!("{ARM64_FOUND}, memory from 0x40000000 on): Linux version 6.1.0-56")), "{told}");
    // The same machine as an ELF core, which tells where its memory begins.
    let elf = arm64_elf().expect("the corpus is there");
    let same = run(&elf, &folder(guest.repository.path()), &Options::default(), "pslist", &[]);
    assert!(found(&same).starts_with(&format!("{ARM64_FOUND}): Linux version 6.1.0-56")), "{}", found(&same));
    assert_eq!(same.rows, pslist.rows);
    // TTBR1_EL1 as the machine had it, with its ASID.
    let known =
        Options { dtb: Some(0x0df0_0000_4158_f000), kernel_slide: Some(0x5272_eb60_0000), ..Options::default() };
    let same = run(&guest.image, &folder(guest.repository.path()), &known, "pslist", &[]);
    assert_eq!(same.rows, pslist.rows);
    for (wrong, why) in [
        (
            Options { dtb: Some(0x4158_e000), ..Options::default() },
            "do not show the banner at 0xf33148 by kimage_voffset",
        ),
        (Options { kernel_slide: Some(0), ..Options::default() }, "its slide is 0x5272eb600000 by kimage_voffset"),
    ] {
        let error = refused(&guest.image, &folder(guest.repository.path()), &wrong).to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn the_page_tables_of_processes_are_found_with_the_user_s_half_where_the_kernel_hides() {
    let (Some(plain), Some(isolated), Some(arm)) = (a256(), linux_5_10(), arm64()) else { return };
    for (guest, user_half) in [(plain, None), (isolated, Some(0x1000)), (arm, None)] {
        let rows = guest.run("find_dtb", &[]).rows;
        let pslist = guest.run("pslist", &[]).rows;
        let with_dtb: BTreeMap<u64, &Value> = pslist
            .iter()
            .filter(|row| !row["dtb"].is_null())
            .map(|row| (row["pid"].as_u64().expect("a number"), &row["dtb"]))
            .collect();
        assert!(with_dtb.len() >= 20 && rows.len() == with_dtb.len() + 1, "{}", rows.len());
        assert_eq!((&rows[0]["name"], &rows[0]["valid"]), (&json!("kernel"), &json!(true)));
        for row in &rows[1..] {
            assert_eq!((&row["dtb"], &row["valid"]), (with_dtb[&row["pid"].as_u64().expect("a number")], &json!(true)));
            let expected = user_half.map(|half| format!("{:#x}", address(&row["dtb"]) + half));
            assert_eq!(row["user_dtb"], json!(expected), "{row}");
        }
        // The user's half leads to the kernel's, which a register had while a program ran.
        if let Some(half) = user_half {
            let dtb = address(&rows[1]["dtb"]);
            let options = Options { dtb: Some(dtb + half), ..Options::default() };
            let run = run(&guest.image, &folder(guest.repository.path()), &options, "pslist", &[]);
            assert_eq!(run.rows, pslist);
            let told =
                format!("(DTB: {dtb:#x}, slide: 0x1e000000, {:#x} is the user's half of this page table)", dtb + half);
            assert!(run.steps.iter().any(|step| step.contains(&told)), "{:#?}", run.steps);
        }
    }
}

#[test]
fn the_address_spaces_of_a_session_are_told() {
    let Some(guest) = arm64() else { return };
    let rows = guest.run("load_as", &[]).rows;
    assert_eq!(
        rows,
        [
            json!({"space": "physical", "kind": "raw", "begin": "0x40000000", "bytes": 268_435_456}),
            json!({"space": "kernel", "kind": "AArch64 with 4 KiB pages, 48-bit addresses", "begin": "0x4158f000", "bytes": null}),
        ]
    );
}
