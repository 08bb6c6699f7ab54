//! Windows from end to end: PDB or ISF, repository, image, rows; the truth file of each generated image is the judge.

use crate::images::write_elf_core;
use crate::support::{arg, corpus, corpus_text, nt_isf, ok, rows, unpacked};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;

pub(crate) fn repository(folder: &Path, profile: &Path) -> std::path::PathBuf {
    let repo = folder.join("profiles");
    ok(&["repo", "init", arg(&repo)]);
    ok(&["repo", "-C", arg(&repo), "add", arg(profile)]);
    repo
}

fn hex(value: &Value) -> Value {
    value.as_u64().map_or(Value::Null, |value| json!(format!("{value:#x}")))
}

/// The image's rows equal its truth: processes that are not hidden, and modules, both in the order of their lists.
pub(crate) fn check(image: &str, repo: &Path) {
    let raw = unpacked(&format!("windows/images/{image}.raw")).expect("the corpus is there");
    check_in(&raw, &[], image, repo);
}

/// The same, of the memory of `image` that is in `raw`, with these global options.
pub(crate) fn check_in(raw: &Path, options: &[&str], image: &str, repo: &Path) {
    let truth: Value =
        serde_json::from_str(&corpus_text(&format!("windows/images/{image}.truth.json.xz")).expect("the truth"))
            .expect("JSON");
    let plugin = |name: &str| {
        let mut args = vec!["--profile_path", arg(repo), "-f", arg(raw), "--format", "json"];
        args.extend(options);
        args.push(name);
        rows(&ok(&args))
    };

    let list = |key: &str| truth[key].as_array().expect("a list").clone();
    let told: Vec<Value> = list("processes").into_iter().filter(|process| process["hidden"] == false).collect();
    let seen = plugin("pslist");
    assert_eq!(seen.len(), told.len(), "{image}");
    for (row, told) in seen.iter().zip(&told) {
        assert_eq!(
            (&row["pid"], &row["ppid"], &row["name"]),
            (&told["pid"], &told["ppid"], &told["name"]),
            "{image}: {row}"
        );
        assert_eq!(
            (&row["offset"], &row["thds"], &row["sess"]),
            (&hex(&told["va"]), &told["nthreads"], &told["session"]),
            "{image}: {row}"
        );
        // Rows tell whole seconds.
        let time = |key: &str| {
            told[key].as_str().map_or(Value::Null, |time| json!(format!("{}Z", &time[.."2026-03-04T04:00:05".len()])))
        };
        assert_eq!((&row["start"], &row["exit"]), (&time("create"), &time("exit")), "{image}: {row}");
    }

    let seen = plugin("modules");
    let seen: Vec<_> = seen
        .iter()
        .map(|row| (&row["name"], &row["path"], row["base"].clone(), &row["size"], &row["offset"]))
        .collect();
    let told = list("modules");
    let offsets: Vec<Value> = told.iter().map(|module| hex(&module["va"])).collect();
    let told: Vec<_> =
        told.iter().zip(&offsets).map(|(m, at)| (&m["name"], &m["path"], hex(&m["base"]), &m["size"], at)).collect();
    assert_eq!(seen, told, "{image}");
}

#[test]
fn xp_with_pae_is_analysed_with_the_profile_of_its_pdb() {
    let Some(pdb) = corpus("windows/pdb/nt/ntkrnlpa.pdb") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let profile = folder.path().join("30B5FB31AE7E4ACAABA750AA241FF3311.json");
    ok(&["parse_pdb", "-f", arg(&pdb), "--output", arg(&profile), "--win", "5.1"]);
    let repo = repository(folder.path(), &profile);
    let stored = ok(&["repo", "-C", arg(&repo), "get", "GUID/30b5fb31ae7e4acaaba750aa241ff3311"]);
    assert_eq!(stored.as_bytes(), std::fs::read(&profile).expect("the profile"), "the same bytes come back");
    check("xpsp3", &repo);

    // The same machine as a guest inside another: its pages in reverse order, behind the tables that put them in order.
    let guest = std::fs::read(unpacked("windows/images/xpsp3.raw").expect("the corpus is there")).expect("the image");
    let pages = guest.len() / 4096;
    let leaves = pages.div_ceil(512);
    let mut host = vec![0_u8; (4 + leaves) * 4096];
    let mut put = |page: usize, number: usize, entry: usize| {
        host[page * 4096 + number * 8..][..8].copy_from_slice(&(entry as u64).to_le_bytes());
    };
    put(1, 0, 0x2007);
    put(2, 0, 0x3007);
    for leaf in 0..leaves {
        put(3, leaf, (4 + leaf) * 4096 + 7);
    }
    for page in 0..pages {
        put(4 + page / 512, page % 512, (4 + leaves + pages - 1 - page) * 4096 + 0x37);
    }
    for page in (0..pages).rev() {
        host.extend(&guest[page * 4096..][..4096]);
    }
    let image = folder.path().join("host.raw");
    std::fs::write(&image, host).expect("written");
    check_in(&image, &["--ept", "0x101e"], "xpsp3", &repo);
}

/// winpmem writes behind the memory where the kernel begins, and the page table in use: no process must be searched for.
#[test]
fn what_winpmem_notes_leads_to_the_kernel_and_what_it_cannot_be_does_not_mislead() {
    let (Some(raw), Some(isf)) = (unpacked("windows/images/win7x64.raw"), nt_isf("339E74133576439CBCDF7E0229DA37731"))
    else {
        return;
    };
    let truth: Value =
        serde_json::from_str(&corpus_text("windows/images/win7x64.truth.json.xz").expect("the truth")).expect("JSON");
    let number = |key: &str| truth[key].as_u64().expect("a number");
    let (dtb, base) = (number("dtb"), number("kernel_base"));
    let folder = tempfile::tempdir().expect("a folder");
    let repo = repository(folder.path(), &isf);
    let image = folder.path().join("image");
    let by_headers = format!("Kernel at {base:#x} (DTB: {dtb:#x}), by the image's headers");
    for (is_elf, base, leads) in [(false, base, true), (true, base, true), (false, base + 0x1000, false)] {
        if is_elf {
            write_elf_core(&raw, &image);
        } else {
            std::fs::copy(&raw, &image).expect("copied");
        }
        let notes = format!("# PMEM\n---\nCR3: {dtb:#x}\nKernBase: {base:#x}\nArch: AMD64\n...\n");
        let mut file = std::fs::OpenOptions::new().append(true).open(&image).expect("the image");
        file.write_all(notes.as_bytes()).expect("written");
        check_in(&image, &[], "win7x64", &repo);
        let output = crate::support::run(&["-vv", "--profile_path", arg(&repo), "-f", arg(&image), "pslist"]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!((told.contains(&by_headers), told.contains("Found _EPROCESS")), (leads, !leads), "{told}");
    }
}

#[test]
fn windows_7_and_10_are_analysed_with_isf_profiles() {
    for (image, guid_age) in
        [("win7x64", "339E74133576439CBCDF7E0229DA37731"), ("win10_19041", "5278AFF86C341677D7D7835C85B7B8441")]
    {
        let Some(isf) = nt_isf(guid_age) else { return };
        let folder = tempfile::tempdir().expect("a folder");
        let repo = repository(folder.path(), &isf);
        check(image, &repo);
        let raw = unpacked(&format!("windows/images/{image}.raw")).expect("the corpus is there");
        let name = format!("nt/GUID/{guid_age}");
        let record = format!("profile {name} decided by: the kernel's RSDS record, {guid_age}");
        let named = format!("profile {name} decided by: its name, which was given");
        for (options, decided) in [(&[][..], record), (&["-p", name.as_str()][..], named)] {
            let places = ["-v", "--profile_path", arg(&repo), "-f", arg(&raw)];
            let output = crate::support::run(&[&places[..], options, &["pslist"]].concat());
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(stderr.contains(&decided), "{decided}: {stderr}");
        }
    }
}

#[test]
fn a_missing_profile_is_told_with_the_commands_that_make_it() {
    let Some(raw) = unpacked("windows/images/win7x64.raw") else { return };
    let output = crate::support::run(&["-f", arg(&raw), "pslist"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    for told in [
        "339E74133576439CBCDF7E0229DA37731",
        "build nt/GUID add_guid ntkrnlmp.pdb/339E74133576439CBCDF7E0229DA37731",
        "--autobuild",
        "quaid fetch_pdb",
        "--guid 339E74133576439CBCDF7E0229DA37731",
        "--filename ntkrnlmp.pdb",
        "quaid parse_pdb",
        "quaid repo",
    ] {
        assert!(stderr.contains(told), "`{told}` is missing in: {stderr}");
    }
}
