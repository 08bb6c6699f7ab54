//! Windows images of the corpus, against the truth of their generator.

use crate::support::{address, arg, fails, folder, member, nt_isf, refused, run, text, unpacked};
use quaid_analyzer::Options;
use quaid_analyzer::paging::Pagefile;
use serde_json::{Value, json};
use std::path::PathBuf;

const WIN7: &str = "339E74133576439CBCDF7E0229DA37731";
const WIN10: &str = "5278AFF86C341677D7D7835C85B7B8441";

/// An image, the repository with its profile, and its truth.
fn image(name: &str, id: &str) -> Option<(PathBuf, PathBuf, Value)> {
    let truth = text(&format!("windows/images/{name}.truth.json"))?;
    Some((
        unpacked(&format!("windows/images/{name}.raw"))?,
        nt_isf(&[id])?,
        serde_json::from_str(&truth).expect("JSON"),
    ))
}

/// The generator's times have no zone and may have a fraction; the column has seconds, in UTC.
fn time(truth: &Value) -> Value {
    truth.as_str().map_or(Value::Null, |text| json!(format!("{}Z", text.split('.').next().expect("never empty"))))
}

/// The rows of `pslist` as the truth has them. `handles` says whether the generator filled their count.
fn expected_processes(truth: &Value, handles: bool) -> Vec<Value> {
    let listed = truth["processes"].as_array().expect("a list").iter().filter(|p| p["hidden"] == json!(false));
    let row = |p: &Value| {
        let count = p["handles"].as_array().expect("a list").len();
        let hnds = match p["exit"] {
            // An exited process has given its table back.
            Value::String(_) => Value::Null,
            _ => json!(if handles { count } else { 0 }),
        };
        json!({
            "offset": format!("{:#x}", p["va"].as_u64().expect("an address")),
            "name": p["name"].as_str().expect("a name").chars().take(14).collect::<String>(),
            "pid": p["pid"], "ppid": p["ppid"], "thds": p["nthreads"], "hnds": hnds, "sess": p["session"],
            "wow64": false, "start": time(&p["create"]), "exit": time(&p["exit"]),
        })
    };
    listed.map(row).collect()
}

fn expected_modules(truth: &Value) -> Vec<Value> {
    let hex = |v: &Value| format!("{:#x}", v.as_u64().expect("an address"));
    let row = |m: &Value| json!({"offset": hex(&m["va"]), "name": m["name"], "base": hex(&m["base"]), "size": m["size"], "path": m["path"]});
    truth["modules"].as_array().expect("a list").iter().map(row).collect()
}

#[test]
fn windows_7_processes_and_modules_are_the_truth_s() {
    let Some((image, profiles, truth)) = image("win7x64", WIN7) else { return };
    let pslist = run(&image, &folder(&profiles), &Options::default(), "pslist", &[]);
    assert_eq!(pslist.rows, expected_processes(&truth, true));
    assert_eq!(pslist.summary.problems, [""; 0]);
    let found = format!(
        "Found _EPROCESS @ {:#x} (DTB: {:#x})",
        truth["processes"][0]["pa"].as_u64().expect("a number"),
        truth["dtb"].as_u64().expect("a number")
    );
    assert!(pslist.steps.contains(&found), "{:#?}", pslist.steps);
    let modules = run(&image, &folder(&profiles), &Options::default(), "modules", &[]);
    assert_eq!(modules.rows, expected_modules(&truth));
}

#[test]
fn windows_10_processes_and_modules_are_the_truth_s() {
    let Some((image, profiles, truth)) = image("win10_19041", WIN10) else { return };
    let pslist = run(&image, &folder(&profiles), &Options::default(), "pslist", &[]);
    // The count moved to the free list, which the generator leaves empty.
    assert_eq!(pslist.rows, expected_processes(&truth, false));
    let modules = run(&image, &folder(&profiles), &Options::default(), "modules", &[]);
    assert_eq!(modules.rows, expected_modules(&truth));
    assert_eq!(address(&modules.rows[0]["base"]), truth["kernel_base"].as_u64().expect("an address"));
}

fn pids(rows: &[Value]) -> Vec<u64> {
    rows.iter().map(|row| row["pid"].as_u64().expect("a number")).collect()
}

/// The process that was unlinked from the list.
fn hidden(truth: &Value) -> &Value {
    let mut all = truth["processes"].as_array().expect("a list").iter();
    all.find(|p| p["hidden"] == json!(true)).expect("there is one")
}

#[test]
fn the_options_of_pslist_choose_processes() {
    let Some((image, profiles, truth)) = image("win7x64", WIN7) else { return };
    let profiles = folder(&profiles);
    let pslist = |args: &[(&str, &[&str])]| run(&image, &profiles, &Options::default(), "pslist", args).rows;
    assert_eq!(pids(&pslist(&[("pid", &["4", "0x1388"])])), [4, 5000]);
    assert_eq!(pids(&pslist(&[("proc_regex", &["^CSRSS|plorer"])])), [456, 3120]);
    assert_eq!(pids(&pslist(&[("proc_regex", &["s"]), ("pid", &["680"])])), [680]);
    // A process that is in no list, by its address: whole, in the 48 bits that text shows, and physical.
    let (va, pa) =
        (hidden(&truth)["va"].as_u64().expect("an address"), hidden(&truth)["pa"].as_u64().expect("an address"));
    for (option, at) in [("eprocess", va), ("eprocess", va & 0xffff_ffff_ffff), ("phys_eprocess", pa)] {
        let rows = pslist(&[(option, &[&format!("{at:#x}")])]);
        assert_eq!((pids(&rows), address(&rows[0]["offset"])), (vec![6660], va), "{option} {at:#x}");
        assert_eq!(rows[0]["name"], "evil_rootkit.e");
    }
    // Several; and one that is in the list.
    let smss = format!("{:#x}", truth["processes"][1]["pa"].as_u64().expect("an address"));
    assert_eq!(pids(&pslist(&[("phys_eprocess", &[&format!("{pa:#x}"), &smss])])), [6660, 348]);
    let kdbg = format!("{:#x}", truth["kdbg"].as_u64().expect("an address"));
    assert_eq!(pslist(&[("kdbg", &[&kdbg])]), expected_processes(&truth, true));
}

#[test]
fn options_that_lead_nowhere_are_refused() {
    let Some((image, profiles, truth)) = image("win7x64", WIN7) else { return };
    let profiles = folder(&profiles);
    let fails = |args: &[(&str, &[&str])]| fails(&image, &profiles, "pslist", args);
    let kernel = format!("{:#x}", truth["kernel_base"].as_u64().expect("an address"));
    assert!(fails(&[("kdbg", &[&kernel])]).contains("there is no debugger data block at 0xfffff80002a4c000"));
    assert!(fails(&[("kdbg", &["0x10"])]).contains("cannot read the debugger data block at 0x10"));
    assert!(fails(&[("phys_eprocess", &["0x5000"])]).starts_with("--phys_eprocess: 0x5000: "));
    assert!(fails(&[("pid", &["four"])]).starts_with("--pid: `four` is not a number"));
    assert_eq!(fails(&[("task", &["0x10"])]), "--task: pslist has no such option for images of this operating system");
}

#[test]
fn windows_xp_with_pae_reads_by_a_profile_of_rekall_s_own() {
    let Some(truth) = text("windows/images/xpsp3.truth.json") else { return };
    let truth: Value = serde_json::from_str(&truth).expect("JSON");
    let Some(image) = unpacked("windows/images/xpsp3.raw") else { return };
    let Some(profile) = member("windows/rekall/rekall-parse_pdb-outputs.tar.xz", "nt__ntkrnlpa.json") else { return };
    let options = Options { profile: Some(arg(&profile)), ..Options::default() };
    let nowhere = quaid_profile::ProfilePath::default();
    let pslist = run(&image, &nowhere, &options, "pslist", &[]);
    assert_eq!(pslist.rows, expected_processes(&truth, true));
    assert_eq!(run(&image, &nowhere, &options, "modules", &[]).rows, expected_modules(&truth));
    // Its profiles carry the age of another stream: 2, where the RSDS record has 1.
    assert!(
        pslist.steps.iter().any(|step| step.ends_with(
            "30B5FB31AE7E4ACAABA750AA241FF3311 (ntkrnlpa.pdb); the profile's age is 2, the GUID is the same"
        )),
        "{:#?}",
        pslist.steps
    );
    let pa = format!("{:#x}", hidden(&truth)["pa"].as_u64().expect("an address"));
    assert_eq!(pids(&run(&image, &nowhere, &options, "pslist", &[("phys_eprocess", &[&pa])]).rows), [6660]);
    let kdbg = format!("{:#x}", truth["kdbg"].as_u64().expect("an address"));
    assert_eq!(run(&image, &nowhere, &options, "pslist", &[("kdbg", &[&kdbg])]).rows, pslist.rows);
}

#[test]
fn a_profile_of_another_build_is_refused_with_both_builds() {
    let Some((image, _, _)) = image("win10_19041", WIN10) else { return };
    let Some(profiles) = nt_isf(&[WIN7]) else { return };
    let options = Options { profile: Some(format!("nt/GUID/{WIN7}")), ..Options::default() };
    let error = refused(&image, &folder(&profiles), &options).to_string();
    let expected = format!(
        "no profile fits this image: nt/GUID/{WIN7}: it is for {WIN7}, and the kernel of this image is {WIN10} (ntkrnlmp.pdb)"
    );
    assert_eq!(error, expected);
}

#[test]
fn a_missing_profile_is_told_with_the_place_and_the_way_to_it() {
    let Some((image, _, _)) = image("win7x64", WIN7) else { return };
    let empty = tempfile::tempdir().expect("a folder");
    let error = refused(&image, &folder(empty.path()), &Options::default());
    let text = error.to_string();
    assert!(text.contains(&format!("{WIN7} (ntkrnlmp.pdb)")) && text.contains(&arg(empty.path())), "{text}");
    assert!(
        error
            .next_steps("I", Some("R"))
            .contains(&format!("quaid fetch_pdb --guid {WIN7} --filename ntkrnlmp.pdb -D ."))
    );
}

#[test]
fn what_a_person_knows_is_used_and_checked() {
    let Some((image, profiles, truth)) = image("win7x64", WIN7) else { return };
    let profiles = folder(&profiles);
    let (dtb, base) = (truth["dtb"].as_u64(), truth["kernel_base"].as_u64());
    let known = Options { dtb, kernel_slide: base, ..Options::default() };
    assert_eq!(run(&image, &profiles, &known, "pslist", &[]).rows, expected_processes(&truth, true));
    // A process's own tables show the kernel as well.
    let other = Options { dtb: truth["processes"][7]["dtb"].as_u64(), ..Options::default() };
    assert_eq!(run(&image, &profiles, &other, "pslist", &[]).rows, expected_processes(&truth, true));
    for wrong in [
        Options { dtb: Some(0x5000), ..Options::default() },
        Options { kernel_slide: base.map(|base| base + 0x1000), ..Options::default() },
    ] {
        let error = refused(&image, &profiles, &wrong).to_string();
        assert!(
            error.starts_with(&format!("no profile fits this image: nt/GUID/{WIN7}: no process leads to the kernel")),
            "{error}"
        );
    }
}

#[test]
fn vtop_and_dt_agree_with_the_truth() {
    let Some((image, profiles, truth)) = image("win7x64", WIN7) else { return };
    let profiles = folder(&profiles);
    let ask = |plugin: &str, args: &[(&str, &[&str])]| run(&image, &profiles, &Options::default(), plugin, args);
    let process = &truth["processes"][2];
    let hex = |key: &str| format!("{:#x}", process[key].as_u64().expect("a number"));
    let vtop = ask("vtop", &[("address", &[&hex("va")])]);
    let levels: Vec<&str> = vtop.rows.iter().map(|row| row["level"].as_str().expect("a text")).collect();
    assert_eq!(levels, ["PML4E", "PDPTE", "PDE", "PTE", "Physical Address"]);
    assert_eq!(vtop.rows[4]["entry"], json!(hex("pa")));
    // In a process: its own root, and its own image, which the kernel's tables do not map.
    let base = format!("{:#x}", truth["dlls"]["456"][0]["base"].as_u64().expect("an address"));
    let inside = ask("vtop", &[("address", &[&base]), ("pid", &["456"])]);
    assert_eq!(address(&inside.rows[0]["entry"]) & !0xfff, process["dtb"].as_u64().expect("a number"));
    assert_eq!(inside.rows.last().expect("rows")["level"], "Physical Address");
    let outside = ask("vtop", &[("address", &[&base])]);
    assert!(outside.rows.iter().all(|row| row["level"] != "Physical Address"));
    assert!(outside.summary.problems[0].contains("not present"), "{:?}", outside.summary.problems);
    assert!(fails(&image, &profiles, "vtop", &[("address", &["0"]), ("pid", &["5"])]).contains("no such process"));

    let dt = ask("dt", &[("type", &["_EPROCESS"]), ("offset", &[&hex("va")])]);
    let content = |field: &str| {
        let row = dt.rows.iter().find(|row| row["field"] == field).expect("a member");
        (address(&row["offset"]), row["content"].as_str().expect("a text").to_owned())
    };
    // Offsets of 6.1.7601, as a debugger prints them.
    assert_eq!(content("UniqueProcessId"), (0x180, "0x1c8".to_owned()));
    assert_eq!(content("ImageFileName"), (0x2e0, "\"csrss.exe\"".to_owned()));
    assert_eq!(content("ActiveThreads"), (0x328, "2 (0x2)".to_owned()));
    let offsets: Vec<u64> = dt.rows.iter().map(|row| address(&row["offset"])).collect();
    assert!(offsets.is_sorted());
    let layout = ask("dt", &[("type", &["_LIST_ENTRY"])]);
    let expected = [
        json!({"offset": "0x0", "field": "Flink", "content": "pointer to _LIST_ENTRY"}),
        json!({"offset": "0x8", "field": "Blink", "content": "pointer to _LIST_ENTRY"}),
    ];
    assert_eq!(layout.rows, expected);
    let unknown = fails(&image, &profiles, "dt", &[("type", &["eprocess"])]);
    assert!(unknown.contains("has no struct `eprocess`; there are") && unknown.contains("_EPROCESS"), "{unknown}");
}

/// Writes an entry or a page into a copy of an image.
fn put(image: &mut [u8], at: u64, bytes: &[u8]) {
    image[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
}

#[test]
fn processes_whose_pages_are_out_in_a_page_file_are_read_from_there() {
    let Some((original, profiles, truth)) = image("win10_19041", WIN10) else { return };
    let profiles = folder(&profiles);
    let expected = run(&original, &profiles, &Options::default(), "pslist", &[]).rows;
    let mut content = std::fs::read(&original).expect("the image");
    // The fourth process that is listed: its struct begins on this page.
    let process = &truth["processes"][3];
    let va = process["va"].as_u64().expect("an address");
    let pa = process["pa"].as_u64().expect("an address") & !0xfff;
    let walk = |image: &std::path::Path| {
        run(image, &profiles, &Options::default(), "vtop", &[("address", &[&format!("{va:#x}")])])
    };
    let steps = walk(&original).rows;
    let (level, pte) = (&steps[3]["level"], address(&steps[3]["entry"]));
    assert_eq!((level, address(&steps[4]["entry"]) & !0xfff), (&json!("PTE"), pa));

    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("mem.raw");
    let write = |content: &[u8]| std::fs::write(&image, content).expect("written");
    // In transition (bit 11; SwizzleBit set, so that nothing is mixed in): read as before.
    put(&mut content, pte, &(pa | 0x890).to_le_bytes());
    write(&content);
    assert_eq!(walk(&image).rows[3]["meaning"], format!("page in transition at {pa:#x}"));
    assert_eq!(walk(&image).rows[3]["flags"], "READWRITE");
    assert_eq!(run(&image, &profiles, &Options::default(), "pslist", &[]).rows, expected);

    // In page 5 of page file 1, and no longer in memory.
    let mut pagefile = vec![0; 0x6000];
    pagefile[0x5000..].copy_from_slice(&content[pa as usize..pa as usize + 0x1000]);
    put(&mut content, pa, &[0; 0x1000]);
    put(&mut content, pte, &0x0000_0005_0000_1090_u64.to_le_bytes());
    write(&content);
    let files = [folder.path().join("page0.sys"), folder.path().join("page1.sys")];
    std::fs::write(&files[0], vec![0xff; 0x6000]).expect("written");
    std::fs::write(&files[1], pagefile).expect("written");
    let open = |file: &PathBuf| Pagefile::open(file, false).expect("a page file");
    let options = Options { pagefiles: files.iter().map(open).collect(), ..Options::default() };
    assert_eq!(run(&image, &profiles, &options, "pslist", &[]).rows, expected);
    let without = run(&image, &profiles, &Options::default(), "pslist", &[]);
    assert_ne!(without.rows, expected);
    let told = "in page file 1 at offset 0x5000 (--pagefile)";
    assert!(without.summary.problems.iter().any(|problem| problem.ends_with(told)), "{:?}", without.summary);
    let vtop = walk(&image);
    assert_eq!(vtop.rows.len(), 4);
    assert_eq!(vtop.rows[3]["meaning"], told);
    assert!(vtop.summary.problems[0].ends_with(told), "{:?}", vtop.summary.problems);
    let loaded = run(&image, &profiles, &options, "load_as", &[]).rows;
    assert_eq!(loaded[3], json!({"space": "page file", "kind": "number 1", "begin": null, "bytes": 0x6000}));

    // A page by a prototype PTE, which is in the kernel's memory: where the process struct of another process was.
    let other = &truth["processes"][4];
    let at = other["va"].as_u64().expect("an address") + 0x400;
    put(&mut content, other["pa"].as_u64().expect("an address") + 0x400, &(pa | 0x121).to_le_bytes());
    put(&mut content, pte, &(at << 16 | 0x410).to_le_bytes());
    write(&content);
    let vtop = walk(&image);
    assert_eq!(vtop.rows[3]["meaning"], format!("prototype PTE at virtual {at:#x}"));
    assert_eq!(
        (&vtop.rows[4]["level"], &vtop.rows[4]["meaning"]),
        (&json!("Prototype PTE"), &json!(format!("page at {pa:#x}")))
    );
    assert_eq!(vtop.rows[5]["level"], "Physical Address");
}

#[test]
fn the_page_tables_of_windows_processes_are_those_of_the_truth() {
    for (name, id) in [("win7x64", WIN7), ("win10_19041", WIN10)] {
        let Some((image, profiles, truth)) = image(name, id) else { return };
        let rows = run(&image, &folder(&profiles), &Options::default(), "find_dtb", &[]).rows;
        let listed = truth["processes"].as_array().expect("a list").iter().filter(|p| p["hidden"] == json!(false));
        let expected: Vec<(Value, Value)> = listed
            .map(|p| (p["pid"].clone(), json!(format!("{:#x}", p["dtb"].as_u64().expect("a number") & !0xfff))))
            .collect();
        let seen: Vec<(Value, Value)> = rows[1..].iter().map(|row| (row["pid"].clone(), row["dtb"].clone())).collect();
        assert_eq!(seen, expected, "{name}");
        assert!(rows.iter().all(|row| row["valid"] == json!(true)), "{rows:?}");
        assert_eq!(rows[0]["dtb"], expected[0].1);
    }
}
