//! Identities of builds: what tells one kernel from every other.

use std::fmt;
use std::str::FromStr;

/// Why a text is not an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}")]
pub struct IdError {
    /// The text as given.
    pub text: String,
    /// What was expected, with its article and form.
    pub what: &'static str,
}

fn hex_bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        if pair.starts_with('+') {
            return None;
        }
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(out)
}

/// The identity of a Windows build: the GUID of its PDB and the age of the PDB's DBI stream.
///
/// Prints as symbol servers and Rekall write it: 32 upper-case hex digits, then the age in hex without padding.
/// Reads any case, with or without dashes and braces around the GUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GuidAge {
    /// The GUID's 16 bytes in the order in which its text form shows them.
    pub guid: [u8; 16],
    /// The DBI stream's age.
    pub age: u32,
}

impl GuidAge {
    /// From the 16 bytes as they lie in an RSDS record or a PDB: Data1, Data2 and Data3 are little-endian.
    pub fn from_le_bytes(raw: [u8; 16], age: u32) -> Self {
        let mut guid = raw;
        guid[..4].reverse();
        guid[4..6].reverse();
        guid[6..8].reverse();
        Self { guid, age }
    }

    /// The GUID alone, 32 upper-case hex digits.
    pub fn guid_text(&self) -> String {
        let with_age = self.to_string();
        with_age[..32].to_owned()
    }

    /// Reads the GUID of a name that lacks the age (the oldest documents have such), or has it.
    pub fn parse_guid(text: &str) -> Option<([u8; 16], Option<u32>)> {
        let plain: String = text.chars().filter(|c| !matches!(c, '{' | '}' | '-')).collect();
        let (guid, age) = plain.split_at_checked(32)?;
        let guid = hex_bytes(guid)?;
        if age.is_empty() {
            return Some((guid, None));
        }
        if age.len() > 8 || age.starts_with('+') {
            return None;
        }
        Some((guid, Some(u32::from_str_radix(age, 16).ok()?)))
    }
}

impl fmt::Display for GuidAge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.guid {
            write!(f, "{byte:02X}")?;
        }
        write!(f, "{:X}", self.age)
    }
}

impl FromStr for GuidAge {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        match Self::parse_guid(text) {
            Some((guid, Some(age))) => Ok(Self { guid, age }),
            _ => Err(IdError { text: text.into(), what: "a GUID and age (32 hex digits, then the age in hex)" }),
        }
    }
}

/// The build-id of an ELF file: the descriptor of its `NT_GNU_BUILD_ID` note, mostly 20 bytes. Prints as lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BuildId(Vec<u8>);

impl BuildId {
    /// From the note's descriptor; `None` unless it is 4 to 64 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (4..=64).contains(&bytes.len()).then(|| Self(bytes.to_vec()))
    }
    /// The descriptor.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for BuildId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = || IdError { text: text.into(), what: "a build-id (8 to 128 hex digits)" };
        if !text.len().is_multiple_of(2) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(error());
        }
        let bytes: Vec<u8> = text.as_bytes().chunks_exact(2).filter_map(hex_pair).collect();
        Self::from_bytes(&bytes).ok_or_else(error)
    }
}

fn hex_pair(pair: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()
}

/// The UUID of a Mach-O file (`LC_UUID`). Prints as 32 upper-case hex digits in five groups, as `dwarfdump --uuid` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MachUuid(pub [u8; 16]);

impl fmt::Display for MachUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02X}")?;
        }
        Ok(())
    }
}

impl FromStr for MachUuid {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let plain: String = text.chars().filter(|&c| c != '-').collect();
        hex_bytes(&plain).map(Self).ok_or_else(|| IdError { text: text.into(), what: "a Mach-O UUID (32 hex digits)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guid_age_reads_any_case_and_prints_the_server_s_form() {
        let id: GuidAge = "f8e2a8b5c9b74bf4a6e4a48f180099942".parse().expect("a GUID of the seeds");
        assert_eq!(id.to_string(), "F8E2A8B5C9B74BF4A6E4A48F180099942");
        assert_eq!(id.age, 2);
        let braced: GuidAge = "{F8E2A8B5-C9B7-4BF4-A6E4-A48F18009994}1a".parse().expect("braces");
        assert_eq!((braced.guid, braced.age), (id.guid, 0x1a));
    }

    #[test]
    fn guid_age_comes_from_little_endian_fields() {
        let raw = [0xb5, 0xa8, 0xe2, 0xf8, 0xb7, 0xc9, 0xf4, 0x4b, 0xa6, 0xe4, 0xa4, 0x8f, 0x18, 0x00, 0x99, 0x94];
        assert_eq!(GuidAge::from_le_bytes(raw, 2).to_string(), "F8E2A8B5C9B74BF4A6E4A48F180099942");
    }

    #[test]
    fn what_is_no_identity_is_refused() {
        for bad in [
            "",
            "F8E2",
            "F8E2A8B5C9B74BF4A6E4A48F18009994",
            "+8E2A8B5C9B74BF4A6E4A48F180099942",
            "é8E2A8B5C9B74BF4A6E4A48F180099942",
        ] {
            assert!(bad.parse::<GuidAge>().is_err(), "{bad}");
        }
        assert_eq!(GuidAge::parse_guid("3844dbb920174967be7aa4a2c20430fa").map(|(_, age)| age), Some(None));
        assert!("abc".parse::<BuildId>().is_err());
        assert!("zz00zz00".parse::<BuildId>().is_err());
        assert_eq!("00FFaa10".parse::<BuildId>().map(|b| b.to_string()), Ok("00ffaa10".to_owned()));
        let uuid: MachUuid = "4c4c44d0-5555-3144-a1cd-2bd5a8e7dbb2".parse().expect("a UUID");
        assert_eq!(uuid.to_string(), "4C4C44D0-5555-3144-A1CD-2BD5A8E7DBB2");
    }
}
