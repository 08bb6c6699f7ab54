//! Which servers are asked: the list that DEBUGINFOD_URLS holds (debuginfod-client-config(7) of elfutils).

use crate::symserver::{Url, shown};

/// Servers, and what of a list is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Servers {
    /// In the order in which they are asked.
    pub urls: Vec<Url>,
    /// Elements that are not used, with the reason each.
    pub problems: Vec<String>,
}

impl Servers {
    /// The elements of a list, separated by white space. Those of `ima:` tell elfutils how far it is to trust the
    /// signatures of the servers behind them, and are no servers.
    pub fn parse(list: &str) -> Self {
        let mut servers = Self::default();
        for element in list.split_whitespace().filter(|element| !element.starts_with("ima:")) {
            match Url::parse(element) {
                Ok(url) if matches!(url.scheme(), "http" | "https") => {
                    if !servers.urls.contains(&url) {
                        servers.urls.push(url);
                    }
                }
                Ok(url) => servers.problems.push(format!("{}: only http and https servers are asked", shown(&url))),
                Err(why) => {
                    servers.problems.push(format!("`{}` is no URL of a server: {why}", element.escape_debug()));
                }
            }
        }
        servers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_separated_by_white_space_and_each_server_is_asked_once() {
        let servers = Servers::parse(" ima:enforcing https://a.example/  http://b.example:8002/x\n\thttps://a.example");
        let urls: Vec<&str> = servers.urls.iter().map(Url::as_str).collect();
        assert_eq!(urls, ["https://a.example/", "http://b.example:8002/x"]);
        assert_eq!(servers.problems, [""; 0]);
    }

    #[test]
    fn what_is_no_server_is_told() {
        let servers = Servers::parse("debuginfod.example file:///srv/debug");
        assert_eq!((servers.urls.len(), servers.problems.len()), (0, 2));
        assert!(servers.problems[0].contains("debuginfod.example"), "{:?}", servers.problems);
    }
}
