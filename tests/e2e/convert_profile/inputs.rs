//! The forms in which the files come: packed, in packages, in kernel images. The programs that pack them are not ours.

use super::converted;
use crate::support::{arg, demo_kernel, ok, run, skipped};
use quaid::dwarf::{Options, convert, convert_with};
use serde_json::Value;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs a program; `false`, with a printed line, where it is not installed.
fn tool(program: &str, args: &[&str], input: Option<&Path>, output: Option<&Path>) -> bool {
    let mut command = Command::new(program);
    command.args(args).stderr(Stdio::null());
    command.stdin(input.map_or_else(Stdio::null, |path| fs::File::open(path).expect("readable").into()));
    command.stdout(output.map_or_else(Stdio::null, |path| fs::File::create(path).expect("created").into()));
    let Ok(status) = command.status() else {
        skipped(&format!("there is no {program}"));
        return false;
    };
    assert!(status.success(), "{program} {args:?}");
    true
}

/// A folder with the demo kernel's files under `boot`, and the profile that they give.
fn packaged() -> (tempfile::TempDir, Value) {
    let folder = tempfile::tempdir().expect("a folder");
    let boot = folder.path().join("tree/usr/lib/debug/boot");
    fs::create_dir_all(&boot).expect("a folder");
    for name in ["vmlinux", "System.map"] {
        fs::copy(demo_kernel().join(name), boot.join(format!("{name}-6.1.0-quaid-demo"))).expect("copied");
    }
    fs::write(boot.join("config-6.1.0-quaid-demo"), "CONFIG_X86_64=y\nCONFIG_CMDLINE=\"a=b\"\n").expect("written");
    // What a package has besides.
    fs::write(folder.path().join("tree/usr/lib/debug/README"), "CONFIG_X=y\n").expect("written");
    let profile = sections(&converted(&folder.path().join("tree")));
    (folder, profile)
}

/// All but where it came from.
fn sections(profile: &Value) -> Value {
    let mut profile = profile.clone();
    let metadata = profile["$METADATA"].as_object_mut().expect("metadata");
    metadata.remove("Source");
    metadata.remove("SourceSHA256");
    profile
}

#[test]
fn every_way_of_packing_gives_the_same_profile() {
    let (folder, expected) = packaged();
    let tree = folder.path().join("tree");
    let at = |name: &str| folder.path().join(name);
    let tar = at("kernel.tar");
    assert!(tool("tar", &["-C", arg(&tree), "-c", "."], None, Some(&tar)));
    let mut compared = 0;
    for (name, program, args) in [
        ("kernel.tar", "cat", &[][..]),
        ("kernel.tar.gz", "gzip", &["-c"]),
        ("kernel.tar.xz", "xz", &["-c", "-T1"]),
        ("kernel.tar.lzma", "xz", &["-c", "--format=lzma"]),
        ("kernel.tar.zst", "zstd", &["-c", "-q", "--ultra", "-22"]),
        ("kernel.tar.lz4", "lz4", &["-c", "-q"]),
        ("name-that-says-nothing", "lz4", &["-c", "-l", "-q"]),
    ] {
        let path = at(name);
        if path == tar || tool(program, args, Some(&tar), Some(&path)) {
            assert_eq!(sections(&converted(&path)), expected, "{name}");
            compared += 1;
        }
    }
    assert!(compared > 3);
    // A Debian package, with each of the ways that dpkg knows.
    fs::create_dir(tree.join("DEBIAN")).expect("a folder");
    let control = "Package: linux-image-demo-dbg\nVersion: 1\nArchitecture: amd64\nMaintainer: Test <test@example.org>\nDescription: test\n";
    fs::write(tree.join("DEBIAN/control"), control).expect("written");
    for way in ["xz", "zstd", "gzip", "none"] {
        let deb = at(&format!("kernel-{way}.deb"));
        let option = format!("-Z{way}");
        if tool("dpkg-deb", &[&option, "--root-owner-group", "--build", arg(&tree), arg(&deb)], None, None) {
            assert_eq!(sections(&converted(&deb)), expected, "{way}");
        }
    }
    fs::remove_dir_all(tree.join("DEBIAN")).expect("removed");
    // The payload of an .rpm is a cpio archive.
    let listing = at("listing");
    assert!(tool("find", &[arg(&tree), "-depth"], None, Some(&listing)));
    let cpio = at("kernel.cpio");
    if tool("cpio", &["-o", "-H", "newc", "--quiet"], Some(&listing), Some(&cpio)) {
        assert_eq!(sections(&converted(&cpio)), expected);
    }
    let spec = at("kernel.spec");
    let text = format!(
        "Name: kernel-debuginfo\nVersion: 1\nRelease: 1\nSummary: test\nLicense: MIT\nAutoReqProv: no\n%define __os_install_post %{{nil}}\n%define debug_package %{{nil}}\n%define _build_id_links none\n\
         %description\ntest\n%install\ncp -r {}/. %{{buildroot}}\n%files\n/usr\n",
        tree.display()
    );
    fs::write(&spec, text).expect("written");
    for way in ["w9.gzdio", "w6.xzdio", "w19.zstdio"] {
        let (top, payload) =
            (format!("_topdir {}/rpm-{way}", folder.path().display()), format!("_binary_payload {way}"));
        if !tool("rpmbuild", &["-bb", "--define", &top, "--define", &payload, arg(&spec)], None, None) {
            break;
        }
        let rpm = at(&format!("rpm-{way}/RPMS/x86_64/kernel-debuginfo-1-1.x86_64.rpm"));
        assert_eq!(sections(&converted(&rpm)), expected, "{way}");
    }
}

/// Debian's package of a kernel has the BTF (in the vmlinuz) and says which other package has the System.map.
#[test]
fn a_system_map_that_is_none_gives_way_to_a_real_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(stripped) = stripped_kernel(folder.path()) else { return };
    let (boot, deb) = (folder.path().join("tree/boot"), folder.path().join("linux-image.tar"));
    fs::create_dir_all(&boot).expect("a folder");
    let stub = "ffffffffffffffff B The real System.map is in the linux-image-<version>-dbg package\n";
    fs::write(boot.join("System.map-6.1.0-quaid-demo"), stub).expect("written");
    let packed = folder.path().join("packed");
    assert!(tool("gzip", &["-c", "-n"], Some(&stripped), Some(&packed)));
    fs::write(boot.join("vmlinuz-6.1.0-quaid-demo"), bz_image(&fs::read(&packed).expect("packed"), false))
        .expect("written");
    assert!(tool("tar", &["-C", arg(&folder.path().join("tree")), "-c", "."], None, Some(&deb)));
    let error = convert(&deb).expect_err("no addresses").to_string();
    assert!(error.contains("linux-image-<version>-dbg"), "{error}");
    let named = folder.path().join("any-name");
    fs::copy(demo_kernel().join("System.map"), &named).expect("copied");
    let options = Options { beside: vec![named], ..Options::default() };
    let (profile, _) = convert_with(&deb, &options).expect("a profile");
    assert!(profile.constants.contains_key("init_task") && profile.structs.contains_key("task_struct"));
}

/// Of several ELF files one that tells no types is not meant, whichever is found first.
#[test]
fn a_file_that_was_stripped_gives_way_to_one_with_types() {
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, map) = (demo_kernel().join("vmlinux"), demo_kernel().join("System.map"));
    let expected = sections(&converted(&whole));
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("tree")).expect("a folder");
    let (stripped, debug) = (at("tree/vmlinux"), at("tree/vmlinux.debug"));
    assert!(tool("objcopy", &["--strip-all", arg(&whole), arg(&stripped)], None, None));
    assert!(tool("objcopy", &["--only-keep-debug", arg(&whole), arg(&debug)], None, None));
    fs::copy(&map, at("tree/System.map")).expect("copied");
    let check = |what: &str, profile: Value| assert_eq!(profile["$STRUCTS"], expected["$STRUCTS"], "{what}");
    check("a folder", converted(&at("tree")));
    for (source, beside) in [(&stripped, &debug), (&debug, &stripped)] {
        let told = ok(&["-q", "convert_profile", arg(source), "--beside", arg(beside), "--system_map", arg(&map)]);
        check(arg(source), serde_json::from_str(&told).expect("JSON"));
    }
    // Modules have any name.
    fs::remove_file(&stripped).expect("removed");
    fs::remove_file(&debug).expect("removed");
    for (without, with) in [("a.ko", "b.ko"), ("b.ko", "a.ko")] {
        assert!(tool("objcopy", &["--strip-debug", arg(&whole), arg(&at("tree").join(without))], None, None));
        fs::copy(&whole, at("tree").join(with)).expect("copied");
        check(without, converted(&at("tree")));
    }
}

#[test]
fn a_packed_vmlinux_is_read() {
    let demo = demo_kernel();
    let (folder, _) = packaged();
    let expected = sections(&converted(&demo.join("vmlinux")));
    for (name, program, args) in [
        ("vmlinux.gz", "gzip", &["-c"][..]),
        ("vmlinux.xz", "xz", &["-c", "--check=crc32"]),
        ("vmlinux.zst", "zstd", &["-c", "-q"]),
    ] {
        let path = folder.path().join(name);
        if tool(program, args, Some(&demo.join("vmlinux")), Some(&path)) {
            assert_eq!(sections(&converted(&path)), expected, "{name}");
        }
    }
}

/// A `vmlinuz` as the kernel's build makes it: a boot sector, one sector of code, the packed kernel, its length.
pub(super) fn bz_image(payload: &[u8], appended: bool) -> Vec<u8> {
    let mut image = vec![0; 1024];
    image[0x1f1] = 1;
    image[0x1fe..0x202].copy_from_slice(b"\x55\xaa\xeb\x6c");
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
    // The decompressor comes before the kernel.
    image.extend([0xcc; 64]);
    image[0x248..0x24c].copy_from_slice(&64_u32.to_le_bytes());
    let end = if appended { &[1, 2, 3, 4][..] } else { &[] };
    image[0x24c..0x250].copy_from_slice(&((payload.len() + end.len()) as u32).to_le_bytes());
    image.extend(payload);
    image.extend(end);
    image.extend([0xcc; 100]);
    image
}

/// The demo kernel without symbols and debugging information, with the BTF that pahole makes of it: what a `vmlinuz` has.
pub(super) fn stripped_kernel(folder: &Path) -> Option<PathBuf> {
    let vmlinux = folder.join("vmlinux");
    fs::copy(demo_kernel().join("vmlinux"), &vmlinux).expect("copied");
    if !tool("pahole", &["-J", arg(&vmlinux)], None, None) {
        return None;
    }
    let stripped = folder.join("stripped");
    tool("objcopy", &["-S", arg(&vmlinux), arg(&stripped)], None, None).then_some(stripped)
}

#[test]
fn a_vmlinuz_gives_the_types_and_the_banner_that_are_in_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(stripped) = stripped_kernel(folder.path()) else { return };
    let truth = converted(&demo_kernel().join("vmlinux"));
    let map = demo_kernel().join("System.map");
    let path = folder.path().join("vmlinuz");
    let check = |what: &str| {
        let options = Options { beside: vec![map.clone()], ..Options::default() };
        let (profile, _) = convert_with(&path, &options).unwrap_or_else(|why| panic!("{what}: {why}"));
        assert_eq!(profile.metadata.banner(), truth["$METADATA"]["Banner"].as_str(), "{what}");
        assert_eq!(profile.metadata.release(), truth["$METADATA"]["Release"].as_str(), "{what}");
        let size = truth["$STRUCTS"]["task_struct"][0].as_u64();
        assert_eq!(profile.structs.get("task_struct").map(|task| task.size), size, "{what}");
    };
    for (program, args, appended) in [
        ("gzip", &["-c", "-n"][..], false),
        ("xz", &["-c", "--check=crc32", "--x86", "--lzma2=dict=32MiB"], true),
        ("xz", &["-c", "--format=lzma"], true),
        ("zstd", &["-c", "-q", "--ultra", "-22"], true),
        ("lz4", &["-c", "-l", "-q"], true),
    ] {
        let packed = folder.path().join("packed");
        if tool(program, args, Some(&stripped), Some(&packed)) {
            fs::write(&path, bz_image(&fs::read(&packed).expect("packed"), appended)).expect("written");
            check(&format!("{program} {args:?}"));
            // An EFI program of the other architectures.
            let payload = fs::read(&packed).expect("packed");
            let mut zboot = b"MZ\0\0zimg".to_vec();
            zboot.extend(64_u32.to_le_bytes());
            zboot.extend((payload.len() as u32).to_le_bytes());
            zboot.resize(64, 0);
            fs::write(&path, [zboot, payload].concat()).expect("written");
            check("zboot");
        }
    }
    // arm64: the kernel itself, without ELF headers. The architecture stands in its header.
    let mut flat = vec![0; 4096];
    flat[0x38..0x3c].copy_from_slice(b"ARM\x64");
    flat.extend(fs::read(&stripped).expect("read"));
    fs::write(&path, &flat).expect("written");
    check("Image");
    let error = convert(&path).expect_err("no symbols").to_string();
    assert!(error.contains("--system_map"), "{error}");
    // What the kernel's build can choose and we do not read is refused by name.
    for (magic, name) in [(&b"BZh9xxxx"[..], "bzip2"), (b"\x89LZO\0xxx", "lzop")] {
        fs::write(&path, bz_image(magic, true)).expect("written");
        let error = convert(&path).expect_err("not supported").to_string();
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn packed_bombs_and_nested_files_come_to_an_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("vmlinux.gz");
    let mut gz = flate2::write::GzEncoder::new(fs::File::create(&path).expect("created"), flate2::Compression::best());
    gz.write_all(b"\x7fELF").expect("written");
    let zeros = vec![0; 1 << 20];
    for _ in 0..600 {
        gz.write_all(&zeros).expect("written");
    }
    gz.finish().expect("finished");
    let error = convert(&path).expect_err("a bomb").to_string();
    assert!(error.contains("vmlinux.gz") && error.contains("MiB"), "{error}");
    // gzip in gzip in gzip ...
    let mut bytes = b"\x7fELF".to_vec();
    for _ in 0..40 {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&bytes).expect("written");
        bytes = gz.finish().expect("finished");
    }
    fs::write(&path, bytes).expect("written");
    let error = convert(&path).expect_err("too deep").to_string();
    assert!(error.contains("packed in each other"), "{error}");
}

#[test]
fn damaged_packages_are_errors() {
    let (folder, _) = packaged();
    let tree = folder.path().join("tree");
    let tar = folder.path().join("kernel.tar");
    assert!(tool("tar", &["-C", arg(&tree), "-c", "."], None, Some(&tar)));
    let gz = folder.path().join("kernel.tar.gz");
    assert!(tool("gzip", &["-c"], Some(&tar), Some(&gz)));
    let whole = fs::read(&gz).expect("read");
    for end in [20, 1000, whole.len() / 2] {
        fs::write(&gz, &whole[..end]).expect("written");
        let target = folder.path().join("out");
        let output = run(&["convert_profile", arg(&gz), arg(&target)]);
        assert_eq!(output.status.code(), Some(1), "cut at {end}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("kernel.tar.gz") && !target.exists());
    }
    for bytes in [
        &b"!<arch>\ndebian-binary   0           0     0     100644  99999999999999`\n"[..],
        b"!<arch>\nshort",
        b"070701000000010000",
        b"\xed\xab\xee\xdb0000",
        b"070701ZZZZZZZZ00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
    ] {
        fs::write(&gz, bytes).expect("written");
        assert!(convert(&gz).is_err());
    }
}
