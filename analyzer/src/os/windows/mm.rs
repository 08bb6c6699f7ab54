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
            let flag = u32::try_from(start).ok().and_then(|start| flags.checked_shr(start));
            if file != Va(0) && flag.is_some_and(|flag| flag & 1 == 1) {
                ptes.stores |= 1 << number;
            }
        }
    }
    Ok(space.with_software(Software::Windows(Arc::new(ptes))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paging::AMD64;
    use crate::session::testing::memory;
    use quaid_profile::ProfileFile;

    /// Fields as builds 19041 and 7601 have them, in the places of the first.
    const STRUCTS: &str = r#"
        "_MMPTE_SOFTWARE": [8, {"SwizzleBit": [0, ["BitField", {"start_bit": 4, "end_bit": 5, "target": "unsigned long long"}]],
            "PageFileLow": [0, ["BitField", {"start_bit": 12, "end_bit": 16, "target": "unsigned long long"}]],
            "PageFileHigh": [0, ["BitField", {"start_bit": 32, "end_bit": 64, "target": "unsigned long long"}]]}],
        "_MMPTE_PROTOTYPE": [8, {"ProtoAddress": [0, ["BitField", {"start_bit": 16, "end_bit": 64, "target": "long long"}]]}],
        "_MI_HARDWARE_STATE": [392, {"InvalidPteMask": [192, ["unsigned long long"]]}],
        "_MI_SYSTEM_INFORMATION": [10000, {"Hardware": [5568, ["_MI_HARDWARE_STATE"]]}],
        "_MI_VISIBLE_PARTITION": [800, {"PagingFile": [32, ["Array", {"target": "Pointer", "target_args": {"target": "_MMPAGING_FILE"}, "count": 16}]]}],
        "_MI_PARTITION": [8000, {"Vp": [6912, ["_MI_VISIBLE_PARTITION"]]}],
        "_MMPAGING_FILE": [288, {"VirtualStorePagefile": [204, ["BitField", {"start_bit": 8, "end_bit": 9, "target": "unsigned short"}]]}]"#;

    fn profile(structs: &str) -> ProfileFile {
        let text = format!(
            r#"{{"$METADATA": {{"ProfileClass": "Nt", "arch": "AMD64"}}, "$STRUCTS": {{{structs}}},
            "$CONSTANTS": {{"MiState": 4096, "MiSystemPartition": 65536}}}}"#
        );
        ProfileFile::parse("made", text.as_bytes()).expect("a profile")
    }

    #[test]
    fn fields_mask_and_stores_are_what_the_kernel_says() {
        let profile = profile(STRUCTS);
        let types = Types::new(&profile);
        let ptes = ptes(&types, &AMD64).expect("fields");
        assert_eq!((ptes.pagefile_number, ptes.pagefile_page), (Field::new(12, 4), Field::new(32, 32)));
        assert_eq!((ptes.prototype, ptes.swizzle), (Some(Field::new(16, 48)), Swizzle::Unknown));
        let base = Va(0x4000);
        let mut memory = memory(0x4_0000);
        memory.put(0x4000 + 4096 + 5568 + 192, 0x2000_0000_0000);
        // Page file 0 is a file; 2 stands for the store.
        memory.put(0x4000 + 65536 + 6912 + 32, 0x3_0000);
        memory.put(0x4000 + 65536 + 6912 + 32 + 16, 0x3_1000);
        memory.put(0x3_1000 + 204, 0x0100);
        let space = AddressSpace::new(&memory, &AMD64, Software::Windows(Arc::new(ptes)), 0x1000);
        let Software::Windows(known) = with_state(&space, &types, base).expect("a profile").software().clone() else {
            panic!("no Windows")
        };
        assert_eq!((known.swizzle, known.stores), (Swizzle::Mask(0x2000_0000_0000), 0b100));
    }

    #[test]
    fn a_build_without_the_swizzle_bit_mixes_nothing_and_one_without_symbols_is_unknown() {
        let old = r#""_MMPTE_SOFTWARE": [8, {"PageFileLow": [0, ["BitField", {"start_bit": 1, "end_bit": 5, "target": "unsigned long long"}]]}]"#;
        let ptes = |structs: &str| ptes(&Types::new(&profile(structs)), &AMD64).expect("fields");
        assert_eq!((ptes(old).pagefile_number, ptes(old).swizzle), (Field::new(1, 4), Swizzle::Mask(0)));
        assert_eq!(ptes("").swizzle, Swizzle::Unknown);
    }
}
