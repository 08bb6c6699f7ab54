//! Containers and compressed images of the corpus, against the memory that their makers put into them.

use crate::support::{formats, skipped};
use quaid_analyzer::Pa;
use quaid_analyzer::image::{Image, Options, digests, open};
use std::path::Path;
use std::process::Command;

fn image(path: &Path) -> Image {
    open(path, &Options::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// (physical address, offset in flat.raw, bytes)
type Truth = [(u64, usize, usize)];

/// The image has these runs and no other, and each holds what flat.raw has there: read in one go, and page by page from
/// the last to the first.
fn holds(image: &Image, flat: &[u8], truth: &Truth, what: &str) {
    let seen: Vec<_> = image.runs().iter().map(|run| (run.start.0, run.bytes)).collect();
    assert_eq!(seen, truth.iter().map(|&(at, _, bytes)| (at, bytes as u64)).collect::<Vec<_>>(), "{what}");
    assert_eq!(image.warnings, [""; 0], "{what}");
    for &(at, offset, bytes) in truth {
        let expected = flat.get(offset..offset + bytes).expect("inside flat.raw");
        let mut buffer = vec![0xee; bytes];
        assert_eq!(image.read(Pa(at), &mut buffer), Ok(()), "{what} at {at:#x}");
        assert!(buffer == expected, "{what} at {at:#x}");
        for (index, expected) in expected.chunks(4096).enumerate().rev() {
            let mut page = vec![0xee; expected.len()];
            let at = at + 4096 * index as u64;
            assert_eq!(image.read(Pa(at), &mut page), Ok(()), "{what} at {at:#x}");
            assert!(page == expected, "{what} at {at:#x}");
        }
    }
}

fn flat(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("flat.raw")).expect("flat.raw")
}

#[test]
fn vmware_memory_is_where_the_snapshot_file_says() {
    let Some(folder) = formats() else { return };
    let flat = flat(&folder);
    for file in ["synth/vm.vmem", "synth/vm.vmss"] {
        let image = image(&folder.join(file));
        assert_eq!(image.describe(), "VMware");
        // synth/expected.json, vm.vmem
        holds(&image, &flat, &[(0, 0, 0x80_0000), (0x1_0000_0000, 0x80_0000, 0x80_0000)], file);
    }
}

/// Its MD5 is 16 bytes of text in the digest sections, and what the image has is hashed here again.
#[test]
fn ewf_of_several_writers_holds_the_memory_and_its_own_md5() {
    let Some(folder) = formats() else { return };
    let flat = flat(&folder);
    for file in ["ewf/s_encase6.E01", "ewf/s_nocomp.E01", "ewf/s_smart.s01"] {
        let image = image(&folder.join(file));
        assert_eq!(image.describe(), "EWF", "{file}");
        holds(&image, &flat, &[(0, 0, flat.len())], file);
        let fact =
            |name: &str| image.hints.facts.iter().find(|(what, _)| what == name).map(|(_, value)| value.as_str());
        assert_eq!(fact("acquisition tool version"), Some("20140813"), "{file}");
        // md5sum of flat.raw
        assert_eq!(fact("MD5"), Some("c1ee6e04bc5c036da66f73b3324df1b3"), "{file}");
        let [md5, sha1] = digests(&image, &mut |_| ()).expect("all of it");
        assert_eq!((md5.name, md5.computed.as_str()), ("MD5", "c1ee6e04bc5c036da66f73b3324df1b3"), "{file}");
        assert_eq!((md5.stored.as_ref() == Some(&md5.computed), sha1.stored), (true, None), "{file}");
    }
}

/// Each layout and compression that ewfacquire writes; a length that is no multiple of a chunk.
#[test]
fn ewf_of_every_kind_that_ewfacquire_writes_is_read() {
    let Some(folder) = formats() else { return };
    let flat = flat(&folder);
    let flat = flat.get(..3 * 1024 * 1024 + 512).expect("16 MiB");
    let temporary = tempfile::tempdir().expect("a folder");
    std::fs::write(temporary.path().join("raw"), flat).expect("written");
    for (format, compression, extension) in [
        ("encase1", "fast", "E01"),
        ("encase2", "none", "E01"),
        ("encase4", "best", "E01"),
        ("encase5", "empty-block", "E01"),
        ("encase6", "none", "E01"),
        ("linen5", "fast", "E01"),
        ("ftk", "best", "E01"),
        ("ewfx", "fast", "e01"),
        ("smart", "none", "s01"),
        ("smart", "empty-block", "s01"),
    ] {
        let what = format!("{format}-{compression}");
        let made = Command::new("ewfacquire")
            .args(["-u", "-q", "-S", "1048576", "-c", compression, "-f", format, "-t"])
            .args([temporary.path().join(&what), temporary.path().join("raw")])
            .output();
        let Ok(made) = made else { return skipped("there is no ewfacquire program") };
        assert!(made.status.success(), "{what}: {}", String::from_utf8_lossy(&made.stderr));
        let image = image(&temporary.path().join(format!("{what}.{extension}")));
        assert_eq!(image.describe(), "EWF", "{what}");
        holds(&image, flat, &[(0, 0, flat.len())], &what);
    }
}

/// Files of LiME, AVML and gzip end where they like; ewfacquire counts whole sectors and keeps the rest in the last chunk.
#[test]
fn ewf_of_a_source_that_ends_within_a_sector_is_read_to_its_last_sector() {
    let Some(folder) = formats() else { return };
    let flat = flat(&folder);
    let temporary = tempfile::tempdir().expect("a folder");
    let source = temporary.path().join("raw");
    for (format, compression, sector, bytes) in [
        ("encase1", "none", 512, 3 * 1024 * 1024 + 20_000),
        ("encase3", "none", 512, 300_000),
        ("encase6", "none", 512, 3 * 1024 * 1024 + 20_000),
        ("encase6", "fast", 512, 3 * 1024 * 1024 + 20_000),
        ("encase6", "none", 4096, 3_000_000),
        // A chunk that has no whole sector is not counted at all.
        ("encase6", "none", 512, 1024 * 1024 + 100),
        ("encase7", "none", 512, 300_001),
        ("linen5", "none", 512, 300_001),
        ("ftk", "none", 512, 300_001),
        ("ewfx", "none", 512, 300_001),
        ("smart", "none", 512, 300_001),
    ] {
        let what = format!("{format}-{compression}-{sector}-{bytes}");
        std::fs::write(&source, &flat[..bytes]).expect("written");
        let made = Command::new("ewfacquire")
            .args(["-u", "-q", "-S", "1048576", "-c", compression, "-f", format, "-P", &sector.to_string(), "-t"])
            .args([temporary.path().join(&what), source.clone()])
            .output();
        let Ok(made) = made else { return skipped("there is no ewfacquire program") };
        assert!(made.status.success(), "{what}: {}", String::from_utf8_lossy(&made.stderr));
        let extension = match format {
            "smart" => "s01",
            "ewfx" => "e01",
            _ => "E01",
        };
        let image = image(&temporary.path().join(format!("{what}.{extension}")));
        let counted = bytes / sector * sector;
        holds(&image, &flat, &[(0, 0, counted)], &what);
    }
}

/// As users keep images; taken for raw, all addresses would be those of the archive.
#[test]
fn archives_of_an_image_are_refused_by_name() {
    let Some(folder) = formats() else { return };
    let temporary = tempfile::tempdir().expect("a folder");
    std::fs::copy(folder.join("synth/two.lime"), temporary.path().join("two.lime")).expect("copied");
    for (program, options, what) in [
        ("zip", "-q packed two.lime", "a zip archive"),
        ("zip", "-q -0 packed two.lime", "a zip archive"),
        ("tar", "-cf packed --format=gnu two.lime", "a tar archive"),
        ("tar", "-cf packed --format=ustar two.lime", "a tar archive"),
        ("tar", "-cf packed --format=pax two.lime", "a tar archive"),
        ("tar", "-czf packed two.lime", "a tar archive"),
    ] {
        let made = Command::new(program).args(options.split(' ')).current_dir(temporary.path()).status();
        let Ok(status) = made else { return skipped(&format!("there is no {program}")) };
        assert!(status.success(), "{program} {options}");
        let packed = ["packed", "packed.zip"].map(|name| temporary.path().join(name));
        let packed = packed.iter().find(|path| path.exists()).expect("an archive");
        let why = open(packed, &Options::default()).err().map(|why| why.to_string()).unwrap_or_default();
        assert!(why.contains(what), "{program} {options}: {why}");
        let raw = Options { format: Some("raw".into()), ..Options::default() };
        assert!(open(packed, &raw).is_ok(), "{program} {options}");
        std::fs::remove_file(packed).expect("removed");
    }
}

#[test]
fn compressed_images_hold_what_is_in_them() {
    let Some(folder) = formats() else { return };
    let flat = flat(&folder);
    let temporary = tempfile::tempdir().expect("a folder");
    for (program, options) in
        [("gzip", "-1"), ("xz", "-T2 -1 --block-size=1MiB"), ("xz", "-9"), ("zstd", "-3"), ("zstd", "--long=27 -1")]
    {
        let packed = temporary.path().join("packed");
        let output = std::fs::File::create(&packed).expect("created");
        let mut command = Command::new(program);
        let made = command.args(options.split(' ')).arg("-c").arg(folder.join("synth/two.lime"));
        let Ok(status) = made.stdout(output).status() else { return skipped(&format!("there is no {program}")) };
        assert!(status.success(), "{program} {options}");
        let mut image = image(&packed);
        assert_eq!(image.describe(), "LiME", "{program} {options}");
        assert!(image.warnings.iter().all(|warning| warning.contains("unpacked into a temporary file")));
        image.warnings.clear();
        holds(&image, &flat, &[(0, 0, 0x80_0000), (0x1_0000_0000, 0x80_0000, 0x80_0000)], program);
    }
}

#[test]
fn aff4_of_pyaff4_holds_the_memory_in_each_compression() {
    let Some(folder) = formats() else { return };
    let flat = flat(&folder);
    let halves = [(0, 0, 0x80_0000), (0x1_0000_0000, 0x80_0000, 0x80_0000)];
    for file in ["zlib", "snappy", "lz4", "stored", "map-snappy"] {
        let image = image(&folder.join(format!("aff4/{file}.aff4")));
        assert_eq!(image.describe(), "AFF4", "{file}");
        let truth: &Truth = if file == "map-snappy" { &halves } else { &[(0, 0, flat.len())] };
        holds(&image, &flat, truth, file);
    }
}

/// LiME in E01 in gzip, and an ELF core with winpmem's notes behind it in E01: each round finds the next layer.
#[test]
fn formats_are_stacked_in_any_order() {
    let Some(folder) = formats() else { return };
    let flat = flat(&folder);
    let halves = [(0, 0, 0x80_0000), (0x1_0000_0000, 0x80_0000, 0x80_0000)];
    let temporary = tempfile::tempdir().expect("a folder");
    let at = |name: &str| temporary.path().join(name);
    let mut core = std::fs::read(folder.join("synth/core-xnum.elf")).expect("an ELF core");
    core.extend(b"# PMEM\n---\nCR3: 0x187000\n...\n");
    // E01 has whole sectors.
    core.resize(core.len().next_multiple_of(512), 0);
    std::fs::write(at("noted.elf"), core).expect("written");
    let mut lime = std::fs::read(folder.join("synth/two.lime")).expect("a LiME file");
    lime.resize(lime.len().next_multiple_of(512), 0);
    std::fs::write(at("two.lime"), lime).expect("written");
    for (input, format) in [("noted.elf", "ELF core"), ("two.lime", "LiME")] {
        let made =
            Command::new("ewfacquire").args(["-u", "-q", "-c", "fast", "-t"]).args([at("stack"), at(input)]).output();
        let Ok(made) = made else { return skipped("there is no ewfacquire program") };
        assert!(made.status.success(), "{input}: {}", String::from_utf8_lossy(&made.stderr));
        let mut image = image(&at("stack.E01"));
        assert_eq!(image.describe(), format);
        // The sector that was filled up is no header of LiME.
        image.warnings.retain(|warning| !warning.contains("there is no LiME header"));
        holds(&image, &flat, &halves, input);
        assert_eq!(image.hints.dtbs.len(), usize::from(input == "noted.elf"));
        let packed = std::fs::File::create(at("stack.gz")).expect("created");
        let Ok(status) = Command::new("gzip").args(["-1", "-c"]).arg(at("stack.E01")).stdout(packed).status() else {
            return skipped("there is no gzip program");
        };
        assert!(status.success());
        let packed = open(&at("stack.gz"), &Options::default()).expect("an image");
        assert_eq!((packed.describe(), packed.runs()), (format.into(), image.runs()));
        std::fs::remove_file(at("stack.E01")).expect("removed");
    }
}
