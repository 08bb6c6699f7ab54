//! The configuration file: YAML whose keys are names of options.

use crate::cli::LOGGING;
use anyhow::{Context as _, Result, bail};
use etcetera::BaseStrategy;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a configuration file says.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Config {
    pub(crate) filename: Option<PathBuf>,
    pub(crate) profile: Option<String>,
    pub(crate) profile_path: Vec<String>,
    pub(crate) format: Option<String>,
    pub(crate) logging: Option<String>,
    pub(crate) pager: Option<String>,
    pub(crate) layer: Option<String>,
    pub(crate) ept: Option<u64>,
    pub(crate) dtb: Option<u64>,
    pub(crate) kernel_slide: Option<u64>,
    pub(crate) pagefiles: Vec<PathBuf>,
    pub(crate) verbose: bool,
    pub(crate) debug: bool,
    pub(crate) overwrite: bool,
    pub(crate) quiet: bool,
    pub(crate) no_map: bool,
    pub(crate) offline: bool,
    pub(crate) autobuild: bool,
    pub(crate) symbol_servers: Vec<String>,
    pub(crate) debuginfod_urls: Vec<String>,
    pub(crate) allowed_signers: Option<PathBuf>,
    /// Keys that mean nothing, for a warning each.
    pub(crate) unknown: Vec<String>,
    /// The file.
    pub(crate) path: PathBuf,
}

/// Keys that Rekall's own files have and that need no warning.
const REKALL_KEYS: [&str; 4] = ["cache_dir", "notebook_dir", "home", "environment"];

/// The file given by `--config`, else the first found of `$QUAID_CONFIG`, `quaid/config.yaml` in the XDG configuration
/// folder, `~/.quaidrc`, `~/.rekallrc`. A file that was named must exist.
pub(crate) fn load(named: Option<&Path>) -> Result<Config> {
    let named = named
        .map(Path::to_owned)
        .or_else(|| std::env::var_os("QUAID_CONFIG").filter(|p| !p.is_empty()).map(PathBuf::from));
    let Some(path) = named.or_else(|| default_places().into_iter().find(|path| path.is_file())) else {
        return Ok(Config::default());
    };
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read the configuration file {}", path.display()))?;
    let mut config = parse(&text, path.parent().unwrap_or(Path::new("")))
        .with_context(|| format!("configuration file {}", path.display()))?;
    config.path = path;
    Ok(config)
}

fn default_places() -> Vec<PathBuf> {
    let xdg = etcetera::choose_base_strategy().ok().map(|base| base.config_dir().join("quaid/config.yaml"));
    let home = etcetera::home_dir().ok();
    let in_home = |name: &str| home.as_ref().map(|home| home.join(name));
    [xdg, in_home(".quaidrc"), in_home(".rekallrc")].into_iter().flatten().collect()
}

/// Paths in the file are relative to its folder.
fn parse(text: &str, folder: &Path) -> Result<Config> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Config::default());
    }
    let values: BTreeMap<String, Value> = serde_saphyr::from_str(text).context("not a YAML mapping of option names")?;
    let mut config = Config::default();
    for (key, value) in values {
        let text = || value.as_str().map(str::to_owned).with_context(|| format!("`{key}` is not a text"));
        let number = || match &value {
            Value::Number(number) => number.as_u64().with_context(|| format!("`{key}` is not a number of 64 bits")),
            _ => crate::cli::number(&text()?).map_err(|why| anyhow::anyhow!("`{key}`: {why}")),
        };
        let flag = || value.as_bool().with_context(|| format!("`{key}` is neither true nor false"));
        if value.is_null() {
            continue;
        }
        match key.replace('-', "_").as_str() {
            "filename" => config.filename = Some(place(folder, &text()?).into()),
            "profile" => config.profile = Some(text()?),
            "profile_path" | "repository_path" => {
                config.profile_path = list(&key, &value)?.iter().map(|item| place(folder, item)).collect();
            }
            "format" | "renderer" => config.format = Some(text()?),
            "logging" => {
                let level = text()?.to_lowercase();
                if !LOGGING.contains(&level.as_str()) {
                    bail!("`{key}` is none of {}", LOGGING.join(", "));
                }
                config.logging = Some(level);
            }
            "layer" => config.layer = Some(text()?),
            "ept" => config.ept = Some(number()?),
            "dtb" => config.dtb = Some(number()?),
            "kernel_slide" => config.kernel_slide = Some(number()?),
            "pagefile" => {
                config.pagefiles = list(&key, &value)?.iter().map(|item| place(folder, item).into()).collect();
            }
            "verbose" => config.verbose = flag()?,
            "debug" => config.debug = flag()?,
            "overwrite" => config.overwrite = flag()?,
            "pager" => config.pager = Some(text()?),
            "quiet" => config.quiet = flag()?,
            "no_map" => config.no_map = flag()?,
            "offline" => config.offline = flag()?,
            "autobuild" => config.autobuild = flag()?,
            "debuginfod_urls" => config.debuginfod_urls = list(&key, &value)?,
            "allowed_signers" => config.allowed_signers = Some(place(folder, &text()?).into()),
            "symbol_server" | "server" => config.symbol_servers = list(&key, &value)?,
            known if REKALL_KEYS.contains(&known) => {}
            _ => config.unknown.push(key),
        }
    }
    Ok(config)
}

/// One text, or a list of texts.
fn list(key: &str, value: &Value) -> Result<Vec<String>> {
    match value {
        Value::String(one) => Ok(vec![one.clone()]),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            Ok(items.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        }
        _ => bail!("`{key}` is not a list of texts"),
    }
}

/// A path of the file as one that any folder understands; a URL as it is.
fn place(folder: &Path, text: &str) -> String {
    if text.contains("://") {
        return text.to_owned();
    }
    let home = text.strip_prefix("~/").and_then(|rest| etcetera::home_dir().ok().map(|home| home.join(rest)));
    home.unwrap_or_else(|| folder.join(text)).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_s_file_is_understood() {
        let config = parse(
            "profile_path:\n  - /home/me/rekall.profiles\n  - local\n  - https://example.org/profiles\n",
            Path::new("/etc"),
        )
        .expect("a configuration");
        assert_eq!(config.profile_path, ["/home/me/rekall.profiles", "/etc/local", "https://example.org/profiles"]);
    }

    #[test]
    fn unknown_keys_are_kept_for_a_warning_and_null_is_absent() {
        let config =
            parse("profle_path: /x\nfilename: null\ndtb: 0x1000\nverbose: true\n", Path::new("")).expect("read");
        assert_eq!((config.unknown, config.filename), (vec!["profle_path".to_owned()], None));
        assert_eq!((config.dtb, config.verbose), (Some(0x1000), true));
        assert!(parse("logging: banana\n", Path::new("")).is_err());
    }

    #[test]
    fn a_wrong_value_names_its_key() {
        let error = parse("offline: sometimes\n", Path::new("")).expect_err("not a truth value");
        assert!(error.to_string().contains("offline"), "{error}");
        assert!(parse("- a\n- b\n", Path::new("")).is_err());
        assert_eq!(parse("# nothing\n\n", Path::new("")).expect("empty"), Config::default());
    }
}
