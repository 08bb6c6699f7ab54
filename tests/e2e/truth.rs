//! What the guests of the corpus printed about themselves just before they were dumped.

use std::collections::{BTreeMap, BTreeSet};

/// The sections of a groundtruth file, by name.
pub(crate) fn sections(text: &str) -> BTreeMap<&str, &str> {
    let mut sections = BTreeMap::new();
    for part in text.split("==BEGIN ").skip(1) {
        let (name, body) = part.split_once("==\n").expect("a section's head");
        sections.insert(name, body.split("==END==").next().unwrap_or_default());
    }
    sections
}

/// A task as /proc tells it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Task {
    pub(crate) name: String,
    pub(crate) ppid: u64,
    pub(crate) uid: u64,
}

/// Every task that was alive at the dump, by pid.
pub(crate) fn tasks(text: &str) -> BTreeMap<u64, Task> {
    let sections = sections(text);
    let mut tasks = BTreeMap::new();
    for line in sections["pslist-final"].lines() {
        let (pid, name) = line.split_once(' ').expect("pid and name");
        let status = sections[format!("pid/{pid}/status").as_str()];
        let field = |key: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).expect(key);
            line.split_whitespace().next().and_then(|word| word.parse().ok()).expect(key)
        };
        let task = Task { name: name.to_owned(), ppid: field("PPid:"), uid: field("Uid:") };
        tasks.insert(pid.parse().expect("a pid"), task);
    }
    tasks
}

/// The kernel keeps 15 characters of a name; of a kernel worker /proc tells more than the name, behind a `-` or `+`.
pub(crate) fn comparable(name: &str) -> String {
    let name = if name.starts_with("kworker/") { name.split(['-', '+']).next().unwrap_or(name) } else { name };
    name.chars().take(15).collect()
}

/// Loaded modules as /proc/modules tells them: name, size and base.
pub(crate) fn modules(text: &str) -> BTreeSet<(String, u64, u64)> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let base = words[5].trim_start_matches("0x");
        (words[0].to_owned(), words[1].parse().expect("a size"), u64::from_str_radix(base, 16).expect("a base"))
    };
    sections(text)["modules"].lines().map(line).collect()
}
