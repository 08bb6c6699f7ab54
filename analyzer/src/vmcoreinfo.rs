//! VMCOREINFO: what a Linux kernel tells those who read dumps of it, lines "key=value" (`kernel/vmcore_info.c`).

use crate::addr::Pa;
use crate::image::PhysicalMemory;
use crate::scan::find_all;
use quaid_profile::BuildId;
use std::collections::BTreeMap;

/// How many places that begin as the text does are looked at.
const MAX_PLACES: usize = 4096;
/// `VMCOREINFO_BYTES`: the kernel has a page for it.
const MAX_BYTES: usize = 4096;

/// How it begins: the release follows.
pub(crate) const START: &[u8] = b"OSRELEASE=";

/// Its keys and values, as they stand there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VmcoreInfo(pub BTreeMap<String, String>);

impl VmcoreInfo {
    /// Reads the text up to its first zero byte.
    pub fn parse(text: &[u8]) -> Self {
        let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
        let text = String::from_utf8_lossy(text);
        let lines = text.lines().filter_map(|line| line.split_once('='));
        Self(lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    /// Those that the kernels of this release have written down in memory; copies of them too, in ascending order.
    pub fn in_memory(memory: &dyn PhysicalMemory, release: &str) -> impl Iterator<Item = Self> {
        Self::at_places(memory, find_all(memory, START), release)
    }

    /// The same by the places at which [`START`] is.
    pub(crate) fn at_places(
        memory: &dyn PhysicalMemory,
        places: impl Iterator<Item = Pa>,
        release: &str,
    ) -> impl Iterator<Item = Self> {
        let start = [START, release.as_bytes(), b"\n"].concat();
        let of_release = places.filter(move |&at| {
            let mut text = vec![0; start.len()];
            memory.read(at, &mut text).is_ok() && text == start
        });
        of_release.take(MAX_PLACES).map(|at| {
            let mut text = [0; MAX_BYTES];
            // What cannot be read is zero, and ends the text.
            let _ = memory.read(at, &mut text);
            Self::parse(&text)
        })
    }

    /// The build-id; kernels before 5.9 do not note it.
    pub fn build_id(&self) -> Option<BuildId> {
        self.text("BUILD-ID")?.parse().ok()
    }

    /// What stands behind this key.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// A number in hex, with or without `0x`: of a `SYMBOL`, of `KERNELOFFSET`.
    pub fn hex(&self, key: &str) -> Option<u64> {
        let text = self.text(key)?;
        u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
    }

    /// A `NUMBER`: decimal or hex after `0x`; a negative one gives its two's complement.
    pub fn number(&self, key: &str) -> Option<u64> {
        let text = self.text(key)?;
        match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => text.parse::<i64>().map(i64::cast_unsigned).ok().or_else(|| text.parse().ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::testing::TestMemory;

    #[test]
    fn the_texts_of_a_release_are_found_and_end_where_memory_does() {
        let text = "OSRELEASE=6.1.0\nPAGESIZE=4096\nSYMBOL(_stext)=ffff800008010000\nNUMBER(phys_base)=-4096\n";
        let mut first = vec![0; 0x1000];
        first[0x10..0x10 + text.len()].copy_from_slice(text.as_bytes());
        let mut last = vec![b'.'; 0x1000];
        last[0xff0..].copy_from_slice(&b"OSRELEASE=6.1.0\n"[..16]);
        let memory = TestMemory::new(vec![(0x1000, first), (0x5000, b"OSRELEASE=6.1.0-1\n".to_vec()), (0x7000, last)]);
        let found: Vec<VmcoreInfo> = VmcoreInfo::in_memory(&memory, "6.1.0").collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].0.len(), 4);
        assert_eq!(found[0].hex("SYMBOL(_stext)"), Some(0xffff_8000_0801_0000));
        assert_eq!(found[0].number("NUMBER(phys_base)"), Some(u64::MAX - 4095));
        assert_eq!(found[0].number("PAGESIZE"), Some(4096));
        assert_eq!((found[1].0.len(), found[1].text("OSRELEASE")), (1, Some("6.1.0")));
    }
}
