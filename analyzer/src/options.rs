//! The options of plugins: declared as data, taken as text, given to the plugin as what they mean.

use crate::Va;
use crate::session::{Error, Session};
use regex::{Regex, RegexBuilder};
use std::collections::BTreeMap;

/// What an option's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// A number, decimal or "0x..." in hex.
    Int,
    /// An address, "0x..." in hex or decimal.
    Address,
    /// A regular expression; it may match anywhere, in any case.
    Regex,
    /// Any text.
    Text,
}

/// An option of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opt {
    /// Its name, without dashes.
    pub name: &'static str,
    /// What its value is.
    pub value: Value,
    /// It takes one or more values.
    pub many: bool,
    /// It is an argument without a name, and must be given.
    pub positional: bool,
    /// What it is for.
    pub help: &'static str,
}

impl Opt {
    /// `--name VALUE`.
    pub const fn one(name: &'static str, value: Value, help: &'static str) -> Self {
        Self { name, value, many: false, positional: false, help }
    }
    /// `--name VALUE...`.
    pub const fn many(name: &'static str, value: Value, help: &'static str) -> Self {
        Self { name, value, many: true, positional: false, help }
    }
    /// `VALUE`.
    pub const fn positional(name: &'static str, value: Value, help: &'static str) -> Self {
        Self { name, value, many: false, positional: true, help }
    }
}

/// The options that were given to a plugin, by name.
#[derive(Debug, Clone, Default)]
pub struct Args(BTreeMap<String, Vec<String>>);

impl Args {
    /// From names and values. The plugin's [`check`](crate::plugins::Plugin::check) refuses what it does not have.
    pub fn new(given: impl IntoIterator<Item = (String, Vec<String>)>) -> Self {
        Self(given.into_iter().filter(|(_, values)| !values.is_empty()).collect())
    }

    /// The names that were given.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The values that were given under a name.
    pub(crate) fn values(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// The text of an option.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values(name).first().map(String::as_str)
    }

    /// The numbers of an option; empty when it was not given.
    pub(crate) fn ints(&self, name: &str) -> Result<Vec<u64>, Error> {
        self.values(name).iter().map(|text| number(name, text)).collect()
    }

    /// The number of an option.
    pub(crate) fn int(&self, name: &str) -> Result<Option<u64>, Error> {
        Ok(self.ints(name)?.first().copied())
    }

    /// The virtual addresses of an option. Kernel addresses may be given as text output shows them, in 48 bits.
    pub(crate) fn addresses(&self, name: &str, session: &Session<'_>) -> Result<Vec<Va>, Error> {
        Ok(self.ints(name)?.into_iter().map(|address| session.typed_address(address)).collect())
    }

    /// The virtual address of an option.
    pub(crate) fn address(&self, name: &str, session: &Session<'_>) -> Result<Option<Va>, Error> {
        Ok(self.int(name)?.map(|address| session.typed_address(address)))
    }

    /// The regular expression of an option: it matches anywhere, in any case.
    pub(crate) fn regex(&self, name: &str) -> Result<Option<Regex>, Error> {
        let compile = |text: &str| {
            let built = RegexBuilder::new(text).case_insensitive(true).size_limit(1 << 20).build();
            built.map_err(|why| Error::Option {
                option: name.to_owned(),
                why: format!("not a regular expression: {why}"),
            })
        };
        self.text(name).map(compile).transpose()
    }
}

fn number(option: &str, text: &str) -> Result<u64, Error> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    // `from_str_radix` takes a sign, which no address has.
    let parsed = match hex {
        Some(digits) if !digits.starts_with('+') => u64::from_str_radix(digits, 16).ok(),
        None if !text.starts_with('+') => text.parse().ok(),
        _ => None,
    };
    let why = || format!("`{text}` is not a number (decimal, or hex with 0x) of 64 bits");
    parsed.ok_or_else(|| Error::Option { option: option.to_owned(), why: why() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal_or_hex_and_nothing_else() {
        let args = |text: &str| Args::new([("pid".to_owned(), vec![text.to_owned()])]).int("pid");
        assert_eq!(args("0xfa8001016060").expect("hex"), Some(0xfa80_0101_6060));
        assert_eq!(args("18446744073709551615").expect("decimal"), Some(u64::MAX));
        for bad in ["", "0x", "-1", "+1", "0x+1", "12a", "18446744073709551616", "１"] {
            let error = args(bad).expect_err(bad).to_string();
            assert!(error.starts_with("--pid: `"), "{error}");
        }
    }

    #[test]
    fn a_regular_expression_that_is_none_or_a_bomb_is_refused() {
        let args = |text: &str| Args::new([("proc_regex".to_owned(), vec![text.to_owned()])]).regex("proc_regex");
        assert!(args("dumpit").expect("valid").expect("given").is_match("x DumpIt.exe"));
        for bad in ["(", "(((x{1000}){1000}){1000})"] {
            assert!(args(bad).is_err(), "{bad}");
        }
    }
}
