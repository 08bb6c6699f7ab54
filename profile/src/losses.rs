//! What a form of profile could not say as the model has it.

use serde::Serialize;
use std::collections::BTreeMap;

/// What a writer left out or said in another way: kinds of it, and the places where. A place is a path in the Rekall
/// form (`$STRUCTS/_EPROCESS/Pcb`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Losses(pub BTreeMap<&'static str, Vec<String>>);

impl Losses {
    /// Notes one place.
    pub(crate) fn note(&mut self, kind: &'static str, place: String) {
        self.0.entry(kind).or_default().push(place);
    }

    /// A line for each kind: how often, and an example.
    pub fn lines(&self) -> Vec<String> {
        let line = |(kind, places): (&&str, &Vec<String>)| {
            let example = places.first().map_or("", String::as_str);
            format!("{kind} ({}, such as {example})", places.len())
        };
        self.0.iter().map(line).collect()
    }

    /// Whether a place, or one that it is in, was noted.
    pub fn names(&self, place: &str) -> bool {
        self.0.values().flatten().any(|noted| {
            place.strip_prefix(noted.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}
