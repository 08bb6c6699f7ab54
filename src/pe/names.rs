//! Names of the numbers in PE headers, as winnt.h has them.

const MACHINES: [(u16, &str); 12] = [
    (0x014c, "I386"),
    (0x0166, "R4000"),
    (0x01c0, "ARM"),
    (0x01c2, "THUMB"),
    (0x01c4, "ARMNT"),
    (0x01f0, "POWERPC"),
    (0x0200, "IA64"),
    (0x0ebc, "EBC"),
    (0x5032, "RISCV32"),
    (0x5064, "RISCV64"),
    (0x8664, "AMD64"),
    (0xaa64, "ARM64"),
];

const CHARACTERISTICS: [(u16, &str); 15] = [
    (0x0001, "RELOCS_STRIPPED"),
    (0x0002, "EXECUTABLE_IMAGE"),
    (0x0004, "LINE_NUMS_STRIPPED"),
    (0x0008, "LOCAL_SYMS_STRIPPED"),
    (0x0010, "AGGRESIVE_WS_TRIM"),
    (0x0020, "LARGE_ADDRESS_AWARE"),
    (0x0080, "BYTES_REVERSED_LO"),
    (0x0100, "32BIT_MACHINE"),
    (0x0200, "DEBUG_STRIPPED"),
    (0x0400, "REMOVABLE_RUN_FROM_SWAP"),
    (0x0800, "NET_RUN_FROM_SWAP"),
    (0x1000, "SYSTEM"),
    (0x2000, "DLL"),
    (0x4000, "UP_SYSTEM_ONLY"),
    (0x8000, "BYTES_REVERSED_HI"),
];

const DIRECTORIES: [&str; 15] = [
    "EXPORT",
    "IMPORT",
    "RESOURCE",
    "EXCEPTION",
    "SECURITY",
    "BASERELOC",
    "DEBUG",
    "ARCHITECTURE",
    "GLOBALPTR",
    "TLS",
    "LOAD_CONFIG",
    "BOUND_IMPORT",
    "IAT",
    "DELAY_IMPORT",
    "COM_DESCRIPTOR",
];

/// `IMAGE_FILE_MACHINE_AMD64`, or the number in hex.
pub fn machine_name(machine: u16) -> String {
    match MACHINES.iter().find(|(number, _)| *number == machine) {
        Some((_, name)) => format!("IMAGE_FILE_MACHINE_{name}"),
        None => format!("0x{machine:x}"),
    }
}

/// The names of the flags that are set: `IMAGE_FILE_DLL` and others.
pub fn characteristics(flags: u16) -> Vec<String> {
    let set = CHARACTERISTICS.iter().filter(|(flag, _)| flags & flag != 0);
    set.map(|(_, name)| format!("IMAGE_FILE_{name}")).collect()
}

/// `IMAGE_DIRECTORY_ENTRY_EXPORT`, or with the number of one that has no name.
pub fn directory_name(index: usize) -> String {
    match DIRECTORIES.get(index) {
        Some(name) => format!("IMAGE_DIRECTORY_ENTRY_{name}"),
        None => format!("IMAGE_DIRECTORY_ENTRY_{index}"),
    }
}
