//! Profiles of a web server, in Rekall's layout: `<url>/v1.0/<name>.gz`, or the same without ending.

use crate::symserver::{DownloadError, HttpSettings, HttpTransport, Policy, Transport, Url, download, shown};
use quaid_profile::{Error, ErrorKind, MAX_PROFILE_BYTES, ProfileSource};

/// The folder of a repository that holds its profiles.
const LAYOUT: &str = "v1.0";

/// A repository behind an http or https URL.
pub struct HttpSource {
    url: Url,
    /// `None` when the network may not be used.
    transport: Option<HttpTransport>,
    policy: Policy,
}

impl HttpSource {
    /// The repository at `url`, with or without the `v1.0` at its end. Without `settings` the network may not be used: it
    /// has nothing then, and its place says why. Fails when `url` is not http or https, and when the machine's network
    /// set-up is unusable.
    pub fn new(url: &str, settings: Option<HttpSettings>) -> Result<Self, Error> {
        let refused = |why: String| Error { place: url.to_owned(), kind: ErrorKind::Unsupported(why) };
        let mut parsed = Url::parse(url).map_err(|error| refused(format!("it is no URL: {error}")))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(refused(format!("profiles are read over http and https, not {}", parsed.scheme())));
        }
        let has_layout = parsed.path().trim_end_matches('/').ends_with(&format!("/{LAYOUT}"));
        if let Ok(mut segments) = parsed.path_segments_mut() {
            segments.pop_if_empty();
            if !has_layout {
                segments.push(LAYOUT);
            }
        }
        let transport = settings.map(HttpTransport::new).transpose().map_err(|error| refused(error.to_string()))?;
        Ok(Self { url: parsed, transport, policy: Policy { max_bytes: MAX_PROFILE_BYTES, ..Policy::default() } })
    }

    fn get(&self, transport: &dyn Transport, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(name.split('/'));
        }
        match download(transport, &url, None, &self.policy, &mut |_| ()) {
            Ok(bytes) if looks_like_html(&bytes) => {
                let why = "the server sent an HTML page instead of a profile (a proxy's or captive portal's login?)";
                Err(Error { place: shown(&url), kind: ErrorKind::Corrupt(why.to_owned()) })
            }
            Ok(bytes) => Ok(Some(bytes)),
            Err(DownloadError::Missing(_)) => Ok(None),
            Err(error) => Err(Error { place: shown(&url), kind: ErrorKind::Io(error.to_string()) }),
        }
    }
}

/// A profile is JSON, or compressed: neither begins with `<`.
fn looks_like_html(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"<")
}

impl ProfileSource for HttpSource {
    fn place(&self) -> String {
        let url = shown(&self.url);
        if self.transport.is_some() { url } else { format!("{url} (not asked, because of --offline)") }
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let Some(transport) = &self.transport else { return Ok(None) };
        match self.get(transport, &format!("{name}.gz"))? {
            Some(bytes) => Ok(Some(bytes)),
            None => self.get(transport, name),
        }
    }

    /// A web server has no listing that could be relied on.
    fn list(&self, _: &str) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }
}
