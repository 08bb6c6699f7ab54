//! VMware virtual machines: memory in a .vmem file, and the snapshot file beside it (.vmss of a suspended machine, .vmsn
//! of a snapshot) that says where its parts are; older products keep the memory inside the snapshot file.
//!
//! Source: see [`tags`]. The group `memory` has the regions: `regionPPN[i]` the first page of physical memory,
//! `regionPageNum[i]` the first page in the .vmem, `regionSize[i]` pages. Without regions an address is an offset; that
//! memory of an ARM machine (`Platform` 3 in the group `Checkpoint`) then begins at 2 GiB is LeechCore's word alone.

mod tags;

use super::run_layer::{Declared, RunLayer, end_of};
use super::vote::{Layer, Probe, Vote};
use super::{Hints, PhysicalMemory, array};
use crate::addr::Pa;
use std::collections::BTreeMap;
use std::sync::Arc;
use tags::{Tag, groups, tags, version};

/// The name in the voting log and in `Options::format`.
pub(super) const NAME: &str = "VMware";

const PAGE_BYTES: u64 = 4096;
/// Above this address a PC has devices, up to 4 GiB.
const PCI_HOLE: u64 = 3 << 30;
const PLATFORM_ARM: u64 = 3;
const ARM_RAM: u64 = 2 << 30;

/// What a snapshot file says.
struct Snapshot {
    /// In pages: first page of physical memory, first page in the .vmem, count.
    regions: Vec<[u64; 3]>,
    platform: Option<u64>,
    /// Memory inside the snapshot file.
    inline: Option<Tag>,
    hints: Hints,
    warnings: Vec<String>,
}

/// Answers whether the layer is a snapshot file, or the file is a .vmem.
pub(super) fn probe(probe: &Probe<'_>) -> Vote {
    let base = probe.base;
    if let Some(version) = array::<4>(base.as_ref(), 0).and_then(version) {
        return match Snapshot::read(base.as_ref(), version) {
            Ok(snapshot) => of_snapshot_file(probe, snapshot),
            Err(why) => Vote::Broken(why),
        };
    }
    let extension = probe.path.and_then(|path| path.extension());
    if !extension.is_some_and(|extension| extension.eq_ignore_ascii_case("vmem")) {
        return Vote::no("no VMware magic at the start, and not a .vmem file");
    }
    let mut warnings = Vec::new();
    for path in ["vmss", "vmsn"].iter().filter_map(|extension| probe.sibling(extension)) {
        let name = path.display();
        let sibling = match probe.open_sibling(&path) {
            Ok(sibling) => sibling,
            Err(error) => {
                warnings.push(format!("{name}, which says where the memory is, cannot be opened: {error}"));
                continue;
            }
        };
        let snapshot = array::<4>(sibling.as_ref(), 0).and_then(version).ok_or_else(|| "it has no VMware magic".into());
        match snapshot.and_then(|version| Snapshot::read(sibling.as_ref(), version)) {
            Ok(mut snapshot) => {
                snapshot.hints.facts.insert(0, ("VMware snapshot".into(), name.to_string()));
                snapshot.warnings.splice(0..0, warnings);
                return layer(base, 0, end_of(base.as_ref()), snapshot);
            }
            Err(why) => warnings.push(format!("{name}, which says where the memory is, cannot be read: {why}")),
        }
    }
    if end_of(base.as_ref()) > PCI_HOLE {
        warnings.push(
            "there is no readable .vmss or .vmsn file beside it, which says where its parts are: on a machine with more \
             than 3 GiB of memory the addresses from there on are wrong"
                .into(),
        );
    }
    let whole = Snapshot { regions: Vec::new(), platform: None, inline: None, hints: Hints::default(), warnings };
    layer(base, 0, end_of(base.as_ref()), whole)
}

/// The layer of a snapshot file that was opened itself.
fn of_snapshot_file(probe: &Probe<'_>, mut snapshot: Snapshot) -> Vote {
    if let Some(memory) = snapshot.inline.take() {
        if memory.memory_bytes != memory.bytes {
            return Vote::Broken(format!(
                "the memory at offset {:#x} is compressed ({} bytes of {}), which is not supported: take a snapshot \
                 without compression, or copy the .vmem",
                memory.offset, memory.bytes, memory.memory_bytes
            ));
        }
        return layer(probe.base, memory.offset, memory.bytes, snapshot);
    }
    let Some(path) = probe.sibling("vmem") else {
        return Vote::Broken("the memory is not in this file: the .vmem of the same name must be beside it".into());
    };
    match probe.open_sibling(&path) {
        Err(error) => Vote::Broken(format!("the memory is in {}, which cannot be opened: {error}", path.display())),
        Ok(vmem) => {
            snapshot.hints.facts.insert(0, ("memory".into(), path.display().to_string()));
            layer(&vmem, 0, end_of(vmem.as_ref()), snapshot)
        }
    }
}

/// The regions over `bytes` bytes of `base` from `offset` on.
fn layer(base: &Arc<dyn PhysicalMemory>, offset: u64, bytes: u64, mut snapshot: Snapshot) -> Vote {
    let warnings = &mut snapshot.warnings;
    let mut declared = Vec::new();
    let mut outside = 0;
    for [page, file_page, pages] in &snapshot.regions {
        let range = || {
            Some(Declared {
                start: page.checked_mul(PAGE_BYTES)?,
                bytes: pages.checked_mul(PAGE_BYTES)?,
                file_offset: file_page.checked_mul(PAGE_BYTES)?.checked_add(offset)?,
            })
        };
        match range() {
            Some(range) => declared.push(range),
            None => outside += 1,
        }
    }
    if outside > 0 {
        warnings.push(format!("{outside} region(s) left out: they reach behind 2^64"));
    }
    if snapshot.regions.is_empty() {
        let start = if snapshot.platform == Some(PLATFORM_ARM) { ARM_RAM } else { 0 };
        declared.push(Declared { start, bytes, file_offset: offset });
    }
    let layer = RunLayer::new(NAME, Arc::clone(base), &declared, warnings);
    if layer.runs().is_empty() {
        return Vote::Broken(format!("none of its {} regions holds memory", declared.len()));
    }
    Vote::Yes(Layer { memory: Arc::new(layer), warnings: snapshot.warnings, hints: snapshot.hints })
}

impl Snapshot {
    fn read(base: &dyn PhysicalMemory, version: u32) -> Result<Self, String> {
        let mut found =
            Self { regions: Vec::new(), platform: None, inline: None, hints: Hints::default(), warnings: Vec::new() };
        // By index: first page, page in the .vmem, count.
        let mut regions: BTreeMap<u32, [Option<u64>; 3]> = BTreeMap::new();
        let mut count = None;
        let mut control = BTreeMap::new();
        // Of groups with one name the first counts.
        let groups = groups(base)?;
        for group in ["memory", "Checkpoint", "cpu"].iter().filter_map(|name| groups.iter().find(|g| g.name == *name)) {
            let (tags, read) = tags(base, version, group);
            if let Err(why) = read {
                found.warnings.push(why);
            }
            for tag in tags {
                let index = tag.indices.first().copied().unwrap_or(0);
                match (group.name.as_str(), tag.name.as_str()) {
                    ("memory", "regionsCount") => count = tag.number(base),
                    ("memory", name @ ("regionPPN" | "regionPageNum" | "regionSize")) => {
                        let [page, file_page, pages] = regions.entry(index).or_default();
                        let place = match name {
                            "regionPPN" => page,
                            "regionPageNum" => file_page,
                            _ => pages,
                        };
                        *place = tag.number(base);
                    }
                    ("memory", "Memory") => found.inline = Some(tag),
                    ("Checkpoint", "Platform") => found.platform = tag.number(base),
                    ("Checkpoint", "memSize") => {
                        let fact = tag.number(base).map(|mib| ("memory size".into(), format!("{mib} MiB")));
                        found.hints.facts.extend(fact);
                    }
                    // CR3 of each processor: two indices, the second the register's number.
                    ("cpu", "CR64" | "CR") if tag.indices.get(1) == Some(&3) => {
                        if let Some(cr3) = tag.number(base).filter(|&cr3| cr3 != 0) {
                            control.entry(index).or_insert(cr3);
                        }
                    }
                    ("cpu", "hv:ttbrEL1") if tag.indices.last() == Some(&0) => {
                        if let Some(table) = tag.number(base).filter(|&table| table != 0) {
                            control.entry(index).or_insert(table);
                        }
                    }
                    _ => {}
                }
            }
        }
        found.hints.dtbs.extend(control.into_values().map(Pa));
        found.take_regions(count, &regions);
        Ok(found)
    }

    fn take_regions(&mut self, count: Option<u64>, regions: &BTreeMap<u32, [Option<u64>; 3]>) {
        // Without a count, and with the count 0, the file is one piece whatever else stands there.
        let count = count.unwrap_or(0);
        for (_, region) in regions.iter().filter(|&(&index, _)| u64::from(index) < count) {
            match region {
                [Some(page), Some(file_page), Some(pages)] => self.regions.push([*page, *file_page, *pages]),
                _ => self.warnings.push("a region without address, place or length is left out".into()),
            }
        }
        if (self.regions.len() as u64) < count {
            self.warnings.push(format!("{count} regions are declared; {} are there", self.regions.len()));
        }
    }
}

#[cfg(test)]
mod tests;
