//! The picture of a struct: a row for each word, a box for each member, hatching where nothing is.
//!
//! It is for the eye alone; the table beside it says the same.

use super::frame::hex;
use maud::{Markup, html};
use quaid_profile::{Error, ProfileFile, Struct, Type};
use std::collections::BTreeMap;

/// How many boxes there are at most.
const MAX_BOXES: usize = 4000;

/// A bit field: first bit, the bit after the last, name.
pub(super) type Bits = (u64, u64, String);

/// A box: a member, bit fields that share a storage unit, or a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    /// First byte.
    pub(super) start: u64,
    /// The byte after the last.
    pub(super) end: u64,
    /// The member's name; none for a gap, and for bit fields.
    pub(super) name: Option<String>,
    /// Bit fields of the unit.
    pub(super) bits: Vec<Bits>,
}

/// The boxes of a struct by offset, without gaps.
pub(super) fn slots(profile: &ProfileFile, layout: &Struct) -> Result<Vec<Slot>, Error> {
    let mut slots = Vec::new();
    let mut units: BTreeMap<(u64, u64), Vec<Bits>> = BTreeMap::new();
    for (name, member) in &layout.members {
        let size = profile.size_of(&member.ty)?.unwrap_or(0);
        let end = member.offset.saturating_add(size);
        if let Type::BitField { start, end: last, .. } = &member.ty {
            units.entry((member.offset, end)).or_default().push((*start, *last, name.clone()));
        } else {
            slots.push(Slot { start: member.offset, end, name: Some(name.clone()), bits: Vec::new() });
        }
    }
    for ((start, end), mut bits) in units {
        bits.sort_unstable();
        slots.push(Slot { start, end, name: None, bits });
    }
    slots.sort_by(|a, b| (a.start, b.end, &a.name).cmp(&(b.start, a.end, &b.name)));
    Ok(slots)
}

/// Boxes that overlap, in as few lanes as it takes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) lanes: Vec<Vec<Slot>>,
}

/// Puts boxes that overlap into groups, and gaps between the groups up to `size`.
pub(super) fn groups(slots: Vec<Slot>, size: u64) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let gap = |start, end| Group { start, end, lanes: vec![vec![Slot { start, end, name: None, bits: Vec::new() }]] };
    let mut at = 0;
    for slot in slots {
        match groups.last_mut() {
            Some(group) if slot.start < group.end => {
                group.end = group.end.max(slot.end);
                let free = group.lanes.iter_mut().find(|lane| lane.last().is_none_or(|last| last.end <= slot.start));
                at = group.end;
                match free {
                    Some(lane) => lane.push(slot),
                    None => group.lanes.push(vec![slot]),
                }
            }
            _ => {
                if slot.start > at {
                    groups.push(gap(at, slot.start));
                }
                at = slot.end.max(at);
                groups.push(Group { start: slot.start, end: slot.end, lanes: vec![vec![slot]] });
            }
        }
    }
    if at < size {
        groups.push(gap(at, size));
    }
    groups
}

/// Draws the boxes of a struct of `size` bytes, `word` bytes to a row.
pub(super) fn draw(slots: Vec<Slot>, size: u64, word: u64, name: &str) -> Markup {
    let mut map = Map { word, parts: Vec::new(), row: None, below: Vec::new() };
    for group in groups(slots, size) {
        if map.parts.len() > MAX_BOXES {
            map.end_row();
            map.parts.push(html! { div.cell.wide.gap { "more members, in the table" } });
            break;
        }
        match group.lanes.as_slice() {
            [lane] => lane.iter().for_each(|slot| map.slot(slot)),
            lanes => {
                map.end_row();
                map.row = None;
                map.parts.push(overlay(&group, lanes, word));
            }
        }
    }
    map.end_row();
    let described = format!("Layout of {name}: {} bytes. The table of members says the same.", hex(size));
    html! { div.picture role="img" aria-label=(described) { (ruler(word)) div.map.(words(word)) { @for part in &map.parts { (part) } } } }
}

fn words(word: u64) -> &'static str {
    if word == 4 { "w4" } else { "w8" }
}

fn ruler(word: u64) -> Markup {
    html! { div.map.ruler.(words(word)) { div.off { "+" } @for byte in 0..word { div.cell.(format!("c{byte}")).s1 { (byte) } } } }
}

fn overlay(group: &Group, lanes: &[Vec<Slot>], word: u64) -> Markup {
    html! {
        div.overlay {
            p { (hex(group.start)) " to " (hex(group.end.saturating_sub(1))) ": the same bytes, " (lanes.len()) " ways" }
            @for lane in lanes.iter().take(64) { div.map.(words(word)) { (lane_of(lane, group, word)) } }
            @if lanes.len() > 64 { p { "and " (lanes.len() - 64) " more, in the table" } }
        }
    }
}

fn lane_of(lane: &[Slot], group: &Group, word: u64) -> Markup {
    let mut map = Map { word, parts: Vec::new(), row: None, below: Vec::new() };
    let mut at = group.start;
    for slot in lane {
        if slot.start > at {
            map.slot(&Slot { start: at, end: slot.start, name: None, bits: Vec::new() });
        }
        map.slot(slot);
        at = slot.end.max(at);
    }
    map.end_row();
    html! { @for part in &map.parts { (part) } }
}

struct Map {
    word: u64,
    parts: Vec<Markup>,
    /// Offset of the row that is being filled.
    row: Option<u64>,
    /// What goes below that row.
    below: Vec<Markup>,
}

impl Map {
    fn end_row(&mut self) {
        self.parts.append(&mut self.below);
    }

    fn begin_row(&mut self, offset: u64) {
        if self.row != Some(offset) {
            self.end_row();
            self.row = Some(offset);
            self.parts.push(html! { div.off { (hex(offset)) } });
        }
    }

    fn slot(&mut self, slot: &Slot) {
        let mut first = true;
        for piece in pieces(slot.start, slot.end, self.word) {
            self.begin_row(piece.row);
            let place = format!("c{} s{} h{}", piece.column, piece.bytes, height(piece.rows));
            let kind = match (&slot.name, slot.bits.is_empty()) {
                (Some(_), _) => "member",
                (None, false) => "unit",
                (None, true) => "gap",
            };
            let text = match &slot.name {
                Some(name) if first => name.clone(),
                Some(name) => format!("… {name}"),
                None if slot.bits.len() == 1 => "1 bit field".to_owned(),
                None if !slot.bits.is_empty() => format!("{} bit fields", slot.bits.len()),
                None => format!("{}", slot.end - slot.start),
            };
            self.parts.push(html! { div.cell.(kind).(place) title=(text) {
                // Below the bytes that it is of, where these are side by side.
                @if !slot.bits.is_empty() && piece.bytes == slot.end - slot.start { (strip(slot)) } @else { span { (text) } }
                @if piece.rows > 1 { small { (hex(slot.end - slot.start)) " bytes" } }
            } });
            first = false;
        }
        if slot.start == slot.end {
            self.begin_row(slot.start - slot.start % self.word);
            let name = slot.name.as_deref().unwrap_or_default();
            self.below.push(
                html! { div.cell.wide.member.open { span { (name) } small { "from " (hex(slot.start)) " on" } } },
            );
        }
        if !slot.bits.is_empty() {
            self.below.push(html! {
                div.bits { @for (start, end, name) in &slot.bits {
                    span.bit { small { (start) @if end - start > 1 { "–" (end - 1) } } " " (name) }
                } }
            });
        }
    }
}

/// The bits of a storage unit to scale, lowest first as its bytes are; fields that overlap are below each other.
fn strip(slot: &Slot) -> Markup {
    let all = slot.end.saturating_sub(slot.start).saturating_mul(8);
    let mut ends: Vec<u64> = Vec::new();
    let mut boxes: Vec<(u64, u64, usize, &str)> = Vec::new();
    for (start, end, name) in &slot.bits {
        let (start, end) = (*start.min(&all), *end.min(&all));
        let lane = ends.iter().position(|last| *last <= start).unwrap_or(ends.len());
        match ends.get_mut(lane) {
            Some(last) => *last = end,
            None => ends.push(end),
        }
        boxes.push((start, end.saturating_sub(start), lane, name));
    }
    html! {
        svg.strip viewBox=(format!("0 0 {all} {}", ends.len())) preserveAspectRatio="none" width="100%" height=(14 * ends.len()) {
            @for (start, bits, lane, name) in &boxes { rect x=(start) y=(lane) width=(bits) height="1" { title { (name) } } }
        }
    }
}

/// A part of a box that is a rectangle of the grid.
#[derive(Debug, PartialEq, Eq)]
struct Piece {
    row: u64,
    column: u64,
    bytes: u64,
    rows: u64,
}

/// The rest of its first row, whole rows, the beginning of its last row.
fn pieces(start: u64, end: u64, word: u64) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut at = start;
    while at < end {
        let column = at % word;
        let left = end - at;
        let piece = if column > 0 || left < word {
            Piece { row: at - column, column, bytes: left.min(word - column), rows: 1 }
        } else {
            Piece { row: at, column, bytes: word, rows: left / word }
        };
        at += piece.bytes * piece.rows;
        pieces.push(piece);
    }
    pieces
}

/// How high a box is drawn, from 1 to 4: a long member must not push the others away.
fn height(rows: u64) -> u64 {
    match rows {
        0..=1 => 1,
        2..=3 => 2,
        4..=31 => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(start: u64, end: u64, name: &str) -> Slot {
        Slot { start, end, name: Some(name.to_owned()), bits: Vec::new() }
    }

    #[test]
    fn what_is_between_members_is_a_gap_and_what_overlaps_is_in_lanes() {
        let found =
            groups(vec![slot(0, 4, "a"), slot(8, 16, "b"), slot(8, 12, "c"), slot(12, 14, "d"), slot(20, 20, "e")], 24);
        let shown: Vec<(u64, u64, usize)> =
            found.iter().map(|group| (group.start, group.end, group.lanes.len())).collect();
        assert_eq!(shown, [(0, 4, 1), (4, 8, 1), (8, 16, 2), (16, 20, 1), (20, 20, 1), (20, 24, 1)]);
        assert_eq!(found[2].lanes[1], [slot(8, 12, "c"), slot(12, 14, "d")]);
    }

    #[test]
    fn bits_are_to_scale_and_those_that_overlap_are_below_each_other() {
        let bits = |start, end, name: &str| (start, end, name.to_owned());
        let of = |start, end, bits: Vec<Bits>| strip(&Slot { start, end, name: None, bits }).into_string();
        let found = of(4, 8, vec![bits(0, 3, "a"), bits(3, 4, "b"), bits(16, 32, "c")]);
        assert!(found.contains(r#"viewBox="0 0 32 1""#), "{found}");
        for (x, width, name) in [(0, 3, "a"), (3, 1, "b"), (16, 16, "c")] {
            let rect = format!(r#"<rect x="{x}" y="0" width="{width}" height="1"><title>{name}</title></rect>"#);
            assert!(found.contains(&rect), "{rect}: {found}");
        }
        let found = of(0, 1, vec![bits(0, 8, "all"), bits(0, 1, "low"), bits(1, 99, "beyond")]);
        assert!(found.contains(r#"viewBox="0 0 8 2""#) && found.contains(r#"x="1" y="1" width="7""#), "{found}");
    }

    #[test]
    fn a_box_over_several_rows_is_in_pieces_and_a_huge_one_in_three() {
        let piece = |row, column, bytes, rows| Piece { row, column, bytes, rows };
        assert_eq!(pieces(6, 20, 8), [piece(0, 6, 2, 1), piece(8, 0, 8, 1), piece(16, 0, 4, 1)]);
        assert_eq!(pieces(4, u64::MAX, 8).len(), 3);
        assert!(pieces(4, 4, 8).is_empty());
    }
}
