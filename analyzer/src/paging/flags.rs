//! The flags of an entry, by the names that the manuals give them: Intel SDM volume 3, sections 4.3 to 4.5 and 28.3.2; Arm
//! DDI 0487, section D8.3.

use super::AddressSpace;
use super::spec::Entries;
use super::walk::{Meaning, Step};

/// Flags of one bit, lowest first.
type Names = &'static [(u32, &'static str)];

const X86: Names = &[(0, "P"), (1, "W"), (2, "U"), (3, "PWT"), (4, "PCD"), (5, "A")];
const X86_PAGE: Names = &[(6, "D"), (8, "G")];
const EPT: Names = &[(0, "R"), (1, "W"), (2, "X")];
const EPT_PAGE: Names = &[(6, "IPAT"), (8, "A"), (9, "D"), (10, "UX")];
/// AP[1] and AP[2] are told by what they do.
const A64_PAGE: Names = &[
    (6, "EL0"),
    (7, "RO"),
    (10, "AF"),
    (11, "nG"),
    (50, "GP"),
    (51, "DBM"),
    (52, "Contiguous"),
    (53, "PXN"),
    (54, "UXN"),
];
const A64_TABLE: Names = &[(59, "PXNTable"), (60, "UXNTable"), (63, "NSTable")];

impl AddressSpace<'_> {
    /// The flags of a step's entry, blanks between them; of one that is not present, what the operating system keeps there.
    pub fn flags(&self, step: &Step) -> String {
        if !step.is_hardware() {
            let unread = step.meaning == Meaning::NotInImage;
            return if unread { String::new() } else { self.software.describe(step.entry).unwrap_or_default() };
        }
        let entry = step.entry;
        let is_page = matches!(step.meaning, Meaning::Page(..));
        let lowest = self.spec.levels.last().is_none_or(|level| level.name == step.level);
        let mut flags: Vec<String> = Vec::new();
        let mut add = |names: &[(u32, &'static str)]| {
            flags.extend(names.iter().filter(|(bit, _)| entry >> bit & 1 == 1).map(|(_, name)| (*name).to_owned()));
        };
        match self.spec.entries {
            Entries::X86 => {
                add(X86);
                if is_page {
                    add(X86_PAGE);
                    // In large pages bit 7 is PS, and PAT moves to bit 12.
                    add(if lowest { &[(7, "PAT")] } else { &[(7, "PS"), (12, "PAT")] });
                }
                if let Some(bit) = self.spec.c_bit {
                    add(&[(bit, "C")]);
                }
                if self.spec.entry_bytes == 8 {
                    add(&[(63, "NX")]);
                    let key = entry >> 59 & 0xf;
                    if is_page && key != 0 {
                        flags.push(format!("PK={key}"));
                    }
                }
            }
            Entries::Ept => {
                add(EPT);
                if is_page {
                    add(EPT_PAGE);
                    flags.push(format!("MT={}", entry >> 3 & 7));
                }
            }
            Entries::Aarch64 if is_page => {
                add(A64_PAGE);
                flags.push(format!("Attr={}", entry >> 2 & 7));
                // With 52-bit addresses and pages of 4 or 16 KiB these bits are of the address.
                let moved = self.spec.frame_high.is_some_and(|high| high.from == 8);
                if !moved {
                    flags.push(format!("SH={}", entry >> 8 & 3));
                }
            }
            Entries::Aarch64 => {
                add(A64_TABLE);
                let access = entry >> 61 & 3;
                if access != 0 {
                    flags.push(format!("APTable={access}"));
                }
            }
        }
        flags.join(" ")
    }
}
