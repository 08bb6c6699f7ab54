//! `image_info`, against what the makers of the images say and against the bytes of their headers.

use crate::support::{arg, corpus_text, formats, ok, rows, run, skipped, unpacked};
use serde_json::{Value, json};

fn info(path: &std::path::Path) -> Value {
    serde_json::from_str(&ok(&["--format", "json", "-f", arg(path), "image_info"])).expect("JSON")
}

#[test]
fn a_crash_dump_s_header_is_told() {
    let Some(folder) = formats() else { return };
    let path = folder.join("synth/full64.dmp");
    let bytes = std::fs::read(&path).expect("the dump");
    // DUMP_HEADER64: DirectoryTableBase, PsLoadedModuleList, PsActiveProcessHead, KdDebuggerDataBlock.
    let field = |at: usize| format!("{:#x}", u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes")));
    let seen = info(&path);
    assert_eq!(seen["formats"], json!(["Windows crash dump"]));
    assert_eq!(seen["dtbs"], json!([field(0x10)]));
    assert_eq!(
        seen["kernel"],
        json!({"ps_loaded_module_list": field(0x20), "ps_active_process_head": field(0x28), "kdbg": field(0x80)})
    );
    assert_eq!(seen["memory"], json!({"bytes": 16 << 20, "ranges": 2}));
    assert_eq!(seen["file_bytes"], bytes.len());
    let text = ok(&["image_info", arg(&path)]);
    assert!(text.contains(&format!("\nDTB                      {}\n", field(0x10))), "{text}");
}

#[test]
fn ranges_are_those_that_the_maker_wrote_and_a_truncated_one_is_told() {
    let Some(folder) = formats() else { return };
    let truth = std::fs::read(folder.join("synth/expected.json")).expect("expected.json");
    let truth: Value = serde_json::from_slice(&truth).expect("JSON");
    let path = folder.join("synth/truncated.lime");
    let seen = rows(&ok(&["--format", "json", "-f", arg(&path), "image_info", "--ranges"]));
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("hex");
    let memory: Vec<_> = seen.iter().filter(|row| row["kind"] == "memory").collect();
    let expected = truth["truncated.lime"]["runs"].as_array().expect("runs");
    assert_eq!(memory.len(), expected.len());
    for (row, run) in memory.iter().zip(expected) {
        let (start, bytes) = (number(run[0].as_str().expect("text")), number(run[2].as_str().expect("text")));
        assert_eq!(number(row["start"].as_str().expect("text")), start);
        assert_eq!(number(row["end"].as_str().expect("text")), start + bytes);
    }
    // The second range is 8 MiB by its header, and ends at 0x100800000.
    let gap = seen.last().expect("rows");
    assert_eq!(
        (&gap["kind"], &gap["end"], &gap["file_offset"]),
        (&json!("truncated"), &json!("0x100800000"), &Value::Null)
    );
    let whole = info(&path);
    assert_eq!(whole["missing"]["truncated"], json!({"bytes": gap["bytes"], "ranges": 1}));
    assert_eq!(whole["warnings"].as_array().map(Vec::len), Some(1));
}

#[test]
fn ranges_of_a_lime_file_are_the_guest_s_own_list_of_its_memory() {
    let Some(path) = unpacked("linux/small/linux-small-nobash.lime") else { return };
    let iomem = corpus_text("linux/small/linux-small-nobash.groundtruth.txt.gz").expect("the truth");
    let number = |text: &str| u64::from_str_radix(text, 16).expect("hex");
    let ram: Vec<_> = iomem
        .lines()
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.strip_suffix(" : System RAM")?.split_once('-'))
        .map(|(from, to)| (format!("{:#x}", number(from)), format!("{:#x}", number(to) + 1)))
        .collect();
    let seen = rows(&ok(&["--format", "json", "-f", arg(&path), "image_info", "--ranges"]));
    let text = |cell: &Value| cell.as_str().expect("text").to_owned();
    assert_eq!(seen.iter().map(|row| (text(&row["start"]), text(&row["end"]))).collect::<Vec<_>>(), ram);
}

#[test]
fn without_an_image_it_says_what_to_type() {
    let output = run(&["image_info"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("quaid -f IMAGE image_info"));
}

/// The picture's width, colours and comment.
fn picture(path: &std::path::Path) -> (usize, Vec<[u8; 3]>, String) {
    let mut decoder = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(path).expect("written")));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().expect("a PNG file");
    let mut bytes = vec![0; reader.output_buffer_size().expect("a size")];
    let frame = reader.next_frame(&mut bytes).expect("a picture");
    assert_eq!(frame.color_type, png::ColorType::Rgb);
    let comment = reader.info().uncompressed_latin1_text[0].text.clone();
    (frame.width as usize, bytes.chunks_exact(3).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(), comment)
}

#[test]
fn the_physical_map_shows_pages_that_are_used_zero_and_missing() {
    let Some(folder) = formats() else { return };
    let made = tempfile::tempdir().expect("a folder");
    let out = made.path().join("map.png");
    ok(&["image_info", arg(&folder.join("flat.raw")), "--png", arg(&out)]);
    let (width, pixels, comment) = picture(&out);
    assert!(comment.starts_with("4096 bytes a pixel, 512 pixels a line"), "{comment}");
    let flat = std::fs::read(folder.join("flat.raw")).expect("flat.raw");
    assert_eq!((width, pixels.len()), (512, flat.len() / 4096));
    let is_zero = |page: &[u8]| page.iter().all(|&byte| byte == 0);
    let (zero, used) = ([0x20, 0x20, 0x28], [0x30, 0x98, 0x50]);
    for (page, pixel) in flat.chunks(4096).zip(&pixels) {
        assert_eq!(*pixel, if is_zero(page) { zero } else { used });
    }
    assert!(pixels.contains(&zero) && pixels.contains(&used));

    // Its second range begins at 4 GiB, has 8 MiB, and the file ends inside: 16 KiB a pixel.
    ok(&["--overwrite", "image_info", arg(&folder.join("synth/truncated.lime")), "--png", arg(&out)]);
    let (_, pixels, comment) = picture(&out);
    assert!(comment.starts_with("16384 bytes a pixel"), "{comment}");
    let at = |address: u64| pixels[(address / 16384) as usize];
    assert_eq!((at(0x8000_0000), at(0x1_007f_f000)), ([0xff; 3], [0xf0, 0xa0, 0x30]));
    assert!([zero, used].contains(&at(0x1_0000_0000)));
    let refused = run(&["image_info", arg(&folder.join("flat.raw")), "--png", arg(&out)]);
    assert_eq!(refused.status.code(), Some(1), "the file is there");
}

/// /dev/zero stands for a device that gives memory: nobody can say how long it is.
#[cfg(unix)]
#[test]
fn a_character_device_has_no_size() {
    let info = |format| ok(&["--format", format, "--runs", "0x1000-0x3000", "-f", "/dev/zero", "image_info"]);
    let text = info("text");
    assert!(text.contains("Size of the file         unknown") && text.contains("8192 bytes"), "{text}");
    let json: Value = serde_json::from_str(&info("json")).expect("JSON");
    assert_eq!((&json["file_bytes"], &json["memory"]["bytes"]), (&Value::Null, &json!(8192)));
}

/// ewfacquire stores what it is asked to; md5sum and sha1sum say what that is.
#[test]
fn digests_of_ewf_contents_are_equal_or_not_or_not_stored() {
    let Some(folder) = formats() else { return };
    let made = tempfile::tempdir().expect("a folder");
    let raw = made.path().join("raw");
    let flat = std::fs::read(folder.join("flat.raw")).expect("flat.raw");
    std::fs::write(&raw, &flat[..(3 << 20) + 512]).expect("written");
    let acquired = std::process::Command::new("ewfacquire")
        .args(["-u", "-q", "-c", "fast", "-S", "1048576", "-d", "sha1", "-t"])
        .args([made.path().join("both"), raw.clone()])
        .output();
    let verify = |path: &std::path::Path| {
        let output = run(&["--format", "json", "-f", arg(path), "image_info", "--verify"]);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let stdout = String::from_utf8_lossy(&output.stdout);
        (output.status.code(), if stdout.is_empty() { Vec::new() } else { rows(&stdout) }, stderr)
    };
    let verdicts = |rows: &[Value]| rows.iter().map(|row| row["verdict"].clone()).collect::<Vec<_>>();
    if acquired.is_ok_and(|made| made.status.success()) {
        let (code, rows, _) = verify(&made.path().join("both.E01"));
        assert_eq!((code, verdicts(&rows)), (Some(0), vec![json!("equal"), json!("equal")]));
        for (row, program) in rows.iter().zip(["md5sum", "sha1sum"]) {
            let sum = std::process::Command::new(program).arg(&raw).output().expect("coreutils").stdout;
            let sum = String::from_utf8_lossy(&sum);
            assert_eq!(row["computed"].as_str(), sum.split(' ').next(), "{program}");
        }
    } else {
        skipped("there is no ewfacquire program");
    }

    let (code, rows, _) = verify(&folder.join("ewf/s_smart.s01"));
    assert_eq!((code, verdicts(&rows)), (Some(0), vec![json!("equal"), json!("not stored")]));
    for name in ["s_encase6.E01", "s_encase6.E02", "s_encase6.E03", "s_encase6.E04", "s_encase6.E05", "s_encase6.E06"] {
        std::fs::copy(folder.join("ewf").join(name), made.path().join(name)).expect("copied");
    }
    let image = made.path().join("s_encase6.E01");
    let (code, _, stderr) = verify(&image);
    assert!(code == Some(1) && stderr.contains("cannot be verified"), "the last segment is missing: {stderr}");
    let mut last = std::fs::read(folder.join("ewf/s_encase6.E07")).expect("the last segment");
    let md5: Vec<u8> = (0..16)
        .map(|at| u8::from_str_radix(&"c1ee6e04bc5c036da66f73b3324df1b3"[at * 2..][..2], 16))
        .map(|b| b.expect("hex"))
        .collect();
    let places: Vec<usize> =
        last.windows(16).enumerate().filter(|(_, bytes)| *bytes == md5).map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    // A digest of zeros is one that was never written.
    for &at in &places {
        last[at..at + 16].fill(0);
    }
    std::fs::write(made.path().join("s_encase6.E07"), &last).expect("written");
    let (code, rows, stderr) = verify(&image);
    assert_eq!((code, verdicts(&rows)), (Some(1), vec![json!("not stored"), json!("not stored")]), "{stderr}");
    for at in places {
        last[at..at + 16].copy_from_slice(&md5);
        last[at] ^= 1;
    }
    std::fs::write(made.path().join("s_encase6.E07"), last).expect("written");
    let (code, rows, stderr) = verify(&image);
    assert_eq!((code, verdicts(&rows)), (Some(1), vec![json!("not equal"), json!("not stored")]), "{stderr}");
    assert_eq!(
        (&rows[0]["stored"], &rows[0]["computed"]),
        (&json!("c0ee6e04bc5c036da66f73b3324df1b3"), &json!("c1ee6e04bc5c036da66f73b3324df1b3"))
    );
    let (code, _, stderr) = verify(&folder.join("synth/full64.dmp"));
    assert!(code == Some(1) && stderr.contains("--verify is for EWF images"), "{stderr}");
}
