//! A repository over HTTP, read only: Rekall's layout, Volatility 3's remote ISF list, a symbol server, web pages.
//!
//! Everything is answered from HEAD's objects and the cache of PDBs by name: no path of a request is one of the file system.

mod answer;
mod pages;
mod rekall;
mod site;
mod symbols;
mod volatility;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use site::Site;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// How many clients are served at once; others wait.
const MAX_CONNECTIONS: usize = 128;
/// How long the head of a request may take to come.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// How long one connection may last, for clients that take nothing of what they asked for.
const MAX_CONNECTION: Duration = Duration::from_secs(600);
/// How long answers under way may take when the server is to end.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// What the pages may do: nothing but their own style.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Where PDBs come from that the cache lacks.
pub(crate) struct Upstream {
    /// The symbol server.
    pub(crate) url: crate::symserver::Url,
    /// How it is asked.
    pub(crate) transport: crate::symserver::HttpTransport,
}

/// Serves the repository at `root` until Ctrl-C. `ready` is told the address, whose port the system chose if it was 0.
///
/// # Errors
/// It is no repository, or the address cannot be had.
pub(crate) fn serve(
    root: &Path,
    listen: SocketAddr,
    upstream: Option<Upstream>,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let site = Arc::new(Site::open(root, upstream)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(16).build()?;
    let router = router(Arc::clone(&site));
    let served = runtime.block_on(async {
        let listener = TcpListener::bind(listen).await.map_err(|why| ServeError::Listen { listen, why })?;
        ready(listener.local_addr()?);
        accept(listener, router).await;
        Ok(())
    });
    // The client of the upstream server must not be dropped by a thread of the runtime.
    runtime.shutdown_timeout(LAST_ANSWERS);
    drop(site);
    served
}

/// Why a repository cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// The repository cannot be read.
    #[error(transparent)]
    Repository(#[from] crate::repo::Error),
    /// The address cannot be had.
    #[error("cannot listen on {listen}: {why}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// The system's reason.
        why: io::Error,
    },
    /// The system failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn router(site: Arc<Site>) -> Router {
    Router::new()
        .route("/v1.0/{*name}", get(rekall::get))
        .route("/banners.json", get(volatility::banners))
        .route("/isf/{*name}", get(volatility::isf))
        .route("/symbols/{name}/{id}/{file}", get(symbols::get))
        .merge(pages::router())
        .layer(DefaultBodyLimit::max(0))
        .layer(axum::middleware::map_response(harden))
        .with_state(site)
}

/// A text as a part of a URL; a `/` stays one.
fn escaped(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(byte.into()),
            // Writing to a String cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Takes connections until Ctrl-C, then lets the answers under way end.
async fn accept(listener: TcpListener, router: Router) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = hyper_util::server::graceful::GracefulShutdown::new();
    let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let next = async {
            // The semaphore is never closed.
            let permit = Arc::clone(&room).acquire_owned().await.ok();
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            _ = &mut stop => break,
        };
        let Ok((stream, _)) = accepted else {
            // Too many open files: some are closed soon.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD_BYTES);
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // What a client does wrong ends its connection alone.
            let _ = tokio::time::timeout(MAX_CONNECTION, connection).await;
            drop(permit);
        });
    }
    let _ = tokio::time::timeout(LAST_ANSWERS, graceful.shutdown()).await;
}
