//! Profiles by what they are of and by what is in them. Of a profile that is stored in several files the small one answers
//! most; types are read once for all profiles that share them.

use super::error::Error;
use super::git_store::GitStore;
use super::inventory::{Files, Inventory, Item};
use super::layout::{module_of_pdb, version_of};
use super::verify::Problem;
use git2::Oid;
use quaid_profile::{
    Error as ProfileError, ProfileFile,
    stored::{self, STORED},
};
use std::collections::BTreeMap;
use std::path::Path;
use std::thread;

/// What is wanted; of a profile all that is given must hold. Texts are compared without regard to case, but for names of
/// structs and symbols.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Part of a name of it, of its version or its banner.
    pub text: Option<String>,
    /// The module (`nt`), or the first folders of a name (`Linux/Debian`).
    pub module: Option<String>,
    /// The version, or its first numbers.
    pub version: Option<String>,
    /// Part of the kernel's banner.
    pub banner: Option<String>,
    /// A struct, union or class that it has, `NAME` or `NAME.MEMBER`.
    pub structure: Option<String>,
    /// A symbol that it has.
    pub symbol: Option<String>,
}

/// A profile that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Its name.
    pub name: String,
    /// Links to it.
    pub links: Vec<String>,
    /// Its version: of Windows that of the file, else the kernel's release.
    pub version: Option<String>,
    /// Size in bytes of the struct that was asked for, and offset of its member.
    pub structure: Option<(u64, Option<u64>)>,
    /// Address of the symbol that was asked for; an RVA of Windows.
    pub symbol: Option<u64>,
}

/// The profiles that the query is of, sorted by name, and what could not be read.
///
/// # Errors
/// The repository cannot be read.
pub fn search(store: &GitStore, query: &Query) -> Result<(Vec<Hit>, Vec<Problem>), Error> {
    let inventory = Inventory::of(store, "")?;
    let links = inventory.links();
    let profiles: Vec<(&str, &Item)> = inventory.profiles().collect();
    let (commit, links) = (inventory.commit(), &links);
    let workers = thread::available_parallelism().map_or(2, usize::from);
    let part = profiles.len().div_ceil(workers).max(MIN_PART);
    let (mut hits, mut problems) = (Vec::new(), inventory.problems().to_vec());
    thread::scope(|scope| {
        let root = &store.root;
        let search = |part| scope.spawn(move || search_in(root, commit, query, part, links));
        let threads: Vec<_> = profiles.chunks(part).map(search).collect();
        for thread in threads {
            let (found, wrong) = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            hits.extend(found);
            problems.extend(wrong);
        }
        Ok((hits, problems))
    })
}

/// So few profiles are not worth a thread.
const MIN_PART: usize = 64;

/// The hits among some of the profiles, read through a handle of their own.
fn search_in(
    root: &Path,
    commit: Oid,
    query: &Query,
    profiles: &[(&str, &Item)],
    links: &BTreeMap<&str, Vec<&str>>,
) -> Result<(Vec<Hit>, Vec<Problem>), Error> {
    let store = GitStore::open(root)?;
    let files = Files::at(&store, commit)?;
    let mut types = Types::default();
    let (mut hits, mut problems) = (Vec::new(), Vec::new());
    for (name, item) in profiles {
        let links = links.get(name).map_or(&[] as &[&str], Vec::as_slice);
        match hit(&files, query, &mut types, (name, item), links) {
            Ok(found) => hits.extend(found),
            Err(why) => problems.push(Problem { path: item.path.clone(), why: why.to_string() }),
        }
    }
    Ok((hits, problems))
}

/// What was found of the struct in each file of types.
type Types = BTreeMap<String, Option<(u64, Option<u64>)>>;

fn hit(
    files: &Files<'_>,
    query: &Query,
    types: &mut Types,
    (name, item): (&str, &Item),
    links: &[&str],
) -> Result<Option<Hit>, Error> {
    if query.module.as_deref().is_some_and(|module| !is_of_module(name, module)) {
        return Ok(None);
    }
    let mut file = files.open(item)?;
    let version = version_of(file.metadata(), links);
    if let Some(wanted) = &query.version
        && !version.as_deref().is_some_and(|version| begins_with_numbers(version, wanted))
    {
        return Ok(None);
    }
    let contains = |text: Option<&str>, part: &str| text.is_some_and(|text| contains_ignoring_case(text, part));
    let banner = file.metadata().banner();
    if query.banner.as_deref().is_some_and(|part| !contains(banner, part)) {
        return Ok(None);
    }
    if let Some(part) = &query.text {
        let texts = [Some(name), version.as_deref(), banner].into_iter().chain(links.iter().map(|&link| Some(link)));
        if !texts.into_iter().any(|text| contains(text, part)) {
            return Ok(None);
        }
    }
    if (query.structure.is_some() || query.symbol.is_some()) && file.metadata().kind() != STORED {
        file = files.whole(file)?;
    }
    let structure = query.structure.as_deref().map(|wanted| structure(files, types, &file, wanted)).transpose()?;
    let symbol = match &query.symbol {
        Some(wanted) if structure != Some(None) => Some(symbol(files, &file, wanted)?),
        _ => None,
    };
    if structure == Some(None) || symbol == Some(None) {
        return Ok(None);
    }
    Ok(Some(Hit {
        name: name.to_owned(),
        links: links.iter().map(|&link| link.to_owned()).collect(),
        version,
        structure: structure.flatten(),
        symbol: symbol.flatten(),
    }))
}

/// Whether a name is below these folders, or those of the module that a PDB of this name is of.
fn is_of_module(name: &str, module: &str) -> bool {
    let name = name.to_lowercase();
    let module = module.trim_end_matches('/').to_lowercase();
    let is_below = |folder: &str| name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    // Of a path (`Linux/Debian`) it would take the last part alone.
    let of_pdb = if module.contains('/') { None } else { module_of_pdb(&module) };
    is_below(&module) || of_pdb.is_some_and(|folder| is_below(&folder))
}

/// Whether a version has these first numbers: "6.1" is of 6.1.7601.17514, and not of 6.10.
fn begins_with_numbers(version: &str, numbers: &str) -> bool {
    let rest = version.strip_prefix(numbers);
    rest.is_some_and(|rest| numbers.ends_with(['.', '-']) || !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
}

fn contains_ignoring_case(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(&part.to_lowercase())
}

/// A file that a profile is stored in besides its own.
fn part(files: &Files<'_>, file: &ProfileFile, name: &str) -> Result<Vec<u8>, Error> {
    let missing = || Error::BadTree {
        place: file.place().to_owned(),
        why: format!("{name} is missing, and the profile is stored in it"),
    };
    files.part(name)?.ok_or_else(missing)
}

/// Size of the struct and offset of the member; `None` when the profile lacks one of them.
fn structure(
    files: &Files<'_>,
    types: &mut Types,
    file: &ProfileFile,
    wanted: &str,
) -> Result<Option<(u64, Option<u64>)>, Error> {
    if file.metadata().kind() != STORED {
        return Ok(layout_of(file, wanted)?);
    }
    let [name, _] = stored::parts(file)?;
    if let Some(known) = types.get(&name) {
        return Ok(*known);
    }
    let shared = ProfileFile::parse(&name, &part(files, file, &name)?)?;
    let found = layout_of(&shared, wanted)?;
    types.insert(name, found);
    Ok(found)
}

fn layout_of(file: &ProfileFile, wanted: &str) -> Result<Option<(u64, Option<u64>)>, ProfileError> {
    // C++ names have no dots, and a few of C's (`foo.isra.0`) are of functions.
    let (name, member) = wanted.split_once('.').map_or((wanted, None), |(name, member)| (name, Some(member)));
    let Some(found) = file.structure(name)? else { return Ok(None) };
    let Some(member) = member else { return Ok(Some((found.size, None))) };
    let offset = found.members.iter().find(|(known, _)| known.as_str() == member).map(|(_, member)| member.offset);
    Ok(offset.map(|offset| (found.size, Some(offset))))
}

fn symbol(files: &Files<'_>, file: &ProfileFile, wanted: &str) -> Result<Option<u64>, Error> {
    if file.metadata().kind() != STORED {
        return Ok(file.symbol(wanted)?.map(|symbol| symbol.address));
    }
    let [_, name] = stored::parts(file)?;
    let bytes = part(files, file, &name)?;
    let text = String::from_utf8_lossy(&bytes);
    let number = stored::symbol(&text, wanted)?;
    Ok(number.map(|number| file.full_address(wanted, number)).transpose()?)
}
