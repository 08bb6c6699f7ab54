//! What every end-to-end test needs: the binary, a temporary folder, the corpus.

use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Says that a test, or a part of one, was skipped: to stderr itself, because the harness hides what passing tests print.
pub(crate) fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// The binary under test, with nothing of the user's own configuration in its environment.
pub(crate) fn quaid() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quaid"));
    for name in [
        "_NT_SYMBOL_PATH",
        "DEBUGINFOD_URLS",
        "DEBUGINFOD_TIMEOUT",
        "DEBUGINFOD_RETRY_LIMIT",
        "QUAID_CONFIG",
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "all_proxy",
    ] {
        command.env_remove(name);
    }
    let nowhere = std::env::temp_dir().join("quaid-tests-have-no-home");
    command.env("HOME", &nowhere).env("XDG_CONFIG_HOME", &nowhere).env("XDG_CACHE_HOME", &nowhere);
    // Commits of the tests' repositories need an author.
    for (name, value) in [("GIT_AUTHOR_NAME", "Test"), ("GIT_AUTHOR_EMAIL", "test@example.org")] {
        command.env(name, value).env(name.replace("AUTHOR", "COMMITTER"), value);
    }
    command
}

/// Runs the binary and gives what it printed.
pub(crate) fn run(args: &[&str]) -> Output {
    quaid().args(args).output().expect("the binary starts")
}

/// Stdout of a run that must end with exit code 0.
pub(crate) fn ok(args: &[&str]) -> String {
    let output = run(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "quaid {args:?} failed: {:?}\n{stderr}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

/// `path` as an argument.
pub(crate) fn arg(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file or folder of the corpus, in place; `None`, with a printed line, when the corpus is absent. `$QUAID_CORPUS`
/// names it, else it is beside the project, in `shared/corpus`.
pub(crate) fn corpus(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("QUAID_CORPUS").map_or_else(|| root().join("../shared/corpus"), PathBuf::from);
    let path = folder.join(name);
    if folder.is_dir() {
        assert!(path.exists(), "the corpus has no {name}");
        return Some(path);
    }
    skipped(&format!("no corpus at {}", folder.display()));
    None
}

/// Where unpacked files of the corpus are kept.
fn cache() -> PathBuf {
    std::env::var_os("QUAID_CORPUS_CACHE").map_or_else(|| root().join("target/corpus"), PathBuf::from)
}

/// A file of the corpus that is stored as `NAME.xz`, unpacked once into `$QUAID_CORPUS_CACHE` or `target/corpus`.
pub(crate) fn unpacked(name: &str) -> Option<PathBuf> {
    let packed = corpus(&format!("{name}.xz"))?;
    let path = cache().join(name);
    if path.exists() {
        return Some(path);
    }
    let folder = path.parent().expect("a file has a folder");
    std::fs::create_dir_all(folder).expect("the cache folder");
    // Tests run at once: each unpacks into a file of its own, and the last rename wins with the same bytes.
    let mut file = tempfile::NamedTempFile::new_in(folder).expect("a temporary file");
    let reader = std::io::BufReader::new(std::fs::File::open(packed).expect("the packed file"));
    std::io::copy(&mut lzma_rust2::XzReader::new(reader, true), file.as_file_mut()).expect("xz data");
    file.persist(&path).expect("renamed");
    Some(path)
}

/// The text of a file of the corpus that is stored as `NAME.xz` or `NAME.gz`.
pub(crate) fn corpus_text(name: &str) -> Option<String> {
    let bytes = std::fs::read(corpus(name)?).expect("readable");
    let mut text = String::new();
    match Path::new(name).extension().and_then(|e| e.to_str()) {
        Some("xz") => lzma_rust2::XzReader::new(&bytes[..], true).read_to_string(&mut text),
        Some("gz") => flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text),
        _ => (&bytes[..]).read_to_string(&mut text),
    }
    .expect("text");
    // Some guests printed through a serial line.
    Some(text.replace('\r', ""))
}

/// The rows that `--format json` printed.
pub(crate) fn rows(stdout: &str) -> Vec<serde_json::Value> {
    serde_json::from_str(stdout).unwrap_or_else(|why| panic!("not an array of rows ({why}): {stdout}"))
}

/// The folder of memory images in many formats, unpacked once. It takes the `zstd` program, because the archive's window
/// is larger than the decoders of this project allow.
pub(crate) fn formats() -> Option<PathBuf> {
    let archive = corpus("formats/formats.tar.zst")?;
    let path = cache().join("formats");
    if path.exists() {
        return Some(path);
    }
    std::fs::create_dir_all(cache()).expect("the cache folder");
    let zstd =
        Command::new("zstd").args(["-dcq", "--long=31"]).arg(archive).stdout(std::process::Stdio::piped()).spawn();
    let Ok(mut zstd) = zstd else {
        skipped("there is no zstd program");
        return None;
    };
    let temporary = tempfile::tempdir_in(cache()).expect("a folder");
    let tar = Command::new("tar").arg("-xC").arg(temporary.path()).stdin(zstd.stdout.take().expect("a pipe")).status();
    assert!(tar.expect("tar starts").success(), "tar unpacks the formats");
    zstd.wait().expect("zstd ends");
    // Tests run at once: whoever comes second keeps what the first made.
    let renamed = std::fs::rename(temporary.path(), &path);
    assert!(renamed.is_ok() || path.exists(), "{renamed:?}");
    Some(path)
}

/// An ISF file of the corpus' collection of NT kernels, unpacked once beside the other unpacked files. It takes the
/// `zstd` program, because the archive's window is larger than the decoders of this project allow.
pub(crate) fn nt_isf(guid_age: &str) -> Option<PathBuf> {
    let archive = corpus("windows/isf/nt-isf.tar.zst")?;
    let path = cache().join(format!("windows/isf/{guid_age}.json"));
    if path.exists() {
        return Some(path);
    }
    let folder = path.parent().expect("a file has a folder");
    std::fs::create_dir_all(folder).expect("the cache folder");
    let zstd =
        Command::new("zstd").args(["-dcq", "--long=31"]).arg(archive).stdout(std::process::Stdio::piped()).spawn();
    let Ok(mut zstd) = zstd else {
        skipped("there is no zstd program");
        return None;
    };
    let temporary = tempfile::tempdir_in(folder).expect("a folder");
    let tar = Command::new("tar")
        .arg("-xC")
        .arg(temporary.path())
        .arg(format!("{guid_age}.json"))
        .stdin(zstd.stdout.take().expect("a pipe"))
        .status();
    assert!(tar.expect("tar starts").success(), "tar finds {guid_age}.json");
    zstd.wait().expect("zstd ends");
    std::fs::rename(temporary.path().join(format!("{guid_age}.json")), &path).expect("renamed");
    Some(path)
}

/// The demo machine of scripts/demo-kernel, built once a run: the folder with vmlinux, System.map, memory.raw and
/// truth.txt.
pub(crate) fn demo_kernel() -> PathBuf {
    static BUILT: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    let build = || {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo-kernel");
        let output = Command::new(root().join("scripts/demo-kernel/build")).arg(&folder).output().expect("a shell");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        folder
    };
    BUILT.get_or_init(build).clone()
}
