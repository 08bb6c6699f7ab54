//! System.map: one symbol a line, `ADDRESS TYPE NAME`, as `nm -n` prints it (scripts/mksysmap in the kernel's tree).

use super::ConvertReport;
use quaid_profile::Profile;

/// Adds the symbols of a System.map to `$CONSTANTS` and `$FUNCTIONS`. Of several symbols with one name the last one,
/// which has the highest address, is kept, as in Rekall. Lines of another form are counted.
pub(super) fn read(text: &[u8], profile: &mut Profile, report: &mut ConvertReport) {
    for line in text.split(|&byte| byte == b'\n') {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let Some((address, kind, name)) = fields(line) else {
            report.bad_system_map_lines += 1;
            continue;
        };
        let symbols = if is_function(kind) { &mut profile.functions } else { &mut profile.constants };
        if symbols.insert(name.to_owned(), address).is_some() {
            report.repeated_symbols += 1;
        }
    }
    // /proc/kallsyms, read without the right to, has the form of a System.map with all addresses 0.
    if profile.constants.values().chain(profile.functions.values()).all(|&address| address == 0) {
        profile.constants.clear();
        profile.functions.clear();
    }
}

/// Whether the first line of `text` is one of a System.map.
pub(super) fn looks_like(text: &[u8]) -> bool {
    text.split(|&byte| byte == b'\n').next().is_some_and(|line| fields(line).is_some())
}

/// `nm`'s letters: T is code (t, local), W and w are weak symbols, i is an indirect function. What is weak and an
/// object has a letter of its own (V).
fn is_function(kind: u8) -> bool {
    matches!(kind, b'T' | b't' | b'W' | b'w' | b'i')
}

fn fields(line: &[u8]) -> Option<(u64, u8, &str)> {
    let line = std::str::from_utf8(line).ok()?;
    let mut fields = line.split_ascii_whitespace();
    let (address, kind, name) = (fields.next()?, fields.next()?, fields.next()?);
    let hex = (8..=16).contains(&address.len()) && address.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !hex || fields.next().is_some() {
        return None;
    }
    match kind.as_bytes() {
        &[kind] if kind.is_ascii_alphabetic() || matches!(kind, b'?' | b'-') => {
            Some((u64::from_str_radix(address, 16).ok()?, kind, name))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_a_function_and_the_rest_a_constant() {
        let mut profile = Profile::default();
        let mut report = ConvertReport::default();
        let text = b"0000000000000000 A fixed_percpu_data\nffffffff81000000 T _text\nffffffff81000040 t two\nffffffff81000050 t two\r\n\
            ffffffff82000000 D init_task\nffffffff82000010 V weak\nffffffffc0000000 t helper [module]\nnonsense\n\n";
        read(text, &mut profile, &mut report);
        let list = |map: &std::collections::BTreeMap<String, u64>| {
            map.iter().map(|(n, a)| format!("{n}={a:x}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(list(&profile.functions), "_text=ffffffff81000000 two=ffffffff81000050");
        assert_eq!(list(&profile.constants), "fixed_percpu_data=0 init_task=ffffffff82000000 weak=ffffffff82000010");
        assert_eq!((report.repeated_symbols, report.bad_system_map_lines), (1, 2));
    }

    #[test]
    fn a_list_of_zeros_has_no_symbols() {
        let mut profile = Profile::default();
        read(b"0000000000000000 T _text\n0000000000000000 D init_task\n", &mut profile, &mut ConvertReport::default());
        assert!(profile.constants.is_empty() && profile.functions.is_empty());
    }
}
