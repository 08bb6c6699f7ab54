//! Where a kernel for x86-64 is: its page tables show the banner at one place of the kernel's own range.

use super::{Kernel, Placed};
use crate::addr::Va;
use crate::guess::Options;
use crate::paging::{AMD64, AMD64_LA57, AddressSpace, LinuxPtes, Software};

/// `__START_KERNEL_map`: where the kernel's image is mapped, before it is moved (arch/x86/include/asm/page_64_types.h).
pub(super) const START_KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
/// The finest step of both moves (`CONFIG_PHYSICAL_ALIGN` is at least this).
const ALIGN: u64 = 0x20_0000;
/// `KERNEL_IMAGE_SIZE` with KASLR: how far the image can be moved.
pub(super) const IMAGE_BYTES: u64 = 0x4000_0000;
/// With page-table isolation a process has two top page tables, the user's one behind the kernel's
/// (`PTI_USER_PGTABLE_MASK`, arch/x86/include/asm/pgtable.h).
const USER_HALF: u64 = 0x1000;

/// Finds the kernel whose banner was seen.
pub(super) fn place<'m>(kernel: &Kernel<'_, 'm>, options: &Options) -> Result<Placed<'m>, String> {
    let banner = kernel.layout.banner;
    let root = match options.dtb {
        Some(dtb) => dtb,
        None => kernel.physical(kernel.page_tables()?).0,
    };
    let spec = if has_five_levels(kernel) { AMD64_LA57 } else { AMD64 };
    let spec = c_bit(kernel, options).map_or(spec, |bit| spec.with_c_bit(bit));
    let space_of = |root| AddressSpace::new(kernel.memory, &spec, Software::Linux(LinuxPtes::Amd64), root);
    let slide_of = |space: &AddressSpace<'_>| {
        let shows_banner = |slide: &u64| space.translate(Va(banner.wrapping_add(*slide))) == Ok(kernel.banner_at);
        match options.kernel_slide {
            Some(slide) => Some(slide).filter(shows_banner),
            None => (0..IMAGE_BYTES / ALIGN).map(|step| step * ALIGN).find(shows_banner),
        }
    };
    let mut space = space_of(root);
    let mut remark = String::new();
    let mut slide = slide_of(&space);
    // A CR3 that was taken while a program ran: it shows the kernel's code at most, and none of its data.
    if options.dtb.is_some() && root & USER_HALF != 0 && !shows_idle_task(kernel, &space, slide) {
        let kernel_half = space_of(root & !USER_HALF);
        let kernel_slide = slide_of(&kernel_half);
        if shows_idle_task(kernel, &kernel_half, kernel_slide) {
            remark = format!(", {} is the user's half of this page table", space.root());
            (space, slide) = (kernel_half, kernel_slide);
        }
    }
    let slide = slide.ok_or_else(|| {
        let (root, at) = (space.root(), kernel.banner_at);
        match options.kernel_slide {
            Some(slide) => {
                format!("the page tables at {root} do not show the banner at {at} for a slide of {slide:#x}")
            }
            None => format!("the page tables at {root} show the banner at {at} nowhere in the kernel's image"),
        }
    })?;
    check_physical_base(kernel, slide)?;
    Ok(Placed { space, slide, remark })
}

fn shows_idle_task(kernel: &Kernel<'_, '_>, space: &AddressSpace<'_>, slide: Option<u64>) -> bool {
    let at = kernel.layout.idle_name;
    slide.is_some_and(|slide| space.translate(Va(at.wrapping_add(slide))) == Ok(kernel.physical(at)))
}

/// Kernels that can use five levels keep a word that says whether they do.
fn has_five_levels(kernel: &Kernel<'_, '_>) -> bool {
    kernel.layout.five_levels.and_then(|at| kernel.bytes::<4>(at)).is_some_and(|word| word != [0; 4])
}

/// Which bit of entries says that memory is encrypted: the kernel keeps a mask of it, 0 where nothing is, and VMCOREINFO
/// tells it.
fn c_bit(kernel: &Kernel<'_, '_>, options: &Options) -> Option<u32> {
    let own = kernel.layout.encryption_mask.and_then(|at| kernel.bytes(at)).map(u64::from_le_bytes);
    let told = || options.hints.vmcoreinfo.number("NUMBER(sme_mask)");
    // Below are addresses that every machine uses, above flags.
    own.or_else(told)
        .filter(|mask| mask.is_power_of_two())
        .map(u64::trailing_zeros)
        .filter(|bit| (32..52).contains(bit))
}

/// The kernel's own note of its move must say the same.
fn check_physical_base(kernel: &Kernel<'_, '_>, slide: u64) -> Result<(), String> {
    let Some(at) = kernel.layout.phys_base else { return Ok(()) };
    let expected = kernel.physical(START_KERNEL_MAP).0.wrapping_sub(slide);
    match kernel.bytes::<8>(at).map(u64::from_le_bytes) {
        Some(seen) if seen != expected => {
            Err(format!("phys_base is {seen:#x}, and must be {expected:#x} for a kernel at this place"))
        }
        _ => Ok(()),
    }
}
