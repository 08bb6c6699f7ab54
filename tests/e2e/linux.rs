//! Linux from end to end: module zip, profile, repository, image, rows; the guest's own words are the judge.

use crate::support::{arg, corpus, corpus_text, ok, rows, unpacked};
use crate::truth;
use serde_json::Value;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A repository with the profile of one module zip.
fn repository(folder: &Path, zip: &Path) -> PathBuf {
    let (repo, profile) = (folder.join("profiles"), folder.join("kernel.json"));
    ok(&["convert_profile", arg(zip), arg(&profile)]);
    ok(&["repo", "init", arg(&repo)]);
    ok(&["repo", "-C", arg(&repo), "add", arg(&profile)]);
    repo
}

fn plugin(repo: &Path, image: &Path, command: &[&str]) -> Vec<Value> {
    let mut args = vec!["--profile_path", arg(repo), "-f", arg(image), "--format", "json"];
    args.extend(command);
    rows(&ok(&args))
}

fn number(row: &Value, key: &str) -> u64 {
    row[key].as_u64().unwrap_or_else(|| panic!("{key} of {row}"))
}

fn address(row: &Value, key: &str) -> u64 {
    let text = row[key].as_str().and_then(|text| text.strip_prefix("0x"));
    u64::from_str_radix(text.unwrap_or_else(|| panic!("{key} of {row}")), 16).expect("hex")
}

/// Every task of the guest is a row and every row a task, but for pid 0, which /proc does not list.
fn check_tasks(rows: &[Value], told: &str) {
    let mut told = truth::tasks(told);
    for row in rows.iter().filter(|row| number(row, "pid") != 0) {
        let pid = number(row, "pid");
        let task = told.remove(&pid).unwrap_or_else(|| panic!("the guest has no pid {pid}: {row}"));
        let name = row["name"].as_str().expect("a name");
        assert_eq!(truth::comparable(name), truth::comparable(&task.name), "{row}");
        assert_eq!((number(row, "ppid"), number(row, "uid")), (task.ppid, task.uid), "{row}");
    }
    assert!(told.is_empty(), "not listed: {told:?}");
}

fn check_modules(rows: &[Value], told: &str) {
    let seen = rows
        .iter()
        .map(|row| (row["name"].as_str().expect("a name").to_owned(), number(row, "size"), address(row, "start")));
    assert_eq!(seen.collect::<std::collections::BTreeSet<_>>(), truth::modules(told));
}

/// Physical memory below 640 KiB and from 1 MiB on, which is where a PC has RAM.
fn ranges(bytes: u64) -> [(u64, u64); 2] {
    [(0, 0x9_fc00), (0x10_0000, bytes)]
}

fn copy_range(raw: &mut File, (start, end): (u64, u64), out: &mut impl Write) {
    raw.seek(SeekFrom::Start(start)).expect("within the file");
    std::io::copy(&mut BufReader::new(raw.take(end - start)), out).expect("copied");
}

/// LiME: a header of 32 bytes before each range, ends inclusive.
fn write_lime(raw: &Path, path: &Path) {
    let mut raw = File::open(raw).expect("the raw image");
    let mut out = BufWriter::new(File::create(path).expect("created"));
    for (start, end) in ranges(raw.metadata().expect("its size").len()) {
        out.write_all(&0x4c69_4d45_u32.to_le_bytes()).expect("written");
        out.write_all(&1_u32.to_le_bytes()).expect("written");
        for word in [start, end - 1, 0] {
            out.write_all(&word.to_le_bytes()).expect("written");
        }
        copy_range(&mut raw, (start, end), &mut out);
    }
    out.flush().expect("written");
}

/// An ELF64 core with a PT_LOAD for each range; its data in the other order, so that offsets matter.
fn write_elf(raw: &Path, path: &Path) {
    let mut raw = File::open(raw).expect("the raw image");
    let ranges = ranges(raw.metadata().expect("its size").len());
    let mut out = BufWriter::new(File::create(path).expect("created"));
    let mut header = vec![0_u8; 64 + 56 * ranges.len()];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &4_u16.to_le_bytes());
    put(18, &62_u16.to_le_bytes());
    put(20, &1_u32.to_le_bytes());
    put(32, &64_u64.to_le_bytes());
    put(52, &64_u16.to_le_bytes());
    put(54, &56_u16.to_le_bytes());
    put(56, &2_u16.to_le_bytes());
    let mut offset = 64 + 56 * ranges.len() as u64;
    for (i, (start, end)) in ranges.iter().enumerate().rev() {
        let at = 64 + 56 * i;
        put(at, &1_u32.to_le_bytes());
        put(at + 8, &offset.to_le_bytes());
        put(at + 24, &start.to_le_bytes());
        put(at + 32, &(end - start).to_le_bytes());
        put(at + 40, &(end - start).to_le_bytes());
        offset += end - start;
    }
    out.write_all(&header).expect("written");
    for range in ranges.into_iter().rev() {
        copy_range(&mut raw, range, &mut out);
    }
    out.flush().expect("written");
}

#[test]
fn a_debian_guest_with_kaslr_is_analysed_without_naming_a_profile() {
    let (Some(raw), Some(told)) = (unpacked("linux/a256/mem.raw"), corpus_text("linux/a256/groundtruth.txt.xz")) else {
        return;
    };
    let zip = corpus("linux/profiles/debian-6.1.0-56-cloud-amd64-dwarf5.zip").expect("the corpus is there");
    let folder = tempfile::tempdir().expect("a folder");
    let repo = repository(folder.path(), &zip);

    check_tasks(&plugin(&repo, &raw, &["pslist"]), &told);
    check_modules(&plugin(&repo, &raw, &["lsmod"]), &told);
    let (lime, elf) = (folder.path().join("mem.lime"), folder.path().join("mem.elf"));
    write_lime(&raw, &lime);
    check_tasks(&plugin(&repo, &lime, &["pslist"]), &told);
    std::fs::remove_file(&lime).expect("removed");
    write_elf(&raw, &elf);
    check_tasks(&plugin(&repo, &elf, &["pslist"]), &told);

    let seen = plugin(&repo, &raw, &["psaux"]);
    let sleeper = seen.iter().find(|row| row["pid"] == 124).expect("as-user");
    let cmdline = truth::sections(&told)["pid/124/cmdline"].trim_end_matches(['\0', '\n']).replace('\0', " ");
    assert_eq!(sleeper["command"], cmdline.as_str());
}

#[test]
fn the_profile_of_dwarf_4_gives_the_same_rows() {
    let (Some(raw), Some(told)) = (unpacked("linux/a256/mem.raw"), corpus_text("linux/a256/groundtruth.txt.xz")) else {
        return;
    };
    let zip = corpus("linux/profiles/debian-6.1.0-56-cloud-amd64-dwarf4.zip").expect("the corpus is there");
    let folder = tempfile::tempdir().expect("a folder");
    let repo = repository(folder.path(), &zip);
    check_tasks(&plugin(&repo, &raw, &["pslist"]), &told);
}

#[test]
fn the_small_kernel_is_analysed_from_raw_and_lime() {
    let Some(zip) = corpus("linux/small/profile-6.1.192-rklab.zip") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let repo = repository(folder.path(), &zip);
    for (image, truth) in [("linux-small-bash.raw", "bash"), ("linux-small-nobash.lime", "nobash")] {
        let image = unpacked(&format!("linux/small/{image}")).expect("the corpus is there");
        let told =
            corpus_text(&format!("linux/small/linux-small-{truth}.groundtruth.txt.gz")).expect("the corpus is there");
        check_tasks(&plugin(&repo, &image, &["pslist"]), &told);
    }
}

#[test]
fn a_repository_without_the_kernel_says_what_makes_its_profile() {
    let Some(raw) = unpacked("linux/a256/mem.raw") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let repo = folder.path().join("profiles");
    ok(&["repo", "init", arg(&repo)]);
    let output = crate::support::run(&["--profile_path", arg(&repo), "-f", arg(&raw), "pslist"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(output.stdout.is_empty());
    for told in ["6.1.0-56-cloud-amd64", arg(&repo), "quaid convert_profile", "quaid repo"] {
        assert!(stderr.contains(told), "`{told}` is missing in: {stderr}");
    }
}
