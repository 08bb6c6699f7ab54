//! Which variable a symbol is: the types of symbols, against what the sources say of each.

use super::layouts::listing;
use crate::support::{arg, skipped};
use quaid::dwarf::convert;
use quaid_profile::Type;
use std::collections::BTreeMap;
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

/// What is optimised when it is linked: variables refer to what was written of them before, and `static` ones of one name are
/// renamed. Each has a size of its own, which `nm` tells.
#[test]
fn variables_have_their_types_when_the_linker_optimises() {
    let one = "extern volatile long kept;\n\
               static struct of2 { short a[1]; } same = { { 1 } }; static struct of1 { char a[1]; } own = { { 1 } };\n\
               extern struct of8 { long a; } declared; extern int array[]; int *in_array = array; struct of8 *pointer = &declared;\n\
               extern long two(void), three(void);\n\
               void _start(void) { same.a[kept]++; own.a[kept]++; kept = same.a[kept] + own.a[kept] + two() + three(); pointer++; in_array++; }\n";
    let two = "extern volatile long kept; volatile long kept;\n\
               static struct of24 { long a[3]; } same = { { 1 } }; struct of8 { long a; } declared = { 1 }; int array[9] = { 1 };\n\
               long two(void) { declared.a++; array[kept]++; same.a[kept]++; return same.a[kept] + declared.a + array[kept]; }\n";
    let three = "extern volatile long kept;\n\
                 static struct of40 { long a[5]; } same = { { 1 } }; static struct of16 { long a[2]; } own = { { 1 } };\n\
                 long three(void) { own.a[kept]++; same.a[kept]++; return same.a[kept] + own.a[kept]; }\n";
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    for (name, text) in [("one.c", one), ("two.c", two), ("three.c", three)] {
        std::fs::write(folder.join(name), text).expect("written");
    }
    for (compiler, options) in [
        ("gcc", &["-flto", "-gdwarf-4"][..]),
        ("gcc", &["-flto", "-gdwarf-5"]),
        ("gcc", &["-flto", "-gdwarf-5", "-flto-partition=max"]),
        ("clang", &["-flto", "-fuse-ld=lld", "-gdwarf-5"]),
        ("clang", &["-flto=thin", "-fuse-ld=lld", "-gdwarf-5"]),
    ] {
        if Command::new(compiler).arg("--version").output().is_err() {
            skipped(&format!("there is no {compiler}"));
            continue;
        }
        let fixed = ["-O1", "-w", "-ffreestanding", "-fno-pic"];
        let link = ["-no-pie", "-nostdlib", "-static", "-Wl,-e,_start", "-o", "vmlinux", "one.c", "two.c", "three.c"];
        tool(folder, compiler, &[&fixed, options, &link].concat());
        let nm = Command::new("nm").args(["-S", "vmlinux"]).current_dir(folder).output().expect("nm");
        let nm = String::from_utf8(nm.stdout).expect("text");
        let number = |text| u64::from_str_radix(text, 16).expect("a number");
        let truth: BTreeMap<u64, (&str, u64)> = nm
            .lines()
            .filter_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
                [address, size, kind, name] if !"Tt".contains(kind) => Some((number(address), (name, number(size)))),
                _ => None,
            })
            .collect();
        let renamed = truth.values().filter(|(name, _)| name.contains('.')).count();
        assert!(truth.len() == 10 && renamed >= 3, "{nm}");
        let (profile, _) = convert(&folder.join("vmlinux")).expect("a profile");
        let mut compared = 0;
        for (symbol, address) in &profile.constants {
            let Some((name, size)) = truth.get(address).filter(|(name, _)| name == symbol) else { continue };
            compared += 1;
            let size_of = |name: &str| {
                profile.structs.get(name).map(|found| found.size).or_else(|| Some(profile.base_types.get(name)?.size))
            };
            let ours = match profile.constant_types.get(symbol) {
                Some(Type::Named(name)) => size_of(name),
                Some(Type::Array { count, .. }) => Some(4 * count),
                Some(Type::Pointer { .. }) => Some(8),
                _ => None,
            };
            assert_eq!(ours, Some(*size), "{compiler} {options:?}: {name}\n{nm}");
        }
        assert_eq!(compared, 10);
    }
}
