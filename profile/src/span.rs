//! Where the items of a JSON object lie in its text, so that one can be decoded without the others.

use crate::error::Error;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// A key: its place in the text, or the text itself where it is written with escapes.
#[derive(Debug)]
enum Key {
    Span(Range<u32>),
    Owned(Box<str>),
}

/// The items of one JSON object, sorted by key; values by their place in the text.
#[derive(Debug, Default)]
pub(crate) struct Spans(Vec<(Key, Range<u32>)>);

impl Spans {
    /// The object that lies at `within` of `text`. Texts are under 4 GiB, see `MAX_PROFILE_BYTES`.
    pub(crate) fn of(text: &str, within: Range<usize>) -> Result<Self, Error> {
        let part = text.get(within).unwrap_or_default();
        let items: Items =
            serde_json::from_str(part).map_err(|why| Error::corrupt("", format!("not a JSON object: {why}")))?;
        let span = |piece: &str| {
            let start = (piece.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
            start as u32..(start + piece.len()) as u32
        };
        let entry = |(key, value): (Cow<str>, &RawValue)| match key {
            Cow::Borrowed(key) => (Key::Span(span(key)), span(value.get())),
            Cow::Owned(key) => (Key::Owned(key.into()), span(value.get())),
        };
        let mut spans = Self(items.0.into_iter().map(entry).collect());
        if !spans.0.is_sorted_by(|a, b| key_text(text, &a.0) < key_text(text, &b.0)) {
            spans.0.sort_by(|a, b| key_text(text, &a.0).cmp(key_text(text, &b.0)));
            if let Some(pair) = spans.0.windows(2).find(|pair| key_text(text, &pair[0].0) == key_text(text, &pair[1].0))
            {
                return Err(Error::corrupt("", format!("the key `{}` occurs twice", key_text(text, &pair[0].0))));
            }
        }
        Ok(spans)
    }

    /// The place of the value under `key`.
    pub(crate) fn get(&self, text: &str, key: &str) -> Option<Range<usize>> {
        let at = self.0.binary_search_by(|(known, _)| key_text(text, known).cmp(key)).ok()?;
        self.0.get(at).map(|(_, span)| to_usize(span))
    }

    /// Keys and places of values, sorted by key.
    pub(crate) fn iter<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (&'a str, Range<usize>)> {
        self.0.iter().map(move |(key, span)| (key_text(text, key), to_usize(span)))
    }
}

fn to_usize(span: &Range<u32>) -> Range<usize> {
    span.start as usize..span.end as usize
}

fn key_text<'a>(text: &'a str, key: &'a Key) -> &'a str {
    match key {
        Key::Span(span) => text.get(to_usize(span)).unwrap_or_default(),
        Key::Owned(key) => key,
    }
}

struct Items<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemsVisitor;
        impl<'de> Visitor<'de> for ItemsVisitor {
            type Value = Items<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Items<'de>, A::Error> {
                let mut items = Vec::new();
                while let Some((Text(key), value)) = map.next_entry()? {
                    items.push((key, value));
                }
                Ok(Items(items))
            }
        }
        deserializer.deserialize_map(ItemsVisitor)
    }
}

/// A text that is borrowed where it has no escapes; serde's own `Cow<str>` always copies.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}
