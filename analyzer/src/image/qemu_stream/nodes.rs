//! Which blocks are the machine's memory: one, or one for each NUMA node. The others are video memory, ROMs and tables.
//!
//! Nodes follow each other in the machine by their numbers (QEMU's `hw/core/numa.c`), and blocks stand in a stream by their
//! size. libvirt names a node's block by the number of the node, `ram-node0`; people number theirs too.
//!
//! What was plugged in (DIMMs, which libvirt names `memdimm0`, and virtio-mem) is behind them, at addresses of which the stream
//! has none.

use super::Block;
use std::collections::BTreeMap;

/// Names that QEMU's machines and libvirt give to the memory of a machine in one block.
const MAIN: [&str; 5] = ["pc.ram", "ram", "mach-virt.ram", "microvm.ram", "riscv_virt_board.ram"];
/// What libvirt names the memory of a node, without its number.
const NODE: &str = "ram-node";

/// A name without the number at its end, and the number; 0 where there is none.
fn numbered(name: &str) -> (&str, u64) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem, name.get(stem.len()..).and_then(|number| number.parse().ok()).unwrap_or_default())
}

/// Takes the machine's memory out of the blocks, nodes as one block behind the other. `total` is how much memory the machine
/// says it has, without what was plugged in: names that nobody knows are believed when it is theirs.
pub(super) fn take_main(blocks: &mut Vec<Block>, page_bytes: u64, total: Option<u64>) -> Result<Block, String> {
    // What has the same name but for the number: the numbers, and which blocks they are.
    let mut families: BTreeMap<&str, Vec<(u64, usize)>> = BTreeMap::new();
    for (index, Block { name, .. }) in blocks.iter().enumerate() {
        let (stem, number) = numbered(name);
        families.entry(stem).or_default().push((number, index));
    }
    for family in families.values_mut() {
        family.sort_unstable();
    }
    // Of one name the first ones that have what the machine says: what was plugged in may be numbered on.
    let told = families.iter().filter_map(|(&stem, family)| {
        let mut bytes = 0_u64;
        let last = family.iter().position(|&(_, index)| {
            bytes = bytes.saturating_add(blocks.get(index).map_or(0, |block| block.bytes));
            total == Some(bytes)
        })?;
        Some((stem, family.get(..=last)?.to_vec()))
    });
    let told: Vec<_> = told.collect();
    let is_known = |stem: &str| MAIN.contains(&stem) || stem == NODE || stem.starts_with("/objects/");
    let only = if let [only] = &told[..] { Some(only) } else { None };
    let found = told.iter().find(|(stem, _)| is_known(stem)).or(only).cloned();
    let Some((_, family)) = found.or_else(|| families.into_iter().find(|(stem, _)| is_known(stem))) else {
        let names: Vec<&str> = blocks.iter().map(|block| block.name.as_str()).collect();
        let why = "; the memory of NUMA nodes is known when their names differ in a number at the end alone";
        return Err(format!("none of its blocks of memory is known: {}{why}", names.join(", ")));
    };
    let mut main = Block { name: String::new(), bytes: 0, pages: Vec::new() };
    for &(_, index) in &family {
        let Some(Block { name, bytes, pages }) = blocks.get_mut(index) else { continue };
        // A block that the stream cannot have as a whole was cut; only the last one may be.
        if main.pages.len() as u64 != main.bytes / page_bytes {
            return Err(format!("its block {} has {} bytes, more than the stream can have", main.name, main.bytes));
        }
        main.name = if main.name.is_empty() { name.clone() } else { format!("{}, {name}", main.name) };
        main.bytes = main.bytes.checked_add(*bytes).ok_or("its blocks are too large")?;
        main.pages.append(pages);
    }
    let mut index = 0..;
    blocks.retain(|_| index.next().is_some_and(|index| family.iter().all(|&(_, taken)| taken != index)));
    Ok(main)
}

/// What to say of blocks that may have been plugged in: of those that are left, the ones that a person or libvirt named. Video
/// memory, flash and ROMs have the names of QEMU's own, with a dot or a path in it.
pub(super) fn plugged(blocks: &[Block]) -> Option<String> {
    let own = |name: &str| !name.strip_prefix("/objects/").unwrap_or(name).contains(['.', '/']);
    let named = blocks.iter().filter(|block| own(&block.name));
    let named: Vec<String> = named.map(|Block { name, bytes, .. }| format!("{name} ({bytes} bytes)")).collect();
    (!named.is_empty()).then(|| {
        format!(
            "memory is left out, because a stream does not say where in the machine it was plugged in: {}; an ELF core does \
             (dump-guest-memory, virsh dump --memory-only)",
            named.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::Source;
    use super::*;

    fn blocks(all: &[(&str, u64)]) -> Vec<Block> {
        let block = |(index, &(name, pages)): (usize, &(&str, u64))| Block {
            name: name.into(),
            bytes: pages * 0x1000,
            pages: vec![Source::below(index as u64); pages as usize],
        };
        all.iter().enumerate().map(block).collect()
    }

    /// The name of the memory and the first of the sources of its blocks; names of what is left.
    fn taken(all: &[(&str, u64)], pages: Option<u64>) -> Result<(String, Vec<u64>, Vec<String>), String> {
        let mut blocks = blocks(all);
        let mut main = take_main(&mut blocks, 0x1000, pages.map(|pages| pages * 0x1000))?;
        assert_eq!(main.bytes, main.pages.len() as u64 * 0x1000);
        main.pages.dedup_by_key(|source| source.0);
        Ok((
            main.name,
            main.pages.into_iter().map(|source| source.0).collect(),
            blocks.into_iter().map(|block| block.name).collect(),
        ))
    }

    #[test]
    fn nodes_follow_each_other_by_their_numbers() {
        let nodes = [("ram-node10", 5), ("ram-node2", 3), ("pc.bios", 1), ("ram-node0", 2)];
        let expected = Ok(("ram-node0, ram-node2, ram-node10".into(), vec![3, 1, 0], vec!["pc.bios".into()]));
        assert_eq!(taken(&nodes, Some(10)), expected);
        assert_eq!(taken(&nodes, None), expected);
        let own = [("m1", 5), ("m0", 3), ("vga.vram", 4), ("/rom@etc/acpi/tables", 1)];
        assert_eq!(taken(&own, Some(8)).map(|main| main.0), Ok("m0, m1".into()));
    }

    #[test]
    fn what_was_plugged_in_is_told_and_not_taken_for_a_node() {
        let rest = |all: &[(&str, u64)], total| {
            let mut blocks = blocks(all);
            let main = take_main(&mut blocks, 0x1000, Some(total * 0x1000_u64)).expect("the main memory");
            (main.name, plugged(&blocks))
        };
        for (main, dimm) in
            [("pc.ram", "memdimm0"), ("ram-node0", "memdimm0"), ("ram0", "ram1"), ("m", "m2"), ("pc.ram", "/objects/d")]
        {
            let (name, told) = rest(&[(main, 8), (dimm, 3), ("vga.vram", 4), ("/rom@etc/acpi/tables", 1)], 8);
            let told = told.unwrap_or_default();
            assert!(name == main && told.contains(&format!("plugged in: {dimm} (12288 bytes); an ELF")), "{told}");
        }
        let whole = rest(&[("m0", 8), ("m1", 3), ("0000:00:02.0/vga.vram", 4), ("system.flash0", 1)], 11);
        assert_eq!(whole, ("m0, m1".into(), None));
    }

    #[test]
    fn names_that_nobody_knows_are_believed_when_the_machine_says_so_alone() {
        let own = [("m1", 5), ("m0", 3), ("vga.vram", 4)];
        assert!(
            taken(&own, None)
                .is_err_and(|why| why.contains("none of its blocks of memory is known: m1, m0, vga.vram; "))
        );
        assert!(taken(&own, Some(7)).is_err());
        assert_eq!(taken(&[("mem", 8), ("pc.rom", 1)], Some(8)).map(|main| main.0), Ok("mem".into()));
        assert_eq!(taken(&[("pc.ram", 8), ("mem", 9)], Some(9)).map(|main| main.0), Ok("mem".into()));
        assert_eq!(taken(&[("pc.ram", 8), ("mem", 9)], Some(7)).map(|main| main.0), Ok("pc.ram".into()));
        assert!(taken(&[("mem", 8), ("vga.vram", 8)], Some(8)).is_err(), "which one is it");
        assert_eq!(taken(&[("/objects/ram-node0", 8)], None).map(|main| main.0), Ok("/objects/ram-node0".into()));
    }

    #[test]
    fn a_block_that_was_cut_is_the_last_one() {
        let mut all = blocks(&[("ram-node0", 4), ("ram-node1", 4)]);
        all[1].bytes = 1 << 40;
        assert!(take_main(&mut all, 0x1000, None).is_ok());
        let mut all = blocks(&[("ram-node0", 4), ("ram-node1", 4)]);
        all[0].bytes = 1 << 40;
        assert!(take_main(&mut all, 0x1000, None).is_err_and(|why| why.contains("more than the stream can have")));
    }
}
