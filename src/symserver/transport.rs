//! One HTTP GET: what the symbol server client needs of HTTP, and no more.

use std::error::Error as _;
use std::io::Read;
use std::time::Duration;

pub use reqwest::Url;

/// What Microsoft's own client says; some servers answer nobody else.
const USER_AGENT: &str = "Microsoft-Symbol-Server/10.1710.0.0";
/// Redirects that are followed for one request.
const MAX_REDIRECTS: usize = 10;

/// The end of a transfer that was cut, and what must not have changed since.
#[derive(Debug, Clone, Copy)]
pub struct Resume<'a> {
    /// How many bytes are there already.
    pub from: u64,
    /// The entity's strong ETag, or its Last-Modified.
    pub validator: &'a str,
}

/// An answer, its body still to be read.
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Content-Length: the bytes of this body.
    pub length: Option<u64>,
    /// Content-Range of a partial answer.
    pub range: Option<ContentRange>,
    /// The strong ETag, else Last-Modified: what a later `If-Range` may name.
    pub validator: Option<String>,
    /// Retry-After, when it is a number of seconds.
    pub retry_after: Option<Duration>,
    /// The body. A read fails when the connection is cut, or when no byte came for the stall time-out.
    pub body: Box<dyn Read>,
}

/// `Content-Range: bytes START-END/TOTAL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// Offset of the body's first byte in the whole.
    pub start: u64,
    /// Size of the whole, when the server knows it.
    pub total: Option<u64>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// It may work the next time: refused, reset, timed out, no such host for now.
    #[error("{0}")]
    Transient(String),
    /// It will not: a certificate, a redirect that is refused.
    #[error("{0}")]
    Permanent(String),
}

/// Something that can GET.
pub trait Transport {
    /// Asks for `url`, or with `resume` for its end alone (`Range` with `If-Range`: all of it comes, with status 200,
    /// when it has changed).
    fn get(&self, url: &Url, resume: Option<Resume<'_>>) -> Result<Reply, TransportError>;
}

/// Time-outs, proxy and name of [`HttpTransport`].
#[derive(Debug, Clone, Copy)]
pub struct HttpSettings {
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long to wait for the answer's head, and for each next byte of the body. There is no limit for the whole.
    pub stall_timeout: Duration,
    /// Whether HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY are obeyed.
    pub proxy_from_environment: bool,
    /// The name by which the client is known to the server.
    pub user_agent: &'static str,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(60),
            proxy_from_environment: true,
            user_agent: USER_AGENT,
        }
    }
}

/// HTTP and HTTPS, by reqwest and rustls.
pub struct HttpTransport(reqwest::blocking::Client);

impl HttpTransport {
    /// Makes a client. Fails when the machine has no usable certificate store or a proxy variable is malformed.
    pub fn new(settings: HttpSettings) -> Result<Self, TransportError> {
        // Fails only when a provider is there already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // reqwest's blocking client applies its one time-out to the head, and then to each read of the body.
        let mut builder = reqwest::blocking::Client::builder()
            .user_agent(settings.user_agent)
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.stall_timeout)
            .redirect(reqwest::redirect::Policy::custom(follow));
        if !settings.proxy_from_environment {
            builder = builder.no_proxy();
        }
        builder.build().map(Self).map_err(|error| TransportError::Permanent(reasons(error)))
    }
}

/// A redirect may go from HTTP to HTTPS, never back.
fn follow(attempt: reqwest::redirect::Attempt<'_>) -> reqwest::redirect::Action {
    let downgrade = attempt.previous().last().is_some_and(|from| !may_lead_to(from, attempt.url()));
    if downgrade {
        attempt.error("it redirects from https to http, which is refused")
    } else if attempt.previous().len() > MAX_REDIRECTS {
        attempt.error(format!("more than {MAX_REDIRECTS} redirects"))
    } else {
        attempt.follow()
    }
}

/// Whether a server at `from` may send us to `to`: HTTP or HTTPS, and not from HTTPS to HTTP.
pub(super) fn may_lead_to(from: &Url, to: &Url) -> bool {
    match to.scheme() {
        "https" => true,
        "http" => from.scheme() == "http",
        _ => false,
    }
}

impl Transport for HttpTransport {
    fn get(&self, url: &Url, resume: Option<Resume<'_>>) -> Result<Reply, TransportError> {
        let mut request = self.0.get(url.clone());
        if let Some(resume) = resume {
            request = request.header("Range", format!("bytes={}-", resume.from)).header("If-Range", resume.validator);
        }
        let response = request.send().map_err(classify)?;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let strong_etag = header("ETag").filter(|tag| !tag.starts_with("W/"));
        Ok(Reply {
            status: response.status().as_u16(),
            length: header("Content-Length").and_then(|text| text.parse().ok()),
            range: header("Content-Range").and_then(parse_range),
            validator: strong_etag.or_else(|| header("Last-Modified")).map(str::to_owned),
            retry_after: header("Retry-After").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs),
            body: Box::new(response),
        })
    }
}

/// `bytes 100-199/200`, or `bytes 100-199/*`.
fn parse_range(text: &str) -> Option<ContentRange> {
    let (range, total) = text.trim().strip_prefix("bytes")?.trim().split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some(ContentRange { start: start.trim().parse().ok()?, total: total.trim().parse().ok() })
}

fn classify(error: reqwest::Error) -> TransportError {
    let permanent = error.is_redirect() || error.is_builder() || is_tls(&error);
    let why = reasons(error);
    if permanent { TransportError::Permanent(why) } else { TransportError::Transient(why) }
}

/// A TLS failure (a certificate, no common version) is the same the next time.
fn is_tls(error: &reqwest::Error) -> bool {
    let mut next = error.source();
    while let Some(error) = next {
        if error.is::<rustls::Error>() {
            return true;
        }
        // An io::Error hides the error that it carries from its own `source`.
        next = match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(carried) => Some(carried),
            None => error.source(),
        };
    }
    false
}

/// The reasons below reqwest's own sentence, which has only the URL again.
fn reasons(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut reasons: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(reason) = next {
        let text = reason.to_string();
        // hyper's layer only says that it is the client's side.
        if !text.starts_with("client error (") && reasons.last() != Some(&text) {
            reasons.push(text);
        }
        next = reason.source();
    }
    if reasons.is_empty() { error.to_string() } else { reasons.join(": ") }
}

/// A URL as messages show it: without a password, and without a query, which may hold a token.
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    if url.password().is_some() {
        // Fails only for a URL that cannot have a password.
        let _ = url.set_password(Some("..."));
    }
    if url.query().is_some() {
        url.set_query(Some("..."));
    }
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    #[test]
    fn content_range_is_read_with_and_without_total() {
        assert_eq!(parse_range("bytes 100-199/200"), Some(ContentRange { start: 100, total: Some(200) }));
        assert_eq!(parse_range("bytes 7-8/*"), Some(ContentRange { start: 7, total: None }));
        for bad in ["", "bytes */200", "items 1-2/3", "bytes 1/2"] {
            assert_eq!(parse_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn https_never_leads_to_http_or_to_a_file() {
        assert!(may_lead_to(&url("http://a/"), &url("https://b/")));
        assert!(may_lead_to(&url("http://a/"), &url("http://b/")));
        assert!(!may_lead_to(&url("https://a/"), &url("http://a/")));
        assert!(!may_lead_to(&url("http://a/"), &url("file:///etc/passwd")));
    }

    #[test]
    fn secrets_of_a_url_are_not_shown() {
        assert_eq!(shown(&url("https://me:secret@host/x?sig=abc")), "https://me:...@host/x?...");
    }
}
