//! EWF, the Expert Witness format (.E01, .s01): chunks in one or more segment files, each chunk with a checksum.
//!
//! Source: see [`sections`]. Version 2 (.Ex01) and logical images (.L01) are refused by name. Checksums are verified when
//! a chunk is read; a bad chunk reads as corrupt, with the file and offset where it lies.

mod facts;
mod rebuilt;
mod sections;

use super::codec_layer::{Codec, CodecLayer, Place};
use super::fields::{piece, u32_at, u64_at};
use super::run_layer::{END_OF_PHYSICAL, Layout, end_of, holds};
use super::vote::{Layer, Probe, Vote};
use super::{GapKind, Hints, PhysicalMemory, array, inflate};
use crate::addr::Pa;
use crate::error::PageFault;
use md5::{Digest as _, Md5};
use sections::{MAGIC, SECTION_HEADER_BYTES, Section, Table, adler32, sections, segment_number};
use sha1::Sha1;
use std::sync::Arc;

/// The name in the voting log and in `Options::format`.
pub(super) const NAME: &str = "EWF";

/// The largest chunk that libewf writes is 16 MiB.
const MAX_CHUNK_BYTES: u64 = 32 << 20;
/// 2 TiB in chunks of 32 KiB; it bounds the memory that tables can take, 4 bytes a chunk.
const MAX_CHUNKS: u64 = 1 << 26;
/// A volume section with less than this has the layout of SMART.
const VOLUME_BYTES: u64 = 1052;

/// What the volume section says.
struct Volume {
    chunk_bytes: u64,
    /// `None` until the end of an acquisition from a pipe.
    media_bytes: Option<u64>,
    guid: Option<Vec<u8>>,
}

/// One segment file.
struct Segment {
    memory: Arc<dyn PhysicalMemory>,
    name: String,
}

/// A table with the number of its first chunk.
struct Numbered {
    first: u64,
    segment: usize,
    table: Table,
}

/// All chunks of all segments.
struct Ewf {
    segments: Vec<Segment>,
    tables: Vec<Numbered>,
    chunk_bytes: u64,
    media_bytes: u64,
}

/// Answers whether the layer is the first segment of an EWF image.
pub(super) fn probe(probe: &Probe<'_>) -> Vote {
    match array::<8>(probe.base.as_ref(), 0) {
        Some(magic) if &magic == MAGIC => {}
        _ => return Vote::no("no EWF magic at the start"),
    }
    match segment_number(probe.base.as_ref()) {
        Some(1) => {}
        Some(number) => {
            return Vote::Broken(format!("it is segment {number} of an image: open the first one (.E01, .s01)"));
        }
        None => return Vote::Broken("its header is cut short".into()),
    }
    let mut hints = Hints::default();
    let mut warnings = Vec::new();
    let (ewf, ended) = match read(probe, &mut hints, &mut warnings) {
        Ok(read) => read,
        Err(why) => return Vote::Broken(why),
    };
    let bytes = (ewf.next_chunks().0 * ewf.chunk_bytes).min(ewf.media_bytes);
    let mut layout = Layout::default();
    layout.run(0, bytes, None);
    layout.gap(bytes, ewf.media_bytes - bytes, GapKind::Truncated);
    warnings.extend(layout.truncated(ended));
    if bytes == 0 {
        return Vote::Broken(format!("none of its chunks is there ({})", warnings.join("; ")));
    }
    let memory = Arc::new(CodecLayer::new(Arc::clone(probe.base), ewf, layout.runs, layout.gaps));
    Vote::Yes(Layer { memory, warnings, hints })
}

/// A digest of the contents of an EWF image: the one that it carries (in its facts), and the one that its contents have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// "MD5" or "SHA-1".
    pub name: &'static str,
    /// As the image has it, in lower-case hex; acquisition programs store what they were asked to.
    pub stored: Option<String>,
    /// Of the contents.
    pub computed: String,
}

/// The digests of an EWF image's contents. Open it with the format "EWF" forced, so that the layer is not what lies inside.
/// `progress` is told how many bytes more were gone through. The fault is that of the first part that is missing or damaged.
pub fn digests(image: &super::Image, progress: &mut dyn FnMut(u64)) -> Result<[Digest; 2], PageFault> {
    let memory = image.memory();
    let (mut md5, mut sha1) = (Md5::new(), Sha1::new());
    let mut buffer = vec![0; 8 << 20];
    let gaps = memory.gaps().last().map_or(0, |gap| gap.start.0.saturating_add(gap.bytes));
    let end = end_of(memory).max(gaps);
    let mut at = 0;
    while at < end {
        let bytes = usize::try_from(end - at).map_or(buffer.len(), |left| left.min(buffer.len()));
        let (here, _) = buffer.split_at_mut(bytes);
        memory.read(Pa(at), here)?;
        memory.release(Pa(at), bytes);
        md5.update(&*here);
        sha1.update(&*here);
        at += bytes as u64;
        progress(bytes as u64);
    }
    let of = |name: &'static str, computed: &[u8]| {
        let stored = image.hints.facts.iter().find(|(what, _)| what == name).map(|(_, value)| value.clone());
        Digest { name, stored, computed: facts::hex(computed) }
    };
    Ok([of("MD5", &md5.finalize()), of("SHA-1", &sha1.finalize())])
}

/// The extension of segment `number`, as the first one's: E01 to E99, then EAA to EZZ, FAA to ZZZ.
fn extension(first: &str, number: u32) -> Option<String> {
    let letter = first.chars().next().filter(char::is_ascii_alphabetic)?;
    if number < 100 {
        return Some(format!("{letter}{number:02}"));
    }
    let index = number - 100;
    let base = if letter.is_ascii_lowercase() { b'a' } else { b'A' };
    let letters = u8::try_from(index / 676).ok().and_then(|carry| (letter as u8).checked_add(carry));
    let leading = letters.filter(|&leading| leading <= base + 25)?;
    let at = |index: u32| char::from(base + (index % 26) as u8);
    Some([char::from(leading), at(index / 26), at(index)].iter().collect())
}

/// The segments, and why there are no more of them, if there should be.
fn read(probe: &Probe<'_>, hints: &mut Hints, warnings: &mut Vec<String>) -> Result<(Ewf, Option<String>), String> {
    let path = probe.path;
    let name = path.and_then(|path| path.file_name()).map_or("the image".into(), |name| name.to_string_lossy());
    let mut segment = Segment { memory: Arc::clone(probe.base), name: name.into_owned() };
    let mut volume = None;
    let mut ewf = Ewf { segments: Vec::new(), tables: Vec::new(), chunk_bytes: 0, media_bytes: 0 };
    let mut number = 1;
    let ended = loop {
        let (sections, mut complete) = sections(segment.memory.as_ref());
        let base = segment.memory.as_ref();
        if volume.is_none() {
            let found = sections.iter().find(|section| matches!(section.kind.as_str(), "volume" | "disk" | "data"));
            let found = found.ok_or_else(|| match &complete {
                Err(why) => format!("it has no volume section: {why}"),
                Ok(()) => "it has no volume section".into(),
            })?;
            let found = Volume::read(base, found)?;
            (ewf.chunk_bytes, ewf.media_bytes) = (found.chunk_bytes, found.media_bytes.unwrap_or(END_OF_PHYSICAL));
            volume = Some(found);
            let text = sections.iter().find(|s| s.kind == "header2").or(sections.iter().find(|s| s.kind == "header"));
            if let Some(section) = text {
                facts::header(base, section, hints);
            }
        } else if !same_image(base, &sections, volume.as_ref()) {
            break Some(format!("{} is a segment of another image", segment.name));
        }
        if let Err(why) = ewf.take_tables(base, &sections) {
            complete = Err(why);
        }
        for section in sections.iter().filter(|section| matches!(section.kind.as_str(), "digest" | "hash")) {
            facts::digests(base, section, hints);
        }
        if let Some(count) = unreadable_sectors(base, &sections) {
            warnings.push(format!(
                "{count} ranges of sectors could not be read when the image was made: they hold what the program put there"
            ));
        }
        let done = sections.last().is_some_and(|section| section.kind == "done");
        let name = segment.name.clone();
        ewf.segments.push(segment);
        if let Err(why) = complete {
            break Some(format!("{name} is damaged: {why}"));
        }
        if done {
            break None;
        }
        number += 1;
        segment = match open_segment(probe, number, &name) {
            Ok(next) => next,
            Err(why) => break Some(why),
        };
    };
    // An acquisition from a pipe that was broken off.
    if volume.is_some_and(|volume| volume.media_bytes.is_none()) {
        ewf.media_bytes = ewf.next_chunks().0 * ewf.chunk_bytes;
    }
    Ok((ewf, ended))
}

/// Opens segment `number`, the one behind `before`. The error is a sentence.
fn open_segment(probe: &Probe<'_>, number: u32, before: &str) -> Result<Segment, String> {
    let first = probe.path.and_then(|path| path.extension()).and_then(|e| e.to_str()).unwrap_or("E01");
    let wanted =
        extension(first, number).ok_or_else(|| format!("behind {before} there is no name for another segment"))?;
    let path = probe.sibling(&wanted).ok_or_else(|| format!("segment {number} (.{wanted}) is not beside {before}"))?;
    let memory = probe.open_sibling(&path).map_err(|error| format!("{} cannot be opened: {error}", path.display()))?;
    if segment_number(memory.as_ref()).map(u32::from) != Some(number) {
        return Err(format!("{} is not segment {number} of an EWF image", path.display()));
    }
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Ok(Segment { memory, name })
}

impl Volume {
    fn read(base: &dyn PhysicalMemory, section: &Section) -> Result<Self, String> {
        let place = format!("the {} section at offset {:#x}", section.kind, section.at);
        let payload = section.payload(base, VOLUME_BYTES).unwrap_or_default();
        let number = |at| u32_at(&payload, at).map(u64::from);
        let full = payload.len() as u64 == VOLUME_BYTES;
        if full && u32_at(&payload, 1048) != payload.get(..1048).map(adler32) {
            return Err(format!("{place} has a wrong checksum"));
        }
        let sectors = if full { u64_at(&payload, 16) } else { number(16) };
        let numbers = || Some((number(8)?, number(12)?, sectors?));
        let (per_chunk, sector_bytes, sectors) = numbers().ok_or_else(|| format!("{place} is cut short"))?;
        let chunk_bytes = per_chunk.checked_mul(sector_bytes).filter(|bytes| (1..=MAX_CHUNK_BYTES).contains(bytes));
        let media_bytes = sectors.checked_mul(sector_bytes).filter(|bytes| (0..=END_OF_PHYSICAL).contains(bytes));
        let (Some(chunk_bytes), Some(media_bytes)) = (chunk_bytes, media_bytes) else {
            return Err(format!(
                "{place} declares {sectors} sectors of {sector_bytes} bytes, {per_chunk} in a chunk: no image has that"
            ));
        };
        let guid = payload.get(64..80).filter(|guid| full && guid.iter().any(|&byte| byte != 0)).map(<[u8]>::to_vec);
        Ok(Self { chunk_bytes, media_bytes: Some(media_bytes).filter(|&bytes| bytes > 0), guid })
    }
}

/// Whether the volume's copy in a later segment is of the same image. Some writers keep none, or no GUID.
fn same_image(base: &dyn PhysicalMemory, sections: &[Section], volume: Option<&Volume>) -> bool {
    let data = sections.iter().find(|section| section.kind == "data");
    let other = data.and_then(|section| Volume::read(base, section).ok()).and_then(|data| data.guid);
    match (volume.and_then(|volume| volume.guid.as_ref()), other) {
        (Some(one), Some(other)) => *one == other,
        _ => true,
    }
}

/// The count of an `error2` section.
fn unreadable_sectors(base: &dyn PhysicalMemory, sections: &[Section]) -> Option<u32> {
    let section = sections.iter().find(|section| section.kind == "error2")?;
    u32_at(&section.payload(base, 4)?, 0).filter(|&count| count > 0)
}

impl Ewf {
    /// Adds the tables of the segment that comes next. A table that is damaged is replaced by its mirror; without one its
    /// chunks are searched for, and the numbers of all later ones are lost.
    fn take_tables(&mut self, base: &dyn PhysicalMemory, sections: &[Section]) -> Result<(), String> {
        // The chunks of which the table is due.
        let mut data: Option<&Section> = None;
        let mut damaged: Option<String> = None;
        let mut data_end = None;
        for section in sections {
            match section.kind.as_str() {
                "sectors" if data.is_some() || damaged.is_some() => break,
                "sectors" => (data, data_end) = (Some(section), Some(section.end)),
                "table" if damaged.is_some() => break,
                "table2" if damaged.is_none() => {}
                "table" | "table2" => {
                    let (first, wanted) = self.next_chunks();
                    match Table::read(base, section, data_end.unwrap_or(section.end), wanted) {
                        Ok(table) => {
                            (data, damaged) = (None, None);
                            self.push(first, table);
                        }
                        Err(why) => damaged = Some(why),
                    }
                }
                _ => {}
            }
        }
        let Some(data) = data else { return damaged.map_or(Ok(()), Err) };
        let start = data.at + SECTION_HEADER_BYTES;
        // Who writes a section does not know its length before its end.
        let is_last = sections.last().is_some_and(|last| last.at == data.at);
        let end = if is_last { end_of(base) } else { data.end };
        let (first, wanted) = self.next_chunks();
        let table = self.rebuilt(base, start..end, first, wanted);
        let why = damaged.unwrap_or_else(|| format!("the table of its chunks from offset {start:#x} on is not there"));
        let found = table.chunks();
        self.push(first, table);
        Err(format!("{why}; {found} of these chunk(s) were found without it, each with its checksum"))
    }

    /// The number of the first chunk that no table has yet, and how many there may be from there on.
    fn next_chunks(&self) -> (u64, u64) {
        let first = self.tables.last().map_or(0, |last| last.first + last.table.chunks());
        (first, self.media_bytes.div_ceil(self.chunk_bytes).min(MAX_CHUNKS).saturating_sub(first))
    }

    fn push(&mut self, first: u64, table: Table) {
        if table.chunks() > 0 {
            self.tables.push(Numbered { first, segment: self.segments.len(), table });
        }
    }

    /// No chunk takes more bytes in a file. zlib grows what it cannot pack by five bytes in 16 KiB; what is longer belongs to
    /// something else.
    fn most_packed(&self) -> u64 {
        self.chunk_bytes + self.chunk_bytes / 16 + 1024
    }

    /// The chunk's bytes as they should come out: the last chunk of the image is shorter.
    fn bytes_of(&self, chunk: u64) -> u64 {
        self.media_bytes.saturating_sub(chunk * self.chunk_bytes).min(self.chunk_bytes)
    }
}

/// The `bytes` bytes at `offset`, if the Adler-32 behind them is theirs.
fn verified(base: &dyn PhysicalMemory, offset: u64, bytes: u64) -> Option<Vec<u8>> {
    let mut data = piece(base, offset, bytes.checked_add(4)?)?;
    let checksum = u32_at(&data, usize::try_from(bytes).ok()?);
    data.truncate(data.len() - 4);
    (checksum == Some(adler32(&data))).then_some(data)
}

impl Codec for Ewf {
    fn name(&self) -> &'static str {
        NAME
    }

    fn locate(&self, at: Pa) -> Place {
        let (chunk, offset) = (at.0 / self.chunk_bytes, at.0 % self.chunk_bytes);
        Place::Chunk { chunk, offset: offset as usize, bytes: self.chunk_bytes - offset }
    }

    fn decode(&self, _: &dyn PhysicalMemory, chunk: u64, into: &mut Vec<u8>) -> Result<(), String> {
        let index = self.tables.partition_point(|table| table.first <= chunk).checked_sub(1);
        let numbered = index.and_then(|index| self.tables.get(index)).ok_or("there is no such chunk")?;
        let segment = self.segments.get(numbered.segment).ok_or("its segment is gone")?;
        let stored = numbered.table.chunk(chunk - numbered.first);
        let stored =
            stored.ok_or_else(|| format!("chunk {chunk}: its entry in the table of {} is wrong", segment.name))?;
        let place = |why: &str| format!("chunk {chunk} at offset {:#x} of {} {why}", stored.offset, segment.name);
        let expected = self.bytes_of(chunk);
        if stored.compressed {
            let most = stored.bytes.min(self.most_packed());
            let packed = piece(segment.memory.as_ref(), stored.offset, most);
            let packed = packed.ok_or_else(|| place("lies behind the end of the file"))?;
            inflate::zlib(&packed, self.chunk_bytes, into)
                .map_err(|why| place(&format!("cannot be unpacked: {why}")))?;
        } else {
            let base = segment.memory.as_ref();
            if stored.bytes <= expected || !holds(base, stored.offset, expected + 4) {
                return Err(place("is cut short"));
            }
            // The last chunk of a source that ends within a sector has its rest too, and the checksum behind all of it.
            let most = stored.bytes.saturating_sub(4).min(self.chunk_bytes);
            let data = [expected, most].into_iter().find_map(|bytes| verified(base, stored.offset, bytes));
            let data = data.ok_or_else(|| place("has a wrong Adler-32"))?;
            into.extend(data.iter().take(expected as usize));
        }
        if (into.len() as u64) < expected || into.len() as u64 > self.chunk_bytes {
            return Err(place(&format!("has {} bytes; {expected} are due", into.len())));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
