//! Every command line of the two documents that the project starts from, with `quaid` for the old name. Lines whose
//! argument the documents' text lost, Python lines, and lines that need a foreign server or image are not here; where a
//! line names an image or a PDB that cannot be had, another of the same kind stands under that name.

use crate::fetch_pdb::{cabinet_of, serving};
use crate::images::write_elf_core;
use crate::support::{arg, corpus, nt_isf, ok, quaid, unpacked};
use std::path::Path;

const WIN7: &str = "339E74133576439CBCDF7E0229DA37731";
const XP: &str = "30B5FB31AE7E4ACAABA750AA241FF3311";

/// A command line as the seed has it, the exit code, and what stdout and stderr must have.
struct Line {
    command: &'static str,
    exit: i32,
    stdout: &'static [&'static str],
    stderr: &'static [&'static str],
}

const fn line(command: &'static str, stdout: &'static [&'static str]) -> Line {
    Line { command, exit: 0, stdout, stderr: &[] }
}

/// `F8E2...` of the seeds is the build of their Windows 7 image: here it is that of ours; `ntkrnlmp.pdb` is fetched under
/// the name and GUID of the PDB that we have.
const LINES: &[Line] = &[
    // The blog post on profiles.
    Line {
        exit: 1,
        stderr: &["interactive shell", "pslist"],
        ..line("quaid -f OSX_image.dd --profile ./OSX_10.6.6_AMD.json.gz", &[])
    },
    Line {
        stderr: &["Loaded profile Win7SP1x64 from", "Loaded profile ntoskrnl.exe/AMD64/6.1.7601.17514/{WIN7} from"],
        ..line("quaid -f images/win7.elf --profile_path rekall.profiles --profile Win7SP1x64 -v pslist", PSLIST)
    },
    line("quaid -f win7.elf version_scan --name_regex krnl", &["  Offset (P)   GUID/Version", "{WIN7} ntkrnlmp.pdb"]),
    Line {
        stderr: &[
            "Opened",
            "Loaded profile ntoskrnl.exe/AMD64/6.1.7601.17514/{WIN7} from",
            "Loaded profile Win7SP1x64 from",
        ],
        ..line("quaid -f images/win7.elf -v --profile Win7SP1x64 pslist", PSLIST)
    },
    Line {
        stderr: &["Loaded profile GUID/{WIN7} from"],
        ..line("quaid -f images/win7.elf -v --profile GUID/{WIN7} pslist", PSLIST)
    },
    Line { stderr: &["ELF core", "{WIN7}", "DTB"], ..line("quaid -f images/win7.elf -v pslist", PSLIST) },
    Line {
        exit: 1,
        stderr: &["GUID/F8E1A8B5C9B74BF4A6E4A48F180099942", "rekall.profiles", "quaid fetch_pdb", "quaid parse_pdb"],
        ..line("quaid -f images/win7.elf -v --profile GUID/F8E1A8B5C9B74BF4A6E4A48F180099942 pslist", &[])
    },
    Line {
        stderr: &[
            "Trying to fetch",
            "Received",
            "Extracting cabinet: ntkrnlpa.pd_",
            "extracting ntkrnlpa.pdb",
            "All done, no errors.",
        ],
        ..line("quaid fetch_pdb -D. --guid {XP} --filename ntkrnlpa.pdb", &["ntkrnlpa.pdb"])
    },
    line("quaid parse_pdb -f ntkrnlpa.pdb --output {XP}.json --win 6.1", &[]),
    // The manual.
    line("quaid --profile Win7SP1x64 --filename win7.elf pslist --proc_reg csrss", &["Offset (V)", "csrss.exe"]),
    line("quaid --help", &["--filename", "--profile", "pslist", "version_scan", "fetch_pdb", "Usage:"]),
    line("quaid pslist --help", &["--pid", "--proc_regex", "--eprocess", "--phys_eprocess", "--kdbg"]),
    line("quaid -f images/win7.elf version_scan", &["{WIN7} ntkrnlmp.pdb"]),
    line(
        "quaid fetch_pdb --dump-dir . --filename ntkrnlpa.pdb --guid 30b5fb31ae7e4acaaba750aa241ff3311",
        &["ntkrnlpa.pdb"],
    ),
    line("quaid parse_pdb -f ntkrnlpa.pdb --output ntkrnlpa.json --profile_class WinXPSP3x86", &[]),
    line("quaid --profile ./ntkrnlpa.json -f images/xp.raw pslist", PSLIST),
    line("quaid peinfo --filename ntoskrnl.exe", &["Attribute            Value", "Machine", "TimeDateStamp", "GUID"]),
    line("quaid parse_pdb -f ntkrnlpa.pdb --output {XP} --profile_class WinXPSP3x86", &[]),
    // The seed shows the file's head; in the order of Rekall's later writer $CONSTANTS comes before $METADATA.
    line("grep -A9 METADATA {XP}", &["\"ProfileClass\": \"WinXPSP3x86\""]),
    line("quaid --profile ntoskrnl.exe/AMD64/6.1.7601.17514/{WIN7} -f images/win7.elf pslist", PSLIST),
    line("quaid -v --profile Win7SP1x64 -f images/win7.elf pslist", PSLIST),
    line("quaid --profile Win7SP1x64 --filename win7.elf dt _EPROCESS", &["UniqueProcessId", "ActiveProcessLinks"]),
    line("quaid --profile Win7SP1x64 --filename win7.elf vtop {SYSTEM}", &["Physical Address 0x"]),
];

const PSLIST: &[&str] =
    &["Offset (V)", "Name", "PID", "PPID", "Thds", "Hnds", "Sess", "Wow64", "Start", "Exit", "System", "csrss.exe"];

/// A folder as the seeds' author had it: images, a repository named in `.rekallrc`, a kernel.
fn world(folder: &Path) -> Option<()> {
    let (isf, win7, xp) =
        (nt_isf(WIN7)?, unpacked("windows/images/win7x64.raw")?, unpacked("windows/images/xpsp3.raw")?);
    let at = |name: &str| folder.join(name);
    std::fs::create_dir(at("images")).expect("created");
    write_elf_core(&win7, &at("images/win7.elf"));
    std::os::unix::fs::symlink(at("images/win7.elf"), at("win7.elf")).expect("linked");
    std::os::unix::fs::symlink(xp, at("images/xp.raw")).expect("linked");
    std::fs::write(at("OSX_image.dd"), [0; 4096]).expect("written");
    std::fs::write(at("ntoskrnl.exe"), crate::peinfo::tiny_pe()).expect("written");

    let repo = at("rekall.profiles");
    let link = |name: &str, target: &str| ok(&["repo", "-C", arg(&repo), "link", name, target]);
    ok(&["repo", "init", arg(&repo)]);
    ok(&["repo", "-C", arg(&repo), "add", arg(&isf)]);
    let hierarchy = format!("ntoskrnl.exe/AMD64/6.1.7601.17514/{WIN7}");
    link(&hierarchy, &format!("nt/GUID/{WIN7}"));
    link("Win7SP1x64", &hierarchy);
    std::fs::write(at(".rekallrc"), "profile_path:\n  - rekall.profiles\n").expect("written");
    Some(())
}

#[test]
fn command_lines_of_the_seeds_work_as_they_stand() {
    let Some(pdb) = corpus("windows/pdb/nt/ntkrnlpa.pdb") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let Some(()) = world(folder.path()) else { return };
    let pdb = std::fs::read(pdb).expect("readable");
    let server = serving(vec![("ntkrnlpa.pd_", cabinet_of("ntkrnlpa.pdb", &pdb))]);
    let truth = crate::support::corpus_text("windows/images/win7x64.truth.json.xz").expect("the truth");
    let truth: serde_json::Value = serde_json::from_str(&truth).expect("JSON");
    let system = format!("{:#x}", truth["processes"][0]["va"].as_u64().expect("an address"));
    let fill = |text: &str| text.replace("{WIN7}", WIN7).replace("{XP}", XP).replace("{SYSTEM}", &system);

    for line in LINES {
        let command = fill(line.command);
        let mut words = command.split(' ');
        let mut process = match words.next() {
            Some("quaid") => quaid(),
            other => std::process::Command::new(other.expect("a program")),
        };
        process
            .args(words)
            .current_dir(folder.path())
            .env("HOME", folder.path())
            .env("_NT_SYMBOL_PATH", format!("srv*{}", server.url));
        let output = process.output().expect("it starts");
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let told = format!("$ {command}\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
        assert_eq!(output.status.code(), Some(line.exit), "{told}");
        for expected in line.stdout {
            assert!(stdout.contains(&fill(expected)), "stdout lacks `{}`: {told}", fill(expected));
        }
        for expected in line.stderr {
            assert!(stderr.contains(&fill(expected)), "stderr lacks `{}`: {told}", fill(expected));
        }
    }
    assert!(folder.path().join(format!("{XP}.json")).is_file(), "parse_pdb wrote it");
}

#[test]
fn a_global_option_after_the_command_gets_a_line_with_the_right_order() {
    for (args, told) in [
        (
            &["pslist", "--filename", "x"][..],
            "`--filename` is a global option: it goes before the command, `quaid --filename ... pslist`",
        ),
        (&["pslist", "--filena", "x"], "`--filename` is a global option"),
        (&["version_scan", "-f", "x"], "`-f` is a global option"),
        (
            &["--name_regex", "krnl", "version_scan"],
            "`--name_regex` is an option of version_scan: it goes after the command",
        ),
        (&["--pro", "x", "pslist"], "`--pro` may mean --profile or --profile_path"),
    ] {
        let output = crate::support::run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(told), "{args:?}: {stderr}");
    }
}

#[test]
fn hyphens_and_underscores_are_the_same() {
    let output = crate::support::run(&["version-scan", "--name-regex", "(", "--help"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("--name_regex"));
}
