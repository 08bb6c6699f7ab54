//! Damaged images: an error or fewer rows, and never a panic or an endless walk.

use crate::support::{corpus, folder, linux_repository, nt_isf, unpacked};
use quaid_analyzer::image::{PhysicalMemory, Run};
use quaid_analyzer::scan::rsds;
use quaid_analyzer::{Args, FaultReason, OpenError, Options, Pa, PageFault, Session, plugins, render};
use quaid_profile::{Os, ProfilePath};
use std::path::Path;

/// An image in memory, to be damaged.
struct Bytes {
    bytes: Vec<u8>,
    runs: [Run; 1],
}

impl Bytes {
    fn new(bytes: Vec<u8>) -> Self {
        let runs = [Run { start: Pa(0), bytes: bytes.len() as u64, file_offset: None }];
        Self { bytes, runs }
    }
}

impl PhysicalMemory for Bytes {
    fn read(&self, at: Pa, buffer: &mut [u8]) -> Result<(), PageFault> {
        buffer.fill(0);
        let there = usize::try_from(at.0).ok().and_then(|at| self.bytes.get(at..)).unwrap_or_default();
        let good = there.len().min(buffer.len());
        buffer[..good].copy_from_slice(&there[..good]);
        let missing = PageFault::physical(FaultReason::NotInImage(at.wrapping_add(good as u64)));
        if good == buffer.len() { Ok(()) } else { Err(missing) }
    }
    fn runs(&self) -> &[Run] {
        &self.runs
    }
    fn slice(&self, at: Pa, bytes: usize) -> Option<&[u8]> {
        self.bytes.get(usize::try_from(at.0).ok()?..)?.get(..bytes)
    }
    fn release(&self, _: Pa, _: usize) {}

    fn describe(&self) -> String {
        "bytes".into()
    }
}

/// Asks every plugin that needs no argument; gives how many rows there were, or why there is no session.
fn ask(memory: &Bytes, profiles: &ProfilePath) -> Result<u64, OpenError> {
    let session = Session::open(memory, profiles, &Options::default(), &mut |_| ())?;
    let mut rows = 0;
    for plugin in plugins::all().iter().filter(|plugin| plugin.os == Some(session.os())) {
        let mut renderer = render::renderer("text", plugin.columns, std::io::sink()).expect("a renderer");
        // An error is an answer as well.
        rows += plugin.run(&session, &Args::default(), renderer.as_mut()).map_or(0, |summary| summary.rows);
    }
    Ok(rows)
}

/// Truncates the image at several places, and writes over it at `rounds` times `words` places.
fn damage(image: &Path, profiles: &ProfilePath, rounds: u64, words: usize) {
    let whole = std::fs::read(image).expect("readable");
    let (mut memory, mut sessions, mut fewer) = (Bytes::new(whole.clone()), 0, 0);
    let all = ask(&memory, profiles).expect("the image is whole");
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for round in 0..rounds {
        if round % 4 == 0 {
            memory = Bytes::new(whole[..(next() % whole.len() as u64) as usize].to_vec());
        } else {
            memory.bytes.clone_from(&whole);
            memory.runs[0].bytes = whole.len() as u64;
            for _ in 0..words {
                let at = (next() % (whole.len() as u64 / 8)) as usize * 8;
                // Garbage; or a value from elsewhere, which points to something.
                let word = if next() % 2 == 0 {
                    next()
                } else {
                    u64::from_le_bytes(
                        *whole[(next() % (whole.len() as u64 / 8)) as usize * 8..].first_chunk().expect("inside"),
                    )
                };
                memory.bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
            }
        }
        match ask(&memory, profiles) {
            Ok(rows) => {
                sessions += 1;
                fewer += u64::from(rows < all);
            }
            Err(
                OpenError::NoKernel(_)
                | OpenError::NoBuild { .. }
                | OpenError::NoProfile { .. }
                | OpenError::Refused(_),
            ) => {}
            Err(other) => panic!("the profiles are whole: {other}"),
        }
    }
    // Otherwise the damage was too little, or too much, to show anything.
    assert!(sessions > 0 && sessions < rounds && fewer > 0, "{sessions} of {rounds} sessions, {fewer} with fewer rows");
}

#[test]
fn damaged_windows_images() {
    let (Some(image), Some(profiles)) =
        (unpacked("windows/images/win7x64.raw"), nt_isf(&["339E74133576439CBCDF7E0229DA37731"]))
    else {
        return;
    };
    damage(&image, &folder(&profiles), 40, 200_000);
}

#[test]
fn damaged_linux_images() {
    let Some(image) = unpacked("linux/linux-5.10/mem.raw") else { return };
    let profile = corpus("linux/linux-5.10/debian-5.10.0-43-cloud-amd64.json.xz").expect("beside it");
    let memory = Bytes::new(std::fs::read(&image).expect("readable"));
    // The index needs the banner; the image tells it.
    let nowhere = ProfilePath::default();
    let Err(OpenError::NoProfile { found, .. }) = Session::open(&memory, &nowhere, &Options::default(), &mut |_| ())
    else {
        panic!("there is no profile");
    };
    let quaid_analyzer::Identity::Linux { banner, .. } = &found[0] else { panic!("{found:?}") };
    let repository = linux_repository(banner, &profile);
    damage(&image, &folder(repository.path()), 12, 1_000_000);
}

#[test]
fn a_lost_rsds_record_is_survived_when_a_person_names_the_profile() {
    const ID: &str = "339E74133576439CBCDF7E0229DA37731";
    let (Some(image), Some(profiles)) = (unpacked("windows/images/win7x64.raw"), nt_isf(&[ID])) else { return };
    let mut memory = Bytes::new(std::fs::read(&image).expect("readable"));
    let records: Vec<u64> = rsds::records(&memory).filter(|r| r.id.to_string() == ID).map(|r| r.at.0).collect();
    assert_eq!(records.len(), 1);
    memory.bytes[records[0] as usize..][..4].fill(0);
    let open = |profile: Option<&str>| {
        let options = Options { profile: profile.map(str::to_owned), ..Options::default() };
        let mut steps = Vec::new();
        let os = Session::open(&memory, &folder(&profiles), &options, &mut |step| steps.push(step.to_owned()))
            .map(|s| s.os());
        (os, steps)
    };
    assert!(matches!(open(None).0, Err(OpenError::NoBuild { .. })));
    let (os, steps) = open(Some(&format!("nt/GUID/{ID}")));
    assert_eq!(os.expect("a session"), Os::Windows);
    assert!(steps.iter().any(|step| step.contains("its build is not known")), "{steps:#?}");
}

/// An image of nothing but these banners, and a folder with a profile for the release of the last one.
fn banners(texts: impl Iterator<Item = String>) -> (Bytes, tempfile::TempDir) {
    let image: Vec<u8> = texts.flat_map(|text| format!("{text}\n\0").into_bytes()).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let profile = r#"{"$CONSTANTS": {"init_task": 18446744071578845184, "linux_banner": 18446744071578845184},
        "$METADATA": {"ProfileClass": "Linux", "Release": "6.1.0-9", "Type": "Profile", "arch": "AMD64"},
        "$STRUCTS": {"task_struct": [64, {"comm": [0, ["String", {"length": 16}]]}]}}"#;
    std::fs::write(folder.path().join("6.1.0-9.json"), profile).expect("written");
    (Bytes::new(image), folder)
}

#[test]
fn decoys_do_not_hide_a_banner_whose_profile_is_there() {
    let decoys = (0..200).map(|i| format!("Linux version 5.{i}.0-1 (decoy) #1 SMP"));
    let (memory, profiles) = banners(decoys.chain(["Linux version 6.1.0-9 (builder) #1 SMP".to_owned()]));
    let open = |path: &ProfilePath| {
        let opened = Session::open(&memory, path, &Options::default(), &mut |_| ());
        opened.map(|session| session.os()).expect_err("no kernel is there")
    };
    let error = open(&folder(profiles.path()));
    assert!(matches!(&error, OpenError::Refused(all) if all[0].profile == "6.1.0-9"), "{error}");
    let error = open(&ProfilePath::default()).to_string();
    assert!(error.contains(" and 197 more; searched") && error.len() < 500, "{error}");
    std::fs::write(profiles.path().join("6.1.0-9.json"), "{").expect("damaged");
    let error = open(&folder(profiles.path()));
    assert!(matches!(&error, OpenError::NoProfile { failed, .. } if failed.len() == 1), "{error}");
    assert!(error.to_string().contains("6.1.0-9: not a profile"), "{error}");
}

#[test]
fn many_copies_of_a_banner_cost_little_and_print_little() {
    let copies = std::iter::repeat_n("Linux version 6.1.0-9 (builder) #1 SMP".to_owned(), 100_000);
    let (memory, profiles) = banners(copies);
    for profile in [None, Some("6.1.0-9".to_owned())] {
        let options = Options { profile, ..Options::default() };
        let (mut told, start) = (0, std::time::Instant::now());
        let opened = Session::open(&memory, &folder(profiles.path()), &options, &mut |_| told += 1);
        assert!(matches!(opened, Err(OpenError::Refused(_))));
        assert!(told < 60, "{told} lines");
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    }
}
