//! PDBs that scripts/make-pdbs makes of the project's own C and C++ sources.

use super::{installed, parsed};
use quaid_profile::Type;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The PDBs, one for each architecture, made once a run; none, with a printed line, without clang and lld.
pub(super) fn made_pdbs() -> Vec<PathBuf> {
    static MADE: OnceLock<Vec<PathBuf>> = OnceLock::new();
    let make = || {
        if !installed("clang") || !installed("lld-link") {
            return vec![];
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pdbs");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/make-pdbs");
        let output = Command::new(script).arg(&folder).output().expect("a shell");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        ["x86_64", "i686", "aarch64"].map(|arch| folder.join(format!("types_{arch}.pdb"))).to_vec()
    };
    MADE.get_or_init(make).clone()
}

/// Every field, base and virtual base of every class of types.cpp lies where clang says that it put it.
#[test]
fn members_are_where_clang_puts_them() {
    for path in made_pdbs() {
        let parsed = parsed(&path);
        let layouts = std::fs::read_to_string(path.with_extension("layouts")).expect("beside the PDB");
        let (mut fields, mut virtual_bases) = (0, 0);
        for block in layouts.split("*** Dumping AST Record Layout\n").skip(1) {
            let mut lines = block.lines().take_while(|line| !line.is_empty()).map(|line| {
                let (place, text) = line.split_once(" | ").unwrap_or(("", line));
                (place.trim(), text)
            });
            let (_, class) = lines.next().expect("a class");
            let class = class.split_once(' ').expect("a keyword").1.trim_end_matches(" (empty)");
            // types.c has another one of the name "clash".
            let size = block.split_once("[sizeof=").and_then(|(_, rest)| rest.split(',').next()?.parse().ok());
            let named = [class.to_owned(), format!("{class}_1")];
            let mut ours = named.iter().filter_map(|name| parsed.profile.structs.get(name));
            let Some(ours) = ours.find(|ours| Some(ours.size) == size) else { continue };
            // Members of the class itself are indented once.
            for (place, text) in lines.filter(|(_, text)| text.starts_with("  ") && !text.starts_with("   ")) {
                let text = text.trim();
                let (name, is_virtual) = match text.split_once(" (") {
                    Some((base, "virtual base)")) => (base, true),
                    Some((base, "base)" | "primary base)" | "base) (empty)")) => (base, false),
                    _ if text.ends_with(')') => continue,
                    _ => (text, false),
                };
                let name = name.rsplit(' ').next().expect("a name");
                // What `alignas` asks for is not in any record, and without it the size is another.
                if is_virtual && class == "from_aligned" {
                    assert!(!ours.members.contains_key(name));
                    continue;
                }
                let member = ours.members.get(name).unwrap_or_else(|| panic!("{class} has no {name}: {text}"));
                let first_bit = match member.ty {
                    Type::BitField { start, .. } => start,
                    _ => 0,
                };
                let (byte, bit) = place.split_once(':').map_or((place, 0), |(byte, bits)| {
                    let bit = bits.split('-').next().and_then(|bit| bit.parse().ok());
                    (byte, bit.expect("a bit"))
                });
                let byte: u64 = byte.parse().expect("an offset");
                assert_eq!(member.offset * 8 + first_bit, byte * 8 + bit, "{}: {class}.{name}", path.display());
                fields += 1;
                virtual_bases += usize::from(is_virtual);
            }
        }
        assert!(fields > 100 && virtual_bases >= 10, "{fields} fields, {virtual_bases} virtual bases");
        println!("{}: {fields} fields, {virtual_bases} of them virtual bases", path.display());
        let skipped: Vec<(&str, u64)> = parsed.report.skipped.iter().map(|(what, n)| (what.as_str(), *n)).collect();
        let expected = [
            ("element type of an array (its bytes are there)", 1),
            ("type of a member: the compiler wrote none (T_NOTYPE)", 1),
            ("virtual bases of a class whose size does not tell where they lie", 1),
        ];
        assert_eq!(skipped, expected, "{}", path.display());
    }
}

/// What names were made up for depends on what it is, and not on the order of the records: the same objects linked in the other
/// order give the same types, but for those of one name that differ, of which the first keeps it.
#[test]
fn names_do_not_depend_on_the_order_of_records() {
    for path in made_pdbs() {
        let swapped = path.file_name().expect("a name").to_string_lossy().replace("types_", "swapped_");
        let swapped = parsed(&path.with_file_name(swapped)).profile;
        let profile = parsed(&path).profile;
        let differ = |name: &str| matches!(name, "clash" | "clash_1");
        let mut made_up = 0;
        assert_eq!(profile.structs.len(), swapped.structs.len());
        for (name, ours) in profile.structs.iter().filter(|(name, _)| !differ(name)) {
            assert_eq!(Some(ours), swapped.structs.get(name), "{}: {name}", path.display());
            made_up += usize::from(name.contains("<unnamed-"));
        }
        assert_eq!(profile.enums, swapped.enums, "{}", path.display());
        assert!(made_up > 10 && profile.enums.contains_key("<unnamed-enum-NAMELESS_ONE>_1"), "{made_up}");
        assert_eq!(profile.structs["clash"], swapped.structs["clash_1"]);
    }
}
