//! The architecture, where no ELF header tells it, and how memory is paged.

use crate::btf::Btf;
use quaid_analyzer::VmcoreInfo;
use quaid_profile::{Arch, Metadata};
use std::collections::BTreeMap;

/// Options that exactly one architecture sets, the more special ones first.
const OPTIONS: [(&str, Arch); 9] = [
    ("CONFIG_X86_64", Arch::Amd64),
    ("CONFIG_X86_32", Arch::I386),
    ("CONFIG_ARM64", Arch::Arm64),
    ("CONFIG_ARM", Arch::Arm),
    ("CONFIG_ARCH_RV64I", Arch::Riscv64),
    ("CONFIG_S390", Arch::S390x),
    ("CONFIG_CPU_MIPS32", Arch::Mips),
    ("CONFIG_CPU_MIPS64", Arch::Mips64),
    ("CONFIG_PPC64", Arch::Ppc64),
];

/// Members of `struct pt_regs`, the registers that the kernel saves, with the pointer size where two architectures share
/// them (arch/*/include/asm/ptrace.h).
const REGISTERS: [(&str, u64, Arch); 9] = [
    ("orig_ax", 8, Arch::Amd64),
    ("orig_ax", 4, Arch::I386),
    ("pstate", 8, Arch::Arm64),
    ("uregs", 4, Arch::Arm),
    ("epc", 8, Arch::Riscv64),
    ("psw", 8, Arch::S390x),
    ("cp0_epc", 4, Arch::Mips),
    ("cp0_epc", 8, Arch::Mips64),
    ("nip", 8, Arch::Ppc64),
];

/// The architecture of a kernel with this configuration.
pub(super) fn arch_of_config(config: &BTreeMap<String, String>) -> Option<Arch> {
    let set = |name: &str| config.get(name).is_some_and(|value| value == "y");
    OPTIONS.into_iter().find_map(|(name, arch)| set(name).then_some(arch))
}

/// The architecture whose registers the BTF describes.
pub(super) fn arch_of_btf(btf: &Btf<'_>) -> Option<Arch> {
    arch_of_registers(&btf.member_names("pt_regs")?, btf.pointer_bytes()?)
}

/// The architecture with these members of `struct pt_regs` and pointers of this size in bytes.
pub(super) fn arch_of_registers(members: &[String], bytes: u64) -> Option<Arch> {
    let has = |register: &str| members.iter().any(|member| member == register);
    REGISTERS.into_iter().find_map(|(register, pointer, arch)| (pointer == bytes && has(register)).then_some(arch))
}

/// Adds `PageSize` in bytes, `PagingLevels` and `VABits` as far as the configuration tells them, or what the running kernel
/// notes for dumps. x86-64 kernels of five levels run with four where the processor has no more.
pub(super) fn add_paging(config: &BTreeMap<String, String>, vmcoreinfo: Option<&VmcoreInfo>, metadata: &mut Metadata) {
    let number = |name: &str| config.get(name).and_then(|value| value.parse::<u64>().ok());
    let set = |name: &str| config.get(name).is_some_and(|value| value == "y");
    // `CONFIG_PAGE_SHIFT` is known since 6.9, options of architectures before.
    let by_shift = number("CONFIG_PAGE_SHIFT").filter(|&shift| shift < 32).map(|shift| 1 << shift);
    let shifts = [(12, "4K"), (14, "16K"), (16, "64K")];
    let by_option = shifts.into_iter().find_map(|(shift, size)| {
        let named = [format!("CONFIG_ARM64_{size}_PAGES"), format!("CONFIG_PAGE_SIZE_{size}B")];
        named.iter().any(|name| set(name)).then_some(1_u64 << shift)
    });
    // These have one size.
    let fixed =
        ["CONFIG_X86", "CONFIG_ARM", "CONFIG_RISCV", "CONFIG_S390"].iter().any(|name| set(name)).then_some(4096);
    let noted = |key: &str| vmcoreinfo.and_then(|info| info.number(key));
    // Those that run with four may have five.
    let five = noted("NUMBER(pgtable_l5_enabled)").filter(|&enabled| enabled == 1).map(|_| 5);
    for (key, value) in [
        ("PageSize", by_shift.or(by_option).or(fixed).or_else(|| noted("PAGESIZE"))),
        ("PagingLevels", number("CONFIG_PGTABLE_LEVELS").or(five)),
        ("VABits", number("CONFIG_ARM64_VA_BITS").or_else(|| noted("NUMBER(VA_BITS)"))),
    ] {
        if let Some(value) = value {
            metadata.set(key, value);
        }
    }
}
