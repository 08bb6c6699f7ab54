//! AFF4: a zip file with streams, maps of address ranges onto streams, and a description of them in Turtle. Made by the
//! pmem tools (winpmem 2 and 3, linpmem, osxpmem), by pyaff4 and by Evimetry.
//!
//! Source: the AFF4 standard 1.0 (`map`: {first address u64, bytes u64, offset in the target u64, number of the target
//! u32}; `idx`: the targets, a line each), pyaff4 and its files. Three vocabularies differ in names; of an IRI only what is
//! behind the last `#` counts.

mod stream;
mod turtle;
mod zip;

use super::codec_layer::{Codec, CodecLayer, Place};
use super::fields::{u32_at, u64_at};
use super::pmem_yaml;
use super::run_layer::MAX_RUNS;
use super::vote::{Layer, Probe, Vote};
use super::{Gap, GapKind, Hints, PhysicalMemory, Run, array};
use crate::addr::Pa;
use std::collections::HashMap;
use std::sync::Arc;
use stream::Stream;
use turtle::Statement;
use zip::Member;

/// The name in the voting log and in `Options::format`.
pub(super) const NAME: &str = "AFF4";

const END_OF_PHYSICAL: u64 = 1 << 52;
const MAP_ENTRY_BYTES: usize = 28;
/// Bits of a chunk's number that say which stream it is of.
const STREAM_SHIFT: u32 = 53;
const MAX_STREAMS: usize = 1 << 10;
const MAX_URN_BYTES: usize = 1024;

/// The archive with its description.
struct Volume {
    urn: String,
    /// By full URN.
    members: HashMap<String, Member>,
    statements: Vec<Statement>,
}

/// What a range of addresses is mapped onto.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// Chunks of the stream with this number.
    Stream(usize),
    /// Bytes of the file, up to this offset.
    File {
        start: u64,
        end: u64,
    },
    Fill(u8),
    Missing(GapKind),
}

/// A range of addresses, `offset` the place in its target.
#[derive(Debug, Clone, Copy)]
struct Mapped {
    start: u64,
    bytes: u64,
    offset: u64,
    target: Target,
}

/// The memory of a volume: sorted, disjoint ranges.
struct Aff4 {
    map: Vec<Mapped>,
    streams: Vec<Stream>,
    /// How many bytes of indexes may still be kept.
    index_budget: usize,
}

/// Answers whether the layer is an AFF4 volume with memory.
pub(super) fn probe(&Probe { base, .. }: &Probe<'_>) -> Vote {
    let memory = base.as_ref();
    let archive = match zip::open(memory) {
        None if starts_like_a_volume(memory) => {
            return Vote::Broken("its directory, which is at the end, is missing: the file is cut off".into());
        }
        None => return Vote::no("no zip directory at the end"),
        Some(archive) => archive,
    };
    let archive = match archive {
        Ok(archive) => archive,
        Err(why) if starts_like_a_volume(memory) => return Vote::Broken(format!("its directory is damaged: {why}")),
        Err(why) => return Vote::no(&format!("a zip directory that is damaged ({why})")),
    };
    if !archive.is_volume() {
        return Vote::no("a zip file that is no AFF4 volume");
    }
    let mut warnings = Vec::new();
    match Volume::new(memory, &archive).and_then(|volume| open(memory, &volume, &mut warnings)) {
        Err(why) => Vote::Broken(why),
        Ok((aff4, hints)) => {
            let (runs, gaps) = aff4.runs_and_gaps();
            if runs.is_empty() {
                return Vote::Broken(format!("it holds no memory ({})", warnings.join("; ")));
            }
            let memory = Arc::new(CodecLayer::new(Arc::clone(base), aff4, runs, gaps));
            Vote::Yes(Layer { memory, warnings, hints })
        }
    }
}

/// Whether the layer is a zip archive, from its first byte to its last, and no volume.
pub(super) fn is_other_zip(base: &dyn PhysicalMemory) -> bool {
    let archive = zip::open(base).and_then(Result::ok);
    archive.is_some_and(|archive| !archive.is_volume() && archive.members.iter().any(|member| member.header_at == 0))
}

/// The first member of a volume tells when the end is gone: what describes it, or a piece of a stream (`STREAM/00000000`, and
/// its index).
fn starts_like_a_volume(base: &dyn PhysicalMemory) -> bool {
    const HEADER_BYTES: u64 = 30;
    let is_zip = array::<4>(base, 0).is_some_and(|magic| &magic == b"PK\x03\x04");
    let Some(length) = array::<2>(base, 26).map(u16::from_le_bytes).filter(|_| is_zip) else { return false };
    let mut name = vec![0; length.into()];
    if base.read(Pa(HEADER_BYTES), &mut name).is_err() {
        return false;
    }
    let name = String::from_utf8_lossy(&name);
    let describes = matches!(&*name, "container.description" | "information.turtle" | "version.txt");
    let piece = name.rsplit_once('/').map(|(_, last)| last.strip_suffix(".index").unwrap_or(last));
    describes
        || name.starts_with("aff4%3A%2F%2F")
        || piece.is_some_and(|piece| piece.len() == 8 && piece.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What is behind the last `#` or `/` of an IRI.
fn local_name(iri: &str) -> &str {
    iri.rsplit(['#', '/', ':']).next().unwrap_or(iri)
}

fn percent_decoded(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let escape =
            (first == b'%').then(|| behind.get(..2)).flatten().and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = escape.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { behind.get(2..).unwrap_or_default() } else { behind };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Volume {
    fn new(base: &dyn PhysicalMemory, archive: &zip::Archive) -> Result<Self, String> {
        let find = |name: &str| archive.members.iter().find(|member| member.name == name);
        let text = |member: &Member| Ok::<_, String>(String::from_utf8_lossy(&member.read(base)?).into_owned());
        let urn = match find("container.description") {
            Some(member) => text(member)?.trim_matches(['\0', '\n', '\r', ' ']).to_owned(),
            None => archive.comment.clone(),
        };
        if urn.len() > MAX_URN_BYTES {
            return Err(format!("the name of the volume has {} bytes", urn.len()));
        }
        let turtle = find("information.turtle").ok_or("it has no information.turtle, which describes its streams")?;
        let statements =
            turtle::statements(&text(turtle)?).map_err(|why| format!("its information.turtle has {why}"))?;
        let full = |name: &str| {
            let name = percent_decoded(name);
            if name.starts_with("aff4://") { name } else { format!("{urn}/{name}") }
        };
        let members = archive.members.iter().map(|member| (full(&member.name), member.clone())).collect();
        Ok(Self { urn, members, statements })
    }

    fn members(&self) -> usize {
        self.members.len()
    }

    fn member(&self, urn: &str) -> Option<&Member> {
        self.members.get(urn)
    }

    fn values<'v>(&'v self, subject: &'v str, predicate: &'v str) -> impl Iterator<Item = &'v str> {
        let of = move |s: &&Statement| s.subject == subject && local_name(&s.predicate) == predicate;
        self.statements.iter().filter(of).map(|s| s.object.as_str())
    }

    fn value<'v>(&'v self, subject: &'v str, predicate: &'v str) -> Option<&'v str> {
        self.values(subject, predicate).next()
    }

    /// Whether the subject is of this type, in one of the vocabularies.
    fn is(&self, subject: &str, types: &[&str]) -> bool {
        self.values(subject, "type").any(|kind| types.contains(&local_name(kind)))
    }

    /// The subject that is physical memory.
    fn memory(&self) -> Result<&str, String> {
        let memory = |s: &&Statement| local_name(&s.predicate) == "category" && s.object.ends_with("memory/physical");
        if let Some(statement) = self.statements.iter().find(memory) {
            return Ok(&statement.subject);
        }
        if let Some(other) = self.statements.iter().find(|s| local_name(&s.predicate) == "category") {
            return Err(format!("it holds no memory: {} is {}", other.subject, other.object));
        }
        // Without a category, the only map or else the only stream.
        for kinds in [["Map", "map"], ["ImageStream", "image"]] {
            let of = |s: &&Statement| s.predicate == "rdf:type" && kinds.contains(&local_name(&s.object));
            let mut subjects = self.statements.iter().filter(of).map(|s| s.subject.as_str());
            match (subjects.next(), subjects.next()) {
                (Some(only), None) => return Ok(only),
                (None, _) => {}
                (Some(_), Some(_)) => return Err("it has several images, and says of none that it is memory".into()),
            }
        }
        Err("its information.turtle describes no image".into())
    }
}

/// The memory of the volume.
fn open(base: &dyn PhysicalMemory, volume: &Volume, warnings: &mut Vec<String>) -> Result<(Aff4, Hints), String> {
    let memory = volume.memory()?;
    let mut hints = Hints::default();
    hints.facts.push(("AFF4 volume".into(), volume.urn.clone()));
    if let Some(notes) = volume.member(&format!("{memory}/information.yaml")) {
        match notes.read(base) {
            Ok(text) => pmem_yaml::take(&String::from_utf8_lossy(&text), &mut hints),
            Err(why) => warnings.push(why),
        }
    }
    let mut aff4 = Aff4 { map: Vec::new(), streams: Vec::new(), index_budget: stream::MAX_INDEX_BYTES };
    if let Some(map) = volume.member(&format!("{memory}/map")) {
        let map = map.read(base)?;
        let names = volume.member(&format!("{memory}/idx")).ok_or("its map has no idx, which names the targets")?;
        let names = String::from_utf8_lossy(&names.read(base)?).into_owned();
        aff4.take_map(base, volume, &map, &names, warnings)?;
    } else if volume.is(memory, &["Map", "map"]) {
        return Err(format!("the map of {memory} is not in the volume"));
    } else {
        let stream = Stream::read(base, volume, memory, &mut aff4.index_budget)?;
        aff4.map.push(Mapped { start: 0, bytes: stream.bytes, offset: 0, target: Target::Stream(0) });
        aff4.streams.push(stream);
    }
    Ok((aff4, hints))
}

impl Aff4 {
    fn take_map(
        &mut self,
        base: &dyn PhysicalMemory,
        volume: &Volume,
        map: &[u8],
        names: &str,
        warnings: &mut Vec<String>,
    ) -> Result<(), String> {
        let mut targets: Vec<Target> = Vec::new();
        for name in names.lines().map(str::trim).filter(|name| !name.is_empty()) {
            if targets.len() == MAX_STREAMS {
                return Err(format!("its map has more than {MAX_STREAMS} targets"));
            }
            targets.push(self.target(base, volume, name).unwrap_or_else(|why| {
                warnings.push(why);
                Target::Missing(GapKind::Truncated)
            }));
        }
        if map.len() / MAP_ENTRY_BYTES > MAX_RUNS {
            return Err(format!(
                "its map has {} ranges; more than {MAX_RUNS} are not read",
                map.len() / MAP_ENTRY_BYTES
            ));
        }
        let entry = |entry: &[u8]| {
            let target = targets.get(usize::try_from(u32_at(entry, 24)?).ok()?)?;
            let (start, bytes) = (u64_at(entry, 0)?, u64_at(entry, 8)?);
            start.checked_add(bytes).filter(|&end| end <= END_OF_PHYSICAL)?;
            Some(Mapped { start, bytes, offset: u64_at(entry, 16)?, target: *target })
        };
        let mut ranges: Vec<Mapped> = map.chunks_exact(MAP_ENTRY_BYTES).filter_map(entry).collect();
        let outside = map.len().div_ceil(MAP_ENTRY_BYTES) - ranges.len();
        if outside > 0 {
            warnings
                .push(format!("{outside} range(s) of the map left out: behind 2^52, or of a target that is not there"));
        }
        ranges.sort_by_key(|range| range.start);
        let mut overlapping = 0;
        let mut short = 0;
        for mut range in ranges {
            let free = self.map.last().map_or(0, |last| last.start + last.bytes);
            if let Some(taken) = free.checked_sub(range.start).filter(|&taken| taken > 0 && range.bytes > 0) {
                overlapping += 1;
                range.start = free;
                range.bytes = range.bytes.saturating_sub(taken);
                range.offset = range.offset.saturating_add(taken);
            }
            // What lies behind the end of the target is not there.
            let left = match range.target {
                Target::Stream(stream) => self.streams.get(stream).map_or(0, |stream| stream.bytes),
                Target::File { start, end } => end - start,
                Target::Fill(_) | Target::Missing(_) => u64::MAX,
            };
            let left = left.saturating_sub(range.offset).min(range.bytes);
            let missing = range.bytes - left;
            if left > 0 {
                self.map.push(Mapped { bytes: left, ..range });
            }
            if missing > 0 {
                short += 1;
                let target = Target::Missing(GapKind::Truncated);
                self.map.push(Mapped { start: range.start + left, bytes: missing, offset: 0, target });
            }
        }
        if overlapping > 0 {
            warnings.push(format!("{overlapping} range(s) overlap another one: the one that begins first counts"));
        }
        if short > 0 {
            warnings.push(format!("{short} range(s) of the map reach behind the end of their target"));
        }
        Ok(())
    }

    /// What a line of `idx` names: a symbolic stream, a member of the archive, a stream.
    fn target(&mut self, base: &dyn PhysicalMemory, volume: &Volume, name: &str) -> Result<Target, String> {
        let symbol = name.contains("aff4.org/") || name.contains("afflib.org/");
        if symbol {
            let byte = |digits: &str| u8::from_str_radix(digits, 16).ok();
            let local = local_name(name);
            return match local {
                "Zero" => Ok(Target::Fill(0)),
                "UnknownData" | "UnreadableData" => Ok(Target::Missing(GapKind::Unreadable)),
                _ => match local.strip_prefix("SymbolicStream").or(Some(local)).and_then(byte) {
                    Some(byte) => Ok(Target::Fill(byte)),
                    None => Err(format!("the map has the target {name}, which is not known")),
                },
            };
        }
        if volume.value(name, "chunkSize").or(volume.value(name, "chunk_size")).is_some() {
            if let Some(known) = self.streams.iter().position(|stream| stream.urn == name) {
                return Ok(Target::Stream(known));
            }
            self.streams.push(Stream::read(base, volume, name, &mut self.index_budget)?);
            return Ok(Target::Stream(self.streams.len() - 1));
        }
        if let Some(member) = volume.member(name) {
            let (start, bytes) = member.stored(base)?;
            return Ok(Target::File { start, end: start + bytes });
        }
        Err(format!("the map has the target {name}, which is not in this volume"))
    }

    /// Neighbours of one kind as one run or gap.
    fn runs_and_gaps(&self) -> (Vec<Run>, Vec<Gap>) {
        let mut runs: Vec<Run> = Vec::new();
        let mut gaps: Vec<Gap> = Vec::new();
        for &Mapped { start, bytes, target, .. } in &self.map {
            match target {
                Target::Missing(why) => match gaps.last_mut() {
                    Some(last) if last.start.0 + last.bytes == start && last.why == why => last.bytes += bytes,
                    _ => gaps.push(Gap { start: Pa(start), bytes, why }),
                },
                _ => match runs.last_mut() {
                    Some(last) if last.start.0 + last.bytes == start => last.bytes += bytes,
                    _ => runs.push(Run { start: Pa(start), bytes, file_offset: None }),
                },
            }
        }
        (runs, gaps)
    }
}

impl Codec for Aff4 {
    fn name(&self) -> &'static str {
        NAME
    }

    fn locate(&self, at: Pa) -> Place {
        let index = self.map.partition_point(|range| range.start <= at.0).saturating_sub(1);
        let Some(range) = self.map.get(index) else { return Place::Fill { byte: 0, bytes: 1 } };
        let inside = at.0.saturating_sub(range.start);
        let (offset, bytes) = (range.offset + inside, range.bytes.saturating_sub(inside));
        match range.target {
            Target::Stream(number) => {
                let chunk_bytes = self.streams.get(number).map_or(1, |stream| stream.chunk_bytes);
                let (chunk, offset) = (offset / chunk_bytes, offset % chunk_bytes);
                let chunk = (number as u64) << STREAM_SHIFT | chunk;
                Place::Chunk { chunk, offset: offset as usize, bytes: bytes.min(chunk_bytes - offset) }
            }
            Target::File { start, .. } => Place::Below { offset: start + offset, bytes },
            Target::Fill(byte) => Place::Fill { byte, bytes },
            // No run has these.
            Target::Missing(_) => Place::Fill { byte: 0, bytes },
        }
    }

    fn decode(&self, base: &dyn PhysicalMemory, chunk: u64, into: &mut Vec<u8>) -> Result<(), String> {
        let stream = self.streams.get((chunk >> STREAM_SHIFT) as usize).ok_or("there is no such stream")?;
        stream.decode(base, chunk & ((1 << STREAM_SHIFT) - 1), into)
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::plain_zip;
