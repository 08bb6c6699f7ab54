//! System.map: one symbol a line, `ADDRESS TYPE NAME`, as `nm -n` prints it (scripts/mksysmap in the kernel's tree), and
//! `/proc/kallsyms`, which has the same form.

use super::ConvertReport;
use super::symbols::{Kind, Symbols};
use std::collections::HashMap;

/// What else the lines tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A System.map: addresses of the link.
    SystemMap,
    /// `/proc/kallsyms`: addresses of the running kernel.
    Kallsyms,
}

/// The form that a file's name tells, if it does.
pub(super) fn form_of_name(name: &str) -> Option<Form> {
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    match (name.starts_with("System.map"), name.contains("kallsyms")) {
        (true, _) => Some(Form::SystemMap),
        (false, true) => Some(Form::Kallsyms),
        (false, false) => None,
    }
}

/// Reads the symbols of a System.map or of `/proc/kallsyms`, which alone has those of modules (`NAME [MODULE]`), and where the
/// start of what is per-CPU is absolute. Symbols of modules, and lines of another form, are left out and counted.
pub(super) fn read<'d>(text: &'d [u8], symbols: &mut Symbols<'d>, report: &mut ConvertReport) -> Form {
    let mut form = Form::SystemMap;
    for line in lines(text) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        if line.trim_ascii_end().ends_with(b"]") && line.contains(&b'[') {
            form = Form::Kallsyms;
            report.module_symbols += 1;
            continue;
        }
        match fields(line) {
            Some((address, kind, name)) => {
                if kind == b'A' && name == "__per_cpu_start" {
                    form = Form::Kallsyms;
                }
                symbols.add(name, address, kind_of(kind));
            }
            None => report.bad_system_map_lines += 1,
        }
    }
    form
}

/// The addresses that the text gives these names, the first of each.
pub(super) fn addresses(text: &[u8], names: &[&str]) -> HashMap<String, u64> {
    let mut found = HashMap::new();
    for (address, _, name) in lines(text).filter_map(fields) {
        if names.contains(&name) {
            found.entry(name.to_owned()).or_insert(address);
        }
    }
    found
}

/// Why a System.map has no symbols, and what to do.
pub(super) fn why_no_symbols(text: &[u8]) -> String {
    let line = String::from_utf8_lossy(text.split(|&byte| byte == b'\n').next().unwrap_or_default());
    if is_stub(text) {
        return format!("it only says where the real one is: {}", line.trim());
    }
    "no line of the form `ADDRESS TYPE NAME` with an address other than 0 (only root sees those of /proc/kallsyms)"
        .to_owned()
}

/// Whether the first line of `text` is one of a System.map.
pub(super) fn looks_like(text: &[u8]) -> bool {
    let first = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    fields(first).is_some() || is_stub(text)
}

/// Whether it is what Debian puts in the place of System.map: one line that says which package has it.
pub(super) fn is_stub(text: &[u8]) -> bool {
    text.starts_with(b"ffffffffffffffff B The real System.map is in ")
}

/// `nm`'s letters: T is code (t, local), W and w are weak symbols, i is an indirect function, A and a are absolute. What is
/// weak and an object has a letter of its own (V).
fn kind_of(letter: u8) -> Kind {
    match letter {
        b'T' | b't' | b'W' | b'w' | b'i' => Kind::Function,
        b'A' | b'a' => Kind::Absolute,
        _ => Kind::Data,
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr::memchr_iter(b'\n', text).chain([text.len()]).map(move |end| {
        let line = text.get(start..end).unwrap_or_default();
        start = end + 1;
        line
    })
}

fn fields(line: &[u8]) -> Option<(u64, u8, &str)> {
    let mut fields = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let (address, kind, name) = (fields.next()?, fields.next()?, fields.next()?);
    if fields.next().is_some() || !(8..=16).contains(&address.len()) {
        return None;
    }
    let digit = |number: u64, &digit: &u8| Some(number << 4 | u64::from(char::from(digit).to_digit(16)?));
    let address = address.as_bytes().iter().try_fold(0, digit)?;
    match kind.as_bytes() {
        &[kind] if kind.is_ascii_alphabetic() || matches!(kind, b'?' | b'-') => Some((address, kind, name)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quaid_profile::Profile;

    #[test]
    fn code_is_a_function_and_the_rest_a_constant() {
        let (mut symbols, mut report, mut profile) = (Symbols::default(), ConvertReport::default(), Profile::default());
        let text = b"0000000000000000 A fixed_percpu_data\nffffffff81000000 T _text\nffffffff81000040 t two\nffffffff81000050 t two\r\n\
            ffffffff82000000 D init_task\nffffffff82000010 V weak\nffffffffc0000000 t helper\t[module]\nnonsense\n\n";
        assert_eq!(read(text, &mut symbols, &mut report), Form::Kallsyms);
        symbols.put(Form::Kallsyms, &mut profile, &mut report);
        let list = |map: &std::collections::BTreeMap<String, u64>| {
            map.iter().map(|(n, a)| format!("{n}={a:x}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(list(&profile.functions), "_text=ffffffff81000000 two=ffffffff81000040 two_1=ffffffff81000050");
        assert_eq!(list(&profile.constants), "fixed_percpu_data=0 init_task=ffffffff82000000 weak=ffffffff82000010");
        assert_eq!((report.repeated_symbols, report.module_symbols, report.bad_system_map_lines), (1, 1, 1));
    }

    #[test]
    fn a_list_of_zeros_has_no_symbols() {
        let mut symbols = Symbols::default();
        let text = b"0000000000000000 T _text\n0000000000000000 D init_task\n";
        assert_eq!(read(text, &mut symbols, &mut ConvertReport::default()), Form::SystemMap);
        assert!(symbols.is_empty());
    }
}
