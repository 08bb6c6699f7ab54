//! The recipes of `v1.0/config.yaml`: a target's name, the type of its handler, and what that needs. Source of the keys:
//! Rekall's `manage_repo`.

use super::super::error::Error;
use super::super::git_store::GitStore;
use super::{SourceRecipe, bad, source_text};
use serde_json::Value;

/// The file.
const CONFIG: &str = "config.yaml";

/// The PDBs that a kernel may have, and those of a module that has two.
const KNOWN_PDBS: [(&str, &[&str]); 2] = [
    ("nt", &["ntkrnlmp.pdb", "ntkrnlpa.pdb", "ntkrpamp.pdb", "ntoskrnl.pdb"]),
    ("ntdll", &["ntdll.pdb", "wntdll.pdb"]),
];

/// An entry of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Its name: where its profiles go.
    pub target: String,
    /// What makes them.
    pub handler: Handler,
    /// The specifications of the indexes that are made of them.
    pub indexes: Vec<String>,
}

/// What makes the profiles of a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handler {
    /// `WindowsGUIDProfile`.
    Windows(WindowsRecipe),
    /// `CopyAndTransform`, `OSXProfile`, `LinuxProfile`, `ArtifactProfile`.
    Sources(SourceRecipe),
    /// A type that is not known.
    Other(String),
}

/// Profiles of the builds of one Windows module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowsRecipe {
    /// Where its profiles go (`nt/GUID`).
    pub target: String,
    /// Its list of builds, below the layout's folder.
    pub guids: String,
    /// `ProfileClass` of its profiles, instead of the one that the PDB's name tells.
    pub profile_class: Option<String>,
    /// Names that the PDB of a GUID alone may have, in the order in which they are tried.
    pub pdbs: Vec<String>,
    /// `$MERGE` of its profiles.
    pub merge: Vec<String>,
}

impl WindowsRecipe {
    /// The recipe of a module that the configuration has none for; `target` is `MODULE/GUID`.
    pub fn of_target(target: &str) -> Option<Self> {
        let module = target.strip_suffix("/GUID").filter(|module| !module.is_empty() && !module.contains('/'))?;
        Some(Self {
            target: target.to_owned(),
            guids: format!("src/{module}/guids.yaml"),
            profile_class: None,
            pdbs: pdbs_of(module),
            merge: Vec::new(),
        })
    }

    /// The file of the builds that could not be made.
    pub fn rejects(&self) -> String {
        format!("{}.rejects", self.guids)
    }
}

fn pdbs_of(module: &str) -> Vec<String> {
    let known = KNOWN_PDBS.iter().find(|(name, _)| *name == module);
    known.map_or_else(|| vec![format!("{module}.pdb")], |(_, pdbs)| pdbs.iter().map(|&pdb| pdb.to_owned()).collect())
}

/// The recipes, in the order of the file.
///
/// # Errors
/// The file is no mapping, or an entry lacks what its handler needs.
pub fn recipes(store: &GitStore) -> Result<Vec<Recipe>, Error> {
    parse(&source_text(store, CONFIG)?.unwrap_or_default())
}

fn parse(text: &str) -> Result<Vec<Recipe>, Error> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Vec::new());
    }
    let entries: serde_json::Map<String, Value> = serde_saphyr::from_str(text).map_err(|why| {
        let why = why.to_string();
        bad(CONFIG, format!("is not a YAML mapping of targets: {}", why.lines().next().unwrap_or_default()))
    })?;
    // serde_json's map is sorted by name; the order of the file is what a recipe may rely on.
    let place = |target: &str| text.find(&format!("\n{target}:")).map_or(0, |at| at + 1);
    let mut recipes =
        entries.iter().map(|(target, entry)| recipe(target, entry)).collect::<Result<Vec<Recipe>, Error>>()?;
    recipes.sort_by_key(|recipe| place(&recipe.target));
    Ok(recipes)
}

fn recipe(target: &str, entry: &Value) -> Result<Recipe, Error> {
    let wrong = |why: &str| bad(CONFIG, format!("the entry `{}` {why}", target.escape_debug()));
    let text = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
    let Some(handler) = text("type") else { return Err(wrong("has no `type`, the name of its handler")) };
    let merge = texts(entry.get("transforms").and_then(|transforms| transforms.get("merge")));
    let handler = match handler.as_str() {
        "WindowsGUIDProfile" => {
            let guids = text("guids").ok_or_else(|| wrong("has no `guids`, the list of its builds"))?;
            super::check_source_name(&guids)?;
            let module = target.strip_suffix("/GUID").unwrap_or(target);
            let pdbs = texts(entry.get("possible_guid_filenames"));
            Handler::Windows(WindowsRecipe {
                target: target.to_owned(),
                guids,
                profile_class: text("profile_class"),
                pdbs: if pdbs.is_empty() { pdbs_of(module) } else { pdbs },
                merge,
            })
        }
        "CopyAndTransform" => {
            let source = text("source").ok_or_else(|| wrong("has no `source`, the file that is copied"))?;
            super::check_source_name(&source)?;
            Handler::Sources(SourceRecipe::Copy { source, merge })
        }
        "OSXProfile" => Handler::Sources(SourceRecipe::Osx { sources: texts(entry.get("sources")), merge }),
        "LinuxProfile" => Handler::Sources(SourceRecipe::Linux),
        "ArtifactProfile" => {
            let patterns = texts(entry.get("patterns"));
            if patterns.is_empty() {
                return Err(wrong("has no `patterns`, of the names of its files"));
            }
            Handler::Sources(SourceRecipe::Artifacts { patterns })
        }
        _ => Handler::Other(handler),
    };
    Ok(Recipe { target: target.to_owned(), handler, indexes: index_specs(entry.get("index")) })
}

/// One text, or a list of them.
fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// `index: FILE`, `{src: FILE, dest: NAME}`, or a list of these.
fn index_specs(value: Option<&Value>) -> Vec<String> {
    let source = |item: &Value| item.get("src").unwrap_or(item).as_str().map(str::to_owned);
    match value {
        Some(Value::Array(items)) => items.iter().filter_map(source).collect(),
        other => other.and_then(source).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_of_the_public_repository_is_understood() {
        let recipes = parse(
            "# Rekall profile repository configuration file.\n\nnt/GUID:\n  type: WindowsGUIDProfile\n  guids: \
             src/nt/guids.yaml\n  has_structs: true\n  index: src/nt/index.yaml\n  profile_class: Nt\n  transforms:\n    \
             merge:\n      - nt/undocumented\n\nnt/undocumented:\n  type: CopyAndTransform\n  source: \
             src/nt/undocumented.yaml\n\nconhost/GUID:\n  type: WindowsGUIDProfile\n  guids: src/conhost/guids.yaml\n  \
             has_structs: false\n",
        )
        .expect("a configuration");
        let targets: Vec<&str> = recipes.iter().map(|recipe| recipe.target.as_str()).collect();
        assert_eq!(targets, ["nt/GUID", "nt/undocumented", "conhost/GUID"]);
        let Handler::Windows(nt) = &recipes[0].handler else { panic!("{recipes:?}") };
        assert_eq!((nt.guids.as_str(), nt.profile_class.as_deref()), ("src/nt/guids.yaml", Some("Nt")));
        assert_eq!(nt.merge, ["nt/undocumented"]);
        assert_eq!(recipes[0].indexes, ["src/nt/index.yaml"]);
        assert_eq!(nt.pdbs, ["ntkrnlmp.pdb", "ntkrnlpa.pdb", "ntkrpamp.pdb", "ntoskrnl.pdb"]);
        let source = "src/nt/undocumented.yaml".to_owned();
        assert_eq!(recipes[1].handler, Handler::Sources(SourceRecipe::Copy { source, merge: Vec::new() }));
        let Handler::Windows(conhost) = &recipes[2].handler else { panic!("{recipes:?}") };
        assert_eq!(conhost.pdbs, ["conhost.pdb"]);
    }

    #[test]
    fn each_way_to_name_an_index_is_understood() {
        for (index, specs) in [
            ("src/a.yaml", &["src/a.yaml"][..]),
            ("{src: src/a.yaml, dst: OSX/index}", &["src/a.yaml"]),
            (
                "[{src: src/a.yaml, dest: nt/index}, {src: src/b.yaml, dest: nt/eprocess_index}]",
                &["src/a.yaml", "src/b.yaml"],
            ),
            ("[]", &[]),
        ] {
            let recipes = parse(&format!("Linux:\n  type: LinuxProfile\n  index: {index}\n")).expect(index);
            assert_eq!(recipes[0].indexes, specs, "{index}");
        }
    }

    #[test]
    fn what_is_wrong_with_an_entry_is_told() {
        for text in ["a: 1\n", "a:\n  type: WindowsGUIDProfile\n", "a:\n  type: ArtifactProfile\n", "- a\n"] {
            assert!(parse(text).is_err(), "{text}");
        }
        let out = parse("a/GUID:\n  type: WindowsGUIDProfile\n  guids: ../../x\n");
        assert!(out.is_err_and(|why| why.to_string().contains("../../x")));
        assert_eq!(parse("# nothing\n").expect("empty"), []);
    }
}
