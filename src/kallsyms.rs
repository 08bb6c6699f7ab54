//! The table of symbols that a Linux kernel carries (`CONFIG_KALLSYMS`), decoded from the bytes of its image: those of an
//! unpacked vmlinuz, or of memory, where the kernel lies in one piece.
//!
//! Source of the format: `scripts/kallsyms.c` and `kernel/kallsyms.c` of Linux. Names are runs of one-byte tokens; 256 tokens
//! stand as texts in `kallsyms_token_table`, whose offsets follow in `kallsyms_token_index`. Before them lie, from the
//! front: the number of symbols, the names (each with its length before it), and for each 256th name where it begins
//! (`kallsyms_markers`). Addresses come before these up to Linux 6.3, and after them since 6.4: as distances of 32 bits to
//! `kallsyms_relative_base`, or as they are. All are little-endian and laid at multiples of a word, which has 8 bytes, or 4 in
//! kernels of 32 bits.

use std::fmt::Write as _;

/// The tokens of the ten digits stand one after the other in every kernel, each for itself: no digit is ever compressed.
pub(crate) const DIGITS: &[u8] = b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00";
/// How many tokens there are.
const TOKENS: usize = 256;
/// The longest text of a token, in bytes. Those of a kernel have less than 40.
const MAX_TOKEN_BYTES: usize = 256;
/// Names from one marker to the next.
const MARKED: usize = 256;
/// The longest compressed name, with its length, in bytes (`KSYM_NAME_LEN` is 512, of which two bytes tell the length).
const MAX_NAME_BYTES: usize = 514;
/// More symbols than a kernel has: Debian's have 200,000.
const MAX_SYMBOLS: usize = 1 << 22;
/// The bytes of an address, and how far apart the tables are laid: of 64 bits and of 32.
const WORDS: [usize; 2] = [8, 4];

/// A decoded symbol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Symbol {
    /// As the kernel has it: moved by KASLR where it runs.
    pub(crate) address: u64,
    /// The letter of `nm`.
    pub(crate) letter: char,
    pub(crate) name: String,
}

/// The symbols of a little-endian kernel, in the order of the table. `digits` is where [`DIGITS`] were found in `kernel`.
///
/// # Errors
/// Why what is there is no table, in words.
pub(crate) fn decode(kernel: &[u8], digits: usize) -> Result<Vec<Symbol>, String> {
    let [wide, narrow] = WORDS.map(|word| Layout { kernel, word });
    wide.decode(digits).or_else(|why| narrow.decode(digits).map_err(|_| why.to_owned()))
}

/// The symbols of the kernel in `kernel`, which has one at most.
pub(crate) fn find(kernel: &[u8]) -> Option<Vec<Symbol>> {
    memchr::memmem::find_iter(kernel, DIGITS)
        .filter(|&digits| is_table(kernel, digits))
        .find_map(|digits| decode(kernel, digits).ok())
}

/// Whether the table of tokens is around the digits: that takes its 4 KiB alone.
pub(crate) fn is_table(kernel: &[u8], digits: usize) -> bool {
    WORDS.into_iter().any(|word| Layout { kernel, word }.tokens(digits).is_some())
}

/// The symbols as `/proc/kallsyms` prints them.
pub(crate) fn print(symbols: &[Symbol]) -> String {
    let mut text = String::with_capacity(symbols.len() * 40);
    for Symbol { address, letter, name } in symbols {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{address:016x} {letter} {name}");
    }
    text
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// A kernel's image, and how many bytes an address has in it.
#[derive(Clone, Copy)]
struct Layout<'k> {
    kernel: &'k [u8],
    word: usize,
}

/// The texts of the tokens, and where they and their offsets lie.
struct Tokens<'k> {
    texts: Vec<&'k [u8]>,
    start: usize,
    end: usize,
}

impl<'k> Layout<'k> {
    fn decode(self, digits: usize) -> Result<Vec<Symbol>, &'static str> {
        let tokens = self.tokens(digits).ok_or("the texts of 256 tokens and their offsets are not there")?;
        let names =
            Names::before(self, tokens.start).ok_or("before the tokens are no names with their number and markers")?;
        let list = names.expand(self, &tokens.texts).ok_or("the names do not end where their markers do")?;
        let addresses = self
            .relative(names.count_at, list.len(), true)
            .or_else(|| self.relative(tokens.end, list.len(), false))
            .or_else(|| self.absolute(names.count_at, list.len()))
            .ok_or("the addresses are neither before the number of symbols nor after the tokens")?;
        let mut symbols = Vec::with_capacity(list.len());
        for (address, name) in addresses.into_iter().zip(list) {
            let mut letters = name.chars();
            let letter = letters.next().filter(char::is_ascii_graphic).ok_or("a name has no letter before it")?;
            symbols.push(Symbol { address, letter, name: letters.as_str().to_owned() });
        }
        Ok(symbols)
    }

    fn aligned(self, at: usize) -> usize {
        at.next_multiple_of(self.word)
    }

    fn word_at(self, at: usize) -> Option<u64> {
        let mut bytes = [0; 8];
        bytes.get_mut(..self.word)?.copy_from_slice(self.kernel.get(at..at.checked_add(self.word)?)?);
        Some(u64::from_le_bytes(bytes))
    }

    /// Whether a kernel may have this address: the upper half on 64 bits, above what programs have on 32 (at least 1 GiB).
    fn is_kernel_s(self, address: u64) -> bool {
        if self.word == 8 { address >> 63 == 1 } else { (1 << 30..1 << 32).contains(&address) }
    }

    /// The table of tokens around its digits. These are the tokens 0x30 to 0x39, and the offset of the first of them leads to
    /// where the table begins.
    fn tokens(self, digits: usize) -> Option<Tokens<'k>> {
        let mut end = digits;
        for _ in b'0'..=u8::MAX {
            let text = self.kernel.get(end..end.checked_add(MAX_TOKEN_BYTES)?.min(self.kernel.len()))?;
            end += memchr::memchr(0, text)? + 1;
        }
        let index = self.aligned(end);
        let of_digit = usize::from(u16_at(self.kernel, index.checked_add(2 * usize::from(b'0'))?)?);
        let start = digits.checked_sub(of_digit)?;
        let mut next = 0;
        let texts = (0..TOKENS)
            .map(|token| {
                let offset = usize::from(u16_at(self.kernel, index + 2 * token)?);
                if offset != next {
                    return None;
                }
                let text = self.kernel.get(start + offset..)?;
                let text = text.get(..memchr::memchr(0, text.get(..MAX_TOKEN_BYTES).unwrap_or(text))?)?;
                next = offset + text.len() + 1;
                Some(text)
            })
            .collect::<Option<_>>()?;
        Some(Tokens { texts, start, end: self.aligned(index + 2 * TOKENS) })
    }

    /// Addresses that are distances of 32 bits: the distances end (or begin) at `at`, and the base follows them.
    fn relative(self, at: usize, count: usize, before: bool) -> Option<Vec<u64>> {
        let bytes = self.aligned(count.checked_mul(4)?);
        let offsets = if before { at.checked_sub(self.word)?.checked_sub(bytes)? } else { at };
        let base = self.word_at(offsets.checked_add(bytes)?)?;
        if !self.is_kernel_s(base) {
            return None;
        }
        let distances = self.kernel.get(offsets..offsets.checked_add(count.checked_mul(4)?)?)?;
        let distances: Vec<i32> =
            distances.chunks_exact(4).filter_map(|four| Some(i32::from_le_bytes(four.try_into().ok()?))).collect();
        // With per-CPU symbols of their own (CONFIG_KALLSYMS_ABSOLUTE_PERCPU) distances are negative, and what is not is an
        // address; without, all are distances.
        let negative = distances.iter().filter(|&&distance| distance < 0).count();
        let absolute_percpu = negative > count / 2;
        let addresses: Vec<u64> = distances
            .into_iter()
            .map(|distance| match u32::try_from(distance) {
                Ok(distance) if absolute_percpu => u64::from(distance),
                _ if absolute_percpu => base.wrapping_sub(1).wrapping_add_signed(-i64::from(distance)),
                _ => base.wrapping_add(u64::from(distance.cast_unsigned())),
            })
            .collect();
        self.in_order(addresses)
    }

    /// Addresses as they are, which end at `at`.
    fn absolute(self, at: usize, count: usize) -> Option<Vec<u64>> {
        let start = at.checked_sub(count.checked_mul(self.word)?)?;
        self.in_order((start..at).step_by(self.word).map_while(|at| self.word_at(at)).collect())
    }

    /// The addresses if they rise, as the kernel's search through them needs it, up to one of the kernel's.
    fn in_order(self, addresses: Vec<u64>) -> Option<Vec<u64>> {
        let fit = addresses.is_sorted() && addresses.last().is_some_and(|&last| self.is_kernel_s(last));
        fit.then_some(addresses)
    }
}

/// Where the names are.
struct Names {
    /// The number of symbols is here.
    count_at: usize,
    count: usize,
    start: usize,
    /// The first marker.
    markers: usize,
}

impl Names {
    /// Finds the markers before the table of tokens, the names before these, and the number of symbols before those.
    fn before(layout: Layout<'_>, table: usize) -> Option<Self> {
        let kernel = layout.kernel;
        // The markers rise from 0: backwards they fall to it. Their number may be odd.
        let padded = table.checked_sub(4).filter(|&at| u32_at(kernel, at) == Some(0));
        let end = padded.unwrap_or(table);
        let mut markers = end;
        let mut above = u32::MAX;
        while above > 0 {
            let at = markers.checked_sub(4)?;
            let value = u32_at(kernel, at)?;
            if value >= above || (end - at) / 4 > MAX_SYMBOLS / MARKED {
                break;
            }
            (markers, above) = (at, value);
        }
        if above == 0
            && let Some(names) = Self::before_markers(layout, markers, (end - markers) / 4)
        {
            return Some(names);
        }
        // From 6.2 (and 6.1.38) to 6.3 the order of the names by the alphabet stands between, three bytes for each.
        (MARKED + 1..MAX_SYMBOLS).find_map(|count| {
            let order = table.checked_sub(layout.aligned(3 * count))?;
            let marked = count.div_ceil(MARKED);
            let markers = order.checked_sub(layout.aligned(4 * marked))?;
            let second = u32_at(kernel, markers + 4)? as usize;
            let begins = u32_at(kernel, markers)? == 0 && (MARKED..=MARKED * MAX_NAME_BYTES).contains(&second);
            if begins {
                Self::before_markers(layout, markers, marked).filter(|names| names.count == count)
            } else {
                None
            }
        })
    }

    /// The names before `marked` markers.
    fn before_markers(layout: Layout<'_>, markers: usize, marked: usize) -> Option<Self> {
        let Layout { kernel, word } = layout;
        let last = u32_at(kernel, markers + 4 * marked.checked_sub(1)?)? as usize;
        // Behind the last marker are up to 256 names more.
        let nearest = markers.checked_sub(last)? / word * word;
        let farthest = nearest.saturating_sub(MARKED * MAX_NAME_BYTES + word).max(word);
        (farthest..=nearest).rev().step_by(word).find_map(|start| {
            let count_at = start - word;
            // Older kernels have a number of a word there, newer ones padding.
            let count = usize::try_from(layout.word_at(count_at)?).ok()?;
            let fits = count.div_ceil(MARKED) == marked;
            let names = Self { count_at, count, start, markers };
            (fits && names.ends_at_markers(layout)).then_some(names)
        })
    }

    /// The length of the name at `at`, and where its tokens begin.
    fn length(kernel: &[u8], at: usize) -> Option<(usize, usize)> {
        let low = usize::from(*kernel.get(at)?);
        // Since 6.1 names of more than 127 tokens have two bytes for it.
        if low & 0x80 == 0 {
            Some((low, at + 1))
        } else {
            Some((low & 0x7f | usize::from(*kernel.get(at + 1)?) << 7, at + 2))
        }
    }

    fn ends_at_markers(&self, Layout { kernel, word }: Layout<'_>) -> bool {
        let walk = || {
            let mut at = self.start;
            for name in 0..self.count {
                if name % MARKED == 0 && u32_at(kernel, self.markers + name / MARKED * 4)? as usize != at - self.start {
                    return None;
                }
                let (length, tokens) = Self::length(kernel, at)?;
                at = tokens + length;
                if length == 0 || at > self.markers {
                    return None;
                }
            }
            Some(self.markers - at < word)
        };
        walk().unwrap_or(false)
    }

    /// The names, each with its letter before it.
    fn expand(&self, Layout { kernel, .. }: Layout<'_>, tokens: &[&[u8]]) -> Option<Vec<String>> {
        let mut at = self.start;
        let mut names = Vec::with_capacity(self.count);
        for _ in 0..self.count {
            let (length, from) = Self::length(kernel, at)?;
            at = from + length;
            let mut text = Vec::new();
            for &token in kernel.get(from..at)? {
                text.extend_from_slice(tokens.get(usize::from(token))?);
            }
            if text.len() > MAX_NAME_BYTES {
                return None;
            }
            names.push(String::from_utf8(text).ok()?);
        }
        Some(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a kernel of 64 or 32 bits begins.
    fn base(word: usize) -> u64 {
        if word == 8 { 0xffff_ffff_8100_0000 } else { 0xc100_0000 }
    }

    /// A table of each order, as scripts/kallsyms lays it: `names` are compressed by no token but their own bytes.
    fn table(count: usize, order: &str, word: usize) -> Vec<u8> {
        let align = |bytes: &mut Vec<u8>| bytes.resize(bytes.len().next_multiple_of(word), 0);
        let in_word = |number: u64| number.to_le_bytes().into_iter().take(word);
        let (mut names, mut markers) = (Vec::new(), Vec::new());
        for number in 0..count {
            if number % MARKED == 0 {
                markers.extend(u32::try_from(names.len()).expect("small").to_le_bytes());
            }
            // One name in a hundred is longer than one byte can tell.
            let name = format!(
                "{}symbol_{number:05}{}",
                if number % 7 == 0 { 'D' } else { 't' },
                "x".repeat(if number % 100 == 0 { 150 } else { 0 })
            );
            if name.len() < 0x80 {
                names.push(name.len() as u8);
            } else {
                names.extend([name.len() as u8 & 0x7f | 0x80, (name.len() >> 7) as u8]);
            }
            names.extend(name.bytes());
        }
        let mut addresses: Vec<u8> = match order {
            "absolute" => (0..count as u64).flat_map(|at| in_word(base(word) + 16 * at)).collect(),
            "distances" => (0..i32::try_from(count).expect("small")).flat_map(|at| (16 * at).to_le_bytes()).collect(),
            // The first ten are per-CPU.
            _ => (0..i32::try_from(count).expect("small"))
                .flat_map(|at| (if at < 10 { at } else { -1 - 16 * at }).to_le_bytes())
                .collect(),
        };
        align(&mut addresses);
        if order != "absolute" {
            addresses.extend(in_word(base(word)));
        }
        let mut bytes = vec![0xcc; 64];
        if order != "new" {
            bytes.extend(&addresses);
        }
        bytes.extend(in_word(count as u64));
        bytes.extend(names);
        align(&mut bytes);
        bytes.extend(markers);
        align(&mut bytes);
        if order == "order of names" {
            bytes.extend((0..count).flat_map(|_| [1, 2, 3]));
            align(&mut bytes);
        }
        let (mut index, mut texts) = (Vec::new(), Vec::new());
        for token in 0..=u8::MAX {
            index.extend(u16::try_from(texts.len()).expect("small").to_le_bytes());
            let text = if token.is_ascii_graphic() { char::from(token).to_string() } else { format!("token{token}") };
            texts.extend(text.bytes().chain([0]));
        }
        bytes.extend(texts);
        align(&mut bytes);
        bytes.extend(index);
        align(&mut bytes);
        if order == "new" {
            bytes.extend(&addresses);
        }
        bytes.extend([0xcc; 64]);
        bytes
    }

    #[test]
    fn every_order_of_the_tables_is_read() {
        let orders = ["old", "order of names", "new", "absolute", "distances"];
        for (word, order) in WORDS.into_iter().flat_map(|word| orders.map(|order| (word, order))) {
            for count in [300, 1000, 4096] {
                let kernel = table(count, order, word);
                let symbols = find(&kernel).unwrap_or_else(|| panic!("{order} {count} {word}"));
                assert_eq!(symbols.len(), count, "{order}");
                let last = symbols.last().expect("one");
                assert_eq!(last.address, base(word) + 16 * (count as u64 - 1), "{order}");
                assert_eq!(symbols[1].letter, 't');
                assert!(symbols[200].name.starts_with("symbol_00200xxx") && symbols[200].name.len() == 162);
                let percpu = !matches!(order, "absolute" | "distances");
                assert_eq!(symbols[5].address, if percpu { 5 } else { base(word) + 0x50 }, "{order}");
            }
        }
    }

    #[test]
    fn damaged_tables_give_no_panic_and_no_endless_search() {
        let whole = table(1000, "order of names", 8);
        let mut seed = 7_u64;
        for _ in 0..300 {
            let mut kernel = whole.clone();
            for _ in 0..8 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (seed >> 33) as usize % kernel.len();
                kernel[at] = (seed >> 24) as u8;
            }
            // It is found, or it is not.
            let _ = find(&kernel);
            let _ = find(&kernel[..(seed >> 40) as usize % kernel.len()]);
        }
    }
}
