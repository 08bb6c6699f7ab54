//! What is searched for: one text, or several at once.

use aho_corasick::packed;
use memchr::memmem::Finder;

/// The texts of a search. None is empty.
pub(super) struct Needles {
    /// Each with its number.
    texts: Vec<(u32, Box<[u8]>)>,
    method: Method,
}

enum Method {
    /// Texts one after the other: the fastest for one.
    Each(Vec<Finder<'static>>),
    /// All at once (Teddy), which takes as long for many as for two.
    Together(Box<packed::Searcher>),
}

/// Where a text begins, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) at: u32,
    pub(super) needle: u32,
}

impl Needles {
    /// Texts with their numbers; empty ones are left out.
    pub(super) fn new(all: &[&[u8]]) -> Self {
        let numbered = (0..).zip(all).filter(|(_, text)| !text.is_empty());
        let texts: Vec<(u32, Box<[u8]>)> = numbered.map(|(number, &text)| (number, text.into())).collect();
        // Not every processor can, nor can it be done with any number of texts.
        let together = (texts.len() > 1).then(|| packed::Searcher::new(texts.iter().map(|(_, text)| text))).flatten();
        let each = || texts.iter().map(|(_, text)| Finder::new(text).into_owned()).collect();
        let method = together.map_or_else(|| Method::Each(each()), |searcher| Method::Together(Box::new(searcher)));
        Self { texts, method }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The length of the longest text, in bytes.
    pub(super) fn longest(&self) -> usize {
        self.texts.iter().map(|(_, text)| text.len()).max().unwrap_or_default()
    }

    /// The length of the text with this number, in bytes.
    pub(super) fn length(&self, needle: u32) -> usize {
        self.texts.iter().find(|(number, _)| *number == needle).map_or(0, |(_, text)| text.len())
    }

    /// Calls `found` with each place in `bytes`, at which each text is, overlapping ones too, in ascending order.
    pub(super) fn for_each(&self, bytes: &[u8], mut found: impl FnMut(usize, u32)) {
        match &self.method {
            Method::Each(finders) => {
                if let ([finder], [(number, _)]) = (&finders[..], &self.texts[..]) {
                    return places_of(finder, bytes, |at| found(at, *number));
                }
                let mut all = Vec::new();
                for (finder, (number, _)) in finders.iter().zip(&self.texts) {
                    places_of(finder, bytes, |at| all.push((at, *number)));
                }
                all.sort_unstable();
                for (at, number) in all {
                    found(at, number);
                }
            }
            Method::Together(searcher) => {
                let mut from = 0;
                while let Some(rest) = bytes.get(from..)
                    && let Some(hit) = searcher.find(rest)
                {
                    let at = from + hit.start();
                    let here = bytes.get(at..).unwrap_or_default();
                    // Of the texts that begin here the searcher tells one.
                    for (number, _) in self.texts.iter().filter(|(_, text)| here.starts_with(text)) {
                        found(at, *number);
                    }
                    from = at + 1;
                }
            }
        }
    }
}

fn places_of(finder: &Finder<'_>, bytes: &[u8], mut found: impl FnMut(usize)) {
    let mut from = 0;
    while let Some(hit) = bytes.get(from..).and_then(|rest| finder.find(rest)) {
        found(from + hit);
        from += hit + 1;
    }
}
