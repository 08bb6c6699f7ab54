//! Rekall's layout: `v1.0/inventory`, `v1.0/NAME`, `v1.0/NAME.gz`.

use super::answer::{Answer, answer};
use super::site::{Make, Site};
use crate::form::Form;
use axum::extract::{Path, State};
use axum::response::Response;
use std::sync::Arc;

pub(super) async fn get(State(site): State<Arc<Site>>, Path(name): Path<String>) -> Response {
    answer(site, move |site| {
        let (plain, compressed) = name.strip_suffix(".gz").map_or((name.as_str(), false), |plain| (plain, true));
        let file = site.file(plain, Make { form: Form::Rekall, gzip: compressed })?;
        Ok(file.map_or_else(|| Answer::missing("such profile"), |bytes| typed(bytes, compressed)))
    })
    .await
}

fn typed(bytes: Arc<[u8]>, gzip: bool) -> Answer {
    let mime = if gzip { "application/gzip" } else { "application/json" };
    Answer::Bytes { mime, bytes, file: None }
}
