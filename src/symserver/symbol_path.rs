//! The grammar of `_NT_SYMBOL_PATH`: where PDBs are looked for, and where what was found is kept.
//!
//! Elements are separated by `;`. `srv*A*B*C` (or `symsrv*symsrv.dll*A*B*C`) looks in A, then B, then C; what C has is
//! kept in A and B. `cache*A` keeps in A what any later element finds. Anything else is a folder, or a server's URL.
//! An empty A (`srv**URL`, `cache*`) is the default store. Source: Microsoft, "Symbol path for Windows debuggers" and
//! "Using SymSrv".

use super::transport::Url;
use std::path::PathBuf;

/// A place that has PDBs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// A folder of PDBs, in which a store's layout is tried too.
    Folder(PathBuf),
    /// A folder in symstore layout: `NAME/GUIDAGE/NAME`.
    Local(PathBuf),
    /// A symbol server.
    Server(Url),
}

/// One element of a symbol path: its stores in the order in which they are asked. A local store keeps what a later one
/// of the chain has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain(pub Vec<Store>);

/// A symbol path, and what of it was not understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SymbolPath {
    /// The elements, in order.
    pub chains: Vec<Chain>,
    /// Elements that are left out, each with the reason.
    pub problems: Vec<String>,
}

impl SymbolPath {
    /// Reads the text of a symbol path. `default_store` is the folder that an empty name stands for.
    pub fn parse(text: &str, default_store: Option<PathBuf>) -> Self {
        let mut reader = Reader { default_store, caches: Vec::new() };
        let mut path = Self::default();
        for element in text.split(';').map(str::trim).filter(|element| !element.is_empty()) {
            match reader.element(element) {
                Ok(Some(chain)) => path.chains.push(chain),
                Ok(None) => {}
                Err(why) => path.problems.push(format!("`{element}` of the symbol path is left out: {why}")),
            }
        }
        path
    }

    /// The elements of this path, then those of `later`.
    pub fn extend(&mut self, later: Self) {
        self.chains.extend(later.chains);
        self.problems.extend(later.problems);
    }
}

struct Reader {
    default_store: Option<PathBuf>,
    /// What `cache*` elements so far have named.
    caches: Vec<Store>,
}

impl Reader {
    /// The chain of an element; `None` for `cache*`, which only changes the elements after it.
    fn element(&mut self, element: &str) -> Result<Option<Chain>, String> {
        let mut parts = element.split('*');
        let first = parts.next().unwrap_or_default();
        let rest: Vec<&str> = parts.collect();
        match (first.to_ascii_lowercase().as_str(), rest.as_slice()) {
            (_, []) => Ok(Some(self.chain(vec![folder_or_server(first)?]))),
            ("cache", folders) => {
                for folder in folders {
                    let cache = self.store(folder)?;
                    if matches!(cache, Store::Server(_)) {
                        return Err("a cache is a folder, not a URL".into());
                    }
                    self.caches.push(cache);
                }
                Ok(None)
            }
            ("srv", stores) => self.stores(stores).map(Some),
            ("symsrv", [dll, stores @ ..]) if dll.eq_ignore_ascii_case("symsrv.dll") && !stores.is_empty() => {
                self.stores(stores).map(Some)
            }
            ("symsrv", [dll, ..]) => Err(format!("it needs `{dll}`; only symsrv.dll is built in")),
            _ => Err("it is none of srv*, symsrv*symsrv.dll*, cache*, a folder, a URL".into()),
        }
    }

    fn stores(&self, names: &[&str]) -> Result<Chain, String> {
        Ok(self.chain(names.iter().map(|name| self.store(name)).collect::<Result<_, _>>()?))
    }

    /// The caches so far, then `stores`.
    fn chain(&self, stores: Vec<Store>) -> Chain {
        let mut chain = self.caches.clone();
        chain.extend(stores);
        Chain(chain)
    }

    fn store(&self, name: &str) -> Result<Store, String> {
        let name = name.trim();
        if name.is_empty() {
            let folder =
                self.default_store.clone().ok_or("the default store needs a home folder, and there is none")?;
            return Ok(Store::Local(folder));
        }
        match folder_or_server(name)? {
            Store::Folder(folder) => Ok(Store::Local(folder)),
            server => Ok(server),
        }
    }
}

fn folder_or_server(text: &str) -> Result<Store, String> {
    if !text.contains("://") {
        return Ok(Store::Folder(PathBuf::from(text)));
    }
    let url = Url::parse(text).map_err(|error| format!("it is no URL: {error}"))?;
    match url.scheme() {
        "http" | "https" => Ok(Store::Server(url)),
        other => Err(format!("servers are asked over http and https, not {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(path: &str) -> Store {
        Store::Local(path.into())
    }
    fn server(url: &str) -> Store {
        Store::Server(Url::parse(url).expect("a URL"))
    }
    fn parse(text: &str) -> SymbolPath {
        SymbolPath::parse(text, Some("/default".into()))
    }

    #[test]
    fn srv_lists_caches_and_then_the_server() {
        let wanted = vec![Chain(vec![local("/near"), local("/far"), server("https://host/symbols")])];
        assert_eq!(parse("srv*/near*/far*https://host/symbols").chains, wanted);
        assert_eq!(parse("SRV*/near*/far*https://host/symbols").chains, wanted);
        assert_eq!(parse("symsrv*SymSrv.dll*/near*/far*https://host/symbols").chains, wanted);
    }

    #[test]
    fn cache_holds_for_all_later_elements_and_no_earlier_one() {
        let path = parse("/first; cache*/c ;srv*http://a/;;/last");
        assert_eq!(path.problems, Vec::<String>::new());
        assert_eq!(
            path.chains,
            [
                Chain(vec![Store::Folder("/first".into())]),
                Chain(vec![local("/c"), server("http://a/")]),
                Chain(vec![local("/c"), Store::Folder("/last".into())]),
            ]
        );
    }

    #[test]
    fn an_empty_name_is_the_default_store() {
        assert_eq!(parse("srv**http://a/").chains, [Chain(vec![local("/default"), server("http://a/")])]);
        assert_eq!(parse("cache*;http://a/").chains, [Chain(vec![local("/default"), server("http://a/")])]);
        assert!(SymbolPath::parse("srv**http://a/", None).problems[0].contains("home folder"));
    }

    #[test]
    fn what_is_not_understood_is_told_and_the_rest_is_used() {
        let path = parse("symsrv*other.dll*/a;what*/b;srv*ftp://c/;cache*http://d/;symsrv*symsrv.dll;/good");
        assert_eq!(path.chains, [Chain(vec![Store::Folder("/good".into())])]);
        let words = ["other.dll", "what*/b", "not ftp", "not a URL", "symsrv.dll"];
        assert_eq!(path.problems.len(), words.len(), "{:#?}", path.problems);
        for (problem, word) in path.problems.iter().zip(words) {
            assert!(problem.contains(word), "{problem} should say {word}");
        }
    }
}
