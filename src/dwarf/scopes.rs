//! Names of types inside namespaces and classes: `Outer::Inner`, as PDBs and compilers print them. Types of one plain name in
//! several classes are many (every class of IOKit has its `ExpansionData`), and none of them is the kernel's type of that name.

use super::units::Place;
use bumpalo::Bump;
use std::collections::{HashMap, HashSet};

/// The longest name that is made, in bytes.
const MAX_NAME_BYTES: usize = 4096;
/// How much all names that are made may take, in bytes; those of a macOS kernel take less than one MiB.
const MAX_BYTES: usize = 64 << 20;
/// What compilers call a namespace without a name.
const NAMELESS: &[u8] = b"(anonymous namespace)";

/// The names of all types that lie in a scope.
pub(super) struct Scopes<'d> {
    arena: &'d Bump,
    texts: HashSet<&'d [u8]>,
    bytes_left: usize,
    /// By the place of the type.
    pub(super) names: HashMap<Place, &'d [u8]>,
    /// The scopes that are open: the depth of each, and its whole name.
    open: Vec<(isize, &'d [u8])>,
}

impl<'d> Scopes<'d> {
    /// None yet; `arena` will hold the names.
    pub(super) fn new(arena: &'d Bump) -> Self {
        Self { arena, texts: HashSet::new(), bytes_left: MAX_BYTES, names: HashMap::new(), open: Vec::new() }
    }

    /// Begins a unit.
    pub(super) fn begin(&mut self) {
        self.open.clear();
    }

    /// Leaves the scopes that an entry of this depth is not in.
    pub(super) fn leave(&mut self, depth: isize) {
        while self.open.last().is_some_and(|&(open, _)| open >= depth) {
            self.open.pop();
        }
    }

    /// Enters a namespace.
    pub(super) fn enter_namespace(&mut self, depth: isize, name: Option<&'d [u8]>) {
        let whole = self.whole(name.unwrap_or(NAMELESS));
        self.open.push((depth, whole));
    }

    /// Enters a class, struct or union of this whole name.
    pub(super) fn enter(&mut self, depth: isize, whole: &'d [u8]) {
        self.open.push((depth, whole));
    }

    /// The whole name of the type at `place`, which is called `name` in the scopes that are open.
    pub(super) fn name(&mut self, place: Place, name: &'d [u8]) -> &'d [u8] {
        if self.open.is_empty() {
            return name;
        }
        let whole = self.whole(name);
        self.names.insert(place, whole);
        whole
    }

    /// `name` with the scopes that are open before it; the scope's own where that would be too long: it is never taken for
    /// a type outside.
    fn whole(&mut self, name: &'d [u8]) -> &'d [u8] {
        let Some(&(_, scope)) = self.open.last() else { return name };
        let bytes = scope.len() + 2 + name.len();
        if bytes > MAX_NAME_BYTES {
            return scope;
        }
        let whole = [scope, b"::", name].concat();
        if let Some(&known) = self.texts.get(whole.as_slice()) {
            return known;
        }
        let Some(left) = self.bytes_left.checked_sub(bytes) else { return scope };
        self.bytes_left = left;
        let whole: &'d [u8] = self.arena.alloc_slice_copy(&whole);
        self.texts.insert(whole);
        whole
    }
}
