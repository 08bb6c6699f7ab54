//! Where a profile goes: from the identity in its metadata to names.
//!
//! Source of the layout: Rekall's public repository (since 2015 `<module>/GUID/<GUIDAGE>`, in 2014
//! `ntoskrnl.exe/AMD64/<version>/<GUIDAGE>`); quaid adds `GUID/`, `Linux/BUILDID/` and `OSX/UUID/`, all Symlinks.

use super::error::Error;
use super::rows::{INVENTORY, SIGNATURE};
use quaid_profile::{
    Arch, GuidAge, LAYOUT, LinuxIndex, MachUuid, Metadata, Os, guid_of_name, normalised_name, release_of, sharded,
    unsharded, without_ending,
};

/// The names of one profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Where the profile is.
    pub name: String,
    /// Symlinks to it.
    pub links: Vec<String>,
}

/// The names of the profile with this metadata. `given` is the name that the user chose: another name of a profile that
/// has a GUID, the place of one that has not.
///
/// # Errors
/// A text that says what the metadata lacks, and what to do.
pub fn place(metadata: &Metadata, given: Option<&str>) -> Result<Placement, String> {
    let given = given.map(writable_name).transpose().map_err(|error| error.to_string())?;
    if let Some(given) = &given {
        check_guid(given, metadata.guid_age())?;
    }
    if let Some(guid) = metadata.guid_age() {
        return windows(metadata, guid, given);
    }
    let (identity, links) = match metadata.os() {
        Some(Os::Linux) => {
            let build_id = metadata.build_id().map(|id| format!("Linux/BUILDID/{id}"));
            (linux_name(metadata), build_id)
        }
        Some(Os::Macos) => {
            let uuid = metadata.text("UUID").and_then(|text| text.parse::<MachUuid>().ok());
            let uuid = uuid.map(|uuid| format!("OSX/UUID/{uuid}"));
            (macos_name(metadata).or_else(|| uuid.clone()), uuid)
        }
        Some(Os::Windows) | None => (None, None),
    };
    let name = given.or(identity).ok_or(
        "the profile tells no identity (GUID_AGE, or Release of a Linux kernel): `--name NAME` says where it goes",
    )?;
    Ok(Placement { links: links.into_iter().filter(|link| *link != name).collect(), name })
}

/// The GUID that a name ends in. Its age is not compared: Rekall's profiles carry that of another stream of the PDB.
pub(super) fn guid_of(name: &str) -> Option<[u8; 16]> {
    guid_of_name(name).map(|(guid, _)| guid)
}

/// Whether the profile whose GUID is `own` may have this name: places that go by a GUID are for the profile that has it.
pub(super) fn check_guid(name: &str, own: Option<GuidAge>) -> Result<(), String> {
    let named = guid_of(name);
    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
    if named.is_none() && folder.rsplit('/').next() != Some("GUID")
        || named.is_some() && named == own.map(|own| own.guid)
    {
        return Ok(());
    }
    let own = own.map_or_else(|| "it has none".to_owned(), |own| format!("its own is {own}"));
    Err(format!("the name {name} is for the profile of that GUID, and {own}"))
}

fn windows(metadata: &Metadata, guid: GuidAge, given: Option<String>) -> Result<Placement, String> {
    let module = module_name(metadata).ok_or(
        "the profile tells no module (PDBFile or ProfileClass) that could be a folder's name; correct its $METADATA",
    )?;
    let name = format!("{module}/GUID/{guid}");
    let mut links = vec![format!("GUID/{guid}")];
    links.extend(full_version(metadata).and_then(|version| version_link(&name, metadata, &version)));
    links.extend(given.filter(|given| *given != name));
    Ok(Placement { name, links })
}

/// The module that a profile is of, as a debugger names it: each of the kernel's files is `nt`, the 32-bit `ntdll.dll`
/// of a 64-bit system (whose PDB is `wntdll.pdb`) is `ntdll`.
pub(crate) fn module_name(metadata: &Metadata) -> Option<String> {
    module_of_pdb(metadata.text("PDBFile").or(metadata.profile_class())?)
}

/// The module that a PDB of this name is of, if its name could be a folder's.
pub(crate) fn module_of_pdb(file: &str) -> Option<String> {
    let file = file.rsplit(['/', '\\']).next().unwrap_or_default().to_lowercase();
    let stem = file.strip_suffix(".pdb").unwrap_or(&file);
    let module = match stem {
        "ntkrnlmp" | "ntkrnlpa" | "ntkrpamp" | "ntoskrnl" | "nt" => "nt",
        "wntdll" => "ntdll",
        other => other,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
    let usable = !module.is_empty() && module.len() <= 100 && !module.starts_with('.') && module.chars().all(plain);
    (usable && !RESERVED_FOLDERS.iter().chain(&SYSTEM_FOLDERS).any(|folder| folder.eq_ignore_ascii_case(module)))
        .then(|| module.to_owned())
}

/// The link to the kernel's profile `name` by its version; `None` for another module, and a version of less than four
/// numbers.
pub(super) fn version_link(name: &str, metadata: &Metadata, version: &str) -> Option<String> {
    let (arch, guid) = (metadata.arch()?, metadata.guid_age()?);
    let numbers: Vec<&str> = version.split('.').collect();
    let full = numbers.len() == 4 && numbers.iter().all(|number| number.parse::<u32>().is_ok());
    (full && name.starts_with("nt/")).then(|| format!("ntoskrnl.exe/{}/{version}/{guid}", arch.name()))
}

/// "6.1.7601.17514", as the metadata tells it.
pub(super) fn full_version(metadata: &Metadata) -> Option<String> {
    let parts: Option<Vec<&str>> = ["major", "minor", "rev"].into_iter().map(|key| metadata.text(key)).collect();
    Some(parts?.join("."))
}

/// The version that a profile tells, or else a link to it: of Windows that of the file, of others the kernel's release.
pub(super) fn version_of(metadata: &Metadata, links: &[&str]) -> Option<String> {
    let linked = || links.iter().find_map(|link| link.strip_prefix("ntoskrnl.exe/")?.split('/').nth(1));
    let release = || metadata.release().or_else(|| release_of(metadata.banner()?));
    full_version(metadata).or_else(|| linked().or_else(release).map(str::to_owned))
}

/// Whether the metadata tells a build, or at least of what it is one.
pub(super) fn tells_build(metadata: &Metadata) -> bool {
    metadata.os().is_some()
        || metadata.arch().is_some()
        || metadata.build_id().is_some()
        || metadata.banner().or(metadata.release()).is_some()
}

/// The folder of the builds that are compared with each other: `nt` of `nt/GUID/...`, `Linux/Debian` of a Linux kernel's
/// name.
pub(super) fn module_of(name: &str) -> &str {
    let folders = if name.starts_with("Linux/") { 2 } else { 1 };
    let end = name.match_indices('/').map(|(at, _)| at).take(folders).last();
    end.and_then(|end| name.get(..end)).unwrap_or_default()
}

/// `Linux/<distro>/<release>/<arch>/<kernel>`. Distribution and its release are guessed from the kernel's release alone
/// where that tells them, so that a profile has one name whether it knows its banner or not.
fn linux_name(metadata: &Metadata) -> Option<String> {
    let kernel = metadata.release().or_else(|| release_of(metadata.banner()?))?;
    let (distro, release) = distribution(kernel, metadata.banner().unwrap_or_default());
    let arch = metadata.arch().map_or_else(|| "unknown".to_owned(), |arch| arch.name().to_lowercase());
    writable_name(&format!("Linux/{distro}/{release}/{arch}/{kernel}")).ok()
}

/// `OSX/<version>_<build>.64bit`, of the one kernel of a release of macOS that most machines run: where Rekall has it. Of an
/// arm64 kernel there is one for each chip, and of a Kernel Debug Kit also kernels for developers.
fn macos_name(metadata: &Metadata) -> Option<String> {
    let (version, build) = (metadata.text("MacOSVersion")?, metadata.text("MacOSBuild")?);
    let bits = match metadata.arch()? {
        Arch::Amd64 => 64,
        Arch::I386 => 32,
        _ => return None,
    };
    let released = metadata.banner().is_none_or(|banner| banner.contains("/RELEASE_"));
    let name = released.then(|| format!("OSX/{version}_{build}.{bits}bit"))?;
    writable_name(&name).ok().filter(|written| *written == name)
}

/// Marks in a kernel's release that one distribution makes, with the number of its own release after it.
const NUMBERED: [(&str, &str); 5] =
    [(".fc", "Fedora"), (".el", "RHEL"), (".amzn", "Amazon"), (".azl", "AzureLinux"), (".mga", "Mageia")];

/// Ends of a kernel's release that one distribution makes.
const FLAVOURS: [(&str, &str); 24] = [
    ("-amd64", "Debian"),
    ("-686", "Debian"),
    ("-686-pae", "Debian"),
    ("-arm64", "Debian"),
    ("-armmp", "Debian"),
    ("-riscv64", "Debian"),
    ("-s390x", "Debian"),
    ("-generic", "Ubuntu"),
    ("-generic-pae", "Ubuntu"),
    ("-generic-64k", "Ubuntu"),
    ("-lowlatency", "Ubuntu"),
    ("-virtual", "Ubuntu"),
    ("-aws", "Ubuntu"),
    ("-azure", "Ubuntu"),
    ("-gcp", "Ubuntu"),
    ("-oracle", "Ubuntu"),
    ("-oem", "Ubuntu"),
    ("-kvm", "Ubuntu"),
    ("-raspi", "Ubuntu"),
    ("-default", "SUSE"),
    ("-microsoft-standard-WSL2", "WSL"),
    ("-gentoo", "Gentoo"),
    ("-virt", "Alpine"),
    ("-pve", "Proxmox"),
];

/// Words of a banner that name the distribution that built it.
const BANNER_WORDS: [(&str, &str); 6] = [
    ("Ubuntu", "Ubuntu"),
    ("Debian", "Debian"),
    ("Red Hat", "RHEL"),
    ("SUSE", "SUSE"),
    ("Alpine", "Alpine"),
    ("Gentoo", "Gentoo"),
];

/// The distribution, and its release where the kernel's release tells it, else the kernel's series ("6.1").
fn distribution(kernel: &str, banner: &str) -> (&'static str, String) {
    for (mark, distro) in NUMBERED {
        let number = kernel.split(mark).nth(1).unwrap_or_default();
        let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
        if !digits.is_empty() {
            return (distro, digits);
        }
    }
    let series: Vec<&str> = kernel.split(['.', '-', '_', '+']).take(2).collect();
    let by_flavour = FLAVOURS.iter().find(|(end, _)| kernel.ends_with(end));
    let arch_linux = || kernel.contains("-arch").then_some("Arch");
    let by_banner = || BANNER_WORDS.iter().find(|(word, _)| banner.contains(word)).map(|(_, distro)| *distro);
    let distro = by_flavour.map(|(_, distro)| *distro).or_else(arch_linux).or_else(by_banner);
    (distro.unwrap_or("LinuxGeneric"), series.join("."))
}

/// Folders that hold no profiles.
pub const RESERVED_FOLDERS: [&str; 2] = ["src", "types"];

/// The folder of a module that holds symbols of its profiles.
const SYMBOLS: &str = "symbols";

/// Folders of profiles that are no module.
const SYSTEM_FOLDERS: [&str; 3] = ["GUID", "Linux", "OSX"];

/// Files that are no profiles.
pub(super) const RESERVED_FILES: [&str; 4] = ["config.yaml", INVENTORY, SIGNATURE, LinuxIndex::NAME];

/// The longest name of a file on the systems that we know, in bytes.
const MAX_PART_BYTES: usize = 240;

/// How many parts a name may have.
const MAX_PARTS: usize = 16;

/// `name` as a profile or Symlink may be stored under it: relative, on every system's disk, and none of the
/// repository's own files.
pub fn writable_name(name: &str) -> Result<String, Error> {
    let bad = |why: String| Error::Name { name: name.to_owned(), why };
    let plain = normalised_name(name).map_err(|error| bad(error.to_string()))?;
    let parts: Vec<&str> = plain.split('/').collect();
    check_name(&plain).map_err(|why| bad(why.to_owned()))?;
    let first = parts.first().copied().unwrap_or_default();
    let own = is_index(&plain) || parts.get(1) == Some(&SYMBOLS);
    if RESERVED_FOLDERS.contains(&first) || RESERVED_FILES.contains(&plain.as_str()) || own {
        return Err(bad("the repository keeps it for a file of its own".to_owned()));
    }
    Ok(plain)
}

/// Whether a name that a tree has, whoever made it, may be a path on every system's disk.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_name(name: &str) -> Result<(), &'static str> {
    for (number, part) in name.split('/').enumerate() {
        if number >= MAX_PARTS {
            return Err("it has more than 16 parts");
        }
        if part.len() > MAX_PART_BYTES {
            return Err("a part of it has more than 240 bytes");
        }
        if part.is_empty() || part.starts_with('.') || part.ends_with(['.', ' ']) {
            return Err("a part of it is empty, begins with a dot, or ends in a dot or a blank");
        }
        if part.chars().any(|c| c.is_control() || matches!(c, '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')) {
            return Err("it has a control character or one of \\ : * ? \" < > |");
        }
    }
    Ok(())
}

/// Whether a name is that of a module's index: `nt/index`, `nt/exports`, `nt/eprocess_index`.
pub(super) fn is_index(name: &str) -> bool {
    let last = name.split_once('/').map(|(_, last)| last).filter(|last| !last.contains('/'));
    last.is_some_and(|last| matches!(last, "index" | "exports") || last.ends_with("_index"))
}

/// The name of what is stored at `path` below the layout's folder; `None` for the repository's own files.
pub(super) fn name_of(path: &str) -> Option<String> {
    let mut parts = path.split('/');
    let first = parts.next().unwrap_or_default();
    let symbols = parts.next() == Some(SYMBOLS);
    let hidden = path.split('/').any(|part| part.starts_with('.'));
    let own = RESERVED_FOLDERS.contains(&first) || RESERVED_FILES.contains(&without_ending(path)) || symbols;
    (!hidden && !own).then(|| without_ending(&unsharded(path)).to_owned())
}

/// Where something new of this name is stored, from the top of the tree.
pub(super) fn path_of(name: &str) -> String {
    format!("{LAYOUT}/{}", sharded(name).as_deref().unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUID: &str = "3844DBB920174967BE7AA4A2C20430FA2";

    fn metadata(entries: &[(&str, &str)]) -> Metadata {
        let mut metadata = Metadata::default();
        for (key, value) in entries {
            metadata.set(key, *value);
        }
        metadata
    }

    fn name(entries: &[(&str, &str)]) -> String {
        place(&metadata(entries), None).expect("a place").name
    }

    #[test]
    fn a_version_is_in_the_metadata_or_in_the_link_of_a_kernel() {
        let link = "ntoskrnl.exe/AMD64/6.1.7601.17514/X";
        assert_eq!(version_of(&metadata(&[]), &["nt/a", link]).as_deref(), Some("6.1.7601.17514"));
        assert_eq!(version_of(&metadata(&[]), &["Linux/Debian/6.1/X"]), None);
        let full = [("major", "10"), ("minor", "0"), ("rev", "19041.1")];
        assert_eq!(version_of(&metadata(&full), &[link]).as_deref(), Some("10.0.19041.1"));
        let banner = [("Banner", "Linux version 6.1.0-9-amd64 (x@y) #1")];
        assert_eq!(version_of(&metadata(&banner), &[]).as_deref(), Some("6.1.0-9-amd64"));
    }

    #[test]
    fn builds_are_compared_within_a_module() {
        for (name, module) in [
            ("nt/GUID/X", "nt"),
            ("Linux/Debian/12/amd64/6.1.0-9-amd64", "Linux/Debian"),
            ("Linux/mine", "Linux"),
            ("OSX/10.4", "OSX"),
            ("mine", ""),
        ] {
            assert_eq!(module_of(name), module, "{name}");
        }
    }

    #[test]
    fn windows_profiles_go_by_module_and_guid() {
        for (file, module) in [
            ("ntkrnlmp.pdb", "nt"),
            ("ntkrpamp.pdb", "nt"),
            ("C:\\build\\NTKRNLPA.PDB", "nt"),
            ("ntoskrnl.pdb", "nt"),
            ("win32k.pdb", "win32k"),
            ("wntdll.pdb", "ntdll"),
            ("TcpIp.pdb", "tcpip"),
        ] {
            assert_eq!(name(&[("GUID_AGE", GUID), ("PDBFile", file)]), format!("{module}/GUID/{GUID}"), "{file}");
        }
        assert_eq!(name(&[("GUID_AGE", GUID), ("ProfileClass", "Ntkrnlpa")]), format!("nt/GUID/{GUID}"));
    }

    #[test]
    fn a_windows_kernel_has_its_links() {
        let mut kernel = vec![("GUID_AGE", GUID), ("PDBFile", "ntkrnlmp.pdb"), ("major", "6"), ("minor", "1")];
        let links = |entries: &[(&str, &str)], given| place(&metadata(entries), given).expect("a place").links;
        assert_eq!(links(&kernel, None), [format!("GUID/{GUID}")]);
        kernel.push(("rev", "7601.17514"));
        let version = format!("ntoskrnl.exe/AMD64/6.1.7601.17514/{GUID}");
        assert_eq!(links(&kernel, None), [format!("GUID/{GUID}"), version.clone()]);
        assert_eq!(links(&kernel, Some("Win7SP1x64")), [format!("GUID/{GUID}"), version, "Win7SP1x64".to_owned()]);
        assert_eq!(
            links(&[("GUID_AGE", GUID), ("PDBFile", "ntdll.pdb"), ("rev", "1.2")], None),
            [format!("GUID/{GUID}")]
        );
    }

    #[test]
    fn a_guid_s_place_is_for_the_profile_that_has_it() {
        let other = "11111111111111111111111111111111A";
        let kernel = metadata(&[("GUID_AGE", GUID), ("PDBFile", "ntkrnlmp.pdb")]);
        let linux = metadata(&[("ProfileClass", "Linux"), ("Release", "6.1.0")]);
        for name in [format!("nt/GUID/{other}"), format!("GUID/{}", other.to_lowercase()), format!("mine/{other}")] {
            for profile in [&kernel, &linux, &metadata(&[])] {
                let error = place(profile, Some(&name)).expect_err(&name);
                assert!(error.contains(other), "{error}");
            }
        }
        assert!(place(&linux, Some(&format!("nt/GUID/{GUID}"))).is_err());
        assert!(place(&linux, Some("nt/GUID/mine")).is_err());
        assert!(place(&kernel, Some(&format!("mine/{GUID}"))).is_ok());
        assert!(place(&linux, Some("Linux/mine/6.1.0")).is_ok());
    }

    #[test]
    fn a_hostile_module_name_is_no_folder() {
        for file in ["", ".pdb", "..", ".git", "a b.pdb", "GUID", "linux.pdb", "src", "x\u{0}", "é.pdb"] {
            assert!(place(&metadata(&[("GUID_AGE", GUID), ("PDBFile", file)]), None).is_err(), "{file}");
        }
    }

    #[test]
    fn linux_kernels_go_by_distribution() {
        for (release, banner, expected) in [
            ("6.1.0-56-cloud-amd64", "", "Debian/6.1/amd64"),
            ("5.15.0-91-generic", "", "Ubuntu/5.15/amd64"),
            ("6.5.6-300.fc39.x86_64", "", "Fedora/39/amd64"),
            ("5.14.0-362.el9_3.x86_64", "", "RHEL/9/amd64"),
            ("6.1.61-85.141.amzn2023.x86_64", "", "Amazon/2023/amd64"),
            ("6.7.0-arch3-1", "", "Arch/6.7/amd64"),
            ("6.1.192-rklab", "", "LinuxGeneric/6.1/amd64"),
            ("6.1.192-rklab", "Linux version 6.1.192-rklab (gcc (Debian 12.2.0-14) 12.2.0)", "Debian/6.1/amd64"),
        ] {
            let entries = [("ProfileClass", "Linux"), ("arch", "AMD64"), ("Release", release), ("Banner", banner)];
            assert_eq!(name(&entries), format!("Linux/{expected}/{release}"));
        }
        let banner = "Linux version 6.1.0-56-cloud-amd64 (debian-kernel@lists.debian.org) #1 SMP";
        assert_eq!(
            name(&[("ProfileClass", "Linux"), ("Banner", banner)]),
            "Linux/Debian/6.1/unknown/6.1.0-56-cloud-amd64"
        );
        assert!(place(&metadata(&[("ProfileClass", "Linux"), ("Release", "../../etc")]), None).is_err());
    }

    #[test]
    fn a_linux_name_that_was_given_wins_and_the_build_id_leads_there() {
        let linux = metadata(&[("ProfileClass", "Linux"), ("Release", "6.1.0"), ("BuildID", "00FFaa10")]);
        let placed = place(&linux, Some("Linux/mine/a.json")).expect("a place");
        assert_eq!(placed, Placement { name: "Linux/mine/a".into(), links: vec!["Linux/BUILDID/00ffaa10".into()] });
    }

    #[test]
    fn macos_kernels_go_by_version_and_build_else_by_uuid() {
        let uuid = "OSX/UUID/2A3B4C5D-0000-1111-2222-333344445555";
        let banner =
            |kind: &str| format!("Darwin Kernel Version 17.4.0: Sun Dec 17; root:xnu-4570.41.2~1/{kind}_X86_64");
        let place = |arch: &str, build: &str, banner: &str| {
            let entries = [
                ("ProfileClass", "Darwin"),
                ("arch", arch),
                ("MacOSVersion", "10.13.3"),
                ("MacOSBuild", build),
                ("UUID", "2a3b4c5d-0000-1111-2222-333344445555"),
                ("Banner", banner),
            ];
            let placed = place(&metadata(&entries), None).expect("a place");
            (placed.name, placed.links)
        };
        let by_version = |bits: &str| (format!("OSX/10.13.3_17D47.{bits}"), vec![uuid.to_owned()]);
        assert_eq!(place("AMD64", "17D47", &banner("RELEASE")), by_version("64bit"));
        assert_eq!(place("I386", "17D47", &banner("RELEASE")), by_version("32bit"));
        for (arch, build, kind) in
            [("AMD64", "17D47", "DEVELOPMENT"), ("ARM64", "17D47", "RELEASE"), ("AMD64", "../../x", "RELEASE")]
        {
            assert_eq!(place(arch, build, &banner(kind)), (uuid.to_owned(), vec![]), "{arch} {build} {kind}");
        }
    }

    #[test]
    fn what_has_no_identity_needs_a_name() {
        let error = place(&metadata(&[("ProfileClass", "PEProfile")]), None).expect_err("nothing to go by");
        assert!(error.contains("--name"), "{error}");
        assert_eq!(place(&metadata(&[]), Some("pe")).expect("named").name, "pe");
    }

    #[test]
    fn names_that_cannot_be_stored_are_refused() {
        for bad in [
            "",
            "../x",
            "/x",
            "a//b",
            ".git/x",
            "a/.b",
            "a.",
            "a:b",
            "a\nb",
            "src/x",
            "config.yaml",
            "Linux/banners",
            "nt/index",
        ] {
            assert!(writable_name(bad).is_err(), "{bad}");
        }
        assert!(writable_name(&"a/".repeat(20)).is_err());
        assert!(writable_name(&"a".repeat(300)).is_err());
        assert_eq!(writable_name("v1.0/Win7SP1x64.gz").expect("a name"), "Win7SP1x64");
    }
}
