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

/// How many bytes of memory a PC has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PcMemory {
    /// Below 4 GiB.
    pub(super) below: u64,
    /// Above.
    pub(super) above: u64,
}

/// How much memory a PC has, as its CMOS tells the BIOS: above 4 GiB in registers 0x5b to 0x5d, from 16 MiB on in 0x34 and
/// 0x35, both in 64 KiB; from 1 MiB on in 0x30 and 0x31, in KiB. The section of the clock is searched, since sections
/// cannot be skipped without QEMU's own knowledge of them.
pub(super) fn pc_memory(base: &dyn PhysicalMemory, from: u64) -> Option<PcMemory> {
    /// The section's name with its length, its instance and its version; its first field is the CMOS.
    const CLOCK: &[u8] = b"\x0bmc146818rtc\0\0\0\0\0\0\0\x03";
    const BLOCK: u64 = 1 << 20;
    const MIB: u64 = 1 << 20;
    let end = end_of(base).min(from.saturating_add(MAX_DEVICE_BYTES));
    let mut at = from;
    while at < end {
        // A block, and what a name that begins at its end goes on with.
        let mut bytes = vec![0; (BLOCK + CLOCK.len() as u64).min(end - at) as usize];
        base.read(Pa(at), &mut bytes).ok()?;
        if let Some(found) = memchr::memmem::find(&bytes, CLOCK) {
            let cmos: [u8; 0x5e] = array(base, at + (found + CLOCK.len()) as u64)?;
            let number = |low: usize, bytes: usize| {
                let bytes = cmos.iter().skip(low).take(bytes);
                bytes.rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
            };
            let below = match number(0x34, 2) {
                0 => MIB + (number(0x30, 2) << 10),
                pieces => 16 * MIB + (pieces << 16),
            };
            return Some(PcMemory { below, above: number(0x5b, 3) << 16 });
        }
        at += BLOCK;
    }
    None
}
