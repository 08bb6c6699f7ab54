//! The types of a zip of Volatility 2 for macOS (`*.vtypes`): a Python file that assigns dictionaries,
//!
//! ```text
//! mac_types = {
//!   'proc' : [ 0x4b0, {
//!     'p_list' : [0x0, ['__unnamed_13']],
//!     'p_comm' : [0x2d4, ['array', 17, ['char']]],
//! ```
//!
//! Volatility and Rekall execute it. Here its literals are read as data, written as the JSON that says the same, and
//! anything that is no literal is an error.

use super::ConvertError;
use quaid_profile::{Profile, ProfileFile};

/// How deep literals may be in each other. A type has less than twenty levels.
const MAX_DEPTH: u32 = 64;

/// Whether a text, of which this is the start, assigns types.
pub(super) fn looks_like(head: &[u8]) -> bool {
    let mut reader = Reader { text: head, at: 0, json: String::new() };
    reader.assignment().is_some_and(|name| name.ends_with("_types"))
}

/// The structs that the text describes, as a profile without symbols; `place` names it in messages.
pub(super) fn read(place: &str, text: &[u8]) -> Result<Profile, ConvertError> {
    let mut reader = Reader { text, at: 0, json: String::new() };
    let mut types = None;
    while !reader.at_end() {
        reader.json.clear();
        let parsed = reader.assignment().and_then(|name| {
            reader.literal(0)?;
            Some(name)
        });
        let Some(name) = parsed else {
            let line = 1 + memchr::memchr_iter(b'\n', text.get(..reader.at).unwrap_or_default()).count();
            let why = format!("line {line} is no assignment of a Python literal, the only kind of line that is read");
            return Err(ConvertError::corrupt(place, why));
        };
        // `mac_gvars` has the types of variables, with addresses that the table of symbols tells better.
        if name.ends_with("_types") && types.is_none() {
            types = Some(reader.json.clone());
        }
    }
    let Some(types) = types else {
        return Err(ConvertError::missing(place, "it assigns no dictionary of types (mac_types = {...})"));
    };
    let json = format!(r#"{{"$METADATA": {{"ProfileClass": "Darwin", "Type": "Profile"}}, "$STRUCTS": {types}}}"#);
    let profile = ProfileFile::parse(place, json.as_bytes()).and_then(|file| file.decode());
    profile.map_err(|why| ConvertError::corrupt(place, format!("its types: {why}")))
}

/// Reads Python and writes JSON.
struct Reader<'t> {
    text: &'t [u8],
    at: usize,
    json: String,
}

impl Reader<'_> {
    fn rest(&self) -> &[u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Goes past blanks and comments.
    fn skip(&mut self) {
        loop {
            let rest = self.rest();
            let blanks = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let comment = match rest.get(blanks) {
                Some(b'#') => memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end.max(blanks)),
                _ => blanks,
            };
            if comment == 0 {
                return;
            }
            self.at += comment;
        }
    }

    fn at_end(&mut self) -> bool {
        self.skip();
        self.rest().is_empty()
    }

    /// Takes a piece of punctuation.
    fn take(&mut self, byte: u8) -> Option<()> {
        self.skip();
        (self.rest().first() == Some(&byte)).then(|| self.at += 1)
    }

    fn word(&mut self) -> Option<String> {
        self.skip();
        let length = self.rest().iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
        let word = std::str::from_utf8(self.rest().get(..length)?).ok()?.to_owned();
        self.at += length;
        (!word.is_empty()).then_some(word)
    }

    /// `NAME =`.
    fn assignment(&mut self) -> Option<String> {
        let name = self.word()?;
        self.take(b'=')?;
        Some(name)
    }

    fn literal(&mut self, depth: u32) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.skip();
        match self.rest().first()? {
            b'{' => self.sequence(b'{', b'}', "{}", |reader| {
                reader.key()?;
                reader.take(b':')?;
                reader.json.push(':');
                reader.literal(depth + 1)
            }),
            b'[' => self.sequence(b'[', b']', "[]", |reader| reader.literal(depth + 1)),
            b'(' => self.sequence(b'(', b')', "[]", |reader| reader.literal(depth + 1)),
            b'\'' | b'"' => self.string(),
            b'-' | b'0'..=b'9' => {
                let number = self.number()?;
                self.json.push_str(&number.to_string());
                Some(())
            }
            _ => {
                let word = self.word()?;
                match word.as_str() {
                    "None" => self.json.push_str("null"),
                    "True" => self.json.push_str("true"),
                    "False" => self.json.push_str("false"),
                    // The only call there is: a dictionary whose keys are names.
                    "dict" => {
                        return self.sequence(b'(', b')', "{}", |reader| {
                            let name = reader.assignment()?;
                            reader.json.push_str(&serde_json::to_string(&name).ok()?);
                            reader.json.push(':');
                            reader.literal(depth + 1)
                        });
                    }
                    _ => return None,
                }
                Some(())
            }
        }
    }

    /// What stands between brackets and commas, the last of which may be followed by nothing.
    fn sequence(
        &mut self,
        open: u8,
        close: u8,
        json: &str,
        mut item: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.take(open)?;
        self.json.push_str(json.get(..1)?);
        let mut first = true;
        while self.take(close).is_none() {
            if !first {
                self.json.push(',');
            }
            first = false;
            item(self)?;
            if self.take(b',').is_none() {
                self.take(close)?;
                break;
            }
        }
        self.json.push_str(json.get(1..)?);
        Some(())
    }

    /// A key of a dictionary: JSON's are texts.
    fn key(&mut self) -> Option<()> {
        self.skip();
        if matches!(self.rest().first()?, b'-' | b'0'..=b'9') {
            let number = self.number()?;
            self.json.extend(["\"", &number.to_string(), "\""]);
            return Some(());
        }
        self.string()
    }

    fn number(&mut self) -> Option<i128> {
        let negative = self.rest().first() == Some(&b'-');
        self.at += usize::from(negative);
        let word = self.word()?;
        // Python 2 marks long integers.
        let word = word.trim_end_matches(['L', 'l']);
        let number = match word.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok()?,
            None => word.parse().ok()?,
        };
        Some(if negative { -i128::from(number) } else { number.into() })
    }

    fn string(&mut self) -> Option<()> {
        let quote = *self.rest().first()?;
        self.at += 1;
        let end = memchr::memchr3(quote, b'\\', b'\n', self.rest())?;
        // Names of C have no escapes.
        if self.rest().get(end) != Some(&quote) {
            return None;
        }
        let text = serde_json::to_string(std::str::from_utf8(self.rest().get(..end)?).ok()?).ok()?;
        self.at += end + 1;
        self.json.push_str(&text);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quaid_profile::Type;

    #[test]
    fn literals_are_data_and_nothing_is_executed() {
        let text = b"# made by a script\nmac_types = {\n  'proc' : [ 0x4b0, {\n    'p_comm': [0x2d4, ['array', 17, ['char']]],\n    \"p_list\": [0, ['pointer', ['proc']]],\n    'bits': [8L, ['BitField', {'start_bit': 0, 'end_bit': 3, 'target': 'int'}]],\n    'kind': [12, ['Enumeration', dict(target = 'int', choices = {0: 'A', -1: 'B'})]],\n  }],\n}\n\nmac_gvars = {'_allproc' : [0xffffff8000000000, ['pointer', ['proc']]]}\n";
        assert!(looks_like(text));
        let profile = read("vtypes", text).expect("types");
        let proc = &profile.structs["proc"];
        assert_eq!(proc.size, 0x4b0);
        assert_eq!(proc.members["p_comm"].ty, Type::array_of(Type::named("char"), 17));
        assert_eq!(
            (proc.members["p_list"].offset, &proc.members["p_list"].ty),
            (0, &Type::pointer_to(Type::named("proc")))
        );
        assert!(matches!(proc.members["bits"].ty, Type::BitField { start: 0, end: 3, .. }));
        assert!(matches!(&proc.members["kind"].ty, Type::Other { class, .. } if class == "Enumeration"));

        for (line, bad) in [
            (1, "mac_types = __import__('os').system('true')"),
            (2, "\nimport os"),
            (1, "mac_types = {'a': open('x')}"),
            (1, "mac_types = {'a': [1, {}]"),
            (1, "mac_types = {'a\\x41': [1, {}]}"),
            (1, "mac_types = {'a': 1} + {}"),
        ] {
            let why = read("vtypes", bad.as_bytes()).expect_err(bad).to_string();
            assert!(why.contains(&format!("line {line}")), "{bad}: {why}");
        }
        let deep = format!("mac_types = {}", "[".repeat(100_000));
        assert!(read("vtypes", deep.as_bytes()).is_err());
        assert!(read("vtypes", b"other = {}").is_err());
    }
}
