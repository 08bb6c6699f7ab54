//! The notes that winpmem 1.x puts behind a raw image or ELF core.
//!
//! Source: Rekall's readers of the format. The block is text: a line `# PMEM`, a line `---`, `key: value` lines, a line
//! `...`. When a page file was appended, a second block at the end has `PreviousHeader`, the offset of the first, and
//! `PagefileOffset` and `PagefileSize`. The tool's text may be in the memory too, so that only a block that nothing but
//! padding follows counts; what is in front of the blocks and the page file is the image.

use super::fields::piece;
use super::run_layer::{Declared, RunLayer, end_of};
use super::vote::{Layer, Probe, Vote};
use super::{Hints, PhysicalMemory, pmem_yaml};
use std::sync::Arc;

/// The name in the voting log and in `Options::format`.
pub(super) const NAME: &str = "winpmem notes";

const START: &[u8] = b"# PMEM\n---\n";
const END: &[u8] = b"\n...\n";
/// How far from the end a block may begin, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Blocks that are followed.
const MAX_BLOCKS: usize = 8;

/// Answers whether the layer ends in winpmem's notes.
pub(super) fn probe(&Probe { base, .. }: &Probe<'_>) -> Vote {
    let end = end_of(base.as_ref());
    let tail_at = end.saturating_sub(MAX_BYTES);
    let Some(tail) = piece(base.as_ref(), tail_at, end - tail_at) else {
        return Vote::no("its end cannot be read");
    };
    let Some(start) = memchr::memmem::rfind(&tail, START) else {
        return Vote::no("no winpmem notes at the end");
    };
    let block = tail.get(start..).unwrap_or_default();
    let Some((mut text, padding)) = split(block) else { return Vote::no("winpmem notes without their end") };
    if padding.iter().any(|byte| !matches!(byte, 0 | b'\n' | b'\r')) {
        return Vote::no("winpmem notes, but not at the end");
    }
    let mut hints = Hints::default();
    let mut warnings = Vec::new();
    let mut at = tail_at + start as u64;
    for _ in 0..MAX_BLOCKS {
        pmem_yaml::take(&text, &mut hints);
        // A page file stands in front of the block that tells of it.
        at = number(&text, "PagefileOffset").filter(|&pagefile| pagefile < at).unwrap_or(at);
        let Some(previous) = number(&text, "PreviousHeader") else { break };
        let block = piece(base.as_ref(), previous, (end - previous.min(end)).min(MAX_BYTES));
        let before = block.as_deref().filter(|block| block.starts_with(START)).and_then(split);
        let Some((before, _)) = before.filter(|_| previous < at) else {
            warnings.push(format!("there are no winpmem notes at offset {previous:#x}, where there should be more"));
            break;
        };
        (at, text) = (previous, before);
    }
    let whole = Declared { start: 0, bytes: at, file_offset: 0 };
    let layer = RunLayer::new(NAME, Arc::clone(base), &[whole], &mut warnings);
    if layer.runs().is_empty() {
        return Vote::Broken("there is nothing in front of winpmem's notes".into());
    }
    Vote::Yes(Layer { memory: Arc::new(layer), warnings, hints })
}

/// The text of a block, and what follows it.
fn split(block: &[u8]) -> Option<(String, &[u8])> {
    let (text, behind) = block.split_at_checked(memchr::memmem::find(block, END)? + END.len())?;
    Some((String::from_utf8_lossy(text).into_owned(), behind))
}

/// The number that the text has for a key.
fn number(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?.trim();
    value.strip_prefix("0x").map_or_else(|| value.parse().ok(), |digits| u64::from_str_radix(digits, 16).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{Pa, Va};
    use crate::image::testing::TestMemory;

    const NOTES: &str = "# PMEM\n---\nacquisition_tool: 'WinPMEM 1.6.2'\nCR3: 0x0000187000\nNtBuildNumber: 0x1db1\n\
                         KernBase: 0xfffff80002a16000\nArch: AMD64\n...\n";

    fn vote(file: &[u8]) -> Vote {
        let base: Arc<dyn PhysicalMemory> = Arc::new(TestMemory::new(vec![(0, file.to_vec())]).mapped());
        probe(&Probe::new(&base, None, true))
    }

    fn opened(file: &[u8]) -> Layer {
        match vote(file) {
            Vote::Yes(layer) => layer,
            Vote::No(why) | Vote::Broken(why) => panic!("{why}"),
        }
    }

    #[test]
    fn the_notes_are_hints_and_no_memory() {
        let layer = opened(&[&[7; 5000], NOTES.as_bytes(), &[0; 100]].concat());
        assert_eq!(end_of(layer.memory.as_ref()), 5000);
        assert_eq!(
            (&layer.hints.dtbs[..], layer.hints.kernel_base),
            (&[Pa(0x18_7000)][..], Some(Va(0xffff_f800_02a1_6000)))
        );
        assert!(layer.hints.facts.contains(&("acquisition_tool".into(), "WinPMEM 1.6.2".into())));
        // The tool's own text within the memory.
        let within = [&[7; 5000], NOTES.as_bytes(), &[7; 100]].concat();
        assert!(matches!(vote(&within), Vote::No(_)));
        assert!(matches!(vote(&[&within[..], NOTES.as_bytes()].concat()), Vote::Yes(_)));
        assert!(matches!(vote(NOTES.as_bytes()), Vote::Broken(_)));
    }

    #[test]
    fn an_appended_page_file_is_no_memory_and_its_block_leads_to_the_first() {
        let memory = [&[7; 5000], NOTES.as_bytes()].concat();
        let block = |previous: usize| {
            let pagefile = memory.len();
            format!(
                "# PMEM\n---\nPreviousHeader: {previous:#x}\nPagefileOffset: {pagefile:#x}\nPagefileSize: 0x300\n...\n"
            )
        };
        let file = |previous| [&memory[..], &[9; 0x300], block(previous).as_bytes()].concat();
        let layer = opened(&file(5000));
        assert_eq!((end_of(layer.memory.as_ref()), layer.hints.dtbs.len()), (5000, 1));
        // To itself, to nowhere.
        for previous in [memory.len() + 0x300, 3, usize::MAX] {
            let layer = opened(&file(previous));
            assert_eq!(end_of(layer.memory.as_ref()), memory.len() as u64, "{previous:#x}");
            assert!(layer.warnings[0].contains("there are no winpmem notes"), "{:?}", layer.warnings);
        }
    }
}
