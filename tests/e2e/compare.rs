//! `repo diff` and `repo history`: small profiles whose differences are known, and the kernels of the corpus, whose ISF
//! files say of each member where it is.

use crate::support::{arg, nt_isf, ok, rows, run};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// A Linux kernel whose struct `task_struct` has these members.
fn kernel(folder: &Path, release: &str, size: u64, members: &str) -> String {
    let path = folder.join(release);
    let text = format!(
        r#"{{"$METADATA": {{"ProfileClass": "Linux", "Release": "{release}", "Type": "Profile", "arch": "AMD64"}},
            "$CONSTANTS": {{"init_task": 4096, "only_{size}": 8192}},
            "$STRUCTS": {{"list_head": [16, {{"next": [0, ["Pointer", {{"target": "list_head"}}]]}}],
                          "task_struct": [{size}, {{{members}}}]}}}}"#
    );
    std::fs::write(&path, text).expect("written");
    arg(&path).to_owned()
}

#[test]
fn what_differs_is_told_and_builds_are_in_the_order_of_their_versions() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    let root = arg(&root);
    ok(&["repo", "init", root]);
    let pid = |offset: u64, ty: &str| format!(r#""pid": [{offset}, ["{ty}", {{}}]]"#);
    let files = [
        kernel(folder.path(), "6.10.1-amd64", 32, &format!(r#"{}, "new": [0, ["list_head", {{}}]]"#, pid(16, "int"))),
        kernel(folder.path(), "6.9.1-amd64", 16, &format!(r#"{}, "old": [0, ["int", {{}}]]"#, pid(8, "int"))),
        kernel(folder.path(), "6.9.3-amd64", 16, &format!(r#"{}, "old": [0, ["int", {{}}]]"#, pid(8, "int"))),
        kernel(folder.path(), "6.12.0-amd64", 32, &format!(r#"{}, "new": [0, ["list_head", {{}}]]"#, pid(16, "long"))),
    ];
    let mut add = vec!["repo", "-C", root, "add"];
    add.extend(files.iter().map(String::as_str));
    ok(&add);

    let history = |what: &str| rows(&ok(&["--format", "json", "repo", "-C", root, "history", what]));
    let shown = |rows: &[Value], keys: &[&str]| -> Vec<String> {
        rows.iter().map(|row| keys.iter().map(|key| row[*key].to_string()).collect::<Vec<_>>().join(" ")).collect()
    };
    assert_eq!(
        shown(&history("task_struct.pid"), &["first", "last", "builds", "offset", "type"]),
        [
            r#""6.9.1-amd64" "6.9.3-amd64" 2 "0x8" "int""#,
            r#""6.10.1-amd64" "6.10.1-amd64" 1 "0x10" "int""#,
            r#""6.12.0-amd64" "6.12.0-amd64" 1 "0x10" "long""#,
        ]
    );
    assert_eq!(
        shown(&history("task_struct.old"), &["last", "offset"]),
        [r#""6.9.3-amd64" "0x0""#, r#""6.12.0-amd64" null"#]
    );
    assert_eq!(
        shown(&history("task_struct"), &["builds", "size", "changes"]),
        ["2 16 null", r#"1 32 "added new; removed old; 1 moved""#, r#"1 32 "1 of another type""#]
    );
    let output = run(&["repo", "-C", root, "history", "no_such"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));

    let name = |release: &str| {
        let series: Vec<&str> = release.split('.').take(2).collect();
        format!("Linux/Debian/{}/amd64/{release}", series.join("."))
    };
    let (old, new) = (name("6.9.1-amd64"), name("6.10.1-amd64"));
    let text = ok(&["repo", "-C", root, "diff", &old, &new, "--symbols"]);
    let expected = format!(
        "{old} -> {new}\nstructs: 1 changed, 0 new, 0 gone\nenums: 0 changed, 0 new, 0 gone\n\
         symbols: 1 gained, 1 lost, 1 in both\n\ntask_struct 0x10 -> 0x20 bytes\n  + 0x0                new  list_head\n  \
         - 0x0                old  int\n  > 0x8 -> 0x10        pid\n\n+ only_32\n- only_16\n"
    );
    assert_eq!(text, expected);
    assert!(ok(&["repo", "-C", root, "diff", &old, &new, "list_head"]).ends_with("the same in both\n"));
    // A file is as good as a name.
    assert!(ok(&["repo", "-C", root, "diff", &files[1], &new, "task_struct"]).contains("> 0x8 -> 0x10        pid"));
    assert_eq!(run(&["repo", "-C", root, "diff", &old, &new, "no_such"]).status.code(), Some(1));
}

#[test]
fn real_kernels_differ_as_their_isf_files_do() {
    let builds = [
        ("6.1.7601.24540", "339E74133576439CBCDF7E0229DA37731"),
        ("6.3.9600.19939", "287E489F93AA4C6D94B9CD1469B7F9DE1"),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles");
    let (root, versions) = (arg(&root), folder.path().join("versions.tsv"));
    ok(&["repo", "init", root]);
    let mut import = vec!["repo", "-C", root, "import", "--versions", arg(&versions)];
    let lines: Vec<String> = builds.iter().map(|(version, id)| format!("{version}\t{id}\tx\n")).collect();
    std::fs::write(&versions, lines.concat()).expect("written");
    let (mut files, mut isf) = (Vec::new(), Vec::new());
    for (_, id) in builds {
        let Some(path) = nt_isf(id) else { return };
        let text = std::fs::read(&path).expect("readable");
        isf.push(serde_json::from_slice::<Value>(&text).expect("JSON"));
        files.push(arg(&path).to_owned());
    }
    import.extend(files.iter().map(String::as_str));
    ok(&import);

    let fields = |isf: &Value| -> BTreeMap<String, u64> {
        let fields = isf["user_types"]["_EPROCESS"]["fields"].as_object().expect("an object");
        fields.iter().map(|(name, field)| (name.clone(), field["offset"].as_u64().expect("a number"))).collect()
    };
    let (old, new) = (fields(&isf[0]), fields(&isf[1]));
    let diff = ok(&["--format", "json", "repo", "-C", root, "diff", builds[0].1, builds[1].1, "_EPROCESS"]);
    let diff: Value = serde_json::from_str(&diff).expect("JSON");
    let told: BTreeMap<&str, &Value> = diff["structs"][0]["members"]
        .as_array()
        .expect("members")
        .iter()
        .map(|member| (member["name"].as_str().expect("a name"), member))
        .collect();
    let hex = |offset: u64| Value::String(format!("{offset:#x}"));
    for (name, offset) in &old {
        match new.get(name) {
            None => assert_eq!(told[name.as_str()]["change"], "removed", "{name}"),
            Some(other) if other != offset => {
                let member = told[name.as_str()];
                assert!(matches!(member["change"].as_str(), Some("moved" | "type")), "{name}");
                assert_eq!((&member["old"]["offset"], &member["new"]["offset"]), (&hex(*offset), &hex(*other)));
            }
            Some(_) => assert!(told.get(name.as_str()).is_none_or(|member| member["change"] != "removed"), "{name}"),
        }
    }
    for name in new.keys().filter(|name| !old.contains_key(*name)) {
        assert_eq!(told[name.as_str()]["change"], "added", "{name}");
    }
    let history = ok(&["--format", "json", "repo", "-C", root, "history", "_EPROCESS.UniqueProcessId"]);
    let history: Vec<(Value, Value)> =
        rows(&history).into_iter().map(|row| (row["first"].clone(), row["offset"].clone())).collect();
    let expected =
        [(builds[0].0.into(), hex(old["UniqueProcessId"])), (builds[1].0.into(), hex(new["UniqueProcessId"]))];
    assert_eq!(history, expected);
}
