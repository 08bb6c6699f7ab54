//! The inventory that a repository keeps, or an export: does it say what is there, and who says so?

use super::Verified;
use crate::repo::error::Error;
use crate::repo::git_store::{GitStore, Snapshot};
use crate::repo::inventory::Inventory;
use crate::repo::inventory_signature;
use crate::repo::rows::{INVENTORY, MAX_SIGNATURE_BYTES, Rows, SIGNATURE};
use quaid_profile::{LAYOUT, decompress, stored_names};
use std::path::Path;

/// Names that are told; of a foreign inventory there may be millions.
const MAX_TOLD: usize = 100;

/// Problems, of which no more than so many are told.
pub(super) struct Told<'v> {
    found: &'v mut Verified,
    count: usize,
}

impl<'v> Told<'v> {
    pub(super) fn new(found: &'v mut Verified) -> Self {
        Self { found, count: 0 }
    }

    pub(super) fn problem(&mut self, path: &str, why: &str) {
        self.count += 1;
        if self.count <= MAX_TOLD {
            self.found.problem(&path.escape_debug().to_string(), why);
        }
    }

    /// Tells how many there were.
    pub(super) fn end(self) {
        if let Some(more @ 1..) = self.count.checked_sub(MAX_TOLD) {
            self.found.problem(&format!("{LAYOUT}/{INVENTORY}"), format!("{more} more differences of the kind"));
        }
    }
}

/// Reads an inventory and checks its signature, where `allowed` says who may sign. `None` when it is none; the reason is
/// told.
pub(super) fn read(
    found: &mut Verified,
    bytes: &[u8],
    signature: Option<&[u8]>,
    allowed: Option<&Path>,
) -> Option<Rows> {
    let path = format!("{LAYOUT}/{INVENTORY}");
    if let Some(allowed) = allowed {
        let plain = decompress(INVENTORY, bytes).map_err(|error| error.to_string());
        let checked = match (plain, signature) {
            (Err(why), _) => Err(why),
            (_, None) => {
                Err(format!("has no signature ({LAYOUT}/{SIGNATURE}), and {} says who may sign", allowed.display()))
            }
            (Ok(plain), Some(signature)) => inventory_signature::check(allowed, &plain, signature),
        };
        match checked {
            Ok(signer) => found.signer = Some(signer),
            Err(why) => found.problem(&path, why),
        }
    }
    match Rows::parse(bytes) {
        Ok(rows) => {
            found.inventory = Some(rows.len());
            Some(rows)
        }
        Err(why) => {
            found.problem(&path, format!("{why}; `quaid repo export` writes one"));
            None
        }
    }
}

/// The inventory in HEAD's tree, where there is one.
pub(super) fn check_tree(
    found: &mut Verified,
    store: &GitStore,
    head: &Snapshot<'_>,
    allowed: Option<&Path>,
) -> Result<(), Error> {
    // Most of a partial clone is not here, and is not fetched for this.
    if store.is_partial() {
        return Ok(());
    }
    let mut bytes = None;
    for stored in stored_names(INVENTORY) {
        let path = format!("{LAYOUT}/{stored}");
        // What is damaged, or leads nowhere, is told as any file is.
        if let Ok(Some(read)) = head.read(&path) {
            bytes = Some(read);
            break;
        }
    }
    let Some(bytes) = bytes else { return Ok(()) };
    let signature = head.read(&format!("{LAYOUT}/{SIGNATURE}")).ok().flatten();
    let signature = signature.filter(|bytes| bytes.len() as u64 <= MAX_SIGNATURE_BYTES);
    let Some(rows) = read(found, &bytes, signature.as_deref(), allowed) else { return Ok(()) };
    let items = Inventory::of(store, "")?;
    let mut told = Told::new(found);
    for name in rows.names() {
        let path = format!("{LAYOUT}/{name}");
        match (rows.digest(name), items.get(name)) {
            (Err(why), _) => told.problem(&path, &why),
            (_, None) => told.problem(&path, "is in the inventory, and not there"),
            (Ok(None), Some(_)) => {}
            // What cannot be read is told where it is.
            (Ok(Some(_)), Some(item)) => {
                if let Ok(digest) = items.digest(item)
                    && let Err(why) = rows.check(name, &digest)
                {
                    told.problem(&path, &why);
                }
            }
        }
    }
    for (name, _) in items.items().filter(|(name, _)| !rows.has_name(name)) {
        told.problem(
            &format!("{LAYOUT}/{name}"),
            "is not in the inventory, so that Rekall's readers do not ask for it",
        );
    }
    told.end();
    Ok(())
}
