//! Rekall's inventory: the file that its readers ask for first, with a line for each name.

use super::error::Error;
use quaid_profile::{MAX_PROFILE_BYTES, canonical_json, decompress, stored::Digest};
use serde_json::{Map, Number, Value, json};

/// The file's name below the layout's folder.
pub const INVENTORY: &str = "inventory";

/// The name of the file with its signature.
pub const SIGNATURE: &str = "inventory.sig";

/// The largest signature that is read, in bytes: one of ssh has a few hundred.
pub const MAX_SIGNATURE_BYTES: u64 = 1 << 16;

/// `LastModified` of what was committed at this time (Unix, seconds). Rekall's are the times of files, with a fraction; that
/// of a commit has none.
pub(super) fn last_modified(committed: i64) -> Number {
    #[expect(clippy::cast_precision_loss, reason = "53 bits of seconds are enough")]
    let seconds = committed as f64;
    // Every integer is finite.
    Number::from_f64(seconds).unwrap_or_else(|| committed.into())
}

/// The lines of an inventory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows(Map<String, Value>);

impl Rows {
    /// Reads an inventory, Rekall's own or one that [`Rows::to_json`] wrote, compressed or not.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let plain = decompress(INVENTORY, bytes).map_err(|error| error.to_string())?;
        let file: Value = serde_json::from_slice(&plain).map_err(|why| format!("is not JSON: {why}"))?;
        let rows = file.get("$INVENTORY").ok_or("has no $INVENTORY")?;
        let rows = rows.as_object().ok_or("its $INVENTORY is not an object")?;
        match rows.iter().find(|(_, row)| !row.is_object()) {
            Some((name, _)) => Err(format!("what it says of {name} is not an object")),
            None => Ok(Self(rows.clone())),
        }
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether a name is there.
    pub fn has_name(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Length and hash of a name's plain text; `None` when the inventory does not tell them, as Rekall's own does not.
    ///
    /// # Errors
    /// It tells them, and they cannot be those of a profile.
    pub fn digest(&self, name: &str) -> Result<Option<Digest>, String> {
        let Some(row) = self.0.get(name) else { return Ok(None) };
        let (sha256, bytes) = match (row.get("SHA256"), row.get("Size")) {
            (None, None) => return Ok(None),
            (sha256, bytes) => (sha256.and_then(Value::as_str), bytes.and_then(Value::as_u64)),
        };
        let is_hash = |text: &&str| text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match (sha256.filter(is_hash), bytes.filter(|&bytes| bytes <= MAX_PROFILE_BYTES)) {
            (Some(sha256), Some(bytes)) => Ok(Some(Digest { bytes, sha256: sha256.to_owned() })),
            _ => Err("its Size and SHA256 in the inventory are not those of a profile".to_owned()),
        }
    }

    /// Whether a name is there, with a text of this digest.
    pub fn has(&self, name: &str, digest: &Digest) -> bool {
        self.digest(name).is_ok_and(|known| known.as_ref() == Some(digest))
    }

    /// Whether the text of a name is what the inventory says of it, as far as it says so.
    ///
    /// # Errors
    /// How they differ.
    pub fn check(&self, name: &str, found: &Digest) -> Result<(), String> {
        match self.digest(name)? {
            Some(said) if said.bytes != found.bytes => {
                Err(format!("has {} bytes, and {} by the inventory", found.bytes, said.bytes))
            }
            Some(said) if said.sha256 != found.sha256 => {
                Err(format!("its SHA-256 is {}, and {} by the inventory", found.sha256, said.sha256))
            }
            _ => Ok(()),
        }
    }

    /// A name, the time at which it was committed (Unix, seconds), and what its text is.
    pub fn insert(&mut self, name: &str, committed: i64, digest: &Digest) {
        let row = json!({ "LastModified": last_modified(committed), "SHA256": digest.sha256, "Size": digest.bytes });
        self.0.insert(name.to_owned(), row);
    }

    /// The file's text, in Rekall's layout. `LastModified` is Rekall's own; `Size` and `SHA256`, of the plain text, are not,
    /// and its readers leave them alone.
    pub fn to_json(&self) -> Result<String, Error> {
        let file = json!({
            "$METADATA": { "ProfileClass": "Inventory", "Type": "Inventory" },
            "$INVENTORY": self.0,
        });
        Ok(canonical_json(&file.to_string())?)
    }
}
