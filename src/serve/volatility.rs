//! Volatility 3's remote ISF list (`--remote-isf-url`), version 1, and the ISF files that it names.
//!
//! ```json
//! {"version": 1, "linux": {"<base64 of the banner>": ["http://..."]}, "mac": {...}, "windows": {"<base64 of PDB|GUID|AGE>": [...]}}
//! ```

use super::answer::{Answer, answer};
use super::escaped;
use super::site::{Make, Site};
use crate::form::Form;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quaid_profile::{Metadata, Os};
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(super) async fn banners(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
    answer(site, move |site| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        let Some(host) = host.filter(|host| !host.is_empty() && host.chars().all(plain)) else {
            return Ok(Answer::Not(StatusCode::BAD_REQUEST, "the request names no host".to_owned()));
        };
        let mut systems: [(&str, Map<String, Value>); 3] =
            [("linux", Map::new()), ("mac", Map::new()), ("windows", Map::new())];
        let catalog = site.catalog()?;
        for build in &catalog.builds {
            let Some((system, identifier)) = identifier(&build.metadata) else { continue };
            let url = Value::String(format!("http://{host}/isf/{}.json", escaped(&build.name)));
            if let Some((_, list)) = systems.iter_mut().find(|(name, _)| *name == system) {
                let urls = list.entry(STANDARD.encode(identifier)).or_insert_with(|| json!([]));
                if let Value::Array(urls) = urls {
                    urls.push(url);
                }
            }
        }
        let mut list = Map::new();
        list.insert("version".to_owned(), json!(1));
        list.extend(systems.map(|(name, map)| (name.to_owned(), Value::Object(map))));
        Ok(Answer::json(serde_json::to_vec(&list)?.into()))
    })
    .await
}

pub(super) async fn isf(State(site): State<Arc<Site>>, Path(name): Path<String>) -> Response {
    answer(site, move |site| {
        let (name, gzip) = name.strip_suffix(".gz").map_or((name.as_str(), false), |plain| (plain, true));
        let Some(name) = name.strip_suffix(".json") else { return Ok(Answer::missing("such file")) };
        // A link has no types of its own.
        let catalog = site.catalog()?;
        let build =
            catalog.builds.iter().find(|build| build.name == name || build.links.iter().any(|link| link == name));
        let Some(build) = build else { return Ok(Answer::missing("such profile")) };
        let file = site.file(&build.name, Make { form: Form::Isf, gzip })?;
        let mime = if gzip { "application/gzip" } else { "application/json" };
        Ok(file.map_or_else(|| Answer::missing("such profile"), |bytes| Answer::Bytes { mime, bytes, file: None }))
    })
    .await
}

/// By what Volatility finds the symbols of an image, and in which part of the list. The banner in memory ends in a newline
/// and a NUL, and so does the one that it takes from an ISF file.
fn identifier(metadata: &Metadata) -> Option<(&'static str, String)> {
    match metadata.os()? {
        Os::Windows => {
            let (id, pdb) = (metadata.guid_age()?, metadata.text("PDBFile")?);
            Some(("windows", format!("{pdb}|{}|{}", id.guid_text(), id.age)))
        }
        Os::Linux => Some(("linux", format!("{}\n\0", metadata.banner()?))),
        Os::Macos => Some(("mac", format!("{}\0", metadata.banner()?))),
    }
}
