//! `parse_pdb` of many PDBs: one on each core at a time, each profile into a file of its own.

use super::Report;
use super::make::{Made, Says, make};
use crate::cli::chain_text;
use crate::context::{Context, Outcome};
use crate::form::Form;
use crate::input::shown;
use crate::output::{Output, tell_losses, write_profile, write_report};
use crate::pdb::{self, ParseReport};
use anyhow::{Context as _, Result, bail};
use clap::ArgMatches;
use quaid_profile::Losses;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

/// What became of a PDB, as the report has it.
#[derive(Serialize)]
struct Row {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    report: Option<Report>,
}

/// A profile that was written, and what went into it.
struct Written {
    output: PathBuf,
    report: ParseReport,
    losses: Losses,
    outcome: Outcome,
    says: Says,
}

/// Parses `inputs`, PDBs and folders of such, into `folder`. Messages, and the paths of the profiles on stdout, come in
/// the order of the inputs. A PDB that cannot be parsed is told, and the others are.
pub(super) fn run(context: &Context, args: &ArgMatches, inputs: &[&PathBuf], folder: &Path) -> Result<Outcome> {
    if !folder.is_dir() {
        bail!("{} is no folder: make it first, or give another --dump_dir", folder.display());
    }
    let form = Form::of(args);
    let (files, mut failed) = find(context, inputs);
    let mut incomplete = 0;
    let bar = context.progress("PDBs parsed", Some(files.len() as u64), false);
    let queue = Mutex::new(Queue::new(&files, folder, form));
    let (send, receive) = mpsc::channel();
    let mut out = Output::open(context)?;
    let mut rows = Vec::new();
    thread::scope(|scope| -> Result<()> {
        let workers = thread::available_parallelism().map_or(1, usize::from).min(files.len());
        for _ in 0..workers {
            let (queue, send) = (&queue, send.clone());
            scope.spawn(move || {
                while let Some((number, result)) = next(queue).map(|job| job.run(context, args, form)) {
                    if send.send((number, result)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(send);
        // What is done out of turn waits for those before it.
        let mut waiting = BTreeMap::new();
        for (number, result) in receive {
            bar.inc(1);
            waiting.insert(number, result);
            while let Some((file, result)) = files.get(rows.len()).zip(waiting.remove(&rows.len())) {
                incomplete += usize::from(matches!(&result, Ok(Written { outcome: Outcome::SomeErrors, .. })));
                let row = bar.suspend(|| tell(context, form, file, result));
                failed += usize::from(row.error.is_some());
                if let Some(output) = &row.output {
                    writeln!(out, "{output}")?;
                }
                rows.push(row);
            }
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    out.finish()?;
    write_report(context, &rows)?;
    let done = rows.iter().filter(|row| row.error.is_none()).count();
    match (done, failed) {
        (0, 0) => bail!("no PDBs to parse"),
        (0, _) => bail!("no profile was made"),
        (_, 0) if incomplete == 0 => Ok(Outcome::Done),
        (_, 0) => Ok(Outcome::SomeErrors),
        _ => {
            context.warn(&format!("{done} profiles were made, {failed} could not be"));
            Ok(Outcome::SomeErrors)
        }
    }
}

/// Says on stderr what became of a PDB.
fn tell(context: &Context, form: Form, file: &Path, result: Result<Written>) -> Row {
    let name = shown(file);
    match result {
        Ok(Written { output, report, losses, says, .. }) => {
            super::tell(context, file, &report);
            says.tell(context);
            tell_losses(context, form, &losses);
            let report = Report { parsed: report, not_said: losses };
            Row { file: name, output: Some(output.display().to_string()), error: None, report: Some(report) }
        }
        Err(why) => {
            let error = chain_text(&why);
            context.warn(&error);
            Row { file: name, output: None, error: Some(error), report: None }
        }
    }
}

/// The PDBs: files as they are given, of a folder all that are named `.pdb` in it and below, by name. Also how many
/// places could not be looked at, each of them told.
fn find(context: &Context, inputs: &[&PathBuf]) -> (Vec<PathBuf>, usize) {
    let (mut files, mut failed) = (Vec::new(), 0);
    // From the last to the first: the top is what comes next. A link to a folder is followed only where it is given.
    let mut places: Vec<(PathBuf, bool)> = inputs.iter().rev().map(|&path| (path.clone(), true)).collect();
    while let Some((place, given)) = places.pop() {
        let is_folder = if given { place.is_dir() } else { place.is_dir() && !place.is_symlink() };
        if !is_folder {
            let is_pdb = place.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("pdb"));
            if given || (is_pdb && place.is_file()) {
                files.push(place);
            }
            continue;
        }
        let before = (files.len(), places.len());
        let entries = std::fs::read_dir(&place).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        match entries {
            Ok(entries) => {
                places.extend(entries.into_iter().map(|entry| (entry.path(), false)));
                places.get_mut(before.1..).unwrap_or_default().sort_unstable_by(|a, b| b.cmp(a));
            }
            Err(why) => {
                context.warn(&format!("cannot read the folder {}: {why}", shown(&place)));
                failed += 1;
            }
        }
    }
    (files, failed)
}

/// The PDBs that are to be parsed, handed out in their order, and the files that they go to.
struct Queue<'a> {
    files: std::iter::Enumerate<std::slice::Iter<'a, PathBuf>>,
    folder: &'a Path,
    form: Form,
    /// How many PDBs have this name, in lower case.
    namesakes: HashMap<String, usize>,
    /// Output files, and the PDBs that go there.
    taken: HashMap<PathBuf, &'a Path>,
}

/// A PDB that was read, and where its profile goes.
struct Job<'a> {
    number: usize,
    file: &'a Path,
    read: Result<(Vec<u8>, PathBuf)>,
}

/// The next PDB. Reading it is part of the turn, so that which of two PDBs gets a name does not depend on who is faster.
fn next<'a>(queue: &Mutex<Queue<'a>>) -> Option<Job<'a>> {
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    let (number, file) = queue.files.next()?;
    Some(Job { number, file, read: queue.read(file) })
}

impl<'a> Queue<'a> {
    fn new(files: &'a [PathBuf], folder: &'a Path, form: Form) -> Self {
        let mut namesakes = HashMap::new();
        for file in files {
            *namesakes.entry(stem(file).to_lowercase()).or_insert(0) += 1;
        }
        Self { files: files.iter().enumerate(), folder, form, namesakes, taken: HashMap::new() }
    }

    fn read(&mut self, file: &'a Path) -> Result<(Vec<u8>, PathBuf)> {
        let bytes = super::read(file)?;
        let identity = pdb::symbol_server_id(&bytes).with_context(|| format!("cannot parse {}", shown(file)))?;
        let output = self.folder.join(self.name(file, &identity));
        if let Some(first) = self.taken.get(&output) {
            bail!("{}: {} has this name and identity too, and its profile stays", shown(file), shown(first));
        }
        self.taken.insert(output.clone(), file);
        Ok((bytes, output))
    }

    /// `ntkrnlmp.json`, or `ntkrnlmp-GUIDAGE.json` where another PDB has the name.
    fn name(&self, file: &Path, identity: &str) -> String {
        let (stem, ending) = (stem(file), self.form.ending());
        match self.namesakes.get(&stem.to_lowercase()) {
            Some(2..) => format!("{stem}-{identity}.{ending}"),
            _ => format!("{stem}.{ending}"),
        }
    }
}

fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

impl Job<'_> {
    /// Parses it and writes the profile.
    fn run(self, context: &Context, args: &ArgMatches, form: Form) -> (usize, Result<Written>) {
        let write = || {
            let (bytes, output) = self.read?;
            let Made { profile, report, outcome, says } = make(context, args, self.file, bytes, &mut |_, _| {})?;
            let losses = write_profile(context, Some(&output), &profile, form)?;
            Ok(Written { output, report, losses, outcome, says })
        };
        (self.number, write())
    }
}
