//! Mach-O files that clang, ld64.lld and dsymutil make for Darwin, against llvm-dwarfdump, llvm-nm and the ABI.

use super::layouts::{EXPECTED, listing};
use super::oracles::{Layout, rekall_layouts};
use super::{assert_same_layouts, converted};
use crate::limits::soon;
use crate::support::{arg, corpus, ok, run, skipped};
use quaid::dwarf::{Options, convert, convert_with};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGETS: [(&str, &str); 2] = [("x86_64-apple-macosx10.15", "x86_64"), ("arm64-apple-macosx12", "arm64")];

/// Runs one of LLVM's programs, under its own name or that of Debian's package; `None`, with a printed line, without it.
fn llvm(program: &str, args: &[&str]) -> Option<String> {
    for name in [program.to_owned(), format!("{program}-14"), format!("/usr/lib/llvm-14/bin/{program}")] {
        if let Ok(output) = Command::new(&name).args(args).output() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name} {args:?}: {stderr}");
            return Some(String::from_utf8(output.stdout).expect("text"));
        }
    }
    skipped(&format!("there is no {program}"));
    None
}

/// Compiles the fixture, or a `text`, for Darwin.
fn object(folder: &Path, target: &str, options: &[&str], text: Option<&str>) -> Option<PathBuf> {
    let source = match text {
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/types.c"),
        Some(text) => {
            let source = folder.join("text.c");
            std::fs::write(&source, text).expect("written");
            source
        }
    };
    let object = folder.join(format!("{}.o", target.split('-').next().expect("an architecture")));
    let target = format!("--target={target}");
    let fixed = ["-std=gnu11", "-ffreestanding", "-O1", &target, "-c", "-o", arg(&object), arg(&source)];
    llvm("clang", &[&fixed, options].concat())?;
    Some(object)
}

/// A kernel named `kernel` in `folder`, with its dSYM beside it.
fn kernel(folder: &Path, target: &str, arch: &str, text: Option<&str>) -> Option<PathBuf> {
    let object = object(folder, target, &["-gdwarf-4"], text)?;
    let kernel = folder.join("kernel");
    let platform = ["-arch", arch, "-platform_version", "macos", "12.0", "12.0", "-e", "_file_local"];
    llvm("ld64.lld", &[&platform[..], &["-o", arg(&kernel), arg(&object)]].concat())?;
    llvm("dsymutil", &[arg(&kernel)])?;
    Some(kernel)
}

/// A debugging information entry as llvm-dwarfdump prints it.
struct Die {
    depth: usize,
    tag: String,
    attributes: BTreeMap<String, String>,
}

impl Die {
    fn text(&self, name: &str) -> Option<&str> {
        self.attributes.get(name)?.strip_prefix('"')?.strip_suffix('"')
    }

    fn number(&self, name: &str) -> Option<u64> {
        let text = self.attributes.get(name)?;
        let text = text.strip_prefix("DW_OP_plus_uconst ").unwrap_or(text);
        u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
    }

    /// The offset of the entry that an attribute refers to.
    fn target(&self, name: &str) -> Option<u64> {
        u64::from_str_radix(self.attributes.get(name)?.strip_prefix("0x")?.split(' ').next()?, 16).ok()
    }
}

/// All entries of a file, by offset.
fn dies(file: &Path) -> Option<BTreeMap<u64, Die>> {
    let text = llvm("llvm-dwarfdump", &["--debug-info", arg(file)])?;
    let mut dies: BTreeMap<u64, Die> = BTreeMap::new();
    for line in text.lines() {
        if let Some((offset, tag)) = line.strip_prefix("0x").and_then(|line| line.split_once(": ")) {
            let (tag, depth) = (tag.trim_start(), tag.len() - tag.trim_start().len());
            let offset = u64::from_str_radix(offset, 16).expect("hex");
            if tag.starts_with("DW_TAG_") {
                dies.insert(offset, Die { depth, tag: tag.to_owned(), attributes: BTreeMap::new() });
            }
        } else if let Some((name, value)) = line.trim_start().split_once("\t(")
            && let Some(mut die) = dies.last_entry()
        {
            let value = value.strip_suffix(')').unwrap_or(value).to_owned();
            die.get_mut().attributes.insert(name.to_owned(), value);
        }
    }
    Some(dies)
}

/// The layouts of the structs and unions that have a tag.
fn dwarfdump_layouts(dies: &BTreeMap<u64, Die>) -> BTreeMap<String, Vec<Layout>> {
    let aggregate = |die: &Die| matches!(&*die.tag, "DW_TAG_structure_type" | "DW_TAG_union_type");
    let mut layouts: BTreeMap<String, Vec<Layout>> = BTreeMap::new();
    for (&offset, die) in dies {
        let (true, Some(name), Some(bytes)) = (aggregate(die), die.text("DW_AT_name"), die.number("DW_AT_byte_size"))
        else {
            continue;
        };
        let mut members = BTreeMap::new();
        let mut open = vec![(offset, String::new(), 0)];
        while let Some((owner, prefix, base)) = open.pop() {
            let depth = dies[&owner].depth;
            let below = dies.range(owner + 1..).take_while(|(_, die)| die.depth > depth);
            for (_, member) in below.filter(|(_, die)| die.depth == depth + 2 && die.tag == "DW_TAG_member") {
                let at = base + 8 * member.number("DW_AT_data_member_location").unwrap_or(0);
                let target = member.target("DW_AT_type").expect("a type");
                let path = member.text("DW_AT_name").map(|name| format!("{prefix}{name}"));
                if aggregate(&dies[&target]) && dies[&target].text("DW_AT_name").is_none() {
                    open.push((target, path.map_or_else(|| prefix.clone(), |path| path + "."), at));
                    continue;
                }
                let bits = member.number("DW_AT_bit_size").unwrap_or(0);
                let first = match (member.number("DW_AT_data_bit_offset"), member.attributes.get("DW_AT_bit_offset")) {
                    (Some(first), _) => base + first,
                    // Of DWARF 2: from the most significant bit of the storage unit, which may begin after the field.
                    (None, Some(top)) => {
                        let top = u64::from_str_radix(top.trim_start_matches("0x"), 16).expect("hex").cast_signed();
                        let unit = member.number("DW_AT_byte_size").expect("a storage unit");
                        (at + 8 * unit).checked_add_signed(-top).expect("in range") - bits
                    }
                    (None, None) => at,
                };
                members.insert(path.expect("a name"), (first, bits, String::new()));
            }
        }
        layouts.entry(name.to_owned()).or_default().push(Layout { bytes: Some(bytes), members });
    }
    layouts
}

/// What is to be expected of an object for Darwin, by clang's names.
fn expected(arch: &str) -> String {
    // Without addresses there are no variables, nor the unnamed types of theirs. clang tells no enumeration that is used
    // for its labels alone.
    let types = EXPECTED.strip_prefix(".untagged_variable[8] Struct\n").expect("the first struct");
    let (_, types) = types.split_once("arrays[144]").expect("the next struct");
    let types = types.lines().filter(|line| !line.starts_with("variable ") && !line.starts_with("enum enum."));
    let text = format!("arrays[144]{}\n", types.collect::<Vec<_>>().join("\n"))
        .replace("long long unsigned int", "unsigned long long")
        .replace("long unsigned int", "unsigned long")
        .replace("short int", "short");
    // Apple's ABI for arm64 has no long double beyond 64 bits.
    if arch == "arm64" { text.replace("nested[112]", "nested[104]") } else { text }
}

#[test]
fn objects_of_darwin_have_the_layouts_of_the_abi_and_of_llvm_dwarfdump() {
    for (target, arch) in TARGETS {
        for dwarf in ["-gdwarf-2", "-gdwarf-4", "-gdwarf-5"] {
            let folder = tempfile::tempdir().expect("a folder");
            let Some(object) = object(folder.path(), target, &[dwarf], None) else { return };
            let (profile, report) = convert(&object).expect("a profile");
            assert_eq!(listing(&profile), expected(arch), "{target} {dwarf}");
            assert!(report.unlinked && profile.constants.is_empty());
            assert_eq!(report.losses().len(), 1, "{:?}", report.losses());
            let Some(dies) = dies(&object) else { return };
            let common = assert_same_layouts(&rekall_layouts(&converted(&object), 1), &dwarfdump_layouts(&dies));
            assert!(common >= 6, "{common}");
        }
    }
}

#[test]
fn objects_and_dsyms_of_the_corpus_have_the_layouts_of_llvm_dwarfdump() {
    let Some(folder) = corpus("formats/macho-objects") else { return };
    for arch in ["x86_64", "arm64"] {
        let bundle = format!("kern.{arch}.dSYM/Contents/Resources/DWARF/kern.{arch}");
        for name in ["dw2.o", "dw4.o", "dw5.o"].map(|end| format!("t.{arch}.{end}")).into_iter().chain([bundle]) {
            let file = folder.join(name);
            let Some(dies) = dies(&file) else { return };
            let ours = rekall_layouts(&converted(&file), 1);
            assert_eq!(assert_same_layouts(&ours, &dwarfdump_layouts(&dies)), 5, "{}", file.display());
        }
    }
}

/// A kernel's source: what tells its version, and a variable of each kind.
const KERNEL: &str = "\
struct proc { int p_pid; char p_comm[17]; struct proc *next; };
const char version[] = \"Darwin Kernel Version 21.6.0: made for a test\";
struct proc *allproc;
struct proc kernproc = { .p_pid = 0 };
int maxproc = 1024;
static int hidden __attribute__((used)) = 7;
int file_local(struct proc *p) { return p->p_pid + hidden; }
";

#[test]
fn a_kernel_and_its_dsym_give_symbols_types_and_identity() {
    for (target, arch) in TARGETS {
        let folder = tempfile::tempdir().expect("a folder");
        let Some(kernel) = kernel(folder.path(), target, arch, Some(KERNEL)) else { return };
        let bundle = folder.path().join("kernel.dSYM");
        let file = bundle.join("Contents/Resources/DWARF/kernel");
        let Some(symbols) = llvm("llvm-nm", &["--defined-only", arg(&kernel)]) else { return };
        let Some(uuid) = llvm("llvm-dwarfdump", &["--uuid", arg(&kernel)]) else { return };
        let Some(dies) = dies(&file) else { return };
        std::fs::remove_file(folder.path().join(format!("{arch}.o"))).expect("removed");
        // The kernel finds its dSYM, the dSYM its kernel, and a folder has both.
        let of_kernel = converted(&kernel);
        for source in [&bundle, &file, &folder.path().to_owned()] {
            let mut other = converted(source);
            for key in ["Source", "SourceSHA256"] {
                other["$METADATA"][key] = of_kernel["$METADATA"][key].clone();
            }
            assert!(other == of_kernel, "{}", source.display());
        }
        let address = |name: &str| of_kernel["$CONSTANTS"][name].as_u64().or(of_kernel["$FUNCTIONS"][name].as_u64());
        let mut count = 0;
        for line in symbols.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let [hex, letter, name] = fields[..] else { panic!("{line}") };
            let name = name.strip_prefix('_').unwrap_or(name);
            assert_eq!(address(name), u64::from_str_radix(hex, 16).ok(), "{name}");
            let function = of_kernel["$FUNCTIONS"][name].is_u64();
            assert!(name.starts_with('_') || function == letter.eq_ignore_ascii_case("t"), "{line}");
            count += 1;
        }
        assert!(count >= 6, "{symbols}");
        let total = |section: &str| of_kernel[section].as_object().expect("a section").len();
        assert_eq!(total("$CONSTANTS") + total("$FUNCTIONS"), count);
        // Variables are where the debugging information says.
        for name in ["allproc", "kernproc", "maxproc", "hidden"] {
            let die = dies.values().find(|die| die.text("DW_AT_name") == Some(name)).expect("a variable");
            let place = die.attributes["DW_AT_location"].strip_prefix("DW_OP_addr 0x").expect("an address");
            assert_eq!(address(name), u64::from_str_radix(place, 16).ok(), "{name}");
        }
        assert_eq!(of_kernel["$CONSTANT_TYPES"]["kernproc"][0], "proc");
        let metadata = &of_kernel["$METADATA"];
        let told = format!("UUID: {} ({arch})", metadata["UUID"].as_str().expect("a UUID"));
        assert!(uuid.starts_with(&told), "{uuid}");
        assert_eq!(metadata["Banner"], "Darwin Kernel Version 21.6.0: made for a test");
        assert_eq!((&metadata["Release"], &metadata["ProfileClass"]), (&"21.6.0".into(), &"Darwin".into()));
        let header = format!("{:#x}", address("_mh_execute_header").expect("the header's symbol"));
        assert_eq!(metadata["KernelBase"], Value::from(header));
        let isf: Value =
            serde_json::from_str(&ok(&["-q", "convert_profile", arg(&kernel), "--to", "isf"])).expect("ISF");
        assert!(isf["metadata"]["mac"].is_object() && isf["symbols"]["version"]["constant_data"].is_string());
    }
}

#[test]
fn debugging_information_of_another_link_is_refused() {
    let (one, two) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let [(target, arch), _] = TARGETS;
    let Some(kernel_one) = kernel(one.path(), target, arch, Some(KERNEL)) else { return };
    let other = KERNEL.replace("maxproc", "maxprocs");
    let Some(_) = kernel(two.path(), target, arch, Some(&other)) else { return };
    let foreign = two.path().join("kernel.dSYM/Contents/Resources/DWARF/kernel");
    let output = run(&["convert_profile", arg(&kernel_one), "--beside", arg(&foreign)]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty() && stderr.contains("give the dSYM of the same link"), "{stderr}");
    // Alone it has no types.
    std::fs::remove_dir_all(one.path().join("kernel.dSYM")).expect("removed");
    let output = run(&["convert_profile", arg(&kernel_one)]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--beside KERNEL.dSYM"), "{output:?}");
}

#[test]
fn of_a_fat_file_the_architecture_is_chosen() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut objects = Vec::new();
    for (target, _) in TARGETS {
        let Some(object) = object(folder.path(), target, &["-gdwarf-4"], None) else { return };
        objects.push(object);
    }
    let fat = folder.path().join("fat");
    let Some(_) = llvm("llvm-lipo", &["-create", "-output", arg(&fat), arg(&objects[0]), arg(&objects[1])]) else {
        return;
    };
    for (object, (_, arch)) in objects.iter().zip(TARGETS) {
        let (alone, _) = convert(object).expect("a profile");
        let options = Options { arch: Some(arch.to_owned()), ..Options::default() };
        let (chosen, _) = convert_with(&fat, &options).expect("a profile");
        assert_eq!(listing(&alone), listing(&chosen));
        assert_eq!(alone.metadata.arch(), chosen.metadata.arch());
    }
    let why = convert(&fat).expect_err("two architectures").to_string();
    assert!(why.contains("x86_64") && why.contains("arm64") && why.contains("--arch NAME"), "{why}");
}

/// The zip that Volatility 2 takes: types as a Python file, and what dsymutil printed.
#[test]
fn volatility_2_s_zip_is_read_and_nothing_in_it_is_executed() {
    let folder = tempfile::tempdir().expect("a folder");
    for (target, arch) in TARGETS {
        let built = tempfile::tempdir().expect("a folder");
        let Some(kernel) = kernel(built.path(), target, arch, Some(KERNEL)) else { return };
        let Some(text) = llvm("dsymutil", &["-s", arg(&kernel)]) else { return };
        let Some(nm) = llvm("llvm-nm", &["--defined-only", arg(&kernel)]) else { return };
        std::fs::write(folder.path().join(format!("12.{arch}.dsymutil")), &text).expect("written");
        let vtypes = "mac_types = {\n  'proc' : [ 0x20, {\n    'p_pid': [0x0, ['int']],\n    'p_comm': [4, ['array', 17, ['char']]],\n    'next': [0x18, ['pointer', ['proc']]],\n  }],\n}\n";
        std::fs::write(folder.path().join("12.vtypes"), vtypes).expect("written");
        let profile = converted(folder.path());
        for line in nm.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let [hex, letter, name] = fields[..] else { panic!("{line}") };
            let name = name.strip_prefix('_').unwrap_or(name);
            let section = if letter.eq_ignore_ascii_case("t") { "$FUNCTIONS" } else { "$CONSTANTS" };
            assert_eq!(profile[section][name].as_u64(), u64::from_str_radix(hex, 16).ok(), "{line}");
        }
        let proc = serde_json::json!([32, {
            "next": [24, ["Pointer", { "target": "proc" }]],
            "p_comm": [4, ["Array", { "count": 17, "target": "char" }]],
            "p_pid": [0, ["int", {}]],
        }]);
        assert_eq!(profile["$STRUCTS"], serde_json::json!({ "proc": proc }));
        let of_apple = if arch == "arm64" { "ARM64" } else { "AMD64" };
        assert_eq!(profile["$METADATA"]["arch"], of_apple);
        assert_eq!(profile["$METADATA"]["ProfileClass"], "Darwin");
        std::fs::remove_file(folder.path().join(format!("12.{arch}.dsymutil"))).expect("removed");
    }
    let output = run(&["convert_profile", arg(folder.path())]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("dsymutil -s"), "{output:?}");
    // Python that does something is no data.
    let marker = folder.path().join("executed");
    let program = format!("mac_types = {{'a': [open({:?}, 'w'), {{}}]}}\n", arg(&marker));
    std::fs::write(folder.path().join("12.vtypes"), program).expect("written");
    std::fs::write(
        folder.path().join("12.dsymutil"),
        "Symbol table for: 'k' (x86_64)\n[ 1] 00 0f (     SECT EXT) 01     0000   0000000100000470 '_a'\n",
    )
    .expect("written");
    let output = run(&["convert_profile", arg(folder.path())]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("line 1 is no assignment of a Python literal") && !marker.exists(), "{stderr}");
}

#[test]
fn damaged_mach_o_files_give_an_error_or_a_profile_in_little_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let [(target, arch), _] = TARGETS;
    let Some(_) = kernel(folder.path(), target, arch, Some(KERNEL)) else { return };
    let file = folder.path().join("kernel.dSYM/Contents/Resources/DWARF/kernel");
    let whole = std::fs::read(&file).expect("readable");
    let damaged = folder.path().join("damaged");
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).expect("31 bits")
    };
    for case in 0..400 {
        let mut bytes = whole.clone();
        for _ in 0..=next() % 8 {
            // Half of the damage in the headers and load commands, where the offsets and counts are.
            let end = if next() % 2 == 0 { 4096.min(bytes.len()) } else { bytes.len() };
            let at = next() % end;
            bytes[at] = [0, 0xff, next() as u8][next() % 3];
        }
        if case % 4 == 0 {
            bytes.truncate(next() % whole.len());
        }
        std::fs::write(&damaged, &bytes).expect("written");
        let file = damaged.clone();
        soon(&format!("case {case}"), move || _ = convert(&file));
    }
}
