//! Members found by name: through nested structs, arrays and members without a name.

use quaid_profile::{Error, ProfileFile, Struct, Type};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// How many structs without a name are searched for one member. It bounds how deep a hostile profile can lead; the
/// kernels' structs have some ten.
const MAX_NAMELESS: usize = 256;

/// Where a member lies in a struct, and what it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Place {
    /// Offset from the struct's start, in bytes.
    pub(crate) offset: u64,
    /// Its type.
    pub(crate) ty: Type,
}

/// The structs of a profile. What was decoded is kept for the next question.
pub(crate) struct Types<'p> {
    profile: &'p ProfileFile,
    structs: RefCell<HashMap<String, Option<Rc<Struct>>>>,
}

impl<'p> Types<'p> {
    pub(crate) fn new(profile: &'p ProfileFile) -> Self {
        Self { profile, structs: RefCell::default() }
    }

    pub(crate) fn profile(&self) -> &'p ProfileFile {
        self.profile
    }

    pub(crate) fn structure(&self, name: &str) -> Result<Option<Rc<Struct>>, Error> {
        if let Some(known) = self.structs.borrow().get(name) {
            return Ok(known.clone());
        }
        let decoded = self.profile.structure(name)?.map(Rc::new);
        self.structs.borrow_mut().insert(name.to_owned(), decoded.clone());
        Ok(decoded)
    }

    /// The member at `path` of the struct `name`: members' names with dots between them, a number for an element of an
    /// array ("Pcb.DirectoryTableBase.0"); the empty path is the struct itself. `None` when the profile has no such member.
    pub(crate) fn find(&self, name: &str, path: &str) -> Result<Option<Place>, Error> {
        let mut place = Place { offset: 0, ty: Type::named(name) };
        for part in path.split('.').filter(|part| !part.is_empty()) {
            let next = match (&place.ty, part.parse::<u64>()) {
                (Type::Array { target, count }, Ok(index)) if index < *count => {
                    let bytes = self.profile.size_of(target)?;
                    bytes.and_then(|b| b.checked_mul(index)).map(|offset| Place { offset, ty: (**target).clone() })
                }
                (Type::Named(name), _) => match self.structure(name)? {
                    Some(s) => self.member(&s, part, &mut HashSet::new())?,
                    None => None,
                },
                _ => None,
            };
            let Some(next) = next else { return Ok(None) };
            let Some(offset) = place.offset.checked_add(next.offset) else { return Ok(None) };
            place = Place { offset, ty: next.ty };
        }
        Ok(Some(place))
    }

    /// The member `name` of `s`, or of one of its members without a name. Each struct is searched once, so that a
    /// profile whose structs hold each other many times costs no more than its size.
    fn member(&self, s: &Struct, name: &str, searched: &mut HashSet<String>) -> Result<Option<Place>, Error> {
        if let Some(member) = s.members.get(name) {
            return Ok(Some(Place { offset: member.offset, ty: member.ty.clone() }));
        }
        for (label, outer) in &s.members {
            let Type::Named(inner) = &outer.ty else { continue };
            let nameless = outer.anonymous || is_rekall_s_label(label);
            if !nameless || searched.len() == MAX_NAMELESS || !searched.insert(inner.clone()) {
                continue;
            }
            let Some(inner) = self.structure(inner)? else { continue };
            if let Some(found) = self.member(&inner, name, searched)? {
                return Ok(outer.offset.checked_add(found.offset).map(|offset| Place { offset, ty: found.ty }));
            }
        }
        Ok(None)
    }
}

/// Rekall's converters name members without a name u1, u2, ... (reference: its dwarfparser and mspdb plugins).
fn is_rekall_s_label(label: &str) -> bool {
    label.strip_prefix('u').is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}
