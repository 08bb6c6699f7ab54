//! The whole operation: every store of a symbol path is asked until one gives the PDB that was wanted.

use super::cab::{self, CabError};
use super::download::{DownloadError, Policy, Transfer, download};
use super::request::{Form, Wanted};
use super::store::{self, Pointer, StoreError};
use super::symbol_path::{Chain, Store, SymbolPath};
use super::transport::{Transport, Url, may_lead_to, shown};
use super::verify::{VerifyError, verify};
use crate::pdb::PdbError;
use std::fmt;
use std::path::Path;

/// What a fetch tells while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A URL is asked.
    Trying(String),
    /// How its transfer goes on.
    Transfer(Transfer),
    /// A file of so many bytes came from a server.
    Received(usize),
    /// A file of a store on this machine is read.
    Reading(String),
    /// The cabinet of this name is expanded.
    Cabinet(String),
    /// This member of it is the PDB.
    Extracting(String),
    /// The PDB was kept at this path of a cache.
    Kept(String),
    /// A place did not have it.
    Failed(Attempt),
}

/// Why one place did not give the PDB.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A server, and the network may not be used.
    #[error("not asked, because of --offline")]
    Offline,
    /// The transfer failed.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// What came is no cabinet with the PDB.
    #[error(transparent)]
    Cab(#[from] CabError),
    /// What came is not the PDB that was wanted.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// A store on this machine did not have it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A server's `file.ptr` leads where a server may not send us.
    #[error("it points to {0}, which is not followed from a server: fetch it yourself if you trust it")]
    Pointer(String),
}

/// One place that was tried in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its URL or path.
    pub place: String,
    /// The reason.
    pub failure: Failure,
}

/// Every place was tried in vain. Prints a line for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFetched {
    /// Name and identity.
    pub wanted: String,
    /// The places, in the order in which they were tried.
    pub attempts: Vec<Attempt>,
}

impl fmt::Display for NotFetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot fetch {}", self.wanted)?;
        for attempt in &self.attempts {
            write!(f, "\n  {}: {}", attempt.place, attempt.failure)?;
        }
        write!(f, "\n{}", self.next_step())
    }
}

impl std::error::Error for NotFetched {}

impl NotFetched {
    /// What the user can do about it.
    fn next_step(&self) -> &'static str {
        let any = |test: fn(&Failure) -> bool| self.attempts.iter().any(|attempt| test(&attempt.failure));
        if self.attempts.is_empty() {
            "The symbol path names no place to ask: give --server URL."
        } else if any(|f| matches!(f, Failure::Offline)) {
            "Next: run it again without --offline, or put the PDB into a folder that _NT_SYMBOL_PATH names."
        } else if any(|f| matches!(f, Failure::Download(DownloadError::Cut { .. }))) {
            "Next: run it again."
        } else if any(|f| matches!(f, Failure::Download(DownloadError::Unreachable(_)))) {
            "Next: check the network, the proxy (HTTPS_PROXY) and the server's name, and run it again."
        } else if any(|f| matches!(f, Failure::Verify(VerifyError::Pdb(PdbError::Html)))) {
            "Next: open the URL in a browser to see what the server wants, or give another --server URL."
        } else {
            "Next: compare name and GUID with what version_scan or peinfo shows (a kernel's PDB is ntkrnlmp.pdb, \
             ntkrnlpa.pdb, ntoskrnl.pdb or ntkrpamp.pdb), or give another --server URL."
        }
    }
}

/// A PDB with the GUID and age that were wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The PDB.
    pub pdb: Vec<u8>,
    /// The URL or path that it came from.
    pub place: String,
    /// Caches of the symbol path that did not take it, with the reason each.
    pub problems: Vec<String>,
}

/// How a fetch is done.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// What is wanted.
    pub wanted: &'a Wanted,
    /// Where it is looked for.
    pub path: &'a SymbolPath,
    /// How servers are asked; `None` when they may not be.
    pub transport: Option<&'a dyn Transport>,
    /// Where a cut transfer is kept ([`super::part_path`]).
    pub part: Option<&'a Path>,
    /// Limits, retries.
    pub policy: &'a Policy,
}

/// Does the job. `tell` hears of each step.
pub fn fetch(job: &Job<'_>, tell: &mut dyn FnMut(Event)) -> Result<Fetched, NotFetched> {
    let mut run = Run { job, tell, attempts: Vec::new() };
    for chain in &job.path.chains {
        for (index, store) in chain.0.iter().enumerate() {
            if let Some((pdb, place)) = run.ask(store) {
                let problems = run.keep(chain, index, &pdb);
                return Ok(Fetched { pdb, place, problems });
            }
        }
    }
    Err(NotFetched { wanted: job.wanted.to_string(), attempts: run.attempts })
}

/// What is left to try after a server did not give a form of the file.
enum Next {
    OtherForm { missing: bool },
    OtherServer,
}

struct Run<'a> {
    job: &'a Job<'a>,
    tell: &'a mut dyn FnMut(Event),
    attempts: Vec<Attempt>,
}

impl Run<'_> {
    fn failed(&mut self, place: &str, failure: Failure) {
        let attempt = Attempt { place: place.to_owned(), failure };
        (self.tell)(Event::Failed(attempt.clone()));
        // The second "not found" of a URL says no more than the first.
        if !self.attempts.contains(&attempt) {
            self.attempts.push(attempt);
        }
    }

    fn ask(&mut self, store: &Store) -> Option<(Vec<u8>, String)> {
        match (store, self.job.transport) {
            (Store::Server(server), Some(transport)) => self.ask_server(transport, server),
            (Store::Server(server), None) => {
                self.failed(&shown(server), Failure::Offline);
                None
            }
            (Store::Folder(root) | Store::Local(root), _) => self.ask_folder(store, root),
        }
    }

    fn ask_folder(&mut self, store: &Store, root: &Path) -> Option<(Vec<u8>, String)> {
        let candidates = store::candidates(store, self.job.wanted);
        if candidates.is_empty() {
            self.failed(&root.display().to_string(), StoreError::Missing.into());
        }
        for (path, form) in candidates {
            let place = path.display().to_string();
            match self.read(store, &path, form) {
                Ok(pdb) => return Some((pdb, place)),
                Err(failure) => self.failed(&place, failure),
            }
        }
        None
    }

    fn read(&mut self, store: &Store, path: &Path, form: Form) -> Result<Vec<u8>, Failure> {
        (self.tell)(Event::Reading(path.display().to_string()));
        if form == Form::Pointer {
            let text = store::read(path, Pointer::MAX_BYTES)?;
            let target = store::follow(store, path, &String::from_utf8_lossy(&text))?;
            return self.accept(store::read(&target, self.job.policy.max_bytes)?, form);
        }
        self.accept(store::read(path, self.job.policy.max_bytes)?, form)
    }

    fn ask_server(&mut self, transport: &dyn Transport, server: &Url) -> Option<(Vec<u8>, String)> {
        let mut all_missing = true;
        for form in Form::ALL {
            match self.ask_for(transport, server, form) {
                Ok(found) => return Some(found),
                Err(Next::OtherForm { missing }) => all_missing &= missing,
                Err(Next::OtherServer) => return None,
            }
        }
        // A "not found" can pass: Microsoft's server gives it now and then for a file that it has. So when every form
        // is missing, the plain one is asked for once more.
        if all_missing {
            std::thread::sleep(self.job.policy.first_wait);
            return self.ask_for(transport, server, Form::Plain).ok();
        }
        None
    }

    fn ask_for(&mut self, transport: &dyn Transport, server: &Url, form: Form) -> Result<(Vec<u8>, String), Next> {
        let url = self.job.wanted.url(server, form);
        let failure = match self.get(transport, &url, form) {
            Ok(pdb) => return Ok((pdb, shown(&url))),
            Err(failure) => failure,
        };
        let next = match &failure {
            // A server that does not answer, or cuts this file, does no better with the other forms of it.
            Failure::Download(
                DownloadError::Unreachable(_) | DownloadError::Cut { .. } | DownloadError::Write { .. },
            ) => Next::OtherServer,
            failure => Next::OtherForm { missing: matches!(failure, Failure::Download(DownloadError::Missing(_))) },
        };
        self.failed(&shown(&url), failure);
        Err(next)
    }

    fn get(&mut self, transport: &dyn Transport, url: &Url, form: Form) -> Result<Vec<u8>, Failure> {
        if form != Form::Pointer {
            let bytes = self.download(transport, url, self.job.part, self.job.policy.max_bytes)?;
            return self.accept(bytes, form);
        }
        let text = self.download(transport, url, None, Pointer::MAX_BYTES)?;
        let target = match Pointer::parse(&String::from_utf8_lossy(&text)) {
            // A page for people says nothing that is worth repeating.
            _ if text.starts_with(b"<") => return Err(VerifyError::from(PdbError::Html).into()),
            Pointer::Path(target) => target,
            Pointer::Message(text) => return Err(StoreError::Message(text).into()),
        };
        // A server must not choose a file of this machine or its network shares: only another URL is followed.
        match Url::parse(&target) {
            Ok(next) if may_lead_to(url, &next) => {
                let bytes = self.download(transport, &next, self.job.part, self.job.policy.max_bytes)?;
                self.accept(bytes, form)
            }
            _ => Err(Failure::Pointer(target)),
        }
    }

    fn download(
        &mut self,
        transport: &dyn Transport,
        url: &Url,
        part: Option<&Path>,
        max_bytes: u64,
    ) -> Result<Vec<u8>, DownloadError> {
        (self.tell)(Event::Trying(shown(url)));
        let policy = Policy { max_bytes, ..*self.job.policy };
        let bytes = download(transport, url, part, &policy, &mut |transfer| (self.tell)(Event::Transfer(transfer)))?;
        (self.tell)(Event::Received(bytes.len()));
        Ok(bytes)
    }

    /// The PDB in what came: itself, or in a cabinet, whatever the name said; and it is the one that was wanted.
    fn accept(&mut self, bytes: Vec<u8>, form: Form) -> Result<Vec<u8>, Failure> {
        let wanted = self.job.wanted;
        let pdb = if cab::is_cabinet(&bytes) {
            (self.tell)(Event::Cabinet(wanted.file_name(form)));
            let expanded = cab::expand(&bytes, wanted.name(), self.job.policy.max_bytes)?;
            (self.tell)(Event::Extracting(expanded.name));
            expanded.bytes
        } else {
            bytes
        };
        verify(&pdb, wanted.id())?;
        Ok(pdb)
    }

    /// Keeps the PDB in the caches of `chain` before the store that had it.
    fn keep(&mut self, chain: &Chain, found_at: usize, pdb: &[u8]) -> Vec<String> {
        let mut problems = Vec::new();
        for store in chain.0.iter().take(found_at) {
            let Store::Local(root) = store else { continue };
            match store::keep(root, self.job.wanted, pdb) {
                Ok(path) => (self.tell)(Event::Kept(path.display().to_string())),
                Err(error) => problems.push(format!("the cache {} did not take it: {error}", root.display())),
            }
        }
        problems
    }
}
