//! The web pages: search, a build, a struct as a picture, two builds side by side, a history. They work without script.

mod build;
mod diff;
mod frame;
mod history;
mod map;
mod search;
mod structure;

use super::answer::{Answer, answer};
use super::site::{Make, Site};
use crate::form::Form;
use crate::repo::{Build, Catalog, Problem};
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use std::sync::Arc;

/// What a page is asked for. All of it is optional, and each page says what it needs.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ask {
    q: String,
    name: String,
    with: String,
    #[serde(rename = "struct")]
    structure: String,
    member: String,
    module: String,
    arch: String,
    form: String,
}

type Page = fn(&Site, &Ask) -> anyhow::Result<Answer>;

pub(super) fn router() -> Router<Arc<Site>> {
    let page = |make: Page| {
        get(move |State(site): State<Arc<Site>>, Query(ask): Query<Ask>| async move {
            answer(site, move |site| make(site, &ask)).await
        })
    };
    Router::new()
        .route("/", page(search::front))
        .route("/search", page(search::search))
        .route("/build", page(build::page))
        .route("/struct", page(structure::page))
        .route("/diff", page(diff::page))
        .route("/history", page(history::page))
        .route("/download", page(download))
        .route("/style.css", get(style))
        .route("/favicon.ico", get(|| async { StatusCode::NO_CONTENT }))
}

async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("style.css")).into_response()
}

/// The build of this name, or of a link to it.
fn find<'c>(catalog: &'c Catalog, name: &str) -> Option<&'c Build> {
    catalog.builds.iter().find(|build| build.name == name || build.links.iter().any(|link| link == name))
}

/// The builds that are compared with this one.
fn family<'c>(catalog: &'c Catalog, module: &str, arch: Option<&str>) -> &'c [Build] {
    let is = |family: &&[Build]| family.first().is_some_and(|build| build.module == module && build.arch == arch);
    catalog.families(module).find(is).unwrap_or_default()
}

/// A page that says what is not there.
fn missing(what: &str) -> Answer {
    missing_beside(what, &[])
}

/// The same where it may be in profiles that cannot be read.
fn missing_beside(what: &str, problems: &[&Problem]) -> Answer {
    let body = maud::html! { h1 { "Not here" } p { (what) } (frame::left_out(problems)) };
    Answer::NotPage(StatusCode::NOT_FOUND, frame::page("Not here", "", &body))
}

/// A profile as a file.
fn download(site: &Site, ask: &Ask) -> anyhow::Result<Answer> {
    let catalog = site.catalog()?;
    let form = match ask.form.as_str() {
        "isf" => Form::Isf,
        "c" => Form::C,
        _ => Form::Rekall,
    };
    let Some(build) = find(&catalog, &ask.name) else { return Ok(missing("There is no profile of this name.")) };
    let Some(bytes) = site.file(&build.name, Make { form, gzip: false })? else {
        return Ok(missing("There is no profile of this name."));
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+') { c } else { '_' };
    let kind = if form == Form::Isf { ".isf" } else { "" };
    let file =
        format!("{}{kind}.{}", build.name.replace('/', "-").chars().map(plain).collect::<String>(), form.ending());
    let mime = if form == Form::C { "text/x-c; charset=utf-8" } else { "application/json" };
    Ok(Answer::Bytes { mime, bytes, file: Some(file) })
}
