//! `image_info`, against what the makers of the images say and against the bytes of their headers.

use crate::support::{arg, corpus_text, formats, ok, rows, run, unpacked};
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
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("quaid -f IMAGE image_info"));
}
