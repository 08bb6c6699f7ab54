//! Linux images of the corpus, against what the guests printed before the dump.

use crate::support::{address, corpus, folder, linux_repository, run, text, unpacked};
use quaid_analyzer::Options;
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
