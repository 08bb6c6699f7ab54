//! Where QEMU's machines have their memory.

use crate::addr::Pa;
use crate::image::run_layer::end_of;
use crate::image::{PhysicalMemory, array};

const GIB: u64 = 1 << 30;
/// The device sections behind the memory are searched this far.
const MAX_DEVICE_BYTES: u64 = 64 << 20;

/// A part of the main block, and where it is in the machine.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub(super) start: u64,
    pub(super) inside: u64,
    pub(super) bytes: u64,
}

/// Where the main block is in the machine.
pub(super) fn place(
    machine: &str,
    name: &str,
    bytes: u64,
    above: Option<u64>,
    warnings: &mut Vec<String>,
) -> Vec<Part> {
    let whole = |start| vec![Part { start, inside: 0, bytes }];
    let split = |low: u64| {
        let low = low.min(bytes);
        let high = Part { start: 4 * GIB, inside: low, bytes: bytes - low };
        vec![Part { start: 0, inside: 0, bytes: low }, high]
    };
    match name {
        "mach-virt.ram" => return whole(GIB),
        "riscv_virt_board.ram" => return whole(2 * GIB),
        _ => {}
    }
    if let Some(above) = above.filter(|&above| above <= bytes && bytes - above <= 4 * GIB) {
        return split(bytes - above);
    }
    // Room for devices below 4 GiB: what the machine leaves unless `max-ram-below-4g` says otherwise.
    let (room, rest) = if machine.contains("q35") {
        (0xb000_0000, 2 * GIB)
    } else if machine == "pc" || machine.starts_with("pc-") {
        (0xe000_0000, 3 * GIB)
    } else if machine == "microvm" {
        (3 * GIB, 3 * GIB)
    } else if machine == "virt" || machine.starts_with("virt-") {
        return whole(GIB);
    } else {
        if !matches!(machine, "none" | "isapc") {
            warnings.push(format!("the machine \"{machine}\" is not known: its memory is taken to begin at 0"));
        }
        return whole(0);
    };
    split(if bytes < room { bytes } else { rest })
}

/// How many bytes of memory a PC has above 4 GiB, as its CMOS tells the BIOS: registers 0x5b to 0x5d, in 64 KiB. The
/// section of the clock is searched, since sections cannot be skipped without QEMU's own knowledge of them.
pub(super) fn pc_memory_above(base: &dyn PhysicalMemory, from: u64) -> Option<u64> {
    /// The section's name with its length, its instance and its version; its first field is the CMOS.
    const CLOCK: &[u8] = b"\x0bmc146818rtc\0\0\0\0\0\0\0\x03";
    const BLOCK: u64 = 1 << 20;
    let end = end_of(base).min(from.saturating_add(MAX_DEVICE_BYTES));
    let mut at = from;
    while at < end {
        // A block, and what a name that begins at its end goes on with.
        let mut bytes = vec![0; (BLOCK + CLOCK.len() as u64).min(end - at) as usize];
        base.read(Pa(at), &mut bytes).ok()?;
        if let Some(found) = memchr::memmem::find(&bytes, CLOCK) {
            let cmos = at + (found + CLOCK.len()) as u64;
            let [low, middle, high] = array(base, cmos + 0x5b)?;
            return Some(u64::from(u32::from_le_bytes([low, middle, high, 0])) << 16);
        }
        at += BLOCK;
    }
    None
}
