//! Windows images of the corpus, against the truth of their generator.

use crate::support::{address, folder, nt_isf, run, text, unpacked};
use quaid_analyzer::Options;
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
