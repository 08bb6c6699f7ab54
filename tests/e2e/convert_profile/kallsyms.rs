//! Images of kernels of 64 and 32 bits whose table of symbols was made by the program that makes it in a kernel's build,
//! `scripts/kallsyms` of the kernel's tree, which Debian's linux-kbuild packages have. nm and pahole say what is right.

use super::oracles::{masked, pahole_layouts, rekall_layouts};
use crate::support::{arg, ok, skipped};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the kernel lies in memory, in bytes.
const PHYSICAL: usize = 1 << 20;
const MEMORY_BYTES: usize = 8 << 20;
/// How far KASLR moved it, in bytes.
const SLIDE: u64 = 5 << 24;

/// What a guest's kernel, of the same release, has noted in this memory.
const NOTES_OF_OTHERS: &[u8] =
    b"OSRELEASE=6.1.0-tests\nPAGESIZE=65536\nSYMBOL(init_uts_ns)=c2000000\nSYMBOL(_stext)=c1000000\nKERNELOFFSET=0\n";

/// A kernel's build for some processor: gcc's options, ld's emulation, the address where it runs, the name in a
/// profile.
struct Target {
    options: &'static [&'static str],
    emulation: &'static str,
    base: u64,
    arch: &'static str,
}

const TARGETS: [Target; 2] = [
    Target { options: &["-m32"], emulation: "elf_i386", base: 0xc100_0000 + SLIDE, arch: "I386" },
    Target {
        options: &["-m64", "-mcmodel=kernel"],
        emulation: "elf_x86_64",
        base: 0xffff_ffff_8100_0000 + SLIDE,
        arch: "AMD64",
    },
];

/// Every version of the program that is installed.
fn programs() -> Vec<PathBuf> {
    let installed = std::fs::read_dir("/usr/lib").into_iter().flatten().filter_map(Result::ok);
    let kbuild = installed.filter(|entry| entry.file_name().to_string_lossy().starts_with("linux-kbuild-"));
    kbuild.map(|entry| entry.path().join("scripts/kallsyms")).filter(|path| path.exists()).collect()
}

fn tool(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect("gcc and binutils");
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// A kernel with 700 functions and variables.
fn source() -> String {
    let mut source = "\
        struct list_head { struct list_head *next, *prev; };\n\
        struct task_struct { long state; struct list_head tasks; int flags : 3; char comm[16]; };\n\
        struct pt_regs { unsigned long ip, sp, orig_ax; };\n\
        const char linux_banner[] = \"Linux version 6.1.0-tests (quaid@tests) (gcc) #1 SMP\\n\";\n\
        struct task_struct init_task = { .comm = \"swapper/0\" };\n\
        struct list_head modules = { &modules, &modules };\n\
        struct pt_regs registers = { 1 };\n\
        int init_uts_ns = 1;\n"
        .to_owned();
    for number in 0..700 {
        writeln!(source, "void function_{number}(void) {{}}\nint variable_{number} = {number};").expect("a text");
    }
    source
}

/// Links the kernel with what the table is so far, and gives the lines of nm that the build gives the program.
fn link(folder: &Path, target: &Target, table: Option<&Path>) -> String {
    let (script, kernel, vmlinux) = (folder.join("kernel.lds"), folder.join("kernel.o"), folder.join("vmlinux"));
    let mut args = vec!["-m", target.emulation, "-static", "-T", arg(&script), "-o", arg(&vmlinux), arg(&kernel)];
    args.extend(table.map(arg));
    tool("ld", &args);
    let lines = tool("nm", &["-n", arg(&vmlinux)]);
    lines.split_inclusive('\n').filter(|line| !line.contains(" kallsyms_")).collect()
}

/// The memory of a machine on which the kernel runs, and the lines of nm; `None` where the program knows no such option.
fn machine(folder: &Path, target: &Target, program: &Path, options: &[&str]) -> Option<(PathBuf, String)> {
    let file = |name: &str| folder.join(name);
    std::fs::write(file("kernel.c"), source()).expect("written");
    let script = format!(
        "SECTIONS {{ . = {:#x}; _text = .; _stext = .; .text : {{ *(.text*) }} . = ALIGN(4096); .data : {{ *(.data*) *(.bss*) }} \
         . = ALIGN(4096); .rodata : {{ *(.rodata*) }} . = ALIGN(4096); _end = .; /DISCARD/ : {{ *(.note*) *(.comment) *(.eh_frame) }} }}",
        target.base
    );
    std::fs::write(file("kernel.lds"), script).expect("written");
    let compile = ["-g", "-O1", "-ffreestanding", "-fno-pic", "-fno-common", "-c", "-o"];
    tool("gcc", &[target.options, &compile, &[arg(&file("kernel.o")), arg(&file("kernel.c"))]].concat());
    std::fs::create_dir_all(file("include/asm")).expect("a folder");
    let bits = if target.arch == "I386" { 32 } else { 64 };
    std::fs::write(file("include/asm/bitsperlong.h"), format!("#define BITS_PER_LONG {bits}\n")).expect("written");
    // With the table what comes after it moves: the second table, of the same size, has the final addresses.
    let mut lines = link(folder, target, None);
    for _ in 0..2 {
        std::fs::write(file("System.map"), &lines).expect("written");
        let made = Command::new(program).args(options).arg(file("System.map")).output().expect("it starts");
        if !made.status.success() {
            return None;
        }
        std::fs::write(file("table.S"), made.stdout).expect("written");
        let include = format!("-I{}", arg(&file("include")));
        tool(
            "gcc",
            &[target.options, &["-fno-pic", &include, "-c", "-o", arg(&file("table.o")), arg(&file("table.S"))]]
                .concat(),
        );
        lines = link(folder, target, Some(&file("table.o")));
    }
    tool("objcopy", &["-O", "binary", arg(&file("vmlinux")), arg(&file("loaded"))]);
    let pahole = Command::new("pahole").arg("--btf_encode_detached").args([file("btf"), file("vmlinux")]).output();
    let Ok(pahole) = pahole else {
        skipped("no pahole (Debian: dwarves)");
        return None;
    };
    assert!(pahole.status.success(), "{}", String::from_utf8_lossy(&pahole.stderr));
    let mut memory = vec![0; MEMORY_BYTES];
    let (loaded, btf) = (std::fs::read(file("loaded")).expect("it"), std::fs::read(file("btf")).expect("it"));
    memory[PHYSICAL..][..loaded.len()].copy_from_slice(&loaded);
    memory[MEMORY_BYTES / 2..][..btf.len()].copy_from_slice(&btf);
    memory[MEMORY_BYTES - 4096..][..NOTES_OF_OTHERS.len()].copy_from_slice(NOTES_OF_OTHERS);
    let at = |name: &str| lines.lines().find(|line| line.ends_with(&format!(" {name}"))).expect(name).split(' ').next();
    let noted = format!(
        "OSRELEASE=6.1.0-tests\nPAGESIZE=4096\nSYMBOL(init_uts_ns)={}\nSYMBOL(_stext)={}\nNUMBER(pgtable_l5_enabled)=1\n\
         NUMBER(VA_BITS)=48\nKERNELOFFSET={SLIDE:x}\n",
        at("init_uts_ns").expect("an address"),
        at("_stext").expect("an address")
    );
    memory[MEMORY_BYTES - 2048..][..noted.len()].copy_from_slice(noted.as_bytes());
    std::fs::write(file("memory.raw"), memory).expect("written");
    Some((file("memory.raw"), lines))
}

#[test]
fn tables_of_the_kernel_s_own_program_are_read_in_images_of_64_and_32_bits() {
    let programs = programs();
    if programs.is_empty() {
        return skipped("no scripts/kallsyms (Debian: linux-kbuild-6.1)");
    }
    let mut read = BTreeMap::new();
    for (program, target) in programs.iter().flat_map(|program| TARGETS.iter().map(move |target| (program, target))) {
        for options in [&["--all-symbols"][..], &["--all-symbols", "--base-relative"]] {
            let folder = tempfile::tempdir().expect("a folder");
            let Some((memory, lines)) = machine(folder.path(), target, program, options) else { continue };
            let profile: Value =
                serde_json::from_str(&ok(&["-q", "convert_profile", "--from_image", arg(&memory)])).expect("JSON");
            let place = format!("{} {options:?} {}", program.display(), target.arch);
            let mut expected: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
            for line in lines.lines() {
                let [address, letter, name] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
                let section = if letter.eq_ignore_ascii_case("t") { "$FUNCTIONS" } else { "$CONSTANTS" };
                let address = masked(u64::from_str_radix(address, 16).expect("hex") - SLIDE);
                expected.entry(section).or_default().insert(name, address);
            }
            for (section, symbols) in expected {
                assert!(symbols.len() >= 700 && profile[section] == serde_json::json!(symbols), "{place}: {section}");
            }
            let metadata = &profile["$METADATA"];
            assert_eq!(metadata["arch"], target.arch, "{place}");
            let paging = ["PageSize", "PagingLevels", "VABits"].map(|key| metadata[key].as_u64());
            assert_eq!(paging, [Some(4096), Some(5), Some(48)], "{place}");
            assert_eq!(profile["$CONSTANT_TYPES"]["init_task"][0], "task_struct", "{place}");
            let ours = rekall_layouts(&profile, 1);
            let truth = pahole_layouts("btf", &folder.path().join("btf")).expect("pahole");
            assert_eq!(truth.len(), 3, "{place}");
            for (name, layouts) in truth {
                assert!(ours[&name].agrees(&layouts[0]), "{place}: {}", ours[&name].difference(&layouts[0]));
            }
            *read.entry(target.arch).or_insert(0) += 1;
        }
    }
    println!("tables of {programs:?}: {read:?}");
    assert!(TARGETS.iter().all(|target| read.contains_key(target.arch)), "{read:?}");
}
