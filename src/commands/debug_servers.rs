//! The way to debuginfod servers, as commands share it: who is asked, with which limits, and what is shown meanwhile.

use super::transfer::Screen;
use crate::context::Context;
use crate::debuginfod::{Event, Job, MAX_FILE_BYTES, Servers, Wanted, fetch};
use crate::symserver::{HttpSettings, HttpTransport, Policy, Transport, part_path};
use anyhow::{Context as _, Result, bail};
use std::path::Path;
use std::time::Duration;

/// How long elfutils' clients wait for a server that may have to unpack a package first.
const TIMEOUT: Duration = Duration::from_secs(90);

/// Servers, and how they are asked.
pub(crate) struct DebugServers<'a> {
    context: &'a Context,
    servers: Servers,
}

impl<'a> DebugServers<'a> {
    /// The servers that the command line names, else the environment's, else the configuration's.
    pub(crate) fn new(context: &'a Context, given: &[&str]) -> Self {
        let servers = match std::env::var("DEBUGINFOD_URLS") {
            _ if !given.is_empty() => Servers::parse(&given.join(" ")),
            Ok(list) if !list.trim().is_empty() => Servers::parse(&list),
            _ => Servers::parse(&context.globals.debuginfod_urls.join(" ")),
        };
        Self { context, servers }
    }

    /// Whether nobody is to be asked.
    pub(crate) fn is_empty(&self) -> bool {
        self.servers.urls.is_empty()
    }

    /// The file, verified; a transfer to `target` that is cut is kept beside it.
    ///
    /// # Errors
    /// No server gave it.
    pub(crate) fn get(&self, wanted: &Wanted, target: &Path) -> Result<Vec<u8>> {
        let Self { context, servers: Servers { urls, problems } } = self;
        for problem in problems {
            context.warn(problem);
        }
        if urls.is_empty() {
            bail!(
                "cannot fetch {wanted}: there is no server to ask. Give --server URL or set DEBUGINFOD_URLS: that of the \
                 kernel's distribution, or https://debuginfod.elfutils.org, which asks those of many"
            );
        }
        let (settings, policy) = settings(context);
        let http = if context.globals.offline {
            None
        } else {
            Some(HttpTransport::new(settings).context("cannot set up the network client")?)
        };
        let part = part_path(target);
        let job = Job {
            wanted,
            servers: urls,
            transport: http.as_ref().map(|http| http as &dyn Transport),
            part: Some(&part),
            policy: &policy,
        };
        let mut screen = Screen::new(context);
        let fetched = fetch(&job, &mut |event| match event {
            Event::Trying(url) => context.note(&format!("Trying to fetch {url}")),
            Event::Transfer(transfer) => screen.transfer(transfer),
            Event::Received(bytes) => screen.received(bytes),
            Event::Failed(attempt) => {
                screen.clear();
                context.detail(2, &attempt.to_string());
            }
        });
        Ok(fetched?)
    }
}

/// Time-outs and limits, with what the environment says of them.
fn settings(context: &Context) -> (HttpSettings, Policy) {
    let number = |name: &str| {
        let text = std::env::var(name).ok().filter(|text| !text.trim().is_empty())?;
        let number = text.trim().parse::<u32>().ok();
        if number.is_none() {
            context.warn(&format!("{name} is no number and is not used: `{}`", text.escape_debug()));
        }
        number
    };
    let stall_timeout = match number("DEBUGINFOD_TIMEOUT") {
        Some(seconds @ 1..) => Duration::from_secs(seconds.into()),
        _ => TIMEOUT,
    };
    let user_agent = concat!("quaid/", env!("CARGO_PKG_VERSION"));
    let policy = Policy { max_bytes: MAX_FILE_BYTES, ..Policy::default() };
    let retries = number("DEBUGINFOD_RETRY_LIMIT").unwrap_or(policy.retries);
    (HttpSettings { stall_timeout, user_agent, ..HttpSettings::default() }, Policy { retries, ..policy })
}
