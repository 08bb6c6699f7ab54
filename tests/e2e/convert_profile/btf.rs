//! BTF: layouts against pahole, DWARF of the same module, and files made by hand for what pahole does not write.

use super::oracles::{Layout, assert_every_layout, assert_every_typedef, pahole_layouts, rekall_layouts};
use super::{ARM64, ARM64_BTF, DEBIAN_BTF, DEBIAN_DWARF5, SMALL, SMALL_BTF};
use crate::limits::limited;
use crate::support::{arg, corpus, ok, run, skipped, unpacked};
use quaid::btf::{Btf, BtfError};
use quaid_profile::{Profile, Type};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const LINUX_5_10_BTF: &str = "linux/linux-5.10/vmlinux-5.10.0-43-cloud-amd64.btf";
const LINUX_5_10_MAP: &str = "linux/linux-5.10/System.map-5.10.0-43-cloud-amd64";

fn converted(source: &Path, beside: &Path) -> Value {
    serde_json::from_str(&ok(&["-q", "convert_profile", arg(source), "--beside", arg(beside)])).expect("JSON")
}

#[test]
fn every_struct_of_a_kernel_is_as_pahole_has_it() {
    for (btf, beside, structs) in [
        (DEBIAN_BTF, corpus(DEBIAN_DWARF5), 7000),
        (SMALL_BTF, corpus(SMALL), 2500),
        (ARM64_BTF, corpus(ARM64), 7000),
        (LINUX_5_10_BTF, unpacked(LINUX_5_10_MAP), 6000),
    ] {
        let (Some(btf), Some(beside)) = (unpacked(btf), beside) else { return };
        let Some(truth) = pahole_layouts("btf", &btf) else { return };
        assert!(truth.len() > structs, "{} structs of {}", truth.len(), btf.display());
        let profile = converted(&btf, &beside);
        assert_every_layout(&rekall_layouts(&profile, 1), &truth);
        let typedefs = assert_every_typedef(&profile, "btf", &btf).expect("pahole");
        assert!(typedefs > structs / 4, "{typedefs} members with a typedef in {}", btf.display());
    }
}

#[test]
fn btf_alone_tells_architecture_and_the_map_s_name_the_release() {
    let (Some(btf), Some(map)) = (unpacked(LINUX_5_10_BTF), unpacked(LINUX_5_10_MAP)) else { return };
    // In any order.
    for (source, beside) in [(&btf, &map), (&map, &btf)] {
        let profile = converted(source, beside);
        assert_eq!(profile["$METADATA"]["arch"], "AMD64");
        assert_eq!(profile["$METADATA"]["Release"], "5.10.0-43-cloud-amd64");
        assert_eq!(profile["$METADATA"]["KernelBase"], "0xffffffff81000000");
        assert!(profile["$METADATA"].get("Banner").is_none());
        // Prototypes are no types of data.
        assert!(profile["$FUNCTIONS"]["schedule_timeout"].is_u64());
        assert!(profile["$CONSTANT_TYPES"].get("schedule_timeout").is_none());
    }
    let banner = "Linux version 5.10.0-43-cloud-amd64 (builder) #1 SMP";
    let profile: Value =
        serde_json::from_str(&ok(&["-q", "convert_profile", arg(&btf), "--system_map", arg(&map), "--banner", banner]))
            .expect("JSON");
    assert_eq!(profile["$METADATA"]["Banner"], banner);
    let (Some(debian), Some(zip), Some(arm)) = (unpacked(DEBIAN_BTF), corpus(DEBIAN_DWARF5), unpacked(ARM64_BTF))
    else {
        return;
    };
    // Newer kernels have the types of per-CPU variables.
    let types = &converted(&debian, &zip)["$CONSTANT_TYPES"];
    assert_eq!(types["__irq_regs"], serde_json::json!(["Pointer", {"target": "pt_regs"}]));
    let profile = converted(&arm, &map);
    assert_eq!(profile["$METADATA"]["arch"], "ARM64");
}

/// The debugging information of a module, and the BTF that pahole makes of it, are the same types.
#[test]
fn a_module_s_btf_gives_what_its_dwarf_gives() {
    let (Some(zip), Some(map)) = (corpus(DEBIAN_DWARF5), unpacked(LINUX_5_10_MAP)) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    // It is of another kernel, and is here for the names of its symbols alone: under its own name it would be refused.
    let unnamed = folder.path().join("System.map");
    std::fs::copy(&map, &unnamed).expect("copied");
    let map = unnamed;
    let mut archive = zip::ZipArchive::new(std::fs::File::open(&zip).expect("readable")).expect("a zip");
    let name =
        archive.file_names().map(|name| name.expect("a name").into_owned()).find(|name| name.ends_with("dwarf.ko"));
    let module = folder.path().join("module_dwarf.ko");
    let mut file = std::fs::File::create(&module).expect("created");
    std::io::copy(&mut archive.by_name(&name.expect("the module")).expect("the module"), &mut file).expect("unpacked");
    let of_dwarf = converted(&module, &map);
    let by_dwarf = rekall_layouts(&of_dwarf, usize::MAX);
    let btf = folder.path().join("module.btf");
    let Ok(output) = Command::new("pahole").arg("--btf_encode_detached").arg(&btf).arg(&module).output() else {
        return skipped("no pahole (Debian: dwarves)");
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let of_btf = converted(&btf, &map);
    let by_btf = rekall_layouts(&of_btf, usize::MAX);
    for (profile, format, file) in [(&of_dwarf, "dwarf", &module), (&of_btf, "btf", &btf)] {
        let typedefs = assert_every_typedef(profile, format, file).expect("pahole");
        assert!(typedefs > 200, "{typedefs} members with a typedef in {}", file.display());
    }
    // The types of members too; pahole writes an array of arrays as one.
    let flat = |layout: &Layout| {
        let mut layout = layout.clone();
        for (_, _, ty) in layout.members.values_mut() {
            while let Some((before, (first, (second, after)))) = ty.split_once("][").and_then(|(before, after)| {
                let at = before.rfind('[')?;
                let (second, rest) = after.split_once(']')?;
                Some((
                    before[..at].to_owned(),
                    (before[at + 1..].parse::<u64>().ok()?, (second.parse::<u64>().ok()?, rest.to_owned())),
                ))
            }) {
                *ty = format!("{before}[{}]{after}", first * second);
            }
        }
        layout
    };
    let mut compared = 0;
    for (name, layout) in &by_dwarf {
        let Some(other) = by_btf.get(name) else { continue };
        let layout = flat(layout);
        assert!(layout.agrees(other), "{name}:\n{}", layout.difference(other));
        compared += 1;
    }
    assert!(compared > 820 && compared + 5 > by_dwarf.len(), "{compared} of {}", by_dwarf.len());
}

#[test]
fn a_module_s_btf_needs_its_kernel_s() {
    let (Some(kernel), Some(map)) = (unpacked(LINUX_5_10_BTF), unpacked(LINUX_5_10_MAP)) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("module.c");
    std::fs::write(
        &source,
        "struct list_head { struct list_head *next, *prev; }; struct module_own { struct list_head list; int number; } own;",
    )
    .expect("written");
    let object = folder.path().join("module.o");
    let gcc = Command::new("gcc").args(["-g", "-c", "-o"]).args([&object, &source]).status().expect("gcc");
    assert!(gcc.success());
    let split = folder.path().join("module.btf");
    let Ok(output) = Command::new("pahole")
        .arg("--btf_base")
        .arg(&kernel)
        .arg("--btf_encode_detached")
        .args([&split, &object])
        .output()
    else {
        return skipped("no pahole (Debian: dwarves)");
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = run(&["convert_profile", arg(&split), "--system_map", arg(&map)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/sys/kernel/btf/vmlinux"));
    let text = ok(&["-q", "convert_profile", arg(&split), "--base_btf", arg(&kernel), "--system_map", arg(&map)]);
    let profile: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        profile["$STRUCTS"]["module_own"],
        serde_json::json!([24, {"list": [0, ["list_head", {}]], "number": [16, ["int", {}]]}])
    );
    assert!(profile["$STRUCTS"]["task_struct"].is_array());
}

/// Since 6.11 modules carry what they need of their kernel's BTF (`.BTF.base`, Documentation/bpf/btf.rst).
#[test]
fn a_module_that_carries_its_base_needs_no_kernel() {
    let Some(map) = unpacked(LINUX_5_10_MAP) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let text =
        "struct list_head { struct list_head *next, *prev; }; struct pt_regs { unsigned long sp, ip, orig_ax; };\n";
    std::fs::write(folder.join("base.c"), format!("{text} struct list_head a; struct pt_regs b;\n")).expect("written");
    let own = "struct module_own { struct list_head list; int number; } own;\n";
    std::fs::write(folder.join("module.c"), format!("{text} {own}")).expect("written");
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).current_dir(folder).output().ok()?;
        assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Some(())
    };
    for name in ["base", "module"] {
        run("gcc", &["-g", "-c", &format!("{name}.c")]).expect("gcc");
    }
    if run("pahole", &["--btf_encode_detached", "base.btf", "base.o"]).is_none() {
        return skipped("no pahole (Debian: dwarves)");
    }
    run("pahole", &["--btf_base", "base.btf", "--btf_encode_detached", "own.btf", "module.o"]).expect("pahole");
    let section = ["--remove-section=.debug*", "--add-section", ".BTF=own.btf"];
    run("objcopy", &[&section[..], &["module.o", "needs.ko"]].concat()).expect("objcopy");
    run("objcopy", &["--add-section", ".BTF.base=base.btf", "needs.ko", "carries.ko"]).expect("objcopy");
    let output = crate::support::run(&["convert_profile", arg(&folder.join("needs.ko")), "--system_map", arg(&map)]);
    assert_eq!(output.status.code(), Some(1));
    let profile = converted(&folder.join("carries.ko"), &map);
    assert_eq!(
        profile["$STRUCTS"]["module_own"],
        serde_json::json!([24, {"list": [0, ["list_head", {}]], "number": [16, ["int", {}]]}])
    );
    assert_eq!(profile["$STRUCTS"]["list_head"][0], 16);
    // With its kernel's BTF too, whose numbers are others: the kernel's types, and what the module alone has.
    let Some(kernel) = unpacked(LINUX_5_10_BTF) else { return };
    let convert = |module: &str| {
        let module = folder.join(module);
        crate::support::run(&["-q", "convert_profile", arg(&module), "--system_map", arg(&map), "--btf", arg(&kernel)])
    };
    let both: Value = serde_json::from_slice(&convert("carries.ko").stdout).expect("JSON");
    let mut expected = converted(&kernel, &map)["$STRUCTS"].clone();
    expected["module_own"] = profile["$STRUCTS"]["module_own"].clone();
    assert_eq!(both["$STRUCTS"], expected);
    // One that does not say what it continues continues that of another kernel.
    let output = convert("needs.ko");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("begins within another one: it continues the BTF of another kernel"), "{stderr}");
}

/// BTF written number by number.
struct Writer {
    big_endian: bool,
    types: Vec<u8>,
    names: Vec<u8>,
}

impl Writer {
    fn new(big_endian: bool) -> Self {
        Self { big_endian, types: Vec::new(), names: vec![0] }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.names.len() as u32;
        self.names.extend(name.as_bytes());
        self.names.push(0);
        at
    }

    /// A type: name, kind, flag, number of parts, size or type, and what follows.
    fn put(&mut self, name: &str, kind: u32, flag: bool, parts: usize, size: u32, rest: &[u32]) {
        let name = self.name(name);
        let info = u32::from(flag) << 31 | kind << 24 | parts as u32;
        for number in [name, info, size].iter().chain(rest) {
            let bytes = if self.big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
            self.types.extend(bytes);
        }
    }

    fn finish(&self) -> Vec<u8> {
        let mut file = if self.big_endian { vec![0xeb, 0x9f, 1, 0] } else { vec![0x9f, 0xeb, 1, 0] };
        let (types, names) = (self.types.len() as u32, self.names.len() as u32);
        for number in [24, 0, types, types, names] {
            file.extend(if self.big_endian { number.to_be_bytes() } else { u32::to_le_bytes(number) });
        }
        [file, self.types.clone(), self.names.clone()].concat()
    }
}

fn profile_of(bytes: &[u8]) -> Result<Profile, BtfError> {
    let mut profile = Profile::default();
    profile.constants.insert("cpu_number".to_owned(), 0);
    profile.constants.insert("handler".to_owned(), 8);
    profile.functions.insert("schedule".to_owned(), 1);
    Btf::parse("test", bytes, None)?.add_types("test", 8, &mut profile)?;
    Ok(profile)
}

/// `struct s { unsigned a:3, b:5; unsigned long c:40; }` in the old and the new way of bit fields, an enumeration of 8
/// bytes, a negative one, a tagged pointer, a variable, a function.
fn sample(big_endian: bool) -> Vec<u8> {
    let mut btf = Writer::new(big_endian);
    btf.put("unsigned int", 1, false, 0, 4, &[32]); // 1
    btf.put("long unsigned int", 1, false, 0, 8, &[64]); // 2
    let (a, b, c) = (btf.name("a"), btf.name("b"), btf.name("c"));
    // With the flag: bits in the upper byte of the offset.
    btf.put("flagged", 4, true, 3, 16, &[a, 1, 3 << 24, b, 1, 5 << 24 | 3, c, 2, 40 << 24 | 64]); // 3
    btf.put("unsigned int", 1, false, 0, 4, &[3]); // 4: three bits
    btf.put("unsigned int", 1, false, 0, 4, &[3 << 16 | 5]); // 5: five bits after three
    btf.put("long unsigned int", 1, false, 0, 8, &[40]); // 6
    btf.put("plain", 4, false, 3, 16, &[a, 4, 0, b, 5, 0, c, 6, 64]); // 7
    let (big, minus) = (btf.name("BIG"), btf.name("MINUS"));
    btf.put("wide", 19, false, 1, 8, &[big, 0x89ab_cdef, 0x0123_4567]); // 8
    btf.put("negative", 6, true, 1, 4, &[minus, u32::MAX]); // 9
    btf.put("unsigned", 6, false, 1, 4, &[big, u32::MAX]); // 10
    btf.put("user", 18, false, 0, 3, &[]); // 11: type tag
    btf.put("", 2, false, 0, 11, &[]); // 12: pointer
    btf.put("", 3, false, 0, 0, &[12, 1, 4]); // 13: array
    let (arg, dots) = (btf.name("arg"), 0);
    btf.put("", 13, false, 2, 8, &[arg, 13, dots, 0]); // 14: function type
    btf.put("schedule", 12, false, 1, 14, &[]); // 15
    btf.put("cpu_number", 14, false, 0, 13, &[1]); // 16
    btf.put(".data..percpu", 15, false, 1, 4, &[16, 0, 4]); // 17
    btf.put("double", 16, false, 0, 8, &[]); // 18
    btf.put("note", 17, false, 0, 3, &[u32::MAX]); // 19
    btf.put("opaque", 7, true, 0, 0, &[]); // 20
    btf.put("handler", 14, false, 0, 14, &[1]); // 21
    btf.finish()
}

#[test]
fn both_byte_orders_and_both_ways_of_bit_fields_are_read() {
    let bits = |ty: &Type| match ty {
        Type::BitField { start, end, .. } => (*start, *end),
        other => panic!("{other:?}"),
    };
    for (big_endian, a, b, c) in [(false, (0, 3), (3, 8), (0, 40)), (true, (29, 32), (24, 29), (24, 64))] {
        let profile = profile_of(&sample(big_endian)).expect("read");
        for name in ["flagged", "plain"] {
            let members = &profile.structs[name].members;
            assert_eq!((members["a"].offset, bits(&members["a"].ty)), (0, a), "{name}");
            assert_eq!((members["b"].offset, bits(&members["b"].ty)), (0, b), "{name}");
            assert_eq!((members["c"].offset, bits(&members["c"].ty)), (8, c), "{name}");
        }
        let enums = &profile.enums;
        assert_eq!(enums["wide"].values, [("BIG".to_owned(), 0x0123_4567_89ab_cdef)]);
        assert_eq!(enums["wide"].base.as_deref(), Some("long unsigned int"));
        assert_eq!(enums["negative"].values, [("MINUS".to_owned(), -1)]);
        assert_eq!(enums["unsigned"].values, [("BIG".to_owned(), 0xffff_ffff)]);
        let array = Type::array_of(Type::pointer_to(Type::named("flagged")), 4);
        assert_eq!(profile.constant_types["cpu_number"], array);
        let base = Box::new(Type::named("long unsigned int"));
        let ret = Some(Box::new(Type::Enum { name: "wide".to_owned(), base }));
        assert_eq!(profile.constant_types["handler"], Type::Function { args: vec![array], ret });
        assert!(!profile.constant_types.contains_key("schedule"), "the prototype of a function is no type of data");
        assert_eq!(profile.base_types["double"].size, 8);
        assert_eq!(profile.base_types["unsigned int"].big_endian, big_endian);
    }
}

#[test]
fn the_most_used_layout_has_the_name_and_the_others_a_suffix() {
    let mut btf = Writer::new(false);
    btf.put("int", 1, false, 0, 4, &[1 << 24 | 32]); // 1
    let (x, one, other) = (btf.name("x"), btf.name("one"), btf.name("other"));
    btf.put("twice", 4, false, 1, 4, &[x, 1, 0]); // 2, used once
    btf.put("twice", 4, false, 1, 8, &[x, 1, 32]); // 3, used twice
    btf.put("twice_1", 4, false, 1, 4, &[x, 1, 0]); // 4, a name that is taken
    btf.put("user", 4, false, 2, 12, &[one, 2, 0, other, 3, 32]); // 5
    btf.put("", 2, false, 0, 3, &[]); // 6
    let profile = profile_of(&btf.finish()).expect("read");
    assert_eq!(profile.structs["twice"].size, 8);
    assert_eq!(profile.structs["twice_1"].members["x"].offset, 0);
    assert_eq!(profile.structs["twice_2"].size, 4);
    let user = &profile.structs["user"].members;
    assert_eq!((&user["one"].ty, &user["other"].ty), (&Type::named("twice_2"), &Type::named("twice")));
}

#[test]
fn layouts_that_differ_in_the_type_of_a_member_alone_are_two() {
    let mut btf = Writer::new(false);
    btf.put("int", 1, false, 0, 4, &[1 << 24 | 32]); // 1
    btf.put("long int", 1, false, 0, 8, &[1 << 24 | 64]); // 2
    btf.put("number", 8, false, 0, 1, &[]); // 3: typedef
    btf.put("", 2, false, 0, 1, &[]); // 4: pointer to int
    btf.put("", 2, false, 0, 2, &[]); // 5: pointer to long
    btf.put("", 2, false, 0, 3, &[]); // 6: pointer to the typedef of int
    let (x, one, other) = (btf.name("x"), btf.name("one"), btf.name("other"));
    btf.put("alike", 4, false, 1, 8, &[x, 4, 0]); // 7
    btf.put("alike", 4, false, 1, 8, &[x, 5, 0]); // 8
    btf.put("alike", 4, false, 1, 8, &[x, 6, 0]); // 9: as 7
    btf.put("user", 4, false, 3, 24, &[one, 9, 0, other, 7, 64, x, 8, 128]); // 10
    let profile = profile_of(&btf.finish()).expect("read");
    let pointer = |name| Type::pointer_to(Type::named(name));
    assert_eq!(profile.structs["alike"].members["x"].ty, pointer("int"));
    assert_eq!(profile.structs["alike_1"].members["x"].ty, pointer("long int"));
    assert_eq!(profile.structs.len(), 3);
    let user = &profile.structs["user"].members;
    let types = [&user["one"].ty, &user["other"].ty, &user["x"].ty];
    assert_eq!(types, [&Type::named("alike"), &Type::named("alike"), &Type::named("alike_1")]);
}

/// Structs without a name in each other, whose names are made of all those around them: a file of 16 KB gave a gigabyte.
/// Many of them that lie no deeper than allowed come to an end as well.
#[test]
fn nameless_types_that_nest_too_deep_are_left_out() {
    let nested = |chains: u32, levels: u32, bytes: usize| {
        let mut btf = Writer::new(false);
        btf.put("int", 1, false, 0, 4, &[1 << 24 | 32]);
        let member = btf.name(&"m".repeat(bytes));
        for chain in 0..chains {
            let outer = 2 + chain * (levels + 1);
            btf.put(&format!("outer{chain}"), 4, false, 1, 4, &[member, outer + 1, 0]);
            for level in 1..=levels {
                let next = if level == levels { 1 } else { outer + level + 1 };
                btf.put("", 4, false, 1, 4, &[member, next, 0]);
            }
        }
        let bytes = btf.finish();
        let (read, _) = limited(100_000_000, move || {
            let (mut profile, btf) = (Profile::default(), Btf::parse("test", &bytes, None)?);
            let report = btf.add_types("test", 8, &mut profile)?;
            Ok::<_, BtfError>((profile, report))
        })
        .expect("in little time and memory");
        read.expect("the rest of it")
    };
    let (profile, report) = nested(1, 32, 100);
    assert_eq!((profile.structs.len(), report.nameless_types), (33, 0));
    let (profile, report) = nested(1, 33, 100);
    assert_eq!((profile.structs.len(), report.nameless_types), (33, 1));
    let (profile, report) = nested(1, 500, 4000);
    assert_eq!((profile.structs.len(), report.nameless_types), (2, 1));
    let (profile, report) = nested(5_000, 30, 130);
    assert!(profile.structs.len() > 10_000 && report.nameless_types > 4_000, "{}", report.nameless_types);
}

#[test]
fn damaged_btf_is_an_error_or_less_and_never_more() {
    let whole = sample(false);
    for end in 0..whole.len() {
        assert!(profile_of(&whole[..end]).is_err(), "cut at {end}");
    }
    // A linear congruential generator: the same damage in every run.
    let mut random = 99_u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    let mut outcomes = [0, 0];
    for _ in 0..20_000 {
        let mut damaged = whole.clone();
        for _ in 0..=next(6) {
            let at = next(damaged.len());
            damaged[at] = next(256) as u8;
        }
        outcomes[usize::from(profile_of(&damaged).is_ok())] += 1;
    }
    assert!(outcomes[0] > 0 && outcomes[1] > 0, "{outcomes:?}");
    // A kind of the future is refused by its number.
    let mut btf = Writer::new(false);
    btf.put("future", 20, false, 0, 0, &[]);
    let error = profile_of(&btf.finish()).expect_err("not known").to_string();
    assert!(error.contains("kind 20"), "{error}");
    // Typedefs in a circle, and functions whose types multiply.
    let mut btf = Writer::new(false);
    let member = btf.name("member");
    btf.put("circle", 8, false, 0, 2, &[]);
    btf.put("circle", 8, false, 0, 1, &[]);
    for id in 3..63 {
        btf.put("", 13, false, 2, id + 1, &[0, id + 1, 0, id + 1]);
    }
    btf.put("holder", 4, false, 2, 16, &[member, 1, 0, member, 3, 64]);
    assert!(profile_of(&btf.finish()).expect("the rest of it").structs.contains_key("holder"));
    // Functions that take functions, deeper than readers of JSON go.
    let mut btf = Writer::new(false);
    let member = btf.name("member");
    for id in 1..100 {
        btf.put("", 13, false, 1, 0, &[0, id + 1]);
    }
    btf.put("holder", 4, false, 1, 8, &[member, 1, 0]);
    let text = profile_of(&btf.finish()).expect("the rest of it").to_rekall();
    let json: serde_json::Value = serde_json::from_str(&text).expect("read by any reader of JSON");
    assert_eq!(json["$STRUCTS"]["holder"][1]["member"][1][0], "Function", "{json}");
}
