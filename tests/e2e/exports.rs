//! The Windows kernel whose RSDS record is lost: its exports tell the build. The truth file of each image is the judge.

use crate::support::{arg, nt_isf, ok, quaid, run, unpacked};
use crate::windows::{check_in, repository};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Images of the corpus, the build of their kernel, and another build.
const WIN7: (&str, &str) = ("win7x64", "339E74133576439CBCDF7E0229DA37731");
const WIN10: (&str, &str) = ("win10_19041", "5278AFF86C341677D7D7835C85B7B8441");

/// A copy of an image in which `patch` changed its bytes.
fn patched(folder: &Path, image: &str, patch: impl FnOnce(&mut [u8])) -> PathBuf {
    let mut bytes = std::fs::read(unpacked(&format!("windows/images/{image}.raw")).expect("the corpus")).expect("read");
    patch(&mut bytes);
    let path = folder.join("patched.raw");
    std::fs::write(&path, bytes).expect("written");
    path
}

/// Where `needle` is in `bytes`; it must be there.
fn places(bytes: &[u8], needle: &[u8]) -> Vec<usize> {
    let found: Vec<usize> = memchr::memmem::find_iter(bytes, needle).collect();
    assert!(!found.is_empty(), "{needle:x?} is not in the image");
    found
}

/// Overwrites each RSDS record of the kernel.
fn overwrite_records(bytes: &mut [u8]) {
    for at in places(bytes, b"RSDS") {
        bytes[at..at + 40].fill(0xee);
    }
}

/// The RVA of a kernel's symbol, by the ISF file that others made.
fn rva(isf: &Path, symbol: &str) -> [u8; 4] {
    let isf: Value = serde_json::from_slice(&std::fs::read(isf).expect("readable")).expect("JSON");
    let address = isf["symbols"][symbol]["address"].as_u64().expect("an address");
    u32::try_from(address).expect("an RVA").to_le_bytes()
}

fn stderr(args: &[&str]) -> (Option<i32>, String) {
    let output = run(args);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A repository with the profiles of both images, and their index.
fn indexed(folder: &Path) -> Option<PathBuf> {
    let repo = repository(folder, &nt_isf(WIN7.1)?);
    ok(&["repo", "-C", arg(&repo), "add", arg(&nt_isf(WIN10.1)?)]);
    ok(&["repo", "-C", arg(&repo), "index"]);
    Some(repo)
}

#[test]
fn a_kernel_without_its_rsds_record_is_known_by_its_exports() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(repo) = indexed(folder.path()) else { return };
    for (image, guid_age) in [WIN7, WIN10] {
        let raw = patched(folder.path(), image, overwrite_records);
        check_in(&raw, &[], image, &repo);
        let (code, told) = stderr(&["--profile_path", arg(&repo), "-v", "-f", arg(&raw), "pslist"]);
        assert_eq!(code, Some(0), "{told}");
        let decided = format!("profile nt/GUID/{guid_age} decided by: ");
        let line = told.lines().find(|line| line.contains(&decided)).unwrap_or_else(|| panic!("{told}"));
        // The generated images export 13 or 14 symbols, each of which the profile has.
        assert!(line.contains("13 of 13 exports") || line.contains("14 of 14 exports"), "{line}");
        assert!(line.contains("no RSDS record"), "{line}");
    }

    // The same from a plain folder, without git.
    let plain = folder.path().join("plain");
    std::fs::create_dir(&plain).expect("a folder");
    std::fs::rename(repo.join("v1.0"), plain.join("v1.0")).expect("moved");
    let raw = patched(folder.path(), WIN7.0, overwrite_records);
    check_in(&raw, &[], WIN7.0, &plain);
}

/// `repo wanted` says what the exports tell; where they tell nothing, by what a symbol server knows the kernel's file. The
/// judge of that is the header in the image.
#[test]
fn what_is_wanted_for_a_kernel_without_its_record_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(repo) = indexed(folder.path()) else { return };
    let raw = patched(folder.path(), WIN7.0, overwrite_records);
    let wanted = || run(&["repo", "-C", arg(&repo), "wanted", "-f", arg(&raw)]);
    let output = wanted();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(0) && output.stdout.is_empty(), "{told}");
    let name = format!("nt/GUID/{}", WIN7.1);
    assert!(told.contains(&format!("{name} fits: 14 of 14 exports of the kernel")), "{told}");
    assert!(told.contains("0 profiles wanted, 1 there already"), "{told}");

    ok(&["repo", "-C", arg(&repo), "remove", &name]);
    ok(&["repo", "-C", arg(&repo), "index"]);
    let output = wanted();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{told}");
    let bytes = std::fs::read(&raw).expect("readable");
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let headers = places(&bytes, b"PE\0\0\x64\x86").into_iter();
    let mut keys = headers.map(|at| format!("ntoskrnl.exe/{:08X}{:x}/ntoskrnl.exe", word(at + 8), word(at + 80)));
    assert!(keys.any(|key| told.contains(&key)), "{told}");
    for text in ["its build is not known", "no RSDS record", "it has 14 exports", arg(&repo)] {
        assert!(told.contains(text), "`{text}` is missing in {told}");
    }
    // A plugin says the same.
    let (code, told) = stderr(&["--profile_path", arg(&repo), "-f", arg(&raw), "pslist"]);
    assert!(code == Some(1) && told.contains("its build is not known") && told.contains("14 exports"), "{told}");
}

#[test]
fn a_record_of_another_build_does_not_hide_the_kernel_and_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(repo) = indexed(folder.path()) else { return };
    let raw = patched(folder.path(), WIN7.0, |bytes| {
        for at in places(bytes, b"RSDS") {
            bytes[at + 4..at + 20].copy_from_slice(&[7, 6, 5, 4, 3, 2, 1, 0, 9, 8, 7, 6, 5, 4, 3, 2]);
        }
    });
    let (code, told) = stderr(&["--profile_path", arg(&repo), "-f", arg(&raw), "pslist"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("warning: profile nt/GUID/339E74133576439CBCDF7E0229DA37731"), "{told}");
    assert!(told.contains("its RSDS record names another build, 04050607020300010908070605040302"), "{told}");
}

#[test]
fn one_export_in_another_place_is_told_and_not_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let (Some(repo), Some(isf)) = (indexed(folder.path()), nt_isf(WIN7.1)) else { return };
    let raw = patched(folder.path(), WIN7.0, |bytes| {
        overwrite_records(bytes);
        // The table of addresses is in the order of the names.
        let pair = [rva(&isf, "NtBuildNumber"), rva(&isf, "NtClose")].concat();
        for at in places(bytes, &pair) {
            bytes[at + 4] ^= 0x10;
        }
    });
    let name = format!("nt/GUID/{}", WIN7.1);
    let output = quaid().args(["--profile_path", arg(&repo), "-f", arg(&raw), "pslist"]).output().expect("runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(output.stdout.is_empty(), "nothing is analysed");
    for text in ["only a partial match by exports", "NtClose is at RVA 0x", &format!("`--profile {name}`")] {
        assert!(told.contains(text), "`{text}` is missing in: {told}");
    }
    assert!(told.contains("12 of 13 fit") || told.contains("13 of 14 fit"), "{told}");
    // A person may take it.
    check_in(&raw, &["--profile", &name], WIN7.0, &repo);
}

#[test]
fn the_index_follows_the_profiles_and_a_damaged_one_is_survived() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(repo) = indexed(folder.path()) else { return };
    let get = || ok(&["repo", "-C", arg(&repo), "get", "nt/exports"]);
    let first = get();
    let index: Value = serde_json::from_str(&first).expect("JSON");
    assert_eq!(index["$INDEX"].as_object().map(serde_json::Map::len), Some(2));
    // Each RVA is that of the ISF file.
    let names = index["$EXPORTS"].as_array().expect("names");
    let line = index["$INDEX"][format!("nt/GUID/{}", WIN7.1)].as_str().expect("a line");
    let isf = nt_isf(WIN7.1).expect("there");
    for (name, seen) in names.iter().zip(line.split(' ')).step_by(9) {
        let known = u32::from_le_bytes(rva(&isf, name.as_str().expect("a name")));
        assert_eq!(seen, format!("{known:x}"), "{name}");
    }
    let head = || std::fs::read_to_string(repo.join(".git/logs/HEAD")).expect("the log").lines().count();
    let commits = head();
    ok(&["repo", "-C", arg(&repo), "index", "nt", "--all"]);
    assert_eq!((get(), head()), (first, commits), "nothing changed, so there is no commit");
    assert!(ok(&["repo", "-C", arg(&repo), "list", "nt/"]).contains("nt/exports"));
    ok(&["repo", "-C", arg(&repo), "verify"]);

    // A hostile index in one place does not hide the next place's.
    let bad = folder.path().join("bad");
    std::fs::create_dir_all(bad.join("v1.0/nt")).expect("a folder");
    let raw = patched(folder.path(), WIN10.0, overwrite_records);
    for text in ["{\"$EXPORTS\": [[[[", "{\"$EXPORTS\": [\"NtClose\"], \"$INDEX\": {\"nt/GUID/X\": [1]}}", "\u{0}"] {
        std::fs::write(bad.join("v1.0/nt/exports"), text).expect("written");
        check_in(&raw, &["--profile_path", arg(&bad)], WIN10.0, &repo);
    }
}

#[test]
fn a_kernel_without_record_and_exports_is_known_by_rekall_s_data_index() {
    let folder = tempfile::tempdir().expect("a folder");
    let (Some(repo), Some(isf)) = (indexed(folder.path()), nt_isf(WIN7.1)) else { return };
    let name = format!("nt/GUID/{}", WIN7.1);
    // The export directory counts no names: NumberOfNames is 24 bytes into it, the addresses follow at 40.
    let wipe = |bytes: &mut [u8]| {
        overwrite_records(bytes);
        for at in places(bytes, &[rva(&isf, "NtBuildNumber"), rva(&isf, "NtClose")].concat()) {
            let first = rva(&isf, "ExAllocatePoolWithTag");
            let table = (1..32).map(|index| at - 4 * index).find(|&at| bytes[at..at + 4] == first).expect("the table");
            bytes[table - 40 + 24..table - 40 + 28].fill(0);
        }
    };
    let raw = patched(folder.path(), WIN7.0, wipe);
    // Made by hand, as Rekall's: the bytes that this image has in six places, and one that it lacks.
    let point = |offset: usize, value: &str| format!("[{offset}, [\"00ff00\", \"{value}\"]]");
    // The header of the image, as make_pe of the corpus' generator writes it.
    let points = [
        point(0, "4d5a"),
        point(0x3c, "80000000"),
        point(0x80, "50450000"),
        point(0x84, "6486"),
        point(0x98, "0b02"),
        format!("[{}, [\"00\"]]", 0x4000_0000),
    ];
    let plain = folder.path().join("rekall");
    let write = |points: &[String]| {
        std::fs::create_dir_all(plain.join("v1.0/nt")).expect("a folder");
        let text = format!(
            "{{\"$INDEX\": {{\"{name}\": [{}], \"nt/GUID/X\": [[0, [\"00\"]]]}}, \"$METADATA\": {{\"BaseSymbol\": null, \
             \"ProfileClass\": \"Index\", \"Type\": \"Profile\"}}}}",
            points.join(", ")
        );
        std::fs::write(plain.join("v1.0/nt/index"), text).expect("written");
    };
    write(&points);
    check_in(&raw, &["--profile_path", arg(&plain)], WIN7.0, &repo);
    let args = ["--profile_path", arg(&repo), "--profile_path", arg(&plain), "-f", arg(&raw), "pslist"];
    let (code, told) = stderr(&args);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("5 of 5 points of the data index fit"), "{told}");

    let mut partial = points;
    partial[1] = point(0x3c, "81000000");
    write(&partial);
    let (code, told) = stderr(&args);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("only a partial match by the data index: 4 of 5 points fit"), "{told}");
}

#[test]
fn the_data_index_is_made_by_its_specification() {
    let folder = tempfile::tempdir().expect("a folder");
    let (Some(repo), Some(isf)) = (indexed(folder.path()), nt_isf(WIN7.1)) else { return };
    let spec = "path: nt/\nsymbols:\n  -\n    name: NtBuildNumber\n    data:\n      - \"lstr:~M\"\n  - \n    name: IoFreeIrp\n    \
                data: [\"90\", \"CC\"]\n    shift: -1\n";
    std::fs::create_dir_all(repo.join("v1.0/src/nt")).expect("a folder");
    std::fs::write(repo.join("v1.0/src/nt/index.yaml"), spec).expect("written");
    for args in [
        &["add", "v1.0/src/nt/index.yaml"][..],
        &["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "-qm", "spec"],
    ] {
        let git = std::process::Command::new("git").arg("-C").arg(&repo).args(args).status();
        if !git.is_ok_and(|status| status.success()) {
            crate::support::skipped("there is no git program");
            return;
        }
    }
    ok(&["repo", "-C", arg(&repo), "index", "nt"]);
    let index: Value = serde_json::from_str(&ok(&["repo", "-C", arg(&repo), "get", "nt/index"])).expect("JSON");
    let at = |symbol: &str| u64::from(u32::from_le_bytes(rva(&isf, symbol)));
    let points = serde_json::json!([[at("NtBuildNumber"), ["7e004d00"]], [at("IoFreeIrp") - 1, ["90", "CC"]]]);
    assert_eq!(index["$INDEX"][format!("nt/GUID/{}", WIN7.1)], points);
    assert_eq!(index["$METADATA"]["ProfileClass"], "Index");
    ok(&["repo", "-C", arg(&repo), "verify"]);
}

/// A small index is written with each kernel; a large one is left to `repo index`, and that is told.
#[test]
fn what_is_added_is_in_the_index_of_exports_while_that_is_small() {
    let (Some(win7), Some(win10)) = (nt_isf(WIN7.1), nt_isf(WIN10.1)) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let repo = folder.path().join("profiles");
    ok(&["repo", "init", arg(&repo)]);
    let add = |file: &Path| stderr(&["repo", "-C", arg(&repo), "add", arg(file)]);
    let (code, told) = add(&win7);
    assert!(code == Some(0) && !told.contains("nt/exports"), "{told}");
    let get = || ok(&["repo", "-C", arg(&repo), "get", "nt/exports"]);
    let added = get();
    assert_eq!(crate::repo::git(&repo, &["rev-list", "--count", "HEAD"]).trim(), "2", "one commit after that of init");
    // As `repo index` makes it.
    ok(&["repo", "-C", arg(&repo), "index", "nt", "--all"]);
    assert_eq!(get(), added);
    assert!(added.contains(WIN7.1));
    let raw = patched(folder.path(), WIN7.0, overwrite_records);
    check_in(&raw, &[], WIN7.0, &repo);
    // As if there were many kernels.
    let mut index: Value = serde_json::from_str(&added).expect("JSON");
    let line = index["$INDEX"][format!("nt/GUID/{}", WIN7.1)].clone();
    for number in 0..400 {
        index["$INDEX"][format!("nt/GUID/{number:032X}1")] = line.clone();
    }
    std::fs::write(repo.join("v1.0/nt/exports"), index.to_string()).expect("written");
    crate::repo::git(&repo, &["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "-qam", "many"]);
    let before = get();
    let (code, told) = add(&win10);
    assert!(code == Some(0) && told.contains("nt/exports is as it was; `quaid repo index nt`"), "{told}");
    assert_eq!(get(), before);
    ok(&["repo", "-C", arg(&repo), "index", "nt"]);
    assert!(get().contains(WIN10.1));
}

#[test]
fn what_is_imported_is_in_the_index_of_exports() {
    let (Some(win7), Some(win10)) = (nt_isf(WIN7.1), nt_isf(WIN10.1)) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let repo = folder.path().join("profiles");
    ok(&["repo", "init", arg(&repo)]);
    ok(&["repo", "-C", arg(&repo), "import", arg(&win7), arg(&win10)]);
    let commits = || crate::repo::git(&repo, &["rev-list", "--count", "HEAD"]).trim().to_owned();
    assert_eq!(commits(), "2", "one commit after that of init");
    // As `repo index` makes it of the stored profiles.
    let imported = std::fs::read(repo.join("v1.0/nt/exports")).expect("the index");
    crate::repo::git(&repo, &["rm", "--quiet", "v1.0/nt/exports"]);
    crate::repo::git(&repo, &["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "-qm", "none"]);
    ok(&["repo", "-C", arg(&repo), "index", "nt"]);
    let made = std::fs::read(repo.join("v1.0/nt/exports")).expect("the index");
    assert_eq!(String::from_utf8_lossy(&imported), String::from_utf8_lossy(&made));
    assert!(String::from_utf8_lossy(&made).contains(WIN7.1));
    // One that cannot be read is left to `repo index`, which is told.
    ok(&["repo", "-C", arg(&repo), "remove", WIN7.1]);
    std::fs::write(repo.join("v1.0/nt/exports"), "damaged").expect("written");
    crate::repo::git(&repo, &["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "-qam", "damaged"]);
    let (code, told) = stderr(&["repo", "-C", arg(&repo), "import", arg(&win7)]);
    assert!(code == Some(0) && told.contains("nt/exports is as it was"), "{told}");
    assert_eq!(std::fs::read(repo.join("v1.0/nt/exports")).expect("the index"), b"damaged");
}
