//! Writes the table of plugins: a module and a row for each file `src/plugins/<os>/<name>.rs`, sorted by name.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let folder = Path::new("src/plugins");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files = Vec::new();
    for os in fs::read_dir(folder)? {
        let os = os?.path();
        if !os.is_dir() {
            continue;
        }
        for file in fs::read_dir(&os)? {
            let file = file?.path();
            if file.extension().is_some_and(|extension| extension == "rs") {
                files.push((stem(&file), stem(&os), file.canonicalize()?));
            }
        }
    }
    files.sort();
    let (mut modules, mut table, mut names) = (String::new(), String::new(), String::new());
    for (name, os, path) in &files {
        let path = path.display().to_string();
        let _ = writeln!(modules, "#[path = {path:?}]\nmod {os}_{name};");
        let _ = write!(table, "&{os}_{name}::PLUGIN, ");
        let _ = write!(names, "{path:?}, ");
    }
    let table = format!(
        "{modules}\nstatic TABLE: &[&Plugin] = &[{table}];\n\n#[cfg(test)]\nstatic FILES: &[&str] = &[{names}];\n"
    );
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?);
    fs::write(out.join("plugins.rs"), table)
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}
