//! `repo build`: profiles that the repository makes itself.

use super::index::tell_indexes;
use super::{note_author, note_indexes};
use crate::cli::chain_text;
use crate::commands::fetch_pdb::symbol_path;
use crate::context::{Context, Outcome};
use crate::repo::build::{
    self, Event, GuidList, Handler, Job, Recipe, Rejects, SourceRecipe, Summary, WindowsRecipe, Wish, build_sources,
    build_windows, enlist, has_build,
};
use crate::repo::{self, GitStore};
use crate::symserver::{HttpSettings, HttpTransport, SymbolPath};
use anyhow::{Context as _, Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use indicatif::ProgressBar;
use quaid_profile::GuidAge;
use std::collections::HashSet;
use std::path::Path;
use std::thread;

/// How many PDBs are fetched at a time at least: the network is waited for most of the time.
const MIN_WORKERS: usize = 4;

pub(super) fn cli() -> Command {
    Command::new("build")
        .about("Make profiles by the recipes of v1.0/config.yaml, or of Windows builds by their GUID")
        .long_about(
            "Make profiles by the recipes of v1.0/config.yaml: of all targets, or of one. A target MODULE/GUID takes what \
             Rekall's does: `build_all` (by default: every build of its guids.yaml that is neither there nor rejected), `build \
             [PDB/]GUID...`, and `add_guid [PDB/]GUID...`, which also enters them in guids.yaml; it needs no recipe. PDBs are \
             kept in v1.0/src/pdb, which git ignores. What no server has, and what cannot be parsed, is noted in \
             guids.yaml.rejects and not tried again without --retry. Killed at any moment, it goes on when it is run again.",
        )
        .arg(Arg::new("TARGET").help("A target (nt/GUID); all when it is not given"))
        .arg(Arg::new("ARGS").num_args(0..).help("add_guid, build or build_all, and GUIDs with their ages, also as PDB/GUID"))
        .arg(Arg::new("retry").long("retry").action(ArgAction::SetTrue).help("Try again what was rejected"))
        .args(fetching())
        .arg(
            Arg::new("force_build_index")
                .long("force_build_index")
                .action(ArgAction::SetTrue)
                .help("Bring the indexes that the recipes name up to date, also when nothing is made"),
        )
        .arg(Arg::new("executable").long("executable").value_name("FILE").hide(true).help("Of Rekall: not needed"))
}

/// The options of commands that fetch PDBs.
pub(super) fn fetching() -> [Arg; 2] {
    [
        Arg::new("server").long("server").value_name("URL").action(ArgAction::Append).help(
            "Ask this symbol server, or this element of a symbol path (srv*CACHE*URL), and no other (repeatable)",
        ),
        Arg::new("processes")
            .long("processes")
            .value_name("N")
            .value_parser(value_parser!(u16).range(1..=64))
            .help("How many profiles are made at a time"),
    ]
}

pub(super) fn run(context: &Context, root: &Path, args: &ArgMatches) -> Result<Outcome> {
    let store = &GitStore::open(root)?;
    store.profiles()?;
    let words: Vec<&str> = args.get_many::<String>("ARGS").into_iter().flatten().map(String::as_str).collect();
    let target = args.get_one::<String>("TARGET");
    let recipes = chosen(build::recipes(store)?, target)?;
    let builder = Builder::of_args(context, store, args)?;
    let mut total = Total::default();
    for recipe in &recipes {
        let done = match &recipe.handler {
            Handler::Windows(recipe) => windows(&builder, recipe, &words, args.get_flag("retry")),
            Handler::Sources(_) if !words.is_empty() => {
                bail!("{} is built as a whole: it takes no {}", recipe.target, words.join(" "))
            }
            Handler::Sources(sources) => builder.build_sources(&recipe.target, sources),
            Handler::Other(handler) => {
                context.warn(&format!("{}: there is no handler {}", recipe.target, handler.escape_debug()));
                total.skipped += 1;
                continue;
            }
        };
        let made = done.as_ref().is_ok_and(|done| done.summary.built > 0) || args.get_flag("force_build_index");
        total.take(context, &recipe.target, done)?;
        if made && !recipe.indexes.is_empty() {
            let module = recipe.target.split('/').next().unwrap_or_default();
            let (_, done) = repo::index(store, &[module], false)?;
            tell_indexes(context, &done);
            total.not_indexed &= module != "nt";
        }
    }
    total.tell(context, store)
}

/// The recipes that the command line means.
fn chosen(recipes: Vec<Recipe>, target: Option<&String>) -> Result<Vec<Recipe>> {
    let Some(target) = target else {
        if recipes.is_empty() {
            bail!(
                "v1.0/config.yaml has no recipe yet. Next: write one (the remarks in it show how), or `quaid repo build \
                 nt/GUID add_guid GUIDAGE`"
            );
        }
        return Ok(recipes);
    };
    let known: Vec<String> = recipes.iter().map(|recipe| recipe.target.clone()).collect();
    if let Some(recipe) = recipes.into_iter().find(|recipe| recipe.target == *target) {
        return Ok(vec![recipe]);
    }
    match WindowsRecipe::of_target(target) {
        Some(recipe) => {
            Ok(vec![Recipe { target: target.clone(), handler: Handler::Windows(recipe), indexes: Vec::new() }])
        }
        None => bail!(
            "v1.0/config.yaml has no target {target}; there are: {}. A target MODULE/GUID needs no entry",
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        ),
    }
}

/// What builds share: the repository, and the way to symbol servers.
pub(crate) struct Builder<'a> {
    context: &'a Context,
    store: &'a GitStore,
    symbols: SymbolPath,
    http: Option<HttpTransport>,
    workers: usize,
}

impl<'a> Builder<'a> {
    pub(super) fn of_args(context: &'a Context, store: &'a GitStore, args: &ArgMatches) -> Result<Self> {
        let servers: Vec<String> = args.get_many("server").into_iter().flatten().cloned().collect();
        let processes = args.get_one::<u16>("processes").map(|&count| count.into());
        Self::new(context, store, &servers, processes)
    }

    /// `servers` are those of the command line.
    pub(crate) fn new(
        context: &'a Context,
        store: &'a GitStore,
        servers: &[String],
        processes: Option<usize>,
    ) -> Result<Self> {
        let symbols = symbol_path(context, servers);
        for problem in &symbols.problems {
            context.warn(problem);
        }
        let http = (!context.globals.offline).then(|| HttpTransport::new(HttpSettings::default())).transpose();
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let workers = processes.unwrap_or(cores.max(MIN_WORKERS));
        Ok(Self { context, store, symbols, http: http.context("cannot set up the network client")?, workers })
    }

    /// Makes builds of a recipe, and tells what becomes of each.
    pub(crate) fn build(&self, recipe: &WindowsRecipe, wishes: &[Wish], enlist: bool) -> Result<Summary> {
        let job = Job { recipe, symbols: &self.symbols, http: self.http.as_ref(), workers: self.workers, enlist };
        let bar = self.context.progress(&recipe.target, None, false);
        let summary = build_windows(self.store, wishes, &job, &mut |event| self.show(&bar, event));
        bar.finish_and_clear();
        Ok(summary?)
    }

    /// Makes what files of the repository give.
    fn build_sources(&self, target: &str, recipe: &SourceRecipe) -> Result<Done> {
        let bar = self.context.progress(target, None, false);
        let done = build_sources(self.store, target, recipe, self.workers, &mut |event| self.show(&bar, event));
        bar.finish_and_clear();
        let (summary, known) = done?;
        Ok(Done { summary, known, remembered: 0 })
    }

    fn show(&self, bar: &ProgressBar, event: Event<'_>) {
        let context = self.context;
        // Not while the bar is suspended: it would wait for itself.
        match event {
            Event::Begun(total) => return bar.set_length(total as u64),
            Event::Tried(count) => return bar.set_position(count as u64),
            _ => {}
        }
        bar.suspend(|| match event {
            Event::Begun(_) | Event::Tried(_) => {}
            Event::Built { name, lacks: None } => context.note(&format!("built {name}")),
            Event::Built { name, lacks: Some(lacks) } => {
                context.note(&format!("built {name}, {lacks}: it lacks what analysis needs"));
            }
            Event::Failed { what, why, remembered } => {
                let kept = if remembered { "rejected, and noted as such: " } else { "" };
                context.warn(&format!("{what}: {kept}{why}"));
            }
            Event::Problem(why) => context.warn(why),
        });
    }
}

/// What all recipes came to.
#[derive(Default)]
pub(super) struct Total {
    built: usize,
    known: usize,
    rejected: usize,
    failed: usize,
    remembered: usize,
    /// Recipes that cannot be built.
    skipped: usize,
    /// Whether the index of exports lacks kernels that were made.
    not_indexed: bool,
}

/// What one recipe came to.
pub(super) struct Done {
    pub(super) summary: Summary,
    /// Builds that the repository had.
    pub(super) known: usize,
    /// Builds that were rejected earlier, and not tried.
    pub(super) remembered: usize,
}

impl Total {
    /// A recipe that cannot be begun is told, and the others are built.
    pub(super) fn take(&mut self, context: &Context, target: &str, done: Result<Done>) -> Result<()> {
        match done {
            Ok(Done { summary, known, remembered }) => {
                self.built += summary.built;
                self.rejected += summary.rejected;
                self.failed += summary.failed;
                self.not_indexed |= summary.not_indexed;
                self.known += known;
                self.remembered += remembered;
            }
            // The repository itself fails the next one as well.
            Err(why) if why.downcast_ref::<crate::repo::Error>().is_none_or(is_fatal) => return Err(why),
            Err(why) => {
                context.warn(&format!("{target}: {}", chain_text(&why)));
                self.skipped += 1;
            }
        }
        Ok(())
    }

    /// What the other side of a list could not be asked for counts as failed.
    pub(super) fn fail(&mut self) {
        self.failed += 1;
    }

    /// One more that the repository has.
    pub(super) fn know(&mut self) {
        self.known += 1;
    }

    pub(super) fn tell(&self, context: &Context, store: &GitStore) -> Result<Outcome> {
        let Self { built, known, rejected, failed, remembered, skipped, not_indexed } = self;
        let earlier = match remembered {
            0 => String::new(),
            count => format!(", {count} rejected earlier (--retry tries them again)"),
        };
        context.note(&format!("{built} built, {known} there already, {rejected} rejected, {failed} failed{earlier}"));
        if *built > 0 {
            note_author(context, store);
        }
        if *not_indexed {
            note_indexes(context, store, true)?;
        }
        match (built + known, rejected + failed + skipped) {
            (_, 0) => Ok(Outcome::Done),
            (0, _) => bail!("no profile was made"),
            _ => Ok(Outcome::SomeErrors),
        }
    }
}

fn is_fatal(error: &crate::repo::Error) -> bool {
    !matches!(error, crate::repo::Error::Refused { .. })
}

/// One Windows recipe, as the words after the target say.
fn windows(builder: &Builder<'_>, recipe: &WindowsRecipe, words: &[&str], retry: bool) -> Result<Done> {
    let (wanted, explicit, to_list) = match words {
        [] | ["build_all"] => (listed(builder, recipe, retry)?, false, false),
        ["build", guids @ ..] if !guids.is_empty() => (given(builder, recipe, guids)?, true, false),
        ["add_guid", guids @ ..] if !guids.is_empty() => (given(builder, recipe, guids)?, true, true),
        _ => bail!(
            "`{}` is nothing that {} does: there are build_all, build [PDB/]GUID... and add_guid [PDB/]GUID...",
            words.join(" "),
            recipe.target
        ),
    };
    let rejects = rejects(builder, recipe)?;
    let head = builder.store.profiles()?;
    let (mut wishes, mut known, mut remembered) = (Vec::new(), Vec::new(), 0);
    for wish in wanted {
        if has_build(&head, &recipe.target, wish.id)? {
            known.push(wish);
        } else if !explicit && !retry && rejects.get(wish.id).is_some() {
            remembered += 1;
        } else {
            wishes.push(wish);
        }
    }
    if to_list {
        for id in enlist(builder.store, recipe, &known)? {
            builder.context.note(&format!("entered {id} in v1.0/{}", recipe.guids));
        }
    }
    let summary = builder.build(recipe, &wishes, to_list)?;
    Ok(Done { summary, known: known.len(), remembered })
}

fn rejects(builder: &Builder<'_>, recipe: &WindowsRecipe) -> Result<Rejects> {
    let name = recipe.rejects();
    Ok(Rejects::parse(&name, &build::source_text(builder.store, &name)?.unwrap_or_default())?)
}

/// The builds of the recipe's list; with `retry` also those that were rejected and are in none.
fn listed(builder: &Builder<'_>, recipe: &WindowsRecipe, retry: bool) -> Result<Vec<Wish>> {
    let list = guid_list(builder, recipe)?;
    if list.is_none() {
        builder.context.note(&format!("{}: there is no list v1.0/{} yet", recipe.target, recipe.guids));
    }
    let list = list.unwrap_or_default();
    let mut wishes: Vec<Wish> = Vec::new();
    let mut seen = HashSet::new();
    for (pdb, id) in list.builds() {
        match id {
            Ok(id) if seen.insert(id) => wishes.push(Wish { id, pdbs: list.pdbs(id) }),
            Ok(_) => {}
            Err(text) => {
                let text = text.escape_debug();
                builder.context.warn(&format!("v1.0/{}: `{text}` of {pdb} is no GUID with its age", recipe.guids));
            }
        }
    }
    if retry {
        let rejects = rejects(builder, recipe)?;
        let others = rejects.ids().filter(|id| !seen.contains(id));
        wishes.extend(others.map(|id| Wish { id, pdbs: or_usual(rejects.pdbs(id), recipe) }));
    }
    Ok(wishes)
}

fn guid_list(builder: &Builder<'_>, recipe: &WindowsRecipe) -> Result<Option<GuidList>> {
    let text = build::source_text(builder.store, &recipe.guids)?;
    Ok(text.map(|text| GuidList::parse(&recipe.guids, &text)).transpose()?)
}

/// The names of PDBs that a list gives, or where it gives none those that the recipe tries.
fn or_usual(pdbs: Vec<String>, recipe: &WindowsRecipe) -> Vec<String> {
    if pdbs.is_empty() { recipe.pdbs.clone() } else { pdbs }
}

/// `[PDB/]GUID` each.
fn given(builder: &Builder<'_>, recipe: &WindowsRecipe, guids: &[&str]) -> Result<Vec<Wish>> {
    let list = guid_list(builder, recipe)?.unwrap_or_default();
    let wish = |text: &&str| {
        let (pdb, guid) = text.rsplit_once('/').map_or((None, *text), |(pdb, guid)| (Some(pdb), guid));
        if let Some((_, None)) = GuidAge::parse_guid(guid) {
            bail!("the GUID {guid} lacks the age: its hex digits follow the GUID's 32, often a 1 or 2");
        }
        let id = guid.parse::<GuidAge>()?;
        Ok(Wish { id, pdbs: pdb.map_or_else(|| or_usual(list.pdbs(id), recipe), |pdb| vec![pdb.to_owned()]) })
    };
    let mut wishes = guids.iter().map(wish).collect::<Result<Vec<Wish>>>()?;
    let mut seen = HashSet::new();
    wishes.retain(|wish| seen.insert(wish.id));
    Ok(wishes)
}

/// The repository's own recipe of a target `MODULE/GUID`, else the usual one.
pub(crate) fn windows_recipe(store: &GitStore, target: &str) -> Result<WindowsRecipe> {
    let own = build::recipes(store)?.into_iter().find(|recipe| recipe.target == target);
    match own {
        Some(Recipe { handler: Handler::Windows(recipe), .. }) => Ok(recipe),
        _ => WindowsRecipe::of_target(target).with_context(|| format!("{target} is no target of Windows builds")),
    }
}
