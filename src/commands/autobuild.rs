//! `--autobuild`: the profile that an image needs, made on the way. Only when it was asked for, and never with `--offline`.

use super::debug_servers::DebugServers;
use super::repo::build::{Builder, windows_recipe};
use super::repo::fetch::fetch_linux_kernel;
use crate::cli::chain_text;
use crate::context::Context;
use crate::repo::GitStore;
use crate::repo::build::Wish;
use crate::repo::layout::module_of_pdb;
use anyhow::{Result, bail};
use quaid_analyzer::{Identity, OpenError};
use quaid_profile::{BuildId, GuidAge, NotFound, guid_of_name};
use std::path::Path;

/// How many kernels of one image are built at most: it runs one, and has copies of files of others.
const MAX_BUILDS: usize = 4;

/// Makes the profiles whose lack was the error, in the first repository of `profile_path` that can be written. Tells whether
/// there is one now that was not there.
///
/// # Errors
/// There is no such repository, or it cannot be written. What no symbol server has is told, and no error.
pub(super) fn autobuild(context: &Context, error: &OpenError) -> Result<bool> {
    if !context.globals.autobuild {
        return Ok(false);
    }
    let wishes: Vec<(String, Wish)> = wishes(error).into_iter().take(MAX_BUILDS).collect();
    let servers = DebugServers::new(context, &[]);
    let mut kernels = linux_kernels(error);
    if !kernels.is_empty() && servers.is_empty() {
        context.note(
            "--autobuild makes no profile of a Linux kernel: no debuginfod server is named (DEBUGINFOD_URLS, or debuginfod_urls \
             of the configuration)",
        );
        kernels.clear();
    }
    if wishes.is_empty() && kernels.is_empty() {
        return Ok(false);
    }
    if context.globals.offline {
        context.note("--autobuild makes nothing, because of --offline");
        return Ok(false);
    }
    let Some(store) = context.globals.profile_path.iter().find_map(|place| writable(place)) else {
        bail!(
            "--autobuild has no repository to put the profile in: no place of profile_path is a git repository on this machine; \
             `quaid repo init DIR` makes one, and --profile_path DIR names it"
        );
    };
    let builder = Builder::new(context, &store, &[], None)?;
    let mut built = 0;
    for (target, wish) in wishes {
        context.note(&format!("making {target}/{} in {}", wish.id, store.place()));
        let recipe = windows_recipe(&store, &target)?;
        built += builder.build(&recipe, &[wish], true)?.built;
    }
    for (build_id, banner) in kernels {
        context.note(&format!("making the profile of the Linux kernel {build_id} in {}", store.place()));
        match fetch_linux_kernel(&store, &servers, Some(build_id), banner) {
            Ok(added) => {
                context.note(&format!("built {}", added.name));
                built += 1;
            }
            Err(why) => context.warn(&chain_text(&why)),
        }
    }
    Ok(built > 0)
}

/// The Linux kernels that the error is about, by build-id and banner. Those whose build-id the image does not tell are not had
/// by their banner.
fn linux_kernels(error: &OpenError) -> Vec<(&BuildId, &str)> {
    let OpenError::NoProfile { found, .. } = error else { return Vec::new() };
    let kernel = |identity| match identity {
        &Identity::Linux { ref banner, build_id: Some(ref id) } => Some((id, banner.as_str())),
        _ => None,
    };
    found.iter().filter_map(kernel).take(MAX_BUILDS).collect()
}

/// The Windows builds that the error is about, each with its target.
fn wishes(error: &OpenError) -> Vec<(String, Wish)> {
    let named = |id: GuidAge, pdb: &str| {
        let leaf = pdb.rsplit(['\\', '/']).next().unwrap_or_default();
        let target = format!("{}/GUID", module_of_pdb(leaf)?);
        Some((target, Wish { id, pdbs: vec![leaf.to_owned()] }))
    };
    match error {
        OpenError::NoProfile { found, .. } => {
            let build = |identity: &Identity| match identity {
                Identity::Windows { id, pdb } => named(*id, pdb),
                Identity::Linux { .. } => None,
            };
            found.iter().filter_map(build).collect()
        }
        // `-p nt/GUID/...`: the module's name, and whichever PDB it has.
        OpenError::Profile(NotFound::Nowhere { name, .. }) => match guid_of_name(name) {
            Some((guid, Some(age))) => {
                let module = name.split('/').next().filter(|module| name.contains('/') && *module != "GUID");
                let target = format!("{}/GUID", module.unwrap_or("nt"));
                let recipe = crate::repo::build::WindowsRecipe::of_target(&target);
                recipe
                    .map(|recipe| (target, Wish { id: GuidAge { guid, age }, pdbs: recipe.pdbs }))
                    .into_iter()
                    .collect()
            }
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// The repository of profiles at a place, if it is one on this machine whose files may be written.
fn writable(place: &str) -> Option<GitStore> {
    if place.contains("://") {
        return None;
    }
    let store = GitStore::open(Path::new(place)).ok()?;
    store.profiles().ok()?;
    store.is_writable().then_some(store)
}
