//! Which variable a symbol is: the types of symbols, against what the sources say of each.

use super::layouts::listing;
use crate::support::arg;
use quaid::dwarf::convert;
use std::path::Path;
use std::process::Command;

fn tool(folder: &Path, program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).current_dir(folder).output().expect("a compiler");
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The lines of the profile's listing that tell the types of variables.
fn typed(source: &Path) -> String {
    let (profile, _) = convert(source).expect("a profile");
    listing(&profile).lines().filter(|line| line.starts_with("variable")).collect::<Vec<_>>().join("\n")
}

/// A module may name its own variables as the kernel names some of its.
#[test]
fn a_module_s_own_variables_give_no_type_to_the_kernel_s() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let one = "struct mine { char c[3]; int d; }; struct list_head { struct list_head *next, *prev; };\n\
               static struct mine modules __attribute__((used)); static int super_blocks[7] __attribute__((used));\n\
               int shared[5]; extern struct list_head of_kernel, file_local; extern long jiffies;\n\
               void *use(void) { return jiffies ? &of_kernel : &file_local; }\n";
    let two = "extern int shared[]; int *used = shared; static char file_local[2] __attribute__((used));\n";
    for (name, text) in [("one.c", one), ("two.c", two)] {
        std::fs::write(folder.join(name), text).expect("written");
        tool(folder, "gcc", &["-g", "-c", name]);
    }
    tool(folder, "ld", &["-r", "-o", "m.ko", "one.o", "two.o"]);
    let symbols = ["modules", "super_blocks", "shared", "of_kernel", "file_local", "jiffies", "used"];
    let map: Vec<String> =
        symbols.iter().enumerate().map(|(at, name)| format!("ffffffff8200{at:02x}00 D {name}\n")).collect();
    std::fs::write(folder.join("System.map"), map.concat()).expect("written");
    for file in ["one.c", "two.c", "one.o", "two.o"] {
        std::fs::remove_file(folder.join(file)).expect("removed");
    }
    // The table of known symbols has the first two.
    let expected = "variable file_local list_head\nvariable jiffies long int\nvariable modules list_head\n\
                    variable of_kernel list_head\nvariable super_blocks list_head";
    assert_eq!(typed(folder), expected, "{}", arg(folder));
}

/// The linker leaves out what nothing uses, and the debugging information still describes it, at the address 0.
#[test]
fn variables_that_the_linker_left_out_give_no_type_to_others_of_their_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let one = "struct small { char c; }; static struct small state; struct small *unused(void) { state.c++; return &state; }\n\
               static short of_assembler; short *unused_too(void) { of_assembler++; return &of_assembler; }\n\
               static short undescribed; short *and_this(void) { undescribed++; return &undescribed; }\n\
               extern long work(void); void _start(void) { work(); }\n";
    let two = "struct large { long a[8]; }; struct large state; extern struct large of_assembler;\n\
               long work(void) { return state.a[1]++ + of_assembler.a[2]; }\n\
               asm(\".data\\n.globl of_assembler\\nof_assembler: .zero 64\\n.globl undescribed\\nundescribed: .zero 64\\n.text\");\n";
    for (name, text) in [("one.c", one), ("two.c", two)] {
        std::fs::write(folder.join(name), text).expect("written");
    }
    for version in ["-gdwarf-2", "-gdwarf-4", "-gdwarf-5"] {
        let options = ["-O2", "-w", "-ffreestanding", "-fno-pic", "-fdata-sections", "-ffunction-sections", version];
        let link = ["-no-pie", "-nostdlib", "-static", "-Wl,--gc-sections", "-o", "vmlinux", "one.c", "two.c"];
        tool(folder, "gcc", &[&options[..], &link].concat());
        let expected = "variable of_assembler large\nvariable state large";
        assert_eq!(typed(&folder.join("vmlinux")), expected, "{version}");
    }
}
