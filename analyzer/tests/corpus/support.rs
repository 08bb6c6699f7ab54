//! What the corpus tests share: the corpus, unpacked once, and tables as rows of JSON.

use quaid_analyzer::{Args, OpenError, Options, Session, image, plugins, render};
use quaid_profile::{DirectorySource, ProfilePath};
use serde_json::Value;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Says that a test, or a part of one, was skipped: to stderr itself, because the harness hides what passing tests print.
pub(crate) fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// A file or folder of the corpus; `None`, with a printed line, when the corpus is absent. `$QUAID_CORPUS` names it, else it
/// is beside the project, in `shared/corpus`.
pub(crate) fn corpus(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("QUAID_CORPUS").map_or_else(|| root().join("../shared/corpus"), PathBuf::from);
    if folder.is_dir() {
        let path = folder.join(name);
        assert!(path.exists(), "the corpus has no {name}");
        return Some(path);
    }
    skipped(&format!("no corpus at {}", folder.display()));
    None
}

/// Makes `name` in the cache (`$QUAID_CORPUS_CACHE`, else `target/corpus`) unless it is there: whole or absent, as tests
/// run at once.
fn cached(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let cache = std::env::var_os("QUAID_CORPUS_CACHE").map_or_else(|| root().join("target/corpus"), PathBuf::from);
    let path = cache.join(name);
    if !path.exists() {
        let folder = path.parent().expect("a file has a folder");
        std::fs::create_dir_all(folder).expect("the cache folder");
        let file = tempfile::NamedTempFile::new_in(folder).expect("a temporary file");
        make(file.path());
        file.persist(&path).expect("renamed");
    }
    path
}

/// A file of the corpus that is stored as `NAME.xz`, unpacked.
pub(crate) fn unpacked(name: &str) -> Option<PathBuf> {
    let packed = corpus(&format!("{name}.xz"))?;
    Some(cached(name, |to| {
        let reader = std::io::BufReader::new(std::fs::File::open(packed).expect("the packed file"));
        let mut file = std::fs::File::create(to).expect("the temporary file");
        std::io::copy(&mut lzma_rust2::XzReader::new(reader, true), &mut file).expect("xz data");
    }))
}

/// The arm64 image as the ELF core that QEMU wrote: the parts that the corpus has, joined.
pub(crate) fn arm64_elf() -> Option<PathBuf> {
    let raw = unpacked("linux/arm64/mem.raw")?;
    let (head, tail) = (corpus("linux/arm64/mem.elf.head")?, corpus("linux/arm64/mem.elf.tail")?);
    Some(cached("linux/arm64/mem.elf", |to| {
        let mut file = std::fs::File::create(to).expect("the temporary file");
        for part in [head, raw, tail] {
            std::io::copy(&mut std::fs::File::open(part).expect("a part"), &mut file).expect("copied");
        }
    }))
}

/// The text of a file of the corpus that is stored as `NAME.xz`.
pub(crate) fn text(name: &str) -> Option<String> {
    let bytes = std::fs::read(corpus(&format!("{name}.xz"))?).expect("readable");
    let mut text = String::new();
    lzma_rust2::XzReader::new(&bytes[..], true).read_to_string(&mut text).expect("text");
    Some(text)
}

/// A repository with the ISF of these NT kernels, out of the corpus' archive. That has a window of 2 GiB, for which the
/// `zstd` program is needed; `None`, with a printed line, without it.
pub(crate) fn nt_isf(ids: &[&str]) -> Option<PathBuf> {
    let archive = corpus("windows/isf/nt-isf.tar.zst")?;
    let mut folder = None;
    for id in ids {
        let name = format!("isf/nt/GUID/{id}.json");
        let path = cached(&name, |to| {
            let command =
                format!("zstd -d --long=31 -q -c '{}' | tar -xO {id}.json > '{}'", archive.display(), to.display());
            let status = Command::new("sh").arg("-c").arg(command).status().expect("sh starts");
            assert!(status.success(), "zstd or tar failed");
        });
        if std::fs::metadata(&path).expect("it is there").len() == 0 {
            std::fs::remove_file(&path).expect("removed");
            skipped("no zstd program");
            return None;
        }
        folder = path.ancestors().nth(3).map(Path::to_owned);
    }
    folder
}

/// The folder of memory images in many formats, unpacked once. It takes the `zstd` program, because the archive's window
/// is larger than the decoders of this project allow.
pub(crate) fn formats() -> Option<PathBuf> {
    let archive = corpus("formats/formats.tar.zst")?;
    let cache = std::env::var_os("QUAID_CORPUS_CACHE").map_or_else(|| root().join("target/corpus"), PathBuf::from);
    let path = cache.join("formats");
    if path.exists() {
        return Some(path);
    }
    std::fs::create_dir_all(&cache).expect("the cache folder");
    let temporary = tempfile::tempdir_in(&cache).expect("a folder");
    let command = format!("zstd -d --long=31 -q -c '{}' | tar -xC '{}'", archive.display(), temporary.path().display());
    if !Command::new("sh").arg("-c").arg(command).status().expect("sh starts").success() {
        skipped("no zstd program");
        return None;
    }
    // Tests run at once: whoever comes second keeps what the first made.
    let renamed = std::fs::rename(temporary.path(), &path);
    assert!(renamed.is_ok() || path.exists(), "{renamed:?}");
    Some(path)
}

/// A member of a `.tar.xz` of the corpus, unpacked by the `tar` program.
pub(crate) fn member(archive: &str, name: &str) -> Option<PathBuf> {
    let archive = corpus(archive)?;
    Some(cached(&format!("members/{name}"), |to| {
        let output = Command::new("tar").arg("-xOJf").arg(&archive).arg(name).output().expect("tar starts");
        assert!(output.status.success(), "tar: {}", String::from_utf8_lossy(&output.stderr));
        std::fs::write(to, output.stdout).expect("written");
    }))
}

/// The profiles of a folder.
pub(crate) fn folder(path: &Path) -> ProfilePath {
    ProfilePath::new(vec![Box::new(DirectorySource::new(path))])
}

/// A source with one profile, that of Linux kernels with `banner`, as a repository keeps it.
pub(crate) fn linux_repository(banner: &str, profile: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let linux = folder.path().join("v1.0/Linux");
    std::fs::create_dir_all(&linux).expect("made");
    let ending = profile.extension().and_then(|e| e.to_str()).expect("an ending");
    std::fs::copy(profile, linux.join(format!("kernel.{ending}"))).expect("copied");
    let index =
        serde_json::json!({"$METADATA": {"Type": "Index"}, "$BANNERS": {banner: ["Linux/kernel"]}, "$RELEASES": {}});
    std::fs::write(linux.join("banners"), index.to_string()).expect("written");
    folder
}

/// Opens `image` and asks `plugin`; the rows as JSON, and the steps that were told.
pub(crate) struct Run {
    pub(crate) rows: Vec<Value>,
    pub(crate) steps: Vec<String>,
    pub(crate) summary: plugins::Summary,
}

/// Why an image cannot be opened with these profiles.
pub(crate) fn refused(image: &Path, profiles: &ProfilePath, options: &Options) -> OpenError {
    let image = image::open(image, &image::Options::default()).expect("an image");
    Session::open(image.memory(), profiles, options, &mut |_| ()).err().expect("no session")
}

/// Why a plugin cannot run with these options.
pub(crate) fn fails(image: &Path, profiles: &ProfilePath, plugin: &str, args: &[(&str, &[&str])]) -> String {
    let image = image::open(image, &image::Options::default()).expect("an image");
    let session = Session::open(image.memory(), profiles, &Options::default(), &mut |_| ()).expect("a session");
    let plugin = plugins::find(plugin, session.os()).expect("a plugin");
    let mut renderer = render::renderer("json", plugin.columns, std::io::sink()).expect("a renderer");
    plugin.run(&session, &given(args), renderer.as_mut()).expect_err("it cannot").to_string()
}

fn given(args: &[(&str, &[&str])]) -> Args {
    Args::new(args.iter().map(|(name, values)| ((*name).to_owned(), values.iter().map(|&v| v.to_owned()).collect())))
}

/// Runs a plugin on an image, profile by autodetection or as `options` say.
pub(crate) fn run(
    image: &Path,
    profiles: &ProfilePath,
    options: &Options,
    plugin: &str,
    args: &[(&str, &[&str])],
) -> Run {
    let image = image::open(image, &image::Options::default()).expect("an image");
    let mut steps = Vec::new();
    let session =
        Session::open(image.memory(), profiles, options, &mut |step| steps.push(step.to_owned())).expect("a session");
    let plugin = plugins::find(plugin, session.os()).expect("a plugin");
    let mut json = Vec::new();
    let mut renderer = render::renderer("json", plugin.columns, &mut json).expect("a renderer");
    let summary = plugin.run(&session, &given(args), renderer.as_mut()).expect("it runs");
    drop(renderer);
    let rows = serde_json::from_slice(&json).expect("JSON");
    let run = Run { rows, steps, summary };
    assert_eq!(run.summary.rows, run.rows.len() as u64);
    run
}

/// The address that a cell holds.
pub(crate) fn address(cell: &Value) -> u64 {
    let text = cell.as_str().unwrap_or_else(|| panic!("no address: {cell}"));
    u64::from_str_radix(text.strip_prefix("0x").expect("hex"), 16).expect("hex")
}

/// `path` as an option has it.
pub(crate) fn arg(path: &Path) -> String {
    path.to_str().expect("a path that is text").to_owned()
}
