//! The program that made a profile, and rules about its version.

use quaid_profile::Profile;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A program and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    /// "quaid", "dwarf2json", "volatility3".
    pub name: String,
    /// Numbers with dots.
    pub version: String,
}

impl Producer {
    /// What a profile says: `$METADATA.Producer`, else the producer of the ISF file that it was read from.
    pub fn of(profile: &Profile) -> Option<Self> {
        if let Some(text) = profile.metadata.text("Producer") {
            let (name, version) = text.split_once(' ')?;
            return Some(Self { name: name.to_owned(), version: version.to_owned() });
        }
        let metadata = serde_json::to_value(profile.isf.metadata.as_ref()?).ok()?;
        let text = |key: &str| metadata.get("producer")?.get(key)?.as_str().map(str::to_owned);
        Some(Self { name: text("name")?, version: text("version").unwrap_or_default() })
    }
}

impl fmt::Display for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// Which versions of a producer are meant: `<0.2`, `<=0.2`, `=0.1.0`, with the program's name before it (`quaid` when there
/// is none).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerRule {
    name: String,
    or_less: bool,
    or_equal: bool,
    version: String,
}

impl ProducerRule {
    /// Whether the producer is meant.
    pub fn takes(&self, producer: &Producer) -> bool {
        self.name.eq_ignore_ascii_case(&producer.name)
            && match compare(&producer.version, &self.version) {
                Ordering::Less => self.or_less,
                Ordering::Equal => self.or_equal,
                Ordering::Greater => false,
            }
    }
}

impl FromStr for ProducerRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text.find(['<', '=']).ok_or("no `<VERSION`, `<=VERSION` or `=VERSION`")?;
        let (name, rule) = text.split_at(at);
        let name = if name.trim().is_empty() { "quaid" } else { name.trim() };
        let version = rule.trim_start_matches(['<', '=']).trim();
        let operator = rule.strip_suffix(version).unwrap_or(rule).trim();
        let (or_less, or_equal) = match operator {
            "<" => (true, false),
            "<=" => (true, true),
            "=" => (false, true),
            _ => return Err(format!("`{operator}` is none of <, <=, =")),
        };
        if version.is_empty() || !version.split('.').all(|number| number.parse::<u32>().is_ok()) {
            return Err(format!("`{version}` is no version: numbers with dots"));
        }
        Ok(Self { name: name.to_owned(), or_less, or_equal, version: version.to_owned() })
    }
}

/// Versions by their numbers; what is missing is 0, what is no number is older than any.
fn compare(a: &str, b: &str) -> Ordering {
    let numbers = |text: &str| -> Vec<u64> {
        let mut numbers: Vec<u64> = text.split('.').map(|number| number.parse().unwrap_or(0)).collect();
        while numbers.last() == Some(&0) {
            numbers.pop();
        }
        numbers
    };
    numbers(a).cmp(&numbers(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_take_the_versions_that_they_name() {
        let takes = |rule: &str, name: &str, version: &str| {
            let producer = Producer { name: name.into(), version: version.into() };
            rule.parse::<ProducerRule>().expect(rule).takes(&producer)
        };
        assert!(takes("<0.2.0", "quaid", "0.1.9") && takes("<0.10", "quaid", "0.9.1"));
        assert!(!takes("<0.2.0", "quaid", "0.2") && takes("<=0.2.0", "quaid", "0.2"));
        assert!(takes("dwarf2json<0.9.0", "dwarf2json", "0.8.0") && !takes("<0.9.0", "dwarf2json", "0.8.0"));
        assert!(takes("=0.1.0", "quaid", "0.1.0") && !takes("=0.1.0", "quaid", "0.0.9"));
        for bad in ["", "0.1", ">0.1", "<", "<x", "=<1"] {
            assert!(bad.parse::<ProducerRule>().is_err(), "{bad}");
        }
    }
}
