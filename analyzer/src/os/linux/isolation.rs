//! Page-table isolation on x86-64 (arch/x86/mm/pti.c, arch/x86/include/asm/pgtable.h).

use crate::addr::Pa;
use crate::paging::AddressSpace;
use quaid_profile::Arch;

/// `PTI_USER_PGTABLE_BIT`: the two top page tables lie in one block of 8 KiB, the kernel's first.
const USER_HALF: u64 = 0x1000;
/// The entries of a top page table that are of the user's addresses.
const USER_ENTRIES: usize = 256;
const PRESENT: u64 = 1;
/// The kernel forbids itself to run what is the user's.
const NX: u64 = 1 << 63;

/// The page table under which the process with the top page table `root` runs its own code, when the kernel hides from it:
/// what is behind `root` shows the same user memory, and less of the kernel's.
pub(crate) fn user_half(space: &AddressSpace<'_>, arch: Option<Arch>, root: Pa) -> Option<Pa> {
    if arch.is_some_and(|arch| arch != Arch::Amd64) || root.0 & (2 * USER_HALF - 1) != 0 {
        return None;
    }
    let mut tables = [0; 2 * USER_HALF as usize];
    space.memory().read(root, &mut tables).ok()?;
    let entries: Vec<u64> = tables.as_chunks::<8>().0.iter().map(|entry| u64::from_le_bytes(*entry)).collect();
    let (kernel, user) = entries.split_at_checked(2 * USER_ENTRIES)?;
    let present = |entries: &[u64]| entries.iter().filter(|&entry| entry & PRESENT != 0).count();
    let (kernel_low, kernel_high) = kernel.split_at_checked(USER_ENTRIES)?;
    let (user_low, user_high) = user.split_at_checked(USER_ENTRIES)?;
    let same = kernel_low.iter().zip(user_low).all(|(kernel, user)| kernel & !NX == user & !NX);
    let hidden = present(user_high) < present(kernel_high);
    (same && hidden && present(kernel_low) > 0).then(|| root.wrapping_add(USER_HALF))
}
