//! JSON as Rekall's writers lay it out.
//!
//! [`Node`] keeps the order of keys as read, which `serde_json::Value` does not, because the order of an enum's keys
//! tells which of the writers printed a file. The rules of the layout are those of Rekall's `json_renderer` output: one
//! space of indent a level of dicts, lists on one line, `, ` and a newline between items, no newline at the end.

use crate::compress::text_of;
use crate::error::Error;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use std::cmp::Ordering;
use std::fmt::{self, Write};

/// A JSON value whose dicts keep the order of their keys. Keys are unique.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Dict(Vec<(String, Node)>),
}

impl Node {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        serde_json::from_str(text).map_err(|why| Error::corrupt("", format!("not JSON: {why}")))
    }
    pub(crate) fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Number(number) => number.as_u64(),
            _ => None,
        }
    }
    pub(crate) fn as_i128(&self) -> Option<i128> {
        match self {
            Self::Number(number) => number.as_u64().map(i128::from).or_else(|| number.as_i64().map(i128::from)),
            _ => None,
        }
    }
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
    pub(crate) fn as_list(&self) -> Option<&[Node]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }
    pub(crate) fn as_dict(&self) -> Option<&[(String, Node)]> {
        match self {
            Self::Dict(items) => Some(items),
            _ => None,
        }
    }
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.as_dict()?.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
    /// The JSON of a file as it is kept: plain or compressed (a web server gives it compressed).
    pub(crate) fn of_file(bytes: &[u8]) -> Result<Self, Error> {
        Self::parse(&text_of(bytes)?)
    }
    pub(crate) fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::String(text.clone()),
            Self::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Self::Dict(items) => {
                Value::Object(items.iter().map(|(key, node)| (key.clone(), node.to_value())).collect())
            }
        }
    }
}

impl From<u64> for Node {
    fn from(value: u64) -> Self {
        Self::Number(value.into())
    }
}

impl From<&Value> for Node {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => Self::Number(number.clone()),
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(items) => Self::List(items.iter().map(Self::from).collect()),
            Value::Object(items) => Self::Dict(items.iter().map(|(key, value)| (key.clone(), value.into())).collect()),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NodeVisitor;
        impl<'de> Visitor<'de> for NodeVisitor {
            type Value = Node;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }
            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Bool(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
                Ok(Node::Number(value.into()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
                Ok(Node::Number(value.into()))
            }
            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
                Number::from_f64(value).map(Node::Number).ok_or_else(|| E::custom("a number that is not finite"))
            }
            fn visit_str<E>(self, value: &str) -> Result<Node, E> {
                Ok(Node::Text(value.to_owned()))
            }
            fn visit_string<E>(self, value: String) -> Result<Node, E> {
                Ok(Node::Text(value))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Node::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut items: Vec<(String, Node)> = Vec::new();
                while let Some(item) = map.next_entry()? {
                    items.push(item);
                }
                let mut keys: Vec<&str> = items.iter().map(|(key, _)| key.as_str()).collect();
                keys.sort_unstable();
                if let Some([key, _]) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
                    return Err(serde::de::Error::custom(format!("the key `{key}` occurs twice")));
                }
                Ok(Node::Dict(items))
            }
        }
        deserializer.deserialize_any(NodeVisitor)
    }
}

/// Which of Rekall's writers a file is laid out like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    /// A closing brace is indented like the items of its dict (the tool of 2014), not like the line that opened it.
    pub(crate) deep_brace: bool,
    /// The keys of a dict of integers are sorted by value, not by code point.
    pub(crate) numeric: bool,
    /// Items whose value is `{}` are printed, in the three lines that a dict takes whose items were all dropped. A
    /// writer of new files leaves them out.
    pub(crate) keep_empty: bool,
}

impl Style {
    /// Files that are written for the first time.
    pub(crate) const NEW: Self = Self { deep_brace: false, numeric: true, keep_empty: false };

    /// Files of the last writers, laid out anew: nothing is dropped.
    pub(crate) const REWRITTEN: Self = Self { keep_empty: true, ..Self::NEW };

    /// The style of a file: its last line tells where braces stand, the first enum whose two orders differ tells how
    /// keys are sorted.
    pub(crate) fn of(text: &str, root: &Node) -> Self {
        let last_line = text.rsplit('\n').next().unwrap_or_default();
        let enums = root.get("$ENUMS").and_then(Node::as_dict).unwrap_or_default();
        let numeric = enums.iter().find_map(|(_, labels)| {
            let keys: Vec<&str> = labels.as_dict()?.iter().map(|(key, _)| key.as_str()).collect();
            let mut by_value: Vec<(i128, &str)> =
                keys.iter().map(|key| Some((integer(key)?, *key))).collect::<Option<_>>()?;
            by_value.sort_unstable();
            let mut by_code_point = keys.clone();
            by_code_point.sort_unstable();
            let by_value: Vec<&str> = by_value.into_iter().map(|(_, key)| key).collect();
            (by_value != by_code_point).then(|| keys == by_value)
        });
        Self { deep_brace: last_line == " }", numeric: numeric.unwrap_or(true), keep_empty: true }
    }
}

/// A decimal integer as a writer prints it: no plus, no leading zeros.
pub(crate) fn integer(key: &str) -> Option<i128> {
    let digits = key.strip_prefix('-').unwrap_or(key);
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if plain { key.parse().ok() } else { None }
}

/// The text of `node` in `style`.
pub(crate) fn print(node: &Node, style: Style) -> String {
    let mut out = String::new();
    print_node(&mut out, node, style, 0, false);
    out
}

pub(crate) fn print_node(out: &mut String, node: &Node, style: Style, depth: usize, is_item: bool) {
    match node {
        Node::Null => out.push_str("null"),
        Node::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Node::Number(number) => out.push_str(&number.to_string()),
        Node::Text(text) => print_text(out, text),
        Node::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                print_node(out, item, style, depth, false);
            }
            out.push(']');
        }
        Node::Dict(items) if items.is_empty() && !is_item => out.push_str("{}"),
        Node::Dict(items) => {
            out.push_str("{\n");
            let mut first = true;
            for (key, value) in sorted(items, style.numeric) {
                if !style.keep_empty && matches!(value, Node::Dict(items) if items.is_empty()) {
                    continue;
                }
                if !first {
                    out.push_str(", \n");
                }
                first = false;
                indent(out, depth + 1);
                print_text(out, key);
                out.push_str(": ");
                print_node(out, value, style, depth + 1, true);
            }
            if first {
                indent(out, depth);
            }
            out.push('\n');
            indent(out, depth + usize::from(style.deep_brace));
            out.push('}');
        }
    }
}

fn sorted(items: &[(String, Node)], numeric: bool) -> Vec<&(String, Node)> {
    let mut items: Vec<&(String, Node)> = items.iter().collect();
    let by_code_point = |a: &&(String, Node), b: &&(String, Node)| a.0.cmp(&b.0);
    if numeric && items.iter().all(|(key, _)| integer(key).is_some()) {
        items.sort_by(|a, b| match (integer(&a.0), integer(&b.0)) {
            (Some(x), Some(y)) => x.cmp(&y),
            _ => Ordering::Equal,
        });
    } else {
        items.sort_by(by_code_point);
    }
    items
}

pub(crate) fn indent(out: &mut String, depth: usize) {
    for _ in 0..depth {
        out.push(' ');
    }
}

/// Whether each byte stands for itself in a JSON string in ASCII.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = b' ';
    while byte <= b'~' {
        plain[byte as usize] = byte != b'"' && byte != b'\\';
        byte += 1;
    }
    plain
};

/// `text` as a JSON string in ASCII.
pub(crate) fn print_text(out: &mut String, text: &str) {
    let plain = |b: u8| PLAIN[usize::from(b)];
    out.push('"');
    // Nearly every text is; to look at all of its bytes takes less time than to stop at one of them.
    if text.bytes().fold(true, |all, b| all & plain(b)) {
        out.push_str(text);
        out.push('"');
        return;
    }
    let mut rest = text;
    while !rest.is_empty() {
        let run = rest.bytes().position(|b| !plain(b)).unwrap_or(rest.len());
        // A byte that is not plain begins a character.
        let (run, from) = rest.split_at(run);
        out.push_str(run);
        let mut chars = from.chars();
        if let Some(c) = chars.next() {
            print_escaped(out, c);
        }
        rest = chars.as_str();
    }
    out.push('"');
}

fn print_escaped(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        _ => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_files_drop_empty_dicts_and_rewriting_keeps_them() {
        let node = Node::parse(r#"{"b": {}, "a": [0, ["x", {}]], "c": {"d": {}}}"#).expect("JSON");
        assert_eq!(print(&node, Style::NEW), "{\n \"a\": [0, [\"x\", {}]], \n \"c\": {\n \n }\n}");
        let kept = Style { keep_empty: true, ..Style::NEW };
        assert_eq!(
            print(&node, kept),
            "{\n \"a\": [0, [\"x\", {}]], \n \"b\": {\n \n }, \n \"c\": {\n  \"d\": {\n  \n  }\n }\n}"
        );
    }

    #[test]
    fn integers_sort_by_value_and_text_is_ascii() {
        let node = Node::parse(r#"{"10": "é😀", "2": "\u007f/", "-1": 18446743523966342668}"#).expect("JSON");
        assert_eq!(
            print(&node, Style::NEW),
            "{\n \"-1\": 18446743523966342668, \n \"2\": \"\\u007f/\", \n \"10\": \"\\u00e9\\ud83d\\ude00\"\n}"
        );
    }

    #[test]
    fn a_key_that_occurs_twice_is_refused() {
        assert!(Node::parse(r#"{"a": 1, "a": 2}"#).is_err());
    }
}
