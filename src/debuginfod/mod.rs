//! The debuginfod client: from the build-id of an ELF file to its verified debugging information.
//!
//! The interface is that of elfutils (debuginfod(8), "WEBAPI"): `SERVER/buildid/ID/debuginfo` and
//! `SERVER/buildid/ID/executable`. [`fetch`] asks one server after the other, with the transfers of
//! [`symserver`](crate::symserver), and takes what has the build-id that was wanted. [`advice`] tells the package of a
//! distribution that has the file where no server does. Nothing here prints, and nothing is written but the partial file.

mod packages;
mod servers;

pub use packages::{Advice, advice};
pub use servers::Servers;

use crate::dwarf;
use crate::symserver::{DownloadError, Policy, Transfer, Transport, Url, download, shown};
use quaid_profile::BuildId;
use std::fmt;
use std::path::Path;

/// Most bytes of a file: of the vmlinux of a distribution there are 400 to 900 MB.
pub const MAX_FILE_BYTES: u64 = 2 << 30;

/// Which of the two files of a build-id is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Artifact {
    /// The file with the debugging information.
    Debuginfo,
    /// The program itself, as it was installed.
    Executable,
}

impl Artifact {
    /// Its last part of the URL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debuginfo => "debuginfo",
            Self::Executable => "executable",
        }
    }
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The build-id.
    pub build_id: BuildId,
    /// Which of its files.
    pub artifact: Artifact,
}

impl Wanted {
    /// The name under which the file is kept: `ID.debug`, or the bare `ID` for a program.
    pub fn file_name(&self) -> String {
        match self.artifact {
            Artifact::Debuginfo => format!("{}.debug", self.build_id),
            Artifact::Executable => self.build_id.to_string(),
        }
    }

    /// Its URL on a server.
    pub fn url(&self, server: &Url) -> Url {
        let mut url = server.clone();
        // Fails only for a URL that cannot have a path; those of servers are http or https.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["buildid", &self.build_id.to_string(), self.artifact.name()]);
        }
        url
    }

    /// Succeeds when `bytes` are an ELF file with this build-id.
    pub fn verify(&self, bytes: &[u8]) -> Result<(), VerifyError> {
        if !bytes.starts_with(b"\x7fELF") {
            return Err(VerifyError::NoElf);
        }
        match dwarf::build_id(bytes).map_err(VerifyError::Damaged)? {
            Some(found) if found == self.build_id => Ok(()),
            Some(found) => Err(VerifyError::OtherBuild { found, wanted: self.build_id.clone() }),
            None => Err(VerifyError::NoBuildId),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} of build-id {}", self.artifact.name(), self.build_id)
    }
}

/// Why a file is not the one that was wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A page for people, or something else.
    #[error("it is no ELF file")]
    NoElf,
    /// Its headers or notes cannot be read.
    #[error("it is a damaged ELF file: {0}")]
    Damaged(String),
    /// There is nothing to compare.
    #[error("it is an ELF file without a build-id")]
    NoBuildId,
    /// A file of another build.
    #[error("it has the build-id {found}, not {wanted}")]
    OtherBuild {
        /// The build-id in the file.
        found: BuildId,
        /// The one that was asked for.
        wanted: BuildId,
    },
}

/// Why one server did not give the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The network may not be used.
    #[error("not asked, because of --offline")]
    Offline,
    /// The transfer failed.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// What came is another file, and was thrown away.
    #[error("refused what came: {0}")]
    Verify(#[from] VerifyError),
}

/// One server that was asked in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The URL.
    pub url: String,
    /// The reason.
    pub failure: Failure,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.url, self.failure)
    }
}

/// Every server was asked in vain. Prints a line for each, and the next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFetched {
    /// What was wanted.
    pub wanted: Wanted,
    /// In the order in which they were asked.
    pub attempts: Vec<Attempt>,
}

impl fmt::Display for NotFetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot fetch {}", self.wanted)?;
        for attempt in &self.attempts {
            write!(f, "\n  {attempt}")?;
        }
        write!(f, "\n{}", self.next_step())
    }
}

impl std::error::Error for NotFetched {}

impl NotFetched {
    fn next_step(&self) -> &'static str {
        let any = |test: fn(&Failure) -> bool| self.attempts.iter().any(|attempt| test(&attempt.failure));
        if any(|f| matches!(f, Failure::Offline)) {
            "Next: run it again without --offline, or get the distribution's debug package: --banner TEXT tells which."
        } else if any(|f| matches!(f, Failure::Download(DownloadError::Cut { .. }))) {
            "Next: run it again."
        } else if any(|f| matches!(f, Failure::Download(DownloadError::Unreachable(_)))) {
            "Next: check the network, the proxy (HTTPS_PROXY) and the server's name, and run it again; a server that \
             unpacks a large package first may need more than the DEBUGINFOD_TIMEOUT of 90 seconds."
        } else {
            "Next: ask the debuginfod server of the kernel's distribution (--server URL), or get its debug package: \
             --banner TEXT tells both."
        }
    }
}

/// What a fetch tells while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A URL is asked.
    Trying(String),
    /// How its transfer goes on.
    Transfer(Transfer),
    /// A file of so many bytes came.
    Received(usize),
    /// A server did not have it.
    Failed(Attempt),
}

/// How a fetch is done.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// What is wanted.
    pub wanted: &'a Wanted,
    /// Who is asked, in this order.
    pub servers: &'a [Url],
    /// How; `None` when the network may not be used.
    pub transport: Option<&'a dyn Transport>,
    /// Where a cut transfer is kept ([`crate::symserver::part_path`]).
    pub part: Option<&'a Path>,
    /// Limits, retries.
    pub policy: &'a Policy,
}

/// Does the job: the bytes of a file with the build-id that was wanted. `tell` hears of each step.
///
/// # Errors
/// No server gave it; the error has the reason of each.
pub fn fetch(job: &Job<'_>, tell: &mut dyn FnMut(Event)) -> Result<Vec<u8>, NotFetched> {
    let mut attempts = Vec::new();
    for server in job.servers {
        let url = job.wanted.url(server);
        match ask(job, &url, tell) {
            Ok(bytes) => return Ok(bytes),
            Err(failure) => {
                let attempt = Attempt { url: shown(&url), failure };
                tell(Event::Failed(attempt.clone()));
                attempts.push(attempt);
            }
        }
    }
    Err(NotFetched { wanted: job.wanted.clone(), attempts })
}

fn ask(job: &Job<'_>, url: &Url, tell: &mut dyn FnMut(Event)) -> Result<Vec<u8>, Failure> {
    let transport = job.transport.ok_or(Failure::Offline)?;
    tell(Event::Trying(shown(url)));
    let bytes = download(transport, url, job.part, job.policy, &mut |transfer| tell(Event::Transfer(transfer)))?;
    tell(Event::Received(bytes.len()));
    job.wanted.verify(&bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_the_form_of_elfutils_whatever_the_server_s_path() {
        let build_id: BuildId = "00FFaa10bb20cc30".parse().expect("a build-id");
        let wanted = Wanted { build_id, artifact: Artifact::Debuginfo };
        for server in ["https://host/sub", "https://host/sub/"] {
            let url = wanted.url(&Url::parse(server).expect("a URL"));
            assert_eq!(url.as_str(), "https://host/sub/buildid/00ffaa10bb20cc30/debuginfo");
        }
        let program = Wanted { artifact: Artifact::Executable, ..wanted };
        assert_eq!(
            program.url(&Url::parse("http://h").expect("a URL")).as_str(),
            "http://h/buildid/00ffaa10bb20cc30/executable"
        );
        assert_eq!(program.verify(b"<html>"), Err(VerifyError::NoElf));
        assert!(matches!(program.verify(b"\x7fELF\x02\x01\x01"), Err(VerifyError::Damaged(_))));
    }
}
