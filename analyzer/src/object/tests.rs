//! Objects on memory and profiles made by the tests.

use super::*;
use crate::addr::{Pa, Va};
use crate::error::{FaultReason, PageFault};
use quaid_profile::{Member as ProfileMember, Profile, ProfileFile, Struct, Type};

/// Pages at addresses. What is not in one of them is mapped to nothing, but for the page at `LOST`: the image lacks it.
struct Pages(Vec<(u64, Vec<u8>)>);

const LOST: std::ops::Range<u64> = 0x8000..0x9000;

impl Memory for Pages {
    fn read(&self, at: Va, buffer: &mut [u8]) -> Result<(), PageFault> {
        for (index, byte) in buffer.iter_mut().enumerate() {
            let here = at.wrapping_add(index as u64);
            let find = |(start, bytes): &(u64, Vec<u8>)| {
                bytes.get(usize::try_from(here.0.checked_sub(*start)?).ok()?).copied()
            };
            let lost = LOST.contains(&here.0);
            let reason = if lost { FaultReason::NotInImage(Pa(here.0)) } else { FaultReason::NotCanonical };
            *byte = self.0.iter().find_map(find).ok_or(PageFault { va: Some(here), reason })?;
        }
        Ok(())
    }
}

impl Pages {
    fn one(start: u64, bytes: usize) -> Self {
        Self(vec![(start, vec![0; bytes])])
    }
    fn put(&mut self, at: u64, bytes: &[u8]) {
        let (start, page) = self.0.iter_mut().rev().find(|(start, _)| *start <= at).expect("a page for it");
        let offset = (at - *start) as usize;
        page[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
    fn pointer(&mut self, at: u64, to: u64) {
        self.put(at, &to.to_le_bytes());
    }
}

const LIST: &str = r#""_LIST_ENTRY": [16, {"Flink": [0, ["Pointer", {"target": "_LIST_ENTRY"}]], "Blink": [8, ["Pointer", {"target": "_LIST_ENTRY"}]]}]"#;

/// A Windows profile for 64 bits with these structs, in Rekall's language.
fn profile(structs: &str) -> ProfileFile {
    let text = format!(
        r#"{{"$METADATA": {{"ProfileClass": "Nt", "arch": "AMD64"}}, "$STRUCTS": {{{LIST}{}{structs}}}}}"#,
        if structs.is_empty() { "" } else { "," }
    );
    ProfileFile::parse("made", text.as_bytes()).expect("a profile")
}

fn layout<L: Layout>(profile: &ProfileFile) -> Result<L, LayoutError> {
    Resolver::layout(&Types::new(profile), "made")
}

kernel_struct! {
    /// Something in a ring.
    struct Thing(ThingLayout) = "_THING" {
        id: u32 = "Id",
        links: ListEntry = "Links",
    }
}

const THING: &str = r#""_THING": [24, {"Id": [0, ["unsigned long"]], "Links": [8, ["_LIST_ENTRY"]]}]"#;

/// A ring of three things at 0x2000, 0x2100, 0x2200 whose head is at 0x1000.
fn ring() -> Pages {
    let mut pages = Pages(vec![(0x1000, vec![0; 0x1000]), (0x2000, vec![0; 0x1000])]);
    let links = [0x1000, 0x2008, 0x2108, 0x2208];
    for (index, link) in links.iter().enumerate() {
        pages.pointer(*link, links[(index + 1) % 4]);
        pages.pointer(link + 8, links[(index + 3) % 4]);
        if index > 0 {
            pages.put(link - 8, &(10 * index as u32).to_le_bytes());
        }
    }
    pages
}

/// The things' ids, then how the walk ended.
fn walk(pages: &Pages) -> (Vec<u32>, Option<ListFault>) {
    let layout: ThingLayout = layout(&profile(THING)).expect("resolves");
    let mut ids = Vec::new();
    for thing in List::<Thing>::new(pages, Va(0x1000), &layout, &layout.links) {
        match thing {
            Ok(thing) => ids.push(thing.id().expect("readable")),
            Err(fault) => return (ids, Some(fault)),
        }
    }
    (ids, None)
}

#[test]
fn a_ring_gives_its_entries_without_the_head() {
    assert_eq!(walk(&ring()), (vec![10, 20, 30], None));
    let mut empty = Pages::one(0x1000, 0x1000);
    empty.pointer(0x1000, 0x1000);
    assert_eq!(walk(&empty), (vec![], None));
}

#[test]
fn a_ring_that_is_cut_ends_with_the_fault() {
    let mut pages = ring();
    pages.pointer(0x2108, 0x9000);
    let (ids, fault) = walk(&pages);
    let Some(ListFault::Unreadable { head, entries, fault }) = fault else { panic!("{fault:?}") };
    assert_eq!((ids, head, entries, fault.va), (vec![10, 20], Va(0x1000), 2, Some(Va(0x9000))));
}

#[test]
fn a_circle_that_misses_the_head_is_told_at_its_first_entry() {
    let mut pages = ring();
    pages.pointer(0x2208, 0x2108);
    let expected = ListFault::Circle { head: Va(0x1000), entries: 3, at: Va(0x2108) };
    assert_eq!(walk(&pages), (vec![10, 20, 30], Some(expected)));
    // One that names itself, as a process does that was unlinked.
    let mut pages = ring();
    pages.pointer(0x2008, 0x2008);
    let expected = ListFault::Circle { head: Va(0x1000), entries: 1, at: Va(0x2008) };
    assert_eq!(walk(&pages), (vec![10], Some(expected)));
}

#[test]
fn an_entry_on_a_page_that_the_image_lacks_is_the_last_one() {
    let mut pages = ring();
    // The thing's first member is on the page before, and can be read.
    pages.0.push((LOST.start - 0x1000, vec![0; 0x1000]));
    pages.put(LOST.start - 8, &77_u32.to_le_bytes());
    pages.pointer(0x2108, LOST.start);
    let (ids, fault) = walk(&pages);
    assert_eq!(ids, [10, 20, 77]);
    assert!(matches!(fault, Some(ListFault::Unreadable { entries: 3, .. })), "{fault:?}");
}

#[test]
fn a_null_link_is_a_fault_and_not_an_end() {
    let mut pages = ring();
    pages.pointer(0x2008, 0);
    let (ids, fault) = walk(&pages);
    assert_eq!(ids, [10]);
    assert!(matches!(fault, Some(ListFault::Unreadable { entries: 1, .. })), "{fault:?}");
}

kernel_struct! {
    /// Members of many kinds.
    struct Mixed(MixedLayout) = "_MIXED_NEW" | "_MIXED" {
        renamed: u32 = "NewName" | "OldName",
        absent: Option<u32> = "NotHere",
        nested: u64 = "Inner.Values.1",
        deep: u32 = "Hidden",
        collapsed: u32 = "Collapsed",
        bits: u32 = "Bits",
        negative: i64 = "Negative",
        name: CStr<8> = "Name",
    }
}

/// As the model has it: Rekall's language cannot say "without a name".
fn mixed() -> ProfileFile {
    let member = |offset, ty| ProfileMember { offset, ty, anonymous: false };
    let mut profile = Profile::default();
    profile.metadata.set("ProfileClass", "Nt");
    let long = || Type::named("unsigned long");
    let mut add = |name: &str, size, members: Vec<(&str, ProfileMember)>| {
        let members = members.into_iter().map(|(label, member)| (label.to_owned(), member)).collect();
        profile.structs.insert(name.to_owned(), Struct { size, members, ..Struct::default() });
    };
    add("_INNER", 24, vec![("Values", member(8, Type::array_of(Type::named("unsigned long long"), 2)))]);
    add("_HIDING", 8, vec![("Hidden", member(4, long()))]);
    add(
        "_NAMELESS",
        8,
        vec![("unnamed_field_0", ProfileMember { anonymous: true, ..member(0, Type::named("_HIDING")) })],
    );
    add("_REKALL_S", 4, vec![("Collapsed", member(0, long()))]);
    let bits = Type::BitField { start: 3, end: 7, target: Box::new(long()) };
    add(
        "_MIXED",
        0x60,
        vec![
            ("OldName", member(0, long())),
            ("Inner", member(8, Type::named("_INNER"))),
            ("anything", ProfileMember { anonymous: true, ..member(0x20, Type::named("_NAMELESS")) }),
            ("u1", member(0x28, Type::named("_REKALL_S"))),
            ("Bits", member(0x30, bits)),
            ("Negative", member(0x34, Type::named("long"))),
            ("Name", member(0x38, Type::array_of(Type::named("char"), 16))),
        ],
    );
    ProfileFile::from_profile(&profile).expect("a profile")
}

#[test]
fn members_are_found_by_alternatives_through_structs_arrays_and_what_has_no_name() {
    let layout: MixedLayout = layout(&mixed()).expect("resolves");
    let mut pages = Pages::one(0x1000, 0x60);
    for (offset, value) in [
        (0, 7_u64),
        (0x18, 0x1_0000_0002),
        (0x24, 5),
        (0x28, 6),
        (0x30, 0b10_1101_0101),
        (0x38, u64::from_le_bytes(*b"0123456\xff")),
    ] {
        pages.put(0x1000 + offset, &value.to_le_bytes());
    }
    pages.put(0x1034, &(-2_i32).to_le_bytes());
    let mixed = Mixed::new(Va(0x1000), &pages, &layout);
    assert_eq!(mixed.renamed(), Ok(7));
    assert_eq!(mixed.absent(), Ok(None));
    assert_eq!(mixed.nested(), Ok(0x1_0000_0002));
    assert_eq!(mixed.deep(), Ok(5));
    assert_eq!(mixed.collapsed(), Ok(6));
    assert_eq!(mixed.bits(), Ok(0b1010));
    assert_eq!(mixed.negative(), Ok(-2));
    // Eight of sixteen characters at most; what is no UTF-8 is kept readable.
    assert_eq!(mixed.name(), Ok(CStr("0123456\\xff".to_owned())));
}

kernel_struct! {
    /// What no profile has.
    struct Greedy(GreedyLayout) = "_THING" {
        id: u32 = "Id",
        gone: u32 = "Gone" | "Lost",
        address: Va = "Id",
        cut: u32 = "Links.Flink",
        text: CStr<4> = "Links",
        list: ListEntry = "Id",
        maybe: Option<u32> = "Nothing",
        also: Va = "Missing.Too",
    }
}

#[test]
fn everything_that_a_profile_cannot_give_is_told_at_once() {
    let error = layout::<GreedyLayout>(&profile(THING)).err().expect("it cannot");
    assert_eq!((error.structure, error.profile.as_str()), ("_THING", "made"));
    assert_eq!(
        error.problems,
        [
            "it has no member Gone or Lost",
            "Id is an integer of 4 bytes, which is no address",
            "Links.Flink is an integer of 64 bits, which u32 would cut",
            "Links is no array of characters",
            "Id is `unsigned long`, which is no entry of a list",
            "it has no member Missing.Too",
        ]
    );
    let error = layout::<GreedyLayout>(&profile("")).err().expect("it cannot");
    assert_eq!(error.to_string(), "_THING cannot be read with profile made: it has no struct _THING");
}

#[test]
fn an_unreadable_member_leaves_the_others_readable() {
    let layout: ThingLayout = layout(&profile(THING)).expect("resolves");
    let mut pages = Pages::one(0x1ff0, 0x10);
    pages.put(0x1ff8, &77_u32.to_le_bytes());
    let thing = Thing::new(Va(0x1ff8), &pages, &layout);
    assert_eq!(thing.id(), Ok(77));
    assert_eq!(thing.links().map_err(|fault| fault.va), Err(Some(Va(0x2000))));
}

kernel_struct! {
    /// Texts.
    struct Texts(TextsLayout) = "_TEXTS" {
        short: CStr<64> = "Short",
        wide: UnicodeString = "Wide",
    }
}

const TEXTS: &str = r#""_TEXTS": [80, {"Short": [0, ["Array", {"target": "unsigned char", "count": 64}]], "Wide": [64, ["_UNICODE_STRING"]]}],
    "_UNICODE_STRING": [16, {"Length": [0, ["unsigned short"]], "MaximumLength": [2, ["unsigned short"]], "Buffer": [8, ["Pointer", {"target": "unsigned short"}]]}]"#;

#[test]
fn a_text_that_ends_before_a_missing_page_is_whole() {
    let layout: TextsLayout = layout(&profile(TEXTS)).expect("resolves");
    let mut pages = Pages::one(0x1000, 0x1000);
    pages.put(0x1ff8, b"seven c\0");
    assert_eq!(Texts::new(Va(0x1ff8), &pages, &layout).short(), Ok(CStr("seven c".to_owned())));
    pages.put(0x1ff8, b"and more");
    assert_eq!(Texts::new(Va(0x1ff8), &pages, &layout).short().map_err(|fault| fault.va), Err(Some(Va(0x2000))));
}

#[test]
fn wide_texts_keep_what_is_no_character_and_bound_what_they_read() {
    let layout: TextsLayout = layout(&profile(TEXTS)).expect("resolves");
    let mut pages = Pages::one(0x1000, 0x1000);
    let units: Vec<u8> =
        ['H' as u16, 0xd83d, 0xde00, 0xdc00, 'i' as u16].iter().flat_map(|unit| unit.to_le_bytes()).collect();
    pages.put(0x1100, &units);
    let mut wide = |length: u16, buffer: u64| {
        pages.put(0x1040, &length.to_le_bytes());
        pages.pointer(0x1048, buffer);
        Texts::new(Va(0x1000), &pages, &layout).wide().map(|text| text.0)
    };
    // An odd length loses its half unit.
    assert_eq!(wide(11, 0x1100), Ok("H\u{1f600}\\udc00i".to_owned()));
    assert_eq!(wide(0, 0), Ok(String::new()));
    assert!(wide(2, 0).is_err());
    assert!(wide(u16::MAX, 0x1100).is_err());
}

kernel_struct! {
    /// A time.
    struct Timed(TimedLayout) = "task" {
        start: Nanoseconds = "start",
    }
}

#[test]
fn times_are_nanoseconds_whatever_the_kernel_s_type() {
    let of = |structs: &str| layout::<TimedLayout>(&profile(structs));
    let mut pages = Pages::one(0x1000, 0x20);
    pages.put(0x1008, &3_u64.to_le_bytes());
    pages.put(0x1010, &250_000_000_u64.to_le_bytes());
    let read = |layout: &TimedLayout| Timed::new(Va(0x1000), &pages, layout).start().expect("readable").0;
    let plain = of(r#""task": [16, {"start": [16, ["unsigned long long"]]}]"#).expect("resolves");
    assert_eq!(read(&plain), 250_000_000);
    let timespec = r#""task": [24, {"start": [8, ["timespec"]]}], "timespec": [16, {"tv_sec": [0, ["long long"]], "tv_nsec": [8, ["long long"]]}]"#;
    assert_eq!(read(&of(timespec).expect("resolves")), 3_250_000_000);
    let ktime = r#""task": [24, {"start": [8, ["ktime"]]}], "ktime": [8, {"tv64": [0, ["long long"]]}]"#;
    assert_eq!(read(&of(ktime).expect("resolves")), 3);
    assert!(of(r#""task": [16, {"start": [0, ["unsigned long"]]}]"#).is_err());
}

#[test]
fn a_profile_s_huge_array_is_no_reason_to_walk_it() {
    kernel_struct! {
        /// An array.
        struct Many(ManyLayout) = "many" {
            all: Elements = "all",
        }
    }
    let many = |count: u64| {
        profile(&format!(r#""many": [8, {{"all": [0, ["Array", {{"target": "_LIST_ENTRY", "count": {count}}}]]}}]"#))
    };
    assert!(layout::<ManyLayout>(&many(u64::MAX)).is_err());
    let layout: ManyLayout = layout(&many(2)).expect("resolves");
    let pages = Pages::one(0, 0);
    let at: Vec<Va> = Many::new(Va(0x100), &pages, &layout).all().expect("not read").iter().collect();
    assert_eq!(at, [Va(0x100), Va(0x110)]);
}
