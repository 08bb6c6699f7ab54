//! Types of the kernel's variables that tools start from, for sources that do not tell them: a module's debugging
//! information and BTF have the types, and only the kernel's own DWARF says which variable has which.
//!
//! Each line holds for every release that has the variable and the type (Linux 2.6.32 to 6.12); the test compares the
//! list with what dwarf2json reads from real kernels. Beside what quaid's plugins start from it has what those of Volatility 3
//! ask for by `object_from_symbol`.

use quaid_profile::{Profile, Type};

/// A variable and its type: `*` is a pointer, `[N]` an array.
const KNOWN: [(&str, &str); 33] = [
    ("bpf_kallsyms", "list_head"),
    ("cap_last_cap", "int"),
    ("file_systems", "*file_system_type"),
    ("ftrace_list_end", "ftrace_ops"),
    ("ftrace_mod_maps", "list_head"),
    ("ftrace_ops_list", "*ftrace_ops"),
    ("inet_protos", "[256]*net_protocol"),
    ("init_files", "files_struct"),
    ("init_mm", "mm_struct"),
    ("init_net", "net"),
    ("init_pid_ns", "pid_namespace"),
    ("init_task", "task_struct"),
    ("init_user_ns", "user_namespace"),
    ("init_uts_ns", "uts_namespace"),
    ("iomem_resource", "resource"),
    ("ioport_resource", "resource"),
    ("keyboard_notifier_list", "atomic_notifier_head"),
    ("log_buf", "*char"),
    ("log_buf_len", "unsigned int"),
    ("mod_tree", "mod_tree_root"),
    ("module_kset", "*kset"),
    ("modules", "list_head"),
    ("net_namespace_list", "list_head"),
    ("num_registered_fb", "int"),
    ("prb", "*printk_ringbuffer"),
    ("printk_rb_static", "printk_ringbuffer"),
    ("prog_idr", "idr"),
    ("registered_fb", "[32]*fb_info"),
    ("shadow_timekeeper", "timekeeper"),
    ("socket_file_ops", "file_operations"),
    ("sockfs_dentry_operations", "dentry_operations"),
    ("super_blocks", "list_head"),
    ("tty_drivers", "list_head"),
];

/// `TAINT_FLAGS_COUNT`, the length of `taint_flags`, from a release on; from the last one on it is not known.
const TAINT_FLAGS: [((u32, u32), &str); 3] = [((4, 17), "[18]taint_flag"), ((6, 0), "[19]taint_flag"), ((6, 15), "")];

/// Adds the types of known variables that the profile has without one; gives how many.
pub(super) fn add_types(profile: &mut Profile) -> usize {
    let release = profile.metadata.release().and_then(numbers);
    let taint_flags = TAINT_FLAGS.iter().rev().find(|(since, _)| release.is_some_and(|release| release >= *since));
    let taint_flags = taint_flags.map(|&(_, ty)| ("taint_flags", ty)).filter(|(_, ty)| !ty.is_empty());
    let mut added = 0;
    for (symbol, text) in KNOWN.into_iter().chain(taint_flags) {
        let untyped = profile.constants.contains_key(symbol) && !profile.constant_types.contains_key(symbol);
        let name = text.rsplit(['*', ']']).next().unwrap_or(text);
        if untyped && (profile.structs.contains_key(name) || profile.base_types.contains_key(name)) {
            profile.constant_types.insert(symbol.to_owned(), ty(text));
            added += 1;
        }
    }
    added
}

/// The type that a line of the list tells.
fn ty(text: &str) -> Type {
    if let Some(target) = text.strip_prefix('*') {
        return Type::pointer_to(ty(target));
    }
    let array = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    match array.and_then(|(count, element)| Some((count.parse().ok()?, element))) {
        Some((count, element)) => Type::array_of(ty(element), count),
        None => Type::named(text),
    }
}

/// The first two numbers of a release: `6.1.0-56-cloud-amd64`.
fn numbers(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quaid_profile::ProfileFile;
    use std::collections::BTreeSet;
    use std::io::Read;
    use std::path::Path;

    #[test]
    fn the_list_is_what_dwarf2json_reads_from_real_kernels() {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
        let corpus = std::env::var_os("QUAID_CORPUS").map_or(beside, Into::into);
        let mut judged = BTreeSet::new();
        for (name, taint_flags) in [
            ("profiles/debian-6.1.0-56-cloud-amd64.isf.json", "[19]taint_flag"),
            ("arm64/linux-6.1.0-56-cloud-arm64.isf.json", "[19]taint_flag"),
            ("linux-5.10/debian-5.10.0-43-cloud-amd64.json", "[18]taint_flag"),
        ] {
            let Ok(packed) = std::fs::read(corpus.join(format!("linux/{name}.xz"))) else {
                eprintln!("skipped: no ISF of {name}");
                return;
            };
            let mut text = Vec::new();
            lzma_rust2::XzReader::new(&packed[..], true).read_to_end(&mut text).expect("xz data");
            let file = ProfileFile::parse(name, &text).expect("a profile");
            for (symbol, of) in KNOWN.into_iter().chain([("taint_flags", taint_flags)]) {
                if let Some(told) = file.constant_type(symbol).expect("readable") {
                    assert_eq!(told, ty(of), "{symbol} of {name}");
                    judged.insert(symbol);
                }
            }
            let profile = file.decode().expect("a profile");
            let mut without = profile.clone();
            without.constant_types.clear();
            assert!(add_types(&mut without) > 25, "{name}");
            assert_eq!(without.constant_types["taint_flags"], profile.constant_types["taint_flags"], "{name}");
        }
        assert_eq!(judged.len(), KNOWN.len() + 1, "each is in one of them");
    }

    #[test]
    fn a_release_that_is_newer_than_the_list_has_no_length() {
        for (release, count) in
            [("4.16.0", None), ("4.17", Some(18)), ("5.19.3-x", Some(18)), ("6.14", Some(19)), ("6.15.0", None)]
        {
            let mut profile = Profile::default();
            profile.metadata.set("Release", release);
            profile.constants.insert("taint_flags".to_owned(), 1);
            profile.structs.insert("taint_flag".to_owned(), quaid_profile::Struct::default());
            add_types(&mut profile);
            let expected = count.map(|count| Type::array_of(Type::named("taint_flag"), count));
            assert_eq!(profile.constant_types.get("taint_flags"), expected.as_ref(), "{release}");
        }
    }
}
