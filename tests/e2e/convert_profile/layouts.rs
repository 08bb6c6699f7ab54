//! A C file with everything that a layout can be got wrong by, compiled in every version of DWARF. What is expected was
//! worked out from the x86-64 ABI.

use super::oracles::{Layout, assert_every_layout, pahole_layouts, rekall_layouts};
use crate::support::{arg, skipped};
use quaid::dwarf::{ConvertReport, Options, convert, convert_with};
use quaid_profile::{Arch, Profile, ProfileFile, Type};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles `tests/fixtures/types.c` as a module; `None` where the compiler does not know an option.
fn module(folder: &Path, options: &[&str]) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/types.c");
    let target = folder.join("module_dwarf.ko");
    let output = Command::new("gcc")
        .args(["-std=gnu11", "-ffreestanding", "-O1", "-c"])
        .args(options)
        .arg(source)
        .arg("-o")
        .arg(&target)
        .output()
        .expect("gcc");
    if !output.status.success() {
        skipped(&format!("gcc {options:?}: {}", String::from_utf8_lossy(&output.stderr)));
        return None;
    }
    write_map(folder);
    Some(folder.to_owned())
}

/// Puts a System.map beside the module.
pub(super) fn write_map(folder: &Path) {
    let symbols =
        ["bits_variable", "completed_later", "untagged_variable", "file_local", "lonely_variable", "wide_variable"];
    let map: Vec<String> =
        symbols.iter().enumerate().map(|(at, name)| format!("ffffffff8200{at:04x} D {name}\n")).collect();
    std::fs::write(folder.join("System.map"), map.concat()).expect("written");
}

fn describe(ty: &Type) -> String {
    match ty {
        Type::Void => "void".to_owned(),
        Type::Named(name) => name.clone(),
        Type::Pointer { target, bytes: None } => format!("*{}", describe(target)),
        Type::Pointer { target, bytes: Some(bytes) } => format!("*{bytes}:{}", describe(target)),
        Type::Array { target, count } => format!("[{count}]{}", describe(target)),
        Type::BitField { start, end, target } => format!("{}:{start}..{end}", describe(target)),
        Type::Enum { name, base } => format!("enum {name}/{}", describe(base)),
        Type::Function { args, ret } => {
            let args: Vec<String> = args.iter().map(describe).collect();
            format!("({})->{}", args.join(","), ret.as_deref().map_or_else(|| "?".to_owned(), describe))
        }
        other => format!("{other:?}"),
    }
}

/// The profile as text, a line a member, label, base type and variable.
pub(super) fn listing(profile: &Profile) -> String {
    let mut lines = Vec::new();
    for (name, structure) in &profile.structs {
        lines.push(format!("{name}[{}] {:?}", structure.size, structure.kind));
        let mut members: Vec<_> = structure.members.iter().collect();
        members.sort_by_key(|(name, member)| (member.offset, *name));
        for (member_name, member) in members {
            let anonymous = if member.anonymous { " anonymous" } else { "" };
            let typedef = structure.typedefs.get(member_name).map(|name| format!(" by {name}")).unwrap_or_default();
            lines.push(format!("  {member_name}@{} {}{anonymous}{typedef}", member.offset, describe(&member.ty)));
        }
    }
    for (name, values) in &profile.enums {
        let labels: Vec<String> = values.values.iter().map(|(label, value)| format!("{label}={value}")).collect();
        lines.push(format!("enum {name}[{:?}] {}", values.size.unwrap_or(0), labels.join(" ")));
    }
    for (name, ty) in &profile.constant_types {
        lines.push(format!("variable {name} {}", describe(ty)));
    }
    lines.join("\n") + "\n"
}

pub(super) const EXPECTED: &str = "\
.untagged_variable[8] Struct
  of_variable@0 int
  in@4 .untagged_variable.in
.untagged_variable.in[4] Struct
  below@0 int
arrays[144] Struct
  cube@0 [2][3][4]int
  none@96 [0]unsigned char
  pointers@96 [5]*char
  points@136 [2]arrays.points
  flexible@144 [0]unsigned int
arrays.points[4] Struct
  x@0 short int
  y@2 short int
atomic_t[4] Struct
  counter@0 int
bits[24] Struct
  before@0 unsigned int
  a@4 unsigned int:0..3
  b@4 unsigned int:3..20
  c@4 unsigned int:22..32
  d@8 long long unsigned int:0..33
  e@8 long long unsigned int:33..53
  f@14 unsigned char:5..6
  g@15 enum small/unsigned char:0..7
  s@16 int:0..4
declared[56] Struct
  pid@0 int by pid_t
  to@8 *int by pid_t
  many@16 [2]unsigned int by gfp_t
  bits@24 unsigned int:0..3 by gfp_t
  plain@28 unsigned int
  indirect@32 *int
  pair@40 [2]unsigned int
  call@48 *(int)->int
either[12] Union
  i@0 int
  text@0 [9]char
empty[0] Struct
first_name[3] Struct
  bytes@0 [3]unsigned char
nested[112] Struct
  u1@0 int
  u2@4 nested.u2 anonymous
  inner@8 nested.inner
  state@24 enum nested.state/unsigned int
  call@32 *(*nested,*char,long long unsigned int)->int
  plain@40 *()->void
  count@48 atomic_t
  first@52 first_name
  second@55 second_name
  tagged@58 tag
  kind@60 enum named_by_typedef/unsigned int
  hidden@64 *opaque
  next@72 *nested
  flag@80 _Bool
  sc@81 signed char
  f@84 float
  d@88 double
  ld@96 long double
nested.inner[16] Struct
  deep@0 int
  word@8 nested.inner.word
nested.inner.word[8] Union
  p@0 *void
  v@0 long long unsigned int
nested.u2[4] Union
  i@0 int
  u1@0 nested.u2.u1 anonymous
nested.u2.u1[2] Struct
  low@0 unsigned char
  high@1 unsigned char
packed_bits[6] Struct
  first@0 unsigned char
  crossing@1 unsigned int:0..30
  tail@4 unsigned int:6..16
second_name[3] Struct
  bytes@0 [3]unsigned char
tag[1] Struct
  c@0 char
enum enum.LONELY_FIRST[4] LONELY_FIRST=7 LONELY_SECOND=8
enum named_by_typedef[4] NAMED_A=0 NAMED_B=200
enum negative[4] MINUS_TWO=-2 MINUS_ONE=-1 ZERO=0 BIG=2147483647
enum nested.state[4] STATE_A=0 STATE_B=5
enum small[1] SMALL_ONE=1 SMALL_MAX=255
enum wide[8] WIDE_ONE=1 WIDE_TOP=18446744073709551615
variable bits_variable bits
variable completed_later [6]int
variable file_local int
variable lonely_variable int
variable untagged_variable .untagged_variable
variable wide_variable enum wide/long unsigned int
";

#[test]
fn every_dwarf_version_and_packing_gives_the_layout_of_the_abi() {
    for options in [
        &["-gdwarf-2"][..],
        &["-gdwarf-2", "-gstrict-dwarf"],
        &["-gdwarf-3", "-gstrict-dwarf"],
        &["-gdwarf-4"],
        &["-gdwarf-4", "-gstrict-dwarf"],
        &["-gdwarf-5"],
        &["-gdwarf-5", "-gstrict-dwarf"],
        &["-gdwarf64", "-gdwarf-5"],
        &["-gdwarf-5", "-gz=zlib"],
        &["-gdwarf-4", "-gz=zlib-gnu"],
        &["-gdwarf-5", "-gz=zstd"],
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let Some(source) = module(folder.path(), options) else { continue };
        let (profile, report) = convert(&source).expect("a profile");
        let (ours, expected) = (listing(&profile), EXPECTED);
        let wrong: Vec<_> = ours.lines().filter(|line| !expected.contains(line)).collect();
        assert!(ours == expected, "{options:?}: {wrong:#?}");
        assert_eq!(report.losses(), Vec::<String>::new(), "{options:?}");
        assert_eq!(profile.base_types["long double"].size, 16);
        assert_eq!(profile.metadata.arch(), Some(Arch::Amd64));
    }
}

/// Distributions pack modules, and their debugging sections by what their binutils know.
#[test]
fn modules_are_read_as_distributions_pack_them() {
    let folder = tempfile::tempdir().expect("a folder");
    module(folder.path(), &["-gdwarf-5"]).expect("gcc");
    let plain = folder.path().join("module_dwarf.ko");
    let mut read = 0;
    for (name, program, args) in [
        ("m.ko.gz", "gzip", &["-c"][..]),
        ("m.ko.xz", "xz", &["-c", "--check=crc32", "--lzma2=dict=1MiB"]),
        ("m.ko.zst", "zstd", &["-c", "-q"]),
        ("m.ko", "objcopy", &["--compress-debug-sections=zstd"]),
        ("m.ko", "objcopy", &["--compress-debug-sections=zlib-gabi"]),
    ] {
        let other = tempfile::tempdir().expect("a folder");
        let packed = other.path().join(name);
        let mut command = Command::new(program);
        command.args(args).arg(&plain);
        if program == "objcopy" {
            command.arg(&packed);
        }
        let output = match command.output() {
            Ok(output) if output.status.success() => output.stdout,
            _ => {
                skipped(&format!("{program} {args:?} cannot be had"));
                continue;
            }
        };
        if program != "objcopy" {
            std::fs::write(&packed, output).expect("written");
        }
        write_map(other.path());
        let (profile, report) = convert(other.path()).expect("a profile");
        assert_eq!(listing(&profile), EXPECTED, "{program} {args:?}");
        assert_eq!(report.losses(), Vec::<String>::new(), "{program} {args:?}");
        read += 1;
    }
    assert!(read >= 3);
}

/// What is expected of a module: the variables that it defines are its own.
fn without_variables(expected: &str) -> String {
    let (_, rest) = expected.split_once("arrays[").expect("the struct after those that variables name");
    let lines = rest.lines().filter(|line| !line.starts_with("variable"));
    format!("arrays[{}\n", lines.collect::<Vec<_>>().join("\n"))
}

/// What dwarfdump prints, which the zips of Volatility 2 have in the place of the module.
#[test]
fn dwarf_that_was_printed_gives_the_same_layouts() {
    for version in ["-gdwarf-2", "-gdwarf-4", "-gdwarf-5"] {
        let (built, folder) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let module = kernel(built.path(), &[version]);
        let Ok(text) = Command::new("dwarfdump").arg("-di").arg(&module).output() else {
            return skipped("there is no dwarfdump");
        };
        write_map(folder.path());
        std::fs::write(folder.path().join("module.dwarf"), text.stdout).expect("written");
        let why = convert(folder.path()).expect_err("without struct pt_regs").to_string();
        assert!(why.contains("does not tell the architecture"), "{why}");
        std::fs::write(folder.path().join("config-6.1"), "# Linux/x86 Configuration\nCONFIG_X86_64=y\n")
            .expect("written");
        let (profile, report) = convert(folder.path()).expect("a profile");
        assert_eq!(listing(&profile), without_variables(EXPECTED), "{version}");
        assert_eq!((report.losses(), report.units), (Vec::<String>::new(), 2), "{version}");
    }
}

/// clang says of a packed bit field in the older encoding that its storage unit ends six bits before it does.
#[test]
fn clang_s_negative_bit_offsets_give_the_layout_of_the_abi() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/types.c");
    for version in ["-gdwarf-2", "-gdwarf-3"] {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("module_dwarf.ko");
        let fixed =
            ["-target", "x86_64-linux-gnu", "-std=gnu11", "-ffreestanding", "-gstrict-dwarf", "-O1", "-c", version];
        match Command::new("clang").args(fixed).arg(&source).arg("-o").arg(&target).output() {
            Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
            Err(_) => return skipped("there is no clang"),
        }
        write_map(folder.path());
        let (profile, _) = convert(folder.path()).expect("a profile");
        let packed = "packed_bits[6] Struct\n  first@0 unsigned char\n  crossing@1 unsigned int:0..30\n  tail@4 unsigned int:6..16\n";
        assert!(listing(&profile).contains(packed), "{version}: {}", listing(&profile));
    }
}

/// Objects of clang for other processors, some of them big-endian, have the layouts that pahole reads.
#[test]
fn objects_for_every_architecture_have_the_layouts_of_pahole() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/types.c");
    for (target, arch) in [
        ("i686", Arch::I386),
        ("aarch64", Arch::Arm64),
        ("armv7a", Arch::Arm),
        ("mips", Arch::Mips),
        ("mipsel", Arch::Mips),
        ("mips64", Arch::Mips64),
        ("mips64el", Arch::Mips64),
        ("powerpc64", Arch::Ppc64),
        ("powerpc64le", Arch::Ppc64),
        ("riscv64", Arch::Riscv64),
        ("s390x", Arch::S390x),
    ] {
        for version in ["-gdwarf-4", "-gdwarf-5"] {
            let folder = tempfile::tempdir().expect("a folder");
            let object = folder.path().join("module_dwarf.ko");
            let target = format!("{target}-linux-gnu");
            let fixed = ["-target", &target, "-std=gnu11", "-ffreestanding", "-O1", "-c", version];
            match Command::new("clang").args(fixed).arg(&source).arg("-o").arg(&object).output() {
                Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
                Err(_) => return skipped("there is no clang"),
            }
            write_map(folder.path());
            let (profile, report) = convert(folder.path()).expect("a profile");
            assert_eq!(profile.metadata.arch(), Some(arch), "{target}");
            assert_eq!(report.losses(), Vec::<String>::new(), "{target} {version}");
            // Of MIPS pahole does not know the relocations of objects.
            let linked = folder.path().join("linked");
            let judged = if target.starts_with("mips") {
                let link = ["--entry", "0", "-static", "-o", arg(&linked), arg(&object)];
                let output = Command::new("ld.lld").args(link).output().expect("lld, which is beside clang");
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                &linked
            } else {
                &object
            };
            let Some(truth) = pahole_layouts("dwarf", judged) else { return };
            assert_eq!(truth.len(), 8, "{target} {version}");
            let is_big = profile.base_types["int"].big_endian;
            assert_eq!(is_big, ["mips-", "mips64-", "powerpc64-", "s390x-"].iter().any(|big| target.starts_with(big)));
            let ours = rekall_layouts(&serde_json::from_str(&profile.to_rekall()).expect("JSON"), 1);
            assert_every_layout(&if is_big { from_the_top(&profile, ours) } else { ours }, &truth);
        }
    }
}

/// pahole counts bits as the ABI lays them out, on big-endian machines from the highest one of a unit on; a profile from the
/// lowest one on.
fn from_the_top(profile: &Profile, mut layouts: BTreeMap<String, Layout>) -> BTreeMap<String, Layout> {
    for (name, structure) in &profile.structs {
        let Some(layout) = layouts.get_mut(name) else { continue };
        for (name, member) in &structure.members {
            if let (Type::BitField { start, end, target }, Some(place)) = (&member.ty, layout.members.get_mut(name)) {
                let base = if let Type::Enum { base, .. } = &**target { base } else { target };
                let bytes = profile.base_types[&describe(base)].size;
                place.0 = member.offset * 8 + bytes * 8 - end;
                assert_eq!(place.1, end - start);
            }
        }
    }
    layouts
}

/// The same file in two units, linked as a kernel.
pub(super) fn kernel(folder: &Path, options: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/types.c");
    let objects = ["one.o", "two.o"].map(|name| folder.join(name));
    for object in &objects {
        gcc(&["-std=gnu11", "-ffreestanding", "-O1", "-c", "-o", arg(object), arg(&source)], options);
    }
    let target = folder.join("vmlinux");
    let link = ["-nostdlib", "-static", "-Wl,-e,0", "-Wl,--allow-multiple-definition", "-o", arg(&target)];
    gcc(&link, &objects.each_ref().map(|object| arg(object)));
    write_map(folder);
    target
}

/// The profile of a kernel with the System.map that is beside it.
fn converted(vmlinux: &Path) -> (Profile, ConvertReport) {
    let beside = vec![vmlinux.with_file_name("System.map")];
    let options = Options { beside, ..Options::default() };
    convert_with(vmlinux, &options).expect("a profile")
}

fn gcc(args: &[&str], more: &[&str]) {
    let output = Command::new("gcc").args(args).args(more).output().expect("gcc");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn types_in_units_of_their_own_and_in_partial_units_are_found() {
    for options in [&["-gdwarf-4", "-fdebug-types-section"][..], &["-gdwarf-5", "-fdebug-types-section"]] {
        let folder = tempfile::tempdir().expect("a folder");
        let vmlinux = kernel(folder.path(), options);
        let (profile, report) = converted(&vmlinux);
        let (ours, expected) = (listing(&profile), EXPECTED);
        let wrong: Vec<_> = ours.lines().filter(|line| !expected.contains(line)).collect();
        assert!(ours == expected, "{options:?}: {wrong:#?}");
        assert_eq!(report.unresolved_types, 0, "{options:?}");
    }
    for version in ["-gdwarf-4", "-gdwarf-5"] {
        let folder = tempfile::tempdir().expect("a folder");
        let vmlinux = kernel(folder.path(), &[version]);
        let shared = folder.path().join("vmlinux.dwz");
        match Command::new("dwz").arg("-o").args([&shared, &vmlinux]).output() {
            Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
            Err(_) => return skipped("there is no dwz"),
        }
        let bytes = |path| std::fs::metadata(path).expect("a file").len();
        assert!(bytes(&shared) < bytes(&vmlinux), "dwz shared nothing");
        let (profile, report) = converted(&shared);
        assert_eq!(listing(&profile), EXPECTED, "{version}");
        assert_eq!(report.losses(), Vec::<String>::new(), "{version}");
    }
}

/// Three units, of which two agree: what each of them refers to keeps its own layout.
#[test]
fn layouts_that_differ_between_units_are_all_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let unit = |name: &str, text: &str| {
        let (source, object) = (folder.path().join(format!("{name}.c")), folder.path().join(format!("{name}.o")));
        std::fs::write(&source, text).expect("written");
        gcc(&["-g", "-O1", "-ffreestanding", "-c", "-o", arg(&object), arg(&source)], &[]);
        object
    };
    // `alike` differs in the type of one member alone, and `same` in nothing but a typedef and `const`.
    let small = "typedef struct { char c; } by_typedef; enum kind { FIRST = 1 }; struct twice { int x; }; struct alike { int *at; int n; }; struct same { const unsigned number; };";
    let large = "typedef struct { long l; } by_typedef; enum kind { FIRST = 2 }; struct twice { long y; int x; }; struct alike { long *at; int n; }; typedef unsigned word; struct same { word number; };";
    let user = |number: u8| {
        format!(
            "struct user{number} {{ struct twice *pointer, inside; by_typedef t; enum kind kind; struct twice_1 *taken; _Atomic long counter; struct alike *alike; struct same *same; }} user{number}; struct twice_1 {{ short s; }} taken{number};"
        )
    };
    let objects = [(1, small), (2, large), (3, large)]
        .map(|(number, text)| unit(&format!("unit{number}"), &format!("{text}\n{}", user(number))));
    let vmlinux = folder.path().join("vmlinux");
    gcc(&["-nostdlib", "-static", "-Wl,-e,0", "-o", arg(&vmlinux)], &objects.each_ref().map(|object| arg(object)));
    let (profile, report) = convert(&vmlinux).expect("a profile");
    let ours = listing(&profile);
    for line in [
        "twice[16] Struct",
        "twice_1[2] Struct",
        "twice_2[4] Struct",
        "by_typedef[8] Struct",
        "by_typedef_1[1] Struct",
        "enum kind[4] FIRST=2",
        "enum kind_1[4] FIRST=1",
        "alike[16] Struct\n  at@0 *long int\n",
        "alike_1[16] Struct\n  at@0 *int\n",
        "same[4] Struct",
        "user1[56] Struct\n  pointer@0 *twice_2\n  inside@8 twice_2\n  t@12 by_typedef_1\n  kind@16 enum kind_1/unsigned int\n  taken@24 *twice_1\n  counter@32 long int\n  alike@40 *alike_1\n  same@48 *same\n",
        "user2[72] Struct\n  pointer@0 *twice\n  inside@8 twice\n  t@24 by_typedef\n  kind@32 enum kind/unsigned int\n  taken@40 *twice_1\n  counter@48 long int\n  alike@56 *alike\n  same@64 *same\n",
    ] {
        assert!(ours.contains(line), "{line}\n{ours}");
    }
    let told: Vec<_> =
        report.other_layouts.iter().map(|other| (other.name.as_str(), other.uses, other.others)).collect();
    assert_eq!(told, [("alike", 2, 1), ("by_typedef", 2, 1), ("twice", 2, 1), ("kind", 2, 1)]);
}

/// What `convert` makes of one unit, linked.
fn of_unit(folder: &Path, text: &str, options: &[&str]) -> (Profile, ConvertReport) {
    let (source, vmlinux) = (folder.join("unit.c"), folder.join("vmlinux"));
    std::fs::write(&source, text).expect("written");
    let fixed = ["-O1", "-ffreestanding", "-nostdlib", "-static", "-Wl,-e,0", "-o", arg(&vmlinux), arg(&source)];
    gcc(&fixed, options);
    convert(&vmlinux).expect("a profile")
}

/// Rekall's form calls a struct and its own classes alike: what is read back is what the ELF file has.
#[test]
fn structs_named_like_rekall_s_classes_come_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let names =
        ["Array", "Pointer", "Enumeration", "BitField", "Void", "Function", "UnicodeString", "pointer", "array"];
    let defined = |name: &&str| format!("struct {name} {{ int of_{name}; }};");
    let members =
        |name: &&str| format!("struct {name} {name}, *p_{name}, a_{name}[2]; struct declared_{name} *d_{name};");
    let text = names.iter().map(defined).collect::<String>()
        + "struct Pointer32; struct all { struct Pointer32 *declared; void *nothing; void (*function)(void *, struct Void *);"
        + &names.iter().map(members).collect::<String>()
        + "} all; struct Pointer table[3];";
    let (profile, _) = of_unit(folder.path(), &text, &["-g"]);
    let path = folder.path().join("profile.json");
    std::fs::write(&path, profile.to_rekall()).expect("written");
    let again = ProfileFile::open(&path).and_then(|file| file.decode()).expect("what we wrote");
    assert_eq!(listing(&again), listing(&profile));
    assert_eq!(again.to_isf().0, profile.to_isf().0);
    let all = &again.structs["all"].members;
    for name in names {
        let ty = Type::named(name);
        let expected = [ty.clone(), Type::pointer_to(ty.clone()), Type::array_of(ty, 2)];
        let found = [name.to_owned(), format!("p_{name}"), format!("a_{name}")].map(|member| all[&member].ty.clone());
        assert_eq!(found, expected);
    }
    assert_eq!(all["nothing"].ty, Type::pointer_to(Type::Void));
    assert_eq!(all["declared"].ty, Type::pointer_to(Type::named("Pointer32")));
}

/// Layouts of one name that differ only below their first level, in DWARF of all kinds and in BTF. What each unit has
/// is read off its source.
#[test]
fn layouts_that_differ_below_the_first_level_are_all_kept() {
    let same = "struct same { union { struct { int a, b; }; long c; }; int list[2][3]; int (*f)(int, long); enum { ONE = 1 } e; typeof(struct { char c; } *) p; };";
    let unit = |number: u8, [inner, union, rows, bytes, padded, function, label]: [&str; 7]| {
        format!(
            "{same} struct inner {{ struct {{ {inner} }} in; }}; struct nested {{ union {{ long x; struct {{ {union} }}; }}; int z; }};
            struct rows {{ int a{rows}; }}; struct bytes {{ char data{bytes}; }}; struct padded {{ long l; char c{padded}; }};
            struct operations {{ {function}; }}; struct labels {{ enum {{ {label} }} e; }};
            struct user{number} {{ struct same same; struct inner *inner; struct nested *nested; struct rows *rows; struct bytes *bytes;
            struct padded *padded; struct operations *operations; struct labels *labels; }} user{number};"
        )
    };
    let sides = [
        ["int a, b;", "int a, b;", "[2][6]", "[8]", "[3]", "int (*f)(int)", "FIRST"],
        ["short q; int b;", "short d, e; int f;", "[3][4]", "[2][4]", "[7]", "int (*f)(char *, long)", "SECOND"],
    ];
    let names = ["inner", "nested", "rows", "bytes", "padded", "operations", "labels"];
    let pahole = Command::new("pahole").arg("--version").output().is_ok();
    for options in [&["-gdwarf-5"][..], &["-gdwarf-4", "-fdebug-types-section"], &["dwz"], &["btf"]] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let (dwz, btf) = (options == ["dwz"], options == ["btf"]);
        if dwz && Command::new("dwz").arg("--version").output().is_err() || btf && !pahole {
            skipped(&format!("there is no {options:?}"));
            continue;
        }
        // The first side twice: it is the most used one.
        let objects = [(1, 0), (2, 1), (3, 0)].map(|(number, side)| {
            let (source, object) = (path(&format!("{number}.c")), path(&format!("{number}.o")));
            std::fs::write(&source, unit(number, sides[side])).expect("written");
            let debug = if dwz || btf { &["-gdwarf-4"][..] } else { options };
            gcc(&["-O1", "-ffreestanding", "-c", "-o", arg(&object), arg(&source)], debug);
            object
        });
        let vmlinux = path("vmlinux");
        gcc(&["-nostdlib", "-static", "-Wl,-e,0", "-o", arg(&vmlinux)], &objects.each_ref().map(|object| arg(object)));
        let tool = |program: &str, args: &[&str]| {
            let output = Command::new(program).args(args).output().expect(program);
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let (profile, report) = if btf {
            tool("pahole", &["--btf_encode_detached", arg(&path("kernel.btf")), arg(&vmlinux)]);
            std::fs::write(path("System.map"), "ffffffff81000000 D user1\n").expect("written");
            std::fs::write(path("config"), "CONFIG_X86_64=y\n").expect("written");
            let beside = vec![path("System.map"), path("config")];
            convert_with(&path("kernel.btf"), &Options { beside, ..Options::default() }).expect("a profile")
        } else {
            if dwz {
                tool("dwz", &[arg(&vmlinux)]);
            }
            convert(&vmlinux).expect("a profile")
        };
        // pahole writes an array of arrays as one.
        let names: Vec<_> = names.into_iter().filter(|name| !btf || !["rows", "bytes"].contains(name)).collect();
        assert_eq!(report.other_layouts.len(), names.len(), "{options:?}: {:?}", report.other_layouts);
        let target = |user: &str, name: &str| match &profile.structs[user].members[name].ty {
            Type::Pointer { target, .. } => match &**target {
                Type::Named(name) => name.clone(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        for name in &names {
            let (first, second) = (target("user1", name), target("user2", name));
            assert_eq!(first, target("user3", name), "{options:?}");
            assert_ne!(first, second, "{options:?}");
        }
        for (user, inner, union, rows, bytes, padded, arguments, label) in [
            ("user1", "int", ["a", "b"].as_slice(), [2, 6], Type::array_of(Type::named("char"), 8), 3, 1, "FIRST"),
            (
                "user2",
                "short int",
                &["d", "e", "f"],
                [3, 4],
                Type::array_of(Type::array_of(Type::named("char"), 4), 2),
                7,
                2,
                "SECOND",
            ),
        ] {
            let layout = |name: &str| &profile.structs[&target(user, name)].members;
            let named = |ty: &Type| match ty {
                Type::Named(name) => profile.structs[name].members.clone(),
                other => panic!("{other:?}"),
            };
            let first = named(&layout("inner")["in"].ty).into_values().find(|member| member.offset == 0);
            assert_eq!(first.expect("a member").ty, Type::named(inner), "{options:?} {user}");
            let within = named(&named(&layout("nested")["u1"].ty)["u1"].ty);
            assert_eq!(within.keys().collect::<Vec<_>>(), union, "{options:?} {user}");
            if !btf {
                let row = Type::array_of(Type::named("int"), rows[1]);
                assert_eq!(layout("rows")["a"].ty, Type::array_of(row, rows[0]), "{options:?} {user}");
                assert_eq!(layout("bytes")["data"].ty, bytes, "{options:?} {user}");
            }
            assert_eq!(layout("padded")["c"].ty, Type::array_of(Type::named("char"), padded), "{options:?} {user}");
            let function = describe(&layout("operations")["f"].ty);
            assert_eq!(function.split(',').count(), arguments, "{options:?} {user}: {function}");
            let Type::Enum { name, .. } = &layout("labels")["e"].ty else { panic!("{user}") };
            assert_eq!(profile.enums[name].values[0].0, label, "{options:?} {user}");
        }
    }
}

/// Static variables of one name, each of another type: `nm` tells the size of the one at each address.
#[test]
fn variables_of_one_name_are_told_apart_by_their_address() {
    for (compiler, options) in [
        ("gcc", &["-gdwarf-2", "-gstrict-dwarf"][..]),
        ("gcc", &["-gdwarf-5"]),
        ("gcc", &["-gdwarf-4", "-gsplit-dwarf"]),
        ("gcc", &["-gdwarf-5", "-gsplit-dwarf"]),
        ("clang", &["-gdwarf-4"]),
        ("clang", &["-gdwarf-5"]),
        ("clang", &["-gdwarf-5", "-gsplit-dwarf"]),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let run = |args: &[&str]| {
            let output = Command::new(compiler).args(args).current_dir(folder.path()).output().ok()?;
            assert!(output.status.success(), "{compiler} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
            Some(())
        };
        let built = [1, 2, 3].iter().try_for_each(|number| {
            let text = format!(
                "struct of{number} {{ long words[{number}]; }}; static __attribute__((used)) struct of{number} state = {{ {{ 1 }} }};\n"
            );
            let name = format!("unit{number}.c");
            std::fs::write(folder.path().join(&name), text).expect("written");
            run(&[&["-O1", "-ffreestanding", "-c", &name], options].concat())
        });
        let link = ["-nostdlib", "-static", "-Wl,-e,0", "-o", "vmlinux", "unit1.o", "unit2.o", "unit3.o"];
        if built.and_then(|()| run(&link)).is_none() {
            skipped(&format!("there is no {compiler}"));
            continue;
        }
        let vmlinux = folder.path().join("vmlinux");
        let nm = Command::new("nm").arg("-S").arg(&vmlinux).output().expect("nm");
        let number = |text| u64::from_str_radix(text, 16).expect("a number");
        let text = String::from_utf8(nm.stdout).expect("text");
        let truth: BTreeMap<u64, u64> = text
            .lines()
            .filter_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
                [address, size, _, "state"] => Some((number(address), number(size))),
                _ => None,
            })
            .collect();
        assert_eq!(truth.len(), 3, "{text}");
        let (profile, _) = convert(&vmlinux).expect("a profile");
        let size = |ty: &Type| match ty {
            Type::Named(name) => profile.structs.get(name).map(|found| found.size),
            _ => None,
        };
        let ours: BTreeMap<u64, u64> = (profile.constant_types.iter())
            .filter_map(|(name, ty)| Some((*profile.constants.get(name)?, size(ty)?)))
            .collect();
        assert_eq!(ours, truth, "{compiler} {options:?}: {:?}", profile.constant_types);
    }
}

#[test]
fn relocations_without_addends_are_applied() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(source) = module(folder.path(), &["-gdwarf-4", "-m32"]) else { return };
    let (profile, report) = convert(&source).expect("a profile");
    assert_eq!(profile.metadata.arch(), Some(Arch::I386));
    let nested = &profile.structs["nested"];
    // On i386 pointers have 4 bytes, and 8-byte integers in structs an alignment of 4.
    let offsets: Vec<u64> = ["inner", "state", "call", "count", "next", "d", "ld"]
        .iter()
        .map(|name| nested.members[*name].offset)
        .collect();
    assert_eq!(offsets, [8, 20, 24, 32, 52, 64, 72]);
    assert_eq!((nested.size, profile.base_types["long double"].size), (84, 12));
    assert_eq!(profile.enums["small"].values, [("SMALL_ONE".to_owned(), 1), ("SMALL_MAX".to_owned(), 255)]);
    assert_eq!(report.skipped_relocations, 0);
}

/// `[0]` has a last index of -1, which a 32-bit index type writes as a large array of a 64-bit machine has its own.
#[test]
fn arrays_have_the_length_of_their_bounds() {
    let huge = "struct huge { char text[0x100000000]; char (*pointer)[0x100000000]; int none[0]; }; extern struct huge *huge; \
                struct huge *use(void) { return huge; }\n";
    for (compiler, version) in [("gcc", 2), ("gcc", 4), ("gcc", 5), ("clang", 4), ("clang", 5)] {
        let lines = "  text@0 [4294967296]char\n  pointer@4294967296 *[4294967296]char\n  none@4294967304 [0]int\n";
        let Some(ours) = listing_of(compiler, &[&format!("-gdwarf-{version}")], huge) else { continue };
        assert!(ours.contains(lines), "{compiler} {version}: {ours}");
    }
    // struct s { char from[6], none[0]; } with indices of 4 bytes, from -2 to 3 and from 0 to -1.
    let assembler = r#"
        asm(".section .debug_abbrev,\"\",@progbits\n"
            ".byte 1,0x11,1, 0,0,  2,0x13,1, 3,8, 0xb,0xb, 0,0,  3,0xd,0, 3,8, 0x49,0x13, 0x38,0xb, 0,0\n"
            ".byte 4,0x24,0, 3,8, 0xb,0xb, 0x3e,0xb, 0,0,  5,1,1, 0x49,0x13, 0,0\n"
            ".byte 6,0x21,0, 0x49,0x13, 0x22,0xd, 0x2f,0xd, 0,0,  7,0x21,0, 0x49,0x13, 0x2f,6, 0,0,  0\n"
            ".section .debug_info,\"\",@progbits\n"
            "0: .long 9f-1f\n1: .short 4\n.long 0\n.byte 8,1\n"
            "2: .byte 4\n.asciz \"unsigned int\"\n.byte 4,7\n3: .byte 4\n.asciz \"char\"\n.byte 1,6\n"
            "4: .byte 5\n.long 3b-0b\n.byte 6\n.long 2b-0b\n.sleb128 -2,3\n.byte 0\n"
            "5: .byte 5\n.long 3b-0b\n.byte 7\n.long 2b-0b,0xffffffff\n.byte 0\n"
            ".byte 2\n.asciz \"s\"\n.byte 6\n.byte 3\n.asciz \"from\"\n.long 4b-0b\n.byte 0\n"
            ".byte 3\n.asciz \"none\"\n.long 5b-0b\n.byte 6\n.byte 0,0\n9:\n");
    "#;
    let ours = listing_of("gcc", &["-g0"], assembler).expect("gcc");
    assert_eq!(ours, "s[6] Struct\n  from@0 [6]char\n  none@6 [0]char\n");
}

/// The listing of what a source gives as a module; `None` where there is no such compiler.
fn listing_of(compiler: &str, options: &[&str], text: &str) -> Option<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let (source, module) = (folder.path().join("source.c"), folder.path().join("m.ko"));
    std::fs::write(&source, text).expect("written");
    let output = Command::new(compiler).args(options).args(["-w", "-c", "-o", arg(&module), arg(&source)]).output();
    let Ok(output) = output else {
        skipped(&format!("there is no {compiler}"));
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::remove_file(source).expect("removed");
    write_map(folder.path());
    Some(listing(&convert(folder.path()).expect("a profile").0))
}

/// In an object each type unit has a section of its own, and so it has in what `ld -r` makes of several.
#[test]
fn objects_have_the_types_of_all_their_sections() {
    for options in [["-gdwarf-4", "-fdebug-types-section"], ["-gdwarf-5", "-fdebug-types-section"]] {
        let (folder, joined) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let Some(source) = module(folder.path(), &options) else { continue };
        let object = source.join("module_dwarf.ko");
        let target = joined.path().join("module_dwarf.ko");
        let link = ["-r", "-z", "muldefs", "-o", arg(&target), arg(&object), arg(&object)];
        let output = Command::new("ld").args(link).output().expect("binutils");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        write_map(joined.path());
        for folder in [&folder, &joined] {
            let (profile, report) = convert(folder.path()).expect("a profile");
            let (ours, expected) = (listing(&profile), EXPECTED);
            let wrong: Vec<_> = ours.lines().filter(|line| !expected.contains(line)).collect();
            assert!(ours == expected, "{options:?}: {wrong:#?}");
            assert_eq!(report.losses(), Vec::<String>::new(), "{options:?}");
        }
    }
}

/// Packed bit fields that no unit of their type holds are taken from a wider one. Worked out from the ABI: bits follow each other
/// from the lowest one of each byte on.
#[test]
fn packed_bit_fields_that_cross_their_unit_have_one_that_holds_them() {
    let text = "struct __attribute__((packed)) bits { unsigned char x; unsigned long long a:60; unsigned b:31; unsigned short c:9; \
                unsigned char d:7; unsigned long long e:63, f:3; int g:31; } bits; struct bits *use(void) { return &bits; }\n";
    let expected = "bits[27] Struct\n  x@0 unsigned char\n  a@1 long long unsigned int:0..60\n  b@8 long unsigned int:4..35\n  \
                    c@12 short unsigned int:3..12\n  d@13 short unsigned int:4..11\n  f@16 long long unsigned int:50..53\n  \
                    g@22 long int:5..36\n";
    for (compiler, version) in [("gcc", 2), ("gcc", 4), ("gcc", 5), ("clang", 4), ("clang", 5)] {
        let Some(ours) = listing_of(compiler, &[&format!("-gdwarf-{version}")], text) else { continue };
        assert_eq!(as_gcc_names(&ours), expected, "{compiler} {version}");
    }
    // On big-endian machines from the highest bit on; a profile counts from the lowest one of a unit.
    let expected = "a@1 long long unsigned int:4..64\n  b@8 long unsigned int:29..60\n  c@12 short unsigned int:4..13\n  \
                    d@13 short unsigned int:5..12\n  f@16 long long unsigned int:11..14\n  g@22 long int:28..59\n";
    if let Some(ours) = listing_of("clang", &["-gdwarf-5", "-target", "s390x-linux-gnu"], text) {
        assert!(as_gcc_names(&ours).contains(expected), "{ours}");
    }
}

/// clang names integer types by other words.
fn as_gcc_names(listing: &str) -> String {
    listing.replace("unsigned long long:", "long long unsigned int:").replace("unsigned short:", "short unsigned int:")
}
