//! C++ names of Microsoft's compilers as a person writes them.
//!
//! Profiles keep the names that the linker knows; this is for showing them. The grammar is the crate `msvc_demangler`'s.
//! It recurses with the name and repeats what a name refers back to, so a hostile name is not given to it.

use msvc_demangler::DemangleFlags;
use std::panic::catch_unwind;

/// The longest name that is tried, in bytes. Compilers shorten those over 4,096 to a hash; of what exists nearly all are
/// shorter than this.
const MAX_BYTES: usize = 1024;
/// How many function types a name may hold. Each can name the argument types before it nine times.
const MAX_FUNCTION_TYPES: usize = 3;

/// What the types of one more function type in a name may take, each nine times: how much longer reading it takes.
const UNFOLDING: usize = 9;
/// What names may cost where they are few: a second or so.
const LEAST_COST: usize = 16 << 20;
/// What names may cost for each of their bytes. Nearly all real ones have no function type, and cost 1.
const COST_OF_BYTE: usize = 8;

/// Demangles the names of one file, as long as what they cost together is in proportion to their length.
#[derive(Debug)]
pub struct Demangler {
    left: usize,
    /// How many decorated names were not tried, because those before them had cost too much.
    pub untried: u64,
}

impl Demangler {
    /// For names of `bytes` bytes in all.
    pub fn for_names(bytes: usize) -> Self {
        Self { left: LEAST_COST.saturating_add(bytes.saturating_mul(COST_OF_BYTE)), untried: 0 }
    }

    /// [`demangle`], while there is something left.
    pub fn demangle(&mut self, name: &str) -> Option<String> {
        let cost = cost(name)?;
        let Some(left) = self.left.checked_sub(cost) else {
            self.untried += 1;
            return None;
        };
        self.left = left;
        demangle(name)
    }
}

/// What reading a name may cost, 1 for each byte of a plain one; `None` for a name that is not tried.
fn cost(name: &str) -> Option<usize> {
    let decorated = name.starts_with('?') && !name.starts_with("??_C@") && name.len() <= MAX_BYTES;
    // `P6`, `A8` and so on: pointers and references to functions and member functions.
    let function_type = |pair: &&[u8]| matches!(pair, [b'A'..=b'Z', b'6' | b'8']);
    let function_types = name.as_bytes().windows(2).filter(function_type).take(MAX_FUNCTION_TYPES + 1).count();
    (decorated && function_types <= MAX_FUNCTION_TYPES)
        .then(|| name.len().saturating_mul(UNFOLDING.saturating_pow(function_types as u32)))
}

/// `?f@C@@QAEXH@Z` as `C::f`: the qualified name, as debuggers show it and symbol records of the source have it. `None`
/// for a name that is not decorated, or cannot be read.
pub fn demangle(name: &str) -> Option<String> {
    cost(name)?;
    // What a fault of the crate costs is this name.
    catch_unwind(|| msvc_demangler::demangle(name, DemangleFlags::NAME_ONLY).ok()).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_hostile_ones_are_not_tried() {
        assert_eq!(
            demangle("?set_member@C@google_breakpad@@QAEXH@Z").as_deref(),
            Some("google_breakpad::C::set_member")
        );
        assert_eq!(demangle("?bar@Foo@@2HA").as_deref(), Some("Foo::bar"));
        for other in ["main", "_main", "??_C@_07NFANNNEC@UNKNOWN@", "?"] {
            assert_eq!(demangle(other), None, "{other}");
        }
        // A deep one, and one that would unfold to gigabytes.
        assert_eq!(demangle(&format!("?x@{}H{}@@3HA", "?$a@V".repeat(5000), "@@".repeat(5000))), None);
        let unfolding = ["0", "1", "2", "3", "4", "5"].map(|n| format!("P6AX{}@Z", n.repeat(9))).concat();
        assert_eq!(demangle(&format!("?f@@YAXPAH{unfolding}@Z")), None);
    }
}
