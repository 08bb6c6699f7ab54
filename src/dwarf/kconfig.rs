//! The kernel's configuration: lines `CONFIG_NAME=value` (Documentation/kbuild/kconfig-language in the kernel's tree).

use super::ConvertReport;
use flate2::read::GzDecoder;
use quaid_profile::Profile;
use std::io::Read as _;

/// What stands before the packed configuration that kernels with `CONFIG_IKCONFIG=y` carry (`kernel/configs.c`), with the
/// first bytes of gzip.
pub(super) const MARK: &[u8] = b"IKCFG_ST\x1f\x8b";
/// A kernel's configuration has 300 KiB, and a fifth of that packed.
pub(super) const MAX_PACKED_BYTES: usize = 1 << 20;
const MAX_BYTES: u64 = 8 << 20;
/// How many places that look like the start of one are tried.
const MAX_TRIED: usize = 64;

/// The configuration that a kernel carries in these bytes of it.
pub(super) fn embedded(bytes: &[u8]) -> Option<Vec<u8>> {
    memchr::memmem::find_iter(bytes, MARK).take(MAX_TRIED).find_map(|at| embedded_at(bytes.get(at..)?))
}

/// The configuration whose mark `bytes` begin with.
pub(super) fn embedded_at(bytes: &[u8]) -> Option<Vec<u8>> {
    let packed = bytes.get(..MAX_PACKED_BYTES).unwrap_or(bytes).get(b"IKCFG_ST".len()..)?;
    let mut text = Vec::new();
    GzDecoder::new(packed).take(MAX_BYTES).read_to_end(&mut text).ok()?;
    memchr::memmem::find(&text, b"CONFIG_").map(|_| text)
}

/// Adds the options of a config file to `$CONFIG`: names with their `CONFIG_`, values without quotes. An option that
/// "is not set" stands in a comment and is absent.
pub(super) fn read(text: &[u8], profile: &mut Profile, report: &mut ConvertReport) {
    for line in text.split(|&byte| byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once('=') {
            Some((name, value)) if name.starts_with("CONFIG_") => {
                profile.config.insert(name.to_owned(), unquote(value));
            }
            _ => report.bad_config_lines += 1,
        }
    }
}

/// Whether `text` begins as a config file does.
pub(super) fn looks_like(text: &[u8]) -> bool {
    let mut lines = text.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    lines.any(|line| line.starts_with(b"CONFIG_") || line.starts_with(b"# CONFIG_"))
}

/// The value of a quoted text, in which Kconfig puts a backslash before `"` and `\`; other values as they are.
fn unquote(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_kernel_s_own_configuration_is_found_behind_what_only_looks_like_one() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packed.write_all(b"CONFIG_SMP=y\n").expect("packed");
        let packed = packed.finish().expect("packed");
        let kernel = [&b"code"[..], MARK, b"no gzip", b"IKCFG_ST", &packed, b"IKCFG_ED data"].concat();
        assert_eq!(embedded(&kernel).as_deref(), Some(&b"CONFIG_SMP=y\n"[..]));
        assert_eq!(embedded(kernel.get(..kernel.len() - 20).expect("longer")), None);
    }

    #[test]
    fn values_keep_their_equals_signs_and_lose_their_quotes() {
        let mut profile = Profile::default();
        let mut report = ConvertReport::default();
        let text = br#"#
# Linux/x86 6.1.192 Kernel Configuration
#
CONFIG_CMDLINE="root=/dev/sda1 say=\"a\\b\""
CONFIG_SMP=y
# CONFIG_DEBUG_FS is not set
CONFIG_EMPTY=""
CONFIG_NR_CPUS=64
stray
"#;
        assert!(looks_like(text));
        read(text, &mut profile, &mut report);
        let got: Vec<_> = profile.config.iter().map(|(name, value)| format!("{name}:{value}")).collect();
        assert_eq!(
            got,
            [r#"CONFIG_CMDLINE:root=/dev/sda1 say="a\b""#, "CONFIG_EMPTY:", "CONFIG_NR_CPUS:64", "CONFIG_SMP:y"]
        );
        assert_eq!(report.bad_config_lines, 1);
    }
}
