//! Types of the kernel's variables that tools start from, for sources that do not tell them: a module's debugging
//! information has the types, and only the kernel's own says which variable has which.
//!
//! Each line holds for every release that has the variable and the type (Linux 2.6.32 to 6.12); the test compares the
//! list with what dwarf2json reads from real kernels.

use quaid_profile::{Profile, Type};

/// A variable, its struct, and whether it is a pointer to it.
const KNOWN: [(&str, &str, bool); 13] = [
    ("init_task", "task_struct", false),
    ("init_mm", "mm_struct", false),
    ("init_files", "files_struct", false),
    ("init_net", "net", false),
    ("init_pid_ns", "pid_namespace", false),
    ("init_user_ns", "user_namespace", false),
    ("modules", "list_head", false),
    ("net_namespace_list", "list_head", false),
    ("tty_drivers", "list_head", false),
    ("iomem_resource", "resource", false),
    ("keyboard_notifier_list", "atomic_notifier_head", false),
    ("prog_idr", "idr", false),
    ("module_kset", "kset", true),
];

/// Adds the types of known variables that the profile has without one; gives how many.
pub(super) fn add_types(profile: &mut Profile) -> usize {
    let mut added = 0;
    for (symbol, of, pointer) in KNOWN {
        let untyped = profile.constants.contains_key(symbol) && !profile.constant_types.contains_key(symbol);
        if untyped && profile.structs.contains_key(of) {
            profile.constant_types.insert(symbol.to_owned(), ty(of, pointer));
            added += 1;
        }
    }
    added
}

fn ty(of: &str, pointer: bool) -> Type {
    if pointer { Type::pointer_to(Type::named(of)) } else { Type::named(of) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quaid_profile::ProfileFile;
    use std::io::Read;
    use std::path::Path;

    #[test]
    fn the_list_is_what_dwarf2json_reads_from_real_kernels() {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
        let corpus = std::env::var_os("QUAID_CORPUS").map_or(beside, Into::into);
        for name in ["profiles/debian-6.1.0-56-cloud-amd64", "arm64/linux-6.1.0-56-cloud-arm64"] {
            let Ok(packed) = std::fs::read(corpus.join(format!("linux/{name}.isf.json.xz"))) else {
                eprintln!("skipped: no ISF of {name}");
                continue;
            };
            let mut text = Vec::new();
            lzma_rust2::XzReader::new(&packed[..], true).read_to_end(&mut text).expect("xz data");
            let file = ProfileFile::parse(name, &text).expect("a profile");
            for (symbol, of, pointer) in KNOWN {
                let told = file.constant_type(symbol).expect("readable");
                assert_eq!(told, Some(super::ty(of, pointer)), "{symbol} of {name}");
            }
        }
    }
}
