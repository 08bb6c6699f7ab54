//! The files that the debugging information of another one is continued in, and how they are found and verified.
//!
//! Split DWARF: the file itself has skeleton units, and each names the `.dwo` file with its types and the number
//! (`dwo_id`) that both have; a `.dwp` file holds many of them (DWARF 5, sections 3.1.2 and 7.3.5; in DWARF 4 GNU's
//! extension, <https://gcc.gnu.org/wiki/DebugFission>). Supplementary files hold what dwz moved out of several files:
//! `.gnu_debugaltlink` or, in DWARF 5 (section 7.3.6), `.debug_sup` names the file and its build-id or checksum.
//!
//! What the user gave comes first, then the paths that the file names, then files beside it. A file counts only when the
//! identity in it is the one that is asked for.

use super::elf::{DebugSections, Elf, Role, Unpacking};
use super::report::MAX_LISTED;
use super::source::Input;
use super::units::Units;
use super::{ConvertError, ConvertReport};
use crate::hex::hex;
use crate::unpack::Bytes;
use gimli::{DebugCuIndex, DebugTuIndex, IndexSectionId, RunTimeEndian, UnitIndex};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};

/// A file found on the disk.
pub(super) struct Opened {
    place: String,
    bytes: Bytes,
}

/// What continues a file: what was found of it on the disk, and which of the given files are meant.
pub(super) struct Separate<'s> {
    given: &'s [Input],
    unpacking: &'s Unpacking,
    opened: Vec<Opened>,
    split_ids: HashSet<u64>,
    supplement: Option<Supplement<'s>>,
}

/// Whether an ELF file is the continuation of another one.
pub(super) fn continues_another(bytes: &[u8]) -> bool {
    Elf::parse("", bytes).is_ok_and(|elf| elf.is_split() || elf.is_supplementary())
}

/// Whether the path of a file says that it is the continuation of another one.
pub(super) fn is_named_so(path: &str) -> bool {
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("dwo" | "dwp" | "dwz")) || path.contains(".dwz/")
}

impl<'s> Separate<'s> {
    /// Finds what continues `elf`, whose sections are `main` and whose file on the disk is `file`. Split units that are not
    /// found are reported; a supplementary file that is not found is an error, because all that several units share is in
    /// it.
    pub(super) fn find(
        elf: &Elf<'s>,
        main: &'s DebugSections<'s>,
        file: &Path,
        given: &'s [Input],
        unpacking: &'s Unpacking,
        report: &mut ConvertReport,
    ) -> Result<Self, ConvertError> {
        let supplement = Supplement::of(elf);
        let mut found = Self { given, unpacking, opened: Vec::new(), split_ids: HashSet::new(), supplement };
        if let Some(supplement) = &found.supplement {
            let opened = supplement.find(elf.place(), file, given)?;
            found.opened.extend(opened);
        }
        found.find_split(elf.place(), main, file, report)?;
        Ok(found)
    }

    fn find_split(
        &mut self,
        place: &str,
        main: &'s DebugSections<'s>,
        file: &Path,
        report: &mut ConvertReport,
    ) -> Result<(), ConvertError> {
        let units = Units::parse(place, std::slice::from_ref(main))?;
        let skeletons = units.skeletons();
        self.split_ids = skeletons.iter().filter_map(|skeleton| skeleton.id).collect();
        if skeletons.is_empty() {
            return Ok(());
        }
        let mut known = HashSet::new();
        for input in self.given {
            known.extend(split_parts(&input.name, input.bytes(), &self.split_ids, self.unpacking)?.1);
        }
        let mut package = file.as_os_str().to_owned();
        package.push(".dwp");
        let packages = [PathBuf::from(package), file.with_extension("dwp")];
        let mut tried_packages = Vec::new();
        for package in packages {
            if known.len() < self.split_ids.len() {
                let found = self.open_split(&package, &mut tried_packages);
                known.extend(found);
            }
        }
        for skeleton in &skeletons {
            if skeleton.id.is_some_and(|id| known.contains(&id)) {
                continue;
            }
            let mut tried = tried_packages.clone();
            for path in places_of(skeleton.folder, skeleton.file, file) {
                known.extend(self.open_split(&path, &mut tried));
                if skeleton.id.is_some_and(|id| known.contains(&id)) {
                    break;
                }
            }
            if skeleton.id.is_none_or(|id| !known.contains(&id)) {
                report.split_units += 1;
                if report.missing_files.len() < MAX_LISTED {
                    let id = skeleton.id.map_or_else(|| "none".to_owned(), |id| format!("{id:#018x}"));
                    let name = String::from_utf8_lossy(skeleton.file);
                    report.missing_files.push(format!("{name} (dwo_id {id}); tried {}", tried.join(", ")));
                }
            }
        }
        Ok(())
    }

    /// Opens a file of split units, if it is there and has some that are asked for; gives which ones.
    fn open_split(&mut self, path: &Path, tried: &mut Vec<String>) -> HashSet<u64> {
        let place = path.display().to_string();
        let Some(bytes) = open(path, tried) else { return HashSet::new() };
        let ids = split_parts(&place, &bytes, &self.split_ids, self.unpacking).map(|(_, ids)| ids);
        match ids {
            Ok(ids) if ids.is_empty() => tried.push(format!("{place} (is of another build)")),
            Ok(ids) => {
                self.opened.push(Opened { place, bytes });
                return ids;
            }
            Err(why) => tried.push(why.to_string()),
        }
        HashSet::new()
    }

    /// The sections of what was found.
    pub(super) fn sections(&self) -> Result<Vec<DebugSections<'_>>, ConvertError> {
        let given = self.given.iter().map(|input| (input.name.as_str(), input.bytes()));
        let opened = self.opened.iter().map(|opened| (opened.place.as_str(), &*opened.bytes));
        let mut parts = Vec::new();
        let mut known = HashSet::new();
        for (place, bytes) in given.chain(opened) {
            let wanted: HashSet<u64> = self.split_ids.difference(&known).copied().collect();
            let (found, ids) = split_parts(place, bytes, &wanted, self.unpacking)?;
            parts.extend(found);
            known.extend(ids);
            if let Some(supplement) = &self.supplement
                && let Ok(elf) = Elf::parse(place, bytes)
                && supplement.is_in(&elf)
            {
                parts.push(DebugSections { role: Role::Supplementary, ..elf.debug_sections(self.unpacking)? });
            }
        }
        Ok(parts)
    }
}

/// Maps a regular file; why not is noted. The path is a file's word: nothing but a regular file is opened.
fn open(path: &Path, tried: &mut Vec<String>) -> Option<Bytes> {
    let regular = path.metadata().and_then(|data| {
        let other = || std::io::Error::other("is no regular file");
        if data.is_file() { File::open(path) } else { Err(other()) }
    });
    match regular.and_then(|file| Bytes::map(&file)) {
        Ok(bytes) => Some(bytes),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => {
            tried.push(format!("{} (not there)", path.display()));
            None
        }
        Err(why) => {
            tried.push(format!("{} ({why})", path.display()));
            None
        }
    }
}

/// Where a file may be that `of` names: as it says, and in the folder of `of` under each end of that path, longest first:
/// a tree may have been moved since it was built.
fn places_of(folder: &[u8], name: &[u8], of: &Path) -> Vec<PathBuf> {
    let (folder, name) = (String::from_utf8_lossy(folder), String::from_utf8_lossy(name));
    let beside = of.parent().unwrap_or(Path::new(""));
    let named = Path::new(&*folder).join(&*name);
    let mut places = Vec::new();
    if named.is_absolute() {
        places.push(named);
    }
    let relative = Path::new(&*name);
    let parts: Vec<_> = relative.components().filter(|part| matches!(part, std::path::Component::Normal(_))).collect();
    for start in 0..parts.len() {
        let path = beside.join(parts.iter().skip(start).collect::<PathBuf>());
        if !places.contains(&path) {
            places.push(path);
        }
    }
    places
}

/// Of a `.dwo` or `.dwp` file the sections of those units that are `wanted`, with all type units; and which those are.
fn split_parts<'d>(
    place: &'d str,
    bytes: &'d [u8],
    wanted: &HashSet<u64>,
    unpacking: &Unpacking,
) -> Result<(Vec<DebugSections<'d>>, HashSet<u64>), ConvertError> {
    let nothing = (Vec::new(), HashSet::new());
    if wanted.is_empty() {
        return Ok(nothing);
    }
    let elf = Elf::parse(place, bytes)?;
    let whole = elf.split_sections(unpacking)?;
    if let Some(units) = elf.plain_section(".debug_cu_index") {
        if whole.info.is_empty() {
            let why = "it has an index of units and no .debug_info.dwo: binutils' dwp (up to 2.40) loses units of DWARF 5; take the .dwo files, or what llvm-dwp makes of them";
            return Err(ConvertError::missing(place, why));
        }
        let damaged = |why: gimli::Error| ConvertError::corrupt(place, format!("damaged index of units: {why}"));
        let endian = if whole.big_endian { RunTimeEndian::Big } else { RunTimeEndian::Little };
        let units = DebugCuIndex::new(units, endian).index().map_err(damaged)?;
        let types = elf.plain_section(".debug_tu_index").unwrap_or_default();
        let types = DebugTuIndex::new(types, endian).index().map_err(damaged)?;
        let ids: HashSet<u64> = wanted.iter().copied().filter(|&id| units.find(id).is_some()).collect();
        if ids.is_empty() {
            return Ok(nothing);
        }
        let rows: BTreeSet<u32> = ids.iter().filter_map(|&id| units.find(id)).collect();
        let mut parts = Vec::new();
        for row in rows {
            parts.push(contribution(place, &whole, &units, row)?);
        }
        for row in 1..=types.unit_count() {
            parts.push(contribution(place, &whole, &types, row)?);
        }
        return Ok((parts, ids));
    }
    if whole.info.is_empty() {
        return Ok(nothing);
    }
    let parts = vec![whole];
    let ids: HashSet<u64> =
        Units::parse(place, &parts)?.dwo_ids().into_iter().filter(|id| wanted.contains(id)).collect();
    Ok(if ids.is_empty() { nothing } else { (parts, ids) })
}

/// The parts of sections that one row of a `.dwp` file's index names.
fn contribution<'d>(
    place: &str,
    whole: &DebugSections<'d>,
    index: &UnitIndex<gimli::EndianSlice<'_, RunTimeEndian>>,
    row: u32,
) -> Result<DebugSections<'d>, ConvertError> {
    let damaged = |why: String| ConvertError::corrupt(place, format!("damaged index of units: {why}"));
    let mut part = DebugSections {
        role: Role::Split,
        str: whole.str.clone(),
        big_endian: whole.big_endian,
        ..DebugSections::default()
    };
    for section in index.sections(row).map_err(|why| damaged(why.to_string()))? {
        let (from, to) = match section.section {
            IndexSectionId::DebugInfo => (&whole.info, &mut part.info),
            IndexSectionId::DebugTypes => (&whole.types, &mut part.types),
            IndexSectionId::DebugAbbrev => (&whole.abbrev, &mut part.abbrev),
            IndexSectionId::DebugStrOffsets => (&whole.str_offsets, &mut part.str_offsets),
            _ => continue,
        };
        let start = section.offset as usize;
        let outside = || damaged(format!("row {row} goes beyond {}", section.section.dwo_name()));
        let end = start.checked_add(section.size as usize).ok_or_else(outside)?;
        *to = match from {
            Cow::Borrowed(bytes) => Cow::Borrowed(bytes.get(start..end).ok_or_else(outside)?),
            Cow::Owned(bytes) => Cow::Owned(bytes.get(start..end).ok_or_else(outside)?.to_vec()),
        };
    }
    Ok(part)
}

/// What a file says of its supplementary file.
struct Supplement<'s> {
    path: &'s [u8],
    /// Build-id, or checksum of `.debug_sup`.
    id: &'s [u8],
    /// By `.debug_sup`.
    by_checksum: bool,
}

impl<'s> Supplement<'s> {
    fn of(elf: &Elf<'s>) -> Option<Self> {
        if let Some(link) = elf.plain_section(".gnu_debugaltlink") {
            let end = memchr::memchr(0, link)?;
            return Some(Self { path: link.get(..end)?, id: link.get(end + 1..)?, by_checksum: false });
        }
        let (supplementary, path, id) = debug_sup(elf)?;
        (!supplementary).then_some(Self { path, id, by_checksum: true })
    }

    fn is_in(&self, candidate: &Elf<'_>) -> bool {
        let id = if self.by_checksum {
            debug_sup(candidate).and_then(|(supplementary, _, id)| supplementary.then_some(id))
        } else {
            candidate.any_build_id()
        };
        candidate.has_dwarf() && !self.id.is_empty() && id == Some(self.id)
    }

    /// The file, if it is not among the given ones.
    fn find(&self, place: &str, of: &Path, given: &[Input]) -> Result<Option<Opened>, ConvertError> {
        let is_it = |place: &str, bytes: &[u8]| Elf::parse(place, bytes).is_ok_and(|elf| self.is_in(&elf));
        let mut tried = Vec::new();
        for input in given {
            if is_it(&input.name, input.bytes()) {
                return Ok(None);
            }
            tried.push(format!("{} (is another file)", input.name));
        }
        let mut places = places_of(b"/", self.path, of);
        let id = hex(self.id);
        if let (false, Some((first, rest))) = (self.by_checksum, id.split_at_checked(2)) {
            places.push(PathBuf::from(format!("/usr/lib/debug/.build-id/{first}/{rest}.debug")));
        }
        let relative = Path::new(&*String::from_utf8_lossy(self.path)).is_relative();
        for path in places.iter().skip(usize::from(relative)) {
            let Some(bytes) = open(path, &mut tried) else { continue };
            let place = path.display().to_string();
            if is_it(&place, &bytes) {
                return Ok(Some(Opened { place, bytes }));
            }
            tried.push(format!("{place} (is another build)"));
        }
        Err(ConvertError::missing(
            place,
            format!(
                "types that it shares with other files are in a supplementary file (dwz), {} with identity {id}, which was not found: tried {}; give it: --beside FILE",
                String::from_utf8_lossy(self.path),
                tried.join(", "),
            ),
        ))
    }
}

/// `.debug_sup`: whether the file is a supplementary one, the path of the one it needs, and the checksum.
fn debug_sup<'d>(elf: &Elf<'d>) -> Option<(bool, &'d [u8], &'d [u8])> {
    // The version takes two bytes, of which one is 0 in either byte order.
    let (&[first, second, supplementary], rest) = elf.plain_section(".debug_sup")?.split_first_chunk::<3>()?;
    let end = memchr::memchr(0, rest)?;
    // A length of less than 128 bytes takes one.
    let (&length, checksum) = rest.get(end + 1..)?.split_first()?;
    let known = first.max(second) == 5 && length < 0x80;
    Some((supplementary == 1, rest.get(..end)?, checksum.get(..usize::from(length))?)).filter(|_| known)
}
