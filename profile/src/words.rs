//! A type in words, for people.

use crate::model::Type;

/// How deep types in types are told; the kernels' declarations are far below.
const MAX_DEPTH: usize = 8;

impl Type {
    /// The type as a person reads it: "pointer to _KPROCESS", "array of 15 unsigned char", "bits 0 to 3 of unsigned long".
    pub fn in_words(&self) -> String {
        words(self, None, MAX_DEPTH)
    }

    /// The same of a member that may be declared by a typedef ([`Struct::typedefs`](crate::Struct)): "pid_t (int)".
    pub fn in_words_as(&self, typedef: Option<&str>) -> String {
        words(self, typedef, MAX_DEPTH)
    }
}

fn words(ty: &Type, typedef: Option<&str>, depth: usize) -> String {
    if depth == 0 {
        return "...".to_owned();
    }
    let inner = |ty: &Type| words(ty, typedef, depth - 1);
    match ty {
        Type::Void => "void".to_owned(),
        Type::Named(name) => typedef.map_or_else(|| name.clone(), |typedef| format!("{typedef} ({name})")),
        Type::Pointer { target, .. } => format!("pointer to {}", inner(target)),
        Type::Array { target, count } => format!("array of {count} {}", inner(target)),
        Type::BitField { start, end, target } => match end.saturating_sub(1) {
            last if last <= *start => format!("bit {start} of {}", inner(target)),
            last => format!("bits {start} to {last} of {}", inner(target)),
        },
        Type::Enum { name, .. } => format!("enum {name}"),
        Type::Function { .. } => "function".to_owned(),
        Type::UnicodeString { length: Some(length) } => format!("text of {length} UTF-16 code units"),
        Type::UnicodeString { length: None } => "text of UTF-16 code units".to_owned(),
        Type::Other { class, .. } => class.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bit_fields_name_their_bits() {
        let long = || Box::new(Type::Named("unsigned long".into()));
        let bits = |start, end| Type::BitField { start, end, target: long() }.in_words();
        assert_eq!(bits(0, 4), "bits 0 to 3 of unsigned long");
        assert_eq!(bits(5, 6), "bit 5 of unsigned long");
    }

    #[test]
    fn a_typedef_stands_before_what_it_names() {
        let pids = Type::pointer_to(Type::array_of(Type::named("int"), 4));
        assert_eq!(pids.in_words_as(Some("pid_t")), "pointer to array of 4 pid_t (int)");
        assert_eq!(pids.in_words_as(None), pids.in_words());
        assert_eq!(pids.end(), Some("int"));
    }
}
