//! `WindowsGUIDProfile`: builds of a Windows module, from their PDBs. Fetched and parsed on all cores, committed many at a
//! time.

use super::super::add::{Checked, SMALL_INDEX, existing, place_all};
use super::super::change::Draft;
use super::super::error::Error;
use super::super::git_store::{GitStore, Snapshot};
use super::workers::make_all;
use super::{GuidList, Rejects, WindowsRecipe, draft_text, pdb_cache};
use crate::completeness::Completeness;
use crate::pdb::{self, ParseOptions};
use crate::symserver::{
    self, Chain, DownloadError, Failure, Fetched, HttpTransport, NotFetched, Policy, Store, SymbolPath, Transport,
    Wanted, part_path,
};
use quaid_profile::{GuidAge, LAYOUT, Profile, ProfileFile, stored_names};
use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// How many profiles one commit has at most.
const BATCH: usize = 32;
/// How long a profile that is made waits for others of its commit.
const BATCH_TIME: Duration = Duration::from_secs(30);
/// How many places a reason names.
const SHOWN_PLACES: usize = 4;

/// A build that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The build.
    pub id: GuidAge,
    /// Names that its PDB may have, in the order in which they are tried.
    pub pdbs: Vec<String>,
}

/// How builds are made.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// For which module.
    pub recipe: &'a WindowsRecipe,
    /// Where PDBs are looked for, after the repository's own cache.
    pub symbols: &'a SymbolPath,
    /// How servers are asked; `None` when they may not be.
    pub http: Option<&'a HttpTransport>,
    /// How many are fetched and parsed at a time.
    pub workers: usize,
    /// Whether builds are entered in the recipe's list.
    pub enlist: bool,
}

/// What happens.
#[derive(Debug, Clone, Copy)]
pub enum Event<'e> {
    /// So many profiles are to be made.
    Begun(usize),
    /// So many of them were tried.
    Tried(usize),
    /// A profile is committed.
    Built {
        /// Its name.
        name: &'e str,
        /// What analysis misses in it ("public symbols only"), if anything.
        lacks: Option<&'e str>,
    },
    /// A build could not be made.
    Failed {
        /// The build, or the name of the profile.
        what: &'e str,
        /// Why.
        why: &'e str,
        /// Whether it is in the list of rejects now.
        remembered: bool,
    },
    /// Something else that went wrong and was survived.
    Problem(&'e str),
}

/// What became of the builds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Profiles that are committed.
    pub built: usize,
    /// Builds that could not be made, and will not be tried again unasked.
    pub rejected: usize,
    /// Builds that could not be made now.
    pub failed: usize,
    /// Whether `nt/exports` lacks kernels among them: it is too large to be written for each, damaged, or of another version's
    /// exports.
    pub not_indexed: bool,
}

/// Whether a repository's HEAD has the profile of a build: where the recipe puts it, or under the GUID alone.
pub fn has_build(head: &Snapshot<'_>, target: &str, id: GuidAge) -> Result<bool, Error> {
    for name in names(target, id) {
        for stored in stored_names(&name) {
            if head.entry(&format!("{LAYOUT}/{stored}"))?.is_some() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Where the profile of a build is: where the recipe puts it, or under the GUID alone.
fn names(target: &str, id: GuidAge) -> [String; 2] {
    [format!("{target}/{id}"), format!("GUID/{id}")]
}

/// Enters builds that the repository has in the recipe's list, each under the PDB that its profile tells, else under the
/// first that is wished. Gives those that were not in it.
///
/// # Errors
/// The list is none, or the repository cannot be written.
pub fn enlist(store: &GitStore, recipe: &WindowsRecipe, wishes: &[Wish]) -> Result<Vec<GuidAge>, Error> {
    if wishes.is_empty() {
        return Ok(Vec::new());
    }
    let (_, added) = store.change(|draft| {
        let mut list = list(draft, recipe)?;
        let mut added = Vec::new();
        for wish in wishes {
            if list.pdbs(wish.id).is_empty()
                && let Some(pdb) = pdb_of(draft, recipe, wish).or_else(|| wish.pdbs.first().cloned())
                && list.add(&pdb, wish.id)
            {
                added.push(wish.id);
            }
        }
        if !added.is_empty() {
            draft.put(&format!("{LAYOUT}/{}", recipe.guids), list.text().as_bytes())?;
        }
        Ok((Some(message(&recipe.target, &[])), added))
    })?;
    Ok(added)
}

fn list(draft: &Draft<'_>, recipe: &WindowsRecipe) -> Result<GuidList, Error> {
    GuidList::parse(&recipe.guids, &draft_text(draft, &recipe.guids)?.unwrap_or_default())
}

/// The PDB that the profile of a build was made of, as far as the profile can be read and tells it.
fn pdb_of(draft: &Draft<'_>, recipe: &WindowsRecipe, wish: &Wish) -> Option<String> {
    let mut told = names(&recipe.target, wish.id).into_iter().filter_map(|name| {
        let file = existing(draft, &name).ok()??.file;
        file.metadata().text("PDBFile").map(str::to_owned)
    });
    told.find(|pdb| Wanted::new(pdb, wish.id).is_ok())
}

/// A profile that is made and not committed.
struct Made {
    id: GuidAge,
    pdb: String,
    checked: Checked,
    lacks: Option<&'static str>,
    problems: Vec<String>,
}

/// A build that could not be made.
struct Unmade {
    id: GuidAge,
    why: String,
    /// Whether trying again is of no use: it is no fault of the network.
    remembered: bool,
}

/// Makes builds. What `tell` was told as built is committed, whatever happens afterwards; a build that cannot be made stops
/// no other.
///
/// # Errors
/// The repository cannot be read or written.
pub fn build_windows(
    store: &GitStore,
    wishes: &[Wish],
    job: &Job<'_>,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Summary, Error> {
    let cache = pdb_cache(store)?;
    let symbols = with_cache(job.symbols, &cache);
    tell(Event::Begun(wishes.len()));
    let mut summary = Summary::default();
    let make = |wish: &Wish| make(wish, job, &symbols, &cache);
    make_all(wishes, job.workers, make, |receive| {
        let mut batch = Batch::new();
        let mut tried = 0;
        loop {
            match receive.recv_timeout(batch.time_left()) {
                Ok((_, result)) => {
                    tried += 1;
                    tell(Event::Tried(tried));
                    batch.take(result);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if batch.is_due() {
                batch.publish(store, job, &mut summary, tell)?;
            }
        }
        batch.publish(store, job, &mut summary, tell)
    })?;
    Ok(summary)
}

/// The cache before each element of the path: what it has is not fetched, and what another has is kept in it.
fn with_cache(path: &SymbolPath, cache: &Path) -> SymbolPath {
    let chain = |chain: &Chain| Chain([Store::Local(cache.to_owned())].into_iter().chain(chain.0.clone()).collect());
    let mut chains: Vec<Chain> = path.chains.iter().map(chain).collect();
    if chains.is_empty() {
        chains.push(Chain(vec![Store::Local(cache.to_owned())]));
    }
    SymbolPath { chains, problems: path.problems.clone() }
}

/// One build, from the server to the texts that are stored.
fn make(wish: &Wish, job: &Job<'_>, symbols: &SymbolPath, cache: &Path) -> Result<Made, Unmade> {
    let unmade = |why: String, remembered| Unmade { id: wish.id, why, remembered };
    let (wanted, fetched) = fetch(wish, job, symbols, cache)?;
    let options = ParseOptions {
        file_name: wanted.name().to_owned(),
        profile_class: job.recipe.profile_class.clone(),
        ..ParseOptions::default()
    };
    let parsed = pdb::parse(&fetched.pdb, &options, &mut |_, _| {});
    let mut profile = parsed
        .map_err(|why| unmade(format!("{} of {} cannot be parsed: {why}", wanted.name(), fetched.place), true))?
        .profile;
    let completeness = Completeness::of(&profile);
    if let Some(state) = completeness.state() {
        profile.metadata.set("Completeness", state);
    }
    profile.merge.clone_from(&job.recipe.merge);
    let checked = checked(wanted.name(), &profile).map_err(|why| unmade(why.to_string(), true))?;
    let lacks = completeness.state().filter(|_| !completeness.is_enough());
    Ok(Made { id: wish.id, pdb: wanted.name().to_owned(), checked, lacks, problems: fetched.problems })
}

fn checked(label: &str, profile: &Profile) -> Result<Checked, Error> {
    let file = ProfileFile::parse(label, profile.to_rekall().as_bytes())?;
    Checked::of(label, &file, None, None)
}

/// The PDB, under the first of its names that a place knows.
fn fetch(wish: &Wish, job: &Job<'_>, symbols: &SymbolPath, cache: &Path) -> Result<(Wanted, Fetched), Unmade> {
    let mut whys = Vec::new();
    let mut remembered = true;
    for pdb in &wish.pdbs {
        let wanted =
            Wanted::new(pdb, wish.id).map_err(|why| Unmade { id: wish.id, why: why.to_string(), remembered: false })?;
        let folder = cache.join(wanted.folder());
        // The transfer that is cut is kept here; without the folder it is not kept.
        let _ = std::fs::create_dir_all(&folder);
        let part = part_path(&folder.join(wanted.name()));
        let request = symserver::Job {
            wanted: &wanted,
            path: symbols,
            transport: job.http.map(|http| http as &dyn Transport),
            part: Some(&part),
            policy: &Policy::default(),
        };
        match symserver::fetch(&request, &mut |_| {}) {
            Ok(fetched) => return Ok((wanted, fetched)),
            Err(why) => {
                // Only an empty one goes.
                let _ = std::fs::remove_dir(&folder);
                remembered &= is_final(&why);
                whys.push(reason(&wanted, &why, cache));
            }
        }
    }
    Err(Unmade { id: wish.id, why: whys.join("; "), remembered: remembered && !whys.is_empty() })
}

/// Whether every place said that it has no such PDB, or gave another file: asking again is of no use.
fn is_final(why: &NotFetched) -> bool {
    let server = |failure: &Failure| !matches!(failure, Failure::Store(_));
    let answered = |failure: &Failure| match failure {
        Failure::Download(why) => matches!(why, DownloadError::Missing(_) | DownloadError::TooLarge { .. }),
        Failure::Offline | Failure::Pointer(_) => false,
        Failure::Cab(_) | Failure::Verify(_) | Failure::Store(_) => true,
    };
    why.attempts.iter().any(|attempt| server(&attempt.failure))
        && why.attempts.iter().all(|attempt| answered(&attempt.failure))
}

/// One line of what the places said, each thing once: a server is asked for several forms of the file.
fn reason(wanted: &Wanted, why: &NotFetched, cache: &Path) -> String {
    let own = cache.display().to_string();
    let mut told: Vec<String> = Vec::new();
    for attempt in why.attempts.iter().filter(|attempt| !attempt.place.starts_with(&own)) {
        let place = attempt.place.split(&format!("/{}/", wanted.name())).next().unwrap_or_default();
        let line = format!("{place}: {}", attempt.failure).replace('\n', " ");
        if told.len() < SHOWN_PLACES && !told.contains(&line) {
            told.push(line);
        }
    }
    let told = if told.is_empty() { "there is no server to ask".to_owned() } else { told.join(", ") };
    format!("no {} ({told})", wanted.name())
}

/// What goes into the next commit.
struct Batch {
    made: Vec<Made>,
    unmade: Vec<Unmade>,
    since: Instant,
}

impl Batch {
    fn new() -> Self {
        Self { made: Vec::new(), unmade: Vec::new(), since: Instant::now() }
    }

    fn take(&mut self, result: Result<Made, Unmade>) {
        if self.made.is_empty() && self.unmade.is_empty() {
            self.since = Instant::now();
        }
        match result {
            Ok(made) => self.made.push(made),
            Err(unmade) => self.unmade.push(unmade),
        }
    }

    fn time_left(&self) -> Duration {
        BATCH_TIME.saturating_sub(self.since.elapsed()).max(Duration::from_millis(50))
    }

    fn is_due(&self) -> bool {
        let count = self.made.len() + self.unmade.len();
        count >= BATCH || count > 0 && self.since.elapsed() >= BATCH_TIME
    }

    /// Commits what is made, and what is not to be tried again.
    fn publish(
        &mut self,
        store: &GitStore,
        job: &Job<'_>,
        summary: &mut Summary,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Error> {
        let Self { made, unmade, .. } = std::mem::replace(self, Self::new());
        if made.is_empty() && unmade.is_empty() {
            return Ok(());
        }
        let mut prepared = Vec::new();
        let mut builds = Vec::new();
        for Made { id, pdb, checked, lacks, problems } in made {
            prepared.push(checked.write(store, pdb.clone())?);
            builds.push((id, pdb, lacks));
            for problem in &problems {
                tell(Event::Problem(problem));
            }
        }
        let (_, placed) = store.change(|draft| {
            let mut lines = Vec::new();
            let placed = place_all(draft, prepared.iter(), false, SMALL_INDEX, &mut lines)?;
            let done = builds.iter().zip(&placed.outcomes).filter(|(_, outcome)| outcome.is_ok());
            let done: Vec<(GuidAge, &str)> = done.map(|((id, pdb, _), _)| (*id, pdb.as_str())).collect();
            note(draft, job, &done, &unmade, &mut lines)?;
            Ok((Some(message(&job.recipe.target, &lines)), placed))
        })?;
        summary.not_indexed |= !placed.indexed;
        for ((id, _, lacks), outcome) in builds.into_iter().zip(placed.outcomes) {
            match outcome {
                Ok(added) => {
                    summary.built += 1;
                    tell(Event::Built { name: &added.name, lacks });
                }
                Err(why) => {
                    summary.failed += 1;
                    tell(Event::Failed { what: &id.to_string(), why: &why.to_string(), remembered: false });
                }
            }
        }
        for Unmade { id, why, remembered } in unmade {
            summary.rejected += usize::from(remembered);
            summary.failed += usize::from(!remembered);
            tell(Event::Failed { what: &id.to_string(), why: &why, remembered });
        }
        Ok(())
    }
}

/// Enters builds in the recipe's files, where that changes them.
fn note(
    draft: &mut Draft<'_>,
    job: &Job<'_>,
    done: &[(GuidAge, &str)],
    unmade: &[Unmade],
    lines: &mut Vec<String>,
) -> Result<(), Error> {
    let recipe = job.recipe;
    let path = |name: &str| format!("{LAYOUT}/{name}");
    if job.enlist {
        let mut list = list(draft, recipe)?;
        let added = done.iter().filter(|(id, pdb)| list.add(pdb, *id)).count();
        if added > 0 {
            draft.put(&path(&recipe.guids), list.text().as_bytes())?;
        }
    }
    let name = recipe.rejects();
    let mut rejects = Rejects::parse(&name, &draft_text(draft, &name)?.unwrap_or_default())?;
    let forgotten = done.iter().filter(|(id, _)| rejects.remove(*id)).count();
    let mut changed = forgotten > 0;
    for Unmade { id, why, .. } in unmade.iter().filter(|unmade| unmade.remembered) {
        rejects.add(*id, why);
        lines.push(format!("{}/{id} is rejected: {why}", recipe.target));
        changed = true;
    }
    if changed {
        draft.put(&path(&name), rejects.text().as_bytes())?;
    }
    Ok(())
}

pub(super) fn message(target: &str, lines: &[String]) -> String {
    match lines {
        [] => format!("build: lists of {target}"),
        [line] => format!("build: {line}"),
        _ => format!("build: {} names of {target}\n\n{}\n", lines.len(), lines.join("\n")),
    }
}
