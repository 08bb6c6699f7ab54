//! The build-id of the kernel in an image: what its notes say against what the kernel itself wrote down for those who read
//! dumps (VMCOREINFO), and what is done with it.

use crate::support::{arg, corpus, corpus_text, ok, quaid, unpacked};
use crate::symbol_server::{Answer, Server};
use quaid_analyzer::image::{self, Image};
use quaid_analyzer::scan::{build_id, find_all};
use quaid_analyzer::{Pa, VmcoreInfo, linux_kernels};
use serde_json::Value;
use std::path::{Path, PathBuf};

const RELEASE: &str = "6.1.0-56-cloud-amd64";
const IMAGES: [(&str, &str); 4] = [
    ("linux/a256/mem.raw", RELEASE),
    ("linux/arm64/mem.raw", "6.1.0-56-cloud-arm64"),
    ("linux/linux-5.10/mem.raw", "5.10.0-43-cloud-amd64"),
    ("linux/small/linux-small-bash.raw", "6.1.192-rklab"),
];

fn open(path: &Path) -> Image {
    image::open(path, &image::Options::default()).expect("an image")
}

fn id_of(path: &Path) -> String {
    let image = open(path);
    let kernels = linux_kernels(image.memory(), &image.hints);
    kernels[0].build_id.as_ref().expect("a build-id").to_string()
}

#[test]
fn notes_say_what_the_kernel_wrote_down_for_dumps() {
    for (name, release) in IMAGES {
        let Some(path) = unpacked(name) else { return };
        let image = open(&path);
        let written = VmcoreInfo::in_memory(image.memory(), release).find_map(|info| info.build_id());
        assert!(written.is_some(), "{name}");
        // The kernel's own banner is the first text in memory that ends as it does, in all of these.
        let mut banners = find_all(image.memory(), format!("Linux version {release} (").as_bytes());
        let banner = banners.find(|&at| {
            let mut text = [0; 512];
            let _ = image.memory().read(at, &mut text);
            text.split(|&byte| byte == 0).next().is_some_and(|line| line.ends_with(b"\n"))
        });
        assert_eq!(build_id::of_kernel(image.memory(), banner.expect("a banner")), written, "{name}");
        assert_eq!(build_id::of_kernel(image.memory(), Pa(u64::MAX - 5)), None, "{name}");
    }
    let Some(text) = corpus_text("linux/arm64/vmcoreinfo.txt") else { return };
    let told = text.lines().find_map(|line| line.trim().strip_prefix("BUILD-ID=")).expect("a build-id");
    assert_eq!(id_of(&unpacked(IMAGES[1].0).expect("the corpus is there")), told);
}

/// A profile of BTF and System.map, without a banner, as plain JSON.
fn profile(folder: &Path) -> Option<(PathBuf, Value)> {
    let btf = unpacked("linux/profiles/debian-6.1.0-56-cloud-amd64.btf")?;
    let zip = corpus("linux/profiles/debian-6.1.0-56-cloud-amd64-dwarf5.zip")?;
    let path = folder.join("made.json");
    ok(&["convert_profile", arg(&btf), arg(&path), "--system_map", arg(&zip)]);
    let profile: Value = serde_json::from_slice(&std::fs::read(&path).expect("readable")).expect("JSON");
    assert!(profile["$METADATA"].get("Banner").is_none() && profile["$METADATA"].get("BuildID").is_none());
    Some((path, profile))
}

fn stderr_of(args: &[&str]) -> (Option<i32>, String) {
    let output = quaid().args(args).output().expect("the binary starts");
    (output.status.code(), String::from_utf8(output.stderr).expect("text"))
}

#[test]
fn a_profile_that_no_banner_leads_to_is_found_by_the_build_id() {
    let Some(image) = unpacked("linux/a256/mem.raw") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let Some((made, _)) = profile(folder.path()) else { return };
    let id = id_of(&image);
    let profiles = folder.path().join("profiles");
    std::fs::create_dir_all(profiles.join("Linux/BUILDID")).expect("a folder");
    std::fs::rename(made, profiles.join(format!("Linux/BUILDID/{id}.json"))).expect("moved");
    let run = |image: &Path| stderr_of(&["-vv", "--profile_path", arg(&profiles), "-f", arg(image), "lsmod"]);
    let (code, stderr) = run(&image);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains(&format!("decided by: the kernel's build-id, {id}")), "{stderr}");
    // One that the banner leads to comes before it.
    let repository = folder.path().join("repository");
    let by_banner = folder.path().join("by_banner.json");
    ok(&["convert_profile", "--from_image", arg(&image), arg(&by_banner)]);
    ok(&["repo", "init", arg(&repository)]);
    ok(&["repo", "-C", arg(&repository), "add", arg(&by_banner)]);
    let places = ["--profile_path", arg(&profiles), "--profile_path", arg(&repository)];
    let (code, both) = stderr_of(&[&["-vv"], &places[..], &["-f", arg(&image), "lsmod"]].concat());
    assert_eq!(code, Some(0), "{both}");
    assert!(both.contains(&format!("decided by: the kernel's banner; its build-id is the same, {id}")), "{both}");
    // The kernel of another image has another one, and its own symbols and BTF are the last resort.
    let other = unpacked("linux/small/linux-small-bash.raw").expect("the corpus is there");
    let (_, stderr) = run(&other);
    assert!(!stderr.contains("decided by"), "{stderr}");
    assert!(
        stderr.contains("its own symbols and BTF, found in the image, are used") || stderr.contains(&id_of(&other)),
        "{stderr}"
    );
}

#[test]
fn another_build_with_the_same_banner_is_refused() {
    let Some(image) = unpacked("linux/a256/mem.raw") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let Some((_, mut profile)) = profile(folder.path()) else { return };
    let id = id_of(&image);
    let mut with = |id: &str| {
        profile["$METADATA"]["BuildID"] = id.into();
        let path = folder.path().join(format!("{id}.json"));
        std::fs::write(&path, profile.to_string()).expect("written");
        path
    };
    let (same, another) = (with(&id), with("00112233445566778899aabbccddeeff00112233"));
    let run = |profile: &Path| stderr_of(&["-v", "-p", arg(profile), "-f", arg(&image), "lsmod"]);
    assert_eq!(run(&same).0, Some(0));
    let (code, stderr) = run(&another);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("00112233445566778899aabbccddeeff00112233") && stderr.contains(&id), "{stderr}");
}

#[test]
fn servers_are_asked_for_the_build_id_of_an_image() {
    let (Some(image), Some(arm64)) = (unpacked("linux/a256/mem.raw"), unpacked("linux/arm64/mem.raw")) else { return };
    // An `Image` of AArch64: its header, and the kernel as it lies in memory from its banner on.
    let folder = tempfile::tempdir().expect("a folder");
    let (flat, bytes) = (folder.path().join("Image"), std::fs::read(&arm64).expect("readable"));
    let banner = memchr::memmem::find(&bytes, b"Linux version 6.1.0-56-cloud-arm64 (").expect("a banner");
    let mut header = vec![0; 4096];
    header[0x38..0x3c].copy_from_slice(b"ARM\x64");
    let start = banner / 4096 * 4096;
    std::fs::write(&flat, [&header[..], &bytes[start..start + (8 << 20)]].concat()).expect("written");
    for (file, id) in [(&image, id_of(&image)), (&arm64, id_of(&arm64)), (&flat, id_of(&arm64))] {
        let server = Server::start(|_| Answer::missing());
        let (code, stderr) =
            stderr_of(&["fetch_debuginfo", "-f", arg(file), "--server", &server.url, "-D", arg(folder.path())]);
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains(&format!("has the build-id {id}")), "{stderr}");
        assert_eq!(server.log()[0].path, format!("/buildid/{id}/debuginfo"));
        // What no server has, a package has.
        assert!(stderr.contains("linux-image-6.1.0-56-cloud-"), "{stderr}");
    }
}

#[test]
fn a_profile_of_the_image_alone_has_the_build_id() {
    let Some(image) = unpacked("linux/a256/mem.raw") else { return };
    let profile: Value =
        serde_json::from_str(&ok(&["-q", "convert_profile", "--from_image", arg(&image)])).expect("JSON");
    assert_eq!(profile["$METADATA"]["BuildID"], id_of(&image).as_str());
}
