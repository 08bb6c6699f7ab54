//! A symbol server: the PDBs in the repository's cache, and those of the upstream server, which the cache then keeps.

use super::answer::{Answer, answer};
use super::site::Site;
use crate::symserver::{Chain, DownloadError, Failure, Form, Job, Policy, Store, SymbolPath, Transport, Wanted, fetch};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use quaid_profile::GuidAge;
use std::sync::Arc;

pub(super) async fn get(
    State(site): State<Arc<Site>>,
    Path((name, id, file)): Path<(String, String, String)>,
) -> Response {
    answer(site, move |site| {
        let missing = || Answer::missing("such file");
        let Ok(id) = id.parse::<GuidAge>() else { return Ok(missing()) };
        let Ok(wanted) = Wanted::new(&name, id) else { return Ok(missing()) };
        // A name with folders, or one of the other forms of the file: a client asks for the plain one as well.
        if wanted.name() != name || !file.eq_ignore_ascii_case(&wanted.file_name(Form::Plain)) {
            return Ok(missing());
        }
        let mut stores = vec![Store::Local(site.pdbs.clone())];
        stores.extend(site.upstream.as_ref().map(|upstream| Store::Server(upstream.url.clone())));
        let path = SymbolPath { chains: vec![Chain(stores)], problems: Vec::new() };
        let transport = site.upstream.as_ref().map(|upstream| &upstream.transport as &dyn Transport);
        let job = Job { wanted: &wanted, path: &path, transport, part: None, policy: &Policy::default() };
        match fetch(&job, &mut |_| ()) {
            Ok(fetched) => {
                Ok(Answer::Bytes { mime: "application/octet-stream", bytes: fetched.pdb.into(), file: None })
            }
            Err(not) => {
                let broken = not.attempts.iter().any(|attempt| match &attempt.failure {
                    Failure::Download(error) => !matches!(error, DownloadError::Missing(_)),
                    _ => false,
                });
                let why = "the upstream symbol server did not give it".to_owned();
                Ok(if broken { Answer::Not(StatusCode::BAD_GATEWAY, why) } else { missing() })
            }
        }
    })
    .await
}
