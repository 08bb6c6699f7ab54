//! Profiles over HTTP, in Rekall's layout.

use crate::symbol_server::{Answer, Server};
use quaid::http_source::HttpSource;
use quaid::symserver::HttpSettings;
use quaid_profile::{NotFound, Profile, ProfilePath, ProfileSource};
use std::io::Write;

/// As Rekall's own repositories have it: the profile compressed, the Symlink plain.
fn repository() -> Server {
    let mut profile = Profile::default();
    profile.metadata.set("ProfileClass", "Nt");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(profile.to_rekall().as_bytes()).expect("written");
    let gz = gz.finish().expect("finished");
    let link = Profile::symlink("nt/GUID/F8E2A8B5C9B74BF4A6E4A48F180099942").to_rekall();
    Server::start(move |request| match request.path.as_str() {
        "/p/v1.0/nt/GUID/F8E2A8B5C9B74BF4A6E4A48F180099942.gz" => Answer::file(&gz),
        "/p/v1.0/Win7SP1x64" => Answer::file(link.as_bytes()),
        "/p/v1.0/portal.gz" => Answer::Status(200, "", b"<html>Log in</html>".to_vec()),
        "/p/v1.0/secret.gz" => Answer::Status(403, "", vec![]),
        _ => Answer::missing(),
    })
}

fn source(server: &Server, end: &str) -> HttpSource {
    let settings = HttpSettings { proxy_from_environment: false, ..HttpSettings::default() };
    HttpSource::new(&format!("{}{end}", server.url), Some(settings)).expect("a source")
}

#[test]
fn names_and_symlinks_are_found_compressed_or_plain() {
    let server = repository();
    for end in ["/p", "/p/", "/p/v1.0", "/p/v1.0/"] {
        let path = ProfilePath::new(vec![Box::new(source(&server, end))]);
        let found = path.load("Win7SP1x64", &mut |_| ()).expect("found");
        assert_eq!(found.name, "nt/GUID/F8E2A8B5C9B74BF4A6E4A48F180099942");
        assert_eq!(found.profile.metadata().profile_class(), Some("Nt"));
        let asked: Vec<String> = server.log().into_iter().map(|request| request.path).collect();
        assert!(asked.ends_with(&["/p/v1.0/nt/GUID/F8E2A8B5C9B74BF4A6E4A48F180099942.gz".to_owned()]), "{asked:?}");
    }
}

#[test]
fn missing_is_missing_and_everything_else_is_an_error() {
    let server = repository();
    let path = ProfilePath::new(vec![Box::new(source(&server, "/p"))]);
    assert!(matches!(path.load("nothing", &mut |_| ()), Err(NotFound::Nowhere { .. })));
    let error = |name: &str| source(&server, "/p").read(name).expect_err("refused").to_string();
    assert!(error("portal").contains("HTML page"));
    assert!(error("secret").contains("403 Forbidden"));
    assert!(HttpSource::new("ftp://host/", None).is_err_and(|error| error.to_string().contains("not ftp")));
}

#[test]
fn offline_asks_nobody() {
    let server = repository();
    let source = HttpSource::new(&server.url, None).expect("a source");
    let error = ProfilePath::new(vec![Box::new(source)]).load("Win7SP1x64", &mut |_| ()).expect_err("offline");
    assert!(error.to_string().contains("not asked, because of --offline"), "{error}");
    assert_eq!(server.asked(), [""; 0]);
}
