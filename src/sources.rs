//! From the texts of `profile_path` to places that are searched.

use crate::context::Context;
use crate::http_source::HttpSource;
use crate::inventoried::Inventoried;
use crate::repo::{Error, GitSource};
use crate::symserver::HttpSettings;
use quaid_profile::{DirectorySource, ProfilePath, ProfileSource};
use std::path::Path;

/// The places of `profile_path`, in order. One that cannot be used is told on stderr and left out: a path that names an
/// old disk must not keep the others from being searched.
pub fn open(context: &Context) -> ProfilePath {
    let globals = &context.globals;
    let mut sources = Vec::new();
    for place in &globals.profile_path {
        match source(context, place) {
            Ok(source) => sources.push(source),
            Err(why) => {
                context.warn(&format!("{} is not searched for profiles ({}): {why}", place, globals.profile_path_from));
            }
        }
    }
    ProfilePath::new(sources)
}

/// One place. Where it is said who may sign inventories, one that is no git repository is believed as far as its inventory
/// goes; of a repository what came in was checked when it came.
///
/// # Errors
/// Why it cannot be used.
pub fn source(context: &Context, place: &str) -> Result<Box<dyn ProfileSource>, String> {
    let signed = |source: Box<dyn ProfileSource>| match &context.globals.allowed_signers {
        Some(allowed) => Box::new(Inventoried::new(source, Some(allowed))),
        None => source,
    };
    if place.contains("://") {
        let source = HttpSource::new(place, (!context.globals.offline).then(HttpSettings::default));
        return source.map(|source| signed(Box::new(source))).map_err(|error| error.to_string());
    }
    let root = Path::new(place);
    match root.metadata() {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err("it is a file, and no folder".to_owned()),
        Err(why) => return Err(why.to_string()),
    }
    if root.join(".git").exists() {
        return Ok(match GitSource::open(root) {
            Ok(head) => Box::new(WorkTree { files: DirectorySource::new(root), head }),
            // A clone that is nobody's own has its files too.
            Err(why) => {
                context.detail(1, &format!("of {place} only the files are searched, not what git has: {why}"));
                signed(Box::new(DirectorySource::new(root)))
            }
        });
    }
    if !root.join("objects").is_dir() || !root.join("HEAD").is_file() {
        return Ok(signed(Box::new(DirectorySource::new(root))));
    }
    match GitSource::open(root) {
        Ok(source) => Ok(Box::new(source)),
        Err(Error::NotARepository { .. }) => Ok(signed(Box::new(DirectorySource::new(root)))),
        Err(error) => Err(error.to_string()),
    }
}

/// One profile that is on no disk.
pub struct OneProfile {
    /// What it is called.
    pub name: &'static str,
    /// Its text, Rekall JSON.
    pub text: String,
}

impl ProfileSource for OneProfile {
    fn place(&self) -> String {
        self.name.to_owned()
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, quaid_profile::Error> {
        Ok((name == self.name).then(|| self.text.clone().into_bytes()))
    }

    fn list(&self, _: &str) -> Result<Vec<String>, quaid_profile::Error> {
        Ok(Vec::new())
    }
}

/// A repository with a work tree. Its files come first, for they may be newer than the commit; what is not checked out
/// is read from HEAD.
struct WorkTree {
    files: DirectorySource,
    head: GitSource,
}

impl ProfileSource for WorkTree {
    fn place(&self) -> String {
        self.files.place()
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, quaid_profile::Error> {
        match self.files.read(name)? {
            Some(bytes) => Ok(Some(bytes)),
            None => self.head.read(name),
        }
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, quaid_profile::Error> {
        let mut names = self.files.list(folder)?;
        names.extend(self.head.list(folder)?);
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quaid_profile::Profile;
    use std::path::PathBuf;

    #[test]
    fn places_of_all_kinds_are_searched_in_order_and_a_missing_one_is_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let plain = folder.path().join("plain");
        std::fs::create_dir_all(plain.join("v1.0")).expect("created");
        let file = plain.join("v1.0/mine.json");
        let mut profile = Profile::default();
        profile.metadata.set("ProfileClass", "Linux");
        profile.metadata.set("Release", "6.1.0-9-amd64");
        std::fs::write(&file, profile.to_rekall()).expect("written");
        let (bare, tree) = (folder.path().join("bare.git"), folder.path().join("tree"));
        for (root, is_bare) in [(&bare, true), (&tree, false)] {
            let store = crate::repo::init(root, is_bare).expect("a repository");
            let added =
                crate::repo::add(&store, &[PathBuf::from(&file)], &crate::repo::AddOptions::default()).expect("added");
            assert!(added.commit.is_some());
        }
        let mut context = Context::default();
        let missing = folder.path().join("missing");
        context.globals.profile_path =
            [&missing, &file, &plain, &bare, &tree].iter().map(|path| path.display().to_string()).collect();
        context.globals.profile_path.push("https://example.org/profiles".to_owned());
        context.globals.offline = true;
        let path = open(&context);
        assert_eq!(path.places().len(), 4, "{:?}", path.places());
        let mut opened = Vec::new();
        let mut observe = |step: quaid_profile::Step| opened.push(step.to_string());
        path.load_stored("mine", &mut observe).expect("in the folder");
        let kernel = "Linux/Debian/6.1/unknown/6.1.0-9-amd64";
        path.load_stored(kernel, &mut observe).expect("in the repositories");
        assert!(opened.contains(&format!("Opened {}/{kernel}", bare.display())), "{opened:?}");
        assert_eq!(path.linux_candidates("Linux version 6.1.0-9-amd64 x").expect("indexed"), [kernel]);
        std::fs::remove_dir_all(&bare).expect("removed");
        open(&context).load_stored(kernel, &mut |_| ()).expect("in the work tree's folder");
        // What the work tree lost is in HEAD, and so is the index of kernels.
        std::fs::remove_dir_all(tree.join("v1.0")).expect("removed");
        let path = open(&context);
        path.load_stored(kernel, &mut |_| ()).expect("in HEAD");
        assert_eq!(path.linux_candidates("Linux version 6.1.0-9-amd64 x").expect("indexed"), [kernel]);
        // A file that is there is read, whatever HEAD has.
        let file = tree.join("v1.0").join(kernel);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("created");
        std::fs::write(&file, "<html>").expect("written");
        assert!(open(&context).load_stored(kernel, &mut |_| ()).is_err());
        // Without its git folder it is a folder like any other.
        std::fs::remove_dir_all(tree.join(".git")).expect("removed");
        std::fs::create_dir(tree.join(".git")).expect("created");
        assert_eq!(open(&context).places().len(), 3);
    }
}
