use super::*;
use crate::model::Profile;
use crate::source::DirectorySource;
use std::path::Path;

const GUID: &str = "3844DBB920174967BE7AA4A2C20430FA2";

fn store(root: &Path, name: &str, profile: &Profile) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("created");
    std::fs::write(path, profile.to_rekall()).expect("written");
}

fn search(root: &Path) -> ProfilePath {
    ProfilePath::new(vec![Box::new(DirectorySource::new(root))])
}

fn kernel() -> Profile {
    let mut profile = Profile::default();
    profile.metadata.set("GUID_AGE", GUID);
    profile
}

#[test]
fn the_old_hierarchy_s_symlink_is_told_after_its_target() {
    let tree = tempfile::tempdir().expect("a folder");
    let target = format!("ntoskrnl.exe/AMD64/6.1.7601.17514/{GUID}");
    store(tree.path(), &format!("v1.0/{target}"), &kernel());
    store(tree.path(), "v1.0/Win7SP1x64", &Profile::symlink(&target));
    let mut steps = Vec::new();
    let found = search(tree.path()).load("Win7SP1x64", &mut |step| steps.push(step)).expect("found");
    assert_eq!(found.name, target);
    let loaded: Vec<String> = steps
        .into_iter()
        .filter_map(|step| if let Step::Loaded { name, .. } = step { Some(name) } else { None })
        .collect();
    assert_eq!(loaded, [target, "Win7SP1x64".to_owned()]);
}

#[test]
fn a_guid_is_found_in_any_case_and_without_its_only_age() {
    let tree = tempfile::tempdir().expect("a folder");
    store(tree.path(), &format!("nt/GUID/{GUID}"), &kernel());
    let path = search(tree.path());
    for name in [
        format!("GUID/{}", GUID.to_lowercase()),
        format!("nt/GUID/{}", &GUID[..32]),
        GUID.to_owned(),
        format!("v1.0/nt/GUID/{GUID}.gz"),
    ] {
        assert_eq!(path.load(&name, &mut |_| ()).expect("found").name, format!("nt/GUID/{GUID}"), "{name}");
    }
    store(tree.path(), &format!("nt/GUID/{}3", &GUID[..32]), &kernel());
    let error = path.load(&GUID[..32], &mut |_| ()).expect_err("two ages");
    assert!(matches!(error, NotFound::Ambiguous { ref candidates, .. } if candidates.len() == 2), "{error}");
}

#[test]
fn symlinks_that_lead_nowhere_name_the_chain() {
    let tree = tempfile::tempdir().expect("a folder");
    store(tree.path(), "A", &Profile::symlink("B"));
    store(tree.path(), "B", &Profile::symlink("A"));
    let error = search(tree.path()).load("A", &mut |_| ()).expect_err("a circle");
    assert_eq!(error.to_string(), "Symlinks lead nowhere: A -> B -> A");
    for i in 0..20 {
        store(tree.path(), &format!("long{i}"), &Profile::symlink(&format!("long{}", i + 1)));
    }
    assert!(matches!(search(tree.path()).load("long0", &mut |_| ()), Err(NotFound::Loop { .. })));
}

#[test]
fn names_and_links_that_leave_the_tree_are_refused() {
    let tree = tempfile::tempdir().expect("a folder");
    let outside = tempfile::tempdir().expect("a folder");
    store(outside.path(), "secret", &kernel());
    for name in ["../secret", "/no/such/file", "a//b", "a/./b", "a/", ""] {
        let error = search(tree.path()).load(name, &mut |_| ()).expect_err(name);
        assert!(matches!(error, NotFound::BadName { .. }), "{name}: {error}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(outside.path().join("secret"), tree.path().join("escape")).expect("a link");
        let error = search(tree.path()).load("escape", &mut |_| ()).expect_err("it leads out");
        assert!(error.to_string().contains("leads out of the repository"), "{error}");
    }
}

#[test]
fn linux_kernels_are_found_by_banner_then_release_then_file_name() {
    let banner = "Linux version 6.1.0-56 (builder) #1 SMP\n";
    let (indexed, plain) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let mut index = LinuxIndex::default();
    for (name, key, text) in [
        ("Linux/z", "Banner", banner.trim_end()),
        ("Linux/a", "Release", "6.1.0-56"),
        ("Linux/b", "Release", "6.1.0-5"),
    ] {
        let mut profile = Profile::default();
        profile.metadata.set(key, text);
        index.insert(name, &profile.metadata);
    }
    std::fs::create_dir_all(indexed.path().join("v1.0/Linux")).expect("created");
    std::fs::write(indexed.path().join("v1.0/Linux/banners"), index.to_json()).expect("written");
    store(plain.path(), "v1.0/Linux/Debian/12/amd64/6.1.0-56.gz", &kernel());
    store(plain.path(), "v1.0/Linux/Debian/12/amd64/6.1.0-57.gz", &kernel());
    store(plain.path(), "v1.0/my-6.1.0-56.json", &kernel());
    let path = ProfilePath::new(vec![
        Box::new(DirectorySource::new(indexed.path())),
        Box::new(DirectorySource::new(plain.path())),
    ]);
    let found = path.linux_candidates(banner).expect("read");
    assert_eq!(found, ["Linux/z", "Linux/a", "my-6.1.0-56", "Linux/Debian/12/amd64/6.1.0-56"]);
    assert_eq!(path.linux_candidates("Linux version 7.0 x").expect("read"), [""; 0]);
    std::fs::write(indexed.path().join("v1.0/Linux/banners"), "{").expect("written");
    assert_eq!(path.linux_candidates(banner).expect("the second source has it").len(), 2);
    assert!(search(indexed.path()).linux_candidates(banner).is_err());
}

#[test]
fn a_source_that_fails_hides_no_other_and_is_told() {
    struct Down;
    impl ProfileSource for Down {
        fn place(&self) -> String {
            "down".to_owned()
        }
        fn read(&self, _: &str) -> Result<Option<Vec<u8>>, Error> {
            Err(Error::unsupported("down", "no answer"))
        }
        fn list(&self, _: &str) -> Result<Vec<String>, Error> {
            Err(Error::unsupported("down", "no answer"))
        }
    }
    let tree = tempfile::tempdir().expect("a folder");
    store(tree.path(), "kernel", &kernel());
    let path = ProfilePath::new(vec![Box::new(Down), Box::new(DirectorySource::new(tree.path()))]);
    let mut failed = 0;
    path.load("kernel", &mut |step| failed += usize::from(matches!(step, Step::Failed { .. }))).expect("in the second");
    assert_eq!(failed, 1);
    let error = path.load("other", &mut |_| ()).expect_err("nowhere");
    assert_eq!(error.to_string(), "down: no answer");
}

#[test]
fn a_missing_name_tells_every_place() {
    let tree = tempfile::tempdir().expect("a folder");
    let error = search(tree.path()).load("Win99", &mut |_| ()).expect_err("not there");
    assert!(error.to_string().contains(&tree.path().display().to_string()), "{error}");
}

#[test]
fn a_build_id_is_no_guid_and_is_found_in_any_case() {
    let tree = tempfile::tempdir().expect("a folder");
    let id = "0123456789abcdef0123456789abcdef01234567";
    for id in [id, &id[..32]] {
        store(tree.path(), &format!("Linux/BUILDID/{id}"), &Profile::symlink("Linux/mine"));
        store(tree.path(), "Linux/mine", &kernel());
        for asked in [id.to_owned(), id.to_uppercase()] {
            let found = search(tree.path()).load(&format!("Linux/BUILDID/{asked}"), &mut |_| ()).expect("found");
            assert_eq!(found.name, "Linux/mine");
        }
    }
    assert_eq!(normalised_name(id).expect("a name"), id);
    assert!(guid_of_name(&format!("nt/GUID/{GUID}")).is_some());
}

#[test]
fn a_guid_is_taken_with_dashes_and_braces() {
    for text in ["3844dbb9-2017-4967-be7a-a4a2c20430fa2", "{3844dbb9-2017-4967-be7a-a4a2c20430fa}2"] {
        assert_eq!(normalised_name(&format!("nt/GUID/{text}")).expect("a name"), format!("nt/GUID/{GUID}"));
    }
    let uuid = "4c4c44d0-5555-3144-a1cd-2bd5a8e7dbb2";
    assert_eq!(
        normalised_name(&format!("OSX/UUID/{uuid}")).expect("a name"),
        format!("OSX/UUID/{}", uuid.to_uppercase())
    );
}

#[test]
fn every_stored_spelling_is_found() {
    for ending in ["", ".gz", ".xz", ".zst", ".json", ".json.gz", ".json.xz", ".json.zst"] {
        let tree = tempfile::tempdir().expect("a folder");
        store(tree.path(), &format!("nt/GUID/{GUID}{ending}"), &kernel());
        assert!(search(tree.path()).load(GUID, &mut |_| ()).is_ok(), "{ending}");
        assert!(search(tree.path()).load(&GUID[..32], &mut |_| ()).is_ok(), "{ending}");
    }
}

#[test]
fn what_one_place_has_damaged_or_leading_nowhere_hides_no_other() {
    let (first, second) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let name = format!("nt/GUID/{GUID}");
    store(first.path(), &format!("GUID/{GUID}"), &Profile::symlink(&name));
    store(first.path(), "nowhere", &Profile::symlink("gone"));
    store(first.path(), "circle", &Profile::symlink("back"));
    store(first.path(), "back", &Profile::symlink("circle"));
    std::fs::write(first.path().join("damaged"), "{").expect("written");
    let both = ProfilePath::new(vec![
        Box::new(DirectorySource::new(first.path())),
        Box::new(DirectorySource::new(second.path())),
    ]);
    assert!(matches!(both.load(&name, &mut |_| ()), Err(NotFound::Nowhere { .. })));
    assert!(matches!(both.load("nowhere", &mut |_| ()), Err(NotFound::Nowhere { .. })));
    assert!(matches!(both.load("circle", &mut |_| ()), Err(NotFound::Loop { .. })));
    assert!(matches!(both.load("damaged", &mut |_| ()), Err(NotFound::Unreadable(_))));
    for name in [&name, "nowhere", "circle", "damaged"] {
        store(second.path(), name, &kernel());
        let mut failed = 0;
        let found = both.load(name, &mut |step| failed += usize::from(matches!(step, Step::Failed { .. })));
        assert_eq!(found.expect("the second has it").name, name);
        assert_eq!(failed, usize::from(name == "damaged"));
    }
    assert_eq!(both.load(&format!("GUID/{GUID}"), &mut |_| ()).expect("over the link").name, name);
}

#[test]
fn links_that_lead_through_several_places_end() {
    let trees: Vec<_> = (0..6).map(|_| tempfile::tempdir().expect("a folder")).collect();
    for (i, tree) in trees.iter().enumerate() {
        for level in 0..MAX_SYMLINKS {
            for j in 0..trees.len() {
                store(tree.path(), &format!("l{level}-{j}"), &Profile::symlink(&format!("l{}-{i}", level + 1)));
            }
        }
    }
    let path = ProfilePath::new(
        trees.iter().map(|tree| Box::new(DirectorySource::new(tree.path())) as Box<dyn ProfileSource>).collect(),
    );
    let mut opened = 0;
    let error = path.load("l0-0", &mut |step| opened += usize::from(matches!(step, Step::Opened { .. })));
    assert!(error.is_err() && opened <= MAX_NAMES * trees.len(), "{opened}");
}

#[test]
fn a_guid_with_another_age_is_taken_when_it_is_the_only_one() {
    let (first, second) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let other = format!("nt/GUID/{}3", &GUID[..32]);
    store(first.path(), &other, &kernel());
    let both = ProfilePath::new(vec![
        Box::new(DirectorySource::new(first.path())),
        Box::new(DirectorySource::new(second.path())),
    ]);
    let name = format!("nt/GUID/{GUID}");
    let mut told = Vec::new();
    assert_eq!(both.load(&name, &mut |step| told.push(step)).expect("the other age").name, other);
    assert!(told.contains(&Step::OtherAge { name: name.clone(), stored: other }), "{told:?}");
    store(second.path(), &name, &kernel());
    assert_eq!(both.load(&name, &mut |_| ()).expect("the very one").name, name);
    store(second.path(), &format!("nt/GUID/{}4", &GUID[..32]), &kernel());
    let error = ProfilePath::new(vec![Box::new(DirectorySource::new(second.path()))])
        .load(&format!("nt/GUID/{}5", &GUID[..32]), &mut |_| ())
        .expect_err("two other ages");
    assert!(matches!(error, NotFound::Nowhere { .. }), "{error}");
}

#[test]
fn macos_profiles_are_found_without_their_build_when_there_is_one() {
    let tree = tempfile::tempdir().expect("a folder");
    let mut kernel = Profile::default();
    kernel.metadata.set("ProfileClass", "Darwin");
    for name in ["OSX/10.7.4_11E53.64bit", "OSX/10.7.4_11E53.32bit", "OSX/10.8.5.64bit", "OSX/10.7.40_11X1.64bit"] {
        store(tree.path(), name, &kernel);
    }
    let path = search(tree.path());
    for (old, name) in [
        ("OSX/10.7.4_AMD", "OSX/10.7.4_11E53.64bit"),
        ("OSX_10.7.4_AMD.json.gz", "OSX/10.7.4_11E53.64bit"),
        ("OSX/10.8.5_AMD", "OSX/10.8.5.64bit"),
    ] {
        assert_eq!(path.load_stored(old, &mut |_| ()).expect("found").name, name, "{old}");
    }
    for none in ["OSX/10.7_AMD", "OSX/10.7.4", "Linux/10.7.4_AMD"] {
        assert!(matches!(path.load_stored(none, &mut |_| ()), Err(NotFound::Nowhere { .. })), "{none}");
    }
    store(tree.path(), "OSX/10.7.4_11E53a.64bit", &kernel);
    let error = path.load_stored("OSX/10.7.4_AMD", &mut |_| ()).expect_err("two builds");
    assert!(matches!(error, NotFound::Ambiguous { ref candidates, .. } if candidates.len() == 2), "{error}");
}
