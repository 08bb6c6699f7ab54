//! A place of profiles that is believed as far as its inventory goes, and that as far as its signature does.

use crate::repo::{INVENTORY, MAX_SIGNATURE_BYTES, Rows, SIGNATURE, check_inventory_signature};
use quaid_profile::stored::Digest;
use quaid_profile::{Error, ErrorKind, ProfileSource, decompress};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A web server or folder whose files are compared with its inventory, which is read once.
pub(crate) struct Inventoried {
    source: Box<dyn ProfileSource>,
    allowed: Option<PathBuf>,
    rows: OnceLock<Result<Rows, Error>>,
}

impl Inventoried {
    /// What `source` has by its inventory, which must be signed by a key of the file `allowed` (ssh-keygen(1), ALLOWED
    /// SIGNERS) where that is given.
    pub(crate) fn new(source: Box<dyn ProfileSource>, allowed: Option<&Path>) -> Self {
        Self { source, allowed: allowed.map(Path::to_owned), rows: OnceLock::new() }
    }

    fn refused(&self, what: &str, why: String) -> Error {
        Error { place: format!("{}/{what}", self.source.place()), kind: ErrorKind::Unsupported(why) }
    }

    /// The inventory.
    ///
    /// # Errors
    /// There is none, or it is not signed as it should be.
    pub(crate) fn rows(&self) -> Result<&Rows, Error> {
        self.rows.get_or_init(|| self.checked()).as_ref().map_err(Clone::clone)
    }

    fn checked(&self) -> Result<Rows, Error> {
        let needed = |name: &str| {
            let why = match &self.allowed {
                Some(allowed) => format!("there is none, and {} says who may sign the inventory", allowed.display()),
                None => "there is none".to_owned(),
            };
            self.source.read(name)?.ok_or_else(|| self.refused(name, why))
        };
        let inventory = needed(INVENTORY)?;
        let inventory = decompress(INVENTORY, &inventory)?;
        if let Some(allowed) = &self.allowed {
            let signature = needed(SIGNATURE)?;
            if signature.len() as u64 > MAX_SIGNATURE_BYTES {
                return Err(self.refused(SIGNATURE, format!("{} bytes are no signature", signature.len())));
            }
            check_inventory_signature(allowed, &inventory, &signature).map_err(|why| self.refused(INVENTORY, why))?;
        }
        Rows::parse(&inventory).map_err(|why| self.refused(INVENTORY, why))
    }
}

impl ProfileSource for Inventoried {
    fn place(&self) -> String {
        self.source.place()
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let rows = self.rows()?;
        if !rows.has_name(name) {
            return Ok(None);
        }
        let refused = |why| self.refused(name, why);
        // Rekall's own inventories have no hashes.
        if self.allowed.is_some() && rows.digest(name).map_err(refused)?.is_none() {
            return Err(refused("the signed inventory does not tell its hash".to_owned()));
        }
        let Some(bytes) = self.source.read(name)? else { return Ok(None) };
        let plain = decompress(name, &bytes)?;
        rows.check(name, &Digest::of_bytes(&plain)).map_err(refused)?;
        Ok(Some(plain.into_owned()))
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, Error> {
        let below = |name: &str| {
            let rest = if folder.is_empty() { name } else { name.strip_prefix(folder)?.strip_prefix('/')? };
            rest.split('/').next().map(str::to_owned)
        };
        let names: BTreeSet<String> = self.rows()?.names().filter_map(below).collect();
        Ok(names.into_iter().collect())
    }
}
