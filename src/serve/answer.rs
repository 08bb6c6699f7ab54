//! What a request gets, and the thread that makes it.

use super::site::Site;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Duration;

/// How long an answer may take to be made.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What a request gets.
#[derive(Debug)]
pub(super) enum Answer {
    /// Bytes of a type; with a name the browser keeps them as a file.
    Bytes { mime: &'static str, bytes: Arc<[u8]>, file: Option<String> },
    /// A page.
    Page(String),
    /// There is nothing of this name, or the request asks for nothing that could be: for programs, a line.
    Not(StatusCode, String),
    /// The same as a page, for people.
    NotPage(StatusCode, String),
    /// It is at another address of this server.
    Elsewhere(String),
}

impl Answer {
    pub(super) fn missing(what: impl std::fmt::Display) -> Self {
        Self::Not(StatusCode::NOT_FOUND, format!("there is no {what} here"))
    }

    pub(super) fn json(bytes: Arc<[u8]>) -> Self {
        Self::Bytes { mime: "application/json", bytes, file: None }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        match self {
            Self::Bytes { mime, bytes, file } => {
                let mut response = Response::new(Body::from(axum::body::Bytes::from_owner(bytes)));
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(mime));
                let named =
                    file.and_then(|file| HeaderValue::from_str(&format!("attachment; filename=\"{file}\"")).ok());
                if let Some(named) = named {
                    response.headers_mut().insert(header::CONTENT_DISPOSITION, named);
                }
                response
            }
            Self::Page(html) => axum::response::Html(html).into_response(),
            Self::Not(status, why) => (status, why + "\n").into_response(),
            Self::NotPage(status, html) => (status, axum::response::Html(html)).into_response(),
            Self::Elsewhere(target) => axum::response::Redirect::to(&target).into_response(),
        }
    }
}

/// Runs what reads the repository on a thread where it may wait. What fails is told; a panic, which would be a fault of
/// ours, ends this answer alone.
pub(super) async fn answer(
    site: Arc<Site>,
    make: impl FnOnce(&Site) -> anyhow::Result<Answer> + Send + 'static,
) -> Response {
    let made = tokio::task::spawn_blocking(move || make(&site));
    let failed = |status, why: String| Answer::Not(status, why).into_response();
    match tokio::time::timeout(TIMEOUT, made).await {
        Ok(Ok(Ok(answer))) => answer.into_response(),
        Ok(Ok(Err(error))) => failed(StatusCode::INTERNAL_SERVER_ERROR, crate::cli::chain_text(&error)),
        Ok(Err(_)) => failed(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be made".to_owned()),
        Err(_) => failed(StatusCode::SERVICE_UNAVAILABLE, "it takes too long; try it again later".to_owned()),
    }
}
