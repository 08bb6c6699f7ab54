//! The memory manager: where a build's page-table entries have what they say when they are not present.

use crate::addr::Va;
use crate::object::Types;
use crate::paging::{AddressSpace, Field, PagingSpec, Software, Swizzle, WindowsPtes};
use quaid_profile::{Error, Type};
use std::sync::Arc;

/// Windows has 16 page files at most (`MAX_PAGE_FILES`).
const MAX_PAGEFILES: u64 = 16;

/// The fields of `_MMPTE`'s variants, out of the profile; those of the layout's usual form where the profile lacks them.
pub(crate) fn ptes(types: &Types<'_>, spec: &PagingSpec) -> Result<WindowsPtes, Error> {
    let field = |structure: &str, member: &str| {
        let place = types.find(structure, member)?;
        Ok::<_, Error>(place.and_then(|place| match place.ty {
            Type::BitField { start, end, .. } => {
                let first = u32::try_from(place.offset.checked_mul(8)?.checked_add(start)?).ok()?;
                let bits = u32::try_from(end.checked_sub(start)?).ok()?;
                (first < 64 && (1..=64 - first).contains(&bits)).then(|| Field::new(first, bits))
            }
            _ => None,
        }))
    };
    let swizzled = types.find("_MMPTE_SOFTWARE", "SwizzleBit")?.is_some();
    let usual = match (spec.entry_bytes, spec.address_bits) {
        (4, _) => WindowsPtes::x86(),
        (_, 32) => WindowsPtes::pae(),
        _ => WindowsPtes::amd64(swizzled),
    };
    let known = types.structure("_MMPTE_SOFTWARE")?.is_some();
    Ok(WindowsPtes {
        pagefile_number: field("_MMPTE_SOFTWARE", "PageFileLow")?.unwrap_or(usual.pagefile_number),
        pagefile_page: field("_MMPTE_SOFTWARE", "PageFileHigh")?.unwrap_or(usual.pagefile_page),
        prototype: field("_MMPTE_PROTOTYPE", "ProtoAddress")?.or(usual.prototype),
        subsection: field("_MMPTE_SUBSECTION", "SubsectionAddress")?.or(usual.subsection),
        // A build whose entries have no SwizzleBit mixes nothing with them.
        swizzle: if known && !swizzled { Swizzle::Mask(0) } else { Swizzle::Unknown },
        ..usual
    })
}

/// The same address space with what the kernel at `base` itself says of its entries: the mask that it mixes with them, and
/// which page file stands for the compressed store. What cannot be read stays as it was.
pub(crate) fn with_state<'m>(space: &AddressSpace<'m>, types: &Types<'_>, base: Va) -> Result<AddressSpace<'m>, Error> {
    let Software::Windows(ptes) = space.software() else { return Ok(space.clone()) };
    let mut ptes = WindowsPtes::clone(ptes);
    let symbol =
        |name: &str| Ok::<_, Error>(types.profile().symbol(name)?.map(|found| base.wrapping_add(found.address)));
    if ptes.swizzle == Swizzle::Unknown
        && let Some(at) = symbol("MiState")?
        && let Some(place) = types.find("_MI_SYSTEM_INFORMATION", "Hardware.InvalidPteMask")?
        && let Ok(mask) = space.read_u64(at.wrapping_add(place.offset))
    {
        ptes.swizzle = Swizzle::Mask(mask);
    }
    let table = match symbol("MiSystemPartition")? {
        Some(at) => types.find("_MI_PARTITION", "Vp.PagingFile")?.map(|place| at.wrapping_add(place.offset)),
        None => symbol("MmPagingFile")?,
    };
    if let Some(table) = table
        && let Some(place) = types.find("_MMPAGING_FILE", "VirtualStorePagefile")?
        && let Type::BitField { start, .. } = place.ty
    {
        let pointer_bytes = types.profile().pointer_bytes();
        for number in 0..MAX_PAGEFILES {
            let mut pointer = [0; 8];
            let part = pointer.get_mut(..pointer_bytes as usize).unwrap_or_default();
            let Ok(()) = space.read(table.wrapping_add(number * pointer_bytes), part) else { break };
            let file = Va(u64::from_le_bytes(pointer));
            let flags = space.read_u32(file.wrapping_add(place.offset)).unwrap_or(0);
            if file != Va(0) && flags.checked_shr(start as u32).unwrap_or(0) & 1 == 1 {
                ptes.stores |= 1 << number;
            }
        }
    }
    Ok(space.with_software(Software::Windows(Arc::new(ptes))))
}
