//! Linux from end to end: module zip, profile, repository, image, rows; the guest's own words are the judge.

use crate::images::{write_compact, write_elf_core, write_lime};
use crate::support::{arg, corpus, corpus_text, demo_kernel, ok, quaid, rows, unpacked};
use crate::truth;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A repository with the profile of one module zip.
pub(crate) fn repository(folder: &Path, zip: &Path) -> PathBuf {
    let (repo, profile) = (folder.join("profiles"), folder.join("kernel.json"));
    ok(&["convert_profile", arg(zip), arg(&profile)]);
    ok(&["repo", "init", arg(&repo)]);
    ok(&["repo", "-C", arg(&repo), "add", arg(&profile)]);
    repo
}

/// The text of a System.map: of the file itself, or in a zip.
pub(crate) fn system_map(path: &Path) -> String {
    match zip::ZipArchive::new(std::fs::File::open(path).expect("readable")) {
        Ok(mut zip) => {
            let names: Vec<String> = zip.file_names().map(|name| name.expect("a name").into_owned()).collect();
            let name = names.iter().find(|name| name.contains("System.map")).expect("a System.map");
            std::io::read_to_string(zip.by_name(name).expect("a member")).expect("text")
        }
        Err(_) => std::fs::read_to_string(path).expect("text"),
    }
}

/// The rows of a plugin.
pub(crate) fn plugin(repo: &Path, image: &Path, command: &[&str]) -> Vec<Value> {
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
pub(crate) fn check_tasks(rows: &[Value], told: &str) {
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
    // The same ranges one behind the other, which nothing in the file tells.
    let (compact, runs) = (folder.path().join("mem.compact"), "0-0x9fc00,0x100000+0xff00000");
    write_compact(&raw, &compact);
    check_tasks(&plugin(&repo, &compact, &["--runs", runs, "pslist"]), &told);
    std::fs::remove_file(&compact).expect("removed");
    write_elf_core(&raw, &elf);
    check_tasks(&plugin(&repo, &elf, &["pslist"]), &told);

    let seen = plugin(&repo, &raw, &["psaux"]);
    let sleeper = seen.iter().find(|row| row["pid"] == 124).expect("as-user");
    let cmdline = truth::sections(&told)["pid/124/cmdline"].trim_end_matches(['|', '\n']).replace('|', " ");
    assert_eq!(sleeper["command"], cmdline.as_str());
}

/// Types from BTF and addresses from System.map are enough, also for the older structs of 5.10.
#[test]
fn btf_and_system_map_make_a_profile_that_plugins_run_on() {
    for (btf, beside, image, truth) in [
        (
            "linux/profiles/debian-6.1.0-56-cloud-amd64.btf",
            corpus("linux/profiles/debian-6.1.0-56-cloud-amd64-dwarf5.zip"),
            "linux/a256/mem.raw",
            "linux/a256/groundtruth.txt.xz",
        ),
        (
            "linux/linux-5.10/vmlinux-5.10.0-43-cloud-amd64.btf",
            unpacked("linux/linux-5.10/System.map-5.10.0-43-cloud-amd64"),
            "linux/linux-5.10/mem.raw",
            "linux/linux-5.10/groundtruth.txt.xz",
        ),
        (
            "linux/small/vmlinux-6.1.192-rklab.btf",
            corpus("linux/small/profile-6.1.192-rklab.zip"),
            "linux/small/linux-small-bash.raw",
            "linux/small/linux-small-bash.groundtruth.txt.gz",
        ),
    ] {
        let (Some(btf), Some(beside), Some(image)) = (unpacked(btf), beside, unpacked(image)) else { return };
        let told = corpus_text(truth).expect("the corpus is there");
        let folder = tempfile::tempdir().expect("a folder");
        let (repo, profile) = (folder.path().join("profiles"), folder.path().join("kernel.json"));
        ok(&["convert_profile", arg(&btf), arg(&profile), "--system_map", arg(&beside)]);
        ok(&["repo", "init", arg(&repo)]);
        ok(&["repo", "-C", arg(&repo), "add", arg(&profile)]);
        check_tasks(&plugin(&repo, &image, &["pslist"]), &told);
        check_modules(&plugin(&repo, &image, &["lsmod"]), &told);
    }
}

/// The addresses of a System.map by name, as a profile has them.
fn map_addresses(text: &str) -> BTreeMap<&str, BTreeSet<u64>> {
    let mut map: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [address, _, name] = fields[..] else { panic!("{line}") };
        let address = u64::from_str_radix(address, 16).expect("hex");
        map.entry(name).or_default().insert(address & 0xffff_ffff_ffff);
    }
    map
}

/// What scripts/kallsyms leaves out of its table.
fn is_left_out(name: &str) -> bool {
    let exact = ["kexec_control_code_size", "phys_startup_64", "text_size"];
    name.starts_with("kallsyms_") || name.starts_with("init_per_cpu__") || exact.contains(&name)
}

#[test]
fn an_image_alone_gives_the_symbols_of_system_map_and_the_rows_of_the_guest() {
    for (image, truth, map) in [
        (
            "linux/a256/mem.raw",
            "linux/a256/groundtruth.txt.xz",
            corpus("linux/profiles/debian-6.1.0-56-cloud-amd64-dwarf5.zip"),
        ),
        (
            "linux/linux-5.10/mem.raw",
            "linux/linux-5.10/groundtruth.txt.xz",
            unpacked("linux/linux-5.10/System.map-5.10.0-43-cloud-amd64"),
        ),
        (
            "linux/small/linux-small-bash.raw",
            "linux/small/linux-small-bash.groundtruth.txt.gz",
            corpus("linux/small/profile-6.1.192-rklab.zip"),
        ),
    ] {
        let (Some(image), Some(map)) = (unpacked(image), map) else { return };
        let told = corpus_text(truth).expect("the corpus is there");
        let map = system_map(&map);
        let map = map_addresses(&map);
        // The small kernel's BTF is in its vmlinux only.
        let btf = unpacked("linux/small/vmlinux-6.1.192-rklab.btf").expect("the corpus is there");
        let is_small = image.ends_with("linux-small-bash.raw");
        let beside: &[&str] = if is_small { &["--beside", arg(&btf)] } else { &[] };
        let converted = ok(&[&["-q", "convert_profile", "--from_image", arg(&image)], beside].concat());
        let profile: Value = serde_json::from_str(&converted).expect("JSON");
        let mut seen: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
        for section in ["$CONSTANTS", "$FUNCTIONS"] {
            for (name, address) in profile[section].as_object().expect("a section") {
                // Of several symbols with one name the first has it, and the name of the others is kept beside.
                let name = profile["$ISF"]["linkage_names"][name].as_str().unwrap_or(name);
                seen.entry(name).or_default().insert(address.as_u64().expect("an address"));
            }
        }
        let missing: Vec<_> = map.keys().filter(|name| !seen.contains_key(*name) && !is_left_out(name)).collect();
        assert!(missing.is_empty(), "{}: {missing:?}", image.display());
        for (name, addresses) in &seen {
            // Labels of the compiler are in the table, and `nm` leaves them out.
            assert!(map.get(name) == Some(addresses) || name.starts_with(".L"), "{}: {name}", image.display());
        }
        let banner = profile["$METADATA"]["Banner"].as_str().expect("a banner");
        assert!(truth::sections(&told)["version"].contains(banner), "{banner}");

        // No place has a profile, and none is named.
        let kept = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(kept.path(), &converted).expect("written");
        let named: &[&str] = if is_small { &["-p", arg(kept.path())] } else { &[] };
        let rows_of = |plugin: &str| rows(&ok(&[named, &["-f", arg(&image), "--format", "json", plugin]].concat()));
        check_tasks(&rows_of("pslist"), &told);
        check_modules(&rows_of("lsmod"), &told);
    }
}

#[test]
fn an_image_whose_kernel_lists_functions_alone_takes_a_system_map() {
    let (Some(raw), Some(told)) = (unpacked("linux/arm64/mem.raw"), corpus_text("linux/arm64/groundtruth.txt.xz"))
    else {
        return;
    };
    let output = crate::support::run(&["convert_profile", "--from_image", arg(&raw)]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("CONFIG_KALLSYMS_ALL is off") && stderr.contains("--system_map FILE"), "{stderr}");
    let zip = corpus("linux/arm64/debian-6.1.0-56-cloud-arm64-dwarf5.zip").expect("the corpus is there");
    let folder = tempfile::tempdir().expect("a folder");
    zip::ZipArchive::new(std::fs::File::open(zip).expect("readable"))
        .expect("a zip")
        .extract(folder.path())
        .expect("unpacked");
    let map = folder.path().join("System.map-6.1.0-56-cloud-arm64");
    let profile = folder.path().join("kernel.json");
    ok(&["convert_profile", "--from_image", arg(&raw), arg(&profile), "--system_map", arg(&map)]);
    // What drgn read of what the kernel noted for dumps; the image has no config.
    let noted = corpus_text("linux/arm64/vmcoreinfo.txt").expect("the corpus is there");
    let noted: BTreeMap<&str, &str> = noted.lines().filter_map(|line| line.split_once('=')).collect();
    let made: Value = serde_json::from_slice(&std::fs::read(&profile).expect("readable")).expect("JSON");
    for (key, as_noted) in [("PageSize", "PAGESIZE"), ("VABits", "NUMBER(VA_BITS)")] {
        assert_eq!(made["$METADATA"][key].to_string(), noted[as_noted], "{key}");
    }
    assert_eq!(made["$METADATA"]["BuildID"], noted["BUILD-ID"]);
    let rows_of = |plugin: &str| rows(&ok(&["-p", arg(&profile), "-f", arg(&raw), "--format", "json", plugin]));
    check_tasks(&rows_of("pslist"), &told);
    check_modules(&rows_of("lsmod"), &told);
}

#[test]
fn an_arm64_guest_is_analysed_with_the_profile_of_its_module_zip() {
    let (Some(raw), Some(told)) = (unpacked("linux/arm64/mem.raw"), corpus_text("linux/arm64/groundtruth.txt.xz"))
    else {
        return;
    };
    let zip = corpus("linux/arm64/debian-6.1.0-56-cloud-arm64-dwarf5.zip").expect("the corpus is there");
    let folder = tempfile::tempdir().expect("a folder");
    let repo = repository(folder.path(), &zip);
    check_tasks(&plugin(&repo, &raw, &["pslist"]), &told);
    check_modules(&plugin(&repo, &raw, &["lsmod"]), &told);
    let seen = plugin(&repo, &raw, &["psaux"]);
    let sections = truth::sections(&told);
    let mut compared = 0;
    for row in &seen {
        let Some(line) = sections.get(format!("pid/{}/cmdline", number(row, "pid")).as_str()) else { continue };
        let line = line.trim_end_matches(['|', '\n']).replace('|', " ");
        if !line.is_empty() {
            assert_eq!(row["command"], line.as_str(), "{row}");
            compared += 1;
        }
    }
    assert!(compared >= 20, "{compared}");
    // The task that init_task is: its address, its place in the image, and its content.
    let idle = "0xffffd272f4e28c80";
    let vtop = plugin(&repo, &raw, &["vtop", idle]);
    let levels: Vec<&str> = vtop.iter().map(|row| row["level"].as_str().expect("a text")).collect();
    assert_eq!((levels.last(), &vtop[levels.len() - 1]["entry"]), (Some(&"Physical Address"), &"0x41a28c80".into()));
    assert_eq!(levels[0], "L0");
    let dt = plugin(&repo, &raw, &["dt", "task_struct", "--offset", idle]);
    let comm = dt.iter().find(|row| row["field"] == "comm").expect("a member");
    assert!(comm["content"].as_str().expect("a text").contains("swapper/0"), "{comm}");
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
fn the_small_kernel_is_analysed_from_raw_lime_and_flattened_kdump() {
    let Some(zip) = corpus("linux/small/profile-6.1.192-rklab.zip") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let repo = repository(folder.path(), &zip);
    for (image, truth) in [("linux-small-bash.raw", "bash"), ("linux-small-nobash.lime", "nobash")] {
        let image = unpacked(&format!("linux/small/{image}")).expect("the corpus is there");
        let told =
            corpus_text(&format!("linux/small/linux-small-{truth}.groundtruth.txt.gz")).expect("the corpus is there");
        check_tasks(&plugin(&repo, &image, &["pslist"]), &told);
        if truth == "bash" {
            let kdump = corpus("linux/small/linux-small-bash.kdump-zlib-flat").expect("the corpus is there");
            check_tasks(&plugin(&repo, &kdump, &["pslist"]), &told);
        }
    }
}

#[test]
fn a_repository_without_the_kernel_says_what_makes_its_profile() {
    // This kernel lists its functions only, so that the image alone is not enough.
    let Some(raw) = unpacked("linux/arm64/mem.raw") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let repo = folder.path().join("profiles");
    ok(&["repo", "init", arg(&repo)]);
    let output = crate::support::run(&["--profile_path", arg(&repo), "-f", arg(&raw), "pslist"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(output.stdout.is_empty());
    for told in ["6.1.0-56-cloud-arm64", arg(&repo), "quaid convert_profile", "quaid repo"] {
        assert!(stderr.contains(told), "`{told}` is missing in: {stderr}");
    }
}

#[test]
fn a_kernel_s_build_id_leads_to_it_and_the_folder_at_hand_is_no_place_of_profiles() {
    let folder = tempfile::tempdir().expect("a folder");
    let demo = demo_kernel();
    let repo = repository(folder.path(), &demo.join("vmlinux"));
    ok(&["repo", "-C", arg(&repo), "verify"]);
    let profile: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("kernel.json")).expect("read")).expect("JSON");
    let build_id = profile["$METADATA"]["BuildID"].as_str().expect("a build-id");
    assert_eq!(build_id.len(), 40);
    for id in [build_id.to_lowercase(), build_id.to_uppercase()] {
        ok(&["repo", "-C", arg(&repo), "get", &format!("Linux/BUILDID/{id}")]);
    }
    let name = "Linux/LinuxGeneric/6.1/amd64/6.1.0-quaid-demo";
    let decoy = folder.path().join(name);
    std::fs::create_dir_all(decoy.parent().expect("a folder")).expect("made");
    std::fs::write(&decoy, "{").expect("written");
    let image = demo.join("memory.raw");
    let args = ["--profile_path", arg(&repo), "-f", arg(&image), "pslist"];
    let output = quaid().current_dir(folder.path()).args(args).output().expect("quaid starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
