//! What a repository has, whoever made it. The trees are made by the git program.

use crate::repo::{check_whole, fails, git, kernel_file, module_file, new_repository, repo, typed_module};
use crate::serve::Served;
use crate::support::{arg, corpus, ok};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

const GUID: &str = "3844DBB920174967BE7AA4A2C20430FA2";

/// What the git program prints when it is given `input`.
pub(crate) fn git_with(root: &Path, args: &[&str], input: &str) -> String {
    let mut child = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("git ends");
    assert!(output.status.success(), "git {args:?}");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// Commits a tree whose folder `v1.0` is that of HEAD and these entries (mode, name, content), whatever git thinks of them.
pub(crate) fn commit_hostile(root: &Path, entries: &[(&str, &str, &str)]) {
    let mut lines: Vec<String> =
        git(root, &["ls-tree", "-z", "HEAD:v1.0"]).split_terminator('\0').map(str::to_owned).collect();
    for (mode, name, content) in entries {
        let id = git_with(root, &["hash-object", "-w", "--stdin"], content);
        lines.push(format!("{mode} blob {id}\t{name}"));
    }
    let layout = git_with(root, &["mktree", "-z"], &(lines.join("\0") + "\0"));
    let top = git_with(root, &["mktree"], &format!("040000 tree {layout}\tv1.0\n"));
    let commit = git(root, &["commit-tree", "-p", "HEAD", "-m", "hostile", &top]);
    git(root, &["update-ref", "HEAD", commit.trim()]);
}

#[test]
fn what_a_hostile_tree_has_is_told_and_the_rest_is_usable() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("profiles.git");
    ok(&["repo", "init", "--bare", arg(&root)]);
    ok(&["repo", "-C", arg(&root), "add", arg(&module_file(folder.path(), "good", "ntkrnlmp.pdb", GUID, 7))]);
    let profile = r#"{"$METADATA": {"Type": "Profile"}}"#;
    let bad = [
        ("120000", "circle", "circle"),
        ("120000", "escape", "../../../etc/passwd"),
        ("120000", "absolute", "/etc/passwd"),
        ("120000", "nowhere", "gone"),
        ("100644", "..", profile),
        ("100644", "C:", profile),
        ("100644", "back\\slash", profile),
        ("100644", "control\u{1b}[2J", profile),
    ];
    commit_hostile(&root, &bad);
    commit_hostile(&root, &[("120000", "module", "nt"), ("100644", "same", profile), ("100644", "SAME", profile)]);

    let output = repo(&root, &["list"]);
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).expect("text"), String::from_utf8(output.stderr).expect("text"));
    assert!(output.status.success(), "{stderr}");
    let module = format!("module/GUID/{GUID} -> nt/GUID/{GUID}");
    let link = format!("GUID/{GUID} -> nt/GUID/{GUID}");
    assert_eq!(stdout.lines().collect::<Vec<_>>(), [&link, "SAME", &module, &format!("nt/GUID/{GUID}"), "same"]);
    // What begins with a dot is git's.
    for (_, name, _) in bad.iter().filter(|(_, name, _)| *name != "..") {
        let shown = name.replace('\u{1b}', "?");
        assert!(stderr.contains(&format!("warning: v1.0/{shown}: ")), "{shown}: {stderr}");
    }
    assert!(stderr.contains("differs in case alone: SAME, same"), "{stderr}");
    assert!(!stderr.contains('\u{1b}'), "{stderr}");
    // Over a link of git to a folder, and by GUID.
    for name in [&format!("module/GUID/{GUID}"), GUID] {
        assert!(ok(&["repo", "-C", arg(&root), "get", name]).contains("\"Symbol\": 7"), "{name}");
    }
    for name in ["circle", "escape", "absolute", "nowhere", ".."] {
        assert_eq!(repo(&root, &["get", name]).status.code(), Some(1), "{name}");
    }
    assert_eq!(repo(&root, &["verify"]).status.code(), Some(1));
}

/// What a program of the system prints of a file.
fn printed(program: &str, args: &[&str], file: &Path) -> Vec<u8> {
    let output = Command::new(program).args(args).arg(file).output().expect("the program starts");
    assert!(output.status.success(), "{program} {}", file.display());
    output.stdout
}

/// The judges: gzip and sha256sum of the system, the times that git tells, and the file that Rekall wrote.
#[test]
fn an_export_is_what_rekall_s_readers_expect() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, out) = (folder.path().join("profiles"), folder.path().join("out"));
    new_repository(&root);
    let (typed, _) = typed_module(folder.path(), GUID, 0x1000);
    let kernel = kernel_file(folder.path(), "kernel", "6.1.0-9-amd64", "");
    ok(&["repo", "-C", arg(&root), "add", arg(&typed)]);
    ok(&["repo", "-C", arg(&root), "add", arg(&kernel)]);
    let rekall = corpus("windows/rekall-profiles")
        .map(|folder| folder.join("ntoskrnl.pdb.32962337f0f646388b39535cd8dd70e82.rekall.json"));
    if let Some(file) = &rekall {
        ok(&["repo", "-C", arg(&root), "add", arg(file)]);
    }
    ok(&["repo", "-C", arg(&root), "export", arg(&out)]);

    let layout = out.join("v1.0");
    let text = std::fs::read_to_string(layout.join("inventory")).expect("an inventory");
    assert!(printed("gzip", &["-dc"], &layout.join("inventory.gz")) == text.as_bytes());
    let inventory: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(inventory["$METADATA"], serde_json::json!({"ProfileClass": "Inventory", "Type": "Inventory"}));
    let rows = inventory["$INVENTORY"].as_object().expect("rows");
    let listed = ok(&["repo", "-C", arg(&root), "list"]);
    let names: Vec<&str> = listed.lines().filter_map(|line| line.split(" -> ").next()).collect();
    assert_eq!(rows.keys().map(String::as_str).collect::<Vec<_>>(), names);
    for (name, row) in rows {
        let file = layout.join(format!("{name}.gz"));
        let plain = printed("gzip", &["-dc"], &file);
        std::fs::write(folder.path().join("plain"), &plain).expect("written");
        let digest = String::from_utf8(printed("sha256sum", &[], &folder.path().join("plain"))).expect("text");
        assert_eq!(row["SHA256"].as_str(), digest.split(' ').next(), "{name}");
        assert_eq!(row["Size"].as_u64(), Some(plain.len() as u64), "{name}");
        let stored = match name.split_once("GUID/") {
            Some((module, guid)) => format!("v1.0/{module}GUID/{}/{guid}", &guid[..2]),
            None => format!("v1.0/{name}"),
        };
        let time = git(&root, &["log", "-1", "--format=%ct.0", "--", &stored]);
        assert_eq!(row["LastModified"].to_string(), time.trim(), "{name}");
        let profile: serde_json::Value = serde_json::from_slice(&plain).expect("JSON");
        if name.starts_with("GUID/") {
            assert_eq!(profile["$METADATA"]["Target"], format!("nt/{name}"));
        }
    }
    if let Some(file) = &rekall {
        let guid = "32962337F0F646388B39535CD8DD70E83";
        let written = printed("gzip", &["-dc"], &layout.join(format!("nt/GUID/{guid}.gz")));
        assert!(written == std::fs::read(file).expect("readable"));
    }

    // Again: nothing to do; after a change: the change.
    let again = repo(&root, &["export", arg(&out)]);
    let told = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(told.contains(&format!("exported 0 files to {}; {} were there", out.display(), names.len())), "{told}");
    let (changed, text) = typed_module(folder.path(), GUID, 0x2000);
    ok(&["repo", "-C", arg(&root), "add", "--replace", arg(&changed)]);
    let told = repo(&root, &["export", arg(&out)]);
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.contains("exported 1 files"), "{told}");
    let plain = folder.path().join("plain-layout");
    ok(&["repo", "-C", arg(&root), "export", "--plain", arg(&plain)]);
    let module = names.iter().find(|name| name.ends_with(GUID) && !name.starts_with("GUID/")).expect("the module");
    assert_eq!(std::fs::read_to_string(plain.join(format!("v1.0/{module}"))).expect("plain"), text);
    assert!(printed("gzip", &["-dc"], &layout.join(format!("{module}.gz"))) == text.as_bytes());
}

/// A repository of two builds that share their types, a kernel and another module.
fn four_profiles(folder: &Path) -> std::path::PathBuf {
    let root = folder.join("profiles");
    new_repository(&root);
    let first = typed_module(folder, GUID, 0x20).0;
    let second = typed_module(folder, OTHER, 0x1234).0;
    let kernel = kernel_file(folder, "kernel", "6.1.0-9-amd64", "");
    let module = module_file(folder, "tcpip", "tcpip.pdb", MODULE, 7);
    ok(&["repo", "-C", arg(&root), "add", arg(&first), arg(&second), arg(&module)]);
    let banner = "Linux version 6.1.0-9-amd64 (builder@example.org) #1 SMP Debian 6.1.27-1";
    ok(&["repo", "-C", arg(&root), "add", arg(&kernel), "--banner", banner]);
    ok(&["repo", "-C", arg(&root), "link", "Win7SP1x64", &format!("nt/GUID/{GUID}")]);
    ok(&["repo", "-C", arg(&root), "link", &format!("ntoskrnl.exe/AMD64/6.1.7601.17514/{OTHER}"), OTHER]);
    root
}

const OTHER: &str = "3944DBB920174967BE7AA4A2C20430FA2";
const MODULE: &str = "4044DBB920174967BE7AA4A2C20430FA2";
const KERNEL: &str = "Linux/Debian/6.1/amd64/6.1.0-9-amd64";

#[test]
fn profiles_are_found_by_what_they_are_of_and_what_they_have() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = four_profiles(folder.path());
    let (first, second) = (format!("nt/GUID/{GUID}"), format!("nt/GUID/{OTHER}"));
    let module = format!("tcpip/GUID/{MODULE}");
    let second_line = format!("{second}  6.1.7601.17514");
    let kernel = format!("{KERNEL}  6.1.0-9-amd64");
    for (args, expected) in [
        (&["--module", "nt"][..], vec![first.clone(), second_line.clone()]),
        (&["--module", "ntkrnlmp"], vec![first.clone(), second_line.clone()]),
        (&["--module", "NTKRNLPA.pdb"], vec![first.clone(), second_line.clone()]),
        (&["--module", "TCPIP"], vec![module.clone()]),
        (&["--module", "Linux/Debian"], vec![kernel.clone()]),
        (&["--version", "6.1"], vec![kernel.clone(), second_line.clone()]),
        (&["--version", "6.1.7601"], vec![second_line.clone()]),
        (&["--banner", "debian 6.1.27"], vec![kernel.clone()]),
        (&["win7sp1"], vec![first.clone()]),
        (&[&OTHER[..8]], vec![second_line.clone()]),
        (
            &["--struct", "_KPCR.Self"],
            vec![
                format!("{first}  _KPCR.Self at 0x8 of 0x10 bytes"),
                format!("{second_line}  _KPCR.Self at 0x8 of 0x10 bytes"),
            ],
        ),
        (&["--struct", "list_head"], vec![format!("{kernel}  list_head of 0x10 bytes")]),
        (&["--struct", "_KPCR", "--version", "6.1"], vec![format!("{second_line}  _KPCR of 0x10 bytes")]),
        (&["--symbol", "Alpha"], vec![format!("{first}  Alpha at 0x20"), format!("{second_line}  Alpha at 0x1234")]),
        (&["--symbol", "Symbol"], vec![format!("{module}  Symbol at 0x7")]),
    ] {
        let found = ok(&[&["repo", "-C", arg(&root), "search"], args].concat());
        assert_eq!(found.lines().collect::<Vec<_>>(), expected, "{args:?}");
    }
    for args in [&["--struct", "_KPCR.Gone"][..], &["--symbol", "Alph"], &["--version", "6.10"], &["--module", "n"]] {
        fails(&root, &[&["search"], args].concat(), 1);
    }
    let found = ok(&["--format", "json", "repo", "-C", arg(&root), "search", "--struct", "_KPCR.Self", "17514"]);
    let found: serde_json::Value = serde_json::from_str(&found).expect("JSON");
    let structure = serde_json::json!({"name": "_KPCR", "bytes": 16, "member": "Self", "offset": 8});
    assert_eq!((&found[0]["name"], &found[0]["struct"]), (&second.as_str().into(), &structure));
    assert_eq!(found.as_array().map(Vec::len), Some(1));

    let stats = ok(&["--format", "json", "repo", "-C", arg(&root), "stats"]);
    let stats: serde_json::Value = serde_json::from_str(&stats).expect("JSON");
    // The judge: what an export writes.
    ok(&["repo", "-C", arg(&root), "export", "--plain", arg(&folder.path().join("out"))]);
    let names = [first.as_str(), &second, &module, KERNEL].map(|name| folder.path().join("out/v1.0").join(name));
    let bytes: u64 = names.iter().map(|path| path.metadata().expect("there").len()).sum();
    assert_eq!(stats["canonical_bytes"], bytes);
    assert_eq!((&stats["profiles"], &stats["shared_types"], &stats["indexes"]), (&4.into(), &1.into(), &1.into()));
    let row =
        |module, version, profiles| serde_json::json!({"module": module, "version": version, "profiles": profiles});
    let coverage = [row("Linux/Debian", "6.1", 1), row("nt", "", 1), row("nt", "6.1.7601", 1), row("tcpip", "", 1)];
    assert_eq!(stats["coverage"], serde_json::json!(coverage));
    assert_eq!(ok(&["repo", "-C", arg(&root), "stats"]).lines().count(), 7 + coverage.len());
}

/// The judge is git: a tree has the name that its content gives it.
#[test]
fn what_is_removed_is_gone_with_its_links_and_what_nobody_else_uses() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = four_profiles(folder.path());
    let tree = || git(&root, &["rev-parse", "HEAD:"]);
    let before = tree();
    let third = "5044DBB920174967BE7AA4A2C20430FA2";
    ok(&["repo", "-C", arg(&root), "add", arg(&typed_module(folder.path(), third, 0x40).0)]);
    ok(&["repo", "-C", arg(&root), "link", "short", third]);
    ok(&["repo", "-C", arg(&root), "link", "shorter", "short"]);
    assert_ne!(tree(), before);
    ok(&["repo", "-C", arg(&root), "remove", &third.to_lowercase()]);
    assert_eq!(tree(), before);
    assert_eq!(git(&root, &["status", "--porcelain"]), "");
    let message = git(&root, &["log", "-1", "--format=%B"]);
    assert!(message.contains("remove: 4 names") && message.contains("\nshorter\n"), "{message}");
    assert!(!root.join("v1.0/nt/GUID/50").exists() && !root.join("v1.0/nt/symbols/50").exists());
    check_whole(&root);

    // A link alone; then every user of the types, and the kernel.
    ok(&["repo", "-C", arg(&root), "remove", "Win7SP1x64"]);
    ok(&["repo", "-C", arg(&root), "get", GUID]);
    let told = fails(&root, &["remove", GUID, "Win7SP1x64"], 1);
    assert!(told.contains("Win7SP1x64"), "{told}");
    ok(&["repo", "-C", arg(&root), "get", GUID]);
    ok(&["repo", "-C", arg(&root), "remove", GUID, OTHER, KERNEL]);
    let left = git(&root, &["ls-tree", "-r", "--name-only", "HEAD", "v1.0"]);
    let left: Vec<&str> = left.lines().filter(|path| !path.contains(MODULE)).collect();
    assert_eq!(left, ["v1.0/Linux/banners", "v1.0/config.yaml"]);
    assert!(!git(&root, &["cat-file", "blob", "HEAD:v1.0/Linux/banners"]).contains(KERNEL));
    check_whole(&root);

    // What a person changed in the work tree is not removed.
    let path = root.join(format!("v1.0/tcpip/GUID/40/{MODULE}"));
    std::fs::write(&path, "mine").expect("written");
    fails(&root, &["remove", MODULE], 1);
    assert_eq!(std::fs::read_to_string(&path).expect("there"), "mine");
}

/// What libvmi's readers of Rekall profiles look up, in their way: a member of a struct, also inside of embedded structs.
fn vmi_offset(structs: &serde_json::Value, structure: &str, member: &str) -> Option<u64> {
    let members = structs[structure][1].as_object()?;
    if let Some(found) = members.get(member) {
        return found[0].as_u64();
    }
    members.values().find_map(|at| {
        let inner = at[1][0].as_str().filter(|inner| *inner != structure && structs.get(inner).is_some())?;
        Some(at[0].as_u64()? + vmi_offset(structs, inner, member)?)
    })
}

/// Their way of a symbol: `$CONSTANTS` first.
fn vmi_symbol(profile: &serde_json::Value, symbol: &str) -> Option<u64> {
    ["$CONSTANTS", "$FUNCTIONS"].into_iter().find_map(|section| profile[section].get(symbol)?.as_u64())
}

const VMI_WINDOWS: [(&str, &str); 7] = [
    ("_EPROCESS", "Pcb"),
    ("_EPROCESS", "UniqueProcessId"),
    ("_EPROCESS", "ActiveProcessLinks"),
    ("_EPROCESS", "ImageFileName"),
    ("_KPROCESS", "DirectoryTableBase"),
    ("_KTHREAD", "TrapFrame"),
    ("_KPCR", "PrcbData"),
];
const VMI_LINUX: [(&str, &str); 5] = [
    ("task_struct", "tasks"),
    ("task_struct", "mm"),
    ("task_struct", "pid"),
    ("task_struct", "comm"),
    ("mm_struct", "pgd"),
];
const VMI_WINDOWS_SYMBOLS: [&str; 4] = ["PsInitialSystemProcess", "PsActiveProcessHead", "NtBuildLab", "NtCreateFile"];
const VMI_LINUX_SYMBOLS: [&str; 3] = ["init_task", "linux_banner", "init_top_pgt"];

/// What they look up in Rekall profiles that are given as ours, against the files of other producers.
fn check_vmi_rekall(ours: [&serde_json::Value; 2], rekall: &serde_json::Value, isf: &serde_json::Value) {
    let [windows, linux] = ours;
    // A file with both is taken for ISF; "Linux" must be the very word.
    for (profile, class) in [(windows, None), (linux, Some("Linux"))] {
        assert!(profile.get("metadata").is_none() && profile["$METADATA"].is_object());
        assert_eq!(profile["$METADATA"]["ProfileClass"].as_str().filter(|name| *name == "Linux"), class);
    }
    for (structure, member) in VMI_WINDOWS {
        let expected = rekall["$STRUCTS"][structure][1][member][0].as_u64();
        assert!(expected.is_some(), "{structure}.{member}");
        assert_eq!(vmi_offset(&windows["$STRUCTS"], structure, member), expected, "{structure}.{member}");
        assert_eq!(windows["$STRUCTS"][structure][0], rekall["$STRUCTS"][structure][0], "{structure}");
    }
    // Inside of the embedded _KPROCESS, and the bits of a field.
    let inner = vmi_offset(&windows["$STRUCTS"], "_EPROCESS", "DirectoryTableBase");
    assert_eq!(inner, rekall["$STRUCTS"]["_KPROCESS"][1]["DirectoryTableBase"][0].as_u64());
    let bits = |profile: &serde_json::Value| profile["$STRUCTS"]["_MMPTE_HARDWARE"][1]["Accessed"][1][1].clone();
    assert!(bits(windows)["start_bit"].is_u64() && bits(windows) == bits(rekall));
    for symbol in VMI_WINDOWS_SYMBOLS {
        let expected = vmi_symbol(rekall, symbol);
        assert!(expected.is_some() && vmi_symbol(windows, symbol) == expected, "{symbol}");
    }
    for (structure, member) in VMI_LINUX {
        // dwarf2json leaves the nameless struct around them; so does libvmi's walk find them.
        let direct = isf["user_types"][structure]["fields"][member]["offset"].as_u64();
        let found = vmi_offset(&linux["$STRUCTS"], structure, member);
        assert!(found.is_some() && (direct.is_none() || found == direct), "{structure}.{member}: {found:?} {direct:?}");
    }
    // They read numbers of 63 bits, and extend the sign of those of 48.
    for symbol in VMI_LINUX_SYMBOLS {
        let expected = isf["symbols"][symbol]["address"].as_u64().expect("a symbol");
        let found = vmi_symbol(linux, symbol).expect("exported");
        assert_eq!(found, expected & 0xffff_ffff_ffff, "{symbol}");
    }
}

/// The same of ISF files: they read unsigned numbers of 64 bits.
fn check_vmi_isf(ours: [&serde_json::Value; 2], rekall: &serde_json::Value, isf: &serde_json::Value) {
    let [windows, linux] = ours;
    assert!(windows["metadata"]["windows"].is_object() && windows["metadata"].get("mac").is_none());
    // Linux is what is neither of the others.
    assert!(linux["metadata"].is_object());
    assert!(["windows", "mac"].iter().all(|system| linux["metadata"].get(system).is_none()));
    for (structure, member) in VMI_WINDOWS {
        let (found, expected) = (&windows["user_types"][structure], &rekall["$STRUCTS"][structure]);
        assert!(found["size"].is_u64() && found["size"] == expected[0], "{structure}");
        assert_eq!(found["fields"][member]["offset"], expected[1][member][0], "{structure}.{member}");
    }
    // Where they go on to look for a member that is in no field.
    assert_eq!(windows["user_types"]["_EPROCESS"]["fields"]["Pcb"]["type"]["name"], "_KPROCESS");
    let bits = &windows["user_types"]["_MMPTE_HARDWARE"]["fields"]["Accessed"]["type"];
    let expected = &rekall["$STRUCTS"]["_MMPTE_HARDWARE"][1]["Accessed"][1][1];
    let number = |value: &serde_json::Value| value.as_u64().expect("a number");
    assert_eq!(bits["bit_position"], expected["start_bit"]);
    assert_eq!(number(&bits["bit_length"]), number(&expected["end_bit"]) - number(&expected["start_bit"]));
    for symbol in VMI_WINDOWS_SYMBOLS {
        assert_eq!(windows["symbols"][symbol]["address"].as_u64(), vmi_symbol(rekall, symbol), "{symbol}");
    }
    for (structure, member) in VMI_LINUX {
        let of = |profile: &serde_json::Value| profile["user_types"][structure]["fields"][member]["offset"].clone();
        assert_eq!(of(linux), of(isf), "{structure}.{member}");
        assert_eq!(linux["user_types"][structure]["size"], isf["user_types"][structure]["size"], "{structure}");
    }
    for symbol in VMI_LINUX_SYMBOLS {
        let expected = number(&isf["symbols"][symbol]["address"]);
        assert_eq!(number(&linux["symbols"][symbol]["address"]), expected, "{symbol}");
    }
}

/// libvmi and drakvuf read Rekall JSON or ISF from plain files, as they are exported or served. The judge is the file of
/// another producer that was imported: Rekall's own for Windows, dwarf2json's for Linux.
#[test]
fn what_libvmi_and_drakvuf_read_is_where_they_look() {
    let (Some(rekall), Some(isf)) = (
        corpus("windows/rekall-profiles"),
        crate::support::unpacked("linux/profiles/debian-6.1.0-56-cloud-amd64.isf.json"),
    ) else {
        return;
    };
    let rekall = rekall.join("ntkrnlpa.pdb.bd8f451f3e754ed8a34b50560ceb08e31.rekall.json");
    let folder = tempfile::tempdir().expect("a folder");
    let (root, out) = (folder.path().join("profiles"), folder.path().join("out"));
    new_repository(&root);
    ok(&["repo", "-C", arg(&root), "import", arg(&rekall), arg(&isf)]);
    ok(&["repo", "-C", arg(&root), "export", "--plain", arg(&out)]);
    let json = |path: &Path| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(path).expect("readable")).expect("JSON")
    };
    let (rekall, isf) = (json(&rekall), json(&isf));
    let names = ["nt/GUID/BD8F451F3E754ED8A34B50560CEB08E33", "Linux/Debian/6.1/amd64/6.1.0-56-cloud-amd64"];
    let exported = names.map(|name| json(&out.join("v1.0").join(name)));
    check_vmi_rekall([&exported[0], &exported[1]], &rekall, &isf);
    let served = Served::start(&root, &[]);
    let rekall_form = names.map(|name| served.json(&format!("/v1.0/{name}")));
    check_vmi_rekall([&rekall_form[0], &rekall_form[1]], &rekall, &isf);
    let isf_form = names.map(|name| served.json(&format!("/isf/{name}.json")));
    check_vmi_isf([&isf_form[0], &isf_form[1]], &rekall, &isf);
}

/// Rekall's indexes by their specifications; the judge is what the profile that was added says.
#[test]
fn rekall_s_indexes_are_made_where_they_are_specified() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = four_profiles(folder.path());
    let source = root.join("v1.0/src");
    std::fs::create_dir_all(source.join("nt")).expect("created");
    std::fs::create_dir_all(source.join("tcpip")).expect("created");
    std::fs::create_dir_all(source.join("Linux")).expect("created");
    let specification = "# By the public repository's.\nrepository_root: ./\npath: nt\ntype: struct\nimplementation: EProcessIndex\n\
                         members:\n  _KPCR:\n    - Self\n    - Gone\n";
    std::fs::write(source.join("nt/eprocess_index.yaml"), specification).expect("written");
    let data = "path: tcpip/GUID\nsymbols:\n  - name: Symbol\n    shift: 1\n    data:\n      - str:ab\n";
    std::fs::write(source.join("tcpip/index.yaml"), data).expect("written");
    std::fs::write(source.join("Linux/index.yaml"), "type: symbol_offset\npath: Linux\n").expect("written");
    git(&root, &["add", "-A"]);
    git(&root, &["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "specifications"]);
    let output = repo(&root, &["index"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(3) && told.contains("linux_proc_banner"), "{told}");
    let index = |name: &str| -> serde_json::Value {
        serde_json::from_str(&git(&root, &["cat-file", "blob", &format!("HEAD:v1.0/{name}")])).expect("JSON")
    };
    let structs = index("nt/eprocess_index");
    assert_eq!(structs["$METADATA"]["ProfileClass"], "EProcessIndex");
    for guid in [GUID, OTHER] {
        let entry = &structs["$INDEX"][format!("nt/GUID/{guid}")];
        assert_eq!(entry["offsets"], serde_json::json!({"_KPCR.Self": 8}));
        assert_eq!((entry["GUID_AGE"].as_str(), entry["PDBFile"].as_str()), (Some(guid), Some("ntkrnlmp.pdb")));
    }
    assert_eq!(structs["$INDEX"].as_object().map(serde_json::Map::len), Some(2));
    let points = index("tcpip/index");
    assert_eq!(points["$INDEX"], serde_json::json!({format!("tcpip/GUID/{MODULE}"): [[8, ["6162"]]]}));
    check_whole(&root);
    // A build that comes and one that goes; only of what was asked for.
    ok(&["repo", "-C", arg(&root), "remove", GUID]);
    ok(&["repo", "-C", arg(&root), "index", "nt"]);
    assert_eq!(index("nt/eprocess_index")["$INDEX"].as_object().map(serde_json::Map::len), Some(1));
    std::fs::write(source.join("nt/eprocess_index.yaml"), "path: nt\ntype: struct\n").expect("written");
    git(&root, &["add", "-A"]);
    git(&root, &["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "damaged"]);
    let told = fails(&root, &["index", "nt"], 1);
    assert!(told.contains("src/nt/eprocess_index.yaml") && told.contains("members"), "{told}");
    ok(&["repo", "-C", arg(&root), "index", "tcpip"]);
    // As a person has them, mended and new, before they are committed.
    std::fs::write(source.join("nt/eprocess_index.yaml"), specification).expect("written");
    std::fs::write(source.join("nt/index.yaml"), data.replace("tcpip", "nt")).expect("written");
    ok(&["repo", "-C", arg(&root), "index", "nt"]);
    assert_eq!(index("nt/index")["$METADATA"]["ProfileClass"], "Index");
    assert_eq!(
        git(&root, &["status", "--porcelain"]),
        " M v1.0/src/nt/eprocess_index.yaml\n?? v1.0/src/nt/index.yaml\n"
    );
}
