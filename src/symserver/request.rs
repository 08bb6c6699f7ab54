//! What is asked for, and under which names.

use super::transport::Url;
use quaid_profile::GuidAge;
use std::path::PathBuf;

/// Why a text is not the name of a PDB.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` cannot be the name of a PDB: {why}", .name.escape_debug())]
pub struct NameError {
    name: String,
    why: &'static str,
}

/// The PDB that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    name: String,
    id: GuidAge,
}

impl Wanted {
    /// `name` may be a path as a linker records it (`d:\build\ntkrnlmp.pdb`): only its last part counts, and a missing
    /// `.pdb` is added. What is left is safe as the name of a file on every system.
    pub fn new(name: &str, id: GuidAge) -> Result<Self, NameError> {
        let error = |why| NameError { name: name.to_owned(), why };
        let base = name.rsplit(['\\', '/', ':']).next().unwrap_or_default();
        let pdb = if base.to_ascii_lowercase().ends_with(".pdb") { base.to_owned() } else { format!("{base}.pdb") };
        if base.trim_matches(['.', ' ']).is_empty() || pdb.eq_ignore_ascii_case(".pdb") {
            return Err(error("it is empty"));
        }
        if pdb.chars().any(|c| c.is_control() || matches!(c, '*' | '?' | '"' | '<' | '>' | '|')) {
            return Err(error("it has a character that file names cannot have"));
        }
        // The longest name of a file, less the ending of a partial download.
        if pdb.len() > 240 {
            return Err(error("it is longer than 240 bytes"));
        }
        Ok(Self { name: pdb, id })
    }

    /// The file's name, with its ending.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its GUID and age.
    pub fn id(&self) -> GuidAge {
        self.id
    }

    /// The name of `form` inside the folder `NAME/GUIDAGE` of a store.
    pub fn file_name(&self, form: Form) -> String {
        match form {
            Form::Plain => self.name.clone(),
            Form::Cabinet => {
                let mut name = self.name.clone();
                name.pop();
                name.push('_');
                name
            }
            Form::Pointer => "file.ptr".to_owned(),
        }
    }

    /// The URL of `form` on a symbol server: `BASE/NAME/GUIDAGE/FILE`.
    pub fn url(&self, server: &Url, form: Form) -> Url {
        let mut url = server.clone();
        // Fails only for a URL that cannot have a path, and those of a symbol path are http or https.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend([self.name.as_str(), &self.id.to_string(), &self.file_name(form)]);
        }
        url
    }

    /// The folder of this PDB below the root of a store, `NAME/GUIDAGE`.
    pub fn folder(&self) -> PathBuf {
        PathBuf::from(&self.name).join(self.id.to_string())
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.id)
    }
}

/// The forms in which a store may have a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Plain,
    /// In a cabinet, the last character of the name replaced by `_`.
    Cabinet,
    /// Elsewhere: `file.ptr` says where.
    Pointer,
}

impl Form {
    /// In the order in which they are asked for.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Cabinet, Self::Pointer];
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(name: &str) -> Result<Wanted, NameError> {
        Wanted::new(name, "{f8e2a8b5-c9b7-4bf4-a6e4-a48f18009994}1a".parse().expect("an identity"))
    }

    #[test]
    fn urls_have_the_form_of_symbol_servers() {
        let server = Url::parse("https://host/download/symbols").expect("a URL");
        let kernel = wanted("ntkrnlmp.pdb").expect("a name");
        let folder = "https://host/download/symbols/ntkrnlmp.pdb/F8E2A8B5C9B74BF4A6E4A48F180099941A";
        assert_eq!(kernel.url(&server, Form::Plain).as_str(), format!("{folder}/ntkrnlmp.pdb"));
        assert_eq!(kernel.url(&server, Form::Cabinet).as_str(), format!("{folder}/ntkrnlmp.pd_"));
        assert_eq!(kernel.url(&server, Form::Pointer).as_str(), format!("{folder}/file.ptr"));
        let odd =
            wanted("a b#c%.pdb").expect("a name").url(&Url::parse("http://h/s/?key=1").expect("a URL"), Form::Plain);
        assert_eq!(
            odd.as_str(),
            "http://h/s/a%20b%23c%25.pdb/F8E2A8B5C9B74BF4A6E4A48F180099941A/a%20b%23c%25.pdb?key=1"
        );
    }

    #[test]
    fn only_the_last_part_of_a_recorded_path_counts() {
        for name in ["d:\\build\\nt.pdb", "../../nt.pdb", "/etc/nt.pdb", "nt", "C:nt.pdb"] {
            assert_eq!(wanted(name).expect("a name").name(), "nt.pdb", "{name}");
        }
        assert_eq!(wanted("NT.PDB").expect("a name").file_name(Form::Cabinet), "NT.PD_");
    }

    #[test]
    fn names_that_leave_the_folder_or_are_no_files_are_refused() {
        for name in ["", "..", "a/..", ".pdb", "a\\", "x\0.pdb", "a*.pdb", "a\n.pdb", &"x".repeat(300)] {
            assert!(wanted(name).is_err(), "{name:?}");
        }
    }
}
